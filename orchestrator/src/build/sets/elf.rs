//! 32-bit compat libraries, as a tree describes them and as an ELF file is one: pure.
//!
//! ```text
//! compat/archdirs.mk         which there are for a machine:  amd64/i386
//! compat/…/bsd.NAME.mk       where they go, and how wide they are:  MLIBDIR= i386, m32.mk
//! sys/arch/NAME/include/elf_machdep.h, sys/sys/exec_elf.h    which machine their files are for
//! ```
//!
//! Only what these files say in plain words is read: `==` and `||` in conditions, plain values.

use std::fmt;

/// What an ELF file is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Abi {
    /// 32 or 64.
    pub bits: u8,
    /// Whether its bytes are in big-endian order.
    pub big: bool,
    /// `e_machine`; [`SPARC`] for both forms of 32-bit SPARC.
    pub machine: u16,
}

/// `EM_SPARC`.
const SPARC: u16 = 2;
/// `EM_SPARC32PLUS`: the same for CPUs of 64 bits. One link takes both, and compat libraries have both.
const SPARC_PLUS: u16 = 18;

impl fmt::Display for Abi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let order = if self.big { "big" } else { "little" };
        write!(
            f,
            "{} bits, {order}-endian, ELF machine {}",
            self.bits, self.machine
        )
    }
}

/// The bytes that [`header`] wants, at least.
pub const HEADER_BYTES: usize = 20;

/// Reads the beginning of a file; none where it is no ELF file.
pub fn header(bytes: &[u8]) -> Option<Abi> {
    let head = bytes.get(..HEADER_BYTES)?;
    if head[..4] != *b"\x7fELF" {
        return None;
    }
    let bits = match head[4] {
        1 => 32,
        2 => 64,
        _ => return None,
    };
    let big = match head[5] {
        1 => false,
        2 => true,
        _ => return None,
    };
    let machine = [head[18], head[19]];
    let machine = match big {
        true => u16::from_be_bytes(machine),
        false => u16::from_le_bytes(machine),
    };
    let machine = if machine == SPARC_PLUS {
        SPARC
    } else {
        machine
    };
    Some(Abi { bits, big, machine })
}

/// The compat directories of a machine, by the text of `compat/archdirs.mk`.
pub fn subdirs(archdirs: &str, machine: &str, arch: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut holds: Vec<bool> = Vec::new();
    for line in archdirs.lines() {
        let line = line.split('#').next().unwrap_or("").trim();
        if let Some(condition) = line.strip_prefix(".if") {
            holds.push(is_true(condition, machine, arch));
        } else if line.starts_with(".endif") {
            holds.pop();
        } else if let Some((name, value)) = line.split_once('=')
            && name.trim_end_matches(['+', '?', ' ', '\t']) == "ARCHDIR_SUBDIR"
            && holds.iter().all(|h| *h)
        {
            found.extend(value.split_whitespace().map(str::to_owned));
        }
    }
    found
}

/// One of several comparisons `${NAME} == "word"` holds.
fn is_true(condition: &str, machine: &str, arch: &str) -> bool {
    condition.split("||").any(|one| {
        let Some((name, word)) = one.split_once("==") else {
            return false;
        };
        let plain = |text: &str| {
            text.trim_matches(|c: char| c.is_whitespace() || "\"()".contains(c))
                .to_owned()
        };
        match plain(name).as_str() {
            "${MACHINE" | "${MACHINE}" => plain(word) == machine,
            "${MACHINE_ARCH" | "${MACHINE_ARCH}" => plain(word) == arch,
            _ => false,
        }
    })
}

/// Compat libraries as their makefile describes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// Where they are below `usr/lib`.
    pub dir: String,
    /// How wide they are, where the makefile says it.
    pub bits: Option<u8>,
}

/// Reads `compat/…/bsd.NAME.mk`.
pub fn described(makefile: &str) -> Option<Described> {
    let mut dir = None;
    let mut bits = None;
    for line in makefile.lines() {
        let line = line.split('#').next().unwrap_or("").trim();
        if let Some((name, value)) = line.split_once('=')
            && name.trim() == "MLIBDIR"
        {
            dir = Some(value.trim().to_owned());
        }
        if line.contains("m32.mk") || line.contains("-m32") || line.contains("-mabi=32") {
            bits = Some(32);
        } else if line.contains("-mabi=64") || line.contains("-m64") {
            bits = Some(64);
        }
    }
    let dir = dir.filter(|d| !d.is_empty() && !d.contains(['/', '$']))?;
    Some(Described { dir, bits })
}

/// The ELF machine of an architecture: `ELF32_MACHDEP_ID` in its `elf_machdep.h`, whose number
/// `exec_elf.h` has.
pub fn machine_id(elf_machdep: &str, exec_elf: &str, bits: u8) -> Option<u16> {
    let id = defined(elf_machdep, &format!("ELF{bits}_MACHDEP_ID"))?;
    defined(exec_elf, id)?.parse().ok()
}

fn defined<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    header.lines().find_map(|line| {
        let mut words = line.strip_prefix('#')?.split_whitespace();
        (words.next() == Some("define") && words.next() == Some(name)).then(|| words.next())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ARCHDIRS: &str = "\
# list
.if ${MACHINE} == \"vaxen\"
ARCHDIR_SUBDIR=\tvaxen/vax
.endif

.if (${MACHINE_ARCH} == \"pdp64eb\" || ${MACHINE_ARCH} == \"pdp64el\")
ARCHDIR_SUBDIR=\tpdp64/64 pdp64/o32
.endif
";

    #[test]
    fn the_tree_says_which_there_are() {
        assert_eq!(subdirs(ARCHDIRS, "vaxen", "vax64"), ["vaxen/vax"]);
        assert_eq!(subdirs(ARCHDIRS, "x", "pdp64el"), ["pdp64/64", "pdp64/o32"]);
        assert_eq!(subdirs(ARCHDIRS, "x", "y"), [""; 0]);
        let of = |text: &str| described(text);
        let vax = of("LD+=\t-m elf32_vax\nMLIBDIR=\t\tvax\nLIBC_MACHINE_ARCH=\t${MLIBDIR}\n.include \"${.PARSEDIR}/../../m32.mk\"\n").unwrap();
        assert_eq!((vax.dir.as_str(), vax.bits), ("vax", Some(32)));
        let o32 = of("MLIBDIR=\to32\nCOPTS+=\t-mabi=32 -march=x\n").unwrap();
        assert_eq!((o32.dir.as_str(), o32.bits), ("o32", Some(32)));
        assert_eq!(of("MLIBDIR=../x\n"), None);
        let machdep = "#define\tELF32_MACHDEP_ID\t\tEM_VAX\n#define ELF64_MACHDEP_ID EM_V64\n";
        let exec = "#define EM_VAX\t75\t/* Digital VAX */\n#define EM_V64 990\n";
        assert_eq!(machine_id(machdep, exec, 32), Some(75));
        assert_eq!(machine_id(machdep, exec, 64), Some(990));
        assert_eq!(machine_id("", exec, 64), None);
    }

    #[test]
    fn the_beginning_of_a_file_says_what_it_is_for() {
        let mut head = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x03\0".to_vec();
        let told = header(&head).unwrap().to_string();
        assert_eq!(told, "32 bits, little-endian, ELF machine 3");
        head[4] = 2;
        head[5] = 2;
        head[18..].copy_from_slice(&[0, 43]);
        let told = header(&head).unwrap().to_string();
        assert_eq!(told, "64 bits, big-endian, ELF machine 43");
        let sparc = |machine| {
            let mut head = *b"\x7fELF\x01\x02\x01\0\0\0\0\0\0\0\0\0\0\x03\0\0";
            head[19] = machine;
            header(&head).unwrap()
        };
        assert_eq!(
            sparc(18),
            sparc(2),
            "compat libraries of sparc64 are a mixture"
        );
        assert_eq!(header(&head[..19]), None);
        assert_eq!(header(b"!<arch>\n0123456789abcdef"), None);
    }

    proptest! {
        #[test]
        fn anything_is_read(bytes: Vec<u8>, text in "(\\PC|\n){0,200}") {
            let _ = (header(&bytes), subdirs(&text, "a", "b"), described(&text));
            let _ = machine_id(&text, &text, 32);
        }
    }
}
