//! Privacy: what a policy keeps out is stored nowhere. What was forgotten is gone from every byte and from the index, and stays gone.

use std::collections::{BTreeMap, BTreeSet};

use crate::common::{ENGINES, Stage};
use assert_cmd::Command;
use chrono::{Days, TimeDelta, Utc};
use serde_json::{Value, json};
use zoom_harvester::{
    catalog::Catalog,
    elastic,
    model::{IndexKind, is_pseudonym},
    privacy::{Field, Policy, Treatment},
    sim::{
        self,
        world::{Spec, World},
    },
    sync::{Ending, Scope},
};

const KEY: &str = "a key that only this test has";

fn small() -> World {
    let mut world = World::generate(&Spec {
        seed: 11,
        hosts: 9,
        meetings: 40,
        sessions: 220,
        days: 6,
        now: Utc::now(),
    });
    // The simulator's leave reasons name nobody; Zoom's do.
    for session in world
        .meetings
        .iter_mut()
        .flat_map(|meeting| &mut meeting.sessions)
    {
        let name = session.row["user_name"].as_str().unwrap().to_owned();
        session
            .row
            .insert("leave_reason".into(), format!("{name} left the meeting.").into());
    }
    world
}

fn policy(treatment: Treatment) -> Policy {
    let fields = Field::ALL.map(|(field, _)| (field, treatment));
    Policy::new(fields.into(), true, Some(KEY.to_owned().into())).unwrap()
}

/// Every byte of every file in the catalog's folder.
fn files(stage: &Stage) -> Vec<u8> {
    let files = std::fs::read_dir(stage.folder.path()).unwrap();
    files
        .flat_map(|file| std::fs::read(file.unwrap().path()).unwrap())
        .collect()
}

/// Everything that is stored: every file in the catalog's folder as it is, and the compressed content of the catalog, decompressed. In lower case,
/// like all that is compared with it.
fn stored(stage: &Stage) -> String {
    let mut bytes = files(stage);
    let catalog = Catalog::open_read_only(&stage.db()).unwrap();
    for kept in catalog.kept_after(None, 1_000_000, usize::MAX).unwrap() {
        let kept = kept.open().unwrap();
        bytes.extend(kept.detail.payload().bytes());
        bytes.extend(kept.listing.as_str().bytes());
    }
    String::from_utf8_lossy(&bytes).to_lowercase()
}

/// Every document in the index, as text.
async fn indexed(stage: &Stage) -> String {
    let mut text = String::new();
    for kind in ["meetings", "sessions"] {
        for (id, (_, source)) in stage.es().all(kind).await {
            text.push_str(&format!("{id} {source}\n"));
        }
    }
    text.to_lowercase()
}

fn holds(text: &str, value: &str) -> bool {
    let value = value.to_lowercase();
    let escaped = json!(value).to_string();
    text.contains(&value) || text.contains(escaped.trim_matches('"'))
}

#[track_caller]
fn nowhere<'a>(places: &[&str], values: impl IntoIterator<Item = &'a str>) -> usize {
    let mut looked = 0;
    for value in values {
        looked += 1;
        for text in places {
            assert!(!holds(text, value), "{value:?} is still there");
        }
    }
    looked
}

/// Asserts that the index holds what the catalog builds, and nothing else.
async fn assert_index_is_the_catalog(stage: &Stage) {
    let mut built: BTreeMap<(&str, String), Value> = BTreeMap::new();
    let catalog = Catalog::open_read_only(&stage.db()).unwrap();
    for kept in catalog.kept_after(None, 1_000_000, usize::MAX).unwrap() {
        for document in elastic::documents(&kept.open().unwrap()) {
            let kind = match document.index {
                IndexKind::Meetings => "meetings",
                IndexKind::Sessions => "sessions",
            };
            let body = serde_json::from_str(&document.body).unwrap();
            built.insert((kind, document.id), body);
        }
    }
    let mut found = BTreeMap::new();
    for kind in ["meetings", "sessions"] {
        for (id, (_, source)) in stage.es().all(kind).await {
            found.insert((kind, id), source);
        }
    }
    assert_eq!(found.keys().collect::<Vec<_>>(), built.keys().collect::<Vec<_>>());
    assert_eq!(found, built);
}

/// Runs the program on this stage. Returns its exit code and all that it printed.
fn program(stage: &Stage, es: Option<&str>, args: &[&str]) -> (i32, String) {
    let mut command = Command::cargo_bin("zoom-harvester").unwrap();
    command.env_clear().current_dir(stage.folder.path());
    command
        .envs(stage.environment())
        .env("ZOOM_HARVESTER_PRIVACY_KEY", KEY);
    if let Some(url) = es {
        command
            .env("ELASTICSEARCH_URL", url)
            .env("ELASTICSEARCH_REPLICAS", "0")
            .env("ELASTICSEARCH_RETRIES", "0")
            .env("ELASTICSEARCH_INDEX_PREFIX", &stage.es().prefix);
    }
    let output = command.arg("-vvv").args(args).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code().unwrap(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

/// Values of the world that a policy of `drop` must keep out: long enough not to be there by chance.
fn personal(world: &World) -> BTreeSet<String> {
    let fields = [
        "user_name",
        "email",
        "id",
        "participant_user_id",
        "registrant_id",
        "customer_key",
        "ip_address",
        "mac_addr",
        "harddisk_id",
        "domain",
        "microphone",
        "camera",
        "speaker",
    ];
    let sessions = world.meetings.iter().flat_map(|meeting| &meeting.sessions);
    let mut values: BTreeSet<String> = sessions
        .flat_map(|session| {
            let row = &session.row;
            let lists = [
                &row["internal_ip_addresses"][0],
                &row["audio_call"][0]["call_number"],
            ];
            fields.into_iter().map(|name| &row[name]).chain(lists)
        })
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    values.extend(
        world
            .hosts
            .iter()
            .flat_map(|host| [host.name.clone(), host.email.clone()]),
    );
    values.extend(world.meetings.iter().map(|meeting| meeting.topic.clone()));
    values.extend(world.series.iter().map(|series| series.topic.clone()));
    values.retain(|value| value.len() >= 6);
    values
}

#[tokio::test]
async fn dropped_and_replaced_values_are_nowhere() {
    for treatment in [Treatment::Drop, Treatment::Pseudonymise] {
        let mut stage = Stage::new(small(), Some(ENGINES[0]));
        stage.policy = policy(treatment);
        let first = stage.sync(stage.days(8)).await;
        assert_eq!((&first.ending, &first.message), (&Ending::Done, &None));
        let values = stage.sim.with_world(|world| personal(world));
        let (file, index) = (stored(&stage), indexed(&stage).await);
        let looked = nowhere(&[&file, &index], values.iter().map(String::as_str));
        assert!(looked > 300, "{looked}");
        assert_eq!(
            stage.number("SELECT count(*) FROM meetings WHERE host_id IS NULL"),
            0,
            "the join"
        );
        assert_eq!(stage.number("SELECT sum(sessions) FROM meetings"), 220);
        assert_index_is_the_catalog(&stage).await;
        stage.sim.clear_log();
        let second = stage.sync(stage.days(8)).await;
        assert_eq!((second.tally.changed, second.bulk_requests), (0, 0));
        assert_eq!(stage.sim.count("detail") + stage.sim.count("past_meeting"), 0);
    }
}

/// Drops every field alone, because a dropped field may be one that others are found by. An unchanged account still costs nothing.
#[tokio::test]
async fn each_field_can_be_dropped_alone() {
    for (field, name) in Field::ALL {
        let mut stage = Stage::new(small(), None);
        stage.policy = Policy::new([(field, Treatment::Drop)].into(), false, None).unwrap();
        let first = stage.sync(stage.days(8)).await;
        assert_eq!(
            (&first.ending, first.tally.details),
            (&Ending::Done, 40),
            "{name}"
        );
        // Without emails, hosts are looked up by their meetings, one by one. Otherwise only hosts that are in no report are looked up.
        let unreported = stage
            .sim
            .with_world(|world| world.hosts.iter().filter(|host| !host.reported).count());
        let asked = if name == "host_email" { 40 } else { unreported };
        assert_eq!(stage.sim.count("past_meeting"), asked, "{name}");
        let strangers = "SELECT count(*) FROM meetings WHERE host_id IS NULL";
        assert_eq!(stage.number(strangers), 0, "{name}");
        if name == "host_email" {
            let hosts = stage.sim.with_world(|world| world.hosts.clone());
            nowhere(&[&stored(&stage)], hosts.iter().map(|host| host.email.as_str()));
        }
        stage.sim.clear_log();
        let second = stage.sync(stage.days(8)).await;
        assert_eq!(
            (&second.ending, second.tally.changed),
            (&Ending::Done, 0),
            "{name}"
        );
        let costs = ["detail", "past_meeting", "series"].map(|endpoint| stage.sim.count(endpoint));
        assert_eq!(costs, [0, 0, 0], "{name}");
    }
}

async fn people_can_still_be_counted(variable: &str) {
    let mut stage = Stage::new(small(), Some(variable));
    stage.policy = policy(Treatment::Pseudonymise);
    let first = stage.sync(stage.days(8)).await;
    assert_eq!((&first.ending, first.tally.failed), (&Ending::Done, 0));
    let (address, people) = stage.sim.with_world(|world| {
        let rows: Vec<_> = world
            .meetings
            .iter()
            .flat_map(|one| &one.sessions)
            .map(|one| &one.row)
            .collect();
        let emails: BTreeSet<_> = rows
            .iter()
            .filter_map(|row| row["email"].as_str())
            .filter(|email| !email.is_empty())
            .collect();
        (rows[0]["ip_address"].as_str().unwrap().to_owned(), emails.len())
    });
    let pseudonym = stage.policy.pseudonym(&address).unwrap();
    assert_eq!(stage.es().all("sessions").await.len(), 220);
    let query = json!({"size": 1, "query": {"term": {"ip_pseudonym": pseudonym}}});
    let answer = stage
        .es()
        .call("POST", "/PREFIX-sessions/_search", Some(query))
        .await;
    let hit = &answer["hits"]["hits"][0]["_source"];
    assert_eq!(hit["ip_address"], Value::Null, "{answer}");
    assert!(is_pseudonym(hit["ip_pseudonym"].as_str().unwrap()), "{answer}");
    assert!(is_pseudonym(hit["location"].as_str().unwrap_or(&pseudonym)));
    assert_eq!(hit["country"], Value::Null);
    let query = json!({"size": 0, "aggs": {"people": {"cardinality": {"field": "email", "precision_threshold": 10000}}}});
    let answer = stage
        .es()
        .call("POST", "/PREFIX-sessions/_search", Some(query))
        .await;
    assert_eq!(answer["aggregations"]["people"]["value"], people, "{answer}");
    // The same key on a new catalog gives the same pseudonyms, in the listing, in the details and for the hosts.
    let mut other = Stage::new(stage.sim.with_world(|world| world.clone()), None);
    other.policy = stage.policy.clone();
    other.sync(other.days(8)).await;
    let dump = |stage: &Stage| {
        let conn = rusqlite::Connection::open(stage.db()).unwrap();
        let read = |sql: &str| -> Vec<(String, String)> {
            conn.prepare(sql)
                .unwrap()
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
                .unwrap()
                .map(Result::unwrap)
                .collect()
        };
        let kept = Catalog::open_read_only(&stage.db())
            .unwrap()
            .kept_after(None, 1_000, usize::MAX);
        let listing =
            |kept: zoom_harvester::model::Kept| (kept.uuid.to_string(), kept.listing.as_str().to_owned());
        let kept = kept.unwrap().into_iter().map(|one| listing(one.open().unwrap()));
        [
            kept.collect(),
            read("SELECT meeting_uuid, detail_checksum FROM meetings ORDER BY 1"),
            read("SELECT host_id, email || ' ' || name FROM hosts ORDER BY 1"),
        ]
    };
    assert_eq!(dump(&stage), dump(&other));
    assert_eq!(
        stage.number(
            "SELECT count(*) FROM meetings m JOIN hosts h USING (host_id) WHERE h.email <> '' AND h.email <> m.host_email"
        ),
        0
    );
}

#[tokio::test]
async fn people_can_still_be_counted_in_elasticsearch() {
    people_can_still_be_counted(ENGINES[0]).await;
}

#[tokio::test]
async fn people_can_still_be_counted_in_opensearch() {
    people_can_still_be_counted(ENGINES[1]).await;
}

/// Gives a participant their own name and email in two meetings, written differently. Returns their stays.
fn jill(world: &mut World) -> Vec<String> {
    let mut meetings = world.meetings.iter_mut().filter(|one| one.sessions.len() > 3);
    let mut stays = Vec::new();
    for email in ["jill.chill@example.org", " Jill.Chill@Example.ORG "] {
        let meeting = meetings.next().unwrap();
        let row = &mut meeting.sessions[2].row;
        row.insert("user_name".into(), "Jill Chill (she)".into());
        row.insert("email".into(), email.into());
        row.insert("id".into(), "person-of-jill".into());
        row.insert("participant_user_id".into(), "person-of-jill".into());
        row.insert("microphone".into(), "Jill Chill's AirPods".into());
        row.insert("ip_address".into(), "203.0.113.77".into());
        row.insert("something_new".into(), "says Jill".into());
        row.insert("leave_reason".into(), "Jill Chill (she) left the meeting.".into());
        stays.push(row["participant_uuid"].as_str().unwrap().to_owned());
    }
    stays
}

const OF_JILL: [&str; 5] = [
    "jill.chill",
    "Jill Chill",
    "person-of-jill",
    "203.0.113.77",
    "says Jill",
];

/// The compressed details of the meetings that she was in, as they lie in the file.
fn jills_payloads(open: &rusqlite::Connection) -> Vec<Vec<u8>> {
    let mut statement = open
        .prepare("SELECT payload, payload_bytes, dictionary FROM payloads LEFT JOIN dictionaries USING (dictionary_id)")
        .unwrap();
    let rows = statement.query_map([], |row| {
        let dictionary: Option<Vec<u8>> = row.get(2)?;
        Ok((
            row.get::<_, Vec<u8>>(0)?,
            row.get(1)?,
            dictionary.unwrap_or_default(),
        ))
    });
    let hers = rows
        .unwrap()
        .map(Result::unwrap)
        .filter(|(payload, bytes, dictionary)| {
            let mut decompressor = zstd::bulk::Decompressor::with_dictionary(dictionary).unwrap();
            let plain = decompressor.decompress(payload, *bytes).unwrap();
            holds(&String::from_utf8_lossy(&plain).to_lowercase(), OF_JILL[0])
        });
    let hers: Vec<Vec<u8>> = hers.map(|(payload, _, _)| payload).collect();
    assert_eq!(hers.len(), 2);
    hers
}

async fn a_participant_is_forgotten(whom: [&str; 2]) {
    let stage = Stage::new(small(), Some(ENGINES[0]));
    let stays = stage.sim.with_world(jill);
    stage.sync(stage.days(8)).await;
    assert!(holds(&stored(&stage), OF_JILL[0]) && holds(&indexed(&stage).await, OF_JILL[0]));

    let url = stage.es().url.clone();
    let (code, said) = program(&stage, Some(&url), &["forget", "--dry-run", whom[0], whom[1]]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("in 2 meetings (2 sessions)"), "{said}");
    assert!(holds(&stored(&stage), OF_JILL[0]), "a dry run erases nothing");

    // Another connection has the catalog open, so its write-ahead log is not simply removed at the end.
    let open = rusqlite::Connection::open(stage.db()).unwrap();
    open.query_row("SELECT count(*) FROM meetings", [], |_| Ok(()))
        .unwrap();
    let payloads = jills_payloads(&open);
    let (code, said) = program(&stage, Some(&url), &["forget", whom[0], whom[1]]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("in 2 meetings (2 sessions)"), "{said}");
    for value in OF_JILL {
        assert!(!holds(&said, value), "{value}: {said}");
    }
    let gone = async || {
        nowhere(&[&stored(&stage), &indexed(&stage).await], OF_JILL);
        assert_index_is_the_catalog(&stage).await;
    };
    gone().await;
    // In the file the details are compressed: their old bytes are gone as well.
    let now = files(&stage);
    for payload in payloads {
        assert!(!now.windows(payload.len()).any(|window| window == payload));
    }
    drop(open);
    // The stays remain, but name nobody.
    let sessions = stage.es().all("sessions").await;
    for stay in &stays {
        let (_, shown) = sessions
            .values()
            .find(|(_, one)| one["participant_uuid"] == stay.as_str())
            .unwrap();
        assert_eq!(shown["leave_reason"], "$name left the meeting.");
        assert!(
            shown["join_time"].is_string() && shown["duration"].is_number(),
            "{shown}"
        );
    }
    assert_eq!(sessions.len(), 220);

    stage.sim.clear_log();
    let again = stage.sync(stage.days(8)).await;
    assert_eq!((&again.ending, again.bulk_requests), (&Ending::Done, 0));
    assert_eq!((again.tally.changed, stage.sim.count("detail")), (0, 0));

    // Zoom sends everything once more.
    stage.sim.with_world(|world| {
        let uuids: Vec<String> = world.meetings.iter().map(|one| one.uuid.clone()).collect();
        uuids.iter().for_each(|uuid| world.add_session(uuid));
    });
    let again = stage.sync(stage.days(8)).await;
    assert_eq!((&again.ending, again.tally.details), (&Ending::Done, 40));
    gone().await;
}

#[tokio::test]
async fn a_participant_is_forgotten_by_email() {
    a_participant_is_forgotten(["--email", " JILL.chill@example.org"]).await;
}

#[tokio::test]
async fn a_participant_is_forgotten_by_id() {
    a_participant_is_forgotten(["--participant", "person-of-jill"]).await;
}

#[tokio::test]
async fn a_pseudonym_is_forgotten_by_what_it_stands_for() {
    let mut stage = Stage::new(small(), Some(ENGINES[0]));
    stage.policy = policy(Treatment::Pseudonymise);
    stage.sim.with_world(jill);
    stage.sync(stage.days(8)).await;
    let email = stage.policy.email_pseudonym("jill.chill@example.org").unwrap();
    let name = stage.policy.pseudonym("Jill Chill (she)").unwrap();
    assert!(holds(&stored(&stage), &email) && holds(&stored(&stage), &name));
    let url = stage.es().url.clone();
    let (code, said) = program(
        &stage,
        Some(&url),
        &["forget", "--email", "jill.chill@example.org"],
    );
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("in 2 meetings (2 sessions)"), "{said}");
    nowhere(
        &[&stored(&stage), &indexed(&stage).await],
        [email.as_str(), &name],
    );
    stage.sim.clear_log();
    let again = stage.sync(stage.days(8)).await;
    assert_eq!(
        (
            again.tally.changed,
            again.bulk_requests,
            stage.sim.count("detail")
        ),
        (0, 0, 0)
    );
}

#[tokio::test]
async fn a_host_is_forgotten_and_the_meetings_remain() {
    let stage = Stage::new(small(), Some(ENGINES[0]));
    let (host, id) = stage.sim.with_world(|world| {
        let host = world.meetings[0].host;
        let one = &mut world.hosts[host];
        one.name = "Johanna Doe".into();
        one.email = "Johanna@Example.org".into();
        (one.exists, one.licensed, one.reported) = (true, true, true);
        for meeting in world.meetings.iter_mut().filter(|meeting| meeting.host == host) {
            meeting.topic = "Tea with Johanna Doe".into();
        }
        for series in world.series.iter_mut().filter(|series| series.host == host) {
            series.topic = "Tea with Johanna Doe".into();
        }
        (host, world.hosts[host].id.clone())
    });
    let of_host = ["johanna@example.org", "Johanna"];
    stage.sync(stage.days(8)).await;
    let meetings = stage.number(&format!("SELECT count(*) FROM meetings WHERE host_id = '{id}'"));
    assert!(meetings > 1 && holds(&stored(&stage), of_host[0]));

    let url = stage.es().url.clone();
    // Another connection has the catalog open, so the file is not simply tidied up at the end.
    let open = rusqlite::Connection::open(stage.db()).unwrap();
    open.query_row("SELECT count(*) FROM meetings", [], |_| Ok(()))
        .unwrap();
    let (code, said) = program(&stage, Some(&url), &["forget", "--email", "johanna@example.org"]);
    assert_eq!(code, 0, "{said}");
    let gone = async || {
        nowhere(&[&stored(&stage), &indexed(&stage).await], of_host);
        assert_index_is_the_catalog(&stage).await;
    };
    gone().await;
    assert_eq!(
        stage.number(&format!(
            "SELECT count(*) FROM meetings WHERE host_id = '{id}' AND topic = 'Tea with $name'"
        )),
        meetings
    );

    stage.sim.clear_log();
    let again = stage.sync(stage.days(8)).await;
    assert_eq!((again.tally.changed, again.bulk_requests), (0, 0));
    assert_eq!(stage.sim.count("detail") + stage.sim.count("past_meeting"), 0);

    // A new meeting, and their list of series a week later.
    stage.sim.with_world(|world| {
        let uuid = world.add_meeting(host, Utc::now() - TimeDelta::hours(2), 30, 3);
        let meeting = world.meetings.iter_mut().find(|one| one.uuid == uuid).unwrap();
        meeting.topic = "More tea with Johanna Doe".into();
    });
    stage.clock.advance(TimeDelta::days(8));
    let again = stage.sync(Scope::Resume).await;
    assert_eq!((&again.ending, again.tally.new), (&Ending::Done, 1));
    assert!(stage.sim.count("series") > 0);
    gone().await;
    assert_eq!(
        stage.number(&format!("SELECT count(*) FROM meetings WHERE host_id = '{id}'")),
        meetings + 1
    );
}

#[tokio::test]
async fn the_past_is_forgotten_even_while_elasticsearch_is_down() {
    let stage = Stage::new(small(), Some(ENGINES[0]));
    stage.sync(stage.days(8)).await;
    let day = stage.clock.now().date_naive() - Days::new(2);
    let (old, kept) = stage.sim.with_world(|world| {
        let (old, kept): (Vec<_>, Vec<_>) = world
            .meetings
            .iter()
            .partition(|meeting| meeting.end.date_naive() < day);
        let uuids = |meetings: Vec<&sim::world::Meeting>| -> BTreeSet<String> {
            meetings.iter().map(|one| one.uuid.clone()).collect()
        };
        (uuids(old), uuids(kept))
    });
    assert!(old.len() > 5 && kept.len() > 5, "{} {}", old.len(), kept.len());
    let date = day.to_string();
    let (code, said) = program(&stage, Some("http://127.0.0.1:9"), &["forget", "--before", &date]);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("the index still holds"), "{said}");
    let in_catalog = || {
        let conn = rusqlite::Connection::open(stage.db()).unwrap();
        let mut statement = conn.prepare("SELECT meeting_uuid FROM meetings").unwrap();
        let uuids = statement.query_map([], |row| row.get(0)).unwrap();
        uuids.map(Result::unwrap).collect::<BTreeSet<String>>()
    };
    assert_eq!(in_catalog(), kept);
    for days in ["windows", "unlisted_days"] {
        let before = format!("SELECT count(*) FROM {days} WHERE day < '{date}'");
        assert_eq!(stage.number(&before), 0, "{days}");
    }
    assert_eq!(
        stage.es().all("meetings").await.len(),
        40,
        "it could not be told yet"
    );

    // Run it again, as if it had been killed.
    let url = stage.es().url.clone();
    let (code, said) = program(&stage, Some(&url), &["forget", "--before", &date]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(stage.number("SELECT count(*) FROM doomed_documents"), 0);
    assert_index_is_the_catalog(&stage).await;
    let found: BTreeSet<String> = stage.es().all("meetings").await.into_keys().collect();
    assert_eq!(found, kept);

    stage.sim.clear_log();
    let again = stage.sync(stage.days(8)).await;
    assert_eq!(
        (again.tally.new, again.bulk_requests, stage.sim.count("detail")),
        (0, 0, 0)
    );
    assert_eq!(in_catalog(), kept);
    assert!(
        stage
            .heard
            .0
            .lock()
            .unwrap()
            .iter()
            .any(|note| note.contains("are ignored")),
        "it is said"
    );
    let from = (day - Days::new(1)).to_string();
    for command in ["sync", "plan"] {
        let (code, said) = program(&stage, Some(&url), &[command, "--from", &from]);
        assert_eq!(code, 1, "{said}");
        assert!(said.contains(&format!("so {date} is the earliest day")), "{said}");
    }
}

#[tokio::test]
async fn a_policy_can_be_applied_to_stored_data() {
    let mut stage = Stage::new(small(), Some(ENGINES[0]));
    stage.sync(stage.days(8)).await;
    let fields = ["email", "user_name", "host_email", "host_name"];
    let arguments = ["--config", "policy.toml", "forget", "--policy"];
    let text: String = fields
        .iter()
        .map(|name| format!("{name} = \"pseudonymise\"\n"))
        .collect();
    std::fs::write(
        stage.folder.path().join("policy.toml"),
        format!("[privacy]\n{text}"),
    )
    .unwrap();
    let url = stage.es().url.clone();
    let (code, said) = program(&stage, Some(&url), &arguments);
    assert_eq!(code, 0, "{said}");
    let values: BTreeSet<String> = stage.sim.with_world(|world| {
        let sessions = world.meetings.iter().flat_map(|meeting| &meeting.sessions);
        let of_people = sessions.flat_map(|one| [&one.row["email"], &one.row["user_name"]]);
        let of_people = of_people.filter_map(Value::as_str).map(str::to_owned);
        let of_hosts = world.hosts.iter().map(|host| host.email.clone());
        of_people
            .chain(of_hosts)
            .filter(|value| value.len() > 5)
            .collect()
    });
    nowhere(
        &[&stored(&stage), &indexed(&stage).await],
        values.iter().map(String::as_str),
    );
    assert_index_is_the_catalog(&stage).await;
    let treatments = Field::ALL
        .into_iter()
        .filter(|(_, name)| fields.contains(name))
        .map(|(field, _)| (field, Treatment::Pseudonymise));
    stage.policy = Policy::new(treatments.collect(), false, Some(KEY.to_owned().into())).unwrap();
    stage.sim.clear_log();
    let again = stage.sync(stage.days(8)).await;
    assert_eq!((again.tally.changed, again.bulk_requests), (0, 0));
    assert_eq!(stage.sim.count("detail") + stage.sim.count("past_meeting"), 0);
}

#[tokio::test]
async fn forget_names_backups_that_may_hold_the_person() {
    let stage = Stage::new(small(), None);
    stage.sim.with_world(jill);
    stage.sync(stage.days(8)).await;
    rusqlite::Connection::open(stage.db())
        .unwrap()
        .execute_batch("INSERT INTO backups (path, made_at, bytes, run_id) VALUES ('/backups/monday.db', '2026-03-02T00:00:00Z', 1, 1)")
        .unwrap();
    // No index was ever filled, so there is nothing left to do in one.
    let (code, said) = program(&stage, None, &["forget", "--email", "jill.chill@example.org"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("may still hold it: /backups/monday.db"), "{said}");
    nowhere(&[&stored(&stage)], OF_JILL);
    for wrong in [
        vec!["forget"],
        vec!["forget", "--email", " "],
        vec!["forget", "--before", "2999-01-01"],
        vec!["forget", "--email", "a@b", "--before", "2026-03-01"],
    ] {
        assert_eq!(program(&stage, None, &wrong).0, 1, "{wrong:?}");
    }
}
