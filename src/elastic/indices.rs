//! Templates, indices and aliases: made on first use, recognised afterwards, replaced in one step by a rebuild.

use elasticsearch::http::Method;
use serde_json::{Value, json};

use super::{Elastic, Error};
use crate::model::IndexKind;

/// Raised with every change of the mappings: then templates are written anew.
const TEMPLATE_VERSION: u64 = 2;

/// Marks what is ours.
const OURS: &str = "zoom-harvester";

/// The two indices as they stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveIndices {
    /// Behind `PREFIX-meetings`.
    pub meetings: IndexState,
    /// Behind `PREFIX-sessions`.
    pub sessions: IndexState,
}

impl LiveIndices {
    /// One of them.
    pub fn of(&self, kind: IndexKind) -> &IndexState {
        match kind {
            IndexKind::Meetings => &self.meetings,
            IndexKind::Sessions => &self.sessions,
        }
    }
}

/// One index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexState {
    /// Its name behind the alias.
    pub index: String,
    /// Elasticsearch's own id of it.
    pub uuid: String,
    /// Whether it was made just now.
    pub created: bool,
    /// The last mark left in it by [`Elastic::write_stamp`].
    pub stamp: Option<String>,
}

/// A rebuild under way: two indices that no alias leads to yet.
#[derive(Clone, Debug)]
pub struct Rebuild {
    new: LiveIndices,
    before: LiveIndices,
}

impl Rebuild {
    /// The new index of a kind.
    pub fn target(&self, kind: IndexKind) -> &str {
        &self.new.of(kind).index
    }
}

/// A line of `doctor`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Check {
    /// What was looked at.
    pub name: String,
    /// Whether it is well.
    pub ok: bool,
    /// What was found.
    pub said: String,
    /// What to do, if it is not well.
    pub remedy: Option<String>,
}

impl Elastic {
    /// Makes templates, indices and aliases that are missing, and tells what stands there.
    ///
    /// # Errors
    /// [`Error::Foreign`] if a name of ours is somebody else's.
    pub async fn ensure(&self) -> Result<LiveIndices, Error> {
        for kind in IndexKind::ALL {
            self.ensure_template(kind).await?;
        }
        Ok(LiveIndices {
            meetings: self.ensure_index(IndexKind::Meetings).await?,
            sessions: self.ensure_index(IndexKind::Sessions).await?,
        })
    }

    /// Leaves a mark in both indices: a later reader can tell which catalog wrote last, and when.
    ///
    /// # Errors
    /// Any.
    pub async fn write_stamp(&self, live: &LiveIndices, stamp: &str) -> Result<(), Error> {
        for index in [&live.meetings.index, &live.sessions.index] {
            let body = json!({"_meta": {OURS: {"stamp": stamp}}});
            self.put(&format!("/{index}/_mapping"), &body, "marking the index")
                .await?;
        }
        Ok(())
    }

    async fn ensure_template(&self, kind: IndexKind) -> Result<(), Error> {
        let name = self.alias(kind);
        let path = format!("/_index_template/{name}");
        let answer = self.call(Method::Get, &path, None).await?;
        match answer.status {
            404 => {}
            200 => {
                let template = &answer.body["index_templates"][0]["index_template"];
                if template["_meta"]["managed_by"] != OURS {
                    return Err(Error::Foreign {
                        name: format!("the index template {name}"),
                        found: "it does not carry our mark".to_owned(),
                    });
                }
                let settings = &template["template"]["settings"]["index"];
                let as_wanted = template["version"].as_u64() >= Some(TEMPLATE_VERSION)
                    && number(&settings["number_of_shards"]) == Some(u64::from(self.settings.shards))
                    && number(&settings["number_of_replicas"]) == Some(u64::from(self.settings.replicas));
                if as_wanted {
                    return Ok(());
                }
            }
            _ => return Err(self.refused("reading an index template", &answer)),
        }
        let mappings = match kind {
            IndexKind::Meetings => include_str!("mappings/meetings.json"),
            IndexKind::Sessions => include_str!("mappings/sessions.json"),
        };
        let mappings: Value = serde_json::from_str(mappings).map_err(|error| Error::Malformed {
            what: "our own mapping".into(),
            reason: error.to_string(),
        })?;
        let body = json!({
            "index_patterns": [format!("{name}-*")],
            "priority": 500,
            "version": TEMPLATE_VERSION,
            "_meta": {"managed_by": OURS},
            "template": {
                "settings": {"index": {
                    "number_of_shards": self.settings.shards,
                    "number_of_replicas": self.settings.replicas,
                }},
                "mappings": mappings,
            },
        });
        self.put(&path, &body, "writing an index template").await
    }

    /// The index behind the alias, if there is one.
    ///
    /// # Errors
    /// [`Error::Foreign`] if what stands there is somebody else's.
    pub(super) async fn behind(&self, kind: IndexKind) -> Result<Option<String>, Error> {
        let alias = self.alias(kind);
        let answer = self.call(Method::Get, &format!("/_alias/{alias}"), None).await?;
        let behind: Vec<String> = match (answer.status, &answer.body) {
            (200, Value::Object(indices)) => indices.keys().cloned().collect(),
            (404, _) => Vec::new(),
            _ => return Err(self.refused("reading an alias", &answer)),
        };
        match behind.as_slice() {
            [] => {
                let concrete = self.call(Method::Head, &format!("/{alias}"), None).await?;
                match concrete.status {
                    404 => {}
                    200 => {
                        return Err(Error::Foreign {
                            name: alias,
                            found: "it is an index, where an alias should be".to_owned(),
                        });
                    }
                    _ => return Err(self.refused("looking for an index", &concrete)),
                }
                Ok(None)
            }
            [index] if generation(&alias, index).is_some() => Ok(Some(index.clone())),
            indices => Err(Error::Foreign {
                name: format!("the alias {alias}"),
                found: format!("it leads to {}", indices.join(", ")),
            }),
        }
    }

    async fn ensure_index(&self, kind: IndexKind) -> Result<IndexState, Error> {
        if let Some(index) = self.behind(kind).await? {
            return self.read_index(&index).await;
        }
        let index = self.next_index(kind).await?;
        let body = json!({"aliases": {self.alias(kind): {}}});
        self.put(&format!("/{index}"), &body, "making an index").await?;
        Ok(IndexState {
            created: true,
            ..self.read_index(&index).await?
        })
    }

    async fn read_index(&self, index: &str) -> Result<IndexState, Error> {
        let answer = self.call(Method::Get, &format!("/{index}"), None).await?;
        if answer.status != 200 {
            return Err(self.refused("reading an index", &answer));
        }
        let found = &answer.body[index];
        let uuid = found["settings"]["index"]["uuid"]
            .as_str()
            .ok_or_else(|| Error::Malformed {
                what: format!("the settings of {index}"),
                reason: "it has no uuid".to_owned(),
            })?;
        Ok(IndexState {
            index: index.to_owned(),
            uuid: uuid.to_owned(),
            created: false,
            stamp: found["mappings"]["_meta"][OURS]["stamp"]
                .as_str()
                .map(str::to_owned),
        })
    }

    /// One above every index of ours that exists, in use or not.
    async fn next_index(&self, kind: IndexKind) -> Result<String, Error> {
        let alias = self.alias(kind);
        let indices = self.indices_of(&alias).await?;
        let newest = indices
            .iter()
            .filter_map(|(index, _)| generation(&alias, index))
            .max();
        Ok(format!("{alias}-{:06}", newest.unwrap_or(0) + 1))
    }

    /// Every index that is named as ours are, and how many aliases lead to it.
    async fn indices_of(&self, alias: &str) -> Result<Vec<(String, usize)>, Error> {
        let answer = self
            .call(Method::Get, &format!("/{alias}-*/_alias"), None)
            .await?;
        match (answer.status, &answer.body) {
            (200, Value::Object(indices)) => Ok(indices
                .iter()
                .filter(|(index, _)| generation(alias, index).is_some())
                .map(|(index, found)| {
                    (
                        index.clone(),
                        found["aliases"].as_object().map_or(0, |all| all.len()),
                    )
                })
                .collect()),
            (404, _) => Ok(Vec::new()),
            _ => Err(self.refused("listing indices", &answer)),
        }
    }

    /// Makes two empty indices beside the ones in use. What an abandoned rebuild left behind is removed first: indices of ours
    /// that no alias leads to, newer ones if it never came to its last step, older ones if it ended right after that.
    ///
    /// # Errors
    /// Any.
    pub async fn begin_rebuild(&self) -> Result<Rebuild, Error> {
        let before = self.ensure().await?;
        for (kind, used) in [
            (IndexKind::Meetings, &before.meetings),
            (IndexKind::Sessions, &before.sessions),
        ] {
            for (index, aliases) in self.indices_of(&self.alias(kind)).await? {
                if index != used.index && aliases == 0 {
                    self.delete_index(&index).await?;
                }
            }
        }
        let (meetings, sessions) = (
            self.next_index(IndexKind::Meetings).await?,
            self.next_index(IndexKind::Sessions).await?,
        );
        for index in [&meetings, &sessions] {
            self.put(&format!("/{index}"), &json!({}), "making an index")
                .await?;
        }
        let new = LiveIndices {
            meetings: self.read_index(&meetings).await?,
            sessions: self.read_index(&sessions).await?,
        };
        Ok(Rebuild { new, before })
    }

    /// Puts the new indices in the place of the old ones, in one step for whoever searches, then deletes the old ones.
    ///
    /// # Errors
    /// Any; before the step nothing has changed for searchers, after it everything has.
    pub async fn finish_rebuild(&self, rebuild: &Rebuild, stamp: &str) -> Result<LiveIndices, Error> {
        let [meetings, sessions] = IndexKind::ALL.map(|kind| rebuild.target(kind));
        let path = format!("/{meetings},{sessions}/_refresh");
        let answer = self.call(Method::Post, &path, None).await?;
        if answer.status != 200 {
            return Err(self.refused("a refresh", &answer));
        }
        let live = LiveIndices {
            meetings: self.read_index(meetings).await?,
            sessions: self.read_index(sessions).await?,
        };
        for kind in IndexKind::ALL {
            // Deleted meanwhile, it came back by itself with the next bulk request: without what was written before.
            if live.of(kind).uuid != rebuild.new.of(kind).uuid {
                return Err(Error::IndexMissing {
                    alias: rebuild.target(kind).to_owned(),
                });
            }
        }
        self.write_stamp(&live, stamp).await?;
        let mut actions = Vec::new();
        for (kind, old) in [
            (IndexKind::Meetings, &rebuild.before.meetings),
            (IndexKind::Sessions, &rebuild.before.sessions),
        ] {
            let alias = self.alias(kind);
            actions.push(json!({"remove": {"index": old.index, "alias": alias}}));
            actions.push(json!({"add": {"index": rebuild.target(kind), "alias": alias}}));
        }
        let body = json!({"actions": actions}).to_string().into_bytes();
        let answer = self.call(Method::Post, "/_aliases", Some(body)).await?;
        if answer.status != 200 {
            return Err(self.refused("swapping the aliases", &answer));
        }
        for old in [&rebuild.before.meetings.index, &rebuild.before.sessions.index] {
            self.delete_index(old).await?;
        }
        Ok(live)
    }

    async fn delete_index(&self, index: &str) -> Result<(), Error> {
        let answer = self.call(Method::Delete, &format!("/{index}"), None).await?;
        match answer.status {
            200 | 404 => Ok(()),
            _ => Err(self.refused("deleting an index", &answer)),
        }
    }

    async fn put(&self, path: &str, body: &Value, what: &str) -> Result<(), Error> {
        let answer = self
            .call(Method::Put, path, Some(body.to_string().into_bytes()))
            .await?;
        match answer.status {
            200 | 201 => Ok(()),
            // Made at an earlier try whose answer was lost.
            400 if answer.error_type() == "resource_already_exists_exception" => Ok(()),
            _ => Err(self.refused(what, &answer)),
        }
    }

    /// Looks, without changing anything, whether all is there that is needed.
    pub async fn check(&self) -> Vec<Check> {
        let mut checks = Vec::new();
        let mut line = |name: &str, ok, said: String, remedy: Option<&str>| {
            let remedy = if ok { None } else { remedy.map(str::to_owned) };
            checks.push(Check {
                name: name.to_owned(),
                ok,
                said,
                remedy,
            });
        };
        // Not `GET /`: some servers do not answer there.
        let path = "/_nodes/_local?filter_path=nodes.*.version";
        match self.call(Method::Get, path, None).await {
            Ok(answer) if answer.status == 200 => {
                let version = answer.body["nodes"]
                    .as_object()
                    .and_then(|nodes| nodes.values().next())
                    .and_then(|node| node["version"].as_str())
                    .unwrap_or("of unknown version");
                line(
                    "elasticsearch",
                    true,
                    format!("{} answers, version {version}", self.settings.url),
                    None,
                );
            }
            // A user who may not see the nodes may still do all that is needed.
            Ok(answer) if answer.status == 403 => {
                line(
                    "elasticsearch",
                    true,
                    format!("{} answers", self.settings.url),
                    None,
                );
            }
            Ok(answer) => {
                let error = self.refused("a look at the node", &answer);
                line(
                    "elasticsearch",
                    false,
                    error.to_string(),
                    Some("check ELASTICSEARCH_URL and the credentials"),
                );
                return checks;
            }
            Err(error) => {
                line(
                    "elasticsearch",
                    false,
                    error.to_string(),
                    Some("check ELASTICSEARCH_URL and that the server runs"),
                );
                return checks;
            }
        }
        let pattern = format!("{}-*", self.settings.prefix);
        let wanted = json!({
            "cluster": ["manage_index_templates"],
            "index": [{"names": [pattern], "privileges": ["manage", "index", "delete", "read"]}],
        });
        let body = wanted.to_string().into_bytes();
        match self
            .call(Method::Post, "/_security/user/_has_privileges", Some(body))
            .await
        {
            Ok(answer) if answer.status == 200 => {
                let all = answer.body["has_all_requested"] == true;
                let said = if all {
                    "all that are needed".to_owned()
                } else {
                    format!("missing: {}", lacking(&answer.body))
                };
                line(
                    "privileges",
                    all,
                    said,
                    Some("give the user or key the privileges that the README lists"),
                );
            }
            // No security, or not of this kind: then the first write tells.
            Ok(_) => line("privileges", true, "this server does not tell".to_owned(), None),
            Err(error) => line("privileges", false, error.to_string(), Some("try again")),
        }
        for kind in IndexKind::ALL {
            let alias = self.alias(kind);
            match self.call(Method::Get, &format!("/_alias/{alias}"), None).await {
                Ok(answer) if answer.status == 200 => {
                    let indices: Vec<&String> = answer
                        .body
                        .as_object()
                        .into_iter()
                        .flat_map(|map| map.keys())
                        .collect();
                    let ok = matches!(indices.as_slice(), [index] if generation(&alias, index).is_some());
                    let names: Vec<&str> = indices.iter().map(|index| index.as_str()).collect();
                    line(
                        &alias,
                        ok,
                        format!("leads to {}", names.join(", ")),
                        Some("the alias should lead to one index of zoom-harvester's"),
                    );
                }
                Ok(answer) if answer.status == 404 => {
                    line(
                        &alias,
                        true,
                        "not there yet; the first sync makes it".to_owned(),
                        None,
                    );
                }
                Ok(answer) => {
                    line(
                        &alias,
                        false,
                        self.refused("reading an alias", &answer).to_string(),
                        Some("check the privileges"),
                    );
                }
                Err(error) => line(&alias, false, error.to_string(), Some("try again")),
            }
        }
        checks
    }
}

/// The number at the end of an index of ours.
fn generation(alias: &str, index: &str) -> Option<u64> {
    let digits = index.strip_prefix(alias)?.strip_prefix('-')?;
    (digits.len() == 6).then(|| digits.parse().ok()).flatten()
}

/// Settings come back as text.
fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

fn lacking(answer: &Value) -> String {
    let mut names: Vec<String> = Vec::new();
    let mut collect = |privileges: &Value| {
        for (name, has) in privileges.as_object().into_iter().flatten() {
            if has == false && !names.contains(name) {
                names.push(name.clone());
            }
        }
    };
    collect(&answer["cluster"]);
    for privileges in answer["index"]
        .as_object()
        .into_iter()
        .flat_map(|indices| indices.values())
    {
        collect(privileges);
    }
    names.join(", ")
}
