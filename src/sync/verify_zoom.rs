//! The comparison with Zoom: what Zoom lists today that the catalog does not know, or knows differently. Listing requests only; nothing is recorded.

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

/// A meeting that Zoom lists differently from the catalog.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ZoomDifference {
    /// The kind of difference.
    #[serde(rename = "difference")]
    pub kind: ZoomDifferenceKind,
    /// The meeting's UUID.
    pub meeting: String,
}

/// The kinds of difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ZoomDifferenceKind {
    /// Listed, but not in the catalog.
    New,
    /// Listed differently, in fields that bear on its detail.
    Changed,
    /// Listed differently, in fields that only its documents show: a topic, a host's name.
    Renamed,
    /// Listed again, after it had vanished.
    Reappeared,
    /// No longer listed.
    Vanished,
}

/// The result of comparing a window with Zoom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ZoomComparison {
    /// Whether Zoom lists exactly what the catalog knows.
    pub equal: bool,
    /// The days that were compared.
    pub window: String,
    /// Meetings listed as the catalog knows them.
    pub unchanged: u64,
    /// Meetings that differ, by kind.
    pub counts: BTreeMap<ZoomDifferenceKind, u64>,
    /// Rows of the listing that could not be read. If there are any, nothing counts as vanished.
    pub unreadable: Vec<String>,
    /// The meetings that differ, in the order of UUIDs.
    #[serde(skip)]
    pub meetings: Vec<ZoomDifference>,
}

/// Lists the window again and compares it with the catalog.
///
/// # Errors
/// The first failure: days that were not listed prove nothing.
pub async fn compare_with_zoom(
    catalog: &Catalog,
    zoom: &Zoom,
    window: Window,
    policy: Policy,
    now: DateTime<Utc>,
) -> Result<ZoomComparison, Failure> {
    let mut unchanged: HashSet<MeetingUuid> = HashSet::new();
    let mut differing: BTreeMap<MeetingUuid, ZoomDifferenceKind> = BTreeMap::new();
    let mut unreadable = Vec::new();
    let mut differs = |uuid: &MeetingUuid, kind: ZoomDifferenceKind| {
        // A meeting that vanished from one day and is listed on another has moved.
        let known = differing.entry(uuid.clone()).or_insert(kind);
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
                        Change::New(meeting) => differs(&meeting.uuid, ZoomDifferenceKind::New),
                        Change::Changed {
                            meeting,
                            reappeared: true,
                            ..
                        } => differs(&meeting.uuid, ZoomDifferenceKind::Reappeared),
                        Change::Changed {
                            meeting,
                            detail: true,
                            ..
                        } => differs(&meeting.uuid, ZoomDifferenceKind::Changed),
                        Change::Changed { meeting, .. } => {
                            differs(&meeting.uuid, ZoomDifferenceKind::Renamed)
                        }
                        Change::Vanished(uuid) => differs(uuid, ZoomDifferenceKind::Vanished),
                    }
                }
            }
            Seen::Listing(complete) => {
                let malformed = complete.listing.malformed.iter();
                unreadable.extend(malformed.map(|bad| format!("{}: {}", bad.place, bad.reason)));
                for uuid in &complete.vanished {
                    differs(uuid, ZoomDifferenceKind::Vanished);
                }
            }
        }
        Ok(())
    })
    .await?;
    differing.retain(|uuid, kind| *kind != ZoomDifferenceKind::Vanished || !unchanged.contains(uuid));
    let mut counts: BTreeMap<ZoomDifferenceKind, u64> = BTreeMap::new();
    for kind in differing.values() {
        *counts.entry(*kind).or_default() += 1;
    }
    Ok(ZoomComparison {
        equal: differing.is_empty() && unreadable.is_empty(),
        window: window.to_string(),
        unchanged: unchanged.len() as u64,
        counts,
        unreadable,
        meetings: differing
            .into_iter()
            .map(|(uuid, kind)| ZoomDifference {
                kind,
                meeting: uuid.to_string(),
            })
            .collect(),
    })
}
