//! `fallout port list|show`: the ports that have a manifest, and whether this machine can run them.

use std::io::Write as _;

use camino::Utf8Path;
use serde::Serialize;

use super::args::PortCommand;
use super::context::Context;
use super::exit::{Exit, Failure, Outcome};
use super::term::write_table;
use crate::host::dirs::Dirs;
use crate::host::files;
use crate::image;
use crate::model::Port;
use crate::model::problem::did_you_mean;

/// `fallout port …`
pub fn run(context: &Context, command: &PortCommand) -> Outcome {
    let images = context.images_dir(None)?;
    let ports = context.ports(&images)?;
    match command {
        PortCommand::List { json } => list(context, &images, &ports, *json),
        PortCommand::Show { port, json } => {
            let names = ports.iter().map(|p| p.port.as_str());
            let found = ports.iter().find(|p| p.port.as_str() == port);
            let found = found.ok_or_else(|| {
                let known: Vec<&str> = names.clone().collect();
                let help =
                    did_you_mean(port, names.clone()).map_or(String::new(), |h| format!("; {h}"));
                let known = known.join(", ");
                Failure::usage(format!(
                    "no port '{port}' in {images}: expected one of {known}{help}"
                ))
            })?;
            show(context, &images, found, *json)
        }
    }
}

/// A port and what this machine has for it.
#[derive(Debug, Serialize)]
struct Standing<'a> {
    #[serde(flatten)]
    manifest: &'a Port,
    /// Where the emulator is; none where it is not installed.
    emulator_path: Option<String>,
    /// Whether a bootable image is in the cache; none where that is not known.
    image_ready: Option<bool>,
}

impl<'a> Standing<'a> {
    fn of(context: &Context, images: &Utf8Path, manifest: &'a Port) -> Self {
        let emulator_path = files::find_program(&manifest.emulator.program);
        Self {
            manifest,
            emulator_path: emulator_path.map(|p| p.into_string()),
            image_ready: image_ready(manifest, images, &context.dirs),
        }
    }

    fn emulator(&self) -> String {
        let emulator = &self.manifest.emulator;
        match &self.emulator_path {
            Some(_) => emulator.program.clone(),
            None => {
                let package = emulator.packages.first().map_or("", String::as_str);
                format!("missing: install {package}")
            }
        }
    }

    fn image(&self) -> &'static str {
        match self.image_ready {
            Some(true) => "ready",
            Some(false) => "not made",
            None => "?",
        }
    }
}

/// Whether the image is in the cache; none where that cannot be known, for example because the
/// images' recipes are wrong.
fn image_ready(port: &Port, images: &Utf8Path, dirs: &Dirs) -> Option<bool> {
    let dirs = image::Dirs {
        images: images.to_owned(),
        cache: dirs.cache.clone(),
    };
    match image::planned_image(port, &dirs) {
        Ok(image::Planned::Cached(_)) => Some(true),
        Ok(image::Planned::Missing { .. }) => Some(false),
        Err(_) => None,
    }
}

fn list(context: &Context, images: &Utf8Path, ports: &[Port], json: bool) -> Outcome {
    let standings: Vec<Standing> = ports
        .iter()
        .map(|p| Standing::of(context, images, p))
        .collect();
    let mut out = std::io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, &standings).map_err(std::io::Error::from)?;
        writeln!(out)?;
        return Ok(Exit::Clean);
    }
    let mut rows = vec![
        [
            "PORT", "FAMILY", "WORD", "ENDIAN", "IMAGE", "EMULATOR", "STATUS",
        ]
        .map(String::from),
    ];
    for s in &standings {
        let port = s.manifest;
        let fact = |name: &str| {
            port.traits
                .get(name)
                .cloned()
                .unwrap_or_else(|| "?".to_owned())
        };
        rows.push([
            port.port.to_string(),
            port.family.clone(),
            fact("word"),
            fact("endian"),
            s.image().to_owned(),
            s.emulator(),
            port.status.clone(),
        ]);
    }
    write_table(&mut out, &rows)?;
    out.flush()?;
    Ok(Exit::Clean)
}

fn show(context: &Context, images: &Utf8Path, port: &Port, json: bool) -> Outcome {
    let standing = Standing::of(context, images, port);
    let mut out = std::io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, &standing).map_err(std::io::Error::from)?;
        writeln!(out)?;
        return Ok(Exit::Clean);
    }
    let e = &port.emulator;
    let image = &port.image;
    let (made_of, kernel) = match (&image.release, &image.kernel_package) {
        (Some(release), _) => (
            format!("a release's {}", release.sets.join(", ")),
            format!("{} of the release", release.kernel),
        ),
        (None, Some(package)) => (
            format!("{} {}", image.suite, image.arch),
            format!("package {package}"),
        ),
        (None, None) => (
            format!("{} {}", image.suite, image.arch),
            "built from source".to_owned(),
        ),
    };
    let emulator = match &standing.emulator_path {
        Some(path) => path.clone(),
        None => format!("{} ({})", standing.emulator(), e.program),
    };
    let cpu = e.cpu.as_deref().unwrap_or("default");
    let lines = [
        ("port", port.port.to_string()),
        ("family", port.family.clone()),
        ("status", port.status.clone()),
        ("image", standing.image().to_owned()),
        ("made of", made_of),
        ("kernel", kernel),
        ("runner", image.runner.clone()),
        ("emulator", emulator),
        (
            "machine",
            format!("{}, cpu {cpu}, {} MiB", e.machine, e.mem_mib),
        ),
        ("compiler", format!("{}-gcc", port.toolchain.triplet)),
    ];
    for (name, value) in lines {
        writeln!(out, "{name:<9} {value}")?;
    }
    writeln!(out, "traits")?;
    for (name, value) in &port.traits {
        writeln!(out, "  {name:<18} {value}")?;
    }
    out.flush()?;
    Ok(Exit::Clean)
}
