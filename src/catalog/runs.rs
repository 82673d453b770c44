//! Runs: every command that may change something, what it did and how it ended.

use chrono::{DateTime, Utc};
use rusqlite::Connection;
use sea_query::{ExprTrait, Query};

use super::{Catalog, Error, clock_set_back, schema::Runs, sql::execute};
use crate::model::iso;

/// The number of a run. Every change in the history names one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunId(pub i64);

/// What a run did: the counts that `runs` keeps and the summary prints.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Tally {
    /// Complete listings of a window.
    pub listings: u64,
    /// Meetings seen for the first time.
    pub new: u64,
    /// Meetings listed differently.
    pub changed: u64,
    /// Meetings no longer listed.
    pub vanished: u64,
    /// Details kept.
    pub details: u64,
    /// Sessions in them.
    pub sessions: u64,
    /// Details, windows or documents that could not be fetched or sent.
    pub failed: u64,
    /// Meetings whose documents were acknowledged.
    pub published: u64,
}

impl Catalog {
    /// Records that a command begins.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn begin_run(&mut self, command: &str, now: DateTime<Utc>) -> Result<RunId, Error> {
        let tx = self.transaction()?;
        clock_set_back::set_back_to(&tx, now)?;
        let run = insert_run(&tx, command, now)?;
        tx.commit()?;
        Ok(run)
    }

    /// Records how a run ended.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn end_run(
        &mut self,
        run: RunId,
        tally: &Tally,
        exit_code: u8,
        message: Option<&str>,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        // This fails if the catalog's file is gone: a run that wrote into such a file did not succeed.
        let tx = self.transaction()?;
        update_run(&tx, run, tally, exit_code, message, now)?;
        tx.commit()?;
        Ok(())
    }
}

pub(super) fn insert_run(conn: &Connection, command: &str, now: DateTime<Utc>) -> Result<RunId, Error> {
    let insert = Query::insert()
        .into_table(Runs::Table)
        .columns([Runs::Command, Runs::StartedAt])
        .values_panic([command.into(), iso(now).into()])
        .take();
    execute(conn, &insert)?;
    Ok(RunId(conn.last_insert_rowid()))
}

pub(super) fn update_run(
    conn: &Connection,
    run: RunId,
    tally: &Tally,
    exit_code: u8,
    message: Option<&str>,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let update = Query::update()
        .table(Runs::Table)
        .values([
            (Runs::EndedAt, iso(now).into()),
            (Runs::ExitCode, i64::from(exit_code).into()),
            (Runs::Message, message.map(str::to_owned).into()),
            (Runs::Listings, count(tally.listings).into()),
            (Runs::New, count(tally.new).into()),
            (Runs::Changed, count(tally.changed).into()),
            (Runs::Vanished, count(tally.vanished).into()),
            (Runs::Details, count(tally.details).into()),
            (Runs::Sessions, count(tally.sessions).into()),
            (Runs::Failed, count(tally.failed).into()),
            (Runs::Published, count(tally.published).into()),
        ])
        .and_where(sea_query::Expr::col(Runs::RunId).eq(run.0))
        .take();
    execute(conn, &update)?;
    Ok(())
}
