//! Where settings are read from: the environment, `.env` in the working directory, and files that are named.

use std::{ffi::OsString, io::ErrorKind, path::Path};

use super::{Failure, out};
use crate::config::{Assignment, SETTINGS};

/// The environment, as far as it can be read as text.
///
/// # Errors
/// A variable of ours is no text.
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
/// It cannot be read, or a line of ours makes no sense.
pub fn dotenv() -> Result<Vec<Assignment>, Failure> {
    match std::fs::read_to_string(".env") {
        Ok(text) => assignments(&text),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        // A virtual environment may be a folder of that name: other programs' business.
        Err(error) if error.kind() == ErrorKind::IsADirectory => Ok(Vec::new()),
        Err(error) => Err(Failure::usage(format!(".env cannot be read: {error}"))),
    }
}

/// What a file holds that somebody named.
///
/// # Errors
/// It cannot be read as text.
pub fn file(path: &Path, what: &str) -> Result<String, Failure> {
    std::fs::read_to_string(path)
        .map_err(|error| Failure::usage(format!("{what} {} cannot be read: {error}", path.display())))
}

/// The assignments of a `.env`. A line that cannot be understood is refused if it is about one of our names; others may be
/// written for other programs.
fn assignments(text: &str) -> Result<Vec<Assignment>, Failure> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    let mut passed = 0;
    for assignment in dotenvy::from_read_iter(text.as_bytes()) {
        // dotenvy does not say where a thing stood: it is the next line that looks like it.
        let next = |like: &dyn Fn(&str) -> bool| {
            let ahead = lines.iter().skip(passed);
            passed + ahead.take_while(|line| !like(line)).count()
        };
        match assignment {
            Ok((name, value)) => {
                passed = next(&|line| assigned(line) == Some(name.as_str())) + 1;
                found.push(Assignment {
                    line: passed,
                    name,
                    value,
                });
            }
            // Its message would quote the line or the value, which may be a secret.
            Err(dotenvy::Error::LineParse(unread, _)) => {
                let begin = unread.lines().next().unwrap_or_default().trim();
                let first = next(&|line| line.trim().ends_with(begin));
                let unread = lines
                    .iter()
                    .zip(1..)
                    .skip(first)
                    .take(unread.lines().count().max(1));
                let mut names = unread.filter_map(|(line, number)| Some((number, assigned(line)?)));
                if let Some((line, name)) = names.find(|(_, name)| is_ours(name)) {
                    return Err(Failure::usage(format!(
                        ".env, line {line}: {} makes no sense; write NAME=value, and a value with spaces, quotes, $ or # in 'single quotes'",
                        out::clean(name)
                    )));
                }
                passed = first + 1;
            }
            Err(error) => return Err(Failure::usage(format!(".env cannot be read: {error}"))),
        }
    }
    Ok(found)
}

fn is_ours(name: &str) -> bool {
    name.starts_with("ZOOM_") || name.starts_with("ELASTICSEARCH_")
}

/// The name that a line assigns to, if it does.
fn assigned(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
    let end = line.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '.')))?;
    let (name, rest) = line.split_at(end);
    (!name.is_empty() && rest.trim_start().starts_with('=')).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(usize, String, String)> {
        let read = assignments(text).unwrap();
        read.into_iter()
            .map(|found| (found.line, found.name, found.value))
            .collect()
    }

    #[test]
    fn dotenv_is_read_as_everybodys_is_and_remembers_the_lines() {
        let text = "\u{feff}# ours\nZOOM_PLAN=pro # for now\n\nexport ZOOM_CLIENT_SECRET='a$b #c'\n\
                    OTHER=\"two\nlines\"\nELASTICSEARCH_USER = elastic\r\nZOOM_PLAN=\"business\"\n";
        let expected = [
            (2, "ZOOM_PLAN", "pro"),
            (4, "ZOOM_CLIENT_SECRET", "a$b #c"),
            (5, "OTHER", "two\nlines"),
            (7, "ELASTICSEARCH_USER", "elastic"),
            (8, "ZOOM_PLAN", "business"),
        ];
        assert_eq!(
            read(text),
            expected.map(|(line, name, value)| (line, name.to_owned(), value.to_owned()))
        );
    }

    #[test]
    fn what_other_programs_wrote_is_their_business_and_ours_is_refused_without_being_shown() {
        let others = "SOME THING\nGREETING=hello there\nZOOM_PLAN=pro\n";
        assert_eq!(read(others), [(3, "ZOOM_PLAN".to_owned(), "pro".to_owned())]);
        for text in [
            "A=1\nZOOM_CLIENT_SECRET=hush hush\n",
            "A=1\nZOOM_CLIENT_SECRET='hush\nB=2\n",
            "A='never closed\nZOOM_CLIENT_SECRET=hush\n",
        ] {
            let failure = assignments(text).unwrap_err();
            assert!(
                failure.message.starts_with(".env, line 2: ZOOM_CLIENT_SECRET "),
                "{}",
                failure.message
            );
            assert!(!failure.message.contains("hush"), "{}", failure.message);
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_variable_of_ours_that_is_no_text_is_refused() {
        use std::os::unix::ffi::OsStringExt;
        let broken = || OsString::from_vec(vec![0xff]);
        let given = |name: &str| texts([(OsString::from(name), broken())].into_iter());
        assert_eq!(given("OTHER").unwrap(), []);
        assert!(given("ZOOM_CLIENT_SECRET").unwrap_err().message.contains("UTF-8"));
    }
}
