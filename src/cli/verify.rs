//! `verify`: compares the indices, or Zoom's listing, with the catalog.

use std::{cell::Cell, io};

use chrono::Days;
use serde_json::json;

use super::{
    DayArgs, Exit, Failure, VerifyArgs,
    context::Context,
    interrupt::Interrupt,
    out,
    plan::{belongs, looking},
    progress::Show,
    sync::note_failure,
};
use crate::{
    catalog::{Catalog, Tally},
    model::{Clock, Window},
    sync::{
        self as engine, Count, Difference, DifferenceKind, Observer, Progress, Remedy, Scope, Verified,
        ZoomComparison, ZoomDifferenceKind,
    },
};

/// The most differences that are shown as text; `--json` shows all.
const SHOWN: usize = 50;

/// Days that are compared with Zoom if the user gives no dates.
const ZOOM_DAYS: u64 = 30;

pub fn run(context: &Context, args: &VerifyArgs) -> Result<Exit, Failure> {
    if args.zoom {
        zoom(context, args)
    } else {
        indices(context, args)
    }
}

fn indices(context: &Context, args: &VerifyArgs) -> Result<Exit, Failure> {
    context.refuse_without_elastic()?;
    drop(Catalog::open_read_only(&context.config.db)?);
    // The catalog is locked even if it is only read: what another run publishes at the same time would look like differences.
    let (mut catalog, _lock) = context.open_catalog("verify")?;
    let elastic = context.elastic_needed(&catalog)?;
    let remedy = if args.repair {
        Remedy::Repair {
            drop_unknown: args.drop_unknown,
        }
    } else {
        Remedy::Tell
    };
    let verified = context.block_on(async {
        let interrupt = Interrupt::watch()?;
        let run = match remedy {
            Remedy::Tell => None,
            Remedy::Repair { .. } => Some(catalog.begin_run("verify", context.now())?),
        };
        let lines = Lines {
            show: Show::new(&context.bars, context.quiet),
            json: args.json,
            told: Cell::new(0),
        };
        let clock: &Clock = &context.clock;
        let verified = engine::verify(&mut catalog, &elastic, remedy, clock, &lines, interrupt.stop()).await;
        drop(lines);
        match (verified, run) {
            (Ok(verified), Some(run)) => {
                let said = verified.repaired.as_ref().map(|done| {
                    format!(
                        "{} documents differed; {} meetings made due, {} unknown documents deleted",
                        verified.differences(),
                        done.due,
                        done.dropped
                    )
                });
                let exit = exit(verified.equal);
                catalog.end_run(run, &Tally::default(), exit as u8, said.as_deref(), context.now())?;
                Ok(verified)
            }
            (Ok(verified), None) => Ok(verified),
            (Err(error), run) => {
                let mut failure = Failure::from(error);
                if failure.exit == Exit::Interrupted {
                    failure.exit = interrupt.exit();
                }
                Err(match run {
                    Some(run) => note_failure(&mut catalog, run, failure, context),
                    None => failure,
                })
            }
        }
    })?;
    if args.json {
        print(&json!({"summary": verified}).to_string())?;
    } else {
        print(&as_text(&verified))?;
    }
    Ok(exit(verified.equal))
}

fn exit(equal: bool) -> Exit {
    if equal { Exit::Done } else { Exit::Incomplete }
}

/// A closed pipe (`| head`) changes neither the result nor the exit code; another write error does.
fn print(text: &str) -> io::Result<()> {
    out::print(text).or_else(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Ok(()),
        _ => Err(error),
    })
}

/// Prints differences as they are found. Other progress is shown as for every command.
struct Lines {
    show: Show,
    json: bool,
    told: Cell<usize>,
}

impl Observer for Lines {
    fn see(&self, progress: Progress<'_>) {
        match progress {
            Progress::Differs(difference) => {
                let told = self.told.get() + 1;
                self.told.set(told);
                // If this fails, printing the summary fails too, and that is reported.
                let _ = if self.json {
                    print(&json!(difference).to_string())
                } else if told <= SHOWN {
                    self.show.aside(|| print(&line(difference)))
                } else if told == SHOWN + 1 {
                    self.show
                        .aside(|| print("… and more (--json shows every difference)"))
                } else {
                    Ok(())
                };
            }
            other => self.show.see(other),
        }
    }
}

fn line(difference: &Difference) -> String {
    let what = match (difference.index, &difference.meeting) {
        ("meetings", Some(meeting)) if *meeting == difference.id => format!("meeting {meeting}"),
        ("meetings", Some(meeting)) => format!("document {} that says meeting {meeting}", difference.id),
        ("meetings", None) => format!("document {} of no meeting", difference.id),
        (_, Some(meeting)) => format!("session {} of meeting {meeting}", difference.id),
        (_, None) => format!("session {} of no meeting", difference.id),
    };
    let version = |version: Option<i64>| version.map(|version| version.to_string()).unwrap_or_default();
    let (word, why) = match difference.kind {
        DifferenceKind::Missing => ("missing", String::new()),
        DifferenceKind::Version => (
            "different",
            format!(
                ": version {}, expected {}",
                version(difference.found_version),
                version(difference.expected_version)
            ),
        ),
        DifferenceKind::Content => ("different", ": its content".to_owned()),
        DifferenceKind::Misplaced => ("different", ": the fields it is found by".to_owned()),
        DifferenceKind::Extra => ("extra", String::new()),
        DifferenceKind::Unknown => ("unknown", String::new()),
    };
    out::clean(&format!("{word:<9}  {what}{why}")).into_owned()
}

/// The summary as text.
fn as_text(verified: &Verified) -> String {
    let n = out::thousands;
    let both = |count: Count| format!("{} meetings, {} sessions", n(count.meetings), n(count.sessions));
    let mut rows = vec![vec!["compared".to_owned(), both(verified.compared)]];
    for (name, count, why) in [
        ("missing", verified.missing, ""),
        ("different", verified.version, " (version)"),
        ("different", verified.content, " (content)"),
        ("different", verified.misplaced, " (the fields they are found by)"),
        ("extra", verified.extra, ""),
        (
            "unknown",
            verified.unknown,
            " (of no meeting that the catalog keeps)",
        ),
    ] {
        if count.total() > 0 {
            rows.push(vec![name.to_owned(), format!("{}{why}", both(count))]);
        }
    }
    for alias in &verified.no_index {
        rows.push(vec![
            "no index".to_owned(),
            format!("behind {alias}; the next sync makes it"),
        ]);
    }
    for dropped in &verified.dropped_years {
        rows.push(vec![
            dropped.year.to_string(),
            format!(
                "its index was dropped: {} meetings are in the catalog only, and not compared; `reindex --dropped-years` fills it again",
                n(dropped.meetings)
            ),
        ]);
    }
    let mut meetings = |name: &str, count: u64, remedy: &str| {
        if count > 0 {
            rows.push(vec![name.to_owned(), format!("{} meetings: {remedy}", n(count))]);
        }
    };
    meetings("due", verified.due, "run `zoom-harvester publish`");
    meetings(
        "rejected",
        verified.rejected,
        "refused by Elasticsearch; `status` says why, `retry` sends them again",
    );
    meetings(
        "no detail yet",
        verified.details_due,
        "their documents are not expected before `sync` has fetched it",
    );
    match &verified.repaired {
        Some(done) => {
            if done.due > 0 {
                rows.push(vec![
                    "repaired".to_owned(),
                    format!(
                        "{} meetings are due again, {} sessions to be deleted with them; run `zoom-harvester publish` (or `sync`)",
                        n(done.due),
                        n(done.lost)
                    ),
                ]);
            }
            if done.elsewhere > 0 {
                rows.push(vec![
                    "to be deleted".to_owned(),
                    format!(
                        "{} documents of meetings that are in the index of another year; run `zoom-harvester publish` (or `sync`)",
                        n(done.elsewhere)
                    ),
                ]);
            }
            if done.dropped > 0 {
                rows.push(vec![
                    "deleted".to_owned(),
                    format!("{} unknown documents", n(done.dropped)),
                ]);
            }
            if done.beyond > 0 {
                rows.push(vec![
                    "not repaired".to_owned(),
                    format!(
                        "{} meetings have versions in the index that are too high to overwrite; run `zoom-harvester reindex`",
                        n(done.beyond)
                    ),
                ]);
            }
            if verified.unknown.total() > done.dropped {
                rows.push(vec![
                    "left alone".to_owned(),
                    format!(
                        "{} unknown documents; --repair --drop-unknown deletes them",
                        n(verified.unknown.total())
                    ),
                ]);
            }
        }
        None => {
            let unknown = verified.unknown.total();
            let mut remedies = Vec::new();
            if verified.differences() > unknown {
                remedies.push("`zoom-harvester verify --repair`, then `publish`");
            }
            if unknown > 0 {
                remedies.push("unknown documents stay until `zoom-harvester verify --repair --drop-unknown`");
            }
            if !remedies.is_empty() {
                rows.push(vec!["remedy".to_owned(), remedies.join("; ")]);
            }
        }
    }
    let ended = if verified.equal { "equal" } else { "not equal" };
    rows.push(vec!["the indices are".to_owned(), ended.to_owned()]);
    out::table(&rows)
}

fn zoom(context: &Context, args: &VerifyArgs) -> Result<Exit, Failure> {
    let account = context.config.zoom_credentials()?.account_id;
    let catalog = Catalog::open_read_only(&context.config.db)?;
    belongs(&catalog, account)?;
    let asked = DayArgs {
        from: args.from,
        to: args.to,
    };
    context.refuse_impossible_days(&asked)?;
    let compare = async {
        let end = looking(context, &catalog).await?;
        let window = days_compared(context, &catalog, &asked)?;
        let policy = context.config.privacy.clone();
        let comparison =
            engine::compare_with_zoom(&catalog, &end.zoom, window, policy, context.now()).await?;
        Ok::<_, Failure>((comparison, window))
    };
    let (comparison, window) = context.block_on(async {
        let interrupt = Interrupt::watch()?;
        let mut stop = interrupt.stop();
        tokio::select! {
            compared = compare => compared,
            _ = stop.wait_for(|stop| *stop) => Err(Failure {
                exit: interrupt.exit(),
                message: "interrupted".to_owned(),
            }),
        }
    })?;
    if args.json {
        for one in &comparison.meetings {
            print(&json!(one).to_string())?;
        }
        print(&json!({"summary": comparison}).to_string())?;
    } else {
        print(&zoom_comparison_as_text(&comparison, window))?;
    }
    Ok(exit(comparison.equal))
}

/// The requested days; without any, the last days that the catalog covers.
fn days_compared(context: &Context, catalog: &Catalog, asked: &DayArgs) -> Result<Window, Failure> {
    if let Scope::Days(window) = context.scope(asked)? {
        return Ok(window);
    }
    let today = context.now().date_naive();
    let covered = catalog
        .first_day()?
        .and_then(|first| Window::new(Ord::max(first, today - Days::new(ZOOM_DAYS - 1)), today));
    covered.ok_or_else(|| {
        Failure::usage(
            "no day was ever listed, so there is nothing to compare; run `zoom-harvester sync` first",
        )
    })
}

fn zoom_comparison_as_text(comparison: &ZoomComparison, window: Window) -> String {
    let n = out::thousands;
    let word = |kind: ZoomDifferenceKind| match kind {
        ZoomDifferenceKind::New => "new",
        ZoomDifferenceKind::Changed => "changed",
        ZoomDifferenceKind::Renamed => "renamed",
        ZoomDifferenceKind::Reappeared => "reappeared",
        ZoomDifferenceKind::Vanished => "vanished",
    };
    let mut text = String::new();
    for one in comparison.meetings.iter().take(SHOWN) {
        text.push_str(&out::clean(&format!(
            "{:<10}  meeting {}",
            word(one.kind),
            one.meeting
        )));
        text.push('\n');
    }
    if comparison.meetings.len() > SHOWN {
        text.push_str(&format!(
            "… and {} more (--json shows every one)\n",
            n((comparison.meetings.len() - SHOWN) as u64)
        ));
    }
    for row in comparison.unreadable.iter().take(SHOWN) {
        text.push_str(&out::clean(&format!("unreadable  {row}")));
        text.push('\n');
    }
    let mut rows = vec![
        vec!["days".to_owned(), comparison.window.clone()],
        vec![
            "unchanged".to_owned(),
            format!("{} meetings", n(comparison.unchanged)),
        ],
    ];
    rows.extend(
        comparison
            .counts
            .iter()
            .map(|(kind, count)| vec![word(*kind).to_owned(), format!("{} meetings", n(*count))]),
    );
    if !comparison.unreadable.is_empty() {
        rows.push(vec![
            "unreadable".to_owned(),
            format!(
                "{} rows; so no meeting counts as vanished",
                n(comparison.unreadable.len() as u64)
            ),
        ]);
    }
    let vanished = comparison
        .counts
        .get(&ZoomDifferenceKind::Vanished)
        .copied()
        .unwrap_or(0);
    if comparison.counts.values().sum::<u64>() > 0 {
        let stays = if vanished > 0 {
            " (what vanished is marked, its documents stay)"
        } else {
            ""
        };
        rows.push(vec![
            "remedy".to_owned(),
            format!(
                "`zoom-harvester sync --from {} --to {}`{stays}",
                window.from, window.to
            ),
        ]);
    }
    let ended = if comparison.equal {
        "as the catalog knows it"
    } else {
        "not as the catalog knows it"
    };
    rows.push(vec!["Zoom's listing is".to_owned(), ended.to_owned()]);
    text.push_str(&out::table(&rows));
    text
}
