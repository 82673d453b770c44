//! What may be kept of personal data: the owner's policy for each field, and what was forgotten for good. Pure: it uses only [`crate::model`], and
//! changes what arrives before anything is planned, summed up or stored.
//!
//! Arriving and stored data end up the same. The treatment is idempotent, and treating before forgetting gives the same result as forgetting before
//! treating. So the checksums of stored and arriving data agree, and nothing is fetched or sent again because it was erased.

mod fields;
mod names;
mod policy;
mod screen;
#[cfg(test)]
mod tests;

pub use fields::{is_known_of_meetings, is_known_of_sessions};
pub use names::replace_words;
pub use policy::{Field, KEY_BYTES, Policy, Treatment};
pub use screen::{Screen, nameless};
