//! Lists of cases, and which names may go into a guest's command line.
//!
//! `kyua list` and `run-suite list` both print one `program:case` a line; anything else (warnings,
//! the errors of a program that cannot list its cases) is a note.

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
        let case = std::str::from_utf8(line)
            .ok()
            .and_then(|text| text.parse::<CaseId>().ok())
            .filter(is_sane);
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
