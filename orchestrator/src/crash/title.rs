//! Titles that stay the same for the same crash: across addresses, CPUs, pids and moved lines.

/// Makes a kernel's line independent of where and when it was written.
pub fn stable(line: &str) -> String {
    let mut line = line.trim().trim_end_matches(['-', ']', ' ']);
    // `… failed: file "x.c", line 42`: the file moves with the tree, the line with every change.
    if let Some((head, _)) = line.split_once(" failed: file ") {
        return format!("{head} failed");
    }
    if let Some(cut) = line.find(", comm ").or_else(|| line.find(" comm: ")) {
        line = &line[..cut];
    }
    let mut words: Vec<String> = Vec::new();
    for word in line.split_whitespace() {
        let word = stable_word(word);
        if words
            .last()
            .is_none_or(|last| last != "ADDR" || word != "ADDR")
        {
            words.push(word);
        }
    }
    let mut title = words.join(" ");
    title.truncate(
        title
            .char_indices()
            .nth(160)
            .map_or(title.len(), |(i, _)| i),
    );
    title
}

fn stable_word(word: &str) -> String {
    let core = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    if core.is_empty() {
        return word.to_owned();
    }
    let hex = core.strip_prefix("0x").unwrap_or(core);
    let is_hex = hex.bytes().all(|b| b.is_ascii_hexdigit());
    if is_hex && (core.starts_with("0x") || hex.len() >= 8) {
        return word.replace(core, "ADDR");
    }
    if let Some((cpu, _)) = core.split_once('#')
        && cpu == "CPU"
    {
        return word.replace(core, "CPU");
    }
    // `name:123` and `name[123]` carry a process id.
    for open in [':', '['] {
        if let Some((name, id)) = core.split_once(open)
            && !name.is_empty()
            && !id.is_empty()
            && id.bytes().all(|b| b.is_ascii_digit())
        {
            return format!("{name}{open}N");
        }
    }
    // `123s!`: how long a lock-up lasted.
    if let Some(digits) = core.strip_suffix('s')
        && !digits.is_empty()
        && digits.bytes().all(|b| b.is_ascii_digit())
    {
        return word.replace(core, "Ns");
    }
    word.to_owned()
}

/// A fault in a BSD kernel is titled by its function, which comes some lines later:
/// `Stopped in pid 9532.2 (name) at netbsd:fn+0x51:`.
pub fn refine(title: &mut String, line: &str) {
    let is_fault = title.starts_with("fatal ") || title.starts_with("kernel: page fault");
    if !is_fault || title.contains(" in function ") {
        return;
    }
    let function = line
        .strip_prefix("Stopped in pid ")
        .and_then(|rest| rest.split_once(" at "))
        .map(|(_, place)| place.trim())
        .and_then(|place| place.split(['+', ' ']).next())
        .map(|place| place.rsplit(':').next().unwrap_or(place));
    if let Some(function) = function.filter(|f| !f.is_empty() && !f.starts_with("0x")) {
        title.push_str(" in function ");
        title.push_str(function);
    }
}
