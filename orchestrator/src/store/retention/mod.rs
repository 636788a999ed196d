//! What old runs keep, by age, count and tier.
//!
//! ```text
//! whole run --passing_consoles_days--> without consoles of passing cells
//!           --consoles_days-----------> without consoles
//!           --runs_days, runs_at_most-> reduced: record, findings, stages of cells, crashes
//! ```
//!
//! Never touched: a run that a process works on or that has no verdict yet (it can be gone on with), what
//! a sign-off cites, and what an open finding cites: the newest run of each matrix, the runs in which its
//! findings were seen, and those that it was compared with. [`choose`] decides and is pure; `sweep` does it.
//!
//! Deliberately not here: the cache (`fallout image gc`), which can be made again.

mod cited;
mod reduce;
mod sweep;
#[cfg(test)]
mod tests;

pub use cited::cited;
pub use sweep::{Done, Swept, sweep};

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::model::retention::Retention;

/// What is known of a run before it is decided.
#[derive(Debug, Clone, PartialEq)]
pub struct Subject {
    /// The run.
    pub run: String,
    /// Its matrix.
    pub matrix: String,
    /// When it began.
    pub started: Timestamp,
    /// It came to its end, and nobody works on it.
    pub over: bool,
    /// Only findings are left of it.
    pub reduced: bool,
}

/// What becomes of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Consoles of cells in which nothing went wrong go.
    PassingConsoles,
    /// All consoles go.
    Consoles,
    /// All but the record, the findings, stages and crashes goes.
    Reduce,
}

/// What is to be done with a run, and why; or why it is not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Choice {
    /// The run.
    pub run: String,
    /// What its age or number asks for.
    pub step: Step,
    /// By which limit.
    pub why: String,
    /// What keeps it all the same.
    pub kept: Option<String>,
}

/// Decides about every run that a limit asks for.
pub fn choose(
    subjects: &[Subject],
    cited: &BTreeMap<String, String>,
    limits: &Retention,
    now: Timestamp,
) -> Vec<Choice> {
    let mut newer: BTreeMap<&str, u32> = BTreeMap::new();
    let mut order: Vec<&Subject> = subjects.iter().collect();
    order.sort_by(|a, b| (b.started, &b.run).cmp(&(a.started, &a.run)));
    let mut chosen = Vec::new();
    for subject in order {
        let rank = newer.entry(&subject.matrix).or_default();
        if subject.reduced {
            continue;
        }
        *rank += 1;
        let Some((step, why)) = asked(subject, *rank, limits, now) else {
            continue;
        };
        let kept = match cited.get(&subject.run) {
            _ if !subject.over => Some("it is under way, or can be gone on with".to_owned()),
            cited => cited.cloned(),
        };
        chosen.push(Choice {
            run: subject.run.clone(),
            step,
            why,
            kept,
        });
    }
    chosen
}

/// The farthest step that a limit asks for. `rank` is 1 for the newest of its matrix.
fn asked(
    subject: &Subject,
    rank: u32,
    limits: &Retention,
    now: Timestamp,
) -> Option<(Step, String)> {
    let days = now.duration_since(subject.started).as_hours() / 24;
    let older = |limit: Option<u32>, name: &str| {
        let limit = limit.filter(|l| days >= i64::from(*l))?;
        Some(format!("{days} days old, {name} is {limit}"))
    };
    if let Some(why) = older(limits.runs_days, "runs_days") {
        return Some((Step::Reduce, why));
    }
    if let Some(most) = limits.runs_at_most.filter(|most| rank > *most) {
        let why = format!(
            "{} newer runs of {} are there, runs_at_most is {most}",
            rank - 1,
            subject.matrix
        );
        return Some((Step::Reduce, why));
    }
    if let Some(why) = older(limits.consoles_days, "consoles_days") {
        return Some((Step::Consoles, why));
    }
    let why = older(limits.passing_consoles_days, "passing_consoles_days")?;
    Some((Step::PassingConsoles, why))
}

/// Whether something of this time is older than so many days.
pub(super) fn is_older(than_days: u32, since: Timestamp, now: Timestamp) -> bool {
    now.duration_since(since) >= SignedDuration::from_hours(24 * i64::from(than_days))
}
