//! Decisions on evidence that was made up.

use proptest::prelude::*;

use crate::model::signoff::Say;
use crate::model::{CellId, Finding, FindingKind, News, Side, StageResult};

use super::*;

const POLICY: &str = "
format: 1
name: release
repository: r.git
ports: [big, little]
variants: [{name: stock}, {name: debug, options: [DIAGNOSTIC]}]
suites: [atf]
nightlies: {matrix: nightly, count: 2}
set_lists: {tree: src, destdirs: {big: dest}}
compat32: [{port: little, suite: atf32}]
kernel_only: [small]
freeze: {since: base, abi: {base: a, now: b}}
";

fn policy() -> Policy {
    let policy: Policy = serde_yaml::from_str(POLICY).unwrap();
    assert_eq!(policy.check(), []);
    policy
}

fn cell(suite: &str, port: &str, variant: &str) -> CellSeen {
    CellSeen {
        id: CellId {
            suite: suite.into(),
            port: port.into(),
            variant: variant.into(),
            side: Side::Candidate,
        },
        stage: StageResult::Complete,
        cases: 9,
        bad: 0,
        missed: 0,
        kernels: vec!["NetBSD 12".into()],
    }
}

fn run(name: &str, cells: Vec<CellSeen>) -> RunSeen {
    let options = [("DIAGNOSTIC".to_owned(), "y".to_owned())];
    RunSeen {
        run: name.into(),
        started: jiff::Timestamp::UNIX_EPOCH,
        interrupted: false,
        findings: vec![],
        host_faults: 0,
        cells,
        variants: [("debug".to_owned(), options.into())].into(),
    }
}

fn changed(path: &str, old: &str, new: &str) -> Changed {
    Changed {
        path: path.into(),
        old: Some(old.into()),
        new: Some(new.into()),
    }
}

/// Everything that the policy asks for.
fn good() -> Evidence {
    let mut cells = Vec::new();
    for port in ["big", "little"] {
        cells.extend(["stock", "debug"].map(|v| cell("atf", port, v)));
    }
    cells.push(cell("atf32", "little", "stock"));
    cells.push(cell("atf", "small", "stock"));
    let same = || Ok((3, vec![]));
    Evidence {
        runs: vec![run("now", cells.clone())],
        nightlies: Ok(vec![run("n2", cells.clone()), run("n1", cells)]),
        set_lists: [(
            "big".to_owned(),
            Ok(SetsSeen {
                paths: 100,
                extra: vec![],
                missing: vec![],
            }),
        )]
        .into(),
        freeze: Ok(FreezeSeen {
            files: [
                ("syscalls", same()),
                ("library_versions", same()),
                ("set_lists", same()),
            ]
            .into(),
            abi: Some(Ok((4, vec![]))),
        }),
        today: jiff::civil::date(2026, 11, 29),
    }
}

fn say(policy: &Policy, seen: &Evidence) -> Vec<(String, Say, String)> {
    let (lines, _) = decide(policy, seen);
    let names: Vec<String> = lines.iter().map(|l| l.name.clone()).collect();
    assert_eq!(names, policy.lines(), "a waiver can name every line");
    lines.into_iter().map(|l| (l.name, l.say, l.why)).collect()
}

/// The lines that do not pass.
fn against(seen: &Evidence) -> Vec<String> {
    let lines = say(&policy(), seen).into_iter();
    lines
        .filter(|(_, say, _)| !say.passes())
        .map(|(name, say, why)| format!("{name} {}: {why}", say.word()))
        .collect()
}

#[test]
fn all_that_is_asked_for_is_a_go() {
    assert_eq!(against(&good()), [""; 0]);
}

#[test]
fn nothing_is_a_go_by_absence() {
    let nothing = Evidence {
        runs: vec![],
        nightlies: Ok(vec![]),
        set_lists: Default::default(),
        freeze: Err("no".into()),
        ..good()
    };
    let lines = say(&policy(), &nothing);
    let unknown = lines.iter().filter(|(_, say, _)| *say == Say::Unknown);
    assert_eq!(unknown.count(), lines.len(), "{lines:?}");

    let mut empty = good();
    let frozen = empty.freeze.as_mut().unwrap();
    frozen.files.values_mut().for_each(|f| *f = Ok((0, vec![])));
    frozen.abi = Some(Ok((0, vec![])));
    empty
        .set_lists
        .get_mut("big")
        .unwrap()
        .as_mut()
        .unwrap()
        .paths = 1;
    assert_eq!(
        against(&empty),
        [
            "set_lists.big unknown: its DESTDIR is empty",
            "freeze.syscalls unknown: no file is at sys/kern/syscalls.master",
            "freeze.library_versions unknown: no file is at **/shlib_version",
            "freeze.set_lists unknown: no file is at distrib/sets/lists/**",
            "freeze.abi unknown: neither build has a library",
        ]
    );
}

#[test]
fn each_thing_that_is_wrong_is_told_as_what_it_is() {
    let mut seen = good();
    // Nobody ran this one; that one was stopped by the host; this one's kernel was another.
    seen.runs[0]
        .cells
        .retain(|c| c.id.to_string() != "atf/big/debug/candidate");
    for c in &mut seen.runs[0].cells {
        match c.id.to_string().as_str() {
            "atf/little/stock/candidate" => c.stage = StageResult::EmulatorExited,
            "atf32/little/stock/candidate" => c.bad = 2,
            "atf/small/stock/candidate" => c.stage = StageResult::BuildFailed,
            "atf/big/stock/candidate" => c.missed = 3,
            _ => {}
        }
    }
    seen.runs[0].variants.clear();
    let finding = |kind, news, text: &str| Finding::new(kind, news, "atf", None, text.into());
    seen.runs[0].findings = vec![
        finding(FindingKind::ArchOnly, News::Known, "only on big"),
        finding(FindingKind::Undecided, News::New, "who knows"),
        finding(FindingKind::Fixed, News::New, "fixed"),
    ];
    let nightlies = seen.nightlies.as_mut().unwrap();
    nightlies[1].findings = vec![finding(FindingKind::Panic, News::NoBaseline, "a panic")];
    seen.set_lists.insert(
        "big".into(),
        Ok(SetsSeen {
            paths: 9,
            extra: vec!["./usr/x".into()],
            missing: vec![],
        }),
    );
    let frozen = seen.freeze.as_mut().unwrap();
    let table = "; head\n1\tSTD\t{ void|sys||exit(int rval); }\n2 UNIMPL old\n";
    let more = format!("{table}502\tSTD\t\\\n\t{{ int|sys||spawn(int a); }}\n");
    frozen.files = [
        ("syscalls", Ok((1, vec![changed("s.master", table, &more)]))),
        (
            "library_versions",
            Ok((
                1,
                vec![changed("v", "major=1\nminor=2 # x\n", "major=1\nminor=3\n")],
            )),
        ),
        (
            "set_lists",
            Ok((
                1,
                vec![changed("l", "# a\n./x\tbase\n", "./x\t\tbase\n./y\tbase\n")],
            )),
        ),
    ]
    .into();
    frozen.abi = Some(Ok((4, vec!["libc.so: gone: f (function)".into()])));
    assert_eq!(
        against(&seen),
        [
            "suites.atf.big.stock no-go: 3 cases never ran, of 9",
            "suites.atf.big.debug no-go: 1 run of this revision, none with atf on big with debug",
            "variants.big.debug no-go: 1 run of this revision, none with the variant debug on big",
            "suites.atf.little.stock unknown: atf/little/stock/candidate is emulator_exited",
            "variants.little.debug unknown: its run did not record how its kernel was ordered",
            "findings.arch_only no-go: 1 finding",
            "findings.not_yet_known no-go: 1 finding",
            "findings.new no-go: 1 finding",
            "nightlies no-go: the nightly run of 1970-01-01 is not clean, after 1 that are",
            "set_lists.big no-go: 1 in no list, 0 not installed",
            "compat32.little.atf32 no-go: 2 of 9 failed or never ran",
            "kernels.small no-go: atf/small/stock/candidate is build_failed",
            "freeze.syscalls no-go: 1 difference",
            "freeze.library_versions no-go: 1 difference",
            "freeze.set_lists no-go: 1 difference",
            "freeze.abi no-go: 1 difference",
        ]
    );
    let (lines, _) = decide(&policy(), &seen);
    let told = lines.iter().filter(|l| l.name.starts_with("freeze."));
    let told: Vec<&String> = told.flat_map(|l| &l.evidence).collect();
    assert_eq!(
        told,
        [
            "s.master: new: 502 spawn STD { int|sys||spawn(int a); }",
            "v: changed: minor 2 -> 3",
            "l: new: ./y base",
            "libc.so: gone: f (function)",
        ]
    );
}

#[test]
fn what_may_be_arch_only_is_no_go_by_either_line() {
    let mut seen = good();
    let mut one = Finding::new(FindingKind::Undecided, News::Known, "atf", None, "s".into());
    one.certainty = Some(crate::model::Certainty {
        arch_only: crate::model::Answer::NotYetKnown,
        arch_only_posterior: 0.85,
        posterior: 0.85,
        explanations: vec![],
    });
    seen.runs[0].findings = vec![one];
    assert_eq!(
        against(&seen),
        [
            "findings.arch_only unknown: 1 finding may be one: not yet known",
            "findings.not_yet_known no-go: 1 finding",
        ]
    );
}

/// The policy that the documentation shows.
#[test]
fn the_documentation_shows_a_policy_that_is_one() {
    let text = include_str!("../../../docs/signoff.md");
    let yaml = text.split("```yaml\n").nth(1).unwrap();
    let policy: Policy = serde_yaml::from_str(yaml.split("```").next().unwrap()).unwrap();
    assert_eq!(policy.check(), []);
    for line in policy.lines() {
        let kind = line.split('.').next().unwrap().to_owned();
        assert!(
            text.contains(&format!("`{kind}")),
            "{line} is not explained"
        );
    }
}

#[test]
fn a_table_that_is_not_understood_does_not_pass() {
    let mut seen = good();
    let odd = changed("s", "1 STD { int|sys||a(void); }\n", "calls: [a, b]\n");
    let frozen = seen.freeze.as_mut().unwrap();
    frozen.files.insert("syscalls", Ok((1, vec![odd])));
    assert_eq!(against(&seen).len(), 1);
}

#[test]
fn waivers_count_until_their_day_and_complain_afterwards() {
    let mut policy = policy();
    let mut seen = good();
    seen.freeze.as_mut().unwrap().abi = Some(Ok((1, vec!["libx: new: f".into()])));
    let waiver = |until: &str| crate::model::Waiver {
        line: "freeze.abi".into(),
        by: "releng".into(),
        reason: "agreed".into(),
        until: until.parse().unwrap(),
    };
    for (until, expected) in [("2026-11-29", Say::Waived), ("2026-11-28", Say::NoGo)] {
        policy.waivers = vec![waiver(until)];
        let (lines, notes) = decide(&policy, &seen);
        let line = lines.iter().find(|l| l.name == "freeze.abi").unwrap();
        assert_eq!(line.say, expected);
        assert_eq!(notes.len(), usize::from(expected == Say::NoGo), "{notes:?}");
    }
    // One that is not needed says so, and a line that is not there is found when the file is read.
    policy.waivers = vec![waiver("2027-01-01")];
    assert!(decide(&policy, &good()).1[0].contains("is not needed"));
    policy.waivers[0].line = "freeze.abl".into();
    let problems = policy.check();
    assert_eq!(
        problems[0].help.as_deref(),
        Some("did you mean 'freeze.abi'?")
    );
}

#[test]
fn a_nightly_that_the_host_spoilt_counts_for_nothing() {
    let mut seen = good();
    let nightlies = seen.nightlies.as_mut().unwrap();
    nightlies[0].host_faults = 1;
    let lines = against(&seen);
    assert_eq!(lines, ["nightlies unknown: 1 of 2 are there"]);
}

#[test]
fn policies_that_ask_for_nothing_or_amiss_are_refused() {
    let wrong =
        "{format: 1, name: x, ports: [p], freeze: {since: -x, syscalls: ['[']}, no_open: []}";
    let policy: Policy = serde_yaml::from_str(wrong).unwrap();
    let fields: Vec<String> = policy.check().into_iter().map(|p| p.path).collect();
    assert_eq!(
        fields,
        ["suites", "freeze", "freeze.since", "freeze.syscalls"]
    );
    let empty: Policy = serde_yaml::from_str("{format: 1, name: x, no_open: []}").unwrap();
    assert_eq!(empty.check().len(), 1);
}

proptest! {
    /// Taking evidence away never makes a line pass.
    #[test]
    fn less_evidence_never_passes_more(cells in prop::collection::vec(any::<bool>(), 6), parts in 0_u8..16) {
        let all = good();
        let mut less = all.clone();
        let mut keep = cells.iter();
        less.runs[0].cells.retain(|_| *keep.next().unwrap_or(&true));
        if parts & 1 != 0 { less.nightlies = Ok(vec![]); }
        if parts & 2 != 0 { less.set_lists.clear(); }
        if parts & 4 != 0 { less.freeze = Err("gone".into()); }
        if parts & 8 != 0 { less.runs.clear(); }
        for ((name, full, _), (_, part, _)) in say(&policy(), &all).into_iter().zip(say(&policy(), &less)) {
            prop_assert!(full.passes() || !part.passes(), "{}", name);
        }
        let lacks = cells.iter().any(|kept| !kept) || parts != 0;
        prop_assert_eq!(lacks, say(&policy(), &less).iter().any(|(_, say, _)| !say.passes()));
    }

    #[test]
    fn no_table_makes_it_panic(old in ".{0,300}", new in "([0-9]{1,20}|\\{|\\||[a-z(]| |\n){0,80}") {
        let mut seen = good();
        let frozen = seen.freeze.as_mut().unwrap();
        for field in ["syscalls", "library_versions", "set_lists"] {
            frozen.files.insert(field, Ok((1, vec![changed("p", &old, &new)])));
        }
        say(&policy(), &seen);
        let _ = symbols(new.as_bytes());
    }
}
