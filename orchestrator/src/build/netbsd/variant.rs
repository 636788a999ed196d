//! Configurations of kernel variants: pure.
//!
//! A variant is a small configuration of ours that includes one of the tree's. config(1) refuses to
//! remove an option that is not set and to set one twice, so what is in force already is read first.
//! An option that no file of the tree defines it takes in silence and hands to the compiler, where
//! nothing asks for it: such a one is told here, with the name that is nearest to it.
//!
//! Deliberately not read: `ifdef` in a configuration. What stands in one counts as said.

use std::collections::{BTreeMap, BTreeSet};

use crate::build::kernel::Unmet;
use crate::model::KernelVariant;
use crate::model::problem::nearest;

/// How deep configurations include each other.
const DEPTH_MAX: u32 = 16;
/// What defines options in `files.*`.
const DEFINING: [&str; 4] = ["defflag", "defparam", "defopt", "deffs"];

/// The options that a tree knows: those that its `files.*` define, and those that one of its
/// configurations sets or offers in a comment, which the compiler alone knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known(BTreeSet<String>);

impl Known {
    /// Reads one of `files`, `files.*`, or a configuration.
    pub fn read(&mut self, text: &str) {
        let mut defines = false;
        for line in text.lines() {
            let continued = line.starts_with([' ', '\t']);
            let plain = line.split('#').next().unwrap_or("");
            let mut words = plain.split_whitespace().peekable();
            if words.peek() == Some(&"obsolete") {
                words.next();
            }
            if words.peek().is_some_and(|word| DEFINING.contains(word)) {
                words.next();
                defines = true;
            } else if !continued {
                defines = false;
            }
            if defines {
                self.define(words);
            }
            if let Some(name) = offered(line) {
                self.0.insert(name.to_owned());
            }
        }
    }

    /// `opt_x.h NAME OTHER=value : needs, these`
    fn define<'a>(&mut self, words: impl Iterator<Item = &'a str>) {
        for word in words {
            if word.starts_with(':') && word != ":=" {
                break;
            }
            let last = word.ends_with(':');
            let name = word.split(['=', ':']).next().unwrap_or("");
            if is_name(name) {
                self.0.insert(name.to_owned());
            }
            if last {
                break;
            }
        }
    }

    /// What a variant asks for and nothing knows.
    pub fn unknown(&self, variant: &KernelVariant) -> Vec<Unmet> {
        let missing = variant.options.iter().filter(|o| !self.0.contains(&o.name));
        missing
            .map(|asked| Unmet::Unknown {
                asked: asked.clone(),
                near: nearest(&asked.name, self.0.iter().map(String::as_str)).map(str::to_owned),
            })
            .collect()
    }
}

fn is_name(word: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && word.bytes().all(plain)
}

/// The option of `options NAME`, `#options NAME=1`, `no options NAME`.
fn offered(line: &str) -> Option<&str> {
    let line = line.trim_start_matches('#').trim_start();
    let line = line.strip_prefix("no ").unwrap_or(line).trim_start();
    let rest = line.strip_prefix("options")?;
    let word = rest.strip_prefix([' ', '\t'])?.split_whitespace().next()?;
    let name = word.split(['=', ',']).next()?;
    is_name(name).then_some(name)
}

/// What a configuration and those that it includes set: options and make options, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InForce {
    options: BTreeMap<String, String>,
    makeoptions: BTreeSet<String>,
}

impl InForce {
    /// Reads a configuration; `read` gives a file below `sys`.
    pub fn of(path: &str, read: &dyn Fn(&str) -> Option<String>) -> Self {
        let mut found = Self::default();
        found.add(path, read, 0);
        found
    }

    fn add(&mut self, path: &str, read: &dyn Fn(&str) -> Option<String>, depth: u32) {
        if depth > DEPTH_MAX {
            return;
        }
        for line in read(path).unwrap_or_default().lines() {
            let line = line.split('#').next().unwrap_or("");
            let (word, rest) = cut(line);
            match word {
                "include" | "cinclude" => {
                    self.add(rest.trim().trim_matches('"'), read, depth + 1);
                }
                "options" => {
                    for one in rest.split(',') {
                        let (name, value) = one.split_once('=').unwrap_or((one, "y"));
                        let value = value.trim().to_owned();
                        self.options.insert(name.trim().to_owned(), value);
                    }
                }
                "makeoptions" => {
                    for one in rest.split(',') {
                        let name = one.split(['=', '+']).next().unwrap_or("");
                        self.makeoptions.insert(name.trim().to_owned());
                    }
                }
                "no" => {
                    let (what, names) = cut(rest);
                    for name in names.split(',').map(str::trim) {
                        match what {
                            "options" => drop(self.options.remove(name)),
                            "makeoptions" => drop(self.makeoptions.remove(name)),
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
    }
}

fn cut(line: &str) -> (&str, &str) {
    let line = line.trim();
    let (word, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    (word, rest.trim())
}

/// The path of a machine's configuration below `sys`.
pub fn config_path(machine: &str, config: &str) -> String {
    format!("arch/{machine}/conf/{config}")
}

/// The text of a variant's configuration. Where nothing needs to be changed it says so in a comment.
pub fn text(name: &str, machine: &str, variant: &KernelVariant, now: &InForce) -> String {
    let mut text = format!("# {name}: {} changed by fallout\n", variant.config);
    text += &format!("include \"{}\"\n", config_path(machine, &variant.config));
    for option in &variant.options {
        let set = now.options.get(&option.name);
        if option.is_off() {
            match set {
                Some(_) => text += &format!("no options {}\n", option.name),
                None => text += &format!("# {option}: is off there\n"),
            }
            continue;
        }
        if set == Some(&option.value) {
            text += &format!("# {option}: is so there\n");
            continue;
        }
        if set.is_some() {
            text += &format!("no options {}\n", option.name);
        }
        text += &match option.value.as_str() {
            "y" => format!("options {}\n", option.name),
            value => format!("options {}={value}\n", option.name),
        };
    }
    for (option, value) in &variant.makeoptions {
        if now.makeoptions.contains(option) {
            text += &format!("no makeoptions {option}\n");
        }
        text += &format!("makeoptions {option}=\"{value}\"\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn variant(options: &[&str]) -> KernelVariant {
        KernelVariant {
            config: "GENERIC".to_owned(),
            options: options.iter().map(|o| o.parse().unwrap()).collect(),
            makeoptions: BTreeMap::new(),
        }
    }

    const FILES: &str = "\
version 20100430
devclass disk
defflag\t\t\t\tKTRACE
defflag opt_sched.h\tSCHED_4BSD SCHED_M2
\t\t\tSCHED_CONT
define audiobus {}
\tNOTOPT
defparam opt_kgdb.h\tKGDB_DEV KGDB_RATE=38400
obsolete defflag\tOLDONE
defflag opt_x.h\tNEEDY: other, words
deffs\tFFS MFS
";

    #[test]
    fn options_are_known_by_definition_or_by_a_configuration() {
        let mut known = Known::default();
        known.read(FILES);
        known.read("include \"arch/x/conf/std\"\n#options \tDEBUG\t# words\noptions DIAGNOSTIC\n");
        let names: Vec<&str> = known.0.iter().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                "DEBUG",
                "DIAGNOSTIC",
                "FFS",
                "KGDB_DEV",
                "KGDB_RATE",
                "KTRACE",
                "MFS",
                "NEEDY",
                "OLDONE",
                "SCHED_4BSD",
                "SCHED_CONT",
                "SCHED_M2"
            ]
        );
        let unknown = known.unknown(&variant(&["+DIAGNOSTC", "-KTRACE", "+ZZZ"]));
        let told: Vec<String> = unknown.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "option DIAGNOSTC is unknown; did you mean DIAGNOSTIC?",
                "option ZZZ is unknown"
            ]
        );
    }

    #[test]
    fn nothing_is_set_twice_or_removed_where_it_is_not() {
        let read = |path: &str| match path {
            "arch/vaxen/conf/GENERIC" => Some(
                "include \"conf/std\"\noptions DIAGNOSTIC # x\noptions A, B=2\nno options OLD\n\
                 #options DEBUG\nmakeoptions COPTS=\"-O2\"\n"
                    .to_owned(),
            ),
            "conf/std" => Some("options KTRACE\noptions OLD\ninclude \"conf/std\"\n".to_owned()),
            _ => None,
        };
        let now = InForce::of(&config_path("vaxen", "GENERIC"), &read);
        let mut asked = variant(&[
            "-DIAGNOSTIC",
            "+DEBUG",
            "-OLD",
            "+KTRACE",
            "B=3",
            "HZ=1000",
            "-KTRACE",
        ]);
        asked.makeoptions.insert("COPTS".into(), "-O1".into());
        asked.makeoptions.insert("KASAN".into(), "1".into());
        insta::assert_snapshot!(text("checked", "vaxen", &asked, &now), @r#"
        # checked: GENERIC changed by fallout
        include "arch/vaxen/conf/GENERIC"
        no options DIAGNOSTIC
        options DEBUG
        # -OLD: is off there
        # +KTRACE: is so there
        no options B
        options B=3
        options HZ=1000
        no options KTRACE
        no makeoptions COPTS
        makeoptions COPTS="-O1"
        makeoptions KASAN="1"
        "#);
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "(\\PC|\n|\t){0,300}") {
            let mut known = Known::default();
            known.read(&text);
            prop_assert!(known.0.iter().all(|name| is_name(name)));
            let read = |_: &str| Some(text.clone());
            InForce::of("x", &read);
        }
    }
}
