//! Every setting: name, key, default and meaning; and the suggestion for a misspelt name.

/// One setting: its name in the environment and in `.env`, its key in the file, and what it means.
#[derive(Debug, PartialEq, Eq)]
pub struct Setting {
    /// In the environment and in `.env`.
    pub name: &'static str,
    /// In the file, as `table.key`.
    pub key: &'static str,
    /// The default; empty if there is none.
    pub default: &'static str,
    /// What it means.
    pub help: &'static str,
    /// Whether its value must never be shown.
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

/// Every setting there is. The parser, the hints about unknown keys and the reference in docs/configuration.md all come from here.
#[rustfmt::skip] // A table: one setting, one place to look.
pub static SETTINGS: [Setting; 55] = [
    open("ZOOM_ACCOUNT_ID", "zoom.account_id", "",
        "the account id of the Server-to-Server OAuth app"),
    open("ZOOM_CLIENT_ID", "zoom.client_id", "",
        "its client id"),
    secret("ZOOM_CLIENT_SECRET", "zoom.client_secret",
        "its client secret"),
    secret("ZOOM_WEBHOOK_SECRET_TOKEN", "zoom.webhook_secret_token",
        "the secret token of the app's webhooks, for `watch --listen`"),
    open("ZOOM_API_URL", "zoom.api_url", "",
        "Zoom's API, by https unless on this machine; if unset, what the token's answer names, else `https://api.zoom.us/v2`"),
    open("ZOOM_OAUTH_URL", "zoom.oauth_url", "https://zoom.us/oauth/token",
        "where tokens come from, by https unless on this machine"),
    open("ZOOM_PLAN", "zoom.plan", "business",
        "`pro` or `business` (also for Education and Enterprise): sets the rate limits"),
    open("ZOOM_SOURCE", "zoom.source", "auto",
        "where meetings are asked for: `dashboard`, `reports`, or `auto`: the dashboards where they answer, else the reports, and with `ZOOM_PLAN=pro` the reports"),
    open("ZOOM_RATE_SHARE", "zoom.rate_share", "0.8",
        "the share of the account's limits, by label and by day, that this program may use; more than 0, at most 1"),
    open("ZOOM_CONCURRENCY", "zoom.concurrency", "64",
        "details fetched in parallel, at most"),
    open("ZOOM_RETRIES", "zoom.retries", "5",
        "retries of a request after a temporary failure"),
    open("ZOOM_RETRY_MS", "zoom.retry_ms", "500",
        "the backoff before the first retry, in milliseconds; doubled for each further one"),
    open("ZOOM_TIMEOUT_S", "zoom.timeout_s", "60",
        "timeout of one request, in seconds"),
    open("ELASTICSEARCH_URL", "elasticsearch.url", "",
        "Elasticsearch or OpenSearch, or several of its nodes separated by commas; credentials in it are used and never printed. Without it the harvest goes into the catalog only"),
    open("ELASTICSEARCH_CLOUD_ID", "elasticsearch.cloud_id", "",
        "in its place, the Cloud ID of a deployment in Elastic Cloud"),
    secret("ELASTICSEARCH_API_KEY", "elasticsearch.api_key",
        "an API key in its encoded form; preferred to user and password"),
    open("ELASTICSEARCH_USER", "elasticsearch.user", "",
        "user"),
    secret("ELASTICSEARCH_PASSWORD", "elasticsearch.password",
        "password"),
    open("ELASTICSEARCH_CA_CERT", "elasticsearch.ca_cert", "",
        "a PEM file with an authority to trust, beside those that this machine trusts"),
    open("ELASTICSEARCH_CLIENT_CERT", "elasticsearch.client_cert", "",
        "a PEM file with a certificate to show, for clusters that ask for one"),
    open("ELASTICSEARCH_CLIENT_KEY", "elasticsearch.client_key", "",
        "a PEM file with its private key, without a password, if it is not in the same file"),
    open("ELASTICSEARCH_INDEX_PREFIX", "elasticsearch.index_prefix", "zoom",
        "what the names of indices and aliases begin with"),
    open("ELASTICSEARCH_INDEX_PERIOD", "elasticsearch.index_period", "none",
        "`none`: one index of each kind for all years; `year`: one for the meetings that ended in a year"),
    open("ELASTICSEARCH_SHARDS", "elasticsearch.shards", "",
        "primary shards of an index; unset: as your index templates say, or the server"),
    open("ELASTICSEARCH_REPLICAS", "elasticsearch.replicas", "",
        "replicas of each; unset: as your index templates say, or the server"),
    open("ELASTICSEARCH_BULK_BYTES", "elasticsearch.bulk_bytes", "5MiB",
        "the largest bulk body, in bytes or with a unit: `800KiB`, `5MiB`"),
    open("ELASTICSEARCH_BULK_REQUESTS", "elasticsearch.bulk_requests", "2",
        "bulk requests in parallel"),
    open("ELASTICSEARCH_COMPRESSION", "elasticsearch.compression", "true",
        "`true` or `false`: whether bodies are sent compressed"),
    open("ELASTICSEARCH_RETRIES", "elasticsearch.retries", "5",
        "retries of what Elasticsearch could not take for the moment"),
    open("ELASTICSEARCH_TIMEOUT_S", "elasticsearch.timeout_s", "60",
        "timeout of one request, in seconds"),
    open("ZOOM_HARVESTER_DB", "harvester.db", "harvester.db",
        "the catalog; also `--db`"),
    open("ZOOM_HARVESTER_PROXY", "network.proxy", "",
        "`http://user:password@host:port` for all that leaves this machine, or `none`; if unset, `HTTPS_PROXY`, `HTTP_PROXY` and `ALL_PROXY` are read; `NO_PROXY` is always"),
    open("ZOOM_HARVESTER_WEBINARS", "harvester.webinars", "false",
        "`true` or `false`: whether webinars are harvested as well"),
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

pub(super) fn setting(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}

pub(super) fn nearest_name(name: &str) -> Option<&'static str> {
    nearest(name, SETTINGS.iter().map(|setting| setting.name))
}

/// The nearest `table.key`, for a key in no table or in the wrong one, for a misspelt key, or for a variable's name.
pub(super) fn nearest_key(key: &str) -> Option<&'static str> {
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

/// The nearest known name, if one is near enough to be meant: at most a third of the letters may differ.
fn nearest(said: &str, known: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    known
        .map(|known| (strsim::damerau_levenshtein(known, said), known))
        .min()
        .filter(|(distance, _)| *distance <= said.len().div_ceil(3))
        .map(|(_, known)| known)
}

/// The reference, as docs/configuration.md shows it.
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
