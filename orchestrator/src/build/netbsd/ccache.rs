//! Compilers through ccache, where the host has it: what was compiled once, for whichever project, port or
//! revision, is not compiled again.
//!
//! No part of a stage's key: what comes out is the same with it and without it. The host's compilers are named
//! by the environment, the tree's own by a `mk.conf` of ours.

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};

use crate::build::error::{BuildError, Doing};
use crate::host::files;

/// The tree's makefiles set these after they have read `mk.conf`, so they are set as on make's command line:
/// nothing overrides that, and makes below hear of it. Names are left for the makefiles to fill in.
const OVERRIDES: &str = "\
.MAKEFLAGS: TOOL_CC.gcc='ccache $${TOOLDIR}/bin/$${MACHINE_GNU_PLATFORM}-gcc'
.MAKEFLAGS: TOOL_CXX.gcc='ccache $${TOOLDIR}/bin/$${MACHINE_GNU_PLATFORM}-c++'
";

/// The host's compilers, as `build.sh` names them, and what they are where nobody says.
const HOSTS: [(&str, &str); 2] = [("HOST_CC", "cc"), ("HOST_CXX", "c++")];

/// A cache of what compilers made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ccache {
    /// Where it is.
    pub dir: Utf8PathBuf,
    conf: Utf8PathBuf,
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
        (there && wanted).then(|| Self {
            dir: netbsd.join("ccache"),
            conf: port.join("ccache.mk"),
        })
    }

    /// Makes its directory and the file that names the compilers. A `mk.conf` of the project's is read first.
    pub fn prepare(&self, env: &BTreeMap<String, String>) -> Result<(), BuildError> {
        std::fs::create_dir_all(&self.dir).doing("create", &self.dir)?;
        let theirs = env.get("MAKECONF");
        let theirs = theirs.map_or(String::new(), |file| format!(".include \"{file}\"\n"));
        let text = format!("{theirs}{OVERRIDES}");
        files::write_atomic(&self.conf, text.as_bytes())
            .map_err(std::io::Error::other)
            .doing("write", &self.conf)
    }

    /// What a build's environment has more with it.
    pub fn add_to(&self, env: &mut BTreeMap<String, String>) {
        for (name, plain) in HOSTS {
            let word = env.remove(name).unwrap_or_else(|| plain.to_owned());
            let already = word
                .split_whitespace()
                .next()
                .is_some_and(|w| w.ends_with("ccache"));
            let word = if already {
                word
            } else {
                format!("ccache {word}")
            };
            env.insert(name.to_owned(), word);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compilers_are_named_through_it_and_the_projects_words_stay() {
        let keep = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(keep.path()).unwrap();
        let ccache = Ccache {
            dir: dir.join("ccache"),
            conf: dir.join("ccache.mk"),
        };
        let mut env: BTreeMap<String, String> = [
            ("HOST_CXX", "g++ -std=gnu++98 -w"),
            ("MAKECONF", "/etc/mk.conf"),
            ("CCACHE_MAXSIZE", "20G"),
        ]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .into();
        ccache.prepare(&env).unwrap();
        let text = std::fs::read_to_string(&ccache.conf).unwrap();
        assert!(
            text.starts_with(".include \"/etc/mk.conf\"\n.MAKEFLAGS: TOOL_CC.gcc="),
            "{text}"
        );
        ccache.add_to(&mut env);
        assert_eq!(env["HOST_CC"], "ccache cc");
        assert_eq!(env["HOST_CXX"], "ccache g++ -std=gnu++98 -w");
        assert_eq!(env["MAKECONF"], ccache.conf.as_str());
        assert_eq!(env["CCACHE_DIR"], ccache.dir.as_str());
        // Once is enough.
        ccache.add_to(&mut env);
        assert_eq!(env["HOST_CC"], "ccache cc");
    }

    #[test]
    fn a_project_can_do_without() {
        let off = [("CCACHE_DISABLE".to_owned(), "1".to_owned())].into();
        assert_eq!(Ccache::find("/n".into(), "/n/p".into(), &off), None);
    }
}
