//! The catalog: a local SQLite file that remembers every host, series and meeting, what was fetched, and what Elasticsearch
//! acknowledged. All SQL is here; what crosses the border is a [`crate::model`] type.
//!
//! Each public verb is one transaction and so tells one truth: killed before it, nothing of it happened; after it, all of it.

mod audit;
mod care;
mod check;
mod clock;
mod detail;
mod forget;
mod hosts;
mod listing;
mod lock;
mod place;
mod publish;
mod quota;
mod repair;
mod schema;

use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use include_dir::{Dir, include_dir};
use rusqlite::{Connection, OpenFlags, Row, Transaction, TransactionBehavior};
use rusqlite_migration::Migrations;
use sea_query::{ExprTrait, Query, SqliteQueryBuilder};
use sea_query_rusqlite::RusqliteBinder;

pub use audit::{
    ApiUse, Coverage, Finding, Found, HostShown, MeetingShown, RunShown, SeriesShown, Standing, Troubled,
};
pub use care::{Backup, Vacuumed};
pub use check::{Checked, Flaw};
pub use detail::{Due, Keeping};
pub use forget::{Erased, HostEmails, KnownBackup, Rules};
pub use hosts::{HostQuestion, NewQuestions};
pub use lock::Lock;
pub use publish::{Acknowledgement, IndexRecord, Trust};
pub use quota::Reservation;
pub use repair::{Belief, Repaired, Stray};

use crate::{
    model::{AccountId, iso},
    text::system_said,
};
use schema::{Account, Runs};

static MIGRATIONS: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/migrations");

/// `ZHAR`: what tells our files from other SQLite files (`PRAGMA application_id`).
const APPLICATION_ID: i32 = 0x5A48_4152;

/// One page of the smallest size, in bytes (sqlite.org/fileformat2.html).
const SMALLEST_DATABASE: u64 = 512;

/// What can go wrong with the catalog.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file, or its folder, cannot be opened or made.
    #[error("{} cannot be opened: {}{}", path.display(), system_said(source), remedy(source))]
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
    #[error("the folder {} does not exist; make it, or name another file", .0.display())]
    NoFolder(PathBuf),
    /// Something stands there that is no file.
    #[error("{} is not a file; name the file of the catalog with --db", .0.display())]
    NotAFile(PathBuf),
    /// Something stands where a new file was to be made.
    #[error("{} exists already, and nothing is written over; name another file", .0.display())]
    Exists(PathBuf),
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
    /// A file of an older program, where nothing may be changed.
    #[error(
        "the catalog {} was written by an older zoom-harvester (its schema is {found}, this program's is {known}); the next \
         `zoom-harvester sync` or `publish` brings it up to date", path.display()
    )]
    Older {
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
    /// A program that keeps to no lock of ours held it for too long.
    #[error("another program holds the catalog: {0}; end it (a `sqlite3` left open?) and run again")]
    Busy(#[source] rusqlite::Error),
    /// The disk is full: nothing of the last transaction was written.
    #[error("the disk is full: the catalog kept what it had, nothing is lost; make room and run again")]
    DiskFull(#[source] rusqlite::Error),
    /// The disk or the memory failed: nothing of the last transaction was written.
    #[error("the catalog cannot be read or written: {0}; it kept what it had. See to the disk and run again")]
    Machine(#[source] rusqlite::Error),
    /// The file cannot be written.
    #[error(
        "the catalog cannot be written: {0}; check the permissions of the file and its folder (to read it, too, SQLite writes in \
         the folder: where that is not allowed, read a copy that `zoom-harvester catalog backup` made)"
    )]
    ReadOnly(#[source] rusqlite::Error),
    /// The file, or one beside it, may not be opened.
    #[error("the catalog cannot be opened: {0}; check the permissions of the file and its folder")]
    CannotOpen(#[source] rusqlite::Error),
    /// The file that was opened is no longer there.
    #[error(
        "the catalog {} was deleted, moved or replaced while this ran, and what would be written now would be lost; put it back \
         (with the -wal file that belongs to it), or run again to begin a new one", .0.display()
    )]
    Removed(PathBuf),
    /// A backup could not be made. Nothing of it is left.
    #[error("{} was not made: {source}", path.display())]
    Backup {
        /// The file it would have been.
        path: PathBuf,
        /// Why.
        source: Box<Error>,
    },
    /// The file is damaged.
    #[error(
        "the catalog is damaged: {0}; put a backup in its place, or move it away: a new one is filled from Zoom again"
    )]
    Damaged(#[source] rusqlite::Error),
    /// Anything else that SQLite says.
    #[error("the catalog failed: {0}")]
    Sqlite(#[source] rusqlite::Error),
    /// The schema could not be brought up to date.
    #[error("the catalog's schema could not be brought up to date, and stays as it was: {0}")]
    Migration(String),
    /// Something stands in the catalog that this program never writes.
    #[error(
        "the catalog holds {0}, which this program never writes; see what `zoom-harvester catalog check` says"
    )]
    Nonsense(String),
    /// A kept payload could not be compressed or read back.
    #[error(
        "the kept detail of meeting {uuid} cannot be read: {source}; see what `zoom-harvester catalog check` says"
    )]
    Payload {
        /// The meeting.
        uuid: String,
        /// Why.
        source: std::io::Error,
    },
}

fn remedy(source: &std::io::Error) -> &'static str {
    use std::io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
    match source.kind() {
        PermissionDenied | ReadOnlyFilesystem => "; check the permissions of the file and its folder",
        _ => "",
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode as Code;
        let Some(said) = error.sqlite_error() else {
            return Self::Sqlite(error);
        };
        match said.code {
            // The file that readers share grows first; there SQLite does not say that the disk is full.
            _ if said.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE => Self::DiskFull(error),
            Code::DiskFull => Self::DiskFull(error),
            Code::SystemIoFailure | Code::OutOfMemory => Self::Machine(error),
            Code::DatabaseBusy | Code::DatabaseLocked | Code::FileLockingProtocolFailed => Self::Busy(error),
            Code::ReadOnly | Code::PermissionDenied => Self::ReadOnly(error),
            Code::CannotOpen => Self::CannotOpen(error),
            Code::DatabaseCorrupt | Code::NotADatabase => Self::Damaged(error),
            _ => Self::Sqlite(error),
        }
    }
}

impl From<rusqlite_migration::Error> for Error {
    fn from(error: rusqlite_migration::Error) -> Self {
        match error {
            // Without the statement, which is a whole schema.
            rusqlite_migration::Error::RusqliteError { err, .. } => match Self::from(err) {
                Self::Sqlite(error) => Self::Migration(error.to_string()),
                told => told,
            },
            other => Self::Migration(other.to_string().replace('\n', " ")),
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
    /// Nothing for one in memory.
    file: Option<place::Opened>,
}

impl Catalog {
    /// Opens the catalog for writing; makes it, readable by its owner only, if there is none. An older schema is brought up to
    /// date.
    ///
    /// # Errors
    /// A file that is not ours, or of a newer program, is refused before a byte of it is written.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let path = &place::resolve(path)?;
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
            refuse_strangers(&read_only(path)?, path)?;
        }
        let file = place::Opened::at(path)?;
        let mut conn = Connection::open_with_flags(
            path,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        conn.pragma_update(None, "journal_mode", "WAL")?;
        if conn.pragma_query_value(None, "application_id", |row| row.get::<_, i32>(0))? != APPLICATION_ID {
            conn.pragma_update(None, "application_id", APPLICATION_ID)?;
        }
        prepare(&conn)?;
        // A transaction that reads first and writes then would fail, not wait, if somebody wrote in between.
        conn.set_transaction_behavior(TransactionBehavior::Immediate);
        Migrations::from_directory(&MIGRATIONS)?.to_latest(&mut conn)?;
        Ok(Self {
            conn,
            file: Some(file),
        })
    }

    /// Opens it for a short write beside whoever holds the lock: to note a backup. Nothing is made or brought up to date.
    ///
    /// # Errors
    /// As [`Catalog::open_read_only`], but that a catalog of an older program is let in.
    pub fn open_beside(path: &Path) -> Result<Self, Error> {
        let real = Self::there(path)?;
        refuse_strangers(&read_only(&real)?, path)?;
        let file = place::Opened::at(&real)?;
        let mut conn = Connection::open_with_flags(
            &real,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        prepare(&conn)?;
        conn.set_transaction_behavior(TransactionBehavior::Immediate);
        Ok(Self {
            conn,
            file: Some(file),
        })
    }

    /// Opens it to look only; works while another run writes.
    ///
    /// # Errors
    /// [`Error::Absent`] if there is none; [`Error::Older`]; strangers are refused as by [`Catalog::open`].
    pub fn open_read_only(path: &Path) -> Result<Self, Error> {
        let real = Self::there(path)?;
        let conn = read_only(&real)?;
        let (found, known) = (refuse_strangers(&conn, path)?, Self::schema_version());
        if found == 0 {
            return Err(Error::Absent(path.to_owned()));
        }
        if found < known {
            return Err(Error::Older {
                path: path.to_owned(),
                found,
                known,
            });
        }
        prepare(&conn)?;
        let file = Some(place::Opened::at(&real)?);
        Ok(Self { conn, file })
    }

    /// Where it really lies, if there is one.
    fn there(path: &Path) -> Result<PathBuf, Error> {
        let real = place::resolve(path)?;
        if std::fs::metadata(&real).map_or(true, |file| file.len() == 0) {
            return Err(Error::Absent(path.to_owned()));
        }
        Ok(real)
    }

    /// An empty catalog that is never written to disk: what the dry run compares with where there is no catalog yet.
    ///
    /// # Errors
    /// Only such as a bug would cause.
    pub fn in_memory() -> Result<Self, Error> {
        let mut conn = Connection::open_in_memory()?;
        prepare(&conn)?;
        Migrations::from_directory(&MIGRATIONS)?.to_latest(&mut conn)?;
        Ok(Self { conn, file: None })
    }

    /// Begins to write, all or nothing.
    fn transaction(&mut self) -> Result<Transaction<'_>, Error> {
        self.still_there()?;
        Ok(self.conn.transaction()?)
    }

    fn still_there(&self) -> Result<(), Error> {
        self.file.as_ref().map_or(Ok(()), place::Opened::still_there)
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

    /// Shows every statement from now on as it is run: for whoever asks whether all have their index.
    pub fn watch_statements(&mut self, seen: fn(rusqlite::trace::TraceEvent<'_>)) {
        let statements = rusqlite::trace::TraceEventCodes::SQLITE_TRACE_STMT;
        self.conn.trace_v2(statements, Some(seen));
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
        let tx = self.transaction()?;
        clock::set_back_to(&tx, now)?;
        let run = insert_run(&tx, command, now)?;
        tx.commit()?;
        Ok(run)
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
        // A run that wrote into a file that is gone did not succeed.
        let tx = self.transaction()?;
        update_run(&tx, run, tally, exit_code, message, now)?;
        tx.commit()?;
        Ok(())
    }
}

fn insert_run(conn: &Connection, command: &str, now: DateTime<Utc>) -> Result<RunId, Error> {
    let insert = Query::insert()
        .into_table(Runs::Table)
        .columns([Runs::Command, Runs::StartedAt])
        .values_panic([command.into(), iso(now).into()])
        .take();
    execute(conn, &insert)?;
    Ok(RunId(conn.last_insert_rowid()))
}

fn update_run(
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

/// Refuses what is not ours or too new; answers which schema it has, 0 for none yet.
fn refuse_strangers(conn: &Connection, path: &Path) -> Result<i64, Error> {
    // SQLite takes a few bytes for an empty database, and would write over them.
    if std::fs::metadata(path).is_ok_and(|file| file.len() < SMALLEST_DATABASE) {
        return Err(Error::Foreign(path.to_owned()));
    }
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
    if (application != i64::from(APPLICATION_ID) && !empty) || found < 0 {
        return Err(Error::Foreign(path.to_owned()));
    }
    let known = Catalog::schema_version();
    if found > known {
        return Err(Error::Newer {
            path: path.to_owned(),
            found,
            known,
        });
    }
    Ok(found)
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
