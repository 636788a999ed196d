//! Kernels of suites: what a matrix may ask of them, and their jobs.
//!
//! A kernel is built from its project's tree and fragments, with the options of the variant on top;
//! the candidate has the project's patch series too. It needs no image, so it is built beside it. The
//! first kernel of each port starts before all others: those that follow go on from its objects.
//! Where the suite wants it, the rest of the system is built from the same tree, in the same job.
//!
//! Whether an option exists is not known here: a kernel's own configuration tells, when it is built.

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};

use super::graph::{COMPILER_MIB, Draft, Maker, SourceFact, as_text, inputs, ports_of};
use super::job::{INPUT_KERNEL, INPUT_SOURCE, JobIx, Work};
use super::matrix::{Matrix, STOCK, SuiteSpec, no_doubles};
use super::resolve::{Resolved, Suite};
use crate::model::port::ReleaseSpec;
use crate::model::problem::{Problem, did_you_mean};
use crate::model::project::{BuildKind, check_known, check_name};
use crate::model::{CellId, KernelOption, KernelVariant, Key, Port, PortName, Project, Side};

/// Compilers that one kernel gets at most.
const CORES_MAX: u32 = 8;

/// What is known of a suite's kernel before anything runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KernelFact {
    /// Its source and series.
    pub source: SourceFact,
    /// The hash of what drives the kernel's makefiles.
    pub script: Option<Key>,
    /// By port the fragments of its configuration, by file name, with the hash of each; a fragment
    /// that is not there has none.
    pub fragments: BTreeMap<PortName, BTreeMap<String, Option<Key>>>,
}

/// Where the system around a suite's kernel comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum System {
    /// The port's image.
    #[default]
    Image,
    /// The kernel's tree, built like the kernel: with the series for the candidate, without it for the
    /// baseline.
    Built,
}

impl System {
    /// Whether it is the port's image.
    pub fn is_image(&self) -> bool {
        *self == Self::Image
    }
}

/// Finds what is wrong with a matrix's variants.
pub(super) fn check(matrix: &Matrix, found: &mut Vec<Problem>) {
    for (i, variant) in matrix.variants.iter().enumerate() {
        let at = format!("variants[{i}]");
        check_name(&at, variant, found);
        if variant != STOCK && !matrix.kernel_options.contains_key(variant) {
            let message = format!(
                "kernel variant '{variant}' is not described: expected {STOCK}, or its options in \
                 kernel_options.{variant}"
            );
            let known = matrix.kernel_options.keys().map(String::as_str);
            let help = did_you_mean(variant, known.chain([STOCK]));
            found.push(Problem::new(at, message).help(help));
        }
    }
    for (variant, options) in &matrix.kernel_options {
        let at = format!("kernel_options.{variant}");
        if variant == STOCK {
            let message = "has no options of its own: they stand in the kernel's project";
            found.push(Problem::new(&at, message));
        } else if !matrix.variants.contains(variant) {
            let message = format!("is no variant of this matrix: expected '{variant}' in variants");
            found.push(Problem::new(&at, message));
        }
        if options.is_empty() {
            let message = "is empty: expected options, for example [+DEBUG_LIST, -SMP]";
            found.push(Problem::new(&at, message));
        }
        let mut seen = BTreeSet::new();
        for (i, option) in options.iter().enumerate() {
            if !seen.insert(&option.name) {
                let message = format!("{} stands there twice", option.name);
                found.push(Problem::new(format!("{at}[{i}]"), message));
            }
        }
    }
}

/// Finds what is wrong with a suite's kernel, as far as the matrix alone tells.
pub(super) fn check_suite(suite: &SuiteSpec, at: &str, ports: &[&str], found: &mut Vec<Problem>) {
    let own: Vec<&str> = suite.kernel_only.iter().map(String::as_str).collect();
    let field = format!("{at}.kernel_only");
    no_doubles(&field, &own, found);
    check_known(&field, "port of this matrix", &own, ports, found);
    if !own.is_empty() && suite.kernel.is_none() {
        let message = "has no kernel to build: expected the suite's kernel beside it";
        found.push(Problem::new(field, message));
    }
    if suite.system == System::Built && suite.kernel.is_none() {
        let message = "is built, and from what is not said: expected the suite's kernel beside it";
        found.push(Problem::new(format!("{at}.system"), message));
    }
}

/// Why a project of this kind is no suite.
pub(super) fn not_a_suite(kind: BuildKind) -> &'static str {
    match kind {
        BuildKind::Kbuild => {
            "builds a kernel, which has no cases: expected a project of kind make here, and this one \
             as the suite's kernel"
        }
        BuildKind::Make | BuildKind::Netbsd | BuildKind::Installed => {
            "builds a release or its kernel, which has no cases: expected a project of kind make here, \
             or `installed` for the release's own, and this one as the suite's kernel"
        }
    }
}

/// Finds what is wrong with a suite's kernel for the ports that it is built for.
pub(super) fn check_resolved(
    at: &str,
    kernel: &Project,
    system: System,
    ports: &[&Port],
) -> Vec<Problem> {
    let kind = kernel.build.kind;
    if system == System::Built {
        let at = format!("{at}.system");
        if kind != BuildKind::Netbsd {
            let message = format!(
                "is built from the kernel's project, which is of kind {}: expected one of kind netbsd",
                kind.word()
            );
            return vec![Problem::new(at, message)];
        }
        let foreign = |port: &&&Port| {
            let release = port.image.release.as_ref();
            release.is_some_and(|release| release.machines().len() > 1)
        };
        if let Some(port) = ports.iter().find(foreign) {
            let message = format!(
                "cannot be built for {}: its image has sets of another port too; expected a release",
                port.port
            );
            return vec![Problem::new(at, message)];
        }
    }
    let at = format!("{at}.kernel");
    if !matches!(kind, BuildKind::Kbuild | BuildKind::Netbsd) {
        let message = format!(
            "is a project of kind {}: expected one of kind kbuild or netbsd",
            kind.word()
        );
        return vec![Problem::new(at, message)];
    }
    let of_release = |port: &&Port| port.image.release.is_some();
    let unfit = |port: &&&Port| of_release(port) != (kind == BuildKind::Netbsd);
    let unfit = ports.iter().filter(unfit);
    let told = unfit.map(|port| {
        let expected = if of_release(port) {
            "netbsd"
        } else {
            "kbuild"
        };
        let message = format!(
            "is a project of kind {}, which builds no kernel for {}: expected one of kind {expected}",
            kind.word(),
            port.port
        );
        Problem::new(&at, message)
    });
    let told: Vec<Problem> = told.collect();
    if !told.is_empty() {
        return told;
    }
    if kind == BuildKind::Netbsd {
        return match kernel.source.git {
            Some(_) => Vec::new(),
            None => {
                let message = "has no source.git: expected the repository that build.sh is run on";
                vec![Problem::new(&at, message)]
            }
        };
    }
    let lacks = |port: &&&Port| {
        port.toolchain.kernel_arch.is_none() || port.toolchain.kernel_image.is_none()
    };
    let lacking = ports.iter().filter(lacks);
    let told = lacking.map(|port| {
        let message = format!(
            "cannot be built for {}: its manifest has no toolchain.kernel_arch and kernel_image",
            port.port
        );
        Problem::new(&at, message)
    });
    told.collect()
}

/// The fragments of a kernel's configuration for a port, as paths.
pub fn fragments(kernel: &Project, port: &PortName) -> Vec<Utf8PathBuf> {
    let fill = |path: &Utf8PathBuf| path.as_str().replace("{port}", port.as_str()).into();
    kernel.build.config.iter().map(fill).collect()
}

/// The kernel of a release's port: the configuration's name, and what makes it one of ours where the
/// tree has none of that name. The matrix's options stand on those that the project's own variant of
/// this name has.
pub fn configuration(
    matrix: &Resolved,
    kernel: &Project,
    release: &ReleaseSpec,
    variant: &str,
) -> (String, Option<KernelVariant>) {
    let own = kernel.build.kernels.get(variant);
    let options = matrix.kernel_options.get(variant);
    if own.is_none() && options.is_none() {
        return (release.kernel.clone(), None);
    }
    let mut made = own.cloned().unwrap_or_else(|| KernelVariant {
        config: release.kernel.clone(),
        options: Vec::new(),
        makeoptions: BTreeMap::new(),
    });
    made.options = merged(made.options.iter(), options);
    (variant.to_owned(), Some(made))
}

/// The options beyond the fragments: the project's, then the variant's.
pub fn options(matrix: &Resolved, kernel: &Project, variant: &str) -> Vec<KernelOption> {
    let more = matrix.kernel_options.get(variant);
    merged(kernel.build.options.iter(), more)
}

/// Options of which the later wins.
fn merged<'a>(
    own: impl Iterator<Item = &'a KernelOption>,
    more: Option<&'a Vec<KernelOption>>,
) -> Vec<KernelOption> {
    let mut all: Vec<KernelOption> = Vec::new();
    for option in own.chain(more.into_iter().flatten()) {
        all.retain(|earlier| earlier.name != option.name);
        all.push(option.clone());
    }
    all
}

impl Maker<'_> {
    /// Adds the kernels of all suites; gives each cell's.
    pub(super) fn kernels(&mut self, matrix: &Resolved) -> BTreeMap<CellId, JobIx> {
        let with_kernel = || matrix.suites.iter().filter(|s| s.kernel.is_some());
        let ports: BTreeSet<&PortName> = with_kernel()
            .flat_map(|suite| ports_of(suite, matrix))
            .map(|port| &port.port)
            .collect();
        let share = self.facts.cores / u32::try_from(ports.len().max(1)).unwrap_or(u32::MAX);
        let cores = share.clamp(1, CORES_MAX);
        let mut begun = BTreeSet::new();
        let mut jobs = BTreeMap::new();
        for suite in with_kernel() {
            let Some(kernel) = &suite.kernel else {
                continue;
            };
            for point in &suite.points {
                let Some(port) = matrix.port(&point.port) else {
                    continue;
                };
                for &side in suite.sides() {
                    let id = CellId {
                        suite: suite.name.clone(),
                        port: point.port.clone(),
                        variant: point.variant.clone(),
                        side,
                    };
                    let mut draft = self.kernel(matrix, suite, kernel, port, &id);
                    draft.cores = cores;
                    draft.mem_mib = u64::from(cores) * COMPILER_MIB;
                    draft.priority = if begun.insert(&port.port) { 4 } else { 3 };
                    let job = self.add(draft);
                    jobs.insert(id, job);
                }
            }
        }
        jobs
    }

    fn kernel(
        &self,
        matrix: &Resolved,
        suite: &Suite,
        kernel: &Project,
        port: &Port,
        id: &CellId,
    ) -> Draft {
        let fact = self.facts.kernels.get(&suite.name);
        let fact = fact.cloned().unwrap_or_default();
        let own = suite.kernel_source(Side::Baseline) != suite.kernel_source(Side::Candidate);
        let tree = fact.source.on(id.side, own);
        let patches = match suite.kernel_patches(id.side) {
            Some(_) => fact.source.series.map(|k| k.0),
            None => Some("none".to_owned()),
        };
        let options = options(matrix, kernel, &id.variant);
        let words: Vec<String> = options.iter().map(ToString::to_string).collect();
        let compiler = self.facts.compilers.get(&port.port).cloned();
        // Their order counts, the place of their directory does not.
        let files = fragments(kernel, &port.port);
        let names: Vec<&str> = files.iter().filter_map(|f| f.file_name()).collect();
        let mut inputs = inputs([
            (INPUT_SOURCE, tree.map(|k| k.0)),
            ("patches", patches),
            ("options", Some(words.join(" "))),
            (
                "kernel script",
                Some(fact.script.map_or_else(String::new, |k| k.0)),
            ),
            ("build recipe", Some(as_text(&(&names, &kernel.build.env)))),
            ("toolchain", Some(as_text(&port.toolchain))),
            ("compiler", Some(compiler.unwrap_or_default())),
            ("port", Some(port.port.0.clone())),
        ]);
        if let Some(release) = &port.image.release {
            let conf = configuration(matrix, kernel, release, &id.variant);
            let recipe = as_text(&(&release.machine, conf, &kernel.build.variables));
            inputs.insert("configuration".to_owned(), Some(recipe));
        }
        if suite.system == System::Built {
            inputs.insert("system".to_owned(), Some("built".to_owned()));
        }
        for (name, hash) in fact.fragments.get(&port.port).into_iter().flatten() {
            // One that is not there is told by the build.
            let hash = hash.as_ref().map_or_else(String::new, |k| k.0.clone());
            inputs.insert(format!("config {name}"), Some(hash));
        }
        Draft {
            work: Work::Kernel {
                suite: id.suite.clone(),
                port: id.port.clone(),
                variant: id.variant.clone(),
                side: id.side,
            },
            inputs,
            needs: Vec::new(),
            cores: 1,
            mem_mib: COMPILER_MIB,
            priority: 3,
        }
    }

    /// A cell whose kernel is built and not booted.
    pub(super) fn kernel_only(&mut self, id: CellId, kernel: Option<JobIx>) {
        let output = kernel.and_then(|ix| self.output(&self.plan.jobs[ix]));
        let inputs = inputs([
            (INPUT_KERNEL, output.map(|k| k.0)),
            ("booted", Some("no".to_owned())),
            ("cell", Some(id.to_string())),
        ]);
        self.add(Draft {
            work: Work::Cell(id),
            inputs,
            needs: kernel.into_iter().collect(),
            cores: 1,
            mem_mib: 0,
            priority: 2,
        });
    }
}

#[cfg(test)]
mod tests;
