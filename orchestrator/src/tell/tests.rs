//! What is told, when, and when not.

use crate::model::telling::{CommitState, HookOut, Letter, MailTo, Thread};
use crate::model::{CaseId, ChangeSet, Finding, FindingKind, JobState, News, PortTally, Verdict};

use super::*;

fn finding(kind: FindingKind, news: News, case: &str, ports: &[&str]) -> Finding {
    let sentence = format!("`t:{case}` fails on {}\u{1b}[31m", ports.join(", "));
    let case = CaseId::new("t", case);
    let mut one = Finding::new(kind, news, "suite", Some(case), sentence);
    one.failing = ports
        .iter()
        .map(|p| PortTally {
            port: (*p).into(),
            bad: 3,
            total: 3,
            outcome: "failed".into(),
            reason: Some("1 != 2\nBcc: x".into()),
        })
        .collect();
    one
}

fn step(seq: i64, state: JobState, findings: Vec<Finding>) -> Happened {
    let verdict = Verdict {
        findings,
        ..Verdict::default()
    };
    Happened {
        seq,
        job: 7,
        change: ChangeSet {
            repository: "portable".into(),
            reference: "refs/heads/main".into(),
            old: None,
            new: "abcdef0123456789".into(),
        },
        rule: "push".into(),
        run: Some("run".into()),
        state,
        note: "why".into(),
        verdict: (state == JobState::Done).then_some(verdict),
        host_faults: 0,
        covered: ["a", "b"]
            .map(|p| ("suite".to_owned(), p.to_owned()))
            .into(),
        base: Some("https://ci.example.org".into()),
        authors: vec!["author@example.org".into()],
        search: None,
        found: None,
    }
}

fn state_of(what: &Happened) -> Option<(CommitState, String)> {
    match status(what)?.letter {
        Letter::Status {
            state, description, ..
        } => Some((state, description)),
        _ => None,
    }
}

#[test]
fn the_state_of_a_commit_puts_the_blame_where_it_is() {
    use CommitState::{Error, Failure, Pending, Success};
    let bad = || finding(FindingKind::ArchOnly, News::New, "x", &["a"]);
    let known = || finding(FindingKind::ArchOnly, News::Known, "x", &["a"]);
    let state = |what: &Happened| state_of(what).map(|(state, _)| state);
    assert_eq!(state(&step(1, JobState::Queued, vec![])), None);
    assert_eq!(state(&step(1, JobState::Running, vec![])), Some(Pending));
    assert_eq!(
        state(&step(1, JobState::Done, vec![known()])),
        Some(Success)
    );
    assert_eq!(state(&step(1, JobState::Failed, vec![])), Some(Error));
    assert_eq!(state(&step(1, JobState::Cancelled, vec![])), Some(Error));
    let mut never = step(1, JobState::Cancelled, vec![]);
    never.run = None;
    assert_eq!(state(&never), None);
    let mut spoilt = step(1, JobState::Done, vec![known()]);
    spoilt.host_faults = 2;
    assert_eq!(state(&spoilt), Some(Error));
    spoilt.verdict = step(1, JobState::Done, vec![bad(), bad()]).verdict;
    let (state, said) = state_of(&spoilt).unwrap();
    assert_eq!(state, Failure);
    assert_eq!(said, "2 findings: `t:x` fails on a");
    spoilt.verdict = None;
    assert_eq!(state_of(&spoilt).unwrap().0, Error);
}

#[test]
fn a_webhook_tells_all_and_nothing_unclean() {
    let hook = HookOut {
        name: "chat".into(),
        url: "http://127.0.0.1/".into(),
        secret_file: "s".into(),
    };
    let bad = finding(FindingKind::ArchOnly, News::New, "x", &["a"]);
    let letters = hooks(&step(4, JobState::Done, vec![bad]), &[hook]);
    let Letter::Hook { body, .. } = &letters[0].letter else {
        panic!("{letters:?}");
    };
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["state"], "done");
    assert_eq!(body["clean"], false);
    assert_eq!(body["link"], "https://ci.example.org/runs/run");
    assert_eq!(body["findings"][0]["kind"], "arch_only");
    assert_eq!(body["findings"][0]["sentence"], "`t:x` fails on a");
}

/// A branch's runs, and what is known after each.
struct Branch {
    threads: Vec<Thread>,
    words: Words,
    seq: i64,
}

impl Branch {
    fn new() -> Self {
        Self {
            threads: vec![],
            words: Words::new(&[]).unwrap(),
            seq: 0,
        }
    }

    fn run(&mut self, change: impl FnOnce(&mut Happened), findings: Vec<Finding>) -> Vec<Letter> {
        self.seq += 1;
        let mut what = step(self.seq, JobState::Done, findings);
        change(&mut what);
        let to = MailTo {
            to: vec!["list@example.org".into()],
            authors: true,
        };
        let (letters, threads) = mails(&what, &to, "example.org", &self.words, &self.threads);
        for thread in threads {
            self.threads.retain(|t| t.key != thread.key);
            self.threads.push(thread);
        }
        letters.into_iter().map(|l| l.letter).collect()
    }
}

fn parts(letter: &Letter) -> (&str, &str, &str, &[String]) {
    match letter {
        Letter::Mail {
            subject,
            body,
            id,
            references,
            ..
        } => (subject, body, id, references),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_finding_is_told_once_when_it_changes_when_it_is_fixed_and_when_it_is_back() {
    let mut branch = Branch::new();
    let one = |news, ports: &[&str]| finding(FindingKind::ArchOnly, news, "x", ports);
    let first = branch.run(|_| {}, vec![one(News::New, &["a"])]);
    assert_eq!(first.len(), 1);
    let (subject, body, root, references) = parts(&first[0]);
    assert_eq!(subject, "[portable main] t:x (arch_only)");
    assert!(references.is_empty());
    assert_eq!(
        body,
        "`t:x` fails on a\n\n  a: 3 of 3 failed: 1 != 2 Bcc: x\n\n\
         portable main abcdef012345, rule push\nhttps://ci.example.org/runs/run\n"
    );
    let Letter::Mail { to, .. } = &first[0] else {
        panic!()
    };
    assert_eq!(to, &["author@example.org", "list@example.org"]);

    // Known to the next baseline, still there: no news.
    assert!(
        branch
            .run(|_| {}, vec![one(News::Known, &["a"])])
            .is_empty()
    );
    let changed = branch.run(|_| {}, vec![one(News::New, &["a", "b"])]);
    let (subject, body, second, references) = parts(&changed[0]);
    assert_eq!(subject, "Re: [portable main] t:x (arch_only)");
    assert_eq!(references, [root]);
    assert!(
        body.contains("It has changed") && body.contains("It was:"),
        "{body}"
    );

    // Gone, but a port where it failed said nothing: nobody knows.
    let silent = |what: &mut Happened| what.covered.retain(|(_, port)| port == "a");
    assert!(branch.run(silent, vec![]).is_empty());
    let other = |what: &mut Happened| what.authors = vec!["other@example.org".into()];
    let fixed = branch.run(other, vec![]);
    let (subject, body, third, references) = parts(&fixed[0]);
    assert_eq!(subject, "Re: [portable main] t:x (arch_only)");
    assert_eq!(references, [root, second]);
    assert!(body.starts_with("Fixed with abcdef012345"), "{body}");
    let Letter::Mail { to, .. } = &fixed[0] else {
        panic!()
    };
    assert_eq!(to.len(), 3, "who heard of it hears of its end");
    assert!(branch.run(|_| {}, vec![]).is_empty());

    let back = branch.run(|_| {}, vec![one(News::New, &["a"])]);
    let (_, body, _, references) = parts(&back[0]);
    assert_eq!(references, [root, third]);
    assert!(body.starts_with("It is back"), "{body}");
}

#[test]
fn the_commit_that_brought_it_is_told_in_the_thread_and_to_its_author() {
    let mut branch = Branch::new();
    let bad = || finding(FindingKind::ArchOnly, News::New, "x", &["a"]);
    let first = branch.run(|_| {}, vec![bad()]);
    let root = parts(&first[0]).2.to_owned();
    let found = |about: &str, commit: Option<&str>| {
        let mut what = step(9, JobState::Done, vec![]);
        what.verdict = None;
        what.note = "t:x on a came in with mend it (abc) (probability 99.0%)".into();
        what.authors = vec!["culprit@example.org".into()];
        what.search = Some(Search {
            run: "run".into(),
            cell: "suite/a/stock/candidate".parse().unwrap(),
            case: Some(CaseId::new("t", "x")),
            about: about.into(),
            sentence: "s".into(),
        });
        what.found = commit.map(str::to_owned);
        what
    };
    let to = MailTo {
        to: vec!["list@example.org".into()],
        authors: false,
    };
    let told = |branch: &Branch, what: &Happened, to: &MailTo| {
        cause(what, to, "example.org", &branch.words, &branch.threads)
    };
    let everybody = MailTo {
        authors: true,
        ..to.clone()
    };
    let (letters, threads) = told(&branch, &found("t:x", Some("abc")), &everybody);
    assert_eq!((letters.len(), threads.len()), (1, 1));
    let (subject, body, id, references) = parts(&letters[0].letter);
    assert_eq!(subject, "Re: [portable main] t:x (arch_only)");
    assert_eq!(references, [root]);
    assert!(body.starts_with("t:x on a came in with mend it"), "{body}");
    assert!(body.contains("`t:x` fails on a"), "{body}");
    let Letter::Mail { to: all, .. } = &letters[0].letter else {
        panic!()
    };
    assert!(all.contains(&"culprit@example.org".to_owned()), "{all:?}");
    assert!(threads[0].open && threads[0].last == id);
    // Not found, never told, or fixed meanwhile: no mail.
    assert!(told(&branch, &found("t:x", None), &to).0.is_empty());
    assert!(told(&branch, &found("t:y", Some("abc")), &to).0.is_empty());
    branch.run(|_| {}, vec![]);
    assert!(told(&branch, &found("t:x", Some("abc")), &to).0.is_empty());
    // The commit's state is the run's.
    assert_eq!(state_of(&found("t:x", Some("abc"))), None);
}

#[test]
fn many_findings_share_a_mail_and_are_remembered_all_the_same() {
    let mut branch = Branch::new();
    let all = || {
        let one = |n: u32| finding(FindingKind::Regression, News::New, &format!("c{n}"), &["a"]);
        (0..50).map(one).collect::<Vec<_>>()
    };
    let first = branch.run(|_| {}, all());
    assert_eq!(first.len(), 21);
    assert!(parts(&first[20]).1.contains("30 further findings"));
    assert_eq!(branch.threads.len(), 50);
    assert!(branch.run(|_| {}, all()).is_empty());
    // What the baseline knows is nobody's news.
    let known = vec![finding(FindingKind::Regression, News::Known, "y", &["a"])];
    assert!(Branch::new().run(|_| {}, known).is_empty());
}

#[test]
fn templates_are_the_users_and_mistakes_in_them_are_told_at_once() {
    let own = |name: &str, text: &str| [(name.to_owned(), text.to_owned())];
    let words = Words::new(&own("subject.txt", "CI: {{ finding.case }}")).unwrap();
    let mut branch = Branch::new();
    branch.words = words;
    let bad = vec![finding(FindingKind::ArchOnly, News::New, "x", &["a"])];
    assert_eq!(parts(&branch.run(|_| {}, bad)[0]).0, "CI: t:x");
    for (name, text, part) in [
        ("subject.txt", "{{ x", "subject.txt"),
        ("body.txt", "{{ nothing.at.all }}", "body.txt"),
        ("boddy.txt", "x", "no such template"),
    ] {
        let why = Words::new(&own(name, text)).unwrap_err();
        assert!(why.contains(part), "{why}");
    }
}
