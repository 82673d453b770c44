//! The comparison with Zoom: what it lists today that the catalog does not know, or knows otherwise. Listing requests only; nothing is recorded.

use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use super::{
    Failure, Scope,
    preview::{Seen, preview},
};
use crate::{
    catalog::Catalog,
    model::{Change, MeetingUuid, Window},
    privacy::{Policy, Screen},
    zoom::Zoom,
};

/// A meeting that Zoom lists otherwise than the catalog knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Drifted {
    /// How.
    #[serde(rename = "drift")]
    pub kind: DriftKind,
    /// Which.
    pub meeting: String,
}

/// The ways to drift.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DriftKind {
    /// Listed, and not in the catalog.
    New,
    /// Listed otherwise, in what bears on its detail.
    Changed,
    /// Listed otherwise, in what only its documents show: a topic, a host's name.
    Renamed,
    /// Listed again, after it had vanished.
    Reappeared,
    /// Listed no more.
    Vanished,
}

/// What a window listed again came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Drift {
    /// Whether Zoom lists exactly what the catalog knows.
    pub equal: bool,
    /// The days that were compared.
    pub window: String,
    /// Meetings listed as the catalog knows them.
    pub unchanged: u64,
    /// Meetings that drifted, by kind.
    pub counts: BTreeMap<DriftKind, u64>,
    /// Rows of the listing that could not be read: beside them nothing counts as vanished.
    pub unreadable: Vec<String>,
    /// Those that drifted, by UUID.
    #[serde(skip)]
    pub meetings: Vec<Drifted>,
}

/// Lists the window again and compares.
///
/// # Errors
/// The first thing that fails: days that were not listed prove nothing.
pub async fn drift(
    catalog: &Catalog,
    zoom: &Zoom,
    window: Window,
    policy: Policy,
    now: DateTime<Utc>,
) -> Result<Drift, Failure> {
    let mut unchanged: HashSet<MeetingUuid> = HashSet::new();
    let mut drifted: BTreeMap<MeetingUuid, DriftKind> = BTreeMap::new();
    let mut unreadable = Vec::new();
    let mut drifts = |uuid: &MeetingUuid, kind: DriftKind| {
        // Gone from one day and listed in another: it has moved.
        let known = drifted.entry(uuid.clone()).or_insert(kind);
        *known = Ord::min(*known, kind);
    };
    let screen = Screen::new(policy, catalog.forgotten()?);
    let scope = Scope::Days(window);
    preview(catalog, zoom, &screen, scope, TimeDelta::MAX, now, |seen| {
        match seen {
            Seen::Page(plan) => {
                for change in &plan.changes {
                    match change {
                        Change::Unchanged(uuid) => {
                            unchanged.insert((*uuid).clone());
                        }
                        Change::New(meeting) => drifts(&meeting.uuid, DriftKind::New),
                        Change::Changed {
                            meeting,
                            reappeared: true,
                            ..
                        } => drifts(&meeting.uuid, DriftKind::Reappeared),
                        Change::Changed {
                            meeting,
                            detail: true,
                            ..
                        } => drifts(&meeting.uuid, DriftKind::Changed),
                        Change::Changed { meeting, .. } => drifts(&meeting.uuid, DriftKind::Renamed),
                        Change::Vanished(uuid) => drifts(uuid, DriftKind::Vanished),
                    }
                }
            }
            Seen::Listing(complete) => {
                let malformed = complete.listing.malformed.iter();
                unreadable.extend(malformed.map(|bad| format!("{}: {}", bad.place, bad.reason)));
                for uuid in &complete.vanished {
                    drifts(uuid, DriftKind::Vanished);
                }
            }
        }
        Ok(())
    })
    .await?;
    drifted.retain(|uuid, kind| *kind != DriftKind::Vanished || !unchanged.contains(uuid));
    let mut counts: BTreeMap<DriftKind, u64> = BTreeMap::new();
    for kind in drifted.values() {
        *counts.entry(*kind).or_default() += 1;
    }
    Ok(Drift {
        equal: drifted.is_empty() && unreadable.is_empty(),
        window: window.to_string(),
        unchanged: unchanged.len() as u64,
        counts,
        unreadable,
        meetings: drifted
            .into_iter()
            .map(|(uuid, kind)| Drifted {
                kind,
                meeting: uuid.to_string(),
            })
            .collect(),
    })
}
