//! Progress of a run: bars on a terminal, plain lines elsewhere.

use std::{
    cell::{Cell, OnceCell},
    io::{self, IsTerminal, Write},
    sync::Arc,
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use super::out::{clean, duration, thousands};
use crate::{
    model::Label,
    sync::{Observer, Progress},
    zoom::pace::Pacer,
};

/// The log target of a run's progress.
pub const TARGET: &str = "zoom_harvester::run";

/// Whether the terminal can only print, so that a bar cannot be redrawn. A terminal without a name counts as such.
#[allow(
    clippy::disallowed_methods,
    reason = "the command line is where the environment is read"
)]
fn is_dumb() -> bool {
    std::env::var_os("TERM").is_none_or(|terminal| terminal.is_empty() || terminal == "dumb")
}

/// The bars, and the writer that prints other lines above them.
#[derive(Clone, Debug)]
pub struct Bars {
    all: MultiProgress,
    terminal: bool,
    json: bool,
}

impl Bars {
    /// Bars if standard error is a terminal and `quiet` is off. With `json`, lines go into the log.
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
        // Always one line. Otherwise a topic with a line break could forge a log line.
        let line = format!("{}\n", clean(text.trim_end_matches('\n')));
        self.all.suspend(|| io::stderr().write_all(line.as_bytes()))
    }
}

impl Drop for Above {
    fn drop(&mut self) {
        let _ = self.flush();
    }
}

/// Shows the progress of a run.
pub struct Show {
    bars: Bars,
    quiet: bool,
    pacer: Option<Arc<Pacer>>,
    fetch: Bar,
    publish: Bar,
    compare: Bar,
    last_line: Cell<Option<Instant>>,
}

/// Seconds between two plain lines of progress.
const LINE_EVERY_S: u64 = 10;

/// How often a bar is redrawn while nothing happens, so that a waiting run shows that it waits.
const DRAW_EVERY: Duration = Duration::from_millis(250);

/// A bar, drawn once it has something to show.
struct Bar {
    label: &'static str,
    /// The rate limit of its requests, if they go to Zoom.
    limit: Option<Label>,
    drawn: OnceCell<ProgressBar>,
}

impl Bar {
    fn new(label: &'static str, limit: Option<Label>) -> Self {
        Self {
            label,
            limit,
            drawn: OnceCell::new(),
        }
    }

    fn draw(&self, bars: &MultiProgress, done: u64, due: u64, pacer: Option<&Arc<Pacer>>) {
        let bar = self.drawn.get_or_init(|| {
            let bar = bars.add(ProgressBar::no_length());
            let limit = self.limit.zip(pacer.cloned());
            // Computed whenever the bar is drawn: a stalled run must not show an old pace.
            let pace = move |state: &ProgressState, out: &mut dyn std::fmt::Write| {
                let left = state.len().unwrap_or(0).saturating_sub(state.pos());
                let _ = out.write_str(&pace(state.pos(), left, state.per_sec()));
                if let Some((label, _)) = limit.as_ref().filter(|(label, pacer)| pacer.waits(*label)) {
                    let _ = write!(out, ", limited by {label}");
                }
            };
            // Only a template with an unknown key fails. Then the default style is good enough.
            if let Ok(style) =
                ProgressStyle::with_template("{prefix:>9} [{wide_bar}] {human_pos}/{human_len}{pace}")
            {
                bar.set_style(style.progress_chars("=> ").with_key("pace", pace));
            }
            bar.set_prefix(self.label);
            bar.enable_steady_tick(DRAW_EVERY);
            bar
        });
        bar.set_length(done + due);
        bar.set_position(done);
    }

    fn clear(&self) {
        if let Some(bar) = self.drawn.get() {
            bar.finish_and_clear();
        }
    }
}

/// `, 43/s, 12 s to go`. It is empty before the first item is done, and has no remaining time when stalled.
fn pace(done: u64, left: u64, per_second: f64) -> String {
    if done == 0 || left == 0 {
        return String::new();
    }
    if per_second < 0.05 {
        return ", 0/s".to_owned();
    }
    let rate = if per_second < 9.95 {
        format!("{per_second:.1}")
    } else {
        thousands(per_second.round() as u64)
    };
    // Rounded up: remaining work takes at least a second.
    let to_go = (left as f64 / per_second).ceil().max(1.0) as u64;
    let to_go = match to_go {
        ..10 => format!("{to_go} s"),
        _ => duration(Duration::from_secs(to_go)),
    };
    format!(", {rate}/s, {to_go} to go")
}

impl Show {
    /// Ready to show. Nothing appears before there is something to show.
    pub fn new(bars: &Bars, quiet: bool) -> Self {
        Self {
            fetch: Bar::new("details", Some(Label::Heavy)),
            publish: Bar::new("published", None),
            compare: Bar::new("compared", None),
            bars: bars.clone(),
            quiet,
            pacer: None,
            last_line: Cell::new(None),
        }
    }

    /// Also shows which of Zoom's limits a run waits for.
    pub fn paced_by(mut self, pacer: Option<Arc<Pacer>>) -> Self {
        self.pacer = pacer;
        self
    }

    /// Hides the bars while `print` prints.
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

    /// Prints a problem, also with `--quiet`.
    fn problem(&self, text: &str) {
        if self.bars.json {
            tracing::warn!(target: TARGET, "problem: {text}");
        } else {
            let _ = writeln!(self.bars.writer(), "problem: {}", clean(text));
        }
    }

    fn advance(&self, bar: &Bar, done: u64, due: u64, what: &str) {
        if done + due == 0 {
            // Nothing to do, so no bar.
        } else if self.bars.terminal {
            bar.draw(&self.bars.all, done, due, self.pacer.as_ref());
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
            // The command itself prints these.
            Progress::Differs(_) => {}
            Progress::Note(text) => self.line(text),
            Progress::Problem(text) => self.problem(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::pace;

    #[test]
    fn rate_and_remaining_time_are_shown_once_known() {
        assert_eq!(pace(0, 100, 0.0), "");
        assert_eq!(pace(100, 0, 40.0), "");
        assert_eq!(pace(1, 99, 0.0), ", 0/s");
        assert_eq!(pace(60, 1, 43.4), ", 43/s, 1 s to go");
        assert_eq!(pace(60, 100, 8.04), ", 8.0/s, 13 s to go");
        assert_eq!(pace(60, 30_000, 8.0), ", 8.0/s, 1 h 2 min to go");
    }
}
