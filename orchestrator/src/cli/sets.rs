//! `fallout sets check|propose`: a tree's set lists against what builds of it installed.

use std::collections::BTreeSet;
use std::io::Write as _;

use camino::Utf8Path;

use super::args::{SetsArgs, SetsCommand};
use super::context::Context;
use super::exit::{Exit, Failure, Outcome};
use crate::build::sets::{self, Lists, Machine, Mismatch, Wanted};
use crate::build::{BuildError, compat, sets_tree};
use crate::host::{files, text};

/// `fallout sets …`
pub fn run(_context: &Context, command: &SetsCommand) -> Outcome {
    match command {
        SetsCommand::Check(args) => check(args),
        SetsCommand::Propose { on, log, output } => propose(on, log.as_deref(), output.as_deref()),
    }
}

fn failed(error: BuildError) -> Failure {
    match error {
        BuildError::Host { .. } => Failure::usage(error),
        other => Failure::host(other),
    }
}

/// The lists, and each port with what it installed.
fn load(args: &SetsArgs) -> Result<(Lists, Vec<Wanted>), Failure> {
    if args.ports.len() != args.destdirs.len() {
        return Err(Failure::usage(format!(
            "{} ports and {} DESTDIRs: expected one --destdir for each --port, in the same order",
            args.ports.len(),
            args.destdirs.len()
        )));
    }
    let lists = sets_tree::lists(&args.tree).map_err(failed)?;
    let build_sh = sets_tree::text(&args.tree.join("build.sh")).map_err(failed)?;
    let mut ports = Vec::new();
    for (name, destdir) in args.ports.iter().zip(&args.destdirs) {
        let port =
            Machine::of(name, &build_sh).map_err(|why| Failure::usage(format!("--port: {why}")))?;
        let files = sets_tree::files(destdir).map_err(failed)?;
        ports.push(Wanted {
            port,
            mismatch: Mismatch::default(),
            files,
        });
    }
    Ok((lists, ports))
}

fn own_check(lists: &Lists, wanted: &Wanted) -> Mismatch {
    let on = sets::infer(lists, &wanted.port, &wanted.files);
    sets::check(lists, &wanted.port, &wanted.files, &on)
}

fn check(args: &SetsArgs) -> Outcome {
    let (lists, ports) = load(args)?;
    let mut out = std::io::stdout().lock();
    let mut clean = true;
    for (wanted, destdir) in ports.iter().zip(&args.destdirs) {
        for compat in compat::check(&args.tree, &wanted.port, destdir).map_err(failed)? {
            let name = &wanted.port.port;
            clean &= compat.problems.is_empty();
            for problem in &compat.problems {
                writeln!(out, "{name}: {} {problem}", compat.dir)?;
            }
            if let (Some((abi, files)), true) = (compat.made_for, compat.problems.is_empty()) {
                writeln!(out, "{name}: {}: {files} files for {abi}", compat.dir)?;
            }
        }
        let found = own_check(&lists, wanted);
        clean &= found.is_empty();
        let name = &wanted.port.port;
        block(&mut out, name, "in DESTDIR, in no list", &found.extra)?;
        block(&mut out, name, "in a list, not in DESTDIR", &found.missing)?;
        if found.is_empty() {
            writeln!(
                out,
                "{name}: {} paths, as the lists say",
                wanted.files.len()
            )?;
        }
    }
    out.flush()?;
    Ok(if clean { Exit::Clean } else { Exit::Findings })
}

fn block(
    out: &mut impl std::io::Write,
    port: &str,
    what: &str,
    paths: &BTreeSet<String>,
) -> std::io::Result<()> {
    if paths.is_empty() {
        return Ok(());
    }
    writeln!(out, "{port}: {} {what}:", paths.len())?;
    for path in paths {
        writeln!(out, "  {}", text::line(path.as_bytes(), 300))?;
    }
    Ok(())
}

fn propose(args: &SetsArgs, log: Option<&Utf8Path>, output: Option<&Utf8Path>) -> Outcome {
    let (lists, mut ports) = load(args)?;
    if log.is_some() && ports.len() > 1 {
        return Err(Failure::usage(
            "--log belongs to one build: expected one --port with it",
        ));
    }
    let mut err = std::io::stderr().lock();
    for (wanted, destdir) in ports.iter_mut().zip(&args.destdirs) {
        let mut left = sets_tree::reported(destdir).map_err(failed)?;
        // What a check of other lists has left stays in DESTDIR.
        if left.is_some() && sets_tree::is_older(destdir, &args.tree).map_err(failed)? {
            left = None;
            writeln!(
                err,
                "{}: the lists are newer than SETS.* in DESTDIR: compared anew",
                wanted.port.port
            )?;
        }
        let reported = match (left, log) {
            (Some(reported), _) => Some(reported),
            (None, Some(log)) => {
                let said = sets_tree::text(log).map_err(failed)?;
                Some(sets::read_console(&said))
            }
            (None, None) => None,
        };
        wanted.mismatch = match reported {
            Some(reported) => {
                let metalog = &reported.metalog;
                let differ = metalog.extra.len() + metalog.missing.len();
                if differ > 0 {
                    writeln!(
                        err,
                        "{}: METALOG and DESTDIR differ in {differ} paths: a makefile's affair, which no list mends",
                        wanted.port.port
                    )?;
                }
                reported.sets
            }
            None => own_check(&lists, wanted),
        };
    }
    let proposal = sets::propose(&lists, &ports);
    for change in &proposal.changes {
        writeln!(err, "{}", text::line(change.to_string().as_bytes(), 500))?;
    }
    for path in &proposal.unknown {
        let path = text::line(path.as_bytes(), 300);
        writeln!(
            err,
            "{path}: nothing in the lists is like it: not in the patch"
        )?;
    }
    for (port, left) in &proposal.left {
        let left = left.extra.len() + left.missing.len();
        writeln!(err, "{port}: {left} paths differ still with this patch")?;
    }
    if proposal.left.is_empty() && !proposal.changes.is_empty() {
        let names: Vec<&str> = ports.iter().map(|p| p.port.port.as_str()).collect();
        writeln!(
            err,
            "with this patch the check passes on {}",
            names.join(", ")
        )?;
    }
    match output {
        Some(path) => files::write_atomic(path, proposal.patch.as_bytes())
            .map_err(|e| Failure::host(e.to_string()))?,
        None => {
            let mut out = std::io::stdout().lock();
            out.write_all(proposal.patch.as_bytes())?;
            out.flush()?;
        }
    }
    let clean = proposal.changes.is_empty() && proposal.unknown.is_empty();
    Ok(if clean { Exit::Clean } else { Exit::Findings })
}
