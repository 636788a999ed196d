//! The signature of a failure: the same text on every port where the fault is the same, so that "the
//! same break on five ports" is one finding.

use super::log::Broken;

/// Directories of one build, and what is its port's own in them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Places {
    /// The source tree.
    pub source: String,
    /// The object directory.
    pub objects: String,
    /// Everything else that the build writes: tools, DESTDIR, release.
    pub others: Vec<String>,
    /// `MACHINE`
    pub machine: String,
}

impl Places {
    /// A path without the directory that it is below of; `.` for that directory itself.
    pub fn relative(&self, path: &str) -> String {
        for dir in [&self.source, &self.objects]
            .into_iter()
            .chain(&self.others)
        {
            if dir.is_empty() {
                continue;
            }
            if let Some(rest) = path.strip_prefix(dir.as_str()) {
                match rest.strip_prefix('/') {
                    Some(below) => return tidy(below),
                    None if rest.is_empty() => return ".".to_owned(),
                    None => {}
                }
            }
        }
        path.to_owned()
    }
}

/// A path without `x/../`.
fn tidy(path: &str) -> String {
    let mut out: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "." | "" => {}
            ".." if out.last().is_some_and(|p| *p != "..") => {
                out.pop();
            }
            part => out.push(part),
        }
    }
    out.join("/")
}

/// Words that C's arithmetic types are made of: which of them a message names is a port's own.
const TYPE_WORDS: [&str; 13] = [
    "unsigned", "signed", "long", "short", "int", "char", "size_t", "ssize_t", "off_t", "uint64_t",
    "uint32_t", "int64_t", "int32_t",
];

/// Makes the signature. Line numbers, addresses, the machine's name and the widths of types are left
/// out of it.
pub(super) fn of(broken: &Broken, places: &Places) -> String {
    let general = |text: &str| general(text, &places.machine);
    match &broken.message {
        Some(message) => {
            let file = message.file.as_deref().map(general).unwrap_or_default();
            let text = types(&general(&message.text));
            match file.is_empty() {
                true => format!("{}: {text}", where_of(broken, places)),
                false => format!("{file}: {text}"),
            }
        }
        None => where_of(broken, places),
    }
}

fn where_of(broken: &Broken, places: &Places) -> String {
    let dir = broken.dir.as_deref().unwrap_or("");
    let said = broken.said.as_deref().unwrap_or("");
    let said: Vec<String> = said.split(' ').map(|w| places.relative(w)).collect();
    let words = [broken.target.clone(), Some(said.join(" "))];
    let target = words.into_iter().flatten().find(|w| !w.is_empty());
    let place = format!("{dir} {}", target.as_deref().unwrap_or("unknown"));
    general(place.trim(), &places.machine)
}

/// A text without what is a port's own: the machine's name as a part of a path, the prefix of the
/// cross tools.
fn general(text: &str, machine: &str) -> String {
    let mut out = Vec::new();
    for word in text.split(' ') {
        let mut word = word.to_owned();
        if !machine.is_empty() {
            let parts: Vec<&str> = word
                .split('/')
                .map(|part| if part == machine { "MACHINE" } else { part })
                .collect();
            if parts.len() > 1 {
                word = parts.join("/");
            }
        }
        // `x86_64--netbsd-gcc`, `sparc64--netbsd-ld`
        if let Some((before, tool)) = word.split_once("--netbsd") {
            let start = before.rfind(['/', '\'', '`', '(']).map_or(0, |i| i + 1);
            let tool = tool.split_once('-').map_or(tool, |(_, tool)| tool);
            word = format!("{}{tool}", &before[..start]);
        }
        out.push(word);
    }
    out.join(" ")
}

/// Types in quotes, `'long unsigned int'`, become `'INTEGER'`.
pub(in crate::build) fn types(text: &str) -> String {
    let quote = |c: char| matches!(c, '\'' | '`' | '‘' | '’');
    let mut out = String::new();
    for (i, part) in text.split(quote).enumerate() {
        if i > 0 {
            out.push('\'');
        }
        let mut words = part.split_whitespace().peekable();
        let is_type = words.peek().is_some()
            && part
                .split_whitespace()
                .all(|w| TYPE_WORDS.contains(&w.trim_end_matches('*')));
        match is_type {
            true => out.push_str("INTEGER"),
            false => out.push_str(part),
        }
    }
    out
}
