//! Lines out of chunks, and text that is safe to show.
//!
//! What comes from a guest is untrusted: lines have a greatest length, and control characters
//! (terminal escapes among them) are replaced before text leaves this stage.

use crate::host::text::Stripper;

/// The longest line that is looked at, in bytes; what a longer line has beyond it is dropped.
pub const LINE_MAX_BYTES: usize = 16 << 10;
/// The longest program or case name, in bytes.
pub const NAME_MAX_BYTES: usize = 512;
/// The longest reason or note, in bytes.
pub const REASON_MAX_BYTES: usize = 4 << 10;
/// How much of a case's output is kept, in bytes: its end.
pub const OUTPUT_MAX_BYTES: usize = 64 << 10;

/// Makes untrusted bytes fit to be shown: terminal escapes and control characters go (the tab
/// stays), invalid UTF-8 and the characters that turn the direction of text become U+FFFD. At most
/// `max_bytes` bytes of the input are used. Blanks at the end are kept: a name or an output line may
/// have them.
pub fn clean(bytes: &[u8], max_bytes: usize) -> String {
    let bytes = &bytes[..bytes.len().min(max_bytes)];
    // One pass without a branch a byte: nearly every line is plain ASCII.
    let plain = bytes.iter().fold(true, |ok, &b| {
        ok & (b == b'\t' || (0x20..0x7f).contains(&b))
    });
    if plain {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    let mut stripped = Vec::with_capacity(bytes.len());
    Stripper::default().feed(bytes, &mut stripped);
    String::from_utf8_lossy(&stripped)
        .chars()
        .map(|c| if is_harmless(c) { c } else { '\u{fffd}' })
        .collect()
}

fn is_harmless(c: char) -> bool {
    c == '\t'
        || !(c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
}

/// A plain decimal number of at most 18 digits.
pub fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 18 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0, |n, d| n * 10 + u64::from(d - b'0')))
}

/// Puts chunks together to lines. Keeps at most [`LINE_MAX_BYTES`].
#[derive(Debug, Default)]
pub struct Lines {
    partial: Vec<u8>,
    cut: bool,
}

/// A line without its end.
#[derive(Debug, Clone, Copy)]
pub struct Line<'a> {
    /// Its bytes, at most [`LINE_MAX_BYTES`].
    pub bytes: &'a [u8],
    /// True where the line was longer.
    pub cut: bool,
}

impl Lines {
    /// Calls `each` for every line that `chunk` completes. A carriage return before the line feed
    /// belongs to the line's end.
    pub fn feed(&mut self, mut chunk: &[u8], mut each: impl FnMut(Line<'_>)) {
        while let Some(end) = chunk.iter().position(|&b| b == b'\n') {
            let (head, rest) = (&chunk[..end], &chunk[end + 1..]);
            if self.partial.is_empty() && !self.cut {
                each(Line::of(head, false));
            } else {
                self.keep(head);
                let partial = std::mem::take(&mut self.partial);
                each(Line::of(&partial, self.cut));
                self.partial = partial;
                self.partial.clear();
                self.cut = false;
            }
            chunk = rest;
        }
        self.keep(chunk);
    }

    /// Hands out the last line where its end is missing.
    pub fn finish(&mut self, each: impl FnOnce(Line<'_>)) {
        if !self.partial.is_empty() {
            each(Line::of(&self.partial, self.cut));
        }
        self.partial.clear();
        self.cut = false;
    }

    /// What there is of the line that has no end yet.
    pub fn partial(&self) -> &[u8] {
        &self.partial
    }

    fn keep(&mut self, bytes: &[u8]) {
        // One byte more than a line may have: a carriage return may still turn out to be its end.
        let room = (LINE_MAX_BYTES + 1).saturating_sub(self.partial.len());
        let kept = bytes.len().min(room);
        self.partial.extend_from_slice(&bytes[..kept]);
        self.cut |= kept < bytes.len();
    }
}

impl<'a> Line<'a> {
    fn of(bytes: &'a [u8], cut: bool) -> Self {
        let bytes = match bytes {
            [head @ .., b'\r'] if !cut => head,
            all => all,
        };
        let max = LINE_MAX_BYTES.min(bytes.len());
        Self {
            bytes: &bytes[..max],
            cut: cut || bytes.len() > max,
        }
    }
}

/// The end of a case's output.
#[derive(Debug, Default)]
pub struct Tail {
    text: String,
    dropped: bool,
}

impl Tail {
    /// Adds a line.
    pub fn push(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
        // Room for twice as much makes the moving cheap.
        if self.text.len() > 2 * OUTPUT_MAX_BYTES {
            self.shrink();
        }
    }

    /// At most [`OUTPUT_MAX_BYTES`], whole lines where possible; none where there was no output.
    pub fn into_text(mut self) -> Option<String> {
        self.shrink();
        if self.dropped {
            self.text.insert_str(0, "[earlier output dropped]\n");
        }
        (!self.text.is_empty()).then_some(self.text)
    }

    fn shrink(&mut self) {
        let Some(mut from) = self.text.len().checked_sub(OUTPUT_MAX_BYTES) else {
            return;
        };
        if from == 0 {
            return;
        }
        while !self.text.is_char_boundary(from) {
            from += 1;
        }
        if let Some(line_end) = self.text[from..].find('\n')
            && from + line_end + 1 < self.text.len()
        {
            from += line_end + 1;
        }
        self.text.drain(..from);
        self.dropped = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_moves_a_cursor_is_left() {
        assert_eq!(clean(b"a\x1b[31mb\x07\tc\xff", 100), "ab\tc\u{fffd}");
        assert_eq!(
            clean("x\u{202e}y\u{9b}z".as_bytes(), 100),
            "x\u{fffd}y\u{fffd}z"
        );
        assert_eq!(clean("grün".as_bytes(), 100), "grün");
        assert_eq!(clean(b"12345", 3), "123");
    }

    #[test]
    fn a_long_line_is_cut_and_the_next_one_is_whole() {
        let mut lines = Lines::default();
        let mut seen = Vec::new();
        let mut long = vec![b'x'; LINE_MAX_BYTES + 5];
        long.extend_from_slice(b"\r\nnext\r\n");
        for chunk in long.chunks(1000) {
            lines.feed(chunk, |l| seen.push((l.bytes.len(), l.cut)));
        }
        assert_eq!(seen, [(LINE_MAX_BYTES, true), (4, false)]);
    }

    #[test]
    fn the_end_of_the_output_is_what_is_kept() {
        let mut tail = Tail::default();
        for i in 0..100_000 {
            tail.push(&format!("line {i}"));
        }
        let text = tail.into_text().unwrap();
        assert!(text.len() <= OUTPUT_MAX_BYTES + 64);
        assert!(text.starts_with("[earlier output dropped]\nline "));
        assert!(text.ends_with("line 99999\n"));
        assert_eq!(Tail::default().into_text(), None);
    }
}
