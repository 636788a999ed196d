use insta::assert_snapshot;

use super::*;
use crate::host::yaml;
use crate::model::JobKind;
use crate::plan::graph::{Facts, plan};
use crate::plan::job::{Inputs, Job, Plan, Todo};
use crate::plan::resolve::resolve;

const MATRIX: &str = "\
format: 1
name: m
ports: [p64, q32be]
variants: [stock, debug]
kernel_options: {debug: [+DEBUG_LIST, -SMP]}
suites:
  - {name: a, project: a.yaml, kernel: k.yaml, baseline: unpatched, kernel_only: [q32be]}
  - {name: b, project: a.yaml, ports: [p64]}
";

fn port(name: &str, image: &str) -> Port {
    let text = format!(
        "format: 1\nport: {name}\nfamily: f\nstatus: none\ntraits: {{}}\n\
         emulator: {{program: e, packages: [e], machine: m, mem_mib: 256, append: x, channel: c, boot_timeout: 1s}}\n\
         toolchain: {{triplet: t, kernel_arch: x{image}}}\n\
         image: {{suite: s, arch: a, runner: kyua}}\n"
    );
    serde_yaml::from_str(&text).unwrap()
}

fn read(text: &str) -> Result<Matrix, String> {
    let known = ["p64", "q32be"];
    let doc = yaml::parse::<Matrix>("m.yaml".into(), text.to_owned(), |m| m.check(&known));
    doc.map(|d| d.value).map_err(|e| e.to_string())
}

/// A port whose system comes from a release.
fn released(name: &str) -> Port {
    let text = format!(
        "format: 1\nport: {name}\nfamily: netbsd\nstatus: none\ntraits: {{}}\n\
         emulator: {{program: e, packages: [e], machine: m, mem_mib: 256, append: x, channel: c, boot_timeout: 1s}}\n\
         toolchain: {{triplet: t}}\n\
         image: {{runner: sh, release: {{machine: {name}, sets: [base], kernel: GENERIC, \
           label: {{sector: 1, raw: d}}, disk: wd0, exchange: rwd1d, line: dty01, size_mib: 64}}}}\n"
    );
    serde_yaml::from_str(&text).unwrap()
}

fn joined(text: &str, image: &str, kernel: &str) -> Result<Resolved, String> {
    joined_for(text, &[port("p64", image), port("q32be", image)], kernel)
}

fn joined_for(text: &str, ports: &[Port], kernel: &str) -> Result<Resolved, String> {
    let matrix = read(text)?;
    let suite =
        "format: 1\nname: p\nsource: {path: src}\nbuild: {kind: make, prefix: /usr/tests/p}\n";
    let kernel: Project = serde_yaml::from_str(kernel).unwrap();
    let suite: Project = serde_yaml::from_str(suite).unwrap();
    let count = matrix.suites.len();
    let kernels = matrix.suites.iter().map(|s| {
        let file = ("d/k.yaml".into(), kernel.clone());
        s.kernel.as_ref().map(|_| file)
    });
    let kernels: Vec<_> = kernels.collect();
    let projects = vec![Some(("d/a.yaml".into(), suite)); count];
    resolve(&matrix, "d".into(), &projects, &kernels, ports).map_err(|p| {
        p.iter()
            .map(|p| format!("{}: {}\n", p.path, p.message))
            .collect()
    })
}

const KERNEL: &str = "\
format: 1
name: k
source: {path: linux}
patches: series
build: {kind: kbuild, config: [c/base.config, 'c/{port}.config'], options: [+SMP]}
";

fn resolved() -> Resolved {
    joined(MATRIX, ", kernel_image: i", KERNEL).unwrap()
}

fn key(word: &str) -> Key {
    Key::of("test", &[word.as_bytes()])
}

/// A plan on a machine that did all jobs of `last`, and has the results that `has` names.
fn planned(base: &str, last: &[Job], has: &dyn Fn(&Key) -> bool) -> Plan {
    let fragments = |port: &str| {
        let names = [
            ("base.config".to_owned(), base),
            (format!("{port}.config"), port),
        ];
        let files = names.map(|(name, word)| (name, Some(key(word))));
        (PortName::from(port), files.into())
    };
    let fact = KernelFact {
        source: SourceFact {
            tree: Some(key("tree")),
            base: None,
            series: Some(key("series")),
        },
        script: Some(key("script")),
        fragments: [fragments("p64"), fragments("q32be")].into(),
    };
    plan(
        &resolved(),
        &Facts {
            images: BTreeMap::new(),
            sources: BTreeMap::new(),
            kernels: [("a".to_owned(), fact)].into(),
            cores: 5,
            compilers: BTreeMap::new(),
            emulators: BTreeMap::new(),
            cached: &|kind, k| (kind == JobKind::Kernel && has(k)).then(|| key(&k.0)),
            took: &|_| None,
            last: &|name| -> Option<Inputs> {
                let job = last.iter().find(|j| j.name == name);
                job.map(|j| j.inputs.clone())
            },
            fresh: false,
        },
    )
}

fn kernels(plan: &Plan) -> impl Iterator<Item = &Job> {
    plan.jobs.iter().filter(|j| j.kind() == JobKind::Kernel)
}

#[test]
fn each_variant_and_side_has_a_kernel_and_a_port_can_do_without_a_guest() {
    let plan = planned("base", &[], &|_| false);
    let line = |j: &Job| {
        let needs = j.needs.iter().map(|n| plan.jobs[*n].name.as_str());
        let names: Vec<&str> = std::iter::once(j.name.as_str()).chain(needs).collect();
        names.join(" <- ")
    };
    let lines: Vec<String> = plan.jobs.iter().map(line).collect();
    assert_snapshot!(lines.join("\n"), @"
    image p64
    image q32be
    build a/p64/baseline <- image p64
    build a/p64/candidate <- image p64
    build b/p64/candidate <- image p64
    kernel a/p64/stock/baseline
    kernel a/p64/stock/candidate
    kernel a/p64/debug/baseline
    kernel a/p64/debug/candidate
    kernel a/q32be/stock/baseline
    kernel a/q32be/stock/candidate
    kernel a/q32be/debug/baseline
    kernel a/q32be/debug/candidate
    cell a/p64/stock/baseline <- image p64 <- build a/p64/baseline <- kernel a/p64/stock/baseline
    cell a/p64/stock/candidate <- image p64 <- build a/p64/candidate <- kernel a/p64/stock/candidate
    cell a/p64/debug/baseline <- image p64 <- build a/p64/baseline <- kernel a/p64/debug/baseline
    cell a/p64/debug/candidate <- image p64 <- build a/p64/candidate <- kernel a/p64/debug/candidate
    cell a/q32be/stock/baseline <- kernel a/q32be/stock/baseline
    cell a/q32be/stock/candidate <- kernel a/q32be/stock/candidate
    cell a/q32be/debug/baseline <- kernel a/q32be/debug/baseline
    cell a/q32be/debug/candidate <- kernel a/q32be/debug/candidate
    cell b/p64/stock/candidate <- image p64 <- build b/p64/candidate
    ");
    let weights: Vec<(u32, u8)> = kernels(&plan).map(|j| (j.cores, j.priority)).collect();
    assert_eq!(weights[0], (2, 4));
    assert_eq!(weights.iter().filter(|w| w.1 == 4).count(), 2);
}

#[test]
fn a_plan_says_why_a_kernel_is_built_again() {
    let before = planned("base", &[], &|_| false);
    let known: Vec<Key> = kernels(&before).filter_map(|j| j.key.clone()).collect();
    assert_eq!(known.len(), 8, "each is another kernel");
    let again = planned("base", &before.jobs, &|k| known.contains(k));
    assert!(kernels(&again).all(|j| j.todo == Todo::Cached));
    let changed = planned("other", &before.jobs, &|k| known.contains(k));
    let told: BTreeSet<&str> = kernels(&changed).map(|j| j.why.as_str()).collect();
    assert_eq!(
        told.into_iter().collect::<Vec<_>>(),
        ["changed: config base.config"]
    );
}

#[test]
fn a_variants_options_win_over_the_projects() {
    let matrix = resolved();
    let kernel = matrix.suites[0].kernel.as_ref().unwrap();
    let words = |variant| {
        let all = options(&matrix, kernel, variant);
        all.iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(words("stock"), "+SMP");
    assert_eq!(words("debug"), "+DEBUG_LIST -SMP");
    let files = fragments(kernel, &"p64".into());
    assert_eq!(files, ["d/c/base.config", "d/c/p64.config"]);
}

#[test]
fn what_is_wrong_with_variants_is_told() {
    let text = "\
format: 1
name: m
ports: [p64]
variants: [stock, debg, a/b]
kernel_options:
  debug: [+X, -X]
  stock: [+Y]
suites:
  - {name: a, project: a.yaml, kernel_only: [p46]}
";
    assert_snapshot!(read(text).unwrap_err(), @"
    m.yaml:4:19: variants[1]: kernel variant 'debg' is not described: expected stock, or its options in kernel_options.debg; did you mean 'debug'?
    m.yaml:4:25: variants[2]: 'a/b' is not a name: expected 1 to 64 letters, digits and any of . _ + -, starting with a letter or digit
    m.yaml:4:25: variants[2]: kernel variant 'a/b' is not described: expected stock, or its options in kernel_options.a/b
    m.yaml:6:3: kernel_options.debug: is no variant of this matrix: expected 'debug' in variants
    m.yaml:6:15: kernel_options.debug[1]: X stands there twice
    m.yaml:7:3: kernel_options.stock: has no options of its own: they stand in the kernel's project
    m.yaml:9:32: suites[0].kernel_only: has no kernel to build: expected the suite's kernel beside it
    m.yaml:9:46: suites[0].kernel_only[0]: unknown port of this matrix 'p46': expected one of p64; did you mean 'p64'?
    ");
    let odd = read(&MATRIX.replace("-SMP", "SMP")).unwrap_err();
    let expected = "'SMP' is not an option of a kernel: expected +NAME, -NAME or NAME=VALUE";
    assert!(odd.contains(expected), "{odd}");
}

#[test]
fn a_kernel_must_be_one_and_fit_the_ports() {
    assert_snapshot!(joined(MATRIX, "", KERNEL).unwrap_err(), @"
    suites[0].kernel: cannot be built for p64: its manifest has no toolchain.kernel_arch and kernel_image
    suites[0].kernel: cannot be built for q32be: its manifest has no toolchain.kernel_arch and kernel_image
    ");
    let make = KERNEL.replace(
        "kind: kbuild, config: [c/base.config, 'c/{port}.config'], options: [+SMP]",
        "kind: make, prefix: /x",
    );
    assert_snapshot!(
        joined(MATRIX, ", kernel_image: i", &make).unwrap_err(),
        @"suites[0].kernel: is a project of kind make: expected one of kind kbuild or netbsd"
    );
    let unpatched = KERNEL.replace("patches: series\n", "");
    assert_snapshot!(
        joined(MATRIX, ", kernel_image: i", &unpatched).unwrap_err(),
        @"suites[0].baseline: is unpatched, but there are no patches: both sides would be the same"
    );
    let bare: Project = serde_yaml::from_str(
        "{format: 1, name: k, source: {path: l}, build: {kind: kbuild, prefix: /x, variables: {A: b}}}",
    )
    .unwrap();
    let told: Vec<String> = bare
        .check()
        .iter()
        .map(|p| format!("{}: {}", p.path, p.message))
        .collect();
    assert_snapshot!(told.join("\n"), @r#"
    build.config: is missing: expected fragments of the kernel's configuration, for example [base.config, "{port}.config"]
    build.prefix: is of kind make: expected kind, config, options, env and timeout with kind kbuild
    build.variables: is of kind netbsd: expected kind, config, options, env and timeout with kind kbuild
    "#);
}

const RELEASE_KERNEL: &str = "\
format: 1
name: k
source: {git: {url: u, revision: trunk}}
patches: series
build:
  kind: netbsd
  variables: {MKX11: 'no'}
  kernels: {debug: {config: GENERIC, options: [+LOCKDEBUG, -SMP], makeoptions: {KASAN: '1'}}}
";

#[test]
fn a_releases_port_takes_a_kernel_of_its_tree() {
    let matrix = joined_for(
        MATRIX,
        &[released("p64"), released("q32be")],
        RELEASE_KERNEL,
    );
    let matrix = matrix.unwrap();
    let kernel = matrix.suites[0].kernel.as_ref().unwrap();
    let release = matrix.ports[0].image.release.as_ref().unwrap();
    let stock = configuration(&matrix, kernel, release, STOCK);
    assert_eq!(stock, ("GENERIC".to_owned(), None));
    let (name, debug) = configuration(&matrix, kernel, release, "debug");
    let debug = debug.unwrap();
    let options: Vec<String> = debug.options.iter().map(ToString::to_string).collect();
    assert_eq!(
        (name.as_str(), options.join(" ").as_str()),
        ("debug", "+LOCKDEBUG +DEBUG_LIST -SMP"),
        "the matrix's options stand on the project's"
    );
    assert_eq!(debug.makeoptions["KASAN"], "1");
}

#[test]
fn each_kind_of_port_has_its_kind_of_kernel() {
    let told = |ports: &[Port], kernel: &str| joined_for(MATRIX, ports, kernel).unwrap_err();
    let linux = port("q32be", ", kernel_image: i");
    assert_snapshot!(told(&[released("p64"), linux.clone()], KERNEL), @"suites[0].kernel: is a project of kind kbuild, which builds no kernel for p64: expected one of kind netbsd");
    assert_snapshot!(told(&[released("p64"), linux], RELEASE_KERNEL), @"suites[0].kernel: is a project of kind netbsd, which builds no kernel for q32be: expected one of kind kbuild");
    let plain = RELEASE_KERNEL.replace("git: {url: u, revision: trunk}", "path: src");
    assert_snapshot!(told(&[released("p64"), released("q32be")], &plain), @"suites[0].kernel: has no source.git: expected the repository that build.sh is run on");
}

const BUILT: &str = "\
format: 1
name: m
ports: [p64, q32be]
suites:
  - {name: a, project: a.yaml, kernel: k.yaml, baseline: unpatched, system: built, kernel_only: [q32be]}
";

#[test]
fn a_system_that_is_built_needs_no_image() {
    let ports = [released("p64"), released("q32be")];
    let matrix = joined_for(BUILT, &ports, RELEASE_KERNEL).unwrap();
    let fact = KernelFact {
        source: SourceFact {
            tree: Some(key("tree")),
            base: None,
            series: Some(key("series")),
        },
        ..KernelFact::default()
    };
    let source = SourceFact {
        tree: Some(key("nothing")),
        ..SourceFact::default()
    };
    let plan = plan(
        &matrix,
        &Facts {
            images: BTreeMap::new(),
            sources: [("a".to_owned(), source)].into(),
            kernels: [("a".to_owned(), fact)].into(),
            cores: 2,
            compilers: BTreeMap::new(),
            emulators: BTreeMap::new(),
            cached: &|kind, k| (kind != JobKind::Cell).then(|| key(&k.0)),
            took: &|_| None,
            last: &|_| -> Option<Inputs> { None },
            fresh: false,
        },
    );
    let line = |j: &Job| {
        let needs = j.needs.iter().map(|n| plan.jobs[*n].name.as_str());
        let names: Vec<&str> = std::iter::once(j.name.as_str()).chain(needs).collect();
        format!("{:?} {}", j.todo, names.join(" <- "))
    };
    let lines: Vec<String> = plan.jobs.iter().map(line).collect();
    assert_snapshot!(lines.join("\n"), @"
    NotNeeded image p64
    NotNeeded image q32be
    Cached build a/p64/baseline
    Cached build a/p64/candidate
    Cached kernel a/p64/stock/baseline
    Cached kernel a/p64/stock/candidate
    Cached kernel a/q32be/stock/baseline
    Cached kernel a/q32be/stock/candidate
    Run cell a/p64/stock/baseline <- build a/p64/baseline <- kernel a/p64/stock/baseline
    Run cell a/p64/stock/candidate <- build a/p64/candidate <- kernel a/p64/stock/candidate
    Run cell a/q32be/stock/baseline <- kernel a/q32be/stock/baseline
    Run cell a/q32be/stock/candidate <- kernel a/q32be/stock/candidate
    ");
    assert!(
        plan.jobs.iter().skip(2).all(|j| j.key.is_some()),
        "all is known"
    );
}

#[test]
fn a_system_is_built_from_a_netbsd_tree_for_its_own_port() {
    let alone = BUILT
        .replace("kernel: k.yaml, ", "")
        .replace(", kernel_only: [q32be]", "");
    assert_snapshot!(read(&alone).unwrap_err(), @"m.yaml:5:53: suites[0].system: is built, and from what is not said: expected the suite's kernel beside it");
    let linux = [
        port("p64", ", kernel_image: i"),
        port("q32be", ", kernel_image: i"),
    ];
    assert_snapshot!(joined_for(BUILT, &linux, KERNEL).unwrap_err(), @"suites[0].system: is built from the kernel's project, which is of kind kbuild: expected one of kind netbsd");
    let mut foreign = released("p64");
    foreign
        .image
        .release
        .as_mut()
        .unwrap()
        .sets
        .push("i386/tests".to_owned());
    assert_snapshot!(joined_for(BUILT, &[foreign, released("q32be")], RELEASE_KERNEL).unwrap_err(), @"suites[0].system: cannot be built for p64: its image has sets of another port too; expected a release");
}
