//! What `build.sh` prints, read line by line while it is printed: pure, total, bounded.
//!
//! ```text
//! --- dependall-lib ---            the target whose output follows (with -j)
//! dependall ===> lib/libc          a step: an operation in a directory
//! #   compile  libc/fork.o         what it does there
//! kern_exec.c:12: error: …         a complaint
//! *** [kern_exec.o] Error code 1   the target that failed
//! nbmake: stopped in /…/sys/…      and where; both again for every make above
//! ERROR: Failed to make …          build.sh's own word
//! *** BUILD ABORTED ***
//! ===> Successful make release     or that
//! ```
//!
//! With several jobs at a time the output of targets is mixed, each piece under its heading; the cause
//! of a failure is looked for among the lines of the target that failed first.

use std::collections::VecDeque;
use std::time::Duration;

use super::signature::{self, Places};
use crate::build::messages::{CompilerMessage, Scanner};
use crate::host::text;

/// Steps that are kept; a release has some thousands.
const MAX_STEPS: usize = 50_000;
/// Without a step for so long, what is compiled becomes one.
const LANDMARK_MS: u64 = 2000;
/// Lines that are looked at for the cause of a failure.
const RECENT: usize = 600;
/// The longest name that is kept, in characters.
const NAME_MAX: usize = 160;

/// One operation in one directory: `dependall lib/libc`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Step {
    /// Operation and directory, without the object directory's path.
    pub name: String,
    /// When it began, in milliseconds from the start of `build.sh`.
    pub began_ms: u64,
}

/// Why a build failed, as far as its output tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The target that failed first: `kern_exec.o`.
    pub target: Option<String>,
    /// Its exit status.
    pub code: Option<i32>,
    /// The directory in which make stopped, relative to the tree or to the object directory.
    pub dir: Option<String>,
    /// The compiler's or linker's word.
    pub message: Option<CompilerMessage>,
    /// `build.sh`'s word: `Failed to make build_install in "tools"`.
    pub said: Option<String>,
    /// The same on every port where the fault is the same.
    pub signature: String,
    /// The last lines of the target that failed.
    pub excerpt: Vec<String>,
}

/// Reads the output of one `build.sh`.
#[derive(Debug)]
pub struct BuildLog {
    places: Places,
    steps: Vec<Step>,
    target: Option<String>,
    recent: VecDeque<(Option<String>, String)>,
    stop: Option<Stop>,
    said: Option<String>,
    aborted: bool,
    done: Vec<String>,
}

/// The first `*** [target] Error code N`.
#[derive(Debug)]
struct Stop {
    target: String,
    code: Option<i32>,
    dir: Option<String>,
    message: Option<CompilerMessage>,
    excerpt: Vec<String>,
}

impl BuildLog {
    /// A reader for a build of the tree `places.source` into `places.objects`.
    pub fn new(places: Places) -> Self {
        Self {
            places,
            steps: Vec::new(),
            target: None,
            recent: VecDeque::new(),
            stop: None,
            said: None,
            aborted: false,
            done: Vec::new(),
        }
    }

    /// Takes the next line, printed `at` after the start. Gives what the build does now, where the
    /// line tells that: `dependall lib/libc`, `compile libc/fork.o`.
    pub fn line(&mut self, raw: &[u8], at: Duration) -> Option<String> {
        let line = text::line(raw, 4096);
        if let Some(target) = heading(&line) {
            self.target = Some(clip(target));
            return None;
        }
        if let Some((verb, dir)) = step(&line) {
            let name = clip(&format!("{verb} {}", self.places.relative(dir)));
            if self.steps.len() < MAX_STEPS {
                self.steps.push(Step {
                    name: name.clone(),
                    began_ms: u64::try_from(at.as_millis()).unwrap_or(u64::MAX),
                });
            }
            return Some(name);
        }
        if let Some(word) = line.strip_prefix("===> ") {
            self.word(word);
            return None;
        }
        if let Some(error) = line.strip_prefix("ERROR: ") {
            self.said.get_or_insert_with(|| clip(error));
        } else if line == "*** BUILD ABORTED ***" {
            self.aborted = true;
        } else if let Some((target, code)) = stop(&line) {
            if self.stop.is_none() {
                self.stop = Some(self.first_stop(target, code));
            }
        } else if let Some(code) = line.strip_prefix("*** Error code ") {
            // Of the target that the lines before it name.
            if let Some(stop) = &mut self.stop {
                stop.code = stop.code.or(code.trim().parse().ok());
            }
        } else if let Some(dir) = stopped_in(&line) {
            let dir = self.places.relative(dir);
            if let Some(stop) = &mut self.stop {
                stop.dir.get_or_insert_with(|| clip(&dir));
            }
        }
        let doing = doing(&line);
        if let Some(name) = &doing {
            self.landmark(name, at);
        }
        if self.stop.is_none() {
            if self.recent.len() == RECENT {
                self.recent.pop_front();
            }
            self.recent.push_back((self.target.clone(), line));
        }
        doing
    }

    /// A kernel is one directory: what is compiled now and then is a step too, or nothing would tell how
    /// far it is.
    fn landmark(&mut self, name: &str, at: Duration) {
        let at_ms = u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
        let last_ms = self.steps.last().map_or(0, |s| s.began_ms);
        if self.steps.len() < MAX_STEPS && at_ms.saturating_sub(last_ms) >= LANDMARK_MS {
            self.steps.push(Step {
                name: name.to_owned(),
                began_ms: at_ms,
            });
        }
    }

    /// `===> Successful make release` and its kin.
    fn word(&mut self, word: &str) {
        const DONE: [&str; 6] = [
            "Successful make ",
            "Tools built to ",
            "Kernels built from ",
            "Built sets to ",
            "Successful build of kernel modules",
            "Rump build&link tests successful",
        ];
        if DONE.iter().any(|d| word.starts_with(d)) && self.done.len() < 100 {
            self.done.push(clip(word));
        }
    }

    fn first_stop(&self, target: &str, code: Option<i32>) -> Stop {
        // A heading names the target as make has it; an error may name a file of it.
        let own = |t: &Option<String>| t.as_deref() == Some(target) || *t == self.target;
        let mut of_target = Scanner::new(&self.places.source);
        let mut of_all = Scanner::new(&self.places.source);
        let mut excerpt = VecDeque::new();
        for (heading, line) in &self.recent {
            of_all.line(line.as_bytes());
            if own(heading) {
                of_target.line(line.as_bytes());
                if excerpt.len() == 15 {
                    excerpt.pop_front();
                }
                excerpt.push_back(text::line(line.as_bytes(), 300));
            }
        }
        let message = of_target.message().or(of_all.message()).cloned();
        Stop {
            target: clip(&self.places.relative(target)),
            code,
            dir: None,
            message,
            excerpt: excerpt.into(),
        }
    }

    /// The steps so far.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// What succeeded: `Successful make release`.
    pub fn done(&self) -> &[String] {
        &self.done
    }

    /// Why it failed; none where the output tells of no failure.
    pub fn broken(&self) -> Option<Broken> {
        if self.stop.is_none() && self.said.is_none() && !self.aborted {
            return None;
        }
        let stop = self.stop.as_ref();
        let message = stop.and_then(|s| s.message.clone()).map(|mut m| {
            m.file = m.file.map(|f| self.places.relative(&f));
            m
        });
        let mut broken = Broken {
            target: stop.map(|s| s.target.clone()),
            code: stop.and_then(|s| s.code),
            dir: stop.and_then(|s| s.dir.clone()),
            message,
            said: self.said.clone(),
            signature: String::new(),
            excerpt: stop.map(|s| s.excerpt.clone()).unwrap_or_default(),
        };
        broken.signature = signature::of(&broken, &self.places);
        Some(broken)
    }
}

fn clip(text: &str) -> String {
    text::line(text.trim().as_bytes(), NAME_MAX)
}

/// `--- target ---`
fn heading(line: &str) -> Option<&str> {
    line.strip_prefix("--- ")?.strip_suffix(" ---")
}

/// `dependall ===> lib/libc`; the directory may have words behind it (`(with: …)`).
fn step(line: &str) -> Option<(&str, &str)> {
    let (verb, rest) = line.split_once(" ===> ")?;
    let is_word = |w: &str| {
        !w.is_empty()
            && w.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    let dir = rest.split_whitespace().next()?;
    is_word(verb).then_some((verb, dir))
}

/// `#   compile  libc/fork.o`
fn doing(line: &str) -> Option<String> {
    let rest = line.strip_prefix('#')?;
    let mut words = rest.split_whitespace();
    let (verb, what) = (words.next()?, words.next()?);
    let is_verb = verb.bytes().all(|b| b.is_ascii_lowercase());
    (rest.starts_with("  ") && is_verb && words.next().is_none())
        .then(|| clip(&format!("{verb} {what}")))
}

/// `*** [target] Error code 1`, `*** [target] Signal 9`; and `*** Failed target:  x`, as make says it that
/// runs one job at a time.
fn stop(line: &str) -> Option<(&str, Option<i32>)> {
    if let Some(target) = line.strip_prefix("*** Failed target:") {
        return Some((target.trim(), None));
    }
    let rest = line.strip_prefix("*** [")?;
    let (target, how) = rest.rsplit_once("] ")?;
    if let Some(code) = how.strip_prefix("Error code ") {
        return Some((target, code.trim().parse().ok()));
    }
    how.starts_with("Signal ").then_some((target, None))
}

/// `nbmake[2]: stopped in DIR`
fn stopped_in(line: &str) -> Option<&str> {
    let (who, dir) = line.split_once(": stopped in ")?;
    who.contains("make").then_some(dir)
}

impl Broken {
    /// Whether what failed is the check of the set lists.
    pub fn is_sets_mismatch(&self) -> bool {
        self.target.as_deref() == Some("checkflist")
    }
}
