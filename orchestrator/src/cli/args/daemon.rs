//! The words of the daemon, its queue and hook, and of what the index answers.

use camino::Utf8PathBuf;
use clap::{Args, Subcommand, ValueEnum};

use crate::model::{CaseId, CellId};
use crate::store::queue::Scope;

/// `fallout daemon`
#[derive(Debug, Args)]
pub struct DaemonArgs {
    /// The settings
    #[arg(long, value_name = "FILE")]
    pub config: Utf8PathBuf,
    /// The form of the log on standard error
    #[arg(long, value_enum, value_name = "FORM", default_value = "text")]
    pub log: LogFormat,
}

/// The forms of the daemon's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people
    Text,
    /// One JSON object a line
    Json,
}

/// Where a command looks that can ask a daemon.
#[derive(Debug, Clone, Default, Args)]
pub struct FarArgs {
    /// Ask this daemon; `none` for what this machine has [default: FALLOUT_DAEMON, then client.yaml in the
    /// configuration directory]
    #[arg(long, value_name = "URL")]
    pub daemon: Option<String>,
    /// The file with a token of the daemon's [default: FALLOUT_TOKEN_FILE, then client.yaml]
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<Utf8PathBuf>,
}

/// `fallout order`
#[derive(Debug, Args)]
pub struct OrderArgs {
    /// The repository's name in the daemon's settings
    pub repository: String,
    /// The rule that says what is run
    pub rule: String,
    /// The full reference, for example refs/heads/main
    pub reference: String,
    /// The commit [default: what the reference names]
    #[arg(long, value_name = "HASH")]
    pub commit: Option<String>,
    /// Only these ports of the rule's
    #[arg(long, value_delimiter = ',', value_name = "PORT")]
    pub ports: Vec<String>,
    /// Only these suites of the rule's
    #[arg(long, value_delimiter = ',', value_name = "SUITE")]
    pub suites: Vec<String>,
    /// The daemon [default: the one of this machine]
    #[command(flatten)]
    pub far: FarArgs,
}

/// `fallout queue`
#[derive(Debug, Args)]
pub struct QueueArgs {
    /// Cancel this job: at once where it waits, else its guests are ended
    #[arg(long, value_name = "JOB")]
    pub cancel: Option<i64>,
    /// Jobs to show at most, the newest first
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub limit: u32,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// The daemon [default: this machine's queue]
    #[command(flatten)]
    pub far: FarArgs,
}

/// `fallout outbox`
#[derive(Debug, Args)]
pub struct OutboxArgs {
    /// Send this letter at the next look, also one that was given up
    #[arg(long, value_name = "LETTER")]
    pub retry: Option<i64>,
    /// Do not send this letter
    #[arg(long, value_name = "LETTER", conflicts_with = "retry")]
    pub forget: Option<i64>,
    /// Show what was delivered, too
    #[arg(long)]
    pub all: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `fallout try`
#[derive(Debug, Args)]
pub struct TryArgs {
    /// Mails as git format-patch --stdout writes them [default: standard input]
    pub series: Option<Utf8PathBuf>,
    /// The repository's name in the daemon's settings
    #[arg(long, value_name = "NAME")]
    pub repository: String,
    /// What the series applies to: a branch, a tag or a commit
    #[arg(long, value_name = "REV")]
    pub base: String,
    /// The rule that says what is run
    #[arg(long, value_name = "NAME")]
    pub rule: String,
    /// The daemon [default: the one of this machine]; its token needs the scope 'try'
    #[command(flatten)]
    pub far: FarArgs,
}

/// `fallout hook`
#[derive(Debug, Subcommand)]
pub enum HookCommand {
    /// Write the post-receive hook of a repository
    #[command(after_help = "Example:\n  fallout hook install /srv/git/portable.git")]
    Install {
        /// The repository that is pushed to
        repository: Utf8PathBuf,
        /// The daemon's socket [default: daemon.sock in the runtime directory]
        #[arg(long)]
        socket: Option<Utf8PathBuf>,
    },
    /// What the hook calls: tells the daemon to look at its spools
    #[command(hide = true)]
    Knock {
        /// The daemon's socket
        #[arg(long)]
        socket: Utf8PathBuf,
    },
}

/// `fallout history`
#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// The case, `PROGRAM:CASE`; cases that go both ways, panics and ports where absent
    pub case: Option<CaseId>,
    /// Only this port
    #[arg(long, requires = "case")]
    pub port: Option<String>,
    /// Attempts to show at most
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub limit: u32,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `fallout token`
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token and print it, once: only its hash is kept
    #[command(after_help = "Example:\n  fallout token add ci --scope submit --scope cancel")]
    Add {
        /// Whose it is
        name: String,
        /// What it may do beside reading
        #[arg(long = "scope", value_name = "SCOPE", required = true)]
        scopes: Vec<Scope>,
        /// Only to this repository of the settings; to all where none is given
        #[arg(long = "repository", value_name = "NAME")]
        repositories: Vec<String>,
    },
    /// List the tokens, without their secrets
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Revoke a token: it is refused from the next request on
    Revoke {
        /// Whose it is
        name: String,
    },
}

/// `fallout export`
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// The run: `last`, or the beginning of its id
    #[arg(default_value = "last")]
    pub run: String,
    /// The form
    #[arg(short, long, value_enum)]
    pub format: ExportFormat,
    /// The cell whose console is wanted, SUITE/PORT/VARIANT/SIDE (asciicast)
    #[arg(long)]
    pub cell: Option<CellId>,
    /// Which guest of the cell (asciicast)
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub guest: u32,
    /// The name of this CI system in KernelCI's database (kcidb)
    #[arg(long, value_name = "NAME", default_value = "fallout", value_parser = origin)]
    pub origin: String,
    /// The file to write [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<Utf8PathBuf>,
    /// The daemon
    #[command(flatten)]
    pub far: FarArgs,
}

fn origin(word: &str) -> Result<String, String> {
    let fit = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    match !word.is_empty() && word.bytes().all(fit) {
        true => Ok(word.to_owned()),
        false => Err("expected letters a-z, digits and _".to_owned()),
    }
}

/// The forms of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// JUnit XML: one result a case
    Junit,
    /// Test Anything Protocol: one result a case
    Tap,
    /// One JSON object an attempt
    Jsonl,
    /// One line an attempt
    Csv,
    /// KernelCI's database, schema 5.0
    Kcidb,
    /// A recorded console for players
    Asciicast,
}

/// `fallout import`
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// Files with results, PORT=FILE or with --port FILE: Kyua's results databases, TPS streams of
    /// atf-run, JUnit XML. Several of one port are passes over the suite
    #[arg(required = true, value_name = "[PORT=]FILE")]
    pub files: Vec<String>,
    /// The port of all files
    #[arg(long, value_name = "PORT")]
    pub port: Option<String>,
    /// The suite's name
    #[arg(long, value_name = "NAME")]
    pub suite: String,
    /// The machine on which it ran
    #[arg(long, value_name = "NAME")]
    pub host: String,
    /// What ran it
    #[arg(long, value_name = "TEXT", default_value = "none: real hardware")]
    pub accelerator: String,
    /// The kernel variant's name
    #[arg(long, value_name = "NAME", default_value = "stock")]
    pub variant: String,
    /// What the run is called among the others
    #[arg(long, value_name = "NAME", default_value = "imported")]
    pub matrix: String,
    /// What was tested: a commit, a version
    #[arg(long, value_name = "TEXT")]
    pub revision: Option<String>,
    /// What its kernel said it is (uname -a)
    #[arg(long, value_name = "TEXT")]
    pub kernel: Option<String>,
    /// The files' form [default: as each begins]
    #[arg(long, value_enum)]
    pub format: Option<ImportFormat>,
    /// Take a port that has no manifest
    #[arg(long)]
    pub unknown_port: bool,
    /// Take files that were imported before
    #[arg(long)]
    pub again: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// The forms of an import.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ImportFormat {
    /// Kyua's results database
    Kyua,
    /// The stream of atf-run
    Tps,
    /// JUnit XML
    Junit,
}

/// `fallout gc`
#[derive(Debug, Args)]
pub struct GcArgs {
    /// Print what would go and why, and take nothing
    #[arg(long)]
    pub dry_run: bool,
    /// The daemon's settings, with limits under `retention`
    #[arg(long, value_name = "FILE")]
    pub config: Option<Utf8PathBuf>,
    /// Consoles of cells in which nothing went wrong go after so many days
    #[arg(long, value_name = "N")]
    pub passing_consoles_days: Option<u32>,
    /// All consoles go after so many days
    #[arg(long, value_name = "N")]
    pub consoles_days: Option<u32>,
    /// Of runs only the findings stay after so many days
    #[arg(long, value_name = "N")]
    pub runs_days: Option<u32>,
    /// So many whole runs of each matrix stay, the newest
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub runs_at_most: Option<u32>,
    /// Exported trees of commits go after so many days
    #[arg(long, value_name = "N")]
    pub trees_days: Option<u32>,
    /// Series that were tried go after so many days
    #[arg(long, value_name = "N")]
    pub tries_days: Option<u32>,
    /// Instead, take out of the store of the cluster that this file describes what no run has used
    /// for two weeks
    #[arg(long, value_name = "FILE", conflicts_with_all = ["config", "dry_run"])]
    pub cluster: Option<Utf8PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
