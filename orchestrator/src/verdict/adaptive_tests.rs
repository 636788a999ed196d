use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::model::{Attempt, CellResult, Key, PortName, Purpose, StageResult, Traits};
use crate::verdict::dice::Dice;
use crate::verdict::judge;
use crate::verdict::properties;

fn traits() -> BTreeMap<PortName, Traits> {
    let one = |port: &str, endian: &str| {
        let facts = [("endian".to_owned(), endian.to_owned())];
        (PortName(port.to_owned()), Traits::from(facts))
    };
    BTreeMap::from([
        one("north", "big"),
        one("south", "little"),
        one("east", "little"),
    ])
}

fn attempt(case: &str, outcome: Outcome, purpose: Purpose) -> Attempt {
    Attempt {
        memory: None,
        case: CaseId::new("t", case),
        pass: 1,
        purpose,
        guest: 1,
        doubtful: None,
        outcome,
        reason: None,
        duration: None,
        output: None,
    }
}

fn cell(port: &str, side: Side, attempts: Vec<Attempt>) -> CellResult {
    CellResult {
        id: CellId {
            suite: "s".into(),
            port: port.into(),
            variant: "stock".into(),
            side,
        },
        key: Key::of("t", &[port.as_bytes()]),
        stage: StageResult::Complete,
        detail: None,
        attempts,
        guests: Vec::new(),
        versions: BTreeMap::new(),
        cached: false,
    }
}

/// One pass on three ports and both sides; `bound` failed on north, `luck` failed on south, once.
fn one_look() -> Vec<CellResult> {
    let mut cells = Vec::new();
    for port in ["east", "north", "south"] {
        for side in [Side::Baseline, Side::Candidate] {
            let new = side == Side::Candidate;
            let bad = |yes: bool| {
                if yes {
                    Outcome::Failed
                } else {
                    Outcome::Passed
                }
            };
            cells.push(cell(
                port,
                side,
                vec![
                    attempt("bound", bad(new && port == "north"), Purpose::Pass),
                    attempt("luck", bad(new && port == "south"), Purpose::Pass),
                    attempt("calm", Outcome::Passed, Purpose::Pass),
                ],
            ));
        }
    }
    cells
}

fn input<'a>(
    ports: &'a BTreeMap<PortName, Traits>,
    variants: &'a BTreeMap<String, Traits>,
    cells: &'a [CellResult],
) -> VerdictInput<'a> {
    VerdictInput {
        ports,
        variants,
        cells,
        known: Default::default(),
    }
}

/// Asks to the end. `answer` is how an attempt ends.
fn spend(
    cells: &mut [CellResult],
    most: u64,
    answer: &mut dyn FnMut(&Want) -> Option<Outcome>,
) -> u64 {
    let (ports, variants) = (traits(), BTreeMap::new());
    let mut campaign = Campaign::new(&input(&ports, &variants, cells), most, &|_| Some(1.0));
    let mut made = 0;
    loop {
        let wants = campaign.wants();
        if wants.is_empty() {
            return made;
        }
        for want in wants {
            for _ in 0..want.times {
                made += 1;
                let outcome = answer(&want);
                campaign.record(&want, outcome);
                let cell = cells.iter_mut().find(|c| c.id == want.cell);
                let case = &want.case.case;
                let attempts = &mut cell.expect("a cell of the run").attempts;
                attempts.extend(outcome.map(|o| attempt(case, o, Purpose::Adaptive)));
            }
        }
    }
}

#[test]
fn what_one_look_leaves_open_is_decided_by_more() {
    let mut cells = one_look();
    let (ports, variants) = (traits(), BTreeMap::new());
    let before = judge(&input(&ports, &variants, &cells));
    assert!(
        before.findings.iter().all(|f| Stand::of(f).is_open()),
        "{before:?}"
    );
    let made = spend(&mut cells, 1000, &mut |want| {
        assert_ne!(want.case.case, "calm");
        let bad = want.case.case == "bound"
            && want.cell.port.as_str() == "north"
            && want.cell.side == Side::Candidate;
        Some(if bad {
            Outcome::Failed
        } else {
            Outcome::Passed
        })
    });
    let after = judge(&input(&ports, &variants, &cells));
    let mut spent = BTreeMap::new();
    for cell in &cells {
        for a in cell
            .attempts
            .iter()
            .filter(|a| a.purpose == Purpose::Adaptive)
        {
            let key = (cell.id.suite.clone(), a.case.clone());
            let bad = a.outcome == Outcome::Failed;
            repeats::add(spent.entry(key).or_default(), bad);
        }
    }
    let bought = bought(&before, &after, &spent);
    let bound = bought.iter().find(|b| b.case.case == "bound").unwrap();
    assert!(bound.is_decided(), "{bound:?}");
    // Nobody else is big-endian, so either name is right.
    let kind = bound.after.unwrap().kind;
    assert!(
        matches!(kind, FindingKind::ArchOnly | FindingKind::TraitBound),
        "{kind:?}"
    );
    let luck = bought.iter().find(|b| b.case.case == "luck").unwrap();
    assert_eq!(
        luck.after.map(|s| s.kind),
        Some(FindingKind::Flake),
        "{luck:?}"
    );
    assert_eq!(
        made,
        bought.iter().map(|b| u64::from(b.attempts)).sum::<u64>()
    );
    assert!(made < 72, "{made}");
}

#[test]
fn a_case_that_needs_company_is_not_asked_for_ever() {
    let mut cells = one_look();
    for cell in &mut cells {
        let bad = cell.id.side == Side::Candidate && cell.id.port.as_str() == "north";
        let outcome = if bad {
            Outcome::Failed
        } else {
            Outcome::Passed
        };
        cell.attempts
            .retain(|a| a.case.case != "luck" && a.case.case != "bound");
        for _ in 0..8 {
            cell.attempts.push(attempt("shy", outcome, Purpose::Pass));
        }
    }
    // The passes say enough of what it is bound to; only news or kind could be asked for.
    let made = spend(&mut cells, 1000, &mut |_| Some(Outcome::Passed));
    assert!(made <= u64::from(repeats::BATCH), "{made}");
}

#[test]
fn a_place_that_says_nothing_or_kills_is_shut() {
    let mut cells = one_look();
    let mut asked = BTreeMap::new();
    spend(&mut cells, 1000, &mut |want| {
        *asked
            .entry((want.case.clone(), want.cell.clone()))
            .or_insert(0) += 1;
        match want.cell.port.as_str() {
            "north" => Some(Outcome::Crashed),
            "east" => None,
            _ => Some(Outcome::Skipped),
        }
    });
    assert!(!asked.is_empty());
    for (place, times) in asked {
        assert!(times <= repeats::BATCH, "{place:?}: {times}");
    }
    // A column without a baseline cell is never asked on that side.
    let mut one_side = one_look();
    one_side.retain(|c| c.id.side == Side::Candidate);
    spend(&mut one_side, 200, &mut |want| {
        assert_eq!(want.cell.side, Side::Candidate);
        Some(Outcome::Passed)
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever cells there are and whatever comes of the attempts: it ends, within the budget and
    /// within what one case may cost.
    #[test]
    fn it_ends_within_its_budget(cells in properties::cells(), most in 0_u64..200, seed: u64) {
        let (ports, variants) = (BTreeMap::new(), BTreeMap::new());
        let input = input(&ports, &variants, &cells);
        let mut campaign = Campaign::new(&input, most, &|id| (id.variant != "v1").then_some(2.0));
        let mut dice = Dice::new(seed);
        let (mut made, mut by_case) = (0_u64, BTreeMap::new());
        loop {
            let wants = campaign.wants();
            if wants.is_empty() {
                break;
            }
            for want in wants {
                prop_assert!(want.times > 0 && want.cell.variant != "v1");
                for _ in 0..want.times {
                    made += 1;
                    *by_case.entry((want.cell.suite.clone(), want.case.clone())).or_insert(0_u32) += 1;
                    let outcome = Outcome::ALL[dice.below(Outcome::ALL.len())];
                    campaign.record(&want, dice.chance(0.9).then_some(outcome));
                }
                if dice.chance(0.1) {
                    campaign.close(&want.cell);
                }
            }
        }
        prop_assert!(made <= most);
        prop_assert!(by_case.values().all(|n| *n < repeats::CAP + repeats::BATCH));
    }
}
