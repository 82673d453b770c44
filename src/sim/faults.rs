//! Faults and edits as data: which request goes wrong and how, and what changes in the account while it is served.
//!
//! `docs/faults.md` describes the format of the file.

use std::{fmt, num::NonZeroU64};

use serde::{Deserialize, Deserializer, de};

use super::world::World;

/// A plan of what goes wrong and what changes in the account.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "an object of rules and edits, or a list of rules"
)]
pub struct FaultPlan {
    /// The rules in order. The first that applies to a request decides.
    #[serde(default)]
    pub rules: Vec<Rule>,
    /// What changes in the account at which request.
    #[serde(default)]
    pub edits: Vec<Edit>,
    /// The most rows of a page, so that a small account has several pages.
    #[serde(default)]
    pub page_size_cap: Option<NonZeroU64>,
}

/// A rule: which requests go wrong, and how.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Any endpoint if not given.
    #[serde(default)]
    pub endpoint: Option<Endpoint>,
    /// Only for this meeting.
    #[serde(default, alias = "uuid")]
    pub meeting: Option<Which>,
    /// Only for this page.
    #[serde(default)]
    pub page: Option<Page>,
    /// The first matching request that goes wrong, counted from 1.
    #[serde(default = "first")]
    pub from: NonZeroU64,
    /// How many matching requests go wrong.
    #[serde(default)]
    pub times: Times,
    /// Whether the request is counted and processed before its answer goes wrong.
    #[serde(default)]
    pub after: bool,
    /// What happens to the request.
    pub action: Action,
    /// Matching requests so far.
    #[serde(skip)]
    pub met: u64,
}

/// A change of the account.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    /// Any endpoint if not given.
    #[serde(default)]
    pub endpoint: Option<Endpoint>,
    /// The matching request just before whose answer the change is made, counted from 1.
    #[serde(default = "first")]
    pub at: NonZeroU64,
    /// What changes.
    pub edit: Change,
    /// Matching requests so far.
    #[serde(skip)]
    pub met: u64,
}

fn first() -> NonZeroU64 {
    NonZeroU64::MIN
}

/// An endpoint that is requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// `POST /oauth/token`.
    Token,
    /// `GET /metrics/meetings`.
    Listing,
    /// `GET /report/users`.
    Hosts,
    /// `GET /users/{id}/meetings`.
    Series,
    /// `GET /past_meetings/{uuid}`.
    PastMeeting,
    /// `GET /metrics/meetings/{uuid}/participants`.
    Detail,
    /// `GET /report/users/{id}/meetings`.
    ReportListing,
    /// `GET /report/meetings/{uuid}/participants`.
    ReportDetail,
    /// `GET /metrics/webinars`.
    Webinars,
    /// `GET /metrics/webinars/{uuid}/participants`.
    WebinarDetail,
    /// `GET /report/webinars/{uuid}/participants`.
    ReportWebinarDetail,
    /// `GET /report/history_meetings`.
    History,
}

impl Endpoint {
    fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Listing => "listing",
            Self::Hosts => "hosts",
            Self::Series => "series",
            Self::PastMeeting => "past_meeting",
            Self::Detail => "detail",
            Self::ReportListing => "report_listing",
            Self::ReportDetail => "report_detail",
            Self::Webinars => "webinars",
            Self::WebinarDetail => "webinar_detail",
            Self::ReportWebinarDetail => "report_webinar_detail",
            Self::History => "history",
        }
    }
}

/// A meeting, by its UUID or by its place in the account, counted from 0. The same seed makes the same account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    Uuid(String),
    Place(usize),
}

impl Which {
    fn uuid(&self, world: &World) -> Option<String> {
        match self {
            Self::Uuid(uuid) => Some(uuid.clone()),
            Self::Place(place) => world.meetings.get(*place).map(|meeting| meeting.uuid.clone()),
        }
    }
}

/// A page, by its number from 1 or by its position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    Number(u32),
    First,
    /// Neither the first nor the last.
    Middle,
    /// The last of several.
    Last,
}

/// How many requests a rule applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times(pub u64);

impl Default for Times {
    fn default() -> Self {
        Self(1)
    }
}

/// Reads a word or a number; `expects` names what is allowed.
struct WordOrNumber<T> {
    expects: &'static str,
    word: fn(&str) -> Option<T>,
    number: fn(u64) -> Option<T>,
}

impl<T> de::Visitor<'_> for WordOrNumber<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expects)
    }

    fn visit_str<E: de::Error>(self, word: &str) -> Result<T, E> {
        (self.word)(word).ok_or_else(|| E::invalid_value(de::Unexpected::Str(word), &self))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        (self.number)(number).ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(number), &self))
    }
}

impl<'de> Deserialize<'de> for Which {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(WordOrNumber {
            expects: "a meeting's UUID, or its place in the account from 0",
            word: |uuid| Some(Self::Uuid(uuid.to_owned())),
            number: |place| usize::try_from(place).ok().map(Self::Place),
        })
    }
}

impl<'de> Deserialize<'de> for Page {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(WordOrNumber {
            expects: "a page's number from 1, or first, middle or last",
            word: |word| match word {
                "first" => Some(Self::First),
                "middle" => Some(Self::Middle),
                "last" => Some(Self::Last),
                _ => None,
            },
            number: |page| {
                u32::try_from(page)
                    .ok()
                    .filter(|page| *page > 0)
                    .map(Self::Number)
            },
        })
    }
}

impl<'de> Deserialize<'de> for Times {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(WordOrNumber {
            expects: "a number from 1, or always",
            word: |word| (word == "always").then_some(Self(u64::MAX)),
            number: |times| (times > 0).then_some(Self(times)),
        })
    }
}

/// What happens to a request.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// A custom answer.
    Answer {
        status: u16,
        #[serde(default)]
        body: String,
        #[serde(default)]
        headers: Vec<(String, String)>,
    },
    /// This status, with an HTML page.
    Status(u16),
    /// An error in Zoom's format.
    Refused {
        status: u16,
        code: i64,
        #[serde(default)]
        message: String,
    },
    /// Per-second 429 with its headers, without `Retry-After`.
    TooFast,
    /// The same without the rate limit headers.
    TooFastPlain,
    /// 429 without a body or a header.
    TooFastEmpty,
    /// 429 with the seconds to wait.
    TooFastSeconds(u64),
    /// 429 with a date and time in ISO 8601, this many seconds from now.
    TooFastUntil(i64),
    /// 429 with an HTTP date this many seconds from now.
    TooFastHttpDate(i64),
    /// The daily 429 with its headers, and `Retry-After` as a date and time.
    Daily,
    /// The daily 429 without `Retry-After`.
    DailyPlain,
    /// The daily 429 of a user, recognisable by its text only.
    DailyUser,
    /// 401, code 124.
    Unauthorised,
    /// 400, code 4711, with the scopes in the text.
    Scopes,
    /// 400, code 104, with invalid JSON.
    ScopesBroken,
    /// 400, code 300: the month is out of reach.
    MonthOutOfReach,
    /// 400, code 12700.
    EndTimeRefused,
    /// 400, code 12702.
    TooOld,
    /// 400, code 3161.
    NotLicensed,
    /// 404, code 3001.
    NoMeeting,
    /// 404, code 1001.
    NoUser,
    /// 400, code 1010.
    OtherAccount,
    /// 400, code 200: no dashboards.
    NoDashboard,
    /// 400, code 400: no dashboards either.
    NoDashboardPlan,
    /// 200, with an error in the body.
    ErrorInside,
    /// 403 with an HTML page.
    Blocked,
    /// 400, code 300: the page token is invalid or expired.
    TokenExpired,
    /// The answer repeats the page token of the request.
    TokenRepeated,
    /// The answer's page token leads back to the first page.
    TokenBack,
    /// The answer counts this many records.
    WrongTotal(u64),
    /// The answer counts this many more records than there are.
    TotalTooHigh(u64),
    /// The answer does not count its records.
    TotalAbsent,
    /// The answer echoes a last day that is this many days too early.
    EarlierTo(i64),
    /// The answer echoes first and last days shifted by this many days.
    EchoShifted(i64),
    /// An empty last page, although the answer counts more records.
    #[serde(alias = "no_participants")]
    CutList,
    /// An empty list that counts no records.
    EmptyList,
    /// The first row is null.
    NullRow,
    /// The first row comes twice but is counted once.
    RowRepeated,
    /// The list is missing.
    NoList,
    /// The answer is cut to invalid JSON, but its length is correct for that.
    InvalidJson,
    /// The connection closes without an answer.
    Reset,
    /// The answer breaks off in the middle.
    Truncated,
    /// This many milliseconds pass before the answer.
    Slow(u64),
    /// This many milliseconds pass while the answer trickles in.
    Dribble(u64),
    /// Half of the answer arrives, and the rest never does.
    Stall,
    /// No answer ever arrives.
    Silent,
    /// A redirect to another host.
    Redirect,
}

/// What changes in the account.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Change {
    /// A meeting appears that ended this many hours ago.
    AddMeeting {
        #[serde(default)]
        host: usize,
        hours_ago: i64,
        minutes: i64,
        sessions: usize,
    },
    /// A meeting gets another topic.
    RenameMeeting { meeting: Which, topic: String },
    /// A meeting turns out to have lasted longer.
    Extend { meeting: Which, minutes: i64 },
    /// Zoom forgets a meeting.
    DeleteMeeting(Which),
    /// A meeting gets one more session.
    AddSession(Which),
    /// A meeting loses its last session.
    RemoveSession(Which),
    /// The series of a meeting gets another topic, and so do its meetings.
    RenameSeries { meeting: Which, topic: String },
    /// A user is deleted; their meetings stay.
    DeleteHost(usize),
    /// The series of a meeting restarts 20 seconds after the meeting's end.
    Restart(Which),
}

/// What is wrong with a plan, and where.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Wrong(String);

impl FaultPlan {
    /// Reads a plan in JSON: an object, or a list of rules.
    ///
    /// # Errors
    /// The line and column, what is wrong there, and the nearest known name.
    pub fn from_json(text: &str) -> Result<Self, Wrong> {
        let plan = if text.trim_start().starts_with('[') {
            serde_json::from_str(text).map(|rules| Self {
                rules,
                ..Self::default()
            })
        } else {
            serde_json::from_str(text)
        };
        plan.map_err(|error| Wrong(in_words(&error)))
    }

    /// The fault of a request, if it has one, and its [`Rule::after`]. Counts the request in each rule that it matches. `page` is the page's number
    /// and whether it is the last.
    pub(super) fn fault(
        &mut self,
        endpoint: &str,
        uuid: Option<&str>,
        page: (u32, bool),
        world: &World,
    ) -> Option<(Action, bool)> {
        let mut found = None;
        for rule in &mut self.rules {
            let matches = rule.endpoint.is_none_or(|wanted| wanted.as_str() == endpoint)
                && rule
                    .meeting
                    .as_ref()
                    .is_none_or(|wanted| uuid.is_some() && wanted.uuid(world).as_deref() == uuid)
                && rule.page.is_none_or(|wanted| match wanted {
                    Page::Number(number) => number == page.0,
                    Page::First => page.0 == 1,
                    Page::Middle => page.0 > 1 && !page.1,
                    Page::Last => page.0 > 1 && page.1,
                });
            if !matches {
                continue;
            }
            rule.met += 1;
            let from = rule.from.get();
            if rule.met >= from && rule.met - from < rule.times.0 && found.is_none() {
                found = Some((rule.action.clone(), rule.after));
            }
        }
        found
    }

    /// Makes the changes of the account that are due before this request.
    pub(super) fn edit(&mut self, endpoint: &str, world: &mut World, now: chrono::DateTime<chrono::Utc>) {
        for edit in &mut self.edits {
            if edit.endpoint.is_none_or(|wanted| wanted.as_str() == endpoint) {
                edit.met += 1;
                if edit.met == edit.at.get() {
                    edit.edit.apply(world, now);
                }
            }
        }
    }
}

impl Change {
    /// Makes the change. If the meeting does not exist, nothing changes.
    pub fn apply(&self, world: &mut World, now: chrono::DateTime<chrono::Utc>) {
        let minutes = chrono::Duration::minutes;
        match self {
            Self::AddMeeting {
                host,
                hours_ago,
                minutes: length,
                sessions,
            } => {
                world.add_meeting(*host, now - minutes(hours_ago * 60 + length), *length, *sessions);
            }
            Self::RenameMeeting { meeting, topic } => {
                if let Some(meeting) = meeting.uuid(world).and_then(|uuid| world.meeting_mut(&uuid)) {
                    meeting.topic.clone_from(topic);
                }
            }
            Self::Extend { meeting, minutes } => {
                if let Some(uuid) = meeting.uuid(world) {
                    world.extend(&uuid, *minutes);
                }
            }
            Self::DeleteMeeting(meeting) => {
                if let Some(uuid) = meeting.uuid(world) {
                    world.meetings.retain(|meeting| meeting.uuid != uuid);
                }
            }
            Self::AddSession(meeting) => {
                if let Some(uuid) = meeting.uuid(world) {
                    world.add_session(&uuid);
                }
            }
            Self::RemoveSession(meeting) => {
                if let Some(uuid) = meeting.uuid(world) {
                    world.remove_session(&uuid);
                }
            }
            Self::RenameSeries { meeting, topic } => {
                if let Some(uuid) = meeting.uuid(world) {
                    world.rename_series(&uuid, topic);
                }
            }
            Self::DeleteHost(host) => {
                if let Some(host) = world.hosts.get_mut(*host) {
                    (host.exists, host.reported) = (false, false);
                }
            }
            Self::Restart(meeting) => {
                if let Some(uuid) = meeting.uuid(world) {
                    world.restart(&uuid);
                }
            }
        }
    }
}

/// serde's message with the place first, and the nearest of the names that it expected.
fn in_words(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let text = text.strip_suffix(&place).unwrap_or(&text);
    let mut said = format!("line {}, column {}: {text}", error.line(), error.column());
    let mut names = text.split('`').skip(1).step_by(2);
    if text.starts_with("unknown ")
        && let Some(wrong) = names.next()
        && let Some(nearest) =
            names.max_by(|a, b| strsim::jaro_winkler(wrong, a).total_cmp(&strsim::jaro_winkler(wrong, b)))
    {
        let what = text.split(',').next().unwrap_or(text);
        said = format!(
            "line {}, column {}: {what}; did you mean `{nearest}`?",
            error.line(),
            error.column()
        );
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_in_a_fault_plan_name_line_and_column() {
        let told: String = [
            "[{\"action\": \"blokced\"}]",
            "{\"rules\": [\n {\"endpont\": \"detail\", \"action\": \"reset\"}]}",
            "[{\"endpoint\": \"details\", \"action\": \"reset\"}]",
            "[{\"page\": \"middel\", \"action\": \"reset\"}]",
            "[{\"from\": 0, \"action\": \"reset\"}]",
            "[{\"times\": \"ever\", \"action\": \"reset\"}]",
            "[{\"endpoint\": \"detail\"}]",
            "{\"edits\": [{\"edit\": {\"extend\": {\"meeting\": 1, \"minuts\": 5}}}]}",
            "[{\"action\": \"reset\"",
            "7",
        ]
        .iter()
        .map(|text| format!("{text}\n  {}\n", FaultPlan::from_json(text).unwrap_err()))
        .collect();
        insta::assert_snapshot!(told);
    }

    #[test]
    fn a_fault_plan_may_be_a_plain_list_of_rules() {
        let plan = FaultPlan::from_json(
            "[{\"endpoint\": \"detail\", \"uuid\": \"a/b==\", \"page\": 2, \"from\": 2, \"times\": 3, \"after\": true, \"action\": \"no_participants\"}]",
        )
        .unwrap();
        let rule = &plan.rules[0];
        assert_eq!(rule.meeting, Some(Which::Uuid("a/b==".into())));
        assert_eq!((rule.page, rule.times), (Some(Page::Number(2)), Times(3)));
    }
}
