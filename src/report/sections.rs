//! The sections of the page.

use std::collections::BTreeMap;

use chrono::{Datelike, NaiveDate};
use maud::{Markup, PreEscaped, html};

use super::{About, charts};
use crate::{
    catalog::{DayFigures, Figures, Largest},
    model::Label,
    untrusted::clean,
};

/// The states of a day, worst first, and what each means.
const STATES: [(&str, &str); 5] = [
    ("missing", "no listing covered it; sync --from that day lists it"),
    (
        "failed",
        "a meeting failed; the table of failures says what to do",
    ),
    (
        "partial",
        "something is due: the next sync fetches or publishes it",
    ),
    ("unsettled", "all is there, and the next sync lists it again"),
    ("complete", "all is there, and Zoom listed it twice the same"),
];
const WEEKDAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// A number with thousands separators: `12,345`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn sum(figures: &Figures, of: impl Fn(&DayFigures) -> u64) -> u64 {
    figures.days.iter().map(of).sum()
}

/// The numbers under the answer, and how many of the listed meetings were fetched and indexed.
pub(super) fn numbers(figures: &Figures) -> Markup {
    let (listed, fetched) = (sum(figures, |day| day.listed), sum(figures, |day| day.fetched));
    let (indexed, gone) = (sum(figures, |day| day.indexed), sum(figures, |day| day.gone));
    let webinars = sum(figures, |day| day.webinars);
    let steps = [
        ("listed", listed, "by Zoom"),
        ("fetched", fetched, "with their participants"),
        (
            "indexed",
            indexed,
            if figures.published {
                "acknowledged by Elasticsearch"
            } else {
                "nothing was published yet"
            },
        ),
    ];
    html! {
        dl.numbers {
            div { dt { "days" } dd { (grouped(figures.days.len() as u64)) } }
            div { dt { "meetings" } dd { (grouped(listed - webinars)) } }
            @if webinars > 0 { div { dt { "webinars" } dd { (grouped(webinars)) } } }
            div { dt { "sessions" } dd { (grouped(sum(figures, |day| day.sessions))) } }
            div { dt { "failed" } dd { (grouped(sum(figures, |day| day.failed))) } }
            div { dt { "incomplete" } dd { (grouped(sum(figures, |day| day.incomplete))) } }
            @if gone > 0 { div { dt { "gone at Zoom" } dd { (grouped(gone)) } } }
        }
        ol.steps {
            @for (name, count, note) in steps {
                li {
                    label { (name) " " b { (grouped(count)) } " " small { (note) }
                        meter min="0" max=(listed.max(1)) value=(count) { (count) " of " (listed) }
                    }
                }
            }
        }
    }
}

/// Every day, coloured by its state.
pub(super) fn calendar(figures: &Figures) -> Markup {
    let mut months: BTreeMap<(i32, u32), Vec<(NaiveDate, &DayFigures)>> = BTreeMap::new();
    for day in &figures.days {
        if let Ok(date) = day.day.parse::<NaiveDate>() {
            months
                .entry((date.year(), date.month()))
                .or_default()
                .push((date, day));
        }
    }
    html! {
        section aria-labelledby="calendar" {
            h2 id="calendar" { "Coverage by day" }
            ul.legend {
                @for (state, meaning) in STATES {
                    @let days = figures.days.iter().filter(|day| day.state == state).count();
                    li { span class={ "swatch " (state) } {} b { (state) " " (days) } " " (meaning) }
                }
            }
            p #day-detail aria-live="polite" { "Point at a day, or move with the arrow keys, for its numbers." }
            div.months role="group" aria-label="Days" {
                @for ((year, month), days) in &months {
                    div.month {
                        h3 { (format!("{year}-{month:02}")) }
                        div.days {
                            @for name in WEEKDAYS { span.weekday aria-hidden="true" { (name.get(..1).unwrap_or_default()) } }
                            @for (date, day) in days { (one_day(*date, day)) }
                        }
                    }
                }
            }
        }
    }
}

fn one_day(date: NaiveDate, day: &DayFigures) -> Markup {
    let column = date.weekday().num_days_from_monday() + 1;
    let said = match day.state.as_str() {
        "missing" => format!("{}: missing, no listing covered it", day.day),
        state => {
            let of_webinars = match day.webinars {
                0 => String::new(),
                webinars => format!(" (webinars: {webinars})"),
            };
            format!(
                "{}: {state}, {} listed{of_webinars}, {} fetched, {} indexed, {} failed, {} sessions",
                day.day, day.listed, day.fetched, day.indexed, day.failed, day.sessions
            )
        }
    };
    html! {
        button type="button" class={ "day " (day.state) } style={ "grid-column:" (column) } tabindex="-1" title=(said) aria-label=(said)
            data-day=(day.day) data-listed=(day.listed) data-fetched=(day.fetched) data-indexed=(day.indexed) data-state=(day.state)
            { (date.day()) }
    }
}

/// What failed, by reason.
pub(super) fn failures(figures: &Figures) -> Markup {
    let what_to_do = |status: &str, next: &str| match status {
        "failed" => "nothing: the next sync tries again".to_owned(),
        "dead" => "see to the reason, then zoom-harvester retry".to_owned(),
        _ => format!("nothing: Zoom says it has it no more ({next})"),
    };
    html! {
        section aria-labelledby="failures" {
            h2 id="failures" { "Failures" }
            @if figures.failures.is_empty() {
                p { "None." }
            } @else {
                div.wide { table {
                    thead { tr { th { "meetings" } th { "status" } th { "reason" } th { "what to do" } } }
                    tbody { @for one in &figures.failures {
                        tr { td.number { (grouped(one.meetings)) } td { (one.status) } td { bdi { (clean(&one.reason)) } }
                            td { (what_to_do(&one.status, &clean(&one.next_attempt))) } }
                    } }
                } }
            }
        }
    }
}

/// Meetings and sessions by day, week and hour of the week.
pub(super) fn activity(figures: &Figures) -> Markup {
    let by_day = |of: fn(&DayFigures) -> u64| -> Vec<(String, u64)> {
        figures
            .days
            .iter()
            .map(|day| (day.day.clone(), of(day)))
            .collect()
    };
    let mut weeks: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for day in &figures.days {
        if let Ok(date) = day.day.parse::<NaiveDate>() {
            let week = date.iso_week();
            let (meetings, sessions) = weeks
                .entry(format!("{}-W{:02}", week.year(), week.week()))
                .or_default();
            (*meetings, *sessions) = (*meetings + day.listed, *sessions + day.sessions);
        }
    }
    let by_week: Vec<(String, u64)> = weeks
        .iter()
        .map(|(week, (meetings, _))| (week.clone(), *meetings))
        .collect();
    html! {
        section aria-labelledby="activity" {
            h2 id="activity" { "Meetings and sessions" }
            div.charts {
                (figure("Meetings by day", &by_day(|day| day.listed), None))
                (figure("Sessions by day", &by_day(|day| day.sessions), None))
                (figure("Meetings by week", &by_week, None))
            }
            h3 { "Meetings by hour of the week (UTC, by their begin)" }
            (hours(figures))
        }
    }
}

fn figure(title: &str, bars: &[(String, u64)], limit: Option<u64>) -> Markup {
    html! {
        figure {
            figcaption { (title) }
            (PreEscaped(charts::bars(title, bars, limit)))
        }
    }
}

fn hours(figures: &Figures) -> Markup {
    let most = figures
        .hours
        .iter()
        .map(|hour| hour.meetings)
        .max()
        .unwrap_or(0)
        .max(1);
    let at = |weekday: usize, hour: u8| {
        let found = figures
            .hours
            .iter()
            .find(|one| usize::from(one.weekday) == weekday && one.hour == hour);
        found.map_or(0, |one| one.meetings)
    };
    html! {
        div.wide { table.hours {
            thead { tr { th {} @for hour in 0..24 { th scope="col" { (hour) } } } }
            tbody { @for (weekday, name) in WEEKDAYS.iter().enumerate() {
                tr { th scope="row" { (name) } @for hour in 0..24u8 {
                    @let meetings = at(weekday, hour);
                    td style={ "--share:" (meetings * 100 / most) "%" } title={ (name) " " (hour) ":00: " (meetings) } { @if meetings > 0 { (meetings) } }
                } }
            } }
        } }
    }
}

/// The quota by day and by label.
pub(super) fn quota(figures: &Figures, about: &About) -> Markup {
    let used: Vec<(String, u64)> = figures
        .quota
        .iter()
        .map(|day| (day.day.clone(), day.used))
        .collect();
    let most = figures.quota.iter().max_by_key(|day| day.used);
    html! {
        section aria-labelledby="quota" {
            h2 id="quota" { "Quota" }
            p {
                "Of Zoom's daily quota this program may use " (grouped(about.daily_share)) " Heavy and Resource-intensive requests. "
                @if let Some(day) = most {
                    "The most on a day: " (grouped(day.used)) " (" (day.used * 100 / about.daily_share.max(1)) "%), on " (day.day) "."
                } @else { "No request was counted in these days." }
            }
            @if !used.is_empty() {
                div.charts {
                    (figure("Requests of the daily quota, by day", &used, Some(about.daily_share)))
                    @for (n, label) in Label::ALL.into_iter().enumerate() {
                        @let of_label: Vec<(String, u64)> =
                            figures.quota.iter().filter_map(|day| Some((day.day.clone(), *day.requests.get(n)?))).collect();
                        // No chart for a label without requests.
                        @if of_label.iter().any(|(_, requests)| *requests > 0) {
                            (figure(&format!("{label} requests, by day"), &of_label, None))
                        }
                    }
                }
                details {
                    summary { "By label" }
                    div.wide { table {
                        thead { tr { th { "day" } @for label in Label::ALL { th { (label.as_str()) } } th { "of the daily quota" } } }
                        tbody { @for day in &figures.quota {
                            tr { td.time { (day.day) } @for requests in day.requests { td.number { (grouped(requests)) } }
                                td.number { (grouped(day.used)) } }
                        } }
                    } }
                }
            }
        }
    }
}

/// The last runs.
pub(super) fn runs(figures: &Figures) -> Markup {
    html! {
        section aria-labelledby="runs" {
            h2 id="runs" { "Last runs" }
            div.wide { table {
                thead { tr { th { "run" } th { "command" } th { "began" } th { "ended" } th { "exit" } th { "new" } th { "changed" } th { "details" }
                    th { "published" } th { "failed" } th { "message" } } }
                tbody { @for run in &figures.runs {
                    tr { td.number { (run.run_id) } td { (run.command) } td.time { (run.started_at) }
                        td.time { (run.ended_at.as_deref().unwrap_or("under way, or killed")) }
                        td.number { @if let Some(code) = run.exit_code { (code) } }
                        td.number { (run.new) } td.number { (run.changed) } td.number { (run.details) } td.number { (run.published) }
                        td.number { (run.failed) } td { bdi { (clean(run.message.as_deref().unwrap_or_default())) } } }
                } }
            } }
        }
    }
}

/// The largest meetings, series and hosts.
pub(super) fn largest(figures: &Figures) -> Markup {
    html! {
        section aria-labelledby="largest" {
            h2 id="largest" { "Largest" }
            div.columns {
                (ranking("Meetings", &figures.meetings, false))
                (ranking("Series", &figures.series, true))
                (ranking("Hosts", &figures.hosts, true))
            }
        }
    }
}

fn ranking(title: &str, rows: &[Largest], several: bool) -> Markup {
    html! {
        div {
            h3 { (title) }
            div.wide { table {
                thead { tr { th { "name" } @if several { th { "meetings" } } th { "sessions" } } }
                tbody { @for one in rows {
                    tr { td title=(clean(&one.id)) { bdi { @if one.name.is_empty() { (clean(&one.id)) } @else { (clean(&one.name)) } } }
                        @if several { td.number { (grouped(one.meetings)) } } td.number { (grouped(one.sessions)) } }
                } }
            } }
        }
    }
}

/// What changed since the last report.
pub(super) fn changes(figures: &Figures, about: &About) -> Markup {
    let meaning = |what: &str| match what {
        "new" => "meetings that Zoom listed for the first time",
        "listing" => "listings that changed in what bears on the detail",
        "shown" => "listings that changed otherwise",
        "vanished" => "meetings that Zoom lists no more",
        "reappeared" => "meetings that Zoom lists again",
        "detail" => "details that changed",
        "gone" => "details that Zoom has no more",
        _ => "other changes",
    };
    html! {
        section aria-labelledby="changes" {
            h2 id="changes" { "Since the last report" }
            @match &about.since {
                None => p { "This is the first report in this file. Written to the same file again, it tells what changed." }
                Some(since) => {
                    p { "Since " (since) ", in all days:" }
                    @if figures.changes.is_empty() { p { "Nothing changed." } }
                    ul { @for (what, count) in &figures.changes { li { b { (grouped(*count)) } " " (meaning(what)) } } }
                }
            }
        }
    }
}
