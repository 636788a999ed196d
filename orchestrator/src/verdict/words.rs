//! The sentences: plain words for ports, traits, counts and news.

use std::fmt::Write as _;

use super::chance::Count;
pub use crate::host::text::count;
pub use crate::model::shorten;
use crate::model::{Certainty, News, NewsEvidence, NextCell, PortTally, TraitSplit};

/// Ports that a sentence names before it counts the rest.
const NAMED: usize = 4;

/// The longest quotation from a guest in a sentence, in characters.
const QUOTED: usize = 160;

/// `a`, `a and b`, `a, b, c and d`, `a, b, c and 6 others`.
pub fn list<T: AsRef<str>>(items: &[T], named: usize) -> String {
    let (shown, rest) = if items.len() > named {
        // "and 1 other" would say less than the name.
        items.split_at(named.saturating_sub(1).max(1).min(items.len()))
    } else {
        (items, &items[..0])
    };
    let mut words: Vec<String> = shown.iter().map(|s| s.as_ref().to_owned()).collect();
    match rest.len() {
        0 => {}
        1 => words.push(rest[0].as_ref().to_owned()),
        n => words.push(format!("{n} others")),
    }
    match words.split_last() {
        None => String::new(),
        Some((last, [])) => last.clone(),
        Some((last, head)) => format!("{} and {last}", head.join(", ")),
    }
}

/// The ports of some tallies, in words.
pub fn ports(tallies: &[PortTally]) -> String {
    let names: Vec<&str> = tallies.iter().map(|t| t.port.as_str()).collect();
    list(&names, NAMED)
}

/// The attempts of some tallies, added up.
pub fn sum(tallies: &[PortTally]) -> Count {
    let count = |t: &PortTally| Count {
        bad: t.bad,
        total: t.total,
    };
    tallies
        .iter()
        .map(count)
        .fold(Count::default(), Count::plus)
}

/// `6 of 6`: bad attempts.
pub fn bad_of(tallies: &[PortTally]) -> String {
    let Count { bad, total } = sum(tallies);
    format!("{bad} of {total}")
}

/// `, passes on amd64 and 6 others (21 of 21)`, or nothing where nothing passes.
pub fn passes(passing: &[PortTally]) -> String {
    if passing.is_empty() {
        return String::new();
    }
    let Count { bad, total } = sum(passing);
    format!(
        ", passes on {} ({} of {total})",
        ports(passing),
        total.saturating_sub(bad)
    )
}

/// One trait in words: `big-endian`, `ILP32`, `unsigned char`, `unaligned double traps`.
pub fn trait_phrase(key: &str, value: &str) -> String {
    let name = key.replace('_', " ");
    match (key, value) {
        ("endian", _) => format!("{value}-endian"),
        ("word", _) => value.to_owned(),
        ("page_kib", _) => format!("{value} KiB pages"),
        ("time_t" | "off_t", _) => format!("{value}-bit {key}"),
        ("md", _) => format!("{value} family"),
        (_, "works" | "traps" | "wraps" | "saturates" | "silent") => format!("{name} {value}"),
        (_, "yes" | "true") => name,
        (_, "no" | "false") => format!("no {name}"),
        _ if value.bytes().all(|b| b.is_ascii_digit()) => format!("{key}={value}"),
        _ => format!("{value} {name}"),
    }
}

/// A conjunction in words.
pub fn split_phrase(split: &TraitSplit) -> String {
    let phrase = |(k, v): &(String, String)| trait_phrase(k, v);
    let words: Vec<String> = split.all_of.iter().map(phrase).collect();
    list(&words, usize::MAX)
}

/// Rival explanations in words: `big-endian`, `big-endian, or else down stack`.
pub fn rivals(splits: &[TraitSplit]) -> String {
    let mut text = String::new();
    for (i, split) in splits.iter().take(3).enumerate() {
        if i > 0 {
            text.push_str(", or else ");
        }
        text.push_str(&split_phrase(split));
    }
    if splits.len() > 3 {
        let _ = write!(text, ", or one of {} more", splits.len() - 3);
    }
    text
}

/// The failing places as people say them: `amd64 and i386 with DIAGNOSTIC` where all of them are
/// one variant of their ports and other variants speak; else the columns' names.
pub fn places(failing: &[PortTally], others: &[PortTally]) -> String {
    let parts: Option<Vec<(&str, &str)>> = failing
        .iter()
        .map(|t| t.port.as_str().rsplit_once('+'))
        .collect();
    let Some([(_, variant), ..]) = parts.as_deref() else {
        return ports(failing);
    };
    let parts = parts.as_deref().unwrap_or_default();
    let elsewhere = |t: &PortTally| !t.port.as_str().ends_with(&format!("+{variant}"));
    if !parts.iter().all(|(_, v)| v == variant) || !others.iter().any(elsewhere) {
        return ports(failing);
    }
    let names: Vec<&str> = parts.iter().map(|(port, _)| *port).collect();
    format!("{} with {variant}", list(&names, NAMED))
}

/// The explanations that are in the race: `a flake (62 %) or i386 only (31 %)`.
pub fn either(explanations: &[(String, f64)]) -> String {
    let shown = explanations.iter().filter(|(_, p)| *p >= 0.05).take(3);
    let words: Vec<String> = shown
        .map(|(what, p)| format!("{what} ({})", percent(*p)))
        .collect();
    match words.split_last() {
        None => "a flake or more".to_owned(),
        Some((last, [])) => last.clone(),
        Some((last, head)) => format!("{} or {last}", head.join(", ")),
    }
}

/// `62 %`, `99.8 %`, `over 99.9 %`, `under 0.1 %`.
pub fn percent(p: f64) -> String {
    match p {
        p if p > 0.9995 => "over 99.9 %".to_owned(),
        p if p < 0.0005 => "under 0.1 %".to_owned(),
        p if (0.10..0.95).contains(&p) => format!("{:.0} %", p * 100.0),
        p => format!("{:.1} %", p * 100.0),
    }
}

/// How strongly a Bayes factor speaks, in the words of Kass and Raftery.
pub fn strength(log10_bayes_factor: f64) -> &'static str {
    match log10_bayes_factor.abs() {
        x if x < 0.477 => "hardly any",
        x if x < 1.301 => "positive",
        x if x < 2.176 => "strong",
        _ => "very strong",
    }
}

/// `350 to 1`, `over a million to 1`.
fn odds(log10: f64) -> String {
    let log10 = log10.abs();
    if log10 >= 6.0 {
        "over a million to 1".to_owned()
    } else if log10 >= 1.0 {
        format!("{:.0} to 1", 10_f64.powf(log10))
    } else {
        format!("{:.1} to 1", 10_f64.powf(log10))
    }
}

/// The line on how sure a finding is, and how strongly it is new or known.
pub fn sure(certainty: &Certainty, news: Option<&NewsEvidence>) -> Option<String> {
    let mut line = format!("Sure to {}", percent(certainty.posterior));
    let against = news.map(|n| {
        let which = if n.log10_bayes_factor >= 0.0 {
            "new"
        } else {
            "old"
        };
        format!(
            "; {} evidence that it is {which} ({}; {} new)",
            strength(n.log10_bayes_factor),
            odds(n.log10_bayes_factor),
            percent(n.posterior)
        )
    });
    line.push_str(&against.unwrap_or_default());
    line.push('.');
    Some(line)
}

/// `Run it on s390x: tells big-endian from sparc64 family.`
pub fn next(next: &NextCell) -> String {
    let cost = next.cost.map_or(String::new(), |c| {
        format!(" (about {} s)", c.as_secs().max(1))
    });
    let variant = match next.variant.as_str() {
        "stock" => String::new(),
        other => format!(" with {other}"),
    };
    format!(
        "Run it on {}{variant}{cost}: tells {} from {}.",
        next.port,
        rivals(&next.if_it_fails),
        rivals(&next.if_it_passes)
    )
}

/// The closing words on the baseline.
pub fn news(news: News) -> &'static str {
    match news {
        News::New => "New since the baseline.",
        News::Known => "The baseline shows it too.",
        News::Unclear => "Whether it is new is not yet known.",
        News::NoBaseline => "There is no baseline for it.",
    }
}

/// The first line of a guest's text, shortened.
pub fn quote(text: &str) -> String {
    let line = text.lines().find(|l| !l.trim().is_empty()).unwrap_or("");
    shorten(line.trim(), QUOTED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_read_as_sentences_do() {
        let names = ["a", "b", "c", "d", "e", "f"];
        assert_eq!(list(&names[..1], 4), "a");
        assert_eq!(list(&names[..2], 4), "a and b");
        assert_eq!(list(&names[..4], 4), "a, b, c and d");
        assert_eq!(list(&names[..5], 4), "a, b, c and 2 others");
        assert_eq!(list(&names, 2), "a and 5 others");
        assert_eq!(list::<&str>(&[], 4), "");
    }

    #[test]
    fn traits_read_as_people_say_them() {
        assert_eq!(trait_phrase("endian", "big"), "big-endian");
        assert_eq!(trait_phrase("word", "ILP32"), "ILP32");
        assert_eq!(trait_phrase("char", "unsigned"), "unsigned char");
        assert_eq!(trait_phrase("DIAGNOSTIC", "yes"), "DIAGNOSTIC");
        assert_eq!(
            trait_phrase("unaligned_double", "traps"),
            "unaligned double traps"
        );
        assert_eq!(trait_phrase("u64_align", "4"), "u64_align=4");
        assert_eq!(
            trait_phrase("long_double", "double-double"),
            "double-double long double"
        );
    }
}
