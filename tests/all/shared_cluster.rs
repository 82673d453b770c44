//! A cluster that others use and administer: a second account, templates that match the harvester's names, an archive behind the search alias.

use crate::common::{ENGINES, Stage};
use chrono::Utc;
use serde_json::{Value, json};
use zoom_harvester::{
    sim::world::{Spec, World},
    sync::{Ending, Remedy, Scope},
};

fn world(seed: u64, meetings: usize) -> World {
    World::generate(&Spec {
        seed,
        hosts: 4,
        meetings,
        sessions: 3 * meetings,
        days: 5,
        now: Utc::now(),
    })
}

fn staged(variable: &str) -> Stage {
    Stage::new(world(7, 30), Some(variable))
}

/// Everything that the server holds for this test, with its version.
async fn everything(stage: &Stage) -> Vec<Value> {
    let query = json!({"size": 10_000, "version": true, "sort": [{"account_id": "asc"}, {"_doc": "asc"}]});
    stage.es().call("POST", "/PREFIX-*/_refresh", None).await;
    let answer = stage.es().call("POST", "/PREFIX-*/_search", Some(query)).await;
    let mut hits = answer["hits"]["hits"]
        .as_array()
        .unwrap_or_else(|| panic!("{answer}"))
        .clone();
    hits.iter_mut().for_each(|hit| {
        hit.as_object_mut().unwrap().remove("sort");
    });
    hits.sort_by_key(Value::to_string);
    hits
}

async fn mapping(stage: &Stage, kind: &str) -> Value {
    let path = format!("/PREFIX-{kind}-ACCOUNT/_mapping");
    let answer = stage.es().call("GET", &path, None).await;
    let (_, found) = answer.as_object().unwrap().iter().next().unwrap();
    found["mappings"].clone()
}

async fn settings(stage: &Stage, kind: &str) -> Value {
    let path = format!("/PREFIX-{kind}-ACCOUNT/_settings");
    let answer = stage.es().call("GET", &path, None).await;
    let (_, found) = answer.as_object().unwrap().iter().next().unwrap();
    found["settings"]["index"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_accounts_on_one_cluster_leave_each_other_alone() {
    for variable in ENGINES {
        // The second account's name begins with the first's. A name must not be used as a prefix of another.
        let mut stages = ["uni", "uni2026"].map(|account| {
            let seed = account.len() as u64;
            Stage::of_account(account, world(seed, 20 + account.len()), Some(variable))
        });
        let prefix = stages[0].es().prefix.clone();
        for stage in &mut stages {
            let es = stage.elastic.as_mut().unwrap();
            (es.prefix, es.shared) = (prefix.clone(), true);
        }
        for stage in &stages {
            let summary = stage.sync(stage.days(9)).await;
            assert_eq!(summary.ending, Ending::Done, "{variable}: {:?}", summary.message);
        }
        let held = everything(&stages[0]).await;
        for _ in 0..3 {
            for stage in &stages {
                stage.sim.clear_log();
                let idle = stage.sync(Scope::Resume).await;
                assert_eq!((idle.ending, idle.bulk_requests), (Ending::Done, 0), "{variable}");
                assert_eq!(stage.sim.count("detail"), 0);
                assert!(
                    stage.verify(Remedy::Tell).await.equal,
                    "{variable}: {}",
                    stage.account.as_str()
                );
                stage.assert_index_is_the_account().await;
            }
        }
        assert_eq!(
            everything(&stages[0]).await,
            held,
            "{variable}: nothing was written"
        );

        // One account rebuilds and loses its indices. The other is not affected.
        stages[0].rebuild(Default::default()).await.unwrap();
        for kind in ["meetings", "sessions"] {
            let path = format!("/PREFIX-{kind}-ACCOUNT-000002");
            let gone = stages[0].es().call("DELETE", &path, None).await;
            assert_eq!(gone["acknowledged"], true, "{gone}");
        }
        assert!(!stages[0].verify(Remedy::Tell).await.equal);
        assert!(stages[1].verify(Remedy::Tell).await.equal);
        assert_eq!(stages[1].sync(Scope::Resume).await.bulk_requests, 0);
        assert_eq!(stages[0].sync(Scope::Resume).await.ending, Ending::Done);
        for stage in &stages {
            assert!(stage.verify(Remedy::Tell).await.equal, "{variable}");
            stage.assert_index_is_the_account().await;
        }
    }
}

/// Templates that an administrator may have added: the kind, the path, and the priority.
const TEMPLATES: [(&str, &str, i64); 3] = [
    ("of low priority", "/_index_template/PREFIX-theirs", 1),
    ("of high priority", "/_index_template/PREFIX-theirs", 1_000),
    ("a legacy one", "/_template/PREFIX-theirs", 0),
];

#[tokio::test(flavor = "multi_thread")]
async fn foreign_templates_change_settings_but_not_our_field_types() {
    for variable in ENGINES {
        for (name, path, priority) in TEMPLATES {
            let name = format!("{variable}, {name}");
            let mut stage = staged(variable);
            stage.elastic.as_mut().unwrap().shards = None;
            let pattern = stage.es().named("PREFIX-*");
            let content = json!({
                "settings": {"number_of_shards": 2, "number_of_replicas": 0, "refresh_interval": "17s"},
                "mappings": {
                    "dynamic": "strict",
                    "_source": {"enabled": true},
                    "properties": {
                        "uuid": {"type": "text"},
                        "meeting": {"type": "text", "fields": {"raw": {"type": "keyword"}}},
                        "start_time": {"type": "keyword"},
                        "theirs": {"type": "long"},
                    },
                },
            });
            let body = if path.starts_with("/_template") {
                let mut body = content;
                body["index_patterns"] = json!([pattern]);
                body["order"] = json!(5);
                body
            } else {
                json!({"index_patterns": [pattern], "priority": priority, "template": content})
            };
            let put = stage.es().call("PUT", path, Some(body)).await;
            assert_eq!(put["acknowledged"], true, "{name}: {put}");

            let summary = stage.sync(stage.days(9)).await;
            assert_eq!(summary.ending, Ending::Done, "{name}: {:?}", summary.message);
            let checks = stage
                .es()
                .client()
                .check(&[zoom_harvester::model::IndexYear::ALL].into())
                .await;
            assert!(checks.iter().all(|check| check.ok), "{name}: {checks:?}");
            for rebuilt in [false, true] {
                if rebuilt {
                    stage.rebuild(Default::default()).await.unwrap();
                }
                let meetings = mapping(&stage, "meetings").await;
                assert_eq!(
                    meetings["properties"]["uuid"]["type"], "keyword",
                    "{name}: {meetings}"
                );
                assert_eq!(meetings["properties"]["start_time"]["type"], "date", "{name}");
                let sessions = mapping(&stage, "sessions").await;
                assert_eq!(sessions["properties"]["meeting"]["type"], "keyword", "{name}");
                let settings = settings(&stage, "sessions").await;
                assert_eq!(
                    (
                        &settings["refresh_interval"],
                        &settings["number_of_shards"],
                        &settings["number_of_replicas"]
                    ),
                    (&json!("17s"), &json!("2"), &json!("0")),
                    "{name}: theirs stand"
                );
                stage.assert_index_is_the_account().await;
                assert!(stage.verify(Remedy::Tell).await.equal, "{name}");
            }
            let gone = stage.es().call("DELETE", path, None).await;
            assert_eq!(gone["acknowledged"], true, "{gone}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_with_wrong_types_is_named_before_writing_and_reindex_repairs_it() {
    for variable in ENGINES {
        let stage = staged(variable);
        // Guessed types, as after a restore under another name, or after a bulk request before the harvester's first run.
        let theirs = json!({
            "aliases": {stage.es().named("PREFIX-meetings"): {}},
            "settings": {"number_of_replicas": 0},
            "mappings": {"properties": {
                "uuid": {"type": "text", "fields": {"keyword": {"type": "keyword"}}},
                "host": {"properties": {"email": {"type": "text"}}},
            }},
        });
        let path = "/PREFIX-meetings-ACCOUNT-000001";
        let made = stage.es().call("PUT", path, Some(theirs)).await;
        assert_eq!(made["acknowledged"], true, "{made}");
        let summary = stage.sync(stage.days(9)).await;
        assert_eq!(summary.ending, Ending::Misconfigured, "{variable}");
        let said = summary.message.unwrap();
        assert!(
            said.contains("host.email is text, not keyword, uuid is text, not keyword"),
            "{said}"
        );
        assert!(said.contains("run `zoom-harvester reindex`"), "{said}");
        assert_eq!(summary.bulk_requests, 0, "{variable}");
        let checks = stage
            .es()
            .client()
            .check(&[zoom_harvester::model::IndexYear::ALL].into())
            .await;
        let wrong: Vec<_> = checks.iter().filter(|check| !check.ok).collect();
        assert_eq!(wrong.len(), 1, "{variable}: {checks:?}");
        assert!(
            wrong[0].said.contains("uuid is text, not keyword"),
            "{variable}: {checks:?}"
        );

        stage.rebuild(Default::default()).await.unwrap();
        let next = stage.sync(Scope::Resume).await;
        assert_eq!(next.ending, Ending::Done, "{variable}: {:?}", next.message);
        stage.assert_index_is_the_account().await;
        assert!(stage.verify(Remedy::Tell).await.equal, "{variable}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_behind_the_alias_is_never_changed() {
    for variable in ENGINES {
        let stage = staged(variable);
        let archive = json!({
            "aliases": {stage.es().named("PREFIX-meetings"): {}, stage.es().named("PREFIX-sessions"): {}},
            "settings": {"number_of_replicas": 0},
        });
        let made = stage.es().call("PUT", "/PREFIX-archive", Some(archive)).await;
        assert_eq!(made["acknowledged"], true, "{made}");
        let old = json!({"topic": "long ago", "account_id": "gone"});
        stage
            .es()
            .call("PUT", "/PREFIX-archive/_doc/old?refresh=true", Some(old))
            .await;
        assert_eq!(stage.sync(stage.days(9)).await.ending, Ending::Done, "{variable}");
        stage.rebuild(Default::default()).await.unwrap();
        assert!(stage.verify(Remedy::Tell).await.equal, "{variable}");
        assert_eq!(stage.sync(Scope::Resume).await.bulk_requests, 0, "{variable}");
        let count = |answer: Value| answer["count"].as_u64().unwrap_or_else(|| panic!("{answer}"));
        let searched = count(stage.es().call("GET", "/PREFIX-meetings/_count", None).await);
        let own = count(
            stage
                .es()
                .call("GET", "/PREFIX-meetings-ACCOUNT/_count", None)
                .await,
        );
        let world = stage.sim.with_world(|world| world.meetings.len());
        assert_eq!((searched, own), (31, 30), "{variable}");
        assert_eq!(world, 30);
        let checks = stage
            .es()
            .client()
            .check(&[zoom_harvester::model::IndexYear::ALL].into())
            .await;
        assert!(checks.iter().all(|check| check.ok), "{variable}: {checks:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_that_forbids_our_index_is_named() {
    for variable in ENGINES {
        let stage = staged(variable);
        let pattern = stage.es().named("PREFIX-*");
        let template = json!({"index_patterns": [pattern], "priority": 400, "data_stream": {}});
        let path = "/_index_template/PREFIX-streams";
        let put = stage.es().call("PUT", path, Some(template)).await;
        assert_eq!(put["acknowledged"], true, "{put}");
        let summary = stage.sync(stage.days(9)).await;
        assert_eq!(summary.ending, Ending::Misconfigured, "{variable}");
        let said = summary.message.unwrap();
        assert!(
            said.contains("cannot be made") && said.contains("narrow its pattern"),
            "{variable}: {said}"
        );
        stage.es().call("DELETE", path, None).await;
        assert_eq!(stage.sync(Scope::Resume).await.ending, Ending::Done, "{variable}");
        stage.assert_index_is_the_account().await;
    }
}
