//! A dead kernel on the page: the lines that tell, and what it was asked.

use crate::host::text::line as clean;
use crate::model::Crash;

/// Lines of an excerpt, and how many of them may come before the one that tells.
const EXCERPT_LINES: usize = 60;
const CONTEXT_LINES: usize = 8;
/// Sections of evidence, and lines of one.
const SECTIONS: usize = 20;
const SECTION_LINES: usize = 200;
const LINE_CHARS: usize = 240;
const PARTICULARS_CHARS: usize = 600;

/// The answer to one question that a dead or silent guest was asked.
pub struct SectionView {
    pub name: String,
    pub lines: Vec<String>,
}

pub fn particulars(crash: &Crash) -> String {
    clean(crash.particulars().as_bytes(), PARTICULARS_CHARS)
}

pub fn sections(crash: &Crash) -> Vec<SectionView> {
    let lines = |lines: &[String], most: usize| {
        let lines = lines.iter().take(most);
        lines.map(|l| clean(l.as_bytes(), LINE_CHARS)).collect()
    };
    let sections = crash.evidence.iter().take(SECTIONS);
    sections
        .map(|section| SectionView {
            name: clean(section.name.as_bytes(), 80),
            lines: lines(&section.lines, SECTION_LINES),
        })
        .collect()
}

pub fn excerpt(crash: &Crash) -> Vec<String> {
    let from = crash.told_at.unwrap_or(0).saturating_sub(CONTEXT_LINES);
    let lines = crash.excerpt.iter().skip(from).take(EXCERPT_LINES);
    lines.map(|l| clean(l.as_bytes(), LINE_CHARS)).collect()
}
