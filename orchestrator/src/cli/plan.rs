//! `fallout plan`

use super::args::PlanArgs;
use super::context::Context;
use super::exit::{Failure, Outcome};

/// `fallout plan`
pub fn run(_context: &Context, _args: &PlanArgs) -> Outcome {
    Err(Failure::not_built_yet("plan"))
}
