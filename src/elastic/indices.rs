//! Indices and aliases: created on first use with explicit mappings, checked afterwards, and replaced in one step by a rebuild. Index templates
//! belong to the administrator: their settings apply, their mappings of the harvester's fields do not.

use std::collections::BTreeSet;

use elasticsearch::http::Method;
use serde_json::{Value, json};

use super::{
    Elastic, Error, mapping,
    names::{generation, year_of},
};
use crate::model::{IndexKind, IndexYear};

/// The key in `_meta` that marks the harvester's indices.
const OURS: &str = "zoom-harvester";

/// How many wrong types a message names. The rest is counted.
const NAMED: usize = 4;

/// The two live indices of a year, or of all years.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveIndices {
    /// The year whose documents they hold.
    pub year: IndexYear,
    /// Behind `PREFIX-meetings`.
    pub meetings: IndexState,
    /// Behind `PREFIX-sessions`.
    pub sessions: IndexState,
}

impl LiveIndices {
    /// The index of a kind.
    pub fn of(&self, kind: IndexKind) -> &IndexState {
        match kind {
            IndexKind::Meetings => &self.meetings,
            IndexKind::Sessions => &self.sessions,
        }
    }
}

/// The state of one index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexState {
    /// The name of the index behind the alias.
    pub index: String,
    /// The id that Elasticsearch gave it.
    pub uuid: String,
    /// Whether it was created just now.
    pub created: bool,
    /// The last mark left in it by [`Elastic::write_stamp`].
    pub stamp: Option<String>,
    /// The harvester's fields that have another type, described in words.
    wrong: Vec<String>,
    /// The harvester's fields that it lacks, in the form in which they are added to its mapping.
    lacking: serde_json::Map<String, Value>,
}

/// A rebuild in progress: two indices per year that no alias leads to yet.
#[derive(Clone, Debug)]
pub struct Rebuild {
    new: Vec<LiveIndices>,
    before: Vec<LiveIndices>,
}

impl Rebuild {
    /// The new indices, by year.
    pub fn targets(&self) -> &[LiveIndices] {
        &self.new
    }
}

/// A line of `doctor`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Check {
    /// What was checked.
    pub name: String,
    /// Whether it is in order.
    pub ok: bool,
    /// What was found.
    pub said: String,
    /// What to do if it is not in order.
    pub remedy: Option<String>,
}

impl LiveIndices {
    /// Returns itself if every field has the type that documents and comparisons need.
    ///
    /// # Errors
    /// [`Error::WrongTypes`].
    pub fn of_our_types(self) -> Result<Self, Error> {
        for kind in IndexKind::ALL {
            self.of(kind).of_our_types()?;
        }
        Ok(self)
    }
}

impl IndexState {
    pub(super) fn of_our_types(&self) -> Result<(), Error> {
        let (named, more) = (
            self.wrong.iter().take(NAMED),
            self.wrong.len().saturating_sub(NAMED),
        );
        let named: Vec<&str> = named.map(String::as_str).collect();
        let more = if more > 0 {
            format!(", and {more} more")
        } else {
            String::new()
        };
        if named.is_empty() {
            return Ok(());
        }
        Err(Error::WrongTypes {
            index: self.index.clone(),
            fields: format!("{}{more}", named.join(", ")),
        })
    }
}

/// An index of this account, in use or not.
struct Own {
    index: String,
    aliases: Vec<String>,
}

/// The result of looking for one index of this account.
enum Found {
    /// The index in use.
    Index(IndexState),
    /// No index is in use. These have such a name all the same.
    Nothing(Vec<Own>),
}

impl Elastic {
    /// Creates missing indices and aliases, and returns the live ones.
    ///
    /// # Errors
    /// [`Error::Foreign`] if something else has one of the harvester's names.
    pub async fn ensure(&self, year: IndexYear) -> Result<LiveIndices, Error> {
        Ok(LiveIndices {
            year,
            meetings: self.ensure_index(IndexKind::Meetings, year).await?,
            sessions: self.ensure_index(IndexKind::Sessions, year).await?,
        })
    }

    /// The same, but creates nothing if there is no index of either kind.
    ///
    /// # Errors
    /// As [`Elastic::ensure`].
    pub async fn look(&self, year: IndexYear) -> Result<Option<LiveIndices>, Error> {
        let meetings = self.find_index(IndexKind::Meetings, year).await?;
        let sessions = self.find_index(IndexKind::Sessions, year).await?;
        if let (Found::Nothing(_), Found::Nothing(_)) = (&meetings, &sessions) {
            return Ok(None);
        }
        Ok(Some(LiveIndices {
            year,
            meetings: self.found_or_made(IndexKind::Meetings, year, meetings).await?,
            sessions: self.found_or_made(IndexKind::Sessions, year, sessions).await?,
        }))
    }

    /// The years for which this account has indices, in use or not.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn years(&self) -> Result<BTreeSet<IndexYear>, Error> {
        let mut years = BTreeSet::new();
        for kind in IndexKind::ALL {
            let alias = self.write_alias(kind, IndexYear::ALL);
            let indices = self.indices_of(&alias).await?;
            years.extend(indices.iter().filter_map(|one| year_of(&alias, &one.index)));
        }
        Ok(years)
    }

    /// Leaves a mark in both indices. It tells a later reader which catalog wrote last, and when.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn write_stamp(&self, live: &LiveIndices, stamp: &str) -> Result<(), Error> {
        for index in [&live.meetings.index, &live.sessions.index] {
            let body = json!({"_meta": {OURS: {"account": self.settings.account, "stamp": stamp}}});
            self.put(&format!("/{index}/_mapping"), &body, "marking the index")
                .await?;
        }
        Ok(())
    }

    /// The index that this account's documents are written to, if there is one.
    ///
    /// # Errors
    /// [`Error::Foreign`] if the alias leads to something else, or if it is not clear which index is meant.
    pub(super) async fn behind(&self, kind: IndexKind, year: IndexYear) -> Result<Option<String>, Error> {
        let alias = self.write_alias(kind, year);
        let behind = self.led_to(&alias).await?;
        match behind.as_slice() {
            [] => Ok(None),
            [index] if generation(&alias, index).is_some() => Ok(Some(index.clone())),
            indices => Err(Error::Foreign {
                name: format!("the alias {alias}"),
                found: format!(
                    "it leads to {}, and should lead to one index named {alias}-000001 or so",
                    indices.join(", ")
                ),
            }),
        }
    }

    /// The indices that an alias leads to.
    async fn led_to(&self, alias: &str) -> Result<Vec<String>, Error> {
        let answer = self.call(Method::Get, &format!("/_alias/{alias}"), None).await?;
        match (answer.status, &answer.body) {
            (200, Value::Object(indices)) => Ok(indices.keys().cloned().collect()),
            (404, _) => Ok(Vec::new()),
            _ => Err(self.refused("reading an alias", &answer)),
        }
    }

    /// Checks that an index may be created: neither alias is an index, and the search alias leads to no index of the older layout.
    async fn may_be_made(&self, kind: IndexKind, year: IndexYear) -> Result<(), Error> {
        let alias = self.alias(kind);
        let searched = self.led_to(&alias).await?;
        if let Some(index) = searched.iter().find(|index| generation(&alias, index).is_some()) {
            return Err(Error::OlderLayout { index: index.clone() });
        }
        let mut names = vec![self.write_alias(kind, year)];
        if searched.is_empty() {
            names.push(alias);
        }
        for name in names {
            let concrete = self.call(Method::Head, &format!("/{name}"), None).await?;
            match concrete.status {
                404 => {}
                200 => {
                    return Err(Error::Foreign {
                        name,
                        found: "it is an index, where an alias should be".to_owned(),
                    });
                }
                _ => return Err(self.refused("looking for an index", &concrete)),
            }
        }
        Ok(())
    }

    async fn ensure_index(&self, kind: IndexKind, year: IndexYear) -> Result<IndexState, Error> {
        let found = self.find_index(kind, year).await?;
        self.found_or_made(kind, year, found).await
    }

    /// Creates the index if there is none, and adds fields that it lacks.
    async fn found_or_made(
        &self,
        kind: IndexKind,
        year: IndexYear,
        found: Found,
    ) -> Result<IndexState, Error> {
        let state = match found {
            Found::Index(state) => state,
            Found::Nothing(own) => {
                self.may_be_made(kind, year).await?;
                let write_alias = self.write_alias(kind, year);
                let index = next_index(&write_alias, &own);
                let aliases = json!({self.alias(kind): {}, write_alias: {}});
                self.make_index(kind, &index, aliases).await?;
                IndexState {
                    created: true,
                    ..self.read_index(kind, &index).await?
                }
            }
        };
        if !state.lacking.is_empty() && state.wrong.is_empty() {
            let body = json!({"properties": state.lacking});
            self.put(
                &format!("/{}/_mapping", state.index),
                &body,
                "adding fields to an index",
            )
            .await?;
        }
        Ok(state)
    }

    /// The index in use. Aliases that were moved are put back.
    async fn find_index(&self, kind: IndexKind, year: IndexYear) -> Result<Found, Error> {
        let used = self.behind(kind, year).await?;
        let own = self.own_indices(kind, year).await?;
        let write_alias = self.write_alias(kind, year);
        let alias = self.alias(kind);
        let searched: Vec<&str> = own
            .iter()
            .filter(|one| one.aliases.contains(&alias))
            .map(|one| one.index.as_str())
            .collect();
        let state = match (used, searched.as_slice()) {
            (None, []) => return Ok(Found::Nothing(own)),
            (Some(index), [searched]) if index == *searched => self.read_index(kind, &index).await?,
            // Someone removed an alias or moved it. The index that is written to has to be searched, and no other one of this account. Otherwise
            // documents would be found twice.
            (used, searched) => {
                let index = match (used, searched) {
                    (Some(index), _) => index,
                    (None, [index]) => (*index).to_owned(),
                    (None, several) => {
                        return Err(Error::Foreign {
                            name: format!("the alias {alias}"),
                            found: format!(
                                "it leads to {}, and {write_alias} to none of them",
                                several.join(", ")
                            ),
                        });
                    }
                };
                let others = searched.iter().filter(|other| **other != index);
                let mut actions: Vec<Value> = others
                    .map(|other| json!({"remove": {"index": other, "alias": alias}}))
                    .collect();
                for alias in [&alias, &write_alias] {
                    actions.push(json!({"add": {"index": index, "alias": alias}}));
                }
                self.change_aliases(actions).await?;
                self.read_index(kind, &index).await?
            }
        };
        Ok(Found::Index(state))
    }

    /// Creates an index. Settings that are not given here come from the server's templates.
    async fn make_index(&self, kind: IndexKind, index: &str, aliases: Value) -> Result<(), Error> {
        let mut mappings = mapping::wanted(kind)?;
        mappings["_meta"] = json!({OURS: {"account": self.settings.account}});
        // The pages of a comparison rely on it.
        let mut settings = json!({"max_result_window": 10_000});
        for (name, value) in [
            ("number_of_shards", self.settings.shards),
            ("number_of_replicas", self.settings.replicas),
        ] {
            if let Some(value) = value {
                settings[name] = json!(value);
            }
        }
        let body = json!({"aliases": aliases, "settings": {"index": settings}, "mappings": mappings});
        match self.put(&format!("/{index}"), &body, "making an index").await {
            Err(Error::Refused {
                status: 400, said, ..
            }) => Err(Error::NotMade {
                index: index.to_owned(),
                said,
            }),
            done => done,
        }
    }

    pub(super) async fn read_index(&self, kind: IndexKind, index: &str) -> Result<IndexState, Error> {
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
        let (mappings, wanted) = (&found["mappings"], mapping::wanted(kind)?);
        let mark = &mappings["_meta"][OURS];
        if let Some(other) = mark["account"]
            .as_str()
            .filter(|account| *account != self.settings.account.as_str())
        {
            return Err(Error::Foreign {
                name: index.to_owned(),
                found: format!("it belongs to the Zoom account {other}"),
            });
        }
        Ok(IndexState {
            index: index.to_owned(),
            uuid: uuid.to_owned(),
            created: false,
            stamp: mark["stamp"].as_str().map(str::to_owned),
            wrong: mapping::wrong(&wanted, mappings),
            lacking: mapping::lacking(&wanted, mappings),
        })
    }

    /// All indices that are named like this account's indices of a year.
    async fn own_indices(&self, kind: IndexKind, year: IndexYear) -> Result<Vec<Own>, Error> {
        let write_alias = self.write_alias(kind, year);
        let mut own = self.indices_of(&write_alias).await?;
        own.retain(|one| generation(&write_alias, &one.index).is_some());
        Ok(own)
    }

    /// All indices whose name begins with this alias and a hyphen.
    async fn indices_of(&self, write_alias: &str) -> Result<Vec<Own>, Error> {
        let path = format!("/{write_alias}-*/_alias");
        let answer = self.call(Method::Get, &path, None).await?;
        let aliases = |found: &Value| {
            let aliases = found["aliases"].as_object().into_iter().flatten();
            aliases.map(|(alias, _)| alias.clone()).collect()
        };
        match (answer.status, &answer.body) {
            (200, Value::Object(indices)) => Ok(indices
                .iter()
                .map(|(index, found)| Own {
                    index: index.clone(),
                    aliases: aliases(found),
                })
                .collect()),
            (404, _) => Ok(Vec::new()),
            _ => Err(self.refused("listing indices", &answer)),
        }
    }

    async fn change_aliases(&self, actions: Vec<Value>) -> Result<(), Error> {
        let body = json!({"actions": actions}).to_string().into_bytes();
        let answer = self.call(Method::Post, "/_aliases", Some(body)).await?;
        match answer.status {
            200 => Ok(()),
            _ => Err(self.refused("changing the aliases", &answer)),
        }
    }

    /// Creates two empty indices for each of the years, in addition to those in use (`before`). First removes what an abandoned rebuild left behind:
    /// the harvester's indices that no alias leads to. They are newer ones if that rebuild never came to its last step, and older ones if it ended
    /// right after that step.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn begin_rebuild(
        &self,
        years: &BTreeSet<IndexYear>,
        before: Vec<LiveIndices>,
    ) -> Result<Rebuild, Error> {
        let mut new = Vec::new();
        for year in self.years().await?.union(years) {
            let used = before.iter().find(|used| used.year == *year);
            for kind in IndexKind::ALL {
                for own in self.own_indices(kind, *year).await? {
                    let in_use = used.is_some_and(|used| used.of(kind).index == own.index);
                    if !in_use && own.aliases.is_empty() {
                        self.delete_index(&own.index).await?;
                    }
                }
            }
        }
        for year in years {
            new.push(LiveIndices {
                year: *year,
                meetings: self.make_next(IndexKind::Meetings, *year).await?,
                sessions: self.make_next(IndexKind::Sessions, *year).await?,
            });
        }
        Ok(Rebuild { new, before })
    }

    /// Creates an empty index, numbered one above all of this account's for the year. No alias leads to it.
    async fn make_next(&self, kind: IndexKind, year: IndexYear) -> Result<IndexState, Error> {
        let own = self.own_indices(kind, year).await?;
        let index = next_index(&self.write_alias(kind, year), &own);
        if own.is_empty() {
            self.may_be_made(kind, year).await?;
        }
        self.make_index(kind, &index, json!({})).await?;
        self.read_index(kind, &index).await
    }

    /// Replaces all indices from before by the new ones, in one step for searches, then deletes the old ones.
    ///
    /// # Errors
    /// Any [`Error`]. Before that step nothing has changed for searches, after it everything has.
    pub async fn finish_rebuild(&self, rebuild: &Rebuild, stamp: &str) -> Result<Vec<LiveIndices>, Error> {
        let mut all = Vec::new();
        let mut actions = Vec::new();
        for new in &rebuild.new {
            self.refresh(new).await?;
            let live = LiveIndices {
                year: new.year,
                meetings: self.read_index(IndexKind::Meetings, &new.meetings.index).await?,
                sessions: self.read_index(IndexKind::Sessions, &new.sessions.index).await?,
            };
            for kind in IndexKind::ALL {
                // The index was deleted in the meantime. The next bulk request created it again, without what was written before.
                if live.of(kind).uuid != new.of(kind).uuid {
                    return Err(Error::IndexMissing {
                        alias: new.of(kind).index.clone(),
                    });
                }
            }
            self.write_stamp(&live, stamp).await?;
            all.push(live);
        }
        for (change, indices) in [("remove", &rebuild.before), ("add", &rebuild.new)] {
            for one in indices {
                for kind in IndexKind::ALL {
                    for alias in [self.alias(kind), self.write_alias(kind, one.year)] {
                        actions.push(json!({change: {"index": one.of(kind).index, "alias": alias}}));
                    }
                }
            }
        }
        self.change_aliases(actions).await?;
        for old in &rebuild.before {
            for kind in IndexKind::ALL {
                self.delete_index(&old.of(kind).index).await?;
            }
        }
        Ok(all)
    }

    /// Refreshes these indices, so that searches see what they acknowledged.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn refresh(&self, live: &LiveIndices) -> Result<(), Error> {
        let path = format!("/{},{}/_refresh", live.meetings.index, live.sessions.index);
        let answer = self.call(Method::Post, &path, None).await?;
        if answer.status == 200 {
            Ok(())
        } else {
            Err(self.refused("a refresh", &answer))
        }
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
            // Created by an earlier try whose answer was lost.
            400 if answer.error_type() == "resource_already_exists_exception" => Ok(()),
            _ => Err(self.refused(what, &answer)),
        }
    }

    /// Checks, without changing anything, that everything needed is there: the server, the privileges, and the indices of this account for these
    /// years.
    pub async fn check(&self, years: &BTreeSet<IndexYear>) -> Vec<Check> {
        let mut checks = self.check_server().await;
        if checks
            .iter()
            .all(|check| check.name != "elasticsearch" || check.ok)
        {
            for year in years {
                checks.extend(self.check_indices(*year).await);
            }
        }
        checks
    }

    /// The part of [`Elastic::check`] that needs no account.
    pub async fn check_server(&self) -> Vec<Check> {
        // Not `GET /`: some servers do not answer there.
        let path = "/_nodes/_local?filter_path=nodes.*.version";
        let url = self.settings.urls.join(", ");
        let found = match self.call(Method::Get, path, None).await {
            Ok(answer) if answer.status == 200 => {
                let version = answer.body["nodes"]
                    .as_object()
                    .and_then(|nodes| nodes.values().next())
                    .and_then(|node| node["version"].as_str())
                    .unwrap_or("of unknown version");
                Ok(format!("{url} answers, version {version}"))
            }
            // A user who may not see the nodes may still have all privileges that are needed.
            Ok(answer) if answer.status == 403 => Ok(format!("{url} answers")),
            Ok(answer) => Err((
                self.refused("a look at the node", &answer),
                "check ELASTICSEARCH_URL and the credentials",
            )),
            Err(error) => Err((error, "check ELASTICSEARCH_URL and that the server runs")),
        };
        match found {
            Ok(said) => vec![Check::well("elasticsearch", said), self.check_privileges().await],
            Err((error, remedy)) => vec![Check::ill("elasticsearch", error, Some(remedy))],
        }
    }

    async fn check_privileges(&self) -> Check {
        let pattern = format!("{}-*", self.settings.prefix);
        let wanted = json!({
            "cluster": [],
            "index": [{"names": [pattern], "privileges": ["manage", "index", "delete", "read"]}],
        });
        let body = wanted.to_string().into_bytes();
        let path = "/_security/user/_has_privileges";
        match self.call(Method::Post, path, Some(body)).await {
            Ok(answer) if answer.status == 200 && answer.body["has_all_requested"] == true => {
                Check::well("privileges", "all that are needed".to_owned())
            }
            Ok(answer) if answer.status == 200 => Check::ill(
                "privileges",
                format!("missing: {}", missing_privileges(&answer.body)),
                Some("give the user or key the privileges that docs/elasticsearch.md lists"),
            ),
            // The server has no security, or another kind of it. The first write will show.
            Ok(_) => Check::well("privileges", "this server does not tell".to_owned()),
            Err(error) => Check::ill("privileges", error, Some("try again")),
        }
    }

    async fn check_indices(&self, year: IndexYear) -> Vec<Check> {
        let mut checks = Vec::new();
        for kind in IndexKind::ALL {
            let write_alias = self.write_alias(kind, year);
            let found = match self.behind(kind, year).await {
                Ok(Some(index)) => self.read_index(kind, &index).await.and_then(|state| {
                    state.of_our_types()?;
                    Ok(format!(
                        "{write_alias} is {index}, in which every field has our type"
                    ))
                }),
                Ok(None) => self
                    .may_be_made(kind, year)
                    .await
                    .map(|()| format!("{write_alias} is not there yet; the first sync makes it")),
                Err(error) => Err(error),
            };
            let alias = format!("{}{}", self.alias(kind), year.suffix());
            checks.push(match found {
                Ok(said) => Check::well(&alias, said),
                // The message already ends with the remedy.
                Err(
                    error @ (Error::Foreign { .. } | Error::OlderLayout { .. } | Error::WrongTypes { .. }),
                ) => Check::ill(&alias, error, None),
                Err(error) => Check::ill(&alias, error, Some("check the privileges")),
            });
        }
        checks
    }
}

impl Check {
    fn well(name: &str, said: String) -> Self {
        Self {
            name: name.to_owned(),
            ok: true,
            said,
            remedy: None,
        }
    }

    fn ill(name: &str, said: impl ToString, remedy: Option<&str>) -> Self {
        Self {
            name: name.to_owned(),
            ok: false,
            said: said.to_string(),
            remedy: remedy.map(str::to_owned),
        }
    }
}

/// The name that is numbered one above all indices of this account, in use or not.
fn next_index(write_alias: &str, own: &[Own]) -> String {
    let newest = own
        .iter()
        .filter_map(|one| generation(write_alias, &one.index))
        .max();
    format!("{write_alias}-{:06}", newest.unwrap_or(0) + 1)
}

fn missing_privileges(answer: &Value) -> String {
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
