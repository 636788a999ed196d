//! A scripted talk with a console: pure.
//!
//! ```text
//!   At(0) ──seen──▶ At(1) ──seen──▶ … ──▶ Done
//!    │  ▲            │
//!    │  └─stay       ├──late──▶ Failed (whoever holds the clock says so)
//!    └───────────────┴──a text that means failure──▶ Failed
//! ```
//!
//! What is waited for and typed is data ([`Step`]). Texts are looked for in what came since the last
//! match, without escapes and with runs of blanks taken as one: a menu that is painted by moving the
//! cursor reads as one that is printed. What is typed is never looked for: its echo comes back in pieces.
//! It knows no clock and no console; [`super::talk`] does.

use crate::host::text::{self, Stripper};
use crate::model::script::{Reaction, Step, Then};

/// What is kept of what came since the last match.
const HEARD_BYTES: usize = 64 << 10;

/// Where a talk stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stand {
    /// In this step.
    At(usize),
    /// Through.
    Done,
    /// In this step a text was seen that means failure.
    Failed(usize, String),
}

/// A talk under way.
#[derive(Debug)]
pub struct Script<'a> {
    steps: &'a [Step],
    stand: Stand,
    stripper: Stripper,
    heard: Vec<u8>,
}

/// What is to be typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    /// The bytes.
    pub text: String,
    /// The step that types them.
    pub step: usize,
}

impl<'a> Script<'a> {
    /// A talk that has not begun.
    pub fn new(steps: &'a [Step]) -> Self {
        Self {
            steps,
            stand: match steps.is_empty() {
                true => Stand::Done,
                false => Stand::At(0),
            },
            stripper: Stripper::default(),
            heard: Vec::new(),
        }
    }

    /// Where it stands.
    pub fn stand(&self) -> &Stand {
        &self.stand
    }

    /// The step that waits.
    pub fn step(&self) -> Option<&'a Step> {
        match self.stand {
            Stand::At(n) => self.steps.get(n),
            _ => None,
        }
    }

    /// What the step waits for, for people: `'login: ' or '# '`.
    pub fn waits_for(&self) -> String {
        let texts = self
            .step()
            .map(|s| s.on.iter().filter(|r| r.then != Then::Fail));
        let texts: Vec<String> = texts
            .into_iter()
            .flatten()
            .map(|r| format!("'{}'", r.see))
            .collect();
        texts.join(" or ")
    }

    /// Takes what came, cut anywhere, and gives what is to be typed now. After each answer what is
    /// left is looked at again with [`Self::more`], because a prompt can come together with a text.
    pub fn feed(&mut self, bytes: &[u8]) -> Option<Keys> {
        let mut clean = Vec::new();
        self.stripper.feed(bytes, &mut clean);
        for b in clean {
            // Curses pads with blanks what a terminal would get by moving the cursor.
            let blank = matches!(b, b' ' | b'\t');
            if !(blank && self.heard.last() == Some(&b' ')) {
                self.heard.push(if blank { b' ' } else { b });
            }
        }
        if self.heard.len() > HEARD_BYTES {
            let gone = self.heard.len() - HEARD_BYTES / 2;
            self.heard.drain(..gone);
        }
        self.more()
    }

    /// Looks at what has come already.
    pub fn more(&mut self) -> Option<Keys> {
        loop {
            let Stand::At(n) = self.stand else {
                return None;
            };
            let step = self.steps.get(n)?;
            let seen = step
                .on
                .iter()
                .filter_map(|r| Some((find(&self.heard, r)?, r)));
            let ((start, end), reaction) = seen.min_by_key(|((start, end), _)| (*end, *start))?;
            let letter = letter(&self.heard[start..end], &reaction.see);
            self.heard.drain(..end);
            match reaction.then {
                Then::Stay => {}
                Then::Next if n + 1 < self.steps.len() => self.stand = Stand::At(n + 1),
                Then::Next => self.stand = Stand::Done,
                Then::Fail => {
                    let rest = self.heard.split(|b| *b == b'\n').next().unwrap_or_default();
                    let said = format!("{}{}", reaction.see, String::from_utf8_lossy(rest));
                    self.stand = Stand::Failed(n, text::line(said.as_bytes(), 200));
                    return None;
                }
            }
            if !reaction.keys.is_empty() {
                let text = match letter {
                    Some(letter) => reaction.keys.replace('?', &char::from(letter).to_string()),
                    None => reaction.keys.clone(),
                };
                return Some(Keys { text, step: n });
            }
        }
    }
}

/// Where the text stands: first byte, and the one behind it.
fn find(heard: &[u8], reaction: &Reaction) -> Option<(usize, usize)> {
    let wanted = reaction.see.as_bytes();
    let fits = |window: &[u8]| {
        window
            .iter()
            .zip(wanted)
            .all(|(h, w)| *w == b'?' && *h > b' ' || h == w)
    };
    let at = match reaction.last {
        true => {
            let at = heard.len().checked_sub(wanted.len())?;
            fits(&heard[at..]).then_some(at)?
        }
        false => heard.windows(wanted.len()).position(fits)?,
    };
    Some((at, at + wanted.len()))
}

fn letter(found: &[u8], see: &str) -> Option<u8> {
    found.get(see.bytes().position(|b| b == b'?')?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn steps() -> Vec<Step> {
        let text = r##"
- name: the language
  limit: 60s
  on:
    - {see: "Terminal type", keys: "vt100\n", then: stay}
    - {see: "(S)hell", keys: "s\n"}
    - {see: "Installation messages in English", keys: "\n"}
    - {see: "panic: ", then: fail}
- name: the way out of the menu
  limit: 60s
  on:
    - {see: "?: Exit Install System", keys: "?\n"}
- name: a prompt
  limit: 5s
  on:
    - {see: "# ", last: true, keys: "sh /mnt/install\n"}
"##;
        serde_yaml::from_str(text).unwrap()
    }

    fn play(pieces: &[&str]) -> (Vec<String>, Stand) {
        let steps = steps();
        let mut script = Script::new(&steps);
        let mut typed = Vec::new();
        for piece in pieces {
            let mut keys = script.feed(piece.as_bytes());
            while let Some(one) = keys {
                typed.push(one.text);
                keys = script.more();
            }
        }
        let stand = script.stand().clone();
        (typed, stand)
    }

    #[test]
    fn a_menu_is_left_by_the_letter_that_it_shows() {
        let (typed, stand) = play(&[
            "Terminal type? [vt100] ",
            "\x1b[2J\x1b[5;10H>a: Installation mess",
            "ages in English\x1b[6;10H b: Installation auf Deutsch",
            "\x1b[H NetBSD-6.99 # Install System\x1b[9;3H e:\x1b[9;6H  Utility menu\x1b[10;3H x:",
            "   Exit Install System",
            "\x1b[H\x1b[Jcomment # in a line\r\n# ",
        ]);
        assert_eq!(typed, ["vt100\n", "\n", "x\n", "sh /mnt/install\n"]);
        assert_eq!(stand, Stand::Done);
    }

    #[test]
    fn a_text_that_means_failure_ends_the_talk() {
        let (typed, stand) = play(&[
            "boot\r\npanic: no console\r\nmore",
            "a: Installation messages in English",
        ]);
        assert_eq!(typed, Vec::<String>::new());
        // What stood behind it in the same line had come already.
        assert_eq!(stand, Stand::Failed(0, "panic: no console".to_owned()));
        let steps = steps();
        let script = Script::new(&steps);
        assert_eq!(
            script.waits_for(),
            "'Terminal type' or '(S)hell' or 'Installation messages in English'"
        );
    }

    proptest! {
        #[test]
        fn where_the_bytes_are_cut_does_not_matter(cuts in prop::collection::vec(1_usize..9, 1..80)) {
            let all = "Terminal type? x\x1b[2J\x1b[5;10Ha: Installation messages in English\r\n\x1b[9;3Hx:  Exit Install System\r\n# ";
            let mut rest = all;
            let mut pieces = Vec::new();
            for cut in cuts {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            pieces.push(rest);
            let (typed, stand) = play(&pieces);
            prop_assert_eq!(typed, ["vt100\n", "\n", "x\n", "sh /mnt/install\n"]);
            prop_assert_eq!(stand, Stand::Done);
        }

        #[test]
        fn any_console_is_borne(bytes: Vec<u8>) {
            let steps = steps();
            let mut script = Script::new(&steps);
            let mut keys = script.feed(&bytes);
            while keys.is_some() {
                keys = script.more();
            }
        }
    }
}
