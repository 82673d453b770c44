//! If the account's history agrees with the hosts' lists, hosts without news are not listed. Nothing is concluded from the history alone.

use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt;
use serde_json::json;
use zoom_harvester::{
    model::Source,
    privacy::{Field, Policy, Treatment},
    sim::{
        History,
        faults::FaultPlan,
        world::{Spec, World},
    },
    sync::{Ending, Scope, Summary},
    zoom::pace::Plan,
};

use crate::{
    common::{ENGINES, Stage},
    matrix,
};

/// Noon of a day in the middle of a month, so that no test depends on the date.
const BEGINS: &str = "2026-03-10T12:00:00Z";

const HOSTS: usize = 12;

/// A Pro account. All its hosts had meetings in the last days.
fn staged(seed: u64, variable: Option<&str>) -> Stage {
    let begun: DateTime<Utc> = BEGINS.parse().unwrap();
    let mut world = World::generate(&Spec {
        seed,
        hosts: HOSTS,
        meetings: 0,
        sessions: 0,
        days: 4,
        now: begun,
    });
    for host in 0..HOSTS {
        for back in [3_i64, 20, 30, 50] {
            let start = begun - TimeDelta::hours(back) - TimeDelta::minutes(7 * host as i64);
            world.add_meeting(host, start, 25, if back == 20 { 1 } else { 3 });
        }
    }
    let mut stage = Stage::new(world, variable);
    stage.clock.advance(begun - Utc::now());
    stage.sim.with_setup(|setup| setup.dashboards = false);
    stage.plan = Plan::Pro;
    stage.source = Some(Source::Reports);
    stage
}

/// A run without dates, and how many requests it made for the history, the hosts, the hosts' lists, and details.
async fn run(stage: &Stage) -> (Summary, [usize; 4]) {
    stage.sim.clear_log();
    let summary = stage.run(Scope::Resume, true, stage.elastic.is_some()).await;
    let asked = ["history", "hosts", "report_listing", "report_detail"];
    (summary, asked.map(|endpoint| stage.sim.count(endpoint)))
}

/// The requests of a run that must succeed.
async fn asked(stage: &Stage) -> [usize; 4] {
    let (summary, asked) = run(stage).await;
    assert_eq!(
        summary.ending,
        Ending::Done,
        "{:?} {:?}",
        summary.message,
        said(stage)
    );
    asked
}

/// The messages about the history.
fn said(stage: &Stage) -> Vec<String> {
    let heard = stage.heard.0.lock().unwrap();
    heard
        .iter()
        .filter(|line| line.contains("history"))
        .cloned()
        .collect()
}

/// The requests to read every list once, as without the history.
const EVERY_LIST: usize = 2 * HOSTS;

/// The requests of the first run: the history, the hosts, every list, and the four meetings of each host.
const FIRST: [usize; 4] = [1, 1, EVERY_LIST, 4 * HOSTS];

#[tokio::test(flavor = "multi_thread")]
async fn only_hosts_with_news_are_listed() {
    for variable in ENGINES {
        let stage = staged(51, Some(variable));
        assert_eq!(asked(&stage).await, FIRST);
        assert!(said(&stage)[0].contains("agrees"), "{:?}", said(&stage));
        stage.assert_index_is_the_account().await;

        // Nothing is new: one request.
        let (idle, counts) = run(&stage).await;
        assert_eq!(
            (idle.ending, idle.bulk_requests, counts),
            (Ending::Done, 0, [1, 0, 0, 0])
        );

        // One meeting more, one longer, one of another host renamed: the lists of those three.
        let now = stage.clock.now();
        stage.sim.with_world(|world| {
            world.add_meeting(4, now - TimeDelta::minutes(50), 20, 2);
            let of = |host: usize| {
                let found = world.meetings.iter().find(|one| one.host == host).unwrap();
                found.uuid.clone()
            };
            let (longer, renamed) = (of(6), of(7));
            world.extend(&longer, 3);
            world.meeting_mut(&renamed).unwrap().topic = "Renamed".into();
        });
        assert_eq!(asked(&stage).await, [1, 1, 6, 2]);
        stage.assert_index_is_the_account().await;
        assert_eq!(asked(&stage).await, [1, 0, 0, 0]);

        // One meeting is deleted: its host is listed, and listed once more before the deletion counts.
        let deleted = stage.sim.with_world(|world| {
            let at = world.meetings.iter().rposition(|one| one.host == 2).unwrap();
            world.meetings.remove(at).uuid
        });
        assert_eq!(asked(&stage).await, [2, 2, 4, 0]);
        assert_eq!(
            stage.texts("SELECT meeting_uuid FROM meetings WHERE vanished_at IS NOT NULL"),
            [deleted]
        );
        assert_eq!(asked(&stage).await, [1, 0, 0, 0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_settles_only_once_every_host_was_listed() {
    let stage = staged(52, None);
    asked(&stage).await;
    let settled = "SELECT count(*) FROM windows WHERE settled_at IS NOT NULL";
    // The day before can be settled from midnight on. Until then the history is enough.
    for _ in 0..11 {
        stage.clock.advance(TimeDelta::hours(1));
        assert_eq!(asked(&stage).await, [1, 0, 0, 0]);
    }
    assert_eq!(stage.number(settled), 0);
    stage.clock.advance(TimeDelta::hours(1));
    assert_eq!(asked(&stage).await, [0, 1, EVERY_LIST, 0]);
    assert_eq!(stage.number(settled), 1);
    assert_eq!(asked(&stage).await, [1, 0, 0, 0]);
    // A day later the history is compared again.
    stage.clock.advance(TimeDelta::hours(24));
    assert_eq!(asked(&stage).await[0], 1);
    assert_eq!(stage.number("SELECT history_agrees FROM account"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_that_fails_or_disagrees_is_not_used() {
    let no_scope = r#"[{"endpoint": "history", "times": "always", "action": {"refused": {"status": 400, "code": 4711,
        "message": "Invalid access token, does not contain scopes:[report:read:list_history_meetings:admin]."}}}]"#;
    let no_plan = r#"[{"endpoint": "history", "times": "always", "action": {"refused": {"status": 400, "code": 200,
        "message": "Only available for paid accounts."}}}]"#;
    let page_size = r#"[{"endpoint": "history", "times": "always", "action": {"refused": {"status": 400, "code": 300,
        "message": "Invalid parameter: page_size."}}}]"#;
    let bad_row = r#"[{"endpoint": "history", "times": "always", "action": "null_row"}]"#;
    let no_list = r#"[{"endpoint": "history", "times": "always", "action": "no_list"}]"#;
    let failing = r#"[{"endpoint": "history", "times": "always", "action": {"status": 503}}]"#;
    let cases = [
        (History::WithoutOnePerson, "", "differs"),
        (History::Late(TimeDelta::hours(26)), "", "differs"),
        (History::Missing, "", "not recognized"),
        (History::Whole, no_scope, "list_history_meetings"),
        (History::Whole, no_plan, "paid accounts"),
        (History::Whole, page_size, "page_size"),
        (History::Whole, bad_row, "no object"),
        (History::Whole, no_list, "history_meetings"),
        (History::Whole, failing, "503"),
    ];
    for (history, faults, word) in cases {
        let stage = staged(53, None);
        stage.sim.with_setup(|setup| setup.history = history);
        if !faults.is_empty() {
            stage.sim.set_faults(FaultPlan::from_json(faults).unwrap());
        }
        let [first, hosts, lists, details] = asked(&stage).await;
        assert!(first >= 1, "{word}");
        assert_eq!([hosts, lists, details], FIRST[1..], "{word}");
        assert_eq!(said(&stage).len(), 1, "{:?}", said(&stage));
        assert!(said(&stage)[0].contains(word), "{:?}", said(&stage));
        // The history is not requested again the same day, and no further message is about it.
        assert_eq!(asked(&stage).await, [0, 1, EVERY_LIST, 0], "{word}");
        stage.clock.advance(TimeDelta::hours(21));
        assert_eq!(asked(&stage).await[1..], [1, EVERY_LIST, 0], "{word}");
        assert_eq!(said(&stage).len(), 1, "{:?}", said(&stage));
        // The history agrees at last.
        stage.sim.with_setup(|setup| setup.history = History::Whole);
        stage.sim.set_faults(FaultPlan::default());
        stage.clock.advance(TimeDelta::hours(21));
        asked(&stage).await;
        assert!(said(&stage)[1].contains("agrees"), "{word}: {:?}", said(&stage));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_a_trusted_history_fails_every_host_is_listed_in_the_same_run() {
    let new_meeting = |stage: &Stage, host: usize| {
        let now = stage.clock.now();
        stage
            .sim
            .with_world(|world| world.add_meeting(host, now - TimeDelta::minutes(50), 20, 2));
    };
    for action in [
        r#"{"refused": {"status": 404, "code": 2300, "message": "This API endpoint is not recognized."}}"#,
        r#""null_row""#,
        r#""no_list""#,
        r#""scopes""#,
        r#""token_repeated""#,
    ] {
        let stage = staged(54, None);
        asked(&stage).await;
        let rule = format!(r#"[{{"endpoint": "history", "times": "always", "action": {action}}}]"#);
        stage.sim.set_faults(FaultPlan::from_json(&rule).unwrap());
        new_meeting(&stage, 5);
        assert_eq!(asked(&stage).await[1..], [1, EVERY_LIST, 1], "{action}");
        assert!(said(&stage)[1].contains("not used"), "{:?}", said(&stage));
        assert_eq!(asked(&stage).await, [0, 1, EVERY_LIST, 0], "{action}");
    }

    // The lists of the host with news fail: nothing is lost, and the next run reads them.
    let stage = staged(54, None);
    asked(&stage).await;
    new_meeting(&stage, 5);
    let rule = r#"[{"endpoint": "report_listing", "times": "always", "action": {"status": 503}}]"#;
    stage.sim.set_faults(FaultPlan::from_json(rule).unwrap());
    let (failed, counts) = run(&stage).await;
    assert_eq!(
        (counts[0], counts[1], counts[3]),
        (1, 1, 0),
        "{:?}",
        failed.ending
    );
    let heard = stage.heard.0.lock().unwrap().join("\n");
    assert!(heard.contains("503"), "{heard}");
    stage.sim.set_faults(FaultPlan::default());
    assert_eq!(asked(&stage).await, [1, 1, 2, 1]);

    // An unknown host: it is not clear whose lists to read, so all are read.
    let stage = staged(54, None);
    asked(&stage).await;
    let row = r#"{"history_meetings": [{"meeting_uuid": "unheard-of==", "meeting_id": 93201235621, "type": "Meeting", "host_email": "nobody@example.org",
        "start_time": "2026-03-10T09:00:00Z", "end_time": "2026-03-10T09:30:00Z", "topic": "x", "participants": 2}], "next_page_token": ""}"#;
    let rule = json!([{"endpoint": "history", "action": {"answer": {"status": 200, "body": row}}}]);
    stage
        .sim
        .set_faults(FaultPlan::from_json(&rule.to_string()).unwrap());
    assert_eq!(asked(&stage).await, [1, 1, EVERY_LIST, 0]);

    // The quota is used up: the run stops, and the next one goes on.
    stage
        .sim
        .set_faults(FaultPlan::from_json(r#"[{"endpoint": "history", "action": "daily"}]"#).unwrap());
    let (stopped, counts) = run(&stage).await;
    assert!(
        matches!(stopped.ending, Ending::StoppedEarly { .. }),
        "{:?}",
        stopped.ending
    );
    assert_eq!(counts, [1, 0, 0, 0]);
    stage.clock.advance(TimeDelta::hours(5));
    assert_eq!(asked(&stage).await, [1, 0, 0, 0]);
}

/// Every fault of Zoom's: the run loses nothing, and the next one ends in the right state.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_goes_wrong_with_the_history_the_next_run_ends_with_the_truth() {
    let mut cases = Vec::new();
    for (action, lasts) in matrix::actions() {
        // If the answer does not say when to retry, the client waits a second, twenty times.
        cases.push((action, json!(1)));
        if lasts && !["\"stall\"", "\"silent\""].contains(&action) {
            cases.push((action, json!("always")));
        }
    }
    assert!(cases.len() > 60);
    let told = cases.into_iter().map(async |(action, times)| {
        let mut stage = staged(62, None);
        stage
            .sim
            .with_world(|world| world.meetings.retain(|one| [2, 3, 5].contains(&one.host)));
        asked(&stage).await;
        let now = stage.clock.now();
        let deleted = stage.sim.with_world(|world| {
            world.add_meeting(5, now - TimeDelta::minutes(50), 20, 2);
            let at = world.meetings.iter().position(|one| one.host == 2).unwrap();
            world.meetings.remove(at).uuid
        });
        let rule = json!([{"endpoint": "history", "times": times,
            "action": serde_json::from_str::<serde_json::Value>(action).unwrap()}]);
        stage
            .sim
            .set_faults(FaultPlan::from_json(&rule.to_string()).unwrap());
        stage.timeout = std::time::Duration::from_millis(1_500);
        stage.run(Scope::Resume, true, false).await;
        let vanished = "SELECT meeting_uuid FROM meetings WHERE vanished_at IS NOT NULL";
        let lost = stage.texts(vanished);
        assert!(
            lost.iter().all(|uuid| *uuid == deleted),
            "{action}, {times}: {lost:?}"
        );
        stage.sim.set_faults(FaultPlan::default());
        stage.timeout = std::time::Duration::from_secs(10);
        // The day's quota may be used up.
        stage.clock.advance(TimeDelta::hours(6));
        assert_eq!(run(&stage).await.0.ending, Ending::Done, "{action}, {times}");
        assert_eq!(stage.texts(vanished), [deleted], "{action}, {times}");
        let all = stage.sim.with_world(|world| world.meetings.len()) as i64;
        let kept = "SELECT count(*) FROM meetings WHERE vanished_at IS NULL AND detail_checksum IS NOT NULL";
        assert_eq!(stage.number(kept), all, "{action}, {times}");
    });
    futures::stream::iter(told)
        .buffer_unordered(8)
        .collect::<Vec<()>>()
        .await;
}

/// The history shows nothing at all, or too little. The hosts' own lists decide, and nothing vanishes.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_vanishes_by_the_history_alone() {
    for action in ["empty_list", "cut_list"] {
        let stage = staged(55, None);
        asked(&stage).await;
        let rule = format!(r#"[{{"endpoint": "history", "times": "always", "action": "{action}"}}]"#);
        stage.sim.set_faults(FaultPlan::from_json(&rule).unwrap());
        assert_eq!(asked(&stage).await, [1, 1, EVERY_LIST, 0]);
        assert_eq!(
            stage.number("SELECT count(*) FROM meetings WHERE vanished_at IS NOT NULL"),
            0
        );
    }
}

/// What a trusted history leaves out is found when the day's lists are read. After that the history is no longer trusted.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_trusted_history_leaves_out_is_found_a_day_later() {
    let stage = staged(56, Some(ENGINES[0]));
    asked(&stage).await;
    stage
        .sim
        .with_setup(|setup| setup.history = History::WithoutOnePerson);
    let now = stage.clock.now();
    stage
        .sim
        .with_world(|world| world.add_meeting(3, now - TimeDelta::minutes(50), 20, 1));
    // Known meetings of one person are missing in the history, so the lists of their hosts are read, with the new meeting in one of them.
    assert_eq!(asked(&stage).await, [1, 1, EVERY_LIST, 1]);

    let stage = staged(57, Some(ENGINES[0]));
    asked(&stage).await;
    stage
        .sim
        .with_setup(|setup| setup.history = History::Late(TimeDelta::days(3)));
    let now = stage.clock.now();
    stage.sim.with_world(|world| {
        world
            .meetings
            .retain(|one| one.host != 3 || one.end < now - TimeDelta::days(9));
        world.add_meeting(3, now - TimeDelta::minutes(50), 20, 2)
    });
    stage.clock.advance(TimeDelta::hours(36));
    asked(&stage).await;
    assert_eq!(stage.number("SELECT history_agrees FROM account"), 0);
    let missing = "SELECT count(*) FROM meetings WHERE vanished_at IS NULL";
    let all = stage.sim.with_world(|world| world.meetings.len()) as i64;
    assert_eq!(stage.number(missing), all);
}

#[tokio::test(flavor = "multi_thread")]
async fn dated_runs_and_small_accounts_do_not_use_the_history() {
    let stage = staged(58, None);
    asked(&stage).await;
    stage.sim.clear_log();
    stage.run(stage.days(2), true, false).await;
    assert_eq!(
        (stage.sim.count("history"), stage.sim.count("report_listing")),
        (0, EVERY_LIST)
    );

    let stage = staged(59, None);
    stage
        .sim
        .with_world(|world| world.meetings.retain(|one| one.host < 2));
    assert_eq!(asked(&stage).await[..3], [0, 1, 4]);
}

/// Names and topics are kept as pseudonyms: what the history shows is compared in the same form.
#[tokio::test(flavor = "multi_thread")]
async fn the_history_works_under_a_privacy_policy() {
    let mut stage = staged(60, None);
    let fields = Field::ALL.map(|(field, _)| (field, Treatment::Pseudonymise));
    let key = Some("0123456789abcdef".to_owned().into());
    stage.policy = Policy::new(fields.into(), true, key).unwrap();
    asked(&stage).await;
    assert_eq!(asked(&stage).await, [1, 0, 0, 0], "{:?}", said(&stage));
    let now = stage.clock.now();
    stage
        .sim
        .with_world(|world| world.add_meeting(5, now - TimeDelta::minutes(50), 20, 2));
    assert_eq!(asked(&stage).await, [1, 1, 2, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn webinars_are_news_where_they_are_wanted() {
    for wanted in [false, true] {
        let mut stage = staged(61, None);
        stage.webinars = wanted;
        asked(&stage).await;
        let now = stage.clock.now();
        stage
            .sim
            .with_world(|world| world.add_webinar(5, now - TimeDelta::minutes(50), 20, 2));
        let [history, hosts, lists, details] = asked(&stage).await;
        let fetched = stage.sim.count("report_webinar_detail");
        let expected = if wanted { [1, 1, 2, 0] } else { [1, 0, 0, 0] };
        assert_eq!([history, hosts, lists, details], expected);
        assert_eq!(fetched, usize::from(wanted));
    }
}
