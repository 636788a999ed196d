//! What can be learnt of a guest that is silent, before it is ended.
//!
//! The kernel is asked on the console (sysrq, where the family has it), the emulator over QMP for
//! its status and the CPU's registers. Each may fail to answer; what came is better than nothing.

use std::time::Duration;

use serde_json::{Value, json};

use super::command::CONSOLE_ID;
use super::console::Console;
use super::family::{Family, Poke};
use super::qmp::Qmp;
use crate::host::text;

/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(2);
/// The kernel has said all it will when the console was quiet for so long.
const QUIET: Duration = Duration::from_millis(300);
/// Lines of registers that are kept.
const REGISTER_LINES: usize = 60;
const LINE_CHARS: usize = 160;

/// Asks kernel and emulator. The lines are sanitised and bounded.
pub(super) async fn take(
    family: &dyn Family,
    console: &mut Console,
    mut qmp: Option<&mut Qmp>,
) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(qmp) = qmp.as_deref_mut() {
        if let Ok(status) = qmp.command("query-status", &Value::Null, ANSWER).await {
            let word = status["status"].as_str().unwrap_or("unknown");
            lines.push(format!("emulator: {}", text::line(word.as_bytes(), 40)));
        }
        if let Ok(registers) = qmp.human("info registers", ANSWER).await {
            lines.extend(text::head(registers.as_bytes(), REGISTER_LINES, LINE_CHARS));
        }
    }
    for poke in family.pokes() {
        let keys = match poke {
            Poke::Keys(keys) => keys,
            Poke::Break(keys) => {
                let Some(qmp) = qmp.as_deref_mut() else {
                    continue;
                };
                let id = json!({ "id": CONSOLE_ID });
                if qmp
                    .command("chardev-send-break", &id, ANSWER)
                    .await
                    .is_err()
                {
                    continue;
                }
                keys
            }
        };
        console.type_keys(keys).await;
        console.settle(QUIET, ANSWER).await;
    }
    lines.extend(console.last_lines());
    lines
}
