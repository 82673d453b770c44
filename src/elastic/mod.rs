//! All that speaks to Elasticsearch or OpenSearch: only what both have, in every version from Elasticsearch 8 and OpenSearch 2 on.

mod bulk;
mod document;
mod indices;
mod scan;

use std::time::Duration;

use backon::BackoffBuilder;
use elasticsearch::{
    Elasticsearch,
    auth::Credentials,
    cert::{Certificate, CertificateValidation},
    http::{
        Method,
        headers::HeaderMap,
        transport::{SingleNodeConnectionPool, TransportBuilder},
    },
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

pub use bulk::Report;
pub use indices::{Check, IndexState, Rebuild, Standing};
pub use scan::{Reading, Scan, held};

use crate::{
    model::{Disposition, Document, IndexKind, Kept, MeetingUuid, SessionId},
    text::{Secrets, one_line},
};

/// How to prove who we are.
#[derive(Clone, Debug)]
pub enum Auth {
    /// Not at all.
    None,
    /// User and password.
    Basic {
        /// The user.
        user: String,
        /// The password.
        password: SecretString,
    },
    /// An API key in its encoded form.
    ApiKey(SecretString),
}

/// How often, and how soon, a request or an item is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Further tries after the first.
    pub times: usize,
    /// Before the first of them; doubled for each one after, and up to as much again is added by chance.
    pub base: Duration,
    /// The longest pause.
    pub max: Duration,
}

/// What the client needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it is, without credentials.
    pub url: String,
    /// Who we are.
    pub auth: Auth,
    /// Authorities to trust, beside the usual ones: one PEM certificate or several.
    pub ca_cert_pem: Option<Vec<u8>>,
    /// What the names of indices, aliases and templates begin with.
    pub prefix: String,
    /// Primary shards of an index made here.
    pub shards: u32,
    /// Replicas of each.
    pub replicas: u32,
    /// The largest bulk body, unless one document is larger.
    pub bulk_bytes: usize,
    /// Whether bodies are sent compressed.
    pub compress: bool,
    /// Bulk requests at once.
    pub in_flight: usize,
    /// Tries after the first.
    pub retry: Retry,
    /// For one request, its answer included.
    pub timeout: Duration,
    /// For the chance in the pauses.
    pub seed: u64,
}

/// The longest that a run waits because it is asked to; longer wishes end it. Proxies ask for seconds, or for a maintenance.
const PATIENCE: Duration = Duration::from_secs(60);

/// The error type of an index that takes no writes, in every version.
const BLOCK: &str = "cluster_block_exception";

/// What Elasticsearch could not or would not do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection, no answer, or a broken one.
    #[error("Elasticsearch at {url} cannot be reached: {said}")]
    Unreachable {
        /// Where, without credentials.
        url: String,
        /// What happened.
        said: String,
    },
    /// The two sides do not agree on TLS: most of all, a certificate that nobody we trust has signed.
    #[error(
        "no trusted connection to Elasticsearch at {url}: {said}; check ELASTICSEARCH_CA_CERT, and that ELASTICSEARCH_URL has the \
         right scheme, host and port"
    )]
    Tls {
        /// Where, without credentials.
        url: String,
        /// What happened.
        said: String,
    },
    /// 429 or 5xx at every try, or with the wish to be left alone for longer than a run should wait.
    #[error("Elasticsearch is too busy or ill: it kept answering HTTP {status}{}", wish(*after))]
    Busy {
        /// The last status.
        status: u16,
        /// Its `Retry-After`.
        after: Option<Duration>,
    },
    /// Credentials missing or not accepted.
    #[error(
        "Elasticsearch does not accept the credentials (HTTP 401); check ELASTICSEARCH_API_KEY, or ELASTICSEARCH_USER and \
         ELASTICSEARCH_PASSWORD"
    )]
    Unauthorised,
    /// Not allowed.
    #[error("Elasticsearch does not allow {what} (HTTP 403): {said}; the README lists the privileges needed")]
    Forbidden {
        /// What was tried.
        what: String,
        /// Its words.
        said: String,
    },
    /// An index takes no writes.
    #[error(
        "Elasticsearch takes no writes: {said}; take the block off the index (or make room on its disk) and run again"
    )]
    ReadOnly {
        /// Its words.
        said: String,
    },
    /// The alias leads nowhere any more.
    #[error(
        "the index behind {alias} was deleted while this ran; the next run makes it again and fills it from the catalog"
    )]
    IndexMissing {
        /// The alias.
        alias: String,
    },
    /// The alias leads elsewhere.
    #[error(
        "{alias} was moved to {index} while this ran; what went there is not counted, and the next run fills the index that the \
         alias then leads to from the catalog"
    )]
    Moved {
        /// The alias.
        alias: String,
        /// Where documents went.
        index: String,
    },
    /// Something that is not ours has our name.
    #[error(
        "{name} is not zoom-harvester's: {found}; remove or rename it, or choose another ELASTICSEARCH_INDEX_PREFIX"
    )]
    Foreign {
        /// The name.
        name: String,
        /// What stands there.
        found: String,
    },
    /// Any other refusal.
    #[error("Elasticsearch refused {what} (HTTP {status}): {said}")]
    Refused {
        /// What was tried.
        what: String,
        /// The status.
        status: u16,
        /// Its words.
        said: String,
    },
    /// An answer that cannot be read.
    #[error("the answer of Elasticsearch to {what} cannot be used: {reason}")]
    Malformed {
        /// What was asked.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It sends us elsewhere.
    #[error("ELASTICSEARCH_URL redirects to {to}, whose answers are not believed; set the URL that is meant")]
    Redirected {
        /// Scheme, host and port.
        to: String,
    },
    /// The configuration cannot be used.
    #[error("{0}")]
    Configuration(String),
}

impl Error {
    /// What to do about it.
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Busy { after, .. } => Disposition::Retry { after: *after },
            Self::Unreachable { .. }
            | Self::IndexMissing { .. }
            | Self::Moved { .. }
            | Self::ReadOnly { .. }
            | Self::Malformed { .. } => Disposition::Retry { after: None },
            Self::Tls { .. }
            | Self::Unauthorised
            | Self::Forbidden { .. }
            | Self::Foreign { .. }
            | Self::Refused { .. }
            | Self::Redirected { .. }
            | Self::Configuration(_) => Disposition::Stop,
        }
    }
}

/// The client. One for a cluster; share it behind an `Arc`.
pub struct Elastic {
    settings: Settings,
    client: Elasticsearch,
    secrets: Secrets,
}

// The client holds the credentials as plain text, and its own `Debug` shows them.
impl std::fmt::Debug for Elastic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Elastic")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// An answer, read to its end.
struct Answer {
    status: u16,
    body: Value,
    /// The body where it was no JSON: a proxy's page, for example.
    text: String,
    /// How long it asks to be left alone.
    retry_after: Option<Duration>,
    /// The body's length.
    bytes: usize,
}

impl Answer {
    fn said(&self) -> String {
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

    fn error_type(&self) -> &str {
        self.body["error"]["type"].as_str().unwrap_or_default()
    }

    /// An index that takes no writes: 403, or 429 where its disk is full. Trying again would not help.
    fn is_block(&self) -> bool {
        matches!(self.status, 403 | 429) && self.error_type() == BLOCK
    }
}

impl Elastic {
    /// Makes the client; asks nothing yet.
    ///
    /// # Errors
    /// [`Error::Configuration`] for a URL or a certificate that is none.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        let url = reqwest::Url::parse(&settings.url)
            .map_err(|error| Error::Configuration(format!("ELASTICSEARCH_URL is no URL: {error}")))?;
        let mut builder = TransportBuilder::new(SingleNodeConnectionPool::new(url))
            .disable_proxy()
            .enable_meta_header(false)
            .request_body_compression(settings.compress)
            .timeout(settings.timeout);
        builder = match &settings.auth {
            Auth::None => builder,
            Auth::Basic { user, password } => builder.auth(Credentials::Basic(
                user.clone(),
                password.expose_secret().to_owned(),
            )),
            Auth::ApiKey(key) => builder.auth(Credentials::EncodedApiKey(key.expose_secret().to_owned())),
        };
        if let Some(pem) = &settings.ca_cert_pem {
            let certificate = Certificate::from_pem(pem).map_err(|error| {
                Error::Configuration(format!(
                    "the file that ELASTICSEARCH_CA_CERT names holds no PEM certificate: {error}"
                ))
            })?;
            builder = builder.cert_validation(CertificateValidation::Full(certificate));
        }
        let transport = builder.build().map_err(|error| {
            Error::Configuration(format!("no client for Elasticsearch can be made: {error}"))
        })?;
        let secrets = match &settings.auth {
            Auth::None => Secrets::default(),
            Auth::Basic { user, password } => Secrets::default().with_basic(user, password),
            Auth::ApiKey(key) => Secrets::default().with(key),
        };
        Ok(Self {
            client: Elasticsearch::new(transport),
            settings,
            secrets,
        })
    }

    /// The alias of an index.
    pub fn alias(&self, kind: IndexKind) -> String {
        format!("{}-{}", self.settings.prefix, kind.as_str())
    }

    /// Sends a meeting's documents, sessions before their meeting, and deletes the sessions it has lost. Only what the indices
    /// of `standing` took counts.
    pub async fn publish(&self, standing: &Standing, batch: &[Kept]) -> Report {
        self.send(batch, |kind| self.target(standing, kind)).await
    }

    /// The index that was met, by its alias.
    fn target(&self, standing: &Standing, kind: IndexKind) -> Target {
        Target {
            name: self.alias(kind),
            is_alias: true,
            index: standing.of(kind).index.clone(),
        }
    }

    /// Sends the same to the indices of a rebuild.
    pub async fn publish_into(&self, rebuild: &Rebuild, batch: &[Kept]) -> Report {
        let target = |kind| Target {
            name: rebuild.target(kind).to_owned(),
            is_alias: false,
            index: rebuild.target(kind).to_owned(),
        };
        self.send(batch, target).await
    }

    /// Every session the index holds of these meetings.
    ///
    /// # Errors
    /// Any.
    pub async fn sessions_of(
        &self,
        meetings: &[MeetingUuid],
    ) -> Result<Vec<(MeetingUuid, SessionId)>, Error> {
        self.refresh().await?;
        let mut found = Vec::new();
        for chunk in meetings.chunks(500) {
            let mut after = None;
            loop {
                let mut query = json!({
                    "size": 5000,
                    "_source": ["meeting"],
                    "query": {"terms": {"meeting": chunk}},
                    "sort": [{"session_id": "asc"}],
                });
                if let Some(after) = after {
                    query["search_after"] = json!([after]);
                }
                let hits = self.hits(IndexKind::Sessions, &query).await?;
                found.extend(hits.iter().filter_map(|hit| {
                    Some((
                        MeetingUuid::new(hit["_source"]["meeting"].as_str()?),
                        SessionId::new(hit["_id"].as_str()?),
                    ))
                }));
                match hits.last() {
                    Some(last) if hits.len() == 5000 => after = Some(last["sort"][0].clone()),
                    _ => break,
                }
            }
        }
        Ok(found)
    }

    /// UUIDs of meetings in the index, in their order, after `after`; at most 5,000.
    ///
    /// # Errors
    /// Any.
    pub async fn meetings_after(&self, after: Option<&MeetingUuid>) -> Result<Vec<MeetingUuid>, Error> {
        let mut query = json!({"size": 5000, "_source": false, "sort": [{"uuid": "asc"}]});
        if let Some(after) = after {
            query["search_after"] = json!([after]);
        }
        let hits = self.hits(IndexKind::Meetings, &query).await?;
        Ok(hits
            .iter()
            .filter_map(|hit| hit["_id"].as_str().map(MeetingUuid::new))
            .collect())
    }

    /// Makes what was acknowledged visible to searches.
    ///
    /// # Errors
    /// Any.
    pub async fn refresh(&self) -> Result<(), Error> {
        let path = format!(
            "/{},{}/_refresh",
            self.alias(IndexKind::Meetings),
            self.alias(IndexKind::Sessions)
        );
        let answer = self.call(Method::Post, &path, None).await?;
        if answer.status == 200 {
            Ok(())
        } else {
            Err(self.refused("a refresh", &answer))
        }
    }

    /// Meetings and sessions that searches see.
    ///
    /// # Errors
    /// Any.
    pub async fn count(&self) -> Result<(u64, u64), Error> {
        self.refresh().await?;
        let mut counts = [0; 2];
        for (count, kind) in counts.iter_mut().zip(IndexKind::ALL) {
            let answer = self
                .call(Method::Get, &format!("/{}/_count", self.alias(kind)), None)
                .await?;
            *count = answer.body["count"]
                .as_u64()
                .ok_or_else(|| self.refused("a count", &answer))?;
        }
        let [meetings, sessions] = counts;
        Ok((meetings, sessions))
    }

    /// Asks a question of one's own, in the query language of the server; answers what it answers.
    ///
    /// # Errors
    /// Any.
    pub async fn search(&self, kind: IndexKind, query: &Value) -> Result<Value, Error> {
        let path = format!("/{}/_search", self.alias(kind));
        let answer = self
            .call(Method::Post, &path, Some(query.to_string().into_bytes()))
            .await?;
        if answer.status == 200 {
            Ok(answer.body)
        } else {
            Err(self.refused("a search", &answer))
        }
    }

    async fn hits(&self, kind: IndexKind, query: &Value) -> Result<Vec<Value>, Error> {
        match self.search(kind, query).await?["hits"]["hits"].take() {
            Value::Array(hits) => Ok(hits),
            _ => Err(Error::Malformed {
                what: "a search".into(),
                reason: "no hits in it".into(),
            }),
        }
    }

    /// One request; 429, 502, 503, 504 and broken connections are tried again.
    async fn call(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> Result<Answer, Error> {
        let mut delays = self.delays(path.len() as u64);
        loop {
            let answer = self.call_once(method, path, body.clone()).await;
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

    async fn call_once(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> Result<Answer, Error> {
        let unreachable = |said: String| Error::Unreachable {
            url: self.settings.url.clone(),
            said: one_line(&said),
        };
        let response = self
            .client
            .send(method, path, HeaderMap::new(), None::<&()>, body, None)
            .await
            .map_err(|error| match is_tls(&error) {
                true => Error::Tls {
                    url: self.settings.url.clone(),
                    said: one_line(&describe(&error)),
                },
                false => unreachable(describe(&error)),
            })?;
        let status = response.status_code().as_u16();
        // The client follows redirects, without credentials where they lead to another host; what such a host says is not believed.
        let answered = response.url().origin();
        if reqwest::Url::parse(&self.settings.url).is_ok_and(|asked| asked.origin() != answered) {
            return Err(Error::Redirected {
                to: one_line(&answered.ascii_serialization()),
            });
        }
        let retry_after = retry_after(response.headers());
        let mut text = response
            .text()
            .await
            .map_err(|error| unreachable(describe(&error)))?;
        if status != 200 {
            text = self.secrets.hide(&text).into_owned();
        }
        tracing::debug!(path, status, "Elasticsearch answered");
        let bytes = text.len();
        Ok(match serde_json::from_str(&text) {
            Ok(body) => Answer {
                status,
                body,
                text: String::new(),
                retry_after,
                bytes,
            },
            Err(_) => Answer {
                status,
                body: Value::Null,
                text,
                retry_after,
                bytes,
            },
        })
    }

    fn refused(&self, what: &str, answer: &Answer) -> Error {
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

    fn delays(&self, salt: u64) -> backon::ExponentialBackoff {
        backon::ExponentialBuilder::default()
            .with_min_delay(self.settings.retry.base)
            .with_max_delay(self.settings.retry.max)
            .with_max_times(self.settings.retry.times)
            .with_jitter()
            .with_jitter_seed(self.settings.seed ^ salt)
            .build()
    }
}

/// Where a bulk request goes.
struct Target {
    /// What it is addressed to.
    name: String,
    /// Whether that is an alias.
    is_alias: bool,
    /// The index that has to answer.
    index: String,
}

/// The pause before the next try: none once the tries are spent, or if more patience is asked for than a run has.
fn pause(delay: Option<Duration>, wanted: Option<Duration>) -> Option<Duration> {
    let (delay, wanted) = (delay?, wanted.unwrap_or_default());
    (wanted <= PATIENCE).then(|| delay.max(wanted))
}

/// `Retry-After` in seconds, or as a date, which is counted from the answer's own: clocks differ.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name)?.to_str().ok();
    let wanted = text("retry-after")?.trim();
    if let Ok(seconds) = wanted.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = |text| chrono::DateTime::parse_from_rfc2822(text).ok();
    (date(wanted)? - date(text("date")?)?).to_std().ok()
}

/// The end of the sentence about a busy server.
fn wish(after: Option<Duration>) -> String {
    match after {
        Some(after) => format!(" and asks to be left alone for {} s", after.as_secs()),
        None => String::new(),
    }
}

/// Whether it was the handshake that failed: rustls says so by this kind of I/O error, and nothing else does while a request
/// is being sent.
fn is_tls(error: &elasticsearch::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        // An I/O error that wraps another names that one's source as its own, and so hides it.
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

/// The documents of one meeting: its sessions first, as they are sent.
pub fn documents(kept: &Kept) -> Vec<Document> {
    document::sessions(kept)
        .chain([document::meeting(kept)])
        .collect()
}

/// The innermost cause: the outer ones repeat the URL, which may hold credentials.
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
