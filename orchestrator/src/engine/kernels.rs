//! Kernels of suites: what the planner is told of them, their jobs, and how a guest boots one.
//!
//! A guest that boots another kernel than its image's is given that from the host's side, and the image
//! stays what it is. Where the port boots from its disk, a disk is assembled that has the kernel, with
//! the release's own beside it. Either way a guest is held to that kernel's marks as to its image's.

mod release;

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};

use crate::build::{self, BuildError, KernelBuilt, KernelRequest, Tree};
use crate::host::files::tree_hash;
use crate::host::machine::program_identity;
use crate::image::cache::{Record, Stored};
use crate::image::{self, Image};
use crate::model::{
    CellId, CellResult, Event, KernelOption, Key, Port, PortName, Project, Side, StageResult,
    Traits,
};
use crate::plan::job::INPUT_SOURCE;
use crate::plan::{Job, KernelFact, Plan, Resolved, Suite, System, Work, kernels};

use super::bus::Bus;
use super::facts::{Setup, compiler_of};
use super::jobs::{self, JobFailed, internal, port_of, reporter, suite_of};
use super::{RunError, sources};

/// What drives the kernel's makefiles, for a port's family: the images' own recipe.
pub(super) fn script(images: &Utf8Path, port: &Port) -> Utf8PathBuf {
    images.join(&port.family).join("sources/kernel/build.sh")
}

/// What is known of the suites' kernels.
pub(super) fn facts(setup: &Setup) -> Result<BTreeMap<String, KernelFact>, RunError> {
    let mut facts = BTreeMap::new();
    for suite in &setup.resolved.suites {
        let Some(kernel) = &suite.kernel else {
            continue;
        };
        let ports = suite.points.iter().map(|point| &point.port);
        let ports = ports.filter_map(|name| setup.resolved.port(name));
        let scripts = ports.map(|port| match port.image.release {
            Some(_) => Some(build::netbsd::host_compiler(kernel)),
            None => hash(&script(&setup.images, port)),
        });
        facts.insert(
            suite.name.clone(),
            KernelFact {
                source: setup.source_fact(kernel, suite.kernel_source(Side::Baseline))?,
                script: scripts.flatten().next(),
                fragments: suite
                    .points
                    .iter()
                    .map(|point| (point.port.clone(), fragments(kernel, &point.port)))
                    .collect(),
            },
        );
    }
    Ok(facts)
}

fn fragments(kernel: &Project, port: &PortName) -> BTreeMap<String, Option<Key>> {
    let files = kernels::fragments(kernel, port).into_iter();
    let named = files.filter_map(|file| Some((file.file_name()?.to_owned(), hash(&file))));
    named.collect()
}

fn hash(file: &Utf8Path) -> Option<Key> {
    tree_hash(file).ok()
}

/// What a kernel's job hands on.
#[derive(Debug)]
pub(super) struct KernelReady {
    /// The kernel.
    pub built: KernelBuilt,
    /// The image whose disk boots it, where the emulator is not given it: the port's system or its own.
    pub disk: Option<Image>,
}

impl From<KernelBuilt> for KernelReady {
    fn from(built: KernelBuilt) -> Self {
        Self { built, disk: None }
    }
}

/// Makes the kernel of a job ready for guests: what is built is found, and so is its disk.
pub(super) async fn kernel(setup: &Setup, job: Job, bus: &Bus) -> Result<KernelReady, JobFailed> {
    let (work, name) = (job.work.clone(), job.name.clone());
    let (job, tree, version) = source(setup, job, bus).await?;
    let built = build(setup, job, tree, &version, bus).await?;
    let Work::Kernel { suite, port, .. } = &work else {
        return Err(internal(format!("{name} is no kernel")));
    };
    if !suite_of(setup, suite)?.boots_on(port) {
        return Ok(built.into());
    }
    let disk = release::disk(setup, port_of(setup, port)?, &built, &name, bus).await?;
    Ok(KernelReady { built, disk })
}

/// Whether the guests of a suite run what is built from the kernel's tree, not the port's image.
fn own_system(suite: &Suite, port: &Port) -> bool {
    suite.system == System::Built && suite.boots_on(&port.port)
}

/// Whether a kernel's job has more to make than the kernel.
pub(super) fn has_disk(setup: &Setup, work: &Work) -> bool {
    matches!(work, Work::Kernel { port, .. }
        if setup.resolved.port(port).is_some_and(|port| port.image.release.is_some()))
}

/// The job with its key, and the tree that is built with its version.
pub(super) async fn source(
    setup: &Setup,
    mut job: Job,
    bus: &Bus,
) -> Result<(Job, Tree, String), JobFailed> {
    let Work::Kernel { suite, side, .. } = &job.work else {
        return Err(internal(format!("{} is no kernel", job.name)));
    };
    let (suite, side) = (suite_of(setup, suite)?, *side);
    let source = suite.kernel_source(side);
    let source = source.ok_or_else(|| internal(format!("{} has no kernel", suite.name)))?;
    let tree = jobs::tree(setup, source, &job.name, bus).await?;
    let version = sources::version(source, &setup.dirs.cache, &tree);
    job.key_with(&[(INPUT_SOURCE, &tree.hash)]);
    Ok((job, tree, version))
}

/// Builds the kernel of a job from a tree, or finds it built.
pub(super) async fn build(
    setup: &Setup,
    mut job: Job,
    tree: Tree,
    version: &str,
    bus: &Bus,
) -> Result<KernelBuilt, JobFailed> {
    let Work::Kernel {
        suite,
        port,
        variant,
        side,
    } = job.work.clone()
    else {
        return Err(internal(format!("{} is no kernel", job.name)));
    };
    let (suite, port) = (suite_of(setup, &suite)?, port_of(setup, &port)?);
    let project = suite.kernel.as_ref();
    let project = project.ok_or_else(|| internal(format!("{} has no kernel", suite.name)))?;
    let key = job.key_with(&[(INPUT_SOURCE, &tree.hash)]).cloned();
    let key = key.ok_or_else(|| internal(format!("{} has no key", job.name)))?;
    let failed = |error: BuildError| JobFailed {
        stage: error.stage(),
        detail: error.to_string(),
    };
    let series = suite
        .kernel_patches(side)
        .map(build::source::series)
        .transpose()
        .map_err(failed)?;
    let had = build::kernel::cached(&setup.dirs.cache, &key).is_some();
    let tell = reporter(bus, &job.name);
    let jobs = job.cores.min(setup.capacity().cores);
    let built = match &port.image.release {
        Some(release) => {
            let (name, own) = kernels::configuration(&setup.resolved, project, release, &variant);
            let request = build::release_kernel::Request {
                project,
                tree: &tree,
                patches: series.as_ref(),
                port: port.port.as_str(),
                machine: &release.machine,
                name: &name,
                variant: own,
                identify: image::netbsd::identify,
                cache: &setup.dirs.cache,
                key: &key,
                jobs,
                system: own_system(suite, port).then_some(release.kernel.as_str()),
            };
            build::release_kernel::build(&request, &tell).await
        }
        None => {
            let compiler = program_identity(&compiler_of(port)).unwrap_or_default();
            let request = KernelRequest {
                project,
                tree: &tree,
                version,
                patches: series.as_ref(),
                port,
                fragments: &kernels::fragments(project, &port.port),
                options: &kernels::options(&setup.resolved, project, &variant),
                script: &script(&setup.images, port),
                compiler: &compiler,
                cache: &setup.dirs.cache,
                key: &key,
                jobs,
            };
            build::kernel::build(&request, &|doing: &str| tell(doing, None)).await
        }
    };
    let built = built.map_err(failed)?;
    if !had {
        bus.emit(Event::Notice {
            port: Some(port.port.clone()),
            text: format!("{}: {}", job.name, built.record),
        });
    }
    Ok(built)
}

/// The kernel of a cell, where its suite has one, built or found.
pub(super) async fn of_cell(
    setup: &Setup,
    plan: &Plan,
    id: &CellId,
    bus: &Bus,
) -> Result<Option<KernelReady>, JobFailed> {
    let work = Work::Kernel {
        suite: id.suite.clone(),
        port: id.port.clone(),
        variant: id.variant.clone(),
        side: id.side,
    };
    match plan.find(&work.to_string()) {
        Some(ix) => kernel(setup, plan.jobs[ix].clone(), bus).await.map(Some),
        None => Ok(None),
    }
}

/// What a guest boots: an image with a kernel.
pub(super) struct Booted {
    /// The file for the emulator's `-kernel`.
    pub kernel: Utf8PathBuf,
    /// The guest's root.
    pub root: Utf8PathBuf,
    /// The image's record, with the kernel that is booted in the place of its own.
    pub record: Record,
    /// Package and tool versions, for the record.
    pub versions: BTreeMap<String, String>,
}

/// The image with the built kernel, where there is one; `image` is the port's, which a system of the
/// kernel's own does without.
pub(super) fn boots(
    image: Option<&Image>,
    kernel: Option<&KernelReady>,
) -> Result<Booted, JobFailed> {
    let disk = kernel.and_then(|ready| ready.disk.as_ref());
    let image = disk.or(image);
    let image = image.ok_or_else(|| internal("a cell without an image".to_owned()))?;
    let mut booted = Booted {
        kernel: image.kernel.clone(),
        root: image.initrd.clone(),
        record: image.record.clone(),
        versions: image.versions.clone(),
    };
    let Some(KernelReady { built, .. }) = kernel else {
        return Ok(booted);
    };
    let release = built.ordered.release.clone();
    booted.versions.insert("kernel".to_owned(), release);
    if disk.is_some() {
        return Ok(booted);
    }
    let (size_bytes, sha256) = image::fetch::hash_file(&built.kernel).map_err(|e| JobFailed {
        stage: StageResult::HostFailed,
        detail: e.to_string(),
    })?;
    let stored = Stored { size_bytes, sha256 };
    booted.kernel.clone_from(&built.kernel);
    booted.record.kernel = built.ordered.clone();
    booted.record.files.insert("kernel".to_owned(), stored);
    Ok(booted)
}

/// The result of a cell whose kernel is built and not booted.
pub(super) fn unbooted(id: CellId, key: Option<&Key>, kernel: &KernelBuilt) -> CellResult {
    let release = &kernel.ordered.release;
    CellResult {
        id,
        key: key.cloned().unwrap_or_else(|| Key(String::new())),
        stage: StageResult::Complete,
        detail: Some(format!("the kernel {release} was built and not booted")),
        attempts: Vec::new(),
        guests: Vec::new(),
        versions: [("kernel".to_owned(), release.clone())].into(),
        cached: false,
    }
}

/// What is true of each variant that another one may lack: the options that it asks for.
pub(super) fn traits(matrix: &Resolved) -> BTreeMap<String, Traits> {
    let of = |options: &Vec<KernelOption>| {
        let pairs = options.iter().map(|o| (o.name.clone(), o.value.clone()));
        pairs.collect()
    };
    let variants = matrix.kernel_options.iter();
    variants
        .map(|(name, options)| (name.clone(), of(options)))
        .collect()
}
