//! Bayesian comparison of what can explain one case's attempts.
//!
//! Every explanation is a statement on rates: *one rate everywhere* (it passes, it is a flake, it
//! is broken), or *a rate of its own in a region* (a port, a cell, the columns where traits hold,
//! some ports without a reason), each of which is new with the revision under test, known from the
//! baseline, or gone with it. The rates are integrated out ([`super::priors`]); what is left are
//! posterior probabilities that sum to one. Counts from cases that were repeated because they had
//! failed may be used as they are: the choice to repeat rested on attempts that are in the counts
//! too, so it says nothing about the rates that the counts do not say, and the likelihood is the
//! same as if the repeats had been planned. (A share "bad of all" would be biased, which is why no
//! decision here rests on one.)
//!
//! It does not decide what to report or run: see [`super::cases`] and [`super::repeats`].

use std::collections::BTreeSet;

use super::chance::Count;
use super::priors::{self, Memo, Rates, ln_sum, rates};

/// Columns that a failure can be bound to.
#[derive(Debug, Clone, PartialEq)]
pub struct Region {
    /// The columns, ascending.
    pub members: Vec<u16>,
    /// The share of all that a case can be bound to.
    pub prior: f64,
    /// There is a conjunction of traits that holds there and nowhere else.
    pub by_trait: bool,
}

/// When an explanation holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum When {
    /// With the revision under test only.
    New,
    /// On the baseline too; also where there is none.
    Known,
    /// On the baseline only.
    Gone,
}

/// An explanation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum What {
    /// It passes everywhere; what failed was an accident.
    Quiet,
    /// One rate everywhere, neither never nor always (or one that differs by port).
    Flake,
    /// It fails everywhere.
    Broken,
    /// Its own rate in a region, by its number.
    Region(u16),
    /// Its own rate on several ports without a reason.
    SomePorts,
    /// Its own rate in several cells without a reason.
    SomeCells,
}

/// What an explanation comes to for a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// It fails now and then, or it was an accident.
    Flake,
    /// It fails everywhere.
    Everywhere,
    /// It fails on one port (or one variant of it) alone.
    OnePort,
    /// It fails where traits hold.
    Trait,
    /// It fails on several ports, and nothing known says why those.
    Scattered,
    /// Only the baseline has it.
    Gone,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Flake,
        Self::Everywhere,
        Self::OnePort,
        Self::Trait,
        Self::Scattered,
        Self::Gone,
    ];
}

/// One explanation with its posterior probability.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weighed {
    /// The explanation.
    pub what: What,
    /// When it holds.
    pub when: When,
    /// What it comes to.
    pub class: Class,
    /// Prior probability.
    pub prior: f64,
    /// Posterior probability.
    pub weight: f64,
}

/// The columns of a table, as far as rates care.
#[derive(Debug)]
pub struct Scales {
    /// By column: the number of its port.
    pub port_of: Vec<u16>,
    ports: usize,
    one_port: bool,
    several_cells: bool,
    /// What failures can be bound to.
    pub regions: Vec<Region>,
    inside: Memo,
    outside: Memo,
}

/// All explanations of one case.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Weighing {
    /// The likeliest first.
    pub all: Vec<Weighed>,
}

/// The attempts of one case: by column, both sides.
#[derive(Debug, Clone, Copy)]
pub struct Counts<'a> {
    /// The revision under test.
    pub candidate: &'a [Count],
    /// The baseline.
    pub baseline: &'a [Count],
}

impl Counts<'_> {
    /// A column's count on one side; nothing where there is no such column.
    pub fn at(&self, baseline: bool, column: usize) -> Count {
        let side = if baseline {
            self.baseline
        } else {
            self.candidate
        };
        side.get(column).copied().unwrap_or_default()
    }
}

/// Sums over a region and over the rest, both sides.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    inside: [Count; 2],
    outside: [Count; 2],
}

impl Sums {
    /// What has its own rate, and what has the common one.
    fn split(&self, when: When) -> (Count, Count) {
        let [candidate, baseline] = self.inside;
        let rest = self.outside[0].plus(self.outside[1]);
        match when {
            When::New => (candidate, rest.plus(baseline)),
            When::Known => (candidate.plus(baseline), rest),
            When::Gone => (baseline, rest.plus(candidate)),
        }
    }
}

impl Scales {
    /// For columns with these ports, of which some say anything at all, and these regions.
    pub fn new(port_of: Vec<u16>, heard: &[bool], regions: Vec<Region>) -> Self {
        let ports = port_of.iter().map(|p| usize::from(*p) + 1).max();
        let loud = || port_of.iter().zip(heard).filter(|(_, h)| **h);
        let heard_ports: BTreeSet<u16> = loud().map(|(p, _)| *p).collect();
        Self {
            ports: ports.unwrap_or(0),
            one_port: heard_ports.len() < 2,
            several_cells: loud().count() > heard_ports.len(),
            port_of,
            regions,
            inside: Memo::new(&rates().inside),
            outside: Memo::new(&rates().outside),
        }
    }

    /// Weighs all explanations. Columns without attempts say nothing. Empty where the revision
    /// under test has no attempt.
    pub fn weigh(&self, counts: Counts<'_>) -> Weighing {
        let all = |side: &[Count]| side.iter().copied().fold(Count::default(), Count::plus);
        let (candidate, baseline) = (all(counts.candidate), all(counts.baseline));
        if candidate.total == 0 {
            return Weighing::default();
        }
        let rates = rates();
        let both = candidate.plus(baseline);
        let has_baseline = baseline.total > 0;
        let mut found: Vec<Weighed> = Vec::with_capacity(self.regions.len() * 2 + 16);
        let mut add = |what, when, class, prior: f64, ln_chance: f64| {
            // The weight is a logarithm until all are known.
            let weight = prior.ln() + ln_chance;
            found.push(Weighed {
                what,
                when,
                class,
                prior,
                weight,
            });
        };
        let common = 1.0 - priors::BOUND;
        let (quiet, broken) = (common * priors::STEADY, common * priors::BROKEN);
        add(
            What::Quiet,
            When::Known,
            Class::Flake,
            quiet,
            rates.steady.ln_chance(both),
        );
        add(
            What::Broken,
            When::Known,
            Class::Everywhere,
            broken,
            rates.broken.ln_chance(both),
        );
        let flaky = common * priors::FLAKY;
        let uneven = self.uneven(counts, rates);
        let even = (1.0 - priors::UNEVEN).ln() + rates.flaky.ln_chance(both);
        let flake = ln_sum([even, priors::UNEVEN.ln() + uneven].into_iter());
        add(What::Flake, When::Known, Class::Flake, flaky, flake);
        if has_baseline {
            for (when, share, own, other) in [
                (When::New, priors::NEW + priors::KNOWN, candidate, baseline),
                (When::Gone, priors::FIXED, baseline, candidate),
            ] {
                let calm = self.outside.ln_chance(other);
                for (i, (weight, rate)) in rates.everywhere.iter().enumerate() {
                    let what = if i == 0 { What::Broken } else { What::Flake };
                    let class = match (when, i) {
                        (When::Gone, _) => Class::Gone,
                        (_, 0) => Class::Everywhere,
                        _ => Class::Flake,
                    };
                    let prior = priors::BOUND * priors::ALL * share * weight;
                    add(what, when, class, prior, rate.ln_chance(own) + calm);
                }
            }
        }
        let whens: &[(When, f64)] = if has_baseline {
            &[
                (When::New, priors::NEW),
                (When::Known, priors::KNOWN),
                (When::Gone, priors::FIXED),
            ]
        } else {
            &[(When::Known, 1.0)]
        };
        for (number, region) in self.regions.iter().enumerate() {
            let Some((sums, class)) = self.sums(region, counts, [candidate, baseline]) else {
                continue;
            };
            for (when, share) in whens {
                let (inside, outside) = sums.split(*when);
                // Where nothing failed inside, nothing is bound to it.
                if inside.bad == 0 || outside.total == 0 {
                    continue;
                }
                let class = if *when == When::Gone {
                    Class::Gone
                } else {
                    class
                };
                let chance = self.inside.ln_chance(inside) + self.outside.ln_chance(outside);
                let prior = priors::BOUND * region.prior * share;
                add(What::Region(number as u16), *when, class, prior, chance);
            }
        }
        for (when, share) in whens {
            let class = if *when == When::Gone {
                Class::Gone
            } else {
                Class::Scattered
            };
            let [ports, cells] = self.unreasoned(counts, *when);
            let prior = priors::BOUND * share;
            add(
                What::SomePorts,
                *when,
                class,
                prior * priors::SOME_PORTS,
                ports,
            );
            // Where every port has one cell, its cells are its ports.
            if self.several_cells {
                let prior = prior * priors::SOME_CELLS;
                add(What::SomeCells, *when, class, prior, cells);
            }
        }
        let whole = ln_sum(found.iter().map(|w| w.weight));
        for weighed in &mut found {
            weighed.weight = (weighed.weight - whole).exp();
        }
        found.sort_by(|a, b| {
            let order = b.weight.total_cmp(&a.weight);
            order.then_with(|| (a.what, a.when).cmp(&(b.what, b.when)))
        });
        Weighing { all: found }
    }

    /// The region's sums, and what it is among the columns that speak; none where all of those
    /// are in it or none is.
    fn sums(&self, region: &Region, counts: Counts<'_>, all: [Count; 2]) -> Option<(Sums, Class)> {
        let mut sums = Sums::default();
        let (mut first, mut one) = (None, true);
        for member in &region.members {
            let column = usize::from(*member);
            let (candidate, baseline) = (counts.at(false, column), counts.at(true, column));
            if candidate.total > 0 {
                let port = self.port_of.get(column).copied();
                one &= *first.get_or_insert(port) == port;
            }
            sums.inside[0] = sums.inside[0].plus(candidate);
            sums.inside[1] = sums.inside[1].plus(baseline);
        }
        first?;
        let less = |a: Count, b: Count| Count {
            bad: a.bad.saturating_sub(b.bad),
            total: a.total.saturating_sub(b.total),
        };
        sums.outside = [less(all[0], sums.inside[0]), less(all[1], sums.inside[1])];
        if sums.outside[0].total == 0 {
            return None;
        }
        let class = match (one && !self.one_port, region.by_trait) {
            (true, _) => Class::OnePort,
            (false, true) => Class::Trait,
            (false, false) => Class::Scattered,
        };
        Some((sums, class))
    }

    /// The counts of whole ports, both sides.
    fn by_port(&self, counts: Counts<'_>) -> Vec<[Count; 2]> {
        let mut ports = vec![[Count::default(); 2]; self.ports];
        for (column, port) in self.port_of.iter().enumerate() {
            let port = &mut ports[usize::from(*port)];
            port[0] = port[0].plus(counts.at(false, column));
            port[1] = port[1].plus(counts.at(true, column));
        }
        ports
    }

    /// A flake whose rate differs by port and not by side.
    fn uneven(&self, counts: Counts<'_>, rates: &Rates) -> f64 {
        let ports = self.by_port(counts);
        let of = |uneven: &priors::Uneven| {
            let chance = |[a, b]: &[Count; 2]| uneven.rates.ln_chance(a.plus(*b));
            uneven.ln_weight + ports.iter().map(chance).sum::<f64>()
        };
        let terms: Vec<f64> = rates.uneven.iter().map(of).collect();
        ln_sum(terms.into_iter())
    }

    /// Two or more ports that have their own rate without a reason: whole ports, or single cells
    /// of theirs.
    fn unreasoned(&self, counts: Counts<'_>, when: When) -> [f64; 2] {
        let one = |candidate: Count, baseline: Count| {
            let sums = Sums {
                inside: [candidate, baseline],
                ..Sums::default()
            };
            let (inside, outside) = sums.split(when);
            let rates = rates();
            let calm = rates.steady.ln_chance(candidate.plus(baseline));
            let own = self.inside.ln_chance(inside) + rates.steady.ln_chance(outside);
            (
                (1.0 - priors::MEMBER).ln() + calm,
                priors::MEMBER.ln() + own,
            )
        };
        let speaks = |[c, b]: &[Count; 2]| c.total > 0 || b.total > 0;
        let whole = self.by_port(counts).into_iter();
        let whole = whole.filter(speaks).map(|[c, b]| one(c, b));
        let mut cells = vec![[0.0, f64::NEG_INFINITY]; self.ports];
        for (column, port) in self.port_of.iter().enumerate() {
            let here = [counts.at(false, column), counts.at(true, column)];
            if !speaks(&here) {
                continue;
            }
            let (calm, own) = one(here[0], here[1]);
            let [none, some] = cells[usize::from(*port)];
            cells[usize::from(*port)] = [
                none + calm,
                ln_sum([some + calm, some + own, none + own].into_iter()),
            ];
        }
        [
            two_or_more(whole),
            two_or_more(cells.into_iter().map(|[n, s]| (n, s))),
        ]
    }

    /// What an explanation expects of further attempts.
    pub fn outlook(&self, it: &Weighed, counts: Counts<'_>) -> Outlook {
        let rates = rates();
        let all = |side: &[Count]| side.iter().copied().fold(Count::default(), Count::plus);
        let (c, b) = (all(counts.candidate), all(counts.baseline));
        let (own, other) = match it.when {
            When::New => (c, b),
            When::Gone => (b, c),
            When::Known => (c.plus(b), Count::default()),
        };
        let mut outlook = Outlook {
            when: it.when,
            place: Place::Everywhere,
            inside: 0.0,
            outside: rates.outside.mean(other),
        };
        match it.what {
            What::Quiet => outlook.inside = rates.steady.mean(own),
            What::Flake => outlook.inside = rates.flaky.mean(own),
            What::Broken => outlook.inside = rates.broken.mean(own),
            What::Region(number) => {
                let region = self.regions.get(usize::from(number));
                let sums = region.and_then(|r| Some((r, self.sums(r, counts, [c, b])?)));
                if let Some((region, (sums, _))) = sums {
                    let (inside, outside) = sums.split(it.when);
                    outlook.place = Place::Columns(region.members.clone());
                    outlook.inside = rates.inside.mean(inside);
                    outlook.outside = rates.outside.mean(outside);
                }
            }
            What::SomePorts | What::SomeCells => {
                outlook.place = Place::WhereItFailed;
                outlook.inside = rates.inside.mean(Count { bad: 1, total: 1 });
                outlook.outside = rates.steady.mean(own.plus(other));
            }
        }
        outlook
    }
}

/// What an explanation expects of one more attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct Outlook {
    when: When,
    place: Place,
    inside: f64,
    outside: f64,
}

/// Where an explanation has its own rate.
#[derive(Debug, Clone, PartialEq)]
enum Place {
    Everywhere,
    Columns(Vec<u16>),
    WhereItFailed,
}

impl Outlook {
    /// The chance that one more attempt in this column of this side ends badly.
    pub fn rate(&self, baseline: bool, column: usize, counts: Counts<'_>) -> f64 {
        let own_side = match self.when {
            When::New => !baseline,
            When::Gone => baseline,
            When::Known => true,
        };
        let inside = own_side
            && match &self.place {
                Place::Everywhere => true,
                Place::Columns(members) => members.binary_search(&(column as u16)).is_ok(),
                Place::WhereItFailed => counts.at(baseline, column).bad > 0,
            };
        if inside { self.inside } else { self.outside }
    }
}

/// The logarithm of the chance that at least two of these are of the second kind.
fn two_or_more(places: impl Iterator<Item = (f64, f64)>) -> f64 {
    let mut state = [0.0, f64::NEG_INFINITY, f64::NEG_INFINITY];
    for (calm, own) in places {
        state = [
            state[0] + calm,
            ln_sum([state[1] + calm, state[0] + own].into_iter()),
            ln_sum([state[2] + calm, state[2] + own, state[1] + own].into_iter()),
        ];
    }
    state[2]
}

impl Weighing {
    /// The posterior probability of a class.
    pub fn class(&self, class: Class) -> f64 {
        let of = self.all.iter().filter(|w| w.class == class);
        of.map(|w| w.weight).sum::<f64>().min(1.0)
    }

    /// The classes, the likeliest first.
    pub fn classes(&self) -> Vec<(Class, f64)> {
        let mut classes: Vec<(Class, f64)> =
            Class::ALL.map(|class| (class, self.class(class))).into();
        classes.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        classes
    }

    /// The regions of a class, summed over when they hold, the likeliest first.
    pub fn regions(&self, class: Class) -> Vec<(u16, f64)> {
        let mut regions: Vec<(u16, f64)> = Vec::new();
        for weighed in self.all.iter().filter(|w| w.class == class) {
            let What::Region(number) = weighed.what else {
                continue;
            };
            match regions.iter_mut().find(|(n, _)| *n == number) {
                Some((_, sum)) => *sum += weighed.weight,
                // What has a millionth of the weight is no rival of anything.
                None if weighed.weight > 1e-6 => regions.push((number, weighed.weight)),
                None => {}
            }
        }
        regions.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        regions
    }

    /// Whether a class is new, given that it is the right one: the posterior, and the Bayes factor
    /// against "known" as a decimal logarithm. None where nothing of the class has weight.
    pub fn news(&self, class: Class) -> Option<(f64, f64)> {
        let sum = |when: When, of: fn(&Weighed) -> f64| -> f64 {
            let fits = |w: &&Weighed| w.class == class && w.when == when && w.what != What::Quiet;
            self.all.iter().filter(fits).map(of).sum()
        };
        let (new, known) = (sum(When::New, |w| w.weight), sum(When::Known, |w| w.weight));
        if new + known <= 0.0 {
            return None;
        }
        let before = sum(When::New, |w| w.prior) / sum(When::Known, |w| w.prior);
        let factor = (new.max(f64::MIN_POSITIVE) / known.max(f64::MIN_POSITIVE)) / before;
        Some((new / (new + known), factor.log10()))
    }
}
