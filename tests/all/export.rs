//! Files of documents, read by the programs that users read them with: DuckDB and pandas.

use std::{
    path::Path,
    process::{Command, Output},
};

use crate::common::Stage;
use chrono::Utc;
use serde_json::{Value, json};
use zoom_harvester::sim::world::{Spec, World};

const HOSTILE: &str = "=HYPERLINK(\"http://evil\",\"x\")\n,\"'; DROP TABLE x; -- \u{202e}漢字";

fn stage() -> Stage {
    let mut world = World::generate(&Spec {
        seed: 31,
        hosts: 5,
        meetings: 40,
        sessions: 200,
        days: 6,
        now: Utc::now(),
    });
    world.meetings[0].topic = HOSTILE.to_owned();
    Stage::new(world, None)
}

fn export(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_zoom-harvester"))
        .arg("export")
        .args(args)
        .env_clear()
        .current_dir(folder)
        .output()
        .unwrap()
}

fn exported(folder: &Path, args: &[&str]) {
    let output = export(folder, args);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The JSON that a Python script prints. `duckdb`, `pandas` and `pyarrow` are available to it.
fn python(folder: &Path, script: &str) -> Value {
    let packages = std::env::var("TABLES_TEST_PYTHONPATH")
        .expect("TABLES_TEST_PYTHONPATH is not set: run ./test, which installs DuckDB and pandas");
    let output = Command::new("python3")
        .args(["-c", script])
        .env("PYTHONPATH", packages)
        .current_dir(folder)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

const DUCKDB: &str = r#"
import duckdb, json
def facts(file):
    read = f"read_csv('{file}', all_varchar=false)" if file.endswith("csv") else f"'{file}'"
    one = lambda sql: duckdb.sql(sql.replace("FILE", read)).fetchall()
    types = {name: kind for name, kind, *_ in one("DESCRIBE SELECT * FROM FILE")}
    return {
        "rows": one("SELECT count(*), count(DISTINCT _id) FROM FILE")[0],
        "seconds": one("SELECT sum(duration) FROM FILE")[0][0],
        "types": {name: types[name].split(" ")[0] for name in ["_version", "duration", "start_time", "topic", "has_video"]},
        "first": str(one("SELECT strftime(min(start_time) AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%SZ') FROM FILE")[0][0]) if file.endswith("parquet") else None,
        "hostile": one("SELECT topic FROM FILE WHERE topic LIKE '%HYPERLINK%'"),
        "missing": one("SELECT count(*) FROM FILE WHERE session_key IS NULL")[0][0],
    }
duckdb.sql("SET TimeZone='UTC'")
print(json.dumps([facts("m.parquet"), facts("m.csv")], default=int))
"#;

const PANDAS: &str = r#"
import json, pandas
p, c = pandas.read_parquet("s.parquet"), pandas.read_csv("s.csv", keep_default_na=False, na_values=[""])
lines = [json.loads(line) for line in open("s.ndjson")]
print(json.dumps({
    "rows": [len(p), len(c), len(lines)],
    "ids": sorted(p["_id"]) == sorted(c["_id"]) == sorted(line["_id"] for line in lines),
    "join_time": str(p["join_time"].dtype),
    "seconds": [int(p["duration"].sum()), int(c["duration"].sum()), sum(line["_source"].get("duration", 0) for line in lines)],
    "same": (pandas.to_datetime(c["join_time"], utc=True, format="ISO8601").dropna().tolist() == p["join_time"].dropna().tolist()),
}))
"#;

#[tokio::test(flavor = "multi_thread")]
async fn duckdb_and_pandas_read_what_the_catalog_holds() {
    let stage = stage();
    stage.sync(stage.days(8)).await;
    let folder = stage.folder.path();
    for file in ["m.parquet", "m.csv", "s.parquet", "s.csv", "s.ndjson"] {
        let (index, format) = file.split_once('.').unwrap();
        let index = if index == "m" { "meetings" } else { "sessions" };
        exported(folder, &["--index", index, "--format", format, "--out", file]);
    }
    let found = python(folder, DUCKDB);
    let seconds = stage.number("SELECT sum(duration_s) FROM meetings");
    let first = stage.texts("SELECT min(start_time) FROM meetings").remove(0);
    for (file, found) in ["parquet", "csv"].into_iter().zip(found.as_array().unwrap()) {
        assert_eq!(found["rows"], json!([40, 40]), "{file}");
        assert_eq!(found["seconds"], json!(seconds), "{file}");
        assert_eq!(found["hostile"], json!([[HOSTILE]]), "{file}");
        assert_eq!(found["types"]["duration"], "BIGINT", "{file}");
        assert_eq!(found["types"]["_version"], "BIGINT", "{file}");
        assert_eq!(found["types"]["start_time"], "TIMESTAMP", "{file}");
        assert_eq!(found["types"]["has_video"], "BOOLEAN", "{file}");
        assert_eq!(found["types"]["topic"], "VARCHAR", "{file}");
    }
    assert_eq!(found[0]["first"], json!(first), "the same moment, in UTC");
    let found = python(folder, PANDAS);
    assert_eq!(found["rows"], json!([200, 200, 200]));
    assert_eq!(
        (&found["ids"], &found["same"]),
        (&json!(true), &json!(true)),
        "{found}"
    );
    assert_eq!(found["join_time"], "datetime64[ms, UTC]");
    assert_eq!(found["seconds"][0], found["seconds"][2], "{found}");
    assert_eq!(found["seconds"][1], found["seconds"][2], "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn export_selects_days_defuses_formulas_and_reports_usage_errors() {
    let stage = stage();
    stage.sync(stage.days(8)).await;
    let folder = stage.folder.path();
    let day = stage
        .texts("SELECT listed_day FROM meetings GROUP BY 1 ORDER BY count(*) DESC")
        .remove(0);
    let wanted = stage.number(&format!(
        "SELECT count(*) FROM meetings WHERE listed_day = '{day}'"
    ));
    let lines = |args: &[&str]| {
        let output = export(folder, args);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    };
    let of_day = lines(&["--index", "meetings", "--from", &day, "--to", &day]);
    assert_eq!(of_day.lines().count() as i64, wanted);
    let all = lines(&["--index", "meetings"]);
    assert_eq!(all.lines().count(), 40);
    let csv = lines(&["--index", "meetings", "--format", "csv", "--defuse-formulas"]);
    assert!(csv.contains("\"'=HYPERLINK(\"\"http"), "{csv}");

    let refused = |args: &[&str], words: &str| {
        let output = export(folder, args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(
            (output.status.code(), said.lines().count()),
            (Some(1), 1),
            "{said}"
        );
        assert!(said.contains(words), "{said}");
    };
    refused(&["--format", "csv"], "say --index meetings or --index sessions");
    refused(&["--format", "xlsx"], "invalid value 'xlsx'");
    refused(&["--defuse-formulas"], "is for --format csv");
    refused(&["--from", "2026-03-02", "--to", "2026-03-01"], "is after");
    refused(
        &["--out", "nowhere/x.ndjson"],
        "nowhere/x.ndjson cannot be written",
    );
    std::fs::write(folder.join("kept.csv"), "mine").unwrap();
    refused(&["--format", "csv", "--out", "kept.csv"], "say --index");
    assert_eq!(std::fs::read_to_string(folder.join("kept.csv")).unwrap(), "mine");
    let left = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let left: Vec<String> = left.filter(|name| name.starts_with("kept.csv.")).collect();
    assert!(left.is_empty(), "{left:?}");
}
