//! Recipes, keys, and whole builds of a component that takes no time: a package made on the spot,
//! a compiler that only knows its version.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use camino::{Utf8Path, Utf8PathBuf};

use super::recipe::{load_all, parse};
use super::script::step_of;
use super::*;
use crate::image::fetch;

const QUIET: Watch<'static> = Watch::QUIET;

fn images() -> Utf8PathBuf {
    Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("../images/linux")
}

fn sparc64() -> Port {
    let path = images().join("sparc64.yaml");
    serde_yaml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn tempdir() -> (tempfile::TempDir, Utf8PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = Utf8PathBuf::from_path_buf(dir.path().to_owned()).unwrap();
    (dir, path)
}

#[test]
fn a_recipe_is_filled_in_for_a_port() {
    let text = "format: 1\nsummary: s\nsource: {kind: packages, packages: ['libc6-{arch}-cross']}\nfragments: ['{port}.config']\n";
    let recipe = parse(text, &sparc64()).unwrap();
    assert_eq!(recipe.source.packages(), ["libc6-sparc64-cross"]);
    assert_eq!(recipe.fragments, ["sparc64.config"]);
}

#[test]
fn a_wrong_recipe_is_told_by_field() {
    let bad = |text: &str| parse(text, &sparc64()).unwrap_err();
    insta::assert_snapshot!(
        bad("format: 1\nsummary: s\nsource: {kind: source_package, package: atf}\nneed: [libc]\n"),
        @"need: unknown field `need`, expected one of `format`, `summary`, `source`, `needs`, `fragments`, `compile_lines`, `kernel`, `sysroot`, `no_compiler` at line 4 column 1"
    );
    insta::assert_snapshot!(
        bad("format: 2\nsummary: s\nsource: {kind: source_package, package: atf}\n"),
        @"format: this fallout reads format 1, not 2"
    );
    // It would become an option of apt-get.
    insta::assert_snapshot!(
        bad("format: 1\nsummary: s\nsource: {kind: source_package, package: '-oX::Y=z'}\n"),
        @"source: '-oX::Y=z' is not the name of a package"
    );
}

#[test]
fn the_recipes_of_this_project_can_be_read() {
    let port = sparc64();
    let names: Vec<String> = load_all(&images().join("sources"), &port.image.sources, &port)
        .unwrap()
        .into_iter()
        .map(|l| l.name)
        .collect();
    assert_eq!(names, ["kernel", "libc", "busybox", "atf"]);
}

#[test]
fn needs_come_first_and_a_circle_is_found() {
    let (_keep, dir) = tempdir();
    for (name, needs) in [("a", "b"), ("b", "c"), ("c", ""), ("x", "y"), ("y", "x")] {
        write_recipe(&dir, name, needs, "true");
    }
    let order = |name: &str| load_all(&dir, &[name.to_owned()], &sparc64());
    let names: Vec<String> = order("a").unwrap().into_iter().map(|l| l.name).collect();
    assert_eq!(names, ["c", "b", "a"]);
    let circle = order("x").unwrap_err().to_string();
    assert!(circle.contains("x -> y -> x"), "{circle}");
}

#[test]
fn a_misspelt_component_gets_the_nearest_name() {
    let error = load_all(&images().join("sources"), &["busybix".into()], &sparc64())
        .unwrap_err()
        .to_string();
    assert!(error.ends_with("did you mean 'busybox'?"), "{error}");
}

#[test]
fn steps_are_recognised() {
    assert_eq!(step_of("== step: compile"), Some("compile"));
    assert_eq!(step_of("== step: "), None);
    assert_eq!(step_of("  CC  init/main.o"), None);
}

#[test]
fn trees_are_merged_with_their_links() {
    let (_keep, dir) = tempdir();
    let (a, b, into) = (dir.join("a"), dir.join("b"), dir.join("into"));
    for tree in [&a, &b] {
        std::fs::create_dir_all(tree.join("usr/lib")).unwrap();
    }
    std::fs::write(a.join("usr/lib/x.so.1"), "x").unwrap();
    std::os::unix::fs::symlink("x.so.1", a.join("usr/lib/x.so")).unwrap();
    std::fs::write(b.join("usr/lib/y"), "y").unwrap();
    std::fs::write(b.join("usr/lib/x.so.1"), "new").unwrap();
    merge_tree(&a, &into).unwrap();
    merge_tree(&b, &into).unwrap();
    let read = |f: &str| std::fs::read_to_string(into.join("usr/lib").join(f)).unwrap();
    assert_eq!((read("x.so"), read("y")), ("new".into(), "y".into()));
    // The tree that was merged first is as it was.
    assert_eq!(
        std::fs::read_to_string(a.join("usr/lib/x.so.1")).unwrap(),
        "x"
    );
}

fn write_recipe(dir: &Utf8Path, name: &str, needs: &str, script: &str) {
    let dir = dir.join(name);
    std::fs::create_dir_all(&dir).unwrap();
    let text = format!(
        "format: 1\nsummary: s\nsource: {{kind: packages, packages: [tiny]}}\nneeds: [{needs}]\nno_compiler: true\n"
    );
    std::fs::write(dir.join("recipe.yaml"), text).unwrap();
    std::fs::write(dir.join("build.sh"), script).unwrap();
}

/// A cache that already has the package `tiny`, resolved and downloaded, with a file `hello`.
struct Bench {
    _keep: tempfile::TempDir,
    dir: Utf8PathBuf,
    port: Port,
    patches: BTreeMap<String, Vec<Utf8PathBuf>>,
}

impl Bench {
    fn new(script: &str) -> Self {
        let (keep, dir) = tempdir();
        let gcc = dir.join("fake-gcc");
        std::fs::write(&gcc, "#!/bin/sh\necho fake 1\n").unwrap();
        std::fs::set_permissions(&gcc, std::fs::Permissions::from_mode(0o755)).unwrap();
        for tool in ["g++", "ld"] {
            std::os::unix::fs::symlink(&gcc, dir.join(format!("fake-{tool}"))).unwrap();
        }
        let mut port = sparc64();
        port.toolchain.triplet = dir.join("fake").to_string();
        port.image.sources = vec!["one".into()];
        write_recipe(&dir.join("recipes"), "one", "", script);

        let tree = dir.join("tree");
        std::fs::create_dir_all(tree.join("DEBIAN")).unwrap();
        std::fs::write(
            tree.join("DEBIAN/control"),
            "Package: tiny\nVersion: 1\nArchitecture: all\nMaintainer: n <n@example.org>\nDescription: d\n",
        )
        .unwrap();
        std::fs::write(tree.join("hello"), "hello\n").unwrap();
        let deb = dir.join("tiny.deb");
        let made = Command::new("dpkg-deb")
            .args(["-Znone", "--root-owner-group", "--build"])
            .args([&tree, &deb])
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let (size_bytes, sha256) = fetch::hash_file(&deb).unwrap();
        let file = ArchiveFile {
            package: "tiny".into(),
            version: "1".into(),
            file: "tiny_1_all.deb".into(),
            uri: "http://127.0.0.1:9/none".into(),
            size_bytes,
            sha256,
        };
        let cache = dir.join("cache");
        std::fs::create_dir_all(cache.join("debs")).unwrap();
        std::fs::rename(&deb, fetch::place(&cache, &file)).unwrap();
        let origin = Origin::Packages {
            packages: vec!["tiny".into()],
        };
        archive::note(&cache, "bookworm", &origin, &[file]).unwrap();
        Self {
            _keep: keep,
            dir,
            port,
            patches: BTreeMap::new(),
        }
    }

    fn build(&self, watch: &Watch<'_>) -> Result<Vec<Component>, SourceError> {
        let request = Request {
            port: &self.port,
            recipes: &self.dir.join("recipes"),
            cache: &self.dir.join("cache"),
            patches: &self.patches,
            jobs: 1,
            refresh: false,
        };
        build_components(&request, Wanted::All, watch)
    }

    fn left_over(&self) -> usize {
        std::fs::read_dir(self.dir.join("cache/tmp"))
            .unwrap()
            .count()
    }
}

#[test]
fn a_component_is_built_once() {
    let bench =
        Bench::new("set -e; echo '== step: install'; mkdir $OUT/root; cp $SRC/hello $OUT/root/\n");
    // A build that a process left half done, long ago.
    let stale = bench
        .dir
        .join("cache/components/.tmp-one-sparc64-abc-4194999");
    std::fs::create_dir_all(&stale).unwrap();
    let said = Mutex::new(Vec::new());
    let watch = Watch {
        progress: &|what, _| said.lock().unwrap().push(what.to_owned()),
        stop: &|| false,
    };
    let first = bench.build(&watch).unwrap().remove(0);
    assert!(!first.cached);
    let hello = first.tree("root").unwrap().join("hello");
    assert_eq!(std::fs::read_to_string(hello).unwrap(), "hello\n");
    assert_eq!(first.tree("sysroot"), None);
    insta::assert_snapshot!(
        said.lock().unwrap().join("\n"),
        @r"
    fetch one
    unpack one
    install one
    "
    );
    assert_eq!(bench.left_over(), 0);

    let second = bench.build(&QUIET).unwrap().remove(0);
    assert!(second.cached);
    assert_eq!((&second.key, &second.steps), (&first.key, &first.steps));
}

#[test]
fn what_goes_in_changes_the_key() {
    let mut bench = Bench::new("mkdir $OUT/root; cp $SRC/hello $OUT/root/\n");
    let plain = bench.build(&QUIET).unwrap().remove(0);

    let patch = bench.dir.join("a.patch");
    std::fs::write(
        &patch,
        "--- a/hello\n+++ b/hello\n@@ -1 +1 @@\n-hello\n+bye\n",
    )
    .unwrap();
    bench.patches.insert("one".into(), vec![patch.clone()]);
    let patched = bench.build(&QUIET).unwrap().remove(0);
    assert_ne!(plain.key, patched.key);
    let hello = patched.tree("root").unwrap().join("hello");
    assert_eq!(std::fs::read_to_string(hello).unwrap(), "bye\n");

    std::fs::write(
        &patch,
        "--- a/hello\n+++ b/hello\n@@ -1 +1 @@\n-no such line\n+bye\n",
    )
    .unwrap();
    let error = bench.build(&QUIET).unwrap_err().to_string();
    assert!(
        error.contains("does not apply to the source of one (1)"),
        "{error}"
    );

    bench.patches.clear();
    let script = bench.dir.join("recipes/one/build.sh");
    std::fs::write(script, "mkdir $OUT/root\n").unwrap();
    let changed = bench.build(&QUIET).unwrap().remove(0);
    assert_ne!(plain.key, changed.key);
}

#[test]
fn a_failed_build_names_its_step_and_leaves_its_log() {
    let bench = Bench::new("echo '== step: compile'; echo 'main.c:1: error: no'; exit 1\n");
    let error = bench.build(&QUIET).unwrap_err();
    let SourceError::Build {
        step, log, tail, ..
    } = &error
    else {
        panic!("{error}");
    };
    assert_eq!(step, "compile");
    assert_eq!(tail, "== step: compile\nmain.c:1: error: no");
    assert!(std::fs::read_to_string(log).unwrap().contains("error: no"));
    assert_eq!(bench.left_over(), 0);
}

#[test]
fn a_stop_ends_the_build_and_leaves_nothing() {
    let bench = Bench::new("echo '== step: compile'; sleep 600\n");
    let building = AtomicBool::new(false);
    let watch = Watch {
        progress: &|what, _| {
            building.fetch_or(what == "compile one", Ordering::Relaxed);
        },
        stop: &|| building.load(Ordering::Relaxed),
    };
    assert!(matches!(
        bench.build(&watch),
        Err(SourceError::Image(e)) if matches!(*e, ImageError::Stopped)
    ));
    assert_eq!(bench.left_over(), 0);
}

#[test]
fn a_kernel_without_its_facts_is_refused() {
    let mut bench = Bench::new("true\n");
    let recipe = bench.dir.join("recipes/one/recipe.yaml");
    let text = std::fs::read_to_string(&recipe).unwrap() + "kernel: true\n";
    std::fs::write(recipe, text).unwrap();
    bench.port.toolchain.kernel_image = None;
    insta::assert_snapshot!(
        bench.build(&QUIET).unwrap_err(),
        @"port sparc64: component one needs 'toolchain.kernel_image' in the port's manifest"
    );
}

#[test]
fn a_sources_version_is_read_from_its_files() {
    let file = |package: &str, version: &str, file: &str| ArchiveFile {
        package: package.into(),
        version: version.into(),
        file: file.into(),
        uri: String::new(),
        size_bytes: 0,
        sha256: String::new(),
    };
    let binary = [file("libc6", "2.36-8", "libc6_2.36-8_all.deb")];
    assert_eq!(archive::version_of(&binary), "2.36-8");
    let source = [
        file("a", "", "atf_0.21-6.debian.tar.xz"),
        file("b", "", "atf_0.21-6.dsc"),
        file("c", "", "atf_0.21.orig.tar.gz"),
    ];
    assert_eq!(archive::version_of(&source), "0.21-6");
    assert_eq!(archive::version_of(&[]), "");
}
