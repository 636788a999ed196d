//! A port as the set lists see it: machine, architecture, CPU.

/// What the names of list files are made of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Machine {
    /// The port's name, as the user says it: `evbarm-earmv7hf`.
    pub port: String,
    /// `MACHINE`: `evbarm`.
    pub machine: String,
    /// `MACHINE_ARCH`: `earmv7hf`.
    pub arch: String,
    /// `MACHINE_CPU`: `arm`.
    pub cpu: String,
}

/// Architectures by their beginning, with the CPU that they are; others are their own. The rule
/// stands in `share/mk/bsd.own.mk` in a form that only make can read.
const CPUS: [(&str, &str); 8] = [
    ("mips", "mips"),
    ("sh3", "sh3"),
    ("coldfire", "m68k"),
    ("m68", "m68k"),
    ("arm", "arm"),
    ("earm", "arm"),
    ("powerpc", "powerpc"),
    ("riscv", "riscv"),
];

impl Machine {
    /// A port of a tree. `build_sh` is the tree's `build.sh`, whose table says which architecture a
    /// machine has where the port's name does not. The error names what is not known.
    pub fn of(port: &str, build_sh: &str) -> Result<Self, String> {
        let (machine, arch) = match port.split_once('-') {
            Some((machine, arch)) => (machine.to_owned(), arch.to_owned()),
            None => known(port, build_sh)?,
        };
        let cpu = CPUS
            .iter()
            .find(|(begin, _)| arch.starts_with(begin))
            .map_or(arch.as_str(), |(_, cpu)| cpu)
            .to_owned();
        Ok(Self {
            port: port.to_owned(),
            machine,
            arch,
            cpu,
        })
    }
}

/// Machine and architecture out of lines `MACHINE=evbarm MACHINE_ARCH=arm ALIAS=evbarm-el DEFAULT`.
fn known(port: &str, build_sh: &str) -> Result<(String, String), String> {
    let mut found: Vec<(bool, &str, &str)> = Vec::new();
    for line in build_sh.lines() {
        let line = line.split('#').next().unwrap_or("");
        let word = |name: &str| {
            let mut words = line.split_whitespace();
            words.find_map(|w| w.strip_prefix(name)?.strip_prefix('='))
        };
        let (Some(machine), Some(arch)) = (word("MACHINE"), word("MACHINE_ARCH")) else {
            continue;
        };
        // The table's lines begin so; lines of code do not.
        if !line.trim_start().starts_with("MACHINE=") || arch.contains(['$', '"', ';']) {
            continue;
        }
        let has = |flag: &str| line.split_whitespace().any(|w| w == flag);
        if word("ALIAS") == Some(port) {
            return Ok((machine.to_owned(), arch.to_owned()));
        }
        if machine == port && !has("NO_DEFAULT") {
            found.push((has("DEFAULT"), machine, arch));
        }
    }
    found.sort_by_key(|(default, ..)| !default);
    match found[..] {
        [(default, machine, arch), ref rest @ ..] if default || rest.is_empty() => {
            Ok((machine.to_owned(), arch.to_owned()))
        }
        [] => Err(format!(
            "build.sh knows no machine '{port}' with an architecture of its own: expected for example MACHINE-ARCH"
        )),
        _ => Err(format!(
            "'{port}' has several architectures: expected {port}-ARCH, where ARCH is one of {}",
            found.iter().map(|f| f.2).collect::<Vec<_>>().join(", ")
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "valid_MACHINE_ARCH='\nMACHINE=one\t\tMACHINE_ARCH=x86_64\nMACHINE=two\tMACHINE_ARCH=arm\tALIAS=two-el DEFAULT\n\
        MACHINE=two\tMACHINE_ARCH=armeb ALIAS=twoeb\nMACHINE=three MACHINE_ARCH= NO_DEFAULT\nMACHINE=three MACHINE_ARCH=mipsel\n\
        MACHINE=three MACHINE_ARCH=mips64eb\n'\n\tMACHINE=\"$x\" MACHINE_ARCH=\"$y\"\n";

    #[test]
    fn a_port_is_found_in_the_table() {
        let of = |port| Machine::of(port, TABLE).map(|m| (m.machine, m.arch, m.cpu));
        let want = |a: &str, b: &str, c: &str| Ok((a.to_owned(), b.to_owned(), c.to_owned()));
        assert_eq!(of("one"), want("one", "x86_64", "x86_64"));
        assert_eq!(of("two"), want("two", "arm", "arm"));
        assert_eq!(of("twoeb"), want("two", "armeb", "arm"));
        assert_eq!(of("evbmips-mips64el"), want("evbmips", "mips64el", "mips"));
        assert_eq!(
            of("three").unwrap_err(),
            "'three' has several architectures: expected three-ARCH, where ARCH is one of mipsel, mips64eb"
        );
        assert!(of("four").unwrap_err().contains("no machine 'four'"));
    }
}
