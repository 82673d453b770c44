//! The errors of Elasticsearch, and what to do about them.

use std::time::Duration;

use crate::model::Disposition;

/// An error of Elasticsearch.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection, no answer, or a broken one.
    #[error("Elasticsearch at {url} cannot be reached: {said}")]
    Unreachable {
        /// The node's URL, without credentials.
        url: String,
        /// What happened.
        said: String,
    },
    /// A proxy refuses the request.
    #[error("Elasticsearch at {url} cannot be reached: {said}")]
    Proxy {
        /// The node's URL, without credentials.
        url: String,
        /// Which proxy refused, how, and what to do.
        said: String,
    },
    /// TLS failed: usually a certificate that no trusted authority has signed.
    #[error(
        "no trusted connection to Elasticsearch at {url}: {said}; check ELASTICSEARCH_CA_CERT, and that ELASTICSEARCH_URL has the \
         right scheme, host and port"
    )]
    Tls {
        /// The node's URL, without credentials.
        url: String,
        /// What happened.
        said: String,
    },
    /// 429 or 5xx on every try, or a `Retry-After` that is longer than a run waits.
    #[error("Elasticsearch is overloaded or failing: it kept answering HTTP {status}{}", wish(*after))]
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
    /// The request is not allowed.
    #[error(
        "Elasticsearch does not allow {what} (HTTP 403): {said}; docs/elasticsearch.md lists the privileges needed"
    )]
    Forbidden {
        /// What was tried.
        what: String,
        /// The server's message.
        said: String,
    },
    /// An index refuses writes.
    #[error(
        "Elasticsearch refuses writes: {said}; remove the block from the index (or free disk space) and run again"
    )]
    ReadOnly {
        /// The server's message.
        said: String,
    },
    /// The alias leads to no index any more.
    #[error(
        "the index behind {alias} was deleted while this ran; the next run makes it again and fills it from the catalog"
    )]
    IndexMissing {
        /// The alias.
        alias: String,
    },
    /// The alias leads to another index.
    #[error(
        "{alias} was moved to {index} while this ran; what went there is not counted, and the next run fills the index that the \
         alias then leads to from the catalog"
    )]
    Moved {
        /// The alias.
        alias: String,
        /// The index that took the documents.
        index: String,
    },
    /// Something else has one of the harvester's names.
    #[error(
        "{name} is not zoom-harvester's: {found}; remove or rename it, or choose another ELASTICSEARCH_INDEX_PREFIX"
    )]
    Foreign {
        /// The name.
        name: String,
        /// What was found there.
        found: String,
    },
    /// Some of the harvester's fields have other types than documents and comparisons need.
    #[error(
        "{index} gives fields other types than they need: {fields}; run `zoom-harvester reindex`, which makes the index anew from the \
         catalog"
    )]
    WrongTypes {
        /// The index.
        index: String,
        /// Which fields, and how they differ.
        fields: String,
    },
    /// An index from the time when all accounts shared one.
    #[error(
        "{index} was made by an earlier version, when accounts did not have an index each; delete it (or take its alias away) and run \
         again: all that this catalog wrote to it is published anew from the catalog"
    )]
    OlderLayout {
        /// Its name.
        index: String,
    },
    /// The server refuses to create one of the harvester's indices.
    #[error(
        "the index {index} cannot be made: {said}; if an index template of yours matches this name, narrow its pattern, or choose another \
         ELASTICSEARCH_INDEX_PREFIX"
    )]
    NotMade {
        /// Its name.
        index: String,
        /// The server's message.
        said: String,
    },
    /// Any other refusal.
    #[error("Elasticsearch refused {what} (HTTP {status}): {said}")]
    Refused {
        /// What was tried.
        what: String,
        /// The status.
        status: u16,
        /// The server's message.
        said: String,
    },
    /// An answer that cannot be read.
    #[error("the answer of Elasticsearch to {what} cannot be used: {reason}")]
    Malformed {
        /// What was requested.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The server redirects to another URL.
    #[error(
        "ELASTICSEARCH_URL redirects to {to}, which is not followed; set ELASTICSEARCH_URL to the final URL"
    )]
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
            | Self::Proxy { .. }
            | Self::Unauthorised
            | Self::Forbidden { .. }
            | Self::Foreign { .. }
            | Self::WrongTypes { .. }
            | Self::OlderLayout { .. }
            | Self::NotMade { .. }
            | Self::Refused { .. }
            | Self::Redirected { .. }
            | Self::Configuration(_) => Disposition::Stop,
        }
    }

    /// Whether only the addressed indices are affected, so that those of other years may still take documents.
    pub fn is_of_one_index(&self) -> bool {
        matches!(
            self,
            Self::ReadOnly { .. }
                | Self::IndexMissing { .. }
                | Self::Moved { .. }
                | Self::Foreign { .. }
                | Self::WrongTypes { .. }
                | Self::NotMade { .. }
        )
    }
}

/// The end of the sentence about a busy server.
fn wish(after: Option<Duration>) -> String {
    match after {
        Some(after) => format!(" and asks to wait {} s", after.as_secs()),
        None => String::new(),
    }
}
