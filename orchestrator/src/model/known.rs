//! Failures that are known to come and go: a file that somebody answers for.
//!
//! An entry is for a time. Once that is over, or once the case no longer fails, it is told.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::ids::CaseId;
use super::problem::Problem;
use super::project::check_format;

/// A registry of known flakes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registry {
    /// Version of the file's form: 1.
    pub format: u32,
    /// The entries.
    pub flakes: Vec<KnownFlake>,
}

/// A case that is known to fail now and then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownFlake {
    /// `PROGRAM:CASE`, where `*` stands for any characters and `?` for one.
    pub case: String,
    /// Only in this suite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suite: Option<String>,
    /// Only on these ports; on all where empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<String>,
    /// Who looks after it.
    pub owner: String,
    /// Why it is so, as far as that is known.
    pub reason: String,
    /// Where it is dealt with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// The last day on which it is no news: `2027-01-31`.
    pub until: Date,
}

impl Registry {
    /// What is wrong beyond what the file's shape says.
    pub fn check(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        check_format(self.format, &mut found);
        for (i, flake) in self.flakes.iter().enumerate() {
            let at = |field: &str| format!("flakes[{i}].{field}");
            if flake.case.matches(':').count() == 0 {
                let message = format!("'{}' is no case: expected PROGRAM:CASE", flake.case);
                found.push(Problem::new(at("case"), message));
            }
            for (field, word) in [("owner", &flake.owner), ("reason", &flake.reason)] {
                if word.trim().is_empty() {
                    found.push(Problem::new(
                        at(field),
                        "is empty: somebody has to answer for it",
                    ));
                }
            }
        }
        found
    }
}

impl KnownFlake {
    /// Whether it is about a case of a suite.
    pub fn is_about(&self, suite: &str, case: &CaseId) -> bool {
        self.suite.as_deref().is_none_or(|s| s == suite)
            && fits(self.case.as_bytes(), case.to_string().as_bytes())
    }

    /// Whether it is about a port.
    pub fn covers(&self, port: &str) -> bool {
        self.ports.is_empty() || self.ports.iter().any(|p| p == port)
    }
}

/// Whether a text fits a pattern with `*` and `?`. Takes time proportional to the product of both
/// lengths at most.
fn fits(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == b'?' || *c == text[t] => {
                p += 1;
                t += 1;
            }
            // Let the last star take one more.
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    p = at + 1;
                    t = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, text, fit) in [
            ("a:b", "a:b", true),
            ("a:*", "a:b", true),
            ("*_test:sweep", "upkeep_test:sweep", true),
            ("a:?", "a:bc", false),
            ("*a*a*:x", "banana:x", true),
            ("*a*a*a*a*:x", "banana:x", false),
            ("", "a", false),
            ("**", "", true),
        ] {
            assert_eq!(
                fits(pattern.as_bytes(), text.as_bytes()),
                fit,
                "{pattern} {text}"
            );
        }
    }

    #[test]
    fn an_entry_needs_somebody_who_answers_for_it() {
        let text = "{format: 1, flakes: [{case: sweep, owner: '', reason: r, until: 2027-01-31}]}";
        let registry: Registry = serde_yaml::from_str(text).unwrap();
        let found: Vec<String> = registry.check().iter().map(|p| format!("{p:?}")).collect();
        assert_eq!(found.len(), 2, "{found:?}");
        let bad = text.replace("2027-01-31", "next year");
        assert!(serde_yaml::from_str::<Registry>(&bad).is_err());
    }
}
