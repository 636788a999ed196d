//! `fallout console`

use super::args::ConsoleArgs;
use super::context::Context;
use super::exit::{Failure, Outcome};

/// `fallout console`
pub fn run(_context: &Context, _args: &ConsoleArgs) -> Outcome {
    Err(Failure::not_built_yet("console"))
}
