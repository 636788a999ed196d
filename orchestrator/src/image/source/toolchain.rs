//! The cross compiler as a build script sees it, and as it enters the key.

use std::process::Command;

use camino::Utf8Path;

use super::super::exec::{Watch, run};
use super::error::SourceError;
use crate::model::port::Port;

/// What the host has to build for a port.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
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
    pub fn probe(port: &Port, watch: &Watch<'_>) -> Result<Self, SourceError> {
        let triplet = &port.toolchain.triplet;
        let ask = |tool: &str, option: &str| -> Result<String, SourceError> {
            let mut command = Command::new(format!("{triplet}-{tool}"));
            let ran = run(
                command.arg(option),
                &package_of(triplet, tool),
                watch,
                &mut |_| {},
            )?;
            Ok(ran.out.lines().next().unwrap_or_default().to_owned())
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

/// The package that has a tool of the cross compiler, on Debian and Ubuntu.
fn package_of(triplet: &str, tool: &str) -> String {
    let package = if tool == "ld" { "binutils" } else { tool };
    format!("{package}-{}", triplet.replace('_', "-"))
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
