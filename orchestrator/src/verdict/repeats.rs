//! What to run again, and when to stop: repeats where they tell most.
//!
//! The policy asks, for every cell in which a case could be run once more, how many bits the
//! outcome is expected to tell about what is undecided (the mutual information of the outcome and
//! the class of explanation), takes the cell that tells most for its price, and asks again with the
//! new counts, until the class is decided, nothing tells anything, or the budget is spent. What it
//! wants is a value; running it is the engine's part.
//!
//! Repeats are made of cases that failed, which would bias a plain share of failures. It does not
//! bias what is decided here: see [`super::weigh`].

use super::chance::Count;
use super::next::entropy;
use super::weigh::{Class, Counts, Outlook, Scales, Weighing, When};

/// Attempts that are asked for at once: a guest that is up is cheaper than one that is not.
pub const BATCH: u32 = 3;

/// Attempts that one case may cost. What is not decided by then is a matter of the rates being
/// close, which more attempts settle slowly.
pub const CAP: u32 = 72;

/// Bits below which an attempt is not worth its price.
const LEAST_BITS: f64 = 2e-4;

/// A class counts as decided for good where its posterior is at least this. It is more than a
/// finding needs to be called by its kind: a case that failed once is a flake to 97 % before
/// anybody has looked twice, and one in thirty of those would be something else.
pub const DECIDED: f64 = 0.999;

/// News of something bound counts as decided beyond this, either way.
const NEWS: f64 = super::before::SURE;

/// Run a case again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// On the baseline, or on the revision under test.
    pub baseline: bool,
    /// In which column.
    pub column: usize,
    /// How often.
    pub times: u32,
    /// What one of these attempts is expected to tell, in bits.
    pub bits: f64,
}

/// Whether there is nothing left to ask about a case.
pub fn is_decided(weighing: &Weighing) -> bool {
    let Some((class, posterior)) = weighing.classes().first().copied() else {
        return true;
    };
    if posterior < DECIDED {
        return false;
    }
    // Whether a flake is new takes more attempts than it is worth; whether a wall is, takes few.
    matches!(class, Class::Flake | Class::Gone)
        || weighing
            .news(class)
            .is_none_or(|(p, _)| !(1.0 - NEWS..NEWS).contains(&p))
}

/// The next step for a case, or none where it is decided or nothing tells. `price` is what an
/// attempt costs in a column of a side (any unit), or none where it cannot be run.
pub fn step(
    scales: &Scales,
    counts: Counts<'_>,
    price: &dyn Fn(bool, usize) -> Option<f64>,
) -> Option<Step> {
    let weighing = scales.weigh(counts);
    if is_decided(&weighing) {
        return None;
    }
    // What has no weight to speak of is no party to the question.
    let parties: Vec<(usize, f64, Outlook)> = weighing
        .all
        .iter()
        .take_while(|w| w.weight > 1e-3)
        .take(40)
        .map(|w| (group(w.class, w.when), w.weight, scales.outlook(w, counts)))
        .collect();
    let mut best: Option<(f64, Step)> = None;
    let columns = counts.candidate.len().max(counts.baseline.len());
    for baseline in [false, true] {
        for column in 0..columns {
            let Some(price) = price(baseline, column) else {
                continue;
            };
            let bits = information(&parties, baseline, column, counts);
            let worth = bits / price.max(f64::MIN_POSITIVE);
            if bits >= LEAST_BITS && best.as_ref().is_none_or(|(w, _)| worth > *w) {
                let step = Step {
                    baseline,
                    column,
                    times: BATCH,
                    bits,
                };
                best = Some((worth, step));
            }
        }
    }
    best.map(|(_, step)| step)
}

/// A round: one step for each of `cases` cases that has one, what tells most first.
pub fn round(cases: usize, step: impl Fn(usize) -> Option<Step>) -> Vec<(usize, Step)> {
    let mut wanted: Vec<(usize, Step)> = (0..cases).filter_map(|i| Some((i, step(i)?))).collect();
    wanted.sort_by(|a, b| b.1.bits.total_cmp(&a.1.bits).then(a.0.cmp(&b.0)));
    wanted
}

/// Explanations that come to the same answer.
fn group(class: Class, when: When) -> usize {
    let class_number = class as usize;
    match class {
        Class::Flake | Class::Gone => class_number,
        _ => {
            class_number
                + if when == When::New {
                    Class::ALL.len()
                } else {
                    0
                }
        }
    }
}

/// The mutual information of the outcome of one more attempt and the answer, in bits.
fn information(
    parties: &[(usize, f64, Outlook)],
    baseline: bool,
    column: usize,
    counts: Counts<'_>,
) -> f64 {
    let mut groups = [(0.0, 0.0); 2 * Class::ALL.len()];
    let (mut whole, mut bad) = (0.0, 0.0);
    for (group, weight, outlook) in parties {
        let rate = outlook.rate(baseline, column, counts);
        groups[*group].0 += weight;
        groups[*group].1 += weight * rate;
        whole += weight;
        bad += weight * rate;
    }
    if whole <= 0.0 {
        return 0.0;
    }
    let within = groups.iter().filter(|(w, _)| *w > 0.0);
    let within: f64 = within.map(|(w, b)| w / whole * entropy(b / w)).sum();
    (entropy(bad / whole) - within).max(0.0)
}

/// Adds an attempt to a count.
pub fn add(count: &mut Count, bad: bool) {
    *count = count.plus(Count {
        bad: u32::from(bad),
        total: 1,
    });
}
