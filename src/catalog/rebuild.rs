//! A rebuild of the indices. Acknowledgements wait in a temporary table until the new indices replace the old ones: memory stays bounded, and an
//! unfinished rebuild records nothing.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use sea_query::{Alias, Expr, ExprTrait, Order, Query};

use super::{
    Acknowledgement, Catalog, Error, IndexRecord,
    index_years::wanted,
    indices::put_index,
    meetings::MeetingState,
    outbox::{acknowledge_one, reject_one},
    schema::{Indices, Meetings},
    sessions,
    sql::{all, execute},
};
use crate::model::{Checksum, IndexYear, MeetingUuid};

const TABLE: &str = "
    DROP TABLE IF EXISTS temp.rebuilt;
    CREATE TEMP TABLE rebuilt (
        place INTEGER PRIMARY KEY, meeting_uuid TEXT NOT NULL, document_checksum TEXT NOT NULL, rejected TEXT
    ) STRICT;";

/// Rows that are applied at a time.
const BATCH: u64 = 500;

impl Catalog {
    /// Creates an empty table for what a rebuild acknowledges. The notes of an earlier rebuild are deleted.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn begin_rebuild_notes(&self) -> Result<(), Error> {
        Ok(self.conn.execute_batch(TABLE)?)
    }

    /// Records what the new indices acknowledged and what they rejected.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn note_rebuilt(
        &self,
        acknowledged: &[Acknowledgement],
        rejected: &[(Acknowledgement, String)],
    ) -> Result<(), Error> {
        let rejected = rejected.iter().map(|(one, reason)| (one, Some(reason.as_str())));
        for (one, reason) in acknowledged.iter().map(|one| (one, None)).chain(rejected) {
            let insert = Query::insert()
                .into_table(Alias::new("rebuilt"))
                .columns(["meeting_uuid", "document_checksum", "rejected"].map(Alias::new))
                .values_panic([
                    one.uuid.as_str().into(),
                    one.document_checksum.as_str().into(),
                    reason.map(str::to_owned).into(),
                ])
                .take();
            execute(&self.conn, &insert)?;
        }
        Ok(())
    }

    /// Records that the rebuilt indices replace those of the years `replaced`, and what they hold.
    ///
    /// # Errors
    /// If SQLite fails. Then nothing is recorded.
    pub fn replace_indices(
        &mut self,
        replaced: &BTreeSet<IndexYear>,
        rebuilt: &[IndexRecord],
        stamp: &str,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let period = self.period;
        let tx = self.transaction()?;
        let stale = Query::delete()
            .from_table(Indices::Table)
            .and_where(Expr::col(Indices::Year).is_in(replaced.iter().map(|year| year.number())))
            .take();
        execute(&tx, &stale)?;
        for index in rebuilt {
            let index = IndexRecord {
                stamp: Some(stamp.to_owned()),
                ..index.clone()
            };
            put_index(&tx, &index, false, now)?;
        }
        let mut place = 0_i64;
        loop {
            let select = Query::select()
                .columns(["place", "meeting_uuid", "document_checksum", "rejected"].map(Alias::new))
                .from(Alias::new("rebuilt"))
                .and_where(Expr::col(Alias::new("place")).gt(place))
                .order_by(Alias::new("place"), Order::Asc)
                .limit(BATCH)
                .take();
            let noted = all(&tx, &select, |row| {
                Ok((
                    row.get::<_, i64>("place")?,
                    row.get::<_, MeetingUuid>("meeting_uuid")?,
                    row.get::<_, Checksum>("document_checksum")?,
                    row.get::<_, Option<String>>("rejected")?,
                ))
            })?;
            let Some((last, ..)) = noted.last() else { break };
            place = *last;
            for (_, uuid, document_checksum, rejected) in noted {
                match rejected {
                    Some(reason) => {
                        let reason = format!("rejected by Elasticsearch: {reason}");
                        reject_one(&tx, &uuid, &document_checksum, &reason)?;
                    }
                    None => {
                        // The new indices never held the lost sessions.
                        let deleted = match MeetingState::of(&tx, &uuid)? {
                            Some(state) => sessions::lost(&tx, state.meeting_id)?,
                            None => Vec::new(),
                        };
                        let acknowledged = Acknowledgement {
                            uuid,
                            document_checksum,
                            deleted,
                        };
                        acknowledge_one(&tx, &acknowledged, now)?;
                    }
                }
            }
        }
        // Rebuilt documents are in the index that they belong to.
        let in_their_year = Query::update()
            .table(Meetings::Table)
            .value(Meetings::IndexYear, Expr::cust(wanted(period)))
            .and_where(Expr::cust("meeting_uuid IN (SELECT meeting_uuid FROM rebuilt)"))
            .take();
        execute(&tx, &in_their_year)?;
        tx.commit()?;
        Ok(())
    }
}
