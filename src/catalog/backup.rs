//! `catalog backup` (also while a run is under way) and `catalog vacuum`.

use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Read},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use chrono::{DateTime, Utc};
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior, backup::StepResult};
use sea_query::Query;
use sha2::{Digest, Sha256};

use super::{
    APPLICATION_ID, Catalog, Error, Tally, file,
    runs::{insert_run, update_run},
    schema::Backups,
    sql::execute,
};
use crate::model::{Checksum, Clock, iso};

/// Pages copied at a time.
const PAGES: i32 = 4096;

/// A finished backup.
#[derive(Debug)]
pub struct Backup {
    /// The absolute path of the file.
    pub path: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
    /// The checksum of the file.
    pub sha256: Checksum,
    /// The number of meetings in it.
    pub meetings: u64,
    /// Whether the catalog could record it. On a full disk it cannot, but the backup is still made.
    pub noted: Result<(), Error>,
}

/// The result of a vacuum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vacuumed {
    /// The size of the file and its log before, in bytes.
    pub bytes_before: u64,
    /// The same size afterwards, in bytes.
    pub bytes_after: u64,
    /// Whether a reader prevented the log from being emptied.
    pub log_in_use: bool,
}

impl Catalog {
    /// Copies the current state of the catalog into a new file that only its owner may read. Runs may continue meanwhile. The file gets its name
    /// only when it is complete, checked and on the disk, and after the catalog has recorded it. A crash in between leaves a record without a file,
    /// never a file without a record.
    ///
    /// # Errors
    /// [`Error::Exists`] if the file exists already; otherwise [`Error::Backup`]. No partial file is left.
    pub fn backup(&mut self, to: &Path, clock: &Clock) -> Result<Backup, Error> {
        let begun = clock.now();
        // This fails if the current folder was deleted. Then the path is used as given.
        let path = std::path::absolute(to).unwrap_or_else(|_| to.to_owned());
        if path.symlink_metadata().is_ok() {
            return Err(Error::Exists(path));
        }
        let part = Part(file::beside(&path, &format!(".{}.part", std::process::id())));
        self.back_up(&part.0, &path, begun, clock)
            .map_err(|source| match source {
                exists @ Error::Exists(_) => exists,
                source => Error::Backup {
                    path: path.clone(),
                    source: Box::new(source),
                },
            })
    }

    fn back_up(
        &mut self,
        part: &Path,
        path: &Path,
        begun: DateTime<Utc>,
        clock: &Clock,
    ) -> Result<Backup, Error> {
        let io = |source| Error::File {
            path: part.to_owned(),
            source,
        };
        let folder = file::folder(path);
        if !folder.is_dir() {
            return Err(Error::NoFolder(folder.to_owned()));
        }
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(part)
            .map_err(io)?;
        let meetings = self.copy(part)?;
        let mut file = File::open(part).map_err(io)?;
        file.sync_all().map_err(io)?;
        let (bytes, sha256) = digest(&mut file).map_err(io)?;
        let noted = self.note_backup(path, bytes, &sha256, begun, clock.now());
        // A rename would overwrite a file that was created meanwhile.
        match fs::hard_link(part, path) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                return Err(Error::Exists(path.to_owned()));
            }
            // Not every file system has hard links.
            Err(_) if path.symlink_metadata().is_err() => fs::rename(part, path).map_err(io)?,
            Err(_) => return Err(Error::Exists(path.to_owned())),
        }
        // An error is ignored: the file exists already, and only a power cut could still lose its name.
        let _ = File::open(file::folder(path)).and_then(|folder| folder.sync_all());
        Ok(Backup {
            path: path.to_owned(),
            bytes,
            sha256,
            meetings,
            noted,
        })
    }

    /// Copies every page. Returns the number of meetings in the copy.
    fn copy(&self, part: &Path) -> Result<u64, Error> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut copy = Connection::open_with_flags(part, flags)?;
        // One snapshot for all pages. Without it, every commit of a concurrent run would restart the copy.
        let snapshot = Transaction::new_unchecked(&self.conn, TransactionBehavior::Deferred)?;
        let meetings = snapshot.query_row("SELECT count(*) FROM meetings", [], |row| row.get(0))?;
        {
            let backup = rusqlite::backup::Backup::new(&snapshot, &mut copy)?;
            loop {
                match backup.step(PAGES)? {
                    StepResult::Done => break,
                    StepResult::More => {}
                    _ => {
                        return Err(Error::Busy(rusqlite::Error::SqliteFailure(
                            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY),
                            None,
                        )));
                    }
                }
            }
        }
        drop(snapshot);
        // The copy is a single file that needs no log beside it.
        copy.pragma_update(None, "journal_mode", "DELETE")?;
        let said: String = copy.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        let ours: i32 = copy.pragma_query_value(None, "application_id", |row| row.get(0))?;
        if said != "ok" || ours != APPLICATION_ID {
            return Err(Error::Damaged(rusqlite::Error::SqliteFailure(
                rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT),
                Some(said),
            )));
        }
        Ok(meetings)
    }

    fn note_backup(
        &mut self,
        path: &Path,
        bytes: u64,
        sha256: &Checksum,
        begun: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let known = Self::schema_version();
        let found = self
            .conn
            .pragma_query_value(None, "user_version", |row| row.get(0))?;
        if found < known {
            // The schema is not upgraded here: the holder of the lock may be an older program.
            return Err(Error::Older {
                path: self.file.as_ref().map_or(path, file::Opened::path).to_owned(),
                found,
                known,
            });
        }
        let tx = self.transaction()?;
        let run = insert_run(&tx, "backup", begun)?;
        let insert = Query::insert()
            .into_table(Backups::Table)
            .columns([
                Backups::Path,
                Backups::MadeAt,
                Backups::Bytes,
                Backups::Sha256,
                Backups::RunId,
            ])
            .values_panic([
                path.to_string_lossy().into_owned().into(),
                iso(now).into(),
                i64::try_from(bytes).unwrap_or(i64::MAX).into(),
                sha256.as_str().into(),
                run.0.into(),
            ])
            .take();
        execute(&tx, &insert)?;
        update_run(&tx, run, &Tally::default(), 0, None, now)?;
        tx.commit()?;
        Ok(())
    }

    /// Rewrites the file without the space that deleted rows left, and empties its log.
    ///
    /// # Errors
    /// If SQLite fails. A full disk leaves everything unchanged.
    pub fn vacuum(&mut self) -> Result<Vacuumed, Error> {
        self.still_there()?;
        let bytes_before = self.bytes();
        self.conn.execute_batch("VACUUM")?;
        let busy: i64 = self
            .conn
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
        Ok(Vacuumed {
            bytes_before,
            bytes_after: self.bytes(),
            log_in_use: busy != 0,
        })
    }

    /// The size of the file and its log, in bytes.
    fn bytes(&self) -> u64 {
        let size = |path: &Path| fs::metadata(path).map_or(0, |file| file.len());
        self.file.as_ref().map_or(0, |file| {
            size(file.path()) + size(&file::beside(file.path(), "-wal"))
        })
    }
}

/// An unfinished file. It is deleted when this is dropped.
struct Part(PathBuf);

impl Drop for Part {
    fn drop(&mut self) {
        for ending in ["", "-journal"] {
            // Usually the file no longer exists by then.
            let _ = fs::remove_file(file::beside(&self.0, ending));
        }
    }
}

fn digest(file: &mut File) -> std::io::Result<(u64, Checksum)> {
    use std::fmt::Write;
    let (mut hash, mut bytes, mut buffer) = (Sha256::new(), 0_u64, vec![0_u8; 1 << 16]);
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
        bytes += read as u64;
    }
    let mut hex = String::with_capacity(64);
    for byte in hash.finalize().iter() {
        let _ = write!(hex, "{byte:02x}");
    }
    Ok((bytes, Checksum::from_hex(hex)))
}
