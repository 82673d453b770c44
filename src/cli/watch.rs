//! `watch`: the daemon. It syncs repeatedly and serves report, health, metrics and webhooks.

mod serve;
mod webhook;

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::PathBuf,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use clap::Args;
use croner::Cron;
use secrecy::SecretString;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::Notify,
    time::Instant,
};

use super::{Exit, Failure, Global, context::Context, interrupt::Interrupt, sync};
use crate::{
    config::Config,
    metrics::Surroundings,
    sync::Scope,
    zoom::traffic::{Durations, Traffic},
};

#[derive(Args, Debug)]
pub struct WatchArgs {
    /// How long from the begin of one sync to the next: `90s`, `15m`, `2h`; up to a tenth is added by chance
    #[arg(long, value_name = "TIME", value_parser = interval, default_value = "15m", conflicts_with = "cron")]
    every: Duration,
    /// When to sync instead, UTC: minute, hour, day, month, day of the week (`*/20 6-20 * * mon-fri`)
    #[arg(long, value_name = "EXPRESSION", value_parser = Cron::from_str)]
    cron: Option<Cron>,
    /// Answer `/`, `/healthz`, `/metrics` and `/webhook` by HTTP: a port on this machine, or an address
    #[arg(long, value_name = "[ADDRESS:]PORT", value_parser = address)]
    listen: Option<SocketAddr>,
}

/// How long to wait after a webhook: more of them may follow, and Zoom's listing may need a moment.
const AFTER_WEBHOOK: Duration = Duration::from_secs(3);

/// The shortest time between the starts of two syncs that webhooks ask for.
const BETWEEN_WEBHOOK_SYNCS: Duration = Duration::from_secs(30);

fn interval(text: &str) -> Result<Duration, String> {
    let wrong = || "write a time as 90s, 15m or 2h; at least 10s, at most 7 days".to_owned();
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        _ => return Err(wrong()),
    };
    let count: u64 = text.trim_end_matches(unit).parse().map_err(|_| wrong())?;
    let seconds = count
        .checked_mul(seconds)
        .filter(|seconds| (10..=604_800).contains(seconds));
    seconds.map(Duration::from_secs).ok_or_else(wrong)
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let port = text
        .parse::<u16>()
        .map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    port.or_else(|_| text.parse())
        .map_err(|_| "write a port, or an address and a port: 8080, 0.0.0.0:8080, [::1]:8080".to_owned())
}

/// What the loop and the server share.
struct Shared {
    db: PathBuf,
    account: String,
    traffic: Arc<Traffic>,
    clock: crate::model::Clock,
    state: Mutex<State>,
    wake: Notify,
}

/// State that changes while the daemon runs.
struct State {
    quota_limit: u64,
    webhook_secret: Option<SecretString>,
    runs: Durations,
    /// Days that webhooks reported, to be listed by the next sync.
    days: BTreeSet<NaiveDate>,
    /// Why the last sync did not end well; `None` if it did.
    trouble: Option<String>,
    /// Whether a sync has ended since the start.
    has_run: bool,
}

impl Shared {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn surroundings(&self) -> Surroundings {
        let state = self.state();
        Surroundings {
            quota_limit: state.quota_limit,
            runs: state.runs.clone(),
        }
    }
}

pub fn run(mut context: Context, global: &Global, args: &WatchArgs) -> Result<Exit, Failure> {
    let account = context.config.zoom_credentials()?.account_id;
    let shared = Arc::new(Shared {
        db: context.config.db.clone(),
        account: account.as_str().to_owned(),
        traffic: Arc::clone(&context.traffic),
        clock: context.clock.clone(),
        state: Mutex::new(State {
            quota_limit: 0,
            webhook_secret: None,
            runs: Durations::default(),
            days: BTreeSet::new(),
            trouble: None,
            has_run: false,
        }),
        wake: Notify::new(),
    });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let interrupt = Interrupt::watch()?;
        let (mut stop, mut stop_soon) = (interrupt.stop(), interrupt.stop());
        let mut hup = signal(SignalKind::hangup())?;
        configure(&shared, &context);
        if let Some(address) = args.listen {
            serve::start(address, Arc::clone(&shared)).await?;
        }
        let mut dice = fastrand::Rng::with_seed(context.now().timestamp_micros().unsigned_abs());
        loop {
            let begun = Instant::now();
            one_sync(&context, &shared, &interrupt).await;
            let ended = Instant::now();
            let next = next(args, begun, context.now(), &mut dice);
            let woken = ended.max(begun + BETWEEN_WEBHOOK_SYNCS);
            loop {
                tokio::select! {
                    biased;
                    _ = stop.wait_for(|stop| *stop) => return Ok(interrupt.exit()),
                    _ = hup.recv() => match Context::new(global) {
                        Ok((read, _)) if read.config.db == shared.db && same_account(&read.config, &shared) => {
                            context.config = read.config;
                            configure(&shared, &context);
                            tracing::info!("the configuration was read again");
                        }
                        Ok(_) => tracing::warn!("the configuration names another catalog or account: start again for that; the old one stays"),
                        Err(failure) => tracing::warn!("the configuration stays as it was: {}", failure.message),
                    },
                    () = shared.wake.notified() => {
                        let at = woken.max(Instant::now() + AFTER_WEBHOOK);
                        tokio::select! {
                            _ = stop_soon.wait_for(|stop| *stop) => return Ok(interrupt.exit()),
                            () = tokio::time::sleep_until(at) => break,
                        }
                    }
                    () = tokio::time::sleep_until(next) => break,
                }
            }
        }
    })
}

fn same_account(config: &Config, shared: &Shared) -> bool {
    config
        .zoom_credentials()
        .is_ok_and(|zoom| zoom.account_id.as_str() == shared.account)
}

/// Copies the part of the configuration that the HTTP server needs.
fn configure(shared: &Shared, context: &Context) {
    let mut state = shared.state();
    state.quota_limit = context.plan().daily_share(context.config.rate_share);
    state.webhook_secret = context.config.webhook_secret.clone();
}

/// When the next sync begins, if no webhook asks for one before.
fn next(args: &WatchArgs, begun: Instant, now: DateTime<Utc>, dice: &mut fastrand::Rng) -> Instant {
    let wait = match &args.cron {
        None => {
            let due = begun + args.every + args.every.mul_f64(0.1 * dice.f64());
            due.saturating_duration_since(Instant::now())
        }
        Some(cron) => cron
            .find_next_occurrence(&now, false)
            .ok()
            .and_then(|at| (at - now).to_std().ok())
            .unwrap_or(Duration::from_secs(3_600)),
    };
    Instant::now() + wait
}

/// One sync, with the days that webhooks reported. Failures are logged, and the next sync tries again.
async fn one_sync(context: &Context, shared: &Shared, interrupt: &Interrupt) {
    let days = std::mem::take(&mut shared.state().days);
    let begun = Instant::now();
    let ended = async {
        let account = context.config.zoom_credentials()?.account_id;
        if !days.is_empty() {
            let (mut catalog, _lock) = context.open_catalog("watch")?;
            catalog.list_days_again(&days)?;
        }
        let scope = || {
            // A new catalog has no days to resume from, so its first sync begins a week ago.
            let week = context.now().date_naive() - TimeDelta::days(6);
            let catalog = crate::catalog::Catalog::open_read_only(&context.config.db)?;
            Ok(match catalog.first_day()? {
                Some(_) => Scope::Resume,
                None => crate::model::Window::new(week, context.now().date_naive())
                    .map_or(Scope::Resume, Scope::Days),
            })
        };
        sync::harvest(context, "sync", Some(&account), scope, true, false, interrupt).await
    }
    .await;
    let trouble = match &ended {
        Ok((_, Exit::Done | Exit::Interrupted | Exit::Terminated)) => None,
        Ok((summary, exit)) => {
            let message = summary.message.clone();
            Some(message.unwrap_or_else(|| format!("the last sync ended with exit code {}", *exit as u8)))
        }
        Err(failure) => Some(failure.message.clone()),
    };
    match (&trouble, &ended) {
        (Some(trouble), _) => tracing::warn!("the sync did not end well: {trouble}"),
        (None, Ok((summary, _))) => tracing::info!(
            new = summary.tally.new,
            changed = summary.tally.changed,
            details = summary.tally.details,
            published = summary.tally.published,
            "synced"
        ),
        (None, Err(_)) => {}
    }
    let mut state = shared.state();
    if ended.is_err() {
        // These days are still to be listed.
        state.days.extend(days);
    }
    state.runs.observe(begun.elapsed());
    (state.trouble, state.has_run) = (trouble, true);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_and_listen_addresses_are_read_in_every_documented_form() {
        assert_eq!(interval("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(interval("15m"), Ok(Duration::from_secs(900)));
        assert_eq!(interval("2h"), Ok(Duration::from_secs(7_200)));
        for bad in ["", "15", "m", "1s", "-5m", "200h", "1d", "15 m"] {
            assert!(interval(bad).unwrap_err().contains("15m"), "{bad}");
        }
        assert_eq!(address("8080").unwrap().to_string(), "127.0.0.1:8080");
        assert_eq!(address("0.0.0.0:80").unwrap().to_string(), "0.0.0.0:80");
        assert!(address("host:80").is_err() && address("70000").is_err());
    }
}
