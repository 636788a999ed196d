//! The shell runner of the images, run on the host over programs that speak ATF's interface: it
//! needs no emulator and no ATF, only a shell. Every shell that is installed has its turn, since a
//! guest's may be any of them. What it prints goes through the TPS parser, as it does in a run.

#[path = "support/runner.rs"]
mod runner;

use std::collections::BTreeMap;
use std::fs;

use fallout::model::CaseId;
use fallout::suite::parse_list;

use runner::*;

#[test]
fn every_way_to_end_under_every_shell() {
    let shells: Vec<_> = SHELLS
        .into_iter()
        .filter(|s| find(s[0]).is_some())
        .collect();
    assert!(!shells.is_empty());
    // The cases that hang take their time: all shells at once.
    let told_by: Vec<(&[&str], String)> = std::thread::scope(|scope| {
        let threads: Vec<_> = shells
            .into_iter()
            .map(|shell| {
                scope.spawn(move || {
                    let dir = suite();
                    let words = ["-v", "something=a/b", "run"];
                    let place = dir.path().join("suite");
                    let words = [&words[..], &[place.to_str().unwrap()]].concat();
                    (shell, told(&run(shell, dir.path(), &words)))
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    for (shell, told) in &told_by {
        assert_eq!(
            told, &told_by[0].1,
            "{shell:?} and {:?} differ",
            told_by[0].0
        );
    }
    insta::assert_snapshot!(told_by[0].1);
}

#[test]
fn the_list_is_the_cases() {
    let dir = suite();
    let place = dir.path().join("suite");
    let list = parse_list(&run(
        &["sh"],
        dir.path(),
        &["list", place.to_str().unwrap()],
    ));
    assert_eq!(list.notes, Vec::<String>::new());
    assert_eq!(list.cases.len(), 35);
    assert_eq!(list.cases[0], CaseId::new("sub/plain_ok", "main"));
    let limits: BTreeMap<String, u64> = list
        .limits
        .iter()
        .map(|(case, limit)| (case.to_string(), limit.as_secs()))
        .collect();
    insta::assert_debug_snapshot!(limits);
    assert_eq!(
        list.cases[2],
        CaseId::new("sub/t_nolist", "__test_cases_list__")
    );
    assert_eq!(list.cases[5], CaseId::new("t_kinds", "pass"));
}

#[test]
fn a_list_is_run_in_its_own_order() {
    let dir = suite();
    put(
        dir.path(),
        "list",
        "t_kinds:skip\nt_kinds:pass\nsub/plain_bad:main\nt_kinds:skip\nt_kinds:gone\n\
         ../out:x\nt_gone:x\nt_kinds:fail",
    );
    let place = dir.path().join("suite");
    let words = [
        "run",
        place.to_str().unwrap(),
        dir.path().join("list").to_str().unwrap(),
    ]
    .map(str::to_owned);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let told = told(&run(&["sh"], dir.path(), &words));
    let told = told.replace(place.to_str().unwrap(), "DIR");
    insta::assert_snapshot!(told, @r##"
    ProgramStarted { program: "t_kinds", cases: 2 }
    t_kinds:skip skipped: not here
    t_kinds:pass passed "out\nerr\n"
    ProgramEnded { program: "t_kinds", reason: None }
    ProgramStarted { program: "sub/plain_bad", cases: 1 }
    sub/plain_bad:main failed: Returned non-success exit status 7
    ProgramEnded { program: "sub/plain_bad", reason: None }
    Note("# run-suite: ignored in the list: an odd name")
    ProgramStarted { program: "t_kinds", cases: 2 }
    t_kinds:skip skipped: not here
    t_kinds:gone broken: The program has no such case
    ProgramEnded { program: "t_kinds", reason: None }
    ProgramStarted { program: "t_gone", cases: 0 }
    ProgramEnded { program: "t_gone", reason: Some("no such program in DIR") }
    ProgramStarted { program: "t_kinds", cases: 1 }
    t_kinds:fail failed: 1 != 2, really
    ProgramEnded { program: "t_kinds", reason: None }
    "##);
}

#[test]
fn an_atffile_will_do() {
    let dir = suite();
    let place = dir.path().join("suite");
    for file in ["Kyuafile", "sub/Kyuafile"] {
        fs::remove_file(place.join(file)).unwrap();
    }
    let head =
        "Content-Type: application/X-atf-atffile; version=\"1\"\n\nprop: test-suite = ours\n\n";
    put(
        &place,
        "Atffile",
        &format!("{head}tp: sub\n# tp: t_no\ntp: t_gone\n"),
    );
    put(&place, "sub/Atffile", &format!("{head}tp-glob: t_*\n"));
    put(
        &place,
        "sub/t_one",
        "#!/bin/sh\necho 'Content-Type: application/X-atf-tp; version=\"1\"'\necho\necho 'ident: a'\n",
    );
    let list = parse_list(&run(
        &["sh"],
        dir.path(),
        &["list", place.to_str().unwrap()],
    ));
    let cases: Vec<String> = list.cases.iter().map(ToString::to_string).collect();
    assert_eq!(
        cases,
        [
            "sub/t_nolist:__test_cases_list__",
            "sub/t_one:a",
            "t_gone:__test_cases_list__"
        ]
    );
}

#[test]
fn a_cases_surroundings_are_those_of_its_runner() {
    let dir = suite();
    // Its directory's mode, and that what waits beside it is not called sleep.
    let look = "set -- $(ls -ld .); [ -h ../run-suite-pause ] && what=pause || what=sleep\n\
        echo \"skipped: ${1%.} $what\" >\"$r\"";
    let program = one_case("ident: a\\n", look);
    put(dir.path(), "suite/t_look", &program);
    let place = dir.path().join("suite");
    let words = ["run", place.to_str().unwrap()];
    let kyuafile = "syntax(2)\natf_test_program{name=\"t_look\"}\n";
    put(dir.path(), "suite/Kyuafile", kyuafile);
    let said = told(&run(&["sh"], dir.path(), &words));
    assert!(said.contains("skipped: drwxr-xr-x pause"), "{said}");
    fs::remove_file(place.join("Kyuafile")).unwrap();
    let head =
        "Content-Type: application/X-atf-atffile; version=\"1\"\n\nprop: test-suite = ours\n\n";
    put(dir.path(), "suite/Atffile", &format!("{head}tp: t_look\n"));
    let said = told(&run(&["sh"], dir.path(), &words));
    assert!(said.contains("skipped: drwx------ pause"), "{said}");
}

/// NetBSD's shell kept a file open for each program and could start nothing after some fifty; here no shell may.
#[test]
fn many_programs_need_few_descriptors() {
    let program = one_case("ident: a\\n", "echo passed >\"$r\"");
    for shell in SHELLS.iter().filter(|s| find(s[0]).is_some()) {
        let dir = suite();
        let mut kyuafile = "syntax(2)\n".to_owned();
        for n in 0..30 {
            let name = format!("t_{n}");
            put(&dir.path().join("suite"), &name, &program);
            kyuafile += &format!("atf_test_program{{name=\"{name}\"}}\n");
        }
        put(dir.path(), "suite/Kyuafile", &kyuafile);
        let place = dir.path().join("suite");
        let limited = format!("ulimit -n 20; exec {} \"$@\"", shell.join(" "));
        let words = ["run", place.to_str().unwrap()];
        let under = ["sh", "-c", &limited, "sh"];
        let said = told(&run(&under, dir.path(), &words));
        assert_eq!(said.matches(":a passed").count(), 30, "{shell:?}: {said}");
    }
}

#[test]
fn limits_are_stretched() {
    let dir = suite();
    put(dir.path(), "list", "t_slow:nap\n");
    put(
        dir.path(),
        "suite/t_slow",
        &one_case("ident: nap\\ntimeout: 1\\n", "sleep 3; echo passed >\"$r\""),
    );
    put(
        dir.path(),
        "suite/Kyuafile",
        "syntax(2)\natf_test_program{name=\"t_slow\"}\n",
    );
    let place = dir.path().join("suite");
    let words = ["--scale", "5000", "run", place.to_str().unwrap()];
    assert!(told(&run(&["sh"], dir.path(), &words)).contains("t_slow:nap passed"));
}

/// Debian's atf-sh, where it is installed: the real interface.
#[test]
fn programs_of_atf_sh() {
    if find("atf-sh").is_none() {
        eprintln!("no atf-sh here");
        return;
    }
    let dir = suite();
    put(
        dir.path(),
        "suite/Kyuafile",
        "syntax(2)\natf_test_program{name=\"t_sh\"}\n",
    );
    put(
        dir.path(),
        "suite/t_sh",
        "#!/usr/bin/env atf-sh\n\
         atf_test_case check\ncheck_body() { atf_check -o inline:'a\\n' echo a; atf_check_equal 1 2; }\n\
         atf_test_case known cleanup\nknown_head() { atf_set require.progs sh; }\n\
         known_body() { atf_expect_fail 'PR 1'; atf_fail 'yes'; }\nknown_cleanup() { echo bye; }\n\
         atf_test_case dies\ndies_body() { atf_expect_signal 9 'gone'; kill -9 $$; }\n\
         atf_test_case source\nsource_body() { [ -f \"$(atf_get_srcdir)/t_sh\" ] || atf_fail no; }\n\
         atf_init_test_cases() { for c in check known dies source; do atf_add_test_case $c; done; }\n",
    );
    let place = dir.path().join("suite");
    let told = told(&run(&["sh"], dir.path(), &["run", place.to_str().unwrap()]));
    insta::assert_snapshot!(told, @r#"
    Count(1)
    ProgramStarted { program: "t_sh", cases: 4 }
    t_sh:check failed: 1 != 2 (1 != 2) "Executing command [ echo a ]\n"
    t_sh:known expected_failure: PR 1: yes "bye\n"
    t_sh:dies expected_signal: gone
    t_sh:source passed
    ProgramEnded { program: "t_sh", reason: None }
    "#);
}

#[test]
fn unprivileged_cases_are_not_root() {
    // As root the case runs as `nobody`, else as whoever we are; in both ways it passes.
    let dir = suite();
    put(dir.path(), "list", "t_kinds:user\n");
    let place = dir.path().join("suite");
    let list = dir.path().join("list");
    let words = ["run", place.to_str().unwrap(), list.to_str().unwrap()];
    let told_text = told(&run(&["sh"], dir.path(), &words));
    assert!(
        told_text.contains("t_kinds:user passed"),
        "{told_text} (root: {})",
        as_root()
    );
}

/// As on a BSD whose su does not work, because PAM lacks a module: its chroot can become a user too.
#[test]
fn unprivileged_cases_run_by_a_chroot_that_changes_users() {
    if !as_root() {
        eprintln!("only root can become another user");
        return;
    }
    let dir = suite();
    let tools = only(
        dir.path(),
        &[
            "awk", "cat", "chmod", "chown", "cp", "date", "id", "ls", "mkdir", "ps", "rm", "sh",
            "sleep", "tail", "uname",
        ],
    );
    // Options and the new root of its directory as NetBSD's chroot(8) has them.
    let setpriv = find("setpriv").unwrap();
    let chroot = format!(
        "#!/bin/sh\n[ \"$1 $3 $5 $7\" = '-u -g -G /' ] || exit 1\nid=$(id -u $2) || exit 1\nshift 7\ncd /\n\
         exec {} --reuid=$id --regid=65534 --clear-groups \"$@\"\n",
        setpriv.display()
    );
    put(&tools, "chroot", &chroot);
    put(dir.path(), "list", "t_kinds:user\n");
    let place = dir.path().join("suite");
    let list = dir.path().join("list");
    let words = ["run", place.to_str().unwrap(), list.to_str().unwrap()];
    insta::assert_snapshot!(told(&run_with(&["sh"], tools.as_os_str(), dir.path(), &words)), @r#"
    ProgramStarted { program: "t_kinds", cases: 1 }
    t_kinds:user passed
    ProgramEnded { program: "t_kinds", reason: None }
    "#);
}

/// As on a BSD: a case's processes have no group of their own and must be found.
#[test]
fn without_setsid_a_hung_case_is_ended_all_the_same() {
    let dir = suite();
    let tools = only(
        dir.path(),
        &[
            "awk", "cat", "chmod", "chown", "cp", "date", "id", "ls", "mkdir", "ps", "rm", "sh",
            "sleep", "su", "tail", "uname",
        ],
    );
    put(dir.path(), "list", "t_kinds:hang\nt_kinds:crash\n");
    let place = dir.path().join("suite");
    let list = dir.path().join("list");
    let words = ["run", place.to_str().unwrap(), list.to_str().unwrap()];
    insta::assert_snapshot!(told(&run_with(&["sh"], tools.as_os_str(), dir.path(), &words)), @r#"
    ProgramStarted { program: "t_kinds", cases: 2 }
    t_kinds:hang hung: Test case body timed out (limit 1 s) "waiting\ncleaned up after\n"
    t_kinds:crash broken: Premature exit; test case received signal 11 "no end of line\n"
    ProgramEnded { program: "t_kinds", reason: None }
    "#);
}
