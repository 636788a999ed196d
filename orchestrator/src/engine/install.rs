//! A system installed by its own medium: the way of last resort, and the one that tests the installer's kernel.
//!
//! ```text
//! release, manifest ──▶ image::install: CD, disk ──▶ emulator with the medium
//!                                                        │ dialogue.yaml over the console
//!                                                        ▼
//!                               disk with a system ◀── halted
//! ```
//!
//! An assembled image is made in a fraction of the time and is preferred where a port allows it.

use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};

use crate::crash::Recogniser;
use crate::guest::GuestError;
use crate::guest::bare::{Bare, BareSpec};
use crate::guest::talk::{TalkError, talk};
use crate::host::yaml::{self, YamlError};
use crate::image::ImageError;
use crate::image::exec::Watch;
use crate::image::install::{self as media, Configured, Contents};
use crate::image::netbsd::config;
use crate::image::release::{Release, ReleaseError, join};
use crate::model::Port;
use crate::model::install::InstallSpec;
use crate::model::script::{Step, check};

/// After the last word of the dialogue the machine turns itself off.
const HALT: Duration = Duration::from_secs(90);
/// A console of an installation has some hundred KiB.
const CONSOLE_BYTES: u64 = 16 << 20;

/// What to install, and where to.
#[derive(Debug, Clone)]
pub struct Order<'a> {
    /// The port's manifest.
    pub port: &'a Port,
    /// Its part on installations.
    pub spec: &'a InstallSpec,
    /// The partition that is the whole disk.
    pub raw: char,
    /// The release.
    pub release: &'a Release,
    /// The sets, in their order; one that ends in `?` may be missing.
    pub sets: &'a [String],
    /// What is configured.
    pub files: &'a [Configured],
    /// The directory with `dialogue.yaml` and `install.sh`.
    pub scripts: &'a Utf8Path,
    /// A directory for work, on the file system of `disk`.
    pub work: &'a Utf8Path,
    /// The disk that comes of it: written once it is whole.
    pub disk: &'a Utf8Path,
    /// How large it is.
    pub disk_bytes: u64,
    /// Where the console's bytes go.
    pub console_file: &'a Utf8Path,
    /// The base of run directories.
    pub run_base: &'a Utf8Path,
}

/// Why there is no installed disk.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The release lacks something.
    #[error(transparent)]
    Release(#[from] ReleaseError),
    /// The dialogue's file is wrong.
    #[error(transparent)]
    Dialogue(#[from] YamlError),
    /// CD or disk could not be made.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The emulator did not start.
    #[error(transparent)]
    Guest(#[from] GuestError),
    /// The installation came to a step and no further.
    #[error("{port}: {talk}{emulator}\nthe whole console is in {console}")]
    Stuck {
        /// The port.
        port: String,
        /// Where, and the last screen.
        talk: TalkError,
        /// What the emulator said.
        emulator: String,
        /// The console's file.
        console: Utf8PathBuf,
    },
}

/// The steps of `dialogue.yaml`, with the devices of this port in them.
pub fn dialogue(file: &Utf8Path, sets: &str) -> Result<Vec<Step>, YamlError> {
    let mut steps = yaml::read::<Vec<Step>>(file, |steps| check("", steps))?.value;
    for reaction in steps.iter_mut().flat_map(|s| &mut s.on) {
        reaction.keys = reaction.keys.replace("{sets}", sets);
    }
    Ok(steps)
}

/// Installs. `tell` hears of each step as it begins, with the time since the start.
pub async fn install(
    order: &Order<'_>,
    tell: &mut (dyn FnMut(&str, Duration) + Send),
) -> Result<(), InstallError> {
    let began = Instant::now();
    let spec = order.spec;
    let steps = dialogue(&order.scripts.join("dialogue.yaml"), &spec.sets)?;
    let mut sets = Vec::new();
    for word in order.sets {
        match (
            word.strip_suffix('?'),
            order.release.set(word.trim_end_matches('?')),
        ) {
            (_, Ok(file)) => sets.push(file),
            (Some(_), Err(_)) => {}
            (None, Err(error)) => return Err(error.into()),
        }
    }
    let medium = medium(order)?;
    let kernel = spec
        .kernel
        .as_deref()
        .map(|k| order.release.kernel(k))
        .transpose()?;
    tell("the CD with the sets", began.elapsed());
    let contents = Contents {
        spec,
        raw: order.raw,
        sets: &sets,
        script: &order.scripts.join("install.sh"),
        dirs: &config::DIRS,
        files: order.files,
        disk_bytes: order.disk_bytes,
    };
    let cd = media::cd(order.work, &contents, &Watch::QUIET)?;
    let disk = order.work.join("disk.img");
    media::disk(&disk, order.disk_bytes)?;
    let kernel = kernel.map(|k| plain(&k, order.work)).transpose()?;
    let mut drives = vec![(spec.disk_drive.clone(), disk.clone().into_std_path_buf())];
    if let (Some(medium), Some(how)) = (medium, &spec.medium_drive) {
        drives.push((how.clone(), medium.into_std_path_buf()));
    }
    drives.push((spec.sets_drive.clone(), cd.into_std_path_buf()));
    let bare = BareSpec {
        emulator: order.port.emulator.clone(),
        kernel: kernel.map(Utf8PathBuf::into_std_path_buf),
        drives,
        args: spec.args.clone(),
        label: format!("install {}", order.port.port),
        run_base: order.run_base.as_std_path().to_owned(),
        console_file: order.console_file.as_std_path().to_owned(),
        console_cap_bytes: CONSOLE_BYTES,
    };
    let mut machine = Bare::start(&bare, Box::new(Recogniser::new())).await?;
    let talked = talk(&mut machine.console, &steps, &mut |step| {
        tell(step, began.elapsed());
    })
    .await;
    if talked.is_ok() {
        tell("turning it off", began.elapsed());
        // Everything is unmounted: a machine that does not turn itself off is turned off.
        let _ = machine.ended(HALT).await;
    }
    let (said, _) = machine.end().await;
    if let Err(talk) = talked {
        return Err(InstallError::Stuck {
            port: order.port.port.to_string(),
            talk,
            emulator: match said.is_empty() {
                true => String::new(),
                false => format!("\nthe emulator said: {said}"),
            },
            console: order.console_file.to_owned(),
        });
    }
    std::fs::rename(&disk, order.disk).map_err(|source| ImageError::Io {
        doing: "rename to",
        path: order.disk.to_owned(),
        source,
    })?;
    tell("installed", began.elapsed());
    Ok(())
}

/// The medium's file.
fn medium(order: &Order<'_>) -> Result<Option<Utf8PathBuf>, ReleaseError> {
    let Some(name) = &order.spec.medium else {
        return Ok(None);
    };
    let layout = &order.release.layout;
    let found = match name.as_str() {
        "iso" => layout.images.get("iso"),
        name => layout.media.get(name),
    };
    let dir = &order.release.dir;
    let has = || layout.media.keys().chain(layout.images.keys());
    found
        .map(|file| Some(join(dir, file)))
        .ok_or_else(|| ReleaseError::missing("installation medium", name, dir.as_str(), has()))
}

/// The kernel, unpacked: no emulator reads it compressed.
fn plain(kernel: &Utf8Path, work: &Utf8Path) -> Result<Utf8PathBuf, ImageError> {
    if kernel.extension() != Some("gz") {
        return Ok(kernel.to_owned());
    }
    let to = work.join(kernel.file_stem().unwrap_or("kernel"));
    let io = |source| ImageError::Io {
        doing: "unpack",
        path: kernel.to_owned(),
        source,
    };
    let file = std::fs::File::create(&to).map_err(io)?;
    let status = std::process::Command::new("gzip")
        .args(["-dc", kernel.as_str()])
        .stdout(file)
        .status();
    match status.map_err(io)?.success() {
        true => Ok(to),
        false => Err(ImageError::Tool {
            tool: "gzip".to_owned(),
            output: format!("{kernel} is not what gzip writes"),
        }),
    }
}

#[cfg(test)]
mod tests;
