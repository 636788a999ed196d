//! What a suite's candidate is compared with, as matrix files and command lines say it.

use std::fmt;
use std::str::FromStr;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What a suite's candidate is compared with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Baseline {
    /// Nothing: one side only.
    #[default]
    None,
    /// The same tree without its patches.
    Unpatched,
    /// The newest complete run of the matrix with nothing new wrong; its results are taken, and
    /// nothing is run for it.
    LastGood,
    /// The parent commit of the source: a run's results where one has tested it, else it is run.
    Parent,
    /// The commit at which the source left this reference, likewise.
    BranchPoint(String),
}

const BRANCH_POINT: &str = "branch-point:";

/// The words, as they are offered.
pub const WORDS: [&str; 5] = [
    "none",
    "unpatched",
    "last-good",
    "parent",
    "branch-point:REF",
];

impl FromStr for Baseline {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        Ok(match word {
            "none" => Self::None,
            "unpatched" => Self::Unpatched,
            "last-good" => Self::LastGood,
            "parent" => Self::Parent,
            other => match other.strip_prefix(BRANCH_POINT) {
                Some(reference) if is_reference(reference) => {
                    Self::BranchPoint(reference.to_owned())
                }
                _ => return Err(()),
            },
        })
    }
}

/// Whether git can take it for a name: git says what there is.
fn is_reference(name: &str) -> bool {
    let odd = |c: char| c.is_whitespace() || c.is_control();
    !name.is_empty() && !name.starts_with('-') && !name.contains(odd)
}

impl fmt::Display for Baseline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.pad("none"),
            Self::Unpatched => f.pad("unpatched"),
            Self::LastGood => f.pad("last-good"),
            Self::Parent => f.pad("parent"),
            Self::BranchPoint(reference) => f.pad(&format!("{BRANCH_POINT}{reference}")),
        }
    }
}

impl Serialize for Baseline {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Baseline {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_str(BaselineVisitor)
    }
}

struct BaselineVisitor;

impl Visitor<'_> for BaselineVisitor {
    type Value = Baseline;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "one of {}", WORDS.join(", "))
    }

    fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<Baseline, E> {
        word.parse().map_err(|()| E::unknown_variant(word, &WORDS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_they_are_written() {
        let words = [
            "none",
            "unpatched",
            "last-good",
            "parent",
            "branch-point:refs/heads/a",
        ];
        for word in words {
            let read: Baseline = serde_yaml::from_str(word).unwrap();
            assert_eq!(read.to_string(), word);
        }
        for word in [
            "branch-point:",
            "branch-point:-x",
            "\"branch-point:a b\"",
            "Parent",
        ] {
            assert!(serde_yaml::from_str::<Baseline>(word).is_err(), "{word}");
        }
        let wrong = serde_yaml::from_str::<Baseline>("branchpoint:main").unwrap_err();
        insta::assert_snapshot!(wrong, @"unknown variant `branchpoint:main`, expected one of `none`, `unpatched`, `last-good`, `parent`, `branch-point:REF`");
    }
}
