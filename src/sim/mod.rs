//! A simulated Zoom account in memory, served on a real socket, for the demo, the tests and the benchmarks. It is written from Zoom's documentation
//! alone and shares no type with the client, so that a field misspelt on one side is noticed.

pub mod faults;
pub mod world;
mod zoom;

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use serde_json::Value;

use faults::FaultPlan;
use world::World;

/// The simulator's source of the time.
pub type Now = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;

/// How the account is set up.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The account's id, as on the app's page.
    pub account_id: String,
    /// The rate limits: Light, Medium and Heavy per second, Resource-intensive per minute, and Heavy and Resource-intensive together per day.
    pub limits: Limits,
    /// Whether the account has dashboards: only Business plans and higher have them.
    pub dashboards: bool,
    /// Whether the plan has the webinar add-on.
    pub webinars: bool,
    /// What the account's history shows.
    pub history: History,
    /// Whether `query_date_type=end_time` is refused with 12700.
    pub refuse_end_time: bool,
    /// The most rows of a page, whatever is requested. A fault plan may set another number.
    pub page_size_cap: Option<usize>,
    /// How long page tokens live.
    pub token_lives: Duration,
    /// How long access tokens live, in seconds.
    pub expires_in: u64,
    /// The least time that every answer takes.
    pub latency: Duration,
    /// The app's scopes, as the token's answer names them.
    pub scopes: String,
}

/// What `/report/history_meetings` shows. Zoom documents its format, but not what it leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum History {
    /// Every ended meeting.
    Whole,
    /// Every ended meeting except one-person meetings.
    WithoutOnePerson,
    /// Meetings that ended at least this long ago.
    Late(chrono::TimeDelta),
    /// The endpoint does not exist.
    Missing,
}

/// Rate limits. Requests beyond them are answered with 429.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub light: usize,
    pub medium: usize,
    pub heavy: usize,
    pub resource_intensive: usize,
    pub daily: u64,
}

impl Limits {
    /// The limits of a Business account.
    pub const BUSINESS: Self = Self {
        light: 80,
        medium: 60,
        heavy: 40,
        resource_intensive: 20,
        daily: 60_000,
    };
    /// The limits of a Pro account.
    pub const PRO: Self = Self {
        light: 30,
        medium: 20,
        heavy: 10,
        resource_intensive: 10,
        daily: 30_000,
    };
    /// No limits, for tests that measure something else.
    pub const NONE: Self = Self {
        light: usize::MAX,
        medium: usize::MAX,
        heavy: usize::MAX,
        resource_intensive: usize::MAX,
        daily: u64::MAX,
    };
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            account_id: ACCOUNT_ID.to_owned(),
            limits: Limits::BUSINESS,
            dashboards: true,
            webinars: true,
            history: History::Whole,
            refuse_end_time: false,
            page_size_cap: None,
            token_lives: Duration::from_secs(15 * 60),
            expires_in: 3599,
            latency: Duration::ZERO,
            scopes: "dashboard_meetings:read:admin dashboard_webinars:read:admin report:read:admin meeting:read:admin \
                     user:read:admin"
                .to_owned(),
        }
    }
}

/// A request as received.
#[derive(Clone, Debug)]
pub struct Logged {
    /// When it arrived.
    pub at: Instant,
    /// `token`, `listing`, `hosts`, `series`, `past_meeting`, `detail`, `report_listing`, `report_detail`,
    /// `webinars`, `webinar_detail`, `report_webinar_detail`, `history` or `other`.
    pub endpoint: &'static str,
    /// `Light`, `Medium`, `Heavy`, `Resource-intensive`; empty for tokens.
    pub label: &'static str,
    /// The path and query, as received.
    pub target: String,
    /// The requested meeting.
    pub uuid: Option<String>,
    /// The page, counted from 1.
    pub page: u32,
    /// The status of the answer; 0 before the request is answered.
    pub status: u16,
}

/// The state from which requests are answered.
struct State {
    world: World,
    setup: Setup,
    faults: FaultPlan,
    log: Vec<Logged>,
    recent: HashMap<&'static str, VecDeque<Instant>>,
    today: (chrono::NaiveDate, u64),
    tokens: HashMap<String, DateTime<Utc>>,
    pages: HashMap<String, Cursor>,
    counter: u64,
    now: Now,
}

/// What a page token stands for.
struct Cursor {
    /// The path and every parameter except the token. They must be the same for every page.
    query: String,
    rows: Arc<Vec<Value>>,
    next: usize,
    page: u32,
    made: Instant,
}

/// A simulated account that is being served.
pub struct Simulator {
    state: Arc<Mutex<State>>,
    address: SocketAddr,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// The account of the app. The app's credentials are the same in every world.
pub const ACCOUNT_ID: &str = "simulated-account";
/// The app's client id.
pub const CLIENT_ID: &str = "simulated-client";
/// The app's secret. It is of no use anywhere else.
pub const CLIENT_SECRET: &str = "simulated-secret";

impl Simulator {
    /// Serves a world on the loopback interface, on its own thread. Port 0 takes any free port.
    ///
    /// # Errors
    /// The port cannot be opened.
    pub fn start(world: World, setup: Setup, port: u16, now: Now) -> std::io::Result<Self> {
        let listener = std::net::TcpListener::bind(("127.0.0.1", port))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let state = Arc::new(Mutex::new(State {
            world,
            setup,
            faults: FaultPlan::default(),
            log: Vec::new(),
            recent: HashMap::new(),
            today: (now().date_naive(), 0),
            tokens: HashMap::new(),
            pages: HashMap::new(),
            counter: 0,
            now,
        }));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let served = Arc::clone(&state);
        let thread = std::thread::spawn(move || {
            runtime.block_on(async move {
                let Ok(listener) = tokio::net::TcpListener::from_std(listener) else {
                    return;
                };
                tokio::select! {
                    _ = axum::serve(listener, zoom::router(served)) => {}
                    _ = stopped => {}
                }
            });
        });
        Ok(Self {
            state,
            address,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// The value for `ZOOM_API_URL`.
    pub fn api_url(&self) -> String {
        format!("http://{}/v2", self.address)
    }

    /// The value for `ZOOM_OAUTH_URL`.
    pub fn oauth_url(&self) -> String {
        format!("http://{}/oauth/token", self.address)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Looks at the world, or edits it, between two requests.
    pub fn with_world<T>(&self, edit: impl FnOnce(&mut World) -> T) -> T {
        edit(&mut self.state().world)
    }

    /// Changes how the account is set up.
    pub fn with_setup(&self, edit: impl FnOnce(&mut Setup)) {
        edit(&mut self.state().setup);
    }

    /// Replaces the fault plan.
    pub fn set_faults(&self, faults: FaultPlan) {
        self.state().faults = faults;
    }

    /// Every request so far.
    pub fn log(&self) -> Vec<Logged> {
        self.state().log.clone()
    }

    /// Forgets the requests so far.
    pub fn clear_log(&self) {
        self.state().log.clear();
    }

    /// Requests to an endpoint so far.
    pub fn count(&self, endpoint: &str) -> usize {
        self.state()
            .log
            .iter()
            .filter(|one| one.endpoint == endpoint)
            .count()
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
