//! Which earlier cases make a case fail that passes alone: a search for the smallest set. Pure.
//!
//! A question is a list of earlier cases; the answer is whether the victim failed after them. It
//! is asked as often as the answer needs to be sure of: failures may show now and then only.
//!
//! ```text
//!   prefix 0 1 2 3 4 5 … n   of the earlier cases, and behind it what is known to be needed
//!          p p p p F F   F   the case with which failing begins is needed: keep it, cut the rest
//!                            off, begin again; done when the empty prefix fails
//! ```
//!
//! Each round is a [bisection](super::bisect) over prefixes, noise and all, so n earlier cases of
//! which m are needed cost about (m + 1) × log2 n questions, where leaving out one after the other
//! costs n and more. The order of the cases is kept meanwhile: what comes out is a subsequence. What
//! undoes a polluter's trace and is followed by another polluter can lead it to either of the two;
//! both answers are true.
//!
//! Where several are needed, each two neighbours are then turned round: failing all the same, their
//! order is no part of the cause; passing more often than the failure's rate explains, it is.

use super::bisect::{Answer as Found, Bisect, Next, Place, Settings};
use super::chance::Count;

/// What is known in the end.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// It fails alone: nobody pollutes.
    Alone {
        /// With which probability, 0 to 1.
        probability: f64,
    },
    /// It does not fail after all the earlier cases either.
    NotReproduced {
        /// With which probability, 0 to 1.
        probability: f64,
    },
    /// It fails after these, and without any one of them it does not.
    Polluters {
        /// Their places among the earlier cases, in order.
        cases: Vec<usize>,
        /// Pairs of them of which the first has to run before the second.
        in_order: Vec<(usize, usize)>,
        /// With which probability, 0 to 1.
        probability: f64,
    },
    /// No further question would tell anything, or there were too many of them.
    Unclear {
        /// What is known to be needed.
        needed: Vec<usize>,
    },
}

/// What to do next.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Run these earlier cases in their order, then the victim, in a fresh guest, and
    /// [record](Search::record) whether it failed.
    Ask(Vec<usize>),
    /// It is over.
    Done(Answer),
}

/// The most cases that a set can have before it is called unclear.
const MOST_NEEDED: usize = 8;

/// Tries after which the order of a pair is left open.
const MOST_TRIES: u32 = 60;

/// The search for what of the order matters, once the set is known.
#[derive(Debug, Clone)]
struct Turning {
    /// The set, in order.
    cases: Vec<usize>,
    /// What is known of the failure after the set in this order.
    known: Count,
    probability: f64,
    /// The pair that is turned round: this one and the next.
    pair: usize,
    /// Passes of it so far.
    passes: u32,
    in_order: Vec<(usize, usize)>,
}

impl Turning {
    fn list(&self) -> Option<Vec<usize>> {
        let mut list = self.cases.clone();
        (self.pair + 1 < list.len()).then(|| {
            list.swap(self.pair, self.pair + 1);
            list
        })
    }

    /// The probability that so many tries pass if the order does not matter, the rate being as far
    /// known as the set's own tries tell.
    fn by_luck(&self) -> f64 {
        let (good, total) = (self.known.total - self.known.bad, self.known.total);
        let factor = |k: u32| f64::from(good + 1 + k) / f64::from(total + 2 + k);
        (0..self.passes).map(factor).product()
    }

    fn record(&mut self, failed: bool, doubt: f64) {
        self.passes += u32::from(!failed);
        let matters = !failed && self.by_luck() < doubt;
        if matters {
            let pair = (self.cases[self.pair], self.cases[self.pair + 1]);
            self.in_order.push(pair);
            self.probability *= 1.0 - self.by_luck();
        }
        if failed || matters || self.passes >= MOST_TRIES {
            self.pair += 1;
            self.passes = 0;
        }
    }

    fn answer(&self) -> Answer {
        Answer::Polluters {
            cases: self.cases.clone(),
            in_order: self.in_order.clone(),
            probability: self.probability,
        }
    }
}

/// A search among the earlier cases `0..earlier`.
#[derive(Debug, Clone)]
pub struct Search {
    settings: Settings,
    needed: Vec<usize>,
    bisect: Bisect,
    probability: f64,
    turning: Option<Turning>,
    asked: Option<usize>,
    questions: u64,
}

impl Search {
    /// A search that knows nothing yet.
    pub fn new(earlier: usize, confidence: f64) -> Self {
        let settings = Settings {
            confidence,
            // That it fails alone, or not at all, is quite possible.
            outside: 0.2,
            ..Settings::default()
        };
        Self {
            bisect: Bisect::new(earlier + 1, settings),
            settings,
            needed: Vec::new(),
            probability: 1.0,
            turning: None,
            asked: None,
            questions: 0,
        }
    }

    /// Enters what a run has shown of the victim after all the earlier cases.
    pub fn seen_after_all(&mut self, seen: Count) {
        if self.needed.is_empty() {
            let whole = self.bisect.counts().len() - 1;
            self.bisect.record(whole, seen);
        }
    }

    /// What to ask next. The same again until an answer is recorded.
    pub fn step(&mut self) -> Step {
        loop {
            if let Some(turning) = &self.turning {
                return match turning.list() {
                    Some(list) => Step::Ask(list),
                    None => Step::Done(turning.answer()),
                };
            }
            let found = match self.bisect.next(1) {
                Next::Run(points) => {
                    let prefix = points.first().copied().unwrap_or(0);
                    self.asked = Some(prefix);
                    let mut list: Vec<usize> = (0..prefix).collect();
                    list.extend(self.needed.iter().rev());
                    return Step::Ask(list);
                }
                Next::Stuck(_) => return Step::Done(self.unclear()),
                Next::Done(found) => found,
            };
            if let Some(answer) = self.narrow(found) {
                return Step::Done(answer);
            }
        }
    }

    /// Enters the answer to the question that [`step`](Self::step) asked last.
    pub fn record(&mut self, failed: bool) {
        if let Some(turning) = &mut self.turning {
            self.questions += 1;
            turning.record(failed, 1.0 - self.settings.confidence);
            return;
        }
        if let Some(prefix) = self.asked.take() {
            self.questions += 1;
            let bad = u32::from(failed);
            self.bisect.record(prefix, Count { bad, total: 1 });
        }
    }

    /// Questions that were asked.
    pub fn questions(&self) -> u64 {
        self.questions
    }

    /// Places that are known to be needed so far, the last one first.
    pub fn needed(&self) -> &[usize] {
        &self.needed
    }

    fn unclear(&self) -> Answer {
        let needed = self.needed.iter().rev().copied().collect();
        Answer::Unclear { needed }
    }

    /// Goes on from a round's answer; gives the whole answer where that was the last round.
    fn narrow(&mut self, found: Found) -> Option<Answer> {
        let probability = self.probability * found.probability;
        match found.place {
            Place::After => Some(match self.needed.is_empty() {
                true => Answer::NotReproduced { probability },
                // What was needed and enough a round ago is not any more: the answers contradict.
                false => self.unclear(),
            }),
            Place::Before if self.needed.is_empty() => Some(Answer::Alone { probability }),
            Place::Before => {
                self.turning = Some(Turning {
                    cases: self.needed.iter().rev().copied().collect(),
                    known: self.bisect.counts().first().copied().unwrap_or_default(),
                    probability,
                    pair: 0,
                    passes: 0,
                    in_order: Vec::new(),
                });
                None
            }
            Place::Within { last, .. } => {
                if self.needed.len() >= MOST_NEEDED {
                    return Some(self.unclear());
                }
                let known = self.bisect.counts()[last];
                self.needed.push(last - 1);
                self.probability = probability;
                // Prefixes of what comes before it. The longest of them is the list that has been
                // asked about as `last`, and failed.
                let settings = Settings {
                    outside: 0.3,
                    ..self.settings
                };
                self.bisect = Bisect::new(last, settings);
                self.bisect.record(last - 1, known);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::dice::Dice;

    /// Asks until the end; the victim fails at `rate` where all of `planted` came before it.
    fn find(n: usize, planted: &[usize], rate: f64, seed: u64) -> (Answer, u64) {
        let mut dice = Dice::new(seed);
        let mut search = Search::new(n, 0.98);
        for _ in 0..2000 {
            match search.step() {
                Step::Done(answer) => return (answer, search.questions()),
                Step::Ask(cases) => {
                    let turned = cases.windows(2).filter(|w| w[0] > w[1]).count();
                    assert!(turned <= 1, "{cases:?}");
                    let there = planted.iter().all(|p| cases.contains(p));
                    search.record(there && dice.chance(rate));
                }
            }
        }
        panic!("no end");
    }

    /// Three are needed, the last two of them in this order.
    #[test]
    fn the_order_of_a_pair_is_told_where_it_matters() {
        for (seed, rate) in [(1, 1.0), (2, 1.0), (3, 0.6)] {
            let mut dice = Dice::new(seed);
            let mut search = Search::new(40, 0.98);
            let answer = loop {
                match search.step() {
                    Step::Done(answer) => break answer,
                    Step::Ask(cases) => {
                        let at = |p: usize| cases.iter().position(|c| *c == p);
                        let there = at(4).is_some() && at(9).is_some() && at(9) < at(30);
                        search.record(there && dice.chance(rate));
                    }
                }
                assert!(search.questions() < 600);
            };
            let Answer::Polluters {
                cases, in_order, ..
            } = &answer
            else {
                panic!("{answer:?}");
            };
            assert_eq!(
                (&cases[..], &in_order[..]),
                (&[4, 9, 30][..], &[(9, 30)][..]),
                "{seed}"
            );
        }
    }

    fn cases(answer: &Answer) -> &[usize] {
        match answer {
            Answer::Polluters { cases, .. } => cases,
            _ => &[],
        }
    }

    #[test]
    fn one_polluter_among_many_costs_few_questions() {
        let (answer, questions) = find(50, &[17], 1.0, 1);
        assert_eq!(cases(&answer), [17]);
        assert!(questions <= 20, "{questions}");
        let (answer, questions) = find(50, &[0], 0.5, 2);
        assert_eq!(cases(&answer), [0]);
        assert!(questions <= 60, "{questions}");
    }

    #[test]
    fn a_case_that_fails_alone_or_never_has_no_polluter() {
        assert!(matches!(find(20, &[], 1.0, 1).0, Answer::Alone { .. }));
        let never = find(20, &[], 0.0, 1).0;
        assert!(matches!(never, Answer::NotReproduced { .. }), "{never:?}");
        assert!(matches!(find(0, &[], 1.0, 1).0, Answer::Alone { .. }));
    }

    #[test]
    fn planted_sets_are_found_whatever_their_size_and_rate() {
        let mut dice = Dice::new(11);
        let (mut right, mut total, mut asked) = (0, 0, 0);
        for seed in 0..40 {
            let n = 5 + dice.below(60);
            let mut planted: Vec<usize> = (0..1 + dice.below(3)).map(|_| dice.below(n)).collect();
            planted.sort_unstable();
            planted.dedup();
            let rate = [1.0, 0.7, 0.4][dice.below(3)];
            let (answer, questions) = find(n, &planted, rate, seed);
            total += 1;
            asked += questions;
            right += u32::from(cases(&answer) == planted);
        }
        assert!(right * 10 >= total * 9, "{right} of {total}");
        // Leaving out one case after the other would ask every one of them several times.
        assert!(asked < 40 * 80, "{asked}");
    }
}
