//! Draws: ports with traits, and cases with planted causes.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{PortName, Traits};
use crate::verdict::chance::Count;
use crate::verdict::dice::Dice;
use crate::verdict::tally::Column;
use crate::verdict::traits::Explainer;

/// What the simulated world is like. Every number has its reason beside it.
#[derive(Debug, Clone, PartialEq)]
pub struct World {
    /// As in the aim.
    pub ports: usize,
    /// As in the aim: plain, DIAGNOSTIC, LOCKDEBUG, both.
    pub variants: usize,
    /// As in the aim: about NetBSD's own suite.
    pub cases: usize,
    /// One pass over the suite a cell and side: what a night can afford.
    pub passes: u32,
    /// Flaky cases: one in 200. Published shares of tests that ever flake are higher, of runs that
    /// do so lower; their rates are drawn between 1 % and 60 %, evenly on a logarithmic scale.
    pub flakes: usize,
    /// Of the flakes, those that differ by port (a slow emulator loses more races): the spread of
    /// the rate's logit is 0.7, which is a factor of two either way.
    pub uneven_flakes: f64,
    /// Of the flakes, those that came with the revision under test.
    pub new_flakes: f64,
    /// Failures of one port, or (one in four) of one variant of one port.
    pub arch_only: usize,
    /// Failures where one trait, or (one in four) two traits hold, on two ports or more.
    pub trait_bound: usize,
    /// Failures of all cells: the commonest thing that a broken change does.
    pub common: usize,
    /// Kernel panics bound to a port or a trait.
    pub panics: usize,
    /// Of bound failures, those that do not happen every time (races, memory contents): their rate
    /// is drawn between 0.4 and 1. (What fails everywhere does so every time: a case that fails
    /// everywhere now and then is a flake by its definition.)
    pub intermittent: f64,
    /// Of bound and common failures, those that the baseline has too.
    pub old: f64,
    /// Attempts that fail for no reason of the case: a host that stumbles.
    pub accident: f64,
    /// Cells that never ran.
    pub missing_cells: f64,
    /// Cases that skip themselves on a port.
    pub skips: f64,
}

impl World {
    /// The world of the published figures.
    pub const fn full() -> Self {
        Self {
            ports: 12,
            variants: 4,
            cases: 12_000,
            passes: 1,
            flakes: 60,
            uneven_flakes: 0.33,
            new_flakes: 0.1,
            arch_only: 6,
            trait_bound: 6,
            common: 5,
            panics: 2,
            intermittent: 0.15,
            old: 0.25,
            accident: 5e-5,
            missing_cells: 0.02,
            skips: 0.03,
        }
    }
}

/// Why a case fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// Nothing: accidents only.
    Accident,
    /// A flake that the baseline has too.
    OldFlake,
    /// A flake of the revision under test.
    NewFlake,
    /// One port, or one variant of one port.
    ArchOnly,
    /// Traits.
    TraitBound,
    /// It fails everywhere.
    Common,
}

/// Traits and their values, all of which hold.
type Conjunction = Vec<(String, String)>;

/// A case with a cause.
#[derive(Debug, Clone, PartialEq)]
pub struct Planted {
    /// Why it fails.
    pub cause: Cause,
    /// It kills the kernel.
    pub panic: bool,
    /// The baseline has it too.
    pub old: bool,
    /// Columns that it is bound to; empty where it is bound to none.
    pub bound: Vec<u16>,
    /// The traits behind it, for a trait-bound one.
    pub traits: Vec<(String, String)>,
    /// By column: the chance that an attempt is bad, under test and on the baseline.
    pub rates: Vec<[f64; 2]>,
    /// By column: whether the case runs there.
    pub runs: Vec<bool>,
    /// The first look: by column, under test and on the baseline.
    pub first: [Vec<Count>; 2],
}

/// One drawn matrix. Cases that never failed are counted only.
#[derive(Debug)]
pub struct Draw {
    /// The columns.
    pub columns: Vec<Column>,
    /// The ports' traits.
    pub ports: BTreeMap<PortName, Traits>,
    /// The variants' traits.
    pub variants: BTreeMap<String, Traits>,
    /// What separates columns.
    pub explainer: Explainer,
    /// Every planted case, and every other one that failed under test.
    pub planted: Vec<Planted>,
    /// Attempts of the first look under test.
    pub attempts: u64,
}

/// Traits with their values; a port draws one of each. The first ones of a key are the commoner.
const KEYS: [(&str, &[&str]); 11] = [
    ("endian", &["little", "little", "little", "big"]),
    ("word", &["LP64", "LP64", "ILP32"]),
    ("char", &["signed", "unsigned"]),
    ("unaligned", &["works", "works", "traps"]),
    ("long_double", &["ieee128", "ieee128", "x87", "double"]),
    ("page_kib", &["4", "4", "4", "8", "16", "64"]),
    ("memory_model", &["strong", "weak"]),
    ("stack", &["down", "down", "down", "up"]),
    ("va_list", &["pointer", "pointer", "struct", "array"]),
    ("div_zero", &["traps", "silent"]),
    ("md", &["m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8"]),
];

impl Draw {
    /// Draws a matrix.
    pub fn new(world: &World, seed: u64) -> Self {
        let mut rng = Dice::new(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ 0x5eed);
        let ports: BTreeMap<PortName, Traits> = (0..world.ports)
            .map(|p| {
                let one = |(key, values): &(&str, &[&str])| {
                    ((*key).to_owned(), (*rng.pick(values)).to_owned())
                };
                (
                    PortName(format!("port{p:02}")),
                    KEYS.iter().map(one).collect(),
                )
            })
            .collect();
        let yes = |on: bool| if on { "yes" } else { "no" }.to_owned();
        let variants: BTreeMap<String, Traits> = (0..world.variants)
            .map(|v| {
                let traits = [
                    ("DIAGNOSTIC".to_owned(), yes(v & 1 == 1)),
                    ("LOCKDEBUG".to_owned(), yes(v & 2 == 2)),
                ];
                (format!("v{v}"), traits.into())
            })
            .collect();
        let columns: Vec<Column> = ports
            .keys()
            .flat_map(|port| {
                variants.keys().map(move |variant| Column {
                    label: PortName(format!("{port}+{variant}")),
                    port: port.clone(),
                    variant: variant.clone(),
                })
            })
            .collect();
        let ran: Vec<bool> = columns
            .iter()
            .map(|_| !rng.chance(world.missing_cells))
            .collect();
        let explainer = Explainer::of(&columns, &ran, &ports, &variants);
        let mut draw = Self {
            columns,
            ports,
            variants,
            explainer,
            planted: Vec::new(),
            attempts: 0,
        };
        let cells = ran.iter().filter(|r| **r).count();
        let skipped = 1.0 - world.skips;
        draw.attempts =
            (cells as f64 * skipped * world.cases as f64 * f64::from(world.passes)) as u64;
        draw.plant(world, &ran, &mut rng);
        draw
    }

    fn plant(&mut self, world: &World, ran: &[bool], rng: &mut Dice) {
        let mut planted = Vec::new();
        for _ in 0..world.flakes {
            planted.push(self.flake(world, ran, rng));
        }
        for i in 0..world.arch_only + world.panics / 2 {
            let bound = self.one_port(world, rng);
            let panic = i >= world.arch_only;
            planted.push(self.bound(world, ran, Cause::ArchOnly, panic, bound, Vec::new(), rng));
        }
        for i in 0..world.trait_bound + world.panics.div_ceil(2) {
            let panic = i >= world.trait_bound;
            if let Some((bound, traits)) = self.conjunction(ran, rng) {
                planted.push(self.bound(world, ran, Cause::TraitBound, panic, bound, traits, rng));
            }
        }
        for _ in 0..world.common {
            let all = (0..self.columns.len() as u16).collect();
            let mut case = self.bound(world, ran, Cause::Common, false, all, Vec::new(), rng);
            case.bound.clear();
            planted.push(case);
        }
        // The other cases fail by accident only; how many do is drawn, not each of them.
        let quiet = world.cases.saturating_sub(planted.len()) as f64;
        let slots = quiet * self.columns.len() as f64 * f64::from(world.passes);
        for _ in 0..poisson(slots * world.accident, rng) {
            let mut case = self.blank(world, ran, Cause::Accident, rng);
            case.first = self.look(world, &case, rng);
            let able: Vec<usize> = (0..ran.len()).filter(|i| case.runs[*i]).collect();
            if let Some(column) = able.get(rng.below(able.len().max(1))) {
                case.first[0][*column].bad = 1;
                planted.push(case);
            }
        }
        self.planted = planted;
    }

    fn blank(&self, world: &World, ran: &[bool], cause: Cause, rng: &mut Dice) -> Planted {
        let mut runs = ran.to_vec();
        let ports: BTreeSet<&PortName> = self.columns.iter().map(|c| &c.port).collect();
        for port in ports {
            if rng.chance(world.skips) {
                for (column, run) in self.columns.iter().zip(&mut runs) {
                    *run &= column.port != *port;
                }
            }
        }
        Planted {
            cause,
            panic: false,
            old: false,
            bound: Vec::new(),
            traits: Vec::new(),
            rates: vec![[world.accident; 2]; self.columns.len()],
            runs,
            first: [Vec::new(), Vec::new()],
        }
    }

    fn look(&self, world: &World, case: &Planted, rng: &mut Dice) -> [Vec<Count>; 2] {
        [0, 1].map(|side| {
            let count = |i: usize| {
                let total = if case.runs[i] { world.passes } else { 0 };
                let bad = (0..total)
                    .filter(|_| rng.chance(case.rates[i][side]))
                    .count();
                Count {
                    bad: bad as u32,
                    total,
                }
            };
            (0..self.columns.len()).map(count).collect()
        })
    }

    fn flake(&self, world: &World, ran: &[bool], rng: &mut Dice) -> Planted {
        let new = rng.chance(world.new_flakes);
        let cause = if new {
            Cause::NewFlake
        } else {
            Cause::OldFlake
        };
        let mut case = self.blank(world, ran, cause, rng);
        case.old = !new;
        let rate = rng.between(f64::ln(0.01), f64::ln(0.6)).exp();
        let spread = if rng.chance(world.uneven_flakes) {
            0.7
        } else {
            0.0
        };
        let logit = (rate / (1.0 - rate)).ln();
        let mut by_port: BTreeMap<&PortName, f64> = BTreeMap::new();
        for (column, rates) in self.columns.iter().zip(&mut case.rates) {
            let here = by_port.entry(&column.port).or_insert_with(|| {
                let logit = logit + spread * rng.normal();
                1.0 / (1.0 + (-logit).exp())
            });
            rates[0] = *here;
            if !new {
                rates[1] = *here;
            }
        }
        case.first = self.look(world, &case, rng);
        case
    }

    #[expect(clippy::too_many_arguments, reason = "one planted case, spelled out")]
    fn bound(
        &self,
        world: &World,
        ran: &[bool],
        cause: Cause,
        panic: bool,
        bound: Vec<u16>,
        traits: Vec<(String, String)>,
        rng: &mut Dice,
    ) -> Planted {
        let mut case = self.blank(world, ran, cause, rng);
        let rate = if rng.chance(world.intermittent) && cause != Cause::Common {
            rng.between(0.4, 1.0)
        } else {
            1.0
        };
        case.panic = panic;
        case.old = rng.chance(world.old);
        for column in &bound {
            let rates = &mut case.rates[usize::from(*column)];
            rates[0] = rate;
            if case.old {
                rates[1] = rate;
            }
        }
        case.bound = bound;
        case.traits = traits;
        case.first = self.look(world, &case, rng);
        case
    }

    fn one_port(&self, world: &World, rng: &mut Dice) -> Vec<u16> {
        let column = rng.below(self.columns.len());
        if world.variants > 1 && rng.chance(0.25) {
            return vec![column as u16];
        }
        self.columns_where(|c| c.port == self.columns[column].port)
    }

    fn columns_where(&self, holds: impl Fn(&Column) -> bool) -> Vec<u16> {
        let all = self.columns.iter().enumerate();
        all.filter(|(_, c)| holds(c))
            .map(|(i, _)| i as u16)
            .collect()
    }

    /// One trait, or two, that hold on two ports or more that ran and not on all.
    fn conjunction(&self, ran: &[bool], rng: &mut Dice) -> Option<(Vec<u16>, Conjunction)> {
        let value = |column: &Column, key: &str| -> Option<String> {
            let of = |t: Option<&Traits>| t.and_then(|t| t.get(key)).cloned();
            of(self.ports.get(&column.port)).or_else(|| of(self.variants.get(&column.variant)))
        };
        for _ in 0..200 {
            let n = if rng.chance(0.25) { 2 } else { 1 };
            let like = rng.pick(&self.columns);
            let mut keys: Vec<&str> = KEYS.iter().map(|(k, _)| *k).collect();
            keys.extend(["DIAGNOSTIC", "LOCKDEBUG"]);
            let mut traits: Vec<(String, String)> = Vec::new();
            for _ in 0..n {
                let key = *rng.pick(&keys);
                keys.retain(|k| *k != key);
                traits.push((key.to_owned(), value(like, key)?));
            }
            let all = |c: &Column, traits: &[(String, String)]| {
                traits.iter().all(|(k, v)| value(c, k).as_ref() == Some(v))
            };
            let bound = self.columns_where(|c| all(c, &traits));
            let ports: BTreeSet<&PortName> = bound
                .iter()
                .map(|i| usize::from(*i))
                .filter(|i| ran[*i])
                .map(|i| &self.columns[i].port)
                .collect();
            // Two traits are two only where neither of them alone does.
            let alone = traits
                .iter()
                .any(|t| n > 1 && self.columns_where(|c| all(c, std::slice::from_ref(t))) == bound);
            if ports.len() >= 2 && bound.len() < self.columns.len() && !alone {
                return Some((bound, traits));
            }
        }
        None
    }
}

/// How many of very many unlikely things happen.
fn poisson(mean: f64, rng: &mut Dice) -> usize {
    let (mut left, mut n) = (mean, 0);
    loop {
        left += rng.unit().max(f64::MIN_POSITIVE).ln();
        if left < 0.0 {
            return n;
        }
        n += 1;
    }
}
