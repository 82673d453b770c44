//! The nouns of the program: ids, windows, checksums, listings, details, documents, states. No I/O.
//!
//! Everything that crosses a border between two modules is one of these types.

use std::{fmt, sync::Arc, time::Duration};

use chrono::{DateTime, Datelike, Days, NaiveDate, NaiveDateTime, SecondsFormat, Timelike, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// A row as Zoom sent it. Keys are sorted, so that serialising one twice gives the same bytes.
pub type Row = Map<String, Value>;

/// Where the library learns the time. It never asks the operating system itself: `cli` passes the
/// wall clock in, tests pass what they need.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>);

impl Clock {
    /// A clock that answers what `read` answers.
    pub fn new(read: impl Fn() -> DateTime<Utc> + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// The time now, UTC.
    pub fn now(&self) -> DateTime<Utc> {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Wraps the text as it came; it is opaque and never taken apart.
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// The text as it came.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id! {
    /// A Zoom account, as in the app's credentials.
    AccountId
}
text_id! {
    /// A Zoom user with an account who hosts meetings; Zoom's API mostly calls it "user id".
    HostId
}
text_id! {
    /// One meeting instance: the only safe key. Base64, may contain `/`, `+` and `=`.
    MeetingUuid
}
text_id! {
    /// The `_id` of a session document: 32 hex digits, see [`Detail::session_ids`].
    SessionId
}

/// What Zoom calls "meeting id" or "meeting number": 9 to 11 digits today, int64 by its documentation;
/// stays the same through a scheduled or recurring series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SeriesId(pub i64);

impl fmt::Display for SeriesId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Whole UTC days, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Window {
    /// The first day.
    pub from: NaiveDate,
    /// The last day, never before `from`.
    pub to: NaiveDate,
}

impl Window {
    /// A window, or nothing when it would end before it begins.
    pub fn new(from: NaiveDate, to: NaiveDate) -> Option<Self> {
        (from <= to).then_some(Self { from, to })
    }

    /// One day.
    pub fn day(day: NaiveDate) -> Self {
        Self { from: day, to: day }
    }

    /// Whether the day is inside.
    pub fn contains(&self, day: NaiveDate) -> bool {
        self.from <= day && day <= self.to
    }

    /// Every day, in order.
    pub fn days(self) -> impl Iterator<Item = NaiveDate> {
        self.from.iter_days().take_while(move |day| *day <= self.to)
    }

    /// The days both have, if any.
    pub fn intersection(self, other: Self) -> Option<Self> {
        Self::new(self.from.max(other.from), self.to.min(other.to))
    }

    /// Two halves of whole days, or nothing when it is one day already.
    pub fn halves(self) -> Option<(Self, Self)> {
        let days = (self.to - self.from).num_days() as u64 + 1;
        if days < 2 {
            return None;
        }
        let middle = self.from + Days::new(days / 2 - 1);
        Some((
            Self {
                from: self.from,
                to: middle,
            },
            Self {
                from: middle + Days::new(1),
                to: self.to,
            },
        ))
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.from, self.to)
    }
}

/// SHA-256, lower-case hex.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Checksum(String);

impl Checksum {
    /// Over the bytes.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self(hex(&Sha256::digest(bytes)))
    }

    /// Over canonical JSON: sorted keys, no insignificant white space.
    pub fn of_json(value: &Value) -> Self {
        Self::of_bytes(value.to_string().as_bytes())
    }

    /// A digest that was made elsewhere.
    pub fn from_digest(digest: &[u8]) -> Self {
        Self(hex(digest))
    }

    /// A checksum that was stored.
    pub fn from_hex(hex: impl Into<String>) -> Self {
        Self(hex.into())
    }

    /// The 64 hex digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
            let _ = write!(out, "{byte:02x}");
            out
        })
}

/// Reads what [`iso`] wrote, or any other RFC 3339 time.
pub fn from_iso(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text)
        .ok()
        .map(|at| at.with_timezone(&Utc))
}

/// ISO-8601 UTC with whole seconds, as everything is stored: `2026-03-01T10:15:14Z`.
pub fn iso(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// A time as Zoom writes them: with or without fractions, with an offset or, taken as UTC, without.
///
/// Only times that [`iso`] writes with four digits for the year and an ordinary second are times here: the catalog sorts them as text,
/// and Elasticsearch refuses the others with their whole document. A leap second is the last ordinary one.
pub fn parse_time(text: &str) -> Option<DateTime<Utc>> {
    let text = text.trim();
    let at = from_iso(text).or_else(|| {
        [
            "%Y-%m-%dT%H:%M:%S%.f",
            "%Y-%m-%d %H:%M:%S%.f",
            "%Y-%m-%d %H:%M:%S:%3f",
        ]
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())
        .map(|at| at.and_utc())
    })?;
    let nanosecond = at.nanosecond().min(999_999_999);
    at.with_nanosecond(nanosecond)
        .filter(|at| (1..=9999).contains(&at.year()))
}

/// Zoom's rate-limit labels; each has its own limits. Source: Zoom's rate-limits page, 2026-02.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Label {
    /// `GET /past_meetings/{uuid}`.
    Light,
    /// `GET /users/{host_id}/meetings`.
    Medium,
    /// `GET /report/users` and a meeting's participants; counts against the daily quota.
    Heavy,
    /// `GET /metrics/meetings`: limited per minute; counts against the daily quota.
    ResourceIntensive,
}

impl Label {
    /// All four.
    pub const ALL: [Self; 4] = [Self::Light, Self::Medium, Self::Heavy, Self::ResourceIntensive];

    /// As the catalog, the summary and Zoom's `X-RateLimit-Category` write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Light => "Light",
            Self::Medium => "Medium",
            Self::Heavy => "Heavy",
            Self::ResourceIntensive => "Resource-intensive",
        }
    }

    /// The label of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|label| label.as_str().eq_ignore_ascii_case(text))
    }

    /// Whether it counts against the combined daily quota of Heavy and Resource-intensive requests.
    pub fn has_daily_quota(self) -> bool {
        matches!(self, Self::Heavy | Self::ResourceIntensive)
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which of Zoom's two lists of ended meetings a meeting stands in; its detail must be asked for with the same.
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

/// By which of a meeting's times Zoom selects the meetings of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DateBasis {
    /// `query_date_type=end_time`: what we ask for first.
    EndTime,
    /// Zoom's default, and all that some accounts may ask for (code 12700).
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
    /// The list it stands in.
    pub listing_type: ListingType,
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
    /// The whole row, unknown fields too.
    pub row: Row,
}

/// Fields of a listing that change by themselves after a meeting: they make nothing due.
pub const VOLATILE_LISTING_FIELDS: [&str; 4] = [
    "audio_quality",
    "video_quality",
    "screen_share_quality",
    "avg_jointime_cost",
];

/// Fields of a listing that bear on the detail, beside the list it stands in.
const DETAIL_LISTING_FIELDS: [&str; 4] = ["start_time", "end_time", "duration", "participants"];

impl ListedMeeting {
    /// What decides whether the detail must be fetched: times, length, joins. It covers named fields in their
    /// parsed form and begins with a version, so that neither a new field of Zoom's, nor a number that
    /// becomes a string, refetches an account.
    pub fn listed_checksum(&self) -> Checksum {
        let time = |at: Option<DateTime<Utc>>| at.map(iso);
        Checksum::of_json(&serde_json::json!([
            1,
            self.listing_type.as_str(),
            time(self.start_time),
            time(self.end_time),
            self.duration_s,
            self.participants
        ]))
    }

    /// The day it counts for: of its end, else of its start, else the last day of the window it was listed in.
    pub fn listed_day(&self, window: Window) -> NaiveDate {
        self.end_time
            .or(self.start_time)
            .map_or(window.to, |at| at.date_naive())
    }

    /// Whether it began or ended inside. Where Zoom does not say when it ended, the window it was listed in decides.
    pub fn is_inside(&self, window: Window) -> bool {
        let inside = |at: Option<DateTime<Utc>>| at.is_some_and(|at| window.contains(at.date_naive()));
        inside(self.start_time)
            || inside(self.end_time)
            || (self.start_time.is_none() && self.end_time.is_none())
    }

    /// What only the documents show: every other field that does not change by itself.
    pub fn shown_checksum(&self) -> Checksum {
        Self::shown_checksum_of(&self.row)
    }

    /// The same, of a row alone.
    pub fn shown_checksum_of(row: &Row) -> Checksum {
        let shown: Row = row
            .iter()
            .filter(|(name, _)| {
                !VOLATILE_LISTING_FIELDS.contains(&name.as_str())
                    && !DETAIL_LISTING_FIELDS.contains(&name.as_str())
            })
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        Checksum::of_json(&Value::Object(shown))
    }
}

/// An item of an answer that could not be read; the rest of the answer is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Where it stood, e.g. `meetings[3] of past 2026-03-01..2026-03-31, page 2`.
    pub place: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Zoom's complete answer for a window: `past` and `pastOne`, united by UUID. It exists only once the last page of both
/// has been read, so whoever holds one may conclude that what is not in it is not there.
#[derive(Clone, Debug, PartialEq)]
pub struct Listing {
    /// The days it speaks for: what was asked, cut to what Zoom echoed.
    pub window: Window,
    /// By which time Zoom selected.
    pub basis: DateBasis,
    /// The rows, each UUID once.
    pub meetings: Vec<ListedMeeting>,
    /// Rows that could not be read; with any of these nothing may be concluded from absence.
    pub malformed: Vec<Malformed>,
    /// Pages read.
    pub pages: u32,
}

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

    /// What a series is that its host's complete list does not hold: ten digits are a personal room, the rest
    /// were started without being scheduled. Source: Zoom's blog "Meeting API querying tips", part 1.
    pub fn of_unlisted(series_id: SeriesId) -> Self {
        if (1_000_000_000..10_000_000_000).contains(&series_id.0) {
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

/// All that is fetched for one meeting. Like a [`Listing`] it exists only once the last page has been read.
#[derive(Clone, Debug, PartialEq)]
pub struct Detail {
    /// Whose it is.
    pub uuid: MeetingUuid,
    /// Every participant session, in canonical order.
    pub sessions: Vec<Row>,
    /// Sessions that Zoom counts and does not show: with any of these it may take nothing away.
    pub missing: u64,
}

impl Detail {
    /// Puts the sessions in canonical order (by join time, then by all they say), so that the order of Zoom's pages
    /// changes no checksum and no id.
    pub fn new(uuid: MeetingUuid, mut sessions: Vec<Row>) -> Self {
        sessions.sort_by_cached_key(|row| {
            (
                text(row, "join_time").to_owned(),
                serde_json::to_string(row).unwrap_or_default(),
            )
        });
        Self::in_order(uuid, sessions)
    }

    /// The sessions as they were kept: put in canonical order by then.
    pub fn in_order(uuid: MeetingUuid, sessions: Vec<Row>) -> Self {
        Self {
            uuid,
            sessions,
            missing: 0,
        }
    }

    /// Canonical JSON of the sessions: what the catalog keeps.
    pub fn payload(&self) -> Vec<u8> {
        serde_json::to_vec(&self.sessions).unwrap_or_default()
    }

    /// Over [`Detail::payload`].
    pub fn checksum(&self) -> Checksum {
        Checksum::of_bytes(&self.payload())
    }

    /// The `_id` of each session's document, in the order of `sessions`: a digest of meeting, participant and join time, and
    /// an ordinal among those that have all three alike. `participant_uuid` names the participant, else `user_id`:
    /// both are Zoom's, valid inside the meeting only, and not always there.
    pub fn session_ids(&self) -> Vec<SessionId> {
        let mut seen = std::collections::HashMap::new();
        self.sessions
            .iter()
            .map(|row| {
                let participant = match text(row, "participant_uuid") {
                    "" => row.get("user_id").map(plain).unwrap_or_default(),
                    uuid => uuid.to_owned(),
                };
                let join_time = row.get("join_time").map(plain).unwrap_or_default();
                let ordinal = seen
                    .entry((participant.clone(), join_time.clone()))
                    .and_modify(|n| *n += 1)
                    .or_insert(0_u32);
                let key = serde_json::json!([self.uuid.as_str(), participant, join_time, *ordinal]);
                SessionId(hex(&Sha256::digest(key.to_string().as_bytes())[..16]))
            })
            .collect()
    }

    /// Whether every session says when it ended.
    pub fn all_left(&self) -> bool {
        self.sessions
            .iter()
            .all(|row| !text(row, "leave_time").is_empty())
    }
}

/// A field's text, or nothing if it is absent or not text.
pub fn text<'a>(row: &'a Row, name: &str) -> &'a str {
    row.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// What the catalog knows of a meeting that a listing may show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownMeeting {
    /// [`ListedMeeting::listed_checksum`] as last recorded.
    pub listed_checksum: Checksum,
    /// [`ListedMeeting::shown_checksum`] as last recorded.
    pub shown_checksum: Checksum,
    /// Whether a complete listing had lost it.
    pub vanished: bool,
    /// Whether Zoom did not have its detail when it was last asked.
    pub gone: bool,
    /// Whether by its recorded times the listing would have to show it, were it still there.
    pub expected: bool,
}

/// What the catalog knows that bears on one listing.
pub type Known = std::collections::HashMap<MeetingUuid, KnownMeeting>;

/// What a listing means for one meeting. Planning is a pure function to these; the dry run prints them.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Not in the catalog yet.
    New(Box<ListedMeeting>),
    /// Listed differently than before.
    Changed {
        /// The row as it is now.
        meeting: Box<ListedMeeting>,
        /// Whether what bears on the detail differs: then the detail is due, else only the documents.
        detail: bool,
        /// Whether an earlier listing had lost it.
        reappeared: bool,
    },
    /// As before.
    Unchanged(MeetingUuid),
    /// In the catalog, but a complete listing of its days does not show it any more.
    Vanished(MeetingUuid),
}

/// Where a meeting stands. The three checksums are the truth; this names their relation.
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
    /// Its attempts are spent, or Elasticsearch rejected its documents; `retry` makes it due again.
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

    /// Where a meeting stands after an event.
    pub fn next(self, event: Event) -> Self {
        match (self, event) {
            (_, Event::DetailChanged) => Self::Listed,
            (_, Event::DetailKept) => Self::Fetched,
            (_, Event::DetailGone) => Self::Gone,
            (_, Event::FetchFailed { last_attempt: true }) => Self::Dead,
            (_, Event::FetchFailed { last_attempt: false }) => Self::Failed,
            // A rename of what is still unfetched, failing or gone waits for it to come to an end of its own.
            (Self::Indexed | Self::Fetched, Event::DocumentsDue) => Self::Fetched,
            (other, Event::DocumentsDue) => other,
            (Self::Fetched, Event::Acknowledged) => Self::Indexed,
            (other, Event::Acknowledged) => other,
            (Self::Fetched, Event::Rejected) => Self::Dead,
            (other, Event::Rejected) => other,
            // What has its detail needs no second fetch: only its documents go again.
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
    /// A later listing differs in what bears on the detail.
    DetailChanged,
    /// Its detail was fetched and kept for what the listing says now.
    DetailKept,
    /// Zoom answered 404 or 12702.
    DetailGone,
    /// The detail could not be had.
    FetchFailed {
        /// Whether that was the last attempt it is given.
        last_attempt: bool,
    },
    /// What the documents show differs from what was acknowledged.
    DocumentsDue,
    /// Elasticsearch acknowledged the documents as they are now.
    Acknowledged,
    /// Elasticsearch refused a document (4xx).
    Rejected,
    /// Somebody said `retry`.
    Retried {
        /// Whether the kept detail is for what the listing says now.
        detail_kept: bool,
    },
}

/// What an error means for the work at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// May work later; the adapter has spent its own retries already.
    Retry {
        /// How long to wait at least, if the other side said so.
        after: Option<Duration>,
    },
    /// This item will not work; others will.
    Skip,
    /// Nothing will work until somebody does something, or until a time has come.
    Stop,
}

/// Everything about one meeting that its documents are built from.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// Its key.
    pub uuid: MeetingUuid,
    /// The account it belongs to.
    pub account_id: AccountId,
    /// Its series, if known.
    pub series_id: Option<SeriesId>,
    /// Its host's id, if known.
    pub host_id: Option<HostId>,
    /// When it began, if known.
    pub start_time: Option<DateTime<Utc>>,
    /// When it ended, if known.
    pub end_time: Option<DateTime<Utc>>,
    /// Its length in seconds, if known.
    pub duration_s: Option<i64>,
    /// The listing's row.
    pub listing: Row,
    /// The detail's sessions.
    pub detail: Detail,
    /// The version its documents carry: milliseconds since 1970, always more than the one before.
    pub revision: i64,
    /// What an acknowledgement of these documents is recorded as.
    pub document_checksum: Checksum,
    /// Sessions that were sent, or may have been, and belong to it no more: to be deleted.
    pub lost_sessions: Vec<SessionId>,
}

impl Kept {
    /// The version of the documents' form: part of every document checksum, so that a new form makes every document
    /// due, from the kept payloads.
    const DOCUMENT_FORM: u32 = 1;

    /// Over everything that the documents are built from.
    pub fn document_checksum(
        listed: &Checksum,
        shown: &Checksum,
        detail: &Checksum,
        host_id: Option<&HostId>,
    ) -> Checksum {
        Checksum::of_json(&serde_json::json!([
            Self::DOCUMENT_FORM,
            listed,
            shown,
            detail,
            host_id
        ]))
    }
}

/// What a pseudonym begins with, so that nobody takes it for a value.
pub const PSEUDONYM: &str = "pseudonym-";

/// Whether a text stands in for a value. Somebody may call themselves so, and is then taken at their word: it tells nothing of them.
pub fn is_pseudonym(text: &str) -> bool {
    text.strip_prefix(PSEUDONYM).is_some_and(|digest| {
        digest.len() == 32
            && digest
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// What a forgotten value names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ForgottenKind {
    /// A person, by email.
    Email,
    /// A person, by an id that sessions bear.
    Participant,
    /// A host, by id.
    Host,
    /// A meeting whose host is forgotten, where Zoom lists it without an email.
    Meeting,
}

impl ForgottenKind {
    /// All four.
    pub const ALL: [Self; 4] = [Self::Email, Self::Participant, Self::Host, Self::Meeting];

    /// As the catalog writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Participant => "participant",
            Self::Host => "host",
            Self::Meeting => "meeting",
        }
    }

    /// The kind of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// A document that is to be deleted, whatever became of what it was built from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deletion {
    /// Where it is.
    pub index: IndexKind,
    /// Its `_id`.
    pub id: String,
    /// Above every version that was sent of it.
    pub version: i64,
}

/// What must not be kept if it comes again, in digests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// What makes this catalog's digests unlike those of any other.
    pub salt: String,
    /// Who.
    pub digests: std::collections::BTreeSet<(ForgottenKind, Checksum)>,
    /// Everything that ended before this UTC day.
    pub before: Option<NaiveDate>,
}

/// One of the two indices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IndexKind {
    /// One document a meeting.
    Meetings,
    /// One document a session.
    Sessions,
}

impl IndexKind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Meetings, Self::Sessions];

    /// The part of the alias after the prefix: `zoom-meetings`, `zoom-sessions`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Meetings => "meetings",
            Self::Sessions => "sessions",
        }
    }
}

/// A document, ready to be sent or exported.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// Where it belongs.
    pub index: IndexKind,
    /// Its deterministic `_id`.
    pub id: String,
    /// Its external version, see [`Kept::revision`].
    pub version: i64,
    /// The body.
    pub body: Value,
}

/// What the documents of an index are read by, in the order of its keyword fields: the bytes of the text, and what is absent last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The meeting that a document says it belongs to.
    pub meeting: Option<MeetingUuid>,
    /// For a session's, the session that it says it is.
    pub session: Option<SessionId>,
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        fn order(key: &Key) -> (bool, Option<&MeetingUuid>, bool, Option<&SessionId>) {
            let (meeting, session) = (key.meeting.as_ref(), key.session.as_ref());
            (meeting.is_none(), meeting, session.is_none(), session)
        }
        order(self).cmp(&order(other))
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// A document as an index holds it, or should: told by its id, its version and a checksum of its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// What its fields say it is.
    pub key: Key,
    /// Its `_id`.
    pub id: String,
    /// Its version.
    pub version: i64,
    /// Over its content, but for what [`VOLATILE_LISTING_FIELDS`] names in a meeting's.
    pub checksum: Checksum,
}

/// What became of one meeting's documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All are in Elasticsearch, in this version or a newer one; the lost sessions are deleted.
    Published,
    /// One was refused for what it is (4xx): sending it again would not help.
    Rejected {
        /// Which and why, in one line.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(value: Value) -> Row {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn canonical_json_sorts_keys_whoever_built_the_value() {
        let value: Value = serde_json::from_str(r#"{"b": 1, "a": {"d": 2, "c": 3}}"#).unwrap();
        assert_eq!(value.to_string(), r#"{"a":{"c":3,"d":2},"b":1}"#);
    }

    #[test]
    fn halves_cover_the_window_without_overlap() {
        let day = |d| NaiveDate::from_ymd_opt(2026, 3, d).unwrap();
        let window = Window::new(day(1), day(31)).unwrap();
        let (first, second) = window.halves().unwrap();
        assert_eq!(
            first.days().chain(second.days()).collect::<Vec<_>>(),
            window.days().collect::<Vec<_>>()
        );
        assert_eq!(Window::day(day(1)).halves(), None);
    }

    #[test]
    fn session_ids_do_not_depend_on_the_order_of_pages() {
        let a =
            row(serde_json::json!({"user_id": "1", "join_time": "2026-03-01T10:00:00Z", "leave_time": "x"}));
        let b =
            row(serde_json::json!({"user_id": "1", "join_time": "2026-03-01T10:00:00Z", "leave_time": "y"}));
        let uuid = MeetingUuid::new("u==");
        let one = Detail::new(uuid.clone(), vec![a.clone(), b.clone()]);
        let other = Detail::new(uuid, vec![b, a]);
        assert_eq!(one.session_ids(), other.session_ids());
        assert_eq!(one.checksum(), other.checksum());
        assert_ne!(one.session_ids()[0], one.session_ids()[1]);
    }

    #[test]
    fn times_of_every_shape_seen() {
        let iso = |text| parse_time(text).map(iso);
        let expected = Some("2026-03-04T10:15:14Z".to_owned());
        for text in [
            "2026-03-04T10:15:14Z",
            "2026-03-04T10:15:14.837Z",
            "2026-03-04T12:15:14+02:00",
            "2026-03-04T10:15:14",
            "2026-03-04 10:15:14",
            "2026-03-04 10:15:14:216",
            " 2026-03-04T10:15:14Z\n",
        ] {
            assert_eq!(iso(text), expected, "{text:?}");
        }
        for text in [
            "",
            "soon",
            "2026-13-04T10:15:14Z",
            "02020-04-01 15:02:01:040",
            "0000-01-01T00:00:00Z",
            "-0001-01-01T00:00:00",
            "+10000-01-01T00:00:00",
            "9999-12-31T23:59:59-00:01",
        ] {
            assert_eq!(iso(text), None, "{text:?}");
        }
        for (text, shown) in [
            ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
            ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59Z"),
        ] {
            assert_eq!(iso(text).as_deref(), Some(shown));
        }
    }

    #[test]
    fn the_whole_table_of_states() {
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
