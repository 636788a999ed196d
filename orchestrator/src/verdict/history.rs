//! What earlier runs of a matrix say of a verdict's findings: pure.
//!
//! ```text
//! earlier runs' counts by case, place and revision --Past--> apply: since when, how often, known
//! ```
//!
//! A flake that trees without the change under test have shown is no news: it becomes known. Nothing
//! else does; a failure that always comes is news whoever saw it first, and only gets a line on when
//! that was. Trees under test (a patch series) are no reason to call a flake known: the second version
//! of a series would inherit the faults of the first. Panics are matched by signature, whatever they
//! are blamed on.
//!
//! Names are numbers here, looked up once: a hundred revisions of a night's matrix are walked through
//! in one pass, and what is kept grows with what was asked for and not with what was run. It reads no
//! disk; who has the index hands it in.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::chance::{self, Count};
use super::words;
use crate::model::{
    CaseId, Finding, FindingKind, News, PortName, SeenBefore, Side, Sighting, Verdict,
};

/// What one cell of an earlier run showed of one case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Which of the looks.
    pub look: u32,
    /// Which of the places.
    pub place: u16,
    /// Which side of that run.
    pub side: Side,
    /// What it showed.
    pub count: Count,
}

/// A crash of an earlier run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Death {
    /// Which of the looks.
    pub look: u32,
    /// Which of the places.
    pub place: u16,
    /// The case that it was blamed on there.
    pub blamed: Option<CaseId>,
}

/// What is known of earlier runs. Filled by whoever reads them, in any order.
#[derive(Debug, Clone, Default)]
pub struct Past {
    /// Earlier runs with what they tested of one suite: a tree, `TREE+SERIES`, or a commit.
    looks: Vec<Sighting>,
    places: Vec<(PortName, String)>,
    place_numbers: HashMap<(PortName, String), u16>,
    cases: BTreeMap<(String, CaseId), Vec<Entry>>,
    deaths: BTreeMap<String, Vec<Death>>,
}

impl Past {
    /// Adds a run; the number is for entries.
    pub fn look(&mut self, run: Sighting) -> u32 {
        self.looks.push(run);
        u32::try_from(self.looks.len() - 1).unwrap_or(u32::MAX)
    }

    /// The number of a place.
    pub fn place(&mut self, port: &PortName, variant: &str) -> u16 {
        let key = (port.clone(), variant.to_owned());
        if let Some(number) = self.place_numbers.get(&key) {
            return *number;
        }
        // More places than numbers: the rest shares one, and says too little rather than wrongly.
        let number = u16::try_from(self.places.len()).unwrap_or(u16::MAX);
        if number < u16::MAX {
            self.places.push(key.clone());
        }
        self.place_numbers.insert(key, number);
        number
    }

    /// Adds what cells of earlier runs showed of a case.
    pub fn extend(&mut self, suite: &str, case: &CaseId, entries: impl IntoIterator<Item = Entry>) {
        let key = (suite.to_owned(), case.clone());
        self.cases.entry(key).or_default().extend(entries);
    }

    /// Adds a crash of an earlier run, by its signature.
    pub fn died(&mut self, signature: &str, death: Death) {
        let deaths = self.deaths.entry(signature.to_owned()).or_default();
        deaths.push(death);
    }

    /// True where nothing is known.
    pub fn is_empty(&self) -> bool {
        self.looks.is_empty()
    }
}

/// The cases whose past matters to a verdict, by suite, and the signatures of its crashes.
pub fn wanted(verdict: &Verdict) -> (BTreeSet<(&str, &CaseId)>, BTreeSet<&str>) {
    let cases = verdict.findings.iter().filter(|f| is_of_rates(f));
    let cases = cases.filter_map(|f| Some((f.suite.as_str(), f.case.as_ref()?)));
    let crashes = verdict.findings.iter().filter_map(|f| f.crash.as_ref());
    let signatures = crashes.map(|c| c.signature.as_str());
    (
        cases.collect(),
        signatures.filter(|s| !s.is_empty()).collect(),
    )
}

fn is_of_rates(finding: &Finding) -> bool {
    matches!(
        finding.kind,
        FindingKind::ArchOnly
            | FindingKind::TraitBound
            | FindingKind::Regression
            | FindingKind::Undecided
            | FindingKind::Flake
    )
}

/// Adds to each finding what earlier runs showed of it. `tested` is what this run tests, by suite:
/// what other runs saw on the same revision is no past of it.
pub fn apply(verdict: &mut Verdict, past: &Past, tested: &BTreeMap<String, String>) {
    if past.is_empty() {
        return;
    }
    for finding in &mut verdict.findings {
        let now = tested.get(&finding.suite).map(String::as_str);
        if let Some(crash) = &finding.crash {
            let deaths = past
                .deaths
                .get(&crash.signature)
                .map_or(&[][..], Vec::as_slice);
            if !crash.signature.is_empty() {
                let seen = of_crash(past, deaths);
                finding.evidence.push(crash_line(&seen, past, deaths));
                finding
                    .evidence
                    .extend(other_causes(finding.case.as_ref(), past, deaths));
                finding.seen_before = Some(seen);
            }
            continue;
        }
        let Some(case) = finding.case.clone().filter(|_| is_of_rates(finding)) else {
            continue;
        };
        let Some(entries) = past.cases.get(&(finding.suite.clone(), case)) else {
            continue;
        };
        of_case(finding, past, entries, now);
    }
}

/// Whether a case comes and goes: both ways on one tree in one place, or there and back again from
/// run to run. What failed always and passes always since was mended, and what fails elsewhere is
/// bound to that.
fn comes_and_goes(past: &Past, entries: &[&Entry]) -> bool {
    let when = |e: &Entry| {
        past.looks
            .get(e.look as usize)
            .map(|l| (l.started, &l.run.0))
    };
    // Two sides of a run are two trees: to differ from one to the other is to be new, not to flake.
    let mut by_place: BTreeMap<(u16, Side), BTreeMap<_, Count>> = BTreeMap::new();
    for entry in entries {
        let there = by_place.entry((entry.place, entry.side)).or_default();
        let count = there.entry(when(entry)).or_default();
        *count = count.plus(entry.count);
    }
    by_place.into_values().any(|there| {
        let counts: Vec<Count> = there.into_values().collect();
        let turns = counts
            .windows(2)
            .filter(|w| (w[0].bad > 0) != (w[1].bad > 0));
        turns.count() >= 2 || counts.iter().any(|c| c.mixed())
    })
}

/// What was run on a side: the baseline has no series.
fn tree_of(look: &Sighting, side: Side) -> Option<&str> {
    let revision = look.revision.as_deref()?;
    match side {
        Side::Candidate => Some(revision),
        Side::Baseline => revision.split('+').next(),
    }
}

fn of_case(finding: &mut Finding, past: &Past, entries: &[Entry], now: Option<&str>) {
    let labels = finding.failing.iter().map(|t| t.port.as_str());
    let failing: BTreeSet<u16> = labels.flat_map(|label| places(past, label)).collect();
    // Wherever it comes and goes, it is the same flake.
    let anywhere = finding.kind == FindingKind::Flake;
    let look = |e: &Entry| past.looks.get(e.look as usize);
    let here = entries
        .iter()
        .filter(|e| (anywhere || failing.contains(&e.place)) && e.count.total > 0);
    // On the very revision under test other runs made attempts of the same experiment.
    let other = |e: &&Entry| look(e).is_some_and(|l| tree_of(l, e.side) != now || now.is_none());
    let past_entries: Vec<&Entry> = here.filter(other).collect();
    let Some(seen) = summed(past, &past_entries) else {
        return;
    };
    let accepted = |e: &&&Entry| {
        let tree = look(e).and_then(|l| tree_of(l, e.side));
        tree.is_some_and(|t| !t.contains('+'))
    };
    let kept: Vec<&Entry> = past_entries.iter().filter(accepted).copied().collect();
    let unsteady = comes_and_goes(past, &kept);
    let kept = kept
        .iter()
        .fold(Count::default(), |sum, e| sum.plus(e.count));
    let bad: u32 = finding
        .failing
        .iter()
        .fold(0, |n, t| n.saturating_add(t.bad));
    let tallies = finding.failing.iter().chain(&finding.passing);
    let total = tallies.fold(0_u32, |n, t| n.saturating_add(t.total));
    let present = Count { bad, total };
    let known = finding.kind == FindingKind::Flake
        && finding.news != News::Known
        && unsteady
        && !chance::is_worse(present, kept);
    finding.evidence.push(case_line(&seen, known));
    if known {
        let was = words::news(finding.news);
        let new = "Earlier runs know it.";
        if let Some(head) = finding.sentence.strip_suffix(was) {
            finding.sentence = format!("{head}{new}");
        }
        finding.news = News::Known;
    }
    finding.seen_before = Some(seen);
}

/// The places that a column's label can mean.
fn places<'a>(past: &'a Past, label: &'a str) -> impl Iterator<Item = u16> + 'a {
    let fits = move |(port, variant): &(PortName, String)| {
        let rest = label.strip_prefix(port.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.strip_prefix('+') == Some(variant))
    };
    let places = past.places.iter().enumerate();
    places.filter_map(move |(i, p)| fits(p).then(|| u16::try_from(i).ok())?)
}

fn summed(past: &Past, entries: &[&Entry]) -> Option<SeenBefore> {
    let mut runs: BTreeMap<&str, (u32, Count)> = BTreeMap::new();
    let mut all = Count::default();
    for entry in entries {
        let look = past.looks.get(entry.look as usize)?;
        let run = runs.entry(&look.run.0).or_default();
        *run = (entry.look, run.1.plus(entry.count));
        all = all.plus(entry.count);
    }
    // By time; runs of the same moment by name.
    let mut showing: Vec<&Sighting> = runs
        .values()
        .filter(|(_, count)| count.bad > 0)
        .filter_map(|(look, _)| past.looks.get(*look as usize))
        .collect();
    showing.sort_by_key(|s| (s.started, &s.run.0));
    (!runs.is_empty()).then(|| SeenBefore {
        runs: u32::try_from(runs.len()).unwrap_or(u32::MAX),
        showing: u32::try_from(showing.len()).unwrap_or(u32::MAX),
        bad: all.bad,
        total: all.total,
        first: showing.first().copied().cloned(),
        last: showing.last().copied().cloned(),
    })
}

fn of_crash(past: &Past, deaths: &[Death]) -> SeenBefore {
    let names = |looks: &mut dyn Iterator<Item = &Sighting>| -> usize {
        looks.map(|l| &l.run.0).collect::<BTreeSet<_>>().len()
    };
    let there = || {
        deaths
            .iter()
            .filter_map(|d| past.looks.get(d.look as usize))
    };
    let mut seen: Vec<&Sighting> = there().collect();
    seen.sort_by_key(|s| (s.started, &s.run.0));
    let bad = u32::try_from(deaths.len()).unwrap_or(u32::MAX);
    SeenBefore {
        runs: u32::try_from(names(&mut past.looks.iter())).unwrap_or(u32::MAX),
        showing: u32::try_from(names(&mut there())).unwrap_or(u32::MAX),
        bad,
        total: bad,
        first: seen.first().copied().cloned(),
        last: seen.last().copied().cloned(),
    }
}

fn case_line(seen: &SeenBefore, known: bool) -> String {
    let runs = words::count(seen.runs as usize, "earlier run");
    if seen.bad == 0 {
        let total = seen.total;
        return format!("On other revisions it did not fail: 0 of {total} attempts in {runs}.");
    }
    let since = since(seen);
    let how = if known {
        "Known from"
    } else {
        "On other revisions it failed in"
    };
    format!(
        "{how} {} of {runs}: {} of {} attempts; {since}.",
        seen.showing, seen.bad, seen.total
    )
}

fn crash_line(seen: &SeenBefore, past: &Past, deaths: &[Death]) -> String {
    let runs = words::count(seen.runs as usize, "earlier run");
    if seen.bad == 0 {
        return format!("This crash was not seen in {runs}.");
    }
    let ports: BTreeSet<&str> = deaths
        .iter()
        .filter_map(|d| past.places.get(usize::from(d.place)))
        .map(|(port, _)| port.as_str())
        .collect();
    let ports: Vec<&str> = ports.into_iter().collect();
    format!(
        "This crash was seen in {} of {runs}, on {}; {}.",
        seen.showing,
        words::list(&ports, 6),
        since(seen)
    )
}

/// What earlier runs blamed the same crash on, where that is something else than now.
fn other_causes(now: Option<&CaseId>, past: &Past, deaths: &[Death]) -> Option<String> {
    let mut causes: BTreeMap<Option<&CaseId>, Vec<&Sighting>> = BTreeMap::new();
    for death in deaths.iter().filter(|d| d.blamed.as_ref() != now) {
        let look = past.looks.get(death.look as usize);
        let seen = causes.entry(death.blamed.as_ref()).or_default();
        seen.extend(look);
    }
    let told: Vec<String> = causes
        .into_iter()
        .map(|(cause, mut seen)| {
            seen.sort_by_key(|s| (s.started, &s.run.0));
            let cause = match cause {
                Some(case) => format!("`{case}`"),
                None => "no case".to_owned(),
            };
            let times = words::count(seen.len(), "time");
            match seen.last() {
                Some(last) => format!("{cause} ({times}, last in {})", sighting(last)),
                None => cause,
            }
        })
        .collect();
    let told: Vec<&String> = told.iter().collect();
    (!told.is_empty()).then(|| {
        format!(
            "Earlier runs had it under another cause: {}.",
            words::list(&told, 6)
        )
    })
}

fn since(seen: &SeenBefore) -> String {
    match (&seen.first, &seen.last) {
        (Some(first), Some(last)) if first == last => format!("in {}", sighting(first)),
        (Some(first), Some(last)) => {
            format!("first in {}, last in {}", sighting(first), sighting(last))
        }
        _ => "nobody knows when".to_owned(),
    }
}

/// A run by the end of its name, by which it can be found, its day and its revision.
pub fn sighting(seen: &Sighting) -> String {
    let name: Vec<char> = seen.run.0.chars().collect();
    let short: String = name[name.len().saturating_sub(12)..].iter().collect();
    let day = seen.started.strftime("%F");
    let revision = seen.revision.as_deref().map(|r| {
        let parts = r.split('+').map(|p| p.chars().take(12).collect::<String>());
        format!(", revision {}", parts.collect::<Vec<_>>().join("+"))
    });
    format!("run {short} ({day}{})", revision.unwrap_or_default())
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
