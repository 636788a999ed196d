//! Puts the questions of a search for polluters to fresh guests.

use std::collections::HashSet;

use crate::model::CaseId;
use crate::verdict::chance::Count;
use crate::verdict::polluter::{Answer, Search, Step};

use super::RunError;
use super::bisect::{Tried, Wanted, judge};
use super::bus::Bus;
use super::facts::Setup;
use super::guests::RaiseError;
use super::trial::{self, Ask};

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Order {
    /// The cell.
    pub id: crate::model::CellId,
    /// The failure of the victim.
    pub wanted: Wanted,
    /// The cases that ran before the victim in the guest in which it failed, in their order; what the
    /// suite has before it where that is not known.
    pub ran_before: Vec<CaseId>,
    /// What the run has shown of the victim after these.
    pub seen: Count,
    /// The probability at which an answer is given.
    pub confidence: f64,
    /// The most guests.
    pub most_guests: u64,
}

/// A question that was answered.
#[derive(Debug)]
pub struct Asked<'a> {
    /// The earlier cases that ran.
    pub cases: &'a [CaseId],
    /// Whether the victim failed after them.
    pub failed: bool,
    /// What is known to be needed so far.
    pub needed: Vec<CaseId>,
}

/// How a search ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// The answer; places are those in `earlier`.
    pub answer: Answer,
    /// The cases before the victim, in the order in which they ran.
    pub earlier: Vec<CaseId>,
    /// Guests that it took.
    pub guests: u64,
}

impl Ended {
    /// Pairs of polluters of which the first has to run before the second.
    pub fn in_order(&self) -> Vec<(&CaseId, &CaseId)> {
        let Answer::Polluters { in_order, .. } = &self.answer else {
            return Vec::new();
        };
        let case = |at: &usize| self.earlier.get(*at);
        in_order
            .iter()
            .filter_map(|(a, b)| case(a).zip(case(b)))
            .collect()
    }

    /// The polluters, in the order in which they ran.
    pub fn polluters(&self) -> Vec<&CaseId> {
        match &self.answer {
            Answer::Polluters { cases, .. } | Answer::Unclear { needed: cases } => cases
                .iter()
                .filter_map(|at| self.earlier.get(*at))
                .collect(),
            Answer::Alone { .. } | Answer::NotReproduced { .. } => Vec::new(),
        }
    }
}

/// Searches for the smallest set of earlier cases after which the victim fails.
pub async fn search(
    setup: &Setup,
    victim: &CaseId,
    order: &Order,
    bus: &Bus,
    tell: &mut (dyn FnMut(Asked<'_>) + Send),
) -> Result<Ended, RunError> {
    let stage = trial::prepare(setup, &order.id, bus).await?;
    let scratch = tempfile::tempdir().map_err(|e| RunError::Host(e.to_string()))?;
    let console = scratch.path().join("console");
    let unraised = |e: RaiseError| RunError::Host(e.to_string());
    let (mut guest, _) = stage.raise("list", &console).await.map_err(unraised)?;
    let listed = stage.cases(&mut guest).await;
    guest.end(false).await;
    let mut suite = listed?;
    let end = suite.iter().position(|c| c == victim);
    let end = end.ok_or_else(|| RunError::Input(format!("the suite has no case {victim}")))?;
    // A case that is no more cannot be run.
    let listed: HashSet<&CaseId> = suite.iter().collect();
    let there = |c: &&CaseId| *c != victim && listed.contains(*c);
    let ran: Vec<CaseId> = order.ran_before.iter().filter(there).cloned().collect();
    let earlier = match ran.is_empty() {
        true => suite[..end].to_vec(),
        false => ran,
    };

    let mut search = Search::new(earlier.len(), order.confidence);
    search.seen_after_all(order.seen);
    let mut guests = 1;
    loop {
        let cases = match search.step() {
            Step::Ask(cases) if guests < order.most_guests => cases,
            Step::Ask(_) => {
                let needed = search.needed().iter().rev().copied().collect();
                return Ok(Ended {
                    answer: Answer::Unclear { needed },
                    earlier,
                    guests,
                });
            }
            Step::Done(answer) => {
                return Ok(Ended {
                    answer,
                    earlier,
                    guests,
                });
            }
        };
        let mut list: Vec<CaseId> = cases.iter().map(|at| earlier[*at].clone()).collect();
        list.push(victim.clone());
        let seen = stage.run(Ask::These(&list), &mut suite, &console).await?;
        guests += 1;
        let failed = match judge(&order.wanted, &seen) {
            Tried::Bad => true,
            Tried::Good => false,
            // An earlier case killed the guest, say: this list answers nothing, now or later.
            Tried::Other { why } => return Err(RunError::Host(why)),
        };
        search.record(failed);
        list.pop();
        let needed = search.needed().iter().rev();
        tell(Asked {
            cases: &list,
            failed,
            needed: needed.filter_map(|at| earlier.get(*at).cloned()).collect(),
        });
    }
}
