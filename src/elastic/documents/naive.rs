//! A naive model of the documents, built as a tree of values: slow, but simple enough to check by reading.

use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::{As, MEETING_FIELDS, SESSION_FIELDS};
use crate::model::{Kept, SessionId, is_pseudonym, iso, parse_time};

/// A meeting's document.
pub(super) fn meeting(kept: &Kept) -> Value {
    let mut body = shared(kept);
    copy(&mut body, &tree(kept.listing.as_str()), MEETING_FIELDS);
    let at = kept.start_time.or(kept.end_time);
    put(&mut body, "@timestamp", at.map(|at| iso(at).into()));
    body.insert("uuid".into(), kept.uuid.as_str().into());
    put(&mut body, "start_time", kept.start_time.map(|at| iso(at).into()));
    put(&mut body, "end_time", kept.end_time.map(|at| iso(at).into()));
    put(&mut body, "duration", kept.duration_s.map(Value::from));
    body.insert("participant_sessions".into(), kept.detail.len().into());
    body.into()
}

/// The bodies of its sessions' documents.
pub(super) fn sessions(kept: &Kept) -> Vec<Value> {
    let shared = shared(kept);
    let ids = kept.detail.session_ids().into_iter();
    ids.zip(kept.detail.rows())
        .map(|(id, row)| session(kept, &shared, id, &tree(row.as_str())))
        .collect()
}

fn tree(row: &str) -> Map<String, Value> {
    serde_json::from_str(row).unwrap()
}

fn session(kept: &Kept, shared: &Map<String, Value>, id: SessionId, row: &Map<String, Value>) -> Value {
    let mut body = shared.clone();
    copy(&mut body, row, SESSION_FIELDS);
    let time = |name| row.get(name).and_then(Value::as_str).and_then(parse_time);
    let (joined, left) = (time("join_time"), time("leave_time"));
    let at = joined.or(kept.start_time).or(kept.end_time);
    put(&mut body, "@timestamp", at.map(|at| iso(at).into()));
    body.insert("session_id".into(), id.as_str().into());
    body.insert("meeting".into(), kept.uuid.as_str().into());
    put(&mut body, "join_time", joined.map(|at| iso(at).into()));
    put(&mut body, "leave_time", left.map(|at| iso(at).into()));
    let stayed = joined
        .zip(left)
        .map(|(joined, left)| (left - joined).num_seconds());
    put(
        &mut body,
        "duration",
        stayed.filter(|seconds| *seconds >= 0).map(Value::from),
    );
    let said = |name| row.get(name).and_then(Value::as_str).unwrap_or_default();
    // The type `ip` takes addresses only.
    let address = Some(said("ip_address")).filter(|address| is_pseudonym(address));
    put(&mut body, "ip_pseudonym", address.map(Value::from));
    let (city, country) = match said("location") {
        pseudonym if is_pseudonym(pseudonym) => (None, None),
        location => place(location),
    };
    put(&mut body, "city", city.map(Value::from));
    put(&mut body, "country", country.map(Value::from));
    body.into()
}

/// The members about the meeting that both kinds of document have.
fn shared(kept: &Kept) -> Map<String, Value> {
    let listing = tree(kept.listing.as_str());
    let mut body = Map::new();
    body.insert("account_id".into(), kept.account_id.as_str().into());
    body.insert("kind".into(), kept.kind.as_str().into());
    body.insert("source".into(), kept.source.as_str().into());
    let occurrence = kept.occurrence_id.as_ref().unwrap_or(&kept.uuid);
    body.insert("occurrence_id".into(), occurrence.as_str().into());
    put(
        &mut body,
        "meeting_series_id",
        kept.series_id.map(|id| id.0.into()),
    );
    put(&mut body, "topic", text(listing.get("topic")));
    let mut host = Map::new();
    put(
        &mut host,
        "host_id",
        kept.host_id.as_ref().map(|id| id.as_str().into()),
    );
    for (name, field) in [
        ("name", "host"),
        ("email", "email"),
        ("user_type", "user_type"),
        ("dept", "dept"),
    ] {
        put(&mut host, name, text(listing.get(field)));
    }
    body.insert("host".into(), host.into());
    body
}

/// The city and the country of a location. The harvester's ancestor had the two apart; today's `location` is `San Jose (US)`, or a country alone.
fn place(location: &str) -> (Option<&str>, Option<&str>) {
    let some = |text: &str| !text.is_empty();
    match location
        .trim()
        .strip_suffix(')')
        .and_then(|rest| rest.rsplit_once('('))
    {
        Some((city, country)) => (
            Some(city.trim()).filter(|c| some(c)),
            Some(country.trim()).filter(|c| some(c)),
        ),
        None => (None, Some(location.trim()).filter(|country| some(country))),
    }
}

fn put(body: &mut Map<String, Value>, name: &str, value: Option<Value>) {
    if let Some(value) = value {
        body.insert(name.to_owned(), value);
    }
}

fn copy(body: &mut Map<String, Value>, row: &Map<String, Value>, fields: &[(&str, As)]) {
    for (name, kind) in fields {
        put(body, &shown_name(name), read(row.get(*name), *kind));
    }
}

/// The name of a field in the documents: Zoom's name, except for the one that is not snake_case.
fn shown_name(name: &str) -> String {
    if name == "groupId" {
        "group_id".to_owned()
    } else {
        name.to_owned()
    }
}

fn read(value: Option<&Value>, kind: As) -> Option<Value> {
    match kind {
        As::Text => text(value),
        As::Texts => match value? {
            Value::Array(items) => Some(items.iter().filter_map(|item| text(Some(item))).collect()),
            one => text(Some(one)).map(|text| json!([text])),
        },
        As::Bool => match value? {
            Value::Bool(flag) => Some(Value::Bool(*flag)),
            Value::String(text) if text.eq_ignore_ascii_case("true") => Some(true.into()),
            Value::String(text) if text.eq_ignore_ascii_case("false") => Some(false.into()),
            Value::Number(number) => number
                .as_i64()
                .filter(|n| (0..=1).contains(n))
                .map(|n| (n == 1).into()),
            _ => None,
        },
        As::Whole => match value? {
            Value::Number(number) => number.as_i64().map(Value::from),
            Value::String(text) => text.trim().parse::<i64>().ok().map(Value::from),
            _ => None,
        },
        As::Number => match value? {
            Value::Number(number) => number.as_f64().map(Value::from),
            Value::String(text) => text
                .trim()
                .parse::<f64>()
                .ok()
                .filter(|number| number.is_finite())
                .map(Value::from),
            _ => None,
        },
        As::Ip => value?
            .as_str()?
            .trim()
            .parse::<IpAddr>()
            .ok()
            .map(|ip| ip.to_string().into()),
        As::Rows(names) => {
            let rows: Vec<Value> = value?
                .as_array()?
                .iter()
                .filter_map(Value::as_object)
                .map(|row| {
                    let mut shown = Map::new();
                    for name in names {
                        put(&mut shown, name, text(row.get(*name)));
                    }
                    shown.into()
                })
                .collect();
            (!rows.is_empty()).then(|| rows.into())
        }
    }
}

/// The value if it counts as text: a string that is not empty, or a number.
fn text(value: Option<&Value>) -> Option<Value> {
    match value? {
        Value::String(text) if !text.is_empty() => Some(text.as_str().into()),
        Value::Number(number) => Some(number.to_string().into()),
        _ => None,
    }
}
