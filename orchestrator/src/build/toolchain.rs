//! The compiler for a port, and the words that make it use a sysroot and nothing of the host's.
//!
//! `--sysroot` alone does not: Debian's cross compilers look into `/usr/TRIPLET` first, which may
//! hold a newer C library than the guest's, so the sysroot's directories are named before it. All
//! of that stands in `CC` and `CXX` rather than in `CFLAGS`, because a makefile's own `CFLAGS`
//! would win over the environment. C++ programs carry their runtime in themselves, and it is the
//! sysroot's: the guest may have none, and that of a newer host asks for a newer C library. What a
//! newer compiler expects of its runtime beyond that is given to the linker in `runtime.ld`.

use std::process::Stdio;

use camino::{Utf8Path, Utf8PathBuf};

use super::error::{BuildError, Doing};
use crate::host::files::find_program;
use crate::model::Port;

/// What compilers call and older C++ runtimes do not have. `PROVIDE` gives way to a runtime that has
/// it: since version 14 the compiler ends an exception that leaves a `noexcept` function by a
/// function of its own, which does little more than call `std::terminate`.
const RUNTIME_LD: &str = "PROVIDE(__cxa_call_terminate = _ZSt9terminatev);\n";

/// Names that headers of C++ before version 13 have for themselves and compilers of version 13 take for
/// words of the language, wherever they stand. Later compilers look at what comes after them.
const TAKEN_BY_13: [&str; 5] = [
    "__is_convertible",
    "__is_nothrow_convertible",
    "__remove_cv",
    "__remove_cvref",
    "__remove_reference",
];

/// The programs for a port, as words for a shell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tools {
    /// `CC`, `CXX`, … with their values.
    pub vars: Vec<(&'static str, String)>,
    /// Where pkg-config looks.
    pub pkg_config: String,
}

/// What is known of a sysroot by looking into it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Layout {
    /// Where C's start files are: `usr/lib/s390x-linux-gnu`.
    lib: String,
    /// Directories of C headers, most special first.
    include: Vec<String>,
    /// Directories of C++ headers, where the sysroot brings them.
    cxx_include: Vec<String>,
    /// Their version.
    cxx_version: Option<u32>,
    /// The directory of the static C++ runtime that belongs to them.
    cxx_lib: Option<String>,
}

impl Layout {
    /// Headers want a compiler as new as they are: where it is older, its own are used, and its own
    /// runtime, which asks less of the C library than the sysroot's has. So too where no compiler said
    /// how old it is.
    fn suit(&mut self, compiler: Option<u32>) {
        if compiler < self.cxx_version {
            self.cxx_include.clear();
            self.cxx_lib = None;
        }
    }
}

/// Finds the programs and makes their words. `maps` are directories that must not end up in what
/// is built; the first of them is the build's own, for what the programs are given to read.
pub(super) async fn tools(
    port: &Port,
    sysroot: &Utf8Path,
    maps: [&Utf8Path; 2],
) -> Result<Tools, BuildError> {
    let own_dir = maps[0];
    if let Some(bad) = std::iter::once(&sysroot).chain(&maps).find(|dir| {
        dir.as_str()
            .contains(|c: char| c.is_whitespace() || "'\"\\$`#:".contains(c))
    }) {
        return Err(BuildError::Source {
            path: (*bad).to_owned(),
            why: "has a character in its name that makefiles cannot quote: set XDG_CACHE_HOME to \
                  a directory without blanks"
                .to_owned(),
        });
    }
    let triplet = &port.toolchain.triplet;
    let prefix = prefix(triplet).await?;
    let mut layout = look(sysroot, triplet)?;
    let said = ask(&format!("{prefix}g++"), &["-dumpversion"]).await;
    let compiler: Option<u32> = said.trim().split('.').next().and_then(|v| v.parse().ok());
    layout.suit(compiler);
    let maps: Vec<String> = maps
        .iter()
        .map(|dir| format!("-ffile-prefix-map={dir}=."))
        .collect();
    let at = |dirs: &[String]| -> String {
        dirs.iter()
            .map(|dir| format!(" -isystem {sysroot}/{dir}"))
            .collect()
    };
    let lib = format!("{sysroot}/{}", layout.lib);
    let own = format!("{} {}", port.toolchain.cflags.join(" "), maps.join(" "));
    let common = format!("{} -B{lib}/ -L{lib} {}", at(&layout.include), own.trim());
    let mut cxx = String::new();
    if layout.cxx_include.is_empty() {
        // The C++ headers must stay before C's, or `#include_next` goes astray.
        for dir in compilers_cxx_headers(&format!("{prefix}g++")).await {
            cxx += &format!(" -isystem {dir}");
        }
    } else {
        cxx = at(&layout.cxx_include);
        cxx += &renamed(compiler, layout.cxx_version);
    }
    if !cxx.is_empty() {
        cxx.insert_str(0, " -nostdinc++");
    }
    if let Some(dir) = &layout.cxx_lib {
        let script = own_dir.join("runtime.ld");
        std::fs::write(&script, RUNTIME_LD).doing("write", &script)?;
        // By way of -Wl it is no input of a mere compilation.
        cxx += &format!(" -L{sysroot}/{dir} -Wl,{script}");
    }
    let cc = format!("{prefix}gcc --sysroot={sysroot}{common}");
    let vars = vec![
        ("CPP", format!("{cc} -E")),
        ("CC", cc),
        (
            "CXX",
            format!(
                "{prefix}g++ --sysroot={sysroot}{cxx}{common} -static-libstdc++ -static-libgcc"
            ),
        ),
        ("AR", format!("{prefix}ar")),
        ("RANLIB", format!("{prefix}ranlib")),
        ("STRIP", format!("{prefix}strip")),
        ("LD", format!("{prefix}ld --sysroot={sysroot}")),
    ];
    Ok(Tools {
        vars,
        pkg_config: format!("{lib}/pkgconfig:{sysroot}/usr/share/pkgconfig"),
    })
}

/// What stands before `gcc`: `s390x-linux-gnu-`, or nothing where this machine is of that kind and
/// has its compiler under the plain name only.
pub(super) async fn prefix(triplet: &str) -> Result<String, BuildError> {
    if find_program(&format!("{triplet}-gcc")).is_some() {
        return Ok(format!("{triplet}-"));
    }
    if find_program("gcc").is_some() && ask("gcc", &["-dumpmachine"]).await.trim() == triplet {
        return Ok(String::new());
    }
    Err(BuildError::ToolMissing {
        program: format!("{triplet}-gcc"),
        package: format!("gcc-{}", triplet.replace('_', "-")),
    })
}

async fn ask(program: &str, args: &[&str]) -> String {
    let mut command = tokio::process::Command::new(program);
    command
        .args(args)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    // A compiler that cannot be asked fails where it is used, with its own words.
    match command.output().await {
        Ok(output) => {
            let both = [output.stdout, output.stderr].concat();
            String::from_utf8_lossy(&both).into_owned()
        }
        Err(_) => String::new(),
    }
}

/// Where a C++ compiler has its own headers.
async fn compilers_cxx_headers(program: &str) -> Vec<Utf8PathBuf> {
    if find_program(program).is_none() {
        // C projects do without.
        return Vec::new();
    }
    let said = ask(program, &["-xc++", "-E", "-v", "/dev/null"]).await;
    cxx_headers_in(&said)
        .into_iter()
        .map(|dir| dir.canonicalize_utf8().unwrap_or(dir))
        .collect()
}

/// Words that give older headers other names for what the compiler has taken.
fn renamed(compiler: Option<u32>, headers: Option<u32>) -> String {
    if compiler != Some(13) || headers.is_none_or(|version| version >= 13) {
        return String::new();
    }
    let words = TAKEN_BY_13.map(|name| format!(" -D{name}=__lib{name}"));
    words.concat()
}

/// Reads the C++ directories out of what `g++ -v` prints.
fn cxx_headers_in(said: &str) -> Vec<Utf8PathBuf> {
    said.lines()
        .skip_while(|line| !line.starts_with("#include <...>"))
        .skip(1)
        .take_while(|line| line.starts_with(' '))
        .map(str::trim)
        .filter(|dir| dir.starts_with('/') && dir.contains("/c++/"))
        .map(Utf8PathBuf::from)
        .collect()
}

fn look(sysroot: &Utf8Path, triplet: &str) -> Result<Layout, BuildError> {
    let below = |dir: &str| names(&sysroot.join(dir));
    let has = |path: &str| sysroot.join(path).exists();
    let multiarch = below("usr/lib")
        .into_iter()
        .find(|name| has(&format!("usr/lib/{name}/crt1.o")));
    let lib = match &multiarch {
        Some(name) => format!("usr/lib/{name}"),
        None => match ["usr/lib", "usr/lib64"]
            .iter()
            .find(|d| has(&format!("{d}/crt1.o")))
        {
            Some(dir) => (*dir).to_owned(),
            None => {
                return Err(std::io::Error::new(
                    std::io::ErrorKind::NotFound,
                    "no crt1.o in usr/lib: expected a C library to link with",
                ))
                .doing("use the sysroot", sysroot);
            }
        },
    };
    let mut layout = Layout {
        lib,
        ..Layout::default()
    };
    let mut arch_names: Vec<&str> = multiarch.as_deref().into_iter().collect();
    if !arch_names.contains(&triplet) {
        arch_names.push(triplet);
    }
    if let Some(name) = &multiarch {
        layout.include.push(format!("usr/include/{name}"));
    }
    layout.include.push("usr/include".to_owned());
    layout.include.retain(|dir| has(dir));
    let version = below("usr/include/c++")
        .into_iter()
        .filter(|name| name.parse::<u32>().is_ok())
        .max_by_key(|name| name.parse::<u32>().unwrap_or(0));
    if let Some(version) = version {
        layout.cxx_version = version.parse().ok();
        layout
            .cxx_include
            .push(format!("usr/include/c++/{version}"));
        for arch in &arch_names {
            layout
                .cxx_include
                .push(format!("usr/include/c++/{version}/{arch}"));
            layout
                .cxx_include
                .push(format!("usr/include/{arch}/c++/{version}"));
        }
        layout.cxx_include.retain(|dir| has(dir));
        layout.cxx_lib = arch_names
            .iter()
            .map(|arch| format!("usr/lib/gcc/{arch}/{version}"))
            .find(|dir| has(&format!("{dir}/libstdc++.a")));
    }
    Ok(layout)
}

/// The names in a directory, sorted; none where it cannot be read.
fn names(dir: &Utf8Path) -> Vec<String> {
    let mut names: Vec<String> = dir
        .read_dir_utf8()
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.file_name().to_owned()))
        .collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_headers_get_other_names_where_the_compiler_took_theirs() {
        let words = renamed(Some(13), Some(12));
        assert!(
            words.contains(" -D__remove_cv=__lib__remove_cv "),
            "{words}"
        );
        for (compiler, headers) in [(12, 12), (14, 12), (13, 14), (13, 13)] {
            assert_eq!(renamed(Some(compiler), Some(headers)), "");
        }
        assert_eq!(renamed(Some(13), None), "");
        assert_eq!(renamed(None, Some(12)), "");
    }

    #[test]
    fn headers_newer_than_the_compiler_are_left_alone() {
        let sysroot = Layout {
            cxx_include: vec!["usr/include/c++/14".into()],
            cxx_version: Some(14),
            cxx_lib: Some("usr/lib/gcc/riscv64-linux-gnu/14".into()),
            ..Layout::default()
        };
        for (compiler, used) in [
            (Some(12), false),
            (Some(14), true),
            (Some(15), true),
            (None, false),
        ] {
            let mut layout = sysroot.clone();
            layout.suit(compiler);
            assert_eq!(!layout.cxx_include.is_empty(), used, "{compiler:?}");
            assert_eq!(layout.cxx_lib.is_some(), used, "{compiler:?}");
        }
        // A sysroot without C++ stays as it is.
        let mut plain = Layout::default();
        plain.suit(Some(12));
        assert_eq!(plain, Layout::default());
    }

    #[test]
    fn a_compilers_own_headers_are_read() {
        let said = "Using built-in specs.\n#include \"...\" search starts here:\n\
            #include <...> search starts here:\n /usr/s390x-linux-gnu/include/c++/12\n\
            \x20/usr/s390x-linux-gnu/include/c++/12/backward\n /usr/lib/gcc-cross/x/12/include\n\
            End of search list.\n /other/c++/1\n";
        assert_eq!(
            cxx_headers_in(said),
            [
                "/usr/s390x-linux-gnu/include/c++/12",
                "/usr/s390x-linux-gnu/include/c++/12/backward"
            ]
        );
    }

    #[test]
    fn a_sysroot_is_looked_into() {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(dir.path()).unwrap();
        assert!(look(root, "i686-linux-gnu").is_err());
        for path in [
            "usr/lib/i386-linux-gnu/crt1.o",
            "usr/include/stdio.h",
            "usr/include/i386-linux-gnu/bits/x.h",
            "usr/include/c++/9/vector",
            "usr/include/c++/12/vector",
            "usr/include/i386-linux-gnu/c++/12/bits/config.h",
            "usr/lib/gcc/i686-linux-gnu/12/libstdc++.a",
        ] {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        assert_eq!(
            look(root, "i686-linux-gnu").unwrap(),
            Layout {
                lib: "usr/lib/i386-linux-gnu".into(),
                include: vec!["usr/include/i386-linux-gnu".into(), "usr/include".into()],
                cxx_include: vec![
                    "usr/include/c++/12".into(),
                    "usr/include/i386-linux-gnu/c++/12".into()
                ],
                cxx_version: Some(12),
                cxx_lib: Some("usr/lib/gcc/i686-linux-gnu/12".into()),
            }
        );
    }
}
