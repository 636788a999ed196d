//! `fallout show`: a run's verdict again, or everything about some of its cases.

use serde_json::Value;

use crate::host::text;
use crate::model::CaseId;
use crate::model::problem::did_you_mean;
use crate::report::{self, RunReport, duration_words};
use crate::store::runs::RunDir;

use super::args::ShowArgs;
use super::context::Context;
use super::drive::{print, style};
use super::exit::{Exit, Failure, Outcome};
use super::far::Far;

/// Lines of a case's output that are shown.
const OUTPUT_LINES: usize = 20;

/// `fallout show`
pub fn run(context: &Context, args: &ShowArgs) -> Outcome {
    let report = super::report::load(context, &args.run, &args.far)?;
    if args.cases.is_empty() {
        if args.json {
            print(&report::json::write(&report).map_err(Failure::internal)?)?;
        } else {
            let (page, found) = match Far::named(context, &args.far)? {
                Some(far) => {
                    let jobs = far.get(&format!("/runs/{}/searches", report.run))?;
                    let jobs = jobs["items"].as_array().cloned().unwrap_or_default();
                    let note = |job: &Value| job["note"].as_str().map(str::to_owned);
                    let over = jobs.iter().filter(|job| job["state"] == "done");
                    let page = format!("{}/runs/{}", far.url(), report.run);
                    (Some(page), over.filter_map(note).collect())
                }
                None => {
                    let run = RunDir::find(context.dirs.runs().as_std_path(), &args.run)?;
                    let page = run.path.join("report.html");
                    let sentence = |s: &Value| s["sentence"].as_str().map(str::to_owned);
                    let found: Vec<String> = run.searches().iter().filter_map(sentence).collect();
                    (page.exists().then(|| page.display().to_string()), found)
                }
            };
            let text = report::terminal::render(&report, &style(), page.as_deref());
            print(&(text + &brought(&found)))?;
        }
        return Ok(Exit::Clean);
    }
    for case in &args.cases {
        if !has(&report, case) {
            let names: std::collections::BTreeSet<String> = report
                .cells
                .iter()
                .flat_map(|c| c.attempts.iter().map(|a| a.case.to_string()))
                .collect();
            let near = did_you_mean(&case.to_string(), names.iter().map(String::as_str));
            return Err(Failure::usage(format!(
                "run {} has no case {case}{}",
                report.run,
                near.map_or(String::new(), |n| format!("; {n}"))
            )));
        }
    }
    if args.json {
        let rows: Vec<_> = report
            .cells
            .iter()
            .flat_map(|cell| {
                cell.attempts
                    .iter()
                    .filter(|a| args.cases.contains(&a.case))
                    .map(|a| serde_json::json!({"cell": cell.id, "attempt": a}))
            })
            .collect();
        print(&serde_json::to_string_pretty(&rows).map_err(Failure::internal)?)?;
        return Ok(Exit::Clean);
    }
    for case in &args.cases {
        print(&about(&report, case))?;
    }
    Ok(Exit::Clean)
}

/// Which commits brought what the run found, as far as the daemon has looked for it.
fn brought(sentences: &[String]) -> String {
    let lines: Vec<String> = sentences
        .iter()
        .map(|s| format!("  {}\n", text::line(s.as_bytes(), 400)))
        .collect();
    match lines.is_empty() {
        true => String::new(),
        false => format!("\nWhich commit brought it\n{}", lines.concat()),
    }
}

fn has(report: &RunReport, case: &CaseId) -> bool {
    report
        .cells
        .iter()
        .any(|cell| cell.attempts.iter().any(|a| a.case == *case))
}

/// Everything about one case.
fn about(report: &RunReport, case: &CaseId) -> String {
    let mut out = format!("{case}\n");
    for finding in &report.verdict.findings {
        if finding.case.as_ref() == Some(case) {
            out.push_str(&format!("  {}\n", finding.sentence));
        }
    }
    for cell in &report.cells {
        for attempt in cell.attempts.iter().filter(|a| a.case == *case) {
            out.push_str(&format!(
                "  {} pass {} guest {}: {}{}{}\n",
                cell.id,
                attempt.pass,
                attempt.guest,
                attempt.outcome,
                attempt
                    .duration
                    .map_or(String::new(), |d| format!(" in {}", duration_words(d))),
                attempt.reason.as_ref().map_or(String::new(), |r| format!(
                    ": {}",
                    text::line(r.as_bytes(), 300)
                )),
            ));
            if let Some(output) = &attempt.output {
                for line in text::tail(output.as_bytes(), OUTPUT_LINES, 160) {
                    out.push_str(&format!("      | {line}\n"));
                }
            }
        }
    }
    out
}
