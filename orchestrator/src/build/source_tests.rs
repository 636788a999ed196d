use super::*;

#[test]
fn patchs_complaints_are_understood() {
    let failed = "patching file src/a.c\nHunk #1 succeeded at 3 (offset 1 line).\nHunk #2 FAILED at 40.\n1 out of 2 hunks FAILED\n";
    assert_eq!(
        blame(failed),
        (Some("src/a.c".into()), Some("#2 at line 40".into()))
    );
    let absent = "can't find file to patch at input line 3\nPerhaps you used the wrong -p or --strip option?\nThe text leading up to this was:\n--------------------------\n|--- a/src/gone.c\n|+++ b/src/gone.c\n--------------------------\n";
    assert_eq!(blame(absent), (Some("src/gone.c".into()), None));
    assert_eq!(
        blame("Only garbage was found in the patch input.\n"),
        (None, None)
    );
}

#[test]
fn a_whole_tree_is_copied_with_what_a_checkout_would_leave_out() {
    let dir = tempfile::tempdir().unwrap();
    let root = Utf8Path::from_path(dir.path()).unwrap();
    let from = root.join("from");
    fs::create_dir_all(from.join("target")).unwrap();
    for file in ["a.c", "target/CACHEDIR.TAG", "target/kept.h"] {
        fs::write(from.join(file), file).unwrap();
    }
    let tree = Tree {
        origin: Origin::Whole(from.clone()),
        hash: Key::of("git tree 1", &[b"id"]),
    };
    copy(&tree, &root.join("whole")).unwrap();
    let hash = |dir: &str| content_hash(&root.join(dir)).unwrap();
    assert!(root.join("whole/target/kept.h").exists());
    assert_eq!(hash("whole"), hash("from"));
    let tree = self::tree(&from).unwrap();
    copy(&tree, &root.join("plain")).unwrap();
    assert!(!root.join("plain/target").exists());
}
