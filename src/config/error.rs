//! What can be wrong with the configuration.

use std::{borrow::Cow, path::PathBuf};

use super::Origin;

/// A configuration error: one line that says what is wrong, where, and what to do.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// An unknown key.
    #[error("{origin}: {key} is unknown; {}", hint(*nearest))]
    Unknown {
        /// The key.
        key: String,
        /// Where it is written.
        origin: Origin,
        /// The known name that may be meant.
        nearest: Option<&'static str>,
    },
    /// A value that cannot be used.
    #[error("{origin}: {name} {}: {wanted}", is(value.as_deref()))]
    Value {
        /// The setting.
        name: &'static str,
        /// Where it comes from.
        origin: Origin,
        /// The value; `None` if it must not be shown.
        value: Option<String>,
        /// What it should be.
        wanted: Cow<'static, str>,
    },
    /// A line in `.env` that sets a name of the harvester's and cannot be parsed.
    #[error(
        ".env, line {line}: {name} cannot be parsed; write NAME=value, and a value with spaces, quotes, $ or # in 'single quotes'"
    )]
    Line {
        /// Counted from 1.
        line: usize,
        /// The name that it seems to set.
        name: String,
    },
    /// A `$` in `.env` that would be replaced by another variable's value.
    #[error(
        ".env, line {line}: {name} has a $ that would stand for another variable; write the value in 'single quotes'"
    )]
    Dollar {
        /// Counted from 1.
        line: usize,
        /// The name that it sets.
        name: String,
    },
    /// A name that `.env` sets more than once: programs differ in which line they use.
    #[error(".env sets {name} in line {first} and again in line {second}; keep one of them")]
    Twice {
        /// The setting.
        name: &'static str,
        /// Counted from 1.
        first: usize,
        /// Counted from 1.
        second: usize,
    },
    /// A setting that is given both directly and by a file.
    #[error("{name} and {name}_FILE are both set ({origin}); keep one of them")]
    Both {
        /// The setting.
        name: &'static str,
        /// The file.
        origin: Origin,
    },
    /// Two settings of which one is enough, and neither takes precedence.
    #[error("{one} and {other} are both set ({origin}): keep one of the two ways {what}")]
    Contradiction {
        /// A setting.
        one: &'static str,
        /// Another.
        other: &'static str,
        /// Where the first one is written.
        origin: Origin,
        /// What both are for.
        what: &'static str,
    },
    /// Settings without which the command cannot run.
    #[error("missing: {}; set what is missing in the environment, in .env or in the --config file", .0.join(", "))]
    Missing(Vec<&'static str>),
    /// Something is to be pseudonymised, but there is no key for it.
    #[error(
        "[privacy] says pseudonymise, and there is no key for it: set ZOOM_HARVESTER_PRIVACY_KEY (`openssl rand -hex 32` makes one)"
    )]
    NoKey,
    /// A file that is not TOML.
    #[error("{}, line {line}: not valid TOML: {reason}", path.display())]
    Toml {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// The parser's message, which quotes no values.
        reason: String,
    },
}

fn hint(nearest: Option<&str>) -> Cow<'static, str> {
    match nearest {
        Some(nearest) => format!("did you mean {nearest}?").into(),
        None => "docs/configuration.md lists the known ones".into(),
    }
}

fn is(value: Option<&str>) -> Cow<'static, str> {
    match value {
        Some(value) => format!("is {value:?}").into(),
        None => "cannot be used".into(),
    }
}
