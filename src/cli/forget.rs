//! `forget`: erases people, or everything before a day, from the catalog and from the index.

use chrono::NaiveDate;
use clap::{ArgGroup, Args};

use super::{
    Exit, Failure,
    context::{Context, clients},
    interrupt::Interrupt,
    out,
    progress::Show,
    sync::note_failure,
};
use crate::{
    catalog::{Catalog, Tally},
    sync::{self as engine, Ending, ForgetSummary, ForgetTarget, Harvest, Scope},
};

// No derived `Debug`: the person to forget must not appear in a log.
#[derive(Args)]
#[group(skip)]
#[command(group(ArgGroup::new("whom").required(true).args(["email", "participant", "before", "policy"])))]
pub struct ForgetArgs {
    /// The person with this email, as a participant and as a host
    #[arg(long, value_name = "EMAIL", value_parser = said)]
    email: Option<String>,
    /// The person with this id: id, participant_user_id, participant_uuid, registrant_id or a host's id
    #[arg(long, value_name = "ID", value_parser = said)]
    participant: Option<String>,
    /// Every meeting that ended before this UTC day
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = super::day)]
    before: Option<NaiveDate>,
    /// Put everything that is stored under the [privacy] policy as it is now
    #[arg(long)]
    policy: bool,
    /// Only say what would be erased
    #[arg(long)]
    dry_run: bool,
}

impl ForgetArgs {
    /// The person with this email.
    pub fn of_email(email: String) -> Self {
        Self {
            email: Some(email),
            participant: None,
            before: None,
            policy: false,
            dry_run: false,
        }
    }
}

impl std::fmt::Debug for ForgetArgs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ForgetArgs")
    }
}

fn said(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() {
        Err("it is empty, which would match everybody without one".to_owned())
    } else {
        Ok(text.to_owned())
    }
}

impl ForgetArgs {
    fn whom(&self) -> ForgetTarget {
        match (&self.email, &self.participant, self.before) {
            (Some(email), _, _) => ForgetTarget::Email(email.clone()),
            (_, Some(id), _) => ForgetTarget::Participant(id.clone()),
            (_, _, Some(day)) => ForgetTarget::Before(day),
            _ => ForgetTarget::Policy,
        }
    }
}

pub fn run(context: &Context, args: &ForgetArgs) -> Result<Exit, Failure> {
    let today = context.now().date_naive();
    if let Some(day) = args.before.filter(|day| *day > today) {
        return Err(Failure::usage(format!(
            "--before {day} lies in the future; today is {today} (UTC)"
        )));
    }
    drop(Catalog::open_read_only(&context.config.db)?);
    let (mut catalog, _lock) = context.open_catalog("forget")?;
    let elastic = context.elastic(&catalog)?;
    context.block_on(async {
        let interrupt = Interrupt::watch()?;
        let command = if args.dry_run {
            "forget --dry-run"
        } else {
            "forget"
        };
        let run = catalog.begin_run(command, context.now())?;
        let policy = &context.config.privacy;
        let now = context.now();
        let forgot = match engine::forget(&mut catalog, run, &args.whom(), policy, args.dry_run, now) {
            Ok(forgot) => forgot,
            Err(error) => return Err(note_failure(&mut catalog, run, error.into(), context)),
        };
        if args.dry_run {
            catalog.end_run(run, &Tally::default(), Exit::Done as u8, None, context.now())?;
            out::print(&as_text(&forgot, "would be erased", "nothing was erased"))?;
            return Ok(Exit::Done);
        }
        let without_index = elastic.is_none();
        let show = Show::new(&context.bars, context.quiet);
        let ended = match Harvest::new(
            &mut catalog,
            run,
            clients(None, elastic),
            context.options(Scope::Nothing),
            context.clock.clone(),
            &show,
        ) {
            Ok(harvest) => harvest.run(interrupt.stop()).await,
            Err(error) => Err(error),
        };
        drop(show);
        let summary = match ended {
            Ok(summary) => summary,
            Err(error) => return Err(note_failure(&mut catalog, run, error.into(), context)),
        };
        let left = catalog.count_due_documents()? + catalog.count_doomed_documents()?;
        let in_index = left > 0 && (!without_index || catalog.was_published()?);
        let (exit, index) = match &summary.ending {
            Ending::Interrupted => (interrupt.exit(), STILL_THERE.to_owned()),
            Ending::Misconfigured => (
                Exit::Usage,
                format!("{STILL_THERE}: {}", summary.message.unwrap_or_default()),
            ),
            Ending::StoppedEarly { .. } => (
                Exit::StoppedEarly,
                format!("{STILL_THERE}: {}", summary.message.unwrap_or_default()),
            ),
            _ if in_index && without_index => (
                Exit::StoppedEarly,
                format!("{STILL_THERE}: no Elasticsearch is configured (ELASTICSEARCH_URL)"),
            ),
            _ if in_index => (Exit::Incomplete, STILL_THERE.to_owned()),
            _ if without_index => (Exit::Done, "none was ever filled from this catalog".to_owned()),
            _ => (
                Exit::Done,
                format!(
                    "{} documents sent again, {} deleted",
                    out::thousands(summary.documents),
                    out::thousands(summary.deleted)
                ),
            ),
        };
        // The write-ahead log still holds what this run erased only if another program was reading the catalog.
        let exit = if exit == Exit::Done && !forgot.scrubbed {
            Exit::StoppedEarly
        } else {
            exit
        };
        let message = (exit != Exit::Done).then_some(index.as_str());
        catalog.end_run(run, &summary.tally, exit as u8, message, context.now())?;
        out::print(&as_text(&forgot, "erased", &index))?;
        Ok(exit)
    })
}

const STILL_THERE: &str = "the index still holds what was erased, until `zoom-harvester publish`";

fn as_text(forgot: &ForgetSummary, word: &str, index: &str) -> String {
    let n = out::thousands;
    let erased = &forgot.erased;
    let row = |name: &str, said: String| vec![name.to_owned(), said];
    let mut rows = vec![
        row(
            word,
            format!(
                "in {} meetings ({} sessions), {} hosts, {} topics of series",
                n(erased.meetings),
                n(erased.sessions),
                n(erased.hosts),
                n(erased.series)
            ),
        ),
        row(
            "deleted",
            format!(
                "{} meetings with {} sessions",
                n(erased.deleted_meetings),
                n(erased.deleted_sessions)
            ),
        ),
        row("index", index.to_owned()),
    ];
    if !forgot.scrubbed {
        rows.push(row(
            "file",
            "another program reads the catalog, so its -wal file may still hold it: close that program and run this again"
                .to_owned(),
        ));
    }
    for backup in &forgot.backups {
        rows.push(row(
            "backup",
            format!("may still hold it: {} of {}", backup.path, backup.made_at),
        ));
    }
    out::table(&rows)
}
