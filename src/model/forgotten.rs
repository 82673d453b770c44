//! Pseudonyms, and digests of what was forgotten and must not be kept again.

use std::collections::BTreeSet;

use chrono::NaiveDate;

use super::Checksum;

/// The prefix of every pseudonym, so that it cannot be mistaken for a real value.
pub const PSEUDONYM: &str = "pseudonym-";

/// Whether a text is a pseudonym. A person whose real name looks like one is left as it is: the name reveals nothing.
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
    /// A person, by an id that occurs in sessions.
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

/// Digests of everything that was forgotten and must not be kept again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// The salt of this catalog's digests.
    pub salt: String,
    /// The digests, each with the kind of its value.
    pub digests: BTreeSet<(ForgottenKind, Checksum)>,
    /// The day before which everything that ended is forgotten, in UTC.
    pub before: Option<NaiveDate>,
}
