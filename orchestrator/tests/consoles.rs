//! The recogniser against the corpus of console logs: zero misses, zero false alarms.
//!
//! `consoles/corpus.tar.zst` holds the logs, `consoles/expected` what each of them is. Where they
//! come from and how they are made again stands in `consoles/README.md`.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use fallout::crash::Recogniser;
use fallout::model::{ConsoleWatch as _, Crash};

fn dir() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/consoles")
}

/// Every log by its name.
fn logs() -> BTreeMap<String, Vec<u8>> {
    let packed = std::fs::read(dir().join("corpus.tar.zst")).unwrap();
    let plain = zstd::decode_all(&packed[..]).unwrap();
    let mut archive = tar::Archive::new(&plain[..]);
    let mut logs = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_string_lossy().into_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        logs.insert(name, bytes);
    }
    logs
}

/// What a log is: how it ended, and what the kernel complained of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Judgement {
    /// Signature and title; `None` for a kernel that lives.
    dead: Option<String>,
    notes: Vec<String>,
}

/// Lines of `expected`: `NAME alive`, `NAME dead SIGNATURE TITLE`, `NAME note TITLE`.
fn expected() -> BTreeMap<String, Judgement> {
    let text = std::fs::read_to_string(dir().join("expected")).unwrap();
    let mut all: BTreeMap<String, Judgement> = BTreeMap::new();
    for line in text
        .lines()
        .filter(|l| !l.is_empty() && !l.starts_with('#'))
    {
        let (name, rest) = line.split_once(' ').unwrap_or_else(|| panic!("{line}"));
        let judgement = all.entry(name.to_owned()).or_default();
        match rest.split_once(' ').unwrap_or((rest, "")) {
            ("alive", "") => {}
            ("dead", title) => judgement.dead = Some(title.to_owned()),
            ("note", title) => judgement.notes.push(title.to_owned()),
            _ => panic!("{line}"),
        }
    }
    all
}

/// Feeds a log in pieces of the sizes that `next` gives.
fn read(log: &[u8], mut next: impl FnMut() -> usize) -> (Judgement, Option<Crash>) {
    let mut recogniser = Recogniser::new();
    let mut rest = log;
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(next().clamp(1, rest.len()));
        recogniser.feed(piece);
        rest = behind;
    }
    recogniser.finish();
    let crash = recogniser.crash();
    let judgement = Judgement {
        dead: crash
            .as_ref()
            .map(|c| format!("{} {}", c.signature, c.title)),
        notes: recogniser.notes(),
    };
    (judgement, crash)
}

/// A small generator of numbers: the cuts must be the same in every run of the test.
fn random(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    }
}

/// One line for each difference, so that a change of the rules shows what it does to all logs.
fn differences(how: &str, name: &str, wanted: &Judgement, got: &Judgement) -> Option<String> {
    (wanted != got).then(|| format!("{name} ({how})\n  expected {wanted:?}\n  got      {got:?}"))
}

#[test]
fn every_log_is_judged_right_however_it_is_cut() {
    let (logs, expected) = (logs(), expected());
    let names: Vec<&String> = logs.keys().collect();
    assert_eq!(names, expected.keys().collect::<Vec<_>>());
    assert!(logs.len() >= 150, "{} logs", logs.len());
    let mut wrong = Vec::new();
    for (number, (name, log)) in logs.iter().enumerate() {
        let wanted = &expected[name];
        let (whole, crash) = read(log, || usize::MAX);
        wrong.extend(differences("whole", name, wanted, &whole));
        if let Some(crash) = &crash {
            assert!(!crash.telling().is_empty(), "{name}: {crash:#?}");
        }
        let (bytes, again) = read(log, || 1);
        wrong.extend(differences("byte by byte", name, wanted, &bytes));
        assert_eq!(crash, again, "{name}");
        for round in 0..4 {
            let mut random = random(number as u64 * 16 + round);
            let most = [3, 40, 700, 9000][round as usize];
            let (cut, _) = read(log, || (random() % most) as usize);
            wrong.extend(differences("in pieces", name, wanted, &cut));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A Linux kernel is known to be dead with the line that says so; a BSD kernel, whose words are
/// those of many programs, within a few lines of it.
#[test]
fn a_death_is_seen_at_once() {
    let telling = [
        "Kernel panic - not syncing: ",
        "panic: ",
        "fatal page fault in supervisor mode",
    ];
    let mut latest = (0, String::new());
    for (name, log) in logs() {
        let mut recogniser = Recogniser::new();
        let mut told = None;
        for (number, line) in log.split_inclusive(|&b| b == b'\n').enumerate() {
            recogniser.feed(line);
            let text = String::from_utf8_lossy(line);
            if text.starts_with("ddb.onpanic") {
                continue;
            }
            if told.is_none() && telling.iter().any(|word| text.contains(word)) {
                told = Some(number);
            }
            if recogniser.is_dead() {
                let late = number - told.unwrap_or(number);
                if name.starts_with("linux-") {
                    assert!(told.is_some() && late == 0, "{name}: {late} lines late");
                }
                if late > latest.0 {
                    latest = (late, name.clone());
                }
                break;
            }
        }
    }
    println!(
        "the latest: {} lines after the telling one, in {}",
        latest.0, latest.1
    );
    assert!(latest.0 <= 12, "{latest:?}");
}
