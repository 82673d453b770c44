//! Reads back what the indices hold: page by page, in the order of their keyword fields, every document once.
//!
//! It needs neither a point-in-time API (each engine has its own) nor scrolling (a page is lost with its answer). No other process of the harvester
//! writes at the same time, and a page that is requested twice is the same page.

use std::borrow::Cow;

use elasticsearch::http::Method;
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use super::{
    Elastic, Error,
    client::{Answer, RawAnswer},
    documents,
};
use crate::model::{
    Checksum, Document, Held, IndexKind, IndexYear, Kept, Key, MeetingUuid, Row, RowEdit, SessionId,
    VOLATILE_LISTING_FIELDS,
};

/// The target size of a page in bytes. It bounds the memory of a scan.
const PAGE_BYTES: usize = 4 << 20;

/// Documents in the first page, before their size is known.
const FIRST_PAGE: usize = 500;

/// The most documents in a page: half of what the servers allow by default (`index.max_result_window`).
const LARGEST_PAGE: usize = 5_000;

/// Ids in one look-up request.
const IDS_AT_ONCE: usize = 500;

/// The indices of a year that are read. They are those behind the aliases when the reading began, so that a swap in the meantime cannot mix two.
#[derive(Clone, Debug)]
pub struct Reading {
    year: IndexYear,
    meetings: Option<String>,
    sessions: Option<String>,
}

impl Reading {
    /// The year whose documents they hold.
    pub fn year(&self) -> IndexYear {
        self.year
    }

    /// The index of a kind; `None` if its alias leads nowhere.
    pub fn index(&self, kind: IndexKind) -> Option<&str> {
        match kind {
            IndexKind::Meetings => self.meetings.as_deref(),
            IndexKind::Sessions => self.sessions.as_deref(),
        }
    }
}

/// A scan through all documents of an index. See [`Elastic::scan`].
#[derive(Debug)]
pub struct Scan<'a> {
    elastic: &'a Elastic,
    kind: IndexKind,
    index: Option<&'a str>,
    size: usize,
    after: Option<Value>,
    total: Option<u64>,
    seen: u64,
    last: Option<Key>,
    ended: bool,
}

impl Elastic {
    /// Looks up the indices of a year and refreshes them, so that acknowledged documents are visible. Changes nothing else.
    ///
    /// # Errors
    /// [`Error::Foreign`] if something else has one of the harvester's names, [`Error::WrongTypes`] if the indices cannot be read in order.
    pub async fn begin_reading(&self, year: IndexYear) -> Result<Reading, Error> {
        let reading = Reading {
            year,
            meetings: self.behind(IndexKind::Meetings, year).await?,
            sessions: self.behind(IndexKind::Sessions, year).await?,
        };
        for kind in IndexKind::ALL {
            let Some(index) = reading.index(kind) else {
                continue;
            };
            self.read_index(kind, index).await?.of_our_types()?;
            let answer = self
                .call(Method::Post, &format!("/{index}/_refresh"), None)
                .await?;
            if answer.status != 200 {
                return Err(self.refused("a refresh", &answer));
            }
        }
        Ok(reading)
    }

    /// Begins a scan at the first document of an index.
    pub fn scan<'a>(&'a self, reading: &'a Reading, kind: IndexKind) -> Scan<'a> {
        Scan {
            elastic: self,
            kind,
            index: reading.index(kind),
            size: FIRST_PAGE,
            after: None,
            total: None,
            seen: 0,
            last: None,
            ended: false,
        }
    }

    /// Which of these ids the index has, with their versions, whatever the content of the documents.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn versions_of(
        &self,
        reading: &Reading,
        kind: IndexKind,
        ids: &[String],
    ) -> Result<Vec<(String, i64)>, Error> {
        let Some(index) = reading.index(kind) else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        for chunk in ids.chunks(IDS_AT_ONCE) {
            let body = json!({"ids": chunk}).to_string().into_bytes();
            let path = format!("/{index}/_mget?_source=false");
            let answer = self.call(Method::Post, &path, Some(body)).await?;
            if answer.status != 200 {
                return Err(self.refused("to look documents up", &answer));
            }
            let items = answer.body["docs"]
                .as_array()
                .filter(|docs| docs.len() == chunk.len());
            for item in items.ok_or_else(|| unusable("a look-up", "not one answer an id"))? {
                match (
                    item["found"].as_bool(),
                    item["_id"].as_str(),
                    item["_version"].as_i64(),
                ) {
                    (Some(true), Some(id), Some(version)) => found.push((id.to_owned(), version)),
                    (Some(false), ..) => {}
                    _ => return Err(unusable("a look-up", "an id that is neither there nor not there")),
                }
            }
        }
        Ok(found)
    }

    /// Deletes documents by id. A document that has got a newer version since it was read stays.
    ///
    /// # Errors
    /// Any [`Error`]; some documents may be deleted then.
    pub async fn delete(
        &self,
        reading: &Reading,
        kind: IndexKind,
        documents: &[(String, i64)],
    ) -> Result<(), Error> {
        match reading.index(kind) {
            Some(index) => self.delete_from(index, documents).await,
            None => Ok(()),
        }
    }
}

impl Scan<'_> {
    /// The next documents, in order; empty at the end. By then, as many were seen as the index counts.
    ///
    /// # Errors
    /// Any [`Error`], also if an answer is incomplete: half a reading must not pass for a whole one.
    pub async fn page(&mut self) -> Result<Vec<Held>, Error> {
        let Some(index) = self.index.filter(|_| !self.ended) else {
            return Ok(Vec::new());
        };
        let path = format!("/{index}/_search?allow_partial_search_results=false");
        loop {
            let query = self.query().to_string().into_bytes();
            let raw = self.elastic.call_raw(Method::Post, &path, Some(query)).await?;
            if raw.status != 200 {
                let answer = Answer::from(raw);
                return Err(self.elastic.refused("reading an index", &answer));
            }
            let found = read_hits(&raw)?;
            self.total = self.total.or(found.hits.total.map(|total| total.value));
            let hits = &found.hits.hits;
            let asked = self.size;
            self.size = next_size(asked, hits.len(), raw.text.len());
            self.ended = hits.len() < asked;
            let whole = if self.ended { hits.len() } else { settled(hits) };
            if whole == 0 && !self.ended {
                // One group of equal sort values fills the page. Only a larger page can show where it ends.
                self.size = (asked * 2).min(LARGEST_PAGE * 2);
                if self.size == asked {
                    return Err(unusable("reading an index", "too many documents are alike"));
                }
                continue;
            }
            let hits = hits.get(..whole).unwrap_or_default();
            if let Some(last) = hits.last() {
                self.after = Some(Value::from(last.sort.clone()));
            }
            self.seen += whole as u64;
            if self.ended && self.total != Some(self.seen) {
                return Err(unusable(
                    "reading an index",
                    "it changed while it was read; run again when nobody else writes to it",
                ));
            }
            let mut page = Vec::with_capacity(whole);
            for hit in hits {
                let found = self.read(hit)?;
                // The comparison relies on the order.
                if self.last.as_ref().is_some_and(|last| *last > found.key) {
                    return Err(unusable("reading an index", "it is not in order"));
                }
                self.last = Some(found.key.clone());
                page.push(found);
            }
            return Ok(page);
        }
    }

    fn query(&self) -> Value {
        let by =
            |field: &str| json!({field: {"order": "asc", "missing": "_last", "unmapped_type": "keyword"}});
        let mut sort = match self.kind {
            IndexKind::Meetings => vec![by("uuid")],
            IndexKind::Sessions => vec![by("meeting"), by("session_id")],
        };
        // Distinguishes documents that are equal in these fields, except those of different shards. (Elasticsearch does not sort by `_id`.)
        sort.push(json!({"_seq_no": "asc"}));
        let mut query = json!({
            "size": self.size, "version": true, "track_total_hits": self.total.is_none(), "sort": sort,
        });
        if let Some(after) = &self.after {
            query["search_after"] = after.clone();
        }
        query
    }

    fn read(&self, hit: &Hit<'_>) -> Result<Held, Error> {
        let unreadable = || unusable("reading an index", "a document that cannot be read");
        let text = |n: usize| hit.sort.get(n).and_then(Value::as_str).map(str::to_owned);
        Ok(Held {
            key: Key {
                meeting: text(0).map(MeetingUuid::new),
                session: match self.kind {
                    IndexKind::Meetings => None,
                    IndexKind::Sessions => text(1).map(SessionId::new),
                },
            },
            id: hit.id.clone().into_owned(),
            version: hit.version,
            checksum: content(self.kind, &Row::read(hit.source.get()).map_err(|_| unreadable())?),
        })
    }
}

/// A page of documents, as a search returns it.
#[derive(Deserialize)]
struct Found<'a> {
    #[serde(default)]
    timed_out: bool,
    #[serde(rename = "_shards")]
    shards: Shards,
    #[serde(borrow)]
    hits: Hits<'a>,
}

#[derive(Deserialize)]
struct Shards {
    failed: u64,
}

#[derive(Deserialize)]
struct Hits<'a> {
    total: Option<Total>,
    #[serde(borrow)]
    hits: Vec<Hit<'a>>,
}

#[derive(Deserialize)]
struct Total {
    value: u64,
}

#[derive(Debug, Deserialize)]
struct Hit<'a> {
    #[serde(borrow, rename = "_id")]
    id: Cow<'a, str>,
    #[serde(rename = "_version")]
    version: i64,
    #[serde(borrow, rename = "_source")]
    source: &'a RawValue,
    sort: Vec<Value>,
}

fn read_hits(raw: &RawAnswer) -> Result<Found<'_>, Error> {
    let found: Found<'_> = serde_json::from_str(&raw.text).map_err(|_| {
        unusable(
            "reading an index",
            "no hits in it, or one without an id or a version",
        )
    })?;
    if found.timed_out || found.shards.failed != 0 {
        return Err(unusable("reading an index", "a part of the index did not answer"));
    }
    Ok(found)
}

/// The documents of a meeting that an index in step holds, in the order of a scan.
pub fn held(kept: &Kept, kind: IndexKind) -> Vec<Held> {
    let held = |session: Option<SessionId>, document: Document| Held {
        key: Key {
            meeting: Some(kept.uuid.clone()),
            session,
        },
        version: document.version,
        checksum: content(kind, &Row::kept(&document.body)),
        id: document.id,
    };
    match kind {
        IndexKind::Meetings => vec![held(None, documents::meeting(kept))],
        IndexKind::Sessions => {
            let mut all: Vec<Held> = documents::sessions(kept)
                .into_iter()
                .map(|document| held(Some(SessionId::new(document.id.as_str())), document))
                .collect();
            all.sort_by(|a, b| a.key.cmp(&b.key));
            all
        }
    }
}

/// The checksum of what is compared of a document. The quality scores of a meeting are left out: they change by themselves and make nothing due, so
/// the index may show older ones than the catalog.
fn content(kind: IndexKind, body: &Row) -> Checksum {
    let compared = match kind {
        IndexKind::Sessions => body.clone(),
        IndexKind::Meetings => {
            let mut edit = RowEdit::new(body.view());
            edit.retain(|name| !VOLATILE_LISTING_FIELDS.contains(&name));
            edit.finish()
        }
    };
    Checksum::of_bytes(compared.as_str().as_bytes())
}

/// How many hits of a full page can be relied on. Documents of different shards may have equal sort values, and the page may have cut its last group
/// of equal values. The next page begins after the last value that was used, so that group is left out here and read again with the next page.
fn settled(hits: &[Hit<'_>]) -> usize {
    let last = hits.last().map(|hit| &hit.sort);
    hits.iter()
        .rposition(|hit| Some(&hit.sort) != last)
        .map_or(0, |place| place + 1)
}

/// The size of the next page, estimated from the bytes of this one; at most twice as many documents.
fn next_size(asked: usize, hits: usize, bytes: usize) -> usize {
    let each = (bytes / hits.max(1)).max(1);
    (PAGE_BYTES / each).clamp(2, (asked * 2).min(LARGEST_PAGE))
}

fn unusable(what: &str, reason: &str) -> Error {
    Error::Malformed {
        what: what.to_owned(),
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scan_pages_keep_to_their_size() {
        // Small documents: twice as many, up to the limit.
        assert_eq!(next_size(500, 500, 500 * 800), 1_000);
        assert_eq!(next_size(5_000, 5_000, 5_000 * 500), 5_000);
        // Sessions of 2 kB: four megabytes' worth.
        assert_eq!(next_size(2_000, 2_000, 2_000 * 2_048), 2_048);
        // Large documents: few, but at least two. A single document could not show where a group ends.
        assert_eq!(next_size(500, 500, 500 * (1 << 20)), 4);
        assert_eq!(next_size(500, 500, 500 * (64 << 20)), 2);
        assert_eq!(next_size(500, 0, 100), 1_000);
    }

    #[test]
    fn a_group_that_a_page_may_have_cut_is_read_again() {
        let page = |sorts: &[&str]| -> String {
            let hit = |sort| json!({"_id": "x", "_version": 1, "_source": {}, "sort": [sort]});
            Value::from_iter(sorts.iter().map(hit)).to_string()
        };
        let settled = |sorts: &[&str]| settled(&serde_json::from_str::<Vec<Hit<'_>>>(&page(sorts)).unwrap());
        assert_eq!(settled(&["a", "b", "c"]), 2);
        assert_eq!(settled(&["a", "b", "b"]), 1);
        assert_eq!(settled(&["b", "b"]), 0);
        assert_eq!(settled(&[]), 0);
    }

    #[test]
    fn missing_values_sort_last_and_text_sorts_by_bytes() {
        let key = |text: Option<&str>| Key {
            meeting: text.map(MeetingUuid::new),
            session: None,
        };
        let mut keys = [
            None,
            Some("a"),
            Some("/"),
            Some("Z"),
            Some("+"),
            Some("="),
            Some("ä"),
            Some("0"),
        ]
        .map(key);
        keys.sort();
        let order = keys.map(|key| key.meeting.map(|uuid| uuid.to_string()));
        let order: Vec<&str> = order.iter().map(|key| key.as_deref().unwrap_or("-")).collect();
        assert_eq!(order, ["+", "/", "0", "=", "Z", "a", "ä", "-"]);
    }

    #[test]
    fn only_volatile_meeting_fields_are_left_out_of_the_checksum() {
        let row = |value: Value| Row::read(&value.to_string()).unwrap();
        let body = |quality: &str| row(json!({"topic": "t", "audio_quality": quality}));
        let of = |kind, quality| content(kind, &body(quality));
        assert_eq!(of(IndexKind::Meetings, "good"), of(IndexKind::Meetings, "bad"));
        assert_ne!(of(IndexKind::Sessions, "good"), of(IndexKind::Sessions, "bad"));
        assert_ne!(
            content(IndexKind::Meetings, &row(json!({"topic": "t"}))),
            content(IndexKind::Meetings, &row(json!({"topic": "u"})))
        );
    }
}
