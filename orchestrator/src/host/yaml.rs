//! Settings files: YAML in, a typed value or every problem of the file out.
//!
//! A problem is shown as `file:line:column: field.path: what; what to do`. Serde stops at the
//! first thing that does not fit, so a file that does not fit is read again with the offending
//! place mended by a placeholder, until nothing new comes up; what the placeholders cause is not
//! reported. Positions are found by a second walk over the text (see [`locate`]), which is why
//! also a check of the finished value can point at a line.
//!
//! Files are bounded in size, and in the number of their aliases: a few lines of nested aliases
//! can otherwise stand for gigabytes. What this module does not do: know any file's meaning.

use std::fmt;
use std::io::Read as _;

use camino::{Utf8Path, Utf8PathBuf};
use serde::de::DeserializeOwned;
use serde_yaml::Value;

use crate::model::problem::{Problem, did_you_mean};

mod locate;
mod mend;

/// The largest file that is read, in bytes.
pub const MAX_BYTES: u64 = 256 << 10;
/// The most aliases (`*name`) in a file. With [`MAX_BYTES`] this bounds what they can expand to:
/// sixteen aliases multiply a value at most 3^5 times, however they are nested.
pub const MAX_ALIASES: usize = 16;

/// The most brackets and braces that may be open at one place. The parser's work grows with the
/// square of it.
const MAX_DEPTH: usize = 1000;

/// Why a file gave no value.
#[derive(Debug, thiserror::Error)]
pub enum YamlError {
    /// It cannot be read.
    #[error("{file}: cannot be read: {cause}")]
    Read {
        /// The file.
        file: Utf8PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// It was read, and is wrong.
    #[error(transparent)]
    Bad(#[from] BadFile),
}

/// A file with everything that is wrong in it. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct BadFile {
    /// The file, as the user named it.
    pub file: Utf8PathBuf,
    /// The problems in the order of their places.
    pub problems: Vec<Located>,
}

/// A problem and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// Line and column, from 1, where they are known.
    pub at: Option<(usize, usize)>,
    /// What is wrong.
    pub problem: Problem,
}

impl fmt::Display for BadFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, Located { at, problem }) in self.problems.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{}:", self.file)?;
            if let Some((line, column)) = at {
                write!(f, "{line}:{column}:")?;
            }
            if !problem.path.is_empty() {
                write!(f, " {}:", plain(&problem.path))?;
            }
            write!(f, " {}", plain(&problem.message))?;
            if let Some(help) = &problem.help {
                write!(f, "; {}", plain(help))?;
            }
        }
        Ok(())
    }
}

/// The text without what would move the cursor or colour the screen.
fn plain(text: &str) -> String {
    text.replace('\n', " ")
        .replace(char::is_control, "\u{fffd}")
}

/// A value together with the text it came from, so that later checks can point into the file.
#[derive(Debug, Clone)]
pub struct Doc<T> {
    /// The file, as the user named it.
    pub file: Utf8PathBuf,
    /// What it says.
    pub value: T,
    text: String,
}

impl<T> Doc<T> {
    /// `Ok` where there are no problems, else all of them with their places.
    pub fn verify(&self, problems: Vec<Problem>) -> Result<(), BadFile> {
        if problems.is_empty() {
            return Ok(());
        }
        Err(place(&self.file, &self.text, problems))
    }
}

/// Reads a file into a value that has passed `check`.
pub fn read<T: DeserializeOwned>(
    file: &Utf8Path,
    check: impl FnOnce(&T) -> Vec<Problem>,
) -> Result<Doc<T>, YamlError> {
    let failed = |cause| YamlError::Read {
        file: file.to_owned(),
        cause,
    };
    let mut bytes = Vec::new();
    std::fs::File::open(file)
        .and_then(|f| f.take(MAX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(failed)?;
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(e) => {
            let line = e.as_bytes()[..e.utf8_error().valid_up_to()]
                .iter()
                .filter(|b| **b == b'\n')
                .count()
                + 1;
            return Err(whole(file, format!("line {line} is not UTF-8 text")).into());
        }
    };
    Ok(parse(file, text, check)?)
}

/// Parses a text into a value that has passed `check`; `file` is for the messages only.
pub fn parse<T: DeserializeOwned>(
    file: &Utf8Path,
    text: String,
    check: impl FnOnce(&T) -> Vec<Problem>,
) -> Result<Doc<T>, BadFile> {
    if text.len() as u64 > MAX_BYTES {
        let limit = MAX_BYTES >> 10;
        return Err(whole(file, format!("is larger than {limit} KiB")));
    }
    let aliases = count_aliases(&text);
    if aliases > MAX_ALIASES {
        let message = format!("has {aliases} aliases (*name): expected at most {MAX_ALIASES}");
        return Err(whole(file, message));
    }
    if depth(&text) > MAX_DEPTH {
        return Err(whole(file, "is nested too deep".to_owned()));
    }
    let tree: Value = serde_yaml::from_str(&text).map_err(|e| BadFile {
        file: file.to_owned(),
        problems: vec![not_yaml(&e)],
    })?;
    if tree.is_null() {
        return Err(whole(file, "is empty".to_owned()));
    }

    let (value, mut problems) = mend::read_all::<T>(tree);
    let shape: Vec<(String, bool)> = problems
        .iter()
        .map(|p| (p.path.clone(), p.message.starts_with(mend::UNKNOWN_FIELD)))
        .collect();
    if let Some(value) = &value {
        let echo = |p: &Problem| shape.iter().any(|(s, unknown)| concerns(p, s, *unknown));
        problems.extend(check(value).into_iter().filter(|p| !echo(p)));
    }
    match value {
        Some(value) if problems.is_empty() => Ok(Doc {
            file: file.to_owned(),
            value,
            text,
        }),
        _ => Err(place(file, &text, problems)),
    }
}

/// Whether a check's problem may only be the echo of a misfit at `shape`. Beside a field with an
/// unknown name, what is missing may well be that one.
fn concerns(problem: &Problem, shape: &str, unknown: bool) -> bool {
    let path = problem.path.as_str();
    let over = |path: &str| path[..path.rfind(['.', '[']).unwrap_or(0)].to_owned();
    if unknown && problem.message.starts_with("is missing") && over(path) == over(shape) {
        return true;
    }
    let inside = |inner: &str, outer: &str| {
        inner
            .strip_prefix(outer)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    let parent = &shape[..shape.rfind(['.', '[']).unwrap_or(0)];
    inside(path, shape) || (!parent.is_empty() && path == parent)
}

/// The most problems of a file that are told: to find a place takes a walk over the text.
const MAX_TOLD: usize = 50;

fn place(file: &Utf8Path, text: &str, mut problems: Vec<Problem>) -> BadFile {
    let untold = problems.len().saturating_sub(MAX_TOLD);
    problems.truncate(MAX_TOLD);
    let mut problems: Vec<Located> = problems
        .into_iter()
        .map(|problem| Located {
            at: locate::locate(text, &problem.path),
            problem,
        })
        .collect();
    problems.sort_by_key(|p| p.at.unwrap_or((0, 0)));
    if untold > 0 {
        problems.push(Located {
            at: None,
            problem: Problem::new("", format!("and {untold} problems more")),
        });
    }
    BadFile {
        file: file.to_owned(),
        problems,
    }
}

fn whole(file: &Utf8Path, message: String) -> BadFile {
    BadFile {
        file: file.to_owned(),
        problems: vec![Located {
            at: None,
            problem: Problem::new("", message),
        }],
    }
}

/// An error of the YAML text itself, without the parser's own idea of where to say the place.
fn not_yaml(error: &serde_yaml::Error) -> Located {
    let at = error.location().map(|l| (l.line(), l.column()));
    let mut message = error.to_string();
    if let Some((line, column)) = at {
        message = message
            .replace(&format!(" at line {line} column {column}"), "")
            .replace(&format!(" at line {line}, column {column}"), "");
    }
    Located {
        at,
        problem: Problem::new("", format!("not YAML: {message}")),
    }
}

/// How many brackets and braces are open at most; those in texts count too.
fn depth(text: &str) -> usize {
    let (mut now, mut most) = (0_usize, 0);
    for b in text.bytes() {
        match b {
            b'[' | b'{' => now += 1,
            b']' | b'}' => now = now.saturating_sub(1),
            _ => {}
        }
        most = most.max(now);
    }
    most
}

/// Counts what can be an alias. A star in a text that looks like one counts too: the limit is
/// far above what settings need.
fn count_aliases(text: &str) -> usize {
    let bytes = text.as_bytes();
    (0..bytes.len().saturating_sub(1))
        .filter(|&i| {
            let name = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
            bytes[i] == b'*' && name(bytes[i + 1]) && (i == 0 || !name(bytes[i - 1]))
        })
        .count()
}

/// `did you mean …` for an unknown word, from the words that a message of serde's lists.
fn advice(word: &str, expected: &[&str]) -> Option<String> {
    did_you_mean(word, expected.iter().copied())
}

#[cfg(test)]
mod tests;
