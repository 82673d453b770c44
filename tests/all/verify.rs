//! `verify`: every kind of damage to an index is found, named and repaired. Documents that are only late are not reported as damage.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::common::{ENGINES, ElasticStage, Stage};
use assert_cmd::Command;
use axum::{Router, body::Body, extract::Request, response::Response};
use chrono::{Days, TimeDelta, Utc};
use serde_json::{Value, json};
use zoom_harvester::{
    catalog::{Catalog, Repaired},
    elastic::Elastic,
    model::{IndexKind, IndexYear, MeetingUuid},
    sim::{
        faults::FaultPlan,
        world::{Spec, World},
    },
    sync::{Difference, DifferenceKind, Ending, Error, Observer, Progress, Remedy, Scope, Verified, verify},
};

const REPAIR: Remedy = Remedy::Repair { drop_unknown: false };
const REPAIR_AND_DROP: Remedy = Remedy::Repair { drop_unknown: true };

fn small() -> World {
    World::generate(&Spec {
        seed: 5,
        hosts: 12,
        meetings: 120,
        sessions: 700,
        days: 10,
        now: Utc::now(),
    })
}

/// Keeps the differences that were reported.
#[derive(Default)]
struct Told(Mutex<Vec<Difference>>);

impl Observer for Told {
    fn see(&self, progress: Progress<'_>) {
        if let Progress::Differs(difference) = progress {
            self.0.lock().unwrap().push(difference.clone());
        }
    }
}

async fn try_verify(
    stage: &Stage,
    elastic: &Elastic,
    remedy: Remedy,
) -> (Result<Verified, Error>, Vec<Difference>) {
    let mut catalog = Catalog::open(&stage.db()).unwrap();
    let told = Told::default();
    let (_keep, cancel) = tokio::sync::watch::channel(false);
    let clock = stage.clock.clock();
    let verified = verify(&mut catalog, elastic, remedy, &clock, &told, cancel).await;
    (verified, told.0.into_inner().unwrap())
}

async fn verified(stage: &Stage, remedy: Remedy) -> (Verified, Vec<Difference>) {
    let (verified, told) = try_verify(stage, &stage.es().client(), remedy).await;
    (verified.unwrap(), told)
}

async fn publish(stage: &Stage) {
    stage.sim.clear_log();
    let summary = stage.run(Scope::Nothing, false, true).await;
    assert_eq!((summary.documents_due, stage.sim.log().len()), (0, 0));
}

fn encoded(id: &str) -> String {
    percent_encoding::utf8_percent_encode(id, percent_encoding::NON_ALPHANUMERIC).to_string()
}

async fn put(es: &ElasticStage, kind: &str, id: &str, version: i64, source: &Value) {
    let path = format!(
        "/PREFIX-{kind}/_doc/{}?version={version}&version_type=external_gte",
        encoded(id)
    );
    let answer = es.call("PUT", &path, Some(source.clone())).await;
    assert!(answer["result"].is_string(), "{answer}");
}

async fn delete(es: &ElasticStage, kind: &str, id: &str) {
    let answer = es
        .call("DELETE", &format!("/PREFIX-{kind}/_doc/{}", encoded(id)), None)
        .await;
    assert_eq!(answer["result"], "deleted", "{answer}");
}

fn with(source: &Value, field: &str, value: Value) -> Value {
    let mut source = source.clone();
    source[field] = value;
    source
}

fn without(source: &Value, fields: &[&str]) -> Value {
    let mut source = source.clone();
    for field in fields {
        source.as_object_mut().unwrap().remove(*field);
    }
    source
}

type Found = (DifferenceKind, &'static str, Option<String>, String);

fn found(told: Vec<Difference>) -> BTreeSet<Found> {
    let count = told.len();
    let found: BTreeSet<Found> = told
        .into_iter()
        .map(|one| (one.kind, one.index, one.meeting, one.id))
        .collect();
    assert_eq!(found.len(), count, "a difference was told twice");
    found
}

/// The meetings whose documents are due, found by SQL and not by the program's own count.
fn due(stage: &Stage) -> BTreeSet<String> {
    let conn = rusqlite::Connection::open(stage.db()).unwrap();
    let mut select = conn
        .prepare(
            "SELECT meeting_uuid FROM meetings WHERE document_checksum IS NOT indexed_checksum OR status <> 'indexed'",
        )
        .unwrap();
    let rows = select.query_map([], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

/// Every table, row by row.
fn dump(stage: &Stage) -> Vec<String> {
    let conn = rusqlite::Connection::open(stage.db()).unwrap();
    let mut tables = conn
        .prepare("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
        .unwrap();
    let names: Vec<String> = tables
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let mut all = Vec::new();
    for name in names {
        let mut select = conn.prepare(&format!("SELECT * FROM \"{name}\"")).unwrap();
        let columns = select.column_count();
        let mut rows = select.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let row: Vec<String> = (0..columns)
                .map(|n| format!("{:?}", row.get_ref(n).unwrap()))
                .collect();
            all.push(format!("{name} {}", row.join("|")));
        }
    }
    all
}

/// Damages a different meeting in each way. Returns what must be found, and which meetings a repair must make due.
async fn damage(stage: &Stage, twins: &str) -> (BTreeSet<Found>, BTreeSet<String>) {
    use DifferenceKind::{Content, Extra, Misplaced, Missing, Unknown, Version};
    let es = stage.es();
    let (meetings, sessions) = (es.all("meetings").await, es.all("sessions").await);
    let of = |uuid: &str| -> Vec<(String, i64, Value)> {
        sessions
            .iter()
            .filter(|(_, (_, source))| source["meeting"] == uuid)
            .map(|(id, (version, source))| (id.clone(), *version, source.clone()))
            .collect()
    };
    let mut victims = meetings
        .iter()
        .filter(|(uuid, _)| uuid.as_str() != twins && of(uuid).len() > 1)
        .map(|(uuid, (version, source))| (uuid.clone(), *version, source.clone()));
    let mut expected: BTreeSet<Found> = BTreeSet::new();
    let mut repaired: BTreeSet<String> = BTreeSet::new();
    let mut expect = |kind, index, meeting: Option<&str>, id: &str, repairs: Option<&str>| {
        expected.insert((kind, index, meeting.map(str::to_owned), id.to_owned()));
        repaired.extend(repairs.map(str::to_owned));
    };
    let far = 1_000_000_000_000;

    let (m, ..) = victims.next().unwrap();
    delete(es, "meetings", &m).await;
    expect(Missing, "meetings", Some(&m), &m, Some(&m));

    let (m, ..) = victims.next().unwrap();
    delete(es, "sessions", &of(&m)[0].0).await;
    expect(Missing, "sessions", Some(&m), &of(&m)[0].0, Some(&m));

    // Sessions with the same meeting, participant and join time, of which one is missing.
    let alike = of(twins);
    delete(es, "sessions", &alike[1].0).await;
    expect(Missing, "sessions", Some(twins), &alike[1].0, Some(twins));

    let (m, version, source) = victims.next().unwrap();
    put(
        es,
        "meetings",
        &m,
        version,
        &with(&source, "topic", json!("forged")),
    )
    .await;
    expect(Content, "meetings", Some(&m), &m, Some(&m));

    let (m, ..) = victims.next().unwrap();
    let (id, version, source) = of(&m)[1].clone();
    put(
        es,
        "sessions",
        &id,
        version,
        &with(&source, "user_name", json!("somebody")),
    )
    .await;
    expect(Content, "sessions", Some(&m), &id, Some(&m));

    // Higher versions: the harvester's next write would lose if it did not use a still higher one.
    let (m, version, source) = victims.next().unwrap();
    put(
        es,
        "meetings",
        &m,
        version + far,
        &with(&source, "topic", json!("later")),
    )
    .await;
    expect(Version, "meetings", Some(&m), &m, Some(&m));

    let (m, ..) = victims.next().unwrap();
    let (id, version, source) = of(&m)[0].clone();
    put(es, "sessions", &id, version + far, &source).await;
    expect(Version, "sessions", Some(&m), &id, Some(&m));

    let (m, ..) = victims.next().unwrap();
    let (_, version, source) = of(&m)[0].clone();
    let id = "0123456789abcdef0123456789abcdef";
    put(
        es,
        "sessions",
        id,
        version + far,
        &with(&source, "session_id", json!(id)),
    )
    .await;
    expect(Extra, "sessions", Some(&m), id, Some(&m));

    let (m, ..) = victims.next().unwrap();
    let (_, version, source) = of(&m)[0].clone();
    put(es, "sessions", "under a wrong id", version, &source).await;
    expect(Extra, "sessions", Some(&m), "under a wrong id", Some(&m));

    let (m, version, source) = victims.next().unwrap();
    put(es, "meetings", "wrong/id", version, &source).await;
    expect(Unknown, "meetings", Some(&m), "wrong/id", None);

    let (_, version, source) = victims.next().unwrap();
    let strange = "UnexpectedValue/+A==";
    put(
        es,
        "meetings",
        strange,
        version,
        &with(&source, "uuid", json!(strange)),
    )
    .await;
    expect(Unknown, "meetings", Some(strange), strange, None);
    put(
        es,
        "sessions",
        "of-a-stranger",
        1,
        &json!({"meeting": strange, "session_id": "of-a-stranger"}),
    )
    .await;
    expect(Unknown, "sessions", Some(strange), "of-a-stranger", None);

    // Documents without the fields that they are found by.
    let (m, version, source) = victims.next().unwrap();
    put(es, "meetings", &m, version + far, &without(&source, &["uuid"])).await;
    expect(Misplaced, "meetings", Some(&m), &m, Some(&m));

    let (m, ..) = victims.next().unwrap();
    let (id, version, source) = of(&m)[0].clone();
    put(
        es,
        "sessions",
        &id,
        version,
        &without(&source, &["session_id", "meeting"]),
    )
    .await;
    expect(Misplaced, "sessions", Some(&m), &id, Some(&m));

    let (m, ..) = victims.next().unwrap();
    let (id, version, source) = of(&m)[0].clone();
    put(es, "sessions", &id, version, &without(&source, &["session_id"])).await;
    expect(Misplaced, "sessions", Some(&m), &id, Some(&m));

    for (n, kind) in [(1, "meetings"), (2, "meetings"), (3, "meetings"), (4, "sessions")] {
        put(
            es,
            kind,
            &format!("nobody's {n}"),
            1,
            &json!({"topic": "of no meeting"}),
        )
        .await;
        expect(Unknown, kind, None, &format!("nobody's {n}"), None);
    }

    // A session that says it belongs to another meeting. It does not count as extra there, and is not deleted there.
    let ((m, ..), (other, ..)) = (victims.next().unwrap(), victims.next().unwrap());
    let (id, version, source) = of(&m)[0].clone();
    put(
        es,
        "sessions",
        &id,
        version,
        &with(&source, "meeting", json!(other)),
    )
    .await;
    expect(Misplaced, "sessions", Some(&m), &id, Some(&m));

    let ((m, version, source), (other, ..)) = (victims.next().unwrap(), victims.next().unwrap());
    put(es, "meetings", &m, version, &with(&source, "uuid", json!(other))).await;
    expect(Misplaced, "meetings", Some(&m), &m, Some(&m));
    (expected, repaired)
}

async fn every_damage_is_found_and_repaired(variable: &str) {
    let stage = Stage::new(small(), Some(variable));
    // A participant with two sessions that are equal in all that their ids are made of.
    let twins = stage.sim.with_world(|world| {
        let uuid = world.add_meeting(1, Utc::now() - TimeDelta::days(3), 30, 1);
        let meeting = world.meeting_mut(&uuid).unwrap();
        let mut twin = meeting.sessions[0].clone();
        // Rows that are equal in every field would be one session.
        twin.row.insert("device".to_owned(), json!("Phone"));
        meeting.sessions.push(twin);
        uuid
    });
    assert_eq!(stage.sync(stage.days(11)).await.ending, Ending::Done);
    let (clean, told) = verified(&stage, Remedy::Tell).await;
    assert_eq!((clean.equal, told.len()), (true, 0), "{clean:?} {told:?}");
    assert_eq!((clean.compared.meetings, clean.compared.sessions), (121, 702));

    let (expected, repaired) = damage(&stage, &twins).await;
    let before = dump(&stage);
    let (damaged, told) = verified(&stage, Remedy::Tell).await;
    assert_eq!(found(told), expected);
    assert_eq!(
        (damaged.equal, damaged.differences()),
        (false, expected.len() as u64)
    );
    assert_eq!(dump(&stage), before, "looking changes nothing");

    let (damaged, told) = verified(&stage, REPAIR).await;
    assert_eq!(found(told), expected);
    let done = Repaired {
        due: repaired.len() as u64,
        lost: 2,
        ..Repaired::default()
    };
    assert_eq!((damaged.equal, damaged.repaired), (false, Some(done)));
    assert_eq!(due(&stage), repaired, "exactly those");

    // Before anything is sent, due documents are no longer differences, but the index does not count as equal.
    let (waiting, _) = verified(&stage, Remedy::Tell).await;
    assert_eq!((waiting.due, waiting.equal), (repaired.len() as u64, false));
    assert_eq!(waiting.differences(), waiting.unknown.total(), "{waiting:?}");

    publish(&stage).await;
    let (published, told) = verified(&stage, Remedy::Tell).await;
    let unknown: BTreeSet<Found> = expected
        .into_iter()
        .filter(|(kind, ..)| *kind == DifferenceKind::Unknown)
        .collect();
    assert_eq!((found(told), published.due), (unknown.clone(), 0));

    let (dropped, _) = verified(&stage, REPAIR_AND_DROP).await;
    let done = Repaired {
        dropped: unknown.len() as u64,
        ..Repaired::default()
    };
    assert_eq!(dropped.repaired, Some(done));
    assert_eq!(due(&stage), BTreeSet::new());
    let (equal, told) = verified(&stage, Remedy::Tell).await;
    assert_eq!((equal, told), (clean, Vec::new()));
    stage.assert_index_is_the_account().await;
}

#[tokio::test]
async fn every_damage_is_found_and_repaired_on_elasticsearch() {
    every_damage_is_found_and_repaired(ENGINES[0]).await;
}

#[tokio::test]
async fn every_damage_is_found_and_repaired_on_opensearch() {
    every_damage_is_found_and_repaired(ENGINES[1]).await;
}

#[tokio::test]
async fn missing_or_empty_indices_are_reported_and_published_again() {
    for variable in ENGINES {
        let stage = Stage::new(small(), Some(variable));
        stage.sync(stage.days(11)).await;
        for kind in ["meetings", "sessions"] {
            stage
                .es()
                .call("DELETE", &format!("/PREFIX-{kind}-ACCOUNT-000001"), None)
                .await;
        }
        let (gone, told) = verified(&stage, REPAIR).await;
        assert_eq!(
            (gone.missing.meetings, gone.missing.sessions, told.len()),
            (120, 700, 820)
        );
        assert_eq!((gone.no_index.len(), gone.repaired.unwrap().due), (2, 120));
        let indices = stage.es().call("GET", "/PREFIX-*/_alias", None).await;
        assert_eq!(indices, json!({}), "looking makes no index");
        publish(&stage).await;
        assert!(verified(&stage, Remedy::Tell).await.0.equal);

        // The indices are emptied, one document after another.
        for kind in ["meetings", "sessions"] {
            let lines: String = stage
                .es()
                .all(kind)
                .await
                .keys()
                .map(|id| format!("{}\n", json!({"delete": {"_id": id}})))
                .collect();
            let answer = reqwest::Client::builder()
                .no_proxy()
                .build()
                .unwrap()
                .post(format!("{}/{}-{kind}/_bulk", stage.es().url, stage.es().prefix))
                .header("content-type", "application/x-ndjson")
                .body(lines)
                .send()
                .await
                .unwrap();
            assert_eq!(answer.status(), 200);
        }
        let (empty, _) = verified(&stage, REPAIR).await;
        assert_eq!((empty.missing.total(), empty.differences()), (820, 820));
        publish(&stage).await;
        assert!(verified(&stage, Remedy::Tell).await.0.equal);
        stage.assert_index_is_the_account().await;
    }
}

#[tokio::test]
async fn due_and_rejected_documents_are_not_equal_but_no_difference() {
    let stage = Stage::new(small(), Some(ENGINES[0]));
    stage.sync(stage.days(11)).await;
    // Some changed, some lost a session, one is new; all of it in the catalog only.
    stage.sim.with_world(|world| {
        let long: Vec<String> = world
            .meetings
            .iter()
            .filter(|one| one.sessions.len() > 3)
            .map(|one| one.uuid.clone())
            .take(6)
            .collect();
        long.iter().take(3).for_each(|uuid| world.remove_session(uuid));
        long.iter().skip(3).for_each(|uuid| world.extend(uuid, 2));
        world.add_meeting(2, Utc::now() - TimeDelta::days(2), 30, 4);
    });
    stage.run(stage.days(11), true, false).await;
    let (late, told) = verified(&stage, REPAIR).await;
    assert_eq!((late.equal, late.due, told.len()), (false, 7, 0), "{told:?}");
    assert_eq!(late.repaired, Some(Repaired::default()));

    // Elasticsearch refuses one of them for its content.
    let mut catalog = Catalog::open(&stage.db()).unwrap();
    let one = catalog
        .due_documents(false, &Default::default(), &Default::default(), 1, usize::MAX)
        .unwrap()
        .remove(0);
    catalog
        .reject(
            &one.uuid,
            &one.document_checksum,
            "rejected by Elasticsearch: poison",
        )
        .unwrap();
    drop(catalog);
    publish(&stage).await;
    let (refused, told) = verified(&stage, Remedy::Tell).await;
    assert_eq!(
        (refused.equal, refused.due, refused.rejected, told.len()),
        (false, 0, 1, 0)
    );
    Catalog::open(&stage.db()).unwrap().retry().unwrap();
    publish(&stage).await;
    assert!(verified(&stage, Remedy::Tell).await.0.equal);
}

#[tokio::test]
async fn verify_finds_everything_equal_after_a_clean_sync() {
    let stage = Stage::new(small(), Some(ENGINES[0]));
    stage.sync(stage.days(11)).await;
    // A meeting vanishes, and comes back with other scores than its document shows.
    let mut away = stage.sim.with_world(|world| world.meetings.remove(50));
    stage.sync(stage.days(11)).await;
    away.quality = "poor".into();
    // A meeting changes, but its new detail is gone: the old documents stay.
    let lost = stage.sim.with_world(|world| {
        world.meetings.push(away);
        let uuid = world.meetings[20].uuid.clone();
        world.extend(&uuid, 5);
        uuid
    });
    let rules = json!([{"endpoint": "detail", "uuid": lost, "action": {"answer": {"status": 404,
        "body": "{\"code\": 3001, \"message\": \"Meeting does not exist\"}"}}}]);
    stage
        .sim
        .set_faults(FaultPlan::from_json(&rules.to_string()).unwrap());
    let summary = stage.sync(stage.days(11)).await;
    assert_eq!(summary.ending, Ending::Done, "{:?}", summary.message);
    let status = format!("SELECT count(*) FROM meetings WHERE status = 'gone' AND meeting_uuid = '{lost}'");
    assert_eq!(stage.number(&status), 1);
    let (clean, told) = verified(&stage, Remedy::Tell).await;
    assert!(clean.equal, "{clean:?} {told:?}");

    // The content of such a meeting cannot be checked, but its presence and its version can.
    delete(stage.es(), "meetings", &lost).await;
    let (_, told) = verified(&stage, REPAIR).await;
    assert_eq!(told.len(), 1);
    assert_eq!(
        (told[0].kind, told[0].id.as_str()),
        (DifferenceKind::Missing, lost.as_str())
    );
    publish(&stage).await;
    assert!(verified(&stage, Remedy::Tell).await.0.equal);
}

/// How searches fail, counted from 1.
#[derive(Clone, Copy)]
enum Broken {
    Never,
    /// From this one on, 503.
    From(usize),
    /// This one's answer lacks a document.
    Lacking(usize),
    /// A part of the index did not answer this one.
    Partly(usize),
}

/// A proxy that passes everything on, except that searches may fail.
async fn breaking(target: &str, broken: Broken) -> (String, Arc<AtomicUsize>) {
    let searches = Arc::new(AtomicUsize::new(0));
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let (target, count) = (target.to_owned(), Arc::clone(&searches));
    let pass = move |request: Request| {
        let (target, count, http) = (target.clone(), Arc::clone(&count), http.clone());
        async move {
            let (parts, body) = request.into_parts();
            let search = parts.uri.path().ends_with("_search");
            let nth = if search {
                count.fetch_add(1, Ordering::SeqCst) + 1
            } else {
                0
            };
            if matches!(broken, Broken::From(from) if nth >= from) {
                return Response::builder().status(503).body(Body::from("down")).unwrap();
            }
            let mut headers = parts.headers;
            headers.remove("host");
            let answer = http
                .request(parts.method, format!("{target}{}", parts.uri))
                .headers(headers)
                .body(axum::body::to_bytes(body, usize::MAX).await.unwrap())
                .send()
                .await
                .unwrap();
            let status = answer.status();
            let mut bytes = answer.bytes().await.unwrap().to_vec();
            let mut edit = |edit: fn(&mut Value)| {
                let mut body = serde_json::from_slice(&bytes).unwrap();
                edit(&mut body);
                bytes = body.to_string().into_bytes();
            };
            match broken {
                Broken::Lacking(at) if at == nth => edit(|body| {
                    body["hits"]["hits"].as_array_mut().unwrap().remove(0);
                }),
                Broken::Partly(at) if at == nth => edit(|body| body["_shards"]["failed"] = json!(1)),
                _ => {}
            }
            Response::builder()
                .status(status)
                .body(Body::from(bytes))
                .unwrap()
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(pass)).await });
    (url, searches)
}

#[tokio::test]
async fn verify_reads_in_pages_and_repairs_nothing_after_half_a_reading() {
    let stage = Stage::new(small(), Some(ENGINES[0]));
    stage.sync(stage.days(11)).await;
    let through = |url: String| {
        let settings = zoom_harvester::elastic::Settings {
            urls: vec![url],
            ..stage.es().settings()
        };
        Elastic::new(settings).unwrap()
    };
    // 120 meetings are one page; 700 sessions are one of 500, and one of the rest.
    let (url, searches) = breaking(&stage.es().url, Broken::Never).await;
    let (whole, _) = try_verify(&stage, &through(url), Remedy::Tell).await;
    assert!(whole.unwrap().equal);
    assert_eq!(searches.load(Ordering::SeqCst), 3);

    // A meeting is missing, and the reading stops: before the meeting is found, after it, or in the middle of the sessions.
    let meeting = stage.es().all("meetings").await.into_keys().next().unwrap();
    delete(stage.es(), "meetings", &meeting).await;
    let before = dump(&stage);
    for nth in 1..=3 {
        for (broken, word) in [
            (Broken::From(nth), "503"),
            (Broken::Lacking(nth), "it changed while it was read"),
            (Broken::Partly(nth), "a part of the index did not answer"),
        ] {
            let (url, _) = breaking(&stage.es().url, broken).await;
            let (half, _) = try_verify(&stage, &through(url), REPAIR_AND_DROP).await;
            let error = half.unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
            assert_eq!(dump(&stage), before, "{word} at search {nth}");
        }
    }
}

#[tokio::test]
async fn documents_with_equal_sort_keys_are_each_read_once() {
    // With three shards, documents without keys get equal sequence numbers in groups of three, and the first page of 500 splits a group.
    for variable in ENGINES {
        let stage = Stage::new(small(), Some(variable));
        let settings = zoom_harvester::elastic::Settings {
            shards: Some(3),
            ..stage.es().settings()
        };
        let elastic = Elastic::new(settings).unwrap();
        elastic.ensure(IndexYear::ALL).await.unwrap();
        let lines: String = (0..1_203)
            .map(|n| {
                format!(
                    "{}\n{}\n",
                    json!({"index": {"_id": format!("{n}")}}),
                    json!({"topic": "x"})
                )
            })
            .collect();
        let answer = reqwest::Client::builder()
            .no_proxy()
            .build()
            .unwrap()
            .post(format!("{}/{}-sessions/_bulk", stage.es().url, stage.es().prefix))
            .header("content-type", "application/x-ndjson")
            .body(lines)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
        let reading = elastic.begin_reading(IndexYear::ALL).await.unwrap();
        let mut scan = elastic.scan(&reading, IndexKind::Sessions);
        let mut ids = Vec::new();
        loop {
            let page = scan.page().await.unwrap();
            if page.is_empty() {
                break;
            }
            ids.extend(page.into_iter().map(|held| held.id));
        }
        assert_eq!(ids.len(), 1_203);
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 1_203);
    }
}

#[tokio::test]
async fn a_document_version_too_high_to_overwrite_is_reported() {
    let stage = Stage::new(small(), Some(ENGINES[0]));
    stage.sync(stage.days(11)).await;
    let (uuid, (_, source)) = stage.es().all("meetings").await.into_iter().next().unwrap();
    put(stage.es(), "meetings", &uuid, i64::MAX - 1, &source).await;
    let (found, _) = verified(&stage, REPAIR).await;
    let repaired = found.repaired.unwrap();
    assert_eq!((repaired.due, repaired.beyond), (0, 1));
    assert_eq!(due(&stage), BTreeSet::new());
}

fn command(stage: &Stage, args: &[&str]) -> Command {
    let mut command = Command::cargo_bin("zoom-harvester").unwrap();
    command
        .env_clear()
        .current_dir(stage.folder.path())
        .envs(stage.environment())
        .env("ZOOM_RATE_SHARE", "1")
        .env("ZOOM_RETRY_MS", "10")
        .env("ELASTICSEARCH_RETRIES", "0")
        .args(args);
    if let Some(es) = &stage.elastic {
        command
            .env("ELASTICSEARCH_URL", &es.url)
            .env("ELASTICSEARCH_INDEX_PREFIX", &es.prefix);
    }
    command
}

fn said(stage: &Stage, args: &[&str]) -> (i32, String, String) {
    let output = command(stage, args).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_reports_repairs_and_exits_as_documented() {
    let stage = Stage::new(small(), Some(ENGINES[0]));
    stage.sync(stage.days(11)).await;
    let (code, out, err) = said(&stage, &["verify"]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("120 meetings, 700 sessions"), "{out}");
    assert!(err.contains("documents compared: 820 done, 0 due"), "{err}");

    let (uuid, (version, source)) = stage.es().all("meetings").await.into_iter().next().unwrap();
    let forged = with(&source, "topic", json!("\u{1b}[2J"));
    put(stage.es(), "meetings", &uuid, version, &forged).await;
    put(
        stage.es(),
        "sessions",
        "\u{1b}[2Jx",
        1,
        &json!({"meeting": "\u{202e}y"}),
    )
    .await;
    // Output that cannot be written is no success. Output that nobody reads to its end does not change the exit code.
    for (sink, code) in [("/dev/full", 3), ("| head -c 1", 2)] {
        let program = env!("CARGO_BIN_EXE_zoom-harvester");
        let script = match sink.strip_prefix('|') {
            Some(reader) => format!("{{ \"{program}\" verify; echo $? >ended; }} |{reader} >/dev/null"),
            None => format!("\"{program}\" verify >{sink}; echo $? >ended"),
        };
        let mut shell = std::process::Command::new("sh");
        shell
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("ELASTICSEARCH_URL", &stage.es().url)
            .env("ELASTICSEARCH_INDEX_PREFIX", &stage.es().prefix)
            .current_dir(stage.folder.path())
            .args(["-c", &script]);
        shell.output().unwrap();
        let ended = std::fs::read_to_string(stage.folder.path().join("ended")).unwrap();
        assert_eq!(ended.trim(), code.to_string(), "{sink}");
    }
    let runs = stage.number("SELECT count(*) FROM runs");
    let (code, out, err) = said(&stage, &["verify"]);
    assert_eq!(code, 2, "{out}{err}");
    assert!(
        out.contains(&format!("different  meeting {uuid}: its content\n")),
        "{out}"
    );
    assert!(
        out.contains("unknown    session \u{fffd}[2Jx of meeting \u{fffd}y"),
        "{out}"
    );
    assert!(out.contains("not equal"), "{out}");
    assert_eq!(stage.number("SELECT count(*) FROM runs"), runs);

    let (code, out, _) = said(&stage, &["verify", "--json"]);
    let lines: Vec<Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!((code, lines.len()), (2, 3));
    assert_eq!(
        (&lines[0]["difference"], &lines[0]["meeting"]),
        (&json!("content"), &json!(uuid))
    );
    assert_eq!(
        lines[2]["summary"]["content"],
        json!({"meetings": 1, "sessions": 0})
    );

    let (code, out, err) = said(&stage, &["verify", "--repair", "--drop-unknown"]);
    assert_eq!(code, 2, "{out}{err}");
    assert!(out.contains("1 meetings are due again"), "{out}");
    assert!(out.contains("1 unknown documents"), "{out}");
    let noted =
        "SELECT count(*) FROM runs WHERE command = 'verify' AND exit_code = 2 AND message IS NOT NULL";
    assert_eq!(stage.number(noted), 1);
    let (code, out, _) = said(&stage, &["verify"]);
    assert!(code == 2 && out.contains("run `zoom-harvester publish`"), "{out}");
    assert_eq!(said(&stage, &["publish"]).0, 0);
    assert_eq!(said(&stage, &["verify"]).0, 0);

    // What it must refuse.
    let holder = zoom_harvester::catalog::Lock::acquire(&stage.db(), "a test").unwrap();
    assert_eq!(said(&stage, &["verify"]).0, 4);
    drop(holder);
    // A process that another test is starting has copies of this one's files, and so the lock, until its exec.
    let begun = std::time::Instant::now();
    while zoom_harvester::catalog::Lock::acquire(&stage.db(), "a test").is_err() {
        assert!(
            begun.elapsed() < std::time::Duration::from_secs(10),
            "the lock stays"
        );
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert_eq!(said(&stage, &["verify", "--drop-unknown"]).0, 1);
    assert_eq!(said(&stage, &["verify", "--from", "2026-01-01"]).0, 1);
    let without = command(&stage, &["verify"])
        .env_remove("ELASTICSEARCH_URL")
        .output()
        .unwrap();
    assert_eq!(without.status.code(), Some(1));
    let away = command(&stage, &["verify", "--repair"])
        .env("ELASTICSEARCH_URL", "http://127.0.0.1:9")
        .output()
        .unwrap();
    assert_eq!(away.status.code(), Some(3), "{away:?}");
    assert_eq!(due(&stage), BTreeSet::new());
}

#[test]
fn verify_zoom_names_each_meeting_and_records_nothing() {
    let stage = Stage::new(small(), None);
    let from = (Utc::now().date_naive() - Days::new(10)).to_string();
    assert_eq!(
        said(&stage, &["verify", "--zoom"]).0,
        1,
        "there is no catalog yet"
    );
    assert_eq!(said(&stage, &["sync", "--from", &from]).0, 0);
    let (code, out, err) = said(&stage, &["verify", "--zoom"]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(
        out.contains("120 meetings") && out.contains("as the catalog knows it"),
        "{out}"
    );

    let (new, longer, renamed, gone) = stage.sim.with_world(|world| {
        let now = Utc::now();
        let new = world.add_meeting(1, now - TimeDelta::days(4), 30, 3);
        let longer = world.meetings[10].uuid.clone();
        world.extend(&longer, 3);
        world.meetings[20].topic.push_str(" again");
        let renamed = world.meetings[20].uuid.clone();
        (new, longer, renamed, world.meetings.remove(30).uuid)
    });
    stage.sim.clear_log();
    let before = dump(&stage);
    let (code, out, _) = said(&stage, &["verify", "--zoom", "--json"]);
    assert_eq!(code, 2, "{out}");
    let lines: Vec<Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let differing: BTreeSet<(&str, &str)> = lines
        .iter()
        .filter_map(|line| Some((line["difference"].as_str()?, line["meeting"].as_str()?)))
        .collect();
    let expected = [
        ("new", &new),
        ("changed", &longer),
        ("renamed", &renamed),
        ("vanished", &gone),
    ];
    assert_eq!(
        differing,
        expected.map(|(kind, uuid)| (kind, uuid.as_str())).into()
    );
    assert_eq!(lines[4]["summary"]["unchanged"], 117);
    let (code, out, _) = said(&stage, &["verify", "--zoom", "--from", &from]);
    assert!(
        code == 2 && out.contains(&format!("vanished    meeting {gone}")),
        "{out}"
    );
    assert_eq!(stage.sim.count("detail"), 0);
    assert_eq!(dump(&stage), before, "looking changes nothing");

    // An error is not a difference.
    let rules = json!([{"endpoint": "listing", "from": 2, "times": 100, "action": "reset"}]);
    stage
        .sim
        .set_faults(FaultPlan::from_json(&rules.to_string()).unwrap());
    let (code, out, _) = said(&stage, &["verify", "--zoom"]);
    assert_eq!((code, out.as_str()), (3, ""));
    stage.sim.set_faults(FaultPlan::default());

    assert_eq!(said(&stage, &["sync", "--from", &from]).0, 0);
    assert_eq!(said(&stage, &["verify", "--zoom"]).0, 0);
    let known = Catalog::open_read_only(&stage.db()).unwrap();
    assert!(known.kept(&MeetingUuid::new(&new)).unwrap().is_some());
}
