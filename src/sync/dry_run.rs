//! The dry run: what a sync would list and fetch, and why. It makes listing requests only and changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::{
    days::{Scope, wanted_days},
    relist::{Failure, relist},
};
use crate::{
    catalog::{Catalog, RunId},
    model::{Change, Label},
    privacy::{Policy, Screen},
    zoom::{Zoom, pace::Pacer},
};

/// What a sync would do.
#[derive(Clone, Debug, Serialize)]
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
    /// How long that takes at least, at the account's limits and our share of them.
    pub minutes: f64,
}

/// A window to be listed.
#[derive(Clone, Debug, Serialize)]
pub struct WindowPlan {
    /// Its days.
    pub window: String,
    /// Meetings listed.
    pub meetings: u64,
    /// Not in the catalog yet.
    pub new: u64,
    /// Listed differently.
    pub changed: u64,
    /// No longer listed.
    pub vanished: u64,
    /// As before.
    pub unchanged: u64,
}

/// Requests of one label.
#[derive(Clone, Debug, Serialize)]
pub struct Forecast {
    /// Which.
    pub label: &'static str,
    /// How many.
    pub requests: u64,
    /// How many a window of its limit (a second, or a minute for Resource-intensive) we may make.
    pub per_window: u32,
}

/// Lists what a sync would list and tells what it would make of it.
///
/// # Errors
/// The first thing that fails: a plan with holes would mislead.
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
    let today = now.date_naive();
    let wanted = wanted_days(catalog, scope, whole_listing_every, now)?;
    let mut found = DryRun {
        windows: Vec::new(),
        details: BTreeMap::new(),
        examples: Vec::new(),
        documents_only: 0,
        forecast: Vec::new(),
        minutes: 0.0,
    };
    let mut requests: BTreeMap<Label, u64> = BTreeMap::new();
    let mut planned = BTreeSet::new();
    let (mut hosts, mut series) = (BTreeSet::new(), BTreeSet::new());
    relist(catalog, zoom, &screen, &wanted, scope, today, |look| {
        *requests.entry(Label::ResourceIntensive).or_default() += u64::from(look.listing.pages);
        let listing = &look.listing;
        let mut shown = WindowPlan {
            window: listing.window.to_string(),
            meetings: listing.meetings.len() as u64,
            new: 0,
            changed: 0,
            vanished: 0,
            unchanged: 0,
        };
        for change in look.changes {
            match change {
                Change::New(meeting) => {
                    shown.new += 1;
                    found.want("new", &meeting.uuid.to_string(), &mut planned);
                    *requests.entry(Label::Heavy).or_default() += pages(meeting.participants);
                    let asked = catalog.new_questions(&meeting)?;
                    if asked.series {
                        series.insert(asked.host_key.clone());
                    }
                    if asked.host {
                        hosts.insert(asked.host_key);
                    }
                }
                Change::Changed {
                    meeting,
                    detail: true,
                    ..
                } => {
                    shown.changed += 1;
                    found.want("changed", &meeting.uuid.to_string(), &mut planned);
                    *requests.entry(Label::Heavy).or_default() += pages(meeting.participants);
                }
                Change::Changed { detail: false, .. } => {
                    shown.changed += 1;
                    found.documents_only += 1;
                }
                Change::Vanished(_) => shown.vanished += 1,
                Change::Unchanged(_) => shown.unchanged += 1,
            }
        }
        if shown.new > 0 {
            // One report of the window's hosts; their number of pages is not known before.
            *requests.entry(Label::Heavy).or_default() += 1;
        }
        found.windows.push(shown);
        Ok(())
    })
    .await?;
    for due in catalog.due_details(RunId(-1), now, 1_000_000)? {
        if found.want("due from earlier runs", due.uuid.as_str(), &mut planned) {
            *requests.entry(Label::Heavy).or_default() += 1;
        }
    }
    // A list of series may have more pages than one, and a host may be missing from the report: not known before.
    let wanting = catalog.hosts_wanting_series(now, 1_000_000)?.len();
    *requests.entry(Label::Medium).or_default() += (wanting + series.len()) as u64;
    let unknown = catalog.unknown_hosts(1_000_000)?.len();
    *requests.entry(Label::Light).or_default() += (unknown + hosts.len()) as u64;
    for label in Label::ALL {
        let (count, per_window) = (
            requests.get(&label).copied().unwrap_or(0),
            pacer.per_window(label),
        );
        let windows_a_minute = if label == Label::ResourceIntensive {
            1.0
        } else {
            60.0
        };
        let minutes = count as f64 / f64::from(per_window) / windows_a_minute;
        found.minutes = found.minutes.max(minutes);
        found.forecast.push(Forecast {
            label: label.as_str(),
            requests: count,
            per_window,
        });
    }
    Ok(found)
}

impl DryRun {
    fn want(&mut self, reason: &'static str, uuid: &str, planned: &mut BTreeSet<String>) -> bool {
        let fresh = planned.insert(uuid.to_owned());
        if fresh {
            *self.details.entry(reason).or_default() += 1;
            if self.examples.len() < 10 {
                self.examples.push(format!("{uuid}: {reason}"));
            }
        }
        fresh
    }
}

/// A detail's pages, by Zoom's count of joins.
fn pages(participants: Option<i64>) -> u64 {
    u64::try_from(participants.unwrap_or(1))
        .unwrap_or(1)
        .div_ceil(300)
        .max(1)
}
