//! zoom-harvester keeps an Elasticsearch cluster in step with a Zoom account's meeting history: hosts, series, meetings and every participant
//! session. A local SQLite file, the *catalog*, remembers each of them, so a run fetches only what is new or changed. A killed run loses only the
//! requests that were in flight.
//!
//! # The path of one meeting
//!
//! 1. [`zoom`] lists a window of days, page by page. A row is canonical JSON text ([`model::Row`]). It is read in place and never parsed into a tree.
//! 2. `sync::plan` compares a page with what the catalog knows. The result is a list of [`model::Change`]. The step is pure; the dry run stops here.
//! 3. [`catalog`] records the changes of the page in one transaction. The meeting is now `listed`, and its detail may be fetched while later pages
//!    are still being read. A [`model::Listing`] exists only once the last page has been read. With it, the days covered and the vanished meetings
//!    are recorded.
//! 4. A query finds that the detail is due. [`zoom`] fetches all its pages, paced and in parallel with others. The result is a [`model::Detail`].
//! 5. The detail is put in order, screened, hashed and compressed while requests go on. [`catalog`] keeps it in one transaction, together with all
//!    others that are ready. The meeting is now `fetched`.
//! 6. Another query finds that the documents are due. [`elastic`] builds them only from what is kept, and sends sessions before their meeting.
//! 7. [`catalog`] records what was *sent* and acknowledged. The meeting is now `indexed`. If it changed in the meantime, it is due again.
//!
//! `verify` goes the other way: it reads the indices in the order of UUIDs and compares them with [`catalog`]. A repair makes what differs due again.
//!
//! Everything that comes in passes [`privacy`] before it is planned or stored. It applies the owner's policy and removes what was forgotten for good.
//!
//! [`sync`] is the only code that knows this order. It is one loop that owns the catalog and asks four workers in turn.
//!
//! # Boundaries
//!
//! - [`model`], [`privacy`] and [`untrusted`] do no I/O. [`zoom`], [`catalog`] and [`elastic`] import neither each other nor [`sync`].
//! - [`sync`] contains no SQL, no URL and no JSON. Modules exchange [`model`] types.
//! - Only [`cli`] prints or reads the environment, the wall clock or unseeded randomness. Lints in `Cargo.toml` and `clippy.toml` enforce this.
//! - [`sim`], the simulated account, imports none of the others, so the two sides cannot share a misspelt field.
//! - No queue outlives a run: the next work is always queried from the catalog. Stopping the process at any instruction loses at most the requests in
//!   flight.

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
