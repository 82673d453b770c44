//! Documents as files for other programs: JSON lines, CSV and Parquet. They are typed by the mapping of the index, streamed, and come from the
//! catalog alone.

mod csv;
#[cfg(feature = "parquet")]
mod parquet;

use std::io;

use serde_json::Value;

use crate::{
    elastic::{FieldType, fields},
    model::{Document, IndexKind, parse_time},
};

pub use csv::Csv;
#[cfg(feature = "parquet")]
pub use parquet::Parquet;

/// Writes documents one after another, and ends the file.
pub trait Sink {
    /// Adds a document.
    ///
    /// # Errors
    /// The document cannot be written.
    fn put(&mut self, document: &Document) -> io::Result<()>;

    /// Ends the file.
    ///
    /// # Errors
    /// The file cannot be written.
    fn end(self: Box<Self>) -> io::Result<()>;
}

/// A column of a table: a field of the documents. Each field of `host` has its own column. Any other list or object is JSON text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// `_id`, `_version`, or the field: `topic`, `host_email`.
    pub name: String,
    /// The path of the field in a document.
    path: Vec<String>,
    /// Its type.
    pub of: ColumnType,
}

/// The types of columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnType {
    /// Text.
    Text,
    /// A whole number.
    Integer,
    /// Any number.
    Number,
    /// True or false.
    Boolean,
    /// A time, UTC, in whole milliseconds.
    Time,
}

/// A value of a column.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// Any number.
    Number(f64),
    /// True or false.
    Boolean(bool),
    /// Milliseconds since 1970, UTC.
    Time(i64),
}

/// The columns of an index, in the order of its mapping, after `_id` and `_version`.
pub fn columns(index: IndexKind) -> Vec<Column> {
    let own = |name: &str, of| Column {
        name: name.to_owned(),
        path: Vec::new(),
        of,
    };
    let mut columns = vec![own("_id", ColumnType::Text), own("_version", ColumnType::Integer)];
    for (name, of) in fields(index) {
        let path: Vec<String> = name.split('.').map(str::to_owned).collect();
        let (path, of) = match path.as_slice() {
            [_] => (path, of),
            [host, _] if host == "host" => (path, of),
            // The first field of another object makes the column for the whole object.
            [first, ..] => (vec![first.clone()], FieldType::Keyword),
            [] => continue,
        };
        let column = Column {
            name: path.join("_"),
            path,
            of: match of {
                FieldType::Keyword => ColumnType::Text,
                FieldType::Long => ColumnType::Integer,
                FieldType::Double => ColumnType::Number,
                FieldType::Boolean => ColumnType::Boolean,
                FieldType::Date => ColumnType::Time,
            },
        };
        if !columns.contains(&column) {
            columns.push(column);
        }
    }
    columns
}

/// A document's values, column by column; `None` where it has none. A value that does not fit its column's type is left out: the JSON lines have it.
fn cells(columns: &[Column], document: &Document) -> io::Result<Vec<Option<Cell>>> {
    let body: Value = serde_json::from_str(&document.body)?;
    let mut cells = columns.iter().map(|column| match column.name.as_str() {
        "_id" => Some(Cell::Text(document.id.clone())),
        "_version" => Some(Cell::Integer(document.version)),
        _ => {
            let found = column
                .path
                .iter()
                .try_fold(&body, |value, name| value.get(name))?;
            cell(found, column.of)
        }
    });
    Ok(cells.by_ref().collect())
}

fn cell(value: &Value, of: ColumnType) -> Option<Cell> {
    match (of, value) {
        (_, Value::Null) => None,
        (ColumnType::Text, Value::String(text)) => Some(Cell::Text(text.clone())),
        (ColumnType::Text, other) => Some(Cell::Text(other.to_string())),
        (ColumnType::Integer, other) => other.as_i64().map(Cell::Integer),
        (ColumnType::Number, other) => other.as_f64().map(Cell::Number),
        (ColumnType::Boolean, other) => other.as_bool().map(Cell::Boolean),
        (ColumnType::Time, other) => Some(Cell::Time(parse_time(other.as_str()?)?.timestamp_millis())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_has_one_column_of_its_type() {
        for index in IndexKind::ALL {
            let columns = columns(index);
            let of = |name: &str| {
                let found = columns.iter().find(|column| column.name == name);
                found.unwrap_or_else(|| panic!("{name}")).of
            };
            assert_eq!(of("_version"), ColumnType::Integer);
            assert_eq!(of("host_email"), ColumnType::Text);
            assert_eq!(of("duration"), ColumnType::Integer);
            assert_eq!(of("@timestamp"), ColumnType::Time);
            assert_eq!(of("has_archiving"), ColumnType::Boolean);
            let mut names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
            let count = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), count, "no name twice");
        }
        let names: Vec<String> = columns(IndexKind::Meetings)
            .into_iter()
            .map(|column| column.name)
            .collect();
        assert!(names.contains(&"tracking_fields".to_owned()), "{names:?}");
    }

    #[test]
    fn values_of_the_wrong_type_are_left_out_and_lists_are_text() {
        use serde_json::json;
        for (value, of, expected) in [
            (json!("a"), ColumnType::Text, Some(Cell::Text("a".to_owned()))),
            (
                json!([1, "a"]),
                ColumnType::Text,
                Some(Cell::Text("[1,\"a\"]".to_owned())),
            ),
            (json!(3), ColumnType::Integer, Some(Cell::Integer(3))),
            (json!("3"), ColumnType::Integer, None),
            (json!(1.5), ColumnType::Number, Some(Cell::Number(1.5))),
            (json!(null), ColumnType::Text, None),
            (
                json!("1970-01-01T00:00:01Z"),
                ColumnType::Time,
                Some(Cell::Time(1000)),
            ),
            (json!("soon"), ColumnType::Time, None),
        ] {
            assert_eq!(cell(&value, of), expected, "{value}");
        }
    }
}
