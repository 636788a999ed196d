//! `fallout diff`: what changed between two runs.

use crate::report;

use super::args::DiffArgs;
use super::context::Context;
use super::drive::{print, style};
use super::exit::{Exit, Failure, Outcome};
use super::report::load;

/// `fallout diff`
pub fn run(context: &Context, args: &DiffArgs) -> Outcome {
    let of = |run: &str| load(context, run, &args.far);
    let (old, new) = (of(&args.old)?, of(&args.new)?);
    let diff = report::diff::diff(&old, &new);
    if args.json {
        print(&serde_json::to_string_pretty(&diff).map_err(Failure::internal)?)?;
    } else {
        print(&report::diff::render(&diff, &style()))?;
    }
    Ok(Exit::Clean)
}
