//! The worker that publishes: meet the indices, leave our mark, learn what a strange index holds, send what is due.

use std::{collections::HashSet, sync::Arc};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::task::spawn_blocking;

use super::{Ending, Error, Progress, run_state::RunState};
use crate::{
    catalog::{self, Acknowledgement, IndexRecord, Stored, Trust},
    elastic::{self, Elastic, LiveIndices},
    model::{Deletion, Disposition, IndexKind, Kept, MeetingUuid, Outcome, SessionId},
};

/// Meetings in a batch, and their payload before compression: what bounds the memory of a run.
pub(super) const BATCH: (u64, usize) = (500, 2 << 20);

/// Batches at once: while the meetings of one wait for their sessions to be acknowledged, the sessions of the next are on their way. The
/// adapter bounds the requests of all of them together.
pub(super) const BATCHES_AT_ONCE: usize = 2;

/// Documents deleted at once: they are ids only.
const DELETIONS: u64 = 5_000;

/// While details still arrive, so many meetings are waited for before the next batch: fewer, fuller requests.
const WORTH_SENDING: u64 = 250;

/// So many at least: the last few wait for the end of the harvest, which is near by then.
const LEAST_WORTH_SENDING: u64 = 32;

/// What to ask Elasticsearch.
pub(super) enum Ask {
    /// Which indices there are; those that are missing are made.
    Meet,
    /// To carry our mark.
    Mark(Box<LiveIndices>, String),
    /// To delete the documents of what was forgotten.
    Erase(Box<LiveIndices>, Vec<Deletion>),
    /// Which sessions it holds of these meetings.
    SessionsOf(Vec<MeetingUuid>),
    /// To take these documents.
    Publish(Box<LiveIndices>, Vec<Stored>),
}

/// What came back.
pub(super) enum Answer {
    Met(Result<LiveIndices, elastic::Error>),
    Marked(Box<LiveIndices>, String, Result<(), elastic::Error>),
    Erased(Vec<Deletion>, elastic::Report),
    Held(
        Vec<MeetingUuid>,
        Result<Vec<(MeetingUuid, SessionId)>, elastic::Error>,
    ),
    Published(Vec<Acknowledgement>, elastic::Report),
    /// A kept detail could not be read back.
    Unreadable(catalog::Error),
    /// The job was lost: the runtime is ending.
    Broken,
}

/// Asks.
pub(super) async fn answer(elastic: &Elastic, ask: Ask) -> Answer {
    match ask {
        Ask::Meet => Answer::Met(elastic.ensure().await.and_then(LiveIndices::of_our_types)),
        Ask::Mark(live, stamp) => {
            let marked = elastic.write_stamp(&live, &stamp).await;
            Answer::Marked(live, stamp, marked)
        }
        Ask::Erase(live, deletions) => {
            let (erased, report) = elastic.erase(&live, &deletions).await;
            Answer::Erased(erased, report)
        }
        Ask::SessionsOf(meetings) => {
            let held = elastic.sessions_of(&meetings).await;
            Answer::Held(meetings, held)
        }
        Ask::Publish(live, batch) => {
            let sent = batch.iter().map(acknowledgement).collect();
            match spawn_blocking(move || opened(batch)).await {
                Ok(Ok(kept)) => Answer::Published(sent, elastic.publish(&live, Arc::new(kept)).await),
                Ok(Err(error)) => Answer::Unreadable(error),
                Err(_) => Answer::Broken,
            }
        }
    }
}

/// Decompresses what is kept.
pub(super) fn opened(batch: Vec<Stored>) -> Result<Vec<Kept>, catalog::Error> {
    batch.into_iter().map(Stored::open).collect()
}

/// What an acknowledgement of these documents will say.
pub(super) fn acknowledgement(stored: &Stored) -> Acknowledgement {
    Acknowledgement {
        uuid: stored.uuid.clone(),
        document_checksum: stored.document_checksum.clone(),
        deleted: stored.lost_sessions.clone(),
    }
}

/// The indices as the catalog records them.
pub(super) fn records(live: &LiveIndices) -> [IndexRecord; 2] {
    [
        (IndexKind::Meetings, &live.meetings),
        (IndexKind::Sessions, &live.sessions),
    ]
    .map(|(kind, state)| IndexRecord {
        kind,
        name: state.index.clone(),
        uuid: state.uuid.clone(),
        created: state.created,
        stamp: state.stamp.clone(),
    })
}

/// The worker that publishes.
pub(super) struct Publisher {
    stage: Stage,
    /// Steps under way. All but sending go alone.
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

#[derive(Debug)]
enum Stage {
    /// There is no Elasticsearch to publish to.
    Off,
    /// The indices have not been looked at.
    Unmet,
    /// They are known.
    Met(Box<LiveIndices>),
    /// They carry this run's mark: now documents may go.
    Marked(Box<LiveIndices>),
    /// Not again before the end of the run.
    Down,
}

impl Publisher {
    pub fn new(on: bool) -> Self {
        Self {
            stage: if on { Stage::Unmet } else { Stage::Off },
            under_way: 0,
            sending: HashSet::new(),
            kept: WORTH_SENDING,
            trouble: None,
            tried_last: false,
            sent: Sent::default(),
        }
    }

    /// Details were kept.
    pub fn kept(&mut self, details: usize) {
        self.kept += details as u64;
    }

    /// What kept publishing from its end, if anything did.
    pub fn trouble(&self) -> Option<(Ending, String)> {
        self.trouble.clone()
    }

    /// Whether to knock once more at the end of the run, after trouble earlier.
    pub fn last_try(&mut self) -> bool {
        let again = matches!(self.stage, Stage::Down) && !self.tried_last;
        if again {
            self.tried_last = true;
            self.stage = Stage::Unmet;
        }
        again
    }

    /// The next step, if there is one and its turn has come. `left`: while there is harvesting, the details still to come. Small batches wait
    /// then, but the fewer are left the smaller they may be, so that the last one goes as the last details arrive.
    pub fn next(&mut self, state: &mut RunState<'_>, left: Option<u64>) -> Result<Option<Ask>, Error> {
        let most = match &self.stage {
            Stage::Off | Stage::Down => return Ok(None),
            Stage::Unmet | Stage::Met(_) => 1,
            Stage::Marked(_) => BATCHES_AT_ONCE,
        };
        if self.under_way >= most {
            return Ok(None);
        }
        if left.is_some_and(|left| self.kept < left.clamp(LEAST_WORTH_SENDING, WORTH_SENDING))
            && !matches!(self.stage, Stage::Unmet)
        {
            return Ok(None);
        }
        let ask = self.step(state, left.is_some())?;
        self.under_way += usize::from(ask.is_some());
        Ok(ask)
    }

    fn step(&mut self, state: &mut RunState<'_>, harvesting: bool) -> Result<Option<Ask>, Error> {
        let (live, marked) = match &self.stage {
            Stage::Off | Stage::Down => return Ok(None),
            Stage::Unmet => return Ok(Some(Ask::Meet)),
            Stage::Met(live) => (live, false),
            Stage::Marked(live) => (live, true),
        };
        let alone = self.under_way == 0;
        let deletions = state.catalog.doomed_documents(DELETIONS)?;
        if marked && !deletions.is_empty() {
            return Ok(alone.then(|| Ask::Erase(live.clone(), deletions)));
        }
        // Those whose host is still being asked for would be sent twice.
        let batch = state
            .catalog
            .due_documents(harvesting, &self.sending, BATCH.0, BATCH.1)?;
        if batch.is_empty() && deletions.is_empty() {
            self.kept = 0;
            return Ok(None);
        }
        if !marked {
            // Before the first document, so that an older copy of this catalog, put back one day, can see that it is older.
            let stamp = state.catalog.new_stamp(state.run, state.now())?;
            state.catalog.note_pending_stamp(&stamp)?;
            return Ok(Some(Ask::Mark(live.clone(), stamp)));
        }
        let strange = state.catalog.unreconciled(BATCH.0)?;
        if !strange.is_empty() {
            return Ok(alone.then(|| Ask::SessionsOf(strange)));
        }
        self.kept = self.kept.saturating_sub(batch.len() as u64);
        // From here on the index may hold these documents, whatever the answer will be.
        state
            .catalog
            .note_sending(batch.iter().map(|stored| &stored.uuid))?;
        self.sending
            .extend(batch.iter().map(|stored| stored.uuid.clone()));
        Ok(Some(Ask::Publish(live.clone(), batch)))
    }

    /// What came of it; answers whether the days within reach have to be listed again.
    pub fn told(&mut self, state: &mut RunState<'_>, answer: Answer) -> Result<bool, Error> {
        self.under_way -= 1;
        match answer {
            Answer::Met(Ok(live)) => {
                self.trouble = None;
                let now = state.now();
                let trust = state.catalog.meet_indices(&records(&live), now)?;
                self.stage = Stage::Met(Box::new(live));
                match trust {
                    Trust::Same => {}
                    Trust::Replaced => state.note(
                        "the indices are not those that were filled before: filling them again from the catalog",
                    ),
                    Trust::WrittenByAnother => state.note(
                        "another catalog, or a newer copy of this one, wrote to the indices: listing again and publishing \
                         everything that is kept (whoever was forgotten there is not forgotten here: run `forget` again)",
                    ),
                }
                return Ok(trust == Trust::WrittenByAnother);
            }
            Answer::Marked(live, stamp, Ok(())) => {
                state.catalog.note_stamp(&stamp)?;
                self.stage = Stage::Marked(live);
            }
            Answer::Held(asked, Ok(held)) => state.catalog.reconcile(&asked, &held)?,
            Answer::Published(sent, report) => self.published(state, sent, report)?,
            Answer::Erased(erased, report) => {
                self.sent.add(&report);
                state.catalog.acknowledge_deletions(&erased)?;
                if let Some(error) = &report.error {
                    self.down(state, error);
                }
            }
            Answer::Met(Err(error)) | Answer::Marked(_, _, Err(error)) | Answer::Held(_, Err(error)) => {
                self.down(state, &error);
            }
            Answer::Unreadable(error) => return Err(error.into()),
            Answer::Broken => {}
        }
        Ok(false)
    }

    fn published(
        &mut self,
        state: &mut RunState<'_>,
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
            self.down(state, error);
        }
        let due = state.catalog.count_due_documents()?;
        state.observer.see(Progress::Published {
            due,
            tally: &state.tally,
        });
        Ok(())
    }

    fn down(&mut self, state: &RunState<'_>, error: &elastic::Error) {
        self.stage = Stage::Down;
        self.trouble = Some((ending(error, state.now()), error.to_string()));
        if !self.tried_last {
            state.observer.see(Progress::Problem(&format!(
                "{error}; what is due waits in the catalog"
            )));
        }
    }
}

/// How a run ends that this kept from publishing.
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

/// What was sent, by what became of it. What is in neither list is still due.
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
