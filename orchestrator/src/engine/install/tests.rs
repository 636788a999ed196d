//! The dialogue and the script that it starts, against each other: the script runs under this host's
//! shell, with stand-ins for what only an installer's kernel has.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use super::*;
use crate::guest::script::{Script, Stand};

fn scripts() -> Utf8PathBuf {
    Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("../images/netbsd/install")
}

/// What the script prints where one of its programs fails.
fn run(fails: &str, lacks: &str) -> (String, bool) {
    let dir = tempfile::tempdir().unwrap();
    let dir = Utf8Path::from_path(dir.path()).unwrap();
    let (cd, bin, set) = (dir.join("cd"), dir.join("bin"), dir.join("set"));
    for path in [&cd, &bin, &cd.join("sets")] {
        std::fs::create_dir_all(path).unwrap();
    }
    for file in ["netbsd", "sbin/init", "etc/rc", "bin/sh"] {
        if file != lacks {
            let path = set.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, file).unwrap();
        }
    }
    let tar = |of: &Utf8Path, how: &str, to: &Utf8Path| {
        let args = [how, to.as_str(), "-C", of.as_str(), "."];
        assert!(Command::new("tar").args(args).status().unwrap().success());
    };
    tar(&set, "-czf", &cd.join("sets/00-base.tgz"));
    let overlay = dir.join("overlay");
    std::fs::create_dir_all(overlay.join("etc")).unwrap();
    std::fs::write(overlay.join("etc/fstab"), "x").unwrap();
    tar(&overlay, "-cf", &cd.join("overlay.tar"));
    std::fs::write(cd.join("vars"), "DISK=wd0\nBOOT='true'\n").unwrap();
    std::fs::copy(scripts().join("install.sh"), cd.join("install")).unwrap();
    for program in ["disklabel", "newfs", "mount", "umount", "chroot", "pax"] {
        let body = match program {
            p if p == fails => "exit 1",
            "pax" => "exec tar -xf -",
            _ => "exit 0",
        };
        let path = bin.join(program);
        std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        let own = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&path, own).unwrap();
    }
    let path = format!("{bin}:{}", std::env::var("PATH").unwrap());
    let mut command = Command::new("sh");
    command.arg(cd.join("install")).env("PATH", path);
    let out = command.env("ROOT", dir.join("root")).output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    (said, out.status.success())
}

/// Where the dialogue stands once an installer has said this.
fn stands(said: &str) -> (Stand, Vec<String>) {
    let steps = dialogue(&scripts().join("dialogue.yaml"), "cd1a").unwrap();
    let mut script = Script::new(&steps);
    let mut typed = Vec::new();
    let menu = "a: Installation messages in English \x1b[9;3H x: Exit Install System\r\n# ";
    for piece in [menu, "fallout=42\r\n# ", said] {
        let mut keys = script.feed(piece.as_bytes());
        while let Some(one) = keys {
            typed.push(one.text);
            keys = script.more();
        }
    }
    (script.stand().clone(), typed)
}

#[test]
fn what_the_script_says_is_what_the_dialogue_waits_for() {
    let (said, ok) = run("", "");
    assert!(ok, "{said}");
    let (stand, typed) = stands(&said);
    assert_eq!(stand, Stand::Done, "{said}");
    assert_eq!(typed.last().unwrap(), "halt -p\n");
    assert!(typed.iter().any(|t| t.contains("/dev/cd1a")), "{typed:?}");
}

#[test]
fn each_part_that_fails_is_named() {
    for (fails, lacks, part, why) in [
        ("disklabel", "", "disklabel", "failed in label: disklabel"),
        ("newfs", "", "newfs", "failed in newfs: newfs"),
        ("mount", "", "newfs", "failed in newfs: mount"),
        ("pax", "", "the sets", "failed in sets: "),
        (
            "",
            "netbsd",
            "the sets",
            "failed in sets: the sets have no netbsd",
        ),
        ("chroot", "", "the devices", "failed in devices: MAKEDEV"),
        ("umount", "", "unmounting", "failed in unmounting: umount"),
    ] {
        let (said, ok) = run(fails, lacks);
        assert!(!ok, "{fails}: {said}");
        let Stand::Failed(n, console) = stands(&said).0 else {
            panic!("{fails}: {said}");
        };
        let steps = dialogue(&scripts().join("dialogue.yaml"), "cd1a").unwrap();
        assert_eq!(steps[n].name, part);
        assert!(console.contains(why), "{console}");
    }
}

#[test]
fn a_wrong_dialogue_is_told_by_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let file = Utf8Path::from_path(dir.path())
        .unwrap()
        .join("dialogue.yaml");
    std::fs::write(
        &file,
        "- {name: x, limit: 5s, on: [{see: 'a', keys: '?'}]}\n- {name: y, limit: 5s, on: []}\n",
    )
    .unwrap();
    let said = dialogue(&file, "cd1a").unwrap_err().to_string();
    assert!(
        said.contains("on[0].keys") && said.contains("leads nowhere"),
        "{said}"
    );
}
