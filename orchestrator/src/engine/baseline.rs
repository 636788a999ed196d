//! What a run is compared with: nothing, its own tree without patches, or what another run tested.
//!
//! Another run's results are taken as they are, and nothing is run for them: they are copied into
//! this run, so that it can be read when the other one is gone. Chosen once, at the beginning, and
//! kept in the run's record: a run that is resumed is compared with the same.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::host::git;
use crate::model::problem::did_you_mean;
use crate::model::{CellResult, Key, Side};
use crate::plan::Suite;
use crate::plan::matrix::Baseline;
use crate::store::StoreError;
use crate::store::cells;
use crate::store::runs::{self, ComparedWith, RunDir, RunRecord};
use crate::verdict::before::Named;

use super::RunError;
use super::bisect;
use super::facts::Setup;
use super::run::Dispatch;

/// The words beside a run's name.
const WORDS: [&str; 6] = ["none", "unpatched", "stock", "parent", "last-good", "last"];

/// Runs that are looked at for a good one at most, the newest.
const LOOKED_AT: usize = 500;

/// Chooses by the user's word, or else by the matrix, for each suite. Nothing is chosen for a suite
/// that the matrix decides alone. `parent` is what the run of the parent would have as its revision,
/// where the caller knows. What the user asks for and is not there is an error; what the matrix asks
/// for and is not there yet is no baseline, told in the second value.
pub fn choose(
    setup: &Setup,
    word: Option<&str>,
    parent: Option<&str>,
) -> Result<(BTreeMap<String, ComparedWith>, Vec<String>), RunError> {
    let mut chosen = BTreeMap::new();
    let mut notes = Vec::new();
    for suite in &setup.resolved.suites {
        let with = match (word, suite.baseline) {
            (Some(word), _) => by_word(setup, suite, word, parent)?,
            (None, Baseline::None | Baseline::Unpatched) => continue,
            (None, asked @ (Baseline::LastGood | Baseline::Parent)) => {
                let found = match asked {
                    Baseline::Parent => parent_run(setup, suite, parent),
                    _ => last_good(setup, suite),
                };
                match found {
                    Ok(with) => with,
                    Err(RunError::Input(why)) => {
                        notes.push(format!("suite {} has no baseline: {why}", suite.name));
                        ComparedWith::Nothing
                    }
                    Err(error) => return Err(error),
                }
            }
        };
        chosen.insert(suite.name.clone(), with);
    }
    Ok((chosen, notes))
}

/// Makes a setup what was chosen: only an unpatched side is run.
pub fn prepare(setup: &mut Setup, chosen: &BTreeMap<String, ComparedWith>) {
    for suite in &mut setup.resolved.suites {
        suite.baseline = match chosen.get(&suite.name) {
            Some(ComparedWith::Unpatched) => Baseline::Unpatched,
            Some(ComparedWith::Nothing | ComparedWith::Run { .. }) => Baseline::None,
            None => suite.baseline,
        };
    }
}

fn by_word(
    setup: &Setup,
    suite: &Suite,
    word: &str,
    parent: Option<&str>,
) -> Result<ComparedWith, RunError> {
    match word {
        "none" => Ok(ComparedWith::Nothing),
        "unpatched" | "stock" if suite.project.patches.is_some() => Ok(ComparedWith::Unpatched),
        "unpatched" | "stock" => Err(RunError::Input(format!(
            "--baseline {word}: suite {} has no patches: both sides would be the same; expected \
             parent, last-good or a run",
            suite.name
        ))),
        "parent" => parent_run(setup, suite, parent),
        "last-good" => last_good(setup, suite),
        name => {
            let found = RunDir::find(setup.dirs.runs().as_std_path(), name);
            let dir = found.map_err(|error| match error {
                StoreError::NoSuchRun { .. } => RunError::Input(no_such_run(name, &error)),
                other => other.into(),
            })?;
            let record = dir.record()?;
            if !has_suite(&dir, suite)? {
                return Err(RunError::Input(format!(
                    "--baseline {name}: run {} of matrix {} has no results of suite {}",
                    record.id, record.matrix, suite.name
                )));
            }
            Ok(with(record, ""))
        }
    }
}

fn no_such_run(name: &str, error: &StoreError) -> String {
    let near = did_you_mean(name, WORDS.iter().copied());
    let near = near.map_or(String::new(), |near| format!("; {near}"));
    format!(
        "--baseline {name}: {error}; or one of {}{near}",
        WORDS.join(", ")
    )
}

fn with(record: RunRecord, why: &str) -> ComparedWith {
    ComparedWith::Run {
        run: record.id,
        started: record.started,
        why: why.to_owned(),
    }
}

/// Whether a run finished a cell of a suite on the side under test.
fn has_suite(dir: &RunDir, suite: &Suite) -> Result<bool, StoreError> {
    let cells = dir.cells()?;
    let ours = cells
        .iter()
        .filter(|id| id.suite == suite.name && id.side == Side::Candidate);
    for id in ours {
        let here = |p: &crate::plan::resolve::Point| p.port == id.port && p.variant == id.variant;
        if suite.points.iter().any(here) && dir.cell_dir(id).join("result.json").exists() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The runs of the setup's matrix, newest first.
fn of_matrix(setup: &Setup) -> Result<impl Iterator<Item = (RunDir, RunRecord)>, StoreError> {
    let runs_dir = setup.dirs.runs();
    let names = runs::list(runs_dir.as_std_path())?;
    let matrix = setup.resolved.name.clone();
    Ok(names.into_iter().rev().filter_map(move |name| {
        let dir = RunDir {
            path: runs_dir.join(name).into(),
        };
        let record = dir.record().ok()?;
        (record.matrix == matrix).then_some((dir, record))
    }))
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
}

fn is_good(dir: &RunDir) -> bool {
    let read = std::fs::read(dir.path.join("report.json"));
    let head = read
        .ok()
        .and_then(|b| serde_json::from_slice::<Head>(&b).ok());
    head.is_some_and(|h| h.summary.clean && h.summary.host_faults == 0 && !h.report.interrupted)
}

fn last_good(setup: &Setup, suite: &Suite) -> Result<ComparedWith, RunError> {
    let mut looked = 0;
    for (dir, record) in of_matrix(setup)?.take(LOOKED_AT) {
        looked += 1;
        if is_good(&dir) && has_suite(&dir, suite)? {
            return Ok(with(record, "the last good run"));
        }
    }
    let matrix = &setup.resolved.name;
    Err(RunError::Input(match looked {
        0 => format!("there is no earlier run of matrix {matrix}: run it first"),
        n => format!(
            "none of the {n} earlier runs of matrix {matrix} is complete and without news: name \
             the run to compare with"
        ),
    }))
}

fn parent_run(setup: &Setup, suite: &Suite, known: Option<&str>) -> Result<ComparedWith, RunError> {
    let revision = match known {
        Some(revision) => revision.to_owned(),
        None => parent_of(setup, suite)?,
    };
    for (dir, record) in of_matrix(setup)? {
        let same = record.revisions.get(&suite.name) == Some(&revision);
        if same && has_suite(&dir, suite)? {
            return Ok(with(record, "the run of the parent"));
        }
    }
    let short: String = revision.chars().take(12).collect();
    Err(RunError::Input(format!(
        "no run of matrix {} has tested the parent of suite {} ({short}): run it first, or name a \
         run",
        setup.resolved.name, suite.name
    )))
}

/// The identity of the parent of what a suite's source is at, as a run of it would have it.
fn parent_of(setup: &Setup, suite: &Suite) -> Result<String, RunError> {
    let series = |tree: Key| -> Result<String, RunError> {
        let all = setup.revisions()?;
        let series = all.get(&suite.name).and_then(|r| r.split_once('+'));
        Ok(series.map_or(tree.to_string(), |(_, s)| format!("{tree}+{s}")))
    };
    if let Some(source) = &suite.project.source.git {
        let repo = source.dir().and_then(git::repository);
        let repo = repo.unwrap_or_else(|| git::mirror_path(&setup.dirs.cache, &source.url));
        let tree = git::tree_of(&repo, &format!("{}^", source.revision));
        let tree = tree.map_err(|e| RunError::Input(e.to_string()))?;
        let none = || {
            RunError::Input(format!(
                "{} has no parent of {} here: name a run",
                source.url, source.revision
            ))
        };
        return series(git::tree_key(&tree.ok_or_else(none)?));
    }
    let both = bisect::commits(setup, &suite.name, "HEAD^..HEAD")?;
    let parent = both.first().map(|r| r.setup.revisions()).transpose()?;
    let none = || RunError::Input(format!("the source of suite {} has no parent", suite.name));
    parent
        .and_then(|all| all.get(&suite.name).cloned())
        .ok_or_else(none)
}

/// The results that stand for the baseline side of a run, and how sentences name it, by suite.
/// Taken from this run where they were copied before.
pub(super) fn taken(run: &Dispatch) -> (Vec<CellResult>, BTreeMap<String, Named>) {
    let mut cells = Vec::new();
    let mut names = BTreeMap::new();
    let ids: Vec<_> = run.plan.cells().cloned().collect();
    for (suite, with) in &run.record.baselines {
        let ComparedWith::Run {
            run: id,
            started,
            why,
        } = with
        else {
            continue;
        };
        names.insert(suite.clone(), Named::run(&id.0, *started, why));
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
    ours: &crate::model::CellId,
    to: &crate::model::CellId,
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
