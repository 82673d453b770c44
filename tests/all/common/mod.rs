//! What the tests share: a simulated account, a catalog in its own folder, a clock that can be set, and a real server.

#![allow(dead_code, reason = "every test file uses a part of it")]
pub mod proxy;
pub mod terminal;

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, Days, TimeDelta, Utc};
use serde_json::{Value, json};
use zoom_harvester::{
    catalog::Catalog,
    elastic::{self, Elastic},
    model::{AccountId, Clock, IndexPeriod, Source, Window},
    privacy::Policy,
    sim::{self, Limits, Setup, Simulator, world::World},
    sync::{
        self, Clients, Harvest, Observer, Options, Progress, Rebuilding, Rebuilt, Remedy, Scope, Summary,
        Verified,
    },
    zoom::{
        self, Zoom,
        pace::{Pacer, Plan},
    },
};

/// The two engines, by the environment variable that holds the URL.
pub const ENGINES: [&str; 2] = ["ELASTICSEARCH_TEST_URL", "OPENSEARCH_TEST_URL"];

/// The URL of an engine. A missing one fails the test: a test that did not run has not passed.
pub fn engine(variable: &str) -> String {
    std::env::var(variable)
        .unwrap_or_else(|_| panic!("{variable} is not set: run ./test, which starts the servers"))
}

/// A clock that can be set forward.
#[derive(Clone)]
pub struct TestClock(Arc<Mutex<TimeDelta>>);

impl TestClock {
    pub fn advance(&self, by: TimeDelta) {
        *self.0.lock().unwrap() += by;
    }

    pub fn now(&self) -> DateTime<Utc> {
        Utc::now() + *self.0.lock().unwrap()
    }

    pub fn clock(&self) -> Clock {
        let this = self.clone();
        Clock::new(move || this.now())
    }
}

/// Keeps the messages of runs, for tests that check them.
#[derive(Default)]
pub struct Heard(pub Mutex<Vec<String>>);

impl Observer for Heard {
    fn see(&self, progress: Progress<'_>) {
        if let Progress::Note(text) | Progress::Problem(text) = progress {
            self.0.lock().unwrap().push(text.to_owned());
        }
    }
}

/// An account, a catalog and perhaps a server.
pub struct Stage {
    pub sim: Simulator,
    pub account: AccountId,
    pub clock: TestClock,
    pub folder: tempfile::TempDir,
    pub elastic: Option<ElasticStage>,
    pub heard: Heard,
    pub daily_share: u64,
    /// The timeout of one request to Zoom.
    pub timeout: Duration,
    pub policy: Policy,
    pub plan: Plan,
    /// The source of meetings; if not set, the client finds out.
    pub source: Option<Source>,
    pub enrich: bool,
    pub webinars: bool,
    /// Whether there is one index per year.
    pub period: IndexPeriod,
}

/// A server, and this test's index prefix on it.
#[derive(Clone)]
pub struct ElasticStage {
    pub url: String,
    pub prefix: String,
    /// The URL that the program uses instead, if there is a proxy in between.
    pub through: Option<String>,
    pub auth: elastic::Auth,
    pub ca_cert_pem: Option<Vec<u8>>,
    /// The account that the indices belong to.
    pub account: AccountId,
    /// Whether other accounts have indices behind the same alias. Their documents are then ignored.
    pub shared: bool,
    pub shards: Option<u32>,
    pub bulk_bytes: usize,
    pub in_flight: usize,
    pub timeout: Duration,
    http: reqwest::Client,
}

/// The password of all users on the server with security on (`servers/secure`).
pub const SECURE_PASSWORD: &str = "harvester-password";

/// The test's own HTTP client, which bypasses the program. With a certificate authority it signs in as a user who may do everything.
fn looker(ca_cert_pem: Option<&[u8]>) -> reqwest::Client {
    let mut builder = reqwest::Client::builder().no_proxy();
    if let Some(pem) = ca_cert_pem {
        use base64::Engine;
        let basic = base64::engine::general_purpose::STANDARD.encode(format!("keeper:{SECURE_PASSWORD}"));
        let mut headers = reqwest::header::HeaderMap::new();
        headers.insert("authorization", format!("Basic {basic}").parse().unwrap());
        builder = builder
            .add_root_certificate(reqwest::Certificate::from_pem(pem).unwrap())
            .default_headers(headers);
    }
    builder.build().unwrap()
}

static STAGES: AtomicU32 = AtomicU32::new(0);

impl ElasticStage {
    pub fn new(variable: &str) -> Self {
        Self::at(&engine(variable))
    }

    pub fn at(url: &str) -> Self {
        let number = STAGES.fetch_add(1, Ordering::Relaxed);
        let stamp = Utc::now().timestamp_millis() % 1_000_000_000;
        Self {
            url: url.to_owned(),
            prefix: format!("t{}-{stamp}-{number}", std::process::id()),
            through: None,
            auth: elastic::Auth::None,
            ca_cert_pem: None,
            account: AccountId::new(sim::ACCOUNT_ID),
            shared: false,
            shards: Some(1),
            bulk_bytes: 1 << 20,
            in_flight: 2,
            timeout: Duration::from_secs(30),
            http: looker(None),
        }
    }

    /// On the server with security on. The program signs in as `user`, and the test as a user who may do everything.
    pub fn secure(user: &str) -> Self {
        let ca = std::fs::read(engine("ELASTICSEARCH_SECURE_TEST_CA")).unwrap();
        let stage = Self::at(&engine("ELASTICSEARCH_SECURE_TEST_URL"));
        Self {
            prefix: format!("zoom-{}", stage.prefix),
            auth: elastic::Auth::Basic {
                user: user.to_owned(),
                password: SECURE_PASSWORD.to_owned().into(),
            },
            http: looker(Some(&ca)),
            ca_cert_pem: Some(ca),
            ..stage
        }
    }

    pub fn settings(&self) -> elastic::Settings {
        elastic::Settings {
            urls: vec![self.through.clone().unwrap_or_else(|| self.url.clone())],
            auth: self.auth.clone(),
            ca_cert_pem: self.ca_cert_pem.clone(),
            authorities: Default::default(),
            client_pem: None,
            proxies: Default::default(),
            prefix: self.prefix.clone(),
            account: self.account.clone(),
            shards: self.shards,
            replicas: self.shards.map(|_| 0),
            bulk_bytes: self.bulk_bytes,
            compress: true,
            in_flight: self.in_flight,
            retry: elastic::Retry {
                times: 4,
                base: Duration::from_millis(20),
                max: Duration::from_millis(200),
            },
            timeout: self.timeout,
            seed: 7,
        }
    }

    pub fn client(&self) -> Arc<Elastic> {
        Arc::new(Elastic::new(self.settings()).unwrap())
    }

    /// The name with this test's values in place of `PREFIX` and `ACCOUNT`.
    pub fn named(&self, name: &str) -> String {
        name.replace("PREFIX", &self.prefix)
            .replace("ACCOUNT", &elastic::account_part(&self.account))
    }

    /// Makes one request. In the path, `PREFIX` stands for this test's prefix, and `ACCOUNT` for the account's part of a name.
    pub async fn call(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let url = format!("{}{}", self.url, self.named(path));
        let mut request = self.http.request(method.parse().unwrap(), url);
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .body(body.to_string());
        }
        let text = request.send().await.unwrap().text().await.unwrap();
        serde_json::from_str(&text).unwrap_or(Value::String(text))
    }

    /// Removes the indices, aliases and templates of this test. What can no longer be reached stays.
    pub async fn remove_everything(self) {
        let http = looker(self.ca_cert_pem.as_deref());
        let indices = http
            .get(format!("{}/{}-*/_alias", self.url, self.prefix))
            .send()
            .await;
        let Ok(indices) = indices else { return };
        let indices: Value =
            serde_json::from_str(&indices.text().await.unwrap_or_default()).unwrap_or_default();
        let paths = indices
            .as_object()
            .into_iter()
            .flat_map(|all| all.keys().map(|name| format!("/{name}")));
        for path in paths {
            let _ = http.delete(format!("{}{path}", self.url)).send().await;
        }
    }

    /// Every document of an index, by `_id`, with its version.
    pub async fn all(&self, kind: &str) -> std::collections::BTreeMap<String, (i64, Value)> {
        self.call("POST", &format!("/PREFIX-{kind}/_refresh"), None).await;
        let key = if kind == "meetings" { "uuid" } else { "session_id" };
        let mut found = std::collections::BTreeMap::new();
        let mut after: Option<Value> = None;
        loop {
            let mut query = json!({"size": 5000, "version": true, "sort": [{key: "asc"}]});
            if self.shared {
                query["query"] = json!({"term": {"account_id": self.account.as_str()}});
            }
            if let Some(after) = &after {
                query["search_after"] = json!([after]);
            }
            let answer = self
                .call("POST", &format!("/PREFIX-{kind}/_search"), Some(query))
                .await;
            let hits = answer["hits"]["hits"]
                .as_array()
                .unwrap_or_else(|| panic!("{answer}"))
                .clone();
            for hit in &hits {
                let id = hit["_id"].as_str().unwrap().to_owned();
                found.insert(id, (hit["_version"].as_i64().unwrap(), hit["_source"].clone()));
            }
            match hits.last() {
                Some(last) if hits.len() == 5000 => after = Some(last["sort"][0].clone()),
                _ => return found,
            }
        }
    }
}

/// A shared server must not fill up with what tests left behind.
impl Drop for Stage {
    fn drop(&mut self) {
        let Some(es) = self.elastic.take() else { return };
        // Use a separate runtime on a separate thread: this may run inside a runtime.
        let cleaned = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(es.remove_everything());
        })
        .join();
        assert!(cleaned.is_ok() || std::thread::panicking(), "the indices stay");
    }
}

/// For each instance of a series, the instance that it continues, or itself. Personal rooms are left out, because there the guests decide.
pub fn occurrences(world: &World) -> std::collections::BTreeMap<&str, &str> {
    let mut found = std::collections::BTreeMap::new();
    let mut series: std::collections::BTreeMap<i64, Vec<&sim::world::Meeting>> = Default::default();
    for one in &world.meetings {
        if !(1_000_000_000..10_000_000_000).contains(&one.series) {
            series.entry(one.series).or_default().push(one);
        }
    }
    for mut instances in series.into_values() {
        instances.sort_by_key(|one| (one.start, one.uuid.as_str()));
        let mut before: Option<(&str, DateTime<Utc>)> = None;
        for one in instances {
            let (first, end) = match before {
                Some((first, end)) if one.start <= end + TimeDelta::minutes(15) => (first, end.max(one.end)),
                _ => (one.uuid.as_str(), one.end),
            };
            found.insert(one.uuid.as_str(), first);
            before = Some((first, end));
        }
    }
    found
}

impl Stage {
    pub fn new(world: World, variable: Option<&str>) -> Self {
        Self::of_account(sim::ACCOUNT_ID, world, variable)
    }

    pub fn of_account(account: &str, world: World, variable: Option<&str>) -> Self {
        let clock = TestClock(Arc::new(Mutex::new(TimeDelta::zero())));
        let setup = Setup {
            account_id: account.to_owned(),
            limits: Limits::NONE,
            ..Setup::default()
        };
        let told = clock.clone();
        Self {
            sim: Simulator::start(world, setup, 0, Arc::new(move || told.now())).unwrap(),
            clock,
            folder: tempfile::tempdir().unwrap(),
            elastic: variable.map(|variable| ElasticStage {
                account: AccountId::new(account),
                ..ElasticStage::new(variable)
            }),
            account: AccountId::new(account),
            heard: Heard::default(),
            daily_share: u64::MAX,
            timeout: Duration::from_secs(10),
            policy: Policy::default(),
            plan: Plan::Business,
            source: None,
            enrich: false,
            webinars: false,
            period: IndexPeriod::None,
        }
    }

    pub fn db(&self) -> PathBuf {
        self.folder.path().join("harvester.db")
    }

    /// The catalog, open for writing.
    pub fn catalog(&self) -> Catalog {
        let mut catalog = Catalog::open(&self.db()).unwrap();
        catalog.spread_over(self.period);
        catalog
    }

    /// The environment that points the program at this stage's account.
    pub fn environment(&self) -> [(&'static str, String); 5] {
        [
            ("ZOOM_ACCOUNT_ID", self.account.to_string()),
            ("ZOOM_CLIENT_ID", sim::CLIENT_ID.to_owned()),
            ("ZOOM_CLIENT_SECRET", sim::CLIENT_SECRET.to_owned()),
            ("ZOOM_API_URL", self.sim.api_url()),
            ("ZOOM_OAUTH_URL", self.sim.oauth_url()),
        ]
    }

    pub fn es(&self) -> &ElasticStage {
        self.elastic.as_ref().unwrap()
    }

    /// The last `days` days, today included.
    pub fn days(&self, days: u64) -> Scope {
        let today = self.clock.now().date_naive();
        Scope::Days(Window::new(today - Days::new(days - 1), today).unwrap())
    }

    pub async fn sync(&self, scope: Scope) -> Summary {
        self.run(scope, true, true).await
    }

    pub async fn run(&self, scope: Scope, with_zoom: bool, publish: bool) -> Summary {
        self.run_watched(scope, with_zoom, publish, |_| {}).await
    }

    /// A run whose catalog is shown to `watch` before it begins.
    pub async fn run_watched(
        &self,
        scope: Scope,
        with_zoom: bool,
        publish: bool,
        watch: impl FnOnce(&mut Catalog),
    ) -> Summary {
        // A run waits until the previous run's requests have left Zoom's rate limit window. Their last second is not known.
        if self.db().exists() {
            self.clock.advance(TimeDelta::seconds(2));
        }
        let mut catalog = self.catalog();
        watch(&mut catalog);
        let clock = self.clock.clock();
        let id = format!("{:016x}", fastrand::u64(..));
        catalog.claim(&self.account, &id, clock.now()).unwrap();
        let run = catalog.begin_run("sync", clock.now()).unwrap();
        let (grants, requests) = tokio::sync::mpsc::channel(8);
        // A thousandfold share of the limits: the tests check what is requested, not how fast.
        let pacer = Pacer::new(self.plan, 1_000.0, Some(grants));
        let settings = zoom::Settings {
            account_id: self.account.clone(),
            client_id: sim::CLIENT_ID.into(),
            client_secret: sim::CLIENT_SECRET.to_owned().into(),
            oauth_url: self.sim.oauth_url(),
            api_url: Some(self.sim.api_url()),
            retry: zoom::Retry {
                times: 3,
                base: Duration::from_millis(5),
                max: Duration::from_millis(50),
            },
            timeout: self.timeout,
            answer_limit_bytes: 50 << 20,
            source: self.source,
            webinars: self.webinars,
            traffic: Default::default(),
            proxies: Default::default(),
            authorities: Default::default(),
            seed: 7,
        };
        let zoom = Arc::new(Zoom::new(settings, Arc::clone(&pacer), clock.clone()).unwrap());
        let clients = Clients {
            zoom: with_zoom.then_some((zoom, pacer, requests)),
            elastic: self
                .elastic
                .as_ref()
                .filter(|_| publish)
                .map(ElasticStage::client),
        };
        let options = Options {
            scope,
            enrich: self.enrich,
            concurrency: 32,
            whole_listing_every: TimeDelta::days(7),
            daily_share: self.daily_share,
            policy: self.policy.clone(),
        };
        let (_keep, cancel) = tokio::sync::watch::channel(false);
        let summary = Harvest::new(&mut catalog, run, clients, options, clock.clone(), &self.heard)
            .unwrap()
            .run(cancel)
            .await
            .unwrap();
        catalog
            .end_run(run, &summary.tally, 0, summary.message.as_deref(), clock.now())
            .unwrap();
        summary
    }

    /// Rebuilds the indices from the catalog.
    pub async fn rebuild(&self, how: Rebuilding) -> Result<Rebuilt, sync::Error> {
        let mut catalog = self.catalog();
        let clock = self.clock.clock();
        let run = catalog.begin_run("reindex", clock.now()).unwrap();
        let (_keep, cancel) = tokio::sync::watch::channel(false);
        let elastic = self.es().client();
        let rebuilt = sync::reindex(&mut catalog, &elastic, run, how, &clock, &self.heard, &cancel).await;
        catalog
            .end_run(run, &Default::default(), 0, None, clock.now())
            .unwrap();
        rebuilt
    }

    /// Compares the indices with the catalog.
    pub async fn verify(&self, remedy: Remedy) -> Verified {
        let mut catalog = self.catalog();
        let (elastic, clock) = (self.es().client(), self.clock.clock());
        let (_keep, cancel) = tokio::sync::watch::channel(false);
        sync::verify(&mut catalog, &elastic, remedy, &clock, &self.heard, cancel)
            .await
            .unwrap()
    }

    /// One number out of the catalog.
    pub fn number(&self, sql: &str) -> i64 {
        let [number] = self.numbers([sql]);
        number
    }

    /// Several numbers out of the catalog, which is opened once.
    pub fn numbers<const N: usize>(&self, questions: [&str; N]) -> [i64; N] {
        let conn = rusqlite::Connection::open(self.db()).unwrap();
        questions.map(|sql| {
            conn.query_row(sql, [], |row| row.get(0))
                .unwrap_or_else(|error| panic!("{sql}: {error}"))
        })
    }

    /// The first column of a query, as texts.
    pub fn texts(&self, sql: &str) -> Vec<String> {
        let conn = rusqlite::Connection::open(self.db()).unwrap();
        let mut statement = conn.prepare(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    }

    /// Asserts that the index equals the account: every meeting once, every session once, and nothing else.
    pub async fn assert_index_is_the_account(&self) {
        let (meetings, sessions) = (self.es().all("meetings").await, self.es().all("sessions").await);
        let mut world = self.sim.with_world(|world| world.clone());
        world.meetings.retain(|one| self.webinars || !one.webinar);
        let expected: std::collections::BTreeSet<&str> =
            world.meetings.iter().map(|one| one.uuid.as_str()).collect();
        let found: std::collections::BTreeSet<&str> = meetings.keys().map(String::as_str).collect();
        assert_eq!(found, expected);
        let occurrences = occurrences(&world);
        let mut per_meeting: std::collections::HashMap<&str, Vec<&Value>> = std::collections::HashMap::new();
        for (_, source) in sessions.values() {
            per_meeting
                .entry(source["meeting"].as_str().unwrap())
                .or_default()
                .push(source);
        }
        assert_eq!(sessions.len(), world.count_sessions());
        for meeting in &world.meetings {
            let host = &world.hosts[meeting.host];
            let (_, source) = &meetings[&meeting.uuid];
            assert_eq!(source["topic"], meeting.topic.as_str());
            assert_eq!(source["meeting_series_id"], meeting.series);
            if let Some(first) = occurrences.get(meeting.uuid.as_str()) {
                assert_eq!(source["occurrence_id"], *first, "{}", meeting.uuid);
            }
            assert_eq!(
                source["kind"],
                if meeting.webinar { "webinar" } else { "meeting" }
            );
            assert_eq!(source["host"]["email"], host.email.as_str());
            assert_eq!(source["host"]["host_id"], host.id.as_str());
            assert_eq!(source["duration"], (meeting.end - meeting.start).num_seconds());
            assert_eq!(source["end_time"], sim::world::zoom_time(meeting.end));
            assert_eq!(source["participant_sessions"], meeting.sessions.len());
            assert_eq!(source["account_id"], self.account.as_str());
            let shown = per_meeting.remove(meeting.uuid.as_str()).unwrap_or_default();
            let key = |name: &str, leave: &str, join: &str| format!("{name} {join} {leave}");
            let mut got: Vec<String> = shown
                .iter()
                .map(|one| {
                    assert_eq!(one["topic"], meeting.topic.as_str());
                    assert_eq!(one["host"]["host_id"], host.id.as_str());
                    let text = |name: &str| one[name].as_str().unwrap_or_default().to_owned();
                    key(&text("user_id"), &text("leave_time"), &text("join_time"))
                })
                .collect();
            let mut wanted: Vec<String> = meeting
                .sessions
                .iter()
                .map(|one| {
                    let text = |name: &str| one.row[name].as_str().unwrap_or_default().to_owned();
                    key(&text("user_id"), &text("leave_time"), &text("join_time"))
                })
                .collect();
            got.sort();
            wanted.sort();
            assert_eq!(got, wanted, "sessions of {}", meeting.uuid);
        }
    }
}
