//! What people see while a run goes on: bars on a terminal, plain lines elsewhere.

use std::{
    cell::{Cell, OnceCell},
    io::{self, IsTerminal, Write},
    sync::Arc,
    time::Instant,
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use super::out::{clean, thousands};
use crate::{
    model::Label,
    sync::{Observer, Progress},
    zoom::pace::Pacer,
};

/// What a run tells of itself, when that goes into the log.
pub const TARGET: &str = "zoom_harvester::run";

/// Whether the terminal can only print: no bar can be drawn over there.
#[allow(
    clippy::disallowed_methods,
    reason = "the command line is where the environment is read"
)]
fn is_dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|terminal| terminal == "dumb")
}

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
        let terminal = io::stderr().is_terminal() && !is_dumb() && !quiet && !json;
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
    pacer: Option<Arc<Pacer>>,
    fetch: Bar,
    publish: Bar,
    compare: Bar,
    last_line: Cell<Option<Instant>>,
}

/// How often a plain line tells of progress.
const LINE_EVERY_S: u64 = 10;

/// A bar that is drawn from when it has something to show.
struct Bar {
    label: &'static str,
    drawn: OnceCell<ProgressBar>,
}

impl Bar {
    fn new(label: &'static str) -> Self {
        Self {
            label,
            drawn: OnceCell::new(),
        }
    }

    fn draw(&self, bars: &MultiProgress, done: u64, due: u64, message: String) {
        let bar = self.drawn.get_or_init(|| {
            let bar = bars.add(ProgressBar::no_length());
            // Only a template with an unknown key fails, and then the default style does.
            let template = "{prefix:>9} [{wide_bar}] {human_pos}/{human_len}, {rate}, {eta} to go{msg}";
            if let Ok(style) = ProgressStyle::with_template(template) {
                let rate = |state: &ProgressState, out: &mut dyn std::fmt::Write| {
                    let _ = write!(out, "{:.0}/s", state.per_sec());
                };
                bar.set_style(style.progress_chars("=> ").with_key("rate", rate));
            }
            bar.set_prefix(self.label);
            bar
        });
        bar.set_length(done + due);
        bar.set_position(done);
        bar.set_message(message);
    }

    fn clear(&self) {
        if let Some(bar) = self.drawn.get() {
            bar.finish_and_clear();
        }
    }
}

impl Show {
    /// Ready to show; nothing appears before there is something to say.
    pub fn new(bars: &Bars, quiet: bool) -> Self {
        Self {
            fetch: Bar::new("details"),
            publish: Bar::new("published"),
            compare: Bar::new("compared"),
            bars: bars.clone(),
            quiet,
            pacer: None,
            last_line: Cell::new(None),
        }
    }

    /// Says which of Zoom's limits a run waits for.
    pub fn paced_by(mut self, pacer: Option<Arc<Pacer>>) -> Self {
        self.pacer = pacer;
        self
    }

    /// The label whose limit is waited for just now.
    fn limited(&self) -> String {
        let waits = |label: &Label| self.pacer.as_ref().is_some_and(|pacer| pacer.waits(*label));
        match Label::ALL.into_iter().rev().find(waits) {
            Some(label) => format!(", limited by {label}"),
            None => String::new(),
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

    fn advance(&self, bar: &Bar, done: u64, due: u64, what: &str) {
        if done + due == 0 {
            // No bar for what has nothing to do.
        } else if self.bars.terminal {
            bar.draw(&self.bars.all, done, due, self.limited());
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
        self.fetch.clear();
        self.publish.clear();
        self.compare.clear();
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
