//! What flags, environment, `.env` and configuration file mean together. Flags win, then the environment, then `.env`, then the
//! file. Pure: whoever calls has read them.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use secrecy::SecretString;

use crate::model::AccountId;

/// One setting: its name in the environment and in `.env`, its key in the file, and what it means.
#[derive(Debug)]
pub struct Setting {
    /// In the environment and in `.env`.
    pub name: &'static str,
    /// In the file, as `table.key`.
    pub key: &'static str,
    /// What it is if nobody says; empty: nothing.
    pub default: &'static str,
    /// What it means.
    pub help: &'static str,
}

/// Every setting there is. The parser, the hints about unknown keys and the README's reference all come from here.
pub const SETTINGS: &[Setting] = &[
    Setting {
        name: "ZOOM_ACCOUNT_ID",
        key: "zoom.account_id",
        default: "",
        help: "the account id of the Server-to-Server OAuth app",
    },
    Setting {
        name: "ZOOM_CLIENT_ID",
        key: "zoom.client_id",
        default: "",
        help: "its client id",
    },
    Setting {
        name: "ZOOM_CLIENT_SECRET",
        key: "zoom.client_secret",
        default: "",
        help: "its client secret",
    },
    Setting {
        name: "ZOOM_API_URL",
        key: "zoom.api_url",
        default: "",
        help: "Zoom's API; if not said, what the token's answer names, else https://api.zoom.us/v2",
    },
    Setting {
        name: "ZOOM_OAUTH_URL",
        key: "zoom.oauth_url",
        default: "https://zoom.us/oauth/token",
        help: "where tokens come from",
    },
    Setting {
        name: "ZOOM_PLAN",
        key: "zoom.plan",
        default: "business",
        help: "`pro` or `business` (also for Education and Enterprise): sets the rate limits",
    },
    Setting {
        name: "ZOOM_RATE_SHARE",
        key: "zoom.rate_share",
        default: "0.8",
        help: "the share of the account's limits, by label and by day, that this program may use; more than 0, at most 1",
    },
    Setting {
        name: "ZOOM_CONCURRENCY",
        key: "zoom.concurrency",
        default: "64",
        help: "details in flight at most",
    },
    Setting {
        name: "ZOOM_RETRIES",
        key: "zoom.retries",
        default: "5",
        help: "further tries of a request that failed in passing",
    },
    Setting {
        name: "ZOOM_RETRY_MS",
        key: "zoom.retry_ms",
        default: "500",
        help: "the pause before the first of them, in milliseconds; doubled each time",
    },
    Setting {
        name: "ZOOM_TIMEOUT_S",
        key: "zoom.timeout_s",
        default: "60",
        help: "for one request, in seconds",
    },
    Setting {
        name: "ELASTICSEARCH_URL",
        key: "elasticsearch.url",
        default: "",
        help: "Elasticsearch or OpenSearch; credentials in it are used and never printed. Without it the harvest goes into the catalog only",
    },
    Setting {
        name: "ELASTICSEARCH_API_KEY",
        key: "elasticsearch.api_key",
        default: "",
        help: "an API key in its encoded form; goes before user and password",
    },
    Setting {
        name: "ELASTICSEARCH_USER",
        key: "elasticsearch.user",
        default: "",
        help: "user",
    },
    Setting {
        name: "ELASTICSEARCH_PASSWORD",
        key: "elasticsearch.password",
        default: "",
        help: "password",
    },
    Setting {
        name: "ELASTICSEARCH_CA_CERT",
        key: "elasticsearch.ca_cert",
        default: "",
        help: "a PEM file with the authority to trust",
    },
    Setting {
        name: "ELASTICSEARCH_INDEX_PREFIX",
        key: "elasticsearch.index_prefix",
        default: "zoom",
        help: "what the names of indices, aliases and templates begin with",
    },
    Setting {
        name: "ELASTICSEARCH_SHARDS",
        key: "elasticsearch.shards",
        default: "1",
        help: "primary shards of an index",
    },
    Setting {
        name: "ELASTICSEARCH_REPLICAS",
        key: "elasticsearch.replicas",
        default: "1",
        help: "replicas of each",
    },
    Setting {
        name: "ELASTICSEARCH_BULK_BYTES",
        key: "elasticsearch.bulk_bytes",
        default: "5242880",
        help: "the largest bulk body, in bytes",
    },
    Setting {
        name: "ELASTICSEARCH_BULK_REQUESTS",
        key: "elasticsearch.bulk_requests",
        default: "2",
        help: "bulk requests at once",
    },
    Setting {
        name: "ELASTICSEARCH_COMPRESSION",
        key: "elasticsearch.compression",
        default: "true",
        help: "`true` or `false`: whether bodies are sent compressed",
    },
    Setting {
        name: "ELASTICSEARCH_RETRIES",
        key: "elasticsearch.retries",
        default: "5",
        help: "further tries of what Elasticsearch could not take in passing",
    },
    Setting {
        name: "ELASTICSEARCH_TIMEOUT_S",
        key: "elasticsearch.timeout_s",
        default: "60",
        help: "for one request, in seconds",
    },
    Setting {
        name: "ZOOM_HARVESTER_DB",
        key: "harvester.db",
        default: "harvester.db",
        help: "the catalog",
    },
    Setting {
        name: "ZOOM_HARVESTER_WEEKLY_DAYS",
        key: "harvester.weekly_days",
        default: "7",
        help: "every how many days the last 30 days are listed again whole, settled or not",
    },
];

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A flag.
    Flag,
    /// The environment.
    Environment,
    /// `.env`.
    Dotenv,
    /// The configuration file.
    File(PathBuf),
    /// Nobody said.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("a flag"),
            Self::Environment => f.write_str("the environment"),
            Self::Dotenv => f.write_str(".env"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Default => f.write_str("the default"),
        }
    }
}

/// What is wrong with the configuration, in one line.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// A key nobody knows.
    #[error("{origin} sets {key}, which is unknown; {}", hint(nearest))]
    Unknown {
        /// The key.
        key: String,
        /// Where it stands.
        origin: Origin,
        /// What may be meant.
        nearest: Option<String>,
    },
    /// A value that cannot be used.
    #[error("{name} (from {origin}) is {value:?}: {wanted}")]
    Value {
        /// The setting.
        name: &'static str,
        /// Where it comes from.
        origin: Origin,
        /// The value; never a secret's.
        value: String,
        /// What it should be.
        wanted: &'static str,
    },
    /// Settings without which the command cannot run.
    #[error("missing: {}; set them in the environment, in .env or in the --config file", .0.join(", "))]
    Missing(Vec<&'static str>),
    /// A file that cannot be read.
    #[error("{0}")]
    File(String),
}

fn hint(nearest: &Option<String>) -> String {
    match nearest {
        Some(nearest) => format!("did you mean {nearest}?"),
        None => "the README lists the known ones".to_owned(),
    }
}

/// What was read.
#[derive(Debug, Default)]
pub struct Inputs {
    /// `--db`, if given.
    pub db: Option<String>,
    /// The environment.
    pub environment: Vec<(String, String)>,
    /// `.env`.
    pub dotenv: Vec<(String, String)>,
    /// The configuration file and its text.
    pub file: Option<(PathBuf, String)>,
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
    /// The share of its limits.
    pub rate_share: f64,
    /// Details in flight.
    pub concurrency: usize,
    /// Further tries.
    pub retries: usize,
    /// The first pause.
    pub retry_ms: u64,
    /// For one request.
    pub timeout_s: u64,
    /// Elasticsearch, if there is one.
    pub elastic: Option<ElasticConfig>,
    /// The catalog.
    pub db: PathBuf,
    /// Whether the catalog was named, or is the default.
    pub db_said: bool,
    /// Days between whole listings.
    pub weekly_days: i64,
}

/// The values as they were said, each with its origin.
struct Values(BTreeMap<&'static str, (String, Origin)>);

impl Values {
    fn text(&self, name: &'static str) -> Option<(String, Origin)> {
        self.0.get(name).cloned().or_else(|| {
            let setting = SETTINGS.iter().find(|setting| setting.name == name)?;
            (!setting.default.is_empty()).then(|| (setting.default.to_owned(), Origin::Default))
        })
    }

    fn said(&self, name: &'static str) -> Option<String> {
        self.text(name).map(|(value, _)| value)
    }

    fn parse<T>(
        &self,
        name: &'static str,
        wanted: &'static str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<T, Error> {
        let (value, origin) = self.text(name).unwrap_or((String::new(), Origin::Default));
        read(&value).ok_or(Error::Value {
            name,
            origin,
            value,
            wanted,
        })
    }

    fn url(&self, name: &'static str) -> Result<Option<url::Url>, Error> {
        let Some((value, origin)) = self.text(name) else {
            return Ok(None);
        };
        match url::Url::parse(&value) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(Some(url)),
            _ => Err(Error::Value {
                name,
                origin,
                value: without_userinfo(&value),
                wanted: "it should be a URL that begins with http:// or https://",
            }),
        }
    }
}

/// Even of a URL that is none, nothing before an `@` is shown.
fn without_userinfo(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((_, rest)) => format!("…@{rest}"),
        None => text.to_owned(),
    }
}

impl Config {
    /// Puts together what was read.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn new(inputs: &Inputs) -> Result<Self, Error> {
        let values = gather(inputs)?;
        let elastic = match values.url("ELASTICSEARCH_URL")? {
            Some(url) => Some(elastic(&values, url)?),
            None => None,
        };
        let trimmed = |url: url::Url| url.as_str().trim_end_matches('/').to_owned();
        let whole = "it should be a whole number above 0";
        Ok(Self {
            account_id: values.said("ZOOM_ACCOUNT_ID"),
            client_id: values.said("ZOOM_CLIENT_ID"),
            client_secret: values.said("ZOOM_CLIENT_SECRET").map(SecretString::from),
            api_url: values.url("ZOOM_API_URL")?.map(trimmed),
            oauth_url: values.url("ZOOM_OAUTH_URL")?.map(trimmed).unwrap_or_default(),
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
            concurrency: values.parse("ZOOM_CONCURRENCY", whole, positive)?,
            retries: values.parse("ZOOM_RETRIES", "it should be a whole number", |text| {
                text.parse().ok()
            })?,
            retry_ms: values.parse("ZOOM_RETRY_MS", whole, positive)?,
            timeout_s: values.parse("ZOOM_TIMEOUT_S", whole, positive)?,
            elastic,
            db: values.said("ZOOM_HARVESTER_DB").unwrap_or_default().into(),
            db_said: values.0.contains_key("ZOOM_HARVESTER_DB"),
            weekly_days: values.parse("ZOOM_HARVESTER_WEEKLY_DAYS", whole, |text| {
                positive::<u16>(text).map(i64::from)
            })?,
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

fn positive<T: std::str::FromStr + PartialOrd + From<u8>>(text: &str) -> Option<T> {
    text.parse().ok().filter(|number| *number > T::from(0))
}

fn elastic(values: &Values, mut url: url::Url) -> Result<ElasticConfig, Error> {
    let decode = |text: &str| {
        percent_encoding::percent_decode_str(text)
            .decode_utf8_lossy()
            .into_owned()
    };
    let in_url = (!url.username().is_empty()).then(|| {
        (
            decode(url.username()),
            SecretString::from(decode(url.password().unwrap_or_default())),
        )
    });
    // Neither fails for a URL that has a host.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    let auth = match (
        values.said("ELASTICSEARCH_API_KEY"),
        values.said("ELASTICSEARCH_USER"),
        in_url,
    ) {
        (Some(key), _, _) => ElasticAuth::ApiKey(key.into()),
        (None, Some(user), _) => {
            let password = values
                .said("ELASTICSEARCH_PASSWORD")
                .ok_or(Error::Missing(vec!["ELASTICSEARCH_PASSWORD"]))?;
            ElasticAuth::Basic(user, password.into())
        }
        (None, None, Some((user, password))) => ElasticAuth::Basic(user, password),
        (None, None, None) => ElasticAuth::None,
    };
    let whole = "it should be a whole number above 0";
    Ok(ElasticConfig {
        url: url.as_str().trim_end_matches('/').to_owned(),
        auth,
        ca_cert: values.said("ELASTICSEARCH_CA_CERT").map(PathBuf::from),
        prefix: values.parse(
            "ELASTICSEARCH_INDEX_PREFIX",
            "it should be lower-case letters, digits, - or _, and begin with a letter or digit",
            |text| {
                let allowed =
                    |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
                (text.len() <= 100 && text.chars().all(allowed) && !text.starts_with(['-', '_']))
                    .then(|| text.to_owned())
            },
        )?,
        prefix_said: values.0.contains_key("ELASTICSEARCH_INDEX_PREFIX"),
        shards: values.parse("ELASTICSEARCH_SHARDS", whole, positive)?,
        replicas: values.parse("ELASTICSEARCH_REPLICAS", "it should be a whole number", |text| {
            text.parse().ok()
        })?,
        bulk_bytes: values.parse(
            "ELASTICSEARCH_BULK_BYTES",
            "it should be a number of bytes, at least 1024",
            |text| text.parse().ok().filter(|bytes| *bytes >= 1024),
        )?,
        bulk_requests: values.parse("ELASTICSEARCH_BULK_REQUESTS", whole, positive)?,
        compression: values.parse(
            "ELASTICSEARCH_COMPRESSION",
            "it should be true or false",
            |text| text.parse().ok(),
        )?,
        retries: values.parse("ELASTICSEARCH_RETRIES", "it should be a whole number", |text| {
            text.parse().ok()
        })?,
        timeout_s: values.parse("ELASTICSEARCH_TIMEOUT_S", whole, positive)?,
    })
}

/// Collects what was said, strongest last; refuses what nobody knows.
fn gather(inputs: &Inputs) -> Result<Values, Error> {
    let mut values = BTreeMap::new();
    // A trailing newline in a secret is a known trap; and an empty value says nothing.
    let mut say = |setting: &Setting, value: &str, origin: &Origin| {
        if !value.trim().is_empty() {
            values.insert(setting.name, (value.trim().to_owned(), origin.clone()));
        }
    };
    if let Some((path, text)) = &inputs.file {
        let origin = Origin::File(path.clone());
        for (key, value) in flat(path, text)? {
            let setting = SETTINGS.iter().find(|setting| setting.key == key);
            let setting = setting.ok_or_else(|| unknown(&key, &origin, |setting| setting.key))?;
            say(setting, &value, &origin);
        }
    }
    for (name, value) in &inputs.dotenv {
        match SETTINGS.iter().find(|setting| setting.name == name) {
            Some(setting) => say(setting, value, &Origin::Dotenv),
            // Other programs may share the file, but not our names.
            None if name.starts_with("ZOOM_") || name.starts_with("ELASTICSEARCH_") => {
                return Err(unknown(name, &Origin::Dotenv, |setting| setting.name));
            }
            None => {}
        }
    }
    for (name, value) in &inputs.environment {
        match SETTINGS.iter().find(|setting| setting.name == name) {
            Some(setting) => say(setting, value, &Origin::Environment),
            // The environment is everybody's: only what must be meant for us is refused.
            None => {
                let near = |setting: &Setting| strsim::levenshtein(setting.name, name) <= 2;
                if name.starts_with("ZOOM_HARVESTER_") || SETTINGS.iter().any(near) {
                    return Err(unknown(name, &Origin::Environment, |setting| setting.name));
                }
            }
        }
    }
    if let (Some(db), Some(setting)) = (
        &inputs.db,
        SETTINGS
            .iter()
            .find(|setting| setting.name == "ZOOM_HARVESTER_DB"),
    ) {
        say(setting, db, &Origin::Flag);
    }
    Ok(Values(values))
}

fn unknown(key: &str, origin: &Origin, known_as: impl Fn(&Setting) -> &'static str) -> Error {
    let nearest = SETTINGS
        .iter()
        .map(known_as)
        .map(|known| (strsim::levenshtein(known, key), known))
        .min()
        .filter(|(distance, _)| *distance <= 8)
        .map(|(_, known)| known.to_owned());
    Error::Unknown {
        key: key.to_owned(),
        origin: origin.clone(),
        nearest,
    }
}

/// `table.key` and value of every entry of the file.
fn flat(path: &std::path::Path, text: &str) -> Result<Vec<(String, String)>, Error> {
    let wrong = |what: String| Error::File(format!("{}: {what}", path.display()));
    // Only the message's first line and the place: the rest would quote the line, which may hold a secret.
    let root: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        let line = error.span().map_or(1, |span| {
            text.get(..span.start).unwrap_or_default().lines().count().max(1)
        });
        wrong(format!("line {line} is no valid TOML ({})", error.message()))
    })?;
    let mut entries = Vec::new();
    for (table, value) in root {
        let toml::Value::Table(inner) = value else {
            entries.push((table, String::new()));
            continue;
        };
        for (key, value) in inner {
            let text = match value {
                toml::Value::String(text) => text,
                toml::Value::Integer(number) => number.to_string(),
                toml::Value::Float(number) => number.to_string(),
                toml::Value::Boolean(flag) => flag.to_string(),
                _ => {
                    return Err(wrong(format!(
                        "{table}.{key} should be text, a number, true or false"
                    )));
                }
            };
            entries.push((format!("{table}.{key}"), text));
        }
    }
    Ok(entries)
}

/// The reference, as the README shows it.
pub fn reference_markdown() -> String {
    let mut table =
        "| variable | key in the file | default | meaning |\n| --- | --- | --- | --- |\n".to_owned();
    for setting in SETTINGS {
        let default = if setting.default.is_empty() {
            String::new()
        } else {
            format!("`{}`", setting.default)
        };
        table.push_str(&format!(
            "| `{}` | `{}` | {default} | {} |\n",
            setting.name, setting.key, setting.help
        ));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn file(text: &str) -> Option<(PathBuf, String)> {
        Some((PathBuf::from("harvester.toml"), text.to_owned()))
    }

    #[test]
    fn flags_win_then_environment_then_dotenv_then_file() {
        let mut inputs = Inputs {
            file: file("[harvester]\ndb = \"file.db\"\n[zoom]\nplan = \"pro\""),
            ..Inputs::default()
        };
        let db = |inputs: &Inputs| Config::new(inputs).unwrap().db.display().to_string();
        assert_eq!(db(&inputs), "file.db");
        assert_eq!(Config::new(&inputs).unwrap().plan, Plan::Pro);
        inputs.dotenv = pairs(&[("ZOOM_HARVESTER_DB", "dotenv.db"), ("OTHER", "x")]);
        assert_eq!(db(&inputs), "dotenv.db");
        inputs.environment = pairs(&[("ZOOM_HARVESTER_DB", "environment.db"), ("ZOOM_PLAN", "")]);
        assert_eq!(db(&inputs), "environment.db");
        assert_eq!(
            Config::new(&inputs).unwrap().plan,
            Plan::Pro,
            "an empty value says nothing"
        );
        inputs.db = Some("flag.db".to_owned());
        assert_eq!(db(&inputs), "flag.db");
    }

    #[test]
    fn what_is_wrong_is_said_in_one_line_and_shows_no_secret() {
        let said = |inputs: Inputs| Config::new(&inputs).unwrap_err().to_string();
        let environment = |name: &str, value: &str| Inputs {
            environment: pairs(&[(name, value)]),
            ..Inputs::default()
        };
        let lines = [
            said(Inputs {
                file: file("[zoom]\nacount_id = \"a\""),
                ..Inputs::default()
            }),
            said(Inputs {
                file: file("[zoom]\nclient_secret = \"hush"),
                ..Inputs::default()
            }),
            said(Inputs {
                file: file("plan = \"pro\""),
                ..Inputs::default()
            }),
            said(Inputs {
                dotenv: pairs(&[("ZOOM_CLIENT_SECRETS", "hush")]),
                ..Inputs::default()
            }),
            said(environment("ZOOM_HARVESTER_DATABASE", "x")),
            said(environment("ELASTICSEARCH_URI", "http://x")),
            said(environment("ZOOM_PLAN", "enterprise")),
            said(environment("ZOOM_RATE_SHARE", "1.5")),
            said(environment("ELASTICSEARCH_URL", "user:hush@localhost:9200")),
            said(Inputs {
                environment: pairs(&[
                    ("ELASTICSEARCH_URL", "http://localhost:9200"),
                    ("ELASTICSEARCH_INDEX_PREFIX", "Zoom"),
                ]),
                ..Inputs::default()
            }),
            Config::new(&environment("ZOOM_CLIENT_ID", "x"))
                .unwrap()
                .zoom_credentials()
                .unwrap_err()
                .to_string(),
        ];
        let all = lines.join("\n");
        assert!(!all.contains("hush"), "{all}");
        insta::assert_snapshot!(all);
    }

    #[test]
    fn credentials_in_the_url_are_used_and_not_shown() {
        let inputs = Inputs {
            environment: pairs(&[(
                "ELASTICSEARCH_URL",
                "https://elastic:p%40ss@search.example.edu:9200/",
            )]),
            ..Inputs::default()
        };
        let elastic = Config::new(&inputs).unwrap().elastic.unwrap();
        assert_eq!(elastic.url, "https://search.example.edu:9200");
        let ElasticAuth::Basic(user, password) = &elastic.auth else {
            panic!("{:?}", elastic.auth)
        };
        assert_eq!(
            (user.as_str(), secrecy::ExposeSecret::expose_secret(password)),
            ("elastic", "p@ss")
        );
        assert!(!format!("{elastic:?}").contains("p@ss"));
    }

    #[test]
    fn the_reference_names_every_setting() {
        insta::assert_snapshot!(reference_markdown());
    }
}
