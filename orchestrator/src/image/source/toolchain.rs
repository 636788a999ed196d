//! The cross compiler as a build script sees it, and as it enters the key.

use std::process::Command;

use camino::Utf8Path;

use super::error::SourceError;
use super::run::capture;
use super::{Watch, error};
use crate::model::port::Port;

/// What the host has to build for a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toolchain {
    /// First lines of the compiler's and the linker's version: they are part of the key.
    pub version: String,
    /// The compiler's major version: `12`.
    pub gcc_major: String,
    /// Where libraries of the port are below `/usr/lib`: `i386-linux-gnu` for i686.
    pub multiarch: String,
}

impl Toolchain {
    /// Asks the port's cross compiler.
    pub fn probe(port: &Port, watch: &Watch<'_>) -> Result<Self, error::SourceError> {
        let triplet = &port.toolchain.triplet;
        let ask = |tool: &str, option: &str| -> Result<String, SourceError> {
            let text = capture(
                Command::new(format!("{triplet}-{tool}"))
                    .env("LC_ALL", "C")
                    .arg(option),
                watch.stop,
            )?
            .unwrap_or_default();
            Ok(text.lines().next().unwrap_or_default().to_owned())
        };
        let gcc = ask("gcc", "--version")?;
        let gxx = ask("g++", "--version")?;
        let ld = ask("ld", "--version")?;
        Ok(Self {
            version: format!("{gcc}; {gxx}; {ld}"),
            gcc_major: ask("gcc", "-dumpversion")?,
            multiarch: ask("gcc", "-print-multiarch")?,
        })
    }
}

/// Compiler and linker flags that make a sysroot win over what the host's cross packages have.
///
/// `--sysroot` alone does not: Debian's cross compilers look into `/usr/TRIPLET` first, and that
/// may hold a newer C library than the guest's. So the sysroot's directories are named before it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flags {
    /// For C.
    pub cflags: String,
    /// For C++.
    pub cxxflags: String,
    /// For linking.
    pub ldflags: String,
}

/// The flags for a sysroot that has `usr/include` and `usr/lib/MULTIARCH`; `cxx` is the version
/// directory below `usr/include/c++`, where the sysroot brings the C++ headers too.
pub fn sysroot_flags(
    sysroot: &Utf8Path,
    triplet: &str,
    multiarch: &str,
    cxx: Option<&str>,
    port_cflags: &[String],
) -> Flags {
    let common = port_cflags.join(" ");
    let include = format!("-isystem {sysroot}/usr/include");
    let mut cxx_include = String::new();
    if let Some(version) = cxx {
        let dir = format!("{sysroot}/usr/include/c++/{version}");
        cxx_include = format!("-nostdinc++ -isystem {dir} -isystem {dir}/{triplet} ");
    }
    let join = |words: String| words.trim().to_owned();
    Flags {
        cflags: join(format!("--sysroot={sysroot} {include} {common}")),
        cxxflags: join(format!(
            "--sysroot={sysroot} {cxx_include}{include} {common}"
        )),
        ldflags: format!(
            "--sysroot={sysroot} -B{sysroot}/usr/lib/{multiarch}/ -L{sysroot}/usr/lib/{multiarch}"
        ),
    }
}
