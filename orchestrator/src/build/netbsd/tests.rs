//! The driver with a `build.sh` of our own, in a repository of our own.

use std::fs;
use std::process::Command;
use std::sync::Mutex;

use camino::{Utf8Path, Utf8PathBuf};

use super::*;
use crate::build::error::BuildError;
use crate::build::release_kernel;
use crate::build::source::{self, Series};
use crate::host::git;
use crate::image::release::local;
use crate::model::{KernelOrdered, Key, Project, StageResult};

/// Does what `build.sh` would do, as far as anybody here looks: notes the call, makes what the stage
/// makes, prints what it prints.
const BUILD_SH: &str = r##"
while getopts Uum:a:O:T:D:R:j:V: f; do case $f in
m) m=$OPTARG ;; O) obj=$OPTARG ;; T) tools=$OPTARG ;; D) dest=$OPTARG ;; R) rel=$OPTARG ;; V) vars="$vars $OPTARG" ;;
esac; done
shift $((OPTIND - 1))
echo "$1$vars home=$HOME" >> "$obj/calls"
echo "===> build.sh command:    sh build.sh $1"
echo "dependall ===> lib/libc"
echo "#   compile  libc/fork.o"
grep -n BROKEN sys/kern/kern_exec.c && {
	echo "--- kern_exec.o ---"
	echo "$PWD/sys/kern/kern_exec.c:1:1: error: 'BROKEN' undeclared"
	echo "*** [kern_exec.o] Error code 1"
	echo "nbmake: stopped in $obj/sys/arch/$m/compile/GENERIC"
	echo "ERROR: Failed to make all in \"$obj\""
	echo "*** BUILD ABORTED ***"
	exit 1
}
case $1 in
tools)
	mkdir -p "$tools/bin"
	cat > "$tools/bin/nbmake-$m" <<-END
	#!/bin/sh
	echo "nbmake \$*" >> "$obj/calls"
	case "\$*" in *"tests install") mkdir -p $dest/usr && cp -r tests $dest/usr ;; esac
	END
	chmod +x "$tools/bin/nbmake-$m" ;;
kernel=*)
	conf=${1#*=}
	made="$obj/sys/arch/$m/compile/${conf##*/}"
	mkdir -p "$made" && cp sys/kern/kern_exec.c "$made/netbsd"
	case $conf in /*) cat "$conf" >> "$made/netbsd" ;; esac ;;
distribution)
	mkdir -p "$dest/usr" && cp -r tests "$dest/usr"
	echo "--- checkflist ---"
	test ! -e extra || {
		printf '=======  1 extra files in DESTDIR  =========\n------------------------------------------\n./x\n'
		echo "*** [checkflist] Error code 1"
		echo "nbmake: stopped in $PWD/distrib/sets"
		exit 1
	} ;;
sets)
	mkdir -p "$rel/$m/binary/sets"
	cat tests/* > "$rel/$m/binary/sets/tests.tgz" ;;
esac
echo "===> Successful make $1"
"##;

struct Place {
    _keep: tempfile::TempDir,
    dir: Utf8PathBuf,
    project: Project,
}

impl Place {
    fn new() -> Self {
        let keep = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(keep.path()).unwrap().to_owned();
        fs::create_dir(dir.join("user")).unwrap();
        let project = serde_yaml::from_str(
            "{format: 1, name: tiny, source: {git: {url: u, revision: main}}, \
             build: {kind: netbsd, variables: {MKX11: no}, timeout: 1m}}",
        )
        .unwrap();
        let place = Self {
            _keep: keep,
            dir,
            project,
        };
        place.git(&["init", "--quiet", "--initial-branch=main"]);
        place.commit("build.sh", BUILD_SH);
        place.commit("sys/kern/kern_exec.c", "int one;\n");
        let generic = "options DIAGNOSTIC\n#options DEBUG\n";
        place.commit("sys/arch/evbarm/conf/GENERIC", generic);
        place.commit("sys/conf/files", "defflag opt_lock.h LOCKDEBUG\n");
        place.commit("tests/t_a.c", "int t;\n");
        place.commit("distrib/sets/Makefile", "makesetfiles: .PHONY\n");
        place
    }

    fn git(&self, words: &[&str]) -> String {
        let user = self.dir.join("user");
        let mut command: Command = git::plain(&user.join(".git"));
        command
            .env("GIT_WORK_TREE", &user)
            .args(["-c", "user.name=a", "-c", "user.email=a@b.invalid"])
            .args(words);
        git::output(command, words[0]).unwrap()
    }

    fn commit(&self, name: &str, text: &str) {
        let path = self.dir.join("user").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self.git(&["add", "-A"]);
        self.git(&["commit", "--quiet", "-m", name]);
    }

    async fn build(&self, stage: &str, patches: Option<&Series>) -> Result<Vec<Made>, BuildError> {
        let cache = self.dir.join("cache");
        let tree = self.tree();
        let request = Request {
            project: &self.project,
            tree: &tree,
            patches,
            target: &"evbarm-earmv7hf".parse().unwrap(),
            stage: &stage.parse().unwrap(),
            cache: &cache,
            jobs: 2,
            full: false,
        };
        build(&request, &|_, _| ()).await
    }

    fn tree(&self) -> git::GitTree {
        let user = self.dir.join("user");
        git::ensure(&self.dir.join("cache"), user.as_str(), "main").unwrap()
    }

    /// What would be done, a line a stage.
    async fn ahead(&self, stage: &str, full: bool) -> String {
        let cache = self.dir.join("cache");
        let tree = self.tree();
        let request = Request {
            project: &self.project,
            tree: &tree,
            patches: None,
            target: &"evbarm-earmv7hf".parse().unwrap(),
            stage: &stage.parse().unwrap(),
            cache: &cache,
            jobs: 2,
            full,
        };
        let lines = ahead(&request).await.unwrap().into_iter().map(|one| {
            let deed = match one.deed {
                Deed::Found(_) => "found".to_owned(),
                Deed::Renamed(_) => "renamed".to_owned(),
                Deed::Parts(parts, _) => format!("only {}", Work::Parts(parts)),
                Deed::Built => "built".to_owned(),
            };
            let reasons: Vec<String> = one.reasons.iter().map(ToString::to_string).collect();
            format!("{}: {deed} <- {}", one.stage, reasons.join("; "))
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    fn port(&self) -> Utf8PathBuf {
        self.dir.join("cache/netbsd/tiny/evbarm-earmv7hf")
    }

    /// The calls of `build.sh` since the last time.
    fn calls(&self) -> Vec<String> {
        let path = self.port().join("obj/calls");
        let text = fs::read_to_string(&path).unwrap_or_default();
        let _ = fs::remove_file(&path);
        let text = text.replace(self.dir.as_str(), "DIR");
        text.lines().map(str::to_owned).collect()
    }
}

fn cached(made: &[Made]) -> Vec<(&str, bool)> {
    made.iter()
        .map(|m| (m.record.stage.as_str(), m.cached))
        .collect()
}

#[tokio::test]
async fn what_has_not_changed_is_not_built() {
    let place = Place::new();
    let made = place.build("kernel=GENERIC", None).await.unwrap();
    assert_eq!(cached(&made), [("tools", false), ("kernel=GENERIC", false)]);
    let home = "home=DIR/cache/netbsd/tiny/evbarm-earmv7hf/home";
    assert_eq!(
        place.calls(),
        [
            format!("tools MKX11=no {home}"),
            format!("kernel=GENERIC MKX11=no {home}")
        ]
    );
    let kernel = &made[1].record.artifacts[0];
    assert_eq!(kernel.kind, "kernel");
    assert_eq!(fs::read_to_string(&kernel.path).unwrap(), "int one;\n");

    let again = place.build("kernel=GENERIC", None).await.unwrap();
    assert_eq!(cached(&again), [("kernel=GENERIC", true)]);
    // A test is no part of a kernel; a kernel's file is no part of the tools.
    place.commit("tests/t_a.c", "int u;\n");
    let again = place.build("kernel=GENERIC", None).await.unwrap();
    assert_eq!(cached(&again), [("kernel=GENERIC", true)]);
    assert_eq!(place.calls(), [""; 0]);
    place.commit("sys/kern/kern_exec.c", "int two;\n");
    let made = place.build("kernel=GENERIC", None).await.unwrap();
    assert_eq!(cached(&made), [("tools", true), ("kernel=GENERIC", false)]);
    assert_eq!(place.calls().len(), 1);
    // What tools are made from.
    place.commit("usr.bin/make/main.c", "int m;\n");
    let made = place.build("kernel=GENERIC", None).await.unwrap();
    assert_eq!(cached(&made), [("tools", false), ("kernel=GENERIC", false)]);
}

#[tokio::test]
async fn a_variant_is_a_configuration_of_ours() {
    let mut place = Place::new();
    let kernels = "{checked: {config: GENERIC, options: [+DEBUG, +LOCKDEBUG, +DIAGNOSTIC]}, \
                   bare: {config: GENERIC, options: [-DIAGNOSTIC]}, \
                   odd: {config: GENERIC, options: [+DIAGNOSTC]}, \
                   lost: {config: GENREIC, options: [+DEBUG]}}";
    place.project.build.kernels = serde_yaml::from_str(kernels).unwrap();
    let made = place.build("kernel=checked", None).await.unwrap();
    let kernel = fs::read_to_string(&made[1].record.artifacts[0].path).unwrap();
    insta::assert_snapshot!(kernel, @r#"
    int one;
    # checked: GENERIC changed by fallout
    include "arch/evbarm/conf/GENERIC"
    options DEBUG
    options LOCKDEBUG
    # +DIAGNOSTIC: is so there
    "#);
    let made = place.build("kernel=bare", None).await.unwrap();
    assert_eq!(cached(&made), [("tools", true), ("kernel=bare", false)]);
    place.calls();
    let made = place.build("kernel=checked", None).await.unwrap();
    assert_eq!(cached(&made), [("kernel=checked", true)]);
    // Other options are another kernel.
    let checked = place.project.build.kernels.get_mut("checked").unwrap();
    checked.options.pop();
    let made = place.build("kernel=checked", None).await.unwrap();
    assert_eq!(cached(&made)[1], ("kernel=checked", false));

    let error = place.build("kernel=odd", None).await.unwrap_err();
    assert_eq!(error.stage(), StageResult::BuildFailed);
    let said = error.to_string();
    let first = said.lines().next().unwrap();
    insta::assert_snapshot!(first, @"configure failed: option DIAGNOSTC is unknown; did you mean DIAGNOSTIC?");
    for stage in ["kernel=lost", "kernel=GENREIC"] {
        let error = place.build(stage, None).await.unwrap_err();
        insta::allow_duplicates! {
            insta::assert_snapshot!(error, @"tiny: no kernel configuration 'GENREIC' in sys/arch/evbarm/conf; did you mean 'GENERIC'?");
        }
    }
}

#[tokio::test]
async fn only_what_a_change_makes_stale_is_built() {
    let place = Place::new();
    place.commit("tests/lib/t_a.c", "int t;\n");
    assert_eq!(
        place.ahead("distribution", false).await,
        "tools: built <- \ndistribution: built <- "
    );
    place.build("distribution", None).await.unwrap();
    place.calls();
    place.commit("doc/CHANGES", "words\n");
    insta::assert_snapshot!(place.ahead("distribution", false).await, @r"
    tools: found <- 
    distribution: renamed <- doc/CHANGES: nothing is made from it
    ");
    let made = place.build("distribution", None).await.unwrap();
    assert_eq!(cached(&made), [("tools", true), ("distribution", true)]);
    assert_eq!(place.calls(), [""; 0]);

    place.commit("tests/lib/t_a.c", "int u;\n");
    insta::assert_snapshot!(place.ahead("distribution", false).await, @r"
    tools: found <- 
    distribution: only tests <- tests/lib/t_a.c: nothing else is made from tests
    ");
    insta::assert_snapshot!(place.ahead("distribution", true).await, @r"
    tools: found <- 
    distribution: built <- 
    ");
    let made = place.build("distribution", None).await.unwrap();
    assert_eq!(made[1].parts, Some(vec!["tests".to_owned()]));
    insta::assert_snapshot!(place.calls().join("\n"), @r"
    nbmake -C distrib/sets clean_METALOG
    nbmake -j 2 -C tests obj
    nbmake -j 2 -C tests dependall
    nbmake -j 2 -C tests install
    nbmake do-obsolete
    nbmake -C distrib/sets makesetfiles
    nbmake postinstall-fix-obsolete
    nbmake -C distrib/sets checkflist
    ");
    let dest = place.port().join("dest/usr/tests/lib/t_a.c");
    assert_eq!(fs::read_to_string(dest).unwrap(), "int u;\n");

    place.commit("sys/kern/kern_exec.c", "int two;\n");
    insta::assert_snapshot!(place.ahead("release", false).await, @r"
    tools: found <- 
    release: built <- 
    ");
    insta::assert_snapshot!(place.ahead("distribution", false).await, @r"
    tools: found <- 
    distribution: built <- sys/kern/kern_exec.c: rump libraries, modules and programs are made from files of sys
    ");
}

#[tokio::test]
async fn parts_are_compared_with_the_whole_now_and_then() {
    let place = Place::new();
    place.commit("tests/lib/t_a.c", "int t;\n");
    place.build("distribution", None).await.unwrap();
    for round in 1..=8 {
        place.commit("tests/lib/t_a.c", &format!("int t{round};\n"));
        place.calls();
        let made = place.build("distribution", None).await.unwrap();
        let checked = made[1].checked.as_ref().map(|c| (c.files, c.differ));
        assert_eq!(checked, (round == 8).then_some((2, 0)), "round {round}");
        let whole = place.calls().iter().any(|c| c.starts_with("distribution"));
        assert_eq!(whole, round == 8);
    }
}

#[tokio::test]
async fn both_sides_of_a_series_are_kept() {
    let place = Place::new();
    fs::write(place.dir.join("series"), "p.diff\n").unwrap();
    fs::write(
        place.dir.join("p.diff"),
        "--- a/sys/kern/kern_exec.c\n+++ b/sys/kern/kern_exec.c\n@@ -1 +1 @@\n-int one;\n+int patched;\n",
    )
    .unwrap();
    let series = source::series(&place.dir.join("series")).unwrap();
    let stage = "kernel=GENERIC";
    let base = place.build(stage, None).await.unwrap();
    let patched = place.build(stage, Some(&series)).await.unwrap();
    let text = |made: &[Made]| {
        let kernel = &made.last().unwrap().record.artifacts[0].path;
        fs::read_to_string(kernel).unwrap()
    };
    assert_eq!(text(&base), "int one;\n");
    assert_eq!(text(&patched), "int patched;\n");
    place.calls();
    // There and back again, and nothing is built.
    for patches in [None, Some(&series)] {
        let made = place.build(stage, patches).await.unwrap();
        assert_eq!(cached(&made), [("kernel=GENERIC", true)]);
    }
    assert_eq!(place.calls(), [""; 0]);
    fs::write(
        place.dir.join("p.diff"),
        "--- a/none\n+++ b/none\n@@ -1 +1 @@\n-1\n+2\n",
    )
    .unwrap();
    let series = source::series(&place.dir.join("series")).unwrap();
    let error = place.build(stage, Some(&series)).await.unwrap_err();
    assert!(
        matches!(&error, BuildError::PatchFailed { patch, .. } if patch == "p.diff"),
        "{error}"
    );
}

#[tokio::test]
async fn a_failure_names_file_target_and_directory() {
    let place = Place::new();
    place.commit("sys/kern/kern_exec.c", "BROKEN\n");
    let error = place.build("tools", None).await.unwrap_err();
    assert_eq!(error.stage(), StageResult::BuildFailed);
    let said = error.to_string().replace(place.dir.as_str(), "DIR");
    let head: Vec<&str> = said.lines().take(3).collect();
    insta::assert_snapshot!(head.join("\n"), @r"
    tools failed: sys/kern/kern_exec.c: 'BROKEN' undeclared
      sys/kern/kern_exec.c:1: 'BROKEN' undeclared
      target kern_exec.o in sys/arch/evbarm/compile/GENERIC
    ");
    let log = fs::read(error.log().unwrap()).unwrap();
    let log = String::from_utf8(zstd::decode_all(&log[..]).unwrap()).unwrap();
    assert!(log.ends_with("*** BUILD ABORTED ***\n"), "{log}");
    // It is not taken for built.
    assert!(place.build("tools", None).await.is_err());
}

#[tokio::test]
async fn a_sets_mismatch_is_a_result_of_its_own() {
    let place = Place::new();
    place.commit("extra", "");
    let error = place.build("distribution", None).await.unwrap_err();
    assert_eq!(error.stage(), StageResult::SetsMismatch, "{error}");
    // What was built is there: with other lists only the check is made again.
    assert_eq!(
        place.ahead("distribution", false).await,
        "tools: found <- \ndistribution: only the check of the set lists <- "
    );
    place.commit("distrib/sets/lists/base/mi", "./x\n");
    place.calls();
    let made = place.build("distribution", None).await.unwrap();
    assert_eq!(made[1].parts, Some(Vec::new()));
    let calls = place.calls();
    assert_eq!(calls.last().unwrap(), "nbmake -C distrib/sets checkflist");
    assert!(!calls.iter().any(|c| c.starts_with("distribution")));
    let again = place.build("distribution", None).await.unwrap();
    assert_eq!(cached(&again), [("distribution", true)]);
}

#[tokio::test]
async fn progress_follows_the_last_build() {
    let place = Place::new();
    place.build("kernel=GENERIC", None).await.unwrap();
    place.commit("sys/kern/kern_exec.c", "int two;\n");
    let told = Mutex::new(Vec::new());
    let cache = place.dir.join("cache");
    let request = Request {
        project: &place.project,
        tree: &git::ensure(&cache, place.dir.join("user").as_str(), "main").unwrap(),
        patches: None,
        target: &"evbarm-earmv7hf".parse().unwrap(),
        stage: &Stage::Kernel("GENERIC".to_owned()),
        cache: &cache,
        jobs: 1,
        full: false,
    };
    let tell = |doing: &str, far: Option<(u64, u64)>| {
        told.lock().unwrap().push((doing.to_owned(), far.is_some()));
    };
    build(&request, &tell).await.unwrap();
    let told = told.into_inner().unwrap();
    let words: Vec<&str> = told.iter().map(|(w, _)| w.as_str()).collect();
    assert_eq!(words[..2], ["checkout", "kernel=GENERIC"], "{words:?}");
    assert!(told[1].1, "the last build says how far this one is");
    assert!(!words.iter().any(|w| w.starts_with("tools")), "{words:?}");
}

#[tokio::test]
async fn a_build_that_takes_too_long_is_ended() {
    let mut place = Place::new();
    // make's jobs are in groups of their own.
    place.commit(
        "build.sh",
        "setsid sh -c 'echo $$ > $TMPDIR/started; sleep 4; touch $TMPDIR/late' & sleep 60\n",
    );
    let tmp = place.port().join("tmp");
    place.project.build.timeout = std::time::Duration::from_secs(2);
    let error = place.build("tools", None).await.unwrap_err();
    assert!(matches!(error, BuildError::TimedOut { .. }), "{error}");
    if super::sandbox::Sandbox::probe().await != super::sandbox::Sandbox::Nothing {
        tokio::time::sleep(std::time::Duration::from_secs(4)).await;
        assert!(!tmp.join("late").exists(), "a job outlived its build");
    }
}

#[tokio::test]
async fn a_build_has_no_network_where_the_host_can_take_it_away() {
    let place = Place::new();
    place.commit(
        "build.sh",
        "grep -c : /proc/net/dev; cat /proc/net/route | wc -l; test $(grep -vc 'lo:' /proc/net/dev) -eq 2\n",
    );
    let made = place.build("tools", None).await;
    let confined = super::sandbox::Sandbox::probe().await;
    if confined == super::sandbox::Sandbox::Nothing {
        // Said so in the record; there is nothing to see then.
        return;
    }
    let made = made.unwrap();
    assert!(made[0].record.confined.contains("no network"));
}

#[tokio::test]
async fn a_kernel_with_its_system_is_kept_as_a_release() {
    let place = Place::new();
    let cache = place.dir.join("cache");
    let git = place.tree();
    let source = |git: git::GitTree| source::Tree {
        hash: Key::of("tree", &[git.id.as_bytes()]),
        origin: source::Origin::Git(git),
    };
    let make = async |tree: &source::Tree, key: &str, system: Option<&str>| {
        let key = Key::of("test", &[key.as_bytes()]);
        let request = release_kernel::Request {
            project: &place.project,
            tree,
            patches: None,
            port: "p",
            machine: "evbarm-earmv7hf",
            name: "GENERIC",
            variant: None,
            identify: |bytes| {
                Some(KernelOrdered {
                    release: String::from_utf8_lossy(bytes).into_owned(),
                    ..KernelOrdered::default()
                })
            },
            cache: &cache,
            key: &key,
            jobs: 1,
            system,
        };
        release_kernel::build(&request, &|_, _| ()).await.unwrap()
    };
    let tree = source(git);
    let first = make(&tree, "first", Some("GENERIC64.img")).await;
    place.commit("tests/t_a.c", "int other;\n");
    let later = source(place.tree());
    let second = make(&later, "second", Some("GENERIC64.img")).await;
    let alone = make(&later, "alone", None).await;
    assert_eq!(alone.system, None);
    // The same kernel; what a cell depends on is another thing with each system, and without one.
    let kernels = [&first, &second, &alone].map(|k| fs::read(&k.kernel).unwrap());
    assert!(kernels.windows(2).all(|pair| pair[0] == pair[1]));
    let outputs: std::collections::BTreeSet<_> =
        [&first, &second, &alone].map(|k| &k.output).into();
    assert_eq!(outputs.len(), 3);
    // The first one's is as it was made, although the builder has gone on.
    for (built, tests) in [(&first, "int t;\n"), (&second, "int other;\n")] {
        let dir = built.system.as_ref().unwrap();
        let release = local::read(dir, "evbarm-earmv7hf", &[]).unwrap();
        assert_eq!(
            fs::read_to_string(release.set("tests").unwrap()).unwrap(),
            tests
        );
        assert_eq!(
            fs::read(release.kernel("GENERIC64.img").unwrap()).unwrap(),
            kernels[0]
        );
    }
    // One is kept beside the objects; those of runs are in the cache of builds.
    let kept = place.port().join("kept").read_dir_utf8().unwrap();
    let sets = kept.filter(|e| e.as_ref().unwrap().file_name().starts_with("sets-"));
    assert_eq!(sets.count(), 1);
}
