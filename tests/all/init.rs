//! `init` on a terminal: it asks, tries the answers, and writes them.

use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use crate::common::{ENGINES, Stage, terminal::Terminal};
use chrono::Utc;
use zoom_harvester::sim::{
    self,
    world::{Spec, World},
};

fn stage(variable: Option<&str>) -> Stage {
    let world = World::generate(&Spec {
        seed: 4,
        hosts: 3,
        meetings: 6,
        sessions: 15,
        days: 3,
        now: Utc::now(),
    });
    Stage::new(world, variable)
}

/// The part of the environment that `init` does not ask about.
fn around(stage: &Stage) -> Vec<(&'static str, String)> {
    vec![
        ("ZOOM_API_URL", stage.sim.api_url()),
        ("ZOOM_OAUTH_URL", stage.sim.oauth_url()),
        ("ZOOM_RETRIES", "0".to_owned()),
        ("ELASTICSEARCH_RETRIES", "0".to_owned()),
        ("ELASTICSEARCH_REPLICAS", "0".to_owned()),
        (
            "ELASTICSEARCH_INDEX_PREFIX",
            stage.elastic.as_ref().map_or("zoom", |es| &es.prefix).to_owned(),
        ),
    ]
}

fn borrowed<'a>(environment: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    environment
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect()
}

#[test]
fn init_asks_again_for_a_wrong_secret_and_writes_a_working_file() {
    let stage = stage(Some(ENGINES[0]));
    let environment = around(&stage);
    let folder = stage.folder.path();
    fs::write(
        folder.join(".env"),
        "# mine\nOTHER='left alone'\nZOOM_CLIENT_ID=old\n",
    )
    .unwrap();
    let mut terminal = Terminal::run(folder, 120, "init", &borrowed(&environment));
    terminal.answers("Account ID", "");
    terminal.waits_for("this is needed");
    terminal.answers("Account ID", sim::ACCOUNT_ID);
    terminal.answers("Client ID [old]", sim::CLIENT_ID);
    terminal.answers("Client secret", "sesame open");
    terminal.waits_for("WRONG");
    terminal.waits_for("Answer these questions again? [Y/n] ");
    terminal.types("y\n");
    terminal.answers("Account ID [simulated-account]", "");
    terminal.answers("Client ID", "");
    terminal.answers("Client secret [kept]", sim::CLIENT_SECRET);
    terminal.waits_for("Zoom gives a token");
    terminal.answers("URL of Elasticsearch", "ftp://nowhere");
    terminal.answers("API key", "");
    terminal.answers("User; empty", "");
    terminal.waits_for("WRONG");
    terminal.answers("URL of Elasticsearch", &stage.es().url);
    terminal.answers("API key", "");
    terminal.answers("User; empty", "");
    // The table may wrap before or after these words.
    terminal.waits_for("sync makes it");
    terminal.answers("File of the catalog", "my catalog.db");
    let (code, shown) = terminal.ends();
    assert_eq!(code, 0, "{shown}");
    assert!(shown.contains("zoom-harvester sync --from 7d"), "{shown}");
    assert!(
        !shown.contains("sesame") && !shown.contains(sim::CLIENT_SECRET),
        "{shown}"
    );
    let written = fs::read_to_string(folder.join(".env")).unwrap();
    assert!(
        written.starts_with("# mine\nOTHER='left alone'\nZOOM_CLIENT_ID=simulated-client\n"),
        "{written}"
    );
    let mode = fs::metadata(folder.join(".env")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let output = Command::new(env!("CARGO_BIN_EXE_zoom-harvester"))
        .args(["sync", "--from", "1w"])
        .env_clear()
        .envs(borrowed(&environment))
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(folder.join("my catalog.db").exists());
    let left: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with(".env."))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn init_skips_what_the_environment_sets_and_writes_nothing_at_end_of_input() {
    let stage = stage(None);
    let mut environment = around(&stage);
    environment.push(("ZOOM_ACCOUNT_ID", sim::ACCOUNT_ID.to_owned()));
    let mut terminal = Terminal::run(stage.folder.path(), 80, "init", &borrowed(&environment));
    terminal.waits_for("the environment says ZOOM_ACCOUNT_ID");
    terminal.waits_for("Client ID: ");
    // Ctrl-D.
    terminal.types("\u{4}");
    let (code, shown) = terminal.ends();
    assert_eq!(code, 1, "{shown}");
    assert!(shown.contains("nothing was written"), "{shown}");
    assert!(!stage.folder.path().join(".env").exists());
}

#[test]
fn init_without_a_terminal_says_what_to_do() {
    let stage = stage(None);
    let output = Command::new(env!("CARGO_BIN_EXE_zoom-harvester"))
        .arg("init")
        .env_clear()
        .current_dir(stage.folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("needs a terminal"), "{said}");
}
