//! A guest's recorded console, as lines that can be shown: cleaned, bounded, numbered from 1.

use std::path::{Path, PathBuf};

use crate::host::text;
use crate::model::CellId;
use crate::report::asciicast::{self, Mark};
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

/// The lines of a recording.
pub async fn lines(
    app: &App,
    run: &str,
    cell: &CellId,
    guest: u32,
) -> Result<Vec<String>, Problem> {
    let recording = recording(app, run, cell, guest).await?;
    let lines = tokio::task::spawn_blocking(move || text::head(&recording.bytes, LINES, CHARS));
    Ok(lines.await.unwrap_or_default())
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
