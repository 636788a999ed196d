//! `fallout export`: one run in a form that other programs take.

use crate::report;
use crate::store::runs::RunDir;

use super::args::{ExportArgs, ExportFormat};
use super::context::Context;
use super::exit::{Exit, Failure, Outcome};
use super::far::{Far, part};

/// `fallout export`
pub fn run(context: &Context, args: &ExportArgs) -> Outcome {
    let text = match args.format {
        ExportFormat::Asciicast => cast(context, args)?,
        format => {
            if args.cell.is_some() {
                let why = "--cell goes with --format asciicast: the other forms have all cells";
                return Err(Failure::usage(why));
            }
            let whole = super::report::load(context, &args.run, &args.far)?;
            match format {
                ExportFormat::Junit => report::junit::write(&whole).map_err(Failure::internal)?,
                ExportFormat::Tap => report::tap::write(&whole),
                ExportFormat::Jsonl => report::rows::jsonl(&whole).map_err(Failure::internal)?,
                ExportFormat::Csv => report::rows::csv(&whole).map_err(Failure::internal)?,
                _ => report::kcidb::write(&whole, &args.origin),
            }
        }
    };
    match &args.output {
        Some(path) => {
            std::fs::write(path, text).map_err(|e| Failure::host(format!("{path}: {e}")))?;
        }
        None => super::drive::print(&text)?,
    }
    Ok(Exit::Clean)
}

fn cast(context: &Context, args: &ExportArgs) -> Result<String, Failure> {
    if let Some(far) = Far::named(context, &args.far)? {
        let why = "--format asciicast needs --cell";
        let cell = args.cell.as_ref().ok_or_else(|| Failure::usage(why))?;
        let (run, cell) = (far.run(&args.run)?, part(cell));
        return far.text(&format!(
            "/runs/{run}/cells/{cell}/consoles/{}/cast",
            args.guest
        ));
    }
    let run = RunDir::find(context.dirs.runs().as_std_path(), &args.run)?;
    let cells = run.cells()?;
    let listed = || {
        let names: Vec<String> = cells.iter().map(ToString::to_string).collect();
        names.join(", ")
    };
    let Some(cell) = &args.cell else {
        let why = format!("--format asciicast needs --cell, one of: {}", listed());
        return Err(Failure::usage(why));
    };
    if !cells.contains(cell) {
        let why = format!("no cell {cell} in the run; its cells: {}", listed());
        return Err(Failure::usage(why));
    }
    let path = run
        .cell_dir(cell)
        .join(format!("guest-{}.console", args.guest));
    let bytes = std::fs::read(&path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => Failure::usage(format!(
            "no recorded console of guest {} of {cell}: {}",
            args.guest,
            path.display()
        )),
        _ => Failure::host(format!("{}: {e}", path.display())),
    })?;
    // Recordings of older versions have no marks.
    let times = std::fs::read(path.with_extension("times")).unwrap_or_default();
    let marks = report::asciicast::marks(&String::from_utf8_lossy(&times));
    let title = format!("{cell} guest {}", args.guest);
    Ok(report::asciicast::write(&bytes, &marks, &title, None))
}
