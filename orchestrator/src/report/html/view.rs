//! What the page's template shows: plain strings, cleaned and bounded. The template escapes them.

use std::collections::BTreeMap;

use super::dead::{self, SectionView};
use crate::host::text::{head as head_lines, line as clean, tail};
use crate::model::{
    Attempt, CameUp, Finding, FindingKind, GuestRecord, News, Outcome, PortTally, Side,
    StageResult, TraitSplit,
};
use crate::report::grid::{Grid, Place, State};
use crate::report::terminal::headline;
use crate::report::{RunReport, Source, duration_words};

const LINE: usize = 400;
const SENTENCE: usize = 1200;
const OUTPUT_LINES: usize = 30;
/// Names of passing cases that a program's row lists at most.
const NAMES: usize = 400;

fn one(text: &str) -> String {
    clean(text.as_bytes(), LINE)
}

pub fn cleaned(lines: &[String]) -> Vec<String> {
    lines
        .iter()
        .map(|l| clean(l.as_bytes(), SENTENCE))
        .collect()
}

pub struct HeadView {
    pub matrix: String,
    pub headline: String,
    pub clean: bool,
    pub run: String,
    pub started: String,
    pub took: String,
    pub candidate: SourceView,
    pub baseline: Option<SourceView>,
    pub attempts: usize,
}

pub struct SourceView {
    pub name: String,
    pub id: String,
    pub patches: Vec<String>,
}

fn source(source: &Source) -> SourceView {
    SourceView {
        name: one(&source.name),
        id: one(&source.id),
        patches: source.patches.iter().take(200).map(|p| one(p)).collect(),
    }
}

pub fn head(report: &RunReport) -> HeadView {
    HeadView {
        matrix: one(&report.matrix),
        headline: headline(report),
        clean: report.verdict.is_clean(),
        run: one(&report.run.0),
        started: report.started.strftime("%F %R UTC").to_string(),
        took: duration_words(report.took),
        candidate: source(&report.candidate),
        baseline: report.baseline.as_ref().map(source),
        attempts: report.cells.iter().map(|c| c.attempts.len()).sum(),
    }
}

pub struct FindingView {
    pub number: usize,
    pub class: &'static str,
    pub word: &'static str,
    pub news: &'static str,
    pub news_class: &'static str,
    pub suite: String,
    /// Text, and whether it is code.
    pub sentence: Vec<(bool, String)>,
    pub splits: Vec<String>,
    pub failing: Vec<PillView>,
    pub passing: Vec<PillView>,
    pub silent: Vec<PillView>,
    /// A reason and the ports that gave it.
    pub reasons: Vec<(String, String)>,
    pub evidence: Vec<String>,
    pub excerpt: Vec<String>,
    pub particulars: String,
    pub sections: Vec<SectionView>,
    /// For the filter: every port that it fails on.
    pub ports: String,
}

pub struct PillView {
    pub port: String,
    pub rate: String,
    pub outcome: String,
}

pub fn finding(number: usize, f: &Finding) -> FindingView {
    let (class, word) = match f.kind {
        FindingKind::Panic => ("crashed", "panic"),
        FindingKind::Hang => ("hung", "hang"),
        FindingKind::Gone => ("crashed", "guest gone"),
        FindingKind::Stage => ("failed", "stage"),
        FindingKind::Regression => ("failed", "failure"),
        FindingKind::Undecided => ("flaky", "not yet known"),
        FindingKind::TraitBound => ("failed", "bound to a trait"),
        FindingKind::ArchOnly => ("failed", "one port only"),
        FindingKind::Flake => ("flaky", "now and then"),
        FindingKind::Missed => ("missed", "never ran"),
        FindingKind::Fixed => ("passed", "fixed"),
    };
    let (news, news_class) = match (f.kind, f.news) {
        (FindingKind::Fixed, _) => ("", ""),
        (_, News::New) => ("new", "new"),
        (_, News::Known) => ("known", "known"),
        (_, News::Unclear) => ("perhaps new", "new"),
        (_, News::NoBaseline) => ("no baseline", "known"),
    };
    let mut reasons: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for tally in &f.failing {
        // A crash's title stands in the sentence already.
        if let Some(reason) = tally.reason.as_ref().filter(|r| !f.sentence.contains(*r)) {
            reasons
                .entry(one(reason))
                .or_default()
                .push(one(tally.port.as_str()));
        }
    }
    let sentence = clean(f.sentence.as_bytes(), SENTENCE);
    FindingView {
        number,
        class,
        word,
        news,
        news_class,
        suite: one(&f.suite),
        sentence: sentence
            .split('`')
            .enumerate()
            .map(|(i, part)| (i % 2 == 1, part.to_owned()))
            .collect(),
        splits: f.splits.iter().take(6).map(conjunction).collect(),
        failing: pills(&f.failing, |t| format!("{}/{}", t.bad, t.total)),
        passing: pills(&f.passing, |t| {
            format!("{}/{}", t.total.saturating_sub(t.bad), t.total)
        }),
        silent: pills(&f.silent, |t| {
            if t.total > 0 {
                t.total.to_string()
            } else {
                String::new()
            }
        }),
        reasons: reasons
            .into_iter()
            .take(8)
            .map(|(r, p)| (p.join(", "), r))
            .collect(),
        evidence: f
            .evidence
            .iter()
            .take(30)
            .map(|e| clean(e.as_bytes(), SENTENCE))
            .collect(),
        particulars: f.crash.as_ref().map(dead::particulars).unwrap_or_default(),
        sections: f.crash.as_ref().map(dead::sections).unwrap_or_default(),
        excerpt: f.crash.as_ref().map(dead::excerpt).unwrap_or_default(),
        ports: f
            .failing
            .iter()
            .map(|t| one(t.port.as_str()))
            .collect::<Vec<_>>()
            .join(" "),
    }
}

fn conjunction(split: &TraitSplit) -> String {
    let words = split.all_of.iter().map(|(k, v)| format!("{k}={v}"));
    one(&words.collect::<Vec<_>>().join(" & "))
}

fn pills(tallies: &[PortTally], rate: impl Fn(&PortTally) -> String) -> Vec<PillView> {
    tallies
        .iter()
        .map(|t| PillView {
            port: one(t.port.as_str()),
            rate: rate(t),
            outcome: one(&t.outcome),
        })
        .collect()
}

pub struct SuiteView {
    pub id: String,
    pub name: String,
    pub columns: Vec<String>,
    pub has_baseline: bool,
    /// Columns whose cell was not complete, with the stage's word.
    pub stages: Vec<(String, &'static str)>,
    pub programs: Vec<ProgramView>,
    pub details: Vec<DetailView>,
    pub legend: Vec<(char, &'static str)>,
    /// By column the candidate's cases by state, for the row of sums.
    pub sums: Vec<Vec<(&'static str, u32)>>,
    pub rows_in_all: usize,
    pub rows_left_out: usize,
    pub details_left_out: usize,
    pub cases: usize,
}

pub struct ProgramView {
    pub name: String,
    pub rows: Vec<RowView>,
    pub passing: usize,
    pub cases: usize,
    pub passing_names: String,
}

pub struct RowView {
    pub case: String,
    /// Empty where the row has no details.
    pub anchor: String,
    pub differs: bool,
    pub places: Vec<PlaceView>,
}

pub struct PlaceView {
    pub state: &'static str,
    pub glyph: char,
    pub differs: bool,
    pub label: String,
}

pub struct DetailView {
    pub anchor: String,
    pub case: String,
    pub places: Vec<AttemptsView>,
}

pub struct AttemptsView {
    pub column: String,
    pub state: &'static str,
    pub tally: String,
    pub baseline: &'static str,
    pub attempts: Vec<AttemptView>,
}

pub struct AttemptView {
    pub head: String,
    pub reason: String,
    pub output: Vec<String>,
}

/// Nothing to look at: passes wherever it exists, as it did before.
fn is_dull(places: &[Place]) -> bool {
    places
        .iter()
        .all(|p| matches!(p.candidate.state(), State::Passed | State::Absent) && !p.differs())
}

pub fn suite(number: usize, grid: &Grid<'_>, most_rows: usize, budget: &mut usize) -> SuiteView {
    let columns: Vec<String> = grid.columns.iter().map(|c| one(c.as_str())).collect();
    let mut programs: Vec<ProgramView> = Vec::new();
    let mut details = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    let (mut rows_in_all, mut rows_left_out, mut details_left_out) = (0, 0, 0);
    let attempts = attempts_of(grid, most_rows);
    for (i, (case, places)) in grid.rows.iter().enumerate() {
        let name = one(&case.program);
        if programs.last().is_none_or(|p| p.name != name) {
            programs.push(ProgramView {
                name,
                rows: Vec::new(),
                passing: 0,
                cases: 0,
                passing_names: String::new(),
            });
        }
        let Some(program) = programs.last_mut() else {
            continue;
        };
        program.cases += 1;
        if is_dull(places) {
            program.passing += 1;
            match program.passing {
                n if n > NAMES + 1 => {}
                n if n > NAMES => program.passing_names.push_str(" …"),
                _ => {
                    program.passing_names.push(' ');
                    program
                        .passing_names
                        .push_str(&clean(case.case.as_bytes(), 80));
                }
            }
            continue;
        }
        rows_in_all += 1;
        if rows_in_all > most_rows {
            rows_left_out += 1;
            continue;
        }
        let anchor = format!("s{number}c{i}");
        let detail = attempts
            .get(*case)
            .map(|a| detail(grid, &columns, &anchor, case, places, a));
        let size = detail.as_ref().map_or(0, detail_bytes);
        let fits = size <= *budget;
        if let Some(detail) = detail.filter(|_| fits) {
            *budget -= size;
            details.push(detail);
        } else {
            details_left_out += 1;
        }
        program.rows.push(RowView {
            case: one(&case.case),
            anchor: if fits { anchor } else { String::new() },
            differs: places.iter().any(Place::differs),
            places: places
                .iter()
                .map(|p| {
                    seen.insert(p.candidate.state());
                    place(p)
                })
                .collect(),
        });
    }
    let legend = State::ALL
        .into_iter()
        .filter(|s| *s != State::Absent && seen.contains(s));
    SuiteView {
        id: format!("suite-{number}"),
        name: one(grid.suite),
        has_baseline: grid.has_baseline,
        legend: legend.map(|s| (s.glyph(), s.word())).collect(),
        sums: (0..columns.len()).map(|i| sums(grid, i)).collect(),
        stages: stages(grid, &columns),
        columns,
        programs,
        details,
        rows_in_all,
        rows_left_out,
        details_left_out,
        cases: grid.rows.len(),
    }
}

fn stages(grid: &Grid<'_>, columns: &[String]) -> Vec<(String, &'static str)> {
    let cells = (0..columns.len()).flat_map(|i| grid.candidates(i).map(move |c| (i, c.stage)));
    cells
        .filter(|(_, stage)| *stage != StageResult::Complete)
        .map(|(i, stage)| (columns[i].clone(), stage.word()))
        .collect()
}

fn sums(grid: &Grid<'_>, column: usize) -> Vec<(&'static str, u32)> {
    let counts = grid.counts(column);
    let shown = State::ALL.into_iter().filter(|s| *s != State::Absent);
    shown
        .filter_map(|s| Some((s.word(), *counts.get(&s)?)))
        .collect()
}

fn place(place: &Place) -> PlaceView {
    let (now, then) = (place.candidate.state(), place.baseline.state());
    let label = match (now, place.differs()) {
        (State::Absent, _) => String::new(),
        (_, true) => format!("{}, baseline {}", now.word(), then.word()),
        (_, false) => now.word().to_owned(),
    };
    PlaceView {
        state: now.word(),
        glyph: now.glyph(),
        differs: place.differs(),
        label,
    }
}

/// By case and column, the candidate's attempts; only of rows that are worth details.
type Attempts<'a> = BTreeMap<&'a crate::model::CaseId, BTreeMap<usize, Vec<&'a Attempt>>>;

fn attempts_of<'a>(grid: &Grid<'a>, most_rows: usize) -> Attempts<'a> {
    let wanted = grid
        .rows
        .iter()
        .filter(|(_, places)| !is_dull(places))
        .take(most_rows);
    let mut attempts: Attempts<'a> = wanted.map(|(case, _)| (*case, BTreeMap::new())).collect();
    for (column, cells) in grid.cells.iter().enumerate() {
        for cell in cells.iter().filter(|c| c.id.side == Side::Candidate) {
            for attempt in &cell.attempts {
                if let Some(columns) = attempts.get_mut(&attempt.case) {
                    columns.entry(column).or_default().push(attempt);
                }
            }
        }
    }
    attempts
}

fn detail(
    grid: &Grid<'_>,
    columns: &[String],
    anchor: &str,
    case: &crate::model::CaseId,
    places: &[Place],
    attempts: &BTreeMap<usize, Vec<&Attempt>>,
) -> DetailView {
    let view = |(column, attempts): (&usize, &Vec<&Attempt>)| {
        let place = &places[*column];
        let then = place.baseline.state();
        AttemptsView {
            column: columns[*column].clone(),
            state: place.candidate.state().word(),
            tally: format!(
                "{} of {} bad",
                place.candidate.bad(),
                place.candidate.total()
            ),
            baseline: if grid.has_baseline { then.word() } else { "" },
            attempts: shown_attempts(attempts),
        }
    };
    // What passes quietly needs no line of its own.
    let loud = attempts.iter().filter(|(column, _)| {
        let place = &places[**column];
        place.candidate.state() != State::Passed || place.differs()
    });
    DetailView {
        anchor: anchor.to_owned(),
        case: one(&case.to_string()),
        places: loud.map(view).collect(),
    }
}

/// Attempts with the same end stand on one line; the first of them brings its output.
fn shown_attempts(attempts: &[&Attempt]) -> Vec<AttemptView> {
    let mut groups: Vec<(Outcome, Option<&str>, Vec<&Attempt>)> = Vec::new();
    for attempt in attempts {
        let reason = attempt.reason.as_deref();
        let alike = |(o, r, same): &&mut (Outcome, Option<&str>, Vec<&Attempt>)| {
            *o == attempt.outcome && *r == reason && same[0].doubtful == attempt.doubtful
        };
        match groups.iter_mut().find(alike) {
            Some((_, _, same)) => same.push(attempt),
            None => groups.push((attempt.outcome, reason, vec![attempt])),
        }
    }
    let view = |(outcome, reason, same): (Outcome, Option<&str>, Vec<&Attempt>)| {
        let passes: Vec<String> = same.iter().take(12).map(|a| number(a)).collect();
        let more = if same.len() > 12 { " …" } else { "" };
        let output = same.iter().find_map(|a| a.output.as_deref()).unwrap_or("");
        let time = same.iter().find_map(|a| a.duration);
        let time = time
            .map(|d| format!(", {:.3}s", d.as_secs_f64()))
            .unwrap_or_default();
        let doubtful = same[0].doubtful.as_deref().map(one);
        let doubtful = doubtful
            .map(|why| format!(", does not count: {why}"))
            .unwrap_or_default();
        AttemptView {
            head: format!("{outcome}: {}{more}{time}{doubtful}", passes.join(", ")),
            reason: reason.map(one).unwrap_or_default(),
            output: tail(output.as_bytes(), OUTPUT_LINES, 240),
        }
    };
    groups.into_iter().take(6).map(view).collect()
}

/// `pass 2`, `repeat 1`: which execution an attempt was.
fn number(attempt: &Attempt) -> String {
    format!("{} {}", attempt.purpose, attempt.pass)
}

/// About what a row's details add to the page.
fn detail_bytes(detail: &DetailView) -> usize {
    let attempt = |a: &AttemptView| {
        120 + a.head.len() + a.reason.len() + a.output.iter().map(|l| l.len() + 1).sum::<usize>()
    };
    let place = |p: &AttemptsView| 200 + p.attempts.iter().map(attempt).sum::<usize>();
    150 + detail.case.len() + detail.places.iter().map(place).sum::<usize>()
}

pub struct PortRow {
    pub port: String,
    pub traits: Vec<String>,
    pub kernel: String,
    pub boot: String,
    pub cpu: String,
    pub guests: usize,
    pub crashed: usize,
    pub versions: Vec<(String, String)>,
    pub command: String,
}

pub fn ports(report: &RunReport) -> Vec<PortRow> {
    let row = |(port, traits): (&crate::model::PortName, &crate::model::Traits)| {
        let cells: Vec<_> = report.cells.iter().filter(|c| c.id.port == *port).collect();
        let guests: Vec<_> = cells.iter().flat_map(|c| &c.guests).collect();
        let up = |restored: bool| {
            let is = move |g: &GuestRecord| (g.came_up != CameUp::Booted) == restored;
            let times = guests.iter().filter(move |g| is(g)).map(|g| g.boot);
            let times: Vec<_> = times.filter(|b| !b.is_zero()).collect();
            match (times.iter().min(), times.iter().max()) {
                (Some(least), Some(most)) if least != most => Some(format!(
                    "{} to {}",
                    duration_words(*least),
                    duration_words(*most)
                )),
                (least, _) => least.map(|time| duration_words(*time)),
            }
        };
        let saved = guests.iter().find_map(|g| match g.came_up {
            CameUp::Restored { boot } => Some(duration_words(boot)),
            CameUp::Booted => None,
        });
        let boot = match (up(false), up(true)) {
            (None, None) => "never".to_owned(),
            (Some(boot), None) => boot,
            (Some(boot), Some(restored)) => format!("{boot}; restored in {restored}"),
            (None, Some(restored)) => format!(
                "restored in {restored}, saved from a boot of {}",
                saved.unwrap_or_default()
            ),
        };
        let versions: BTreeMap<&String, &String> = cells.iter().flat_map(|c| &c.versions).collect();
        PortRow {
            port: one(port.as_str()),
            traits: traits
                .iter()
                .map(|(k, v)| one(&format!("{k}={v}")))
                .collect(),
            kernel: guests
                .iter()
                .map(|g| one(&g.kernel))
                .find(|k| !k.is_empty())
                .unwrap_or_default(),
            boot,
            cpu: duration_words(guests.iter().map(|g| g.cpu).sum()),
            crashed: guests.iter().filter(|g| g.crash.is_some()).count(),
            versions: versions
                .into_iter()
                .take(300)
                .map(|(k, v)| (one(k), one(v)))
                .collect(),
            command: guests
                .first()
                .map(|g| clean(g.command.join(" ").as_bytes(), 2000))
                .unwrap_or_default(),
            guests: guests.len(),
        }
    };
    let ran = report
        .ports
        .iter()
        .filter(|(p, _)| report.cells.iter().any(|c| c.id.port == **p));
    ran.map(row).collect()
}

pub struct CellRow {
    pub id: String,
    pub stage: &'static str,
    pub good: bool,
    pub detail: Vec<String>,
    pub attempts: usize,
    pub guests: usize,
    pub cached: bool,
    pub key: String,
    pub consoles: String,
}

pub fn cells(report: &RunReport) -> Vec<CellRow> {
    let row = |cell: &crate::model::CellResult| CellRow {
        id: one(&cell.id.to_string()),
        stage: cell.stage.word(),
        good: cell.stage == StageResult::Complete,
        detail: head_lines(cell.detail.as_deref().unwrap_or("").as_bytes(), 12, 240),
        attempts: cell.attempts.len(),
        guests: cell.guests.len(),
        cached: cell.cached,
        key: one(cell.key.short()),
        consoles: cell
            .guests
            .iter()
            .take(8)
            .map(|g| one(&g.console))
            .collect::<Vec<_>>()
            .join(" "),
    };
    report.cells.iter().take(2000).map(row).collect()
}
