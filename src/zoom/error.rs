//! What Zoom could not or would not do, and what to do about it.

use chrono::{DateTime, Utc};

use crate::model::Disposition;

/// What Zoom could not or would not do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection, no answer, or a broken one, at every try.
    #[error("Zoom cannot be reached: {said}")]
    Unreachable {
        /// What happened at the last try.
        said: String,
    },
    /// A proxy on the way refuses.
    #[error("Zoom cannot be reached: {said}")]
    Proxy {
        /// Which, how, and what to do.
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
         the dashboard switched on, and an app whose role may see it; ZOOM_SOURCE=reports goes on without them, and knows less"
    )]
    NoDashboard {
        /// In Zoom's words.
        message: String,
    },
    /// The account has no reports.
    #[error(
        "this account has no access to Zoom's reports ({message}): they need a Pro plan or higher, and an app whose role may see \
         them"
    )]
    NoReports {
        /// In Zoom's words.
        message: String,
    },
    /// The account has no webinars.
    #[error("this account has no access to webinars ({message}): they need Zoom's webinar add-on")]
    NoWebinars {
        /// In Zoom's words.
        message: String,
    },
    /// The app may see meetings, but no webinars.
    #[error(
        "the Zoom app lacks scopes for webinars: {message} Add them to the app in the Zoom App Marketplace and activate it again, or set \
         ZOOM_HARVESTER_WEBINARS=false"
    )]
    WebinarScopes {
        /// In Zoom's words, which name them.
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
    /// A firewall before Zoom refused, with an HTML page.
    #[error("Zoom's firewall blocks {what} (HTTP 403 without JSON)")]
    Blocked {
        /// What was asked.
        what: String,
    },
    /// This account's meetings cannot be listed by their end.
    #[error("this account cannot list meetings by their end (code 12700)")]
    EndTimeRefused,
    /// The reports do not say by which time they select: ask as if it were the start.
    #[error("Zoom's reports list meetings by their start")]
    ReportsByStart,
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
    /// The pages of a list contradict each other, at every reading.
    #[error("Zoom's pages for {what} are inconsistent: {reason}")]
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
    /// The run has ended: it no longer counts requests.
    #[error("the run is over")]
    RunOver,
}

impl Error {
    /// A refusal about webinars, which says nothing about meetings.
    pub(super) fn of_webinars(self) -> Self {
        match self {
            // Code 200 is Zoom's for a plan that is missing: "Webinar plan is missing. You must subscribe to the webinar plan …".
            Self::NoDashboard { message }
            | Self::Refused {
                status: 400 | 403,
                code: Some(200),
                message,
                ..
            } => Self::NoWebinars { message },
            Self::Scopes { message } => Self::WebinarScopes { message },
            error => error,
        }
    }

    /// Whether the error ends the listing of the whole window, not only of one of its lists: the run stops, or the window is listed in another
    /// way.
    pub(super) fn is_of_whole_listing(&self) -> bool {
        self.disposition() == Disposition::Stop
            || matches!(self, Self::EndTimeRefused | Self::ListingTooLong { .. })
    }

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
            | Self::WebinarScopes { .. }
            | Self::NoDashboard { .. }
            | Self::NoReports { .. }
            | Self::Configuration(_)
            | Self::Proxy { .. }
            | Self::RunOver => Disposition::Stop,
            Self::NotFound { .. }
            | Self::TooOld { .. }
            | Self::NoWebinars { .. }
            | Self::Blocked { .. }
            | Self::EndTimeRefused
            | Self::ReportsByStart
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
