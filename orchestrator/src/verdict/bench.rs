//! Whether B takes longer than A: paired comparison of interleaved measurements. Pure.
//!
//! Each pair gives the logarithm of B / A, so a host that is slow for a while slows both. What is
//! estimated is the median of the pairwise means of these (Hodges and Lehmann): one wild
//! measurement does not move it. The interval is the wider of two at each end: that of the signed
//! rank test, which is exact for any noise as long as A and B change places at random, and that of
//! a bootstrap. So identical A and B are called different in no more than [`ERROR`] of all cases,
//! whatever the tails of the noise look like, and both must agree before a difference is claimed.
//!
//! How a measurement is made, and what it does not see, is not its business.

pub mod simulate;
#[cfg(test)]
mod tests;

use serde::Serialize;

use super::dice::Dice;

/// The probability, two-sided, of calling identical variants different.
pub const ERROR: f64 = 0.005;
/// With fewer pairs even a clear difference could be luck at [`ERROR`].
pub const LEAST_PAIRS: usize = 9;
/// The most pairs that are weighed; more are no input that anybody waits for.
pub const MOST_PAIRS: usize = 500;
/// Quantiles of the normal distribution: at [`ERROR`], and for a power of 90%.
const AT_ERROR: f64 = 2.807;
const AT_POWER: f64 = 1.282;

/// What is said about two variants.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "answer")]
pub enum Answer {
    /// B takes less.
    Faster,
    /// B takes more.
    Slower,
    /// Nothing was shown.
    NoDifference,
    /// Too few pairs to show anything.
    TooFew,
}

/// Two variants, compared.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// What is said.
    #[serde(flatten)]
    pub answer: Answer,
    /// Pairs that were weighed.
    pub pairs: usize,
    /// By how much B takes more than A, in percent; negative where it takes less.
    pub percent: f64,
    /// The interval's lower end, in percent.
    pub low: f64,
    /// The interval's upper end, in percent.
    pub high: f64,
    /// No difference larger than this, in percent and either way, could hide.
    pub hides: f64,
    /// So many further pairs would show half of that, nine times of ten; none where half of it
    /// would show already.
    pub more_pairs: Option<u64>,
}

impl Comparison {
    /// One sentence. `a` and `b` name the variants, `what` what was measured: `instructions`.
    pub fn sentence(&self, a: &str, b: &str, what: &str) -> String {
        let pairs = self.pairs;
        let sure = 100.0 * (1.0 - ERROR);
        let apart = (self.high - self.percent).max(self.percent - self.low);
        let size = percent(self.percent.abs());
        match self.answer {
            Answer::Faster | Answer::Slower => {
                let word = match self.answer {
                    Answer::Faster => "fewer",
                    _ => "more",
                };
                let (verb, word) = match (what, word) {
                    ("instructions", word) => ("takes", format!("{word} instructions")),
                    (_, "fewer") => ("is", "faster".to_owned()),
                    _ => ("is", "slower".to_owned()),
                };
                format!(
                    "{b} {verb} {word} than {a}: by {size}% ± {}% ({sure}%, {pairs} pairs)",
                    percent(apart)
                )
            }
            Answer::NoDifference => {
                let more = match self.more_pairs {
                    Some(more) => format!(
                        "; {more} more pairs would show {}%",
                        percent(self.hides / 2.0)
                    ),
                    None => String::new(),
                };
                format!(
                    "no difference between {a} and {b} larger than {}% could hide ({sure}%, \
                     {pairs} pairs){more}",
                    percent(self.hides)
                )
            }
            Answer::TooFew => format!(
                "{pairs} pairs tell nothing about {a} and {b}: at least {LEAST_PAIRS} are needed"
            ),
        }
    }
}

/// Three significant digits, without an exponent.
fn percent(value: f64) -> String {
    if value < 1e-6 {
        return "0".to_owned();
    }
    // Rounded first: 0.0999… is 0.100 and not 0.1000.
    let rounded: f64 = format!("{value:.2e}").parse().unwrap_or(value);
    let digits = (2.0 - rounded.log10().floor()).clamp(0.0, 6.0) as usize;
    format!("{value:.digits$}")
}

/// Compares measurements that were made in pairs: `(a, b)`, both above 0. Pairs that are not are
/// left out. `seed` is that of the bootstrap.
pub fn compare(pairs: &[(f64, f64)], seed: u64) -> Comparison {
    let sound = |(a, b): &&(f64, f64)| a.is_finite() && b.is_finite() && *a > 0.0 && *b > 0.0;
    let logs: Vec<f64> = pairs
        .iter()
        .filter(sound)
        .take(MOST_PAIRS)
        .map(|(a, b)| (b / a).ln())
        .collect();
    let n = logs.len();
    let mut walsh = pairwise_means(&logs);
    walsh.sort_by(f64::total_cmp);
    let middle = median(&walsh);
    let Some((rank_low, rank_high)) = rank_interval(&walsh, n) else {
        return Comparison {
            answer: Answer::TooFew,
            pairs: n,
            percent: as_percent(middle),
            low: -100.0,
            high: f64::MAX,
            hides: f64::MAX,
            more_pairs: Some((LEAST_PAIRS.saturating_sub(n)) as u64),
        };
    };
    let (boot_low, boot_high) = bootstrap(&logs, seed);
    let (low, high) = (rank_low.min(boot_low), rank_high.max(boot_high));
    let answer = match (low > 0.0, high < 0.0) {
        (true, _) => Answer::Slower,
        (_, true) => Answer::Faster,
        _ => Answer::NoDifference,
    };
    let hides = low.abs().max(high.abs());
    Comparison {
        answer,
        pairs: n,
        percent: as_percent(middle),
        low: as_percent(low),
        high: as_percent(high),
        hides: as_percent(hides),
        more_pairs: more_pairs(n, (high - low) / 2.0, hides / 2.0),
    }
}

/// Further pairs that would show a difference of `wanted`, from the half width of the interval
/// that `n` pairs gave.
fn more_pairs(n: usize, half_width: f64, wanted: f64) -> Option<u64> {
    if wanted <= 0.0 {
        return None;
    }
    let power = (AT_ERROR + AT_POWER) / AT_ERROR;
    let needed = n as f64 * (half_width / wanted * power).powi(2);
    // A float above u64::MAX becomes u64::MAX.
    let more = (needed.ceil() as u64).saturating_sub(n as u64);
    (more > 0).then_some(more)
}

fn as_percent(log: f64) -> f64 {
    100.0 * log.exp_m1()
}

/// The means of all pairs of values, each with itself too.
fn pairwise_means(values: &[f64]) -> Vec<f64> {
    let mut means = Vec::with_capacity(values.len() * (values.len() + 1) / 2);
    for (i, x) in values.iter().enumerate() {
        means.extend(values[i..].iter().map(|y| (x + y) / 2.0));
    }
    means
}

/// The median of sorted values; 0 where there are none.
fn median(sorted: &[f64]) -> f64 {
    let n = sorted.len();
    match n {
        0 => 0.0,
        n if n % 2 == 1 => sorted[n / 2],
        n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
    }
}

/// The interval of the signed rank test at [`ERROR`], from the sorted pairwise means of `n`
/// values; none where `n` is too small for it.
fn rank_interval(walsh: &[f64], n: usize) -> Option<(f64, f64)> {
    let cut = rank_cut(n)?;
    Some((
        *walsh.get(cut)?,
        *walsh.get(walsh.len().checked_sub(cut + 1)?)?,
    ))
}

/// How many pairwise means are cut off at each end: the largest `c` for which the sum of positive
/// ranks is `c` or less in at most half of [`ERROR`].
fn rank_cut(n: usize) -> Option<usize> {
    let (half, ranks) = (ERROR / 2.0, n * (n + 1) / 2);
    if n > 60 {
        // Beyond this the normal distribution is as good.
        let mean = ranks as f64 / 2.0;
        let spread = (n as f64 * (n as f64 + 1.0) * (2.0 * n as f64 + 1.0) / 24.0).sqrt();
        return Some((mean - AT_ERROR * spread).floor().max(0.0) as usize);
    }
    // The distribution of the sum of ranks whose sign is tossed.
    let mut chance = vec![0.0; ranks + 1];
    chance[0] = 1.0;
    for rank in 1..=n {
        for sum in (0..=ranks).rev() {
            let with = if sum >= rank { chance[sum - rank] } else { 0.0 };
            chance[sum] = (chance[sum] + with) / 2.0;
        }
    }
    let mut below = 0.0;
    let mut cut = None;
    for (sum, p) in chance.iter().enumerate() {
        below += p;
        if below > half {
            break;
        }
        cut = Some(sum);
    }
    cut
}

/// The percentile interval of the estimate over resampled pairs.
fn bootstrap(logs: &[f64], seed: u64) -> (f64, f64) {
    let n = logs.len();
    // The effort grows with the square of the pairs.
    let draws = (1_000_000 / (n * n).max(1)).clamp(400, 2000);
    let mut dice = Dice::new(seed);
    let mut sample = vec![0.0; n];
    let mut estimates: Vec<f64> = (0..draws)
        .map(|_| {
            sample.fill_with(|| logs[dice.below(n)]);
            let mut means = pairwise_means(&sample);
            let middle = means.len() / 2;
            *means.select_nth_unstable_by(middle, f64::total_cmp).1
        })
        .collect();
    estimates.sort_by(f64::total_cmp);
    let cut = (draws as f64 * ERROR / 2.0).floor() as usize;
    (estimates[cut], estimates[draws - 1 - cut])
}
