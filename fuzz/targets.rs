//! The properties that must hold for any bytes. `cargo fuzz` looks for bytes that violate them. `tests/all/fuzz.rs` tries a few on every run.

#![allow(dead_code, reason = "each binary uses one")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is how a target tells")]

use reqwest::{
    StatusCode,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use zoom_harvester::{
    config::{Config, Error, Inputs, assignments},
    model::{
        Detail, Json, Label, ListingType, MeetingKind, MeetingUuid, Row, RowEdit, iso, json_text, parse_time,
    },
    untrusted::{one_line, steers},
    zoom::{
        http::{Answer, LONGEST_RETRY_AFTER, Verdict, judge, retry_after},
        pages::{MOST_PAGES, Pages},
        wire,
    },
};

/// A check that is tried with the bytes.
pub type Target = fn(&[u8]);

/// Every target, by the name of its corpus.
pub const ALL: [(&str, Target); 5] = [
    ("wire", wire),
    ("headers", headers),
    ("values", values),
    ("pages", pages),
    ("config", config),
];

/// A body of any endpoint: rows or an error.
pub fn wire(bytes: &[u8]) {
    if let Some((_, message)) = wire::error_body(bytes) {
        assert!(!one_line(&message).contains(steers));
    }
    let answer = match wire::object(bytes) {
        Ok(answer) => answer,
        Err(said) => return assert!(said.starts_with("it is no ")),
    };
    // An answer that was read is valid JSON, and reads as the same again.
    assert_eq!(wire::object(answer.as_str().as_bytes()).unwrap(), answer);
    assert_eq!(Row::read(answer.as_str()).unwrap(), answer);
    let _ = wire::past_meeting(&answer);
    let _ = (wire::echoed_day(&answer, "from"), wire::echoed_day(&answer, "to"));
    let mut sessions = Vec::new();
    // No list that is requested has a name that needs an escape.
    let plain = answer.view().members().filter(|(name, _)| !name.contains('\\'));
    for (name, value) in plain {
        let page = wire::page(bytes, name).unwrap();
        // An unreadable row costs only itself. A value that is no list has no rows.
        assert!(page.rows.is_some() || !value.is_list(), "{name}");
        for row in page.rows.into_iter().flatten().flatten() {
            let _ = (wire::host(&row), wire::series(&row));
            if let Ok(meeting) = wire::listed_meeting(row.clone(), MeetingKind::Meeting, ListingType::Past) {
                assert!(!meeting.uuid.as_str().is_empty());
                assert_eq!(meeting.listed_checksum(), meeting.listed_checksum());
                let _ = meeting.shown_checksum();
            }
            sessions.push(row);
        }
    }
    let rows = sessions.len();
    let detail = Detail::new(MeetingUuid::new("u"), sessions);
    let ids = detail.session_ids();
    let different: std::collections::HashSet<_> = ids.iter().collect();
    assert_eq!(
        (ids.len(), different.len(), detail.rows().count()),
        (rows, rows, rows)
    );
    assert_eq!(
        Detail::kept(MeetingUuid::new("u"), detail.payload().to_owned()),
        Some(detail)
    );
}

/// Header lines `name: value`, an empty line, a body. The first byte selects the status and the label.
pub fn headers(bytes: &[u8]) {
    let Some((first, rest)) = bytes.split_first() else {
        return;
    };
    let statuses = [200, 302, 400, 401, 403, 404, 408, 429, 500, 503];
    let status = statuses[usize::from(*first) % statuses.len()];
    let label = Label::ALL[usize::from(*first) / statuses.len() % 4];
    let (head, body) = match rest.windows(2).position(|two| two == b"\n\n") {
        Some(at) => (&rest[..at], &rest[at + 2..]),
        None => (rest, &rest[..0]),
    };
    let mut headers = HeaderMap::new();
    for line in head.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let name = HeaderName::from_bytes(&line[..colon]);
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(&line[colon + 1..])) {
            headers.insert(name, value);
        }
    }
    let now = parse_time("2026-05-30T23:00:00Z").unwrap();
    if let Some(wait) = retry_after(&headers, now) {
        assert!(wait <= LONGEST_RETRY_AFTER);
    }
    let answer = Answer {
        status: StatusCode::from_u16(status).unwrap(),
        headers,
        body: body.to_vec(),
    };
    if status == 200 {
        return;
    }
    match judge(&answer, "it", label, now) {
        Verdict::Final(error) | Verdict::Again(error, _) => {
            let said = error.to_string();
            assert!(!said.is_empty() && !said.contains(steers), "{said:?}");
        }
        Verdict::TooFast(wait) => assert!(wait <= LONGEST_RETRY_AFTER),
        Verdict::Unauthorised => {}
    }
}

/// A time, a duration, a number.
pub fn values(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Some(at) = parse_time(&text) {
        // The text has twenty characters, sorts as the times do, and reads back as the same second.
        assert_eq!(iso(at).len(), 20);
        assert_eq!(
            parse_time(&iso(at)).map(|at| at.timestamp()),
            Some(at.timestamp())
        );
    }
    if let Some(seconds) = wire::duration_s(Json::kept(&json_text(&text))) {
        assert!(seconds >= 0);
    }
    let _ = wire::duration_s(Json::kept(&text));
    let line = one_line(&text);
    assert!(!line.is_empty() && !line.contains(steers) && line.chars().count() <= 401);
}

/// Bodies, one per line, as the pages of a list. The last one is returned for ever.
pub fn pages(bytes: &[u8]) {
    let bodies: Vec<_> = bytes
        .split(|byte| *byte == b'\n')
        .filter_map(|body| wire::page(body, "rows").ok())
        .collect();
    let Some(last) = bodies.last() else { return };
    let mut pages = Pages::default();
    let (mut asked, mut rows) = (0, 0);
    loop {
        let mut body = bodies.get(asked).unwrap_or(last).clone();
        // A token that ends in `+` makes the server return a new token every time.
        let token = body.head.text("next_page_token").into_owned();
        if token.ends_with('+') {
            let head = body.head.clone();
            let mut head = RowEdit::new(head.view());
            head.set_text("next_page_token", &format!("{token}{asked}"));
            body.head = head.finish();
        }
        asked += 1;
        rows += body.rows.as_ref().map_or(0, Vec::len);
        match pages.take(body, "rows") {
            Ok((_, true)) => assert!(pages.token().is_some()),
            Ok((_, false)) => {
                assert!(pages.token().is_none());
                assert_eq!((pages.shown as usize, pages.read as usize), (rows, asked));
                return;
            }
            Err(fault) => return assert!(!fault.to_string().is_empty()),
        }
        assert!(asked < MOST_PAGES as usize, "it never ends");
    }
}

/// A `.env` and, after a line of `---`, a configuration file. A secret is a value that contains `hush`.
pub fn config(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (dotenv, file) = text.split_once("\n---\n").unwrap_or((&text, ""));
    let secret = |text: &str| text.contains("hush");
    let told = |said: String| {
        assert_eq!(said.lines().count(), 1, "{said:?}");
        said
    };
    let inputs = match assignments(dotenv) {
        Ok(dotenv) => Inputs {
            dotenv,
            file: Some(("zoom.toml".into(), file.to_owned())),
            ..Inputs::default()
        },
        Err(error) => {
            // The error names what the line seems to set. A name is no secret.
            let said = match &error {
                Error::Line { name, .. } => told(error.to_string()).replace(name, ""),
                _ => told(error.to_string()),
            };
            return assert!(!secret(&said), "{said}");
        }
    };
    // A name is no secret, and neither is a value that no setting declares secret.
    let secrets = ["SECRET", "PASSWORD", "API_KEY"];
    let only_in_secrets = inputs.dotenv.iter().all(|one| {
        !secret(&one.name) && (!secret(&one.value) || secrets.iter().any(|name| one.name.ends_with(name)))
    }) && !secret(file);
    match Config::new(&inputs) {
        Ok(config) => {
            let shown = format!("{config:?}");
            assert!(!only_in_secrets || !secret(&shown), "{shown}");
            let _ = config.zoom_credentials();
        }
        Err(error) => {
            let said = told(error.to_string());
            assert!(!only_in_secrets || !secret(&said), "{said}");
        }
    }
}
