//! Saved objects for Kibana and OpenSearch Dashboards: data views, saved searches, and one dashboard with its panels. Does no I/O. Uses only what
//! both programs can import: aggregation-based visualizations, without the newer editors' formats.

use serde_json::{Value, json};

use crate::model::IndexKind;

/// A panel of the dashboard.
struct Panel {
    id: &'static str,
    title: &'static str,
    of: IndexKind,
    kind: Kind,
    bucket: Bucket,
    /// The field whose distinct values are counted. If `None`, documents are counted.
    distinct: Option<&'static str>,
}

/// How a panel is drawn. Both programs have these kinds.
#[derive(Clone, Copy)]
enum Kind {
    Bars,
    Pie,
    Table,
}

/// What a panel groups by.
enum Bucket {
    Time,
    /// The most frequent values of a field.
    Terms(&'static str),
    /// Intervals of a numeric field, of this width.
    Steps(&'static str, u32),
}

const fn panel(
    id: &'static str,
    title: &'static str,
    of: IndexKind,
    kind: Kind,
    bucket: Bucket,
    distinct: Option<&'static str>,
) -> Panel {
    Panel {
        id,
        title,
        of,
        kind,
        bucket,
        distinct,
    }
}

#[rustfmt::skip] // A table: one panel a line.
static PANELS: [Panel; 13] = [
    panel("meetings-over-time", "Meetings over time", IndexKind::Meetings, Kind::Bars, Bucket::Time, None),
    panel("occurrences-over-time", "Meetings over time, begun again or not (distinct occurrences)", IndexKind::Meetings, Kind::Bars, Bucket::Time, Some("occurrence_id")),
    panel("sessions-over-time", "Sessions over time", IndexKind::Sessions, Kind::Bars, Bucket::Time, None),
    panel("people-over-time", "People over time (distinct emails)", IndexKind::Sessions, Kind::Bars, Bucket::Time, Some("email")),
    panel("lengths", "Lengths of meetings (seconds)", IndexKind::Meetings, Kind::Bars, Bucket::Steps("duration", 900), None),
    panel("sizes", "Sizes of meetings (sessions)", IndexKind::Meetings, Kind::Bars, Bucket::Steps("participant_sessions", 5), None),
    panel("devices", "Devices", IndexKind::Sessions, Kind::Pie, Bucket::Terms("device"), None),
    panel("networks", "Networks", IndexKind::Sessions, Kind::Pie, Bucket::Terms("network_type"), None),
    panel("kinds", "Meetings and webinars", IndexKind::Meetings, Kind::Pie, Bucket::Terms("kind"), None),
    panel("countries", "Countries", IndexKind::Sessions, Kind::Table, Bucket::Terms("country"), None),
    panel("hosts", "Hosts with most meetings", IndexKind::Meetings, Kind::Table, Bucket::Terms("host.email"), None),
    panel("departments", "Departments with most meetings", IndexKind::Meetings, Kind::Table, Bucket::Terms("host.dept"), None),
    panel("versions", "Versions of the client", IndexKind::Sessions, Kind::Table, Bucket::Terms("version"), None),
];

/// The columns of the saved searches.
const COLUMNS: [(IndexKind, &[&str]); 2] = [
    (
        IndexKind::Meetings,
        &[
            "topic",
            "host.email",
            "start_time",
            "duration",
            "participant_sessions",
            "uuid",
        ],
    ),
    (
        IndexKind::Sessions,
        &[
            "topic",
            "user_name",
            "email",
            "join_time",
            "leave_time",
            "device",
            "country",
        ],
    ),
];

/// How many values of a field a panel shows.
const TOP: u32 = 10;

/// The objects for indices of this prefix, one JSON object per line, as *Import* in Saved Objects takes them. Importing them again replaces them.
pub fn saved_objects(prefix: &str) -> String {
    let name = |what: &str| format!("{prefix}-harvester-{what}");
    let view = |of: IndexKind| name(&format!("view-{}", of.as_str()));
    let source = |of: IndexKind| json!([{"name": "kibanaSavedObjectMeta.searchSourceJSON.index", "type": "index-pattern", "id": view(of)}]);
    let searched = json!({
        "searchSourceJSON": json!({
            "query": {"query": "", "language": "kuery"},
            "filter": [],
            "indexRefName": "kibanaSavedObjectMeta.searchSourceJSON.index",
        }).to_string(),
    });
    let mut objects = Vec::new();
    for of in IndexKind::ALL {
        objects.push(json!({
            "type": "index-pattern",
            "id": view(of),
            "attributes": {"title": format!("{prefix}-{}", of.as_str()), "timeFieldName": "@timestamp"},
            "references": [],
        }));
    }
    for (of, columns) in COLUMNS {
        objects.push(json!({
            "type": "search",
            "id": name(&format!("search-{}", of.as_str())),
            "attributes": {
                "title": format!("Zoom {}", of.as_str()),
                "columns": columns,
                "sort": [["@timestamp", "desc"]],
                "kibanaSavedObjectMeta": searched,
            },
            "references": source(of),
        }));
    }
    for panel in &PANELS {
        objects.push(json!({
            "type": "visualization",
            "id": name(panel.id),
            "attributes": {
                "title": format!("Zoom: {}", panel.title),
                "visState": vis_state(panel).to_string(),
                "uiStateJSON": "{}",
                "description": "",
                "version": 1,
                "kibanaSavedObjectMeta": searched,
            },
            "references": source(panel.of),
        }));
    }
    objects.push(dashboard(&name("dashboard"), name));
    objects.iter().map(|object| format!("{object}\n")).collect()
}

fn vis_state(panel: &Panel) -> Value {
    let metric = match panel.distinct {
        None => json!({"id": "1", "enabled": true, "type": "count", "schema": "metric", "params": {}}),
        Some(field) => {
            json!({"id": "1", "enabled": true, "type": "cardinality", "schema": "metric", "params": {"field": field}})
        }
    };
    let schema = match panel.kind {
        Kind::Table => "bucket",
        Kind::Bars | Kind::Pie => "segment",
    };
    let (agg, params) = match panel.bucket {
        Bucket::Time => (
            "date_histogram",
            json!({"field": "@timestamp", "interval": "auto", "min_doc_count": 1, "useNormalizedEsInterval": true}),
        ),
        Bucket::Terms(field) => (
            "terms",
            json!({"field": field, "size": TOP, "order": "desc", "orderBy": "1", "otherBucket": true, "missingBucket": false}),
        ),
        Bucket::Steps(field, interval) => (
            "histogram",
            json!({"field": field, "interval": interval, "min_doc_count": false, "extended_bounds": {}}),
        ),
    };
    let (kind, shown) = match panel.kind {
        Kind::Bars => ("histogram", bars()),
        Kind::Pie => (
            "pie",
            json!({"type": "pie", "addTooltip": true, "addLegend": true, "legendPosition": "right", "isDonut": true}),
        ),
        Kind::Table => (
            "table",
            json!({"perPage": TOP, "showPartialRows": false, "showTotal": false}),
        ),
    };
    json!({
        "title": format!("Zoom: {}", panel.title),
        "type": kind,
        "aggs": [metric, {"id": "2", "enabled": true, "type": agg, "schema": schema, "params": params}],
        "params": shown,
    })
}

fn bars() -> Value {
    json!({
        "type": "histogram",
        "addLegend": false,
        "addTooltip": true,
        "grid": {"categoryLines": false},
        "categoryAxes": [{"id": "CategoryAxis-1", "type": "category", "position": "bottom", "show": true, "scale": {"type": "linear"}, "labels": {"show": true}, "title": {}}],
        "valueAxes": [{"id": "ValueAxis-1", "name": "LeftAxis-1", "type": "value", "position": "left", "show": true, "scale": {"type": "linear", "mode": "normal"}, "labels": {"show": true}, "title": {"text": ""}}],
        "seriesParams": [{"show": true, "type": "histogram", "mode": "stacked", "data": {"id": "1", "label": "Count"}, "valueAxis": "ValueAxis-1"}],
    })
}

/// The dashboard: three panels per row, in the grid of 48 columns that both programs have.
fn dashboard(id: &str, name: impl Fn(&str) -> String) -> Value {
    let (mut panels, mut references) = (Vec::new(), Vec::new());
    for (n, panel) in PANELS.iter().enumerate() {
        let reference = format!("panel_{n}");
        panels.push(json!({
            "version": "7.10.0",
            "type": "visualization",
            "panelIndex": n.to_string(),
            "gridData": {"x": n % 3 * 16, "y": n / 3 * 14, "w": 16, "h": 14, "i": n.to_string()},
            "embeddableConfig": {},
            "panelRefName": reference,
        }));
        references.push(json!({"name": reference, "type": "visualization", "id": name(panel.id)}));
    }
    json!({
        "type": "dashboard",
        "id": id,
        "attributes": {
            "title": "Zoom meetings",
            "description": "Made by zoom-harvester",
            "panelsJSON": Value::from(panels).to_string(),
            "optionsJSON": json!({"useMargins": true, "hidePanelTitles": false}).to_string(),
            "timeRestore": true,
            "timeFrom": "now-30d",
            "timeTo": "now",
            "version": 1,
            "kibanaSavedObjectMeta": {"searchSourceJSON": json!({"query": {"query": "", "language": "kuery"}, "filter": []}).to_string()},
        },
        "references": references,
    })
}
