//! Logs of real builds, trimmed, and text of any kind.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn places(machine: &str) -> Places {
    Places {
        source: "/b/src".to_owned(),
        objects: format!("/b/{machine}/obj"),
        others: vec![format!("/b/{machine}/tools")],
        machine: machine.to_owned(),
    }
}

fn read(log: &str, machine: &str) -> BuildLog {
    let mut reader = BuildLog::new(places(machine));
    for (i, line) in log.lines().enumerate() {
        reader.line(line.as_bytes(), Duration::from_millis(i as u64));
    }
    reader
}

fn shown(broken: &Broken) -> String {
    let message = broken.message.as_ref().map(ToString::to_string);
    format!(
        "signature: {}\ntarget: {:?} code {:?} in {:?}\nmessage: {message:?}\nsaid: {:?}",
        broken.signature, broken.target, broken.code, broken.dir, broken.said
    )
}

#[test]
fn a_tool_that_does_not_link() {
    let reader = read(
        include_str!("../../../tests/fixtures/build/tools-gmake.log"),
        "amd64",
    );
    insta::assert_snapshot!(shown(&reader.broken().unwrap()));
    let names: Vec<&str> = reader.steps().iter().map(|s| s.name.as_str()).collect();
    insta::assert_snapshot!(names.join("\n"));
    assert!(reader.done().is_empty());
}

#[test]
fn a_makefile_that_make_does_not_understand() {
    let log = include_str!("../../../tests/fixtures/build/distribution-makefile.log");
    insta::assert_snapshot!(shown(&read(log, "amd64").broken().unwrap()));
}

#[test]
fn a_check_of_the_lists_that_is_made_alone() {
    let log = include_str!("../../../tests/fixtures/build/checkflist-alone.log");
    let broken = read(log, "amd64").broken().unwrap();
    assert!(broken.is_sets_mismatch());
    assert_eq!(broken.signature, "distrib/sets checkflist");
    assert_eq!(broken.code, Some(1));
}

#[test]
fn what_a_kernel_compiles_tells_how_far_it_is() {
    let mut reader = BuildLog::new(places("vax"));
    for i in 0..1000 {
        let line = format!("#   compile  GENERIC/f{i}.o");
        reader.line(line.as_bytes(), Duration::from_millis(i * 100));
    }
    assert_eq!(reader.steps().len(), 49);
    let earlier = Earlier {
        steps: reader.steps().to_vec(),
        total_ms: 100_000,
        tree: String::new(),
    };
    let mut along = Progress::new(&earlier);
    // Another order, and not all of them.
    let far =
        |along: &mut Progress, i: u64| along.step(&format!("compile GENERIC/f{i}.o")).unwrap().0;
    assert_eq!(far(&mut along, 20), 2_000);
    assert_eq!(far(&mut along, 500), 50_000);
    assert_eq!(far(&mut along, 40), 50_000);
}

#[test]
fn a_kernel_without_tools() {
    let reader = read(
        include_str!("../../../tests/fixtures/build/kernel-no-tools.log"),
        "amd64",
    );
    insta::assert_snapshot!(shown(&reader.broken().unwrap()));
}

/// A kernel's failure as `make` prints it with several jobs, for a machine with its own compiler.
fn kernel_log(machine: &str, triple: &str, long: &str) -> String {
    format!(
        "--- kern_exec.o ---\n#   compile  GENERIC/kern_exec.o\n/b/{machine}/tools/bin/{triple}--netbsd-gcc -c /b/src/sys/kern/kern_exec.c\n\
        --- vfs_bio.o ---\n#   compile  GENERIC/vfs_bio.o\n--- kern_exec.o ---\n\
        /b/src/sys/kern/kern_exec.c: In function 'execve1':\n\
        /b/src/sys/kern/kern_exec.c:612:9: error: format '%d' expects type 'int', but argument 2 has type '{long}'\n\
        *** [kern_exec.o] Error code 1\n--- vfs_bio.o ---\n*** [vfs_bio.o] Error code 1\n\
        nbmake: stopped in /b/{machine}/obj/sys/arch/{machine}/compile/GENERIC\n\
        ERROR: Failed to make all in \"/b/{machine}/obj/sys/arch/{machine}/compile/GENERIC\"\n*** BUILD ABORTED ***\n"
    )
}

#[test]
fn the_same_break_has_one_signature_on_every_port() {
    let one = read(&kernel_log("amd64", "x86_64", "long unsigned int"), "amd64");
    let two = read(&kernel_log("sparc", "sparc", "unsigned int"), "sparc");
    let (one, two) = (one.broken().unwrap(), two.broken().unwrap());
    assert_eq!(one.signature, two.signature);
    insta::assert_snapshot!(shown(&one));
    // Without a compiler's word it is the target in its directory.
    let bare = |machine: &str| {
        let log = kernel_log(machine, "x", "int");
        let log: Vec<&str> = log.lines().filter(|l| !l.contains(" error: ")).collect();
        read(&log.join("\n"), machine).broken().unwrap().signature
    };
    assert_eq!(bare("amd64"), bare("sparc"));
    insta::assert_snapshot!(bare("amd64"), @"sys/arch/MACHINE/compile/GENERIC kern_exec.o");
}

#[test]
fn what_is_done_and_what_it_does_is_told() {
    let mut reader = BuildLog::new(places("amd64"));
    let mut told = Vec::new();
    for line in [
        "===> build.sh command:    sh build.sh -U release",
        "dependall ===> lib/libc (with: x)",
        "--- fork.o ---",
        "#   compile  libc/fork.o",
        "#include <stdio.h>",
        "# a comment of somebody's",
        "install ===> /b/amd64/obj/lib/libc",
        "===> Successful make release",
    ] {
        told.extend(reader.line(line.as_bytes(), Duration::ZERO));
    }
    assert_eq!(
        told,
        [
            "dependall lib/libc",
            "compile libc/fork.o",
            "install lib/libc"
        ]
    );
    assert_eq!(reader.done(), ["Successful make release"]);
    assert_eq!(reader.broken(), None);
}

proptest! {
    #[test]
    fn any_text_is_a_log(text in "(\\*\\*\\* \\[[a-z./ ]{0,9}\\] (Error code [0-9]{0,12}|Signal 9)\n|--- [ -~]{0,9} ---\n|[a-z]{0,5} ===> [ -~]{0,12}\n|nbmake(\\[2\\])?: stopped in [ -~]{0,12}\n|ERROR: [ -~]{0,12}\n|\\PC{0,40}\n){0,30}") {
        let reader = read(&text, "amd64");
        let stopped = text.lines().any(|l| l.trim_end().starts_with("ERROR: "));
        prop_assert!(!stopped || reader.broken().is_some());
        if let Some(broken) = reader.broken() {
            prop_assert!(!broken.signature.is_empty());
            prop_assert!(broken.signature.chars().count() < 1000);
        }
        prop_assert!(reader.steps().len() <= text.lines().count());
    }
}
