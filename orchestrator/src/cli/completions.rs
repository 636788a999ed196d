//! `fallout completions`

use std::io::Write as _;

use clap::CommandFactory as _;

use super::args::{Cli, CompletionsArgs};
use super::exit::{Exit, Outcome};

/// Prints the script. It is made in memory first: the generator panics on a closed pipe.
pub fn run(args: &CompletionsArgs) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "fallout", &mut script);
    std::io::stdout().write_all(&script)?;
    Ok(Exit::Clean)
}
