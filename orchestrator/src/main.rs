//! The `fallout` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    fallout::cli::main()
}
