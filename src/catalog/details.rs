//! Details: which are due, storing them, and recording failed attempts.

use std::sync::LazyLock;

use chrono::{DateTime, TimeDelta, Utc};
use rusqlite::Connection;
use sea_query::{Expr, ExprTrait, OnConflict, Order, Query, SelectStatement};

use super::{
    Catalog, Error, Packed, RunId, changes, lookups,
    meetings::{ATTEMPTS, MeetingState},
    occurrences::{self, Place},
    schema::{Meetings, Payloads},
    sessions,
    sql::{all, first, run, text, var},
};
use crate::model::{Checksum, Event, ListingType, MeetingKind, MeetingUuid, Status, from_iso, iso};

/// Zoom shows details for twelve months (code 12702).
const DETAILS_REACH_BACK: TimeDelta = TimeDelta::days(365);

/// The reports show details of webinars for six months (OpenAPI description of `/report/webinars/{webinarId}/participants`).
const REPORTED_WEBINARS_REACH_BACK: TimeDelta = TimeDelta::days(180);

/// A detail that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// The meeting.
    pub uuid: MeetingUuid,
    /// Whether it is a webinar.
    pub kind: MeetingKind,
    /// The list that shows the meeting. The detail must be requested with it.
    pub listing_type: ListingType,
    /// The listed checksum at the time of the request. The detail will be kept for this listing, not for a later one.
    pub listed_checksum: Checksum,
}

/// The outcome of keeping a fetched detail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DetailOutcome {
    /// It is kept.
    Kept {
        /// How many sessions it has.
        sessions: usize,
        /// When it will be fetched again, if it seems unfinished.
        look_again_at: Option<DateTime<Utc>>,
    },
    /// It has fewer sessions than are kept, and Zoom counts more sessions than it shows, in this answer or in the listing. The kept sessions stay.
    /// This counts as a failed attempt.
    SuspiciousShrink {
        /// How many sessions it has.
        sessions: usize,
        /// How many sessions are kept.
        kept: i64,
    },
}

impl Catalog {
    /// Details that are due now. The order is: details that Zoom will soon forget; new and changed ones, newest meetings first, so that a long
    /// backfill never delays today's; those whose last attempt failed in an earlier run (at the front they could block all others); those that
    /// seemed unfinished.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn due_details(&self, run: RunId, now: DateTime<Utc>, limit: u64) -> Result<Vec<Due>, Error> {
        let mut due: Vec<Due> = Vec::new();
        for select in [
            nearly_forgotten_query(run, now, limit),
            due_query(Status::Listed, run, now, limit),
            due_query(Status::Failed, run, now, limit),
            look_again_query(now, limit),
        ] {
            if (due.len() as u64) < limit {
                due.extend(all(&self.conn, &select, |row| {
                    Ok(Due {
                        uuid: row.get("meeting_uuid")?,
                        kind: row.get("kind")?,
                        listing_type: row.get("listing_type")?,
                        listed_checksum: row.get("listed_checksum")?,
                    })
                })?);
            }
        }
        Ok(due)
    }

    /// How many details are due now.
    ///
    /// # Errors
    /// If SQLite fails.
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

    /// Keeps details, all or none. Returns the outcome of each, in the same order.
    ///
    /// # Errors
    /// If SQLite fails. Then none of them is kept.
    pub fn keep(
        &mut self,
        run: RunId,
        details: &[Packed],
        now: DateTime<Utc>,
    ) -> Result<Vec<DetailOutcome>, Error> {
        let tx = self.transaction()?;
        let outcomes = details
            .iter()
            .map(|detail| keep_one(&tx, run, detail, now))
            .collect::<Result<_, _>>()?;
        tx.commit()?;
        Ok(outcomes)
    }

    /// Records that Zoom does not have a detail (any more). The kept detail and its documents stay. A listing showed the meeting, so the answer may
    /// be premature or an error. The detail is therefore requested again like an unfinished one, unless the meeting is older than what Zoom shows.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn detail_gone(
        &mut self,
        run: RunId,
        uuid: &MeetingUuid,
        reason: &str,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let tx = self.transaction()?;
        let Some(mut state) = MeetingState::of(&tx, uuid)? else {
            return Ok(());
        };
        if state.status != Status::Gone {
            changes::note(
                &tx,
                run,
                state.meeting_id,
                "gone",
                state.detail_checksum.as_ref(),
                now,
            )?;
        }
        state.status = state.status.next(Event::DetailGone);
        state.failure = Some(reason.to_owned());
        state.last_attempt_run = Some(run.0);
        if state.ended_at().is_none_or(|end| now - end < DETAILS_REACH_BACK) {
            state.look_again(now);
        } else {
            state.look_again_at = None;
        }
        state.save(&tx)?;
        tx.commit()?;
        Ok(())
    }

    /// Records a failed attempt at a detail. `counts` tells whether it counts against the meeting's limit of attempts.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn detail_failed(
        &mut self,
        run: RunId,
        uuid: &MeetingUuid,
        reason: &str,
        counts: bool,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let tx = self.transaction()?;
        if let Some(mut state) = MeetingState::of(&tx, uuid)? {
            state.attempt_failed(run.0, reason, counts, now);
            state.save(&tx)?;
        }
        tx.commit()?;
        Ok(())
    }

    /// Makes every failed or dead meeting due again, and reopens the look-ups of hosts that Zoom did not know. Returns the number of meetings.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn retry(&mut self) -> Result<u64, Error> {
        let tx = self.transaction()?;
        let select = Query::select()
            .column(Meetings::MeetingUuid)
            .from(Meetings::Table)
            .and_where(Expr::cust(TROUBLED))
            .take();
        let uuids: Vec<MeetingUuid> = all(&tx, &select, |row| row.get("meeting_uuid"))?;
        for uuid in &uuids {
            let Some(mut state) = MeetingState::of(&tx, uuid)? else {
                continue;
            };
            (state.attempts, state.last_attempt_run) = (0, None);
            let detail_kept = state.detail_kept();
            let event = Event::Retried { detail_kept };
            match state.document_checksum.clone().filter(|_| detail_kept) {
                Some(document) => state.put_document(event, document, DateTime::UNIX_EPOCH),
                None => state.status = state.status.next(event),
            }
            state.save(&tx)?;
        }
        lookups::reopen(&tx)?;
        tx.commit()?;
        Ok(uuids.len() as u64)
    }
}

fn keep_one(
    conn: &Connection,
    run: RunId,
    detail: &Packed,
    now: DateTime<Utc>,
) -> Result<DetailOutcome, Error> {
    let Some(mut state) = MeetingState::of(conn, &detail.uuid)? else {
        return Err(Error::Nonsense(format!(
            "no meeting {}, though its detail was fetched",
            detail.uuid
        )));
    };
    let sessions = detail.sessions.len();
    if let Some(kept) = state.sessions
        && refuses(&state, detail)
    {
        let reason = format!(
            "suspicious shrink: Zoom answered {sessions} sessions, we hold {kept}, and Zoom still counts more"
        );
        state.attempt_failed(run.0, &reason, true, now);
        state.save(conn)?;
        return Ok(DetailOutcome::SuspiciousShrink { sessions, kept });
    }
    state.doubt = doubt(&state, detail);
    let look_again_at = if state.doubt.is_none() {
        state.look_again_at = None;
        None
    } else {
        state.look_again(now)
    };
    state.incomplete = state.doubt.is_some() && look_again_at.is_none();
    state.fetched_for = Some(detail.fetched_for.clone());
    let before = state.detail_checksum.replace(detail.checksum.clone());
    state.sessions = Some(sessions as i64);
    state.fetched_at = Some(iso(now));
    state.source = detail.source;
    (state.attempts, state.last_attempt_run, state.failure) = (0, Some(run.0), None);
    if state.detail_kept() {
        state.documents_follow(Event::DetailKept, now);
    } else {
        // The listing changed while this detail was being fetched. The detail is kept but due again, even if the listing changed back to the one
        // that the replaced detail was for.
        state.status = state.status.next(Event::DetailChanged);
        state.document_checksum = state.document();
        state.raise_revision(now);
    }
    state.save(conn)?;
    if before.as_ref() != Some(&detail.checksum) {
        put_payload(
            conn,
            state.meeting_id,
            &detail.payload,
            detail.payload_bytes,
            detail.dictionary_id,
        )?;
        sessions::put(conn, state.meeting_id, &detail.sessions, before.is_some())?;
        changes::note(conn, run, state.meeting_id, "detail", before.as_ref(), now)?;
        if let Some(place) = Place::in_personal_room(&state) {
            occurrences::settle(conn, &place, now)?;
        }
    }
    Ok(DetailOutcome::Kept {
        sessions,
        look_again_at,
    })
}

/// How far a session may lie outside its meeting's times before the detail is doubted, in seconds. Zoom's listing rounds times, and it lags.
const OUTSIDE_S: i64 = 60 * 60;

/// Why a detail is doubted; `None` if it is not. A doubted detail is kept as it is. It is fetched again after growing pauses, until nothing
/// contradicts it or no look is left.
fn doubt(state: &MeetingState, detail: &Packed) -> Option<String> {
    let sessions = detail.sessions.len();
    let expected = usize::try_from(state.participants.unwrap_or(1)).unwrap_or(0);
    let time = |text: &Option<String>| text.as_deref().and_then(from_iso).map(|at| at.timestamp());
    let (start, end) = (time(&state.start_time), time(&state.end_time));
    let outside = detail.sessions.iter().filter(|session| {
        let late = session
            .join_time
            .zip(end)
            .is_some_and(|(joined, end)| joined > end + OUTSIDE_S);
        let early = session
            .leave_time
            .zip(start)
            .is_some_and(|(left, start)| left < start - OUTSIDE_S);
        late || early
    });
    let outside = outside.count();
    let Packed {
        missing,
        surplus,
        repeated,
        all_left,
        ..
    } = detail;
    if *missing > 0 {
        Some(format!("{missing} sessions that Zoom counts are not shown"))
    } else if *surplus > 0 {
        Some(format!("{surplus} sessions more are shown than Zoom counts"))
    } else if *repeated > 0 {
        Some(format!("{repeated} rows came twice; each is kept once"))
    } else if sessions == 0 {
        Some("no session is shown".to_owned())
    } else if sessions < expected {
        Some(format!(
            "{sessions} sessions are shown, and the listing counts {expected}"
        ))
    } else if !all_left {
        Some("a session has no leave time".to_owned())
    } else if outside > 0 {
        Some(format!("{outside} sessions lie outside of the meeting's times"))
    } else {
        None
    }
}

/// Whether a detail is refused as a suspicious shrink: it has fewer sessions than are kept, and either it is empty although the listing counts
/// participants, or Zoom counts more sessions than it shows. A detail that only the listing contradicts is accepted at the last attempt or the last
/// look, because the listing may lag.
fn refuses(state: &MeetingState, detail: &Packed) -> bool {
    let (sessions, kept) = (detail.sessions.len() as i64, state.sessions.unwrap_or(0));
    if sessions >= kept {
        return false;
    }
    let last = if state.detail_kept() && !matches!(state.status, Status::Failed | Status::Dead) {
        state.is_at_last_look()
    } else {
        state.attempts + 1 >= ATTEMPTS
    };
    let emptied = sessions == 0 && state.participants != Some(0);
    emptied || detail.missing > 0 || (!last && sessions < state.participants.unwrap_or(0))
}

// These conditions are text, not bound values: SQLite uses a partial index only if the query repeats its condition literally.
const DETAIL_DUE: &str = "status IN ('listed', 'failed')";
const LOOK_AGAIN_DUE: &str = "look_again_at IS NOT NULL AND status NOT IN ('listed', 'failed')";
pub(super) const TROUBLED: &str = "status IN ('failed', 'dead')";

fn due_columns() -> SelectStatement {
    Query::select()
        .columns([
            Meetings::MeetingUuid,
            Meetings::Kind,
            Meetings::ListingType,
            Meetings::ListedChecksum,
        ])
        .from(Meetings::Table)
        .take()
}

/// A detail that Zoom will forget within this time is fetched before all others.
const NEARLY_FORGOTTEN: TimeDelta = TimeDelta::days(30);

/// SQL for what Zoom will soon forget: `end_time` is before the bounds of [`forgotten_soon`]. The reports show webinars for six months only. The
/// first condition is for the index.
const FORGOTTEN_SOON: &str = "end_time < ? AND (end_time < ? OR (kind = 'webinar' AND source = 'reports'))";

/// The bounds of [`FORGOTTEN_SOON`].
fn forgotten_soon(now: DateTime<Utc>) -> [String; 2] {
    [REPORTED_WEBINARS_REACH_BACK, DETAILS_REACH_BACK].map(|reach| iso(now - reach + NEARLY_FORGOTTEN))
}

fn nearly_forgotten_query(run: RunId, now: DateTime<Utc>, limit: u64) -> SelectStatement {
    due_columns()
        .and_where(Expr::cust(DETAIL_DUE))
        .and_where(Expr::col(Meetings::LastAttemptRun).is_not(run.0))
        .and_where(Expr::cust_with_values(FORGOTTEN_SOON, forgotten_soon(now)))
        .order_by(Meetings::EndTime, Order::Asc)
        .limit(limit)
        .take()
}

fn due_query(status: Status, run: RunId, now: DateTime<Utc>, limit: u64) -> SelectStatement {
    due_columns()
        .and_where(Expr::cust(DETAIL_DUE))
        .and_where(Expr::col(Meetings::Status).eq(status.as_str()))
        .and_where(Expr::col(Meetings::LastAttemptRun).is_not(run.0))
        .and_where(Expr::cust_with_values(
            format!("(end_time IS NULL OR NOT ({FORGOTTEN_SOON}))"),
            forgotten_soon(now),
        ))
        .order_by(Meetings::EndTime, Order::Desc)
        .limit(limit)
        .take()
}

fn look_again_query(now: DateTime<Utc>, limit: u64) -> SelectStatement {
    due_columns()
        .and_where(Expr::cust(LOOK_AGAIN_DUE))
        .and_where(Expr::col(Meetings::LookAgainAt).lte(iso(now)))
        .order_by(Meetings::LookAgainAt, Order::Asc)
        .limit(limit)
        .take()
}

static PUT_PAYLOAD: LazyLock<String> = LazyLock::new(|| {
    let insert = Query::insert()
        .into_table(Payloads::Table)
        .columns([
            Payloads::MeetingId,
            Payloads::Payload,
            Payloads::PayloadBytes,
            Payloads::DictionaryId,
        ])
        .values_panic([
            var(":meeting"),
            var(":payload"),
            var(":bytes"),
            var(":dictionary"),
        ])
        .on_conflict(
            OnConflict::column(Payloads::MeetingId)
                .update_columns([Payloads::Payload, Payloads::PayloadBytes, Payloads::DictionaryId])
                .to_owned(),
        )
        .take();
    text(&insert)
});

pub(super) fn put_payload(
    conn: &Connection,
    meeting_id: i64,
    payload: &[u8],
    payload_bytes: usize,
    dictionary_id: Option<i64>,
) -> Result<(), Error> {
    run(
        conn,
        &PUT_PAYLOAD,
        &[
            (":meeting", &meeting_id),
            (":payload", &payload),
            (":bytes", &(payload_bytes as i64)),
            (":dictionary", &dictionary_id),
        ],
    )?;
    Ok(())
}
