//! What is asked of a repository's history: which commit a name stands for, where a branch left another,
//! what a change touches, a commit's tree.
//!
//! Names may be anybody's: none is taken for an option. Repositories are only read, but for [`fetch`]; one
//! of another user is read too, because somebody named it.

use camino::{Utf8Path, Utf8PathBuf};

use super::git::{GitError, GitTree, LEADING, checkout, output, plain, tree_of};
use super::text;

fn reading(repository: &Utf8Path) -> std::process::Command {
    let mut command = plain(repository);
    command.args(["-c", &format!("safe.directory={repository}")]);
    command
}

/// The commit that a reference or an object name stands for; none where there is no such. Blocks.
pub fn commit(repository: &Utf8Path, name: &str) -> Result<Option<String>, GitError> {
    let mut command = reading(repository);
    command.args(["rev-parse", "--verify", "--quiet", "--end-of-options"]);
    command.arg(format!("{name}^{{commit}}"));
    match output(command, "rev-parse") {
        Ok(said) => Ok(Some(said.trim().to_owned()).filter(|id| !id.is_empty())),
        Err(GitError::Failed { said, .. }) if said.is_empty() => Ok(None),
        Err(e) => Err(e),
    }
}

/// Where a directory of a checkout is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The repository: a `.git`.
    pub repository: Utf8PathBuf,
    /// The directory's path in the trees; empty at the top.
    pub below: String,
    /// Whether files below it are not as the commit that is checked out has them.
    pub changed: bool,
}

/// Asks where a directory is; none outside of a checkout. Blocks.
pub fn place(dir: &Utf8Path) -> Result<Option<Place>, GitError> {
    let git = |words: &[&str]| {
        let mut command = std::process::Command::new("git");
        for name in LEADING {
            command.env_remove(name);
        }
        command
            .env("LC_ALL", "C")
            .stdin(std::process::Stdio::null());
        // Nobody's index is written for a question.
        command.args(["--no-optional-locks", "-c", "core.fsmonitor=false"]);
        command.args(["-C", dir.as_str()]).args(words);
        output(command, words[0])
    };
    let said = match git(&["rev-parse", "--absolute-git-dir", "--show-prefix"]) {
        Ok(said) => said,
        Err(GitError::Failed { .. }) => return Ok(None),
        Err(e) => return Err(e),
    };
    let mut lines = said.lines();
    let repository = lines.next().unwrap_or_default();
    let below = lines.next().unwrap_or_default().trim_end_matches('/');
    let status = git(&["status", "--porcelain", "--", "."])?;
    Ok(Some(Place {
        repository: repository.into(),
        below: below.to_owned(),
        changed: !status.is_empty(),
    }))
}

/// The commits after `good` up to `bad`, oldest first, with their subjects. Only first parents are
/// followed: what a merge brought came in with the merge. Blocks.
pub fn between(
    repository: &Utf8Path,
    good: &str,
    bad: &str,
) -> Result<Vec<(String, String)>, GitError> {
    let mut command = reading(repository);
    command.args(["log", "--reverse", "--first-parent", "--format=%H %s"]);
    command.args(["--end-of-options", &format!("{good}..{bad}")]);
    let said = output(command, "log")?;
    let commits = said.lines().filter_map(|line| line.split_once(' '));
    Ok(commits
        .map(|(id, subject)| (id.to_owned(), text::line(subject.as_bytes(), 120)))
        .collect())
}

/// The two ends of `GOOD..BAD`; none where it is not written so.
pub fn ends(range: &str) -> Option<(&str, &str)> {
    let ends = range.split_once("..");
    ends.filter(|(good, bad)| !good.is_empty() && !bad.is_empty())
}

/// The same with `good` in front, which a search begins with. Blocks.
pub fn range(
    repository: &Utf8Path,
    good: &str,
    bad: &str,
) -> Result<Vec<(String, String)>, GitError> {
    let mut all = vec![(good.to_owned(), subject(repository, good)?)];
    all.extend(between(repository, good, bad)?);
    Ok(all)
}

/// A commit's subject, as one line. Blocks.
pub fn subject(repository: &Utf8Path, commit: &str) -> Result<String, GitError> {
    let mut command = reading(repository);
    command.args(["log", "-1", "--format=%s", "--end-of-options", commit]);
    let said = output(command, "log")?;
    Ok(text::line(said.trim().as_bytes(), 120))
}

/// The object id of what a commit has at a path; the whole tree's where that is empty. Blocks.
pub fn tree_at(
    repository: &Utf8Path,
    commit: &str,
    below: &str,
) -> Result<Option<String>, GitError> {
    if below.is_empty() {
        return tree_of(repository, commit);
    }
    let mut command = reading(repository);
    command.args(["rev-parse", "--verify", "--quiet", "--end-of-options"]);
    command.arg(format!("{commit}:{below}"));
    match output(command, "rev-parse") {
        Ok(said) => Ok(Some(said.trim().to_owned()).filter(|id| !id.is_empty())),
        Err(GitError::Failed { .. }) => Ok(None),
        Err(e) => Err(e),
    }
}

/// The paths that differ between two commits. Blocks.
pub fn changed(repository: &Utf8Path, old: &str, new: &str) -> Result<Vec<String>, GitError> {
    let mut command = reading(repository);
    command.args(["diff-tree", "-r", "-z", "--name-only", "--no-renames"]);
    command.args(["--end-of-options", old, new]);
    let said = output(command, "diff-tree")?;
    let paths = said.split('\0').filter(|p| !p.is_empty());
    Ok(paths.map(str::to_owned).collect())
}

/// The files of a commit's tree, with the identity of what is in each. Blocks.
pub fn files(repository: &Utf8Path, commit: &str) -> Result<Vec<(String, String)>, GitError> {
    let mut command = reading(repository);
    command.args(["ls-tree", "-r", "-z", "--end-of-options", commit]);
    let said = output(command, "ls-tree")?;
    let file = |entry: &str| {
        let (head, path) = entry.split_once('\t')?;
        Some((path.to_owned(), head.split(' ').nth(2)?.to_owned()))
    };
    Ok(said.split('\0').filter_map(file).collect())
}

/// What is in a file, by the identity that [`files`] gives. Blocks.
pub fn content(repository: &Utf8Path, id: &str) -> Result<String, GitError> {
    let mut command = reading(repository);
    command.args(["cat-file", "blob", id]);
    output(command, "cat-file")
}

/// The last commit that two have in common; none where there is no such. Blocks.
pub fn common(repository: &Utf8Path, a: &str, b: &str) -> Result<Option<String>, GitError> {
    let mut command = reading(repository);
    command.args(["merge-base", "--end-of-options", a, b]);
    match output(command, "merge-base") {
        Ok(said) => Ok(Some(said.trim().to_owned()).filter(|id| !id.is_empty())),
        Err(GitError::Failed { said, .. }) if said.is_empty() => Ok(None),
        Err(e) => Err(e),
    }
}

/// Addresses of the authors of a change's commits, each once; of many commits the newest count. Blocks.
pub fn authors(
    repository: &Utf8Path,
    old: Option<&str>,
    new: &str,
) -> Result<Vec<String>, GitError> {
    let mut command = reading(repository);
    command.args(["log", "--format=%ae"]);
    match old {
        Some(old) => command.args([
            "--max-count=50",
            "--end-of-options",
            &format!("{old}..{new}"),
        ]),
        None => command.args(["--max-count=1", "--end-of-options", new]),
    };
    let said = output(command, "log")?;
    let mut all: Vec<String> = said.lines().map(str::to_owned).collect();
    all.sort();
    all.dedup();
    all.truncate(10);
    Ok(all)
}

/// What a remote's references name: reference and object. Blocks for as long as the network takes.
pub fn remote(repository: &Utf8Path, remote: &str) -> Result<Vec<(String, String)>, GitError> {
    let mut command = reading(repository);
    command.env("GIT_HTTP_LOW_SPEED_LIMIT", "1");
    command.env("GIT_HTTP_LOW_SPEED_TIME", "60");
    command.args(["ls-remote", "--refs", "--end-of-options", remote]);
    let said = output(command, "ls-remote")?;
    let line = |line: &str| {
        let (object, reference) = line.split_once('\t')?;
        Some((reference.to_owned(), object.to_owned()))
    };
    Ok(said.lines().filter_map(line).collect())
}

/// Fetches a commit that a repository lacks, by its own name or by the reference that led to it, and
/// keeps it under `refs/fallout/`. Blocks for as long as the network takes.
pub fn fetch(
    repository: &Utf8Path,
    remote: &str,
    commit: &str,
    reference: &str,
) -> Result<(), GitError> {
    let try_it = |what: &str| {
        let mut command = reading(repository);
        command.args([
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-write-fetch-head",
            "--end-of-options",
        ]);
        command.args([remote, &format!("+{what}:refs/fallout/{commit}")]);
        output(command, "fetch").map(drop)
    };
    // Not every server gives out a commit by its name; the reference may have moved on meanwhile,
    // and then has the commit among its parents.
    try_it(commit).or_else(|_| try_it(reference))
}

/// Writes a commit's tree to `dir`, whole or not at all. One that is there already is left alone:
/// its name says what is in it. Blocks.
pub fn export(repository: &Utf8Path, commit: &str, dir: &Utf8Path) -> Result<(), GitError> {
    if dir.is_dir() {
        return Ok(());
    }
    let no_revision = || GitError::NoRevision {
        url: repository.to_string(),
        revision: commit.to_owned(),
    };
    let id = tree_of(repository, commit)?.ok_or_else(no_revision)?;
    export_tree(repository, &id, dir)
}

/// The same for a tree by its object id. Blocks.
pub fn export_tree(repository: &Utf8Path, tree: &str, dir: &Utf8Path) -> Result<(), GitError> {
    if dir.is_dir() {
        return Ok(());
    }
    let tree = GitTree {
        repo: repository.to_owned(),
        id: tree.to_owned(),
    };
    let parent = dir.parent().unwrap_or(Utf8Path::new("."));
    std::fs::create_dir_all(parent)?;
    let half = tempfile::tempdir_in(parent)?;
    let odd = || std::io::Error::other(format!("{parent} has an odd name"));
    let at = Utf8Path::from_path(half.path()).ok_or_else(odd)?;
    checkout(&tree, &at.join("tree"), &at.join("index"))?;
    match std::fs::rename(at.join("tree"), dir) {
        // Another job exported the same commit meanwhile.
        Err(_) if dir.is_dir() => Ok(()),
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn git(dir: &Utf8Path, args: &[&str]) {
        let mut command = std::process::Command::new("git");
        command.args(["-c", "user.name=n", "-c", "user.email=e@x", "-C"]);
        command.arg(dir).args(args);
        output(command, args[0]).unwrap();
    }

    #[test]
    fn a_commit_is_found_compared_and_exported() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(tmp.path()).unwrap();
        git(dir, &["init", "-q", "-b", "main"]);
        let repository = dir.join(".git");
        let mut commits = Vec::new();
        for (file, text) in [("a", "1"), ("b c", "2")] {
            std::fs::write(dir.join(file), text).unwrap();
            git(dir, &["add", "."]);
            git(dir, &["commit", "-qm", file]);
            commits.push(commit(&repository, "refs/heads/main").unwrap().unwrap());
        }
        assert_eq!(commit(&repository, "refs/heads/none").unwrap(), None);
        let paths = changed(&repository, &commits[0], &commits[1]).unwrap();
        assert_eq!(paths, ["b c"]);
        let to = dir.join("out/first");
        export(&repository, &commits[0], &to).unwrap();
        assert!(to.join("a").is_file() && !to.join("b c").exists());
        export(&repository, &commits[0], &to).unwrap();
        assert!(export(&repository, &"f".repeat(40), &dir.join("out/none")).is_err());
        assert!(!dir.join("out/none").exists());
    }

    #[test]
    fn a_commit_that_is_elsewhere_is_fetched() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(tmp.path()).unwrap();
        git(dir, &["init", "-q", "-b", "main", "there"]);
        git(dir, &["init", "-q", "--bare", "here.git"]);
        let there = dir.join("there");
        git(&there, &["commit", "-q", "--allow-empty", "-m", "one"]);
        let one = commit(&there.join(".git"), "HEAD").unwrap().unwrap();
        git(&there, &["commit", "-q", "--allow-empty", "-m", "two"]);
        let here = dir.join("here.git");
        assert_eq!(commit(&here, &one).unwrap(), None);
        fetch(&here, there.as_str(), &one, "refs/heads/main").unwrap();
        assert_eq!(commit(&here, &one).unwrap(), Some(one.clone()));
        let absent = "f".repeat(40);
        assert!(fetch(&here, there.as_str(), &absent, "refs/heads/none").is_err());
    }
}
