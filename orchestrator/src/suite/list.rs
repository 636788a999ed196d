//! Lists of cases, and which names may go into a guest's command line.
//!
//! `kyua list -v` and `run-suite list` both print one `program:case` a line, Kyua with the test suite's
//! name behind it, then its metadata, indented, as `name = value`. Of these the time limit matters:
//! who watches a guest must know how long a case may be silent. Anything else (warnings, the errors of
//! a program that cannot list its cases) is a note.

use std::collections::HashMap;
use std::time::Duration;

use super::text::{Lines, REASON_MAX_BYTES, clean};
use crate::model::CaseId;

/// The most cases that a list may have; the rest is dropped with a note.
pub const CASES_MAX: usize = 1_000_000;
const NOTES_MAX: usize = 100;

/// What a runner's `list` says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CaseList {
    /// The cases, in the runner's order.
    pub cases: Vec<CaseId>,
    /// The time limits of the cases that have one of their own.
    pub limits: HashMap<CaseId, Duration>,
    /// Lines that are no cases, and names that cannot be used; bounded.
    pub notes: Vec<String>,
}

/// Reads the whole output of `list`.
pub fn parse_list(bytes: &[u8]) -> CaseList {
    let mut list = CaseList::default();
    let mut lines = Lines::default();
    let mut each = |line: &[u8]| {
        if line.is_empty() {
            return;
        }
        let text = std::str::from_utf8(line).unwrap_or_default();
        if let Some(property) = text.strip_prefix("    ") {
            if let (Some(case), Some(limit)) = (list.cases.last(), limit(property)) {
                list.limits.insert(case.clone(), limit);
            }
            return;
        }
        let name = match text.split_once(" (") {
            Some((name, suite)) if suite.ends_with(')') => name,
            _ => text,
        };
        let case = name.parse::<CaseId>().ok().filter(is_sane);
        match case {
            Some(case) if list.cases.len() < CASES_MAX => list.cases.push(case),
            _ if list.notes.len() < NOTES_MAX => list.notes.push(clean(line, REASON_MAX_BYTES)),
            _ => {}
        }
    };
    lines.feed(bytes, |line| each(line.bytes));
    lines.finish(|line| each(line.bytes));
    list
}

/// The time limit, where the property is that.
fn limit(property: &str) -> Option<Duration> {
    let seconds = property.strip_prefix("timeout = ")?.trim();
    // A limit of days is no limit.
    let seconds: u32 = seconds.parse().ok().filter(|s| *s <= 7 * 24 * 3600)?;
    Some(Duration::from_secs(seconds.into()))
}

/// Whether a name that came out of a guest may go back into a command line there: letters, digits
/// and `_ . + - = @ % ,`; the program is a relative path without empty, `.` or `..` parts; neither
/// half looks like an option. No quoting is needed for these, in any shell.
pub fn is_sane(id: &CaseId) -> bool {
    let word = |s: &str| {
        !s.is_empty()
            && s.len() <= super::text::NAME_MAX_BYTES
            && !s.starts_with('-')
            && s.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_.+-=@%,".contains(&b))
    };
    word(&id.case)
        && id.program.len() <= super::text::NAME_MAX_BYTES
        && id
            .program
            .split('/')
            .all(|part| word(part) && part != "." && part != "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_and_notes() {
        let list = parse_list(
            b"t_a:one\nsub/t_b:two\nkyua: W: odd\nt_bad:__test_cases_list__\nt a:x\n../t:x\nt:$(x)\nlast:one",
        );
        let cases: Vec<String> = list.cases.iter().map(ToString::to_string).collect();
        assert_eq!(
            cases,
            [
                "t_a:one",
                "sub/t_b:two",
                "t_bad:__test_cases_list__",
                "last:one"
            ]
        );
        assert_eq!(list.notes, ["kyua: W: odd", "t a:x", "../t:x", "t:$(x)"]);
    }

    #[test]
    fn limits_are_the_cases_own() {
        let list = parse_list(
            b"p:a (portable)\n    description = A case (odd)\n    has_cleanup = true\n    timeout = 5\n\
              p:b (portable)\nq:main\n    timeout = 99999999999\nr:c\n    timeout = 0\n",
        );
        assert_eq!(list.cases.len(), 4);
        assert!(list.notes.is_empty(), "{:?}", list.notes);
        let limit = |program: &str, case: &str| list.limits.get(&CaseId::new(program, case));
        assert_eq!(limit("p", "a"), Some(&Duration::from_secs(5)));
        assert_eq!(limit("p", "b"), None);
        assert_eq!(limit("q", "main"), None);
        assert_eq!(limit("r", "c"), Some(&Duration::ZERO));
    }

    #[test]
    fn names_that_could_do_harm_are_not_sane() {
        for (program, case) in [
            ("/abs/t", "c"),
            ("a//b", "c"),
            ("a/./b", "c"),
            ("-k", "c"),
            ("t", "-r"),
            ("t", "a:b"),
            ("t", "a*"),
            ("t", ""),
            ("t", "ä"),
            ("t", "a\nb"),
        ] {
            assert!(!is_sane(&CaseId::new(program, case)), "{program}:{case}");
        }
        assert!(is_sane(&CaseId::new("lib/libc++/t_x.y", "a-b_c+1")));
    }
}
