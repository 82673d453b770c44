//! Errors of the catalog, and what to do about them.

use std::path::PathBuf;

use super::sql::UnexpectedValue;
use crate::{model::AccountId, untrusted::system_said};

/// An error of the catalog.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file, or its folder, cannot be opened or made.
    #[error("{} cannot be opened: {}{}", path.display(), system_said(source), remedy(source))]
    File {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// There is no catalog at this path, and this command does not create one.
    #[error("there is no catalog at {}; run `zoom-harvester sync` first, or name another file with --db", .0.display())]
    Absent(PathBuf),
    /// The folder that the catalog should be in is missing.
    #[error("the folder {} does not exist; make it, or name another file", .0.display())]
    NoFolder(PathBuf),
    /// The path exists but is not a file.
    #[error("{} is not a file; name the file of the catalog with --db", .0.display())]
    NotAFile(PathBuf),
    /// The path of a new file exists already.
    #[error("{} exists already, and nothing is written over; name another file", .0.display())]
    Exists(PathBuf),
    /// The file is not a zoom-harvester catalog.
    #[error("{} is not a zoom-harvester catalog; it was left untouched. Name another file with --db", .0.display())]
    Foreign(PathBuf),
    /// The file was written by a newer program.
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
    /// The file was written by an older program and may not be changed here.
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
    /// The catalog belongs to another Zoom account.
    #[error(
        "this catalog belongs to the Zoom account {found}, not to {asked}; use one catalog an account (--db)"
    )]
    OtherAccount {
        /// The account that the catalog belongs to.
        found: AccountId,
        /// The account that wants to use it.
        asked: AccountId,
    },
    /// Another run holds the lock.
    #[error("another run holds the catalog: {holder}")]
    Locked {
        /// The holder, as it describes itself.
        holder: String,
    },
    /// A program that does not use the harvester's lock held the catalog for too long.
    #[error("another program holds the catalog: {0}; end it (a `sqlite3` left open?) and run again")]
    Busy(#[source] rusqlite::Error),
    /// The disk is full. Nothing of the last transaction was written.
    #[error("the disk is full: the catalog kept what it had, nothing is lost; make room and run again")]
    DiskFull(#[source] rusqlite::Error),
    /// The disk or the memory failed. Nothing of the last transaction was written.
    #[error("the catalog cannot be read or written: {0}; it kept what it had. Check the disk and run again")]
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
    /// The opened file is no longer at its path.
    #[error(
        "the catalog {} was deleted, moved or replaced while this ran, and what would be written now would be lost; put it back \
         (with the -wal file that belongs to it), or run again to begin a new one", .0.display()
    )]
    Removed(PathBuf),
    /// A backup could not be made. No partial file is left.
    #[error("{} was not made: {source}", path.display())]
    Backup {
        /// The file that should have been written.
        path: PathBuf,
        /// The cause.
        source: Box<Error>,
    },
    /// The file is damaged.
    #[error(
        "the catalog is damaged: {0}; put a backup in its place, or move it away: a new one is filled from Zoom again"
    )]
    Damaged(#[source] rusqlite::Error),
    /// Any other SQLite error.
    #[error("the catalog failed: {0}")]
    Sqlite(#[source] rusqlite::Error),
    /// The schema could not be brought up to date.
    #[error("the catalog's schema could not be brought up to date, and stays as it was: {0}")]
    Migration(String),
    /// The catalog contains a value that this program never writes.
    #[error(
        "the catalog holds {0}, which this program never writes; see what `zoom-harvester catalog check` says"
    )]
    Nonsense(String),
    /// No dictionary could be learned.
    #[error("no dictionary could be learned from the account's rows: {source}")]
    Dictionary {
        /// The cause.
        source: std::io::Error,
    },
    /// A kept payload could not be compressed or read back.
    #[error(
        "the kept detail of meeting {uuid} cannot be read: {source}; see what `zoom-harvester catalog check` says"
    )]
    Payload {
        /// The meeting.
        uuid: String,
        /// The cause.
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
        if let rusqlite::Error::FromSqlConversionFailure(_, _, source) = &error
            && let Some(strange) = source.downcast_ref::<UnexpectedValue>()
        {
            return Self::Nonsense(strange.0.clone());
        }
        let Some(said) = error.sqlite_error() else {
            return Self::Sqlite(error);
        };
        match said.code {
            // The file that readers share grows first. For that file SQLite does not report a full disk.
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
            // The message omits the statement, which is a whole schema.
            rusqlite_migration::Error::RusqliteError { err, .. } => match Self::from(err) {
                Self::Sqlite(error) => Self::Migration(error.to_string()),
                told => told,
            },
            other => Self::Migration(other.to_string().replace('\n', " ")),
        }
    }
}
