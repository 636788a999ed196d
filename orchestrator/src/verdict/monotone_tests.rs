//! More of what speaks for a port being alone never makes it less sure that it is.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::chance::Count;
use super::tally::Column;
use super::traits::Explainer;
use super::weigh::{Class, Counts};
use crate::model::{PortName, Traits};

/// Rounding of sums over a few hundred explanations.
const ROUNDING: f64 = 1e-9;

fn passes(total: u32) -> Count {
    Count { bad: 0, total }
}

/// Ports with two traits each, out of small sets of values.
fn explainer(traits: &[(u8, u8)]) -> Explainer {
    let name = |i: usize| PortName(format!("port{i}"));
    let ports: BTreeMap<PortName, Traits> = traits
        .iter()
        .enumerate()
        .map(|(i, (a, b))| {
            let facts = [("word", format!("w{a}")), ("endian", format!("e{b}"))];
            let facts = facts.map(|(k, v)| (k.to_owned(), v));
            (name(i), Traits::from(facts))
        })
        .collect();
    let columns: Vec<Column> = (0..traits.len())
        .map(|i| Column {
            label: name(i),
            port: name(i),
            variant: "stock".to_owned(),
        })
        .collect();
    Explainer::of(
        &columns,
        &vec![true; traits.len()],
        &ports,
        &BTreeMap::new(),
    )
}

fn one_port(explainer: &Explainer, now: &[Count], then: &[Count]) -> f64 {
    let counts = Counts {
        candidate: now,
        baseline: then,
    };
    explainer.scales.weigh(counts).class(Class::OnePort)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Only the first port fails. A pass more elsewhere, on either side, makes it no less sure that
    /// it is that port alone.
    #[test]
    fn a_pass_elsewhere_never_makes_one_port_less_sure(
        traits in vec((0..3_u8, 0..2_u8), 2..9),
        bad in 1..9_u32,
        good in 0..5_u32,
        looks in vec((1..7_u32, 0..7_u32), 8),
        baseline: bool,
        at in 0..8_usize,
        more in 1..4_u32,
        on_baseline: bool,
    ) {
        let n = traits.len();
        let explainer = explainer(&traits);
        let side = |of: &dyn Fn(&(u32, u32)) -> u32| -> Vec<Count> {
            looks.iter().take(n).map(|l| passes(of(l))).collect()
        };
        let mut now = side(&|l| l.0);
        let mut then = if baseline { side(&|l| l.1) } else { vec![passes(0); n] };
        now[0] = Count { bad, total: bad + good };
        let before = one_port(&explainer, &now, &then);
        let at = 1 + at % (n - 1);
        // What had no baseline has none afterwards: that one would be another question.
        let has_baseline = then.iter().any(|c| c.total > 0);
        let changed = if on_baseline && has_baseline { &mut then[at] } else { &mut now[at] };
        *changed = changed.plus(passes(more));
        let after = one_port(&explainer, &now, &then);
        prop_assert!(after >= before - ROUNDING, "{before} became {after}");
    }

    /// A further port is one more place that could have been alone, which costs belief; where it
    /// passes as often as all the others together have, it gives more than it costs.
    #[test]
    fn a_further_port_that_passes_enough_makes_it_no_less_sure(
        others in 1..8_usize,
        bad in 3..9_u32,
        each in 3..7_u32,
    ) {
        let alone = |i: usize| (u8::try_from(i).unwrap_or(0), u8::from(i == 0));
        let traits: Vec<(u8, u8)> = (0..=others).map(alone).collect();
        let mut now = vec![passes(each); others + 1];
        now[0] = Count { bad, total: bad };
        let then = vec![passes(0); others + 1];
        let before = one_port(&explainer(&traits), &now, &then);
        let more: Vec<(u8, u8)> = (0..others + 2).map(alone).collect();
        now.push(passes(each * u32::try_from(others).unwrap_or(1)));
        let then = vec![passes(0); others + 2];
        let after = one_port(&explainer(&more), &now, &then);
        prop_assert!(after >= before - ROUNDING, "{before} became {after}");
    }
}
