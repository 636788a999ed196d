//! Builds of tiny trees with this machine's own compiler.

use std::fs;
use std::sync::Mutex;

use super::*;
use crate::build::error::BuildError;
use crate::host::files::tree_hash;
use crate::host::{git, series};
use crate::model::StageResult;

const MAKEFILE: &str = "\
CC = false
CFLAGS = -O1 -g
all: hello
hello: hello.c answer.h
\t$(CC) $(CFLAGS) -o $@ hello.c
install: all
\tmkdir -p $(DESTDIR)$(PREFIX)
\tcp hello $(DESTDIR)$(PREFIX)/
";
const HELLO: &str = "#include <stdio.h>\n#include \"answer.h\"\nint main(void) { printf(\"%d %s\\n\", ANSWER, __FILE__); return 0; }\n";

struct Place {
    _keep: tempfile::TempDir,
    dir: Utf8PathBuf,
    port: Port,
    project: Project,
    key: Key,
}

fn place() -> Place {
    let keep = tempfile::tempdir().unwrap();
    let dir = Utf8Path::from_path(keep.path())
        .unwrap()
        .canonicalize_utf8()
        .unwrap();
    let mut port: Port =
        serde_yaml::from_str(include_str!("../../../images/linux/amd64.yaml")).unwrap();
    let machine = std::process::Command::new("gcc")
        .arg("-dumpmachine")
        .output()
        .unwrap();
    port.toolchain.triplet = String::from_utf8(machine.stdout).unwrap().trim().to_owned();
    let project = serde_yaml::from_str(
        "{format: 1, name: tiny, source: {path: tree}, build: {kind: make, prefix: /usr/tests/tiny, timeout: 5m}}",
    )
    .unwrap();
    let place = Place {
        _keep: keep,
        dir,
        port,
        project,
        key: Key::of("test", &[]),
    };
    place.write("tree/Makefile", MAKEFILE);
    place.write("tree/hello.c", HELLO);
    place.write("tree/answer.h", "#define ANSWER 41\n");
    place.write("tree/.git/config", "[core]\n");
    place
}

impl Place {
    fn write(&self, name: &str, text: &str) {
        let path = self.dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn cache(&self) -> Utf8PathBuf {
        self.dir.join("cache")
    }

    fn tree(&self) -> Tree {
        source::tree(&self.dir.join("tree")).unwrap()
    }

    fn series(&self, patch: &str) -> Series {
        self.write("patches/series", "# the answer\nanswer.patch\n");
        self.write("patches/answer.patch", patch);
        source::series(&self.dir.join("patches/series")).unwrap()
    }

    async fn build(&self, patches: Option<&Series>) -> Result<Built, BuildError> {
        let tree = self.tree();
        let cache = self.cache();
        let request = BuildRequest {
            project: &self.project,
            tree: &tree,
            patches,
            port: &self.port,
            sysroot: Utf8Path::new("/"),
            cache: &cache,
            key: &self.key,
            jobs: 1,
        };
        build(&request, &|_| ()).await
    }

    async fn error(&self, patches: Option<&Series>) -> BuildError {
        self.build(patches).await.unwrap_err()
    }

    /// The text of an error without what differs from machine to machine.
    fn shown(&self, error: &BuildError) -> String {
        error
            .to_string()
            .replace(self.dir.as_str(), "DIR")
            .replace(&self.key.0, "KEY")
    }
}

const PATCH: &str =
    "--- a/answer.h\n+++ b/answer.h\n@@ -1 +1 @@\n-#define ANSWER 41\n+#define ANSWER 42\n";

fn unpack(built: &Built, into: &Utf8Path) {
    tar::Archive::new(fs::File::open(&built.tar).unwrap())
        .unpack(into)
        .unwrap();
}

#[tokio::test]
async fn a_patched_tree_is_built_and_packed() {
    let place = place();
    let series = place.series(PATCH);
    let before = tree_hash(&place.dir.join("tree")).unwrap();
    assert_eq!(cached(&place.cache(), &place.key), None);
    let built = place.build(Some(&series)).await.unwrap();
    assert_eq!(cached(&place.cache(), &place.key).as_ref(), Some(&built));
    let bytes = fs::read(&built.tar).unwrap();
    assert_eq!(
        (bytes.len() as u64, bytes.len() % 512),
        (built.size_bytes, 0)
    );
    assert_eq!(built.output.0, blake3::hash(&bytes).to_hex().to_string());
    let log = zstd::decode_all(fs::File::open(&built.log).unwrap()).unwrap();
    assert!(String::from_utf8(log).unwrap().contains("-o hello hello.c"));
    // The user's tree is as it was.
    assert_eq!(before, tree_hash(&place.dir.join("tree")).unwrap());
    assert!(!place.dir.join("tree/hello").exists());

    unpack(&built, &place.dir.join("guest"));
    let hello = std::process::Command::new(place.dir.join("guest/usr/tests/tiny/hello")).output();
    assert_eq!(hello.unwrap().stdout, b"42 hello.c\n");
    // Nothing of the place where it was built is in it.
    let program = fs::read(place.dir.join("guest/usr/tests/tiny/hello")).unwrap();
    let found = program
        .windows(place.dir.as_str().len())
        .any(|w| w == place.dir.as_str().as_bytes());
    assert!(
        !found,
        "the program names the directory in which it was built"
    );
}

#[tokio::test]
async fn the_same_source_gives_the_same_output_elsewhere() {
    let (one, two) = (place(), place());
    let two = Place {
        key: Key::of("other", &[]),
        ..two
    };
    let (one, two) = (
        one.build(None).await.unwrap(),
        two.build(None).await.unwrap(),
    );
    assert_ne!(one.key, two.key);
    assert_eq!(one.output, two.output);
}

#[tokio::test]
async fn two_builders_of_one_key_do_it_once() {
    let mut place = place();
    place.write(
        "tree/Makefile",
        "all:\n\techo x >>$(COUNT)\ninstall:\n\tcp Makefile $(DESTDIR)/\n",
    );
    let count = place.dir.join("count");
    place
        .project
        .build
        .env
        .insert("COUNT".to_owned(), count.to_string());
    let (one, two) = tokio::join!(place.build(None), place.build(None));
    assert_eq!(one.unwrap(), two.unwrap());
    assert_eq!(fs::read_to_string(count).unwrap(), "x\n");
}

#[tokio::test]
async fn every_step_has_its_environment() {
    let mut place = place();
    let spec = &mut place.project.build;
    spec.commands = vec![
        "test \"$PORT\" = amd64".to_owned(),
        "made=yes".to_owned(),
        "echo $made >note".to_owned(),
    ];
    spec.args = vec!["WORD=word".to_owned()];
    spec.targets = vec!["first".to_owned()];
    spec.install = vec!["second".to_owned()];
    spec.finish = vec!["env | sort >\"$DESTDIR/env\"".to_owned()];
    spec.env.insert("OWN".to_owned(), "own".to_owned());
    place.write(
        "tree/Makefile",
        "first:\n\techo $(WORD) $(CC) >>note\nsecond:\n\ttest $(WORD) = word\n\tcp note $(DESTDIR)/\n",
    );
    let steps = Mutex::new(Vec::new());
    let (tree, cache) = (place.tree(), place.cache());
    let request = BuildRequest {
        project: &place.project,
        tree: &tree,
        patches: None,
        port: &place.port,
        sysroot: Utf8Path::new("/"),
        cache: &cache,
        key: &place.key,
        jobs: 1,
    };
    let built = build(&request, &|step| {
        steps.lock().unwrap().push(step.to_owned())
    })
    .await
    .unwrap();
    assert_eq!(
        steps.into_inner().unwrap(),
        ["copy", "commands", "make", "install", "finish", "pack"]
    );
    let guest = place.dir.join("guest");
    unpack(&built, &guest);
    let note = fs::read_to_string(guest.join("note")).unwrap();
    assert!(note.starts_with("yes\nword "), "{note}");
    assert!(note.contains("gcc --sysroot=/ -isystem "), "{note}");
    let env = fs::read_to_string(guest.join("env")).unwrap();
    let names: Vec<&str> = env
        .lines()
        .filter_map(|l| Some(l.split_once('=')?.0))
        .collect();
    insta::assert_snapshot!(names.join(" "), @"AR CC CFLAGS CPP CXX CXXFLAGS DESTDIR HOME JOBS LC_ALL LD LDFLAGS OWN PATH PKG_CONFIG_LIBDIR PKG_CONFIG_PATH PKG_CONFIG_SYSROOT_DIR PORT PREFIX PWD RANLIB SOURCE_DATE_EPOCH STRIP SYSROOT TMPDIR TRIPLET TZ");
}

#[tokio::test]
async fn a_compilers_complaint_is_the_products() {
    let place = place();
    place.write("tree/answer.h", "#define ANSWER nothing\n");
    let error = place.error(None).await;
    assert_eq!(error.stage(), StageResult::BuildFailed);
    let BuildError::Failed { step, message, .. } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(step.name, "make");
    let message = message.as_ref().unwrap();
    assert_eq!(
        (message.file.as_deref(), message.line),
        (Some("answer.h"), Some(1))
    );
    let shown = place.shown(&error);
    let first = shown.lines().next().unwrap();
    assert!(
        first.starts_with("make failed: answer.h:1: 'nothing' undeclared"),
        "{first}"
    );
    assert!(
        shown.contains("\n  the whole log: zstdcat DIR/cache/builds/failed/KEY.log.zst\n"),
        "{shown}"
    );
    let log = zstd::decode_all(fs::File::open(error.log().unwrap()).unwrap()).unwrap();
    assert!(String::from_utf8_lossy(&log).contains("undeclared"));
    assert_eq!(cached(&place.cache(), &place.key), None);
}

#[tokio::test]
async fn a_patch_that_does_not_apply_is_named() {
    let place = place();
    let series = place.series(&PATCH.replace("41", "7"));
    let error = place.error(Some(&series)).await;
    assert_eq!(error.stage(), StageResult::BuildFailed);
    insta::assert_snapshot!(place.shown(&error).lines().next().unwrap(), @"patch answer.patch does not apply to answer.h: hunk #1 at line 1 fails");
    let gone = place.series(&PATCH.replace("answer.h", "gone.h"));
    let error = place.error(Some(&gone)).await;
    insta::assert_snapshot!(place.shown(&error).lines().next().unwrap(), @"patch answer.patch does not apply to gone.h");
}

#[tokio::test]
async fn a_build_that_does_not_end_is_ended_with_all_its_children() {
    let mut place = place();
    place.project.build.timeout = Duration::from_millis(700);
    place.write(
        "tree/Makefile",
        "all:\n\tsleep 1000 & echo $$! >$(PID); sleep 1000\n",
    );
    let pid = place.dir.join("pid");
    place
        .project
        .build
        .env
        .insert("PID".to_owned(), pid.to_string());
    let error = place.error(None).await;
    assert_eq!(error.stage(), StageResult::BuildFailed);
    assert!(
        error
            .to_string()
            .starts_with("make was not done within the build's time limit of 700 ms\n"),
        "{error}"
    );
    assert!(gone(&pid).await);
}

#[tokio::test]
async fn a_build_that_is_given_up_leaves_nothing() {
    let mut place = place();
    place.write(
        "tree/Makefile",
        "all:\n\tsleep 1000 & echo $$! >$(PID).new; mv $(PID).new $(PID); wait\n",
    );
    let pid = place.dir.join("pid");
    place
        .project
        .build
        .env
        .insert("PID".to_owned(), pid.to_string());
    let started = async {
        while !pid.exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        result = place.build(None) => panic!("{result:?}"),
        () = started => {}
    }
    assert!(gone(&pid).await);
    // The next builder of the key gets the lock, and the place is clean.
    place.write("tree/Makefile", MAKEFILE);
    place.build(None).await.unwrap();
}

/// Whether the process of that number in a file ends.
async fn gone(pid: &Utf8Path) -> bool {
    let pid = fs::read_to_string(pid).unwrap();
    let proc = Utf8Path::new("/proc").join(pid.trim()).join("status");
    for _ in 0..500 {
        match fs::read_to_string(&proc) {
            Ok(text) if !text.contains("State:\tZ") => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            _ => return true,
        }
    }
    false
}

#[tokio::test]
async fn something_left_in_the_background_does_not_hold_the_build_up() {
    let mut place = place();
    place.write(
        "tree/Makefile",
        "all:\n\tsleep 1000 & echo $$! >$(PID)\ninstall:\n\tcp Makefile $(DESTDIR)/\n",
    );
    let pid = place.dir.join("pid");
    place
        .project
        .build
        .env
        .insert("PID".to_owned(), pid.to_string());
    place.build(None).await.unwrap();
    assert!(gone(&pid).await);
}

#[tokio::test]
async fn faults_of_the_host_are_the_hosts() {
    let mut place = place();
    place.write(
        "tree/Makefile",
        "all:\n\t@echo 'cc1: error: x.s: No space left on device'; false\n",
    );
    assert_eq!(place.error(None).await.stage(), StageResult::HostFailed);
    place.port.toolchain.triplet = "vax-unknown-netbsdelf".to_owned();
    let error = place.error(None).await;
    assert_eq!(error.stage(), StageResult::HostFailed);
    insta::assert_snapshot!(error, @"the program 'vax-unknown-netbsdelf-gcc' is not installed: install the package gcc-vax-unknown-netbsdelf (ci/setup does it)");
}

#[tokio::test]
async fn a_tree_that_changed_under_the_plan_is_refused() {
    let place = place();
    let tree = Tree {
        hash: Key::of("another", &[]),
        ..place.tree()
    };
    let cache = place.cache();
    let request = BuildRequest {
        project: &place.project,
        tree: &tree,
        patches: None,
        port: &place.port,
        sysroot: Utf8Path::new("/"),
        cache: &cache,
        key: &place.key,
        jobs: 1,
    };
    let error = build(&request, &|_| ()).await.unwrap_err();
    assert_eq!(error.stage(), StageResult::HostFailed);
    insta::assert_snapshot!(place.shown(&error), @"DIR/tree: changed since the run was planned: start the run again");
    let applied = place.series(PATCH);
    assert_eq!(applied.hash, series::hash(&applied.path).unwrap());
}

#[tokio::test]
async fn what_installs_nothing_has_failed() {
    let place = place();
    place.write("tree/Makefile", "all install:\n\ttrue\n");
    let error = place.error(None).await;
    assert_eq!(error.stage(), StageResult::BuildFailed);
    insta::assert_snapshot!(error.to_string().lines().next().unwrap(), @"install failed: nothing is installed below DESTDIR");
}

#[tokio::test]
async fn what_a_dead_builder_left_is_removed() {
    let place = place();
    let left = place.cache().join("builds/.work-dead");
    fs::create_dir_all(left.join("tree")).unwrap();
    place.build(None).await.unwrap();
    assert!(!left.exists());
}

#[tokio::test]
async fn a_revision_and_mails_make_a_build() {
    let place = place();
    let user = place.dir.join("tree");
    fs::remove_dir_all(user.join(".git")).unwrap();
    let git = |words: &[&str]| {
        let mut command = git::plain(&user.join(".git"));
        command.env("GIT_WORK_TREE", &user).args([
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@b.invalid",
        ]);
        git::output(
            {
                command.args(words);
                command
            },
            words[0],
        )
        .unwrap()
    };
    git(&["init", "--quiet", "--initial-branch=main"]);
    git(&["add", "-A"]);
    git(&["commit", "--quiet", "-m", "base"]);
    git(&["tag", "base"]);
    place.write("tree/answer.h", "#define ANSWER 42\n");
    git(&["commit", "--quiet", "-a", "-m", "Correct the answer"]);
    let mails = git(&["format-patch", "--stdout", "base"]);
    place.write("fix.mbox", &mails);
    // What is in the checkout does not count.
    place.write("tree/answer.h", "#error\n");

    let base = git::ensure(&place.cache(), user.as_str(), "base").unwrap();
    let fixed = git::ensure(&place.cache(), user.as_str(), "main").unwrap();
    let series = source::series(&place.dir.join("fix.mbox")).unwrap();
    let mut outputs = Vec::new();
    for (name, tree, patches) in [
        ("base", &base, None),
        ("patched", &base, Some(&series)),
        ("fixed", &fixed, None),
    ] {
        let request = BuildRequest {
            project: &place.project,
            tree: &Tree::git(tree.clone()),
            patches,
            port: &place.port,
            sysroot: Utf8Path::new("/"),
            cache: &place.cache(),
            key: &Key::of(name, &[]),
            jobs: 1,
        };
        outputs.push(build(&request, &|_| ()).await.unwrap().output);
    }
    assert_eq!(
        outputs[1], outputs[2],
        "base with the mails is what main is"
    );
    assert_ne!(outputs[0], outputs[1]);
}
