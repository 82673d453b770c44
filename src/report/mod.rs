//! The report: one HTML page that answers "do we have everything?". It needs no network and holds no foreign script. No I/O: figures in, text out.

mod charts;
mod sections;

use chrono::{DateTime, Utc};
use maud::{DOCTYPE, PreEscaped, html};

use crate::{
    catalog::{DayFigures, Figures},
    model::{Window, iso},
};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// What the page shows in addition to the figures.
#[derive(Clone, Debug)]
pub struct About {
    /// When the report is made.
    pub made_at: DateTime<Utc>,
    /// The days that it covers.
    pub window: Window,
    /// Requests of the daily quota that this program may use.
    pub daily_share: u64,
    /// When the last report was made, if known. Changes are counted from then on.
    pub since: Option<String>,
}

/// Whether everything is there, in one sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// `yes`, `open` (yes, but some days will be listed again) or `no`.
    pub kind: &'static str,
    /// The sentence.
    pub text: String,
}

/// The answer for these days.
pub fn answer(days: &[DayFigures]) -> Answer {
    let count = |state: &str| days.iter().filter(|day| day.state == state).count();
    let (Some(first), Some(last)) = (days.first(), days.last()) else {
        return Answer {
            kind: "no",
            text: "No: no day was ever listed.".to_owned(),
        };
    };
    let span = format!("from {} to {}", first.day, last.day);
    let complete = count("complete");
    let wrong: Vec<String> = ["missing", "failed", "partial"]
        .into_iter()
        .filter_map(|state| match count(state) {
            0 => None,
            days => Some(format!("{days} {state}")),
        })
        .collect();
    let open = count("unsettled");
    match (wrong.is_empty(), open) {
        (true, 0) => Answer {
            kind: "yes",
            text: format!("Yes: all {} {span} are complete.", plural(complete, "day")),
        },
        (true, open) => Answer {
            kind: "open",
            text: format!(
                "Yes, so far: {} of {} {span} are complete, and {open} will be listed again by the next sync.",
                complete,
                plural(days.len(), "day")
            ),
        },
        (false, _) => Answer {
            kind: "no",
            text: format!(
                "No: of {} {span}, {} ({}).",
                plural(days.len(), "day"),
                match days.len() - complete - open {
                    1 => "1 is not complete".to_owned(),
                    other => format!("{other} are not complete"),
                },
                wrong.join(", ")
            ),
        },
    }
}

/// `1 day`, `2 days`.
fn plural(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// The time at which a page was made; `None` if it is no report of the harvester's.
pub fn made_at(page: &str) -> Option<String> {
    let (_, rest) = page.split_once("<meta name=\"zoom-harvester-made-at\" content=\"")?;
    let (time, _) = rest.split_once('"')?;
    let is_time = time.len() == 20
        && time
            .bytes()
            .all(|byte| byte.is_ascii_digit() || b"-:TZ".contains(&byte));
    is_time.then(|| time.to_owned())
}

/// The whole page.
pub fn page(figures: &Figures, about: &About) -> String {
    let answer = answer(&figures.days);
    let account = figures.account_id.as_deref().unwrap_or("no account yet");
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="zoom-harvester-made-at" content=(iso(about.made_at));
                title { "Meeting history of " (account) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    p.kicker { "Meeting history of " bdi { (account) } ", made " (iso(about.made_at)) " (all times are UTC)" }
                    h1 class={ "answer " (answer.kind) } { (answer.text) }
                    (sections::numbers(figures))
                }
                main {
                    (sections::calendar(figures))
                    (sections::failures(figures))
                    (sections::activity(figures))
                    (sections::quota(figures, about))
                    (sections::runs(figures))
                    (sections::largest(figures))
                    (sections::changes(figures, about))
                }
                footer { p { "zoom-harvester " (env!("CARGO_PKG_VERSION")) ". Every number comes from the catalog; the same in SQL: the views coverage, failures, api_use_by_day and run_log." } }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    }
    .into_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        catalog::{FailureGroup, HourFigures, Largest, QuotaDay},
        model::parse_time,
    };

    fn day(day: &str, state: &str) -> DayFigures {
        DayFigures {
            day: day.to_owned(),
            state: state.to_owned(),
            listed: 3,
            webinars: 0,
            fetched: 3,
            indexed: 3,
            failed: 0,
            gone: 0,
            incomplete: 0,
            sessions: 9,
        }
    }

    fn about() -> About {
        let day = |text: &str| text.parse().unwrap();
        About {
            made_at: parse_time("2026-03-04T10:00:00Z").unwrap(),
            window: Window::new(day("2026-03-01"), day("2026-03-03")).unwrap(),
            daily_share: 48_000,
            since: Some("2026-03-01T00:00:00Z".to_owned()),
        }
    }

    #[test]
    fn the_answer_is_one_sentence() {
        let said = |states: &[&str]| {
            let days: Vec<DayFigures> = (1..)
                .zip(states)
                .map(|(n, state)| day(&format!("2026-03-0{n}"), state))
                .collect();
            answer(&days)
        };
        for (states, kind, text) in [
            (&[][..], "no", "No: no day was ever listed."),
            (
                &["complete"],
                "yes",
                "Yes: all 1 day from 2026-03-01 to 2026-03-01 are complete.",
            ),
            (
                &["complete", "complete", "unsettled"],
                "open",
                "Yes, so far: 2 of 3 days from 2026-03-01 to 2026-03-03 are complete, and 1 will be listed again by the next sync.",
            ),
            (
                &["complete", "missing", "failed", "unsettled", "missing"],
                "no",
                "No: of 5 days from 2026-03-01 to 2026-03-05, 3 are not complete (2 missing, 1 failed).",
            ),
            (
                &["partial"],
                "no",
                "No: of 1 day from 2026-03-01 to 2026-03-01, 1 is not complete (1 partial).",
            ),
        ] {
            assert_eq!(
                said(states),
                Answer {
                    kind,
                    text: text.to_owned()
                }
            );
        }
    }

    #[test]
    fn hostile_names_stay_text() {
        let hostile = "</title><script>alert(1)</script>\u{202e}\"' onload=x & 漢字";
        let largest = || {
            vec![Largest {
                id: hostile.to_owned(),
                name: hostile.to_owned(),
                meetings: 1,
                sessions: 2,
            }]
        };
        let figures = Figures {
            account_id: Some(hostile.to_owned()),
            days: vec![day("2026-03-01", "failed")],
            hours: vec![HourFigures {
                weekday: 6,
                hour: 23,
                meetings: 4,
            }],
            failures: vec![FailureGroup {
                status: "dead".to_owned(),
                reason: hostile.to_owned(),
                next_attempt: hostile.to_owned(),
                meetings: 2,
            }],
            quota: vec![QuotaDay {
                day: "2026-03-01".to_owned(),
                requests: [1, 2, 3, 4],
                used: 7,
            }],
            meetings: largest(),
            series: largest(),
            hosts: largest(),
            changes: vec![("new".to_owned(), 3)],
            published: true,
            ..Figures::default()
        };
        let page = page(&figures, &about());
        assert_eq!(page.matches("<script>").count(), 1, "ours");
        assert!(!page.contains("alert(1)</script>\u{202e}\""), "{page}");
        assert!(
            !page.contains("<script>alert") && !page.contains("\" onload="),
            "{page}"
        );
        assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
        assert!(
            !page.contains("http://") || !page.contains("src="),
            "nothing is loaded"
        );
        assert_eq!(made_at(&page).as_deref(), Some("2026-03-04T10:00:00Z"));
        assert_eq!(made_at("<html>"), None);
        assert_eq!(
            made_at("<meta name=\"zoom-harvester-made-at\" content=\"' OR 1=1; --0000000\">"),
            None
        );
    }

    #[test]
    fn the_report_of_a_year_is_small() {
        let first: chrono::NaiveDate = "2025-03-04".parse().unwrap();
        let figures = Figures {
            days: (0..365)
                .map(|n| day(&(first + chrono::Days::new(n)).to_string(), "complete"))
                .collect(),
            quota: (0..365)
                .map(|n| QuotaDay {
                    day: (first + chrono::Days::new(n)).to_string(),
                    requests: [1, 2, 300, 20],
                    used: 320,
                })
                .collect(),
            ..Figures::default()
        };
        let page = page(&figures, &about());
        assert!(page.len() < 500_000, "{}", page.len());
    }

    #[test]
    fn the_report_of_an_empty_catalog_is_a_valid_page() {
        let page = page(&Figures::default(), &about());
        assert!(page.contains("No: no day was ever listed."));
    }
}
