//! Random lists of operations on an account, its catalog and its index, against a naive model of what must be true.
//!
//! The default run is the same every time. `HARVESTER_LONG=MINUTES` goes on with fresh seeds for that long. Each seed is printed, and
//! `HARVESTER_SEED` repeats one. A case that fails is shrunk, and should be added below as a named list of operations.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::{Duration, Instant},
};

use crate::common::{
    ENGINES, ElasticStage, Stage,
    proxy::{Hold, proxy},
};
use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};
use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner},
};
use serde_json::{Value, json};
use zoom_harvester::{
    catalog::Catalog,
    model::{AccountId, MeetingUuid, RowView, Source},
    sim::{
        self, History,
        faults::FaultPlan,
        world::{Meeting, Session, Spec, World},
    },
    sync::{Ending, Scope, Summary, reindex},
    zoom::pace::Plan,
};

/// What can happen. A meeting is named by its place in the account, modulo the number of meetings.
#[derive(Clone, Debug)]
enum Op {
    /// A meeting that began this many hours ago.
    Add {
        hours_ago: u8,
        host: u8,
        sessions: u8,
    },
    /// A meeting that Zoom shows, or whose sessions it shows, only after this many hours.
    AddLate {
        hours_ago: u8,
        sessions: u8,
        shown_after: u8,
        sessions_after: u8,
    },
    Extend(u8),
    AddSession(u8),
    RemoveSession(u8),
    Rename(u8),
    /// The quality scores change.
    Rescore(u8),
    Restart(u8),
    Remove(u8),
    /// The meeting that was removed last is there again.
    Return,
    HostLeaves(u8),
    AddWebinar {
        hours_ago: u8,
        host: u8,
        sessions: u8,
    },
    /// What the account's history leaves out from now on.
    HistoryLacks(Lack),
    Wait(Span),
    Run(What, Trouble),
    DeleteIndex,
    /// The catalog is copied, and with `PutBack` the copy is put back.
    Copy,
    PutBack,
}
use Op::{
    Add, AddLate, AddSession, AddWebinar, Copy as CopyCatalog, DeleteIndex, Extend, HistoryLacks, HostLeaves,
    PutBack, Remove, RemoveSession, Rename, Rescore, Restart, Return, Run, Wait,
};

#[derive(Clone, Copy, Debug)]
enum Span {
    Minutes(u8),
    Hours(u8),
    Days(u8),
}
use Span::{Hours, Minutes};

#[derive(Clone, Copy, Debug)]
enum Lack {
    Nothing,
    OnePerson,
    LastHours(u8),
    Everything,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Resume,
    /// The last days, this many.
    Dated(u8),
    WithoutPublish,
    Publish,
    Reindex,
}
use What::{Dated, Publish, Reindex, Resume, WithoutPublish};

#[derive(Clone, Copy, Debug)]
enum Trouble {
    Nothing,
    /// The run is dropped at this request to Zoom or Elasticsearch, before or after the other side acted.
    Killed {
        elastic: bool,
        after: bool,
        at: u8,
    },
    /// This many requests to the endpoint go wrong, starting with request `from`.
    Fault {
        endpoint: &'static str,
        kind: &'static str,
        from: u8,
        times: u8,
        after: bool,
    },
    /// Elasticsearch is unreachable.
    Away,
}
use Trouble::{Away, Fault, Killed, Nothing};

const ENDPOINTS: [&str; 9] = [
    "token",
    "listing",
    "detail",
    "hosts",
    "series",
    "past_meeting",
    "webinars",
    "webinar_detail",
    "history",
];

/// The endpoint that replaces this one on a Pro account.
fn of_pro(endpoint: &'static str) -> &'static str {
    match endpoint {
        "listing" | "webinars" => "report_listing",
        "detail" => "report_detail",
        "webinar_detail" => "report_webinar_detail",
        other => other,
    }
}
const FAULTS: [&str; 13] = [
    "unavailable",
    "too_fast_empty",
    "too_fast",
    "daily",
    "unauthorised",
    "scopes",
    "blocked",
    "token_expired",
    "token_repeated",
    "no_participants",
    "reset",
    "truncated",
    "earlier_to",
];

fn op() -> impl Strategy<Value = Op> {
    let which = || 0..20_u8;
    let trouble = prop_oneof![
        4 => Just(Nothing),
        3 => (any::<bool>(), any::<bool>(), 1..25_u8)
            .prop_map(|(elastic, after, at)| Killed { elastic, after, at }),
        3 => (
            prop::sample::select(&ENDPOINTS[..]),
            prop::sample::select(&FAULTS[..]),
            1..4_u8,
            1..12_u8,
            any::<bool>()
        )
            .prop_map(|(endpoint, kind, from, times, after)| Fault { endpoint, kind, from, times, after }),
        1 => Just(Away),
    ];
    let what = prop_oneof![
        5 => Just(Resume),
        2 => (1..6_u8).prop_map(Dated),
        1 => Just(WithoutPublish),
        1 => Just(Publish),
        1 => Just(Reindex),
    ];
    prop_oneof![
        3 => (1..90_u8, 0..4_u8, 1..8_u8)
            .prop_map(|(hours_ago, host, sessions)| Add { hours_ago, host, sessions }),
        1 => (1..60_u8, 1..6_u8, 0..20_u8, 0..20_u8).prop_map(|(hours_ago, sessions, shown_after, sessions_after)| {
            AddLate { hours_ago, sessions, shown_after, sessions_after }
        }),
        1 => which().prop_map(Extend),
        1 => which().prop_map(AddSession),
        1 => which().prop_map(RemoveSession),
        1 => which().prop_map(Rename),
        1 => which().prop_map(Rescore),
        1 => which().prop_map(Restart),
        1 => which().prop_map(Remove),
        1 => Just(Return),
        1 => (0..4_u8).prop_map(HostLeaves),
        1 => (1..90_u8, 0..4_u8, 1..8_u8)
            .prop_map(|(hours_ago, host, sessions)| AddWebinar { hours_ago, host, sessions }),
        1 => prop_oneof![
            Just(Lack::Nothing),
            Just(Lack::OnePerson),
            (1..60_u8).prop_map(Lack::LastHours),
            Just(Lack::Everything),
        ]
        .prop_map(HistoryLacks),
        2 => prop_oneof![
            (1..90_u8).prop_map(Minutes),
            (1..30_u8).prop_map(Hours),
            (1..5_u8).prop_map(Span::Days)
        ]
        .prop_map(Wait),
        9 => (what, trouble).prop_map(|(what, trouble)| Run(what, trouble)),
        1 => Just(DeleteIndex),
        1 => Just(CopyCatalog),
        1 => Just(PutBack),
    ]
}

/// A session, identified by the fields that are compared.
type Key = (String, String, String);

fn key(row: &serde_json::Map<String, Value>) -> Key {
    let text = |name: &str| {
        row.get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    (text("user_id"), text("join_time"), text("leave_time"))
}

fn keys(sessions: &[Session]) -> BTreeSet<Key> {
    sessions.iter().map(|one| key(&one.row)).collect()
}

/// A meeting as the catalog has it.
#[derive(Clone, Debug)]
struct Row {
    status: String,
    listed_as: (String, String, i64, String),
    look_again_at: Option<String>,
    fetched: bool,
    vanished: bool,
    incomplete: bool,
    kept: Option<BTreeSet<Key>>,
}

type Documents = BTreeMap<String, Value>;

/// The account under test, and what the model knows of it.
struct Case {
    stage: Stage,
    begun: DateTime<Utc>,
    removed: Vec<Meeting>,
    /// Every set of sessions that a meeting ever had. The empty set is included if Zoom was ever without the sessions.
    history: HashMap<String, BTreeSet<BTreeSet<Key>>>,
    copy: Option<Vec<u8>>,
    /// Whether an older copy was put back: then the catalog may have forgotten what it knew.
    forgetful: bool,
    /// Whether faults may have used up repeated fetches that late sessions needed.
    faulty: bool,
    /// Whether Zoom ever answered a page of a detail without its rows.
    cut: bool,
    renamed: u32,
}

/// The start of every case: noon of a day in the middle of a month, so that no case depends on the date.
const BEGINS: &str = "2026-03-10T12:00:00Z";

/// How far the clock of a case may advance: the whole listing looks back 30 days.
const FURTHEST: TimeDelta = TimeDelta::days(15);

/// Days before the start on which meetings may lie.
const DAYS_BACK: u64 = 5;

impl Case {
    fn new(elastic: &ElasticStage, pro: bool) -> Self {
        let begun: DateTime<Utc> = BEGINS.parse().unwrap();
        let mut world = World::generate(&Spec {
            seed: 3,
            hosts: 4,
            meetings: 0,
            sessions: 0,
            days: 4,
            now: begun,
        });
        // Some hosts are in no report, and the series of some cannot be listed.
        for (n, host) in world.hosts.iter_mut().enumerate() {
            host.reported = n != 1;
            host.licensed = n != 2;
        }
        let mut stage = Stage::new(world, None);
        stage.clock.advance(begun - Utc::now());
        stage.elastic = Some(elastic.clone());
        stage.webinars = true;
        stage.plan = if pro { Plan::Pro } else { Plan::Business };
        stage.source = pro.then_some(Source::Reports);
        stage.sim.with_setup(|setup| {
            setup.page_size_cap = Some(3);
            setup.dashboards = !pro;
        });
        Self {
            stage,
            begun,
            removed: Vec::new(),
            history: HashMap::new(),
            copy: None,
            forgetful: false,
            faulty: false,
            cut: false,
            renamed: 0,
        }
    }

    fn now(&self) -> DateTime<Utc> {
        self.stage.clock.now()
    }

    fn is_pro(&self) -> bool {
        self.stage.plan == Plan::Pro
    }

    /// Requests for details of meetings and webinars, from either source.
    fn details(&self) -> Vec<sim::Logged> {
        let mut log = self.stage.sim.log();
        log.retain(|one| one.endpoint.ends_with("detail"));
        log
    }

    fn edit<T>(&mut self, edit: impl FnOnce(&mut World) -> T) -> T {
        let done = self.stage.sim.with_world(edit);
        let now = self.now();
        let history = &mut self.history;
        self.stage.sim.with_world(|world| {
            for meeting in &world.meetings {
                let states = history.entry(meeting.uuid.clone()).or_default();
                states.insert(keys(&meeting.sessions));
                if meeting.sessions_from > now {
                    states.insert(BTreeSet::new());
                }
            }
        });
        done
    }

    fn nth(&self, n: u8) -> Option<String> {
        self.stage.sim.with_world(|world| {
            let count = world.meetings.len();
            (count > 0).then(|| world.meetings[usize::from(n) % count].uuid.clone())
        })
    }

    async fn apply(&mut self, op: &Op) {
        let now = self.now();
        let ago = |hours: u8| now - TimeDelta::hours(i64::from(hours)) - TimeDelta::minutes(50);
        let on = |case: &mut Self, n: u8, change: fn(&mut World, &str)| {
            if let Some(uuid) = case.nth(n) {
                case.edit(|world| change(world, &uuid));
            }
        };
        match op.clone() {
            Add {
                hours_ago,
                host,
                sessions,
            } => {
                self.edit(|world| {
                    world.add_meeting(usize::from(host), ago(hours_ago), 40, usize::from(sessions))
                });
            }
            AddLate {
                hours_ago,
                sessions,
                shown_after,
                sessions_after,
            } => {
                let hours = |hours: u8| now + TimeDelta::hours(i64::from(hours)) - TimeDelta::seconds(1);
                self.edit(|world| {
                    let uuid = world.add_meeting(0, ago(hours_ago), 40, usize::from(sessions));
                    let meeting = world.meeting_mut(&uuid).unwrap();
                    meeting.visible_from = hours(shown_after);
                    meeting.sessions_from = hours(sessions_after);
                });
            }
            Extend(n) => on(self, n, |world, uuid| world.extend(uuid, 3)),
            // The meeting also ends a little later. Otherwise one session more and one less would leave the listing unchanged, and nobody could
            // notice the
            // change.
            AddSession(n) => on(self, n, |world, uuid| {
                world.add_session(uuid);
                let meeting = world.meeting_mut(uuid).unwrap();
                meeting.one_person = false;
                meeting.end += TimeDelta::seconds(1);
            }),
            // The last session stays: a meeting that nobody attended is no meeting.
            RemoveSession(n) => on(self, n, |world, uuid| {
                if world.meeting(uuid).unwrap().sessions.len() > 1 {
                    world.remove_session(uuid);
                }
            }),
            Rename(n) => {
                self.renamed += 1;
                let topic = format!("Renamed {}", self.renamed);
                if let Some(uuid) = self.nth(n) {
                    self.edit(|world| world.meeting_mut(&uuid).unwrap().topic = topic);
                }
            }
            Rescore(n) => on(self, n, |world, uuid| {
                world.meeting_mut(uuid).unwrap().quality = "poor".into()
            }),
            Restart(n) => on(self, n, |world, uuid| {
                world.restart(uuid);
            }),
            Remove(n) => {
                if let Some(uuid) = self.nth(n) {
                    let removed = self.edit(|world| {
                        let place = world.meetings.iter().position(|one| one.uuid == uuid).unwrap();
                        world.meetings.remove(place)
                    });
                    self.removed.push(removed);
                }
            }
            Return => {
                if let Some(meeting) = self.removed.pop() {
                    self.edit(|world| world.meetings.push(meeting));
                }
            }
            AddWebinar {
                hours_ago,
                host,
                sessions,
            } => {
                self.edit(|world| {
                    world.add_webinar(usize::from(host), ago(hours_ago), 40, usize::from(sessions))
                });
            }
            // Without the host the reports do not know the meetings either, so there is no right state to end with.
            HostLeaves(_) if self.is_pro() => {}
            HostLeaves(n) => self.edit(|world| {
                let count = world.hosts.len();
                let host = &mut world.hosts[usize::from(n) % count];
                (host.exists, host.reported) = (false, false);
            }),
            HistoryLacks(lack) => self.stage.sim.with_setup(|setup| {
                setup.history = match lack {
                    Lack::Nothing => History::Whole,
                    Lack::OnePerson => History::WithoutOnePerson,
                    Lack::LastHours(hours) => History::Late(TimeDelta::hours(i64::from(hours))),
                    Lack::Everything => History::Missing,
                };
            }),
            Wait(span) => {
                let span = match span {
                    Minutes(n) => TimeDelta::minutes(i64::from(n)),
                    Hours(n) => TimeDelta::hours(i64::from(n)),
                    Span::Days(n) => TimeDelta::days(i64::from(n)),
                };
                if now + span - self.begun < FURTHEST {
                    self.stage.clock.advance(span);
                }
            }
            Run(what, trouble) => self.run(what, trouble).await,
            DeleteIndex => clear(self.stage.es()).await,
            CopyCatalog => {
                if self.stage.db().exists() {
                    rusqlite::Connection::open(self.stage.db())
                        .unwrap()
                        .execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")
                        .unwrap();
                    self.copy = Some(std::fs::read(self.stage.db()).unwrap());
                }
            }
            PutBack => {
                if let Some(copy) = &self.copy {
                    for name in ["harvester.db-wal", "harvester.db-shm"] {
                        let _ = std::fs::remove_file(self.stage.folder.path().join(name));
                    }
                    std::fs::write(self.stage.db(), copy).unwrap();
                    self.forgetful = true;
                }
            }
        }
    }

    /// Runs one command, with what goes wrong during it. Then checks every promise that holds at any time.
    async fn run(&mut self, what: What, trouble: Trouble) {
        let (rows, documents) = (self.rows(), self.documents().await);
        let now = self.now();
        self.stage.sim.clear_log();
        let there = self.stage.es().url.clone();
        let mut seen = None;
        match trouble {
            Nothing => {}
            Away => self.stage.elastic.as_mut().unwrap().url = "http://127.0.0.1:9".into(),
            Fault {
                endpoint,
                kind,
                from,
                times,
                after,
            } => {
                self.faulty = true;
                let endpoint = if self.is_pro() { of_pro(endpoint) } else { endpoint };
                if kind == "no_participants" {
                    self.cut = true;
                    self.history.values_mut().for_each(|states| {
                        states.insert(BTreeSet::new());
                    });
                }
                let action = match kind {
                    "unavailable" => json!({"answer": {"status": 503}}),
                    "earlier_to" => json!({"earlier_to": 1}),
                    // If the answer does not say when to retry, the client waits a minute: the limit of listings is per minute.
                    "too_fast" => json!({"too_fast_until": 1}),
                    "too_fast_empty" if matches!(endpoint, "listing" | "webinars") => {
                        json!({"too_fast_seconds": 1})
                    }
                    kind => json!(kind),
                };
                let rule = json!([{"endpoint": endpoint, "from": from, "times": times, "after": after, "action": action}]);
                self.stage
                    .sim
                    .set_faults(FaultPlan::from_json(&rule.to_string()).unwrap());
            }
            Killed {
                elastic: false,
                after,
                at,
            } => {
                let rule = json!([{"from": at, "after": after, "action": "silent"}]);
                self.stage
                    .sim
                    .set_faults(FaultPlan::from_json(&rule.to_string()).unwrap());
            }
            Killed {
                elastic: true,
                after,
                at,
            } => {
                let at = usize::from(at);
                let hold = if after {
                    Hold::AnyAfter(at)
                } else {
                    Hold::AnyBefore(at)
                };
                let (url, proxy) = proxy(&there, Some(hold)).await;
                self.stage.elastic.as_mut().unwrap().url = url;
                seen = Some(proxy);
            }
        }
        let stage = &self.stage;
        let reached = || match trouble {
            Killed {
                elastic: false, at, ..
            } => stage.sim.log().len() >= usize::from(at),
            Killed { elastic: true, .. } => seen
                .as_ref()
                .is_some_and(|seen| seen.held.load(std::sync::atomic::Ordering::SeqCst) > 0),
            Nothing | Fault { .. } | Away => false,
        };
        let mut run = Box::pin(command(stage, what));
        let begun = Instant::now();
        let summary = loop {
            tokio::select! {
                biased;
                summary = &mut run => break summary,
                () = tokio::time::sleep(Duration::from_millis(1)) => {
                    if reached() {
                        break None;
                    }
                    assert!(begun.elapsed() < Duration::from_secs(60), "{what:?} with {trouble:?} never ends");
                }
            }
        };
        // The run is dropped where it is, and no handle of it survives.
        drop(run);
        self.stage.sim.set_faults(FaultPlan::default());
        self.stage.elastic.as_mut().unwrap().url = there;

        self.check_kept(&rows);
        self.check_documents(&documents).await;
        if matches!(trouble, Nothing | Away) {
            self.check_requests(&rows, now, what);
        }
        if let (Nothing, Some(summary)) = (trouble, summary) {
            let ended = &summary.ending;
            assert!(
                matches!(ended, Ending::Done | Ending::Incomplete),
                "undisturbed, {what:?} ended {ended:?}: {:?}",
                summary.message
            );
        }
    }

    /// Asserts that nothing that was kept is lost or emptied, and that what is kept is what Zoom once answered.
    fn check_kept(&self, before: &BTreeMap<String, Row>) {
        if !self.stage.db().exists() {
            return;
        }
        let conn = rusqlite::Connection::open(self.stage.db()).unwrap();
        let said: String = conn
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .unwrap();
        assert_eq!(said, "ok");
        let strays: i64 = conn
            .query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |row| {
                row.get(0)
            })
            .unwrap();
        assert_eq!(strays, 0, "foreign keys");
        let after = self.rows();
        for (uuid, row) in before {
            let now = after.get(uuid).unwrap_or_else(|| panic!("{uuid} is lost"));
            if let Some(had) = row.kept.as_ref().filter(|kept| !kept.is_empty()) {
                let has = now.kept.as_ref().map_or(0, BTreeSet::len);
                assert!(has > 0, "{uuid} had {} sessions and is emptied", had.len());
            }
        }
        for (uuid, row) in &after {
            if let Some(kept) = &row.kept {
                let states = &self.history[uuid];
                // If a page came without its rows, Zoom still counts them. The rest is then kept, but not as complete.
                let awaited = row.look_again_at.is_some()
                    || row.incomplete
                    || ["listed", "failed", "dead", "gone"].contains(&row.status.as_str());
                let part = self.cut && awaited && states.iter().any(|state| kept.is_subset(state));
                assert!(
                    part || states.contains(kept),
                    "{uuid} is kept with sessions that it never had together: {kept:?}"
                );
            }
        }
    }

    /// Asserts that documents stay, except those of sessions that the account no longer has.
    async fn check_documents(&self, before: &Documents) {
        let after = self.documents().await;
        let world = self.stage.sim.with_world(|world| world.clone());
        let of = |source: &Value| (source["meeting"].clone(), key(source.as_object().unwrap()));
        let there: Vec<_> = after.values().map(of).collect();
        for (id, source) in before.iter().filter(|(id, _)| !after.contains_key(*id)) {
            // A session that was first known from the reports gets another id once the dashboards show it.
            if there.contains(&of(source)) {
                continue;
            }
            let uuid = source["meeting"]
                .as_str()
                .unwrap_or_else(|| panic!("meeting {id} was deleted"));
            let (participant, join, _) = key(source.as_object().unwrap());
            let Some(meeting) = world.meeting(uuid) else {
                // The meeting may have lost that session before it was removed itself, in a detail that was not yet published.
                let kept = self.rows().remove(uuid).and_then(|row| row.kept);
                let kept =
                    kept.is_some_and(|kept| kept.iter().any(|one| one.0 == participant && one.1 == join));
                assert!(
                    self.forgetful || !kept,
                    "{id} of {uuid} was deleted, though Zoom's meeting is gone"
                );
                continue;
            };
            let still = keys(&meeting.sessions)
                .iter()
                .any(|(p, j, _)| (p, j) == (&participant, &join));
            assert!(!still, "{id} of {uuid} was deleted, and Zoom has it");
        }
    }

    /// Asserts that no detail is requested twice, and none without a reason.
    fn check_requests(&self, before: &BTreeMap<String, Row>, now: DateTime<Utc>, what: What) {
        let mut asked: BTreeMap<String, usize> = BTreeMap::new();
        for one in self.details().into_iter().filter(|one| one.page == 1) {
            *asked.entry(one.uuid.unwrap()).or_default() += 1;
        }
        let world = self.stage.sim.with_world(|world| world.clone());
        for (uuid, times) in asked {
            let Some(row) = before.get(&uuid) else {
                assert_eq!(times, 1, "{what:?} asked for {uuid} again and again");
                continue;
            };
            let changed = world
                .meeting(&uuid)
                .is_some_and(|meeting| listed_as(meeting) != row.listed_as);
            // A little later than the clock showed at the start: the run takes its time.
            let look = row
                .look_again_at
                .as_ref()
                .is_some_and(|at| at.parse::<DateTime<Utc>>().unwrap() <= now + TimeDelta::seconds(60));
            let due = ["listed", "failed"].contains(&row.status.as_str());
            let back = row.vanished && (!row.fetched || row.status == "gone");
            // A detail that was already due may be in flight when the listing shows that it changed.
            let most = 1 + usize::from(changed && (look || due));
            assert!(times <= most, "{what:?} asked for {uuid} {times} times: {row:?}");
            assert!(
                changed || look || due || back,
                "{what:?} asked for {uuid} without a reason: {row:?}"
            );
        }
    }

    fn rows(&self) -> BTreeMap<String, Row> {
        if !self.stage.db().exists() {
            return BTreeMap::new();
        }
        let Ok(catalog) = Catalog::open_read_only(&self.stage.db()) else {
            return BTreeMap::new();
        };
        let conn = rusqlite::Connection::open(self.stage.db()).unwrap();
        let Ok(mut statement) = conn.prepare(
            "SELECT meeting_uuid, status, start_time, end_time, participants, listing_type, look_again_at,
             detail_checksum IS NOT NULL, vanished_at IS NOT NULL, incomplete FROM meetings",
        ) else {
            return BTreeMap::new();
        };
        let rows = statement
            .query_map([], |row| {
                let uuid: String = row.get(0)?;
                let found = Row {
                    status: row.get(1)?,
                    listed_as: (row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?),
                    look_again_at: row.get(6)?,
                    fetched: row.get(7)?,
                    vanished: row.get(8)?,
                    incomplete: row.get(9)?,
                    kept: None,
                };
                Ok((uuid, found))
            })
            .unwrap()
            .map(Result::unwrap)
            .collect::<Vec<_>>();
        rows.into_iter()
            .map(|(uuid, row)| {
                let kept = catalog.kept(&MeetingUuid::new(&uuid)).unwrap();
                let text = |row: RowView<'_>, name| row.text(name).into_owned();
                let key = |row: RowView<'_>| {
                    (
                        text(row, "user_id"),
                        text(row, "join_time"),
                        text(row, "leave_time"),
                    )
                };
                let kept = kept.map(|kept| kept.detail.rows().map(&key).collect());
                (uuid, Row { kept, ..row })
            })
            .collect()
    }

    async fn documents(&self) -> Documents {
        let mut documents = Documents::new();
        for kind in ["meetings", "sessions"] {
            let found = self
                .stage
                .es()
                .call("GET", &format!("/_alias/PREFIX-{kind}"), None)
                .await;
            if found.get("error").is_none() {
                documents.extend(
                    self.stage
                        .es()
                        .all(kind)
                        .await
                        .into_iter()
                        .map(|(id, (_, source))| (id, source)),
                );
            }
        }
        documents
    }

    /// Asserts that after enough undisturbed time everything is as in the account.
    async fn ends_right(&mut self) {
        if self.stage.db().exists() {
            // What a user does who sees that something is dead.
            let mut catalog = Catalog::open(&self.stage.db()).unwrap();
            catalog.retry().unwrap();
        }
        let first_day: NaiveDate = self.begun.date_naive() - Days::new(DAYS_BACK);
        for wait in [8 * 1_440, 11, 61, 361, 1_441, 1_441] {
            self.stage.clock.advance(TimeDelta::minutes(wait));
            let listed_from = self.stage.db().exists().then(|| {
                let conn = rusqlite::Connection::open(self.stage.db()).unwrap();
                conn.query_row("SELECT min(day) FROM windows", [], |row| {
                    row.get::<_, Option<String>>(0)
                })
                .ok()
                .flatten()
            });
            let what = match listed_from.flatten() {
                Some(day) if day <= first_day.to_string() => Resume,
                // Days that no sync ever listed stay unlisted until a user asks for them.
                _ => Dated(u8::try_from((self.now().date_naive() - first_day).num_days() + 1).unwrap()),
            };
            self.run(what, Nothing).await;
        }
        self.check_truth().await;

        // A second run finds nothing to do.
        self.stage.sim.clear_log();
        let again = self.stage.sync(Scope::Resume).await;
        assert_eq!(again.ending, Ending::Done, "{:?}", again.message);
        assert_eq!(
            (self.details().len(), again.bulk_requests),
            (0, 0),
            "an unchanged account costs nothing"
        );
    }

    async fn check_truth(&self) {
        let (rows, documents) = (self.rows(), self.documents().await);
        let world = self.stage.sim.with_world(|world| world.clone());
        for uuid in rows.keys().filter(|uuid| world.meeting(uuid).is_none()) {
            assert!(rows[uuid].vanished, "{uuid} is gone from Zoom and not marked");
        }
        let mut sessions: BTreeMap<&str, BTreeSet<Key>> = BTreeMap::new();
        for source in documents
            .values()
            .filter(|source| source.get("meeting").is_some())
        {
            let of = sessions.entry(source["meeting"].as_str().unwrap()).or_default();
            of.insert(key(source.as_object().unwrap()));
        }
        for meeting in &world.meetings {
            let uuid = meeting.uuid.as_str();
            let row = rows
                .get(uuid)
                .unwrap_or_else(|| panic!("{uuid} is missing from the catalog"));
            assert!(!row.vanished, "{uuid} is marked as vanished, and Zoom lists it");
            assert_eq!(row.listed_as, listed_as(meeting), "{uuid}");
            if row.incomplete {
                assert!(self.faulty, "{uuid} was given up, though nothing went wrong");
                continue;
            }
            assert_eq!(row.status, "indexed", "{uuid}: {row:?}");
            let wanted = keys(&meeting.sessions);
            assert_eq!(row.kept.as_ref(), Some(&wanted), "{uuid}: the catalog");
            assert_eq!(sessions.get(uuid), Some(&wanted), "{uuid}: the index");
            let shown = documents
                .get(uuid)
                .unwrap_or_else(|| panic!("{uuid} is missing from the index"));
            assert_eq!(shown["topic"], meeting.topic.as_str(), "{uuid}");
            assert_eq!(shown["kind"] == "webinar", meeting.webinar, "{uuid}");
            assert_eq!(shown["end_time"], sim::world::zoom_time(meeting.end), "{uuid}");
            // If no report shows the host of a webinar, only a meeting of the same host could.
            let host = &world.hosts[meeting.host];
            if self.is_pro() || host.reported || !meeting.webinar {
                assert_eq!(shown["host"]["host_id"], host.id.as_str(), "{uuid}");
            }
            for source in documents.values().filter(|source| source["meeting"] == uuid) {
                assert_eq!(source["topic"], meeting.topic.as_str(), "a session of {uuid}");
            }
        }
    }
}

fn listed_as(meeting: &Meeting) -> (String, String, i64, String) {
    (
        sim::world::zoom_time(meeting.start),
        sim::world::zoom_time(meeting.end),
        meeting.sessions.len() as i64,
        if meeting.one_person { "pastOne" } else { "past" }.to_owned(),
    )
}

async fn command(stage: &Stage, what: What) -> Option<Summary> {
    match what {
        Resume => Some(stage.sync(Scope::Resume).await),
        Dated(days) => Some(stage.sync(stage.days(u64::from(days))).await),
        WithoutPublish => Some(stage.run(Scope::Resume, true, false).await),
        Publish => Some(stage.run(Scope::Nothing, false, true).await),
        Reindex => {
            let mut catalog = Catalog::open(&stage.db()).unwrap();
            let clock = stage.clock.clock();
            catalog
                .claim(
                    &AccountId::new(sim::ACCOUNT_ID),
                    &format!("{:016x}", fastrand::u64(..)),
                    clock.now(),
                )
                .unwrap();
            let run = catalog.begin_run("reindex", clock.now()).unwrap();
            let (_keep, cancel) = tokio::sync::watch::channel(false);
            // It may be refused, or Elasticsearch may be unreachable. The index is then checked as after any other command.
            let _ = reindex(
                &mut catalog,
                &stage.es().client(),
                run,
                Default::default(),
                &clock,
                &stage.heard,
                &cancel,
            )
            .await;
            None
        }
    }
}

/// Deletes the indices of this prefix, and leaves the templates.
async fn clear(es: &ElasticStage) {
    let found = es.call("GET", "/PREFIX-*/_alias", None).await;
    let names: Vec<&str> = found.as_object().unwrap().keys().map(String::as_str).collect();
    if !names.is_empty() && found.get("error").is_none() {
        es.call("DELETE", &format!("/{}", names.join(",")), None).await;
    }
}

/// Plays one list of operations from beginning to end. Panics if a promise is broken.
fn play(elastic: &ElasticStage, pro: bool, ops: &[Op]) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        clear(elastic).await;
        let mut case = Case::new(elastic, pro);
        for op in ops {
            case.apply(op).await;
        }
        case.ends_right().await;
        // The prefix is used again, so its indices stay.
        case.stage.elastic = None;
    });
}

/// Plays the operations on a Business account, and on a Pro one.
fn story(ops: &[Op]) {
    let elastic = ElasticStage::new(ENGINES[0]);
    for pro in [false, true] {
        play(&elastic, pro, ops);
    }
    clean_up(elastic);
}

/// The run was killed after its listing was recorded and before the report of hosts arrived. The next run did not ask for the report any more.
#[test]
fn a_run_killed_before_its_report_of_hosts_asks_for_it_again() {
    for at in 2..6 {
        let killed = Killed {
            elastic: false,
            after: true,
            at,
        };
        story(&[
            Add {
                hours_ago: 30,
                host: 1,
                sessions: 2,
            },
            Run(Dated(3), killed),
            Run(Resume, Nothing),
        ]);
    }
}

/// The sessions come late, and one is gone by then. The fetch that was due is in flight when the listing shows the change.
#[test]
fn a_late_detail_that_also_changed_ends_right() {
    story(&[
        AddLate {
            hours_ago: 3,
            sessions: 2,
            shown_after: 0,
            sessions_after: 4,
        },
        Run(WithoutPublish, Nothing),
        RemoveSession(0),
        Run(Publish, Nothing),
        Wait(Hours(11)),
        Run(Resume, Nothing),
        Run(Resume, Nothing),
    ]);
}

/// The host is looked up by the first meeting, which is deleted by then. The second meeting can tell.
#[test]
fn a_host_whose_first_meeting_was_deleted_is_found_by_another() {
    let daily = Fault {
        endpoint: "past_meeting",
        kind: "daily",
        from: 1,
        times: 1,
        after: false,
    };
    let add = Add {
        hours_ago: 1,
        host: 1,
        sessions: 1,
    };
    story(&[add.clone(), Run(Resume, daily), Remove(0), add]);
}

/// A detail's second page comes without its rows. The first page is kept, the detail is fetched again, and is then complete.
#[test]
fn a_detail_whose_second_page_came_empty_ends_right() {
    let cut = |from| Fault {
        endpoint: "detail",
        kind: "no_participants",
        from,
        times: 2,
        after: false,
    };
    story(&[
        Add {
            hours_ago: 1,
            host: 0,
            sessions: 4,
        },
        Run(Resume, cut(2)),
        Run(Resume, Nothing),
    ]);
}

fn clean_up(elastic: ElasticStage) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(elastic.remove_everything());
}

/// Plays this many cases of a seed. On failure it says what broke, and the shortest list of operations for it.
fn play_seed(elastic: &ElasticStage, seed: u64, cases: u32, shrinks: u32) -> Result<(), String> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: shrinks,
        ..Config::default()
    };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    runner
        .run(
            &(any::<bool>(), prop::collection::vec(op(), 1..24)),
            |(pro, ops)| {
                let played =
                    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| play(elastic, pro, &ops)));
                played.map_err(|panic| {
                    let said = panic
                        .downcast_ref::<String>()
                        .cloned()
                        .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                    TestCaseError::fail(said.unwrap_or_default())
                })
            },
        )
        .map_err(|error| match error {
            TestError::Fail(reason, (pro, ops)) => {
                format!("HARVESTER_SEED={seed}: {reason}\n    story(&{ops:?}); // pro: {pro}")
            }
            TestError::Abort(reason) => format!("HARVESTER_SEED={seed}: {reason}"),
        })
}

/// Seeds that are played at the same time: a case mostly waits for Elasticsearch.
const AT_ONCE: u64 = 8;

/// Cases of a seed in the default run, and in the long one.
const CASES: (u32, u32) = (4, 10);

#[test]
fn whatever_happens_nothing_is_lost_and_nothing_is_fetched_twice() {
    let minutes: u64 = std::env::var("HARVESTER_LONG").map_or(0, |minutes| minutes.parse().unwrap_or(1));
    let seed: Option<u64> = std::env::var("HARVESTER_SEED")
        .ok()
        .map(|seed| seed.parse().unwrap());
    let (cases, shrinks) = if minutes > 0 {
        (CASES.1, 300)
    } else {
        (CASES.0, 40)
    };
    let first = seed.unwrap_or(if minutes > 0 {
        fastrand::u64(..1_000_000_000)
    } else {
        1
    });
    let begun = Instant::now();
    let next = std::sync::atomic::AtomicU64::new(first);
    let failures = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                let elastic = ElasticStage::new(ENGINES[0]);
                loop {
                    let mine = next.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    let over = match (seed, minutes) {
                        (Some(seed), _) => mine > seed,
                        (None, 0) => mine >= first + AT_ONCE,
                        (None, minutes) => begun.elapsed() > Duration::from_secs(60 * minutes),
                    };
                    if over || !failures.lock().unwrap().is_empty() {
                        next.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                        break;
                    }
                    if minutes > 0 {
                        println!("HARVESTER_SEED={mine}");
                    }
                    if let Err(failure) = play_seed(&elastic, mine, cases, shrinks) {
                        failures.lock().unwrap().push(failure);
                    }
                }
                clean_up(elastic);
            });
        }
    });
    let last = next.into_inner() - 1;
    println!(
        "seeds {first} to {last}, {cases} lists of operations each, {:?}",
        begun.elapsed()
    );
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}
