//! One request to Elasticsearch: its answer and its retries.

use std::time::Duration;

use backon::BackoffBuilder;
use bytes::Bytes;
use elasticsearch::http::{
    Method,
    headers::{CONTENT_ENCODING, HeaderMap, HeaderValue},
};
use serde_json::Value;

use super::{Elastic, Error, nodes::Node};
use crate::untrusted::one_line;

/// The longest `Retry-After` that a run waits for; a longer one ends the run.
const PATIENCE: Duration = Duration::from_secs(60);

/// The error type of an index that refuses writes. It is the same in every version.
pub(super) const BLOCK: &str = "cluster_block_exception";

/// An answer that was read to its end, but not parsed.
pub(super) struct RawAnswer {
    pub status: u16,
    pub text: String,
    /// How long the server asks to wait.
    pub retry_after: Option<Duration>,
}

impl RawAnswer {
    /// See [`Answer::is_block`].
    fn is_block(&self) -> bool {
        let error_type = |text| {
            let body: Value = serde_json::from_str(text).ok()?;
            body["error"]["type"].as_str().map(str::to_owned)
        };
        matches!(self.status, 403 | 429) && error_type(&self.text).as_deref() == Some(BLOCK)
    }
}

/// An answer that was read as JSON: for rare requests, and for errors.
pub(super) struct Answer {
    pub status: u16,
    /// `Null` if the body is no JSON.
    pub body: Value,
    /// The body if it is no JSON: a proxy's page, for example.
    pub text: String,
    /// How long the server asks to wait.
    pub retry_after: Option<Duration>,
}

impl From<RawAnswer> for Answer {
    fn from(raw: RawAnswer) -> Self {
        let (body, text) = match serde_json::from_str(&raw.text) {
            Ok(body) => (body, String::new()),
            Err(_) => (Value::Null, raw.text),
        };
        Self {
            status: raw.status,
            body,
            text,
            retry_after: raw.retry_after,
        }
    }
}

impl Answer {
    pub fn said(&self) -> String {
        let error = &self.body["error"];
        let said = match (error["type"].as_str(), error["reason"].as_str()) {
            (Some(kind), Some(reason)) => format!("{kind}: {reason}"),
            _ => error
                .as_str()
                .map(str::to_owned)
                .unwrap_or_else(|| self.text.clone()),
        };
        one_line(&said)
    }

    pub fn error_type(&self) -> &str {
        self.body["error"]["type"].as_str().unwrap_or_default()
    }

    /// Whether the index refuses writes: 403, or 429 if its disk is full. A retry would not help.
    pub fn is_block(&self) -> bool {
        matches!(self.status, 403 | 429) && self.error_type() == BLOCK
    }
}

impl Elastic {
    /// Sends one request. Retries 429, 502, 503, 504 and broken connections with backoff.
    pub(super) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<Answer, Error> {
        self.call_raw(method, path, body).await.map(Answer::from)
    }

    /// The same, but the caller parses the answer.
    pub(super) async fn call_raw(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<RawAnswer, Error> {
        let mut delays = self.delays(path.len() as u64);
        let body = body.map(Bytes::from);
        loop {
            let answer = self.call_once(method, path, body.clone(), false).await;
            let wanted = match &answer {
                Ok(answer) if matches!(answer.status, 429 | 502..=504) && !answer.is_block() => {
                    answer.retry_after
                }
                Err(Error::Unreachable { .. }) => None,
                _ => return answer,
            };
            match pause(delays.next(), wanted) {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return answer,
            }
        }
    }

    /// Sends one request without retries; a node that cannot be reached is skipped. `compressed`: the body is gzip.
    pub(super) async fn call_once(
        &self,
        method: Method,
        path: &str,
        body: Option<Bytes>,
        compressed: bool,
    ) -> Result<RawAnswer, Error> {
        let mut headers = HeaderMap::new();
        if compressed {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        let mut silent = None;
        for node in self.nodes.in_turn() {
            let answer = self
                .ask_node(node, method, path, headers.clone(), body.clone())
                .await;
            match answer {
                Err(error @ Error::Unreachable { .. }) => {
                    tracing::debug!(%error, "another node is tried, if there is one");
                    node.leave_aside();
                    silent = Some(error);
                }
                answer => {
                    node.take_back();
                    return answer;
                }
            }
        }
        Err(silent.unwrap_or_else(|| Error::Configuration("ELASTICSEARCH_URL names no node".to_owned())))
    }

    async fn ask_node(
        &self,
        node: &Node,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Option<Bytes>,
    ) -> Result<RawAnswer, Error> {
        let response = node
            .client
            .send(method, path, headers, None::<&()>, body, None)
            .await
            .map_err(|error| not_answered(node, &error))?;
        let status = response.status_code().as_u16();
        // The client follows redirects, without credentials if they lead to another host. The answer of another host is refused.
        let answered = response.url().origin();
        if node.origin != answered {
            return Err(Error::Redirected {
                to: one_line(&answered.ascii_serialization()),
            });
        }
        let retry_after = retry_after(response.headers());
        let mut text = response.text().await.map_err(|error| Error::Unreachable {
            url: node.url.clone(),
            said: one_line(&node.way.name_proxy(describe(&error))),
        })?;
        // A successful JSON answer holds documents and is long. Any other answer may be quoted, so secrets are hidden in it.
        if status != 200 || !text.starts_with('{') {
            text = self.secrets.hide(&text).into_owned();
        }
        if let Some(refusal) = node.way.answered(status, !text.trim_start().starts_with('<')) {
            return Err(Error::Proxy {
                url: node.url.clone(),
                said: refusal.said,
            });
        }
        tracing::debug!(path, status, "Elasticsearch answered");
        Ok(RawAnswer {
            status,
            text,
            retry_after,
        })
    }

    pub(super) fn refused(&self, what: &str, answer: &Answer) -> Error {
        let (what, said) = (what.to_owned(), answer.said());
        match answer.status {
            _ if answer.is_block() => Error::ReadOnly { said },
            401 => Error::Unauthorised,
            403 => Error::Forbidden { what, said },
            404 if answer.error_type() == "index_not_found_exception" => Error::IndexMissing {
                alias: format!("{}-*", self.settings.prefix),
            },
            status @ (429 | 500..=599) => Error::Busy {
                status,
                after: answer.retry_after,
            },
            status => Error::Refused { what, status, said },
        }
    }

    pub(super) fn delays(&self, salt: u64) -> backon::ExponentialBackoff {
        backon::ExponentialBuilder::default()
            .with_min_delay(self.settings.retry.base)
            .with_max_delay(self.settings.retry.max)
            .with_max_times(self.settings.retry.times)
            .with_jitter()
            .with_jitter_seed(self.settings.seed ^ salt)
            .build()
    }
}

/// The pause before the next try; `None` if no retry is left or `Retry-After` is too long.
pub(super) fn pause(delay: Option<Duration>, wanted: Option<Duration>) -> Option<Duration> {
    let (delay, wanted) = (delay?, wanted.unwrap_or_default());
    (wanted <= PATIENCE).then(|| delay.max(wanted))
}

/// Reads `Retry-After`, in seconds or as a date. A date is counted from the answer's own date, because clocks differ.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name)?.to_str().ok();
    let wanted = text("retry-after")?.trim();
    if let Ok(seconds) = wanted.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = |text| chrono::DateTime::parse_from_rfc2822(text).ok();
    (date(wanted)? - date(text("date")?)?).to_std().ok()
}

/// Whether the TLS handshake failed. rustls reports that with this kind of I/O error, and nothing else does while a request is being sent.
fn is_tls(error: &elasticsearch::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        // An I/O error that wraps another error returns that error's source as its own, and so hides the error.
        let mut io = inner.downcast_ref::<std::io::Error>();
        while let Some(one) = io {
            if one.kind() == std::io::ErrorKind::InvalidData {
                return true;
            }
            io = one.get_ref().and_then(|wrapped| wrapped.downcast_ref());
        }
        cause = inner.source();
    }
    false
}

/// The error for a request that got no answer.
fn not_answered(node: &Node, error: &elasticsearch::Error) -> Error {
    let (url, said) = (node.url.clone(), describe(error));
    if let Some(refusal) = node.way.refused(&said) {
        return Error::Proxy {
            url,
            said: refusal.said,
        };
    }
    let said = one_line(&node.way.name_proxy(said));
    match is_tls(error) {
        true => Error::Tls { url, said },
        false => Error::Unreachable { url, said },
    }
}

/// Describes the innermost cause. The outer ones repeat the URL, which may hold credentials.
fn describe(error: &elasticsearch::Error) -> String {
    let mut said = if error.is_timeout() {
        "no answer in time".to_owned()
    } else {
        "no connection".to_owned()
    };
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        cause = inner.source();
        if cause.is_none() {
            said = format!("{said} ({inner})");
        }
    }
    said
}
