//! What a run is compared with: nothing, its own tree without patches, another commit, or what another
//! run tested.
//!
//! Another run's results are taken as they are, and nothing is run for them: they are copied into
//! this run, so that it can be read when the other one is gone. A commit that no run has tested is run
//! as this run's baseline side: whether there is an answer is no matter of luck. Chosen once, at the
//! beginning, and kept in the run's record: a run that is resumed is compared with the same.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::model::problem::did_you_mean;
use crate::model::{CellId, CellResult, FindingKind, Side};
use crate::plan::baseline::WORDS;
use crate::plan::{Baseline, Suite};
use crate::store::StoreError;
use crate::store::cells;
use crate::store::runs::{self, ComparedWith, RunDir, RunRecord};
use crate::verdict::before::Named;

use super::RunError;
use super::ancestry::{Ancestry, Pushed, short};
use super::facts::Setup;
use super::run::Dispatch;

/// Runs that are looked at for a good one at most, the newest.
const LOOKED_AT: usize = 500;

/// Chooses by the user's word, or else by the matrix, for each suite. Nothing is chosen for a suite
/// that the matrix decides alone. What the user asks for and is not there is an error; what the matrix
/// asks for and is not there yet is no baseline, told in the second value. Blocks.
pub fn choose(
    setup: &Setup,
    word: Option<&str>,
    pushed: Option<&Pushed>,
) -> Result<(BTreeMap<String, ComparedWith>, Vec<String>), RunError> {
    let mut chosen = BTreeMap::new();
    let mut notes = Vec::new();
    for suite in &setup.resolved.suites {
        let choice = Choice {
            setup,
            suite,
            pushed,
        };
        let with = match (word, &suite.baseline) {
            (Some(word), _) => choice.by_word(word)?,
            (None, Baseline::None | Baseline::Unpatched) => continue,
            (None, asked) => match choice.by(asked) {
                Ok(with) => with,
                Err(RunError::Input(why)) => {
                    notes.push(format!("suite {} has no baseline: {why}", suite.name));
                    ComparedWith::Nothing
                }
                Err(error) => return Err(error),
            },
        };
        chosen.insert(suite.name.clone(), with);
    }
    Ok((chosen, notes))
}

/// Makes a setup what was chosen: only an unpatched side and another commit are run.
pub fn prepare(setup: &mut Setup, chosen: &BTreeMap<String, ComparedWith>) {
    for suite in &mut setup.resolved.suites {
        let Some(with) = chosen.get(&suite.name) else {
            continue;
        };
        suite.baseline = match with {
            ComparedWith::Unpatched => Baseline::Unpatched,
            _ => Baseline::None,
        };
        if let ComparedWith::Commit { source, .. } = with {
            suite.base = Some(source.clone());
        }
    }
}

/// The choice for one suite.
struct Choice<'a> {
    setup: &'a Setup,
    suite: &'a Suite,
    pushed: Option<&'a Pushed>,
}

impl Choice<'_> {
    fn by_word(&self, word: &str) -> Result<ComparedWith, RunError> {
        let word = if word == "stock" { "unpatched" } else { word };
        if let Ok(asked) = word.parse() {
            return self.by(&asked);
        }
        if let Some(reference) = word.strip_prefix("branch-point:") {
            return Err(RunError::Input(format!(
                "--baseline {word}: '{reference}' is no reference: expected a branch, a tag or a commit, \
                 for example branch-point:main"
            )));
        }
        let dir = self.run_of_name(word)?;
        let record = dir.record()?;
        if self.shows(&dir)?.is_empty() {
            return Err(RunError::Input(format!(
                "--baseline {word}: run {} of matrix {} has no results of suite {} on any port of this run",
                record.id, record.matrix, self.suite.name
            )));
        }
        Ok(with(record, ""))
    }

    fn run_of_name(&self, word: &str) -> Result<RunDir, RunError> {
        let found = RunDir::find(self.setup.dirs.runs().as_std_path(), word);
        found.map_err(|error| match error {
            StoreError::NoSuchRun { .. } => {
                let words = || WORDS.into_iter().chain(["stock", "last"]);
                let near = did_you_mean(word, words());
                let near = near.map_or(String::new(), |near| format!("; {near}"));
                let words: Vec<&str> = words().collect();
                RunError::Input(format!(
                    "--baseline {word}: {error}; or one of {}{near}",
                    words.join(", ")
                ))
            }
            other => other.into(),
        })
    }

    fn by(&self, asked: &Baseline) -> Result<ComparedWith, RunError> {
        let suite = self.suite;
        match asked {
            Baseline::None => Ok(ComparedWith::Nothing),
            Baseline::Unpatched if suite.tested().patches.is_some() => Ok(ComparedWith::Unpatched),
            Baseline::Unpatched => Err(RunError::Input(format!(
                "suite {} has no patches: both sides would be the same; expected parent, \
                 branch-point:REF, last-good or a run",
                suite.name
            ))),
            Baseline::LastGood => self.last_good(),
            Baseline::Parent => {
                let ancestry = Ancestry::of(self.setup, suite, self.pushed)?;
                self.at(&ancestry, ancestry.parent()?, "the parent")
            }
            Baseline::BranchPoint(reference) => {
                let ancestry = Ancestry::of(self.setup, suite, self.pushed)?;
                let point = ancestry.branch_point(reference)?;
                self.at(
                    &ancestry,
                    point,
                    &format!("the branch point with {reference}"),
                )
            }
        }
    }

    /// A commit: by the run that has tested it everywhere where this one tests, else to be run.
    fn at(&self, ancestry: &Ancestry, commit: String, why: &str) -> Result<ComparedWith, RunError> {
        let tree = ancestry.tree(&commit)?;
        let series = self.setup.revisions()?;
        let series = series
            .get(&self.revision_name())
            .and_then(|r| r.split_once('+'));
        let revision = match series {
            Some((_, series)) => format!("{}+{series}", tree.revision),
            None => tree.revision,
        };
        let here = self.points();
        for (dir, record) in self.of_matrix()? {
            let same = record.revisions.get(&self.revision_name()) == Some(&revision);
            if same && self.shows(&dir)? == here {
                return Ok(with(
                    record,
                    &format!("{why} {}, tested by run", short(&commit)),
                ));
            }
        }
        Ok(ComparedWith::Commit {
            commit,
            source: tree.source,
            revision,
            why: why.to_owned(),
        })
    }

    /// What revisions of what is tested stand under in records.
    fn revision_name(&self) -> String {
        match &self.suite.kernel {
            Some(kernel) if std::ptr::eq(kernel, self.suite.tested()) => {
                format!("{} kernel", self.suite.name)
            }
            _ => self.suite.name.clone(),
        }
    }

    fn points(&self) -> BTreeSet<(String, String)> {
        let points = self.suite.points.iter();
        points
            .map(|p| (p.port.to_string(), p.variant.clone()))
            .collect()
    }

    /// Where a run has something to say about the side under test of this suite, of the places of this
    /// run. A fault of its host says nothing.
    fn shows(&self, dir: &RunDir) -> Result<BTreeSet<(String, String)>, StoreError> {
        let mut shown = self.points();
        for (port, variant) in self.points() {
            let id = CellId {
                suite: self.suite.name.clone(),
                port: port.as_str().into(),
                variant: variant.clone(),
                side: Side::Candidate,
            };
            if dir.cell(&id)?.is_none_or(|c| c.stage.is_host_fault()) {
                shown.remove(&(port, variant));
            }
        }
        Ok(shown)
    }

    /// The runs of the setup's matrix, newest first.
    fn of_matrix(&self) -> Result<impl Iterator<Item = (RunDir, RunRecord)>, StoreError> {
        let runs_dir = self.setup.dirs.runs();
        let names = runs::list(runs_dir.as_std_path())?;
        let matrix = self.setup.resolved.name.clone();
        Ok(names.into_iter().rev().filter_map(move |name| {
            let dir = RunDir {
                path: runs_dir.join(name).into(),
            };
            let record = dir.record().ok()?;
            (record.matrix == matrix).then_some((dir, record))
        }))
    }

    /// The newest good run: one of the same reference before others, and one that shows all places
    /// before one that shows some.
    fn last_good(&self) -> Result<ComparedWith, RunError> {
        let reference = self.pushed.map(|p| &p.reference);
        let here = self.points().len();
        let mut looked = 0;
        let mut best: Option<((bool, bool), RunRecord)> = None;
        for (dir, record) in self.of_matrix()?.take(LOOKED_AT) {
            looked += 1;
            if !is_good(&dir, &record, &self.suite.name) {
                continue;
            }
            let shown = self.shows(&dir)?.len();
            let rank = (record.reference.as_ref() == reference, shown == here);
            if shown > 0 && best.as_ref().is_none_or(|(so_far, _)| rank > *so_far) {
                best = Some((rank, record));
            }
            if rank == (true, true) {
                break;
            }
        }
        if let Some((_, record)) = best {
            return Ok(with(record, "the last good run"));
        }
        let (matrix, suite) = (&self.setup.resolved.name, &self.suite.name);
        Err(RunError::Input(match looked {
            0 => format!("there is no earlier run of matrix {matrix}: run it first"),
            n => format!(
                "no earlier run of matrix {matrix} ({n} seen) is complete and without open findings, with \
                 results of suite {suite}: name the run to compare with"
            ),
        }))
    }
}

fn with(record: RunRecord, why: &str) -> ComparedWith {
    ComparedWith::Run {
        run: record.id,
        started: record.started,
        why: why.to_owned(),
    }
}

/// Of a stored report, what tells whether it was good.
#[derive(Deserialize)]
struct Head {
    summary: Summary,
    report: Ended,
}

#[derive(Deserialize)]
struct Summary {
    clean: bool,
    host_faults: usize,
}

#[derive(Deserialize)]
struct Ended {
    #[serde(default)]
    interrupted: bool,
    #[serde(default)]
    verdict: Findings,
}

#[derive(Default, Deserialize)]
struct Findings {
    findings: Vec<Found>,
}

#[derive(Deserialize)]
struct Found {
    kind: FindingKind,
    suite: String,
}

/// Whether a run came to its end with nothing new wrong. What was compared with another commit or
/// another run has to have no open finding in this suite at all: what came in with the commit before
/// is not new against that, and a run with it is no good one.
fn is_good(dir: &RunDir, record: &RunRecord, suite: &str) -> bool {
    let read = std::fs::read(dir.path.join("report.json"));
    let head = read
        .ok()
        .and_then(|b| serde_json::from_slice::<Head>(&b).ok());
    let Some(head) = head else { return false };
    if !head.summary.clean || head.summary.host_faults > 0 || head.report.interrupted {
        return false;
    }
    let other = matches!(
        record.baselines.get(suite),
        Some(ComparedWith::Run { .. } | ComparedWith::Commit { .. })
    );
    let open =
        |f: &Found| f.suite == suite && !matches!(f.kind, FindingKind::Fixed | FindingKind::Flake);
    !(other && head.report.verdict.findings.iter().any(open))
}

/// The results that stand for the baseline side of a run where another run's are taken, and how
/// sentences name the baselines, by suite. Taken from this run where they were copied before.
pub(super) fn taken(run: &Dispatch) -> (Vec<CellResult>, BTreeMap<String, Named>) {
    let mut cells = Vec::new();
    let mut names = BTreeMap::new();
    let ids: Vec<_> = run.plan.cells().cloned().collect();
    for (suite, with) in &run.record.baselines {
        let (id, named) = match with {
            ComparedWith::Run {
                run: id,
                started,
                why,
            } => (Some(id), Named::run(&id.0, *started, why)),
            ComparedWith::Commit { commit, why, .. } => (None, Named::commit(short(commit), why)),
            ComparedWith::Nothing | ComparedWith::Unpatched => continue,
        };
        names.insert(suite.clone(), named);
        let Some(id) = id else { continue };
        let from = RunDir {
            path: run.setup.dirs.runs().join(&id.0).into(),
        };
        let ours = ids
            .iter()
            .filter(|c| c.suite == *suite && c.side == Side::Candidate);
        for ours in ours {
            let mut to = ours.clone();
            to.side = Side::Baseline;
            match take(run, &from, ours, &to) {
                Ok(cell) => cells.extend(cell),
                Err(error) => run.notice(format!("no baseline for {ours}: {error}")),
            }
        }
    }
    (cells, names)
}

fn take(
    run: &Dispatch,
    from: &RunDir,
    ours: &CellId,
    to: &CellId,
) -> Result<Option<CellResult>, StoreError> {
    if let Some(cell) = run.run.cell(to)? {
        return Ok(Some(cell));
    }
    // A fault of that run's host is no result to compare with.
    let theirs = from.cell(ours)?.filter(|c| !c.stage.is_host_fault());
    let Some(mut cell) = theirs else {
        return Ok(None);
    };
    for guest in &cell.guests {
        cells::copy(&from.cell_dir(ours), &run.run.cell_dir(to), &guest.console)?;
    }
    cell.id = to.clone();
    cell.cached = true;
    run.run.put_cell(&cell)?;
    Ok(Some(cell))
}

#[cfg(test)]
#[path = "baseline_tests.rs"]
mod tests;
