//! Dead kernels: what the console told of one, and what was learnt of it afterwards.
//!
//! The recogniser gives kind, title, signature and excerpt; the guest adds its evidence; the engine
//! adds the blame. Each is text from a hostile guest, bounded and cleaned by whoever wrote it here.
//! It decides nothing and reads no console.

use serde::{Deserialize, Serialize};

use super::ids::CaseId;
use super::outcome::Outcome;

/// What kind of end a kernel came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CrashKind {
    /// The kernel said so itself: panic, fatal trap, oops that ends it.
    Panic,
    /// Nothing came back in time: the guest as a whole is silent.
    Hang,
    /// The guest ended, or its agent was lost, and no kernel had complained: it turned itself off,
    /// started again, or killed what answers for it.
    Gone,
}

impl CrashKind {
    /// How a case ends that takes its guest along like this.
    pub fn outcome(self) -> Outcome {
        match self {
            Self::Panic | Self::Gone => Outcome::Crashed,
            Self::Hang => Outcome::Hung,
        }
    }

    /// The word for it in signatures and stored files.
    pub fn word(self) -> &'static str {
        match self {
            Self::Panic => "panic",
            Self::Hang => "hang",
            Self::Gone => "gone",
        }
    }
}

/// The answer to one question that a dead or silent guest was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Section {
    /// What was asked: `bt`, `ps`, `registers`, `locks`, `sysrq-w`.
    pub name: String,
    /// The answer's lines. Untrusted text, cleaned and bounded.
    #[serde(default)]
    pub lines: Vec<String>,
}

/// How often a crash came back when its suspect ran alone in a fresh guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reproduced {
    /// Times that the same crash came.
    pub times: u32,
    /// Times that it was tried.
    pub of: u32,
}

/// A dead kernel, as the console told it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Crash {
    /// Panic or hang.
    pub kind: CrashKind,
    /// One line that stays the same across addresses, CPUs, pids, line numbers and architectures.
    /// Untrusted text, bounded.
    pub title: String,
    /// A short name for the same crash: 12 hexadecimal digits made of kind and title. Empty in
    /// files of older versions.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub signature: String,
    /// The case that ran when it happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blamed: Option<CaseId>,
    /// Where no single case can be blamed: those that may have caused it, the likeliest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<CaseId>,
    /// What came of running the suspect alone; `None` where that was not tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reproduced: Option<Reproduced>,
    /// The console's lines that show it, escapes removed. Untrusted text, bounded.
    #[serde(default)]
    pub excerpt: Vec<String>,
    /// Which line of the excerpt told it, from 0; `None` where no single line did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told_at: Option<usize>,
    /// What kernel, debugger and emulator answered when they were asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<Section>,
}

impl Crash {
    /// A crash of which nothing is known but this.
    pub fn new(kind: CrashKind, title: impl Into<String>) -> Self {
        let title = title.into();
        Self {
            signature: signature(kind, &title),
            kind,
            title,
            blamed: None,
            candidates: Vec::new(),
            reproduced: None,
            excerpt: Vec::new(),
            told_at: None,
            evidence: Vec::new(),
        }
    }

    /// What is known of it besides the title, in one line for people: signature, how often it came
    /// back, the cases that may have caused it, and what it was asked. Empty where nothing is.
    pub fn particulars(&self) -> String {
        let mut words = Vec::new();
        if !self.signature.is_empty() {
            words.push(format!("signature {}", self.signature));
        }
        match self.reproduced {
            Some(Reproduced { times: 0, of }) => {
                words.push(format!("not reproduced alone (0 of {of})"));
            }
            Some(Reproduced { times, of }) => {
                words.push(format!("reproduced alone {times} of {of} times"));
            }
            None => {}
        }
        let names = |all: Vec<String>, most: usize| {
            let more = all.len().saturating_sub(most);
            let mut text = all[..all.len() - more].join(", ");
            if more > 0 {
                text.push_str(&format!(" and {more} more"));
            }
            text
        };
        if !self.candidates.is_empty() {
            let all = self.candidates.iter().map(CaseId::to_string).collect();
            words.push(format!("candidates: {}", names(all, 5)));
        }
        if !self.evidence.is_empty() {
            let all = self.evidence.iter().map(|s| s.name.clone()).collect();
            words.push(format!("evidence: {}", names(all, 12)));
        }
        words.join("; ")
    }

    /// The excerpt from the line that told on; all of it where that line is not known.
    /// What comes before is context, and a reader with room for a few lines wants the crash.
    pub fn telling(&self) -> &[String] {
        let from = self.told_at.or_else(|| {
            // Files of older versions: their titles are the line itself.
            let head: String = self.title.chars().take(20).collect();
            self.excerpt.iter().position(|line| line.contains(&head))
        });
        self.excerpt.get(from.unwrap_or(0)..).unwrap_or_default()
    }
}

/// The signature of a crash: the first 12 hexadecimal digits of a hash over the kind and the
/// title's words. Case and runs of blanks do not count; numbers do not either, so that a size or a
/// count that slipped into a title does not make two crashes of one.
pub fn signature(kind: CrashKind, title: &str) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(kind.word().as_bytes());
    for word in title.split_whitespace() {
        let plain = word.bytes().all(|b| b.is_ascii_digit());
        hasher.update(b" ");
        if !plain {
            hasher.update(word.to_lowercase().as_bytes());
        }
    }
    hasher.finalize().to_hex()[..12].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tells_begins_with_its_line() {
        let lines = [
            "login:",
            "[1.0] Kernel panic - not syncing: sysrq",
            "CPU: 0",
        ];
        let mut crash = Crash {
            excerpt: lines.map(str::to_owned).into(),
            ..Crash::new(CrashKind::Panic, "Kernel panic - not syncing: sysrq")
        };
        assert_eq!(crash.telling().len(), 2);
        crash.title = "panic: other".into();
        assert_eq!(crash.telling().len(), 3);
        crash.told_at = Some(2);
        assert_eq!(crash.telling(), ["CPU: 0"]);
        crash.told_at = Some(9);
        assert!(crash.telling().is_empty());
    }

    #[test]
    fn signatures_follow_the_words() {
        let of = |title| signature(CrashKind::Panic, title);
        assert_eq!(
            of("panic: pool  empty after 3"),
            of("Panic: pool empty after 41")
        );
        assert_ne!(of("panic: a"), of("panic: b"));
        assert_ne!(of("panic: a"), signature(CrashKind::Hang, "panic: a"));
        assert_eq!(of("x").len(), 12);
    }

    #[test]
    fn particulars_are_one_line() {
        let mut crash = Crash::new(CrashKind::Panic, "panic: a");
        crash.candidates = (1..8).map(|n| CaseId::new("t", format!("c{n}"))).collect();
        crash.reproduced = Some(Reproduced { times: 0, of: 3 });
        crash.evidence = vec![Section {
            name: "bt".into(),
            lines: Vec::new(),
        }];
        insta::assert_snapshot!(crash.particulars(), @"signature afda350cf3cd; not reproduced alone (0 of 3); candidates: t:c1, t:c2, t:c3, t:c4, t:c5 and 2 more; evidence: bt");
        crash.reproduced = Some(Reproduced { times: 3, of: 3 });
        assert!(
            crash
                .particulars()
                .contains("reproduced alone 3 of 3 times")
        );
        crash.signature.clear();
        crash.candidates.clear();
        crash.evidence.clear();
        crash.reproduced = None;
        assert_eq!(crash.particulars(), "");
    }

    #[test]
    fn files_of_older_versions_load() {
        let old = r#"{"kind":"panic","title":"panic: x","excerpt":["panic: x"]}"#;
        let crash: Crash = serde_json::from_str(old).unwrap();
        assert_eq!(crash.telling().len(), 1);
        assert!(crash.signature.is_empty() && crash.evidence.is_empty());
        assert_eq!(serde_json::to_string(&crash).unwrap(), old);
    }
}
