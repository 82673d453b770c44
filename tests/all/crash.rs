//! The built binary is killed at every request that it makes, before and after the other side acted. The next run does not ask again for what was
//! kept, and ends in the same state as an undisturbed run.
//!
//! `HARVESTER_LONG=1` kills a larger account's run everywhere, twice in a row, and at random instants. The seed is printed, and `HARVESTER_SEED`
//! repeats it.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::{Child, Command, Output, Stdio},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use crate::common::{
    ENGINES, Stage,
    proxy::{Hold, Proxy, proxy},
};
use chrono::{DateTime, Utc};
use futures::StreamExt;
use serde_json::{Value, json};
use zoom_harvester::{
    sim::{
        self,
        faults::FaultPlan,
        world::{Spec, World},
    },
    zoom::pace::Plan,
};

/// Details in flight at the same time: the most that a kill may lose.
const IN_FLIGHT: usize = 3;

/// Killed runs at the same time. In the long version most of them wait, also after a kill: the account has more pages than the rate limit of
/// listings allows in a minute.
fn at_once() -> usize {
    if long() { 60 } else { 12 }
}

/// When to kill. Requests are counted from 1, over all endpoints.
#[derive(Clone, Copy, Debug)]
enum Kill {
    /// When Zoom receives the request, before it acts.
    BeforeZoom(usize),
    /// Once Zoom has acted on it, before its answer goes out.
    AfterZoom(usize),
    /// When the request reaches Elasticsearch, before it acts.
    BeforeElastic(usize),
    /// Once Elasticsearch has acted on it, before its answer is passed on.
    AfterElastic(usize),
    /// This long after the start of the run.
    Later(Duration),
}

impl Kill {
    fn hold(self) -> Option<Hold> {
        match self {
            Self::BeforeElastic(k) => Some(Hold::AnyBefore(k)),
            Self::AfterElastic(k) => Some(Hold::AnyAfter(k)),
            Self::BeforeZoom(_) | Self::AfterZoom(_) | Self::Later(_) => None,
        }
    }

    fn faults(self) -> FaultPlan {
        match self {
            Self::BeforeZoom(k) => hang(None, k, false),
            Self::AfterZoom(k) => hang(None, k, true),
            Self::BeforeElastic(_) | Self::AfterElastic(_) | Self::Later(_) => FaultPlan::default(),
        }
    }

    fn reached(self, stage: &Stage, proxy: &Proxy, begun: Instant) -> bool {
        match self {
            // The simulator logs a request and acts on it in one step.
            Self::BeforeZoom(k) | Self::AfterZoom(k) => stage.sim.log().len() >= k,
            Self::BeforeElastic(_) | Self::AfterElastic(_) => proxy.held.load(Ordering::SeqCst) > 0,
            Self::Later(after) => begun.elapsed() >= after,
        }
    }
}

/// The request that is never answered.
fn hang(endpoint: Option<&str>, from: usize, after: bool) -> FaultPlan {
    plan(json!({"endpoint": endpoint, "from": from, "after": after, "action": "silent"}))
}

/// This action for every detail from the 20th on.
fn details(action: &Value) -> FaultPlan {
    plan(json!({"endpoint": "detail", "from": 20, "times": 1_000_000, "action": action}))
}

fn plan(rule: Value) -> FaultPlan {
    FaultPlan::from_json(&json!([rule]).to_string()).unwrap()
}

/// An account, and the plan it is on.
#[derive(Clone)]
struct Account {
    spec: Spec,
    plan: Plan,
    webinars: usize,
}

fn spec(hosts: usize, meetings: usize, sessions: usize, now: DateTime<Utc>) -> Account {
    let spec = Spec {
        seed: 9,
        hosts,
        meetings,
        sessions,
        days: 5,
        now,
    };
    Account {
        spec,
        plan: Plan::Business,
        webinars: 0,
    }
}

/// An account whose pages are small, so that a kill falls between two of them.
fn stage(account: &Account) -> Stage {
    let mut world = World::generate(&account.spec);
    for n in 0..account.webinars {
        let start = account.spec.now - chrono::TimeDelta::hours(30 * (n as i64 + 1));
        world.add_webinar(n, start, 20, 4);
    }
    let mut stage = Stage::new(world, Some(ENGINES[0]));
    stage.webinars = account.webinars > 0;
    stage.sim.with_setup(|setup| {
        setup.page_size_cap = Some(3);
        setup.dashboards = account.plan == Plan::Business;
    });
    stage.plan = account.plan;
    stage
}

fn command(stage: &Stage, elastic: &str, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zoom-harvester"));
    command
        .env_clear()
        .current_dir(stage.folder.path())
        .envs(stage.environment())
        .env("ZOOM_CONCURRENCY", IN_FLIGHT.to_string())
        .env("ZOOM_RATE_SHARE", "1")
        .env(
            "ZOOM_PLAN",
            if stage.plan == Plan::Pro {
                "pro"
            } else {
                "business"
            },
        )
        .env("ZOOM_HARVESTER_WEBINARS", stage.webinars.to_string())
        .env("ELASTICSEARCH_URL", elastic)
        .env("ELASTICSEARCH_INDEX_PREFIX", &stage.es().prefix)
        .env("ELASTICSEARCH_REPLICAS", "0")
        .env("ELASTICSEARCH_BULK_BYTES", "65536")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .args(args);
    command
}

/// A sync over all days of the account.
fn sync(stage: &Stage, elastic: &str) -> Command {
    // The same days in every run, also if midnight falls between two runs that are compared.
    static TODAY: std::sync::LazyLock<chrono::NaiveDate> =
        std::sync::LazyLock::new(|| Utc::now().date_naive());
    let from = *TODAY - chrono::Days::new(7);
    command(
        stage,
        elastic,
        &["sync", "--from", &from.to_string(), "--to", &TODAY.to_string()],
    )
}

async fn output(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}

async fn ends_well(what: &str, command: Command) {
    let output = output(command).await;
    assert!(
        output.status.success(),
        "{what}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Whether the moment came before the run ended.
async fn comes(child: &mut Child, mut there: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    loop {
        if there() {
            return true;
        }
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(90),
            "neither the moment nor the end came"
        );
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn wait_for(what: &str, child: &mut Child, there: impl FnMut() -> bool) {
    assert!(comes(child, there).await, "the run ended before {what}");
}

/// Runs the command and kills it at this moment. Returns whether the moment came before the run had ended by itself.
async fn killed(stage: &Stage, kill: Kill, command: impl Fn(&str) -> Command) -> bool {
    stage.sim.set_faults(kill.faults());
    let (url, seen) = proxy(&stage.es().url, kill.hold()).await;
    let begun = Instant::now();
    let mut child = command(&url)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let reached = comes(&mut child, || kill.reached(stage, &seen, begun)).await;
    // SIGKILL has no effect on a run that has ended.
    child.kill().unwrap();
    child.wait().unwrap();
    stage.sim.set_faults(FaultPlan::default());
    reached
}

/// Meetings whose detail the catalog keeps.
fn kept(stage: &Stage) -> BTreeSet<String> {
    if !stage.db().exists() || stage.number("SELECT count(*) FROM sqlite_master WHERE name = 'payloads'") == 0
    {
        return BTreeSet::new();
    }
    let conn = rusqlite::Connection::open(stage.db()).unwrap();
    let mut statement = conn
        .prepare("SELECT meeting_uuid FROM payloads JOIN meetings USING (meeting_id)")
        .unwrap();
    statement
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

/// Every table, except times, run ids, revisions, and the counters of each run.
fn whole_catalog(stage: &Stage) -> BTreeMap<String, Vec<String>> {
    const TABLES: [(&str, &str); 12] = [
        ("account", "account_id"),
        (
            "hosts",
            "host_id, email, name, dept, user_type, status, series_listed_at IS NULL",
        ),
        ("host_lookups", "host_key, host_id, status, asked_at IS NULL"),
        (
            "series",
            "series_id, kind, status, topic, host_id, looked_up_at IS NULL",
        ),
        (
            "meetings",
            "meeting_uuid, series_id, host_key, host_id, listing_type, topic, host_name, host_email, start_time, end_time, \
             duration_s, participants, listed_day, listing_bytes, status, listed_checksum, shown_checksum, fetched_for, \
             detail_checksum, document_checksum, indexed_checksum, rejected_checksum, sessions, reconciled, \
             fetched_at IS NULL, indexed_at IS NULL, vanished_at, attempts, failure, look_again_step, look_again_at, incomplete",
        ),
        // The rows that the dictionaries were learned from depend on their order. The checksums cover what was compressed.
        (
            "payloads JOIN meetings USING (meeting_id)",
            "meeting_uuid, payload_bytes, detail_checksum",
        ),
        (
            "session_overview",
            "meeting_uuid, session_id, user_name, email, join_time, leave_time",
        ),
        (
            "lost_sessions JOIN meetings USING (meeting_id)",
            "meeting_uuid, session_id",
        ),
        ("change_log", "meeting_uuid, what, old_checksum, new_checksum"),
        ("windows", "day, basis, meetings"),
        // The rest depends on the salt of this catalog.
        ("forgotten", "kind"),
        ("doomed_documents", "kind, document_id"),
    ];
    let conn = rusqlite::Connection::open(stage.db()).unwrap();
    let check: String = conn
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(check, "ok");
    let strays: i64 = conn
        .query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(strays, 0);
    TABLES
        .map(|(table, columns)| {
            let mut statement = conn.prepare(&format!("SELECT {columns} FROM {table}")).unwrap();
            let width = statement.column_count();
            let mut rows: Vec<String> = statement
                .query_map([], |row| {
                    (0..width)
                        .map(|column| Ok(shown(row.get_ref(column)?)))
                        .collect::<rusqlite::Result<Vec<_>>>()
                })
                .unwrap()
                .map(|row| row.unwrap().join(" | "))
                .collect();
            rows.sort();
            (table.to_owned(), rows)
        })
        .into_iter()
        .collect()
}

fn shown(value: rusqlite::types::ValueRef<'_>) -> String {
    match value.as_str() {
        Ok(text) => text.to_owned(),
        Err(_) => format!("{value:?}"),
    }
}

/// Every document, without its version.
async fn documents(stage: &Stage) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    for kind in ["meetings", "sessions"] {
        for (id, (_, source)) in stage.es().all(kind).await {
            all.insert(format!("{kind} {id}"), source);
        }
    }
    all
}

/// What an undisturbed run leaves behind.
struct Undisturbed {
    catalog: BTreeMap<String, Vec<String>>,
    documents: BTreeMap<String, Value>,
    zoom_requests: usize,
    elastic_requests: usize,
}

impl Undisturbed {
    async fn of(spec: &Account) -> Self {
        let stage = stage(spec);
        let (url, seen) = proxy(&stage.es().url, None).await;
        ends_well("undisturbed", sync(&stage, &url)).await;
        stage.assert_index_is_the_account().await;
        Self {
            catalog: whole_catalog(&stage),
            documents: documents(&stage).await,
            zoom_requests: stage.sim.log().len(),
            elastic_requests: seen.asked.load(Ordering::SeqCst),
        }
    }

    async fn assert_same(&self, what: &str, stage: &Stage) {
        let found = whole_catalog(stage);
        for (table, rows) in &self.catalog {
            assert_eq!(rows, &found[table], "{what}: {table}");
        }
        let found = documents(stage).await;
        assert_eq!(
            self.documents.keys().collect::<Vec<_>>(),
            found.keys().collect::<Vec<_>>(),
            "{what}: documents"
        );
        for (id, source) in &self.documents {
            assert_eq!(source, &found[id], "{what}: {id}");
        }
    }

    /// A kill at every request, before and after the other side acts.
    fn kills(&self) -> Vec<Kill> {
        let zoom = (1..=self.zoom_requests).flat_map(|k| [Kill::BeforeZoom(k), Kill::AfterZoom(k)]);
        let elastic =
            (1..=self.elastic_requests).flat_map(|k| [Kill::BeforeElastic(k), Kill::AfterElastic(k)]);
        zoom.chain(elastic).collect()
    }
}

/// Pages of details that Zoom was asked for: the meeting and the page.
fn pages(log: &[sim::Logged]) -> Vec<(String, u32)> {
    log.iter()
        .filter(|one| one.endpoint.ends_with("detail"))
        .map(|one| (one.uuid.clone().unwrap(), one.page))
        .collect()
}

/// Kills a run at each of these moments in turn, completes it, and compares. Returns how many of the kills came before the run's own end.
async fn kill_and_complete(spec: &Account, kills: &[Kill], undisturbed: &Undisturbed) -> usize {
    let stage = stage(spec);
    let what = format!("{kills:?}");
    let mut had = BTreeSet::new();
    let mut reached = 0;
    // The last round is undisturbed.
    for kill in kills.iter().copied().map(Some).chain([None]) {
        stage.sim.clear_log();
        match kill {
            Some(kill) => reached += usize::from(killed(&stage, kill, |url| sync(&stage, url)).await),
            None => ends_well(&what, sync(&stage, &stage.es().url)).await,
        }
        let asked = pages(&stage.sim.log());
        let once: BTreeSet<(String, u32)> = asked.iter().cloned().collect();
        assert_eq!(once.len(), asked.len(), "{what}: a run asked for a page twice");
        for (uuid, page) in &once {
            assert!(
                !had.contains(uuid),
                "{what}: page {page} of {uuid} was kept and is served again"
            );
        }
        had = kept(&stage);
        // Only these are asked for once more, by the next run or by a later one.
        let lost: BTreeSet<&String> = once
            .iter()
            .map(|(uuid, _)| uuid)
            .filter(|uuid| !had.contains(*uuid))
            .collect();
        let in_flight = if kill.is_some() { IN_FLIGHT } else { 0 };
        assert!(
            lost.len() <= in_flight,
            "{what}: {} details lost with {in_flight} in flight: {lost:?}",
            lost.len()
        );
    }
    undisturbed.assert_same(&what, &stage).await;
    reached
}

async fn at_each(spec: &Account, kills: Vec<Vec<Kill>>, undisturbed: Undisturbed) -> usize {
    let undisturbed = Arc::new(undisturbed);
    futures::stream::iter(kills)
        .map(|kills| {
            let (spec, undisturbed) = (spec.clone(), Arc::clone(&undisturbed));
            tokio::spawn(async move { kill_and_complete(&spec, &kills, &undisturbed).await })
        })
        .buffer_unordered(at_once())
        .map(Result::unwrap)
        .fold(0, |sum, reached| async move { sum + reached })
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_every_request_the_next_run_ends_where_an_undisturbed_one_does() {
    let spec = Account {
        webinars: 2,
        ..spec(3, 8, 20, Utc::now())
    };
    let undisturbed = Undisturbed::of(&spec).await;
    let kills: Vec<Vec<Kill>> = undisturbed.kills().into_iter().map(|kill| vec![kill]).collect();
    let planned = kills.len();
    let zoom = undisturbed.zoom_requests;
    let begun = Instant::now();
    let reached = at_each(&spec, kills, undisturbed).await;
    println!(
        "{planned} kills, {zoom} requests to Zoom; {reached} before the run's end; {:?}",
        begun.elapsed()
    );
    // Every run makes every request to Zoom. The number of bulk requests depends on what was kept by then.
    assert!(reached + 8 >= planned, "{reached} of {planned}");
}

/// The same for an account without dashboards, which has many small lists.
#[tokio::test(flavor = "multi_thread")]
async fn a_pro_account_killed_at_every_request_ends_right_too() {
    let spec = Account {
        plan: Plan::Pro,
        webinars: 1,
        ..spec(3, 6, 14, Utc::now())
    };
    let undisturbed = Undisturbed::of(&spec).await;
    let kills: Vec<Vec<Kill>> = undisturbed.kills().into_iter().map(|kill| vec![kill]).collect();
    let planned = kills.len();
    let reached = at_each(&spec, kills, undisturbed).await;
    assert!(reached + 8 >= planned, "{reached} of {planned}");
}

/// A harvested catalog whose documents are all due, and its account.
async fn harvested(spec: &Account) -> Stage {
    let stage = stage(spec);
    let from = (stage.clock.now().date_naive() - chrono::Days::new(7)).to_string();
    let sync = command(
        &stage,
        &stage.es().url,
        &["sync", "--no-publish", "--from", &from],
    );
    ends_well("harvest", sync).await;
    stage
}

#[tokio::test(flavor = "multi_thread")]
async fn publish_killed_at_every_request_the_next_one_ends_with_every_document() {
    let spec = spec(3, 8, 20, Utc::now());
    let source = harvested(&spec).await;
    let (url, seen) = proxy(&source.es().url, None).await;
    // The catalog at rest; each run gets a copy.
    let catalog = std::fs::read(source.db()).unwrap();
    ends_well("undisturbed", command(&source, &url, &["publish"])).await;
    let expected = Arc::new((whole_catalog(&source), documents(&source).await));
    let requests = seen.asked.load(Ordering::SeqCst);
    let kills = (1..=requests).flat_map(|k| [Kill::BeforeElastic(k), Kill::AfterElastic(k)]);
    let reached = futures::stream::iter(kills)
        .map(|kill| {
            let (spec, catalog, expected) = (spec.clone(), catalog.clone(), Arc::clone(&expected));
            tokio::spawn(async move {
                let stage = stage(&spec);
                std::fs::write(stage.db(), catalog).unwrap();
                let reached = killed(&stage, kill, |url| command(&stage, url, &["publish"])).await;
                ends_well(
                    &format!("{kill:?}"),
                    command(&stage, &stage.es().url, &["publish"]),
                )
                .await;
                assert!(
                    *expected == (whole_catalog(&stage), documents(&stage).await),
                    "{kill:?}"
                );
                assert_eq!(stage.sim.log().len(), 0, "{kill:?}");
                usize::from(reached)
            })
        })
        .buffer_unordered(at_once())
        .map(Result::unwrap)
        .fold(0, |sum, one| async move { sum + one })
        .await;
    assert_eq!(reached, 2 * requests);
}

/// Whether a text is in the catalog or in another file of its folder.
fn in_files(stage: &Stage, text: &str) -> bool {
    let files = std::fs::read_dir(stage.folder.path()).unwrap();
    let mut files = files.map(|file| std::fs::read(file.unwrap().path()).unwrap());
    files.any(|bytes| bytes.windows(text.len()).any(|window| window == text.as_bytes()))
}

/// Forgets a host, and all that ended before a day. The run is killed anywhere, also before the first request, and the next command completes it.
#[tokio::test(flavor = "multi_thread")]
async fn forget_killed_at_any_moment_is_completed_by_whatever_comes_next() {
    let spec = spec(3, 8, 20, Utc::now());
    let source = harvested(&spec).await;
    let catalog = Arc::new(std::fs::read(source.db()).unwrap());
    let email = "host001@example.edu";
    assert!(in_files(&source, email));
    let before = (source.clock.now().date_naive() - chrono::Days::new(2)).to_string();
    for whom in [["--email", email], ["--before", before.as_str()]] {
        let whom = whom.map(str::to_owned);
        let forget = ["forget", whom[0].as_str(), whom[1].as_str()];
        // The catalog at rest, published under a prefix of its own.
        let published = async |spec: &Account, catalog: &[u8]| {
            let stage = stage(spec);
            std::fs::write(stage.db(), catalog).unwrap();
            ends_well("publish", command(&stage, &stage.es().url, &["publish"])).await;
            stage
        };
        let undisturbed = published(&spec, &catalog).await;
        let (url, seen) = proxy(&undisturbed.es().url, None).await;
        ends_well("undisturbed", command(&undisturbed, &url, &forget)).await;
        let expected = Arc::new((whole_catalog(&undisturbed), documents(&undisturbed).await));
        let requests = seen.asked.load(Ordering::SeqCst);
        assert!(requests > 3, "{requests}");
        let kills = (1..=requests)
            .flat_map(|k| [Kill::BeforeElastic(k), Kill::AfterElastic(k)])
            .chain((0..8).map(|n| Kill::Later(Duration::from_millis(4 * n))));
        let reached = futures::stream::iter(kills.zip(0..))
            .map(|(kill, n)| {
                let (spec, catalog, expected) = (spec.clone(), Arc::clone(&catalog), Arc::clone(&expected));
                let whom = whom.clone();
                tokio::spawn(async move {
                    let what = format!("{kill:?}, {whom:?}");
                    let forget = ["forget", whom[0].as_str(), whom[1].as_str()];
                    let stage = published(&spec, &catalog).await;
                    let reached = killed(&stage, kill, |url| command(&stage, url, &forget)).await;
                    // If the run was killed before the catalog recorded it, only the same command knows whom to forget.
                    let publishes = n % 2 == 0 && !matches!(kill, Kill::Later(_));
                    let next: &[&str] = if publishes { &["publish"] } else { &forget };
                    ends_well(&what, command(&stage, &stage.es().url, next)).await;
                    let found = (whole_catalog(&stage), documents(&stage).await);
                    for (table, rows) in &expected.0 {
                        assert_eq!(rows, &found.0[table], "{what}: {table}");
                    }
                    assert!(expected.1 == found.1, "{what}: documents");
                    assert!(
                        whom[0] == "--before" || !in_files(&stage, email),
                        "{what}: the files"
                    );
                    ends_well(&what, command(&stage, &stage.es().url, &["verify"])).await;
                    ends_well(&what, command(&stage, &stage.es().url, &["catalog", "check"])).await;
                    usize::from(reached && !matches!(kill, Kill::Later(_)))
                })
            })
            .buffer_unordered(at_once())
            .map(Result::unwrap)
            .fold(0, |sum, one| async move { sum + one })
            .await;
        assert_eq!(reached, 2 * requests);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reindex_killed_at_every_request_searchers_never_lose_a_document() {
    let spec = spec(3, 8, 20, Utc::now());
    let side = |after: bool| {
        let spec = spec.clone();
        async move {
            let stage = harvested(&spec).await;
            ends_well("publish", command(&stage, &stage.es().url, &["publish"])).await;
            let expected = documents(&stage).await;
            // One kill after another on one account: each run finds what the previous one left behind.
            for k in 1.. {
                let kill = if after {
                    Kill::AfterElastic(k)
                } else {
                    Kill::BeforeElastic(k)
                };
                let reached = killed(&stage, kill, |url| command(&stage, url, &["reindex"])).await;
                let (found, what) = (documents(&stage).await, format!("reindex, {kill:?}"));
                assert_eq!(expected, found, "{what}: searchers");
                if k % 2 == 0 || !reached {
                    ends_well(&what, command(&stage, &stage.es().url, &["publish"])).await;
                    assert_eq!(expected, documents(&stage).await, "{what}, then publish");
                    assert_eq!(
                        stage.number("SELECT count(*) FROM meetings WHERE status <> 'indexed'"),
                        0
                    );
                }
                if !reached {
                    assert!(k > 15, "only {k} requests");
                    break;
                }
            }
            // No index is left over.
            let left = stage.es().call("GET", "/PREFIX-*/_alias", None).await;
            assert_eq!(left.as_object().unwrap().len(), 2, "{left}");
            assert!(stage.sim.count("detail") > 0);
        }
    };
    tokio::join!(side(false), side(true));
}

/// What a run is doing when it is asked to stop.
#[derive(Clone, Copy, Debug)]
enum Moment {
    Fetching,
    /// 429: a minute of waiting for the limit.
    WaitingForTheLimit,
    /// 503: the pause before the next try.
    WaitingToTryAgain,
    ZoomHangs,
    TokenHangs,
    ElasticHangs,
    ReindexHangs,
    /// Elasticsearch is unreachable: the pause before the next try.
    ReindexWaits,
    VerifyHangs,
    ForgetHangs,
}

impl Moment {
    /// The arguments of the command; `None` means a sync.
    fn args(self) -> Option<&'static [&'static str]> {
        match self {
            Self::ReindexHangs | Self::ReindexWaits => Some(&["reindex", "--drop-unknown"]),
            Self::VerifyHangs => Some(&["verify", "--repair"]),
            Self::ForgetHangs => Some(&["forget", "--email", "host001@example.edu"]),
            _ => None,
        }
    }
}

async fn told_to_stop_at(moment: Moment, signal: &str, code: i32) {
    let spec = spec(3, 60, 150, Utc::now());
    let what = format!("{moment:?}, {signal}");
    let stage = if moment.args().is_some() {
        harvested(&spec).await
    } else {
        stage(&spec)
    };
    stage.sim.with_setup(|setup| setup.page_size_cap = None);
    stage.sim.clear_log();
    stage.sim.set_faults(match moment {
        Moment::WaitingForTheLimit => details(&json!({"too_fast_seconds": 60})),
        Moment::WaitingToTryAgain => details(&json!({"answer": {"status": 503}})),
        Moment::ZoomHangs => details(&json!("silent")),
        Moment::TokenHangs => hang(Some("token"), 1, false),
        _ => FaultPlan::default(),
    });
    let hold = match moment {
        Moment::ElasticHangs | Moment::ReindexHangs | Moment::ForgetHangs => Some(Hold::Before(1)),
        // The first page of documents.
        Moment::VerifyHangs => {
            ends_well(&what, command(&stage, &stage.es().url, &["publish"])).await;
            Some(Hold::AnyBefore(6))
        }
        _ => None,
    };
    let (mut url, seen) = proxy(&stage.es().url, hold).await;
    if matches!(moment, Moment::ReindexWaits) {
        // Nobody listens on the discard port.
        url = "http://127.0.0.1:9".to_owned();
    }
    let mut command = match moment.args() {
        Some(args) => command(&stage, &url, args),
        None => sync(&stage, &url),
    };
    let mut child = command.env("ZOOM_RETRY_MS", "20000").spawn().unwrap();
    wait_for(&what, &mut child, || match moment {
        Moment::Fetching => stage.sim.count("detail") >= 20,
        Moment::WaitingForTheLimit | Moment::WaitingToTryAgain => stage
            .sim
            .log()
            .iter()
            .any(|one| one.endpoint == "detail" && one.status > 200),
        // By now the answers are kept, or nearly so: the run has nothing else to do.
        Moment::ZoomHangs => stage.sim.count("detail") >= 19 + IN_FLIGHT,
        Moment::TokenHangs => stage.sim.count("token") > 0,
        Moment::ElasticHangs | Moment::ReindexHangs | Moment::VerifyHangs | Moment::ForgetHangs => {
            seen.held.load(Ordering::SeqCst) > 0
        }
        // The run is then in its first try, or in the pause after it, which lasts at least a quarter of a second.
        Moment::ReindexWaits => stage.number("SELECT count(*) FROM runs WHERE command = 'reindex'") > 0,
    })
    .await;
    let told = Instant::now();
    let kill = Command::new("kill")
        .args(["-s", signal, &child.id().to_string()])
        .status()
        .unwrap();
    assert!(kill.success());
    let output = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap())
        .await
        .unwrap();
    assert!(
        told.elapsed() < Duration::from_secs(2),
        "{what}: {:?}",
        told.elapsed()
    );
    assert_eq!(output.status.code(), Some(code), "{what}");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let word = match moment {
        Moment::ForgetHangs => "the index still holds what was erased, until",
        _ => "kept",
    };
    assert!(said.contains(word), "{what}: {said}");
    // It ended by itself, so it also recorded that.
    assert_eq!(
        stage.number("SELECT exit_code FROM runs ORDER BY run_id DESC LIMIT 1"),
        i64::from(code),
        "{what}"
    );
    let kept = kept(&stage).len();
    if !matches!(moment, Moment::TokenHangs | Moment::ElasticHangs) {
        assert!(kept >= 15, "{what}: {kept} kept");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_stops_at_once_when_told_and_says_what_is_kept() {
    let moments = [
        Moment::Fetching,
        Moment::WaitingForTheLimit,
        Moment::WaitingToTryAgain,
        Moment::ZoomHangs,
        Moment::TokenHangs,
        Moment::ElasticHangs,
        Moment::ReindexHangs,
        Moment::ReindexWaits,
        Moment::VerifyHangs,
        Moment::ForgetHangs,
    ];
    futures::stream::iter(
        moments
            .into_iter()
            .flat_map(|moment| [(moment, "INT", 130), (moment, "TERM", 143)]),
    )
    .map(|(moment, signal, code)| tokio::spawn(told_to_stop_at(moment, signal, code)))
    .buffer_unordered(3)
    .for_each(|ended| async move { ended.unwrap() })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_learns_which_process_holds_the_lock() {
    let spec = spec(8, 300, 900, Utc::now());
    let stage = stage(&spec);
    stage.sim.with_setup(|setup| setup.page_size_cap = None);
    stage.sim.set_faults(hang(Some("detail"), 10, false));
    let mut child = sync(&stage, &stage.es().url).spawn().unwrap();
    wait_for("details", &mut child, || stage.sim.count("detail") >= 10).await;
    let second = output(sync(&stage, &stage.es().url)).await;
    assert_eq!(second.status.code(), Some(4));
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(said.contains(&format!("process {}", child.id())), "{said}");
    // Commands that only read still work.
    ends_well("status", command(&stage, &stage.es().url, &["status"])).await;
    child.kill().unwrap();
    child.wait().unwrap();
    stage.sim.set_faults(FaultPlan::default());
    ends_well("the next run", sync(&stage, &stage.es().url)).await;
}

/// Whether the long version is requested.
fn long() -> bool {
    std::env::var("HARVESTER_LONG").is_ok_and(|long| !long.is_empty() && long != "0")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_larger_account_killed_at_random_ends_right() {
    let seed = std::env::var("HARVESTER_SEED").map_or_else(
        |_| if long() { fastrand::u64(..1_000_000) } else { 1 },
        |seed| seed.parse().expect("HARVESTER_SEED is a number"),
    );
    let mut dice = fastrand::Rng::with_seed(seed);
    let (spec, pairs, instants) = if long() {
        (spec(6, 30, 120, Utc::now()), 200, 100)
    } else {
        (spec(3, 8, 20, Utc::now()), 3, 3)
    };
    let undisturbed = Undisturbed::of(&spec).await;
    let every = undisturbed.kills();
    let mut kills: Vec<Vec<Kill>> = Vec::new();
    if long() {
        kills.extend(every.iter().map(|kill| vec![*kill]));
    }
    kills.extend((0..pairs).map(|_| vec![*dice.choice(&every).unwrap(), *dice.choice(&every).unwrap()]));
    kills.extend((0..instants).map(|_| vec![Kill::Later(Duration::from_micros(dice.u64(0..1_500_000)))]));
    let (runs, planned) = (kills.len(), kills.iter().map(Vec::len).sum::<usize>());
    println!("HARVESTER_SEED={seed}: {planned} kills in {runs} accounts");
    let reached = at_each(&spec, kills, undisturbed).await;
    println!("HARVESTER_SEED={seed}: {reached} of {planned} kills came before the run's end");
    assert!(reached > planned / 4, "{reached} of {planned}");
}
