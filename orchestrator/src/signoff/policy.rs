//! What a release asks for: one YAML file. Paths are relative to it.

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use crate::model::Problem;
use crate::model::problem::did_you_mean;
use crate::model::project::{check_format, check_name};
use crate::model::signoff::Waiver;

/// The file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Version of the file's form: 1.
    pub format: u32,
    /// Its name.
    pub name: String,
    /// For people.
    #[serde(default)]
    pub description: String,
    /// The git repository that the branch is in. Without one, runs are found by the revision that
    /// they recorded, and nothing can be said of history.
    #[serde(default)]
    pub repository: Option<Utf8PathBuf>,
    /// Ports on which every suite must have run, with every variant.
    #[serde(default)]
    pub ports: Vec<String>,
    /// Kernel variants that must have run, by their names in the matrix.
    #[serde(default = "stock")]
    pub variants: Vec<Variant>,
    /// Suites that must have run to their end.
    #[serde(default)]
    pub suites: Vec<String>,
    /// What no run of the revision may show.
    #[serde(default = "all_open")]
    pub no_open: Vec<Open>,
    /// Nightly runs that must have been clean.
    #[serde(default)]
    pub nightlies: Option<Nightlies>,
    /// Builds whose set lists must fit.
    #[serde(default)]
    pub set_lists: Option<SetLists>,
    /// Suites of 32-bit programs that must be clean on ports with a 64-bit kernel.
    #[serde(default)]
    pub compat32: Vec<Compat32>,
    /// Ports whose kernels must have been built.
    #[serde(default)]
    pub kernel_only: Vec<String>,
    /// What may not have changed since the branch point.
    #[serde(default)]
    pub freeze: Option<Freeze>,
    /// Who answers for which line.
    #[serde(default)]
    pub waivers: Vec<Waiver>,
}

/// A kernel variant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// Its name in the matrix.
    pub name: String,
    /// Options that it must have: `[DIAGNOSTIC, LOCKDEBUG]`.
    #[serde(default)]
    pub options: Vec<String>,
}

/// What may not be open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Open {
    /// A finding about one architecture alone, whether the baseline knows it or not.
    ArchOnly,
    /// A finding of which the attempts do not yet tell what it is.
    NotYetKnown,
    /// Any finding that the baseline does not know.
    New,
}

impl Open {
    /// The word used in the file and in a line's name.
    pub fn word(self) -> &'static str {
        match self {
            Self::ArchOnly => "arch_only",
            Self::NotYetKnown => "not_yet_known",
            Self::New => "new",
        }
    }
}

/// Nightly runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nightlies {
    /// The name of their matrix.
    pub matrix: String,
    /// How many of the newest must be clean, one after the other.
    pub count: u32,
}

/// Builds whose set lists are checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetLists {
    /// The source tree as it was built.
    pub tree: Utf8PathBuf,
    /// The DESTDIR of each port's build.
    pub destdirs: BTreeMap<String, Utf8PathBuf>,
}

/// 32-bit programs on a 64-bit kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compat32 {
    /// The port.
    pub port: String,
    /// The suite of 32-bit programs.
    pub suite: String,
}

/// What may not have changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Freeze {
    /// The branch point: a commit or tag, or a branch, of which the last common commit is taken.
    pub since: String,
    /// Tables of system calls.
    #[serde(default = "syscalls")]
    pub syscalls: Vec<String>,
    /// Files with versions of libraries.
    #[serde(default = "versions")]
    pub library_versions: Vec<String>,
    /// Set lists.
    #[serde(default = "lists")]
    pub set_lists: Vec<String>,
    /// Builds whose libraries are compared.
    #[serde(default)]
    pub abi: Option<Abi>,
}

/// Two builds whose libraries are compared by their dynamic symbols.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Abi {
    /// The DESTDIR of a build of the branch point.
    pub base: Utf8PathBuf,
    /// The DESTDIR of a build of the revision.
    pub now: Utf8PathBuf,
    /// Which files are libraries.
    #[serde(default = "libraries")]
    pub libraries: Vec<String>,
}

fn stock() -> Vec<Variant> {
    vec![Variant {
        name: "stock".to_owned(),
        options: Vec::new(),
    }]
}

fn all_open() -> Vec<Open> {
    vec![Open::ArchOnly, Open::NotYetKnown, Open::New]
}

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|w| (*w).to_owned()).collect()
}

fn syscalls() -> Vec<String> {
    words(&["sys/kern/syscalls.master"])
}

fn versions() -> Vec<String> {
    words(&["**/shlib_version"])
}

fn lists() -> Vec<String> {
    words(&["distrib/sets/lists/**"])
}

fn libraries() -> Vec<String> {
    words(&["**/lib*.so*"])
}

/// Globs as one set; `*` stays within a path's part, `**` does not.
pub(super) fn globs(list: &[String]) -> Result<globset::GlobSet, String> {
    let mut set = globset::GlobSetBuilder::new();
    for one in list {
        let glob = globset::GlobBuilder::new(one)
            .literal_separator(true)
            .build()
            .map_err(|e| format!("'{one}' is not a glob: {}", e.kind()))?;
        set.add(glob);
    }
    set.build().map_err(|e| e.to_string())
}

impl Freeze {
    /// The lists of paths that are compared by git, by the field's name.
    pub fn paths(&self) -> [(&'static str, &[String]); 3] {
        [
            ("syscalls", &self.syscalls),
            ("library_versions", &self.library_versions),
            ("set_lists", &self.set_lists),
        ]
    }

    /// Which of `paths` a list is about.
    pub fn chosen<'a>(list: &[String], paths: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
        let globs = globs(list).unwrap_or_default();
        paths.filter(|p| globs.is_match(p)).collect()
    }
}

impl Policy {
    /// What is wrong beyond the shape.
    pub fn check(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        check_format(self.format, &mut found);
        check_name("name", &self.name, &mut found);
        if !self.ports.is_empty() && self.suites.is_empty() {
            let message = "is empty, and ports were named: expected the suites that must have run";
            found.push(Problem::new("suites", message));
        }
        if !self.ports.is_empty() && self.variants.is_empty() {
            let message = "is empty: expected for example [{name: stock}]";
            found.push(Problem::new("variants", message));
        }
        if self.nightlies.as_ref().is_some_and(|n| n.count == 0) {
            let message = "is 0: expected at least 1, or no nightlies at all";
            found.push(Problem::new("nightlies.count", message));
        }
        if let Some(freeze) = &self.freeze {
            if self.repository.is_none() {
                let message = "needs a repository: expected the field 'repository'";
                found.push(Problem::new("freeze", message));
            }
            if freeze.since.is_empty() || freeze.since.starts_with('-') {
                let message = "expected a commit, a tag or a branch";
                found.push(Problem::new("freeze.since", message));
            }
            let abi = freeze
                .abi
                .iter()
                .map(|a| ("abi.libraries", &a.libraries[..]));
            for (field, list) in freeze.paths().into_iter().chain(abi) {
                if let Err(why) = globs(list) {
                    found.push(Problem::new(format!("freeze.{field}"), why));
                }
            }
        }
        let lines = self.lines();
        for (i, waiver) in self.waivers.iter().enumerate() {
            if !lines.contains(&waiver.line) {
                let message = format!("this policy has no line '{}'", waiver.line);
                let help = did_you_mean(&waiver.line, lines.iter().map(String::as_str));
                found.push(Problem::new(format!("waivers[{i}].line"), message).help(help));
            }
            for (field, text) in [("by", &waiver.by), ("reason", &waiver.reason)] {
                if text.trim().is_empty() {
                    let message = "is empty: somebody answers for a waiver, with a reason";
                    found.push(Problem::new(format!("waivers[{i}].{field}"), message));
                }
            }
        }
        if lines.is_empty() {
            let message = "asks for nothing: a policy without a line would let everything pass";
            found.push(Problem::new("", message));
        }
        found
    }

    /// The names of all lines, in their order.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for port in &self.ports {
            for variant in &self.variants {
                for suite in &self.suites {
                    lines.push(format!("suites.{suite}.{port}.{}", variant.name));
                }
                lines.push(format!("variants.{port}.{}", variant.name));
            }
        }
        let open = self.no_open.iter();
        lines.extend(open.map(|o| format!("findings.{}", o.word())));
        lines.extend(self.nightlies.iter().map(|_| "nightlies".to_owned()));
        if let Some(sets) = &self.set_lists {
            lines.extend(sets.destdirs.keys().map(|p| format!("set_lists.{p}")));
        }
        let compat = self.compat32.iter();
        lines.extend(compat.map(|c| format!("compat32.{}.{}", c.port, c.suite)));
        lines.extend(self.kernel_only.iter().map(|p| format!("kernels.{p}")));
        if let Some(freeze) = &self.freeze {
            for (field, list) in freeze.paths() {
                lines.extend((!list.is_empty()).then(|| format!("freeze.{field}")));
            }
            lines.extend(freeze.abi.iter().map(|_| "freeze.abi".to_owned()));
        }
        lines
    }

    /// The same with every path joined to `base`.
    #[must_use]
    pub fn below(mut self, base: &Utf8Path) -> Self {
        let join = |path: &mut Utf8PathBuf| *path = base.join(&*path);
        self.repository.iter_mut().for_each(join);
        if let Some(sets) = &mut self.set_lists {
            join(&mut sets.tree);
            sets.destdirs.values_mut().for_each(join);
        }
        if let Some(abi) = self.freeze.as_mut().and_then(|f| f.abi.as_mut()) {
            join(&mut abi.base);
            join(&mut abi.now);
        }
        self
    }
}
