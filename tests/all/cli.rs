//! The command line as users see it: the real binary, in its own folder and environment.

use std::{
    io::{BufRead, BufReader, Read, Write, pipe},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use assert_cmd::cargo::CommandCargoExt;
use tempfile::TempDir;

/// The program in a folder, with nothing in its environment.
fn program(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::cargo_bin("zoom-harvester").unwrap();
    command
        .args(args)
        .current_dir(folder)
        .env_clear()
        .env("COLUMNS", "100")
        .stdin(Stdio::null());
    command
}

/// Exit code, standard output and standard error.
fn run(mut command: Command) -> (i32, String, String) {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let code = output.status.code().expect("it ended by itself");
    (code, text(output.stdout), text(output.stderr))
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// docs/commands.md ends with the help of every command. `UPDATE_DOCS=1` rewrites it.
#[test]
fn the_page_of_commands_says_what_the_program_says() {
    const MARKS: [&str; 2] = [
        "<!-- help: a test keeps this as the program says it -->\n",
        "<!-- end of help -->",
    ];
    let folder = folder();
    let help = |command: &str| {
        let args: Vec<&str> = command.split_whitespace().chain(["--help"]).collect();
        let (code, stdout, stderr) = run(program(folder.path(), &args));
        assert_eq!((code, stderr.as_str()), (0, ""), "{command}");
        // Clap aligns with spaces that editors remove.
        let lines: Vec<&str> = stdout.lines().map(str::trim_end).collect();
        lines.join("\n")
    };
    let root = help("");
    let commands = root
        .split_once("Commands:\n")
        .unwrap()
        .1
        .split_once("\n\n")
        .unwrap()
        .0;
    let mut names: Vec<String> = commands
        .lines()
        // Continuation lines are indented further.
        .filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' ')))
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .filter(|name| name != "help")
        .collect();
    names.dedup();
    names.extend(["check", "backup", "vacuum"].map(|name| format!("catalog {name}")));
    names.sort();
    assert!(names.len() > 22, "{names:?}");
    let mut all = format!("\n```text\n{}\n```\n", root.trim());
    for name in names {
        let said = help(&name);
        // The global options are the same for all commands and are shown above.
        let own = said.split("\n\nGlobal options").next().unwrap().trim().to_owned();
        all.push_str(&format!("\n### {name}\n\n```text\n{own}\n```\n"));
    }
    all.push('\n');
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/commands.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (before, rest) = page.split_once(MARKS[0]).unwrap();
    let (_, after) = rest.split_once(MARKS[1]).unwrap();
    let now = format!("{before}{}{all}{}{after}", MARKS[0], MARKS[1]);
    if std::env::var("UPDATE_DOCS").is_ok() {
        std::fs::write(path, &now).unwrap();
    } else {
        assert_eq!(page, now, "run with UPDATE_DOCS=1");
    }
    let (code, stdout, _) = run(program(folder.path(), &["--version"]));
    assert_eq!(
        (code, stdout),
        (0, format!("zoom-harvester {}\n", env!("CARGO_PKG_VERSION")))
    );
}

#[test]
fn usage_errors_are_one_line_and_exit_1() {
    let folder = folder();
    let mut all = String::new();
    let lines: [&[&str]; 16] = [
        &["snyc"],
        &["sync", "--form", "2026-03-01"],
        &["sync", "--from"],
        &["sync", "--from", "2026-3-1"],
        &["sync", "--from", "2026-02-30"],
        &["sync", "--from", "yesterday"],
        &["plan", "--to", "20260301"],
        &["sync", "--from", "2999-01-01"],
        &["sync", "--to", "2026-03-01"],
        &["show"],
        &["show", "a", "b"],
        &["status", "--color", "blue"],
        &["export", "--index", "hosts"],
        &["status"],
        &["status", "--config", "absent.toml"],
        &["publish"],
    ];
    for args in lines {
        let (code, stdout, stderr) = run(program(folder.path(), args));
        assert_eq!((code, stdout.as_str()), (1, ""), "{args:?}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        all.push_str(&format!("$ zoom-harvester {}\n{stderr}", args.join(" ")));
    }
    let today = chrono::Utc::now().date_naive().to_string();
    let all = all.replace(&today, "TODAY");
    insta::assert_snapshot!(all);

    let (code, _, stderr) = run(program(folder.path(), &["sync", "--from", "2001-01-01"]));
    assert!(code == 1 && stderr.contains("last six months"), "{stderr}");
    let (code, stdout, stderr) = run(program(folder.path(), &[]));
    assert!(
        code == 1 && stdout.is_empty() && stderr.contains("Usage:"),
        "{stderr}"
    );
    assert!(
        std::fs::read_dir(folder.path()).unwrap().next().is_none(),
        "nothing was made"
    );
}

/// What `doctor` says about a setting. Without credentials and Elasticsearch it makes no requests.
fn setting(command: Command, name: &str) -> String {
    let (code, stdout, stderr) = run(command);
    assert_eq!(code, 1, "credentials are missing: {stderr}");
    let checks: Vec<serde_json::Value> = serde_json::from_str(&stdout).unwrap();
    let said = checks.iter().filter(|check| check["name"] == "setting");
    let said = said.filter_map(|check| check["said"].as_str());
    said.filter(|said| said.starts_with(name)).collect()
}

#[test]
fn flags_win_then_environment_then_dotenv_then_file() {
    let folder = folder();
    let doctor = || program(folder.path(), &["doctor", "--json", "--config", "harvester.toml"]);
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let name = "ZOOM_HARVESTER_DB";
    write("harvester.toml", "[harvester]\n# here\ndb = \"file.db\"\n");
    assert_eq!(
        setting(doctor(), name),
        "ZOOM_HARVESTER_DB = file.db (harvester.toml, line 3)"
    );
    write(".env", "\nexport ZOOM_HARVESTER_DB='dotenv.db'\nPS1='$ '\n");
    assert_eq!(
        setting(doctor(), name),
        "ZOOM_HARVESTER_DB = dotenv.db (.env, line 2)"
    );
    let in_environment = || {
        let mut command = doctor();
        command.env(name, "environment.db");
        command
    };
    assert_eq!(
        setting(in_environment(), name),
        "ZOOM_HARVESTER_DB = environment.db (the environment)"
    );
    let mut flagged = in_environment();
    flagged.args(["--db", "flag.db"]);
    assert_eq!(setting(flagged, name), "ZOOM_HARVESTER_DB = flag.db (--db)");
    let mut before = program(folder.path(), &["--db", "flag.db", "doctor", "--json"]);
    before.env(name, "environment.db");
    assert_eq!(setting(before, name), "ZOOM_HARVESTER_DB = flag.db (--db)");
}

#[test]
fn unknown_settings_are_refused_and_near_misses_told() {
    let folder = folder();
    let refused = |command: Command, expected: &str| {
        let (code, stdout, stderr) = run(command);
        assert_eq!((code, stdout.as_str(), stderr.as_str()), (1, "", expected));
    };
    let status = || program(folder.path(), &["status"]);
    let mut command = status();
    command.env("ZOOM_HARVESTER_DP", "x");
    refused(
        command,
        "error: the environment: ZOOM_HARVESTER_DP is unknown; did you mean ZOOM_HARVESTER_DB?\n",
    );
    std::fs::write(folder.path().join("h.toml"), "[zoom]\nplann = \"pro\"\n").unwrap();
    refused(
        program(folder.path(), &["status", "--config", "h.toml"]),
        "error: h.toml, line 2: zoom.plann is unknown; did you mean zoom.plan?\n",
    );

    let mut command = status();
    command.env("ELASTICSEARCH_URI", "http://localhost");
    let (code, _, stderr) = run(command);
    assert_eq!(code, 1, "there is no catalog");
    assert!(stderr.contains("did you mean ELASTICSEARCH_URL?"), "{stderr}");

    std::fs::write(folder.path().join(".env"), "A=1\nZOOM_PLANN=pro\n").unwrap();
    refused(
        status(),
        "error: .env, line 2: ZOOM_PLANN is unknown; did you mean ZOOM_PLAN?\n",
    );
}

#[test]
fn a_closed_pipe_is_not_a_failure() {
    let folder = folder();
    for args in [&["--help"][..], &["doctor"], &["doctor", "--json"]] {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let output = program(folder.path(), args)
            .stdout(writer)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
            .wait_with_output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), stderr.as_str()), (Some(0), ""), "{args:?}");
    }
}

#[test]
fn secrets_are_never_printed() {
    let folder = folder();
    // A port that nobody listens on.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let common = [
        ("ZOOM_ACCOUNT_ID", "account".to_owned()),
        ("ZOOM_CLIENT_ID", "client".to_owned()),
        ("ZOOM_CLIENT_SECRET", "hush\n".to_owned()),
        ("ZOOM_OAUTH_URL", format!("http://127.0.0.1:{port}/oauth/token")),
        ("ZOOM_API_URL", format!("http://127.0.0.1:{port}/v2")),
        ("ZOOM_RETRIES", "0".to_owned()),
        ("ELASTICSEARCH_RETRIES", "0".to_owned()),
    ];
    let good = (
        "ELASTICSEARCH_URL",
        format!("http://elastic:hush@127.0.0.1:{port}"),
    );
    let bad = [
        ("ELASTICSEARCH_URL", "elastic:hush@nowhere".to_owned()),
        (
            "ELASTICSEARCH_URL",
            "http://elastic:hush@127.0.0.1:99999".to_owned(),
        ),
        ("ELASTICSEARCH_API_KEY", "id:hush".to_owned()),
        ("ZOOM_RATE_SHARE", "2".to_owned()),
        ("ELASTICSEARCH_CA_CERT", "absent.pem".to_owned()),
    ];
    for command in ["doctor", "sync"] {
        for format in ["text", "json"] {
            for wrong in std::iter::once(None).chain(bad.iter().map(Some)) {
                let mut command = program(folder.path(), &[command, "-vvv", "--log-format", format]);
                command.envs(
                    common
                        .iter()
                        .chain([&good])
                        .chain(wrong)
                        .map(|(name, value)| (*name, value)),
                );
                let (code, stdout, stderr) = run(command);
                let shown = format!("{stdout}{stderr}");
                assert!(matches!(code, 1 | 3), "exit {code}: {shown}");
                // `Y2xpZW50Omh1c2g` and `ZWxhc3RpYzpodXNo`: the same in a Basic header.
                for secret in ["hush", "Y2xpZW50Omh1c2g", "ZWxhc3RpYzpodXNo"] {
                    assert!(!shown.contains(secret), "{shown}");
                }
            }
        }
    }
}

/// The level of each line, every one of which must be JSON.
fn levels(stderr: &str) -> Vec<String> {
    let level = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        line["level"].as_str().unwrap().to_owned()
    };
    stderr.lines().map(level).collect()
}

#[test]
fn with_json_logs_every_line_is_json() {
    let folder = folder();
    let mut command = program(folder.path(), &["--log-format", "json", "status"]);
    command.env("ELASTICSEARCH_URI", "http://localhost");
    let (code, _, stderr) = run(command);
    assert_eq!(code, 1);
    assert_eq!(levels(&stderr), ["WARN", "ERROR"]);
}

/// A sync that is under way, and the Zoom it waits for, which never answers.
fn waiting_sync(folder: &Path, stdout: impl Into<Stdio>) -> (Child, TcpListener, TcpStream) {
    let zoom = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = zoom.local_addr().unwrap().port();
    let child = program(folder, &["sync"])
        .env("ZOOM_ACCOUNT_ID", "account")
        .env("ZOOM_CLIENT_ID", "client")
        .env("ZOOM_CLIENT_SECRET", "secret")
        .env("ZOOM_OAUTH_URL", format!("http://127.0.0.1:{port}/oauth/token"))
        .stdout(stdout)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // It asks for a token, so by now it catches signals.
    let (asked, _) = zoom.accept().unwrap();
    (child, zoom, asked)
}

fn signal(child: &Child, name: &str) {
    let kill = format!("kill -{name} {}", child.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
}

/// The exit code of the last run, from the catalog; `None` while the run is under way.
fn exit_noted(folder: &Path) -> Option<i64> {
    let (code, stdout, stderr) = run(program(folder, &["status", "--json"]));
    assert_eq!(code, 0, "{stderr}");
    let status: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    status["runs"][0]["exit_code"].as_i64()
}

#[test]
fn a_signal_ends_a_run_cleanly_with_its_own_exit_code() {
    for (name, exit) in [("INT", 130), ("TERM", 143)] {
        let folder = folder();
        let (mut child, _zoom, _asked) = waiting_sync(folder.path(), Stdio::null());
        assert_eq!(exit_noted(folder.path()), None);
        signal(&child, name);
        assert_eq!(child.wait().unwrap().code(), Some(exit));
        assert_eq!(exit_noted(folder.path()), Some(i64::from(exit)));
    }
}

#[test]
fn a_second_signal_ends_even_a_process_that_hangs() {
    let folder = folder();
    // A pipe that is full and that nobody reads: the summary cannot be written.
    let (reader, mut writer) = pipe().unwrap();
    let stdout = writer.try_clone().unwrap();
    let filler = std::thread::spawn(move || while writer.write_all(&[b' '; 4096]).is_ok() {});
    let (mut child, _zoom, _asked) = waiting_sync(folder.path(), stdout);
    signal(&child, "INT");
    let noted = (0..1000).find_map(|_| {
        std::thread::sleep(Duration::from_millis(10));
        exit_noted(folder.path())
    });
    assert_eq!(noted, Some(130));
    assert_eq!(child.try_wait().unwrap(), None, "it hangs");
    signal(&child, "TERM");
    let mut ended = None;
    for _ in 0..1000 {
        ended = child.try_wait().unwrap();
        if ended.is_some() {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = child.kill();
    drop(reader);
    filler.join().unwrap();
    assert_eq!(ended.expect("the second signal ended it").code(), Some(143));
}

#[test]
fn a_catalog_is_read_by_status_show_and_export() {
    let folder = folder();
    let made = ["demo", "--example", "week.db", "--log-format", "json"];
    let (code, _, stderr) = run(program(folder.path(), &made));
    assert_eq!(code, 0, "{stderr}");
    let levels = levels(&stderr);
    assert!(
        levels.iter().all(|level| level == "INFO" || level == "WARN") && levels.len() > 1,
        "{stderr}"
    );
    let reading = |args: &[&str]| {
        let mut args = args.to_vec();
        args.extend(["--db", "week.db"]);
        program(folder.path(), &args)
    };
    let (code, status, _) = run(reading(&["status", "--json"]));
    assert_eq!(code, 0);
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    // The example has a meeting whose detail failed, and one whose detail is gone: they have no documents.
    let meetings = status["meetings"]["fetched"].as_u64().unwrap();
    assert_eq!(
        (&status["meetings"]["failed"], &status["meetings"]["gone"]),
        (&1.into(), &1.into())
    );
    let sessions = status["sessions"].as_u64().unwrap();
    assert!(meetings > 0 && sessions > meetings, "{status}");

    let (_, shown, _) = run(reading(&["status"]));
    assert_eq!(
        shown.lines().next(),
        Some("not complete: 1 meeting failed or dead, 1 detail to be fetched"),
        "{shown}"
    );

    let documents = |args: &[&str]| {
        let (code, stdout, stderr) = run(reading(args));
        assert_eq!((code, stderr.as_str()), (0, ""));
        let lines = stdout.lines().map(|line| serde_json::from_str(line).unwrap());
        lines.collect::<Vec<serde_json::Value>>()
    };
    let all = documents(&["export"]);
    assert_eq!(all.len() as u64, meetings + sessions);
    let only = documents(&["export", "--index", "meetings"]);
    assert_eq!(only.len() as u64, meetings);
    assert!(only.iter().all(|document| document["_index"] == "zoom-meetings"));

    let uuid = only[0]["_id"].as_str().unwrap();
    let (code, shown, _) = run(reading(&["show", uuid]));
    assert!(code == 0 && shown.contains(uuid), "{shown}");
    let (code, stdout, stderr) = run(reading(&["show", "\u{1b}[2Jnobody"]));
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert!(
        !stderr.contains('\u{1b}') && stderr.lines().count() == 1,
        "{stderr}"
    );

    // `export | head -1`
    let mut child = reading(&["export"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::with_capacity(64, child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!((child.wait().unwrap().code(), stderr.as_str()), (Some(0), ""));
}
