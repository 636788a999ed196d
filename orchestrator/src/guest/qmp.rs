//! A small client for the emulator's machine protocol: one JSON value a line.
//!
//! fallout asks little of it: why the guest ended, what a silent guest's registers hold, and a
//! break on the console. The guest runs without it, so nothing here is ever fatal: a command that
//! cannot be had is an error for the caller, who does without.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

/// The longest line that is taken: registers of a large machine are some tens of KiB.
const LINE_MAX: u64 = 1 << 20;

/// Why a command has no answer.
#[derive(Debug, thiserror::Error)]
pub enum QmpError {
    /// The emulator refused it.
    #[error("the emulator refused '{command}': {reason}")]
    Refused {
        /// The command.
        command: String,
        /// What it said.
        reason: String,
    },
    /// The connection ended, as it does when the emulator ends.
    #[error("the emulator closed its control socket")]
    Closed,
    /// No answer in time.
    #[error("no answer to '{command}' within {limit:?}")]
    Late {
        /// The command.
        command: String,
        /// How long was waited.
        limit: Duration,
    },
}

/// A line from the emulator.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// It introduces itself.
    Greeting,
    /// A command was done.
    Return {
        /// The id that came with the command.
        id: Option<u64>,
        /// The answer.
        value: Value,
    },
    /// A command was refused.
    Error {
        /// The id that came with the command.
        id: Option<u64>,
        /// Why.
        reason: String,
    },
    /// Something happened.
    Event {
        /// Which: `SHUTDOWN`, `RESET`, `GUEST_PANICKED`.
        name: String,
        /// More of it.
        data: Value,
    },
}

/// Reads one line. `None` for what is no message.
pub fn parse(line: &[u8]) -> Option<Message> {
    let value: Value = serde_json::from_slice(line).ok()?;
    let object = value.as_object()?;
    let id = object.get("id").and_then(Value::as_u64);
    if object.contains_key("QMP") {
        return Some(Message::Greeting);
    }
    if let Some(value) = object.get("return") {
        let value = value.clone();
        return Some(Message::Return { id, value });
    }
    if let Some(error) = object.get("error") {
        let reason = error.get("desc").and_then(Value::as_str);
        return Some(Message::Error {
            id,
            reason: reason.unwrap_or("no reason given").to_owned(),
        });
    }
    let name = object.get("event")?.as_str()?.to_owned();
    let data = object.get("data").cloned().unwrap_or(Value::Null);
    Some(Message::Event { name, data })
}

/// The line that asks for `command`.
pub fn request(id: u64, command: &str, arguments: &Value) -> Vec<u8> {
    let mut object = json!({ "execute": command, "id": id });
    if !arguments.is_null() {
        object["arguments"] = arguments.clone();
    }
    let mut line = object.to_string().into_bytes();
    line.push(b'\n');
    line
}

/// For a `SHUTDOWN` event that the guest caused: its reason (`guest-shutdown`, `guest-reset`,
/// `guest-panic`).
pub fn guest_shutdown(message: &Message) -> Option<String> {
    match message {
        Message::Event { name, data } if name == "SHUTDOWN" => data
            .get("guest")
            .and_then(Value::as_bool)
            .unwrap_or(false)
            .then(|| data.get("reason").and_then(Value::as_str))?
            .map(str::to_owned),
        _ => None,
    }
}

/// A connection whose greeting is done.
#[derive(Debug)]
pub struct Qmp {
    to: OwnedWriteHalf,
    answers: mpsc::Receiver<Message>,
    events: mpsc::Receiver<Message>,
    next_id: u64,
}

impl Qmp {
    /// Greets the emulator and starts to read. `None` where it does not answer as expected.
    pub async fn connect(stream: UnixStream) -> Option<Self> {
        let (from, to) = stream.into_split();
        let (answer_tx, answers) = mpsc::channel(16);
        let (event_tx, events) = mpsc::channel(64);
        tokio::spawn(read(from, answer_tx, event_tx));
        let mut qmp = Self {
            to,
            answers,
            events,
            next_id: 0,
        };
        let limit = Duration::from_secs(60);
        qmp.command("qmp_capabilities", &Value::Null, limit)
            .await
            .ok()?;
        Some(qmp)
    }

    /// Runs a command and waits for its answer.
    pub async fn command(
        &mut self,
        command: &str,
        arguments: &Value,
        limit: Duration,
    ) -> Result<Value, QmpError> {
        self.next_id += 1;
        let id = self.next_id;
        let line = request(id, command, arguments);
        let exchange = async {
            self.to
                .write_all(&line)
                .await
                .map_err(|_| QmpError::Closed)?;
            loop {
                match self.answers.recv().await {
                    Some(Message::Return { id: of, value }) if of == Some(id) => {
                        return Ok(value);
                    }
                    Some(Message::Error { id: of, reason }) if of == Some(id) => {
                        return Err(QmpError::Refused {
                            command: command.to_owned(),
                            reason,
                        });
                    }
                    // An answer to a command that was given up.
                    Some(_) => {}
                    None => return Err(QmpError::Closed),
                }
            }
        };
        tokio::time::timeout(limit, exchange)
            .await
            .unwrap_or_else(|_| {
                Err(QmpError::Late {
                    command: command.to_owned(),
                    limit,
                })
            })
    }

    /// Runs a command of the human monitor (`info registers`) and gives its text, untrusted.
    pub async fn human(&mut self, line: &str, limit: Duration) -> Result<String, QmpError> {
        let arguments = json!({ "command-line": line });
        let value = self
            .command("human-monitor-command", &arguments, limit)
            .await?;
        Ok(value.as_str().unwrap_or_default().to_owned())
    }

    /// The next event; `None` once the emulator has closed the connection.
    pub async fn event(&mut self) -> Option<Message> {
        self.events.recv().await
    }
}

async fn read(from: OwnedReadHalf, answers: mpsc::Sender<Message>, events: mpsc::Sender<Message>) {
    use tokio::io::AsyncReadExt as _;
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut from)
            .take(LINE_MAX)
            .read_until(b'\n', &mut line)
            .await
        {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        match parse(&line) {
            // Events are kept as long as somebody may ask; a flood of them is not worth memory.
            Some(event @ Message::Event { .. }) => drop(events.try_send(event)),
            Some(answer) => drop(answers.try_send(answer)),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_of_an_emulator() {
        assert_eq!(
            parse(br#"{"QMP": {"version": {}, "capabilities": ["oob"]}}"#),
            Some(Message::Greeting)
        );
        assert_eq!(
            parse(b"{\"return\": \"EAX=0\\r\\n\", \"id\": 7}\r\n"),
            Some(Message::Return {
                id: Some(7),
                value: json!("EAX=0\r\n")
            })
        );
        assert_eq!(
            parse(br#"{"id": 1, "error": {"class": "GenericError", "desc": "no"}}"#),
            Some(Message::Error {
                id: Some(1),
                reason: "no".to_owned()
            })
        );
        let down = br#"{"timestamp": {"seconds": 1}, "event": "SHUTDOWN",
            "data": {"guest": true, "reason": "guest-reset"}}"#;
        let event = parse(down).unwrap();
        assert_eq!(guest_shutdown(&event).as_deref(), Some("guest-reset"));
        let ours = parse(br#"{"event":"SHUTDOWN","data":{"guest":false,"reason":"host-signal"}}"#);
        assert_eq!(guest_shutdown(&ours.unwrap()), None);
    }

    #[test]
    fn requests_are_one_line() {
        let line = request(3, "x", &json!({ "a": "b\nc" }));
        assert_eq!(line.iter().filter(|&&b| b == b'\n').count(), 1);
        let back: Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(back["arguments"]["a"], "b\nc");
        assert_eq!(
            request(1, "quit", &Value::Null),
            b"{\"execute\":\"quit\",\"id\":1}\n"
        );
    }

    proptest! {
        #[test]
        fn parse_never_panics(line: Vec<u8>) {
            let _ = parse(&line);
        }

        #[test]
        fn events_come_back(name in "[A-Z_]{1,20}", text: String) {
            let line = json!({ "event": name, "data": { "x": text } }).to_string();
            let expected = Message::Event { name, data: json!({ "x": text }) };
            prop_assert_eq!(parse(line.as_bytes()), Some(expected));
        }
    }
}
