//! Histories with a planted culprit, and what two ways of searching cost on them. Pure, seeded.
//!
//! The rival is what people do with `git bisect run` and a flaky failure: at every step repeat
//! until the revision has failed `fails` times or has had its `repeats` runs. It is given what the
//! search is not: the true rates, and of all pairs `(repeats, fails)` the one that costs least at
//! the accuracy asked for.

use super::{Bisect, Next, Place, Settings};
use crate::verdict::chance::Count;
use crate::verdict::dice::Dice;

/// What is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct World {
    /// Revisions behind the one that is known to be good; the last one is known to be bad.
    pub revisions: usize,
    /// How often a bad revision fails.
    pub bad: f64,
    /// How often a good revision fails.
    pub good: f64,
    /// The share of revisions that cannot be tried.
    pub unbuildable: f64,
}

/// Attempts that the search has seen of each end before it begins.
pub const SEEN: u32 = 10;

/// What came of many histories.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Score {
    /// Histories.
    pub trials: u32,
    /// Histories whose culprit was in the answer.
    pub right: u32,
    /// Runs of all together.
    pub runs: u64,
    /// Revisions in all answers together.
    pub named: u64,
    /// Rounds of all together: runs that were made at the same time count as one.
    pub rounds: u64,
}

impl Score {
    /// Right answers of all, 0 to 1.
    pub fn accuracy(&self) -> f64 {
        f64::from(self.right) / f64::from(self.trials.max(1))
    }

    /// Runs for one history.
    pub fn mean_runs(&self) -> f64 {
        self.runs as f64 / f64::from(self.trials.max(1))
    }

    /// Rounds for one history.
    pub fn mean_rounds(&self) -> f64 {
        self.rounds as f64 / f64::from(self.trials.max(1))
    }
}

/// Searches `trials` histories, `at_once` revisions at a time. Of both ends it has seen
/// [`SEEN`] attempts, as the run that found the failure shows them; they are not counted.
/// The rates are told to it where `known`, as they are told to the rival.
pub fn search(world: World, known: bool, at_once: usize, trials: u32, seed: u64) -> Score {
    let mut dice = Dice::new(seed);
    let mut score = Score::default();
    for _ in 0..trials {
        let culprit = 1 + dice.below(world.revisions);
        let mut settings = Settings {
            // The rival is told that the first is good and the last is bad; so is this.
            outside: 0.0,
            ..Settings::default()
        };
        if known {
            settings = settings.knowing(world.bad, world.good);
        }
        let mut bisect = Bisect::new(world.revisions + 1, settings);
        for (end, rate) in [(0, world.good), (world.revisions, world.bad)] {
            let bad = (0..SEEN).map(|_| u32::from(dice.chance(rate))).sum();
            bisect.record(end, Count { bad, total: SEEN });
        }
        let builds: Vec<bool> = (0..=world.revisions)
            .map(|r| r == 0 || r == world.revisions || !dice.chance(world.unbuildable))
            .collect();
        let answer = loop {
            match bisect.next(at_once) {
                Next::Done(answer) | Next::Stuck(answer) => break answer,
                Next::Run(points) => {
                    score.rounds += 1;
                    for point in points {
                        if !builds[point] {
                            bisect.leave_out(point);
                            continue;
                        }
                        let rate = if point >= culprit {
                            world.bad
                        } else {
                            world.good
                        };
                        let bad = u32::from(dice.chance(rate));
                        bisect.record(point, Count { bad, total: 1 });
                    }
                }
            }
        };
        if let Place::Within { first, last } = answer.place {
            score.right += u32::from((first..=last).contains(&culprit));
            score.named += (last - first + 1) as u64;
        }
        score.trials += 1;
        score.runs += bisect.runs() - 2 * u64::from(SEEN);
    }
    score
}

/// A rule for one step of the rival: bad at the `fails`-th failure within `repeats` runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// The most runs of a step.
    pub repeats: u32,
    /// So many failures make it bad.
    pub fails: u32,
    /// Whether a step ends as soon as its answer is certain.
    pub stops_early: bool,
}

/// The cheapest rule with which the rival is right in `accuracy` of all histories, by exact
/// calculation; none where 200 repeats are not enough.
pub fn cheapest_rule(world: World, accuracy: f64, stops_early: bool) -> Option<Rule> {
    let steps = (world.revisions as f64).log2();
    let mut best: Option<(f64, Rule)> = None;
    for fails in 1..=12 {
        for repeats in fails..=200 {
            let rule = Rule {
                repeats,
                fails,
                stops_early,
            };
            let (caught, cost_bad) = rule.on(world.bad);
            let (false_alarm, cost_good) = rule.on(world.good);
            // Half of the steps of a history meet a bad revision.
            if ((caught + 1.0 - false_alarm) / 2.0).powf(steps) < accuracy {
                continue;
            }
            let cost = steps * (cost_bad + cost_good) / 2.0;
            if best.is_none_or(|(least, _)| cost < least) {
                best = Some((cost, rule));
            }
        }
    }
    best.map(|(_, rule)| rule)
}

impl Rule {
    /// At a failure rate: the probability of "bad", and the runs to expect.
    fn on(self, rate: f64) -> (f64, f64) {
        // By failures so far: the probability to be there, still undecided.
        let mut open = vec![0.0; self.fails as usize];
        open[0] = 1.0;
        let (mut bad, mut runs) = (0.0, 0.0);
        for done in 0..self.repeats {
            let left = self.repeats - done;
            let mut next = vec![0.0; open.len()];
            for (failures, p) in open.iter().enumerate() {
                let needed = self.fails - failures as u32;
                if self.stops_early && needed > left {
                    continue;
                }
                runs += p;
                match next.get_mut(failures + 1) {
                    Some(slot) => *slot += p * rate,
                    None => bad += p * rate,
                }
                next[failures] += p * (1.0 - rate);
            }
            open = next;
        }
        let runs = if self.stops_early {
            runs
        } else {
            f64::from(self.repeats)
        };
        (bad, runs)
    }
}

/// Bisects `trials` histories as the rival does. Unbuildable revisions are not drawn here.
pub fn rival(world: World, rule: Rule, trials: u32, seed: u64) -> Score {
    let mut dice = Dice::new(seed);
    let mut score = Score::default();
    for _ in 0..trials {
        let culprit = 1 + dice.below(world.revisions);
        let (mut good, mut bad) = (0, world.revisions);
        while bad - good > 1 {
            let middle = good + (bad - good) / 2;
            let rate = if middle >= culprit {
                world.bad
            } else {
                world.good
            };
            let (mut failures, mut runs) = (0, 0);
            while runs < rule.repeats {
                let decided = failures >= rule.fails || rule.fails - failures > rule.repeats - runs;
                if rule.stops_early && decided {
                    break;
                }
                failures += u32::from(dice.chance(rate));
                runs += 1;
            }
            score.runs += u64::from(runs);
            if failures >= rule.fails {
                bad = middle;
            } else {
                good = middle;
            }
        }
        score.right += u32::from(bad == culprit);
        score.trials += 1;
        score.named += 1;
    }
    score.rounds = score.runs;
    score
}

/// The fewest runs, on average, with which any procedure at all can name the culprit with this
/// confidence: what has to be learnt, by the most that one run can tell (the capacity of the
/// channel from "bad or good" to "fails or passes").
pub fn least_runs(world: World, confidence: f64) -> f64 {
    let capacity = (1..1000)
        .map(|i| {
            let share = f64::from(i) / 1000.0;
            let mixed = share * world.bad + (1.0 - share) * world.good;
            super::entropy(mixed)
                - share * super::entropy(world.bad)
                - (1.0 - share) * super::entropy(world.good)
        })
        .fold(0.0, f64::max);
    let bits = (world.revisions as f64).log2();
    (confidence * bits - super::entropy(confidence)).max(0.0) / capacity
}
