//! The HTTP client for Zoom. Requests are paced, answers are read tolerantly, and every failure becomes one [`Error`] that says what to do
//! about it.

mod auth;
mod date;
mod error;
mod history;
pub mod http;
mod lists;
pub mod pace;
pub mod pages;
mod reports;
mod request;
pub mod traffic;
pub mod wire;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use backon::BackoffBuilder;
use secrecy::SecretString;
use tokio::sync::OnceCell;

pub use date::{FARTHEST, ZoomDate};
pub use error::Error;
pub use history::{FindNews, HistoryUse, KnownOfWindow};

use crate::{
    model::{
        AccountId, Clock, DateBasis, Detail, Host, HostId, Label, ListedMeeting, Listing, ListingPage,
        ListingType, Malformed, MeetingKind, MeetingUuid, PastMeeting, Row, SeriesRow, Shown, Source,
        Webinars, Window,
    },
    network::{Authorities, Proxies, Way},
    untrusted::Secrets,
};
use http::{encode, encode_uuid};
use lists::{ListRequest, Sink};
use pace::Pacer;

/// The default URL of Zoom's API. The token's answer or the configuration may name another.
pub const DEFAULT_API_URL: &str = "https://api.zoom.us/v2";

/// The largest page size that the endpoints in use allow.
const PAGE_SIZE: u64 = 300;

/// The largest answer that is read, decompressed. A page of 300 rows has well under a megabyte. One answer per detail in flight is held at the same
/// time.
pub const ANSWER_LIMIT_BYTES: usize = 16 << 20;

/// The longest time that a listing may take. A longer listing is split, because page tokens live for 15 minutes.
const LISTING_MINUTES: u64 = 12;

/// How often and how soon a request is retried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// The number of retries after the first attempt.
    pub times: usize,
    /// The pause before the first retry. It doubles with each retry, and random jitter of up to the same length is added.
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

/// The way to a URL that was already checked.
fn way(proxies: &Proxies, url: &str) -> Way {
    match reqwest::Url::parse(url) {
        Ok(url) => proxies.way(&url),
        Err(_) => Way::Direct("not a URL"),
    }
}

/// The settings of the client.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The account of the app.
    pub account_id: AccountId,
    /// The app's client id.
    pub client_id: String,
    /// The app's secret.
    pub client_secret: SecretString,
    /// The URL that issues tokens.
    pub oauth_url: String,
    /// The URL of the API. If unset, the token's answer names it.
    pub api_url: Option<String>,
    /// How requests are retried.
    pub retry: Retry,
    /// The timeout of one request, including its answer.
    pub timeout: Duration,
    /// The largest answer that is read.
    pub answer_limit_bytes: usize,
    /// The proxies to use.
    pub proxies: Proxies,
    /// Certificate authorities to trust in addition to the usual ones.
    pub authorities: Authorities,
    /// The source of meetings. If unset, the dashboards are used if they answer, otherwise the reports.
    pub source: Option<Source>,
    /// Whether webinars are harvested as well.
    pub webinars: bool,
    /// Where requests are counted.
    pub traffic: Arc<traffic::Traffic>,
    /// The seed of the random jitter in the pauses.
    pub seed: u64,
}

impl Settings {
    /// The secrets that no message may show.
    fn secrets(&self) -> Secrets {
        let secrets = Secrets::default().with_basic(self.client_id.trim(), &self.client_secret);
        self.proxies.hidden_with(&secrets)
    }
}

/// The client. Use one per account and share it behind an `Arc`.
#[derive(Debug)]
pub struct Zoom {
    settings: Settings,
    client: reqwest::Client,
    tokens: auth::Tokens,
    pacer: Arc<Pacer>,
    clock: Clock,
    requests: AtomicU64,
    by_reports: AtomicBool,
    /// Whether the client may fall back from the dashboards to the reports.
    may_fall_back: AtomicBool,
    /// Whether the account's newest meeting came from the reports.
    by_reports_before: AtomicBool,
    /// Set once the app's scopes were checked to choose the source.
    scopes_seen: OnceCell<()>,
    /// Whether the fallback was already reported.
    told: AtomicBool,
    /// Whether the account is known to have no webinars. They are then not requested.
    no_webinars: AtomicBool,
}

impl Zoom {
    /// Makes the client. It sends no request yet.
    ///
    /// # Errors
    /// [`Error::Configuration`] if a URL is invalid or the HTTP client cannot be made.
    pub fn new(settings: Settings, pacer: Arc<Pacer>, clock: Clock) -> Result<Self, Error> {
        for url in settings.api_url.iter().chain([&settings.oauth_url]) {
            reqwest::Url::parse(url)
                .map_err(|error| Error::Configuration(format!("{url:?} is no URL: {error}")))?;
        }
        let builder = reqwest::Client::builder()
            .user_agent(concat!("zoom-harvester/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            // reqwest would read proxies from the environment. Here they come from the settings.
            .no_proxy()
            .proxy(settings.proxies.for_client())
            .connect_timeout(Duration::from_secs(10).min(settings.timeout));
        let trusted = settings.authorities.0.iter();
        let trusted = trusted.filter_map(|der| reqwest::Certificate::from_der(der).ok());
        let client = trusted
            .fold(builder, reqwest::ClientBuilder::add_root_certificate)
            .build()
            .map_err(|error| Error::Configuration(format!("no HTTP client can be made: {error}")))?;
        let (tokens, requests) = (auth::Tokens::default(), AtomicU64::new(0));
        Ok(Self {
            by_reports: AtomicBool::new(settings.source == Some(Source::Reports)),
            may_fall_back: AtomicBool::new(settings.source.is_none()),
            by_reports_before: AtomicBool::new(false),
            scopes_seen: OnceCell::new(),
            told: AtomicBool::new(false),
            no_webinars: AtomicBool::new(false),
            settings,
            client,
            tokens,
            pacer,
            clock,
            requests,
        })
    }

    /// The way that a request to the API takes. If the API is not known yet, the way to the URL that issues tokens.
    pub fn way(&self) -> Way {
        let url = self.settings.api_url.as_ref().unwrap_or(&self.settings.oauth_url);
        way(&self.settings.proxies, url)
    }

    /// The scopes of the app, as the token's answer names them.
    ///
    /// # Errors
    /// [`Error::Credentials`], or an error if Zoom cannot be reached.
    pub async fn scopes(&self) -> Result<Vec<String>, Error> {
        Ok(self.token().await?.scopes)
    }

    /// This machine's clock, compared with the `Date` header of the token's answer.
    ///
    /// # Errors
    /// As [`Zoom::scopes`].
    pub async fn date(&self) -> Result<ZoomDate, Error> {
        Ok(self.token().await?.date)
    }

    /// Gets the token before the first request, so that the clock follows Zoom's before anything is planned. If this fails, the first request
    /// returns the error.
    pub async fn sign_in(&self) {
        self.tokens
            .get_ahead(&self.client, &self.settings, &self.clock)
            .await;
    }

    async fn token(&self) -> Result<auth::Token, Error> {
        self.tokens.get(&self.client, &self.settings, &self.clock).await
    }

    /// The source of meetings, as far as it is known.
    pub fn source(&self) -> Source {
        if self.by_reports.load(Ordering::Relaxed) {
            Source::Reports
        } else {
            Source::Dashboard
        }
    }

    /// Whether meetings are listed host by host (by the reports), as far as it is known.
    pub fn lists_host_by_host(&self) -> bool {
        self.source() == Source::Reports || self.by_reports_before.load(Ordering::Relaxed)
    }

    /// Tells the client which source gave the account's newest meeting. After the dashboards it never falls back to the reports by itself. After the
    /// reports it does not try the dashboards while the app has no scope for them.
    pub fn harvested_before(&self, source: Option<Source>) {
        if source == Some(Source::Dashboard) {
            self.may_fall_back.store(false, Ordering::Relaxed);
        }
        let by_reports = source == Some(Source::Reports);
        self.by_reports_before.store(by_reports, Ordering::Relaxed);
    }

    /// Whether webinars are harvested as well.
    pub fn webinars(&self) -> bool {
        self.settings.webinars
    }

    /// Makes the client request no webinars in this run, because Zoom refused them recently.
    pub fn skip_webinars(&self) {
        self.no_webinars.store(true, Ordering::Relaxed);
    }

    /// The source to use. Checks the app's scopes first if they decide it.
    ///
    /// # Errors
    /// As [`Zoom::scopes`].
    async fn chosen_source(&self) -> Result<Source, Error> {
        if self.may_fall_back.load(Ordering::Relaxed) && self.by_reports_before.load(Ordering::Relaxed) {
            let look = async || {
                let scopes = self.scopes().await?;
                let may = |area: &str| scopes.iter().any(|scope| scope.starts_with(area));
                if !may("dashboard") && may("report:") {
                    self.by_reports.store(true, Ordering::Relaxed);
                }
                Ok::<_, Error>(())
            };
            self.scopes_seen.get_or_try_init(look).await?;
        }
        Ok(self.source())
    }

    /// Falls back from the dashboards to the reports if this error is a reason to. Returns whether it did.
    fn falls_back(&self, error: &Error) -> bool {
        let refused = match error {
            Error::NoDashboard { .. } => true,
            Error::Scopes { message } => message.contains("dashboard"),
            _ => false,
        };
        let falls_back = refused && self.may_fall_back.load(Ordering::Relaxed);
        if falls_back {
            self.by_reports.store(true, Ordering::Relaxed);
        }
        falls_back
    }

    /// Lists the meetings of the window, by the dashboards or by the reports. `see` gets each page as it arrives, so that work can begin before the
    /// last page is read. A restarted list shows its rows again.
    ///
    /// `known` matters to the reports only, which are listed host by host.
    ///
    /// # Errors
    /// Any. A returned listing records in `malformed` what could not be read.
    pub async fn list_meetings(
        &self,
        window: Window,
        basis: DateBasis,
        known: &KnownOfWindow,
        see: &dyn Fn(ListingPage),
    ) -> Result<Listing, Error> {
        if self.chosen_source().await? == Source::Dashboard {
            match self.list_by_dashboard(window, basis, see).await {
                Err(error) if self.falls_back(&error) => {}
                listed => return listed,
            }
        }
        let mut listing = self.list_by_reports(window, basis, known, see).await?;
        // A user who chose the reports knows this.
        if self.settings.source.is_none() && !self.told.swap(true, Ordering::Relaxed) {
            let note = "harvesting by Zoom's reports, which know no devices, networks or locations: the dashboards need a Business plan and \
                        their scopes";
            listing.notes.push(note.to_owned());
        }
        Ok(listing)
    }

    /// Lists the meetings that ended (or began, by `basis`) inside the window. Reads both of Zoom's lists, one after the other, merges them by
    /// UUID, and adds the webinars if they are harvested. `see` gets each page as it arrives, so that work can begin before the last page is read.
    /// A restarted list shows its rows again.
    ///
    /// One-person meetings are always selected by their start: Zoom documents `query_date_type` for `past` only.
    ///
    /// # Errors
    /// Any. A returned listing records in `malformed` what could not be read.
    async fn list_by_dashboard(
        &self,
        window: Window,
        basis: DateBasis,
        see: &dyn Fn(ListingPage),
    ) -> Result<Listing, Error> {
        let mut listing = self
            .list_type(window, basis, MeetingList::PAST, &HashMap::new(), see)
            .await?;
        let one = self
            .list_type(window, basis, MeetingList::PAST_ONE, &listing.shown, see)
            .await?;
        let mut lists = vec![one];
        if self.settings.webinars && self.no_webinars.load(Ordering::Relaxed) {
            listing.webinars = Webinars::NotInPlan { refusal: None };
        } else if self.settings.webinars {
            let webinars = self
                .list_type(window, basis, MeetingList::WEBINARS, &HashMap::new(), see)
                .await;
            match webinars.map_err(Error::of_webinars) {
                Ok(webinars) => {
                    lists.push(webinars);
                    listing.webinars = Webinars::Listed;
                }
                Err(Error::NoWebinars { message }) => {
                    self.skip_webinars();
                    let refusal = Some(message);
                    listing.webinars = Webinars::NotInPlan { refusal };
                }
                Err(error) if error.is_of_whole_listing() => return Err(error),
                // The meetings are still used; the days stay unsettled.
                Err(error) => listing.malformed.push(Malformed {
                    place: "webinars".to_owned(),
                    reason: error.to_string(),
                }),
            }
        }
        for list in lists {
            listing.window = listing
                .window
                .intersection(list.window)
                .ok_or_else(|| Error::Malformed {
                    what: format!("meetings of {window}"),
                    reason: format!(
                        "the lists are for different days: {} and {}",
                        listing.window, list.window
                    ),
                })?;
            listing.pages += list.pages;
            listing.shown.extend(list.shown);
            listing.malformed.extend(list.malformed);
        }
        Ok(listing)
    }

    /// Reads one of the lists, except the meetings in `elsewhere`, which another list shows.
    async fn list_type(
        &self,
        window: Window,
        basis: DateBasis,
        list: MeetingList,
        elsewhere: &HashMap<MeetingUuid, Shown>,
        see: &dyn Fn(ListingPage),
    ) -> Result<Listing, Error> {
        let MeetingList { kind, listing_type } = list;
        let what = format!("{list} of {window}");
        let mut query = vec![
            ("type", listing_type.as_str().to_owned()),
            ("from", window.from.to_string()),
            ("to", window.to.to_string()),
            ("page_size", PAGE_SIZE.to_string()),
        ];
        if kind == MeetingKind::Meeting {
            query.push(("include_fields", "tracking_fields".to_owned()));
        }
        if basis == DateBasis::EndTime && listing_type == ListingType::Past {
            query.push(("query_date_type", basis.as_str().to_owned()));
        }
        let request = ListRequest {
            label: Label::ResourceIntensive,
            what: &what,
            path: &format!("/metrics/{}", plural(kind)),
            query: &query,
            array: plural(kind),
            may_be_split: window.from != window.to,
        };
        let row = |row| wire::listed_meeting(row, kind, listing_type).map(Some);
        let reader = || ListingReader {
            what: &what,
            asked: window,
            covered: None,
            row: &row,
            elsewhere,
            see,
            rows: 0,
            shown: HashMap::new(),
            malformed: Vec::new(),
        };
        let (pages, mut read) = self.list(&request, reader).await?;
        let covered = read.covered.ok_or_else(|| Error::Malformed {
            what: what.clone(),
            reason: "it is for other days than asked, by its own from and to".to_owned(),
        })?;
        if pages.missing() > 0 {
            read.malformed.push(Malformed {
                place: what.clone(),
                reason: format!(
                    "Zoom counts {} and shows {}, at two readings; nothing is concluded from what is missing",
                    pages.counted, pages.shown
                ),
            });
        }
        Ok(Listing {
            window: covered,
            basis,
            shown: read.shown,
            malformed: read.malformed,
            pages: pages.read,
            hosts: None,
            every_host: true,
            history: None,
            webinars: Webinars::NotAsked,
            notes: Vec::new(),
        })
    }

    /// The account's active hosts in the window.
    ///
    /// # Errors
    /// Any.
    pub async fn list_hosts(&self, window: Window) -> Result<Vec<Host>, Error> {
        Ok(self.report_hosts(window).await?.0)
    }

    /// The account's active hosts in the window, and whether every host that Zoom counts is among them.
    async fn report_hosts(&self, window: Window) -> Result<(Vec<Host>, bool), Error> {
        let query = [
            ("type", "active".to_owned()),
            ("from", window.from.to_string()),
            ("to", window.to.to_string()),
            ("page_size", PAGE_SIZE.to_string()),
        ];
        let request = ListRequest {
            label: Label::Heavy,
            what: &format!("active hosts of {window}"),
            path: "/report/users",
            query: &query,
            array: "users",
            may_be_split: false,
        };
        let (pages, rows) = self.list(&request, Vec::new).await?;
        let hosts: Vec<Host> = rows
            .iter()
            .filter_map(|(_, row)| wire::host(row.as_ref()?))
            .collect();
        let whole = pages.sound() && hosts.len() == rows.len();
        Ok((hosts, whole))
    }

    /// The series that a host has scheduled.
    ///
    /// # Errors
    /// Any. [`Error::NotFound`] and [`Error::HostNotAllowed`] are about the host.
    pub async fn list_series(&self, host: &HostId) -> Result<Vec<SeriesRow>, Error> {
        let query = [
            ("type", "scheduled".to_owned()),
            ("page_size", PAGE_SIZE.to_string()),
        ];
        let what = format!("series of host {host}");
        let request = ListRequest {
            label: Label::Medium,
            what: &what,
            path: &format!("/users/{}/meetings", encode(host.as_str())),
            query: &query,
            array: "meetings",
            may_be_split: false,
        };
        let (pages, rows) = self.list(&request, Vec::new).await?;
        if !pages.sound() {
            // A series missing from the list would be taken for unscheduled.
            return Err(Error::Incoherent {
                what,
                reason: format!(
                    "{} rows are counted and not shown, or cannot be read",
                    pages.missing()
                ),
            });
        }
        Ok(rows
            .iter()
            .filter_map(|(_, row)| wire::series(row.as_ref()?))
            .collect())
    }

    /// Zoom's record of one ended meeting, which names its host.
    ///
    /// # Errors
    /// Any. [`Error::NotFound`] is about the meeting.
    pub async fn past_meeting(&self, uuid: &MeetingUuid) -> Result<PastMeeting, Error> {
        let what = format!("meeting {uuid}");
        let answer = self
            .get(
                Label::Light,
                &what,
                &format!("/past_meetings/{}", encode_uuid(uuid)),
                &[],
                "",
            )
            .await?;
        Ok(wire::past_meeting(&answer.head))
    }

    /// Fetches all sessions of a meeting or webinar. `listing_type` names the list that contains it.
    ///
    /// # Errors
    /// Any. A detail with an unreadable row is an error.
    pub async fn detail(
        &self,
        uuid: &MeetingUuid,
        kind: MeetingKind,
        listing_type: ListingType,
    ) -> Result<Fetched, Error> {
        let of_kind = |error| match kind {
            MeetingKind::Meeting => error,
            MeetingKind::Webinar => Error::of_webinars(error),
        };
        if self.chosen_source().await? == Source::Dashboard {
            let fetched = self.detail_by_dashboard(uuid, kind, listing_type).await;
            match fetched.map_err(of_kind) {
                Err(error) if self.falls_back(&error) => {}
                fetched => return fetched,
            }
        }
        self.detail_by_reports(uuid, kind).await.map_err(of_kind)
    }

    async fn detail_by_dashboard(
        &self,
        uuid: &MeetingUuid,
        kind: MeetingKind,
        listing_type: ListingType,
    ) -> Result<Fetched, Error> {
        let query = [
            ("type", listing_type.as_str().to_owned()),
            ("page_size", PAGE_SIZE.to_string()),
            ("include_fields", "registrant_id".to_owned()),
        ];
        let what = sessions_of(uuid, kind);
        let request = ListRequest {
            label: Label::Heavy,
            what: &what,
            path: &format!("/metrics/{}/{}/participants", plural(kind), encode_uuid(uuid)),
            query: &query,
            array: "participants",
            may_be_split: false,
        };
        let (pages, rows) = self.list(&request, Vec::new).await?;
        Ok(Fetched {
            uuid: uuid.clone(),
            rows: readable(rows, &what)?,
            counted: pages.counted,
            source: Source::Dashboard,
        })
    }
}

/// One of the dashboards' lists.
#[derive(Clone, Copy)]
struct MeetingList {
    kind: MeetingKind,
    listing_type: ListingType,
}

impl MeetingList {
    const PAST: Self = Self {
        kind: MeetingKind::Meeting,
        listing_type: ListingType::Past,
    };
    const PAST_ONE: Self = Self {
        kind: MeetingKind::Meeting,
        listing_type: ListingType::PastOne,
    };
    /// Zoom has no separate list of one-person webinars.
    const WEBINARS: Self = Self {
        kind: MeetingKind::Webinar,
        listing_type: ListingType::Past,
    };
}

impl std::fmt::Display for MeetingList {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", plural(self.kind), self.listing_type.as_str())
    }
}

/// The name of the kind in Zoom's paths and answers.
fn plural(kind: MeetingKind) -> &'static str {
    match kind {
        MeetingKind::Meeting => "meetings",
        MeetingKind::Webinar => "webinars",
    }
}

/// The name of a detail in messages.
fn sessions_of(uuid: &MeetingUuid, kind: MeetingKind) -> String {
    format!("sessions of {} {uuid}", kind.as_str())
}

/// The rows of a detail; an error if one of them cannot be read.
fn readable(rows: Vec<(u32, Option<Row>)>, what: &str) -> Result<Vec<Row>, Error> {
    let rows = rows.into_iter().map(|(page, row)| {
        row.ok_or_else(|| Error::Malformed {
            what: what.to_owned(),
            reason: format!("a session on page {page} is no object that can be read"),
        })
    });
    rows.collect()
}

/// The rows of one meeting, from all pages, in the order received. Sorting is left to another thread than the one that waits for the network.
#[derive(Debug)]
pub struct Fetched {
    uuid: MeetingUuid,
    rows: Vec<Row>,
    counted: u64,
    /// The source that it was fetched from.
    pub source: Source,
}

impl Fetched {
    /// Puts the sessions in canonical order, without duplicates.
    pub fn into_detail(self) -> Detail {
        Detail::answered(self.uuid, self.rows, self.counted)
    }
}

/// Reads a row of a list: a meeting, `None` if the row is skipped, or the reason why it is not a meeting.
type MeetingOfRow<'a> = &'a dyn Fn(Row) -> Result<Option<ListedMeeting>, String>;

/// Reads one of the two lists of meetings, of the account or of a host, page by page.
struct ListingReader<'a> {
    what: &'a str,
    asked: Window,
    /// The days that Zoom's answer covers, according to its first page.
    covered: Option<Window>,
    row: MeetingOfRow<'a>,
    elsewhere: &'a HashMap<MeetingUuid, Shown>,
    see: &'a dyn Fn(ListingPage),
    rows: usize,
    shown: HashMap<MeetingUuid, Shown>,
    malformed: Vec<Malformed>,
}

impl Sink for ListingReader<'_> {
    fn take(&mut self, page: u32, head: &Row, rows: Vec<Option<Row>>) {
        let echoed = |name, asked| wire::echoed_day(head, name).unwrap_or(asked);
        self.covered = Window::new(echoed("from", self.asked.from), echoed("to", self.asked.to))
            .and_then(|echoed| echoed.intersection(self.asked));
        let Some(window) = self.covered else { return };
        let mut meetings: Vec<ListedMeeting> = Vec::with_capacity(rows.len());
        let mut places: HashMap<MeetingUuid, usize> = HashMap::new();
        for row in rows {
            self.rows += 1;
            let read = row.ok_or_else(|| "it is no object".to_owned()).and_then(self.row);
            match read {
                Ok(Some(meeting)) if !self.elsewhere.contains_key(&meeting.uuid) => {
                    let shown = Shown {
                        day: meeting.listed_day(window),
                        kind: meeting.kind,
                    };
                    self.shown.insert(meeting.uuid.clone(), shown);
                    // If a meeting is shown twice, the list moved while it was read. The later row is the newer one.
                    let place = places.entry(meeting.uuid.clone()).or_insert(meetings.len());
                    match meetings.get_mut(*place) {
                        Some(before) => *before = meeting,
                        None => meetings.push(meeting),
                    }
                }
                Ok(_) => {}
                Err(reason) => self.malformed.push(Malformed {
                    place: format!("row {} of {}, page {page}", self.rows, self.what),
                    reason,
                }),
            }
        }
        (self.see)(ListingPage {
            window,
            meetings,
            hosts: Vec::new(),
        });
    }
}
