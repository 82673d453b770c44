//! The worker of look-ups: finds the host and the series of meetings, which listings do not name.

use std::collections::{BTreeSet, HashSet, VecDeque};

use chrono::NaiveDate;

use super::{Error, run_state::RunState};
use crate::{
    catalog::{self, Catalog, HostLookup},
    model::{Host, HostId, Listing, MeetingUuid, PastMeeting, SeriesRow, Window},
    zoom::{self, Zoom},
};

/// Single look-ups of hosts and series in parallel.
const AT_ONCE: usize = 8;

/// A job for Zoom.
#[derive(Clone, Debug)]
pub(super) enum Ask {
    /// Read the account's report of active hosts.
    Report(Window),
    /// Look up the host of a meeting.
    Host(HostLookup),
    /// Read a host's list of series.
    Series(HostId),
}

/// The answer to a job.
pub(super) enum Answer {
    Report(Window, Result<Vec<Host>, zoom::Error>),
    Host(HostLookup, Result<PastMeeting, zoom::Error>),
    Series(HostId, Result<Vec<SeriesRow>, zoom::Error>),
}

/// Does the job.
pub(super) async fn answer(zoom: &Zoom, ask: Ask) -> Answer {
    match ask {
        Ask::Report(window) => {
            let hosts = zoom.list_hosts(window).await;
            Answer::Report(window, hosts)
        }
        Ask::Host(question) => {
            let meeting = zoom.past_meeting(&question.uuid).await;
            Answer::Host(question, meeting)
        }
        Ask::Series(host) => {
            let series = zoom.list_series(&host).await;
            Answer::Series(host, series)
        }
    }
}

/// The worker of look-ups.
pub(super) struct Lookups {
    reports: VecDeque<Window>,
    reported: BTreeSet<(NaiveDate, NaiveDate)>,
    reports_under_way: usize,
    asked_hosts: HashSet<(String, MeetingUuid)>,
    asked_series: HashSet<HostId>,
    ready: VecDeque<Ask>,
    /// Single look-ups under way, and how many of them ask for a host.
    under_way: usize,
    hosts_under_way: usize,
    /// Whether the catalog may have new pending look-ups.
    stale: bool,
}

impl Default for Lookups {
    fn default() -> Self {
        Self {
            reports: VecDeque::new(),
            reported: BTreeSet::new(),
            reports_under_way: 0,
            asked_hosts: HashSet::new(),
            asked_series: HashSet::new(),
            ready: VecDeque::new(),
            under_way: 0,
            hosts_under_way: 0,
            // An earlier run may have left some.
            stale: true,
        }
    }
}

impl Lookups {
    /// Handles a recorded listing. Whether it needs a report of hosts is queried from the catalog, not derived from the changes: a killed run may
    /// have recorded the changes without getting its report.
    pub fn listed(&mut self, catalog: &Catalog, listing: &Listing) -> Result<(), catalog::Error> {
        self.stale = true;
        let window = listing.window;
        if catalog.asks_for_hosts(listing)? && self.reported.insert((window.from, window.to)) {
            self.reports.push_back(window);
        }
        Ok(())
    }

    /// Whether a job is under way.
    pub fn is_busy(&self) -> bool {
        self.under_way + self.reports_under_way > 0
    }

    /// The next job. One report covers all hosts of its window, so single look-ups wait until every listing and every report has been read.
    pub fn next(&mut self, state: &RunState<'_>, all_listed: bool) -> Result<Option<Ask>, Error> {
        if let Some(window) = self.reports.pop_front() {
            self.reports_under_way += 1;
            return Ok(Some(Ask::Report(window)));
        }
        if !all_listed || self.reports_under_way > 0 || self.under_way >= AT_ONCE {
            return Ok(None);
        }
        if self.ready.is_empty() && self.stale {
            self.find(state)?;
        }
        let ask = self.ready.pop_front();
        self.under_way += usize::from(ask.is_some());
        self.hosts_under_way += usize::from(matches!(ask, Some(Ask::Host(_))));
        Ok(ask)
    }

    /// Finds look-ups that this run has not made yet. Hosts come first: a host's list of series is read once, when all of the host's meetings are
    /// known.
    fn find(&mut self, state: &RunState<'_>) -> Result<(), Error> {
        let limit = |asked: usize| (asked + AT_ONCE) as u64;
        for question in state.catalog.unknown_hosts(limit(self.asked_hosts.len()))? {
            if self
                .asked_hosts
                .insert((question.host_key.clone(), question.uuid.clone()))
            {
                self.ready.push_back(Ask::Host(question));
            }
        }
        if self.ready.is_empty() && self.hosts_under_way == 0 {
            let limit = limit(self.asked_series.len());
            for host in state.catalog.hosts_wanting_series(state.now(), limit)? {
                if self.asked_series.insert(host.clone()) {
                    self.ready.push_back(Ask::Series(host));
                }
            }
        }
        self.stale = !self.ready.is_empty();
        Ok(())
    }

    /// Handles the answer of a job.
    pub fn handle_answer(&mut self, state: &mut RunState<'_>, answer: Answer) -> Result<(), Error> {
        self.stale = true;
        match answer {
            Answer::Report(window, hosts) => {
                self.reports_under_way -= 1;
                reported(state, window, hosts)
            }
            Answer::Host(question, meeting) => {
                self.under_way -= 1;
                self.hosts_under_way -= 1;
                host_answered(state, &question, meeting)
            }
            Answer::Series(host, series) => {
                self.under_way -= 1;
                series_listed(state, &host, series)
            }
        }
    }
}

fn reported(
    state: &mut RunState<'_>,
    window: Window,
    hosts: Result<Vec<Host>, zoom::Error>,
) -> Result<(), Error> {
    match hosts {
        Ok(hosts) => named(state, hosts)?,
        Err(error) => state.lookup_failed(&format!("the hosts of {window}"), &error),
    }
    Ok(())
}

/// Records hosts that Zoom names.
pub(super) fn named(state: &mut RunState<'_>, mut hosts: Vec<Host>) -> Result<(), Error> {
    for host in &mut hosts {
        state.screen_host(host)?;
    }
    let now = state.now();
    Ok(state.catalog.record_hosts(&hosts, now)?)
}

fn host_answered(
    state: &mut RunState<'_>,
    question: &HostLookup,
    meeting: Result<PastMeeting, zoom::Error>,
) -> Result<(), Error> {
    let now = state.now();
    match meeting {
        Ok(PastMeeting {
            host_id: Some(host_id),
            user_email,
            user_name,
        }) => {
            let mut host = Host {
                host_id,
                email: user_email,
                name: user_name,
                dept: String::new(),
                user_type: None,
            };
            state.screen_host(&mut host)?;
            state.catalog.record_host_lookup(question, Some(&host), now)?;
        }
        Ok(PastMeeting { host_id: None, .. })
        | Err(zoom::Error::NotFound { .. } | zoom::Error::TooOld { .. }) => {
            state.catalog.record_host_lookup(question, None, now)?;
        }
        Err(error) => state.lookup_failed(&format!("the host of meeting {}", question.uuid), &error),
    }
    Ok(())
}

fn series_listed(
    state: &mut RunState<'_>,
    host: &HostId,
    series: Result<Vec<SeriesRow>, zoom::Error>,
) -> Result<(), Error> {
    let now = state.now();
    match series {
        Ok(mut rows) => {
            state.screen.series(host, &mut rows);
            state.catalog.record_series(host, &rows, now)?;
        }
        Err(zoom::Error::NotFound { .. }) => state.catalog.record_no_series(host, true, now)?,
        Err(zoom::Error::HostNotAllowed { .. }) => state.catalog.record_no_series(host, false, now)?,
        Err(error) => state.lookup_failed(&format!("the series of host {host}"), &error),
    }
    Ok(())
}
