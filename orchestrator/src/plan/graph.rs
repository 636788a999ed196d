//! From a resolved matrix and facts about this machine to a graph of jobs.
//!
//! ```text
//! image PORT -> build SUITE/PORT/SIDE -> cell SUITE/PORT/VARIANT/SIDE
//!      \___________________________________/ /
//!                kernel SUITE/PORT/VARIANT/SIDE   (of a suite that has one)
//! ```
//!
//! Where the kernel's tree gives the whole system, that job makes the image too, and there is no other.
//!
//! Nothing is looked up here: hashes of trees, keys of images, answers of the cache are handed in
//! as [`Facts`]. What is not known before a job has run stays open in the key of those behind it,
//! and is filled in then ([`Job::key_with`]).

use std::collections::BTreeMap;
use std::time::Duration;

use super::job::{
    INPUT_BUILD, INPUT_IMAGE, INPUT_KERNEL, INPUT_SOURCE, Inputs, Job, JobIx, Plan, Todo, Work,
    key_of,
};
use super::kernels::KernelFact;
use super::policy::Runner;
use super::resolve::{Resolved, Suite};
use crate::model::{CellId, JobKind, Key, Port, PortName, Side};

/// What is known of a port's image before anything runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageFact {
    /// Its key, where its inputs are known without asking an archive.
    pub key: Option<Key>,
    /// The key of what the cross compiler needs of it, where that is apart from the image's.
    pub sysroot: Option<Key>,
    /// Whether it is in the cache.
    pub ready: bool,
}

/// What is known of a suite's source before anything runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SourceFact {
    /// The hash of the tree without patches; none for a package that was never fetched.
    pub tree: Option<Key>,
    /// The same of the baseline's tree, where that is another commit's.
    pub base: Option<Key>,
    /// The identity of the patch series, where there is one.
    pub series: Option<Key>,
}

impl SourceFact {
    /// The hash of a side's tree; `own` says whether the baseline has one of its own.
    pub(super) fn on(&self, side: Side, own: bool) -> Option<Key> {
        match side {
            Side::Baseline if own => self.base.clone(),
            _ => self.tree.clone(),
        }
    }
}

/// What the planner is told about the machine and its cache.
pub struct Facts<'a> {
    /// Images by port; an absent one was never made.
    pub images: BTreeMap<PortName, ImageFact>,
    /// Sources by suite.
    pub sources: BTreeMap<String, SourceFact>,
    /// Kernels by suite, of those that have one.
    pub kernels: BTreeMap<String, KernelFact>,
    /// Cores that the jobs may use together.
    pub cores: u32,
    /// The cross compiler's identity by port: a version, or path, size and time of the program.
    pub compilers: BTreeMap<PortName, String>,
    /// The emulator's identity by port.
    pub emulators: BTreeMap<PortName, String>,
    /// The hash of what a cached job made; none where the cache does not have it.
    pub cached: &'a dyn Fn(JobKind, &Key) -> Option<Key>,
    /// What a job of this name took before.
    pub took: &'a dyn Fn(&str) -> Option<Duration>,
    /// The inputs of the last job of this name that was done here.
    pub last: &'a dyn Fn(&str) -> Option<Inputs>,
    /// Cells are run whatever the cache has.
    pub fresh: bool,
}

/// What an emulator takes on the host beyond the guest's memory, in MiB: 100 to 115 were measured at
/// the prompt, and its buffer for translated code (`tb-size`) fills up to 256 in a long suite.
const EMULATOR_OVERHEAD_MIB: u64 = 384;
/// What the assembly of an image from packages takes, in MiB.
const ASSEMBLY_MIB: u64 = 384;
/// What a compiler takes, in MiB.
pub(super) const COMPILER_MIB: u64 = 768;

/// In the place of an image's key where the kernel's job makes the image.
const NO_IMAGE: &str = "made with the kernel";

/// Makes the plan.
pub fn plan(matrix: &Resolved, facts: &Facts) -> Plan {
    let mut maker = Maker {
        facts,
        plan: Plan::default(),
    };
    let images: BTreeMap<&PortName, JobIx> = matrix
        .ports
        .iter()
        .map(|port| (&port.port, maker.image(port)))
        .collect();
    let mut builds = BTreeMap::new();
    for suite in &matrix.suites {
        for port in ports_of(suite, matrix).filter(|p| suite.boots_on(&p.port)) {
            for side in suite.sides() {
                let image = suite.system.is_image().then_some(images[&port.port]);
                let build = maker.build(suite, port, *side, image);
                builds.insert((&suite.name, &port.port, *side), build);
            }
        }
    }
    let kernels = maker.kernels(matrix);
    for suite in &matrix.suites {
        for point in &suite.points {
            let Some(port) = matrix.port(&point.port) else {
                continue;
            };
            for side in suite.sides() {
                let id = CellId {
                    suite: suite.name.clone(),
                    port: point.port.clone(),
                    variant: point.variant.clone(),
                    side: *side,
                };
                let kernel = kernels.get(&id).copied();
                let Some(build) = builds.get(&(&suite.name, &port.port, *side)) else {
                    maker.kernel_only(id, kernel);
                    continue;
                };
                let image = suite.system.is_image().then_some(images[&port.port]);
                let needs = image.into_iter().chain([*build]).chain(kernel).collect();
                maker.cell(id, suite, port, matrix, needs);
            }
        }
    }
    leave_out_unneeded(&mut maker.plan);
    maker.plan
}

/// The ports of a suite, each once.
pub(super) fn ports_of<'a>(
    suite: &'a Suite,
    matrix: &'a Resolved,
) -> impl Iterator<Item = &'a Port> {
    matrix
        .ports
        .iter()
        .filter(|port| suite.points.iter().any(|point| point.port == port.port))
}

pub(super) struct Maker<'a> {
    pub(super) facts: &'a Facts<'a>,
    pub(super) plan: Plan,
}

/// A job without what [`Maker::add`] finds out.
pub(super) struct Draft {
    pub(super) work: Work,
    pub(super) inputs: Inputs,
    pub(super) needs: Vec<JobIx>,
    pub(super) cores: u32,
    pub(super) mem_mib: u64,
    pub(super) priority: u8,
}

impl Maker<'_> {
    fn image(&mut self, port: &Port) -> JobIx {
        let fact = self
            .facts
            .images
            .get(&port.port)
            .cloned()
            .unwrap_or_default();
        let from_source = !port.image.sources.is_empty() && port.image.kernel_package.is_none();
        let work = Work::Image {
            port: port.port.clone(),
        };
        let name = work.to_string();
        let inputs = inputs([(INPUT_IMAGE, fact.key.clone().map(|k| k.0))]);
        let (todo, why) = if fact.ready {
            (Todo::Cached, "cached".to_owned())
        } else {
            (Todo::Run, self.why(&name, &inputs))
        };
        self.plan.jobs.push(Job {
            est: (self.facts.took)(&name),
            name,
            work,
            // An image's key is its maker's business; it is not hashed a second time.
            key: fact.key,
            inputs,
            needs: Vec::new(),
            todo,
            why,
            cores: 1,
            mem_mib: if from_source {
                2 * COMPILER_MIB
            } else {
                ASSEMBLY_MIB
            },
            // What is built from source takes many minutes: it must not start last. Packages
            // come last, so that a port that is ready runs before the next one is made.
            priority: if from_source { 3 } else { 0 },
        });
        self.plan.jobs.len() - 1
    }

    fn build(&mut self, suite: &Suite, port: &Port, side: Side, image: Option<JobIx>) -> JobIx {
        let source = self
            .facts
            .sources
            .get(&suite.name)
            .cloned()
            .unwrap_or_default();
        let fact = self
            .facts
            .images
            .get(&port.port)
            .cloned()
            .unwrap_or_default();
        let own = suite.source(Side::Baseline) != suite.source(Side::Candidate);
        let tree = source.on(side, own);
        let patches = match suite.patches(side) {
            Some(_) => source.series.map(|k| k.0),
            None => Some("none".to_owned()),
        };
        let compiler = self.facts.compilers.get(&port.port).cloned();
        let image_key = match image {
            Some(_) => fact.sysroot.or(fact.key).map(|k| k.0),
            None => Some(NO_IMAGE.to_owned()),
        };
        let inputs = inputs([
            (INPUT_IMAGE, image_key),
            (INPUT_SOURCE, tree.map(|k| k.0)),
            ("patches", patches),
            ("build recipe", Some(as_text(&suite.project.build))),
            ("toolchain", Some(as_text(&port.toolchain))),
            ("compiler", Some(compiler.unwrap_or_default())),
            ("port", Some(port.port.0.clone())),
        ]);
        self.add(Draft {
            work: Work::Build {
                suite: suite.name.clone(),
                port: port.port.clone(),
                side,
            },
            inputs,
            needs: image.into_iter().collect(),
            cores: 1,
            mem_mib: COMPILER_MIB,
            priority: 1,
        })
    }

    fn cell(
        &mut self,
        id: CellId,
        suite: &Suite,
        port: &Port,
        matrix: &Resolved,
        needs: Vec<JobIx>,
    ) {
        let limits = &matrix.limits;
        let made = |kind: JobKind| {
            let mut jobs = needs.iter().map(|ix| &self.plan.jobs[*ix]);
            jobs.find(|job| job.kind() == kind)
        };
        let image = match made(JobKind::Image) {
            Some(job) => job.key.clone().map(|k| k.0),
            None => Some(NO_IMAGE.to_owned()),
        };
        let output = made(JobKind::Build).and_then(|job| self.output(job));
        let kernel = made(JobKind::Kernel).map(|job| self.output(job));
        let emulator = self.facts.emulators.get(&port.port).cloned();
        let runner = match suite.runner_on(port) {
            Runner::Auto => "auto",
            Runner::Kyua => "kyua",
            Runner::Sh => "sh",
        };
        let kept = [
            limits.console_bytes,
            limits.channel_bytes,
            limits.output_bytes,
        ];
        let mut inputs = inputs([
            (INPUT_IMAGE, image),
            (INPUT_BUILD, output.map(|k| k.0)),
            ("emulator", Some(emulator.unwrap_or_default())),
            (
                "emulator settings",
                Some(as_text(&suite.guests_on(port).emulator)),
            ),
            ("runner", Some(runner.to_owned())),
            ("cases", Some(suite.project.cases_root().to_owned())),
            ("passes", Some(suite.passes.to_string())),
            ("order", Some(suite.order.to_string())),
            ("repeats", Some(as_text(&suite.repeats))),
            ("timeout", Some(suite.timeout.as_millis().to_string())),
            (
                "limits",
                Some(format!("{kept:?} {} {}", limits.guests, limits.deaths)),
            ),
            // A stored result says which cell it is of.
            ("cell", Some(id.to_string())),
        ]);
        // Which accelerator a wish comes to is known where the guest starts. What was made under none is never taken
        // for what was made under one.
        if !matrix.accel.is_tcg() && port.native.is_some() {
            inputs.insert("accel".to_owned(), Some(matrix.accel.word().to_owned()));
        }
        if let Some(seed) = suite.memory_seed {
            inputs.insert("memory_seed".to_owned(), Some(seed.to_string()));
        }
        if let Some(kernel) = kernel {
            inputs.insert(INPUT_KERNEL.to_owned(), kernel.map(|k| k.0));
        }
        self.add(Draft {
            work: Work::Cell(id),
            inputs,
            needs,
            cores: 1,
            mem_mib: u64::from(port.emulator.mem_mib) + EMULATOR_OVERHEAD_MIB,
            priority: 2,
        });
    }

    /// The hash of what a job made, where the cache has that.
    pub(super) fn output(&self, job: &Job) -> Option<Key> {
        self.cached(job.kind(), job.key.as_ref()?)
    }

    fn cached(&self, kind: JobKind, key: &Key) -> Option<Key> {
        (self.facts.cached)(kind, key)
    }

    pub(super) fn add(&mut self, draft: Draft) -> JobIx {
        let kind = draft.work.kind();
        let name = draft.work.to_string();
        let key = key_of(kind, &draft.inputs);
        let hit = key.as_ref().and_then(|key| self.cached(kind, key));
        let ignored = self.facts.fresh && kind == JobKind::Cell;
        let (todo, why) = match hit {
            Some(_) if ignored => (Todo::Run, "asked to run again".to_owned()),
            Some(_) => (Todo::Cached, "cached".to_owned()),
            None => (Todo::Run, self.why(&name, &draft.inputs)),
        };
        self.plan.jobs.push(Job {
            est: (self.facts.took)(&name),
            name,
            work: draft.work,
            key,
            inputs: draft.inputs,
            needs: draft.needs,
            todo,
            why,
            cores: draft.cores,
            mem_mib: draft.mem_mib,
            priority: draft.priority,
        });
        self.plan.jobs.len() - 1
    }

    /// Why a job has to run.
    fn why(&self, name: &str, inputs: &Inputs) -> String {
        let Some(last) = (self.facts.last)(name) else {
            return "never done here".to_owned();
        };
        let changed: Vec<&str> = inputs
            .iter()
            .filter(|(label, value)| value.is_some() && last.get(*label) != Some(value))
            .map(|(label, _)| label.as_str())
            .collect();
        if !changed.is_empty() {
            return format!("changed: {}", changed.join(", "));
        }
        let open: Vec<&str> = inputs
            .iter()
            .filter(|(_, value)| value.is_none())
            .map(|(label, _)| label.as_str())
            .collect();
        if open.is_empty() {
            "no longer in the cache".to_owned()
        } else {
            format!("not known yet: {}", open.join(", "))
        }
    }
}

/// An image or a build that nothing uses any more, because every cell behind it is cached.
fn leave_out_unneeded(plan: &mut Plan) {
    let mut needed = vec![false; plan.jobs.len()];
    for ix in (0..plan.jobs.len()).rev() {
        let job = &plan.jobs[ix];
        let wanted = needed[ix] || job.kind() == JobKind::Cell;
        if wanted && job.todo == Todo::Run {
            for &need in &job.needs {
                needed[need] = true;
            }
        }
        if !wanted && job.todo == Todo::Run {
            let job = &mut plan.jobs[ix];
            job.todo = Todo::NotNeeded;
            job.why = "all that needs it is cached".to_owned();
        }
    }
}

pub(super) fn inputs<const N: usize>(list: [(&str, Option<String>); N]) -> Inputs {
    list.into_iter()
        .map(|(label, value)| (label.to_owned(), value))
        .collect()
}

/// A settings value as text for a hash. Every field takes part; the form is JSON.
pub(super) fn as_text(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|e| format!("unwritable: {e}"))
}

#[cfg(test)]
mod tests;
