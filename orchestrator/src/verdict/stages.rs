//! What never came to a test: stages that failed, cases that never ran, faults of the host.
//!
//! A fault of the host or the emulator is told, but never as a finding: it says nothing about the
//! system under test.

use std::collections::{BTreeMap, BTreeSet};

use super::chance::Count;
use super::tally::{Row, Table};
use super::traits::Explainer;
use super::words;
use crate::model::{
    ACCELERATOR, CellResult, Finding, FindingKind, GuestEnd, News, Outcome, PortTally, Side,
    StageResult, Verdict,
};

/// Cases that a line names before it counts the rest.
const NAMED_CASES: usize = 5;

/// What makes two breaks one: the stage, the message without the port's name, and the news.
type Break = (StageResult, String, News);

/// Adds stage failures, and the faults of the host and the emulator.
pub fn judge(table: &Table<'_>, explainer: &Explainer, verdict: &mut Verdict) {
    let mut breaks: BTreeMap<Break, Vec<(usize, &CellResult)>> = BTreeMap::new();
    for (column, cell) in &table.cells {
        host_faults(cell, verdict);
        if cell.stage == StageResult::Complete || cell.stage.is_host_fault() {
            continue;
        }
        match cell.id.side {
            Side::Candidate => {
                let key = (cell.stage, message(cell), stage_news(table, *column, cell));
                breaks.entry(key).or_default().push((*column, cell));
            }
            Side::Baseline => verdict.notes.push(format!(
                "The baseline of {} on {} {}: nothing to compare with there.",
                cell.id.suite,
                table.columns[*column].label,
                verb(cell.stage)
            )),
        }
    }
    for ((stage, message, news), cells) in breaks {
        let failing = |i: usize| cells.iter().any(|(column, _)| *column == i);
        let done = |i: usize| table.complete(Side::Candidate, i) && !failing(i);
        let tally = |i: usize, bad: bool| PortTally {
            port: table.columns[i].label.clone(),
            bad: u32::from(bad),
            total: 1,
            outcome: if bad { stage } else { StageResult::Complete }
                .word()
                .to_owned(),
            reason: bad.then(|| words::quote(&message)),
        };
        let columns = 0..table.columns.len();
        let bad: Vec<PortTally> = columns
            .clone()
            .filter(|i| failing(*i))
            .map(|i| tally(i, true))
            .collect();
        let good: Vec<PortTally> = columns
            .filter(|i| done(*i))
            .map(|i| tally(i, false))
            .collect();
        let splits = explainer.splits(failing, done);
        let elsewhere = if good.is_empty() {
            String::new()
        } else {
            let done = match stage {
                StageResult::BuildFailed => "builds",
                StageResult::BootFailed => "boots",
                _ => "is done",
            };
            format!(", {done} on {}", words::ports(&good))
        };
        let why = if splits.is_empty() {
            String::new()
        } else {
            format!(" ({})", words::rivals(&splits))
        };
        let quoted = words::quote(&message);
        let quoted = if quoted.is_empty() {
            quoted
        } else {
            format!(": {quoted}")
        };
        let detail = cells
            .first()
            .and_then(|(_, c)| c.detail.as_deref())
            .unwrap_or("");
        let sentence = format!(
            "{} {} on {}{elsewhere}{why}{quoted}. {}",
            table.suite,
            verb(stage),
            words::ports(&bad),
            words::news(news)
        );
        verdict.findings.push(Finding {
            failing: bad,
            passing: good,
            splits,
            evidence: detail
                .lines()
                .take(20)
                .map(|l| words::shorten(l, 300))
                .collect(),
            ..Finding::new(FindingKind::Stage, news, table.suite, None, sentence)
        });
    }
}

/// Suites that stop at the same break on the same ports share one finding.
pub fn merge(findings: &mut Vec<Finding>) {
    let mut merged: Vec<Finding> = Vec::with_capacity(findings.len());
    for finding in findings.drain(..) {
        let same = |f: &&mut Finding| {
            f.kind == FindingKind::Stage
                && finding.kind == FindingKind::Stage
                && f.news == finding.news
                && f.failing == finding.failing
        };
        match merged
            .iter_mut()
            .filter(|_| finding.kind == FindingKind::Stage)
            .find(same)
        {
            Some(first) => {
                let line = format!("{} stops at the same break.", finding.suite);
                first.evidence.push(line);
            }
            None => merged.push(finding),
        }
    }
    *findings = merged;
}

fn host_faults(cell: &CellResult, verdict: &mut Verdict) {
    let missed = cell
        .attempts
        .iter()
        .filter(|a| a.counts() && a.outcome == Outcome::Missed)
        .count();
    if cell.stage.is_host_fault() {
        let detail = cell.detail.as_deref().map(words::quote).unwrap_or_default();
        let mut line = format!("{}: {}", cell.id, cell.stage);
        if !detail.is_empty() {
            line = format!("{line}: {detail}");
        }
        if missed > 0 {
            line = format!("{line}; {} never made", words::count(missed, "attempt"));
        }
        verdict.host_faults.push(line);
        return;
    }
    for guest in &cell.guests {
        if let GuestEnd::EmulatorExited { detail } = &guest.end {
            verdict.host_faults.push(format!(
                "{}: guest {}: the emulator ended by itself: {}",
                cell.id,
                guest.number,
                words::quote(detail)
            ));
        }
    }
}

/// A break's message without the port's own name, so that the same break reads the same.
fn message(cell: &CellResult) -> String {
    let line = words::quote(cell.detail.as_deref().unwrap_or(""));
    without_word(&line, cell.id.port.as_str())
}

/// Replaces a name by `PORT` where it stands as a word: `arm` is no part of `alarm`.
fn without_word(text: &str, name: &str) -> String {
    if name.is_empty() {
        return text.to_owned();
    }
    let ends_word = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric());
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(name) {
        let (before, found) = rest.split_at(at);
        let after = &found[name.len()..];
        out.push_str(before);
        let whole = ends_word(out.chars().next_back()) && ends_word(after.chars().next());
        out.push_str(if whole { "PORT" } else { name });
        rest = after;
    }
    out.push_str(rest);
    out
}

fn stage_news(table: &Table<'_>, column: usize, cell: &CellResult) -> News {
    let then: Vec<&CellResult> = table
        .cells
        .iter()
        .filter(|(i, c)| *i == column && c.id.side == Side::Baseline)
        .map(|(_, c)| *c)
        .collect();
    let same = |c: &&CellResult| c.stage == cell.stage && message(c) == message(cell);
    if then.is_empty() || then.iter().all(|c| c.stage.is_host_fault()) {
        News::NoBaseline
    } else if then.iter().any(same) {
        News::Known
    } else {
        News::New
    }
}

fn verb(stage: StageResult) -> &'static str {
    match stage {
        StageResult::Complete => "is done",
        StageResult::BuildFailed => "does not build",
        StageResult::SetsMismatch => "does not match its set lists",
        StageResult::ImageFailed => "has no image",
        StageResult::BootFailed => "does not boot",
        StageResult::CrashLoop => "kills guest after guest",
        StageResult::WrongKernel => "runs another kernel than the one ordered",
        StageResult::EmulatorExited => "lost its emulator",
        StageResult::TimedOut => "is not done in time",
        StageResult::HostFailed => "was stopped by a fault of the host",
        StageResult::Interrupted => "was interrupted",
    }
}

/// Adds the cases that never ran, grouped by reason, with the ports.
pub fn missed(table: &Table<'_>, verdict: &mut Verdict) {
    // Where the host was at fault the cells' missing cases are told with the fault.
    let host = |i: usize| {
        let mut cells = table.cells.iter();
        cells.any(|(at, c)| *at == i && c.id.side == Side::Candidate && c.stage.is_host_fault())
    };
    let excused: Vec<bool> = (0..table.columns.len()).map(host).collect();
    // By reason: by column the cases that never ran; their names; whether the baseline ran one.
    #[derive(Default)]
    struct Group {
        by_column: BTreeMap<usize, u32>,
        names: BTreeSet<String>,
        new: bool,
        known: bool,
    }
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    for row in table.rows() {
        for (i, tally) in row.candidate.iter().enumerate() {
            let ran = tally.count().total > 0 || tally.of(Outcome::Skipped) > 0;
            if excused[i] || ran || tally.of(Outcome::Missed) == 0 {
                continue;
            }
            let reason = words::quote(tally.missed_reason().unwrap_or("no reason is recorded"));
            let group = groups.entry(reason).or_default();
            *group.by_column.entry(i).or_default() += 1;
            group.names.insert(row.case.to_string());
            let then = &row.baseline[i];
            group.new |= then.count().total > 0;
            group.known |= then.count().total == 0 && then.of(Outcome::Missed) > 0;
        }
    }
    for (reason, group) in groups {
        let news = match (table.has(Side::Baseline), group.new, group.known) {
            (false, ..) | (true, false, false) => News::NoBaseline,
            (true, true, _) => News::New,
            (true, false, true) => News::Known,
        };
        let silent = group.by_column.iter().map(|(i, n)| PortTally {
            port: table.columns[*i].label.clone(),
            bad: 0,
            total: *n,
            outcome: Outcome::Missed.word().to_owned(),
            reason: Some(reason.clone()),
        });
        let silent: Vec<PortTally> = silent.collect();
        let names: Vec<&String> = group.names.iter().collect();
        let sentence = format!(
            "{} of {} never ran on {}: {}. {}",
            words::count(names.len(), "case"),
            table.suite,
            words::ports(&silent),
            reason.trim_end_matches('.'),
            words::news(news)
        );
        verdict.findings.push(Finding {
            silent,
            evidence: vec![format!("Cases: {}.", words::list(&names, 20))],
            ..Finding::new(FindingKind::Missed, news, table.suite, None, sentence)
        });
    }
}

/// Adds lines on cases that came, went, or stopped speaking since the baseline.
pub fn notes(table: &Table<'_>, verdict: &mut Verdict) {
    if !table.has(Side::Baseline) || !table.has(Side::Candidate) {
        return;
    }
    let both = |i: usize| table.complete(Side::Baseline, i) && table.complete(Side::Candidate, i);
    let both: Vec<bool> = (0..table.columns.len()).map(both).collect();
    let (mut new, mut gone, mut skipped) = (Vec::new(), Vec::new(), Vec::new());
    let mut partly: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
    for row in table.rows() {
        let any = |which: &dyn Fn(&Row<'_>, usize) -> bool| {
            (0..both.len()).any(|i| both[i] && which(&row, i))
        };
        if row.baseline.iter().all(|t| t.is_absent()) && any(&|r, i| !r.candidate[i].is_absent()) {
            new.push(row.case.to_string());
        }
        if any(&|r, i| !r.baseline[i].is_absent() && r.candidate[i].is_absent()) {
            gone.push(row.case.to_string());
        }
        let spoke = |c: Count| c.total > 0;
        if any(&|r, i| {
            spoke(r.baseline[i].count())
                && !spoke(r.candidate[i].count())
                && r.candidate[i].of(Outcome::Skipped) > 0
        }) {
            skipped.push(row.case.to_string());
        }
        for (i, tally) in row.candidate.iter().enumerate() {
            if spoke(tally.count()) && tally.of(Outcome::Missed) > 0 {
                partly.entry(row.case.to_string()).or_default().insert(i);
            }
        }
    }
    let mut note = |cases: &[String], what: &str| {
        if !cases.is_empty() {
            verdict.notes.push(format!(
                "{} of {} {what}: {}.",
                words::count(cases.len(), "case"),
                table.suite,
                words::list(cases, NAMED_CASES)
            ));
        }
    };
    note(&new, "not in the baseline");
    note(&gone, "in the baseline and no longer here");
    note(&skipped, "skipped now, not so in the baseline");
    let partly: Vec<String> = partly.into_keys().collect();
    note(&partly, "missed in some passes only");
    for (i, column) in table.columns.iter().enumerate() {
        let ran = |side: Side| {
            let mut cells = table.cells.iter();
            let cell = cells.find(|(at, cell)| *at == i && cell.id.side == side);
            cell.and_then(|(_, cell)| cell.versions.get(ACCELERATOR))
        };
        let (then, now) = (ran(Side::Baseline), ran(Side::Candidate));
        if let (Some(then), Some(now)) = (then, now)
            && then != now
        {
            verdict.notes.push(format!(
                "{} on {}: guests of the baseline ran under {}, those of the candidate under {}: what differs may be theirs.",
                table.suite,
                column.label,
                words::quote(then),
                words::quote(now)
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::without_word;

    #[test]
    fn a_port_is_left_out_of_a_message_where_it_is_a_word() {
        assert_eq!(
            without_word("obj.arm/a.o: alarm", "arm"),
            "obj.PORT/a.o: alarm"
        );
        assert_eq!(without_word("armarm arm", "arm"), "armarm PORT");
        assert_eq!(without_word("x", ""), "x");
    }
}
