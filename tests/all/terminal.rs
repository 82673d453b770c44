//! What users see: bars and tables that fit the terminal, and without a terminal nothing that controls one.

use std::process::Command;

use chrono::Utc;
use unicode_width::UnicodeWidthStr;
use zoom_harvester::sim::{
    self, Limits, Simulator,
    world::{Spec, World},
};

use crate::common::{Stage, terminal::Terminal};

/// An account whose topics are long and wide, behind limits that a run has to wait for.
fn staged() -> Stage {
    let mut world = World::generate(&Spec {
        seed: 41,
        hosts: 4,
        meetings: 120,
        sessions: 240,
        days: 5,
        now: Utc::now(),
    });
    let first = world.meetings[0].uuid.clone();
    world.rename_series(&first, &"研讨会 about everything ".repeat(8));
    let stage = Stage::new(world, None);
    stage.sim.with_setup(|setup| setup.limits = Limits::BUSINESS);
    stage
}

fn environment(sim: &Simulator) -> Vec<(&'static str, String)> {
    vec![
        ("ZOOM_ACCOUNT_ID", sim::ACCOUNT_ID.to_owned()),
        ("ZOOM_CLIENT_ID", sim::CLIENT_ID.to_owned()),
        ("ZOOM_CLIENT_SECRET", sim::CLIENT_SECRET.to_owned()),
        ("ZOOM_API_URL", sim.api_url()),
        ("ZOOM_OAUTH_URL", sim.oauth_url()),
    ]
}

/// Runs the program on a terminal of this width. Returns what was shown.
fn shown(stage: &Stage, columns: u16, args: &str, more: &[(&'static str, &str)]) -> String {
    let mut environment = environment(&stage.sim);
    environment.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
    let environment: Vec<(&str, &str)> = environment
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let (code, shown) = Terminal::run(stage.folder.path(), columns, args, &environment).ends();
    assert_eq!(code, 0, "{shown}");
    shown
}

/// Text without the sequences that move the cursor, clear a line or colour; each drawing of a bar is a line of its own.
fn lines(shown: &str) -> Vec<String> {
    let mut plain = String::new();
    let mut rest = shown.chars();
    while let Some(letter) = rest.next() {
        match letter {
            // ESC [ parameters letter
            '\u{1b}' => {
                let end = rest.by_ref().skip(1).find(char::is_ascii_alphabetic);
                plain.push(if end == Some('m') { '\u{0}' } else { '\n' });
            }
            '\r' => plain.push('\n'),
            other => plain.push(other),
        }
    }
    let plain = plain.replace('\u{0}', "");
    plain.lines().map(str::to_owned).collect()
}

/// Every line of bars and tables. Sentences about listings and lines of the log are folded by the terminal.
fn assert_fits(shown: &str, columns: u16) {
    for line in lines(shown)
        .into_iter()
        .filter(|line| !line.starts_with("listed 2") && !line.contains("  WARN "))
    {
        assert!(line.width() <= columns.into(), "{columns}: {line:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bars_and_tables_fit_the_terminal_and_show_time_and_limit() {
    for columns in [80, 120] {
        let stage = staged();
        let sync = shown(&stage, columns, "sync --no-publish --from 9d", &[]);
        let bars: Vec<String> = lines(&sync)
            .into_iter()
            .filter(|line| line.contains(" to go"))
            .collect();
        assert!(!bars.is_empty(), "{sync}");
        assert!(
            bars.iter()
                .any(|bar| bar.contains("details") && bar.contains("/s, ")),
            "{bars:#?}"
        );
        assert!(
            bars.iter().any(|bar| bar.contains("limited by Heavy")),
            "{bars:#?}"
        );
        // No remaining time before anything is done, and no remaining time of zero while something is left.
        for bar in &bars {
            assert!(!bar.contains(" 0/") && !bar.contains(", 0 s to go"), "{bar}");
        }
        // Only Zoom's requests fall under Zoom's limits.
        assert!(
            !lines(&sync)
                .iter()
                .any(|line| line.contains("published") && line.contains("limited by")),
            "{sync}"
        );
        // The library that draws a bar cuts what does not fit.
        assert_fits(&sync, columns);
        // The summary is complete and plain text, so it can be pasted.
        for word in [
            "listed ",
            "fetched ",
            "requests to Zoom",
            "quota today",
            "took ",
            "next ",
        ] {
            assert!(sync.contains(word), "{word}: {sync}");
        }

        // Nothing to do, so no bar.
        let idle = shown(&stage, columns, "sync --no-publish", &[]);
        assert!(!idle.contains(" to go"), "{idle}");
        // Unlisted days in between give a long line.
        shown(&stage, columns, "sync --no-publish --from 60d --to 50d", &[]);
        for command in ["status", "doctor", "plan --from 9d"] {
            assert_fits(&shown(&stage, columns, command, &[]), columns);
        }
        let status = shown(&stage, columns, "status", &[]);
        let first = lines(&status).into_iter().find(|line| !line.is_empty()).unwrap();
        assert!(first.starts_with("not complete: "), "{first}");
        assert!(
            status.contains("never listed  ") && status.contains(" more"),
            "{status}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dumb_terminal_gets_no_escape_sequences() {
    for name in ["dumb", ""] {
        let dumb = shown(&staged(), 80, "sync --no-publish --from 9d", &[("TERM", name)]);
        assert!(!dumb.contains('\u{1b}'), "{dumb:?}");
        assert!(dumb.contains("details: "), "progress in lines: {dumb}");
    }

    // Bars move, but nothing is coloured.
    let plain = shown(&staged(), 80, "sync --no-publish --from 9d", &[("NO_COLOR", "1")]);
    let coloured = plain
        .split('\u{1b}')
        .skip(1)
        .filter(|rest| {
            rest.find(|c: char| c.is_ascii_alphabetic())
                .map(|at| &rest[at..=at])
                == Some("m")
        })
        .count();
    assert_eq!(coloured, 0, "{plain:?}");

    let stage = staged();
    let output = tokio::task::spawn_blocking(move || {
        let output = Command::new(env!("CARGO_BIN_EXE_zoom-harvester"))
            .env_clear()
            .envs(environment(&stage.sim))
            .env("TERM", "xterm-256color")
            .current_dir(stage.folder.path())
            .args(["sync", "--no-publish", "--from", "9d"])
            .output()
            .unwrap();
        drop(stage);
        output
    })
    .await
    .unwrap();
    assert!(output.status.success());
    for text in [&output.stdout, &output.stderr] {
        assert!(!text.contains(&0x1b) && !text.contains(&b'\r'));
    }
    let progress = String::from_utf8(output.stderr).unwrap();
    assert!(
        progress.contains("details: ") && progress.contains(" due"),
        "{progress}"
    );
}
