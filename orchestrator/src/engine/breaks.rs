//! Which commit, or which patch of the series, broke a stage of a release: the search of
//! [`super::bisect`], with `build.sh` in the place of guests.
//!
//! ```text
//! the last revision --build--> what is broken
//!        revisions --policy--> one to try --build--> the same break, none, or another
//! ```
//!
//! One at a time, as the builds of a project use its one place, and each once: a compiler and a set list
//! say the same every time. What has been built is not built again, and what a revision does not touch
//! is not made anew; both are the builder's business.

use std::collections::BTreeSet;
use std::io::Read as _;

use camino::Utf8Path;

use crate::build::netbsd::{self, Request, Tell};
use crate::build::{BuildError, Series, sets, source};
use crate::host::{self, git, history};
use crate::model::{Project, StageResult};
use crate::verdict::bisect::{Bisect, Next, Settings};
use crate::verdict::chance::Count;

use super::RunError;
use super::ancestry::{commit_in, short};
use super::bisect::{Ended, Named, Tried, build_line};
use super::revisions::prefix;

/// The longest log whose blocks of `checkflist` are read, in bytes.
const LOG_BYTES: u64 = 256 << 20;

/// A revision of a project's source.
#[derive(Debug, Clone)]
pub struct Revision {
    name: String,
    subject: String,
    commit: Option<String>,
    patches: Option<Series>,
}

impl Named for Revision {
    fn name(&self) -> &str {
        &self.name
    }

    fn subject(&self) -> &str {
        &self.subject
    }
}

/// The commits of a range `GOOD..BAD`, GOOD in front, first parents only; `patches` are on all of them.
/// Blocks.
pub fn commits(
    project: &Project,
    cache: &Utf8Path,
    range: &str,
    patches: Option<&Series>,
) -> Result<Vec<Revision>, RunError> {
    let wrong = |what: String| Err(RunError::Input(what));
    let Some((good, bad)) = history::ends(range) else {
        return wrong(format!(
            "'{range}' is not a range: expected GOOD..BAD, or 'series'"
        ));
    };
    let Some(from) = &project.source.git else {
        return wrong("source.git is missing: commits are those of its repository".to_owned());
    };
    let find = |name: &str| {
        let (repository, commit) = commit_in(from, name, cache)?;
        let lacks = || RunError::Input(format!("{} has no revision '{name}'", from.url));
        Ok::<_, RunError>((repository, commit.ok_or_else(lacks)?))
    };
    let ((_, good), (repository, bad)) = (find(good)?, find(bad)?);
    let all = history::range(&repository, &good, &bad);
    let all = all.map_err(|e| RunError::Host(e.to_string()))?;
    if all.len() < 2 {
        return wrong(format!("{range}: no commits between the two"));
    }
    let revision = |(id, subject): (String, String)| Revision {
        name: short(&id).to_owned(),
        subject,
        commit: Some(id),
        patches: patches.cloned(),
    };
    Ok(all.into_iter().map(revision).collect())
}

/// The prefixes of a project's series, none of its patches in front. Blocks.
pub fn series(project: &Project, cache: &Utf8Path) -> Result<Vec<Revision>, RunError> {
    let wrong = |e: &dyn std::fmt::Display| RunError::Input(e.to_string());
    let path = project.patches.as_ref();
    let path = path.ok_or_else(|| wrong(&"the project has no patches: give GOOD..BAD"))?;
    let list = host::series::read(path).map_err(|e| wrong(&e))?;
    let below = cache.join("bisect").join("series");
    let of = |n: usize| {
        let patches = match n {
            0 => None,
            _ => Some(source::series(&prefix(&list[..n], &below)?).map_err(|e| wrong(&e))?),
        };
        Ok(Revision {
            name: format!("series {n}/{}", list.len()),
            subject: list[..n].last().map_or("no patch", |p| &p.name).to_owned(),
            commit: None,
            patches,
        })
    };
    (0..=list.len()).map(of).collect()
}

/// What is broken in a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Break {
    /// Files that the set lists do not have, or have and are not there, as `checkflist` prints them.
    Sets(BTreeSet<String>),
    /// The line that tells of it, without numbers.
    Line(String),
}

impl Break {
    /// Of an error that is the product's. Blocks.
    fn of(error: &BuildError) -> Result<Self, RunError> {
        let line = build_line(&error.to_string());
        let Some(log) = error
            .log()
            .filter(|_| error.stage() == StageResult::SetsMismatch)
        else {
            return Ok(Self::Line(line));
        };
        let text = whole(log).map_err(|e| RunError::Host(format!("cannot read {log}: {e}")))?;
        let said = sets::read_console(&String::from_utf8_lossy(&text)).sets;
        let extra = said.extra.into_iter().map(|path| format!("extra {path}"));
        let missing = said
            .missing
            .into_iter()
            .map(|path| format!("missing {path}"));
        let all: BTreeSet<String> = extra.chain(missing).collect();
        Ok(match all.is_empty() {
            true => Self::Line(line),
            false => Self::Sets(all),
        })
    }

    /// Whether another build has any of it.
    fn is_in(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Sets(one), Self::Sets(other)) => !one.is_disjoint(other),
            _ => self == other,
        }
    }

    /// For people.
    pub fn words(&self) -> String {
        match self {
            Self::Line(line) => line.clone(),
            Self::Sets(all) => {
                let first: Vec<&str> = all.iter().take(3).map(String::as_str).collect();
                let more = match all.len().saturating_sub(3) {
                    0 => String::new(),
                    n => format!(" and {n} more"),
                };
                format!("the set lists do not fit: {}{more}", first.join(", "))
            }
        }
    }
}

fn whole(log: &Utf8Path) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let file = std::fs::File::open(log)?;
    let decoder = zstd::Decoder::new(file)?;
    decoder.take(LOG_BYTES).read_to_end(&mut text)?;
    Ok(text)
}

/// A try, as it is told.
#[derive(Debug, Clone, Copy)]
pub struct News<'a> {
    /// The revision.
    pub revision: &'a Revision,
    /// What came of it.
    pub tried: &'a Tried,
}

/// Searches for what is broken at the last revision; gives that too. None where nothing is.
pub async fn search(
    revisions: &[Revision],
    request: &Request<'_>,
    progress: &Tell<'_>,
    tell: &mut (dyn for<'a> FnMut(News<'a>) + Send),
) -> Result<Option<(Break, Ended)>, RunError> {
    let mut bisect = Bisect::new(revisions.len(), Settings::default().knowing(1.0, 0.0));
    let last = revisions.len() - 1;
    let mut ended = Ended {
        answer: bisect.answer(),
        sure: false,
        counts: Vec::new(),
        left_out: vec![None; revisions.len()],
        tries: 1,
    };
    let Some(wanted) = made(&revisions[last], request, progress).await? else {
        return Ok(None);
    };
    let mut next = Some((last, Tried::Bad));
    loop {
        let (at, tried) = match next.take() {
            Some(known) => known,
            None => {
                let (points, sure) = match bisect.next(1) {
                    Next::Run(points) => (points, false),
                    Next::Done(_) => (Vec::new(), true),
                    Next::Stuck(_) => (Vec::new(), false),
                };
                let Some(at) = points.first().copied() else {
                    ended.sure = sure;
                    break;
                };
                ended.tries += 1;
                let tried = match made(&revisions[at], request, progress).await? {
                    None => Tried::Good,
                    Some(found) if wanted.is_in(&found) => Tried::Bad,
                    Some(other) => Tried::Other { why: other.words() },
                };
                (at, tried)
            }
        };
        let count = |bad| Count { bad, total: 1 };
        match &tried {
            Tried::Bad => bisect.record(at, count(1)),
            Tried::Good => bisect.record(at, count(0)),
            Tried::Other { why } => {
                ended.left_out[at] = Some(why.clone());
                bisect.leave_out(at);
            }
        }
        tell(News {
            revision: &revisions[at],
            tried: &tried,
        });
    }
    ended.answer = bisect.answer();
    ended.counts = bisect.counts().to_vec();
    Ok(Some((wanted, ended)))
}

/// What is broken at a revision; none where nothing is.
async fn made(
    revision: &Revision,
    request: &Request<'_>,
    progress: &Tell<'_>,
) -> Result<Option<Break>, RunError> {
    let tree = match (&revision.commit, &request.project.source.git) {
        (Some(commit), Some(from)) => {
            let (cache, url) = (request.cache.to_owned(), from.url.clone());
            let commit = commit.clone();
            let tree = move || git::ensure(&cache, &url, &commit);
            let tree = tokio::task::spawn_blocking(tree).await;
            let tree = tree.map_err(|e| RunError::Host(e.to_string()))?;
            Some(tree.map_err(|e| RunError::Host(e.to_string()))?)
        }
        _ => None,
    };
    let request = Request {
        tree: tree.as_ref().unwrap_or(request.tree),
        patches: revision.patches.as_ref(),
        ..request.clone()
    };
    match netbsd::build(&request, progress).await {
        Ok(_) => Ok(None),
        Err(error) if error.stage() == StageResult::HostFailed => {
            Err(RunError::Host(error.to_string()))
        }
        Err(error) => tokio::task::block_in_place(|| Break::of(&error)).map(Some),
    }
}
