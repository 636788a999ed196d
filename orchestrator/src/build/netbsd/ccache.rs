//! Compilers through ccache, where the host has it: what was compiled once, for whichever project, port or
//! revision, is not compiled again.
//!
//! No part of a stage's key: what comes out is the same with it and without it. A `mk.conf` of ours names the
//! tree's compilers, each a program of one word: the tree's `mkdep` takes all of `CC` for the name of a program.
//!
//! Deliberately not here: the host's compilers. The tools' configure scripts refuse to go on with another one
//! than they began with, so that a host which gets ccache, or loses it, could not update what it has built.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;

use camino::{Utf8Path, Utf8PathBuf};

use crate::build::error::{BuildError, Doing};
use crate::host::files;

/// The tree's compilers: the makefiles' variable, and how their names end in the tools' directory. The
/// makefiles set these after they have read `mk.conf`, so they are set as on make's command line: nothing
/// overrides that, and makes below hear of it.
const TREES: [(&str, &str); 2] = [("TOOL_CC.gcc", "gcc"), ("TOOL_CXX.gcc", "c++")];

/// A cache of what compilers made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ccache {
    /// Where it is.
    pub dir: Utf8PathBuf,
    conf: Utf8PathBuf,
    programs: Utf8PathBuf,
    tools: Utf8PathBuf,
}

impl Ccache {
    /// One for all projects below `netbsd` of the cache; none where the host has no ccache, or the project
    /// wants none (`CCACHE_DISABLE`).
    pub fn find(
        netbsd: &Utf8Path,
        port: &Utf8Path,
        env: &BTreeMap<String, String>,
    ) -> Option<Self> {
        let there = files::find_program("ccache").is_some();
        let wanted = !env.contains_key("CCACHE_DISABLE");
        (there && wanted).then(|| Self::at(netbsd, port))
    }

    fn at(netbsd: &Utf8Path, port: &Utf8Path) -> Self {
        Self {
            dir: netbsd.join("ccache"),
            conf: port.join("ccache.mk"),
            programs: port.join("ccache.bin"),
            tools: port.join("tools"),
        }
    }

    /// Makes its directory, the compilers, and the file that names them. A `mk.conf` of the project's is read
    /// first.
    pub fn prepare(&self, env: &BTreeMap<String, String>) -> Result<(), BuildError> {
        for dir in [&self.dir, &self.programs] {
            std::fs::create_dir_all(dir).doing("create", dir)?;
        }
        let theirs = env.get("MAKECONF");
        let mut text = theirs.map_or(String::new(), |file| format!(".include \"{file}\"\n"));
        for (variable, name) in TREES {
            // What is in front of the name is the port's, and known once the tools are there.
            let call = format!(
                "for cc in {}/bin/*-{name}; do exec ccache \"$cc\" \"$@\"; done",
                self.tools
            );
            let program = self.program(name, &call)?;
            text.push_str(&format!(".MAKEFLAGS: {variable}={program}\n"));
        }
        write(&self.conf, &text)
    }

    /// Writes a program of one line.
    fn program(&self, name: &str, line: &str) -> Result<Utf8PathBuf, BuildError> {
        let path = self.programs.join(name);
        let text = format!("#!/bin/sh\n{line}\n");
        // A build that runs may be reading it.
        if std::fs::read_to_string(&path).is_ok_and(|there| there == text) {
            return Ok(path);
        }
        write(&path, &text)?;
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&path, mode).doing("make executable", &path)?;
        Ok(path)
    }

    /// What a build's environment has more with it.
    pub fn add_to(&self, env: &mut BTreeMap<String, String>) {
        let conf = self.conf.to_string();
        env.insert("MAKECONF".to_owned(), conf);
        for (name, value) in [
            ("CCACHE_DIR", self.dir.as_str()),
            // Tools that were built anew have new dates and may be the same.
            ("CCACHE_COMPILERCHECK", "content"),
        ] {
            env.entry(name.to_owned())
                .or_insert_with(|| value.to_owned());
        }
    }
}

fn write(path: &Utf8Path, text: &str) -> Result<(), BuildError> {
    files::write_atomic(path, text.as_bytes())
        .map_err(std::io::Error::other)
        .doing("write", path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn compilers_are_named_through_it_and_the_projects_words_stay() {
        let keep = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(keep.path()).unwrap();
        let ccache = Ccache::at(dir, &dir.join("port"));
        let mut env: BTreeMap<String, String> = [
            ("HOST_CXX", "g++ -std=gnu++98 -w"),
            ("MAKECONF", "/etc/mk.conf"),
            ("CCACHE_MAXSIZE", "20G"),
        ]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .into();
        ccache.prepare(&env).unwrap();
        let text = std::fs::read_to_string(&ccache.conf).unwrap();
        let programs = dir.join("port/ccache.bin");
        assert_eq!(
            text,
            format!(
                ".include \"/etc/mk.conf\"\n.MAKEFLAGS: TOOL_CC.gcc={programs}/gcc\n\
                 .MAKEFLAGS: TOOL_CXX.gcc={programs}/c++\n"
            )
        );
        ccache.add_to(&mut env);
        assert!(!env.contains_key("HOST_CC"));
        assert_eq!(env["HOST_CXX"], "g++ -std=gnu++98 -w");
        assert_eq!(env["MAKECONF"], ccache.conf.as_str());
        assert_eq!(env["CCACHE_DIR"], ccache.dir.as_str());
    }

    #[test]
    fn each_compiler_is_a_program_of_one_word() {
        let keep = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(keep.path()).unwrap();
        let ccache = Ccache::at(dir, &dir.join("port"));
        ccache.prepare(&BTreeMap::new()).unwrap();
        // A ccache that says what it was called with, and the tree's compiler as the tools have it.
        let path = dir.join("path");
        for (file, text) in [
            (path.join("ccache"), "#!/bin/sh\necho \"$@\"\n"),
            (ccache.tools.join("bin/x--netbsd-gcc"), ""),
            (ccache.tools.join("bin/x--netbsd-gcc-4.5"), ""),
        ] {
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            write(&file, text).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let said = |name: &str| {
            let mut command = Command::new(ccache.programs.join(name));
            let command = command
                .args(["-c", "a b.c"])
                .env("PATH", format!("{path}:/usr/bin:/bin"));
            String::from_utf8(command.output().unwrap().stdout).unwrap()
        };
        let tree = format!("{}/bin/x--netbsd-gcc -c a b.c\n", ccache.tools);
        assert_eq!(said("gcc"), tree);
    }

    #[test]
    fn a_project_can_do_without() {
        let off = [("CCACHE_DISABLE".to_owned(), "1".to_owned())].into();
        assert_eq!(Ccache::find("/n".into(), "/n/p".into(), &off), None);
    }
}
