//! `fallout repro`: restores or boots the very guest of a failure and leaves the user in its shell.

use camino::Utf8PathBuf;

use crate::engine::{self, bus::Bus};
use crate::guest::rundir;
use crate::model::outcome::Sense;
use crate::model::{CameUp, CellResult, Side};
use crate::store::runs::RunDir;
use crate::suite::Runner;

use super::args::{ReproArgs, Selection};
use super::context::Context;
use super::exit::{Exit, Failure, Outcome};
use super::failure;

/// `fallout repro`
pub fn run(context: &Context, args: &ReproArgs) -> Outcome {
    let run = RunDir::find(context.dirs.runs().as_std_path(), &args.run)?;
    let record = run.own_record()?;
    let side = Side::from(args.side);
    let result = find(&run, args, side)?;
    let matrix = Utf8PathBuf::from_path_buf(record.matrix_path)
        .map_err(|p| Failure::usage(format!("{}: not a UTF-8 path", p.display())))?;
    let only = Selection {
        ports: vec![result.id.port.0.clone()],
        suites: vec![result.id.suite.clone()],
        release: record.release.clone(),
    };
    let setup = super::run::setup(context, &matrix, &only, false, None)?;
    context.dirs.make_runtime()?;
    let runtime = failure::runtime()?;
    let scratch = tempfile::tempdir().map_err(|e| Failure::host(e.to_string()))?;
    eprintln!("bringing the guest of {} up …", result.id);
    let ready = runtime.block_on(engine::repro::boot(
        &setup,
        &result.id,
        &Bus::unlogged(),
        &scratch.path().join("console"),
    ))?;
    if let CameUp::Restored { .. } = ready.came_up {
        // Its shell wrote its prompt before it was saved: it is asked for another one.
        runtime.block_on(ready.guest.console().type_keys(b"\n"));
    }
    if ready.key.as_ref() != Some(&result.key) {
        eprintln!(
            "note: source, image or emulator have changed since; this guest is made of what is here now"
        );
    }
    let pid = ready.guest.pid();
    let live = rundir::live(context.dirs.runtime.as_std_path());
    let socket = live
        .iter()
        .find(|l| l.record.pid == pid)
        .map(|l| l.console.clone())
        .ok_or_else(|| Failure::host("the guest is gone"))?;
    let case = &args.failure.case;
    let program = format!("{}/{}", ready.cases_root, case.program);
    let dir = program.rsplit_once('/').map_or(".", |(dir, _)| dir);
    eprintln!(
        "{}\nrun the case by itself, or as it was run (a case wants an empty directory to be its own):",
        ready.guest.kernel(),
    );
    eprintln!(
        "  mkdir -p /tmp/d && cd /tmp/d && {program} -s {dir} {}",
        case.case
    );
    if ready.runner == Runner::Kyua {
        let root = &ready.cases_root;
        eprintln!("  cd {root} && kyua debug {case}");
    }
    if let Some(size) = super::attach::size_command() {
        eprintln!("tell the guest how large this terminal is: {size}");
    }
    let attached = super::attach::attach(&socket);
    runtime.block_on(ready.guest.end(false));
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    attached?;
    Ok(Exit::Clean)
}

/// The cell of the failure; where several suites have the case, one in which it ended badly.
fn find(run: &RunDir, args: &ReproArgs, side: Side) -> Result<CellResult, Failure> {
    let mut found: Vec<(bool, CellResult)> = Vec::new();
    for id in run.cells()? {
        let wanted = id.port == args.failure.port
            && id.side == side
            && args.suite.as_ref().is_none_or(|s| *s == id.suite);
        if !wanted {
            continue;
        }
        let Some(result) = run.cell(&id)? else {
            continue;
        };
        let of_case = || {
            result
                .attempts
                .iter()
                .filter(|a| a.case == args.failure.case)
        };
        if of_case().next().is_some() {
            let bad = of_case().any(|a| a.outcome.sense() == Sense::Bad);
            found.push((bad, result));
        }
    }
    found.sort_by_key(|(bad, _)| !bad);
    found
        .into_iter()
        .next()
        .map(|(_, result)| result)
        .ok_or_else(|| {
            Failure::usage(format!(
                "run {} has no case {} on port {} ({side} side): see 'fallout show {}'",
                args.run, args.failure.case, args.failure.port, args.run
            ))
        })
}
