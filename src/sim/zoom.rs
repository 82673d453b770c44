//! The endpoints, as Zoom documents them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures::StreamExt;

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State as Shared},
    http::{HeaderMap, StatusCode, Uri},
    response::Response,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use chrono::{DateTime, Days, Months, NaiveDate, Utc};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::{
    CLIENT_ID, CLIENT_SECRET, Cursor, History, Logged, State,
    faults::Action,
    lock,
    world::{Host, Meeting, zoom_time},
};

/// The number of pieces in which an answer trickles in.
const DRIBBLES: usize = 10;

/// A parsed request.
struct Asked {
    endpoint: &'static str,
    label: &'static str,
    uuid: Option<String>,
    segments: Vec<String>,
    query: HashMap<String, String>,
    /// The path and every parameter except the page token.
    fixed: String,
    page: u32,
}

impl Asked {
    fn is_of_webinar(&self) -> bool {
        matches!(self.endpoint, "webinar_detail" | "report_webinar_detail")
    }
}

/// The answer to be sent.
struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Reply {
    fn json(status: u16, body: &Value) -> Self {
        Self {
            status,
            headers: vec![("content-type".into(), "application/json".into())],
            body: body.to_string().into_bytes(),
        }
    }

    fn error(status: u16, code: i64, message: &str) -> Self {
        Self::json(status, &json!({"code": code, "message": message}))
    }
}

pub(super) fn router(state: Arc<Mutex<State>>) -> Router {
    Router::new().fallback(answer).with_state(state)
}

async fn answer(Shared(state): Shared<Arc<Mutex<State>>>, request: Request) -> Response {
    let at = Instant::now();
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap_or_default();
    let (reply, action, latency, now) = {
        let mut state = lock(&state);
        let asked = take_apart(&parts.uri, &state);
        let now = (state.now)();
        let State { faults, world, .. } = &mut *state;
        faults.edit(asked.endpoint, world, now);
        let last = state.is_last_page(&asked);
        let State { faults, world, .. } = &mut *state;
        let fault = faults.fault(asked.endpoint, asked.uuid.as_deref(), (asked.page, last), world);
        let index = state.log.len();
        state.log.push(Logged {
            at,
            endpoint: asked.endpoint,
            label: asked.label,
            target: parts.uri.to_string(),
            uuid: asked.uuid.clone(),
            page: asked.page,
            status: 0,
        });
        let (reply, action) = match fault {
            Some((action, false)) => match instead(&action, &state) {
                Some(reply) => (reply, Some(action)),
                None => (state.reply(&asked, &parts.headers, &body, at), Some(action)),
            },
            Some((action, true)) => {
                let acted = state.reply(&asked, &parts.headers, &body, at);
                (instead(&action, &state).unwrap_or(acted), Some(action))
            }
            None => (state.reply(&asked, &parts.headers, &body, at), None),
        };
        if let Some(logged) = state.log.get_mut(index) {
            logged.status = reply.status;
        }
        let reply = match &action {
            Some(action) => state.bend(reply, action, &asked),
            None => reply,
        };
        (reply, action, state.setup.latency, Arc::clone(&state.now))
    };
    if matches!(action, Some(Action::Silent)) {
        std::future::pending::<()>().await;
    }
    let slow = match action {
        Some(Action::Slow(ms)) => Duration::from_millis(ms),
        _ => Duration::ZERO,
    };
    if !(latency + slow).is_zero() {
        tokio::time::sleep(latency + slow).await;
    }
    let mut response =
        Response::builder().status(StatusCode::from_u16(reply.status).unwrap_or(StatusCode::OK));
    for (name, value) in &reply.headers {
        response = response.header(name, value);
    }
    response = response.header("date", now().format("%a, %d %b %Y %H:%M:%S GMT").to_string());
    let body = match action {
        // Ends this connection's task silently, as a crash of the server would. The panic hook, which prints, is not called.
        Some(Action::Reset) => std::panic::resume_unwind(Box::new("reset")),
        Some(Action::Truncated) => {
            let half = Bytes::copy_from_slice(reply.body.get(..reply.body.len() / 2).unwrap_or_default());
            response = response.header("content-length", reply.body.len());
            let parts = [Ok(half), Err(std::io::Error::other("cut"))];
            Body::from_stream(futures::stream::iter(parts))
        }
        Some(Action::Stall) => {
            let half = Bytes::copy_from_slice(reply.body.get(..reply.body.len() / 2).unwrap_or_default());
            response = response.header("content-length", reply.body.len());
            let half = futures::stream::iter([Ok::<_, std::io::Error>(half)]);
            Body::from_stream(half.chain(futures::stream::pending()))
        }
        Some(Action::Dribble(ms)) => {
            let size = reply.body.len().div_ceil(DRIBBLES).max(1);
            let parts: Vec<Bytes> = reply.body.chunks(size).map(Bytes::copy_from_slice).collect();
            let pause = Duration::from_millis(ms) / DRIBBLES as u32;
            Body::from_stream(futures::stream::iter(parts).then(move |part| async move {
                tokio::time::sleep(pause).await;
                Ok::<_, std::io::Error>(part)
            }))
        }
        _ => Body::from(reply.body),
    };
    response.body(body).unwrap_or_default()
}

/// The answers that do not depend on the world.
fn instead(action: &Action, state: &State) -> Option<Reply> {
    let midnight = zoom_time(
        ((state.now)().date_naive() + Days::new(1))
            .and_time(chrono::NaiveTime::MIN)
            .and_utc(),
    );
    Some(match action {
        Action::Answer { status, body, headers } => {
            Reply { status: *status, headers: headers.clone(), body: body.clone().into_bytes() }
        }
        Action::Status(status) => Reply {
            status: *status,
            headers: vec![("content-type".into(), "text/html".into())],
            body: b"<html><body>Something went wrong</body></html>".to_vec(),
        },
        Action::Refused { status, code, message } => Reply::error(*status, *code, message),
        Action::TooFast => too_fast("Heavy"),
        Action::TooFastPlain => {
            let mut reply = too_fast("Heavy");
            reply.headers.truncate(1);
            reply
        }
        Action::TooFastUntil(seconds) => {
            let mut reply = too_fast("Heavy");
            let at = (state.now)() + chrono::Duration::seconds(*seconds);
            reply.headers.push(("retry-after".into(), zoom_time(at)));
            reply
        }
        Action::TooFastHttpDate(seconds) => {
            let mut reply = too_fast("Heavy");
            let at = (state.now)() + chrono::Duration::seconds(*seconds);
            let date = at.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
            reply.headers.push(("retry-after".into(), date));
            reply
        }
        Action::TooFastEmpty => Reply { status: 429, headers: Vec::new(), body: Vec::new() },
        Action::TooFastSeconds(seconds) => {
            let mut reply = too_fast("Heavy");
            reply.headers.push(("retry-after".into(), seconds.to_string()));
            reply
        }
        Action::Daily => daily("Heavy", &midnight),
        Action::DailyPlain => {
            let mut reply = daily("Heavy", &midnight);
            reply.headers.retain(|(name, _)| name != "retry-after");
            reply
        }
        Action::DailyUser => Reply::error(
            429,
            429,
            "You have exceeded the daily rate limit (100) of Meeting Create/Update API requests permitted for this particular user. \
             You may resume these requests at GMT 00:00:00.",
        ),
        Action::MonthOutOfReach => {
            Reply::error(400, 300, "The request can only be queried for a month that falls within the last six months.")
        }
        Action::EndTimeRefused => Reply::error(400, 12700, "This account cannot query meetings by `end_time`."),
        Action::TooOld => Reply::error(400, 12702, "Can not access a meeting a year ago."),
        Action::NotLicensed => {
            Reply::error(400, 3161, "Meeting hosting and scheduling capabilities are not allowed for your user account.")
        }
        Action::NoMeeting => Reply::error(404, 3001, "Meeting ID is invalid or has not ended."),
        Action::NoUser => Reply::error(404, 1001, "User does not exist."),
        Action::OtherAccount => Reply::error(400, 1010, "User does not belong to this account."),
        Action::NoDashboard => {
            Reply::error(400, 200, "Only available for paid accounts that have dashboard feature enabled.")
        }
        Action::NoDashboardPlan => Reply::error(
            400,
            400,
            "This API is only available for ZMP and Business or higher accounts that have enabled the Dashboard feature.",
        ),
        Action::ErrorInside => Reply::error(200, 300, "Something is wrong inside."),
        Action::Unauthorised => Reply::error(401, 124, "Invalid access token."),
        Action::Scopes => {
            Reply::error(400, 4711, "Invalid access token, does not contain scopes:[dashboard:read:list_meetings:admin].")
        }
        Action::ScopesBroken => Reply {
            status: 400,
            headers: vec![("content-type".into(), "application/json".into())],
            body: br#"{"code":104,"message":"Invalid access token, does not contain scopes:["report:read:admin"]."}"#.to_vec(),
        },
        Action::Blocked => Reply {
            status: 403,
            headers: vec![("content-type".into(), "text/html".into())],
            body: b"<html><body>Sorry, you have been blocked</body></html>".to_vec(),
        },
        Action::TokenExpired => Reply::error(400, 300, "The next page token is invalid or expired."),
        Action::Redirect => {
            Reply { status: 302, headers: vec![("location".into(), "http://127.0.0.1:9/elsewhere".into())], body: Vec::new() }
        }
        Action::Silent => Reply { status: 0, headers: Vec::new(), body: Vec::new() },
        _ => return None,
    })
}

impl State {
    /// Changes an answer as the fault requires.
    fn bend(&mut self, mut reply: Reply, action: &Action, asked: &Asked) -> Reply {
        let Ok(mut body) = serde_json::from_slice::<Value>(&reply.body) else {
            return reply;
        };
        // An answer has one list at most.
        let list = body.as_object().and_then(|members| {
            let list = members.iter().find(|(_, value)| value.is_array());
            list.map(|(name, _)| name.clone())
        });
        let list = list.as_deref().unwrap_or("participants");
        match action {
            Action::TokenBack => {
                self.counter += 1;
                let token = format!("back{}", self.counter);
                let tokens = [
                    asked.query.get("next_page_token").map(String::as_str),
                    body["next_page_token"].as_str(),
                ];
                let rows = tokens
                    .into_iter()
                    .flatten()
                    .find_map(|token| self.pages.get(token));
                let rows = rows.map(|cursor| Arc::clone(&cursor.rows));
                let rows =
                    rows.unwrap_or_else(|| Arc::new(body[list].as_array().cloned().unwrap_or_default()));
                let cursor = Cursor {
                    query: asked.fixed.clone(),
                    rows,
                    next: 0,
                    page: 1,
                    made: Instant::now(),
                };
                self.pages.insert(token.clone(), cursor);
                body["next_page_token"] = token.into();
            }
            Action::TotalTooHigh(more) => {
                body["total_records"] = (body["total_records"].as_u64().unwrap_or(0) + more).into();
            }
            Action::TotalAbsent => {
                if let Some(body) = body.as_object_mut() {
                    body.remove("total_records");
                }
            }
            Action::EchoShifted(days) => {
                for name in ["from", "to"] {
                    if let Some(day) = body[name].as_str().and_then(|day| day.parse::<NaiveDate>().ok()) {
                        body[name] = (day + chrono::Duration::days(*days)).to_string().into();
                    }
                }
            }
            Action::CutList => {
                body[list] = json!([]);
                body["next_page_token"] = "".into();
            }
            Action::EmptyList => {
                body[list] = json!([]);
                body["next_page_token"] = "".into();
                body["total_records"] = 0.into();
                body["page_count"] = 0.into();
            }
            Action::NullRow => {
                if let Some(row) = body[list].as_array_mut().and_then(|rows| rows.first_mut()) {
                    *row = Value::Null;
                }
            }
            Action::RowRepeated => {
                if let Some(rows) = body[list].as_array_mut() {
                    rows.extend(rows.first().cloned());
                }
            }
            Action::NoList => {
                if let Some(body) = body.as_object_mut() {
                    body.remove(list);
                }
            }
            Action::InvalidJson => {
                reply.body.truncate(reply.body.len() / 2);
                return reply;
            }
            Action::TokenRepeated => {
                let token = asked
                    .query
                    .get("next_page_token")
                    .cloned()
                    .unwrap_or_else(|| "again".to_owned());
                body["next_page_token"] = token.into();
            }
            Action::WrongTotal(total) => body["total_records"] = (*total).into(),
            Action::EarlierTo(days) => {
                let to = body["to"].as_str().and_then(|to| to.parse::<NaiveDate>().ok());
                if let Some(to) = to {
                    body["to"] = (to - chrono::Duration::days(*days)).to_string().into();
                }
            }
            _ => return reply,
        }
        reply.body = body.to_string().into_bytes();
        reply
    }

    /// Whether the requested page is the last one. The first page always counts as the last.
    fn is_last_page(&self, asked: &Asked) -> bool {
        let size = self.page_size(asked);
        let cursor = asked
            .query
            .get("next_page_token")
            .and_then(|token| self.pages.get(token));
        cursor.is_none_or(|cursor| cursor.next + size >= cursor.rows.len())
    }

    fn page_size(&self, asked: &Asked) -> usize {
        let cap = self
            .faults
            .page_size_cap
            .and_then(|cap| usize::try_from(cap.get()).ok());
        let asked = asked
            .query
            .get("page_size")
            .and_then(|size| size.parse::<usize>().ok());
        asked
            .unwrap_or(30)
            .clamp(1, 300)
            .min(cap.or(self.setup.page_size_cap).unwrap_or(300))
    }
}

fn too_fast(label: &str) -> Reply {
    let mut reply = Reply::error(
        429,
        429,
        "You have reached the maximum per-second rate limit for this API. Try again later.",
    );
    reply.headers.push(("x-ratelimit-category".into(), label.into()));
    reply.headers.push(("x-ratelimit-type".into(), "QPS".into()));
    reply
}

fn daily(label: &str, midnight: &str) -> Reply {
    let mut reply = Reply::error(
        429,
        429,
        "You have reached the maximum daily rate limit for this API. Refer to the response header for details on when you can \
         make another request.",
    );
    reply.headers.push(("x-ratelimit-category".into(), label.into()));
    reply
        .headers
        .push(("x-ratelimit-type".into(), "Daily-limit".into()));
    reply.headers.push(("retry-after".into(), midnight.to_owned()));
    reply
}

fn take_apart(uri: &Uri, state: &State) -> Asked {
    let raw: Vec<&str> = uri.path().trim_matches('/').split('/').collect();
    let segments: Vec<String> = raw.iter().map(|segment| decode(segment)).collect();
    let names: Vec<&str> = segments.iter().map(String::as_str).collect();
    let (endpoint, label, meeting) = match names.as_slice() {
        ["oauth", "token"] => ("token", "", None),
        ["v2", "metrics", "meetings"] => ("listing", "Resource-intensive", None),
        ["v2", "metrics", "meetings", meeting, "participants"] => ("detail", "Heavy", Some(*meeting)),
        ["v2", "metrics", "webinars"] => ("webinars", "Resource-intensive", None),
        ["v2", "metrics", "webinars", webinar, "participants"] => ("webinar_detail", "Heavy", Some(*webinar)),
        ["v2", "report", "webinars", webinar, "participants"] => {
            ("report_webinar_detail", "Heavy", Some(*webinar))
        }
        ["v2", "report", "users", _, "meetings"] => ("report_listing", "Heavy", None),
        ["v2", "report", "meetings", meeting, "participants"] => ("report_detail", "Heavy", Some(*meeting)),
        ["v2", "report", "users"] => ("hosts", "Heavy", None),
        ["v2", "report", "history_meetings"] => ("history", "Heavy", None),
        ["v2", "users", _, "meetings"] => ("series", "Medium", None),
        ["v2", "past_meetings", meeting] => ("past_meeting", "Light", Some(*meeting)),
        _ => ("other", "Light", None),
    };
    // An ordinary UUID is decoded once. A UUID that begins with a slash or contains two in a row must be encoded twice. An ordinary UUID that was
    // encoded twice is accepted too.
    let uuid = meeting.map(|once| {
        let twice = decode(once);
        if once.starts_with('/') || once.contains("//") {
            format!("not encoded twice: {once}")
        } else {
            twice
        }
    });
    let query: HashMap<String, String> = uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (decode(name), decode(&value.replace('+', " "))))
        .collect();
    let mut fixed: Vec<String> = query
        .iter()
        .filter(|(name, _)| *name != "next_page_token")
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    fixed.sort();
    let page = query
        .get("next_page_token")
        .and_then(|token| state.pages.get(token))
        .map_or(1, |cursor| cursor.page);
    Asked {
        endpoint,
        label,
        uuid,
        fixed: format!("{}?{}", uri.path(), fixed.join("&")),
        segments,
        query,
        page,
    }
}

fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

impl State {
    fn reply(&mut self, asked: &Asked, headers: &HeaderMap, body: &[u8], at: Instant) -> Reply {
        if asked.endpoint == "token" {
            return self.token(headers, body);
        }
        let now = (self.now)();
        let bearer = headers
            .get("authorization")
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "))
            .unwrap_or_default();
        match self.tokens.get(bearer) {
            None => return Reply::error(401, 124, "Invalid access token."),
            Some(expires) if *expires <= now => return Reply::error(401, 124, "Access token is expired."),
            Some(_) => {}
        }
        if let Some(refused) = self.limit(asked.label, at, now) {
            return refused;
        }
        match asked.endpoint {
            "webinars" | "webinar_detail" | "report_webinar_detail" if !self.setup.webinars => Reply::error(
                400,
                200,
                "Webinar plan is missing. You must subscribe to the webinar plan and enable webinars for this user in order to perform \
                 this action.",
            ),
            "listing" | "detail" | "webinars" | "webinar_detail" if !self.setup.dashboards => Reply::error(
                400,
                200,
                "Only available for paid accounts that have dashboard feature enabled.",
            ),
            "report_listing" => self.report_listing(asked, now),
            "report_detail" | "report_webinar_detail" => self.report_detail(asked, now),
            "listing" | "webinars" => self.listing(asked, now),
            "detail" | "webinar_detail" => self.detail(asked, now),
            "hosts" => self.hosts(asked, now),
            "history" if self.setup.history != History::Missing => self.history(asked, now),
            "series" => self.series(asked),
            "past_meeting" => self.past_meeting(asked, now),
            _ => Reply::error(404, 2300, "This API endpoint is not recognized."),
        }
    }

    fn token(&mut self, headers: &HeaderMap, body: &[u8]) -> Reply {
        let refuse = |reason: &str, error: &str| Reply::json(400, &json!({"reason": reason, "error": error}));
        let form = String::from_utf8_lossy(body).into_owned();
        let expected = format!(
            "Basic {}",
            BASE64_STANDARD.encode(format!("{CLIENT_ID}:{CLIENT_SECRET}"))
        );
        if headers.get("authorization").and_then(|value| value.to_str().ok()) != Some(expected.as_str()) {
            return refuse("Invalid client_id or client_secret", "invalid_client");
        }
        if !form.contains("grant_type=account_credentials") {
            return Reply::json(400, &json!({"error": "unsupported_grant_type"}));
        }
        if !form.contains(&format!("account_id={}", self.setup.account_id)) {
            return refuse("Account does not exist", "invalid_request");
        }
        self.counter += 1;
        let token = format!("simulated-token-{}", self.counter);
        let lives = i64::try_from(self.setup.expires_in).unwrap_or(3599);
        self.tokens
            .insert(token.clone(), (self.now)() + chrono::Duration::seconds(lives));
        Reply::json(
            200,
            &json!({"access_token": token, "token_type": "bearer", "expires_in": self.setup.expires_in, "scope": self.setup.scopes}),
        )
    }

    fn limit(&mut self, label: &'static str, at: Instant, now: DateTime<Utc>) -> Option<Reply> {
        let limits = self.setup.limits;
        let (most, window) = match label {
            "Light" => (limits.light, 1),
            "Medium" => (limits.medium, 1),
            "Heavy" => (limits.heavy, 1),
            _ => (limits.resource_intensive, 60),
        };
        let recent = self.recent.entry(label).or_default();
        while recent
            .front()
            .is_some_and(|first| at.saturating_duration_since(*first) >= Duration::from_secs(window))
        {
            recent.pop_front();
        }
        if recent.len() >= most {
            return Some(too_fast(label));
        }
        if matches!(label, "Heavy" | "Resource-intensive") {
            if self.today.0 != now.date_naive() {
                self.today = (now.date_naive(), 0);
            }
            if self.today.1 >= limits.daily {
                let midnight = (now.date_naive() + Days::new(1))
                    .and_time(chrono::NaiveTime::MIN)
                    .and_utc();
                return Some(daily(label, &zoom_time(midnight)));
            }
            self.today.1 += 1;
        }
        recent.push_back(at);
        None
    }

    fn days(asked: &Asked, now: DateTime<Utc>) -> Result<(NaiveDate, NaiveDate), Reply> {
        let (Some(from), Some(to)) = (asked.query.get("from"), asked.query.get("to")) else {
            return Err(Reply::error(400, 300, "The from and to parameters are required."));
        };
        let day = |text: &str| {
            NaiveDate::parse_from_str(text, "%Y-%m-%d")
                .ok()
                .filter(|day| day.to_string() == text)
        };
        let (Some(from), Some(to)) = (day(from), day(to)) else {
            // Unpadded dates give no error and no meetings.
            return Err(Reply::json(
                200,
                &json!({"from": from, "to": to, "page_count": 0, "total_records": 0, "next_page_token": "", "meetings": [], "users": []}),
            ));
        };
        let earliest = now
            .date_naive()
            .checked_sub_months(Months::new(6))
            .unwrap_or(from);
        if from < earliest {
            return Err(Reply::error(
                400,
                300,
                "The request can only be queried for a month that falls within the last six months.",
            ));
        }
        if from
            .checked_add_months(Months::new(1))
            .is_none_or(|last| to > last)
            || to < from
        {
            return Err(Reply::error(
                400,
                300,
                "The range of from and to can be one month at most.",
            ));
        }
        Ok((from, to))
    }

    fn listing(&mut self, asked: &Asked, now: DateTime<Utc>) -> Reply {
        let (from, to) = match Self::days(asked, now) {
            Ok(days) => days,
            Err(reply) => return reply,
        };
        let kind = asked.query.get("type").map_or("live", String::as_str);
        let by_end = asked
            .query
            .get("query_date_type")
            .is_some_and(|by| by == "end_time");
        if by_end && (self.setup.refuse_end_time || kind != "past") {
            return Reply::error(400, 12700, "This account cannot query meetings by `end_time`.");
        }
        let (hosts, webinars) = (&self.world.hosts, asked.endpoint == "webinars");
        let rows = || {
            self.world
                .meetings
                .iter()
                .filter(|meeting| {
                    let day = if by_end { meeting.end } else { meeting.start }.date_naive();
                    let listed = match kind {
                        "past" => !meeting.one_person,
                        "pastOne" => meeting.one_person && !webinars,
                        _ => false,
                    };
                    listed
                        && meeting.webinar == webinars
                        && from <= day
                        && day <= to
                        && meeting.visible_from <= now
                        && meeting.end <= now
                })
                .map(|meeting| {
                    let row = listing_row(meeting, hosts.get(meeting.host));
                    without(row, if webinars { &MEETINGS_ONLY } else { &[] })
                })
                .collect()
        };
        let echo = json!({"from": from.to_string(), "to": to.to_string()});
        let rows: Option<Vec<Value>> = (!asked.query.contains_key("next_page_token")).then(rows);
        self.page(asked, rows, if webinars { "webinars" } else { "meetings" }, echo)
    }

    fn detail(&mut self, asked: &Asked, now: DateTime<Utc>) -> Reply {
        let kind = asked.query.get("type").map_or("live", String::as_str);
        let uuid = asked.uuid.as_deref().unwrap_or_default();
        let missing = || Reply::error(404, 3001, "Meeting ID is invalid or has not ended.");
        let Some(meeting) = self
            .world
            .meeting(uuid)
            .filter(|meeting| meeting.visible_from <= now && meeting.webinar == asked.is_of_webinar())
        else {
            return missing();
        };
        if kind != if meeting.one_person { "pastOne" } else { "past" } {
            return missing();
        }
        if meeting.end < now.checked_sub_months(Months::new(12)).unwrap_or(now) {
            return Reply::error(400, 12702, "Can not access a meeting a year ago.");
        }
        let registrants = asked
            .query
            .get("include_fields")
            .is_some_and(|fields| fields == "registrant_id");
        let rows = meeting
            .sessions
            .iter()
            .filter(|_| meeting.sessions_from <= now)
            .map(|session| {
                let mut row = session.row.clone();
                if !registrants {
                    row.remove("registrant_id");
                }
                let lacks: &[&str] = if meeting.webinar { &IN_MEETINGS_ONLY } else { &[] };
                without(Value::Object(row), lacks)
            })
            .collect();
        let echo = json!({"meeting_number": meeting.series.to_string()});
        let rows = (!asked.query.contains_key("next_page_token")).then_some(rows);
        self.page(asked, rows, "participants", echo)
    }

    fn report_listing(&mut self, asked: &Asked, now: DateTime<Utc>) -> Reply {
        let (from, to) = match Self::days(asked, now) {
            Ok(days) => days,
            Err(reply) => return reply,
        };
        let id = asked.segments.get(3).cloned().unwrap_or_default();
        let found = self
            .world
            .hosts
            .iter()
            .position(|host| (host.id == id || host.email == id) && host.exists);
        let Some((index, host)) = found.and_then(|index| Some((index, self.world.hosts.get(index)?))) else {
            return Reply::error(
                404,
                1001,
                &format!("User {id} not exist or not belong to this account."),
            );
        };
        let kind = asked.query.get("type").map_or("past", String::as_str);
        // Webinars are listed among the meetings.
        let rows: Vec<Value> = self
            .world
            .meetings
            .iter()
            .filter(|meeting| {
                let day = meeting.start.date_naive();
                let listed = match kind {
                    "past" => !meeting.one_person,
                    "pastOne" => meeting.one_person,
                    _ => false,
                };
                let shown = meeting.visible_from <= now && meeting.end <= now;
                listed && shown && meeting.host == index && from <= day && day <= to
            })
            .map(|meeting| report_row(meeting, host))
            .collect();
        let echo = json!({"from": from.to_string(), "to": to.to_string()});
        let rows = (!asked.query.contains_key("next_page_token")).then_some(rows);
        self.page(asked, rows, "meetings", echo)
    }

    fn history(&mut self, asked: &Asked, now: DateTime<Utc>) -> Reply {
        let (from, to) = match Self::days(asked, now) {
            Ok(days) => days,
            Err(reply) => return reply,
        };
        let by_end = asked.query.get("date_type").is_some_and(|by| by == "end_time");
        let kinds = asked.query.get("meeting_type").map_or("all", String::as_str);
        let late = match self.setup.history {
            History::Late(late) => late,
            _ => chrono::TimeDelta::zero(),
        };
        let one_person = self.setup.history != History::WithoutOnePerson;
        let shown = self.world.meetings.iter().filter(|meeting| {
            let day = if by_end { meeting.end } else { meeting.start }.date_naive();
            let wanted = match kinds {
                "meeting" => !meeting.webinar,
                "webinar" => meeting.webinar,
                _ => true,
            };
            wanted
                && (one_person || !meeting.one_person)
                && (from..=to).contains(&day)
                && meeting.visible_from <= now
                && meeting.end + late <= now
        });
        let rows: Vec<Value> = shown
            .filter_map(|meeting| Some(history_row(meeting, self.world.hosts.get(meeting.host)?)))
            .collect();
        let rows = (!asked.query.contains_key("next_page_token")).then_some(rows);
        match self.next_page(asked, rows, "history_meetings", json!({})) {
            Ok(answer) => Reply::json(200, &without(answer, &["page_count", "total_records"])),
            Err(refusal) => refusal,
        }
    }

    fn report_detail(&mut self, asked: &Asked, now: DateTime<Utc>) -> Reply {
        let uuid = asked.uuid.as_deref().unwrap_or_default();
        let found = self
            .world
            .meeting(uuid)
            .filter(|meeting| meeting.visible_from <= now && meeting.webinar == asked.is_of_webinar());
        let Some(meeting) = found else {
            return Reply::error(404, 3001, &format!("Meeting {uuid} not found or has expired."));
        };
        let months = if meeting.webinar { 6 } else { 12 };
        if meeting.end < now.checked_sub_months(Months::new(months)).unwrap_or(now) {
            return Reply::error(400, 12702, "Can not access meeting a year ago.");
        }
        let registrants = asked
            .query
            .get("include_fields")
            .is_some_and(|fields| fields == "registrant_id");
        let shown = meeting.sessions.iter().filter(|_| meeting.sessions_from <= now);
        let mut rows: Vec<Value> = shown
            .map(|session| report_session(&session.row, registrants))
            .collect();
        // A participant who never left the waiting room.
        if let (Some(mut waited), true) = (rows.first().cloned(), rows.len().is_multiple_of(4)) {
            waited["status"] = "in_waiting_room".into();
            waited["user_id"] = "1".into();
            rows.push(waited);
        }
        let rows = (!asked.query.contains_key("next_page_token")).then_some(rows);
        self.page(asked, rows, "participants", json!({}))
    }

    fn hosts(&mut self, asked: &Asked, now: DateTime<Utc>) -> Reply {
        let (from, to) = match Self::days(asked, now) {
            Ok(days) => days,
            Err(reply) => return reply,
        };
        let rows = self
            .world
            .hosts
            .iter()
            .enumerate()
            .filter(|(index, host)| {
                (host.reported || !self.setup.dashboards)
                    && asked.query.get("type").is_some_and(|kind| kind == "active")
                    && self.world.meetings.iter().any(|meeting| {
                        meeting.host == *index && (from..=to).contains(&meeting.start.date_naive())
                    })
            })
            .map(|(_, host)| {
                json!({"id": host.id, "email": host.email, "user_name": host.name, "dept": host.dept, "type": host.user_type,
                       "meetings": 3, "participants": 9, "meeting_minutes": 120, "custom_attributes": []})
            })
            .collect();
        let echo = json!({"from": from.to_string(), "to": to.to_string(), "total_meetings": 1, "total_participants": 1, "total_meeting_minutes": 1});
        let rows = (!asked.query.contains_key("next_page_token")).then_some(rows);
        self.page(asked, rows, "users", echo)
    }

    fn series(&mut self, asked: &Asked) -> Reply {
        let id = asked.segments.get(2).cloned().unwrap_or_default();
        let found = self
            .world
            .hosts
            .iter()
            .position(|host| host.id == id || host.email == id);
        let Some((index, host)) = found.and_then(|index| Some((index, self.world.hosts.get(index)?))) else {
            return Reply::error(404, 1001, &format!("User does not exist: {id}."));
        };
        if !host.exists {
            return Reply::error(404, 1001, &format!("User does not exist: {id}."));
        }
        if !host.licensed {
            return Reply::error(
                400,
                3161,
                "Meeting hosting and scheduling capabilities are not allowed for your user account.",
            );
        }
        let rows = self
            .world
            .series
            .iter()
            .filter(|series| series.host == index)
            .filter_map(|series| {
                Some(json!({"id": series.id, "host_id": host.id, "topic": series.topic, "type": series.scheduled_type?,
                            "duration": 60, "timezone": "UTC", "created_at": "2026-01-10T09:00:00Z",
                            "join_url": format!("https://example.com/j/{}", series.id)}))
            })
            .collect();
        let rows = (!asked.query.contains_key("next_page_token")).then_some(rows);
        self.page(asked, rows, "meetings", json!({}))
    }

    fn past_meeting(&self, asked: &Asked, now: DateTime<Utc>) -> Reply {
        let uuid = asked.uuid.as_deref().unwrap_or_default();
        let found = self
            .world
            .meeting(uuid)
            .filter(|meeting| meeting.visible_from <= now && meeting.end <= now && !meeting.webinar);
        let Some(meeting) = found else {
            return Reply::error(404, 3001, &format!("Meeting does not exist: {uuid}."));
        };
        let host = self.world.hosts.get(meeting.host);
        Reply::json(
            200,
            &json!({"uuid": meeting.uuid, "id": meeting.series, "host_id": host.map(|host| &host.id), "topic": meeting.topic,
                    "type": 2, "user_name": host.map(|host| &host.name), "user_email": host.map(|host| &host.email),
                    "start_time": zoom_time(meeting.start), "end_time": zoom_time(meeting.end),
                    "duration": (meeting.end - meeting.start).num_minutes(), "participants_count": meeting.sessions.len()}),
        )
    }

    /// One page, either of new rows or of the rows that the page token stands for.
    fn page(&mut self, asked: &Asked, rows: Option<Vec<Value>>, array: &str, answer: Value) -> Reply {
        match self.next_page(asked, rows, array, answer) {
            Ok(answer) => Reply::json(200, &answer),
            Err(refusal) => refusal,
        }
    }

    /// The body of one page.
    fn next_page(
        &mut self,
        asked: &Asked,
        rows: Option<Vec<Value>>,
        array: &str,
        mut answer: Value,
    ) -> Result<Value, Reply> {
        let size = self.page_size(asked);
        let (rows, first, page) = match (rows, asked.query.get("next_page_token")) {
            (Some(rows), _) => (Arc::new(rows), 0, 1),
            (None, token) => {
                let lives = self.setup.token_lives;
                match token.and_then(|token| self.pages.get(token)) {
                    Some(cursor) if cursor.query == asked.fixed && cursor.made.elapsed() < lives => {
                        (Arc::clone(&cursor.rows), cursor.next, cursor.page)
                    }
                    _ => {
                        return Err(Reply::error(
                            400,
                            300,
                            "The next page token is invalid or expired.",
                        ));
                    }
                }
            }
        };
        let next = (first + size).min(rows.len());
        let mut token = String::new();
        if next < rows.len() {
            self.counter += 1;
            token = format!("t{}/+={}", self.counter, rows.len());
            self.pages.insert(
                token.clone(),
                Cursor {
                    query: asked.fixed.clone(),
                    rows: Arc::clone(&rows),
                    next,
                    page: page + 1,
                    made: Instant::now(),
                },
            );
        }
        answer[array] = rows.get(first..next).unwrap_or_default().into();
        answer["page_size"] = size.into();
        answer["page_count"] = rows.len().div_ceil(size).into();
        answer["total_records"] = rows.len().into();
        answer["next_page_token"] = token.into();
        Ok(answer)
    }
}

/// Fields that the dashboards have for meetings but not for webinars. The next constant is the same for participants.
const MEETINGS_ONLY: [&str; 4] = ["avg_jointime_cost", "has_qa", "session_key", "tracking_fields"];
const IN_MEETINGS_ONLY: [&str; 6] = [
    "aic_disclaimer",
    "camera",
    "groupId",
    "in_room_participants",
    "status",
    "total_jointime_cost",
];

/// A row without the members of these names.
fn without(mut row: Value, names: &[&str]) -> Value {
    if let Some(members) = row.as_object_mut() {
        members.retain(|name, _| !names.contains(&name.as_str()));
    }
    row
}

fn report_row(meeting: &Meeting, host: &Host) -> Value {
    json!({
        "uuid": meeting.uuid,
        "id": meeting.series,
        "type": if meeting.webinar { 5 } else { 2 },
        "topic": meeting.topic,
        "user_name": host.name,
        "user_email": host.email,
        "start_time": zoom_time(meeting.start),
        "end_time": zoom_time(meeting.end),
        "duration": (meeting.end - meeting.start).num_minutes() + 1,
        "total_minutes": 17,
        "participants_count": meeting.sessions.len(),
        "source": "Zoom",
        "has_recording": meeting.sessions.len().is_multiple_of(3),
        "has_screen_share": meeting.sessions.len() > 3,
        "has_chat": false,
        "custom_keys": [],
    })
}

fn history_row(meeting: &Meeting, host: &Host) -> Value {
    json!({
        "meeting_uuid": meeting.uuid,
        "meeting_id": meeting.series,
        "type": if meeting.webinar { "Webinar" } else { "Meeting" },
        "host_display_name": host.name,
        "host_email": host.email,
        "start_time": zoom_time(meeting.start),
        "end_time": zoom_time(meeting.end),
        "topic": meeting.topic,
        "participants": meeting.sessions.len(),
        "duration": (meeting.end - meeting.start).num_minutes() + 1,
        "total_participant_minutes": 17,
        "department": host.dept,
        "group": [],
        "source": "Zoom",
        "create_time": zoom_time(meeting.start),
        "custom_fields": [],
        "tracking_fields": [],
        "feature_used": {"screen_sharing": meeting.sessions.len() > 3},
    })
}

fn report_session(row: &serde_json::Map<String, Value>, registrants: bool) -> Value {
    let time = |name: &str| {
        let text = row.get(name).and_then(Value::as_str)?;
        text.parse::<DateTime<Utc>>().ok()
    };
    let stayed = time("join_time").zip(time("leave_time"));
    let mut report = json!({
        "id": row.get("id"),
        "name": row.get("user_name"),
        "user_email": row.get("email"),
        "user_id": row.get("user_id"),
        "participant_user_id": row.get("participant_user_id"),
        "join_time": row.get("join_time"),
        "leave_time": row.get("leave_time"),
        "duration": stayed.map_or(0, |(joined, left)| (left - joined).num_seconds()),
        "failover": false,
        "status": "in_meeting",
        "customer_key": row.get("customer_key"),
        "bo_mtg_id": row.get("bo_mtg_id"),
    });
    if registrants {
        report["registrant_id"] = row.get("registrant_id").cloned().unwrap_or_default();
    }
    report
}

fn listing_row(meeting: &Meeting, host: Option<&Host>) -> Value {
    let seconds = (meeting.end - meeting.start).num_seconds();
    let duration = if seconds >= 3_600 {
        format!(
            "{:02}:{:02}:{:02}",
            seconds / 3_600,
            seconds / 60 % 60,
            seconds % 60
        )
    } else {
        format!("{:02}:{:02}", seconds / 60, seconds % 60)
    };
    json!({
        "uuid": meeting.uuid,
        "id": meeting.series,
        "topic": meeting.topic,
        "host": host.map(|host| &host.name),
        "email": host.map(|host| &host.email),
        "dept": host.map(|host| &host.dept),
        "user_type": host.map(|host| if host.user_type == 2 { "Licensed" } else { "Basic" }),
        "start_time": zoom_time(meeting.start),
        "end_time": zoom_time(meeting.end),
        "duration": duration,
        "participants": meeting.sessions.len(),
        "has_pstn": false,
        "has_voip": true,
        "has_3rd_party_audio": false,
        "has_video": true,
        "has_screen_share": meeting.sessions.len() > 3,
        "has_recording": meeting.sessions.len().is_multiple_of(3),
        "has_sip": false,
        "has_archiving": false,
        "has_manual_captions": false,
        "has_automated_captions": true,
        "has_poll": false,
        "has_qa": false,
        "has_survey": false,
        "audio_quality": meeting.quality,
        "video_quality": meeting.quality,
        "screen_share_quality": meeting.quality,
        "avg_jointime_cost": 4.55,
        "session_key": "",
        "custom_keys": [],
        "tracking_fields": [{"field": "Term", "value": "autumn"}],
    })
}
