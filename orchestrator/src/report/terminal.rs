//! The verdict on a terminal: heading, table, counts, sentences, what says nothing.
//!
//! It reads without colour, without Unicode and at 80 columns; every state has a character of its
//! own, and colour only repeats it. It prints nothing: the caller has the screen.

use std::collections::BTreeSet;

use super::grid::{Grid, State, grids};
use super::{RunReport, Source, duration_words, spent};
use crate::host::text::{count, line as clean};
use crate::model::{CameUp, Crash, Finding, FindingKind, News, PortName, StageResult};

/// Lines of a kernel's last words that are shown.
const EXCERPT_LINES: usize = 6;

/// Findings that are told at length; the rest is counted, and stands in the other reports.
const FINDINGS: usize = 60;

/// Longest sentence, in characters.
const SENTENCE: usize = 900;

/// How to draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Use ANSI colours.
    pub colour: bool,
    /// Use characters beyond ASCII.
    pub unicode: bool,
    /// Columns of the screen; fewer than 40 count as 40.
    pub width: usize,
}

#[derive(Debug, Clone, Copy)]
enum Ink {
    Plain,
    Bold,
    Dim,
    Red,
    Green,
    Yellow,
}

impl Style {
    fn paint(&self, ink: Ink, text: &str) -> String {
        let code = match ink {
            Ink::Plain => return text.to_owned(),
            Ink::Bold => "1",
            Ink::Dim => "2",
            Ink::Red => "1;31",
            Ink::Green => "32",
            Ink::Yellow => "33",
        };
        if self.colour && !text.trim().is_empty() {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    fn glyph(&self, state: State) -> char {
        match state.glyph() {
            g if g.is_ascii() || self.unicode => g,
            _ => '.',
        }
    }

    /// Text of fallout's own making, without what this terminal may not show.
    fn own(&self, text: &str) -> String {
        if self.unicode {
            text.to_owned()
        } else {
            text.replace('…', "...").replace('│', "|").replace('✓', ".")
        }
    }

    /// One wrapped item of a list.
    pub(super) fn item(&self, untrusted: &str) -> String {
        let text = self.safe(untrusted, SENTENCE);
        wrap(&text, self.width.max(40), "  - ", "    ", Ink::Plain, self)
    }

    /// Untrusted text on one line.
    fn safe(&self, text: &str, max_chars: usize) -> String {
        self.own(&clean(text.as_bytes(), max_chars))
    }
}

/// Draws a run. `html` is where the page is, if one was written.
pub fn render(report: &RunReport, style: &Style, html: Option<&str>) -> String {
    let style = &Style {
        width: style.width.max(40),
        ..*style
    };
    let mut out = String::new();
    heading(report, style, &mut out);
    let grids = grids(report);
    for grid in &grids {
        table(report, grid, style, &mut out);
    }
    findings(report, style, &mut out);
    if let Some(spent) = &report.spent {
        let items = spent::lines(spent);
        out.push('\n');
        let headline = spent::headline(spent);
        out.push_str(&wrap(&headline, style.width, "", "", Ink::Bold, style));
        items
            .iter()
            .for_each(|item| out.push_str(&style.item(item)));
    }
    lines(
        "Says nothing, through no fault of what was tested:",
        &report.verdict.host_faults,
        style,
        &mut out,
    );
    lines("Worth knowing:", &report.verdict.notes, style, &mut out);
    for grid in &grids {
        counts(grid, style, &mut out);
    }
    if let Some(html) = html {
        out.push_str(&format!("\nReport: {}\n", style.safe(html, 4096)));
    }
    out
}

/// What the run comes to, in a few words: `7 new findings, 1 known, 1 fixed`.
pub fn headline(report: &RunReport) -> String {
    let of = |which: &dyn Fn(&Finding) -> bool| {
        report.verdict.findings.iter().filter(|f| which(f)).count()
    };
    let fixed = of(&|f| f.kind == FindingKind::Fixed);
    let known = of(&|f| f.kind != FindingKind::Fixed && f.news == News::Known);
    let fresh = of(&|f| f.kind != FindingKind::Fixed && f.news != News::Known);
    let mut words = match fresh {
        0 => "nothing new is wrong".to_owned(),
        1 => "1 new finding".to_owned(),
        n => format!("{n} new findings"),
    };
    if known > 0 {
        words.push_str(&format!(", {known} known"));
    }
    if fixed > 0 {
        words.push_str(&format!(", {fixed} fixed"));
    }
    let faults = report.verdict.host_faults.len();
    if faults > 0 {
        let s = if faults == 1 { "" } else { "s" };
        words.push_str(&format!(", {faults} fault{s} of the host"));
    }
    if report.interrupted {
        words.push_str(", interrupted");
    }
    words
}

fn heading(report: &RunReport, style: &Style, out: &mut String) {
    let ink = if report.verdict.is_clean() {
        Ink::Green
    } else {
        Ink::Red
    };
    let title = format!(
        "{}: {}",
        clean(report.matrix.as_bytes(), 60),
        headline(report)
    );
    out.push_str(&format!("\n{}\n", style.paint(ink, &title)));
    let source = |s: &Source| {
        let patches = match s.patches.len() {
            0 => String::new(),
            1 => ", 1 patch".to_owned(),
            n => format!(", {n} patches"),
        };
        style.safe(&format!("{} ({}){patches}", s.name, s.id), style.width - 12)
    };
    out.push_str(&format!("  candidate  {}\n", source(&report.candidate)));
    match &report.baseline {
        Some(baseline) => out.push_str(&format!("  baseline   {}\n", source(baseline))),
        None => out.push_str("  baseline   none\n"),
    }
    let ports: BTreeSet<&PortName> = report.cells.iter().map(|c| &c.id.port).collect();
    let attempts: usize = report.cells.iter().map(|c| c.attempts.len()).sum();
    let cached = report.cells.iter().filter(|c| c.cached).count();
    out.push_str(&format!(
        "  run        {} ({}, {})\n",
        clean(report.run.0.as_bytes(), 36),
        report.started.strftime("%F %R UTC"),
        duration_words(report.took)
    ));
    out.push_str(&format!(
        "  size       {}, {} ({cached} from the cache), {}\n",
        count(ports.len(), "port"),
        count(report.cells.len(), "cell"),
        count(attempts, "attempt")
    ));
}

/// The cases of a suite that findings are about, with a character for each column.
fn table(report: &RunReport, grid: &Grid<'_>, style: &Style, out: &mut String) {
    let rows: Vec<(usize, &Finding)> = report
        .verdict
        .findings
        .iter()
        .enumerate()
        .filter(|(_, f)| f.suite == grid.suite && f.case.is_some())
        .take(FINDINGS)
        .collect();
    if rows.is_empty() {
        return;
    }
    // Number, then the case, then two characters a column: as many columns as fit.
    let (number, least) = (4, 24);
    let per_block = (style.width.saturating_sub(number + least + 8) / 2).max(1);
    let bar = if style.unicode { '│' } else { '|' };
    let mut seen = BTreeSet::new();
    for block in (0..grid.columns.len())
        .collect::<Vec<_>>()
        .chunks(per_block)
    {
        let last = block
            .last()
            .map_or(0, |i| grid.columns[*i].as_str().chars().count());
        let name_width = style
            .width
            .saturating_sub(number + 2 * block.len() + last.min(12));
        let longest = rows.iter().filter_map(|(_, f)| f.case.as_ref());
        let longest = longest
            .map(|c| c.to_string().chars().count())
            .max()
            .unwrap_or(0);
        let name_width = name_width.min(longest + 1);
        let indent = " ".repeat(number + name_width);
        out.push('\n');
        for (depth, i) in block.iter().enumerate() {
            let bars: String = (0..depth).map(|_| format!("{bar} ")).collect();
            let lead = if depth == 0 {
                let suite = clean(grid.suite.as_bytes(), name_width.max(4));
                let pad = (number + name_width).saturating_sub(suite.chars().count());
                format!("{}{}", style.paint(Ink::Bold, &suite), " ".repeat(pad))
            } else {
                indent.clone()
            };
            let name = clean(grid.columns[*i].as_str().as_bytes(), 24);
            out.push_str(&format!("{lead}{bars}{name}\n"));
        }
        for (n, finding) in &rows {
            let Some(case) = &finding.case else { continue };
            let name = middle(
                &clean(case.to_string().as_bytes(), 400),
                name_width.saturating_sub(1),
                style,
            );
            let pad = name_width.saturating_sub(name.chars().count());
            out.push_str(&format!("{:>3} {name}{}", n + 1, " ".repeat(pad)));
            let places = grid.rows.binary_search_by(|(c, _)| (*c).cmp(case)).ok();
            let places = places.map(|i| &grid.rows[i].1);
            let mut line = String::new();
            for i in block {
                let place = places.map(|p| p[*i]).unwrap_or_default();
                let state = place.candidate.state();
                seen.insert(state);
                let (glyph, then) = (style.glyph(state), place.baseline.state());
                let fixed = then.is_bad() && state.is_good();
                let glyph = if fixed {
                    '+'
                } else if state.is_bad() && then.is_bad() {
                    glyph.to_ascii_lowercase()
                } else {
                    glyph
                };
                line.push_str(&style.paint(ink(state), &glyph.to_string()));
                line.push(' ');
            }
            out.push_str(line.trim_end_matches(' '));
            out.push('\n');
        }
    }
    let legend = State::ALL
        .into_iter()
        .filter(|s| *s != State::Absent && seen.contains(s));
    let mut legend: Vec<String> = legend
        .map(|s| format!("{} {}", style.glyph(s), s.word()))
        .collect();
    if grid.has_baseline {
        legend.push("small letter: in the baseline too".into());
        if rows.iter().any(|(_, f)| f.kind == FindingKind::Fixed) {
            legend.push("+ fixed".into());
        }
    }
    out.push_str(&wrap(
        &legend.join(", "),
        style.width,
        "    ",
        "    ",
        Ink::Dim,
        style,
    ));
}

fn ink(state: State) -> Ink {
    match state {
        State::Passed | State::Expected => Ink::Green,
        State::Mixed => Ink::Yellow,
        State::Failed | State::Broken | State::Hung | State::Crashed => Ink::Red,
        State::Skipped | State::Missed | State::Absent => Ink::Dim,
    }
}

/// A long case name keeps its ends: the program's start and the case.
fn middle(name: &str, width: usize, style: &Style) -> String {
    let chars: Vec<char> = name.chars().collect();
    if chars.len() <= width {
        return name.to_owned();
    }
    let dots = style.own("…");
    let keep = width.saturating_sub(dots.chars().count());
    let head: String = chars[..keep / 3].iter().collect();
    let tail: String = chars[chars.len() - (keep - keep / 3)..].iter().collect();
    format!("{head}{dots}{tail}")
}

fn label(finding: &Finding) -> (Ink, &'static str) {
    match finding.kind {
        FindingKind::Panic => (Ink::Red, "PANIC"),
        FindingKind::Hang => (Ink::Red, "HANG"),
        FindingKind::Gone => (Ink::Red, "GONE"),
        FindingKind::Stage => (Ink::Red, "STAGE"),
        FindingKind::Regression => (Ink::Red, "FAILS"),
        FindingKind::Undecided => (Ink::Yellow, "NOT YET KNOWN"),
        FindingKind::TraitBound => (Ink::Red, "TRAIT"),
        FindingKind::ArchOnly => (Ink::Red, "ONE PORT"),
        FindingKind::Flake => (Ink::Yellow, "FLAKY"),
        FindingKind::Missed => (Ink::Yellow, "NEVER RAN"),
        FindingKind::Fixed => (Ink::Green, "FIXED"),
    }
}

fn findings(report: &RunReport, style: &Style, out: &mut String) {
    let all = &report.verdict.findings;
    for (i, finding) in all.iter().take(FINDINGS).enumerate() {
        let (ink, word) = label(finding);
        let ink = if finding.news == News::Known {
            Ink::Dim
        } else {
            ink
        };
        out.push_str(&format!("\n{:>3} {}\n", i + 1, style.paint(ink, word)));
        let sentence = style.safe(&finding.sentence, SENTENCE);
        out.push_str(&wrap(
            &sentence,
            style.width,
            "    ",
            "    ",
            Ink::Plain,
            style,
        ));
        for line in reasons(finding) {
            let line = style.safe(&line, SENTENCE);
            out.push_str(&wrap(
                &line,
                style.width,
                "    - ",
                "      ",
                Ink::Plain,
                style,
            ));
        }
        if finding.kind != FindingKind::Stage {
            for line in &finding.evidence {
                let line = style.safe(line, SENTENCE);
                out.push_str(&wrap(
                    &line,
                    style.width,
                    "    - ",
                    "      ",
                    Ink::Plain,
                    style,
                ));
            }
        }
        let particulars = finding.crash.iter().map(Crash::particulars);
        for line in particulars.filter(|line| !line.is_empty()) {
            let line = style.safe(&line, SENTENCE);
            out.push_str(&wrap(&line, style.width, "    ", "    ", Ink::Dim, style));
        }
        for line in finding
            .crash
            .iter()
            .flat_map(|c| c.telling())
            .take(EXCERPT_LINES)
        {
            let bar = style.own("    │ ");
            let line = style.safe(line, style.width - 6);
            out.push_str(&format!(
                "{}\n",
                style.paint(Ink::Dim, &format!("{bar}{line}"))
            ));
        }
    }
    if all.len() > FINDINGS {
        let rest = all.len() - FINDINGS;
        out.push_str(
            &format!("\n    … and {rest} more findings in the report.\n")
                .replace('…', &style.own("…")),
        );
    }
}

/// Each different reason once, with the ports that gave it; not what the sentence says already.
fn reasons(finding: &Finding) -> Vec<String> {
    let mut lines: Vec<(&str, Vec<&str>)> = Vec::new();
    for tally in &finding.failing {
        let Some(reason) = tally.reason.as_deref() else {
            continue;
        };
        if finding.sentence.contains(reason) {
            continue;
        }
        match lines.iter_mut().find(|(r, _)| *r == reason) {
            Some((_, ports)) => ports.push(tally.port.as_str()),
            None => lines.push((reason, vec![tally.port.as_str()])),
        }
    }
    let line = |(reason, ports): (&str, Vec<&str>)| format!("{}: {reason}", ports.join(", "));
    lines.into_iter().take(4).map(line).collect()
}

fn lines(title: &str, items: &[String], style: &Style, out: &mut String) {
    if items.is_empty() {
        return;
    }
    out.push_str(&format!("\n{}\n", style.paint(Ink::Bold, title)));
    for item in items {
        let item = style.safe(item, SENTENCE);
        out.push_str(&wrap(&item, style.width, "  - ", "    ", Ink::Plain, style));
    }
}

/// Cases by state for each column; states that nothing has are left out.
fn counts(grid: &Grid<'_>, style: &Style, out: &mut String) {
    let counted: Vec<_> = (0..grid.columns.len()).map(|i| grid.counts(i)).collect();
    let states: Vec<State> = State::ALL
        .into_iter()
        .filter(|s| *s != State::Absent && counted.iter().any(|c| c.contains_key(s)))
        .collect();
    let suite = clean(grid.suite.as_bytes(), 22);
    let names = grid.columns.iter().map(|c| c.as_str().chars().count());
    let first = names
        .chain([suite.chars().count()])
        .max()
        .unwrap_or(0)
        .min(24)
        + 1;
    let pad = |text: &str| format!("{text:<first$}");
    let wide = |s: &State| s.word().len().max(5) + 1;
    let with_boot = first + states.iter().map(wide).sum::<usize>() + 8 <= style.width;
    out.push_str(&format!("\n{}", style.paint(Ink::Bold, &pad(&suite))));
    for state in &states {
        out.push_str(&format!("{:>1$}", state.word(), wide(state)));
    }
    out.push_str(if with_boot { "    boot\n" } else { "\n" });
    let mut spared = Vec::new();
    for (i, counts) in counted.iter().enumerate() {
        out.push_str(&pad(&clean(grid.columns[i].as_str().as_bytes(), 24)));
        let cells: Vec<_> = grid.candidates(i).collect();
        let stage = cells
            .iter()
            .map(|c| c.stage)
            .find(|s| *s != StageResult::Complete);
        let stage = stage.map_or(
            if cells.is_empty() { "not run" } else { "" },
            StageResult::word,
        );
        if counts.keys().all(|s| *s == State::Absent) {
            out.push_str(&format!(" {}\n", style.paint(Ink::Red, stage)));
            continue;
        }
        for state in &states {
            let n = counts.get(state).copied().unwrap_or(0);
            let text = if n == 0 {
                "-".to_owned()
            } else {
                n.to_string()
            };
            let ink = match ink(*state) {
                Ink::Green => Ink::Plain,
                _ if n == 0 => Ink::Dim,
                other => other,
            };
            out.push_str(&style.paint(ink, &format!("{text:>0$}", wide(state))));
        }
        if with_boot {
            let mut guests = cells.iter().flat_map(|c| &c.guests);
            let boot = match guests.find(|g| !g.boot.is_zero()) {
                None => "-".to_owned(),
                Some(g) => match g.came_up {
                    CameUp::Booted => duration_words(g.boot),
                    CameUp::Restored { boot } => {
                        spared.push(boot);
                        format!("{}*", duration_words(g.boot))
                    }
                },
            };
            out.push_str(&format!("{boot:>8}"));
        }
        out.push('\n');
        if !stage.is_empty() {
            out.push_str(&format!("{} {}\n", pad(""), style.paint(Ink::Red, stage)));
        }
    }
    if let (Some(least), Some(most)) = (spared.iter().min(), spared.iter().max()) {
        let (least, most) = (duration_words(*least), duration_words(*most));
        let took = match least == most {
            true => least,
            false => format!("{least} to {most}"),
        };
        let note = format!("* restored; the boot that was saved took {took}");
        out.push_str(&format!("{}\n", style.paint(Ink::Dim, &note)));
    }
}

/// Breaks text at blanks. `first` leads the first line, `rest` the others.
fn wrap(text: &str, width: usize, first: &str, rest: &str, ink: Ink, style: &Style) -> String {
    let mut lines: Vec<String> = Vec::new();
    let lead = first.chars().count();
    for word in text.split(' ').filter(|w| !w.is_empty()) {
        match lines.last_mut() {
            Some(line) if lead + line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    let mut out = String::new();
    for (i, line) in lines.iter().enumerate() {
        let lead = if i == 0 { first } else { rest };
        out.push_str(&format!("{lead}{}\n", style.paint(ink, line)));
    }
    out
}

#[cfg(test)]
mod tests;
