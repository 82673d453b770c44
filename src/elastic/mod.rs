//! The client for Elasticsearch and OpenSearch. It uses only what both have, from Elasticsearch 8 and OpenSearch 2 on.

mod bodies;
mod bulk;
mod client;
mod documents;
mod error;
mod indices;
mod mapping;
mod names;
mod nodes;
mod scan;

use std::{sync::Arc, time::Duration};

use elasticsearch::http::Method;
use nodes::Nodes;
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

pub use bulk::Report;
pub use error::Error;
pub use indices::{Check, IndexState, LiveIndices, Rebuild};
pub use mapping::{FieldType, fields};
pub use names::account_part;
pub use scan::{Reading, Scan, held};

use crate::{
    model::{AccountId, Document, IndexKind, Kept, MeetingUuid, SessionId},
    network::{Authorities, Proxies},
    untrusted::Secrets,
};

/// How the harvester authenticates.
#[derive(Clone, Debug)]
pub enum Auth {
    /// No credentials.
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

/// How often and how soon a request or an item is retried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Retries after the first try.
    pub times: usize,
    /// The pause before the first retry. It doubles for each further one, and a random part of up to the same length is added.
    pub base: Duration,
    /// The longest pause.
    pub max: Duration,
}

/// The settings of the client.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The URLs of the nodes, without credentials.
    pub urls: Vec<String>,
    /// The credentials.
    pub auth: Auth,
    /// Certificate authorities to trust in addition to the usual ones: one PEM certificate or several.
    pub ca_cert_pem: Option<Vec<u8>>,
    /// The certificate authorities that this machine trusts.
    pub authorities: Authorities,
    /// The harvester's client certificate and its key, in PEM.
    pub client_pem: Option<SecretString>,
    /// The proxies to use.
    pub proxies: Proxies,
    /// The account whose documents these are. It has its own indices.
    pub account: AccountId,
    /// The prefix of the names of indices and aliases.
    pub prefix: String,
    /// Primary shards of an index created here. If unset, the server's templates decide.
    pub shards: Option<u32>,
    /// Replicas of each shard. If unset, the server's templates decide.
    pub replicas: Option<u32>,
    /// The largest bulk body in bytes, unless one document is larger.
    pub bulk_bytes: usize,
    /// Whether bulk bodies are sent compressed.
    pub compress: bool,
    /// The most bulk requests in parallel.
    pub in_flight: usize,
    /// How often requests are retried.
    pub retry: Retry,
    /// The timeout of one request, including its answer.
    pub timeout: Duration,
    /// The seed of the random part of the pauses.
    pub seed: u64,
}

/// The client of one cluster. Share it behind an `Arc`.
pub struct Elastic {
    settings: Settings,
    nodes: Nodes,
    secrets: Secrets,
    /// Limits the number of bulk requests in parallel, across all batches.
    slots: Semaphore,
}

// The client holds the credentials as plain text, and its own `Debug` shows them.
impl std::fmt::Debug for Elastic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Elastic")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Elastic {
    /// Creates the client. Sends nothing yet.
    ///
    /// # Errors
    /// [`Error::Configuration`] for an invalid URL or certificate.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        let nodes = Nodes::new(&settings)?;
        let secrets = match &settings.auth {
            Auth::None => Secrets::default(),
            Auth::Basic { user, password } => Secrets::default().with_basic(user, password),
            Auth::ApiKey(key) => Secrets::default().with(key),
        };
        let secrets = settings.proxies.hidden_with(&secrets);
        Ok(Self {
            nodes,
            slots: Semaphore::new(settings.in_flight.max(1)),
            settings,
            secrets,
        })
    }

    /// How its requests get to each node: directly or through a proxy.
    pub fn ways(&self) -> Vec<String> {
        self.nodes.ways()
    }

    /// Sends the documents of meetings, sessions before their meeting, and deletes lost sessions. Only what the indices of `live` acknowledge counts.
    pub async fn publish(&self, live: &LiveIndices, batch: Arc<Vec<Kept>>) -> Report {
        self.send(batch, |kind| self.target(live, kind)).await
    }

    /// The live index, addressed by its alias.
    fn target(&self, live: &LiveIndices, kind: IndexKind) -> Target {
        Target {
            name: self.write_alias(kind, live.year),
            is_alias: true,
            index: live.of(kind).index.clone(),
        }
    }

    /// Sends the same documents to two indices of a rebuild.
    pub async fn publish_into(&self, new: &LiveIndices, batch: Arc<Vec<Kept>>) -> Report {
        let target = |kind| Target {
            name: new.of(kind).index.clone(),
            is_alias: false,
            index: new.of(kind).index.clone(),
        };
        self.send(batch, target).await
    }

    /// All sessions of these meetings that these indices hold.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn sessions_of(
        &self,
        live: &LiveIndices,
        meetings: &[MeetingUuid],
    ) -> Result<Vec<(MeetingUuid, SessionId)>, Error> {
        self.refresh(live).await?;
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
                let hits = self.hits(&live.sessions.index, &query).await?;
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

    /// The UUIDs of up to 5000 meetings in an index, and where the next page begins. They are in the order in which they were written. That order
    /// needs no field, so it also works in an index whose fields have the wrong types.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn meetings_after(
        &self,
        live: &LiveIndices,
        after: Option<i64>,
    ) -> Result<(Vec<MeetingUuid>, Option<i64>), Error> {
        let mut query = json!({"size": 5000, "_source": false, "sort": [{"_seq_no": "asc"}]});
        if let Some(after) = after {
            query["search_after"] = json!([after]);
        }
        let hits = self.hits(&live.meetings.index, &query).await?;
        let place = |hit: &Value| hit["sort"][0].as_i64();
        // Documents of different shards may have the same number, so the last group of a full page is left for the next page.
        let last = hits.last().and_then(place).filter(|_| hits.len() == 5000);
        let uuids = hits
            .iter()
            .filter(|hit| last.is_none() || place(hit) != last)
            .filter_map(|hit| hit["_id"].as_str().map(MeetingUuid::new))
            .collect();
        Ok((uuids, last.map(|last| last - 1)))
    }

    /// The numbers of meetings and sessions of this account that searches find.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn count(&self) -> Result<(u64, u64), Error> {
        let query = json!({"query": {"term": {"account_id": self.settings.account.as_str()}}})
            .to_string()
            .into_bytes();
        let mut counts = [0; 2];
        for (count, kind) in counts.iter_mut().zip(IndexKind::ALL) {
            let alias = self.alias(kind);
            let refreshed = self
                .call(Method::Post, &format!("/{alias}/_refresh"), None)
                .await?;
            if refreshed.status != 200 {
                return Err(self.refused("a refresh", &refreshed));
            }
            let answer = self
                .call(Method::Post, &format!("/{alias}/_count"), Some(query.clone()))
                .await?;
            *count = answer.body["count"]
                .as_u64()
                .ok_or_else(|| self.refused("a count", &answer))?;
        }
        let [meetings, sessions] = counts;
        Ok((meetings, sessions))
    }

    /// Sends a query to the search alias and returns the server's answer.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn search(&self, kind: IndexKind, query: &Value) -> Result<Value, Error> {
        self.ask(&self.alias(kind), query).await
    }

    async fn ask(&self, alias: &str, query: &Value) -> Result<Value, Error> {
        let path = format!("/{alias}/_search");
        let answer = self
            .call(Method::Post, &path, Some(query.to_string().into_bytes()))
            .await?;
        if answer.status == 200 {
            Ok(answer.body)
        } else {
            Err(self.refused("a search", &answer))
        }
    }

    async fn hits(&self, alias: &str, query: &Value) -> Result<Vec<Value>, Error> {
        match self.ask(alias, query).await?["hits"]["hits"].take() {
            Value::Array(hits) => Ok(hits),
            _ => Err(Error::Malformed {
                what: "a search".into(),
                reason: "no hits in it".into(),
            }),
        }
    }
}

/// The target of a bulk request.
struct Target {
    /// The name that it is addressed to.
    name: String,
    /// Whether that name is an alias.
    is_alias: bool,
    /// The index that has to answer.
    index: String,
}

/// The documents of one meeting, in the order in which they are sent: sessions first.
pub fn documents(kept: &Kept) -> Vec<Document> {
    documents::of(kept)
}
