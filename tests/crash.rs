//! The built binary is killed at a moment of our choosing; what it kept, the next run does not ask for again.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests"
)]

mod common;

use std::{
    process::{Child, Command, Stdio},
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use chrono::Utc;
use common::{
    ENGINES, Stage,
    proxy::{Hold, proxy},
};
use zoom_harvester::sim::{
    self,
    world::{Spec, World},
};

/// When to kill.
#[derive(Clone, Copy, Debug)]
enum Kill {
    /// As the nth request of an endpoint arrives.
    AtRequest(&'static str, usize),
    /// As the nth bulk request arrives, before Elasticsearch sees it.
    BeforeBulk(usize),
    /// Once Elasticsearch has answered the nth bulk request, before the answer is passed on.
    AfterBulk(usize),
}

impl Kill {
    /// Where the proxy holds, for the kills that it times.
    fn hold(self) -> Option<Hold> {
        match self {
            Self::AtRequest(..) => None,
            Self::BeforeBulk(n) => Some(Hold::Before(n)),
            Self::AfterBulk(n) => Some(Hold::After(n)),
        }
    }
}

fn command(stage: &Stage, elastic: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zoom-harvester"));
    command
        .env_clear()
        .current_dir(stage.folder.path())
        .env("ZOOM_ACCOUNT_ID", sim::ACCOUNT_ID)
        .env("ZOOM_CLIENT_ID", sim::CLIENT_ID)
        .env("ZOOM_CLIENT_SECRET", sim::CLIENT_SECRET)
        .env("ZOOM_API_URL", stage.sim.api_url())
        .env("ZOOM_OAUTH_URL", stage.sim.oauth_url())
        .env("ZOOM_CONCURRENCY", "8")
        .env("ZOOM_RATE_SHARE", "1")
        .env("ELASTICSEARCH_URL", elastic)
        .env("ELASTICSEARCH_INDEX_PREFIX", &stage.es().prefix)
        .env("ELASTICSEARCH_REPLICAS", "0")
        .env("ELASTICSEARCH_BULK_BYTES", "65536")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let from = stage.clock.now().date_naive() - chrono::Days::new(11);
    command.args(["sync", "--from", &from.to_string()]);
    command
}

async fn wait_for(what: &str, child: &mut Child, mut there: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !there() {
        assert!(child.try_wait().unwrap().is_none(), "the run ended before {what}");
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "no {what} after a minute"
        );
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn kept(stage: &Stage) -> Vec<String> {
    let conn = rusqlite::Connection::open(stage.db()).unwrap();
    let mut statement = conn.prepare("SELECT meeting_uuid FROM payloads").unwrap();
    statement
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_anywhere_the_next_run_completes_and_repeats_nothing_it_had() {
    let spec = Spec {
        seed: 9,
        hosts: 8,
        meetings: 90,
        sessions: 400,
        days: 10,
        now: Utc::now(),
    };
    for kill in [
        Kill::AtRequest("listing", 1),
        Kill::AtRequest("listing", 2),
        Kill::AtRequest("detail", 1),
        Kill::AtRequest("detail", 45),
        Kill::AtRequest("detail", 90),
        Kill::BeforeBulk(1),
        Kill::AfterBulk(1),
        Kill::AfterBulk(3),
        Kill::BeforeBulk(4),
    ] {
        let stage = Stage::new(World::generate(&spec), Some(ENGINES[0]));
        stage
            .sim
            .with_setup(|setup| setup.latency = Duration::from_millis(5));
        let (url, seen) = proxy(&stage.es().url, kill.hold()).await;
        let mut child = command(&stage, &url).spawn().unwrap();
        wait_for(&format!("{kill:?}"), &mut child, || match kill {
            Kill::AtRequest(endpoint, n) => stage.sim.count(endpoint) >= n,
            Kill::BeforeBulk(n) => seen.before.load(Ordering::SeqCst) >= n,
            Kill::AfterBulk(n) => seen.after.load(Ordering::SeqCst) >= n,
        })
        .await;
        child.kill().unwrap();
        child.wait().unwrap();
        let had = if stage.db().exists() && stage.number("SELECT count(*) FROM sqlite_master") > 0 {
            kept(&stage)
        } else {
            Vec::new()
        };
        let before = stage.sim.log();
        stage.sim.clear_log();

        let (url, _) = proxy(&stage.es().url, None).await;
        let output = command(&stage, &url).output().unwrap();
        assert!(
            output.status.success(),
            "{kill:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let details = |log: &[sim::Logged]| -> Vec<String> {
            log.iter()
                .filter(|one| one.endpoint == "detail")
                .filter_map(|one| one.uuid.clone())
                .collect()
        };
        let (first, second) = (details(&before), details(&stage.sim.log()));
        for uuid in &second {
            assert!(
                !had.contains(uuid),
                "{kill:?}: {uuid} was kept and is asked for again"
            );
        }
        let twice = second.iter().filter(|uuid| first.contains(uuid)).count();
        assert!(twice <= 8, "{kill:?}: {twice} details repeated with 8 in flight");
        assert_eq!(first.len() + second.len() - twice, 90, "{kill:?}");
        stage.assert_index_is_the_account().await;
        assert_eq!(
            stage.number("SELECT count(*) FROM run_log WHERE message = 'under way or killed'"),
            i64::from(!before.is_empty())
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn told_to_stop_it_stops_and_says_what_is_kept() {
    let spec = Spec {
        seed: 9,
        hosts: 8,
        meetings: 300,
        sessions: 900,
        days: 10,
        now: Utc::now(),
    };
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let stage = Stage::new(World::generate(&spec), Some(ENGINES[0]));
        let mut child = command(&stage, &stage.es().url).spawn().unwrap();
        wait_for("details", &mut child, || stage.sim.count("detail") >= 40).await;
        let told = Instant::now();
        let kill = Command::new("kill")
            .args(["-s", signal, &child.id().to_string()])
            .status()
            .unwrap();
        assert!(kill.success());
        let output = child.wait_with_output().unwrap();
        assert!(told.elapsed() < Duration::from_secs(2));
        assert_eq!(output.status.code(), Some(code));
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("interrupted; what was kept is kept"), "{said}");
        assert!(kept(&stage).len() >= 30);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_is_told_who_holds_the_catalog() {
    let spec = Spec {
        seed: 9,
        hosts: 8,
        meetings: 300,
        sessions: 900,
        days: 10,
        now: Utc::now(),
    };
    let stage = Stage::new(World::generate(&spec), Some(ENGINES[0]));
    let mut child = command(&stage, &stage.es().url).spawn().unwrap();
    wait_for("details", &mut child, || stage.sim.count("detail") >= 10).await;
    let second = command(&stage, &stage.es().url).output().unwrap();
    assert_eq!(second.status.code(), Some(4));
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(said.contains(&format!("process {}", child.id())), "{said}");
    // But whoever only reads is let in.
    let status = Command::new(env!("CARGO_BIN_EXE_zoom-harvester"))
        .arg("status")
        .arg("--db")
        .arg(stage.db())
        .env_clear()
        .output()
        .unwrap();
    status_ok(&status);
    child.kill().unwrap();
    child.wait().unwrap();
    let third = command(&stage, &stage.es().url).output().unwrap();
    status_ok(&third);
}

fn status_ok(output: &std::process::Output) {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
