//! Log lines on standard error: warnings by default, more with -v.

use tracing_subscriber::{EnvFilter, fmt, prelude::*};

use super::{
    Global, LogFormat,
    progress::{Bars, TARGET},
};

/// Sends log lines to standard error, above the progress bars if there are any.
pub fn start(global: &Global, bars: &Bars) {
    // The harvester's messages at the requested level; of libraries mostly warnings and errors only.
    let filter = match (global.quiet, global.verbose) {
        (true, _) => "error",
        (false, 0) => "warn",
        (false, 1) => "warn,zoom_harvester=info",
        (false, 2) => "warn,zoom_harvester=debug",
        (false, _) => "info,zoom_harvester=trace",
    };
    // With JSON, plain messages are log lines as well, so that standard error holds nothing else.
    let filter = match (global.log_format, global.quiet) {
        (LogFormat::Json, false) => format!("{filter},{TARGET}=info"),
        (LogFormat::Json, true) => format!("{filter},{TARGET}=warn"),
        _ => filter.to_owned(),
    };
    let bars = bars.clone();
    let layer = fmt::layer().with_writer(move || bars.writer()).with_ansi(false);
    let registry = tracing_subscriber::registry().with(EnvFilter::new(filter));
    // It is set once per process; a second call (in a test) changes nothing.
    let _ = match global.log_format {
        LogFormat::Text => registry.with(layer.compact()).try_init(),
        LogFormat::Json => registry.with(layer.json()).try_init(),
    };
}
