//! What changed from one run to another: cases by state, and findings that came and went.
//!
//! Compared is the revision under test of both runs, whatever their baselines were. The
//! comparison is total: a case that is in one run only changes from or to `absent`. Columns that
//! only one run has are named, and their cases are not compared.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::grid::{Grid, State, grids};
use super::terminal::Style;
use super::{FORMAT, RunReport};
use crate::host::text::line as clean;
use crate::model::{CaseId, Finding, PortName, RunId};

/// Groups of changes that the terminal shows.
const SHOWN: usize = 200;

/// One case in one column that is not what it was.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Change {
    /// The suite.
    pub suite: String,
    /// The case.
    pub case: CaseId,
    /// The column: a port, or a port and a variant.
    pub port: PortName,
    /// In the first run.
    pub from: State,
    /// In the second run.
    pub to: State,
}

/// Which way a change goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// From anything else to bad.
    Worse,
    /// From bad to good.
    Better,
    /// Neither.
    Other,
}

impl Change {
    /// Worse, better or neither.
    pub fn way(&self) -> Way {
        match (self.from.is_bad(), self.to.is_bad()) {
            (false, true) => Way::Worse,
            (true, false) if self.to.is_good() => Way::Better,
            _ => Way::Other,
        }
    }
}

/// The difference of two runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunDiff {
    /// The version of this form.
    pub format: u32,
    /// The first run.
    pub from: RunId,
    /// The second run.
    pub to: RunId,
    /// Cases that changed.
    pub changes: Vec<Change>,
    /// Sentences that only the second run's verdict has.
    pub came: Vec<String>,
    /// Sentences that only the first run's verdict has.
    pub gone: Vec<String>,
    /// Findings of both.
    pub stayed: usize,
    /// `suite/port` that only the first run has.
    pub only_from: Vec<String>,
    /// `suite/port` that only the second run has.
    pub only_to: Vec<String>,
}

/// Compares two runs.
pub fn diff(a: &RunReport, b: &RunReport) -> RunDiff {
    let (grids_a, grids_b) = (grids(a), grids(b));
    let (columns_a, columns_b) = (columns(&grids_a), columns(&grids_b));
    let mut changes = Vec::new();
    for grid_a in &grids_a {
        if let Some(grid_b) = grids_b.iter().find(|g| g.suite == grid_a.suite) {
            compare(grid_a, grid_b, &mut changes);
        }
    }
    changes.sort();
    let (told_a, told_b) = (told(a), told(b));
    RunDiff {
        format: FORMAT,
        from: a.run.clone(),
        to: b.run.clone(),
        changes,
        came: only(&told_b, &told_a),
        gone: only(&told_a, &told_b),
        stayed: told_a.keys().filter(|k| told_b.contains_key(k)).count(),
        only_from: columns_a.difference(&columns_b).cloned().collect(),
        only_to: columns_b.difference(&columns_a).cloned().collect(),
    }
}

fn columns(grids: &[Grid<'_>]) -> BTreeSet<String> {
    let names = |g: &Grid<'_>| {
        let ran = (0..g.columns.len()).filter(|i| g.candidates(*i).next().is_some());
        ran.map(|i| format!("{}/{}", g.suite, g.columns[i]))
            .collect::<Vec<_>>()
    };
    grids.iter().flat_map(names).collect()
}

/// What makes two findings the same, whatever their numbers: kind, suite, case, title.
type Sameness<'a> = (
    crate::model::FindingKind,
    &'a str,
    Option<&'a CaseId>,
    &'a str,
);

fn told(report: &RunReport) -> BTreeMap<Sameness<'_>, &Finding> {
    report
        .verdict
        .findings
        .iter()
        .map(|f| (sameness(f), f))
        .collect()
}

fn sameness(f: &Finding) -> Sameness<'_> {
    // Findings about no case are told apart by their first reason.
    let mut tallies = f.failing.iter().chain(&f.silent);
    let title = match (&f.crash, &f.case) {
        (Some(crash), _) => crash.title.as_str(),
        (None, Some(_)) => "",
        (None, None) => tallies.find_map(|t| t.reason.as_deref()).unwrap_or(""),
    };
    (f.kind, f.suite.as_str(), f.case.as_ref(), title)
}

/// The sentences of findings that are here and not there.
fn only(
    here: &BTreeMap<Sameness<'_>, &Finding>,
    there: &BTreeMap<Sameness<'_>, &Finding>,
) -> Vec<String> {
    let only = here.iter().filter(|(k, _)| !there.contains_key(*k));
    only.map(|(_, f)| f.sentence.clone()).collect()
}

fn compare(a: &Grid<'_>, b: &Grid<'_>, changes: &mut Vec<Change>) {
    let both: Vec<(usize, usize)> = (0..a.columns.len())
        .filter_map(|i| Some((i, b.column(&a.columns[i])?)))
        .filter(|(i, j)| a.candidates(*i).next().is_some() && b.candidates(*j).next().is_some())
        .collect();
    let rows_a: BTreeMap<&CaseId, _> = a.rows.iter().map(|(c, p)| (*c, p)).collect();
    let rows_b: BTreeMap<&CaseId, _> = b.rows.iter().map(|(c, p)| (*c, p)).collect();
    let cases: BTreeSet<&CaseId> = rows_a.keys().chain(rows_b.keys()).copied().collect();
    for case in cases {
        for (i, j) in &both {
            let from = rows_a
                .get(case)
                .map_or(State::Absent, |p| p[*i].candidate.state());
            let to = rows_b
                .get(case)
                .map_or(State::Absent, |p| p[*j].candidate.state());
            if from != to {
                changes.push(Change {
                    suite: a.suite.to_owned(),
                    case: case.clone(),
                    port: a.columns[*i].clone(),
                    from,
                    to,
                });
            }
        }
    }
}

/// Draws a difference: what got worse first, one line for each case and kind of change.
pub fn render(diff: &RunDiff, style: &Style) -> String {
    let mut out = format!(
        "{} -> {}\n",
        clean(diff.from.0.as_bytes(), 40),
        clean(diff.to.0.as_bytes(), 40)
    );
    let mut groups: BTreeMap<(Way, &str, &CaseId, State, State), Vec<&str>> = BTreeMap::new();
    for change in &diff.changes {
        let key = (
            change.way(),
            change.suite.as_str(),
            &change.case,
            change.from,
            change.to,
        );
        groups.entry(key).or_default().push(change.port.as_str());
    }
    let mut last = None;
    for ((way, suite, case, from, to), ports) in groups.iter().take(SHOWN) {
        if last != Some(*way) {
            let title = match way {
                Way::Worse => "Worse",
                Way::Better => "Better",
                Way::Other => "Otherwise changed",
            };
            out.push_str(&format!("\n{title}\n"));
            last = Some(*way);
        }
        let text = format!(
            "{suite} {case}: {} -> {} on {}",
            from.word(),
            to.word(),
            ports.join(", ")
        );
        out.push_str(&style.item(&text));
    }
    if groups.len() > SHOWN {
        out.push_str(&format!("  - and {} more\n", groups.len() - SHOWN));
    }
    if groups.is_empty() {
        out.push_str("\nNo case changed.\n");
    }
    let parts = [
        ("Findings that came", &diff.came),
        ("Findings that went", &diff.gone),
        ("Only in the first run", &diff.only_from),
        ("Only in the second run", &diff.only_to),
    ];
    for (title, items) in parts {
        if !items.is_empty() {
            out.push_str(&format!("\n{title}\n"));
            items
                .iter()
                .take(SHOWN)
                .for_each(|i| out.push_str(&style.item(i)));
        }
    }
    if diff.stayed > 0 {
        out.push_str(&format!("\nFindings of both: {}\n", diff.stayed));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Outcome;
    use crate::report::sample;

    const PLAIN: Style = Style {
        colour: false,
        unicode: true,
        width: 80,
    };

    /// A later series: one fault mended, one new, one case gone, one port not run.
    fn later() -> RunReport {
        let mut cells = sample::cells(0);
        cells.retain(|c| c.id.port.as_str() != "armhf" || c.id.suite != "atf");
        for cell in &mut cells {
            cell.attempts.retain(|a| a.case.case != "upper");
            for attempt in &mut cell.attempts {
                match attempt.case.case.as_str() {
                    "be32" => attempt.outcome = Outcome::Passed,
                    "fifo" if cell.id.port.as_str() == "arm64" => attempt.outcome = Outcome::Failed,
                    _ => {}
                }
            }
        }
        let mut report = sample::report(cells);
        report.run = RunId("later".into());
        report
    }

    #[test]
    fn two_series_compared() {
        let text = render(&diff(&sample::run(), &later()), &PLAIN);
        insta::assert_snapshot!(text, @r###"
    019a9f3c-5d20-7c11-8a52-3f6d2b1e9a07 -> later

    Worse
      - portable sched/t_queue:fifo: passed -> failed on arm64

    Better
      - portable codec/t_pack:be32: failed -> passed on s390x, sparc64

    Otherwise changed
      - portable text/t_ctype:upper: passed -> absent on amd64, arm64, armhf, i386,
        mips64el, ppc64el, riscv64, s390x, sparc64

    Findings that came
      - `sched/t_queue:fifo` fails on arm64 only (3 of 3), passes on amd64, armhf,
        i386 and 5 others (24 of 24); what sets arm64 apart: LP64 and arm family, or
        else unaligned double works and arm family, or else quad long double and arm
        family. The baseline shows it too.

    Findings that went
      - `codec/t_pack:be32` fails on s390x and sparc64 (6 of 6), passes on amd64,
        arm64, armhf and 4 others (21 of 21): big-endian. New since the baseline.

    Only in the first run
      - atf/armhf

    Findings of both: 8
    "###);
    }

    #[test]
    fn a_run_does_not_differ_from_itself_and_the_way_back_is_the_mirror() {
        let (a, b) = (sample::run(), later());
        let none = diff(&a, &a);
        assert!(none.changes.is_empty() && none.came.is_empty() && none.gone.is_empty());
        let (there, back) = (diff(&a, &b), diff(&b, &a));
        assert_eq!(there.came, back.gone);
        assert_eq!(there.changes.len(), back.changes.len());
        let mirrored = there.changes.iter().zip(&back.changes);
        assert!(
            mirrored
                .into_iter()
                .all(|(x, y)| (x.from, x.to) == (y.to, y.from))
        );
    }

    #[test]
    fn an_empty_run_is_compared_too() {
        let mut empty = sample::run();
        empty.cells.clear();
        empty.verdict = Default::default();
        let diff = diff(&sample::run(), &empty);
        assert_eq!((diff.only_from.len(), diff.changes.len()), (18, 0));
    }
}
