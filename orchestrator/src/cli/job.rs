//! `fallout job`: does one job of a run on a node of a cluster. The scheduler starts it, not people.

use camino::Utf8PathBuf;
use tokio_util::sync::CancellationToken;

use crate::engine::cluster::{NodeEnd, do_job, job_of_batch};
use crate::host::slurm;
use crate::model::StageResult;

use super::args::JobArgs;
use super::context::Context;
use super::exit::{Exit, Failure, Outcome};
use super::failure;

/// `fallout job`
pub fn run(context: &Context, args: &JobArgs) -> Outcome {
    let dir = match (&args.batch, &args.dir) {
        (Some(batch), _) => job_of_batch(batch, slurm::task())?,
        (None, Some(dir)) => dir.clone(),
        (None, None) => {
            return Err(Failure::usage(
                "expected a job's directory, or --batch FILE",
            ));
        }
    };
    let dir = std::path::absolute(&dir)
        .ok()
        .and_then(|path| Utf8PathBuf::from_path_buf(path).ok())
        .ok_or_else(|| Failure::usage(format!("{dir}: not a path")))?;
    context.dirs.make_runtime()?;
    let node = slurm::node_name();
    let runtime = failure::runtime()?;
    let end = runtime.block_on(async {
        let cancel = CancellationToken::new();
        let signals = tokio::spawn(listen(cancel.clone()));
        let base = context.dirs.runtime.clone();
        // What a job that was killed on this node left behind.
        let reaped = tokio::task::spawn_blocking(move || {
            crate::guest::rundir::reap_orphans(base.as_std_path())
        });
        for orphan in reaped.await.unwrap_or_default() {
            eprintln!("ended an emulator that had lost its owner: {orphan}");
        }
        let end = do_job(&dir, &context.dirs, &node, &cancel).await;
        signals.abort();
        end
    });
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    let (exit, words) = match end? {
        NodeEnd::Done(stage) => (Exit::Clean, done(stage)),
        NodeEnd::Already => (Exit::Clean, "it was done already".to_owned()),
        NodeEnd::Stopped => (
            Exit::Interrupted,
            "it was stopped; what was done is kept".to_owned(),
        ),
        NodeEnd::Refused(why) => (Exit::Host, format!("it cannot be done here: {why}")),
    };
    eprintln!("{node}: {dir}: {words}");
    Ok(exit)
}

fn done(stage: StageResult) -> String {
    format!("done, {stage}")
}

/// The scheduler's signals end the job in order: guests are ended, what is done stays.
async fn listen(cancel: CancellationToken) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        return;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    cancel.cancel();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::Selection;
    use crate::plan::Resolved;
    use camino::Utf8Path;

    /// A job's order carries its part of the matrix: what is read back must be what was written.
    #[test]
    fn a_matrix_survives_the_way_to_a_node() {
        let root = Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let context = Context::new(Some(root.join("images")), 0).unwrap();
        for name in ["quickstart", "test", "kernel", "upstream"] {
            let file = root.join(format!("matrices/{name}.yaml"));
            let resolved = context.load(&file, &Selection::default()).unwrap().resolved;
            let resolved = resolved.located(&root);
            let text = serde_json::to_string(&resolved).unwrap();
            let read: Resolved = serde_json::from_str(&text).unwrap();
            assert_eq!(read, resolved, "{name}");
        }
    }
}
