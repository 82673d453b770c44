//! `doctor`: one line for each thing that can be wrong, with the remedy.

use std::collections::BTreeSet;

use super::{Exit, Failure, context::Context, out};
use crate::{
    catalog::{Catalog, Error},
    config::Origin,
    elastic::Check,
    model::{AccountId, DateBasis, Listing, Source, Webinars, Window, iso},
    zoom::{self, KnownOfWindow, Zoom},
};

/// For each kind of request to the dashboards: the classic scopes and the granular one that allow it. One of them is enough.
/// Source: Zoom's OpenAPI description, 2026-03.
const DASHBOARD_SCOPES: [(&str, &[&str]); 2] = [
    (
        "list meetings",
        &[
            "dashboard_meetings:read:admin",
            "dashboard:read:admin",
            "dashboard:read:list_meetings:admin",
        ],
    ),
    (
        "read participants",
        &[
            "dashboard_meetings:read:admin",
            "dashboard:read:admin",
            "dashboard:read:list_meeting_participants:admin",
        ],
    ),
];

/// The same for the reports, if they replace the dashboards.
const REPORTS_SCOPES: [(&str, &[&str]); 2] = [
    ("list meetings", &["report:read:admin", "report:read:user:admin"]),
    (
        "read participants",
        &["report:read:admin", "report:read:list_meeting_participants:admin"],
    ),
];

/// The same for the account's history, which is optional.
const HISTORY_SCOPES: [&str; 2] = ["report:read:admin", "report:read:list_history_meetings:admin"];

/// The same for webinars, for each source.
const WEBINAR_SCOPES: [(&str, &[&str]); 2] = [
    (
        "list webinars",
        &[
            "dashboard_webinars:read:admin",
            "dashboard:read:admin",
            "dashboard:read:list_webinars:admin",
        ],
    ),
    (
        "read a webinar's participants",
        &[
            "dashboard_webinars:read:admin",
            "dashboard:read:admin",
            "dashboard:read:list_webinar_participants:admin",
        ],
    ),
];
const REPORTED_WEBINAR_SCOPES: [(&str, &[&str]); 1] = [(
    "read a webinar's participants",
    &["report:read:admin", "report:read:list_webinar_participants:admin"],
)];

/// The same for requests that both sources need.
const SCOPES: [(&str, &[&str]); 3] = [
    (
        "list active hosts",
        &["report:read:admin", "report:read:list_users:admin"],
    ),
    (
        "list a host's series",
        &["meeting:read:admin", "meeting:read:list_meetings:admin"],
    ),
    (
        "look up a past meeting",
        &["meeting:read:admin", "meeting:read:past_meeting:admin"],
    ),
];

pub fn run(context: &Context, json: bool) -> Result<Exit, Failure> {
    let checks = context.block_on(async {
        let mut checks = settings(context);
        checks.extend(catalog(context));
        checks.extend(zoom(context).await);
        match elastic(context).await {
            Ok(found) => checks.extend(found),
            Err(failure) => checks.push(failed(
                "elasticsearch",
                failure.message,
                "fix what the message names",
            )),
        }
        Ok(checks)
    })?;
    let all_well = checks.iter().all(|check| check.ok);
    if json {
        out::json(&checks)?;
    } else {
        out::print(&shown(&checks))?;
    }
    Ok(if all_well { Exit::Done } else { Exit::Usage })
}

/// The checks as a table, one line each.
pub(super) fn shown(checks: &[Check]) -> String {
    let rows: Vec<Vec<String>> = checks
        .iter()
        .map(|check| {
            let remedy = check
                .remedy
                .as_ref()
                .map(|remedy| format!(" → {remedy}"))
                .unwrap_or_default();
            let mark = if check.ok { "ok" } else { "WRONG" };
            vec![
                mark.to_owned(),
                check.name.clone(),
                format!("{}{remedy}", check.said),
            ]
        })
        .collect();
    out::table(&rows)
}

fn passed(name: &str, said: impl Into<String>) -> Check {
    Check {
        name: name.to_owned(),
        ok: true,
        said: said.into(),
        remedy: None,
    }
}

pub(super) fn failed(name: &str, said: impl Into<String>, remedy: &str) -> Check {
    Check {
        name: name.to_owned(),
        ok: false,
        said: said.into(),
        remedy: Some(remedy.to_owned()),
    }
}

/// Every setting that is not a default, with its origin, and the warnings. It answers "which file does this come from?".
fn settings(context: &Context) -> Vec<Check> {
    let warnings = context.config.warnings.iter();
    let warnings = warnings.map(|warning| passed("setting", warning.as_str()));
    let said = context.config.in_force.iter();
    let said = said.filter(|said| said.origin != Origin::Default).map(|said| {
        passed(
            "setting",
            format!("{} = {} ({})", said.setting.name, said.shown, said.origin),
        )
    });
    said.chain(warnings).collect()
}

pub(super) async fn elastic(context: &Context) -> Result<Vec<Check>, Failure> {
    let mut years = BTreeSet::from([context.config.index_period.year_of(context.now().date_naive())]);
    let of_catalog = match Catalog::open_read_only(&context.config.db) {
        Ok(catalog) => {
            years.extend(catalog.met_years()?);
            catalog.account()?
        }
        // The check of the catalog reports this error.
        Err(_) => None,
    };
    let account = of_catalog.or_else(|| Some(context.config.zoom_credentials().ok()?.account_id));
    let is_known = account.is_some();
    let client = context.elastic_for(account.unwrap_or_else(|| AccountId::new("unknown")))?;
    let Some(elastic) = client else {
        let said = "not configured: the harvest goes into the catalog only";
        return Ok(vec![passed("elasticsearch", said)]);
    };
    let ways = elastic.ways().into_iter();
    let mut checks: Vec<Check> = ways.map(|way| passed("way to Elasticsearch", way)).collect();
    checks.extend(match is_known {
        true => elastic.check(&years).await,
        // Without an account its indices are unknown. The line about the credentials reports that the account is missing.
        false => elastic.check_server().await,
    });
    Ok(checks)
}

/// Whether hosts without news need not be listed, thanks to the account's history.
fn history(context: &Context) -> Option<Check> {
    let last = Catalog::open_read_only(&context.config.db)
        .ok()?
        .history()
        .ok()??;
    let at = iso(last.at);
    Some(passed(
        "history",
        match last.agrees {
            true => {
                format!(
                    "agreed with the hosts' lists at {at}: until the next day can be settled, only hosts with news are listed"
                )
            }
            false => format!(
                "could not be used at {at}: every run lists every host. It needs a scope ({}) and has to agree with the hosts' lists; it is \
                 tried again once a day",
                HISTORY_SCOPES.join(" or ")
            ),
        },
    ))
}

fn catalog(context: &Context) -> Vec<Check> {
    let path = context.config.db.display();
    match Catalog::open_read_only(&context.config.db) {
        Err(Error::Absent(_)) => vec![passed(
            "catalog",
            format!("{path} is not there yet; the first sync makes it"),
        )],
        Err(error @ Error::Older { .. }) => vec![passed("catalog", error.to_string())],
        Err(error) => vec![Check {
            name: "catalog".to_owned(),
            ok: false,
            said: error.to_string(),
            // The message already ends with a remedy.
            remedy: None,
        }],
        Ok(catalog) => vec![match catalog.integrity() {
            Ok(said) if said == "ok" => passed("catalog", format!("{path} is sound")),
            Ok(said) => failed("catalog", said, "put a backup in its place"),
            Err(error) => failed("catalog", error.to_string(), "put a backup in its place"),
        }],
    }
}

/// What a listing says about webinars; `None` if they are not requested.
fn webinars(listing: &Listing) -> Option<Check> {
    match &listing.webinars {
        Webinars::NotAsked => None,
        Webinars::Listed => Some(passed("webinars", "are harvested as well")),
        Webinars::NotInPlan { refusal } => Some(passed(
            "webinars",
            format!(
                "this account has none: {}",
                refusal.as_deref().unwrap_or("Zoom said so within the last day")
            ),
        )),
    }
}

/// The source of meetings, with checks that say what it provides and costs.
async fn source(zoom: &Zoom, today: Window) -> (Source, Vec<Check>) {
    let nothing = KnownOfWindow::default();
    let mut listed = zoom
        .list_meetings(today, DateBasis::EndTime, &nothing, &|_| {})
        .await;
    let by_start = matches!(
        listed,
        Err(zoom::Error::EndTimeRefused | zoom::Error::ReportsByStart)
    );
    if by_start {
        listed = zoom
            .list_meetings(today, DateBasis::StartTime, &nothing, &|_| {})
            .await;
    }
    let source = zoom.source();
    let webinars = listed.as_ref().ok().and_then(webinars);
    let check = match (listed, source) {
        (Ok(listing), Source::Dashboard) => {
            let only = if by_start {
                "; this account lists by start only"
            } else {
                ""
            };
            let count = listing.shown.len();
            passed(
                "source",
                format!("the dashboards; {count} meetings listed for today{only}"),
            )
        }
        (Ok(listing), Source::Reports) => passed(
            "source",
            format!(
                "the reports; {} meetings of {} hosts listed for today. Listing every host costs two Heavy requests each; devices, networks \
                 and locations are not known",
                listing.shown.len(),
                listing.hosts.map_or(0, |hosts| hosts.len())
            ),
        ),
        (Err(error), _) => failed(
            "source",
            error.to_string(),
            "docs/getting-started.md lists the plans and scopes that are needed",
        ),
    };
    (source, [check].into_iter().chain(webinars).collect())
}

pub(super) async fn zoom(context: &Context) -> Vec<Check> {
    let end = match context.zoom(false) {
        Ok(end) => end,
        Err(failure) => {
            return vec![failed(
                "credentials",
                failure.message,
                "create a Server-to-Server OAuth app in the Zoom App Marketplace",
            )];
        }
    };
    let mut checks = vec![passed("way to Zoom", end.zoom.way().to_string())];
    let scopes = match end.zoom.scopes().await {
        Ok(scopes) => scopes,
        Err(error) => {
            checks.push(failed(
                "credentials",
                error.to_string(),
                "compare them with the app's page",
            ));
            return checks;
        }
    };
    checks.push(passed("credentials", "Zoom gives a token for them"));
    // The token is already there, so this makes no further request.
    if let Ok(date) = end.zoom.date().await {
        checks.push(match date {
            zoom::ZoomDate::Missing | zoom::ZoomDate::Agrees => passed("clock", date.to_string()),
            zoom::ZoomDate::Absurd { .. } | zoom::ZoomDate::Differs { .. } => {
                failed("clock", date.to_string(), "set this machine's clock, by NTP")
            }
        });
    }
    let (source, listed) = source(&end.zoom, Window::day(context.now().date_naive())).await;
    let of_source: &[(&str, &[&str])] = match source {
        Source::Dashboard => &DASHBOARD_SCOPES,
        Source::Reports => &REPORTS_SCOPES,
    };
    let of_webinars: &[(&str, &[&str])] = match (end.zoom.webinars(), source) {
        (false, _) => &[],
        (true, Source::Dashboard) => &WEBINAR_SCOPES,
        (true, Source::Reports) => &REPORTED_WEBINAR_SCOPES,
    };
    for (what, any_of) in of_source.iter().chain(of_webinars).chain(&SCOPES) {
        let has = any_of.iter().find(|scope| scopes.iter().any(|has| has == *scope));
        checks.push(match has {
            Some(scope) => passed("scope", format!("{what}: {scope}")),
            // Some token answers name no scopes. Then only a real request shows whether it is allowed.
            None if scopes.is_empty() => {
                passed("scope", format!("{what}: unknown, the token names no scopes"))
            }
            None => failed(
                "scope",
                format!("{what}: missing"),
                &format!("add one of {} to the app", any_of.join(", ")),
            ),
        });
    }
    checks.extend(listed);
    checks.extend(history(context).filter(|_| source == Source::Reports));
    let per_second = end.pacer.per_window(crate::model::Label::Heavy);
    let said = format!(
        "{:?}: {per_second} details a second, {} requests a day, by ZOOM_PLAN and ZOOM_RATE_SHARE",
        context.config.plan,
        out::thousands(end.pacer.daily_share())
    );
    checks.push(passed("limits", said));
    checks
}
