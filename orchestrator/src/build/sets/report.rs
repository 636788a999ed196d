//! What `checkflist` reported: its blocks on a console. The files `SETS.destdir.extra` and its kin
//! are plain lists of paths and need no parser.

use super::check::Mismatch;

/// What one run of `checkflist` said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reported {
    /// Lists against DESTDIR.
    pub sets: Mismatch,
    /// METALOG against DESTDIR: `extra` are in METALOG alone, `missing` in DESTDIR alone.
    pub metalog: Mismatch,
}

/// Reads the blocks out of a log, wherever they stand in it. A block that the log cuts off gives what
/// is there of it. Total: any text gives an answer.
pub fn read_console(log: &str) -> Reported {
    let mut found = Reported::default();
    let mut block: Option<(bool, bool)> = None;
    let mut in_body = false;
    for line in log.lines() {
        let line = line.trim_end();
        if let Some(head) = heading(line) {
            block = Some(head);
            in_body = false;
        } else if line.starts_with("===") {
            block = None;
        } else if line.len() > 9 && line.bytes().all(|b| b == b'-') {
            in_body = true;
        } else if let Some((extra, metalog)) = block
            && in_body
            && (line == "." || line.starts_with("./"))
        {
            let part = if metalog {
                &mut found.metalog
            } else {
                &mut found.sets
            };
            let paths = if extra {
                &mut part.extra
            } else {
                &mut part.missing
            };
            paths.insert(line.to_owned());
        }
    }
    found
}

/// `=======  3 extra files in DESTDIR  =========`: whether extra, and whether of METALOG.
fn heading(line: &str) -> Option<(bool, bool)> {
    let inside = line.strip_prefix("===")?.trim_matches('=').trim();
    let words: Vec<&str> = inside.split_whitespace().collect();
    let [count, which, "files", "in", place] = words[..] else {
        return None;
    };
    count.parse::<u64>().ok()?;
    let extra = match which {
        "extra" => true,
        "missing" => false,
        _ => return None,
    };
    match place {
        "DESTDIR" => Some((extra, false)),
        "METALOG" => Some((extra, true)),
        _ => None,
    }
}
