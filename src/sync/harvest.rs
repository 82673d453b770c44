//! One run: list, fetch and publish, overlapping, each paced by its own limits.

use std::{
    collections::{BTreeSet, HashSet, VecDeque},
    sync::Arc,
};

use chrono::{DateTime, NaiveDate, Utc};
use futures::{StreamExt, future::LocalBoxFuture, stream::FuturesUnordered};
use tokio::sync::{mpsc, watch};

use super::{
    Ending, Error, Observer, Progress, Summary, plan,
    publishing::{Publishing, Sent},
    window::{days_to_resume, earliest_day, windows, with_margin},
};
use crate::{
    catalog::{self, Catalog, Due, HostQuestion, Keeping, Reservation, RunId, Tally},
    elastic::Elastic,
    model::{
        Change, Clock, DateBasis, Detail, Disposition, Host, HostId, Listing, PastMeeting, SeriesRow, Window,
    },
    zoom::{
        self, Zoom,
        pace::{Grant, GrantRequest, Pacer},
    },
};

/// So many answers in a row that Zoom could not give, with no success between, mean that it is Zoom that is ill and not
/// the meetings.
const FAILURES_TO_STOP: usize = 8;

/// Listings at once: they share the tightest limit, and page tokens live for 15 minutes only.
const LISTINGS_AT_ONCE: usize = 2;

/// Questions about hosts and series at once.
const QUESTIONS_AT_ONCE: usize = 8;

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
    Ok(match scope {
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
            let whole = catalog
                .whole_listed_at()?
                .is_some_and(|at| now - at >= whole_listing_every);
            Wanted {
                days: days_to_resume(catalog.first_day()?, &settled, whole, today),
                alone: false,
                whole,
            }
        }
    })
}

/// How to go about it.
#[derive(Clone, Debug)]
pub struct Options {
    /// What to list.
    pub scope: Scope,
    /// Details in flight at most.
    pub concurrency: usize,
    /// How often the last 30 days are listed whole, settled or not.
    pub whole_listing_every: chrono::TimeDelta,
    /// Requests a day that Zoom's daily quota counts and we may make.
    pub daily_share: u64,
}

/// Who answers, on the other side of the wire.
pub struct Harvest<'a> {
    pub(super) catalog: &'a mut Catalog,
    pub(super) run: RunId,
    pub(super) clock: Clock,
    pub(super) observer: &'a dyn Observer,
    pub(super) tally: Tally,
    pub(super) jobs: FuturesUnordered<LocalBoxFuture<'a, Done>>,
    pub(super) publishing: Publishing,
    options: Options,
    zoom: Option<Arc<Zoom>>,
    pacer: Option<Arc<Pacer>>,
    grants: Option<mpsc::Receiver<GrantRequest>>,
    days: Days,
    questions: Questions,
    details: Details,
    stop: Option<Stop>,
    /// Windows, hosts or series that could not be had: they belong to no meeting, so no row tells of them.
    problems: Vec<String>,
    /// Whether one of them was a listing that Zoom could not give: then days are missing.
    unlisted: bool,
}

/// Days to list and windows under way.
struct Days {
    wanted: BTreeSet<NaiveDate>,
    basis: DateBasis,
    whole: bool,
    queue: VecDeque<Window>,
    under_way: usize,
    listed: BTreeSet<NaiveDate>,
}

/// Hosts and series to ask about.
#[derive(Default)]
struct Questions {
    reports: VecDeque<Window>,
    reported: BTreeSet<(NaiveDate, NaiveDate)>,
    reports_under_way: usize,
    asked_hosts: HashSet<String>,
    asked_series: HashSet<HostId>,
    under_way: usize,
    /// Whether the catalog may have new questions since it was last asked.
    stale: bool,
}

/// Details under way.
#[derive(Default)]
struct Details {
    ready: VecDeque<Due>,
    under_way: HashSet<crate::model::MeetingUuid>,
    stale: bool,
    /// How many are still due, for those who watch: counted after each listing, then counted down.
    due: u64,
    /// Attempts that failed in a way that may be Zoom's illness or the meeting's: decided by what comes next.
    undecided: Vec<(crate::model::MeetingUuid, String)>,
}

/// Why nothing more is asked of Zoom.
struct Stop {
    ending: Ending,
    message: String,
}

/// A job's result.
pub(super) enum Done {
    Listing(Window, DateBasis, Result<Listing, zoom::Error>),
    Report(Window, Result<Vec<Host>, zoom::Error>),
    HostAnswer(HostQuestion, Result<PastMeeting, zoom::Error>),
    Series(HostId, Result<Vec<SeriesRow>, zoom::Error>),
    Detail(Due, Result<Detail, zoom::Error>),
    Sent(Sent),
}

/// The two ends of the wire, either of which may be missing.
pub struct Sides {
    /// Zoom, its pacer, and the requests for permission that the pacer makes.
    pub zoom: Option<(Arc<Zoom>, Arc<Pacer>, mpsc::Receiver<GrantRequest>)>,
    /// Elasticsearch.
    pub elastic: Option<Arc<Elastic>>,
}

impl<'a> Harvest<'a> {
    /// Makes ready; nothing is asked yet.
    ///
    /// # Errors
    /// As the catalog fails.
    pub fn new(
        catalog: &'a mut Catalog,
        run: RunId,
        sides: Sides,
        options: Options,
        clock: Clock,
        observer: &'a dyn Observer,
    ) -> Result<Self, Error> {
        let (zoom, pacer, grants) = match sides.zoom {
            Some((zoom, pacer, grants)) => (Some(zoom), Some(pacer), Some(grants)),
            None => (None, None, None),
        };
        if let Some(pacer) = &pacer {
            let now = clock.now();
            for label in crate::model::Label::ALL {
                pacer.remember(label, &catalog.recent_requests(label, now)?, now);
            }
        }
        let mut harvest = Self {
            publishing: Publishing::new(sides.elastic),
            catalog,
            run,
            clock,
            observer,
            tally: Tally::default(),
            jobs: FuturesUnordered::new(),
            zoom,
            pacer,
            grants,
            days: Days {
                wanted: BTreeSet::new(),
                basis: DateBasis::EndTime,
                whole: false,
                queue: VecDeque::new(),
                under_way: 0,
                listed: BTreeSet::new(),
            },
            questions: Questions {
                stale: true,
                ..Questions::default()
            },
            details: Details {
                stale: true,
                ..Details::default()
            },
            options,
            stop: None,
            problems: Vec::new(),
            unlisted: false,
        };
        if harvest.zoom.is_some() {
            harvest.want_days()?;
        }
        Ok(harvest)
    }

    /// Runs to the end, or until `cancel` turns true. What was in flight then is dropped: it is due at the next run.
    ///
    /// # Errors
    /// As the catalog fails; everything else ends in the summary.
    pub async fn run(mut self, mut cancel: watch::Receiver<bool>) -> Result<Summary, Error> {
        let interrupted = loop {
            self.start_jobs()?;
            if self.jobs.is_empty() {
                if self.publishing.last_try() {
                    continue;
                }
                break false;
            }
            tokio::select! {
                biased;
                _ = cancel.wait_for(|stop| *stop) => break true,
                Some(request) = receive(self.grants.as_mut()) => self.grant(request)?,
                Some(done) = self.jobs.next() => self.handle(done)?,
            }
        };
        self.finish(interrupted)
    }

    fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// Works out the days to list: at the beginning, and again if they turn out to be others.
    fn want_days(&mut self) -> Result<(), Error> {
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

    fn start_jobs(&mut self) -> Result<(), Error> {
        if let Some(zoom) = self.zoom.clone().filter(|_| self.stop.is_none()) {
            self.start_listings(&zoom);
            self.start_questions(&zoom)?;
            self.start_details(&zoom)?;
        }
        let harvesting = self.days.under_way
            + self.questions.under_way
            + self.questions.reports_under_way
            + self.details.under_way.len()
            > 0;
        self.start_publishing(harvesting)
    }

    fn start_listings(&mut self, zoom: &Arc<Zoom>) {
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

    fn start_questions(&mut self, zoom: &Arc<Zoom>) -> Result<(), Error> {
        while let Some(window) = self.questions.reports.pop_front() {
            self.questions.reports_under_way += 1;
            let zoom = Arc::clone(zoom);
            self.jobs.push(Box::pin(async move {
                Done::Report(window, zoom.list_hosts(window).await)
            }));
        }
        // One report answers for all its hosts, so single questions wait until every report is in.
        let reports_done =
            self.days.queue.is_empty() && self.days.under_way == 0 && self.questions.reports_under_way == 0;
        if !reports_done || !self.questions.stale || self.questions.under_way >= QUESTIONS_AT_ONCE {
            return Ok(());
        }
        let before = self.questions.under_way;
        let asked = self.questions.asked_hosts.len() as u64;
        for question in self.catalog.unknown_hosts(asked + QUESTIONS_AT_ONCE as u64)? {
            if self.questions.under_way < QUESTIONS_AT_ONCE
                && self.questions.asked_hosts.insert(question.host_key.clone())
            {
                self.questions.under_way += 1;
                let zoom = Arc::clone(zoom);
                self.jobs.push(Box::pin(async move {
                    let answer = zoom.past_meeting(&question.uuid).await;
                    Done::HostAnswer(question, answer)
                }));
            }
        }
        let asked = self.questions.asked_series.len() as u64;
        for host in self
            .catalog
            .hosts_wanting_series(self.now(), asked + QUESTIONS_AT_ONCE as u64)?
        {
            if self.questions.under_way < QUESTIONS_AT_ONCE
                && self.questions.asked_series.insert(host.clone())
            {
                self.questions.under_way += 1;
                let zoom = Arc::clone(zoom);
                self.jobs.push(Box::pin(async move {
                    let series = zoom.list_series(&host).await;
                    Done::Series(host, series)
                }));
            }
        }
        self.questions.stale = self.questions.under_way > before;
        Ok(())
    }

    fn start_details(&mut self, zoom: &Arc<Zoom>) -> Result<(), Error> {
        while self.details.under_way.len() < self.options.concurrency {
            if self.details.ready.is_empty() {
                if !self.details.stale {
                    return Ok(());
                }
                let held = self.details.under_way.len() + self.details.undecided.len();
                let limit = (held + 2 * self.options.concurrency) as u64;
                let due = self.catalog.due_details(self.run, self.now(), limit)?;
                self.details.ready.extend(due.into_iter().filter(|due| {
                    !self.details.under_way.contains(&due.uuid)
                        && !self.details.undecided.iter().any(|(uuid, _)| *uuid == due.uuid)
                }));
                self.details.stale = !self.details.ready.is_empty();
            }
            let Some(due) = self.details.ready.pop_front() else {
                return Ok(());
            };
            self.details.under_way.insert(due.uuid.clone());
            let zoom = Arc::clone(zoom);
            self.jobs.push(Box::pin(async move {
                let detail = zoom.detail(&due.uuid, due.listing_type).await;
                Done::Detail(due, detail)
            }));
        }
        Ok(())
    }

    /// Counts requests in the catalog before the pacer lets them go.
    fn grant(&mut self, request: GrantRequest) -> Result<(), Error> {
        let now = self.now();
        let grant = match self
            .catalog
            .reserve(request.label, self.options.daily_share, now)?
        {
            Reservation::Granted(requests) => Grant::Granted(requests),
            Reservation::Spent { resets_at } => Grant::Spent { resets_at },
        };
        // Nobody waits for it any more: then it is given back at the end, like everything that is not used.
        if let Err(Grant::Granted(requests)) = request.reply.send(grant) {
            self.catalog.give_back(&[(request.label, requests)], now)?;
        }
        Ok(())
    }

    fn handle(&mut self, done: Done) -> Result<(), Error> {
        match done {
            Done::Listing(window, basis, result) => {
                self.days.under_way -= 1;
                self.listed(window, basis, result)
            }
            Done::Report(window, result) => {
                self.questions.reports_under_way -= 1;
                self.questions.stale = true;
                match result {
                    Ok(hosts) => self.catalog.record_hosts(&hosts, self.now())?,
                    Err(error) => self.side_problem(&format!("the hosts of {window}"), &error),
                }
                Ok(())
            }
            Done::HostAnswer(question, result) => {
                self.questions.under_way -= 1;
                self.questions.stale = true;
                self.host_answered(&question, result)
            }
            Done::Series(host, result) => {
                self.questions.under_way -= 1;
                self.questions.stale = true;
                self.series_listed(&host, result)
            }
            Done::Detail(due, result) => {
                self.details.under_way.remove(&due.uuid);
                self.fetched(due, result)
            }
            Done::Sent(sent) => self.sent(sent),
        }
    }

    fn listed(
        &mut self,
        window: Window,
        basis: DateBasis,
        result: Result<Listing, zoom::Error>,
    ) -> Result<(), Error> {
        let listing = match result {
            Ok(listing) => listing,
            Err(zoom::Error::EndTimeRefused) => {
                if self.days.basis == DateBasis::EndTime {
                    self.note("this account does not list meetings by their end; listing by their start, from 30 hours before");
                    self.days.basis = DateBasis::StartTime;
                    self.want_days()?;
                } else if basis == DateBasis::StartTime {
                    self.window_failed(
                        window,
                        "Zoom refuses to list by end, though it was asked to list by start",
                    );
                }
                return Ok(());
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
                        self.window_failed(window, &error.to_string());
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
        if basis != self.days.basis {
            // Another listing met the refusal meanwhile; these days stand in the new windows.
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
        let known = self.catalog.known(&listing)?;
        let changes = plan::plan(&listing, &known, self.options.scope.inside());
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
        let strangers = changes
            .iter()
            .any(|change| matches!(change, Change::New(_) | Change::Changed { .. }));
        if strangers
            && !self.catalog.unknown_hosts(1)?.is_empty()
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

    fn host_answered(
        &mut self,
        question: &HostQuestion,
        result: Result<PastMeeting, zoom::Error>,
    ) -> Result<(), Error> {
        let now = self.now();
        match result {
            Ok(PastMeeting {
                host_id: Some(host_id),
                user_email,
                user_name,
            }) => {
                let host = Host {
                    host_id,
                    email: user_email,
                    name: user_name,
                    dept: String::new(),
                    user_type: None,
                };
                self.catalog.record_host_answer(question, Some(&host), now)?;
            }
            Ok(PastMeeting { host_id: None, .. }) => self.catalog.record_host_answer(question, None, now)?,
            Err(zoom::Error::NotFound { .. } | zoom::Error::TooOld { .. }) => {
                self.catalog.record_host_answer(question, None, now)?;
            }
            Err(error) => self.side_problem(&format!("the host of meeting {}", question.uuid), &error),
        }
        Ok(())
    }

    fn series_listed(
        &mut self,
        host: &HostId,
        result: Result<Vec<SeriesRow>, zoom::Error>,
    ) -> Result<(), Error> {
        let now = self.now();
        match result {
            Ok(rows) => self.catalog.record_series(host, &rows, now)?,
            Err(zoom::Error::NotFound { .. }) => self.catalog.record_no_series(host, true, now)?,
            Err(zoom::Error::HostNotAllowed { .. }) => self.catalog.record_no_series(host, false, now)?,
            Err(error) => self.side_problem(&format!("the series of host {host}"), &error),
        }
        Ok(())
    }

    fn fetched(&mut self, due: Due, result: Result<Detail, zoom::Error>) -> Result<(), Error> {
        let now = self.now();
        match result {
            Ok(detail) => {
                match self.catalog.keep(self.run, &detail, &due.listed_checksum, now)? {
                    Keeping::Kept { sessions, .. } => {
                        self.tally.details += 1;
                        self.tally.sessions += sessions as u64;
                        self.publishing.kept();
                    }
                    Keeping::RefusedEmpty { kept } => {
                        self.tally.failed += 1;
                        self.observer.see(Progress::Problem(&format!(
                            "meeting {}: Zoom answered no sessions; the {kept} that are kept stay",
                            due.uuid
                        )));
                    }
                }
                self.decide_failures()?;
            }
            Err(error @ (zoom::Error::NotFound { .. } | zoom::Error::TooOld { .. })) => {
                self.catalog
                    .detail_gone(self.run, &due.uuid, &error.to_string(), now)?;
                self.decide_failures()?;
            }
            Err(error) => match error.disposition() {
                Disposition::Stop => self.stop_for(&error),
                Disposition::Skip => {
                    self.detail_failed(&due.uuid, &error.to_string())?;
                    self.decide_failures()?;
                }
                Disposition::Retry { .. } => {
                    self.details.undecided.push((due.uuid, error.to_string()));
                    if self.details.undecided.len() >= FAILURES_TO_STOP {
                        let message = format!("Zoom failed {FAILURES_TO_STOP} times in a row, last: {error}");
                        self.stop(Ending::StoppedEarly { come_back_at: None }, message);
                    }
                }
            },
        }
        self.details.due = self.details.due.saturating_sub(1);
        self.observer.see(Progress::Fetched {
            due: self.details.due,
            tally: &self.tally,
        });
        Ok(())
    }

    /// Zoom answers for others, so those that failed did so for reasons of their own: that counts as an attempt. While Zoom is
    /// down nothing counts, or a long outage would make meetings dead.
    fn decide_failures(&mut self) -> Result<(), Error> {
        for (uuid, reason) in std::mem::take(&mut self.details.undecided) {
            self.detail_failed(&uuid, &reason)?;
        }
        Ok(())
    }

    fn detail_failed(&mut self, uuid: &crate::model::MeetingUuid, reason: &str) -> Result<(), Error> {
        self.tally.failed += 1;
        self.observer
            .see(Progress::Problem(&format!("meeting {uuid}: {reason}")));
        Ok(self.catalog.detail_failed(self.run, uuid, reason, self.now())?)
    }

    fn window_failed(&mut self, window: Window, reason: &str) {
        self.unlisted = true;
        self.problem(format!("{window} could not be listed: {reason}"));
    }

    fn side_problem(&mut self, what: &str, error: &zoom::Error) {
        match error.disposition() {
            Disposition::Stop => self.stop_for(error),
            Disposition::Retry { .. } | Disposition::Skip => self.problem(format!("{what}: {error}")),
        }
    }

    fn problem(&mut self, message: String) {
        self.tally.failed += 1;
        self.observer.see(Progress::Problem(&message));
        self.problems.push(message);
    }

    fn note(&self, message: &str) {
        self.observer.see(Progress::Note(message));
    }

    fn stop_for(&mut self, error: &zoom::Error) {
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

    /// Asks Zoom for nothing more. What is in flight still arrives, and publishing goes on.
    fn stop(&mut self, ending: Ending, message: String) {
        if self.stop.is_none() {
            self.observer.see(Progress::Problem(&message));
            self.stop = Some(Stop { ending, message });
        }
    }

    /// Another catalog has seen more of Zoom than this one: every day within reach is listed again.
    pub(super) fn list_again(&mut self) -> Result<(), Error> {
        self.catalog.unsettle(earliest_day(self.now().date_naive()))?;
        if self.zoom.is_some() && self.options.scope == Scope::Resume {
            self.want_days()?;
        }
        Ok(())
    }

    fn finish(mut self, interrupted: bool) -> Result<Summary, Error> {
        let now = self.now();
        if !interrupted && self.stop.is_none() {
            self.decide_failures()?;
        }
        self.jobs.clear();
        let mut zoom_requests = std::collections::BTreeMap::new();
        if let Some(pacer) = &self.pacer {
            self.catalog.give_back(&pacer.unused(), now)?;
            zoom_requests = pacer
                .counts()
                .into_iter()
                .map(|(label, count)| (label.as_str(), count))
                .collect();
        }
        let troubled = self.catalog.count_troubled()?;
        let documents_due = self.catalog.count_due_documents()?;
        let down = self.publishing.trouble();
        let (ending, message) = if interrupted {
            (
                Ending::Interrupted,
                Some("interrupted; what was kept is kept, the next run goes on from here".to_owned()),
            )
        } else if let Some(Stop { ending, message }) = self.stop.take() {
            (ending, Some(message))
        } else if let Some((ending, message)) = down {
            (ending, Some(message))
        } else if self.tally.failed > 0 || troubled > 0 {
            let message = match self.problems.first() {
                Some(problem) => problem.clone(),
                None => format!("{troubled} meetings failed or are dead: see `zoom-harvester status`"),
            };
            (Ending::Incomplete, Some(message))
        } else {
            (Ending::Done, None)
        };
        Ok(Summary {
            ending,
            message,
            zoom_requests,
            bulk_requests: self.publishing.bulk_requests,
            documents: self.publishing.documents,
            deleted: self.publishing.deletes,
            details_due: self.catalog.count_due_details(now)?,
            documents_due,
            troubled,
            publishing: self.publishing.is_on(),
            tally: self.tally,
        })
    }
}

async fn receive(grants: Option<&mut mpsc::Receiver<GrantRequest>>) -> Option<GrantRequest> {
    match grants {
        Some(grants) => grants.recv().await,
        None => None,
    }
}

/// The parts of a window that another does not cover.
fn without(window: Window, covered: Window) -> Vec<Window> {
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
