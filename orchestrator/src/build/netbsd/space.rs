//! Where a project's builds are: `CACHE/netbsd/PROJECT/`.
//!
//! ```text
//! lock              held by who builds
//! src/, index       the work tree, and what git wrote there
//! PORT/obj tools dest release home tmp
//! PORT/logs/STAGE.KEY.log.zst
//! PORT/done/STAGE.json          what the port's directories hold of a stage
//! PORT/done/kernel=CONF.KEY.json
//! PORT/done/STAGE.steps         when the steps of its last build began
//! PORT/kept/KEY/                kernels and sets, which the next build would overwrite in place
//! ```

use std::fs;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use super::progress::Earlier;
use super::stage::{Dirs, Stage, Target};
use crate::build::error::{BuildError, Doing};
use crate::host::files::write_atomic;
use crate::host::lock::{Hold, Lock, try_lock};
use crate::model::Key;

/// A file or directory that a stage made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Artifact {
    /// `kernel`, `tools`, `destdir`, `release`, `sets`, `images`.
    pub kind: String,
    /// Where it is.
    pub path: Utf8PathBuf,
    /// A file's length, in bytes; none for a directory.
    pub size_bytes: Option<u64>,
    /// A file's hash.
    pub hash: Option<Key>,
}

/// A stage that was built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Version of this record's form: 1.
    pub format: u32,
    /// `kernel=GENERIC`
    pub stage: String,
    /// The hash of all that it depends on.
    pub key: Key,
    /// The git tree that was built.
    pub tree: String,
    /// The hash of what else it was built with: variables, environment, the host's compiler.
    #[serde(default = "no_settings")]
    pub settings: Key,
    /// How often only parts of it were built since all of it was.
    #[serde(default)]
    pub parts: u32,
    /// All of it is there, and the set lists do not fit.
    #[serde(default)]
    pub unlisted: bool,
    /// How long `build.sh` took, in milliseconds.
    pub took_ms: u64,
    /// What confined it.
    pub confined: String,
    /// What it made.
    pub artifacts: Vec<Artifact>,
    /// The whole log, zstd.
    pub log: Utf8PathBuf,
}

fn no_settings() -> Key {
    Key(String::new())
}

/// One port's place in a project's.
#[derive(Debug, Clone)]
pub(super) struct Space {
    root: Utf8PathBuf,
    pub dirs: Dirs,
}

impl Space {
    pub fn new(cache: &Utf8Path, project: &str, target: &Target) -> Self {
        let root = cache.join("netbsd").join(project);
        Self {
            dirs: Dirs {
                source: root.join("src"),
                port: root.join(target.to_string()),
            },
            root,
        }
    }

    pub fn index(&self) -> Utf8PathBuf {
        self.root.join("index")
    }

    /// Waits until nobody else builds the project.
    pub async fn lock(&self) -> Result<Lock, BuildError> {
        let path = self.root.join("lock");
        loop {
            if let Some(lock) = try_lock(&path, Hold::Alone).doing("lock", &path)? {
                return Ok(lock);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Makes the port's directories. What an earlier build left in `tmp` goes.
    pub fn prepare(&self) -> Result<(), BuildError> {
        let tmp = self.dirs.part("tmp");
        if tmp.exists() {
            fs::remove_dir_all(&tmp).doing("empty", &tmp)?;
        }
        for part in [
            "obj", "tools", "dest", "release", "home", "tmp", "logs", "done", "kept",
        ] {
            let dir = self.dirs.part(part);
            fs::create_dir_all(&dir).doing("create", &dir)?;
        }
        Ok(())
    }

    fn note(&self, stage: &Stage, key: &Key) -> Utf8PathBuf {
        let name = match stage {
            // Kernels are kept by key: that of the other side stays.
            Stage::Kernel(_) => format!("{stage}.{}.json", key.short()),
            _ => format!("{stage}.json"),
        };
        self.dirs.part("done").join(name)
    }

    fn steps(&self, stage: &Stage) -> Utf8PathBuf {
        self.dirs.part("done").join(format!("{stage}.steps"))
    }

    /// The steps of the last build of a stage that succeeded, whatever it was built from.
    pub fn earlier(&self, stage: &Stage) -> Earlier {
        let read = fs::read(self.steps(stage)).ok();
        // Forgotten steps cost an estimate.
        read.and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default()
    }

    /// The record of a stage, if that is what `key` asks for and its artifacts are there.
    pub fn done(&self, stage: &Stage, key: &Key) -> Option<Record> {
        let last = self.last(stage, key)?;
        (last.key == *key && !last.unlisted).then_some(last)
    }

    /// The record of a stage whatever it was built from, if its artifacts are there. Of kernels, which
    /// are kept by key, that of `key`.
    pub fn last(&self, stage: &Stage, key: &Key) -> Option<Record> {
        let record: Record = serde_json::from_slice(&fs::read(self.note(stage, key)).ok()?).ok()?;
        let there = |a: &Artifact| match (fs::metadata(&a.path), a.size_bytes) {
            (Ok(meta), Some(size)) => meta.len() == size,
            (Ok(meta), None) => meta.is_dir(),
            (Err(_), _) => false,
        };
        // Records of sets were once written without the copy that runs use.
        let kept = |a: &Artifact| a.kind == "sets";
        let whole = *stage != Stage::Sets || record.artifacts.iter().any(kept);
        let whole = whole && record.artifacts.iter().all(there);
        (record.format == 1 && whole).then_some(record)
    }

    /// Writes a record and the steps.
    pub fn put(&self, stage: &Stage, record: &Record, steps: &Earlier) -> Result<(), BuildError> {
        let write = |path: Utf8PathBuf, text: serde_json::Result<Vec<u8>>| {
            let text = text.map_err(std::io::Error::other);
            Ok::<(), BuildError>(write_atomic(&path, &text.doing("write", &path)?)?)
        };
        if !steps.steps.is_empty() || steps.total_ms > 0 {
            let kept = self.earlier(stage).followed_by(steps);
            write(self.steps(stage), serde_json::to_vec(&kept))?;
        }
        let note = self.note(stage, &record.key);
        write(note, serde_json::to_vec_pretty(record))
    }

    /// A stage is about to be built: the port's directories will no longer hold what records say.
    pub fn forget(&self, stage: &Stage, key: &Key) -> Result<(), BuildError> {
        let mut stale = vec![self.note(stage, key)];
        if *stage == Stage::Release {
            // It installs into DESTDIR first.
            stale.push(self.note(&Stage::Distribution, key));
        }
        for note in stale {
            match fs::remove_file(&note) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(e).doing("remove", &note);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Where the log of a build is written.
    pub fn log(&self, stage: &Stage, key: &Key) -> Utf8PathBuf {
        let name = format!("{stage}.{}.log.zst", key.short());
        self.dirs.part("logs").join(name)
    }

    /// What a stage made. Kernels and sets are copied, for the next build overwrites them.
    pub fn collect(
        &self,
        stage: &Stage,
        target: &Target,
        key: &Key,
    ) -> Result<Vec<Artifact>, BuildError> {
        let dir = |kind: &str, path: Utf8PathBuf| Artifact {
            kind: kind.to_owned(),
            path,
            size_bytes: None,
            hash: None,
        };
        let release = self.dirs.part("release");
        Ok(match stage {
            Stage::Tools => vec![dir("tools", self.dirs.part("tools"))],
            Stage::Distribution => vec![dir("destdir", self.dirs.part("dest"))],
            Stage::Sets => {
                let sets = self.sets(&release, key)?;
                vec![dir("release", release), dir("sets", sets)]
            }
            Stage::Release => vec![dir("release", release)],
            Stage::Image(_) => vec![dir("images", release.join("images"))],
            Stage::Kernel(conf) => {
                let made = format!("sys/arch/{}/compile/{conf}", target.machine);
                self.kernels(&self.dirs.part("obj").join(made), key)?
            }
        })
    }

    /// Copies the sets of a release's only port, in the place of those that were kept before.
    fn sets(&self, release: &Utf8Path, key: &Key) -> Result<Utf8PathBuf, BuildError> {
        let kept = self.dirs.part("kept");
        let to = kept.join(format!("sets-{}", key.short()));
        let entries = |dir: &Utf8Path| -> Result<Vec<Utf8PathBuf>, BuildError> {
            let found = dir.read_dir_utf8().doing("read", dir)?;
            let found = found.map(|entry| entry.map(|e| e.into_path()));
            found.collect::<Result<_, _>>().doing("read", dir)
        };
        fs::create_dir_all(&kept).doing("create", &kept)?;
        for old in entries(&kept)? {
            if old.file_name().is_some_and(|n| n.starts_with("sets-")) {
                fs::remove_dir_all(&old).doing("remove", &old)?;
            }
        }
        fs::create_dir_all(&to).doing("create", &to)?;
        for port in entries(release)? {
            let sets = port.join("binary/sets");
            if !sets.is_dir() {
                continue;
            }
            for set in entries(&sets)? {
                let name = set.file_name().unwrap_or_default();
                fs::copy(&set, to.join(name)).doing("copy", &set)?;
            }
        }
        Ok(to)
    }

    fn kernels(&self, made: &Utf8Path, key: &Key) -> Result<Vec<Artifact>, BuildError> {
        let kept = self.dirs.part("kept").join(key.short());
        fs::create_dir_all(&kept).doing("create", &kept)?;
        let mut found = Vec::new();
        for entry in made.read_dir_utf8().doing("read", made)? {
            let entry = entry.doing("read", made)?;
            let name = entry.file_name();
            let is_kernel =
                name == "netbsd" || name.starts_with("netbsd.") || name.starts_with("netbsd-");
            let is_file = entry.file_type().doing("read", entry.path())?.is_file();
            if !is_kernel || !is_file {
                continue;
            }
            let path = kept.join(name);
            fs::copy(entry.path(), &path).doing("copy", entry.path())?;
            let bytes = fs::read(&path).doing("read", &path)?;
            found.push(Artifact {
                kind: "kernel".to_owned(),
                size_bytes: Some(bytes.len() as u64),
                hash: Some(Key(blake3::hash(&bytes).to_hex().to_string())),
                path,
            });
        }
        found.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }
}
