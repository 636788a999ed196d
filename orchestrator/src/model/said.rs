//! What an attempt says of its end. A reason that only points to the case's output is completed from it.

use super::outcome::Attempt;

/// The longest part of a line that is quoted, in characters.
const QUOTED: usize = 160;
/// The longest part of a command that is quoted, in characters.
const COMMAND: usize = 100;
/// What ATF's shell cases say of every command that did not do what it should.
const ATF_CHECK: &str = "atf-check failed; see the output of the test for details";

impl Attempt {
    /// Its reason, with the line of its output that tells most where the reason points there; none
    /// where it gave none. Untrusted text, bounded.
    pub fn said(&self) -> Option<String> {
        let reason = self.reason.as_deref()?;
        let output = self.output.as_deref().unwrap_or("");
        if let Some(before) = reason.strip_suffix(ATF_CHECK)
            && let Some(check) = Check::last(output)
        {
            return Some(format!("{before}{}", check.words()));
        }
        let lower = reason.to_ascii_lowercase();
        if !lower.contains("see output") && !lower.contains("see the output") {
            return Some(reason.to_owned());
        }
        Some(match telling(output) {
            Some(line) => format!("{reason}: {}", shorten(line, QUOTED)),
            None => reason.to_owned(),
        })
    }
}

/// The line that tells most, by words that programs use of failures.
fn telling(output: &str) -> Option<&str> {
    let lines = || output.lines().map(str::trim).filter(|l| !l.is_empty());
    let mark = |words: &'static [&'static str]| {
        lines().find(|line| {
            let line = line.to_ascii_lowercase();
            words.iter().any(|w| line.contains(w))
        })
    };
    mark(&["check failed", "assertion"])
        .or_else(|| mark(&["expected", "mismatch", "not equal", "differ"]))
        .or_else(|| mark(&["fail", "error", "fatal"]))
        .or_else(|| lines().next())
}

/// What `atf-check` prints of a command that fails:
///
/// ```text
/// Executing command [ cut -c 6 d_utf8.in ]
/// Fail: stdout does not match expected value       Fail: incorrect exit status: 127, expected: 0
/// --- /tmp/inline.02747b                           stdout:
/// +++ /tmp/check.02747a/stdout                     ...
/// @@ -1 +1 @@                                      stderr:
/// -bar                                             cc: not found
/// +:ba
/// ```
struct Check<'a> {
    command: Option<&'a str>,
    what: &'a str,
    after: Vec<&'a str>,
}

impl<'a> Check<'a> {
    /// The last that failed: the case ended with it.
    fn last(output: &'a str) -> Option<Self> {
        let (mut command, mut found) = (None, None::<Self>);
        for line in output.lines() {
            let executed = line.strip_prefix("Executing command [ ");
            if let Some(executed) = executed {
                command = Some(executed.trim_end_matches(" ]").trim());
            } else if let Some(what) = line.strip_prefix("Fail: ") {
                let (what, after) = (what.trim(), Vec::new());
                found = Some(Self {
                    command,
                    what,
                    after,
                });
            } else if let Some(found) = &mut found {
                found.after.push(line);
            }
        }
        found
    }

    fn words(&self) -> String {
        let mut words = match self.command {
            Some(command) => format!("`{}`: {}", shorten(command, COMMAND), self.what),
            None => self.what.to_owned(),
        };
        if let Some(detail) = self.differs().or_else(|| self.printed()) {
            words = format!("{words} ({detail})");
        }
        words
    }

    /// The first line that a comparison wanted and the first that came in its place.
    fn differs(&self) -> Option<String> {
        let begin = self.after.iter().position(|l| l.starts_with("@@ "))? + 1;
        let first = |sign| {
            let line = self.after[begin..]
                .iter()
                .find_map(|l| l.strip_prefix(sign))?;
            Some(format!("\"{}\"", shorten(line, QUOTED / 2)))
        };
        match (first('-'), first('+')) {
            (Some(wanted), Some(came)) => Some(format!("expected {wanted}, got {came}")),
            (Some(wanted), None) => Some(format!("{wanted} is missing")),
            (None, Some(came)) => Some(format!("got {came}")),
            (None, None) => None,
        }
    }

    /// The first line that the command printed to standard error, else to standard output.
    fn printed(&self) -> Option<String> {
        ["stderr:", "stdout:"].into_iter().find_map(|head| {
            let begin = self.after.iter().position(|l| *l == head)? + 1;
            let mut section = self.after[begin..].iter().map(|l| l.trim());
            let line = section
                .by_ref()
                .take_while(|l| *l != "stderr:")
                .find(|l| !l.is_empty())?;
            let more = section.any(|l| !l.is_empty() && l != "stderr:");
            let more = if more { " …" } else { "" };
            Some(format!("{head} {}{more}", shorten(line, QUOTED)))
        })
    }
}

/// At most `chars` characters, with an ellipsis where something was cut.
pub fn shorten(text: &str, chars: usize) -> String {
    if text.chars().nth(chars).is_none() {
        return text.to_owned();
    }
    let short = text.chars().take(chars.saturating_sub(1));
    short.chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Outcome;

    fn said(reason: &str, output: &str) -> String {
        let attempt = Attempt {
            case: "p:c".parse().unwrap(),
            pass: 1,
            purpose: Default::default(),
            guest: 1,
            doubtful: None,
            memory: None,
            outcome: Outcome::Failed,
            reason: Some(reason.to_owned()),
            duration: None,
            output: Some(output.to_owned()),
        };
        attempt.said().unwrap()
    }

    #[test]
    fn what_atf_check_found_takes_the_place_of_its_pointer() {
        // As cases of NetBSD 6.99.16's usr.bin printed it.
        let cut = "Executing command [ cut -b 6,7,8 d_utf8.in ]\nExecuting command [ cut -c 6,7,8 d_utf8.in ]\n\
            Fail: stdout does not match expected value\n--- /tmp/inline.02747b\t2026-12-01 15:16:54.0 +0000\n\
            +++ /tmp/check.02747a/stdout\t2026-12-01 15:16:54.0 +0000\n@@ -1,4 +1,4 @@\n-bar\n-Bar\n+:ba\n+:Ba\n";
        assert_eq!(
            said(ATF_CHECK, cut),
            "`cut -c 6,7,8 d_utf8.in`: stdout does not match expected value (expected \"bar\", got \":ba\")"
        );
        let nbperf = "Executing command [ ./h_nbperf /usr/share/dict/web2 chm cat 4 hash_driver.c ]\n\
            Fail: incorrect exit status: 127, expected: 0\nstdout:\n\nstderr:\n\
            head: /usr/share/dict/web2: No such file or directory\ncc: not found\n\n";
        assert_eq!(
            said(&format!("PR bin/1: {ATF_CHECK}"), nbperf),
            "PR bin/1: `./h_nbperf /usr/share/dict/web2 chm cat 4 hash_driver.c`: incorrect exit status: 127, expected: 0 \
             (stderr: head: /usr/share/dict/web2: No such file or directory …)"
        );
        let silent = "Executing command [ false ]\nFail: incorrect exit status: 1, expected: 0\nstdout:\nno\n\nstderr:\n\n";
        assert_eq!(
            said(ATF_CHECK, silent),
            "`false`: incorrect exit status: 1, expected: 0 (stdout: no)"
        );
        let noise =
            "Fail: stderr not empty\n--- /dev/null\n+++ /tmp/check.1a/stderr\n@@ -0,0 +1 @@\n+oh\n";
        assert_eq!(said(ATF_CHECK, noise), "stderr not empty (got \"oh\")");
        assert_eq!(said(ATF_CHECK, "Fail: odd\n"), "odd");
    }

    #[test]
    fn other_pointers_get_a_line_and_reasons_stay() {
        assert_eq!(said("3 != 4", "Fail: x"), "3 != 4");
        assert_eq!(
            said(
                "2 checks failed; see output for more details",
                "go\nt.c:4: Check failed: a != b\n"
            ),
            "2 checks failed; see output for more details: t.c:4: Check failed: a != b"
        );
        assert_eq!(said(ATF_CHECK, ""), ATF_CHECK);
        assert_eq!(said(ATF_CHECK, "only\n"), format!("{ATF_CHECK}: only"));
    }

    proptest::proptest! {
        #[test]
        fn no_output_makes_it_long(output in "(?s).{0,400}|(Fail: |Executing command \\[ |@@ |-|\\+|stderr:|stdout:|\n|x{300}){0,30}") {
            proptest::prop_assert!(said(ATF_CHECK, &output).chars().count() < 1600);
        }
    }
}
