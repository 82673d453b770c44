//! A fault at Zoom or on the way costs an item, a run, or nothing. The next run ends in the right state.

use crate::common::{ENGINES, Stage};
use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};
use zoom_harvester::{
    model::IndexKind,
    sim::{
        faults::FaultPlan,
        world::{Spec, World},
    },
    sync::{Ending, Scope},
};

fn small() -> World {
    World::generate(&Spec {
        seed: 11,
        hosts: 10,
        meetings: 60,
        sessions: 900,
        days: 8,
        now: Utc::now(),
    })
}

fn plan(rules: Value) -> FaultPlan {
    FaultPlan::from_json(&rules.to_string()).unwrap()
}

#[tokio::test]
async fn one_blocked_uuid_stops_nothing_and_is_dead_after_five_runs() {
    let stage = Stage::new(small(), None);
    let uuid = stage.sim.with_world(|world| world.meetings[7].uuid.clone());
    stage.sim.set_faults(plan(
        json!([{"uuid": uuid, "times": 1_000_000, "action": "blocked"}]),
    ));
    for run in 1..=7 {
        stage.sim.clear_log();
        let summary = stage
            .sync(if run == 1 { stage.days(9) } else { Scope::Resume })
            .await;
        assert_eq!(summary.ending, Ending::Incomplete);
        assert_eq!(stage.number("SELECT count(*) FROM payloads"), 59);
        assert_eq!(
            stage
                .sim
                .log()
                .iter()
                .filter(|one| one.uuid.as_ref() == Some(&uuid))
                .count(),
            usize::from(run <= 5),
            "run {run}"
        );
    }
    assert_eq!(
        stage.number("SELECT count(*) FROM meetings WHERE status = 'dead' AND failure LIKE '%firewall%'"),
        1
    );
    stage.sim.set_faults(FaultPlan::default());
    let mut catalog = zoom_harvester::catalog::Catalog::open(&stage.db()).unwrap();
    assert_eq!(catalog.retry().unwrap(), 1);
    drop(catalog);
    assert_eq!(stage.sync(Scope::Resume).await.ending, Ending::Done);
}

/// The details of the twenty oldest meetings always fail with 500. That looks like an outage of Zoom, but must not block later meetings.
#[tokio::test]
async fn a_day_of_failing_details_blocks_no_later_run() {
    let stage = Stage::new(small(), None);
    let mut oldest = stage.sim.with_world(|world| world.meetings.clone());
    oldest.sort_by_key(|one| one.end);
    let rules: Vec<Value> = oldest
        .iter()
        .take(20)
        .map(|one| json!({"endpoint": "detail", "uuid": one.uuid, "times": 1_000_000, "action": {"answer": {"status": 500}}}))
        .collect();
    stage.sim.set_faults(plan(rules.into()));
    stage.sync(stage.days(9)).await;
    let mut runs = 0;
    while stage.number("SELECT count(*) FROM meetings WHERE status = 'dead'") < 20 {
        runs += 1;
        assert!(runs < 25, "their attempts are never spent");
        stage.sim.with_world(|world| {
            let ended = Utc::now() - chrono::TimeDelta::minutes(60);
            world.add_meeting(1, ended, 20, 2)
        });
        let summary = stage.sync(Scope::Resume).await;
        assert_eq!(summary.tally.details, 1, "{:?}", summary.message);
    }
    assert_eq!(stage.sync(Scope::Resume).await.ending, Ending::Incomplete);
    assert_eq!(stage.number("SELECT count(*) FROM payloads"), 40 + runs);
}

/// A catalog that keeps nothing, though SQLite reports success: the run must end, and not use up the quota.
#[tokio::test]
async fn a_run_without_progress_ends() {
    let stage = Stage::new(small(), None);
    drop(stage.catalog());
    let conn = rusqlite::Connection::open(stage.db()).unwrap();
    conn.execute_batch(
        "CREATE TRIGGER nothing_is_kept BEFORE UPDATE OF detail_checksum ON meetings
         WHEN NEW.detail_checksum NOTNULL BEGIN SELECT RAISE(IGNORE); END;
         CREATE TRIGGER nor_are_sessions BEFORE INSERT ON sessions BEGIN SELECT RAISE(IGNORE); END",
    )
    .unwrap();
    let run = tokio::time::timeout(
        std::time::Duration::from_secs(60),
        stage.run(stage.days(9), true, false),
    );
    let run = run.await.expect("the run ends");
    assert!(
        matches!(run.ending, Ending::StoppedEarly { .. }),
        "{:?}",
        run.ending
    );
    assert!(run.message.unwrap().contains("is a bug"));
    let meetings = stage.sim.with_world(|world| world.meetings.len());
    assert!(stage.sim.count("detail") <= 8 * meetings);
}

#[tokio::test]
async fn while_zoom_is_down_no_attempt_counts() {
    let stage = Stage::new(small(), None);
    stage.sim.set_faults(plan(
        json!([{"endpoint": "detail", "times": 1_000_000, "action": {"answer": {"status": 503}}}]),
    ));
    for _ in 0..6 {
        let down = stage.sync(stage.days(9)).await;
        assert_eq!(down.ending, Ending::StoppedEarly { come_back_at: None });
    }
    assert_eq!(stage.number("SELECT sum(attempts) FROM meetings"), 0);
    stage.sim.set_faults(FaultPlan::default());
    assert_eq!(stage.sync(stage.days(9)).await.ending, Ending::Done);
}

#[tokio::test]
async fn an_empty_answer_does_not_empty_a_good_document() {
    let stage = Stage::new(small(), Some(ENGINES[0]));
    stage.sync(stage.days(9)).await;
    let uuid = stage.sim.with_world(|world| {
        let uuid = world
            .meetings
            .iter()
            .find(|one| one.sessions.len() > 3)
            .unwrap()
            .uuid
            .clone();
        world.extend(&uuid, 5);
        uuid
    });
    stage.sim.set_faults(plan(
        json!([{"uuid": uuid, "times": 2, "action": "no_participants"}]),
    ));
    assert_eq!(stage.sync(stage.days(9)).await.ending, Ending::Incomplete);
    let before = stage
        .sim
        .with_world(|world| world.meeting(&uuid).unwrap().sessions.len());
    assert_eq!(
        stage.es().all("meetings").await[&uuid].1["participant_sessions"],
        before
    );
    assert_eq!(stage.sync(stage.days(9)).await.ending, Ending::Done);
    stage.assert_index_is_the_account().await;
}

#[tokio::test]
async fn a_meeting_zoom_no_longer_has_is_gone_and_not_asked_again() {
    let stage = Stage::new(small(), None);
    let uuid = stage.sim.with_world(|world| {
        let old = Utc::now() - chrono::TimeDelta::days(3);
        world
            .meetings
            .iter()
            .find(|one| one.end < old)
            .unwrap()
            .uuid
            .clone()
    });
    let gone = json!({"answer": {"status": 404, "body": "{\"code\":3001,\"message\":\"Meeting ID is invalid or has not ended.\"}"}});
    stage.sim.set_faults(plan(
        json!([{"endpoint": "detail", "uuid": uuid, "times": 1_000, "action": gone}]),
    ));
    assert_eq!(stage.sync(stage.days(9)).await.ending, Ending::Done);
    assert_eq!(
        stage.number("SELECT count(*) FROM meetings WHERE status = 'gone'"),
        1
    );
    stage.sim.clear_log();
    stage.sync(stage.days(9)).await;
    assert_eq!(stage.sim.count("detail"), 0);
}

#[tokio::test]
async fn one_rejected_document_affects_no_other_and_retry_sends_it() {
    for variable in ENGINES {
        let stage = Stage::new(small(), Some(variable));
        let uuid = stage.sim.with_world(|world| world.meetings[5].uuid.clone());
        // Ids of more than 512 bytes are refused by every engine.
        let long = "u".repeat(600);
        stage
            .sim
            .with_world(|world| world.meeting_mut(&uuid).unwrap().uuid = long.clone());
        let summary = stage.sync(stage.days(9)).await;
        assert_eq!(
            (summary.ending, summary.tally.published),
            (Ending::Incomplete, 59),
            "{variable}"
        );
        assert_eq!(stage.number("SELECT count(*) FROM failures WHERE status = 'dead' AND reason LIKE 'rejected by Elasticsearch%'"), 1);
        let again = stage.sync(Scope::Resume).await;
        assert_eq!(
            (again.ending, again.bulk_requests),
            (Ending::Incomplete, 0),
            "never looping"
        );
        let mut catalog = zoom_harvester::catalog::Catalog::open(&stage.db()).unwrap();
        assert_eq!(catalog.retry().unwrap(), 1);
        drop(catalog);
        stage.sim.clear_log();
        assert!(
            stage.sync(Scope::Resume).await.bulk_requests > 0,
            "it is sent once more"
        );
        assert_eq!(stage.sim.count("detail"), 0);
    }
}

#[tokio::test]
async fn a_read_only_index_loses_nothing_and_rejects_nothing() {
    for variable in ENGINES {
        let stage = Stage::new(small(), Some(variable));
        stage
            .es()
            .client()
            .ensure(zoom_harvester::model::IndexYear::ALL)
            .await
            .unwrap();
        let block = |on: bool| json!({"index": {"blocks": {"write": on}}});
        stage
            .es()
            .call("PUT", "/PREFIX-sessions/_settings", Some(block(true)))
            .await;
        let summary = stage.sync(stage.days(9)).await;
        assert_eq!(
            summary.ending,
            Ending::StoppedEarly { come_back_at: None },
            "{:?}",
            summary.message
        );
        assert_eq!((summary.tally.published, summary.troubled), (0, 0));
        stage
            .es()
            .call("PUT", "/PREFIX-sessions/_settings", Some(block(false)))
            .await;
        assert_eq!(stage.sync(Scope::Resume).await.ending, Ending::Done);
        stage.assert_index_is_the_account().await;
    }
}

#[tokio::test]
async fn an_index_named_like_our_alias_is_left_alone() {
    for variable in ENGINES {
        let stage = Stage::new(small(), Some(variable));
        stage.es().call("PUT", "/PREFIX-meetings", Some(json!({}))).await;
        let summary = stage.sync(stage.days(9)).await;
        assert_eq!(summary.ending, Ending::Misconfigured);
        let said = summary.message.unwrap();
        assert!(
            said.contains("it is an index, where an alias should be"),
            "{said}"
        );
        assert_eq!(
            stage.number("SELECT count(*) FROM payloads"),
            60,
            "the harvest went on"
        );
        stage.es().call("DELETE", "/PREFIX-meetings", None).await;
        assert_eq!(stage.sync(Scope::Resume).await.ending, Ending::Done);
        stage.assert_index_is_the_account().await;
    }
}

#[tokio::test]
async fn mappings_give_every_field_its_type_on_both_engines() {
    for variable in ENGINES {
        let stage = Stage::new(small(), Some(variable));
        stage.sync(stage.days(9)).await;
        for (kind, types) in [
            (
                IndexKind::Meetings,
                [
                    ("start_time", "date"),
                    ("duration", "long"),
                    ("has_video", "boolean"),
                    ("uuid", "keyword"),
                ],
            ),
            (
                IndexKind::Sessions,
                [
                    ("ip_address", "ip"),
                    ("join_time", "date"),
                    ("recording", "boolean"),
                    ("user_id", "keyword"),
                ],
            ),
        ] {
            let alias = stage.es().client().alias(kind);
            let answer = stage.es().call("GET", &format!("/{alias}/_mapping"), None).await;
            let mapping = answer.as_object().unwrap().values().next().unwrap();
            for (field, expected) in types {
                assert_eq!(
                    mapping["mappings"]["properties"][field]["type"], expected,
                    "{field}"
                );
            }
            assert_eq!(mapping["mappings"]["properties"].get("has_unheard_of"), None);
        }
        stage.es().call("POST", "/PREFIX-sessions/_refresh", None).await;
        let networks =
            json!({"size": 0, "query": {"term": {"ip_address": "192.0.2.0/24"}}, "track_total_hits": true});
        let found = stage
            .es()
            .call("POST", "/PREFIX-sessions/_search", Some(networks))
            .await;
        assert!(found["hits"]["total"]["value"].as_u64().unwrap() > 0, "{found}");
    }
}

/// An inconsistent detail is kept, each session once, and fetched again until it is consistent. SQL shows which details are doubted, and why.
#[tokio::test]
async fn a_detail_that_contradicts_itself_is_doubted_and_fetched_again() {
    for (action, reason) in [
        (json!("row_repeated"), "1 rows came twice; each is kept once"),
        (
            json!({"wrong_total": 3}),
            "2 sessions more are shown than Zoom counts",
        ),
        (
            json!({"total_too_high": 2}),
            "2 sessions that Zoom counts are not shown",
        ),
    ] {
        let stage = Stage::new(World::default(), None);
        stage.sim.with_world(|world| {
            world.hosts = small().hosts;
            world.add_meeting(1, Utc::now() - TimeDelta::hours(3), 60, 5);
        });
        stage.sim.set_faults(plan(
            json!([{"endpoint": "detail", "times": 1_000_000, "action": action}]),
        ));
        stage.sync(Scope::Resume).await;
        let doubted = stage.number(&format!(
            "SELECT count(*) FROM doubted_meetings WHERE reason = '{reason}' AND sessions = 5 AND next_look LIKE '20%'"
        ));
        assert_eq!(doubted, 1, "{reason}");
        assert_eq!(stage.number("SELECT count(*) FROM sessions"), 5);

        // Zoom answers correctly again.
        stage.sim.set_faults(FaultPlan::default());
        stage.clock.advance(TimeDelta::minutes(11));
        stage.sync(Scope::Resume).await;
        assert_eq!(stage.number("SELECT count(*) FROM doubted_meetings"), 0);
        assert_eq!(stage.number("SELECT count(*) FROM sessions"), 5);
        let fetched = stage.sim.count("detail");
        stage.clock.advance(TimeDelta::days(2));
        stage.sync(Scope::Resume).await;
        assert_eq!(stage.sim.count("detail"), fetched, "believed: not again");
    }
}
