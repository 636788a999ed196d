//! `fallout import`: results of runs that were made elsewhere become a run like the others.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::engine::import::{Import, Taken, import};
use crate::host::text;
use crate::model::PortName;
use crate::model::problem::did_you_mean;
use crate::report;
use crate::suite::foreign::Kind;

use super::args::{ImportArgs, ImportFormat};
use super::context::Context;
use super::drive::{print, style};
use super::exit::{Exit, Failure, Outcome};
use super::failure;

/// `fallout import`
pub fn run(context: &Context, args: &ImportArgs) -> Outcome {
    let images = context.images_dir(None)?;
    let ports = context.ports(&images)?;
    let names: Vec<&str> = ports.iter().map(|p| p.port.as_str()).collect();
    let mut files: BTreeMap<PortName, Vec<PathBuf>> = BTreeMap::new();
    for word in &args.files {
        let (port, file) = match (&args.port, word.split_once('=')) {
            (Some(port), _) => (port.as_str(), word.as_str()),
            (None, Some(parts)) => parts,
            (None, None) => {
                return Err(Failure::usage(format!(
                    "'{word}': which port? expected PORT=FILE, or --port PORT"
                )));
            }
        };
        if !args.unknown_port && !names.contains(&port) {
            let near = did_you_mean(port, names.iter().copied());
            let near = near.map_or(String::new(), |n| format!("; {n}"));
            return Err(Failure::usage(format!(
                "no port '{port}' in {images}{near} (--unknown-port takes one without a manifest, \
                 whose traits then explain nothing)"
            )));
        }
        files.entry(port.into()).or_default().push(file.into());
    }
    for (what, name) in [("--suite", &args.suite), ("--variant", &args.variant)]
        .into_iter()
        .chain(files.keys().map(|p| ("port", &p.0)))
    {
        if name.is_empty() || name.contains(['/', '+']) || name.starts_with('.') {
            return Err(Failure::usage(format!(
                "{what} '{name}': expected a name without / and +"
            )));
        }
    }
    let line = |word: &String| text::line(word.as_bytes(), 200);
    let order = Import {
        matrix: line(&args.matrix),
        suite: line(&args.suite),
        variant: line(&args.variant),
        revision: args.revision.as_ref().map(line),
        host: line(&args.host),
        accelerator: line(&args.accelerator),
        kernel: args.kernel.as_ref().map(line),
        kind: args.format.map(|f| match f {
            ImportFormat::Kyua => Kind::Kyua,
            ImportFormat::Tps => Kind::Tps,
            ImportFormat::Junit => Kind::Junit,
        }),
        files,
        traits: ports
            .iter()
            .map(|p| (p.port.clone(), p.traits.clone()))
            .collect(),
        now: jiff::Timestamp::now(),
        again: args.again,
    };
    let runtime = failure::one_thread()?;
    let (state, runs) = (&context.dirs.state, context.dirs.runs());
    let taken = runtime.block_on(import(state.as_std_path(), runs.as_std_path(), &order));
    let Taken { report, run } = taken?;
    if args.json {
        print(&report::json::write(&report).map_err(Failure::internal)?)?;
    } else {
        let page = run.path.join("report.html").display().to_string();
        print(&report::terminal::render(&report, &style(), Some(&page)))?;
    }
    Ok(match report.verdict.is_clean() {
        true => Exit::Clean,
        false => Exit::Findings,
    })
}
