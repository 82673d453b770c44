//! zoom-harvester keeps an Elasticsearch cluster in step with a Zoom account's meeting history: hosts, series, meetings and every
//! participant session. A local SQLite file, the *catalog*, remembers each of them, so that a run fetches only what is new or
//! changed, and a killed run loses only the requests that were in flight.
//!
//! # The walk of one UUID
//!
//! 1. [`zoom`] lists a window of days, page by page. A row is canonical text ([`model::Row`]), read where it stands; it is never a tree.
//! 2. `sync::plan` compares a page with what the catalog knows: a list of [`model::Change`]. Pure; the dry run stops here.
//! 3. [`catalog`] records the changes of the page in one transaction: the meeting is `listed`, and its detail may be fetched while later pages are
//!    still being read. A [`model::Listing`] exists only once the last page has been read; with it the days covered are recorded, and what vanished.
//! 4. Its detail is due, says a query; [`zoom`] fetches all its pages, paced, others beside it: a [`model::Detail`].
//! 5. It is put in order, screened, hashed and compressed beside the network; [`catalog`] keeps it, and whatever else is ready, in one
//!    transaction. The meeting is `fetched`.
//! 6. Its documents are due, says another query; [`elastic`] builds them from what is kept and from nothing else, and sends sessions
//!    before their meeting.
//! 7. [`catalog`] records what was *sent* and acknowledged. The meeting is `indexed`, unless it changed meanwhile: then it is due
//!    again.
//!
//! `verify` walks back: what the indices hold is read, ordered by UUID, beside what [`catalog`] keeps; what differs is due again.
//!
//! On its way in everything passes [`privacy`], before it is planned or stored: the owner's policy, and what was forgotten for good.
//!
//! [`sync`] is the only code that knows this order: one loop that owns the catalog and asks four workers in turn.
//!
//! # What is absent
//!
//! - [`model`], [`privacy`] and [`untrusted`] do no I/O. [`zoom`], [`catalog`] and [`elastic`] import neither each other nor [`sync`].
//! - [`sync`] holds no SQL, no URL, no JSON: what crosses a border is a [`model`] type.
//! - Nothing outside [`cli`] prints, reads the environment, the wall clock or unseeded chance (the lints in `Cargo.toml` and `clippy.toml` see to it).
//! - [`sim`], the simulated account, imports none of the others: a misspelt field cannot cancel itself out.
//! - No queue outlives a run: what to do next is always asked of the catalog. Dropping the process at any instruction loses at most
//!   the requests in flight.

#![forbid(unsafe_code)]
// The simulated participant is one long JSON literal.
#![recursion_limit = "256"]

pub mod catalog;
pub mod cli;
pub mod config;
pub mod dashboards;
pub mod elastic;
pub mod export;
pub mod metrics;
pub mod model;
pub mod network;
pub mod privacy;
pub mod report;
pub mod sim;
pub mod sync;
pub mod untrusted;
pub mod zoom;
