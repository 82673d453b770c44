//! `demo` harvests a simulated Zoom account; `simulate` serves one.

use std::{path::PathBuf, sync::Arc, time::Duration};

use chrono::{DateTime, Days, Utc};
use clap::Args;
use secrecy::SecretString;

use super::{Exit, Failure, context::Context, interrupt::Interrupt, out, settings_sources, sync};
use crate::{
    model::{AccountId, IndexKind, IndexPeriod, Window},
    sim::{
        self, Limits, Setup, Simulator,
        faults::FaultPlan,
        world::{Spec, World},
    },
    sync::Scope,
    untrusted::system_said,
};

#[derive(Args, Debug)]
pub struct DemoArgs {
    /// Leave the simulated account and the catalog in place until interrupted
    #[arg(long)]
    keep: bool,
    /// Harvest a week into this file only, as an example of a catalog
    #[arg(long, value_name = "FILE", conflicts_with = "keep")]
    example: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub struct SimulateArgs {
    /// The account's id; letters, digits, `-` and `_`
    #[arg(long, value_name = "ID", default_value = sim::ACCOUNT_ID, value_parser = account_id)]
    account: String,
    /// The port on the loopback interface; 0 takes any
    #[arg(long, default_value_t = 8086)]
    port: u16,
    /// The account's plan: a Pro account has no dashboards, and tighter limits
    #[arg(long, value_enum, default_value_t = SimulatedPlan::Business)]
    plan: SimulatedPlan,
    /// Hosts
    #[arg(long, default_value_t = 120)]
    hosts: usize,
    /// Meetings
    #[arg(long, default_value_t = 800)]
    meetings: usize,
    /// Sessions over all meetings
    #[arg(long, default_value_t = 6400)]
    sessions: usize,
    /// Webinars beside them, one every other day; the settings that are printed then ask for them
    #[arg(long, default_value_t = 0)]
    webinars: usize,
    /// Days back from now
    #[arg(long, default_value_t = 30)]
    days: u32,
    /// The same seed makes the same account
    #[arg(long, default_value_t = 17)]
    seed: u64,
    /// Milliseconds every answer takes at least
    #[arg(long, default_value_t = 0)]
    latency_ms: u64,
    /// Enforce no rate limits
    #[arg(long)]
    no_limits: bool,
    /// Refuse to list by end time, as some accounts do
    #[arg(long)]
    refuse_end_time: bool,
    /// A plan of faults and edits in JSON: see docs/faults.md
    #[arg(long, value_name = "FILE")]
    faults: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum SimulatedPlan {
    Business,
    Pro,
}

fn now_of(context: &Context) -> sim::Now {
    let clock = context.clock.clone();
    Arc::new(move || clock.now())
}

fn account_id(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if text.is_empty() || !text.chars().all(allowed) {
        return Err("an account id is made of letters, digits, - and _".to_owned());
    }
    Ok(text.to_owned())
}

pub fn simulate(context: &Context, args: &SimulateArgs) -> Result<Exit, Failure> {
    let faults = match &args.faults {
        Some(path) => {
            let text = settings_sources::file(path, "the fault plan")?;
            FaultPlan::from_json(&text)
                .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?
        }
        None => FaultPlan::default(),
    };
    if args.hosts == 0 || args.sessions < args.meetings || args.days == 0 {
        return Err(Failure::usage(
            "an account needs a host, a day, and a session for every meeting",
        ));
    }
    let spec = Spec {
        seed: args.seed,
        hosts: args.hosts,
        meetings: args.meetings,
        sessions: args.sessions,
        days: i64::from(args.days),
        now: context.now(),
    };
    let setup = Setup {
        limits: if args.no_limits {
            Limits::NONE
        } else if args.plan == SimulatedPlan::Pro {
            Limits::PRO
        } else {
            Limits::BUSINESS
        },
        dashboards: args.plan == SimulatedPlan::Business,
        account_id: args.account.clone(),
        refuse_end_time: args.refuse_end_time,
        latency: Duration::from_millis(args.latency_ms),
        ..Setup::default()
    };
    let world = World::generate(&spec).with_webinars(args.webinars, spec.now);
    let served = Simulator::start(world, setup, args.port, now_of(context)).map_err(|error| {
        Failure::usage(format!(
            "port {} is not available: {}; choose another with --port",
            args.port,
            system_said(&error)
        ))
    })?;
    served.set_faults(faults);
    // Catch signals before printing the line that scripts wait for: a signal may come right after it.
    let interrupt = Interrupt::watch()?;
    let plan = match args.plan {
        SimulatedPlan::Business => "",
        SimulatedPlan::Pro => " ZOOM_PLAN=pro",
    };
    let webinars = if args.webinars > 0 {
        " ZOOM_HARVESTER_WEBINARS=true"
    } else {
        ""
    };
    out::print(&format!(
        "{}{plan}{webinars}",
        environment(&served, &args.account)
    ))?;
    context.block_on(async {
        let _ = interrupt.stop().wait_for(|stop| *stop).await;
        Ok(Exit::Done)
    })
}

fn environment(served: &Simulator, account: &str) -> String {
    format!(
        "export ZOOM_ACCOUNT_ID={account} ZOOM_CLIENT_ID={} ZOOM_CLIENT_SECRET={} ZOOM_API_URL={} ZOOM_OAUTH_URL={}",
        sim::CLIENT_ID,
        sim::CLIENT_SECRET,
        served.api_url(),
        served.oauth_url()
    )
}

/// Days of the demo's account.
const DEMO_DAYS: u64 = 31;

pub fn demo(context: &Context, args: &DemoArgs) -> Result<Exit, Failure> {
    let now = context.now();
    let (spec, days, db) = match &args.example {
        Some(file) => (Spec::week(now), 7, new_file(file.clone())?),
        None => (Spec::small_university(now), DEMO_DAYS, demo_file(context)?),
    };
    let spoken = args.example.is_none();
    let mut world = World::generate(&spec);
    if !spoken {
        world = world.with_webinars(EXAMPLE_WEBINARS, now);
    }
    let served = Simulator::start(world, Setup::default(), 0, now_of(context))?;
    let mut context = pointed_at(context, &served, &db);
    if !spoken {
        (context.quiet, context.config.retries) = (true, 1);
        context.config.webinars = true;
        // Nobody else uses this account, so use all of its rate limit.
        context.config.rate_share = 1.0;
    }
    if spoken {
        out::print(&format!(
            "A simulated Zoom account of {} hosts and {} meetings over {days} days is served at {}.\nThe catalog is {}.\n",
            spec.hosts,
            spec.meetings,
            served.api_url(),
            db.display()
        ))?;
        if context.config.elastic.is_none() {
            out::print("ELASTICSEARCH_URL is not set: the harvest goes into the catalog only.\n")?;
        }
    }
    let today = now.date_naive();
    let window = Window::new(today - Days::new(days - 1), today).map_or(Scope::Resume, Scope::Days);
    let account = AccountId::new(sim::ACCOUNT_ID);
    if let Some(file) = &args.example {
        let exit = example_story(&context, &served, &account, window)?;
        checkpoint(file)?;
        return Ok(exit);
    }
    let exit = context.block_on(async {
        let interrupt = Interrupt::watch()?;
        let run = |scope| {
            sync::harvest(
                &context,
                "sync",
                Some(&account),
                move || Ok(scope),
                true,
                false,
                &interrupt,
            )
        };
        let (first, exit) = run(window).await?;
        out::print(&format!("First sync\n{}", sync::as_text(&first)))?;
        if exit != Exit::Done {
            return Ok(exit);
        }
        let (second, exit) = run(Scope::Resume).await?;
        out::print(&format!(
            "Second sync: nothing changed, so nothing is fetched and nothing is sent\n{}",
            sync::as_text(&second)
        ))?;
        Ok(exit)
    })?;
    context.block_on(async { Ok(out::print(&things_to_try(&context, &served, now).await)?) })?;
    if args.keep {
        out::print("The simulated account is served until you press Ctrl-C.")?;
        context.block_on(async {
            let interrupt = Interrupt::watch()?;
            let _ = interrupt.stop().wait_for(|stop| *stop).await;
            Ok(())
        })?;
    }
    Ok(exit)
}

/// Webinars of the example's account.
const EXAMPLE_WEBINARS: usize = 3;

/// The faults of the example's account: a detail that fails, one that is gone, and one with a row that comes twice. [`example_story`] adds changes,
/// a
/// restarted meeting, a deleted one, and a forgotten person. So the example has an answer to every question of an auditor.
const EXAMPLE_FAULTS: &str = r#"{"rules": [
    {"endpoint": "detail", "meeting": 5, "times": "always", "action": {"status": 500}},
    {"endpoint": "detail", "meeting": 9, "times": "always", "action": {"refused": {"status": 404, "code": 3001, "message": "Meeting does not exist"}}},
    {"endpoint": "detail", "meeting": 12, "times": 1, "action": "row_repeated"}
]}"#;

fn example_story(
    context: &Context,
    served: &Simulator,
    account: &AccountId,
    window: Scope,
) -> Result<Exit, Failure> {
    let faults = FaultPlan::from_json(EXAMPLE_FAULTS).map_err(|wrong| Failure::usage(wrong.to_string()))?;
    served.set_faults(faults);
    let run = |scope| {
        context.block_on(async {
            let interrupt = Interrupt::watch()?;
            sync::harvest(
                context,
                "sync",
                Some(account),
                move || Ok(scope),
                true,
                false,
                &interrupt,
            )
            .await
        })
    };
    run(window)?;
    served.with_world(|world| {
        let uuids: Vec<String> = world
            .meetings
            .iter()
            .map(|meeting| meeting.uuid.clone())
            .collect();
        let at = |n: usize| uuids.get(n).map_or("", String::as_str);
        world.extend(at(20), 15);
        world.add_session(at(21));
        world.remove_session(at(22));
        world.restart(at(24));
        if let Some(meeting) = world.meeting_mut(at(23)) {
            meeting.topic.push_str(" (moved)");
        }
        let deleted = at(30);
        world.meetings.retain(|meeting| meeting.uuid != deleted);
    });
    // A meeting counts as vanished only at the second listing.
    run(Scope::Resume)?;
    run(Scope::Resume)?;
    let somebody = served.with_world(|world| {
        let mut rows = world.meetings.iter().flat_map(|meeting| &meeting.sessions);
        rows.find_map(|session| {
            session
                .row
                .get("email")?
                .as_str()
                .filter(|email| !email.is_empty())
                .map(str::to_owned)
        })
    });
    if let Some(email) = somebody {
        super::forget::run(context, &super::forget::ForgetArgs::of_email(email))?;
    }
    Ok(Exit::Done)
}

fn demo_file(context: &Context) -> Result<PathBuf, Failure> {
    let file = if context.config.db_said {
        context.config.db.clone()
    } else {
        let folder = std::env::temp_dir().join(format!("zoom-harvester-demo-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        folder.join("harvester.db")
    };
    new_file(file)
}

fn new_file(file: PathBuf) -> Result<PathBuf, Failure> {
    if file.exists() {
        return Err(Failure::usage(format!(
            "{} exists already; the demo begins with a new catalog",
            file.display()
        )));
    }
    Ok(file)
}

/// The same configuration, except for Zoom, the catalog, and the index prefix: a demo must not mix with real data.
fn pointed_at(context: &Context, served: &Simulator, db: &std::path::Path) -> Context {
    let mut config = context.config.clone();
    config.point_at_simulation(
        sim::ACCOUNT_ID,
        sim::CLIENT_ID,
        SecretString::from(sim::CLIENT_SECRET),
        served.api_url(),
        served.oauth_url(),
    );
    config.db = db.to_owned();
    match &mut config.elastic {
        Some(elastic) if !elastic.prefix_said => elastic.prefix = "zoom-demo".to_owned(),
        _ => {}
    }
    Context {
        config,
        clock: context.clock.clone(),
        bars: context.bars.clone(),
        quiet: context.quiet,
        traffic: context.traffic.clone(),
    }
}

/// Makes the catalog a single file, without a write-ahead log or a lock file, so that it can be copied and kept.
fn checkpoint(file: &std::path::Path) -> Result<(), Failure> {
    let catalog = crate::catalog::Catalog::open(file)?;
    catalog.into_single_file()?;
    let mut lock = file.as_os_str().to_owned();
    lock.push(".lock");
    std::fs::remove_file(lock)?;
    Ok(())
}

async fn things_to_try(context: &Context, served: &Simulator, now: DateTime<Utc>) -> String {
    let db = context.config.db.display();
    let day = now.date_naive() - Days::new(3);
    let mut text = format!(
        "Things to try\n\n  sqlite3 {db} \"SELECT * FROM coverage ORDER BY day DESC LIMIT 5\"\n  \
         sqlite3 {db} \"SELECT * FROM run_log\"\n"
    );
    if let (Some(config), Ok(Some(elastic))) = (
        &context.config.elastic,
        context.elastic_for(AccountId::new(sim::ACCOUNT_ID)),
    ) {
        let query =
            serde_json::json!({"size": 0, "aggs": {"devices": {"terms": {"field": "device", "size": 3}}}});
        text.push_str(&format!(
            "  curl -s '{}/{}-sessions/_search' -H 'content-type: application/json' -d '{query}'\n",
            config.urls.first().map_or("", String::as_str),
            config.prefix
        ));
        // Counting makes the documents that were sent visible to searches.
        let counted = elastic.count().await;
        if let Ok(answer) = elastic.search(IndexKind::Sessions, &query).await {
            text.push_str(&format!(
                "    answers {}\n",
                answer["aggregations"]["devices"]["buckets"]
            ));
        }
        match counted {
            Ok((meetings, sessions)) => text.push_str(&format!(
                "\nElasticsearch now holds {} meetings and {} sessions behind {prefix}-meetings and {prefix}-sessions.\n",
                out::thousands(meetings),
                out::thousands(sessions),
                prefix = config.prefix
            )),
            Err(error) => text.push_str(&format!("\nElasticsearch could not be asked: {error}\n")),
        }
    }
    // Print all of these settings. Otherwise the Elasticsearch of the environment would get the simulated account among its real data.
    let elastic = match &context.config.elastic {
        Some(config) => format!(
            " ELASTICSEARCH_URL={} ELASTICSEARCH_INDEX_PREFIX={}{}{}",
            config.urls.join(","),
            config.prefix,
            match context.config.index_period {
                IndexPeriod::None => "",
                IndexPeriod::Year => " ELASTICSEARCH_INDEX_PERIOD=year",
            },
            config.replicas.map_or_else(String::new, |replicas| format!(
                " ELASTICSEARCH_REPLICAS={replicas}"
            ))
        ),
        None => String::new(),
    };
    let program = std::env::current_exe().map_or_else(
        |_| "zoom-harvester".to_owned(),
        |program| program.display().to_string(),
    );
    text.push_str(&format!(
        "\nWith --keep, the next sync from another terminal:\n\n  {}{elastic}\n  {program} --db {db} sync\n  \
         {program} --db {db} sync --from {day} --to {day}\n",
        environment(served, sim::ACCOUNT_ID)
    ));
    text
}
