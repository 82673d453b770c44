//! Hosts and their series, as Zoom's answers name them.

use super::{HostId, SeriesId};

/// A host as the account's report of active users shows them.
#[derive(Clone, Debug, PartialEq)]
pub struct Host {
    /// The key.
    pub host_id: HostId,
    /// The email as Zoom wrote it, possibly empty.
    pub email: String,
    /// The display name, possibly empty.
    pub name: String,
    /// Department, possibly empty.
    pub dept: String,
    /// Zoom's numeric plan type: 1 Basic, 2 Licensed, 4 unassigned, 99 none.
    pub user_type: Option<i64>,
}

/// A row of a host's list of scheduled meetings.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesRow {
    /// The key.
    pub series_id: SeriesId,
    /// The topic, possibly empty.
    pub topic: String,
    /// What it is, from Zoom's type and `pmi`.
    pub kind: SeriesKind,
}

/// What a series is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SeriesKind {
    /// Zoom's type 2.
    Scheduled,
    /// Zoom's types 3 and 8.
    Recurring,
    /// A PMI, the host's personal room.
    Personal,
    /// Listed among past meetings, but not among what its host has scheduled.
    Instant,
    /// Not looked up (yet), or its host is not known.
    Unknown,
}

impl SeriesKind {
    /// All five.
    pub const ALL: [Self; 5] = [
        Self::Scheduled,
        Self::Recurring,
        Self::Personal,
        Self::Instant,
        Self::Unknown,
    ];

    /// As the catalog writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Recurring => "recurring",
            Self::Personal => "personal",
            Self::Instant => "instant",
            Self::Unknown => "unknown",
        }
    }

    /// The kind of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// The kind of a series that its host's complete list does not contain. Ten digits are a personal room; the others were started without being
    /// scheduled. Source: Zoom's blog "Meeting API querying tips", part 1.
    pub fn of_unlisted(series_id: SeriesId) -> Self {
        if series_id.is_personal_room() {
            Self::Personal
        } else {
            Self::Instant
        }
    }
}

/// What `/past_meetings/{uuid}` says of a meeting's host.
#[derive(Clone, Debug, PartialEq)]
pub struct PastMeeting {
    /// The host, if Zoom names one.
    pub host_id: Option<HostId>,
    /// The host's email, possibly empty.
    pub user_email: String,
    /// The host's display name, possibly empty.
    pub user_name: String,
}
