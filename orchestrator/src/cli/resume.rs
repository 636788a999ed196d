//! `fallout resume`: goes on with a run that was interrupted or killed.

use camino::Utf8PathBuf;

use crate::engine::baseline;
use crate::store::runs::RunDir;

use super::args::{ResumeArgs, Selection};
use super::context::Context;
use super::exit::{Failure, Outcome};

/// `fallout resume`
pub fn run(context: &Context, args: &ResumeArgs) -> Outcome {
    let run = RunDir::find(context.dirs.runs().as_std_path(), &args.run)?;
    let record = run.record()?;
    let matrix = Utf8PathBuf::from_path_buf(record.matrix_path.clone())
        .map_err(|p| Failure::usage(format!("{}: not a UTF-8 path", p.display())))?;
    let only = Selection {
        ports: record.ports.clone(),
        suites: record.suites.clone(),
    };
    let mut setup = super::run::setup(context, &matrix, &only, record.fresh, args.jobs)?;
    baseline::prepare(&mut setup, &record.baselines);
    // Half a run of one tree and half of another would be a verdict about neither.
    for (suite, now) in setup.revisions()? {
        if record
            .revisions
            .get(&suite)
            .is_some_and(|then| *then != now)
        {
            return Err(Failure::usage(format!(
                "the source of suite '{suite}' has changed since run {} began: start a new run",
                record.id
            )));
        }
    }
    super::drive::drive(context, setup, record, &run, args.json)
}
