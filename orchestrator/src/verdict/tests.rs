//! Golden verdicts: what a maintainer reads for runs with planted faults.

use crate::model::{ACCELERATOR, Finding, Outcome, Side, Verdict};
use crate::report::sample;

fn told(verdict: &Verdict) -> String {
    let mut text = String::new();
    let line = |f: &Finding| {
        let more: String = f.evidence.iter().map(|e| format!("    {e}\n")).collect();
        format!("{:?} {:?} {}\n{more}", f.kind, f.news, f.sentence)
    };
    text.extend(verdict.findings.iter().map(line));
    text.extend(verdict.host_faults.iter().map(|l| format!("host: {l}\n")));
    text.extend(verdict.notes.iter().map(|l| format!("note: {l}\n")));
    text
}

#[test]
fn every_planted_fault_is_found_and_nothing_else() {
    insta::assert_snapshot!(told(&sample::run().verdict), @r###"
    Panic New The kernel dies in `proc/t_spawn:deep_chain` on i386 (3 of 3): BUG: unable to handle page fault in portable_spawn; it passes on amd64, arm64, armhf and 5 others (24 of 24). New since the baseline.
        Sure to 99.8 %; very strong evidence that it is new (775 to 1; 99.9 % new).
    Hang New `sched/t_queue:wakeup` hangs on ppc64el (3 of 3): no answer from the guest; it passes on amd64, arm64, armhf and 5 others (24 of 24). New since the baseline.
        Sure to 99.9 %; very strong evidence that it is new (775 to 1; 99.9 % new).
    TraitBound New `codec/t_pack:be32` fails on s390x and sparc64 (6 of 6), passes on amd64, arm64, armhf and 4 others (21 of 21): big-endian. New since the baseline.
        Sure to 99.2 %; very strong evidence that it is new (63295 to 1; over 99.9 % new).
    TraitBound New `codec/t_pack:double_field` breaks on armhf and sparc64 (6 of 6), passes on amd64, arm64, i386 and 4 others (21 of 21): unaligned double traps. New since the baseline.
        Sure to 99.2 %; very strong evidence that it is new (63324 to 1; over 99.9 % new).
    TraitBound New `num/t_parse:range_32` fails on armhf and i386 (6 of 6), passes on amd64, arm64, mips64el and 4 others (21 of 21): ILP32. New since the baseline.
        Sure to 99.2 %; very strong evidence that it is new (63312 to 1; over 99.9 % new).
    TraitBound New `text/t_ctype:is_alpha_high` fails on arm64, armhf, ppc64el and 2 others (15 of 15), passes on amd64, i386, mips64el and sparc64 (12 of 12): unsigned char. New since the baseline.
        Sure to over 99.9 %; very strong evidence that it is new (over a million to 1; over 99.9 % new).
    ArchOnly NoBaseline `atf-c++/t_02:case_1` fails on riscv64 only (3 of 3), passes on amd64, arm64, armhf and 5 others (24 of 24); what sets riscv64 apart: riscv family. There is no baseline for it.
        Sure to 99.6 %.
    Flake Unclear `mem/t_arena:zero` fails now and then: in 5 of 27 attempts, on 5 of 9 ports; no trait separates them. The baseline did not show it (0 of 27), which may be luck.
        Sure to 99.6 %; strong evidence that it is new (57 to 1; 51 % new).
    Fixed New `codec/t_base64:padding` failed in the baseline on armhf (3 of 3) and passes there now (3 of 3).
        armhf then: t_base64.c:31: got 'QQ', expected 'QQ=='
    note: 1 case of portable skipped now, not so in the baseline: proc/t_spawn:wait_all.
    "###);
}

#[test]
fn trouble_is_told_apart_from_findings() {
    let verdict = sample::troubled().verdict;
    let kept = Verdict {
        findings: verdict
            .findings
            .iter()
            .filter(|f| f.case.is_none())
            .cloned()
            .collect(),
        ..verdict
    };
    insta::assert_snapshot!(told(&kept), @r###"
    Stage New portable does not build on mips64el and riscv64, builds on amd64, arm64, armhf and 4 others: src/spawn.c:77:5: error: implicit declaration of function 'clone3'. New since the baseline.
        src/spawn.c:77:5: error: implicit declaration of function 'clone3'
        make: *** [obj.mips64el/spawn.o] Error 1
    Missed NoBaseline 4 cases of atf never ran on s390x: the cell's time limit was over. There is no baseline for it.
        Cases: atf-sh/t_03:case_0, atf-sh/t_03:case_1, atf-sh/t_03:case_2 and atf-sh/t_03:case_3.
    host: atf/arm64/stock/candidate: emulator_exited: qemu-system-aarch64: killed by signal 9; the host is out of memory?; 114 attempts never made
    "###);
}

/// Cells of one case on the ports of the sample; `bad` says how many of three attempts fail.
fn one_case(bad: impl Fn(&str, Side) -> u32) -> Verdict {
    verdict_of(bad, |_, _| None)
}

/// The same, whose guests ran under accelerators.
fn verdict_of(
    bad: impl Fn(&str, Side) -> u32,
    accel: impl Fn(&str, Side) -> Option<&'static str>,
) -> Verdict {
    let mut cells = sample::cells(0);
    cells.retain(|c| c.id.suite == "portable");
    for cell in &mut cells {
        let bad = bad(cell.id.port.as_str(), cell.id.side);
        let ran = accel(cell.id.port.as_str(), cell.id.side);
        cell.versions
            .extend(ran.map(|ran| (ACCELERATOR.to_owned(), ran.to_owned())));
        cell.guests.clear();
        cell.attempts.retain(|a| a.case.case == "fifo");
        for attempt in &mut cell.attempts {
            let fails = attempt.pass <= bad;
            attempt.outcome = if fails {
                Outcome::Failed
            } else {
                Outcome::Passed
            };
        }
    }
    sample::report(cells).verdict
}

#[test]
fn what_the_baseline_knows_is_told_apart_from_what_is_new() {
    let verdict = one_case(|port, side| match (port, side) {
        ("mips64el", _) | ("s390x" | "sparc64", Side::Candidate) => 3,
        _ => 0,
    });
    insta::assert_snapshot!(told(&verdict), @r###"
    TraitBound New `sched/t_queue:fifo` fails on s390x and sparc64 (6 of 6), passes on amd64, arm64, armhf and 3 others (18 of 18): big-endian. New since the baseline.
        Sure to 99.1 %; very strong evidence that it is new (63148 to 1; over 99.9 % new).
        It fails on mips64el too, as it did before.
    ArchOnly Known `sched/t_queue:fifo` fails on mips64el only (3 of 3), passes on amd64, arm64, armhf and 3 others (18 of 18); what sets mips64el apart: 16 KiB pages, or else mips family. The baseline shows it too.
        Sure to over 99.9 %; very strong evidence that it is old (over a million to 1; under 0.1 % new).
        It fails on s390x and sparc64 too, which is new and told apart.
    "###);
}

#[test]
fn one_trait_stays_one_finding_though_the_baseline_knows_half_of_it() {
    let verdict = one_case(|port, side| match (port, side) {
        ("s390x", _) | ("sparc64", Side::Candidate) => 3,
        _ => 0,
    });
    insta::assert_snapshot!(told(&verdict), @r###"
    TraitBound New `sched/t_queue:fifo` fails on s390x and sparc64 (6 of 6), passes on amd64, arm64, armhf and 4 others (21 of 21): big-endian. New since the baseline.
        The baseline fails on s390x too.
        Sure to 99.2 %; very strong evidence that it is new (3779 to 1; over 99.9 % new).
    "###);
}

#[test]
fn a_difference_between_accelerators_is_a_trait_and_one_between_sides_is_told() {
    let ran = |kvm: &dyn Fn(&str, Side) -> bool| {
        verdict_of(
            |port, side| match (port, side) {
                ("amd64" | "riscv64", Side::Candidate) => 3,
                _ => 0,
            },
            |port, side| Some(if kvm(port, side) { "kvm" } else { "tcg" }),
        )
    };
    let native = |port: &str| port == "amd64" || port == "riscv64";
    let text = told(&ran(&|port, _| native(port)));
    assert!(text.contains(": kvm accelerator. New"), "{text}");
    assert!(!text.contains("note:"), "{text}");
    let text = told(&ran(&|port, side| native(port) && side == Side::Candidate));
    let note = "note: portable on amd64: guests of the baseline ran under tcg, those of the candidate under kvm";
    assert!(text.contains(note), "{text}");
    // Where all ran alike it explains nothing.
    let text = told(&ran(&|_, _| true));
    assert!(!text.contains("accelerator"), "{text}");
}

#[test]
fn a_flake_that_was_there_before_is_known_and_a_flood_is_not() {
    let same = one_case(|port, _| u32::from(["amd64", "s390x"].contains(&port)));
    let more = one_case(|port, side| match side {
        Side::Baseline => u32::from(port == "amd64"),
        Side::Candidate => 2,
    });
    insta::assert_snapshot!(format!("{}{}", told(&same), told(&more)), @r###"
    Flake Known `sched/t_queue:fifo` fails now and then: in 2 of 27 attempts, on 2 of 9 ports; no trait separates them. The baseline shows it too.
        In the baseline it failed in 2 of 27 attempts.
        Sure to 99.9 %; strong evidence that it is old (107 to 1; under 0.1 % new).
    Flake New `sched/t_queue:fifo` fails now and then: in 18 of 27 attempts, on 9 of 9 ports. More often than in the baseline.
        In the baseline it failed in 1 of 27 attempts.
        Sure to 96.4 %; very strong evidence that it is new (15069 to 1; 99.6 % new).
    "###);
}

#[test]
fn a_flake_on_one_trait_only_says_so() {
    let verdict = one_case(|port, side| {
        let unsigned = ["arm64", "armhf", "ppc64el", "riscv64", "s390x"].contains(&port);
        if unsigned && side == Side::Candidate {
            2
        } else {
            0
        }
    });
    insta::assert_snapshot!(told(&verdict), @r###"
    TraitBound New `sched/t_queue:fifo` fails now and then on arm64, armhf, ppc64el and 2 others (10 of 15), passes on amd64, i386, mips64el and sparc64 (12 of 12): unsigned char. New since the baseline.
        Sure to 97.8 %; very strong evidence that it is new (26714 to 1; over 99.9 % new).
    "###);
}

#[test]
fn a_case_that_fails_everywhere_or_too_seldom_is_bound_to_nothing() {
    let everywhere = one_case(|_, side| if side == Side::Candidate { 3 } else { 0 });
    let mut cells = sample::cells(0);
    cells.retain(|c| c.id.suite == "portable");
    for cell in &mut cells {
        cell.guests.clear();
        cell.attempts
            .retain(|a| a.case.case == "be32" && a.pass == 1);
    }
    let seldom = sample::report(cells).verdict;
    insta::assert_snapshot!(format!("{}{}", told(&everywhere), told(&seldom)), @r###"
    Regression New `sched/t_queue:fifo` fails on every port that ran it: amd64, arm64, armhf and 6 others (27 of 27). New since the baseline.
        Sure to 99.8 %; very strong evidence that it is new (over a million to 1; over 99.9 % new).
    Undecided New `codec/t_pack:be32` fails on s390x and sparc64 (2 of 2), passes on amd64, arm64, armhf and 4 others (7 of 7); not yet known whether it is s390x and sparc64 only (51 %) or a flake (47 %). New since the baseline.
        Sure to 51 %; very strong evidence that it is new (157 to 1; 99.5 % new).
    "###);
}

/// One case that fails at `rate` wherever it runs, drawn `draws` times: how often it is called what.
fn called(rate: f64, draws: u64) -> std::collections::BTreeMap<String, u64> {
    let mut all = std::collections::BTreeMap::new();
    for seed in 0..draws {
        let dice = std::cell::RefCell::new(super::dice::Dice::new(seed));
        let verdict = one_case(|_, side| {
            let three = (0..3).filter(|_| dice.borrow_mut().chance(rate)).count();
            if side == Side::Candidate {
                three as u32
            } else {
                0
            }
        });
        let kind = match verdict.findings.as_slice() {
            [] => "silence".to_owned(),
            several => several
                .iter()
                .map(|f| format!("{:?}", f.kind))
                .collect::<Vec<_>>()
                .join("+"),
        };
        *all.entry(kind).or_default() += 1;
    }
    all
}

/// It comes and goes by itself, and three attempts in nine places may look like many things.
#[test]
fn what_fails_now_and_then_is_a_flake_or_left_open_and_hardly_ever_bound() {
    for rate in [0.2, 0.35, 0.5] {
        let called = called(rate, 200);
        let times = |kind: &str| called.get(kind).copied().unwrap_or(0);
        assert!(times("Flake") >= 190, "{rate}: {called:?}");
        assert!(
            times("Flake") + times("Undecided") >= 199,
            "{rate}: {called:?}"
        );
    }
}
