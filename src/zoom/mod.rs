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

/// Zoom's API, unless the token's answer or the configuration names another.
pub const DEFAULT_API_URL: &str = "https://api.zoom.us/v2";

/// The largest page that the endpoints we read allow.
const PAGE_SIZE: u64 = 300;

/// The largest answer worth reading, decompressed: a page of 300 rows has well under a megabyte, and as many as there are details in
/// flight are held at once.
pub const ANSWER_LIMIT_BYTES: usize = 16 << 20;

/// Page tokens live for 15 minutes; a listing that would take longer than this is split.
const LISTING_MINUTES: u64 = 12;

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

/// The way to a URL that was checked before.
fn way(proxies: &Proxies, url: &str) -> Way {
    match reqwest::Url::parse(url) {
        Ok(url) => proxies.way(&url),
        Err(_) => Way::Direct("not a URL"),
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
    /// Where the API is; if unset, the token's answer says it.
    pub api_url: Option<String>,
    /// Tries after the first.
    pub retry: Retry,
    /// For one request, its answer included.
    pub timeout: Duration,
    /// The largest answer that is read.
    pub answer_limit_bytes: usize,
    /// The proxies on the way.
    pub proxies: Proxies,
    /// Authorities to trust, beside the usual ones.
    pub authorities: Authorities,
    /// Where meetings are asked for; if unset, the dashboards where they answer, else the reports.
    pub source: Option<Source>,
    /// Whether webinars are harvested as well.
    pub webinars: bool,
    /// Where requests are counted.
    pub traffic: Arc<traffic::Traffic>,
    /// For the chance in the pauses.
    pub seed: u64,
}

impl Settings {
    /// What no message may show.
    fn secrets(&self) -> Secrets {
        let secrets = Secrets::default().with_basic(self.client_id.trim(), &self.client_secret);
        self.proxies.hidden_with(&secrets)
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
    by_reports: AtomicBool,
    /// Whether the reports may take the place of the dashboards.
    may_fall_back: AtomicBool,
    /// Whether it is known that they had to.
    by_reports_before: AtomicBool,
    /// Set once the scopes were looked at for that.
    scopes_seen: OnceCell<()>,
    /// Whether the fallback was already reported.
    told: AtomicBool,
    /// Whether the account is known to have no webinars, so that they are not asked for.
    no_webinars: AtomicBool,
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
        let builder = reqwest::Client::builder()
            .user_agent(concat!("zoom-harvester/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            // It would read the environment by itself; this module is told.
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

    /// The way that a request to the API takes (to where the token comes from, if the API is not known yet).
    pub fn way(&self) -> Way {
        let url = self.settings.api_url.as_ref().unwrap_or(&self.settings.oauth_url);
        way(&self.settings.proxies, url)
    }

    /// The scopes of the app, as the token's answer names them.
    ///
    /// # Errors
    /// [`Error::Credentials`], or Zoom cannot be reached.
    pub async fn scopes(&self) -> Result<Vec<String>, Error> {
        Ok(self.token().await?.scopes)
    }

    /// This machine's clock, compared with the `Date` of the token's answer.
    ///
    /// # Errors
    /// As [`Zoom::scopes`].
    pub async fn date(&self) -> Result<ZoomDate, Error> {
        Ok(self.token().await?.date)
    }

    /// Gets the token ahead of the first request, so that the clock follows Zoom's before anything is planned. If it cannot be had, that
    /// request says why.
    pub async fn sign_in(&self) {
        self.tokens
            .get_ahead(&self.client, &self.settings, &self.clock)
            .await;
    }

    async fn token(&self) -> Result<auth::Token, Error> {
        self.tokens.get(&self.client, &self.settings, &self.clock).await
    }

    /// Where meetings are asked for, as far as it is known by now.
    pub fn source(&self) -> Source {
        if self.by_reports.load(Ordering::Relaxed) {
            Source::Reports
        } else {
            Source::Dashboard
        }
    }

    /// Whether meetings are listed host by host (by the reports), as far as it is known by now.
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

    /// Makes the client ask for no webinars in this run: Zoom refused them not long ago.
    pub fn skip_webinars(&self) {
        self.no_webinars.store(true, Ordering::Relaxed);
    }

    /// The source to use, after a look at the app's scopes where these decide.
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

    /// Whether this refusal makes the client fall back from the dashboards to the reports; if so, it has done so.
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

    /// Lists the meetings of the window, by the dashboards or by the reports. `see` is shown each page as it arrives, so that work can begin before
    /// the last one is read; a list that is begun again shows its rows again.
    ///
    /// `known` bears on the reports only, which are listed host by host.
    ///
    /// # Errors
    /// Any; a listing that is not complete is none.
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
        // Whoever chose them knows.
        if self.settings.source.is_none() && !self.told.swap(true, Ordering::Relaxed) {
            let note = "harvesting by Zoom's reports, which know no devices, networks or locations: the dashboards need a Business plan and \
                        their scopes";
            listing.notes.push(note.to_owned());
        }
        Ok(listing)
    }

    /// Lists the meetings that ended (or began, by `basis`) inside the window: both of Zoom's lists, one after the other, united by UUID, and the
    /// webinars where they are wanted. `see` is shown each page as it arrives, so that work can begin before the last one is read; a list that is
    /// begun again shows its rows again.
    ///
    /// One-person meetings are selected by their start in any case: Zoom documents `query_date_type` for `past` only.
    ///
    /// # Errors
    /// Any; a listing that is not complete is none.
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
                // The meetings count all the same; the days stay unsettled.
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

    /// One of the lists, but for those meetings that another one shows.
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

    /// The same, and whether every host that Zoom counts is among them.
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
    /// Any; [`Error::NotFound`] and [`Error::HostNotAllowed`] speak of the host.
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
            // Whoever is not in it would be taken for unscheduled.
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
                "",
            )
            .await?;
        Ok(wire::past_meeting(&answer.head))
    }

    /// All sessions of a meeting or webinar, asked for in the list it stands in.
    ///
    /// # Errors
    /// Any; a detail that is not complete is none.
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
    /// Zoom has no list of webinars of one person.
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

/// As Zoom's paths and answers name them.
fn plural(kind: MeetingKind) -> &'static str {
    match kind {
        MeetingKind::Meeting => "meetings",
        MeetingKind::Webinar => "webinars",
    }
}

/// A detail in words.
fn sessions_of(uuid: &MeetingUuid, kind: MeetingKind) -> String {
    format!("sessions of {} {uuid}", kind.as_str())
}

/// The rows of a detail, if every one of them can be read.
fn readable(rows: Vec<(u32, Option<Row>)>, what: &str) -> Result<Vec<Row>, Error> {
    let rows = rows.into_iter().map(|(page, row)| {
        row.ok_or_else(|| Error::Malformed {
            what: what.to_owned(),
            reason: format!("a session on page {page} is no object that can be read"),
        })
    });
    rows.collect()
}

/// The rows of one meeting, every page of them, as they came. Putting them in order is work for another thread than the one that waits for
/// the network.
#[derive(Debug)]
pub struct Fetched {
    uuid: MeetingUuid,
    rows: Vec<Row>,
    counted: u64,
    /// Where it was fetched.
    pub source: Source,
}

impl Fetched {
    /// Puts the sessions in canonical order, each once.
    pub fn into_detail(self) -> Detail {
        Detail::answered(self.uuid, self.rows, self.counted)
    }
}

/// What a row of a list is: a meeting, nothing of interest, or, in words, why it is no meeting.
type MeetingOfRow<'a> = &'a dyn Fn(Row) -> Result<Option<ListedMeeting>, String>;

/// Reads one of the two lists of meetings, of the account or of a host, page by page.
struct ListingReader<'a> {
    what: &'a str,
    asked: Window,
    /// The days that Zoom answers for, by its first page.
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
                    // Shown twice: the list moved while it was read. The later row is the newer one.
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
