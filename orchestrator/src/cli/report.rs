//! `fallout report`

use super::args::ReportArgs;
use super::context::Context;
use super::exit::{Failure, Outcome};

/// `fallout report`
pub fn run(_context: &Context, _args: &ReportArgs) -> Outcome {
    Err(Failure::not_built_yet("report"))
}
