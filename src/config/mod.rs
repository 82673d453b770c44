//! Combines flags, environment, `.env` and configuration file. It does no input or output: the caller has read them.

mod dotenv;
mod error;
mod nodes;
mod precedence;
mod proxies;
mod reference;
mod sign_in;
mod toml_file;
mod values;

use std::{collections::BTreeMap, path::PathBuf};

use secrecy::SecretString;

pub use dotenv::{assignments, with_assignments};
pub use error::Error;
pub use precedence::{Assignment, FileOfValue, Inputs, Origin, handed_over};
pub use reference::{SETTINGS, Setting, reference_markdown};

use crate::{
    model::{AccountId, IndexPeriod, Source},
    network::{Proxies, is_this_machine},
    privacy::{Field, KEY_BYTES, Policy, Treatment},
};
use nodes::{nodes, signed};
use precedence::gather;
use sign_in::sign_in;
use values::{Values, bytes, index_prefix, trimmed};

/// A setting in force, with its origin.
#[derive(Clone, Debug)]
pub struct InForce {
    /// The setting.
    pub setting: &'static Setting,
    /// Its value. For a secret, only that there is one.
    pub shown: String,
    /// Where it comes from.
    pub origin: Origin,
}

/// Zoom's plans, as far as their limits differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Pro.
    Pro,
    /// Business and above.
    Business,
}

/// How the harvester signs in to Elasticsearch.
#[derive(Clone, Debug)]
pub enum ElasticAuth {
    /// Without credentials.
    None,
    /// User and password.
    Basic(String, SecretString),
    /// An encoded API key.
    ApiKey(SecretString),
}

/// The settings for Elasticsearch.
#[derive(Clone, Debug)]
pub struct ElasticConfig {
    /// The URLs of its nodes, without credentials; at least one.
    pub urls: Vec<String>,
    /// The credentials.
    pub auth: ElasticAuth,
    /// A PEM file with the certificate authority.
    pub ca_cert: Option<PathBuf>,
    /// PEM files with the client certificate and its key; one file may hold both.
    pub client_pem: Vec<(&'static str, PathBuf)>,
    /// The prefix of index names.
    pub prefix: String,
    /// Whether the prefix was set; otherwise it is the default.
    pub prefix_said: bool,
    /// Primary shards.
    pub shards: Option<u32>,
    /// Replicas.
    pub replicas: Option<u32>,
    /// The largest bulk body, in bytes.
    pub bulk_bytes: usize,
    /// Bulk requests at once.
    pub bulk_requests: usize,
    /// Whether to compress requests.
    pub compression: bool,
    /// Further tries after a failed request.
    pub retries: usize,
    /// The timeout of one request, in seconds.
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
    /// The URL of Zoom's API, if set.
    pub api_url: Option<String>,
    /// The URL that tokens come from.
    pub oauth_url: String,
    /// The plan.
    pub plan: Plan,
    /// The share of its limits that may be used: above 0, at most 1.
    pub rate_share: f64,
    /// The source of meetings; if unset, the client finds out.
    pub source: Option<Source>,
    /// Whether webinars are harvested as well.
    pub webinars: bool,
    /// Details fetched at the same time.
    pub concurrency: usize,
    /// Further tries after a failed request.
    pub retries: usize,
    /// The first pause before a retry, in milliseconds.
    pub retry_ms: u64,
    /// The timeout of one request, in seconds.
    pub timeout_s: u64,
    /// The prefix of index names, whether or not there is an Elasticsearch.
    pub index_prefix: String,
    /// Whether there is one index per year.
    pub index_period: IndexPeriod,
    /// Elasticsearch, if there is one.
    pub elastic: Option<ElasticConfig>,
    /// The catalog.
    pub db: PathBuf,
    /// Whether the catalog's path was set; otherwise it is the default.
    pub db_said: bool,
    /// Days between whole listings.
    pub weekly_days: i64,
    /// What may be stored about people.
    pub privacy: Policy,
    /// The secret that webhooks are signed with.
    pub webhook_secret: Option<SecretString>,
    /// The proxies on the way to Zoom and to Elasticsearch.
    pub proxies: Proxies,
    /// Every setting that has a value, as it was read, with its origin.
    pub in_force: Vec<InForce>,
    /// Warnings: variables whose names nearly match a setting, credentials sent in clear.
    pub warnings: Vec<String>,
}

impl Config {
    /// Builds the configuration from what was read.
    ///
    /// # Errors
    /// The first error found.
    pub fn new(inputs: &Inputs) -> Result<Self, Error> {
        let (values, mut warnings) = gather(inputs)?;
        let (proxies, of_proxies) = proxies::proxies(&values, &inputs.environment)?;
        warnings.extend(of_proxies);
        let elastic = elastic(&values)?;
        let in_clear = elastic.urls.iter().find(|url| {
            url::Url::parse(url).is_ok_and(|url| url.scheme() == "http" && !is_this_machine(&url))
        });
        if let (Some(url), false) = (in_clear, matches!(elastic.auth, ElasticAuth::None)) {
            warnings.push(format!(
                "ELASTICSEARCH_URL is {url}: the credentials and all documents travel in clear; use https://"
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
            source: values.parse(
                "ZOOM_SOURCE",
                "it should be auto, dashboard or reports",
                |text| match text {
                    "auto" => Some(None),
                    source => Source::parse(source).map(Some),
                },
            )?,
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
            index_period: values.parse(
                "ELASTICSEARCH_INDEX_PERIOD",
                "it should be none or year",
                |text| match text {
                    "none" => Some(IndexPeriod::None),
                    "year" => Some(IndexPeriod::Year),
                    _ => None,
                },
            )?,
            elastic: (!elastic.urls.is_empty()).then_some(elastic),
            db: values.said("ZOOM_HARVESTER_DB").unwrap_or_default().into(),
            db_said: values.origin("ZOOM_HARVESTER_DB").is_some(),
            webinars: values.parse("ZOOM_HARVESTER_WEBINARS", "it should be true or false", |text| {
                text.parse().ok()
            })?,
            weekly_days: i64::from(values.whole::<u16>("ZOOM_HARVESTER_WEEKLY_DAYS", 1..=365)?),
            privacy: privacy(&values)?,
            proxies,
            webhook_secret: values.secret("ZOOM_WEBHOOK_SECRET_TOKEN"),
            in_force: values.in_force(),
            warnings,
        })
    }

    /// Points the configuration at a simulated account.
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
    /// [`Error::Missing`], which names each missing one.
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

/// Checks all settings for Elasticsearch, even if its URL is not set: a typing error is found today, not on the day the URL is added.
fn elastic(values: &Values) -> Result<ElasticConfig, Error> {
    let urls = nodes(values)?;
    let auth = sign_in(values, signed(&urls, values.origin("ELASTICSEARCH_URL"))?)?;
    let urls = urls.into_iter().map(|mut url| {
        // Neither fails for a URL that has a host.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        trimmed(&url)
    });
    let bulk_bytes = 1024..=100 << 20;
    Ok(ElasticConfig {
        urls: urls.collect(),
        auth,
        ca_cert: values.said("ELASTICSEARCH_CA_CERT").map(PathBuf::from),
        client_pem: client_pem(values)?,
        prefix: values.parse(
            "ELASTICSEARCH_INDEX_PREFIX",
            "it should be at most 100 lower-case letters, digits, - or _, and begin with a letter or digit",
            index_prefix,
        )?,
        prefix_said: values.origin("ELASTICSEARCH_INDEX_PREFIX").is_some(),
        // Elasticsearch allows an index at most 1,024 shards.
        shards: values.whole_if_said("ELASTICSEARCH_SHARDS", 1..=1024)?,
        replicas: values.whole_if_said("ELASTICSEARCH_REPLICAS", 0..=100)?,
        // Elasticsearch accepts requests of at most 100 MB, unless configured otherwise (http.max_content_length).
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

/// The client certificate, and its key if that is in a separate file.
fn client_pem(values: &Values) -> Result<Vec<(&'static str, PathBuf)>, Error> {
    const CERT: &str = "ELASTICSEARCH_CLIENT_CERT";
    const KEY: &str = "ELASTICSEARCH_CLIENT_KEY";
    let named: Vec<(&'static str, PathBuf)> = [CERT, KEY]
        .into_iter()
        .filter_map(|name| Some((name, values.said(name)?.into())))
        .collect();
    match named.as_slice() {
        [(KEY, _)] => Err(Error::Missing(vec![CERT])),
        _ => Ok(named),
    }
}

/// The privacy policy. A key that is too short is refused even if nothing needs it yet.
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

#[cfg(test)]
mod tests;
