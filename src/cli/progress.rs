//! What people see while a run goes on: bars on a terminal, plain lines elsewhere.

use std::{
    cell::Cell,
    io::{self, IsTerminal, Write},
    time::Instant,
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::out::{clean, thousands};
use crate::sync::{Observer, Progress};

/// What a run tells of itself, when that goes into the log.
pub const TARGET: &str = "zoom_harvester::run";

/// The bars, and the way for other lines to pass above them.
#[derive(Clone, Debug)]
pub struct Bars {
    all: MultiProgress,
    terminal: bool,
    json: bool,
}

impl Bars {
    /// Bars if standard error is a terminal and somebody wants to see them; `json`: lines go into the log.
    pub fn new(quiet: bool, json: bool) -> Self {
        let terminal = io::stderr().is_terminal() && !quiet && !json;
        let all = if terminal {
            MultiProgress::new()
        } else {
            MultiProgress::with_draw_target(ProgressDrawTarget::hidden())
        };
        Self { all, terminal, json }
    }

    /// Where log lines go.
    pub fn writer(&self) -> Above {
        Above {
            all: self.all.clone(),
            line: Vec::new(),
        }
    }
}

/// Writes a line above the bars, which are redrawn after it.
#[derive(Debug)]
pub struct Above {
    all: MultiProgress,
    line: Vec<u8>,
}

impl Write for Above {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&line);
        // One line, whatever is in it: else a meeting could be named so that it forges the next line of a log.
        let line = format!("{}\n", clean(text.trim_end_matches('\n')));
        self.all.suspend(|| io::stderr().write_all(line.as_bytes()))
    }
}

impl Drop for Above {
    fn drop(&mut self) {
        let _ = self.flush();
    }
}

/// Shows a run.
pub struct Show {
    bars: Bars,
    quiet: bool,
    fetch: ProgressBar,
    publish: ProgressBar,
    compare: ProgressBar,
    last_line: Cell<Option<Instant>>,
}

/// How often a plain line tells of progress.
const LINE_EVERY_S: u64 = 10;

impl Show {
    /// Ready to show; nothing appears before there is something to say.
    pub fn new(bars: &Bars, quiet: bool) -> Self {
        let bar = |label: &'static str| {
            let bar = bars.all.add(ProgressBar::hidden());
            // Only a template with an unknown key fails, and then the default style does.
            if let Ok(style) =
                ProgressStyle::with_template("{prefix:>9} [{bar:30}] {human_pos}/{human_len} {msg}")
            {
                bar.set_style(style);
            }
            bar.set_prefix(label);
            bar
        };
        Self {
            fetch: bar("details"),
            publish: bar("published"),
            compare: bar("compared"),
            bars: bars.clone(),
            quiet,
            last_line: Cell::new(None),
        }
    }

    /// Lets others print, the bars out of their way.
    pub fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bars.all.suspend(print)
    }

    fn line(&self, text: &str) {
        if self.bars.json {
            tracing::info!(target: TARGET, "{text}");
        } else if !self.quiet {
            let _ = writeln!(self.bars.writer(), "{}", clean(text));
        }
    }

    /// A line that also they want who want to hear only what went wrong.
    fn problem(&self, text: &str) {
        if self.bars.json {
            tracing::warn!(target: TARGET, "problem: {text}");
        } else {
            let _ = writeln!(self.bars.writer(), "problem: {}", clean(text));
        }
    }

    fn advance(&self, bar: &ProgressBar, done: u64, due: u64, what: &str) {
        if self.bars.terminal {
            if bar.is_hidden() {
                bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(10));
            }
            bar.set_length(done + due);
            bar.set_position(done);
        } else {
            let now = Instant::now();
            let since = self
                .last_line
                .get()
                .map_or(u64::MAX, |last| (now - last).as_secs());
            if due == 0 && done > 0 || since >= LINE_EVERY_S {
                self.last_line.set(Some(now));
                self.line(&format!(
                    "{what}: {} done, {} due",
                    thousands(done),
                    thousands(due)
                ));
            }
        }
    }
}

impl Drop for Show {
    fn drop(&mut self) {
        self.fetch.finish_and_clear();
        self.publish.finish_and_clear();
        self.compare.finish_and_clear();
    }
}

impl Observer for Show {
    fn see(&self, progress: Progress<'_>) {
        match progress {
            Progress::Listed {
                window,
                meetings,
                tally,
            } => self.line(&format!(
                "listed {window}: {} meetings; so far {} new, {} changed, {} vanished",
                thousands(meetings as u64),
                thousands(tally.new),
                thousands(tally.changed),
                thousands(tally.vanished)
            )),
            Progress::Fetched { due, tally } => self.advance(&self.fetch, tally.details, due, "details"),
            Progress::Published { due, tally } => {
                self.advance(&self.publish, tally.published, due, "meetings published");
            }
            Progress::Compared { done, left } => {
                self.advance(&self.compare, done, left, "documents compared");
            }
            // The command that asked prints these.
            Progress::Differs(_) => {}
            Progress::Note(text) => self.line(text),
            Progress::Problem(text) => self.problem(text),
        }
    }
}
