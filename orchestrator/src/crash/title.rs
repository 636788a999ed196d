//! Titles that stay the same for the same crash: across addresses, CPUs, pids, moved lines, what
//! compilers add to names, and machines.

use super::frames::{self, Frame};
use super::rules::{self, Cause, Place};

/// Lines behind the one that told in which its function is looked for.
const SEARCHED: usize = 100;
const TITLE_CHARS: usize = 160;

/// Words of registers that hold the place of the fault, on the machines that there are.
const REGISTERS: &[&str] = &[
    "RIP: ",
    "EIP: ",
    "PC is at ",
    "pc : ",
    "NIP [",
    "Krnl PSW : ",
    "epc : ",
    "epc   : ",
    "TPC: <",
];

/// The title of a crash or a complaint: the cause, and the function that the lines name. `lines` are
/// messages without stamps, the first is the one that told.
pub fn of(cause: &Cause, lines: &[&str]) -> String {
    let mut title = cause.title.clone();
    if title.is_empty() {
        let failing = lines
            .iter()
            .take(8)
            .find(|l| l.starts_with("Failing address: "));
        title = rules::fault(failing.and_then(|l| rules::address(l))).to_owned();
    }
    let first = lines.first().copied().unwrap_or_default();
    if title == "WARNING" && lines.iter().take(3).any(|l| l.starts_with("refcount_t: ")) {
        title.push_str(": refcount bug");
    }
    let function = match cause.place {
        Place::None => None,
        Place::Line => ours(frames::linux(first), false).or_else(|| in_trace(lines)),
        Place::Trace => in_trace(lines),
    };
    if let Some(access) = sanitizer_access(&title, lines) {
        title.push_str(access);
    }
    if let Some(function) = function {
        title.push_str(" in ");
        title.push_str(function);
    }
    bounded(title)
}

fn bounded(mut title: String) -> String {
    let end = title.char_indices().nth(TITLE_CHARS);
    title.truncate(end.map_or(title.len(), |(i, _)| i));
    title
}

/// `KASAN: use-after-free`: whether it read or wrote stands in the next line.
fn sanitizer_access(title: &str, lines: &[&str]) -> Option<&'static str> {
    if !title.starts_with("KASAN: ") {
        return None;
    }
    lines.iter().take(4).find_map(|line| {
        let forms = [("Read of size ", " Read"), ("Write of size ", " Write")];
        forms
            .iter()
            .find(|(begins, _)| line.starts_with(begins))
            .map(|(_, access)| *access)
    })
}

/// The first function that is nobody's machinery.
fn ours<'a>(frames: impl IntoIterator<Item = Frame<'a>>, guessed: bool) -> Option<&'a str> {
    frames
        .into_iter()
        .filter(|f| f.guessed == guessed && !f.at_start)
        .map(|f| f.name)
        .find(|name| !frames::is_generic(name))
}

/// The place of the fault by the registers, else the first frame of the trace that is nobody's
/// machinery; in a BSD's trace the frame behind the trap.
fn in_trace<'a>(lines: &[&'a str]) -> Option<&'a str> {
    let near = &lines[..lines.len().min(SEARCHED)];
    let traced = |line: &&&str| !line.starts_with("Register ");
    let all = || {
        near.iter()
            .skip(1)
            .filter(traced)
            .flat_map(|line| frames::linux(line))
    };
    if let Some(line) = near.iter().find(|l| is_place(l)) {
        let frames = frames::linux(line);
        // The program counter is nowhere: whoever sent it there comes first, sure or not.
        if frames.iter().all(|f| f.at_start) {
            let first = all().map(|f| Frame {
                guessed: false,
                ..f
            });
            return jumped_from(near).or_else(|| ours(first, false));
        }
        if let Some(name) = ours(frames, false) {
            return Some(name);
        }
    }
    let stopped = near.iter().find(|l| l.starts_with("Stopped "));
    if let Some(name) = stopped.and_then(|line| frames::bsd(line))
        && !frames::is_generic(name)
    {
        return Some(name);
    }
    ours(all(), false)
        .or_else(|| ours(all(), true))
        .or_else(|| bsd_frame(near))
}

/// A line with the program counter of the kernel. On x86 a process has one as well, in segment 33.
fn is_place(line: &str) -> bool {
    REGISTERS.iter().any(|r| line.starts_with(r)) && !line.starts_with("RIP: 0033:")
}

/// s390 keeps where the last jump came from: what explains a program counter that is nowhere.
fn jumped_from<'a>(lines: &[&'a str]) -> Option<&'a str> {
    let at = lines
        .iter()
        .position(|l| l.starts_with("Last Breaking-Event-Address"))?;
    ours(frames::linux(lines.get(at + 1)?), false)
}

fn bsd_frame<'a>(lines: &[&'a str]) -> Option<&'a str> {
    let begins = ["--- trap", "--- interrupt"];
    let trap = lines
        .iter()
        .position(|l| begins.iter().any(|b| l.starts_with(b)));
    lines[trap.unwrap_or(0)..]
        .iter()
        .filter(|l| l.contains(") at "))
        .filter_map(|l| frames::bsd(l))
        .find(|name| !frames::is_generic(name))
}

/// A kernel's own words without what changes from one time to the next.
pub fn stable(text: &str) -> String {
    let mut line = text.trim().trim_end_matches(['-', ']', ' ', '!', '.']);
    // `… failed: file "x.c", line 42`: the directory moves with the tree, the line with every change.
    if let Some((head, rest)) = line.split_once(" failed: file ") {
        let file = rest.split('"').nth(1).unwrap_or_default();
        return format!("{head} failed in {}", base(file));
    }
    if let Some((head, rest)) = line.split_once(" failed at ") {
        let file = rest.split(':').next().unwrap_or_default();
        return format!("{head} failed in {}", base(file));
    }
    for particulars in [", comm ", " comm: ", " exitcode=", " (uid: "] {
        if let Some(cut) = line.find(particulars) {
            line = line[..cut].trim_end_matches('!');
        }
    }
    let mut words: Vec<String> = Vec::new();
    for word in line.split_whitespace() {
        let word = stable_word(word);
        if words
            .last()
            .is_none_or(|last| last != "ADDR" || word != "ADDR")
        {
            words.push(word);
        }
    }
    bounded(words.join(" "))
}

fn base(file: &str) -> &str {
    file.rsplit('/').next().unwrap_or(file)
}

/// A word with its numbers replaced: `ADDR` for what was written in hexadecimal, `N` for the rest.
fn stable_word(word: &str) -> String {
    let mut out = String::new();
    let mut rest = word;
    while let Some(at) = rest.find(|c: char| c.is_ascii_alphanumeric() || c == '_') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '.');
        let (token, tail) = rest.split_at(end.unwrap_or(rest.len()));
        out.push_str(&stable_token(token));
        rest = tail;
    }
    out.push_str(rest);
    out
}

fn stable_token(token: &str) -> String {
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    let hex = |s: &str| s.bytes().all(|b| b.is_ascii_hexdigit());
    if token.strip_prefix("0x").is_some_and(hex) || (token.len() >= 8 && hex(token)) {
        return "ADDR".to_owned();
    }
    if digits(token) {
        return "N".to_owned();
    }
    // `26s`, and the CPU of `CPU0` or `cpu12`.
    if token.strip_suffix('s').is_some_and(digits) {
        return "Ns".to_owned();
    }
    for cpu in ["CPU", "cpu"] {
        if token.strip_prefix(cpu).is_some_and(digits) {
            return cpu.to_owned();
        }
    }
    frames::plain(token).trim_end_matches('.').to_owned()
}
