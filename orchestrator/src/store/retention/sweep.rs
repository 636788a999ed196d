//! Looks at all runs and does what was chosen.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use jiff::Timestamp;
use serde::Serialize;

use crate::model::outcome::Sense;
use crate::model::retention::Retention;
use crate::model::{CellResult, StageResult};
use crate::store::StoreError;
use crate::store::runs::{self, RunDir};

use super::{Choice, Step, Subject, choose, cited, is_older, reduce};

/// What became of one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Done {
    /// What was chosen.
    #[serde(flatten)]
    pub choice: Choice,
    /// What went, or would go, in bytes.
    pub freed_bytes: u64,
}

/// What a sweep did, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Swept {
    /// Runs.
    pub runs: Vec<Done>,
    /// Exported trees and series that were tried, with their size.
    pub trees: Vec<(PathBuf, u64)>,
    /// What could not be done.
    pub trouble: Vec<String>,
}

impl Swept {
    /// All that went.
    pub fn freed_bytes(&self) -> u64 {
        let runs = self.runs.iter().map(|r| r.freed_bytes).sum::<u64>();
        runs + self.trees.iter().map(|t| t.1).sum::<u64>()
    }
}

/// Does what the limits say, or only tells. `busy` are runs and commits that the queue still needs.
pub fn sweep(
    state: &Path,
    limits: &Retention,
    busy: &BTreeSet<String>,
    now: Timestamp,
    dry_run: bool,
) -> Result<Swept, StoreError> {
    let runs_dir = state.join("runs");
    let mut swept = Swept::default();
    let mut subjects = Vec::new();
    for name in runs::list(&runs_dir)? {
        let run = RunDir {
            path: runs_dir.join(&name),
        };
        match subject(&run, name, busy) {
            Ok(subject) => subjects.push(subject),
            Err(why) => swept.trouble.push(why.to_string()),
        }
    }
    let cited = cited(state, &runs_dir, &subjects);
    for choice in choose(&subjects, &cited, limits, now) {
        let run = RunDir {
            path: runs_dir.join(&choice.run),
        };
        let freed = match choice.kept {
            Some(_) => Ok(0),
            None => carry_out(&run, choice.step, dry_run),
        };
        match freed {
            // Its consoles went by an earlier sweep.
            Ok(0) if choice.kept.is_none() && choice.step != Step::Reduce => {}
            Ok(freed_bytes) => swept.runs.push(Done {
                choice,
                freed_bytes,
            }),
            Err(why) => swept.trouble.push(why.to_string()),
        }
    }
    if let Some(days) = limits.trees_days {
        let trees = entries(&state.join("trees"));
        let trees = trees.iter().flat_map(|repository| entries(repository));
        by_commit(trees, days, busy, now, dry_run, &mut swept);
    }
    if let Some(days) = limits.tries_days {
        let tries = entries(&state.join("tries"));
        by_commit(tries, days, busy, now, dry_run, &mut swept);
    }
    Ok(swept)
}

fn subject(run: &RunDir, name: String, busy: &BTreeSet<String>) -> Result<Subject, StoreError> {
    let record = run.record()?;
    let judged = run.path.join("report.json").is_file();
    let free = !busy.contains(&name) && run.lock().is_ok();
    Ok(Subject {
        matrix: record.matrix,
        started: record.started,
        over: judged && free,
        reduced: !run.path.join("cells").is_dir(),
        run: name,
    })
}

fn carry_out(run: &RunDir, step: Step, dry_run: bool) -> Result<u64, StoreError> {
    // Whoever takes it up from here on finds it locked.
    let _owner = run.lock()?;
    if step == Step::Reduce {
        let before = size(&run.path);
        if dry_run {
            return Ok(size(&run.path.join("cells")));
        }
        reduce::reduce(run)?;
        return Ok(before.saturating_sub(size(&run.path)));
    }
    let mut freed = 0;
    let cells = run.path.join("cells");
    for cell in entries(&cells) {
        if step == Step::PassingConsoles && !passed(&cell) {
            continue;
        }
        for file in entries(&cell) {
            let is_console = file
                .extension()
                .is_some_and(|e| e == "console" || e == "times");
            if is_console {
                freed += size(&file);
                if !dry_run {
                    std::fs::remove_file(&file).map_err(|e| StoreError::io("remove", &file, e))?;
                }
            }
        }
    }
    Ok(freed)
}

/// Nothing went wrong in a cell, as far as its result tells.
fn passed(cell: &Path) -> bool {
    let text = std::fs::read(cell.join("result.json")).unwrap_or_default();
    let Ok(result) = serde_json::from_slice::<CellResult>(&text) else {
        return false;
    };
    let bad = |outcome: crate::model::Outcome| outcome.sense() == Sense::Bad;
    result.stage == StageResult::Complete
        && !result.attempts.iter().any(|a| bad(a.outcome))
        && result
            .guests
            .iter()
            .all(|g| g.crash.is_none() && g.damage.is_none())
}

/// Directories that are named by a commit.
fn by_commit(
    dirs: impl IntoIterator<Item = PathBuf>,
    days: u32,
    busy: &BTreeSet<String>,
    now: Timestamp,
    dry_run: bool,
    swept: &mut Swept,
) {
    for tree in dirs {
        let commit = tree.file_name().unwrap_or_default().to_string_lossy();
        let modified = std::fs::metadata(&tree).and_then(|m| m.modified());
        let since = modified.unwrap_or_else(|_| SystemTime::now());
        let since = Timestamp::try_from(since).unwrap_or(now);
        if busy.contains(commit.as_ref()) || !is_older(days, since, now) {
            continue;
        }
        let bytes = size(&tree);
        if !dry_run && let Err(e) = std::fs::remove_dir_all(&tree) {
            swept.trouble.push(format!("{}: {e}", tree.display()));
            continue;
        }
        swept.trees.push((tree, bytes));
    }
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let read = std::fs::read_dir(dir).into_iter().flatten();
    let mut all: Vec<PathBuf> = read.filter_map(|e| Some(e.ok()?.path())).collect();
    all.sort();
    all
}

fn size(path: &Path) -> u64 {
    match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => entries(path).iter().map(|p| size(p)).sum(),
        Ok(meta) => meta.len(),
        Err(_) => 0,
    }
}
