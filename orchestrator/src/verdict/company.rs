//! In whose company a flaky case fails: the case that ran right before it in the same guest.
//!
//! It only speaks where passes had different orders and one neighbour tells all failures from all
//! passes. Searching for a polluter further back needs runs of its own.

use std::collections::{BTreeMap, BTreeSet};

use super::tally::Row;
use crate::model::outcome::Sense;
use crate::model::{CaseId, Side};

/// Failures that a neighbour must account for before it is named.
const LEAST: u32 = 2;

/// Zero or one line.
pub fn lines(row: &Row<'_>) -> Vec<String> {
    let mut after_bad: BTreeMap<Option<&CaseId>, u32> = BTreeMap::new();
    let mut after_good: BTreeSet<Option<&CaseId>> = BTreeSet::new();
    for entry in row.entries.iter().filter(|e| e.side == Side::Candidate) {
        let attempts = &entry.cell.attempts;
        let earlier = attempts.get(..entry.position as usize).unwrap_or_default();
        // Several guests of a cell may live at once; their attempts stand in the order of their ends.
        let neighbour = earlier
            .iter()
            .rfind(|a| a.guest == entry.attempt.guest)
            .map(|a| &a.case);
        match entry.attempt.outcome.sense() {
            Sense::Bad => *after_bad.entry(neighbour).or_default() += 1,
            Sense::Good => {
                after_good.insert(neighbour);
            }
            Sense::Silent => {}
        }
    }
    let mut neighbours = after_bad.into_iter();
    match (neighbours.next(), neighbours.next()) {
        (Some((Some(case), n)), None)
            if n >= LEAST && !after_good.is_empty() && !after_good.contains(&Some(case)) =>
        {
            vec![format!(
                "It fails only right after `{case}` ({n} times), and never passes there."
            )]
        }
        _ => Vec::new(),
    }
}
