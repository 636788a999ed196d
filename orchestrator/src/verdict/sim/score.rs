//! Who said what of which planted cause.

use std::collections::BTreeSet;
use std::fmt;

use super::{Cause, Draw, Planted, Said};
use crate::model::FindingKind;

/// Counts over one draw or many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Score {
    /// Findings that say "this port only".
    pub said_arch_only: u64,
    /// Of those, the ones that are: the case is bound to one port among those where it ran, and
    /// it is that port.
    pub said_arch_only_right: u64,
    /// Planted failures of one port that could be seen: the port and another ran the case.
    pub arch_only: u64,
    /// Of those, the ones that were said to be so, with the right port.
    pub arch_only_found: u64,
    /// Planted failures bound to traits that could be seen on two ports, and pass elsewhere.
    pub traits: u64,
    /// Of those, the ones whose traits are the first explanation, or hold in the very same columns
    /// as the first.
    pub traits_first: u64,
    /// Flakes that failed under test.
    pub flakes: u64,
    /// Of those, the ones called a regression: a failure bound to something or to everything, or
    /// a new one where the baseline has it.
    pub flakes_wronged: u64,
    /// Accidents that failed under test.
    pub accidents: u64,
    /// Of those, the ones called anything but a flake or not yet known.
    pub accidents_wronged: u64,
    /// Failures everywhere.
    pub common: u64,
    /// Of those, the ones called a failure, or nothing short of one.
    pub common_found: u64,
    /// Of bound and common failures that were found: said to be new or not, as they are.
    pub news: u64,
    /// See [`Self::news`].
    pub news_right: u64,
    /// Cases left undecided.
    pub undecided: u64,
    /// Attempts of the first look.
    pub attempts: u64,
    /// Attempts spent on repeats.
    pub spent: u64,
}

impl Score {
    /// Adds another draw.
    pub fn add(&mut self, other: &Self) {
        let mut fields = self.fields_mut();
        let mut copy = *other;
        for (mine, theirs) in fields.iter_mut().zip(copy.fields_mut()) {
            **mine += *theirs;
        }
    }

    fn fields_mut(&mut self) -> [&mut u64; 17] {
        [
            &mut self.said_arch_only,
            &mut self.said_arch_only_right,
            &mut self.arch_only,
            &mut self.arch_only_found,
            &mut self.traits,
            &mut self.traits_first,
            &mut self.flakes,
            &mut self.flakes_wronged,
            &mut self.accidents,
            &mut self.accidents_wronged,
            &mut self.common,
            &mut self.common_found,
            &mut self.news,
            &mut self.news_right,
            &mut self.undecided,
            &mut self.attempts,
            &mut self.spent,
        ]
    }
}

/// A share, with its numbers.
fn share(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "none".to_owned();
    }
    format!("{:.2} % of {whole}", 100.0 * part as f64 / whole as f64)
}

/// Two scores side by side.
#[derive(Debug)]
pub struct SideBySide<'a>(pub &'a Score, pub &'a Score);

impl fmt::Display for SideBySide<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(judge, rule) = self;
        writeln!(
            f,
            "{:<46} {:>9} {:>22} {:>22}",
            "", "aim", "fallout", "obvious rule"
        )?;
        let mut line = |what: &str, aim: &str, of: &dyn Fn(&Score) -> String| {
            writeln!(f, "{what:<46} {aim:>9} {:>22} {:>22}", of(judge), of(rule))
        };
        line("reported as one port only, and are", ">= 99 %", &|s| {
            share(s.said_arch_only_right, s.said_arch_only)
        })?;
        line("one port only, and found", ">= 95 %", &|s| {
            share(s.arch_only_found, s.arch_only)
        })?;
        line("bound to traits: first or tied", ">= 95 %", &|s| {
            share(s.traits_first, s.traits)
        })?;
        line("flakes called regressions", "< 1 %", &|s| {
            share(s.flakes_wronged, s.flakes)
        })?;
        line("accidents called regressions", "", &|s| {
            share(s.accidents_wronged, s.accidents)
        })?;
        line("failures everywhere, and found", "", &|s| {
            share(s.common_found, s.common)
        })?;
        line("of failures found: new or old, right", "", &|s| {
            share(s.news_right, s.news)
        })?;
        line("left undecided", "", &|s| s.undecided.to_string())?;
        line("extra attempts", "<= 10 %", &|s| share(s.spent, s.attempts))
    }
}

/// Compares what was said with what was planted.
pub fn score(draw: &Draw, said: &[Said], spent: u64) -> Score {
    let mut score = Score {
        attempts: draw.attempts,
        spent,
        ..Score::default()
    };
    for (case, said) in draw.planted.iter().zip(said) {
        one(draw, case, said, &mut score);
    }
    score
}

fn one(draw: &Draw, case: &Planted, said: &Said, score: &mut Score) {
    let running = |columns: &[u16]| -> Vec<u16> {
        let runs = columns.iter().filter(|i| case.runs[usize::from(**i)]);
        runs.copied().collect()
    };
    let ports = |columns: &[u16]| -> BTreeSet<usize> {
        let port = |i: &u16| {
            let port = &draw.columns[usize::from(*i)].port;
            draw.ports.keys().position(|p| p == port).unwrap_or(0)
        };
        columns.iter().map(port).collect()
    };
    let bound = running(&case.bound);
    let all: Vec<u16> = (0..draw.columns.len() as u16).collect();
    let elsewhere = running(&all).len() > bound.len();
    let truly_one_port = ports(&bound).len() == 1 && elsewhere;
    let right_port = truly_one_port && ports(&running(&said.region)) == ports(&bound);
    if said.kind == Some(FindingKind::ArchOnly) {
        score.said_arch_only += 1;
        score.said_arch_only_right += u64::from(right_port);
    }
    let called = matches!(
        said.kind,
        Some(FindingKind::ArchOnly | FindingKind::TraitBound | FindingKind::Regression)
    );
    score.undecided += u64::from(said.kind == Some(FindingKind::Undecided));
    let mut news = |found: bool| {
        if found {
            score.news += 1;
            score.news_right += u64::from(said.new != case.old);
        }
    };
    match case.cause {
        Cause::ArchOnly if truly_one_port => {
            let found = said.kind == Some(FindingKind::ArchOnly) && right_port;
            news(found);
            score.arch_only += 1;
            score.arch_only_found += u64::from(found);
        }
        Cause::TraitBound if ports(&bound).len() >= 2 && elsewhere => {
            let named = said.splits.first().is_some_and(|s| s.all_of == case.traits);
            let found = called && (named || running(&said.region) == bound);
            news(found);
            score.traits += 1;
            score.traits_first += u64::from(found);
        }
        Cause::Common => {
            let found = said.kind == Some(FindingKind::Regression);
            news(found);
            score.common += 1;
            score.common_found += u64::from(found);
        }
        Cause::OldFlake | Cause::NewFlake if said.kind.is_some() => {
            score.flakes += 1;
            let falsely_new = case.old && said.new && said.kind != Some(FindingKind::Undecided);
            score.flakes_wronged += u64::from(called || falsely_new);
        }
        Cause::Accident => {
            score.accidents += 1;
            score.accidents_wronged += u64::from(called);
        }
        _ => {}
    }
}
