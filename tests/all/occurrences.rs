//! Instances of a series that belong together: a meeting that its host left and restarted is one occurrence, in documents and in SQL.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use zoom_harvester::{
    model::{HostId, Instance, SeriesId, occurrences},
    sim::world::{Spec, World},
    sync::Ending,
};

use crate::common::{ENGINES, Stage};

const ROOM: i64 = 5_550_009_999;

fn empty(variable: Option<&str>) -> Stage {
    let world = World::generate(&Spec {
        seed: 61,
        hosts: 3,
        meetings: 1,
        sessions: 3,
        days: 3,
        now: Utc::now() - TimeDelta::hours(1),
    });
    Stage::new(world, variable)
}

/// Adds an instance of a series.
fn add(stage: &Stage, series: i64, start: DateTime<Utc>, minutes: i64, sessions: usize) -> String {
    stage.sim.with_world(|world| {
        let uuid = world.add_meeting(1, start, minutes, sessions);
        world.meeting_mut(&uuid).unwrap().series = series;
        uuid
    })
}

/// Gives everybody in the meeting except the host these names; a guest has no email.
fn call(stage: &Stage, uuid: &str, guests: &[&str]) {
    stage.sim.with_world(|world| {
        let host = world.hosts[1].clone();
        let meeting = world.meeting_mut(uuid).unwrap();
        for (session, name) in meeting
            .sessions
            .iter_mut()
            .zip(std::iter::once(&host.name.as_str()).chain(guests))
        {
            session.row.insert("user_name".to_owned(), (*name).into());
            session.row.insert("email".to_owned(), "".into());
        }
        meeting.sessions[0]
            .row
            .insert("email".to_owned(), host.email.into());
    });
}

/// The meetings of a series, grouped by occurrence, as SQL shows them.
fn told(stage: &Stage, series: i64) -> BTreeSet<BTreeSet<String>> {
    let groups = stage.texts(&format!(
        "SELECT group_concat(meeting_uuid, ' ') FROM meeting_overview WHERE series_id = {series} GROUP BY occurrence_id"
    ));
    groups
        .iter()
        .map(|group| group.split(' ').map(str::to_owned).collect())
        .collect()
}

fn groups(groups: &[&[&String]]) -> BTreeSet<BTreeSet<String>> {
    groups
        .iter()
        .map(|group| group.iter().map(|uuid| (*uuid).clone()).collect())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_meeting_is_one_occurrence_whenever_it_becomes_known() {
    let stage = empty(Some(ENGINES[0]));
    let (series, base) = (92_000_000_001, Utc::now() - TimeDelta::hours(30));
    stage.sim.with_world(|world| {
        world.series.push(zoom_harvester::sim::world::Series {
            id: series,
            host: 1,
            topic: "Series".to_owned(),
            scheduled_type: Some(8),
        });
    });
    let at = |minutes| base + TimeDelta::minutes(minutes);
    let first = add(&stage, series, at(0), 30, 3);
    let far = add(&stage, series, at(90), 10, 2);
    stage.sync(stage.days(4)).await;
    assert_eq!(told(&stage, series), groups(&[&[&first], &[&far]]));
    stage.assert_index_is_the_account().await;

    // Two meetings between them close the chain. The published documents follow, without fetching a detail again.
    let second = add(&stage, series, at(44), 20, 2);
    let third = add(&stage, series, at(79), 1, 2);
    stage.sim.clear_log();
    let run = stage.sync(stage.days(4)).await;
    assert_eq!((run.ending, stage.sim.count("detail")), (Ending::Done, 2));
    assert_eq!(told(&stage, series), groups(&[&[&first, &second, &third, &far]]));
    stage.assert_index_is_the_account().await;
    let (_, document) = &stage.es().all("meetings").await[&far];
    assert_eq!(document["occurrence_id"], first.as_str());
    let sessions = stage.es().all("sessions").await;
    let of_far = sessions
        .values()
        .filter(|(_, one)| one["meeting"] == far.as_str());
    assert!(of_far.clone().count() == 2);
    for (_, session) in of_far {
        assert_eq!(session["occurrence_id"], first.as_str());
    }

    // Zoom says that the second one ended earlier: the chain breaks there.
    stage.sim.with_world(|world| {
        let meeting = world.meeting_mut(&second).unwrap();
        meeting.end = at(50);
    });
    stage.sync(stage.days(4)).await;
    assert_eq!(
        told(&stage, series),
        groups(&[&[&first, &second], &[&third, &far]])
    );
    stage.assert_index_is_the_account().await;

    // A run without news changes nothing, and `catalog check` finds no flaws.
    let idle = stage.sync(stage.days(4)).await;
    assert_eq!((idle.ending, idle.bulk_requests), (Ending::Done, 0));
    for check in stage.catalog().check().unwrap() {
        assert_eq!(check.flaws, [], "{}", check.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_personal_room_is_told_apart_by_its_guests() {
    let stage = empty(None);
    let base = Utc::now() - TimeDelta::hours(30);
    let at = |minutes| base + TimeDelta::minutes(minutes);
    let ada = add(&stage, ROOM, at(0), 20, 2);
    let ben = add(&stage, ROOM, at(22), 20, 2);
    let alone = add(&stage, ROOM, at(43), 2, 1);
    let ben_again = add(&stage, ROOM, at(46), 10, 3);
    call(&stage, &ada, &["Ada"]);
    call(&stage, &ben, &["Ben"]);
    call(&stage, &alone, &[]);
    call(&stage, &ben_again, &["Carl", "ben"]);
    let run = stage.run(stage.days(4), true, false).await;
    assert_eq!(run.ending, Ending::Done, "{:?}", run.message);
    assert_eq!(
        told(&stage, ROOM),
        groups(&[&[&ada], &[&ben, &alone, &ben_again]])
    );

    // Somebody was in both after all: a changed detail shows it.
    call(&stage, &ben, &["Ada"]);
    stage.sim.with_world(|world| world.extend(&ben, 0));
    stage.sim.with_world(|world| world.add_session(&ben));
    stage.run(stage.days(4), true, false).await;
    assert_eq!(told(&stage, ROOM).len(), 2);
    assert!(
        told(&stage, ROOM)
            .iter()
            .any(|group| group.contains(&ada) && group.contains(&ben))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_whose_first_is_forgotten_becomes_the_first_itself() {
    let stage = empty(None);
    let series = 92_000_000_002;
    // The series runs over midnight.
    let midnight = Utc::now().date_naive().and_time(chrono::NaiveTime::MIN).and_utc() - TimeDelta::days(1);
    let before = add(&stage, series, midnight - TimeDelta::minutes(50), 40, 3);
    let after = add(&stage, series, midnight + TimeDelta::minutes(2), 30, 3);
    let last = add(&stage, series, midnight + TimeDelta::minutes(40), 30, 3);
    stage.run(stage.days(4), true, false).await;
    assert_eq!(told(&stage, series), groups(&[&[&before, &after, &last]]));

    let forget = std::process::Command::new(env!("CARGO_BIN_EXE_zoom-harvester"))
        .args(["forget", "--before", &midnight.date_naive().to_string()])
        .env_clear()
        .current_dir(stage.folder.path())
        .output()
        .unwrap();
    assert!(
        forget.status.success(),
        "{}",
        String::from_utf8_lossy(&forget.stderr)
    );
    assert_eq!(told(&stage, series), groups(&[&[&after, &last]]));
    assert_eq!(
        stage.texts("SELECT DISTINCT occurrence_id FROM meetings WHERE occurrence_id IS NOT NULL"),
        [after]
    );
    for check in stage.catalog().check().unwrap() {
        assert_eq!(check.flaws, [], "{}", check.name);
    }
}

/// In whatever order instances come, grow and change their guests, the result that the catalog computes step by step equals one computation over
/// all
/// of them.
#[tokio::test(flavor = "multi_thread")]
async fn incremental_occurrences_equal_those_of_a_full_computation() {
    for seed in 0..12 {
        let mut dice = fastrand::Rng::with_seed(seed);
        let stage = empty(None);
        let base = Utc::now() - TimeDelta::hours(40);
        let series = [92_000_000_003, ROOM];
        let mut added: Vec<String> = Vec::new();
        for _ in 0..5 {
            for _ in 0..dice.usize(1..4) {
                let start = base + TimeDelta::minutes(dice.i64(0..240));
                let uuid = add(&stage, series[dice.usize(0..2)], start, dice.i64(1..40), 3);
                added.push(uuid);
            }
            for _ in 0..2 {
                let uuid = &added[dice.usize(0..added.len())];
                let guests: Vec<&str> = (0..2).map(|_| ["Ada", "Ben", "Carl"][dice.usize(0..3)]).collect();
                call(&stage, uuid, &guests);
                stage.sim.with_world(|world| world.extend(uuid, dice.i64(1..20)));
            }
            let run = stage.run(stage.days(4), true, false).await;
            assert_eq!(run.ending, Ending::Done, "seed {seed}: {:?}", run.message);
            for series in series {
                assert_eq!(told(&stage, series), at_one_look(&stage, series), "seed {seed}");
            }
        }
        for check in stage.catalog().check().unwrap() {
            assert_eq!(check.flaws, [], "seed {seed}: {}", check.name);
        }
    }
}

/// The occurrences of a series, computed from the account itself.
fn at_one_look(stage: &Stage, series: i64) -> BTreeSet<BTreeSet<String>> {
    let world = stage.sim.with_world(|world| world.clone());
    let mut meetings: Vec<_> = world.meetings.iter().filter(|one| one.series == series).collect();
    meetings.sort_by_key(|one| (one.start.timestamp(), one.uuid.clone()));
    let instances: Vec<Instance> = meetings
        .iter()
        .map(|meeting| {
            let host = &world.hosts[meeting.host];
            let guests = meeting.sessions.iter().flat_map(|session| {
                let text = |name: &str| session.row[name].as_str().unwrap_or_default().to_lowercase();
                let said = [text("user_name"), text("email")];
                let is_host = said
                    .iter()
                    .any(|said| *said == host.name.to_lowercase() || *said == host.email);
                said.into_iter().filter(move |said| !is_host && !said.is_empty())
            });
            let second = |at: DateTime<Utc>| DateTime::from_timestamp(at.timestamp(), 0).unwrap();
            Instance {
                start: second(meeting.start),
                end: second(meeting.end),
                host: Some(HostId::new(host.id.as_str())),
                guests: guests.collect(),
            }
        })
        .collect();
    let mut groups: std::collections::BTreeMap<usize, BTreeSet<String>> = Default::default();
    for (meeting, first) in meetings.iter().zip(occurrences(SeriesId(series), &instances)) {
        groups.entry(first).or_default().insert(meeting.uuid.clone());
    }
    groups.into_values().collect()
}
