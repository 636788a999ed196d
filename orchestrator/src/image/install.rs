//! What an installation needs besides its medium: a CD with the sets, the script and the configuration,
//! and an empty disk. Nothing is booted here; `engine::install` does that.

use std::fs::File;
use std::process::Command;

use camino::{Utf8Path, Utf8PathBuf};

use super::error::{ImageError, IoContext};
use super::exec::{Watch, run};
use crate::model::install::InstallSpec;

/// A file of the configuration: path in the system, mode, content.
pub type Configured = (String, u32, Vec<u8>);

/// What goes on the CD.
#[derive(Debug, Clone)]
pub struct Contents<'a> {
    /// The manifest's part.
    pub spec: &'a InstallSpec,
    /// The partition that is the whole disk: `d`.
    pub raw: char,
    /// The sets, in their order.
    pub sets: &'a [Utf8PathBuf],
    /// The script that is run in the installer's shell.
    pub script: &'a Utf8Path,
    /// Directories that the sets do not have, with their modes.
    pub dirs: &'a [(&'a str, u32)],
    /// What is configured once the sets are there.
    pub files: &'a [Configured],
    /// The disk's length.
    pub disk_bytes: u64,
}

/// Writes the CD into `work`, and gives its path. Needs `makefs`.
pub fn cd(
    work: &Utf8Path,
    contents: &Contents<'_>,
    watch: &Watch<'_>,
) -> Result<Utf8PathBuf, ImageError> {
    let (dir, iso) = (work.join("cd"), work.join("sets.iso"));
    let sets = dir.join("sets");
    std::fs::create_dir_all(&sets).doing("create", &sets)?;
    for (n, set) in contents.sets.iter().enumerate() {
        // Numbers keep the order for a shell that sorts names.
        let name = format!("{n:02}-{}", set.file_name().unwrap_or("set"));
        let to = sets.join(name);
        // Not copied where it can be helped: together they are some hundred megabytes.
        std::fs::hard_link(set, &to)
            .or_else(|_| std::fs::copy(set, &to).map(|_| ()))
            .doing("write", &to)?;
    }
    let write = |name: &str, content: &[u8]| {
        let path = dir.join(name);
        std::fs::write(&path, content).doing("write", &path)
    };
    let script = std::fs::read(contents.script).doing("read", contents.script)?;
    write("install", &script)?;
    write("vars", vars(contents.spec).as_bytes())?;
    write("label", label(contents.disk_bytes, contents.raw).as_bytes())?;
    let overlay = dir.join("overlay.tar");
    pack(&overlay, contents.dirs, contents.files).doing("write", &overlay)?;
    (watch.progress)("write the CD with the sets", None);
    let mut makefs = Command::new("makefs");
    makefs.args([
        "-t",
        "cd9660",
        "-o",
        "rockridge",
        iso.as_str(),
        dir.as_str(),
    ]);
    let ran = run(&mut makefs, "makefs", watch, &mut |_| {})?;
    match ran.ok {
        true => Ok(iso),
        false => Err(ImageError::Tool {
            tool: "makefs".to_owned(),
            output: ran.complaint(),
        }),
    }
}

/// An empty disk.
pub fn disk(path: &Utf8Path, bytes: u64) -> Result<(), ImageError> {
    let file = File::create(path).doing("create", path)?;
    file.set_len(bytes).doing("write", path)
}

/// The script's variables. Values are of the manifest's, and quoted all the same.
fn vars(spec: &InstallSpec) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    format!("DISK={}\nBOOT={}\n", quoted(&spec.disk), quoted(&spec.boot))
}

/// A label for the installer's `disklabel -R`: one file system, swap behind it, and the whole disk.
pub fn label(disk_bytes: u64, raw: char) -> String {
    const TRACK: u64 = 63;
    const CYLINDER: u64 = TRACK * 16;
    let cylinders = disk_bytes / 512 / CYLINDER;
    let all = cylinders * CYLINDER;
    // A sixteenth, and not more than 128 MiB.
    let swap = (cylinders / 16).min((128 << 20) / 512 / CYLINDER) * CYLINDER;
    let root = all - swap;
    let mut text = format!(
        "type: ESDI\ndisk: fallout\nlabel: fallout\nflags:\nbytes/sector: 512\nsectors/track: {TRACK}\n\
         tracks/cylinder: 16\nsectors/cylinder: {CYLINDER}\ncylinders: {cylinders}\ntotal sectors: {all}\n\
         rpm: 3600\ninterleave: 1\ntrackskew: 0\ncylinderskew: 0\nheadswitch: 0\ntrack-to-track seek: 0\n\
         drivedata: 0\n\n8 partitions:\n a: {root} 0 4.2BSD 1024 8192 0\n b: {swap} {root} swap\n"
    );
    let mut whole = vec!['c', raw];
    whole.dedup();
    for letter in whole {
        text += &format!(" {letter}: {all} 0 unused 0 0\n");
    }
    text
}

fn pack(path: &Utf8Path, dirs: &[(&str, u32)], files: &[Configured]) -> std::io::Result<()> {
    let mut tar = tar::Builder::new(File::create(path)?);
    let mut add = |name: &str, kind: tar::EntryType, mode: u32, content: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(content.len() as u64);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000_000);
        tar.append_data(&mut header, name, content)
    };
    for (name, mode) in dirs {
        add(name, tar::EntryType::Directory, *mode, &[])?;
    }
    for (name, mode, content) in files {
        add(name, tar::EntryType::Regular, *mode, content)?;
    }
    tar.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_label_covers_the_disk() {
        let text = label(2 << 30, 'd');
        let partitions = text.split_once("partitions:\n").unwrap().1;
        let lines: Vec<&str> = partitions.lines().map(str::trim).collect();
        assert_eq!(
            lines,
            [
                "a: 3932208 0 4.2BSD 1024 8192 0",
                "b: 262080 3932208 swap",
                "c: 4194288 0 unused 0 0",
                "d: 4194288 0 unused 0 0",
            ]
        );
        let size = |letter: &str| {
            let line = text.lines().find(|l| l.trim().starts_with(letter)).unwrap();
            line.split_whitespace()
                .nth(1)
                .unwrap()
                .parse::<u64>()
                .unwrap()
        };
        assert_eq!(size("a:") + size("b:"), size("d:"));
        assert!(size("d:") * 512 <= 2 << 30);
        assert!(!label(1 << 30, 'c').contains(" d: "));
    }

    #[test]
    fn a_value_with_a_quote_stays_a_value() {
        let spec = InstallSpec {
            medium: None,
            kernel: None,
            disk_drive: String::new(),
            medium_drive: None,
            sets_drive: String::new(),
            args: Vec::new(),
            disk: "wd0".to_owned(),
            sets: "cd1a".to_owned(),
            boot: "echo 'a b'; reboot".to_owned(),
        };
        let script = format!("{}\nprintf '%s|%s' \"$DISK\" \"$BOOT\"", vars(&spec));
        let out = Command::new("sh").args(["-c", &script]).output().unwrap();
        assert_eq!(
            String::from_utf8_lossy(&out.stdout),
            "wd0|echo 'a b'; reboot"
        );
    }
}
