//! The configuration file, read as TOML.

use toml::de::{DeTable, DeValue};

use super::Error;

/// Line, `table.key` and value of every entry of the file. The value is `None` if it is not text, a number, true or false.
pub(super) fn entries(
    path: &std::path::Path,
    text: &str,
) -> Result<Vec<(usize, String, Option<String>)>, Error> {
    let line = |at: usize| text.get(..at).unwrap_or_default().matches('\n').count() + 1;
    // Use only the parser's message and the position: the rest would quote the line, which may hold a secret.
    let root = DeTable::parse(text).map_err(|error| Error::Toml {
        path: path.to_owned(),
        line: error.span().map_or(1, |span| line(span.start)),
        reason: error.message().replace('\n', ", "),
    })?;
    let tables = ["zoom", "elasticsearch", "harvester", "privacy"];
    let mut entries = Vec::new();
    for (table, value) in root.get_ref() {
        let at = line(table.span().start);
        let table: &str = table.get_ref();
        match value.get_ref().as_table() {
            Some(inner) if !inner.is_empty() || tables.contains(&table) => {
                entries.extend(inner.iter().map(|(key, value)| {
                    let at = line(key.span().start);
                    (at, format!("{table}.{}", key.get_ref()), scalar(value.get_ref()))
                }));
            }
            _ => entries.push((at, table.to_owned(), None)),
        }
    }
    entries.sort();
    Ok(entries)
}

fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.clone().into_owned()),
        DeValue::Integer(number) => {
            let number = i64::from_str_radix(number.as_str(), number.radix()).ok()?;
            Some(number.to_string())
        }
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        DeValue::Boolean(flag) => Some(flag.to_string()),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}
