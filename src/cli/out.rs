//! Printing: a pipe may close, and text from outside may hold terminal escape sequences.

use std::{
    borrow::Cow,
    io::{self, IsTerminal, Write},
    time::Duration,
};

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::Color;
use crate::untrusted::steers;

pub use crate::untrusted::clean;

/// Prints lines to standard output, each cleaned.
pub fn print(text: &str) -> io::Result<()> {
    print_to(&mut io::stdout().lock(), text)
}

fn print_to(sink: &mut impl Write, text: &str) -> io::Result<()> {
    for line in text.trim_end_matches('\n').split('\n') {
        sink.write_all(clean(line).as_bytes())?;
        sink.write_all(b"\n")?;
    }
    sink.flush()
}

/// Prints bytes that the program itself generated, unchanged.
pub fn bytes(made: &[u8]) -> io::Result<()> {
    let mut sink = io::stdout().lock();
    sink.write_all(made)?;
    sink.flush()
}

/// Prints a value as JSON.
pub fn json(value: &impl serde::Serialize) -> io::Result<()> {
    print(&escaped(
        &serde_json::to_string_pretty(value).map_err(io::Error::other)?,
    ))
}

/// The same JSON, with every character escaped that could control a terminal. JSON itself escapes only the first 32 characters. The other control
/// characters occur only in strings, where an escape means the same.
pub fn escaped(json: &str) -> Cow<'_, str> {
    let steering = |c: char| c != '\n' && steers(c);
    if !json.contains(steering) {
        return json.into();
    }
    let mut text = String::with_capacity(json.len() + 64);
    for c in json.chars() {
        if steering(c) {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                text.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            text.push(c);
        }
    }
    text.into()
}

/// Prints one line to standard error.
pub fn error(message: &str, color: Color) {
    let coloured = match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => io::stderr().is_terminal() && !no_color(),
    };
    let label = if coloured {
        "\u{1b}[31merror:\u{1b}[0m"
    } else {
        "error:"
    };
    // If this fails, there is nowhere left to report it.
    let _ = writeln!(io::stderr(), "{label} {}", clean(message));
}

/// Whether `NO_COLOR` is set (<https://no-color.org>).
#[allow(
    clippy::disallowed_methods,
    reason = "the command line is where the environment is read"
)]
pub fn no_color() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

/// Makes a panic print one line that calls it a bug, instead of a trace.
pub fn report_panics() {
    std::panic::set_hook(Box::new(|info| {
        let place = info
            .location()
            .map(|place| format!("{}:{}", place.file(), place.line()))
            .unwrap_or_default();
        let said = info.payload_as_str().unwrap_or("no message");
        let _ = writeln!(
            io::stderr(),
            "error: this is a bug in zoom-harvester ({} at {place}); please report it. The catalog is safe: run again",
            clean(said)
        );
    }));
}

/// A table with aligned columns, also if letters are two cells wide. Its text is cleaned. On a terminal it is no wider than the terminal.
pub fn table(rows: &[Vec<String>]) -> String {
    let terminal = io::stdout()
        .is_terminal()
        .then(terminal_size::terminal_size)
        .flatten();
    let most = terminal.map_or(usize::MAX, |(terminal_size::Width(columns), _)| columns.into());
    table_within(rows, most)
}

/// The smallest width to which a column is reduced.
const NARROWEST: usize = 12;

/// A table of at most this width. The last cell of a row continues on the next line. If that is not enough, the widest of the other cells are cut.
fn table_within(rows: &[Vec<String>], most: usize) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| clean(cell).width())
            .max()
            .unwrap_or(0)
    };
    let mut widths: Vec<usize> = (0..columns).map(width).collect();
    let before_last = columns.saturating_sub(1);
    // Narrow the other columns until the last one has some room.
    while let Some(others) = widths.get_mut(..before_last)
        && others.iter().map(|width| width + 2).sum::<usize>() + NARROWEST > most
        && let Some(widest) = others.iter_mut().max().filter(|width| **width > NARROWEST)
    {
        *widest -= 1;
    }
    let indent: usize = widths.iter().take(before_last).map(|width| width + 2).sum();
    let room = most.saturating_sub(indent).max(NARROWEST);
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let cell = clean(cell);
            if column == before_last {
                let mut parts = wrapped(&cell, room).into_iter();
                line.push_str(&parts.next().unwrap_or_default());
                for part in parts {
                    text.push_str(line.trim_end());
                    text.push('\n');
                    line = format!("{}{part}", " ".repeat(indent));
                }
                continue;
            }
            let cell = cut(&cell, *width);
            let padding = width.saturating_sub(cell.width());
            line.push_str(&cell);
            line.push_str(&" ".repeat(padding + 2));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Text of at most this width, with an ellipsis where it is cut.
fn cut(text: &str, most: usize) -> String {
    if text.width() <= most {
        return text.to_owned();
    }
    let mut short = String::new();
    for letter in text.chars() {
        if short.width() + letter.width().unwrap_or(0) + 1 > most {
            break;
        }
        short.push(letter);
    }
    short + "…"
}

/// Text wrapped into lines of at most this width. Lines break between words; a word that is wider than a line is split.
fn wrapped(text: &str, most: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut width = 0;
    for word in text.split_inclusive(' ') {
        if width > 0 && width + word.trim_end().width() > most {
            lines.push(String::new());
            width = 0;
        }
        for letter in word.chars() {
            let wide = letter.width().unwrap_or(0);
            if width + wide > most && letter != ' ' {
                lines.push(String::new());
                width = 0;
            }
            if let Some(line) = lines.last_mut() {
                line.push(letter);
            }
            width += wide;
        }
    }
    lines
}

/// `12,345`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 meeting`, `12,345 meetings`.
pub fn counted(number: u64, what: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{} {what}{ending}", thousands(number))
}

/// `0.4 s`, `42 s`, `2 min 5 s`, `3 h 20 min`.
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 10.0 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, min, 0) => format!("{min} min"),
        (0, min, s) => format!("{min} min {s} s"),
        (h, 0, _) => format!("{} h", thousands(h)),
        (h, min, _) => format!("{} h {min} min", thousands(h)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_output_has_the_same_data_and_no_escape_sequences() {
        let value = serde_json::json!({"a\u{9b}": "\u{1b}[2J \u{7f} \u{202e} \u{e0041} ü \n"});
        let text = escaped(&value.to_string()).into_owned();
        assert!(!text.contains(steers), "{text}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
        assert_eq!(escaped("{\n}"), "{\n}");
    }

    #[test]
    fn printing_removes_escape_sequences() {
        let mut printed = Vec::new();
        print_to(&mut printed, "a\u{1b}[2J\nb\u{202e}\n").unwrap();
        assert_eq!(String::from_utf8(printed).unwrap(), "a\u{fffd}[2J\nb\u{fffd}\n");
    }

    #[test]
    fn numbers_and_tables_are_formatted() {
        assert_eq!(
            [0, 999, 1_000, 1_234_567].map(thousands),
            ["0", "999", "1,000", "1,234,567"]
        );
        let rows = vec![vec!["a".into(), "bb".into()], vec!["ccc".into(), "d".into()]];
        assert_eq!(table(&rows), "a    bb\nccc  d\n");
        let rows = vec![vec!["研讨会".into(), "x".into()], vec!["a\nb".into(), "y".into()]];
        assert_eq!(table(&rows), "研讨会  x\na\u{fffd}b     y\n");
    }

    #[test]
    fn tables_fit_the_width_and_wrap_their_last_column() {
        let rows = vec![
            vec![
                "name".to_owned(),
                "what is to be done about it, 研讨会 and all".to_owned(),
            ],
            vec!["x".to_owned(), "averyveryverylongwordwithoutanyspace".to_owned()],
        ];
        assert_eq!(
            table_within(&rows, 24),
            "name  what is to be done\n      about it, 研讨会\n      and all\nx     averyveryverylongw\n      ordwithoutanyspace\n"
        );
        let wide = vec![vec!["a".repeat(40), "b".repeat(30), "the end".to_owned()]];
        let text = table_within(&wide, 60);
        assert!(text.lines().all(|line| line.width() <= 60), "{text}");
        assert!(text.contains('…') && text.contains("the end"), "{text}");
        // A table that fits no terminal is at least complete.
        assert!(table_within(&wide, 3).contains("the end"));
    }

    #[test]
    fn durations() {
        let said = [0, 400, 9_900, 42_000, 125_400, 120_000, 3_600_000, 12_000_000]
            .map(|ms| duration(Duration::from_millis(ms)));
        assert_eq!(
            said,
            [
                "0.0 s",
                "0.4 s",
                "9.9 s",
                "42 s",
                "2 min 5 s",
                "2 min",
                "1 h",
                "3 h 20 min"
            ]
        );
    }
}
