//! Makes untrusted text fit to be shown.
//!
//! Whatever comes out of a guest or of a tool that read somebody's patch can hold terminal
//! escapes, control characters, text that runs backwards, and gigabytes. Everything here is pure,
//! total, and bounded by its arguments. It does not escape for HTML or XML: that is the business
//! of whoever writes those.

/// What stands for the part that was cut.
const CUT: char = '…';

/// Longest escape sequence that is taken as one: what is longer was never meant for a terminal,
/// and must not swallow the text behind it.
const ESCAPE_MAX: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Text,
    Escape,
    /// `ESC [`: up to a byte from `@` to `~`.
    Csi(usize),
    /// `ESC ]`, `ESC P`, `ESC ^`, `ESC _`, `ESC X`: up to BEL or `ESC \`.
    Text7(usize),
    /// `ESC (` and the like: one byte more.
    One,
}

/// Removes terminal escapes and control characters from a stream that comes in pieces.
///
/// Line feeds and tabs stay; carriage returns, backspaces and all else below a blank go. Bytes
/// above 127 pass: decode the result with [`String::from_utf8_lossy`] and then [`line`].
#[derive(Debug, Clone, Default)]
pub struct Stripper {
    state: State,
}

impl Stripper {
    /// Appends what is left of `bytes` to `out`.
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        for &b in bytes {
            self.byte(b, out);
        }
    }

    fn byte(&mut self, b: u8, out: &mut Vec<u8>) {
        self.state = match (self.state, b) {
            (_, 0x1b) => State::Escape,
            // No escape goes over the end of a line: one that was cut off eats no more than that.
            (_, b'\n') => {
                out.push(b);
                State::Text
            }
            (State::Text, b'\t' | b' '..=b'~' | 0x80..) => {
                out.push(b);
                State::Text
            }
            (State::Text, _) => State::Text,
            (State::Escape, b'[') => State::Csi(0),
            (State::Escape, b']' | b'P' | b'^' | b'_' | b'X') => State::Text7(0),
            (State::Escape, b' '..=b'/') => State::One,
            (State::Escape | State::One, _) => State::Text,
            (State::Csi(_), b'@'..=b'~') | (State::Text7(_), 0x07) => State::Text,
            (State::Csi(n) | State::Text7(n), _) if n >= ESCAPE_MAX => State::Text,
            (State::Csi(n), _) => State::Csi(n + 1),
            (State::Text7(n), _) => State::Text7(n + 1),
        };
    }
}

/// True for characters that could fool a reader or a terminal: controls of both kinds, and marks
/// that turn the direction of text.
fn is_unfit(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{feff}')
        || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn strip(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    Stripper::default().feed(bytes, &mut out);
    out
}

fn bounded(clean: &str, max_chars: usize) -> String {
    let mut out = String::new();
    let mut left = max_chars;
    for c in clean.chars() {
        // A tab is as good as a blank in one line, and its width is not known.
        let c = if matches!(c, '\t' | '\n') { ' ' } else { c };
        if is_unfit(c) {
            continue;
        }
        if left == 0 {
            out.pop();
            out.push(CUT);
            break;
        }
        left -= 1;
        out.push(c);
    }
    out.truncate(out.trim_end().len());
    out
}

/// One line of at most `max_chars` characters: no escapes, no controls, line feeds and tabs turned
/// into blanks, nothing at the end. A cut is shown by `…`.
///
/// ```
/// assert_eq!(fallout::host::text::line(b"\x1b[31mred\x1b[0m\r\n", 80), "red");
/// assert_eq!(fallout::host::text::line(b"abcdef", 4), "abc…");
/// ```
pub fn line(untrusted: &[u8], max_chars: usize) -> String {
    bounded(&String::from_utf8_lossy(&strip(untrusted)), max_chars)
}

/// The first `max_lines` lines, each as [`line`] gives it. Empty lines at the end are left out.
pub fn head(untrusted: &[u8], max_lines: usize, max_chars: usize) -> Vec<String> {
    let clean = strip(untrusted);
    let clean = String::from_utf8_lossy(&clean);
    let mut lines: Vec<String> = clean
        .split('\n')
        .take(max_lines)
        .map(|l| bounded(l, max_chars))
        .collect();
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines
}

/// The last `max_lines` lines, each as [`line`] gives it. Empty lines at the end do not count.
pub fn tail(untrusted: &[u8], max_lines: usize, max_chars: usize) -> Vec<String> {
    let clean = strip(untrusted);
    let clean = String::from_utf8_lossy(&clean);
    let clean = clean.trim_end();
    if clean.is_empty() {
        return Vec::new();
    }
    let mut lines: Vec<String> = clean
        .rsplit('\n')
        .take(max_lines)
        .map(|l| bounded(l, max_chars))
        .collect();
    lines.reverse();
    lines
}

/// `1 case`, `2 cases`.
pub fn count(n: usize, one: &str) -> String {
    if n == 1 {
        format!("1 {one}")
    } else {
        format!("{n} {one}s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn escapes_go_text_stays() {
        assert_eq!(line(b"\x1b[3g   \x1b[Hlogin: \x08\x08", 80), "   login:");
        assert_eq!(line(b"\x1b]0;evil title\x07ok", 80), "ok");
        assert_eq!(line(b"\x1b]0;evil title\x1b\\ok", 80), "ok");
        assert_eq!(line(b"\x1b(Bok\x1bc", 80), "ok");
        assert_eq!(line("\u{202e}abc\u{009b}31m".as_bytes(), 80), "abc31m");
    }

    #[test]
    fn an_open_escape_cannot_hide_what_follows() {
        assert_eq!(line(b"\x1b]0;open\npanic: gone", 80), " panic: gone");
        let mut long = b"\x1b]".to_vec();
        long.extend([b'x'; 200]);
        long.extend(b"panic");
        assert!(line(&long, 999).ends_with("panic"));
    }

    #[test]
    fn heads_and_tails() {
        let text = b"one\r\ntwo\r\n\r\nthree\r\n\r\n";
        assert_eq!(head(text, 2, 80), ["one", "two"]);
        assert_eq!(tail(text, 3, 80), ["two", "", "three"]);
        assert_eq!(tail(b"\r\n", 3, 80), Vec::<String>::new());
    }

    proptest! {
        #[test]
        fn always_fit_and_bounded(bytes: Vec<u8>, max in 1usize..40) {
            let text = line(&bytes, max);
            prop_assert!(text.chars().count() <= max);
            prop_assert!(!text.chars().any(is_unfit));
        }

        #[test]
        fn pieces_do_not_matter(bytes: Vec<u8>, at in 0usize..64) {
            let at = at.min(bytes.len());
            let mut out = Vec::new();
            let mut stripper = Stripper::default();
            stripper.feed(&bytes[..at], &mut out);
            stripper.feed(&bytes[at..], &mut out);
            prop_assert_eq!(out, strip(&bytes));
        }
    }
}
