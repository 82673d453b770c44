//! CSV (RFC 4180): one line of names, then one line per document. Times are ISO 8601 in UTC.

use std::io::{self, Write};

use chrono::DateTime;

use super::{Cell, Column, Sink, cells, columns};
use crate::model::{Document, IndexKind};

/// Writes CSV.
pub struct Csv<W: Write> {
    columns: Vec<Column>,
    writer: csv::Writer<W>,
    defuse: bool,
}

impl<W: Write> Csv<W> {
    /// Begins a file. `defuse`: text that a spreadsheet would take for a formula gets an apostrophe in front.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn new(index: IndexKind, writer: W, defuse: bool) -> io::Result<Self> {
        let columns = columns(index);
        let mut writer = csv::Writer::from_writer(writer);
        writer.write_record(columns.iter().map(|column| &column.name))?;
        Ok(Self {
            columns,
            writer,
            defuse,
        })
    }
}

impl<W: Write> Sink for Csv<W> {
    fn put(&mut self, document: &Document) -> io::Result<()> {
        let cells = cells(&self.columns, document)?.into_iter();
        let texts = cells.map(|cell| match cell {
            None => String::new(),
            Some(Cell::Text(text)) if self.defuse && is_formula(&text) => format!("'{text}"),
            Some(Cell::Text(text)) => text,
            Some(Cell::Integer(number)) => number.to_string(),
            Some(Cell::Number(number)) => number.to_string(),
            Some(Cell::Boolean(truth)) => truth.to_string(),
            Some(Cell::Time(ms)) => DateTime::from_timestamp_millis(ms).map_or_else(String::new, |time| {
                time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)
            }),
        });
        self.writer.write_record(texts.collect::<Vec<_>>())?;
        Ok(())
    }

    fn end(mut self: Box<Self>) -> io::Result<()> {
        self.writer.flush()
    }
}

/// Whether spreadsheets would evaluate this text. Source: OWASP, CSV injection.
fn is_formula(text: &str) -> bool {
    text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_is_quoted_and_formulas_are_defused_on_request() {
        let written = |defuse| {
            let mut bytes = Vec::new();
            let mut csv = Box::new(Csv::new(IndexKind::Meetings, &mut bytes, defuse).unwrap());
            csv.put(&Document {
                index: IndexKind::Meetings,
                id: "a==".to_owned(),
                version: 7,
                body: serde_json::json!({"topic": "=cmd|' /C calc'!A0\n\"x\",y", "duration": 60, "start_time": "2026-03-04T10:00:00Z"})
                    .to_string(),
            })
            .unwrap();
            csv.end().unwrap();
            String::from_utf8(bytes).unwrap()
        };
        let plain = written(false);
        assert!(plain.starts_with("_id,_version,@timestamp,"), "{plain}");
        assert!(plain.contains(",\"=cmd|' /C calc'!A0\n\"\"x\"\",y\","), "{plain}");
        assert!(plain.contains(",2026-03-04T10:00:00Z,"), "{plain}");
        assert!(written(true).contains(",\"'=cmd|"));
    }
}
