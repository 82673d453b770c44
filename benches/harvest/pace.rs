//! How much of the rate limits a first harvest uses: requests against the fewest possible, 429s, and time against what the limits allow.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::{Days, Utc};
use zoom_harvester::sim::{
    self, Limits, Setup, Simulator,
    world::{Spec, World},
};

use super::process::{Program, Used};

/// A Pro account's limits.
const PRO: Limits = Limits {
    light: 30,
    medium: 20,
    heavy: 10,
    resource_intensive: 10,
    daily: 30_000,
};

pub fn run() {
    println!("a first harvest within the rate limits, share 0.8, without Elasticsearch");
    for (plan, limits, meetings) in [("business", Limits::BUSINESS, 1_000), ("pro", PRO, 250)] {
        for latency_ms in [0, 100] {
            harvest(plan, limits, meetings, Duration::from_millis(latency_ms));
        }
    }
}

fn harvest(plan: &str, limits: Limits, meetings: usize, latency: Duration) {
    let spec = Spec {
        seed: 31,
        hosts: 40,
        meetings,
        sessions: meetings * 10,
        days: 27,
        now: Utc::now(),
    };
    let world = World::generate(&spec);
    let one_person = world.meetings.iter().filter(|one| one.one_person).count();
    let setup = Setup {
        limits,
        latency,
        ..Setup::default()
    };
    let served = Simulator::start(world, setup, 0, Arc::new(Utc::now)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let from = (Utc::now().date_naive() - Days::new(27)).to_string();
    let mut program = Program::new(folder.path(), &served);
    program.set("ZOOM_PLAN", plan);
    let used = program.run(&["sync", "--from", &from]);
    report(plan, limits, latency, meetings, one_person, &served.log(), &used);
}

fn report(
    plan: &str,
    limits: Limits,
    latency: Duration,
    meetings: usize,
    one_person: usize,
    log: &[sim::Logged],
    used: &Used,
) {
    let count = |endpoint: &str| log.iter().filter(|one| one.endpoint == endpoint).count();
    let refused = log.iter().filter(|one| one.status == 429).count();
    // One window in pages of 300, one detail per meeting, and one report of hosts.
    let least = (meetings - one_person).div_ceil(300) + one_person.div_ceil(300) + meetings + 1;
    let made = count("listing") + count("detail") + count("hosts");
    let share = limits.heavy * 8 / 10;
    let most = most_in_a_second(log, "Heavy");
    // The requests of the first second are sent at once.
    let allowed_s = (meetings + 1) as f64 / share as f64 - 1.0 + latency.as_secs_f64();
    println!(
        "  {plan:<8} {:>3} ms there and back: {made} requests, least {least} ({:+.2} %); {refused} x 429; at most {most} of {share} Heavy in a second; \
         {:.1} s, allowed {allowed_s:.1} s: {:.3} times; CPU {:.2} s, {:.1} MB",
        latency.as_millis(),
        (made as f64 / least as f64 - 1.0) * 100.0,
        used.wall.as_secs_f64(),
        used.wall.as_secs_f64() / allowed_s,
        used.cpu_s,
        used.peak_mb
    );
    assert!(made as f64 <= least as f64 * 1.02 && refused == 0 && most <= share);
}

fn most_in_a_second(log: &[sim::Logged], label: &str) -> usize {
    let times: Vec<Instant> = log
        .iter()
        .filter(|one| one.label == label)
        .map(|one| one.at)
        .collect();
    let within = |first: usize| {
        times[first..]
            .iter()
            .take_while(|later| **later - times[first] < Duration::from_secs(1))
            .count()
    };
    (0..times.len()).map(within).max().unwrap_or(0)
}
