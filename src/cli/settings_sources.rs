//! Reads settings from the environment, from `.env` in the working directory, and from named files.

use std::{
    ffi::OsString,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use super::Failure;
use crate::{
    config::{self, Assignment, FileOfValue, InForce, Origin, SETTINGS},
    network::Authorities,
    untrusted::system_said,
};

/// The environment, as far as it can be read as text.
///
/// # Errors
/// A variable of the harvester's is not valid text.
#[allow(
    clippy::disallowed_methods,
    reason = "the command line is where the environment is read"
)]
pub fn environment() -> Result<Vec<(String, String)>, Failure> {
    texts(std::env::vars_os())
}

fn texts(variables: impl Iterator<Item = (OsString, OsString)>) -> Result<Vec<(String, String)>, Failure> {
    let mut texts = Vec::new();
    for (name, value) in variables {
        match (name.into_string(), value.into_string()) {
            (Ok(name), Ok(value)) => texts.push((name, value)),
            (Ok(name), Err(_)) if SETTINGS.iter().any(|setting| setting.name == name) => {
                return Err(Failure::usage(format!(
                    "the environment: {name} is not valid UTF-8"
                )));
            }
            _ => {}
        }
    }
    Ok(texts)
}

/// `.env` in the working directory, if there is one.
///
/// # Errors
/// It cannot be read, or a line with a name of the harvester's cannot be parsed.
pub fn dotenv() -> Result<Vec<Assignment>, Failure> {
    match std::fs::read_to_string(".env") {
        Ok(text) => Ok(config::assignments(&text)?),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        // A virtual environment may be a folder of that name. It belongs to other programs.
        Err(error) if error.kind() == ErrorKind::IsADirectory => Ok(Vec::new()),
        Err(error) => Err(Failure::usage(format!(
            ".env cannot be read: {}; check its permissions",
            system_said(&error)
        ))),
    }
}

/// The content of a file that a setting names.
///
/// # Errors
/// It cannot be read as text.
pub fn file(path: &Path, what: &str) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|error| {
        let remedy = match error.kind() {
            ErrorKind::NotFound => "; check its name",
            ErrorKind::PermissionDenied => "; check its permissions",
            _ => "",
        };
        Failure::usage(format!(
            "{what} {} cannot be read: {}{remedy}",
            path.display(),
            system_said(&error)
        ))
    })
}

/// The largest file that is accepted as a value.
const VALUE_LIMIT_BYTES: u64 = 64 << 10;

/// The files that hold one value each: those that a `NAME_FILE` variable names, and those in systemd's credentials directory that are named like
/// a setting, in upper or lower case.
///
/// # Errors
/// One cannot be read as a value.
pub fn files_of_values(
    environment: &[(String, String)],
    dotenv: &[Assignment],
) -> Result<Vec<FileOfValue>, Failure> {
    let mut found = Vec::new();
    let in_dotenv = dotenv.iter().map(|one| (&one.name, &one.value, Some(one.line)));
    let in_environment = environment.iter().map(|(name, value)| (name, value, None));
    for (variable, path, line) in in_dotenv.chain(in_environment) {
        let (Some(setting), false) = (config::handed_over(variable), path.trim().is_empty()) else {
            continue;
        };
        let path = PathBuf::from(path.trim());
        found.push(FileOfValue {
            setting,
            value: value_of(&path, variable)?,
            origin: Origin::Named {
                path: path.into(),
                variable: variable.as_str().into(),
                line,
            },
        });
    }
    let credentials = environment
        .iter()
        .find(|(name, _)| name == "CREDENTIALS_DIRECTORY");
    for setting in &SETTINGS {
        let Some((_, folder)) = credentials.filter(|(_, folder)| !folder.is_empty()) else {
            break;
        };
        let names = [setting.name.to_owned(), setting.name.to_ascii_lowercase()];
        for path in names.map(|name| Path::new(folder).join(name)) {
            if path.exists() {
                found.push(FileOfValue {
                    setting,
                    value: value_of(&path, "CREDENTIALS_DIRECTORY")?,
                    origin: Origin::Credential { path },
                });
            }
        }
    }
    Ok(found)
}

fn value_of(path: &Path, named_by: &str) -> Result<String, Failure> {
    use std::io::Read;
    let refused = |said: &str| Failure::usage(format!("{named_by}: {} {said}", path.display()));
    let cannot = |error: std::io::Error| refused(&format!("cannot be read: {}", system_said(&error)));
    let mut value = String::new();
    let opened = std::fs::File::open(path).map_err(cannot)?;
    match opened.take(VALUE_LIMIT_BYTES + 1).read_to_string(&mut value) {
        Err(error) if error.kind() == ErrorKind::InvalidData => Err(refused("is not valid UTF-8")),
        Err(error) => Err(cannot(error)),
        Ok(read) if read as u64 > VALUE_LIMIT_BYTES => Err(refused("is too large for a value")),
        Ok(_) => Ok(value),
    }
}

/// The certificate authorities that this machine trusts: its own store, or what `SSL_CERT_FILE` and `SSL_CERT_DIR` name instead. A certificate that
/// TLS cannot use is left out, as in other programs.
///
/// # Errors
/// What those variables name cannot be read.
#[allow(
    clippy::disallowed_methods,
    reason = "the command line is where the environment is read"
)]
pub fn authorities() -> Result<Authorities, Failure> {
    let found = rustls_native_certs::load_native_certs();
    let named = ["SSL_CERT_FILE", "SSL_CERT_DIR"].into_iter().find_map(|name| {
        let value = std::env::var_os(name).filter(|value| !value.is_empty())?;
        Some(format!("{name} {}", value.display()))
    });
    if let (Some(named), true) = (named, found.certs.is_empty()) {
        let said = match found.errors.first() {
            Some(error) => error.to_string(),
            None => "there is no PEM certificate in it".to_owned(),
        };
        return Err(Failure::usage(format!(
            "{named} names no authority to trust: {}",
            crate::untrusted::one_line(&said)
        )));
    }
    for error in &found.errors {
        tracing::debug!(%error, "an authority of this machine cannot be read");
    }
    let usable = found
        .certs
        .iter()
        .filter(|der| webpki::anchor_from_trusted_cert(der).is_ok());
    Ok(Authorities(usable.map(|der| der.to_vec()).collect()))
}

/// A warning for each file with secrets that other users of this machine may read: `.env`, and the file that `--config` names.
#[cfg(unix)]
pub fn exposed(dotenv: &[Assignment], in_force: &[InForce]) -> Vec<String> {
    use std::os::unix::fs::PermissionsExt;
    let in_dotenv = dotenv.iter().any(|one| {
        SETTINGS
            .iter()
            .any(|setting| setting.secret && setting.name == one.name)
    });
    let in_file = in_force.iter().find_map(|said| match &said.origin {
        Origin::File { path, .. } if said.setting.secret => Some(path.as_path()),
        _ => None,
    });
    let files = in_dotenv.then_some(Path::new(".env")).into_iter().chain(in_file);
    let exposed = files.filter_map(|file| {
        let mode = std::fs::metadata(file).ok()?.permissions().mode() & 0o777;
        let file = file.display();
        (mode & 0o077 != 0).then(|| {
            format!("{file} holds secrets and others may read it (mode {mode:04o}): chmod 600 {file}")
        })
    });
    exposed.collect()
}

/// On other systems a file mode does not show who has access.
#[cfg(not(unix))]
pub fn exposed(_: &[Assignment], _: &[InForce]) -> Vec<String> {
    Vec::new()
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_setting_that_is_not_utf8_is_refused() {
        use std::os::unix::ffi::OsStringExt;
        let broken = || OsString::from_vec(vec![0xff]);
        let given = |name: &str| texts([(OsString::from(name), broken())].into_iter());
        assert_eq!(given("OTHER").unwrap(), []);
        assert!(given("ZOOM_CLIENT_SECRET").unwrap_err().message.contains("UTF-8"));
    }
}
