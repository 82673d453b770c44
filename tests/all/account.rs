//! The largest test: 5,000 meetings and 60,000 sessions. Tests start in the order of their names, so this file comes first.

use chrono::{TimeDelta, Utc};
use zoom_harvester::{
    sim::world::{Spec, World},
    sync::{Ending, Scope},
};

use crate::common::{ENGINES, Stage};

async fn a_whole_account(variable: &str) {
    let stage = Stage::new(World::generate(&Spec::large(Utc::now())), Some(variable));
    let first = stage.sync(stage.days(31)).await;
    assert_eq!((&first.ending, &first.message), (&Ending::Done, &None));
    assert_eq!((first.tally.new, first.tally.sessions), (5_000, 60_000));
    stage.assert_index_is_the_account().await;
    // The catalog counts each request before it is made. The counts equal the requests made.
    for (label, requests) in &first.zoom_requests {
        let counted = stage.number(&format!(
            "SELECT coalesce(sum(requests), 0) FROM api_use WHERE label = '{label}'"
        ));
        assert_eq!(counted, *requests as i64, "{label}");
    }

    stage.sim.clear_log();
    let second = stage.sync(Scope::Resume).await;
    assert_eq!(second.ending, Ending::Done);
    assert_eq!((stage.sim.count("detail"), second.bulk_requests), (0, 0));

    // Days without changes are settled now; only days that may still change are listed.
    stage.sim.clear_log();
    stage.sync(Scope::Resume).await;
    let listed: Vec<String> = stage
        .sim
        .log()
        .iter()
        .filter(|one| one.endpoint == "listing")
        .map(|one| one.target.clone())
        .collect();
    let yesterday = stage.clock.now().date_naive().pred_opt().unwrap();
    assert!(!listed.is_empty());
    for target in listed {
        let from = target
            .split("from=")
            .nth(1)
            .unwrap()
            .get(..10)
            .unwrap()
            .parse::<chrono::NaiveDate>()
            .unwrap();
        assert!(from >= yesterday, "{target}");
    }

    // If only quality scores change, nothing is fetched or sent.
    stage.sim.with_world(|world| {
        world
            .meetings
            .iter_mut()
            .for_each(|one| one.quality = "poor".into())
    });
    stage.sim.clear_log();
    let quality = stage.sync(stage.days(31)).await;
    assert_eq!(
        (
            stage.sim.count("detail"),
            quality.bulk_requests,
            quality.tally.changed
        ),
        (0, 0, 0)
    );

    // Exactly what changed is fetched, and exactly the lost sessions are deleted.
    let mut touched: Vec<String> = stage.sim.with_world(|world| {
        let long: Vec<String> = world
            .meetings
            .iter()
            .filter(|one| one.sessions.len() > 4)
            .map(|one| one.uuid.clone())
            .take(60)
            .collect();
        let (changed, shrunk) = long.split_at(50);
        changed.iter().for_each(|uuid| world.extend(uuid, 3));
        shrunk.iter().for_each(|uuid| world.remove_session(uuid));
        let now = Utc::now();
        let added: Vec<String> = (0..50)
            .map(|n| {
                world.add_meeting(
                    n % 40,
                    now - TimeDelta::days(9) - TimeDelta::minutes(n as i64),
                    30,
                    3,
                )
            })
            .collect();
        [changed, shrunk, &added].concat()
    });
    stage.sim.clear_log();
    let changed = stage.sync(stage.days(31)).await;
    let mut fetched: Vec<String> = stage
        .sim
        .log()
        .into_iter()
        .filter(|one| one.endpoint == "detail")
        .filter_map(|one| one.uuid)
        .collect();
    touched.sort();
    fetched.sort();
    assert_eq!(fetched, touched);
    assert_eq!(
        (changed.tally.new, changed.tally.changed, changed.deleted),
        (50, 60, 10)
    );
    stage.assert_index_is_the_account().await;

    // A rename reaches all documents, also those of sessions, without a request for any detail.
    stage.sim.with_world(|world| {
        world
            .meetings
            .iter_mut()
            .take(20)
            .for_each(|one| one.topic.push_str(" (renamed)"))
    });
    stage.sim.clear_log();
    let renamed = stage.sync(stage.days(31)).await;
    assert_eq!((stage.sim.count("detail"), renamed.tally.published), (0, 20));
    stage.assert_index_is_the_account().await;
}

#[tokio::test]
async fn a_whole_account_is_published_to_elasticsearch() {
    a_whole_account(ENGINES[0]).await;
}

#[tokio::test]
async fn a_whole_account_is_published_to_opensearch() {
    a_whole_account(ENGINES[1]).await;
}
