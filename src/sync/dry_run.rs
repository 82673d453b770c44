//! The dry run: what a sync would list and fetch, and why. It makes listing requests only and changes nothing.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::{
    Failure, Scope,
    listings::{Complete, PagePlan},
    preview::{Seen, preview},
};
use crate::{
    catalog::{self, Catalog, RunId},
    model::{Change, Label, ListedMeeting, MeetingUuid},
    privacy::{Policy, Screen},
    zoom::{Zoom, pace::Pacer},
};

/// How many details a dry run names.
const EXAMPLES: usize = 10;

/// What a sync would do.
#[derive(Clone, Debug, Default, Serialize)]
pub struct DryRun {
    /// What it would list.
    pub windows: Vec<WindowPlan>,
    /// Details it would fetch, by reason.
    pub details: BTreeMap<&'static str, u64>,
    /// The first of them.
    pub examples: Vec<String>,
    /// Meetings whose documents it would send without fetching anything.
    pub documents_only: u64,
    /// Requests it would make.
    pub forecast: Vec<Forecast>,
    /// The minimum duration in minutes, at the account's rate limits and the harvester's share of them.
    pub minutes: f64,
}

/// A window to be listed.
#[derive(Clone, Debug, Default, Serialize)]
pub struct WindowPlan {
    /// Its days.
    pub window: String,
    /// Meetings listed.
    pub meetings: u64,
    /// Meetings not in the catalog yet.
    pub new: u64,
    /// Meetings listed differently.
    pub changed: u64,
    /// Meetings no longer listed.
    pub vanished: u64,
    /// Meetings listed as before.
    pub unchanged: u64,
}

/// Requests of one label.
#[derive(Clone, Debug, Serialize)]
pub struct Forecast {
    /// The label.
    pub label: &'static str,
    /// The number of requests.
    pub requests: u64,
    /// The requests allowed in one window of its rate limit: a second, or a minute for Resource-intensive.
    pub per_window: u32,
}

/// Lists what a sync would list, and counts what it would do.
///
/// # Errors
/// The first failure: a plan with gaps would mislead.
pub async fn dry_run(
    catalog: &Catalog,
    zoom: &Zoom,
    pacer: &Pacer,
    scope: Scope,
    whole_listing_every: chrono::TimeDelta,
    policy: Policy,
    now: DateTime<Utc>,
) -> Result<DryRun, Failure> {
    let screen = Screen::new(policy, catalog.forgotten()?);
    let mut counted = Counted::default();
    preview(
        catalog,
        zoom,
        &screen,
        scope,
        whole_listing_every,
        now,
        |seen| match seen {
            Seen::Page(plan) => counted.page(catalog, plan),
            Seen::Listing(complete) => {
                counted.listing(complete);
                Ok(())
            }
        },
    )
    .await?;
    Ok(counted.forecast(catalog, pacer, now)?)
}

/// A dry run while it is counted.
#[derive(Default)]
struct Counted {
    found: DryRun,
    /// The window whose pages are being read.
    window: WindowPlan,
    /// Meetings that a page showed. A meeting that is read twice counts once.
    seen: HashSet<MeetingUuid>,
    /// Meetings whose detail would be fetched.
    planned: HashSet<MeetingUuid>,
    requests: BTreeMap<Label, u64>,
    /// Hosts that would be looked up one by one, and hosts whose list of series would be read.
    hosts: BTreeSet<String>,
    series: BTreeSet<String>,
}

impl Counted {
    fn page(&mut self, catalog: &Catalog, plan: &PagePlan<'_>) -> Result<(), catalog::Error> {
        for change in &plan.changes {
            let uuid = match change {
                Change::New(meeting) | Change::Changed { meeting, .. } => &meeting.uuid,
                Change::Unchanged(uuid) => *uuid,
                Change::Vanished(uuid) => uuid,
            };
            if !self.seen.insert(uuid.clone()) {
                continue;
            }
            match change {
                Change::New(meeting) => {
                    self.window.new += 1;
                    self.detail("new", meeting);
                    let asked = catalog.lookups_of_new(meeting)?;
                    if asked.series {
                        self.series.insert(asked.host_key.clone());
                    }
                    if asked.host {
                        self.hosts.insert(asked.host_key);
                    }
                }
                Change::Changed {
                    meeting,
                    detail: true,
                    ..
                } => {
                    self.window.changed += 1;
                    self.detail("changed", meeting);
                }
                Change::Changed { detail: false, .. } => {
                    self.window.changed += 1;
                    self.found.documents_only += 1;
                }
                Change::Unchanged(_) => self.window.unchanged += 1,
                Change::Vanished(_) => {}
            }
        }
        Ok(())
    }

    fn detail(&mut self, reason: &'static str, meeting: &ListedMeeting) {
        self.found.want(reason, meeting.uuid.as_str());
        self.planned.insert(meeting.uuid.clone());
        *self.requests.entry(Label::Heavy).or_default() += pages(meeting.participants);
    }

    fn listing(&mut self, complete: &Complete) {
        let listing = &complete.listing;
        let label = match listing.hosts {
            None => Label::ResourceIntensive,
            Some(_) => Label::Heavy,
        };
        *self.requests.entry(label).or_default() += u64::from(listing.pages);
        let mut shown = std::mem::take(&mut self.window);
        // The account's history shows more than the pages of the hosts that were listed.
        let unseen = |uuid: &&MeetingUuid| !self.seen.contains(*uuid);
        shown.unchanged += listing.shown.keys().filter(unseen).count() as u64;
        if shown.new > 0 && listing.hosts.is_none() {
            // One report of the window's hosts. Its number of pages is not known in advance.
            *self.requests.entry(Label::Heavy).or_default() += 1;
        }
        self.found.windows.push(WindowPlan {
            window: listing.window.to_string(),
            meetings: listing.shown.len() as u64,
            vanished: complete.vanished.len() as u64,
            ..shown
        });
    }

    fn forecast(
        mut self,
        catalog: &Catalog,
        pacer: &Pacer,
        now: DateTime<Utc>,
    ) -> Result<DryRun, catalog::Error> {
        for due in catalog.due_details(RunId(-1), now, 1_000_000)? {
            if !self.planned.contains(&due.uuid) {
                self.found.want("due from earlier runs", due.uuid.as_str());
                *self.requests.entry(Label::Heavy).or_default() += 1;
            }
        }
        // A list of series may have more than one page, and a host may be missing from the report. Neither is known in advance.
        let wanting = catalog.hosts_wanting_series(now, 1_000_000)?.len();
        *self.requests.entry(Label::Medium).or_default() += (wanting + self.series.len()) as u64;
        let unknown = catalog.unknown_hosts(1_000_000)?.len();
        *self.requests.entry(Label::Light).or_default() += (unknown + self.hosts.len()) as u64;
        for label in Label::ALL {
            let (count, per_window) = (
                self.requests.get(&label).copied().unwrap_or(0),
                pacer.per_window(label),
            );
            let windows_a_minute = if label == Label::ResourceIntensive {
                1.0
            } else {
                60.0
            };
            let minutes = count as f64 / f64::from(per_window) / windows_a_minute;
            self.found.minutes = self.found.minutes.max(minutes);
            self.found.forecast.push(Forecast {
                label: label.as_str(),
                requests: count,
                per_window,
            });
        }
        Ok(self.found)
    }
}

impl DryRun {
    fn want(&mut self, reason: &'static str, uuid: &str) {
        *self.details.entry(reason).or_default() += 1;
        if self.examples.len() < EXAMPLES {
            self.examples.push(format!("{uuid}: {reason}"));
        }
    }
}

/// The number of pages of a detail, by Zoom's count of joins.
fn pages(participants: Option<i64>) -> u64 {
    u64::try_from(participants.unwrap_or(1))
        .unwrap_or(1)
        .div_ceil(300)
        .max(1)
}
