//! `fallout matrix check`: everything that is wrong in matrix files, without doing anything.

use std::io::Write as _;

use super::args::{MatrixCommand, Selection};
use super::context::{Context, Loaded};
use super::exit::{Exit, Failure, Outcome};

/// `fallout matrix …`
pub fn run(context: &Context, command: &MatrixCommand) -> Outcome {
    let MatrixCommand::Check { files } = command;
    let mut wrong = Vec::new();
    let mut out = std::io::stdout().lock();
    for file in files {
        match context.load(file, &Selection::default()) {
            Ok(loaded) => writeln!(out, "{file}: {}", summary(&loaded))?,
            Err(failure) if failure.exit == Exit::Usage => wrong.push(failure.message),
            Err(failure) => return Err(failure),
        }
    }
    out.flush()?;
    if wrong.is_empty() {
        Ok(Exit::Clean)
    } else {
        Err(Failure::usage(wrong.join("\n")))
    }
}

fn summary(loaded: &Loaded) -> String {
    let resolved = &loaded.resolved;
    let cells: usize = resolved
        .suites
        .iter()
        .map(|s| s.points.len() * s.sides().len())
        .sum();
    let count = |n: usize, what: &str| match n {
        1 => format!("1 {what}"),
        n => format!("{n} {what}s"),
    };
    format!(
        "{}, {}, {}",
        count(resolved.suites.len(), "suite"),
        count(resolved.ports.len(), "port"),
        count(cells, "cell")
    )
}
