//! `fallout image`

use clap::Subcommand;

use super::context::Context;
use super::exit::{Failure, Outcome};

/// `fallout image …`
#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// One line an image: port, key, size, age
    List,
}

/// `fallout image …`
pub fn run(_context: &Context, _command: &ImageCommand) -> Outcome {
    Err(Failure::not_built_yet("image"))
}
