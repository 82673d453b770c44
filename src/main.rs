//! The binary: parse, run, map to an exit code.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(zoom_harvester::cli::main(std::env::args_os()) as u8)
}
