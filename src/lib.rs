#![doc = "zoom-harvester keeps an Elasticsearch cluster in step with a Zoom account's meeting history."]
#![forbid(unsafe_code)]
// The simulated participant is one long JSON literal.
#![recursion_limit = "256"]

pub mod catalog;
pub mod cli;
pub mod config;
pub mod elastic;
pub mod model;
pub mod sim;
pub mod sync;
pub mod zoom;
