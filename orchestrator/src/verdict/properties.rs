//! What holds for any cells whatever.

use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::{VerdictInput, judge};
use crate::model::{
    Attempt, CaseId, CellId, CellResult, Crash, CrashKind, Finding, GuestEnd, GuestRecord, Key,
    Outcome, PortName, Side, StageResult, Traits, Verdict,
};

const PORTS: [&str; 4] = ["north", "south", "east", "west"];

fn outcome() -> impl Strategy<Value = Outcome> {
    // Mostly what runs are made of, sometimes anything.
    prop_oneof![
        4 => Just(Outcome::Passed),
        3 => Just(Outcome::Failed),
        2 => proptest::sample::select(Outcome::ALL.to_vec()),
    ]
}

fn attempts() -> impl Strategy<Value = Vec<Attempt>> {
    let attempt = (0..4_u8, 1..4_u32, 1..3_u32, outcome());
    vec(
        attempt.prop_map(|(case, pass, guest, outcome)| Attempt {
            memory: None,
            case: CaseId::new("t", format!("c{case}")),
            pass,
            purpose: Default::default(),
            doubtful: None,
            guest,
            outcome,
            reason: (pass == 1).then(|| format!("why {case}")),
            duration: None,
            output: None,
        }),
        0..30,
    )
}

fn stage() -> impl Strategy<Value = StageResult> {
    use StageResult::*;
    let all = vec![
        BuildFailed,
        SetsMismatch,
        ImageFailed,
        BootFailed,
        WrongKernel,
        EmulatorExited,
        TimedOut,
        HostFailed,
        Interrupted,
    ];
    prop_oneof![6 => Just(Complete), 1 => proptest::sample::select(all)]
}

fn crash() -> impl Strategy<Value = Option<Crash>> {
    let kinds = vec![CrashKind::Panic, CrashKind::Hang, CrashKind::Gone];
    let some = (
        proptest::sample::select(kinds),
        proptest::option::of(0..5_u8),
    );
    proptest::option::weighted(
        0.3,
        some.prop_map(|(kind, case)| Crash {
            blamed: case.map(|c| CaseId::new("t", format!("c{c}"))),
            ..Crash::new(kind, "trap")
        }),
    )
}

pub(super) fn cells() -> impl Strategy<Value = Vec<CellResult>> {
    let id = (0..2_u8, 0..PORTS.len(), 0..2_u8, any::<bool>());
    let cell = (stage(), attempts(), vec(crash(), 0..3));
    btree_map(id, cell, 0..14).prop_map(|cells| {
        let cell =
            |((suite, port, variant, new), (stage, attempts, crashes)): (_, (_, _, Vec<_>))| {
                let guest = |(i, crash): (usize, Option<Crash>)| GuestRecord {
                    number: i as u32 + 1,
                    kernel: String::new(),
                    boot: Default::default(),
                    came_up: crate::model::CameUp::Booted,
                    wall: Default::default(),
                    cpu: Default::default(),
                    end: GuestEnd::Done,
                    crash,
                    damage: None,
                    console: String::new(),
                    command: Vec::new(),
                };
                let port: usize = port;
                CellResult {
                    id: CellId {
                        suite: format!("suite{suite}"),
                        port: PORTS[port].into(),
                        variant: format!("v{variant}"),
                        side: if new { Side::Candidate } else { Side::Baseline },
                    },
                    key: Key::of("t", &[]),
                    stage,
                    detail: (stage != StageResult::Complete).then(|| "it broke".to_owned()),
                    attempts,
                    guests: crashes.into_iter().enumerate().map(guest).collect(),
                    versions: BTreeMap::new(),
                    cached: false,
                }
            };
        cells.into_iter().map(cell).collect()
    })
}

fn traits() -> impl Strategy<Value = Vec<Traits>> {
    let one = proptest::array::uniform4(0..3_u8);
    let of = |values: [u8; 4]| -> Traits {
        let pair = |(i, v): (usize, u8)| (format!("k{i}"), v.to_string());
        values.into_iter().enumerate().map(pair).collect()
    };
    vec(one.prop_map(of), PORTS.len() + 1)
}

fn verdict(names: &[&str], traits: &[Traits], cells: &[CellResult]) -> Verdict {
    let ports = names
        .iter()
        .zip(traits)
        .map(|(p, t)| (PortName::from(*p), t.clone()));
    judge(&VerdictInput {
        ports: &ports.collect(),
        variants: &BTreeMap::new(),
        cells,
        known: Default::default(),
    })
}

/// What a finding says, without its words: sorted, so that only the content counts.
fn content(verdict: &Verdict, rename: impl Fn(&str) -> String) -> Vec<String> {
    let ports = |f: &Finding| {
        let mut ports: Vec<String> = f.failing.iter().map(|t| rename(t.port.as_str())).collect();
        ports.sort();
        ports.join(" ")
    };
    let line = |f: &Finding| {
        format!(
            "{:?} {:?} {} {:?} {}",
            f.kind,
            f.news,
            f.suite,
            f.case,
            ports(f)
        )
    };
    let mut lines: Vec<String> = verdict.findings.iter().map(line).collect();
    lines.sort();
    lines
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_cells_have_a_verdict_and_their_order_does_not_matter(
        cells in cells(), traits in traits()
    ) {
        let forward = verdict(&PORTS, &traits, &cells);
        let backward: Vec<CellResult> = cells.iter().rev().cloned().collect();
        prop_assert_eq!(forward, verdict(&PORTS, &traits, &backward));
    }

    #[test]
    fn other_names_for_ports_change_names_only(cells in cells(), traits in traits()) {
        // The order of the names turns around too.
        let renamed = ["d", "a", "z", "b"];
        let new_name = |old: &str| {
            let (port, rest) = old.split_once('+').map_or((old, None), |(p, v)| (p, Some(v)));
            let at = PORTS.iter().position(|p| *p == port).unwrap();
            rest.map_or(renamed[at].to_owned(), |v| format!("{}+{v}", renamed[at]))
        };
        let mut others = cells.clone();
        for cell in &mut others {
            cell.id.port = PortName(new_name(cell.id.port.as_str()));
        }
        prop_assert_eq!(
            content(&verdict(&PORTS, &traits, &cells), new_name),
            content(&verdict(&renamed, &traits, &others), str::to_owned)
        );
    }

    #[test]
    fn a_port_that_skips_everything_changes_no_finding(cells in cells(), traits in traits()) {
        let names = ["north", "south", "east", "west", "mute"];
        let mut more = cells.clone();
        let skip = |c: &CellResult| {
            let mut cell = c.clone();
            cell.id.port = "mute".into();
            cell.stage = StageResult::Complete;
            cell.guests.clear();
            for attempt in &mut cell.attempts {
                attempt.outcome = Outcome::Skipped;
            }
            cell
        };
        more.extend(cells.iter().filter(|c| c.id.side == Side::Candidate).map(skip));
        let mut ids = std::collections::BTreeSet::new();
        more.retain(|c| ids.insert(c.id.clone()));
        prop_assert_eq!(
            content(&verdict(&names, &traits, &cells), str::to_owned),
            content(&verdict(&names, &traits, &more), str::to_owned)
        );
    }
}
