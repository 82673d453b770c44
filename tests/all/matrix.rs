//! Every endpoint, every fault, every page: the run that meets a fault ends as `docs/faults.md` says and loses nothing, and the next run ends in
//! the
//! right state. The table in that page is generated from the one in this file.
//!
//! `HARVESTER_LONG=1` publishes in every case, and adds those in which the client waits for a minute or for a silent server.

use std::collections::BTreeMap;

use crate::common::{ENGINES, Stage};
use chrono::{DateTime, Datelike, Months, TimeDelta, Utc};
use futures::StreamExt;
use serde_json::{Value, json};
use zoom_harvester::{
    catalog::Catalog,
    model::Source,
    sim::{
        faults::FaultPlan,
        world::{Host, Series, Spec, World},
    },
    sync::{Ending, Scope},
    zoom::pace::Plan,
};

const ENDPOINTS: [&str; 6] = ["token", "listing", "hosts", "series", "past_meeting", "detail"];

/// A fault, and for each endpoint the exit codes of a run that meets it once and of a run that always meets it.
struct Fault {
    action: &'static str,
    ends: &'static str,
    does: &'static str,
    next: &'static str,
}

const fn fault(action: &'static str, ends: &'static str, does: &'static str, next: &'static str) -> Fault {
    Fault {
        action,
        ends,
        does,
        next,
    }
}

const AGAIN: &str = "retries with backoff, five times at most";
const SLOWER: &str = "waits as told and retries; other requests of that label wait too";
const NOW: &str = "does what is left";
const READ: &str = "reads the list again from its first page";
const ITEM: &str = "records the failure and goes on with the rest";
const DAY: &str = "makes no more requests, publishes what is kept, says when to come back";
const STOP: &str = "makes no more requests, publishes what is kept, says what to change";
const GONE: &str = "removes nothing; a host or series stays unknown";
const LATER: &str =
    "asks again: for a meeting after 10 min, 1 h, 6 h and 24 h, for a host or its series after `retry`";

/// The matrix: `once/always` for token, listing, hosts, series, past_meeting and detail; `-` where it has no meaning.
const FAULTS: &[Fault] = &[
    fault(r#"{"status":500}"#, "0/3 0/3 0/2 0/2 0/2 0/3", AGAIN, NOW),
    fault(r#"{"status":502}"#, "0/3 0/3 0/2 0/2 0/2 0/3", AGAIN, NOW),
    fault(r#"{"status":503}"#, "0/3 0/3 0/2 0/2 0/2 0/3", AGAIN, NOW),
    fault(r#"{"status":504}"#, "0/3 0/3 0/2 0/2 0/2 0/3", AGAIN, NOW),
    fault(r#""reset""#, "0/3 0/3 0/2 0/2 0/2 0/3", AGAIN, NOW),
    fault(r#""truncated""#, "0/3 0/3 0/2 0/2 0/2 0/3", AGAIN, NOW),
    fault(r#""invalid_json""#, "0/3 0/2 0/2 0/2 0/2 0/2", AGAIN, NOW),
    fault(
        r#""stall""#,
        "0/3 0/3 0/2 0/2 0/2 0/3",
        "waits for `ZOOM_TIMEOUT_S`, then retries",
        NOW,
    ),
    fault(
        r#""silent""#,
        "0/3 0/3 0/2 0/2 0/2 0/3",
        "waits for `ZOOM_TIMEOUT_S`, then retries",
        NOW,
    ),
    fault(r#"{"slow":30}"#, "0/0 0/0 0/0 0/0 0/0 0/0", "waits", NOW),
    fault(r#"{"dribble":30}"#, "0/0 0/0 0/0 0/0 0/0 0/0", "waits", NOW),
    fault(
        r#"{"too_fast_seconds":0}"#,
        "0/3 0/3 0/2 0/2 0/2 0/3",
        SLOWER,
        NOW,
    ),
    fault(r#"{"too_fast_until":1}"#, "0/- 0/- 0/- 0/- 0/- 0/-", SLOWER, NOW),
    fault(
        r#"{"too_fast_http_date":1}"#,
        "0/- 0/- 0/- 0/- 0/- 0/-",
        SLOWER,
        NOW,
    ),
    fault(
        r#""too_fast""#,
        "0/- 0/- 0/- 0/- 0/- 0/-",
        "waits a second (for listings a minute) and retries",
        NOW,
    ),
    fault(
        r#""too_fast_plain""#,
        "0/- 0/- 0/- 0/- 0/- 0/-",
        "waits a second (for listings a minute) and retries",
        NOW,
    ),
    fault(
        r#""too_fast_empty""#,
        "0/- 0/- 0/- 0/- 0/- 0/-",
        "waits a second (for listings a minute) and retries",
        NOW,
    ),
    fault(r#""daily""#, "0/3 3/3 3/3 3/3 3/3 3/3", DAY, NOW),
    fault(r#""daily_plain""#, "0/3 3/3 3/3 3/3 3/3 3/3", DAY, NOW),
    fault(r#""daily_user""#, "0/3 3/3 3/3 3/3 3/3 3/3", DAY, NOW),
    fault(
        r#""unauthorised""#,
        "1/1 0/1 0/1 0/1 0/1 0/1",
        "gets a new token; stops if that is refused too",
        NOW,
    ),
    fault(r#""scopes""#, "1/1 1/1 1/1 1/1 1/1 1/1", STOP, NOW),
    fault(r#""scopes_broken""#, "1/1 1/1 1/1 1/1 1/1 1/1", STOP, NOW),
    fault(r#""no_dashboard""#, "1/1 1/1 1/1 1/1 1/1 1/1", STOP, NOW),
    fault(r#""no_dashboard_plan""#, "1/1 1/1 1/1 1/1 1/1 1/1", STOP, NOW),
    fault(
        r#"{"refused":{"status":400,"code":300,"message":"Invalid parameter."}}"#,
        "1/1 2/2 2/2 2/2 2/2 2/2",
        ITEM,
        NOW,
    ),
    fault(r#""month_out_of_reach""#, "1/1 2/2 2/2 2/2 2/2 2/2", ITEM, NOW),
    fault(r#""error_inside""#, "0/3 2/2 2/2 2/2 2/2 2/2", ITEM, NOW),
    fault(
        r#""end_time_refused""#,
        "1/1 0/2 2/2 2/2 2/2 2/2",
        "lists by start time from then on",
        NOW,
    ),
    fault(r#""too_old""#, "1/1 2/2 2/2 2/2 0/0 0/0", GONE, LATER),
    fault(r#""no_meeting""#, "1/1 2/2 2/2 0/0 0/0 0/0", GONE, LATER),
    fault(r#""no_user""#, "1/1 2/2 2/2 0/0 0/0 0/0", GONE, LATER),
    fault(r#""other_account""#, "1/1 2/2 2/2 0/0 0/0 0/0", GONE, LATER),
    fault(
        r#""not_licensed""#,
        "1/1 2/2 2/2 0/0 2/2 2/2",
        "for series: they stay unknown; otherwise records the failure",
        LATER,
    ),
    fault(
        r#""blocked""#,
        "1/1 2/2 2/2 2/2 2/2 2/2",
        ITEM,
        "asks again; after five such runs a meeting is dead until `retry`",
    ),
    fault(
        r#""redirect""#,
        "1/1 2/2 2/2 2/2 2/2 2/2",
        "does not follow, because the token is for Zoom only",
        NOW,
    ),
    fault(r#""token_expired""#, "- 0/2 0/2 0/2 2/2 0/2", READ, NOW),
    fault(r#""token_repeated""#, "- 0/2 0/2 0/2 - 0/2", READ, NOW),
    fault(r#""token_back""#, "- 0/2 0/2 0/2 - 0/2", READ, NOW),
    fault(r#""no_list""#, "- 0/2 0/2 0/2 - 0/2", READ, NOW),
    fault(
        r#""null_row""#,
        "- 0/2 0/0 0/2 - 0/2",
        "reads it again; then uses the other rows, and no meeting counts as vanished",
        NOW,
    ),
    fault(
        r#""row_repeated""#,
        "- 0/0 0/0 0/0 - 0/0",
        "keeps the row once; a detail is doubted and fetched again later",
        NOW,
    ),
    fault(
        r#""cut_list""#,
        "- 0/2 0/0 0/2 - 0/2",
        "reads it again; then uses the rows that are there, and no meeting counts as vanished",
        NOW,
    ),
    fault(
        r#""empty_list""#,
        "- 0/2 0/0 0/0 - 2/2",
        "lists again; an empty listing counts at the next run; an empty detail replaces none",
        LATER,
    ),
    fault(
        r#"{"total_too_high":2}"#,
        "- 0/2 0/0 0/2 - 0/2",
        "reads it again; then uses the rows that are there, and no meeting counts as vanished",
        NOW,
    ),
    fault(
        r#"{"wrong_total":1}"#,
        "- 0/0 0/0 0/0 - 0/0",
        "goes by the page tokens; a detail with more rows than it counts is doubted and fetched again later",
        NOW,
    ),
    fault(
        r#""total_absent""#,
        "- 0/0 0/0 0/0 - 0/0",
        "goes by the page tokens",
        NOW,
    ),
    fault(
        r#"{"earlier_to":1}"#,
        "- 0/2 - - - -",
        "lists the missing days again",
        NOW,
    ),
    fault(
        r#"{"echo_shifted":1}"#,
        "- 0/2 - - - -",
        "lists the missing days again",
        NOW,
    ),
    fault(
        r#"{"echo_shifted":-40}"#,
        "- 2/2 - - - -",
        "does not use the answer",
        NOW,
    ),
];

/// Every action of the matrix, and whether a request may meet it for a whole run.
pub fn actions() -> impl Iterator<Item = (&'static str, bool)> {
    FAULTS.iter().map(|fault| {
        let listing = fault.ends.split(' ').nth(1).unwrap();
        (fault.action, !listing.ends_with('-'))
    })
}

/// Faults that the client cannot distinguish from others in the table. They hit only the first page, unless HARVESTER_LONG=1.
const ALIKE: [&str; 9] = [
    ":500}",
    ":503}",
    ":504}",
    "_plain",
    "_empty",
    "daily_",
    "scopes_",
    "no_user",
    "other_account",
];

/// Faults whose errors only concern the first page.
const FIRST_PAGE: [&str; 2] = ["echo_shifted", "earlier_to"];

fn long() -> bool {
    std::env::var("HARVESTER_LONG").is_ok_and(|said| said == "1")
}

/// Whether the client meets the fault only after its timeout.
fn is_slow(fault: &Fault) -> bool {
    ["\"stall\"", "\"silent\""].contains(&fault.action)
}

struct Case {
    endpoint: &'static str,
    fault: &'static Fault,
    position: Option<&'static str>,
    always: bool,
    after: bool,
    /// The expected exit code; `None` if it depends on whose list is hit.
    exit: Option<u8>,
    /// The endpoint that replaces it on this account.
    served: &'static str,
}

impl Case {
    fn name(&self) -> String {
        let page = self.position.unwrap_or("any");
        let (how, when) = (
            if self.always { "always" } else { "once" },
            if self.after { ", after acting" } else { "" },
        );
        format!("{}: {} {how}, {page} page{when}", self.served, self.fault.action)
    }

    /// How long after the fault the right answer is requested.
    fn wait(&self) -> TimeDelta {
        match (self.endpoint, self.fault.action) {
            // A host's list of series is accepted for a week.
            ("series", r#""empty_list""#) => TimeDelta::days(8),
            // An account without webinars is asked for them again a day later.
            ("listing", fault) if self.served == "webinars" && fault.contains("dashboard") => {
                TimeDelta::hours(25)
            }
            ("detail", _) => TimeDelta::minutes(11),
            _ => TimeDelta::zero(),
        }
    }

    /// Whether the answer closes a question that only `retry` reopens.
    fn closes(&self) -> bool {
        self.fault.next == LATER && matches!(self.endpoint, "series" | "past_meeting")
    }
}

/// The account that the case runs on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Account {
    Business,
    Pro,
    /// With webinars, which the fault hits.
    Webinars,
    ProWebinars,
}

impl Account {
    fn is_pro(self) -> bool {
        matches!(self, Self::Pro | Self::ProWebinars)
    }

    fn has_webinars(self) -> bool {
        matches!(self, Self::Webinars | Self::ProWebinars)
    }
}

fn cases(endpoint: &'static str, account: Account) -> Vec<Case> {
    let served = match (endpoint, account) {
        ("listing", Account::Pro) => "report_listing",
        ("detail", Account::Pro) => "report_detail",
        ("listing", Account::Webinars) => "webinars",
        ("detail", Account::Webinars) => "webinar_detail",
        ("detail", Account::ProWebinars) => "report_webinar_detail",
        _ => endpoint,
    };
    // The exit code if a refusal concerns only webinars.
    let refused = match served {
        "webinars" => Some(0),
        "webinar_detail" | "report_webinar_detail" => Some(2),
        _ => None,
    };
    let column = ENDPOINTS.iter().position(|one| *one == endpoint).unwrap();
    let paged = !matches!(endpoint, "token" | "past_meeting");
    let mut cases = Vec::new();
    for fault in FAULTS {
        let cell = fault.ends.split(' ').nth(column).unwrap();
        let Some((once, always)) = cell.split_once('/') else {
            continue;
        };
        let refused = refused.filter(|_| fault.action.contains("dashboard"));
        let exit = |code: &str| {
            let code: u8 = code.parse().unwrap();
            // Only webinars fail, so the run goes on.
            let code = match (code, fault.does) {
                (3, AGAIN | SLOWER) if account.has_webinars() => 2,
                _ => code,
            };
            (served != "report_listing").then(|| refused.unwrap_or(code))
        };
        let minute = endpoint == "listing"
            && matches!(
                fault.action,
                "\"too_fast\"" | "\"too_fast_plain\"" | "\"too_fast_empty\""
            );
        let first_alone = (!long() && ALIKE.iter().any(|name| fault.action.contains(name)))
            || FIRST_PAGE.iter().any(|name| fault.action.contains(name))
            || (endpoint == "detail" && fault.action == "\"empty_list\"");
        let positions: &[Option<&str>] = match paged {
            false => &[None],
            true if first_alone || account.has_webinars() && !long() => &[Some("first")],
            true => &[Some("first"), Some("middle"), Some("last")],
        };
        for position in positions {
            let acted = ["status", "reset", "truncated"]
                .iter()
                .any(|name| fault.action.contains(name))
                && !fault.action.contains("code");
            for after in [false, true] {
                if (after && !acted) || (minute && !long()) {
                    continue;
                }
                cases.push(Case {
                    endpoint,
                    fault,
                    position: *position,
                    always: false,
                    after,
                    exit: exit(once),
                    served,
                });
            }
        }
        if always.parse::<u8>().is_ok() && (!is_slow(fault) || long()) {
            cases.push(Case {
                endpoint,
                fault,
                position: None,
                always: true,
                after: false,
                exit: exit(always),
                served,
            });
        }
    }
    cases
}

/// The middle of a month, so that the days of a case are one window whenever the tests run.
fn noon() -> DateTime<Utc> {
    let next = Utc::now().checked_add_months(Months::new(1)).unwrap();
    next.with_day(20)
        .unwrap()
        .date_naive()
        .and_hms_opt(12, 0, 0)
        .unwrap()
        .and_utc()
}

async fn harvested(variable: Option<&str>, account: Account) -> Stage {
    let now = noon();
    let mut world = World::generate(&Spec {
        seed: 5,
        hosts: 4,
        meetings: 12,
        sessions: 40,
        days: 6,
        now,
    });
    for n in 0..3 {
        world.add_meeting(n, now - TimeDelta::days(3) - TimeDelta::hours(n as i64), 20, 9);
    }
    for n in 0..if account.has_webinars() { 3 } else { 0 } {
        world.add_webinar(n, now - TimeDelta::days(2) - TimeDelta::hours(n as i64), 20, 9);
    }
    let mut stage = Stage::new(world, variable);
    stage.webinars = account.has_webinars();
    stage.plan = if account.is_pro() {
        Plan::Pro
    } else {
        Plan::Business
    };
    stage.source = account.is_pro().then_some(Source::Reports);
    stage.sim.with_setup(|setup| setup.dashboards = !account.is_pro());
    stage.clock.advance(now - Utc::now());
    let first = stage.sync(stage.days(9)).await;
    assert_eq!(first.ending, Ending::Done, "{:?}", first.message);
    stage
}

/// Changes the account a little, for the case's run to find. Returns the meeting whose three pages of sessions the fault hits.
fn change(world: &mut World, now: DateTime<Utc>) -> String {
    let known: Vec<String> = world.meetings.iter().map(|one| one.uuid.clone()).collect();
    let has_webinars = world.meetings.iter().any(|one| one.webinar);
    let target = world
        .meetings
        .iter()
        .find(|one| one.sessions.len() == 9 && one.webinar == has_webinars)
        .unwrap()
        .uuid
        .clone();
    for uuid in known.iter().filter(|uuid| **uuid != target).take(9) {
        world.extend(uuid, 1);
    }
    world.extend(&target, 1);
    let shrinks = world
        .meetings
        .iter()
        .find(|one| one.sessions.len() > 2 && one.uuid != target && one.webinar == has_webinars)
        .unwrap();
    let shrinks = shrinks.uuid.clone();
    world.remove_session(&shrinks);
    world.add_session(&shrinks);
    world.remove_session(&shrinks);
    for reported in [true, false] {
        let number = world.hosts.len();
        world.hosts.push(Host {
            id: format!("added-{number}"),
            email: format!("added{number}@example.edu"),
            name: format!("Added {number}"),
            dept: String::new(),
            user_type: 2,
            reported,
            exists: true,
            licensed: true,
        });
        for n in 0..6 {
            let id = 92_000_000_000 + number as i64 * 100 + n;
            let topic = format!("Series {id}");
            world.series.push(Series {
                id,
                host: number,
                topic,
                scheduled_type: Some(8),
            });
        }
        let uuid = world.add_meeting(number, now - TimeDelta::days(2), 25, 2);
        world.meeting_mut(&uuid).unwrap().series = 92_000_000_000 + number as i64 * 100;
    }
    target
}

/// The rows per page that split the endpoint's list into three pages.
fn cap(endpoint: &str, world: &World) -> usize {
    match endpoint {
        "listing" => world
            .meetings
            .iter()
            .filter(|one| !one.one_person)
            .count()
            .div_ceil(3),
        "hosts" => {
            let active = |host: &usize| world.meetings.iter().any(|one| one.host == *host);
            (0..world.hosts.len())
                .filter(|host| world.hosts[*host].reported && active(host))
                .count()
                .div_ceil(3)
        }
        "series" => 2,
        "detail" | "report_detail" | "webinar_detail" | "report_webinar_detail" => 3,
        "webinars" => 1,
        "report_listing" => 2,
        _ => 300,
    }
}

type Sessions = BTreeMap<String, Vec<String>>;

fn session(row: &dyn Fn(&str) -> String) -> String {
    format!("{} {} {}", row("user_id"), row("join_time"), row("leave_time"))
}

fn sorted(mut all: Sessions) -> Sessions {
    all.values_mut().for_each(|sessions| sessions.sort());
    all
}

fn truth(stage: &Stage) -> Sessions {
    stage.sim.with_world(|world| {
        sorted(
            world
                .meetings
                .iter()
                .map(|meeting| {
                    let text = |one: &zoom_harvester::sim::world::Session, name: &str| {
                        one.row[name].as_str().unwrap_or_default().to_owned()
                    };
                    (
                        meeting.uuid.clone(),
                        meeting
                            .sessions
                            .iter()
                            .map(|one| session(&|name| text(one, name)))
                            .collect(),
                    )
                })
                .collect(),
        )
    })
}

fn kept(stage: &Stage) -> Sessions {
    let kept = Catalog::open_read_only(&stage.db())
        .unwrap()
        .kept_after(None, 10_000, usize::MAX)
        .unwrap();
    sorted(
        kept.into_iter()
            .map(|one| {
                let one = one.open().unwrap();
                let rows: Vec<_> = one.detail.rows().collect();
                (
                    one.uuid.to_string(),
                    rows.iter()
                        .map(|row| session(&|name| row.text(name).into_owned()))
                        .collect(),
                )
            })
            .collect(),
    )
}

async fn indexed(stage: &Stage) -> Sessions {
    let mut all: Sessions = stage
        .es()
        .all("meetings")
        .await
        .into_keys()
        .map(|uuid| (uuid, Vec::new()))
        .collect();
    for (_, row) in stage.es().all("sessions").await.into_values() {
        let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        all.entry(text("meeting")).or_default().push(session(&text));
    }
    sorted(all)
}

/// Asserts that each meeting is as it was before or as it is in the account.
fn assert_nothing_lost(name: &str, before: &Sessions, now: &Sessions, truth: &Sessions) {
    for (uuid, sessions) in before {
        let left = now.get(uuid).unwrap_or_else(|| panic!("{name}: {uuid} is lost"));
        assert!(
            left == sessions || Some(left) == truth.get(uuid),
            "{name}: {uuid} has {left:?} of {sessions:?}"
        );
    }
}

fn exit(ending: &Ending) -> u8 {
    match ending {
        Ending::Done => 0,
        Ending::Misconfigured => 1,
        Ending::Incomplete => 2,
        Ending::StoppedEarly { .. } => 3,
        Ending::Interrupted => 130,
    }
}

async fn meets(stage: &mut Stage, case: &Case) {
    let name = case.name();
    let now = stage.clock.now();
    let target = stage.sim.with_world(|world| change(world, now));
    let rows = stage.sim.with_world(|world| cap(case.served, world));
    stage.sim.with_setup(|setup| setup.page_size_cap = Some(rows));
    let (truth_now, kept_before) = (truth(stage), kept(stage));
    let indexed_before = match &stage.elastic {
        Some(_) => Some(indexed(stage).await),
        None => None,
    };
    let action: Value = serde_json::from_str(case.fault.action).unwrap();
    let mut rule = json!({"endpoint": case.served, "after": case.after, "action": action});
    if case.always {
        rule["times"] = "always".into();
    }
    if let Some(position) = case.position {
        rule["page"] = position.into();
    }
    if case.endpoint == "detail" && !case.always {
        rule["meeting"] = target.into();
    }
    stage.timeout = std::time::Duration::from_millis(
        // Longer than a busy machine takes for an answer.
        if is_slow(case.fault) { 1_500 } else { 10_000 },
    );
    stage
        .sim
        .set_faults(FaultPlan::from_json(&json!({"rules": [rule]}).to_string()).unwrap());
    let met = stage.sync(stage.days(9)).await;
    if let Some(code) = case.exit {
        assert_eq!(exit(&met.ending), code, "{name}: {:?}", met.message);
    }
    assert_eq!(
        stage.number("SELECT count(*) FROM meetings WHERE vanished_at IS NOT NULL"),
        0,
        "{name}"
    );
    assert_nothing_lost(&name, &kept_before, &kept(stage), &truth_now);
    if let Some(before) = &indexed_before {
        assert_nothing_lost(&name, before, &indexed(stage).await, &truth_now);
    }

    stage.sim.set_faults(FaultPlan::default());
    stage.timeout = std::time::Duration::from_secs(10);
    stage.clock.advance(case.wait());
    if case.closes() {
        Catalog::open(&stage.db()).unwrap().retry().unwrap();
    }
    let next = stage.sync(stage.days(9 + case.wait().num_days() as u64)).await;
    assert_eq!(next.ending, Ending::Done, "{name}, next run: {:?}", next.message);
    assert_eq!(kept(stage), truth(stage), "{name}, next run");
    let questions = [
        (
            "vanished",
            "SELECT count(*) FROM meetings WHERE vanished_at IS NOT NULL",
        ),
        (
            "hosts unknown",
            "SELECT count(*) FROM meetings WHERE host_id IS NULL",
        ),
        (
            "series wrong",
            "SELECT count(*) FROM series WHERE (kind = 'recurring') <> (series_id / 1000000000 = 92) AND series_id / 1000000000 IN (92, 97)",
        ),
        (
            "series pending",
            "SELECT count(*) FROM series WHERE status = 'pending'",
        ),
    ];
    for ((what, _), found) in questions.iter().zip(stage.numbers(questions.map(|(_, sql)| sql))) {
        assert_eq!(found, 0, "{name}, next run: {what}");
    }
    if stage.elastic.is_some() {
        stage.assert_index_is_the_account().await;
    }
}

/// How many cases share an account and an index, one after the other. Each case begins with what the previous one left behind.
const CHAIN: usize = 9;

async fn matrix(endpoint: &'static str, account: Account) {
    let (weeks, rest): (Vec<Case>, Vec<Case>) = cases(endpoint, account)
        .into_iter()
        .partition(|case| case.wait() > TimeDelta::days(1));
    let mut chains: Vec<Vec<Case>> = weeks.into_iter().map(|case| vec![case]).collect();
    // Cases are dealt out in turn, so that each chain has some of every kind.
    let count = rest.len().div_ceil(CHAIN);
    let mut dealt: Vec<Vec<Case>> = (0..count).map(|_| Vec::new()).collect();
    for (n, case) in rest.into_iter().enumerate() {
        dealt[n % count].push(case);
    }
    chains.extend(dealt);
    let last = chains.len() - 1;
    let run = chains.into_iter().enumerate().map(|(n, chain)| async move {
        let variable = match n {
            // The last chain has many cases.
            n if n == last => Some(ENGINES[usize::from(endpoint == "detail")]),
            _ if long() => Some(ENGINES[0]),
            n if n + 1 == last && matches!(endpoint, "listing" | "detail") => Some(ENGINES[0]),
            _ => None,
        };
        let mut stage = harvested(variable, account).await;
        for case in &chain {
            meets(&mut stage, case).await;
        }
    });
    futures::stream::iter(run)
        .buffer_unordered(16)
        .collect::<Vec<()>>()
        .await;
}

#[tokio::test]
async fn whatever_goes_wrong_with_tokens_the_next_run_ends_with_the_truth() {
    matrix("token", Account::Business).await;
}

#[tokio::test]
async fn whatever_goes_wrong_with_listings_the_next_run_ends_with_the_truth() {
    matrix("listing", Account::Business).await;
}

#[tokio::test]
async fn whatever_goes_wrong_with_hosts_the_next_run_ends_with_the_truth() {
    matrix("hosts", Account::Business).await;
}

#[tokio::test]
async fn whatever_goes_wrong_with_series_the_next_run_ends_with_the_truth() {
    matrix("series", Account::Business).await;
}

#[tokio::test]
async fn whatever_goes_wrong_with_past_meetings_the_next_run_ends_with_the_truth() {
    matrix("past_meeting", Account::Business).await;
}

#[tokio::test]
async fn whatever_goes_wrong_with_details_the_next_run_ends_with_the_truth() {
    matrix("detail", Account::Business).await;
}

#[tokio::test]
async fn whatever_goes_wrong_with_reported_listings_the_next_run_ends_with_the_truth() {
    matrix("listing", Account::Pro).await;
}

#[tokio::test]
async fn whatever_goes_wrong_with_reported_details_the_next_run_ends_with_the_truth() {
    matrix("detail", Account::Pro).await;
}

#[tokio::test]
async fn whatever_goes_wrong_with_lists_of_webinars_the_next_run_ends_with_the_truth() {
    matrix("listing", Account::Webinars).await;
}

#[tokio::test]
async fn whatever_goes_wrong_with_details_of_webinars_the_next_run_ends_with_the_truth() {
    matrix("detail", Account::Webinars).await;
    matrix("detail", Account::ProWebinars).await;
}

#[test]
fn the_page_about_faults_is_the_matrix() {
    const MARKS: [&str; 2] = [
        "<!-- matrix: a test keeps this table -->\n",
        "<!-- end of matrix -->",
    ];
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/faults.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (before, rest) = page.split_once(MARKS[0]).unwrap();
    let (_, after) = rest.split_once(MARKS[1]).unwrap();
    let mut table = format!(
        "| fault | {} | what the run does | what the next run does |\n",
        ENDPOINTS.join(" | ")
    );
    table.push_str(&"| --- ".repeat(ENDPOINTS.len() + 3));
    table.push_str("|\n");
    for fault in FAULTS {
        let cells = fault.ends.replace(' ', " | ").replace('/', " / ");
        table.push_str(&format!(
            "| `{}` | {cells} | {} | {} |\n",
            fault.action, fault.does, fault.next
        ));
    }
    let page_now = format!("{before}{}{table}{}{after}", MARKS[0], MARKS[1]);
    if std::env::var("INSTA_UPDATE").is_ok_and(|said| said == "always") {
        std::fs::write(path, &page_now).unwrap();
    }
    assert!(
        page == page_now || std::env::var("INSTA_UPDATE").is_ok(),
        "docs/faults.md is not the matrix: run with INSTA_UPDATE=always"
    );
}

#[tokio::test]
async fn a_day_whose_first_listing_was_cut_short_is_listed_again() {
    for action in ["cut_list", "empty_list"] {
        let now = noon();
        let world = World::generate(&Spec {
            seed: 6,
            hosts: 4,
            meetings: 20,
            sessions: 60,
            days: 6,
            now,
        });
        let stage = Stage::new(world, None);
        stage.clock.advance(now - Utc::now());
        stage.sim.set_faults(
            FaultPlan::from_json(
                &json!({"page_size_cap": 5, "rules": [
            {"endpoint": "listing", "times": "always", "action": action}]})
                .to_string(),
            )
            .unwrap(),
        );
        stage.sync(stage.days(9)).await;
        stage.sim.set_faults(FaultPlan::default());
        assert_eq!(stage.sync(Scope::Resume).await.ending, Ending::Done);
        assert_eq!(kept(&stage), truth(&stage), "{action}");
    }
}

#[tokio::test]
async fn an_emptied_window_counts_at_the_second_run() {
    let stage = harvested(None, Account::Business).await;
    let gone = stage
        .sim
        .with_world(|world| std::mem::take(&mut world.meetings).len() as i64);
    let vanished = "SELECT count(*) FROM meetings WHERE vanished_at IS NOT NULL";
    assert_eq!(stage.sync(stage.days(9)).await.ending, Ending::Incomplete);
    assert_eq!(stage.number(vanished), 0);
    assert_eq!(stage.sync(stage.days(9)).await.ending, Ending::Done);
    assert_eq!(stage.number(vanished), gone);
    assert_eq!(kept(&stage).len() as i64, gone, "what is kept stays");
}

#[tokio::test]
async fn changes_during_a_run_are_harvested_by_the_next() {
    let mut stage = harvested(Some(ENGINES[0]), Account::Business).await;
    let now = stage.clock.now();
    let target = stage.sim.with_world(|world| change(world, now));
    let plan = json!({"page_size_cap": 4, "edits": [
        {"endpoint": "listing", "at": 2, "edit": {"add_meeting": {"hours_ago": 70, "minutes": 30, "sessions": 4}}},
        {"endpoint": "listing", "at": 3, "edit": {"extend": {"meeting": 1, "minutes": 2}}},
        {"endpoint": "detail", "at": 1, "edit": {"rename_meeting": {"meeting": 2, "topic": "Renamed"}}},
        {"endpoint": "detail", "at": 2, "edit": {"add_session": target}},
        {"endpoint": "detail", "at": 3, "edit": {"remove_session": target}},
        {"endpoint": "detail", "at": 4, "edit": {"rename_series": {"meeting": 3, "topic": "Series, renamed"}}},
        {"endpoint": "detail", "at": 5, "edit": {"restart": 4}},
        {"endpoint": "detail", "at": 6, "edit": {"delete_host": 0}}]});
    stage
        .sim
        .set_faults(FaultPlan::from_json(&plan.to_string()).unwrap());
    stage.sync(stage.days(9)).await;
    stage.sim.set_faults(FaultPlan::default());
    stage.clock.advance(TimeDelta::minutes(11));
    stage.timeout = std::time::Duration::from_secs(5);
    assert_eq!(stage.sync(stage.days(9)).await.ending, Ending::Done);
    assert_eq!(kept(&stage), truth(&stage));
    stage.assert_index_is_the_account().await;
    // A meeting that is deleted is marked, and stays.
    let plan = json!({"edits": [{"endpoint": "listing", "edit": {"delete_meeting": 5}}]});
    stage
        .sim
        .set_faults(FaultPlan::from_json(&plan.to_string()).unwrap());
    let before = kept(&stage).len();
    assert_eq!(stage.sync(stage.days(9)).await.tally.vanished, 1);
    assert_eq!(kept(&stage).len(), before);
}
