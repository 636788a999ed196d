//! The accounts of one cell: which cases are still owed, and what came of the others. Pure.
//!
//! A suite always completes: every case of every pass ends with an outcome. A dead guest costs the
//! case that ran; a fault of the host costs nothing, the case is owed again; a runner that ends
//! without a word about a case gets a second chance, then the case counts as missed.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::model::{Attempt, CaseId, Outcome, Purpose};

/// How often a runner may end without a word about a case before the case is missed.
const CHANCES: u32 = 2;

/// What to ask the runner for next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Which pass over the suite, from 1.
    pub pass: u32,
    /// The cases owed in that pass, in the suite's order.
    pub cases: Vec<CaseId>,
}

/// The accounts of one cell.
#[derive(Debug, Clone)]
pub struct Ledger {
    cases: Vec<CaseId>,
    known: HashSet<CaseId>,
    passes: u32,
    guest: u32,
    attempts: Vec<Attempt>,
    done: HashSet<(u32, CaseId)>,
    silent_ends: HashMap<(u32, CaseId), u32>,
}

impl Ledger {
    /// Accounts of a cell that makes `passes` passes; `earlier` holds the attempts that an
    /// interrupted run of the same cell made.
    pub fn new(passes: u32, earlier: Vec<Attempt>) -> Self {
        let done = earlier.iter().map(|a| (a.pass, a.case.clone())).collect();
        let guest = earlier.iter().map(|a| a.guest).max().unwrap_or(0);
        Self {
            cases: Vec::new(),
            known: HashSet::new(),
            passes,
            guest,
            attempts: earlier,
            done,
            silent_ends: HashMap::new(),
        }
    }

    /// Sets the suite's cases, in its order; a name that comes twice counts once.
    pub fn set_cases(&mut self, cases: Vec<CaseId>) {
        self.known.clear();
        self.cases.clear();
        for case in cases {
            if self.known.insert(case.clone()) {
                self.cases.push(case);
            }
        }
    }

    /// True once the suite has been listed.
    pub fn is_listed(&self) -> bool {
        !self.cases.is_empty()
    }

    /// Attempts owed in all passes together.
    pub fn total(&self) -> u64 {
        self.cases.len() as u64 * u64::from(self.passes)
    }

    /// A new guest begins; returns its number, from 1.
    pub fn next_guest(&mut self) -> u32 {
        self.guest += 1;
        self.guest
    }

    /// The next cases to run; `None` when nothing is owed.
    pub fn next_batch(&self) -> Option<Batch> {
        (1..=self.passes).find_map(|pass| {
            let cases: Vec<CaseId> = self
                .cases
                .iter()
                .filter(|case| !self.done.contains(&(pass, (*case).clone())))
                .cloned()
                .collect();
            (!cases.is_empty()).then_some(Batch { pass, cases })
        })
    }

    /// Enters a result. `None` where the case was not owed: a name that the suite did not list,
    /// or a second result for one execution. A guest is not trusted with the accounts.
    pub fn enter(
        &mut self,
        pass: u32,
        case: &CaseId,
        outcome: Outcome,
        reason: Option<String>,
        duration: Option<Duration>,
        output: Option<String>,
    ) -> Option<Attempt> {
        if pass == 0 || pass > self.passes || !self.known.contains(case) {
            return None;
        }
        if !self.done.insert((pass, case.clone())) {
            return None;
        }
        let attempt = Attempt {
            case: case.clone(),
            pass,
            purpose: Purpose::Pass,
            doubtful: None,
            guest: self.guest,
            outcome,
            reason,
            duration,
            output,
        };
        self.attempts.push(attempt.clone());
        Some(attempt)
    }

    /// Adds the output of attempts that the runner's results file knows and its stream did not say.
    pub fn add_output(&mut self, pass: u32, case: &CaseId, output: String) {
        let guest = self.guest;
        if let Some(attempt) =
            self.attempts.iter_mut().rev().find(|a| {
                a.pass == pass && a.guest == guest && a.case == *case && a.output.is_none()
            })
        {
            attempt.output = Some(output);
        }
    }

    /// The runner ended by itself. Cases of the batch without a result are owed again, or missed
    /// after [`CHANCES`]; returns the missed ones.
    pub fn batch_ended(&mut self, batch: &Batch, reason: &str) -> Vec<Attempt> {
        let owed: Vec<CaseId> = batch
            .cases
            .iter()
            .filter(|case| !self.done.contains(&(batch.pass, (*case).clone())))
            .cloned()
            .collect();
        let mut missed = Vec::new();
        for case in owed {
            let ends = self
                .silent_ends
                .entry((batch.pass, case.clone()))
                .or_insert(0);
            *ends += 1;
            if *ends >= CHANCES {
                let why = Some(reason.to_owned());
                missed.extend(self.enter(batch.pass, &case, Outcome::Missed, why, None, None));
            }
        }
        missed
    }

    /// Nothing more will run: whatever is owed is missed, for this reason.
    pub fn close(&mut self, reason: &str) -> Vec<Attempt> {
        let mut missed = Vec::new();
        while let Some(batch) = self.next_batch() {
            for case in &batch.cases {
                let why = Some(reason.to_owned());
                missed.extend(self.enter(batch.pass, case, Outcome::Missed, why, None, None));
            }
        }
        missed
    }

    /// Everything entered so far, in order.
    pub fn attempts(&self) -> &[Attempt] {
        &self.attempts
    }

    /// Ends the accounts.
    pub fn into_attempts(self) -> Vec<Attempt> {
        self.attempts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cases(n: usize) -> Vec<CaseId> {
        (0..n).map(|i| CaseId::new("t", format!("c{i}"))).collect()
    }

    #[test]
    fn a_crash_costs_one_case_and_the_rest_goes_on() {
        let mut ledger = Ledger::new(1, vec![]);
        ledger.set_cases(cases(3));
        ledger.next_guest();
        let c = cases(3);
        ledger
            .enter(1, &c[0], Outcome::Passed, None, None, None)
            .unwrap();
        ledger
            .enter(1, &c[1], Outcome::Crashed, None, None, None)
            .unwrap();
        ledger.next_guest();
        assert_eq!(ledger.next_batch().unwrap().cases, [c[2].clone()]);
    }

    #[test]
    fn strangers_and_second_results_are_refused() {
        let mut ledger = Ledger::new(1, vec![]);
        ledger.set_cases(cases(1));
        let c = &cases(1)[0];
        assert!(
            ledger
                .enter(1, &CaseId::new("x", "y"), Outcome::Passed, None, None, None)
                .is_none()
        );
        assert!(
            ledger
                .enter(2, c, Outcome::Passed, None, None, None)
                .is_none()
        );
        assert!(
            ledger
                .enter(1, c, Outcome::Failed, None, None, None)
                .is_some()
        );
        assert!(
            ledger
                .enter(1, c, Outcome::Passed, None, None, None)
                .is_none()
        );
    }

    #[test]
    fn a_silent_runner_gets_a_second_chance() {
        let mut ledger = Ledger::new(1, vec![]);
        ledger.set_cases(cases(1));
        let batch = ledger.next_batch().unwrap();
        assert!(ledger.batch_ended(&batch, "no word").is_empty());
        assert_eq!(
            ledger.batch_ended(&batch, "no word")[0].outcome,
            Outcome::Missed
        );
        assert!(ledger.next_batch().is_none());
    }

    #[test]
    fn an_interrupted_cell_goes_on_where_it_was() {
        let mut first = Ledger::new(2, vec![]);
        first.set_cases(cases(2));
        first.next_guest();
        first.enter(1, &cases(2)[0], Outcome::Passed, None, None, None);
        let mut second = Ledger::new(2, first.into_attempts());
        second.set_cases(cases(2));
        assert_eq!(second.next_guest(), 2);
        assert_eq!(second.next_batch().unwrap().cases, [cases(2)[1].clone()]);
    }

    proptest! {
        /// Whatever guests do, every case of every pass ends with exactly one outcome.
        #[test]
        fn accounts_always_balance(n in 1usize..12, passes in 1u32..4, deeds in proptest::collection::vec((0usize..14, 0u8..4), 0..80)) {
            let mut ledger = Ledger::new(passes, vec![]);
            ledger.set_cases(cases(n));
            ledger.next_guest();
            for (which, deed) in deeds {
                let Some(batch) = ledger.next_batch() else { break };
                let case = CaseId::new("t", format!("c{which}"));
                match deed {
                    0 => { ledger.enter(batch.pass, &case, Outcome::Passed, None, None, None); }
                    1 => { ledger.enter(batch.pass, &case, Outcome::Crashed, None, None, None); ledger.next_guest(); }
                    2 => { ledger.batch_ended(&batch, "r"); }
                    _ => { ledger.next_guest(); }
                }
            }
            ledger.close("end");
            prop_assert_eq!(ledger.attempts().len() as u64, ledger.total());
            prop_assert!(ledger.next_batch().is_none());
        }
    }
}
