//! `fallout flakes`: how often cases come and go over the runs of the state directory.

use crate::model::CellResult;
use crate::store::runs::{self, RunDir};
use crate::verdict::flakes::{Chapter, Flake, Rate, flakes};

use super::args::FlakesArgs;
use super::context::Context;
use super::drive::print;
use super::exit::{Exit, Failure, Outcome};

/// `fallout flakes`
pub fn run(context: &Context, args: &FlakesArgs) -> Outcome {
    let dir = context.dirs.runs();
    let ids = runs::list(dir.as_std_path())?;
    let mut chapters: Vec<(u8, Vec<CellResult>)> = Vec::new();
    for id in ids.iter().skip(ids.len().saturating_sub(args.runs)) {
        let run = RunDir {
            path: dir.join(id).into(),
        };
        let Ok(cells) = run.cells() else {
            // A run that began to be written is no history yet.
            continue;
        };
        let started = jiff::tz::Offset::UTC.to_datetime(run.record()?.started);
        let mut results = Vec::new();
        for cell in cells {
            results.extend(run.cell(&cell)?);
        }
        chapters.push((started.hour().unsigned_abs(), results));
    }
    let history: Vec<Chapter<'_>> = chapters
        .iter()
        .map(|(hour, cells)| Chapter { hour: *hour, cells })
        .collect();
    let mut found = flakes(&history);
    if !args.cases.is_empty() {
        found.retain(|f| args.cases.contains(&f.case));
    }
    if args.json {
        let json = serde_json::json!({"format": 1, "runs": history.len(), "flakes": found});
        print(&serde_json::to_string_pretty(&json).map_err(Failure::internal)?)?;
    } else {
        print(&render(&found, history.len()))?;
    }
    Ok(match found.is_empty() {
        true => Exit::Clean,
        false => Exit::Findings,
    })
}

fn render(flakes: &[Flake], runs: usize) -> String {
    if flakes.is_empty() {
        return format!(
            "no case came and went in {runs} run{}\n",
            if runs == 1 { "" } else { "s" }
        );
    }
    let mut out = String::new();
    for flake in flakes {
        out.push_str(&format!(
            "{} {}: {}\n",
            flake.suite,
            flake.case,
            rate(&flake.rate)
        ));
        for (cell, of) in &flake.cells {
            out.push_str(&format!("    {cell}: {}\n", rate(of)));
        }
        for with in &flake.goes_with {
            out.push_str(&format!(
                "    goes with {}: {}; elsewhere {}\n",
                with.what,
                rate(&with.there),
                rate(&with.elsewhere)
            ));
        }
    }
    out.push_str(&format!("{runs} runs; intervals of 95%\n"));
    out
}

fn rate(rate: &Rate) -> String {
    format!(
        "{} of {} ({:.0}% to {:.0}%)",
        rate.bad,
        rate.total,
        100.0 * rate.low,
        100.0 * rate.high
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::CaseId;
    use crate::verdict::chance::Count;
    use crate::verdict::flakes::GoesWith;

    #[test]
    fn what_the_user_reads() {
        let of = |bad, total| Rate::of(Count { bad, total });
        let flake = Flake {
            suite: "portable".to_owned(),
            case: CaseId::new("upkeep_test", "sweep"),
            rate: of(20, 79),
            cells: vec![("portable/s390x/stock/candidate".to_owned(), of(20, 40))],
            goes_with: vec![GoesWith {
                what: "port s390x".to_owned(),
                there: of(20, 40),
                elsewhere: of(0, 39),
            }],
        };
        insta::assert_snapshot!(render(&[flake], 2), @r"
        portable upkeep_test:sweep: 20 of 79 (17% to 36%)
            portable/s390x/stock/candidate: 20 of 40 (35% to 65%)
            goes with port s390x: 20 of 40 (35% to 65%); elsewhere 0 of 39 (0% to 9%)
        2 runs; intervals of 95%
        ");
        insta::assert_snapshot!(render(&[], 2), @"no case came and went in 2 runs");
    }
}
