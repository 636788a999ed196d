//! Where a line goes in a list, and how it is written there.

use super::lists::entry;

/// Columns of a tab.
const TAB: usize = 8;

fn width(text: &str) -> usize {
    text.chars().fold(0, |at, c| match c {
        '\t' => (at / TAB + 1) * TAB,
        _ => at + 1,
    })
}

/// The columns in which package and conditions begin.
fn columns(line: &str) -> (Option<usize>, Option<usize>) {
    let mut starts = Vec::new();
    let mut inside = false;
    for (i, c) in line.char_indices() {
        let blank = c == '\t' || c == ' ';
        if !blank && !inside {
            starts.push(width(&line[..i]));
        }
        inside = !blank;
    }
    (starts.get(1).copied(), starts.get(2).copied())
}

/// Appends tabs up to a column, and at least one.
fn pad(text: &mut String, column: usize) {
    text.push('\t');
    while width(text) < column {
        text.push('\t');
    }
}

/// A line in the manner of the lines around `at`.
pub(super) fn written(
    lines: &[String],
    at: usize,
    path: &str,
    package: &str,
    conditions: &[String],
) -> String {
    let near = |i: usize| lines.get(i).filter(|line| entry(line).is_some());
    // Nearest first: the line before, the line behind, and so on.
    let around = (0..40).flat_map(|d| [at.checked_sub(d + 1), Some(at + d)]);
    let found: Vec<_> = around
        .flatten()
        .filter_map(near)
        .map(|line| columns(line))
        .collect();
    let package_at = found.iter().find_map(|(p, _)| *p).unwrap_or(5 * TAB);
    let conditions_at = found.iter().find_map(|(_, c)| *c);
    let conditions_at = conditions_at.unwrap_or(package_at + 3 * TAB);
    let mut line = path.to_owned();
    if !package.is_empty() {
        pad(&mut line, package_at);
        line += package;
    }
    if !conditions.is_empty() {
        pad(&mut line, conditions_at);
        line += &conditions.join(",");
    }
    line
}

/// The index in front of which a path belongs: behind the greatest that is smaller, for lists are
/// sorted by byte, but not everywhere.
pub(super) fn place(lines: &[String], path: &str) -> usize {
    let mut best: Option<(&str, usize)> = None;
    let mut first = None;
    for (i, line) in lines.iter().enumerate() {
        let Some(entry) = entry(line) else { continue };
        first.get_or_insert(i);
        if entry.path < path && best.is_none_or(|(greatest, _)| entry.path >= greatest) {
            best = Some((entry.path, i));
        }
    }
    match (best, first) {
        (Some((_, i)), _) => i + 1,
        (None, Some(i)) => i,
        (None, None) => lines.len(),
    }
}

/// The package of obsolete lines: the commonest `…-obsolete` in the list.
pub(super) fn obsolete_package(lines: &[String]) -> Option<&str> {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for entry in lines.iter().filter_map(|line| entry(line)) {
        if !entry.is_obsolete() || !entry.package.ends_with("-obsolete") {
            continue;
        }
        match counts.iter_mut().find(|(p, _)| *p == entry.package) {
            Some((_, count)) => *count += 1,
            None => counts.push((entry.package, 1)),
        }
    }
    let most = counts.iter().map(|(_, n)| *n).max()?;
    counts.iter().find(|(_, n)| *n == most).map(|(p, _)| *p)
}

/// A path without the version behind `.so.`: libraries that differ by it alone are one library.
pub(super) fn unversioned(path: &str) -> Option<String> {
    let (stem, rest) = path.split_once(".so.")?;
    let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.');
    let end = &rest[digits.unwrap_or(rest.len())..];
    let (version, tail) = match rest.strip_suffix(".debug") {
        Some(version) => (version, ".debug"),
        None => (rest, end),
    };
    let parts = version.split('.').count();
    let numeric = version.split('.').all(|part| part.parse::<u32>().is_ok());
    numeric.then(|| format!("{stem}.so.{parts}{tail}"))
}
