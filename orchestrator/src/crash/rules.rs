//! What a line of a console means: one table per family of kernels, in order of gravity.

/// What a line means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meaning {
    /// Nothing.
    Harmless,
    /// The kernel complains and goes on, or is about to die of it.
    Complaint(String),
    /// Names the function in which a complaint arose.
    Where(String),
    /// Looks like the end of a BSD kernel; what follows has to confirm it.
    Suspicion(String),
    /// What only a kernel writes after its panic.
    Confirmation,
    /// A kernel that says of itself that it is dead.
    Dead(String),
}

/// A line without any of these means nothing. This is the fast path over megabytes of output.
pub const WORDS: &[&str] = &[
    "Kernel panic",
    "BUG:",
    "Oops",
    "Unable to handle",
    "unable to handle",
    "Internal error:",
    "Unhandled fault",
    "general protection fault",
    "rcu_sched",
    "rcu_preempt",
    "rcu: INFO",
    "blocked for more than",
    "RIP:",
    "panic: ",
    "fatal ",
    "Fatal ",
    "Mutex error",
    "lock error",
    "Stopped in",
    "Stopped at",
    "traceback",
    "db>",
    "db{",
    "KDB:",
];

/// Linux: after a time stamp. A complaint's words up to where its particulars begin.
const LINUX_COMPLAINTS: &[&str] = &[
    "BUG: ",
    "Oops: ",
    "Oops",
    "Unable to handle kernel ",
    "Internal error: ",
    "Unhandled fault: ",
    "general protection fault",
    "watchdog: BUG: ",
    "rcu: INFO: ",
    "INFO: rcu",
    "INFO: task ",
    "Kernel BUG at",
    "kernel BUG at",
];

/// BSD: at the beginning of a line.
const BSD_SUSPICIONS: &[&str] = &[
    "panic: ",
    "fatal page fault in supervisor mode",
    "fatal protection fault in supervisor mode",
    "fatal privileged instruction fault in supervisor mode",
    "fatal double fault in supervisor mode",
    "kernel: page fault trap",
    "Fatal kernel mode data abort",
    "Fatal kernel mode prefetch abort",
    "Fatal trap ",
    "Mutex error: ",
    "uvm_fault(",
];

/// What a BSD kernel or its debugger writes once it is down.
const BSD_CONFIRMATIONS: &[&str] = &[
    "Begin traceback",
    "Stopped in pid",
    "Stopped at ",
    "fatal breakpoint trap in supervisor mode",
    "trap type ",
    "dumping to dev",
    "Skipping crash dump",
    "Faulted in mid-traceback",
    "KDB: stack backtrace",
    "KDB: enter",
    "cpuid = ",
    "syncing disks",
    "rebooting...",
];

/// A panic's text that says nothing about its cause.
pub fn is_generic(text: &str) -> bool {
    [
        "Fatal exception",
        "Fatal hardware",
        "Attempted to kill init",
        "panic_on_warn",
        "softlockup: hung tasks",
        "hung_task: blocked tasks",
    ]
    .iter()
    .any(|word| text.contains(word))
}

/// Where a Linux kernel's message begins in a line: behind `[ 12.345678]`, and behind `[T12]` or
/// `[C0]` where the kernel prints its callers. The time stamp may stand in the middle of somebody
/// else's line.
fn linux_message(line: &str) -> Option<&str> {
    let mut from = 0;
    while let Some(open) = line[from..].find('[') {
        let inside = &line[from + open + 1..];
        let close = inside.find(']')?;
        let stamp = inside[..close].trim_start();
        let is_stamp = stamp.split_once('.').is_some_and(|(s, us)| {
            !s.is_empty()
                && s.bytes().all(|b| b.is_ascii_digit())
                && us.len() == 6
                && us.bytes().all(|b| b.is_ascii_digit())
        });
        if is_stamp {
            let mut message = inside[close + 1..].trim_start();
            while let Some(caller) = message.strip_prefix('[') {
                let Some((who, rest)) = caller.split_once(']') else {
                    break;
                };
                let who = who.trim();
                if !(who.starts_with(['T', 'C']) && who[1..].bytes().all(|b| b.is_ascii_digit())) {
                    break;
                }
                message = rest.trim_start();
            }
            return Some(message);
        }
        from += open + 1;
    }
    None
}

fn linux(message: &str) -> Meaning {
    if message.starts_with("Kernel panic - not syncing: ") {
        return Meaning::Dead(message.to_owned());
    }
    if let Some(rest) = message.strip_prefix("RIP: ") {
        // `0010:function+0x12/0x34`
        let function = rest.split(':').nth(1).and_then(|f| f.split('+').next());
        if let Some(function) = function.filter(|f| !f.starts_with("0x") && !f.is_empty()) {
            return Meaning::Where(function.to_owned());
        }
    }
    let complains = LINUX_COMPLAINTS
        .iter()
        .any(|word| message.starts_with(word));
    if complains {
        return Meaning::Complaint(message.to_owned());
    }
    Meaning::Harmless
}

/// The debugger's prompt: `db> `, `db{0}> `, `ddb{1}> `.
fn is_ddb_prompt(line: &str) -> bool {
    let line = line.strip_prefix('d').unwrap_or(line);
    let Some(rest) = line.strip_prefix("b") else {
        return false;
    };
    rest.starts_with('>')
        || rest
            .strip_prefix('{')
            .and_then(|r| r.split_once('}'))
            .is_some_and(|(cpu, r)| cpu.bytes().all(|b| b.is_ascii_digit()) && r.starts_with('>'))
}

/// The meaning of a line that has been cleaned of escapes and controls.
pub fn meaning(line: &str) -> Meaning {
    if let Some(message) = linux_message(line) {
        let meaning = linux(message);
        if meaning != Meaning::Harmless {
            return meaning;
        }
        // Newer NetBSD kernels stamp their lines as well.
        return bsd(message);
    }
    if line.starts_with("Kernel panic - not syncing: ") {
        return Meaning::Dead(line.to_owned());
    }
    bsd(line)
}

fn bsd(line: &str) -> Meaning {
    if is_ddb_prompt(line) || BSD_CONFIRMATIONS.iter().any(|word| line.contains(word)) {
        // A break into the debugger is a stop as well, but nobody has panicked: without a
        // suspicion before it, a confirmation is nothing.
        return Meaning::Confirmation;
    }
    if BSD_SUSPICIONS.iter().any(|word| line.starts_with(word)) {
        return Meaning::Suspicion(line.to_owned());
    }
    Meaning::Harmless
}
