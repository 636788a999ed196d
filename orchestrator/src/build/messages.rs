//! What compilers, assemblers, linkers and make complain about: pure, total, line by line.
//!
//! The first complaint that names a cause wins over later ones, and over make's closing words,
//! which only tell that there was one. With several jobs at a time "first" is by the log's order.

use std::fmt;

use crate::host::text;

/// The longest text that is kept of a message, in characters.
const TEXT_MAX: usize = 300;

/// One complaint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompilerMessage {
    /// The file, relative to the tree where it is in it.
    pub file: Option<String>,
    /// The line, from 1.
    pub line: Option<u32>,
    /// What is wrong with it. No path of this machine, no column; the same on every port where the
    /// fault is the same, as far as the compiler's words are.
    pub text: String,
}

impl fmt::Display for CompilerMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.file, self.line) {
            (Some(file), Some(line)) => write!(f, "{file}:{line}: {}", self.text),
            (Some(file), None) => write!(f, "{file}: {}", self.text),
            (None, _) => write!(f, "{}", self.text),
        }
    }
}

/// How much a line says about the cause; less is more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// A place and a reason.
    Cause,
    /// A reason without a place.
    Word,
    /// make stopped.
    Stop,
    /// A driver that says that something before it failed.
    Echo,
}

/// Reads a log line by line and keeps the best complaint.
#[derive(Debug, Default)]
pub struct Scanner {
    /// The tree's directory, without a slash at the end; it is taken off paths.
    tree: String,
    best: Option<(Rank, CompilerMessage)>,
    exhausted: Option<String>,
    missing: Option<String>,
}

impl Scanner {
    /// A scanner for a build in `tree`, an absolute directory.
    pub fn new(tree: &str) -> Self {
        Self {
            tree: tree.trim_end_matches('/').to_owned(),
            ..Self::default()
        }
    }

    /// Takes the next line of the log.
    pub fn line(&mut self, raw: &[u8]) {
        let line = text::line(raw, 4096);
        // A command that the shell echoes is no answer.
        if line.starts_with("+ ") {
            return;
        }
        if self.exhausted.is_none() && is_exhaustion(&line) {
            self.exhausted = Some(clip(&line));
        }
        if let Some(program) = missing_program(&line) {
            self.missing.get_or_insert(program.to_owned());
        }
        let Some((rank, message)) = self.parse(&line) else {
            return;
        };
        if self.best.as_ref().is_none_or(|(best, _)| rank < *best) {
            self.best = Some((rank, message));
        }
    }

    /// The complaint that says most.
    pub fn message(&self) -> Option<&CompilerMessage> {
        self.best.as_ref().map(|(_, message)| message)
    }

    /// The line that says that the machine had no room or no memory left.
    pub fn exhausted(&self) -> Option<&str> {
        self.exhausted.as_deref()
    }

    /// The program that a shell or make did not find.
    pub fn missing(&self) -> Option<&str> {
        self.missing.as_deref()
    }

    fn parse(&self, line: &str) -> Option<(Rank, CompilerMessage)> {
        self.compiler(line)
            .or_else(|| self.linker(line))
            .or_else(|| self.bsd_make(line))
            .or_else(|| self.make(line))
            .or_else(|| {
                missing_program(line).map(|program| {
                    (
                        Rank::Word,
                        self.message_of("", &format!("{program}: not found")),
                    )
                })
            })
    }

    fn compiler(&self, line: &str) -> Option<(Rank, CompilerMessage)> {
        const MARKS: [&str; 4] = [
            ": fatal error: ",
            ": error: ",
            ": Error: ",
            ": Fatal error: ",
        ];
        let (at, mark) = MARKS
            .iter()
            .filter_map(|mark| Some((line.find(mark)?, mark)))
            .min()?;
        let (place, rest) = (&line[..at], &line[at + mark.len()..]);
        let message = self.message_of(place, rest);
        let rank = if program_of(place) == "collect2" {
            Rank::Echo
        } else if message.line.is_some() {
            Rank::Cause
        } else {
            Rank::Word
        };
        if message.file.is_none() && message.line.is_none() {
            // `configure: error: …`, `cc1: error: …`: who says it matters.
            let who = match is_temporary(split_place(place).0) {
                true => "assembler",
                false => program_of(place),
            };
            let text = clip(&format!("{who}: {}", message.text));
            return Some((rank, CompilerMessage { text, ..message }));
        }
        Some((rank, message))
    }

    fn linker(&self, line: &str) -> Option<(Rank, CompilerMessage)> {
        const WORDS: [&str; 7] = [
            "undefined reference to ",
            "multiple definition of ",
            "cannot find ",
            "relocation truncated to fit",
            "file format not recognized",
            "skipping incompatible ",
            "undefined symbol",
        ];
        let said = without_linker(line);
        let by_linker = said.len() < line.len();
        let at = WORDS.iter().filter_map(|word| said.find(word)).min()?;
        let place = said[..at].trim_end().trim_end_matches(':');
        let text = &said[at..];
        if !by_linker && place.is_empty() {
            return None;
        }
        if text.starts_with("skipping incompatible ") {
            // A warning: the linker may find another.
            return None;
        }
        if text.starts_with("cannot find ") && !by_linker {
            return None;
        }
        let known = self.message_of(place, text);
        Some((Rank::Cause, known))
    }

    /// `nbmake[2]: "/src/lib/Makefile" line 5: Malformed conditional (…)`,
    /// `nbmake: don't know how to make x.c. Stop`
    fn bsd_make(&self, line: &str) -> Option<(Rank, CompilerMessage)> {
        let (who, said) = line.split_once(": ")?;
        if who.contains(' ') || !program_of(who).ends_with("make") {
            return None;
        }
        if said.starts_with("don't know how to make ") {
            let text = said.split(". Stop").next().unwrap_or(said);
            return Some((Rank::Cause, self.message_of("", text)));
        }
        let (file, rest) = said.strip_prefix('"')?.split_once("\" line ")?;
        let (number, text) = rest.split_once(": ")?;
        let number: u32 = number.parse().ok()?;
        if text.starts_with("warning: ") {
            return None;
        }
        let place = format!("{file}:{number}");
        Some((Rank::Cause, self.message_of(&place, text)))
    }

    fn make(&self, line: &str) -> Option<(Rank, CompilerMessage)> {
        let (before, after) = line.split_once("*** ")?;
        if before.len() > 200 {
            return None;
        }
        let place = before.trim_end().trim_end_matches(':');
        let after = after.trim_end_matches("Stop.").trim_end();
        // `make[1]: *** [Makefile:12: target] Error 2`
        if let Some((inside, error)) = after.strip_prefix('[').and_then(|a| a.split_once("] ")) {
            let (place, target) = inside.rsplit_once(": ").unwrap_or(("", inside));
            let target = self.relative(target);
            return Some((
                Rank::Stop,
                self.message_of(place, &format!("{target}: {error}")),
            ));
        }
        let is_make = program_of(place).contains("make");
        let place = if is_make && !place.contains(".mk") && split_place(place).1.is_none() {
            ""
        } else {
            place
        };
        if !is_make && split_place(place).1.is_none() {
            return None;
        }
        Some((Rank::Cause, self.message_of(place, after)))
    }

    /// Makes a message of `file:line:column` (or less) and a text.
    fn message_of(&self, place: &str, text: &str) -> CompilerMessage {
        let (file, line) = split_place(place);
        let file = self.relative(file);
        let known = line.is_some() || file.contains('.') || file.contains('/');
        let named = known && !file.is_empty() && !is_temporary(file);
        CompilerMessage {
            file: named.then(|| clip(file)),
            line: line.filter(|_| named),
            text: clip(&self.plain(text)),
        }
    }

    fn relative<'a>(&self, path: &'a str) -> &'a str {
        let path = path.trim();
        let inside = path.strip_prefix(self.tree.as_str());
        let inside = inside.filter(|_| !self.tree.is_empty());
        let path = inside.and_then(|p| p.strip_prefix('/')).unwrap_or(path);
        path.trim_start_matches("./")
    }

    /// A text without the tree's directory and without what a type's name stands for on this port.
    fn plain(&self, text: &str) -> String {
        let mut text = if self.tree.is_empty() {
            text.to_owned()
        } else {
            text.replace(&format!("{}/", self.tree), "")
        };
        while let Some(start) = text.find(" {aka ") {
            let Some(length) = text[start..].find('}') else {
                break;
            };
            text.replace_range(start..=start + length, "");
        }
        text
    }
}

fn clip(text: &str) -> String {
    text::line(text.trim().as_bytes(), TEXT_MAX)
}

/// The file and the line of `file:12:3`, `file:12`, `file:(.text+0x1f)` or `file`.
fn split_place(place: &str) -> (&str, Option<u32>) {
    let place = match place.rsplit_once(":(") {
        Some((file, section)) if section.ends_with(')') => file,
        _ => place,
    };
    let number = |text: &str| text.parse::<u32>().ok();
    let Some((before, last)) = place.rsplit_once(':') else {
        return (place, None);
    };
    let Some(last) = number(last) else {
        return (place, None);
    };
    match before.rsplit_once(':') {
        Some((file, line)) if number(line).is_some() => (file, number(line)),
        _ => (before, Some(last)),
    }
}

/// The assembler reads what the compiler wrote: such a file has no name that means anything.
fn is_temporary(file: &str) -> bool {
    let base = file.rsplit('/').next().unwrap_or(file);
    file.starts_with('{') || (base.starts_with("cc") && base.ends_with(".s") && base.len() == 10)
}

/// The line behind `/usr/bin/s390x-linux-gnu-ld: ` or `/usr/lib/…/bin/ld.gold: `.
fn without_linker(line: &str) -> &str {
    let mut rest = line;
    while let Some((who, said)) = rest.split_once(": ") {
        let base = who.rsplit('/').next().unwrap_or(who);
        let is_linker = base == "ld" || base.ends_with("-ld") || base.starts_with("ld.");
        if !is_linker || who.contains(' ') {
            break;
        }
        rest = said;
    }
    rest
}

/// The last part of who speaks: `make` of `make[2]`, `gcc` of `/usr/bin/gcc`.
fn program_of(place: &str) -> &str {
    let base = place.trim().rsplit('/').next().unwrap_or(place);
    base.split('[').next().unwrap_or(base)
}

/// `sh: 1: foo: not found`, `bash: line 1: foo: command not found`, `make: foo: No such file or
/// directory`.
fn missing_program(line: &str) -> Option<&str> {
    let is_word = |w: &&str| {
        !w.is_empty() && w.len() < 80 && w.bytes().all(|b| b.is_ascii_graphic() && b != b':')
    };
    let by_shell = line
        .strip_suffix(": not found")
        .or_else(|| line.strip_suffix(": command not found"));
    if let Some(rest) = by_shell {
        let (before, word) = rest.rsplit_once(": ")?;
        let shell = before.split(": ").next().unwrap_or("");
        let known = shell.ends_with("sh") || shell.contains("make");
        return Some(word).filter(is_word).filter(|_| known);
    }
    let rest = line.strip_suffix(": No such file or directory")?;
    let (before, word) = rest.rsplit_once(": ")?;
    let by_make = program_of(before).contains("make") && !before.contains(' ');
    Some(word)
        .filter(is_word)
        .filter(|w| by_make && !w.contains('/'))
}

/// Whether a line says that the machine had no room or memory left.
fn is_exhaustion(line: &str) -> bool {
    line.ends_with(": No space left on device")
        || line.ends_with(": Disk quota exceeded")
        || line.ends_with(": Cannot allocate memory")
        || line.contains("virtual memory exhausted")
        || line.contains("fatal error: Killed signal terminated program")
}

/// Programs that builds ask the host for, with the package that has each.
const HOST_TOOLS: [(&str, &str); 17] = [
    ("aclocal", "automake"),
    ("autoconf", "autoconf"),
    ("autoheader", "autoconf"),
    ("automake", "automake"),
    ("autoreconf", "autoconf"),
    ("bc", "bc"),
    ("bison", "bison"),
    ("cmake", "cmake"),
    ("flex", "flex"),
    ("gperf", "gperf"),
    ("libtoolize", "libtool"),
    ("m4", "m4"),
    ("perl", "perl"),
    ("pkg-config", "pkg-config"),
    ("python3", "python3"),
    ("rsync", "rsync"),
    ("xz", "xz-utils"),
];

/// The program and its package, if a missing `program` is the host's affair and not a slip of the
/// product's.
pub(super) fn host_tool(program: &str) -> Option<(&'static str, &'static str)> {
    HOST_TOOLS.into_iter().find(|(name, _)| *name == program)
}

#[cfg(test)]
#[path = "messages_tests.rs"]
mod tests;
