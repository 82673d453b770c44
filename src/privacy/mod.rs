//! What may be kept of people: the owner's policy, field by field, and what was forgotten for good. Pure: it knows [`crate::model`]
//! only, and changes what arrives before anything is planned, summed up or stored.
//!
//! Whatever arrives or is stored ends the same: treating it twice changes nothing more, and what is forgotten after it was treated
//! equals what is treated after it was forgotten. So the checksums of what is stored and of what arrives agree, and nothing is
//! fetched or sent again for having been erased.

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
