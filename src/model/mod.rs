//! The types of the program: ids, windows, checksums, rows, listings, details, documents, states. No I/O.
//!
//! Everything that crosses a module boundary is one of these types.

mod checksum;
mod detail;
mod document;
mod forgotten;
mod host;
mod id;
mod label;
mod listing;
mod occurrence;
mod row;
mod state;
mod time;

pub use checksum::Checksum;
pub use detail::{Detail, Session};
pub use document::{Deletion, Document, Held, IndexKind, IndexPeriod, IndexYear, Kept, Key, Outcome};
pub use forgotten::{Forgotten, ForgottenKind, PSEUDONYM, is_pseudonym};
pub use host::{Host, PastMeeting, SeriesKind, SeriesRow};
pub use id::{AccountId, HostId, MeetingUuid, SeriesId, SessionId};
pub use label::Label;
pub use listing::{
    Change, DateBasis, HeldMeeting, Known, KnownMeeting, ListedMeeting, Listing, ListingPage, ListingType,
    Malformed, MeetingKind, News, Shown, Source, VOLATILE_LISTING_FIELDS, Webinars,
};
pub use occurrence::{Instance, LONGEST_MEETING, LONGEST_PAUSE, occurrences};
pub use row::{CanonicalJson, Items, Json, Members, Row, RowEdit, RowView, json_text};
pub use state::{Disposition, Event, Status};
pub use time::{Clock, Window, from_iso, iso, parse_time};
