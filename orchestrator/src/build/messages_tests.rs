use proptest::prelude::*;

use super::*;

fn scan(log: &str) -> Scanner {
    let mut scanner = Scanner::new("/cache/builds/.work-k/tree");
    for line in log.lines() {
        scanner.line(line.as_bytes());
    }
    scanner
}

fn said(log: &str) -> String {
    let scanner = scan(log);
    scanner
        .message()
        .map_or("nothing".to_owned(), ToString::to_string)
}

#[test]
fn one_line_of_each_kind() {
    for (line, expected) in [
        (
            "src/wire.c:12:5: error: unknown type name 'foo'",
            "src/wire.c:12: unknown type name 'foo'",
        ),
        (
            "\x1b[1m/cache/builds/.work-k/tree/src/a.h:3: fatal error: x.h: No such file or directory\x1b[0m",
            "src/a.h:3: x.h: No such file or directory",
        ),
        (
            "./a.cc:7:1: error: 'n' was not declared",
            "a.cc:7: 'n' was not declared",
        ),
        (
            "a.c:1:2: error: passing 'size_t' {aka 'unsigned int'} to 'char *'",
            "a.c:1: passing 'size_t' to 'char *'",
        ),
        (
            "/tmp/ccAbCdEf.s:12: Error: unrecognized opcode: `movl'",
            "assembler: unrecognized opcode: `movl'",
        ),
        (
            "entry.S:9: Error: no such instruction: `mov r0'",
            "entry.S:9: no such instruction: `mov r0'",
        ),
        (
            "/usr/bin/s390x-linux-gnu-ld: /cache/builds/.work-k/tree/src/a.c:4: undefined reference to `g'",
            "src/a.c:4: undefined reference to `g'",
        ),
        (
            "a.c:(.text+0x1f): undefined reference to `g'",
            "a.c: undefined reference to `g'",
        ),
        (
            "/usr/bin/ld: cannot find -latf-c: No such file or directory",
            "cannot find -latf-c: No such file or directory",
        ),
        ("ld: a.o: in function `main':", "nothing"),
        (
            "nbmake[2]: \"/cache/builds/.work-k/tree/lib/lua/Makefile\" line 5: Malformed conditional (${A} != \"no\")",
            "lib/lua/Makefile:5: Malformed conditional (${A} != \"no\")",
        ),
        (
            "nbmake: \"/x/Makefile\" line 5: warning: duplicate script for target \"x\" ignored",
            "nothing",
        ),
        (
            "nbmake: don't know how to make x.c. Stop",
            "don't know how to make x.c",
        ),
        (
            "collect2: error: ld returned 1 exit status",
            "collect2: ld returned 1 exit status",
        ),
        (
            "make[2]: *** [Makefile:31: src/pt] Error 1",
            "Makefile:31: src/pt: Error 1",
        ),
        (
            "make: *** No rule to make target 'x', needed by 'all'.  Stop.",
            "No rule to make target 'x', needed by 'all'.",
        ),
        (
            "Makefile:3: *** missing separator.  Stop.",
            "Makefile:3: missing separator.",
        ),
        (
            "configure: error: cannot run C compiled programs.",
            "configure: cannot run C compiled programs.",
        ),
        ("sh: 1: lex: not found", "lex: not found"),
        (
            "/bin/bash: line 3: lex: command not found",
            "lex: not found",
        ),
        ("make: lex: No such file or directory", "lex: not found"),
        ("checking for foo... not found", "nothing"),
        ("+ echo a.c:1: error: no", "nothing"),
        ("a.c:3:1: warning: unused", "nothing"),
    ] {
        assert_eq!(said(line), expected, "{line}");
    }
}

#[test]
fn the_first_cause_wins_over_what_follows_from_it() {
    let log = "cc -c a.c\nmake[1]: *** [Makefile:2: z.o] Error 1\ncollect2: error: ld returned 1\n\
        a.c: In function 'f':\na.c:4:2: error: one\nb.c:1:1: error: two\nmake: *** [all] Error 2\n";
    assert_eq!(said(log), "a.c:4: one");
    assert_eq!(
        said("ok\nmake: *** [Makefile:9: all] Error 2\n"),
        "Makefile:9: all: Error 2"
    );
}

#[test]
fn a_machine_without_room_is_no_fault_of_the_source() {
    let full = scan("/tmp/cc.s: fatal error: error writing to /tmp/cc.s: No space left on device");
    assert!(full.exhausted().is_some());
    let killed = scan("cc: fatal error: Killed signal terminated program cc1");
    assert!(killed.exhausted().is_some());
    assert_eq!(scan("a.c:1: error: no").exhausted(), None);
    assert_eq!(
        scan("sh: 1: bison: not found")
            .missing()
            .and_then(host_tool),
        Some(("bison", "bison"))
    );
    assert_eq!(
        scan("sh: 1: ./gen: not found")
            .missing()
            .and_then(host_tool),
        None
    );
}

proptest! {
    #[test]
    fn any_log_is_read(log in "(\\PC|[ :/*\\[\\]().\n0-9]|error: |\\*\\*\\* |ld: |undefined reference to |\\{aka ){0,60}") {
        let _ = said(&log);
    }

    #[test]
    fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut scanner = Scanner::new("");
        scanner.line(&bytes);
        if let Some(message) = scanner.message() {
            prop_assert!(message.text.chars().count() <= TEXT_MAX);
            prop_assert!(!message.text.contains(|c: char| c.is_control()));
        }
    }

    #[test]
    fn a_compilers_line_is_read_back(file in "[a-z]{1,8}(/[a-z]{1,8}){0,2}\\.c", line in 1u32..100_000, column in 1u32..200, text in "[a-z][a-z ']{0,40}[a-z]") {
        let mut scanner = Scanner::new("/t");
        scanner.line(format!("/t/{file}:{line}:{column}: error: {text}\n").as_bytes());
        let expected = CompilerMessage { file: Some(file), line: Some(line), text };
        prop_assert_eq!(scanner.message(), Some(&expected));
    }
}
