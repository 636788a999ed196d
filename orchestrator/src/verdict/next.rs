//! The cheapest cell that was not run and would tell rival explanations apart.
//!
//! Candidates are the ports and variants of which a manifest is known: those that are not in the
//! run, and those of the run that say nothing about the case. A cell where the rivals predict the
//! same tells nothing; one where they differ tells up to one bit. Among cells that tell the same
//! the cheaper one wins.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::tally::Row;
use super::traits::Explainer;
use crate::model::{Finding, NextCell, PortName, TraitSplit, Traits};

/// Everything that could be run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Known<'a> {
    /// Every port that has a manifest, with its traits, in the run or not.
    pub ports: Option<&'a BTreeMap<PortName, Traits>>,
    /// The kernel variants that the run has, with their traits.
    pub variants: Option<&'a BTreeMap<String, Traits>>,
    /// What a cell of a port costs, where that is known.
    pub costs: Option<&'a BTreeMap<PortName, Duration>>,
}

/// What a cell costs in comparisons where nothing is known of it.
const UNKNOWN_COST: Duration = Duration::from_secs(60);

/// The cell that tells most for its price, where the finding has rivals and such a cell exists.
pub fn cell(
    explainer: &Explainer,
    known: &Known<'_>,
    row: &Row<'_>,
    finding: &Finding,
) -> Option<NextCell> {
    if finding.splits.len() < 2 {
        return None;
    }
    let ran: BTreeSet<(&PortName, &str)> = explainer
        .places
        .iter()
        .zip(&row.candidate)
        .filter(|(_, tally)| tally.count().total > 0)
        .map(|((port, variant), _)| (port, variant.as_str()))
        .collect();
    let variants: BTreeSet<&str> = explainer.places.iter().map(|(_, v)| v.as_str()).collect();
    let none = Traits::new();
    let mut best: Option<(f64, NextCell)> = None;
    for (port, traits) in known.ports.into_iter().flatten() {
        for variant in &variants {
            if ran.contains(&(port, variant)) {
                continue;
            }
            let more = known
                .variants
                .and_then(|v| v.get(*variant))
                .unwrap_or(&none);
            let (fails, passes): (Vec<&TraitSplit>, Vec<&TraitSplit>) = finding
                .splits
                .iter()
                .partition(|s| holds(s, traits, more, variant));
            let share = fails.len() as f64 / finding.splits.len() as f64;
            let bits = entropy(share);
            if bits <= 0.0 {
                continue;
            }
            let cost = known.costs.and_then(|c| c.get(port)).copied();
            // A tenth of a bit is worth the price of a dearer cell, a hundredth is not.
            let price = cost.unwrap_or(UNKNOWN_COST).as_secs_f64().max(1.0);
            let worth = bits / price.powf(0.5);
            if best.as_ref().is_none_or(|(w, _)| worth > *w) {
                let own = |splits: Vec<&TraitSplit>| splits.into_iter().cloned().collect();
                let cell = NextCell {
                    port: port.clone(),
                    variant: (*variant).to_owned(),
                    if_it_fails: own(fails),
                    if_it_passes: own(passes),
                    bits: super::decide::round(bits),
                    cost,
                };
                best = Some((worth, cell));
            }
        }
    }
    best.map(|(_, cell)| cell)
}

fn holds(split: &TraitSplit, port: &Traits, variant: &Traits, name: &str) -> bool {
    split.all_of.iter().all(|(key, value)| {
        let has = variant.get(key).or_else(|| port.get(key));
        has == Some(value) || (key == "variant" && value == name)
    })
}

/// Of a coin with this chance, in bits.
pub fn entropy(p: f64) -> f64 {
    if p <= 0.0 || p >= 1.0 {
        return 0.0;
    }
    -(p * p.log2() + (1.0 - p) * (1.0 - p).log2())
}
