//! The report: the catalog's figures on a page, opened in a real browser.

use std::{
    collections::BTreeMap,
    path::Path,
    process::{Command, Output},
};

use crate::common::{ENGINES, Stage};
use chrono::Utc;
use zoom_harvester::sim::{
    self,
    world::{Spec, World},
};

const HOSTILE: &str = "</td><script>document.title='broken'</script> \u{202e}\"'<img src=x onerror=\"document.title='broken'\">";

fn stage() -> Stage {
    let mut world = World::generate(&Spec {
        seed: 21,
        hosts: 5,
        meetings: 40,
        sessions: 150,
        days: 6,
        now: Utc::now(),
    });
    for meeting in world.meetings.iter_mut().step_by(3) {
        meeting.topic = HOSTILE.to_owned();
    }
    Stage::new(world, Some(ENGINES[0]))
}

fn report(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_zoom-harvester"))
        .arg("report")
        .args(args)
        .env_clear()
        .current_dir(folder)
        .output()
        .unwrap()
}

/// The page as the browser has it once its script has run, and what it wrote to its log.
fn opened(page: &Path) -> (String, String) {
    let profile = tempfile::tempdir().unwrap();
    let browser = ["chromium", "chromium-browser", "google-chrome"]
        .into_iter()
        .find(|name| {
            let found = Command::new(name).arg("--version").output();
            found.is_ok_and(|output| output.status.success())
        });
    let output = Command::new(browser.expect("chromium is missing: run ./test, which installs it"))
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--enable-logging=stderr",
            "--dump-dom",
        ])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("file://{}", page.display()))
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (text(output.stdout), text(output.stderr))
}

/// What each day of the page says: day, listed, fetched, indexed, state.
fn days(page: &str) -> Vec<String> {
    let buttons = page.split("<button ").skip(1);
    let of_day = buttons.filter(|button| button.contains("data-day="));
    of_day
        .map(|button| {
            let tag = button.split('>').next().unwrap();
            let said: BTreeMap<&str, &str> = tag
                .split(" data-")
                .skip(1)
                .map(|attribute| {
                    let (name, value) = attribute.split_once("=\"").unwrap();
                    (name, value.split('"').next().unwrap())
                })
                .collect();
            ["day", "listed", "fetched", "indexed", "state"]
                .map(|name| said[name])
                .join("|")
        })
        .collect()
}

fn by_sql(stage: &Stage) -> Vec<String> {
    stage.texts("SELECT day || '|' || listed || '|' || fetched || '|' || indexed || '|' || state FROM coverage ORDER BY day")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_report_equals_sql_and_a_browser_reports_no_error() {
    let stage = stage();
    stage.sync(stage.days(8)).await;
    let folder = stage.folder.path();
    let output = report(folder, &["--out", "report.html"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(said.starts_with("Yes, so far: "), "{said}");
    let page = std::fs::read_to_string(folder.join("report.html")).unwrap();
    assert_eq!(days(&page), by_sql(&stage));
    assert!(page.contains("This is the first report in this file."));
    for outside in ["src=\"http", "href=\"http", "url(http", "@import", "<link"] {
        assert!(!page.contains(outside), "{outside}");
    }

    let (dom, log) = opened(&folder.join("report.html"));
    assert!(!log.contains("CONSOLE"), "{log}");
    assert_eq!(days(&dom), by_sql(&stage));
    assert!(
        dom.contains(&format!("<title>Meeting history of {}</title>", sim::ACCOUNT_ID)),
        "nothing in it ran but ours"
    );
    assert_eq!(
        dom.matches("tabindex=\"0\"").count(),
        1,
        "our script ran: one day is where Tab leads"
    );

    // One day gets worse in each way; the answer and the states follow.
    let conn = rusqlite::Connection::open(stage.db()).unwrap();
    let day = |n: usize| by_sql(&stage)[n].split('|').next().unwrap().to_owned();
    let (missing, failed, partial) = (day(1), day(2), day(3));
    conn.execute("DELETE FROM windows WHERE day = ?", [&missing])
        .unwrap();
    conn.execute(
        "UPDATE meetings SET status = 'dead', failure = 'a reason' WHERE listed_day = ? AND meeting_id IN (SELECT max(meeting_id) FROM meetings GROUP BY listed_day)",
        [&failed],
    )
    .unwrap();
    conn.execute(
        "UPDATE meetings SET status = 'fetched', indexed_checksum = NULL WHERE listed_day = ?",
        [&partial],
    )
    .unwrap();
    let output = report(folder, &["--out", "report.html", "--from", "8d"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        said.contains("3 are not complete (1 missing, 1 failed, 1 partial)"),
        "{said}"
    );
    let page = std::fs::read_to_string(folder.join("report.html")).unwrap();
    let state_of = |day: &str| {
        days(&page)
            .into_iter()
            .find(|one| one.starts_with(day))
            .unwrap()
            .rsplit('|')
            .next()
            .unwrap()
            .to_owned()
    };
    assert_eq!(
        [&missing, &failed, &partial].map(|day| state_of(day)),
        ["missing", "failed", "partial"]
    );
    assert!(page.contains("a reason") && page.contains("zoom-harvester retry"));
    assert!(page.contains("Nothing changed."), "since the report before");
    let (_, log) = opened(&folder.join("report.html"));
    assert!(!log.contains("CONSOLE"), "{log}");
}

#[test]
fn report_errors_are_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let said = |args: &[&str]| {
        let output = report(folder.path(), args);
        (
            output.status.code().unwrap(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let (code, error) = said(&["--out", "r.html"]);
    assert_eq!((code, error.lines().count()), (1, 1), "{error}");
    assert!(error.contains("harvester.db"), "{error}");
    let example = std::fs::read("harvester.db.example").unwrap();
    std::fs::write(folder.path().join("harvester.db"), example).unwrap();
    let (code, error) = said(&["--out", "nowhere/r.html"]);
    assert_eq!((code, error.lines().count()), (1, 1), "{error}");
    assert!(error.contains("nowhere/r.html cannot be written"), "{error}");
    let (code, error) = said(&["--out", "r.html", "--from", "2026-03-02", "--to", "2026-03-01"]);
    assert_eq!(code, 1, "{error}");
    assert!(error.contains("is after"), "{error}");
    let output = report(folder.path(), &["--out", "-", "--from", "2026-01"]);
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .starts_with("<!DOCTYPE html>")
    );
    assert!(!folder.path().join("-").exists());
}
