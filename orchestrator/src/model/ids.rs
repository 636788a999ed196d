//! Identities: a port's name, a case, a run, a content key.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A port's name, as its manifest gives it: `amd64`, `sparc64`, `evbarm-aarch64`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PortName(pub String);

impl PortName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PortName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl From<&str> for PortName {
    fn from(s: &str) -> Self {
        Self(s.to_owned())
    }
}

/// One case of a suite, `program:case`; the program is a path relative to the suite's root.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CaseId {
    /// The test program, relative to the suite's root: `codec/t_pack`.
    pub program: String,
    /// The case within the program: `roundtrip`.
    pub case: String,
}

impl CaseId {
    /// Builds an identity from its two halves.
    pub fn new(program: impl Into<String>, case: impl Into<String>) -> Self {
        Self {
            program: program.into(),
            case: case.into(),
        }
    }
}

impl fmt::Display for CaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}:{}", self.program, self.case))
    }
}

/// A text that was expected to be `program:case` and is not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a case: expected PROGRAM:CASE")]
pub struct BadCaseId(pub String);

impl FromStr for CaseId {
    type Err = BadCaseId;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        match s.rsplit_once(':') {
            Some((program, case)) if !program.is_empty() && !case.is_empty() => {
                Ok(Self::new(program, case))
            }
            _ => Err(BadCaseId(s.to_owned())),
        }
    }
}

impl Serialize for CaseId {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CaseId {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The identity of a run: a UUID of version 7, so that names sort by time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub String);

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The hash of everything that a job's output depends on: 64 hexadecimal digits (BLAKE3).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Key(pub String);

impl Key {
    /// Hashes labelled parts. Lengths go into the hash too, so that no two different lists of
    /// parts give one key.
    pub fn of(label: &str, parts: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(label.len() as u64).to_le_bytes());
        hasher.update(label.as_bytes());
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Self(hasher.finalize().to_hex().to_string())
    }

    /// The first twelve digits: enough for people.
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_split_at_the_last_colon() {
        let id: CaseId = "lib/t_a:b:c".parse().unwrap();
        assert_eq!(id, CaseId::new("lib/t_a:b", "c"));
        assert!("nocolon".parse::<CaseId>().is_err());
        assert!(":x".parse::<CaseId>().is_err());
    }

    #[test]
    fn moving_a_byte_between_parts_changes_the_key() {
        assert_ne!(Key::of("t", &[b"ab", b"c"]), Key::of("t", &[b"a", b"bc"]));
        assert_ne!(Key::of("t", &[b"a"]), Key::of("u", &[b"a"]));
    }
}
