//! One writer at a time: a lock file beside the catalog. The operating system releases the lock when its holder ends, for whatever reason, so a
//! dead holder is no obstacle.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Seek, Write},
    path::Path,
};

use super::{Error, file};

/// The lock. It is held until this value is dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of the catalog at `catalog`. `holder` describes the holder to others while the lock is held.
    ///
    /// # Errors
    /// [`Error::Locked`] with the text of the present holder, or [`Error::File`].
    pub fn acquire(catalog: &Path, holder: &str) -> Result<Self, Error> {
        // A separate file, not the catalog: SQLite drops its own locks when any handle on the catalog is closed.
        let path = file::beside(&file::resolve(catalog)?, ".lock");
        let file_error = |source| Error::File {
            path: path.clone(),
            source,
        };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&path).map_err(file_error)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                file.read_to_string(&mut holder).map_err(file_error)?;
                let holder = match holder.trim() {
                    "" => "one that begins just now".to_owned(),
                    holder => holder.to_owned(),
                };
                return Err(Error::Locked { holder });
            }
            Err(TryLockError::Error(source)) => return Err(file_error(source)),
        }
        // The text is only for users to read; the lock itself does the work. If the disk is too full for the text, that does no harm.
        let _ = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(holder.as_bytes()));
        Ok(Self { _file: file })
    }
}
