//! A sign-off for people: one page, no external resource, no script; and lines for a terminal.

use askama::Template;

use crate::host::text::line as clean;
use crate::model::signoff::{Line, Say, SignOff};

const SENTENCE: usize = 600;

/// A line as pages show it: cleaned.
pub(crate) struct LineView {
    pub name: String,
    pub asks: String,
    pub say: &'static str,
    pub class: &'static str,
    pub why: String,
    pub evidence: Vec<String>,
    pub runs: Vec<String>,
    pub waiver: Option<String>,
}

#[derive(Template)]
#[template(path = "signoff.html")]
struct Page {
    go: bool,
    headline: String,
    policy: String,
    policy_hash: String,
    asked: String,
    revision: String,
    branch_point: String,
    id: String,
    at: String,
    lines: Vec<LineView>,
    notes: Vec<String>,
    nonce: String,
}

fn text(untrusted: &str) -> String {
    clean(untrusted.as_bytes(), SENTENCE)
}

/// The lines that stand in the way first; what the policy has first, first within each kind.
fn in_order(signoff: &SignOff) -> Vec<&Line> {
    let mut lines: Vec<&Line> = signoff.lines.iter().collect();
    lines.sort_by_key(|line| match line.say {
        Say::NoGo => 0,
        Say::Unknown => 1,
        Say::Waived => 2,
        Say::Go => 3,
    });
    lines
}

/// The lines for a page.
pub(crate) fn lines(signoff: &SignOff) -> Vec<LineView> {
    in_order(signoff).into_iter().map(line).collect()
}

/// `go`, or how many lines stand against it.
pub fn headline(signoff: &SignOff) -> String {
    let count = |say: Say| match signoff.count(say) {
        0 => None,
        n => Some(format!("{n} {}", say.word())),
    };
    let said = [Say::NoGo, Say::Unknown, Say::Waived, Say::Go];
    let counts: Vec<String> = said.into_iter().filter_map(count).collect();
    let word = if signoff.go { Say::Go } else { Say::NoGo };
    format!("{}: {}", word.word(), counts.join(", "))
}

/// Cleans a line.
fn line(line: &Line) -> LineView {
    LineView {
        name: text(&line.name),
        asks: text(&line.asks),
        say: line.say.word(),
        class: match line.say {
            Say::Go => "passed",
            Say::NoGo => "failed",
            Say::Waived => "flaky",
            Say::Unknown => "missed",
        },
        why: text(&line.why),
        evidence: line.evidence.iter().map(|e| text(e)).collect(),
        runs: line.runs.iter().map(|r| text(r)).collect(),
        waiver: waiver(line),
    }
}

fn waiver(line: &Line) -> Option<String> {
    let waiver = line.waiver.as_ref()?;
    let said = format!("{} until {}: {}", waiver.by, waiver.until, waiver.reason);
    Some(text(&said))
}

/// The mark of the page's own styles; no secret.
pub fn nonce(id: &str) -> String {
    crate::model::Key::of("signoff nonce", &[id.as_bytes()]).0[..32].to_owned()
}

/// The page.
///
/// # Errors
/// Only where the template engine fails, which no content makes it do.
pub fn html(signoff: &SignOff) -> Result<String, askama::Error> {
    Page {
        go: signoff.go,
        headline: headline(signoff),
        policy: text(&signoff.policy),
        policy_hash: text(&signoff.policy_hash),
        asked: text(&signoff.asked),
        revision: text(&signoff.revision),
        branch_point: text(signoff.branch_point.as_deref().unwrap_or_default()),
        id: text(&signoff.id),
        at: signoff.at.strftime("%F %R UTC").to_string(),
        lines: lines(signoff),
        notes: signoff.notes.iter().map(|n| text(n)).collect(),
        nonce: nonce(&signoff.id),
    }
    .render()
}

/// For a terminal.
pub fn terminal(signoff: &SignOff) -> String {
    let mut out = format!(
        "{} ({:.12}) by {}: {}\n\n",
        text(&signoff.asked),
        text(&signoff.revision),
        text(&signoff.policy),
        headline(signoff),
    );
    for line in in_order(signoff) {
        let (say, name) = (line.say.word(), text(&line.name));
        out.push_str(&format!("{say:<8} {name}: {}\n", text(&line.why)));
        if let Some(waiver) = waiver(line) {
            out.push_str(&format!("         waived by {waiver}\n"));
        }
        // What passes needs no proof here; the page has it.
        if !matches!(line.say, Say::Go) {
            for told in line.evidence.iter().take(8) {
                out.push_str(&format!("         - {}\n", text(told)));
            }
            let left = line.evidence.len().saturating_sub(8);
            if left > 0 {
                out.push_str(&format!("         - and {left} more on the page\n"));
            }
        }
    }
    for note in &signoff.notes {
        out.push_str(&format!("note: {}\n", text(note)));
    }
    out
}
