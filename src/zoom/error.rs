//! The errors of the Zoom client, and what to do about them.

use chrono::{DateTime, Utc};

use crate::model::Disposition;

/// An error of the Zoom client.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection, no answer, or a broken answer, also after retries.
    #[error("Zoom cannot be reached: {said}")]
    Unreachable {
        /// What happened at the last attempt.
        said: String,
    },
    /// A proxy refuses the request.
    #[error("Zoom cannot be reached: {said}")]
    Proxy {
        /// Which proxy, how it refused, and what to do.
        said: String,
    },
    /// HTTP 5xx, also after retries.
    #[error("Zoom failed with HTTP {status} for {what}")]
    Server {
        /// What was requested.
        what: String,
        /// The last status.
        status: u16,
    },
    /// Repeated 429, without mention of a daily limit.
    #[error("Zoom kept answering 429 for {what}")]
    Throttled {
        /// What was requested.
        what: String,
    },
    /// Zoom reports that the daily quota is used up.
    #[error("Zoom's daily quota of this account is used up; come back at {}", crate::model::iso(*resets_at))]
    DailyQuota {
        /// When the quota resets.
        resets_at: DateTime<Utc>,
    },
    /// This program's share of the daily quota is used up.
    #[error(
        "this program's share of the account's daily quota is used up (ZOOM_RATE_SHARE); come back at {}",
        crate::model::iso(*resets_at)
    )]
    ShareSpent {
        /// When the quota resets.
        resets_at: DateTime<Utc>,
    },
    /// The app's credentials are not accepted.
    #[error(
        "Zoom does not accept the credentials: {said}; check ZOOM_ACCOUNT_ID, ZOOM_CLIENT_ID, ZOOM_CLIENT_SECRET, \
         and that the app is activated"
    )]
    Credentials {
        /// The reason, usually in Zoom's words.
        said: String,
    },
    /// The app lacks scopes.
    #[error(
        "the Zoom app lacks scopes: {message} Add them to the app in the Zoom App Marketplace and activate it again"
    )]
    Scopes {
        /// Zoom's message, which names the scopes.
        message: String,
    },
    /// The account has no dashboards.
    #[error(
        "this account has no access to Zoom's dashboards ({message}): they need a Business, Education or Enterprise plan with \
         the dashboard switched on, and an app whose role may see it; ZOOM_SOURCE=reports goes on without them, and knows less"
    )]
    NoDashboard {
        /// Zoom's message.
        message: String,
    },
    /// The account has no reports.
    #[error(
        "this account has no access to Zoom's reports ({message}): they need a Pro plan or higher, and an app whose role may see \
         them"
    )]
    NoReports {
        /// Zoom's message.
        message: String,
    },
    /// The account has no webinars.
    #[error("this account has no access to webinars ({message}): they need Zoom's webinar add-on")]
    NoWebinars {
        /// Zoom's message.
        message: String,
    },
    /// The app may read meetings, but not webinars.
    #[error(
        "the Zoom app lacks scopes for webinars: {message} Add them to the app in the Zoom App Marketplace and activate it again, or set \
         ZOOM_HARVESTER_WEBINARS=false"
    )]
    WebinarScopes {
        /// Zoom's message, which names the scopes.
        message: String,
    },
    /// Zoom does not have the item, or no longer has it.
    #[error("Zoom does not have {what}: {message} (code {code})")]
    NotFound {
        /// What was requested.
        what: String,
        /// Zoom's error code.
        code: i64,
        /// Zoom's message.
        message: String,
    },
    /// Older than what Zoom shows: twelve months for a meeting's detail.
    #[error("Zoom no longer shows {what}: it is more than a year old (code 12702)")]
    TooOld {
        /// What was requested.
        what: String,
    },
    /// A firewall in front of Zoom refused, with an HTML page.
    #[error("Zoom's firewall blocks {what} (HTTP 403 without JSON)")]
    Blocked {
        /// What was requested.
        what: String,
    },
    /// This account's meetings cannot be listed by their end.
    #[error("this account cannot list meetings by their end (code 12700)")]
    EndTimeRefused,
    /// The reports do not document which time they select by. List by start instead.
    #[error("Zoom's reports list meetings by their start")]
    ReportsByStart,
    /// The days are outside the period that Zoom lists.
    #[error("Zoom does not list {what}: {message}")]
    OutOfReach {
        /// What was requested.
        what: String,
        /// Zoom's message.
        message: String,
    },
    /// This user may not host.
    #[error("{what}: this user may not host meetings (code 3161)")]
    HostNotAllowed {
        /// What was requested.
        what: String,
    },
    /// A page token was not accepted.
    #[error("Zoom did not accept its own page token for {what}")]
    PageToken {
        /// What was requested.
        what: String,
    },
    /// The list is too long for one listing.
    #[error("{what} is too long for one listing: its page tokens expire before its {pages} pages are read")]
    ListingTooLong {
        /// What was requested.
        what: String,
        /// The estimated number of pages; 0 if it is not known.
        pages: u64,
    },
    /// A page token was repeated: following it would never end.
    #[error("Zoom repeats a page token for {what}")]
    RepeatedToken {
        /// What was requested.
        what: String,
    },
    /// The pages of a list are inconsistent, also after retries.
    #[error("Zoom's pages for {what} are inconsistent: {reason}")]
    Incoherent {
        /// What was requested.
        what: String,
        /// What is wrong.
        reason: String,
    },
    /// An answer cannot be read, also after retries.
    #[error("Zoom's answer for {what} cannot be used: {reason}")]
    Malformed {
        /// What was requested.
        what: String,
        /// What is wrong.
        reason: String,
    },
    /// An answer is larger than the limit.
    #[error("an answer of Zoom's is larger than {limit_bytes} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit_bytes: usize,
    },
    /// Zoom redirects the request. Redirects are not followed: the token is for Zoom only.
    #[error("Zoom redirects {what} to {to}, which is not followed; check ZOOM_API_URL")]
    Redirected {
        /// What was requested.
        what: String,
        /// The other host.
        to: String,
    },
    /// Any other refusal.
    #[error("Zoom refused {what}: {message} (HTTP {status}{})", code.map(|code| format!(", code {code}")).unwrap_or_default())]
    Refused {
        /// What was requested.
        what: String,
        /// The HTTP status.
        status: u16,
        /// Zoom's error code, if there was one.
        code: Option<i64>,
        /// Zoom's message.
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
    /// Converts an error of a webinar request into one that is about webinars only, not about meetings.
    pub(super) fn of_webinars(self) -> Self {
        match self {
            // Zoom's code 200 means a missing plan: "Webinar plan is missing. You must subscribe to the webinar plan …".
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

    /// What to do about the error.
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
