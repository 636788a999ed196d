//! Unified diffs from edits that are known line by line.

use std::collections::BTreeMap;

/// Lines of context around a change.
const CONTEXT: usize = 3;

/// What happens to a file: lines that go, and lines that come in front of a line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Edits {
    /// Indices of lines that go.
    pub gone: std::collections::BTreeSet<usize>,
    /// Lines that come, by the index of the line in front of which they come.
    pub come: BTreeMap<usize, Vec<String>>,
}

impl Edits {
    /// The file afterwards.
    pub fn apply(&self, old: &[String]) -> Vec<String> {
        let mut new = Vec::with_capacity(old.len() + self.come.len());
        for i in 0..=old.len() {
            new.extend(self.come.get(&i).into_iter().flatten().cloned());
            if let Some(line) = old.get(i)
                && !self.gone.contains(&i)
            {
                new.push(line.clone());
            }
        }
        new
    }

    /// The diff, as patch(1) takes it with `-p1`; empty where nothing changes.
    pub fn unified(&self, name: &str, old: &[String]) -> String {
        let mut touched: Vec<usize> = self.gone.iter().chain(self.come.keys()).copied().collect();
        touched.sort_unstable();
        touched.dedup();
        let Some(&first) = touched.first() else {
            return String::new();
        };
        // Ranges of old lines, each with its context; what overlaps is one.
        let span = |at: usize| {
            let end = at + usize::from(self.gone.contains(&at));
            let from = at.saturating_sub(CONTEXT);
            (from, (end + CONTEXT).min(old.len()))
        };
        let mut hunks = vec![span(first)];
        for &at in &touched[1..] {
            let (from, to) = span(at);
            match hunks.last_mut() {
                // What comes at a hunk's very end would be in both: they are joined.
                Some(last) if from <= last.1 => last.1 = to.max(last.1),
                _ => hunks.push((from, to)),
            }
        }
        let mut out = format!("--- a/{name}\n+++ b/{name}\n");
        let mut shift: isize = 0;
        for (from, to) in hunks {
            let mut body = String::new();
            let (mut before, mut after) = (0_usize, 0_usize);
            // What comes behind the last line of a hunk belongs to it only at the file's end.
            for i in from..=to {
                let line = old.get(i).filter(|_| i < to);
                let gone = line.filter(|_| self.gone.contains(&i));
                if let Some(line) = gone {
                    body += &format!("-{line}\n");
                    before += 1;
                }
                if i < to || i == old.len() {
                    for line in self.come.get(&i).into_iter().flatten() {
                        body += &format!("+{line}\n");
                        after += 1;
                    }
                }
                if let (Some(line), None) = (line, gone) {
                    body += &format!(" {line}\n");
                    before += 1;
                    after += 1;
                }
            }
            let start = |count: usize, at: usize| if count == 0 { at } else { at + 1 };
            let new_from = from.saturating_add_signed(shift);
            out += &format!(
                "@@ -{},{before} +{},{after} @@\n{body}",
                start(before, from),
                start(after, new_from)
            );
            shift += after as isize - before as isize;
        }
        out
    }
}
