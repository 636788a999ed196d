//! The words of sign-offs and keys.

use camino::Utf8PathBuf;
use clap::{Args, Subcommand};

/// `fallout signoff`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct SignoffArgs {
    /// Check one that was made
    #[command(subcommand)]
    pub command: Option<SignoffCommand>,
    /// The branch, tag or commit; without a repository, the beginning of what runs recorded
    #[arg(value_name = "BRANCH|REV", required = true)]
    pub revision: Option<String>,
    /// What the release asks for
    #[arg(long, value_name = "FILE", required = true)]
    pub policy: Option<Utf8PathBuf>,
    /// The key that signs [default: keys/signoff.key in the state directory, where it is]
    #[arg(long, value_name = "FILE")]
    pub key: Option<Utf8PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `fallout signoff …`
#[derive(Debug, Subcommand)]
pub enum SignoffCommand {
    /// Check a sign-off's file by its signature, FILE.sig beside it
    #[command(
        after_help = "Example:\n  fallout signoff verify signoff.json --key release.pub\n\n\
        Exit status: 0 it is genuine, 5 it is not."
    )]
    Verify {
        /// signoff.json or signoff.html
        file: Utf8PathBuf,
        /// The signature [default: the file's name with .sig]
        #[arg(long, value_name = "FILE")]
        signature: Option<Utf8PathBuf>,
        /// The public key that is trusted, a file or its digits [default: this machine's own]
        #[arg(long, value_name = "KEY")]
        key: Option<String>,
    },
}

/// `fallout key`
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a signing key, readable by its owner alone, and print its public key
    #[command(after_help = "Example:\n  fallout key new")]
    New {
        /// The file [default: keys/signoff.key in the state directory]
        #[arg(long, value_name = "FILE")]
        file: Option<Utf8PathBuf>,
    },
    /// Print the public key of a signing key
    Show {
        /// The file [default: keys/signoff.key in the state directory]
        #[arg(long, value_name = "FILE")]
        file: Option<Utf8PathBuf>,
    },
}
