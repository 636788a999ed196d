use std::path::PathBuf;

use proptest::prelude::*;

use super::*;

fn fixture(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/consoles")
        .join(name);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn read(bytes: &[u8]) -> Recogniser {
    let mut recogniser = Recogniser::new();
    recogniser.feed(bytes);
    recogniser.finish();
    recogniser
}

fn title(bytes: &[u8]) -> Option<String> {
    read(bytes).crash().map(|c| c.title)
}

#[test]
fn healthy_netbsd_consoles_raise_no_alarm() {
    for name in [
        "netbsd-6.99.16-amd64.run1.console",
        "netbsd-6.99.16-sparc64.run1.console",
    ] {
        assert_eq!(title(&fixture(name)), None, "{name}");
    }
}

#[test]
fn netbsd_panics_are_titled() {
    assert_eq!(
        title(&fixture("netbsd-6.99.16-amd64.panic0.console")).unwrap(),
        "panic: nbpanic: test panic 42"
    );
    let crash = read(&fixture("netbsd-6.99.16-amd64.panic2.console"))
        .crash()
        .unwrap();
    assert!(
        crash
            .title
            .starts_with("fatal page fault in supervisor mode in function "),
        "{}",
        crash.title
    );
    assert!(crash.excerpt.iter().any(|l| l.contains("Stopped in pid")));
    assert!(crash.excerpt.iter().all(|l| !l.contains('\x1b')));
}

#[test]
fn one_linux_panic_has_one_title_everywhere() {
    let mut titles = Vec::new();
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/consoles");
    for entry in std::fs::read_dir(dir).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.starts_with("linux-") && name.contains("sysrq-c") {
            titles.push(title(&fixture(&name)).unwrap_or_else(|| panic!("{name}: no crash")));
        }
    }
    titles.push(
        title(b"# [    2.475408] Kernel panic - not syncing: sysrq triggered crash\r\n").unwrap(),
    );
    titles.dedup();
    assert_eq!(
        titles,
        ["Kernel panic - not syncing: sysrq triggered crash"]
    );
}

#[test]
fn a_generic_panic_is_titled_by_its_cause() {
    let console =
        b"[    5.100000] BUG: unable to handle page fault for address: ffff8880deadbeef\r\n\
        [    5.100001] Oops: 0002 [#1] PREEMPT SMP NOPTI\r\n\
        [    5.100002] RIP: 0010:do_thing+0x1f/0x40 [evil]\r\n\
        [    5.200000] Kernel panic - not syncing: Fatal exception\r\n";
    assert_eq!(
        title(console).unwrap(),
        "BUG: unable to handle page fault for address: ADDR in do_thing"
    );
}

#[test]
fn complaints_do_not_kill() {
    let console =
        b"[  130.5] x\n[  130.500000] INFO: task cat:123 blocked for more than 120 seconds.\n\
        [  131.000000] watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [loop:77]\n";
    let recogniser = read(console);
    assert!(!recogniser.is_dead());
    insta::assert_debug_snapshot!(recogniser.notes(), @r#"
    [
        "INFO: task cat:N blocked for more than 120 seconds.",
        "watchdog: BUG: soft lockup - CPU stuck for Ns! loop:N",
    ]
    "#);
}

#[test]
fn words_in_a_tests_output_raise_no_alarm() {
    for text in [
        "t_panic:panic_on_demand  ->  passed\nok\n",
        "ddb.onpanic: 1 -> 0\r\nStarting sshd\r\n",
        "a test wrote: Kernel panic - not syncing: nothing\nand went on\n",
        "my panic: was unfounded\ncpuid = 0\n",
        "panic: said a test program\nline\nline\nline\nline\nline\nline\nline\nline\nline\nline\nline\nline\nrebooting...\n",
        "[12:30] Kernel panic - not syncing: a chat log\n",
        // A break from the console: a stop, but nobody has panicked.
        "fatal breakpoint trap in supervisor mode\r\nStopped in pid 0.2 (system) at netbsd:breakpoint+0x5\r\n",
    ] {
        assert_eq!(title(text.as_bytes()), None, "{text}");
    }
}

#[test]
fn bsd_panics_need_a_second_word() {
    let openbsd = b"panic: pool_do_get: mbufpl: page empty\r\nStopped at      db_enter+0x14: popq %rbp\r\nddb{0}> ";
    assert_eq!(
        title(openbsd).unwrap(),
        "panic: pool_do_get: mbufpl: page empty"
    );
    let freebsd = b"panic: Assertion curthread != NULL failed at /usr/src/x.c:42\ncpuid = 1\nKDB: stack backtrace:\n";
    assert!(
        title(freebsd)
            .unwrap()
            .starts_with("panic: Assertion curthread")
    );
    let assertion = b"panic: kernel diagnostic assertion \"pmap->pm_ncsw == ncsw\" failed: file \"../../../../arch/x86/x86/pmap.c\", line 742\ncpu0: Begin traceback...\n";
    assert_eq!(
        title(assertion).unwrap(),
        "panic: kernel diagnostic assertion \"pmap->pm_ncsw == ncsw\" failed"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// However the bytes are cut, the answer is the same.
    #[test]
    fn cuts_do_not_matter(cuts in proptest::collection::vec(1usize..700, 1..60)) {
        for name in ["netbsd-6.99.16-amd64.panic2.console", "netbsd-6.99.16-amd64.panic0.console"] {
            let bytes = fixture(name);
            let whole = read(&bytes).crash().map(|c| c.title);
            let mut recogniser = Recogniser::new();
            let mut rest = &bytes[..];
            let mut cut = cuts.iter().cycle();
            while !rest.is_empty() {
                let n = (*cut.next().unwrap()).min(rest.len());
                recogniser.feed(&rest[..n]);
                rest = &rest[n..];
            }
            recogniser.finish();
            prop_assert_eq!(recogniser.crash().map(|c| c.title), whole);
        }
    }

    /// Nothing that a guest writes makes it panic, and what it keeps is bounded.
    #[test]
    fn noise_is_survived(chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..40)) {
        let mut recogniser = Recogniser::new();
        for chunk in &chunks {
            recogniser.feed(chunk);
        }
        recogniser.finish();
        prop_assert!(recogniser.last_lines().len() <= LINES_BEFORE);
    }
}
