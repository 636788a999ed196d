//! Golden verdicts: what a maintainer reads for runs with planted faults.

use crate::model::{Finding, Verdict};
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
    Hang New `sched/t_queue:wakeup` hangs on ppc64el (3 of 3): no answer from the guest; it passes on amd64, arm64, armhf and 5 others (24 of 24). New since the baseline.
    TraitBound New `codec/t_pack:be32` fails on s390x and sparc64 (6 of 6), passes on amd64, arm64, armhf and 4 others (21 of 21): big-endian. New since the baseline.
    TraitBound New `codec/t_pack:double_field` breaks on armhf and sparc64 (6 of 6), passes on amd64, arm64, i386 and 4 others (21 of 21): unaligned double traps. New since the baseline.
    TraitBound New `num/t_parse:range_32` fails on armhf and i386 (6 of 6), passes on amd64, arm64, mips64el and 4 others (21 of 21): ILP32. New since the baseline.
    TraitBound New `text/t_ctype:is_alpha_high` fails on arm64, armhf, ppc64el and 2 others (15 of 15), passes on amd64, i386, mips64el and sparc64 (12 of 12): unsigned char. New since the baseline.
    ArchOnly NoBaseline `atf-c++/t_02:case_1` fails on riscv64 only (3 of 3), passes on amd64, arm64, armhf and 5 others (24 of 24); what sets riscv64 apart: riscv family. There is no baseline for it.
    Flake New `mem/t_arena:zero` fails now and then: in 5 of 27 attempts, on 5 of 9 ports; no trait separates them. The baseline did not show it (0 of 27), which may be luck.
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
    Stage New portable does not build on mips64el and riscv64, is done on amd64, arm64, armhf and 4 others: src/spawn.c:77:5: error: implicit declaration of function 'clone3'. New since the baseline.
        src/spawn.c:77:5: error: implicit declaration of function 'clone3'
        make: *** [obj.mips64el/spawn.o] Error 1
    Missed NoBaseline 4 cases of atf never ran on s390x: the cell's time limit was over. There is no baseline for it.
        Cases: atf-sh/t_03:case_0, atf-sh/t_03:case_1, atf-sh/t_03:case_2 and atf-sh/t_03:case_3.
    host: atf/arm64/stock/candidate: emulator_exited: qemu-system-aarch64: killed by signal 9; the host is out of memory?; 114 attempts never made
    "###);
}
