//! A matrix: ports × variants × suites, as a file in `matrices/` says it.
//!
//! The shape is [`Matrix`]; [`Matrix::check`] finds what the shape cannot say. Nothing is read
//! here: who has the file hands its value in, who has the manifests hands the ports' names in.
//! What a suite's project file adds is joined in [`super::resolve`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};

use super::baseline::Baseline;
use super::kernels::{self, System};
use super::policy::{Adaptive, Order, Repeats, Runner, Shards};
pub use super::release::{Costs, ReleaseAt};
use crate::model::problem::{Problem, did_you_mean};
use crate::model::project::{
    BuildSpec, Project, Source, check_format, check_guest_path, check_known, check_name,
};
use crate::model::units::{de_duration, de_size, ser_duration};
use crate::model::{AccelWish, Clock, KernelOption};

/// The kernel variant that every suite can run on: the image's kernel, or that of the suite's
/// `kernel` with no options but the project's own.
pub const STOCK: &str = "stock";

/// A matrix file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Matrix {
    /// Version of the file's form: 1.
    pub format: u32,
    /// The matrix's name.
    pub name: String,
    /// One sentence for people.
    #[serde(default)]
    pub description: String,
    /// The release that the images of ports with one are made of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseAt>,
    /// What a run costs, said before it starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub costs: Option<Costs>,
    /// The ports, in the order in which tables show them.
    pub ports: Vec<String>,
    /// Kernel variants, in the order in which tables show them.
    #[serde(default = "stock")]
    pub variants: Vec<String>,
    /// By variant, the options that it adds to or removes from the configuration of a suite's
    /// `kernel`. Every variant but `stock` has some.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub kernel_options: BTreeMap<String, Vec<KernelOption>>,
    /// Points of the matrix that are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<Exclude>,
    /// The suites.
    pub suites: Vec<SuiteSpec>,
    /// A registry of failures that are known to come and go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known_flakes: Option<Utf8PathBuf>,
    /// What may be spent on attempts that tell what the passes have left open; nothing where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adaptive: Option<Adaptive>,
    /// What runs guests whose instructions are the host's own.
    #[serde(default, skip_serializing_if = "AccelWish::is_tcg")]
    pub accel: AccelWish,
    /// What a run may use.
    #[serde(default)]
    pub limits: Limits,
    /// What is tried again.
    #[serde(default)]
    pub retries: Retries,
}

/// Cells left out: all those that every given field fits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exclude {
    /// A port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    /// A variant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// A suite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suite: Option<String>,
    /// Why, for whoever reads the file.
    pub reason: String,
}

impl Exclude {
    /// Whether a point of the matrix is left out by this.
    pub fn fits(&self, suite: &str, port: &str, variant: &str) -> bool {
        let fit = |given: &Option<String>, word: &str| given.as_deref().is_none_or(|g| g == word);
        fit(&self.suite, suite) && fit(&self.port, port) && fit(&self.variant, variant)
    }
}

/// A suite: a project of its own file, or source and build written here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SuiteSpec {
    /// The suite's name in this matrix.
    pub name: String,
    /// A project file; then `source`, `build` and `cases` stand there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<Utf8PathBuf>,
    /// Where the source comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// A quilt `series` file, or mails of `git format-patch --stdout`; with a project file, it replaces that one's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patches: Option<Utf8PathBuf>,
    /// How it is built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<BuildSpec>,
    /// The directory in the guest that has the cases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cases: Option<String>,
    /// The same where the port's image has them already and nothing is built: `/usr/tests/kernel`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installed: Option<String>,
    /// A project file of kind `kbuild`: the kernel that the suite's guests boot instead of their
    /// image's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<Utf8PathBuf>,
    /// Ports for which the kernel is built and nothing is booted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kernel_only: Vec<String>,
    /// Whether the rest of the system comes from the kernel's tree too.
    #[serde(default, skip_serializing_if = "System::is_image")]
    pub system: System,
    /// What the candidate is compared with.
    #[serde(default)]
    pub baseline: Baseline,
    /// How often the whole suite is executed in a cell.
    #[serde(default = "one")]
    pub passes: u32,
    /// The order of the cases in a pass.
    #[serde(default)]
    pub order: Order,
    /// From what the bytes are drawn with which every other pass finds new memory filled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_seed: Option<u64>,
    /// Over how many guests of one cell the suite is cut.
    #[serde(default)]
    pub shards: Shards,
    /// What is executed again in fresh guests.
    #[serde(default)]
    pub repeats: Repeats,
    /// The time limit of a cell, from its first guest's start; stretched by the port's slowness.
    #[serde(
        default = "cell_timeout",
        deserialize_with = "de_duration",
        serialize_with = "ser_duration"
    )]
    pub timeout: Duration,
    /// What runs the cases in the guest.
    #[serde(default)]
    pub runner: Runner,
    /// By what the guests' clocks go.
    #[serde(default, skip_serializing_if = "Clock::is_host")]
    pub clock: Clock,
    /// Only these of the matrix's ports; all where empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<String>,
}

/// What a run may use. What is absent is taken from the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Cores for all jobs together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cores: Option<u32>,
    /// Memory for all jobs together, in bytes (`6GiB`).
    #[serde(
        default,
        rename = "memory",
        deserialize_with = "some_size",
        serialize_with = "ser_some_size",
        skip_serializing_if = "Option::is_none"
    )]
    pub memory_bytes: Option<u64>,
    /// The most that is kept of one guest's console, in bytes.
    #[serde(
        default = "console",
        rename = "console",
        deserialize_with = "de_size",
        serialize_with = "ser_size"
    )]
    pub console_bytes: u64,
    /// The most that one guest may send over the agent's channel, in bytes.
    #[serde(
        default = "channel",
        rename = "channel",
        deserialize_with = "de_size",
        serialize_with = "ser_size"
    )]
    pub channel_bytes: u64,
    /// The most that is kept of one case's output, in bytes.
    #[serde(
        default = "output",
        rename = "output",
        deserialize_with = "de_size",
        serialize_with = "ser_size"
    )]
    pub output_bytes: u64,
    /// The most that is kept of saved guests in the cache, in bytes; 0 for none: guests are booted
    /// then.
    #[serde(
        default = "snapshots",
        rename = "snapshots",
        deserialize_with = "de_size",
        serialize_with = "ser_size"
    )]
    pub snapshots_bytes: u64,
    /// Guests that may die in one cell: each crash or hang costs one.
    #[serde(default = "guests")]
    pub guests: u32,
    /// Guests in a row that may die without a case's end in between.
    #[serde(default = "deaths")]
    pub deaths: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            cores: None,
            memory_bytes: None,
            console_bytes: console(),
            channel_bytes: channel(),
            output_bytes: output(),
            snapshots_bytes: snapshots(),
            guests: guests(),
            deaths: deaths(),
        }
    }
}

/// What is tried again, and how often.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retries {
    /// A job that ended by a fault of the host or the emulator.
    #[serde(default = "one")]
    pub host_fault: u32,
    /// A guest that did not come up in time.
    #[serde(default = "one")]
    pub boot: u32,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            host_fault: 1,
            boot: 1,
        }
    }
}

fn stock() -> Vec<String> {
    vec![STOCK.to_owned()]
}

fn one() -> u32 {
    1
}

fn cell_timeout() -> Duration {
    Duration::from_secs(20 * 60)
}

fn console() -> u64 {
    16 << 20
}

fn channel() -> u64 {
    256 << 20
}

fn output() -> u64 {
    64 << 10
}

fn snapshots() -> u64 {
    4 << 30
}

fn guests() -> u32 {
    32
}

fn deaths() -> u32 {
    6
}

fn some_size<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Option<u64>, D::Error> {
    de_size(d).map(Some)
}

fn ser_size<S: serde::Serializer>(bytes: &u64, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(&format!("{bytes}B"))
}

fn ser_some_size<S: serde::Serializer>(bytes: &Option<u64>, s: S) -> Result<S::Ok, S::Error> {
    match bytes {
        Some(bytes) => ser_size(bytes, s),
        None => s.serialize_none(),
    }
}

/// The most passes over a suite in a cell.
const MAX_PASSES: u32 = 1000;

impl Matrix {
    /// What is wrong beyond what the file's shape says; `known` are the names of the ports that
    /// have a manifest. Empty when all is well.
    pub fn check(&self, known: &[&str]) -> Vec<Problem> {
        let mut found = Vec::new();
        check_format(self.format, &mut found);
        check_name("name", &self.name, &mut found);

        if let Some(release) = &self.release {
            release.check(&mut found);
        }
        let ports: Vec<&str> = self.ports.iter().map(String::as_str).collect();
        not_empty("ports", "port", &ports, &mut found);
        no_doubles("ports", &ports, &mut found);
        check_known("ports", "port", &ports, known, &mut found);

        let variants: Vec<&str> = self.variants.iter().map(String::as_str).collect();
        not_empty("variants", "variant", &variants, &mut found);
        no_doubles("variants", &variants, &mut found);
        kernels::check(self, &mut found);

        let suites: Vec<&str> = self.suites.iter().map(|s| s.name.as_str()).collect();
        not_empty("suites", "suite", &suites, &mut found);
        for (i, suite) in self.suites.iter().enumerate() {
            let at = format!("suites[{i}]");
            if suites[..i].contains(&suite.name.as_str()) {
                found.push(Problem::new(
                    format!("{at}.name"),
                    format!("'{}' is the name of an earlier suite", suite.name),
                ));
            }
            suite.check(&at, &ports, &mut found);
        }

        for (i, exclude) in self.exclude.iter().enumerate() {
            let at = format!("exclude[{i}]");
            exclude.check(&at, [&ports, &variants, &suites], &mut found);
        }
        if let Some(adaptive) = &self.adaptive {
            adaptive.check(&mut found);
        }
        self.limits.check(&mut found);
        found
    }

    /// The ports of a suite, in the matrix's order, with the variants that are not excluded. A suite
    /// without a kernel of its own runs on the stock one alone.
    pub fn points<'a>(&'a self, suite: &'a SuiteSpec) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.ports
            .iter()
            .filter(|port| suite.ports.is_empty() || suite.ports.contains(port))
            .flat_map(|port| {
                let variants = self.variants.iter().map(String::as_str);
                variants.map(move |variant| (port.as_str(), variant))
            })
            .filter(|(_, variant)| suite.kernel.is_some() || *variant == STOCK)
            .filter(|(port, variant)| {
                !self
                    .exclude
                    .iter()
                    .any(|e| e.fits(&suite.name, port, variant))
            })
    }
}

impl SuiteSpec {
    fn check(&self, at: &str, ports: &[&str], found: &mut Vec<Problem>) {
        check_name(&format!("{at}.name"), &self.name, found);
        self.check_origin(at, found);
        if !(1..=MAX_PASSES).contains(&self.passes) {
            found.push(Problem::new(
                format!("{at}.passes"),
                format!("is {}: expected 1 to {MAX_PASSES}", self.passes),
            ));
        }
        for (field, times) in [
            ("failed", self.repeats.failed),
            ("crashed", self.repeats.crashed),
        ] {
            if times > Repeats::MOST {
                found.push(Problem::new(
                    format!("{at}.repeats.{field}"),
                    format!("is {times}: expected 0 to {}", Repeats::MOST),
                ));
            }
        }
        if self.timeout.is_zero() {
            let message = "is zero: expected for example 20m";
            found.push(Problem::new(format!("{at}.timeout"), message));
        }
        let own: Vec<&str> = self.ports.iter().map(String::as_str).collect();
        let field = format!("{at}.ports");
        no_doubles(&field, &own, found);
        check_known(&field, "port of this matrix", &own, ports, found);
        kernels::check_suite(self, at, ports, found);
    }

    /// Either a project file, or source and build; what a project file says is not said twice.
    fn check_origin(&self, at: &str, found: &mut Vec<Problem>) {
        let here = [
            ("source", self.source.is_some()),
            ("build", self.build.is_some()),
        ];
        if let Some(dir) = &self.installed {
            check_guest_path(&format!("{at}.installed"), dir, found);
            let others = [
                ("project", self.project.is_some()),
                ("patches", self.patches.is_some()),
                ("cases", self.cases.is_some()),
            ];
            for (field, _) in here.iter().chain(&others).filter(|(_, given)| *given) {
                let message = "is nothing beside installed: the image has the cases";
                found.push(Problem::new(format!("{at}.{field}"), message));
            }
            if self.baseline == Baseline::Unpatched && self.kernel.is_none() {
                found.push(no_patches(at));
            }
            return;
        }
        if self.project.is_some() {
            for (field, _) in here.iter().filter(|(_, given)| *given) {
                found.push(Problem::new(
                    format!("{at}.{field}"),
                    "stands in the project file already: expected either project or source and build",
                ));
            }
            return;
        }
        for (field, _) in here.iter().filter(|(_, given)| !*given) {
            found.push(Problem::new(
                format!("{at}.{field}"),
                "is missing: expected either project or source and build",
            ));
        }
        if let Some(project) = self.inline_project() {
            found.extend(project.check().into_iter().map(|p| Problem {
                path: format!("{at}.{}", p.path),
                ..p
            }));
        }
        // Without a source or a way to build it, the suite is not there yet.
        let begun = here.iter().any(|(_, given)| *given);
        let patched = self.patches.is_some() || self.kernel.is_some();
        if begun && self.baseline == Baseline::Unpatched && !patched {
            found.push(no_patches(at));
        }
    }

    /// The project that is written in the matrix itself, where one is.
    pub fn inline_project(&self) -> Option<Project> {
        if let Some(dir) = &self.installed {
            return Some(Project {
                format: 1,
                name: "installed".to_owned(),
                description: String::new(),
                source: Source::default(),
                patches: None,
                build: BuildSpec::installed(dir),
                cases: None,
            });
        }
        Some(Project {
            format: 1,
            name: "inline".to_owned(),
            description: String::new(),
            source: self.source.clone()?,
            patches: self.patches.clone(),
            build: self.build.clone()?,
            cases: self.cases.clone(),
        })
    }
}

/// A baseline without patches that is nothing else than the candidate.
pub(super) fn no_patches(at: &str) -> Problem {
    Problem::new(
        format!("{at}.baseline"),
        "is unpatched, but there are no patches: both sides would be the same",
    )
    .help("give patches, or baseline: none".to_owned())
}

impl Exclude {
    fn check(&self, at: &str, known: [&[&str]; 3], found: &mut Vec<Problem>) {
        let given = [
            ("port", &self.port, known[0]),
            ("variant", &self.variant, known[1]),
            ("suite", &self.suite, known[2]),
        ];
        if given.iter().all(|(_, word, _)| word.is_none()) {
            let message = "leaves everything out: expected port, variant or suite";
            found.push(Problem::new(at, message));
        }
        for (field, word, known) in given {
            let Some(word) = word else { continue };
            if !known.contains(&word.as_str()) {
                let mut unique: Vec<&str> = known.to_vec();
                unique.dedup();
                let known_words = unique.join(", ");
                found.push(
                    Problem::new(
                        format!("{at}.{field}"),
                        format!(
                            "no {field} '{word}' in this matrix: expected one of {known_words}"
                        ),
                    )
                    .help(did_you_mean(word, known.iter().copied())),
                );
            }
        }
    }
}

impl Limits {
    fn check(&self, found: &mut Vec<Problem>) {
        let zero = [
            ("cores", self.cores == Some(0)),
            ("guests", self.guests == 0),
            ("deaths", self.deaths == 0),
        ];
        for (field, _) in zero.iter().filter(|(_, zero)| *zero) {
            found.push(Problem::new(
                format!("limits.{field}"),
                "is 0: expected 1 or more",
            ));
        }
        let least = [
            (
                "memory",
                self.memory_bytes.unwrap_or(u64::MAX),
                128 << 20,
                "128MiB",
            ),
            ("console", self.console_bytes, 64 << 10, "64KiB"),
            ("channel", self.channel_bytes, 1 << 20, "1MiB"),
            ("output", self.output_bytes, 1 << 10, "1KiB"),
        ];
        for (field, bytes, least, text) in least {
            if bytes < least {
                found.push(Problem::new(
                    format!("limits.{field}"),
                    format!("is too small: expected {text} or more"),
                ));
            }
        }
    }
}

fn not_empty(at: &str, what: &str, words: &[&str], found: &mut Vec<Problem>) {
    if words.is_empty() {
        found.push(Problem::new(
            at,
            format!("is empty: expected at least one {what}"),
        ));
    }
}

pub(super) fn no_doubles(at: &str, words: &[&str], found: &mut Vec<Problem>) {
    let mut seen = BTreeSet::new();
    for (i, word) in words.iter().enumerate() {
        if !seen.insert(word) {
            found.push(Problem::new(
                format!("{at}[{i}]"),
                format!("'{word}' stands there twice"),
            ));
        }
    }
}

#[cfg(test)]
mod tests;
