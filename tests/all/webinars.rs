//! Webinars, if requested: kept and published in addition to the meetings, with the same promises.

use chrono::{TimeDelta, Utc};
use zoom_harvester::{
    model::Source,
    sim::{
        faults::FaultPlan,
        world::{Spec, World},
    },
    sync::{Ending, Remedy, Scope},
    zoom::pace::Plan,
};

use crate::common::{ENGINES, Stage};

const WEBINARS: usize = 5;

/// An account with webinars, which are requested.
fn staged(seed: u64, variable: Option<&str>) -> Stage {
    let now = Utc::now();
    let world = World::generate(&Spec {
        seed,
        hosts: 5,
        meetings: 30,
        sessions: 120,
        days: 9,
        now,
    });
    let mut stage = Stage::new(world.with_webinars(WEBINARS, now), variable);
    stage.webinars = true;
    stage
}

/// The same on a Pro plan, from its reports.
fn on_pro(mut stage: Stage) -> Stage {
    stage.plan = Plan::Pro;
    stage.source = Some(Source::Reports);
    stage.sim.with_setup(|setup| setup.dashboards = false);
    stage
}

/// The number of requests for details of meetings and of webinars, from either source.
fn details(stage: &Stage) -> (usize, usize) {
    let count = |names: [&str; 2]| names.map(|name| stage.sim.count(name)).iter().sum();
    (
        count(["detail", "report_detail"]),
        count(["webinar_detail", "report_webinar_detail"]),
    )
}

fn heard(stage: &Stage, word: &str) -> usize {
    let heard = stage.heard.0.lock().unwrap();
    heard.iter().filter(|line| line.contains(word)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn webinars_are_harvested_beside_the_meetings_with_the_least_requests() {
    for (variable, pro) in [(ENGINES[0], false), (ENGINES[1], true)] {
        let mut stage = staged(51, Some(variable));
        if pro {
            stage = on_pro(stage);
        }
        let cold = stage.sync(stage.days(12)).await;
        assert_eq!(
            cold.ending,
            Ending::Done,
            "{:?} {:?}",
            cold.message,
            stage.heard.0.lock().unwrap()
        );
        stage.assert_index_is_the_account().await;
        let meetings = stage.sim.with_world(|world| world.meetings.len()) - WEBINARS;
        assert_eq!(details(&stage), (meetings, WEBINARS));
        // The dashboards need one more list per window. The reports need none, because they mix webinars in.
        let lists = stage.sim.count("webinars");
        assert_eq!(
            lists,
            if pro {
                0
            } else {
                stage.sim.count("listing").div_ceil(2)
            }
        );
        assert_eq!(stage.sim.count("past_meeting"), 0);

        // All documents have one shape. `kind` tells webinars from meetings, and `role` says who was what; the reports do not know `role`.
        let sessions = stage.es().all("sessions").await;
        let of_webinars: Vec<_> = sessions
            .values()
            .filter(|(_, one)| one["kind"] == "webinar")
            .collect();
        assert_eq!(of_webinars.len(), (0..WEBINARS).map(|n| 12 + n).sum::<usize>());
        let panelists = of_webinars.iter().filter(|(_, one)| one["role"] == "panelist");
        assert_eq!(panelists.count(), if pro { 0 } else { WEBINARS });
        assert_eq!(
            stage.number("SELECT sum(webinars) FROM coverage") as usize,
            WEBINARS
        );
        assert_eq!(
            stage.number("SELECT count(*) FROM meeting_overview WHERE kind = 'webinar'") as usize,
            WEBINARS
        );
        // A host's list holds no webinars, so nothing is looked up for them.
        assert_eq!(
            stage.number("SELECT count(*) FROM series WHERE status = 'pending'"),
            0
        );
        let verified = stage.verify(Remedy::Tell).await;
        assert!(verified.equal, "{verified:?}");

        stage.sim.clear_log();
        let idle = stage.sync(stage.days(12)).await;
        assert_eq!((idle.ending, idle.bulk_requests), (Ending::Done, 0));
        assert_eq!(details(&stage), (0, 0));

        // One more webinar, one with one more participant, and one that is deleted.
        let (changed, deleted) = stage.sim.with_world(|world| {
            world.add_webinar(2, Utc::now() - TimeDelta::hours(30), 20, 4);
            let of: Vec<String> = world
                .meetings
                .iter()
                .filter(|one| one.webinar)
                .map(|one| one.uuid.clone())
                .collect();
            world.add_session(&of[0]);
            world.meetings.retain(|one| one.uuid != of[2]);
            (of[0].clone(), of[2].clone())
        });
        stage.sim.clear_log();
        let later = stage.sync(stage.days(12)).await;
        assert_eq!(
            (later.ending, details(&stage), later.tally.vanished),
            (Ending::Done, (0, 2), 1),
            "{changed} {:?}",
            later.message
        );
        let gone = stage.texts("SELECT meeting_uuid FROM meetings WHERE vanished_at IS NOT NULL");
        assert_eq!(gone, [deleted]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn days_listed_without_webinars_are_listed_again_with_them() {
    let mut stage = staged(52, None);
    stage.webinars = false;
    let webinars = "SELECT count(*) FROM meetings WHERE kind = 'webinar'";
    stage.run(stage.days(12), true, false).await;
    stage.clock.advance(TimeDelta::hours(40));
    for _ in 0..2 {
        stage.run(Scope::Resume, true, false).await;
    }
    let settled = "SELECT count(*) FROM windows WHERE settled_at IS NOT NULL";
    assert!(stage.number(settled) > 9);
    assert_eq!((stage.number(webinars), stage.sim.count("webinars")), (0, 0));

    stage.webinars = true;
    stage.run(Scope::Resume, true, false).await;
    assert_eq!(stage.number(webinars) as usize, WEBINARS);
    stage.run(Scope::Resume, true, false).await;
    stage.sim.clear_log();
    stage.run(Scope::Resume, true, false).await;
    assert!(
        stage.sim.count("webinars") <= 2,
        "settled days are listed no more"
    );

    // If webinars are switched off again, the known ones stay: nothing is concluded from not asking.
    stage.webinars = false;
    stage.sim.clear_log();
    stage.run(stage.days(14), true, false).await;
    assert_eq!(stage.sim.count("webinars"), 0);
    assert_eq!(
        stage.number("SELECT count(*) FROM meetings WHERE vanished_at IS NOT NULL"),
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_without_webinars_is_reported_once_and_asked_once_a_day() {
    let stage = staged(53, None);
    stage.sim.with_setup(|setup| setup.webinars = false);
    let first = stage.run(stage.days(12), true, false).await;
    assert_eq!(first.ending, Ending::Done, "{:?}", first.message);
    let meetings = stage.sim.with_world(|world| world.meetings.len()) - WEBINARS;
    assert_eq!(stage.number("SELECT count(*) FROM meetings") as usize, meetings);
    // Two listings may be requested at the same time, before either has its answer.
    assert!((1..=2).contains(&stage.sim.count("webinars")));
    assert_eq!(heard(&stage, "has no webinars"), 1);

    stage.sim.clear_log();
    stage.run(stage.days(12), true, false).await;
    assert_eq!(
        stage.sim.count("webinars"),
        0,
        "within a day it is not asked again"
    );
    stage.clock.advance(TimeDelta::hours(25));
    stage.run(Scope::Resume, true, false).await;
    assert!((1..=2).contains(&stage.sim.count("webinars")));
    assert_eq!(heard(&stage, "has no webinars"), 1, "it is not said again");

    // The add-on is bought.
    stage.sim.with_setup(|setup| setup.webinars = true);
    stage.clock.advance(TimeDelta::hours(25));
    stage.run(stage.days(14), true, false).await;
    assert_eq!(
        stage.number("SELECT count(*) FROM meetings WHERE kind = 'webinar'") as usize,
        WEBINARS
    );
    assert_eq!(
        stage.number("SELECT count(*) FROM account WHERE webinars_refused_at IS NULL"),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_webinar_scopes_stop_the_run_with_the_remedy() {
    let stage = staged(54, None);
    let plan = r#"[{"endpoint": "webinars", "times": "always", "action": "scopes"}]"#;
    stage.sim.set_faults(FaultPlan::from_json(plan).unwrap());
    let run = stage.run(stage.days(12), true, false).await;
    assert_eq!(run.ending, Ending::Misconfigured);
    let message = run.message.unwrap();
    assert!(
        message.contains("webinars") && message.contains("ZOOM_HARVESTER_WEBINARS=false"),
        "{message}"
    );
    // The refusal says nothing about the dashboards.
    assert_eq!(stage.sim.count("report_listing"), 0);
}

/// Whatever is wrong with the list of webinars, the meetings are harvested; the days stay open until both are listed.
#[tokio::test(flavor = "multi_thread")]
async fn a_failing_list_of_webinars_costs_no_meeting() {
    for action in [r#"{"status": 503}"#, r#""no_meeting""#, r#""invalid_json""#] {
        let stage = staged(58, None);
        stage.clock.advance(TimeDelta::hours(40));
        let plan = format!(r#"[{{"endpoint": "webinars", "times": "always", "action": {action}}}]"#);
        stage.sim.set_faults(FaultPlan::from_json(&plan).unwrap());
        for _ in 0..3 {
            let run = stage.run(stage.days(14), true, false).await;
            assert_eq!(run.ending, Ending::Incomplete, "{action}: {:?}", run.message);
        }
        let meetings = stage.sim.with_world(|world| world.meetings.len()) - WEBINARS;
        assert_eq!(
            stage.number("SELECT count(*) FROM meetings WHERE status = 'fetched'") as usize,
            meetings
        );
        let settled = "SELECT count(*) FROM windows WHERE settled_at IS NOT NULL";
        assert_eq!(stage.number(settled), 0, "{action}");
        stage.sim.set_faults(FaultPlan::default());
        for _ in 0..2 {
            stage.run(stage.days(14), true, false).await;
        }
        assert!(stage.number(settled) > 9);
        assert_eq!(
            stage.number("SELECT count(*) FROM meetings WHERE kind = 'webinar'") as usize,
            WEBINARS
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_webinar_detail_costs_only_itself() {
    let stage = on_pro(staged(55, None));
    stage.sim.with_setup(|setup| setup.webinars = false);
    let run = stage.run(stage.days(12), true, false).await;
    assert_eq!(run.ending, Ending::Incomplete, "{:?}", run.message);
    let meetings = stage.sim.with_world(|world| world.meetings.len()) - WEBINARS;
    let fetched = "SELECT count(*) FROM meetings WHERE status = 'fetched' AND kind = 'meeting'";
    assert_eq!(stage.number(fetched) as usize, meetings);
    let reasons = stage.texts("SELECT DISTINCT reason FROM failures");
    assert!(
        reasons.len() == 1 && reasons[0].contains("webinar add-on"),
        "{reasons:?}"
    );
}

/// A webinar does not show its host's id. The first meeting of the host does, also if the question was closed by then.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_of_webinars_is_known_after_their_first_meeting() {
    let mut world = World::generate(&Spec {
        seed: 56,
        hosts: 2,
        meetings: 0,
        sessions: 0,
        days: 3,
        now: Utc::now(),
    });
    for host in &mut world.hosts {
        host.reported = false;
    }
    let at = Utc::now() - TimeDelta::hours(20);
    world.add_webinar(1, at, 30, 3);
    let mut stage = Stage::new(world, None);
    stage.webinars = true;
    let unknown = "SELECT count(*) FROM meetings WHERE host_id IS NULL";
    stage.run(stage.days(3), true, false).await;
    assert_eq!(stage.number(unknown), 1);
    stage
        .sim
        .with_world(|world| world.add_meeting(1, at + TimeDelta::hours(2), 30, 3));
    stage.run(stage.days(3), true, false).await;
    assert_eq!(stage.number(unknown), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_distinguish_webinars_from_meetings() {
    let stage = staged(57, None);
    let run = |args: &'static [&'static str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_zoom-harvester"));
        command
            .args(args)
            .env_clear()
            .env("ZOOM_HARVESTER_WEBINARS", "true")
            .envs(stage.environment())
            .current_dir(stage.folder.path());
        async {
            let output = tokio::task::spawn_blocking(move || command.output().unwrap())
                .await
                .unwrap();
            String::from_utf8(output.stdout).unwrap()
        }
    };
    let plan = run(&["plan", "--from", "11d"]).await;
    run(&["sync", "--from", "11d"]).await;
    let lists = stage.sim.count("webinars");
    assert!(lists > 0 && plan.contains("Resource-intensive"), "{plan}");
    let status = run(&["status"]).await;
    assert!(
        status.contains(&format!("{WEBINARS} of them are webinars")),
        "{status}"
    );
    let doctor = run(&["doctor"]).await;
    assert!(
        doctor.contains("list webinars: dashboard_webinars:read:admin"),
        "{doctor}"
    );
    run(&["report", "--from", "11d", "--out", "page.html"]).await;
    let page = std::fs::read_to_string(stage.folder.path().join("page.html")).unwrap();
    assert!(page.contains(&format!("<dt>webinars</dt><dd>{WEBINARS}</dd>")));
}
