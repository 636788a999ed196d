//! Throughput of what reads guests, in one thread: results a second, bytes of console a second.
//!
//! `cargo bench --bench parsers`. To be reached: a million TPS results a second and 300 MB of console
//! a second. Streams are made in memory and fed in pieces of 16 KiB, as they come from a socket.

use std::fmt::Write as _;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use fallout::crash::Recogniser;
use fallout::model::ConsoleWatch;
use fallout::suite::{Runner, SuiteEvent, parse_list};

fn main() {
    divan::main();
}

const PROGRAMS: usize = 500;
const CASES: usize = 40;
const PIECE_BYTES: usize = 16 << 10;

/// One result in eight fails with a reason, as many as `lines` lines of output a case.
fn tps(lines: usize) -> String {
    let mut text = String::from("Content-Type: application/X-atf-tps; version=\"3\"\n\n");
    let mut now = 1_700_000_000;
    for program in 0..PROGRAMS {
        writeln!(
            text,
            "tp-start: {now}.120000, lib/libc/gen/t_prog{program}, {CASES}"
        )
        .unwrap();
        for case in 0..CASES {
            writeln!(text, "tc-start: {now}.130000, case_number_{case}").unwrap();
            for line in 0..lines {
                writeln!(text, "tc-so:Executing command [ ls -l file{line} ]").unwrap();
            }
            let end = match case % 8 {
                0 => "failed, t_prog.c:120: value != expected (12 != 13)",
                _ => "passed",
            };
            writeln!(text, "tc-end: {now}.980000, case_number_{case}, {end}").unwrap();
            now += 1;
        }
        writeln!(text, "tp-end: {now}.990000, lib/libc/gen/t_prog{program}").unwrap();
    }
    text
}

fn kyua() -> String {
    let mut text = String::new();
    for program in 0..PROGRAMS {
        for case in 0..CASES {
            let end = match case % 8 {
                0 => "failed: t_prog.c:120: value != expected (12 != 13)",
                _ => "passed",
            };
            writeln!(
                text,
                "lib/libc/gen/t_prog{program}:case_number_{case}  ->  {end}  [0.023s]"
            )
            .unwrap();
        }
    }
    writeln!(
        text,
        "\nResults saved to /var/results.db\n\n17500/20000 passed (2500 failed)"
    )
    .unwrap();
    text
}

fn suite(bencher: Bencher<'_, '_>, runner: Runner, text: &str) {
    bencher
        .counter(ItemsCount::new(PROGRAMS * CASES))
        .counter(BytesCount::of_str(text))
        .bench(|| {
            let mut parser = runner.parser();
            let mut events = Vec::new();
            let mut results = 0;
            for piece in text.as_bytes().chunks(PIECE_BYTES) {
                parser.feed_into(piece, &mut events);
                results += events
                    .drain(..)
                    .filter(|event| matches!(event, SuiteEvent::CaseEnded { .. }))
                    .count();
            }
            assert_eq!(results, PROGRAMS * CASES);
        });
}

#[divan::bench]
fn tps_results(bencher: Bencher<'_, '_>) {
    suite(bencher, Runner::Sh, &tps(0));
}

#[divan::bench]
fn tps_results_with_ten_lines_of_output(bencher: Bencher<'_, '_>) {
    suite(bencher, Runner::Sh, &tps(10));
}

#[divan::bench]
fn kyua_results(bencher: Bencher<'_, '_>) {
    suite(bencher, Runner::Kyua, &kyua());
}

#[divan::bench]
fn case_list(bencher: Bencher<'_, '_>) {
    let mut text = String::new();
    for program in 0..PROGRAMS {
        for case in 0..CASES {
            writeln!(text, "lib/libc/gen/t_prog{program}:case_number_{case}").unwrap();
        }
    }
    bencher
        .counter(ItemsCount::new(PROGRAMS * CASES))
        .bench(|| assert_eq!(parse_list(text.as_bytes()).cases.len(), PROGRAMS * CASES));
}

/// A talkative kernel that does not die.
#[divan::bench]
fn console(bencher: Bencher<'_, '_>) {
    let mut text = String::new();
    for line in 0..100_000 {
        writeln!(
            text,
            "[{:5}.{:06}] virtio_blk virtio{}: [vda] {line} 512-byte logical blocks (1.05 MB/1.00 MiB)\r",
            line / 1000,
            line % 1000 * 1000,
            line % 7
        )
        .unwrap();
    }
    bencher.counter(BytesCount::of_str(&text)).bench(|| {
        let mut watch = Recogniser::new();
        for piece in text.as_bytes().chunks(PIECE_BYTES) {
            watch.feed(piece);
        }
        watch.finish();
        assert!(!watch.is_dead());
    });
}
