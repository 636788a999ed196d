//! How much slower than the others a port is, learnt from what the same cases took before. Pure.
//!
//! A case's time limit was written for a machine that exists. Under emulation a port may be several
//! times slower than the next one; a limit that is right for the fastest port of a matrix is stretched
//! for the others by as much as they were seen to be slower. Only the middle of many cases counts: one
//! case that waits for its own time-out somewhere says nothing about a port.

use std::collections::HashMap;
use std::time::Duration;

use crate::model::CaseId;

/// Cases that end sooner tell more about starting processes than about a port.
const SHORT: Duration = Duration::from_millis(50);
/// Fewer common cases than this teach nothing.
const ENOUGH: usize = 5;
/// Nothing is stretched by more: a suite must end.
const MOST: f64 = 10.0;

/// The factor, from 1 to 10: the median over cases of what each took `here` against the least that it
/// took on any of `ports`.
pub fn learnt(here: &HashMap<CaseId, Duration>, ports: &[HashMap<CaseId, Duration>]) -> f64 {
    let mut ratios: Vec<f64> = here
        .iter()
        .filter(|(_, took)| **took >= SHORT)
        .filter_map(|(case, took)| {
            let least = ports.iter().filter_map(|p| p.get(case)).min()?;
            let least = (*least).max(Duration::from_millis(1));
            Some(took.as_secs_f64() / least.as_secs_f64())
        })
        .collect();
    if ratios.len() < ENOUGH {
        return 1.0;
    }
    let middle = ratios.len() / 2;
    let (_, median, _) = ratios.select_nth_unstable_by(middle, f64::total_cmp);
    median.clamp(1.0, MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn took(millis: &[u64]) -> HashMap<CaseId, Duration> {
        let case = |(i, ms): (usize, &u64)| {
            let id = CaseId::new("t", format!("c{i}"));
            (id, Duration::from_millis(*ms))
        };
        millis.iter().enumerate().map(case).collect()
    }

    #[test]
    fn the_middle_of_many_cases_tells() {
        let fast = took(&[100, 200, 300, 400, 500, 5000]);
        // One of them ran into its limit.
        let slow = took(&[300, 600, 900, 1200, 1500, 900_000]);
        let ports = [fast.clone(), slow.clone()];
        assert_eq!(learnt(&slow, &ports), 3.0);
        assert_eq!(learnt(&fast, &ports), 1.0);
    }

    #[test]
    fn little_teaches_nothing() {
        let fast = took(&[10, 10, 10, 10, 10, 10]);
        let slow = took(&[30, 30, 30, 30, 30, 30]);
        assert_eq!(learnt(&slow, &[fast, slow.clone()]), 1.0);
        let few = took(&[1000, 9000]);
        assert_eq!(learnt(&few, &[took(&[1, 1])]), 1.0);
        assert_eq!(learnt(&few, &[]), 1.0);
        assert_eq!(learnt(&took(&[90_000; 9]), &[took(&[0; 9])]), MOST);
    }
}
