//! The disk of an image: a file system by makefs, with what a boot needs around it.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::process::Command;

use camino::Utf8Path;

use super::label::{Disk, written};
use super::make::wrong;
use super::spec::{Entries, Kind, add_parents, text};
use crate::host::process::find_program;
use crate::image::error::{ImageError, IoContext};
use crate::image::exec::{self, Watch};
use crate::model::port::{Port, ReleaseSpec};

/// Swap behind the root.
pub(super) const SWAP_BYTES: u64 = 128 << 20;
/// Files that a guest can make beyond those that are there.
const FREE_FILES: &str = "60000";
/// Where boot blocks end: the file system's own label is behind them.
pub(super) const BOOT_BYTES: usize = 8192;

/// Gives the space back that holds nothing but zeros: makefs writes all of it.
fn punch(file: &fs::File) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    const PIECE: usize = 1 << 20;
    let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    let (mut piece, mut at) = (vec![0; PIECE], 0);
    loop {
        let n = file.read_at(&mut piece, at)?;
        if n == 0 {
            return Ok(());
        }
        let empty = piece[..n].iter().all(|b| *b == 0);
        // A file system that has no holes keeps the zeros.
        if empty && fallocate(file, hole, at, n as u64).is_err() {
            return Ok(());
        }
        at += n as u64;
    }
}

/// Writes `disk` in `made`: the file system of the entries, boot blocks, label, and room for swap.
pub(super) fn write_disk(
    port: &Port,
    release: &ReleaseSpec,
    root: &Utf8Path,
    entries: &mut Entries,
    made: &Utf8Path,
    work: &Utf8Path,
    watch: &Watch<'_>,
) -> Result<(), ImageError> {
    (watch.progress)("write the file system", None);
    add_parents(entries);
    for (path, _) in entries.iter().filter(|(_, e)| e.kind == Kind::Dir) {
        let place = root.join(path);
        fs::create_dir_all(&place).doing("create", &place)?;
    }
    let (spec, disk) = (work.join("spec"), made.join("disk"));
    fs::write(&spec, text(entries)).doing("write", &spec)?;
    let big = port.traits.get("endian").is_some_and(|e| e == "big");
    let size = format!("{}m", release.size_mib);
    let tool = match find_program("nbmakefs") {
        Some(_) => "nbmakefs",
        None => "makefs",
    };
    let mut command = Command::new(tool);
    command
        .args(["-t", "ffs", "-B", if big { "be" } else { "le" }])
        .args(["-o", "version=1,bsize=16384,fsize=2048"])
        .args(["-s", &size, "-f", FREE_FILES, "-F"])
        .args([&spec, &disk, root]);
    let ran = exec::run(&mut command, "makefs", watch, &mut |_| {})?;
    if !ran.ok {
        return Err(ImageError::Tool {
            tool: tool.to_owned(),
            output: ran.complaint(),
        });
    }
    let file = fs::OpenOptions::new().read(true).write(true).open(&disk);
    let file = file.doing("write", &disk)?;
    punch(&file).doing("write", &disk)?;
    let root_bytes = u64::from(release.size_mib) << 20;
    file.set_len(root_bytes + SWAP_BYTES)
        .doing("write", &disk)?;
    let write = |bytes: &[u8], at: u64| file.write_all_at(bytes, at).doing("write", &disk);
    if let Some(blocks) = &release.boot_blocks {
        let path = root.join(blocks);
        let blocks = fs::read(&path).doing("read", &path)?;
        let (most, at) = (BOOT_BYTES, release.boot_offset);
        if at as usize + blocks.len() > most {
            let message = format!("{path} ends behind byte {most} of the disk: it begins at {at}");
            return Err(wrong(port, message));
        }
        write(&blocks, u64::from(at))?;
    }
    let sizes = Disk {
        root_bytes,
        swap_bytes: SWAP_BYTES,
    };
    let (at, label) = written(sizes, release.label, big);
    write(&label, at)
}
