//! The worker that publishes: checks the indices, writes this catalog's mark into them, reads what an unknown index holds, and sends what is due.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::task::spawn_blocking;

use super::{Ending, Error, Progress, run_state::RunState, years::dropped};
use crate::{
    catalog::{self, Acknowledgement, IndexIdentity, IndexRecord, Stored},
    elastic::{self, Elastic, LiveIndices},
    model::{Deletion, Disposition, IndexKind, IndexYear, Kept, MeetingUuid, Outcome, SessionId},
};

/// The limits of a batch: meetings, and bytes of their payload before compression. They bound the memory of a run.
pub(super) const BATCH: (u64, usize) = (500, 2 << 20);

/// Batches in parallel. While the meetings of one wait for the acknowledgement of their sessions, the sessions of the next are sent. The adapter
/// bounds the requests of all batches together.
pub(super) const BATCHES_AT_ONCE: usize = 2;

/// Documents deleted at once. A deletion is only an id.
const DELETIONS: u64 = 5_000;

/// While details still arrive, a batch waits until this many meetings are due: fewer and fuller requests.
const WORTH_SENDING: u64 = 250;

/// The smallest batch while details still arrive.
const LEAST_WORTH_SENDING: u64 = 32;

/// A job for Elasticsearch.
pub(super) enum Ask {
    /// Look up the indices of these years. Those of the first group are created if they are missing.
    Meet(Vec<IndexYear>, Vec<IndexYear>),
    /// Write this catalog's mark into the indices.
    Mark(Box<LiveIndices>, String),
    /// Delete these documents.
    Erase(Box<LiveIndices>, Vec<Deletion>),
    /// Read which sessions of these meetings an index holds.
    SessionsOf(Box<LiveIndices>, Vec<MeetingUuid>),
    /// Send these documents.
    Publish(Box<LiveIndices>, Vec<Stored>),
}

/// The answer to a job.
pub(super) enum Answer {
    /// By year; `None` where there is no index and none was to be created.
    Met(Vec<(IndexYear, Result<Option<LiveIndices>, elastic::Error>)>),
    Marked(Box<LiveIndices>, String, Result<(), elastic::Error>),
    Erased(IndexYear, Vec<Deletion>, elastic::Report),
    Held(
        IndexYear,
        Vec<MeetingUuid>,
        Result<Vec<(MeetingUuid, SessionId)>, elastic::Error>,
    ),
    Published(IndexYear, Vec<Acknowledgement>, elastic::Report),
    /// A kept detail could not be read back.
    Unreadable(catalog::Error),
    /// The job was lost: the runtime is ending.
    Broken,
}

/// Does the job.
pub(super) async fn answer(elastic: &Elastic, ask: Ask) -> Answer {
    match ask {
        Ask::Meet(make, look) => Answer::Met(met(elastic, make, look).await),
        Ask::Mark(live, stamp) => {
            let marked = elastic.write_stamp(&live, &stamp).await;
            Answer::Marked(live, stamp, marked)
        }
        Ask::Erase(live, deletions) => {
            let (erased, report) = elastic.erase(&live, &deletions).await;
            Answer::Erased(live.year, erased, report)
        }
        Ask::SessionsOf(live, meetings) => {
            let held = elastic.sessions_of(&live, &meetings).await;
            Answer::Held(live.year, meetings, held)
        }
        Ask::Publish(live, batch) => {
            let sent = batch.iter().map(acknowledgement).collect();
            match spawn_blocking(move || opened(batch)).await {
                Ok(Ok(kept)) => {
                    let report = elastic.publish(&live, Arc::new(kept)).await;
                    Answer::Published(live.year, sent, report)
                }
                Ok(Err(error)) => Answer::Unreadable(error),
                Err(_) => Answer::Broken,
            }
        }
    }
}

async fn met(
    elastic: &Elastic,
    make: Vec<IndexYear>,
    look: Vec<IndexYear>,
) -> Vec<(IndexYear, Result<Option<LiveIndices>, elastic::Error>)> {
    let mut all = Vec::new();
    let asked = make.into_iter().map(|year| (year, true));
    for (year, make) in asked.chain(look.into_iter().map(|year| (year, false))) {
        let found = if make {
            elastic.ensure(year).await.map(Some)
        } else {
            elastic.look(year).await
        };
        let found = found.and_then(|live| live.map(LiveIndices::of_our_types).transpose());
        let hopeless = found.as_ref().is_err_and(|error| !error.is_of_one_index());
        all.push((year, found));
        if hopeless {
            break;
        }
    }
    all
}

/// Decompresses what is kept.
pub(super) fn opened(batch: Vec<Stored>) -> Result<Vec<Kept>, catalog::Error> {
    batch.into_iter().map(Stored::open).collect()
}

/// What to record when these documents are acknowledged.
pub(super) fn acknowledgement(stored: &Stored) -> Acknowledgement {
    Acknowledgement {
        uuid: stored.uuid.clone(),
        document_checksum: stored.document_checksum.clone(),
        deleted: stored.lost_sessions.clone(),
    }
}

/// The indices of a year as the catalog records them.
pub(super) fn records(live: &LiveIndices) -> [IndexRecord; 2] {
    IndexKind::ALL.map(|kind| {
        let state = live.of(kind);
        IndexRecord {
            kind,
            year: live.year,
            name: state.index.clone(),
            uuid: state.uuid.clone(),
            created: state.created,
            stamp: state.stamp.clone(),
        }
    })
}

/// The worker that publishes.
pub(super) struct Publisher {
    phase: Phase,
    /// The indices that were looked up in this run, by year.
    years: BTreeMap<IndexYear, IndexState>,
    /// Jobs under way. Every job except sending runs alone.
    under_way: usize,
    sending: HashSet<MeetingUuid>,
    /// Details kept since the last batch.
    kept: u64,
    trouble: Option<(Ending, String)>,
    tried_last: bool,
    pub sent: Sent,
}

/// Counts of a run, for its summary.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sent {
    pub bulk_requests: u64,
    pub documents: u64,
    pub deletes: u64,
}

impl Sent {
    fn add(&mut self, report: &elastic::Report) {
        self.bulk_requests += report.bulk_requests;
        self.documents += report.documents;
        self.deletes += report.deletes;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// There is no Elasticsearch to publish to.
    Off,
    /// No index was checked yet.
    Unmet,
    /// The indices in use were checked.
    Open,
    /// Publishing failed: not tried again before the end of the run.
    Down,
}

/// The state of the indices of a year.
#[derive(Debug)]
enum IndexState {
    /// There is no index, and none was to be created.
    Absent,
    /// The indices are known.
    Met(Box<LiveIndices>),
    /// They carry this run's mark, so documents may be sent.
    Marked(Box<LiveIndices>),
    /// They refuse writes: not tried again before the end of the run.
    Closed,
}

impl Publisher {
    pub fn new(on: bool) -> Self {
        Self {
            phase: if on { Phase::Unmet } else { Phase::Off },
            years: BTreeMap::new(),
            under_way: 0,
            sending: HashSet::new(),
            kept: WORTH_SENDING,
            trouble: None,
            tried_last: false,
            sent: Sent::default(),
        }
    }

    /// Counts details that were kept: more documents are due.
    pub fn kept(&mut self, details: usize) {
        self.kept += details as u64;
    }

    /// Why publishing did not finish, if it did not.
    pub fn trouble(&self) -> Option<(Ending, String)> {
        self.trouble.clone()
    }

    /// Whether to try once more at the end of the run, after an earlier failure.
    pub fn last_try(&mut self) -> bool {
        let again = !self.tried_last && self.trouble.is_some();
        if again {
            self.tried_last = true;
            self.phase = Phase::Unmet;
            self.years.clear();
        }
        again
    }

    /// The next job, if there is one. `left` is the number of details still to come while the harvest goes on. Small batches then wait. The fewer
    /// details are left, the smaller a batch may be, so that the last one is sent as the last details arrive.
    pub fn next(&mut self, state: &mut RunState<'_>, left: Option<u64>) -> Result<Option<Ask>, Error> {
        if matches!(self.phase, Phase::Off | Phase::Down) || self.under_way >= BATCHES_AT_ONCE {
            return Ok(None);
        }
        if left.is_some_and(|left| self.kept < left.clamp(LEAST_WORTH_SENDING, WORTH_SENDING))
            && self.phase != Phase::Unmet
        {
            return Ok(None);
        }
        let ask = self.step(state, left.is_some())?;
        self.under_way += usize::from(ask.is_some());
        Ok(ask)
    }

    fn step(&mut self, state: &mut RunState<'_>, harvesting: bool) -> Result<Option<Ask>, Error> {
        let alone = self.under_way == 0;
        let closed: BTreeSet<IndexYear> = self
            .years
            .iter()
            .filter(|(_, stand)| matches!(stand, IndexState::Closed))
            .map(|(year, _)| *year)
            .collect();
        if self.phase == Phase::Unmet {
            if !alone {
                return Ok(None);
            }
            let present = state.catalog.year_at(state.now());
            let mut others = state.catalog.met_years()?;
            others.remove(&present);
            return Ok(Some(Ask::Meet(vec![present], others.into_iter().collect())));
        }
        while let Some((year, deletions)) = state.catalog.doomed_documents(DELETIONS, &closed)? {
            match self.years.get(&year) {
                _ if !alone => return Ok(None),
                None => return Ok(Some(Ask::Meet(Vec::new(), vec![year]))),
                Some(IndexState::Absent) => state.catalog.nothing_to_delete_in(year)?,
                Some(IndexState::Met(live)) => return mark(state, live).map(Some),
                Some(IndexState::Marked(live)) => return Ok(Some(Ask::Erase(live.clone(), deletions))),
                Some(IndexState::Closed) => break,
            }
        }
        // A document whose host is still being looked up would be sent twice.
        let batch = state
            .catalog
            .due_documents(harvesting, &self.sending, &closed, BATCH.0, BATCH.1)?;
        let Some(year) = batch.first().map(|stored| stored.year) else {
            self.kept = 0;
            return Ok(None);
        };
        let live = match self.years.get(&year) {
            Some(IndexState::Marked(live)) => live.clone(),
            _ if !alone => return Ok(None),
            None | Some(IndexState::Absent | IndexState::Closed) => {
                return Ok(Some(Ask::Meet(vec![year], Vec::new())));
            }
            Some(IndexState::Met(live)) => return mark(state, live).map(Some),
        };
        let moved: Vec<MeetingUuid> = batch
            .iter()
            .filter(|stored| stored.elsewhere)
            .map(|stored| stored.uuid.clone())
            .collect();
        if !moved.is_empty() {
            let now = state.now();
            state.catalog.move_to_year(&moved, year, now)?;
            // Their documents in the old index are deleted first, so that no search finds them twice.
            return self.step(state, harvesting);
        }
        let strange = state.catalog.unreconciled(year, BATCH.0)?;
        if !strange.is_empty() {
            return Ok(alone.then(|| Ask::SessionsOf(live, strange)));
        }
        self.kept = self.kept.saturating_sub(batch.len() as u64);
        // From here on the index may hold these documents, whatever the answer will be.
        state
            .catalog
            .note_sending(year, batch.iter().map(|stored| &stored.uuid))?;
        self.sending
            .extend(batch.iter().map(|stored| stored.uuid.clone()));
        Ok(Some(Ask::Publish(live, batch)))
    }

    /// Handles the answer of a job. Returns whether all days within reach have to be listed again.
    pub fn handle_answer(&mut self, state: &mut RunState<'_>, answer: Answer) -> Result<bool, Error> {
        self.under_way -= 1;
        match answer {
            Answer::Met(found) => return self.met(state, found),
            Answer::Marked(live, stamp, Ok(())) => {
                state.catalog.note_stamp(live.year, &stamp)?;
                self.years.insert(live.year, IndexState::Marked(live));
            }
            Answer::Marked(live, _, Err(error)) => self.down(state, live.year, &error),
            Answer::Held(_, asked, Ok(held)) => state.catalog.reconcile(&asked, &held)?,
            Answer::Held(year, _, Err(error)) => self.down(state, year, &error),
            Answer::Published(year, sent, report) => self.published(state, year, sent, report)?,
            Answer::Erased(year, erased, report) => {
                self.sent.add(&report);
                state.catalog.acknowledge_deletions(year, &erased)?;
                if let Some(error) = &report.error {
                    self.down(state, year, error);
                }
            }
            Answer::Unreadable(error) => return Err(error.into()),
            Answer::Broken => {}
        }
        Ok(false)
    }

    fn met(
        &mut self,
        state: &mut RunState<'_>,
        found: Vec<(IndexYear, Result<Option<LiveIndices>, elastic::Error>)>,
    ) -> Result<bool, Error> {
        let opening = self.phase == Phase::Unmet;
        let mut met_before = BTreeSet::new();
        if opening {
            self.phase = Phase::Open;
            self.trouble = None;
            met_before = state.catalog.met_years()?;
        }
        let (mut list_again, mut there) = (false, BTreeSet::new());
        for (year, found) in found {
            match found {
                Ok(Some(live)) => {
                    if !live.meetings.created || !live.sessions.created {
                        there.insert(year);
                    }
                    let now = state.now();
                    let trust = state.catalog.meet_indices(&records(&live), now)?;
                    self.years.insert(year, IndexState::Met(Box::new(live)));
                    match trust {
                        IndexIdentity::Same => {}
                        IndexIdentity::Replaced => state.note(
                            "the indices were replaced since the last run: filling them again from the catalog",
                        ),
                        IndexIdentity::WrittenByAnother => state.note(
                            "another catalog, or a newer copy of this one, wrote to the indices: listing again and publishing \
                             everything that is kept (whoever was forgotten there is not forgotten here: run `forget` again)",
                        ),
                    }
                    list_again |= trust == IndexIdentity::WrittenByAnother;
                }
                Ok(None) => {
                    self.years.insert(year, IndexState::Absent);
                }
                Err(error) => {
                    there.insert(year);
                    self.down(state, year, &error);
                }
            }
        }
        if opening && self.phase == Phase::Open {
            let now = state.now();
            let dropped = dropped(&met_before, &there, state.catalog.year_at(now));
            let absent = |year: &&IndexYear| matches!(self.years.get(year), Some(IndexState::Absent));
            for year in met_before.difference(&dropped).filter(absent) {
                state.catalog.refill(*year, now)?;
            }
        }
        Ok(list_again)
    }

    fn published(
        &mut self,
        state: &mut RunState<'_>,
        year: IndexYear,
        sent: Vec<Acknowledgement>,
        report: elastic::Report,
    ) -> Result<(), Error> {
        self.sent.add(&report);
        for one in &sent {
            self.sending.remove(&one.uuid);
        }
        let outcomes = Outcomes::of(sent, report.outcomes);
        for (one, reason) in outcomes.rejected {
            state.tally.failed += 1;
            state.observer.see(Progress::Problem(&format!(
                "meeting {} was rejected by Elasticsearch: {reason}",
                one.uuid
            )));
            let reason = format!("rejected by Elasticsearch: {reason}");
            state.catalog.reject(&one.uuid, &one.document_checksum, &reason)?;
        }
        let now = state.now();
        state.catalog.acknowledge(&outcomes.acknowledged, now)?;
        state.tally.published += outcomes.acknowledged.len() as u64;
        if let Some(error) = &report.error {
            self.down(state, year, error);
        }
        let due = state.catalog.count_due_documents()?;
        state.observer.see(Progress::Published {
            due,
            tally: &state.tally,
        });
        Ok(())
    }

    fn down(&mut self, state: &RunState<'_>, year: IndexYear, error: &elastic::Error) {
        if error.is_of_one_index() {
            self.years.insert(year, IndexState::Closed);
        } else {
            self.phase = Phase::Down;
        }
        self.trouble = Some((ending(error, state.now()), error.to_string()));
        if !self.tried_last {
            state.observer.see(Progress::Problem(&format!(
                "{error}; what is due waits in the catalog"
            )));
        }
    }
}

/// Requests the harvester's mark in the indices before the first document is sent. If an older copy of this catalog is restored one day, it can see
/// that it is older.
fn mark(state: &mut RunState<'_>, live: &LiveIndices) -> Result<Ask, Error> {
    let stamp = state.catalog.new_stamp(state.run, state.now())?;
    state.catalog.note_pending_stamp(live.year, &stamp)?;
    Ok(Ask::Mark(Box::new(live.clone()), stamp))
}

/// The ending of a run whose publishing failed with this error.
fn ending(error: &elastic::Error, now: DateTime<Utc>) -> Ending {
    match error.disposition() {
        Disposition::Stop => Ending::Misconfigured,
        Disposition::Skip => Ending::StoppedEarly { come_back_at: None },
        Disposition::Retry { after } => Ending::StoppedEarly {
            come_back_at: after
                .and_then(|after| TimeDelta::from_std(after).ok())
                .and_then(|after| now.checked_add_signed(after)),
        },
    }
}

/// The meetings that were sent, as acknowledged and rejected. Those in neither list are still due.
pub(super) struct Outcomes {
    pub acknowledged: Vec<Acknowledgement>,
    pub rejected: Vec<(Acknowledgement, String)>,
}

impl Outcomes {
    pub fn of(sent: Vec<Acknowledgement>, outcomes: Vec<(MeetingUuid, Outcome)>) -> Self {
        let mut outcomes: std::collections::HashMap<MeetingUuid, Outcome> = outcomes.into_iter().collect();
        let (mut acknowledged, mut rejected) = (Vec::new(), Vec::new());
        for one in sent {
            match outcomes.remove(&one.uuid) {
                Some(Outcome::Published) => acknowledged.push(one),
                Some(Outcome::Rejected { reason }) => rejected.push((one, reason)),
                None => {}
            }
        }
        Self {
            acknowledged,
            rejected,
        }
    }
}
