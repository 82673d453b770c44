//! What a harvest costs: `cargo bench`.
//!
//! The built binary harvests a simulated account in real time at a Business account's limits. Printed are requests against the least
//! possible, 429s, the share of the rate limit used, and CPU and memory; then what an unchanged day costs as the catalog grows. Counts are
//! asserted, times are printed only: machines differ.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a benchmark"
)]
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::{
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::{Days, Utc};
use zoom_harvester::sim::{
    self, Setup, Simulator,
    world::{Spec, World},
};

/// What a finished process used.
#[derive(Debug, Default)]
struct Used {
    wall: Duration,
    cpu_s: f64,
    peak_mb: f64,
}

fn run(folder: &Path, served: &Simulator, args: &[&str]) -> Used {
    let begun = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_zoom-harvester"))
        .args(args)
        .env_clear()
        .current_dir(folder)
        .env("ZOOM_ACCOUNT_ID", sim::ACCOUNT_ID)
        .env("ZOOM_CLIENT_ID", sim::CLIENT_ID)
        .env("ZOOM_CLIENT_SECRET", sim::CLIENT_SECRET)
        .env("ZOOM_API_URL", served.api_url())
        .env("ZOOM_OAUTH_URL", served.oauth_url())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut used = Used::default();
    let proc = format!("/proc/{}", child.id());
    let status = loop {
        // utime and stime are the 14th and 15th field, in hundredths of a second on Linux.
        if let Ok(stat) = std::fs::read_to_string(format!("{proc}/stat")) {
            let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
            let ticks = |n: usize| {
                fields
                    .get(n)
                    .and_then(|text| text.parse::<f64>().ok())
                    .unwrap_or(0.0)
            };
            used.cpu_s = used.cpu_s.max((ticks(11) + ticks(12)) / 100.0);
        }
        if let Ok(status) = std::fs::read_to_string(format!("{proc}/status")) {
            let line = status
                .lines()
                .find(|line| line.starts_with("VmHWM:"))
                .unwrap_or_default();
            let kb = line
                .split_whitespace()
                .nth(1)
                .and_then(|text| text.parse::<f64>().ok())
                .unwrap_or(0.0);
            used.peak_mb = used.peak_mb.max(kb / 1024.0);
        }
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(status.success(), "{args:?}: {status}");
    used.wall = begun.elapsed();
    used
}

fn most_in_a_second(log: &[sim::Logged], label: &str) -> usize {
    let times: Vec<Instant> = log
        .iter()
        .filter(|one| one.label == label)
        .map(|one| one.at)
        .collect();
    times
        .iter()
        .enumerate()
        .map(|(first, at)| {
            times[first..]
                .iter()
                .take_while(|later| **later - *at < Duration::from_secs(1))
                .count()
        })
        .max()
        .unwrap_or(0)
}

fn cold_harvest() {
    let meetings = 1_000;
    let spec = Spec {
        seed: 31,
        hosts: 40,
        meetings,
        sessions: 10_000,
        days: 27,
        now: Utc::now(),
    };
    let world = World::generate(&spec);
    let one_person = world.meetings.iter().filter(|one| one.one_person).count();
    let served = Simulator::start(world, Setup::default(), 0, Arc::new(Utc::now)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let from = (Utc::now().date_naive() - Days::new(27)).to_string();
    let used = run(folder.path(), &served, &["sync", "--from", &from]);
    let log = served.log();
    let count = |endpoint: &str| log.iter().filter(|one| one.endpoint == endpoint).count();
    let refused = log.iter().filter(|one| one.status == 429).count();
    // Pages of 300 in one window, a detail a meeting, one report of hosts.
    let least = (meetings - one_person).div_ceil(300) + one_person.div_ceil(300) + meetings + 1;
    let made = count("listing") + count("detail") + count("hosts");
    let over = made as f64 / least as f64;
    // 80 % of 40 a second.
    let at_least_s = (meetings + 1) as f64 / 32.0 - 1.0;
    println!("cold harvest of {meetings} meetings with 10 sessions each, at Business limits, share 0.8");
    println!(
        "  requests that count by the day   {made}, the least possible {least}: {:+.2} %",
        (over - 1.0) * 100.0
    );
    println!(
        "  others (series, hosts one by one) {}",
        count("series") + count("past_meeting")
    );
    println!("  answered with 429                {refused}");
    println!(
        "  most Heavy in a sliding second   {} of 32",
        most_in_a_second(&log, "Heavy")
    );
    println!(
        "  time                             {:.1} s, the limits allow {at_least_s:.1} s: {:.3} times",
        used.wall.as_secs_f64(),
        used.wall.as_secs_f64() / at_least_s
    );
    println!("  CPU                              {:.2} s", used.cpu_s);
    println!("  peak memory                      {:.1} MB", used.peak_mb);
    assert!(over <= 1.02 && refused == 0 && most_in_a_second(&log, "Heavy") <= 32);
}

fn growth() {
    println!("an unchanged sync of a day, as the catalog grows");
    let mut first = None;
    for meetings in [100_u32, 100_000] {
        let served = Simulator::start(World::default(), Setup::default(), 0, Arc::new(Utc::now)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let today = Utc::now().date_naive().to_string();
        run(folder.path(), &served, &["sync", "--from", &today]);
        let db = rusqlite::Connection::open(folder.path().join("harvester.db")).unwrap();
        db.execute_batch(&format!(
            "INSERT INTO host_lookups (host_key, status, meeting_uuid) VALUES ('h', 'not_found', 'u');
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {meetings})
             INSERT INTO meetings (meeting_uuid, host_key, listing_type, topic, host_name, host_email, start_time, end_time, listed_day, listing,
               status, listed_checksum, shown_checksum, fetched_for, detail_checksum, sessions, document_checksum, indexed_checksum, revision,
               first_listed_at, changed_at)
             SELECT printf('grown-%08d', i), 'h', 'past', '', '', '', '2026-01-10T10:00:00Z', '2026-01-10T11:00:00Z', '2026-01-10', '{{}}', 'indexed',
               printf('%064d', i), printf('%064d', i), printf('%064d', i), 'd', 1, 'x', 'x', i, 'x', 'x' FROM n;"
        ))
        .unwrap();
        drop(db);
        let mut best = f64::MAX;
        for _ in 0..5 {
            best = best.min(
                run(folder.path(), &served, &["sync", "--from", &today])
                    .wall
                    .as_secs_f64(),
            );
        }
        let ratio = best / *first.get_or_insert(best);
        println!(
            "  {meetings:>7} meetings: {:.0} ms, {ratio:.2} times the first",
            best * 1_000.0
        );
    }
}

fn main() {
    cold_harvest();
    growth();
}
