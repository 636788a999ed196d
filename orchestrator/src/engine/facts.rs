//! What the planner is told: hashes of trees, keys of images, what the cache has, what jobs took.
//!
//! Everything here is a look at the disk; the archive is not asked. A warm plan of nine ports takes
//! milliseconds.

use std::collections::BTreeMap;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use serde::Serialize;

use crate::build;
use crate::host::dirs::Dirs;
use crate::host::files;
use crate::host::machine::{Machine, program_identity};
use crate::host::series;
use crate::image;
use crate::model::project::Source;
use crate::model::{CellId, JobKind, Key, Port, PortName, Project, Side};
use crate::plan::slowness;
use crate::plan::{self, Capacity, Facts, ImageFact, Inputs, Plan, Resolved, SourceFact};
use crate::store::cells::CellCache;
use crate::store::durations::Durations;
use crate::store::snapshots::Snapshots;

use super::RunError;
use super::cluster::Setting;
use super::guests::snapshot_key;
use super::{kernels, sources};

/// A matrix that can be planned and run.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The matrix with ports and projects, restricted to what was selected.
    pub resolved: Resolved,
    /// The directory of port manifests.
    pub images: Utf8PathBuf,
    /// Cache, state, sockets.
    pub dirs: Dirs,
    /// Run cells whatever the cache has.
    pub fresh: bool,
    /// At most so many cores; what the matrix or the machine says where absent.
    pub cores: Option<u32>,
    /// Where jobs are done, if not on this machine alone.
    pub cluster: Option<Setting>,
}

/// What earlier runs left behind for planning.
#[derive(Debug, Clone)]
pub struct Memory {
    /// How long jobs took.
    pub durations: Durations,
    /// What the keys of jobs were made of when they were last done, by job.
    pub inputs: BTreeMap<String, Inputs>,
    inputs_path: Utf8PathBuf,
}

impl Memory {
    /// Reads it; what is missing or unreadable is forgotten, which costs a good estimate only.
    pub fn load(dirs: &Dirs) -> Self {
        let inputs_path = dirs.state.join("inputs.json");
        let inputs = std::fs::read(&inputs_path)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        Self {
            durations: Durations::load(dirs.state.join("durations.json").as_std_path()),
            inputs,
            inputs_path,
        }
    }

    /// Writes it.
    pub fn save(&self) -> Result<(), RunError> {
        self.durations.save()?;
        let bytes = serde_json::to_vec(&self.inputs).unwrap_or_default();
        files::write_atomic(&self.inputs_path, &bytes).map_err(|e| RunError::Host(e.to_string()))
    }
}

/// How guests of a port would come up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "how")]
pub enum Ahead {
    /// From a saved guest.
    Restored {
        /// How long the boot took that was saved.
        boot: Duration,
    },
    /// The first one is booted and saved, the others are restored.
    BootedOnce,
    /// Each is booted.
    Booted,
}

impl Setup {
    /// Has jobs done on a cluster, where one is given. What its nodes have runs the guests.
    pub fn set_cluster(&mut self, setting: Option<Setting>) {
        let cluster = setting.as_ref().map(|setting| &setting.cluster);
        let cluster = cluster.filter(|cluster| cluster.takes(JobKind::Cell));
        if let Some(wish) = cluster.and_then(|cluster| cluster.node.accel) {
            self.resolved.accel = wish;
        }
        self.cluster = setting;
    }

    /// The image stage's directories.
    pub fn image_dirs(&self) -> image::Dirs {
        image::Dirs {
            images: self.images.clone(),
            cache: self.dirs.cache.clone(),
        }
    }

    /// The cache of cells.
    pub fn cells(&self) -> CellCache {
        CellCache::new(self.dirs.cache.join("cells").into_std_path_buf())
    }

    /// What the cases of a cell's suite took on its port before.
    pub fn case_times(&self, id: &CellId) -> Durations {
        let name = format!("{}+{}.json", id.suite, id.port);
        Durations::load(self.dirs.state.join("times").join(name).as_std_path())
    }

    /// By how much the limits of a suite's cases are stretched on a port: by what its manifest says, or
    /// by what they took there before against the fastest of the matrix' ports.
    pub fn slowness(&self, id: &CellId, port: &Port) -> f64 {
        let at = |port: &PortName| {
            let id = CellId {
                port: port.clone(),
                ..id.clone()
            };
            self.case_times(&id).all()
        };
        let others = self.resolved.ports.iter().map(|p| at(&p.port));
        let learnt = slowness::learnt(&at(&id.port), &others.collect::<Vec<_>>());
        learnt.max(port.emulator.slowness)
    }

    /// The cache of saved guests.
    pub fn snapshots(&self) -> Snapshots {
        Snapshots::new(&self.dirs.cache, self.resolved.limits.snapshots_bytes)
    }

    /// How the guests of each port would come up now.
    pub fn guests_ahead(&self) -> Vec<(PortName, Ahead)> {
        let snapshots = self.snapshots();
        let dirs = self.image_dirs();
        let ahead = |port: &Port| {
            if !port.emulator.snapshot || self.resolved.limits.snapshots_bytes == 0 {
                return Ahead::Booted;
            }
            let saved = match image::planned_image(port, &dirs) {
                Ok(image::Planned::Cached(key)) => {
                    let dir = image::cache::images(&dirs.cache).join(&key.0);
                    let record = image::cache::read_record(&dir).ok();
                    let key = record.and_then(|record| snapshot_key(port, &record));
                    key.and_then(|key| snapshots.record(&key))
                }
                _ => None,
            };
            saved.map_or(Ahead::BootedOnce, |saved| Ahead::Restored {
                boot: saved.boot,
            })
        };
        let ports = self.resolved.ports.iter();
        ports.map(|p| (p.port.clone(), ahead(p))).collect()
    }

    /// What the jobs of a run may use together.
    pub fn capacity(&self) -> Capacity {
        let machine = Machine::probe();
        let limits = &self.resolved.limits;
        let cores = self.cores.or(limits.cores).unwrap_or(machine.cores).max(1);
        // A matrix can ask for less than there is, never for more.
        let limit_mib = limits.memory_bytes.map_or(u64::MAX, |bytes| bytes >> 20);
        let mem_mib = machine.mem_mib.min(limit_mib);
        Capacity { cores, mem_mib }
    }

    /// What the jobs of a run may use together, on a cluster too: there the scheduler knows its nodes,
    /// and what bounds the jobs is the length of its queue.
    pub fn reach(&self) -> Capacity {
        match &self.cluster {
            None => self.capacity(),
            Some(setting) => Capacity {
                cores: setting.cluster.queued_at_most.saturating_mul(4),
                mem_mib: u64::MAX,
            },
        }
    }

    /// What is tested, by suite: tree and series. A run is about one such set.
    pub fn revisions(&self) -> Result<BTreeMap<String, String>, RunError> {
        let mut revisions = BTreeMap::new();
        for suite in &self.resolved.suites {
            let kernel = suite.kernel.iter();
            let kernel = kernel.map(|k| (format!("{} kernel", suite.name), k));
            let own = [(suite.name.clone(), &suite.project)];
            for (name, project) in own.into_iter().chain(kernel) {
                let fact = self.source_fact(project, None)?;
                // A package that was never fetched has no identity yet.
                if let Some(tree) = fact.tree {
                    let series = fact.series.map_or(String::new(), |s| format!("+{s}"));
                    revisions.insert(name, format!("{tree}{series}"));
                }
            }
        }
        Ok(revisions)
    }

    /// What is known of a project's source, and of that of its baseline side where that is another one.
    pub(super) fn source_fact(
        &self,
        project: &Project,
        base: Option<&Source>,
    ) -> Result<SourceFact, RunError> {
        let known = |source: &Source| sources::known_hash(source, &self.dirs.cache);
        let base = base.filter(|base| **base != project.source);
        Ok(SourceFact {
            tree: known(&project.source)?,
            base: base.map(known).transpose()?.flatten(),
            series: project
                .patches
                .as_deref()
                .map(series::hash)
                .transpose()
                .map_err(|e| RunError::Input(e.to_string()))?,
        })
    }

    /// The plan, and what it was made from.
    pub fn plan(&self, memory: &Memory) -> Result<Plan, RunError> {
        let image_dirs = self.image_dirs();
        let mut images = BTreeMap::new();
        let mut compilers = BTreeMap::new();
        let mut emulators = BTreeMap::new();
        for port in &self.resolved.ports {
            images.insert(port.port.clone(), image_fact(port, &image_dirs)?);
            compilers.extend(identity(port, &compiler_of(port)));
            emulators.extend(identity(port, &port.emulator.program));
        }
        let mut found = BTreeMap::new();
        for suite in &self.resolved.suites {
            let fact = self.source_fact(&suite.project, Some(suite.source(Side::Baseline)))?;
            found.insert(suite.name.clone(), fact);
        }
        let cells = self.cells();
        let cached = |kind: JobKind, key: &Key| match kind {
            JobKind::Build => build::cached(&self.dirs.cache, key).map(|built| built.output),
            JobKind::Kernel => build::kernel::cached(&self.dirs.cache, key).map(|k| k.output),
            JobKind::Cell => cells.has(key).then(|| key.clone()),
            JobKind::Image => None,
        };
        Ok(plan::plan(
            &self.resolved,
            &Facts {
                images,
                sources: found,
                kernels: kernels::facts(self)?,
                cores: self.capacity().cores,
                compilers,
                emulators,
                cached: &cached,
                took: &|job| memory.durations.get(job),
                last: &|job| memory.inputs.get(job).cloned(),
                fresh: self.fresh,
            },
        ))
    }
}

fn image_fact(port: &Port, dirs: &image::Dirs) -> Result<ImageFact, RunError> {
    let planned = image::planned_image(port, dirs).map_err(|e| RunError::Host(e.to_string()))?;
    if port.image.release.is_some() {
        let (key, ready) = match planned {
            image::Planned::Cached(key) => (Some(key), true),
            image::Planned::Missing { key, .. } => (key, false),
        };
        let sysroot = None;
        return Ok(ImageFact {
            key,
            sysroot,
            ready,
        });
    }
    let sysroot = image::sysroot::planned(dirs, port);
    let sysroot_ready = sysroot.as_ref().is_some_and(|(_, ready)| *ready);
    let sysroot = sysroot.map(|(key, _)| key);
    Ok(match planned {
        image::Planned::Cached(key) => ImageFact {
            key: Some(key),
            sysroot,
            ready: sysroot_ready,
        },
        image::Planned::Missing { key, .. } => ImageFact {
            key,
            sysroot,
            ready: false,
        },
    })
}

/// The compiler's name for a port.
pub(super) fn compiler_of(port: &Port) -> String {
    let cross = format!("{}-gcc", port.toolchain.triplet);
    match files::find_program(&cross) {
        Some(_) => cross,
        // The host's own architecture needs no cross compiler.
        None => "gcc".to_owned(),
    }
}

fn identity(port: &Port, program: &str) -> Option<(PortName, String)> {
    Some((port.port.clone(), program_identity(program)?))
}

/// The directory where emulators' run directories are.
pub fn run_base(dirs: &Dirs) -> &Utf8Path {
    &dirs.runtime
}
