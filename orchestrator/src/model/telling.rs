//! Who is told of what: settings of forges, webhooks out and mail, and the letters that are sent.

use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};

/// Kinds of forges, by how they sign what they send and how they take a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Forge {
    /// HMAC-SHA256 of the body in `X-Hub-Signature-256`.
    Github,
    /// The secret itself in `X-Gitlab-Token`.
    Gitlab,
    /// HMAC-SHA256 of the body in `X-Gitea-Signature` (Gitea and Forgejo).
    Gitea,
}

/// A forge that shows the status of commits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Status {
    /// Which kind of forge.
    pub forge: Forge,
    /// Where its API is: `https://forge.example.org/api/v1`.
    pub api: String,
    /// The repository there: `owner/name`.
    pub project: String,
    /// The file with the token.
    pub token_file: Utf8PathBuf,
}

/// A webhook out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HookOut {
    /// Its name, for the log: the address may be a secret.
    pub name: String,
    /// Where it is sent to.
    pub url: String,
    /// The file with the secret that it is signed with.
    pub secret_file: Utf8PathBuf,
}

/// Who gets mail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MailTo {
    /// Lists and people.
    #[serde(default)]
    pub to: Vec<String>,
    /// Also the authors of the commits that were pushed.
    #[serde(default)]
    pub authors: bool,
}

/// How mail leaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Smtp {
    /// The sender: `fallout <fallout@example.org>`.
    pub from: String,
    /// The server.
    pub host: String,
    /// Its port.
    #[serde(default = "submission")]
    pub port: u16,
    /// Whether and how the connection is secured.
    #[serde(default)]
    pub tls: Secured,
    /// A file with certificates (PEM) that the server's may be signed by, besides those that the host trusts.
    #[serde(default)]
    pub ca_file: Option<Utf8PathBuf>,
    /// Who logs in, where the server asks for it.
    #[serde(default)]
    pub user: Option<String>,
    /// The file with the password.
    #[serde(default)]
    pub password_file: Option<Utf8PathBuf>,
    /// A directory with `subject.txt` and `body.txt` in the place of our own.
    #[serde(default)]
    pub templates: Option<Utf8PathBuf>,
}

fn submission() -> u16 {
    587
}

/// How a connection is secured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Secured {
    /// Not at all: a server on this machine.
    None,
    /// Begun in the clear and secured before anything is said.
    #[default]
    Starttls,
    /// From the first byte.
    Tls,
}

/// The state of a commit at a forge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommitState {
    /// It runs.
    Pending,
    /// Nothing was found that the baseline does not know.
    Success,
    /// Something was found.
    Failure,
    /// Nothing can be said: host, emulator, settings.
    Error,
}

/// What is sent. Secrets are no part of it: they are read when it is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "what")]
pub enum Letter {
    /// To the forge of a repository.
    Status {
        /// The repository's name in the settings.
        repository: String,
        /// The commit.
        commit: String,
        /// What it is the status of: `fallout/push`.
        context: String,
        /// The state.
        state: CommitState,
        /// One short sentence.
        description: String,
        /// A page.
        link: Option<String>,
    },
    /// To a webhook of a repository.
    Hook {
        /// The repository's name in the settings.
        repository: String,
        /// The webhook's name there.
        name: String,
        /// The body: JSON.
        body: String,
    },
    /// To people.
    Mail {
        /// Addresses.
        to: Vec<String>,
        /// One line.
        subject: String,
        /// Text.
        body: String,
        /// Its own identity: `<…@…>`.
        id: String,
        /// Those of the mails before it in its thread, the first one first.
        references: Vec<String>,
    },
}

/// A letter with its place in the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Its identity: the same a second time is not stored.
    pub key: String,
    /// Letters of one lane leave one after the other.
    pub lane: String,
    /// The letter.
    pub letter: Letter,
}

/// What people were told of one finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thread {
    /// The finding's identity across runs.
    pub key: String,
    /// The first mail's identity and subject.
    pub root: String,
    /// Its subject.
    pub subject: String,
    /// The newest mail's identity.
    pub last: String,
    /// What was told last, shortened to what is worth another mail.
    pub digest: String,
    /// The sentence that was told last.
    pub sentence: String,
    /// It is not fixed.
    pub open: bool,
    /// The suite.
    pub suite: String,
    /// Where it fails.
    pub ports: Vec<String>,
    /// Who was told.
    pub to: Vec<String>,
}
