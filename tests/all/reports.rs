//! Accounts without dashboards, from Zoom's reports: the same promises, with the fewest requests.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{Datelike, TimeDelta, Utc};
use zoom_harvester::{
    model::Source,
    sim::{
        faults::FaultPlan,
        world::{Spec, World},
    },
    sync::{Ending, Scope},
    zoom::pace::Plan,
};

use crate::common::{ENGINES, Stage};

/// The account of a Pro plan.
fn staged(seed: u64, variable: Option<&str>) -> Stage {
    let world = World::generate(&Spec {
        seed,
        hosts: 5,
        meetings: 40,
        sessions: 160,
        days: 6,
        now: Utc::now(),
    });
    let mut stage = Stage::new(world, variable);
    stage.sim.with_setup(|setup| {
        setup.dashboards = false;
        setup.scopes = "report:read:admin meeting:read:admin user:read:admin".to_owned();
    });
    stage.plan = Plan::Pro;
    // The program sets this from ZOOM_PLAN.
    stage.source = Some(Source::Reports);
    stage
}

/// Requests, by endpoint.
fn asked(stage: &Stage) -> Vec<(&'static str, usize)> {
    [
        "listing",
        "detail",
        "hosts",
        "report_listing",
        "report_detail",
        "past_meeting",
    ]
    .into_iter()
    .map(|endpoint| (endpoint, stage.sim.count(endpoint)))
    .filter(|(_, count)| *count > 0)
    .collect()
}

/// The number of active hosts in each window of the last days. A listing never crosses the end of a month.
fn active(stage: &Stage, days: i64) -> Vec<usize> {
    let today = stage.clock.now().date_naive();
    let mut windows: BTreeMap<u32, BTreeSet<usize>> = BTreeMap::new();
    for back in 0..days {
        let day = today - TimeDelta::days(back);
        let hosts = windows.entry(day.month()).or_default();
        stage.sim.with_world(|world| {
            let on = world.meetings.iter().filter(|one| one.start.date_naive() == day);
            hosts.extend(on.map(|one| one.host));
        });
    }
    windows.values().map(BTreeSet::len).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pro_account_is_harvested_whole_with_the_least_requests() {
    for variable in ENGINES {
        let stage = staged(31, Some(variable));
        let cold = stage.sync(stage.days(9)).await;
        assert_eq!(
            cold.ending,
            Ending::Done,
            "{:?} {:?}",
            cold.message,
            stage.heard.0.lock().unwrap()
        );
        stage.assert_index_is_the_account().await;
        let meetings = stage.sim.with_world(|world| world.meetings.len());
        let counts = asked(&stage);
        assert!(counts.contains(&("report_detail", meetings)), "{counts:?}");
        assert!(
            !counts
                .iter()
                .any(|(name, _)| matches!(*name, "listing" | "detail" | "past_meeting")),
            "{counts:?}"
        );
        // The days and two before them. Two lists per host, and the hosts once: they are not requested again to learn whose meetings these are.
        let active = active(&stage, 11);
        assert_eq!(
            (stage.sim.count("hosts"), stage.sim.count("report_listing")),
            (active.len(), 2 * active.iter().sum::<usize>()),
            "{counts:?}"
        );

        // One document shape: what the reports do not know is absent, never empty.
        for (_, document) in stage.es().all("meetings").await.values() {
            assert_eq!(
                (&document["source"], &document["kind"]),
                (&"reports".into(), &"meeting".into())
            );
        }
        for (_, document) in stage.es().all("sessions").await.values() {
            assert_eq!(
                (&document["source"], &document["kind"]),
                (&"reports".into(), &"meeting".into())
            );
            assert!(
                document["user_name"]
                    .as_str()
                    .is_some_and(|name| !name.is_empty())
            );
            assert!(document["duration"].is_number() && document["host"]["host_id"].is_string());
            for unknown in [
                "device",
                "ip_address",
                "location",
                "network_type",
                "name",
                "user_email",
            ] {
                assert!(document.get(unknown).is_none(), "{unknown}");
            }
        }

        stage.sim.clear_log();
        let idle = stage.sync(stage.days(9)).await;
        assert_eq!((idle.ending, idle.bulk_requests), (Ending::Done, 0));
        assert_eq!(
            stage.sim.count("report_detail"),
            0,
            "an unchanged run fetches nothing"
        );

        // Later there is one meeting more, and one meeting with one more participant.
        let changed = stage.sim.with_world(|world| {
            let start = Utc::now() - TimeDelta::hours(30);
            world.add_meeting(1, start, 20, 2);
            let uuid = world.meetings[3].uuid.clone();
            world.add_session(&uuid);
            uuid
        });
        stage.sim.clear_log();
        let later = stage.sync(stage.days(9)).await;
        assert_eq!(
            (later.ending, stage.sim.count("report_detail")),
            (Ending::Done, 2),
            "{changed}"
        );
        stage.assert_index_is_the_account().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn days_settle_and_a_resumed_run_lists_only_what_is_open() {
    let stage = staged(32, None);
    stage.run(stage.days(6), true, false).await;
    stage.clock.advance(TimeDelta::hours(30));
    stage.run(Scope::Resume, true, false).await;
    stage.sim.clear_log();
    stage.run(Scope::Resume, true, false).await;
    let open = stage.number("SELECT count(*) FROM windows WHERE settled_at IS NULL");
    assert!((1..=3).contains(&open), "{open}");
    assert_eq!(stage.sim.count("report_detail"), 0);
    assert!(stage.sim.count("report_listing") <= 2 * active(&stage, 5).iter().sum::<usize>());

    // A list that cannot be read completely keeps the days open, however many runs there are.
    let stage = staged(36, None);
    let failing = r#"[{"endpoint": "report_listing", "from": 2, "times": "always", "action": "null_row"}]"#;
    stage.sim.set_faults(FaultPlan::from_json(failing).unwrap());
    let settled = "SELECT count(*) FROM windows WHERE settled_at IS NOT NULL";
    for _ in 0..3 {
        stage.run(stage.days(6), true, false).await;
        stage.clock.advance(TimeDelta::hours(30));
    }
    assert_eq!(stage.number(settled), 0);
    stage.sim.set_faults(FaultPlan::default());
    for _ in 0..2 {
        stage.run(stage.days(6), true, false).await;
    }
    assert!(stage.number(settled) > 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_replace_refused_dashboards_and_zoom_source_forces_one() {
    // A Business plan without dashboards, but an app with the scopes for them: one request finds out.
    let mut stage = staged(33, None);
    stage.plan = Plan::Business;
    stage.source = None;
    stage.sim.with_setup(|setup| {
        setup.scopes = "dashboard_meetings:read:admin report:read:admin meeting:read:admin".to_owned();
    });
    let run = stage.run(stage.days(9), true, false).await;
    assert_eq!(run.ending, Ending::Done, "{:?}", run.message);
    // Two listings may be requested at the same time, before either has its answer.
    assert!((1..=2).contains(&stage.sim.count("listing")));
    assert!(
        stage
            .heard
            .0
            .lock()
            .unwrap()
            .iter()
            .any(|line| line.contains("Zoom's reports"))
    );
    let all = stage.sim.with_world(|world| world.meetings.len()) as i64;
    assert_eq!(
        stage.number("SELECT count(*) FROM meetings WHERE source = 'reports'"),
        all
    );

    // If the app lacks the scopes, no request is needed to find out.
    stage
        .sim
        .with_setup(|setup| setup.scopes = "report:read:admin meeting:read:admin".to_owned());
    stage.sim.clear_log();
    let again = stage.run(stage.days(9), true, false).await;
    assert_eq!((again.ending, stage.sim.count("listing")), (Ending::Done, 0));

    let mut forced = staged(33, None);
    forced.source = Some(Source::Dashboard);
    let run = forced.run(forced.days(9), true, false).await;
    assert_eq!(run.ending, Ending::Misconfigured);
    assert!(run.message.unwrap().contains("dashboards"));
    assert_eq!(forced.sim.count("report_listing"), 0);

    let mut forced = staged(33, None);
    forced.sim.with_setup(|setup| setup.dashboards = true);
    forced.source = Some(Source::Reports);
    let run = forced.run(forced.days(9), true, false).await;
    assert_eq!((run.ending, forced.sim.count("listing")), (Ending::Done, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_or_failing_host_removes_no_meeting() {
    let stage = staged(34, None);
    stage.run(stage.days(9), true, false).await;
    let all = stage.number("SELECT count(*) FROM meetings");

    // A host that is named but unknown is reported, and is not fatal.
    stage.sim.with_world(|world| world.hosts[2].exists = false);
    let run = stage.run(stage.days(9), true, false).await;
    assert_eq!(run.ending, Ending::Done, "{:?}", run.message);
    assert!(
        stage
            .heard
            .0
            .lock()
            .unwrap()
            .iter()
            .any(|line| line.contains("knows no meetings"))
    );
    assert_eq!(
        stage.number("SELECT count(*) FROM meetings WHERE vanished_at IS NULL"),
        all
    );

    // If any host's list fails, the rest is listed, nothing is taken away, and no day is settled.
    stage.sim.with_world(|world| world.hosts[2].exists = true);
    stage.clock.advance(TimeDelta::hours(50));
    let removed = stage.sim.with_world(|world| {
        let at = world.meetings.iter().position(|one| one.host == 1).unwrap();
        world.meetings.remove(at);
        at
    });
    assert!(removed < all as usize);
    let refusal = r#"[{"endpoint": "report_listing", "times": "always", "action": "other_account"}]"#;
    stage.sim.set_faults(FaultPlan::from_json(refusal).unwrap());
    let run = stage.run(stage.days(9), true, false).await;
    assert_eq!(run.ending, Ending::Done, "{:?}", run.message);
    assert_eq!(
        stage.number("SELECT count(*) FROM meetings WHERE vanished_at IS NULL"),
        all
    );
    let failing = r#"[{"endpoint": "report_listing", "from": 2, "action": "invalid_json"},
                      {"endpoint": "report_listing", "from": 3, "times": 3, "action": "null_row"}]"#;
    stage.sim.set_faults(FaultPlan::from_json(failing).unwrap());
    stage.run(stage.days(9), true, false).await;
    stage.sim.set_faults(FaultPlan::default());

    // The host is known again and listed completely twice, so the missing meeting counts as vanished.
    stage.run(stage.days(9), true, false).await;
    assert_eq!(
        stage.number("SELECT count(*) FROM meetings WHERE vanished_at IS NOT NULL"),
        1
    );
}

/// Zoom no longer reports a host as active if all its meetings were deleted. Its lists are read all the same.
#[tokio::test(flavor = "multi_thread")]
async fn all_meetings_of_a_host_can_vanish() {
    let stage = staged(38, None);
    stage.run(stage.days(9), true, false).await;
    let deleted = stage.sim.with_world(|world| {
        let before = world.meetings.len();
        world.meetings.retain(|one| one.host != 1);
        (before - world.meetings.len()) as i64
    });
    assert!(deleted > 1);
    let vanished = "SELECT count(*) FROM meetings WHERE vanished_at IS NOT NULL";
    for _ in 0..2 {
        stage.run(stage.days(11), true, false).await;
    }
    assert_eq!(stage.number(vanished), deleted);
    // From then on that host's lists are no longer read.
    stage.sim.clear_log();
    stage.run(stage.days(9), true, false).await;
    assert_eq!(
        stage.sim.count("report_listing"),
        2 * active(&stage, 11).iter().sum::<usize>()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgraded_account_is_enriched_only_on_request() {
    let mut stage = staged(35, Some(ENGINES[0]));
    stage.sync(stage.days(9)).await;
    let all = stage.number("SELECT count(*) FROM meetings");

    stage.plan = Plan::Business;
    stage.source = None;
    stage.sim.with_setup(|setup| {
        setup.dashboards = true;
        setup.scopes = "dashboard_meetings:read:admin report:read:admin meeting:read:admin".to_owned();
    });
    stage.sim.clear_log();
    let added = stage
        .sim
        .with_world(|world| world.add_meeting(1, Utc::now() - TimeDelta::hours(3), 20, 2));
    let run = stage.sync(stage.days(9)).await;
    assert_eq!(run.ending, Ending::Done, "{:?}", run.message);
    assert_eq!(
        (stage.sim.count("detail"), stage.sim.count("report_detail")),
        (1, 0)
    );
    let by_source = "SELECT count(*) FROM meetings WHERE source = 'reports'";
    assert_eq!(stage.number(by_source), all);
    assert!(stage.es().all("meetings").await.contains_key(&added));
    stage.assert_index_is_the_account().await;

    stage.enrich = true;
    let run = stage.sync(stage.days(9)).await;
    assert_eq!((run.ending, run.tally.details as i64), (Ending::Done, all));
    assert_eq!(stage.number(by_source), 0);
    stage.enrich = false;
    stage.sim.clear_log();
    let idle = stage.sync(stage.days(9)).await;
    assert_eq!(
        (idle.ending, idle.bulk_requests, stage.sim.count("detail")),
        (Ending::Done, 0, 0)
    );
    stage.assert_index_is_the_account().await;
}

/// The fields of the documents of a kept account; fields of objects have a dot.
fn fields(stage: &Stage) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for stored in stage.catalog().kept_after(None, 1_000, usize::MAX).unwrap() {
        for document in zoom_harvester::elastic::documents(&stored.open().unwrap()) {
            let body: serde_json::Value = serde_json::from_str(document.body.as_str()).unwrap();
            for (name, value) in body.as_object().unwrap() {
                found.insert(name.clone());
                let inner = value.as_object().into_iter().flatten();
                found.extend(inner.map(|(inner, _)| format!("{name}.{inner}")));
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_fields_of_each_source_are_right() {
    let by_reports = staged(37, None);
    by_reports.run(by_reports.days(9), true, false).await;
    let mut by_dashboard = staged(37, None);
    by_dashboard.source = None;
    by_dashboard.sim.with_setup(|setup| {
        setup.dashboards = true;
        setup.scopes = String::new();
    });
    by_dashboard.run(by_dashboard.days(9), true, false).await;
    let given = [fields(&by_dashboard), fields(&by_reports)];

    let page = include_str!("../../docs/sources.md");
    let mut told = [BTreeSet::new(), BTreeSet::new()];
    let mut named = BTreeSet::new();
    for line in page
        .lines()
        .filter(|line| line.starts_with("| `") && !line.contains("open("))
    {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        for name in cells[0].split(", ").map(|name| name.trim_matches('`').to_owned()) {
            for (told, cell) in told.iter_mut().zip(&cells[1..]) {
                if *cell != "no" {
                    told.insert(name.clone());
                }
            }
            named.insert(name);
        }
    }
    assert!(named.len() > 30, "{named:?}");
    for (told, given) in told.iter().zip(&given) {
        let really: BTreeSet<_> = given.intersection(&named).cloned().collect();
        assert_eq!(*told, really);
    }
    let lacking: BTreeSet<_> = given[0].difference(&given[1]).cloned().collect();
    let unsaid: Vec<_> = lacking.difference(&named).collect();
    assert!(unsaid.is_empty(), "the reports lack these as well: {unsaid:?}");
}
