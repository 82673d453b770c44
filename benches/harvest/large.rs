//! The costs with a catalog of a million meetings: an unchanged day, the commands that only read, and every view of the catalog.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::Utc;
use rusqlite::Connection;
use zoom_harvester::sim::{Setup, Simulator, world::World};

use super::{
    plot,
    process::{Program, Used},
};

/// The most time that an auditor's query should take.
const AUDIT: Duration = Duration::from_secs(2);

const QUESTIONS: [(&str, &str); 9] = [
    ("coverage", "SELECT * FROM coverage"),
    (
        "meeting_overview",
        "SELECT * FROM meeting_overview WHERE end_time >= '2025-06-01' AND end_time < '2025-07-01'",
    ),
    ("failures", "SELECT * FROM failures"),
    (
        "session_overview, a meeting",
        "SELECT * FROM session_overview WHERE meeting_uuid = 'grown-00000100'",
    ),
    (
        "session_overview, a day",
        "SELECT * FROM session_overview WHERE meeting_end_time >= '2025-06-01' AND meeting_end_time < '2025-06-02'",
    ),
    (
        "change_log, of a meeting",
        "SELECT * FROM change_log WHERE meeting_uuid = 'grown-00000100'",
    ),
    ("run_log", "SELECT * FROM run_log"),
    ("api_use_by_day", "SELECT * FROM api_use_by_day"),
    ("unlisted_days", "SELECT * FROM unlisted_days"),
];

pub fn run() {
    println!("as the catalog grows");
    let mut points = Vec::new();
    for meetings in [1_000, 100_000, 1_000_000] {
        let folder = tempfile::tempdir().unwrap();
        let served = Simulator::start(World::default(), Setup::default(), 0, Arc::new(Utc::now)).unwrap();
        let program = Program::new(folder.path(), &served);
        let today = Utc::now().date_naive().to_string();
        program.run(&["sync", "--from", &today]);
        grow(&folder.path().join("harvester.db"), meetings);
        let least = |args: &[&str]| Used::least(&[(); 3].map(|()| program.run(args)));
        let day = least(&["sync", "--from", &today]);
        let plan = least(&["plan", "--from", &today]);
        let status = least(&["status"]);
        println!(
            "  {meetings:>9} meetings: an unchanged day {:.0} ms, {:.1} MB; plan {:.0} ms; status {:.0} ms, {:.1} MB",
            ms(day.wall),
            day.peak_mb,
            ms(plan.wall),
            ms(status.wall),
            status.peak_mb
        );
        points.push((meetings, ms(day.wall), day.peak_mb));
        if meetings == 1_000_000 {
            ask(&folder.path().join("harvester.db"));
        }
    }
    plot::growth(&points);
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

/// Queries every view, as an auditor would.
fn ask(db: &Path) {
    let db = Connection::open(db).unwrap();
    for (name, sql) in QUESTIONS {
        let begun = Instant::now();
        let mut statement = db.prepare(sql).unwrap();
        let (columns, mut rows, mut count) = (statement.column_count(), statement.query([]).unwrap(), 0);
        while let Some(row) = rows.next().unwrap() {
            // Reads every column, as a client would.
            count += usize::from((0..columns).all(|column| row.get_ref(column).is_ok()));
        }
        let took = begun.elapsed();
        let over = if took > AUDIT { ": MORE THAN 2 s" } else { "" };
        println!("    {name:<28} {count:>8} rows {:>7.0} ms{over}", ms(took));
    }
}

/// Fills a catalog with meetings of the last three years, ten sessions each, all harvested and published.
fn grow(db: &Path, meetings: u64) {
    let db = Connection::open(db).unwrap();
    db.execute_batch(&format!(
        "PRAGMA synchronous = OFF; PRAGMA foreign_keys = OFF; BEGIN;
         INSERT INTO host_lookups (host_key, status, meeting_uuid) VALUES ('h', 'not_found', 'u');
         CREATE TEMP TABLE n AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {meetings})
             SELECT i, date('2023-12-01', '+' || (i * 1000 / {meetings}) || ' days') AS day FROM n;
         INSERT INTO meetings (meeting_uuid, host_key, listing_type, topic, host_name, host_email, start_time, end_time, listed_day, listing,
             listing_bytes, status, listed_checksum, shown_checksum, fetched_for, detail_checksum, sessions, document_checksum, indexed_checksum,
             revision, first_listed_at, changed_at)
           SELECT printf('grown-%08d', i), 'h', 'past', 'Topic', 'Name', 'h', day || 'T10:00:00Z', day || 'T11:00:00Z', day, zeroblob(200), 500,
             'indexed', printf('%064d', i), printf('%064d', i), printf('%064d', i), printf('%064d', i), 10, printf('%064d', i), printf('%064d', i),
             i, day || 'T12:00:00Z', day || 'T12:00:00Z' FROM n;
         INSERT INTO sessions (meeting_id, session_id, user_name, email, join_time, leave_time)
           SELECT m.meeting_id, unhex(printf('%016x%016x', m.meeting_id, s.value)), 'Person', 'person@example.edu', 1, 2
           FROM meetings m, (WITH RECURSIVE s(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM s WHERE value < 10) SELECT value FROM s) s;
         INSERT INTO changes (at, run_id, meeting_id, what) SELECT first_listed_at, 1, meeting_id, 'new' FROM meetings;
         INSERT INTO changes (at, run_id, meeting_id, what) SELECT first_listed_at, 1, meeting_id, 'detail' FROM meetings;
         INSERT OR IGNORE INTO windows (day, basis, meetings, changes, listings, first_listed_at, last_listed_at, settled_at)
           SELECT day, 'end_time', count(*), 0, 1, day, day, day FROM n GROUP BY day;
         COMMIT;"
    ))
    .unwrap();
}
