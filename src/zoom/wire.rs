//! What Zoom's answers mean. Every field is optional and of any type: what cannot be read is left out, what is unknown is kept in
//! the row. Only the absence of what makes a row a row (a meeting's UUID) makes it malformed.

use std::{borrow::Cow, collections::BTreeMap};

use chrono::{DateTime, NaiveDate, Utc};
use serde_json::{Value, value::RawValue};

use crate::model::{
    Host, HostId, ListedMeeting, ListingType, MeetingUuid, PastMeeting, Row, SeriesId, SeriesKind, SeriesRow,
    parse_time,
};

/// The object that an answer is. What is nearly JSON is read: bytes that are no UTF-8, and halves of surrogate pairs (an emoji that was cut
/// in two) become `U+FFFD`. Where a part is beyond reading (nested deeper than 128, a number without end), that part alone is null.
///
/// # Errors
/// It is no JSON object; the parser's words, which quote nothing.
pub fn object(body: &[u8]) -> Result<Row, String> {
    let as_object = |value| match value {
        Value::Object(row) => Ok(row),
        _ => Err("it is no JSON object".to_owned()),
    };
    if let Ok(value) = serde_json::from_slice(body) {
        return as_object(value);
    }
    let mended = mended(body);
    match serde_json::from_str(&mended) {
        Ok(value) => as_object(value),
        Err(error) => {
            let parts: BTreeMap<String, Box<RawValue>> =
                serde_json::from_str(&mended).map_err(|_| format!("it is no valid JSON ({error})"))?;
            Ok(parts
                .into_iter()
                .map(|(name, part)| (name, readable(&part)))
                .collect())
        }
    }
}

/// The value, or a list of those of its items that can be read; null for what cannot.
fn readable(part: &RawValue) -> Value {
    let read = |part: &RawValue| serde_json::from_str::<Value>(part.get());
    read(part).unwrap_or_else(|_| {
        let items = serde_json::from_str::<Vec<Box<RawValue>>>(part.get()).unwrap_or_default();
        match items.is_empty() {
            true => Value::Null,
            false => items.iter().map(|item| read(item).unwrap_or_default()).collect(),
        }
    })
}

/// The text of the body, with `\ufffd` for every escaped half of a surrogate pair: JSON's grammar allows them, JSON's readers do not.
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
            // The backslash and what it escapes, so that the second of two is not taken for a first.
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

/// Text, whether Zoom sent it as text or as a number; nothing for null and for what is empty.
fn text(row: &Row, name: &str) -> Option<String> {
    match row.get(name)? {
        Value::String(text) if !text.trim().is_empty() => Some(text.trim().to_owned()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A whole number, whether Zoom sent it as a number or as text; spaces between digits are Zoom's way to write meeting numbers.
fn whole(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => {
            let digits: String = text
                .chars()
                .filter(|c| !matches!(c, ' ' | '-' | '\u{a0}'))
                .collect();
            // A lone minus sign was a separator above; no count or id of Zoom's is negative.
            digits.parse().ok()
        }
        _ => None,
    }
}

fn time_field(row: &Row, name: &str) -> Option<DateTime<Utc>> {
    row.get(name)?.as_str().and_then(parse_time)
}

/// Seconds of `SS`, `MM:SS`, `HH:MM:SS` or a number of seconds.
pub fn duration_s(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => {
            let parts: Vec<i64> = text
                .trim()
                .split(':')
                .map(|part| part.parse::<u32>().ok().map(i64::from))
                .collect::<Option<_>>()?;
            if parts.len() > 3 {
                return None;
            }
            parts
                .into_iter()
                .try_fold(0_i64, |total, part| total.checked_mul(60)?.checked_add(part))
        }
        _ => None,
    }
}

/// The day of an echoed `from` or `to`, which may be a date or a date with a time.
pub fn echoed_day(answer: &Row, name: &str) -> Option<NaiveDate> {
    answer.get(name)?.as_str()?.get(..10)?.parse().ok()
}

/// A row of `/metrics/meetings`.
pub fn listed_meeting(value: &Value, listing_type: ListingType) -> Result<ListedMeeting, String> {
    let row = value.as_object().ok_or_else(|| "it is no object".to_owned())?;
    let uuid = text(row, "uuid").ok_or_else(|| "it has no uuid".to_owned())?;
    Ok(ListedMeeting {
        uuid: MeetingUuid::new(uuid),
        series_id: row.get("id").and_then(whole).map(SeriesId),
        listing_type,
        topic: text(row, "topic").unwrap_or_default(),
        host_name: text(row, "host").unwrap_or_default(),
        host_email: text(row, "email").unwrap_or_default(),
        start_time: time_field(row, "start_time"),
        end_time: time_field(row, "end_time"),
        duration_s: row.get("duration").and_then(duration_s),
        participants: row.get("participants").and_then(whole),
        row: row.clone(),
    })
}

/// A row of `/report/users`; nothing for one without an id.
pub fn host(value: &Value) -> Option<Host> {
    let row = value.as_object()?;
    Some(Host {
        host_id: HostId::new(text(row, "id")?),
        email: text(row, "email").unwrap_or_default(),
        name: text(row, "user_name").unwrap_or_default(),
        dept: text(row, "dept").unwrap_or_default(),
        user_type: row.get("type").and_then(whole),
    })
}

/// A row of `/users/{id}/meetings`; nothing for one without a number. Types: 1 instant, 2 scheduled, 3 recurring without and 8
/// with fixed times, 4 a personal room; `pmi` is there where a personal room was used to schedule.
pub fn series(value: &Value) -> Option<SeriesRow> {
    let row = value.as_object()?;
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
        topic: text(row, "topic").unwrap_or_default(),
        kind,
    })
}

/// The answer of `/past_meetings/{uuid}`.
pub fn past_meeting(answer: &Row) -> PastMeeting {
    PastMeeting {
        host_id: text(answer, "host_id").map(HostId::new),
        user_email: text(answer, "user_email").unwrap_or_default(),
        user_name: text(answer, "user_name").unwrap_or_default(),
    }
}

/// Zoom's `{"code": …, "message": …}`, also out of a body that is no valid JSON: the list of scopes in the message of code 104
/// comes with its quotes unescaped.
pub fn error_body(body: &[u8]) -> Option<(i64, String)> {
    if let Ok(Value::Object(row)) = serde_json::from_slice(body) {
        let code = row.get("code").and_then(whole)?;
        let mut message = text(&row, "message").unwrap_or_default();
        let details = row.get("errors").and_then(Value::as_array).into_iter().flatten();
        for detail in details.filter_map(|detail| detail.get("message").and_then(Value::as_str)) {
            message.push_str("; ");
            message.push_str(detail);
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

    #[test]
    fn durations_of_every_shape_seen() {
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
            assert_eq!(duration_s(&value), seconds, "{value}");
        }
    }

    #[test]
    fn meeting_numbers_come_as_numbers_and_as_text() {
        for value in [
            json!(98_261_002_850_i64),
            json!("98261002850"),
            json!("982 6100 2850"),
        ] {
            assert_eq!(whole(&value), Some(98_261_002_850));
        }
        assert_eq!(
            whole(&json!(9_007_199_254_740_993_i64)),
            Some(9_007_199_254_740_993)
        );
        assert_eq!(whole(&json!("n/a")), None);
    }

    #[test]
    fn an_emoji_that_was_cut_in_two_costs_nothing() {
        for (body, topic) in [
            (r#"{"topic":"a \ud83d\ude00 b"}"#, "a \u{1f600} b"),
            (r#"{"topic":"cut \ud83d"}"#, "cut \u{fffd}"),
            (r#"{"topic":"cut \ude00 here"}"#, "cut \u{fffd} here"),
            (r#"{"topic":"\ud83d\ud83d\ude00"}"#, "\u{fffd}\u{1f600}"),
            (r#"{"topic":"\ud83d\\ude00"}"#, "\u{fffd}\\ude00"),
            (r#"{"topic":"\\ud83d \udc00"}"#, "\\ud83d \u{fffd}"),
            ("\u{feff}{\"topic\":\"mark\"}", "mark"),
        ] {
            assert_eq!(object(body.as_bytes()).unwrap()["topic"], topic, "{body}");
        }
        assert_eq!(object(b"{\"topic\":\"a\xffb\"}").unwrap()["topic"], "a\u{fffd}b");
    }

    #[test]
    fn a_row_beyond_reading_costs_itself_and_not_its_page() {
        let deep = "[".repeat(1000) + &"]".repeat(1000);
        let body = format!(
            r#"{{"meetings":[{{"uuid":"a"}},{{"deep":{deep}}},{{"n":1e999}},{{"uuid":"b"}}],"x":1}}"#
        );
        let row = object(body.as_bytes()).unwrap();
        assert_eq!(row["meetings"], json!([{"uuid": "a"}, null, null, {"uuid": "b"}]));
        assert_eq!(row["x"], 1);
        for body in ["", "[]", "7", "{", "<html>", r#"{"a":}"#, &deep] {
            let said = object(body.as_bytes()).unwrap_err();
            assert!(said.starts_with("it is no "), "{said}");
        }
    }

    #[test]
    fn error_bodies_valid_or_not() {
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
    fn a_row_without_a_uuid_is_malformed_and_nothing_else_is() {
        assert!(listed_meeting(&json!({"topic": "x"}), ListingType::Past).is_err());
        assert!(listed_meeting(&json!(7), ListingType::Past).is_err());
        let odd = json!({"uuid": "u==", "id": {}, "participants": "3", "start_time": 5, "duration": []});
        let meeting = listed_meeting(&odd, ListingType::PastOne).unwrap();
        assert_eq!(
            (meeting.series_id, meeting.participants, meeting.start_time),
            (None, Some(3), None)
        );
    }

    proptest! {
        #[test]
        fn nothing_from_outside_panics(text in ".{0,60}", bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse_time(&text);
            let _ = duration_s(&Value::String(text.clone()));
            let _ = whole(&Value::String(text.clone()));
            let _ = error_body(&bytes);
            let row = json!({ "from": text });
            let _ = echoed_day(row.as_object().unwrap(), "from");
            let _ = object(&bytes);
            let _ = object(text.as_bytes());
        }
    }
}
