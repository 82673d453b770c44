//! What Elasticsearch was told: the documents that are due, what it acknowledged, and which indices it did so for.

use chrono::{DateTime, Utc};
use rusqlite::{Connection, Transaction};
use sea_query::{Expr, ExprTrait, OnConflict, Order, Query, SelectStatement};

use super::{
    Catalog, Error, all,
    detail::Row,
    execute, first,
    schema::{Indices, Meetings, Payloads, PublishedSessions},
};
use crate::model::{
    AccountId, Checksum, Detail, Event, HostId, IndexKind, Kept, MeetingUuid, SeriesId, SessionId, from_iso,
    iso,
};

/// What was sent of a meeting and acknowledged: never what stands in the catalog by now, which may be newer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledgement {
    /// The meeting.
    pub uuid: MeetingUuid,
    /// The document checksum of what was sent.
    pub document_checksum: Checksum,
    /// The sessions whose deletion was sent.
    pub deleted: Vec<SessionId>,
}

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

/// Repeated literally by every query that wants the partial index.
const DOCUMENTS_DUE: &str =
    "document_checksum IS NOT indexed_checksum AND document_checksum IS NOT rejected_checksum";

/// Whether it is still being asked whose meeting it is.
const HOST_OPEN: &str = "meetings.host_id IS NULL AND EXISTS \
     (SELECT 1 FROM host_lookups l WHERE l.host_key = meetings.host_key AND l.status = 'pending')";

pub(super) fn documents_due_query(limit: u64, hosts_open: bool) -> SelectStatement {
    let mut select = kept_columns();
    select
        .and_where(Expr::cust(DOCUMENTS_DUE))
        .order_by((Meetings::Table, Meetings::Revision), Order::Asc)
        .limit(limit);
    if hosts_open {
        select.and_where(Expr::cust(format!("NOT ({HOST_OPEN})")));
    }
    select
}

fn kept_columns() -> SelectStatement {
    let m = |column| (Meetings::Table, column);
    Query::select()
        .columns([
            m(Meetings::MeetingUuid),
            m(Meetings::SeriesId),
            m(Meetings::HostId),
            m(Meetings::StartTime),
            m(Meetings::EndTime),
            m(Meetings::DurationS),
            m(Meetings::Listing),
            m(Meetings::Revision),
            m(Meetings::DocumentChecksum),
        ])
        .columns([
            (Payloads::Table, Payloads::Payload),
            (Payloads::Table, Payloads::PayloadBytes),
        ])
        .from(Meetings::Table)
        .inner_join(
            Payloads::Table,
            Expr::col((Payloads::Table, Payloads::MeetingUuid))
                .equals((Meetings::Table, Meetings::MeetingUuid)),
        )
        .take()
}

impl Catalog {
    /// Meetings whose documents are newer than what Elasticsearch acknowledged, oldest revision first, up to about
    /// `limit_bytes` of payload (at least one). With `hosts_open`, those whose host is still being asked for are left out: they
    /// would be sent twice.
    ///
    /// # Errors
    /// As SQLite fails, or a payload cannot be read back.
    pub fn due_documents(
        &self,
        hosts_open: bool,
        limit: u64,
        limit_bytes: usize,
    ) -> Result<Vec<Kept>, Error> {
        read_kept(&self.conn, &documents_due_query(limit, hosts_open), limit_bytes)
    }

    /// How many meetings have documents due.
    ///
    /// # Errors
    /// As SQLite fails.
    pub fn count_due_documents(&self) -> Result<u64, Error> {
        let select = Query::select()
            .expr(Expr::cust("count(*)"))
            .from(Meetings::Table)
            .and_where(Expr::cust(DOCUMENTS_DUE))
            .take();
        Ok(first(&self.conn, &select, |row| row.get(0))?.unwrap_or_default())
    }

    /// Everything that is kept, in order of UUID, a batch of about `limit_bytes` of payload after `after`: for export and
    /// reindex.
    ///
    /// # Errors
    /// As SQLite fails, or a payload cannot be read back.
    pub fn kept_after(
        &self,
        after: Option<&MeetingUuid>,
        limit: u64,
        limit_bytes: usize,
    ) -> Result<Vec<Kept>, Error> {
        let mut select = kept_columns();
        select
            .order_by((Meetings::Table, Meetings::MeetingUuid), Order::Asc)
            .limit(limit);
        if let Some(after) = after {
            select.and_where(Expr::col((Meetings::Table, Meetings::MeetingUuid)).gt(after.as_str()));
        }
        read_kept(&self.conn, &select, limit_bytes)
    }

    /// One meeting's kept detail, if there is one.
    ///
    /// # Errors
    /// As SQLite fails, or the payload cannot be read back.
    pub fn kept(&self, uuid: &MeetingUuid) -> Result<Option<Kept>, Error> {
        let select = kept_columns()
            .and_where(Expr::col((Meetings::Table, Meetings::MeetingUuid)).eq(uuid.as_str()))
            .take();
        Ok(read_kept(&self.conn, &select, usize::MAX)?.pop())
    }

    /// Notes that documents are about to be sent: until they are acknowledged the index holds neither them for certain nor what
    /// it acknowledged before, so a meeting that turns back into that must be sent again.
    ///
    /// # Errors
    /// As SQLite fails.
    pub fn note_sending(&mut self, batch: &[Kept]) -> Result<(), Error> {
        let tx = self.transaction()?;
        for one in batch {
            let update = Query::update()
                .table(Meetings::Table)
                .value(Meetings::IndexedChecksum, Option::<String>::None)
                .and_where(Expr::col(Meetings::MeetingUuid).eq(one.uuid.as_str()))
                .and_where(Expr::col(Meetings::IndexedChecksum).is_not_null())
                .take();
            execute(&tx, &update)?;
        }
        tx.commit()?;
        Ok(())
    }

    /// Records what Elasticsearch acknowledged. A meeting that changed in flight stays due.
    ///
    /// # Errors
    /// As SQLite fails; then none of it is recorded, and a replay will change nothing.
    pub fn acknowledge(&mut self, acknowledged: &[Acknowledgement], now: DateTime<Utc>) -> Result<(), Error> {
        let tx = self.transaction()?;
        for one in acknowledged {
            let Some(row) = Row::read(&tx, &one.uuid)? else {
                continue;
            };
            let mut update = Query::update()
                .table(Meetings::Table)
                .values([
                    (Meetings::IndexedChecksum, one.document_checksum.as_str().into()),
                    (Meetings::IndexedAt, iso(now).into()),
                    (Meetings::Reconciled, 1.into()),
                ])
                .and_where(Expr::col(Meetings::MeetingUuid).eq(one.uuid.as_str()))
                .take();
            if row.document_checksum.as_ref() == Some(&one.document_checksum) {
                update.value(Meetings::Status, row.status.next(Event::Acknowledged).as_str());
            }
            execute(&tx, &update)?;
            for session in &one.deleted {
                // Only if it is still lost: it may have come back while its deletion was under way.
                let delete = Query::delete()
                    .from_table(PublishedSessions::Table)
                    .and_where(Expr::col(PublishedSessions::MeetingUuid).eq(one.uuid.as_str()))
                    .and_where(Expr::col(PublishedSessions::SessionId).eq(session.as_str()))
                    .and_where(Expr::col(PublishedSessions::Lost).eq(1))
                    .take();
                execute(&tx, &delete)?;
            }
        }
        tx.commit()?;
        Ok(())
    }

    /// Records that Elasticsearch refused the documents for what they are. They are not sent again until they change, or until
    /// `retry`.
    ///
    /// # Errors
    /// As SQLite fails.
    pub fn reject(
        &mut self,
        uuid: &MeetingUuid,
        document_checksum: &Checksum,
        reason: &str,
    ) -> Result<(), Error> {
        let tx = self.transaction()?;
        if let Some(row) = Row::read(&tx, uuid)? {
            let mut update = Query::update()
                .table(Meetings::Table)
                .values([
                    (Meetings::RejectedChecksum, document_checksum.as_str().into()),
                    (Meetings::Failure, reason.into()),
                ])
                .and_where(Expr::col(Meetings::MeetingUuid).eq(uuid.as_str()))
                .take();
            if row.document_checksum.as_ref() == Some(document_checksum) {
                update.value(Meetings::Status, row.status.next(Event::Rejected).as_str());
            }
            execute(&tx, &update)?;
        }
        tx.commit()?;
        Ok(())
    }

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

    /// Records that the rebuilt indices stand in place of the old ones, holding everything that is kept.
    ///
    /// # Errors
    /// As SQLite fails.
    pub fn replace_indices(
        &mut self,
        rebuilt: &[IndexRecord],
        stamp: &str,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let tx = self.transaction()?;
        for index in rebuilt {
            let index = IndexRecord {
                stamp: Some(stamp.to_owned()),
                ..index.clone()
            };
            put_index(&tx, &index, false, now)?;
        }
        tx.commit()?;
        Ok(())
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

    /// Meetings about to be published for the first time to an index that held documents before: what it holds of them is
    /// to be asked first. Empty if the indices are our own.
    ///
    /// # Errors
    /// As SQLite fails.
    pub fn unreconciled(&self, limit: u64) -> Result<Vec<MeetingUuid>, Error> {
        let adopted = Query::select()
            .expr(Expr::cust("count(*)"))
            .from(Indices::Table)
            .and_where(Expr::col(Indices::Adopted).eq(1))
            .take();
        if first(&self.conn, &adopted, |row| row.get::<_, i64>(0))?.unwrap_or_default() == 0 {
            return Ok(Vec::new());
        }
        let select = Query::select()
            .column(Meetings::MeetingUuid)
            .from(Meetings::Table)
            .and_where(Expr::cust(DOCUMENTS_DUE))
            .and_where(Expr::col(Meetings::Reconciled).eq(0))
            .order_by(Meetings::Revision, Order::Asc)
            .limit(limit)
            .take();
        all(&self.conn, &select, |row| {
            Ok(MeetingUuid::new(row.get::<_, String>(0)?))
        })
    }

    /// Records which sessions of these meetings the index holds. Those that the catalog does not know are lost: they will be
    /// deleted along with the meeting's next publication.
    ///
    /// # Errors
    /// As SQLite fails.
    pub fn reconcile(
        &mut self,
        asked: &[MeetingUuid],
        held: &[(MeetingUuid, SessionId)],
    ) -> Result<(), Error> {
        let tx = self.transaction()?;
        for (uuid, session) in held {
            note_lost(&tx, uuid, session.as_str())?;
        }
        for uuid in asked {
            let update = Query::update()
                .table(Meetings::Table)
                .value(Meetings::Reconciled, 1)
                .and_where(Expr::col(Meetings::MeetingUuid).eq(uuid.as_str()))
                .take();
            execute(&tx, &update)?;
        }
        tx.commit()?;
        Ok(())
    }
}

/// Notes a session that the index holds and the meeting may have lost: one that the meeting has is not, whatever stands under its
/// id. Answers how many were noted.
pub(super) fn note_lost(conn: &Connection, uuid: &MeetingUuid, session: &str) -> Result<usize, Error> {
    let insert = Query::insert()
        .into_table(PublishedSessions::Table)
        .columns([
            PublishedSessions::MeetingUuid,
            PublishedSessions::SessionId,
            PublishedSessions::Lost,
        ])
        .values_panic([uuid.as_str().into(), session.into(), 1.into()])
        .on_conflict(
            OnConflict::columns([PublishedSessions::MeetingUuid, PublishedSessions::SessionId])
                .do_nothing()
                .to_owned(),
        )
        .take();
    execute(conn, &insert)
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
            uuid: row.get(0)?,
            stamp: row.get(1)?,
            pending_stamp: row.get(2)?,
            adopted: row.get(3)?,
        })
    })
}

fn put_index(
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

fn read_kept(conn: &Connection, select: &SelectStatement, limit_bytes: usize) -> Result<Vec<Kept>, Error> {
    use sea_query_rusqlite::RusqliteBinder;
    let account = Query::select()
        .column(super::schema::Account::AccountId)
        .from(super::schema::Account::Table)
        .take();
    let account_id = first(conn, &account, |row| row.get::<_, String>(0))?.unwrap_or_default();
    let (sql, values) = select.build_rusqlite(sea_query::SqliteQueryBuilder);
    let mut prepared = conn.prepare_cached(&sql)?;
    let mut rows = prepared.query(&*values.as_params())?;
    let (mut kept, mut bytes) = (Vec::new(), 0_usize);
    // Read row by row, not all at once: the payloads of a large account do not fit into memory.
    while let Some(row) = rows.next()? {
        let uuid = MeetingUuid::new(row.get::<_, String>(0)?);
        if bytes >= limit_bytes {
            break;
        }
        let payload_bytes = usize::try_from(row.get::<_, i64>(10)?).unwrap_or_default();
        bytes += payload_bytes;
        let time = |column| {
            row.get::<_, Option<String>>(column)
                .map(|at| at.and_then(|at| from_iso(&at)))
        };
        let sessions = unpack(
            row.get_ref(9)?.as_blob().unwrap_or_default(),
            payload_bytes,
            &uuid,
        )?;
        let listing = serde_json::from_str(&row.get::<_, String>(6)?).map_err(|error| {
            Error::Nonsense(format!("a listing of meeting {uuid} that is no object ({error})"))
        })?;
        kept.push(Kept {
            account_id: AccountId::new(account_id.clone()),
            series_id: row.get::<_, Option<i64>>(1)?.map(SeriesId),
            host_id: row.get::<_, Option<String>>(2)?.map(HostId::new),
            start_time: time(3)?,
            end_time: time(4)?,
            duration_s: row.get(5)?,
            listing,
            detail: Detail::in_order(uuid.clone(), sessions),
            revision: row.get(7)?,
            document_checksum: Checksum::from_hex(row.get::<_, String>(8)?),
            lost_sessions: lost_sessions(conn, &uuid)?,
            uuid,
        });
    }
    Ok(kept)
}

/// A meeting's kept detail, whether or not anything else of it is wanted.
pub(super) fn kept_detail(conn: &Connection, uuid: &MeetingUuid) -> Result<Option<Detail>, Error> {
    let select = Query::select()
        .columns([Payloads::Payload, Payloads::PayloadBytes])
        .from(Payloads::Table)
        .and_where(Expr::col(Payloads::MeetingUuid).eq(uuid.as_str()))
        .take();
    let stored = first(conn, &select, |row| {
        Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, i64>(1)?))
    })?;
    let Some((payload, bytes)) = stored else {
        return Ok(None);
    };
    let sessions = unpack(&payload, usize::try_from(bytes).unwrap_or_default(), uuid)?;
    Ok(Some(Detail::in_order(uuid.clone(), sessions)))
}

fn unpack(payload: &[u8], bytes: usize, uuid: &MeetingUuid) -> Result<Vec<crate::model::Row>, Error> {
    zstd::bulk::decompress(payload, bytes)
        .and_then(|json| serde_json::from_slice(&json).map_err(std::io::Error::from))
        .map_err(|source| Error::Payload {
            uuid: uuid.to_string(),
            source,
        })
}

fn lost_sessions(conn: &Connection, uuid: &MeetingUuid) -> Result<Vec<SessionId>, Error> {
    let select = Query::select()
        .column(PublishedSessions::SessionId)
        .from(PublishedSessions::Table)
        .and_where(Expr::col(PublishedSessions::MeetingUuid).eq(uuid.as_str()))
        .and_where(Expr::col(PublishedSessions::Lost).eq(1))
        .take();
    all(conn, &select, |row| Ok(SessionId::new(row.get::<_, String>(0)?)))
}
