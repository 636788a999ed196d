//! Small numbers for enums. They are stored: a number never changes its meaning, new ones go to
//! the end.

use crate::model::{CrashKind, FindingKind, News, Outcome, Side, StageResult};

const STAGES: [StageResult; 11] = [
    StageResult::Complete,
    StageResult::BuildFailed,
    StageResult::SetsMismatch,
    StageResult::ImageFailed,
    StageResult::BootFailed,
    StageResult::WrongKernel,
    StageResult::EmulatorExited,
    StageResult::TimedOut,
    StageResult::HostFailed,
    StageResult::Interrupted,
    StageResult::CrashLoop,
];

const KINDS: [FindingKind; 11] = [
    FindingKind::Panic,
    FindingKind::Hang,
    FindingKind::ArchOnly,
    FindingKind::TraitBound,
    FindingKind::Regression,
    FindingKind::Flake,
    FindingKind::Stage,
    FindingKind::Missed,
    FindingKind::Fixed,
    FindingKind::Undecided,
    FindingKind::Gone,
];

const CRASHES: [CrashKind; 3] = [CrashKind::Panic, CrashKind::Hang, CrashKind::Gone];

const NEWS: [News; 4] = [News::New, News::Known, News::NoBaseline, News::Unclear];

fn number<T: PartialEq>(all: &[T], one: &T) -> i64 {
    // Not in the list: a value newer than this table reads back as none.
    all.iter().position(|x| x == one).map_or(-1, |n| n as i64)
}

fn value<T: Copy>(all: &[T], number: i64) -> Option<T> {
    usize::try_from(number)
        .ok()
        .and_then(|n| all.get(n).copied())
}

pub fn of_outcome(o: Outcome) -> i64 {
    number(&Outcome::ALL, &o)
}

pub fn outcome(n: i64) -> Option<Outcome> {
    value(&Outcome::ALL, n)
}

pub fn of_stage(s: StageResult) -> i64 {
    number(&STAGES, &s)
}

pub fn stage(n: i64) -> Option<StageResult> {
    value(&STAGES, n)
}

pub fn of_kind(k: FindingKind) -> i64 {
    number(&KINDS, &k)
}

pub fn kind(n: i64) -> Option<FindingKind> {
    value(&KINDS, n)
}

pub fn of_news(n: News) -> i64 {
    number(&NEWS, &n)
}

pub fn news(n: i64) -> Option<News> {
    value(&NEWS, n)
}

pub fn of_side(s: Side) -> i64 {
    number(&[Side::Baseline, Side::Candidate], &s)
}

pub fn side(n: i64) -> Side {
    value(&[Side::Baseline, Side::Candidate], n).unwrap_or(Side::Candidate)
}

pub fn of_crash(k: CrashKind) -> i64 {
    number(&CRASHES, &k)
}

pub fn crash(n: i64) -> CrashKind {
    value(&CRASHES, n).unwrap_or(CrashKind::Panic)
}
