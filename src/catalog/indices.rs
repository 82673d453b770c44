//! The indices that acknowledged the harvester's documents, and the check that they are still the same.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use rusqlite::{Connection, Transaction};
use sea_query::{Expr, ExprTrait, OnConflict, Query};

use super::{
    Catalog, Error,
    index_years::present,
    schema::{Indices, Meetings},
    sql::{execute, first},
};
use crate::model::{IndexKind, IndexPeriod, IndexYear, iso};

/// An index as Elasticsearch shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexRecord {
    /// Its kind.
    pub kind: IndexKind,
    /// Its year.
    pub year: IndexYear,
    /// Its name behind the alias.
    pub name: String,
    /// Its id in Elasticsearch.
    pub uuid: String,
    /// Whether it was just created, and so is empty.
    pub created: bool,
    /// The last stamp that a catalog wrote to it.
    pub stamp: Option<String>,
}

/// How the found indices relate to those that this catalog filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexIdentity {
    /// The same indices: they hold what they acknowledged to this catalog.
    Same,
    /// Other indices than before. Everything is due again.
    Replaced,
    /// Another catalog, or a newer copy of this one, wrote to them. Everything is due again, and all days are listed again, because the other
    /// catalog may have seen more of Zoom.
    WrittenByAnother,
}

impl Catalog {
    /// Compares the indices in Elasticsearch with those that acknowledged documents. If the indices of a year are other ones, or were written by
    /// another catalog, everything in them is due again, in revisions above all that may have been written.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn meet_indices(
        &mut self,
        found: &[IndexRecord],
        now: DateTime<Utc>,
    ) -> Result<IndexIdentity, Error> {
        let period = self.period;
        let tx = self.transaction()?;
        let (mut trust, mut distrusted) = (IndexIdentity::Same, BTreeSet::new());
        for index in found {
            let known = read_index(&tx, index.kind, index.year)?;
            let ours = |known: &KnownIndex| {
                index.stamp.is_some() && (index.stamp == known.stamp || index.stamp == known.pending_stamp)
            };
            let judged = match &known {
                Some(known)
                    if known.uuid == index.uuid
                        && (ours(known) || (index.stamp.is_none() && known.stamp.is_none())) =>
                {
                    IndexIdentity::Same
                }
                // Empty, or the catalog's own documents restored elsewhere.
                Some(known) if index.created || index.stamp.is_none() || ours(known) => {
                    IndexIdentity::Replaced
                }
                None if index.created => IndexIdentity::Same,
                _ => IndexIdentity::WrittenByAnother,
            };
            if judged != IndexIdentity::Same {
                distrusted.insert(index.year);
            }
            trust = match (trust, judged) {
                (IndexIdentity::WrittenByAnother, _) | (_, IndexIdentity::WrittenByAnother) => {
                    IndexIdentity::WrittenByAnother
                }
                (IndexIdentity::Replaced, _) | (_, IndexIdentity::Replaced) => IndexIdentity::Replaced,
                (IndexIdentity::Same, IndexIdentity::Same) => IndexIdentity::Same,
            };
            let adopted = match (judged, &known) {
                (IndexIdentity::Same, Some(known)) => known.adopted,
                _ => !index.created,
            };
            put_index(&tx, index, adopted, now)?;
        }
        for year in distrusted {
            make_all_due(&tx, year, period, now)?;
        }
        tx.commit()?;
        Ok(trust)
    }

    /// Makes all documents due again that the lost index of a year held.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn refill(&mut self, year: IndexYear, now: DateTime<Utc>) -> Result<(), Error> {
        let period = self.period;
        let tx = self.transaction()?;
        make_all_due(&tx, year, period, now)?;
        tx.commit()?;
        Ok(())
    }

    /// Records a stamp before it is written to the indices of a year. After a crash in between, this catalog still recognises its own stamp.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn note_pending_stamp(&mut self, year: IndexYear, stamp: &str) -> Result<(), Error> {
        let update = Query::update()
            .table(Indices::Table)
            .value(Indices::PendingStamp, stamp)
            .and_where(Expr::col(Indices::Year).eq(year.number()))
            .take();
        execute(&self.conn, &update)?;
        Ok(())
    }

    /// Records that the indices of a year carry the stamp.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn note_stamp(&mut self, year: IndexYear, stamp: &str) -> Result<(), Error> {
        let update = Query::update()
            .table(Indices::Table)
            .values([
                (Indices::Stamp, stamp.into()),
                (Indices::PendingStamp, Option::<String>::None.into()),
            ])
            .and_where(Expr::col(Indices::Year).eq(year.number()))
            .take();
        execute(&self.conn, &update)?;
        Ok(())
    }
}

struct KnownIndex {
    uuid: String,
    stamp: Option<String>,
    pending_stamp: Option<String>,
    adopted: bool,
}

fn read_index(conn: &Connection, kind: IndexKind, year: IndexYear) -> Result<Option<KnownIndex>, Error> {
    let select = Query::select()
        .columns([
            Indices::IndexUuid,
            Indices::Stamp,
            Indices::PendingStamp,
            Indices::Adopted,
        ])
        .from(Indices::Table)
        .and_where(Expr::col(Indices::Kind).eq(kind.as_str()))
        .and_where(Expr::col(Indices::Year).eq(year.number()))
        .take();
    first(conn, &select, |row| {
        Ok(KnownIndex {
            uuid: row.get("index_uuid")?,
            stamp: row.get("stamp")?,
            pending_stamp: row.get("pending_stamp")?,
            adopted: row.get("adopted")?,
        })
    })
}

pub(super) fn put_index(
    tx: &Transaction<'_>,
    index: &IndexRecord,
    adopted: bool,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let insert = Query::insert()
        .into_table(Indices::Table)
        .columns([
            Indices::Kind,
            Indices::Year,
            Indices::IndexName,
            Indices::IndexUuid,
            Indices::Stamp,
            Indices::Adopted,
            Indices::RecordedAt,
        ])
        .values_panic([
            index.kind.as_str().into(),
            index.year.number().into(),
            index.name.as_str().into(),
            index.uuid.as_str().into(),
            index.stamp.clone().into(),
            i64::from(adopted).into(),
            iso(now).into(),
        ])
        .on_conflict(
            OnConflict::columns([Indices::Kind, Indices::Year])
                .update_columns([
                    Indices::IndexName,
                    Indices::IndexUuid,
                    Indices::Stamp,
                    Indices::Adopted,
                    Indices::RecordedAt,
                ])
                .action_and_where(Expr::cust(
                    "index_uuid IS NOT excluded.index_uuid OR stamp IS NOT excluded.stamp OR adopted IS NOT excluded.adopted",
                ))
                .to_owned(),
        )
        .take();
    execute(tx, &insert)?;
    Ok(())
}

/// Makes all documents due again that were sent to the index of a year, or that belong there and were never sent.
fn make_all_due(
    tx: &Transaction<'_>,
    year: IndexYear,
    period: IndexPeriod,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let update = Query::update()
        .table(Meetings::Table)
        .values([
            (
                Meetings::Status,
                Expr::cust("CASE status WHEN 'indexed' THEN 'fetched' ELSE status END"),
            ),
            (Meetings::IndexedChecksum, Expr::cust("NULL")),
            (Meetings::Reconciled, Expr::cust("0")),
            (
                Meetings::Revision,
                Expr::cust_with_values("max(revision + 1, ?)", [now.timestamp_millis()]),
            ),
        ])
        .and_where(Expr::col(Meetings::DocumentChecksum).is_not_null())
        .and_where(Expr::cust(present(period)).eq(year.number()))
        .take();
    execute(tx, &update)?;
    Ok(())
}
