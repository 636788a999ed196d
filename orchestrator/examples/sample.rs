//! Writes the reports of a sample run: `cargo run --example sample -- DIRECTORY [MORE_CASES]`.
//!
//! For looking at the pages while working on them; nothing is run.

#[path = "../tests/support/sample.rs"]
mod sample;

use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let directory = args.next().ok_or("usage: sample DIRECTORY [MORE_CASES]")?;
    let more: usize = args.next().map_or(Ok(0), |n| n.parse())?;
    let directory = Path::new(&directory);
    std::fs::create_dir_all(directory)?;
    let mut runs = vec![("sample", sample::run()), ("troubled", sample::troubled())];
    if more > 0 {
        runs.push(("large", sample::report(sample::cells(more))));
    }
    for (name, report) in runs {
        let page = fallout::report::html::render(&report)?;
        std::fs::write(directory.join(format!("{name}.html")), page)?;
        let json = fallout::report::json::write(&report)?;
        std::fs::write(directory.join(format!("{name}.json")), json)?;
    }
    Ok(())
}
