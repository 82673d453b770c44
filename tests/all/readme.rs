//! What the README, the pages of `docs/` and the example say is true.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use zoom_harvester::{catalog::Catalog, config};

const README: &str = include_str!("../../README.md");

/// The README and every page of `docs/`: path and text.
fn pages() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = std::fs::read_dir(root.join("docs"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let top = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"].map(|name| root.join(name));
    let pages = docs
        .filter(|path| path.extension().is_some_and(|end| end == "md"))
        .chain(top);
    pages
        .map(|path| (path.clone(), std::fs::read_to_string(path).unwrap()))
        .collect()
}

#[test]
fn every_link_to_a_file_leads_somewhere_and_every_page_is_in_the_index() {
    let pages = pages();
    let mut links = 0;
    for (page, text) in &pages {
        for link in text.split("](").skip(1) {
            let target = link.split(')').next().unwrap();
            if target.contains("://") || target.starts_with('#') {
                continue;
            }
            let file = page.parent().unwrap().join(target.split('#').next().unwrap());
            assert!(file.exists(), "{} links to {target}", page.display());
            links += 1;
        }
    }
    assert!(links > 40, "{links}");
    let index = include_str!("../../docs/README.md");
    for (page, _) in &pages {
        let name = page.file_name().unwrap().to_str().unwrap();
        let in_docs = page.parent().unwrap().ends_with("docs");
        assert!(
            !in_docs || name == "README.md" || index.contains(&format!("({name})")),
            "{name}"
        );
    }
}

/// Each command line in the code blocks of the pages is parsed, but not run. One that cannot be parsed ends with a line that points to --help.
#[test]
fn every_command_line_in_the_docs_is_valid() {
    let folder = tempfile::tempdir().unwrap();
    let mut lines = 0;
    for (page, text) in pages() {
        for block in text.split("```").skip(1).step_by(2) {
            for line in block
                .lines()
                .skip(1)
                .filter_map(|line| line.trim().strip_prefix("zoom-harvester "))
            {
                let line = line.split(" #").next().unwrap().split(" > ").next().unwrap();
                let args: Vec<&str> = line.split_whitespace().map(|arg| arg.trim_matches('"')).collect();
                // Several words in quotes need a shell, and a command that needs no settings would really run.
                let needs_no_settings = matches!(args.first(), Some(&"man" | &"completions"));
                if line.contains('"') || line.contains("COMMAND") || needs_no_settings {
                    continue;
                }
                let output = Command::new(env!("CARGO_BIN_EXE_zoom-harvester"))
                    // This setting is read and refused before any command does anything.
                    .env("ZOOM_PLAN", "nonsense")
                    .args(&args)
                    .current_dir(folder.path())
                    .output()
                    .unwrap();
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                let is_understood = output.status.success() || said.contains("ZOOM_PLAN");
                assert!(is_understood, "{}: zoom-harvester {line}: {said}", page.display());
                lines += 1;
            }
        }
    }
    assert!(lines >= 15, "{lines}");
}

#[test]
fn the_readme_is_short() {
    assert!(README.lines().count() <= 150);
    let long: Vec<&str> = README.lines().filter(|line| line.chars().count() > 120).collect();
    assert!(long.is_empty(), "{long:?}");
}

#[test]
fn the_configuration_reference_is_what_the_program_knows() {
    const MARKS: [&str; 2] = [
        "<!-- reference: a test keeps this table as the program knows it -->\n",
        "\n<!-- end of reference -->",
    ];
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (before, rest) = page.split_once(MARKS[0]).unwrap();
    let (_, after) = rest.split_once(MARKS[1]).unwrap();
    let table = config::reference_markdown();
    let wanted = [before, MARKS[0], table.trim(), MARKS[1], after].concat();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, &wanted).unwrap();
    }
    assert!(
        page == wanted || std::env::var_os("UPDATE_DOCS").is_some(),
        "run with UPDATE_DOCS=1"
    );
}

/// If this fails because the schema changed, make the example again:
/// `rm harvester.db.example && cargo run --release -- demo --example harvester.db.example`.
#[test]
fn every_audit_query_runs_on_the_example_which_is_current_and_small() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("harvester.db");
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/harvester.db.example");
    std::fs::copy(example, &path).unwrap();
    assert!(std::fs::metadata(&path).unwrap().len() < 1_000_000);
    let conn = rusqlite::Connection::open(&path).unwrap();
    let version: i64 = conn
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .unwrap();
    assert_eq!(version, Catalog::schema_version(), "make the example again");
    let fresh = Catalog::open(&folder.path().join("fresh.db")).unwrap();
    drop(fresh);
    let schema = |file: &std::path::Path| -> Vec<String> {
        let conn = rusqlite::Connection::open(file).unwrap();
        let mut all = conn
            .prepare("SELECT sql FROM sqlite_master WHERE sql NOTNULL ORDER BY name")
            .unwrap();
        all.query_map([], |row| row.get(0))
            .unwrap()
            .map(Result::unwrap)
            .collect()
    };
    assert_eq!(
        schema(&path),
        schema(&folder.path().join("fresh.db")),
        "make the example again"
    );

    let (_, rest) = README.split_once("```sql\n").unwrap();
    let (queries, _) = rest.split_once("```").unwrap();
    let queries: Vec<&str> = queries
        .split(';')
        .map(str::trim)
        .filter(|query| !query.is_empty())
        .collect();
    assert!(queries.len() >= 3); // the others are in docs/audit.md, which has its own test
    for query in queries {
        let mut statement = conn
            .prepare(query)
            .unwrap_or_else(|error| panic!("{query}: {error}"));
        let rows = statement.query_map([], |_| Ok(())).unwrap().count();
        let may_be_empty = ["What failed", "missing something", "never listed"]
            .iter()
            .any(|word| query.contains(word));
        assert!(rows > 0 || may_be_empty, "{query}");
    }
    let (meetings, sessions): (i64, i64) = conn
        .query_row("SELECT count(*), sum(sessions) FROM meetings", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap();
    assert!(meetings > 100 && sessions > 500, "{meetings} {sessions}");
}
