//! What luck can do: the statistics behind the words "only", "bound to" and "now and then".
//!
//! The model is the plainest one that is honest: under the hypothesis "it has nothing to do with
//! the port", every attempt everywhere fails with one common rate. A split of ports is reported
//! as a fact about ports only where that hypothesis would rarely show it. This file is the whole
//! statistical model of the verdict; a richer one replaces it behind the same functions.

/// Attempts of one case at one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// Attempts that ended badly.
    pub bad: u32,
    /// Attempts that said anything.
    pub total: u32,
}

impl Count {
    /// Every attempt was bad.
    pub fn all_bad(self) -> bool {
        self.total > 0 && self.bad >= self.total
    }

    /// Every attempt was good.
    pub fn all_good(self) -> bool {
        self.total > 0 && self.bad == 0
    }

    /// Some were bad and some were good.
    pub fn mixed(self) -> bool {
        self.bad > 0 && self.bad < self.total
    }

    /// Both counts together.
    pub fn plus(self, other: Self) -> Self {
        Self {
            bad: self.bad.saturating_add(other.bad),
            total: self.total.saturating_add(other.total),
        }
    }
}

/// How the failures of one case lie over the places that speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pattern {
    /// Nothing failed.
    Nowhere,
    /// Every attempt failed, wherever it was made.
    Everywhere,
    /// Each place is of one mind, and not all of the same.
    Split {
        /// A common rate would hardly show this: below [`LUCK`].
        beyond_luck: bool,
    },
    /// At least one place is of two minds.
    Scattered,
}

/// A split that one common rate shows more often than this is not called a fact about ports.
pub const LUCK: f64 = 1e-3;

/// A difference between two sides that is shown more often than this may be luck.
pub const DOUBT: f64 = 0.01;

/// Sorts the counts of one case over all places into a pattern. Places without attempts do not
/// count.
pub fn pattern(counts: impl IntoIterator<Item = Count>) -> Pattern {
    let mut bad_places = 0_u32;
    let mut good_places = 0_u32;
    let mut all = Count::default();
    let mut mixed = false;
    for count in counts {
        mixed |= count.mixed();
        bad_places += u32::from(count.all_bad());
        good_places += u32::from(count.all_good());
        all = all.plus(count);
    }
    match (mixed, bad_places, good_places) {
        (true, _, _) => Pattern::Scattered,
        (false, 0, _) => Pattern::Nowhere,
        (false, _, 0) => Pattern::Everywhere,
        (false, _, _) => Pattern::Split {
            beyond_luck: split_by_luck(all) < LUCK,
        },
    }
}

/// The probability that attempts with one common rate end all bad where they did and all good
/// where they did, the rate being the one that explains the whole best.
pub fn split_by_luck(all: Count) -> f64 {
    let rate = f64::from(all.bad) / f64::from(all.total.max(1));
    rate.powf(f64::from(all.bad)) * (1.0 - rate).powf(f64::from(all.total.saturating_sub(all.bad)))
}

/// The probability that `there` shows at least as many bad attempts as it does, if the bad ones
/// of both were dealt out at random (Fisher's exact test, one-sided).
pub fn more_by_luck(there: Count, elsewhere: Count) -> f64 {
    let (n, a) = (u64::from(there.total), u64::from(there.bad));
    let both = there.plus(elsewhere);
    let (all, bad) = (u64::from(both.total), u64::from(both.bad));
    let whole = ln_choose(all, n);
    (a..=n.min(bad))
        .map(|x| (ln_choose(bad, x) + ln_choose(all - bad, n - x) - whole).exp())
        .sum::<f64>()
        .min(1.0)
}

/// True where `candidate` fails more often than `baseline`, and luck hardly explains it.
pub fn is_worse(candidate: Count, baseline: Count) -> bool {
    more_by_luck(candidate, baseline) < DOUBT
}

/// The natural logarithm of "n choose k"; minus infinity where there is no such choice.
fn ln_choose(n: u64, k: u64) -> f64 {
    if k > n {
        return f64::NEG_INFINITY;
    }
    let k = k.min(n - k);
    (1..=k)
        .map(|i| ((n - k + i) as f64).ln() - (i as f64).ln())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn c(bad: u32, total: u32) -> Count {
        Count { bad, total }
    }

    #[test]
    fn three_passes_on_nine_ports_tell_and_one_does_not() {
        let ports = |passes| (0..9).map(move |i| c(if i < 2 { passes } else { 0 }, passes));
        assert_eq!(pattern(ports(3)), Pattern::Split { beyond_luck: true });
        assert_eq!(pattern(ports(1)), Pattern::Split { beyond_luck: false });
    }

    #[test]
    fn places_that_say_nothing_change_nothing() {
        assert_eq!(pattern([c(0, 0), c(2, 2)]), Pattern::Everywhere);
        assert_eq!(pattern([c(0, 0), c(0, 0)]), Pattern::Nowhere);
        assert_eq!(pattern([c(1, 3), c(3, 3), c(0, 3)]), Pattern::Scattered);
    }

    #[test]
    fn the_exact_test_agrees_with_counting_by_hand() {
        // Three of three against none of three: one of the twenty ways to deal three out of six.
        assert!((more_by_luck(c(3, 3), c(0, 3)) - 1.0 / 20.0).abs() < 1e-12);
        // Nothing bad is never remarkable.
        assert!((more_by_luck(c(0, 5), c(4, 5)) - 1.0).abs() < 1e-12);
        assert!(is_worse(c(9, 9), c(1, 9)));
        assert!(!is_worse(c(2, 9), c(1, 9)));
    }
}
