//! Faults as data: which request goes wrong, and how. What Zoom is known to do, and what networks do.

use serde::Deserialize;

/// Rules in order; the first that matches a request decides.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(transparent)]
pub struct FaultPlan {
    pub rules: Vec<Rule>,
}

/// One rule.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// `token`, `listing`, `hosts`, `series`, `past_meeting`, `detail`; any if not said.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// Only for this meeting.
    #[serde(default)]
    pub uuid: Option<String>,
    /// Only for this page, from 1.
    #[serde(default)]
    pub page: Option<u32>,
    /// Of the matching requests, the first that goes wrong, from 1.
    #[serde(default = "first")]
    pub from: u64,
    /// And how many do.
    #[serde(default = "one")]
    pub times: u64,
    /// Whether the request is counted and acted on before its answer goes wrong.
    #[serde(default)]
    pub after: bool,
    /// What happens.
    pub action: Action,
    /// Matching requests so far.
    #[serde(skip)]
    pub met: u64,
}

fn first() -> u64 {
    1
}

fn one() -> u64 {
    1
}

/// What happens to a request.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// An answer of one's own.
    Answer {
        status: u16,
        #[serde(default)]
        body: String,
        #[serde(default)]
        headers: Vec<(String, String)>,
    },
    /// Per-second 429 with headers.
    TooFast,
    /// 429 without a body or a header.
    TooFastEmpty,
    /// 429 with the seconds to wait.
    TooFastSeconds(u64),
    /// The daily 429: headers, and Retry-After as a date and time.
    Daily,
    /// 401, code 124.
    Unauthorised,
    /// 400, code 4711, with the scopes in the text.
    Scopes,
    /// Code 104, whose JSON is not valid.
    ScopesBroken,
    /// 403 with a page for people.
    Blocked,
    /// 400, code 300: the page token is invalid or expired.
    TokenExpired,
    /// The answer repeats the token that was asked with.
    TokenRepeated,
    /// The answer counts other records than it has.
    WrongTotal(u64),
    /// The answer echoes an earlier last day than was asked.
    EarlierTo(i64),
    /// No participants.
    NoParticipants,
    /// The connection closes without an answer.
    Reset,
    /// The answer stops in its middle.
    Truncated,
    /// So many milliseconds pass before the answer.
    Slow(u64),
    /// A redirect to another host.
    Redirect,
    /// No answer comes, for ever.
    Silent,
}

impl FaultPlan {
    /// Reads a plan: a list of rules in JSON.
    ///
    /// # Errors
    /// The line and column, and what is wrong there.
    pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// The fault of a request, if it has one; counts the rules it matches.
    pub fn fault(&mut self, endpoint: &str, uuid: Option<&str>, page: u32) -> Option<(Action, bool)> {
        let mut found = None;
        for rule in &mut self.rules {
            let matches = rule.endpoint.as_deref().is_none_or(|wanted| wanted == endpoint)
                && rule.uuid.as_deref().is_none_or(|wanted| uuid == Some(wanted))
                && rule.page.is_none_or(|wanted| wanted == page);
            if !matches {
                continue;
            }
            rule.met += 1;
            if rule.met >= rule.from && rule.met - rule.from < rule.times && found.is_none() {
                found = Some((rule.action.clone(), rule.after));
            }
        }
        found
    }
}
