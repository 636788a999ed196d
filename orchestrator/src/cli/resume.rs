//! `fallout resume`: goes on with a run that was interrupted or killed.

use camino::{Utf8Path, Utf8PathBuf};

use crate::engine::baseline;
use crate::model::JobState;
use crate::store::queue::Queue;
use crate::store::runs::RunDir;

use super::args::{ResumeArgs, Selection};
use super::context::Context;
use super::exit::{Failure, Outcome};
use super::failure;

/// `fallout resume`
pub fn run(context: &Context, args: &ResumeArgs) -> Outcome {
    let run = RunDir::find(context.dirs.runs().as_std_path(), &args.run)?;
    let record = run.own_record()?;
    refuse_the_daemons(context, &record.id.0)?;
    let matrix = Utf8PathBuf::from_path_buf(record.matrix_path.clone())
        .map_err(|p| Failure::usage(format!("{}: not a UTF-8 path", p.display())))?;
    let only = Selection {
        ports: record.ports.clone(),
        suites: record.suites.clone(),
        release: record.release.clone(),
    };
    let mut setup = super::run::setup(context, &matrix, &only, record.fresh, args.jobs)?;
    let cluster = record.cluster.as_deref().and_then(Utf8Path::from_path);
    setup.set_cluster(cluster.map(super::run::cluster).transpose()?);
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

/// A run of the daemon is on a commit that the matrix does not name: only the daemon has its tree.
fn refuse_the_daemons(context: &Context, run: &str) -> Result<(), Failure> {
    let path = super::daemon::queue_path(context);
    if !path.is_file() {
        return Ok(());
    }
    let runtime = failure::one_thread()?;
    let job =
        runtime.block_on(async { Queue::open(path.as_std_path()).await?.job_of_run(run).await })?;
    let Some(job) = job else { return Ok(()) };
    let commit = &job.change.new;
    let what = match job.state {
        JobState::Running | JobState::Cancelling => {
            "it goes on with it by itself, at its next start where it is down"
        }
        _ => "ask for the commit again: a push, 'POST /api/v1/queue' or the page",
    };
    Err(Failure::usage(format!(
        "run {run} is the daemon's: job {} ({}) on {commit:.12}; {what}",
        job.id,
        job.state.word()
    )))
}
