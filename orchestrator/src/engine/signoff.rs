//! What a sign-off is decided by: runs of a revision, its nightlies, trees at two commits, builds.
//!
//! Only looks: nothing is run, nothing is written. What cannot be read is told as such and becomes a
//! line that is `unknown`; only what makes the question itself meaningless is an error.

use std::collections::{BTreeMap, BTreeSet};

use camino::{Utf8Path, Utf8PathBuf};
use jiff::civil::Date;

use crate::build::sets::{self, Machine};
use crate::build::sets_tree;
use crate::host::{git, history, text};
use crate::model::outcome::Sense;
use crate::model::{CellResult, Outcome, Side};
use crate::report::{self, RunReport};
use crate::signoff::{
    Abi, CellSeen, Changed, Evidence, Freeze, FreezeSeen, Policy, RunSeen, SetLists, SetsSeen,
    Told, differences, symbols,
};
use crate::store::runs::{self, RunDir, RunRecord};

use super::RunError;

/// Runs that are looked at at most, and nightlies beyond those that are asked for.
const RUNS: usize = 200;

/// The largest library, in bytes.
const LIBRARY: u64 = 256 << 20;

/// What was asked about, found.
#[derive(Debug)]
pub struct Gathered {
    /// The commit, or the source's hash.
    pub revision: String,
    /// What the branch is held against.
    pub branch_point: Option<String>,
    /// What was seen.
    pub evidence: Evidence,
}

/// The revision in its repository.
struct Place {
    dir: Utf8PathBuf,
    commit: String,
}

/// Looks at everything that a policy asks for. Blocks.
pub fn gather(
    runs_dir: &Utf8Path,
    policy: &Policy,
    asked: &str,
    today: Date,
) -> Result<Gathered, RunError> {
    let place = (policy.repository.as_deref())
        .map(|repository| find(repository, asked))
        .transpose()?;
    let records = records(runs_dir)?;
    let ids = match &place {
        Some(place) => names(place)?,
        None => BTreeSet::from([recorded(&records, asked)?]),
    };
    let of_revision = |r: &RunRecord| r.revisions.values().any(|v| ids.contains(v));
    let runs = finished(runs_dir, records.iter().filter(|r| of_revision(r)), RUNS)?;
    let nightlies = match (&policy.nightlies, &place) {
        (None, _) => Err("none were asked for".to_owned()),
        (Some(_), None) => Err(
            "without a repository nobody can say which nightly runs are the branch's".to_owned(),
        ),
        (Some(wanted), Some(place)) => {
            let nightly = records.iter().filter(|r| r.matrix == wanted.matrix);
            let on_branch = nightly.filter(|r| is_on(place, r));
            finished(runs_dir, on_branch, wanted.count as usize + RUNS).map_err(|e| e.to_string())
        }
    };
    let set_lists = policy.set_lists.iter().flat_map(|lists| {
        let ports = lists.destdirs.iter();
        ports.map(|(port, destdir)| (port.clone(), set_lists(lists, port, destdir)))
    });
    let branch_point = match (&policy.freeze, &place) {
        (Some(freeze), Some(place)) => Some(branch_point(place, freeze)),
        _ => None,
    };
    let frozen = match (&policy.freeze, &place, &branch_point) {
        (Some(freeze), Some(place), Some(Ok(base))) => freeze_seen(place, base, freeze),
        (_, _, Some(Err(why))) => Err(why.clone()),
        _ => Err("there is no repository".to_owned()),
    };
    Ok(Gathered {
        revision: match &place {
            Some(place) => place.commit.clone(),
            None => ids.into_iter().next().unwrap_or_default(),
        },
        branch_point: branch_point.and_then(Result::ok),
        evidence: Evidence {
            runs,
            nightlies,
            set_lists: set_lists.collect(),
            freeze: frozen,
            today,
        },
    })
}

fn host(e: impl std::fmt::Display) -> RunError {
    RunError::Host(e.to_string())
}

fn find(repository: &Utf8Path, asked: &str) -> Result<Place, RunError> {
    let dir = git::repository(repository)
        .ok_or_else(|| RunError::Input(format!("{repository}: not a git repository")))?;
    let branch = history::commit(&dir, &format!("refs/heads/{asked}")).map_err(host)?;
    let commit = match branch {
        Some(commit) => Some(commit),
        None => history::commit(&dir, asked).map_err(host)?,
    };
    let commit = commit.ok_or_else(|| {
        RunError::Input(format!(
            "{repository} has no '{asked}': expected a branch, a tag or a commit"
        ))
    })?;
    Ok(Place { dir, commit })
}

/// Under which names runs have recorded the revision.
fn names(place: &Place) -> Result<BTreeSet<String>, RunError> {
    let tree = git::tree_of(&place.dir, &place.commit).map_err(host)?;
    let tree = tree.map(|id| git::tree_key(&id).0);
    Ok(tree.into_iter().chain([place.commit.clone()]).collect())
}

/// All runs, newest first.
fn records(runs_dir: &Utf8Path) -> Result<Vec<RunRecord>, RunError> {
    let mut all = Vec::new();
    for id in runs::list(runs_dir.as_std_path())?.into_iter().rev() {
        let path = runs_dir.join(id).into_std_path_buf();
        // A run of another version says nothing here.
        all.extend(RunDir { path }.record());
    }
    Ok(all)
}

/// The one revision that runs have recorded and that begins so.
fn recorded(records: &[RunRecord], asked: &str) -> Result<String, RunError> {
    let all: BTreeSet<&String> = records.iter().flat_map(|r| r.revisions.values()).collect();
    let fits: Vec<&&String> = all.iter().filter(|r| r.starts_with(asked)).collect();
    match fits.as_slice() {
        [one] if asked.len() >= 6 => Ok((**one).clone()),
        [] | [_] => Err(RunError::Input(format!(
            "no run has recorded a revision that begins with '{asked}' (6 letters at least); \
             with 'repository' in the policy branches and tags are known too"
        ))),
        some => Err(RunError::Input(format!(
            "{} revisions begin with '{asked}': expected more of it",
            some.len()
        ))),
    }
}

/// Whether a run tested the revision or an ancestor of it.
fn is_on(place: &Place, record: &RunRecord) -> bool {
    record.revisions.values().any(|r| {
        git::is_id(r)
            && history::common(&place.dir, r, &place.commit)
                .is_ok_and(|base| base.as_deref() == Some(r))
    })
}

fn finished<'a>(
    runs_dir: &Utf8Path,
    records: impl Iterator<Item = &'a RunRecord>,
    most: usize,
) -> Result<Vec<RunSeen>, RunError> {
    let mut seen = Vec::new();
    for record in records {
        if seen.len() == most {
            break;
        }
        let dir = runs_dir.join(&record.id.0);
        let report = report::json::of_run(dir.as_std_path()).map_err(host)?;
        seen.extend(report.map(run_seen));
    }
    Ok(seen)
}

fn run_seen(report: RunReport) -> RunSeen {
    let cells = report.cells.iter();
    RunSeen {
        run: report.run.0,
        started: report.started,
        interrupted: report.interrupted,
        host_faults: cells.clone().filter(|c| c.stage.is_host_fault()).count(),
        cells: cells
            .filter(|c| c.id.side == Side::Candidate)
            .map(cell_seen)
            .collect(),
        findings: report.verdict.findings,
        variants: report.variants,
    }
}

fn cell_seen(cell: &CellResult) -> CellSeen {
    let counting = || cell.attempts.iter().filter(|a| a.counts());
    let of = |wanted: &dyn Fn(Outcome) -> bool| -> BTreeSet<_> {
        let fit = counting().filter(|a| wanted(a.outcome));
        fit.map(|a| &a.case).collect()
    };
    let all: BTreeSet<_> = cell.attempts.iter().map(|a| &a.case).collect();
    let ran = of(&|o| o != Outcome::Missed);
    let kernels = cell
        .guests
        .iter()
        .map(|g| text::line(g.kernel.as_bytes(), 200));
    let kernels: BTreeSet<String> = kernels.filter(|k| !k.is_empty()).collect();
    CellSeen {
        id: cell.id.clone(),
        stage: cell.stage,
        cases: all.len(),
        bad: of(&|o| o.sense() == Sense::Bad).len(),
        missed: all.difference(&ran).count(),
        kernels: kernels.into_iter().collect(),
    }
}

fn set_lists(wanted: &SetLists, port: &str, destdir: &Utf8Path) -> Told<SetsSeen> {
    let said = |e: crate::build::BuildError| e.to_string();
    let lists = sets_tree::lists(&wanted.tree).map_err(said)?;
    let build_sh = sets_tree::text(&wanted.tree.join("build.sh")).map_err(said)?;
    let machine = Machine::of(port, &build_sh)?;
    let files = sets_tree::files(destdir).map_err(said)?;
    let on = sets::infer(&lists, &machine, &files);
    let found = sets::check(&lists, &machine, &files, &on);
    let cleaned = |p: String| text::line(p.as_bytes(), 300);
    Ok(SetsSeen {
        paths: files.len(),
        extra: found.extra.into_iter().map(cleaned).collect(),
        missing: found.missing.into_iter().map(cleaned).collect(),
    })
}

fn branch_point(place: &Place, freeze: &Freeze) -> Told<String> {
    let since = &freeze.since;
    let base = history::commit(&place.dir, since).map_err(|e| e.to_string())?;
    let base = base.ok_or_else(|| format!("the repository has no '{since}'"))?;
    let common = history::common(&place.dir, &base, &place.commit).map_err(|e| e.to_string())?;
    common.ok_or_else(|| format!("'{since}' and the revision have no commit in common"))
}

fn freeze_seen(place: &Place, base: &str, freeze: &Freeze) -> Told<FreezeSeen> {
    let files = |commit: &str| -> Told<BTreeMap<String, String>> {
        let files = history::files(&place.dir, commit).map_err(|e| e.to_string())?;
        Ok(files.into_iter().collect())
    };
    let (old, new) = (files(base)?, files(&place.commit)?);
    let compare = |list: &[String]| -> Told<(usize, Vec<Changed>)> {
        let all: BTreeSet<&str> = old.keys().chain(new.keys()).map(String::as_str).collect();
        let chosen = Freeze::chosen(list, all.into_iter());
        let read = |id: Option<&String>| -> Told<Option<String>> {
            id.map(|id| history::content(&place.dir, id).map_err(|e| e.to_string()))
                .transpose()
        };
        let mut changed = Vec::new();
        for path in &chosen {
            let (before, now) = (old.get(*path), new.get(*path));
            if before != now {
                changed.push(Changed {
                    path: text::line(path.as_bytes(), 300),
                    old: read(before)?,
                    new: read(now)?,
                });
            }
        }
        Ok((chosen.len(), changed))
    };
    Ok(FreezeSeen {
        files: (freeze.paths().into_iter())
            .map(|(field, list)| (field, compare(list)))
            .collect(),
        abi: freeze.abi.as_ref().map(libraries),
    })
}

/// Compares the libraries of two builds.
fn libraries(abi: &Abi) -> Told<(usize, Vec<String>)> {
    let found = |dir: &Utf8Path| -> Told<BTreeSet<String>> {
        let files = sets_tree::files(dir).map_err(|e| e.to_string())?;
        let files: Vec<&str> = files.iter().filter_map(|f| f.strip_prefix("./")).collect();
        let chosen = Freeze::chosen(&abi.libraries, files.into_iter());
        Ok(chosen.into_iter().map(str::to_owned).collect())
    };
    let (old, new) = (found(&abi.base)?, found(&abi.now)?);
    let (mut compared, mut differ) = (0, Vec::new());
    for path in old.union(&new) {
        let shown = text::line(path.as_bytes(), 300);
        let both = match (old.contains(path), new.contains(path)) {
            (true, true) => library(&abi.base.join(path))?.zip(library(&abi.now.join(path))?),
            (false, _) if is_library(&abi.now.join(path)) => {
                differ.push(format!("{shown}: new"));
                None
            }
            (_, false) if is_library(&abi.base.join(path)) => {
                differ.push(format!("{shown}: gone"));
                None
            }
            _ => None,
        };
        let Some((before, now)) = both else { continue };
        compared += 1;
        let parse = |bytes: &[u8]| symbols(bytes).map_err(|why| format!("{shown}: {why}"));
        let found = differences(&parse(&before)?, &parse(&now)?);
        let cleaned = found.iter().map(|d| text::line(d.as_bytes(), 300));
        differ.extend(cleaned.map(|d| format!("{shown}: {d}")));
    }
    Ok((compared, differ))
}

/// A link is the same library under another name.
fn is_library(path: &Utf8Path) -> bool {
    path.symlink_metadata().is_ok_and(|m| m.is_file())
}

fn library(path: &Utf8Path) -> Told<Option<Vec<u8>>> {
    if !is_library(path) {
        return Ok(None);
    }
    let failed = |e: std::io::Error| format!("{path}: {e}");
    if path.metadata().map_err(failed)?.len() > LIBRARY {
        return Err(format!("{path}: is larger than {} MiB", LIBRARY >> 20));
    }
    let bytes = std::fs::read(path).map_err(failed)?;
    // Linker scripts and the like are no libraries.
    Ok(bytes.starts_with(b"\x7fELF").then_some(bytes))
}
