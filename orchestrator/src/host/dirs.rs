//! Where things are on this machine: cache, state, sockets, and the port manifests.
//!
//! The cache can be deleted at any time; the state (runs) cannot be made again. Sockets live in a
//! directory with a short name, because a socket's path has room for about a hundred bytes.

use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};

use camino::{Utf8Path, Utf8PathBuf};

/// The longest socket path that Linux and the BSDs all take, in bytes.
pub const MAX_SOCKET_PATH: usize = 100;

/// The longest file name that is put behind the runtime directory, in bytes.
const LONGEST_SOCKET_NAME: usize = 40;

/// What can go wrong before anything is read.
#[derive(Debug, thiserror::Error)]
pub enum DirsError {
    /// Nothing says where to put files.
    #[error(
        "neither {variable} nor HOME is set to an absolute path: expected one of them to say where {what} goes"
    )]
    NoHome {
        /// The XDG variable.
        variable: &'static str,
        /// `the cache`, `the state`.
        what: &'static str,
    },
    /// The directory for sockets is not safe to use.
    #[error("{dir}: {why}: expected a directory of yours with mode 0700; set XDG_RUNTIME_DIR")]
    Runtime {
        /// The directory.
        dir: Utf8PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// No directory with port manifests.
    #[error(
        "no directory 'images' with port manifests in {looked} or above: give --images DIR or set FALLOUT_IMAGES"
    )]
    NoImages {
        /// Where the search began.
        looked: String,
    },
    /// A directory was named, and is none.
    #[error(
        "{dir}: {why} ({origin}): expected the directory with the port manifests (FAMILY/PORT.yaml)"
    )]
    NotImages {
        /// What was named.
        dir: Utf8PathBuf,
        /// Why it cannot be it.
        why: &'static str,
        /// What named it.
        origin: &'static str,
    },
}

/// The directories of the product. None needs to exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dirs {
    /// `$XDG_CACHE_HOME/fallout`: images, builds, results of cells.
    pub cache: Utf8PathBuf,
    /// `$XDG_STATE_HOME/fallout`: runs.
    pub state: Utf8PathBuf,
    /// `$XDG_CONFIG_HOME/fallout`: what the user has set for this program.
    pub config: Utf8PathBuf,
    /// For sockets and whatever ends with the process.
    pub runtime: Utf8PathBuf,
}

impl Dirs {
    /// From the process's environment.
    pub fn from_env() -> Result<Self, DirsError> {
        let uid = rustix::process::getuid().as_raw();
        Self::from_vars(|name| std::env::var(name).ok(), uid)
    }

    /// From variables handed in.
    pub fn from_vars(var: impl Fn(&str) -> Option<String>, uid: u32) -> Result<Self, DirsError> {
        let absolute = |name: &str| {
            let path = Utf8PathBuf::from(var(name)?);
            path.is_absolute().then_some(path)
        };
        let base = |variable, below: &str, what| {
            absolute(variable)
                .or_else(|| absolute("HOME").map(|home| home.join(below)))
                .map(|base| base.join("fallout"))
                .ok_or(DirsError::NoHome { variable, what })
        };
        let room = MAX_SOCKET_PATH - LONGEST_SOCKET_NAME;
        let runtime = absolute("XDG_RUNTIME_DIR")
            .map(|dir| dir.join("fallout"))
            .filter(|dir| dir.as_str().len() <= room)
            .unwrap_or_else(|| format!("/tmp/fallout-{uid}").into());
        Ok(Self {
            cache: base("XDG_CACHE_HOME", ".cache", "the cache")?,
            state: base("XDG_STATE_HOME", ".local/state", "the state")?,
            config: base("XDG_CONFIG_HOME", ".config", "the configuration")?,
            runtime,
        })
    }

    /// Where the runs are.
    pub fn runs(&self) -> Utf8PathBuf {
        self.state.join("runs")
    }

    /// Makes the directory for sockets, readable by its owner alone, and refuses one that
    /// somebody else put there.
    pub fn make_runtime(&self) -> Result<&Utf8Path, DirsError> {
        let failed = |why: String| DirsError::Runtime {
            dir: self.runtime.clone(),
            why,
        };
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.runtime)
            .map_err(|e| failed(e.to_string()))?;
        let meta = std::fs::symlink_metadata(&self.runtime).map_err(|e| failed(e.to_string()))?;
        if !meta.is_dir() {
            return Err(failed("is not a directory".to_owned()));
        }
        if meta.uid() != rustix::process::getuid().as_raw() {
            return Err(failed(format!("belongs to user {}", meta.uid())));
        }
        if meta.permissions().mode() & 0o077 != 0 {
            let own = std::fs::Permissions::from_mode(0o700);
            std::fs::set_permissions(&self.runtime, own).map_err(|e| failed(e.to_string()))?;
        }
        Ok(&self.runtime)
    }
}

/// The directory with the port manifests: what `--images` says, then `FALLOUT_IMAGES`, then the
/// first `images/` with a manifest in it, upwards from each of `starts`.
pub fn find_images(
    flag: Option<&Utf8Path>,
    var: Option<&Utf8Path>,
    starts: &[&Utf8Path],
) -> Result<Utf8PathBuf, DirsError> {
    for (given, origin) in [(flag, "from --images"), (var, "from FALLOUT_IMAGES")] {
        let Some(dir) = given else { continue };
        let why = match (dir.is_dir(), has_manifests(dir)) {
            (true, true) => return Ok(dir.to_owned()),
            (true, false) => "has no port manifests",
            (false, _) => "is not a directory",
        };
        return Err(DirsError::NotImages {
            dir: dir.to_owned(),
            why,
            origin,
        });
    }
    starts
        .iter()
        .flat_map(|start| start.ancestors())
        .map(|dir| dir.join("images"))
        .find(|dir| has_manifests(dir))
        .ok_or_else(|| DirsError::NoImages {
            looked: starts
                .iter()
                .map(|s| s.as_str())
                .collect::<Vec<_>>()
                .join(", "),
        })
}

fn has_manifests(images: &Utf8Path) -> bool {
    manifests(images).is_ok_and(|files| !files.is_empty())
}

/// The manifests below an images directory, `FAMILY/PORT.yaml`, sorted by path.
pub fn manifests(images: &Utf8Path) -> std::io::Result<Vec<Utf8PathBuf>> {
    let mut files = Vec::new();
    for family in images.read_dir_utf8()? {
        let family = family?;
        if !family.path().is_dir() {
            continue;
        }
        for file in family.path().read_dir_utf8()? {
            let path = file?.into_path();
            if path.extension() == Some("yaml") && path.is_file() {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dirs(vars: &[(&str, &str)]) -> Result<Dirs, DirsError> {
        let get = |name: &str| {
            let found = vars.iter().find(|(n, _)| *n == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        Dirs::from_vars(get, 7)
    }

    #[test]
    fn variables_then_home() {
        let plain = dirs(&[("HOME", "/home/u")]).unwrap();
        assert_eq!(plain.cache, "/home/u/.cache/fallout");
        assert_eq!(plain.state, "/home/u/.local/state/fallout");
        assert_eq!(plain.runtime, "/tmp/fallout-7");
        let set = dirs(&[
            ("HOME", "/home/u"),
            ("XDG_CACHE_HOME", "/c"),
            ("XDG_STATE_HOME", "relative"),
            ("XDG_RUNTIME_DIR", "/run/user/7"),
        ])
        .unwrap();
        assert_eq!(set.cache, "/c/fallout");
        assert_eq!(set.state, "/home/u/.local/state/fallout");
        assert_eq!(set.runtime, "/run/user/7/fallout");
        let said = dirs(&[]).unwrap_err().to_string();
        assert!(said.contains("XDG_CACHE_HOME"), "{said}");
    }

    #[test]
    fn a_long_runtime_directory_gives_way_to_a_short_one() {
        let long = format!("/run/{}", "x".repeat(60));
        let got = dirs(&[("HOME", "/h"), ("XDG_RUNTIME_DIR", &long)]).unwrap();
        assert_eq!(got.runtime, "/tmp/fallout-7");
    }

    #[test]
    fn images_are_found_upwards_and_a_named_one_is_checked() {
        let tmp = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(tmp.path()).unwrap();
        let deep = root.join("a/b");
        std::fs::create_dir_all(&deep).unwrap();
        // An `images` without manifests, nearer than the right one, is passed by.
        std::fs::create_dir_all(root.join("a/images/pictures")).unwrap();
        std::fs::create_dir_all(root.join("images/linux/sources")).unwrap();
        std::fs::write(root.join("images/linux/p.yaml"), "x: 1\n").unwrap();
        std::fs::write(root.join("images/README.md"), "").unwrap();
        assert_eq!(
            find_images(None, None, &[&deep]).unwrap(),
            root.join("images")
        );
        let found = manifests(&root.join("images")).unwrap();
        assert_eq!(found, [root.join("images/linux/p.yaml")]);
        let named = find_images(Some(&root.join("a/images")), None, &[&deep]).unwrap_err();
        assert!(named.to_string().contains("no port manifests"), "{named}");
    }

    #[test]
    fn the_runtime_directory_is_private() {
        let tmp = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(tmp.path()).unwrap();
        let mut dirs = dirs(&[("HOME", "/h")]).unwrap();
        dirs.runtime = root.join("r");
        std::fs::create_dir(&dirs.runtime).unwrap();
        std::fs::set_permissions(&dirs.runtime, std::fs::Permissions::from_mode(0o755)).unwrap();
        dirs.make_runtime().unwrap();
        let mode = std::fs::metadata(&dirs.runtime)
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o700);
        dirs.runtime = root.join("file");
        std::fs::write(&dirs.runtime, "").unwrap();
        assert!(dirs.make_runtime().is_err());
    }
}
