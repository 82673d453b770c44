//! The whole job, from Zoom's first page to Elasticsearch's last acknowledgement, compared with a floor that is measured in the same run.

use std::{path::Path, sync::Arc};

use chrono::{Days, Utc};
use zoom_harvester::sim::{
    Limits, Setup, Simulator,
    world::{Spec, World},
};

use super::{
    floor, plot,
    process::{Indices, Program, Used, ready_bodies, size},
};

const ROUNDS: usize = 3;
const DAYS: u64 = 27;

pub fn run(url: &str) {
    let spec = Spec {
        seed: 37,
        hosts: 40,
        meetings: 1_107,
        sessions: 11_886,
        days: DAYS as i64,
        now: Utc::now(),
    };
    let served = unlimited(&spec);
    let rounds: Vec<Round> = (0..ROUNDS).map(|_| round(&spec, &served, url)).collect();
    report(&spec, &rounds);
    one_large_meeting(url);
}

fn unlimited(spec: &Spec) -> Simulator {
    let setup = Setup {
        limits: Limits::NONE,
        ..Setup::default()
    };
    Simulator::start(World::generate(spec), setup, 0, Arc::new(Utc::now)).unwrap()
}

fn first_day() -> String {
    (Utc::now().date_naive() - Days::new(DAYS)).to_string()
}

/// The floor lists by the start of meetings, so it begins a day earlier. Otherwise it would lack meetings that were under way at midnight.
fn first_day_of_floor() -> String {
    (Utc::now().date_naive() - Days::new(DAYS + 1)).to_string()
}

/// The figures of one round.
struct Round {
    sync: Used,
    sync_floor: Used,
    unchanged: Used,
    publish: Used,
    reindex: Used,
    publish_floor: Used,
    /// Of the program and of the floor.
    start_up: [Used; 2],
    catalog_bytes: [u64; 2],
}

fn round(spec: &Spec, served: &Simulator, url: &str) -> Round {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let harvested = Indices::new(url);
    let mut program = Program::new(folder, served);
    program.publish_to(&harvested);
    served.clear_log();
    let sync = program.run(&["sync", "--from", &first_day()]);
    assert_eq!(served.count("detail"), spec.meetings, "every detail once");
    let unchanged = program.run(&["sync", "--from", &first_day()]);
    assert_eq!(served.count("detail"), spec.meetings, "none again");

    let recipe = folder.join("recipe.json");
    std::fs::write(&recipe, harvested.recipe("sessions").to_string()).unwrap();
    let bare = Indices::new(url);
    let sync_floor = floor::harvest(folder, served, &bare, &recipe, &first_day_of_floor());
    assert_eq!(bare.count("sessions"), spec.sessions as u64);

    // The same documents into fresh indices: from the catalog, and as ready bodies.
    let fresh = Indices::new(url);
    let mut publisher = Program::new(folder, served);
    publisher.publish_to(&fresh);
    let publish = publisher.run(&["publish"]);
    let start_up = [publisher.run(&["publish"]), floor::nothing()];
    let bodies = ready_bodies(&publisher, &fresh, folder);
    let sent = Indices::new(url);
    let publish_floor = floor::publish(&bodies, &sent);
    let reindex = publisher.run(&["reindex"]);
    for indices in [&fresh, &sent] {
        assert_eq!(indices.count("sessions"), spec.sessions as u64);
        assert_eq!(indices.count("meetings"), spec.meetings as u64);
    }
    Round {
        sync,
        sync_floor,
        unchanged,
        publish,
        reindex,
        publish_floor,
        start_up,
        catalog_bytes: [catalog_bytes(folder), size(&folder.join("floor.db"))],
    }
}

fn catalog_bytes(folder: &Path) -> u64 {
    size(&folder.join("harvester.db"))
}

fn report(spec: &Spec, rounds: &[Round]) {
    let least = |of: fn(&Round) -> Used| Used::least(&rounds.iter().map(of).collect::<Vec<_>>());
    let (ours, bare) = (least(|one| one.start_up[0]), least(|one| one.start_up[1]));
    let sync = (least(|one| one.sync), least(|one| one.sync_floor));
    let publish_floor = least(|one| one.publish_floor).without(bare);
    let publish = (least(|one| one.publish).without(ours), publish_floor);
    let reindex = (least(|one| one.reindex).without(ours), publish_floor);
    println!(
        "the whole job: {} meetings, {} sessions, a real Elasticsearch, paced for a Business account, least of {ROUNDS}",
        spec.meetings, spec.sessions
    );
    let each = |n: usize| rounds[0].catalog_bytes[n] as f64 / spec.meetings as f64 / 1000.0;
    let cpu = |used: Used| used.cpu_s;
    let peak = |used: Used| used.peak_mb;
    let wall = |used: Used| used.wall.as_secs_f64();
    let compared = [
        ("sync: CPU", cpu(sync.0), cpu(sync.1), "s"),
        ("sync: peak memory", peak(sync.0), peak(sync.1), "MB"),
        ("publish: time", wall(publish.0), wall(publish.1), "s"),
        ("publish: peak memory", peak(publish.0), peak(publish.1), "MB"),
        ("reindex: time", wall(reindex.0), wall(reindex.1), "s"),
        ("reindex: peak memory", peak(reindex.0), peak(reindex.1), "MB"),
        ("catalog, each meeting", each(0), each(1), "kB"),
    ];
    let ratios = compared.map(|(what, ours, floor, unit)| {
        println!(
            "  {what:<24} {ours:>8.2} {unit:<2} floor {floor:>8.2} {unit:<2} {:.2} times",
            ours / floor
        );
        (what, ours / floor)
    });
    // Building documents takes work that sending ready-made ones does not, so there is no ratio.
    println!(
        "  publish: {:.2} s CPU, of which sending takes {:.2} s",
        cpu(publish.0),
        cpu(publish.1)
    );
    let unchanged = least(|one| one.unchanged);
    println!(
        "  an unchanged run         {:.2} s CPU, {:.1} MB",
        unchanged.cpu_s, unchanged.peak_mb
    );
    plot::ratios(&ratios);
}

/// One meeting with as many sessions as a large webinar has.
fn one_large_meeting(url: &str) {
    let spec = Spec {
        seed: 41,
        hosts: 1,
        meetings: 1,
        sessions: 50_000,
        days: 3,
        now: Utc::now(),
    };
    let served = unlimited(&spec);
    let folder = tempfile::tempdir().unwrap();
    let indices = Indices::new(url);
    let mut program = Program::new(folder.path(), &served);
    program.publish_to(&indices);
    let sync = program.run(&["sync", "--from", &first_day()]);
    assert_eq!(indices.count("sessions"), spec.sessions as u64);
    let reindex = program.run(&["reindex"]);
    assert_eq!(indices.count("sessions"), spec.sessions as u64);
    println!(
        "one meeting with {} sessions: {} requests for them; sync {:.1} s CPU, peak {:.1} MB; reindex peak {:.1} MB",
        spec.sessions,
        served.count("detail"),
        sync.cpu_s,
        sync.peak_mb,
        reindex.peak_mb
    );
}
