//! `fallout flakes`: how often cases come and go over the runs of the state directory, what that goes
//! with, and who answers for it.

use std::fmt::Write as _;

use camino::{Utf8Path, Utf8PathBuf};
use jiff::civil::Date;

use crate::host::yaml;
use crate::model::CellResult;
use crate::model::known::{KnownFlake, Registry};
use crate::plan::Matrix;
use crate::store::runs::{self, RunDir, RunRecord};
use crate::verdict::flakes::{Chapter, Flake, Rate, flakes};
use crate::verdict::known::{self, Standing, answers_for, standings};

use super::args::FlakesArgs;
use super::context::Context;
use super::drive::print;
use super::exit::{Exit, Failure, Outcome};

/// Other names of one circumstance that are told.
const NAMES: usize = 3;

/// `fallout flakes`
pub fn run(context: &Context, args: &FlakesArgs) -> Outcome {
    let dir = context.dirs.runs();
    let ids = runs::list(dir.as_std_path())?;
    let mut chapters: Vec<(u8, Vec<CellResult>)> = Vec::new();
    let mut newest: Option<RunRecord> = None;
    for id in ids.iter().skip(ids.len().saturating_sub(args.runs)) {
        let run = RunDir {
            path: dir.join(id).into(),
        };
        let Ok(cells) = run.cells() else {
            // A run that began to be written is no history yet.
            continue;
        };
        let record = run.record()?;
        let started = jiff::tz::Offset::UTC.to_datetime(record.started);
        let mut results = Vec::new();
        for cell in cells {
            results.extend(run.cell(&cell)?);
        }
        chapters.push((started.hour().unsigned_abs(), results));
        newest = Some(record);
    }
    let history: Vec<Chapter<'_>> = chapters
        .iter()
        .map(|(hour, cells)| Chapter { hour: *hour, cells })
        .collect();
    let registry = registry(args.known.as_deref(), newest.as_ref())?;
    let now = jiff::Timestamp::now();
    let today = jiff::tz::Offset::UTC.to_datetime(now).date();
    let mut found = flakes(&history);
    let mut standings = match &registry {
        Some(registry) => standings(registry, &history, today),
        None => Vec::new(),
    };
    if !args.cases.is_empty() {
        found.retain(|f| args.cases.contains(&f.case));
        standings.clear();
    }
    let told = Told {
        flakes: found,
        registry: registry.as_ref(),
        standings: &standings,
        runs: history.len(),
        today,
    };
    if args.json {
        print(&serde_json::to_string_pretty(&told.json()).map_err(Failure::internal)?)?;
    } else {
        print(&told.render())?;
    }
    let complaints = standings.iter().any(|s| s.complaint().is_some());
    let news = told.flakes.iter().any(|f| told.owner(f).is_none());
    Ok(match news || complaints {
        false => Exit::Clean,
        true => Exit::Findings,
    })
}

/// The registry that was named, or that of the newest run's matrix; of the latter what cannot be read is
/// none.
fn registry(
    named: Option<&Utf8Path>,
    newest: Option<&RunRecord>,
) -> Result<Option<Registry>, Failure> {
    if let Some(file) = named {
        let read = yaml::read::<Registry>(file, Registry::check);
        return Ok(Some(read.map_err(Failure::from)?.value));
    }
    let of_matrix = || {
        let path = Utf8PathBuf::from_path_buf(newest?.matrix_path.clone()).ok()?;
        let matrix: Matrix = serde_yaml::from_str(&std::fs::read_to_string(&path).ok()?).ok()?;
        let file = path.parent()?.join(matrix.known_flakes?);
        let read = yaml::read::<Registry>(&file, Registry::check).ok()?;
        Some(read.value)
    };
    Ok(of_matrix())
}

struct Told<'a> {
    flakes: Vec<Flake>,
    registry: Option<&'a Registry>,
    standings: &'a [Standing],
    runs: usize,
    today: Date,
}

impl Told<'_> {
    fn owner(&self, flake: &Flake) -> Option<&KnownFlake> {
        answers_for(self.registry?, flake, self.today)
    }

    fn json(&self) -> serde_json::Value {
        let known = self.flakes.iter().map(|f| self.owner(f).map(known::name));
        let complaints = self.standings.iter().filter_map(Standing::complaint);
        serde_json::json!({
            "format": 1,
            "runs": self.runs,
            "flakes": self.flakes,
            "known": known.collect::<Vec<_>>(),
            "registry": self.standings,
            "complaints": complaints.collect::<Vec<_>>(),
        })
    }

    fn render(&self) -> String {
        let runs = self.runs;
        let s = if runs == 1 { "" } else { "s" };
        let mut out = String::new();
        for flake in &self.flakes {
            self.one(flake, &mut out);
        }
        if self.flakes.is_empty() {
            let _ = writeln!(out, "no case came and went in {runs} run{s}");
        } else {
            let _ = writeln!(out, "{runs} run{s}; intervals of 95%");
        }
        let complaints: Vec<String> = self
            .standings
            .iter()
            .filter_map(Standing::complaint)
            .collect();
        if !complaints.is_empty() {
            out.push_str("\nknown flakes to be looked after:\n");
        }
        for line in complaints {
            let _ = writeln!(out, "    {line}");
        }
        out
    }

    fn one(&self, flake: &Flake, out: &mut String) {
        let _ = writeln!(out, "{} {}: {}", flake.suite, flake.case, rate(&flake.rate));
        match (self.registry, self.owner(flake)) {
            (None, _) => {}
            (Some(_), None) => out.push_str("    nobody answers for it\n"),
            (_, Some(entry)) => {
                let (until, name) = (entry.until, known::name(entry));
                let _ = writeln!(out, "    known until {until}: {name}");
            }
        }
        for (cell, of) in &flake.cells {
            let _ = writeln!(out, "    {cell}: {}", rate(of));
        }
        for with in &flake.goes_with {
            let more = with.alike.len().saturating_sub(NAMES);
            let names = with.alike.iter().take(NAMES).map(String::as_str);
            let alike = match (names.collect::<Vec<_>>().join(", "), more) {
                (names, _) if names.is_empty() => names,
                (names, 0) => format!(" (the same attempts: {names})"),
                (names, more) => format!(" (the same attempts: {names} and {more} more)"),
            };
            let (there, elsewhere) = (rate(&with.there), rate(&with.elsewhere));
            let what = &with.what;
            let _ = writeln!(
                out,
                "    goes with {what}{alike}: {there}; elsewhere {elsewhere}"
            );
        }
    }
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
                alike: ["CPU model max", "memory 512", "a", "b", "c"]
                    .map(String::from)
                    .into(),
                there: of(20, 40),
                elsewhere: of(0, 39),
            }],
        };
        let registry: Registry = serde_yaml::from_str(
            "{format: 1, flakes: [{case: 'upkeep_test:*', owner: ann, reason: a stale slot, \
             link: 'PR 1', until: 2027-01-31}, \
             {case: 'a_test:b', owner: bob, reason: a race, until: 2026-01-31}]}",
        )
        .unwrap();
        let today = "2026-12-01".parse().unwrap();
        let standings = standings(&registry, &[], today);
        let told = |flakes, registry, standings, runs| Told {
            flakes,
            registry,
            standings,
            runs,
            today,
        };
        let with = told(vec![flake.clone()], Some(&registry), &standings, 2);
        insta::assert_snapshot!(with.render(), @r"
        portable upkeep_test:sweep: 20 of 79 (17% to 36%)
            known until 2027-01-31: a stale slot (ann, PR 1)
            portable/s390x/stock/candidate: 20 of 40 (35% to 65%)
            goes with port s390x (the same attempts: CPU model max, memory 512, a and 2 more): 20 of 40 (35% to 65%); elsewhere 0 of 39 (0% to 9%)
        2 runs; intervals of 95%

        known flakes to be looked after:
            a_test:b: its time was over on 2026-01-31: a race (bob)
        ");
        let without = told(vec![flake], None, &[], 1);
        insta::assert_snapshot!(without.render(), @r"
        portable upkeep_test:sweep: 20 of 79 (17% to 36%)
            portable/s390x/stock/candidate: 20 of 40 (35% to 65%)
            goes with port s390x (the same attempts: CPU model max, memory 512, a and 2 more): 20 of 40 (35% to 65%); elsewhere 0 of 39 (0% to 9%)
        1 run; intervals of 95%
        ");
        assert_eq!(
            told(vec![], None, &[], 2).render(),
            "no case came and went in 2 runs\n"
        );
    }
}
