//! Commits of a suite's source: where it stands in the history of its repository, and the trees of other
//! commits as sources that can be built.
//!
//! Nothing of the user's checkout is touched: a directory of a checkout is exported at another commit
//! below the cache, under the hash of its tree, so that what was built once is not built again.

use camino::{Utf8Path, Utf8PathBuf};

use crate::host::git::{self, GitError};
use crate::host::history;
use crate::model::project::{GitSource, Source};
use crate::plan::Suite;

use super::facts::Setup;
use super::{RunError, sources};

/// What a caller knows of sources that it has put in the place of the suites' own: the daemon runs a
/// commit's exported tree, which has no history any more.
#[derive(Debug, Clone)]
pub struct Pushed {
    /// The repository: bare, or a `.git`.
    pub repository: Utf8PathBuf,
    /// The commit under test.
    pub commit: String,
    /// What the reference named before, where it did.
    pub old: Option<String>,
    /// The directory of the repository that is the suites' source.
    pub source_dir: Utf8PathBuf,
    /// Where commits are exported, each under its name.
    pub trees: Utf8PathBuf,
    /// Repository and reference, by which runs of other branches are told apart.
    pub reference: String,
}

/// A suite's source with its history.
#[derive(Debug, Clone)]
pub struct Ancestry {
    suite: String,
    repository: Utf8PathBuf,
    /// The commit of what is tested.
    head: String,
    /// What is tested is the head with changes that no commit has.
    changed: bool,
    old: Option<String>,
    form: Form,
}

#[derive(Debug, Clone)]
enum Form {
    /// A directory of a checkout.
    Checkout { below: String, exports: Utf8PathBuf },
    /// A revision of a repository; `cache` has the mirror.
    Git { url: String, cache: Utf8PathBuf },
    /// A commit that the daemon exports.
    Pushed {
        source_dir: Utf8PathBuf,
        trees: Utf8PathBuf,
    },
}

/// Another commit's tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// As a source that can be built.
    pub source: Source,
    /// What a run of it would have as its revision, without a patch series.
    pub revision: String,
}

/// A failure of git, as whoever named the repository is told.
fn told(error: GitError) -> RunError {
    match error {
        GitError::Missing | GitError::NoRevision { .. } => RunError::Input(error.to_string()),
        other => RunError::Host(other.to_string()),
    }
}

/// The repository of a source and the commit of a name in it; none where it has no such. One on this
/// machine is read where it is. Blocks.
pub(super) fn commit_in(
    source: &GitSource,
    name: &str,
    cache: &Utf8Path,
) -> Result<(Utf8PathBuf, Option<String>), RunError> {
    match source.dir().and_then(git::repository) {
        Some(repository) => {
            let commit = history::commit(&repository, name).map_err(told)?;
            Ok((repository, commit))
        }
        None => git::ensure_commit(cache, &source.url, name).map_err(told),
    }
}

impl Ancestry {
    /// The history of what is tested of a suite. A remote repository is fetched. Blocks.
    pub fn of(setup: &Setup, suite: &Suite, pushed: Option<&Pushed>) -> Result<Self, RunError> {
        let source = &suite.tested().source;
        let cache = &setup.dirs.cache;
        match (pushed, &source.git, &source.path) {
            (Some(pushed), _, Some(_)) => Ok(Self {
                suite: suite.name.clone(),
                repository: pushed.repository.clone(),
                head: pushed.commit.clone(),
                changed: false,
                old: pushed.old.clone(),
                form: Form::Pushed {
                    source_dir: pushed.source_dir.clone(),
                    trees: pushed.trees.clone(),
                },
            }),
            (_, Some(git), _) => Self::of_git(suite, git, cache),
            (None, None, Some(path)) => Self::of_checkout(suite, path, cache),
            _ => Err(RunError::Input(format!(
                "the source of suite {} is a package, which has no history: name a run",
                suite.name
            ))),
        }
    }

    fn of_git(suite: &Suite, git: &GitSource, cache: &Utf8Path) -> Result<Self, RunError> {
        let (url, revision) = (&git.url, &git.revision);
        let (repository, head) = commit_in(git, revision, cache)?;
        let head = head.ok_or_else(|| {
            told(GitError::NoRevision {
                url: url.clone(),
                revision: revision.clone(),
            })
        })?;
        Ok(Self {
            suite: suite.name.clone(),
            repository,
            head,
            changed: false,
            old: None,
            form: Form::Git {
                url: url.clone(),
                cache: cache.to_owned(),
            },
        })
    }

    fn of_checkout(suite: &Suite, path: &Utf8Path, cache: &Utf8Path) -> Result<Self, RunError> {
        let place = history::place(path).map_err(told)?.ok_or_else(|| {
            RunError::Input(format!(
                "the source of suite {} is no checkout of git: {path}",
                suite.name
            ))
        })?;
        let head = history::commit(&place.repository, "HEAD").map_err(told)?;
        let head = head.ok_or_else(|| {
            RunError::Input(format!("the repository of {path} has no commit yet"))
        })?;
        Ok(Self {
            suite: suite.name.clone(),
            repository: place.repository,
            head,
            changed: place.changed,
            old: None,
            form: Form::Checkout {
                below: place.below,
                exports: cache.join("bisect").join("git"),
            },
        })
    }

    /// The commit before what is tested: what the reference named before a push, the head where the
    /// checkout has changes on top of it, else the head's first parent. Blocks.
    pub fn parent(&self) -> Result<String, RunError> {
        if let Some(old) = &self.old {
            let found = history::commit(&self.repository, old).map_err(told)?;
            return found.ok_or_else(|| {
                RunError::Input(format!(
                    "the commit before the push, {}, is not in {} any more: name a run",
                    short(old),
                    self.repository
                ))
            });
        }
        if self.changed {
            return Ok(self.head.clone());
        }
        let found = history::commit(&self.repository, &format!("{}^", self.head));
        found.map_err(told)?.ok_or_else(|| {
            RunError::Input(format!(
                "the source of suite {} is at {}, which has no parent in {}: name a run, or none",
                self.suite,
                short(&self.head),
                self.repository
            ))
        })
    }

    /// The commit at which what is tested left `reference`. Blocks.
    pub fn branch_point(&self, reference: &str) -> Result<String, RunError> {
        let other = self.commit(reference)?;
        let found = history::common(&self.repository, &self.head, &other).map_err(told)?;
        let point = found.ok_or_else(|| {
            RunError::Input(format!(
                "{} and {reference} have no commit in common in {}",
                short(&self.head),
                self.repository
            ))
        })?;
        if point == self.head && !self.changed {
            return Err(RunError::Input(format!(
                "{}, which suite {} is at, is in {reference} already: it has left no branch; expected \
                 another reference, or parent",
                short(&self.head),
                self.suite
            )));
        }
        Ok(point)
    }

    /// The commit of a name. Blocks.
    pub fn commit(&self, name: &str) -> Result<String, RunError> {
        let found = match &self.form {
            Form::Git { url, cache } if git::repository(Utf8Path::new(url)).is_none() => {
                git::ensure_commit(cache, url, name).map_err(told)?.1
            }
            _ => history::commit(&self.repository, name).map_err(told)?,
        };
        found.ok_or_else(|| {
            told(GitError::NoRevision {
                url: self.repository.to_string(),
                revision: name.to_owned(),
            })
        })
    }

    /// The commits of a range, oldest first, the good one in front, with their subjects. Blocks.
    pub fn range(&self, good: &str, bad: &str) -> Result<Vec<(String, String)>, RunError> {
        let (good, bad) = (self.commit(good)?, self.commit(bad)?);
        history::range(&self.repository, &good, &bad).map_err(told)
    }

    /// A commit's tree. Blocks.
    pub fn tree(&self, commit: &str) -> Result<Tree, RunError> {
        match &self.form {
            Form::Git { url, .. } => {
                let id = git::tree_of(&self.repository, commit).map_err(told)?;
                let id = id.ok_or_else(|| self.lacks(commit, ""))?;
                let source = Source {
                    git: Some(GitSource {
                        url: url.clone(),
                        revision: commit.to_owned(),
                    }),
                    ..Source::default()
                };
                let revision = git::tree_key(&id).to_string();
                Ok(Tree { source, revision })
            }
            Form::Checkout { below, exports } => {
                let id = history::tree_at(&self.repository, commit, below).map_err(told)?;
                let id = id.ok_or_else(|| self.lacks(commit, below))?;
                let dir = exports.join(&id);
                history::export_tree(&self.repository, &id, &dir).map_err(told)?;
                let source = Source {
                    path: Some(dir),
                    ..Source::default()
                };
                let hash = sources::known_hash(&source, Utf8Path::new(""))?;
                let revision = hash.map_or(id, |hash| hash.to_string());
                Ok(Tree { source, revision })
            }
            Form::Pushed { source_dir, trees } => {
                let dir = trees.join(commit);
                history::export(&self.repository, commit, &dir).map_err(told)?;
                let dir = dir.join(source_dir);
                if !dir.is_dir() {
                    return Err(self.lacks(commit, source_dir.as_str()));
                }
                let source = Source {
                    path: Some(dir),
                    ..Source::default()
                };
                let revision = commit.to_owned();
                Ok(Tree { source, revision })
            }
        }
    }

    fn lacks(&self, commit: &str, below: &str) -> RunError {
        let what = match below {
            "" => String::new(),
            dir => format!(" with a directory {dir}"),
        };
        let (commit, repository) = (short(commit), &self.repository);
        RunError::Input(format!("{repository} has no commit {commit}{what}"))
    }
}

/// A commit as people are told of it.
pub fn short(commit: &str) -> &str {
    commit.get(..12).unwrap_or(commit)
}

#[cfg(test)]
#[path = "ancestry_tests.rs"]
pub(crate) mod tests;
