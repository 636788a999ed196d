//! The accounts of one cell: which cases are still owed, who has taken them, and what came of the
//! others. Pure.
//!
//! ```text
//!          claim            enter
//!   owed ----------> taken ----------> done
//!    ^ ^    guest ends |                 |
//!    | \---------------/   guest damaged |
//!    \-----------------------------------/
//! ```
//!
//! A suite always completes: every case of every pass ends with an outcome. A dead guest costs the
//! case that ran; a fault of the host costs nothing, the case is owed again; a runner that ends
//! without a word about a case gets a second chance, then the case counts as missed, or as broken
//! where the runner died of it. Attempts in a
//! guest that was found damaged stay, marked, and their cases are owed again, in smaller batches,
//! until the case after which the guest was damaged is known.
//!
//! Once all passes are done, failed cases are owed again in fresh guests (repeats), and what is
//! suspected of a guest's death is owed alone (confirmations). Several guests may draw on one
//! account at once; each has a number.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::model::outcome::Sense;
use crate::model::{Attempt, CaseId, Outcome, Purpose};
use crate::plan::share::{Pool, next_share};
use crate::plan::{Order, Repeats, memory_byte};

pub use super::accounts::{Batch, Blame, CaseEnd, Next, Policy};
use super::accounts::{Care, Slot};

/// How often a runner may end without a word about a case before the case is missed.
const CHANCES: u32 = 2;
/// Suspects that are run alone in one cell; further ones stay unconfirmed.
const SUSPECTS: usize = 8;
/// Cases that are worth a further guest.
const WORTH_A_GUEST: usize = 8;
/// Cases before a death that are kept as candidates.
const CANDIDATES: usize = 5;

/// The accounts of one cell.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    policy: Policy,
    cases: Vec<CaseId>,
    places: HashMap<CaseId, usize>,
    limits: HashMap<CaseId, Duration>,
    script: Vec<Batch>,
    attempts: Vec<Attempt>,
    done: HashSet<Slot>,
    taken: HashMap<Slot, u32>,
    used: HashSet<u32>,
    silent_ends: HashMap<Slot, u32>,
    care: HashMap<CaseId, Care>,
    harmful: HashSet<CaseId>,
    suspects: Vec<CaseId>,
    ends: u64,
}

impl Ledger {
    /// Accounts of a cell; `earlier` holds the attempts that an interrupted run of the same cell
    /// made.
    pub fn new(policy: Policy, earlier: Vec<Attempt>) -> Self {
        let done = earlier
            .iter()
            .filter(|a| a.counts())
            .map(|a| (a.purpose, a.pass, a.case.clone()))
            .collect();
        Self {
            policy,
            attempts: earlier,
            done,
            ..Self::default()
        }
    }

    /// Accounts of exactly these cases in exactly this order, for one guest. A case that comes again
    /// is a further pass.
    pub fn script(cases: &[CaseId]) -> Self {
        let mut script: Vec<Batch> = Vec::new();
        let mut times: HashMap<&CaseId, u32> = HashMap::new();
        for case in cases {
            let pass = times.entry(case).or_insert(0);
            *pass += 1;
            match script.last_mut() {
                Some(last) if last.pass == *pass => last.cases.push(case.clone()),
                _ => script.push(Batch {
                    purpose: Purpose::Probe,
                    pass: *pass,
                    cases: vec![case.clone()],
                }),
            }
        }
        Self {
            script,
            ..Self::default()
        }
    }

    /// Accounts of one case that is wanted once, alone in a guest.
    pub fn once(purpose: Purpose, pass: u32, case: CaseId) -> Self {
        let cases = vec![case];
        Self {
            script: vec![Batch {
                purpose,
                pass,
                cases,
            }],
            ..Self::default()
        }
    }

    /// Whether the suite's own list must be known before anything runs. A script needs it only where
    /// a runner has an order of its own.
    pub fn wants_list(&self, runner_orders: bool) -> bool {
        let long = |batch: &Batch| batch.cases.len() > 1;
        let needed = self.script.is_empty() || (runner_orders && self.script.iter().any(long));
        needed && !self.is_listed()
    }

    /// Notes the time limits of the cases that have one of their own.
    pub fn set_limits(&mut self, limits: HashMap<CaseId, Duration>) {
        self.limits = limits;
    }

    /// A case's own time limit.
    pub fn limit(&self, case: &CaseId) -> Option<Duration> {
        self.limits.get(case).copied()
    }

    /// Sets the suite's cases, in its order; a name that comes twice counts once.
    pub fn set_cases(&mut self, cases: Vec<CaseId>) {
        self.places.clear();
        self.cases.clear();
        for case in cases {
            if !self.places.contains_key(&case) {
                self.places.insert(case.clone(), self.cases.len());
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
        self.cases.len() as u64 * u64::from(self.policy.passes)
    }

    /// The byte that fills memory in a pass. Repeats find it as it is: they are one experiment.
    pub fn memory(&self, purpose: Purpose, pass: u32) -> Option<u8> {
        let seed = self.policy.memory_seed.filter(|_| purpose == Purpose::Pass);
        memory_byte(seed, pass)
    }

    /// The place of a case in the suite's own order.
    pub fn place(&self, case: &CaseId) -> Option<usize> {
        self.places.get(case).copied()
    }

    /// Cases that ended by themselves so far, in any guest: what tells progress from a loop.
    pub fn ends(&self) -> u64 {
        self.ends
    }

    /// What a guest may do next. A batch is the guest's own until it has ended or
    /// [`released`](Self::release) it.
    pub fn next(&mut self, guest: u32) -> Next {
        let Some(batch) = self.draw() else {
            return Next::Nothing;
        };
        let alone = match batch.purpose {
            Purpose::Pass => self.policy.order == Order::EachAlone,
            Purpose::Repeat | Purpose::Confirm | Purpose::Adaptive => true,
            Purpose::Probe => false,
        };
        if alone && self.used.contains(&guest) {
            return Next::Fresh;
        }
        for case in &batch.cases {
            let slot = (batch.purpose, batch.pass, case.clone());
            self.taken.insert(slot, guest);
        }
        self.used.insert(guest);
        Next::Batch(batch)
    }

    /// True where a fresh guest would find work now.
    pub fn has_work(&self) -> bool {
        !self.is_listed() || self.draw().is_some()
    }

    /// How many further guests would find work that is worth a guest, the suite being listed.
    pub fn spare(&self) -> u32 {
        let free = |purpose, pass, cases: &[CaseId]| {
            let free = |c: &&CaseId| self.is_free(&(purpose, pass, (*c).clone()));
            cases.iter().filter(free).count()
        };
        let passes = 1..=self.policy.passes;
        let cases: usize = passes.map(|p| free(Purpose::Pass, p, &self.cases)).sum();
        let guests = match self.policy.order {
            Order::EachAlone => cases,
            Order::Listed | Order::Shuffled(_) => cases.div_ceil(WORTH_A_GUEST),
        };
        if guests > 0 || !self.passes_done() {
            return u32::try_from(guests).unwrap_or(u32::MAX);
        }
        let Repeats { failed, crashed } = self.policy.repeats;
        let cases = if failed > 0 {
            self.failed()
        } else {
            Vec::new()
        };
        let rounds = (1..=failed).filter(|&p| free(Purpose::Repeat, p, &cases) > 0);
        let suspects = &self.suspects[..self.suspects.len().min(SUSPECTS)];
        let alone = (1..=crashed).map(|p| free(Purpose::Confirm, p, suspects));
        u32::try_from(rounds.count() + alone.sum::<usize>()).unwrap_or(u32::MAX)
    }

    /// True once every case of every pass has an outcome.
    pub fn passes_done(&self) -> bool {
        self.is_listed() && (1..=self.policy.passes).all(|pass| !self.owes(pass))
    }

    fn owes(&self, pass: u32) -> bool {
        self.cases
            .iter()
            .any(|c| !self.done.contains(&(Purpose::Pass, pass, c.clone())))
    }

    fn is_free(&self, slot: &Slot) -> bool {
        !self.done.contains(slot) && !self.taken.contains_key(slot)
    }

    fn free(&self, purpose: Purpose, pass: u32, cases: Vec<CaseId>) -> Vec<CaseId> {
        let free = |case: &CaseId| self.is_free(&(purpose, pass, case.clone()));
        cases.into_iter().filter(free).collect()
    }

    fn draw(&self) -> Option<Batch> {
        for batch in &self.script {
            let cases = self.free(batch.purpose, batch.pass, batch.cases.clone());
            if !cases.is_empty() {
                return Some(Batch {
                    cases,
                    ..batch.clone()
                });
            }
        }
        for pass in 1..=self.policy.passes {
            let order = self.policy.order.places(self.cases.len(), pass);
            let cases = order.into_iter().map(|i| self.cases[i].clone()).collect();
            let free = self.free(Purpose::Pass, pass, cases);
            if !free.is_empty() {
                let cases = self.cut(free);
                return Some(Batch {
                    purpose: Purpose::Pass,
                    pass,
                    cases,
                });
            }
        }
        if !self.passes_done() {
            // Another guest has the rest, and what failed is not known yet.
            return None;
        }
        self.draw_again()
    }

    /// Repeats and confirmations.
    fn draw_again(&self) -> Option<Batch> {
        let repeats = self.policy.repeats;
        let failed = if repeats.failed > 0 {
            self.failed()
        } else {
            Vec::new()
        };
        for pass in 1..=repeats.failed {
            let cases = self.free(Purpose::Repeat, pass, failed.clone());
            if !cases.is_empty() {
                return Some(Batch {
                    purpose: Purpose::Repeat,
                    pass,
                    cases,
                });
            }
        }
        let suspects: Vec<CaseId> = self.suspects.iter().take(SUSPECTS).cloned().collect();
        for pass in 1..=repeats.crashed {
            let free = self.free(Purpose::Confirm, pass, suspects.clone());
            if let Some(case) = free.into_iter().next() {
                return Some(Batch {
                    purpose: Purpose::Confirm,
                    pass,
                    cases: vec![case],
                });
            }
        }
        None
    }

    /// The cases that failed in a pass and did not take their guest along, in the suite's order.
    fn failed(&self) -> Vec<CaseId> {
        let bad: HashSet<&CaseId> = self
            .attempts
            .iter()
            .filter(|a| a.purpose == Purpose::Pass && a.counts())
            .filter(|a| a.outcome.sense() == Sense::Bad)
            .map(|a| &a.case)
            .collect();
        let again = |c: &&CaseId| bad.contains(c) && !self.suspects.contains(c);
        self.cases.iter().filter(again).cloned().collect()
    }

    /// What a case of this cell took so far, on average; `None` where too few have ended.
    fn mean_duration(&self) -> Option<Duration> {
        let known = self.attempts.iter().filter_map(|a| a.duration);
        let (sum, count) = known.fold((Duration::ZERO, 0_u32), |(sum, n), d| {
            (sum.saturating_add(d), n + 1)
        });
        (count >= 8).then(|| sum / count)
    }

    /// The next batch of a pass out of what nobody has taken.
    fn cut(&self, mut free: Vec<CaseId>) -> Vec<CaseId> {
        if self.policy.order == Order::EachAlone {
            free.truncate(1);
            return free;
        }
        // A case that was never seen takes what this cell's others take.
        let like_others = self.mean_duration();
        let took: Vec<Option<Duration>> = free
            .iter()
            .map(|c| self.policy.took.get(c).copied().or(like_others))
            .collect();
        let passing = |slot: &&Slot| slot.0 == Purpose::Pass;
        let share = next_share(&Pool {
            cases: &free,
            took: &took,
            guests: self.policy.guests,
            under_way: self.taken.keys().filter(passing).count(),
            ordered: self.policy.order != Order::Listed,
        });
        let care = |case: &CaseId| self.care.get(case).copied().unwrap_or_default();
        let first = &free[share[0]];
        let level = care(first);
        let mut cases: Vec<CaseId> = Vec::with_capacity(share.len());
        for case in share.iter().map(|&i| &free[i]) {
            let apart = level == Care::ByProgram && case.program != first.program;
            if !cases.is_empty() && (care(case) != level || apart || level == Care::Alone) {
                break;
            }
            cases.push(case.clone());
            // A guest is looked at, and not used any more, right after what damaged one before.
            if self.harmful.contains(case) {
                break;
            }
        }
        cases
    }

    /// Enters a result. `None` where the guest was not asked for it: a name that the suite did not
    /// list, or a second result for one execution. A guest is not trusted with the accounts.
    pub fn enter(&mut self, batch: &Batch, guest: u32, end: CaseEnd) -> Option<Attempt> {
        let attempt = self.enter_death(batch, guest, end)?;
        self.ends += 1;
        Some(attempt)
    }

    /// The same for a case that did not end by itself: its guest died while it ran.
    pub fn enter_death(&mut self, batch: &Batch, guest: u32, end: CaseEnd) -> Option<Attempt> {
        let slot = (batch.purpose, batch.pass, end.case);
        if self.taken.get(&slot) != Some(&guest) {
            return None;
        }
        self.taken.remove(&slot);
        Some(self.book(
            slot,
            guest,
            end.outcome,
            end.reason,
            end.duration,
            end.output,
        ))
    }

    fn book(
        &mut self,
        slot: Slot,
        guest: u32,
        outcome: Outcome,
        reason: Option<String>,
        duration: Option<Duration>,
        output: Option<String>,
    ) -> Attempt {
        let attempt = Attempt {
            memory: self.memory(slot.0, slot.1),
            case: slot.2.clone(),
            pass: slot.1,
            purpose: slot.0,
            guest,
            doubtful: None,
            outcome,
            reason,
            duration,
            output,
        };
        self.done.insert(slot);
        self.attempts.push(attempt.clone());
        attempt
    }

    /// Adds the output of attempts that the runner's results file knows and its stream did not say.
    pub fn add_output(&mut self, batch: &Batch, guest: u32, case: &CaseId, output: String) {
        if let Some(attempt) = self.attempts.iter_mut().rev().find(|a| {
            (a.purpose, a.pass, a.guest) == (batch.purpose, batch.pass, guest)
                && a.case == *case
                && a.output.is_none()
        }) {
            attempt.output = Some(output);
        }
    }

    /// The runner ended by itself. Cases of the batch without a result are owed again, or missed
    /// after two chances; returns what was booked. Where a case was `open`, the runner died of it and
    /// never came to the others: theirs is no chance lost, and it is broken when that happens again.
    pub fn batch_ended(
        &mut self,
        batch: &Batch,
        guest: u32,
        open: Option<&CaseId>,
        reason: &str,
    ) -> Vec<Attempt> {
        let mut booked = Vec::new();
        for case in &batch.cases {
            let slot = (batch.purpose, batch.pass, case.clone());
            if self.taken.get(&slot) != Some(&guest) {
                continue;
            }
            self.taken.remove(&slot);
            if open.is_some_and(|open| open != case) {
                continue;
            }
            let ends = self.silent_ends.entry(slot.clone()).or_insert(0);
            *ends += 1;
            if *ends >= CHANCES {
                let (outcome, why) = match open {
                    Some(_) => (
                        Outcome::Broken,
                        "the runner died while it ran, more than once",
                    ),
                    None => (Outcome::Missed, reason),
                };
                booked.push(self.book(slot, guest, outcome, Some(why.to_owned()), None, None));
            }
        }
        booked
    }

    /// A guest is no more: what it had taken and not done is owed again.
    pub fn release(&mut self, guest: u32) {
        self.taken.retain(|_, taker| *taker != guest);
    }

    /// A guest was found damaged after a batch. Where one case only had run since it was sound, or
    /// the runner died of an `open` one, that is the culprit: results stand, and it is named. Else
    /// nothing is known of any of them: their attempts are doubtful and their cases owed again, in
    /// smaller batches.
    pub fn damaged(
        &mut self,
        batch: &Batch,
        guest: u32,
        open: Option<&CaseId>,
        why: &str,
    ) -> Blame {
        if let Some(open) = open {
            self.harmful.insert(open.clone());
            return Blame::Culprit(open.clone());
        }
        let mine = |a: &Attempt| {
            (a.purpose, a.pass, a.guest) == (batch.purpose, batch.pass, guest)
                && a.counts()
                && a.outcome != Outcome::Missed
                && batch.cases.contains(&a.case)
        };
        let ran: Vec<CaseId> = self
            .attempts
            .iter()
            .filter(|a| mine(a))
            .map(|a| a.case.clone())
            .collect();
        if let [one] = &ran[..] {
            self.harmful.insert(one.clone());
            return Blame::Culprit(one.clone());
        }
        let one_program = ran.iter().all(|c| c.program == ran[0].program);
        let care = if one_program {
            Care::Alone
        } else {
            Care::ByProgram
        };
        for attempt in self.attempts.iter_mut().filter(|a| mine(a)) {
            attempt.doubtful = Some(why.to_owned());
            let slot = (attempt.purpose, attempt.pass, attempt.case.clone());
            self.done.remove(&slot);
            self.care.insert(attempt.case.clone(), care);
        }
        Blame::Doubt(
            ran.into_iter()
                .map(|case| (batch.purpose, batch.pass, case))
                .collect(),
        )
    }

    /// A case after which an earlier guest was damaged.
    pub fn note_harmful(&mut self, case: CaseId) {
        self.harmful.insert(case);
    }

    /// A guest died while this case ran: it is run alone once the passes are done.
    pub fn suspect(&mut self, case: &CaseId) {
        if !self.suspects.contains(case) {
            self.suspects.push(case.clone());
        }
    }

    /// How often a suspect took its guest along when it ran alone: times, of how many.
    pub fn confirmed(&self, case: &CaseId) -> Option<(u32, u32)> {
        let alone = self
            .attempts
            .iter()
            .filter(|a| a.purpose == Purpose::Confirm && a.case == *case && a.counts());
        let (mut times, mut of) = (0, 0);
        for attempt in alone.filter(|a| a.outcome != Outcome::Missed) {
            times += u32::from(matches!(attempt.outcome, Outcome::Crashed | Outcome::Hung));
            of += 1;
        }
        (of > 0).then_some((times, of))
    }

    /// The last cases that ended in a guest, the latest first.
    pub fn last_in(&self, guest: u32) -> Vec<CaseId> {
        let there = self.attempts.iter().rev().filter(|a| a.guest == guest);
        let alive = there.filter(|a| a.outcome != Outcome::Crashed);
        alive.take(CANDIDATES).map(|a| a.case.clone()).collect()
    }

    /// Nothing more will run: whatever the passes still owe is missed, for this reason.
    pub fn close(&mut self, guest: u32, reason: &str) -> Vec<Attempt> {
        self.taken.clear();
        let mut missed = Vec::new();
        for pass in 1..=self.policy.passes {
            for case in self.cases.clone() {
                let slot = (Purpose::Pass, pass, case);
                if !self.done.contains(&slot) {
                    let why = Some(reason.to_owned());
                    missed.push(self.book(slot, guest, Outcome::Missed, why, None, None));
                }
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
#[path = "ledger_tests.rs"]
mod tests;
