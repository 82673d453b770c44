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

/// When a detail that seems unfinished is fetched again, after each look; then it is accepted as incomplete.
const LOOK_AGAIN: [TimeDelta; 4] = [
    TimeDelta::minutes(10),
    TimeDelta::hours(1),
    TimeDelta::hours(6),
    TimeDelta::hours(24),
];

/// Failed attempts, one a run, before a meeting is dead. Five: a UUID that Zoom's firewall blocks for ever costs five requests.
pub(super) const ATTEMPTS: i64 = 5;

columns! {
    /// What decides about a meeting, as it stands in the catalog. Times are text, as they are stored.
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
    /// Where a meeting stands; nothing if it is not known.
    pub fn of(conn: &Connection, uuid: &MeetingUuid) -> Result<Option<Self>, Error> {
        one(conn, &READ, &[(":uuid", uuid)], Self::read)
    }

    /// Writes it back, and whose meeting it is, which [`Self::save`] leaves alone: an index and a foreign key hang on it.
    pub fn save_with_host(&self, conn: &Connection) -> Result<(), Error> {
        let parameters: Params<'_> = &[(":meeting_id", &self.meeting_id), (":host_id", &self.host_id)];
        run(conn, &SAVE_HOST, parameters)?;
        self.save(conn)
    }

    /// Writes it back.
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

    /// Puts new documents in place: their checksum, a revision above every earlier one, and the status that follows. Documents
    /// as they were acknowledged already are due no more.
    pub fn put_document(&mut self, event: Event, document: Checksum, now: DateTime<Utc>) {
        // It is dead for what its documents were, and they are others now.
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
            // Fetched means due: what was refused once, and comes again from a new detail, is tried again.
            self.rejected_checksum = None;
            if self.indexed_checksum.as_ref() == Some(&document) {
                self.status = self.status.next(Event::Acknowledged);
            }
        }
        self.document_checksum = Some(document);
    }

    /// What its documents would be built from now; nothing without a kept detail.
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

    /// The documents follow what they are built from, if there is a kept detail.
    pub fn documents_follow(&mut self, event: Event, now: DateTime<Utc>) {
        if let Some(document) = self.document() {
            self.put_document(event, document, now);
        }
    }

    /// The documents changed, and the detail did not: they become due, unless they wait for a detail that is due.
    pub fn documents_are_others(&mut self, now: DateTime<Utc>) {
        if self.detail_kept() {
            self.documents_follow(Event::DocumentsDue, now);
        } else if self.document_checksum.is_some() {
            self.document_checksum = self.document();
            self.raise_revision(now);
        }
    }

    /// A revision above the one before.
    pub fn raise_revision(&mut self, now: DateTime<Utc>) {
        self.revision = next_revision(self.revision, now);
    }

    /// Whether the kept detail is for what the listing says now.
    pub fn detail_kept(&self) -> bool {
        self.fetched_for.as_ref() == Some(&self.listed_checksum)
    }

    /// When it ended, if that is known.
    pub fn ended_at(&self) -> Option<DateTime<Utc>> {
        self.end_time.as_deref().and_then(from_iso)
    }

    /// Whether its last look was taken.
    pub fn is_at_last_look(&self) -> bool {
        usize::try_from(self.look_again_step).is_ok_and(|step| step >= LOOK_AGAIN.len())
    }

    /// It will be looked at again, if there is a look left; returns when.
    pub fn look_again(&mut self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let step = usize::try_from(self.look_again_step).unwrap_or(LOOK_AGAIN.len());
        let at = LOOK_AGAIN.get(step).map(|delay| now + *delay);
        self.look_again_at = at.map(iso);
        if at.is_some() {
            self.look_again_step += 1;
        }
        at
    }

    /// A failed attempt at its detail; `counts`: whether it is one of those that a meeting is given. A meeting whose kept detail is for what the
    /// listing says now loses nothing: its next look is the attempt that failed.
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

/// The millisecond, but always above every revision before: a clock that was set back must not make documents older than
/// those that were sent.
pub(super) fn next_revision(before: i64, now: DateTime<Utc>) -> i64 {
    Ord::max(now.timestamp_millis(), before + 1)
}
