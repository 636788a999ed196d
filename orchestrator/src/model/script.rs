//! A dialogue with a console as data: what is waited for, what is typed then, how long it may take.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::problem::Problem;
use super::units::{de_duration, ser_duration};

/// One step of a dialogue. It ends with the first reaction whose text is seen and that goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// What it is called where it fails: "the installer's menu".
    pub name: String,
    /// How long it may take.
    #[serde(deserialize_with = "de_duration", serialize_with = "ser_duration")]
    pub limit: Duration,
    /// What may be seen. Of several that are there, the first one on the console counts.
    pub on: Vec<Reaction>,
    /// The pause between two keys, for consoles that lose what comes faster.
    #[serde(
        default = "pace",
        deserialize_with = "de_duration",
        serialize_with = "ser_duration"
    )]
    pub pace: Duration,
}

fn pace() -> Duration {
    Duration::from_millis(15)
}

/// What is done once a text is seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reaction {
    /// The text, without escapes. One `?` stands for any one character, and is what `?` in `keys`
    /// stands for: a menu's letter.
    pub see: String,
    /// It must be the last that is on the console: a prompt, and not a word in a sentence.
    #[serde(default)]
    pub last: bool,
    /// What is typed. `\n` is the return key.
    #[serde(default)]
    pub keys: String,
    /// What comes of it.
    #[serde(default)]
    pub then: Then,
}

/// What comes of a reaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Then {
    /// The next step.
    #[default]
    Next,
    /// The same step goes on, with the time that is left.
    Stay,
    /// The dialogue has failed.
    Fail,
}

/// What is wrong with a dialogue, by field below `at`.
pub fn check(at: &str, steps: &[Step]) -> Vec<Problem> {
    let mut found = Vec::new();
    for (n, step) in steps.iter().enumerate() {
        let here = |field: &str| format!("{at}[{n}].{field}");
        if step.limit.is_zero() {
            found.push(Problem::new(here("limit"), "is 0: expected a time to wait"));
        }
        if !step.on.iter().any(|r| r.then == Then::Next) {
            let message = "leads nowhere: expected one reaction that goes on to the next step";
            found.push(Problem::new(here("on"), message));
        }
        for (k, reaction) in step.on.iter().enumerate() {
            let here = |field: &str| format!("{at}[{n}].on[{k}].{field}");
            if reaction.see.chars().all(|c| c == '?' || c.is_whitespace()) {
                found.push(Problem::new(here("see"), "is empty: expected a text"));
            }
            if reaction.keys.contains('?') && !reaction.see.contains('?') {
                let message = "has a '?' and `see` has none that it could stand for";
                found.push(Problem::new(here("keys"), message));
            }
        }
    }
    found
}
