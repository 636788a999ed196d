//! Files of hashes, as they stand beside the files of a release: pure.
//!
//! `SHA512` and `MD5` have lines as BSD's cksum(1) prints them (`SHA512 (base.tgz) = 0123…`); what GNU's
//! tools print is read too. Other algorithms in the same file are passed by. A page that a mirror
//! sends in the place of such a file has none of these lines, which is an error and not an empty file.

use std::collections::BTreeMap;

use super::listing::looks_like_html;
use crate::host::text;

/// What a file's content must hash to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sum {
    /// 32 hexadecimal digits. Against accidents, not against an attacker.
    Md5(String),
    /// 128 hexadecimal digits.
    Sha512(String),
}

impl std::fmt::Display for Sum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Md5(digits) => write!(f, "MD5 {digits}"),
            // So much tells two apart, and fits into a sentence.
            Self::Sha512(digits) => write!(f, "SHA512 {}…", &digits[..digits.len().min(16)]),
        }
    }
}

/// Hashes by file.
pub type Sums = BTreeMap<String, Sum>;

/// Lines beyond this are not read: a release has some hundred files.
const LINES_MAX: usize = 100_000;

/// Reads a file of hashes. Where a file has both kinds, the better one counts.
///
/// Errors: what is wrong with it, for a sentence that names it.
pub fn parse(content: &[u8]) -> Result<Sums, String> {
    if looks_like_html(content) {
        return Err("is a page and not a list of hashes".to_owned());
    }
    let content = String::from_utf8_lossy(content);
    let mut sums = Sums::new();
    let mut unread = None;
    for line in content.lines().take(LINES_MAX) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match bsd(line).or_else(|| gnu(line)) {
            Some((name, Some(sum))) => {
                let better = sums.get(name).is_none_or(|old| sum > *old);
                if better {
                    sums.insert(name.to_owned(), sum);
                }
            }
            Some((_, None)) => {}
            None => {
                unread.get_or_insert(line);
            }
        }
    }
    match unread {
        Some(line) if sums.is_empty() => Err(format!(
            "has no hash in it; it begins '{}'",
            text::line(line.as_bytes(), 60)
        )),
        _ => Ok(sums),
    }
}

/// `SHA512 (name) = digits`. A line of another algorithm has a name and no sum.
fn bsd(line: &str) -> Option<(&str, Option<Sum>)> {
    let (algorithm, rest) = line.split_once(" (")?;
    let (name, digits) = rest.rsplit_once(") = ")?;
    let is_word =
        |w: &str| !w.is_empty() && w.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    if !is_word(algorithm) || !is_hex(digits) {
        return None;
    }
    let sum = match (algorithm, digits.len()) {
        ("SHA512", 128) => Some(Sum::Sha512(digits.to_ascii_lowercase())),
        ("MD5", 32) => Some(Sum::Md5(digits.to_ascii_lowercase())),
        // Cut off: better no hash than one that nothing can have.
        ("SHA512" | "MD5", _) => return None,
        _ => None,
    };
    Some((clean(name)?, sum))
}

/// `digits  name` or `digits *name`.
fn gnu(line: &str) -> Option<(&str, Option<Sum>)> {
    let (digits, name) = line.split_once(' ')?;
    let name = name.strip_prefix([' ', '*']).unwrap_or(name);
    if !is_hex(digits) {
        return None;
    }
    let sum = match digits.len() {
        128 => Some(Sum::Sha512(digits.to_ascii_lowercase())),
        32 => Some(Sum::Md5(digits.to_ascii_lowercase())),
        40 | 56 | 64 | 96 => None,
        _ => return None,
    };
    Some((clean(name)?, sum))
}

fn is_hex(digits: &str) -> bool {
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit())
}

fn clean(name: &str) -> Option<&str> {
    let name = name.trim();
    let name = name.strip_prefix("./").unwrap_or(name);
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn both_forms_are_read_and_the_better_sum_counts() {
        let sha = "AB".repeat(64);
        let md5 = "cd".repeat(16);
        let text = format!(
            "MD5 (base.tgz) = {md5}\nSHA512 (./base.tgz) = {sha}\nSHA1 (base.tgz) = {}\n\
             {md5} *etc.tgz\n\n# noted\n",
            "0".repeat(40)
        );
        let sums = parse(text.as_bytes()).unwrap();
        assert_eq!(sums.len(), 2);
        assert_eq!(sums["base.tgz"], Sum::Sha512(sha.to_lowercase()));
        assert_eq!(sums["etc.tgz"], Sum::Md5(md5));
        assert_eq!(parse(b"").unwrap(), Sums::new());
    }

    #[test]
    fn a_page_and_a_cut_line_are_told() {
        let page = parse(b"<!DOCTYPE html><html>Maintenance</html>").unwrap_err();
        assert_eq!(page, "is a page and not a list of hashes");
        let said = parse(b"SHA512 (base.tgz) = abcdef").unwrap_err();
        assert_eq!(
            said,
            "has no hash in it; it begins 'SHA512 (base.tgz) = abcdef'"
        );
    }

    proptest! {
        #[test]
        fn anything_is_read_or_refused(content: Vec<u8>) {
            if let Ok(sums) = parse(&content) {
                for sum in sums.values() {
                    let (Sum::Md5(digits) | Sum::Sha512(digits)) = sum;
                    prop_assert!(is_hex(digits));
                }
            }
        }

        #[test]
        fn what_is_written_is_read(files in prop::collection::btree_map("[a-z][a-zA-Z0-9.() =-]{0,20}[a-z]", "[0-9a-f]{128}", 0..8)) {
            let text: String = files.iter().map(|(f, s)| format!("SHA512 ({f}) = {s}\n")).collect();
            let sums = parse(text.as_bytes()).unwrap();
            prop_assert_eq!(sums.len(), files.len());
            for (file, digits) in files {
                prop_assert_eq!(&sums[&file], &Sum::Sha512(digits));
            }
        }
    }
}
