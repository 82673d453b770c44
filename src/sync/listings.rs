//! The worker of listings: chooses the days and windows to list, and interprets the answers. It only decides: a sync applies the decisions, a dry run
//! shows them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};

use super::{
    Error, Scope,
    days::{days_to_resume, earliest_day, windows, with_margin, without},
    history, plan,
    run_state::RunState,
};
use crate::{
    catalog::{self, Catalog, DayChanges},
    model::{
        Change, DateBasis, ListedMeeting, Listing, ListingPage, Malformed, MeetingKind, MeetingUuid,
        Webinars, Window,
    },
    privacy::Screen,
    zoom::{self, KnownOfWindow, Zoom},
};

/// Listings in parallel. They share the tightest rate limit, and page tokens live for 15 minutes only.
const LISTINGS_AT_ONCE: usize = 2;

/// A listing may show no meeting (or no webinar) at all although at least this many are known. It counts only if the next run finds the same: people
/// delete single meetings, not all of a window.
const EMPTIED: usize = 3;

/// A window to be listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ask {
    pub window: Window,
    pub basis: DateBasis,
}

/// Tells the client what earlier runs found out about the account.
pub(super) fn brief(catalog: &Catalog, zoom: &Zoom, now: DateTime<Utc>) -> Result<(), catalog::Error> {
    zoom.harvested_before(catalog.last_source()?);
    if catalog.has_no_webinars(now)? {
        zoom.skip_webinars();
    }
    Ok(())
}

/// The outcome of a listing.
pub(super) enum ListingOutcome {
    /// The listing is complete and covers its days.
    Complete(Complete),
    /// The listing is not used, and what replaces it is queued. The text is a message for the user, if there is one.
    Again(Option<String>),
    /// Zoom did not list the window.
    Failed(Window, zoom::Error),
}

/// A complete listing, and the meetings that vanished from it.
pub(super) struct Complete {
    pub asked: Window,
    pub listing: Listing,
    pub vanished: Vec<MeetingUuid>,
    /// Rows left out because they ended before the day up to which everything is forgotten.
    pub ignored: usize,
}

/// The changes that a page leads to.
pub(super) struct PagePlan<'p> {
    pub window: Window,
    pub changes: Vec<Change<'p>>,
    meetings: &'p [ListedMeeting],
}

impl<'p> PagePlan<'p> {
    /// The rows of the page.
    pub fn meetings(&self) -> &'p [ListedMeeting] {
        self.meetings
    }
}

/// The worker of listings.
pub(super) struct Listings {
    scope: Scope,
    whole_listing_every: TimeDelta,
    /// Whether what came from the reports is fetched again from the dashboards.
    enrich: bool,
    /// Whether webinars are listed as well.
    webinars: bool,
    wanted: BTreeSet<NaiveDate>,
    basis: DateBasis,
    /// Whether the wanted days include the whole listing of the last 30 days.
    whole: bool,
    queue: VecDeque<Window>,
    under_way: usize,
    listed: BTreeSet<NaiveDate>,
    /// Meetings missing from a listing, by its window. The listing is read once more before their absence counts.
    to_confirm: HashMap<Window, HashSet<MeetingUuid>>,
    /// Changes that came from the pages of listings that are not complete yet.
    changed: HashMap<Ask, DayChanges>,
}

impl Listings {
    pub fn new(scope: Scope, whole_listing_every: TimeDelta, enrich: bool, webinars: bool) -> Self {
        Self {
            scope,
            whole_listing_every,
            enrich,
            webinars,
            wanted: BTreeSet::new(),
            basis: DateBasis::EndTime,
            whole: false,
            queue: VecDeque::new(),
            under_way: 0,
            listed: BTreeSet::new(),
            to_confirm: HashMap::new(),
            changed: HashMap::new(),
        }
    }

    /// Works out the days to list: at the start, and again if they change.
    pub fn want_days(&mut self, catalog: &Catalog, now: DateTime<Utc>) -> Result<(), catalog::Error> {
        let today = now.date_naive();
        (self.wanted, self.whole) = match self.scope {
            Scope::Nothing => (BTreeSet::new(), false),
            Scope::Days(window) => (window.days().collect(), false),
            Scope::Resume => self.days_not_settled(catalog, now)?,
        };
        if let Some(before) = catalog.forgotten()?.before {
            self.wanted.retain(|day| *day >= before);
        }
        self.queue_windows(today);
        Ok(())
    }

    fn days_not_settled(
        &self,
        catalog: &Catalog,
        now: DateTime<Utc>,
    ) -> Result<(BTreeSet<NaiveDate>, bool), catalog::Error> {
        let today = now.date_naive();
        let settled = match Window::new(earliest_day(today), today) {
            Some(reach) => catalog.settled_days(reach, self.webinars)?.into_iter().collect(),
            None => BTreeSet::new(),
        };
        // Days that were requested but not listed, because that run was stopped, must still be listed.
        let first_day = [catalog.first_day()?, catalog.wanted_from()?]
            .into_iter()
            .flatten()
            .min();
        let whole = catalog
            .whole_listed_at()?
            .is_some_and(|at| now - at >= self.whole_listing_every);
        Ok((days_to_resume(first_day, &settled, whole, today), whole))
    }

    fn queue_windows(&mut self, today: NaiveDate) {
        // If no other days are listed, a margin is added to find the meetings that cross their edges.
        let alone = matches!(self.scope, Scope::Days(_));
        let mut asked = with_margin(&self.wanted, self.basis, alone, today);
        asked.retain(|day| !self.listed.contains(day));
        self.queue = windows(&asked).into();
    }

    /// Unsettles every day within reach, because another catalog has seen more of Zoom than this one. A sync without dates lists them at once.
    pub fn list_again(&mut self, catalog: &mut Catalog, now: DateTime<Utc>) -> Result<(), catalog::Error> {
        let unsettled = catalog.unsettle(earliest_day(now.date_naive()))?;
        if unsettled > 0 && self.scope == Scope::Resume {
            self.want_days(catalog, now)?;
        }
        Ok(())
    }

    /// The window to list next, if there is one and a slot is free.
    pub fn next(&mut self) -> Option<Ask> {
        if self.under_way >= LISTINGS_AT_ONCE {
            return None;
        }
        let window = self.queue.pop_front()?;
        self.under_way += 1;
        let basis = self.basis;
        Some(Ask { window, basis })
    }

    /// What is known of a window that is to be listed.
    pub fn known(
        &self,
        catalog: &Catalog,
        screen: &Screen,
        zoom: &Zoom,
        ask: Ask,
        now: DateTime<Utc>,
    ) -> Result<KnownOfWindow, catalog::Error> {
        if !zoom.lists_host_by_host() {
            return Ok(KnownOfWindow::default());
        }
        let wanted = (self.scope == Scope::Resume).then_some(&self.wanted);
        let kinds = MeetingKind::wanted(self.webinars);
        history::known_of(catalog, screen, ask.window, wanted, kinds, now)
    }

    /// Whether nothing is queued and nothing is under way.
    pub fn is_idle(&self) -> bool {
        self.under_way == 0 && self.queue.is_empty()
    }

    /// The changes that a page of a listing under way leads to. `None` if the listing is not used.
    pub fn page<'p>(
        &self,
        catalog: &Catalog,
        screen: &Screen,
        ask: Ask,
        page: &'p mut ListingPage,
    ) -> Result<Option<PagePlan<'p>>, catalog::Error> {
        if ask.basis != self.basis {
            return Ok(None);
        }
        screen.meetings(page.window, &mut page.meetings);
        let known = catalog.known_of(&page.meetings)?;
        Ok(Some(PagePlan {
            window: page.window,
            changes: plan::page(&page.meetings, &known, self.scope.inside(), self.enrich),
            meetings: &page.meetings,
        }))
    }

    /// Adds what a page changed to the changes of its listing.
    pub fn page_recorded(&mut self, ask: Ask, changed: DayChanges) {
        self.changed.entry(ask).or_default().merge(changed);
    }

    /// The outcome of a listing that has been read to its end or has failed.
    pub fn handle_answer(
        &mut self,
        catalog: &Catalog,
        screen: &Screen,
        ask: Ask,
        result: Result<Listing, zoom::Error>,
        today: NaiveDate,
    ) -> Result<ListingOutcome, catalog::Error> {
        self.under_way -= 1;
        if ask.basis != self.basis {
            // Another listing met the refusal below in the meantime. These days are in the new windows.
            return Ok(ListingOutcome::Again(None));
        }
        let mut listing = match result {
            Ok(listing) => listing,
            Err(error @ (zoom::Error::EndTimeRefused | zoom::Error::ReportsByStart))
                if ask.basis == DateBasis::EndTime =>
            {
                self.basis = DateBasis::StartTime;
                self.to_confirm.clear();
                self.queue_windows(today);
                let note = "this account does not list meetings by their end; listing by their start, from 30 hours before";
                let by_dashboard = matches!(error, zoom::Error::EndTimeRefused);
                return Ok(ListingOutcome::Again(by_dashboard.then(|| note.to_owned())));
            }
            Err(error @ zoom::Error::ListingTooLong { .. }) => {
                return Ok(match ask.window.halves() {
                    Some((first, second)) => {
                        self.list_instead(ask, [first, second]);
                        ListingOutcome::Again(None)
                    }
                    None => ListingOutcome::Failed(ask.window, error),
                });
            }
            Err(error) => return Ok(ListingOutcome::Failed(ask.window, error)),
        };
        let rows = listing.shown.len();
        listing
            .shown
            .retain(|_, shown| !screen.is_forgotten_day(shown.day));
        let ignored = rows - listing.shown.len();
        let mut absent = BTreeMap::new();
        for kind in listing.kinds() {
            let expected = catalog.expected(&listing, *kind)?;
            absent.extend(
                plan::absent(&listing, expected)
                    .into_iter()
                    .map(|uuid| (uuid, *kind)),
            );
        }
        let Some(vanished) = self.confirm_absences(catalog, ask.window, &mut listing, absent)? else {
            self.queue.push_front(ask.window);
            return Ok(ListingOutcome::Again(None));
        };
        // Zoom may answer for fewer days than requested.
        self.queue.extend(without(ask.window, listing.window));
        Ok(ListingOutcome::Complete(Complete {
            asked: ask.window,
            listing,
            vanished,
            ignored,
        }))
    }

    fn list_instead(&mut self, ask: Ask, halves: [Window; 2]) {
        let changed = self.changed.remove(&ask).unwrap_or_default();
        for window in halves.into_iter().rev() {
            self.queue.push_front(window);
            self.page_recorded(Ask { window, ..ask }, changed.clone());
        }
    }

    /// The absences that count as vanished. `None` if the listing must first be read once more. Only what both readings lack may count. If the second
    /// reading alone lacks a meeting, the days are not settled either.
    fn confirm_absences(
        &mut self,
        catalog: &Catalog,
        window: Window,
        listing: &mut Listing,
        absent: BTreeMap<MeetingUuid, MeetingKind>,
    ) -> Result<Option<Vec<MeetingUuid>>, catalog::Error> {
        let before = self.to_confirm.remove(&window);
        if absent.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let Some(before) = before else {
            self.to_confirm.insert(window, absent.into_keys().collect());
            return Ok(None);
        };
        let mut emptied = Vec::new();
        for kind in listing.kinds() {
            let shows_none = !listing.shown.values().any(|shown| shown.kind == *kind);
            let lacks = absent.values().filter(|of| *of == kind).count();
            if shows_none && lacks >= EMPTIED && catalog.shown_last(listing.window, *kind)? > 0 {
                emptied.push(*kind);
            }
        }
        let (mut vanished, mut unproven) = (Vec::new(), Vec::new());
        for (uuid, kind) in absent {
            if !emptied.contains(&kind) && before.contains(&uuid) {
                vanished.push(uuid);
            } else {
                unproven.push(uuid);
            }
        }
        if !unproven.is_empty() {
            listing.malformed.push(Malformed {
                place: format!("meetings of {window}"),
                reason: format!(
                    "Zoom no longer shows {} known meetings; they count as vanished if the next sync finds the same",
                    unproven.len()
                ),
            });
        }
        Ok(Some(vanished))
    }

    /// Records a complete listing, reports its messages, and settles the days that may be settled.
    pub fn apply(&mut self, state: &mut RunState<'_>, complete: &Complete) -> Result<(), Error> {
        let Complete {
            asked,
            listing,
            vanished,
            ignored,
        } = complete;
        if *ignored > 0 {
            state.note(&format!(
                "{ignored} meetings of {} ended before the day of `forget --before`; they are ignored",
                listing.window
            ));
        }
        for note in &listing.notes {
            state.note(note);
        }
        if let Webinars::NotInPlan { refusal: Some(said) } = &listing.webinars
            && state.catalog.no_webinars_since()?.is_none()
        {
            state.note(&format!(
                "this account has no webinars ({said}); the harvester asks again once a day and does not repeat this message"
            ));
        }
        let now = state.now();
        if let Some(note) = history::compare(state.catalog, &state.screen, listing, now)? {
            state.note(&note);
        }
        for bad in &listing.malformed {
            state.problem(format!("{}: {}", bad.place, bad.reason));
        }
        for rest in without(*asked, listing.window) {
            state.note(&format!(
                "Zoom answered for {} where {asked} was asked; asking for {rest} again",
                listing.window
            ));
        }
        let ask = Ask {
            window: *asked,
            basis: listing.basis,
        };
        let changed = self.changed.remove(&ask).unwrap_or_default();
        let wanted: Vec<NaiveDate> = self.wanted.iter().copied().collect();
        state.catalog.record(
            state.run,
            listing,
            vanished,
            &wanted,
            changed,
            now,
            &mut state.tally,
        )?;
        self.listed.extend(listing.window.days());
        if self.whole && self.is_idle() && !state.days_are_missing {
            state.catalog.record_whole_listing(now)?;
        }
        Ok(())
    }
}
