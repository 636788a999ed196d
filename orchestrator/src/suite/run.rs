//! The command lines that run a suite in a guest. Pure: text in, text out.
//!
//! The engine pushes the files of a [`Batch`] into the guest's work directory, then has the agent run
//! its command (one line, for `sh -c`) and feeds what comes back to the runner's parser.
//!
//! Names from guests are untrusted: one that is not [sane](super::list::is_sane) is refused with a
//! note and never reaches a command line. Everything else in a command was checked by
//! [`Invocation::new`], so nothing needs quoting.
//!
//! Time limits: `run-suite` multiplies every case's own limit by the port's slowness (`--scale`). Kyua
//! cannot: it has no such setting, and a limit stands in the test program's metadata. A port that is so
//! slow that honest cases run into their limits under Kyua needs the runner `sh`.

use std::collections::BTreeSet;
use std::time::Duration;

use super::error::SuiteError;
use super::list::is_sane;
use super::parser::Runner;
use crate::model::CaseId;

/// Where the shell runner lives in a guest.
pub const RUN_SUITE: &str = "/usr/libexec/fallout/run-suite";

/// The longest list of filters for one Kyua, in bytes as the kernel counts arguments. NetBSD allows
/// 256 KiB for arguments and environment together, Linux 2 MiB.
const KYUA_ARGS_MAX_BYTES: usize = 192 << 10;
/// What the kernel needs for an argument besides its bytes: its end and a pointer.
const ARG_EXTRA_BYTES: usize = 9;

/// A case's limit where it has none of its own, and that of every clean-up part; ATF's and Kyua's.
const CASE_DEFAULT: Duration = Duration::from_secs(300);
const CLEANUP: Duration = Duration::from_secs(60);

/// How a suite is run in a guest.
#[derive(Debug, Clone, PartialEq)]
pub struct Invocation {
    runner: Runner,
    suite_dir: String,
    work_dir: String,
    user: Option<String>,
    scale_percent: u32,
    /// The runner keeps its results in a file too.
    copied: bool,
}

/// A file to be put into the guest before a command is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushFile {
    /// Its name in the work directory, without a slash.
    pub name: String,
    /// What is in it.
    pub contents: Vec<u8>,
}

/// One command, and what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Files that must be in the work directory before.
    pub files: Vec<PushFile>,
    /// One line for `sh -c`.
    pub command: String,
    /// Where the results database will be afterwards, for a runner that writes one.
    pub results_db: Option<String>,
    /// Where the same results will be that are streamed, for a runner that was asked to keep them.
    pub results_copy: Option<String>,
    /// The cases that it runs; none where it runs the whole suite.
    pub cases: Option<Vec<CaseId>>,
}

/// The commands for a choice of cases.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Picked {
    /// To be run one after the other.
    pub batches: Vec<Batch>,
    /// A line for every case that was refused. Their names are clean, but untrusted.
    pub notes: Vec<String>,
}

impl Invocation {
    /// Checks what will stand in commands. `suite_dir` is where the suite's top `Kyuafile` or
    /// `Atffile` lies, `work_dir` a directory of the guest for lists and results (not a small tmpfs);
    /// `user` is the account for cases that want to be unprivileged. `slowness` is the port's.
    pub fn new(
        runner: Runner,
        suite_dir: &str,
        work_dir: &str,
        user: Option<&str>,
        slowness: f64,
    ) -> Result<Self, SuiteError> {
        if let Some(user) = user {
            check("user", user, "letters, digits, '_' and '-'", |b| {
                b.is_ascii_alphanumeric() || b"_-".contains(&b)
            })?;
        }
        Ok(Self {
            runner,
            suite_dir: absolute("suite directory", suite_dir)?,
            work_dir: absolute("work directory", work_dir)?,
            user: user.map(str::to_owned),
            // A nonsensical slowness must not make limits vanish.
            scale_percent: (slowness.max(1.0) * 100.0).round().clamp(100.0, 100_000.0) as u32,
            copied: false,
        })
    }

    /// The same with results that are kept in a file of the guest's too, to be checked against what
    /// was streamed. Kyua does that anyhow.
    #[must_use]
    pub fn copied(mut self) -> Self {
        self.copied = true;
        self
    }

    /// The command that prints the suite's cases with their time limits, for
    /// [`parse_list`](super::list::parse_list).
    pub fn list(&self) -> String {
        match self.runner {
            Runner::Kyua => format!("{} list -v -k {}/Kyuafile", self.kyua(), self.suite_dir),
            Runner::Sh => format!("{} list {}", self.run_suite(), self.suite_dir),
        }
    }

    /// How long a case with this limit of its own (none: the default of ATF and Kyua, 300 s) may be
    /// under way before the runner must have ended it, its clean-up included. `None` where the case
    /// asks for no limit at all.
    pub fn case_limit(&self, own: Option<Duration>) -> Option<Duration> {
        let limit = own.unwrap_or(CASE_DEFAULT);
        let whole = limit + CLEANUP;
        (!limit.is_zero()).then(|| match self.runner {
            Runner::Sh => whole * self.scale_percent / 100,
            Runner::Kyua => whole,
        })
    }

    /// Runs the whole suite. `label` tells this batch's files from others in the same guest.
    pub fn run_all(&self, label: &str) -> Batch {
        let label = safe_label(label);
        match self.runner {
            Runner::Kyua => {
                let db = format!("{}/{label}.db", self.work_dir);
                Batch {
                    files: Vec::new(),
                    command: format!("mkdir -p {} && {}", self.work_dir, self.kyua_test(&db)),
                    results_db: Some(db),
                    results_copy: None,
                    cases: None,
                }
            }
            Runner::Sh => Batch {
                files: Vec::new(),
                command: format!("{} run {}", self.run_suite(), self.suite_dir),
                results_db: None,
                results_copy: None,
                cases: None,
            },
        }
    }

    /// Runs the given cases and no others.
    ///
    /// The list goes into the guest as a file, so the command line stays short. `run-suite` keeps the
    /// list's order. Kyua has an order of its own (that of its Kyuafiles), refuses a case named
    /// twice (the second is dropped here), and takes cases as arguments: a list too long for one
    /// command is split, and each part has its own results database.
    pub fn run_cases(&self, label: &str, cases: &[CaseId]) -> Picked {
        let label = safe_label(label);
        let mut picked = Picked::default();
        let mut seen = BTreeSet::new();
        let mut parts: Vec<Vec<CaseId>> = Vec::new();
        let mut room = 0;
        for case in cases {
            if !is_sane(case) {
                let shown = super::text::clean(case.to_string().as_bytes(), 200);
                picked.notes.push(format!(
                    "case '{shown}' is not run: its name is not safe in a command line"
                ));
                continue;
            }
            if self.runner == Runner::Kyua {
                if !seen.insert(case) {
                    continue;
                }
                let size = case.program.len() + 1 + case.case.len() + ARG_EXTRA_BYTES;
                if size > room {
                    room = KYUA_ARGS_MAX_BYTES;
                    parts.push(Vec::new());
                }
                room -= size;
            } else if parts.is_empty() {
                parts.push(Vec::new());
            }
            if let Some(part) = parts.last_mut() {
                part.push(case.clone());
            }
        }
        for (index, part) in parts.into_iter().enumerate() {
            picked.batches.push(self.batch(&label, index, part));
        }
        picked
    }

    /// The same in exactly the order of `cases`; `place` is a case's place in the suite's own list.
    ///
    /// `run-suite` keeps a list's order. Kyua does not: it is called once for each stretch in which
    /// the wanted order and its own agree, which is one call where the cases stand as they are listed.
    pub fn run_in_order(
        &self,
        label: &str,
        cases: &[CaseId],
        place: impl Fn(&CaseId) -> Option<usize>,
    ) -> Picked {
        if self.runner == Runner::Sh {
            return self.run_cases(label, cases);
        }
        let follows = |a: &CaseId, b: &CaseId| match (place(a), place(b)) {
            (Some(a), Some(b)) => a < b,
            _ => false,
        };
        let mut all = Picked::default();
        for (index, stretch) in cases.chunk_by(follows).enumerate() {
            let label = match index {
                0 => label.to_owned(),
                n => format!("{label}-{n}"),
            };
            let picked = self.run_cases(&label, stretch);
            all.batches.extend(picked.batches);
            all.notes.extend(picked.notes);
        }
        all
    }

    fn batch(&self, label: &str, index: usize, cases: Vec<CaseId>) -> Batch {
        let stem = match index {
            0 => label.to_owned(),
            n => format!("{label}.{n}"),
        };
        let list = format!("{}/{stem}.cases", self.work_dir);
        let db = format!("{}/{stem}.db", self.work_dir);
        let copy = format!("{}/{stem}.tps", self.work_dir);
        let copy = (self.copied && self.runner == Runner::Sh).then_some(copy);
        let contents: String = cases.iter().map(|case| format!("{case}\n")).collect();
        let (command, results_db) = match self.runner {
            // Sane names hold neither blanks nor wildcards: the shell's splitting is all there is.
            Runner::Kyua => (
                format!("set -f; {} $(cat {list})", self.kyua_test(&db)),
                Some(db),
            ),
            Runner::Sh => {
                let runner = self.run_suite();
                let copy = copy.iter().map(|file| format!(" --copy {file}"));
                let copy: String = copy.collect();
                (
                    format!("{runner}{copy} run {} {list}", self.suite_dir),
                    None,
                )
            }
        };
        Batch {
            files: vec![PushFile {
                name: format!("{stem}.cases"),
                contents: contents.into_bytes(),
            }],
            command,
            results_db,
            results_copy: copy,
            cases: Some(cases),
        }
    }

    /// `--config=none`: nothing that lies about in the guest's home has a say. One case at a time:
    /// else a line is printed only when its case ends, and a dead kernel has no suspect.
    fn kyua(&self) -> String {
        // Kyua refuses to do anything for a user that does not exist; then the cases that want to
        // be unprivileged say so by being skipped.
        let user = match &self.user {
            Some(user) => {
                format!(" $(id -u {user} >/dev/null 2>&1 && echo -v unprivileged_user={user})")
            }
            None => String::new(),
        };
        format!("kyua --config=none --logfile=/dev/null -v parallelism=1{user}")
    }

    /// Kyua refuses a results file that exists.
    fn kyua_test(&self, db: &str) -> String {
        format!(
            "rm -f {db}; {} test -k {}/Kyuafile --results-file={db}",
            self.kyua(),
            self.suite_dir
        )
    }

    fn run_suite(&self) -> String {
        let user = match &self.user {
            Some(user) => format!(" --user {user}"),
            None => String::new(),
        };
        format!(
            "{RUN_SUITE} --scale {}{user} --work {}",
            self.scale_percent, self.work_dir
        )
    }
}

fn absolute(what: &'static str, path: &str) -> Result<String, SuiteError> {
    let expected = "an absolute path of letters, digits and '/_.+-'";
    let path = path.trim_end_matches('/');
    check(what, path, expected, |b| {
        b.is_ascii_alphanumeric() || b"/_.+-".contains(&b)
    })?;
    if !path.starts_with('/') || path.split('/').any(|part| part == "..") {
        return Err(SuiteError::BadWord {
            what,
            found: path.to_owned(),
            expected,
        });
    }
    Ok(path.to_owned())
}

fn check(
    what: &'static str,
    text: &str,
    expected: &'static str,
    allowed: impl Fn(u8) -> bool,
) -> Result<(), SuiteError> {
    if text.is_empty() || text.starts_with('-') || !text.bytes().all(allowed) {
        return Err(SuiteError::BadWord {
            what,
            found: text.to_owned(),
            expected,
        });
    }
    Ok(())
}

/// Labels are ours; whatever they hold, they become a file's name.
fn safe_label(label: &str) -> String {
    let kept = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    format!("run-{}", label.chars().map(kept).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invocation(runner: Runner) -> Invocation {
        Invocation::new(runner, "/usr/tests/", "/var/fallout", Some("tests"), 2.5).unwrap()
    }

    #[test]
    fn kyua_commands() {
        let kyua = invocation(Runner::Kyua);
        insta::assert_snapshot!(kyua.list(), @"kyua --config=none --logfile=/dev/null -v parallelism=1 $(id -u tests >/dev/null 2>&1 && echo -v unprivileged_user=tests) list -v -k /usr/tests/Kyuafile");
        insta::assert_snapshot!(kyua.run_all("pass1").command, @"mkdir -p /var/fallout && rm -f /var/fallout/run-pass1.db; kyua --config=none --logfile=/dev/null -v parallelism=1 $(id -u tests >/dev/null 2>&1 && echo -v unprivileged_user=tests) test -k /usr/tests/Kyuafile --results-file=/var/fallout/run-pass1.db");
        let picked = kyua.run_cases("2", &[CaseId::new("a/t", "x"), CaseId::new("a/t", "x")]);
        assert_eq!(picked.batches.len(), 1);
        let batch = &picked.batches[0];
        insta::assert_snapshot!(batch.command, @"set -f; rm -f /var/fallout/run-2.db; kyua --config=none --logfile=/dev/null -v parallelism=1 $(id -u tests >/dev/null 2>&1 && echo -v unprivileged_user=tests) test -k /usr/tests/Kyuafile --results-file=/var/fallout/run-2.db $(cat /var/fallout/run-2.cases)");
        assert_eq!(batch.files[0].name, "run-2.cases");
        assert_eq!(batch.files[0].contents, b"a/t:x\n");
        assert_eq!(batch.results_db.as_deref(), Some("/var/fallout/run-2.db"));
    }

    #[test]
    fn shell_runner_commands() {
        let sh = invocation(Runner::Sh);
        insta::assert_snapshot!(sh.list(), @"/usr/libexec/fallout/run-suite --scale 250 --user tests --work /var/fallout list /usr/tests");
        insta::assert_snapshot!(sh.run_all("1").command, @"/usr/libexec/fallout/run-suite --scale 250 --user tests --work /var/fallout run /usr/tests");
        let picked = sh.run_cases("3", &[CaseId::new("t", "b"), CaseId::new("t", "a")]);
        insta::assert_snapshot!(picked.batches[0].command, @"/usr/libexec/fallout/run-suite --scale 250 --user tests --work /var/fallout run /usr/tests /var/fallout/run-3.cases");
        assert_eq!(picked.batches[0].files[0].contents, b"t:b\nt:a\n");
        let picked = sh.copied().run_cases("3", &[CaseId::new("t", "b")]);
        let batch = &picked.batches[0];
        assert_eq!(
            batch.results_copy.as_deref(),
            Some("/var/fallout/run-3.tps")
        );
        assert!(
            batch
                .command
                .contains(" --copy /var/fallout/run-3.tps run ")
        );
    }

    #[test]
    fn a_case_may_take_its_own_limit_and_a_clean_up() {
        let seconds = Duration::from_secs;
        // Kyua keeps to the limit as it is written.
        assert_eq!(
            invocation(Runner::Kyua).case_limit(Some(seconds(5))),
            Some(seconds(65))
        );
        assert_eq!(
            invocation(Runner::Sh).case_limit(Some(seconds(5))),
            Some(seconds(65).mul_f64(2.5))
        );
        assert_eq!(
            invocation(Runner::Kyua).case_limit(None),
            Some(seconds(360))
        );
        assert_eq!(
            invocation(Runner::Kyua).case_limit(Some(Duration::ZERO)),
            None
        );
    }

    #[test]
    fn hostile_names_are_refused_with_a_note() {
        let picked = invocation(Runner::Kyua).run_cases(
            "1",
            &[CaseId::new("t", "$(halt)"), CaseId::new("../t\u{1b}", "x")],
        );
        assert!(picked.batches.is_empty());
        insta::assert_snapshot!(picked.notes.join("\n"), @r"
        case 't:$(halt)' is not run: its name is not safe in a command line
        case '../tx' is not run: its name is not safe in a command line
        ");
    }

    #[test]
    fn a_long_list_is_split_for_kyua_only() {
        let cases: Vec<CaseId> = (0..20_000)
            .map(|i| CaseId::new(format!("dir/t_{}", i / 10), format!("case_{i}")))
            .collect();
        let kyua = invocation(Runner::Kyua).run_cases("x", &cases);
        assert!(kyua.batches.len() > 1);
        assert!(
            kyua.batches
                .iter()
                .all(|b| b.files[0].contents.len() <= KYUA_ARGS_MAX_BYTES)
        );
        let all: Vec<CaseId> = kyua
            .batches
            .iter()
            .flat_map(|b| b.cases.clone().unwrap())
            .collect();
        assert_eq!(all, cases);
        let databases: BTreeSet<_> = kyua.batches.iter().map(|b| &b.results_db).collect();
        assert_eq!(databases.len(), kyua.batches.len());
        assert_eq!(
            invocation(Runner::Sh).run_cases("x", &cases).batches.len(),
            1
        );
    }

    #[test]
    fn an_order_is_kept_by_every_runner() {
        let listed: Vec<CaseId> = (0..5).map(|i| CaseId::new("t", format!("c{i}"))).collect();
        let place = |case: &CaseId| listed.iter().position(|c| c == case);
        let wanted = [1, 3, 0, 2, 4].map(|i: usize| listed[i].clone());
        let order = |runner, cases: &[CaseId]| -> Vec<Vec<CaseId>> {
            let picked = invocation(runner).run_in_order("x", cases, place);
            let labels: BTreeSet<_> = picked.batches.iter().map(|b| &b.command).collect();
            assert_eq!(labels.len(), picked.batches.len());
            let batches = picked.batches.into_iter();
            batches.map(|b| b.cases.unwrap()).collect()
        };
        assert_eq!(order(Runner::Sh, &wanted), [wanted.to_vec()]);
        assert_eq!(
            order(Runner::Kyua, &wanted),
            [wanted[..2].to_vec(), wanted[2..].to_vec()]
        );
        assert_eq!(order(Runner::Kyua, &listed).len(), 1);
    }

    #[test]
    fn settings_are_checked() {
        let bad = |dir, user| Invocation::new(Runner::Sh, dir, "/w", user, 1.0).unwrap_err();
        insta::assert_snapshot!(bad("tests", None), @"suite directory 'tests' cannot be used in a guest's command line: expected an absolute path of letters, digits and '/_.+-'");
        insta::assert_snapshot!(bad("/a b", None), @"suite directory '/a b' cannot be used in a guest's command line: expected an absolute path of letters, digits and '/_.+-'");
        insta::assert_snapshot!(bad("/a", Some("x;y")), @"user 'x;y' cannot be used in a guest's command line: expected letters, digits, '_' and '-'");
        let odd = Invocation::new(Runner::Sh, "/a", "/w", None, f64::NAN).unwrap();
        assert!(odd.list().contains("--scale 100 "));
    }
}
