//! Text of two CPUs that write to one console at the same time, character by character.
//!
//! No word of such text is whole, so the recogniser's words do not find it. But both texts are there
//! in their order: where a debugger's prompt or a trace tells that something has happened, the few
//! lines before it are searched for a phrase whose characters are all there, in order and close
//! together. What a kernel died of is then often unreadable, that it died is not.

/// What is looked for, and the title that it gives.
const PHRASES: &[(&str, &str)] = &[
    ("Kernel panic - not syncing: ", "kernel panic"),
    (
        "panic: kernel diagnostic assertion ",
        "panic: kernel diagnostic assertion",
    ),
    ("fatal page fault in supervisor mode", "page fault"),
];
/// Short, so it needs the word of a debugger.
const SHORT: (&str, &str) = ("panic: ", "panic");

/// The characters of a phrase may be spread over so many times its length.
const SPREAD: usize = 4;
/// In a phrase that is woven into another text at least so many of its characters stand apart.
const GAPS: usize = 4;

/// True where `text` holds the characters of `phrase` in order, close together, but not as a whole.
fn holds(text: &[u8], phrase: &[u8]) -> bool {
    let starts = text.iter().enumerate().filter(|(_, b)| **b == phrase[0]);
    starts.map(|(at, _)| at).any(|at| {
        let window = &text[at..text.len().min(at + SPREAD * phrase.len())];
        let (mut matched, mut gaps, mut last) = (0, 0, 0);
        for (i, byte) in window.iter().enumerate() {
            if *byte == phrase[matched] {
                gaps += usize::from(i > last + 1);
                last = i;
                matched += 1;
                if matched == phrase.len() {
                    return gaps >= GAPS;
                }
            }
        }
        false
    })
}

/// The title of a panic that is woven into `lines`. `stopped` says that a debugger or a traceback
/// came right after them.
pub fn find(lines: &[String], stopped: bool) -> Option<&'static str> {
    // A break into the debugger comes from outside.
    if lines.iter().any(|l| l.contains("breakpoint")) {
        return None;
    }
    let text = lines.concat();
    let whole = PHRASES
        .iter()
        .find(|(phrase, _)| holds(text.as_bytes(), phrase.as_bytes()));
    let short = || (stopped && holds(text.as_bytes(), SHORT.0.as_bytes())).then_some(SHORT.1);
    whole.map(|(_, title)| *title).or_else(short)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn two_cpus_at_once() {
        let woven =
            lines("pcpaun1i:c B:e gkienr nterla cdeibaagcnko..s.tic assertion \"a == b\" failed\n");
        assert_eq!(
            find(&woven, true),
            Some("panic: kernel diagnostic assertion")
        );
        let one = "Kernel panic - not syncing: Fatal exception";
        let two = "CPU: 1 PID: 77 Comm: sh Not tainted 6.1.0-50";
        let mixed: String = one
            .chars()
            .zip(two.chars())
            .flat_map(|(a, b)| [a, b])
            .collect();
        assert_eq!(find(&[mixed], false), Some("kernel panic"));
    }

    #[test]
    fn whole_phrases_and_plain_text_are_not_woven() {
        for text in [
            "a test wrote: Kernel panic - not syncing: nothing",
            "Keep running: no error level pending, and nothing is syncing: fine",
            "panic: x\nok 1 - parses a nice line: yes",
        ] {
            assert_eq!(find(&lines(text), false), None, "{text}");
        }
        assert_eq!(find(&lines("p a n i c: fatal breakpoint trap"), true), None);
    }
}
