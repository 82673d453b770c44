//! The days of a run: which are wanted, in which windows they are listed, and what becomes of an answer.

use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    sync::Arc,
};

use chrono::{DateTime, NaiveDate, Utc};

use super::{
    Ending, Error, Progress,
    harvest::{Done, Harvest},
    plan,
    window::{days_to_resume, earliest_day, windows, with_margin},
};
use crate::{
    catalog::{self, Catalog},
    model::{Change, DateBasis, Disposition, Listing, Malformed, MeetingUuid, Window},
    zoom::{self, Zoom},
};

/// Listings at once: they share the tightest limit, and page tokens live for 15 minutes only.
const LISTINGS_AT_ONCE: usize = 2;

/// A listing that shows none at all, where at least so many meetings are known, is believed only when the next run hears it again:
/// single meetings are deleted, not all of a window's.
const EMPTIED: usize = 3;

/// What to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Exactly these days.
    Days(Window),
    /// The days not settled, to now.
    Resume,
    /// None: only what is due already.
    Nothing,
}

impl Scope {
    /// The days that a meeting must touch to be of interest, if there are such.
    pub(super) fn inside(self) -> Option<Window> {
        match self {
            Self::Days(window) => Some(window),
            Self::Resume | Self::Nothing => None,
        }
    }
}

/// The days that a run wants listed.
pub(super) struct Wanted {
    pub days: BTreeSet<NaiveDate>,
    /// Whether they are all there is: then meetings that reach over their edges are found by listing a little more.
    pub alone: bool,
    /// Whether they are also the whole listing of the last 30 days.
    pub whole: bool,
}

/// Works out the days to list.
pub(super) fn wanted_days(
    catalog: &Catalog,
    scope: Scope,
    whole_listing_every: chrono::TimeDelta,
    now: DateTime<Utc>,
) -> Result<Wanted, catalog::Error> {
    let today = now.date_naive();
    let mut wanted = match scope {
        Scope::Nothing => Wanted {
            days: BTreeSet::new(),
            alone: false,
            whole: false,
        },
        Scope::Days(window) => Wanted {
            days: window.days().collect(),
            alone: true,
            whole: false,
        },
        Scope::Resume => {
            let settled = match Window::new(earliest_day(today), today) {
                Some(reach) => catalog.settled_days(reach)?.into_iter().collect(),
                None => BTreeSet::new(),
            };
            // Days that were asked for and not listed, because that run was stopped, are still to be had.
            let first_day = [catalog.first_day()?, catalog.wanted_from()?]
                .into_iter()
                .flatten()
                .min();
            let whole = catalog
                .whole_listed_at()?
                .is_some_and(|at| now - at >= whole_listing_every);
            Wanted {
                days: days_to_resume(first_day, &settled, whole, today),
                alone: false,
                whole,
            }
        }
    };
    if let Some(before) = catalog.forgotten()?.before {
        wanted.days.retain(|day| *day >= before);
    }
    Ok(wanted)
}

/// Days to list and windows under way.
pub(super) struct Days {
    pub wanted: BTreeSet<NaiveDate>,
    pub basis: DateBasis,
    pub whole: bool,
    pub queue: VecDeque<Window>,
    pub under_way: usize,
    pub listed: BTreeSet<NaiveDate>,
    /// Meetings that a listing lacked, by its window: it is read once more before that counts.
    pub doubted: HashMap<Window, HashSet<MeetingUuid>>,
}

impl Harvest<'_> {
    /// Works out the days to list: at the beginning, and again if they turn out to be others.
    pub(super) fn want_days(&mut self) -> Result<(), Error> {
        let now = self.now();
        let today = now.date_naive();
        let Wanted {
            days: wanted,
            alone,
            whole,
        } = wanted_days(
            self.catalog,
            self.options.scope,
            self.options.whole_listing_every,
            now,
        )?;
        self.days.whole = whole;
        let mut asked = with_margin(&wanted, self.days.basis, alone, today);
        asked.retain(|day| !self.days.listed.contains(day));
        self.days.wanted = wanted;
        self.days.queue = windows(&asked).into();
        Ok(())
    }

    pub(super) fn start_listings(&mut self, zoom: &Arc<Zoom>) {
        while self.days.under_way < LISTINGS_AT_ONCE
            && let Some(window) = self.days.queue.pop_front()
        {
            self.days.under_way += 1;
            let (zoom, basis) = (Arc::clone(zoom), self.days.basis);
            self.jobs.push(Box::pin(async move {
                Done::Listing(window, basis, zoom.list_meetings(window, basis).await)
            }));
        }
    }

    pub(super) fn listed(
        &mut self,
        window: Window,
        basis: DateBasis,
        result: Result<Listing, zoom::Error>,
    ) -> Result<(), Error> {
        if basis != self.days.basis {
            // Another listing met the refusal below meanwhile; these days stand in the new windows.
            return Ok(());
        }
        let mut listing = match result {
            Ok(listing) => listing,
            Err(zoom::Error::EndTimeRefused) if basis == DateBasis::EndTime => {
                self.note("this account does not list meetings by their end; listing by their start, from 30 hours before");
                self.days.basis = DateBasis::StartTime;
                self.days.doubted.clear();
                return self.want_days();
            }
            Err(error @ zoom::Error::ListingTooLong { .. }) => {
                match window.halves() {
                    Some((first, second)) => {
                        self.days.queue.push_front(second);
                        self.days.queue.push_front(first);
                    }
                    None => self.window_failed(window, &error.to_string()),
                }
                return Ok(());
            }
            Err(error) => {
                match error.disposition() {
                    Disposition::Stop => self.stop_for(&error),
                    Disposition::Retry { .. } => {
                        // As `window_failed` does, but told once: by what stops the run.
                        self.unlisted = true;
                        self.tally.failed += 1;
                        self.stop(
                            Ending::StoppedEarly { come_back_at: None },
                            format!("Zoom did not list {window}: {error}"),
                        );
                    }
                    Disposition::Skip => self.window_failed(window, &error.to_string()),
                }
                return Ok(());
            }
        };
        let ignored = self.screen.listing(&mut listing);
        if ignored > 0 {
            self.note(&format!(
                "{ignored} meetings of {} ended before the day up to which everything is forgotten; they are ignored",
                listing.window
            ));
        }
        let known = self.catalog.known(&listing)?;
        let mut changes = plan::plan(&listing, &known, self.options.scope.inside());
        if self.doubts(window, &mut listing, &mut changes)? {
            self.days.queue.push_front(window);
            return Ok(());
        }
        for bad in &listing.malformed {
            self.problem(format!("{}: {}", bad.place, bad.reason));
        }
        for rest in without(window, listing.window) {
            self.note(&format!(
                "Zoom answered for {} where {window} was asked; asking for {rest} again",
                listing.window
            ));
            self.days.queue.push_back(rest);
        }
        let wanted: Vec<NaiveDate> = self.days.wanted.iter().copied().collect();
        self.catalog.record(
            self.run,
            &listing,
            &changes,
            &wanted,
            self.clock.now(),
            &mut self.tally,
        )?;
        self.days.listed.extend(listing.window.days());
        self.details.stale = true;
        self.details.due = self.catalog.count_due_details(self.now())?;
        self.questions.stale = true;
        // Asked of the catalog, not of the changes: a killed run may have recorded them and not got its report.
        let shown: HashSet<&MeetingUuid> = listing.meetings.iter().map(|one| &one.uuid).collect();
        let strangers = self
            .catalog
            .unknown_hosts(u64::from(u32::MAX))?
            .iter()
            .any(|question| shown.contains(&question.uuid));
        if strangers
            && self
                .questions
                .reported
                .insert((listing.window.from, listing.window.to))
        {
            self.questions.reports.push_back(listing.window);
        }
        if self.days.whole && self.days.queue.is_empty() && self.days.under_way == 0 && !self.unlisted {
            self.catalog.record_whole_listing(self.now())?;
        }
        self.observer.see(Progress::Listed {
            window: listing.window,
            meetings: listing.meetings.len(),
            tally: &self.tally,
        });
        Ok(())
    }

    /// Whether a listing is to be read once more before its absences count. What the second reading shows after all, or lacks
    /// alone, is not taken for vanished; then the days are not settled either.
    fn doubts(
        &mut self,
        window: Window,
        listing: &mut Listing,
        changes: &mut Vec<Change>,
    ) -> Result<bool, Error> {
        let absent: HashSet<MeetingUuid> = changes
            .iter()
            .filter_map(|change| match change {
                Change::Vanished(uuid) => Some(uuid.clone()),
                _ => None,
            })
            .collect();
        let before = self.days.doubted.remove(&window);
        if absent.is_empty() {
            return Ok(false);
        }
        let Some(before) = before else {
            self.days.doubted.insert(window, absent);
            return Ok(true);
        };
        let emptied = listing.meetings.is_empty()
            && absent.len() >= EMPTIED
            && self.catalog.shown_last(listing.window)? > 0;
        let unproven = absent
            .iter()
            .filter(|uuid| emptied || !before.contains(uuid))
            .count();
        if unproven > 0 {
            listing.malformed.push(Malformed {
                place: format!("meetings of {window}"),
                reason: format!(
                    "Zoom shows {unproven} that are known no more; believed when the next sync hears it again"
                ),
            });
            changes.retain(|change| match change {
                Change::Vanished(uuid) => !emptied && before.contains(uuid),
                _ => true,
            });
        }
        Ok(false)
    }

    pub(super) fn window_failed(&mut self, window: Window, reason: &str) {
        self.unlisted = true;
        self.problem(format!("{window} could not be listed: {reason}"));
    }

    /// Another catalog has seen more of Zoom than this one: every day within reach is listed again.
    pub(super) fn list_again(&mut self) -> Result<(), Error> {
        let unsettled = self.catalog.unsettle(earliest_day(self.now().date_naive()))?;
        if unsettled > 0 && self.zoom.is_some() && self.options.scope == Scope::Resume {
            self.want_days()?;
        }
        Ok(())
    }
}

/// The parts of a window that another does not cover.
pub(super) fn without(window: Window, covered: Window) -> Vec<Window> {
    let before = covered
        .from
        .pred_opt()
        .and_then(|to| Window::new(window.from, to.min(window.to)));
    let after = covered
        .to
        .succ_opt()
        .and_then(|from| Window::new(from.max(window.from), window.to));
    before.into_iter().chain(after).collect()
}
