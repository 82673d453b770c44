//! Reads Zoom's answers. Every field is optional and may have any type: unreadable fields are left out, unknown fields stay in the row.
//! Only a row without its key (a meeting's UUID) is malformed.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use chrono::NaiveDate;
use serde::{
    Deserializer,
    de::{Error as _, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::model::{
    CanonicalJson, Host, HostId, Json, ListedMeeting, ListingType, MeetingKind, MeetingUuid, PastMeeting,
    Row, RowEdit, SeriesId, SeriesKind, SeriesRow, Source, json_text,
};

/// An answer: the rows of its list, and its other members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The rows. A row is `None` if it is not an object or cannot be read. `None` as a whole if the answer has no such list.
    pub rows: Option<Vec<Option<Row>>>,
    /// All other members.
    pub head: Row,
}

/// Reads an answer, which is a JSON object. The list in the member `array` is separated from the rest.
///
/// Invalid UTF-8 and lone surrogates (an emoji that was cut in two) are tolerated: they become `U+FFFD`. If a part cannot be read (nested deeper
/// than 128 levels, a number out of range), only that part becomes null, and only that row is missing.
///
/// # Errors
/// The answer is not a JSON object. The error has the parser's message, which quotes nothing of the answer.
pub fn page(body: &[u8], array: &str) -> Result<Page, String> {
    // The usual case: one pass over the bytes.
    if let Ok(page) = read_page(&mut serde_json::Deserializer::from_slice(body), array) {
        return Ok(page);
    }
    let mended = mended(body);
    let error = match read_page(&mut serde_json::Deserializer::from_str(&mended), array) {
        Ok(page) => return Ok(page),
        Err(error) => error,
    };
    let parts: BTreeMap<String, Box<RawValue>> =
        serde_json::from_str(&mended).map_err(|_| match serde_json::from_str::<&RawValue>(&mended) {
            Ok(_) => "it is no JSON object".to_owned(),
            Err(_) => format!("it is no valid JSON ({error})"),
        })?;
    let (mut head, mut rows) = (Vec::new(), None);
    for (name, part) in &parts {
        match serde_json::from_str::<Vec<Box<RawValue>>>(part.get()) {
            Ok(items) if name == array => {
                rows = Some(items.iter().map(|item| Row::read(item.get()).ok()).collect());
            }
            _ => {
                let readable = serde_json::from_str(part.get()).map(CanonicalJson::into_text);
                let value = readable.unwrap_or_else(|_| "null".to_owned());
                head.push(format!("{}:{value}", json_text(name)));
            }
        }
    }
    let head = Row::read(&format!("{{{}}}", head.join(",")));
    Ok(Page {
        rows,
        head: head.map_err(|error| format!("it is no valid JSON ({error})"))?,
    })
}

/// Reads an answer that has no list.
///
/// # Errors
/// As for [`page`].
pub fn object(body: &[u8]) -> Result<Row, String> {
    // No member has an empty name.
    Ok(page(body, "")?.head)
}

/// Reads a well-formed answer.
fn read_page<'de, R: serde_json::de::Read<'de>>(
    deserializer: &mut serde_json::Deserializer<R>,
    array: &str,
) -> Result<Page, serde_json::Error> {
    struct PageVisitor<'a>(&'a str);
    impl<'de> Visitor<'de> for PageVisitor<'_> {
        type Value = Page;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Page, A::Error> {
            let (mut head, mut rows) = (RowEdit::default(), None);
            while let Some(name) = members.next_key::<String>()? {
                if name.contains(['"', '\\']) || name.chars().any(char::is_control) {
                    return Err(A::Error::custom("a name that needs an escape"));
                }
                if name == self.0 {
                    rows = Some(members.next_value::<Vec<Row>>()?.into_iter().map(Some).collect());
                } else {
                    head.set(name, members.next_value::<CanonicalJson>()?.into_text());
                }
            }
            Ok(Page {
                rows,
                head: head.finish(),
            })
        }
    }
    let page = deserializer.deserialize_map(PageVisitor(array))?;
    deserializer.end()?;
    Ok(page)
}

/// The text of the body, with `\ufffd` for every escaped lone surrogate. JSON's grammar allows lone surrogates, but JSON parsers do not.
fn mended(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let mut rest: &str = text.trim_start_matches('\u{feff}');
    let mut mended = String::with_capacity(rest.len());
    let unit = |at: &str| {
        let digits = at.strip_prefix("\\u")?.get(..4)?;
        u16::from_str_radix(digits, 16).ok()
    };
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        mended.push_str(before);
        let pair = escape.get(6..).and_then(unit);
        let (shown, length): (Cow<'_, str>, usize) = match (unit(escape), pair) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => {
                (escape.get(..12).unwrap_or_default().into(), 12)
            }
            (Some(0xd800..=0xdfff), _) => ("\\ufffd".into(), 6),
            // Copies the backslash together with the character it escapes, so that the second of two backslashes is not taken for the first.
            _ => {
                let length = escape.chars().take(2).map(char::len_utf8).sum();
                (escape.get(..length).unwrap_or_default().into(), length)
            }
        };
        mended.push_str(&shown);
        rest = escape.get(length..).unwrap_or_default();
    }
    mended + rest
}

/// Text that is not empty, whether Zoom sent it as text or as a number.
fn text(value: Json<'_>) -> Option<String> {
    let text = value.text_or_number()?;
    Some(text.trim())
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
}

/// The same for a member of a row.
fn text_of(row: &Row, name: &str) -> Option<String> {
    row.get(name).and_then(text)
}

/// A whole number, whether Zoom sent it as a number or as text. Zoom writes meeting numbers with spaces between the digits.
fn whole(value: Json<'_>) -> Option<i64> {
    if value.is_number() {
        return value.whole_number();
    }
    let digits: String = value
        .text()?
        .chars()
        .filter(|c| !matches!(c, ' ' | '-' | '\u{a0}'))
        .collect();
    // Minus signs were removed above as separators. Zoom has no negative counts or ids.
    digits.parse().ok()
}

/// A duration in seconds, from `SS`, `MM:SS`, `HH:MM:SS` or a number of seconds.
pub fn duration_s(value: Json<'_>) -> Option<i64> {
    if value.is_number() {
        return value.whole_number();
    }
    let text = value.text()?;
    let mut total = 0_i64;
    for (at, part) in text.trim().split(':').enumerate() {
        let part: u32 = part.parse().ok()?;
        if at > 2 {
            return None;
        }
        total = total.checked_mul(60)?.checked_add(part.into())?;
    }
    Some(total)
}

/// The day of an echoed `from` or `to`, which may be a date or a date with a time.
pub fn echoed_day(head: &Row, name: &str) -> Option<NaiveDate> {
    head.text(name).get(..10)?.parse().ok()
}

/// A row of `/metrics/meetings` or `/metrics/webinars`.
///
/// # Errors
/// The reason why the row is not a meeting.
pub fn listed_meeting(
    row: Row,
    kind: MeetingKind,
    listing_type: ListingType,
) -> Result<ListedMeeting, String> {
    let mut meeting = ListedMeeting {
        uuid: MeetingUuid::new(""),
        series_id: None,
        kind,
        listing_type,
        source: Source::Dashboard,
        topic: String::new(),
        host_name: String::new(),
        host_email: String::new(),
        start_time: None,
        end_time: None,
        duration_s: None,
        participants: None,
        row: Row::empty(),
    };
    for (name, value) in row.view().members() {
        match name {
            "duration" => meeting.duration_s = duration_s(value),
            "email" => meeting.host_email = text(value).unwrap_or_default(),
            "end_time" => meeting.end_time = value.time(),
            "host" => meeting.host_name = text(value).unwrap_or_default(),
            "id" => meeting.series_id = whole(value).map(SeriesId),
            "participants" => meeting.participants = whole(value),
            "start_time" => meeting.start_time = value.time(),
            "topic" => meeting.topic = text(value).unwrap_or_default(),
            "uuid" => meeting.uuid = MeetingUuid::new(text(value).unwrap_or_default()),
            _ => {}
        }
    }
    if meeting.uuid.as_str().is_empty() {
        return Err("it has no uuid".to_owned());
    }
    meeting.row = row;
    Ok(meeting)
}

/// Zoom's types of webinars, which the reports list among the meetings: not recurring, recurring at any time, and recurring at fixed times.
const WEBINARS: [i64; 3] = [5, 6, 9];

/// A row of `/report/users/{id}/meetings`, with the names and units of the dashboards. `None` for a webinar, unless `webinars` is set.
///
/// # Errors
/// The reason why the row is not a meeting.
pub fn reported_meeting(
    row: &Row,
    listing_type: ListingType,
    host: &Host,
    webinars: bool,
) -> Result<Option<ListedMeeting>, String> {
    let kind = match row.get("type").and_then(whole) {
        Some(kind) if WEBINARS.contains(&kind) => MeetingKind::Webinar,
        _ => MeetingKind::Meeting,
    };
    if kind == MeetingKind::Webinar && !webinars {
        return Ok(None);
    }
    let mut edit = renamed(
        row,
        &[
            ("participants_count", "participants"),
            ("user_email", "email"),
            ("user_name", "host"),
            // The harvester has a field of that name.
            ("source", "created_by"),
        ],
    );
    // The report rounds to whole minutes.
    let minutes = edit.get("duration").and_then(whole);
    let time = |name| edit.get(name).and_then(Json::time);
    let lasted = time("start_time").zip(time("end_time"));
    let seconds = match lasted.map(|(start, end)| (end - start).num_seconds()) {
        Some(seconds) if seconds >= 0 => Some(seconds),
        _ => minutes.and_then(|minutes| minutes.checked_mul(60)),
    };
    edit.remove("duration");
    if let Some(seconds) = seconds {
        edit.set("duration", seconds.to_string());
    }
    // The host is known from the list, even if the row does not name it.
    let said = |edit: &RowEdit<'_>, name: &str| edit.get(name).and_then(text).is_some();
    for (name, value) in [("email", &host.email), ("host", &host.name), ("dept", &host.dept)] {
        if !value.is_empty() && !said(&edit, name) {
            edit.set_text(name, value);
        }
    }
    let mut meeting = listed_meeting(edit.finish(), kind, listing_type)?;
    meeting.source = Source::Reports;
    Ok(Some(meeting))
}

/// A row of `/report/history_meetings`, with the names of the dashboards. `None` for a webinar, unless `webinars` is set. The row does not show
/// which of a host's two lists contains the meeting.
///
/// # Errors
/// The reason why the row is not a meeting.
pub fn history_meeting(row: &Row, webinars: bool) -> Result<Option<ListedMeeting>, String> {
    let kind = match text_of(row, "type") {
        Some(kind) if kind.eq_ignore_ascii_case("webinar") => MeetingKind::Webinar,
        _ => MeetingKind::Meeting,
    };
    if kind == MeetingKind::Webinar && !webinars {
        return Ok(None);
    }
    let edit = renamed(
        row,
        &[
            ("meeting_uuid", "uuid"),
            ("meeting_id", "id"),
            ("host_display_name", "host"),
            ("host_email", "email"),
        ],
    );
    let mut meeting = listed_meeting(edit.finish(), kind, ListingType::Past)?;
    meeting.source = Source::Reports;
    Ok(Some(meeting))
}

/// A row of `/report/meetings/{uuid}/participants`, with the names of the dashboards. `None` for a participant who was only in the waiting room.
pub fn reported_session(row: &Row) -> Option<Row> {
    if row.get("status").and_then(text).as_deref() == Some("in_waiting_room") {
        return None;
    }
    Some(renamed(row, &[("name", "user_name"), ("user_email", "email")]).finish())
}

/// Renames some members of a row. If a member with the new name already exists, that one is kept.
fn renamed<'a>(row: &'a Row, names: &[(&'static str, &'static str)]) -> RowEdit<'a> {
    let mut edit = RowEdit::new(row.view());
    for (theirs, ours) in names {
        if let Some(value) = edit.remove(theirs)
            && edit.get(ours).is_none()
        {
            edit.set(*ours, value);
        }
    }
    edit
}

/// A row of `/report/users`. `None` for a row without an id.
pub fn host(row: &Row) -> Option<Host> {
    Some(Host {
        host_id: HostId::new(text_of(row, "id")?),
        email: text_of(row, "email").unwrap_or_default(),
        name: text_of(row, "user_name").unwrap_or_default(),
        dept: text_of(row, "dept").unwrap_or_default(),
        user_type: row.get("type").and_then(whole),
    })
}

/// A row of `/users/{id}/meetings`. `None` for a row without a number. Types: 1 instant, 2 scheduled, 3 recurring without fixed times, 8 recurring
/// with fixed times, 4 a personal room. `pmi` is present if a personal room was used to schedule.
pub fn series(row: &Row) -> Option<SeriesRow> {
    let series_id = row.get("id").and_then(whole)?;
    let kind = if row.get("pmi").and_then(whole) == Some(series_id) {
        SeriesKind::Personal
    } else {
        match row.get("type").and_then(whole) {
            Some(1) => SeriesKind::Instant,
            Some(2) => SeriesKind::Scheduled,
            Some(3 | 8) => SeriesKind::Recurring,
            Some(4) => SeriesKind::Personal,
            _ => SeriesKind::Unknown,
        }
    };
    Some(SeriesRow {
        series_id: SeriesId(series_id),
        topic: text_of(row, "topic").unwrap_or_default(),
        kind,
    })
}

/// The answer of `/past_meetings/{uuid}`.
pub fn past_meeting(answer: &Row) -> PastMeeting {
    PastMeeting {
        host_id: text_of(answer, "host_id").map(HostId::new),
        user_email: text_of(answer, "user_email").unwrap_or_default(),
        user_name: text_of(answer, "user_name").unwrap_or_default(),
    }
}

/// Reads Zoom's `{"code": …, "message": …}`, also from a body that is not valid JSON: the list of scopes in the message of code 104 has unescaped
/// quotes.
pub fn error_body(body: &[u8]) -> Option<(i64, String)> {
    if let Some(row) = std::str::from_utf8(body)
        .ok()
        .and_then(|body| Row::read(body).ok())
    {
        let code = row.get("code").and_then(whole)?;
        let mut message = text_of(&row, "message").unwrap_or_default();
        let details = row.get("errors").into_iter().flat_map(Json::items);
        for detail in details.filter_map(Json::object) {
            if let Some(said) = detail.get("message").and_then(Json::text) {
                message.push_str("; ");
                message.push_str(&said);
            }
        }
        return Some((code, message));
    }
    let body = std::str::from_utf8(body).ok()?;
    let after = body
        .split_once("\"code\"")?
        .1
        .trim_start()
        .strip_prefix(':')?
        .trim_start();
    let code = after.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
    let message = after
        .split_once("\"message\"")?
        .1
        .trim_start()
        .strip_prefix(':')?
        .trim();
    Some((code, message.trim_matches(['"', '}', ' ', '\n']).to_owned()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::model::parse_time;

    fn row(value: serde_json::Value) -> Row {
        Row::read(&value.to_string()).unwrap()
    }

    #[test]
    fn durations_are_parsed_in_every_form_seen() {
        for (value, seconds) in [
            (json!("00:56"), Some(56)),
            (json!("16:08"), Some(968)),
            (json!("01:23:45"), Some(5025)),
            (json!("105:10:00"), Some(378_600)),
            (json!(""), None),
            (json!(42), Some(42)),
            (json!("1:2:3:4"), None),
            (json!("-1:00"), None),
            (json!("a:b"), None),
            (json!(null), None),
        ] {
            assert_eq!(duration_s(Json::kept(&value.to_string())), seconds, "{value}");
        }
    }

    #[test]
    fn meeting_numbers_come_as_numbers_and_as_text() {
        for value in [
            json!(98_261_002_850_i64),
            json!("98261002850"),
            json!("982 6100 2850"),
        ] {
            assert_eq!(whole(Json::kept(&value.to_string())), Some(98_261_002_850));
        }
        assert_eq!(whole(Json::kept("9007199254740993")), Some(9_007_199_254_740_993));
        assert_eq!(whole(Json::kept("\"n/a\"")), None);
    }

    #[test]
    fn a_lone_surrogate_costs_nothing() {
        for (body, topic) in [
            (r#"{"topic":"a \ud83d\ude00 b"}"#, "a \u{1f600} b"),
            (r#"{"topic":"cut \ud83d"}"#, "cut \u{fffd}"),
            (r#"{"topic":"cut \ude00 here"}"#, "cut \u{fffd} here"),
            (r#"{"topic":"\ud83d\ud83d\ude00"}"#, "\u{fffd}\u{1f600}"),
            (r#"{"topic":"\ud83d\\ude00"}"#, "\u{fffd}\\ude00"),
            (r#"{"topic":"\\ud83d \udc00"}"#, "\\ud83d \u{fffd}"),
            ("\u{feff}{\"topic\":\"mark\"}", "mark"),
        ] {
            assert_eq!(object(body.as_bytes()).unwrap().text("topic"), topic, "{body}");
        }
        assert_eq!(
            object(b"{\"topic\":\"a\xffb\"}").unwrap().text("topic"),
            "a\u{fffd}b"
        );
    }

    #[test]
    fn an_unreadable_row_costs_only_itself() {
        let deep = "[".repeat(1000) + &"]".repeat(1000);
        let body = format!(
            r#"{{"meetings":[{{"uuid":"a"}},{{"deep":{deep}}},{{"n":1e999}},{{"uuid":"b"}}],"x":1}}"#
        );
        let read = page(body.as_bytes(), "meetings").unwrap();
        let rows: Vec<Option<String>> = read
            .rows
            .unwrap()
            .iter()
            .map(|row| row.as_ref().map(|row| row.text("uuid").into_owned()))
            .collect();
        assert_eq!(rows, [Some("a".to_owned()), None, None, Some("b".to_owned())]);
        assert_eq!(read.head.as_str(), r#"{"x":1}"#);
        for body in ["", "[]", "7", "{", "<html>", r#"{"a":}"#, &deep] {
            let said = object(body.as_bytes()).unwrap_err();
            assert!(said.starts_with("it is no "), "{said}");
        }
    }

    #[test]
    fn error_bodies_are_read_even_if_invalid() {
        assert_eq!(
            error_body(br#"{"code":3001,"message":"Meeting does not exist: 1."}"#)
                .unwrap()
                .0,
            3001
        );
        let broken = br#"{"code":104,"message":"Invalid access token, does not contain scopes:["report:read:admin"]."}"#;
        let (code, message) = error_body(broken).unwrap();
        assert_eq!(code, 104);
        assert!(message.contains("report:read:admin"), "{message}");
        assert_eq!(error_body(b"<html>blocked</html>"), None);
        assert_eq!(error_body(b""), None);
    }

    #[test]
    fn only_a_row_without_uuid_is_malformed() {
        assert!(
            listed_meeting(
                row(json!({"topic": "x"})),
                MeetingKind::Meeting,
                ListingType::Past
            )
            .is_err()
        );
        assert_eq!(
            page(br#"{"meetings":[7]}"#, "meetings").unwrap().rows,
            Some(vec![None])
        );
        let odd = json!({"uuid": "u==", "id": {}, "participants": "3", "start_time": 5, "duration": []});
        let meeting = listed_meeting(row(odd), MeetingKind::Meeting, ListingType::PastOne).unwrap();
        assert_eq!(
            (meeting.series_id, meeting.participants, meeting.start_time),
            (None, Some(3), None)
        );
    }

    proptest! {
        #[test]
        fn nothing_from_outside_panics(text in ".{0,60}", bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse_time(&text);
            let json = serde_json::to_string(&text).unwrap();
            let _ = duration_s(Json::kept(&json));
            let _ = whole(Json::kept(&json));
            let _ = error_body(&bytes);
            let _ = echoed_day(&row(json!({ "from": text })), "from");
            let _ = object(&bytes);
            let _ = object(text.as_bytes());
        }
    }
}
