//! What goes wrong at Zoom or on the way costs an item, a run, or nothing: and the next run ends with the truth.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests"
)]

mod common;

use chrono::Utc;
use common::{ENGINES, Stage};
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

/// What a fault does to the run it meets.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Costs {
    /// The client deals with it.
    Nothing,
    /// An item, or a window: exit 2.
    AnItem,
    /// The run: exit 3.
    TheRun,
    /// The run, and somebody must change something: exit 1.
    Setup,
}

#[tokio::test]
async fn whatever_goes_wrong_the_next_run_ends_with_the_truth() {
    use Costs::{AnItem, Nothing, Setup, TheRun};
    let once = |endpoint: &str, action: Value| json!([{"endpoint": endpoint, "from": 2, "action": action}]);
    let always =
        |endpoint: &str, action: Value| json!([{"endpoint": endpoint, "times": 1_000_000, "action": action}]);
    let status = |status: u16| json!({"answer": {"status": status, "body": "<html>ill</html>"}});
    let refusal = |status: u16, code: i64| json!({"answer": {"status": status, "body": format!("{{\"code\":{code},\"message\":\"m\"}}")}});
    let mut cases: Vec<(String, Value, Costs)> = Vec::new();
    for endpoint in ["listing", "detail", "hosts", "series", "token"] {
        for (name, action) in [
            ("500", status(500)),
            ("502", status(502)),
            ("503", status(503)),
            ("504", status(504)),
            ("reset", json!("reset")),
            ("truncated", json!("truncated")),
        ] {
            let rules = json!([{"endpoint": endpoint, "from": 1, "times": 2, "action": action}]);
            cases.push((format!("{endpoint}: {name} twice"), rules, Nothing));
            let after = json!([{"endpoint": endpoint, "from": 1, "after": true, "action": action}]);
            cases.push((format!("{endpoint}: {name} after it acted"), after, Nothing));
        }
    }
    for endpoint in ["detail", "series"] {
        for action in ["too_fast", "too_fast_empty", "unauthorised"] {
            cases.push((
                format!("{endpoint}: {action}"),
                once(endpoint, json!(action)),
                Nothing,
            ));
        }
        cases.push((
            format!("{endpoint}: seconds"),
            once(endpoint, json!({"too_fast_seconds": 1})),
            Nothing,
        ));
    }
    cases.push((
        "detail: wrong total".into(),
        always("detail", json!({"wrong_total": 0})),
        Nothing,
    ));
    cases.push((
        "listing: wrong total".into(),
        always("listing", json!({"wrong_total": 7})),
        Nothing,
    ));
    cases.push((
        "listing: shorter echo".into(),
        json!([{"endpoint": "listing", "times": 2, "action": {"earlier_to": 1}}]),
        Nothing,
    ));
    cases.push((
        "listing: end time refused".into(),
        json!([{"endpoint": "listing", "action": refusal(400, 12700)}]),
        Nothing,
    ));
    cases.push((
        "detail: blocked".into(),
        json!([{"endpoint": "detail", "action": "blocked"}]),
        AnItem,
    ));
    cases.push((
        "detail: redirect".into(),
        json!([{"endpoint": "detail", "action": "redirect"}]),
        AnItem,
    ));
    cases.push((
        "detail: refused".into(),
        json!([{"endpoint": "detail", "action": refusal(400, 300)}]),
        AnItem,
    ));
    cases.push(("detail: not a list".into(), json!([{"endpoint": "detail", "action": {"answer": {"status": 200, "body": "{\"participants\":null}"}}}]), AnItem));
    cases.push((
        "listing: not a list".into(),
        json!([{"endpoint": "listing", "action": {"answer": {"status": 200, "body": "{}"}}}]),
        AnItem,
    ));
    cases.push((
        "listing: 500 for ever".into(),
        always("listing", status(500)),
        TheRun,
    ));
    cases.push((
        "detail: 500 for ever".into(),
        always("detail", status(500)),
        TheRun,
    ));
    cases.push((
        "detail: reset for ever".into(),
        always("detail", json!("reset")),
        TheRun,
    ));
    cases.push(("token: 503 for ever".into(), always("token", status(503)), TheRun));
    for endpoint in ["listing", "detail", "hosts", "series"] {
        cases.push((
            format!("{endpoint}: daily"),
            always(endpoint, json!("daily")),
            TheRun,
        ));
        cases.push((
            format!("{endpoint}: scopes"),
            always(endpoint, json!("scopes")),
            Setup,
        ));
        cases.push((
            format!("{endpoint}: scopes, broken JSON"),
            always(endpoint, json!("scopes_broken")),
            Setup,
        ));
    }
    let credentials = json!({"answer": {"status": 400, "body": "{\"reason\":\"Invalid client_id or client_secret\",\"error\":\"invalid_client\"}"}});
    cases.push(("token: credentials".into(), always("token", credentials), Setup));
    let dashboards = json!({"answer": {"status": 400, "body": "{\"code\":200,\"message\":\"This API is only available for Business or higher accounts that have enabled the Dashboard feature.\"}"}});
    cases.push((
        "listing: no dashboards".into(),
        always("listing", dashboards),
        Setup,
    ));

    for (name, rules, costs) in cases {
        meets(&name, small(), rules, costs).await;
    }
}

/// The same on every page of a list, first, middle and last: 3 pages of meetings, 3 pages of one meeting's sessions.
#[tokio::test]
async fn a_page_that_goes_wrong_is_read_again_or_the_list_is_not_used() {
    use Costs::{AnItem, Nothing};
    let paged = || {
        let mut world = small();
        for n in 0..600 {
            world.add_meeting(
                1,
                Utc::now() - chrono::TimeDelta::days(2) - chrono::TimeDelta::minutes(n),
                5,
                2,
            );
        }
        world.add_meeting(2, Utc::now() - chrono::TimeDelta::days(1), 90, 700);
        world
    };
    for endpoint in ["listing", "detail"] {
        for page in 1..=3 {
            for action in [
                json!("reset"),
                json!("truncated"),
                json!({"answer": {"status": 502, "body": "<html>"}}),
            ] {
                let rules = json!([{"endpoint": endpoint, "page": page, "times": 2, "action": action}]);
                meets(
                    &format!("{endpoint}, page {page}: {action}"),
                    paged(),
                    rules,
                    Nothing,
                )
                .await;
            }
        }
        for page in 2..=3 {
            let expired =
                json!([{"endpoint": endpoint, "page": page, "times": 2, "action": "token_expired"}]);
            meets(
                &format!("{endpoint}, page {page}: token expired twice"),
                paged(),
                expired,
                Nothing,
            )
            .await;
            let repeated = json!([{"endpoint": endpoint, "page": page, "action": "token_repeated"}]);
            meets(
                &format!("{endpoint}, page {page}: token repeated"),
                paged(),
                repeated,
                AnItem,
            )
            .await;
        }
    }
}

async fn meets(name: &str, world: World, rules: Value, costs: Costs) {
    use Costs::{AnItem, Nothing, Setup, TheRun};
    let stage = Stage::new(world, None);
    stage.sim.set_faults(plan(rules));
    let summary = stage.sync(stage.days(9)).await;
    let met = match &summary.ending {
        Ending::Done => Nothing,
        Ending::Incomplete => AnItem,
        Ending::StoppedEarly { .. } => TheRun,
        Ending::Misconfigured => Setup,
        Ending::Interrupted => panic!("{name}"),
    };
    assert_eq!(met, costs, "{name}: {:?}", summary.message);
    stage.sim.set_faults(FaultPlan::default());
    let next = stage.sync(stage.days(9)).await;
    assert_eq!(next.ending, Ending::Done, "{name}: {:?}", next.message);
    let truth = stage
        .sim
        .with_world(|world| (world.meetings.len() as i64, world.count_sessions() as i64));
    let kept = (
        stage.number("SELECT count(*) FROM meetings"),
        stage.number("SELECT sum(sessions) FROM meetings"),
    );
    assert_eq!(kept, truth, "{name}");
    assert_eq!(
        stage.number("SELECT count(*) FROM meetings WHERE vanished_at IS NOT NULL"),
        0,
        "{name}"
    );
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

/// Twenty oldest meetings answer 500 for ever: that looks like a Zoom that is down, and must not keep later meetings from their turn.
#[tokio::test]
async fn a_day_of_meetings_that_zoom_cannot_give_wedges_no_later_run() {
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
    stage
        .sim
        .set_faults(plan(json!([{"uuid": uuid, "action": "no_participants"}])));
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
async fn a_meeting_zoom_no_longer_has_is_gone_and_asked_no_more() {
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
async fn a_poisonous_document_is_rejected_alone_and_retry_brings_it_back() {
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
        stage.es().client().ensure().await.unwrap();
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
async fn what_stands_under_our_names_and_is_not_ours_is_left_alone() {
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
