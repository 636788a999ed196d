//! How much of a suite the next guest is given, where several guests share it. Pure.
//!
//! Guests ask for work when they have none. Each gets a part of what is left: large at first, so
//! that there are few requests, smaller towards the end, so that all guests end at about the same
//! time. The longest programs go first, because what is long and starts late is what others wait
//! for; a program that is longer than a share is cut. Nothing here knows guests or clocks: what a
//! case took before is handed in.

use std::collections::HashMap;
use std::time::Duration;

use crate::model::CaseId;

/// Shares of less than this cost more to hand out than they save: a look at the guest and a new runner
/// take a third of a second.
const LEAST: Duration = Duration::from_millis(1500);
/// The same where nothing is known of any duration: cases.
const LEAST_CASES: f64 = 8.0;
/// Which part of an equal share is handed out at once, where durations are known and where not.
const BOLD: f64 = 0.8;
const CAREFUL: f64 = 0.5;

/// What one share is cut from.
#[derive(Debug, Clone, Copy)]
pub struct Pool<'a> {
    /// The cases that nobody has taken, in the order in which they are to run.
    pub cases: &'a [CaseId],
    /// What each of them took before, in the same order; `None` where it was never seen.
    pub took: &'a [Option<Duration>],
    /// Guests that share the work; 1 takes everything.
    pub guests: u32,
    /// Cases that other guests have taken and not done: a part of the work that is shared.
    pub under_way: usize,
    /// Whether the order matters: then a share is the beginning of what is left.
    pub ordered: bool,
}

/// The places in the pool of the cases of the next share, ascending. Never empty unless the pool is.
pub fn next_share(pool: &Pool<'_>) -> Vec<usize> {
    let all = || (0..pool.cases.len()).collect();
    if pool.guests <= 1 || pool.cases.len() <= 1 {
        return all();
    }
    let (weights, least, part) = weigh(pool);
    let total: f64 = weights.iter().sum();
    // Those who have asked before count with what they got: equal shares for all, not less for each.
    let each = total / pool.cases.len() as f64;
    let whole = total + each * pool.under_way as f64;
    let share = (whole / f64::from(pool.guests) * part).max(least);
    if share >= total {
        return all();
    }
    if pool.ordered {
        return fill(&weights, 0..pool.cases.len(), share);
    }
    let mut taken = Vec::new();
    let mut room = share;
    for program in longest_first(pool.cases, &weights) {
        let weight: f64 = program.iter().map(|&i| weights[i]).sum();
        if weight <= room {
            room -= weight;
            taken.extend(program);
        } else if taken.is_empty() {
            taken = fill(&weights, program, share);
            break;
        }
    }
    taken.sort_unstable();
    taken
}

/// The weights of the cases, the least share in the same unit, and the part of an equal share.
fn weigh(pool: &Pool<'_>) -> (Vec<f64>, f64, f64) {
    let known: Vec<f64> = pool
        .took
        .iter()
        .flatten()
        .map(Duration::as_secs_f64)
        .collect();
    if known.is_empty() {
        return (vec![1.0; pool.cases.len()], LEAST_CASES, CAREFUL);
    }
    // A case that nobody has seen counts as an average one; none weighs nothing.
    let mean = known.iter().sum::<f64>() / known.len() as f64;
    let weights = (0..pool.cases.len())
        .map(|i| pool.took.get(i).copied().flatten())
        .map(|took| took.map_or(mean, |t| t.as_secs_f64()).max(0.001))
        .collect();
    (weights, LEAST.as_secs_f64(), BOLD)
}

/// As many of the places, from the first, as fit into a share; at least one.
fn fill(weights: &[f64], places: impl IntoIterator<Item = usize>, share: f64) -> Vec<usize> {
    let mut sum = 0.0;
    let fits = |&i: &usize| {
        let first = sum == 0.0;
        sum += weights[i];
        first || sum <= share
    };
    places.into_iter().take_while(fits).collect()
}

/// The programs as lists of places, the heaviest first.
fn longest_first(cases: &[CaseId], weights: &[f64]) -> Vec<Vec<usize>> {
    let mut by_name: HashMap<&str, usize> = HashMap::new();
    let mut programs: Vec<(f64, Vec<usize>)> = Vec::new();
    for (place, case) in cases.iter().enumerate() {
        let at = *by_name.entry(&case.program).or_insert_with(|| {
            programs.push((0.0, Vec::new()));
            programs.len() - 1
        });
        programs[at].0 += weights[place];
        programs[at].1.push(place);
    }
    // Stable: programs of equal weight stay in the suite's order.
    programs.sort_by(|a, b| b.0.total_cmp(&a.0));
    programs.into_iter().map(|(_, places)| places).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn case(program: usize, i: usize) -> CaseId {
        CaseId::new(format!("t_{program:02}"), format!("c{i}"))
    }

    /// Hands out shares until nothing is left; the guest that is idle first asks first.
    fn deal(
        cases: &[CaseId],
        took: &[Option<Duration>],
        guests: u32,
        ordered: bool,
    ) -> (Vec<Vec<CaseId>>, Vec<f64>) {
        let mut left: Vec<(CaseId, Option<Duration>)> =
            cases.iter().cloned().zip(took.iter().copied()).collect();
        let mut clocks = vec![0.0; guests as usize];
        // What each guest was given last: its cases, and how long they take.
        let mut given = vec![(0.0, 1.0); guests as usize];
        let mut shares = Vec::new();
        while !left.is_empty() {
            let (idle, now) = clocks
                .iter()
                .copied()
                .enumerate()
                .min_by(|a, b| f64::total_cmp(&a.1, &b.1))
                .unwrap();
            let undone = |(end, (cases, time)): (&f64, &(f64, f64))| cases * (end - now) / time;
            let under_way: f64 = clocks.iter().zip(&given).map(undone).sum();
            let (names, times): (Vec<_>, Vec<_>) = left.iter().cloned().unzip();
            let share = next_share(&Pool {
                cases: &names,
                took: &times,
                guests,
                under_way: under_way as usize,
                ordered,
            });
            assert!(!share.is_empty());
            let of = |&i: &usize| times[i].unwrap_or(Duration::from_secs(1)).as_secs_f64();
            let time: f64 = share.iter().map(of).sum();
            clocks[idle] += time;
            given[idle] = (share.len() as f64, time.max(0.001));
            shares.push(share.iter().map(|&i| names[i].clone()).collect());
            for &i in share.iter().rev() {
                left.remove(i);
            }
        }
        (shares, clocks)
    }

    proptest! {
        /// Whatever the number of guests and the durations: every case is dealt exactly once.
        #[test]
        fn shares_are_the_suite(
            sizes in proptest::collection::vec(1usize..9, 1..12),
            times in proptest::collection::vec(proptest::option::of(0u64..20_000), 100),
            guests in 1u32..6,
            ordered: bool,
        ) {
            let cases: Vec<CaseId> = sizes
                .iter()
                .enumerate()
                .flat_map(|(p, &n)| (0..n).map(move |i| case(p, i)))
                .collect();
            let took: Vec<_> = times[..cases.len()]
                .iter()
                .map(|t| t.map(Duration::from_millis))
                .collect();
            let (shares, _) = deal(&cases, &took, guests, ordered);
            let mut dealt: Vec<CaseId> = shares.concat();
            if ordered {
                prop_assert_eq!(&dealt, &cases);
            }
            dealt.sort();
            let mut all = cases;
            all.sort();
            prop_assert_eq!(dealt, all);
        }
    }

    #[test]
    fn guests_end_together() {
        let cases: Vec<CaseId> = (0..200).map(|i| case(i / 10, i)).collect();
        let took = vec![Some(Duration::from_millis(500)); 200];
        for guests in 2..5 {
            let (shares, clocks) = deal(&cases, &took, guests, false);
            let longest = clocks.iter().copied().fold(0.0, f64::max);
            let ideal = 100.0 / f64::from(guests);
            assert!(longest < ideal * 1.1, "{guests}: {clocks:?}");
            assert!(shares.len() < 20, "{}", shares.len());
        }
    }

    #[test]
    fn the_long_program_goes_first_and_is_cut() {
        let mut cases: Vec<CaseId> = (0..10).map(|i| case(i, 0)).collect();
        cases.extend((0..10).map(|i| case(99, i)));
        let mut took = vec![Some(Duration::from_secs(1)); 10];
        took.extend(vec![Some(Duration::from_secs(9)); 10]);
        let (shares, _) = deal(&cases, &took, 2, false);
        assert!(shares[0].iter().all(|c| c.program == "t_99"));
        assert_eq!(shares[0].len(), 4);
    }
}
