//! The judge with its repeats, and the obvious rule, over one draw.

use std::collections::BTreeSet;

use super::{Draw, Planted};
use crate::model::{FindingKind, TraitSplit};
use crate::verdict::chance::Count;
use crate::verdict::decide::{self, Decision};
use crate::verdict::dice::Dice;
use crate::verdict::repeats;
use crate::verdict::weigh::Counts;

/// What somebody says of one case.
#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    /// What it is; none where nothing is reported.
    pub kind: Option<FindingKind>,
    /// It is new since the baseline.
    pub new: bool,
    /// The columns that it is said to be bound to.
    pub region: Vec<u16>,
    /// Why, the likeliest first.
    pub splits: Vec<TraitSplit>,
}

const NOTHING: Said = Said {
    kind: None,
    new: false,
    region: Vec::new(),
    splits: Vec::new(),
};

/// What the judge says of every planted case after its repeats, and how many attempts it spent.
/// `budget` is in attempts.
pub fn by_judge(draw: &Draw, budget: u64, seed: u64) -> (Vec<Said>, u64) {
    let mut rng = Dice::new(seed ^ 0x00ad_7e57);
    let mut spent = 0;
    let mut looks: Vec<[Vec<Count>; 2]> = draw.planted.iter().map(|p| p.first.clone()).collect();
    let shown = |look: &[Vec<Count>; 2]| look[0].iter().any(|c| c.bad > 0);
    // Cases take turns, so that one that cannot be decided does not eat the others' share.
    let mut open: Vec<usize> = (0..looks.len()).filter(|i| shown(&looks[*i])).collect();
    let mut own = vec![0_u32; looks.len()];
    while !open.is_empty() && spent < budget {
        let wanted = repeats::round(open.len(), |at| {
            let i = open[at];
            let case = &draw.planted[i];
            let price = |_: bool, column: usize| case.runs[column].then_some(1.0);
            let dear = own[i] >= repeats::CAP;
            (!dear).then(|| repeats::step(&draw.explainer.scales, counts(&looks[i]), &price))?
        });
        let turns: Vec<(usize, repeats::Step)> = wanted
            .into_iter()
            .map(|(at, step)| (open[at], step))
            .collect();
        open.clear();
        for (i, step) in turns {
            if spent >= budget {
                break;
            }
            let rate = draw.planted[i].rates[step.column][usize::from(step.baseline)];
            for _ in 0..step.times {
                let bad = rng.chance(rate);
                repeats::add(&mut looks[i][usize::from(step.baseline)][step.column], bad);
            }
            spent += u64::from(step.times);
            own[i] += step.times;
            open.push(i);
        }
        // The order of the draw breaks ties.
        open.sort_unstable();
    }
    let labels: Vec<&str> = draw.columns.iter().map(|c| c.label.as_str()).collect();
    let said = looks.iter().map(|look| {
        let decision = shown(look)
            .then(|| decide::decide(&draw.explainer, counts(look), &labels))
            .flatten();
        decision.map_or(NOTHING, said)
    });
    (said.collect(), spent)
}

fn counts(look: &[Vec<Count>; 2]) -> Counts<'_> {
    Counts {
        candidate: &look[0],
        baseline: &look[1],
    }
}

fn said(decision: Decision) -> Said {
    Said {
        kind: Some(decision.kind),
        new: decision
            .news
            .is_some_and(|(p, _)| p >= crate::verdict::before::SURE),
        region: decision.region,
        splits: decision.splits,
    }
}

/// The rule that everybody uses: what fails is retried twice where it failed. If it fails each
/// time it is a failure there, else a flake. A failure there that the baseline did not show there
/// is new; failures on one port, with every other port passing at the first look, are that port's;
/// otherwise the shortest traits that separate them from where it passed are to blame.
pub fn by_obvious_rule(draw: &Draw, seed: u64) -> (Vec<Said>, u64) {
    let mut rng = Dice::new(seed ^ 0x00b7_1005);
    let mut spent = 0;
    let mut said = Vec::with_capacity(draw.planted.len());
    for case in &draw.planted {
        said.push(obvious(draw, case, &mut rng, &mut spent));
    }
    (said, spent)
}

fn obvious(draw: &Draw, case: &Planted, rng: &mut Dice, spent: &mut u64) -> Said {
    let columns = 0..draw.columns.len();
    let failing: Vec<usize> = columns
        .clone()
        .filter(|i| case.first[0][*i].bad > 0)
        .collect();
    if failing.is_empty() {
        return NOTHING;
    }
    let mut real = Vec::new();
    for i in &failing {
        *spent += 2;
        let again = [0, 1].map(|_| rng.chance(case.rates[*i][0]));
        if again == [true, true] {
            real.push(*i);
        }
    }
    if real.is_empty() {
        return Said {
            kind: Some(FindingKind::Flake),
            ..NOTHING
        };
    }
    let new = real.iter().any(|i| case.first[1][*i].all_good());
    let passed = |i: usize| case.first[0][i].all_good();
    let ports: BTreeSet<_> = real.iter().map(|i| &draw.columns[*i].port).collect();
    let elsewhere = failing
        .iter()
        .any(|i| !ports.contains(&draw.columns[*i].port));
    let splits = draw.explainer.splits(|i| real.contains(&i), passed);
    let kind = if ports.len() == 1 && !elsewhere && columns.clone().any(passed) {
        FindingKind::ArchOnly
    } else if splits.first().is_some_and(|s| s.all_of.len() <= 2) {
        FindingKind::TraitBound
    } else {
        FindingKind::Regression
    };
    Said {
        kind: Some(kind),
        new,
        region: real.into_iter().map(|i| i as u16).collect(),
        splits,
    }
}
