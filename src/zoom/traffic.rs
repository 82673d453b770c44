//! Counts requests to Zoom and their results for metrics, since the start of the process and across its runs.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::model::Label;

/// Upper bounds of the buckets of request durations, in seconds.
pub const DURATION_BOUNDS: [f64; 8] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];

/// Durations by bucket, as Prometheus counts them: each bucket counts all durations up to its bound.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Durations {
    /// One for each of [`DURATION_BOUNDS`].
    pub buckets: [u64; DURATION_BOUNDS.len()],
    /// The number of durations.
    pub count: u64,
    /// The sum of the durations, in seconds.
    pub sum: f64,
}

impl Durations {
    /// Counts one duration.
    pub fn observe(&mut self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        for (bucket, bound) in self.buckets.iter_mut().zip(DURATION_BOUNDS) {
            *bucket += u64::from(seconds <= bound);
        }
        self.count += 1;
        self.sum += seconds;
    }
}

/// The counts of requests.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    /// Requests by label and result: `ok`, `throttled` (429), `refused` (another status), `unreachable`.
    pub requests: BTreeMap<(Label, &'static str), u64>,
    /// The durations of the requests, by label.
    pub durations: BTreeMap<Label, Durations>,
}

/// The counts, shared by all clients of a process.
#[derive(Debug, Default)]
pub struct Traffic(Mutex<Counts>);

impl Traffic {
    pub(super) fn count(&self, label: Label, result: &'static str, took: Duration) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.requests.entry((label, result)).or_default() += 1;
        counts.durations.entry(label).or_default().observe(took);
    }

    /// The counts so far.
    pub fn counts(&self) -> Counts {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
