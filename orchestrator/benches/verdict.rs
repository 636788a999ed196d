//! The verdict and the page over a night's matrix: 12 ports, two variants, both sides of a suite
//! of 12,000 cases, 576,000 attempts in all. Run with `cargo bench --bench verdict`.

use std::collections::BTreeMap;

use fallout::model::{
    Attempt, CaseId, CellId, CellResult, Key, Outcome, PortName, Side, StageResult, Traits,
};
use fallout::verdict::{VerdictInput, judge};

fn main() {
    divan::main();
}

const PORTS: u32 = 12;
const CASES: u32 = 12_000;

fn traits() -> BTreeMap<PortName, Traits> {
    let port = |p: u32| {
        // Keys that group ports in many ways, as real ones do.
        let facts = (0..20).map(|k| (format!("key{k}"), ((p * (k + 3)) % (2 + k % 5)).to_string()));
        (PortName(format!("port{p}")), facts.collect())
    };
    (0..PORTS).map(port).collect()
}

/// One case in `every` fails somewhere, in a pattern of its own.
fn cells(every: u32) -> Vec<CellResult> {
    let mut cells = Vec::new();
    for p in 0..PORTS {
        for (variant, side) in [
            ("stock", Side::Baseline),
            ("stock", Side::Candidate),
            ("debug", Side::Baseline),
            ("debug", Side::Candidate),
        ] {
            let attempt = |c: u32| {
                let fails = side == Side::Candidate
                    && c.is_multiple_of(every)
                    && (c / every + p).is_multiple_of(5);
                Attempt {
                    case: CaseId::new(
                        format!("lib/t_{:04}", c / 20),
                        format!("case_{:02}", c % 20),
                    ),
                    pass: 1,
                    purpose: Default::default(),
                    doubtful: None,
                    guest: 1,
                    outcome: if fails {
                        Outcome::Failed
                    } else {
                        Outcome::Passed
                    },
                    reason: fails.then(|| "expected 1, got 2".to_owned()),
                    duration: None,
                    output: None,
                }
            };
            cells.push(CellResult {
                id: CellId {
                    suite: "system".into(),
                    port: PortName(format!("port{p}")),
                    variant: variant.into(),
                    side,
                },
                key: Key::of("bench", &[]),
                stage: StageResult::Complete,
                detail: None,
                attempts: (0..CASES).map(attempt).collect(),
                guests: Vec::new(),
                versions: BTreeMap::new(),
                cached: false,
            });
        }
    }
    cells
}

/// Few failures, as on most nights; then one case in three.
#[divan::bench(args = [200, 3], sample_count = 5, sample_size = 1)]
fn judge_a_night(bencher: divan::Bencher<'_, '_>, every: u32) {
    let (ports, cells) = (traits(), cells(every));
    bencher.bench_local(|| {
        judge(&VerdictInput {
            ports: &ports,
            variants: &BTreeMap::new(),
            cells: &cells,
            known: Default::default(),
        })
    });
}
