//! The verdict over a night's matrix: 12 ports, two variants, both sides of a suite of 12,000 cases,
//! 576,000 attempts in all; over 12 ports and four variants; and a hundred revisions of history. Run with `cargo bench --bench verdict`.

use std::collections::BTreeMap;

use fallout::model::{
    Attempt, CaseId, CellId, CellResult, Key, Outcome, PortName, Side, StageResult, Traits,
};
use fallout::model::{RunId, Sighting, Verdict};
use fallout::verdict::chance::Count;
use fallout::verdict::history::{self, Entry, Past};
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

/// Two variants, both sides.
const NIGHT: [(&str, Side); 4] = [
    ("stock", Side::Baseline),
    ("stock", Side::Candidate),
    ("debug", Side::Baseline),
    ("debug", Side::Candidate),
];

/// Four variants, without a baseline.
const VARIANTS: [(&str, Side); 4] = [
    ("stock", Side::Candidate),
    ("debug", Side::Candidate),
    ("lock", Side::Candidate),
    ("smp", Side::Candidate),
];

/// Revisions of the past.
const REVISIONS: u32 = 100;

/// One case in `every` fails somewhere, in a pattern of its own.
fn cells(every: u32, places: &[(&str, Side)]) -> Vec<CellResult> {
    let mut cells = Vec::new();
    for p in 0..PORTS {
        for &(variant, side) in places {
            let attempt = |c: u32| {
                let fails = side == Side::Candidate
                    && c.is_multiple_of(every)
                    && (c / every + p).is_multiple_of(5);
                Attempt {
                    memory: None,
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
    let (ports, cells) = (traits(), cells(every, &NIGHT));
    bencher.bench_local(|| {
        judge(&VerdictInput {
            ports: &ports,
            variants: &BTreeMap::new(),
            cells: &cells,
            known: Default::default(),
        })
    });
}

fn verdict(ports: &BTreeMap<PortName, Traits>, cells: &[CellResult]) -> Verdict {
    judge(&VerdictInput {
        ports,
        variants: &BTreeMap::new(),
        cells,
        known: Default::default(),
    })
}

/// 12 ports × 4 variants × 12,000 cases.
#[divan::bench(args = [200, 3], sample_count = 5, sample_size = 1)]
fn judge_four_variants(bencher: divan::Bencher<'_, '_>, every: u32) {
    let (ports, cells) = (traits(), cells(every, &VARIANTS));
    bencher.bench_local(|| verdict(&ports, &cells));
}

/// A hundred revisions of every case that a finding is about, in each of the 48 cells: filled in and
/// applied, as it comes out of the index.
#[divan::bench(args = [200, 20], sample_count = 5, sample_size = 1)]
fn hundred_revisions_of_history(bencher: divan::Bencher<'_, '_>, every: u32) {
    let (ports, cells) = (traits(), cells(every, &NIGHT));
    let judged = verdict(&ports, &cells);
    let tested = BTreeMap::from([("system".to_owned(), "now".to_owned())]);
    bencher.bench_local(|| {
        let mut past = Past::default();
        let looks: Vec<u32> = (0..REVISIONS)
            .map(|r| {
                past.look(Sighting {
                    run: RunId(format!("{r:08x}-0000-7000-8000-000000000000")),
                    started: jiff::Timestamp::UNIX_EPOCH,
                    revision: Some(format!("{r:040x}")),
                })
            })
            .collect();
        let places: Vec<(u16, Side)> = cells
            .iter()
            .map(|c| (past.place(&c.id.port, &c.id.variant), c.id.side))
            .collect();
        let (cases, _) = history::wanted(&judged);
        for (suite, case) in cases {
            let entries = looks.iter().flat_map(|look| {
                places.iter().map(move |(place, side)| Entry {
                    look: *look,
                    place: *place,
                    side: *side,
                    count: Count {
                        bad: u32::from((look + u32::from(*place)).is_multiple_of(7)),
                        total: 3,
                    },
                })
            });
            past.extend(suite, case, entries);
        }
        let mut verdict = judged.clone();
        history::apply(&mut verdict, &past, &tested);
        verdict
    });
}
