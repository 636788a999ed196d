//! When a console's bytes came: a line `MILLISECONDS BYTES` beside the recording now and then, so
//! that it can be played and a line has a time. By the host's steady clock, from the emulator's start.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// What comes within this is one mark: finer than anybody watches.
const GRAIN: Duration = Duration::from_millis(100);

/// Marks of one recording at most: a guest that prints without an end must not fill the disk by them.
const MOST: u32 = 100_000;

/// The file of marks.
pub struct Marks {
    file: Option<File>,
    began: Instant,
    /// When the oldest bytes came that have no mark yet, and how many there are with them.
    open: Option<(Duration, u64)>,
    left: u32,
}

impl Marks {
    /// Beside a recording. Without the file nothing is lost but the times.
    pub fn beside(console: &Path) -> Self {
        Self {
            file: File::create(console.with_extension("times")).ok(),
            began: Instant::now(),
            open: None,
            left: MOST,
        }
    }

    /// So many bytes are written now.
    pub fn written(&mut self, bytes: u64) {
        self.at(self.began.elapsed(), bytes);
    }

    fn at(&mut self, now: Duration, bytes: u64) {
        match &mut self.open {
            Some((since, all)) if now.saturating_sub(*since) < GRAIN => *all = bytes,
            _ => {
                self.put();
                self.open = Some((now, bytes));
            }
        }
    }

    /// Nothing more comes.
    pub fn finish(&mut self) {
        self.put();
        self.file = None;
    }

    fn put(&mut self) {
        let Some((at, bytes)) = self.open.take() else {
            return;
        };
        if let Some(file) = &mut self.file {
            let line = format!("{} {bytes}\n", at.as_millis());
            if self.left == 0 || file.write_all(line.as_bytes()).is_err() {
                self.file = None;
            }
            self.left = self.left.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_together_is_one_mark() {
        let dir = tempfile::tempdir().unwrap();
        let console = dir.path().join("guest-1.console");
        let mut marks = Marks::beside(&console);
        for (ms, bytes) in [(5, 10), (40, 20), (104, 25), (105, 30), (900, 31)] {
            marks.at(Duration::from_millis(ms), bytes);
        }
        marks.finish();
        let text = std::fs::read_to_string(dir.path().join("guest-1.times")).unwrap();
        assert_eq!(text, "5 25\n105 30\n900 31\n");
    }

    #[test]
    fn a_flood_of_marks_ends() {
        let dir = tempfile::tempdir().unwrap();
        let mut marks = Marks::beside(&dir.path().join("c.console"));
        marks.left = 3;
        for i in 0..9 {
            marks.at(Duration::from_secs(i), i);
        }
        marks.finish();
        let text = std::fs::read_to_string(dir.path().join("c.times")).unwrap();
        assert_eq!(text.lines().count(), 3);
    }
}
