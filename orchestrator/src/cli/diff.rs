//! `fallout diff`

use super::args::DiffArgs;
use super::context::Context;
use super::exit::{Failure, Outcome};

/// `fallout diff`
pub fn run(_context: &Context, _args: &DiffArgs) -> Outcome {
    Err(Failure::not_built_yet("diff"))
}
