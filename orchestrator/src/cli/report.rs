//! `fallout report`: one run in one format.

use crate::report;
use crate::store::runs::RunDir;

use super::args::{FarArgs, ReportArgs, ReportFormat};
use super::context::Context;
use super::exit::{Exit, Failure, Outcome};
use super::far::Far;

/// `fallout report`
pub fn run(context: &Context, args: &ReportArgs) -> Outcome {
    let report = load(context, &args.run, &args.far)?;
    let text = match args.format {
        ReportFormat::Html => report::html::render(&report).map_err(Failure::internal)?,
        ReportFormat::Json => report::json::write(&report).map_err(Failure::internal)?,
        ReportFormat::Junit => report::junit::write(&report).map_err(Failure::internal)?,
        ReportFormat::Tap => report::tap::write(&report),
    };
    match &args.output {
        Some(path) => {
            std::fs::write(path, text).map_err(|e| Failure::host(format!("{path}: {e}")))?;
        }
        None => super::drive::print(&text)?,
    }
    Ok(Exit::Clean)
}

/// The report of a run that has ended: of this machine, or of a daemon that the user names.
pub fn load(context: &Context, name: &str, far: &FarArgs) -> Result<report::RunReport, Failure> {
    if let Some(far) = Far::named(context, far)? {
        let path = format!("/runs/{}/report", far.run(name)?);
        let text = far.text(&path)?;
        return report::json::read(&text).map_err(|e| Failure::host(format!("{path}: {e}")));
    }
    let run = RunDir::find(context.dirs.runs().as_std_path(), name)?;
    let report = report::json::of_run(&run.path).map_err(Failure::host)?;
    report.ok_or_else(|| {
        let id = run.path.file_name().unwrap_or_default().to_string_lossy();
        Failure::usage(format!(
            "run {id} has no verdict yet: it is under way or was killed ('fallout resume {id}' goes on)"
        ))
    })
}
