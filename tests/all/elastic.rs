//! A fault at Elasticsearch or on the way to it loses nothing, causes no endless loop, and is reported. The faults are real if the server can be
//! made to show them; a proxy in front of it plays the others.

use std::{
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

use crate::common::{
    ENGINES, ElasticStage, Stage, engine,
    proxy::{Fault, Rule, scripted},
};
use chrono::Utc;
use serde_json::{Value, json};
use zoom_harvester::{
    catalog::Catalog,
    elastic::{self, Elastic},
    sim::world::{Spec, World},
    sync::{Ending, Scope},
};

const EVER: usize = 1_000_000;
const EARLY: Ending = Ending::StoppedEarly { come_back_at: None };

fn small() -> World {
    World::generate(&Spec {
        seed: 11,
        hosts: 6,
        meetings: 24,
        sessions: 120,
        days: 8,
        now: Utc::now(),
    })
}

/// Bulk bodies so small that there are several of either kind.
fn staged(es: ElasticStage) -> Stage {
    let mut stage = Stage::new(small(), None);
    stage.elastic = Some(es);
    stage.elastic.as_mut().unwrap().bulk_bytes = 16 << 10;
    stage
}

async fn behind(stage: &mut Stage, script: Vec<Rule>) -> crate::common::proxy::Proxy {
    let es = stage.elastic.as_mut().unwrap();
    let (url, proxy) = scripted(&es.url, script).await;
    es.through = Some(url);
    proxy
}

fn retry(stage: &Stage) -> u64 {
    Catalog::open(&stage.db()).unwrap().retry().unwrap()
}

fn rejected(stage: &Stage, reason: &str) -> i64 {
    stage.number(&format!(
        "SELECT count(*) FROM failures WHERE status = 'dead' AND reason LIKE 'rejected by Elasticsearch: %{reason}%'"
    ))
}

/// Asserts that the next run, without a proxy in between, ends with the account in the index, each document in the newest version.
async fn recovers(name: &str, stage: &mut Stage) {
    stage.elastic.as_mut().unwrap().through = None;
    let next = stage.sync(Scope::Resume).await;
    assert_eq!(next.ending, Ending::Done, "{name}: {:?}", next.message);
    is_the_account(name, stage).await;
    let idle = stage.sync(Scope::Resume).await;
    assert_eq!((idle.ending, idle.bulk_requests), (Ending::Done, 0), "{name}");
}

async fn is_the_account(name: &str, stage: &Stage) {
    stage.assert_index_is_the_account().await;
    let (meetings, sessions) = (stage.es().all("meetings").await, stage.es().all("sessions").await);
    for (uuid, (version, _)) in &meetings {
        let revision = stage.number(&format!(
            "SELECT revision FROM meetings WHERE meeting_uuid = '{uuid}' AND indexed_checksum = document_checksum"
        ));
        assert_eq!(*version, revision, "{name}: meeting {uuid}");
    }
    for (version, source) in sessions.values() {
        let uuid = source["meeting"].as_str().unwrap();
        assert_eq!(*version, meetings[uuid].0, "{name}: a session of {uuid}");
    }
}

const HTML: &str = "<html><h1>Bad Gateway</h1></html>";
const SPOILT: &str = r#"{"error":{"type":"illegal_argument_exception","reason":"request contains unrecognized parameter"},"status":400}"#;
const DENIED: &str =
    r#"{"error":{"type":"security_exception","reason":"action is unauthorized"},"status":403}"#;

/// Sets the answers of the first items to these statuses.
fn ill(answer: &mut Value, statuses: &[(u64, &str)]) {
    answer["errors"] = json!(true);
    for (item, (status, kind)) in answer["items"].as_array_mut().unwrap().iter_mut().zip(statuses) {
        let item = item.as_object_mut().unwrap().values_mut().next().unwrap();
        item["status"] = json!(status);
        item["error"] = json!({"type": kind, "reason": "so it is"});
    }
}

fn rule(from: usize, times: usize, acted: bool, fault: Fault) -> Rule {
    Rule {
        from,
        times,
        acted,
        fault,
    }
}

/// Every fault, with the ending of the run that meets it and the most bulk requests that this run makes.
fn faults() -> Vec<(&'static str, Rule, Ending, usize)> {
    let answer = Fault::Answer;
    let mut all = Vec::new();
    for (name, acted, fault) in [
        ("413", false, answer(413, None, HTML)),
        ("502 with HTML", false, answer(502, None, HTML)),
        ("503 with Retry-After", false, answer(503, Some("0"), HTML)),
        ("429", false, answer(429, None, "{}")),
        ("400 for the body", false, answer(400, None, SPOILT)),
        ("cut before", false, Fault::Cut),
        ("cut after", true, Fault::Cut),
        ("502 after", true, answer(502, None, HTML)),
        ("truncated", true, Fault::Truncated),
        ("slow answer", true, Fault::Slow(Duration::from_millis(1_500))),
        (
            "acted upon after the timeout",
            false,
            Fault::Slow(Duration::from_millis(1_500)),
        ),
        ("no JSON", true, answer(200, None, HTML)),
        ("no items", true, answer(200, None, "{\"errors\":false}")),
        ("401 in the middle", false, answer(401, None, "")),
        ("403 in the middle", false, answer(403, None, DENIED)),
        (
            "items missing",
            true,
            Fault::Edit(|answer| answer["items"].as_array_mut().unwrap().truncate(2)),
        ),
        (
            "items in another order",
            true,
            Fault::Edit(|answer| answer["items"].as_array_mut().unwrap().reverse()),
        ),
        (
            "wrong ids",
            true,
            Fault::Edit(|answer| {
                for item in answer["items"].as_array_mut().unwrap() {
                    item["index"]["_id"] = json!("nobody's");
                }
            }),
        ),
        (
            "items too many, and ill",
            true,
            Fault::Edit(|answer| {
                ill(
                    answer,
                    &[
                        (429, "es_rejected_execution_exception"),
                        (503, "unavailable_shards_exception"),
                        (409, "version_conflict_engine_exception"),
                        (500, "odd_exception"),
                    ],
                )
            }),
        ),
    ] {
        // After refused credentials a run tries only once more, at its end.
        let times = if name.ends_with("middle") { 1 } else { 2 };
        all.push((name, rule(2, times, acted, fault), Ending::Done, 60));
    }
    let ever = [
        ("429 for ever", false, answer(429, None, "{}"), EARLY, 24),
        ("503 for ever", false, answer(503, None, HTML), EARLY, 24),
        ("cut for ever", true, Fault::Cut, EARLY, 24),
        ("no JSON for ever", true, answer(200, None, HTML), EARLY, 24),
        (
            "400 for every body",
            false,
            answer(400, None, SPOILT),
            Ending::Misconfigured,
            40,
        ),
        (
            "400 with HTML for ever",
            false,
            answer(400, None, HTML),
            Ending::Misconfigured,
            6,
        ),
        (
            "401 for ever",
            false,
            answer(401, None, ""),
            Ending::Misconfigured,
            6,
        ),
        (
            "403 for ever",
            false,
            answer(403, None, DENIED),
            Ending::Misconfigured,
            6,
        ),
        (
            "items missing for ever",
            true,
            Fault::Edit(|answer| answer["items"] = json!([])),
            EARLY,
            24,
        ),
        (
            "every item 429 for ever",
            true,
            Fault::Edit(|answer| ill(answer, &[(429, "es_rejected_execution_exception"); 999])),
            EARLY,
            24,
        ),
        (
            "every item forbidden",
            true,
            Fault::Edit(|answer| ill(answer, &[(403, "security_exception"); 999])),
            Ending::Misconfigured,
            6,
        ),
    ];
    for (name, acted, fault, ending, most) in ever {
        all.push((name, rule(1, EVER, acted, fault), ending, most));
    }
    all
}

async fn every_fault_on(variable: &str) {
    for (name, rule, ending, most) in faults() {
        // Answers that the proxy makes up do not depend on the engine, so a sample is enough for the second one.
        if variable == ENGINES[1] && !rule.acted {
            continue;
        }
        let name = format!("{variable}, {name}");
        let mut stage = staged(ElasticStage::new(variable));
        let timed = matches!(rule.fault, Fault::Slow(_));
        stage.elastic.as_mut().unwrap().timeout = Duration::from_millis(if timed { 700 } else { 30_000 });
        let proxy = behind(&mut stage, vec![rule]).await;
        let summary = stage.sync(stage.days(9)).await;
        assert_eq!(summary.ending, ending, "{name}: {:?}", summary.message);
        let made = proxy.before.load(Ordering::SeqCst);
        assert!(made <= most, "{name}: {made} bulk requests");
        assert_eq!(summary.troubled, 0, "{name}: no document was to blame");
        if ending == Ending::Done {
            is_the_account(&name, &stage).await;
        } else {
            assert_eq!(summary.tally.published, 0, "{name}");
        }
        recovers(&name, &mut stage).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_network_fault_before_elasticsearch_is_survived() {
    every_fault_on(ENGINES[0]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_network_fault_before_opensearch_is_survived() {
    every_fault_on(ENGINES[1]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_retry_after_ends_the_run_with_the_time_to_come_back() {
    let mut stage = staged(ElasticStage::new(ENGINES[0]));
    let later = Rule {
        from: 1,
        times: EVER,
        acted: false,
        fault: Fault::Answer(503, Some("3600"), HTML),
    };
    let proxy = behind(&mut stage, vec![later]).await;
    let before = Utc::now();
    let summary = stage.sync(stage.days(9)).await;
    let Ending::StoppedEarly {
        come_back_at: Some(at),
    } = summary.ending
    else {
        panic!("{:?}", summary.ending)
    };
    assert!(at >= before + chrono::TimeDelta::hours(1), "{at}");
    let said = summary.message.unwrap();
    assert!(said.contains("asks to wait 3600 s"), "{said}");
    // Two at the same time, and the same again at the end of the run.
    let made = proxy.before.load(Ordering::SeqCst);
    assert!(made <= 4, "{made}");
    recovers("Retry-After", &mut stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_that_are_always_too_large_are_rejected_one_by_one() {
    let mut stage = staged(ElasticStage::new(ENGINES[0]));
    let large = Rule {
        from: 1,
        times: EVER,
        acted: false,
        fault: Fault::Answer(413, None, HTML),
    };
    let proxy = behind(&mut stage, vec![large]).await;
    let summary = stage.sync(stage.days(9)).await;
    assert_eq!(summary.ending, Ending::Incomplete, "{:?}", summary.message);
    assert_eq!(rejected(&stage, "HTTP 413"), 24);
    let made = proxy.before.load(Ordering::SeqCst);
    assert!(made <= 2 * (120 + 24), "{made} bulk requests for 144 documents");
    assert_eq!(stage.sync(Scope::Resume).await.bulk_requests, 0, "never looping");
    assert_eq!(retry(&stage), 24);
    recovers("413", &mut stage).await;
}

/// The program as users run it. Each way in which publishing can end has the exit code that docs/commands.md lists, and one line that says why. The
/// next undisturbed `publish` brings the account into the index.
#[tokio::test(flavor = "multi_thread")]
async fn each_ending_of_publish_has_its_exit_code() {
    const EARLY: i32 = 3;
    let forbidden = Fault::Edit(|answer| ill(answer, &[(403, "security_exception"); 999]));
    let endings: [(&str, Option<Rule>, i32, &str); 6] = [
        ("nothing", None, 0, "ended"),
        (
            "503",
            Some(rule(1, EVER, false, Fault::Answer(503, None, HTML))),
            EARLY,
            "503",
        ),
        (
            "cut",
            Some(rule(1, EVER, false, Fault::Cut)),
            EARLY,
            "stopped early; run it again",
        ),
        (
            "no items",
            Some(rule(
                1,
                EVER,
                true,
                Fault::Edit(|answer| answer["items"] = json!([])),
            )),
            EARLY,
            "have no answer",
        ),
        (
            "forbidden",
            Some(rule(1, EVER, true, forbidden)),
            1,
            "security_exception",
        ),
        (
            "too large",
            Some(rule(1, EVER, false, Fault::Answer(413, None, HTML))),
            2,
            "24 meetings failed or are dead",
        ),
    ];
    for (name, rule, code, word) in endings {
        let mut stage = staged(ElasticStage::new(ENGINES[0]));
        stage.run(stage.days(9), true, false).await;
        behind(&mut stage, rule.into_iter().collect()).await;
        let es = stage.es();
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_zoom-harvester"));
        command
            .env_clear()
            .current_dir(stage.folder.path())
            .env("ELASTICSEARCH_URL", es.through.clone().unwrap())
            .env("ELASTICSEARCH_INDEX_PREFIX", &es.prefix)
            .env("ELASTICSEARCH_REPLICAS", "0")
            .env("ELASTICSEARCH_BULK_BYTES", es.bulk_bytes.to_string())
            .env("ELASTICSEARCH_RETRIES", "1")
            .arg("publish");
        let output = tokio::task::spawn_blocking(move || command.output().unwrap())
            .await
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(code), "{name}: {said}");
        let ended = said.lines().find(|line| line.starts_with("ended")).unwrap();
        assert!(ended.contains(word), "{name}: {ended}");
        let noted = "SELECT exit_code FROM runs ORDER BY run_id DESC LIMIT 1";
        assert_eq!(stage.number(noted), i64::from(code), "{name}");
        if code == 2 {
            assert_eq!(retry(&stage), 24, "{name}");
        }
        recovers(name, &mut stage).await;
    }
}

/// Creates the index of meetings before the program does. The harvester's fields have the right types, but the topic is copied to a date field.
async fn make_with_topics_as_dates(stage: &Stage) {
    let theirs = json!({
        "aliases": {format!("{}-meetings", stage.es().prefix): {}},
        "settings": {"number_of_replicas": 0},
        "mappings": {"properties": {
            "topic": {"type": "keyword", "copy_to": "topic_as_date"},
            "topic_as_date": {"type": "date"},
        }},
    });
    let path = "/PREFIX-meetings-ACCOUNT-000001";
    let made = stage.es().call("PUT", path, Some(theirs)).await;
    assert_eq!(made["acknowledged"], true, "{made}");
}

/// Documents that the real server refuses because of a field's type: several in a body, among good ones.
#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_document_among_good_ones_is_dead_lettered_until_retry() {
    for variable in ENGINES {
        let mut stage = staged(ElasticStage::new(variable));
        stage.sim.with_world(|world| {
            for (n, meeting) in world.meetings.iter_mut().enumerate() {
                meeting.topic = if n % 4 == 1 { "no date" } else { "2026-03-01" }.to_owned();
            }
        });
        make_with_topics_as_dates(&stage).await;
        let proxy = behind(&mut stage, Vec::new()).await;
        let summary = stage.sync(stage.days(9)).await;
        assert_eq!(
            summary.ending,
            Ending::Incomplete,
            "{variable}: {:?}",
            summary.message
        );
        assert_eq!((summary.tally.published, summary.troubled), (18, 6), "{variable}");
        assert_eq!(
            rejected(&stage, "failed to parse field [topic_as_date]"),
            6,
            "{variable}"
        );
        let made = proxy.before.load(Ordering::SeqCst);
        assert!(made <= 20, "{variable}: {made} bulk requests");
        let again = stage.sync(Scope::Resume).await;
        assert_eq!(
            (again.ending, again.bulk_requests),
            (Ending::Incomplete, 0),
            "{variable}"
        );
        // The remedy: the harvester creates the deleted index again, and the documents are tried again.
        stage
            .es()
            .call("DELETE", "/PREFIX-meetings-ACCOUNT-000001", None)
            .await;
        assert_eq!(retry(&stage), 6, "{variable}");
        recovers(variable, &mut stage).await;
    }
}

const SESSIONS_MAPPING: &str = include_str!("../../src/elastic/mappings/sessions.json");

/// What somebody else does to the indices while bulk requests are under way. In each path and body, PREFIX and ACCOUNT stand for this test's.
/// A deed for n comes before the nth bulk request; a deed for -n comes after its answer.
type Deed = &'static [(&'static str, &'static str, &'static str)];

fn does(es: &ElasticStage, deed: Deed) -> Fault {
    let es = es.clone();
    Fault::Deed(Arc::new(move || {
        let es = es.clone();
        Box::pin(async move {
            for (method, path, body) in deed {
                let body = es.named(body).replace("MAPPING", SESSIONS_MAPPING);
                let answer = es.call(method, path, serde_json::from_str(&body).ok()).await;
                assert!(answer["error"].is_null(), "{method} {path}: {answer}");
            }
        })
    }))
}

async fn while_it_runs(
    variable: &str,
    name: &str,
    deeds: &[(i32, Deed)],
    first: Option<Ending>,
    repair: Deed,
    then_retry: bool,
) {
    let name = format!("{variable}, {name}");
    let mut stage = staged(ElasticStage::new(variable));
    // One bulk request at a time, so that nothing else is under way during the deed.
    stage.elastic.as_mut().unwrap().in_flight = 1;
    let script = deeds.iter().map(|(from, deed)| Rule {
        from: from.unsigned_abs() as usize,
        times: 1,
        acted: *from < 0,
        fault: does(stage.es(), deed),
    });
    let script = script.collect();
    let proxy = behind(&mut stage, script).await;
    let summary = stage.sync(stage.days(9)).await;
    if let Some(first) = first {
        assert_eq!(summary.ending, first, "{name}: {:?}", summary.message);
    }
    let made = proxy.before.load(Ordering::SeqCst);
    assert!(made <= 60, "{name}: {made} bulk requests");
    assert_eq!(summary.troubled, 0, "{name}: no document was to blame");
    for (method, path, body) in repair {
        let body = stage.es().named(body);
        let answer = stage
            .es()
            .call(method, path, serde_json::from_str(&body).ok())
            .await;
        assert!(answer["error"].is_null(), "{name}: {answer}");
    }
    assert!(!then_retry || retry(&stage) > 0);
    recovers(&name, &mut stage).await;
}

const TO_TWO: (&str, &str, &str) = (
    "POST",
    "/_aliases",
    r#"{"actions":[{"remove":{"index":"PREFIX-sessions-ACCOUNT-000001","alias":"PREFIX-sessions-ACCOUNT"}},{"add":{"index":"PREFIX-sessions-ACCOUNT-000002","alias":"PREFIX-sessions-ACCOUNT"}}]}"#,
);
const TO_ONE: (&str, &str, &str) = (
    "POST",
    "/_aliases",
    r#"{"actions":[{"remove":{"index":"PREFIX-sessions-ACCOUNT-000002","alias":"PREFIX-sessions-ACCOUNT"}},{"add":{"index":"PREFIX-sessions-ACCOUNT-000001","alias":"PREFIX-sessions-ACCOUNT"}}]}"#,
);
const MAKE_TWO: (&str, &str, &str) = (
    "PUT",
    "/PREFIX-sessions-ACCOUNT-000002",
    r#"{"settings":{"number_of_replicas":0},"mappings":MAPPING}"#,
);

#[tokio::test(flavor = "multi_thread")]
async fn indices_changed_during_a_run_are_right_after_the_next() {
    for variable in ENGINES {
        let run = |name: &'static str, deeds: &'static [(i32, Deed)], first, repair| {
            while_it_runs(variable, name, deeds, first, repair, false)
        };
        run(
            "an index deleted",
            &[(2, &[("DELETE", "/PREFIX-sessions-ACCOUNT-000001", "")])],
            Some(Ending::Done),
            &[],
        )
        .await;
        run(
            "both deleted",
            &[(
                2,
                &[
                    ("DELETE", "/PREFIX-sessions-ACCOUNT-000001", ""),
                    ("DELETE", "/PREFIX-meetings-ACCOUNT-000001", ""),
                ],
            )],
            Some(Ending::Done),
            &[],
        )
        .await;
        run(
            "the alias taken away",
            &[(2, &[(
                "POST",
                "/_aliases",
                r#"{"actions":[{"remove":{"index":"PREFIX-sessions-ACCOUNT-000001","alias":"PREFIX-sessions-ACCOUNT"}}]}"#,
            )])],
            Some(Ending::Done),
            &[],
        )
        .await;
        run(
            "the alias that people search taken away",
            &[(2, &[(
                "POST",
                "/_aliases",
                r#"{"actions":[{"remove":{"index":"PREFIX-sessions-ACCOUNT-000001","alias":"PREFIX-sessions"}}]}"#,
            )])],
            Some(Ending::Done),
            &[],
        )
        .await;
        run(
            "the alias moved",
            &[(2, &[MAKE_TWO, TO_TWO])],
            Some(Ending::Done),
            &[],
        )
        .await;
        run(
            "the alias moved and moved back",
            &[(2, &[MAKE_TWO, TO_TWO]), (-2, &[TO_ONE])],
            Some(Ending::Done),
            &[],
        )
        .await;
        run(
            "the alias moved twice",
            &[(2, &[MAKE_TWO, TO_TWO]), (3, &[TO_ONE])],
            Some(EARLY),
            &[],
        )
        .await;
        run(
            "the alias on two indices",
            &[(2, &[
                MAKE_TWO,
                (
                    "POST",
                    "/_aliases",
                    r#"{"actions":[{"add":{"index":"PREFIX-sessions-ACCOUNT-000002","alias":"PREFIX-sessions-ACCOUNT"}}]}"#,
                ),
            ])],
            Some(Ending::Misconfigured),
            &[("DELETE", "/PREFIX-sessions-ACCOUNT-000002", "")],
        )
        .await;
        run(
            "an index of guessed types in the alias's place",
            &[(
                2,
                &[
                    ("DELETE", "/PREFIX-sessions-ACCOUNT-000001", ""),
                    ("PUT", "/PREFIX-sessions", ""),
                ],
            )],
            Some(Ending::Misconfigured),
            &[("DELETE", "/PREFIX-sessions", "")],
        )
        .await;
        // Once opened, it is the same index again. Elasticsearch's message while it is closed differs from OpenSearch's.
        run(
            "the index closed",
            &[(2, &[("POST", "/PREFIX-sessions-ACCOUNT-000001/_close", "")])],
            None,
            &[("POST", "/PREFIX-sessions-ACCOUNT-000001/_open", "")],
        )
        .await;
        for (name, block) in [("sessions blocked", "sessions"), ("meetings blocked", "meetings")] {
            let deeds: &'static [(i32, Deed)] = match block {
                "sessions" => &[(
                    2,
                    &[(
                        "PUT",
                        "/PREFIX-sessions/_settings",
                        r#"{"index":{"blocks":{"write":true}}}"#,
                    )],
                )],
                _ => &[(
                    2,
                    &[(
                        "PUT",
                        "/PREFIX-meetings/_settings",
                        r#"{"index":{"blocks":{"write":true}}}"#,
                    )],
                )],
            };
            let off: Deed = &[(
                "PUT",
                "/PREFIX-*/_settings",
                r#"{"index":{"blocks":{"write":null}}}"#,
            )];
            run(name, deeds, Some(EARLY), off).await;
        }
        // A disk that is too full causes this: a 429 that waiting does not cure.
        run(
            "the disk full",
            &[(
                2,
                &[(
                    "PUT",
                    "/PREFIX-sessions/_settings",
                    r#"{"index":{"blocks":{"read_only_allow_delete":true}}}"#,
                )],
            )],
            Some(EARLY),
            &[(
                "PUT",
                "/PREFIX-sessions/_settings",
                r#"{"index":{"blocks":{"read_only_allow_delete":null}}}"#,
            )],
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_elasticsearch_disk_is_reported_at_once() {
    for variable in ENGINES {
        let mut stage = staged(ElasticStage::new(variable));
        stage
            .es()
            .client()
            .ensure(zoom_harvester::model::IndexYear::ALL)
            .await
            .unwrap();
        let block = |on: Value| json!({"index": {"blocks": {"read_only_allow_delete": on}}});
        stage
            .es()
            .call("PUT", "/PREFIX-*/_settings", Some(block(json!(true))))
            .await;
        let proxy = behind(&mut stage, Vec::new()).await;
        let summary = stage.sync(stage.days(9)).await;
        assert_eq!(summary.ending, EARLY, "{variable}");
        let said = summary.message.unwrap();
        assert!(
            said.contains("refuses writes") && said.contains("disk"),
            "{variable}: {said}"
        );
        assert!(proxy.before.load(Ordering::SeqCst) <= 4, "{variable}");
        stage
            .es()
            .call("PUT", "/PREFIX-*/_settings", Some(block(Value::Null)))
            .await;
        recovers(variable, &mut stage).await;
    }
}

/// One run fills one index, the next run fills another, and then the alias moves back. What the first index lacks is noticed.
#[tokio::test(flavor = "multi_thread")]
async fn an_alias_moved_back_and_forth_is_noticed() {
    for variable in ENGINES {
        let mut stage = staged(ElasticStage::new(variable));
        assert_eq!(stage.sync(stage.days(9)).await.ending, Ending::Done);
        let act = |es: ElasticStage, deed: Deed| async move {
            let Fault::Deed(act) = does(&es, deed) else {
                unreachable!()
            };
            act().await;
        };
        act(stage.es().clone(), &[MAKE_TWO, TO_TWO]).await;
        stage.sim.with_world(|world| {
            let uuid = world.meetings[3].uuid.clone();
            world.extend(&uuid, 5);
        });
        let there = stage.sync(stage.days(9)).await;
        assert_eq!(there.ending, Ending::Done, "{variable}: {:?}", there.message);
        is_the_account(variable, &stage).await;
        act(stage.es().clone(), &[TO_ONE]).await;
        recovers(variable, &mut stage).await;
    }
}

/// A change is sent and its answer is lost; then the account reverts the change. The index has the change, whatever was acknowledged before.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_sent_without_an_answer_and_reverted_is_reverted_in_the_index() {
    let mut stage = staged(ElasticStage::new(ENGINES[0]));
    assert_eq!(stage.sync(stage.days(9)).await.ending, Ending::Done);
    let rename = |stage: &Stage, topic: &str| {
        stage
            .sim
            .with_world(|world| std::mem::replace(&mut world.meetings[3].topic, topic.to_owned()))
    };
    let topic = rename(&stage, "another topic");
    let unanswered = Rule {
        from: 1,
        times: EVER,
        acted: true,
        fault: Fault::Cut,
    };
    behind(&mut stage, vec![unanswered]).await;
    assert_eq!(stage.sync(stage.days(9)).await.ending, EARLY);
    stage.elastic.as_mut().unwrap().through = None;
    rename(&stage, &topic);
    assert_eq!(stage.sync(stage.days(9)).await.ending, Ending::Done);
    is_the_account("taken back", &stage).await;
}

/// Real refusals for lack of memory: of whole bodies, and of items inside a 200.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_little_memory_gets_smaller_bodies() {
    let mut stage = Stage::new(
        World::generate(&Spec {
            seed: 12,
            hosts: 10,
            meetings: 200,
            sessions: 3_000,
            days: 8,
            now: Utc::now(),
        }),
        None,
    );
    let mut es = ElasticStage::at(&engine("ELASTICSEARCH_TIGHT_TEST_URL"));
    es.bulk_bytes = 1 << 20;
    // One thread writes and one request waits for it, so some shards refuse their part of a body for four shards.
    es.shards = Some(4);
    stage.elastic = Some(es);
    static REFUSED: Mutex<(u32, u32)> = Mutex::new((0, 0));
    let watch = Rule {
        from: 1,
        times: EVER,
        acted: true,
        fault: Fault::Edit(|answer| {
            let mut refused = REFUSED.lock().unwrap();
            let items = answer["items"].as_array().map(Vec::as_slice).unwrap_or_default();
            refused.0 += u32::from(answer["status"] == 429);
            refused.1 += u32::from(items.iter().any(|item| item["index"]["status"] == 429));
        }),
    };
    let proxy = behind(&mut stage, vec![watch]).await;
    let mut summary = stage.sync(stage.days(9)).await;
    // The server may lack memory for longer than a run keeps trying. The next run sends what is left.
    let mut runs = 1;
    while summary.ending == (Ending::StoppedEarly { come_back_at: None }) && runs < 10 {
        summary = stage.sync(Scope::Resume).await;
        runs += 1;
    }
    assert_eq!(summary.ending, Ending::Done, "{:?}", summary.message);
    let refused = *REFUSED.lock().unwrap();
    assert!(refused.0 > 0, "no whole body was refused");
    assert!(refused.1 > 0, "no item was refused by itself");
    println!("{refused:?} refused in {:?}", proxy.before);
    let made = proxy.before.load(Ordering::SeqCst);
    // Each refusal explains at most two more requests: the halves of what was refused, or the rest of it. Without refusals no run needs 20.
    let explained = 20 * runs + 2 * (refused.0 + refused.1) as usize;
    assert!(
        made <= explained,
        "{made} bulk requests in {runs} runs: {refused:?} refused"
    );
    recovers("tight", &mut stage).await;
}

// ---- A server with security on ----

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_role_is_enough() {
    let mut stage = staged(ElasticStage::secure("harvester"));
    assert_eq!(stage.sync(stage.days(9)).await.ending, Ending::Done);
    // Sessions that are lost are deleted.
    stage.sim.with_world(|world| {
        let uuid = world
            .meetings
            .iter()
            .find(|one| one.sessions.len() > 2)
            .unwrap()
            .uuid
            .clone();
        world.extend(&uuid, 5);
        world.meeting_mut(&uuid).unwrap().sessions.pop();
    });
    let changed = stage.sync(stage.days(9)).await;
    assert_eq!((changed.ending, changed.deleted), (Ending::Done, 1));
    // Another catalog on the same indices asks what they hold.
    std::fs::remove_file(stage.db()).unwrap();
    assert_eq!(stage.sync(stage.days(9)).await.ending, Ending::Done);
    is_the_account("harvester", &stage).await;
    stage.rebuild(Default::default()).await.unwrap();
    recovers("harvester", &mut stage).await;
    let checks = stage
        .es()
        .client()
        .check(&[zoom_harvester::model::IndexYear::ALL].into())
        .await;
    assert!(checks.iter().all(|check| check.ok), "{checks:?}");
    assert!(
        checks.iter().any(|check| check.said == "all that are needed"),
        "{checks:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_privilege_is_named_with_its_step() {
    for (lacking, step) in [
        ("manage", "reading an alias"),
        ("index", "writing to"),
        ("delete", "writing to"),
        ("read", "a search"),
    ] {
        let mut stage = staged(ElasticStage::secure("harvester"));
        let as_lacking = ElasticStage::secure(&format!("lacks_{lacking}"));
        let allowed = stage.es().auth.clone();
        // `delete` and `read` are needed only by later steps.
        let later = matches!(lacking, "delete" | "read");
        if later {
            assert_eq!(stage.sync(stage.days(9)).await.ending, Ending::Done, "{lacking}");
        }
        stage.elastic.as_mut().unwrap().auth = as_lacking.auth;
        stage.sim.with_world(|world| {
            let uuid = world
                .meetings
                .iter()
                .find(|one| one.sessions.len() > 2)
                .unwrap()
                .uuid
                .clone();
            world.extend(&uuid, 5);
            world.meeting_mut(&uuid).unwrap().sessions.pop();
        });
        let said = if lacking == "read" {
            stage.rebuild(Default::default()).await.unwrap_err().to_string()
        } else {
            let summary = stage.sync(stage.days(9)).await;
            assert_eq!(summary.ending, Ending::Misconfigured, "{lacking}");
            summary.message.unwrap()
        };
        assert!(
            said.contains("does not allow")
                && said.contains(step)
                && said.contains("docs/elasticsearch.md lists the privileges"),
            "{lacking}: {said}"
        );
        assert!(!said.contains('\n'), "{said}");
        let checks = stage
            .es()
            .client()
            .check(&[zoom_harvester::model::IndexYear::ALL].into())
            .await;
        let check = checks.iter().find(|check| check.name == "privileges").unwrap();
        assert_eq!(
            (check.ok, check.said.as_str()),
            (false, format!("missing: {lacking}").as_str())
        );
        stage.elastic.as_mut().unwrap().auth = allowed;
        recovers(lacking, &mut stage).await;
    }
}

#[test]
fn the_documented_privileges_are_those_of_the_tested_role() {
    let page = std::fs::read_to_string("docs/elasticsearch.md")
        .unwrap()
        .replace('\n', " ");
    let roles = std::fs::read_to_string("servers/secure/roles.yml").unwrap();
    let role = roles.split("harvester:\n").nth(1).unwrap();
    assert!(role.trim_start().starts_with("cluster: []\n"), "{role}");
    let line = role.lines().find(|line| line.contains("privileges:")).unwrap();
    assert_eq!(line.trim(), "privileges: [manage, index, delete, read]");
    assert!(page.contains("needs no privilege of the cluster, and on `zoom-*`"));
    assert!(page.contains(
        "the privileges `manage` (makes, marks, swaps and removes the indices), `index`, `delete` and `read`"
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_are_one_line_without_the_secret() {
    let mut stage = staged(ElasticStage::secure("harvester"));
    let right = stage.es().auth.clone();
    for auth in [
        elastic::Auth::Basic {
            user: "harvester".into(),
            password: "sesame-open".to_owned().into(),
        },
        elastic::Auth::ApiKey("c2VzYW1lOm9wZW4=".to_owned().into()),
        elastic::Auth::None,
    ] {
        stage.elastic.as_mut().unwrap().auth = auth;
        let summary = stage.sync(stage.days(9)).await;
        assert_eq!(summary.ending, Ending::Misconfigured);
        let said = summary.message.unwrap();
        assert!(
            said.contains("does not accept the credentials (HTTP 401)"),
            "{said}"
        );
        let debug = format!("{said}{:?}", stage.es().client());
        assert!(!debug.contains("sesame") && !debug.contains("c2Vz"), "{debug}");
        assert_eq!(
            stage.number("SELECT count(*) FROM payloads"),
            24,
            "the harvest went on"
        );
    }
    stage.elastic.as_mut().unwrap().auth = right;
    recovers("credentials", &mut stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_authority_a_wrong_name_and_plain_http_are_refused() {
    let secure = ElasticStage::secure("harvester");
    let port = secure.url.rsplit(':').next().unwrap().to_owned();
    let strange = std::fs::read("tests/fixtures/strange-ca.pem").unwrap();
    let cases = [
        (
            "another authority",
            Some(strange),
            secure.url.clone(),
            "UnknownIssuer",
        ),
        ("the usual authorities", None, secure.url.clone(), "UnknownIssuer"),
        // The certificate is for localhost.
        (
            "another name",
            secure.ca_cert_pem.clone(),
            format!("https://127.0.0.1:{port}"),
            "not valid for name",
        ),
        (
            "TLS where there is none",
            secure.ca_cert_pem.clone(),
            engine(ENGINES[0]).replace("http:", "https:"),
            "",
        ),
    ];
    for (name, ca, url, word) in cases {
        let mut stage = staged(secure.clone());
        let es = stage.elastic.as_mut().unwrap();
        es.through = Some(url);
        es.ca_cert_pem = ca;
        let summary = stage.sync(stage.days(9)).await;
        let said = summary.message.unwrap();
        assert_eq!(summary.ending, Ending::Misconfigured, "{name}: {said}");
        assert!(
            said.contains("no trusted connection")
                && said.contains(word)
                && said.contains("ELASTICSEARCH_CA_CERT"),
            "{name}: {said}"
        );
        // So that the stage can clean up.
        stage.elastic.as_mut().unwrap().ca_cert_pem = secure.ca_cert_pem.clone();
    }
    let nonsense = Elastic::new(elastic::Settings {
        ca_cert_pem: Some(b"no certificate".to_vec()),
        ..secure.settings()
    });
    let said = nonsense.unwrap_err().to_string();
    assert!(
        said.contains("the file that ELASTICSEARCH_CA_CERT names holds no PEM certificate"),
        "{said}"
    );
}

/// API keys cannot be created on these servers, so a server of the test checks what is sent.
#[tokio::test(flavor = "multi_thread")]
async fn an_api_key_is_preferred_and_no_password_goes_out_beside_it() {
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let heard = Arc::clone(&seen);
    let app = axum::Router::new().fallback(move |request: axum::extract::Request| {
        let authorization = request
            .headers()
            .get("authorization")
            .map(|value| value.to_str().unwrap().to_owned());
        heard.lock().unwrap().push(authorization.unwrap_or_default());
        async { (axum::http::StatusCode::UNAUTHORIZED, "{}") }
    });
    tokio::spawn(async move { axum::serve(listener, app).await });
    let folder = tempfile::tempdir().unwrap();
    let doctor = |variables: Vec<(&'static str, String)>| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_zoom-harvester"));
        command
            .env_clear()
            .current_dir(folder.path())
            .arg("doctor")
            .envs(variables);
        tokio::task::spawn_blocking(move || command.output().unwrap())
    };
    let user = || {
        vec![
            ("ELASTICSEARCH_USER", "u".to_owned()),
            ("ELASTICSEARCH_PASSWORD", "sesame".to_owned()),
        ]
    };
    let key = || vec![("ELASTICSEARCH_API_KEY", "a2V5OnNlY3JldA==".to_owned())];
    for (variables, url, expected) in [
        ([key(), user()].concat(), url.clone(), "ApiKey a2V5OnNlY3JldA=="),
        (key(), url.clone(), "ApiKey a2V5OnNlY3JldA=="),
        (
            key(),
            url.replace("http://", "http://u:sesame@"),
            "ApiKey a2V5OnNlY3JldA==",
        ),
        (user(), url.clone(), "Basic dTpzZXNhbWU="),
        (
            vec![],
            url.replace("http://", "http://u:sesame@"),
            "Basic dTpzZXNhbWU=",
        ),
    ] {
        seen.lock().unwrap().clear();
        let variables = [variables, vec![("ELASTICSEARCH_URL", url)]].concat();
        let output = doctor(variables).await.unwrap();
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        let seen = seen.lock().unwrap().clone();
        assert!(
            !seen.is_empty() && seen.iter().all(|one| one == expected),
            "{seen:?}: {said}"
        );
        assert!(!said.contains("sesame") && !said.contains("a2V5"), "{said}");
    }
}

/// A rejected document stays dead if its meeting is fetched again and is unchanged. If the document changes, it is no longer dead.
#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_document_stays_dead_lettered_until_it_is_accepted() {
    let mut stage = staged(ElasticStage::new(ENGINES[0]));
    let uuid = stage.sim.with_world(|world| {
        for meeting in &mut world.meetings {
            meeting.topic = "2026-03-01".to_owned();
        }
        world.meetings[5].topic = "no date".to_owned();
        // A participant who never left, so that the detail seems unfinished.
        let row = &mut world.meetings[5].sessions[0].row;
        row.insert("leave_time".to_owned(), json!(""));
        world.meetings[5].uuid.clone()
    });
    make_with_topics_as_dates(&stage).await;
    assert_eq!(stage.sync(stage.days(9)).await.ending, Ending::Incomplete);
    assert_eq!(rejected(&stage, "topic_as_date"), 1);
    stage.clock.advance(chrono::TimeDelta::minutes(11));
    let again = stage.sync(stage.days(9)).await;
    assert_eq!((again.ending, again.tally.details), (Ending::Incomplete, 1));
    assert_eq!(rejected(&stage, "topic_as_date"), 1, "it is still said");
    stage.sim.with_world(|world| {
        let meeting = world.meeting_mut(&uuid).unwrap();
        meeting.topic = "2026-03-02".to_owned();
    });
    let taken = stage.sync(stage.days(9)).await;
    assert_eq!(taken.ending, Ending::Done, "{:?}", taken.message);
    recovers("refused", &mut stage).await;
}
