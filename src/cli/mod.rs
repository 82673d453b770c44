//! The command line: one file per command. Only this module prints, reads the wall clock, and reads the environment.

mod audit;
mod catalog_command;
mod context;
mod day;
mod demo;
mod doctor;
mod export;
mod forget;
mod init;
mod interrupt;
mod log;
mod out;
mod plan;
mod progress;
mod report;
mod settings_sources;
mod shell;
mod sync;
mod verify;
mod watch;
mod whole_file;

use std::{ffi::OsString, path::PathBuf};

use chrono::NaiveDate;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{
    catalog, config, elastic,
    sync::{self as engine, Rebuilding},
    zoom,
};
use context::Context;
use day::DaySpec;

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Everything requested is done.
    Done = 0,
    /// An error in the usage or the configuration.
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

/// Why a command failed, in one line, and the exit code for it.
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
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        let exit = match &error {
            E::Locked { .. } => Exit::Locked,
            E::Busy(_) => Exit::Locked,
            E::DiskFull(_) | E::Machine(_) | E::Removed(_) => Exit::StoppedEarly,
            E::File { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded) => {
                Exit::StoppedEarly
            }
            E::File { .. }
            | E::Absent(_)
            | E::NoFolder(_)
            | E::NotAFile(_)
            | E::Exists(_)
            | E::Foreign(_)
            | E::Newer { .. }
            | E::Older { .. }
            | E::OtherAccount { .. }
            | E::ReadOnly(_)
            | E::CannotOpen(_)
            | E::Nonsense(_)
            | E::Payload { .. }
            | E::Damaged(_) => Exit::Usage,
            E::Sqlite(_) | E::Migration(_) | E::Dictionary { .. } => Exit::Bug,
            // Decided below, by the error that it holds.
            E::Backup { .. } => Exit::Bug,
        };
        let message = error.to_string();
        match error {
            E::Backup { source, .. } => Self {
                message,
                ..Self::from(*source)
            },
            _ => Self { exit, message },
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

impl From<engine::Failure> for Failure {
    fn from(error: engine::Failure) -> Self {
        match error {
            engine::Failure::Catalog(error) => error.into(),
            engine::Failure::Zoom(error) => error.into(),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        // A reader that stops early (`| head`) is no failure.
        let exit = if error.kind() == std::io::ErrorKind::BrokenPipe {
            Exit::Done
        } else {
            Exit::StoppedEarly
        };
        Self {
            exit,
            message: format!(
                "cannot write the output: {}",
                crate::untrusted::system_said(&error)
            ),
        }
    }
}

/// What the exit codes mean, for `--help`.
const EXITS: &str = "\
Settings come from flags, else the environment, else .env, else the --config file; docs/configuration.md lists them all.

Exit codes:
  0        done
  1        usage or configuration
  2        finished, but some items failed or are dead (see `status`), are not sound, or not equal
  3        stopped early, safe to run again: quota spent, a server unreachable, disk full
  4        another run holds the catalog
  70       a bug
  130 143  interrupted, terminated; the catalog is safe";

/// Keeps an Elasticsearch cluster in step with a Zoom account's meeting history.
#[derive(Debug, Parser)]
#[command(name = "zoom-harvester", version, max_term_width = 110, after_help = EXITS)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Global options, before or after the command")]
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
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Say only what went wrong
    #[arg(short, long, global = true)]
    quiet: bool,
    /// Whether to use colours
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum IndexArg {
    Meetings,
    Sessions,
}

impl IndexArg {
    fn kind(self) -> crate::model::IndexKind {
        match self {
            Self::Meetings => crate::model::IndexKind::Meetings,
            Self::Sessions => crate::model::IndexKind::Sessions,
        }
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List, fetch and publish what is new or changed
    ///
    /// Without dates it resumes: the days not yet settled and those since, to now; on an empty catalog, yesterday and today.
    /// With dates it lists those days. What is known and unchanged is neither fetched nor sent again, so it may run as often
    /// as you like.
    Sync(SyncArgs),
    /// The dry run: what sync would list and fetch, and why; listing requests only, nothing is changed
    Plan(PlanArgs),
    /// Send what is due to Elasticsearch; no request to Zoom
    Publish,
    /// Stay up and sync again and again; answer report, health, metrics and webhooks by HTTP
    Watch(Box<watch::WatchArgs>),
    /// Rebuild the indices from the catalog behind an alias swap; no request to Zoom
    Reindex {
        /// Rebuild even if meetings that only the old index has are lost
        #[arg(long)]
        drop_unknown: bool,
        /// Fill years again whose index was dropped
        #[arg(long)]
        dropped_years: bool,
    },
    /// Compare the indices with the catalog, document by document; exit 0 only if they are equal
    ///
    /// Reads both indices whole and compares ids, versions and contents with what the catalog keeps. It changes nothing, unless
    /// --repair says so. With --zoom it compares Zoom's listing with the catalog instead.
    Verify(VerifyArgs),
    /// Windows covered, meetings by status, failures with reasons, quota used today, last runs
    Status(JsonArgs),
    /// Write one HTML page that answers: do we have everything?
    Report(report::ReportArgs),
    /// Make failed and dead items due again, and ask again about hosts that Zoom did not know
    Retry,
    /// All that is known of a meeting, a series or a host
    Show {
        /// A meeting's UUID, a series' number, a host's id or email
        id: String,
    },
    /// Write every document as JSON lines, CSV or Parquet
    Export(export::ExportArgs),
    /// Print saved objects for Kibana and OpenSearch Dashboards: data views, searches and a dashboard
    Dashboards,
    /// Check the catalog, back it up, or make it smaller
    #[command(subcommand)]
    Catalog(catalog_command::CatalogCommand),
    /// Erase a person, or all that ended before a day, from the catalog and the index, for good
    Forget(forget::ForgetArgs),
    /// Ask for what is needed, try it, and write it to .env
    Init,
    /// Check credentials, scopes, plan, Elasticsearch, its privileges, and the catalog
    Doctor(JsonArgs),
    /// Harvest a simulated university, twice
    Demo(demo::DemoArgs),
    /// Serve a simulated Zoom account on a port
    Simulate(demo::SimulateArgs),
    /// Print what a shell needs to complete commands and options
    Completions(shell::CompletionsArgs),
    /// Print the manual page, or write one for every command
    Man(shell::ManArgs),
}

#[derive(Args, Debug)]
struct DayArgs {
    /// First UTC day, six months ago at the earliest: `2026-03-04`, `2026-03`, `7d`, `2w`, `yesterday`
    #[arg(long, value_name = "DAY", value_parser = DaySpec::parse)]
    from: Option<DaySpec>,
    /// Last UTC day, included; without it: today
    #[arg(long, value_name = "DAY", value_parser = DaySpec::parse, requires = "from")]
    to: Option<DaySpec>,
}

#[derive(Args, Debug)]
struct SyncArgs {
    #[command(flatten)]
    days: DayArgs,
    /// Harvest into the catalog only
    #[arg(long)]
    no_publish: bool,
    /// Fetch again from the dashboards what the reports told before, of the days that are listed: one Heavy request a meeting
    #[arg(long)]
    enrich: bool,
    /// Write metrics for node_exporter's textfile collector, once the run has ended
    #[arg(long, value_name = "FILE")]
    metrics_file: Option<PathBuf>,
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
struct VerifyArgs {
    /// Make exactly the meetings that differ due again; `publish` or the next `sync` sends them
    #[arg(long)]
    repair: bool,
    /// With --repair: delete documents that belong to no meeting the catalog keeps
    #[arg(long, requires = "repair")]
    drop_unknown: bool,
    /// List days at Zoom again, without recording it, and tell what the catalog does not know; without dates, those of the last
    /// 30 that the catalog covers
    #[arg(long, conflicts_with_all = ["repair", "drop_unknown"])]
    zoom: bool,
    /// With --zoom: the first UTC day, six months ago at the earliest
    #[arg(long, value_name = "DAY", value_parser = DaySpec::parse, requires = "zoom")]
    from: Option<DaySpec>,
    /// With --zoom: the last UTC day, included; without it: today
    #[arg(long, value_name = "DAY", value_parser = DaySpec::parse, requires_all = ["zoom", "from"])]
    to: Option<DaySpec>,
    /// Print every difference as a line of JSON, and the summary as the last
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct JsonArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Parses a fixed day, zero-padded as everywhere.
fn day(text: &str) -> Result<NaiveDate, String> {
    match DaySpec::parse(text) {
        Ok(DaySpec::Day(day)) => Ok(day),
        Err(error) if error.starts_with("there is no such") => Err(error),
        _ => Err("a day is written YYYY-MM-DD, for example 2026-03-04".to_owned()),
    }
}

/// Runs the program; returns how it ended.
pub fn main(args: impl IntoIterator<Item = OsString>) -> Exit {
    out::report_panics();
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => return not_parsed(&error),
    };
    let (color, json) = (cli.global.color, cli.global.log_format == LogFormat::Json);
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(cli))) {
        Ok(Ok(exit)) => exit,
        Ok(Err(failure)) => {
            match failure.exit {
                Exit::Done => {}
                _ if json => tracing::error!(target: progress::TARGET, "{}", failure.message),
                _ => out::error(&failure.message, color),
            }
            failure.exit
        }
        Err(_) => Exit::Bug,
    }
}

/// Prints help or version if requested. Otherwise prints one line and ends with 1, because clap's exit code 2 has another meaning here.
fn not_parsed(error: &clap::Error) -> Exit {
    use clap::error::ErrorKind;
    let exit = if error.use_stderr() {
        Exit::Usage
    } else {
        Exit::Done
    };
    if exit == Exit::Done || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        // Only a closed pipe can make this fail.
        let _ = error.print();
    } else {
        out::error(&one_line(&error.to_string()), Color::Auto);
    }
    exit
}

/// clap's message without its usage, with its paragraphs joined into one line.
fn one_line(message: &str) -> String {
    let said = message.split("\nUsage:").next().unwrap_or(message);
    let said = said.split("\nFor more information").next().unwrap_or(said);
    let words = |paragraph: &str| paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
    let paragraphs: Vec<String> = said
        .trim_start_matches("error: ")
        .split("\n\n")
        .map(words)
        .filter(|paragraph| !paragraph.is_empty())
        .collect();
    format!("{} (--help lists what is possible)", paragraphs.join("; "))
}

fn run(cli: Cli) -> Result<Exit, Failure> {
    // These two need no settings: they run where a package is built.
    match &cli.command {
        Command::Completions(args) => return shell::completions(args),
        Command::Man(args) => return shell::man(args),
        _ => {}
    }
    let (context, inputs) = Context::new(&cli.global)?;
    match cli.command {
        Command::Sync(args) => sync::sync(&context, &args),
        Command::Plan(args) => plan::run(&context, &args),
        Command::Watch(args) => watch::run(context, &cli.global, &args),
        Command::Publish => sync::publish(&context),
        Command::Reindex {
            drop_unknown,
            dropped_years,
        } => {
            let how = Rebuilding {
                drop_unknown,
                dropped_years,
            };
            sync::reindex(&context, how)
        }
        Command::Verify(args) => verify::run(&context, &args),
        Command::Status(args) => audit::status(&context, args.json),
        Command::Report(args) => report::run(&context, &args),
        Command::Retry => sync::retry(&context),
        Command::Show { id } => audit::show(&context, &id),
        Command::Export(args) => export::run(&context, &args),
        Command::Dashboards => {
            out::bytes(crate::dashboards::saved_objects(&context.config.index_prefix).as_bytes())?;
            Ok(Exit::Done)
        }
        Command::Catalog(command) => catalog_command::run(&context, &command),
        Command::Forget(args) => forget::run(&context, &args),
        Command::Init => init::run(context, &inputs),
        Command::Doctor(args) => doctor::run(&context, args.json),
        Command::Demo(args) => demo::demo(&context, &args),
        Command::Simulate(args) => demo::simulate(&context, &args),
        Command::Completions(args) => shell::completions(&args),
        Command::Man(args) => shell::man(&args),
    }
}
