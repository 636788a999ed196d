//! Findings in words, and the classes that the style sheet knows them by.

use crate::host::text::line as clean;
use crate::model::{FindingKind, News};

use super::view::SENTENCE;

/// A kind's class in the style sheet, and its word.
pub fn kind_words(kind: FindingKind) -> (&'static str, &'static str) {
    match kind {
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
    }
}

/// The word for how a finding stands against the baseline, and its class.
pub fn news_words(kind: FindingKind, news: News) -> (&'static str, &'static str) {
    match (kind, news) {
        (FindingKind::Fixed, _) => ("", ""),
        (_, News::New) => ("new", "new"),
        (_, News::Known) => ("known", "known"),
        (_, News::Unclear) => ("perhaps new", "new"),
        (_, News::NoBaseline) => ("no baseline", "known"),
    }
}

/// A sentence in parts: text, and whether it is code.
pub fn parts(sentence: &str) -> Vec<(bool, String)> {
    clean(sentence.as_bytes(), SENTENCE)
        .split('`')
        .enumerate()
        .map(|(i, part)| (i % 2 == 1, part.to_owned()))
        .collect()
}
