//! One index per year: documents are in the index of the year in which their meeting ended, and in no other, whatever moves, is dropped, or is
//! lost.

use std::collections::BTreeMap;

use chrono::{DateTime, Datelike, TimeDelta, Utc};
use serde_json::{Value, json};
use zoom_harvester::{
    model::IndexPeriod,
    sim::world::{Spec, World},
    sync::{Ending, Rebuilding, Remedy, Scope},
};

use crate::common::{ENGINES, Stage};

/// Noon of the 3rd of January of the next year.
fn after_new_year() -> DateTime<Utc> {
    let year = Utc::now().year() + 1;
    format!("{year}-01-03T12:00:00Z").parse().unwrap()
}

/// An account with meetings before and after New Year. The clock shows the 3rd of January.
fn staged(variable: &str, seed: u64) -> Stage {
    let now = after_new_year();
    let world = World::generate(&Spec {
        seed,
        hosts: 4,
        meetings: 40,
        sessions: 120,
        days: 8,
        now,
    });
    let mut stage = Stage::new(world, Some(variable));
    stage.clock.advance(now - Utc::now());
    stage.period = IndexPeriod::Year;
    stage
}

/// (last year, this year).
fn years() -> [i32; 2] {
    [after_new_year().year() - 1, after_new_year().year()]
}

/// The number of documents in each index of the account.
async fn counts(stage: &Stage, kind: &str) -> BTreeMap<String, u64> {
    let pattern = format!("/PREFIX-{kind}-*");
    stage
        .es()
        .call("POST", &format!("{pattern}/_refresh"), None)
        .await;
    let indices = stage.es().call("GET", &format!("{pattern}/_alias"), None).await;
    let mut counts = BTreeMap::new();
    let alias = stage.es().named(&format!("PREFIX-{kind}-ACCOUNT"));
    for (index, found) in indices.as_object().unwrap() {
        let answer = stage.es().call("GET", &format!("/{index}/_count"), None).await;
        let searched = stage.es().named(&format!("PREFIX-{kind}"));
        assert!(found["aliases"].get(&searched).is_some(), "{index} is searched");
        counts.insert(index.replace(&alias, ""), answer["count"].as_u64().unwrap());
    }
    counts
}

/// Asserts that a search finds the account, each document once, and each in the index of its year.
async fn assert_in_its_year(stage: &Stage, generations: [&str; 2]) {
    stage.assert_index_is_the_account().await;
    let mut expected = [BTreeMap::new(), BTreeMap::new()];
    for (year, generation) in years().into_iter().zip(generations) {
        for kind in &mut expected {
            kind.insert(format!("-{year}-{generation}"), 0);
        }
    }
    let world = stage.sim.with_world(|world| world.clone());
    for meeting in &world.meetings {
        let at = usize::from(meeting.end.year() == years()[1]);
        let index = format!("-{}-{}", meeting.end.year(), generations[at]);
        *expected[0].get_mut(&index).unwrap() += 1;
        *expected[1].get_mut(&index).unwrap() += meeting.sessions.len() as u64;
    }
    assert_eq!(
        [counts(stage, "meetings").await, counts(stage, "sessions").await],
        expected
    );
}

async fn done(stage: &Stage, scope: Scope) -> u64 {
    let summary = stage.sync(scope).await;
    assert_eq!(summary.ending, Ending::Done, "{:?}", summary.message);
    summary.bulk_requests
}

/// A meeting of last year's last evening.
fn on_new_years_eve(stage: &Stage) -> String {
    let start = format!("{}-12-31T22:00:00Z", years()[0]).parse().unwrap();
    stage.sim.with_world(|world| world.add_meeting(0, start, 60, 3))
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_are_in_the_index_of_their_year_and_in_no_other() {
    for variable in ENGINES {
        let stage = staged(variable, 21);
        let moving = on_new_years_eve(&stage);
        assert!(done(&stage, stage.days(9)).await > 0);
        assert_in_its_year(&stage, ["000001", "000001"]).await;
        assert!(stage.verify(Remedy::Tell).await.equal);
        assert_eq!(done(&stage, Scope::Resume).await, 0, "{variable}: unchanged");

        // The meeting ends in the new year after all, and loses a session. It moves as a whole, and back again.
        for minutes in [120, -120, 120] {
            stage.sim.with_world(|world| {
                world.extend(&moving, minutes);
                world.remove_session(&moving);
                world.add_session(&moving);
            });
            done(&stage, stage.days(9)).await;
            assert_in_its_year(&stage, ["000001", "000001"]).await;
            assert!(stage.verify(Remedy::Tell).await.equal, "{variable}");
            assert_eq!(done(&stage, Scope::Resume).await, 0, "{variable}: unchanged");
        }
        assert_eq!(stage.number("SELECT count(*) FROM doomed_documents"), 0);

        // What was forgotten by date is removed from the old year's index.
        let [old, _] = years();
        let mut catalog = stage.catalog();
        let run = catalog.begin_run("forget", stage.clock.now()).unwrap();
        let day = format!("{old}-12-30").parse().unwrap();
        let forgot = zoom_harvester::sync::forget(
            &mut catalog,
            run,
            &zoom_harvester::sync::ForgetTarget::Before(day),
            &stage.policy,
            false,
            stage.clock.now(),
        )
        .unwrap();
        assert!(forgot.erased.deleted_meetings > 0);
        drop(catalog);
        stage
            .sim
            .with_world(|world| world.meetings.retain(|one| one.end.date_naive() >= day));
        done(&stage, Scope::Resume).await;
        assert_in_its_year(&stage, ["000001", "000001"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_in_the_index_of_another_year_is_found_and_deleted() {
    for variable in ENGINES {
        let stage = staged(variable, 22);
        done(&stage, stage.days(9)).await;
        let [old, new] = years();
        stage.es().call("POST", "/PREFIX-*/_refresh", None).await;
        let path = format!("/PREFIX-meetings-ACCOUNT-{new}/_search");
        let hits = stage
            .es()
            .call("POST", &path, Some(json!({"size": 1, "version": true})))
            .await;
        let hit = &hits["hits"]["hits"][0];
        let uuid = hit["_id"].as_str().unwrap();
        let escaped = url::form_urlencoded::byte_serialize(uuid.as_bytes()).collect::<String>();
        let version = &hit["_version"];
        let path = format!(
            "/PREFIX-meetings-ACCOUNT-{old}/_doc/{escaped}?refresh=true&version={version}&version_type=external"
        );
        let put = stage.es().call("PUT", &path, Some(hit["_source"].clone())).await;
        assert_eq!(put["result"], "created", "{put}");

        let found = stage.verify(Remedy::Repair { drop_unknown: false }).await;
        assert_eq!((found.extra.meetings, found.differences()), (1, 1));
        assert_eq!(found.repaired.unwrap().elsewhere, 1);
        done(&stage, Scope::Resume).await;
        assert!(stage.verify(Remedy::Tell).await.equal);
        assert_in_its_year(&stage, ["000001", "000001"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_year_stays_dropped_and_a_lost_cluster_is_filled_again() {
    for variable in ENGINES {
        let stage = staged(variable, 23);
        done(&stage, stage.days(9)).await;
        let [old, new] = years();
        let delete = async |year: i32| {
            for kind in ["meetings", "sessions"] {
                let path = format!("/PREFIX-{kind}-ACCOUNT-{year}-00000*");
                let indices = stage.es().call("GET", &format!("{path}/_alias"), None).await;
                for index in indices.as_object().unwrap().keys() {
                    let gone = stage.es().call("DELETE", &format!("/{index}"), None).await;
                    assert_eq!(gone["acknowledged"], true, "{gone}");
                }
            }
        };
        let kept = |year: i32| {
            let sql = format!("SELECT count(*) FROM meetings WHERE end_time LIKE '{year}-%'");
            u64::try_from(stage.number(&sql)).unwrap()
        };

        // An administrator's policy drops the index of the old year.
        delete(old).await;
        assert_eq!(done(&stage, Scope::Resume).await, 0, "{variable}");
        let verified = stage.verify(Remedy::Tell).await;
        assert!(verified.equal, "{verified:?}");
        let dropped: Vec<_> = verified
            .dropped_years
            .iter()
            .map(|one| (i32::from(one.year), one.meetings))
            .collect();
        assert_eq!(dropped, [(old, kept(old))]);
        let rebuilt = stage.rebuild(Rebuilding::default()).await.unwrap();
        assert_eq!(rebuilt.meetings, kept(new));
        assert_eq!(rebuilt.left_out, [u16::try_from(old).unwrap()]);
        assert_eq!(counts(&stage, "meetings").await.len(), 1);
        assert_eq!(done(&stage, Scope::Resume).await, 0, "{variable}");

        // A rebuild restores the dropped year.
        let how = Rebuilding {
            dropped_years: true,
            ..Rebuilding::default()
        };
        let rebuilt = stage.rebuild(how).await.unwrap();
        assert_eq!(
            (rebuilt.meetings, rebuilt.left_out),
            (kept(old) + kept(new), Vec::new())
        );
        assert_in_its_year(&stage, ["000001", "000003"]).await;
        assert_eq!(done(&stage, Scope::Resume).await, 0, "{variable}");

        // The whole cluster is lost. That does not count as a dropped year.
        delete(old).await;
        delete(new).await;
        assert!(done(&stage, Scope::Resume).await > 0);
        assert_in_its_year(&stage, ["000001", "000001"]).await;
        assert!(stage.verify(Remedy::Tell).await.equal);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_year_delays_no_other_year() {
    for variable in ENGINES {
        let stage = staged(variable, 24);
        let old_meeting = on_new_years_eve(&stage);
        done(&stage, stage.days(9)).await;
        let [old, _] = years();
        let block = async |blocked: Value| {
            for kind in ["meetings", "sessions"] {
                let body = json!({"index": {"blocks": {"write": blocked}}});
                let path = format!("/PREFIX-{kind}-ACCOUNT-{old}/_settings");
                let done = stage.es().call("PUT", &path, Some(body)).await;
                assert_eq!(done["acknowledged"], true, "{done}");
            }
        };
        block(json!(true)).await;
        stage
            .sim
            .with_world(|world| world.rename_series(&old_meeting, "Renamed"));
        let start = after_new_year() - TimeDelta::hours(3);
        let added = stage.sim.with_world(|world| world.add_meeting(1, start, 30, 2));
        let summary = stage.sync(stage.days(9)).await;
        assert!(
            matches!(summary.ending, Ending::StoppedEarly { .. }),
            "{summary:?}"
        );
        assert!(summary.message.unwrap().contains("refuses writes"));
        assert!(
            stage.es().all("meetings").await.contains_key(&added),
            "{variable}"
        );
        assert_eq!(
            stage.number("SELECT count(*) FROM meetings WHERE status = 'fetched'"),
            1
        );

        block(json!(false)).await;
        done(&stage, Scope::Resume).await;
        assert_in_its_year(&stage, ["000001", "000001"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_switches_to_yearly_indices_and_back() {
    for variable in ENGINES {
        let mut stage = staged(variable, 25);
        stage.period = IndexPeriod::None;
        let moving = on_new_years_eve(&stage);
        done(&stage, stage.days(9)).await;
        let all = counts(&stage, "meetings").await;
        assert_eq!(all.keys().collect::<Vec<_>>(), ["-000001"]);

        // What is there stays where it is; what changes goes to its year.
        stage.period = IndexPeriod::Year;
        assert_eq!(done(&stage, Scope::Resume).await, 0, "{variable}");
        assert!(stage.verify(Remedy::Tell).await.equal);
        stage.sim.with_world(|world| world.add_session(&moving));
        done(&stage, stage.days(9)).await;
        stage.assert_index_is_the_account().await;
        assert!(stage.verify(Remedy::Tell).await.equal);
        let now = counts(&stage, "meetings").await;
        let old_index = format!("-{}-000001", years()[0]);
        assert_eq!((now["-000001"], now[&old_index]), (all["-000001"] - 1, 1));

        // A rebuild moves everything to the yearly indices, and another one moves it back.
        stage.rebuild(Rebuilding::default()).await.unwrap();
        assert_in_its_year(&stage, ["000002", "000002"]).await;
        assert!(stage.verify(Remedy::Tell).await.equal);
        assert_eq!(done(&stage, Scope::Resume).await, 0, "{variable}");
        stage.period = IndexPeriod::None;
        stage.rebuild(Rebuilding::default()).await.unwrap();
        stage.assert_index_is_the_account().await;
        let back = counts(&stage, "meetings").await;
        assert_eq!(back.keys().collect::<Vec<_>>(), ["-000001"]);
        assert_eq!(done(&stage, Scope::Resume).await, 0, "{variable}");
        assert!(stage.verify(Remedy::Tell).await.equal);
    }
}
