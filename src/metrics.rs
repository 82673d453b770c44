//! The harvester's metrics, in Prometheus' text format. Does no I/O: figures in, text out. Names and units follow Prometheus' conventions.

use std::fmt::Write;

use crate::{
    catalog::Health,
    zoom::traffic::{Counts, DURATION_BOUNDS, Durations},
};

/// The figures that come from neither the catalog nor the client.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Requests of the daily quota that this program may use.
    pub quota_limit: u64,
    /// How long the runs of this process took.
    pub runs: Durations,
}

struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String does not fail.
        let _ = writeln!(
            self.0,
            "# HELP zoom_harvester_{name} {help}\n# TYPE zoom_harvester_{name} {kind}"
        );
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        let labels: Vec<String> = labels
            .iter()
            .map(|(name, value)| format!("{name}=\"{value}\""))
            .collect();
        let labels = if labels.is_empty() {
            String::new()
        } else {
            format!("{{{}}}", labels.join(","))
        };
        let _ = writeln!(self.0, "zoom_harvester_{name}{labels} {value}");
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl std::fmt::Display) {
        self.family(name, "gauge", help);
        self.line(name, &[], value);
    }

    fn histogram(&mut self, name: &str, labels: &[(&str, &str)], durations: &Durations) {
        let (bucket, bounds) = (
            format!("{name}_bucket"),
            DURATION_BOUNDS.iter().map(f64::to_string),
        );
        let counts = durations.buckets.iter().copied().chain([durations.count]);
        for (bound, count) in bounds.chain(["+Inf".to_owned()]).zip(counts) {
            let labels: Vec<(&str, &str)> = labels.iter().copied().chain([("le", bound.as_str())]).collect();
            self.line(&bucket, &labels, count);
        }
        self.line(&format!("{name}_sum"), labels, durations.sum);
        self.line(&format!("{name}_count"), labels, durations.count);
    }
}

/// The page with all metrics.
pub fn page(health: &Health, traffic: &Counts, around: &Surroundings) -> String {
    let mut text = Text(String::new());
    text.family("build_info", "gauge", "The version of the program.");
    text.line("build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    let seconds = |at: Option<chrono::DateTime<chrono::Utc>>| at.map_or(0, |at| at.timestamp());
    text.gauge(
        "last_success_timestamp_seconds",
        "When a sync last ended with everything harvested and published; 0: never.",
        seconds(health.last_success),
    );
    text.gauge(
        "last_run_timestamp_seconds",
        "When a sync last ended, however it did; 0: never.",
        seconds(health.last_run),
    );
    text.gauge(
        "last_run_exit_code",
        "The exit code of the last sync that ended: 0 done, 2 some meetings failed, 3 stopped early.",
        health.last_exit_code.unwrap_or(0),
    );
    text.family("meetings", "gauge", "Meetings in the catalog by status.");
    for (status, count) in &health.meetings {
        text.line("meetings", &[("status", status)], count);
    }
    text.family(
        "coverage",
        "gauge",
        "Days that the catalog covers by state, as the view coverage tells it; missing: never listed.",
    );
    for state in ["complete", "unsettled", "partial", "failed", "missing"] {
        text.line(
            "coverage",
            &[("state", state)],
            health.days.get(state).copied().unwrap_or(0),
        );
    }
    let incomplete = ["partial", "failed", "missing"]
        .iter()
        .filter_map(|state| health.days.get(*state))
        .sum::<u64>();
    text.gauge(
        "coverage_incomplete",
        "Days that lack something: partial, failed or missing.",
        incomplete,
    );
    text.gauge(
        "details_due",
        "Details that the next sync fetches.",
        health.details_due,
    );
    text.gauge(
        "documents_due",
        "Meetings whose documents are to be sent to Elasticsearch.",
        health.documents_due,
    );
    text.gauge(
        "quota_used_requests",
        "Heavy and Resource-intensive requests counted today (UTC).",
        health.quota_used,
    );
    text.gauge(
        "quota_limit_requests",
        "How many of them this program may make in a day.",
        around.quota_limit,
    );
    text.family(
        "requests_total",
        "counter",
        "Requests to Zoom since the process began, by rate-limit label and result.",
    );
    for ((label, result), count) in &traffic.requests {
        text.line(
            "requests_total",
            &[("label", label.as_str()), ("result", result)],
            count,
        );
    }
    text.family(
        "request_duration_seconds",
        "histogram",
        "How long requests to Zoom took, by rate-limit label.",
    );
    for (label, durations) in &traffic.durations {
        text.histogram(
            "request_duration_seconds",
            &[("label", label.as_str())],
            durations,
        );
    }
    text.family(
        "run_duration_seconds",
        "histogram",
        "How long the syncs of this process took.",
    );
    text.histogram("run_duration_seconds", &[], &around.runs);
    text.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Label, parse_time};

    #[test]
    fn the_metrics_of_a_small_catalog() {
        let health = Health {
            last_success: parse_time("2026-03-04T10:00:00Z"),
            last_run: parse_time("2026-03-04T11:00:00Z"),
            last_exit_code: Some(2),
            meetings: [("indexed", 5), ("failed", 1)].into_iter().collect(),
            days: [("complete".to_owned(), 3), ("missing".to_owned(), 2)]
                .into_iter()
                .collect(),
            details_due: 1,
            documents_due: 0,
            quota_used: 77,
        };
        let mut traffic = Counts::default();
        traffic.requests.insert((Label::Heavy, "ok"), 9);
        let durations = Durations {
            buckets: [1, 2, 3, 4, 5, 6, 7, 8],
            count: 9,
            sum: 12.5,
        };
        traffic.durations.insert(Label::Heavy, durations);
        let around = Surroundings {
            quota_limit: 48_000,
            ..Surroundings::default()
        };
        insta::assert_snapshot!(page(&health, &traffic, &around));
    }
}
