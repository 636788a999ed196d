//! Whose fault it may be: the same failure under several emulations of one port. Pure.

use serde::Serialize;

use super::chance::{Count, more_by_luck};

/// A difference that luck shows more often than this is none yet.
const DOUBT: f64 = 0.05;

/// What is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Suspicion {
    /// It fails under some emulations and not under others.
    DiffersByEmulator,
    /// It fails under all of them that say anything: the emulation is hardly to blame.
    FailsEverywhere,
    /// It fails under none.
    FailsNowhere,
    /// Too few attempts to tell.
    NotClear,
}

/// Compares the port's own emulation, `usual`, with the others.
pub fn weigh(usual: Count, others: &[Count]) -> Suspicion {
    let speaking: Vec<Count> = others.iter().copied().filter(|c| c.total > 0).collect();
    if usual.total == 0 || speaking.is_empty() {
        return Suspicion::NotClear;
    }
    // Each alternative is one more chance to be fooled.
    let limit = DOUBT / speaking.len() as f64;
    let apart = |c: &Count| more_by_luck(usual, *c).min(more_by_luck(*c, usual)) < limit;
    if speaking.iter().any(apart) {
        return Suspicion::DiffersByEmulator;
    }
    if usual.bad == 0 && speaking.iter().all(|c| c.bad == 0) {
        return Suspicion::FailsNowhere;
    }
    match usual.bad > 0 && speaking.iter().all(|c| c.bad > 0) {
        true => Suspicion::FailsEverywhere,
        false => Suspicion::NotClear,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_attempts_are_not_clear() {
        let c = |bad, total| Count { bad, total };
        for (usual, others, want) in [
            (c(5, 5), vec![c(0, 5)], Suspicion::DiffersByEmulator),
            (
                c(0, 5),
                vec![c(5, 5), c(0, 5)],
                Suspicion::DiffersByEmulator,
            ),
            (c(3, 3), vec![c(3, 3), c(2, 3)], Suspicion::FailsEverywhere),
            (c(1, 1), vec![c(0, 1)], Suspicion::NotClear),
            (c(0, 3), vec![c(0, 3)], Suspicion::FailsNowhere),
            (c(3, 3), vec![c(0, 0)], Suspicion::NotClear),
            (c(3, 3), vec![], Suspicion::NotClear),
        ] {
            assert_eq!(weigh(usual, &others), want, "{usual:?} {others:?}");
        }
    }
}
