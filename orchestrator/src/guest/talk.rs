//! Carries a [`Script`] over a console: waits, types, and says where it failed.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::console::Console;
use super::script::{Keys, Script, Stand};
use crate::model::script::Step;

/// Why a talk did not come to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{step}: {why}{}", shown(.screen))]
pub struct TalkError {
    /// The step.
    pub step: String,
    /// What it waited for and how long, or what it saw.
    pub why: String,
    /// The last screen, as a person at the terminal would have seen it.
    pub screen: Vec<String>,
}

fn shown(screen: &[String]) -> String {
    let first = screen.iter().position(|line| !line.is_empty());
    match first.and_then(|n| screen.get(n..)) {
        None => "; nothing was on the console".to_owned(),
        Some(lines) => format!("; the screen:\n{}", lines.join("\n")),
    }
}

/// Talks until the script is through, on a console that somebody listens to already: what came before is
/// a part of the talk. `tell` hears of each step that begins.
pub async fn talk(
    console: &mut Console,
    steps: &[Step],
    tell: &mut (dyn FnMut(&str) + Send),
) -> Result<(), TalkError> {
    let mut script = Script::new(steps);
    let mut at = usize::MAX;
    let mut until = Instant::now();
    loop {
        match script.stand().clone() {
            Stand::Done => return Ok(()),
            Stand::Failed(n, said) => {
                return Err(TalkError {
                    step: name(steps, n),
                    why: format!("the console says '{said}'"),
                    screen: console.screen(),
                });
            }
            Stand::At(n) if n != at => {
                at = n;
                let step = &steps[n];
                until = Instant::now() + step.limit;
                tell(&step.name);
            }
            Stand::At(_) => {}
        }
        let more = timeout_at(until, console.more()).await;
        let heard = console.heard();
        let mut keys = script.feed(&heard);
        while let Some(one) = keys {
            type_in(console, steps, &one).await;
            keys = script.more();
        }
        let is_waiting = matches!(script.stand(), Stand::At(n) if *n == at);
        let limit = steps.get(at).map_or(Duration::ZERO, |s| s.limit);
        let waits_for = script.waits_for();
        let why = match more {
            Err(_) if is_waiting => {
                format!("{waits_for} did not come within {} s", limit.as_secs_f64())
            }
            Ok(false) if is_waiting && heard.is_empty() => {
                format!("the emulator ended while {waits_for} was waited for")
            }
            _ => continue,
        };
        return Err(TalkError {
            step: name(steps, at),
            why,
            screen: console.screen(),
        });
    }
}

fn name(steps: &[Step], n: usize) -> String {
    steps.get(n).map_or_else(String::new, |s| s.name.clone())
}

/// Types as a person does: consoles lose what comes faster than they read.
async fn type_in(console: &Console, steps: &[Step], keys: &Keys) {
    let pace = steps.get(keys.step).map_or(Duration::ZERO, |s| s.pace);
    let mut buffer = [0; 4];
    for key in keys.text.chars() {
        console
            .type_keys(key.encode_utf8(&mut buffer).as_bytes())
            .await;
        tokio::time::sleep(pace).await;
    }
}

#[cfg(test)]
mod tests;
