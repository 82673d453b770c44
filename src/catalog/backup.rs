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

/// A backup that was made.
#[derive(Debug)]
pub struct Backup {
    /// The file, absolute.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// Over the file.
    pub sha256: Checksum,
    /// Meetings in it.
    pub meetings: u64,
    /// Whether the catalog could record it. On a full disk it cannot, and the backup is made all the same.
    pub noted: Result<(), Error>,
}

/// What a vacuum gave back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vacuumed {
    /// The file and its log before.
    pub bytes_before: u64,
    /// And after.
    pub bytes_after: u64,
    /// Whether a reader kept the log from being emptied.
    pub log_in_use: bool,
}

impl Catalog {
    /// Copies the catalog as it stands at this moment into a new file that only its owner may read. Runs go on meanwhile. The file
    /// gets its name once it is whole, checked and on the disk, and after the catalog has noted it: a crash in between leaves a
    /// note without a file, never a file without a note.
    ///
    /// # Errors
    /// [`Error::Exists`]; else [`Error::Backup`], and nothing is left of it.
    pub fn backup(&mut self, to: &Path, clock: &Clock) -> Result<Backup, Error> {
        let begun = clock.now();
        // Nothing else to be done about a current folder that was deleted.
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
        // Not renamed: that would write over a file made meanwhile.
        match fs::hard_link(part, path) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                return Err(Error::Exists(path.to_owned()));
            }
            // Not every file system has links.
            Err(_) if path.symlink_metadata().is_err() => fs::rename(part, path).map_err(io)?,
            Err(_) => return Err(Error::Exists(path.to_owned())),
        }
        // The file is there already; only a power cut could still take its name away.
        let _ = File::open(file::folder(path)).and_then(|folder| folder.sync_all());
        Ok(Backup {
            path: path.to_owned(),
            bytes,
            sha256,
            meetings,
            noted,
        })
    }

    /// Copies every page; returns how many meetings those hold.
    fn copy(&self, part: &Path) -> Result<u64, Error> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut copy = Connection::open_with_flags(part, flags)?;
        // One snapshot from the first page to the last: else every commit of the run beside it would begin the copy anew.
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
        // One file that opens by itself, without a log beside it.
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
            // Not brought up to date here: whoever holds the lock may be an older program.
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

    /// Writes the file anew without the room that deleted rows left, and empties its log.
    ///
    /// # Errors
    /// As SQLite fails; a full disk leaves everything as it was.
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

    /// The file and its log.
    fn bytes(&self) -> u64 {
        let size = |path: &Path| fs::metadata(path).map_or(0, |file| file.len());
        self.file.as_ref().map_or(0, |file| {
            size(file.path()) + size(&file::beside(file.path(), "-wal"))
        })
    }
}

/// A file under way: gone when this is dropped.
struct Part(PathBuf);

impl Drop for Part {
    fn drop(&mut self) {
        for ending in ["", "-journal"] {
            // Mostly there is none by then.
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
