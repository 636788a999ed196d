//! Which revision brought a failure: carries the questions of a search to guests and builds.
//!
//! Attempts are kept by the hash of all that they depend on: the same search asked again goes on where
//! it was.

use std::collections::HashMap;
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::host::files;
use crate::model::outcome::Sense;
use crate::model::{Attempt, CaseId, CellId, CellResult, Key, Outcome, Purpose, StageResult};
use crate::plan::Work;
use crate::verdict::bisect::{Answer, Bisect, Next, Place, Settings};
use crate::verdict::chance::Count;

use super::RunError;
use super::bus::Bus;
use super::facts::Memory;
use super::revisions::Revision;
use super::trial::{self, Ask, NotReady, Seen, Stage};

/// The failure that is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// A case that ends so. A dead kernel must have the same last words.
    Case {
        /// The case.
        case: CaseId,
        /// How it ends.
        outcome: Outcome,
        /// The title of the crash, where the kernel died.
        title: Option<String>,
        /// The cases that run before it in the same guest: all of the suite's, or none.
        after_all: bool,
    },
    /// A build that breaks with this line of the compiler's.
    Build {
        /// The first line that tells of an error, without numbers.
        line: String,
    },
}

impl Wanted {
    /// What there is to look for of a case in a cell of a run: its first bad end, or the error that kept the
    /// cell from being built. None where neither is there. A case that always fails needs nothing before
    /// it; one that does not may need a polluter.
    pub fn of(cell: &CellResult, case: Option<&CaseId>) -> Option<Self> {
        if cell.stage == StageResult::BuildFailed {
            let line = build_line(cell.detail.as_deref().unwrap_or_default());
            return Some(Self::Build { line });
        }
        let case = case?;
        let bad = first_bad(cell, case)?;
        Some(Self::Case {
            case: case.clone(),
            outcome: bad.outcome,
            title: bad.reason.clone().filter(|_| died(bad)),
            after_all: !count(cell, case).all_bad(),
        })
    }
}

/// A case's first bad attempt in a cell.
pub fn first_bad<'a>(cell: &'a CellResult, case: &CaseId) -> Option<&'a Attempt> {
    let mut attempts = cell.attempts.iter();
    attempts.find(|a| a.case == *case && a.counts() && a.outcome.sense() == Sense::Bad)
}

/// Whether an attempt took its guest along.
pub fn died(attempt: &Attempt) -> bool {
    matches!(attempt.outcome, Outcome::Crashed | Outcome::Hung)
}

/// Bad attempts of a case in a cell, and all that say anything.
pub fn count(cell: &CellResult, case: &CaseId) -> Count {
    let attempts = cell
        .attempts
        .iter()
        .filter(|a| a.case == *case && a.counts());
    attempts.fold(Count::default(), |sum, a| {
        let bad = a.outcome.sense() == Sense::Bad;
        let says = a.outcome.sense() != Sense::Silent;
        sum.plus(Count {
            bad: u32::from(bad),
            total: u32::from(says),
        })
    })
}

/// What one try of a revision showed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "tried")]
pub enum Tried {
    /// It failed as it was looked for.
    Bad,
    /// It did not.
    Good,
    /// It could not be tried, or it failed otherwise.
    Other {
        /// What happened. Untrusted text, bounded.
        why: String,
    },
}

/// The line that a broken build is known by: the first that tells of an error, numbers left out.
pub fn build_line(detail: &str) -> String {
    let telling = |line: &&str| line.contains("error") || line.contains("undefined");
    let line = detail.lines().find(telling).or(detail.lines().next());
    let plain = |c: &char| !c.is_ascii_digit();
    line.unwrap_or_default().chars().filter(plain).collect()
}

/// What a search tells while it goes on.
#[derive(Debug, Clone)]
pub enum News<'a> {
    /// A revision was tried.
    Tried {
        /// Which.
        revision: &'a Revision,
        /// What it showed.
        tried: &'a Tried,
        /// Whether an earlier search had tried it so.
        kept: bool,
        /// The best answer now.
        answer: Answer,
    },
}

/// How a search goes.
#[derive(Debug, Clone)]
pub struct Order {
    /// The cell in whose guests it is tried.
    pub id: CellId,
    /// What is looked for.
    pub wanted: Wanted,
    /// The probability at which an answer is given.
    pub confidence: f64,
    /// Revisions that are tried at the same time.
    pub at_once: usize,
    /// The most tries that are made for real.
    pub most_tries: u64,
}

/// How a search ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// The answer.
    pub answer: Answer,
    /// Whether it has the confidence that was asked for.
    pub sure: bool,
    /// Failures and tries by revision.
    pub counts: Vec<Count>,
    /// Why a revision could not be tried, by revision.
    pub left_out: Vec<Option<String>>,
    /// Tries that were made for real; further ones were kept from an earlier search.
    pub tries: u64,
}

/// Searches, from what is known.
pub async fn search(
    revisions: &[Revision],
    order: &Order,
    known: &Known,
    bus: &Bus,
    tell: &mut (dyn for<'a> FnMut(News<'a>) + Send),
) -> Result<Ended, RunError> {
    let mut settings = Settings {
        confidence: order.confidence,
        ..Settings::default()
    };
    if matches!(order.wanted, Wanted::Build { .. }) {
        // A compiler's mind does not change from one time to the next.
        settings = settings.knowing(1.0, 0.0);
    }
    let mut bisect = Bisect::new(revisions.len(), settings);
    for (at, count) in &known.counts {
        bisect.record(*at, *count);
    }
    for (one, other) in &known.alike {
        bisect.alike(*one, *other);
    }
    let mut left_out = vec![None; revisions.len()];
    let mut notes: Vec<Option<SharedNotebook>> = vec![None; revisions.len()];
    let books = Arc::new(Books::default());
    let mut opened: HashMap<Utf8PathBuf, usize> = HashMap::new();
    let mut tries = 0;
    let shared = Arc::new(order.clone());
    loop {
        let (points, answer, sure) = match bisect.next(order.at_once) {
            Next::Done(answer) => (Vec::new(), answer, true),
            Next::Stuck(answer) => (Vec::new(), answer, false),
            Next::Run(_) if tries >= order.most_tries => (Vec::new(), bisect.answer(), false),
            Next::Run(points) => (points, bisect.answer(), false),
        };
        if points.is_empty() {
            return Ok(Ended {
                answer,
                sure,
                counts: bisect.counts().to_vec(),
                left_out,
                tries,
            });
        }
        let mut tasks = JoinSet::new();
        for point in points {
            let (revision, order, bus) = (revisions[point].clone(), shared.clone(), bus.clone());
            let (note, books) = (notes[point].take(), Arc::clone(&books));
            tasks.spawn(async move {
                let tried = one_try(&revision, &order, note, &books, &bus).await;
                (point, tried)
            });
        }
        while let Some(joined) = tasks.join_next().await {
            let (point, tried) = joined.map_err(|e| RunError::Host(e.to_string()))?;
            let (tried, kept, note) = tried?;
            if let Some(note) = &note {
                let path = note.lock().await.path.clone();
                let first = *opened.entry(path).or_insert(point);
                bisect.alike(first, point);
            }
            notes[point] = note;
            tries += u64::from(!kept);
            match &tried {
                Tried::Bad => bisect.record(point, Count { bad: 1, total: 1 }),
                Tried::Good => bisect.record(point, Count { bad: 0, total: 1 }),
                Tried::Other { why } => {
                    left_out[point] = Some(why.clone());
                    bisect.leave_out(point);
                }
            }
            let answer = bisect.answer();
            let revision = &revisions[point];
            tell(News::Tried {
                revision,
                tried: &tried,
                kept,
                answer,
            });
        }
    }
}

/// Revisions whose cells are looked for in the cache: beyond that, both ends only. Each may have to be
/// exported and hashed for it.
const LOOKED_UP: usize = 64;

/// What is known before anything is tried.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// What runs have shown, by revision.
    pub counts: Vec<(usize, Count)>,
    /// Pairs of revisions of which the very same comes out.
    pub alike: Vec<(usize, usize)>,
}

/// What runs of these very revisions have shown, as far as their cells are in the cache, and which of them
/// are built alike. Blocks.
pub fn known(revisions: &[Revision], order: &Order) -> Result<Known, RunError> {
    let last = revisions.len().saturating_sub(1);
    let places = (0..revisions.len()).filter(|at| last < LOOKED_UP || [0, last].contains(at));
    let mut known = Known::default();
    let mut keys: HashMap<Key, usize> = HashMap::new();
    for at in places {
        let setup = revisions[at].setup()?;
        let plan = setup.plan(&Memory::load(&setup.dirs))?;
        let cell = plan.find(&Work::Cell(order.id.clone()).to_string());
        let key = cell.and_then(|ix| plan.jobs[ix].key.clone());
        let Some(key) = key else { continue };
        if let Some(same) = keys.insert(key.clone(), at) {
            known.alike.push((same, at));
            continue;
        }
        let cell = setup.cells().get(&key);
        let count = cell.map_or_else(Count::default, |(cell, _)| {
            shown(&order.wanted, &cell.attempts)
        });
        if count.total > 0 {
            known.counts.push((at, count));
        }
    }
    Ok(known)
}

/// What attempts of a run say of a failure: what was made under the same conditions, and is the same
/// failure or none.
fn shown(wanted: &Wanted, attempts: &[Attempt]) -> Count {
    let Wanted::Case { after_all, .. } = wanted else {
        return Count::default();
    };
    let alike = |a: &&Attempt| a.counts() && (!after_all || a.purpose == Purpose::Pass);
    let seen = attempts.iter().filter(alike).map(|a| Seen {
        case: a.case.clone(),
        outcome: a.outcome,
        reason: a.reason.clone(),
    });
    seen.fold(Count::default(), |sum, seen| {
        let bad = match judge(wanted, &[seen]) {
            Tried::Bad => 1,
            Tried::Good => 0,
            Tried::Other { .. } => return sum,
        };
        sum.plus(Count { bad, total: 1 })
    })
}

/// What earlier searches have seen of a revision: read once, used up, and added to.
#[derive(Debug, Clone)]
struct Notebook {
    path: Utf8PathBuf,
    tries: Vec<Tried>,
    used: usize,
    stage: Arc<Stage>,
    /// The suite's cases in its order, once they were asked for.
    order: Vec<CaseId>,
}

/// One for all revisions of which the very same comes out: a try of one is a try of all, and is counted
/// once.
type SharedNotebook = Arc<tokio::sync::Mutex<Notebook>>;

/// The notebooks that are open, by path.
type Books = std::sync::Mutex<HashMap<Utf8PathBuf, SharedNotebook>>;

async fn one_try(
    revision: &Revision,
    order: &Order,
    note: Option<SharedNotebook>,
    books: &Books,
    bus: &Bus,
) -> Result<(Tried, bool, Option<SharedNotebook>), RunError> {
    let shared = match note {
        Some(note) => note,
        None => match prepare(revision, order, bus).await {
            Ok((cache, stage)) => {
                let own = open_notes(&cache, order, stage)?;
                let mut books = books.lock().unwrap_or_else(|e| e.into_inner());
                let book = books.entry(own.path.clone());
                Arc::clone(book.or_insert_with(|| Arc::new(tokio::sync::Mutex::new(own))))
            }
            Err(NotReady::Run(error)) => return Err(error),
            Err(NotReady::Product(stage, detail)) => {
                let same = match &order.wanted {
                    Wanted::Build { line } => build_line(&detail) == *line,
                    Wanted::Case { .. } => false,
                };
                let why = crate::host::text::line(format!("{stage}: {detail}").as_bytes(), 300);
                let tried = if same {
                    Tried::Bad
                } else {
                    Tried::Other { why }
                };
                return Ok((tried, false, None));
            }
        },
    };
    let mut note = shared.lock().await;
    if let Some(tried) = note.tries.get(note.used).cloned() {
        note.used += 1;
        drop(note);
        return Ok((tried, true, Some(shared)));
    }
    let stage = Arc::clone(&note.stage);
    let mut suite = std::mem::take(&mut note.order);
    let tried = try_case(&stage, &mut suite, &order.wanted).await?;
    note.order = suite;
    note.tries.push(tried.clone());
    note.used = note.tries.len();
    let bytes = serde_json::to_vec(&note.tries).unwrap_or_default();
    files::write_atomic(&note.path, &bytes).map_err(|e| RunError::Host(e.to_string()))?;
    drop(note);
    Ok((tried, false, Some(shared)))
}

async fn prepare(
    revision: &Revision,
    order: &Order,
    bus: &Bus,
) -> Result<(Utf8PathBuf, Stage), NotReady> {
    let own = revision.clone();
    let made = tokio::task::spawn_blocking(move || own.setup()).await;
    let setup = made.map_err(|e| RunError::Host(e.to_string()))??;
    let stage = trial::prepare(&setup, &order.id, bus).await?;
    Ok((setup.dirs.cache, stage))
}

fn open_notes(cache: &Utf8Path, order: &Order, stage: Stage) -> Result<Notebook, RunError> {
    let key = stage.key.as_ref().map_or(String::new(), |k| k.0.clone());
    let wanted = format!("{:?}", order.wanted);
    let name = Key::of("tries", &[key.as_bytes(), wanted.as_bytes()]);
    let dir = cache.join("bisect").join("tries");
    let path = dir.join(format!("{name}.json"));
    std::fs::create_dir_all(&dir).map_err(|e| RunError::Host(format!("{dir}: {e}")))?;
    let tries = std::fs::read(&path)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default();
    Ok(Notebook {
        path,
        tries,
        used: 0,
        stage: Arc::new(stage),
        order: Vec::new(),
    })
}

async fn try_case(
    stage: &Stage,
    order: &mut Vec<CaseId>,
    wanted: &Wanted,
) -> Result<Tried, RunError> {
    let Wanted::Case {
        case, after_all, ..
    } = wanted
    else {
        return Ok(Tried::Good);
    };
    let scratch = tempfile::tempdir().map_err(|e| RunError::Host(e.to_string()))?;
    let ask = match after_all {
        true => Ask::UpTo(case),
        false => Ask::These(std::slice::from_ref(case)),
    };
    match stage.run(ask, order, &scratch.path().join("console")).await {
        Ok(seen) => Ok(judge(wanted, &seen)),
        // A revision without the case is one that cannot be tried.
        Err(RunError::Input(why)) => Ok(Tried::Other { why }),
        Err(error) => Err(error),
    }
}

/// Compares what was seen with what is looked for.
pub fn judge(wanted: &Wanted, seen: &[Seen]) -> Tried {
    let Wanted::Case {
        case,
        outcome,
        title,
        ..
    } = wanted
    else {
        return Tried::Good;
    };
    match seen.iter().rev().find(|s| s.case == *case) {
        None => {
            let last = seen.last().map_or("nothing ran".to_owned(), |s| {
                format!("the last was {}: {}", s.case, s.outcome)
            });
            let why = format!("{case} was not run; {last}");
            Tried::Other { why }
        }
        Some(s) if s.outcome.sense() == Sense::Good => Tried::Good,
        Some(s) if s.outcome == *outcome && (title.is_none() || s.reason == *title) => Tried::Bad,
        Some(s) => {
            let reason = s.reason.as_deref().unwrap_or("no reason given");
            let why = format!("it ended otherwise: {}: {reason}", s.outcome);
            Tried::Other {
                why: crate::host::text::line(why.as_bytes(), 300),
            }
        }
    }
}

/// What a revision is called.
pub trait Named {
    /// `series 3/7`, or the commit's abbreviated hash.
    fn name(&self) -> &str;
    /// What came in with it. Untrusted text.
    fn subject(&self) -> &str;
}

impl Ended {
    /// The answer as a sentence. `what` names the failure.
    pub fn sentence(&self, what: &str, revisions: &[impl Named]) -> String {
        let sure = 100.0 * self.answer.probability;
        let name = |at: usize| match revisions.get(at) {
            Some(r) => format!("{} ({})", r.subject(), r.name()),
            None => format!("revision {at}"),
        };
        let place = match self.answer.place {
            Place::Within { first, last } if first == last => {
                format!("{what} came in with {}", name(first))
            }
            Place::Within { first, last } => {
                let n = last - first + 1;
                format!(
                    "{what} came in with one of {n} revisions that cannot be told apart, from {} to {}",
                    name(first),
                    name(last)
                )
            }
            Place::Before => format!("{what} is there before the first revision, {}", name(0)),
            Place::After => {
                let last = revisions.len().saturating_sub(1);
                format!(
                    "{what} is not in these revisions: {} does not show it",
                    name(last)
                )
            }
        };
        let doubt = if self.sure { "" } else { "not sure: " };
        format!("{doubt}{place} (probability {sure:.1}%)")
    }
}
