//! Which commit of a batch brought a finding: ordered when the run ends, carried out as a job of its own.
//!
//! ```text
//! run of old..new --new finding--> search job --commits, guests--> answer: the job's note,
//!                                                                 RUN/searches/JOB.json, a mail
//! ```

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::json;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::cli::args::Selection;
use crate::cli::bisect as told;
use crate::cli::exit::Failure;
use crate::cli::hook::git_dir;
use crate::engine::bisect::{self, Named as _, News as Tell, Order, Tried, Wanted};
use crate::engine::bus::Bus;
use crate::engine::{baseline, revisions};
use crate::host::{history, text};
use crate::model::change::Search;
use crate::model::{
    CellResult, Finding, FindingKind, JobSpec, JobState, Key, NewJob, News, Policy, Priority, Side,
    StageResult,
};
use crate::report::{self, RunReport};
use crate::store::queue::{Accepted, Job};
use crate::store::runs::RunDir;
use crate::verdict::bisect::Place;

use super::Daemon;
use super::worker::{End, Ground, ground};

/// The probability at which an answer is given.
const SURE: f64 = 0.95;

/// The most tries of one search that are made for real.
const TRIES: u64 = 60;

/// Characters of a sentence that the queue keeps.
const SENTENCE: usize = 300;

/// Queues a search for each finding that a run shows and the run before it does not, as far as the
/// settings ask for it. What cannot be looked for is told in the log: the run's verdict stands without.
pub async fn order(daemon: &Arc<Daemon>, job: &Job, report: &RunReport) {
    let most = job.spec.bisect as usize;
    let Some(old) = job.change.old.clone().filter(|_| most > 0) else {
        return;
    };
    if report.verdict.is_clean() {
        return;
    }
    let before = before(daemon, job, &old).await;
    let asked = asked(report, before.as_ref(), most);
    if asked.is_empty() {
        return;
    }
    match commits(daemon, job, old).await {
        Ok(n) if n > 1 => {}
        // One commit has brought it, and everybody sees which.
        Ok(_) => return,
        Err(why) => {
            warn!(job = job.id, why, "the commits of a batch are not known");
            return;
        }
    }
    for search in asked {
        let case = search.case.as_ref().map(ToString::to_string);
        let parts = [
            search.run.clone(),
            search.cell.to_string(),
            case.unwrap_or_default(),
        ];
        let parts: Vec<&[u8]> = parts.iter().map(String::as_bytes).collect();
        let delivery = Key::of("search", &parts).0;
        let what = search.what();
        let new = NewJob {
            change: job.change.clone(),
            choice: job.choice.clone(),
            spec: JobSpec {
                search: Some(search),
                ..job.spec.clone()
            },
            // Whoever pushes next must not wait for it.
            priority: job.priority.min(Priority::Try),
            policy: Policy::Each,
        };
        match daemon.queue.accept(&delivery, &[new]).await {
            Ok(Accepted::Queued { jobs, .. }) => {
                info!(
                    job = job.id,
                    ?jobs,
                    what,
                    "which commit brought it is looked for"
                );
            }
            Ok(Accepted::Duplicate) => {}
            Err(why) => warn!(job = job.id, %why, what, "no search was queued"),
        }
    }
}

/// How many commits the run answers for.
async fn commits(daemon: &Arc<Daemon>, job: &Job, old: String) -> Result<usize, String> {
    let repository = daemon.settings.repository(&job.change.repository);
    let repository = repository.ok_or("the settings have no such repository any more")?;
    let (dir, new) = (git_dir(&repository.path), job.change.new.clone());
    let found = tokio::task::spawn_blocking(move || history::between(&dir, &old, &new));
    let found = found.await.map_err(|e| e.to_string())?;
    found.map(|list| list.len()).map_err(|e| e.to_string())
}

/// The report of what the same rule ran on the commit before.
async fn before(daemon: &Arc<Daemon>, job: &Job, old: &str) -> Option<RunReport> {
    let jobs = daemon.queue.jobs_of(old, 100).await.ok()?;
    let same = |j: &Job| {
        let alike = j.change.repository == job.change.repository
            && j.change.reference == job.change.reference
            && j.choice == job.choice;
        alike && j.state == JobState::Done && j.spec.search.is_none()
    };
    let run = jobs.into_iter().find(same)?.run?;
    let dir = daemon.context.dirs.runs().join(run);
    let read = tokio::task::spawn_blocking(move || report::json::of_run(dir.as_std_path()));
    read.await.ok()?.ok()?
}

/// What a finding is about, across runs.
fn subject(finding: &Finding) -> (String, String) {
    (finding.suite.clone(), finding.about())
}

/// Whether a search can tell more than the finding does. What was seen too seldom to be told from chance is
/// worth one: its tries tell that too. A known flake is not, nor what the baseline has or cannot say.
fn worth(finding: &Finding) -> bool {
    use FindingKind::{Fixed, Flake, Missed};
    let kind = !matches!(finding.kind, Flake | Missed | Fixed);
    kind && matches!(finding.news, News::New | News::Unclear)
}

/// The searches for a report's findings: what is certainly new first, then the gravest.
fn asked(report: &RunReport, before: Option<&RunReport>, most: usize) -> Vec<Search> {
    let was: BTreeSet<_> = before
        .iter()
        .flat_map(|r| &r.verdict.findings)
        .filter(|f| f.kind != FindingKind::Fixed)
        .map(subject)
        .collect();
    let mut seen = BTreeSet::new();
    let fresh = report.verdict.findings.iter().filter(|f| worth(f));
    let mut fresh: Vec<&Finding> = fresh.filter(|f| !was.contains(&subject(f))).collect();
    fresh.sort_by_key(|f| f.news != News::New || f.kind == FindingKind::Undecided);
    let mut all = Vec::new();
    for finding in fresh {
        let Some(cell) = cell(report, finding) else {
            continue;
        };
        let built = cell.stage != StageResult::BuildFailed;
        let case = finding.case.clone().filter(|_| built);
        if Wanted::of(cell, case.as_ref()).is_some() && seen.insert(subject(finding)) {
            all.push(Search {
                run: report.run.0.clone(),
                cell: cell.id.clone(),
                case,
                about: finding.about(),
                sentence: text::line(finding.sentence.as_bytes(), SENTENCE),
            });
        }
    }
    all.truncate(most);
    all
}

/// The cell in which a finding is tried: of the column that fails most often.
fn cell<'a>(report: &'a RunReport, finding: &Finding) -> Option<&'a CellResult> {
    let often = |bad: u32, total: u32| u64::from(bad) * 1_000_000 / u64::from(total.max(1));
    let mut columns: Vec<_> = finding.failing.iter().collect();
    columns.sort_by_key(|t| std::cmp::Reverse(often(t.bad, t.total)));
    let named = |column: &str, cell: &CellResult| {
        let id = &cell.id;
        let there = [false, true].map(|several| id.column(several).0);
        id.suite == finding.suite && id.side == Side::Candidate && there.iter().any(|c| c == column)
    };
    columns
        .iter()
        .find_map(|t| report.cells.iter().find(|c| named(t.port.as_str(), c)))
}

/// Carries a search out.
pub(super) async fn attempt(
    daemon: &Arc<Daemon>,
    job: &Job,
    search: &Search,
    cancel: CancellationToken,
) -> Result<End, Failure> {
    let (own, this, what) = (daemon.clone(), job.clone(), search.clone());
    let begun = tokio::task::spawn_blocking(move || begin(&own, &this, &what)).await;
    let begun = begun.map_err(|e| Failure::internal(format!("preparing a search: {e}")))??;
    let bus = Bus::unlogged();
    let id = job.id;
    let mut tell = |news: Tell<'_>| {
        let Tell::Tried {
            revision, tried, ..
        } = news;
        let word = match tried {
            Tried::Bad => "fails",
            Tried::Good => "does not fail",
            Tried::Other { .. } => "left out",
        };
        info!(job = id, commit = revision.name, word, "tried");
    };
    let Begun {
        revisions,
        order,
        known,
        run,
        ground,
    } = begun;
    let ended = tokio::select! {
        ended = bisect::search(&revisions, &order, &known, &bus, &mut tell) => ended?,
        // Its guests end with it; the tries that were made are kept.
        () = cancel.cancelled() => {
            return Ok(End { interrupted: true, note: String::new(), findings: None });
        }
    };
    let what = search.what();
    let mut answer = told::json(&ended, &revisions, &what);
    let found = match ended.answer.place {
        Place::Within { first, last } if first == last && ended.sure => revisions.get(first),
        _ => None,
    };
    if let Some(revision) = found {
        let dir = ground.pushed.repository.clone();
        answer["subject"] = json!(revision.subject());
        if let Ok(Some(commit)) = history::commit(&dir, &revision.name) {
            let authors = history::authors(&dir, Some(&format!("{commit}^")), &commit);
            answer["authors"] = json!(authors.unwrap_or_default());
            answer["commit"] = json!(commit);
        }
    }
    answer["job"] = json!(job.id);
    answer["cell"] = json!(search.cell);
    answer["case"] = json!(search.case);
    answer["finding"] = json!(search.sentence);
    let bytes = serde_json::to_vec(&answer).map_err(Failure::internal)?;
    run.write_search(job.id, &bytes)?;
    Ok(End {
        interrupted: false,
        note: ended.sentence(&what, &revisions),
        findings: None,
    })
}

struct Begun {
    revisions: Vec<revisions::Revision>,
    order: Order,
    known: bisect::Known,
    run: RunDir,
    ground: Ground,
}

/// The run, the commits, and what is known of them. Blocks.
fn begin(daemon: &Daemon, job: &Job, search: &Search) -> Result<Begun, Failure> {
    let run = RunDir {
        path: daemon.context.dirs.runs().join(&search.run).into(),
    };
    let gone = || Failure::usage(format!("run {} is not there any more", search.run));
    let record = run.record().map_err(|_| gone())?;
    let cell = run.cell(&search.cell)?.ok_or_else(gone)?;
    let wanted = Wanted::of(&cell, search.case.as_ref()).ok_or_else(|| {
        Failure::usage(format!(
            "{} did not fail in run {}",
            search.what(),
            search.run
        ))
    })?;
    let only = Selection {
        ports: vec![search.cell.port.0.clone()],
        suites: vec![search.cell.suite.clone()],
        release: None,
    };
    let mut ground = ground(daemon, job, &only)?;
    baseline::prepare(&mut ground.setup, &record.baselines);
    let old = job.change.old.as_deref().unwrap_or_default();
    let range = format!("{old}..{}", job.change.new);
    let setup = &ground.setup;
    let commits = revisions::commits(setup, &search.cell.suite, &range, Some(&ground.pushed))?;
    let order = Order {
        id: search.cell.clone(),
        wanted,
        confidence: SURE,
        at_once: usize::try_from(setup.capacity().cores).unwrap_or(1),
        most_tries: TRIES,
    };
    let known = bisect::known(&commits, &order)?;
    Ok(Begun {
        revisions: commits,
        order,
        known,
        run,
        ground,
    })
}

#[cfg(test)]
#[path = "search_tests.rs"]
mod tests;
