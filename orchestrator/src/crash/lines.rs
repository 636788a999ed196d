//! Lines as a terminal would have shown them, and the time stamps in them.
//!
//! A carriage return without a line feed starts a line anew, a backspace takes back what stood
//! before it: so a progress bar or a boot loader's spinner hides no panic behind it.

use crate::host::text;

/// A longer line is cut: no kernel writes such lines.
pub const LINE_BYTES: usize = 4096;
/// Characters of a line that are kept.
pub const LINE_CHARS: usize = 400;

/// The lines in a block of bytes, empty ones left out.
pub fn split(block: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    block
        .split(|&b| b == b'\n' || b == b'\r')
        .filter(|line| !line.is_empty())
}

/// A line without escapes, controls and what was taken back.
pub fn clean(raw: &[u8]) -> String {
    let raw = &raw[..raw.len().min(LINE_BYTES)];
    if !raw.contains(&8) {
        return text::line(raw, LINE_CHARS);
    }
    let mut kept = Vec::with_capacity(raw.len());
    for &byte in raw {
        if byte == 8 {
            kept.pop();
        } else {
            kept.push(byte);
        }
    }
    text::line(&kept, LINE_CHARS)
}

/// A kernel's message without what stands before it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Message<'a> {
    /// Seconds since the boot, where the kernel writes them.
    pub stamp: Option<f64>,
    /// Something stands before the message in its line.
    pub inside: bool,
    /// The message itself.
    pub text: &'a str,
}

/// Reads `   12.345678]`, as it stands behind the bracket that opens a stamp: seconds, and the rest
/// of the line. Linux writes six decimals, NetBSD seven.
fn stamp(inside: &str) -> Option<(f64, &str)> {
    let (stamp, rest) = inside.split_at_checked(inside.find(']')?)?;
    let stamp = stamp.trim_start();
    let (seconds, parts) = stamp.split_once('.')?;
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    let fits = (1..=9).contains(&seconds.len()) && (6..=9).contains(&parts.len());
    (fits && digits(seconds) && digits(parts))
        .then(|| Some((stamp.parse().ok()?, &rest[1..])))
        .flatten()
}

/// The last kernel message in a line: behind the last stamp, which may stand in the middle of
/// somebody else's line, and behind the caller (`[T12]`, `[C0]`) where the kernel writes it.
pub fn message(line: &str) -> Message<'_> {
    let mut found = Message {
        stamp: None,
        inside: false,
        // A console at which nobody has logged in yet: the kernel writes behind the prompt.
        text: line.strip_prefix("login: ").unwrap_or(line),
    };
    for (at, _) in line.match_indices('[') {
        let Some((seconds, rest)) = stamp(&line[at + 1..]) else {
            continue;
        };
        let mut text = rest.trim_start();
        while let Some((who, rest)) = text.strip_prefix('[').and_then(|t| t.split_once(']')) {
            let who = who.trim();
            let number = who.strip_prefix(['T', 'C']);
            if !number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit())) {
                break;
            }
            text = rest.trim_start();
        }
        found = Message {
            stamp: Some(seconds),
            inside: at > 0,
            text,
        };
    }
    found
}

/// The stamp at the beginning of a raw line: the cheap form for lines that nobody reads.
pub fn leading_stamp(raw: &[u8]) -> Option<f64> {
    let rest = raw.strip_prefix(b"[")?;
    let rest = &rest[..rest.len().min(24)];
    stamp(std::str::from_utf8(rest).ok()?).map(|(seconds, _)| seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_and_spinners() {
        let lines: Vec<String> = split(b"10%\r90%\rpanic: x\r\n\r\n|\x08/\x08-\x08db> ")
            .map(clean)
            .collect();
        assert_eq!(lines, ["10%", "90%", "panic: x", "db>"]);
    }

    #[test]
    fn stamps_and_callers() {
        let of = |line| {
            let m = message(line);
            (m.stamp, m.inside, m.text)
        };
        assert_eq!(of("[    2.475408] Oops"), (Some(2.475408), false, "Oops"));
        assert_eq!(
            of("[ 1.0000003] panic: a"),
            (Some(1.000_000_3), false, "panic: a")
        );
        assert_eq!(
            of("[ 12.345678][   T77] BUG: a"),
            (Some(12.345678), false, "BUG: a")
        );
        assert_eq!(
            of("ok 1[12][ 12.345678] BUG: a"),
            (Some(12.345678), true, "BUG: a")
        );
        assert_eq!(
            of("login: fatal privileged instruction fault in supervisor mode"),
            (
                None,
                false,
                "fatal privileged instruction fault in supervisor mode"
            )
        );
        assert_eq!(of("[12:30] Oops"), (None, false, "[12:30] Oops"));
        assert_eq!(of("[ 0.5] Oops"), (None, false, "[ 0.5] Oops"));
        assert_eq!(leading_stamp(b"[    2.475408] Oops"), Some(2.475408));
        assert_eq!(leading_stamp(b"x [    2.475408] Oops"), None);
        assert_eq!(leading_stamp("[2.4754é".as_bytes()), None);
    }
}
