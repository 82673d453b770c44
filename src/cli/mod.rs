//! The command line: one file a command. All printing, the wall clock and the environment are here and nowhere else.

mod audit;
mod context;
mod demo;
mod doctor;
mod interrupt;
mod log;
mod out;
mod plan;
mod progress;
mod sources;
mod sync;

use std::{ffi::OsString, path::PathBuf};

use chrono::NaiveDate;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{catalog, config, elastic, sync as engine, zoom};
use context::Context;

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All that was wanted is done.
    Done = 0,
    /// Usage or configuration.
    Usage = 1,
    /// Finished, but some items failed or are dead.
    Incomplete = 2,
    /// Stopped early; safe to run again.
    StoppedEarly = 3,
    /// Another run holds the catalog.
    Locked = 4,
    /// A bug.
    Bug = 70,
    /// SIGINT.
    Interrupted = 130,
    /// SIGTERM.
    Terminated = 143,
}

/// Why a command failed, in one line, and how the program ends for it.
#[derive(Debug)]
struct Failure {
    exit: Exit,
    message: String,
}

impl Failure {
    fn usage(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::Usage,
            message: message.into(),
        }
    }
}

impl From<config::Error> for Failure {
    fn from(error: config::Error) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<catalog::Error> for Failure {
    fn from(error: catalog::Error) -> Self {
        use catalog::Error as E;
        let exit = match &error {
            E::Locked { .. } => Exit::Locked,
            E::DiskFull(_) => Exit::StoppedEarly,
            E::File { .. }
            | E::Absent(_)
            | E::NoFolder(_)
            | E::Foreign(_)
            | E::Newer { .. }
            | E::OtherAccount { .. }
            | E::ReadOnly(_)
            | E::Damaged(_) => Exit::Usage,
            E::Sqlite(_) | E::Migration(_) | E::Nonsense(_) | E::Payload { .. } => Exit::Bug,
        };
        Self {
            exit,
            message: error.to_string(),
        }
    }
}

impl From<zoom::Error> for Failure {
    fn from(error: zoom::Error) -> Self {
        let exit = match &error {
            zoom::Error::DailyQuota { .. }
            | zoom::Error::ShareSpent { .. }
            | zoom::Error::Unreachable { .. }
            | zoom::Error::Server { .. }
            | zoom::Error::Throttled { .. } => Exit::StoppedEarly,
            _ if error.disposition() == crate::model::Disposition::Stop => Exit::Usage,
            _ => Exit::Incomplete,
        };
        Self {
            exit,
            message: error.to_string(),
        }
    }
}

impl From<elastic::Error> for Failure {
    fn from(error: elastic::Error) -> Self {
        let exit = match error.disposition() {
            crate::model::Disposition::Stop => Exit::Usage,
            _ => Exit::StoppedEarly,
        };
        Self {
            exit,
            message: error.to_string(),
        }
    }
}

impl From<engine::Error> for Failure {
    fn from(error: engine::Error) -> Self {
        match error {
            engine::Error::Catalog(error) => error.into(),
            engine::Error::Elastic(error) => error.into(),
            error @ engine::Error::WouldLose { .. } => Self::usage(error.to_string()),
            error @ engine::Error::Interrupted => Self {
                exit: Exit::Interrupted,
                message: error.to_string(),
            },
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        // A reader that has seen enough (`| head`) is no failure.
        let exit = if error.kind() == std::io::ErrorKind::BrokenPipe {
            Exit::Done
        } else {
            Exit::StoppedEarly
        };
        Self {
            exit,
            message: format!("cannot write the output: {error}"),
        }
    }
}

/// Keeps an Elasticsearch cluster in step with a Zoom account's meeting history.
#[derive(Debug, Parser)]
#[command(name = "zoom-harvester", version, max_term_width = 110)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Args, Debug)]
struct Global {
    /// The catalog [default: harvester.db]
    #[arg(long, global = true, value_name = "FILE")]
    db: Option<PathBuf>,
    /// A TOML file with settings
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How log lines look
    #[arg(long, global = true, value_enum, default_value = "text")]
    log_format: LogFormat,
    /// Say more; twice: every request; three times: everything
    #[arg(short, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Say nothing but errors
    #[arg(short, global = true)]
    quiet: bool,
    /// Whether to colour
    #[arg(long, global = true, value_enum, default_value = "auto")]
    color: Color,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List, fetch and publish what is new or changed
    Sync(SyncArgs),
    /// The dry run: what sync would list and fetch, and why; listing requests only, nothing is changed
    Plan(PlanArgs),
    /// Send what is due to Elasticsearch; no request to Zoom
    Publish,
    /// Rebuild the indices from the catalog behind an alias swap; no request to Zoom
    Reindex {
        /// Rebuild even if meetings that only the old index has are lost
        #[arg(long)]
        drop_unknown: bool,
    },
    /// Windows covered, meetings by status, failures with reasons, quota used today, last runs
    Status(JsonArgs),
    /// Make failed and dead items due again
    Retry,
    /// All that is known of a meeting, a series or a host
    Show {
        /// A meeting's UUID, a series' number, a host's id or email
        id: String,
    },
    /// Write every document to standard output, one JSON object a line
    Export,
    /// Check credentials, scopes, plan, Elasticsearch, its privileges, and the catalog
    Doctor(JsonArgs),
    /// Harvest a simulated university, twice
    Demo(demo::DemoArgs),
    /// Serve a simulated Zoom account on a port
    Simulate(demo::SimulateArgs),
}

#[derive(Args, Debug)]
struct DayArgs {
    /// First UTC day; without dates: the days not settled, to now
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = day)]
    from: Option<NaiveDate>,
    /// Last UTC day, included
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = day)]
    to: Option<NaiveDate>,
}

#[derive(Args, Debug)]
struct SyncArgs {
    #[command(flatten)]
    days: DayArgs,
    /// Harvest into the catalog only
    #[arg(long)]
    no_publish: bool,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct PlanArgs {
    #[command(flatten)]
    days: DayArgs,
    /// Print the plan as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct JsonArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A day, zero-padded: Zoom answers an unpadded one with an empty list instead of an error.
fn day(text: &str) -> Result<NaiveDate, String> {
    NaiveDate::parse_from_str(text, "%Y-%m-%d")
        .ok()
        .filter(|day| day.format("%Y-%m-%d").to_string() == text)
        .ok_or_else(|| "a day is written YYYY-MM-DD, for example 2026-03-04".to_owned())
}

/// Runs the program; answers how it ended.
pub fn main(args: impl IntoIterator<Item = OsString>) -> Exit {
    out::report_panics();
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            let exit = if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Done
            };
            // A closed pipe is all that can go wrong here.
            let _ = error.print();
            return exit;
        }
    };
    let color = cli.global.color;
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(cli))) {
        Ok(Ok(exit)) => exit,
        Ok(Err(failure)) => {
            if failure.exit != Exit::Done {
                out::error(&failure.message, color);
            }
            failure.exit
        }
        Err(_) => Exit::Bug,
    }
}

fn run(cli: Cli) -> Result<Exit, Failure> {
    let context = Context::new(&cli.global)?;
    match cli.command {
        Command::Sync(args) => sync::sync(&context, &args),
        Command::Plan(args) => plan::run(&context, &args),
        Command::Publish => sync::publish(&context),
        Command::Reindex { drop_unknown } => sync::reindex(&context, drop_unknown),
        Command::Status(args) => audit::status(&context, args.json),
        Command::Retry => sync::retry(&context),
        Command::Show { id } => audit::show(&context, &id),
        Command::Export => audit::export(&context),
        Command::Doctor(args) => doctor::run(&context, args.json),
        Command::Demo(args) => demo::demo(&context, &args),
        Command::Simulate(args) => demo::simulate(&context, &args),
    }
}
