//! `export`: every document of the catalog, as a file that other programs read.

use std::{
    io::{self, BufWriter, IsTerminal, Write},
    path::PathBuf,
};

use clap::{Args, ValueEnum};

use super::{Exit, Failure, IndexArg, context::Context, day::DaySpec, out, whole_file};
use crate::{
    catalog::Catalog,
    elastic,
    export::{Csv, Sink},
    model::{Document, IndexKind, Window, json_text},
};

#[derive(Args, Debug)]
pub struct ExportArgs {
    /// Only the documents of this index; csv and parquet need it
    #[arg(long, value_enum)]
    index: Option<IndexArg>,
    /// What is written
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Only meetings of this UTC day and later: `2026-03-04`, `2026-03`, `7d`, `2w`, `yesterday`
    #[arg(long, value_name = "DAY", value_parser = DaySpec::parse)]
    from: Option<DaySpec>,
    /// Only meetings of this UTC day and earlier
    #[arg(long, value_name = "DAY", value_parser = DaySpec::parse)]
    to: Option<DaySpec>,
    /// The file to write; without it: standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// With csv: put an apostrophe before text that a spreadsheet would take for a formula
    #[arg(long)]
    defuse_formulas: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One JSON object a line, as bulk requests have it
    #[default]
    Ndjson,
    /// A line of names, then a line a document
    Csv,
    /// Columns, compressed
    Parquet,
}

/// The most meetings that are read at once, and the most bytes of their payloads before compression.
const BATCH: (u64, usize) = (500, 4 << 20);

pub fn run(context: &Context, args: &ExportArgs) -> Result<Exit, Failure> {
    let catalog = Catalog::open_read_only(&context.config.db)?;
    let today = context.now().date_naive();
    let from = args.from.map_or(chrono::NaiveDate::MIN, |from| from.first(today));
    let to = args.to.map_or(chrono::NaiveDate::MAX, |to| to.last(today));
    let window =
        Window::new(from, to).ok_or_else(|| Failure::usage(format!("--from {from} is after --to {to}")))?;
    let only = args.index.map(IndexArg::kind);
    if args.defuse_formulas && args.format != Format::Csv {
        return Err(Failure::usage("--defuse-formulas is for --format csv"));
    }
    match &args.out {
        None if args.format == Format::Parquet && io::stdout().is_terminal() => Err(Failure::usage(
            "Parquet is not for a terminal; name a file with --out",
        )),
        None => {
            let mut stdout = BufWriter::new(io::stdout());
            let sink = sink(context, args, only, &mut stdout)?;
            write(&catalog, window, only, sink)?;
            stdout.flush()?;
            Ok(Exit::Done)
        }
        Some(path) => {
            let count = whole_file::replace(path, |file| {
                let sink = sink(context, args, only, file)?;
                write(&catalog, window, only, sink)
            })?;
            context.say(&format!(
                "{} documents are in {}",
                out::thousands(count),
                path.display()
            ))?;
            Ok(Exit::Done)
        }
    }
}

fn sink<'a, W: Write + Send + 'a>(
    context: &'a Context,
    args: &ExportArgs,
    only: Option<IndexKind>,
    writer: W,
) -> Result<Box<dyn Sink + 'a>, Failure> {
    let index = || {
        only.ok_or_else(|| {
            Failure::usage("csv and parquet are tables: say --index meetings or --index sessions")
        })
    };
    Ok(match args.format {
        Format::Ndjson => Box::new(Lines {
            writer,
            prefix: &context.config.index_prefix,
        }),
        Format::Csv => Box::new(Csv::new(index()?, writer, args.defuse_formulas)?),
        #[cfg(feature = "parquet")]
        Format::Parquet => Box::new(crate::export::Parquet::new(index()?, writer)?),
        #[cfg(not(feature = "parquet"))]
        Format::Parquet => {
            return Err(Failure::usage(
                "this build has no Parquet; build it with `--features parquet`, or take csv or ndjson",
            ));
        }
    })
}

/// Writes all documents of these days; returns their number.
fn write(
    catalog: &Catalog,
    window: Window,
    only: Option<IndexKind>,
    mut sink: Box<dyn Sink + '_>,
) -> Result<u64, Failure> {
    let (mut after, mut count) = (None, 0);
    loop {
        let batch = catalog.kept_in(window, after.as_ref(), BATCH.0, BATCH.1)?;
        let Some(last) = batch.last() else { break };
        after = Some(last.uuid.clone());
        for stored in batch {
            for document in elastic::documents(&stored.open()?) {
                if only.is_none_or(|only| only == document.index) {
                    sink.put(&document)?;
                    count += 1;
                }
            }
        }
    }
    sink.end()?;
    Ok(count)
}

/// JSON lines.
struct Lines<'a, W: Write> {
    writer: W,
    prefix: &'a str,
}

impl<W: Write> Sink for Lines<'_, W> {
    fn put(&mut self, document: &Document) -> io::Result<()> {
        let index = json_text(&format!("{}-{}", self.prefix, document.index.as_str()));
        let (id, version, source) = (json_text(&document.id), document.version, &document.body);
        let line = format!(r#"{{"_id":{id},"_index":{index},"_source":{source},"_version":{version}}}"#);
        writeln!(self.writer, "{}", out::escaped(&line))
    }

    fn end(mut self: Box<Self>) -> io::Result<()> {
        self.writer.flush()
    }
}
