//! Details: which are due, keeping one, and what an attempt that failed means.

use chrono::{DateTime, TimeDelta, Utc};
use rusqlite::{Connection, Transaction};
use sea_query::{Expr, ExprTrait, OnConflict, Order, Query, SelectStatement, UpdateStatement};

use super::{
    Catalog, Error, RunId, all, execute, first,
    listing::note_change,
    schema::{Meetings, Payloads, PublishedSessions},
};
use crate::model::{
    Checksum, Detail, Event, HostId, Kept, ListingType, MeetingUuid, SessionId, Status, from_iso, iso,
};

/// When a detail that seems unfinished is fetched again, after each look; then it is accepted as incomplete.
const LOOK_AGAIN: [TimeDelta; 4] = [
    TimeDelta::minutes(10),
    TimeDelta::hours(1),
    TimeDelta::hours(6),
    TimeDelta::hours(24),
];

/// Failed attempts, one a run, before a meeting is dead. Five: a UUID that Zoom's firewall blocks for ever costs five requests.
const ATTEMPTS: i64 = 5;

/// Zoom shows details for twelve months (code 12702).
const DETAILS_REACH_BACK: TimeDelta = TimeDelta::days(365);

/// zstd's default: a tenth of the size of participant rows at a few microseconds a session.
const COMPRESSION_LEVEL: i32 = 3;

/// A detail that wants fetching.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// Whose.
    pub uuid: MeetingUuid,
    /// The list it stands in, and has to be asked for with.
    pub listing_type: ListingType,
    /// What the listing says as this is asked for: the kept detail will vouch for that, not for a later listing.
    pub listed_checksum: Checksum,
}

/// What became of a detail that was fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keeping {
    /// It is kept.
    Kept {
        /// How many sessions it has.
        sessions: usize,
        /// When it will be fetched again, if it seems unfinished.
        look_again_at: Option<DateTime<Utc>>,
    },
    /// It has fewer sessions than are kept, and Zoom itself counts more than it shows, in this answer or in the listing: those
    /// that are kept stay. It counts as a failed attempt.
    RefusedFewer {
        /// How many sessions it has.
        sessions: usize,
        /// How many sessions are kept.
        kept: i64,
    },
}

/// What decides about a meeting, as it stands in the catalog.
pub(super) struct Row {
    pub status: Status,
    pub host_key: String,
    pub host_id: Option<HostId>,
    pub listed_checksum: Checksum,
    pub shown_checksum: Checksum,
    pub fetched_for: Option<Checksum>,
    pub detail_checksum: Option<Checksum>,
    pub document_checksum: Option<Checksum>,
    pub indexed_checksum: Option<Checksum>,
    pub rejected_checksum: Option<Checksum>,
    pub revision: i64,
    pub sessions: Option<i64>,
    pub participants: Option<i64>,
    pub end_time: Option<DateTime<Utc>>,
    pub attempts: i64,
    pub look_again_step: usize,
}

impl Row {
    pub fn read(conn: &Connection, uuid: &MeetingUuid) -> Result<Option<Self>, Error> {
        let select = Query::select()
            .columns([
                Meetings::Status,
                Meetings::HostKey,
                Meetings::HostId,
                Meetings::ListedChecksum,
                Meetings::ShownChecksum,
                Meetings::FetchedFor,
                Meetings::DetailChecksum,
                Meetings::DocumentChecksum,
                Meetings::IndexedChecksum,
                Meetings::Revision,
                Meetings::Sessions,
                Meetings::Participants,
                Meetings::EndTime,
                Meetings::Attempts,
                Meetings::LookAgainStep,
                Meetings::RejectedChecksum,
            ])
            .from(Meetings::Table)
            .and_where(Expr::col(Meetings::MeetingUuid).eq(uuid.as_str()))
            .take();
        let checksum = |text: Option<String>| text.map(Checksum::from_hex);
        let row = first(conn, &select, |row| {
            Ok((
                row.get::<_, String>(0)?,
                Self {
                    status: Status::Listed,
                    host_key: row.get(1)?,
                    host_id: row.get::<_, Option<String>>(2)?.map(HostId::new),
                    listed_checksum: Checksum::from_hex(row.get::<_, String>(3)?),
                    shown_checksum: Checksum::from_hex(row.get::<_, String>(4)?),
                    fetched_for: checksum(row.get(5)?),
                    detail_checksum: checksum(row.get(6)?),
                    document_checksum: checksum(row.get(7)?),
                    indexed_checksum: checksum(row.get(8)?),
                    revision: row.get(9)?,
                    sessions: row.get(10)?,
                    participants: row.get(11)?,
                    end_time: row.get::<_, Option<String>>(12)?.and_then(|at| from_iso(&at)),
                    attempts: row.get(13)?,
                    look_again_step: row.get(14)?,
                    rejected_checksum: checksum(row.get(15)?),
                },
            ))
        })?;
        row.map(|(status, row)| {
            let status =
                Status::parse(&status).ok_or_else(|| Error::Nonsense(format!("the status {status:?}")))?;
            Ok(Self { status, ..row })
        })
        .transpose()
    }

    /// Puts new documents in place: their checksum, a revision above every earlier one, and the status that follows. Documents
    /// as they were acknowledged already are due no more.
    pub fn put_document(
        &self,
        update: &mut UpdateStatement,
        event: Event,
        document: &Checksum,
        now: DateTime<Utc>,
    ) {
        if self.document_checksum.as_ref() != Some(document) {
            update.value(Meetings::DocumentChecksum, document.as_str());
            update.value(Meetings::Revision, next_revision(self.revision, now));
        }
        // It is dead for what its documents were, and they are others now.
        let rejected = self.status == Status::Dead
            && self.rejected_checksum.is_some()
            && self.rejected_checksum == self.document_checksum
            && self.rejected_checksum.as_ref() != Some(document);
        let status = if rejected && event == Event::DocumentsDue {
            Status::Fetched
        } else {
            self.status.next(event)
        };
        if status == Status::Fetched {
            // Fetched means due: what was refused once, and comes again from a new detail, is tried again.
            update.value(Meetings::RejectedChecksum, Option::<String>::None);
        }
        let status = if status == Status::Fetched && self.indexed_checksum.as_ref() == Some(document) {
            status.next(Event::Acknowledged)
        } else {
            status
        };
        update.value(Meetings::Status, status.as_str());
    }

    /// Whether the kept detail is for what the listing says now.
    pub fn detail_kept(&self) -> bool {
        self.fetched_for.as_ref() == Some(&self.listed_checksum)
    }

    /// Whether a detail would take kept sessions away and is not to be believed: it is empty where the listing counts somebody, or
    /// Zoom counts more than it shows. One that only the listing contradicts is believed in the end, when it is the last
    /// attempt or the last look: the listing may lag.
    fn refuses(&self, detail: &Detail) -> bool {
        let (sessions, kept) = (detail.sessions.len() as i64, self.sessions.unwrap_or(0));
        if sessions >= kept {
            return false;
        }
        let last = if self.detail_kept() && !matches!(self.status, Status::Failed | Status::Dead) {
            self.look_again_step >= LOOK_AGAIN.len()
        } else {
            self.attempts + 1 >= ATTEMPTS
        };
        let emptied = sessions == 0 && self.participants != Some(0);
        emptied || detail.missing > 0 || (!last && sessions < self.participants.unwrap_or(0))
    }

    fn next_look(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        LOOK_AGAIN.get(self.look_again_step).map(|delay| now + *delay)
    }
}

impl Catalog {
    /// Details that want fetching now, oldest meetings first (Zoom forgets those first): new and changed ones, after them those
    /// whose last attempt failed in an earlier run (were they first, a day's worth of them could keep all others from their turn),
    /// and at last those that seemed unfinished.
    ///
    /// # Errors
    /// As SQLite fails.
    pub fn due_details(&self, run: RunId, now: DateTime<Utc>, limit: u64) -> Result<Vec<Due>, Error> {
        let mut due = Vec::new();
        for select in [
            due_query(Status::Listed, run, limit),
            due_query(Status::Failed, run, limit),
            look_again_query(now, limit),
        ] {
            if (due.len() as u64) < limit {
                due.extend(self.read_due(&select)?);
            }
        }
        Ok(due)
    }

    fn read_due(&self, select: &SelectStatement) -> Result<Vec<Due>, Error> {
        let rows = all(&self.conn, select, |row| {
            Ok((
                row.get::<_, String>(0)?,
                row.get::<_, String>(1)?,
                row.get::<_, String>(2)?,
            ))
        })?;
        rows.into_iter()
            .map(|(uuid, listing_type, checksum)| {
                Ok(Due {
                    uuid: MeetingUuid::new(uuid),
                    listing_type: ListingType::parse(&listing_type)
                        .ok_or_else(|| Error::Nonsense(format!("the listing type {listing_type:?}")))?,
                    listed_checksum: Checksum::from_hex(checksum),
                })
            })
            .collect()
    }

    /// How many details are due now.
    ///
    /// # Errors
    /// As SQLite fails.
    pub fn count_due_details(&self, now: DateTime<Utc>) -> Result<u64, Error> {
        let count = |condition: Expr| {
            let select = Query::select()
                .expr(Expr::cust("count(*)"))
                .from(Meetings::Table)
                .and_where(condition)
                .take();
            first(&self.conn, &select, |row| row.get::<_, u64>(0)).map(Option::unwrap_or_default)
        };
        Ok(count(Expr::cust(DETAIL_DUE))?
            + count(Expr::cust(LOOK_AGAIN_DUE).and(Expr::col(Meetings::LookAgainAt).lte(iso(now))))?)
    }

    /// Keeps a detail that was fetched when the listing said `fetched_for`.
    ///
    /// # Errors
    /// As SQLite fails; then nothing of it is kept.
    pub fn keep(
        &mut self,
        run: RunId,
        detail: &Detail,
        fetched_for: &Checksum,
        now: DateTime<Utc>,
    ) -> Result<Keeping, Error> {
        let tx = self.transaction()?;
        let Some(row) = Row::read(&tx, &detail.uuid)? else {
            return Err(Error::Nonsense(format!(
                "no meeting {}, though its detail was fetched",
                detail.uuid
            )));
        };
        if let Some(kept) = row.sessions
            && row.refuses(detail)
        {
            let sessions = detail.sessions.len();
            let reason =
                format!("Zoom answered {sessions} sessions, though {kept} are kept and it still counts more");
            fail(&tx, run, &detail.uuid, &row, &reason, true, now)?;
            tx.commit()?;
            return Ok(Keeping::RefusedFewer { sessions, kept });
        }
        let payload = detail.payload();
        let checksum = Checksum::of_bytes(&payload);
        let sessions = detail.sessions.len();
        let expected = usize::try_from(row.participants.unwrap_or(1)).unwrap_or(0);
        let finished = sessions > 0 && sessions >= expected && detail.missing == 0 && detail.all_left();
        let look_again_at = if finished { None } else { row.next_look(now) };

        let mut update = Query::update()
            .table(Meetings::Table)
            .values([
                (Meetings::FetchedFor, fetched_for.as_str().into()),
                (Meetings::DetailChecksum, checksum.as_str().into()),
                (Meetings::Sessions, (sessions as i64).into()),
                (Meetings::FetchedAt, iso(now).into()),
                (Meetings::Attempts, 0.into()),
                (Meetings::LastAttemptRun, run.0.into()),
                (Meetings::Failure, Option::<String>::None.into()),
                (Meetings::LookAgainAt, look_again_at.map(iso).into()),
                (
                    Meetings::Incomplete,
                    i64::from(!finished && look_again_at.is_none()).into(),
                ),
            ])
            .and_where(Expr::col(Meetings::MeetingUuid).eq(detail.uuid.as_str()))
            .take();
        if look_again_at.is_some() {
            update.value(Meetings::LookAgainStep, row.look_again_step as i64 + 1);
        }
        let document = Kept::document_checksum(
            &row.listed_checksum,
            &row.shown_checksum,
            &checksum,
            row.host_id.as_ref(),
        );
        if *fetched_for == row.listed_checksum {
            row.put_document(&mut update, Event::DetailKept, &document, now);
        } else {
            // The listing changed while this was on its way: kept, but due again, also if the listing changed back to what
            // the detail that this one replaces was for.
            update.value(Meetings::Status, row.status.next(Event::DetailChanged).as_str());
            update.value(Meetings::DocumentChecksum, document.as_str());
            update.value(Meetings::Revision, next_revision(row.revision, now));
        }
        execute(&tx, &update)?;
        if row.detail_checksum.as_ref() != Some(&checksum) {
            put_payload(&tx, &detail.uuid, &payload, now)?;
            put_session_ids(
                &tx,
                &detail.uuid,
                &detail.session_ids(),
                row.detail_checksum.is_some(),
            )?;
            let old = row.detail_checksum.as_ref().map(Checksum::as_str);
            note_change(
                &tx,
                run,
                &detail.uuid,
                "detail",
                old,
                Some(checksum.as_str()),
                now,
            )?;
        }
        tx.commit()?;
        Ok(Keeping::Kept {
            sessions,
            look_again_at,
        })
    }

    /// Records that Zoom does not have a detail (any more). What is kept of it stays, and so do its documents. A listing
    /// showed it all the same, so the answer may be premature, or an error: it is asked again like an unfinished detail, unless the
    /// meeting is older than what Zoom shows.
    ///
    /// # Errors
    /// As SQLite fails.
    pub fn detail_gone(
        &mut self,
        run: RunId,
        uuid: &MeetingUuid,
        reason: &str,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let tx = self.transaction()?;
        let Some(row) = Row::read(&tx, uuid)? else {
            return Ok(());
        };
        let within_reach = row.end_time.is_none_or(|end| now - end < DETAILS_REACH_BACK);
        let look_again_at = if within_reach { row.next_look(now) } else { None };
        let mut update = Query::update()
            .table(Meetings::Table)
            .values([
                (
                    Meetings::Status,
                    row.status.next(Event::DetailGone).as_str().into(),
                ),
                (Meetings::Failure, reason.into()),
                (Meetings::LastAttemptRun, run.0.into()),
                (Meetings::LookAgainAt, look_again_at.map(iso).into()),
            ])
            .and_where(Expr::col(Meetings::MeetingUuid).eq(uuid.as_str()))
            .take();
        if look_again_at.is_some() {
            update.value(Meetings::LookAgainStep, row.look_again_step as i64 + 1);
        }
        execute(&tx, &update)?;
        if row.status != Status::Gone {
            note_change(
                &tx,
                run,
                uuid,
                "gone",
                row.detail_checksum.as_ref().map(Checksum::as_str),
                None,
                now,
            )?;
        }
        tx.commit()?;
        Ok(())
    }

    /// Records a failed attempt at a detail; `counts`: whether it is one of those that a meeting is given.
    ///
    /// # Errors
    /// As SQLite fails.
    pub fn detail_failed(
        &mut self,
        run: RunId,
        uuid: &MeetingUuid,
        reason: &str,
        counts: bool,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let tx = self.transaction()?;
        if let Some(row) = Row::read(&tx, uuid)? {
            fail(&tx, run, uuid, &row, reason, counts, now)?;
        }
        tx.commit()?;
        Ok(())
    }

    /// Makes everything failed or dead due again, and asks again about hosts that Zoom did not know; answers how many meetings
    /// that were.
    ///
    /// # Errors
    /// As SQLite fails.
    pub fn retry(&mut self) -> Result<u64, Error> {
        let tx = self.transaction()?;
        let select = Query::select()
            .column(Meetings::MeetingUuid)
            .from(Meetings::Table)
            .and_where(Expr::cust(TROUBLED))
            .take();
        let uuids = all(&tx, &select, |row| Ok(MeetingUuid::new(row.get::<_, String>(0)?)))?;
        for uuid in &uuids {
            let Some(row) = Row::read(&tx, uuid)? else {
                continue;
            };
            let mut update = Query::update()
                .table(Meetings::Table)
                .values([
                    (Meetings::Attempts, 0.into()),
                    (Meetings::LastAttemptRun, Option::<i64>::None.into()),
                ])
                .and_where(Expr::col(Meetings::MeetingUuid).eq(uuid.as_str()))
                .take();
            let event = Event::Retried {
                detail_kept: row.detail_kept(),
            };
            match &row.document_checksum {
                Some(document) if row.detail_kept() => {
                    row.put_document(&mut update, event, document, DateTime::UNIX_EPOCH)
                }
                _ => {
                    update.value(Meetings::Status, row.status.next(event).as_str());
                }
            }
            execute(&tx, &update)?;
        }
        super::hosts::reopen_questions(&tx)?;
        tx.commit()?;
        Ok(uuids.len() as u64)
    }
}

// These stand as text, not as bound values: SQLite uses a partial index only where the query repeats its condition literally.
const DETAIL_DUE: &str = "status IN ('listed', 'failed')";
const LOOK_AGAIN_DUE: &str = "look_again_at IS NOT NULL AND status NOT IN ('listed', 'failed')";
pub(super) const TROUBLED: &str = "status IN ('failed', 'dead')";

fn due_columns() -> SelectStatement {
    Query::select()
        .columns([
            Meetings::MeetingUuid,
            Meetings::ListingType,
            Meetings::ListedChecksum,
        ])
        .from(Meetings::Table)
        .take()
}

pub(super) fn due_query(status: Status, run: RunId, limit: u64) -> SelectStatement {
    due_columns()
        .and_where(Expr::cust(DETAIL_DUE))
        .and_where(Expr::col(Meetings::Status).eq(status.as_str()))
        .and_where(Expr::col(Meetings::LastAttemptRun).is_not(run.0))
        .order_by(Meetings::EndTime, Order::Asc)
        .limit(limit)
        .take()
}

pub(super) fn look_again_query(now: DateTime<Utc>, limit: u64) -> SelectStatement {
    due_columns()
        .and_where(Expr::cust(LOOK_AGAIN_DUE))
        .and_where(Expr::col(Meetings::LookAgainAt).lte(iso(now)))
        .order_by(Meetings::LookAgainAt, Order::Asc)
        .limit(limit)
        .take()
}

/// The millisecond, but always above every revision before: a clock that was set back must not make documents older than
/// those that were sent.
pub(super) fn next_revision(before: i64, now: DateTime<Utc>) -> i64 {
    Ord::max(now.timestamp_millis(), before + 1)
}

/// A failed attempt. A meeting whose kept detail is for what the listing says now loses nothing: its next look is
/// the attempt that failed.
fn fail(
    tx: &Transaction<'_>,
    run: RunId,
    uuid: &MeetingUuid,
    row: &Row,
    reason: &str,
    counts: bool,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let mut update = Query::update()
        .table(Meetings::Table)
        .values([
            (Meetings::Failure, reason.into()),
            (Meetings::LastAttemptRun, run.0.into()),
        ])
        .and_where(Expr::col(Meetings::MeetingUuid).eq(uuid.as_str()))
        .take();
    if row.detail_kept() && !matches!(row.status, Status::Failed | Status::Dead) {
        if !counts {
            return Ok(());
        }
        let look_again_at = row.next_look(now);
        update.values([
            (Meetings::LookAgainAt, look_again_at.map(iso).into()),
            (
                Meetings::LookAgainStep,
                ((row.look_again_step + 1).min(LOOK_AGAIN.len()) as i64).into(),
            ),
            (Meetings::Incomplete, i64::from(look_again_at.is_none()).into()),
        ]);
    } else {
        let attempts = row.attempts + i64::from(counts);
        let event = Event::FetchFailed {
            last_attempt: attempts >= ATTEMPTS,
        };
        update.values([
            (Meetings::Attempts, attempts.into()),
            (Meetings::Status, row.status.next(event).as_str().into()),
            (Meetings::LookAgainAt, Option::<String>::None.into()),
        ]);
    }
    execute(tx, &update)?;
    Ok(())
}

pub(super) fn put_payload(
    tx: &Transaction<'_>,
    uuid: &MeetingUuid,
    payload: &[u8],
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let compressed = zstd::bulk::compress(payload, COMPRESSION_LEVEL).map_err(|source| Error::Payload {
        uuid: uuid.to_string(),
        source,
    })?;
    let insert = Query::insert()
        .into_table(Payloads::Table)
        .columns([
            Payloads::MeetingUuid,
            Payloads::Payload,
            Payloads::PayloadBytes,
            Payloads::KeptAt,
        ])
        .values_panic([
            uuid.as_str().into(),
            compressed.into(),
            (payload.len() as i64).into(),
            iso(now).into(),
        ])
        .on_conflict(
            OnConflict::column(Payloads::MeetingUuid)
                .update_columns([Payloads::Payload, Payloads::PayloadBytes, Payloads::KeptAt])
                .to_owned(),
        )
        .take();
    execute(tx, &insert)?;
    Ok(())
}

/// Notes every session's id before any document of it is sent, and which ones the meeting has lost: so that a session sent just
/// before a crash, and lost just after it, is deleted all the same.
pub(super) fn put_session_ids(
    tx: &Transaction<'_>,
    uuid: &MeetingUuid,
    ids: &[SessionId],
    had_some: bool,
) -> Result<(), Error> {
    if had_some {
        let lost = Query::update()
            .table(PublishedSessions::Table)
            .value(PublishedSessions::Lost, 1)
            .and_where(Expr::col(PublishedSessions::MeetingUuid).eq(uuid.as_str()))
            .take();
        execute(tx, &lost)?;
    }
    // SQLite takes 32,766 bound values a statement.
    for chunk in ids.chunks(5_000) {
        let mut insert = Query::insert()
            .into_table(PublishedSessions::Table)
            .columns([
                PublishedSessions::MeetingUuid,
                PublishedSessions::SessionId,
                PublishedSessions::Lost,
            ])
            .on_conflict(
                OnConflict::columns([PublishedSessions::MeetingUuid, PublishedSessions::SessionId])
                    .value(PublishedSessions::Lost, 0)
                    .to_owned(),
            )
            .take();
        for id in chunk {
            insert.values_panic([uuid.as_str().into(), id.as_str().into(), 0.into()]);
        }
        execute(tx, &insert)?;
    }
    Ok(())
}
