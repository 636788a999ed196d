use super::*;
use crate::host::dirs::Dirs;
use crate::plan::Resolved;
use crate::plan::matrix::Matrix;
use crate::plan::resolve::resolve;

/// A repository with a suite in its directory `lib`, on a branch `topic` two commits off `main`.
pub(crate) struct Repository {
    keep: tempfile::TempDir,
}

impl Repository {
    pub(crate) fn new() -> Self {
        let keep = tempfile::tempdir().unwrap();
        let own = Self { keep };
        std::fs::create_dir_all(own.path("repo/lib")).unwrap();
        own.git(&["init", "-q", "-b", "main"]);
        own.commit("one");
        own.commit("two");
        own.git(&["checkout", "-q", "-b", "topic"]);
        own.commit("three");
        own.commit("four");
        own
    }

    pub(crate) fn path(&self, below: &str) -> Utf8PathBuf {
        Utf8Path::from_path(self.keep.path()).unwrap().join(below)
    }

    pub(crate) fn git(&self, words: &[&str]) -> String {
        let mut command = std::process::Command::new("git");
        command.args(["-c", "user.name=n", "-c", "user.email=e@x", "-C"]);
        command.arg(self.path("repo")).args(words);
        git::output(command, words[0]).unwrap().trim().to_owned()
    }

    pub(crate) fn commit(&self, word: &str) {
        self.write(word);
        self.git(&["add", "."]);
        self.git(&["commit", "-qm", word]);
    }

    pub(crate) fn write(&self, word: &str) {
        std::fs::write(self.path("repo/lib/a.c"), word).unwrap();
    }

    pub(crate) fn id(&self, name: &str) -> String {
        self.git(&["rev-parse", name])
    }

    /// A matrix over a source.
    pub(crate) fn setup(&self, source: &str, more: &str) -> Setup {
        let text = format!(
            "format: 1\nname: m\nports: [p]\nsuites:\n  - name: s\n    source: {source}\n    \
             build: {{kind: make, prefix: /p}}\n{more}"
        );
        Setup {
            resolved: resolved(&text),
            images: self.path("images"),
            dirs: Dirs {
                cache: self.path("cache"),
                state: self.path("state"),
                config: self.path("config"),
                runtime: self.path("runtime"),
            },
            fresh: false,
            cores: None,
            cluster: None,
        }
    }

    pub(crate) fn checkout(&self, more: &str) -> Setup {
        self.setup(&format!("{{path: {}}}", self.path("repo/lib")), more)
    }
}

fn resolved(text: &str) -> Resolved {
    let port = serde_yaml::from_str(
        "format: 1\nport: p\nfamily: f\nstatus: none\ntraits: {}\n\
         emulator: {program: e, packages: [e], machine: m, mem_mib: 256, append: x, channel: c, boot_timeout: 1s}\n\
         toolchain: {triplet: t}\nimage: {suite: s, arch: a, runner: kyua}\n",
    )
    .unwrap();
    let matrix: Matrix = serde_yaml::from_str(text).unwrap();
    resolve(&matrix, "/".into(), &[None], &[], &[port]).unwrap()
}

fn ancestry(setup: &Setup) -> Result<Ancestry, RunError> {
    Ancestry::of(setup, &setup.resolved.suites[0], None)
}

#[test]
fn a_checkouts_parent_is_its_head_while_it_has_changes() {
    let repo = Repository::new();
    let setup = repo.checkout("");
    let parent = || ancestry(&setup).unwrap().parent().unwrap();
    assert_eq!(parent(), repo.id("topic^"));
    repo.write("five");
    assert_eq!(parent(), repo.id("topic"));
    let tree = ancestry(&setup).unwrap().tree(&parent()).unwrap();
    let path = tree.source.path.unwrap();
    assert_eq!(std::fs::read_to_string(path.join("a.c")).unwrap(), "four");
    // What a run of it would say: the same files have the same hash wherever they are.
    repo.git(&["checkout", "-q", "."]);
    assert_eq!(setup.revisions().unwrap()["s"], tree.revision);
}

#[test]
fn the_branch_point_is_where_it_left() {
    let repo = Repository::new();
    let url = format!("{{git: {{url: {}, revision: topic}}}}", repo.path("repo"));
    let setups = [repo.checkout(""), repo.setup(&url, "")];
    repo.git(&["checkout", "-q", "main"]);
    repo.commit("later");
    repo.git(&["checkout", "-q", "topic"]);
    for setup in setups {
        let found = ancestry(&setup).unwrap();
        assert_eq!(found.branch_point("main").unwrap(), repo.id("main^"));
        assert_eq!(found.parent().unwrap(), repo.id("topic^"));
        let range = found.range("main", "topic").unwrap();
        let subjects: Vec<&str> = range.iter().map(|(_, s)| s.as_str()).collect();
        assert_eq!(subjects, ["later", "three", "four"]);
        let wrong = found.branch_point("nowhere").unwrap_err().to_string();
        assert!(wrong.contains("has no revision 'nowhere'"), "{wrong}");
        let wrong = found.branch_point("topic").unwrap_err().to_string();
        assert!(wrong.contains("is in topic already"), "{wrong}");
    }
}

#[test]
fn a_git_sources_parent_is_a_source_of_that_commit() {
    let repo = Repository::new();
    let url = repo.path("repo");
    let setup = repo.setup(&format!("{{git: {{url: {url}, revision: main}}}}"), "");
    let found = ancestry(&setup).unwrap();
    let tree = found.tree(&found.parent().unwrap()).unwrap();
    let source = tree.source.git.unwrap();
    assert_eq!(
        (source.url, source.revision),
        (url.to_string(), repo.id("main^"))
    );
    let id = repo.id("main^^{tree}");
    assert_eq!(tree.revision, git::tree_key(&id).to_string());
}

#[test]
fn a_remote_repository_is_asked_through_its_mirror() {
    let repo = Repository::new();
    let url = format!("file://{}", repo.path("repo"));
    let setup = repo.setup(&format!("{{git: {{url: '{url}', revision: topic}}}}"), "");
    let found = ancestry(&setup).unwrap();
    assert_eq!(found.parent().unwrap(), repo.id("topic^"));
    assert_eq!(found.branch_point("main").unwrap(), repo.id("main"));
    found.tree(&repo.id("main")).unwrap();
}

#[test]
fn a_pushs_parent_is_what_was_there_before() {
    let repo = Repository::new();
    let setup = repo.checkout("");
    let pushed = |old: Option<String>| Pushed {
        repository: repo.path("repo/.git"),
        commit: repo.id("topic"),
        old,
        source_dir: "lib".into(),
        trees: repo.path("trees"),
        reference: "r refs/heads/topic".into(),
    };
    let suite = &setup.resolved.suites[0];
    let of = |old| Ancestry::of(&setup, suite, Some(&pushed(old))).unwrap();
    assert_eq!(of(Some(repo.id("main"))).parent().unwrap(), repo.id("main"));
    assert_eq!(of(None).parent().unwrap(), repo.id("topic^"));
    let gone = of(Some("f".repeat(40))).parent().unwrap_err().to_string();
    assert!(gone.contains("is not in"), "{gone}");
    let tree = of(None).tree(&repo.id("main")).unwrap();
    assert_eq!(tree.revision, repo.id("main"));
    assert!(tree.source.path.unwrap().join("a.c").is_file());
}

#[test]
fn what_has_no_history_says_so() {
    let repo = Repository::new();
    let why = |setup: &Setup| ancestry(setup).unwrap_err().to_string();
    let setup = repo.setup("{debian_source: {package: atf, suite: bookworm}}", "");
    insta::assert_snapshot!(why(&setup), @"the source of suite s is a package, which has no history: name a run");
    std::fs::create_dir_all(repo.path("plain")).unwrap();
    let setup = repo.setup(&format!("{{path: {}}}", repo.path("plain")), "");
    let said = why(&setup).replace(repo.path("").as_str(), "T/");
    insta::assert_snapshot!(said, @"the source of suite s is no checkout of git: T/plain");
    repo.git(&["checkout", "-q", "main~1"]);
    let setup = repo.checkout("");
    let said = ancestry(&setup).unwrap().parent().unwrap_err().to_string();
    let said = said.replace(repo.path("").as_str(), "T/");
    let id = repo.id("HEAD");
    insta::assert_snapshot!(said.replace(short(&id), "COMMIT"), @"the source of suite s is at COMMIT, which has no parent in T/repo/.git: name a run, or none");
}
