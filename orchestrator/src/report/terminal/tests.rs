use super::*;
use crate::report::sample;

const PLAIN: Style = Style {
    colour: false,
    unicode: true,
    width: 80,
};

#[test]
fn the_sample_run() {
    insta::assert_snapshot!(render(&sample::run(), &PLAIN, Some("run/report.html")), @r###"
    quickstart: 8 new findings, 1 fixed
      candidate  examples/portable + series v2 (b3:5f0c9a2e71d4), 2 patches
      baseline   examples/portable (b3:1c77e0f2a9b8)
      run        019a9f3c-5d20-7c11-8a52-3f6d2b1e9a07 (2026-11-23 12:40 UTC, 3m 07s)
      size       9 ports, 27 cells (9 from the cache), 2808 attempts

    atf                     amd64
                            │ arm64
                            │ │ armhf
                            │ │ │ i386
                            │ │ │ │ mips64el
                            │ │ │ │ │ ppc64el
                            │ │ │ │ │ │ riscv64
                            │ │ │ │ │ │ │ s390x
                            │ │ │ │ │ │ │ │ sparc64
      7 atf-c++/t_02:case_1 ✓ ✓ ✓ ✓ ✓ ✓ F ✓ ✓
        ✓ passed, F failed

    portable                       amd64
                                   │ arm64
                                   │ │ armhf
                                   │ │ │ i386
                                   │ │ │ │ mips64el
                                   │ │ │ │ │ ppc64el
                                   │ │ │ │ │ │ riscv64
                                   │ │ │ │ │ │ │ s390x
                                   │ │ │ │ │ │ │ │ sparc64
      1 proc/t_spawn:deep_chain    ✓ ✓ ✓ P ✓ ✓ ✓ ✓ ✓
      2 sched/t_queue:wakeup       ✓ ✓ ✓ ✓ ✓ H ✓ ✓ ✓
      3 codec/t_pack:be32          ✓ ✓ ✓ ✓ ✓ ✓ ✓ F F
      4 codec/t_pack:double_field  ✓ ✓ B ✓ ✓ ✓ ✓ ✓ B
      5 num/t_parse:range_32       ✓ ✓ F F ✓ ✓ ✓ ✓ ✓
      6 text/t_ctype:is_alpha_high ✓ F F ✓ ✓ F F F ✓
      8 mem/t_arena:zero           ~ ✓ ~ ✓ ~ ✓ ~ ✓ ~
      9 codec/t_base64:padding     ✓ ✓ + ✓ ✓ ✓ ✓ ✓ ✓
        ✓ passed, ~ flaky, F failed, B broken, H hung, P crashed, small letter: in
        the baseline too, + fixed

      1 PANIC
        The kernel dies in `proc/t_spawn:deep_chain` on i386 (3 of 3): BUG: unable
        to handle page fault in portable_spawn; it passes on amd64, arm64, armhf and
        5 others (24 of 24). New since the baseline.
        - Sure to 99.8 %; very strong evidence that it is new (775 to 1; 99.9 %
          new).
        signature 5fb9ac3d3861
        │ [   12.104233] BUG: unable to handle page fault for address: c8a41ffc
        │ [   12.104711] #PF: supervisor write access in kernel mode
        │ [   12.105020] CPU: 0 PID: 214 Comm: t_spawn Tainted: G           O      …
        │ [   12.105388] EIP: portable_spawn+0x5e/0x1a0 [portable]
        │ [   12.105902] Call Trace:
        │ [   12.106110]  portable_ioctl+0x33/0x70 [portable]

      2 HANG
        `sched/t_queue:wakeup` hangs on ppc64el (3 of 3): no answer from the guest;
        it passes on amd64, arm64, armhf and 5 others (24 of 24). New since the
        baseline.
        - Sure to 99.9 %; very strong evidence that it is new (775 to 1; 99.9 %
          new).
        signature d96ec10de22c
        │ [   31.220145] watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [t_queue…

      3 TRAIT
        `codec/t_pack:be32` fails on s390x and sparc64 (6 of 6), passes on amd64,
        arm64, armhf and 4 others (21 of 21): big-endian. New since the baseline.
        - s390x, sparc64: t_pack.c:61: pack32(0x01020304)[0]: expected 0x01, got
          0x04
        - Sure to 99.2 %; very strong evidence that it is new (63295 to 1; over 99.9
          % new).

      4 TRAIT
        `codec/t_pack:double_field` breaks on armhf and sparc64 (6 of 6), passes on
        amd64, arm64, i386 and 4 others (21 of 21): unaligned double traps. New
        since the baseline.
        - armhf, sparc64: Test case was killed by signal 10 (SIGBUS)
        - Sure to 99.2 %; very strong evidence that it is new (63324 to 1; over 99.9
          % new).

      5 TRAIT
        `num/t_parse:range_32` fails on armhf and i386 (6 of 6), passes on amd64,
        arm64, mips64el and 4 others (21 of 21): ILP32. New since the baseline.
        - armhf, i386: t_parse.c:88: parse("4294967296") returned 0, expected
          4294967296
        - Sure to 99.2 %; very strong evidence that it is new (63312 to 1; over 99.9
          % new).

      6 TRAIT
        `text/t_ctype:is_alpha_high` fails on arm64, armhf, ppc64el and 2 others (15
        of 15), passes on amd64, i386, mips64el and sparc64 (12 of 12): unsigned
        char. New since the baseline.
        - arm64, armhf, ppc64el, riscv64, s390x: t_ctype.c:40: 1 checks failed; see
          output for more details: check 2 differs
        - Sure to over 99.9 %; very strong evidence that it is new (over a million
          to 1; over 99.9 % new).

      7 ONE PORT
        `atf-c++/t_02:case_1` fails on riscv64 only (3 of 3), passes on amd64,
        arm64, armhf and 5 others (24 of 24); what sets riscv64 apart: riscv family.
        There is no baseline for it.
        - riscv64: Line 210: stdout does not match golden output <b>&amp;</b>
        - Sure to 99.6 %.

      8 FLAKY
        `mem/t_arena:zero` fails now and then: in 5 of 27 attempts, on 5 of 9 ports;
        no trait separates them. The baseline did not show it (0 of 27), which may
        be luck.
        - amd64, armhf, mips64el, riscv64, sparc64: t_arena.c:112: byte 24 is 0x7f,
          expected 0
        - Sure to 99.6 %; strong evidence that it is new (57 to 1; 51 % new).

      9 FIXED
        `codec/t_base64:padding` failed in the baseline on armhf (3 of 3) and passes
        there now (3 of 3).
        - armhf then: t_base64.c:31: got 'QQ', expected 'QQ=='

    Worth knowing:
      - 1 case of portable skipped now, not so in the baseline:
        proc/t_spawn:wait_all.

    atf       passed failed skipped    boot
    amd64         47      -       1    2.2s
    arm64         47      -       1    2.8s
    armhf         47      -       1    3.4s
    i386          47      -       1    4.0s
    mips64el      47      -       1    4.6s
    ppc64el       47      -       1    5.2s
    riscv64       46      1       1    5.8s
    s390x         47      -       1    6.4s
    sparc64       47      -       1    7.0s

    portable  passed expected flaky failed broken  hung crashed skipped    boot
    amd64         27        -     1      -      -     -       -       -    2.2s
    arm64         27        -     -      1      -     -       -       -    2.8s
    armhf         24        -     1      2      1     -       -       -    3.4s
    i386          26        -     -      1      -     -       1       -    4.0s
    mips64el      26        -     1      -      -     -       -       1    4.6s
    ppc64el       26        -     -      1      -     1       -       -    5.2s
    riscv64       26        -     1      1      -     -       -       -    5.8s
    s390x         26        -     -      2      -     -       -       -    6.4s
    sparc64       24        1     1      1      1     -       -       -    7.0s

    Report: run/report.html
    "###);
}

#[test]
fn a_run_with_trouble() {
    insta::assert_snapshot!(render(&sample::troubled(), &PLAIN, None), @r###"
    quickstart: 10 new findings, 1 fixed, 1 fault of the host
      candidate  examples/portable + series v2 (b3:5f0c9a2e71d4), 2 patches
      baseline   examples/portable (b3:1c77e0f2a9b8)
      run        019a9f3c-5d20-7c11-8a52-3f6d2b1e9a07 (2026-11-23 12:40 UTC, 3m 07s)
      size       9 ports, 27 cells (9 from the cache), 2640 attempts

    atf                     amd64
                            │ arm64
                            │ │ armhf
                            │ │ │ i386
                            │ │ │ │ mips64el
                            │ │ │ │ │ ppc64el
                            │ │ │ │ │ │ riscv64
                            │ │ │ │ │ │ │ s390x
                            │ │ │ │ │ │ │ │ sparc64
      8 atf-c++/t_02:case_1 ✓ ✓ ✓ ✓ ✓ ✓ F ✓ ✓
        ✓ passed, F failed

    portable                       amd64
                                   │ arm64
                                   │ │ armhf
                                   │ │ │ i386
                                   │ │ │ │ mips64el
                                   │ │ │ │ │ ppc64el
                                   │ │ │ │ │ │ riscv64
                                   │ │ │ │ │ │ │ s390x
                                   │ │ │ │ │ │ │ │ sparc64
      1 proc/t_spawn:deep_chain    ✓ ✓ ✓ P   ✓   ✓ ✓
      2 sched/t_queue:wakeup       ✓ ✓ ✓ ✓   H   ✓ ✓
      4 codec/t_pack:be32          ✓ ✓ ✓ ✓   ✓   F F
      5 codec/t_pack:double_field  ✓ ✓ B ✓   ✓   ✓ B
      6 num/t_parse:range_32       ✓ ✓ F F   ✓   ✓ ✓
      7 text/t_ctype:is_alpha_high ✓ F F ✓   F   F ✓
      9 mem/t_arena:zero           ~ ✓ ~ ✓   ✓   ✓ ~
     11 codec/t_base64:padding     ✓ ✓ + ✓   ✓   ✓ ✓
        ✓ passed, ~ flaky, F failed, B broken, H hung, P crashed, small letter: in
        the baseline too, + fixed

      1 PANIC
        The kernel dies in `proc/t_spawn:deep_chain` on i386 (3 of 3): BUG: unable
        to handle page fault in portable_spawn; it passes on amd64, arm64, armhf and
        3 others (18 of 18). New since the baseline.
        - Sure to 99.4 %; very strong evidence that it is new (775 to 1; 99.9 %
          new).
        signature 5fb9ac3d3861
        │ [   12.104233] BUG: unable to handle page fault for address: c8a41ffc
        │ [   12.104711] #PF: supervisor write access in kernel mode
        │ [   12.105020] CPU: 0 PID: 214 Comm: t_spawn Tainted: G           O      …
        │ [   12.105388] EIP: portable_spawn+0x5e/0x1a0 [portable]
        │ [   12.105902] Call Trace:
        │ [   12.106110]  portable_ioctl+0x33/0x70 [portable]

      2 HANG
        `sched/t_queue:wakeup` hangs on ppc64el (3 of 3): no answer from the guest;
        it passes on amd64, arm64, armhf and 3 others (18 of 18). New since the
        baseline.
        - Sure to 99.7 %; very strong evidence that it is new (775 to 1; 99.9 %
          new).
        signature d96ec10de22c
        │ [   31.220145] watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [t_queue…

      3 STAGE
        portable does not build on mips64el and riscv64, builds on amd64, arm64,
        armhf and 4 others: src/spawn.c:77:5: error: implicit declaration of
        function 'clone3'. New since the baseline.

      4 TRAIT
        `codec/t_pack:be32` fails on s390x and sparc64 (6 of 6), passes on amd64,
        arm64, armhf and 2 others (15 of 15): big-endian. New since the baseline.
        - s390x, sparc64: t_pack.c:61: pack32(0x01020304)[0]: expected 0x01, got
          0x04
        - Sure to 98.9 %; very strong evidence that it is new (63163 to 1; over 99.9
          % new).

      5 TRAIT
        `codec/t_pack:double_field` breaks on armhf and sparc64 (6 of 6), passes on
        amd64, arm64, i386 and 2 others (15 of 15): unaligned double traps. New
        since the baseline.
        - armhf, sparc64: Test case was killed by signal 10 (SIGBUS)
        - Sure to 98.9 %; very strong evidence that it is new (63318 to 1; over 99.9
          % new).

      6 TRAIT
        `num/t_parse:range_32` fails on armhf and i386 (6 of 6), passes on amd64,
        arm64, ppc64el and 2 others (15 of 15): ILP32. New since the baseline.
        - armhf, i386: t_parse.c:88: parse("4294967296") returned 0, expected
          4294967296
        - Sure to 98.9 %; very strong evidence that it is new (63291 to 1; over 99.9
          % new).

      7 TRAIT
        `text/t_ctype:is_alpha_high` fails on arm64, armhf, ppc64el and s390x (12 of
        12), passes on amd64, i386 and sparc64 (9 of 9): unsigned char. New since
        the baseline.
        - arm64, armhf, ppc64el, s390x: t_ctype.c:40: 1 checks failed; see output
          for more details: check 2 differs
        - Sure to over 99.9 %; very strong evidence that it is new (over a million
          to 1; over 99.9 % new).

      8 ONE PORT
        `atf-c++/t_02:case_1` fails on riscv64 only (3 of 3), passes on amd64,
        arm64, armhf and 5 others (22 of 22); what sets riscv64 apart: riscv family.
        There is no baseline for it.
        - riscv64: Line 210: stdout does not match golden output <b>&amp;</b>
        - Sure to 99.5 %.

      9 FLAKY
        `mem/t_arena:zero` fails now and then: in 3 of 21 attempts, on 3 of 7 ports;
        no trait separates them. The baseline did not show it (0 of 27), which may
        be luck.
        - amd64, armhf, sparc64: t_arena.c:112: byte 24 is 0x7f, expected 0
        - Sure to 99.8 %; positive evidence that it is new (19 to 1; 25 % new).

     10 NEVER RAN
        4 cases of atf never ran on s390x: the cell's time limit was over. There is
        no baseline for it.
        - Cases: atf-sh/t_03:case_0, atf-sh/t_03:case_1, atf-sh/t_03:case_2 and
          atf-sh/t_03:case_3.

     11 FIXED
        `codec/t_base64:padding` failed in the baseline on armhf (3 of 3) and passes
        there now (3 of 3).
        - armhf then: t_base64.c:31: got 'QQ', expected 'QQ=='

    Says nothing, through no fault of what was tested:
      - atf/arm64/stock/candidate: emulator_exited: qemu-system-aarch64: killed by
        signal 9; the host is out of memory?; 114 attempts never made

    atf       passed failed skipped missed    boot
    amd64         47      -       1      -    2.2s
    arm64         29      -       1     18    2.8s
              emulator_exited
    armhf         47      -       1      -    3.4s
    i386          47      -       1      -    4.0s
    mips64el      47      -       1      -    4.6s
    ppc64el       47      -       1      -    5.2s
    riscv64       46      1       1      -    5.8s
    s390x         43      -       1      4    6.4s
    sparc64       47      -       1      -    7.0s

    portable  passed expected flaky failed broken  hung crashed    boot
    amd64         27        -     1      -      -     -       -    2.2s
    arm64         27        -     -      1      -     -       -    2.8s
    armhf         24        -     1      2      1     -       -    3.4s
    i386          26        -     -      1      -     -       1    4.0s
    mips64el  build_failed
    ppc64el       26        -     -      1      -     1       -    5.2s
    riscv64   build_failed
    s390x         26        -     -      2      -     -       -    6.4s
    sparc64       24        1     1      1      1     -       -    7.0s
    "###);
}

#[test]
fn every_line_fits_and_colour_only_repeats() {
    let report = sample::troubled();
    let plain = render(&report, &PLAIN, None);
    for line in plain.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    let colour = render(
        &report,
        &Style {
            colour: true,
            ..PLAIN
        },
        None,
    );
    assert!(colour.contains("\x1b[1;31m"));
    let stripped: Vec<String> = colour.lines().map(|l| clean(l.as_bytes(), 200)).collect();
    let again: Vec<String> = plain.lines().map(|l| clean(l.as_bytes(), 200)).collect();
    assert_eq!(stripped, again);
    let ascii = render(
        &report,
        &Style {
            unicode: false,
            ..PLAIN
        },
        None,
    );
    assert!(ascii.is_ascii(), "{ascii}");
}

#[test]
fn no_escape_of_a_guest_reaches_the_screen() {
    let mut report = sample::run();
    let finding = &mut report.verdict.findings[0];
    finding
        .sentence
        .push_str("\x1b]0;owned\x07 \x1b[2J\u{202e}");
    finding.failing[0].reason = Some("\x1b[31mred\r\u{9b}2J".into());
    if let Some(crash) = &mut finding.crash {
        crash.excerpt = vec!["\x1bc\x08".into()];
    }
    let text = render(&report, &PLAIN, Some("a\x1b[1mb"));
    assert!(text.chars().all(|c| !c.is_control() || c == '\n'));
    assert!(!text.contains('\u{202e}'));
}
