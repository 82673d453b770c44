//! `sync`, `publish`, `reindex` and `retry`: the commands that write.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Exit, Failure, SyncArgs,
    context::{Context, ZoomEnd, clients},
    interrupt::Interrupt,
    out,
    progress::Show,
    whole_file,
};
use crate::{
    catalog::{Catalog, RunId, Tally},
    metrics::{self, Surroundings},
    model::AccountId,
    sync::{self as engine, Ending, Harvest, Options, Rebuilding, Scope, Summary},
};

pub fn sync(context: &Context, args: &SyncArgs) -> Result<Exit, Failure> {
    let begun = Instant::now();
    context.refuse_impossible_days(&args.days)?;
    let account = context.config.zoom_credentials()?.account_id;
    let scope = || context.scope(&args.days);
    let publish = !args.no_publish;
    let ended = context.block_on(async {
        let interrupt = Interrupt::watch()?;
        harvest(
            context,
            "sync",
            Some(&account),
            scope,
            publish,
            args.enrich,
            &interrupt,
        )
        .await
    });
    let written = match &args.metrics_file {
        Some(file) => write_metrics(context, file, begun.elapsed()),
        None => Ok(()),
    };
    // A failure of the run is reported before a failure to write the metrics.
    let (summary, exit) = ended?;
    written?;
    if args.json {
        out::json(&summary)?;
        return Ok(exit);
    }
    report(context, &summary, exit, begun.elapsed())
}

pub fn publish(context: &Context) -> Result<Exit, Failure> {
    let begun = Instant::now();
    context.refuse_without_elastic()?;
    let (summary, exit) = context.block_on(async {
        let interrupt = Interrupt::watch()?;
        harvest(
            context,
            "publish",
            None,
            || Ok(Scope::Nothing),
            true,
            false,
            &interrupt,
        )
        .await
    })?;
    report(context, &summary, exit, begun.elapsed())
}

/// Writes metrics of this run for node_exporter's textfile collector, as `watch` would answer them on `/metrics`.
fn write_metrics(context: &Context, file: &Path, took: Duration) -> Result<(), Failure> {
    let catalog = Catalog::open_read_only(&context.config.db)?;
    let mut around = Surroundings {
        quota_limit: context.plan().daily_share(context.config.rate_share),
        ..Surroundings::default()
    };
    around.runs.observe(took);
    let page = metrics::page(
        &catalog.health(context.now())?,
        &context.traffic.counts(),
        &around,
    );
    whole_file::write(file, page.as_bytes())
}

/// Prints the summary. With `--quiet` it only reports how the run ended, if it did not end well.
fn report(context: &Context, summary: &Summary, exit: Exit, took: Duration) -> Result<Exit, Failure> {
    if !context.quiet {
        let mut rows = rows(summary);
        rows.extend(closing(context, summary, took)?);
        out::print(&out::table(&rows))?;
    } else if exit != Exit::Done {
        return Err(Failure {
            exit,
            message: ended(summary),
        });
    }
    Ok(exit)
}

/// One run, from the lock to the last row. `sync`, `publish` and `demo` share it. `scope` is called once the clock follows Zoom's.
pub async fn harvest(
    context: &Context,
    command: &str,
    account: Option<&AccountId>,
    scope: impl FnOnce() -> Result<Scope, Failure>,
    publish: bool,
    enrich: bool,
    interrupt: &Interrupt,
) -> Result<(Summary, Exit), Failure> {
    let (mut catalog, _lock) = match account {
        Some(_) => context.open_catalog(command)?,
        // Publishing creates no catalog: a new one would be empty.
        None => context.open_existing(command)?,
    };
    let zoom: Option<ZoomEnd> = match account {
        Some(account) => {
            catalog.claim(account, &context.new_catalog_id(), context.now())?;
            Some(context.zoom(true)?)
        }
        None => None,
    };
    let elastic = if publish { context.elastic(&catalog)? } else { None };
    if let Some(ZoomEnd { zoom, .. }) = &zoom {
        let mut stop = interrupt.stop();
        tokio::select! {
            () = zoom.sign_in() => {}
            // The run receives the signal too, and ends before it does anything.
            _ = stop.wait_for(|stop| *stop) => {}
        }
    }
    let scope = scope()?;
    context.not_forgotten(&catalog, scope)?;
    let run = catalog.begin_run(command, context.now())?;
    let pacer = zoom.as_ref().map(|end| Arc::clone(&end.pacer));
    let show = Show::new(&context.bars, context.quiet).paced_by(pacer);
    let ended = match Harvest::new(
        &mut catalog,
        run,
        clients(zoom, elastic),
        Options {
            enrich,
            ..context.options(scope)
        },
        context.clock.clone(),
        &show,
    ) {
        Ok(harvest) => harvest.run(interrupt.stop()).await,
        Err(error) => Err(error),
    };
    drop(show);
    let summary = match ended {
        Ok(summary) => summary,
        Err(error) => return Err(note_failure(&mut catalog, run, error.into(), context)),
    };
    let exit = match &summary.ending {
        Ending::Done => Exit::Done,
        Ending::Incomplete => Exit::Incomplete,
        Ending::StoppedEarly { .. } => Exit::StoppedEarly,
        Ending::Misconfigured => Exit::Usage,
        Ending::Interrupted => interrupt.exit(),
    };
    catalog.end_run(
        run,
        &summary.tally,
        exit as u8,
        summary.message.as_deref(),
        context.now(),
    )?;
    Ok((summary, exit))
}

/// Tries to record how a run failed. That is not possible if the catalog itself failed.
pub fn note_failure(catalog: &mut Catalog, run: RunId, failure: Failure, context: &Context) -> Failure {
    let noted = catalog.end_run(
        run,
        &Tally::default(),
        failure.exit as u8,
        Some(&failure.message),
        context.now(),
    );
    if let Err(error) = noted {
        tracing::debug!(%error, "the end of the run could not be recorded");
    }
    failure
}

pub fn reindex(context: &Context, how: Rebuilding) -> Result<Exit, Failure> {
    context.refuse_without_elastic()?;
    let (mut catalog, _lock) = context.open_existing("reindex")?;
    let elastic = context.elastic_needed(&catalog)?;
    let rebuilt = context.block_on(async {
        let interrupt = Interrupt::watch()?;
        let run = catalog.begin_run("reindex", context.now())?;
        let show = Show::new(&context.bars, context.quiet);
        let rebuilt = engine::reindex(
            &mut catalog,
            &elastic,
            run,
            how,
            &context.clock,
            &show,
            &interrupt.stop(),
        )
        .await;
        drop(show);
        match rebuilt {
            Ok(rebuilt) => {
                let tally = Tally {
                    published: rebuilt.meetings,
                    failed: rebuilt.rejected,
                    ..Tally::default()
                };
                let exit = if rebuilt.rejected > 0 {
                    Exit::Incomplete
                } else {
                    Exit::Done
                };
                catalog.end_run(run, &tally, exit as u8, None, context.now())?;
                Ok(rebuilt)
            }
            Err(error) => {
                let mut failure = Failure::from(error);
                if failure.exit == Exit::Interrupted {
                    failure.exit = interrupt.exit();
                }
                Err(note_failure(&mut catalog, run, failure, context))
            }
        }
    })?;
    context.say(&format!(
        "rebuilt: {} meetings, {} documents, {} rejected",
        out::thousands(rebuilt.meetings),
        out::thousands(rebuilt.documents),
        out::thousands(rebuilt.rejected)
    ))?;
    if !rebuilt.left_out.is_empty() {
        let years: Vec<String> = rebuilt.left_out.iter().map(u16::to_string).collect();
        context.say(&format!(
            "left out: {}, whose index was dropped; `reindex --dropped-years` fills it again",
            years.join(", ")
        ))?;
    }
    Ok(if rebuilt.rejected > 0 {
        Exit::Incomplete
    } else {
        Exit::Done
    })
}

pub fn retry(context: &Context) -> Result<Exit, Failure> {
    let (mut catalog, _lock) = context.open_existing("retry")?;
    let run = catalog.begin_run("retry", context.now())?;
    let due = catalog.retry()?;
    catalog.end_run(run, &Tally::default(), Exit::Done as u8, None, context.now())?;
    context.say(&format!(
        "{} due again; run `zoom-harvester sync` (or `publish`)",
        out::counted(due, "meeting")
    ))?;
    Ok(Exit::Done)
}

/// The summary as text.
pub fn as_text(summary: &Summary) -> String {
    out::table(&rows(summary))
}

fn rows(summary: &Summary) -> Vec<Vec<String>> {
    let (n, counted) = (out::thousands, out::counted);
    let tally = &summary.tally;
    let requests: Vec<String> = summary
        .zoom_requests
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(label, count)| format!("{} {label}", n(*count)))
        .collect();
    let requests = if requests.is_empty() {
        "none".to_owned()
    } else {
        requests.join(", ")
    };
    vec![
        vec![
            "listed".to_owned(),
            format!(
                "{}: {}, {} changed, {} vanished",
                counted(tally.listings, "window"),
                counted(tally.new, "new meeting"),
                n(tally.changed),
                n(tally.vanished)
            ),
        ],
        vec![
            "fetched".to_owned(),
            format!(
                "{} with {}",
                counted(tally.details, "detail"),
                counted(tally.sessions, "session")
            ),
        ],
        vec![
            "published".to_owned(),
            if summary.publishing {
                format!(
                    "{}: {} sent, {} deleted, in {}",
                    counted(tally.published, "meeting"),
                    counted(summary.documents, "document"),
                    n(summary.deleted),
                    counted(summary.bulk_requests, "bulk request")
                )
            } else {
                "nothing: no Elasticsearch (ELASTICSEARCH_URL); everything is in the catalog".to_owned()
            },
        ],
        vec!["requests to Zoom".to_owned(), requests],
        vec![
            "still due".to_owned(),
            format!(
                "{}, documents of {}",
                counted(summary.details_due, "detail"),
                counted(summary.documents_due, "meeting")
            ),
        ],
        vec!["failed or dead".to_owned(), n(summary.troubled)],
        vec!["ended".to_owned(), ended(summary)],
    ]
}

/// The last lines of the summary: quota used, duration, and what to do next.
fn closing(context: &Context, summary: &Summary, took: Duration) -> Result<Vec<Vec<String>>, Failure> {
    let catalog = Catalog::open_read_only(&context.config.db)?;
    let used = catalog.daily_quota_used(context.now())?;
    let next = match &summary.ending {
        Ending::Done if summary.documents_due > 0 && !summary.publishing => {
            "set ELASTICSEARCH_URL and run `zoom-harvester publish`, or do nothing"
        }
        Ending::Done => "nothing: the next sync lists the days that are not settled",
        Ending::Incomplete => "`zoom-harvester status` says what failed and why; the next sync tries again",
        Ending::StoppedEarly { .. } | Ending::Interrupted => "run it again: it continues where it stopped",
        Ending::Misconfigured => "fix what the line above names, then `zoom-harvester doctor`",
    };
    let share = context.plan().daily_share(context.config.rate_share);
    Ok(vec![
        vec![
            "quota today".to_owned(),
            format!(
                "{} of our share of {}",
                out::thousands(used),
                out::thousands(share)
            ),
        ],
        vec!["took".to_owned(), format!("{:.1} s", took.as_secs_f64())],
        vec!["next".to_owned(), next.to_owned()],
    ])
}

fn ended(summary: &Summary) -> String {
    let word = match &summary.ending {
        Ending::Done => "done",
        Ending::Incomplete => "finished, but some meetings failed",
        Ending::StoppedEarly { .. } => "stopped early; run it again",
        Ending::Misconfigured => "cannot continue: fix the configuration",
        Ending::Interrupted => "interrupted",
    };
    match &summary.message {
        Some(message) => format!("{word}: {message}"),
        None => word.to_owned(),
    }
}
