//! Mirrors and work trees of small repositories.

use std::os::unix::fs::MetadataExt as _;

use super::*;

/// A repository with one file, and the means to change it.
pub(crate) struct Repo {
    _keep: tempfile::TempDir,
    pub(crate) dir: Utf8PathBuf,
}

impl Repo {
    pub(crate) fn new() -> Self {
        let keep = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(keep.path()).unwrap().to_owned();
        let repo = Self { _keep: keep, dir };
        fs::create_dir(repo.checkout()).unwrap();
        repo.git(&["init", "--quiet", "--initial-branch=main"]);
        repo
    }

    pub(crate) fn checkout(&self) -> Utf8PathBuf {
        self.dir.join("user")
    }

    pub(crate) fn git(&self, words: &[&str]) -> String {
        let mut command = plain(&self.checkout().join(".git"));
        command
            .env("GIT_WORK_TREE", self.checkout())
            .args(["-c", "user.name=a", "-c", "user.email=a@b.invalid"])
            .args(words);
        output(command, words[0]).unwrap()
    }

    pub(crate) fn commit(&self, name: &str, text: &str) {
        let path = self.checkout().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self.git(&["add", "-A"]);
        self.git(&["commit", "--quiet", "-m", name]);
    }

    fn cache(&self) -> Utf8PathBuf {
        self.dir.join("cache")
    }
}

#[test]
fn a_revision_is_known_before_it_is_fetched_and_the_users_checkout_stays_as_it_is() {
    let repo = Repo::new();
    repo.commit("a.c", "1");
    repo.commit("sub/b.c", "2");
    fs::write(repo.checkout().join("a.c"), "not committed").unwrap();
    let (url, cache) = (repo.checkout(), repo.cache());
    let status = repo.git(&["status", "--porcelain"]);

    let known = known_tree(&cache, url.as_str(), "main").unwrap().unwrap();
    assert!(!cache.exists(), "asking makes nothing");
    let tree = ensure(&cache, url.as_str(), "main").unwrap();
    assert_eq!(tree.id, known);
    assert_eq!(tree.key(), tree_key(&known));
    let to = repo.dir.join("work");
    checkout(&tree, &to, &repo.dir.join("index")).unwrap();
    assert_eq!(fs::read_to_string(to.join("a.c")).unwrap(), "1");
    assert_eq!(fs::read_to_string(to.join("sub/b.c")).unwrap(), "2");
    assert!(!to.join(".git").exists());
    assert_eq!(repo.git(&["status", "--porcelain"]), status);
    // An older one by a name that no server knows.
    let first = ensure(&cache, url.as_str(), "main~1").unwrap();
    assert_ne!(first.id, tree.id);
}

#[test]
fn a_second_checkout_touches_only_what_differs() {
    let repo = Repo::new();
    repo.commit("same.c", "1");
    repo.commit("changed.c", "1");
    repo.commit("gone.c", "1");
    let (url, cache) = (repo.checkout(), repo.cache());
    let (to, index) = (repo.dir.join("work"), repo.dir.join("index"));
    checkout(&ensure(&cache, url.as_str(), "main").unwrap(), &to, &index).unwrap();
    fs::write(to.join("made.o"), "").unwrap();
    let inode = |name: &str| fs::metadata(to.join(name)).unwrap().ino();
    let before = inode("same.c");
    fs::remove_file(repo.checkout().join("gone.c")).unwrap();
    repo.commit("changed.c", "2");
    checkout(&ensure(&cache, url.as_str(), "main").unwrap(), &to, &index).unwrap();
    assert_eq!(before, inode("same.c"));
    assert_eq!(fs::read_to_string(to.join("changed.c")).unwrap(), "2");
    assert!(!to.join("gone.c").exists());
    assert!(to.join("made.o").exists());
}

#[test]
fn a_patched_tree_is_the_tree_of_the_change() {
    let repo = Repo::new();
    repo.commit("a.c", "1\n");
    repo.commit("sub/b.c", "1\n");
    let base = ensure(&repo.cache(), repo.checkout().as_str(), "main").unwrap();
    repo.commit("sub/b.c", "2\n");
    let diff = repo.git(&["diff", "HEAD~1"]);
    let change = ensure(&repo.cache(), repo.checkout().as_str(), "main").unwrap();
    let patch = |text: &str| Patch {
        name: "p".to_owned(),
        bytes: text.as_bytes().to_vec(),
    };
    let series = Key::of("s", &[]);
    for _ in 0..2 {
        let made = patched(&base, &series, &[patch(&diff)]).unwrap();
        assert_eq!(made, change);
    }
    let error = patched(&change, &series, &[patch(&diff)]).unwrap_err();
    assert!(
        error.to_string().starts_with("patch p does not apply: "),
        "{error}"
    );
    // Only what differs has another entry.
    let names = |dir: &str| -> Vec<String> {
        let (old, new) = (entries(&base, dir).unwrap(), entries(&change, dir).unwrap());
        let changed = new.into_iter().filter(|e| !old.contains(e));
        changed.map(|(name, _)| name).collect()
    };
    assert_eq!(names(""), ["sub"]);
    assert_eq!(names("sub"), ["b.c"]);
    assert!(entries(&base, "none").unwrap().is_empty());
}

#[test]
fn what_is_not_there_is_told_by_name() {
    let repo = Repo::new();
    repo.commit("a.c", "1");
    let url = repo.checkout();
    let error = ensure(&repo.cache(), url.as_str(), "mian").unwrap_err();
    insta::assert_snapshot!(
        error.to_string().replace(url.as_str(), "URL"),
        @"URL has no revision 'mian': expected a branch, a tag or a commit of it"
    );
    let nowhere = repo.dir.join("nowhere");
    let error = ensure(&repo.cache(), nowhere.as_str(), "main").unwrap_err();
    assert!(matches!(error, GitError::Failed { .. }), "{error}");
    let error = ensure(&repo.cache(), "ext::touch /tmp/x", "main").unwrap_err();
    assert!(error.to_string().contains("not allowed"), "{error}");
}

#[test]
fn repositories_are_found_and_ids_are_told_from_names() {
    let repo = Repo::new();
    let git = repo.checkout().join(".git");
    assert_eq!(repository(&repo.checkout()), Some(git.clone()));
    assert_eq!(repository(&git), Some(git));
    assert_eq!(repository(&repo.dir), None);
    assert!(is_id(&"a1".repeat(20)));
    assert!(!is_id("main"));
    assert!(!is_id(&"g1".repeat(20)));
}
