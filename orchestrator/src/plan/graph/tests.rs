use std::cell::RefCell;
use std::collections::BTreeSet;

use insta::assert_snapshot;

use super::*;
use crate::host::yaml;
use crate::model::Project;
use crate::model::project::Source;
use crate::plan::Baseline;
use crate::plan::matrix::Matrix;
use crate::plan::resolve::resolve;

fn port(name: &str, sources: &str) -> Port {
    let text = format!(
        "format: 1\nport: {name}\nfamily: f\nstatus: none\ntraits: {{}}\n\
         emulator: {{program: e, packages: [e], machine: m, mem_mib: 256, append: x, channel: c, boot_timeout: 1s}}\n\
         toolchain: {{triplet: t}}\n\
         image: {{suite: s, arch: a, runner: kyua, sources: [{sources}]}}\n"
    );
    serde_yaml::from_str(&text).unwrap()
}

const MATRIX: &str = "format: 1\nname: m\nports: [p64, q32be]\nsuites:\n\
    - {name: a, project: a.yaml, baseline: unpatched, passes: 3}\n\
    - {name: b, project: b.yaml, ports: [q32be]}\n";

fn resolved(text: &str) -> Resolved {
    let mut ports = [port("p64", ""), port("q32be", "kernel")];
    ports[0].native = Some(serde_yaml::from_str("{hosts: [x86_64]}").unwrap());
    let names = ["p64", "q32be"];
    let doc = yaml::parse::<Matrix>("m".into(), text.to_owned(), |m| m.check(&names)).unwrap();
    let project: Project = serde_yaml::from_str(
        "format: 1\nname: p\nsource: {path: src}\npatches: series\nbuild: {kind: make, prefix: /usr/tests/p}\n",
    )
    .unwrap();
    let file = Some(("d/a.yaml".into(), project));
    resolve(
        &doc.value,
        "d".into(),
        &vec![file; doc.value.suites.len()],
        &[],
        &ports,
    )
    .unwrap()
}

fn key(word: &str) -> Key {
    Key::of("test", &[word.as_bytes()])
}

/// A machine: what it has cached, and what the last jobs were made of.
#[derive(Default)]
struct Machine {
    images: BTreeMap<PortName, ImageFact>,
    tree: Option<Key>,
    base: Option<Key>,
    series: Option<Key>,
    cache: RefCell<BTreeSet<Key>>,
    last: RefCell<BTreeMap<String, Inputs>>,
    fresh: bool,
}

impl Machine {
    fn new() -> Self {
        let fact = |word| ImageFact {
            key: Some(key(word)),
            sysroot: None,
            ready: false,
        };
        Self {
            images: [("p64".into(), fact("i1")), ("q32be".into(), fact("i2"))].into(),
            tree: Some(key("tree")),
            series: Some(key("series")),
            ..Self::default()
        }
    }

    fn plan(&self) -> Plan {
        self.plan_of(MATRIX)
    }

    fn plan_of(&self, matrix: &str) -> Plan {
        let source = SourceFact {
            tree: self.tree.clone(),
            base: self.base.clone(),
            series: self.series.clone(),
        };
        let mut resolved = resolved(matrix);
        if self.base.is_some() {
            resolved.suites[0].baseline = Baseline::None;
            resolved.suites[0].base = Some(Source {
                path: Some("other".into()),
                ..Source::default()
            });
        }
        plan(
            &resolved,
            &Facts {
                images: self.images.clone(),
                sources: [("a".into(), source.clone()), ("b".into(), source)].into(),
                kernels: BTreeMap::new(),
                cores: 2,
                compilers: BTreeMap::new(),
                emulators: BTreeMap::new(),
                cached: &|_, k| {
                    self.cache
                        .borrow()
                        .contains(k)
                        .then(|| Key::of("out", &[k.0.as_bytes()]))
                },
                took: &|_| None,
                last: &|name| self.last.borrow().get(name).cloned(),
                fresh: self.fresh,
            },
        )
    }

    /// Does everything, as the engine would.
    fn run(&mut self) {
        let mut plan = self.plan();
        for fact in self.images.values_mut() {
            fact.ready = true;
        }
        for ix in 0..plan.jobs.len() {
            let mut known: Vec<(&str, Key)> = vec![(INPUT_SOURCE, key("tree"))];
            for &need in &plan.jobs[ix].needs {
                let job = &plan.jobs[need];
                let made = job.key.clone().unwrap();
                known.push(match job.kind() {
                    JobKind::Build => (INPUT_BUILD, Key::of("out", &[made.0.as_bytes()])),
                    _ => (INPUT_IMAGE, made),
                });
            }
            let job = &mut plan.jobs[ix];
            if job.kind() != JobKind::Image {
                let known: Vec<(&str, &Key)> = known.iter().map(|(l, k)| (*l, k)).collect();
                let key = job.key_with(&known).expect("all is known").clone();
                self.cache.borrow_mut().insert(key);
            }
            self.last
                .borrow_mut()
                .insert(job.name.clone(), job.inputs.clone());
        }
    }
}

fn told(plan: &Plan) -> String {
    let line = |j: &Job| format!("{:?} {}: {} (after {:?})", j.todo, j.name, j.why, j.needs);
    plan.jobs.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn on_a_new_machine_everything_is_done() {
    let plan = Machine::new().plan();
    assert_snapshot!(told(&plan), @r#"
Run image p64: never done here (after [])
Run image q32be: never done here (after [])
Run build a/p64/baseline: never done here (after [0])
Run build a/p64/candidate: never done here (after [0])
Run build a/q32be/baseline: never done here (after [1])
Run build a/q32be/candidate: never done here (after [1])
Run build b/q32be/candidate: never done here (after [1])
Run cell a/p64/stock/baseline: never done here (after [0, 2])
Run cell a/p64/stock/candidate: never done here (after [0, 3])
Run cell a/q32be/stock/baseline: never done here (after [1, 4])
Run cell a/q32be/stock/candidate: never done here (after [1, 5])
Run cell b/q32be/stock/candidate: never done here (after [1, 6])
"#);
    for (ix, job) in plan.jobs.iter().enumerate() {
        assert!(job.needs.iter().all(|&n| n < ix));
        assert_eq!(
            job.key.is_some(),
            job.kind() != JobKind::Cell,
            "{}",
            job.name
        );
    }
    let cell = plan.find("cell a/p64/stock/candidate").unwrap();
    assert_eq!(plan.jobs[cell].unknown(), ["build"]);
    assert_eq!(plan.jobs[cell].mem_mib, 256 + EMULATOR_OVERHEAD_MIB);
}

#[test]
fn a_second_run_does_nothing() {
    let mut machine = Machine::new();
    machine.run();
    let plan = machine.plan();
    assert!(
        plan.jobs.iter().all(|j| j.todo == Todo::Cached),
        "{}",
        told(&plan)
    );
}

#[test]
fn a_changed_patch_leaves_the_baseline_alone() {
    let mut machine = Machine::new();
    machine.run();
    machine.series = Some(key("other series"));
    assert_snapshot!(told(&machine.plan()), @r#"
Cached image p64: cached (after [])
Cached image q32be: cached (after [])
Cached build a/p64/baseline: cached (after [0])
Run build a/p64/candidate: changed: patches (after [0])
Cached build a/q32be/baseline: cached (after [1])
Run build a/q32be/candidate: changed: patches (after [1])
Run build b/q32be/candidate: changed: patches (after [1])
Cached cell a/p64/stock/baseline: cached (after [0, 2])
Run cell a/p64/stock/candidate: not known yet: build (after [0, 3])
Cached cell a/q32be/stock/baseline: cached (after [1, 4])
Run cell a/q32be/stock/candidate: not known yet: build (after [1, 5])
Run cell b/q32be/stock/candidate: not known yet: build (after [1, 6])
"#);
}

#[test]
fn another_commit_is_a_side_with_its_own_tree_and_the_same_series() {
    let mut machine = Machine::new();
    machine.base = Some(key("parent"));
    let plan = machine.plan();
    let inputs = |name: &str, label: &str| {
        let job = &plan.jobs[plan.find(name).unwrap()];
        job.inputs[label].clone()
    };
    for (side, tree) in [("baseline", "parent"), ("candidate", "tree")] {
        let build = format!("build a/p64/{side}");
        assert_eq!(inputs(&build, INPUT_SOURCE), Some(key(tree).0));
        assert_eq!(inputs(&build, "patches"), Some(key("series").0));
        assert!(plan.find(&format!("cell a/q32be/stock/{side}")).is_some());
    }
    // A suite that is compared with nothing has one side still.
    assert!(plan.find("build b/q32be/baseline").is_none());
}

#[test]
fn a_changed_image_remakes_what_stands_on_it_and_no_other_port() {
    let mut machine = Machine::new();
    machine.run();
    machine.images.insert(
        "p64".into(),
        ImageFact {
            key: Some(key("i3")),
            ..ImageFact::default()
        },
    );
    let plan = machine.plan();
    for job in &plan.jobs {
        let todo = if job.work.port().as_str() == "p64" {
            Todo::Run
        } else {
            Todo::Cached
        };
        assert_eq!(job.todo, todo, "{}", told(&plan));
    }
    let image = &plan.jobs[plan.find("image p64").unwrap()];
    assert_eq!(image.why, "changed: image");
}

#[test]
fn an_image_that_nothing_needs_is_not_made_again() {
    let mut machine = Machine::new();
    machine.run();
    for fact in machine.images.values_mut() {
        fact.ready = false;
    }
    let plan = machine.plan();
    let image = &plan.jobs[plan.find("image p64").unwrap()];
    assert_eq!(image.todo, Todo::NotNeeded, "{}", told(&plan));
    machine.fresh = true;
    let plan = machine.plan();
    let image = &plan.jobs[plan.find("image p64").unwrap()];
    assert_eq!(image.todo, Todo::Run, "{}", told(&plan));
    let cell = &plan.jobs[plan.find("cell a/p64/stock/baseline").unwrap()];
    assert_eq!(
        (cell.todo, cell.why.as_str()),
        (Todo::Run, "asked to run again")
    );
}

#[test]
fn unknown_sources_and_images_leave_keys_open() {
    let mut machine = Machine::new();
    machine.tree = None;
    machine.images.clear();
    let plan = machine.plan();
    let build = &plan.jobs[plan.find("build b/q32be/candidate").unwrap()];
    assert_eq!(build.unknown(), ["image", "source"]);
    assert_eq!(build.key, None);
}

#[test]
fn every_setting_of_a_cell_is_in_its_key() {
    let machine = Machine::new();
    let keys = |matrix: &str| {
        let plan = machine.plan_of(matrix);
        let mut job = plan.jobs[plan.find("cell a/p64/stock/candidate").unwrap()].clone();
        job.key_with(&[(INPUT_BUILD, &key("out"))]).unwrap().clone()
    };
    let base = keys(MATRIX);
    assert_eq!(base, keys(MATRIX));
    for (from, to) in [
        ("passes: 3", "passes: 4"),
        ("passes: 3", "passes: 3, runner: sh"),
        ("passes: 3", "passes: 3, clock: virtual"),
        ("passes: 3", "passes: 3, timeout: 1m"),
        ("passes: 3", "passes: 3, cases: /usr/tests/p/x"),
        ("suites:", "limits: {guests: 3}\nsuites:"),
        ("suites:", "limits: {output: 2KiB}\nsuites:"),
        ("suites:", "accel: auto\nsuites:"),
        ("suites:", "accel: kvm\nsuites:"),
    ] {
        assert_ne!(base, keys(&MATRIX.replace(from, to)), "{to}");
    }
    // What only changes how it is run does not.
    for (from, to) in [
        ("suites:", "limits: {cores: 1, memory: 1GiB}\nsuites:"),
        ("suites:", "retries: {host_fault: 5}\nsuites:"),
        ("suites:", "accel: tcg\nsuites:"),
        ("name: m", "name: n"),
        ("ports: [p64, q32be]", "ports: [q32be, p64]"),
    ] {
        assert_eq!(base, keys(&MATRIX.replace(from, to)), "{to}");
    }
    // A port that no host runs is translated, whatever is wished.
    let foreign = |matrix: &str| {
        let plan = machine.plan_of(matrix);
        let ix = plan.find("cell a/q32be/stock/candidate").unwrap();
        plan.jobs[ix].inputs.clone()
    };
    let wished = MATRIX.replace("suites:", "accel: kvm\nsuites:");
    assert_eq!(foreign(&wished), foreign(MATRIX));
}
