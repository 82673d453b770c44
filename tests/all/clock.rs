//! A machine with a wrong clock: the built binary under `faketime`, compared with one whose clock is right.

use std::process::Command;

use crate::common::Stage;
use chrono::{Days, TimeDelta, Utc};
use zoom_harvester::sim::world::{Spec, World};

const MEETINGS: usize = 40;

fn stage() -> Stage {
    let world = World::generate(&Spec {
        seed: 11,
        hosts: 4,
        meetings: MEETINGS,
        sessions: 120,
        days: 6,
        now: Utc::now(),
    });
    Stage::new(world, None)
}

/// Runs the program with this machine's clock shifted by `shift`. Returns its exit code and what it printed.
fn shifted(stage: &Stage, shift: &str, args: &[&str]) -> (i32, String) {
    let mut command = Command::new("faketime");
    command
        // The monotonic clock, which timers follow, is not shifted on a real machine either.
        .args(["--exclude-monotonic", "-f", shift])
        .arg(env!("CARGO_BIN_EXE_zoom-harvester"))
        .args(args)
        .env_clear()
        .current_dir(stage.folder.path())
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .envs(stage.environment())
        .env("ZOOM_RATE_SHARE", "1");
    let output = command
        .output()
        .expect("faketime is missing: run ./test, which installs it");
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code().unwrap(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

/// The days of the catalog: which were listed, how many meetings each has, and whether it is settled.
fn days(stage: &Stage) -> Vec<String> {
    stage.texts("SELECT day || ' ' || meetings || ' ' || (settled_at IS NOT NULL) FROM windows ORDER BY day")
}

#[test]
fn days_follow_zooms_clock_not_the_machines() {
    let from = (Utc::now().date_naive() - Days::new(8)).to_string();
    let sync = ["sync", "--from", &from];
    let right = stage();
    let (code, said) = shifted(&right, "+0", &sync);
    assert_eq!(code, 0, "{said}");
    assert!(!said.contains("clock"), "{said}");
    let expected = days(&right);
    assert_eq!(expected.len(), 9, "{expected:?}");

    // Two days each way, a few minutes, and beyond the six months that Zoom lists.
    for shift in ["-2d", "+2d", "-300s", "+200d", "-200d"] {
        let stage = stage();
        let (code, said) = shifted(&stage, shift, &sync);
        assert_eq!(code, 0, "{shift}: {said}");
        assert!(said.contains("this machine's clock says"), "{shift}: {said}");
        assert_eq!(said.matches("clock").count(), 1, "said once, {shift}: {said}");
        assert_eq!(days(&stage), expected, "{shift}");
        assert_eq!(
            stage.number("SELECT count(*) FROM meetings WHERE status = 'fetched'"),
            MEETINGS as i64
        );
        let now = zoom_harvester::model::iso(Utc::now() + TimeDelta::minutes(1));
        for time in [
            "started_at FROM runs",
            "first_listed_at FROM meetings",
            "fetched_at FROM meetings",
        ] {
            let (column, table) = time.split_once(" FROM ").unwrap();
            let ahead = format!("SELECT count(*) FROM {table} WHERE {column} > '{now}'");
            assert_eq!(stage.number(&ahead), 0, "{shift}: {ahead}");
        }
        // A run that resumes with the same wrong clock fetches a late meeting of yesterday, and nothing else.
        let before = stage.sim.count("detail");
        stage.sim.with_world(|world| {
            let mut late = world.meetings[0].clone();
            late.uuid = "bGF0ZSBtZWV0aW5nMDAwMA==".to_owned();
            late.end = Utc::now() - TimeDelta::days(1);
            late.start = late.end - TimeDelta::minutes(10);
            late.sessions.clear();
            world.meetings.push(late);
        });
        let (code, said) = shifted(&stage, shift, &["sync"]);
        assert_eq!(code, 0, "{shift}: {said}");
        assert_eq!(stage.sim.count("detail"), before + 1, "{shift}: {said}");
    }
}

#[test]
fn plan_and_doctor_report_a_wrong_clock() {
    let stage = stage();
    let today = Utc::now().date_naive();
    // Tomorrow by this machine's clock; today by Zoom's.
    let (code, said) = shifted(&stage, "-1d", &["plan", "--from", &today.to_string()]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("Zoom's is followed"), "{said}");
    // Today by this machine's clock; tomorrow by Zoom's.
    let tomorrow = (today + Days::new(1)).to_string();
    let (code, said) = shifted(&stage, "+1d", &["plan", "--from", &tomorrow]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("lies in the future"), "{said}");

    let (_, said) = shifted(&stage, "+2d", &["doctor"]);
    let line = said
        .lines()
        .find(|line| line.contains("clock"))
        .unwrap_or_default();
    assert!(line.contains("Zoom's is followed"), "{said}");
    assert!(said.contains("set this machine's clock"), "{said}");
    let (_, said) = shifted(&stage, "+0", &["doctor"]);
    assert!(said.contains("clock agrees with Zoom's"), "{said}");
}
