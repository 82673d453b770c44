//! The catalog: a local SQLite file that remembers every host, series and meeting, what was fetched, and what Elasticsearch acknowledged. All SQL
//! is in this module. Its interface uses [`crate::model`] types.
//!
//! Each public method that writes is one transaction. If the process is killed, either all of its changes are in the catalog or none.

mod account;
mod audit;
mod backup;
mod changes;
mod check;
mod clock_set_back;
mod comparison;
mod details;
mod document_form;
mod error;
mod file;
mod forget;
mod index_years;
mod indices;
mod listings;
mod lock;
mod lookups;
mod meetings;
mod occurrences;
mod outbox;
mod packing;
mod quota;
mod rebuild;
mod report;
mod runs;
mod schema;
mod sessions;
mod sql;

use std::path::{Path, PathBuf};

use include_dir::{Dir, include_dir};
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};
use rusqlite_migration::Migrations;

pub use account::HistoryChecked;
pub use audit::{
    ApiUse, Coverage, Finding, Found, HostShown, MeetingShown, Overview, RunShown, SeriesShown, Troubled,
};
pub use backup::{Backup, Vacuumed};
pub use check::{Checked, Flaw};
pub use comparison::{PublishState, Repaired, Stray};
pub use details::{DetailOutcome, Due};
pub use error::Error;
pub use forget::{Erased, HostEmails, KnownBackup, Rules};
pub use indices::{IndexIdentity, IndexRecord};
pub use listings::{DayChanges, can_settle};
pub use lock::Lock;
pub use lookups::{HostLookup, NewLookups};
pub use outbox::{Acknowledgement, Stored};
pub use packing::{Dictionary, Packed, PackedKind, Packer, train};
pub use quota::Reservation;
pub use report::{DayFigures, FailureGroup, Figures, Health, HourFigures, Largest, QuotaDay};
pub use runs::{RunId, Tally};

use crate::model::IndexPeriod;
use packing::Packers;

static MIGRATIONS: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/migrations");

/// `ZHAR`: distinguishes catalogs from other SQLite files (`PRAGMA application_id`).
const APPLICATION_ID: i32 = 0x5A48_4152;

/// The smallest size of a page, in bytes (sqlite.org/fileformat2.html).
const SMALLEST_DATABASE: u64 = 512;

/// An open catalog.
#[derive(Debug)]
pub struct Catalog {
    conn: Connection,
    /// `None` for a catalog in memory.
    file: Option<file::Opened>,
    packers: Packers,
    period: IndexPeriod,
}

impl Catalog {
    /// Opens the catalog for writing. If there is none, it is created, readable by its owner only. An older schema is upgraded.
    ///
    /// # Errors
    /// A file that is not a catalog, or is of a newer program, is refused before a byte of it is written.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let path = &file::resolve(path)?;
        let fresh = std::fs::metadata(path).map_or(true, |file| file.len() == 0);
        if fresh {
            // Created here, not by SQLite, so that nobody else can read it at any time. The -wal and -shm files inherit its mode.
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
        let file = file::Opened::at(path)?;
        let mut conn = Connection::open_with_flags(
            path,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        if fresh {
            // With details of about a kilobyte, less of a page stays empty than in SQLite's usual pages of 4 KiB.
            conn.pragma_update(None, "page_size", 8192)?;
        }
        conn.pragma_update(None, "journal_mode", "WAL")?;
        if conn.pragma_query_value(None, "application_id", |row| row.get::<_, i32>(0))? != APPLICATION_ID {
            conn.pragma_update(None, "application_id", APPLICATION_ID)?;
        }
        prepare(&conn)?;
        // A deferred transaction that reads first and then writes would fail, not wait, if another process wrote in between.
        conn.set_transaction_behavior(TransactionBehavior::Immediate);
        Migrations::from_directory(&MIGRATIONS)?.to_latest(&mut conn)?;
        let mut catalog = Self {
            packers: Packers::load(&conn)?,
            conn,
            file: Some(file),
            period: IndexPeriod::None,
        };
        catalog.renew_documents()?;
        Ok(catalog)
    }

    /// Sets how documents are spread over indices. The default is one index for all years.
    pub fn spread_over(&mut self, period: IndexPeriod) {
        self.period = period;
    }

    /// Opens the catalog for a short write while another run holds the lock, to record a backup. Nothing is created or upgraded.
    ///
    /// # Errors
    /// As [`Catalog::open_read_only`], except that a catalog of an older program is accepted.
    pub fn open_beside(path: &Path) -> Result<Self, Error> {
        let real = Self::there(path)?;
        refuse_strangers(&read_only(&real)?, path)?;
        let file = file::Opened::at(&real)?;
        let mut conn = Connection::open_with_flags(
            &real,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        prepare(&conn)?;
        conn.set_transaction_behavior(TransactionBehavior::Immediate);
        // Recording a backup unpacks nothing, and an older catalog may lack the table of dictionaries.
        Ok(Self {
            packers: Packers::default(),
            conn,
            file: Some(file),
            period: IndexPeriod::None,
        })
    }

    /// Opens the catalog read-only. This works while another run writes.
    ///
    /// # Errors
    /// [`Error::Absent`] if there is none; [`Error::Older`] if its schema is older. Other files are refused as by [`Catalog::open`].
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
        Ok(Self {
            packers: Packers::load(&conn)?,
            file: Some(file::Opened::at(&real)?),
            period: IndexPeriod::None,
            conn,
        })
    }

    /// The resolved path of an existing catalog.
    fn there(path: &Path) -> Result<PathBuf, Error> {
        let real = file::resolve(path)?;
        if std::fs::metadata(&real).map_or(true, |file| file.len() == 0) {
            return Err(Error::Absent(path.to_owned()));
        }
        Ok(real)
    }

    /// An empty catalog that is never written to disk. The dry run compares with it if there is no catalog yet.
    ///
    /// # Errors
    /// Only errors that a bug would cause.
    pub fn in_memory() -> Result<Self, Error> {
        let mut conn = Connection::open_in_memory()?;
        prepare(&conn)?;
        Migrations::from_directory(&MIGRATIONS)?.to_latest(&mut conn)?;
        Ok(Self {
            packers: Packers::load(&conn)?,
            conn,
            file: None,
            period: IndexPeriod::None,
        })
    }

    /// Begins a write transaction.
    fn transaction(&mut self) -> Result<Transaction<'_>, Error> {
        self.still_there()?;
        Ok(self.conn.transaction()?)
    }

    fn still_there(&self) -> Result<(), Error> {
        self.file.as_ref().map_or(Ok(()), file::Opened::still_there)
    }

    /// The newest schema this program knows.
    pub fn schema_version() -> i64 {
        MIGRATIONS.dirs().count() as i64
    }

    /// Counts the steps that SQLite's virtual machine takes from now on. For benchmarks that compare work, not time.
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

    /// Reports every statement as it runs. A test uses this to check that each uses an index.
    pub fn watch_statements(&mut self, seen: fn(rusqlite::trace::TraceEvent<'_>)) {
        let statements = rusqlite::trace::TraceEventCodes::SQLITE_TRACE_STMT;
        self.conn.trace_v2(statements, Some(seen));
    }

    /// Closes the catalog as a single file without a log beside it, which can be copied and kept.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn into_single_file(self) -> Result<(), Error> {
        self.conn.pragma_update(None, "journal_mode", "DELETE")?;
        self.conn.execute_batch("VACUUM")?;
        Ok(())
    }
}

/// Refuses a file that is not a catalog or is too new. Returns its schema version, 0 if it has none yet.
fn refuse_strangers(conn: &Connection, path: &Path) -> Result<i64, Error> {
    // SQLite takes a file of a few bytes for an empty database, and would overwrite it.
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
    // A run killed between creating the file and marking it as a catalog leaves it empty.
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
    // Deleted content is overwritten with zeros, so that forgotten data does not stay in free pages.
    conn.pragma_update(None, "secure_delete", true)?;
    conn.busy_timeout(std::time::Duration::from_secs(10))?;
    conn.set_prepared_statement_cache_capacity(128);
    Ok(())
}
