//! `fallout show`

use super::args::ShowArgs;
use super::context::Context;
use super::exit::{Failure, Outcome};

/// `fallout show`
pub fn run(_context: &Context, _args: &ShowArgs) -> Outcome {
    Err(Failure::not_built_yet("show"))
}
