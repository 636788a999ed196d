//! A Slurm cluster of this machine alone, for tests: see `ci/slurm/cluster`.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Whether Slurm is installed here; says it where it is not. `ci/setup --with-tests` installs it wherever the
/// archive has it.
pub fn is_installed() -> bool {
    let places = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"];
    let there = ["slurmctld", "slurmd", "munged", "sbatch"]
        .iter()
        .all(|program| places.iter().any(|p| Path::new(p).join(program).exists()));
    if !there {
        eprintln!("SKIPPED: no slurmctld, slurmd, munged and sbatch on this machine");
    }
    there
}

/// What is in a directory; nothing in one that is not there.
pub fn entries(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// A cluster with a store; both end with this.
pub struct Lab {
    pub dir: tempfile::TempDir,
}

impl Lab {
    /// Starts one. Nodes run `fallout` and keep what they fetch apart from each other. Where root allows it,
    /// they are in namespaces of their own and have the store over a link that can be cut.
    pub fn start(fallout: &Path, nodes: u32, more: &str) -> Self {
        Self::start_every(fallout, nodes, "500ms", more)
    }

    /// The same, whose queue is looked at so often.
    pub fn start_every(fallout: &Path, nodes: u32, interval: &str, more: &str) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("fl")
            .tempdir_in("/tmp")
            .unwrap();
        let lab = Self { dir };
        let store = lab.store();
        let store = store.to_str().unwrap();
        lab.cluster(&["start"], &[&nodes.to_string(), "--store", store]);
        let text = format!(
            "format: 1\nexecutor: slurm\nstore: store\ninterval: {interval}\nnode: {{program: {}, cache: 'cache-{{node}}'}}\n{more}",
            fallout.display()
        );
        std::fs::write(lab.settings(), text).unwrap();
        lab
    }

    pub fn settings(&self) -> PathBuf {
        self.dir.path().join("cluster.yaml")
    }

    pub fn conf(&self) -> PathBuf {
        self.dir.path().join("slurm/slurm.conf")
    }

    pub fn store(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    /// The directories of all jobs in the store.
    pub fn jobs(&self) -> Vec<PathBuf> {
        let runs = entries(&self.store().join("jobs"));
        let dirs = runs.iter().flat_map(|run| entries(run));
        dirs.filter(|dir| dir.join("order.json").exists()).collect()
    }

    /// Whether nodes have links that can be cut, and the store over them.
    pub fn has_links(&self) -> bool {
        self.cluster(&["how"], &[]) == "namespaces\nstore\n"
    }

    /// `ci/slurm/cluster WHAT DIR WORDS…`, what it prints; panics where it fails.
    pub fn cluster(&self, what: &[&str], words: &[&str]) -> String {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ci/slurm/cluster");
        let output = Command::new(script)
            .args(what)
            .arg(self.dir.path().join("slurm"))
            .args(words)
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{what:?} {words:?}: {errors}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A command of Slurm's.
    pub fn slurm(&self, program: &str, words: &[&str]) -> String {
        let output = Command::new(program)
            .args(words)
            .env("SLURM_CONF", self.conf())
            .output();
        String::from_utf8_lossy(&output.unwrap().stdout).into_owned()
    }

    /// Emulators that run what this cluster's nodes have fetched.
    pub fn live_emulators(&self) -> Vec<i32> {
        super::tiny::emulators_of(self.dir.path())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ci/slurm/cluster");
        let _ = Command::new(script)
            .arg("stop")
            .arg(self.dir.path().join("slurm"))
            .output();
    }
}
