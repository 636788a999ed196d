//! From a weighing to a kind of finding: what is said, and how sure it is.

use super::chance::Count;
use super::traits::Explainer;
use super::weigh::{Class, Counts, Weighing, What};
use super::words;
use crate::model::{Answer, Certainty, FindingKind, TraitSplit};

/// "One port only" is said where its posterior is at least this, and denied where it is at most
/// what is left.
pub const ARCH_ONLY: f64 = 0.99;

/// Any other kind is said where its posterior is at least this.
pub const KIND: f64 = 0.95;

/// "A flake" of a case that nowhere came out both ways is said where its posterior is at least
/// this: until then it rests on the belief that most cases are bound to nothing.
pub const FLAKE_UNSEEN: f64 = 0.99;

/// Columns in which a case came out both ways that make it a flake, where that is the likeliest
/// explanation at all.
pub const SEEN_TO_FLAKE: usize = 2;

/// A region is a rival where it has at least this share of the likeliest one's weight.
const RIVAL: f64 = 0.2;

/// Explanations that a finding lists at most.
const EXPLANATIONS: usize = 6;

/// What the attempts of one case come to.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// What is reported.
    pub kind: FindingKind,
    /// The likeliest class, also where nothing is decided.
    pub class: Class,
    /// The likeliest region of that class, as columns; empty where the class has none.
    pub region: Vec<u16>,
    /// What explains the region, the likeliest first.
    pub splits: Vec<TraitSplit>,
    /// How sure it is.
    pub certainty: Certainty,
    /// Whether it is new: the posterior, and the decimal logarithm of the Bayes factor.
    pub news: Option<(f64, f64)>,
}

/// The kind of finding of a class that is sure enough.
pub fn kind_of(class: Class, posterior: f64) -> FindingKind {
    match class {
        Class::OnePort if posterior >= ARCH_ONLY => FindingKind::ArchOnly,
        Class::Trait if posterior >= KIND => FindingKind::TraitBound,
        Class::Everywhere | Class::Scattered if posterior >= KIND => FindingKind::Regression,
        Class::Flake | Class::Gone if posterior >= KIND => FindingKind::Flake,
        _ => FindingKind::Undecided,
    }
}

/// Whether a case is a failure of one port alone.
pub fn arch_only(weighing: &Weighing) -> Answer {
    match weighing.class(Class::OnePort) {
        p if p >= ARCH_ONLY => Answer::Yes,
        p if p <= 1.0 - ARCH_ONLY => Answer::No,
        _ => Answer::NotYetKnown,
    }
}

/// Decides. None where the revision under test has no attempt.
pub fn decide(explainer: &Explainer, counts: Counts<'_>, names: &[&str]) -> Option<Decision> {
    let weighing = explainer.scales.weigh(counts);
    let classes = weighing.classes();
    let (class, posterior) = *classes.first().filter(|_| !weighing.all.is_empty())?;
    let mut kind = kind_of(class, posterior);
    let comes_and_goes = counts.candidate.iter().filter(|c| c.mixed()).count();
    let mixed = comes_and_goes > 0;
    if kind == FindingKind::Flake && !mixed && posterior < FLAKE_UNSEEN {
        kind = FindingKind::Undecided;
    }
    // It was seen to come and go under the same conditions, in several places: that is what a flake
    // is, whether its rate is the same everywhere or not.
    if kind == FindingKind::Undecided && class == Class::Flake && comes_and_goes >= SEEN_TO_FLAKE {
        kind = FindingKind::Flake;
    }
    // What never came out well and ran in one place only is no flake yet; nor is it bound.
    let ran = counts.candidate.iter().filter(|c| c.total > 0).count();
    if ran == 1 && !mixed && class == Class::Everywhere {
        kind = FindingKind::Regression;
    }
    let regions = weighing.regions(class);
    let members = |number: u16| {
        let region = explainer.scales.regions.get(usize::from(number));
        region.map_or(&[][..], |r| r.members.as_slice())
    };
    let region: Vec<u16> = regions
        .first()
        .map_or(Vec::new(), |(n, _)| members(*n).into());
    let mut splits: Vec<TraitSplit> = Vec::new();
    let best = regions.first().map_or(0.0, |(_, w)| *w);
    for (number, _) in regions.iter().filter(|(_, w)| *w >= RIVAL * best) {
        let inside = members(*number);
        let has = |i: usize| inside.binary_search(&(i as u16)).is_ok();
        let speaks = |i: usize| counts.at(false, i).total > 0;
        for split in explainer.splits(|i| speaks(i) && has(i), |i| speaks(i) && !has(i)) {
            if !splits.contains(&split) {
                splits.push(split);
            }
        }
    }
    // A rival of more traits than the best needs is no rival.
    let least = splits.first().map_or(0, |s| s.all_of.len());
    splits.retain(|s| s.all_of.len() <= least);
    let arch_only_posterior = weighing.class(Class::OnePort);
    let explanations = explanations(explainer, &weighing, counts, names);
    Some(Decision {
        kind,
        class,
        region,
        splits,
        news: weighing.news(class),
        certainty: Certainty {
            arch_only: arch_only(&weighing),
            arch_only_posterior: round(arch_only_posterior),
            posterior: round(posterior),
            explanations,
        },
    })
}

/// Six digits: what is behind them is the arithmetic's, not the attempts'.
pub fn round(p: f64) -> f64 {
    (p * 1e6).round() / 1e6
}

/// The explanations in words, each with its posterior.
fn explanations(
    explainer: &Explainer,
    weighing: &Weighing,
    counts: Counts<'_>,
    names: &[&str],
) -> Vec<(String, f64)> {
    let mut told: Vec<(String, f64)> = Vec::new();
    for weighed in weighing.all.iter().take_while(|w| w.weight > 1e-5) {
        let words = match (weighed.what, weighed.class) {
            (_, Class::Gone) => "only the baseline has it".to_owned(),
            (What::Quiet, _) => "an accident".to_owned(),
            (What::Flake, _) => "a flake".to_owned(),
            (What::Broken, _) => "a failure everywhere".to_owned(),
            (What::SomePorts | What::SomeCells, _) => "several ports, no known reason".to_owned(),
            (What::Region(number), _) => {
                let Some(region) = explainer.scales.regions.get(usize::from(number)) else {
                    continue;
                };
                let here = |m: &&u16| counts.at(false, usize::from(**m)).total > 0;
                let members = region.members.iter().filter(here);
                let names: Vec<&str> = members
                    .filter_map(|m| names.get(usize::from(*m)).copied())
                    .collect();
                format!("{} only", words::list(&names, 3))
            }
        };
        match told.iter_mut().find(|(w, _)| *w == words) {
            Some((_, sum)) => *sum += weighed.weight,
            None => told.push((words, weighed.weight)),
        }
    }
    told.retain(|(_, p)| *p >= 0.01);
    told.sort_by(|a, b| b.1.total_cmp(&a.1));
    told.truncate(EXPLANATIONS);
    for (_, p) in &mut told {
        *p = round(*p);
    }
    told
}

/// Rates of one case alone in fresh guests and among the others: true where they hardly are the
/// same rate, and it fails less when alone.
pub fn depends_on_company(among: Count, alone: Count) -> bool {
    if among.total == 0 || alone.total == 0 {
        return false;
    }
    let flat = super::priors::flat();
    let apart = flat.ln_chance(among) + flat.ln_chance(alone);
    let together = flat.ln_chance(among.plus(alone));
    let less = u64::from(alone.bad) * u64::from(among.total)
        < u64::from(among.bad) * u64::from(alone.total);
    // Twenty to one, which is called strong.
    less && apart - together > f64::ln(20.0)
}
