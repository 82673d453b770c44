//! Reads `.env` in the usual syntax.

use super::{Assignment, Error};

/// The assignments of a `.env`. A line that cannot be parsed is refused if it sets one of the harvester's names. Other lines may be meant for other
/// programs.
///
/// # Errors
/// [`Error::Line`] or [`Error::Dollar`], which quote no values.
pub fn assignments(text: &str) -> Result<Vec<Assignment>, Error> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    let mut passed = 0;
    for assignment in dotenvy::from_read_iter(text.as_bytes()) {
        // dotenvy does not report line numbers, so search for the next line that looks like it.
        let next = |like: &dyn Fn(&str) -> bool| {
            let ahead = lines.iter().skip(passed);
            passed + ahead.take_while(|line| !like(line)).count()
        };
        match assignment {
            Ok((name, value)) => {
                let first = next(&|line| assigned(line) == Some(name.as_str()));
                if is_ours(&name) && substitutes(lines.get(first..).unwrap_or_default()) {
                    return Err(Error::Dollar {
                        line: first + 1,
                        name,
                    });
                }
                passed = first + 1;
                found.push(Assignment {
                    line: passed,
                    name,
                    value,
                });
            }
            // dotenvy's message would quote the line or the value, which may be a secret.
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
            // Other errors come from reading a file or the environment, and neither is done here.
            Err(_) => break,
        }
    }
    Ok(found)
}

/// The `.env` with these values. An empty value removes the name; lines about other things stay as they are.
///
/// # Errors
/// The errors of [`assignments`] for the text.
pub fn with_assignments(text: &str, said: &[Assignment]) -> Result<String, Error> {
    let mut lines: Vec<Option<String>> = text.lines().map(|line| Some(line.to_owned())).collect();
    let before = assignments(text)?;
    for one in said {
        let by_file = format!("{}_FILE", one.name);
        let stands = before.iter().rfind(|stands| stands.name == one.name);
        if stands.is_some_and(|stands| stands.value == one.value) {
            continue;
        }
        for other in &before {
            let is_other = other.name == one.name || (other.name == by_file && !one.value.is_empty());
            if let (true, Some(line)) = (is_other, lines.get_mut(other.line - 1)) {
                *line = None;
            }
        }
        if one.value.is_empty() {
            continue;
        }
        let line = Some(format!("{}={}", one.name, quoted(&one.value)));
        match stands.and_then(|stands| lines.get_mut(stands.line - 1)) {
            Some(place) => *place = line,
            None => lines.push(line),
        }
    }
    Ok(lines.into_iter().flatten().map(|line| line + "\n").collect())
}

/// The value, quoted if needed so that every program that reads a `.env` understands it.
fn quoted(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@+,=%".contains(c);
    if !value.is_empty() && value.chars().all(plain) {
        return value.to_owned();
    }
    // A backslash before the closing quote would hide it from some readers.
    if !value.contains(['\'', '\\']) {
        return format!("'{value}'");
    }
    let mut text = String::from("\"");
    for c in value.chars() {
        if matches!(c, '"' | '\\' | '$') {
            text.push('\\');
        }
        text.push(c);
    }
    text.push('"');
    text
}

/// Whether the value that begins in the first line has a `$` outside single quotes, which stands for another variable. In most secrets a `$` is
/// just
/// a character, and the secret would silently become another one.
fn substitutes(lines: &[&str]) -> bool {
    let text = lines.iter().flat_map(|line| line.chars().chain(['\n']));
    let mut quote = None;
    let mut before = ' ';
    let mut rest = text.skip_while(|c| *c != '=').skip(1);
    while let Some(c) = rest.next() {
        match (c, quote) {
            ('\'', Some('\'')) | ('"', Some('"')) => quote = None,
            ('\'' | '"', None) => quote = Some(c),
            ('$', None | Some('"')) => return true,
            ('\\', None | Some('"')) => {
                rest.next();
            }
            ('\n', None) => return false,
            ('#', None) if before.is_whitespace() => return false,
            _ => {}
        }
        before = c;
    }
    false
}

fn is_ours(name: &str) -> bool {
    name.starts_with("ZOOM_") || name.starts_with("ELASTICSEARCH_")
}

/// The name that a line assigns to, if any.
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
    fn dotenv_follows_the_usual_syntax_and_keeps_line_numbers() {
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

    proptest::proptest! {
        #[test]
        fn dotenv_reads_back_what_it_writes(values in proptest::collection::vec("[ -~äß漢]{1,12}", 1..4)) {
            let said: Vec<Assignment> = values
                .iter()
                .map(|value| value.trim())
                .filter(|value| !value.is_empty())
                .enumerate()
                .map(|(n, value)| Assignment { line: 0, name: format!("ZOOM_{n}"), value: value.to_owned() })
                .collect();
            let text = with_assignments("# ours\nOTHER='1'\nZOOM_0=old # b\n", &said).unwrap();
            let found: std::collections::BTreeMap<String, String> =
                read(&text).into_iter().map(|(_, name, value)| (name, value)).collect();
            for one in &said {
                proptest::prop_assert_eq!(&found[&one.name], &one.value);
            }
            proptest::prop_assert!(text.starts_with("# ours\nOTHER='1'\nZOOM_0="));
            // Writing it once more changes nothing.
            proptest::prop_assert_eq!(with_assignments(&text, &said).unwrap(), text);
        }
    }

    #[test]
    fn writing_an_empty_value_removes_the_name_and_a_value_replaces_name_file() {
        let one = |name: &str, value: &str| Assignment {
            line: 0,
            name: name.to_owned(),
            value: value.to_owned(),
        };
        let text = "A=1\nZOOM_PLAN=pro\nZOOM_CLIENT_SECRET_FILE=x\nELASTICSEARCH_USER=u # who\n";
        let said = [
            one("ZOOM_PLAN", ""),
            one("ZOOM_CLIENT_SECRET", "s"),
            one("ELASTICSEARCH_USER", "u"),
        ];
        assert_eq!(
            with_assignments(text, &said).unwrap(),
            "A=1\nELASTICSEARCH_USER=u # who\nZOOM_CLIENT_SECRET=s\n"
        );
    }

    #[test]
    fn a_literal_dollar_sign_is_kept() {
        let text = "ZOOM_CLIENT_ID='a$b' # not $c\nZOOM_CLIENT_SECRET=a\\$b # $c\nZOOM_PLAN=\"a\\$b\"\nOTHER=$NOBODYS\n";
        let values: Vec<String> = read(text).into_iter().map(|(_, _, value)| value).collect();
        assert_eq!(values, ["a$b", "a$b", "a$b", ""]);
    }

    #[test]
    fn foreign_lines_are_ignored_and_bad_lines_of_ours_are_refused_without_showing_the_value() {
        let others = "SOME THING\nGREETING=hello there\nZOOM_PLAN=pro\n";
        assert_eq!(read(others), [(3, "ZOOM_PLAN".to_owned(), "pro".to_owned())]);
        for text in [
            "A=1\nZOOM_CLIENT_SECRET=hush hush\n",
            "A=1\nZOOM_CLIENT_SECRET='hush\nB=2\n",
            "A='never closed\nZOOM_CLIENT_SECRET=hush\n",
            "A='$1'\nZOOM_CLIENT_SECRET=hush$hush\n",
            "A=$1\nZOOM_CLIENT_SECRET = \"it's hush${A}\"\n",
            "A=1\nZOOM_CLIENT_SECRET=a'$b'$hush\n",
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
