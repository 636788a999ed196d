//! A variant of a NetBSD kernel, as a project asks for it: a configuration of the tree with options
//! added and removed. What the tree knows of them is told when it is built.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::kernel_option::KernelOption;
use super::problem::Problem;

/// A kernel variant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KernelVariant {
    /// The tree's configuration that it starts from: `GENERIC`.
    pub config: String,
    /// `+LOCKDEBUG`, `-DIAGNOSTIC`, `NMBCLUSTERS=1024`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<KernelOption>,
    /// `makeoptions`, by name: `{KASAN: "1"}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub makeoptions: BTreeMap<String, String>,
}

/// The longest value of a make option, in bytes.
const VALUE_MAX: usize = 200;

impl KernelVariant {
    /// Whether a word is the name of a configuration, which is a file in the tree.
    pub fn is_config(word: &str) -> bool {
        word.len() <= 64
            && word.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
            && word
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    }

    /// Finds what is wrong beyond the shape.
    pub(super) fn check(&self, at: &str, found: &mut Vec<Problem>) {
        if !Self::is_config(&self.config) {
            let message = format!(
                "'{}' is not a kernel configuration: expected for example GENERIC",
                self.config
            );
            found.push(Problem::new(format!("{at}.config"), message));
        }
        if self.options.is_empty() && self.makeoptions.is_empty() {
            let message = format!(
                "differs from {} in nothing: expected options, for example [+LOCKDEBUG, -DIAGNOSTIC]",
                self.config
            );
            found.push(Problem::new(at, message));
        }
        let mut seen = BTreeSet::new();
        for (i, option) in self.options.iter().enumerate() {
            if !seen.insert(&option.name) {
                let message = format!("{} stands there twice", option.name);
                found.push(Problem::new(format!("{at}.options[{i}]"), message));
            }
        }
        for (name, value) in &self.makeoptions {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
            let good = !name.is_empty()
                && name.bytes().all(plain)
                && value.len() <= VALUE_MAX
                && value
                    .bytes()
                    .all(|b| b == b' ' || (b.is_ascii_graphic() && b != b'"'));
            if !good {
                let message = "is not a make option: expected NAME: \"value\" without quotes in it";
                found.push(Problem::new(format!("{at}.makeoptions.{name}"), message));
            }
        }
    }
}
