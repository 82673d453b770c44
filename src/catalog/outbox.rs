//! The outbox: documents that are newer than what Elasticsearch acknowledged, the rows they are built from, and recording acknowledgements and
//! rejections.

use std::{
    collections::{BTreeSet, HashSet},
    sync::{Arc, LazyLock},
};

use chrono::{DateTime, Datelike, NaiveDate, Utc};
use rusqlite::Connection;
use sea_query::{Expr, ExprTrait, Order, Query, SelectStatement};

use super::{
    Catalog, Error, Packer,
    index_years::{present, wanted},
    meetings::MeetingState,
    packing::{Packers, unpacked},
    schema::{Indices, Meetings, Payloads},
    sessions,
    sql::{all, columns, execute, first, run, text, var},
};
use crate::model::{
    AccountId, Checksum, Detail, Event, HostId, IndexYear, Kept, MeetingKind, MeetingUuid, Row, SeriesId,
    SessionId, Source, Window, from_iso, iso,
};

/// The documents of a meeting that were sent and acknowledged. The catalog may hold newer ones by now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledgement {
    /// The meeting.
    pub uuid: MeetingUuid,
    /// The document checksum of what was sent.
    pub document_checksum: Checksum,
    /// The sessions whose deletion was sent.
    pub deleted: Vec<SessionId>,
}

/// A kept meeting as stored in the file, still compressed. It may be opened on any thread.
#[derive(Debug)]
pub struct Stored {
    /// Its key.
    pub uuid: MeetingUuid,
    /// The checksum under which an acknowledgement of its documents is recorded.
    pub document_checksum: Checksum,
    /// Sessions to delete from the index: they were sent, or may have been, but no longer belong to the meeting.
    pub lost_sessions: Vec<SessionId>,
    /// The year of the index that its documents belong to.
    pub year: IndexYear,
    /// Whether its documents were last sent to the index of another year.
    pub elsewhere: bool,
    account_id: AccountId,
    columns: StoredColumns,
    listing_packer: Arc<Packer>,
    detail_packer: Arc<Packer>,
}

columns! {
    /// The columns that a kept meeting is read from.
    #[derive(Debug)]
    StoredColumns {
        meeting_id: i64,
        series_id: Option<i64>,
        host_id: Option<HostId>,
        occurrence_id: Option<MeetingUuid>,
        start_time: Option<String>,
        end_time: Option<String>,
        duration_s: Option<i64>,
        kind: MeetingKind,
        source: Source,
        revision: i64,
        document_checksum: Checksum,
        listing: Vec<u8>,
        listing_bytes: i64,
        listing_dictionary: Option<i64>,
        payload: Vec<u8>,
        payload_bytes: i64,
        dictionary_id: Option<i64>,
        index_year: Option<IndexYear>,
    }
}

impl Stored {
    /// Decompresses it.
    ///
    /// # Errors
    /// If the stored data cannot be read back.
    pub fn open(self) -> Result<Kept, Error> {
        let columns = self.columns;
        let uuid = self.uuid.as_str();
        let listing = unpacked(
            &self.listing_packer,
            &columns.listing,
            columns.listing_bytes,
            uuid,
        )?;
        let payload = unpacked(&self.detail_packer, &columns.payload, columns.payload_bytes, uuid)?;
        let detail = detail_of(&self.uuid, payload)?;
        Ok(Kept {
            account_id: self.account_id,
            kind: columns.kind,
            source: columns.source,
            series_id: columns.series_id.map(SeriesId),
            host_id: columns.host_id,
            occurrence_id: columns.occurrence_id,
            start_time: columns.start_time.as_deref().and_then(from_iso),
            end_time: columns.end_time.as_deref().and_then(from_iso),
            duration_s: columns.duration_s,
            listing: Row::kept(&listing),
            detail,
            revision: columns.revision,
            document_checksum: self.document_checksum,
            lost_sessions: self.lost_sessions,
            uuid: self.uuid,
        })
    }
}

fn detail_of(uuid: &MeetingUuid, payload: String) -> Result<Detail, Error> {
    Detail::kept(uuid.clone(), payload).ok_or_else(|| Error::Payload {
        uuid: uuid.to_string(),
        source: std::io::Error::new(std::io::ErrorKind::InvalidData, "it is no list of sessions"),
    })
}

/// Every query that should use the partial index repeats this literally.
pub(super) const DOCUMENTS_DUE: &str =
    "document_checksum IS NOT indexed_checksum AND document_checksum IS NOT rejected_checksum";

/// SQL for whether the look-up of the meeting's host is still pending.
const HOST_OPEN: &str = "meetings.host_id IS NULL AND EXISTS \
     (SELECT 1 FROM host_lookups l WHERE l.host_key = meetings.host_key AND l.status = 'pending')";

/// Selects kept meetings with their payload. Callers add more conditions.
fn kept_query() -> SelectStatement {
    let mut select = Query::select()
        .from(Meetings::Table)
        .inner_join(
            Payloads::Table,
            Expr::col((Payloads::Table, Payloads::MeetingId)).equals((Meetings::Table, Meetings::MeetingId)),
        )
        .take();
    for name in StoredColumns::COLUMNS {
        // The only column that both tables have.
        let table = if *name == "meeting_id" { "meetings." } else { "" };
        select.expr(Expr::cust(format!("{table}{name}")));
    }
    for name in ["meeting_uuid", "listed_day"] {
        select.expr(Expr::cust(name));
    }
    select
}

static DUE: LazyLock<String> = LazyLock::new(|| due_sql(false));
static DUE_WITH_HOST: LazyLock<String> = LazyLock::new(|| due_sql(true));

fn due_sql(with_host: bool) -> String {
    let mut select = kept_query();
    select
        .and_where(Expr::cust(DOCUMENTS_DUE))
        .order_by((Meetings::Table, Meetings::Revision), Order::Asc);
    if with_host {
        select.and_where(Expr::cust(format!("NOT ({HOST_OPEN})")));
    }
    text(&select)
}

static AFTER: LazyLock<String> = LazyLock::new(|| text(&after_query()));

fn after_query() -> SelectStatement {
    let mut select = kept_query();
    select
        .and_where(Expr::col((Meetings::Table, Meetings::MeetingUuid)).gt(var(":after")))
        .order_by((Meetings::Table, Meetings::MeetingUuid), Order::Asc);
    select
}

/// The first and the last day with a year of four digits. Between them, days sort as their texts do.
const FIRST_DAY: &str = "0000-01-01";
const LAST_DAY: &str = "9999-12-31";

static AFTER_IN_DAYS: LazyLock<String> = LazyLock::new(|| {
    let mut select = after_query();
    select.and_where(Expr::col((Meetings::Table, Meetings::ListedDay)).between(var(":from"), var(":to")));
    text(&select)
});

static ONE: LazyLock<String> = LazyLock::new(|| {
    let mut select = kept_query();
    select.and_where(Expr::col((Meetings::Table, Meetings::MeetingUuid)).eq(var(":uuid")));
    text(&select)
});

static SENDING: LazyLock<String> = LazyLock::new(|| {
    let update = Query::update()
        .table(Meetings::Table)
        .values([
            (Meetings::IndexedChecksum, Expr::cust("NULL")),
            (Meetings::IndexYear, var(":year")),
        ])
        .and_where(Expr::col(Meetings::MeetingUuid).eq(var(":uuid")))
        .and_where(Expr::cust(
            "(indexed_checksum IS NOT NULL OR index_year IS NOT :year)",
        ))
        .take();
    text(&update)
});

impl Catalog {
    /// Meetings whose documents are newer than what Elasticsearch acknowledged, oldest revision first, except those that are on their way already.
    /// At most `limit` meetings and about `limit_bytes` of payload are returned (at least one meeting). With `hosts_open`, meetings whose host is
    /// still being looked up are left out, because they would be sent twice. All belong to the index of one year, and to none of the years `but`.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn due_documents(
        &self,
        hosts_open: bool,
        on_their_way: &HashSet<MeetingUuid>,
        but: &BTreeSet<IndexYear>,
        limit: u64,
        limit_bytes: usize,
    ) -> Result<Vec<Stored>, Error> {
        let sql = if hosts_open { &*DUE_WITH_HOST } else { &*DUE };
        let mut year = None;
        let skipped = |uuid: &MeetingUuid, of: IndexYear| {
            on_their_way.contains(uuid) || but.contains(&of) || *year.get_or_insert(of) != of
        };
        self.read_stored(sql, &[], skipped, limit, limit_bytes)
    }

    /// How many meetings have documents due.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn count_due_documents(&self) -> Result<u64, Error> {
        let select = Query::select()
            .expr(Expr::cust("count(*)"))
            .from(Meetings::Table)
            .and_where(Expr::cust(DOCUMENTS_DUE))
            .take();
        Ok(first(&self.conn, &select, |row| row.get(0))?.unwrap_or_default())
    }

    /// Kept meetings after `after`, in order of UUID: a batch of about `limit_bytes` of payload. Used by export, reindex and verify.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn kept_after(
        &self,
        after: Option<&MeetingUuid>,
        limit: u64,
        limit_bytes: usize,
    ) -> Result<Vec<Stored>, Error> {
        // No UUID is empty.
        let after = after.map_or("", MeetingUuid::as_str);
        self.read_stored(&AFTER, &[(":after", &after)], |_, _| false, limit, limit_bytes)
    }

    /// As [`Catalog::kept_after`], but only meetings whose documents belong to the index of a year.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn kept_for_index(
        &self,
        year: IndexYear,
        after: Option<&MeetingUuid>,
        limit: u64,
        limit_bytes: usize,
    ) -> Result<Vec<Stored>, Error> {
        self.kept_by_year(wanted(self.period), year, after, limit, limit_bytes)
    }

    /// As [`Catalog::kept_after`], but only meetings whose documents are in the index of a year.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn kept_in_index(
        &self,
        year: IndexYear,
        after: Option<&MeetingUuid>,
        limit: u64,
        limit_bytes: usize,
    ) -> Result<Vec<Stored>, Error> {
        self.kept_by_year(&present(self.period), year, after, limit, limit_bytes)
    }

    fn kept_by_year(
        &self,
        of: &str,
        year: IndexYear,
        after: Option<&MeetingUuid>,
        limit: u64,
        limit_bytes: usize,
    ) -> Result<Vec<Stored>, Error> {
        let mut select = after_query();
        select.and_where(Expr::cust(of.to_owned()).eq(var(":year")));
        let after = after.map_or("", MeetingUuid::as_str);
        let params: [(&str, &dyn rusqlite::ToSql); 2] = [(":after", &after), (":year", &year)];
        self.read_stored(&text(&select), &params, |_, _| false, limit, limit_bytes)
    }

    /// As [`Catalog::kept_after`], but only meetings that count for these days.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn kept_in(
        &self,
        window: Window,
        after: Option<&MeetingUuid>,
        limit: u64,
        limit_bytes: usize,
    ) -> Result<Vec<Stored>, Error> {
        let after = after.map_or("", MeetingUuid::as_str);
        let text = |day: NaiveDate, beyond: &str| match day.year() {
            0..=9999 => day.to_string(),
            _ => beyond.to_owned(),
        };
        let (from, to) = (text(window.from, FIRST_DAY), text(window.to, LAST_DAY));
        let params: [(&str, &dyn rusqlite::ToSql); 3] = [(":after", &after), (":from", &from), (":to", &to)];
        self.read_stored(&AFTER_IN_DAYS, &params, |_, _| false, limit, limit_bytes)
    }

    /// One meeting's kept detail, if there is one.
    ///
    /// # Errors
    /// If SQLite fails, or if the kept data cannot be read back.
    pub fn kept(&self, uuid: &MeetingUuid) -> Result<Option<Kept>, Error> {
        let mut stored = self.read_stored(&ONE, &[(":uuid", uuid)], |_, _| false, 1, usize::MAX)?;
        stored.pop().map(Stored::open).transpose()
    }

    /// Reads row by row, not all at once: the payloads of a large account do not fit into memory.
    fn read_stored(
        &self,
        sql: &str,
        params: &[(&str, &dyn rusqlite::ToSql)],
        mut skipped: impl FnMut(&MeetingUuid, IndexYear) -> bool,
        limit: u64,
        limit_bytes: usize,
    ) -> Result<Vec<Stored>, Error> {
        let account_id = self.account()?.unwrap_or_else(|| AccountId::new(""));
        let mut prepared = self.conn.prepare_cached(sql)?;
        let mut rows = prepared.query(params)?;
        let (mut stored, mut bytes) = (Vec::new(), 0_usize);
        while (stored.len() as u64) < limit
            && bytes < limit_bytes
            && let Some(row) = rows.next()?
        {
            let uuid: MeetingUuid = row.get("meeting_uuid")?;
            let day: NaiveDate = row
                .get::<_, String>("listed_day")?
                .parse()
                .map_err(|_| Error::Nonsense("a day that is none".to_owned()))?;
            let year = self.period.year_of(day);
            if skipped(&uuid, year) {
                continue;
            }
            let columns = StoredColumns::read(row)?;
            bytes = bytes.saturating_add(usize::try_from(columns.payload_bytes).unwrap_or(usize::MAX));
            stored.push(Stored {
                uuid,
                year,
                elsewhere: columns.index_year.is_some_and(|sent| sent != year),
                document_checksum: columns.document_checksum.clone(),
                lost_sessions: sessions::lost(&self.conn, columns.meeting_id)?,
                account_id: account_id.clone(),
                listing_packer: self.packers.by_id(&self.conn, columns.listing_dictionary)?,
                detail_packer: self.packers.by_id(&self.conn, columns.dictionary_id)?,
                columns,
            });
        }
        Ok(stored)
    }

    /// Records that documents are about to be sent to the index of a year. Until they are acknowledged, it is not certain whether the index holds
    /// them or the earlier ones. A meeting that changes back to its earlier documents must therefore be sent again.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn note_sending<'a>(
        &mut self,
        year: IndexYear,
        meetings: impl Iterator<Item = &'a MeetingUuid>,
    ) -> Result<(), Error> {
        let tx = self.transaction()?;
        for uuid in meetings {
            run(&tx, &SENDING, &[(":uuid", uuid), (":year", &year)])?;
        }
        tx.commit()?;
        Ok(())
    }

    /// Records what Elasticsearch acknowledged. A meeting that changed in flight stays due.
    ///
    /// # Errors
    /// If SQLite fails. Then nothing is recorded. The documents can be sent again: that is idempotent.
    pub fn acknowledge(&mut self, acknowledged: &[Acknowledgement], now: DateTime<Utc>) -> Result<(), Error> {
        let tx = self.transaction()?;
        for one in acknowledged {
            acknowledge_one(&tx, one, now)?;
        }
        tx.commit()?;
        Ok(())
    }

    /// Records that Elasticsearch rejected the documents because of their content. They are not sent again until they change, or until `retry`.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn reject(
        &mut self,
        uuid: &MeetingUuid,
        document_checksum: &Checksum,
        reason: &str,
    ) -> Result<(), Error> {
        let tx = self.transaction()?;
        reject_one(&tx, uuid, document_checksum, reason)?;
        tx.commit()?;
        Ok(())
    }

    /// Meetings that are about to be published for the first time to an index of a year that held documents before. What the index holds of them
    /// must be read first. Empty if this catalog created the indices.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn unreconciled(&self, year: IndexYear, limit: u64) -> Result<Vec<MeetingUuid>, Error> {
        let adopted = Query::select()
            .expr(Expr::cust("count(*)"))
            .from(Indices::Table)
            .and_where(Expr::col(Indices::Adopted).eq(1))
            .and_where(Expr::col(Indices::Year).eq(year.number()))
            .take();
        if first(&self.conn, &adopted, |row| row.get::<_, i64>(0))?.unwrap_or_default() == 0 {
            return Ok(Vec::new());
        }
        let select = Query::select()
            .column(Meetings::MeetingUuid)
            .from(Meetings::Table)
            .and_where(Expr::cust(DOCUMENTS_DUE))
            .and_where(Expr::col(Meetings::Reconciled).eq(0))
            .and_where(Expr::cust(present(self.period)).eq(year.number()))
            .order_by(Meetings::Revision, Order::Asc)
            .limit(limit)
            .take();
        all(&self.conn, &select, |row| row.get("meeting_uuid"))
    }

    /// Records which sessions of these meetings the index holds. Sessions that the catalog does not know are lost: they will be deleted along with
    /// the meeting's next publication.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn reconcile(
        &mut self,
        asked: &[MeetingUuid],
        held: &[(MeetingUuid, SessionId)],
    ) -> Result<(), Error> {
        let tx = self.transaction()?;
        for (uuid, session) in held {
            if let Some(state) = MeetingState::of(&tx, uuid)? {
                sessions::note_lost(&tx, state.meeting_id, session.as_str())?;
            }
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

pub(super) fn acknowledge_one(
    conn: &Connection,
    one: &Acknowledgement,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let Some(mut state) = MeetingState::of(conn, &one.uuid)? else {
        return Ok(());
    };
    state.indexed_checksum = Some(one.document_checksum.clone());
    state.indexed_at = Some(iso(now));
    state.reconciled = true;
    if state.document_checksum.as_ref() == Some(&one.document_checksum) {
        state.status = state.status.next(Event::Acknowledged);
    }
    state.save(conn)?;
    for session in &one.deleted {
        // A session that came back while its deletion was in flight is no longer recorded as lost, so this changes nothing for it.
        sessions::found_again(conn, state.meeting_id, session)?;
    }
    Ok(())
}

pub(super) fn reject_one(
    conn: &Connection,
    uuid: &MeetingUuid,
    document_checksum: &Checksum,
    reason: &str,
) -> Result<(), Error> {
    let Some(mut state) = MeetingState::of(conn, uuid)? else {
        return Ok(());
    };
    state.rejected_checksum = Some(document_checksum.clone());
    state.failure = Some(reason.to_owned());
    if state.document_checksum.as_ref() == Some(document_checksum) {
        state.status = state.status.next(Event::Rejected);
    }
    state.save(conn)
}

/// A meeting's kept detail alone. `None` if there is none.
pub(super) fn kept_detail(
    conn: &Connection,
    packers: &Packers,
    meeting_id: i64,
    uuid: &MeetingUuid,
) -> Result<Option<Detail>, Error> {
    let select = Query::select()
        .columns([Payloads::Payload, Payloads::PayloadBytes, Payloads::DictionaryId])
        .from(Payloads::Table)
        .and_where(Expr::col(Payloads::MeetingId).eq(meeting_id))
        .take();
    let found = first(conn, &select, |row| {
        Ok((
            row.get::<_, Vec<u8>>("payload")?,
            row.get("payload_bytes")?,
            row.get("dictionary_id")?,
        ))
    })?;
    let Some((payload, bytes, dictionary)) = found else {
        return Ok(None);
    };
    let payload = unpacked(&*packers.by_id(conn, dictionary)?, &payload, bytes, uuid.as_str())?;
    detail_of(uuid, payload).map(Some)
}
