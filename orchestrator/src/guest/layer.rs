//! The two disks of a guest whose root is a disk: a layer over the image's, and the exchange disk.
//!
//! The layer is qcow2 (version 2, backed by the raw image) and takes all that the guest writes, so one
//! image serves any number of guests. Both files are gone with the guest; those of a fallout that was killed
//! go when the next guest of their directory starts. (They keep their names: an emulator that is to save a
//! guest looks for its disks by them.) The exchange disk is raw. Host and guest read and write it at
//! its first byte, one after the other, as a request says; what the guest writes there is untrusted.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::{NamedTempFile, TempPath};

/// How large the exchange disk is. It is sparse.
pub const EXCHANGE_BYTES: u64 = 512 << 20;

/// What the files' names begin with.
const LAYER: &str = "layer.";
const EXCHANGE: &str = "exchange.";

const SETTLE: Duration = Duration::from_secs(60);

const CLUSTER_BITS: u32 = 16;
const CLUSTER: u64 = 1 << CLUSTER_BITS;
/// Where the backing file's name stands, and how long it may be.
const NAME_AT: u64 = 512;
const NAME_MAX: usize = 1023;
const MAGIC: &[u8; 4] = b"QFI\xfb";
/// "The backing file's form is": without it the emulator would guess by what the guest wrote.
const EXTENSION_FORMAT: u32 = 0xe279_2aca;

/// The disks of a live guest.
#[derive(Debug)]
pub struct Layers {
    layer: File,
    exchange: File,
    names: (TempPath, TempPath),
}

impl Layers {
    /// Makes both in `dir`. The layer is over `image`: an empty one, or a copy of `saved`.
    pub fn make(dir: &Path, image: &Path, saved: Option<&Path>) -> io::Result<Self> {
        let image = std::fs::canonicalize(image)?;
        sweep(dir);
        let mut layer = NamedTempFile::with_prefix_in(LAYER, dir)?;
        // Says that its owner lives. The emulator's own locks are of another kind.
        layer.as_file().lock()?;
        match saved {
            None => layer.write_all(&empty(&image, std::fs::metadata(&image)?.len())?)?,
            Some(saved) => {
                io::copy(&mut File::open(saved)?, layer.as_file_mut())?;
                // The cache may have moved since.
                rename_backing(layer.as_file(), &image)?;
            }
        }
        layer.flush()?;
        let exchange = NamedTempFile::with_prefix_in(EXCHANGE, dir)?;
        exchange.as_file().lock()?;
        exchange.as_file().set_len(EXCHANGE_BYTES)?;
        let (layer, layer_name) = layer.into_parts();
        let (exchange, exchange_name) = exchange.into_parts();
        Ok(Self {
            layer,
            exchange,
            names: (layer_name, exchange_name),
        })
    }

    /// The files for the emulator: the layer, the exchange disk.
    pub fn paths(&self) -> (PathBuf, PathBuf) {
        let (layer, exchange) = &self.names;
        (layer.to_path_buf(), exchange.to_path_buf())
    }

    /// Copies the layer. The emulator must have stopped writing to it.
    pub fn save(&self, to: &Path) -> io::Result<()> {
        let mut from = &self.layer;
        from.seek(SeekFrom::Start(0))?;
        io::copy(&mut from, &mut File::create(to)?).map(drop)
    }

    /// Another handle on the exchange disk.
    pub fn exchange(&self) -> io::Result<File> {
        self.exchange.try_clone()
    }
}

/// Removes the disks of guests whose owner is no more.
fn sweep(dir: &Path) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let ours = name.starts_with(LAYER) || name.starts_with(EXCHANGE);
        // One that was made a moment ago may not be locked yet.
        let changed = entry.metadata().and_then(|m| m.modified()).ok();
        let old = changed
            .and_then(|at| at.elapsed().ok())
            .is_some_and(|age| age > SETTLE);
        if ours && old && File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok()) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// A qcow2 file over a raw image of `size_bytes`, with nothing in it.
fn empty(image: &Path, size_bytes: u64) -> io::Result<Vec<u8>> {
    let l2_covers = CLUSTER * (CLUSTER / 8);
    let l1_entries = size_bytes.div_ceil(l2_covers).max(1);
    if l1_entries * 8 > CLUSTER {
        return Err(io::Error::other("the disk is too large for a layer"));
    }
    let mut file = vec![0; 4 * CLUSTER as usize];
    let mut at = 0;
    let mut put = |bytes: &[u8]| {
        file[at..at + bytes.len()].copy_from_slice(bytes);
        at += bytes.len();
    };
    put(MAGIC);
    put(&2u32.to_be_bytes());
    put(&NAME_AT.to_be_bytes());
    put(&0u32.to_be_bytes());
    put(&CLUSTER_BITS.to_be_bytes());
    put(&size_bytes.to_be_bytes());
    // No encryption; then the table of tables, in the fourth cluster.
    put(&0u32.to_be_bytes());
    put(&(l1_entries as u32).to_be_bytes());
    put(&(3 * CLUSTER).to_be_bytes());
    // The table of reference counts, one cluster; no snapshots.
    put(&CLUSTER.to_be_bytes());
    put(&1u32.to_be_bytes());
    put(&0u32.to_be_bytes());
    put(&0u64.to_be_bytes());
    put(&EXTENSION_FORMAT.to_be_bytes());
    put(&3u32.to_be_bytes());
    put(b"raw\0\0\0\0\0");
    put(&[0; 8]);
    let counts = CLUSTER as usize;
    file[counts..counts + 8].copy_from_slice(&(2 * CLUSTER).to_be_bytes());
    for cluster in 0..4 {
        let at = 2 * counts + 2 * cluster;
        file[at..at + 2].copy_from_slice(&1u16.to_be_bytes());
    }
    let name = name_of(image)?;
    file[16..20].copy_from_slice(&(name.len() as u32).to_be_bytes());
    file[NAME_AT as usize..][..name.len()].copy_from_slice(name);
    Ok(file)
}

fn name_of(image: &Path) -> io::Result<&[u8]> {
    let name = image.as_os_str().as_encoded_bytes();
    if name.len() > NAME_MAX {
        return Err(io::Error::other("the image's path is too long for a layer"));
    }
    Ok(name)
}

/// Lets a layer of ours stand over the same image at another place.
fn rename_backing(mut layer: &File, image: &Path) -> io::Result<()> {
    let mut head = [0; 20];
    layer.seek(SeekFrom::Start(0))?;
    layer.read_exact(&mut head)?;
    if &head[..4] != MAGIC || head[8..16] != NAME_AT.to_be_bytes() {
        return Err(io::Error::other("what was saved is no layer of ours"));
    }
    let name = name_of(image)?;
    layer.write_all_at(name, NAME_AT)?;
    layer.write_all_at(&(name.len() as u32).to_be_bytes(), 16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn the_emulators_own_tool_takes_a_layer() {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("disk");
        std::fs::write(&image, vec![7; 3 << 20]).unwrap();
        let layers = Layers::make(dir.path(), &image, None).unwrap();
        let (layer, exchange) = layers.paths();
        assert_eq!(std::fs::metadata(&exchange).unwrap().len(), EXCHANGE_BYTES);
        let saved = dir.path().join("saved");
        layers.save(&saved).unwrap();
        let moved = dir.path().join("moved");
        std::fs::rename(&image, &moved).unwrap();
        let again = Layers::make(dir.path(), &moved, Some(&saved)).unwrap();
        let head = std::fs::read(again.paths().0).unwrap();
        let moved = std::fs::canonicalize(&moved).unwrap();
        let name = moved.as_os_str().as_encoded_bytes();
        assert_eq!(&head[512..512 + name.len()], name);
        assert!(Layers::make(dir.path(), &moved, Some(&moved)).is_err());
        if let Ok(said) = Command::new("qemu-img")
            .args(["check", "-q"])
            .arg(again.paths().0)
            .output()
        {
            assert!(said.status.success(), "{said:?}");
        }
        let left = dir.path().join("layer.left");
        let dead = File::create(&left).unwrap();
        dead.set_modified(std::time::SystemTime::UNIX_EPOCH)
            .unwrap();
        Layers::make(dir.path(), &moved, None).unwrap();
        assert!(!left.exists() && layer.exists());
        assert_eq!(
            layers.exchange().unwrap().metadata().unwrap().len(),
            EXCHANGE_BYTES
        );
    }
}
