//! A run as it could be: nine ports, two suites, planted faults, three passes. Deterministic, so
//! that snapshots hold. Shared by the unit tests and the example that writes the pages.

use std::collections::BTreeMap;
use std::time::Duration;

use fallout::model::{
    Attempt, CaseId, CellId, CellResult, Crash, CrashKind, GuestEnd, GuestRecord, Key, Outcome,
    PortName, RunId, Side, StageResult, Traits, Verdict,
};
use fallout::report::{FORMAT, RunReport, Source};
use fallout::verdict::{VerdictInput, judge};

/// Port, then endian, word, char, unaligned double, page in KiB, long double, MD family.
const PORTS: [(&str, [&str; 7]); 9] = [
    (
        "amd64",
        ["little", "LP64", "signed", "works", "4", "x87", "x86"],
    ),
    (
        "arm64",
        ["little", "LP64", "unsigned", "works", "4", "quad", "arm"],
    ),
    (
        "armhf",
        ["little", "ILP32", "unsigned", "traps", "4", "double", "arm"],
    ),
    (
        "i386",
        ["little", "ILP32", "signed", "works", "4", "x87", "x86"],
    ),
    (
        "mips64el",
        ["little", "LP64", "signed", "works", "16", "quad", "mips"],
    ),
    (
        "ppc64el",
        [
            "little",
            "LP64",
            "unsigned",
            "works",
            "64",
            "double-double",
            "powerpc",
        ],
    ),
    (
        "riscv64",
        ["little", "LP64", "unsigned", "works", "4", "quad", "riscv"],
    ),
    (
        "s390x",
        ["big", "LP64", "unsigned", "works", "4", "quad", "s390"],
    ),
    (
        "sparc64",
        ["big", "LP64", "signed", "traps", "8", "quad", "sparc"],
    ),
];
const KEYS: [&str; 7] = [
    "endian",
    "word",
    "char",
    "unaligned_double",
    "page_kib",
    "long_double",
    "md",
];

/// Programs and cases of the first suite.
const PORTABLE: [(&str, &[&str]); 7] = [
    (
        "codec/t_base64",
        &["decode", "encode", "padding", "roundtrip"],
    ),
    (
        "codec/t_pack",
        &["be16", "be32", "double_field", "le32", "strings"],
    ),
    ("mem/t_arena", &["align", "grow", "reset", "zero"]),
    ("num/t_parse", &["hex", "octal", "overflow", "range_32"]),
    ("proc/t_spawn", &["argv", "deep_chain", "env", "wait_all"]),
    ("sched/t_queue", &["drain", "fifo", "priority", "wakeup"]),
    ("text/t_ctype", &["is_alpha_high", "lower", "upper"]),
];

/// The passes over a suite.
pub const PASSES: u32 = 3;

fn trait_of(port: &str, key: usize) -> &'static str {
    PORTS.iter().find(|p| p.0 == port).map_or("", |p| p.1[key])
}

fn text(s: &str) -> Option<String> {
    Some(s.to_owned())
}

/// How an attempt on the candidate ends.
fn planted(port: &str, case: &str, pass: u32) -> (Outcome, Option<String>) {
    let big = trait_of(port, 0) == "big";
    let ilp32 = trait_of(port, 1) == "ILP32";
    let unsigned = trait_of(port, 2) == "unsigned";
    let traps = trait_of(port, 3) == "traps";
    let spot = PORTS.iter().position(|p| p.0 == port).unwrap_or(0) as u32;
    match case {
        "codec/t_pack:be32" if big => (
            Outcome::Failed,
            text("t_pack.c:61: pack32(0x01020304)[0]: expected 0x01, got 0x04"),
        ),
        "codec/t_pack:double_field" if traps => (
            Outcome::Broken,
            text("Test case was killed by signal 10 (SIGBUS)"),
        ),
        "num/t_parse:range_32" if ilp32 => (
            Outcome::Failed,
            text("t_parse.c:88: parse(\"4294967296\") returned 0, expected 4294967296"),
        ),
        "text/t_ctype:is_alpha_high" if unsigned => (
            Outcome::Failed,
            text("t_ctype.c:40: 1 checks failed; see output for more details"),
        ),
        "mem/t_arena:zero" if (spot * 3 + pass) % 4 == 1 && [0, 2, 4, 6, 8].contains(&spot) => (
            Outcome::Failed,
            text("t_arena.c:112: byte 24 is 0x7f, expected 0"),
        ),
        "proc/t_spawn:deep_chain" if port == "i386" => {
            (Outcome::Crashed, text("the kernel died while it ran"))
        }
        "sched/t_queue:wakeup" if port == "ppc64el" => {
            (Outcome::Hung, text("no answer within 60s"))
        }
        "num/t_parse:octal" if port == "sparc64" => {
            (Outcome::ExpectedFailure, text("PR 1234: leading zeros"))
        }
        "proc/t_spawn:wait_all" if port == "mips64el" => {
            (Outcome::Skipped, text("Requires kern.procs at least 128"))
        }
        _ => (Outcome::Passed, None),
    }
}

/// How an attempt on the baseline ends: one old failure, one that is mended by the patch.
fn before(port: &str, case: &str) -> (Outcome, Option<String>) {
    match case {
        "codec/t_base64:padding" if port == "armhf" => (
            Outcome::Failed,
            text("t_base64.c:31: got 'QQ', expected 'QQ=='"),
        ),
        "num/t_parse:octal" if port == "sparc64" => {
            (Outcome::ExpectedFailure, text("PR 1234: leading zeros"))
        }
        _ => (Outcome::Passed, None),
    }
}

fn third_party(port: &str, case: &str) -> (Outcome, Option<String>) {
    match case {
        "atf-c/t_00:case_3" => (Outcome::Skipped, text("Requires root privileges")),
        "atf-c++/t_02:case_1" if port == "riscv64" => (
            Outcome::Failed,
            text("Line 210: stdout does not match golden output <b>&amp;</b>"),
        ),
        _ => (Outcome::Passed, None),
    }
}

/// How an attempt ends, by port, case and pass.
type Script = dyn Fn(&str, &str, u32) -> (Outcome, Option<String>);

fn crash_of(port: &str, case: &CaseId) -> Option<Crash> {
    let lines = |l: &[&str]| l.iter().map(|s| (*s).to_owned()).collect();
    match (port, case.to_string().as_str()) {
        ("i386", "proc/t_spawn:deep_chain") => Some(Crash {
            blamed: Some(case.clone()),
            excerpt: lines(&[
                "[   12.104233] BUG: unable to handle page fault for address: c8a41ffc",
                "[   12.104711] #PF: supervisor write access in kernel mode",
                "[   12.105020] CPU: 0 PID: 214 Comm: t_spawn Tainted: G           O       6.1.0-40-686",
                "[   12.105388] EIP: portable_spawn+0x5e/0x1a0 [portable]",
                "[   12.105902] Call Trace:",
                "[   12.106110]  portable_ioctl+0x33/0x70 [portable]",
                "[   12.106442]  __ia32_sys_ioctl+0x91/0xc0",
                "[   12.107001] Kernel panic - not syncing: Fatal exception",
            ]),
            ..Crash::new(
                CrashKind::Panic,
                "BUG: unable to handle page fault in portable_spawn",
            )
        }),
        ("ppc64el", "sched/t_queue:wakeup") => Some(Crash {
            blamed: Some(case.clone()),
            excerpt: lines(&[
                "[   31.220145] watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [t_queue:301]",
            ]),
            ..Crash::new(CrashKind::Hang, "no answer from the guest")
        }),
        _ => None,
    }
}

fn suite_cell(
    suite: &str,
    port: &str,
    side: Side,
    cases: &[CaseId],
    outcome: &Script,
) -> CellResult {
    let mut attempts = Vec::new();
    let mut guests = Vec::new();
    let spot = PORTS.iter().position(|p| p.0 == port).unwrap_or(0) as u64;
    let guest = |number: u32, crash: Option<Crash>| GuestRecord {
        number,
        kernel: format!("Linux 6.1.0-40-{port} #1 SMP Debian 6.1.153-1 {port}"),
        boot: Duration::from_millis(2200 + 600 * spot),
        came_up: fallout::model::CameUp::Booted,
        wall: Duration::from_millis(9000 + 900 * spot),
        cpu: Duration::from_millis(8100 + 850 * spot),
        end: if crash.is_some() {
            GuestEnd::Crashed
        } else {
            GuestEnd::Done
        },
        crash,
        damage: None,
        console: format!("guest-{number}.console"),
        command: vec![format!("qemu-system-{port}"), "-m".into(), "256".into()],
    };
    for pass in 1..=PASSES {
        for i in 0..cases.len() {
            // Every pass has its own order.
            let case = &cases[(i * (2 * pass as usize - 1) + pass as usize) % cases.len()];
            let case = if gcd(2 * pass as usize - 1, cases.len()) == 1 {
                case
            } else {
                &cases[i]
            };
            let (outcome, reason) = outcome(port, &case.to_string(), pass);
            let number = guests.len() as u32 + 1;
            let bad = outcome != Outcome::Passed;
            attempts.push(Attempt {
                memory: None,
                case: case.clone(),
                pass,
                purpose: Default::default(),
                doubtful: None,
                guest: number,
                outcome,
                reason,
                duration: Some(Duration::from_millis(3 + (i as u64 * 7 + spot) % 40)),
                output: bad.then(|| format!("begin {case}\ncheck 1 ok\ncheck 2 differs\n")),
            });
            if matches!(outcome, Outcome::Crashed | Outcome::Hung) {
                guests.push(guest(number, crash_of(port, case)));
            }
        }
    }
    guests.push(guest(guests.len() as u32 + 1, None));
    let id = CellId {
        suite: suite.into(),
        port: port.into(),
        variant: "stock".into(),
        side,
    };
    let versions = [
        ("linux-image", "6.1.153-1"),
        ("kyua", "0.13-6"),
        ("libc6", "2.36-9+deb12u13"),
    ];
    CellResult {
        key: Key::of("sample", &[id.to_string().as_bytes()]),
        id,
        stage: StageResult::Complete,
        detail: None,
        attempts,
        guests,
        versions: versions.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        cached: side == Side::Baseline,
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The traits of the nine ports.
pub fn ports() -> BTreeMap<PortName, Traits> {
    let traits = |values: &[&str; 7]| -> Traits {
        KEYS.iter()
            .zip(values)
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    };
    PORTS
        .iter()
        .map(|(p, v)| (PortName::from(*p), traits(v)))
        .collect()
}

/// The cells of the run. `more` passing cases are added to the second suite, to try large pages.
pub fn cells(more: usize) -> Vec<CellResult> {
    let own = PORTABLE
        .iter()
        .flat_map(|(p, cs)| cs.iter().map(move |c| CaseId::new(*p, *c)));
    let own: Vec<CaseId> = own.collect();
    let other = ["atf-c", "atf-c++", "atf-sh"].iter().flat_map(|lib| {
        (0..4).flat_map(move |p| {
            (0..4).map(move |c| CaseId::new(format!("{lib}/t_{p:02}"), format!("case_{c}")))
        })
    });
    let large = (0..more).map(|i| {
        CaseId::new(
            format!("large/t_{:03}", i / 40),
            format!("case_{:02}", i % 40),
        )
    });
    let other: Vec<CaseId> = other.chain(large).collect();
    let mut cells = Vec::new();
    for (port, _) in PORTS {
        let quiet = |port: &str, case: &str, _| before(port, case);
        let third = |port: &str, case: &str, _| third_party(port, case);
        cells.push(suite_cell("portable", port, Side::Baseline, &own, &quiet));
        cells.push(suite_cell(
            "portable",
            port,
            Side::Candidate,
            &own,
            &planted,
        ));
        cells.push(suite_cell("atf", port, Side::Candidate, &other, &third));
    }
    cells
}

/// Judges cells and wraps them into a report.
pub fn report(cells: Vec<CellResult>) -> RunReport {
    let (ports, variants) = (ports(), BTreeMap::new());
    let verdict: Verdict = judge(&VerdictInput {
        ports: &ports,
        variants: &variants,
        cells: &cells,
        known: Default::default(),
    });
    RunReport {
        format: FORMAT,
        run: RunId("019a9f3c-5d20-7c11-8a52-3f6d2b1e9a07".into()),
        matrix: "quickstart".into(),
        candidate: Source {
            name: "examples/portable + series v2".into(),
            id: "b3:5f0c9a2e71d4".into(),
            patches: vec![
                "0001-pack-fields-in-place.patch".into(),
                "0002-spawn-chains-without-copying.patch".into(),
            ],
        },
        baseline: Some(Source {
            name: "examples/portable".into(),
            id: "b3:1c77e0f2a9b8".into(),
            patches: Vec::new(),
        }),
        started: "2026-11-23T12:40:00Z".parse().expect("a valid time"),
        took: Duration::from_secs(187),
        interrupted: false,
        ports,
        variants,
        cells,
        verdict,
        spent: None,
    }
}

/// The whole run: 76 cases, nine ports, every planted fault.
pub fn run() -> RunReport {
    report(cells(0))
}

/// The run with trouble on top: a port that does not build, one whose emulator died.
pub fn troubled() -> RunReport {
    let mut cells = cells(0);
    for cell in &mut cells {
        if cell.id.side != Side::Candidate {
            continue;
        }
        match cell.id.port.as_str() {
            "mips64el" | "riscv64" if cell.id.suite == "portable" => {
                cell.stage = StageResult::BuildFailed;
                cell.detail = Some(format!(
                    "src/spawn.c:77:5: error: implicit declaration of function 'clone3'\nmake: *** [obj.{}/spawn.o] Error 1",
                    cell.id.port
                ));
                cell.attempts.clear();
                cell.guests.clear();
            }
            "arm64" if cell.id.suite == "atf" => {
                cell.stage = StageResult::EmulatorExited;
                cell.detail =
                    text("qemu-system-aarch64: killed by signal 9; the host is out of memory?");
                for attempt in cell.attempts.iter_mut().skip(30) {
                    attempt.outcome = Outcome::Missed;
                    attempt.reason = text("the emulator ended");
                    attempt.output = None;
                }
            }
            "s390x" if cell.id.suite == "atf" => {
                for attempt in &mut cell.attempts {
                    if attempt.case.program == "atf-sh/t_03" {
                        attempt.outcome = Outcome::Missed;
                        attempt.reason = text("the cell's time limit was over");
                        attempt.output = None;
                    }
                }
            }
            _ => {}
        }
    }
    report(cells)
}
