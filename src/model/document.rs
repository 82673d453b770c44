//! Documents: what they are built from, what an index holds, and the outcome of sending them.

use chrono::{DateTime, Datelike, NaiveDate, Utc};

use super::{
    AccountId, Checksum, Detail, HostId, MeetingKind, MeetingUuid, Row, SeriesId, SessionId, Source,
};

/// Everything about one meeting that its documents are built from.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// Its key.
    pub uuid: MeetingUuid,
    /// The account it belongs to.
    pub account_id: AccountId,
    /// Whether it is a webinar.
    pub kind: MeetingKind,
    /// Where its detail comes from.
    pub source: Source,
    /// Its series, if known.
    pub series_id: Option<SeriesId>,
    /// Its host's id, if known.
    pub host_id: Option<HostId>,
    /// The first instance of its occurrence, if that is another meeting.
    pub occurrence_id: Option<MeetingUuid>,
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
    /// The version of its documents: milliseconds since 1970, always higher than the one before.
    pub revision: i64,
    /// The checksum that is recorded when these documents are acknowledged.
    pub document_checksum: Checksum,
    /// Sessions that were sent, or may have been, and no longer belong to the meeting. They are to be deleted.
    pub lost_sessions: Vec<SessionId>,
}

impl Kept {
    /// The version of the form of documents. It is part of every document checksum, so a new form makes every document due, from the kept payloads.
    pub const DOCUMENT_FORM: u32 = 3;

    /// The checksum of everything that the documents are built from.
    pub fn document_checksum(
        listed: &Checksum,
        shown: &Checksum,
        detail: &Checksum,
        host_id: Option<&HostId>,
        occurrence_id: Option<&MeetingUuid>,
    ) -> Checksum {
        let form = Self::DOCUMENT_FORM;
        Checksum::of_json(&(form, listed, shown, detail, host_id, occurrence_id))
    }
}

/// A document to be deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deletion {
    /// The index it is in.
    pub index: IndexKind,
    /// Its `_id`.
    pub id: String,
    /// Its version, above every version of the document that was sent.
    pub version: i64,
}

/// Whether an account has one index of each kind, or one per year.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IndexPeriod {
    /// One index for all years.
    #[default]
    None,
    /// One index per year, for the meetings that ended in it.
    Year,
}

impl IndexPeriod {
    /// The index for meetings that ended on this day.
    pub fn year_of(self, day: NaiveDate) -> IndexYear {
        match self {
            Self::None => IndexYear::ALL,
            Self::Year => IndexYear(u16::try_from(day.year()).unwrap_or_default()),
        }
    }
}

/// Which of an account's indices of a kind: that of a year, or the one for all years.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IndexYear(u16);

impl IndexYear {
    /// The index for all years.
    pub const ALL: Self = Self(0);

    /// From its number: 0 for all years.
    pub fn new(year: u16) -> Self {
        Self(year)
    }

    /// Its number: 0 for all years.
    pub fn number(self) -> u16 {
        self.0
    }

    /// The suffix of an alias: empty, or `-2026`.
    pub fn suffix(self) -> String {
        match self {
            Self::ALL => String::new(),
            Self(year) => format!("-{year:04}"),
        }
    }
}

/// One of the two indices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IndexKind {
    /// One document per meeting.
    Meetings,
    /// One document per session.
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
    /// The index it belongs to.
    pub index: IndexKind,
    /// Its deterministic `_id`.
    pub id: String,
    /// Its external version, see [`Kept::revision`].
    pub version: i64,
    /// The body, JSON on one line.
    pub body: String,
}

/// The sort key of the documents of an index, in the order of its keyword fields: text by its bytes, absent values last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The meeting that a document says it belongs to.
    pub meeting: Option<MeetingUuid>,
    /// The session that a session document says it is.
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

/// A document as an index holds it, or should hold it: its id, its version and a checksum of its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// What its fields say it is.
    pub key: Key,
    /// Its `_id`.
    pub id: String,
    /// Its version.
    pub version: i64,
    /// The checksum of its content. In a meeting document it leaves out [`super::VOLATILE_LISTING_FIELDS`].
    pub checksum: Checksum,
}

/// The outcome of sending one meeting's documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All are in Elasticsearch, in this version or a newer one; the lost sessions are deleted.
    Published,
    /// A document was rejected (4xx): sending it again would not help.
    Rejected {
        /// Which document and why, in one line.
        reason: String,
    },
}
