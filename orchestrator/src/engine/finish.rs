//! The end of a run: verdict, report, and what the next plan wants to remember.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::host::dirs::manifests;
use crate::host::series;
use crate::image::manifest;
use crate::model::{CellId, CellResult, Event, Key, PortName, Side, StageResult, Traits};
use crate::report::{self, RunReport};
use crate::verdict;

use super::run::{Dispatch, Finished};
use super::{RunError, kernels, sources};

/// A patch's file name, without the directory in which the series has it.
fn base_name(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

impl Dispatch {
    /// Verdict, report, goodbye.
    pub(super) fn finish(mut self, took: Duration) -> Result<Finished, RunError> {
        let interrupted = self.cancel.is_cancelled();
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
        let ports = self
            .setup
            .resolved
            .ports
            .iter()
            .map(|port| (port.port.clone(), port.traits.clone()))
            .collect();
        let variants = kernels::traits(&self.setup.resolved);
        let (known, costs) = self.could_run();
        let mut verdict = verdict::judge(&verdict::VerdictInput {
            ports: &ports,
            variants: &variants,
            cells: &cells,
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
            verdict::flakes::apply(&mut verdict, &cells, known, today);
        }
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
            ports,
            variants,
            cells,
            verdict,
        };
        self.bus.emit(Event::RunFinished {
            findings: report.verdict.findings.len() as u64,
            interrupted,
        });
        let kept = self.keep_report(&report);
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
        self.bus.sync()?;
        let text = report::json::write(report).map_err(|e| RunError::Host(e.to_string()))?;
        self.run.write_file("report.json", text.as_bytes())?;
        self.memory.save()
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
        let baseline = has_baseline.then(|| source(bases, Vec::new()));
        (source(patched, patches), baseline)
    }
}
