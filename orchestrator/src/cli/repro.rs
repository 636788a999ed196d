//! `fallout repro`

use super::args::ReproArgs;
use super::context::Context;
use super::exit::{Failure, Outcome};

/// `fallout repro`
pub fn run(_context: &Context, _args: &ReproArgs) -> Outcome {
    Err(Failure::not_built_yet("repro"))
}
