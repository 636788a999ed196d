//! A failure of a run, as several commands take it: `RUN PROGRAM:CASE@PORT`.

use std::time::Duration;

use camino::Utf8PathBuf;

use crate::engine::{Memory, Setup, baseline, bisect};
use crate::model::{Attempt, CaseId, CellResult, Side, StageResult};
use crate::plan::Work;
use crate::store::runs::RunDir;
use crate::verdict::chance::Count;

use super::args::{FailureArgs, Selection};
use super::context::Context;
use super::exit::Failure;

/// A failure with all that belongs to it.
pub struct Subject {
    /// The run.
    pub run: RunDir,
    /// The cell of the failure.
    pub cell: CellResult,
    /// The case.
    pub case: CaseId,
    /// The matrix as it is now, restricted to the cell's suite and port.
    pub setup: Setup,
    /// Whether source, image and emulator are as they were.
    pub unchanged: bool,
}

impl Subject {
    /// The case's first bad attempt.
    pub fn bad(&self) -> Option<&Attempt> {
        bisect::first_bad(&self.cell, &self.case)
    }

    /// Bad attempts and all that say anything.
    pub fn count(&self) -> Count {
        bisect::count(&self.cell, &self.case)
    }
}

/// Finds a failure that has to be one: a case that did not end badly has nothing to search for, for
/// which `nothing` is said.
pub fn find_bad(
    context: &Context,
    about: &FailureArgs,
    side: Side,
    nothing: &str,
) -> Result<(Subject, Attempt), Failure> {
    let subject = find(context, about, side)?;
    let FailureArgs { run, failure, .. } = about;
    let bad = subject.bad().cloned().ok_or_else(|| {
        Failure::usage(format!(
            "{} did not fail on {} in run {run}: {nothing}",
            failure.case, failure.port
        ))
    })?;
    Ok((subject, bad))
}

/// Finds a failure. Where several suites have the case, one in which it ended badly; a cell that
/// did not build has every case.
pub fn find(context: &Context, about: &FailureArgs, side: Side) -> Result<Subject, Failure> {
    let (run, failure, suite) = (&about.run, &about.failure, about.suite.as_deref());
    let dir = RunDir::find(context.dirs.runs().as_std_path(), run)?;
    let record = dir.own_record()?;
    let mut found: Vec<(u8, CellResult)> = Vec::new();
    for id in dir.cells()? {
        let wanted =
            id.port == failure.port && id.side == side && suite.is_none_or(|s| s == id.suite);
        let Some(cell) = wanted.then(|| dir.cell(&id)).transpose()?.flatten() else {
            continue;
        };
        let seen = bisect::count(&cell, &failure.case);
        let there = cell.attempts.iter().any(|a| a.case == failure.case);
        match (seen.bad > 0, there, cell.stage) {
            (true, _, _) => found.push((0, cell)),
            (false, true, _) => found.push((1, cell)),
            (false, false, StageResult::BuildFailed) => found.push((2, cell)),
            _ => {}
        }
    }
    found.sort_by_key(|(rank, _)| *rank);
    let Some((_, cell)) = found.into_iter().next() else {
        return Err(Failure::usage(format!(
            "run {run} has no case {} on port {} ({side} side): see 'fallout show {run}'",
            failure.case, failure.port
        )));
    };
    let matrix = Utf8PathBuf::from_path_buf(record.matrix_path)
        .map_err(|p| Failure::usage(format!("{}: not a UTF-8 path", p.display())))?;
    let only = Selection {
        ports: vec![cell.id.port.0.clone()],
        suites: vec![cell.id.suite.clone()],
        release: record.release.clone(),
    };
    let mut setup = super::run::setup(context, &matrix, &only, false, None)?;
    baseline::prepare(&mut setup, &record.baselines);
    context.dirs.make_runtime()?;
    let plan = setup.plan(&Memory::load(&setup.dirs))?;
    let now = plan
        .find(&Work::Cell(cell.id.clone()).to_string())
        .and_then(|ix| plan.jobs[ix].key.clone());
    let unchanged = now.as_ref() == Some(&cell.key);
    if !unchanged {
        eprintln!(
            "note: source, image or emulator have changed since that run; what is here now is tried"
        );
    }
    Ok(Subject {
        run: dir,
        case: failure.case.clone(),
        setup,
        unchanged,
        cell,
    })
}

/// A runtime for work with guests.
pub fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| Failure::host(format!("cannot start the runtime: {e}")))
}

/// A runtime for a question or two.
pub fn one_thread() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::host(format!("cannot start the runtime: {e}")))
}

/// Waits for work that Ctrl-C may end; guests end with it.
pub fn until_interrupted<T>(
    runtime: tokio::runtime::Runtime,
    work: impl Future<Output = T>,
) -> Option<T> {
    let done = runtime.block_on(async {
        tokio::select! {
            done = work => Some(done),
            _ = tokio::signal::ctrl_c() => None,
        }
    });
    runtime.shutdown_timeout(Duration::from_secs(2));
    done
}
