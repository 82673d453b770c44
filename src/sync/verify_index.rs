//! Reads both indices in full, compares them with the catalog and, if requested, makes damaged meetings due again.
//!
//! The comparison merges two ordered streams: what the catalog expects, and what an index holds. What it cannot pair is looked up by id afterwards: a
//! document with damaged fields is elsewhere in the order, but still under its own id.

use futures::{Stream, StreamExt, TryStreamExt, stream};
use serde::Serialize;
use tokio::sync::watch;

use super::{
    Error, Observer, Progress,
    publisher::{BATCH, opened},
    years::dropped,
};
use crate::{
    catalog::{Catalog, PublishState, Repaired},
    elastic::{self, Elastic, Reading},
    model::{Clock, Held, IndexKind, IndexYear, Kept, Key, MeetingUuid, SessionId},
};

/// How many expected documents may be missing from their place before they are looked up by id.
const SUSPECTS: usize = 500;

/// How many documents are compared between two progress reports.
const TELL_EVERY: u64 = 1_000;

/// One document in which an index differs from the catalog.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The kind of difference.
    #[serde(rename = "difference")]
    pub kind: DifferenceKind,
    /// The index: `meetings` or `sessions`.
    pub index: &'static str,
    /// The meeting it belongs to, or claims to belong to.
    pub meeting: Option<String>,
    /// Its `_id`.
    pub id: String,
    /// The version the catalog expects.
    pub expected_version: Option<i64>,
    /// The version the index has.
    pub found_version: Option<i64>,
}

/// The kinds of difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DifferenceKind {
    /// Acknowledged once, but not in the index.
    Missing,
    /// In the index, in another version than the acknowledged one.
    Version,
    /// In the index in the right version, but with other content.
    Content,
    /// In the index, but not in its place: the fields it is found by have other values or are missing.
    Misplaced,
    /// A session that its meeting in the catalog does not have, or a document whose meeting belongs to the index of another year.
    Extra,
    /// A document of a meeting that the catalog does not keep, or with an id that is no meeting's.
    Unknown,
}

/// Documents, by index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// In the index of meetings.
    pub meetings: u64,
    /// In the index of sessions.
    pub sessions: u64,
}

/// A year that is in the catalog only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct DroppedYear {
    /// The year.
    pub year: u16,
    /// The number of its meetings.
    pub meetings: u64,
}

/// The result of the comparison.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Whether the indices hold exactly what the catalog keeps.
    pub equal: bool,
    /// Documents that the catalog expects.
    pub compared: Count,
    /// [`DifferenceKind::Missing`].
    pub missing: Count,
    /// [`DifferenceKind::Version`].
    pub version: Count,
    /// [`DifferenceKind::Content`].
    pub content: Count,
    /// [`DifferenceKind::Misplaced`].
    pub misplaced: Count,
    /// [`DifferenceKind::Extra`].
    pub extra: Count,
    /// [`DifferenceKind::Unknown`].
    pub unknown: Count,
    /// Meetings whose documents are due: what the index holds of them is known to be outdated.
    pub due: u64,
    /// Meetings whose documents Elasticsearch refused.
    pub rejected: u64,
    /// Details still to be fetched: their documents are not expected yet.
    pub details_due: u64,
    /// Aliases without an index.
    pub no_index: Vec<String>,
    /// Years whose index was dropped after it was filled. Their meetings are in the catalog only, and are not compared.
    pub dropped_years: Vec<DroppedYear>,
    /// What was repaired, if a repair was requested.
    pub repaired: Option<Repaired>,
}

/// What to do about differences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Report them only.
    Tell,
    /// Make the damaged meetings due again.
    Repair {
        /// Whether to delete, by id, the documents that belong to no meeting of the catalog.
        drop_unknown: bool,
    },
}

impl Count {
    fn add(&mut self, kind: IndexKind) {
        match kind {
            IndexKind::Meetings => self.meetings += 1,
            IndexKind::Sessions => self.sessions += 1,
        }
    }

    /// Documents in both indices.
    pub fn total(self) -> u64 {
        self.meetings + self.sessions
    }
}

impl Verified {
    fn count(&mut self, kind: DifferenceKind) -> &mut Count {
        match kind {
            DifferenceKind::Missing => &mut self.missing,
            DifferenceKind::Version => &mut self.version,
            DifferenceKind::Content => &mut self.content,
            DifferenceKind::Misplaced => &mut self.misplaced,
            DifferenceKind::Extra => &mut self.extra,
            DifferenceKind::Unknown => &mut self.unknown,
        }
    }

    /// Documents that differ.
    pub fn differences(&self) -> u64 {
        [
            self.missing,
            self.version,
            self.content,
            self.misplaced,
            self.extra,
            self.unknown,
        ]
        .map(Count::total)
        .iter()
        .sum()
    }
}

/// A document that the catalog knows of.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Expected {
    meeting: MeetingUuid,
    held: Held,
    wanted: Wanted,
}

/// What the catalog expects of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    /// Present, in this version and with this content.
    Exactly,
    /// Present, in this version.
    Present,
    /// Due or refused: the index may hold anything or nothing, and a publication replaces it.
    Pending { refused: bool },
    /// Absent. `pending`: its deletion is still due.
    Gone { pending: bool },
}

/// A step of the merge of the two streams.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Pair {
    Both(Expected, Held),
    Expected(Expected),
    Found(Held),
}

/// Compares the indices with the catalog, reports each difference to the observer, and makes the requested repairs. Repairs begin only after
/// everything has been read, so an error repairs nothing.
///
/// # Errors
/// Any [`Error`]. The catalog is then untouched, unless the deletion of unknown documents failed.
pub async fn verify(
    catalog: &mut Catalog,
    elastic: &Elastic,
    remedy: Remedy,
    clock: &Clock,
    observer: &dyn Observer,
    mut cancel: watch::Receiver<bool>,
) -> Result<Verified, Error> {
    let work = async {
        let mut years = catalog.met_years()?;
        years.extend(catalog.present_years()?);
        years.extend(elastic.years().await?);
        years.insert(catalog.year_at(clock.now()));
        let mut readings = Vec::new();
        for year in years {
            readings.push(elastic.begin_reading(year).await?);
        }
        let mut verified = compare(catalog, elastic, &readings, clock, observer).await?;
        if let Remedy::Repair { drop_unknown } = remedy {
            let mut repaired = catalog.make_damaged_due(clock.now())?;
            if drop_unknown {
                repaired.dropped = drop_strangers(catalog, elastic, &readings).await?;
            }
            verified.repaired = Some(repaired);
        }
        Ok(verified)
    };
    // This may be dropped anywhere: reading changes nothing, and each repair is complete in itself.
    tokio::select! {
        verified = work => verified,
        _ = cancel.wait_for(|stop| *stop) => Err(Error::Interrupted),
    }
}

async fn compare(
    catalog: &Catalog,
    elastic: &Elastic,
    readings: &[Reading],
    clock: &Clock,
    observer: &dyn Observer,
) -> Result<Verified, Error> {
    catalog.begin_comparison()?;
    let of = catalog.count_kept()? + catalog.count_kept_sessions()?;
    let Some(first) = readings.first() else {
        return Ok(Verified::default());
    };
    let mut walk = Walk {
        catalog,
        elastic,
        reading: first,
        observer,
        verified: Verified {
            details_due: catalog.count_due_details(clock.now())?,
            ..Verified::default()
        },
        suspects: Vec::new(),
        strays: Vec::new(),
        of,
    };
    let there = |reading: &&Reading| IndexKind::ALL.iter().any(|kind| reading.index(*kind).is_some());
    let found = readings.iter().filter(there).map(Reading::year).collect();
    let dropped = dropped(&catalog.met_years()?, &found, catalog.year_at(clock.now()));
    for reading in readings {
        let year = reading.year();
        if dropped.contains(&year) {
            let meetings = catalog.count_kept_in(year)?;
            let year = year.number();
            walk.verified.dropped_years.push(DroppedYear { year, meetings });
            continue;
        }
        walk.reading = reading;
        for kind in IndexKind::ALL {
            if reading.index(kind).is_none() {
                walk.verified.no_index.push(elastic.write_alias(kind, year));
            }
            walk.index(kind).await?;
        }
    }
    let mut verified = walk.verified;
    verified.equal = verified.differences() == 0 && verified.due == 0 && verified.rejected == 0;
    Ok(verified)
}

/// A comparison under way.
struct Walk<'a> {
    catalog: &'a Catalog,
    elastic: &'a Elastic,
    reading: &'a Reading,
    observer: &'a dyn Observer,
    verified: Verified,
    suspects: Vec<Expected>,
    strays: Vec<Held>,
    of: u64,
}

impl Walk<'_> {
    async fn index(&mut self, kind: IndexKind) -> Result<(), Error> {
        let (elastic, reading) = (self.elastic, self.reading);
        let found = stream::try_unfold(elastic.scan(reading, kind), |mut scan| async move {
            let page = scan.page().await?;
            Ok::<_, Error>((!page.is_empty()).then(|| (stream::iter(page).map(Ok), scan)))
        })
        .try_flatten();
        let mut pairs = std::pin::pin!(merge(expectations(self.catalog, reading.year(), kind), found));
        while let Some(pair) = pairs.next().await {
            self.pair(kind, pair?)?;
            if self.suspects.len() >= SUSPECTS {
                self.look_suspects_up(kind).await?;
            }
        }
        self.look_suspects_up(kind).await?;
        self.note_strays(kind)?;
        self.tell_strays(kind)
    }

    fn pair(&mut self, kind: IndexKind, pair: Pair) -> Result<(), Error> {
        if let Pair::Both(expected, _) | Pair::Expected(expected) = &pair
            && !matches!(expected.wanted, Wanted::Gone { .. })
        {
            self.verified.compared.add(kind);
            let done = self.verified.compared.total();
            if done.is_multiple_of(TELL_EVERY) || done == self.of {
                let left = self.of.saturating_sub(done);
                self.observer.see(Progress::Compared { done, left });
            }
            match expected.wanted {
                Wanted::Pending { refused: false } if kind == IndexKind::Meetings => self.verified.due += 1,
                Wanted::Pending { refused: true } if kind == IndexKind::Meetings => {
                    self.verified.rejected += 1;
                }
                _ => {}
            }
        }
        match pair {
            Pair::Both(expected, found) => {
                if let Some(difference) = judge(&expected, &found) {
                    self.damaged(kind, difference, &expected, Some(found.version))?;
                }
                Ok(())
            }
            Pair::Expected(expected) => {
                self.suspects.push(expected);
                Ok(())
            }
            Pair::Found(found) => {
                self.strays.push(found);
                if self.strays.len() >= SUSPECTS {
                    self.note_strays(kind)?;
                }
                Ok(())
            }
        }
    }

    async fn look_suspects_up(&mut self, kind: IndexKind) -> Result<(), Error> {
        let suspects = std::mem::take(&mut self.suspects);
        let ids: Vec<String> = suspects.iter().map(|one| one.held.id.clone()).collect();
        let found: std::collections::HashMap<String, i64> = self
            .elastic
            .versions_of(self.reading, kind, &ids)
            .await?
            .into_iter()
            .collect();
        for expected in suspects {
            let version = found.get(&expected.held.id).copied();
            if version.is_some() {
                self.catalog
                    .note_claimed(self.reading.year(), kind, &expected.held.id)?;
            }
            if let Some(difference) = judge_out_of_place(&expected, version) {
                self.damaged(kind, difference, &expected, version)?;
            }
        }
        Ok(())
    }

    fn note_strays(&mut self, kind: IndexKind) -> Result<(), Error> {
        self.catalog
            .note_strays(self.reading.year(), kind, &self.strays)?;
        self.strays.clear();
        Ok(())
    }

    /// Reports the strays that no meeting has claimed, once the whole index has been read.
    fn tell_strays(&mut self, kind: IndexKind) -> Result<(), Error> {
        let mut place = 0;
        loop {
            let strays = self.catalog.strays(self.reading.year(), kind, place)?;
            let Some(last) = strays.last() else { return Ok(()) };
            place = last.place;
            for stray in strays {
                let owner = stray
                    .meeting
                    .as_ref()
                    .filter(|_| stray.known && kind == IndexKind::Sessions);
                if let Some(meeting) = owner {
                    self.catalog.note_damage(meeting, stray.version)?;
                }
                self.tell(
                    kind,
                    Difference {
                        kind: if owner.is_some() || stray.elsewhere {
                            DifferenceKind::Extra
                        } else {
                            DifferenceKind::Unknown
                        },
                        index: kind.as_str(),
                        meeting: stray.meeting.map(|uuid| uuid.to_string()),
                        id: stray.id,
                        expected_version: None,
                        found_version: Some(stray.version),
                    },
                );
            }
        }
    }

    fn damaged(
        &mut self,
        kind: IndexKind,
        difference: DifferenceKind,
        expected: &Expected,
        found_version: Option<i64>,
    ) -> Result<(), Error> {
        self.catalog
            .note_damage(&expected.meeting, found_version.unwrap_or_default())?;
        self.tell(
            kind,
            Difference {
                kind: difference,
                index: kind.as_str(),
                meeting: Some(expected.meeting.to_string()),
                id: expected.held.id.clone(),
                expected_version: (difference != DifferenceKind::Extra).then_some(expected.held.version),
                found_version,
            },
        );
        Ok(())
    }

    fn tell(&mut self, kind: IndexKind, difference: Difference) {
        self.verified.count(difference.kind).add(kind);
        self.observer.see(Progress::Differs(&difference));
    }
}

/// What is wrong with a document found in its place, if anything.
fn judge(expected: &Expected, found: &Held) -> Option<DifferenceKind> {
    let same_version = found.version == expected.held.version;
    // A publication would lose against a newer version, and count as done.
    let newer = found.version > expected.held.version;
    match expected.wanted {
        Wanted::Exactly if same_version && found.checksum != expected.held.checksum => {
            Some(DifferenceKind::Content)
        }
        Wanted::Exactly | Wanted::Present if !same_version => Some(DifferenceKind::Version),
        Wanted::Gone { pending: false } => Some(DifferenceKind::Extra),
        Wanted::Pending { .. } | Wanted::Gone { pending: true } if newer => Some(DifferenceKind::Version),
        _ => None,
    }
}

/// The same for a document that was not in its place; its id may still be in the index.
fn judge_out_of_place(expected: &Expected, found_version: Option<i64>) -> Option<DifferenceKind> {
    let newer = found_version.is_some_and(|version| version > expected.held.version);
    match (expected.wanted, found_version) {
        (Wanted::Exactly | Wanted::Present, None) => Some(DifferenceKind::Missing),
        (Wanted::Exactly | Wanted::Present, Some(_)) => Some(DifferenceKind::Misplaced),
        (Wanted::Gone { pending: false }, Some(_)) => Some(DifferenceKind::Extra),
        (Wanted::Pending { .. } | Wanted::Gone { pending: true }, Some(_)) if newer => {
            Some(DifferenceKind::Version)
        }
        _ => None,
    }
}

/// All documents that the catalog expects in the index of a year, in order.
fn expectations(
    catalog: &Catalog,
    year: IndexYear,
    kind: IndexKind,
) -> impl Stream<Item = Result<Expected, Error>> {
    stream::try_unfold(None::<MeetingUuid>, move |after| async move {
        let batch = catalog.kept_in_index(year, after.as_ref(), BATCH.0, BATCH.1)?;
        let Some(last) = batch.last() else { return Ok(None) };
        let after = Some(last.uuid.clone());
        let batch = opened(batch)?;
        let publish_states = catalog.publish_states(&batch)?;
        let expected: Vec<Result<Expected, Error>> = batch
            .iter()
            .flat_map(|kept| {
                let publish_state = publish_states
                    .get(&kept.uuid)
                    .copied()
                    .unwrap_or(PublishState::Due);
                expected_of(kept, publish_state, kind)
            })
            .map(Ok)
            .collect();
        Ok::<_, Error>(Some((stream::iter(expected), after)))
    })
    .try_flatten()
}

fn expected_of(kept: &Kept, publish_state: PublishState, kind: IndexKind) -> Vec<Expected> {
    let (wanted, pending) = match publish_state {
        PublishState::Published { exact: true } => (Wanted::Exactly, false),
        PublishState::Published { exact: false } => (Wanted::Present, false),
        PublishState::Due => (Wanted::Pending { refused: false }, true),
        PublishState::Rejected => (Wanted::Pending { refused: true }, true),
    };
    let expect = |held, wanted| Expected {
        meeting: kept.uuid.clone(),
        held,
        wanted,
    };
    let mut all: Vec<Expected> = elastic::held(kept, kind)
        .into_iter()
        .map(|held| expect(held, wanted))
        .collect();
    if kind == IndexKind::Sessions {
        all.extend(
            kept.lost_sessions
                .iter()
                .map(|id| expect(gone(kept, id), Wanted::Gone { pending })),
        );
        all.sort_by(|a, b| a.held.key.cmp(&b.held.key));
    }
    all
}

fn gone(kept: &Kept, id: &SessionId) -> Held {
    Held {
        key: Key {
            meeting: Some(kept.uuid.clone()),
            session: Some(id.clone()),
        },
        id: id.as_str().to_owned(),
        version: kept.revision,
        checksum: kept.document_checksum.clone(),
    }
}

/// Pairs two streams that are in the order of their keys. If several found documents have one key, the one with the expected id is paired.
fn merge(
    expected: impl Stream<Item = Result<Expected, Error>>,
    found: impl Stream<Item = Result<Held, Error>>,
) -> impl Stream<Item = Result<Pair, Error>> {
    let ends = (Box::pin(expected.peekable()), Box::pin(found.peekable()));
    stream::try_unfold(ends, |(mut expected, mut found)| async move {
        use std::cmp::Ordering::{Equal, Greater, Less};
        let order = match (expected.as_mut().peek().await, found.as_mut().peek().await) {
            (None, None) => return Ok(None),
            (Some(Ok(wanted)), Some(Ok(held))) => match wanted.held.key.cmp(&held.key) {
                Equal if wanted.held.id != held.id => Greater,
                order => order,
            },
            // An error on either side is returned when it is taken.
            (Some(Err(_)), _) | (Some(_), None) => Less,
            (_, Some(Err(_))) | (None, Some(_)) => Greater,
        };
        let pair = match order {
            Less => expected.try_next().await?.map(Pair::Expected),
            Greater => found.try_next().await?.map(Pair::Found),
            Equal => expected
                .try_next()
                .await?
                .zip(found.try_next().await?)
                .map(|(expected, found)| Pair::Both(expected, found)),
        };
        Ok(pair.map(|pair| (pair, (expected, found))))
    })
}

/// Deletes the documents that belong to no meeting of the catalog, by id.
async fn drop_strangers(catalog: &Catalog, elastic: &Elastic, readings: &[Reading]) -> Result<u64, Error> {
    let mut dropped = 0;
    for (reading, kind) in readings
        .iter()
        .flat_map(|reading| IndexKind::ALL.map(|kind| (reading, kind)))
    {
        let mut place = 0;
        loop {
            let strays = catalog.strays(reading.year(), kind, place)?;
            let Some(last) = strays.last() else { break };
            place = last.place;
            let strangers: Vec<(String, i64)> = strays
                .into_iter()
                .filter(|stray| !stray.elsewhere && (kind == IndexKind::Meetings || !stray.known))
                .map(|stray| (stray.id, stray.version))
                .collect();
            elastic.delete(reading, kind, &strangers).await?;
            dropped += strangers.len() as u64;
        }
    }
    Ok(dropped)
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;
    use proptest::prelude::*;

    use super::*;
    use crate::model::Checksum;

    fn key(meeting: Option<&str>) -> Key {
        Key {
            meeting: meeting.map(MeetingUuid::new),
            session: None,
        }
    }

    fn held(meeting: Option<&str>, id: &str, version: i64, content: &str) -> Held {
        Held {
            key: key(meeting),
            id: id.into(),
            version,
            checksum: Checksum::of_bytes(content.as_bytes()),
        }
    }

    fn expected(id: &str, wanted: Wanted) -> Expected {
        Expected {
            meeting: MeetingUuid::new(id),
            held: held(Some(id), id, 5, "as sent"),
            wanted,
        }
    }

    fn merged(expected: Vec<Expected>, found: Vec<Held>) -> Vec<Pair> {
        let ok = |all: Vec<_>| stream::iter(all.into_iter().map(Ok));
        let found = stream::iter(found.into_iter().map(Ok));
        block_on(merge(ok(expected), found).try_collect()).unwrap()
    }

    #[test]
    fn each_finding_has_its_difference() {
        use DifferenceKind::{Content, Extra, Misplaced, Missing, Version};
        let gone = |pending| Wanted::Gone { pending };
        let pending = Wanted::Pending { refused: false };
        // (wanted, as sent, other content, older, newer, nowhere, elsewhere and not newer, elsewhere and newer)
        let table = [
            (
                Wanted::Exactly,
                [
                    None,
                    Some(Content),
                    Some(Version),
                    Some(Version),
                    Some(Missing),
                    Some(Misplaced),
                    Some(Misplaced),
                ],
            ),
            (
                Wanted::Present,
                [
                    None,
                    None,
                    Some(Version),
                    Some(Version),
                    Some(Missing),
                    Some(Misplaced),
                    Some(Misplaced),
                ],
            ),
            (
                pending,
                [None, None, None, Some(Version), None, None, Some(Version)],
            ),
            (
                gone(true),
                [None, None, None, Some(Version), None, None, Some(Version)],
            ),
            (
                gone(false),
                [
                    Some(Extra),
                    Some(Extra),
                    Some(Extra),
                    Some(Extra),
                    None,
                    Some(Extra),
                    Some(Extra),
                ],
            ),
        ];
        for (wanted, means) in table {
            let one = expected("m", wanted);
            let found = |version, content| judge(&one, &held(Some("m"), "m", version, content));
            let judged = [
                found(5, "as sent"),
                found(5, "other"),
                found(4, "as sent"),
                found(6, "as sent"),
                judge_out_of_place(&one, None),
                judge_out_of_place(&one, Some(5)),
                judge_out_of_place(&one, Some(6)),
            ];
            assert_eq!(judged, means, "{wanted:?}");
        }
    }

    #[test]
    fn an_error_on_either_side_ends_the_comparison() {
        let fine = || Ok(expected("b", Wanted::Exactly));
        let found = || Ok(held(Some("b"), "b", 5, "as sent"));
        let one = merge(
            stream::iter([fine(), Err(Error::Interrupted)]),
            stream::iter([found()]),
        );
        let pairs: Vec<_> = block_on(one.collect());
        assert!(
            matches!(pairs.as_slice(), [Ok(Pair::Both(..)), Err(_)]),
            "{pairs:?}"
        );
        let other = merge(stream::iter([fine()]), stream::iter([Err(Error::Interrupted)]));
        let pairs: Vec<_> = block_on(other.collect());
        assert!(matches!(pairs.as_slice(), [Err(_)]), "{pairs:?}");
    }

    const NAMES: [&str; 8] = ["+a=", "/b=", "A==", "B==", "a==", "a/+", "b==", "é=="];

    proptest! {
        /// Compares the merge with a naive search for each item in the whole of the other list.
        #[test]
        fn the_merge_pairs_equal_ids_and_loses_none(
            wanted in proptest::sample::subsequence(NAMES.to_vec(), 0..=8),
            held_docs in proptest::collection::btree_map(
                proptest::sample::select(NAMES.to_vec()), proptest::option::of(proptest::sample::select(NAMES.to_vec())), 0..8),
        ) {
            let mut wanted: Vec<Expected> =
                wanted.iter().map(|id| expected(id, Wanted::Exactly)).collect();
            wanted.sort_by(|a, b| a.held.key.cmp(&b.held.key));
            // Each id occurs once, with any key. Documents with the same key are in descending order of their ids.
            let mut found: Vec<Held> =
                held_docs.iter().map(|(id, says)| held(*says, id, 5, "as sent")).collect();
            found.sort_by(|a, b| a.key.cmp(&b.key).then(b.id.cmp(&a.id)));
            let mut naive = Vec::new();
            for one in &wanted {
                match found.iter().find(|held| held.key == one.held.key && held.id == one.held.id) {
                    Some(held) => naive.push(format!("{:?}", Pair::Both(one.clone(), held.clone()))),
                    None => naive.push(format!("{:?}", Pair::Expected(one.clone()))),
                }
            }
            for held in &found {
                if !wanted.iter().any(|one| held.key == one.held.key && held.id == one.held.id) {
                    naive.push(format!("{:?}", Pair::Found(held.clone())));
                }
            }
            let mut pairs: Vec<String> =
                merged(wanted, found).iter().map(|pair| format!("{pair:?}")).collect();
            pairs.sort();
            naive.sort();
            prop_assert_eq!(pairs, naive);
        }
    }
}
