//! Printing: to a pipe that may close, and of text from outside that may try to steer the terminal.

use std::{
    borrow::Cow,
    io::{self, IsTerminal, Write},
};

use super::Color;

/// Text from outside, without what steers terminals or turns the direction of writing.
pub fn clean(text: &str) -> Cow<'_, str> {
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if text.chars().any(steers) {
        text.chars()
            .map(|c| if steers(c) { '\u{fffd}' } else { c })
            .collect::<String>()
            .into()
    } else {
        text.into()
    }
}

/// Prints lines to standard output.
pub fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    if !text.ends_with('\n') {
        stdout.write_all(b"\n")?;
    }
    stdout.flush()
}

/// Prints a value as JSON.
pub fn json(value: &impl serde::Serialize) -> io::Result<()> {
    print(&serde_json::to_string_pretty(value).map_err(io::Error::other)?)
}

/// One line to standard error.
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
    // Nobody is left to tell if this fails.
    let _ = writeln!(io::stderr(), "{label} {}", clean(message));
}

/// Whether somebody asked for no colours, by the usual convention.
#[allow(
    clippy::disallowed_methods,
    reason = "the command line is where the environment is read"
)]
pub fn no_color() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

/// A panic is a bug: one line that says so, instead of a trace.
pub fn report_panics() {
    std::panic::set_hook(Box::new(|info| {
        let place = info
            .location()
            .map(|place| format!("{}:{}", place.file(), place.line()))
            .unwrap_or_default();
        let said = info.payload_as_str().unwrap_or("without a word");
        let _ = writeln!(
            io::stderr(),
            "error: this is a bug in zoom-harvester ({} at {place}); please report it. The catalog is safe: run again",
            clean(said)
        );
    }));
}

/// A table: columns aligned, text cleaned.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let cell = clean(cell);
            let padding = width.saturating_sub(cell.chars().count());
            line.push_str(&cell);
            line.push_str(&" ".repeat(padding + 2));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_cannot_steer_the_terminal() {
        assert_eq!(clean("plain – text 研讨会"), "plain – text 研讨会");
        assert_eq!(
            clean("\u{1b}[2Jgone\u{202e}txt\r\n"),
            "\u{fffd}[2Jgone\u{fffd}txt\u{fffd}\u{fffd}"
        );
    }

    #[test]
    fn numbers_and_tables() {
        assert_eq!(
            [0, 999, 1_000, 1_234_567].map(thousands),
            ["0", "999", "1,000", "1,234,567"]
        );
        let rows = vec![vec!["a".into(), "bb".into()], vec!["ccc".into(), "d".into()]];
        assert_eq!(table(&rows), "a    bb\nccc  d\n");
    }
}
