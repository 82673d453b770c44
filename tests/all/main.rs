//! Every integration test, in one binary: it is linked once instead of once per file. `cargo test --test all crash::` runs the tests of one file.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests"
)]

mod common;

mod account;
mod audit;
mod catalog;
mod catalog_file;
mod cli;
mod clock;
mod commands;
mod crash;
mod daemon;
mod dashboards;
mod elastic;
mod export;
mod faults;
mod fuzz;
mod handed_over;
mod history;
mod hostile;
mod index_years;
mod init;
mod matrix;
mod migrations;
mod model;
mod network;
mod occurrences;
mod openapi;
mod packaging;
mod privacy;
mod readme;
mod report;
mod reports;
mod rooms;
mod shared_cluster;
mod stories;
mod terminal;
mod verify;
mod webinars;
