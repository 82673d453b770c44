//! The precedence of settings: flags, then the environment, then systemd credentials, then `.env`, then the file.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use super::{
    Error, SETTINGS, Setting,
    reference::{nearest_key, nearest_name, setting},
    toml_file::entries,
    values::Values,
};

/// Where a value comes from, weakest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The setting is not set.
    Default,
    /// The configuration file.
    File {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// `.env`.
    Dotenv {
        /// Counted from 1.
        line: usize,
    },
    /// A file in the directory of credentials that systemd hands over.
    Credential {
        /// The file.
        path: PathBuf,
    },
    /// A file that `NAME_FILE` names.
    Named {
        /// The file.
        path: Box<Path>,
        /// The variable.
        variable: Box<str>,
        /// The line of `.env` that sets it; without one, the environment does.
        line: Option<usize>,
    },
    /// The environment.
    Environment,
    /// A flag, by name.
    Flag(&'static str),
}

impl Origin {
    /// The precedence: the greater rank wins.
    pub(super) fn rank(&self) -> u8 {
        match self {
            Self::Default => 0,
            Self::File { .. } => 1,
            Self::Dotenv { .. } | Self::Named { line: Some(_), .. } => 2,
            Self::Credential { .. } => 3,
            Self::Environment | Self::Named { line: None, .. } => 4,
            Self::Flag(_) => 5,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("the default"),
            Self::File { path, line } => write!(f, "{}, line {line}", path.display()),
            Self::Dotenv { line } => write!(f, ".env, line {line}"),
            Self::Credential { path } => write!(f, "the credential {}", path.display()),
            Self::Named { path, variable, .. } => write!(f, "{} ({variable})", path.display()),
            Self::Environment => f.write_str("the environment"),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// An assignment in `.env`, which may span several lines.
#[derive(Clone, PartialEq, Eq)]
pub struct Assignment {
    /// Where it begins, counted from 1.
    pub line: usize,
    /// The name.
    pub name: String,
    /// The value, unquoted.
    pub value: String,
}

// The value may be a secret.
impl fmt::Debug for Assignment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}=…", self.line, self.name)
    }
}

/// A file that holds the value of one setting, as Docker, Kubernetes and systemd hand over secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct FileOfValue {
    /// The setting.
    pub setting: &'static Setting,
    /// What it holds.
    pub value: String,
    /// [`Origin::Credential`] or [`Origin::Named`].
    pub origin: Origin,
}

// The value may be a secret.
impl fmt::Debug for FileOfValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}=…", self.origin, self.setting.name)
    }
}

/// The setting whose value `NAME_FILE` hands over in a file.
pub fn handed_over(variable: &str) -> Option<&'static Setting> {
    setting(variable.strip_suffix("_FILE")?)
}

/// Everything that was read. It holds secrets in the clear, so it has no `Debug`.
#[derive(Default)]
pub struct Inputs {
    /// `--db`, if given.
    pub db: Option<String>,
    /// The environment.
    pub environment: Vec<(String, String)>,
    /// `.env`.
    pub dotenv: Vec<Assignment>,
    /// The configuration file and its text.
    pub file: Option<(PathBuf, String)>,
    /// Files that hold one value each.
    pub values: Vec<FileOfValue>,
}

/// Takes the values of this rank that come in separate files. Refuses a setting that is also given directly in the same place.
fn say_files(
    inputs: &Inputs,
    rank: u8,
    is_said: impl Fn(&str) -> bool,
    say: &mut impl FnMut(&'static Setting, &str, Origin) -> Result<(), Error>,
) -> Result<(), Error> {
    for one in inputs.values.iter().filter(|one| one.origin.rank() == rank) {
        let name = one.setting.name;
        if is_said(name) {
            return Err(Error::Both {
                name,
                origin: one.origin.clone(),
            });
        }
        if one.value.trim().is_empty() {
            return Err(Error::Value {
                name,
                origin: one.origin.clone(),
                value: None,
                wanted: "the file is empty".into(),
            });
        }
        say(one.setting, &one.value, one.origin.clone())?;
    }
    Ok(())
}

/// Collects the settings, strongest origin last. Refuses unknown names, and warns about names that nearly match a setting.
pub(super) fn gather(inputs: &Inputs) -> Result<(Values, Vec<String>), Error> {
    let mut values = BTreeMap::new();
    let mut warnings = Vec::new();
    let mut say = |setting: &'static Setting, value: &str, origin: Origin| {
        // A trailing newline in a secret is a common mistake, so values are trimmed. An empty value counts as not set.
        let value = value.trim();
        if value.contains(char::is_control) {
            return Err(Error::Value {
                name: setting.name,
                origin,
                value: None,
                wanted: "it holds a control character, perhaps a line break; it should be one plain line"
                    .into(),
            });
        }
        if !value.is_empty() {
            values.insert(setting.name, (value.to_owned(), origin));
        }
        Ok(())
    };
    if let Some((path, text)) = &inputs.file {
        for (line, key, value) in entries(path, text)? {
            let origin = Origin::File {
                path: path.clone(),
                line,
            };
            let known = SETTINGS.iter().find(|setting| setting.key == key);
            match (known, value) {
                (None, _) => {
                    return Err(Error::Unknown {
                        nearest: nearest_key(&key),
                        key,
                        origin,
                    });
                }
                (Some(setting), Some(value)) => say(setting, &value, origin)?,
                (Some(setting), None) => {
                    return Err(Error::Value {
                        name: setting.key,
                        origin,
                        value: None,
                        wanted: "it should be text, a number, true or false".into(),
                    });
                }
            }
        }
    }
    let mut lines = BTreeMap::new();
    for Assignment { line, name, value } in &inputs.dotenv {
        let origin = Origin::Dotenv { line: *line };
        match setting(name) {
            Some(setting) => {
                if let Some(first) = lines.insert(setting.name, *line) {
                    return Err(Error::Twice {
                        name: setting.name,
                        first,
                        second: *line,
                    });
                }
                say(setting, value, origin)?;
            }
            None if handed_over(name).is_some() => {}
            // Other programs may share the file, but not the harvester's prefixes.
            None if name.starts_with("ZOOM_") || name.starts_with("ELASTICSEARCH_") => {
                return Err(Error::Unknown {
                    key: name.clone(),
                    origin,
                    nearest: nearest_name(name),
                });
            }
            None => warnings.extend(nearly(name, &origin)),
        }
    }
    say_files(inputs, 2, |name| lines.contains_key(name), &mut say)?;
    say_files(inputs, 3, |_| false, &mut say)?;
    for (name, value) in &inputs.environment {
        let origin = Origin::Environment;
        match setting(name) {
            Some(setting) => say(setting, value, origin)?,
            None if handed_over(name).is_some() => {}
            // All programs share the environment, so only names that must be meant for the harvester are refused.
            None if name.starts_with("ZOOM_HARVESTER_") => {
                return Err(Error::Unknown {
                    key: name.clone(),
                    origin,
                    nearest: nearest_name(name),
                });
            }
            None => warnings.extend(nearly(name, &origin)),
        }
    }
    let in_environment = |name: &str| {
        let mut said = inputs.environment.iter();
        said.any(|(said, value)| said == name && !value.trim().is_empty())
    };
    say_files(inputs, 4, in_environment, &mut say)?;
    if let (Some(db), Some(setting)) = (&inputs.db, setting("ZOOM_HARVESTER_DB")) {
        say(setting, db, Origin::Flag("--db"))?;
    }
    Ok((Values::new(values), warnings))
}

/// A warning if a variable's name differs from a setting's in at most two letters.
fn nearly(name: &str, origin: &Origin) -> Option<String> {
    let upper = name.to_ascii_uppercase();
    SETTINGS
        .iter()
        .find(|setting| strsim::levenshtein(setting.name, &upper) <= 2)
        .map(|setting| format!("{origin}: {name} is not used; did you mean {}?", setting.name))
}
