//! What the catalog expects in the indices, and what it does about an index that differs.
//!
//! The findings of a comparison are kept in temporary tables. SQLite moves large ones to a separate file, so memory stays bounded. Nothing is
//! repaired before everything has been read.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use rusqlite::{Connection, Transaction};
use sea_query::{Alias, Expr, ExprTrait, OnConflict, Order, Query, SelectStatement};

use super::{
    Catalog, Error,
    index_years::{doom, present},
    meetings::MeetingState,
    schema::Meetings,
    sessions::note_lost,
    sql::{all, execute, first},
};
use crate::model::{Checksum, Event, Held, HostId, IndexKind, IndexPeriod, IndexYear, Kept, MeetingUuid};

/// What the index holds of a meeting, according to its acknowledgements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishState {
    /// The documents of the current revision.
    Published {
        /// Whether they equal the documents that would be built now. This is false while a changed listing waits for its detail, or if it never
        /// gets it.
        exact: bool,
    },
    /// Older documents, only some of the new ones, or none. The documents are due.
    Due,
    /// As `Due`, but the documents were rejected and are not sent again.
    Rejected,
}

/// A stray document: nothing, or another document, was expected under its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stray {
    /// The position after which [`Catalog::strays`] continues.
    pub place: i64,
    /// Its `_id`.
    pub id: String,
    /// The meeting that it names, if any.
    pub meeting: Option<MeetingUuid>,
    /// Its version.
    pub version: i64,
    /// Whether the catalog keeps that meeting and its documents are in this index.
    pub known: bool,
    /// Whether the catalog keeps that meeting with its documents in the index of another year. Then this document is superfluous.
    pub elsewhere: bool,
}

/// The result of a repair.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Repaired {
    /// Meetings whose documents are due again.
    pub due: u64,
    /// Lost sessions of these meetings, which will be deleted.
    pub lost: u64,
    /// Meetings whose version in the index is above any that the harvester may write. Only a rebuild helps.
    pub beyond: u64,
    /// Documents that will be deleted because their meeting is in the index of another year.
    pub elsewhere: u64,
    /// Documents deleted from the index that belong to no meeting of the catalog.
    pub dropped: u64,
}

/// The highest revision that a repair assigns. It is far beyond every date, and equally far from the largest number.
const HIGHEST_REVISION: i64 = 1 << 62;

/// Meetings per transaction.
const BATCH: u64 = 300;

const TABLES: &str = "
    DROP TABLE IF EXISTS temp.verify_strays;
    DROP TABLE IF EXISTS temp.verify_claimed;
    DROP TABLE IF EXISTS temp.verify_damage;
    CREATE TEMP TABLE verify_strays (
        place INTEGER PRIMARY KEY, year INTEGER NOT NULL, kind TEXT NOT NULL, doc_id TEXT NOT NULL, meeting_uuid TEXT, version INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX temp.verify_strays_meeting ON verify_strays (meeting_uuid);
    CREATE TEMP TABLE verify_claimed (
        year INTEGER NOT NULL, kind TEXT NOT NULL, doc_id TEXT NOT NULL, PRIMARY KEY (year, kind, doc_id)
    ) STRICT, WITHOUT ROWID;
    CREATE TEMP TABLE verify_damage (meeting_uuid TEXT PRIMARY KEY, version INTEGER NOT NULL) STRICT, WITHOUT ROWID;";

const UNCLAIMED: &str = "NOT EXISTS (SELECT 1 FROM verify_claimed c WHERE c.year = verify_strays.year AND c.kind = verify_strays.kind AND c.doc_id = verify_strays.doc_id)";

impl Catalog {
    /// Whether the documents of these meetings are published, due or rejected, according to the catalog.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn publish_states(&self, kept: &[Kept]) -> Result<HashMap<MeetingUuid, PublishState>, Error> {
        let mut publish_states = HashMap::with_capacity(kept.len());
        for one in kept {
            let select = Query::select()
                .columns([
                    Meetings::ListedChecksum,
                    Meetings::ShownChecksum,
                    Meetings::DetailChecksum,
                    Meetings::HostId,
                    Meetings::IndexedChecksum,
                    Meetings::RejectedChecksum,
                    Meetings::OccurrenceId,
                ])
                .from(Meetings::Table)
                .and_where(Expr::col(Meetings::MeetingUuid).eq(one.uuid.as_str()))
                .take();
            let publish_state = first(&self.conn, &select, |row| {
                let detail: Option<Checksum> = row.get("detail_checksum")?;
                let today = Kept::document_checksum(
                    &row.get("listed_checksum")?,
                    &row.get("shown_checksum")?,
                    &detail.unwrap_or_else(|| Checksum::from_hex(String::new())),
                    row.get::<_, Option<HostId>>("host_id")?.as_ref(),
                    row.get::<_, Option<MeetingUuid>>("occurrence_id")?.as_ref(),
                );
                let indexed: Option<Checksum> = row.get("indexed_checksum")?;
                let rejected: Option<Checksum> = row.get("rejected_checksum")?;
                Ok(if indexed.as_ref() == Some(&one.document_checksum) {
                    PublishState::Published {
                        exact: today == one.document_checksum,
                    }
                } else if rejected.as_ref() == Some(&one.document_checksum) {
                    PublishState::Rejected
                } else {
                    PublishState::Due
                })
            })?;
            publish_states.extend(publish_state.map(|publish_state| (one.uuid.clone(), publish_state)));
        }
        Ok(publish_states)
    }

    /// The number of sessions in all kept details.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn count_kept_sessions(&self) -> Result<u64, Error> {
        let select = Query::select()
            .expr(Expr::cust("coalesce(sum(sessions), 0)"))
            .from(Meetings::Table)
            .take();
        Ok(first(&self.conn, &select, |row| row.get(0))?.unwrap_or_default())
    }

    /// Prepares empty temporary tables for a comparison.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn begin_comparison(&self) -> Result<(), Error> {
        Ok(self.conn.execute_batch(TABLES)?)
    }

    /// Records strays.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn note_strays(&self, year: IndexYear, kind: IndexKind, strays: &[Held]) -> Result<(), Error> {
        for chunk in strays.chunks(500) {
            let mut insert = Query::insert()
                .into_table(Alias::new("verify_strays"))
                .columns(["year", "kind", "doc_id", "meeting_uuid", "version"].map(Alias::new))
                .take();
            for stray in chunk {
                let meeting = stray.key.meeting.as_ref().map(|uuid| uuid.as_str().to_owned());
                insert.values_panic([
                    year.number().into(),
                    kind.as_str().into(),
                    stray.id.as_str().into(),
                    meeting.into(),
                    stray.version.into(),
                ]);
            }
            execute(&self.conn, &insert)?;
        }
        Ok(())
    }

    /// Records by its id that a stray belongs to a meeting after all.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn note_claimed(&self, year: IndexYear, kind: IndexKind, id: &str) -> Result<(), Error> {
        let insert = Query::insert()
            .into_table(Alias::new("verify_claimed"))
            .columns(["year", "kind", "doc_id"].map(Alias::new))
            .values_panic([year.number().into(), kind.as_str().into(), id.into()])
            .on_conflict(OnConflict::new().do_nothing().to_owned())
            .take();
        execute(&self.conn, &insert)?;
        Ok(())
    }

    /// Records that a meeting's documents must be sent again, in a revision above `version`.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn note_damage(&self, meeting: &MeetingUuid, version: i64) -> Result<(), Error> {
        let insert = Query::insert()
            .into_table(Alias::new("verify_damage"))
            .columns(["meeting_uuid", "version"].map(Alias::new))
            .values_panic([meeting.as_str().into(), version.into()])
            .on_conflict(
                OnConflict::column(Alias::new("meeting_uuid"))
                    .value(
                        Alias::new("version"),
                        Expr::cust("max(verify_damage.version, excluded.version)"),
                    )
                    .to_owned(),
            )
            .take();
        execute(&self.conn, &insert)?;
        Ok(())
    }

    /// The recorded strays in the index of a year that no meeting has claimed: those after `place`, at most 500.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn strays(&self, year: IndexYear, kind: IndexKind, place: i64) -> Result<Vec<Stray>, Error> {
        let select = Query::select()
            .columns(["place", "doc_id", "meeting_uuid", "version"].map(Alias::new))
            .expr_as(Expr::cust(self.kept_meeting("=")), Alias::new("known"))
            .expr_as(Expr::cust(self.kept_elsewhere()), Alias::new("elsewhere"))
            .from(Alias::new("verify_strays"))
            .and_where(Expr::col(Alias::new("place")).gt(place))
            .and_where(Expr::col(Alias::new("year")).eq(year.number()))
            .and_where(Expr::col(Alias::new("kind")).eq(kind.as_str()))
            .and_where(Expr::cust(UNCLAIMED))
            .order_by(Alias::new("place"), Order::Asc)
            .limit(500)
            .take();
        all(&self.conn, &select, |row| {
            Ok(Stray {
                place: row.get("place")?,
                id: row.get("doc_id")?,
                meeting: row
                    .get::<_, Option<String>>("meeting_uuid")?
                    .map(MeetingUuid::new),
                version: row.get("version")?,
                known: row.get("known")?,
                elsewhere: row.get("elsewhere")?,
            })
        })
    }

    /// SQL for whether the meeting that a stray names is kept, with its documents in the index of the same year (`=`) or of another year (`<>`).
    fn kept_meeting(&self, same_year: &str) -> String {
        format!(
            "EXISTS (SELECT 1 FROM meetings WHERE meetings.meeting_uuid = verify_strays.meeting_uuid \
             AND meetings.detail_checksum IS NOT NULL AND {} {same_year} verify_strays.year)",
            present(self.period)
        )
    }

    fn kept_elsewhere(&self) -> String {
        format!(
            "({} AND (verify_strays.kind = 'sessions' OR verify_strays.doc_id = verify_strays.meeting_uuid))",
            self.kept_meeting("<>")
        )
    }

    /// Records the deletion of documents that were found in the index of another year than the one of their meeting. Returns the number of
    /// documents.
    fn doom_elsewhere(&mut self) -> Result<u64, Error> {
        let elsewhere = self.kept_elsewhere();
        let tx = self.transaction()?;
        let mut doomed = 0;
        let mut after = 0_i64;
        loop {
            let select = Query::select()
                .columns(["place", "year", "kind", "doc_id", "version"].map(Alias::new))
                .from(Alias::new("verify_strays"))
                .and_where(Expr::cust(elsewhere.clone()))
                .and_where(Expr::cust(UNCLAIMED))
                .and_where(Expr::col(Alias::new("place")).gt(after))
                .and_where(Expr::col(Alias::new("version")).lt(HIGHEST_REVISION))
                .order_by(Alias::new("place"), Order::Asc)
                .limit(BATCH)
                .take();
            let batch = all(&tx, &select, |row| {
                Ok((
                    row.get::<_, i64>("place")?,
                    row.get::<_, IndexYear>("year")?,
                    row.get::<_, IndexKind>("kind")?,
                    row.get::<_, String>("doc_id")?,
                    row.get::<_, i64>("version")?,
                ))
            })?;
            let Some((last, ..)) = batch.last() else { break };
            after = *last;
            for (_, year, kind, id, version) in batch {
                doom(&tx, year, kind, &id, version + 1)?;
                doomed += 1;
            }
        }
        tx.commit()?;
        Ok(doomed)
    }

    /// Makes exactly those meetings due whose documents were recorded as damaged. Their new revisions are above all versions that were found in the
    /// index. Their stray sessions are recorded as lost, so that publishing deletes them. If the process is killed in between, some meetings are
    /// repaired, each of them completely.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn make_damaged_due(&mut self, now: DateTime<Utc>) -> Result<Repaired, Error> {
        let mut repaired = Repaired {
            elsewhere: self.doom_elsewhere()?,
            ..Repaired::default()
        };
        let period = self.period;
        let mut after = String::new();
        loop {
            let tx = self.transaction()?;
            let batch = all(&tx, &damage_query(&after), |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?))
            })?;
            let Some((last, _)) = batch.last() else {
                return Ok(repaired);
            };
            after.clone_from(last);
            for (uuid, version) in batch {
                let uuid = MeetingUuid::new(uuid);
                if version >= HIGHEST_REVISION {
                    repaired.beyond += 1;
                } else if let Some(meeting_id) = make_due(&tx, &uuid, version, now)? {
                    repaired.due += 1;
                    repaired.lost += lose_strays(&tx, meeting_id, &uuid, period)?;
                }
            }
            tx.commit()?;
        }
    }
}

fn damage_query(after: &str) -> SelectStatement {
    Query::select()
        .columns(["meeting_uuid", "version"].map(Alias::new))
        .from(Alias::new("verify_damage"))
        .and_where(Expr::col(Alias::new("meeting_uuid")).gt(after))
        .order_by(Alias::new("meeting_uuid"), Order::Asc)
        .limit(BATCH)
        .take()
}

fn make_due(
    tx: &Transaction<'_>,
    uuid: &MeetingUuid,
    version: i64,
    now: DateTime<Utc>,
) -> Result<Option<i64>, Error> {
    let Some(mut state) = MeetingState::of(tx, uuid)?.filter(|state| state.document_checksum.is_some())
    else {
        return Ok(None);
    };
    state.status = state.status.next(Event::DocumentsDue);
    state.raise_revision(now);
    state.revision = Ord::max(state.revision, version + 1);
    // The acknowledged documents are not in the index.
    state.indexed_checksum = None;
    state.save(tx)?;
    Ok(Some(state.meeting_id))
}

fn lose_strays(
    tx: &Connection,
    meeting_id: i64,
    uuid: &MeetingUuid,
    period: IndexPeriod,
) -> Result<u64, Error> {
    let strays = Query::select()
        .column(Alias::new("doc_id"))
        .from(Alias::new("verify_strays"))
        .and_where(Expr::col(Alias::new("meeting_uuid")).eq(uuid.as_str()))
        .and_where(Expr::col(Alias::new("kind")).eq(IndexKind::Sessions.as_str()))
        .and_where(Expr::cust(format!(
            "verify_strays.year = (SELECT {} FROM meetings WHERE meetings.meeting_uuid = verify_strays.meeting_uuid)",
            present(period)
        )))
        .and_where(Expr::cust(UNCLAIMED))
        .take();
    let ids = all(tx, &strays, |row| row.get::<_, String>(0))?;
    let mut lost = 0;
    for id in ids {
        lost += note_lost(tx, meeting_id, &id)? as u64;
    }
    Ok(lost)
}
