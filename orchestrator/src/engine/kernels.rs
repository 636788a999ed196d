//! Kernels of suites: what the planner is told of them, their jobs, and how a guest boots one.
//!
//! The image stays what it is: its own kernel is in it, and a guest that boots another one is given
//! that from the host's side. It is held to that kernel's marks as to its image's.

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
use crate::plan::{Job, KernelFact, Plan, Resolved, Work, kernels};

use super::bus::Bus;
use super::facts::{Setup, compiler_of};
use super::jobs::{self, JobFailed, internal, port_of, reporter, suite_of};
use super::{RunError, sources};

/// What drives the kernel's makefiles, for a port's family: the images' own recipe.
fn script(images: &Utf8Path, port: &Port) -> Utf8PathBuf {
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
        let scripts = ports.map(|port| hash(&script(&setup.images, port)));
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

/// Builds the kernel of a job, or finds it built.
pub(super) async fn kernel(setup: &Setup, job: Job, bus: &Bus) -> Result<KernelBuilt, JobFailed> {
    let (job, tree, version) = source(setup, job, bus).await?;
    build(setup, job, tree, &version, bus).await
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
        jobs: job.cores.min(setup.capacity().cores),
    };
    let had = build::kernel::cached(&setup.dirs.cache, &key).is_some();
    let tell = reporter(bus, &job.name);
    let built = build::kernel::build(&request, &|doing: &str| tell(doing, None))
        .await
        .map_err(failed)?;
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
) -> Result<Option<KernelBuilt>, JobFailed> {
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
    /// The image's record, with the kernel that is booted in the place of its own.
    pub record: Record,
    /// Package and tool versions, for the record.
    pub versions: BTreeMap<String, String>,
}

/// The image with the built kernel, where there is one.
pub(super) fn boots(image: &Image, kernel: Option<&KernelBuilt>) -> Result<Booted, JobFailed> {
    let mut booted = Booted {
        kernel: image.kernel.clone(),
        record: image.record.clone(),
        versions: image.versions.clone(),
    };
    let Some(built) = kernel else {
        return Ok(booted);
    };
    let (size_bytes, sha256) = image::fetch::hash_file(&built.kernel).map_err(|e| JobFailed {
        stage: StageResult::HostFailed,
        detail: e.to_string(),
    })?;
    let stored = Stored { size_bytes, sha256 };
    booted.kernel.clone_from(&built.kernel);
    booted.record.kernel = built.ordered.clone();
    booted.record.files.insert("kernel".to_owned(), stored);
    let release = built.ordered.release.clone();
    booted.versions.insert("kernel".to_owned(), release);
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
