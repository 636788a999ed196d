//! A guest's recorded console, as lines that can be shown: cleaned, bounded, numbered from 1.

use std::path::{Path, PathBuf};

use crate::host::text;
use crate::model::CellId;
use crate::report::asciicast::{self, Mark, Times};
use crate::store::StoreError;
use crate::store::runs::RunDir;

use super::App;
use super::problem::Problem;

/// Bytes of a recording that are read at most: more than the recorder writes.
const BYTES: u64 = 64 << 20;

/// Lines that are shown at most, and characters of one.
const LINES: usize = 500_000;
const CHARS: usize = 2000;

/// The recording's file: the name is fallout's own, whatever the cell's result says.
fn path(app: &App, run: &str, cell: &CellId, guest: u32) -> PathBuf {
    let dir = RunDir {
        path: app.runs.join(run),
    };
    dir.cell_dir(cell).join(format!("guest-{guest}.console"))
}

/// A recording as it is on the disk.
pub struct Recording {
    /// What the guest wrote.
    pub bytes: Vec<u8>,
    /// When.
    pub marks: Vec<Mark>,
}

/// The recording. Not there where the cell came from another run's result without its recordings.
pub async fn recording(
    app: &App,
    run: &str,
    cell: &CellId,
    guest: u32,
) -> Result<Recording, Problem> {
    let path = path(app, run, cell, guest);
    let what = format!("recorded console of guest {guest} of {cell} in run {run}");
    let read = tokio::task::spawn_blocking(move || {
        let Some(bytes) = bounded(&path)? else {
            return Ok(None);
        };
        let times = bounded(&path.with_extension("times"))?.unwrap_or_default();
        let marks = asciicast::marks(&String::from_utf8_lossy(&times));
        Ok::<_, StoreError>(Some(Recording { bytes, marks }))
    });
    match read.await {
        Ok(read) => read?.ok_or_else(|| Problem::absent(what)),
        Err(_) => Err(Problem::absent(what)),
    }
}

fn bounded(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(StoreError::io("read", path, e)),
    };
    file.take(BYTES)
        .read_to_end(&mut bytes)
        .map_err(|e| StoreError::io("read", path, e))?;
    Ok(Some(bytes))
}

/// A line that can be shown.
pub struct Line {
    /// Its text.
    pub text: String,
    /// When it was whole, in milliseconds after the emulator's start, where that was recorded.
    pub at_ms: Option<u64>,
}

/// The lines of a recording.
pub async fn lines(app: &App, run: &str, cell: &CellId, guest: u32) -> Result<Vec<Line>, Problem> {
    let recording = recording(app, run, cell, guest).await?;
    let lines = tokio::task::spawn_blocking(move || timed(&recording));
    Ok(lines.await.unwrap_or_default())
}

fn timed(recording: &Recording) -> Vec<Line> {
    let times = Times::new(&recording.marks);
    // Cleaning takes no line feed out, so the lines are those of the recording.
    let mut ends = recording
        .bytes
        .iter()
        .zip(1_u64..)
        .filter(|(b, _)| **b == b'\n')
        .map(|(_, end)| end);
    let lines = text::head(&recording.bytes, LINES, CHARS).into_iter();
    let timed = lines.map(|text| {
        let end = ends.next().unwrap_or(recording.bytes.len() as u64);
        Line {
            text,
            at_ms: times.at(end),
        }
    });
    timed.collect()
}

/// Guests of a cell whose consoles were recorded, by number.
pub async fn recorded(app: &App, run: &str, cell: &CellId) -> Vec<u32> {
    let dir = RunDir {
        path: app.runs.join(run),
    };
    let dir = dir.cell_dir(cell);
    let listed = tokio::task::spawn_blocking(move || {
        let mut guests: Vec<u32> = std::fs::read_dir(dir)
            .into_iter()
            .flatten()
            .filter_map(|e| {
                let name = e.ok()?.file_name().into_string().ok()?;
                name.strip_prefix("guest-")?
                    .strip_suffix(".console")?
                    .parse()
                    .ok()
            })
            .collect();
        guests.sort_unstable();
        guests
    });
    listed.await.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_time_of_its_end() {
        let recording = Recording {
            bytes: b"a\r\n\x1b[1m\nb\nlogin:".to_vec(),
            marks: asciicast::marks("10 5\n2500 10\n9000 16\n"),
        };
        let lines = timed(&recording);
        let told: Vec<(&str, u64)> = lines
            .iter()
            .map(|l| (l.text.as_str(), l.at_ms.unwrap()))
            .collect();
        assert_eq!(told, [("a", 10), ("", 2500), ("b", 2500), ("login:", 9000)]);
    }
}
