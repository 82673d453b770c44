//! `watch`, the daemon: repeated syncs, answers by HTTP, webhooks signed by `openssl`, and signals.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::common::{ENGINES, Stage};
use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};
use zoom_harvester::sim::{
    self,
    world::{Spec, World},
};

const SECRET: &str = "webhook-sesame";

fn stage() -> Stage {
    let world = World::generate(&Spec {
        seed: 17,
        hosts: 4,
        meetings: 20,
        sessions: 60,
        days: 4,
        now: Utc::now(),
    });
    Stage::new(world, Some(ENGINES[0]))
}

struct Watch {
    child: Child,
    url: String,
    http: reqwest::Client,
}

impl Watch {
    fn start(stage: &Stage, every: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_zoom-harvester"))
            .args(["watch", "--every", every, "--listen", "0", "-v"])
            .env_clear()
            .current_dir(stage.folder.path())
            .envs(stage.environment())
            .env("ZOOM_RATE_SHARE", "1")
            .env("ZOOM_RETRIES", "0")
            .env("ELASTICSEARCH_URL", &stage.es().url)
            .env("ELASTICSEARCH_INDEX_PREFIX", &stage.es().prefix)
            .env("ELASTICSEARCH_REPLICAS", "0")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        let url = line
            .trim()
            .strip_prefix("listening on ")
            .unwrap_or_else(|| panic!("{line}"))
            .to_owned();
        Self {
            child,
            url,
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
        }
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let answer = self.http.get(format!("{}{path}", self.url)).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// Waits until this condition holds.
    async fn until(&self, what: &str, is_so: impl AsyncFn(&Self) -> bool) {
        let begun = Instant::now();
        while !is_so(self).await {
            assert!(
                begun.elapsed() < Duration::from_secs(90),
                "{what}: {:?}",
                self.get("/healthz").await
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn is_well(&self) -> bool {
        self.get("/healthz").await.0 == 200
    }

    /// Sends a webhook with this time, signed by `openssl`.
    async fn hook(&self, body: &Value, secret: &str, at: i64) -> (u16, String) {
        let body = body.to_string();
        let answer = self
            .http
            .post(format!("{}/webhook", self.url))
            .header("x-zm-request-timestamp", at.to_string())
            .header(
                "x-zm-signature",
                format!("v0={}", hmac(secret, &format!("v0:{at}:{body}"))),
            )
            .body(body)
            .send()
            .await
            .unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-s", name, &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    fn ends(mut self) -> (i32, String) {
        let status = self.child.wait().unwrap();
        let mut said = String::new();
        std::io::Read::read_to_string(self.child.stderr.as_mut().unwrap(), &mut said).unwrap();
        (status.code().unwrap(), said)
    }
}

fn hmac(secret: &str, text: &str) -> String {
    let mut child = Command::new("openssl")
        .args(["dgst", "-sha256", "-hmac", secret])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("openssl is missing");
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let said = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    said.trim().rsplit(' ').next().unwrap().to_owned()
}

fn ended(uuid: &str, account: &str) -> Value {
    json!({
        "event": "meeting.ended",
        "payload": {"account_id": account, "object": {"uuid": uuid, "end_time": zoom_harvester::model::iso(Utc::now())}},
    })
}

fn metric(page: &str, name: &str) -> f64 {
    let line = page
        .lines()
        .find(|line| line.starts_with(&format!("zoom_harvester_{name} ")));
    let value = line
        .unwrap_or_else(|| panic!("{name}: {page}"))
        .rsplit(' ')
        .next()
        .unwrap();
    value.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn watch_syncs_answers_http_and_follows_webhooks() {
    let stage = stage();
    std::fs::write(stage.folder.path().join(".env"), "OTHER=1\n").unwrap();
    let watch = Watch::start(&stage, "1h");
    watch.until("the first sync", Watch::is_well).await;
    assert_eq!(
        stage.number("SELECT count(*) FROM meetings WHERE status = 'indexed'"),
        20
    );
    let (code, page) = watch.get("/").await;
    assert_eq!(code, 200);
    assert!(page.contains("data-state=\"") && page.contains("<h1"), "{page}");
    let (code, metrics) = watch.get("/metrics").await;
    assert_eq!(code, 200);
    assert_eq!(metric(&metrics, "meetings{status=\"indexed\"}"), 20.0);
    assert_eq!(
        metric(&metrics, "requests_total{label=\"Heavy\",result=\"ok\"}"),
        stage.sim.count("detail") as f64 + stage.sim.count("hosts") as f64
    );
    assert!(metric(&metrics, "last_success_timestamp_seconds") > 1.7e9);
    assert_eq!(metric(&metrics, "run_duration_seconds_count"), 1.0);

    let now = || Utc::now().timestamp();
    let hook = ended("x", sim::ACCOUNT_ID);
    let (code, said) = watch.hook(&hook, SECRET, now()).await;
    assert_eq!(code, 503, "{said}");
    // The daemon reads its configuration again and gets the secret from it.
    std::fs::write(
        stage.folder.path().join(".env"),
        format!("ZOOM_WEBHOOK_SECRET_TOKEN={SECRET}\n"),
    )
    .unwrap();
    watch.signal("HUP");
    watch
        .until("the secret", async |watch| {
            watch.hook(&json!({"event": "other"}), SECRET, now()).await.0 == 204
        })
        .await;
    let asked = json!({"event": "endpoint.url_validation", "payload": {"plainToken": "a plain token"}});
    let (code, answer) = watch.hook(&asked, SECRET, now()).await;
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((code, &answer["plainToken"]), (200, &json!("a plain token")));
    assert_eq!(answer["encryptedToken"], json!(hmac(SECRET, "a plain token")));
    assert_eq!(watch.hook(&hook, "another secret", now()).await.0, 401);
    assert_eq!(watch.hook(&hook, SECRET, now() - 301).await.0, 401);
    assert_eq!(
        watch.hook(&ended("x", "another account"), SECRET, now()).await.0,
        401
    );
    let unsigned = watch
        .http
        .post(format!("{}/webhook", watch.url))
        .body("{}")
        .send()
        .await
        .unwrap();
    assert_eq!(unsigned.status().as_u16(), 401);
    let large = watch
        .http
        .post(format!("{}/webhook", watch.url))
        .body(vec![b' '; 1 << 20])
        .send()
        .await
        .unwrap();
    assert_eq!(large.status().as_u16(), 413);
    let listings = stage.sim.count("listing");
    assert_eq!(stage.sim.count("token"), 1, "none of these made it ask Zoom");

    // A meeting ends, and a burst of webhooks reports it.
    let uuid = stage.sim.with_world(|world| {
        let mut meeting = world.meetings[0].clone();
        meeting.uuid = "d2ViaG9vayBtZWV0aW5nMA==".to_owned();
        meeting.end = Utc::now() - TimeDelta::seconds(5);
        meeting.start = meeting.end - TimeDelta::minutes(30);
        meeting.visible_from = meeting.end;
        meeting.sessions.clear();
        world.meetings.push(meeting.clone());
        meeting.uuid
    });
    let details = stage.sim.count("detail");
    for _ in 0..200 {
        assert_eq!(
            watch.hook(&ended(&uuid, sim::ACCOUNT_ID), SECRET, now()).await.0,
            204
        );
    }
    let sql = format!("SELECT count(*) FROM meetings WHERE meeting_uuid = '{uuid}' AND status = 'indexed'");
    watch
        .until("the meeting", async |_| stage.number(&sql) == 1)
        .await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(stage.sim.count("detail") - details, 1);
    let more = stage.sim.count("listing") - listings;
    assert!(more <= 12, "{more} listing requests for a burst");

    watch.signal("TERM");
    let (code, said) = watch.ends();
    assert_eq!(code, 143, "{said}");
    assert!(said.contains("the configuration was read again"), "{said}");
    assert!(!said.contains(SECRET) && !said.contains("panicked"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn healthz_reports_a_failed_sync_and_the_next_one_retries() {
    let stage = stage();
    stage.sim.set_faults(
        zoom_harvester::sim::faults::FaultPlan::from_json(
            r#"[{"endpoint": "listing", "times": 2, "action": {"status": 500}}]"#,
        )
        .unwrap(),
    );
    let watch = Watch::start(&stage, "10s");
    watch
        .until("trouble", async |watch| {
            watch.get("/healthz").await.1.contains("HTTP 500")
        })
        .await;
    assert_eq!(watch.get("/healthz").await.0, 503);
    watch.until("recovery", Watch::is_well).await;
    assert_eq!(
        stage.number("SELECT count(*) FROM meetings WHERE status = 'indexed'"),
        20
    );
    watch.signal("INT");
    assert_eq!(watch.ends().0, 130);
}

#[test]
fn sync_writes_its_metrics_to_a_file() {
    let stage = stage();
    let output = Command::new(env!("CARGO_BIN_EXE_zoom-harvester"))
        .args(["sync", "-q", "--from", "6d", "--metrics-file", "harvester.prom"])
        .env_clear()
        .current_dir(stage.folder.path())
        .envs(stage.environment())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let page = std::fs::read_to_string(stage.folder.path().join("harvester.prom")).unwrap();
    assert_eq!(metric(&page, "meetings{status=\"fetched\"}"), 20.0);
    assert_eq!(metric(&page, "last_run_exit_code"), 0.0);
}

#[test]
fn watch_usage_errors_are_one_line() {
    let folder = tempfile::tempdir().unwrap();
    for (args, words) in [
        (&["--every", "5"][..], "write a time as 90s, 15m or 2h"),
        (&["--cron", "every day"], "--cron"),
        (&["--listen", "nowhere:80"], "write a port"),
        (&["--every", "5m", "--cron", "* * * * *"], "cannot be used with"),
        (&[], "missing: ZOOM_ACCOUNT_ID"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_zoom-harvester"))
            .arg("watch")
            .args(args)
            .env_clear()
            .current_dir(folder.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(
            (output.status.code(), said.lines().count()),
            (Some(1), 1),
            "{said}"
        );
        assert!(said.contains(words), "{words}: {said}");
    }
}
