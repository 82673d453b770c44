//! The promises, as scenarios: requests to Zoom are counted, and the index is compared with the account.

use crate::common::{ENGINES, Stage};
use chrono::{TimeDelta, Utc};
use serde_json::json;
use zoom_harvester::{
    catalog::{Catalog, RunId},
    model::MeetingUuid,
    sim::{
        faults::FaultPlan,
        world::{Spec, World},
    },
    sync::{Ending, Scope, reindex},
};

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

#[tokio::test]
async fn elasticsearch_away_for_a_while_costs_no_second_request_to_zoom() {
    let mut stage = Stage::new(small(), Some(ENGINES[0]));
    let there = stage.elastic.take().unwrap();
    // Nothing listens on the discard port.
    stage.elastic = Some(crate::common::ElasticStage::at("http://127.0.0.1:9"));
    let down = stage.sync(stage.days(11)).await;
    assert_eq!(down.ending, Ending::StoppedEarly { come_back_at: None });
    assert_eq!((down.tally.details, down.documents_due), (120, 120));

    stage.elastic = Some(there);
    stage.sim.clear_log();
    let back = stage.sync(Scope::Resume).await;
    assert_eq!(back.ending, Ending::Done);
    assert_eq!(stage.sim.count("detail"), 0);
    stage.assert_index_is_the_account().await;
}

#[tokio::test]
async fn an_index_that_was_deleted_is_filled_again_from_the_catalog() {
    for variable in ENGINES {
        let stage = Stage::new(small(), Some(variable));
        stage.sync(stage.days(11)).await;
        for kind in ["meetings", "sessions"] {
            stage
                .es()
                .call("DELETE", &format!("/PREFIX-{kind}-ACCOUNT-000001"), None)
                .await;
        }
        stage.sim.clear_log();
        let again = stage.sync(Scope::Resume).await;
        assert_eq!((again.ending, stage.sim.count("detail")), (Ending::Done, 0));
        stage.assert_index_is_the_account().await;
    }
}

/// Edits that leave documents behind in an index if the catalog does not know of them.
fn edit(world: &mut World) {
    let long: Vec<String> = world
        .meetings
        .iter()
        .filter(|one| one.sessions.len() > 3)
        .map(|one| one.uuid.clone())
        .take(12)
        .collect();
    long.iter().take(6).for_each(|uuid| world.remove_session(uuid));
    long.iter().skip(6).for_each(|uuid| world.extend(uuid, 2));
    world
        .meetings
        .iter_mut()
        .skip(60)
        .take(5)
        .for_each(|one| one.topic.push_str(" again"));
}

#[tokio::test]
async fn a_catalog_that_was_deleted_while_meetings_changed_ends_with_the_index_right() {
    for variable in ENGINES {
        let stage = Stage::new(small(), Some(variable));
        stage.sync(stage.days(11)).await;
        for name in ["harvester.db", "harvester.db-wal", "harvester.db-shm"] {
            let _ = std::fs::remove_file(stage.folder.path().join(name));
        }
        stage.sim.with_world(edit);
        let fresh = stage.sync(stage.days(11)).await;
        assert_eq!((fresh.ending, fresh.deleted), (Ending::Done, 6));
        stage.assert_index_is_the_account().await;
    }
}

#[tokio::test]
async fn an_old_copy_of_the_catalog_put_back_ends_with_the_index_right() {
    let stage = Stage::new(small(), Some(ENGINES[0]));
    stage.sync(stage.days(11)).await;
    // Sync again: days settle, and the old copy would see no reason to list them.
    stage.sync(Scope::Resume).await;
    let old = stage.folder.path().join("old.db");
    rusqlite::Connection::open(stage.db())
        .unwrap()
        .execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")
        .unwrap();
    std::fs::copy(stage.db(), &old).unwrap();

    // The newer catalog publishes a session that the old copy does not know.
    let (grown, shrunk) = stage.sim.with_world(|world| {
        let uuid = world.meetings[70].uuid.clone();
        world.add_session(&uuid);
        edit(world);
        (uuid, world.meetings[71].uuid.clone())
    });
    stage.sync(stage.days(11)).await;
    stage.assert_index_is_the_account().await;

    for name in ["harvester.db-wal", "harvester.db-shm"] {
        let _ = std::fs::remove_file(stage.folder.path().join(name));
    }
    std::fs::copy(&old, stage.db()).unwrap();
    stage.sim.with_world(|world| {
        world.remove_session(&grown);
        world.remove_session(&grown);
        world.extend(&shrunk, 1);
    });
    let restored = stage.sync(Scope::Resume).await;
    assert_eq!(restored.ending, Ending::Done, "{:?}", restored.message);
    stage.assert_index_is_the_account().await;
}

#[tokio::test]
async fn searches_during_a_rebuild_find_everything_and_the_documents_are_identical() {
    for variable in ENGINES {
        let stage = Stage::new(small(), Some(variable));
        stage.sync(stage.days(11)).await;
        let before = (stage.es().all("meetings").await, stage.es().all("sessions").await);
        let es = stage.es().clone();
        let (done, mut finished) = tokio::sync::oneshot::channel::<()>();
        let searcher = tokio::spawn(async move {
            let mut fewest = u64::MAX;
            let mut searches = 0;
            while finished.try_recv().is_err() {
                for kind in ["meetings", "sessions"] {
                    let answer = es.call("GET", &format!("/PREFIX-{kind}/_count"), None).await;
                    let count = answer["count"].as_u64().unwrap_or_else(|| panic!("{answer}"));
                    fewest = fewest.min(if kind == "sessions" {
                        count.saturating_sub(580)
                    } else {
                        count
                    });
                    searches += 1;
                }
            }
            (fewest, searches)
        });
        stage.sim.clear_log();
        let mut catalog = Catalog::open(&stage.db()).unwrap();
        let (_keep, cancel) = tokio::sync::watch::channel(false);
        let clock = stage.clock.clock();
        let run = RunId(99);
        let rebuilt = reindex(
            &mut catalog,
            &stage.es().client(),
            run,
            Default::default(),
            &clock,
            &stage.heard,
            &cancel,
        )
        .await
        .unwrap();
        done.send(()).unwrap();
        let (fewest, searches) = searcher.await.unwrap();
        assert_eq!(
            (rebuilt.meetings, rebuilt.documents, rebuilt.rejected),
            (120, 820, 0)
        );
        assert_eq!(fewest, 120, "of {searches} searches");
        assert_eq!(stage.sim.log().len(), 0);
        assert_eq!(
            (stage.es().all("meetings").await, stage.es().all("sessions").await),
            before
        );
        // And the catalog knows the new indices: nothing is due.
        drop(catalog);
        assert_eq!(stage.sync(Scope::Resume).await.bulk_requests, 0);
        // A rebuild would lose meetings that the catalog does not keep, so it is refused.
        let strange = json!({"uuid": "strange==", "topic": "of another catalog"});
        stage
            .es()
            .call(
                "PUT",
                "/PREFIX-meetings/_doc/strange==?refresh=true",
                Some(strange),
            )
            .await;
        let mut catalog = Catalog::open(&stage.db()).unwrap();
        let refused = reindex(
            &mut catalog,
            &stage.es().client(),
            run,
            Default::default(),
            &clock,
            &stage.heard,
            &cancel,
        )
        .await
        .unwrap_err();
        assert!(refused.to_string().contains("strange=="), "{refused}");
    }
}

#[tokio::test]
async fn days_left_by_a_stopped_run_are_listed_by_the_next() {
    let stage = Stage::new(small(), Some(ENGINES[0]));
    // Both windows fail, whether the days are in one month or in two.
    let down = r#"[{"endpoint": "listing", "times": 1000, "action": {"answer": {"status": 503}}}]"#;
    stage.sim.set_faults(FaultPlan::from_json(down).unwrap());
    let asked = stage.days(12);
    let stopped = stage.sync(asked).await;
    assert!(matches!(stopped.ending, Ending::StoppedEarly { .. }));
    assert_eq!(stage.number("SELECT count(*) FROM windows"), 0);
    let Scope::Days(window) = asked else { panic!() };
    let unlisted = "SELECT count(*) FROM unlisted_days WHERE day = (SELECT wanted_from FROM account)";
    assert_eq!(stage.number(unlisted), 1);

    // A sync of later days leaves the earlier request untouched.
    stage.sync(stage.days(2)).await;
    stage.sim.set_faults(FaultPlan::default());
    let next = stage.sync(Scope::Resume).await;
    assert_eq!(next.ending, Ending::Done);
    stage.assert_index_is_the_account().await;
    let first: i64 = stage.number(&format!("SELECT min(day) = '{}' FROM windows", window.from));
    assert_eq!(
        (first, stage.number("SELECT count(*) FROM unlisted_days")),
        (1, 0)
    );
}

#[tokio::test]
async fn an_account_without_end_time_listing_loses_nothing() {
    let stage = Stage::new(small(), None);
    stage.sim.with_setup(|setup| setup.refuse_end_time = true);
    let today = stage.clock.now().date_naive();
    // The sync is for one day alone: meetings that cross midnight into or out of that day must be found too.
    let summary = stage
        .sync(Scope::Days(zoom_harvester::model::Window::day(
            today.pred_opt().unwrap(),
        )))
        .await;
    assert_eq!(summary.ending, Ending::Done);
    let day = today.pred_opt().unwrap();
    let expected = stage.sim.with_world(|world| {
        world
            .meetings
            .iter()
            .filter(|one| one.start.date_naive() == day || one.end.date_naive() == day)
            .count()
    });
    assert_eq!(summary.tally.new, expected as u64);
}

#[tokio::test]
async fn a_single_day_gets_every_meeting_that_touches_it_and_no_other() {
    let stage = Stage::new(small(), None);
    for back in 1..9 {
        let day = stage.clock.now().date_naive() - chrono::Days::new(back);
        stage
            .sync(Scope::Days(zoom_harvester::model::Window::day(day)))
            .await;
        let mut expected: Vec<String> = stage.sim.with_world(|world| {
            let on = |one: &&zoom_harvester::sim::world::Meeting| {
                one.start.date_naive() == day || one.end.date_naive() == day
            };
            world
                .meetings
                .iter()
                .filter(on)
                .map(|one| one.uuid.clone())
                .collect()
        });
        let conn = rusqlite::Connection::open(stage.db()).unwrap();
        let mut statement = conn
            .prepare("SELECT meeting_uuid FROM meetings WHERE date(start_time) = ?1 OR date(end_time) = ?1 ORDER BY 1")
            .unwrap();
        let found: Vec<String> = statement
            .query_map([day.to_string()], |row| row.get(0))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        expected.sort();
        assert_eq!(found, expected, "{day}");
    }
}

#[tokio::test]
async fn late_sessions_are_looked_at_again_until_they_are_there() {
    let stage = Stage::new(small(), None);
    let uuid = stage.sim.with_world(|world| {
        let uuid = world.add_meeting(1, Utc::now() - TimeDelta::hours(3), 60, 5);
        world.meeting_mut(&uuid).unwrap().sessions_from = Utc::now() + TimeDelta::minutes(70);
        uuid
    });
    let looks = |stage: &Stage| {
        stage
            .sim
            .log()
            .iter()
            .filter(|one| one.endpoint == "detail" && one.uuid.as_deref() == Some(&uuid))
            .count()
    };
    let sessions = |stage: &Stage| {
        stage.number(&format!(
            "SELECT sessions FROM meetings WHERE meeting_uuid = '{uuid}'"
        ))
    };
    stage.sync(stage.days(11)).await;
    assert_eq!((looks(&stage), sessions(&stage)), (1, 0));
    stage.sync(Scope::Resume).await;
    assert_eq!(looks(&stage), 1, "not before ten minutes are over");
    stage.clock.advance(TimeDelta::minutes(11));
    stage.sync(Scope::Resume).await;
    assert_eq!((looks(&stage), sessions(&stage)), (2, 0));
    stage.clock.advance(TimeDelta::minutes(61));
    stage.sync(Scope::Resume).await;
    assert_eq!((looks(&stage), sessions(&stage)), (3, 5));
    stage.clock.advance(TimeDelta::hours(25));
    stage.sync(Scope::Resume).await;
    assert_eq!(looks(&stage), 3, "complete: not again");
}

#[tokio::test]
async fn a_meeting_that_never_gets_its_sessions_is_accepted_as_incomplete() {
    let stage = Stage::new(World::default(), None);
    stage.sim.with_world(|world| {
        world.hosts = small().hosts;
        let uuid = world.add_meeting(1, Utc::now() - TimeDelta::hours(3), 60, 5);
        world.meeting_mut(&uuid).unwrap().sessions_from = Utc::now() + TimeDelta::days(400);
    });
    for wait in [0, 11, 61, 361, 1_441, 1_441, 1_441] {
        stage.clock.advance(TimeDelta::minutes(wait));
        stage.sync(Scope::Resume).await;
    }
    assert_eq!(stage.sim.count("detail"), 5);
    assert_eq!(stage.number("SELECT incomplete FROM meetings"), 1);
}

#[tokio::test]
async fn what_zoom_shows_late_in_settled_days_is_caught_by_the_weekly_listing() {
    let stage = Stage::new(small(), None);
    stage.sync(stage.days(11)).await;
    stage.sync(Scope::Resume).await;
    stage
        .sim
        .with_world(|world| world.add_meeting(2, Utc::now() - TimeDelta::days(6), 30, 4));
    assert_eq!(
        stage.sync(Scope::Resume).await.tally.new,
        0,
        "that day is settled"
    );
    stage.clock.advance(TimeDelta::days(8));
    assert_eq!(stage.sync(Scope::Resume).await.tally.new, 1);
}

#[tokio::test]
async fn a_meeting_no_longer_listed_is_marked_and_its_documents_stay() {
    let stage = Stage::new(small(), Some(ENGINES[0]));
    stage.sync(stage.days(11)).await;
    let gone = stage.sim.with_world(|world| world.meetings.remove(50));
    let summary = stage.sync(stage.days(11)).await;
    assert_eq!((summary.tally.vanished, summary.bulk_requests), (1, 0));
    assert!(stage.es().all("meetings").await.contains_key(&gone.uuid));
    // The meeting is back.
    stage.sim.with_world(|world| world.meetings.push(gone));
    let summary = stage.sync(stage.days(11)).await;
    assert_eq!((summary.tally.changed, summary.tally.details), (1, 0));
    assert_eq!(
        stage.number("SELECT count(*) FROM meetings WHERE vanished_at IS NOT NULL"),
        0
    );
}

#[tokio::test]
async fn hosts_and_series_are_known_and_asked_for_once() {
    let stage = Stage::new(small(), None);
    stage.sync(stage.days(11)).await;
    assert_eq!(
        stage.number("SELECT count(*) FROM meetings WHERE host_id IS NULL"),
        0
    );
    assert_eq!(
        stage.number("SELECT count(*) FROM series WHERE status = 'pending'"),
        0
    );
    let wrong = "SELECT count(*) FROM series WHERE (series_id BETWEEN 5550000000 AND 5559999999) <> (kind = 'personal')";
    assert_eq!(stage.number(wrong), 0);
    let instant = "SELECT count(*) FROM series WHERE series_id >= 98000000000 AND kind <> 'instant'";
    assert_eq!(stage.number(instant), 0);
    stage.sim.clear_log();
    stage.sync(stage.days(11)).await;
    for endpoint in ["hosts", "series", "past_meeting"] {
        assert_eq!(stage.sim.count(endpoint), 0, "{endpoint}");
    }
    // After a week the lists of series are read again, but not those of hosts that Zoom no longer has.
    stage.clock.advance(TimeDelta::days(8));
    stage.sync(Scope::Resume).await;
    let known =
        stage.number("SELECT count(*) FROM hosts WHERE status = 'known' AND series_listed_at IS NOT NULL");
    assert_eq!(stage.sim.count("series") as i64, known);
}

#[tokio::test]
async fn the_daily_share_is_never_exceeded() {
    let mut stage = Stage::new(small(), None);
    stage.daily_share = 70;
    let summary = stage.sync(stage.days(11)).await;
    let Ending::StoppedEarly {
        come_back_at: Some(at),
    } = summary.ending
    else {
        panic!("{summary:?}")
    };
    assert_eq!(
        at.date_naive(),
        stage.clock.now().date_naive().succ_opt().unwrap()
    );
    let counted = |stage: &Stage| {
        stage
            .sim
            .log()
            .iter()
            .filter(|one| matches!(one.label, "Heavy" | "Resource-intensive"))
            .count()
    };
    assert_eq!(counted(&stage), 70);
    stage.sync(Scope::Resume).await;
    assert_eq!(counted(&stage), 70, "the same day allows none");
    stage.clock.advance(TimeDelta::days(1));
    stage.daily_share = 1_000;
    assert_eq!(stage.sync(Scope::Resume).await.ending, Ending::Done);
    let details: std::collections::HashMap<String, usize> = stage
        .sim
        .log()
        .into_iter()
        .filter(|one| one.endpoint == "detail")
        .filter_map(|one| one.uuid)
        .fold(std::collections::HashMap::new(), |mut counts, uuid| {
            *counts.entry(uuid).or_default() += 1;
            counts
        });
    assert_eq!(details.len(), 120);
    assert!(details.values().all(|count| *count == 1));
}

#[tokio::test]
async fn a_meeting_that_changed_in_flight_stays_due() {
    let stage = Stage::new(small(), None);
    stage.sync(stage.days(11)).await;
    let uuid = stage.sim.with_world(|world| world.meetings[3].uuid.clone());
    let mut catalog = Catalog::open(&stage.db()).unwrap();
    let kept = catalog.kept(&MeetingUuid::new(&uuid)).unwrap().unwrap();
    drop(catalog);
    stage
        .sim
        .with_world(|world| world.meeting_mut(&uuid).unwrap().topic.push_str(" (renamed)"));
    stage.sync(stage.days(11)).await;
    catalog = Catalog::open(&stage.db()).unwrap();
    let sent = zoom_harvester::catalog::Acknowledgement {
        uuid: kept.uuid.clone(),
        document_checksum: kept.document_checksum,
        deleted: Vec::new(),
    };
    catalog.acknowledge(&[sent], Utc::now()).unwrap();
    let status: String = rusqlite::Connection::open(stage.db())
        .unwrap()
        .query_row(
            "SELECT status FROM meetings WHERE meeting_uuid = ?",
            [&uuid],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(status, "fetched");
}
