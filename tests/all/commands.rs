//! The commands, one after another, on one simulated account: what a user would do in a first hour.

use std::{path::Path, process::Output};

use crate::common::Stage;
use assert_cmd::Command;
use chrono::{Days, Utc};
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

    let json = |args: &[&str]| -> serde_json::Value {
        let output = pointed_at(&stage).args(args).arg("--json").output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let forecast = json(&["plan", "--from", &from])["forecast"].take();

    let summary = json(&["sync", "--from", &from]);
    assert_eq!(
        (&summary["details"], &summary["sessions"]),
        (&30.into(), &90.into())
    );
    for label in forecast.as_array().unwrap() {
        let name = label["label"].as_str().unwrap();
        let made = summary["zoom_requests"][name].as_u64().unwrap_or(0);
        assert_eq!(label["requests"], made, "{name}: the plan and the sync");
    }
    let (code, text) = run(&["sync", "--from", &from]);
    assert_eq!(code, 0, "{text}");
    assert!(
        text.contains("0 details with 0 sessions") && text.contains("no Elasticsearch"),
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

/// A useless server: it answers every request in the same way, and may repeat what it was sent.
#[derive(Clone, Copy, Debug)]
enum Useless {
    /// 401 with the Authorization header in body, headers and code.
    Echo,
    /// 400 with the same.
    EchoRefusal,
    /// A success status with an error in the body, and the same in it.
    EchoAsSuccess,
    /// A redirect to another host, whose name is what the program sent.
    Redirect,
    /// A success status with a body that is not JSON.
    Malformed,
    /// No answer.
    HangUp,
}

async fn useless(
    axum::extract::State(how): axum::extract::State<Useless>,
    request: axum::extract::Request,
) -> axum::response::Response {
    let header = request.headers().get("authorization");
    let sent = header
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    let decoded = sent.strip_prefix("Basic ").unwrap_or_default();
    let decoded = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, decoded).unwrap_or_default();
    let told = format!("you sent {sent} which is {}", String::from_utf8_lossy(&decoded));
    let body = serde_json::json!({
        "code": 9999, "message": told, "reason": told, "error": {"type": "security_exception", "reason": told}, "status": 401,
    });
    let response = axum::response::Response::builder().header("content-type", "application/json");
    let host: String = sent
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(60)
        .collect();
    let response = match how {
        Useless::Echo => response
            .status(401)
            .header("www-authenticate", &told)
            .body(body.to_string()),
        Useless::EchoRefusal => response.status(400).body(body.to_string()),
        Useless::EchoAsSuccess => response.status(200).body(body.to_string()),
        Useless::Redirect => response
            .status(302)
            .header("location", format!("http://{host}.invalid/?{sent}"))
            .body(told),
        Useless::Malformed => response.status(200).body(format!("<html>{told}")),
        Useless::HangUp => std::panic::resume_unwind(Box::new("hung up")),
    };
    response.unwrap().map(Into::into)
}

fn serve_useless(how: Useless) -> String {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, axum::Router::new().fallback(useless).with_state(how))
                .await
                .unwrap();
        });
    });
    format!("127.0.0.1:{}", address.port())
}

#[test]
fn no_secret_is_printed_or_written() {
    let stage = Stage::new(small(), None);
    let uuid = stage.sim.with_world(|world| world.meetings[0].uuid.clone());
    let encode = |text: &str| base64::Engine::encode(&base64::prelude::BASE64_STANDARD, text);
    let (password, key) = ("hush/hush+%", "a2V5LWlkOmtleS1zZWNyZXQ=");
    let client = format!("{}:{}", sim::CLIENT_ID, sim::CLIENT_SECRET);
    let secrets = [
        password.to_owned(),
        "hush%2Fhush%2B%25".to_owned(),
        encode(password),
        encode(&format!("elastic:{password}")),
        key.to_owned(),
        sim::CLIENT_SECRET.to_owned(),
        encode(&client),
        "simulated-token".to_owned(),
    ];
    let mut printed = 0;
    let mut run = |variables: &[(&str, &str)], args: &[&str]| {
        for format in ["text", "json"] {
            let output = pointed_at(&stage)
                .env("ZOOM_RETRIES", "0")
                .env("ELASTICSEARCH_RETRIES", "0")
                .envs(variables.iter().copied())
                .args(args)
                .args(["-vvv", "--log-format", format])
                .output()
                .unwrap();
            printed += said(&output).len();
            let mut everything = vec![("the output".to_owned(), said(&output).into_bytes())];
            for entry in std::fs::read_dir(stage.folder.path()).unwrap() {
                let path = entry.unwrap().path();
                everything.push((path.display().to_string(), std::fs::read(&path).unwrap()));
            }
            for (place, bytes) in everything {
                let text = String::from_utf8_lossy(&bytes);
                for secret in &secrets {
                    assert!(
                        !text.contains(secret.as_str()),
                        "{secret} in {place} of {args:?} with {variables:?}: {text}"
                    );
                }
            }
        }
    };
    let in_url = |address: &str| format!("http://elastic:hush%2Fhush%2B%25@{address}");
    let everything: [&[&str]; 11] = [
        &["plan"],
        &["sync"],
        &["sync", "--json"],
        &["publish"],
        &["reindex"],
        &["status"],
        &["show", &uuid],
        &["export"],
        &["doctor"],
        &["doctor", "--json"],
        &["retry"],
    ];
    // Nothing answers on port 9, the discard port.
    for args in everything {
        run(&[("ELASTICSEARCH_URL", &in_url("127.0.0.1:9"))], args);
    }
    for how in [
        Useless::Echo,
        Useless::EchoRefusal,
        Useless::EchoAsSuccess,
        Useless::Redirect,
        Useless::Malformed,
        Useless::HangUp,
    ] {
        let address = serve_useless(how);
        let plain = format!("http://{address}");
        // Each has its own catalog, because the requests of one catalog are paced across its runs.
        let db = format!("{how:?}.db");
        for args in [&["sync"][..], &["publish"], &["reindex"], &["doctor"]] {
            run(
                &[
                    ("ELASTICSEARCH_URL", &in_url(&address)),
                    ("ZOOM_HARVESTER_DB", &db),
                ],
                args,
            );
            run(
                &[
                    ("ELASTICSEARCH_URL", &plain),
                    ("ELASTICSEARCH_API_KEY", key),
                    ("ZOOM_HARVESTER_DB", &db),
                ],
                args,
            );
        }
        // First the token comes from the simulated account and goes to the useless server. Then not even a token comes.
        let from = (Utc::now().date_naive() - Days::new(5)).to_string();
        for args in [&["sync", "--from", &from][..], &["plan"], &["doctor"]] {
            run(&[("ZOOM_API_URL", &plain), ("ZOOM_HARVESTER_DB", &db)], args);
            run(&[("ZOOM_OAUTH_URL", &plain), ("ZOOM_HARVESTER_DB", &db)], args);
        }
        run(&[("ZOOM_API_URL", &in_url(&address))], &["status"]);
    }
    // The program printed enough for this to prove something.
    assert!(printed > 10_000, "{printed}");
    for entry in std::fs::read_dir(stage.folder.path()).unwrap() {
        use std::os::unix::fs::PermissionsExt;
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", entry.path());
    }
}

/// Whether the program warns about a file with this text and this mode.
#[cfg(unix)]
fn warned(name: &str, args: &[&str], text: &str, mode: u32) -> bool {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(name);
    std::fs::write(&file, text).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
    let output = program(folder.path()).args(args).arg("status").output();
    said(&output.unwrap()).contains(&format!("chmod 600 {name}"))
}

#[cfg(unix)]
#[test]
fn a_dotenv_that_others_may_read_is_a_warning() {
    let warned = |text, mode| warned(".env", &[], text, mode);
    assert!(warned("ZOOM_CLIENT_SECRET=hush\n", 0o644));
    assert!(warned("ELASTICSEARCH_API_KEY=hush\n", 0o640));
    assert!(!warned("ZOOM_CLIENT_SECRET=hush\n", 0o600));
    assert!(!warned("ZOOM_PLAN=pro\n", 0o644));
}

#[cfg(unix)]
#[test]
fn a_configuration_file_that_others_may_read_is_a_warning() {
    let warned = |text, mode| warned("h.toml", &["--config", "h.toml"], text, mode);
    let secret = "[privacy]\nkey = \"0123456789abcdef0123456789abcdef\"\n";
    assert!(warned(secret, 0o644));
    assert!(!warned(secret, 0o600));
    assert!(!warned("[zoom]\nplan = \"pro\"\n", 0o644));
}

/// Ends, when dropped, a program that serves until it is stopped.
struct Served(std::process::Child);

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The fault plan in the docs, served by one command and met by another.
#[test]
fn the_documented_fault_plan_works() {
    use std::io::{BufRead, BufReader};
    let folder = tempfile::tempdir().unwrap();
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/faults.md");
    let docs = std::fs::read_to_string(docs).unwrap();
    let plan = docs.split("```json").nth(1).unwrap().split("```").next().unwrap();
    std::fs::write(folder.path().join("faults.json"), plan).unwrap();
    let account = [
        "--port=0",
        "--hosts=3",
        "--meetings=30",
        "--sessions=90",
        "--days=4",
    ];
    let mut served = std::process::Command::new(env!("CARGO_BIN_EXE_zoom-harvester"))
        .env_clear()
        .current_dir(folder.path())
        .args(["simulate", "--faults", "faults.json", "--no-limits"])
        .args(account)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(served.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let _served = Served(served);
    let variables = line.trim().strip_prefix("export ").unwrap().split(' ');
    let variables: Vec<(&str, &str)> = variables.map(|one| one.split_once('=').unwrap()).collect();
    let run = |args: &[&str]| {
        let mut command = program(folder.path());
        command
            .envs(variables.clone())
            .env("ZOOM_RETRY_MS", "10")
            .args(args);
        command.output().unwrap()
    };

    let from = (Utc::now().date_naive() - Days::new(6)).to_string();
    let output = run(&["sync", "--from", &from]);
    // Retries overcome the reset and the 502; one meeting stays blocked.
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    let output = run(&["status", "--json"]);
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&status["meetings"]["fetched"], &status["meetings"]["failed"]),
        (&29.into(), &1.into()),
        "{status}"
    );
    let reason = status["troubled"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("403"), "{reason}");
    // By then the fourth meeting has become longer, and the next listing shows it.
    let output = run(&["sync", "--from", &from, "--json"]);
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&summary["changed"], &summary["details"]),
        (&1.into(), &1.into()),
        "{summary}"
    );
}
