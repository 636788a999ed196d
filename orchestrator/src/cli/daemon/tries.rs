//! A patch series onto a named base: stored, applied, queued with the priority `try`.
//!
//! The series becomes a commit in a mirror of ours, whose name depends on base and series alone: the
//! same twice is one commit, and one job. The user's repository is only read.

use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use crate::cli::exit::Failure;
use crate::cli::hook::git_dir;
use crate::host::git::{self, GitError};
use crate::host::{files, history, series};
use crate::model::{ChangeSet, Key, NewJob, Policy, Priority};
use crate::trigger::choice::spec;
use crate::trigger::settings::Repository;
use crate::web::{Refused, Series};

use super::Daemon;
use super::teller::TRIED;

/// What is kept beside a series.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    format: u32,
    repository: String,
    base: String,
    who: String,
}

fn trouble(why: impl std::fmt::Display) -> Refused {
    Refused::Trouble(why.to_string())
}

fn dir(daemon: &Daemon, commit: &str) -> Utf8PathBuf {
    daemon.context.dirs.state.join("tries").join(commit)
}

/// Takes a series in: the job, ready to be queued, and the delivery's identity. Blocks.
pub fn take(
    daemon: &Arc<Daemon>,
    repository: &Repository,
    asked: &Series,
    who: &str,
) -> Result<(NewJob, String), Refused> {
    let rule = repository.rules.iter().find(|r| r.name == asked.rule);
    let rule = rule.ok_or_else(|| {
        let names = repository.rules.iter().map(|r| r.name.as_str());
        Refused::Unknown(super::desk::nearest("rule", &asked.rule, names))
    })?;
    let found = history::commit(&git_dir(&repository.path), &asked.base).map_err(trouble)?;
    let base = found.ok_or_else(|| {
        Refused::Unknown(format!(
            "repository {} has no {}",
            repository.name, asked.base
        ))
    })?;
    let keep = tempfile::tempdir().map_err(trouble)?;
    let mbox = Utf8Path::from_path(keep.path())
        .ok_or_else(|| trouble("the directory for temporary files has an odd name"))?
        .join("series.mbox");
    std::fs::write(&mbox, &asked.series).map_err(trouble)?;
    let commit = commit(daemon, repository, &base, &mbox)?;
    // On the disk before the job is: whoever runs it makes the tree from this.
    let record = Record {
        format: 1,
        repository: repository.name.clone(),
        base: base.clone(),
        who: who.to_owned(),
    };
    let dir = dir(daemon, &commit);
    let record = serde_json::to_vec(&record).map_err(trouble)?;
    files::write_atomic(&dir.join("series.mbox"), asked.series.as_bytes()).map_err(trouble)?;
    files::write_atomic(&dir.join("try.json"), &record).map_err(trouble)?;
    let parts = [&repository.name, &rule.name, &commit];
    let parts: Vec<&[u8]> = parts.iter().map(|p| p.as_bytes()).collect();
    let delivery = Key::of("try", &parts).0;
    let job = NewJob {
        change: ChangeSet {
            repository: repository.name.clone(),
            reference: format!("{TRIED}{:.12}", commit),
            old: Some(base),
            new: commit,
        },
        choice: rule.name.clone(),
        spec: spec(&rule.run),
        priority: Priority::Try,
        policy: Policy::Each,
    };
    Ok((job, delivery))
}

/// The commit of a series on a base, in the mirror; makes it where it is not there.
fn commit(
    daemon: &Daemon,
    repository: &Repository,
    base: &str,
    mbox: &Utf8Path,
) -> Result<String, Refused> {
    let patches = series::read(mbox).map_err(|e| Refused::Malformed(e.cause.to_string()))?;
    if patches.is_empty() {
        let why = "series: no mail in it changes anything: expected what git format-patch --stdout writes";
        return Err(Refused::Malformed(why.to_owned()));
    }
    let cache = &daemon.context.dirs.cache;
    let tree = git::ensure(cache, git_dir(&repository.path).as_str(), base).map_err(trouble)?;
    let key = series::hash(mbox).map_err(trouble)?;
    let patched = git::patched(&tree, &key, &patches).map_err(|e| match e {
        GitError::Patch { name, said } => {
            let patch = patches.iter().find(|p| p.name == name);
            Refused::Malformed(unfit(&name, patch.map_or(&[], |p| &p.bytes), &said))
        }
        other => trouble(other),
    })?;
    git::commit_tree(&patched, base, &format!("series {key}")).map_err(trouble)
}

/// Which hunk of which file a patch does not apply at.
fn unfit(name: &str, patch: &[u8], said: &str) -> String {
    let place = said.lines().find_map(|l| {
        let (file, line) = l.split_once("patch failed: ")?.1.rsplit_once(':')?;
        Some((file.to_owned(), line.trim().to_owned()))
    });
    let Some((file, line)) = place else {
        let said = crate::host::text::line(said.as_bytes(), 400);
        return format!("{name} does not apply: {said}");
    };
    let text = String::from_utf8_lossy(patch);
    let (mut here, mut hunk) = (false, Vec::new());
    for one in text.lines() {
        if let Some(path) = one.strip_prefix("--- ") {
            here = path.trim().ends_with(&file);
        }
        let begins =
            one.starts_with(&format!("@@ -{line},")) || one.starts_with(&format!("@@ -{line} "));
        if here && hunk.is_empty() && begins {
            hunk.push(one);
        } else if !hunk.is_empty() {
            // A mail ends with its signature.
            if !one.starts_with([' ', '+', '-']) || one == "-- " || hunk.len() > 12 {
                break;
            }
            hunk.push(one);
        }
    }
    let shown: Vec<String> = hunk
        .iter()
        .map(|l| crate::host::text::line(l.as_bytes(), 120))
        .collect();
    format!(
        "{name} does not apply to {file} at line {line}:\n{}",
        shown.join("\n")
    )
}

/// The bare repository that has the commit of a try; made again where the cache was emptied. Blocks.
pub fn home(
    daemon: &Daemon,
    repository: &Repository,
    commit_id: &str,
) -> Result<Utf8PathBuf, Failure> {
    let dir = dir(daemon, commit_id);
    let file = dir.join("try.json");
    let text = std::fs::read(&file).map_err(|e| Failure::host(format!("{file}: {e}")))?;
    let record: Record =
        serde_json::from_slice(&text).map_err(|e| Failure::host(format!("{file}: {e}")))?;
    let made = commit(daemon, repository, &record.base, &dir.join("series.mbox"));
    let made = made.map_err(|why| Failure::host(format!("{dir}: {why:?}")))?;
    if made != commit_id {
        return Err(Failure::internal(format!("{dir}: became {made}")));
    }
    let url = git_dir(&repository.path);
    Ok(git::mirror_path(&daemon.context.dirs.cache, url.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hunk_that_does_not_fit_is_shown() {
        let patch = b"Subject: x\n\n--- a/b.c\n+++ b/b.c\n@@ -7,2 +7,2 @@\n other\n--- a/src/a.c\n+++ b/src/a.c\n@@ -1 +1 @@\n-0\n+1\n@@ -7,2 +7,2 @@ int f\n-old\n+new\n same\n-- \n2.1\n";
        let said = "error: patch failed: src/a.c:7\nerror: src/a.c: patch does not apply";
        assert_eq!(
            unfit("0001-x.patch", patch, said),
            "0001-x.patch does not apply to src/a.c at line 7:\n@@ -7,2 +7,2 @@ int f\n-old\n+new\n same"
        );
        assert_eq!(
            unfit("p", b"", "error: a: No such file or directory"),
            "p does not apply: error: a: No such file or directory"
        );
    }
}
