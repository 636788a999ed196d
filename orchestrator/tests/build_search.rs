//! `fallout build --bisect`: which commit broke a release, over a repository with a `build.sh` of our own
//! that says what the real one says.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// Makes nothing, and stops where the tree has a file `broken` (a compiler's error) or `extra` (a file that
/// no set list has).
const BUILD_SH: &str = r#"
while getopts Uum:a:O:T:D:R:j:V: f; do case $f in
T) tools=$OPTARG ;; D) dest=$OPTARG ;; esac; done
shift $((OPTIND - 1))
test ! -e broken || {
	echo "--- fork.o ---"
	echo "$PWD/lib/libc/fork.c:7:1: error: 'fork' undeclared"
	echo "*** [fork.o] Error code 1"
	echo "nbmake: stopped in $PWD/lib/libc"
	exit 1
}
case $1 in
tools) mkdir -p "$tools/bin" ;;
distribution)
	mkdir -p "$dest"
	echo "--- checkflist ---"
	test ! -e extra || {
		printf '=======  %s extra files in DESTDIR  =========\n' "$(wc -l < extra | tr -d ' ')"
		echo "------------------------------------------"
		cat extra
		echo "========= end of 1 extra files ==========="
		echo "*** [checkflist] Error code 1"
		echo "nbmake: stopped in $PWD/distrib/sets"
		exit 1
	} ;;
esac
echo "===> Successful make $1"
"#;

struct Place(tempfile::TempDir);

impl Place {
    /// A repository with a commit for each of these: a file and its text; none removes it.
    fn new(commits: &[(&str, Option<&str>)]) -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        let tree = place.path().join("tree");
        std::fs::create_dir(&tree).unwrap();
        place.git(&["init", "--quiet", "--initial-branch=main"]);
        let first = [("build.sh", Some(BUILD_SH))];
        for (name, text) in first.iter().chain(commits) {
            match text {
                Some(text) => std::fs::write(tree.join(name), text).unwrap(),
                None => std::fs::remove_file(tree.join(name)).unwrap(),
            }
            place.git(&["add", "-A"]);
            place.git(&["commit", "--quiet", "-m", &format!("change {name}")]);
        }
        let project = format!(
            "format: 1\nname: t\nsource: {{git: {{url: {}, revision: main}}}}\nbuild: {{kind: netbsd, timeout: 1m}}\n",
            tree.display()
        );
        std::fs::write(place.path().join("p.yaml"), project).unwrap();
        place
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn git(&self, words: &[&str]) {
        let status = Command::new("git")
            .current_dir(self.path().join("tree"))
            .args(["-c", "user.name=a", "-c", "user.email=a@b.invalid"])
            .args(words)
            .status();
        assert!(status.unwrap().success());
    }

    fn search(&self, range: &str, more: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_fallout"))
            .current_dir(self.path())
            .args(["build", "p.yaml", "--port", "amd64"])
            .args(["--stage", "distribution", "--bisect", range])
            .args(more)
            .env("XDG_CACHE_HOME", self.path().join("cache"))
            .env("XDG_STATE_HOME", self.path().join("state"))
            .output()
            .unwrap()
    }
}

fn answer(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}\n{error}"))
}

const TWO: &str = "./usr/include/spawn.h\n./usr/share/man/man3/spawn.3\n";

#[test]
fn a_file_that_no_list_has_is_traced_to_its_commit() {
    // Between what is looked for and the end, a revision that is broken otherwise, and a further file.
    let place = Place::new(&[
        ("a", Some("1")),
        ("b", Some("1")),
        ("extra", Some("./usr/include/spawn.h\n")),
        ("c", Some("1")),
        ("broken", Some("1")),
        ("broken", None),
        ("extra", Some(TWO)),
        ("d", Some("1")),
    ]);
    let output = place.search("main~8..main", &["--json"]);
    let found = answer(&output);
    assert_eq!(output.status.code(), Some(1), "{found}");
    assert_eq!((&found["first"], &found["last"]), (&3.into(), &3.into()));
    assert_eq!(found["revisions"][3]["subject"], "change extra");
    let what = found["failure"].as_str().unwrap();
    assert!(what.contains("extra ./usr/include/spawn.h"), "{what}");
    let tries = found["tries"].as_u64().unwrap();
    assert!(tries <= 6, "{tries}");
}

#[test]
fn a_compilers_error_is_traced_and_what_is_not_broken_is_said() {
    let place = Place::new(&[
        ("a", Some("1")),
        ("broken", Some("1")),
        ("b", Some("1")),
        ("c", Some("1")),
    ]);
    let output = place.search("main~4..main", &[]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("came in with change broken ("), "{text}");
    assert!(text.contains("'fork' undeclared"), "{text}");

    let said = |range: &str| {
        let output = place.search(range, &[]);
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let fine = said("main~4..main~3");
    assert!(fine.contains("distribution is not broken at "), "{fine}");
    let range = said("main");
    assert!(range.contains("expected GOOD..BAD, or 'series'"), "{range}");
    let series = said("series");
    assert!(series.contains("the project has no patches"), "{series}");
}
