//! Yearly indices: the index that a meeting's documents belong to, and the index that they are in. The documents of a meeting move to another index
//! when its end moves across New Year.

use std::{collections::BTreeSet, sync::LazyLock};

use chrono::{DateTime, Utc};
use rusqlite::Connection;
use sea_query::{Alias, Expr, ExprTrait, OnConflict, Order, Query};

use super::{
    Catalog, Error,
    meetings::{MeetingState, next_revision},
    schema::{DoomedDocuments, Indices, Meetings},
    sessions,
    sql::{all, execute, first, run, text, var},
};
use crate::model::{Deletion, IndexKind, IndexPeriod, IndexYear, MeetingUuid};

/// SQL for the UTC year that a meeting counts for: the year of its end, taken from `listed_day`.
const END_YEAR: &str = "CAST(substr(meetings.listed_day, 1, 4) AS INTEGER)";

/// The year of the index that a meeting's documents belong to, in SQL.
pub(super) fn wanted(period: IndexPeriod) -> &'static str {
    match period {
        IndexPeriod::None => "0",
        IndexPeriod::Year => END_YEAR,
    }
}

/// The year of the index that a meeting's documents are in, in SQL: the one they were last sent to, or the one they belong to if they were never
/// sent.
pub(super) fn present(period: IndexPeriod) -> String {
    format!("coalesce(meetings.index_year, {})", wanted(period))
}

impl Catalog {
    /// The year of the index for meetings that end now.
    pub fn year_at(&self, now: DateTime<Utc>) -> IndexYear {
        self.period.year_of(now.date_naive())
    }

    /// The years whose index acknowledged documents, or holds documents of kept meetings.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn met_years(&self) -> Result<BTreeSet<IndexYear>, Error> {
        let select = Query::select()
            .distinct()
            .column(Indices::Year)
            .from(Indices::Table)
            .take();
        let years = all(&self.conn, &select, |row| row.get("year"))?;
        Ok(years.into_iter().collect())
    }

    /// The years whose indices the kept meetings belong to.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn wanted_years(&self) -> Result<BTreeSet<IndexYear>, Error> {
        self.years_by(wanted(self.period))
    }

    /// The years whose indices hold the documents of kept meetings. Documents that were never sent count for the index that they belong to.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn present_years(&self) -> Result<BTreeSet<IndexYear>, Error> {
        self.years_by(&present(self.period))
    }

    fn years_by(&self, of: &str) -> Result<BTreeSet<IndexYear>, Error> {
        let sql = format!("SELECT DISTINCT {of} AS year FROM meetings WHERE document_checksum IS NOT NULL");
        let mut prepared = self.conn.prepare_cached(&sql)?;
        let years = prepared.query_map([], |row| row.get("year"))?;
        Ok(years.collect::<rusqlite::Result<_>>()?)
    }

    /// How many kept meetings have their documents in the index of a year.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn count_kept_in(&self, year: IndexYear) -> Result<u64, Error> {
        self.count_kept_by(&present(self.period), year)
    }

    /// How many kept meetings have documents that belong to the index of a year.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn count_kept_for(&self, year: IndexYear) -> Result<u64, Error> {
        self.count_kept_by(wanted(self.period), year)
    }

    fn count_kept_by(&self, of: &str, year: IndexYear) -> Result<u64, Error> {
        let select = Query::select()
            .expr_as(Expr::cust("count(*)"), Alias::new("meetings"))
            .from(Meetings::Table)
            .and_where(Expr::col(Meetings::DocumentChecksum).is_not_null())
            .and_where(Expr::cust(of.to_owned()).eq(year.number()))
            .take();
        Ok(first(&self.conn, &select, |row| row.get("meetings"))?.unwrap_or_default())
    }

    /// Records that the documents of these meetings go to the index of a year from now on. Documents in another index are to be deleted.
    ///
    /// # Errors
    /// If SQLite fails. Then nothing is recorded.
    pub fn move_to_year(
        &mut self,
        meetings: &[MeetingUuid],
        year: IndexYear,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let tx = self.transaction()?;
        for uuid in meetings {
            let Some(mut state) = MeetingState::of(&tx, uuid)? else {
                continue;
            };
            if let Some(old) = state.index_year.filter(|old| *old != year) {
                let version = next_revision(state.revision, now);
                doom_meeting(&tx, state.meeting_id, uuid, old, version)?;
                // Documents that were to be deleted from the new index are needed there again.
                spare(&tx, state.meeting_id, uuid, year)?;
                // The revision must be above that of a deletion in the new index, in case the meeting was there before.
                state.raise_revision(now);
            }
            state.index_year = Some(year);
            state.reconciled = false;
            state.save(&tx)?;
        }
        tx.commit()?;
        Ok(())
    }

    /// Documents whose deletion is not acknowledged yet, all from one year. The years in `but` are excluded.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn doomed_documents(
        &self,
        limit: u64,
        but: &BTreeSet<IndexYear>,
    ) -> Result<Option<(IndexYear, Vec<Deletion>)>, Error> {
        let but = but.iter().map(|year| i64::from(year.number()));
        let select = Query::select()
            .expr_as(Expr::cust("min(year)"), Alias::new("year"))
            .from(DoomedDocuments::Table)
            .and_where(Expr::col(DoomedDocuments::Year).is_not_in(but))
            .take();
        let found = first(&self.conn, &select, |row| row.get::<_, Option<IndexYear>>("year"))?.flatten();
        let Some(of) = found else { return Ok(None) };
        let select = Query::select()
            .columns([
                DoomedDocuments::Kind,
                DoomedDocuments::DocumentId,
                DoomedDocuments::Version,
            ])
            .from(DoomedDocuments::Table)
            .and_where(Expr::col(DoomedDocuments::Year).eq(of.number()))
            .order_by(DoomedDocuments::Kind, Order::Asc)
            .order_by(DoomedDocuments::DocumentId, Order::Asc)
            .limit(limit)
            .take();
        let deletions = all(&self.conn, &select, |row| {
            Ok(Deletion {
                index: row.get("kind")?,
                id: row.get("document_id")?,
                version: row.get("version")?,
            })
        })?;
        Ok(Some((of, deletions)))
    }

    /// The number of documents whose deletion is not acknowledged yet, in all years.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn count_doomed_documents(&self) -> Result<u64, Error> {
        let select = Query::select()
            .expr_as(Expr::cust("count(*)"), Alias::new("documents"))
            .from(DoomedDocuments::Table)
            .take();
        Ok(first(&self.conn, &select, |row| row.get("documents"))?.unwrap_or_default())
    }

    /// Records which deletions Elasticsearch acknowledged.
    ///
    /// # Errors
    /// If SQLite fails. The deletions can be sent again: they are idempotent.
    pub fn acknowledge_deletions(&mut self, year: IndexYear, deleted: &[Deletion]) -> Result<(), Error> {
        let tx = self.transaction()?;
        for one in deleted {
            let delete = Query::delete()
                .from_table(DoomedDocuments::Table)
                .and_where(Expr::col(DoomedDocuments::Year).eq(year.number()))
                .and_where(Expr::col(DoomedDocuments::Kind).eq(one.index.as_str()))
                .and_where(Expr::col(DoomedDocuments::DocumentId).eq(one.id.as_str()))
                .and_where(Expr::col(DoomedDocuments::Version).lte(one.version))
                .take();
            execute(&tx, &delete)?;
        }
        tx.commit()?;
        Ok(())
    }

    /// Records that the index of a year no longer exists, so that nothing is to be deleted from it.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn nothing_to_delete_in(&mut self, year: IndexYear) -> Result<(), Error> {
        let delete = Query::delete()
            .from_table(DoomedDocuments::Table)
            .and_where(Expr::col(DoomedDocuments::Year).eq(year.number()))
            .take();
        execute(&self.conn, &delete)?;
        Ok(())
    }
}

/// Records that all documents of a meeting are to be deleted from the index of a year.
pub(super) fn doom_meeting(
    tx: &Connection,
    meeting_id: i64,
    uuid: &MeetingUuid,
    year: IndexYear,
    version: i64,
) -> Result<(), Error> {
    for session in sessions::of_meeting(tx, meeting_id)? {
        doom(tx, year, IndexKind::Sessions, &sessions::hex(&session), version)?;
    }
    for session in sessions::lost(tx, meeting_id)? {
        doom(tx, year, IndexKind::Sessions, session.as_str(), version)?;
    }
    doom(tx, year, IndexKind::Meetings, uuid.as_str(), version)
}

/// Records that a document is to be deleted, whether or not it was ever sent: deleting a missing document is no error.
pub(super) fn doom(
    tx: &Connection,
    year: IndexYear,
    kind: IndexKind,
    id: &str,
    version: i64,
) -> Result<(), Error> {
    let insert = Query::insert()
        .into_table(DoomedDocuments::Table)
        .columns([
            DoomedDocuments::Year,
            DoomedDocuments::Kind,
            DoomedDocuments::DocumentId,
            DoomedDocuments::Version,
        ])
        .values_panic([
            year.number().into(),
            kind.as_str().into(),
            id.into(),
            version.into(),
        ])
        .on_conflict(
            OnConflict::columns([
                DoomedDocuments::Year,
                DoomedDocuments::Kind,
                DoomedDocuments::DocumentId,
            ])
            .update_column(DoomedDocuments::Version)
            .to_owned(),
        )
        .take();
    execute(tx, &insert)?;
    Ok(())
}

/// Cancels the deletion of a meeting's documents from the index of a year.
fn spare(tx: &Connection, meeting_id: i64, uuid: &MeetingUuid, year: IndexYear) -> Result<(), Error> {
    static SPARE: LazyLock<String> = LazyLock::new(|| {
        let delete = Query::delete()
            .from_table(DoomedDocuments::Table)
            .and_where(Expr::col(DoomedDocuments::Year).eq(var(":year")))
            .and_where(Expr::col(DoomedDocuments::Kind).eq(var(":kind")))
            .and_where(Expr::col(DoomedDocuments::DocumentId).eq(var(":id")))
            .take();
        text(&delete)
    });
    let spare = |kind: IndexKind, id: &str| {
        run(
            tx,
            &SPARE,
            &[(":year", &year), (":kind", &kind.as_str()), (":id", &id)],
        )
    };
    for session in sessions::of_meeting(tx, meeting_id)? {
        spare(IndexKind::Sessions, &sessions::hex(&session))?;
    }
    spare(IndexKind::Meetings, uuid.as_str())?;
    Ok(())
}
