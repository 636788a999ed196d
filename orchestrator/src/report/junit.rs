//! JUnit XML for servers that draw test results: one `testsuite` a cell, one `testcase` a case.
//!
//! Only the revision under test is written: such servers would show the baseline's failures as
//! failures. Several attempts of a case come to one result; mixed ones are a failure of type
//! `flaky`. Announced ends (`expected_*`) are successes with a property; skipped and missed cases
//! are skipped; what broke, hung or killed the kernel is an error. A cell that did not come to
//! its cases has a case named `stage`: an error, or skipped where the host was at fault.

use std::time::Duration;

use quick_junit::{
    NonSuccessKind, Property, Report, SerializeError, TestCase, TestCaseStatus, TestSuite,
};

use super::RunReport;
use super::grid::{CaseAttempts, State, by_case, tested, tested_name};
use crate::host::text::{line, tail};
use crate::model::{CellResult, StageResult};

const LINE: usize = 1000;
const OUTPUT_LINES: usize = 100;

/// Writes a run.
///
/// # Errors
/// Only where the XML writer fails.
pub fn write(report: &RunReport) -> Result<String, SerializeError> {
    let mut junit = Report::new(one(&report.matrix));
    junit.set_time(report.took);
    junit.add_test_suites(tested(report).map(suite));
    junit.to_string()
}

fn one(text: &str) -> String {
    line(text.as_bytes(), LINE)
}

fn suite(cell: &CellResult) -> TestSuite {
    let id = &cell.id;
    let mut suite = TestSuite::new(one(&tested_name(id)));
    suite.add_property(Property::new("port", one(id.port.as_str())));
    suite.add_property(Property::new("stage", cell.stage.word()));
    suite.set_time(cell.guests.iter().map(|g| g.wall).sum::<Duration>());
    if cell.stage != StageResult::Complete {
        suite.add_test_case(stage(cell));
    }
    suite.add_test_cases(by_case(cell).iter().map(case));
    suite
}

fn stage(cell: &CellResult) -> TestCase {
    let mut status = if cell.stage.is_host_fault() {
        TestCaseStatus::skipped()
    } else {
        TestCaseStatus::non_success(NonSuccessKind::Error)
    };
    let detail = cell.detail.as_deref().unwrap_or("");
    status.set_type(cell.stage.word());
    status.set_message(one(detail));
    status.set_description(tail(detail.as_bytes(), OUTPUT_LINES, LINE).join("\n"));
    TestCase::new("stage", status)
}

fn case(attempts: &CaseAttempts<'_>) -> TestCase {
    let state = attempts.state();
    let telling = attempts.telling();
    let reason = attempts.reason();
    let mut status = match state {
        State::Passed | State::Expected => TestCaseStatus::success(),
        State::Skipped | State::Missed | State::Absent => TestCaseStatus::skipped(),
        State::Failed | State::Mixed => TestCaseStatus::non_success(NonSuccessKind::Failure),
        State::Broken | State::Hung | State::Crashed => {
            TestCaseStatus::non_success(NonSuccessKind::Error)
        }
    };
    if !state.is_good() {
        status.set_type(state.word());
        status.set_message(one(&attempts.message(&reason)));
    }
    let mut case = TestCase::new(one(&attempts.case.case), status);
    case.set_classname(one(&attempts.case.program));
    let time: Duration = attempts.attempts.iter().filter_map(|a| a.duration).sum();
    case.set_time(time);
    if state == State::Expected {
        let outcome = telling.map_or("expected", |a| a.outcome.word());
        case.add_property(Property::new(outcome, one(&reason)));
    }
    if state.is_bad()
        && let Some(output) = telling.and_then(|a| a.output.as_deref())
    {
        case.set_system_out(tail(output.as_bytes(), OUTPUT_LINES, LINE).join("\n"));
    }
    case
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    /// Lines about one case in one cell.
    fn lines(xml: &str, cell: &str, case: &str) -> String {
        let suite = xml
            .split("<testsuite name=")
            .find(|s| s.starts_with(&format!("\"{cell}\"")));
        let from = format!("<testcase name=\"{case}\"");
        let lines = suite.unwrap().lines().skip_while(|l| !l.contains(&from));
        let mut found = Vec::new();
        for line in lines {
            found.push(line.trim());
            if line.contains("</testcase>") || line.ends_with("/>") && line.contains("<testcase") {
                break;
            }
        }
        found.join("\n")
    }

    #[test]
    fn each_outcome_has_its_element() {
        let xml = write(&sample::troubled()).unwrap();
        let shown = [
            ("portable/s390x/stock", "be32"),
            ("portable/armhf/stock", "double_field"),
            ("portable/i386/stock", "deep_chain"),
            ("portable/amd64/stock", "zero"),
            ("portable/sparc64/stock", "octal"),
            ("portable/amd64/stock", "fifo"),
            ("portable/riscv64/stock", "stage"),
            ("atf/arm64/stock", "stage"),
        ];
        let text: Vec<String> = shown
            .iter()
            .map(|(cell, case)| lines(&xml, cell, case))
            .collect();
        insta::assert_snapshot!(text.join("\n\n"), @r###"
    <testcase name="be32" classname="codec/t_pack" time="0.067">
    <failure message="t_pack.c:61: pack32(0x01020304)[0]: expected 0x01, got 0x04" type="failed"/>
    <system-out>begin codec/t_pack:be32
    check 1 ok
    check 2 differs</system-out>
    </testcase>

    <testcase name="double_field" classname="codec/t_pack" time="0.071">
    <error message="Test case was killed by signal 10 (SIGBUS)" type="broken"/>
    <system-out>begin codec/t_pack:double_field
    check 1 ok
    check 2 differs</system-out>
    </testcase>

    <testcase name="deep_chain" classname="proc/t_spawn" time="0.046">
    <error message="the kernel died while it ran" type="crashed"/>
    <system-out>begin proc/t_spawn:deep_chain
    check 1 ok
    check 2 differs</system-out>
    </testcase>

    <testcase name="zero" classname="mem/t_arena" time="0.091">
    <failure message="bad in 1 of 3 attempts: t_arena.c:112: byte 24 is 0x7f, expected 0" type="flaky"/>
    <system-out>begin mem/t_arena:zero
    check 1 ok
    check 2 differs</system-out>
    </testcase>

    <testcase name="octal" classname="num/t_parse" time="0.085">
    <properties>
    <property name="expected_failure" value="PR 1234: leading zeros"/>
    </properties>
    </testcase>

    <testcase name="fifo" classname="sched/t_queue" time="0.093"/>

    <testcase name="stage">
    <error message="src/spawn.c:77:5: error: implicit declaration of function &apos;clone3&apos; make: *** [obj.riscv64/spawn.o] Error 1" type="build_failed">src/spawn.c:77:5: error: implicit declaration of function &apos;clone3&apos;
    make: *** [obj.riscv64/spawn.o] Error 1</error>
    </testcase>

    <testcase name="stage">
    <skipped message="qemu-system-aarch64: killed by signal 9; the host is out of memory?" type="emulator_exited">qemu-system-aarch64: killed by signal 9; the host is out of memory?</skipped>
    </testcase>
    "###);
    }

    #[test]
    fn what_xml_may_not_hold_is_gone() {
        let mut report = sample::run();
        for attempt in &mut report.cells[1].attempts {
            attempt.reason = Some("\u{0}\u{8}\x1b[1m]]>&<\u{fffe}".into());
            attempt.output = attempt.reason.clone();
            attempt.case.case.push('\u{1}');
        }
        let xml = write(&report).unwrap();
        assert!(xml.chars().all(|c| c == '\n' || !c.is_control()));
        assert!(!xml.contains("]]>&<"));
    }
}
