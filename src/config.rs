//! What flags, environment, `.env` and configuration file mean together. Flags win, then the environment, then `.env`, then the
//! file. Pure: whoever calls has read them.

mod dotenv;

use std::{borrow::Cow, collections::BTreeMap, fmt, ops::RangeInclusive, path::PathBuf};

use secrecy::SecretString;
use toml::de::{DeTable, DeValue};

pub use dotenv::assignments;

use crate::{
    model::AccountId,
    privacy::{Field, KEY_BYTES, Policy, Treatment},
};

/// One setting: its name in the environment and in `.env`, its key in the file, and what it means.
#[derive(Debug, PartialEq, Eq)]
pub struct Setting {
    /// In the environment and in `.env`.
    pub name: &'static str,
    /// In the file, as `table.key`.
    pub key: &'static str,
    /// What it is if nobody says; empty: nothing.
    pub default: &'static str,
    /// What it means.
    pub help: &'static str,
    /// Whether its value may never be shown.
    pub secret: bool,
}

const fn open(name: &'static str, key: &'static str, default: &'static str, help: &'static str) -> Setting {
    Setting {
        name,
        key,
        default,
        help,
        secret: false,
    }
}

const fn secret(name: &'static str, key: &'static str, help: &'static str) -> Setting {
    Setting {
        name,
        key,
        default: "",
        help,
        secret: true,
    }
}

/// Every setting there is. The parser, the hints about unknown keys and the README's reference all come from here.
#[rustfmt::skip] // A table: one setting, one place to look.
pub static SETTINGS: [Setting; 47] = [
    open("ZOOM_ACCOUNT_ID", "zoom.account_id", "",
        "the account id of the Server-to-Server OAuth app"),
    open("ZOOM_CLIENT_ID", "zoom.client_id", "",
        "its client id"),
    secret("ZOOM_CLIENT_SECRET", "zoom.client_secret",
        "its client secret"),
    open("ZOOM_API_URL", "zoom.api_url", "",
        "Zoom's API, by https unless on this machine; if not said, what the token's answer names, else `https://api.zoom.us/v2`"),
    open("ZOOM_OAUTH_URL", "zoom.oauth_url", "https://zoom.us/oauth/token",
        "where tokens come from, by https unless on this machine"),
    open("ZOOM_PLAN", "zoom.plan", "business",
        "`pro` or `business` (also for Education and Enterprise): sets the rate limits"),
    open("ZOOM_RATE_SHARE", "zoom.rate_share", "0.8",
        "the share of the account's limits, by label and by day, that this program may use; more than 0, at most 1"),
    open("ZOOM_CONCURRENCY", "zoom.concurrency", "64",
        "details in flight at most"),
    open("ZOOM_RETRIES", "zoom.retries", "5",
        "further tries of a request that failed in passing"),
    open("ZOOM_RETRY_MS", "zoom.retry_ms", "500",
        "the pause before the first of them, in milliseconds; doubled each time"),
    open("ZOOM_TIMEOUT_S", "zoom.timeout_s", "60",
        "for one request, in seconds"),
    open("ELASTICSEARCH_URL", "elasticsearch.url", "",
        "Elasticsearch or OpenSearch; credentials in it are used and never printed. Without it the harvest goes into the catalog only"),
    secret("ELASTICSEARCH_API_KEY", "elasticsearch.api_key",
        "an API key in its encoded form; preferred to user and password"),
    open("ELASTICSEARCH_USER", "elasticsearch.user", "",
        "user"),
    secret("ELASTICSEARCH_PASSWORD", "elasticsearch.password",
        "password"),
    open("ELASTICSEARCH_CA_CERT", "elasticsearch.ca_cert", "",
        "a PEM file with the authority to trust"),
    open("ELASTICSEARCH_INDEX_PREFIX", "elasticsearch.index_prefix", "zoom",
        "what the names of indices, aliases and templates begin with"),
    open("ELASTICSEARCH_SHARDS", "elasticsearch.shards", "1",
        "primary shards of an index"),
    open("ELASTICSEARCH_REPLICAS", "elasticsearch.replicas", "1",
        "replicas of each"),
    open("ELASTICSEARCH_BULK_BYTES", "elasticsearch.bulk_bytes", "5MiB",
        "the largest bulk body, in bytes or with a unit: `800KiB`, `5MiB`"),
    open("ELASTICSEARCH_BULK_REQUESTS", "elasticsearch.bulk_requests", "2",
        "bulk requests at once"),
    open("ELASTICSEARCH_COMPRESSION", "elasticsearch.compression", "true",
        "`true` or `false`: whether bodies are sent compressed"),
    open("ELASTICSEARCH_RETRIES", "elasticsearch.retries", "5",
        "further tries of what Elasticsearch could not take in passing"),
    open("ELASTICSEARCH_TIMEOUT_S", "elasticsearch.timeout_s", "60",
        "for one request, in seconds"),
    open("ZOOM_HARVESTER_DB", "harvester.db", "harvester.db",
        "the catalog; also `--db`"),
    open("ZOOM_HARVESTER_WEEKLY_DAYS", "harvester.weekly_days", "7",
        "every how many days the last 30 days are listed again whole, settled or not"),
    secret("ZOOM_HARVESTER_PRIVACY_KEY", "privacy.key",
        "the key of the pseudonyms, at least 16 bytes; another key makes other pseudonyms"),
    open("ZOOM_HARVESTER_PRIVACY_UNKNOWN", "privacy.unknown", "keep",
        "`keep` or `drop`: fields that this program does not know (yet)"),
    open("ZOOM_HARVESTER_PRIVACY_USER_NAME", "privacy.user_name", "keep",
        "`keep`, `drop` or `pseudonymise`, like all below: a participant's name, also inside `leave_reason`"),
    open("ZOOM_HARVESTER_PRIVACY_EMAIL", "privacy.email", "keep",
        "a participant's email"),
    open("ZOOM_HARVESTER_PRIVACY_PARTICIPANT_ID", "privacy.participant_id", "keep",
        "a participant's `id`, `participant_user_id`, `registrant_id` and `customer_key`"),
    open("ZOOM_HARVESTER_PRIVACY_IP_ADDRESS", "privacy.ip_address", "keep",
        "a participant's public address; its pseudonym is in the documents' `ip_pseudonym`"),
    open("ZOOM_HARVESTER_PRIVACY_INTERNAL_IP_ADDRESSES", "privacy.internal_ip_addresses", "keep",
        "the addresses behind it"),
    open("ZOOM_HARVESTER_PRIVACY_MAC_ADDR", "privacy.mac_addr", "keep",
        "the address of the network card"),
    open("ZOOM_HARVESTER_PRIVACY_HARDDISK_ID", "privacy.harddisk_id", "keep",
        "the hard disk"),
    open("ZOOM_HARVESTER_PRIVACY_PC_NAME", "privacy.pc_name", "keep",
        "the computer's name"),
    open("ZOOM_HARVESTER_PRIVACY_DOMAIN", "privacy.domain", "keep",
        "the computer's domain"),
    open("ZOOM_HARVESTER_PRIVACY_DEVICE_NAME", "privacy.device_name", "keep",
        "the device's name"),
    open("ZOOM_HARVESTER_PRIVACY_AUDIO_VIDEO", "privacy.audio_video", "keep",
        "`camera`, `microphone` and `speaker`, which people name after themselves"),
    open("ZOOM_HARVESTER_PRIVACY_LOCATION", "privacy.location", "keep",
        "`location`, `city` and `country`; a pseudonym is in `location` only"),
    open("ZOOM_HARVESTER_PRIVACY_SIP_URI", "privacy.sip_uri", "keep",
        "`sip_uri` and `from_sip_uri`"),
    open("ZOOM_HARVESTER_PRIVACY_AUDIO_CALL", "privacy.audio_call", "keep",
        "the number of who called in"),
    open("ZOOM_HARVESTER_PRIVACY_HOST_NAME", "privacy.host_name", "keep",
        "a host's name, also inside topics"),
    open("ZOOM_HARVESTER_PRIVACY_HOST_EMAIL", "privacy.host_email", "keep",
        "a host's email; `drop` costs a Light request for each new meeting, to learn its host's id"),
    open("ZOOM_HARVESTER_PRIVACY_DEPT", "privacy.dept", "keep",
        "a host's department"),
    open("ZOOM_HARVESTER_PRIVACY_TOPIC", "privacy.topic", "keep",
        "the topics of meetings and series"),
    open("ZOOM_HARVESTER_PRIVACY_TRACKING_FIELDS", "privacy.tracking_fields", "keep",
        "the values of `tracking_fields` and `custom_keys`"),
];

fn setting(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}

/// Where a value comes from, weakest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said.
    Default,
    /// The configuration file.
    File {
        /// Which.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// `.env`.
    Dotenv {
        /// Counted from 1.
        line: usize,
    },
    /// The environment.
    Environment,
    /// A flag, by name.
    Flag(&'static str),
}

impl Origin {
    /// The greater wins.
    fn rank(&self) -> u8 {
        match self {
            Self::Default => 0,
            Self::File { .. } => 1,
            Self::Dotenv { .. } => 2,
            Self::Environment => 3,
            Self::Flag(_) => 4,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("the default"),
            Self::File { path, line } => write!(f, "{}, line {line}", path.display()),
            Self::Dotenv { line } => write!(f, ".env, line {line}"),
            Self::Environment => f.write_str("the environment"),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// What is wrong with the configuration, in one line that says what, where, and what to do.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// A key nobody knows.
    #[error("{origin}: {key} is unknown; {}", hint(*nearest))]
    Unknown {
        /// The key.
        key: String,
        /// Where it stands.
        origin: Origin,
        /// What may be meant.
        nearest: Option<&'static str>,
    },
    /// A value that cannot be used.
    #[error("{origin}: {name} {}: {wanted}", is(value.as_deref()))]
    Value {
        /// The setting.
        name: &'static str,
        /// Where it comes from.
        origin: Origin,
        /// The value; nothing where it may not be shown.
        value: Option<String>,
        /// What it should be.
        wanted: Cow<'static, str>,
    },
    /// A line of ours in `.env` that cannot be understood.
    #[error(
        ".env, line {line}: {name} makes no sense; write NAME=value, and a value with spaces, quotes, $ or # in 'single quotes'"
    )]
    Line {
        /// Counted from 1.
        line: usize,
        /// The name that it seems to set.
        name: String,
    },
    /// A `$` in `.env` that would be replaced by another variable's value.
    #[error(
        ".env, line {line}: {name} has a $ that would stand for another variable; write the value in 'single quotes'"
    )]
    Dollar {
        /// Counted from 1.
        line: usize,
        /// The name that it sets.
        name: String,
    },
    /// A name that stands in `.env` more than once: programs differ in which one they take.
    #[error(".env sets {name} in line {first} and again in line {second}; keep one of them")]
    Twice {
        /// The setting.
        name: &'static str,
        /// Counted from 1.
        first: usize,
        /// Counted from 1.
        second: usize,
    },
    /// Two ways to sign in, neither of which wins.
    #[error("{one} and {other} are both set ({origin}): keep one of the two ways to sign in")]
    Contradiction {
        /// A setting.
        one: &'static str,
        /// Another.
        other: &'static str,
        /// Where the first one stands.
        origin: Origin,
    },
    /// Settings without which the command cannot run.
    #[error("missing: {}; set what is missing in the environment, in .env or in the --config file", .0.join(", "))]
    Missing(Vec<&'static str>),
    /// Something is to be pseudonymised, and there is no key to do it with.
    #[error(
        "[privacy] says pseudonymise, and there is no key for it: set ZOOM_HARVESTER_PRIVACY_KEY (`openssl rand -hex 32` makes one)"
    )]
    NoKey,
    /// A file that is not TOML.
    #[error("{}, line {line}: not valid TOML: {reason}", path.display())]
    Toml {
        /// Which.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// The parser's message, which quotes no values.
        reason: String,
    },
}

fn hint(nearest: Option<&str>) -> Cow<'static, str> {
    match nearest {
        Some(nearest) => format!("did you mean {nearest}?").into(),
        None => "the README lists the known ones".into(),
    }
}

fn is(value: Option<&str>) -> Cow<'static, str> {
    match value {
        Some(value) => format!("is {value:?}").into(),
        None => "cannot be used".into(),
    }
}

/// A line of `.env`, or one that spans several.
#[derive(Clone, PartialEq, Eq)]
pub struct Assignment {
    /// Where it begins, counted from 1.
    pub line: usize,
    /// The name.
    pub name: String,
    /// The value, unquoted.
    pub value: String,
}

// The value may be a secret.
impl fmt::Debug for Assignment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}=…", self.line, self.name)
    }
}

/// What was read. It holds secrets as they came, hence no `Debug`.
#[derive(Default)]
pub struct Inputs {
    /// `--db`, if given.
    pub db: Option<String>,
    /// The environment.
    pub environment: Vec<(String, String)>,
    /// `.env`.
    pub dotenv: Vec<Assignment>,
    /// The configuration file and its text.
    pub file: Option<(PathBuf, String)>,
}

/// A setting as it is in force, for those who ask why.
#[derive(Clone, Debug)]
pub struct InForce {
    /// The setting.
    pub setting: &'static Setting,
    /// Its value; of secrets only that there is one.
    pub shown: String,
    /// Who said so.
    pub origin: Origin,
}

/// Zoom's plans, as far as limits go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Pro.
    Pro,
    /// Business and above.
    Business,
}

/// How to prove to Elasticsearch who we are.
#[derive(Clone, Debug)]
pub enum ElasticAuth {
    /// Not at all.
    None,
    /// User and password.
    Basic(String, SecretString),
    /// An encoded API key.
    ApiKey(SecretString),
}

/// All that was said about Elasticsearch.
#[derive(Clone, Debug)]
pub struct ElasticConfig {
    /// Where, without credentials.
    pub url: String,
    /// Who we are.
    pub auth: ElasticAuth,
    /// A PEM file.
    pub ca_cert: Option<PathBuf>,
    /// What names begin with.
    pub prefix: String,
    /// Whether the prefix was said, or is the default.
    pub prefix_said: bool,
    /// Primary shards.
    pub shards: u32,
    /// Replicas.
    pub replicas: u32,
    /// The largest bulk body.
    pub bulk_bytes: usize,
    /// Bulk requests at once.
    pub bulk_requests: usize,
    /// Whether to compress.
    pub compression: bool,
    /// Further tries.
    pub retries: usize,
    /// For one request.
    pub timeout_s: u64,
}

/// The credentials of the Zoom app.
#[derive(Clone, Debug)]
pub struct ZoomCredentials {
    /// The account.
    pub account_id: AccountId,
    /// The app.
    pub client_id: String,
    /// Its secret.
    pub client_secret: SecretString,
}

/// All settings together.
#[derive(Clone, Debug)]
pub struct Config {
    account_id: Option<String>,
    client_id: Option<String>,
    client_secret: Option<SecretString>,
    /// Zoom's API, if said.
    pub api_url: Option<String>,
    /// Where tokens come from.
    pub oauth_url: String,
    /// The plan.
    pub plan: Plan,
    /// The share of its limits: above 0, at most 1.
    pub rate_share: f64,
    /// Details in flight.
    pub concurrency: usize,
    /// Further tries.
    pub retries: usize,
    /// The first pause.
    pub retry_ms: u64,
    /// For one request.
    pub timeout_s: u64,
    /// What the names of indices begin with, whether or not there is an Elasticsearch.
    pub index_prefix: String,
    /// Elasticsearch, if there is one.
    pub elastic: Option<ElasticConfig>,
    /// The catalog.
    pub db: PathBuf,
    /// Whether the catalog was named, or is the default.
    pub db_said: bool,
    /// Days between whole listings.
    pub weekly_days: i64,
    /// What may be kept of people.
    pub privacy: Policy,
    /// Every setting that has a value, as it was read, with its origin.
    pub in_force: Vec<InForce>,
    /// What is no error, but may not be meant: variables whose names are nearly ours, credentials sent in clear.
    pub warnings: Vec<String>,
}

/// The values as they were said, each with its origin.
struct Values(BTreeMap<&'static str, (String, Origin)>);

impl Values {
    fn text(&self, name: &'static str) -> Option<(String, Origin)> {
        self.0.get(name).cloned().or_else(|| {
            let default = setting(name)?.default;
            (!default.is_empty()).then(|| (default.to_owned(), Origin::Default))
        })
    }

    fn said(&self, name: &'static str) -> Option<String> {
        self.text(name).map(|(value, _)| value)
    }

    fn secret(&self, name: &'static str) -> Option<SecretString> {
        self.said(name).map(SecretString::from)
    }

    /// Where a setting comes from, if somebody said it.
    fn origin(&self, name: &str) -> Option<Origin> {
        self.0.get(name).map(|(_, origin)| origin.clone())
    }

    fn parse<T>(
        &self,
        name: &'static str,
        wanted: impl Into<Cow<'static, str>>,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<T, Error> {
        let (value, origin) = self.text(name).unwrap_or((String::new(), Origin::Default));
        read(&value).ok_or_else(|| Error::Value {
            name,
            origin,
            value: Some(value),
            wanted: wanted.into(),
        })
    }

    fn whole<T: TryFrom<u64>>(&self, name: &'static str, range: RangeInclusive<u64>) -> Result<T, Error> {
        let wanted = format!(
            "it should be a whole number from {} to {}",
            range.start(),
            range.end()
        );
        self.parse(name, wanted, |text| {
            let number = text.parse().ok().filter(|number| range.contains(number))?;
            T::try_from(number).ok()
        })
    }

    /// An http(s) URL without query and fragment: paths are appended to it.
    fn url(&self, name: &'static str) -> Result<Option<url::Url>, Error> {
        let Some((value, origin)) = self.text(name) else {
            return Ok(None);
        };
        let usable = |url: &url::Url| {
            matches!(url.scheme(), "http" | "https")
                && url.has_host()
                && url.query().is_none()
                && url.fragment().is_none()
        };
        match url::Url::parse(&value).ok().filter(usable) {
            Some(url) => Ok(Some(url)),
            None => Err(Error::Value {
                name,
                origin,
                value: Some(presentable(&value)),
                wanted: "it should be a URL that begins with http:// or https://, names a host and ends with its path".into(),
            }),
        }
    }

    /// One of Zoom's: these take no credentials.
    fn zoom_url(&self, name: &'static str) -> Result<Option<String>, Error> {
        let Some(url) = self.url(name)? else {
            return Ok(None);
        };
        if has_credentials(&url) {
            return Err(Error::Value {
                name,
                origin: self.origin(name).unwrap_or(Origin::Default),
                value: None,
                wanted: "it should hold no user and no password; ZOOM_CLIENT_ID and ZOOM_CLIENT_SECRET are for that".into(),
            });
        }
        if url.scheme() == "http" && !is_this_machine(&url) {
            return Err(Error::Value {
                name,
                origin: self.origin(name).unwrap_or(Origin::Default),
                value: Some(presentable(url.as_str())),
                wanted: "it should begin with https://, or the app's credentials would travel in clear"
                    .into(),
            });
        }
        Ok(Some(trimmed(&url)))
    }

    fn in_force(&self) -> Vec<InForce> {
        SETTINGS
            .iter()
            .filter_map(|setting| {
                let (value, origin) = self.text(setting.name)?;
                let shown = if setting.secret {
                    "(set)".to_owned()
                } else if setting.name.ends_with("_URL") {
                    presentable(&value)
                } else {
                    value
                };
                Some(InForce {
                    setting,
                    shown,
                    origin,
                })
            })
            .collect()
    }
}

fn has_credentials(url: &url::Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

/// Whether what is sent there leaves this machine.
fn is_this_machine(url: &url::Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

fn trimmed(url: &url::Url) -> String {
    url.as_str().trim_end_matches('/').to_owned()
}

/// A URL, or what was meant to be one, without what may be secret: all before an `@`, however it is written, all from a `?` or `#` on.
fn presentable(text: &str) -> String {
    let text = match text.rsplit_once('@').or_else(|| text.rsplit_once("%40")) {
        Some((before, after)) => {
            let scheme = before.split_once("://").map_or("", |(scheme, _)| scheme);
            if scheme.is_empty() {
                format!("…@{after}")
            } else {
                format!("{scheme}://…@{after}")
            }
        }
        None => text.to_owned(),
    };
    match text.find(['?', '#']) {
        Some(end) => format!("{}…", &text[..=end]),
        None => text,
    }
}

/// `5242880`, `800KiB`, `5 MiB`.
fn bytes(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match text[digits.len()..].trim().to_ascii_lowercase().as_str() {
        "" => 1,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

/// Elasticsearch's rules for index names, and a little narrower: what begins with `.` is hidden, and a wildcard or a comma
/// would name other indices too.
fn index_prefix(text: &str) -> Option<String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    (text.len() <= 100 && text.chars().all(allowed) && !text.starts_with(['-', '_'])).then(|| text.to_owned())
}

impl Config {
    /// Puts together what was read.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn new(inputs: &Inputs) -> Result<Self, Error> {
        let (values, mut warnings) = gather(inputs)?;
        let elastic = elastic(&values)?;
        if !matches!(elastic.auth, ElasticAuth::None)
            && url::Url::parse(&elastic.url).is_ok_and(|url| url.scheme() == "http" && !is_this_machine(&url))
        {
            warnings.push(format!(
                "ELASTICSEARCH_URL is {}: the credentials and all documents travel in clear; use https://",
                elastic.url
            ));
        }
        Ok(Self {
            account_id: values.said("ZOOM_ACCOUNT_ID"),
            client_id: values.said("ZOOM_CLIENT_ID"),
            client_secret: values.secret("ZOOM_CLIENT_SECRET"),
            api_url: values.zoom_url("ZOOM_API_URL")?,
            oauth_url: values.zoom_url("ZOOM_OAUTH_URL")?.unwrap_or_default(),
            plan: values.parse("ZOOM_PLAN", "it should be pro or business", |text| match text {
                "pro" => Some(Plan::Pro),
                "business" => Some(Plan::Business),
                _ => None,
            })?,
            rate_share: values.parse(
                "ZOOM_RATE_SHARE",
                "it should be a number above 0 and at most 1",
                |text| text.parse().ok().filter(|share| *share > 0.0 && *share <= 1.0),
            )?,
            concurrency: values.whole("ZOOM_CONCURRENCY", 1..=1000)?,
            retries: values.whole("ZOOM_RETRIES", 0..=100)?,
            retry_ms: values.whole("ZOOM_RETRY_MS", 1..=60_000)?,
            timeout_s: values.whole("ZOOM_TIMEOUT_S", 1..=3600)?,
            index_prefix: elastic.prefix.clone(),
            // An empty URL is one that nobody said.
            elastic: (!elastic.url.is_empty()).then_some(elastic),
            db: values.said("ZOOM_HARVESTER_DB").unwrap_or_default().into(),
            db_said: values.origin("ZOOM_HARVESTER_DB").is_some(),
            weekly_days: i64::from(values.whole::<u16>("ZOOM_HARVESTER_WEEKLY_DAYS", 1..=365)?),
            privacy: privacy(&values)?,
            in_force: values.in_force(),
            warnings,
        })
    }

    /// The same configuration, for an account that is simulated.
    pub fn point_at_simulation(
        &mut self,
        account_id: &str,
        client_id: &str,
        client_secret: SecretString,
        api_url: String,
        oauth_url: String,
    ) {
        self.account_id = Some(account_id.to_owned());
        self.client_id = Some(client_id.to_owned());
        self.client_secret = Some(client_secret);
        self.api_url = Some(api_url);
        self.oauth_url = oauth_url;
    }

    /// The credentials of the Zoom app.
    ///
    /// # Errors
    /// [`Error::Missing`], naming each one.
    pub fn zoom_credentials(&self) -> Result<ZoomCredentials, Error> {
        match (&self.account_id, &self.client_id, &self.client_secret) {
            (Some(account_id), Some(client_id), Some(client_secret)) => Ok(ZoomCredentials {
                account_id: AccountId::new(account_id.clone()),
                client_id: client_id.clone(),
                client_secret: client_secret.clone(),
            }),
            _ => Err(Error::Missing(
                [
                    ("ZOOM_ACCOUNT_ID", self.account_id.is_none()),
                    ("ZOOM_CLIENT_ID", self.client_id.is_none()),
                    ("ZOOM_CLIENT_SECRET", self.client_secret.is_none()),
                ]
                .into_iter()
                .filter_map(|(name, missing)| missing.then_some(name))
                .collect(),
            )),
        }
    }
}

/// Checks all that is said of Elasticsearch, even where its URL is not: a typing error is found today, not on the day the URL
/// is added.
fn elastic(values: &Values) -> Result<ElasticConfig, Error> {
    let url = values.url("ELASTICSEARCH_URL")?;
    let auth = sign_in(values, url.as_ref())?;
    let url = url.map(|mut url| {
        // Neither fails for a URL that has a host.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        trimmed(&url)
    });
    let bulk_bytes = 1024..=100 << 20;
    Ok(ElasticConfig {
        url: url.unwrap_or_default(),
        auth,
        ca_cert: values.said("ELASTICSEARCH_CA_CERT").map(PathBuf::from),
        prefix: values.parse(
            "ELASTICSEARCH_INDEX_PREFIX",
            "it should be at most 100 lower-case letters, digits, - or _, and begin with a letter or digit",
            index_prefix,
        )?,
        prefix_said: values.origin("ELASTICSEARCH_INDEX_PREFIX").is_some(),
        // 1,024 shards is what Elasticsearch allows an index.
        shards: values.whole("ELASTICSEARCH_SHARDS", 1..=1024)?,
        replicas: values.whole("ELASTICSEARCH_REPLICAS", 0..=100)?,
        // 100 MB is where Elasticsearch stops reading a request, unless told otherwise (http.max_content_length).
        bulk_bytes: values.parse(
            "ELASTICSEARCH_BULK_BYTES",
            "it should be from 1KiB to 100MiB, as a number of bytes or with KiB or MiB",
            |text| {
                let bytes = bytes(text).filter(|bytes| bulk_bytes.contains(bytes))?;
                usize::try_from(bytes).ok()
            },
        )?,
        bulk_requests: values.whole("ELASTICSEARCH_BULK_REQUESTS", 1..=64)?,
        compression: values.parse(
            "ELASTICSEARCH_COMPRESSION",
            "it should be true or false",
            |text| text.parse().ok(),
        )?,
        retries: values.whole("ELASTICSEARCH_RETRIES", 0..=100)?,
        timeout_s: values.whole("ELASTICSEARCH_TIMEOUT_S", 1..=3600)?,
    })
}

/// The policy; a key that is too short is refused even where nothing needs it yet.
fn privacy(values: &Values) -> Result<Policy, Error> {
    const KEY: &str = "ZOOM_HARVESTER_PRIVACY_KEY";
    if let Some((key, origin)) = values.text(KEY).filter(|(key, _)| key.len() < KEY_BYTES) {
        drop(key);
        return Err(Error::Value {
            name: KEY,
            origin,
            value: None,
            wanted: format!("it should be random and at least {KEY_BYTES} bytes long").into(),
        });
    }
    let drop_unknown = values.parse(
        "ZOOM_HARVESTER_PRIVACY_UNKNOWN",
        "it should be keep or drop",
        |text| match text {
            "keep" => Some(false),
            "drop" => Some(true),
            _ => None,
        },
    )?;
    let mut treatments = BTreeMap::new();
    for (field, name) in Field::ALL {
        let key = format!("privacy.{name}");
        if let Some(setting) = SETTINGS.iter().find(|setting| setting.key == key) {
            let wanted = "it should be keep, drop or pseudonymise";
            treatments.insert(field, values.parse(setting.name, wanted, Treatment::parse)?);
        }
    }
    Policy::new(treatments, drop_unknown, values.secret(KEY)).ok_or(Error::NoKey)
}

/// The way to sign in that stands in the strongest place. In the same place an API key, which can do less and be taken back by
/// itself, is preferred to a user and password; two users contradict each other.
fn sign_in(values: &Values, url: Option<&url::Url>) -> Result<ElasticAuth, Error> {
    const WAYS: [&str; 3] = ["ELASTICSEARCH_API_KEY", "ELASTICSEARCH_USER", "ELASTICSEARCH_URL"];
    let mut ways: Vec<(&'static str, Origin)> = WAYS
        .into_iter()
        .filter(|name| *name != "ELASTICSEARCH_URL" || url.is_some_and(has_credentials))
        .filter_map(|name| Some((name, values.origin(name)?)))
        .collect();
    ways.sort_by_key(|(_, origin)| std::cmp::Reverse(origin.rank()));
    if let [(one, origin), (other, equal), ..] = ways.as_slice()
        && origin.rank() == equal.rank()
        && *one != "ELASTICSEARCH_API_KEY"
    {
        return Err(Error::Contradiction {
            one,
            other,
            origin: origin.clone(),
        });
    }
    let password = values.secret("ELASTICSEARCH_PASSWORD");
    let needed = || Error::Missing(vec!["ELASTICSEARCH_PASSWORD"]);
    match (ways.first(), url) {
        (None, _) if password.is_some() => Err(Error::Missing(vec!["ELASTICSEARCH_USER"])),
        (None, _) => Ok(ElasticAuth::None),
        (Some(("ELASTICSEARCH_API_KEY", origin)), _) => {
            let key = values.said("ELASTICSEARCH_API_KEY").unwrap_or_default();
            // The other two forms that people have at hand: `id:key`, and the JSON that made it.
            if key.contains([':', '{', ' ']) || !key.is_ascii() {
                return Err(Error::Value {
                    name: "ELASTICSEARCH_API_KEY",
                    origin: origin.clone(),
                    value: None,
                    wanted: "it should be the key's `encoded` form: base64, without a colon".into(),
                });
            }
            Ok(ElasticAuth::ApiKey(key.into()))
        }
        (Some(("ELASTICSEARCH_URL", origin)), Some(url)) => {
            let decode = |text: &str| {
                percent_encoding::percent_decode_str(text)
                    .decode_utf8_lossy()
                    .into_owned()
            };
            let user = user(decode(url.username()), "ELASTICSEARCH_URL", origin)?;
            let in_url = url
                .password()
                .map(|password| SecretString::from(decode(password)));
            Ok(ElasticAuth::Basic(user, in_url.or(password).ok_or_else(needed)?))
        }
        (Some((name, origin)), _) => {
            let user = user(values.said(name).unwrap_or_default(), name, origin)?;
            Ok(ElasticAuth::Basic(user, password.ok_or_else(needed)?))
        }
    }
}

/// A user's name as HTTP's Basic authentication can carry it.
fn user(name: String, setting: &'static str, origin: &Origin) -> Result<String, Error> {
    if name.is_empty() || name.contains(':') {
        return Err(Error::Value {
            name: setting,
            origin: origin.clone(),
            value: None,
            wanted: "the user's name should hold no colon and not be empty".into(),
        });
    }
    Ok(name)
}

/// Collects what was said, strongest last; refuses what nobody knows, and warns of what is nearly known.
fn gather(inputs: &Inputs) -> Result<(Values, Vec<String>), Error> {
    let mut values = BTreeMap::new();
    let mut warnings = Vec::new();
    let mut say = |setting: &'static Setting, value: &str, origin: Origin| {
        // A trailing newline in a secret is a known trap; and an empty value says nothing.
        let value = value.trim();
        if value.contains(char::is_control) {
            return Err(Error::Value {
                name: setting.name,
                origin,
                value: None,
                wanted: "it holds a control character, perhaps a line break; it should be one plain line"
                    .into(),
            });
        }
        if !value.is_empty() {
            values.insert(setting.name, (value.to_owned(), origin));
        }
        Ok(())
    };
    if let Some((path, text)) = &inputs.file {
        for (line, key, value) in entries(path, text)? {
            let origin = Origin::File {
                path: path.clone(),
                line,
            };
            let known = SETTINGS.iter().find(|setting| setting.key == key);
            match (known, value) {
                (None, _) => {
                    return Err(Error::Unknown {
                        nearest: nearest_key(&key),
                        key,
                        origin,
                    });
                }
                (Some(setting), Some(value)) => say(setting, &value, origin)?,
                (Some(setting), None) => {
                    return Err(Error::Value {
                        name: setting.key,
                        origin,
                        value: None,
                        wanted: "it should be text, a number, true or false".into(),
                    });
                }
            }
        }
    }
    let mut lines = BTreeMap::new();
    for Assignment { line, name, value } in &inputs.dotenv {
        let origin = Origin::Dotenv { line: *line };
        match setting(name) {
            Some(setting) => {
                if let Some(first) = lines.insert(setting.name, *line) {
                    return Err(Error::Twice {
                        name: setting.name,
                        first,
                        second: *line,
                    });
                }
                say(setting, value, origin)?;
            }
            // Other programs may share the file, but not our names.
            None if name.starts_with("ZOOM_") || name.starts_with("ELASTICSEARCH_") => {
                return Err(Error::Unknown {
                    key: name.clone(),
                    origin,
                    nearest: nearest_name(name),
                });
            }
            None => warnings.extend(nearly(name, &origin)),
        }
    }
    for (name, value) in &inputs.environment {
        let origin = Origin::Environment;
        match setting(name) {
            Some(setting) => say(setting, value, origin)?,
            // The environment is everybody's: only what must be meant for us is refused.
            None if name.starts_with("ZOOM_HARVESTER_") => {
                return Err(Error::Unknown {
                    key: name.clone(),
                    origin,
                    nearest: nearest_name(name),
                });
            }
            None => warnings.extend(nearly(name, &origin)),
        }
    }
    if let (Some(db), Some(setting)) = (&inputs.db, setting("ZOOM_HARVESTER_DB")) {
        say(setting, db, Origin::Flag("--db"))?;
    }
    Ok((Values(values), warnings))
}

/// A warning, if the name of somebody's variable is one or two letters from one of ours.
fn nearly(name: &str, origin: &Origin) -> Option<String> {
    let upper = name.to_ascii_uppercase();
    SETTINGS
        .iter()
        .find(|setting| strsim::levenshtein(setting.name, &upper) <= 2)
        .map(|setting| format!("{origin}: {name} is not used; did you mean {}?", setting.name))
}

fn nearest_name(name: &str) -> Option<&'static str> {
    nearest(name, SETTINGS.iter().map(|setting| setting.name))
}

/// The nearest `table.key`: a key in no table or in the wrong one, a misspelt one, or a variable's name.
fn nearest_key(key: &str) -> Option<&'static str> {
    let last = key.rsplit('.').next().unwrap_or(key);
    let same_last = |setting: &&Setting| setting.key.rsplit('.').next() == Some(last);
    SETTINGS
        .iter()
        .filter(same_last)
        .min_by_key(|setting| strsim::levenshtein(setting.key, key))
        .map(|setting| setting.key)
        .or_else(|| {
            let by_name = SETTINGS.iter().find(|setting| setting.name == last)?;
            Some(by_name.key)
        })
        .or_else(|| nearest(key, SETTINGS.iter().map(|setting| setting.key)))
}

/// Which of the known is nearest, if any is near enough to be meant: a third of its letters may differ.
fn nearest(said: &str, known: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    known
        .map(|known| (strsim::damerau_levenshtein(known, said), known))
        .min()
        .filter(|(distance, _)| *distance <= said.len().div_ceil(3))
        .map(|(_, known)| known)
}

/// Line, `table.key` and value of every entry of the file; no value where it is neither text, number, true nor false.
fn entries(path: &std::path::Path, text: &str) -> Result<Vec<(usize, String, Option<String>)>, Error> {
    let line = |at: usize| text.get(..at).unwrap_or_default().matches('\n').count() + 1;
    // Only the parser's message and the place: the rest would quote the line, which may hold a secret.
    let root = DeTable::parse(text).map_err(|error| Error::Toml {
        path: path.to_owned(),
        line: error.span().map_or(1, |span| line(span.start)),
        reason: error.message().replace('\n', ", "),
    })?;
    let tables = ["zoom", "elasticsearch", "harvester", "privacy"];
    let mut entries = Vec::new();
    for (table, value) in root.get_ref() {
        let at = line(table.span().start);
        let table: &str = table.get_ref();
        match value.get_ref().as_table() {
            Some(inner) if !inner.is_empty() || tables.contains(&table) => {
                entries.extend(inner.iter().map(|(key, value)| {
                    let at = line(key.span().start);
                    (at, format!("{table}.{}", key.get_ref()), scalar(value.get_ref()))
                }));
            }
            _ => entries.push((at, table.to_owned(), None)),
        }
    }
    entries.sort();
    Ok(entries)
}

fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.clone().into_owned()),
        DeValue::Integer(number) => {
            let number = i64::from_str_radix(number.as_str(), number.radix()).ok()?;
            Some(number.to_string())
        }
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        DeValue::Boolean(flag) => Some(flag.to_string()),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

/// The reference, as the README shows it.
pub fn reference_markdown() -> String {
    let mut table =
        "| variable | key in the file | default | meaning |\n| --- | --- | --- | --- |\n".to_owned();
    for setting in &SETTINGS {
        let default = if setting.default.is_empty() {
            String::new()
        } else {
            format!("`{}`", setting.default)
        };
        let secret = if setting.secret { "; secret" } else { "" };
        table.push_str(&format!(
            "| `{}` | `{}` | {default} | {}{secret} |\n",
            setting.name, setting.key, setting.help
        ));
    }
    table
}

#[cfg(test)]
mod tests;
