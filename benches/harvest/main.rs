//! What the job costs: `cargo bench`.
//!
//! The built binary harvests a simulated account in real time at a Business account's limits. Printed are requests against the least
//! possible, 429s, the share of the rate limit used, and CPU and memory; then what an unchanged day costs as the catalog grows. With
//! `ELASTICSEARCH_TEST_URL` (`servers/start` prints one) it does the whole job, publishing and a rebuild included, beside a floor that is measured in the
//! same run: a bare program that only lists, fetches, compresses, inserts and sends. Counts are asserted, times are printed only: machines differ.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a benchmark"
)]
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod floor;
mod process;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::{Days, Utc};
use process::{Used, program};
use zoom_harvester::sim::{
    self, Limits, Setup, Simulator,
    world::{Spec, World},
};

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
    let used = program(folder.path(), &served, None, &["sync", "--from", &from]);
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
        program(folder.path(), &served, None, &["sync", "--from", &today]);
        let db = rusqlite::Connection::open(folder.path().join("harvester.db")).unwrap();
        db.execute_batch(&format!(
            "INSERT INTO host_lookups (host_key, status, meeting_uuid) VALUES ('h', 'not_found', 'u');
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {meetings})
             INSERT INTO meetings (meeting_uuid, host_key, listing_type, topic, host_name, host_email, start_time, end_time, listed_day, listing, listing_bytes,
               status, listed_checksum, shown_checksum, fetched_for, detail_checksum, sessions, document_checksum, indexed_checksum, revision,
               first_listed_at, changed_at)
             SELECT printf('grown-%08d', i), 'h', 'past', '', '', '', '2026-01-10T10:00:00Z', '2026-01-10T11:00:00Z', '2026-01-10', x'00', 1, 'indexed',
               printf('%064d', i), printf('%064d', i), printf('%064d', i), 'd', 1, 'x', 'x', i, 'x', 'x' FROM n;"
        ))
        .unwrap();
        drop(db);
        let mut best = f64::MAX;
        for _ in 0..5 {
            best = best.min(
                program(folder.path(), &served, None, &["sync", "--from", &today])
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

/// A row of the table: ours, the floor's, and their ratio.
fn compare(what: &str, ours: f64, floor: f64, unit: &str) {
    println!(
        "  {what:<32} {ours:>8.2} {unit:<4} floor {floor:>8.2} {unit:<4} {:.2} times",
        ours / floor
    );
}

/// The least of several runs: the machine's noise only adds.
fn least(runs: &[Used], of: impl Fn(&Used) -> f64) -> f64 {
    runs.iter().map(of).fold(f64::MAX, f64::min)
}

/// The job from Zoom's first page to Elasticsearch's last acknowledgement, three times each.
fn whole_job(url: &str) {
    let spec = Spec {
        seed: 37,
        hosts: 40,
        meetings: 1_107,
        sessions: 11_886,
        days: 27,
        now: Utc::now(),
    };
    let setup = Setup {
        limits: Limits::NONE,
        ..Setup::default()
    };
    let served = Simulator::start(World::generate(&spec), setup, 0, Arc::new(Utc::now)).unwrap();
    let from = (Utc::now().date_naive() - Days::new(27)).to_string();
    let (mut ours, mut floors, mut published, mut bare, mut rebuilt) =
        (vec![], vec![], vec![], vec![], vec![]);
    let (mut nothing, mut bytes) = (vec![], (0, 0));
    for _ in 0..3 {
        let folder = tempfile::tempdir().unwrap();
        let index = process::Indices::new(url);
        served.clear_log();
        ours.push(program(
            folder.path(),
            &served,
            Some(&index),
            &["sync", "--from", &from],
        ));
        let details = served.count("detail");
        assert_eq!(details, spec.meetings, "every detail once");
        bytes.0 = process::size(&folder.path().join("harvester.db"));
        floors.push(floor::harvest(folder.path(), &served, &index, &from));
        bytes.1 = process::size(&folder.path().join("floor.db"));
        assert_eq!(index.count("floor"), spec.sessions as u64);

        // The same documents into fresh indices: from the catalog, and as ready-made bodies.
        let fresh = process::Indices::new(url);
        published.push(program(folder.path(), &served, Some(&fresh), &["publish"]));
        nothing.push(program(folder.path(), &served, Some(&fresh), &["publish"]));
        assert_eq!(fresh.count("sessions"), spec.sessions as u64);
        let bodies = process::bodies(folder.path(), &served, &fresh);
        bare.push(floor::publish(&bodies, &fresh));
        assert_eq!(fresh.count("floor"), (spec.sessions + spec.meetings) as u64);
        rebuilt.push(program(folder.path(), &served, Some(&fresh), &["reindex"]));
        assert_eq!(fresh.count("sessions"), spec.sessions as u64);
    }
    println!(
        "the whole job: {} meetings, {} sessions, a real Elasticsearch, least of 3",
        spec.meetings, spec.sessions
    );
    compare(
        "sync: CPU",
        least(&ours, |one| one.cpu_s),
        least(&floors, |one| one.cpu_s),
        "s",
    );
    compare(
        "sync: peak memory",
        least(&ours, |one| one.peak_mb),
        least(&floors, |one| one.peak_mb),
        "MB",
    );
    let each = |bytes: u64| bytes as f64 / spec.meetings as f64 / 1000.0;
    compare("catalog, each meeting", each(bytes.0), each(bytes.1), "kB");
    let startup = least(&nothing, |one| one.wall.as_secs_f64());
    let wall = |runs: &[Used]| least(runs, |one| one.wall.as_secs_f64());
    compare(
        "publish: time without start-up",
        wall(&published) - startup,
        wall(&bare),
        "s",
    );
    compare(
        "publish: CPU",
        least(&published, |one| one.cpu_s),
        least(&bare, |one| one.cpu_s),
        "s",
    );
    compare(
        "publish: peak memory",
        least(&published, |one| one.peak_mb),
        least(&bare, |one| one.peak_mb),
        "MB",
    );
    compare(
        "reindex: time without start-up",
        wall(&rebuilt) - startup,
        wall(&bare),
        "s",
    );
    compare(
        "reindex: peak memory",
        least(&rebuilt, |one| one.peak_mb),
        least(&bare, |one| one.peak_mb),
        "MB",
    );
}

fn main() {
    if floor::is_asked_for() {
        return floor::run();
    }
    match std::env::var("ELASTICSEARCH_TEST_URL") {
        Ok(url) => whole_job(&url),
        Err(_) => println!("the whole job: not measured, ELASTICSEARCH_TEST_URL names no server"),
    }
    cold_harvest();
    growth();
}
