//! Catalogs of every earlier schema, with rows as the program of that version left them, are migrated without loss. If a migration fails, the
//! catalog stays as it was.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use rusqlite::Connection;
use zoom_harvester::catalog::Catalog;

const APPLICATION_ID: i64 = 0x5A48_4152;

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The schema of each version, oldest first.
fn migrations() -> Vec<String> {
    let mut folders: Vec<PathBuf> = fs::read_dir(here("migrations"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    folders.sort();
    let up = folders
        .iter()
        .map(|folder| fs::read_to_string(folder.join("up.sql")).unwrap());
    up.collect()
}

/// A catalog of a version, with the rows that each program up to it left.
fn written_by(version: usize, path: &Path) {
    let conn = Connection::open(path).unwrap();
    conn.execute_batch("PRAGMA foreign_keys = ON").unwrap();
    for (number, up) in (1..=version).zip(migrations()) {
        conn.execute_batch(&up).unwrap();
        let rows = here(&format!("tests/fixtures/migrations/{number:02}.sql"));
        let rows = fs::read_to_string(&rows)
            .unwrap_or_else(|_| panic!("{} is missing: rows as that version leaves them", rows.display()));
        conn.execute_batch(&format!("BEGIN; {rows} COMMIT"))
            .unwrap_or_else(|error| panic!("{number:02}.sql: {error}"));
    }
    conn.pragma_update(None, "application_id", APPLICATION_ID)
        .unwrap();
    conn.pragma_update(None, "user_version", version as i64).unwrap();
}

type Rows = BTreeMap<String, Vec<BTreeMap<String, String>>>;

/// Every row of every table, by the names of its columns.
fn rows(path: &Path) -> Rows {
    let conn = Connection::open(path).unwrap();
    let mut tables = conn
        .prepare("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
        .unwrap();
    let tables: Vec<String> = tables
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let all = |table: String| {
        let key = match table.as_str() {
            "sessions" | "lost_sessions" | "api_use" => "1, 2",
            _ => "1",
        };
        let mut statement = conn
            .prepare(&format!("SELECT * FROM {table} ORDER BY {key}"))
            .unwrap();
        let names: Vec<String> = statement.column_names().iter().map(ToString::to_string).collect();
        let rows = statement
            .query_map([], |row| {
                let value =
                    |(n, name): (usize, &String)| (name.clone(), format!("{:?}", row.get_ref(n).unwrap()));
                Ok(names.iter().enumerate().map(value).collect())
            })
            .unwrap()
            .map(Result::unwrap)
            .collect();
        (table, rows)
    };
    tables.into_iter().map(all).collect()
}

fn schema(path: &Path) -> (i64, Vec<(String, String)>) {
    let conn = Connection::open(path).unwrap();
    let version = conn
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .unwrap();
    let mut all = conn
        .prepare("SELECT type || ' ' || name, coalesce(sql, '') FROM sqlite_master ORDER BY 1")
        .unwrap();
    let all = all.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    (version, all.map(Result::unwrap).collect())
}

/// Asserts that nothing of `before` is missing from `after`, which may have more columns and tables.
fn nothing_lost(before: &Rows, after: &Rows) {
    for (table, rows) in before {
        let now = &after[table];
        assert_eq!(now.len(), rows.len(), "{table}");
        for (old, new) in rows.iter().zip(now) {
            for (column, value) in old {
                // Documents in a newer form are due again.
                if table == "meetings"
                    && ["document_checksum", "revision", "status"].contains(&column.as_str())
                    || column == "document_form"
                {
                    continue;
                }
                assert_eq!(&new[column], value, "{table}.{column}");
            }
        }
    }
}

fn is_sound(path: &Path) {
    for check in Catalog::open_read_only(path).unwrap().check().unwrap() {
        assert_eq!(check.flaws, [], "{}", check.name);
    }
}

#[test]
fn each_schema_version_migrates_without_loss() {
    let folder = tempfile::tempdir().unwrap();
    let fresh = folder.path().join("fresh.db");
    drop(Catalog::open(&fresh).unwrap());
    let latest = migrations().len();
    assert_eq!(latest as i64, Catalog::schema_version());
    for version in 1..=latest {
        let path = folder.path().join(format!("{version}.db"));
        written_by(version, &path);
        let before = rows(&path);
        for table in before.keys() {
            assert!(
                version < latest || !before[table].is_empty(),
                "no sample rows in {table}"
            );
        }
        drop(Catalog::open(&path).unwrap());
        nothing_lost(&before, &rows(&path));
        assert_eq!(schema(&path), schema(&fresh), "version {version}");
        is_sound(&path);
        // Opening it once more changes nothing.
        let before = rows(&path);
        drop(Catalog::open(&path).unwrap());
        assert_eq!(rows(&path), before);
    }
}

/// `tests/fixtures/catalogs` has the file that each released program wrote, as it wrote it.
#[test]
fn a_catalog_written_by_each_released_version_still_opens() {
    let folder = tempfile::tempdir().unwrap();
    let mut seen = 0;
    for entry in fs::read_dir(here("tests/fixtures/catalogs")).unwrap() {
        let file = entry.unwrap().path();
        assert!(fs::metadata(&file).unwrap().len() < 200_000, "{}", file.display());
        let path = folder.path().join(file.file_name().unwrap());
        fs::copy(&file, &path).unwrap();
        let before = rows(&path);
        let older = schema(&path).0 < Catalog::schema_version();
        assert_eq!(
            Catalog::open_read_only(&path).is_err(),
            older,
            "read only, nothing is changed"
        );
        assert_eq!(rows(&path), before);
        let catalog = Catalog::open(&path).unwrap();
        let kept = catalog.kept_after(None, 1_000, usize::MAX).unwrap();
        assert!(!kept.is_empty());
        assert!(
            !catalog
                .due_documents(false, &Default::default(), &Default::default(), 1_000, usize::MAX)
                .unwrap()
                .is_empty()
        );
        drop(catalog);
        nothing_lost(&before, &rows(&path));
        is_sound(&path);
        seen += 1;
    }
    assert!(seen > 0);
}

/// The migration of a file whose creation was killed fails, because of what the file already holds or because there is no room.
#[test]
fn a_migration_that_fails_leaves_the_old_schema_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("harvester.db");
    let program = |limit: &str, args: &[&str]| {
        let output = Command::new("sh")
            .args(["-c", "trap '' XFSZ; exec prlimit --fsize=\"$0\" \"$@\"", limit])
            .arg(env!("CARGO_BIN_EXE_zoom-harvester"))
            .args(["--db", "harvester.db"])
            .args(args)
            // Nothing answers there: the catalog is opened before any request.
            .envs(["ZOOM_ACCOUNT_ID", "ZOOM_CLIENT_ID", "ZOOM_CLIENT_SECRET"].map(|name| (name, "nobody")))
            .envs(["ZOOM_API_URL", "ZOOM_OAUTH_URL"].map(|name| (name, "http://127.0.0.1:9")))
            .env("ZOOM_RETRIES", "0")
            .current_dir(folder.path())
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), stderr)
    };
    let as_it_was = |code: i32, word: &str, limit: &str| {
        let before = (schema(&path), rows(&path));
        let (found, stderr) = program(limit, &["sync"]);
        assert_eq!(found, Some(code), "{stderr}");
        assert!(stderr.contains(word) && stderr.lines().count() == 1, "{stderr}");
        assert_eq!((schema(&path), rows(&path)), before);
        assert_eq!(before.0.0, 0);
    };
    let conn = Connection::open(&path).unwrap();
    conn.pragma_update(None, "application_id", APPLICATION_ID)
        .unwrap();
    conn.execute_batch("CREATE TABLE notes (note TEXT); INSERT INTO notes VALUES ('somebody')")
        .unwrap();
    conn.execute_batch("CREATE TABLE backups (ours TEXT); INSERT INTO backups VALUES ('somebody was here')")
        .unwrap();
    as_it_was(70, "stays as it was: table backups already exists", "unlimited");
    conn.execute_batch("DROP TABLE backups").unwrap();

    // The write-ahead log is as large as the limit, so the migration's first page is one too many.
    conn.execute_batch("PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0")
        .unwrap();
    for _ in 0..40 {
        conn.execute_batch("UPDATE notes SET note = note || '.'").unwrap();
    }
    let log = fs::metadata(folder.path().join("harvester.db-wal"))
        .unwrap()
        .len();
    assert!(log > 100_000);
    as_it_was(3, "cannot be read or written", &log.to_string());
    drop(conn);

    // With room, the same file is migrated, and the run continues until Zoom fails.
    let (code, stderr) = program("unlimited", &["sync"]);
    assert_eq!(code, Some(3), "{stderr}");
    assert_eq!(schema(&path).0, Catalog::schema_version());
    is_sound(&path);
}
