//! `.env`, as everybody's is read.

use super::{Assignment, Error};

/// The assignments of a `.env`. A line that cannot be understood is refused if it is about one of our names; others may be
/// written for other programs.
///
/// # Errors
/// [`Error::Line`], which quotes nothing.
pub fn assignments(text: &str) -> Result<Vec<Assignment>, Error> {
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
                    return Err(Error::Line {
                        line,
                        name: name.to_owned(),
                    });
                }
                passed = first + 1;
            }
            // Only reading from a file and looking into the environment fail otherwise, and neither is done here.
            Err(_) => break,
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
                failure
                    .to_string()
                    .starts_with(".env, line 2: ZOOM_CLIENT_SECRET "),
                "{}",
                failure.to_string()
            );
            assert!(!failure.to_string().contains("hush"), "{}", failure.to_string());
        }
    }
}
