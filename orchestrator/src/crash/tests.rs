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
fn the_words_make_an_automaton() {
    assert!(!read(b"").is_dead());
}

#[test]
fn healthy_netbsd_consoles_raise_no_alarm() {
    for name in [
        "netbsd-6.99.16-amd64.run1.console",
        "netbsd-6.99.16-sparc64.run1.console",
        "netbsd-6.99.16-sparc64.usb.console",
        "netbsd-6.99.16-i386.run1.console",
        // A disk that answers late is no crash.
        "netbsd-6.99.16-sparc64.lost-interrupts.console",
    ] {
        assert_eq!(title(&fixture(name)), None, "{name}");
    }
}

#[test]
fn netbsd_panics_are_titled() {
    assert_eq!(
        title(&fixture("netbsd-6.99.16-amd64.panic0.console")).unwrap(),
        "panic: nbpanic: test panic N"
    );
    let crash = read(&fixture("netbsd-6.99.16-amd64.panic2.console"))
        .crash()
        .unwrap();
    assert_eq!(crash.title, "page fault in nbnull_modcmd");
    assert!(crash.telling()[0].starts_with("uvm_fault("));
    assert!(crash.excerpt.iter().any(|l| l.contains("Stopped in pid")));
    assert!(crash.excerpt.iter().all(|l| !l.contains('\x1b')));
    // A big-endian machine, with the debugger's talk behind it.
    let crash = read(&fixture("netbsd-6.99.16-sparc64.panic-ufs.console"))
        .crash()
        .unwrap();
    assert_eq!(
        crash.title,
        "panic: kernel diagnostic assertion \"(*vpp)->v_type == VNON\" failed in ffs_alloc.c"
    );
    assert!(crash.telling()[0].contains("ffs_alloc.c\", line 615"));
}

#[test]
fn a_generic_panic_is_titled_by_its_cause() {
    let console =
        b"[    5.100000] BUG: unable to handle page fault for address: ffff8880deadbeef\r\n\
        [    5.100001] Oops: 0002 [#1] PREEMPT SMP NOPTI\r\n\
        [    5.100002] RIP: 0010:do_thing.isra.0+0x1f/0x40 [evil]\r\n\
        [    5.200000] Kernel panic - not syncing: Fatal exception\r\n";
    assert_eq!(
        title(console).unwrap(),
        "BUG: unable to handle kernel paging request in do_thing"
    );
}

/// The same null dereference in the same function, as nine machines tell it.
#[test]
fn one_crash_has_one_title_and_signature_everywhere() {
    let consoles = [
        "[1.000000] BUG: kernel NULL pointer dereference, address: 000000000000000c\n\
         [1.000001] RIP: 0010:lose+0xc/0x30 [a]\n",
        "[1.000000] BUG: kernel NULL pointer dereference, address: 0000000c\n\
         [1.000001] EIP: lose.constprop.0+0x8/0x14 [a]\n",
        "[1.000000] Unable to handle kernel NULL pointer dereference at virtual address 000000000000000c\n\
         [1.000001] pc : lose+0x10/0x28 [a]\n[1.000002] lr : other+0x1/0x2\n",
        "[1.000000] 8<--- cut here ---\n\
         [1.000001] Unable to handle kernel NULL pointer dereference at virtual address 0000000c\n\
         [1.000002] PC is at lose+0xc/0x24 [a]\n",
        "[1.000000] Kernel attempted to read user page (c) - exploit attempt? (uid: 0)\n\
         [1.000001] BUG: Kernel NULL pointer dereference on read at 0x0000000c\n\
         [1.000002] NIP:  c00800000 LR: c00800001\n[1.000003] NIP [c008000000a30078] lose+0x20/0x50 [a]\n",
        "[1.000000] Unable to handle kernel pointer dereference in virtual kernel address space\n\
         [1.000001] Failing address: 0000000000000000 TEID: 0000000000000803\n\
         [1.000002] Krnl PSW : 0704c00180000000 000003ff7fd0c30a (lose+0x22/0x40 [a])\n",
        "[1.000000] CPU 0 Unable to handle kernel paging request at virtual address 000000000000000c, epc == ffffffffc0, ra == ffffffffc1\n\
         [1.000001] epc   : ffffffffc0012014 lose+0x14/0x20 [a]\n",
        "[1.000000] Unable to handle kernel NULL pointer dereference at virtual address 000000000000000c\n\
         [1.000001] epc : lose+0x1c/0x30 [a]\n",
        "[1.000000] Unable to handle kernel NULL pointer dereference\n\
         [1.000001] TPC: <lose+0x14/0x20>\n",
    ];
    let panic = "[2.000000] Kernel panic - not syncing: Fatal exception\n";
    for console in consoles {
        let crash = read(format!("{console}{panic}").as_bytes())
            .crash()
            .unwrap();
        assert_eq!(
            crash.title, "BUG: unable to handle kernel NULL pointer dereference in lose",
            "{console}"
        );
        insta::allow_duplicates! { insta::assert_snapshot!(crash.signature, @"8ab635dbd45b"); }
    }
}

#[test]
fn complaints_do_not_kill() {
    let console =
        b"[  130.5] x\n[  130.500000] INFO: task cat:123 blocked for more than 120 seconds.\n\
        [  130.500001] Call Trace:\n[  130.500002]  __schedule+0x1/0x2\n[  130.500003]  wait_for_it+0x1/0x2\n\
        [  130.500005] ---[ end trace 0000000000000000 ]---\n\
        [  131.000000] watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [loop:77]\n\
        [  131.000001] RIP: 0010:spinner+0x1/0x2\n[  132.000000] Out of memory: Killed process 9 (hog)\n";
    let recogniser = read(console);
    assert!(!recogniser.is_dead());
    insta::assert_debug_snapshot!(recogniser.notes(), @r#"
    [
        "INFO: task hung in wait_for_it",
        "BUG: soft lockup in spinner",
    ]
    "#);
}

#[test]
fn stalls_and_hard_lockups_name_who_spins() {
    let stall = b"[ 30.000000] rcu: INFO: rcu_preempt self-detected stall on CPU\n\
        [ 30.000001] rcu: \t0-....: (2099 ticks this GP) idle=1d1c/1/0x4000000000000000\n\
        [ 30.000002] pc : spinner+0x1c/0x30 [a]\n\
        [ 30.000003] Kernel panic - not syncing: RCU Stall\n";
    assert_eq!(title(stall).unwrap(), "INFO: rcu detected stall in spinner");
    let hard = b"[ 30.000000] watchdog: Watchdog detected hard LOCKUP on cpu 3\n\
        [ 30.000002] RIP: 0010:_raw_spin_lock+0x1c/0x30\n[ 30.000003] Call Trace:\n\
        [ 30.000004]  holder+0x1/0x2\n\
        [ 30.000005] Kernel panic - not syncing: Hard LOCKUP\n";
    assert_eq!(title(hard).unwrap(), "BUG: hard lockup in holder");
}

#[test]
fn sanitizers_carry_their_own_names() {
    let kasan = b"[1.000000] BUG: KASAN: slab-out-of-bounds in peek+0x1c/0x30 [a]\n\
        [1.000001] Read of size 4 at addr ffff8881 by task sh/12\n";
    assert_eq!(
        read(kasan).notes(),
        ["KASAN: slab-out-of-bounds Read in peek"]
    );
    let ubsan = b"[1.000000] UBSAN: shift-out-of-bounds in drivers/x/y.c:12:3\n\
        [1.000001] Call Trace:\n[1.000002]  ubsan_epilogue+0x5/0x40\n[1.000003]  shifty+0x8/0x20\n";
    assert_eq!(
        read(ubsan).notes(),
        ["UBSAN: shift-out-of-bounds in shifty"]
    );
    let kfence = b"[1.000000] BUG: KFENCE: use-after-free read in late+0x1c/0x30\n";
    assert_eq!(
        read(kfence).notes(),
        ["KFENCE: use-after-free read in late"]
    );
}

#[test]
fn an_old_log_is_no_news() {
    let old = b"[  100.000000] virtio: up\n\
        [    5.100000] BUG: kernel NULL pointer dereference, address: 0000000c\n\
        [    5.200000] Kernel panic - not syncing: Fatal exception\n";
    let recogniser = read(old);
    assert!(!recogniser.is_dead() && recogniser.notes().is_empty());
    // Without the later stamp nobody could tell.
    assert!(read(&old[old.iter().position(|&b| b == b'\n').unwrap()..]).is_dead());
}

#[test]
fn words_in_a_tests_output_raise_no_alarm() {
    for text in [
        "t_panic:panic_on_demand  ->  passed\nok\n",
        "ddb.onpanic: 1 -> 0\r\nStarting sshd\r\n",
        "a test wrote: Kernel panic - not syncing: nothing\nand went on\n",
        "my panic: was unfounded\ncpuid = 0\n",
        "panic: said a test program\nline\nline\nline\nline\nline\nline\nline\nline\nline\nline\nline\nline\nrebooting...\n",
        "panic: said a test\ndb> is a prompt\nrebooting... not\nCall Trace: none\n1\n2\n3\n4\n5\n6\n7\n8\n9\n",
        "[12:30] Kernel panic - not syncing: a chat log\n",
        // A break from the console: a stop, but nobody has panicked.
        "fatal breakpoint trap in supervisor mode\r\nStopped in pid 0.2 (system) at netbsd:breakpoint+0x5\r\n",
    ] {
        assert_eq!(title(text.as_bytes()), None, "{text}");
    }
}

#[test]
fn a_kernel_speaks_in_the_middle_of_lines() {
    let inside =
        b"ok 1 - half a li[    5.200000] Kernel panic - not syncing: sysrq triggered crash\n";
    assert_eq!(
        title(inside).unwrap(),
        "kernel panic: sysrq triggered crash"
    );
    let bsd = b"tc-so:half a lipanic: kernel diagnostic assertion \"a == b\" failed: file \"/s/sys/kern/x.c\", line 4\n\
        cpu0: Begin traceback...\n";
    assert_eq!(
        title(bsd).unwrap(),
        "panic: kernel diagnostic assertion \"a == b\" failed in x.c"
    );
    let spinner = b"|\x08/\x08-\x08panic: pool_get: free list\r\ndb{0}> ";
    assert_eq!(title(spinner).unwrap(), "panic: pool_get: free list");
    // Whether a prompt ends there or a test's sentence goes on, only the line's end can tell.
    let mut recogniser = Recogniser::new();
    recogniser.feed(spinner);
    assert!(!recogniser.is_dead());
    recogniser.feed(b"is what ddb writes\n");
    assert!(!recogniser.is_dead());
}

#[test]
fn two_cpus_at_once_are_seen() {
    let one = "panic: kernel diagnostic assertion \"a\" failed";
    let two = "cpu1: uvm_fault(0xffffffff80d0, 0x0, 1) -> e      ";
    let mixed: String = one
        .chars()
        .zip(two.chars())
        .flat_map(|(a, b)| [a, b])
        .collect();
    let console = format!("login:\n{mixed}\ncpu0: Begin traceback...\nlose() at netbsd:lose+0x8\n");
    let crash = read(console.as_bytes()).crash().unwrap();
    assert_eq!(crash.title, "panic: kernel diagnostic assertion in lose");
    assert!(crash.excerpt.iter().any(|l| l == mixed.trim_end()));
}

#[test]
fn bsd_panics_need_a_second_word() {
    for (console, expected) in [
        (
            "panic: pool_do_get: mbufpl: page empty\r\nStopped at      db_enter+0x14: popq %rbp\r\nddb{0}> ",
            "panic: pool_do_get: mbufpl: page empty",
        ),
        (
            "panic: Assertion curthread != NULL failed at /usr/src/x.c:42\ncpuid = 1\nKDB: stack backtrace:\n",
            "panic: Assertion curthread != NULL failed in x.c",
        ),
        (
            "panic: kernel diagnostic assertion \"pmap->pm_ncsw == ncsw\" failed: file \"../../../../arch/x86/x86/pmap.c\", line 742\ncpu0: Begin traceback...\n",
            "panic: kernel diagnostic assertion \"pmap->pm_ncsw == ncsw\" failed in pmap.c",
        ),
        (
            "[ 12.1234567] Mutex error: mutex_vector_enter,518: locking against myself\n[ 12.1234568] panic: lock error: Mutex error\n[ 12.1234569] cpu0: Begin traceback...\n",
            "Mutex error: mutex_vector_enter: locking against myself",
        ),
        (
            "fatal page fault in supervisor mode\ntrap type 6 code 0\npanic: trap\ncpu0: Begin traceback...\nvpanic() at netbsd:vpanic+0x1\n--- trap (number 6) ---\nlose() at netbsd:lose+0x8\n",
            "page fault in lose",
        ),
        (
            "kernel: page fault trap, code=0\nStopped at      lose+0x10:   movl 0(%rax)\nddb> ",
            "page fault in lose",
        ),
        (
            "fatal privileged instruction fault in supervisor mode\r\ntrap type 0 code 0 rip ffffffff80 cs 8\r\n\
             Stopped in pid 412.1 (swapctl) at       netbsd:sys_swapctl:     ud2\r\ndb{0}> bt\r\n\
             sys_swapctl() at netbsd:sys_swapctl\r\nsyscall() at netbsd:syscall+0x94\r\n",
            "illegal instruction in sys_swapctl",
        ),
        (
            "Fatal trap 12: page fault while in kernel mode\ncpuid = 0; apic id = 00\nfault virtual address = 0x10\nKDB: stack backtrace:\n\
             db_trace_self_wrapper() at db_trace_self_wrapper+0x2b\ntrap_fatal() at trap_fatal+0x3\n--- trap 0xc, rip = 0xf ---\nlose() at lose+0x3f/frame 0xfffffe\n",
            "page fault in lose",
        ),
    ] {
        assert_eq!(
            title(console.as_bytes()).as_deref(),
            Some(expected),
            "{console}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// However the bytes are cut, the answer is the same.
    #[test]
    fn cuts_do_not_matter(cuts in proptest::collection::vec(1usize..700, 1..60)) {
        for name in ["netbsd-6.99.16-amd64.panic2.console", "netbsd-6.99.16-amd64.panic0.console"] {
            let bytes = fixture(name);
            let whole = read(&bytes).crash();
            let mut recogniser = Recogniser::new();
            let mut rest = &bytes[..];
            let mut cut = cuts.iter().cycle();
            while !rest.is_empty() {
                let n = (*cut.next().unwrap()).min(rest.len());
                recogniser.feed(&rest[..n]);
                rest = &rest[n..];
            }
            recogniser.finish();
            prop_assert_eq!(recogniser.crash(), whole);
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
