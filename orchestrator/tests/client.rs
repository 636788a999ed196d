//! Commands that ask a daemon elsewhere: they see what it has and nothing of this machine's own.

use std::path::Path;
use std::process::Output;

#[path = "support/daemon.rs"]
#[expect(dead_code, reason = "others use the rest")]
mod daemon;
#[path = "support/kept.rs"]
mod kept;
#[path = "support/sample.rs"]
#[expect(dead_code, reason = "others use the rest")]
mod sample;

use daemon::{Place, Running};

/// A daemon with a rule, two runs, and somebody else's place, which has nothing.
struct Two {
    theirs: Place,
    mine: Place,
    daemon: Running,
    runs: [String; 2],
}

impl Two {
    fn new() -> Self {
        let binary = Path::new(env!("CARGO_BIN_EXE_fallout"));
        let (theirs, mine) = (Place::own(binary), Place::own(binary));
        let settings = "format: 1\nlisten: 127.0.0.1:0\nrepositories:\n  - name: r\n    path: r.git\n    rules:\n      \
                        - {name: all, refs: [refs/heads/main], run: {matrix: absent.yaml}}\n";
        std::fs::write(theirs.path("daemon.yaml"), settings).unwrap();
        let runs = theirs.path("state/fallout/runs");
        let head = theirs.git(&["-C", "tree", "rev-parse", "HEAD"]);
        let old = kept::run(&runs, &head, sample::report(sample::cells(0)));
        let mut clean = sample::report(sample::cells(0));
        clean.verdict.findings.truncate(1);
        let new = kept::run(&runs, &head, clean);
        Self {
            daemon: theirs.daemon(),
            theirs,
            mine,
            runs: [old, new],
        }
    }

    /// A command on the machine that has nothing, asking the other.
    fn ask(&self, words: &[&str]) -> Output {
        let url = format!("http://{}", self.daemon.address);
        let mut command = self.mine.fallout(words);
        command.args(["--daemon", &url]).output().unwrap()
    }

    fn said(&self, words: &[&str]) -> String {
        let out = self.ask(words);
        let errors = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.success(), "{words:?}: {errors}");
        String::from_utf8(out.stdout).unwrap()
    }
}

#[test]
fn another_machines_runs_are_read_as_ones_own() {
    let two = Two::new();
    let [old, new] = &two.runs;
    // Not here: the very same words without the address.
    let here = two.mine.fallout(&["show", "last"]).output().unwrap();
    assert_eq!(here.status.code(), Some(2));
    for words in [
        vec!["show", "last"],
        vec!["show", old.as_str()],
        vec!["report", "last", "--format", "junit"],
        vec!["report", old.as_str(), "--format", "json"],
        vec!["diff", old.as_str(), new.as_str()],
        vec!["export", "last", "--format", "csv"],
    ] {
        let there = two.theirs.fallout(&words).output().unwrap();
        let there = String::from_utf8(there.stdout).unwrap();
        assert!(!there.is_empty(), "{words:?}");
        // All but where its page is.
        let said = two.said(&words);
        let (said, page) = said.split_once("\nReport: ").unwrap_or((&said, ""));
        assert!(page.is_empty() || page.contains("/runs/"), "{page}");
        assert_eq!(said, there, "{words:?}");
    }
    let wrong = two.ask(&["show", "nonsense"]);
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert_eq!(wrong.status.code(), Some(2), "{said}");
    assert!(
        said.contains("no run 'nonsense'") && said.contains(new.as_str()),
        "{said}"
    );
}

#[test]
fn a_job_is_ordered_listed_and_cancelled_with_a_token_alone() {
    let two = Two::new();
    let order = ["order", "r", "all", "refs/heads/main"];
    let refused = two.ask(&order);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(
        said.contains("401") && said.contains("--token-file"),
        "{said}"
    );
    let add = [
        "token", "add", "me", "--scope", "submit", "--scope", "cancel",
    ];
    let token = two.theirs.fallout(&add).output().unwrap();
    let file = two.mine.path("config/fallout/token");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, token.stdout).unwrap();
    // What the user has set once need not be typed again.
    let client = format!(
        "format: 1\ndaemon: http://{}/\ntoken_file: token\n",
        two.daemon.address
    );
    std::fs::write(file.with_file_name("client.yaml"), client).unwrap();
    let config = two.mine.path("config");
    let plain = |words: &[&str]| {
        let mut command = two.mine.fallout(words);
        let out = command.env("XDG_CONFIG_HOME", &config).output().unwrap();
        let errors = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.success(), "{words:?}: {errors}");
        String::from_utf8(out.stdout).unwrap()
    };
    assert_eq!(plain(&order).trim(), "job 1");
    let jobs: serde_json::Value = serde_json::from_str(&plain(&["queue", "--json"])).unwrap();
    assert_eq!(jobs[0]["change"]["reference"], "refs/heads/main");
    // It fails at once, for its matrix is not there: there is nothing to cancel any more, and that is told.
    let cancelled = plain(&["queue", "--cancel", "1"]);
    assert!(cancelled.starts_with("job 1 is "), "{cancelled}");
    // This machine's own queue is still there, and empty.
    assert_eq!(plain(&["queue", "--daemon", "none"]).trim(), "");
    let near = two.ask(&[
        "order",
        "r",
        "al",
        "refs/heads/main",
        "--token-file",
        file.to_str().unwrap(),
    ]);
    let said = String::from_utf8_lossy(&near.stderr).into_owned();
    assert!(said.contains("did you mean 'all'"), "{said}");
}

#[test]
fn a_daemon_that_is_not_there_is_the_hosts_trouble() {
    let binary = Path::new(env!("CARGO_BIN_EXE_fallout"));
    let place = Place::own(binary);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    for (daemon, code) in [(url.as_str(), 3), ("ci.example.org", 2)] {
        let out = place
            .fallout(&["show", "--daemon", daemon])
            .output()
            .unwrap();
        assert_eq!(out.status.code(), Some(code), "{out:?}");
    }
}
