//! The state of a meeting: status, checksums, revision. Every change reads the row here, changes it as a value and saves it whole, so that the
//! status always agrees with the checksums.

use std::sync::LazyLock;

use chrono::{DateTime, TimeDelta, Utc};
use rusqlite::Connection;
use sea_query::{Alias, Expr, ExprTrait, Query};

use super::{
    Error,
    schema::Meetings,
    sql::{Params, columns, one, run, text, var},
};
use crate::model::{Checksum, Event, HostId, IndexYear, Kept, MeetingUuid, Source, Status, from_iso, iso};

/// The pause after each look at a detail that seems unfinished. After the last look the detail is accepted as incomplete.
const LOOK_AGAIN: [TimeDelta; 4] = [
    TimeDelta::minutes(10),
    TimeDelta::hours(1),
    TimeDelta::hours(6),
    TimeDelta::hours(24),
];

/// Failed attempts, one per run, after which a meeting is dead. With five, a UUID that Zoom's firewall blocks for ever costs five requests.
pub(super) const ATTEMPTS: i64 = 5;

columns! {
    /// The columns that decide how a meeting is treated. Times are text, as stored.
    MeetingState {
        meeting_id: i64,
        series_id: Option<i64>,
        occurrence_id: Option<MeetingUuid>,
        host_key: String,
        host_id: Option<HostId>,
        participants: Option<i64>,
        start_time: Option<String>,
        end_time: Option<String>,
        status: Status,
        listed_checksum: Checksum,
        shown_checksum: Checksum,
        fetched_for: Option<Checksum>,
        detail_checksum: Option<Checksum>,
        document_checksum: Option<Checksum>,
        indexed_checksum: Option<Checksum>,
        rejected_checksum: Option<Checksum>,
        revision: i64,
        sessions: Option<i64>,
        reconciled: bool,
        fetched_at: Option<String>,
        indexed_at: Option<String>,
        attempts: i64,
        last_attempt_run: Option<i64>,
        failure: Option<String>,
        look_again_step: i64,
        look_again_at: Option<String>,
        incomplete: bool,
        doubt: Option<String>,
        index_year: Option<IndexYear>,
        source: Source,
    }
}

static READ: LazyLock<String> = LazyLock::new(|| {
    let select = Query::select()
        .columns(MeetingState::COLUMNS.iter().map(|name| Alias::new(*name)))
        .from(Meetings::Table)
        .and_where(Expr::col(Meetings::MeetingUuid).eq(var(":uuid")))
        .take();
    text(&select)
});

static SAVE: LazyLock<String> = LazyLock::new(|| {
    let update = Query::update()
        .table(Meetings::Table)
        .values([
            (Meetings::Status, var(":status")),
            (Meetings::ListedChecksum, var(":listed_checksum")),
            (Meetings::ShownChecksum, var(":shown_checksum")),
            (Meetings::FetchedFor, var(":fetched_for")),
            (Meetings::DetailChecksum, var(":detail_checksum")),
            (Meetings::DocumentChecksum, var(":document_checksum")),
            (Meetings::IndexedChecksum, var(":indexed_checksum")),
            (Meetings::RejectedChecksum, var(":rejected_checksum")),
            (Meetings::Revision, var(":revision")),
            (Meetings::Sessions, var(":sessions")),
            (Meetings::Reconciled, var(":reconciled")),
            (Meetings::FetchedAt, var(":fetched_at")),
            (Meetings::IndexedAt, var(":indexed_at")),
            (Meetings::Attempts, var(":attempts")),
            (Meetings::LastAttemptRun, var(":last_attempt_run")),
            (Meetings::Failure, var(":failure")),
            (Meetings::LookAgainStep, var(":look_again_step")),
            (Meetings::LookAgainAt, var(":look_again_at")),
            (Meetings::Incomplete, var(":incomplete")),
            (Meetings::Doubt, var(":doubt")),
            (Meetings::Source, var(":source")),
            (Meetings::IndexYear, var(":index_year")),
            (Meetings::OccurrenceId, var(":occurrence_id")),
        ])
        .and_where(Expr::col(Meetings::MeetingId).eq(var(":meeting_id")))
        .take();
    text(&update)
});

static SAVE_HOST: LazyLock<String> = LazyLock::new(|| {
    let update = Query::update()
        .table(Meetings::Table)
        .value(Meetings::HostId, var(":host_id"))
        .and_where(Expr::col(Meetings::MeetingId).eq(var(":meeting_id")))
        .take();
    text(&update)
});

impl MeetingState {
    /// The state of a meeting. `None` if the meeting is not known.
    pub fn of(conn: &Connection, uuid: &MeetingUuid) -> Result<Option<Self>, Error> {
        one(conn, &READ, &[(":uuid", uuid)], Self::read)
    }

    /// Writes the state back, including the host. [`Self::save`] leaves the host unchanged, because an index and a foreign key depend on it.
    pub fn save_with_host(&self, conn: &Connection) -> Result<(), Error> {
        let parameters: Params<'_> = &[(":meeting_id", &self.meeting_id), (":host_id", &self.host_id)];
        run(conn, &SAVE_HOST, parameters)?;
        self.save(conn)
    }

    /// Writes the state back, except the host.
    pub fn save(&self, conn: &Connection) -> Result<(), Error> {
        run(
            conn,
            &SAVE,
            &[
                (":meeting_id", &self.meeting_id),
                (":status", &self.status),
                (":listed_checksum", &self.listed_checksum),
                (":shown_checksum", &self.shown_checksum),
                (":fetched_for", &self.fetched_for),
                (":detail_checksum", &self.detail_checksum),
                (":document_checksum", &self.document_checksum),
                (":indexed_checksum", &self.indexed_checksum),
                (":rejected_checksum", &self.rejected_checksum),
                (":revision", &self.revision),
                (":sessions", &self.sessions),
                (":reconciled", &self.reconciled),
                (":fetched_at", &self.fetched_at),
                (":indexed_at", &self.indexed_at),
                (":attempts", &self.attempts),
                (":last_attempt_run", &self.last_attempt_run),
                (":failure", &self.failure),
                (":look_again_step", &self.look_again_step),
                (":look_again_at", &self.look_again_at),
                (":incomplete", &self.incomplete),
                (":doubt", &self.doubt),
                (":source", &self.source),
                (":index_year", &self.index_year),
                (":occurrence_id", &self.occurrence_id),
            ],
        )?;
        Ok(())
    }

    /// Sets new documents: their checksum, a revision above every earlier one, and the resulting status. Documents that were already acknowledged
    /// are not due.
    pub fn put_document(&mut self, event: Event, document: Checksum, now: DateTime<Utc>) {
        // The meeting is dead because these documents were rejected, but they have changed now.
        let rejected = self.status == Status::Dead
            && self.rejected_checksum.is_some()
            && self.rejected_checksum == self.document_checksum
            && self.rejected_checksum.as_ref() != Some(&document);
        self.status = if rejected && event == Event::DocumentsDue {
            Status::Fetched
        } else {
            self.status.next(event)
        };
        if self.document_checksum.as_ref() != Some(&document) {
            self.raise_revision(now);
        }
        if self.status == Status::Fetched {
            // Fetched means due. Documents that were rejected once and come again from a new detail are tried again.
            self.rejected_checksum = None;
            if self.indexed_checksum.as_ref() == Some(&document) {
                self.status = self.status.next(Event::Acknowledged);
            }
        }
        self.document_checksum = Some(document);
    }

    /// The checksum of what the documents would be built from now. `None` without a kept detail.
    pub fn document(&self) -> Option<Checksum> {
        let detail = self.detail_checksum.as_ref()?;
        Some(Kept::document_checksum(
            &self.listed_checksum,
            &self.shown_checksum,
            detail,
            self.host_id.as_ref(),
            self.occurrence_id.as_ref(),
        ))
    }

    /// Updates the documents to what they are built from, if there is a kept detail.
    pub fn documents_follow(&mut self, event: Event, now: DateTime<Utc>) {
        if let Some(document) = self.document() {
            self.put_document(event, document, now);
        }
    }

    /// Records that the documents changed but the detail did not. They become due. If a new detail is due, it stays due.
    pub fn documents_are_others(&mut self, now: DateTime<Utc>) {
        if self.detail_kept() {
            self.documents_follow(Event::DocumentsDue, now);
        } else if self.document_checksum.is_some() {
            self.document_checksum = self.document();
            self.raise_revision(now);
        }
    }

    /// Raises the revision above the previous one.
    pub fn raise_revision(&mut self, now: DateTime<Utc>) {
        self.revision = next_revision(self.revision, now);
    }

    /// Whether the kept detail was fetched for what the listing says now.
    pub fn detail_kept(&self) -> bool {
        self.fetched_for.as_ref() == Some(&self.listed_checksum)
    }

    /// When it ended, if that is known.
    pub fn ended_at(&self) -> Option<DateTime<Utc>> {
        self.end_time.as_deref().and_then(from_iso)
    }

    /// Whether no look is left.
    pub fn is_at_last_look(&self) -> bool {
        usize::try_from(self.look_again_step).is_ok_and(|step| step >= LOOK_AGAIN.len())
    }

    /// Schedules the next look, if one is left. Returns its time.
    pub fn look_again(&mut self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let step = usize::try_from(self.look_again_step).unwrap_or(LOOK_AGAIN.len());
        let at = LOOK_AGAIN.get(step).map(|delay| now + *delay);
        self.look_again_at = at.map(iso);
        if at.is_some() {
            self.look_again_step += 1;
        }
        at
    }

    /// Records a failed attempt at the detail. `counts` tells whether it counts against the meeting's limit of attempts. If the kept detail is for
    /// what the listing says now, the meeting keeps its status: the failed attempt uses up one look.
    pub fn attempt_failed(&mut self, run: i64, reason: &str, counts: bool, now: DateTime<Utc>) {
        if self.detail_kept() && !matches!(self.status, Status::Failed | Status::Dead) {
            if !counts {
                return;
            }
            let next = self.look_again(now);
            self.incomplete = next.is_none();
            self.doubt.get_or_insert_with(|| reason.to_owned());
        } else {
            self.attempts += i64::from(counts);
            let last_attempt = self.attempts >= ATTEMPTS;
            self.status = self.status.next(Event::FetchFailed { last_attempt });
            self.look_again_at = None;
        }
        self.failure = Some(reason.to_owned());
        self.last_attempt_run = Some(run);
    }
}

/// The current millisecond, but always above the previous revision. A clock that was set back must not make documents older than those already
/// sent.
pub(super) fn next_revision(before: i64, now: DateTime<Utc>) -> i64 {
    Ord::max(now.timestamp_millis(), before + 1)
}
