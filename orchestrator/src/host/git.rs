//! Git by its own command line: bare mirrors, the tree of a revision, a work tree from a mirror.
//!
//! Nothing of the user's repositories is written: revisions are fetched into a bare mirror of our
//! own, and work trees are made from that with an index of their own, which is also what makes a
//! second checkout touch only the files that differ. The user's git settings count where something
//! is fetched (proxies, keys), and never where files are written: equal trees give equal files.
//!
//! Deliberately not here: what lies between two revisions; that is `history.rs`.

use std::fs;
use std::io;
use std::process::{Command, Stdio};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};

use super::files::{self, FileError};
use super::lock::{Hold, Lock, try_lock};
use super::series::Patch;
use super::text;
use crate::model::Key;

/// Why git gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// The program is missing.
    #[error("the program 'git' is not installed: install the package git (ci/setup does it)")]
    Missing,
    /// A repository does not have a revision.
    #[error("{url} has no revision '{revision}': expected a branch, a tag or a commit of it")]
    NoRevision {
        /// The repository.
        url: String,
        /// What was asked for.
        revision: String,
    },
    /// A patch does not apply to a tree.
    #[error("patch {name} does not apply: {said}")]
    Patch {
        /// The patch as its series names it.
        name: String,
        /// What git said, bounded.
        said: String,
    },
    /// Git failed.
    #[error("git {doing} failed: {said}")]
    Failed {
        /// The subcommand: `fetch`.
        doing: String,
        /// What it said, bounded.
        said: String,
    },
    /// The host could not do its part.
    #[error("cannot run git: {0}")]
    Host(#[from] io::Error),
    /// A file of ours.
    #[error(transparent)]
    File(#[from] FileError),
}

/// A tree in a repository on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitTree {
    /// The bare repository that has it.
    pub repo: Utf8PathBuf,
    /// The tree's object id.
    pub id: String,
}

impl GitTree {
    /// The tree's identity as a source.
    pub fn key(&self) -> Key {
        tree_key(&self.id)
    }
}

/// The identity of a source that is a git tree: the same for every commit that has that tree.
pub fn tree_key(id: &str) -> Key {
    Key::of("git tree 1", &[id.as_bytes()])
}

/// Variables by which a caller's git would be led elsewhere.
pub(super) const LEADING: [&str; 8] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
    "GIT_COMMON_DIR",
];

/// A git command that depends on nobody's settings or environment.
pub fn plain(repo: &Utf8Path) -> Command {
    let mut command = with_settings(repo);
    command
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_ATTR_NOSYSTEM", "1")
        .args(["-c", "core.autocrlf=false", "-c", "core.fsmonitor=false"]);
    command
}

fn with_settings(repo: &Utf8Path) -> Command {
    let mut command = Command::new("git");
    for name in LEADING {
        command.env_remove(name);
    }
    command
        .env("GIT_DIR", repo)
        .env("GIT_TERMINAL_PROMPT", "0")
        // Not `ext::`: an address in a file must not be a command.
        .env("GIT_ALLOW_PROTOCOL", "file:git:http:https:ssh")
        .env("LC_ALL", "C")
        .stdin(Stdio::null());
    command
}

/// Runs a git command to its end and gives what it printed. Blocks.
pub fn output(mut command: Command, doing: &str) -> Result<String, GitError> {
    let out = match command.output() {
        Ok(out) => out,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(GitError::Missing),
        Err(e) => return Err(e.into()),
    };
    if !out.status.success() {
        return Err(GitError::Failed {
            doing: doing.to_owned(),
            said: text::tail(&out.stderr, 12, 300).join("\n"),
        });
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// The id of the tree of a revision, or none where the repository does not have it. Blocks.
pub fn tree_of(repo: &Utf8Path, revision: &str) -> Result<Option<String>, GitError> {
    let mut command = plain(repo);
    // A repository of another user is only read here.
    command.args(["-c", &format!("safe.directory={repo}")]);
    command.args(["rev-parse", "--verify", "--quiet", "--end-of-options"]);
    command.arg(format!("{revision}^{{tree}}"));
    match output(command, "rev-parse") {
        Ok(said) => Ok(Some(said.trim().to_owned()).filter(|id| !id.is_empty())),
        Err(GitError::Failed { said, .. }) if said.is_empty() => Ok(None),
        Err(e) => Err(e),
    }
}

/// The `.git` of a checkout, or a bare repository itself; none where `path` is neither.
pub fn repository(path: &Utf8Path) -> Option<Utf8PathBuf> {
    let inside = path.join(".git");
    if inside.is_file() {
        // A work tree of another repository, or a submodule: the file says where that is.
        let said = fs::read_to_string(&inside).ok()?;
        let dir = path.join(said.strip_prefix("gitdir: ")?.trim());
        return dir.is_dir().then_some(dir);
    }
    [inside, path.to_owned()]
        .into_iter()
        .find(|dir| dir.join("HEAD").is_file() && dir.join("objects").is_dir())
}

/// Whether a revision is a whole object id: it never means another tree.
pub fn is_id(revision: &str) -> bool {
    matches!(revision.len(), 40 | 64) && revision.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Where the mirror of a repository is: `CACHE/mirrors/HASH.git`.
pub fn mirror_path(cache: &Utf8Path, url: &str) -> Utf8PathBuf {
    // One mirror, from whichever directory a path is seen.
    let path = Utf8Path::new(url).canonicalize_utf8();
    let url = path.map_or(url.to_owned(), Utf8PathBuf::into_string);
    let name = Key::of("mirror 1", &[url.as_bytes()]);
    cache.join("mirrors").join(format!("{}.git", name.short()))
}

/// The tree of a revision as far as it is known without a network: from a repository on this
/// machine, or, where the revision is a whole id, from the mirror. Blocks.
pub fn known_tree(cache: &Utf8Path, url: &str, revision: &str) -> Result<Option<String>, GitError> {
    if let Some(repo) = repository(Utf8Path::new(url)) {
        let found = tree_of(&repo, revision)?;
        return found.map(Some).ok_or_else(|| GitError::NoRevision {
            url: url.to_owned(),
            revision: revision.to_owned(),
        });
    }
    let mirror = mirror_path(cache, url);
    if is_id(revision) && mirror.is_dir() {
        return tree_of(&mirror, revision);
    }
    Ok(None)
}

/// The tree of a revision in the mirror of a repository; fetched where the mirror may not have what
/// the repository has now. Blocks.
pub fn ensure(cache: &Utf8Path, url: &str, revision: &str) -> Result<GitTree, GitError> {
    let (repo, name) = mirrored(cache, url, revision)?;
    let id = tree_of(&repo, &name)?.ok_or_else(|| GitError::NoRevision {
        url: url.to_owned(),
        revision: revision.to_owned(),
    })?;
    Ok(GitTree { repo, id })
}

/// The mirror of a remote repository and the commit of a revision in it, fetched likewise; none where
/// the repository has no such revision. Blocks.
pub fn ensure_commit(
    cache: &Utf8Path,
    url: &str,
    revision: &str,
) -> Result<(Utf8PathBuf, Option<String>), GitError> {
    let mirror = mirror_path(cache, url);
    if is_id(revision) && mirror.join("HEAD").is_file() {
        let commit = super::history::commit(&mirror, revision)?;
        if commit.is_some() {
            return Ok((mirror, commit));
        }
    }
    let (repo, name) = mirrored(cache, url, revision)?;
    let commit = super::history::commit(&repo, &name)?;
    Ok((repo, commit))
}

/// The mirror of a repository, and what the revision, or its tree, is called in it.
fn mirrored(
    cache: &Utf8Path,
    url: &str,
    revision: &str,
) -> Result<(Utf8PathBuf, String), GitError> {
    let mirror = mirror_path(cache, url);
    let _lock = wait_for(&mirror.with_extension("lock"))?;
    if !mirror.join("HEAD").is_file() {
        fs::create_dir_all(&mirror)?;
        let mut init = plain(&mirror);
        init.args(["init", "--quiet", "--bare"]);
        output(init, "init")?;
    }
    // What is known already needs no fetch.
    if let Some(id) = known_tree(cache, url, revision)?
        && has(&mirror, &id)?
    {
        return Ok((mirror, id));
    }
    let fetch = |what: &[&str]| {
        let mut fetch = with_settings(&mirror);
        fetch.args(["fetch", "--quiet", "--no-tags", "--no-write-fetch-head"]);
        fetch.args(["--force", "--end-of-options", url]).args(what);
        output(fetch, "fetch")
    };
    // One ref a revision: what another run needs is never taken away.
    let own = format!("refs/fallout/{}", Key::of("ref 1", &[revision.as_bytes()]));
    match fetch(&[&format!("{revision}:{own}")]) {
        Ok(_) => Ok((mirror, own)),
        // `main~3`, a shortened id, or a server that gives no commit by its id.
        Err(GitError::Failed { .. }) => {
            fetch(&["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"])?;
            Ok((mirror, revision.to_owned()))
        }
        Err(e) => Err(e),
    }
}

/// Waits until nobody else fills the mirror.
fn wait_for(path: &Utf8Path) -> io::Result<Lock> {
    loop {
        if let Some(lock) = try_lock(path, Hold::Alone)? {
            return Ok(lock);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Whether a repository has an object.
fn has(repo: &Utf8Path, id: &str) -> Result<bool, GitError> {
    let mut command = plain(repo);
    command.args(["cat-file", "-e", id]);
    match output(command, "cat-file") {
        Ok(_) => Ok(true),
        Err(GitError::Failed { .. }) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Makes the work tree `to` what `tree` says; `index` (not inside it) remembers what is there. Only
/// what differs from the last time is written, and files that git does not know are left. Blocks.
pub fn checkout(tree: &GitTree, to: &Utf8Path, index: &Utf8Path) -> Result<(), GitError> {
    fs::create_dir_all(to)?;
    let mut command = plain(&tree.repo);
    command
        .env("GIT_WORK_TREE", to)
        .env("GIT_INDEX_FILE", index)
        .args(["read-tree", "--reset", "-u", &tree.id]);
    output(command, "read-tree").map(|_| ())
}

/// The tree with patches applied to it, as a tree in the same repository: no checkout is needed, and
/// equal patches on equal trees are the same tree. What was made once is remembered. Blocks.
pub fn patched(tree: &GitTree, series: &Key, patches: &[Patch]) -> Result<GitTree, GitError> {
    let name = Key::of("patched 1", &[tree.id.as_bytes(), series.0.as_bytes()]);
    let note = tree.repo.join("fallout").join(name.short());
    if let Ok(id) = fs::read_to_string(&note)
        && is_id(&id)
        && has(&tree.repo, &id)?
    {
        let repo = tree.repo.clone();
        return Ok(GitTree { repo, id });
    }
    let keep = tempfile::tempdir()?;
    let dir = Utf8Path::from_path(keep.path())
        .ok_or_else(|| io::Error::other("the directory for temporary files has an odd name"))?;
    let command = |words: &[&str]| {
        let mut command = plain(&tree.repo);
        command.env("GIT_INDEX_FILE", dir.join("index"));
        command.current_dir(dir).args(words);
        command
    };
    output(command(&["read-tree", &tree.id]), "read-tree")?;
    for patch in patches {
        let file = dir.join("patch");
        fs::write(&file, &patch.bytes)?;
        let words = ["apply", "--cached", "--whitespace=nowarn", file.as_str()];
        match output(command(&words), "apply") {
            Ok(_) => {}
            Err(GitError::Failed { said, .. }) => {
                let name = patch.name.clone();
                return Err(GitError::Patch { name, said });
            }
            Err(e) => return Err(e),
        }
    }
    let id = output(command(&["write-tree"]), "write-tree")?;
    let id = id.trim().to_owned();
    files::write_atomic(&note, id.as_bytes())?;
    let repo = tree.repo.clone();
    Ok(GitTree { repo, id })
}

/// A commit of a tree on a parent, whose name depends on these and nothing else. Blocks.
pub fn commit_tree(tree: &GitTree, parent: &str, message: &str) -> Result<String, GitError> {
    let mut command = plain(&tree.repo);
    for who in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{who}_NAME"), "fallout");
        command.env(format!("GIT_{who}_EMAIL"), "fallout@localhost");
        command.env(format!("GIT_{who}_DATE"), "2000-01-01T00:00:00Z");
    }
    command.args(["commit-tree", "-p", parent, "-m", message, &tree.id]);
    Ok(output(command, "commit-tree")?.trim().to_owned())
}

/// What is in a directory of a tree: name and, for its content, mode and object id. Empty where there
/// is no such directory. Blocks.
pub fn entries(tree: &GitTree, dir: &str) -> Result<Vec<(String, String)>, GitError> {
    listed(tree, dir, &["ls-tree", "-z"])
}

/// The same of all files below a directory, by their paths from there. Blocks.
pub fn files_below(tree: &GitTree, dir: &str) -> Result<Vec<(String, String)>, GitError> {
    listed(tree, dir, &["ls-tree", "-z", "-r"])
}

/// The paths of the files in which two trees of one repository differ. Blocks.
pub fn differing(repo: &Utf8Path, from: &str, to: &str) -> Result<Vec<String>, GitError> {
    let mut command = plain(repo);
    command.args(["diff-tree", "-r", "-z", "--name-only", "--no-renames"]);
    command.args(["--end-of-options", from, to]);
    let said = output(command, "diff-tree")?;
    let paths = said.split('\0').filter(|path| !path.is_empty());
    Ok(paths.map(str::to_owned).collect())
}

fn listed(tree: &GitTree, dir: &str, words: &[&str]) -> Result<Vec<(String, String)>, GitError> {
    let mut command = plain(&tree.repo);
    command.args(words).arg(format!("{}:{dir}", tree.id));
    let said = match output(command, "ls-tree") {
        Ok(said) => said,
        Err(GitError::Failed { .. }) => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let entries = said.split('\0').filter_map(|e| e.split_once('\t'));
    Ok(entries
        .map(|(content, name)| (name.to_owned(), content.to_owned()))
        .collect())
}

#[cfg(test)]
#[path = "git_tests.rs"]
mod tests;
