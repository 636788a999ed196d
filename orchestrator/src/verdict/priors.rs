//! What the verdict believes before it has seen an attempt, and the integrals over it.
//!
//! A *rate* is the chance that one attempt of a case ends badly at one place. Nothing here is tuned
//! to a run: every number stands for a belief about systems under test that can be read and argued
//! with, and `docs/verdict.md` has the reasons at length. Because a priori almost every case is
//! bound to nothing ([`BOUND`]), looking at 12,000 cases × hundreds of sets of ports does not need
//! a correction for how often one looked: the odds carry it.
//!
//! All likelihoods are of the very sequence of attempts, without binomial coefficients, which would
//! cancel. With a Beta distribution they are ratios of rising factorials, tabulated here.

use std::cell::RefCell;
use std::sync::OnceLock;

use statrs::function::gamma::ln_gamma;

use super::chance::Count;

/// One case in so many hundred changes its behaviour by what a run tests, or is bound to something.
pub const BOUND: f64 = 2e-3;

/// What a case that is bound to something is bound to.
pub const ALL: f64 = 0.25;
/// One port.
pub const PORT: f64 = 0.33;
/// One variant of one port.
pub const CELL: f64 = 0.09;
/// Everything but one port: an author's machine, where it was tried.
pub const ALL_BUT: f64 = 0.02;
/// A conjunction of traits.
pub const TRAIT: f64 = 0.25;
/// Some ports, for no reason that a manifest knows.
pub const SOME_PORTS: f64 = 0.01;
/// Some cells, for no reason that a manifest or a variant knows.
pub const SOME_CELLS: f64 = 0.05;

/// Of conjunctions: one trait alone is the likelier cause than two together.
pub const SINGLE: f64 = 0.8;

/// The chance that a port is in a set of ports without a reason.
pub const MEMBER: f64 = 0.15;

/// What is bound: new with the revision under test, known from the baseline, or gone with it.
pub const NEW: f64 = 0.5;
/// In the baseline too.
pub const KNOWN: f64 = 0.4;
/// In the baseline only.
pub const FIXED: f64 = 0.1;

/// Cases by the rate that they have everywhere: almost never, now and then, almost always.
pub const STEADY: f64 = 0.985;
/// See [`STEADY`].
pub const FLAKY: f64 = 0.01;
/// See [`STEADY`].
pub const BROKEN: f64 = 0.005;

/// Of flaky cases: the share whose rate differs between ports (slow emulators lose more races).
pub const UNEVEN: f64 = 0.15;

/// Counts up to here are tabulated.
const TABLE: usize = 1024;

/// Pairs of counts whose sum is below are remembered.
const MEMO: usize = 320;

/// The logarithm of a rising factorial, `a (a+1) … (a+k-1)`.
#[derive(Debug)]
struct Rising {
    a: f64,
    table: Vec<f64>,
}

impl Rising {
    fn new(a: f64) -> Self {
        let mut table = Vec::with_capacity(TABLE);
        let mut sum = 0.0;
        for i in 0..TABLE {
            table.push(sum);
            sum += (a + i as f64).ln();
        }
        Self { a, table }
    }

    fn ln(&self, k: u32) -> f64 {
        match self.table.get(k as usize) {
            Some(value) => *value,
            None => ln_gamma(self.a + f64::from(k)) - ln_gamma(self.a),
        }
    }
}

/// A Beta distribution of a rate.
#[derive(Debug)]
pub struct Beta {
    a: Rising,
    b: Rising,
    sum: Rising,
}

impl Beta {
    /// With the weight of `a` bad and `b` good attempts.
    pub fn new(a: f64, b: f64) -> Self {
        Self {
            a: Rising::new(a),
            b: Rising::new(b),
            sum: Rising::new(a + b),
        }
    }

    /// The logarithm of the chance of these attempts, in their order.
    pub fn ln_chance(&self, count: Count) -> f64 {
        let good = count.total.saturating_sub(count.bad);
        self.a.ln(count.bad) + self.b.ln(good) - self.sum.ln(count.bad.saturating_add(good))
    }

    /// The rate to expect after these attempts.
    pub fn mean(&self, count: Count) -> f64 {
        let total = count.total.max(count.bad);
        (self.a.a + f64::from(count.bad)) / (self.sum.a + f64::from(total))
    }
}

/// A mixture of Beta distributions.
#[derive(Debug)]
pub struct Mixture {
    parts: Vec<(f64, Beta)>,
}

impl Mixture {
    fn new(parts: &[(f64, f64, f64)]) -> Self {
        let part = |(weight, a, b): &(f64, f64, f64)| (weight.ln(), Beta::new(*a, *b));
        Self {
            parts: parts.iter().map(part).collect(),
        }
    }

    /// The logarithm of the chance of these attempts.
    pub fn ln_chance(&self, count: Count) -> f64 {
        ln_sum(self.parts.iter().map(|(w, beta)| w + beta.ln_chance(count)))
    }

    /// The rate to expect after these attempts.
    pub fn mean(&self, count: Count) -> f64 {
        let all = self.ln_chance(count);
        let part =
            |(w, beta): &(f64, Beta)| (w + beta.ln_chance(count) - all).exp() * beta.mean(count);
        self.parts.iter().map(part).sum()
    }
}

/// The logarithm of a sum of numbers given by their logarithms.
pub fn ln_sum(terms: impl Iterator<Item = f64> + Clone) -> f64 {
    let top = terms.clone().fold(f64::NEG_INFINITY, f64::max);
    if top == f64::NEG_INFINITY {
        return top;
    }
    top + terms.map(|t| (t - top).exp()).sum::<f64>().ln()
}

/// A flaky case whose rate is another one on each port: mean and spread of the ports' rates.
#[derive(Debug)]
pub struct Uneven {
    /// The logarithm of the weight.
    pub ln_weight: f64,
    /// The distribution from which each port draws its rate.
    pub rates: Beta,
}

/// The rates to expect where something is so.
#[derive(Debug)]
pub struct Rates {
    /// Almost never: a host that stumbles, one attempt in four thousand.
    pub steady: Beta,
    /// Now and then: from under 1 % to most of the time, the seldom ones the likelier.
    pub flaky: Beta,
    /// Almost always.
    pub broken: Beta,
    /// Where the failure is bound to: mostly every time, sometimes less (races, memory contents).
    pub inside: Mixture,
    /// Elsewhere: almost never, unless the case is a flake besides.
    pub outside: Mixture,
    /// Where everything is new or gone: broken, or a new flake.
    pub everywhere: [(f64, Beta); 2],
    /// Flakes that differ by port.
    pub uneven: Vec<Uneven>,
}

/// The tables, made once.
pub fn rates() -> &'static Rates {
    static RATES: OnceLock<Rates> = OnceLock::new();
    RATES.get_or_init(|| {
        // (mean, weight): flaky cases are the more numerous the seldomer they fail.
        let means = [
            (0.01, 3.0),
            (0.03, 3.0),
            (0.08, 2.0),
            (0.2, 1.5),
            (0.4, 1.0),
            (0.6, 0.5),
        ];
        let whole: f64 = means.iter().map(|(_, w)| w).sum();
        // Ports' rates spread around the mean as eight attempts would, but never so far that most
        // ports never fail and one always does: that is another explanation.
        let uneven = means.map(|(mean, weight): (f64, f64)| {
            let spread = f64::max(8.0, 1.0 / mean);
            Uneven {
                ln_weight: (weight / whole).ln(),
                rates: Beta::new(mean * spread, (1.0 - mean) * spread),
            }
        });
        Rates {
            steady: Beta::new(0.5, 2000.0),
            flaky: Beta::new(0.6, 1.8),
            broken: Beta::new(50.0, 0.5),
            inside: Mixture::new(&[(0.85, 50.0, 0.5), (0.15, 1.5, 1.0)]),
            outside: Mixture::new(&[(0.97, 0.5, 2000.0), (0.03, 0.6, 1.8)]),
            everywhere: [(0.6, Beta::new(50.0, 0.5)), (0.4, Beta::new(0.6, 1.8))],
            uneven: uneven.into(),
        }
    })
}

/// Any rate is as likely as any other.
pub fn flat() -> &'static Beta {
    static FLAT: OnceLock<Beta> = OnceLock::new();
    FLAT.get_or_init(|| Beta::new(1.0, 1.0))
}

/// Remembers chances of small counts: the search asks for the same ones again and again.
#[derive(Debug)]
pub struct Memo {
    of: &'static Mixture,
    known: RefCell<Vec<f64>>,
}

impl Memo {
    /// For one mixture.
    pub fn new(of: &'static Mixture) -> Self {
        Self {
            of,
            known: RefCell::new(Vec::new()),
        }
    }

    /// The logarithm of the chance of these attempts.
    pub fn ln_chance(&self, count: Count) -> f64 {
        let (bad, total) = (count.bad as usize, count.total as usize);
        if total >= MEMO || bad > total {
            return self.of.ln_chance(count);
        }
        let mut known = self.known.borrow_mut();
        if known.is_empty() {
            known.resize(MEMO * MEMO, f64::NAN);
        }
        let slot = &mut known[total * MEMO + bad];
        if slot.is_nan() {
            *slot = self.of.ln_chance(count);
        }
        *slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn c(bad: u32, total: u32) -> Count {
        Count { bad, total }
    }

    #[test]
    fn chances_agree_with_integrals_done_by_hand() {
        // With a flat prior: B(k+1, n-k+1) = k! (n-k)! / (n+1)!.
        let flat = Beta::new(1.0, 1.0);
        assert!((flat.ln_chance(c(2, 5)).exp() - 2.0 * 6.0 / 720.0).abs() < 1e-12);
        assert!((flat.mean(c(2, 5)) - 3.0 / 7.0).abs() < 1e-12);
        // The table and the gamma function meet without a step.
        let (below, above) = (TABLE as u32 - 1, TABLE as u32);
        let step = flat.a.ln(above) - flat.a.ln(below);
        assert!((step - f64::from(above).ln()).abs() < 1e-6, "{step}");
        assert!(flat.ln_chance(c(u32::MAX, u32::MAX)).is_finite());
    }

    #[test]
    fn chances_of_all_outcomes_sum_to_one() {
        for n in [1_u32, 3, 6] {
            for mixture in [&rates().inside, &rates().outside] {
                let ways = |k: u32| {
                    (0..k)
                        .map(|i| f64::from(n - i) / f64::from(i + 1))
                        .product::<f64>()
                };
                let sum: f64 = (0..=n)
                    .map(|k| ways(k) * mixture.ln_chance(c(k, n)).exp())
                    .sum();
                assert!((sum - 1.0).abs() < 1e-9, "{sum}");
            }
        }
    }

    #[test]
    fn what_a_case_can_be_bound_to_is_complete() {
        let sum = ALL + PORT + CELL + ALL_BUT + TRAIT + SOME_PORTS + SOME_CELLS;
        assert!((sum - 1.0).abs() < 1e-12, "{sum}");
        assert!((NEW + KNOWN + FIXED - 1.0_f64).abs() < 1e-12);
        assert!((STEADY + FLAKY + BROKEN - 1.0_f64).abs() < 1e-12);
    }
}
