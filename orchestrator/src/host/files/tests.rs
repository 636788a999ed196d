use std::os::unix::fs::symlink;

use super::*;
use crate::host::series;

fn tmp() -> (tempfile::TempDir, Utf8PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = Utf8PathBuf::from_path_buf(dir.path().to_owned()).unwrap();
    (dir, path)
}

fn chmod(path: &Utf8Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_file_is_replaced_whole_and_nothing_is_left_beside_it() {
    let (_keep, dir) = tmp();
    let file = dir.join("new/deep/f");
    write_atomic(&file, b"one").unwrap();
    write_atomic(&file, b"two").unwrap();
    assert_eq!(fs::read(&file).unwrap(), b"two");
    assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
    let error = write_atomic(&file.join("below-a-file"), b"").unwrap_err();
    assert!(error.to_string().starts_with("cannot write "), "{error}");
}

#[test]
fn a_trees_hash_is_its_content() {
    let (_keep, dir) = tmp();
    let make = |name: &str| {
        let root = dir.join(name);
        fs::create_dir_all(root.join("sub/.git")).unwrap();
        fs::create_dir_all(root.join("target")).unwrap();
        fs::write(root.join("target/CACHEDIR.TAG"), "").unwrap();
        fs::write(root.join("a.c"), "int x;").unwrap();
        fs::write(root.join("sub/run.sh"), "#!/bin/sh\n").unwrap();
        symlink("a.c", root.join("link")).unwrap();
        root
    };
    let (one, two) = (make("one"), make("two"));
    let base = tree_hash(&one).unwrap();
    assert_eq!(base, tree_hash(&two).unwrap());

    // Not content.
    fs::write(two.join("sub/.git/HEAD"), "x").unwrap();
    fs::write(two.join("target/o"), "x").unwrap();
    chmod(&two.join("a.c"), 0o600);
    assert_eq!(base, tree_hash(&two).unwrap());
    // A link to the tree is the tree.
    symlink(&two, dir.join("three")).unwrap();
    assert_eq!(base, tree_hash(&dir.join("three")).unwrap());

    // Content, each by itself.
    fs::create_dir_all(two.join("sub/target")).unwrap();
    fs::write(two.join("sub/target/x.c"), "").unwrap();
    assert_ne!(base, tree_hash(&two).unwrap());
    fs::remove_dir_all(two.join("sub/target")).unwrap();
    chmod(&two.join("sub/run.sh"), 0o755);
    let executable = tree_hash(&two).unwrap();
    assert_ne!(base, executable);
    fs::remove_file(two.join("link")).unwrap();
    symlink("b.c", two.join("link")).unwrap();
    let linked = tree_hash(&two).unwrap();
    assert_ne!(executable, linked);
    fs::rename(two.join("a.c"), two.join("b.c")).unwrap();
    let renamed = tree_hash(&two).unwrap();
    assert_ne!(linked, renamed);
    fs::write(two.join("b.c"), "int y;").unwrap();
    assert_ne!(renamed, tree_hash(&two).unwrap());
    assert!(tree_hash(&dir.join("absent")).is_err());
}

#[test]
fn a_series_is_its_patches() {
    let (_keep, dir) = tmp();
    let make = |name: &str| {
        let root = dir.join(name);
        fs::create_dir_all(&root).unwrap();
        fs::write(
            root.join("series"),
            "# first\n\na.patch -p1\nb.patch # why\n",
        )
        .unwrap();
        fs::write(root.join("a.patch"), "A").unwrap();
        fs::write(root.join("b.patch"), "B").unwrap();
        root.join("series")
    };
    let (one, two) = (make("one"), make("two"));
    let patches = series::read(&one).unwrap();
    let names: Vec<&str> = patches.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(names, ["a.patch", "b.patch"]);
    let base = series::hash(&one).unwrap();
    assert_eq!(base, series::hash(&two).unwrap());
    fs::write(dir.join("two/unnamed.patch"), "C").unwrap();
    assert_eq!(base, series::hash(&two).unwrap());
    fs::write(dir.join("two/b.patch"), "BB").unwrap();
    assert_ne!(base, series::hash(&two).unwrap());
    fs::remove_file(dir.join("two/b.patch")).unwrap();
    let error = series::hash(&two).unwrap_err().to_string();
    assert!(error.contains("b.patch"), "{error}");
}

#[test]
fn a_program_is_an_executable_file_of_an_absolute_directory() {
    let (_keep, dir) = tmp();
    for sub in ["dirs/prog", "plain", "right"] {
        fs::create_dir_all(dir.join(sub)).unwrap();
    }
    fs::write(dir.join("plain/prog"), "").unwrap();
    fs::write(dir.join("right/prog"), "").unwrap();
    chmod(&dir.join("right/prog"), 0o755);
    let path = format!(".:{dir}/dirs:{dir}/plain:{dir}/absent:{dir}/right");
    assert_eq!(find_in(&path, "prog"), Some(dir.join("right/prog")));
    assert_eq!(find_in(&path, "other"), None);
}
