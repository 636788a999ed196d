//! `fallout resume`

use super::args::ResumeArgs;
use super::context::Context;
use super::exit::{Failure, Outcome};

/// `fallout resume`
pub fn run(_context: &Context, _args: &ResumeArgs) -> Outcome {
    Err(Failure::not_built_yet("resume"))
}
