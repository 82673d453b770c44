//! What every command needs: the configuration, the clock, and the clients of Zoom and Elasticsearch.

use std::{path::Path, sync::Arc, time::Duration};

use chrono::{DateTime, Days, TimeDelta, Utc};
use tokio::sync::mpsc;

use super::{DayArgs, Failure, Global, LogFormat, day::scope, log, out, progress::Bars, settings_sources};
use crate::{
    catalog::{self, Catalog, Lock},
    config::{Config, ElasticAuth, ElasticConfig, Inputs, Plan},
    elastic::{self, Elastic},
    model::{AccountId, Clock, Source, iso},
    network,
    sync::{Clients, Options, Scope},
    zoom::{self, Zoom, pace::Pacer},
};

/// The context of a command: configuration, clock, progress bars and request counters.
pub struct Context {
    pub config: Config,
    pub clock: Clock,
    pub bars: Bars,
    pub quiet: bool,
    /// Requests to Zoom, counted since the process began.
    pub traffic: Arc<zoom::traffic::Traffic>,
}

impl Context {
    /// Reads the environment, `.env` and the configuration file. Also returns the inputs.
    pub fn new(global: &Global) -> Result<(Self, Inputs), Failure> {
        let bars = Bars::new(global.quiet, global.log_format == LogFormat::Json);
        log::start(global, &bars);
        let file = match &global.config {
            Some(path) => Some((
                path.clone(),
                settings_sources::file(path, "the configuration file")?,
            )),
            None => None,
        };
        let (environment, dotenv) = (settings_sources::environment()?, settings_sources::dotenv()?);
        let inputs = Inputs {
            db: global.db.as_deref().map(catalog_named).transpose()?,
            values: settings_sources::files_of_values(&environment, &dotenv)?,
            environment,
            dotenv,
            file,
        };
        let mut config = Config::new(&inputs)?;
        let exposed = settings_sources::exposed(&inputs.dotenv, &config.in_force);
        config.warnings.extend(exposed);
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        let context = Self {
            config,
            clock: wall_clock(),
            bars,
            quiet: global.quiet,
            traffic: Arc::default(),
        };
        Ok((context, inputs))
    }

    /// Prints what a command did, unless `--quiet` is given.
    pub fn say(&self, text: &str) -> std::io::Result<()> {
        if self.quiet { Ok(()) } else { out::print(text) }
    }

    pub fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// Opens the catalog for a command that writes, and locks it against other runs.
    pub fn open_catalog(&self, command: &str) -> Result<(Catalog, Lock), Failure> {
        let path = &self.config.db;
        let holder = format!(
            "zoom-harvester {command}, process {}, since {}",
            std::process::id(),
            iso(self.now())
        );
        let lock = Lock::acquire(path, &holder)?;
        let mut catalog = Catalog::open(path)?;
        catalog.spread_over(self.config.index_period);
        Ok((catalog, lock))
    }

    /// Like [`Self::open_catalog`], but fails if there is no catalog: a new one would be empty.
    pub fn open_existing(&self, command: &str) -> Result<(Catalog, Lock), Failure> {
        match Catalog::open_read_only(&self.config.db) {
            Ok(_) | Err(catalog::Error::Older { .. }) => self.open_catalog(command),
            Err(error) => Err(error.into()),
        }
    }

    /// The days of a command, by a clock that follows Zoom's.
    pub fn scope(&self, days: &DayArgs) -> Result<Scope, Failure> {
        let today = self.now().date_naive();
        scope(days.from, days.to, today, Days::new(0)).map_err(Failure::usage)
    }

    /// Refuses days that are wrong even if this machine's clock is off. Called before any request.
    pub fn refuse_impossible_days(&self, days: &DayArgs) -> Result<(), Failure> {
        let today = self.now().date_naive();
        let farthest = Days::new(zoom::FARTHEST.num_days().unsigned_abs());
        scope(days.from, days.to, today, farthest)
            .map(drop)
            .map_err(Failure::usage)
    }

    /// Refuses days whose meetings were forgotten.
    pub fn not_forgotten(&self, catalog: &Catalog, scope: Scope) -> Result<(), Failure> {
        match (scope, catalog.forgotten()?.before) {
            (Scope::Days(window), Some(before)) if window.from < before => Err(Failure::usage(format!(
                "--from {} is too early: what ended before {before} was forgotten (`forget --before`), so {before} is the earliest day",
                window.from
            ))),
            _ => Ok(()),
        }
    }

    /// The source of meetings, if the settings or the plan fix it: a Pro account has no dashboards. `None`: the client finds out.
    fn source(&self) -> Option<Source> {
        let by_plan = || matches!(self.plan(), zoom::pace::Plan::Pro).then_some(Source::Reports);
        self.config.source.or_else(by_plan)
    }

    /// The options of a run.
    pub fn options(&self, scope: Scope) -> Options {
        Options {
            scope,
            concurrency: self.config.concurrency,
            enrich: false,
            whole_listing_every: TimeDelta::days(self.config.weekly_days),
            daily_share: self.plan().daily_share(self.config.rate_share),
            policy: self.config.privacy.clone(),
        }
    }

    pub fn plan(&self) -> zoom::pace::Plan {
        match self.config.plan {
            Plan::Pro => zoom::pace::Plan::Pro,
            Plan::Business => zoom::pace::Plan::Business,
        }
    }

    /// The client of Zoom. If `counted`, every request asks for permission first.
    pub fn zoom(&self, counted: bool) -> Result<ZoomEnd, Failure> {
        let credentials = self.config.zoom_credentials()?;
        let (grants, requests) = mpsc::channel(8);
        let pacer = Pacer::new(self.plan(), self.config.rate_share, counted.then_some(grants));
        let settings = zoom::Settings {
            account_id: credentials.account_id,
            client_id: credentials.client_id,
            client_secret: credentials.client_secret,
            oauth_url: self.config.oauth_url.clone(),
            api_url: self.config.api_url.clone(),
            retry: zoom::Retry {
                times: self.config.retries,
                base: Duration::from_millis(self.config.retry_ms),
                ..zoom::Retry::default()
            },
            timeout: Duration::from_secs(self.config.timeout_s),
            answer_limit_bytes: zoom::ANSWER_LIMIT_BYTES,
            proxies: self.config.proxies.clone(),
            source: self.source(),
            webinars: self.config.webinars,
            traffic: Arc::clone(&self.traffic),
            authorities: self.authorities(std::slice::from_ref(&self.config.oauth_url))?,
            seed: self.seed(),
        };
        let zoom = Arc::new(Zoom::new(settings, Arc::clone(&pacer), self.clock.clone())?);
        Ok(ZoomEnd {
            zoom,
            pacer,
            requests,
        })
    }

    /// The client of Elasticsearch, if one is configured, for the indices of this account.
    pub fn elastic_for(&self, account: AccountId) -> Result<Option<Arc<Elastic>>, Failure> {
        match &self.config.elastic {
            Some(config) => Ok(Some(Arc::new(Elastic::new(
                self.elastic_settings(config, account)?,
            )?))),
            None => Ok(None),
        }
    }

    /// The client of Elasticsearch, if one is configured, for the indices of the account that the catalog belongs to.
    pub fn elastic(&self, catalog: &Catalog) -> Result<Option<Arc<Elastic>>, Failure> {
        match catalog.account()? {
            Some(account) => self.elastic_for(account),
            // Nothing was ever stored in this catalog.
            None => self.elastic_for(self.config.zoom_credentials()?.account_id),
        }
    }

    /// Like [`Self::elastic`], for a command that cannot work without Elasticsearch.
    pub fn elastic_needed(&self, catalog: &Catalog) -> Result<Arc<Elastic>, Failure> {
        self.refuse_without_elastic()?;
        self.elastic(catalog)?.ok_or_else(no_elastic)
    }

    /// Fails, before anything is changed, if no Elasticsearch is configured.
    pub fn refuse_without_elastic(&self) -> Result<(), Failure> {
        match &self.config.elastic {
            Some(_) => Ok(()),
            None => Err(no_elastic()),
        }
    }

    fn elastic_settings(
        &self,
        config: &ElasticConfig,
        account: AccountId,
    ) -> Result<elastic::Settings, Failure> {
        let ca_cert_pem = match &config.ca_cert {
            Some(path) => Some(settings_sources::file(path, "ELASTICSEARCH_CA_CERT")?.into_bytes()),
            None => None,
        };
        let mut client_pem = None;
        for (name, path) in &config.client_pem {
            let text = client_pem.get_or_insert_with(String::new);
            text.push_str(&settings_sources::file(path, name)?);
            text.push('\n');
        }
        let client_pem = client_pem.map(Into::into);
        Ok(elastic::Settings {
            urls: config.urls.clone(),
            auth: match &config.auth {
                ElasticAuth::None => elastic::Auth::None,
                ElasticAuth::Basic(user, password) => elastic::Auth::Basic {
                    user: user.clone(),
                    password: password.clone(),
                },
                ElasticAuth::ApiKey(key) => elastic::Auth::ApiKey(key.clone()),
            },
            ca_cert_pem,
            authorities: self.authorities(&config.urls)?,
            client_pem,
            proxies: self.config.proxies.clone(),
            account,
            prefix: config.prefix.clone(),
            shards: config.shards,
            replicas: config.replicas,
            bulk_bytes: config.bulk_bytes,
            compress: config.compression,
            in_flight: config.bulk_requests,
            retry: elastic::Retry {
                times: config.retries,
                base: Duration::from_millis(250),
                max: Duration::from_secs(10),
            },
            timeout: Duration::from_secs(config.timeout_s),
            seed: self.seed(),
        })
    }

    /// The certificate authorities that this machine trusts, if one of these URLs needs TLS; otherwise none.
    fn authorities(&self, urls: &[String]) -> Result<network::Authorities, Failure> {
        if urls.iter().any(|url| url.starts_with("https://")) {
            settings_sources::authorities()
        } else {
            Ok(network::Authorities::default())
        }
    }

    /// A seed for backoff jitter, different in every run.
    fn seed(&self) -> u64 {
        self.now().timestamp_micros().unsigned_abs() ^ u64::from(std::process::id())
    }

    /// A random id for a new catalog.
    pub fn new_catalog_id(&self) -> String {
        format!("{:016x}", fastrand::Rng::with_seed(self.seed()).u64(..))
    }

    /// Runs the work on a single-threaded runtime: it mostly waits for the network, and one thread needs no locks.
    pub fn block_on<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(work)
    }
}

/// The path that `--db` names.
fn catalog_named(path: &Path) -> Result<String, Failure> {
    // clap refuses an empty path.
    path.to_str()
        .map(str::to_owned)
        .ok_or_else(|| Failure::usage("--db is not valid UTF-8; rename the file, or name a link to it"))
}

fn no_elastic() -> Failure {
    crate::config::Error::Missing(vec!["ELASTICSEARCH_URL"]).into()
}

/// The client of Zoom, its pacer, and the queue of requests for permission.
pub struct ZoomEnd {
    pub zoom: Arc<Zoom>,
    pub pacer: Arc<Pacer>,
    requests: mpsc::Receiver<zoom::pace::GrantRequest>,
}

/// The clients of Zoom and Elasticsearch, for a run.
pub fn clients(zoom: Option<ZoomEnd>, elastic: Option<Arc<Elastic>>) -> Clients {
    Clients {
        zoom: zoom.map(|end| (end.zoom, end.pacer, end.requests)),
        elastic,
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "the one place where the wall clock is read; everybody else is told"
)]
fn wall_clock() -> Clock {
    Clock::new(Utc::now)
}
