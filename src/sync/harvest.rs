//! One run: list, fetch and publish, overlapping, each paced by its own limits.

use std::{
    collections::{BTreeSet, HashSet, VecDeque},
    sync::Arc,
};

use chrono::{DateTime, Utc};
use futures::{StreamExt, future::LocalBoxFuture, stream::FuturesUnordered};
use tokio::sync::{mpsc, watch};

use super::{
    Ending, Error, Observer, Progress, Summary,
    days::{Days, Scope},
    publishing::{Publishing, Sent},
    questions::Questions,
};
use crate::{
    catalog::{Catalog, Due, HostQuestion, Keeping, Reservation, RunId, Tally},
    elastic::Elastic,
    model::{
        Clock, DateBasis, Detail, Disposition, Host, HostId, Listing, MeetingUuid, PastMeeting, SeriesRow,
        Window,
    },
    privacy::{Policy, Screen},
    zoom::{
        self, Zoom,
        pace::{Grant, GrantRequest, Pacer},
    },
};

/// So many answers in a row that Zoom could not give, with no success between, mean that it is Zoom that is ill and not
/// the meetings.
const FAILURES_TO_STOP: usize = 8;

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
    /// What of people is kept.
    pub policy: Policy,
}

/// Who answers, on the other side of the wire.
pub struct Harvest<'a> {
    pub(super) catalog: &'a mut Catalog,
    pub(super) run: RunId,
    pub(super) clock: Clock,
    pub(super) observer: &'a dyn Observer,
    pub(super) tally: Tally,
    /// What everything passes on its way in.
    pub(super) screen: Screen,
    pub(super) jobs: FuturesUnordered<LocalBoxFuture<'a, Done>>,
    pub(super) publishing: Publishing,
    pub(super) options: Options,
    pub(super) zoom: Option<Arc<Zoom>>,
    pacer: Option<Arc<Pacer>>,
    grants: Option<mpsc::Receiver<GrantRequest>>,
    pub(super) days: Days,
    pub(super) questions: Questions,
    pub(super) details: Details,
    stop: Option<Stop>,
    /// Windows, hosts or series that could not be had: they belong to no meeting, so no row tells of them.
    problems: Vec<String>,
    /// Whether one of them was a listing that Zoom could not give: then days are missing.
    pub(super) unlisted: bool,
}

/// Details under way.
#[derive(Default)]
pub(super) struct Details {
    pub ready: VecDeque<Due>,
    under_way: HashSet<MeetingUuid>,
    pub stale: bool,
    /// How many are still due, for those who watch: counted after each listing, then counted down.
    pub due: u64,
    /// Attempts that failed in a way that may be Zoom's illness or the meeting's: decided by what comes next.
    undecided: Vec<(MeetingUuid, String)>,
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
            screen: Screen::new(options.policy.clone(), catalog.forgotten()?),
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
                doubted: std::collections::HashMap::new(),
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
            if let Scope::Days(window) = harvest.options.scope {
                harvest.catalog.want_from(window.from)?;
            }
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

    pub(super) fn now(&self) -> DateTime<Utc> {
        self.clock.now()
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
            Reservation::Granted { requests, until } => Grant::Granted {
                requests,
                lasts: (until - now).to_std().unwrap_or_default(),
            },
            Reservation::Spent { resets_at } => Grant::Spent { resets_at },
        };
        // Nobody waits for it any more: then it is given back at the end, like everything that is not used.
        if let Err(Grant::Granted { requests, .. }) = request.reply.send(grant) {
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
                    Ok(mut hosts) => {
                        for host in &mut hosts {
                            self.screen_host(host)?;
                        }
                        self.catalog.record_hosts(&hosts, self.now())?;
                    }
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

    fn fetched(&mut self, due: Due, result: Result<Detail, zoom::Error>) -> Result<(), Error> {
        let now = self.now();
        match result {
            Ok(detail) => {
                let detail = self.screen.detail(detail);
                match self.catalog.keep(self.run, &detail, &due.listed_checksum, now)? {
                    Keeping::Kept { sessions, .. } => {
                        self.tally.details += 1;
                        self.tally.sessions += sessions as u64;
                        self.publishing.kept();
                    }
                    Keeping::RefusedFewer { sessions, kept } => {
                        self.tally.failed += 1;
                        self.observer.see(Progress::Problem(&format!(
                            "meeting {}: Zoom answered {sessions} sessions and counts more; the {kept} that are kept stay",
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
                    self.detail_failed(&due.uuid, &error.to_string(), true)?;
                    self.decide_failures()?;
                }
                Disposition::Retry { .. } => {
                    self.details.undecided.push((due.uuid, error.to_string()));
                    if self.details.undecided.len() >= FAILURES_TO_STOP {
                        self.decide_failures()?;
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

    /// If Zoom answered for others in this run, those that failed did so for reasons of their own: that counts as an attempt. While
    /// Zoom is down nothing counts, or a long outage would make meetings dead.
    fn decide_failures(&mut self) -> Result<(), Error> {
        let ill = self.details.undecided.len() >= FAILURES_TO_STOP && self.tally.details == 0;
        for (uuid, reason) in std::mem::take(&mut self.details.undecided) {
            self.detail_failed(&uuid, &reason, !ill)?;
        }
        Ok(())
    }

    fn detail_failed(&mut self, uuid: &MeetingUuid, reason: &str, counts: bool) -> Result<(), Error> {
        self.tally.failed += 1;
        self.observer
            .see(Progress::Problem(&format!("meeting {uuid}: {reason}")));
        Ok(self
            .catalog
            .detail_failed(self.run, uuid, reason, counts, self.now())?)
    }

    pub(super) fn side_problem(&mut self, what: &str, error: &zoom::Error) {
        match error.disposition() {
            Disposition::Stop => self.stop_for(error),
            Disposition::Retry { .. } | Disposition::Skip => self.problem(format!("{what}: {error}")),
        }
    }

    pub(super) fn problem(&mut self, message: String) {
        self.tally.failed += 1;
        self.observer.see(Progress::Problem(&message));
        self.problems.push(message);
    }

    pub(super) fn note(&self, message: &str) {
        self.observer.see(Progress::Note(message));
    }

    pub(super) fn stop_for(&mut self, error: &zoom::Error) {
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
    pub(super) fn stop(&mut self, ending: Ending, message: String) {
        if self.stop.is_none() {
            self.observer.see(Progress::Problem(&message));
            self.stop = Some(Stop { ending, message });
        }
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
                Some("what was kept is kept, the next run goes on from here".to_owned()),
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
