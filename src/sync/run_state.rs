//! What the workers of a run share: the catalog, the clock, the counts, and whether Zoom may still be asked.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::{Ending, Error, Observer, Progress};
use crate::{
    catalog::{self, Catalog, PackedKind, RunId, Tally},
    model::{Clock, Disposition, ForgottenKind, Host, ListedMeeting, Window},
    privacy::{Policy, Screen, nameless},
    zoom,
};

/// Rows of a listing from which its dictionary is learned: fewer say too little of the account.
const LISTING_SAMPLES: usize = 100;

/// What the workers of a run share.
pub(super) struct RunState<'a> {
    pub catalog: &'a mut Catalog,
    pub run: RunId,
    pub observer: &'a dyn Observer,
    pub tally: Tally,
    /// What everything passes on its way in.
    pub screen: Arc<Screen>,
    clock: Clock,
    stop: Option<(Ending, String)>,
    /// Windows, hosts or series that could not be had: they belong to no meeting, so no row tells of them.
    problems: Vec<String>,
    /// Whether one of them was a listing that Zoom could not give: then days are missing.
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

    /// Something that people should know.
    pub fn note(&self, message: &str) {
        self.observer.see(Progress::Note(message));
    }

    /// Something that could not be had.
    pub fn problem(&mut self, message: String) {
        self.tally.failed += 1;
        self.observer.see(Progress::Problem(&message));
        self.problems.push(message);
    }

    /// The same, of a request whose failure leaves a gap beside the meetings.
    pub fn lookup_failed(&mut self, what: &str, error: &zoom::Error) {
        match error.disposition() {
            Disposition::Stop => self.stop_for(error),
            Disposition::Retry { .. } | Disposition::Skip => self.problem(format!("{what}: {error}")),
        }
    }

    /// A window that Zoom did not list.
    pub fn window_failed(&mut self, window: Window, error: &zoom::Error) {
        match error.disposition() {
            Disposition::Stop => self.stop_for(error),
            Disposition::Retry { .. } => {
                self.days_are_missing = true;
                // Told once: by what stops the run.
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

    /// Asks Zoom for nothing more. What is in flight still arrives, and publishing goes on.
    pub fn stop(&mut self, ending: Ending, message: String) {
        if self.stop.is_none() {
            self.observer.see(Progress::Problem(&message));
            self.stop = Some((ending, message));
        }
    }

    /// The same, for an error that no later request would be spared.
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

    /// How the run ended: as Zoom stopped it, else as Elasticsearch did, else as its items fared.
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

    /// Learns what the account's listings look like, so that the catalog keeps them in fewer bytes. Once in its life.
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

    /// Puts a host through the screen. One who is forgotten by email is remembered by id as well: their list of series says no more
    /// than that.
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
