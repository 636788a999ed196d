//! Results of suites that fallout did not run: a stream of TPS or a JUnit file as bytes, a Kyua
//! database as what [`super::kyua_db`] read. Pure and total; text is cleaned and bounded.
//!
//! What a file does not say is not made up: a case that began and has no end is [`Outcome::Missed`]
//! with that as its reason, whatever ended it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::event::SuiteEvent;
use super::kyua_db::DbResult;
use super::text::{NAME_MAX_BYTES, REASON_MAX_BYTES, clean};
use super::{junit, tps::TpsParser};
use crate::model::{Attempt, CaseId, Outcome, Purpose};

/// Cases of a file at most.
pub const CASES: usize = 100_000;

/// Kinds of files with results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Kyua's results database.
    Kyua,
    /// The stream of `atf-run`.
    Tps,
    /// JUnit XML.
    Junit,
}

impl Kind {
    /// By how a file begins.
    pub fn of(beginning: &[u8]) -> Option<Self> {
        if beginning.starts_with(b"SQLite format 3\0") {
            return Some(Self::Kyua);
        }
        let text = beginning.strip_prefix(b"\xef\xbb\xbf").unwrap_or(beginning);
        let text = text.trim_ascii_start();
        let has = |part: &[u8]| text.windows(part.len()).any(|w| w == part);
        if text.starts_with(b"<") {
            return Some(Self::Junit);
        }
        (has(b"application/X-atf-tps") || has(b"tp-start: ")).then_some(Self::Tps)
    }

    /// The word used in files and to users.
    pub fn word(self) -> &'static str {
        match self {
            Self::Kyua => "kyua",
            Self::Tps => "tps",
            Self::Junit => "junit",
        }
    }
}

/// One result.
#[derive(Debug, Clone, PartialEq)]
pub struct Foreign {
    /// Which case.
    pub case: CaseId,
    /// How it ended.
    pub outcome: Outcome,
    /// Why.
    pub reason: Option<String>,
    /// How long it took.
    pub duration: Option<Duration>,
    /// The end of its output.
    pub output: Option<String>,
}

/// Why a file has no results.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ForeignError {
    /// It is not of the form.
    #[error("this is no {form}: {why}")]
    Form {
        /// What it should be.
        form: &'static str,
        /// What was found.
        why: String,
    },
    /// More than anybody has.
    #[error("it has more than {CASES} results")]
    TooMany,
}

/// The results of a TPS stream.
pub fn tps(bytes: &[u8]) -> Result<Vec<Foreign>, ForeignError> {
    let mut parser = TpsParser::default();
    let mut events = Vec::new();
    let mut found = Vec::new();
    for chunk in bytes.chunks(64 << 10) {
        parser.feed_into(chunk, &mut events);
        take(&mut events, &mut found)?;
    }
    events = parser.finish();
    take(&mut events, &mut found)?;
    if let Some((case, output)) = parser.take_open() {
        found.push(lost(case, "the file ends while the case runs", output));
    }
    if found.is_empty() {
        return Err(ForeignError::Form {
            form: "TPS 3",
            why: "it has no 'tc-end:' line of a case within a 'tp-start:'".to_owned(),
        });
    }
    Ok(found)
}

fn take(events: &mut Vec<SuiteEvent>, found: &mut Vec<Foreign>) -> Result<(), ForeignError> {
    for event in events.drain(..) {
        match event {
            SuiteEvent::CaseEnded {
                case,
                outcome,
                reason,
                duration,
                output,
            } => found.push(Foreign {
                case,
                outcome,
                reason,
                duration,
                output,
            }),
            SuiteEvent::CaseLost { case } => {
                found.push(lost(case, "the file has no end of the case", None));
            }
            _ => {}
        }
        if found.len() > CASES {
            return Err(ForeignError::TooMany);
        }
    }
    Ok(())
}

fn lost(case: CaseId, why: &str, output: Option<String>) -> Foreign {
    Foreign {
        case,
        outcome: Outcome::Missed,
        reason: Some(why.to_owned()),
        duration: None,
        output,
    }
}

/// The results of a JUnit file. A class name without a slash is taken as Kyua and most others write
/// it: its dots stand for slashes.
pub fn junit(bytes: &[u8]) -> Result<Vec<Foreign>, ForeignError> {
    let form = |why: String| ForeignError::Form {
        form: "JUnit XML",
        why,
    };
    let text = std::str::from_utf8(bytes).map_err(|e| form(format!("not UTF-8: {e}")))?;
    let cases = junit::read(text, CASES).map_err(form)?;
    if cases.len() > CASES {
        return Err(ForeignError::TooMany);
    }
    if cases.is_empty() {
        return Err(form("it has no testcase".to_owned()));
    }
    let turn = |case: junit::Case| {
        let class = match case.class.contains('/') {
            true => case.class,
            false => case.class.replace('.', "/"),
        };
        let fit = |text: &str| clean(text.as_bytes(), NAME_MAX_BYTES).replace(':', "_");
        let program = match class.is_empty() {
            true => "junit".to_owned(),
            false => fit(&class),
        };
        let name = match case.name.is_empty() {
            true => "main".to_owned(),
            false => fit(&case.name),
        };
        let output: Vec<String> = case
            .output
            .trim_end()
            .lines()
            .map(|l| clean(l.as_bytes(), l.len()))
            .collect();
        Foreign {
            case: CaseId::new(program, name),
            outcome: case.outcome,
            reason: case
                .reason
                .map(|r| clean(r.as_bytes(), REASON_MAX_BYTES))
                .filter(|r| !r.is_empty()),
            duration: case.time,
            output: (!output.is_empty()).then(|| output.join("\n")),
        }
    };
    Ok(cases.into_iter().map(turn).collect())
}

/// The results of a Kyua database.
pub fn kyua(rows: Vec<DbResult>) -> Vec<Foreign> {
    let turn = |row: DbResult| Foreign {
        output: row.output(),
        case: row.case,
        outcome: row.outcome,
        reason: row.reason,
        duration: row.duration,
    };
    rows.into_iter().map(turn).collect()
}

/// The results as a cell's attempts: the how-manieth of a case is its pass.
pub fn attempts(results: impl IntoIterator<Item = Foreign>) -> Vec<Attempt> {
    let mut passes: BTreeMap<CaseId, u32> = BTreeMap::new();
    let turn = |result: Foreign| {
        let pass = passes.entry(result.case.clone()).or_default();
        *pass += 1;
        Attempt {
            memory: None,
            pass: *pass,
            case: result.case,
            purpose: Purpose::Pass,
            guest: 1,
            doubtful: None,
            outcome: result.outcome,
            reason: result.reason,
            duration: result.duration,
            output: result.output,
        }
    };
    results.into_iter().map(turn).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TPS: &str = "Content-Type: application/X-atf-tps; version=\"3\"\n\n\
        tps-count: 1\ntp-start: 10.0, lib/t_a, 3\ntc-start: 10.0, one\ntc-so:hello\n\
        tc-end: 11.500000, one, passed\ntc-start: 12.0, two\n\
        tc-end: 12.1, two, failed, no \x1b[31mway\ntc-start: 13.0, three\n";

    fn told(found: &[Foreign]) -> String {
        let lines = found.iter().map(|f| {
            let reason = f.reason.as_deref().unwrap_or("");
            let ms = f.duration.map(|d| d.as_millis());
            format!("{} {} {ms:?} {reason} {:?}\n", f.case, f.outcome, f.output)
        });
        lines.collect()
    }

    #[test]
    fn a_stream_that_ends_early_says_so() {
        insta::assert_snapshot!(told(&tps(TPS.as_bytes()).unwrap()));
        insta::assert_snapshot!(tps(b"hello").unwrap_err());
    }

    #[test]
    fn kyuas_junit_and_ours_are_read() {
        let text = r#"<?xml version="1.0"?><testsuite>
            <testcase classname="bin.cp.t_cp" name="file" time="0.25"><system-out>a&#10;b &lt;c&gt;</system-out></testcase>
            <testcase classname="codec/t_pack.x" name="be" time="x"><failure message="0 &amp; 1" type="failed">trace</failure></testcase>
            <testcase classname="a.b" name="gone"><error type="crashed" message="panic"/></testcase>
            <testcase classname="a.b" name="odd"><error message="exit 3"/></testcase>
            <testcase classname="" name=""><skipped message="no root"/></testcase>
            </testsuite>"#;
        insta::assert_snapshot!(told(&junit(text.as_bytes()).unwrap()));
        for bad in [
            "",
            "<html/>",
            "<testsuite>",
            "<a b=></a>",
            "<testsuite><testcase name='x'>",
        ] {
            assert!(junit(bad.as_bytes()).is_err(), "{bad}");
        }
        insta::assert_snapshot!(junit(b"<testsuites></testsuites>").unwrap_err());
        insta::assert_snapshot!(junit(b"<testsuite><testcase></oops></testsuite>").unwrap_err());
    }

    #[test]
    fn files_are_known_by_how_they_begin() {
        assert_eq!(Kind::of(TPS.as_bytes()), Some(Kind::Tps));
        assert_eq!(Kind::of(b"SQLite format 3\0..."), Some(Kind::Kyua));
        assert_eq!(Kind::of(b"\xef\xbb\xbf\n<testsuite/>"), Some(Kind::Junit));
        assert_eq!(Kind::of(b"ok 1 - tap"), None);
        assert_eq!(Kind::of(b""), None);
    }

    #[test]
    fn a_case_that_comes_again_is_another_pass() {
        let twice = format!("{TPS}tp-end: 14.0, lib/t_a\n{TPS}");
        let all = attempts(tps(twice.as_bytes()).unwrap());
        let passes: Vec<u32> = all
            .iter()
            .filter(|a| a.case.case == "one")
            .map(|a| a.pass)
            .collect();
        assert_eq!(passes, [1, 2]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>, lines in "(<|>|/|testcase|testsuite| name=\"a\"|&|;|#|<!\\[CDATA\\[|\\]\\]>|tc-end: 1.0, a, passed\n){0,30}") {
            let _ = (tps(&bytes), junit(&bytes));
            let _ = (tps(lines.as_bytes()), junit(lines.as_bytes()));
            let inside = format!("<testsuite><testcase name='x'>{lines}</testcase></testsuite>");
            let _ = junit(inside.as_bytes());
        }
    }
}
