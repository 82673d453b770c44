//! The indices that acknowledged our documents, and whether those that are found are still the same.

use chrono::{DateTime, Utc};
use rusqlite::{Connection, Transaction};
use sea_query::{Expr, ExprTrait, OnConflict, Query};

use super::{
    Catalog, Error,
    schema::{Indices, Meetings},
    sql::{execute, first},
};
use crate::model::{IndexKind, iso};

/// An index as Elasticsearch shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexRecord {
    /// Which of the two.
    pub kind: IndexKind,
    /// Its name behind the alias.
    pub name: String,
    /// Elasticsearch's own id of it.
    pub uuid: String,
    /// Whether it was made just now, and so is empty.
    pub created: bool,
    /// The last mark a catalog left in it.
    pub stamp: Option<String>,
}

/// What the catalog makes of the indices it finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// They hold what this catalog was told they hold.
    Same,
    /// They are others than before: everything is due again.
    Replaced,
    /// Another catalog, or a newer copy of this one, wrote to them: everything is due again, and what that one saw of Zoom and
    /// this one did not must be listed again.
    WrittenByAnother,
}

impl Catalog {
    /// Compares the indices that Elasticsearch shows with those that acknowledged. If they are others, or were written by
    /// another catalog, everything is due again, in revisions above all that may have been written.
    ///
    /// # Errors
    /// As SQLite fails.
    pub fn meet_indices(&mut self, found: &[IndexRecord], now: DateTime<Utc>) -> Result<Trust, Error> {
        let tx = self.transaction()?;
        let mut trust = Trust::Same;
        for index in found {
            let known = read_index(&tx, index.kind)?;
            let ours = |known: &KnownIndex| {
                index.stamp.is_some() && (index.stamp == known.stamp || index.stamp == known.pending_stamp)
            };
            let judged = match &known {
                Some(known)
                    if known.uuid == index.uuid
                        && (ours(known) || (index.stamp.is_none() && known.stamp.is_none())) =>
                {
                    Trust::Same
                }
                // Empty, or our own work restored elsewhere.
                Some(known) if index.created || index.stamp.is_none() || ours(known) => Trust::Replaced,
                None if index.created => Trust::Same,
                _ => Trust::WrittenByAnother,
            };
            trust = match (trust, judged) {
                (Trust::WrittenByAnother, _) | (_, Trust::WrittenByAnother) => Trust::WrittenByAnother,
                (Trust::Replaced, _) | (_, Trust::Replaced) => Trust::Replaced,
                (Trust::Same, Trust::Same) => Trust::Same,
            };
            let adopted = match (judged, &known) {
                (Trust::Same, Some(known)) => known.adopted,
                _ => !index.created,
            };
            put_index(&tx, index, adopted, now)?;
        }
        if trust != Trust::Same {
            make_all_due(&tx, now)?;
        }
        tx.commit()?;
        Ok(trust)
    }

    /// Notes a mark before it is written to the indices, so that a crash in between does not make us strangers to
    /// ourselves.
    ///
    /// # Errors
    /// As SQLite fails.
    pub fn note_pending_stamp(&mut self, stamp: &str) -> Result<(), Error> {
        let update = Query::update()
            .table(Indices::Table)
            .value(Indices::PendingStamp, stamp)
            .take();
        execute(&self.conn, &update)?;
        Ok(())
    }

    /// Notes that the indices carry the mark.
    ///
    /// # Errors
    /// As SQLite fails.
    pub fn note_stamp(&mut self, stamp: &str) -> Result<(), Error> {
        let update = Query::update()
            .table(Indices::Table)
            .values([
                (Indices::Stamp, stamp.into()),
                (Indices::PendingStamp, Option::<String>::None.into()),
            ])
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

fn read_index(conn: &Connection, kind: IndexKind) -> Result<Option<KnownIndex>, Error> {
    let select = Query::select()
        .columns([
            Indices::IndexUuid,
            Indices::Stamp,
            Indices::PendingStamp,
            Indices::Adopted,
        ])
        .from(Indices::Table)
        .and_where(Expr::col(Indices::Kind).eq(kind.as_str()))
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
            Indices::IndexName,
            Indices::IndexUuid,
            Indices::Stamp,
            Indices::Adopted,
            Indices::RecordedAt,
        ])
        .values_panic([
            index.kind.as_str().into(),
            index.name.as_str().into(),
            index.uuid.as_str().into(),
            index.stamp.clone().into(),
            i64::from(adopted).into(),
            iso(now).into(),
        ])
        .on_conflict(
            OnConflict::column(Indices::Kind)
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

fn make_all_due(tx: &Transaction<'_>, now: DateTime<Utc>) -> Result<(), Error> {
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
        .take();
    execute(tx, &update)?;
    Ok(())
}
