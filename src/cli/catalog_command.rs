//! `catalog check`, `catalog backup` and `catalog vacuum`.

use std::path::PathBuf;

use clap::Subcommand;

use super::{Exit, Failure, JsonArgs, context::Context, out};
use crate::catalog::{Catalog, Checked, Tally};

#[derive(Debug, Subcommand)]
pub enum CatalogCommand {
    /// Is the catalog sound? The file, its references, and every kept detail read back; works beside a run
    Check(JsonArgs),
    /// Copy the catalog into a new file, also while a run is under way
    Backup {
        /// The file to make; one that exists is never written over
        file: PathBuf,
    },
    /// Give the room that is no longer used back to the disk
    Vacuum,
}

pub fn run(context: &Context, command: &CatalogCommand) -> Result<Exit, Failure> {
    match command {
        CatalogCommand::Check(args) => check(context, args.json),
        CatalogCommand::Backup { file } => backup(context, file),
        CatalogCommand::Vacuum => vacuum(context),
    }
}

fn check(context: &Context, json: bool) -> Result<Exit, Failure> {
    let checks = Catalog::open_read_only(&context.config.db)?.check()?;
    let flaws: u64 = checks.iter().map(|check| check.count).sum();
    if json {
        out::json(&checks)?;
    } else {
        out::print(&as_text(&checks, flaws))?;
    }
    Ok(if flaws == 0 { Exit::Done } else { Exit::Incomplete })
}

fn as_text(checks: &[Checked], flaws: u64) -> String {
    let mut text = String::new();
    for check in checks.iter().filter(|check| check.count > 0) {
        for flaw in &check.flaws {
            let about = flaw.about.as_deref().unwrap_or("the catalog");
            text.push_str(&out::clean(&format!("{}: {about}: {}", check.name, flaw.said)));
            text.push('\n');
        }
        let more = check.count.saturating_sub(check.flaws.len() as u64);
        if more > 0 {
            text.push_str(&format!("{}: and {} more\n", check.name, out::thousands(more)));
        }
        text.push_str(&format!(
            "  should be: {}\n  what to do: {}\n",
            check.meaning, check.remedy
        ));
    }
    if flaws == 0 {
        text.push_str(&format!("the catalog is sound: {} checks", checks.len()));
    } else {
        text.push_str(&format!(
            "the catalog is not sound: {} flaws",
            out::thousands(flaws)
        ));
    }
    text
}

fn backup(context: &Context, file: &std::path::Path) -> Result<Exit, Failure> {
    let made = Catalog::open_beside(&context.config.db)?.backup(file, &context.clock)?;
    let path = made.path.display().to_string();
    context.say(&format!(
        "{}: {} meetings, {} bytes, SHA-256 {}",
        out::clean(&path),
        out::thousands(made.meetings),
        out::thousands(made.bytes),
        made.sha256
    ))?;
    match made.noted {
        Ok(()) => Ok(Exit::Done),
        Err(error) => Err(Failure {
            exit: Exit::Incomplete,
            message: format!("the backup {path} was made but could not be recorded: {error}"),
        }),
    }
}

fn vacuum(context: &Context) -> Result<Exit, Failure> {
    let (mut catalog, _lock) = context.open_existing("catalog vacuum")?;
    let run = catalog.begin_run("vacuum", context.now())?;
    let vacuumed = catalog.vacuum();
    let failure = vacuumed.as_ref().err().map(ToString::to_string);
    let exit = if failure.is_none() {
        Exit::Done
    } else {
        Exit::StoppedEarly
    };
    let ended = catalog.end_run(
        run,
        &Tally::default(),
        exit as u8,
        failure.as_deref(),
        context.now(),
    );
    let vacuumed = vacuumed?;
    ended?;
    context.say(&format!(
        "{} bytes before, {} after{}",
        out::thousands(vacuumed.bytes_before),
        out::thousands(vacuumed.bytes_after),
        if vacuumed.log_in_use {
            "; another program reads the catalog, so a later run empties its log"
        } else {
            ""
        }
    ))?;
    Ok(Exit::Done)
}
