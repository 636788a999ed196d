//! What can be learnt of a guest that is silent or dead, before it is ended.
//!
//! Three are asked, each under a time limit: the emulator over QMP for its status and the CPU's
//! registers, a debugger in which the kernel has stopped, and the kernel itself on the console
//! (sysrq, where the family has it). Each may fail to answer; what came is better than nothing, and
//! every answer is a section of its own.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::command::CONSOLE_ID;
use super::console::Console;
use super::dialogue::{Debugger, Talk, Turn};
use super::family::{Family, Way};
use super::qmp::Qmp;
use crate::host::text;
use crate::model::Section;

/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(2);
/// The kernel has said all it will when the console was quiet for so long.
const QUIET: Duration = Duration::from_millis(300);
/// A talk with a debugger as a whole.
const TALK: Duration = Duration::from_secs(90);
/// Lines of a section that are kept.
const LINES: usize = 120;
const LINE_CHARS: usize = 160;

fn section(name: &str, lines: Vec<String>) -> Option<Section> {
    let name = name.to_owned();
    lines
        .iter()
        .any(|line| !line.is_empty())
        .then_some(Section { name, lines })
}

/// The emulator's status and the registers of the CPU.
async fn of_emulator(qmp: &mut Qmp, sections: &mut Vec<Section>) {
    if let Ok(status) = qmp.command("query-status", &Value::Null, ANSWER).await {
        let word = status["status"].as_str().unwrap_or("unknown");
        let word = text::line(word.as_bytes(), 40);
        sections.extend(section("emulator", vec![format!("status: {word}")]));
    }
    if let Ok(registers) = qmp.human("info registers", ANSWER).await {
        let lines = text::head(registers.as_bytes(), LINES, LINE_CHARS);
        sections.extend(section("cpu", lines));
    }
}

/// Asks emulator and kernel about a guest that fell silent. True where the kernel may have been
/// killed by the asking.
pub(super) async fn of_silent(
    family: &dyn Family,
    console: &mut Console,
    mut qmp: Option<&mut Qmp>,
) -> (Vec<Section>, bool) {
    let mut sections = Vec::new();
    sections.extend(section("console", console.last_lines()));
    if let Some(qmp) = qmp.as_deref_mut() {
        of_emulator(qmp, &mut sections).await;
    }
    if let Some(debugger) = family.debugger() {
        if let Some(qmp) = qmp.as_deref_mut() {
            send_break(qmp).await;
        }
        sections.extend(of_debugger(debugger, console).await);
        return (sections, true);
    }
    let Some(keys) = family.keys() else {
        return (sections, false);
    };
    for way in keys.ways {
        let first = type_key(way, keys.louder, keys.answers, console, qmp.as_deref_mut()).await;
        if !first.iter().any(|line| line.contains(keys.answers)) {
            continue;
        }
        for (name, key) in keys.questions {
            let answer = type_key(way, key, keys.answers, console, qmp.as_deref_mut()).await;
            // A key that this kernel does not have is answered by the list of those it has.
            let unknown = answer.iter().any(|line| line.contains(keys.unknown));
            sections.extend(section(name, answer).filter(|_| !unknown));
        }
        return (sections, false);
    }
    // It does not listen: where interrupts are off only this one is left, and it may kill.
    if let Some(qmp) = qmp {
        console.listen();
        if qmp
            .command("inject-nmi", &Value::Null, ANSWER)
            .await
            .is_ok()
        {
            console.settle(QUIET, ANSWER).await;
            sections.extend(section("nmi", lines(&console.heard())));
            return (sections, true);
        }
    }
    (sections, false)
}

/// Asks about a kernel that is dead and whose emulator still runs.
pub(super) async fn of_dead(
    family: &dyn Family,
    console: &mut Console,
    qmp: Option<&mut Qmp>,
) -> Vec<Section> {
    let mut sections = Vec::new();
    if let Some(debugger) = family.debugger() {
        sections.extend(of_debugger(debugger, console).await);
    }
    if let Some(qmp) = qmp {
        of_emulator(qmp, &mut sections).await;
    }
    sections
}

/// Goes through all questions. A debugger that is not there shows no prompt, which is asked for once.
async fn of_debugger(debugger: &'static Debugger, console: &mut Console) -> Vec<Section> {
    let mut talk = Talk::new(debugger);
    let end = Instant::now() + TALK;
    console.listen();
    // The prompt may stand there already.
    console.type_keys(b"\n").await;
    let mut deadline = Instant::now() + talk.limit();
    while talk.turn() != Turn::Done && Instant::now() < end {
        let Ok(open) = timeout_at(deadline.min(end), console.more()).await else {
            if talk.turn() == Turn::Waiting {
                break;
            }
            if let Some(keys) = talk.late() {
                console.type_keys(keys.as_bytes()).await;
            }
            deadline = Instant::now() + talk.limit();
            continue;
        };
        let bytes = console.heard();
        if let Some(keys) = talk.feed(&bytes) {
            console.type_keys(keys.as_bytes()).await;
            deadline = Instant::now() + talk.limit();
        }
        if !open {
            break;
        }
    }
    talk.sections()
}

async fn send_break(qmp: &mut Qmp) -> bool {
    let id = json!({ "id": CONSOLE_ID });
    qmp.command("chardev-send-break", &id, ANSWER).await.is_ok()
}

/// Types one key in one of the ways and gives what came of it. On a busy host the answer takes a
/// moment; a way that is never answered costs that moment.
async fn type_key(
    way: &Way,
    key: &str,
    answers: &str,
    console: &mut Console,
    qmp: Option<&mut Qmp>,
) -> Vec<String> {
    console.listen();
    if way.serial_break {
        let Some(qmp) = qmp else { return Vec::new() };
        if !send_break(qmp).await {
            return Vec::new();
        }
    }
    let keys = format!("{}{key}{}", way.before, way.after);
    console.type_keys(keys.as_bytes()).await;
    let mut heard = Vec::new();
    let deadline = Instant::now() + ANSWER;
    while !String::from_utf8_lossy(&heard).contains(answers)
        && timeout_at(deadline, console.more()).await == Ok(true)
    {
        heard.extend(console.heard());
    }
    console.settle(QUIET, ANSWER).await;
    heard.extend(console.heard());
    lines(&heard)
}

fn lines(heard: &[u8]) -> Vec<String> {
    text::head(heard, LINES, LINE_CHARS)
}
