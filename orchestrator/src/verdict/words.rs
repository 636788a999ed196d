//! The sentences: plain words for ports, traits, counts and news.

use std::fmt::Write as _;

use super::chance::Count;
use crate::model::{News, PortTally, TraitSplit};

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

/// The closing words on the baseline.
pub fn news(news: News) -> &'static str {
    match news {
        News::New => "New since the baseline.",
        News::Known => "The baseline shows it too.",
        News::NoBaseline => "There is no baseline for it.",
    }
}

/// The first line of a guest's text, shortened.
pub fn quote(text: &str) -> String {
    let line = text.lines().find(|l| !l.trim().is_empty()).unwrap_or("");
    shorten(line.trim(), QUOTED)
}

/// At most `chars` characters, with an ellipsis where something was cut.
pub fn shorten(text: &str, chars: usize) -> String {
    if text.chars().nth(chars).is_none() {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(chars.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// `1 case`, `2 cases`.
pub fn count(n: usize, one: &str) -> String {
    if n == 1 {
        format!("1 {one}")
    } else {
        format!("{n} {one}s")
    }
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
