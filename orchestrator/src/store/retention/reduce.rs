//! A run without its attempts: record, findings, the stages of its cells, its crashes.
//!
//! The log is rewritten with the events that tell these, at their old times, so that the index made
//! from it has them. Each file is replaced whole, and doing all of it again changes nothing: whoever
//! dies in between leaves a run that the next sweep finishes.

use serde_json::Value;

use crate::model::{Event, Stamped};
use crate::store::runs::RunDir;
use crate::store::{StoreError, write_atomically};

/// Reduces a run that is over.
pub fn reduce(run: &RunDir) -> Result<(), StoreError> {
    let path = run.path.join("report.json");
    let text = std::fs::read(&path).map_err(|e| StoreError::io("read", &path, e))?;
    let form = |e: serde_json::Error| StoreError::Form {
        path: path.clone(),
        cause: e.to_string(),
    };
    let mut report: Value = serde_json::from_slice(&text).map_err(form)?;
    if let Some(cells) = report
        .pointer_mut("/report/cells")
        .and_then(Value::as_array_mut)
    {
        for cell in cells {
            cell["attempts"] = Value::Array(Vec::new());
        }
    }
    write_atomically(&path, report.to_string().as_bytes())?;

    let mut log = Vec::new();
    let events = run.events()?.into_iter().filter(|e| stays(&e.what));
    for (seq, event) in events.enumerate() {
        let event = Stamped {
            seq: seq as u64,
            ..event
        };
        serde_json::to_writer(&mut log, &event).map_err(form)?;
        log.push(b'\n');
    }
    write_atomically(&run.events_path(), &log)?;

    let page = run.path.join("report.html");
    match std::fs::remove_file(&page) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            return Err(StoreError::io("remove", &page, e));
        }
        _ => {}
    }
    // Last: without it the run is reduced.
    let cells = run.path.join("cells");
    std::fs::remove_dir_all(&cells).map_err(|e| StoreError::io("remove", &cells, e))
}

fn stays(event: &Event) -> bool {
    matches!(
        event,
        Event::RunStarted { .. }
            | Event::GuestCrashed { .. }
            | Event::CellFinished { .. }
            | Event::RunFinished { .. }
    )
}
