//! What the README and the example say is true.

use zoom_harvester::{catalog::Catalog, config};

const README: &str = include_str!("../../README.md");

#[test]
fn the_configuration_reference_is_what_the_program_knows() {
    let (_, rest) = README
        .split_once("<!-- reference: a test keeps this table as the program knows it -->\n")
        .unwrap();
    let (table, _) = rest.split_once("\n<!-- end of reference -->").unwrap();
    assert_eq!(table.trim(), config::reference_markdown().trim());
}

/// If this fails because the schema moved on, make the example again:
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
