//! Repeats a failure under other emulations of its port.

use serde::Serialize;

use crate::host::files::find_program;
use crate::host::text;
use crate::model::{CaseId, CellId, Port};
use crate::verdict::chance::Count;

use super::RunError;
use super::bisect::{Tried, Wanted, judge};
use super::bus::Bus;
use super::facts::Setup;
use super::trial::{self, Ask};

/// What one emulation showed.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// What it is called.
    pub name: String,
    /// Failures as looked for.
    pub bad: u32,
    /// Attempts that say anything.
    pub total: u32,
    /// The last thing that kept an attempt from saying anything. Untrusted text, bounded.
    pub trouble: Option<String>,
}

impl Row {
    /// Its count.
    pub fn count(&self) -> Count {
        Count {
            bad: self.bad,
            total: self.total,
        }
    }
}

/// Tries a failure `times` times under the usual emulation and each alternative; the usual one is
/// the first row. An emulation that does not work says nothing.
pub async fn ask(
    setup: &Setup,
    id: &CellId,
    wanted: &Wanted,
    times: u32,
    bus: &Bus,
    tell: &mut (dyn FnMut(&Row) + Send),
) -> Result<Vec<Row>, RunError> {
    let stage = trial::prepare(setup, id, bus).await?;
    let Wanted::Case {
        case, after_all, ..
    } = wanted
    else {
        return Err(RunError::Input("a build has no emulator".to_owned()));
    };
    let scratch = tempfile::tempdir().map_err(|e| RunError::Host(e.to_string()))?;
    let console = scratch.path().join("console");
    let mut order: Vec<CaseId> = Vec::new();
    let mut rows = Vec::new();
    for (name, port) in emulations(&stage.port) {
        let mut row = Row {
            name,
            bad: 0,
            total: 0,
            trouble: None,
        };
        if find_program(&port.emulator.program).is_none() {
            row.trouble = Some(format!("{} is not installed", port.emulator.program));
            tell(&row);
            rows.push(row);
            continue;
        }
        let mut stage = stage.clone();
        stage.port = port;
        for _ in 0..times {
            let ask = match after_all {
                true => Ask::UpTo(case),
                false => Ask::These(std::slice::from_ref(case)),
            };
            match stage.run(ask, &mut order, &console).await {
                Err(error) => {
                    row.trouble = Some(text::line(error.to_string().as_bytes(), 200));
                    // What does not start will not start the next time either.
                    break;
                }
                Ok(seen) => match judge(wanted, &seen) {
                    Tried::Bad => (row.bad, row.total) = (row.bad + 1, row.total + 1),
                    Tried::Good => row.total += 1,
                    Tried::Other { why } => row.trouble = Some(why),
                },
            }
        }
        tell(&row);
        rows.push(row);
    }
    Ok(rows)
}

/// The usual emulation, with instructions counted, and the manifest's alternatives.
fn emulations(port: &Port) -> Vec<(String, Port)> {
    let mut all = vec![("as usual".to_owned(), port.clone())];
    all.extend(port.counted().map(|p| ("with icount".to_owned(), p)));
    let others = port.alternatives.iter();
    all.extend(others.map(|a| (a.name.clone(), port.emulated_by(a))));
    all
}
