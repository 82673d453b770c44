//! The states of a meeting, the events that change them, and what an error means for the current work.

use std::{fmt, time::Duration};

/// The status of a meeting. It follows from the checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// Known from a listing; its detail is due.
    Listed,
    /// Its detail is kept; its documents are due.
    Fetched,
    /// Elasticsearch acknowledged its documents.
    Indexed,
    /// The last attempt failed; due again.
    Failed,
    /// Its attempts are used up, or Elasticsearch rejected its documents; `retry` makes it due again.
    Dead,
    /// Zoom no longer has its detail.
    Gone,
}

impl Status {
    /// All six.
    pub const ALL: [Self; 6] = [
        Self::Listed,
        Self::Fetched,
        Self::Indexed,
        Self::Failed,
        Self::Dead,
        Self::Gone,
    ];

    /// As the catalog writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Listed => "listed",
            Self::Fetched => "fetched",
            Self::Indexed => "indexed",
            Self::Failed => "failed",
            Self::Dead => "dead",
            Self::Gone => "gone",
        }
    }

    /// The status of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }

    /// The status of a meeting after an event.
    pub fn next(self, event: Event) -> Self {
        match (self, event) {
            (_, Event::DetailChanged) => Self::Listed,
            (_, Event::DetailKept) => Self::Fetched,
            (_, Event::DetailGone) => Self::Gone,
            (_, Event::FetchFailed { last_attempt: true }) => Self::Dead,
            (_, Event::FetchFailed { last_attempt: false }) => Self::Failed,
            // If a meeting is unfetched, failing or gone, a rename waits until that status ends.
            (Self::Indexed | Self::Fetched, Event::DocumentsDue) => Self::Fetched,
            (other, Event::DocumentsDue) => other,
            (Self::Fetched, Event::Acknowledged) => Self::Indexed,
            (other, Event::Acknowledged) => other,
            (Self::Fetched, Event::Rejected) => Self::Dead,
            (other, Event::Rejected) => other,
            // If the detail is kept, no second fetch is needed: only the documents are sent again.
            (Self::Dead | Self::Failed, Event::Retried { detail_kept: true }) => Self::Fetched,
            (Self::Dead | Self::Failed, Event::Retried { detail_kept: false }) => Self::Listed,
            (other, Event::Retried { .. }) => other,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What can happen to a meeting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A later listing differs in fields that bear on the detail.
    DetailChanged,
    /// Its detail was fetched and kept for what the listing says now.
    DetailKept,
    /// Zoom answered 404 or 12702.
    DetailGone,
    /// The detail could not be fetched.
    FetchFailed {
        /// Whether that was its last attempt.
        last_attempt: bool,
    },
    /// What the documents show differs from what was acknowledged.
    DocumentsDue,
    /// Elasticsearch acknowledged the documents as they are now.
    Acknowledged,
    /// Elasticsearch refused a document (4xx).
    Rejected,
    /// A user ran `retry`.
    Retried {
        /// Whether the kept detail is for what the listing says now.
        detail_kept: bool,
    },
}

/// What an error means for the work at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// May work later; the adapter has already used up its own retries.
    Retry {
        /// The minimum wait, if the other side gave one.
        after: Option<Duration>,
    },
    /// This item will not work, but others will.
    Skip,
    /// Retrying is useless until a person acts, or until a given time.
    Stop,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_states_and_events() {
        let events = [
            Event::DetailChanged,
            Event::DetailKept,
            Event::DetailGone,
            Event::FetchFailed { last_attempt: false },
            Event::FetchFailed { last_attempt: true },
            Event::DocumentsDue,
            Event::Acknowledged,
            Event::Rejected,
            Event::Retried { detail_kept: true },
            Event::Retried { detail_kept: false },
        ];
        let table: String = Status::ALL
            .iter()
            .flat_map(|status| {
                events
                    .iter()
                    .map(move |event| format!("{status:8} {event:?} -> {}\n", status.next(*event)))
            })
            .collect();
        insta::assert_snapshot!(table);
    }
}
