//! A release in a directory of this machine, as `build.sh release` leaves it.
//!
//! What is given can be `RELEASEDIR`, or the port's own directory in it. Nothing is changed there.

use std::time::SystemTime;

use camino::{Utf8Path, Utf8PathBuf};

use super::error::io;
use super::{Layout, Release, ReleaseError, directory_names};

/// Directories beside a port's own that have files for it.
const BESIDE: [&str; 4] = ["images", "iso", "source/sets", "shared/ALL/sets"];

/// Reads the release for `port` in `dir`. `names` are further names that the port's directory can
/// have (its manifest knows them).
pub fn read(dir: &Utf8Path, port: &str, names: &[String]) -> Result<Release, ReleaseError> {
    let candidates: Vec<&str> = directory_names(port)
        .into_iter()
        .chain(names.iter().map(String::as_str))
        .collect();
    let Some(own) = own_directory(dir, &candidates) else {
        return Err(ReleaseError::NoRelease {
            place: dir.to_string(),
            port: port.to_owned(),
            expected: candidates.join(", "),
            has: others(dir)?,
        });
    };
    let mut found = Vec::new();
    walk(&own, Utf8Path::new("binary"), &mut found)?;
    walk(&own, Utf8Path::new("installation"), &mut found)?;
    for beside in BESIDE {
        walk(&own, &Utf8Path::new("..").join(beside), &mut found)?;
    }
    // An updating build leaves a set's older form beside the newer: the newer one is the last.
    found.sort();
    let paths = found.into_iter().map(|(_, path)| path);
    Ok(Release {
        layout: Layout::of(port, paths),
        dir: own,
    })
}

/// Reads the release for another port than the one that `dir` was given for.
pub fn beside(dir: &Utf8Path, port: &str) -> Result<Release, ReleaseError> {
    match is_release(dir) {
        true => {
            let own = dir.canonicalize_utf8().map_err(io("find", dir))?;
            read(own.parent().unwrap_or(&own), port, &[])
        }
        false => read(dir, port, &[]),
    }
}

fn is_release(dir: &Utf8Path) -> bool {
    ["binary/sets", "binary/kernel", "binary/gzimg"]
        .iter()
        .any(|part| dir.join(part).is_dir())
}

fn own_directory(dir: &Utf8Path, names: &[&str]) -> Option<Utf8PathBuf> {
    if is_release(dir) {
        // A link's or a relative path's parent would not be the release's directory.
        return dir.canonicalize_utf8().ok();
    }
    names
        .iter()
        .map(|name| dir.join(name))
        .find(|own| is_release(own))
}

/// The ports that a directory has a release for.
fn others(dir: &Utf8Path) -> Result<Vec<String>, ReleaseError> {
    let entries = dir.read_dir_utf8().map_err(io("read", dir))?;
    let mut names: Vec<String> = entries
        .flatten()
        .filter(|entry| is_release(entry.path()))
        .map(|entry| entry.file_name().to_owned())
        .collect();
    names.sort();
    Ok(names)
}

fn walk(
    own: &Utf8Path,
    below: &Utf8Path,
    found: &mut Vec<(SystemTime, Utf8PathBuf)>,
) -> Result<(), ReleaseError> {
    let dir = super::join(own, below);
    if !dir.is_dir() {
        return Ok(());
    }
    for entry in dir.read_dir_utf8().map_err(io("read", &dir))? {
        let entry = entry.map_err(io("read", &dir))?;
        let path = below.join(entry.file_name());
        // Links count for what they point to: releases are often put together by links.
        let meta = std::fs::metadata(entry.path()).map_err(io("read", entry.path()))?;
        if meta.is_dir() {
            walk(own, &path, found)?;
        } else if meta.is_file() {
            found.push((meta.modified().map_err(io("read", entry.path()))?, path));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn put(root: &Utf8Path, file: &str) -> Utf8PathBuf {
        let path = root.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, file).unwrap();
        path
    }

    fn temp() -> (tempfile::TempDir, Utf8PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap();
        (dir, Utf8PathBuf::from_path_buf(path).unwrap())
    }

    #[test]
    fn the_release_and_the_ports_own_directory_are_the_same_release() {
        let (_guard, root) = temp();
        put(&root, "evbarm/binary/sets/base.tgz");
        put(&root, "evbarm/binary/kernel/netbsd-GENERIC64.img.gz");
        put(&root, "evbarm/installation/cdrom/boot.iso");
        put(&root, "images/NetBSD-10.1-evbarm-aarch64.iso");
        let port = "evbarm-aarch64";
        let release = read(&root, port, &[]).unwrap();
        assert_eq!(release, read(&root.join("evbarm"), port, &[]).unwrap());
        assert_eq!(release.layout.version.as_deref(), Some("10.1"));
        assert!(release.set("base").unwrap().is_file());
        assert!(release.kernel("GENERIC64.img").unwrap().is_file());
        assert!(release.layout.media.contains_key("cdrom/boot.iso"));
        let iso = release.layout.images.get("iso").unwrap();
        assert!(super::super::join(&release.dir, iso).is_file());
    }

    #[test]
    fn another_port_of_a_release_stands_beside_the_one_that_is_given() {
        let (_guard, root) = temp();
        put(&root, "amd64/binary/sets/tests.tgz");
        let tests = put(&root, "i386/binary/sets/tests.tgz");
        for given in [root.clone(), root.join("amd64")] {
            let release = beside(&given, "i386").unwrap();
            assert_eq!(release.set("tests").unwrap(), tests);
        }
        let error = beside(&root.join("amd64"), "vax").unwrap_err().to_string();
        assert!(error.contains("vax") && error.contains("i386"), "{error}");
    }

    #[test]
    fn of_a_set_in_two_forms_the_newer_counts() {
        let (_guard, root) = temp();
        let new = put(&root, "amd64/binary/sets/base.tgz");
        let old = put(&root, "amd64/binary/sets/base.tar.xz");
        let hour = std::time::Duration::from_secs(3600);
        let file = fs::File::options().write(true).open(&old).unwrap();
        file.set_modified(SystemTime::now() - hour).unwrap();
        let release = read(&root, "amd64", &[]).unwrap();
        assert_eq!(release.set("base").unwrap(), new);
    }

    #[test]
    fn another_ports_release_is_told_apart() {
        let (_guard, root) = temp();
        put(&root, "i386/binary/sets/base.tgz");
        let said = read(&root, "amd64", &["x86_64".to_owned()]).unwrap_err();
        let said = said.to_string().replace(root.as_str(), "ROOT");
        assert_eq!(
            said,
            "ROOT has no release for amd64: expected binary/sets in it or in one of its directories \
             amd64, x86_64; it has i386"
        );
        let gone = read(&root.join("gone"), "amd64", &[]).unwrap_err();
        assert!(gone.to_string().contains("cannot read"), "{gone}");
    }
}
