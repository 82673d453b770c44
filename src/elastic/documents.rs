//! Documents, built from the kept rows alone: the same rows always give the same documents.
//!
//! They are written as JSON text straight from the kept rows. A value that already has the right type is copied unchanged. Only documented fields go
//! in, each as the type that the mapping gives it. A value that cannot be read as that type is left out, so that one odd value never costs a
//! document. The catalog keeps everything as Zoom sent it.

use std::net::IpAddr;

use crate::model::{Document, IndexKind, Json, Kept, Row, RowView, SessionId, is_pseudonym, iso, json_text};

/// The type as which a field of Zoom's is shown.
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

/// The listing's fields that are copied by type, by Zoom's names.
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

/// The participant's fields that are copied by type, by Zoom's names.
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

/// The members about the meeting that both kinds of document have. All documents of the meeting begin with them.
pub(super) fn shared(kept: &Kept) -> String {
    let mut out = String::with_capacity(512);
    put_text(&mut out, "account_id", kept.account_id.as_str());
    put_text(&mut out, "kind", kept.kind.as_str());
    put_text(&mut out, "source", kept.source.as_str());
    if let Some(series) = kept.series_id {
        put(&mut out, "meeting_series_id", &series.to_string());
    }
    let occurrence = kept.occurrence_id.as_ref().unwrap_or(&kept.uuid);
    put_text(&mut out, "occurrence_id", occurrence.as_str());
    let mut host = String::from("{");
    if let Some(host_id) = &kept.host_id {
        put_text(&mut host, "host_id", host_id.as_str());
    }
    for (name, value) in kept.listing.view().members() {
        match name {
            "topic" => put_as(&mut out, "topic", value, As::Text),
            "host" => put_as(&mut host, "name", value, As::Text),
            "email" | "user_type" | "dept" => put_as(&mut host, name, value, As::Text),
            _ => {}
        }
    }
    host.push('}');
    put(&mut out, "host", &host);
    out
}

/// The body of a meeting's document.
pub(super) fn write_meeting(out: &mut String, kept: &Kept, shared: &str) {
    begin(out, shared);
    put_fields(out, kept.listing.view(), MEETING_FIELDS, |_, _| {});
    let times = [("start_time", kept.start_time), ("end_time", kept.end_time)];
    if let Some(at) = kept.start_time.or(kept.end_time) {
        put_text(out, "@timestamp", &iso(at));
    }
    put_text(out, "uuid", kept.uuid.as_str());
    for (name, at) in times {
        if let Some(at) = at {
            put_text(out, name, &iso(at));
        }
    }
    if let Some(seconds) = kept.duration_s {
        put(out, "duration", &seconds.to_string());
    }
    put(out, "participant_sessions", &kept.detail.len().to_string());
    out.push('}');
}

/// The body of a session's document.
pub(super) fn write_session(out: &mut String, kept: &Kept, shared: &str, id: &SessionId, row: RowView<'_>) {
    begin(out, shared);
    let (mut joined, mut left, mut address, mut location) = (None, None, None, None);
    put_fields(out, row, SESSION_FIELDS, |name, value| match name {
        "join_time" => joined = value.time(),
        "leave_time" => left = value.time(),
        "ip_address" => address = value.text(),
        "location" => location = value.text(),
        _ => {}
    });
    if let Some(at) = joined.or(kept.start_time).or(kept.end_time) {
        put_text(out, "@timestamp", &iso(at));
    }
    put_text(out, "session_id", id.as_str());
    put_text(out, "meeting", kept.uuid.as_str());
    for (name, at) in [("join_time", joined), ("leave_time", left)] {
        if let Some(at) = at {
            put_text(out, name, &iso(at));
        }
    }
    let stayed = joined
        .zip(left)
        .map(|(joined, left)| (left - joined).num_seconds());
    if let Some(seconds) = stayed.filter(|seconds| *seconds >= 0) {
        put(out, "duration", &seconds.to_string());
    }
    // The type `ip` takes addresses only.
    if let Some(address) = address.filter(|address| is_pseudonym(address)) {
        put_text(out, "ip_pseudonym", &address);
    }
    if let Some(location) = location.filter(|location| !is_pseudonym(location)) {
        let (city, country) = place(&location);
        for (name, value) in [("city", city), ("country", country)] {
            if let Some(value) = value {
                put_text(out, name, value);
            }
        }
    }
    out.push('}');
}

/// A meeting's document, as a search would return it.
pub(super) fn meeting(kept: &Kept) -> Document {
    let mut body = String::new();
    write_meeting(&mut body, kept, &shared(kept));
    document(kept, IndexKind::Meetings, kept.uuid.as_str(), &body)
}

/// The documents of a meeting's sessions.
pub(super) fn sessions(kept: &Kept) -> Vec<Document> {
    let shared = shared(kept);
    let ids = kept.detail.session_ids();
    ids.iter()
        .zip(kept.detail.rows())
        .map(|(id, row)| {
            let mut body = String::new();
            write_session(&mut body, kept, &shared, id, row);
            document(kept, IndexKind::Sessions, id.as_str(), &body)
        })
        .collect()
}

/// The documents of one meeting, in the order in which they are sent: sessions first.
pub(super) fn of(kept: &Kept) -> Vec<Document> {
    let mut all = sessions(kept);
    all.push(meeting(kept));
    all
}

fn document(kept: &Kept, index: IndexKind, id: &str, body: &str) -> Document {
    Document {
        index,
        id: id.to_owned(),
        version: kept.revision,
        // It is an object: it was just written as one.
        body: Row::read(body)
            .unwrap_or_else(|_| Row::empty())
            .as_str()
            .to_owned(),
    }
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

/// Begins an object with members that are already written.
fn begin(out: &mut String, shared: &str) {
    out.push('{');
    out.push_str(shared);
}

/// Adds a member whose value is already JSON.
fn put(out: &mut String, name: &str, json: &str) {
    separate(out);
    out.push('"');
    out.push_str(name);
    out.push_str("\":");
    out.push_str(json);
}

fn put_text(out: &mut String, name: &str, text: &str) {
    put(out, name, &json_text(text));
}

/// Adds a comma, unless it is before the first member or item.
fn separate(out: &mut String) {
    if !out.is_empty() && !out.ends_with(['{', '[']) {
        out.push(',');
    }
}

/// Adds the fields of a row that the table names. Both are in the order of their names. `see` is called with every field.
fn put_fields<'a>(
    out: &mut String,
    row: RowView<'a>,
    fields: &[(&str, As)],
    mut see: impl FnMut(&str, Json<'a>),
) {
    let mut fields = fields.iter().peekable();
    for (name, value) in row.members() {
        see(name, value);
        // No name in the table needs an escape, and a name with an escape may be out of order as it is written.
        if name.contains('\\') {
            continue;
        }
        while fields.next_if(|(wanted, _)| *wanted < name).is_some() {}
        if let Some((_, kind)) = fields.next_if(|(wanted, _)| *wanted == name) {
            put_as(out, shown_name(name), value, *kind);
        }
    }
}

/// The name of a field in the documents: Zoom's name, except for the one that is not snake_case.
fn shown_name(name: &str) -> &str {
    match name {
        "groupId" => "group_id",
        name => name,
    }
}

/// Adds a value as the given type, if it can be read as that type.
fn put_as(out: &mut String, name: &str, value: Json<'_>, kind: As) {
    match kind {
        As::Text => {
            if let Some(text) = text(value) {
                separate(out);
                out.push('"');
                out.push_str(name);
                out.push_str("\":");
                push_text(out, text);
            }
        }
        As::Bool => {
            if let Some(flag) = flag(value) {
                put(out, name, if flag { "true" } else { "false" });
            }
        }
        As::Whole => {
            if let Some(number) = whole(value) {
                put(out, name, &number.to_string());
            }
        }
        As::Number => {
            let number = value.number().or_else(|| value.text()?.trim().parse().ok());
            if let Some(number) = number.filter(|number: &f64| number.is_finite()) {
                // A finite number can always be written.
                put(out, name, &serde_json::to_string(&number).unwrap_or_default());
            }
        }
        As::Ip => {
            let address = value.text().and_then(|text| text.trim().parse::<IpAddr>().ok());
            if let Some(address) = address {
                put_text(out, name, &address.to_string());
            }
        }
        As::Texts => put_texts(out, name, value),
        As::Rows(names) => put_rows(out, name, value, names),
    }
}

fn put_texts(out: &mut String, name: &str, value: Json<'_>) {
    if !value.is_list() && text(value).is_none() {
        return;
    }
    put(out, name, "[");
    let one = Some(value).filter(|value| !value.is_list());
    for text in value.items().chain(one).filter_map(text) {
        separate(out);
        push_text(out, text);
    }
    out.push(']');
}

fn put_rows(out: &mut String, name: &str, value: Json<'_>, names: &[&str]) {
    if value.items().all(|item| item.object().is_none()) {
        return;
    }
    put(out, name, "[");
    for row in value.items().filter_map(Json::object) {
        separate(out);
        out.push('{');
        for (name, value) in row.members().filter(|(name, _)| names.contains(name)) {
            put_as(out, name, value, As::Text);
        }
        out.push('}');
    }
    out.push(']');
}

/// The value if it counts as text: a string that is not empty, or a number.
fn text(value: Json<'_>) -> Option<Json<'_>> {
    let said = value.is_number() || (value.as_str().starts_with('"') && value.as_str() != "\"\"");
    said.then_some(value)
}

/// Appends a string unchanged, a number in quotes.
fn push_text(out: &mut String, value: Json<'_>) {
    if value.is_number() {
        out.push('"');
        out.push_str(value.as_str());
        out.push('"');
    } else {
        out.push_str(value.as_str());
    }
}

fn flag(value: Json<'_>) -> Option<bool> {
    match value.as_str() {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => {
            let text = value.text()?;
            let says = |word: &str| text.eq_ignore_ascii_case(word);
            says("true")
                .then_some(true)
                .or_else(|| says("false").then_some(false))
        }
    }
}

fn whole(value: Json<'_>) -> Option<i64> {
    value.whole_number().or_else(|| value.text()?.trim().parse().ok())
}

#[cfg(test)]
mod naive;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::model::{
        AccountId, Checksum, Detail, HostId, MeetingKind, MeetingUuid, SeriesId, Source, parse_time,
    };

    fn row(value: Value) -> Row {
        Row::read(&value.to_string()).unwrap()
    }

    fn kept(listing: Value, sessions: Vec<Value>) -> Kept {
        let uuid = MeetingUuid::new("gm8s9L+PTEC+FG3sFbd1Cw==");
        Kept {
            uuid: uuid.clone(),
            account_id: AccountId::new("account"),
            kind: MeetingKind::Meeting,
            occurrence_id: None,
            source: Source::Dashboard,
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

    fn body(document: &Document) -> Value {
        serde_json::from_str(&document.body).unwrap()
    }

    #[test]
    fn the_documents_of_a_meeting() {
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
                    serde_json::to_string_pretty(&body(one)).unwrap()
                )
            })
            .collect();
        insta::assert_snapshot!(shown.join("\n"));
    }

    #[test]
    fn values_of_unexpected_types_are_left_out_and_the_rest_is_kept() {
        let kept = kept(
            json!({"topic": ["no", "text"], "participants": "many", "has_video": "perhaps", "custom_keys": "none"}),
            vec![
                json!({"join_time": 5, "leave_time": null, "in_room_participants": {}, "audio_call": [1], "user_name": "x"}),
            ],
        );
        let meeting = body(&meeting(&kept));
        for name in ["topic", "participants", "has_video", "custom_keys"] {
            assert_eq!(meeting.get(name), None, "{name}");
        }
        let session = body(&sessions(&kept)[0]);
        assert_eq!(session["user_name"], "x");
        assert_eq!(session["@timestamp"], "2026-03-04T10:00:00Z");
        assert_eq!(session.get("join_time"), None);
    }

    /// Otherwise a policy that drops unknown fields would drop documented ones.
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

    /// Values of every kind, most of them readable as a field's type.
    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-2_i64..4).prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>()
                .prop_filter("JSON has finite numbers only", |n| n.is_finite())
                .prop_map(Value::from),
            prop::sample::select(vec![
                "",
                " ",
                "0",
                "1",
                "true",
                "False",
                "TRUE ",
                " +3 ",
                "-0",
                "1e3",
                "1e999",
                "inf",
                "NaN",
                "0x1",
                "9223372036854775808",
                "192.0.2.1",
                " 192.0.2.1\n",
                "192.0.2.01",
                "2001:DB8:0::1",
                "::ffff:192.0.2.1",
                "pseudonym-0123456789abcdef0123456789abcdef",
                " pseudonym-0123456789abcdef0123456789abcdef",
                "San Jose (US)",
                "San \"J\" (US) ",
                "(US)",
                "()",
                "( ) ",
                "a (b) (c)",
                ")",
                "Germany",
                "\u{a0}x\u{a0}",
                "2026-03-04T10:00:05Z",
                "2026-03-04T10:00:05.999Z",
                "2026-03-04T12:00:05+02:00",
                "2016-12-31T23:59:60Z",
                "2026-03-04 10:00:05:216",
                " 2026-03-04T09:00:00 ",
                "+10000-01-01T00:00:00Z",
                "2026-13-04T10:00:00Z",
                "\u{0}\u{1f}\u{7f}\"\\/\u{2028}\u{1f600}",
                "[",
                "{",
                ",",
            ])
            .prop_map(Value::from),
            "(?s).{0,8}".prop_map(Value::from),
        ];
        let name = prop::sample::select(vec![
            "key",
            "value",
            "field",
            "call_number",
            "call_type",
            "zoom_number",
            "value\"",
            "other",
        ]);
        leaf.prop_recursive(3, 24, 5, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(name.clone(), inner, 0..4)
                    .prop_map(|all| Value::Object(all.into_iter().map(|(n, v)| (n.to_owned(), v)).collect())),
            ]
        })
    }

    fn any_row(
        fields: &'static [(&'static str, As)],
        others: &'static [&'static str],
    ) -> impl Strategy<Value = Value> {
        let known = fields
            .iter()
            .map(|(name, _)| (*name).to_owned())
            .chain(others.iter().map(|n| (*n).to_owned()));
        // In addition to the known names: names that come next to them in one order or another.
        let names: Vec<String> = known
            .flat_map(|name| {
                let near = [
                    format!("{name}\""),
                    format!("{name}\\"),
                    format!("{name}\u{1}"),
                    format!("{name}x"),
                ];
                let cut = ["\"", "\\", "\n"].map(|c| format!("{}{c}", &name[..name.len() - 1]));
                let middle = format!("{}\"", &name[..name.len() / 2]);
                std::iter::repeat_n(name, 24)
                    .chain(near)
                    .chain(cut)
                    .chain([middle, "group\"".to_owned()])
            })
            .collect();
        prop::collection::btree_map(prop::sample::select(names), any_value(), 0..40)
            .prop_map(|members| Value::Object(members.into_iter().collect()))
    }

    const OF_MEETINGS: &[&str] = &[
        "topic",
        "host",
        "email",
        "user_type",
        "dept",
        "uuid",
        "id",
        "start_time",
        "duration",
    ];
    const OF_SESSIONS: &[&str] = &[
        "join_time",
        "leave_time",
        "duration",
        "city",
        "group_id",
        "session_id",
        "@timestamp",
        "host",
    ];

    fn any_kept() -> impl Strategy<Value = Kept> {
        let time = || {
            prop::option::of(0_i64..4_000_000_000)
                .prop_map(|at| at.and_then(|at| chrono::DateTime::from_timestamp(at, 0)))
        };
        let ids = (
            prop::option::of(any::<i64>()),
            prop::option::of(".{0,6}"),
            ".{0,6}",
            prop::option::of(".{0,6}"),
            prop::sample::select(&MeetingKind::ALL[..]),
        );
        let rows = (
            any_row(MEETING_FIELDS, OF_MEETINGS),
            prop::collection::vec(any_row(SESSION_FIELDS, OF_SESSIONS), 0..4),
        );
        (ids, time(), time(), prop::option::of(any::<i64>()), rows).prop_map(
            |((series, host, account, occurrence, kind), start, end, seconds, (listing, sessions))| Kept {
                account_id: AccountId::new(account),
                kind,
                occurrence_id: occurrence.map(MeetingUuid::new),
                source: Source::Reports,
                series_id: series.map(SeriesId),
                host_id: host.map(HostId::new),
                start_time: start,
                end_time: end,
                duration_s: seconds,
                ..kept(listing, sessions)
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]
        /// The naive builder makes a document as a tree of values.
        #[test]
        fn documents_equal_those_of_a_naive_builder(kept in any_kept()) {
            prop_assert_eq!(body(&meeting(&kept)), naive::meeting(&kept));
            let written: Vec<Value> = sessions(&kept).iter().map(body).collect();
            prop_assert_eq!(written, naive::sessions(&kept));
        }

        /// Documents as they are sent: each on one line, no name twice.
        #[test]
        fn documents_are_written_as_one_object_on_one_line(kept in any_kept()) {
            let shared = shared(&kept);
            let mut all = vec![String::from("{}\n")];
            write_meeting(&mut all[0], &kept, &shared);
            for (id, row) in kept.detail.session_ids().iter().zip(kept.detail.rows()) {
                let mut one = String::from("{}\n");
                write_session(&mut one, &kept, &shared, id, row);
                all.push(one);
            }
            for one in all {
                let one = one.strip_prefix("{}\n").unwrap();
                prop_assert!(!one.contains('\n'));
                let tree: Value = serde_json::from_str(one).unwrap();
                prop_assert_eq!(tree.to_string().len(), one.len());
            }
        }
    }
}
