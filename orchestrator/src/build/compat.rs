//! Checks the 32-bit compat libraries of a DESTDIR: that they are there, and made for what the tree
//! says. Which files belong to them is the set lists' business.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;

use camino::{Utf8Path, Utf8PathBuf};

use super::error::{BuildError, Doing};
use super::sets::{Machine, elf};
use super::sets_tree;

/// Files that are named where something is wrong with many.
const NAMED: usize = 5;

/// The compat libraries of one ABI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compat {
    /// Where they are in the DESTDIR: `usr/lib/i386`.
    pub dir: String,
    /// What most of their files are made for, and how many these are.
    pub made_for: Option<(elf::Abi, usize)>,
    /// What is wrong with them.
    pub problems: Vec<String>,
}

/// Checks all that the tree has for a port; empty where there is none. Blocks.
pub fn check(
    tree: &Utf8Path,
    port: &Machine,
    destdir: &Utf8Path,
) -> Result<Vec<Compat>, BuildError> {
    let archdirs = tree.join("compat/archdirs.mk");
    if !archdirs.exists() {
        return Ok(Vec::new());
    }
    let archdirs = sets_tree::text(&archdirs)?;
    let subdirs = elf::subdirs(&archdirs, &port.machine, &port.arch);
    let all = subdirs.iter().map(|subdir| {
        let name = subdir.rsplit('/').next().unwrap_or(subdir);
        let makefile = tree.join(format!("compat/{subdir}/bsd.{name}.mk"));
        let said = elf::described(&sets_tree::text(&makefile)?);
        let said = said.ok_or_else(|| BuildError::Source {
            path: makefile,
            why: "says no directory: expected MLIBDIR= there".to_owned(),
        })?;
        one(tree, &said, destdir)
    });
    all.collect()
}

fn one(tree: &Utf8Path, said: &elf::Described, destdir: &Utf8Path) -> Result<Compat, BuildError> {
    let dir = format!("usr/lib/{}", said.dir);
    let mut compat = Compat {
        made_for: None,
        problems: Vec::new(),
        dir,
    };
    let place = destdir.join(&compat.dir);
    if !place.is_dir() {
        compat.problems.push("is not there".to_owned());
        return Ok(compat);
    }
    let mut by_abi: BTreeMap<elf::Abi, Vec<Utf8PathBuf>> = BTreeMap::new();
    let mut libc = false;
    for entry in place.read_dir_utf8().doing("read", &place)? {
        let entry = entry.doing("read", &place)?;
        libc |= entry.file_name().starts_with("libc.so");
        let Some(abi) = abi_of(entry.path())? else {
            continue;
        };
        let name = entry.file_name().into();
        by_abi.entry(abi).or_default().push(name);
    }
    if !libc {
        compat.problems.push("has no libc.so".to_owned());
    }
    let most = by_abi.iter().max_by_key(|(_, files)| files.len());
    let Some((&abi, files)) = most else {
        compat.problems.push("has no ELF files".to_owned());
        return Ok(compat);
    };
    compat.made_for = Some((abi, files.len()));
    for (other, files) in by_abi.iter().filter(|(other, _)| **other != abi) {
        let named: Vec<&str> = files.iter().take(NAMED).map(|f| f.as_str()).collect();
        compat.problems.push(format!(
            "{} of its files are made for {other} and the others for {abi}: {}",
            files.len(),
            named.join(", ")
        ));
    }
    if let Some(bits) = said.bits.filter(|bits| *bits != abi.bits) {
        compat.problems.push(format!(
            "is made for {abi}: expected {bits} bits, as its makefile says"
        ));
    }
    if let Some(machine) = expected(tree, said)?.filter(|m| *m != abi.machine) {
        compat.problems.push(format!(
            "is made for {abi}: expected ELF machine {machine}, as elf_machdep.h of {} says",
            said.dir
        ));
    }
    Ok(compat)
}

/// The ELF machine by the headers of the architecture that the directory is called after; none where
/// it is called otherwise.
fn expected(tree: &Utf8Path, said: &elf::Described) -> Result<Option<u16>, BuildError> {
    let machdep = tree.join(format!("sys/arch/{}/include/elf_machdep.h", said.dir));
    let exec_elf = tree.join("sys/sys/exec_elf.h");
    if !machdep.exists() || !exec_elf.exists() {
        return Ok(None);
    }
    let (machdep, exec_elf) = (sets_tree::text(&machdep)?, sets_tree::text(&exec_elf)?);
    Ok(elf::machine_id(
        &machdep,
        &exec_elf,
        said.bits.unwrap_or(32),
    ))
}

/// What a file is made for; none for links, archives, directories, texts.
fn abi_of(path: &Utf8Path) -> Result<Option<elf::Abi>, BuildError> {
    if !fs::symlink_metadata(path).doing("read", path)?.is_file() {
        return Ok(None);
    }
    let file = fs::File::open(path).doing("read", path)?;
    let mut head = Vec::new();
    let most = elf::HEADER_BYTES as u64;
    file.take(most).read_to_end(&mut head).doing("read", path)?;
    Ok(elf::header(&head))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> (tempfile::TempDir, Utf8PathBuf) {
        let keep = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(keep.path()).unwrap().to_owned();
        let write = |path: &str, text: &str| {
            let path = dir.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(
            "src/compat/archdirs.mk",
            ".if ${MACHINE} == \"vaxen\"\nARCHDIR_SUBDIR= vaxen/vax\n.endif\n",
        );
        write(
            "src/compat/vaxen/vax/bsd.vax.mk",
            "MLIBDIR=\tvax\n.include \"m32.mk\"\n",
        );
        write(
            "src/sys/arch/vax/include/elf_machdep.h",
            "#define ELF32_MACHDEP_ID EM_VAX\n",
        );
        write("src/sys/sys/exec_elf.h", "#define EM_VAX 75\n");
        (keep, dir)
    }

    fn port(machine: &str) -> Machine {
        Machine {
            port: machine.to_owned(),
            machine: machine.to_owned(),
            arch: machine.to_owned(),
            cpu: machine.to_owned(),
        }
    }

    fn elf(bits: u8, machine: u8) -> Vec<u8> {
        let mut head = vec![0x7f, b'E', b'L', b'F', bits / 32, 1];
        head.resize(18, 0);
        head.extend([machine, 0]);
        head
    }

    #[test]
    fn libraries_of_another_class_or_machine_are_found() {
        let (_keep, dir) = place();
        let (src, dest) = (dir.join("src"), dir.join("dest"));
        assert!(check(&src, &port("other"), &dest).unwrap().is_empty());
        let problems = || {
            check(&src, &port("vaxen"), &dest).unwrap()[0]
                .problems
                .clone()
        };
        assert_eq!(problems(), ["is not there"]);
        let lib = dest.join("usr/lib/vax");
        fs::create_dir_all(&lib).unwrap();
        assert_eq!(problems(), ["has no libc.so", "has no ELF files"]);
        for name in ["libc.so.12", "libm.so.0"] {
            fs::write(lib.join(name), elf(32, 75)).unwrap();
        }
        fs::write(lib.join("libc.a"), "!<arch>\n").unwrap();
        assert_eq!(problems(), [""; 0]);
        fs::write(lib.join("libx.so.1"), elf(64, 75)).unwrap();
        for name in ["libc.so.12", "libm.so.0"] {
            fs::write(lib.join(name), elf(64, 62)).unwrap();
        }
        insta::assert_snapshot!(problems().join("\n"), @r"
        1 of its files are made for 64 bits, little-endian, ELF machine 75 and the others for 64 bits, little-endian, ELF machine 62: libx.so.1
        is made for 64 bits, little-endian, ELF machine 62: expected 32 bits, as its makefile says
        is made for 64 bits, little-endian, ELF machine 62: expected ELF machine 75, as elf_machdep.h of vax says
        ");
    }
}
