//! What the user's terminal takes.

use std::io::IsTerminal;

/// Whether to colour what goes to `stream`: a terminal, `NO_COLOR` not set, not a dumb one.
pub fn colours(stream: &impl IsTerminal) -> bool {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty());
    stream.is_terminal()
        && set("NO_COLOR").is_none()
        && set("TERM").is_some_and(|term| term != "dumb")
}

/// `text` in an SGR style (`1;31`) where colours are wanted.
pub fn paint(text: &str, sgr: &str, colours: bool) -> String {
    if colours {
        format!("\u{1b}[{sgr}m{text}\u{1b}[0m")
    } else {
        text.to_owned()
    }
}

/// Columns as wide as their widest word; the last one runs free.
pub fn write_table<const N: usize>(
    out: &mut impl std::io::Write,
    rows: &[[String; N]],
) -> std::io::Result<()> {
    for row in rows {
        let mut line = String::new();
        for (i, word) in row.iter().enumerate() {
            let width = rows.iter().map(|r| r[i].chars().count()).max().unwrap_or(0);
            line.push_str(word);
            line.push_str(&" ".repeat(width - word.chars().count() + 2));
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}
