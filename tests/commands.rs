//! The commands, one after another, on one simulated account: what a user would do in a first hour.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests"
)]

mod common;

use std::{path::Path, process::Output};

use assert_cmd::Command;
use chrono::{Days, Utc};
use common::Stage;
use zoom_harvester::sim::{
    self,
    world::{Spec, World},
};

fn program(folder: &Path) -> Command {
    let mut command = Command::cargo_bin("zoom-harvester").unwrap();
    command.env_clear().current_dir(folder);
    command
}

fn pointed_at(stage: &Stage) -> Command {
    let mut command = program(stage.folder.path());
    command
        .env("ZOOM_ACCOUNT_ID", sim::ACCOUNT_ID)
        .env("ZOOM_CLIENT_ID", sim::CLIENT_ID)
        .env("ZOOM_CLIENT_SECRET", format!("{}\n", sim::CLIENT_SECRET))
        .env("ZOOM_API_URL", stage.sim.api_url())
        .env("ZOOM_OAUTH_URL", stage.sim.oauth_url())
        .env("ZOOM_RATE_SHARE", "1")
        .env("ZOOM_RETRY_MS", "10");
    command
}

fn small() -> World {
    World::generate(&Spec {
        seed: 3,
        hosts: 5,
        meetings: 30,
        sessions: 90,
        days: 4,
        now: Utc::now(),
    })
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[test]
fn the_whole_job_from_the_command_line() {
    let stage = Stage::new(small(), None);
    let from = (Utc::now().date_naive() - Days::new(5)).to_string();
    let run = |args: &[&str]| {
        let output = pointed_at(&stage).args(args).output().unwrap();
        (output.status.code().unwrap(), said(&output))
    };
    let (code, text) = run(&["plan", "--from", &from]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("details to fetch: 30 (30 new)"), "{text}");
    assert!(!stage.db().exists(), "the dry run changes nothing");

    let (code, text) = run(&["sync", "--from", &from]);
    assert_eq!(code, 0, "{text}");
    assert!(
        text.contains("30 details with 90 sessions") && text.contains("no Elasticsearch"),
        "{text}"
    );

    let output = pointed_at(&stage).args(["sync", "--json"]).output().unwrap();
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&summary["ending"], &summary["details"], &summary["new"]),
        (&"done".into(), &0.into(), &0.into())
    );

    let before = dump(&stage);
    let output = pointed_at(&stage).args(["plan", "--json"]).output().unwrap();
    let plan: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(plan["details"], serde_json::json!({}));
    assert_eq!(dump(&stage), before, "the dry run changes nothing");

    let output = pointed_at(&stage).args(["status", "--json"]).output().unwrap();
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&status["meetings"]["fetched"], &status["sessions"]),
        (&30.into(), &90.into())
    );
    assert!(run(&["status"]).1.contains("30 (30 fetched)"));

    let (uuid, series, email) = stage.sim.with_world(|world| {
        let meeting = &world.meetings[4];
        (
            meeting.uuid.clone(),
            meeting.series.to_string(),
            world.hosts[meeting.host].email.clone(),
        )
    });
    for id in [&uuid, &series, &email] {
        let (code, text) = run(&["show", id]);
        assert_eq!(code, 0, "{text}");
        assert!(text.contains(&uuid), "{id}: {text}");
    }
    assert_eq!(run(&["show", "nobody"]).0, 1);

    let output = pointed_at(&stage).arg("export").output().unwrap();
    let lines: Vec<serde_json::Value> = output
        .stdout
        .split(|b| *b == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 120);
    assert!(
        lines
            .iter()
            .any(|line| line["_index"] == "zoom-meetings" && line["_id"] == uuid.as_str())
    );

    let (code, text) = run(&["doctor"]);
    assert_eq!(code, 0, "{text}");
    for word in ["Zoom gives a token", "is sound", "not configured"] {
        assert!(text.contains(word), "{text}");
    }
    let output = pointed_at(&stage)
        .env("ZOOM_CLIENT_SECRET", "wrong")
        .arg("doctor")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said(&output).contains("Invalid client_id or client_secret"),
        "{}",
        said(&output)
    );
}

fn dump(stage: &Stage) -> Vec<String> {
    let conn = rusqlite::Connection::open(stage.db()).unwrap();
    let mut tables = conn
        .prepare("SELECT name FROM sqlite_master WHERE type = 'table'")
        .unwrap();
    let names: Vec<String> = tables
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    names
        .iter()
        .flat_map(|name| {
            let mut all = conn.prepare(&format!("SELECT * FROM \"{name}\"")).unwrap();
            let columns = all.column_count();
            let rows: Vec<String> = all
                .query_map([], |row| {
                    Ok((0..columns)
                        .map(|n| format!("{:?}", row.get_ref(n).unwrap()))
                        .collect::<Vec<_>>()
                        .join("|"))
                })
                .unwrap()
                .map(Result::unwrap)
                .collect();
            rows
        })
        .collect()
}

#[test]
fn no_secret_is_printed_or_left_behind() {
    let stage = Stage::new(small(), None);
    let output = pointed_at(&stage)
        .env("ELASTICSEARCH_URL", "http://elastic:hush-hush@127.0.0.1:9")
        .env("ELASTICSEARCH_RETRIES", "0")
        .args(["sync", "-vvv"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    let mut everything = vec![said(&output).into_bytes()];
    for entry in std::fs::read_dir(stage.folder.path()).unwrap() {
        everything.push(std::fs::read(entry.unwrap().path()).unwrap());
    }
    for bytes in everything {
        let text = String::from_utf8_lossy(&bytes);
        for secret in ["hush-hush", sim::CLIENT_SECRET, "simulated-token"] {
            assert!(!text.contains(secret), "{secret}");
        }
    }
}
