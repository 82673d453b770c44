//! `completions` and `man`: files that packages install along with the program. Both commands need no settings and read nothing.

use std::path::PathBuf;

use clap::{Args, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use super::{Cli, Exit, Failure, out};
use crate::untrusted::system_said;

#[derive(Args, Debug)]
pub struct CompletionsArgs {
    /// The shell that reads them
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Args, Debug)]
pub struct ManArgs {
    /// A folder that exists: write the program's page and one a command there, instead of printing the program's
    #[arg(value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

pub fn completions(args: &CompletionsArgs) -> Result<Exit, Failure> {
    let mut command = Cli::command();
    let name = command.get_name().to_owned();
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut command, name, &mut text);
    out::bytes(&text)?;
    Ok(Exit::Done)
}

pub fn man(args: &ManArgs) -> Result<Exit, Failure> {
    // A page on `help` would only repeat the others.
    let program = Cli::command().disable_help_subcommand(true);
    match &args.folder {
        None => {
            let mut page = Vec::new();
            Man::new(program).render(&mut page)?;
            out::bytes(&page)?;
        }
        Some(folder) => clap_mangen::generate_to(program, folder).map_err(|error| {
            Failure::usage(format!(
                "the manual pages cannot be written to {}: {}; name a folder that exists and may be written to",
                folder.display(),
                system_said(&error)
            ))
        })?,
    }
    Ok(Exit::Done)
}
