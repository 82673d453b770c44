//! `report`: the HTML page, written atomically.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use chrono::Days;
use clap::Args;

use super::{Exit, Failure, context::Context, day::DaySpec, out, whole_file};
use crate::{
    catalog::Catalog,
    model::Window,
    report::{self, About},
};

#[derive(Args, Debug)]
pub struct ReportArgs {
    /// First UTC day: `2026-03-04`, `2026-03`, `7d`, `2w`; without it: a year back, or as far as the catalog reaches
    #[arg(long, value_name = "DAY", value_parser = DaySpec::parse)]
    from: Option<DaySpec>,
    /// Last UTC day, included; without it: today
    #[arg(long, value_name = "DAY", value_parser = DaySpec::parse)]
    to: Option<DaySpec>,
    /// The file to write; a report that is there is replaced, and the new one tells what changed since. `-`: standard output
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Days of a report without `--from`.
const YEAR: u64 = 365;

/// How much of an earlier report is read: its head holds the time at which it was made.
const HEAD_BYTES: u64 = 4096;

pub fn run(context: &Context, args: &ReportArgs) -> Result<Exit, Failure> {
    let catalog = Catalog::open_read_only(&context.config.db)?;
    let now = context.now();
    let today = now.date_naive();
    let to = args.to.map_or(today, |to| to.last(today));
    let from = match args.from {
        Some(from) => from.first(today),
        None => catalog
            .first_day()?
            .unwrap_or(to)
            .max(to - Days::new(YEAR - 1))
            .min(to),
    };
    let window =
        Window::new(from, to).ok_or_else(|| Failure::usage(format!("--from {from} is after --to {to}")))?;
    let to_stdout = args.out.as_os_str() == "-";
    let about = About {
        made_at: now,
        window,
        daily_share: context.plan().daily_share(context.config.rate_share),
        since: if to_stdout { None } else { last_made(&args.out) },
    };
    let figures = catalog.figures(window, about.since.as_deref())?;
    let page = report::page(&figures, &about);
    if to_stdout {
        out::bytes(page.as_bytes())?;
        return Ok(Exit::Done);
    }
    whole_file::write(&args.out, page.as_bytes())?;
    context.say(&format!(
        "{}\nThe report is {}.",
        report::answer(&figures.days).text,
        args.out.display()
    ))?;
    Ok(Exit::Done)
}

/// When the existing report was made, if there is one.
fn last_made(path: &Path) -> Option<String> {
    let mut head = Vec::new();
    fs::File::open(path)
        .ok()?
        .take(HEAD_BYTES)
        .read_to_end(&mut head)
        .ok()?;
    report::made_at(&String::from_utf8_lossy(&head))
}
