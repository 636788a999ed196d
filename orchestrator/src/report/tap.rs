//! TAP version 14: one subtest a cell, one test point a case.
//!
//! Only the revision under test is written. Announced failures are `TODO`, skipped and missed
//! cases `SKIP`; a cell that the host let down is skipped as a whole, one that did not build or
//! boot is not ok. Several attempts of a case come to one point.

use std::fmt::Write as _;

use super::RunReport;
use super::grid::{CaseAttempts, State, by_case, tested, tested_name};
use crate::host::text::line;
use crate::model::{CellResult, StageResult};

const LINE: usize = 400;

/// Writes a run.
pub fn write(report: &RunReport) -> String {
    let cells: Vec<&CellResult> = tested(report).collect();
    let mut out = format!("TAP version 14\n1..{}\n", cells.len());
    for (i, cell) in cells.iter().enumerate() {
        subtest(i + 1, cell, &mut out);
    }
    out
}

/// A description: one line in which no character means anything to a parser.
fn plain(text: &str) -> String {
    let text = line(text.as_bytes(), LINE);
    text.replace('\\', "\\\\").replace('#', "\\#")
}

/// A YAML scalar: a JSON string is one.
fn scalar(text: &str) -> String {
    serde_json::Value::from(line(text.as_bytes(), LINE)).to_string()
}

fn subtest(number: usize, cell: &CellResult, out: &mut String) {
    let name = plain(&tested_name(&cell.id));
    let cases = by_case(cell);
    let mut good = cell.stage == StageResult::Complete || cell.stage.is_host_fault();
    if !cases.is_empty() {
        let _ = write!(out, "# Subtest: {name}\n    1..{}\n", cases.len());
        for (i, case) in cases.iter().enumerate() {
            good &= point(i + 1, case, out);
        }
    }
    let ok = if good { "ok" } else { "not ok" };
    let skip = if cell.stage.is_host_fault() && cases.is_empty() {
        format!(" # SKIP {}", cell.stage)
    } else {
        String::new()
    };
    let _ = writeln!(out, "{ok} {number} - {name}{skip}");
    if cell.stage != StageResult::Complete {
        let detail = scalar(cell.detail.as_deref().unwrap_or(""));
        let _ = write!(
            out,
            "  ---\n  stage: {}\n  message: {detail}\n  ...\n",
            cell.stage
        );
    }
}

/// Writes one point; false where it is not ok.
fn point(number: usize, case: &CaseAttempts<'_>, out: &mut String) -> bool {
    let state = case.state();
    let reason = case.reason();
    let name = plain(&case.case.to_string());
    let (ok, directive) = match state {
        State::Passed => ("ok", None),
        State::Expected => ("not ok", Some("TODO")),
        State::Skipped | State::Missed | State::Absent => ("ok", Some("SKIP")),
        _ => ("not ok", None),
    };
    let _ = write!(out, "    {ok} {number} - {name}");
    if let Some(directive) = directive {
        let _ = write!(out, " # {directive} {}", plain(&reason));
        out.truncate(out.trim_end().len());
    }
    out.push('\n');
    if state.is_bad() {
        let message = scalar(&case.message(&reason));
        let _ = write!(
            out,
            "      ---\n      outcome: {}\n      message: {message}\n      ...\n",
            state.word()
        );
    }
    !state.is_bad()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn one_cell_and_the_troubled_ones() {
        let mut report = sample::troubled();
        report.cells.retain(|c| {
            let id = &c.id;
            id.suite == "portable" && ["sparc64", "riscv64"].contains(&id.port.as_str())
        });
        insta::assert_snapshot!(write(&report), @r###"
    TAP version 14
    1..2
    not ok 1 - portable/riscv64/stock
      ---
      stage: build_failed
      message: "src/spawn.c:77:5: error: implicit declaration of function 'clone3' make: *** [obj.riscv64/spawn.o] Error 1"
      ...
    # Subtest: portable/sparc64/stock
        1..28
        ok 1 - codec/t_base64:decode
        ok 2 - codec/t_base64:encode
        ok 3 - codec/t_base64:padding
        ok 4 - codec/t_base64:roundtrip
        ok 5 - codec/t_pack:be16
        not ok 6 - codec/t_pack:be32
          ---
          outcome: failed
          message: "t_pack.c:61: pack32(0x01020304)[0]: expected 0x01, got 0x04"
          ...
        not ok 7 - codec/t_pack:double_field
          ---
          outcome: broken
          message: "Test case was killed by signal 10 (SIGBUS)"
          ...
        ok 8 - codec/t_pack:le32
        ok 9 - codec/t_pack:strings
        ok 10 - mem/t_arena:align
        ok 11 - mem/t_arena:grow
        ok 12 - mem/t_arena:reset
        not ok 13 - mem/t_arena:zero
          ---
          outcome: flaky
          message: "bad in 1 of 3 attempts: t_arena.c:112: byte 24 is 0x7f, expected 0"
          ...
        ok 14 - num/t_parse:hex
        not ok 15 - num/t_parse:octal # TODO PR 1234: leading zeros
        ok 16 - num/t_parse:overflow
        ok 17 - num/t_parse:range_32
        ok 18 - proc/t_spawn:argv
        ok 19 - proc/t_spawn:deep_chain
        ok 20 - proc/t_spawn:env
        ok 21 - proc/t_spawn:wait_all
        ok 22 - sched/t_queue:drain
        ok 23 - sched/t_queue:fifo
        ok 24 - sched/t_queue:priority
        ok 25 - sched/t_queue:wakeup
        ok 26 - text/t_ctype:is_alpha_high
        ok 27 - text/t_ctype:lower
        ok 28 - text/t_ctype:upper
    not ok 2 - portable/sparc64/stock
    "###);
    }

    #[test]
    fn a_name_cannot_speak_to_the_parser() {
        assert_eq!(plain("a # SKIP\nnot ok 2 \\"), "a \\# SKIP not ok 2 \\\\");
        assert_eq!(scalar("a\"\n...\n"), "\"a\\\" ...\"");
    }

    #[test]
    fn the_plan_counts_the_points() {
        let text = write(&sample::troubled());
        let points = |indent: &str| {
            let starts = [format!("{indent}ok "), format!("{indent}not ok ")];
            text.lines()
                .filter(|l| starts.iter().any(|s| l.starts_with(s)))
                .count()
        };
        let plans = text
            .lines()
            .filter_map(|l| l.strip_prefix("    1..")?.parse::<usize>().ok());
        assert_eq!(points("    "), plans.sum::<usize>());
        assert!(text.contains(&format!("\n1..{}\n", points(""))));
    }
}
