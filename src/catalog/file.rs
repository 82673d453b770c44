//! The catalog's path, with links resolved, and the check that the file is still the one that was opened.

use std::{
    fs,
    io::ErrorKind,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::Error;

/// The unique absolute path of a catalog, whether or not the file exists yet. Symbolic links are followed: otherwise a run by the link and a run by
/// the file would hold two locks on the same catalog. SQLite always takes an absolute path as a file name, but gives names like `:memory:` or
/// `file:x` a special meaning.
///
/// # Errors
/// [`Error::NoFolder`]; [`Error::NotAFile`] for a folder or a device; [`Error::File`] for a path that cannot be accessed.
pub(super) fn resolve(path: &Path) -> Result<PathBuf, Error> {
    let mut file = path.to_owned();
    // Linux also gives up after 40 links.
    for _ in 0..40 {
        match fs::read_link(&file) {
            Ok(target) => file = folder(&file).join(target),
            Err(_) => break,
        }
    }
    let Some(name) = file.file_name() else {
        return Err(Error::NotAFile(path.to_owned()));
    };
    let file_error = |source| Error::File {
        path: path.to_owned(),
        source,
    };
    let folder = folder(&file);
    let real = match fs::canonicalize(folder) {
        Ok(real) if real.is_dir() => real,
        Err(error) if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Err(file_error(error));
        }
        Ok(_) | Err(_) => return Err(Error::NoFolder(folder.to_owned())),
    };
    let file = real.join(name);
    match fs::metadata(&file) {
        Ok(found) if !found.is_file() => Err(Error::NotAFile(path.to_owned())),
        Err(error) if error.kind() != ErrorKind::NotFound => Err(file_error(error)),
        Ok(_) | Err(_) => Ok(file),
    }
}

/// The folder that a file is in.
pub(super) fn folder(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// The path of a file with `ending` appended. SQLite names the files beside a database in this way.
pub(super) fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// The file that was opened: its path, and what distinguishes it from another file at that path.
#[derive(Debug)]
pub(super) struct Opened {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Opened {
    /// Describes an existing file.
    pub fn at(path: &Path) -> Result<Self, Error> {
        let found = fs::metadata(path).map_err(|source| Error::File {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            path: path.to_owned(),
            device: found.dev(),
            inode: found.ino(),
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Checks that the opened file is still at its path. A file that was deleted, moved or replaced can still be written to, but all that is
    /// written would be lost.
    ///
    /// # Errors
    /// [`Error::Removed`] if the path now leads to another file, or to none.
    pub fn still_there(&self) -> Result<(), Error> {
        match fs::metadata(&self.path) {
            Ok(found) if found.dev() == self.device && found.ino() == self.inode => Ok(()),
            _ => Err(Error::Removed(self.path.clone())),
        }
    }
}
