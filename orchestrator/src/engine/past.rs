//! What earlier runs of the matrix showed of a verdict's findings, out of the index of all runs.
//!
//! The index is brought up to date with the runs of this matrix first. It is a convenience and never
//! the truth: where it cannot be read, the verdict stands without a past, and a notice says so.

use std::collections::HashMap;

use crate::model::{RunId, Sighting, Verdict};
use crate::store::StoreError;
use crate::store::index::{Index, PastRow};
use crate::store::runs::{self, RunDir};
use crate::verdict::chance::Count;
use crate::verdict::history::{self, Death, Entry, Past};

use super::run::Dispatch;

/// Cases that the past is asked about at most: a verdict of more findings than that is about
/// something else than flakes.
const CASES: usize = 2000;

/// Earlier runs that are read into the index at most, the newest: the first time is the dear one.
const RUNS: usize = 200;

/// Adds to a verdict what earlier runs showed.
pub(super) async fn add(run: &Dispatch, verdict: &mut Verdict) {
    let (cases, crashes) = history::wanted(verdict);
    if cases.is_empty() && crashes.is_empty() {
        return;
    }
    let past = match read(run, verdict).await {
        Ok(past) => past,
        Err(error) => {
            run.notice(format!("nothing is said of earlier runs: {error}"));
            return;
        }
    };
    history::apply(verdict, &past, &run.record.revisions);
}

async fn read(run: &Dispatch, verdict: &Verdict) -> Result<Past, StoreError> {
    let mut past = Past::default();
    let (matrix, this) = (&run.record.matrix, &run.record.id.0);
    let dirs = &run.setup.dirs;
    let earlier = earlier(run)?;
    if earlier.is_empty() {
        return Ok(past);
    }
    let index = Index::open(dirs.state.join("index.sqlite").as_std_path()).await?;
    for dir in &earlier {
        match index.ingest(dir).await {
            Ok(_) => {}
            Err(error @ StoreError::Db { .. }) => return Err(error),
            Err(error) => run.notice(format!("left out of the past: {error}")),
        }
    }
    let mut looks = Looks::default();
    for (name, started) in index.runs_before(matrix, this).await? {
        looks.of(&mut past, name, started, None);
    }
    let (cases, crashes) = history::wanted(verdict);
    for (suite, case) in cases.into_iter().take(CASES) {
        let mut entries = Vec::new();
        for row in index.past_of(case, matrix, this).await? {
            if row.suite != suite {
                continue;
            }
            entries.push(Entry {
                look: looks.of_row(&mut past, &row),
                place: past.place(&row.port, &row.variant),
                side: row.side,
                count: Count {
                    bad: row.bad,
                    total: row.total,
                },
            });
        }
        past.extend(suite, case, entries);
    }
    for signature in crashes.into_iter().take(CASES) {
        for row in index.crashes_of(signature, matrix, this).await? {
            let look = looks.of_row(&mut past, &row);
            let place = past.place(&row.port, &row.variant);
            past.died(
                signature,
                Death {
                    look,
                    place,
                    blamed: row.blamed,
                },
            );
        }
    }
    index.close().await;
    Ok(past)
}

/// The newest earlier runs of the matrix, oldest first.
fn earlier(run: &Dispatch) -> Result<Vec<RunDir>, StoreError> {
    let runs_dir = run.setup.dirs.runs();
    let names = runs::list(runs_dir.as_std_path())?;
    let before = names.into_iter().filter(|name| *name < run.record.id.0);
    let mut found = Vec::new();
    for name in before.collect::<Vec<_>>().into_iter().rev() {
        let dir = RunDir {
            path: runs_dir.join(name).into(),
        };
        if dir.record().is_ok_and(|r| r.matrix == run.record.matrix) {
            found.push(dir);
        }
        if found.len() == RUNS {
            break;
        }
    }
    found.reverse();
    Ok(found)
}

/// Numbers of runs with revisions.
#[derive(Default)]
struct Looks(HashMap<(String, Option<String>), u32>);

impl Looks {
    fn of_row(&mut self, past: &mut Past, row: &PastRow) -> u32 {
        self.of(past, row.run.clone(), row.started, row.revision.clone())
    }

    fn of(
        &mut self,
        past: &mut Past,
        run: String,
        started: jiff::Timestamp,
        revision: Option<String>,
    ) -> u32 {
        let key = (run, revision);
        if let Some(look) = self.0.get(&key) {
            return *look;
        }
        let look = past.look(Sighting {
            run: RunId(key.0.clone()),
            started,
            revision: key.1.clone(),
        });
        self.0.insert(key, look);
        look
    }
}
