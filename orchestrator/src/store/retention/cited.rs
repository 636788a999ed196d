//! Which runs must stay whole, and why.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use crate::model::FindingKind;
use crate::store::runs::{ComparedWith, RunDir};

use super::Subject;

/// Runs by name, with the reason for which they stay.
pub fn cited(state: &Path, runs_dir: &Path, subjects: &[Subject]) -> BTreeMap<String, String> {
    let known: BTreeSet<&str> = subjects.iter().map(|s| s.run.as_str()).collect();
    let mut cited = BTreeMap::new();
    by_findings(runs_dir, subjects, &mut cited);
    by_signoffs(state, &known, &mut cited);
    cited
}

/// The newest run of each matrix has the findings that are open; it stays, with what it points at.
fn by_findings(runs_dir: &Path, subjects: &[Subject], cited: &mut BTreeMap<String, String>) {
    let mut newest: BTreeMap<&str, &Subject> = BTreeMap::new();
    for subject in subjects.iter().filter(|s| s.over && !s.reduced) {
        let known = newest.entry(&subject.matrix).or_insert(subject);
        if (known.started, &known.run) < (subject.started, &subject.run) {
            *known = subject;
        }
    }
    for subject in newest.values() {
        let dir = RunDir {
            path: runs_dir.join(&subject.run),
        };
        let mut put = |run: &str, why: String| {
            cited.entry(run.to_owned()).or_insert(why);
        };
        put(
            &subject.run,
            format!("it is the newest run of {}", subject.matrix),
        );
        let record = dir.record().ok();
        for with in record.iter().flat_map(|r| r.baselines.values()) {
            if let ComparedWith::Run { run, .. } = with {
                put(&run.0, format!("run {} was compared with it", subject.run));
            }
        }
        let Some(verdict) = dir.verdict() else {
            continue;
        };
        let open = verdict.findings;
        for finding in open.iter().filter(|f| f.kind != FindingKind::Fixed) {
            let seen = finding.seen_before.iter();
            for at in seen.flat_map(|s| [&s.first, &s.last]).flatten() {
                put(
                    &at.run.0,
                    format!("an open finding of run {} was seen in it", subject.run),
                );
            }
        }
    }
}

/// Whatever a sign-off's record names, wherever in it the name stands.
fn by_signoffs(state: &Path, known: &BTreeSet<&str>, cited: &mut BTreeMap<String, String>) {
    let Ok(entries) = std::fs::read_dir(state.join("signoffs")) else {
        return;
    };
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let why = format!("sign-off {name} cites it");
        let Ok(text) = std::fs::read_to_string(entry.path().join("signoff.json")) else {
            continue;
        };
        let mut words = Vec::new();
        match serde_json::from_str::<Value>(&text) {
            Ok(value) => strings(&value, &mut words),
            // A record that cannot be read could cite anything that it mentions.
            Err(_) => words = text.split('"').map(str::to_owned).collect(),
        }
        for run in words.iter().flat_map(|w| w.split(['/', ' ', ',', '#'])) {
            if known.contains(run) {
                cited.insert(run.to_owned(), why.clone());
            }
        }
    }
}

fn strings(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Array(all) => all.iter().for_each(|v| strings(v, found)),
        Value::Object(all) => {
            for (key, value) in all {
                found.push(key.clone());
                strings(value, found);
            }
        }
        _ => {}
    }
}
