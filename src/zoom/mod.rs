//! All that speaks HTTP to Zoom. What goes out is paced, what comes back is read tolerantly, and what comes of a bad answer is one
//! [`Error`] that says what to do about it.

mod auth;
pub mod http;
pub mod pace;
pub mod pages;
pub mod wire;

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use backon::BackoffBuilder;
use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::{
    model::{
        AccountId, Clock, DateBasis, Detail, Disposition, Host, HostId, Label, ListedMeeting, Listing,
        ListingType, Malformed, MeetingUuid, PastMeeting, Row, SeriesRow, Window,
    },
    text::Secrets,
};
use http::{Verdict, encode, encode_uuid};
use pace::Pacer;
use pages::Pages;

/// Zoom's API, unless the token's answer or the configuration names another.
pub const DEFAULT_API_URL: &str = "https://api.zoom.us/v2";

/// The largest page that the endpoints we read allow.
const PAGE_SIZE: u64 = 300;

/// The largest answer worth reading, decompressed: a page of 300 rows has well under a megabyte, and as many as there are details in
/// flight are held at once.
pub const ANSWER_LIMIT_BYTES: usize = 16 << 20;

/// Times a list is begun again because its page tokens expired or its pages do not hold together.
const RESTARTS: u32 = 2;

/// Page tokens live for 15 minutes; a listing that would take longer than this is split.
const LISTING_MINUTES: u64 = 12;

/// 429s that one request puts up with, beside its ordinary tries.
const THROTTLES: u32 = 20;

/// How often, and how soon, a request is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Further tries after the first.
    pub times: usize,
    /// Before the first of them; doubled for each one after, and up to as much again is added by chance.
    pub base: Duration,
    /// The longest pause.
    pub max: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            times: 5,
            base: Duration::from_millis(500),
            max: Duration::from_secs(30),
        }
    }
}

impl Retry {
    fn delays(self, seed: u64) -> backon::ExponentialBackoff {
        backon::ExponentialBuilder::default()
            .with_min_delay(self.base)
            .with_max_delay(self.max)
            .with_max_times(self.times)
            .with_jitter()
            .with_jitter_seed(seed)
            .build()
    }
}

/// What the client needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The account of the app.
    pub account_id: AccountId,
    /// The app's client id.
    pub client_id: String,
    /// The app's secret.
    pub client_secret: SecretString,
    /// Where tokens come from.
    pub oauth_url: String,
    /// Where the API is; if not said, where the token's answer says.
    pub api_url: Option<String>,
    /// Tries after the first.
    pub retry: Retry,
    /// For one request, its answer included.
    pub timeout: Duration,
    /// The largest answer that is read.
    pub answer_limit_bytes: usize,
    /// For the chance in the pauses.
    pub seed: u64,
}

impl Settings {
    /// What no message may show.
    fn secrets(&self) -> Secrets {
        Secrets::default().with_basic(self.client_id.trim(), &self.client_secret)
    }
}

/// What Zoom could not or would not do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection, no answer, or a broken one, at every try.
    #[error("Zoom cannot be reached: {said}")]
    Unreachable {
        /// What happened at the last try.
        said: String,
    },
    /// 5xx at every try.
    #[error("Zoom failed with HTTP {status} for {what}")]
    Server {
        /// What was asked.
        what: String,
        /// The last status.
        status: u16,
    },
    /// 429 again and again, without a word about the day.
    #[error("Zoom kept answering 429 for {what}")]
    Throttled {
        /// What was asked.
        what: String,
    },
    /// Zoom says that the day's quota is used up.
    #[error("Zoom's daily quota of this account is used up; come back at {}", crate::model::iso(*resets_at))]
    DailyQuota {
        /// When it is there again.
        resets_at: DateTime<Utc>,
    },
    /// The share of the day's quota that this program may use is used up.
    #[error(
        "this program's share of the account's daily quota is used up (ZOOM_RATE_SHARE); come back at {}",
        crate::model::iso(*resets_at)
    )]
    ShareSpent {
        /// When it is there again.
        resets_at: DateTime<Utc>,
    },
    /// The app's credentials are not accepted.
    #[error(
        "Zoom does not accept the credentials: {said}; check ZOOM_ACCOUNT_ID, ZOOM_CLIENT_ID, ZOOM_CLIENT_SECRET, \
         and that the app is activated"
    )]
    Credentials {
        /// In Zoom's words.
        said: String,
    },
    /// The app lacks scopes.
    #[error(
        "the Zoom app lacks scopes: {message} Add them to the app in the Zoom App Marketplace and activate it again"
    )]
    Scopes {
        /// In Zoom's words, which name them.
        message: String,
    },
    /// The account has no dashboards.
    #[error(
        "this account has no access to Zoom's dashboards ({message}): they need a Business, Education or Enterprise plan with \
         the dashboard switched on, and an app whose role may see it"
    )]
    NoDashboard {
        /// In Zoom's words.
        message: String,
    },
    /// Zoom does not have it (any more).
    #[error("Zoom does not have {what}: {message} (code {code})")]
    NotFound {
        /// What was asked.
        what: String,
        /// Zoom's code.
        code: i64,
        /// In Zoom's words.
        message: String,
    },
    /// Older than what Zoom lets see: twelve months, for a meeting's detail.
    #[error("Zoom no longer shows {what}: it is more than a year old (code 12702)")]
    TooOld {
        /// What was asked.
        what: String,
    },
    /// Something before Zoom refused, with a page for people.
    #[error("Zoom's firewall blocks {what} (HTTP 403 without JSON)")]
    Blocked {
        /// What was asked.
        what: String,
    },
    /// This account's meetings cannot be listed by their end.
    #[error("this account cannot list meetings by their end (code 12700)")]
    EndTimeRefused,
    /// The days are not within Zoom's reach.
    #[error("Zoom does not list {what}: {message}")]
    OutOfReach {
        /// What was asked.
        what: String,
        /// In Zoom's words.
        message: String,
    },
    /// This user may not host.
    #[error("{what}: this user may not host meetings (code 3161)")]
    HostNotAllowed {
        /// What was asked.
        what: String,
    },
    /// A page token was not accepted.
    #[error("Zoom did not accept its own page token for {what}")]
    PageToken {
        /// What was asked.
        what: String,
    },
    /// Too much for one listing.
    #[error("{what} is too long for one listing: its page tokens expire before its {pages} pages are read")]
    ListingTooLong {
        /// What was asked.
        what: String,
        /// How many pages there may be.
        pages: u64,
    },
    /// A page token came twice: following it would never end.
    #[error("Zoom repeats a page token for {what}")]
    RepeatedToken {
        /// What was asked.
        what: String,
    },
    /// The pages of a list do not make one list, at every reading.
    #[error("Zoom's pages for {what} do not hold together: {reason}")]
    Incoherent {
        /// What was asked.
        what: String,
        /// What is wrong.
        reason: String,
    },
    /// An answer that cannot be read, at every try.
    #[error("Zoom's answer for {what} cannot be used: {reason}")]
    Malformed {
        /// What was asked.
        what: String,
        /// What is wrong.
        reason: String,
    },
    /// More than is read of one answer.
    #[error("an answer of Zoom's is larger than {limit_bytes} bytes")]
    TooLarge {
        /// The limit.
        limit_bytes: usize,
    },
    /// Redirects are not followed: the token is for Zoom only.
    #[error("Zoom redirects {what} to {to}, which is not followed; check ZOOM_API_URL")]
    Redirected {
        /// What was asked.
        what: String,
        /// The other host.
        to: String,
    },
    /// Any other refusal.
    #[error("Zoom refused {what}: {message} (HTTP {status}{})", code.map(|code| format!(", code {code}")).unwrap_or_default())]
    Refused {
        /// What was asked.
        what: String,
        /// The status.
        status: u16,
        /// Zoom's code, if there was one.
        code: Option<i64>,
        /// In Zoom's words.
        message: String,
    },
    /// The configuration cannot be used.
    #[error("{0}")]
    Configuration(String),
    /// Nobody counts requests any more: the run is at its end.
    #[error("the run is over")]
    RunOver,
}

impl Error {
    /// What to do about it.
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Unreachable { .. } | Self::Server { .. } | Self::Throttled { .. } => {
                Disposition::Retry { after: None }
            }
            Self::DailyQuota { .. }
            | Self::ShareSpent { .. }
            | Self::Credentials { .. }
            | Self::Scopes { .. }
            | Self::NoDashboard { .. }
            | Self::Configuration(_)
            | Self::RunOver => Disposition::Stop,
            Self::NotFound { .. }
            | Self::TooOld { .. }
            | Self::Blocked { .. }
            | Self::EndTimeRefused
            | Self::OutOfReach { .. }
            | Self::HostNotAllowed { .. }
            | Self::PageToken { .. }
            | Self::ListingTooLong { .. }
            | Self::RepeatedToken { .. }
            | Self::Incoherent { .. }
            | Self::Malformed { .. }
            | Self::TooLarge { .. }
            | Self::Redirected { .. }
            | Self::Refused { .. } => Disposition::Skip,
        }
    }
}

/// The client. One for an account; share it behind an `Arc`.
#[derive(Debug)]
pub struct Zoom {
    settings: Settings,
    client: reqwest::Client,
    tokens: auth::Tokens,
    pacer: Arc<Pacer>,
    clock: Clock,
    requests: AtomicU64,
}

impl Zoom {
    /// Makes the client; asks nothing yet.
    ///
    /// # Errors
    /// [`Error::Configuration`] for a URL that is none.
    pub fn new(settings: Settings, pacer: Arc<Pacer>, clock: Clock) -> Result<Self, Error> {
        for url in settings.api_url.iter().chain([&settings.oauth_url]) {
            reqwest::Url::parse(url)
                .map_err(|error| Error::Configuration(format!("{url:?} is no URL: {error}")))?;
        }
        let client = reqwest::Client::builder()
            .user_agent(concat!("zoom-harvester/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            // Proxies come from the environment, which this module does not read.
            .no_proxy()
            .connect_timeout(Duration::from_secs(10).min(settings.timeout))
            .build()
            .map_err(|error| Error::Configuration(format!("no HTTP client can be made: {error}")))?;
        let (tokens, requests) = (auth::Tokens::default(), AtomicU64::new(0));
        Ok(Self {
            settings,
            client,
            tokens,
            pacer,
            clock,
            requests,
        })
    }

    /// The scopes of the app, as the token's answer names them.
    ///
    /// # Errors
    /// [`Error::Credentials`], or Zoom cannot be reached.
    pub async fn scopes(&self) -> Result<Vec<String>, Error> {
        Ok(self.tokens.get(&self.client, &self.settings).await?.scopes)
    }

    /// Lists the meetings that ended (or began, by `basis`) inside the window: both of Zoom's lists, united by UUID.
    ///
    /// One-person meetings are selected by their start in any case: Zoom documents `query_date_type` for `past` only.
    ///
    /// # Errors
    /// Any; a listing that is not complete is none.
    pub async fn list_meetings(&self, window: Window, basis: DateBasis) -> Result<Listing, Error> {
        let (past, one) = futures::future::try_join(
            self.list_type(window, basis, ListingType::Past),
            self.list_type(window, basis, ListingType::PastOne),
        )
        .await?;
        let mut listing = Listing {
            window: past
                .window
                .intersection(one.window)
                .ok_or_else(|| Error::Malformed {
                    what: format!("meetings of {window}"),
                    reason: format!(
                        "the two lists are for different days: {} and {}",
                        past.window, one.window
                    ),
                })?,
            basis,
            meetings: past.meetings,
            malformed: past.malformed,
            pages: past.pages + one.pages,
        };
        let seen: HashSet<MeetingUuid> = listing
            .meetings
            .iter()
            .map(|meeting| meeting.uuid.clone())
            .collect();
        listing.meetings.extend(
            one.meetings
                .into_iter()
                .filter(|meeting| !seen.contains(&meeting.uuid)),
        );
        listing.malformed.extend(one.malformed);
        Ok(listing)
    }

    async fn list_type(
        &self,
        window: Window,
        basis: DateBasis,
        listing_type: ListingType,
    ) -> Result<Listing, Error> {
        let kind = listing_type.as_str();
        let what = format!("meetings ({kind}) of {window}");
        let mut query = vec![
            ("type", kind.to_owned()),
            ("from", window.from.to_string()),
            ("to", window.to.to_string()),
            ("page_size", PAGE_SIZE.to_string()),
            ("include_fields", "tracking_fields".to_owned()),
        ];
        if basis == DateBasis::EndTime && listing_type == ListingType::Past {
            query.push(("query_date_type", basis.as_str().to_owned()));
        }
        let patience = (window.from != window.to).then_some(LISTING_MINUTES);
        let list = self
            .list(
                Label::ResourceIntensive,
                &what,
                "/metrics/meetings",
                &query,
                "meetings",
                patience,
            )
            .await?;
        let echoed = |name, asked| wire::echoed_day(&list.first, name).unwrap_or(asked);
        let covered = Window::new(echoed("from", window.from), echoed("to", window.to))
            .and_then(|echoed| echoed.intersection(window))
            .ok_or_else(|| Error::Malformed {
                what: what.clone(),
                reason: "it is for other days than asked, by its own from and to".to_owned(),
            })?;
        let (mut meetings, mut malformed) = (Vec::<ListedMeeting>::new(), Vec::new());
        let mut places = std::collections::HashMap::new();
        for (index, (page, value)) in list.rows.iter().enumerate() {
            match wire::listed_meeting(value, listing_type) {
                // On two pages: the list moved while it was read. The later row is the newer one.
                Ok(meeting) => match places.get(&meeting.uuid) {
                    Some(place) => {
                        if let Some(before) = meetings.get_mut::<usize>(*place) {
                            *before = meeting;
                        }
                    }
                    None => {
                        places.insert(meeting.uuid.clone(), meetings.len());
                        meetings.push(meeting);
                    }
                },
                Err(reason) => malformed.push(Malformed {
                    place: format!("row {} of {what}, page {page}", index + 1),
                    reason,
                }),
            }
        }
        if list.missing() > 0 {
            malformed.push(Malformed {
                place: what,
                reason: format!(
                    "Zoom counts {} and shows {}, at two readings; nothing is concluded from what is missing",
                    list.counted,
                    list.rows.len()
                ),
            });
        }
        Ok(Listing {
            window: covered,
            basis,
            meetings,
            malformed,
            pages: list.read,
        })
    }

    /// The account's active hosts in the window.
    ///
    /// # Errors
    /// Any.
    pub async fn list_hosts(&self, window: Window) -> Result<Vec<Host>, Error> {
        let query = [
            ("type", "active".to_owned()),
            ("from", window.from.to_string()),
            ("to", window.to.to_string()),
            ("page_size", PAGE_SIZE.to_string()),
        ];
        let what = format!("active hosts of {window}");
        let list = self
            .list(Label::Heavy, &what, "/report/users", &query, "users", None)
            .await?;
        Ok(list
            .rows
            .iter()
            .filter_map(|(_, value)| wire::host(value))
            .collect())
    }

    /// The series that a host has scheduled.
    ///
    /// # Errors
    /// Any; [`Error::NotFound`] and [`Error::HostNotAllowed`] speak of the host.
    pub async fn list_series(&self, host: &HostId) -> Result<Vec<SeriesRow>, Error> {
        let query = [
            ("type", "scheduled".to_owned()),
            ("page_size", PAGE_SIZE.to_string()),
        ];
        let what = format!("series of host {host}");
        let path = format!("/users/{}/meetings", encode(host.as_str()));
        let list = self
            .list(Label::Medium, &what, &path, &query, "meetings", None)
            .await?;
        if !list.sound() {
            // Whoever is not in it would be taken for unscheduled.
            return Err(Error::Incoherent {
                what,
                reason: format!(
                    "{} rows are counted and not shown, or cannot be read",
                    list.missing()
                ),
            });
        }
        Ok(list
            .rows
            .iter()
            .filter_map(|(_, value)| wire::series(value))
            .collect())
    }

    /// What Zoom remembers of one ended meeting: its host.
    ///
    /// # Errors
    /// Any; [`Error::NotFound`] speaks of the meeting.
    pub async fn past_meeting(&self, uuid: &MeetingUuid) -> Result<PastMeeting, Error> {
        let what = format!("meeting {uuid}");
        let answer = self
            .get(
                Label::Light,
                &what,
                &format!("/past_meetings/{}", encode_uuid(uuid)),
                &[],
            )
            .await?;
        Ok(wire::past_meeting(&answer))
    }

    /// All sessions of a meeting, asked for in the list it stands in.
    ///
    /// # Errors
    /// Any; a detail that is not complete is none.
    pub async fn detail(&self, uuid: &MeetingUuid, listing_type: ListingType) -> Result<Detail, Error> {
        let query = [
            ("type", listing_type.as_str().to_owned()),
            ("page_size", PAGE_SIZE.to_string()),
            ("include_fields", "registrant_id".to_owned()),
        ];
        let what = format!("sessions of meeting {uuid}");
        let path = format!("/metrics/meetings/{}/participants", encode_uuid(uuid));
        let list = self
            .list(Label::Heavy, &what, &path, &query, "participants", None)
            .await?;
        let missing = list.missing();
        let sessions = list
            .rows
            .into_iter()
            .map(|(page, value)| match value {
                Value::Object(row) => Ok(row),
                _ => Err(Error::Malformed {
                    what: what.clone(),
                    reason: format!("a session on page {page} is no object that can be read"),
                }),
            })
            .collect::<Result<_, _>>()?;
        Ok(Detail {
            missing,
            ..Detail::new(uuid.clone(), sessions)
        })
    }

    /// Reads a list to its last page. Expired tokens begin it again, and so do pages that do not hold together. One that shows
    /// fewer rows than it counts, or rows that are none, is read once more, and the better of the two is taken.
    async fn list(
        &self,
        label: Label,
        what: &str,
        path: &str,
        query: &[(&str, String)],
        array: &str,
        patience_minutes: Option<u64>,
    ) -> Result<Pages, Error> {
        let (mut restarts, mut before) = (0, None::<Pages>);
        loop {
            match self
                .read_pages(label, what, path, query, array, patience_minutes)
                .await
            {
                Err(
                    error
                    @ (Error::PageToken { .. } | Error::RepeatedToken { .. } | Error::Incoherent { .. }),
                ) if restarts < RESTARTS => {
                    restarts += 1;
                    tracing::warn!(what, restarts, %error, "reading the list again");
                }
                Ok(list) if !list.sound() => match before.take() {
                    None => {
                        tracing::warn!(
                            what,
                            missing = list.missing(),
                            "rows are missing; reading the list again"
                        );
                        before = Some(list);
                    }
                    Some(before) if before.rows.len() > list.rows.len() => return Ok(before),
                    Some(_) => return Ok(list),
                },
                Err(Error::PageToken { .. }) if patience_minutes.is_some() => {
                    return Err(Error::ListingTooLong {
                        what: what.to_owned(),
                        pages: 0,
                    });
                }
                other => return other,
            }
        }
    }

    async fn read_pages(
        &self,
        label: Label,
        what: &str,
        path: &str,
        query: &[(&str, String)],
        array: &str,
        patience_minutes: Option<u64>,
    ) -> Result<Pages, Error> {
        let mut list = Pages::default();
        loop {
            // Only the token differs from page to page: Zoom wants everything else repeated.
            let mut query = query.to_vec();
            query.extend(list.token().map(|token| ("next_page_token", token.to_owned())));
            let answer = self.get(label, what, path, &query).await?;
            let more = list.take(answer, array).map_err(|fault| match fault {
                pages::Fault::Repeated => Error::RepeatedToken {
                    what: what.to_owned(),
                },
                pages::Fault::Endless => Error::Malformed {
                    what: what.to_owned(),
                    reason: fault.to_string(),
                },
                fault => Error::Incoherent {
                    what: what.to_owned(),
                    reason: fault.to_string(),
                },
            })?;
            if !more {
                return Ok(list);
            }
            if list.read == 1 {
                let total = list.first.get("total_records").and_then(Value::as_u64);
                let pages = total.unwrap_or(0).div_ceil(PAGE_SIZE);
                let readable =
                    patience_minutes.map(|minutes| minutes * u64::from(self.pacer.per_window(label)));
                if readable.is_some_and(|readable| pages > readable) {
                    return Err(Error::ListingTooLong {
                        what: what.to_owned(),
                        pages,
                    });
                }
            }
        }
    }

    /// One request, tried again as long as that makes sense.
    async fn get(
        &self,
        label: Label,
        what: &str,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<Row, Error> {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let mut delays = self
            .settings
            .retry
            .delays(self.settings.seed.wrapping_add(number));
        let (mut throttles, mut renewed) = (0, false);
        loop {
            let token = self.tokens.get(&self.client, &self.settings).await?;
            let permit = self.pacer.acquire(label).await?;
            let begun = tokio::time::Instant::now();
            let request = self
                .client
                .get(self.url(&token, path, query)?)
                .bearer_auth(token.secret.expose_secret())
                .timeout(self.settings.timeout);
            let answer = http::send(request, self.settings.answer_limit_bytes).await;
            drop(permit);
            let verdict = match answer {
                Ok(mut answer) => {
                    let (ms, status) = (begun.elapsed().as_millis() as u64, answer.status.as_u16());
                    tracing::debug!(path, %label, status, ms, "Zoom answered");
                    let hidden = || self.settings.secrets().with(&token.secret);
                    if answer.status.is_success() {
                        match read(&answer, what, hidden) {
                            Ok(row) => return Ok(row),
                            Err(verdict) => verdict,
                        }
                    } else {
                        answer.hide(&hidden());
                        http::judge(&answer, what, label, self.clock.now())
                    }
                }
                Err(error @ Error::Unreachable { .. }) => Verdict::Again(error, None),
                Err(error) => Verdict::Final(error),
            };
            let (error, at_least) = match verdict {
                Verdict::Final(error) => return Err(error),
                Verdict::TooFast(wait) => {
                    throttles += 1;
                    let wait_ms = wait.as_millis() as u64;
                    if self.pacer.throttled(label, wait) {
                        tracing::warn!(what, %label, wait_ms, "Zoom answered 429: slowing down");
                    } else {
                        tracing::debug!(what, %label, wait_ms, "Zoom answered 429 again");
                    }
                    if throttles > THROTTLES {
                        return Err(Error::Throttled {
                            what: what.to_owned(),
                        });
                    }
                    continue;
                }
                Verdict::Unauthorised => {
                    self.tokens.refused(token.generation).await;
                    if !renewed {
                        renewed = true;
                        continue;
                    }
                    (
                        Error::Credentials {
                            said: "the token it has just given is refused".to_owned(),
                        },
                        None,
                    )
                }
                Verdict::Again(error, at_least) => (error, at_least),
            };
            let Some(delay) = delays.next() else {
                return Err(error);
            };
            let delay = delay.max(at_least.unwrap_or_default().min(self.settings.retry.max));
            tracing::warn!(what, %error, delay_ms = delay.as_millis() as u64, "trying again");
            tokio::time::sleep(delay).await;
        }
    }

    fn url(&self, token: &auth::Token, path: &str, query: &[(&str, String)]) -> Result<reqwest::Url, Error> {
        let base = match (&self.settings.api_url, &token.api_url) {
            (Some(configured), _) => configured.clone(),
            (None, Some(regional)) => with_version(regional),
            (None, None) => DEFAULT_API_URL.to_owned(),
        };
        let mut url = format!("{}{path}", base.trim_end_matches('/'));
        for (index, (name, value)) in query.iter().enumerate() {
            url.push(if index == 0 { '?' } else { '&' });
            url.push_str(name);
            url.push('=');
            url.push_str(&encode(value));
        }
        reqwest::Url::parse(&url)
            .map_err(|error| Error::Configuration(format!("{base:?} is no URL: {error}")))
    }
}

/// What a success brings.
fn read(answer: &http::Answer, what: &str, secrets: impl Fn() -> Secrets) -> Result<Row, Verdict> {
    match wire::object(&answer.body) {
        // Zoom sometimes reports an error with a status of 200. None of the answers we ask for has a code of its own.
        Ok(row) if row.contains_key("code") => {
            let (code, message) = wire::error_body(&answer.body).unwrap_or_default();
            let message = secrets().hide(&message).into_owned();
            Err(http::code_means(answer.status.as_u16(), code, &message, what))
        }
        Ok(row) => Ok(row),
        Err(reason) => Err(Verdict::Again(
            Error::Malformed {
                what: what.to_owned(),
                reason,
            },
            None,
        )),
    }
}

/// The token's answer names the host only.
fn with_version(api_url: &str) -> String {
    let api_url = api_url.trim().trim_end_matches('/');
    match reqwest::Url::parse(api_url) {
        Ok(url) if url.path().trim_matches('/').is_empty() => format!("{api_url}/v2"),
        _ => api_url.to_owned(),
    }
}
