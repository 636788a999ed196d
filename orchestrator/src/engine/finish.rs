//! The end of a run: verdict, report, and what the next plan wants to remember.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::host::dirs::manifests;
use crate::host::series;
use crate::image::manifest;
use crate::model::{
    CellId, CellResult, Event, Key, PortName, Side, Spent, StageResult, Traits, Verdict,
};
use crate::report::{self, RunReport};
use crate::store::runs::{ComparedWith, RunDir};
use crate::verdict;

use super::run::{Dispatch, Finished};
use super::{RunError, kernels, sources};

/// A patch's file name, without the directory in which the series has it.
fn base_name(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// What a run came to that has ended and was not interrupted: a process can be killed after that and
/// before it could tell anybody. None where anything is left to be done.
pub fn ended(run: &RunDir) -> Option<Finished> {
    let events = run.events().ok()?;
    let Event::RunFinished {
        interrupted: false, ..
    } = events.last()?.what
    else {
        return None;
    };
    let report = report::json::of_run(&run.path).ok()??;
    let host_trouble = report.cells.iter().any(|c| c.stage.is_host_fault());
    Some(Finished {
        report,
        host_trouble,
    })
}

impl Dispatch {
    /// Every cell of the run, in the plan's order, whatever came of it.
    pub(super) fn take_cells(&mut self) -> Vec<CellResult> {
        let ids: Vec<CellId> = self.plan.cells().cloned().collect();
        let mut cells = Vec::with_capacity(ids.len());
        for id in ids {
            let earlier = self.earlier.remove(&id).unwrap_or_default();
            cells.push(self.results.remove(&id).unwrap_or_else(|| CellResult {
                key: Key(String::new()),
                stage: StageResult::Interrupted,
                detail: Some("the run ended before this cell began".to_owned()),
                attempts: earlier.attempts,
                guests: earlier.guests,
                versions: BTreeMap::new(),
                cached: false,
                id,
            }));
        }
        cells
    }

    /// The traits of the run's ports.
    pub(super) fn traits(&self) -> BTreeMap<PortName, Traits> {
        let ports = self.setup.resolved.ports.iter();
        ports
            .map(|port| (port.port.clone(), port.traits.clone()))
            .collect()
    }

    /// What is said of cells, the registry of known flakes taken in.
    pub(super) fn judge(&self, cells: &[CellResult]) -> Verdict {
        let ports = self.traits();
        let variants = kernels::traits(&self.setup.resolved);
        let (known, costs) = self.could_run();
        let mut verdict = verdict::judge(&verdict::VerdictInput {
            ports: &ports,
            variants: &variants,
            cells,
            known: verdict::Known {
                ports: Some(&known),
                variants: Some(&variants),
                costs: Some(&costs),
            },
        });
        if let Some(known) = &self.setup.resolved.known {
            let today = jiff::tz::Offset::UTC
                .to_datetime(self.record.started)
                .date();
            verdict::known::apply(&mut verdict, cells, known, today);
        }
        verdict
    }

    /// Verdict, report, goodbye.
    pub(super) async fn finish(
        self,
        cells: Vec<CellResult>,
        spent: Option<(Spent, Verdict)>,
        took: Duration,
    ) -> Result<Finished, RunError> {
        let interrupted = self.cancel.is_cancelled();
        let (spent, mut verdict) = match spent {
            Some((spent, verdict)) => (Some(spent), verdict),
            None => (None, self.judge(&cells)),
        };
        super::past::add(&self, &mut verdict).await;
        verdict::before::name(&mut verdict, &self.baseline_names);
        let host_trouble =
            cells.iter().any(|c| c.stage.is_host_fault()) || self.bus.failure().is_some();
        let (candidate, baseline) = self.names();
        let report = RunReport {
            format: report::FORMAT,
            run: self.record.id.clone(),
            matrix: self.record.matrix.clone(),
            candidate,
            baseline,
            started: self.record.started,
            took,
            interrupted,
            ports: self.traits(),
            variants: kernels::traits(&self.setup.resolved),
            cells,
            verdict,
            spent,
        };
        // The end is in the log once the report is there: who reads that a run has ended can read of it.
        let kept = self.keep_report(&report);
        if kept.is_ok() {
            self.bus.emit(Event::RunFinished {
                findings: report.verdict.findings.len() as u64,
                interrupted,
            });
        }
        let synced = self.bus.sync();
        self.bus.close();
        // A log that could not be written is the cause; what else failed then is its company.
        if let Some(why) = self.bus.failure() {
            return Err(RunError::Host(format!(
                "the run's log could not be written: {why}; what was written before is kept in {}, \
                 and 'fallout resume' goes on from there",
                self.run.path.display()
            )));
        }
        kept?;
        synced?;
        Ok(Finished {
            report,
            host_trouble,
        })
    }

    /// Every port that has a manifest, in the run or not, and what its dearest cell took.
    fn could_run(&self) -> (BTreeMap<PortName, Traits>, BTreeMap<PortName, Duration>) {
        let files = manifests(&self.setup.images).unwrap_or_default();
        // A wrong manifest of a port that is not in the run is no matter of this run.
        let ports = files.iter().filter_map(|file| manifest::read(file).ok());
        let known = ports.map(|port| (port.port, port.traits)).collect();
        let mut costs: BTreeMap<PortName, Duration> = BTreeMap::new();
        for id in self.plan.cells() {
            if let Some(took) = self.memory.durations.get(&format!("cell {id}")) {
                let cost = costs.entry(id.port.clone()).or_default();
                *cost = (*cost).max(took);
            }
        }
        (known, costs)
    }

    fn keep_report(&self, report: &RunReport) -> Result<(), RunError> {
        let text = report::json::write(report).map_err(|e| RunError::Host(e.to_string()))?;
        self.run.write_file("report.json", text.as_bytes())?;
        self.memory.save()
    }

    /// What is the baseline, where that is another commit or what other runs tested.
    fn other_revisions(&self) -> String {
        let mut ids: Vec<String> = Vec::new();
        for (suite, with) in &self.record.baselines {
            let revision = match with {
                ComparedWith::Commit { revision, .. } => Some(revision.clone()),
                ComparedWith::Run { run, .. } => {
                    let dir = RunDir {
                        path: self.setup.dirs.runs().join(&run.0).into(),
                    };
                    let record = dir.record().ok();
                    record.and_then(|r| r.revisions.get(suite).cloned())
                }
                ComparedWith::Nothing | ComparedWith::Unpatched => None,
            };
            let parts = revision.iter().flat_map(|r| r.split('+'));
            let short: Vec<&str> = parts.map(|p| p.get(..12).unwrap_or(p)).collect();
            let short = short.join("+");
            if !short.is_empty() && !ids.contains(&short) {
                ids.push(short);
            }
        }
        ids.join(" ")
    }

    /// How a reader wants the two sides named.
    fn names(&self) -> (report::Source, Option<report::Source>) {
        let mut names = Vec::new();
        let (mut bases, mut patched) = (Vec::new(), Vec::new());
        let mut patches = Vec::new();
        let mut has_baseline = false;
        for suite in &self.setup.resolved.suites {
            has_baseline |= suite.sides().contains(&Side::Baseline);
            for project in std::iter::once(&suite.project).chain(&suite.kernel) {
                if !names.contains(&project.name) {
                    names.push(project.name.clone());
                }
                let tree = sources::known_hash(&project.source, &self.setup.dirs.cache);
                let Ok(Some(tree)) = tree else { continue };
                bases.push(tree.short().to_owned());
                let series = project.patches.as_deref();
                let Some(hash) = series.and_then(|s| series::hash(s).ok()) else {
                    patched.push(tree.short().to_owned());
                    continue;
                };
                patched.push(format!("{}+{}", tree.short(), hash.short()));
                let list = series.and_then(|s| series::read(s).ok());
                let named = list.into_iter().flatten();
                patches.extend(named.map(|p| base_name(&p.name).to_owned()));
            }
        }
        let source = |ids: Vec<String>, patches| report::Source {
            name: names.join(", "),
            id: ids.join(" "),
            patches,
        };
        let mut others: Vec<&str> = self
            .baseline_names
            .values()
            .map(|n| n.name.as_str())
            .collect();
        others.dedup();
        let baseline = match (others.is_empty(), has_baseline) {
            (true, false) => None,
            (true, true) => Some(source(bases, Vec::new())),
            (false, _) => Some(report::Source {
                name: others.join(", "),
                id: self.other_revisions(),
                patches: Vec::new(),
            }),
        };
        (source(patched, patches), baseline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;
    use crate::store::events::EventLog;

    #[test]
    fn a_run_has_ended_where_its_log_ends_so_and_its_report_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir {
            path: dir.path().to_owned(),
        };
        assert!(ended(&run).is_none());
        let mut log = EventLog::open(&run.events_path()).unwrap();
        let end = |interrupted| Event::RunFinished {
            findings: 9,
            interrupted,
        };
        log.append(end(false)).unwrap();
        assert!(ended(&run).is_none(), "a report that is not there");
        let report = sample::run();
        let text = report::json::write(&report).unwrap();
        run.write_file("report.json", text.as_bytes()).unwrap();
        assert_eq!(ended(&run).unwrap().report, report);
        log.append(Event::JobStarted {
            job: "image amd64".into(),
        })
        .unwrap();
        assert!(ended(&run).is_none(), "it was gone on with");
        log.append(end(true)).unwrap();
        assert!(ended(&run).is_none(), "it was interrupted");
        log.append(end(false)).unwrap();
        assert!(ended(&run).is_some());
    }
}
