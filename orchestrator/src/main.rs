//! The `fallout` command.

fn main() {}
