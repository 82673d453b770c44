//! The ids of Zoom's objects: opaque, each with a type of its own.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Wraps the text as it came. It is opaque and never parsed.
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
    /// The `_id` of a session document: 32 hex digits, see [`super::Detail::sessions`].
    SessionId
}

/// What Zoom calls "meeting id" or "meeting number": 9 to 11 digits today, int64 by its documentation. It stays the same through a scheduled or
/// recurring series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SeriesId(pub i64);

impl SeriesId {
    /// Whether it is the number of a personal room: these have ten digits, all others nine or eleven. Source: Zoom's blog "Meeting API querying
    /// tips", part 1.
    pub fn is_personal_room(self) -> bool {
        (1_000_000_000..10_000_000_000).contains(&self.0)
    }
}

impl fmt::Display for SeriesId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
