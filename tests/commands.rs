//! The binary as its users meet it: what it says, and how it ends.

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
fn help_of_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let help = |args: &[&str]| said(&program(folder.path()).args(args).output().unwrap());
    let mut all = help(&["--help"]);
    for command in [
        "sync", "plan", "publish", "reindex", "status", "retry", "show", "export", "doctor", "demo",
        "simulate",
    ] {
        all.push_str(&format!("\n--- {command} ---\n{}", help(&[command, "--help"])));
    }
    insta::assert_snapshot!(all);
}

#[test]
fn bad_usage_is_one_clear_line_and_exit_1() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("bad.toml"),
        "[zoom]\nclient_secret = \"hush-hush\"\nplann = \"pro\"\n",
    )
    .unwrap();
    std::fs::write(
        folder.path().join("letter.db"),
        "not a database, but long enough to be taken for one by a careless reader",
    )
    .unwrap();
    let tomorrow = (Utc::now().date_naive() + Days::new(1)).to_string();
    let long_ago = (Utc::now().date_naive() - Days::new(250)).to_string();
    let cases: Vec<(Vec<&str>, &str)> = vec![
        (
            vec!["sync"],
            "missing: ZOOM_ACCOUNT_ID, ZOOM_CLIENT_ID, ZOOM_CLIENT_SECRET",
        ),
        (vec!["sync", "--from", "2026-3-4"], "YYYY-MM-DD"),
        (vec!["sync", "--to", &tomorrow], "future"),
        (vec!["plan", "--from", &long_ago], "last six months only"),
        (vec!["status"], "there is no catalog at harvester.db"),
        (vec!["publish"], "missing: ELASTICSEARCH_URL"),
        (vec!["--config", "bad.toml", "status"], "did you mean zoom.plan?"),
        (
            vec!["--config", "none.toml", "status"],
            "none.toml cannot be read",
        ),
        (
            vec!["status", "--db", "letter.db"],
            "is not a zoom-harvester catalog",
        ),
        (vec!["retry", "--db", "missing/x.db"], "there is no catalog"),
        (vec!["harvest"], "unrecognized subcommand"),
    ];
    for (args, expected) in cases {
        let output = program(folder.path()).args(&args).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        let said = said(&output);
        assert!(said.contains(expected), "{args:?}: {said}");
        assert!(
            !said.contains("hush-hush") && !said.contains("os error 2)\n\n"),
            "{said}"
        );
    }
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

#[test]
fn a_pipe_that_closes_early_is_a_clean_exit() {
    let stage = Stage::new(small(), None);
    let from = (Utc::now().date_naive() - Days::new(5)).to_string();
    pointed_at(&stage)
        .args(["sync", "--from", &from])
        .assert()
        .success();
    let shell = format!(
        "set -o pipefail; {} --db {} export | head -n 1",
        env!("CARGO_BIN_EXE_zoom-harvester"),
        stage.db().display()
    );
    let output = std::process::Command::new("bash")
        .args(["-c", &shell])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .output()
        .unwrap();
    assert_eq!(
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).as_ref()
        ),
        (Some(0), "")
    );
}
