use super::*;
use crate::engine::ancestry::tests::Repository;
use crate::model::{Key, RunId, StageResult};

/// A run of what the setup is at, that ended so; gives its id.
fn run(setup: &Setup, n: u32, clean: bool, reference: Option<&str>) -> String {
    let id = format!("019a9f3c-0000-7000-8000-{n:012}");
    let record = RunRecord {
        format: 1,
        id: RunId(id.clone()),
        matrix_path: "/m.yaml".into(),
        matrix: setup.resolved.name.clone(),
        images_dir: "/images".into(),
        started: jiff::Timestamp::UNIX_EPOCH,
        ports: vec![],
        suites: vec![],
        release: None,
        fresh: false,
        revisions: setup.revisions().unwrap(),
        reference: reference.map(str::to_owned),
        baselines: BTreeMap::new(),
        imported: None,
        cluster: None,
    };
    let dir = RunDir::create(setup.dirs.runs().as_std_path(), &record).unwrap();
    cell(&dir, StageResult::Complete);
    let head = serde_json::json!({"summary": {"clean": clean, "host_faults": 0}, "report": {}});
    dir.write_file("report.json", head.to_string().as_bytes())
        .unwrap();
    id
}

fn cell(dir: &RunDir, stage: StageResult) {
    let cell = CellResult {
        id: "s/p/stock/candidate".parse().unwrap(),
        key: Key(String::new()),
        stage,
        detail: None,
        attempts: vec![],
        guests: vec![],
        versions: BTreeMap::new(),
        cached: false,
    };
    dir.put_cell(&cell).unwrap();
}

fn chosen(setup: &Setup, word: &str) -> Result<ComparedWith, String> {
    let found = choose(setup, Some(word), None).map_err(|e| e.to_string())?;
    Ok(found.0["s"].clone())
}

fn run_of(with: ComparedWith) -> String {
    match with {
        ComparedWith::Run { run, .. } => run.0,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_parent_is_taken_from_its_run_or_run_beside() {
    let repo = Repository::new();
    let mut setup = repo.checkout("");
    let with = chosen(&setup, "parent").unwrap();
    let ComparedWith::Commit { commit, why, .. } = &with else {
        panic!("{with:?}");
    };
    assert_eq!((commit, why.as_str()), (&repo.id("topic^"), "the parent"));
    // That the matrix asks for it is the same.
    let by_matrix = repo.checkout("    baseline: parent\n");
    let (found, notes) = choose(&by_matrix, None, None).unwrap();
    assert_eq!((&found["s"], notes.len()), (&with, 0));
    prepare(&mut setup, &[("s".to_owned(), with)].into());
    let suite = &setup.resolved.suites[0];
    assert_eq!(suite.sides(), [Side::Baseline, Side::Candidate]);
    assert_ne!(suite.source(Side::Baseline), suite.source(Side::Candidate));

    let setup = repo.checkout("");
    repo.git(&["checkout", "-q", "topic^"]);
    let id = run(&setup, 1, false, None);
    repo.git(&["checkout", "-q", "topic"]);
    let dir = RunDir::find(setup.dirs.runs().as_std_path(), &id).unwrap();
    assert_eq!(run_of(chosen(&setup, "parent").unwrap()), id);
    // Its host broke it: it says nothing, and the commit is run.
    cell(&dir, StageResult::HostFailed);
    let again = chosen(&setup, "parent").unwrap();
    assert!(matches!(again, ComparedWith::Commit { .. }), "{again:?}");
}

#[test]
fn a_branch_point_is_run_beside_too() {
    let repo = Repository::new();
    let with = chosen(&repo.checkout(""), "branch-point:main").unwrap();
    let ComparedWith::Commit { commit, why, .. } = with else {
        panic!("{with:?}");
    };
    assert_eq!(commit, repo.id("main"));
    assert_eq!(why, "the branch point with main");
}

#[test]
fn the_last_good_run_is_one_of_the_same_reference_where_there_is_one() {
    let repo = Repository::new();
    let setup = repo.checkout("");
    let topic = run(&setup, 1, true, Some("r refs/heads/topic"));
    let main = run(&setup, 2, true, Some("r refs/heads/main"));
    run(&setup, 3, false, Some("r refs/heads/topic"));
    let pushed = |reference: &str| Pushed {
        repository: repo.path("repo/.git"),
        commit: repo.id("topic"),
        old: None,
        source_dir: "lib".into(),
        trees: repo.path("trees"),
        reference: reference.into(),
    };
    let of = |reference| {
        let found = choose(&setup, Some("last-good"), Some(&pushed(reference))).unwrap();
        run_of(found.0["s"].clone())
    };
    assert_eq!(of("r refs/heads/topic"), topic);
    // A branch that is new is compared with whatever was good.
    assert_eq!(of("r refs/heads/new"), main);
    let by_hand = run(&setup, 4, true, None);
    assert_eq!(run_of(chosen(&setup, "last-good").unwrap()), by_hand);
}

#[test]
fn a_failure_that_its_parent_had_makes_no_good_run() {
    let repo = Repository::new();
    let setup = repo.checkout("");
    let good = run(&setup, 1, true, None);
    let bad = run(&setup, 2, true, None);
    let dir = RunDir::find(setup.dirs.runs().as_std_path(), &bad).unwrap();
    let report = |kind: &str| {
        let finding = serde_json::json!({"kind": kind, "suite": "s"});
        let head = serde_json::json!({"summary": {"clean": true, "host_faults": 0},
            "report": {"verdict": {"findings": [finding]}}});
        dir.write_file("report.json", head.to_string().as_bytes())
            .unwrap();
    };
    report("regression");
    // Against the unpatched tree it is known: that run is good.
    assert_eq!(run_of(chosen(&setup, "last-good").unwrap()), bad);
    let mut record = dir.record().unwrap();
    let parent = ComparedWith::Run {
        run: RunId(good.clone()),
        started: record.started,
        why: String::new(),
    };
    record.baselines.insert("s".to_owned(), parent);
    RunDir::create(setup.dirs.runs().as_std_path(), &record).unwrap();
    assert_eq!(run_of(chosen(&setup, "last-good").unwrap()), good);
    report("flake");
    assert_eq!(run_of(chosen(&setup, "last-good").unwrap()), bad);
}

#[test]
fn each_thing_that_is_not_there_has_its_message() {
    let repo = Repository::new();
    let setup = repo.checkout("");
    let said = |word: &str| {
        let said = chosen(&setup, word).unwrap_err();
        said.replace(repo.path("").as_str(), "T/")
    };
    insta::assert_snapshot!(said("unpatched"), @"suite s has no patches: both sides would be the same; expected parent, branch-point:REF, last-good or a run");
    insta::assert_snapshot!(said("last-good"), @"there is no earlier run of matrix m: run it first");
    insta::assert_snapshot!(said("perent"), @"--baseline perent: no run 'perent' in T/state/runs: expected 'last' or the beginning of a run's id; there are no runs yet; or one of none, unpatched, last-good, parent, branch-point:REF, stock, last; did you mean 'parent'?");
    insta::assert_snapshot!(said("branch-point:"), @"--baseline branch-point:: '' is no reference: expected a branch, a tag or a commit, for example branch-point:main");
    insta::assert_snapshot!(said("branch-point:mian"), @"T/repo/.git has no revision 'mian': expected a branch, a tag or a commit of it");
    run(&setup, 1, false, None);
    insta::assert_snapshot!(said("last-good"), @"no earlier run of matrix m (1 seen) is complete and without open findings, with results of suite s: name the run to compare with");
    // What only the matrix asks for is a note.
    let setup = repo.checkout("    baseline: branch-point:mian\n");
    let (found, notes) = choose(&setup, None, None).unwrap();
    assert_eq!(found["s"], ComparedWith::Nothing);
    assert_eq!(notes.len(), 1);
}
