//! `fallout console`: attaches to a live guest, or prints the recorded console of a dead one.

use crate::guest::rundir;
use crate::host::text;
use crate::model::CellId;
use crate::store::runs::RunDir;

use super::args::ConsoleArgs;
use super::context::Context;
use super::drive::print;
use super::exit::{Exit, Failure, Outcome};
use super::far::{Far, part};

/// Lines of a recorded console that are printed at most.
const LINES: usize = 100_000;

/// `fallout console`
pub fn run(context: &Context, args: &ConsoleArgs) -> Outcome {
    let (name, cell) = args.target();
    let id: CellId = cell.parse().map_err(Failure::usage)?;
    if let Some(far) = Far::named(context, &args.far)? {
        return recorded(&far, name, &id);
    }
    let run = RunDir::find(context.dirs.runs().as_std_path(), name)?;
    let record = run.record()?;
    let label = format!("{} {id}", record.id);
    let live = rundir::live(context.dirs.runtime.as_std_path());
    if let Some(guest) = live.iter().find(|l| l.record.label.starts_with(&label)) {
        super::attach::attach(&guest.console)?;
        return Ok(Exit::Clean);
    }
    let cells = run.cells()?;
    if !cells.contains(&id) {
        let known: Vec<String> = cells.iter().map(CellId::to_string).collect();
        let near = crate::model::problem::did_you_mean(cell, known.iter().map(String::as_str));
        return Err(Failure::usage(format!(
            "run {} has no cell {id}{}",
            record.id,
            near.map_or(String::new(), |n| format!("; {n}"))
        )));
    }
    // No live guest: what was recorded, made harmless for a terminal.
    let dir = run.cell_dir(&id);
    let mut shown = false;
    for number in 1.. {
        let Ok(bytes) = std::fs::read(dir.join(format!("guest-{number}.console"))) else {
            break;
        };
        shown = true;
        eprintln!("{id}: guest {number}, recorded, {} bytes", bytes.len());
        print(&text::head(&bytes, LINES, 1000).join("\n"))?;
    }
    if !shown {
        return Err(Failure::usage(format!(
            "{id} has no live guest and no recorded console in run {}",
            record.id
        )));
    }
    Ok(Exit::Clean)
}

/// What a daemon has recorded. Nobody attaches to a guest of another machine: its page is live.
fn recorded(far: &Far, name: &str, id: &CellId) -> Outcome {
    let run = far.run(name)?;
    for number in 1.. {
        let path = format!("/runs/{run}/cells/{}/consoles/{number}", part(id));
        match far.text(&path) {
            Ok(text) => {
                eprintln!("{id}: guest {number}");
                print(&text::head(text.as_bytes(), LINES, 1000).join("\n"))?;
            }
            // Numbers have no gaps: the first that is not there is behind the last.
            Err(why) if number == 1 => return Err(why),
            Err(_) => break,
        }
    }
    Ok(Exit::Clean)
}
