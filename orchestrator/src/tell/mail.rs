//! Mails: a thread for each finding of a branch and rule. One mail when it comes, and again only when
//! it changes, is fixed, or is back.

use minijinja::{Environment, context};

use crate::model::telling::{Letter, MailTo, Outgoing, Thread};
use crate::model::{Finding, FindingKind, JobState, Key};

use super::{Happened, line, word};

/// Mails that one run makes at most; the rest share one.
const MAILS: usize = 20;

/// Characters of a subject.
const SUBJECT: usize = 120;

const OWN: [(&str, &str); 2] = [
    ("subject.txt", include_str!("templates/subject.txt")),
    ("body.txt", include_str!("templates/body.txt")),
];

/// The templates.
#[derive(Debug)]
pub struct Words(Environment<'static>);

impl Words {
    /// Our own, with those in their place that a user brings, by name. An error says what is wrong
    /// with one.
    pub fn new(theirs: &[(String, String)]) -> Result<Self, String> {
        if let Some((odd, _)) = theirs.iter().find(|(n, _)| OWN.iter().all(|(o, _)| o != n)) {
            let names = OWN.map(|(name, _)| name).join(" and ");
            return Err(format!("{odd}: no such template: there are {names}"));
        }
        let mut all = Environment::new();
        all.set_trim_blocks(true);
        all.set_lstrip_blocks(true);
        for (name, text) in OWN {
            let brought = theirs.iter().find(|(n, _)| n == name);
            let text = brought.map_or(text, |(_, text)| text).to_owned();
            all.add_template_owned(name, text)
                .map_err(|e| format!("{name}: {e:#}"))?;
        }
        let words = Self(all);
        // What is only wrong when it is used is found by using it.
        let sample = Finding::new(
            FindingKind::ArchOnly,
            crate::model::News::New,
            "suite",
            None,
            "a sentence".to_owned(),
        );
        let about = About {
            what: "new",
            finding: Some(&sample),
            sentence: "a sentence",
            was: "",
            more: &[],
        };
        let happened = sample_step();
        for (name, _) in OWN {
            words
                .fill(name, &happened, &about)
                .map_err(|e| format!("{name}: {e:#}"))?;
        }
        Ok(words)
    }

    fn fill(
        &self,
        name: &str,
        what: &Happened,
        about: &About<'_>,
    ) -> Result<String, minijinja::Error> {
        let change = &what.change;
        let branch = (change.reference.strip_prefix("refs/heads/")).unwrap_or(&change.reference);
        let commit: String = change.new.chars().take(12).collect();
        let tallies = |list: &[crate::model::PortTally]| -> Vec<minijinja::Value> {
            list.iter()
                .map(|t| {
                    let reason = t.reason.as_deref().map(|r| line(r, 300));
                    context! { port => t.port.as_str(), bad => t.bad, total => t.total, reason }
                })
                .collect()
        };
        let finding = about.finding.map(|f| {
            let evidence: Vec<String> = f.evidence.iter().map(|e| line(e, 300)).collect();
            context! {
                kind => word(&f.kind), news => word(&f.news), suite => f.suite,
                case => f.case.as_ref().map(|c| line(&c.to_string(), 200)),
                failing => tallies(&f.failing), passing => tallies(&f.passing), evidence,
            }
        });
        self.0.get_template(name)?.render(context! {
            what => about.what, sentence => about.sentence, was => about.was, more => about.more,
            finding, repository => change.repository, branch, commit, rule => what.rule,
            link => what.link(),
        })
    }
}

/// What one mail is about.
struct About<'a> {
    /// `new`, `changed`, `back`, `fixed`, `cause`, `more`.
    what: &'static str,
    finding: Option<&'a Finding>,
    sentence: &'a str,
    was: &'a str,
    more: &'a [String],
}

fn sample_step() -> Happened {
    Happened {
        seq: 0,
        job: 0,
        change: crate::model::ChangeSet {
            repository: "r".to_owned(),
            reference: "refs/heads/main".to_owned(),
            old: None,
            new: "0".repeat(40),
        },
        rule: "push".to_owned(),
        run: None,
        state: JobState::Done,
        note: String::new(),
        verdict: None,
        host_faults: 0,
        covered: Default::default(),
        base: None,
        authors: Vec::new(),
        search: None,
        found: None,
    }
}

/// Where threads of a step belong: one finding on two branches is told twice.
pub(crate) fn place(what: &Happened) -> String {
    let change = &what.change;
    format!("{} {} {}", change.repository, change.reference, what.rule)
}

/// The key of a finding's thread.
fn identity(place: &str, suite: &str, about: &str) -> String {
    let parts = [place.as_bytes(), suite.as_bytes(), about.as_bytes()];
    Key::of("thread", &parts).0
}

fn ports(finding: &Finding) -> Vec<String> {
    let mut ports: Vec<String> = finding.failing.iter().map(|t| t.port.0.clone()).collect();
    ports.sort();
    ports
}

/// What is worth another mail when it changes.
fn digest(finding: &Finding) -> String {
    format!("{} {}", word(&finding.kind), ports(finding).join(" "))
}

/// The mails of a finished run, and the threads as they are with them. `known` are the threads of
/// this [`place`]; `domain` is the sender's.
pub fn mails(
    what: &Happened,
    to: &MailTo,
    domain: &str,
    words: &Words,
    known: &[Thread],
) -> (Vec<Outgoing>, Vec<Thread>) {
    let Some(verdict) = what
        .verdict
        .as_ref()
        .filter(|_| what.state == JobState::Done)
    else {
        return (Vec::new(), Vec::new());
    };
    let mut desk = Desk::open(what, to, domain, words);
    let mut present = Vec::new();
    for finding in &verdict.findings {
        if finding.kind == FindingKind::Fixed {
            continue;
        }
        let key = identity(&desk.place, &finding.suite, &finding.about());
        let thread = known.iter().find(|t| t.key == key);
        // Two findings can be about one thing; the graver stands first.
        if present.contains(&key) {
            continue;
        }
        let told = match thread {
            None if finding.news == crate::model::News::Known => None,
            None => Some("new"),
            Some(t) if !t.open => Some("back"),
            Some(t) if t.digest != digest(finding) => Some("changed"),
            Some(_) => None,
        };
        if let Some(word) = told {
            desk.tell(word, &key, thread, Some(finding));
        }
        present.push(key);
    }
    for thread in known.iter().filter(|t| t.open && !present.contains(&t.key)) {
        // Only where it would have shown: a cell that said nothing has fixed nothing.
        let seen = |port: &String| what.covered.contains(&(thread.suite.clone(), port.clone()));
        if thread.ports.iter().all(seen) && !thread.ports.is_empty() {
            desk.tell("fixed", &thread.key, Some(thread), None);
        }
    }
    desk.end()
}

/// The mail that tells which commit brought a finding, in its thread: to whoever heard of it, and to the
/// commit's author. None where nobody was told of the finding, or it is fixed meanwhile.
pub fn cause(
    what: &Happened,
    to: &MailTo,
    domain: &str,
    words: &Words,
    known: &[Thread],
) -> (Vec<Outgoing>, Vec<Thread>) {
    let mut desk = Desk::open(what, to, domain, words);
    let Some(search) = what.search.as_ref().filter(|_| what.found.is_some()) else {
        return (Vec::new(), Vec::new());
    };
    let key = identity(&desk.place, &search.cell.suite, &search.about);
    if let Some(thread) = known.iter().find(|t| t.key == key && t.open) {
        let sentence = line(&what.note, 500);
        let (to, references) = desk.follow(thread);
        let id = desk.id(&key);
        desk.threads.push(Thread {
            last: id.clone(),
            to: to.clone(),
            ..thread.clone()
        });
        let about = About {
            what: "cause",
            finding: None,
            sentence: &sentence,
            was: &thread.sentence,
            more: &[],
        };
        let letter = Letter::Mail {
            to,
            subject: format!("Re: {}", thread.subject),
            body: desk.body(&about),
            references,
            id,
        };
        desk.put(&key, letter);
    }
    desk.end()
}

fn recipients(to: &MailTo, authors: &[String]) -> Vec<String> {
    let mut all = to.to.clone();
    if to.authors {
        all.extend(authors.iter().cloned());
    }
    all.sort();
    all.dedup();
    all
}

struct Desk<'a> {
    what: &'a Happened,
    words: &'a Words,
    domain: &'a str,
    place: String,
    to: Vec<String>,
    out: Vec<Outgoing>,
    threads: Vec<Thread>,
    /// Sentences that have no mail of their own.
    left: Vec<String>,
}

impl<'a> Desk<'a> {
    fn open(what: &'a Happened, to: &MailTo, domain: &'a str, words: &'a Words) -> Self {
        Self {
            what,
            words,
            domain,
            place: place(what),
            out: Vec::new(),
            threads: Vec::new(),
            left: Vec::new(),
            to: recipients(to, &what.authors),
        }
    }

    fn id(&self, key: &str) -> String {
        let seq = self.what.seq.to_string();
        let id = Key::of("mail", &[key.as_bytes(), seq.as_bytes()]);
        format!("<{}.{seq}@{}>", id.short(), self.domain)
    }

    /// Who hears of a thread that goes on, and what the next mail refers to.
    fn follow(&self, thread: &Thread) -> (Vec<String>, Vec<String>) {
        let mut to = self.to.clone();
        to.extend(thread.to.iter().cloned());
        to.sort();
        to.dedup();
        let mut references = vec![thread.root.clone(), thread.last.clone()];
        references.dedup();
        (to, references)
    }

    /// One mail in its thread.
    fn tell(
        &mut self,
        word: &'static str,
        key: &str,
        thread: Option<&Thread>,
        finding: Option<&Finding>,
    ) {
        let was = thread.map_or("", |t| t.sentence.as_str());
        let sentence = finding.map_or_else(|| was.to_owned(), |f| line(&f.sentence, 500));
        let (to, references) = match thread {
            Some(thread) => self.follow(thread),
            None => (self.to.clone(), Vec::new()),
        };
        if to.is_empty() {
            return;
        }
        let about = About {
            what: word,
            finding,
            sentence: &sentence,
            was,
            more: &[],
        };
        let id = self.id(key);
        let subject = match thread {
            Some(thread) => thread.subject.clone(),
            None => self.subject(&about),
        };
        let quiet = self.out.len() >= MAILS;
        let root = thread.map_or_else(|| id.clone(), |t| t.root.clone());
        self.threads.push(Thread {
            key: key.to_owned(),
            root: root.clone(),
            subject: subject.clone(),
            last: id.clone(),
            digest: finding.map_or_else(String::new, digest),
            sentence: sentence.clone(),
            open: finding.is_some(),
            suite: finding.map_or_else(
                || thread.map_or_else(String::new, |t| t.suite.clone()),
                |f| f.suite.clone(),
            ),
            ports: finding.map_or_else(|| thread.map_or_else(Vec::new, |t| t.ports.clone()), ports),
            to: to.clone(),
        });
        if quiet {
            self.left.push(format!("{word}: {sentence}"));
            return;
        }
        let letter = Letter::Mail {
            to,
            subject: match thread {
                Some(_) => format!("Re: {subject}"),
                None => subject,
            },
            body: self.body(&about),
            references,
            id,
        };
        self.put(key, letter);
    }

    fn put(&mut self, key: &str, letter: Letter) {
        self.out.push(Outgoing {
            key: format!("mail {} {key}", self.what.seq),
            lane: format!("mail {key}"),
            letter,
        });
    }

    fn subject(&self, about: &About<'_>) -> String {
        let said = self.words.fill("subject.txt", self.what, about);
        line(&said.unwrap_or_else(|_| about.sentence.to_owned()), SUBJECT)
    }

    fn body(&self, about: &About<'_>) -> String {
        let said = self.words.fill("body.txt", self.what, about);
        // The templates were tried; one that fails on this very finding must not cost the news.
        said.unwrap_or_else(|_| format!("{}: {}\n", about.what, about.sentence))
    }

    /// What had no place, in one mail.
    fn end(mut self) -> (Vec<Outgoing>, Vec<Thread>) {
        if !self.left.is_empty() {
            let left = std::mem::take(&mut self.left);
            let sentence = format!("{} further findings", left.len());
            let about = About {
                what: "more",
                finding: None,
                sentence: &sentence,
                was: "",
                more: &left,
            };
            let key = format!("more {}", self.place);
            let letter = Letter::Mail {
                to: self.to.clone(),
                subject: self.subject(&about),
                body: self.body(&about),
                id: self.id(&key),
                references: Vec::new(),
            };
            self.put(&key, letter);
        }
        (self.out, self.threads)
    }
}
