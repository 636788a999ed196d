//! Revisions of a suite that can be tried: the patches of its series, or the commits of a range.
//!
//! A prefix of a series is a directory of its own below the cache; a commit's tree is made when it is
//! first tried, as a search looks at few of many. Both are built by the ordinary build stage under the
//! ordinary keys, so what was built once is not built again.

use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};

use crate::host::series::{self, Patch};
use crate::host::{files, history};
use crate::model::{Key, Project};

use super::RunError;
use super::ancestry::{Ancestry, Pushed, short};
use super::bisect::Named;
use super::facts::Setup;

/// One revision: what it is called, and how the suite comes to be at it.
#[derive(Debug, Clone)]
pub struct Revision {
    /// `series 3/7`, or the commit's abbreviated hash.
    pub name: String,
    /// The patch's file name or the commit's subject: what came in with it. Untrusted text.
    pub subject: String,
    suite: String,
    base: Arc<Setup>,
    at: At,
}

#[derive(Debug, Clone)]
enum At {
    /// With these patches; none is the tree without any.
    Patches(Option<Utf8PathBuf>),
    /// At this commit.
    Commit(Arc<Ancestry>, String),
}

impl Named for Revision {
    fn name(&self) -> &str {
        &self.name
    }

    fn subject(&self) -> &str {
        &self.subject
    }
}

impl Revision {
    /// The setup with the suite at this revision. Blocks.
    pub fn setup(&self) -> Result<Setup, RunError> {
        let mut setup = Setup::clone(&self.base);
        let project = project_mut(&mut setup, &self.suite)?;
        match &self.at {
            At::Patches(patches) => project.patches.clone_from(patches),
            At::Commit(ancestry, commit) => project.source = ancestry.tree(commit)?.source,
        }
        Ok(setup)
    }
}

/// The revisions of a suite's series: none of its patches, the first, the first two, …
pub fn series(setup: &Setup, suite: &str) -> Result<Vec<Revision>, RunError> {
    let none = || {
        let message = format!("suite {suite} has no patch series: give --range GOOD..BAD");
        RunError::Input(message)
    };
    let path = project(setup, suite)?.patches.clone().ok_or_else(none)?;
    let list = series::read(&path).map_err(|e| RunError::Input(e.to_string()))?;
    let below = setup.dirs.cache.join("bisect").join("series");
    let base = Arc::new(setup.clone());
    let mut revisions = Vec::new();
    for n in 0..=list.len() {
        let first: &[Patch] = &list[..n];
        let patches = match first {
            [] => None,
            some => Some(prefix(some, &below)?),
        };
        revisions.push(Revision {
            name: format!("series {n}/{}", list.len()),
            subject: first.last().map_or("no patch", |p| &p.name).to_owned(),
            suite: suite.to_owned(),
            base: Arc::clone(&base),
            at: At::Patches(patches),
        });
    }
    Ok(revisions)
}

/// A quilt series of these patches, in a directory that is named by its content.
pub(super) fn prefix(patches: &[Patch], base: &Utf8Path) -> Result<Utf8PathBuf, RunError> {
    let host = |e: files::FileError| RunError::Host(e.to_string());
    let mut names = String::new();
    let mut parts: Vec<&[u8]> = Vec::new();
    for patch in patches {
        names.push_str(&patch.name);
        names.push('\n');
        parts.push(patch.name.as_bytes());
        parts.push(&patch.bytes);
    }
    let dir = base.join(Key::of("series", &parts).short());
    for patch in patches {
        let file = dir.join(&patch.name);
        let parent = file.parent().unwrap_or(&dir);
        std::fs::create_dir_all(parent)
            .map_err(|e| RunError::Host(format!("cannot create {parent}: {e}")))?;
        files::write_atomic(&file, &patch.bytes).map_err(host)?;
    }
    let series = dir.join("series");
    files::write_atomic(&series, names.as_bytes()).map_err(host)?;
    Ok(series)
}

/// The commits of a range `A..B` in the repository of the suite's source, oldest first, A in front.
/// Only the first parents are followed: what a merge brought came in with the merge. Blocks.
pub fn commits(
    setup: &Setup,
    suite: &str,
    range: &str,
    pushed: Option<&Pushed>,
) -> Result<Vec<Revision>, RunError> {
    let Some((good, bad)) = history::ends(range) else {
        let message = format!("'{range}' is not a range: expected GOOD..BAD");
        return Err(RunError::Input(message));
    };
    let found = setup.resolved.suite(suite).ok_or_else(|| gone(suite))?;
    let ancestry = Arc::new(Ancestry::of(setup, found, pushed)?);
    let commits = ancestry.range(good, bad)?;
    if commits.len() < 2 {
        return Err(RunError::Input(format!(
            "{range}: no commits between the two"
        )));
    }
    let base = Arc::new(setup.clone());
    let revision = |(id, subject): (String, String)| Revision {
        name: short(&id).to_owned(),
        subject,
        suite: suite.to_owned(),
        base: Arc::clone(&base),
        at: At::Commit(Arc::clone(&ancestry), id),
    };
    Ok(commits.into_iter().map(revision).collect())
}

fn gone(suite: &str) -> RunError {
    RunError::Input(format!("the matrix has no suite {suite} any more"))
}

fn project<'a>(setup: &'a Setup, suite: &str) -> Result<&'a Project, RunError> {
    let found = setup.resolved.suite(suite).ok_or_else(|| gone(suite))?;
    Ok(found.tested())
}

fn project_mut<'a>(setup: &'a mut Setup, suite: &str) -> Result<&'a mut Project, RunError> {
    let mut suites = setup.resolved.suites.iter_mut();
    let found = suites
        .find(|s| s.name == suite)
        .ok_or_else(|| gone(suite))?;
    Ok(found.tested_mut())
}
