//! A small `distrib/sets` of two ports with compat libraries and one without, checked by
//! `checkflist`'s rules, broken in each way that a change can break it, and mended.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const HEAD: &str = "# $NetBSD: mi,v 1.1 $\n#\n# Note: don't delete entries from here - mark them as \"obsolete\" instead.\n#\n";

const BASE_MI: &str = "\
.					base-sys-root
./bin					base-sys-root
./bin/cat				base-util-root
./bin/ln				base-util-root
./bin/old				base-obsolete		obsolete
./bin/sh				base-util-root
./lib					base-sys-root
./stand					base-sys-root
./stand/@MACHINE@			base-kernel-modules	kmod
./stand/@MACHINE@/@OSRELEASE@		base-kernel-modules	kmod
./@MODULEDIR@				base-kernel-modules	kmod
./usr					base-sys-usr
./usr/include				base-sys-usr
./usr/lib				base-sys-usr
./usr/libdata				base-sys-usr
./usr/libdata/debug			base-sys-usr
./usr/libdata/debug/bin			base-sys-usr
./usr/libdata/debug/lib			base-sys-usr
./usr/share				base-sys-usr
./usr/share/man				base-sys-usr
./usr/share/man/man3			base-sys-usr
./usr/tests				base-sys-usr
./usr/tests/lib				base-sys-usr
";
const BASE_SHL: &str = "\
./lib/libc.so				base-sys-shlib		dynamicroot
./lib/libc.so.12			base-sys-shlib		dynamicroot
./lib/libc.so.12.185			base-sys-shlib		dynamicroot
./lib/libm.so				base-sys-shlib		dynamicroot
./lib/libm.so.0				base-sys-shlib		dynamicroot
./lib/libm.so.0.11			base-sys-shlib		dynamicroot
";
const BASE_COMPAT: &str = "\
./usr/lib/COMPAT			base-compat-lib		compat
./usr/lib/COMPAT/libc.so		base-compat-shlib	compat,pic
./usr/lib/COMPAT/libc.so.12		base-compat-shlib	compat,pic
./usr/lib/COMPAT/libc.so.12.185		base-compat-shlib	compat,pic
./usr/lib/COMPAT/libm.so		base-compat-shlib	compat,pic
./usr/lib/COMPAT/libm.so.0		base-compat-shlib	compat,pic
./usr/lib/COMPAT/libm.so.0.11		base-compat-shlib	compat,pic
";
const COMP_MI: &str = "\
./usr/include/ctype.h			comp-c-include
./usr/include/krb5			comp-krb5-include	kerberos
./usr/include/krb5/krb5.h		comp-krb5-include	kerberos
./usr/include/krb5/locate.h		comp-krb5-include	kerberos
./usr/include/setjmp.h			comp-c-include
./usr/include/signal.h			comp-c-include
./usr/include/spawn.h			comp-c-include
./usr/include/stdio.h			comp-c-include
./usr/include/sys			base-sys-usr
./usr/include/sys/signal.h		comp-c-include
./usr/include/sys/spawn.h		comp-c-include
./usr/include/sys/types.h		comp-c-include
./usr/share/man/man3/fork.3		comp-c-man		.man
./usr/share/man/man3/posix_spawn.3	comp-c-man		.man
./usr/share/man/man3/printf.3		comp-c-man		.man
./usr/share/man/man3/signal.3		comp-c-man		.man
";
const COMP_ONE: &str = "\
./usr/include/one			comp-c-include
./usr/include/one/asm.h			comp-c-include
./usr/include/one/cpu.h			comp-c-include
";
const DEBUG_MI: &str = "\
./usr/libdata/debug/bin/cat.debug	comp-util-debug		debug
./usr/libdata/debug/bin/ln.debug	comp-util-debug		debug
./usr/libdata/debug/bin/sh.debug	comp-util-debug		debug
";
const DEBUG_SHL: &str = "\
./usr/libdata/debug/lib/libc.so.12.185.debug	comp-sys-debug	debug
./usr/libdata/debug/lib/libm.so.0.11.debug	comp-sys-debug	debug
";
const MODULES_MI: &str = "\
./@MODULEDIR@/ffs			base-kernel-modules	kmod
./@MODULEDIR@/ffs/ffs.kmod		base-kernel-modules	kmod
./@MODULEDIR@/nfs			base-kernel-modules	kmod
./@MODULEDIR@/nfs/nfs.kmod		base-kernel-modules	kmod
";
const TESTS_MI: &str = "\
./usr/tests/lib/Atffile			tests-lib-tests		atf
./usr/tests/lib/t_fork			tests-lib-tests		atf
./usr/tests/lib/t_spawn			tests-lib-tests		atf
";

fn tree() -> Lists {
    let mut lists = Lists::default();
    let mut add = |name: &str, text: &str| {
        let text = format!("{HEAD}{text}");
        let lines = text.lines().map(str::to_owned).collect();
        lists.files.insert(name.to_owned(), lines);
    };
    add("base/mi", BASE_MI);
    add("base/shl.mi", BASE_SHL);
    add("base/md.one", &BASE_COMPAT.replace("COMPAT", "half"));
    add("base/md.two", &BASE_COMPAT.replace("COMPAT", "small"));
    add("comp/mi", COMP_MI);
    add("comp/md.one", COMP_ONE);
    add("debug/mi", DEBUG_MI);
    add("debug/shl.mi", DEBUG_SHL);
    add("modules/mi", MODULES_MI);
    add("tests/mi", TESTS_MI);
    add("xbase/mi", "./usr/X11R7	xbase-sys-root\n");
    lists
}

fn port(name: &str) -> Machine {
    Machine {
        port: name.to_owned(),
        machine: name.to_owned(),
        arch: format!("{name}arch"),
        cpu: format!("{name}arch"),
    }
}

fn on() -> BTreeSet<String> {
    let words = [
        "atf",
        "compat",
        "debug",
        "dynamicroot",
        "kerberos",
        "kmod",
        "man",
        ".man",
        "pic",
    ];
    words.map(str::to_owned).into()
}

/// What a port has when all is well.
fn destdir(lists: &Lists, port: &Machine) -> BTreeSet<String> {
    // A listing of nothing but a module's directory says where modules are.
    let seed = BTreeSet::from([format!("./stand/{}/9.9/modules", port.machine)]);
    let files = check(lists, port, &seed, &on()).missing;
    files.into_iter().chain(seed).collect()
}

/// A run: ports by name, each with its files.
struct Run {
    lists: Lists,
    ports: Vec<(Machine, BTreeSet<String>)>,
}

impl Run {
    fn new(names: &[&str]) -> Self {
        let lists = tree();
        let ports = names
            .iter()
            .map(|name| (port(name), destdir(&lists, &port(name))))
            .collect();
        Self { lists, ports }
    }

    fn install(&mut self, on: &[&str], paths: &[&str]) {
        for (port, files) in &mut self.ports {
            if on.contains(&port.port.as_str()) {
                files.extend(paths.iter().map(|p| (*p).to_owned()));
            }
        }
    }

    fn remove(&mut self, on: &[&str], paths: &[&str]) {
        for (port, files) in &mut self.ports {
            if on.contains(&port.port.as_str()) {
                files.retain(|f| !paths.contains(&f.as_str()));
            }
        }
    }

    fn propose(&self) -> Proposal {
        let wanted: Vec<Wanted> = self
            .ports
            .iter()
            .map(|(port, files)| Wanted {
                port: port.clone(),
                mismatch: check(&self.lists, port, files, &on()),
                files: files.clone(),
            })
            .collect();
        let proposal = propose(&self.lists, &wanted);
        // The proof again, under conditions that nobody had to infer.
        for (port, files) in &self.ports {
            let after = check(&proposal.lists, port, files, &on());
            assert_eq!(after.is_empty(), !proposal.left.contains_key(&port.port));
        }
        assert_eq!(patched(&self.lists, &proposal.patch), proposal.lists);
        proposal
    }
}

/// The lists after patch(1), which is not ours.
fn patched(lists: &Lists, patch: &str) -> Lists {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("distrib/sets/lists");
    for (name, lines) in &lists.files {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, lines.join("\n") + "\n").unwrap();
    }
    let file = dir.path().join("p");
    std::fs::write(&file, patch).unwrap();
    if !patch.is_empty() {
        let said = std::process::Command::new("patch")
            .args(["-p1", "--fuzz=0", "-s", "-d"])
            .arg(dir.path())
            .arg("-i")
            .arg(&file)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&said.stdout).into_owned();
        assert!(said.status.success() && text.is_empty(), "{text}\n{patch}");
    }
    let mut after = Lists::default();
    for set in std::fs::read_dir(&root).unwrap() {
        let set = set.unwrap();
        for file in std::fs::read_dir(set.path()).unwrap() {
            let file = file.unwrap();
            let name = format!(
                "{}/{}",
                set.file_name().to_str().unwrap(),
                file.file_name().to_str().unwrap()
            );
            let text = std::fs::read_to_string(file.path()).unwrap();
            after
                .files
                .insert(name, text.lines().map(str::to_owned).collect());
        }
    }
    after
}

fn said(proposal: &Proposal) -> String {
    let lines: Vec<String> = proposal.changes.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

/// The lines that a patch adds and takes.
fn changed(proposal: &Proposal) -> String {
    let lines = proposal.patch.lines();
    let lines: Vec<&str> = lines
        .filter(|l| (l.starts_with('+') || l.starts_with('-')) && !l.starts_with("---"))
        .collect();
    lines.join("\n")
}

#[test]
fn a_clean_tree_needs_nothing() {
    let run = Run::new(&["one", "two", "three"]);
    let proposal = run.propose();
    assert_eq!(proposal.patch, "");
    assert!(proposal.left.is_empty() && proposal.changes.is_empty());
    for (port, files) in &run.ports {
        assert_eq!(
            infer(&run.lists, port, files),
            on_of(port, files, &run.lists)
        );
    }
}

/// The conditions that a port's files can show: it has no file of `man` alone.
fn on_of(port: &Machine, files: &BTreeSet<String>, lists: &Lists) -> BTreeSet<String> {
    let mut want = on();
    want.remove("man");
    if check(lists, port, files, &want).is_empty() && port.port == "three" {
        want.remove("compat");
        want.remove("pic");
    }
    want
}

#[test]
fn a_header_that_left_the_lists_comes_back_where_it_was() {
    let mut run = Run::new(&["one", "two"]);
    let lines = run.lists.files.get_mut("comp/mi").unwrap();
    let before = lines.clone();
    lines.retain(|l| !l.starts_with("./usr/include/spawn.h"));
    let proposal = run.propose();
    assert_eq!(proposal.lists.files["comp/mi"], before);
    insta::assert_snapshot!(said(&proposal), @"comp/mi: + ./usr/include/spawn.h (every port of the run has it; like ./usr/include/setjmp.h)");
    insta::assert_snapshot!(proposal.patch, @r"
    --- a/distrib/sets/lists/comp/mi
    +++ b/distrib/sets/lists/comp/mi
    @@ -8,6 +8,7 @@
     ./usr/include/krb5/locate.h		comp-krb5-include	kerberos
     ./usr/include/setjmp.h			comp-c-include
     ./usr/include/signal.h			comp-c-include
    +./usr/include/spawn.h			comp-c-include
     ./usr/include/stdio.h			comp-c-include
     ./usr/include/sys			base-sys-usr
     ./usr/include/sys/signal.h		comp-c-include
    ");
}

#[test]
fn a_new_interface_is_listed_everywhere() {
    let mut run = Run::new(&["one", "two", "three"]);
    let all = ["one", "two", "three"];
    run.install(
        &all,
        &[
            "./bin/spawn",
            "./usr/include/krb5/spawn.h",
            "./usr/libdata/debug/bin/spawn.debug",
            "./usr/share/man/man3/posix_spawnp.3",
            "./usr/tests/lib/spawn",
            "./usr/tests/lib/spawn/t_new",
        ],
    );
    run.install(&["two"], &["./usr/include/two.h"]);
    run.install(&["one"], &["./usr/include/one/spawn.h"]);
    for port in all {
        let dir = format!("./stand/{port}/9.9/modules/spawn");
        run.install(&[port], &[&dir, &format!("{dir}/spawn.kmod")]);
    }
    let proposal = run.propose();
    assert!(proposal.left.is_empty(), "{:?}", proposal.left);
    insta::assert_snapshot!(changed(&proposal));
    assert!(
        proposal.changes.iter().all(|c| c.guess.is_none()),
        "{}",
        said(&proposal)
    );
}

#[test]
fn a_file_that_is_listed_under_a_condition_which_is_not_fulfilled_keeps_its_list_and_package() {
    let mut run = Run::new(&["one"]);
    // Its neighbours are libraries of the system, in another set.
    let line = "./usr/lib/half/libgcc_s.so\t\tcomp-sys-shlib\t\tcompat,pic,gcccmds";
    let list = run.lists.files.get_mut("comp/md.one").unwrap();
    list.push(line.to_owned());
    run.install(&["one"], &["./usr/lib/half/libgcc_s.so"]);
    let proposal = run.propose();
    assert!(proposal.left.is_empty(), "{:?}", proposal.left);
    let changed = changed(&proposal);
    let words: Vec<&str> = changed.split_whitespace().collect();
    let expected = "+++ b/distrib/sets/lists/comp/md.one +./usr/lib/half/libgcc_s.so comp-sys-shlib compat,pic";
    assert_eq!(words.join(" "), expected);
    let why = "it is in comp/md.one under more conditions";
    assert!(said(&proposal).contains(why), "{}", said(&proposal));
}

#[test]
fn a_library_that_was_bumped_is_rewritten_with_its_compat_and_debug_lines() {
    let mut run = Run::new(&["one", "two", "three"]);
    let all = ["one", "two", "three"];
    run.remove(
        &all,
        &[
            "./lib/libc.so.12.185",
            "./usr/libdata/debug/lib/libc.so.12.185.debug",
        ],
    );
    run.install(
        &all,
        &[
            "./lib/libc.so.12.186",
            "./usr/libdata/debug/lib/libc.so.12.186.debug",
        ],
    );
    for (port, dir) in [("one", "half"), ("two", "small")] {
        run.remove(&[port], &[&format!("./usr/lib/{dir}/libc.so.12.185")]);
        run.install(&[port], &[&format!("./usr/lib/{dir}/libc.so.12.186")]);
    }
    let proposal = run.propose();
    assert!(proposal.left.is_empty(), "{:?}", proposal.left);
    insta::assert_snapshot!(changed(&proposal));
}

#[test]
fn what_is_gone_becomes_obsolete_and_what_one_port_lacks_is_excluded() {
    let mut run = Run::new(&["one", "two"]);
    run.remove(
        &["one", "two"],
        &["./bin/ln", "./usr/libdata/debug/bin/ln.debug"],
    );
    run.remove(&["two"], &["./usr/tests/lib/t_fork"]);
    run.remove(&["one"], &["./usr/include/one/asm.h"]);
    let proposal = run.propose();
    assert!(proposal.left.is_empty(), "{:?}", proposal.left);
    insta::assert_snapshot!(changed(&proposal));
    insta::assert_snapshot!(said(&proposal));
}

#[test]
fn one_port_alone_is_a_guess_and_says_so() {
    let mut run = Run::new(&["one"]);
    run.install(
        &["one"],
        &["./usr/include/spawnattr.h", "./usr/include/one/spawn.h"],
    );
    let proposal = run.propose();
    assert!(proposal.left.is_empty());
    insta::assert_snapshot!(said(&proposal));
}

#[test]
fn what_resembles_nothing_is_not_invented() {
    let mut run = Run::new(&["one"]);
    run.install(&["one"], &["./opt/thing.xyz"]);
    let proposal = run.propose();
    assert_eq!(proposal.patch, "");
    assert_eq!(
        proposal.unknown,
        BTreeSet::from(["./opt/thing.xyz".to_owned()])
    );
    assert!(proposal.left.contains_key("one"));
}

#[test]
fn blocks_are_read_out_of_a_log() {
    let log = "--- checkflist ---\n\n=======  2 extra files in DESTDIR  =========\nFiles in DESTDIR but missing from flist.\nFile is obsolete or flist is out of date ?\n------------------------------------------\n./usr/include/spawn.h\n./usr/x y\n=========  end of 2 extra files  ===========\n\n\n======  1 missing files in DESTDIR  ========\nFiles in flist but missing from DESTDIR.\nFile wasn't installed ?\n------------------------------------------\n./bin/ln\n========  end of 1 missing files  ==========\n\n======  1 missing files in METALOG  ========\nFiles in DESTDIR but missing from METALOG.\nFile installed but not registered in METALOG ?\n------------------------------------------\n./etc/x\n";
    let found = read_console(log);
    let paths =
        |list: &[&str]| -> BTreeSet<String> { list.iter().map(|p| (*p).to_owned()).collect() };
    assert_eq!(
        found.sets.extra,
        paths(&["./usr/include/spawn.h", "./usr/x y"])
    );
    assert_eq!(found.sets.missing, paths(&["./bin/ln"]));
    assert_eq!(found.metalog.missing, paths(&["./etc/x"]));
    assert!(found.metalog.extra.is_empty());
}

proptest! {
    // Each case runs patch(1).
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever comes and goes, on whichever ports: the patch applies, and it is either proved or
    /// says what it leaves.
    #[test]
    fn any_mismatch_is_mended_or_told(
        gone in proptest::collection::vec((0usize..60, 0usize..4), 0..6),
        come in proptest::collection::vec((0usize..8, "[a-z]{1,6}(\\.h|\\.3|\\.so\\.1\\.2|\\.debug)?", 0usize..4), 0..6),
    ) {
        let names = ["one", "two", "three"];
        let mut run = Run::new(&names);
        let all: Vec<String> = run.ports[0].1.iter().cloned().collect();
        let some = |which: usize| -> Vec<&str> {
            if which == 3 { names.to_vec() } else { vec![names[which]] }
        };
        for (path, which) in gone {
            let path = &all[path % all.len()];
            // What lies below goes with it.
            for (port, files) in &mut run.ports {
                if some(which).contains(&port.port.as_str()) && path.matches('/').count() > 2 {
                    files.retain(|f| f != path && !f.starts_with(&format!("{path}/")));
                }
            }
        }
        let dirs = ["./bin", "./lib", "./usr/include", "./usr/include/sys", "./usr/share/man/man3",
            "./usr/tests/lib", "./usr/libdata/debug/bin", "./usr/lib"];
        for (dir, name, which) in &come {
            run.install(&some(*which), &[&format!("{}/{name}", dirs[*dir])]);
        }
        let proposal = run.propose();
        for (port, left) in &proposal.left {
            let told = left.extra.iter().chain(&left.missing);
            let nothing_known = !proposal.unknown.is_empty();
            prop_assert!(nothing_known || told.clone().count() > 0, "{port}: {left:?}");
        }
        if proposal.unknown.is_empty() {
            prop_assert!(proposal.left.is_empty(), "{:?}\n{}", proposal.left, proposal.patch);
        }
    }

}

proptest! {
    #[test]
    fn any_text_is_a_report(text in "(=======  [0-9]{1,3} (extra|missing) files in (DESTDIR|METALOG)  =====\n|-{12}\n|\\./[a-z/]{0,8}\n|[ -~]{0,20}\n){0,20}") {
        let found = read_console(&text);
        prop_assert!(found.sets.extra.len() + found.metalog.missing.len() <= text.lines().count());
    }
}

#[test]
fn of_two_values_of_a_condition_one_is_fulfilled() {
    let lines = [
        "./both1\tp\tgcc=4",
        "./both2\tp\tgcc=4",
        "./older\tp\tgcc=4",
        "./both1\tp\tgcc=45",
        "./both2\tp\tgcc=45",
        "./newer\tp\tgcc=45",
        "./other\tp\tabi=1",
    ];
    let lists = Lists {
        files: [("comp/mi".to_owned(), lines.map(str::to_owned).into())].into(),
    };
    let files = ["./both1", "./both2", "./newer", "./other"];
    let files = files.map(str::to_owned).into();
    let on = infer(&lists, &port("one"), &files);
    assert_eq!(on, ["abi=1", "gcc=45"].map(str::to_owned).into());
    assert!(check(&lists, &port("one"), &files, &on).is_empty());
}

#[test]
fn a_check_knows_better_which_conditions_are_fulfilled() {
    let mut run = Run::new(&["one"]);
    // Most files of the condition are there, and the build says that its lines do not count.
    let paths = ["./usr/lib/half/libg.a", "./usr/lib/half/libh.a"];
    let list = run.lists.files.get_mut("comp/md.one").unwrap();
    list.extend(paths.map(|path| format!("{path}\t\tcomp-c-lib\t\tcompat,gcccmds")));
    run.install(&["one"], &paths);
    let (port, files) = run.ports[0].clone();
    assert!(infer(&run.lists, &port, &files).contains("gcccmds"));
    let said = Wanted {
        port,
        mismatch: Mismatch {
            extra: paths.map(str::to_owned).into(),
            ..Mismatch::default()
        },
        files,
    };
    let proposal = propose(&run.lists, &[said]);
    assert!(proposal.left.is_empty(), "{:?}", proposal.left);
    let changed = changed(&proposal);
    let words: Vec<&str> = changed.split_whitespace().collect();
    let expected = "+++ b/distrib/sets/lists/comp/md.one +./usr/lib/half/libg.a comp-c-lib compat \
                    +./usr/lib/half/libh.a comp-c-lib compat";
    assert_eq!(words.join(" "), expected);
}
