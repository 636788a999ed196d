//! `fallout run`

use super::args::RunArgs;
use super::context::Context;
use super::exit::{Failure, Outcome};

/// `fallout run`
pub fn run(_context: &Context, _args: &RunArgs) -> Outcome {
    Err(Failure::not_built_yet("run"))
}
