//! Where a failure came in: a search over revisions that believes in luck. Pure.
//!
//! ```text
//!   revision  0 1 2 3 4 5 6 7 … n       hypothesis k: revisions before k are good,
//!             g g g g b b b b   b       k and those behind it are bad; k is the culprit
//! ```
//!
//! A bad revision fails at one unknown rate and a good one at another, much smaller one; both have
//! a Beta prior and are integrated out, so nobody has to know how flaky a failure is. What is kept
//! is a probability for every hypothesis; what is run next is the revision whose outcome is
//! expected to tell most about them (mutual information). With a failure that always shows this is
//! the ordinary bisection; with a rare one it is many runs near the culprit and few far from it.
//!
//! Two more hypotheses stand at the ends: it failed before the range began, and it does not fail
//! within the range. Revisions that cannot be tried (they do not build, or fail otherwise) are left
//! out; where they hide the culprit, the answer is a range. It does not know what a revision is,
//! how one is tried or what a failure looks like.

pub mod simulate;
#[cfg(test)]
mod tests;

use super::chance::Count;

/// What is believed of a rate before anything was seen: a Beta distribution.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Failures as if seen already; above 0.
    pub fails: f64,
    /// Passes as if seen already; above 0.
    pub passes: f64,
}

/// What the search assumes and aims at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// The rate at which a bad revision fails.
    pub bad: Rate,
    /// The rate at which a good revision fails all the same.
    pub good: Rate,
    /// The probability at which an answer is given, below 1.
    pub confidence: f64,
    /// The probability, beforehand, of each of the two hypotheses outside the range.
    pub outside: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            bad: Rate {
                fails: 1.0,
                passes: 1.0,
            },
            good: Rate {
                fails: 0.3,
                passes: 25.0,
            },
            confidence: 0.95,
            outside: 0.02,
        }
    }
}

impl Settings {
    /// Settings for rates that are known well, as after a hundred attempts at a bad revision and a
    /// thousand at a good one.
    #[must_use]
    pub fn knowing(self, bad: f64, good: f64) -> Self {
        let rate = |rate: f64, attempts: f64| Rate {
            fails: (rate * attempts).max(0.2),
            passes: ((1.0 - rate) * attempts).max(0.2),
        };
        Self {
            bad: rate(bad, 100.0),
            good: rate(good, 1000.0),
            ..self
        }
    }
}

/// What is said in the end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Place {
    /// The failure came in with one of the revisions `first..=last`; they are the same unless
    /// revisions between them could not be tried.
    Within {
        /// The earliest that it may be.
        first: usize,
        /// The latest that it may be.
        last: usize,
    },
    /// The first revision that can be tried is bad already.
    Before,
    /// The last revision that can be tried is still good.
    After,
}

/// The most probable answer so far.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Answer {
    /// Where.
    pub place: Place,
    /// With which probability, 0 to 1.
    pub probability: f64,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// Run each of these revisions once; they are different, and the first tells most.
    Run(Vec<usize>),
    /// The confidence that was asked for is reached.
    Done(Answer),
    /// No run would tell anything more.
    Stuck(Answer),
}

/// Less than this many bits is nothing.
const NOTHING: f64 = 1e-9;
/// The most points that are planned together: the effort doubles with each.
const MOST_AT_ONCE: usize = 6;

/// A search over the revisions `0..revisions`.
#[derive(Debug, Clone)]
pub struct Bisect {
    settings: Settings,
    counts: Vec<Count>,
    left_out: Vec<bool>,
    /// By hypothesis, `0..=revisions`.
    prior: Vec<f64>,
}

impl Bisect {
    /// A search that knows nothing yet, over at least one revision.
    pub fn new(revisions: usize, settings: Settings) -> Self {
        let n = revisions.max(1);
        let outside = settings.outside.clamp(0.0, 0.49);
        let inner = (1.0 - 2.0 * outside) / (n - 1).max(1) as f64;
        let mut prior = vec![inner; n + 1];
        prior[0] = outside;
        prior[n] = outside;
        if n == 1 {
            // Only the outside is left: is it bad or not?
            prior = vec![0.5, 0.5];
        }
        Self {
            settings,
            counts: vec![Count::default(); n],
            left_out: vec![false; n],
            prior,
        }
    }

    /// Enters what was seen at a revision. A revision that does not exist is passed by.
    pub fn record(&mut self, revision: usize, seen: Count) {
        if let Some(count) = self.counts.get_mut(revision) {
            *count = count.plus(seen);
        }
    }

    /// Leaves a revision out: it cannot be tried.
    pub fn leave_out(&mut self, revision: usize) {
        if let Some(out) = self.left_out.get_mut(revision) {
            *out = true;
        }
    }

    /// Tells that two revisions are one and the same to whoever tries them: the failure did not come in
    /// between. What is seen of one is seen of both; it must be entered once.
    pub fn alike(&mut self, one: usize, other: usize) {
        let (first, last) = (one.min(other), one.max(other));
        for prior in self.prior.iter_mut().take(last + 1).skip(first + 1) {
            // Not 0: whatever is told, something stays possible.
            *prior = f64::MIN_POSITIVE;
        }
    }

    /// What was seen, by revision.
    pub fn counts(&self) -> &[Count] {
        &self.counts
    }

    /// Runs so far.
    pub fn runs(&self) -> u64 {
        self.counts.iter().map(|c| u64::from(c.total)).sum()
    }

    /// The probability of every hypothesis `0..=revisions`; the sum is 1.
    pub fn posterior(&self) -> Vec<f64> {
        self.weigh().into_iter().map(|h| h.weight).collect()
    }

    /// The most probable answer so far.
    pub fn answer(&self) -> Answer {
        self.best(&self.weigh())
    }

    /// What to run next, at most `at_once` revisions together.
    pub fn next(&self, at_once: usize) -> Next {
        let hypotheses = self.weigh();
        let best = self.best(&hypotheses);
        if best.probability >= self.settings.confidence {
            return Next::Done(best);
        }
        let mut chosen = Vec::new();
        // What may have come of the points chosen so far: a set of weights for each possibility.
        let mut worlds: Vec<Vec<f64>> = vec![hypotheses.iter().map(|h| h.weight).collect()];
        while chosen.len() < at_once.clamp(1, MOST_AT_ONCE) {
            let Some((point, bits)) = self.most_telling(&hypotheses, &worlds, &chosen) else {
                break;
            };
            if bits < NOTHING {
                break;
            }
            chosen.push(point);
            worlds = worlds
                .iter()
                .flat_map(|w| split(&hypotheses, w, point))
                .collect();
        }
        if chosen.is_empty() {
            Next::Stuck(best)
        } else {
            Next::Run(chosen)
        }
    }

    /// Weights and expected rates of all hypotheses. O(revisions + runs).
    fn weigh(&self) -> Vec<Hypothesis> {
        let all = self.counts.iter().fold(Count::default(), |a, c| a.plus(*c));
        let (bad, good) = (
            Table::new(self.settings.bad, all),
            Table::new(self.settings.good, all),
        );
        let mut before = Count::default();
        let mut hypotheses: Vec<Hypothesis> = Vec::with_capacity(self.prior.len());
        for (k, prior) in self.prior.iter().enumerate() {
            let behind = Count {
                bad: all.bad.saturating_sub(before.bad),
                total: all.total.saturating_sub(before.total),
            };
            hypotheses.push(Hypothesis {
                weight: prior.ln() + bad.evidence(behind) + good.evidence(before),
                bad: bad.expected(behind),
                good: good.expected(before),
            });
            if let Some(count) = self.counts.get(k) {
                before = before.plus(*count);
            }
        }
        let top = hypotheses
            .iter()
            .map(|h| h.weight)
            .fold(f64::NEG_INFINITY, f64::max);
        let mut sum = 0.0;
        for h in &mut hypotheses {
            h.weight = (h.weight - top).exp();
            sum += h.weight;
        }
        for h in &mut hypotheses {
            h.weight /= sum;
        }
        hypotheses
    }

    /// The revision whose outcome tells most, in bits, on average over the worlds.
    fn most_telling(
        &self,
        hypotheses: &[Hypothesis],
        worlds: &[Vec<f64>],
        chosen: &[usize],
    ) -> Option<(usize, f64)> {
        let mut bits = vec![0.0; self.counts.len()];
        for weights in worlds {
            let mass: f64 = weights.iter().sum();
            if mass <= 0.0 {
                continue;
            }
            // Sums over hypotheses k > i, for which revision i is good.
            let (mut fails, mut noise) = (0.0, 0.0);
            for (h, w) in hypotheses.iter().zip(weights) {
                fails += w * h.good;
                noise += w * entropy(h.good);
            }
            for (i, bits) in bits.iter_mut().enumerate() {
                // Revision i is bad under hypothesis i and those before it.
                let (h, w) = (&hypotheses[i], weights[i]);
                fails += w * (h.bad - h.good);
                noise += w * (entropy(h.bad) - entropy(h.good));
                *bits += mass * entropy(fails / mass) - noise;
            }
        }
        (0..bits.len())
            .filter(|i| !self.left_out[*i] && !chosen.contains(i))
            .map(|i| (i, bits[i]))
            .max_by(|a, b| a.1.total_cmp(&b.1))
    }

    /// The group of hypotheses, not to be told apart by what can be tried, that weighs most.
    fn best(&self, hypotheses: &[Hypothesis]) -> Answer {
        let n = self.counts.len();
        let mut best = Answer {
            place: Place::After,
            probability: -1.0,
        };
        let (mut first, mut mass) = (0, 0.0);
        for (k, h) in hypotheses.iter().enumerate() {
            mass += h.weight;
            // Revision k parts hypothesis k from the next one.
            if k < n && self.left_out[k] {
                continue;
            }
            if mass > best.probability {
                let place = match (self.tried_before(first), k == n) {
                    (_, true) => Place::After,
                    (false, false) => Place::Before,
                    (true, false) => Place::Within { first, last: k },
                };
                best = Answer {
                    place,
                    probability: mass,
                };
            }
            (first, mass) = (k + 1, 0.0);
        }
        best
    }

    fn tried_before(&self, k: usize) -> bool {
        self.left_out[..k.min(self.left_out.len())]
            .iter()
            .any(|out| !out)
    }
}

/// One hypothesis: the logarithm of its weight, then its weight; and the two rates it expects.
#[derive(Debug, Clone, Copy)]
struct Hypothesis {
    weight: f64,
    bad: f64,
    good: f64,
}

/// The two worlds in which a point fails or passes.
fn split(hypotheses: &[Hypothesis], weights: &[f64], point: usize) -> [Vec<f64>; 2] {
    let rate = |k: usize| {
        if k <= point {
            hypotheses[k].bad
        } else {
            hypotheses[k].good
        }
    };
    let each = |fails: bool| {
        let seen = |k: usize| if fails { rate(k) } else { 1.0 - rate(k) };
        weights
            .iter()
            .enumerate()
            .map(|(k, w)| w * seen(k))
            .collect()
    };
    [each(true), each(false)]
}

/// How likely counts are under a Beta prior: sums of logarithms, made once for all hypotheses.
struct Table {
    prior: Rate,
    fails: Vec<f64>,
    passes: Vec<f64>,
    both: Vec<f64>,
}

impl Table {
    fn new(prior: Rate, all: Count) -> Self {
        let rising = |from: f64, n: u32| -> Vec<f64> {
            let mut sum = 0.0;
            let mut sums = vec![0.0];
            for i in 0..n {
                sum += (from + f64::from(i)).ln();
                sums.push(sum);
            }
            sums
        };
        Self {
            prior,
            fails: rising(prior.fails, all.bad),
            passes: rising(prior.passes, all.total.saturating_sub(all.bad)),
            both: rising(prior.fails + prior.passes, all.total),
        }
    }

    /// The logarithm of the probability of these outcomes in their order.
    fn evidence(&self, seen: Count) -> f64 {
        let at = |sums: &[f64], n: u32| sums.get(n as usize).copied().unwrap_or(0.0);
        at(&self.fails, seen.bad) + at(&self.passes, seen.total.saturating_sub(seen.bad))
            - at(&self.both, seen.total)
    }

    /// The rate that is expected after these outcomes.
    fn expected(&self, seen: Count) -> f64 {
        (self.prior.fails + f64::from(seen.bad))
            / (self.prior.fails + self.prior.passes + f64::from(seen.total))
    }
}

/// The entropy of a coin, in bits.
fn entropy(p: f64) -> f64 {
    if p <= 0.0 || p >= 1.0 {
        return 0.0;
    }
    -(p * p.log2() + (1.0 - p) * (1.0 - p).log2())
}
