//! Whether a kernel's configuration came out as it was asked for, and if not, why: pure.
//!
//! Kconfig drops in silence what it does not know, what depends on something absent, and what
//! something else turns on again. Each of these is told apart here, with what the tree's own Kconfig
//! files say about the option. Only their lines `config`, `depends on`, `select` and the guards of
//! blocks around them are read; no expression is evaluated.

use std::collections::BTreeMap;
use std::fmt;

use crate::model::KernelOption;
use crate::model::kernel_option::fragment;
use crate::model::problem::nearest;

/// The most that is told of an option's dependencies, in characters.
const DEPENDS_MAX: usize = 160;
/// The most files that are named.
const FILES_MAX: usize = 3;

/// An option as the tree's Kconfig files define it; several definitions are one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Definition {
    /// The files, relative to the tree.
    pub files: Vec<String>,
    /// What it depends on, as it stands there.
    pub depends: Vec<String>,
    /// The options that turn it on.
    pub selected_by: Vec<String>,
    /// Whether it is defined anywhere; an option can be named without.
    pub defined: bool,
}

/// All options of a tree, by name without `CONFIG_`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options(BTreeMap<String, Definition>);

impl Options {
    /// Reads one Kconfig file; `file` is its path in the tree.
    pub fn read(&mut self, file: &str, text: &str) {
        let mut current: Option<String> = None;
        let mut guards: Vec<String> = Vec::new();
        // Of a help text: how far its first line is indented, once that is known.
        let mut help: Option<Option<usize>> = None;
        for line in text.lines() {
            if line.trim().is_empty() {
                continue;
            }
            let indent = indent(line);
            match help {
                Some(None) => {
                    help = Some(Some(indent));
                    continue;
                }
                Some(Some(least)) if indent >= least => continue,
                _ => help = None,
            }
            let line = line.trim();
            let (word, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
            let rest = rest.trim();
            match word {
                "help" | "---help---" => help = Some(None),
                "config" | "menuconfig" if is_name(rest) => {
                    let option = self.0.entry(rest.to_owned()).or_default();
                    option.defined = true;
                    if option.files.last().is_none_or(|f| f != file) {
                        option.files.push(file.to_owned());
                    }
                    option.depends.extend(guards.iter().cloned());
                    current = Some(rest.to_owned());
                }
                "if" => guards.push(rest.to_owned()),
                "endif" => {
                    guards.pop();
                }
                "menu" | "endmenu" | "choice" | "endchoice" | "comment" | "source" => {
                    current = None;
                }
                "depends" => {
                    let on = rest.strip_prefix("on").unwrap_or(rest).trim();
                    if let Some(option) = current.as_ref().and_then(|c| self.0.get_mut(c)) {
                        option.depends.push(on.to_owned());
                    }
                }
                "select" => {
                    let target = rest.split_whitespace().next().unwrap_or("");
                    if let (Some(by), true) = (&current, is_name(target)) {
                        let option = self.0.entry(target.to_owned()).or_default();
                        option.selected_by.push(by.clone());
                    }
                }
                _ => {}
            }
        }
    }

    fn defined(&self, name: &str) -> Option<&Definition> {
        self.0.get(name).filter(|d| d.defined)
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        let defined = self.0.iter().filter(|(_, d)| d.defined);
        defined.map(|(name, _)| name.as_str())
    }
}

fn is_name(word: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    !word.is_empty() && word.bytes().all(plain)
}

/// How far a line is indented; a tab goes to the next multiple of eight.
fn indent(line: &str) -> usize {
    let mut column = 0;
    for c in line.chars() {
        match c {
            ' ' => column += 1,
            '\t' => column = (column / 8 + 1) * 8,
            _ => break,
        }
    }
    column
}

/// An option that is not what was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unmet {
    /// The kernel has no such option.
    Unknown {
        /// What was asked for.
        asked: KernelOption,
        /// The name that is nearest to it.
        near: Option<String>,
    },
    /// It was to be on, or to have a value, and is off.
    Dropped {
        /// What was asked for.
        asked: KernelOption,
        /// The files that define it.
        files: Vec<String>,
        /// What it depends on, as it stands there.
        depends: Vec<String>,
    },
    /// It was to be off and is on.
    Kept {
        /// What was asked for.
        asked: KernelOption,
        /// Options that are on and turn it on.
        by: Vec<String>,
    },
    /// It has another value.
    Other {
        /// What was asked for.
        asked: KernelOption,
        /// What it is.
        value: String,
    },
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { asked, near } => {
                write!(f, "option {} is unknown", asked.name)?;
                match near {
                    Some(near) => write!(f, "; did you mean {near}?"),
                    None => Ok(()),
                }
            }
            Self::Dropped {
                asked,
                files,
                depends,
            } => {
                write!(f, "{asked} did not hold: {} is in ", asked.name)?;
                let more = files.len().saturating_sub(FILES_MAX);
                f.write_str(&files[..files.len() - more].join(", "))?;
                if more > 0 {
                    write!(f, " and {more} other files")?;
                }
                match depends.is_empty() {
                    true => f.write_str(" and cannot be chosen there"),
                    false => write!(f, " and depends on {}", clip(&depends.join(" && "))),
                }
            }
            Self::Kept { asked, by } => {
                write!(f, "{asked} did not hold: ")?;
                match by.is_empty() {
                    true => write!(f, "{} is on by itself here", asked.name),
                    false => write!(f, "{} is turned on by {}", asked.name, by.join(", ")),
                }
            }
            Self::Other { asked, value } => {
                write!(f, "{asked} did not hold: it is {value}")
            }
        }
    }
}

fn clip(text: &str) -> String {
    match text.char_indices().nth(DEPENDS_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// What was asked for and is not so in `config`, the text of `.config`.
pub fn differs(asked: &[KernelOption], config: &str) -> Vec<KernelOption> {
    let found = fragment(config);
    let value = |name: &str| found.iter().find(|o| o.name == name).map(|o| &o.value);
    let differs = |o: &&KernelOption| match value(&o.name) {
        Some(value) => *value != o.value,
        None => !o.is_off(),
    };
    asked.iter().filter(differs).cloned().collect()
}

/// What was asked for and does not exist: also what was to be off, which is met by anything.
pub fn unknown(asked: &[KernelOption], options: &Options) -> Vec<Unmet> {
    let missing = asked.iter().filter(|o| options.defined(&o.name).is_none());
    missing.map(|o| unmet(o, "", options)).collect()
}

/// Why each option that [`differs`] is not as it was asked for.
pub fn explain(asked: &[KernelOption], config: &str, options: &Options) -> Vec<Unmet> {
    let different = differs(asked, config);
    different
        .iter()
        .map(|o| unmet(o, config, options))
        .collect()
}

fn unmet(asked: &KernelOption, config: &str, options: &Options) -> Unmet {
    let asked = asked.clone();
    let Some(definition) = options.defined(&asked.name) else {
        let near = nearest(&asked.name, options.names()).map(str::to_owned);
        return Unmet::Unknown { asked, near };
    };
    let found = fragment(config);
    let now = |name: &str| {
        let option = found.iter().find(|o| o.name == name);
        option.filter(|o| !o.is_off()).map(|o| o.value.clone())
    };
    match now(&asked.name) {
        None => Unmet::Dropped {
            files: definition.files.clone(),
            depends: definition.depends.clone(),
            asked,
        },
        Some(_) if asked.is_off() => {
            let by = definition.selected_by.iter();
            let by = by.filter(|name| now(name).is_some()).cloned().collect();
            Unmet::Kept { asked, by }
        }
        Some(value) => Unmet::Other { asked, value },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use insta::assert_snapshot;
    use proptest::prelude::*;

    const KCONFIG: &str = "\
menu \"Checks\"
config DEBUG_LIST
\tbool \"Debug linked lists\"
\tdepends on DEBUG_KERNEL || BUG_ON_DATA_CORRUPTION
\tselect LIST_HARDENED if EXPERT
\thelp
\t  config of the lists

\t  if in doubt say N

if EXPERT
config SLUB_TINY
\tbool \"small\"
\tdepends on SLUB && !COMPILE_TEST
endif

config LIST_HARDENED
\tbool

config HZ
\tint
endmenu
";

    fn options() -> Options {
        let mut options = Options::default();
        options.read("lib/Kconfig.debug", KCONFIG);
        options
    }

    fn told(asked: &[&str], config: &str) -> String {
        let asked: Vec<KernelOption> = asked.iter().map(|a| a.parse().unwrap()).collect();
        let unmet = explain(&asked, config, &options());
        let lines: Vec<String> = unmet.iter().map(ToString::to_string).collect();
        lines.join("\n")
    }

    #[test]
    fn each_way_to_be_not_met_is_told_apart() {
        let config = "CONFIG_DEBUG_LIST=y\nCONFIG_LIST_HARDENED=y\nCONFIG_HZ=250\n# CONFIG_SLUB_TINY is not set\n";
        let asked = [
            "+DEBUG_LITS",
            "+SLUB_TINY",
            "-LIST_HARDENED",
            "HZ=100",
            "+DEBUG_LIST",
            "-SMP",
        ];
        assert_snapshot!(told(&asked, config), @r"
        option DEBUG_LITS is unknown; did you mean DEBUG_LIST?
        +SLUB_TINY did not hold: SLUB_TINY is in lib/Kconfig.debug and depends on EXPERT && SLUB && !COMPILE_TEST
        -LIST_HARDENED did not hold: LIST_HARDENED is turned on by DEBUG_LIST
        HZ=100 did not hold: it is 250
        ");
        assert_eq!(told(&["-SLUB_TINY", "-NEVER_HEARD_OF"], config), "");
    }

    #[test]
    fn what_is_turned_off_must_exist_too() {
        let asked: Vec<KernelOption> = ["-DEBUG_LSIT", "-HZ"].map(|a| a.parse().unwrap()).into();
        let unknown: Vec<String> = unknown(&asked, &options())
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            unknown,
            ["option DEBUG_LSIT is unknown; did you mean DEBUG_LIST?"]
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read(kconfig in "\\PC{0,200}", config in "\\PC{0,200}") {
            let mut options = Options::default();
            options.read("Kconfig", &kconfig);
            let asked: [KernelOption; 2] = ["+A", "-B"].map(|a| a.parse().unwrap());
            let differs = differs(&asked, &config);
            prop_assert_eq!(explain(&asked, &config, &options).len(), differs.len());
        }
    }
}
