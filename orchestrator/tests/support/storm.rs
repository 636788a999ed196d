//! Kills fallout and its emulators at random moments and goes on, until a run is done; then the
//! result must be the one of a run that nobody disturbed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use super::tiny::{self, Dice, Fallout};

/// What the storm rages over, and how.
pub struct Over<'a> {
    pub matrix: &'a Path,
    /// Words in the names of cases whose outcome is a matter of chance: that they have one is
    /// compared, not which.
    pub chancy: &'a [String],
    /// Kills at least.
    pub kills: u32,
    /// The most between two of them.
    pub pause: Duration,
    pub seed: u64,
}

impl Over<'_> {
    fn is_chance(&self, text: &str) -> bool {
        self.chancy.iter().any(|word| text.contains(word.as_str()))
    }

    /// `cell case pass outcome` of every attempt that counts, the outcome only where it is certain.
    fn outcomes(&self, report: &serde_json::Value) -> BTreeSet<String> {
        let certain = |line: String| match line.rsplit_once(' ') {
            Some((attempt, _)) if self.is_chance(&line) => attempt.to_owned(),
            _ => line,
        };
        tiny::outcomes(report).into_iter().map(certain).collect()
    }

    fn findings(&self, report: &serde_json::Value) -> BTreeMap<String, Vec<String>> {
        let mut findings = tiny::findings(report);
        findings.retain(|name, _| !self.is_chance(name));
        findings
    }
}

/// What came of a storm.
#[derive(Debug, Default)]
pub struct Tally {
    pub of_fallout: u32,
    pub of_emulators: u32,
    pub runs: u32,
    pub resumes: u32,
}

/// The suite that the storm rages over: a failure, a panic that is confirmed once, 40 cases a pass.
pub fn suite(dir: &Path, ports: &str) -> std::path::PathBuf {
    let body = |n| match n {
        13 => "atf_tc_fail(\"planted\");".to_owned(),
        22 => tiny::PANIC.to_owned(),
        _ => "usleep(30000);".to_owned(),
    };
    let fields = ["passes: 2", "shards: 2", "repeats: {failed: 1, crashed: 1}"];
    let more = "retries: {host_fault: 5, boot: 5}\n";
    tiny::write(dir, &tiny::programs(4, 10, body), ports, &fields, more)
}

fn start(fallout: &Fallout, words: &[&str], output: &Path) -> Child {
    let output = std::fs::File::create(output).unwrap();
    let errors = std::fs::File::options()
        .create(true)
        .append(true)
        .open(fallout.state.path().join("errors"))
        .unwrap();
    fallout
        .command(words)
        .stdout(output)
        .stderr(Stdio::from(errors))
        .spawn()
        .unwrap()
}

fn kill(pid: i32) -> bool {
    let pid = pid.to_string();
    let status = std::process::Command::new("kill")
        .args(["-KILL", &pid])
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|s| s.success())
}

/// Kills at random moments. Every run that a kill did not end is compared with an undisturbed one.
/// Panics where anything is lost, left behind or different.
pub fn rage(binary: &Path, over: &Over<'_>, say: &mut dyn std::io::Write) -> Tally {
    let calm = Fallout::new(binary);
    let reference = calm.run(over.matrix, 2);
    let (outcomes, findings) = (over.outcomes(&reference), over.findings(&reference));
    assert!(!outcomes.is_empty() && !findings.is_empty());
    let mut dice = Dice(over.seed | 1);
    let mut tally = Tally::default();
    while tally.of_fallout + tally.of_emulators < over.kills {
        tally.runs += 1;
        let fallout = Fallout::new(binary);
        let report = fallout.state.path().join("report");
        let matrix = over.matrix.to_str().unwrap();
        let first = ["run", matrix, "--fresh", "--json", "--jobs", "2"];
        let mut child = start(&fallout, &first, &report);
        let mut tries = 0;
        loop {
            let killed = disturb(&fallout, &mut child, &mut dice, over, &mut tally);
            if !killed && child.wait().unwrap().code() == Some(1) {
                break;
            }
            // Nothing that was recorded may be lost, whatever is torn.
            let log = fallout.log();
            let whole = log.rfind('\n').map_or("", |end| &log[..=end]).to_owned();
            tries += 1;
            assert!(tries < 500, "the run does not come to its end");
            tally.resumes += 1;
            let again = ["resume", "last", "--json"];
            let words: &[&str] = if log.is_empty() { &first } else { &again };
            child = start(&fallout, words, &report);
            let begun = Instant::now();
            while fallout.log().len() <= whole.len()
                && child.try_wait().unwrap().is_none()
                && begun.elapsed() < Duration::from_secs(60)
            {
                std::thread::sleep(Duration::from_millis(20));
            }
            assert!(fallout.log().starts_with(&whole), "the log was rewritten");
        }
        let text = std::fs::read(&report).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let value = &value["report"];
        assert_eq!(over.outcomes(value), outcomes);
        assert_eq!(over.findings(value), findings);
        assert_eq!(fallout.live_emulators(), [0; 0], "emulators are left");
        let n = tally.of_fallout + tally.of_emulators;
        writeln!(say, "run {}: same verdict, {n} kills so far", tally.runs).unwrap();
    }
    tally
}

/// Kills now and then while the run goes on; true where fallout itself was killed.
fn disturb(
    fallout: &Fallout,
    child: &mut Child,
    dice: &mut Dice,
    over: &Over<'_>,
    tally: &mut Tally,
) -> bool {
    loop {
        let moment = Duration::from_millis(dice.roll(over.pause.as_millis() as u64 + 1));
        let until = Instant::now() + moment;
        while Instant::now() < until {
            if child.try_wait().unwrap().is_some() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        if tally.of_fallout + tally.of_emulators >= over.kills {
            return false;
        }
        let emulators = fallout.live_emulators();
        let at = dice.roll(emulators.len() as u64 + 1) as usize;
        match emulators.get(at) {
            Some(&pid) => tally.of_emulators += u32::from(kill(pid)),
            None => {
                child.kill().unwrap();
                child.wait().unwrap();
                tally.of_fallout += 1;
                return true;
            }
        }
    }
}
