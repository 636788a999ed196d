//! `fallout history`: how a case did in all runs, or what is unsteady over all of them.
//!
//! The index is brought up to date with the runs' logs first, so the answer is about what is there
//! now; a run that is under way counts as far as it is.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::host::text;
use crate::model::CaseId;
use crate::model::problem::did_you_mean;
use crate::store::index::{CrashCause, Index};

use super::args::HistoryArgs;
use super::context::Context;
use super::drive::print;
use super::exit::{Exit, Failure, Outcome};
use super::failure;

/// Characters of a guest's text on one line.
const WIDE: usize = 160;

/// Groups, cases and ports that are listed at most.
const LISTED: u32 = 30;

/// `fallout history`
pub fn run(context: &Context, args: &HistoryArgs) -> Outcome {
    let runtime = failure::one_thread()?;
    let shown = runtime.block_on(async {
        let index = Index::open(context.dirs.state.join("index.sqlite").as_std_path()).await?;
        let runs = context.dirs.runs();
        let (_, trouble) = index.catch_up(runs.as_std_path()).await?;
        for line in trouble {
            eprintln!("left out: run {}", text::line(line.as_bytes(), 400));
        }
        let shown = match &args.case {
            Some(case) => one(&index, case, args).await,
            None => all(&index, args.json).await,
        };
        index.close().await;
        shown
    })?;
    print(&shown)?;
    Ok(Exit::Clean)
}

fn clean(guest: &str) -> String {
    text::line(guest.as_bytes(), WIDE)
}

/// A run by the end of its name, by which it can be found, and its day.
fn seen(run: &str, started: jiff::Timestamp) -> String {
    let short = run.get(run.len().saturating_sub(12)..).unwrap_or(run);
    format!("{} in {}", started.strftime("%F"), clean(short))
}

async fn one(index: &Index, case: &CaseId, args: &HistoryArgs) -> Result<String, Failure> {
    let port = args.port.as_deref();
    let Some(rows) = index.history(case, port, None, args.limit).await? else {
        let known = index.cases("", None, 5000).await?;
        let known: Vec<String> = known.iter().map(|c| c.case.to_string()).collect();
        let near = did_you_mean(&case.to_string(), known.iter().map(String::as_str));
        let near = near.map_or(String::new(), |n| format!("; {n}"));
        return Err(Failure::usage(format!("no run has a case {case}{near}")));
    };
    let mut rates = index.rates(case).await?;
    rates.retain(|r| port.is_none_or(|p| r.port.as_str() == p));
    let findings = index.findings_of(case, 5).await?;
    if args.json {
        let all = serde_json::json!({"case": case, "rates": rates, "findings": findings,
            "attempts": rows});
        return serde_json::to_string_pretty(&all).map_err(Failure::internal);
    }
    let mut out = format!("{}\n", clean(&case.to_string()));
    for finding in &findings {
        let _ = writeln!(out, "  {}: {}", finding.run, clean(&finding.sentence));
    }
    out.push_str("\nby port, newest attempts:\n");
    for rate in &rates {
        let mixed = match rate.mixed {
            0 => String::new(),
            n => format!(", both ways in {n} of {} cells", rate.cells),
        };
        let _ = writeln!(
            out,
            "  {:<12} {:<12} {} of {} bad{mixed}",
            rate.suite, rate.port, rate.bad, rate.attempts
        );
    }
    out.push_str("\nattempts, newest cells first:\n");
    for row in &rows {
        let revision = row.revision.as_deref().unwrap_or("-");
        let reason = row
            .reason
            .as_deref()
            .map_or(String::new(), |r| format!("  {}", clean(r)));
        let uncounted = if row.counted { "" } else { " (does not count)" };
        let _ = writeln!(
            out,
            "  {} {:.12} {:<10} {:<9} pass {} {}{uncounted}{reason}",
            row.started.strftime("%F %R"),
            revision,
            row.port,
            row.side,
            row.pass,
            row.outcome,
        );
    }
    Ok(out)
}

async fn all(index: &Index, json: bool) -> Result<String, Failure> {
    let flakes = index.flakes(LISTED).await?;
    let panics = index.crash_groups(None, LISTED).await?;
    let ports = index.ports().await?;
    let mut causes: BTreeMap<String, Vec<CrashCause>> = BTreeMap::new();
    for group in &panics {
        let found = index.crash_causes(&group.signature, LISTED).await?;
        causes.insert(group.signature.clone(), found);
    }
    if json {
        let all = serde_json::json!({"flakes": flakes, "panics": panics, "causes": causes,
            "ports": ports});
        return serde_json::to_string_pretty(&all).map_err(Failure::internal);
    }
    let mut out = String::from("cases that went both ways within a cell:\n");
    for flake in &flakes {
        let _ = writeln!(
            out,
            "  {:>4} cells, {} of {} bad  {}",
            flake.cells,
            flake.bad,
            flake.total,
            clean(&flake.case.to_string())
        );
    }
    out.push_str("\nkernels that died or hung, by signature:\n");
    for group in &panics {
        let ports: Vec<&str> = group.ports.iter().map(|p| p.as_str()).collect();
        let _ = writeln!(
            out,
            "  {:>4}  {:<12} {}  on {}",
            group.count,
            group.signature,
            clean(&group.title),
            ports.join(", ")
        );
        for cause in causes.get(&group.signature).into_iter().flatten() {
            let what = match &cause.blamed {
                Some(case) => clean(&case.to_string()),
                None => format!("no case of {}", clean(&cause.suite)),
            };
            let ports: Vec<&str> = cause.ports.iter().map(|p| p.as_str()).collect();
            let _ = writeln!(
                out,
                "        {:>4}  blamed on {what}, on {}: first {}, last {}",
                cause.count,
                ports.join(", "),
                seen(&cause.first_run, cause.first),
                seen(&cause.last_run, cause.last),
            );
        }
    }
    out.push_str("\nports, newest cells that were executed:\n");
    for port in &ports {
        let boot = port.boot_ms.map_or(String::new(), |ms| {
            format!(", boots in {:.1} s", ms / 1000.0)
        });
        let _ = writeln!(
            out,
            "  {:<12} {} of {} cells complete, {} by the host's fault, {} crashes{boot}",
            port.port, port.complete, port.cells, port.host_faults, port.crashes
        );
    }
    Ok(out)
}
