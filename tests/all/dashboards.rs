//! The saved objects are complete, use the prefix, and name only fields that exist. The query behind each panel runs on the real servers.

use std::{collections::BTreeMap, process::Command};

use crate::common::{ENGINES, Stage};
use chrono::Utc;
use serde_json::{Value, json};
use zoom_harvester::{
    elastic::{FieldType, fields},
    model::IndexKind,
    sim::world::{Spec, World},
};

fn objects(prefix: &str) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_zoom-harvester"))
        .arg("dashboards")
        .env_clear()
        .env("ELASTICSEARCH_INDEX_PREFIX", prefix)
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let lines = String::from_utf8(output.stdout).unwrap();
    lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn text(value: &Value) -> Value {
    serde_json::from_str(value.as_str().unwrap()).unwrap()
}

#[test]
fn every_reference_and_field_of_the_dashboards_exists() {
    let objects = objects("acme");
    let ids: BTreeMap<(&str, &str), &Value> = objects
        .iter()
        .map(|one| ((one["type"].as_str().unwrap(), one["id"].as_str().unwrap()), one))
        .collect();
    assert_eq!(ids.len(), objects.len(), "no id twice");
    for object in &objects {
        for reference in object["references"].as_array().unwrap() {
            let key = (
                reference["type"].as_str().unwrap(),
                reference["id"].as_str().unwrap(),
            );
            assert!(ids.contains_key(&key), "{key:?}");
        }
    }
    let of = |kind: &str| {
        objects
            .iter()
            .filter(|one| one["type"] == kind)
            .collect::<Vec<_>>()
    };
    let views = of("index-pattern");
    let titles: Vec<&str> = views
        .iter()
        .map(|view| view["attributes"]["title"].as_str().unwrap())
        .collect();
    assert_eq!(titles, ["acme-meetings", "acme-sessions"]);
    let types = |object: &Value| -> BTreeMap<String, FieldType> {
        let view = object["references"][0]["id"].as_str().unwrap();
        let index = if view.ends_with("meetings") {
            IndexKind::Meetings
        } else {
            IndexKind::Sessions
        };
        fields(index).into_iter().collect()
    };
    for search in of("search") {
        for column in search["attributes"]["columns"].as_array().unwrap() {
            assert!(types(search).contains_key(column.as_str().unwrap()), "{column}");
        }
    }
    for panel in of("visualization") {
        for agg in text(&panel["attributes"]["visState"])["aggs"].as_array().unwrap() {
            let Some(field) = agg["params"]["field"].as_str() else {
                continue;
            };
            let found = types(panel)[field];
            let fits = match agg["type"].as_str().unwrap() {
                "date_histogram" => found == FieldType::Date,
                "histogram" => found == FieldType::Long,
                "terms" | "cardinality" => found == FieldType::Keyword,
                other => panic!("{other}"),
            };
            assert!(fits, "{field} is {found:?} in {agg}");
        }
    }
    let dashboard = of("dashboard")[0];
    let panels = text(&dashboard["attributes"]["panelsJSON"]);
    assert_eq!(panels.as_array().unwrap().len(), of("visualization").len());
    for panel in panels.as_array().unwrap() {
        let named = dashboard["references"]
            .as_array()
            .unwrap()
            .iter()
            .any(|one| one["name"] == panel["panelRefName"]);
        assert!(named, "{panel}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_query_behind_each_panel_finds_something() {
    let world = World::generate(&Spec {
        seed: 23,
        hosts: 5,
        meetings: 30,
        sessions: 120,
        days: 5,
        now: Utc::now(),
    });
    for variable in ENGINES {
        let stage = Stage::new(world.clone(), Some(variable));
        stage.sync(stage.days(7)).await;
        stage.es().call("POST", "/PREFIX-*/_refresh", None).await;
        let mut asked = 0;
        for panel in objects(&stage.es().prefix) {
            if panel["type"] != "visualization" {
                continue;
            }
            let state = text(&panel["attributes"]["visState"]);
            let (metric, bucket) = (&state["aggs"][0], &state["aggs"][1]);
            let field = &bucket["params"]["field"];
            // The query that Kibana and OpenSearch Dashboards make: the bucket, and the metric in it.
            let by = match bucket["type"].as_str().unwrap() {
                "date_histogram" => {
                    json!({"date_histogram": {"field": field, "fixed_interval": "1d", "min_doc_count": 1}})
                }
                "terms" => json!({"terms": {"field": field, "size": bucket["params"]["size"]}}),
                _ => {
                    json!({"histogram": {"field": field, "interval": bucket["params"]["interval"], "min_doc_count": 1}})
                }
            };
            let mut by = by;
            if metric["type"] == "cardinality" {
                by["aggs"] = json!({"1": {"cardinality": {"field": metric["params"]["field"]}}});
            }
            let kind = if panel["references"][0]["id"]
                .as_str()
                .unwrap()
                .ends_with("meetings")
            {
                "meetings"
            } else {
                "sessions"
            };
            let query = json!({"size": 0, "aggs": {"2": by}});
            let answer = stage
                .es()
                .call("POST", &format!("/PREFIX-{kind}/_search"), Some(query))
                .await;
            let buckets = answer["aggregations"]["2"]["buckets"]
                .as_array()
                .unwrap_or_else(|| panic!("{answer}"));
            assert!(!buckets.is_empty(), "{variable}: {}: {answer}", state["title"]);
            asked += 1;
        }
        assert_eq!(asked, 13, "{variable}");
    }
}
