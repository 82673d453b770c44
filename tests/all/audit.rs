//! `docs/audit.md`: every query runs on the example and gives the answer printed below it. `UPDATE_DOCS=1` rewrites the answers.

use rusqlite::{Connection, OpenFlags, types::ValueRef};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/audit.md");

/// The answer as the page shows it: names, then rows.
fn answered(conn: &Connection, sql: &str) -> String {
    let mut statement = conn.prepare(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    assert!(statement.readonly(), "{sql}");
    let names: Vec<String> = statement
        .column_names()
        .iter()
        .map(|&name| name.to_owned())
        .collect();
    let width = names.len();
    let mut lines = vec![names.join(" | ")];
    let mut rows = statement.query([]).unwrap();
    while let Some(row) = rows.next().unwrap() {
        let cells = (0..width).map(|column| match row.get_ref(column).unwrap() {
            ValueRef::Null => String::new(),
            ValueRef::Integer(number) => number.to_string(),
            ValueRef::Real(number) => number.to_string(),
            ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
            ValueRef::Blob(bytes) => format!("{} bytes", bytes.len()),
        });
        lines.push(cells.collect::<Vec<_>>().join(" | ").trim_end().to_owned());
    }
    lines.join("\n")
}

#[test]
fn every_audit_query_gives_the_documented_answer() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("example.db");
    std::fs::copy(
        concat!(env!("CARGO_MANIFEST_DIR"), "/harvester.db.example"),
        &copy,
    )
    .unwrap();
    let conn = Connection::open_with_flags(&copy, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let page = std::fs::read_to_string(PAGE).unwrap();
    let mut written = String::new();
    let (mut rest, mut questions, mut with_rows) = (page.as_str(), 0, 0);
    while let Some((before, after)) = rest.split_once("```sql\n") {
        let (sql, after) = after.split_once("```\n").unwrap();
        let (between, after) = after.split_once("```text\n").unwrap();
        assert_eq!(between, "\n", "an answer follows each query");
        let (_, after) = after.split_once("```").unwrap();
        let answer = answered(&conn, sql);
        questions += 1;
        with_rows += usize::from(answer.contains('\n'));
        written.push_str(&format!("{before}```sql\n{sql}```\n\n```text\n{answer}\n```"));
        rest = after;
    }
    written.push_str(rest);
    assert!(questions >= 20, "{questions}");
    assert!(
        with_rows >= questions - 3,
        "{with_rows} of {questions} have something to show"
    );
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(PAGE, written).unwrap();
    } else {
        assert_eq!(
            written, page,
            "run with UPDATE_DOCS=1 after a change of the example, and look at the difference"
        );
    }
}
