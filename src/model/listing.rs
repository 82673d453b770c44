//! Listings: what Zoom shows for a window of days, what the catalog knows of it, and what the difference means.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, NaiveDate, Utc};

use super::{Checksum, Host, HostId, MeetingUuid, Row, RowEdit, SeriesId, Window, iso};

/// Which of Zoom's two lists of ended meetings a meeting is in. Its detail must be requested with the same type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ListingType {
    /// Two or more participants.
    Past,
    /// One participant.
    PastOne,
}

impl ListingType {
    /// Both; a complete listing is the union of both.
    pub const ALL: [Self; 2] = [Self::Past, Self::PastOne];

    /// As Zoom's `type` parameter.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Past => "past",
            Self::PastOne => "pastOne",
        }
    }

    /// The type of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// The kind of a meeting. Both kinds are kept and published in the same way; Zoom lists them separately.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MeetingKind {
    /// A meeting.
    #[default]
    Meeting,
    /// A webinar: panelists speak, attendees listen.
    Webinar,
}

impl MeetingKind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Meeting, Self::Webinar];

    /// Meetings, and webinars if they are requested.
    pub fn wanted(webinars: bool) -> &'static [Self] {
        match webinars {
            true => &Self::ALL,
            false => &[Self::Meeting],
        }
    }

    /// As the catalog and the documents name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Meeting => "meeting",
            Self::Webinar => "webinar",
        }
    }

    /// The kind of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// The part of Zoom's API that a meeting's data comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// The dashboards (`/metrics/…`): Business, Education and Enterprise plans.
    #[default]
    Dashboard,
    /// The reports (`/report/…`): Pro plans and up. They contain no device, network or location.
    Reports,
}

impl Source {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Dashboard, Self::Reports];

    /// As the catalog and the documents name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dashboard => "dashboard",
            Self::Reports => "reports",
        }
    }

    /// The source of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|source| source.as_str() == text)
    }
}

/// The time by which Zoom selects the meetings of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DateBasis {
    /// `query_date_type=end_time`: requested first.
    EndTime,
    /// Zoom's default, and the only choice for some accounts (code 12700).
    StartTime,
}

impl DateBasis {
    /// As Zoom's `query_date_type` parameter.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EndTime => "end_time",
            Self::StartTime => "start_time",
        }
    }
}

/// One row of a meeting listing.
#[derive(Clone, Debug, PartialEq)]
pub struct ListedMeeting {
    /// Its key.
    pub uuid: MeetingUuid,
    /// Its series, if Zoom named one that is a number.
    pub series_id: Option<SeriesId>,
    /// Whether it is a webinar.
    pub kind: MeetingKind,
    /// The list it is in.
    pub listing_type: ListingType,
    /// The source of that list.
    pub source: Source,
    /// The topic, possibly empty.
    pub topic: String,
    /// The host's display name, possibly empty.
    pub host_name: String,
    /// The host's email as Zoom wrote it, possibly empty.
    pub host_email: String,
    /// When it began; Zoom sometimes does not say (yet).
    pub start_time: Option<DateTime<Utc>>,
    /// When it ended; Zoom sometimes does not say (yet).
    pub end_time: Option<DateTime<Utc>>,
    /// Its length in seconds; Zoom sometimes does not say (yet).
    pub duration_s: Option<i64>,
    /// Zoom's count of joins (not of people).
    pub participants: Option<i64>,
    /// The whole row, including unknown fields.
    pub row: Row,
}

/// Fields of a listing that change by themselves after a meeting. Such a change makes nothing due.
pub const VOLATILE_LISTING_FIELDS: [&str; 4] = [
    "audio_quality",
    "video_quality",
    "screen_share_quality",
    "avg_jointime_cost",
];

/// Fields of a listing that bear on the detail, in addition to the list that the meeting is in.
const DETAIL_LISTING_FIELDS: [&str; 4] = ["start_time", "end_time", "duration", "participants"];

impl ListedMeeting {
    /// The checksum that decides whether the detail must be fetched: times, length, joins. It covers named fields in their parsed form and begins
    /// with a version. So neither a new field of Zoom's nor a number that becomes a string causes a whole account to be fetched again.
    pub fn listed_checksum(&self) -> Checksum {
        let time = |at: Option<DateTime<Utc>>| at.map(iso);
        // The two sources count lengths and participants differently, so their rows never have the same checksum.
        let version = match self.source {
            Source::Dashboard => "",
            Source::Reports => "reports ",
        };
        let list = format!("{version}{}", self.listing_type.as_str());
        Checksum::of_json(&(
            1,
            list,
            time(self.start_time),
            time(self.end_time),
            self.duration_s,
            self.participants,
        ))
    }

    /// The day it counts for: that of its end, else of its start, else the last day of the window it was listed in.
    pub fn listed_day(&self, window: Window) -> NaiveDate {
        self.end_time
            .or(self.start_time)
            .map_or(window.to, |at| at.date_naive())
    }

    /// Whether it began or ended inside the window. If neither time is known, it counts as inside.
    pub fn is_inside(&self, window: Window) -> bool {
        let inside = |at: Option<DateTime<Utc>>| at.is_some_and(|at| window.contains(at.date_naive()));
        inside(self.start_time)
            || inside(self.end_time)
            || (self.start_time.is_none() && self.end_time.is_none())
    }

    /// The checksum of what only the documents show: every other field that does not change by itself.
    pub fn shown_checksum(&self) -> Checksum {
        Self::shown_checksum_of(&self.row)
    }

    /// The same, from a row alone.
    pub fn shown_checksum_of(row: &Row) -> Checksum {
        let mut shown = RowEdit::new(row.view());
        shown.retain(|name| {
            !VOLATILE_LISTING_FIELDS.contains(&name) && !DETAIL_LISTING_FIELDS.contains(&name)
        });
        Checksum::of_bytes(shown.finish().as_str().as_bytes())
    }
}

/// An item of an answer that could not be read; the rest of the answer is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Where it was, e.g. `meetings[3] of past 2026-03-01..2026-03-31, page 2`.
    pub place: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Rows of a listing that has not been read to its end. They prove that their meetings exist; absence from them proves nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct ListingPage {
    /// The days that the listing covers.
    pub window: Window,
    /// The rows.
    pub meetings: Vec<ListedMeeting>,
    /// Hosts that the source names in addition.
    pub hosts: Vec<Host>,
}

/// Zoom's complete answer for a window: `past` and `pastOne`, united by UUID. It exists only once the last page of both has been read, so what is not
/// in it is not there. The rows themselves came page by page.
#[derive(Clone, Debug, PartialEq)]
pub struct Listing {
    /// The days it covers: the requested days, cut to those that Zoom echoed.
    pub window: Window,
    /// The time by which Zoom selected.
    pub basis: DateBasis,
    /// The meetings it shows.
    pub shown: HashMap<MeetingUuid, Shown>,
    /// Rows that could not be read. If there are any, nothing may be concluded from absence.
    pub malformed: Vec<Malformed>,
    /// The number of pages read.
    pub pages: u32,
    /// The hosts whose meetings it covers, if it was read host by host. `None` if it covers everybody's.
    pub hosts: Option<HashSet<HostId>>,
    /// Whether the lists of every host were read. If not, the account's history showed which hosts have news, and the listing settles no day.
    pub every_host: bool,
    /// The account's history, if it was read to be compared with this listing; or the reason why Zoom did not give it.
    pub history: Option<Result<Vec<ListedMeeting>, String>>,
    /// Whether it covers webinars as well.
    pub webinars: Webinars,
    /// Messages for the user.
    pub notes: Vec<String>,
}

impl Listing {
    /// The kinds it covers: meetings, and webinars if they are in it.
    pub fn kinds(&self) -> &'static [MeetingKind] {
        MeetingKind::wanted(self.webinars == Webinars::Listed)
    }
}

/// A meeting that a listing shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The day that it counts for.
    pub day: NaiveDate,
    /// Whether it is a webinar.
    pub kind: MeetingKind,
}

/// What a listing contains of webinars.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Webinars {
    /// They were not requested.
    NotAsked,
    /// They are in the listing.
    Listed,
    /// The account has none: its plan lacks the add-on.
    NotInPlan {
        /// Zoom's words. `None` if this was known before and webinars were not requested again.
        refusal: Option<String>,
    },
}

/// What the catalog knows of a meeting that a listing may show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownMeeting {
    /// [`ListedMeeting::listed_checksum`] as last recorded.
    pub listed_checksum: Checksum,
    /// [`ListedMeeting::shown_checksum`] as last recorded.
    pub shown_checksum: Checksum,
    /// The source of that record.
    pub source: Source,
    /// When it began and ended, by that record, as [`iso`] writes it.
    pub times: [Option<String>; 2],
    /// Whether a detail is kept that was fetched for `listed_checksum`.
    pub detail_kept: bool,
    /// Whether a complete listing no longer showed it.
    pub vanished: bool,
    /// Whether Zoom did not have its detail at the last request.
    pub gone: bool,
}

/// A meeting that the catalog holds, as the account's history should show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldMeeting {
    /// Its key.
    pub uuid: MeetingUuid,
    /// Its host, if known.
    pub host_id: Option<HostId>,
    /// The topic, as it is kept.
    pub topic: String,
    /// When it began and ended, as [`iso`] writes it.
    pub times: [Option<String>; 2],
    /// The number of participants, if a report counted them. The dashboards count differently.
    pub participants: Option<i64>,
}

/// The differences between the account's history and the catalog. Each is only a reason to read the host's own lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// Hosts of meetings that the catalog holds and the history shows differently, or does not show.
    pub hosts: HashSet<HostId>,
    /// Meetings in the history whose host the catalog does not know.
    pub meetings: HashSet<MeetingUuid>,
}

impl News {
    /// Whether there are no differences.
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty() && self.meetings.is_empty()
    }
}

/// What the catalog knows that bears on one listing.
pub type Known = HashMap<MeetingUuid, KnownMeeting>;

/// The change that a listing means for one meeting. Planning is a pure function that returns these; the dry run prints them.
#[derive(Clone, Debug, PartialEq)]
pub enum Change<'a> {
    /// Not in the catalog yet.
    New(&'a ListedMeeting),
    /// Listed differently than before.
    Changed {
        /// The row as it is now.
        meeting: &'a ListedMeeting,
        /// Whether a field that bears on the detail differs. If so, the detail is due, else only the documents.
        detail: bool,
        /// Whether an earlier listing no longer showed it.
        reappeared: bool,
    },
    /// Listed as before.
    Unchanged(&'a MeetingUuid),
    /// In the catalog, but a complete listing of its days does not show it any more.
    Vanished(MeetingUuid),
}
