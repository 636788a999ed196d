//! A talk with a kernel's debugger on a serial console: pure.
//!
//! ```text
//!   Waiting ──prompt──▶ Asking(n) ──prompt──▶ Asking(n+1) … ──prompt──▶ Done
//!                          │  ▲
//!                          └──┘ pager: the answer goes on
//! ```
//!
//! What is asked is data ([`Debugger`]); the bytes come from whoever holds the console, and what
//! [`Talk::feed`] gives back is typed there. A question that is not answered in its time is passed
//! over by [`Talk::late`]. Of questions with one name the later ones are asked where the earlier got
//! no answer. It knows no clock and no console.

use std::time::Duration;

use crate::host::text;
use crate::model::Section;

/// Lines and characters of an answer that are kept.
const ANSWER_LINES: usize = 200;
const LINE_CHARS: usize = 160;
/// Bytes of an answer that are read; a list of processes has some kilobytes.
const ANSWER_BYTES: usize = 64 << 10;

/// One thing to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// What its section is called; a question of a section that is there is not asked.
    pub name: &'static str,
    /// What is typed.
    pub command: &'static str,
    /// How long the answer may take.
    pub limit: Duration,
}

/// How a family's debugger is talked to.
#[derive(Debug, Clone, Copy)]
pub struct Debugger {
    /// Beginnings of its prompt, which ends in `> `.
    pub prompts: &'static [&'static str],
    /// What it writes when its page is full.
    pub pager: &'static str,
    /// What is typed then: one page more. Anything else would be taken as an answer.
    pub more: &'static str,
    /// What is asked, in this order.
    pub questions: &'static [Question],
    /// What ends the kernel; no answer is waited for.
    pub leave: &'static str,
}

/// Where a talk stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// The debugger has not shown its prompt yet.
    Waiting,
    /// This question was asked.
    Asking(usize),
    /// Everything was asked, and the debugger was told to go.
    Done,
}

/// A talk under way.
#[derive(Debug)]
pub struct Talk {
    debugger: &'static Debugger,
    turn: Turn,
    /// What came since the last question.
    heard: Vec<u8>,
    /// Up to here the pager was answered.
    paged: usize,
    sections: Vec<Section>,
}

impl Talk {
    /// A talk that has not begun.
    pub fn new(debugger: &'static Debugger) -> Self {
        Self {
            debugger,
            turn: Turn::Waiting,
            heard: Vec::new(),
            paged: 0,
            sections: Vec::new(),
        }
    }

    /// Where it stands.
    pub fn turn(&self) -> Turn {
        self.turn
    }

    /// How long may be waited for what comes next.
    pub fn limit(&self) -> Duration {
        let question = match self.turn {
            Turn::Asking(n) => self.debugger.questions.get(n),
            Turn::Waiting | Turn::Done => None,
        };
        question.map_or(Duration::from_secs(2), |q| q.limit)
    }

    /// Takes what the debugger wrote, cut anywhere, and gives what is to be typed.
    pub fn feed(&mut self, bytes: &[u8]) -> Option<String> {
        if self.turn == Turn::Done {
            return None;
        }
        let room = ANSWER_BYTES.saturating_sub(self.heard.len());
        if room == 0 {
            // An answer without an end: its beginning is kept, its prompt is looked for.
            let half = self.heard.len() / 2;
            self.heard.drain(half..);
            self.paged = self.paged.min(half);
        }
        let pager = self.debugger.pager.as_bytes();
        let seen = self.heard.len().saturating_sub(pager.len());
        self.heard.extend_from_slice(bytes);
        let from = self.paged.max(seen);
        let fresh = &self.heard[from..];
        if let Some(at) = fresh.windows(pager.len()).position(|w| w == pager) {
            self.paged = from + at + pager.len();
            return Some(self.debugger.more.to_owned());
        }
        self.at_prompt().then(|| self.next())
    }

    /// The time for the answer is over: what came of it is kept, and the next question is asked.
    pub fn late(&mut self) -> Option<String> {
        (self.turn != Turn::Done).then(|| self.next())
    }

    /// True where the last line is a prompt with nothing behind it.
    fn at_prompt(&self) -> bool {
        let last = self.heard.rsplit(|&b| matches!(b, b'\n' | b'\r')).next();
        let last = text::line(last.unwrap_or_default(), LINE_CHARS);
        last.ends_with('>') && self.debugger.prompts.iter().any(|p| last.starts_with(p))
    }

    fn next(&mut self) -> String {
        self.keep();
        let from = match self.turn {
            Turn::Waiting => 0,
            Turn::Asking(n) => n + 1,
            Turn::Done => usize::MAX,
        };
        self.heard.clear();
        self.paged = 0;
        let is_open = |q: &Question| self.sections.iter().all(|s| s.name != q.name);
        let mut left = self.debugger.questions.iter().enumerate().skip(from);
        match left.find(|(_, q)| is_open(q)) {
            Some((n, question)) => {
                self.turn = Turn::Asking(n);
                format!("{}\n", question.command)
            }
            None => {
                self.turn = Turn::Done;
                format!("{}\n", self.debugger.leave)
            }
        }
    }

    /// Makes a section of what was heard: without the echo, the pager, and the prompt.
    fn keep(&mut self) {
        let Turn::Asking(n) = self.turn else { return };
        let Some(question) = self.debugger.questions.get(n) else {
            return;
        };
        let heard = String::from_utf8_lossy(&self.heard).replace(self.debugger.pager, "");
        // The pager is wiped out by a carriage return and blanks.
        let shown = heard
            .split('\n')
            .map(|line| line.trim_end_matches('\r').rsplit('\r').next());
        let heard: Vec<&str> = shown.flatten().collect();
        let heard = heard.join("\n");
        let mut lines = text::head(heard.as_bytes(), ANSWER_LINES + 1, LINE_CHARS);
        if lines.first().is_some_and(|l| l.contains(question.command)) {
            lines.remove(0);
        }
        if lines
            .last()
            .is_some_and(|l| self.debugger.prompts.iter().any(|p| l.starts_with(p)))
        {
            lines.pop();
        }
        lines.truncate(ANSWER_LINES);
        for line in &mut lines {
            line.truncate(line.trim_end().len());
        }
        if lines.iter().any(|line| !line.is_empty()) {
            self.sections.push(Section {
                name: question.name.to_owned(),
                lines,
            });
        }
    }

    /// The answers so far.
    pub fn sections(mut self) -> Vec<Section> {
        self.keep();
        self.sections
    }
}

#[cfg(test)]
mod tests {
    use super::super::bsd::DDB;
    use super::*;
    use std::path::Path;

    /// Plays a recorded console to a talk: whatever is typed, the recording answers in its order.
    fn replay(file: &str) -> Vec<Section> {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/consoles");
        let bytes = std::fs::read(dir.join(file)).unwrap();
        let mut talk = Talk::new(&DDB);
        // From the prompt at which something was asked: an empty line may be before it.
        let asked = b"db{0}> bt";
        let from = bytes.windows(asked.len()).position(|w| w == asked);
        let from = from.unwrap();
        for bytes in bytes[from..].chunks(1) {
            talk.feed(bytes);
        }
        talk.sections()
    }

    #[test]
    fn a_recorded_debugger_gives_its_sections() {
        let all = replay("netbsd-6.99.16-amd64.panic2.console");
        assert_eq!(all[0].name, "bt");
        assert_eq!(
            all[0].lines[0],
            "nbnull_modcmd() at nbnull:nbnull_modcmd+0x8"
        );
        assert!(all[0].lines.iter().any(|l| l.contains("sys_modctl")));
        let registers = all.iter().find(|s| s.name == "registers").unwrap();
        assert!(
            registers
                .lines
                .iter()
                .any(|l| l.contains("nbnull_modcmd+0x8"))
        );
        assert!(registers.lines.iter().all(|l| !l.contains("db{0}>")));
    }

    /// On sparc64 the plain backtrace has nothing.
    #[test]
    fn a_recorded_debugger_is_asked_for_its_backtrace_again() {
        let all = replay("netbsd-6.99.16-sparc64.panic-ufs.console");
        assert_eq!(all[0].name, "bt");
        assert!(all[0].lines[0].ends_with(" at netbsd:kern_assert+0x34"));
        assert!(all[0].lines.iter().any(|l| l.starts_with("ufs_create(")));
        let names: Vec<&str> = all.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["bt", "registers", "ps", "locks", "memory"]);
    }

    /// A debugger with a pager that takes everything that is typed for an answer to it.
    struct Fake {
        left: Vec<String>,
        said: Vec<String>,
    }

    impl Fake {
        fn answer(&mut self, typed: &str) -> String {
            self.said.push(typed.to_owned());
            if typed != " " {
                let command = typed.trim_end();
                let mut out = format!("{command}\r\n");
                if command == "ps" {
                    self.left = (0..5).map(|i| format!("page {i}\r\n")).collect();
                } else {
                    out += &format!("answer to {command}\r\n");
                }
                if self.left.is_empty() {
                    return out + "db{0}> ";
                }
                return out + &self.left.remove(0) + "--db_more--";
            }
            if self.left.is_empty() {
                return "\r           \rdb{0}> ".to_owned();
            }
            let page = self.left.remove(0);
            format!("\r           \r{page}--db_more--")
        }
    }

    #[test]
    fn pages_are_turned_and_every_question_is_asked() {
        let mut fake = Fake {
            left: Vec::new(),
            said: Vec::new(),
        };
        let mut talk = Talk::new(&DDB);
        let mut typed = talk.feed(b"Stopped in pid 1.1 (init) at netbsd:x+0x5:  leave\r\ndb{0}> ");
        while let Some(keys) = typed {
            if talk.turn() == Turn::Done {
                assert_eq!(keys, format!("{}\n", DDB.leave));
                break;
            }
            let answer = fake.answer(&keys);
            typed = talk.feed(answer.as_bytes());
        }
        assert_eq!(talk.turn(), Turn::Done);
        let sections = talk.sections();
        let names: Vec<&str> = sections.iter().map(|s| s.name.as_str()).collect();
        let asked: Vec<&str> = first_ways().iter().map(|q| q.name).collect();
        assert_eq!(names, asked);
        let ps = sections.iter().find(|s| s.name == "ps").unwrap();
        assert_eq!(ps.lines, ["page 0", "page 1", "page 2", "page 3", "page 4"]);
        assert_eq!(fake.said.iter().filter(|s| *s == " ").count(), 5);
    }

    #[test]
    fn a_question_without_an_answer_is_asked_in_another_way() {
        let mut talk = Talk::new(&DDB);
        let asked = |talk: &mut Talk, said: &str| talk.feed(format!("{said}db{{0}}> ").as_bytes());
        assert_eq!(asked(&mut talk, "").as_deref(), Some("bt\n"));
        assert_eq!(asked(&mut talk, "bt\r\n").as_deref(), Some("bt/u\n"));
        let answer = "bt/u\r\nvpanic(1, 2) at netbsd:vpanic+0x25c\r\n";
        assert_eq!(
            asked(&mut talk, answer).as_deref(),
            Some("show registers\n")
        );
        let bt = talk.sections().remove(0);
        assert_eq!((bt.name.as_str(), bt.lines.len()), ("bt", 1));
        // Where the first way had one, it is not.
        let mut talk = Talk::new(&DDB);
        asked(&mut talk, "");
        let next = asked(&mut talk, "bt\r\npanic() at netbsd:panic\r\n");
        assert_eq!(next.as_deref(), Some("show registers\n"));
    }

    /// What is asked where everything is answered.
    fn first_ways() -> Vec<&'static Question> {
        let mut all: Vec<&Question> = DDB.questions.iter().collect();
        all.dedup_by_key(|q| q.name);
        all
    }

    #[test]
    fn a_silent_debugger_is_passed_over() {
        let mut talk = Talk::new(&DDB);
        assert_eq!(talk.feed(b"no prompt yet"), None);
        for question in first_ways() {
            assert_eq!(talk.late(), Some(format!("{}\n", question.command)));
            assert_eq!(talk.limit(), question.limit);
            assert_eq!(talk.feed(b"half an answer\r\n"), None);
        }
        assert_eq!(talk.late(), Some(format!("{}\n", DDB.leave)));
        assert_eq!(talk.late(), None);
        assert_eq!(talk.sections().len(), first_ways().len());
    }

    #[test]
    fn an_endless_answer_is_bounded() {
        let mut talk = Talk::new(&DDB);
        talk.feed(b"db> ");
        for _ in 0..40_000 {
            talk.feed(b"line of an answer\r\n");
        }
        assert!(talk.feed(b"db> ").is_some());
        assert_eq!(talk.sections()[0].lines.len(), ANSWER_LINES);
    }
}
