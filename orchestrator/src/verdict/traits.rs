//! What failing ports have in common and passing ports have not.
//!
//! The search wants the shortest conjunction of `key=value`; every one of that length is a rival
//! explanation and all are told. A key with another value on every port (the emulator's program)
//! "explains" everything and so explains nothing: it is only used where nothing else is found.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::VerdictInput;
use super::bits::Bits;
use super::priors;
use super::tally::{Column, Table};
use super::weigh::{Region, Scales};
use crate::model::{ACCELERATOR, PortName, Side, TraitSplit, Traits};

/// Explanations that a finding lists at most.
const RIVALS: usize = 16;

/// Candidate literals that conjunctions are made of at most: the search is cubic in it.
const LITERALS: usize = 48;

/// Among equals the cause is more likely one of these than what follows from them: `off_t` is
/// narrow because the word is.
const FUNDAMENTAL: [&str; 3] = ["endian", "word", "char"];

/// One `key=value`, with the columns where it holds.
#[derive(Debug)]
struct Literal {
    key: String,
    value: String,
    holds: Bits,
    /// Distinct values of the key: few means that the key groups ports.
    values: usize,
    /// Every port has its own value.
    names_ports: bool,
}

/// Regions that are weighed at most: what has the least prior is left out.
const REGIONS: usize = 4096;

/// By column, what ran its candidate's guests, where that differs between columns: a node that has an
/// accelerator may differ from one that translates.
fn accelerators(table: &Table<'_>) -> Vec<Option<(String, String)>> {
    let mut facts = vec![None; table.columns.len()];
    let candidates = table.cells.iter();
    for (column, cell) in candidates.filter(|(_, cell)| cell.id.side == Side::Candidate) {
        let ran = cell.versions.get(ACCELERATOR);
        facts[*column] = ran.map(|ran| (ACCELERATOR.to_owned(), ran.clone()));
    }
    let kinds: BTreeSet<_> = facts.iter().flatten().collect();
    match kinds.len() {
        0 | 1 => Vec::new(),
        _ => facts,
    }
}

/// Finds what separates sets of columns of one suite.
#[derive(Debug)]
pub struct Explainer {
    /// What a failure can be bound to here.
    pub scales: Scales,
    /// By column: port and variant.
    pub places: Vec<(PortName, String)>,
    columns: usize,
    literals: Vec<Literal>,
    known: RefCell<HashMap<(Bits, Bits), Vec<TraitSplit>>>,
}

impl Explainer {
    /// Gathers the traits of a suite's columns: the port's, then the variant's.
    pub fn new(table: &Table<'_>, input: &VerdictInput<'_>) -> Self {
        let own = accelerators(table);
        let heard = table.heard();
        Self::with(&table.columns, &heard, input.ports, input.variants, &own)
    }

    /// For columns, of which some say anything at all.
    pub fn of(
        places: &[Column],
        heard: &[bool],
        ports_traits: &BTreeMap<PortName, Traits>,
        variants_traits: &BTreeMap<String, Traits>,
    ) -> Self {
        Self::with(places, heard, ports_traits, variants_traits, &[])
    }

    /// The same, with facts of columns that are neither the port's nor the variant's.
    fn with(
        places: &[Column],
        heard: &[bool],
        ports_traits: &BTreeMap<PortName, Traits>,
        variants_traits: &BTreeMap<String, Traits>,
        facts: &[Option<(String, String)>],
    ) -> Self {
        let columns = places.len();
        let variants: BTreeSet<&str> = places.iter().map(|c| c.variant.as_str()).collect();
        let mut keys: BTreeMap<String, BTreeMap<String, BTreeSet<usize>>> = BTreeMap::new();
        for (i, column) in places.iter().enumerate() {
            let port = ports_traits.get(&column.port).into_iter().flatten();
            let variant = variants_traits.get(&column.variant).into_iter().flatten();
            let named = ("variant".to_owned(), column.variant.clone());
            let named = (variants.len() > 1).then_some(&named);
            let own = named.map(|(k, v)| (k, v)).into_iter();
            let fact = facts.get(i).and_then(Option::as_ref);
            let fact = fact.map(|(k, v)| (k, v)).into_iter();
            for (key, value) in port.chain(variant).chain(own).chain(fact) {
                let values = keys.entry(key.clone()).or_default();
                values.entry(value.clone()).or_default().insert(i);
            }
        }
        // A column that only skips is as if it were not there: it must not change what is likely.
        let ports: BTreeSet<_> = places.iter().map(|c| &c.port).collect();
        let heard_ports: BTreeSet<_> = (0..columns)
            .filter(|i| heard[*i])
            .map(|i| &places[i].port)
            .collect();
        let mut literals = Vec::new();
        for (key, values) in keys {
            let count = values
                .values()
                .filter(|at| at.iter().any(|i| heard[*i]))
                .count();
            for (value, at) in values {
                literals.push(Literal {
                    key: key.clone(),
                    value,
                    holds: Bits::of(columns, |i| at.contains(&i)),
                    values: count,
                    names_ports: heard_ports.len() > 2 && count >= heard_ports.len(),
                });
            }
        }
        let order = |l: &Literal| {
            let first = FUNDAMENTAL.iter().position(|k| *k == l.key);
            (l.values, first.unwrap_or(FUNDAMENTAL.len()))
        };
        // Stable: what is equal stays sorted by key.
        literals.sort_by_key(order);
        let numbers: BTreeMap<&PortName, u16> = ports.iter().copied().zip(0..).collect();
        let port_of: Vec<u16> = places.iter().map(|c| numbers[&c.port]).collect();
        let regions = regions(&port_of, heard, &literals);
        Self {
            scales: Scales::new(port_of, heard, regions),
            places: places
                .iter()
                .map(|c| (c.port.clone(), c.variant.clone()))
                .collect(),
            columns,
            literals,
            known: RefCell::default(),
        }
    }

    /// The shortest conjunctions that hold on all of `failing` and on none of `passing`, the
    /// most telling first. Empty where one of the sets is empty or nothing separates them.
    pub fn splits(
        &self,
        failing: impl Fn(usize) -> bool,
        passing: impl Fn(usize) -> bool,
    ) -> Vec<TraitSplit> {
        let failing = Bits::of(self.columns, failing);
        let passing = Bits::of(self.columns, passing);
        if failing.is_empty() || passing.is_empty() {
            return Vec::new();
        }
        let key = (failing, passing);
        if let Some(found) = self.known.borrow().get(&key) {
            return found.clone();
        }
        let found = self.search(&key.0, &key.1);
        self.known.borrow_mut().insert(key, found.clone());
        found
    }

    fn search(&self, failing: &Bits, passing: &Bits) -> Vec<TraitSplit> {
        // What holds on every failing port and is false on some passing one, with the passing
        // ports that it leaves unexplained.
        let useful = |identities: bool| -> Vec<(&Literal, Bits)> {
            let fits = |l: &&Literal| {
                (identities || !l.names_ports)
                    && failing.within(&l.holds)
                    && !passing.within(&l.holds)
            };
            let literals = self.literals.iter().filter(fits).take(LITERALS);
            literals.map(|l| (l, passing.and(&l.holds))).collect()
        };
        let mut found = shortest(&useful(false));
        if found.is_empty() {
            found = shortest(&useful(true));
        }
        // Held by the failing ports and nobody else first, then keys that group ports.
        found.sort_by_key(|split| {
            let all = split
                .iter()
                .skip(1)
                .fold(split[0].holds.clone(), |holds, l| holds.and(&l.holds));
            let weight: usize = split.iter().map(|l| l.values).sum();
            (all != *failing, weight)
        });
        found.truncate(RIVALS);
        let split = |literals: Vec<&Literal>| TraitSplit {
            all_of: literals
                .into_iter()
                .map(|l| (l.key.clone(), l.value.clone()))
                .collect(),
        };
        found.into_iter().map(split).collect()
    }
}

/// Everything that a failure can be bound to: ports, cells, all but a port, and the columns of
/// every single trait and every two traits. What has the same columns is one region.
fn regions(port_of: &[u16], heard: &[bool], literals: &[Literal]) -> Vec<Region> {
    let heard: Vec<usize> = (0..port_of.len()).filter(|i| heard[*i]).collect();
    let columns = heard.len();
    let ports: BTreeSet<u16> = heard.iter().map(|i| port_of[*i]).collect();
    let mut found: BTreeMap<Vec<u16>, (f64, bool)> = BTreeMap::new();
    let mut add = |members: Vec<u16>, prior: f64, by_trait: bool| {
        if !members.is_empty() && members.len() < columns {
            let region = found.entry(members).or_default();
            region.0 += prior;
            region.1 |= by_trait;
        }
    };
    let of = |member: &dyn Fn(usize) -> bool| -> Vec<u16> {
        let members = heard.iter().filter(|i| member(**i));
        members.map(|i| *i as u16).collect()
    };
    let share = 1.0 / ports.len().max(1) as f64;
    for port in ports {
        add(of(&|i| port_of[i] == port), priors::PORT * share, false);
        add(of(&|i| port_of[i] != port), priors::ALL_BUT * share, false);
    }
    for column in &heard {
        add(of(&|i| i == *column), priors::CELL / columns as f64, false);
    }
    let singles: Vec<&Literal> = literals
        .iter()
        .filter(|l| !l.names_ports && l.values > 1 && heard.iter().any(|i| l.holds.has(*i)))
        .collect();
    let share = priors::TRAIT * priors::SINGLE / singles.len().max(1) as f64;
    for literal in &singles {
        add(of(&|i| literal.holds.has(i)), share, true);
    }
    let mut pairs = Vec::new();
    for (i, a) in singles.iter().enumerate() {
        for b in singles.iter().skip(i + 1).filter(|b| b.key != a.key) {
            let both = a.holds.and(&b.holds);
            let places = |holds: &Bits| heard.iter().filter(|i| holds.has(**i)).count();
            let n = places(&both);
            // Two traits explain more than one only where they hold together in fewer places.
            if n > 0 && n < places(&a.holds) && n < places(&b.holds) {
                pairs.push(both);
            }
        }
    }
    let share = priors::TRAIT * (1.0 - priors::SINGLE) / pairs.len().max(1) as f64;
    for both in &pairs {
        add(of(&|i| both.has(i)), share, true);
    }
    let mut regions: Vec<Region> = found
        .into_iter()
        .map(|(members, (prior, by_trait))| Region {
            members,
            prior,
            by_trait,
        })
        .collect();
    // Stable: what is equal stays sorted by columns.
    regions.sort_by(|a, b| b.prior.total_cmp(&a.prior));
    regions.truncate(REGIONS);
    regions
}

/// All conjunctions of the least length, up to three, that leave no passing port unexplained.
fn shortest<'l>(literals: &[(&'l Literal, Bits)]) -> Vec<Vec<&'l Literal>> {
    let alone = literals.iter().filter(|(_, left)| left.is_empty());
    let mut found: Vec<Vec<&Literal>> = alone.map(|(l, _)| vec![*l]).collect();
    if !found.is_empty() {
        return found;
    }
    let mut triples = Vec::new();
    for (i, (a, left_a)) in literals.iter().enumerate() {
        for (j, (b, left_b)) in literals.iter().enumerate().skip(i + 1) {
            let left = left_a.and(left_b);
            if left.is_empty() {
                found.push(vec![*a, *b]);
            }
            if !found.is_empty() {
                continue;
            }
            let third = literals[j + 1..].iter();
            let third = third.filter(|(_, left_c)| left.and(left_c).is_empty());
            triples.extend(third.map(|(c, _)| vec![*a, *b, *c]));
        }
    }
    if found.is_empty() { triples } else { found }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::{CellId, CellResult, Key, PortName, Side, StageResult, Traits};

    /// Columns a, b, c … with traits given as `key=value` words.
    fn splits(ports: &[&str], failing: &[usize], passing: &[usize]) -> Vec<String> {
        let name = |i: usize| PortName(char::from(b'a' + i as u8).to_string());
        let traits = |words: &str| -> Traits {
            let pair = |w: &str| w.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()));
            words.split(' ').filter_map(pair).collect()
        };
        let map: BTreeMap<PortName, Traits> = ports
            .iter()
            .enumerate()
            .map(|(i, w)| (name(i), traits(w)))
            .collect();
        let cell = |port: &PortName| CellResult {
            id: CellId {
                suite: "s".into(),
                port: port.clone(),
                variant: "v".into(),
                side: Side::Candidate,
            },
            key: Key::of("t", &[]),
            stage: StageResult::Complete,
            detail: None,
            attempts: Vec::new(),
            guests: Vec::new(),
            versions: BTreeMap::new(),
            cached: false,
        };
        let cells: Vec<CellResult> = map.keys().map(cell).collect();
        let input = VerdictInput {
            ports: &map,
            variants: &BTreeMap::new(),
            cells: &cells,
            known: Default::default(),
        };
        let tables = super::super::tally::tables(&input);
        let explainer = Explainer::new(&tables[0], &input);
        let found = explainer.splits(|i| failing.contains(&i), |i| passing.contains(&i));
        let words = |s: &TraitSplit| {
            let pairs = s.all_of.iter().map(|(k, v)| format!("{k}={v}"));
            pairs.collect::<Vec<_>>().join(" & ")
        };
        found.iter().map(words).collect()
    }

    #[test]
    fn all_of_the_shortest_are_rivals_and_the_fundamental_comes_first() {
        let ports = [
            "word=ILP32 off_t=32 endian=little",
            "word=ILP32 off_t=32 endian=big",
            "word=LP64 off_t=64 endian=little",
            "word=LP64 off_t=64 endian=big",
        ];
        assert_eq!(splits(&ports, &[0, 1], &[2, 3]), ["word=ILP32", "off_t=32"]);
        assert_eq!(
            splits(&ports, &[1], &[0, 2, 3]),
            ["endian=big & word=ILP32", "endian=big & off_t=32"]
        );
    }

    #[test]
    fn a_key_that_only_names_the_port_explains_nothing_unless_nothing_else_does() {
        let ports = [
            "isa=x char=signed",
            "isa=y char=signed",
            "isa=z char=unsigned",
        ];
        assert_eq!(splits(&ports, &[2], &[0, 1]), ["char=unsigned"]);
        assert_eq!(splits(&ports, &[0], &[1, 2]), ["isa=x"]);
    }

    #[test]
    fn what_the_silent_ports_share_counts_less() {
        let ports = ["a=1 b=1", "a=1 b=2", "a=2 b=2"];
        assert_eq!(splits(&ports, &[0], &[2]), ["b=1", "a=1"]);
        assert!(splits(&ports, &[0], &[]).is_empty());
    }
}
