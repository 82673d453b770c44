//! The sync engine: the only code that knows the order of the steps. It holds no SQL, no URL and no JSON.
//!
//! A run is one loop ([`Harvest`]) that owns the catalog. It asks four workers in turn for their next job: listings, look-ups (hosts and series),
//! details, publisher. It starts these jobs and waits for the first result. The worker whose job it was receives the result and records it. So
//! listing, fetching and publishing overlap in time, and each worker uses the catalog only. The next work is always queried from the catalog, so a
//! killed run and a new one find the same work.
//!
//! ```text
//! run ──► listings ──► plan, days, history        dry_run, verify_zoom ──► preview ──► listings
//!  ├────► lookups                         reindex, verify_index ─► publisher
//!  ├────► details                         (each worker) ─────────► run_state
//!  └────► publisher
//! ```

mod days;
mod details;
mod dry_run;
mod forget;
mod history;
mod listings;
mod lookups;
mod plan;
mod preview;
mod publisher;
mod reindex;
mod run;
mod run_state;
#[cfg(test)]
mod tests;
mod verify_index;
mod verify_zoom;
mod years;

use chrono::{DateTime, Utc};
use serde::Serialize;

pub use days::{Scope, earliest_day};
pub use dry_run::{DryRun, Forecast, WindowPlan, dry_run};
pub use forget::{ForgetSummary, ForgetTarget, forget};
pub use preview::Failure;
pub use reindex::{Rebuilding, Rebuilt, reindex};
pub use run::{Clients, Harvest, Options};
pub use verify_index::{Count, Difference, DifferenceKind, DroppedYear, Remedy, Verified, verify};
pub use verify_zoom::{ZoomComparison, ZoomDifference, ZoomDifferenceKind, compare_with_zoom};

use crate::{
    catalog::{self, Tally},
    elastic,
    model::Window,
};

/// Receives the engine's progress; the caller decides what to show.
pub trait Observer {
    /// Reports an event.
    fn see(&self, progress: Progress<'_>);
}

/// Progress of a run.
#[derive(Clone, Debug)]
pub enum Progress<'a> {
    /// A window is listed and recorded.
    Listed {
        /// The window.
        window: Window,
        /// Meetings that the listing shows.
        meetings: usize,
        /// The counts of the run so far.
        tally: &'a Tally,
    },
    /// A detail was kept or failed.
    Fetched {
        /// Details still due.
        due: u64,
        /// The counts of the run so far.
        tally: &'a Tally,
    },
    /// Documents were acknowledged.
    Published {
        /// Meetings whose documents are still due.
        due: u64,
        /// The counts of the run so far.
        tally: &'a Tally,
    },
    /// Documents of the indices were compared with the catalog.
    Compared {
        /// Documents compared so far.
        done: u64,
        /// Documents still to be compared.
        left: u64,
    },
    /// A document differs.
    Differs(&'a Difference),
    /// A message for the user.
    Note(&'a str),
    /// Something failed, with its consequence.
    Problem(&'a str),
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// Everything requested is harvested and published.
    Done,
    /// The run reached its end, but some items failed or are dead.
    Incomplete,
    /// The run stopped early. It may be started again.
    StoppedEarly {
        /// When to start it again, if known.
        come_back_at: Option<DateTime<Utc>>,
    },
    /// The configuration must be fixed first.
    Misconfigured,
    /// It was interrupted.
    Interrupted,
}

/// What a run did.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// How it ended.
    pub ending: Ending,
    /// The reason, in one line; `None` if all went well.
    pub message: Option<String>,
    /// The counts that the catalog keeps of the run.
    #[serde(flatten)]
    pub tally: Tally,
    /// Requests made to Zoom, by label.
    pub zoom_requests: std::collections::BTreeMap<&'static str, u64>,
    /// Bulk requests made to Elasticsearch.
    pub bulk_requests: u64,
    /// Documents sent.
    pub documents: u64,
    /// Session documents deleted.
    pub deleted: u64,
    /// Details that are still due.
    pub details_due: u64,
    /// Meetings whose documents are still due.
    pub documents_due: u64,
    /// Meetings that failed or are dead, in the whole catalog.
    pub troubled: u64,
    /// Whether there was an Elasticsearch to publish to.
    pub publishing: bool,
}

/// An error that ends a run at once.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] catalog::Error),
    /// Elasticsearch failed, in a command that cannot continue without it.
    #[error(transparent)]
    Elastic(#[from] elastic::Error),
    /// A rebuild would lose meetings that only the index holds.
    #[error(
        "the index holds {count} meetings that this catalog does not keep (for example {example}); a rebuild would lose them. \
         Sync the days they belong to first, or say --drop-unknown"
    )]
    WouldLose {
        /// How many meetings.
        count: u64,
        /// One of them.
        example: String,
    },
    /// It was interrupted.
    #[error(
        "interrupted; everything kept so far stays, and searches find what they found before: run it again"
    )]
    Interrupted,
}
