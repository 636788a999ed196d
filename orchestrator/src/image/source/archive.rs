//! The distribution's archive, seen through a private apt state of its own.
//!
//! Two halves: *resolve* asks apt, which checks the archive's signature, for the exact files
//! (address, size, SHA-256) behind a package's name and writes them down; *fetch* downloads exactly
//! these and checks them. What was resolved once stays so until a refresh is asked for: a warm run
//! needs no network, and two runs a day apart build the same.
//!
//! The host's own apt sources, preferences and package database are not touched and not asked.

use std::process::Command;
use std::time::{Duration, SystemTime};

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use super::error::{IoContext, SourceError};
use super::recipe::Origin;
use super::run::{capture, run};
use super::{Watch, cache};
use crate::model::ids::Key;

const MIRROR: &str = "http://deb.debian.org/debian";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Index files younger than this are not fetched again even when a refresh is asked for.
const INDEX_FRESH: Duration = Duration::from_secs(600);

/// One file of the archive, pinned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFile {
    /// Where it is.
    pub url: String,
    /// Its name: `busybox_1.35.0.orig.tar.bz2`.
    pub name: String,
    /// Its length.
    pub size_bytes: u64,
    /// 64 hexadecimal digits.
    pub sha256: String,
}

impl SourceFile {
    /// The version in the file's name, `NAME_VERSION_ARCH.deb` or `NAME_VERSION.dsc`.
    pub fn version(&self) -> &str {
        let rest = self.name.split_once('_').map_or("", |(_, rest)| rest);
        rest.strip_suffix(".dsc")
            .or_else(|| rest.rsplit_once('_').map(|(v, _)| v))
            .unwrap_or(rest)
    }
}

/// A suite of the archive and where its private state and downloads are kept.
pub struct Archive<'a> {
    /// `bookworm`.
    pub suite: &'a str,
    /// The directory of this module's cache.
    pub cache: &'a Utf8Path,
}

impl Archive<'_> {
    /// The files behind a recipe's source, from the notes of last time unless `refresh`.
    pub fn resolve(
        &self,
        origin: &Origin,
        refresh: bool,
        watch: &Watch<'_>,
    ) -> Result<Vec<SourceFile>, SourceError> {
        if !refresh && let Some(files) = self.noted(origin) {
            return Ok(files);
        }
        let _lock = cache::lock(self.cache, &format!("apt-{}", self.suite), watch)?;
        self.update(watch)?;
        let mut apt = self.apt()?;
        match origin {
            Origin::SourcePackage { .. } => {
                apt.args(["--print-uris", "source", "--download-only", "--only-source"])
            }
            _ => apt.args(["--print-uris", "download"]),
        };
        apt.args(origin.packages());
        let what = origin.packages().join(" ");
        let output = capture(&mut apt, watch.stop)?.map_err(|output| SourceError::Archive {
            suite: self.suite.to_owned(),
            what: what.clone(),
            output,
        })?;
        let files = parse_uris(&output);
        if files.is_empty() {
            return Err(SourceError::Archive {
                suite: self.suite.to_owned(),
                what,
                output,
            });
        }
        self.note(origin, &files)?;
        Ok(files)
    }

    /// What a source was resolved to last time.
    pub fn noted(&self, origin: &Origin) -> Option<Vec<SourceFile>> {
        let text = std::fs::read(self.note_path(origin)).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Writes down what a source was resolved to.
    pub(super) fn note(&self, origin: &Origin, files: &[SourceFile]) -> Result<(), SourceError> {
        let dir = self.cache.join("resolved");
        std::fs::create_dir_all(&dir).doing("create", &dir)?;
        let text = serde_json::to_vec_pretty(files).unwrap_or_default();
        cache::write_whole(&self.note_path(origin), &text)
    }

    fn note_path(&self, origin: &Origin) -> Utf8PathBuf {
        let spec = format!("{origin:?}");
        let key = Key::of(
            "source resolution 1",
            &[self.suite.as_bytes(), spec.as_bytes()],
        );
        let name = format!("resolved/{}-{}.json", self.suite, key.short());
        self.cache.join(name)
    }

    /// Downloads the files that are not here yet; gives their paths in the same order.
    pub fn fetch(
        &self,
        files: &[SourceFile],
        watch: &Watch<'_>,
    ) -> Result<Vec<Utf8PathBuf>, SourceError> {
        let dir = self.cache.join("downloads");
        std::fs::create_dir_all(&dir).doing("create", &dir)?;
        let _lock = cache::lock(self.cache, "downloads", watch)?;
        let mut paths = Vec::new();
        for file in files {
            let path = dir.join(&file.name);
            if !is_intact(&path, file, watch)? {
                let mut helper = Command::new("/usr/lib/apt/apt-helper");
                helper
                    .args(["-o", "APT::Sandbox::User=root", "download-file"])
                    .arg(&file.url)
                    .arg(&path)
                    .arg(format!("SHA256:{}", file.sha256));
                let got = capture(&mut helper, watch.stop)?;
                if got.is_err() || !is_intact(&path, file, watch)? {
                    return Err(SourceError::Archive {
                        suite: self.suite.to_owned(),
                        what: format!("{} whole and unchanged", file.url),
                        output: got.err().unwrap_or_else(|| {
                            "its SHA-256 is not the one in the archive's signed index".into()
                        }),
                    });
                }
            }
            paths.push(path);
        }
        Ok(paths)
    }

    fn update(&self, watch: &Watch<'_>) -> Result<(), SourceError> {
        let stamp = self.state().join("updated");
        let fresh = std::fs::metadata(&stamp)
            .and_then(|m| m.modified())
            .is_ok_and(|at| {
                SystemTime::now()
                    .duration_since(at)
                    .is_ok_and(|age| age < INDEX_FRESH)
            });
        if fresh {
            return Ok(());
        }
        (watch.progress)("read the archive's index", None);
        let mut apt = self.apt()?;
        // Without this a failed index is a warning and exit status 0.
        apt.args(["-o", "APT::Update::Error-Mode=any", "update"]);
        let ran = run(&mut apt, watch.stop, &mut |_| {})?;
        if !ran.ok {
            return Err(SourceError::Archive {
                suite: self.suite.to_owned(),
                what: "its index".into(),
                output: ran.tail,
            });
        }
        std::fs::write(&stamp, b"").doing("write", &stamp)
    }

    fn state(&self) -> Utf8PathBuf {
        self.cache.join("apt").join(self.suite)
    }

    /// apt-get with nothing of the host's but its way to the network.
    fn apt(&self) -> Result<Command, SourceError> {
        let dir = self.state();
        for sub in ["state/lists/partial", "cache/archives/partial"] {
            let sub = dir.join(sub);
            std::fs::create_dir_all(&sub).doing("create", &sub)?;
        }
        let sources = dir.join("sources.list");
        let line = format!("[signed-by={KEYRING}] {MIRROR} {} main\n", self.suite);
        std::fs::write(&sources, format!("deb {line}deb-src {line}")).doing("write", &sources)?;
        let status = dir.join("status");
        std::fs::write(&status, b"").doing("write", &status)?;
        let mut apt = Command::new("apt-get");
        apt.env("LC_ALL", "C").arg("-q");
        for option in [
            format!("Dir::State={dir}/state"),
            format!("Dir::State::status={status}"),
            format!("Dir::Cache={dir}/cache"),
            format!("Dir::Etc::sourcelist={sources}"),
            "Dir::Etc::sourceparts=/dev/null".into(),
            "Dir::Etc::preferences=/dev/null".into(),
            "Dir::Etc::preferencesparts=/dev/null".into(),
            // What is taken is for all architectures or source: any one's index has it.
            "APT::Architecture=amd64".into(),
            "APT::Architectures=amd64".into(),
            "APT::Sandbox::User=root".into(),
            "Acquire::Languages=none".into(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".into(),
        ] {
            apt.arg("-o").arg(option);
        }
        Ok(apt)
    }
}

/// Reads `apt-get --print-uris`: `'URL' NAME SIZE SHA256:DIGITS` among lines for people. A name
/// that could leave a directory, or a line without SHA-256, is passed over.
pub fn parse_uris(output: &str) -> Vec<SourceFile> {
    output
        .lines()
        .filter_map(|line| {
            let (url, rest) = line.strip_prefix('\'')?.split_once("' ")?;
            let mut words = rest.split_ascii_whitespace();
            let name = words.next()?;
            let size_bytes = words.next()?.parse().ok()?;
            let sha256 = words.next()?.strip_prefix("SHA256:")?;
            let hex = sha256.len() == 64 && sha256.bytes().all(|b| b.is_ascii_hexdigit());
            let safe = !name.starts_with('.') && !name.contains('/');
            (hex && safe).then(|| SourceFile {
                url: url.to_owned(),
                name: name.replace("%3a", ":"),
                size_bytes,
                sha256: sha256.to_ascii_lowercase(),
            })
        })
        .collect()
}

fn is_intact(path: &Utf8Path, file: &SourceFile, watch: &Watch<'_>) -> Result<bool, SourceError> {
    if std::fs::metadata(path).map(|m| m.len()).ok() != Some(file.size_bytes) {
        return Ok(false);
    }
    let mut sum = Command::new("sha256sum");
    sum.arg("--").arg(path);
    let text = capture(&mut sum, watch.stop)?.unwrap_or_default();
    Ok(text.starts_with(&file.sha256))
}
