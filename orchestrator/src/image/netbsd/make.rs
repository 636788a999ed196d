//! From a release's directory to an image in the cache: what `image::make` is for packages.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::process::Command;

use camino::{Utf8Path, Utf8PathBuf};

use super::config::{self, is_kept};
use super::disk::write_disk;
use super::sets::SetFile;
use super::spec::{Entries, Entry, Kind};
use super::{devices, kernel, sets};
use crate::image::cache::{self, FORMAT, Image, Ingredient, Record, Stored};
use crate::image::error::{ImageError, IoContext};
use crate::image::exec::Watch;
use crate::image::lock::{Hold, WorkDir, lock};
use crate::image::release::{Release, local};
use crate::image::{Dirs, Planned, fetch, overlay};
use crate::model::ids::Key;
use crate::model::port::{Port, ReleaseSpec};

/// Part of every key: raise it when the disk of the same ingredients becomes another.
const ASSEMBLY: u32 = 3;

/// Where the release's own kernel stands when the disk boots another one: the boot loader tries it
/// after `netbsd`.
const STOCK_KERNEL: &str = "onetbsd";

/// What an image is made of.
struct Parts {
    sets: Vec<SetFile>,
    kernel: Utf8PathBuf,
    /// The kernel that the disk boots, where it is none of the release's.
    other: Option<Utf8PathBuf>,
    overlay: Vec<overlay::File>,
    key: Key,
    ingredients: BTreeMap<String, Ingredient>,
}

pub(super) fn wrong(port: &Port, message: impl Into<String>) -> ImageError {
    ImageError::Assemble {
        port: port.port.to_string(),
        message: message.into(),
    }
}

fn parts(
    port: &Port,
    release: &ReleaseSpec,
    other: Option<&Utf8Path>,
    dirs: &Dirs,
) -> Result<Parts, ImageError> {
    let from = release.from.as_deref().ok_or_else(|| {
        wrong(
            port,
            "no release is given: expected `release` in the matrix, or --release DIR",
        )
    })?;
    let found: Release = local::read(from, &release.machine, &[])?;
    let mut others: BTreeMap<&str, Release> = BTreeMap::new();
    for machine in release.machines().into_iter().skip(1) {
        others.insert(machine, local::beside(from, machine)?);
    }
    let mut files = Vec::new();
    for (machine, set, may_be_missing) in release.wanted() {
        let other = others.get(machine);
        let name = other.map_or(set.to_owned(), |_| format!("{machine}/{set}"));
        match other.unwrap_or(&found).set(set) {
            Ok(file) => files.push((name, file)),
            Err(_) if may_be_missing => {}
            Err(error) => return Err(error.into()),
        }
    }
    let kernel = found.kernel(&release.kernel)?;
    let overlay = overlay::read(&dirs.images.join(&port.family).join("overlay"))?;
    let mut ingredients = BTreeMap::new();
    let named = files.iter().map(|(name, file)| (name.as_str(), file));
    for (name, file) in named.chain([("kernel", &kernel)]) {
        let ingredient = Ingredient {
            version: release.machine.clone(),
            sha256: Some(content(&dirs.cache, file)?),
        };
        ingredients.insert(name.to_owned(), ingredient);
    }
    if let Some(file) = other {
        let ingredient = Ingredient {
            version: "built".to_owned(),
            sha256: Some(content(&dirs.cache, file)?),
        };
        ingredients.insert("built kernel".to_owned(), ingredient);
    }
    // Where the release lies is nothing to the image.
    let spec = ReleaseSpec {
        from: None,
        ..release.clone()
    };
    let spec = serde_json::to_string(&spec).unwrap_or_default();
    let (name, made_of) = (port.port.to_string(), overlay::key(&overlay));
    let mut key: Vec<&[u8]> = vec![name.as_bytes(), spec.as_bytes(), made_of.0.as_bytes()];
    for (name, ingredient) in &ingredients {
        key.push(name.as_bytes());
        key.extend(ingredient.sha256.iter().map(|s| s.as_bytes()));
    }
    let key = Key::of(&format!("netbsd image {FORMAT}.{ASSEMBLY}"), &key);
    Ok(Parts {
        sets: files,
        kernel,
        other: other.map(Utf8Path::to_owned),
        overlay,
        key,
        ingredients,
    })
}

/// The hash of a release's file. It is kept by path, length and time: a release is hundreds of
/// megabytes, and a plan asks for all of it.
fn content(cache: &Utf8Path, file: &Utf8Path) -> Result<String, ImageError> {
    use std::os::unix::fs::MetadataExt as _;
    let found = fs::metadata(file).doing("look at", file)?;
    let stamp = format!(
        "{file} {} {} {}",
        found.len(),
        found.mtime(),
        found.mtime_nsec()
    );
    let name = Key::of("release file", &[stamp.as_bytes()]);
    let kept = cache.join("release-hashes").join(&name.0);
    if let Ok(hash) = fs::read_to_string(&kept)
        && hash.len() == 64
    {
        return Ok(hash);
    }
    let (_, sha256) = fetch::hash_file(file)?;
    crate::image::lock::write_whole(&kept, sha256.as_bytes())?;
    Ok(sha256)
}

/// Whether the image of a release's port is in the cache.
pub fn planned(port: &Port, release: &ReleaseSpec, dirs: &Dirs) -> Result<Planned, ImageError> {
    if release.from.is_none() {
        return Ok(Planned::Missing {
            key: None,
            why: "no release is given".to_owned(),
        });
    }
    let parts = parts(port, release, None, dirs)?;
    Ok(match cache::is_there(&dirs.cache, &parts.key) {
        true => Planned::Cached(parts.key),
        false => Planned::Missing {
            key: Some(parts.key),
            why: "it is to be assembled from the release".to_owned(),
        },
    })
}

/// The image of a release's port, assembled where it is not there yet. With `other` it boots that kernel,
/// and has the release's own beside it. Blocks.
pub fn make(
    port: &Port,
    release: &ReleaseSpec,
    other: Option<&Utf8Path>,
    dirs: &Dirs,
    watch: &Watch<'_>,
) -> Result<Image, ImageError> {
    (watch.progress)("read the release", None);
    let parts = parts(port, release, other, dirs)?;
    let dir = cache::images(&dirs.cache).join(&parts.key.0);
    loop {
        if let Some(image) = cache::find(&dirs.cache, &parts.key)? {
            return Ok(image);
        }
        watch.check()?;
        let _alone = lock(&cache::lock_path(&dir), Hold::Alone, watch)?;
        // Another process may have made it while this one waited. A damaged one makes way.
        if !cache::is_there(&dirs.cache, &parts.key) {
            if dir.exists() {
                fs::remove_dir_all(&dir).doing("remove the damaged", &dir)?;
            }
            let work = WorkDir::new(&dirs.cache)?;
            let made = assemble(port, release, &parts, work.path(), watch)?;
            fs::rename(&made, &dir).doing("rename to", &dir)?;
        }
    }
}

fn assemble(
    port: &Port,
    release: &ReleaseSpec,
    parts: &Parts,
    work: &Utf8Path,
    watch: &Watch<'_>,
) -> Result<Utf8PathBuf, ImageError> {
    let (root, made) = (work.join("root"), work.join("image"));
    for dir in [&root, &made] {
        fs::create_dir(dir).doing("create", dir)?;
    }
    let mut entries = sets::unpack(&parts.sets, &root, &is_kept, watch)?;
    (watch.progress)("set the system up", None);
    let script = root.join("dev/MAKEDEV");
    if !script.is_file() {
        let message = "there is no dev/MAKEDEV in its sets: expected it in the set etc or base";
        return Err(wrong(port, message));
    }
    entries.extend(devices::devices(&script, watch)?);
    let booted = parts.other.as_ref().unwrap_or(&parts.kernel);
    let file = unpacked(booted)?;
    let known = kernel::identify(&file);
    let known = known.ok_or_else(|| wrong(port, format!("{booted} is no kernel")))?;
    let place = made.join("kernel");
    fs::write(&place, &file).doing("write", &place)?;
    set_up(port, release, parts, &root, &mut entries)?;
    put(&root, &mut entries, "netbsd", 0o755, &file)?;
    if parts.other.is_some() {
        let stock = unpacked(&parts.kernel)?;
        put(&root, &mut entries, STOCK_KERNEL, 0o755, &stock)?;
    }
    write_disk(port, release, &root, &mut entries, &made, work, watch)?;
    let mut files = BTreeMap::new();
    (watch.progress)("write down what it is", None);
    for name in ["kernel", "disk"] {
        let path = made.join(name);
        let size_bytes = fs::metadata(&path).doing("look at", &path)?.len();
        // The disk is what its ingredients are: hashing it would take longer than making it.
        let sha256 = match name {
            "disk" => parts.key.0.clone(),
            _ => fetch::hash_file(&path)?.1,
        };
        files.insert(name.to_owned(), Stored { size_bytes, sha256 });
    }
    let record = Record {
        format: FORMAT,
        port: port.port.to_string(),
        key: parts.key.clone(),
        made: jiff::Timestamp::now(),
        kernel: known,
        files,
        ingredients: parts.ingredients.clone(),
    };
    let place = made.join("image.json");
    let text = serde_json::to_vec_pretty(&record).map_err(io::Error::other);
    fs::write(&place, text.doing("write", &place)?).doing("write", &place)?;
    Ok(made)
}

/// A file that is packed by gzip or not at all.
fn unpacked(file: &Utf8Path) -> Result<Vec<u8>, ImageError> {
    let bytes = fs::read(file).doing("read", file)?;
    if !bytes.starts_with(b"\x1f\x8b") {
        return Ok(bytes);
    }
    let ran = Command::new("gzip").arg("-dc").arg(file).output();
    let ran = ran.doing("unpack", file)?;
    match ran.status.success() {
        true => Ok(ran.stdout),
        false => Err(ImageError::Tool {
            tool: format!("gzip -dc {file}"),
            output: String::from_utf8_lossy(&ran.stderr).trim().to_owned(),
        }),
    }
}

/// Puts the system's configuration and the overlay in.
fn set_up(
    port: &Port,
    release: &ReleaseSpec,
    parts: &Parts,
    root: &Utf8Path,
    entries: &mut Entries,
) -> Result<(), ImageError> {
    for (path, mode) in config::DIRS {
        let entry = Entry::roots(Kind::Dir, mode);
        entries.entry(path.to_owned()).or_insert(entry);
    }
    let old = |path: &str| fs::read_to_string(root.join(path)).ok();
    for (path, mode, content) in config::files(port, release, &old) {
        put(root, entries, &path, mode, &content)?;
    }
    for file in &parts.overlay {
        let mode = if file.executable { 0o755 } else { 0o644 };
        put(root, entries, &file.path, mode, &file.content)?;
    }
    for (to, from) in &release.copies {
        let path = root.join(from);
        let content = fs::read(&path).map_err(|e| {
            wrong(
                port,
                format!("'{from}', which image.release.copies names: {e}"),
            )
        })?;
        let mode = entries.get(from.as_str()).map_or(0o644, |e| e.mode);
        put(root, entries, to, mode, &content)?;
    }
    Ok(())
}

/// Writes a file of root's into the tree.
fn put(
    root: &Utf8Path,
    entries: &mut Entries,
    path: &str,
    mode: u32,
    content: &[u8],
) -> Result<(), ImageError> {
    let place = root.join(path);
    if let Some(dir) = place.parent() {
        fs::create_dir_all(dir).doing("create", dir)?;
    }
    // It may be another name of a file, or a link.
    match fs::remove_file(&place) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e).doing("remove", &place)?,
        _ => {}
    }
    fs::write(&place, content).doing("write", &place)?;
    entries.insert(path.to_owned(), Entry::roots(Kind::File, mode));
    Ok(())
}

#[cfg(test)]
mod tests;
