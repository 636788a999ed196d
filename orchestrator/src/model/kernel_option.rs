//! An option of a kernel's configuration, as a matrix or a project asks for it.
//!
//! Text form: `+DEBUG_LIST` (on), `-SMP` (off), `HZ=100` (a value). The prefix `CONFIG_` may stand in
//! front of the name. Whether a kernel has such an option is not known here.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest value, in bytes.
const VALUE_MAX: usize = 200;

/// An option and what it is to be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelOption {
    /// Its name without `CONFIG_`: `DEBUG_LIST`.
    pub name: String,
    /// Its value as `.config` has it: `y`, `n` for off, `100`, `"text"`.
    pub value: String,
}

impl KernelOption {
    /// The line of a configuration fragment: `CONFIG_HZ=100`.
    pub fn line(&self) -> String {
        format!("CONFIG_{}={}", self.name, self.value)
    }

    /// Whether it is to be off.
    pub fn is_off(&self) -> bool {
        self.value == "n"
    }
}

impl fmt::Display for KernelOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value.as_str() {
            "y" => write!(f, "+{}", self.name),
            "n" => write!(f, "-{}", self.name),
            value => write!(f, "{}={value}", self.name),
        }
    }
}

/// A text that is no option.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not an option of a kernel: expected +NAME, -NAME or NAME=VALUE")]
pub struct BadKernelOption(pub String);

impl FromStr for KernelOption {
    type Err = BadKernelOption;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || BadKernelOption(text.to_owned());
        let (name, value) = match (text.strip_prefix('+'), text.strip_prefix('-')) {
            (Some(name), _) => (name, "y"),
            (_, Some(name)) => (name, "n"),
            _ => text.split_once('=').ok_or_else(bad)?,
        };
        let name = name.strip_prefix("CONFIG_").unwrap_or(name);
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let good = !name.is_empty()
            && name.bytes().all(plain)
            && !value.is_empty()
            && value.len() <= VALUE_MAX
            && value.bytes().all(|b| b == b' ' || b.is_ascii_graphic());
        match good {
            true => Ok(Self {
                name: name.to_owned(),
                value: value.to_owned(),
            }),
            false => Err(bad()),
        }
    }
}

impl Serialize for KernelOption {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KernelOption {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The options of a fragment's text, in its order; a name that stands there twice has its last
/// value. `# CONFIG_X is not set` is off.
pub fn fragment(text: &str) -> Vec<KernelOption> {
    let mut found: Vec<KernelOption> = Vec::new();
    for line in text.lines().map(str::trim) {
        let off = line
            .strip_prefix("# CONFIG_")
            .and_then(|l| l.strip_suffix(" is not set"));
        let option = match (off, line.strip_prefix("CONFIG_")) {
            (Some(name), _) => Some((name, "n")),
            (None, Some(rest)) => rest.split_once('='),
            (None, None) => None,
        };
        let Some((name, value)) = option else {
            continue;
        };
        let option = KernelOption {
            name: name.to_owned(),
            value: value.to_owned(),
        };
        match found.iter_mut().find(|o| o.name == option.name) {
            Some(earlier) => *earlier = option,
            None => found.push(option),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_written() {
        for text in ["+DEBUG_LIST", "-SMP", "HZ=100", "CMDLINE=\"a b\""] {
            let option: KernelOption = text.parse().unwrap();
            assert_eq!(option.to_string(), text);
        }
        let option: KernelOption = "+CONFIG_KASAN".parse().unwrap();
        assert_eq!(option.line(), "CONFIG_KASAN=y");
        assert!("-KASAN".parse::<KernelOption>().unwrap().is_off());
        for bad in ["DEBUG_LIST", "+", "+a b", "X=", "X=\n", "=y"] {
            let error = bad.parse::<KernelOption>().unwrap_err().to_string();
            assert!(error.contains("expected +NAME"), "{error}");
        }
    }

    #[test]
    fn the_last_line_of_a_fragment_wins() {
        let text = "# words\nCONFIG_A=y\nCONFIG_B=3\n# CONFIG_A is not set\n\nCONFIG_C=\"x=y\"\n";
        let words: Vec<String> = fragment(text).iter().map(ToString::to_string).collect();
        assert_eq!(words, ["-A", "B=3", "C=\"x=y\""]);
    }
}
