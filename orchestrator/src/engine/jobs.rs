//! The jobs that come before a cell: images and builds. Kernels are in [`super::kernels`].

use camino::{Utf8Path, Utf8PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::build::{self, BuildRequest, Built, Tree};
use crate::image::{self, Image, Sysroot};
use crate::model::project::Source;
use crate::model::{Event, Key, Port, PortName, Side, StageResult};
use crate::plan::Suite;

use super::bus::Bus;
use super::facts::Setup;
use super::sources;

/// What an image job hands on.
#[derive(Debug)]
pub struct ImageReady {
    /// Kernel and initramfs.
    pub image: Image,
    /// Headers and libraries for the cross compiler; none where nothing is compiled for the port.
    pub sysroot: Option<Sysroot>,
}

impl ImageReady {
    /// The key of what a build for the port depends on.
    pub fn sysroot_key(&self) -> &Key {
        self.sysroot.as_ref().map_or(&self.image.key, |s| &s.key)
    }

    /// The compiler's directory; none that exists where nothing is compiled for the port.
    pub fn sysroot_dir(&self) -> &Utf8Path {
        sysroot_dir(Some(self))
    }
}

/// The compiler's directory; none that exists where nothing is compiled for the port.
pub(super) fn sysroot_dir(image: Option<&ImageReady>) -> &Utf8Path {
    let sysroot = image.and_then(|image| image.sysroot.as_ref());
    sysroot.map_or(Utf8Path::new("/nonexistent"), |s| &s.dir)
}

/// Why a job before a cell failed, and whose fault that is.
#[derive(Debug)]
pub struct JobFailed {
    /// The stage result of the cells behind it.
    pub stage: StageResult,
    /// For people.
    pub detail: String,
}

/// Tells the bus what a job does now.
pub(super) fn reporter(
    bus: &Bus,
    job: &str,
) -> impl Fn(&str, Option<(u64, u64)>) + Send + Sync + 'static {
    let (bus, job) = (bus.clone(), job.to_owned());
    move |doing, done| {
        bus.emit(Event::JobProgress {
            job: job.clone(),
            doing: doing.to_owned(),
            done,
        });
    }
}

/// Makes a port's image and sysroot, or finds them.
pub async fn image(
    setup: &Setup,
    port: &PortName,
    job: &str,
    bus: &Bus,
) -> Result<ImageReady, JobFailed> {
    let port = port_of(setup, port)?;
    let dirs = setup.image_dirs();
    let failed = |e: image::ImageError| JobFailed {
        stage: StageResult::ImageFailed,
        detail: e.to_string(),
    };
    let tell = reporter(bus, job);
    let image = image::ensure_image(port, &dirs, false, move |p| tell(&p.doing, p.done))
        .await
        .map_err(failed)?;
    if port.image.release.is_some() {
        let sysroot = None;
        return Ok(ImageReady { image, sysroot });
    }
    let tell = reporter(bus, job);
    let sysroot = image::ensure_sysroot(port, &dirs, move |p| tell(&p.doing, p.done))
        .await
        .map(Some)
        .map_err(failed)?;
    Ok(ImageReady { image, sysroot })
}

/// The tree of a source, fetched where it is a package.
pub async fn tree(setup: &Setup, source: &Source, job: &str, bus: &Bus) -> Result<Tree, JobFailed> {
    let host = |detail: String| JobFailed {
        stage: StageResult::HostFailed,
        detail,
    };
    let (source, cache) = (source.clone(), setup.dirs.cache.clone());
    let tell = reporter(bus, job);
    let stop = Arc::new(AtomicBool::new(false));
    let guard = StopOnDrop(stop.clone());
    let made = tokio::task::spawn_blocking(move || {
        let watch = image::source::Watch {
            progress: &tell,
            stop: &|| stop.load(Ordering::Relaxed),
        };
        sources::ensure(&source, &cache, &watch)
    })
    .await;
    drop(guard);
    match made {
        Ok(Ok(tree)) => Ok(tree),
        Ok(Err(error)) => Err(host(error.to_string())),
        Err(join) => Err(host(join.to_string())),
    }
}

/// Ends blocking work when the future that waits for it is dropped.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What to build.
pub struct BuildJob<'a> {
    /// The suite's name.
    pub suite: &'a str,
    /// The port.
    pub port: &'a PortName,
    /// Which side.
    pub side: Side,
    /// The job's name.
    pub job: &'a str,
    /// The build's key.
    pub key: &'a Key,
    /// The tree without patches.
    pub tree: Tree,
    /// The sysroot's directory.
    pub sysroot: Utf8PathBuf,
}

/// Builds one side of a suite for a port, or finds it built.
pub async fn build(setup: &Setup, what: BuildJob<'_>, bus: &Bus) -> Result<Built, JobFailed> {
    if let Some(built) = build::cached(&setup.dirs.cache, what.key) {
        return Ok(built);
    }
    let port = port_of(setup, what.port)?;
    let suite = suite_of(setup, what.suite)?;
    let failed = |error: build::BuildError| JobFailed {
        stage: error.stage(),
        detail: error.to_string(),
    };
    let series = suite
        .patches(what.side)
        .map(build::source::series)
        .transpose()
        .map_err(failed)?;
    let request = BuildRequest {
        project: &suite.project,
        tree: &what.tree,
        patches: series.as_ref(),
        port,
        sysroot: &what.sysroot,
        cache: &setup.dirs.cache,
        key: what.key,
        jobs: 1,
    };
    let tell = reporter(bus, what.job);
    build::build(&request, &|doing: &str| tell(doing, None))
        .await
        .map_err(failed)
}

pub(super) fn suite_of<'a>(setup: &'a Setup, name: &str) -> Result<&'a Suite, JobFailed> {
    let suite = setup.resolved.suite(name);
    suite.ok_or_else(|| internal(format!("no suite {name}")))
}

pub(super) fn port_of<'a>(setup: &'a Setup, name: &PortName) -> Result<&'a Port, JobFailed> {
    setup
        .resolved
        .port(name)
        .ok_or_else(|| internal(format!("no port {name}")))
}

pub(super) fn internal(detail: String) -> JobFailed {
    JobFailed {
        stage: StageResult::HostFailed,
        detail,
    }
}
