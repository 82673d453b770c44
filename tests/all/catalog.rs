//! The catalog as a file: who may open it, what it costs as it grows, and whether every query has its index.

use std::{cell::RefCell, collections::BTreeSet, os::unix::fs::PermissionsExt};

use crate::common::{ENGINES, Stage};
use chrono::{TimeDelta, Utc};
use rusqlite::Connection;
use zoom_harvester::{
    catalog::{Catalog, Error},
    model::AccountId,
    sim::{
        self,
        world::{Spec, World},
    },
    sync::Scope,
};

#[test]
fn a_foreign_sqlite_file_is_refused_and_left_untouched() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.db");
    let refused = |what: &str| {
        let before = std::fs::read(&path).unwrap();
        let error = Catalog::open(&path).unwrap_err();
        assert_eq!(std::fs::read(&path).unwrap(), before, "{what}");
        error
    };
    std::fs::write(
        &path,
        "this is a letter, not a database, and long enough to be told from one by its first page",
    )
    .unwrap();
    assert!(matches!(refused("text"), Error::Foreign(_)));
    std::fs::remove_file(&path).unwrap();

    Connection::open(&path)
        .unwrap()
        .execute_batch("CREATE TABLE recipes (name TEXT)")
        .unwrap();
    assert!(matches!(refused("another program's"), Error::Foreign(_)));
    std::fs::remove_file(&path).unwrap();

    drop(Catalog::open(&path).unwrap());
    Connection::open(&path)
        .unwrap()
        .execute_batch("PRAGMA user_version = 999")
        .unwrap();
    assert!(matches!(
        refused("a newer program's"),
        Error::Newer { found: 999, .. }
    ));

    let nowhere = folder.path().join("missing").join("x.db");
    assert!(matches!(Catalog::open(&nowhere).unwrap_err(), Error::NoFolder(_)));
    assert!(matches!(
        Catalog::open_read_only(&folder.path().join("y.db")).unwrap_err(),
        Error::Absent(_)
    ));
}

#[test]
fn a_run_killed_while_creating_the_file_can_be_repeated() {
    let folder = tempfile::tempdir().unwrap();
    for half_made in [
        "",
        "PRAGMA journal_mode = WAL",
        "PRAGMA application_id = 1514684754",
    ] {
        let path = folder.path().join(format!("{}.db", half_made.len()));
        Connection::open(&path).unwrap().execute_batch(half_made).unwrap();
        Catalog::open(&path).unwrap_or_else(|error| panic!("{half_made:?}: {error}"));
    }
}

#[test]
fn the_catalog_is_readable_by_its_owner_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.db");
    let mut catalog = Catalog::open(&path).unwrap();
    catalog.begin_run("sync", Utc::now()).unwrap();
    for name in ["x.db", "x.db-wal", "x.db-shm"] {
        let mode = std::fs::metadata(folder.path().join(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[test]
fn another_account_is_refused() {
    let mut catalog = Catalog::in_memory().unwrap();
    catalog.claim(&AccountId::new("one"), "id", Utc::now()).unwrap();
    catalog
        .claim(&AccountId::new("one"), "other id", Utc::now())
        .unwrap();
    assert!(matches!(
        catalog
            .claim(&AccountId::new("two"), "id", Utc::now())
            .unwrap_err(),
        Error::OtherAccount { .. }
    ));
    assert_eq!(catalog.catalog_id().unwrap(), "id");
}

#[test]
fn the_schema_refuses_impossible_rows() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.db");
    drop(Catalog::open(&path).unwrap());
    let conn = Connection::open(&path).unwrap();
    let sum = "a".repeat(64);
    conn.execute_batch(
        "INSERT INTO host_lookups (host_key, status, meeting_uuid) VALUES ('h', 'pending', 'u')",
    )
    .unwrap();
    let meeting = |status: &str, fetched: &str, document: &str, indexed: &str| {
        let some = |text: &str| {
            if text.is_empty() {
                "NULL".to_owned()
            } else {
                format!("'{text}'")
            }
        };
        let detail = if fetched.is_empty() {
            "NULL, NULL".to_owned()
        } else {
            "'d', 1".to_owned()
        };
        conn.execute_batch(&format!(
            "SAVEPOINT s; INSERT INTO meetings (meeting_uuid, host_key, listing_type, topic, host_name, host_email, listed_day, listing, listing_bytes,
             status, listed_checksum, shown_checksum, fetched_for, detail_checksum, sessions, document_checksum, indexed_checksum,
             revision, first_listed_at, changed_at) VALUES ('u', 'h', 'past', '', '', '', '2026-03-04', x'00', 1, '{status}', '{sum}', '{sum}',
             {}, {detail}, {}, {}, 1, 'x', 'x')", some(fetched), some(document), some(indexed)
        ))
        .and_then(|()| conn.execute_batch("ROLLBACK TO s; RELEASE s"))
        .inspect_err(|_| conn.execute_batch("ROLLBACK TO s; RELEASE s").unwrap_or(()))
    };
    meeting("listed", "", "", "").unwrap();
    meeting("fetched", &sum, "new", "old").unwrap();
    meeting("indexed", &sum, "same", "same").unwrap();
    for (status, fetched, document, indexed) in [
        ("listed", sum.as_str(), "x", ""),
        ("fetched", "", "", ""),
        ("fetched", sum.as_str(), "same", "same"),
        ("indexed", sum.as_str(), "new", "old"),
        ("indexed", "", "", ""),
        ("unheard of", "", "", ""),
        ("dead", "", "", ""),
    ] {
        meeting(status, fetched, document, indexed).unwrap_err();
    }
}

/// A catalog with this many indexed meetings. They are written with SQL, because fetching them would take hours.
fn grown(path: &std::path::Path, meetings: u32) {
    let mut catalog = Catalog::open(path).unwrap();
    catalog
        .claim(&AccountId::new("simulated-account"), "id", Utc::now())
        .unwrap();
    catalog.begin_run("sync", Utc::now()).unwrap();
    drop(catalog);
    let today = Utc::now().date_naive();
    Connection::open(path)
        .unwrap()
        .execute_batch(&format!(
            "INSERT INTO host_lookups (host_key, status, meeting_uuid) VALUES ('h', 'not_found', 'u');
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {meetings})
             INSERT INTO meetings (meeting_uuid, host_key, listing_type, topic, host_name, host_email, start_time, end_time, listed_day,
               listing, listing_bytes, status, listed_checksum, shown_checksum, fetched_for, detail_checksum, sessions, document_checksum,
               indexed_checksum, revision, first_listed_at, changed_at)
             SELECT printf('grown-%08d', i), 'h', 'past', '', '', '', date('{today}', '-' || (10 + i % 170) || ' days') || 'T10:00:00Z',
               date('{today}', '-' || (10 + i % 170) || ' days') || 'T11:00:00Z', date('{today}', '-' || (10 + i % 170) || ' days'), x'00', 1, 'indexed',
               printf('%064d', i), printf('%064d', i), printf('%064d', i), 'd', 1, 'x', 'x', i, 'x', 'x' FROM n;
             INSERT INTO windows (day, basis, meetings, changes, listings, first_listed_at, last_listed_at, settled_at)
             WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 180)
             SELECT date('{today}', '-' || i || ' days'), 'end_time', 0, 0, 1, 'x', 'x', 'x' FROM n;"
        ))
        .unwrap();
}

/// A listing that shows nothing.
fn empty_listing(window: zoom_harvester::model::Window) -> zoom_harvester::model::Listing {
    zoom_harvester::model::Listing {
        window,
        basis: zoom_harvester::model::DateBasis::EndTime,
        shown: Default::default(),
        malformed: Vec::new(),
        pages: 2,
        hosts: None,
        every_host: true,
        history: None,
        webinars: zoom_harvester::model::Webinars::Listed,
        notes: Vec::new(),
    }
}

/// A run that began before midnight may end after it, when the day could be settled.
#[test]
fn a_listing_of_some_hosts_settles_no_day() {
    let folder = tempfile::tempdir().unwrap();
    let mut catalog = Catalog::open(&folder.path().join("harvester.db")).unwrap();
    let now = Utc::now();
    catalog
        .claim(&AccountId::new("simulated-account"), "id", now)
        .unwrap();
    let run = catalog.begin_run("sync", now).unwrap();
    let day = now.date_naive() - chrono::Days::new(3);
    let window = zoom_harvester::model::Window::day(day);
    let mut listing = empty_listing(window);
    let mut settled = Vec::new();
    for every_host in [true, false, false, true] {
        listing.every_host = every_host;
        let (changed, mut tally) = (Default::default(), Default::default());
        catalog
            .record(run, &listing, &[], &[day], changed, now, &mut tally)
            .unwrap();
        settled.push(catalog.settled_days(window, false).unwrap().len());
    }
    assert_eq!(settled, [0, 0, 0, 1], "the first of all settles nothing either");
}

/// Counts SQLite's work in steps of its virtual machine. Unlike time, the count is the same on every machine.
#[tokio::test]
async fn an_unchanged_day_costs_the_same_in_a_small_and_in_a_large_catalog() {
    let mut steps = Vec::new();
    for meetings in [100, 100_000] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("harvester.db");
        grown(&path, meetings);
        let mut catalog = Catalog::open(&path).unwrap();
        let counted = catalog.count_steps();
        let now = Utc::now();
        let run = catalog.begin_run("sync", now).unwrap();
        let window = zoom_harvester::model::Window::day(now.date_naive());
        let listing = empty_listing(window);
        assert!(catalog.known_of(&[]).unwrap().is_empty());
        assert!(
            catalog
                .expected(&listing, zoom_harvester::model::MeetingKind::Webinar)
                .unwrap()
                .is_empty()
        );
        assert!(!catalog.asks_for_hosts(&listing).unwrap());
        let mut tally = zoom_harvester::catalog::Tally::default();
        catalog
            .record(
                run,
                &listing,
                &[],
                &[now.date_naive()],
                Default::default(),
                now,
                &mut tally,
            )
            .unwrap();
        assert!(catalog.due_details(run, now, 128).unwrap().is_empty());
        assert!(
            catalog
                .due_documents(true, &Default::default(), &Default::default(), 500, 1 << 20)
                .unwrap()
                .is_empty()
        );
        assert!(catalog.unknown_hosts(8).unwrap().is_empty());
        assert!(catalog.hosts_wanting_series(now, 8).unwrap().is_empty());
        assert!(
            catalog
                .unreconciled(zoom_harvester::model::IndexYear::ALL, 8)
                .unwrap()
                .is_empty()
        );
        catalog.first_day().unwrap();
        catalog.settled_days(window, true).unwrap();
        catalog.count_troubled().unwrap();
        catalog.count_due_details(now).unwrap();
        catalog.count_due_documents().unwrap();
        catalog.end_run(run, &tally, 0, None, now).unwrap();
        steps.push(counted.load(std::sync::atomic::Ordering::Relaxed));
    }
    let [small, large] = steps[..] else { panic!() };
    assert!(small > 0);
    assert!(
        large as f64 <= small as f64 * 1.2,
        "{small} steps with 100 meetings, {large} with 100,000"
    );
}

thread_local! {
    /// The text of each statement that SQLite ran, with its placeholders.
    static ASKED: RefCell<BTreeSet<String>> = const { RefCell::new(BTreeSet::new()) };
}

/// Tables so small that they may be read whole. They hold one row, two rows, a few minutes of the rarest requests, or who and what was forgotten.
const SMALL: [&str; 6] = [
    "account",
    "indices",
    "recent_requests",
    "forgetting",
    "forgotten",
    "doomed_documents",
];

/// Covers every statement in a day of syncs: what is new, what changed, what went wrong, and publishing. A scan may only walk an index that holds
/// only what is due.
#[tokio::test]
async fn every_query_of_a_sync_has_its_index() {
    use sim::faults::FaultPlan;
    let spec = Spec {
        seed: 5,
        hosts: 4,
        meetings: 20,
        sessions: 60,
        days: 4,
        now: Utc::now(),
    };
    let stage = Stage::new(World::generate(&spec), Some(ENGINES[0]));
    let watch = |catalog: &mut Catalog| {
        catalog.watch_statements(|event| {
            if let rusqlite::trace::TraceEvent::Stmt(statement, _) = event {
                ASKED.with_borrow_mut(|asked| asked.insert(statement.sql().into_owned()));
            }
        });
        // A run makes this query only if it publishes while details still arrive, and that depends on the machine.
        catalog
            .due_documents(true, &Default::default(), &Default::default(), 1, 1)
            .unwrap();
    };
    let blocked = r#"[{"endpoint": "detail", "from": 3, "times": 2, "action": "blocked"}]"#;
    stage.sim.set_faults(FaultPlan::from_json(blocked).unwrap());
    stage.run_watched(stage.days(10), true, true, watch).await;
    stage.sim.set_faults(FaultPlan::default());
    stage.sim.with_world(|world| {
        for meeting in world.meetings.iter_mut().rev().take(6) {
            meeting.topic.push_str(" renamed");
        }
        let last = world.meetings.len() - 1;
        world.meetings[last].sessions.pop();
        world.meetings[last].end += TimeDelta::minutes(1);
        world.meetings.remove(last - 1);
    });
    stage.clock.advance(TimeDelta::hours(2));
    stage.run_watched(stage.days(10), true, true, watch).await;
    stage.clock.advance(TimeDelta::days(8));
    stage.run_watched(Scope::Resume, true, true, watch).await;

    let path = stage.folder.path().join("grown.db");
    grown(&path, 1_000);
    let conn = Connection::open(&path).unwrap();
    let asked = ASKED.take();
    assert!(asked.len() > 50, "only {} statements", asked.len());
    let (mut plans, mut scans) = (BTreeSet::new(), Vec::new());
    let planned = ["SELECT", "UPDATE", "DELETE"];
    for sql in asked
        .iter()
        .filter(|sql| planned.iter().any(|verb| sql.starts_with(verb)))
    {
        let mut statement = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let none = vec![rusqlite::types::Null; statement.parameter_count()];
        let steps = statement
            .query_map(rusqlite::params_from_iter(none), |row| row.get::<_, String>(3))
            .unwrap();
        let steps: Vec<String> = steps.map(Result::unwrap).collect();
        let small = |step: &&String| {
            step.starts_with("SCAN")
                && !step.contains("USING")
                && !SMALL.iter().any(|table| **step == format!("SCAN {table}"))
        };
        scans.extend(steps.iter().filter(small).map(|step| format!("{step}: {sql}")));
        plans.insert(format!("{sql}\n    {}", steps.join("; ")));
    }
    assert_eq!(scans, Vec::<String>::new());
    let plans: Vec<String> = plans.into_iter().collect();
    insta::assert_snapshot!(plans.join("\n"));
}

thread_local! {
    /// The statements that SQLite ran, in order.
    static TOLD: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// A crash between two transactions cannot be timed from outside. So this test checks that what belongs together is in one transaction: a meeting's
/// row and its payload, a listing's meetings and the day that vouches for them.
#[tokio::test]
async fn each_step_is_one_transaction() {
    let spec = Spec {
        seed: 5,
        hosts: 4,
        meetings: 20,
        sessions: 60,
        days: 5,
        now: Utc::now(),
    };
    let stage = Stage::new(World::generate(&spec), None);
    let watch = |catalog: &mut Catalog| {
        catalog.watch_statements(|event| {
            if let rusqlite::trace::TraceEvent::Stmt(statement, _) = event {
                TOLD.with_borrow_mut(|told| told.push(statement.sql().into_owned()));
            }
        });
    };
    stage.run_watched(stage.days(7), true, false, watch).await;
    let told = TOLD.take();
    let transactions: Vec<&[String]> = told
        .split(|sql| sql.starts_with("COMMIT"))
        .filter_map(|told| {
            let begun = told.iter().rposition(|sql| sql.starts_with("BEGIN"))?;
            told.get(begun..)
        })
        .collect();
    let (mut kept, mut listed, mut vouched) = (0, 0, 0);
    for transaction in transactions {
        let count = |what: &str| transaction.iter().filter(|sql| sql.starts_with(what)).count();
        let (payloads, meetings) = (
            count("INSERT INTO \"payloads\""),
            count("INSERT INTO \"meetings\""),
        );
        let (changes, states) = (count("INSERT INTO \"changes\""), count("UPDATE \"meetings\""));
        if payloads > 0 {
            assert_eq!((payloads, payloads), (changes, states), "{transaction:#?}");
            assert!(count("INSERT INTO \"sessions\"") >= payloads);
            kept += payloads;
        }
        if meetings > 0 {
            assert_eq!(meetings, changes, "{transaction:#?}");
            assert_eq!(vouched, 0, "a day is vouched for once all its pages are recorded");
            listed += meetings;
        }
        vouched += count("INSERT INTO \"windows\"");
    }
    assert!(vouched > 0);
    assert_eq!((kept, listed), (20, 20));
}

#[test]
fn the_schema_shown_to_auditors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("harvester.db");
    drop(Catalog::open(&path).unwrap());
    let conn = Connection::open(&path).unwrap();
    let mut statement = conn
        .prepare("SELECT sql FROM sqlite_master WHERE type IN ('table', 'view') AND sql NOTNULL")
        .unwrap();
    let all: Vec<String> = statement
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    for sql in &all {
        assert!(sql.contains("--"), "no comment inside: {sql}");
        assert!(
            sql.starts_with("CREATE VIEW") || sql.contains("STRICT"),
            "not strict: {sql}"
        );
    }
}
