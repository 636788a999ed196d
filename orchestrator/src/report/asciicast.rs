//! A recorded console in asciicast v2, which standard players show.
//!
//! The text is cleaned as everywhere: what a player writes goes to somebody's terminal. Times come
//! from the marks that the recorder left beside the console; where there are none, all is shown at
//! once.

use serde_json::json;

use crate::host::text;

/// Bytes of one event at most: players draw event by event.
const PIECE: usize = 64 << 10;
const CHARS: usize = 2000;

/// A mark of the recorder: so many milliseconds after the emulator's start, so many bytes had been
/// written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Milliseconds.
    pub at_ms: u64,
    /// Bytes of the recording.
    pub bytes: u64,
}

/// Reads marks, one a line: `MILLISECONDS BYTES`. Stops at what is none: a torn last line.
pub fn marks(text: &str) -> Vec<Mark> {
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let mark = |line: &str| {
        let (at, bytes) = line.split_once(' ')?;
        Some(Mark {
            at_ms: at.parse().ok()?,
            bytes: bytes.parse().ok()?,
        })
    };
    let mut marks: Vec<Mark> = Vec::new();
    for mark in whole.lines().map_while(mark) {
        // Time and bytes only grow.
        if marks
            .last()
            .is_none_or(|m| mark.at_ms >= m.at_ms && mark.bytes >= m.bytes)
        {
            marks.push(mark);
        }
    }
    marks
}

/// For each line of a recording that ends before byte `end`, when it was whole.
#[derive(Debug)]
pub struct Times<'a> {
    marks: &'a [Mark],
}

impl<'a> Times<'a> {
    /// By these marks.
    pub fn new(marks: &'a [Mark]) -> Self {
        Self { marks }
    }

    /// When byte `end` had been written, in milliseconds; none where no mark tells.
    pub fn at(&self, end: u64) -> Option<u64> {
        let ix = self.marks.partition_point(|m| m.bytes < end);
        let mark = self.marks.get(ix).or(self.marks.last())?;
        Some(mark.at_ms)
    }
}

/// Writes a recording.
pub fn write(
    console: &[u8],
    marks: &[Mark],
    title: &str,
    started: Option<jiff::Timestamp>,
) -> String {
    let mut head = json!({
        "version": 2, "width": 80, "height": 24,
        "title": text::line(title.as_bytes(), 200),
    });
    if let Some(at) = started {
        head["timestamp"] = at.as_second().into();
    }
    let mut out = format!("{head}\n");
    let times = Times::new(marks);
    let (mut at, mut said, mut piece) = (0, 0, String::new());
    for line in console.split_inclusive(|&b| b == b'\n') {
        at += line.len() as u64;
        let now = times.at(at).unwrap_or(0);
        if now != said || piece.len() > PIECE {
            put(&mut out, said, &mut piece);
            said = now;
        }
        piece.push_str(&text::line(line, CHARS));
        if line.ends_with(b"\n") {
            piece.push_str("\r\n");
        }
    }
    put(&mut out, said, &mut piece);
    out
}

fn put(out: &mut String, at_ms: u64, piece: &mut String) {
    if !piece.is_empty() {
        let seconds = at_ms as f64 / 1000.0;
        out.push_str(&json!([seconds, "o", piece]).to_string());
        out.push('\n');
        piece.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_come_when_their_last_byte_came() {
        let marks = marks("100 6\n350 14\n900 1");
        assert_eq!(marks.len(), 2);
        let cast = write(b"boot\r\n\x1b[2Jlog\nin: ", &marks, "a\nb", None);
        insta::assert_snapshot!(cast, @r###"
        {"height":24,"title":"a b","version":2,"width":80}
        [0.1,"o","boot\r\n"]
        [0.35,"o","log\r\nin:"]
        "###);
    }

    #[test]
    fn without_marks_all_is_there_at_once() {
        let cast = write(b"a\nb\n", &[], "t", Some(jiff::Timestamp::UNIX_EPOCH));
        assert!(cast.ends_with("[0.0,\"o\",\"a\\r\\nb\\r\\n\"]\n"), "{cast}");
        assert!(cast.contains("\"timestamp\":0"));
    }

    proptest! {
        #[test]
        fn every_line_is_json_and_time_never_turns(console: Vec<u8>, text in "([0-9]{0,3} ?[0-9]{0,3}\n){0,20}") {
            let cast = write(&console, &marks(&text), "t", None);
            let mut last = 0.0;
            for line in cast.lines().skip(1) {
                let (at, kind, data): (f64, String, String) = serde_json::from_str(line).unwrap();
                prop_assert!(at >= last && kind == "o");
                prop_assert!(!data.contains(char::from(27)));
                last = at;
            }
        }
    }
}
