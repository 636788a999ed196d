//! `fallout release install|disk`: a disk with a system on it, by the release's own installation medium or
//! from one of its ready images.

use std::io::Write as _;
use std::process::Command;

use camino::{Utf8Path, Utf8PathBuf};
use clap::Args;

use super::context::Context;
use super::exit::{Exit, Failure, Outcome};
use super::failure;
use super::release::{self, How, obtain};
use crate::engine::install::{InstallError, Order, install};
use crate::host::text;
use crate::image::install::Configured;
use crate::image::netbsd::config;
use crate::image::overlay;
use crate::image::release::{Release, Source, Want, join, prebuilt};
use crate::model::Port;
use crate::model::install::InstallSpec;
use crate::model::port::ReleaseSpec;
use crate::model::problem::did_you_mean;
use crate::model::units::parse_size;

/// `fallout release install`
#[derive(Debug, Args)]
pub struct InstallArgs {
    /// The release, as for `fetch`
    pub source: Source,
    /// The port's manifest: netbsd-amd64
    #[arg(long, value_name = "PORT")]
    pub port: String,
    /// The disk to write
    #[arg(long, value_name = "FILE")]
    pub disk: Utf8PathBuf,
    /// Where the console goes [default: DISK.console]
    #[arg(long, value_name = "FILE")]
    pub console: Option<Utf8PathBuf>,
    /// Ask nobody: the cache has the release, or it is an error
    #[arg(long)]
    pub offline: bool,
}

/// `fallout release disk`
#[derive(Debug, Args)]
pub struct DiskArgs {
    /// The release, as for `fetch`
    pub source: Source,
    /// The port, as for `fetch`
    #[arg(long, value_name = "PORT")]
    pub port: String,
    /// Which of its images: arm64.img, live
    #[arg(long, value_name = "NAME")]
    pub image: String,
    /// The disk to write
    #[arg(long, value_name = "FILE")]
    pub disk: Utf8PathBuf,
    /// How large the disk is: the system grows into it at its first boot
    #[arg(long, value_name = "SIZE", value_parser = parse_size, default_value = "4GiB")]
    pub size: u64,
    /// Ask nobody: the cache has the release, or it is an error
    #[arg(long)]
    pub offline: bool,
}

fn how(offline: bool) -> How<'static> {
    How {
        offline,
        ..How::default()
    }
}

/// `fallout release disk`
pub fn disk(context: &Context, args: &DiskArgs) -> Outcome {
    let patterns = ["binary/gzimg/*", "../images/*.img.gz", "../images/*.img"];
    let want = Want::of(patterns.map(str::to_owned).into()).map_err(|e| release::failed(&e))?;
    let release = obtain(context, &args.source, &args.port, &want, how(args.offline))?;
    let images = &release.layout.images;
    let Some(file) = images.get(&args.image) else {
        let has: Vec<&str> = images.keys().map(String::as_str).collect();
        let help = did_you_mean(&args.image, has.iter().copied());
        return Err(Failure::usage(format!(
            "{} has no image '{}': expected one of {}{}",
            release.dir,
            args.image,
            has.join(", "),
            help.map_or(String::new(), |h| format!("; {h}"))
        )));
    };
    let length = prebuilt::expand(&join(&release.dir, file), &args.disk, args.size)
        .map_err(|e| release::failed(&e))?;
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{}: {} MiB of image, {} MiB in all",
        args.disk,
        length >> 20,
        args.size >> 20
    )?;
    Ok(Exit::Clean)
}

/// `fallout release install`
pub fn run(context: &Context, args: &InstallArgs) -> Outcome {
    let images = context.images_dir(None)?;
    let ports = context.ports(&images)?;
    let (port, spec, system) = find(&ports, &args.port)?;
    let mut more: Vec<String> = Vec::new();
    match spec.medium.as_deref() {
        Some("iso") => more.push(format!("../images/NetBSD-*-{}.iso", system.machine)),
        Some(medium) => more.push(format!("installation/{medium}")),
        None => {}
    }
    let want = Want::usual(&more).map_err(|e| release::failed(&e))?;
    let release = obtain(
        context,
        &args.source,
        &system.machine,
        &want,
        how(args.offline),
    )?;
    let files = files(port, system, &release, &images)?;
    let parent = args.disk.parent().filter(|p| !p.as_str().is_empty());
    let work = tempfile::Builder::new()
        .prefix(".installing-")
        .tempdir_in(parent.unwrap_or(Utf8Path::new(".")))
        .map_err(|e| Failure::host(format!("{}: {e}", args.disk)))?;
    let work = Utf8Path::from_path(work.path())
        .ok_or_else(|| Failure::usage(format!("{}: not UTF-8", args.disk)))?;
    let console = args
        .console
        .clone()
        .unwrap_or_else(|| Utf8PathBuf::from(format!("{}.console", args.disk)));
    let run_base = context.dirs.make_runtime()?;
    // An assembled image takes the kernel's own file; an installation, the set that has it.
    let kernel = system.kernel.split('.').next().unwrap_or(&system.kernel);
    let sets: Vec<String> = std::iter::once(format!("kern-{kernel}"))
        .chain(system.sets.iter().cloned())
        .collect();
    let order = Order {
        port,
        spec,
        raw: system.label.raw,
        release: &release,
        sets: &sets,
        files: &files,
        scripts: &images.join(&port.family).join("install"),
        work,
        disk: &args.disk,
        disk_bytes: u64::from(system.size_mib) << 20,
        console_file: &console,
        run_base,
    };
    let runtime = failure::runtime()?;
    let mut tell = |step: &str, since: std::time::Duration| {
        eprintln!(
            "{:7.1}s {}",
            since.as_secs_f64(),
            text::line(step.as_bytes(), 80)
        );
    };
    let done = runtime.block_on(async {
        tokio::select! {
            done = install(&order, &mut tell) => Some(done),
            _ = tokio::signal::ctrl_c() => None,
        }
    });
    match done {
        Some(Ok(())) => {
            writeln!(std::io::stdout(), "{}", args.disk)?;
            Ok(Exit::Clean)
        }
        Some(Err(error @ (InstallError::Release(_) | InstallError::Dialogue(_)))) => {
            Err(Failure::usage(error))
        }
        Some(Err(error)) => Err(Failure::host(error)),
        None => Err(Failure::interrupted("interrupted: there is no disk")),
    }
}

fn find<'a>(
    ports: &'a [Port],
    name: &str,
) -> Result<(&'a Port, &'a InstallSpec, &'a ReleaseSpec), Failure> {
    let can = |p: &'a Port| {
        let (install, release) = (p.image.install.as_ref()?, p.image.release.as_ref()?);
        Some((p, install, release))
    };
    let found = ports
        .iter()
        .filter_map(can)
        .find(|(p, ..)| p.port.as_str() == name);
    found.ok_or_else(|| {
        let has: Vec<&str> = ports
            .iter()
            .filter_map(can)
            .map(|(p, ..)| p.port.as_str())
            .collect();
        let help = did_you_mean(name, has.iter().copied());
        Failure::usage(format!(
            "no port '{name}' with an installation in its manifest: expected one of {}{}",
            has.join(", "),
            help.map_or(String::new(), |h| format!("; {h}"))
        ))
    })
}

/// The files that an assembled image of the port has too: the same system, whichever way it is made.
fn files(
    port: &Port,
    system: &ReleaseSpec,
    release: &Release,
    images: &Utf8Path,
) -> Result<Vec<Configured>, Failure> {
    let etc = release.set("etc").map_err(|e| release::failed(&e))?;
    let old = |path: &str| {
        let out = Command::new("tar")
            .args(["-xOf", etc.as_str(), &format!("./{path}")])
            .output()
            .ok()?;
        out.status
            .success()
            .then(|| String::from_utf8_lossy(&out.stdout).into_owned())
    };
    let mut files = config::files(port, system, &old);
    let overlay =
        overlay::read(&images.join(&port.family).join("overlay")).map_err(Failure::host)?;
    files.extend(overlay.into_iter().map(|file| {
        let mode = if file.executable { 0o755 } else { 0o644 };
        (file.path, mode, file.content.to_vec())
    }));
    Ok(files)
}
