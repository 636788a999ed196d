use insta::assert_snapshot;

use super::*;
use crate::host::yaml;

const KNOWN: [&str; 3] = ["p64", "q32be", "r64be"];

fn read(text: &str) -> Result<Matrix, String> {
    let doc = yaml::parse::<Matrix>("m.yaml".into(), text.to_owned(), |m| m.check(&KNOWN));
    doc.map(|d| d.value).map_err(|e| e.to_string())
}

#[test]
fn a_small_matrix_gets_the_defaults() {
    let matrix =
        read("format: 1\nname: m\nports: [p64, q32be]\nsuites: [{name: s, project: p.yaml}]\n")
            .unwrap();
    let suite = &matrix.suites[0];
    assert_eq!(matrix.variants, [STOCK]);
    assert_eq!((suite.passes, suite.timeout.as_secs()), (1, 1200));
    assert_eq!(
        (suite.baseline.clone(), suite.runner),
        (Baseline::None, Runner::Auto)
    );
    assert_eq!(matrix.retries.host_fault, 1);
    assert_eq!(matrix.limits, Limits::default());
}

#[test]
fn what_is_written_can_be_read_back() {
    let text = "format: 1\nname: m\nports: [p64, q32be]\n\
        exclude: [{port: p64, suite: s, reason: too slow}]\n\
        limits: {cores: 2, memory: 6GiB, console: 1MiB}\nretries: {host_fault: 0}\n\
        suites:\n  - name: s\n    source: {debian_source: {package: atf, suite: bookworm}}\n    \
        build: {kind: make, commands: [./configure], args: [V=1], prefix: /usr/tests/atf, timeout: 1h}\n    \
        timeout: 90s\n    passes: 2\n";
    let matrix = read(text).unwrap();
    let again = read(&serde_yaml::to_string(&matrix).unwrap()).unwrap();
    assert_eq!(matrix, again);
    assert_eq!(matrix.limits.memory_bytes, Some(6 << 30));
}

#[test]
fn excluded_points_and_a_suites_own_ports() {
    let matrix = read(
        "format: 1\nname: m\nports: [p64, q32be, r64be]\n\
         exclude: [{port: q32be, suite: s, reason: x}, {port: r64be, suite: t, reason: y}]\n\
         suites: [{name: s, project: p.yaml}, {name: t, project: p.yaml, ports: [r64be, p64]}]\n",
    )
    .unwrap();
    let points = |i: usize| matrix.points(&matrix.suites[i]).collect::<Vec<_>>();
    assert_eq!(points(0), [("p64", "stock"), ("r64be", "stock")]);
    assert_eq!(points(1), [("p64", "stock")]);
}

#[test]
fn everything_that_the_shape_cannot_say() {
    let text = "\
format: 2
name: a/b
ports: [p64, p46, p64]
variants: [stock, DIAGNOSTIC]
exclude:
  - {reason: forgot}
  - {suite: port, reason: x}
limits: {cores: 0, console: 4KiB, memory: 1MiB}
suites:
  - name: s
    project: p.yaml
    source: {path: src}
    passes: 0
    timeout: 0s
    ports: [r64be]
  - name: s
    source: {path: src, git: {url: u, revision: r}}
    build: {kind: make, prefix: usr/tests, dir: ../.., install: [], env: {A-B: x}}
    baseline: unpatched
  - name: t
";
    assert_snapshot!(read(text).unwrap_err(), @r#"
m.yaml:1:1: format: 2 is not a form that this version reads: expected 1
m.yaml:2:1: name: 'a/b' is not a name: expected 1 to 64 letters, digits and any of . _ + -, starting with a letter or digit
m.yaml:3:14: ports[1]: unknown port 'p46': expected one of p64, q32be, r64be; did you mean 'p64'?
m.yaml:3:19: ports[2]: 'p64' stands there twice
m.yaml:4:19: variants[1]: kernel variant 'DIAGNOSTIC' is not described: expected stock, or its options in kernel_options.DIAGNOSTIC
m.yaml:6:5: exclude[0]: leaves everything out: expected port, variant or suite
m.yaml:7:6: exclude[1].suite: no suite 'port' in this matrix: expected one of s, t
m.yaml:8:10: limits.cores: is 0: expected 1 or more
m.yaml:8:20: limits.console: is too small: expected 64KiB or more
m.yaml:8:35: limits.memory: is too small: expected 128MiB or more
m.yaml:12:5: suites[0].source: stands in the project file already: expected either project or source and build
m.yaml:13:5: suites[0].passes: is 0: expected 1 to 1000
m.yaml:14:5: suites[0].timeout: is zero: expected for example 20m
m.yaml:15:13: suites[0].ports[0]: unknown port of this matrix 'r64be': expected one of p64, p46, p64
m.yaml:16:5: suites[1].name: 's' is the name of an earlier suite
m.yaml:17:5: suites[1].source: expected exactly one of path, debian_source, debian_tarball, git
m.yaml:18:25: suites[1].build.prefix: 'usr/tests' is not an absolute directory of the guest: expected for example /usr/tests/portable
m.yaml:18:44: suites[1].build.dir: '../..' leaves the tree: expected a directory in it
m.yaml:18:56: suites[1].build.install: is empty: expected at least one target, for example install
m.yaml:18:75: suites[1].build.env.A-B: is not a variable's name: expected letters, digits and _
m.yaml:19:5: suites[1].baseline: is unpatched, but there are no patches: both sides would be the same; give patches, or baseline: none
m.yaml:20:5: suites[2].source: is missing: expected either project or source and build
m.yaml:20:5: suites[2].build: is missing: expected either project or source and build
"#);
}

#[test]
fn slips_of_the_keyboard() {
    let text = "\
format: 1
name: m
prots: [p64]
suites:
  - name: s
    project: p.yaml
    baseline: unpached
    order: random
    runner: kuya
    timeout: 20 minits
    repaet: 3
limits: {memory: 512MB}
";
    assert_snapshot!(read(text).unwrap_err(), @r#"
m.yaml: ports: is missing
m.yaml:3:1: prots: unknown field, expected one of format, name, description, release, costs, ports, variants, kernel_options, exclude, suites, known_flakes, adaptive, accel, limits, retries; did you mean 'ports'?
m.yaml:7:5: suites[0].baseline: 'unpached' is unknown, expected one of none, unpatched, last-good, parent, branch-point:REF; did you mean 'unpatched'?
m.yaml:8:5: suites[0].order: 'random' is unknown, expected one of listed, shuffled, each-alone
m.yaml:9:5: suites[0].runner: 'kuya' is unknown, expected one of auto, kyua, sh; did you mean 'kyua'?
m.yaml:10:5: suites[0].timeout: '20 minits' is not a duration: expected for example 90s, 45m or 1h30m
m.yaml:11:5: suites[0].repaet: unknown field, expected one of name, project, source, patches, build, cases, installed, kernel, kernel_only, system, baseline, passes, order, memory_seed, shards, repeats, timeout, runner, clock, ports; did you mean 'repeats'?
m.yaml:12:10: limits.memory: '512MB' is not a size: expected for example 512MiB or 2GiB
"#);
}

#[test]
fn nothing_to_do_is_an_error() {
    assert_snapshot!(read("format: 1\nname: m\nports: []\nvariants: []\nsuites: []\n").unwrap_err(), @r#"
m.yaml:3:1: ports: is empty: expected at least one port
m.yaml:4:1: variants: is empty: expected at least one variant
m.yaml:5:1: suites: is empty: expected at least one suite
"#);
}

#[test]
fn a_budget_for_what_is_undecided() {
    let matrix = |adaptive: &str| {
        let rest = "ports: [p64]\nsuites: [{name: s, project: p.yaml}]\n";
        read(&format!("format: 1\nname: m\nadaptive: {adaptive}\n{rest}"))
    };
    let given = matrix("{attempts: 60, time: 5m}").unwrap();
    let adaptive = given.adaptive.unwrap();
    assert_eq!(
        (adaptive.attempts, adaptive.time.map(|t| t.as_secs())),
        (Some(60), Some(300))
    );
    assert_eq!(
        read(&serde_yaml::to_string(&given).unwrap()).unwrap(),
        given
    );
    let wrong: String = [
        "{}",
        "{attempts: 0}",
        "{time: 0s}",
        "{atempts: 3}",
        "{time: 5}",
    ]
    .map(|text| matrix(text).unwrap_err() + "\n")
    .concat();
    assert_snapshot!(wrong, @r#"
    m.yaml:3:1: adaptive: says no budget: expected attempts or time, for example {attempts: 60}
    m.yaml:3:12: adaptive.attempts: is 0: expected 1 to 1000000
    m.yaml:3:12: adaptive.time: is zero: expected for example 5m
    m.yaml:3:12: adaptive.atempts: unknown field, expected one of attempts, time; did you mean 'attempts'?
    m.yaml:3:12: adaptive.time: is the number '5', expected a duration, for example 90s, 45m or 1h30m
    "#);
}
