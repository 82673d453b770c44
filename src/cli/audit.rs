//! `status` and `show`: they only read, and also work during a sync.

use std::time::Duration;

use super::{Exit, Failure, context::Context, out};
use crate::{
    catalog::{Catalog, Finding, Found, Overview, RunShown},
    model::{Row, from_iso},
};

pub fn status(context: &Context, json: bool) -> Result<Exit, Failure> {
    let overview = Catalog::open_read_only(&context.config.db)?.overview(context.now())?;
    if json {
        out::json(&overview)?
    } else {
        out::print(&as_text(&overview, context))?
    }
    Ok(Exit::Done)
}

/// One line that says whether the catalog is complete and, if not, what is missing.
fn verdict(overview: &Overview) -> String {
    let of = |status: &str| overview.meetings.get(status).copied().unwrap_or(0);
    let is_published = of("indexed") > 0;
    let lacking: Vec<String> = [
        (overview.coverage.missing.len() as u64, "never listed", "day"),
        (of("failed") + of("dead"), "failed or dead", "meeting"),
        (overview.details_due, "to be fetched", "detail"),
        (
            if is_published { overview.documents_due } else { 0 },
            "to be indexed",
            "meeting",
        ),
    ]
    .into_iter()
    .filter(|(count, ..)| *count > 0)
    .map(|(count, what, of)| {
        format!(
            "{} {of}{} {what}",
            out::thousands(count),
            if count == 1 { "" } else { "s" }
        )
    })
    .collect();
    let open = overview.coverage.days.saturating_sub(overview.coverage.settled);
    match (overview.coverage.days, lacking.as_slice()) {
        (0, _) => "not complete: no day was ever listed; run `zoom-harvester sync`".to_owned(),
        (_, []) if open == 0 => "complete".to_owned(),
        (_, []) => format!("complete so far; {open} of the days will be listed again by the next sync"),
        (_, lacking) => format!("not complete: {}", lacking.join(", ")),
    }
}

fn as_text(overview: &Overview, context: &Context) -> String {
    let n = out::thousands;
    let coverage = &overview.coverage;
    let mut rows = vec![
        vec![
            "account".to_owned(),
            overview
                .account_id
                .clone()
                .unwrap_or_else(|| "none yet".to_owned()),
        ],
        vec![
            "days".to_owned(),
            match (coverage.from, coverage.to) {
                (Some(from), Some(to)) => format!(
                    "{from} to {to}: {} listed, {} settled, {} never listed",
                    coverage.days,
                    coverage.settled,
                    coverage.missing.len()
                ),
                _ => "none yet".to_owned(),
            },
        ],
    ];
    let statuses: Vec<String> = overview
        .meetings
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(name, count)| format!("{} {name}", n(*count)))
        .collect();
    let total: u64 = overview.meetings.values().sum();
    if !coverage.missing.is_empty() {
        let shown = coverage.missing.iter().take(10).map(ToString::to_string);
        let days: Vec<String> = shown.collect();
        let more = coverage.missing.len() - days.len();
        let ending = if more > 0 {
            format!(" and {} more", n(more as u64))
        } else {
            String::new()
        };
        rows.push(vec!["never listed".to_owned(), days.join(", ") + &ending]);
    }
    rows.push(vec![
        "meetings".to_owned(),
        if statuses.is_empty() {
            "none yet".to_owned()
        } else {
            let webinars = match overview.webinars {
                0 => String::new(),
                webinars => format!("; {} of them are webinars", n(webinars)),
            };
            format!("{} ({}){webinars}", n(total), statuses.join(", "))
        },
    ]);
    rows.push(vec![
        "sessions".to_owned(),
        format!(
            "{} kept; {} meetings vanished, {} doubted, of which {} accepted as incomplete",
            n(overview.sessions),
            n(overview.vanished),
            n(overview.doubted),
            n(overview.incomplete)
        ),
    ]);
    rows.push(vec![
        "due".to_owned(),
        format!(
            "{} details, documents of {} meetings",
            n(overview.details_due),
            n(overview.documents_due)
        ),
    ]);
    let used: Vec<String> = overview
        .api_use_today
        .requests
        .iter()
        .map(|(label, count)| format!("{} {label}", n(*count)))
        .collect();
    let share = context.plan().daily_share(context.config.rate_share);
    rows.push(vec!["requests today".to_owned(), used.join(", ")]);
    rows.push(vec![
        "daily quota".to_owned(),
        format!(
            "{} used of our share of {}",
            n(overview.api_use_today.daily_quota_used),
            n(share)
        ),
    ]);
    let mut text = format!("{}\n{}", verdict(overview), out::table(&rows));
    if !overview.troubled.is_empty() {
        text.push_str("\nfailed or dead\n");
        let mut rows = vec![
            ["meeting", "status", "attempts", "next attempt", "reason"]
                .map(str::to_owned)
                .to_vec(),
        ];
        rows.extend(overview.troubled.iter().map(|one| {
            vec![
                one.meeting_uuid.clone(),
                one.status.clone(),
                one.attempts.to_string(),
                one.next_attempt.clone(),
                one.reason.clone(),
            ]
        }));
        text.push_str(&out::table(&rows));
    }
    if !overview.runs.is_empty() {
        text.push_str("\nlast runs (UTC)\n");
        let mut rows = vec![
            [
                "run", "command", "started", "took", "exit", "new", "changed", "details", "message",
            ]
            .map(str::to_owned)
            .to_vec(),
        ];
        rows.extend(overview.runs.iter().map(|run| {
            vec![
                run.run_id.to_string(),
                run.command.clone(),
                // Only month, day, hour and minute, so that a row fits the narrowest usual terminal.
                run.started_at
                    .get(5..16)
                    .unwrap_or(&run.started_at)
                    .replace('T', " "),
                took(run),
                run.exit_code.map(|code| code.to_string()).unwrap_or_default(),
                run.new.to_string(),
                run.changed.to_string(),
                run.details.to_string(),
                match (&run.message, &run.ended_at) {
                    (Some(message), _) => message.clone(),
                    (None, None) => "under way or killed".to_owned(),
                    (None, Some(_)) => String::new(),
                },
            ]
        }));
        text.push_str(&out::table(&rows));
    }
    text
}

/// How long a run took; empty if it has not ended.
fn took(run: &RunShown) -> String {
    let at = |text: &str| from_iso(text).map(|at| at.timestamp());
    let ended = run.ended_at.as_deref().and_then(at);
    let seconds = at(&run.started_at).zip(ended).map(|(began, ended)| ended - began);
    match seconds.and_then(|seconds| u64::try_from(seconds).ok()) {
        Some(seconds) => out::duration(Duration::from_secs(seconds)),
        None => String::new(),
    }
}

pub fn show(context: &Context, id: &str) -> Result<Exit, Failure> {
    let catalog = Catalog::open_read_only(&context.config.db)?;
    let Some(found) = catalog.find(id)? else {
        return Err(Failure::usage(format!(
            "the catalog knows no meeting, series or host {id:?}"
        )));
    };
    let text = match &found {
        Found::Meeting(shown) => {
            let mut text = columns("meeting", &shown.meeting);
            text.push_str(&format!("\nas Zoom lists it\n{}\n", pretty(&shown.listing)));
            text.push_str(&format!("\nhistory\n{}\n", shown.history.join("\n")));
            text.push_str(&format!("\n{} sessions\n", shown.sessions.len()));
            for session in &shown.sessions {
                text.push_str(&pretty(session));
                text.push('\n');
            }
            text
        }
        Found::Series(shown) => columns("series", &shown.series) + &list(&shown.meetings),
        Found::Host(shown) => columns("host", &shown.host) + &list(&shown.meetings),
    };
    out::print(&text)?;
    Ok(Exit::Done)
}

/// A row as indented JSON. Printing is not a hot path, so a tree of values is good enough.
fn pretty(row: &Row) -> String {
    let tree: serde_json::Value = serde_json::from_str(row.as_str()).unwrap_or_default();
    out::escaped(&serde_json::to_string_pretty(&tree).unwrap_or_default()).into_owned()
}

fn columns(what: &str, row: &std::collections::BTreeMap<String, serde_json::Value>) -> String {
    let rows: Vec<Vec<String>> = row
        .iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| {
            let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            vec![name.clone(), shown]
        })
        .collect();
    format!("{what}\n{}", out::table(&rows))
}

fn list(meetings: &[Finding]) -> String {
    let mut rows = vec![
        ["meeting", "status", "began", "sessions", "topic"]
            .map(str::to_owned)
            .to_vec(),
    ];
    rows.extend(meetings.iter().map(|one| {
        vec![
            one.meeting_uuid.clone(),
            one.status.clone(),
            one.start_time.clone().unwrap_or_default(),
            one.sessions.map(|count| count.to_string()).unwrap_or_default(),
            one.topic.clone(),
        ]
    }));
    format!("\n{} meetings\n{}", meetings.len(), out::table(&rows))
}
