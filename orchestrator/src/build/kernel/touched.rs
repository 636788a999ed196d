//! Which files of a tree a patch touches, by its headers: pure.

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};

/// The paths that a patch names, without the first directory (`a/`, `b/`), sorted, each once. Names
/// that leave the tree are passed by: applying them fails anyway.
pub fn touched(patch: &[u8]) -> Vec<Utf8PathBuf> {
    let text = String::from_utf8_lossy(patch);
    let mut found = Vec::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("diff --git ") {
            found.extend(rest.split(' ').filter_map(stripped));
        } else if let Some(rest) = line
            .strip_prefix("--- ")
            .or_else(|| line.strip_prefix("+++ "))
        {
            // A time may follow the name.
            found.extend(rest.split('\t').next().and_then(stripped));
        } else if let Some(rest) = ["rename from ", "rename to ", "copy from ", "copy to "]
            .iter()
            .find_map(|word| line.strip_prefix(word))
        {
            found.extend(inside(Utf8Path::new(rest)));
        }
    }
    found.sort();
    found.dedup();
    found
}

fn stripped(name: &str) -> Option<Utf8PathBuf> {
    let name = name.trim();
    if name == "/dev/null" {
        return None;
    }
    let (_, rest) = name.split_once('/')?;
    inside(Utf8Path::new(rest))
}

fn inside(path: &Utf8Path) -> Option<Utf8PathBuf> {
    let plain = |c: Utf8Component<'_>| matches!(c, Utf8Component::Normal(_));
    (!path.as_str().is_empty() && path.components().all(plain)).then(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_headers_are_read() {
        let patch = b"Subject: x\n\ndiff --git a/kernel/sys.c b/kernel/sys.c\n--- a/kernel/sys.c\n\
            +++ b/kernel/sys.c\t2026-01-01\n@@ -1 +1 @@\n-a\n+b\n--- /dev/null\n+++ b/new.c\n@@ -0,0 +1 @@\n+x\n\
            diff --git a/old b/../up\nrename from old\nrename to moved\n";
        let names: Vec<String> = touched(patch)
            .into_iter()
            .map(Utf8PathBuf::into_string)
            .collect();
        assert_eq!(names, ["kernel/sys.c", "moved", "new.c", "old"]);
    }
}
