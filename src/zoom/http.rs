//! Sends one request and reads its answer, of bounded size. Also decides what an unsuccessful answer means.

use std::time::Duration;

use chrono::{DateTime, Days, NaiveTime, Utc};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{StatusCode, header::HeaderMap};

use super::{Error, wire::error_body};
use crate::{
    model::{Label, MeetingUuid, parse_time},
    network::Way,
    untrusted::{Secrets, one_line},
};

/// All characters except those that RFC 3986 calls unreserved.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Percent-encodes a path segment or a query value. The segments `.` and `..` would change the path even when encoded once. So they are encoded
/// twice, and Zoom answers that it does not know them.
pub(super) fn encode(text: &str) -> String {
    match text {
        "." | ".." => text.replace('.', "%252E"),
        _ => utf8_percent_encode(text, RESERVED).to_string(),
    }
}

/// A UUID as a path segment: encoded once, or twice where Zoom requires it (it begins with `/` or contains `//`).
pub(super) fn encode_uuid(uuid: &MeetingUuid) -> String {
    let once = encode(uuid.as_str());
    if uuid.as_str().starts_with('/') || uuid.as_str().contains("//") {
        encode(&once)
    } else {
        once
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, decompressed.
    pub body: Vec<u8>,
}

impl Answer {
    /// Whether the body is an HTML page, not JSON.
    pub(super) fn is_page(&self) -> bool {
        self.body.trim_ascii_start().starts_with(b"<")
    }

    /// Removes secrets from the body: some proxies quote the request they refuse.
    pub(super) fn hide(&mut self, secrets: &Secrets) {
        if let std::borrow::Cow::Owned(hidden) = secrets.hide(&String::from_utf8_lossy(&self.body)) {
            self.body = hidden.into_bytes();
        }
    }

    /// The host it redirects to.
    pub(super) fn redirects_to(&self) -> String {
        let location = self.headers.get("location").and_then(|to| to.to_str().ok());
        let host = location
            .and_then(|to| reqwest::Url::parse(to).ok())
            .and_then(|url| url.host_str().map(str::to_owned));
        one_line(&host.unwrap_or_else(|| "another place".to_owned()))
    }
}

/// Sends a request and reads the answer. If it has more than `limit_bytes`, decompressed, the rest is not read and it is an error.
pub(super) async fn send(
    request: reqwest::RequestBuilder,
    limit_bytes: usize,
    way: &Way,
) -> Result<Answer, Error> {
    let unreachable = |error: reqwest::Error| {
        let said = describe(&error);
        match way.refused(&said) {
            Some(refusal) => Error::Proxy { said: refusal.said },
            None => Error::Unreachable {
                said: way.name_proxy(said),
            },
        }
    };
    let mut response = request.send().await.map_err(unreachable)?;
    let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        if body.len() + chunk.len() > limit_bytes {
            return Err(Error::TooLarge { limit_bytes });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer {
        status,
        headers,
        body,
    })
}

/// The kind of the error and its root cause, without the URL, which may contain personal data or secrets.
fn describe(error: &reqwest::Error) -> String {
    let kind = if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "cannot connect"
    } else {
        "the connection broke"
    };
    let mut cause = std::error::Error::source(error);
    let mut said = kind.to_owned();
    while let Some(next) = cause {
        cause = next.source();
        if cause.is_none() {
            said = format!("{kind} ({next})");
        }
    }
    one_line(&said)
}

/// The verdict on an answer that is not a success.
#[derive(Debug)]
pub enum Verdict {
    /// The token is not accepted.
    Unauthorised,
    /// The rate limit was exceeded: wait this long.
    TooFast(Duration),
    /// A retry may work, after at least this pause.
    Again(Error, Option<Duration>),
    /// A retry will not work.
    Final(Error),
}

/// What an answer with a status other than 2xx means.
pub fn judge(answer: &Answer, what: &str, label: Label, now: DateTime<Utc>) -> Verdict {
    let status = answer.status.as_u16();
    let wait = || retry_after(&answer.headers, now);
    match status {
        429 => return too_many(answer, label, now),
        408 | 425 | 500..=599 => {
            return Verdict::Again(
                Error::Server {
                    what: what.to_owned(),
                    status,
                },
                wait(),
            );
        }
        300..=399 => {
            return Verdict::Final(Error::Redirected {
                what: what.to_owned(),
                to: answer.redirects_to(),
            });
        }
        _ => {}
    }
    let Some((code, message)) = error_body(&answer.body) else {
        return Verdict::Final(match status {
            401 => return Verdict::Unauthorised,
            403 => Error::Blocked {
                what: what.to_owned(),
            },
            _ => Error::Refused {
                what: what.to_owned(),
                status,
                code: None,
                message: "no JSON in it".to_owned(),
            },
        });
    };
    code_means(status, code, &message, what)
}

/// What Zoom's error codes mean. Source: the codes documented for each endpoint, and those observed.
pub fn code_means(status: u16, code: i64, message: &str, what: &str) -> Verdict {
    let message = one_line(message);
    let lower = message.to_lowercase();
    let what = what.to_owned();
    Verdict::Final(match (status, code) {
        (_, 4711 | 4700 | 104) => Error::Scopes { message },
        _ if lower.contains("does not contain scopes") => Error::Scopes { message },
        (_, 124) => return Verdict::Unauthorised,
        (_, 12700) => Error::EndTimeRefused,
        (_, 12702) => Error::TooOld { what },
        (_, 3161) => Error::HostNotAllowed { what },
        (_, 3001 | 1001 | 1010) => Error::NotFound { what, code, message },
        (404, _) => Error::NotFound { what, code, message },
        (401, _) => return Verdict::Unauthorised,
        (400, 300) if lower.contains("page token") => Error::PageToken { what },
        (400, 300) if lower.contains("month") => Error::OutOfReach { what, message },
        (400 | 403, 200 | 400)
            if ["dashboard", "paid", "permission"]
                .iter()
                .any(|word| lower.contains(word)) =>
        {
            Error::NoDashboard { message }
        }
        _ => Error::Refused {
            what,
            status,
            code: Some(code),
            message,
        },
    })
}

/// A longer wait than this means that the day's quota is used up.
const LONGEST_WAIT: Duration = Duration::from_secs(15 * 60);

fn too_many(answer: &Answer, label: Label, now: DateTime<Utc>) -> Verdict {
    let wait = retry_after(&answer.headers, now);
    let kind = answer
        .headers
        .get("x-ratelimit-type")
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or_default();
    let message = error_body(&answer.body)
        .map(|(_, message)| message)
        .unwrap_or_default();
    let daily = kind.to_ascii_lowercase().contains("daily")
        || message.to_ascii_lowercase().contains("daily")
        || wait.is_some_and(|wait| wait > LONGEST_WAIT);
    if daily {
        // If Zoom names no time, the quota resets at 00:00 UTC, according to Zoom's rate-limits page.
        let midnight = (now.date_naive() + Days::new(1))
            .and_time(NaiveTime::MIN)
            .and_utc();
        let resets_at = wait
            .filter(|wait| !wait.is_zero())
            .map_or(midnight, |wait| now + wait);
        return Verdict::Final(Error::DailyQuota { resets_at });
    }
    // Resource-intensive limits are per minute, although Zoom calls them "QPS" too.
    let usual = match label {
        Label::ResourceIntensive => Duration::from_secs(60),
        Label::Light | Label::Medium | Label::Heavy => Duration::from_secs(1),
    };
    Verdict::TooFast(wait.unwrap_or(usual))
}

/// The longest accepted `Retry-After`: one day more than the longest that Zoom could mean.
pub const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(48 * 3600);

/// The wait from `Retry-After` in any of its forms: seconds, an HTTP date, or Zoom's ISO 8601. Otherwise from Zoom's `X-RateLimit-Reset`, in
/// seconds since 1970.
pub fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let header = |name| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::trim)
    };
    let until = |at: DateTime<Utc>| (at - now).to_std().unwrap_or_default();
    let bounded = |wait: Duration| wait.min(LONGEST_RETRY_AFTER);
    if let Some(text) = header("retry-after") {
        // A negative value or NaN counts as no value. A value out of range counts as the longest.
        if let Ok(seconds) = text.parse::<f64>()
            && seconds >= 0.0
        {
            return Some(Duration::try_from_secs_f64(seconds).map_or(LONGEST_RETRY_AFTER, bounded));
        }
        if let Some(at) = parse_time(text) {
            return Some(bounded(until(at)));
        }
        if let Ok(at) = DateTime::parse_from_rfc2822(text) {
            return Some(bounded(until(at.with_timezone(&Utc))));
        }
    }
    let reset = header("x-ratelimit-reset")?.parse::<i64>().ok()?;
    DateTime::from_timestamp(reset, 0).map(|at| bounded(until(at)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    fn now() -> DateTime<Utc> {
        parse_time("2026-05-30T23:00:00Z").unwrap()
    }

    #[test]
    fn uuids_are_encoded_once_or_twice() {
        for (uuid, path) in [
            ("abc+/d==", "abc%2B%2Fd%3D%3D"),
            ("/abc==", "%252Fabc%253D%253D"),
            ("ab//c=", "ab%252F%252Fc%253D"),
            ("plain", "plain"),
            ("..", "%252E%252E"),
            ("a\0\r\nb", "a%00%0D%0Ab"),
        ] {
            assert_eq!(encode_uuid(&MeetingUuid::new(uuid)), path);
        }
    }

    #[test]
    fn retry_after_is_read_in_every_form() {
        for (pairs, seconds) in [
            (vec![("retry-after", "7")], Some(7)),
            (vec![("retry-after", "2026-05-31T00:00:00Z")], Some(3600)),
            (vec![("retry-after", "Sat, 30 May 2026 23:00:05 GMT")], Some(5)),
            (vec![("retry-after", "2020-05-31T00:00:00Z")], Some(0)),
            (vec![("retry-after", "soon")], None),
            (vec![("retry-after", "-7")], None),
            (vec![("retry-after", "NaN")], None),
            (
                vec![("retry-after", "-7"), ("x-ratelimit-reset", "1780182003")],
                Some(3),
            ),
            (vec![("retry-after", "1e300")], Some(48 * 3600)),
            (
                vec![("retry-after", "99999999999999999999999999")],
                Some(48 * 3600),
            ),
            (vec![("retry-after", "9999-12-31T23:59:59Z")], Some(48 * 3600)),
            (vec![("x-ratelimit-reset", "9223372036854775807")], None),
            (vec![("x-ratelimit-reset", "-1")], Some(0)),
            (vec![("x-ratelimit-reset", "1780182003")], Some(3)),
            (vec![], None),
        ] {
            assert_eq!(
                retry_after(&headers(&pairs), now()).map(|wait| wait.as_secs()),
                seconds,
                "{pairs:?}"
            );
        }
    }

    #[test]
    fn each_form_of_429_is_recognised() {
        let answer = |pairs: &[(&'static str, &str)], body: &str| Answer {
            status: StatusCode::TOO_MANY_REQUESTS,
            headers: headers(pairs),
            body: body.as_bytes().to_vec(),
        };
        let judged = |answer: &Answer, label| format!("{:?}", judge(answer, "x", label, now()));
        assert_eq!(judged(&answer(&[], ""), Label::Heavy), "TooFast(1s)");
        assert_eq!(
            judged(
                &answer(&[("x-ratelimit-type", "QPS")], ""),
                Label::ResourceIntensive
            ),
            "TooFast(60s)"
        );
        assert_eq!(
            judged(&answer(&[("retry-after", "3")], ""), Label::Heavy),
            "TooFast(3s)"
        );
        for daily in [
            answer(
                &[
                    ("x-ratelimit-type", "Daily-limit"),
                    ("retry-after", "2026-05-31T00:00:00Z"),
                ],
                "",
            ),
            answer(&[("retry-after", "2026-05-31T00:00:00Z")], ""),
            answer(
                &[],
                r#"{"code":429,"message":"You have reached the maximum daily rate limit for this API."}"#,
            ),
        ] {
            assert_eq!(
                judged(&daily, Label::Heavy),
                "Final(DailyQuota { resets_at: 2026-05-31T00:00:00Z })"
            );
        }
    }

    proptest! {
        #[test]
        fn no_header_panics(value in "[ -~]{0,40}") {
            let _ = retry_after(&headers(&[("retry-after", &value), ("x-ratelimit-reset", &value)]), now());
        }
    }
}
