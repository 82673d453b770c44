//! Documents, built from what is kept and from nothing else: the same kept detail gives the same documents, today and in a year.
//!
//! Only documented fields go in, each as the type that the mapping gives it; a value that cannot be read as that type is left
//! out, so that one odd value never costs a document. Everything stays in the catalog as Zoom sent it.

use std::net::IpAddr;

use serde_json::{Map, Value, json};

use crate::model::{Document, IndexKind, Kept, Row, SessionId, is_pseudonym, iso, parse_time};

/// How a field of Zoom's is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum As {
    Text,
    Texts,
    Bool,
    Whole,
    Number,
    Ip,
    Rows(&'static [&'static str]),
}

/// The listing's fields that need no thought, by Zoom's names.
const MEETING_FIELDS: &[(&str, As)] = &[
    ("audio_quality", As::Text),
    ("avg_jointime_cost", As::Number),
    ("custom_keys", As::Rows(&["key", "value"])),
    ("has_3rd_party_audio", As::Bool),
    ("has_archiving", As::Bool),
    ("has_automated_captions", As::Bool),
    ("has_manual_captions", As::Bool),
    ("has_meeting_summary", As::Bool),
    ("has_poll", As::Bool),
    ("has_pstn", As::Bool),
    ("has_qa", As::Bool),
    ("has_recording", As::Bool),
    ("has_screen_share", As::Bool),
    ("has_sip", As::Bool),
    ("has_survey", As::Bool),
    ("has_video", As::Bool),
    ("has_voip", As::Bool),
    ("participants", As::Whole),
    ("screen_share_quality", As::Text),
    ("session_key", As::Text),
    ("tracking_fields", As::Rows(&["field", "value"])),
    ("video_quality", As::Text),
];

/// The participant's fields that need no thought, by Zoom's names.
const SESSION_FIELDS: &[(&str, As)] = &[
    ("aic_disclaimer", As::Text),
    ("as_connection_type", As::Text),
    (
        "audio_call",
        As::Rows(&["call_number", "call_type", "zoom_number"]),
    ),
    ("audio_quality", As::Text),
    ("bo_mtg_id", As::Text),
    ("browser_name", As::Text),
    ("browser_version", As::Text),
    ("camera", As::Text),
    ("client", As::Text),
    ("connection_type", As::Text),
    ("customer_key", As::Text),
    ("data_center", As::Text),
    ("device", As::Text),
    ("device_name", As::Text),
    ("domain", As::Text),
    ("email", As::Text),
    ("from_sip_uri", As::Text),
    ("full_data_center", As::Text),
    ("groupId", As::Text),
    ("harddisk_id", As::Text),
    ("has_archiving", As::Bool),
    ("id", As::Text),
    ("in_room_participants", As::Whole),
    ("internal_ip_addresses", As::Texts),
    ("ip_address", As::Ip),
    ("is_original_host", As::Bool),
    ("leave_reason", As::Text),
    ("location", As::Text),
    ("mac_addr", As::Text),
    ("microphone", As::Text),
    ("network_type", As::Text),
    ("optional_archiving", As::Text),
    ("os", As::Text),
    ("os_version", As::Text),
    ("participant_user_id", As::Text),
    ("participant_uuid", As::Text),
    ("pc_name", As::Text),
    ("recording", As::Bool),
    ("registrant_id", As::Text),
    ("role", As::Text),
    ("screen_share_quality", As::Text),
    ("share_application", As::Bool),
    ("share_desktop", As::Bool),
    ("share_whiteboard", As::Bool),
    ("sip_uri", As::Text),
    ("speaker", As::Text),
    ("status", As::Text),
    ("total_jointime_cost", As::Number),
    ("user_id", As::Text),
    ("user_name", As::Text),
    ("version", As::Text),
    ("video_connection_type", As::Text),
    ("video_quality", As::Text),
    ("zoom_thin_client_plugin_version", As::Text),
];

/// A meeting's document.
pub fn meeting(kept: &Kept) -> Document {
    let mut body = shared(kept);
    copy(&mut body, &kept.listing, MEETING_FIELDS);
    let at = kept.start_time.or(kept.end_time);
    put(&mut body, "@timestamp", at.map(|at| iso(at).into()));
    body.insert("uuid".into(), kept.uuid.as_str().into());
    put(&mut body, "start_time", kept.start_time.map(|at| iso(at).into()));
    put(&mut body, "end_time", kept.end_time.map(|at| iso(at).into()));
    put(&mut body, "duration", kept.duration_s.map(Value::from));
    body.insert("participant_sessions".into(), kept.detail.sessions.len().into());
    Document {
        index: IndexKind::Meetings,
        id: kept.uuid.as_str().to_owned(),
        version: kept.revision,
        body: body.into(),
    }
}

/// The documents of a meeting's sessions.
pub fn sessions(kept: &Kept) -> impl Iterator<Item = Document> + '_ {
    let shared = shared(kept);
    kept.detail
        .session_ids()
        .into_iter()
        .zip(&kept.detail.sessions)
        .map(move |(id, row)| session(kept, &shared, id, row))
}

fn session(kept: &Kept, shared: &Map<String, Value>, id: SessionId, row: &Row) -> Document {
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
    Document {
        index: IndexKind::Sessions,
        id: id.as_str().to_owned(),
        version: kept.revision,
        body: body.into(),
    }
}

/// What both kinds show of the meeting.
fn shared(kept: &Kept) -> Map<String, Value> {
    let mut body = Map::new();
    body.insert("account_id".into(), kept.account_id.as_str().into());
    put(
        &mut body,
        "meeting_series_id",
        kept.series_id.map(|id| id.0.into()),
    );
    put(&mut body, "topic", text(kept.listing.get("topic")));
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
        put(&mut host, name, text(kept.listing.get(field)));
    }
    body.insert("host".into(), host.into());
    body
}

/// The ancestor knew city and country apart; today's `location` is `San Jose (US)`, or a country alone.
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

fn copy(body: &mut Map<String, Value>, row: &Row, fields: &[(&str, As)]) {
    for (name, kind) in fields {
        put(body, &shown_name(name), read(row.get(*name), *kind));
    }
}

/// Zoom's names are kept; one of them is not snake_case.
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

/// Text that says something; numbers count as text.
fn text(value: Option<&Value>) -> Option<Value> {
    match value? {
        Value::String(text) if !text.is_empty() => Some(text.as_str().into()),
        Value::Number(number) => Some(number.to_string().into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AccountId, Checksum, Detail, HostId, MeetingUuid, SeriesId};

    fn row(value: Value) -> Row {
        value.as_object().unwrap().clone()
    }

    fn kept(listing: Value, sessions: Vec<Value>) -> Kept {
        let uuid = MeetingUuid::new("gm8s9L+PTEC+FG3sFbd1Cw==");
        Kept {
            uuid: uuid.clone(),
            account_id: AccountId::new("account"),
            series_id: Some(SeriesId(93_201_235_621)),
            host_id: Some(HostId::new("host-1")),
            start_time: parse_time("2026-03-04T10:00:00Z"),
            end_time: parse_time("2026-03-04T10:30:00Z"),
            duration_s: Some(1800),
            listing: row(listing),
            detail: Detail::new(uuid, sessions.into_iter().map(row).collect()),
            revision: 1_772_618_400_000,
            document_checksum: Checksum::of_bytes(b""),
            lost_sessions: Vec::new(),
        }
    }

    #[test]
    fn documents_of_a_meeting() {
        let kept = kept(
            json!({"topic": "Biology 101", "host": "Host 001", "email": "host001@example.edu", "user_type": "Licensed",
                   "dept": "Biology", "participants": 2, "has_pstn": false, "has_video": true, "audio_quality": "good",
                   "tracking_fields": [{"field": "Course", "value": "BIO"}], "unknown": "stays in the catalog"}),
            vec![
                json!({"user_id": "16778240", "participant_uuid": "P-1", "user_name": "Guest", "email": "", "id": "",
                       "ip_address": "192.0.2.1", "location": "San Jose (US)", "join_time": "2026-03-04T10:00:05.5Z",
                       "leave_time": "2026-03-04T10:29:00Z", "recording": false, "internal_ip_addresses": ["198.51.100.7"],
                       "groupId": "G"}),
                json!({"user_id": 7, "join_time": "2026-03-04T10:10:00Z", "leave_time": "", "location": "Germany",
                       "ip_address": "not an address", "share_desktop": "true", "in_room_participants": "3"}),
            ],
        );
        let mut documents = vec![meeting(&kept)];
        documents.extend(sessions(&kept));
        let shown: Vec<String> = documents
            .iter()
            .map(|one| {
                format!(
                    "{:?} {}\n{}",
                    one.index,
                    one.id,
                    serde_json::to_string_pretty(&one.body).unwrap()
                )
            })
            .collect();
        insta::assert_snapshot!(shown.join("\n"));
    }

    #[test]
    fn odd_values_are_left_out_and_cost_nothing_else() {
        let kept = kept(
            json!({"topic": ["no", "text"], "participants": "many", "has_video": "perhaps", "custom_keys": "none"}),
            vec![
                json!({"join_time": 5, "leave_time": null, "in_room_participants": {}, "audio_call": [1], "user_name": "x"}),
            ],
        );
        let meeting = meeting(&kept);
        for name in ["topic", "participants", "has_video", "custom_keys"] {
            assert_eq!(meeting.body.get(name), None, "{name}");
        }
        let session = sessions(&kept).next().unwrap();
        assert_eq!(session.body["user_name"], "x");
        assert_eq!(session.body["@timestamp"], "2026-03-04T10:00:00Z");
        assert_eq!(session.body.get("join_time"), None);
    }

    /// Else a policy that drops unknown fields would drop documented ones.
    #[test]
    fn every_field_is_known_to_the_policy() {
        for (name, _) in MEETING_FIELDS {
            assert!(crate::privacy::is_known_of_meetings(name), "{name}");
        }
        for (name, _) in SESSION_FIELDS {
            assert!(crate::privacy::is_known_of_sessions(name), "{name}");
        }
    }

    #[test]
    fn every_field_has_its_type_in_the_mapping() {
        let typed = |mapping: &str| serde_json::from_str::<Value>(mapping).unwrap()["properties"].clone();
        for (fields, mapping) in [
            (MEETING_FIELDS, typed(include_str!("mappings/meetings.json"))),
            (SESSION_FIELDS, typed(include_str!("mappings/sessions.json"))),
        ] {
            for (name, kind) in fields {
                let mapped = &mapping[shown_name(name)];
                let expected = match kind {
                    As::Text | As::Texts => "keyword",
                    As::Bool => "boolean",
                    As::Whole => "long",
                    As::Number => "double",
                    As::Ip => "ip",
                    As::Rows(_) => {
                        assert!(mapped["properties"].is_object(), "{name}");
                        continue;
                    }
                };
                assert_eq!(mapped["type"], expected, "{name}");
            }
        }
    }
}
