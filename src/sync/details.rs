//! The worker of details: chooses which to fetch, keeps them, and handles failed attempts.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

use chrono::{DateTime, Utc};

use super::{Ending, Error, Progress, run_state::RunState};
use crate::{
    catalog::{self, Catalog, DetailOutcome, Dictionary, Due, Packed, PackedKind, Packer},
    model::{Disposition, MeetingUuid, Row},
    privacy::{Screen, nameless},
    zoom::{self, Fetched},
};

/// This many failures in a row, without a success in between, mean that Zoom itself fails, not single meetings.
const FAILURES_TO_STOP: usize = 8;

/// How often one run fetches a detail at most. Usually once; again if its listing changes during the run, and if it is doubted after 10 minutes,
/// one hour and so on. Beyond this the run makes no progress, and would use up the quota for nothing.
const FETCHES_IN_A_RUN: u8 = 8;

/// How many rows the dictionary of details is trained on, and how many each detail gives: the rows of one meeting are very similar.
const SAMPLES: usize = 400;
const SAMPLES_A_DETAIL: usize = 4;

/// The answer of a job.
pub(super) enum Answer {
    Fetched(Due, Result<Fetched, zoom::Error>),
    Packed(Vec<(Due, Result<Packed, catalog::Error>)>, Vec<Row>),
    Learned(Result<Dictionary, catalog::Error>),
    /// The job was lost: the runtime is ending.
    Broken,
}

/// CPU work for a blocking thread.
pub(super) enum Work {
    /// Puts details in order, screens, hashes and compresses them.
    Pack {
        fetched: Vec<(Due, Fetched)>,
        screen: Arc<Screen>,
        packer: Arc<Packer>,
        sample: bool,
    },
    /// Trains the compression dictionary of details.
    Learn(Vec<Row>),
}

impl Work {
    /// Does the work.
    pub fn done(self) -> Answer {
        match self {
            Self::Learn(samples) => Answer::Learned(catalog::train(&samples)),
            Self::Pack {
                fetched,
                screen,
                packer,
                sample,
            } => {
                let mut samples = Vec::new();
                let packed = fetched
                    .into_iter()
                    .map(|(due, fetched)| {
                        let source = fetched.source;
                        let detail = screen.detail(fetched.into_detail());
                        if sample {
                            samples.extend(detail.rows().take(SAMPLES_A_DETAIL).map(nameless));
                        }
                        let packed = packer.pack(&detail, &due.listed_checksum);
                        let packed = packed.map(|packed| packed.from(source));
                        (due, packed)
                    })
                    .collect();
                Answer::Packed(packed, samples)
            }
        }
    }
}

/// The worker of details.
pub(super) struct Details {
    concurrency: usize,
    ready: VecDeque<Due>,
    under_way: HashSet<MeetingUuid>,
    /// How often each detail was fetched in this run.
    fetches: HashMap<MeetingUuid, u8>,
    /// Whether the catalog may have more details due than those that are ready.
    stale: bool,
    /// How many details are still due, for the observer and the publisher: counted after each listing, then counted down.
    due: u64,
    /// Details fetched and waiting to be packed. Those that wait together are kept in one transaction.
    fetched: Vec<(Due, Fetched)>,
    packing: bool,
    samples: Vec<Row>,
    learning: Learning,
    /// Failed attempts. The cause may be an outage of Zoom or a fault of the meeting: the next answers decide.
    undecided: Vec<(MeetingUuid, String)>,
    /// Whether Zoom answered with a detail in this run.
    answered: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Learning {
    Collecting,
    UnderWay,
    Ended,
}

impl Details {
    pub fn new(concurrency: usize) -> Self {
        Self {
            concurrency,
            ready: VecDeque::new(),
            under_way: HashSet::new(),
            fetches: HashMap::new(),
            stale: true,
            due: 0,
            fetched: Vec::new(),
            packing: false,
            samples: Vec::new(),
            learning: Learning::Collecting,
            undecided: Vec::new(),
            answered: false,
        }
    }

    /// Whether details are under way.
    pub fn is_busy(&self) -> bool {
        !self.under_way.is_empty()
    }

    /// About how many are still due.
    pub fn due(&self) -> u64 {
        self.due
    }

    /// Looks for due details again, after listings were recorded.
    pub fn look_again(&mut self, catalog: &Catalog, now: DateTime<Utc>) -> Result<(), catalog::Error> {
        self.stale = true;
        self.due = catalog.count_due_details(now)?;
        Ok(())
    }

    /// The detail to fetch next, if one is due and a slot is free.
    pub fn next_fetch(&mut self, state: &mut RunState<'_>) -> Result<Option<Due>, Error> {
        if self.under_way.len() >= self.concurrency {
            return Ok(None);
        }
        if self.ready.is_empty() && self.stale {
            let held = self.under_way.len() + self.undecided.len();
            let limit = (held + 2 * self.concurrency) as u64;
            let due = state.catalog.due_details(state.run, state.now(), limit)?;
            self.ready.extend(due.into_iter().filter(|due| {
                !self.under_way.contains(&due.uuid)
                    && !self.undecided.iter().any(|(uuid, _)| *uuid == due.uuid)
            }));
            self.stale = !self.ready.is_empty();
        }
        let Some(due) = self.ready.pop_front() else {
            return Ok(None);
        };
        let fetches = self.fetches.entry(due.uuid.clone()).or_default();
        if *fetches >= FETCHES_IN_A_RUN {
            let message = format!(
                "meeting {} was fetched {FETCHES_IN_A_RUN} times in this run and is due again: this is a bug; please report it",
                due.uuid
            );
            state.stop(Ending::StoppedEarly { come_back_at: None }, message);
            return Ok(None);
        }
        *fetches += 1;
        self.under_way.insert(due.uuid.clone());
        Ok(Some(due))
    }

    /// The next CPU work, one piece at a time, so that memory stays bounded. Details that arrive meanwhile are packed together.
    pub fn next_work(&mut self, state: &RunState<'_>) -> Option<Work> {
        if self.learning == Learning::Collecting && self.samples.len() >= SAMPLES {
            self.learning = Learning::UnderWay;
            return Some(Work::Learn(std::mem::take(&mut self.samples)));
        }
        if self.packing || self.fetched.is_empty() {
            return None;
        }
        self.packing = true;
        Some(Work::Pack {
            fetched: std::mem::take(&mut self.fetched),
            screen: Arc::clone(&state.screen),
            packer: state.catalog.packer(),
            sample: self.learning == Learning::Collecting && state.catalog.wants_samples(PackedKind::Detail),
        })
    }

    /// Handles the answer of a job. Returns how many details were kept.
    pub fn handle_answer(&mut self, state: &mut RunState<'_>, answer: Answer) -> Result<usize, Error> {
        match answer {
            Answer::Fetched(due, Ok(fetched)) => {
                self.answered = true;
                self.fetched.push((due, fetched));
                self.decide_failures(state)?;
                Ok(0)
            }
            Answer::Fetched(due, Err(error)) => {
                self.under_way.remove(&due.uuid);
                self.failed(state, due, &error)?;
                self.count_down(state, 1);
                Ok(0)
            }
            Answer::Packed(packed, samples) => {
                self.packing = false;
                self.samples.extend(samples);
                self.keep(state, packed)
            }
            Answer::Learned(dictionary) => {
                self.learning = Learning::Ended;
                match dictionary {
                    Ok(dictionary) => {
                        let now = state.now();
                        state.catalog.adopt(PackedKind::Detail, dictionary, now)?;
                    }
                    // Without a dictionary, details only take more space.
                    Err(error) => tracing::debug!(%error, "no dictionary could be learned"),
                }
                Ok(0)
            }
            Answer::Broken => Ok(0),
        }
    }

    fn keep(
        &mut self,
        state: &mut RunState<'_>,
        packed: Vec<(Due, Result<Packed, catalog::Error>)>,
    ) -> Result<usize, Error> {
        let packed: Vec<Packed> = packed
            .into_iter()
            .map(|(due, packed)| {
                self.under_way.remove(&due.uuid);
                packed
            })
            .collect::<Result<_, _>>()?;
        let now = state.now();
        let outcomes = state.catalog.keep(state.run, &packed, now)?;
        let mut kept = 0;
        for (packed, outcome) in packed.iter().zip(outcomes) {
            match outcome {
                DetailOutcome::Kept { sessions, .. } => {
                    kept += 1;
                    state.tally.details += 1;
                    state.tally.sessions += sessions as u64;
                }
                DetailOutcome::SuspiciousShrink { sessions, kept } => {
                    state.tally.failed += 1;
                    state.observer.see(Progress::Problem(&format!(
                        "meeting {}: suspicious shrink: Zoom answered {sessions} sessions and counts more; the {kept} that are kept stay",
                        packed.uuid
                    )));
                }
            }
        }
        self.count_down(state, packed.len() as u64);
        Ok(kept)
    }

    fn count_down(&mut self, state: &RunState<'_>, ended: u64) {
        self.due = self.due.saturating_sub(ended);
        state.observer.see(Progress::Fetched {
            due: self.due,
            tally: &state.tally,
        });
    }

    fn failed(&mut self, state: &mut RunState<'_>, due: Due, error: &zoom::Error) -> Result<(), Error> {
        let now = state.now();
        if let zoom::Error::NotFound { .. } | zoom::Error::TooOld { .. } = error {
            state
                .catalog
                .detail_gone(state.run, &due.uuid, &error.to_string(), now)?;
            return self.decide_failures(state);
        }
        match error.disposition() {
            Disposition::Stop => state.stop_for(error),
            Disposition::Skip => {
                attempt_failed(state, &due.uuid, &error.to_string(), true)?;
                self.decide_failures(state)?;
            }
            Disposition::Retry { .. } => {
                self.undecided.push((due.uuid, error.to_string()));
                if self.undecided.len() >= FAILURES_TO_STOP {
                    self.decide_failures(state)?;
                    let message = format!("Zoom failed {FAILURES_TO_STOP} times in a row, last: {error}");
                    state.stop(Ending::StoppedEarly { come_back_at: None }, message);
                }
            }
        }
        Ok(())
    }

    /// Decides whether the undecided failures count as attempts. If Zoom answered for other meetings in this run, a failure is the meeting's own and
    /// counts. While Zoom is down nothing counts, or a long outage would make meetings dead.
    pub fn decide_failures(&mut self, state: &mut RunState<'_>) -> Result<(), Error> {
        let ill = self.undecided.len() >= FAILURES_TO_STOP && !self.answered;
        for (uuid, reason) in std::mem::take(&mut self.undecided) {
            attempt_failed(state, &uuid, &reason, !ill)?;
        }
        Ok(())
    }
}

fn attempt_failed(
    state: &mut RunState<'_>,
    uuid: &MeetingUuid,
    reason: &str,
    counts: bool,
) -> Result<(), Error> {
    state.tally.failed += 1;
    state
        .observer
        .see(Progress::Problem(&format!("meeting {uuid}: {reason}")));
    let now = state.now();
    Ok(state
        .catalog
        .detail_failed(state.run, uuid, reason, counts, now)?)
}
