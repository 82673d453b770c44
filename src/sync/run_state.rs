//! What the workers of a run share: the catalog, the clock, the counts, and whether requests to Zoom may still be made.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::{Ending, Error, Observer, Progress};
use crate::{
    catalog::{self, Catalog, PackedKind, RunId, Tally},
    model::{Clock, Disposition, ForgottenKind, Host, ListedMeeting, Window},
    privacy::{Policy, Screen, nameless},
    zoom,
};

/// How many listing rows the compression dictionary is trained on. A page with fewer rows is not used for it.
const LISTING_SAMPLES: usize = 100;

/// What the workers of a run share.
pub(super) struct RunState<'a> {
    pub catalog: &'a mut Catalog,
    pub run: RunId,
    pub observer: &'a dyn Observer,
    pub tally: Tally,
    /// The privacy screen that every row passes before it is stored.
    pub screen: Arc<Screen>,
    clock: Clock,
    stop: Option<(Ending, String)>,
    /// Failed requests for windows, hosts or series: they belong to no meeting, so no row records them.
    problems: Vec<String>,
    /// Whether a listing failed, so that days are missing.
    pub days_are_missing: bool,
}

impl<'a> RunState<'a> {
    pub fn new(
        catalog: &'a mut Catalog,
        run: RunId,
        policy: Policy,
        clock: Clock,
        observer: &'a dyn Observer,
    ) -> Result<Self, Error> {
        Ok(Self {
            screen: Arc::new(Screen::new(policy, catalog.forgotten()?)),
            catalog,
            run,
            observer,
            tally: Tally::default(),
            clock,
            stop: None,
            problems: Vec::new(),
            days_are_missing: false,
        })
    }

    pub fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// Reports a note to the observer.
    pub fn note(&self, message: &str) {
        self.observer.see(Progress::Note(message));
    }

    /// Reports a problem to the observer, and counts it as failed.
    pub fn problem(&mut self, message: String) {
        self.tally.failed += 1;
        self.observer.see(Progress::Problem(&message));
        self.problems.push(message);
    }

    /// Handles a failed request that belongs to no meeting: stops the run's requests, or reports a problem.
    pub fn lookup_failed(&mut self, what: &str, error: &zoom::Error) {
        match error.disposition() {
            Disposition::Stop => self.stop_for(error),
            Disposition::Retry { .. } | Disposition::Skip => self.problem(format!("{what}: {error}")),
        }
    }

    /// Records that Zoom did not list a window.
    pub fn window_failed(&mut self, window: Window, error: &zoom::Error) {
        match error.disposition() {
            Disposition::Stop => self.stop_for(error),
            Disposition::Retry { .. } => {
                self.days_are_missing = true;
                // Reported once, by the message of the run.
                self.tally.failed += 1;
                let message = format!("Zoom did not list {window}: {error}");
                self.stop(Ending::StoppedEarly { come_back_at: None }, message);
            }
            Disposition::Skip => {
                self.days_are_missing = true;
                self.problem(format!("{window} could not be listed: {error}"));
            }
        }
    }

    pub fn is_stopped(&self) -> bool {
        self.stop.is_some()
    }

    /// Makes no further requests to Zoom. Requests in flight still finish, and publishing goes on.
    pub fn stop(&mut self, ending: Ending, message: String) {
        if self.stop.is_none() {
            self.observer.see(Progress::Problem(&message));
            self.stop = Some((ending, message));
        }
    }

    /// Makes no further requests to Zoom, after an error that every later request would meet as well.
    pub fn stop_for(&mut self, error: &zoom::Error) {
        let ending = match error {
            zoom::Error::DailyQuota { resets_at } | zoom::Error::ShareSpent { resets_at } => {
                Ending::StoppedEarly {
                    come_back_at: Some(*resets_at),
                }
            }
            _ => Ending::Misconfigured,
        };
        self.stop(ending, error.to_string());
    }

    /// How the run ended, with the reason. Zoom's error comes first, then Elasticsearch's, then failed items.
    pub fn ending(
        &mut self,
        publishing: Option<(Ending, String)>,
        troubled: u64,
    ) -> (Ending, Option<String>) {
        if let Some((ending, message)) = self.stop.take().or(publishing) {
            return (ending, Some(message));
        }
        if self.tally.failed == 0 && troubled == 0 {
            return (Ending::Done, None);
        }
        let message = self.problems.first().cloned();
        let message = message.unwrap_or_else(|| {
            format!("{troubled} meetings failed or are dead: see `zoom-harvester status`")
        });
        (Ending::Incomplete, Some(message))
    }

    /// Trains the compression dictionary of listings, once in a catalog's life.
    pub fn learn_listings(&mut self, meetings: &[ListedMeeting]) -> Result<(), Error> {
        if !self.catalog.wants_samples(PackedKind::Listing) || meetings.len() < LISTING_SAMPLES {
            return Ok(());
        }
        let samples: Vec<_> = meetings
            .iter()
            .take(LISTING_SAMPLES)
            .map(|meeting| nameless(meeting.row.view()))
            .collect();
        if let Ok(dictionary) = catalog::train(&samples) {
            let now = self.now();
            self.catalog.adopt(PackedKind::Listing, dictionary, now)?;
        }
        Ok(())
    }

    /// Screens a host. A host who is forgotten by email is also remembered by id, because a list of series names the host by id only.
    pub fn screen_host(&mut self, host: &mut Host) -> Result<(), Error> {
        if self.screen.host(host) && !self.screen.is_forgotten_host(&host.host_id) {
            let digest = self.screen.digest(ForgottenKind::Host, host.host_id.as_str());
            let now = self.now();
            self.catalog.remember(ForgottenKind::Host, &digest, now)?;
            Arc::make_mut(&mut self.screen).remember(ForgottenKind::Host, digest);
        }
        Ok(())
    }
}
