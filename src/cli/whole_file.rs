//! Files written atomically: a reader sees the old content or the new.

use std::{
    fs,
    io::{self, BufWriter, Write},
    path::Path,
};

use super::Failure;
use crate::untrusted::system_said;

/// Writes a new file and replaces the old one with it. If that fails, the old one stays.
///
/// # Errors
/// The errors of `fill`, or the file cannot be written.
pub fn replace<T>(
    path: &Path,
    fill: impl FnOnce(BufWriter<fs::File>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let refused = |error: io::Error| {
        Failure::usage(format!(
            "{} cannot be written: {}",
            path.display(),
            system_said(&error)
        ))
    };
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    let unfinished = path.with_file_name(name);
    let file = fs::File::create(&unfinished).map_err(refused)?;
    let filled = fill(BufWriter::new(file)).and_then(|filled| {
        fs::rename(&unfinished, path).map_err(refused)?;
        Ok(filled)
    });
    if filled.is_err() {
        let _ = fs::remove_file(&unfinished);
    }
    filled
}

/// Like [`replace`], with content that is already there.
///
/// # Errors
/// The file cannot be written.
pub fn write(path: &Path, content: &[u8]) -> Result<(), Failure> {
    replace(path, |mut file| {
        file.write_all(content)?;
        file.flush()?;
        Ok(())
    })
}
