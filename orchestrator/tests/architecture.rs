//! The edges between modules, read from the sources: `docs/architecture.md`, the invariants
//! marked there. What is named here is allowed; everything else is a failure.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What hands over by `model` and is composed by `engine`.
const STAGES: [&str; 11] = [
    "trigger", "plan", "build", "image", "guest", "suite", "crash", "verdict", "signoff", "tell",
    "report",
];

/// No I/O: modules, and single files of modules that otherwise have some.
const PURE: &[&str] = &[
    "trigger/",
    "build/kernel/config.rs",
    "build/kernel/touched.rs",
    "build/messages.rs",
    "build/netbsd/log.rs",
    "build/netbsd/progress.rs",
    "build/netbsd/signature.rs",
    "build/netbsd/stage.rs",
    "build/netbsd/stale.rs",
    "build/netbsd/variant.rs",
    "build/sets/",
    "image/netbsd/config.rs",
    "image/netbsd/kernel.rs",
    "image/netbsd/label.rs",
    "image/netbsd/spec.rs",
    "model/",
    "plan/",
    "verdict/",
    "signoff/",
    "tell/",
    "crash/",
    "guest/command.rs",
    "image/release/layout.rs",
    "image/release/listing.rs",
    "image/release/source.rs",
    "image/release/sums.rs",
    "image/release/want.rs",
    "guest/health.rs",
    "guest/script.rs",
    "engine/ledger.rs",
];

/// The only file of `suite/` that reads anything, and the one that names its causes.
const SUITE_IO: [&str; 2] = ["suite/kyua_db.rs", "suite/error.rs"];

/// Words that are a port's name and mean something else: here, the architecture whose index lists
/// the archive's sources (any one's does).
const NOT_A_PORT: [(&str, &str); 1] = [("image/source/archive.rs", "amd64")];

/// A file above this has more than one purpose.
const MAX_LINES: usize = 600;

struct Source {
    /// Relative to `src/`: `plan/matrix.rs`.
    name: String,
    lines: usize,
    /// Without comments, texts and tests.
    code: String,
    /// The texts outside tests.
    texts: Vec<String>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn sources() -> Vec<Source> {
    let mut files = Vec::new();
    let mut dirs = vec![root()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
        .iter()
        .map(|path| {
            let text = std::fs::read_to_string(path).unwrap();
            let name = path
                .strip_prefix(root())
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            let is_test = name.ends_with("tests.rs") || name.contains("/tests/");
            let (code, texts) = if is_test {
                Default::default()
            } else {
                read(&text)
            };
            Source {
                name,
                lines: text.lines().count(),
                code,
                texts,
            }
        })
        .collect()
}

/// Parts a source into code and texts; comments and what is only compiled for tests go.
fn read(source: &str) -> (String, Vec<String>) {
    let (mut code, mut texts) = split(source);
    // Modules of tests stand at the end of a file; those in files of their own are left out above.
    let mut start = 0;
    while let Some(at) = code[start..].find("#[cfg(test)]").map(|at| start + at) {
        let rest = &code[at..];
        let end = match (rest.find('{'), rest.find(';')) {
            (Some(open), semicolon) if semicolon.is_none_or(|s| open < s) => block_end(rest, open),
            (_, Some(semicolon)) => semicolon + 1,
            _ => rest.len(),
        };
        // The texts in between are marked in the code by their number.
        for number in numbers(&rest[..end]) {
            texts[number].clear();
        }
        code.replace_range(at..at + end, "");
        start = at;
    }
    texts.retain(|t| !t.is_empty());
    (code, texts)
}

fn block_end(text: &str, open: usize) -> usize {
    let mut depth = 0_usize;
    for (i, c) in text[open..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return open + i + 1,
            '}' => depth -= 1,
            _ => {}
        }
    }
    text.len()
}

/// The numbers of the texts that stand in a piece of code, where [`split`] left `"7"`.
fn numbers(code: &str) -> impl Iterator<Item = usize> {
    code.split('"')
        .skip(1)
        .step_by(2)
        .filter_map(|n| n.parse().ok())
}

/// The code with every text replaced by its number in quotes, and the texts.
fn split(source: &str) -> (String, Vec<String>) {
    let chars: Vec<char> = source.chars().collect();
    let mut code = String::new();
    let mut texts = Vec::new();
    let mut i = 0;
    let starts = |i: usize, word: &str| {
        word.chars()
            .enumerate()
            .all(|(k, c)| chars.get(i + k) == Some(&c))
    };
    while i < chars.len() {
        if starts(i, "//") {
            while i < chars.len() && chars[i] != '\n' {
                i += 1;
            }
            continue;
        }
        if starts(i, "/*") {
            while i < chars.len() && !starts(i, "*/") {
                i += 1;
            }
            i += 2;
            continue;
        }
        let word_before = code
            .chars()
            .last()
            .is_some_and(|c| c.is_alphanumeric() || c == '_');
        let hashes = if chars[i] == 'r' && !word_before {
            let n = chars[i + 1..].iter().take_while(|c| **c == '#').count();
            (chars.get(i + 1 + n) == Some(&'"')).then_some(n)
        } else {
            None
        };
        if let Some(n) = hashes {
            let end: String = std::iter::once('"')
                .chain(std::iter::repeat_n('#', n))
                .collect();
            i += n + 2;
            let mut text = String::new();
            while i < chars.len() && !starts(i, &end) {
                text.push(chars[i]);
                i += 1;
            }
            i += n + 1;
            code.push_str(&format!("\"{}\"", texts.len()));
            texts.push(text);
        } else if chars[i] == '"' {
            i += 1;
            let mut text = String::new();
            while i < chars.len() && chars[i] != '"' {
                if chars[i] == '\\' {
                    text.push(chars[i]);
                    i += 1;
                }
                text.extend(chars.get(i));
                i += 1;
            }
            i += 1;
            code.push_str(&format!("\"{}\"", texts.len()));
            texts.push(text);
        } else if chars[i] == '\''
            && (chars.get(i + 1) == Some(&'\\') || chars.get(i + 2) == Some(&'\''))
        {
            // A character, not a lifetime.
            i += if chars[i + 1] == '\\' { 3 } else { 2 };
            while i < chars.len() && chars[i] != '\'' {
                i += 1;
            }
            i += 1;
            code.push('_');
        } else {
            code.push(chars[i]);
            i += 1;
        }
    }
    (code, texts)
}

/// The modules of this crate that a source names: `crate::host`, also in `use crate::{…}`.
fn crate_modules(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            Some(list) => {
                let mut depth = 1;
                let mut word = String::new();
                for c in list.chars() {
                    match c {
                        '{' => depth += 1,
                        '}' => depth -= 1,
                        ',' if depth == 1 => found.extend(first_word(&std::mem::take(&mut word))),
                        _ if depth == 1 => word.push(c),
                        _ => {}
                    }
                    if depth == 0 {
                        break;
                    }
                }
                found.extend(first_word(&word));
            }
            None => found.extend(first_word(rest)),
        }
    }
    found
}

fn first_word(text: &str) -> Option<String> {
    let word: String = text
        .trim_start()
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
        .collect();
    (!word.is_empty()).then_some(word)
}

fn module(name: &str) -> &str {
    name.split_once('/').map_or(name, |(module, _)| module)
}

fn report(what: &str, wrong: &[String]) {
    assert!(wrong.is_empty(), "{what}:\n  {}", wrong.join("\n  "));
}

#[test]
fn stages_import_model_and_host_alone() {
    let mut wrong = Vec::new();
    for source in sources() {
        let own = module(&source.name);
        if !STAGES.contains(&own) {
            continue;
        }
        for used in crate_modules(&source.code) {
            if used != own && used != "model" && used != "host" {
                wrong.push(format!("{} imports {used}", source.name));
            }
        }
    }
    report("a stage may import model and host", &wrong);
}

#[test]
fn lower_layers_import_no_higher_ones() {
    let allowed: [(&str, &[&str]); 5] = [
        ("model", &["model"]),
        ("host", &["host", "model"]),
        ("store", &["store", "host", "model"]),
        ("web", &["web", "report", "store", "host", "model"]),
        ("main.rs", &[]),
    ];
    let mut wrong = Vec::new();
    for source in sources() {
        let own = module(&source.name);
        for used in crate_modules(&source.code) {
            if let Some((_, allowed)) = allowed.iter().find(|(name, _)| *name == own)
                && !allowed.contains(&used.as_str())
            {
                wrong.push(format!("{} imports {used}", source.name));
            }
            if used == "cli" && own != "cli" {
                wrong.push(format!("{} imports cli", source.name));
            }
        }
    }
    report(
        "model stands on nothing, host on model, cli under nothing",
        &wrong,
    );
}

#[test]
fn pure_modules_do_no_io() {
    let io = [
        "std::fs",
        "std::net",
        "std::process",
        "std::env",
        "std::thread",
        "std::os",
        "std::time::Instant",
        "std::time::SystemTime",
        "tokio",
        "rustix",
        "tempfile",
        "sqlx",
        "process_wrap",
        "indicatif",
        "Timestamp::now",
        "Zoned::now",
        "crate::store",
    ];
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for source in sources() {
        let pure = PURE.iter().find(|p| source.name.starts_with(**p));
        let suite = source.name.starts_with("suite/") && !SUITE_IO.contains(&source.name.as_str());
        if pure.is_none() && !suite {
            continue;
        }
        seen.extend(pure.copied());
        for word in io.iter().filter(|w| source.code.contains(**w)) {
            wrong.push(format!("{} uses {word}", source.name));
        }
        // Grouped imports: use std::{fs, io};
        for list in source.code.split("use std::{").skip(1) {
            let list = list.split(';').next().unwrap_or_default();
            for word in list.split([',', '{', '}', ' ', '\n']) {
                if ["fs", "net", "process", "env", "thread"]
                    .contains(&word.split("::").next().unwrap())
                {
                    wrong.push(format!("{} uses std::{word}", source.name));
                }
            }
        }
        // Of the host's modules, pure ones take the text filters at most.
        for used in source.code.split("crate::host::").skip(1) {
            let used = first_word(used).unwrap_or_default();
            if used != "text" {
                wrong.push(format!("{} uses host::{used}", source.name));
            }
        }
    }
    report("a pure module does no I/O", &wrong);
    assert!(
        seen.contains("plan/") && seen.contains("model/"),
        "the list of pure modules names no file"
    );
}

#[test]
fn progress_bars_are_the_command_lines() {
    let wrong: Vec<String> = sources()
        .iter()
        .filter(|s| module(&s.name) != "cli" && s.code.contains("indicatif"))
        .map(|s| s.name.clone())
        .collect();
    report("only cli uses progress bars", &wrong);
}

/// HTTP ends at the web and at the desk that it hands over at.
#[test]
fn http_is_the_webs() {
    let allowed = ["web", "cli/daemon/desk.rs"];
    let wrong: Vec<String> = sources()
        .iter()
        .filter(|s| {
            ["axum", "hyper", "tower"]
                .iter()
                .any(|w| s.code.contains(&format!("{w}::")))
        })
        .filter(|s| {
            !allowed
                .iter()
                .any(|a| module(&s.name) == *a || s.name == *a)
        })
        .map(|s| s.name.clone())
        .collect();
    report("only web speaks HTTP", &wrong);
    assert!(
        sources().iter().any(|s| module(&s.name) == "web"),
        "there is no web"
    );
}

#[test]
fn no_unsafe() {
    let unsafe_word = |code: &str| {
        code.split(|c: char| !(c.is_alphanumeric() || c == '_'))
            .any(|word| word == "unsafe")
    };
    let wrong: Vec<String> = sources()
        .iter()
        .filter(|s| unsafe_word(&s.code))
        .map(|s| s.name.clone())
        .collect();
    report("unsafe is forbidden", &wrong);
}

#[test]
fn no_code_asks_for_a_port_by_name() {
    let images = root().join("../../images");
    let mut ports = BTreeSet::new();
    for family in std::fs::read_dir(images).unwrap() {
        let family = family.unwrap().path();
        let Ok(files) = std::fs::read_dir(family) else {
            continue;
        };
        for file in files {
            let file = file.unwrap().path();
            if file.extension().is_some_and(|e| e == "yaml") {
                ports.insert(file.file_stem().unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    assert!(ports.len() > 3, "no manifests were found");
    let mut wrong = Vec::new();
    for source in sources() {
        for text in source.texts.iter().filter(|t| ports.contains(*t)) {
            if NOT_A_PORT.contains(&(&source.name, text)) {
                continue;
            }
            wrong.push(format!("{}: \"{text}\"", source.name));
        }
    }
    report("a port is a file of data, not a word in the code", &wrong);
}

#[test]
fn files_are_small() {
    let wrong: Vec<String> = sources()
        .iter()
        .filter(|s| s.lines > MAX_LINES)
        .map(|s| format!("{}: {} lines", s.name, s.lines))
        .collect();
    report(&format!("more than {MAX_LINES} lines"), &wrong);
}

/// The reader that the tests above stand on.
#[test]
fn the_reader_tells_code_from_texts_and_tests() {
    let source = r##"
use crate::{host::x, model::{a, b}, plan};
// crate::comment
fn f<'a>(c: &'a str) { let _ = ('"', '\'', "crate::text \" sparc", r#"raw "q""#); }
#[cfg(test)]
mod tests { fn g() { "in a test"; } }
fn after() { "kept"; crate::verdict::x(); }
#[cfg(test)]
mod more;
"##;
    let (code, texts) = read(source);
    let modules: Vec<String> = crate_modules(&code).into_iter().collect();
    assert_eq!(modules, ["host", "model", "plan", "verdict"]);
    assert_eq!(texts, ["crate::text \\\" sparc", "raw \"q\"", "kept"]);
    assert!(!code.contains("more"));
}

#[test]
fn no_limit_goes_by_the_clock_of_day() {
    // A guest's clock is set once from the host's; everything else there counts from an instant.
    const SETS_A_CLOCK: &str = "guest/machine/boot.rs";
    let reads = |s: &Source| {
        ["SystemTime::now", "Timestamp::now", "Zoned::now"]
            .iter()
            .any(|w| s.code.contains(w))
    };
    let found: Vec<String> = sources()
        .iter()
        .filter(|s| s.name.starts_with("guest/") || s.name.starts_with("engine/"))
        .filter(|s| reads(s))
        .map(|s| s.name.clone())
        .collect();
    assert_eq!(found, [SETS_A_CLOCK]);
}
