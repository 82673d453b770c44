//! The catalog: a local SQLite file that remembers every host, series and meeting, what was fetched, and what Elasticsearch
//! acknowledged. All SQL is here; what crosses the border is a [`crate::model`] type.
//!
//! Each public verb is one transaction and so tells one truth: killed before it, nothing of it happened; after it, all of it.

mod audit;
mod detail;
mod forget;
mod hosts;
mod listing;
mod lock;
mod publish;
mod quota;
mod schema;

use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use include_dir::{Dir, include_dir};
use rusqlite::{Connection, OpenFlags, Row};
use rusqlite_migration::Migrations;
use sea_query::{ExprTrait, Query, SqliteQueryBuilder};
use sea_query_rusqlite::RusqliteBinder;

pub use audit::{
    ApiUse, Coverage, Finding, Found, HostShown, MeetingShown, RunShown, SeriesShown, Standing, Troubled,
};
pub use detail::{Due, Keeping};
pub use forget::{Backup, Erased, HostEmails, Rules};
pub use hosts::HostQuestion;
pub use lock::Lock;
pub use publish::{Acknowledgement, IndexRecord, Trust};
pub use quota::Reservation;

use crate::model::{AccountId, iso};
use schema::{Account, Runs};

static MIGRATIONS: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/migrations");

/// `ZHAR`: what tells our files from other SQLite files (`PRAGMA application_id`).
const APPLICATION_ID: i32 = 0x5A48_4152;

/// What can go wrong with the catalog.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file, or its folder, cannot be opened or made.
    #[error("cannot open {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// There is no catalog there, and the command at hand does not make one.
    #[error("there is no catalog at {}; run `zoom-harvester sync` first, or name another file with --db", .0.display())]
    Absent(PathBuf),
    /// The folder that the catalog should be in is missing.
    #[error("the folder {} does not exist; make it, or name another file with --db", .0.display())]
    NoFolder(PathBuf),
    /// Somebody else's file.
    #[error("{} is not a zoom-harvester catalog; it was left untouched. Name another file with --db", .0.display())]
    Foreign(PathBuf),
    /// A file of a newer program.
    #[error(
        "the catalog {} was written by a newer zoom-harvester (its schema is {found}, this program knows {known}); \
         it was left untouched. Install the newer program", path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The schema it has.
        found: i64,
        /// The newest schema this program knows.
        known: i64,
    },
    /// Another Zoom account's catalog.
    #[error(
        "this catalog belongs to the Zoom account {found}, not to {asked}; use one catalog an account (--db)"
    )]
    OtherAccount {
        /// Whose it is.
        found: AccountId,
        /// Who asked.
        asked: AccountId,
    },
    /// Another run holds it.
    #[error("another run holds the catalog: {holder}")]
    Locked {
        /// Who, in the holder's own words.
        holder: String,
    },
    /// The disk is full: nothing of the last transaction was written.
    #[error("the disk is full: the catalog kept what it had, nothing is lost; make room and run again")]
    DiskFull(#[source] rusqlite::Error),
    /// The file cannot be written.
    #[error("the catalog cannot be written: {0}; check the permissions of the file and its folder")]
    ReadOnly(#[source] rusqlite::Error),
    /// The file is damaged.
    #[error(
        "the catalog is damaged: {0}; put a backup in its place, or move it away: a new one is filled from Zoom again"
    )]
    Damaged(#[source] rusqlite::Error),
    /// Anything else that SQLite says.
    #[error("the catalog failed: {0}")]
    Sqlite(#[source] rusqlite::Error),
    /// The schema could not be brought up to date.
    #[error("the catalog's schema could not be brought up to date: {0}")]
    Migration(#[from] rusqlite_migration::Error),
    /// Something stands in the catalog that this program never writes.
    #[error("the catalog holds {0}, which this program never writes")]
    Nonsense(String),
    /// A kept payload could not be compressed or read back.
    #[error("the kept detail of meeting {uuid} cannot be read: {source}")]
    Payload {
        /// The meeting.
        uuid: String,
        /// Why.
        source: std::io::Error,
    },
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{DatabaseCorrupt, DiskFull, NotADatabase, PermissionDenied, ReadOnly};
        match error.sqlite_error_code() {
            Some(DiskFull) => Self::DiskFull(error),
            Some(ReadOnly | PermissionDenied) => Self::ReadOnly(error),
            Some(DatabaseCorrupt | NotADatabase) => Self::Damaged(error),
            _ => Self::Sqlite(error),
        }
    }
}

/// Which run writes; every change in the history names one.
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
    /// Details, windows or documents that could not be had or sent.
    pub failed: u64,
    /// Meetings whose documents were acknowledged.
    pub published: u64,
}

/// An open catalog.
#[derive(Debug)]
pub struct Catalog {
    conn: Connection,
}

impl Catalog {
    /// Opens the catalog for writing; makes it, readable by its owner only, if there is none. An older schema is brought up to
    /// date.
    ///
    /// # Errors
    /// A file that is not ours, or of a newer program, is refused before a byte of it is written.
    pub fn open(path: &Path) -> Result<Self, Error> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty())
            && !folder.is_dir()
        {
            return Err(Error::NoFolder(folder.to_owned()));
        }
        let fresh = std::fs::metadata(path).map_or(true, |file| file.len() == 0);
        if fresh {
            // Made here, not by SQLite, so that at no instant anybody else can read it. The -wal and -shm files take
            // over its mode.
            let mut options = std::fs::OpenOptions::new();
            options.write(true).create(true).truncate(false);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            options.open(path).map_err(|source| Error::File {
                path: path.to_owned(),
                source,
            })?;
        } else {
            Self::refuse_strangers(&read_only(path)?, path)?;
        }
        let mut conn = Connection::open_with_flags(
            path,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        conn.pragma_update(None, "journal_mode", "WAL")?;
        if conn.pragma_query_value(None, "application_id", |row| row.get::<_, i32>(0))? != APPLICATION_ID {
            conn.pragma_update(None, "application_id", APPLICATION_ID)?;
        }
        prepare(&conn)?;
        Migrations::from_directory(&MIGRATIONS)?.to_latest(&mut conn)?;
        Ok(Self { conn })
    }

    /// Opens it to look only; works while another run writes.
    ///
    /// # Errors
    /// [`Error::Absent`] if there is none; strangers are refused as by [`Catalog::open`].
    pub fn open_read_only(path: &Path) -> Result<Self, Error> {
        if std::fs::metadata(path).map_or(true, |file| file.len() == 0) {
            return Err(Error::Absent(path.to_owned()));
        }
        let conn = read_only(path)?;
        Self::refuse_strangers(&conn, path)?;
        prepare(&conn)?;
        Ok(Self { conn })
    }

    /// An empty catalog that is never written to disk: what the dry run compares with where there is no catalog yet.
    ///
    /// # Errors
    /// Only such as a bug would cause.
    pub fn in_memory() -> Result<Self, Error> {
        let mut conn = Connection::open_in_memory()?;
        prepare(&conn)?;
        Migrations::from_directory(&MIGRATIONS)?.to_latest(&mut conn)?;
        Ok(Self { conn })
    }

    fn refuse_strangers(conn: &Connection, path: &Path) -> Result<(), Error> {
        let number = |name| conn.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let (application, found) = match (number("application_id"), number("user_version")) {
            (Ok(application), Ok(version)) => (application, version),
            (Err(error), _) | (_, Err(error)) => {
                return Err(match error.sqlite_error_code() {
                    Some(rusqlite::ErrorCode::NotADatabase) => Error::Foreign(path.to_owned()),
                    _ => error.into(),
                });
            }
        };
        // A run killed between making the file and making it ours leaves it empty: nobody's yet.
        let empty = application == 0 && found == 0 && {
            let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))?;
            tables == 0
        };
        if application != i64::from(APPLICATION_ID) && !empty {
            return Err(Error::Foreign(path.to_owned()));
        }
        let known = Self::schema_version();
        if found > known {
            return Err(Error::Newer {
                path: path.to_owned(),
                found,
                known,
            });
        }
        Ok(())
    }

    /// The newest schema this program knows.
    pub fn schema_version() -> i64 {
        MIGRATIONS.dirs().count() as i64
    }

    /// Ties the catalog to a Zoom account; `catalog_id` names the catalog if it is new.
    ///
    /// # Errors
    /// [`Error::OtherAccount`] if it belongs to another.
    pub fn claim(&mut self, account: &AccountId, catalog_id: &str, now: DateTime<Utc>) -> Result<(), Error> {
        match self.account()? {
            Some(found) if found == *account => Ok(()),
            Some(found) => Err(Error::OtherAccount {
                found,
                asked: account.clone(),
            }),
            None => {
                let insert = Query::insert()
                    .into_table(Account::Table)
                    .columns([
                        Account::Singleton,
                        Account::AccountId,
                        Account::CatalogId,
                        Account::CreatedAt,
                        Account::WholeListedAt,
                    ])
                    .values_panic([
                        1.into(),
                        account.as_str().into(),
                        catalog_id.into(),
                        iso(now).into(),
                        iso(now).into(),
                    ])
                    .take();
                execute(&self.conn, &insert)?;
                Ok(())
            }
        }
    }

    /// The account it belongs to, once one has claimed it.
    ///
    /// # Errors
    /// As SQLite fails.
    pub fn account(&self) -> Result<Option<AccountId>, Error> {
        let select = Query::select()
            .column(Account::AccountId)
            .from(Account::Table)
            .take();
        first(&self.conn, &select, |row| {
            Ok(AccountId::new(row.get::<_, String>(0)?))
        })
    }

    /// What tells this catalog from every other; empty until an account has claimed it.
    ///
    /// # Errors
    /// As SQLite fails.
    pub fn catalog_id(&self) -> Result<String, Error> {
        let select = Query::select()
            .column(Account::CatalogId)
            .from(Account::Table)
            .take();
        Ok(first(&self.conn, &select, |row| row.get(0))?.unwrap_or_default())
    }

    /// Counts, from now on, the steps that SQLite's virtual machine takes, in hundreds: for benchmarks that compare work, not
    /// time.
    pub fn count_steps(&mut self) -> std::sync::Arc<std::sync::atomic::AtomicU64> {
        let steps = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
        let counted = std::sync::Arc::clone(&steps);
        let count = move || {
            counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            false
        };
        // Fails only for a connection that is closed.
        let _ = self.conn.progress_handler(1, Some(count));
        steps
    }

    /// How SQLite answers every query that a run asks again and again: a line each, for whoever asks whether all have their
    /// index.
    ///
    /// # Errors
    /// As SQLite fails.
    pub fn hot_query_plans(&self) -> Result<Vec<String>, Error> {
        let now = DateTime::UNIX_EPOCH;
        let selects = [
            (
                "details due",
                detail::due_query(crate::model::Status::Listed, RunId(1), 10),
            ),
            ("details to look at again", detail::look_again_query(now, 10)),
            ("documents due", publish::documents_due_query(10, true)),
            (
                "documents due, hosts asked",
                publish::documents_due_query(10, false),
            ),
            ("unknown hosts", hosts::unknown_query(10)),
            ("series pending", hosts::pending_series_query(10)),
            ("series lists that are old", hosts::old_lists_query(now, 10)),
            (
                "meetings of a window",
                listing::expected_query(crate::model::DateBasis::EndTime, "2026-03-01", "2026-03-02"),
            ),
            (
                "meetings of a window, by start",
                listing::expected_query(crate::model::DateBasis::StartTime, "2026-03-01", "2026-03-02"),
            ),
        ];
        let mut plans = Vec::new();
        for (name, select) in selects {
            let (sql, values) = select.build_rusqlite(SqliteQueryBuilder);
            let mut statement = self.conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
            let steps = statement.query_map(&*values.as_params(), |row| row.get::<_, String>(3))?;
            let steps: Vec<String> = steps.collect::<rusqlite::Result<_>>()?;
            plans.push(format!("{name}: {}", steps.join("; ")));
        }
        Ok(plans)
    }

    /// Closes it as one file, without a log beside it, that can be copied and kept.
    ///
    /// # Errors
    /// As SQLite fails.
    pub fn into_single_file(self) -> Result<(), Error> {
        self.conn.pragma_update(None, "journal_mode", "DELETE")?;
        self.conn.execute_batch("VACUUM")?;
        Ok(())
    }

    /// Writes down that a command begins.
    ///
    /// # Errors
    /// As SQLite fails.
    pub fn begin_run(&mut self, command: &str, now: DateTime<Utc>) -> Result<RunId, Error> {
        let insert = Query::insert()
            .into_table(Runs::Table)
            .columns([Runs::Command, Runs::StartedAt])
            .values_panic([command.into(), iso(now).into()])
            .take();
        execute(&self.conn, &insert)?;
        Ok(RunId(self.conn.last_insert_rowid()))
    }

    /// Writes down how it ended.
    ///
    /// # Errors
    /// As SQLite fails.
    pub fn end_run(
        &mut self,
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
        execute(&self.conn, &update)?;
        Ok(())
    }
}

fn read_only(path: &Path) -> Result<Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Ok(Connection::open_with_flags(path, flags)?)
}

fn prepare(conn: &Connection) -> Result<(), Error> {
    // NORMAL with WAL survives the death of the process; only a power cut may lose the last commits, never the file.
    conn.pragma_update(None, "synchronous", "NORMAL")?;
    conn.pragma_update(None, "foreign_keys", true)?;
    // What is deleted is overwritten with zeros, so that what was forgotten does not linger in free pages.
    conn.pragma_update(None, "secure_delete", true)?;
    conn.busy_timeout(std::time::Duration::from_secs(10))?;
    conn.set_prepared_statement_cache_capacity(128);
    Ok(())
}

/// Runs a statement; answers how many rows it changed.
fn execute(conn: &Connection, statement: &impl RusqliteBinder) -> Result<usize, Error> {
    let (sql, values) = statement.build_rusqlite(SqliteQueryBuilder);
    Ok(conn.prepare_cached(&sql)?.execute(&*values.as_params())?)
}

/// All rows of a query.
fn all<T>(
    conn: &Connection,
    statement: &impl RusqliteBinder,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, Error> {
    let (sql, values) = statement.build_rusqlite(SqliteQueryBuilder);
    let mut prepared = conn.prepare_cached(&sql)?;
    let rows = prepared.query_map(&*values.as_params(), read)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// The first row of a query, if there is one.
fn first<T>(
    conn: &Connection,
    statement: &impl RusqliteBinder,
    read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Option<T>, Error> {
    let (sql, values) = statement.build_rusqlite(SqliteQueryBuilder);
    let mut prepared = conn.prepare_cached(&sql)?;
    let mut rows = prepared.query(&*values.as_params())?;
    match rows.next()? {
        Some(row) => Ok(Some(read(row)?)),
        None => Ok(None),
    }
}
