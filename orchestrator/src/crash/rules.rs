//! What a line of a console means, as tables: one per family of kernels.
//!
//! What is only a complaint, and what is dead:
//!
//! * **Dead** is a Linux kernel that says `Kernel panic - not syncing` behind its time stamp, and a
//!   BSD kernel whose `panic: …` or `fatal … fault` is followed by what only a stopped kernel or its
//!   debugger writes.
//! * **A complaint** is everything from which a kernel may go on: a warning, a lock-up, a stall, a
//!   blocked task, and an oops too, since whether it ends the machine is a setting
//!   (`panic_on_oops`). It becomes a note, or names the panic that follows it.

use super::lines::Message;

/// Where the function is found that belongs into a title.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the line that told.
    Line,
    /// In the registers or the trace that follow.
    Trace,
    /// The title needs none.
    None,
}

/// Why a kernel complains or dies: a title without its function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// The title up to `in FUNCTION`.
    pub title: String,
    /// Where the function is.
    pub place: Place,
    /// A consequence rather than a cause: another complaint of the same chain is the better name.
    pub weak: bool,
}

/// What a line means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meaning {
    /// Nothing.
    Harmless,
    /// The kernel complains and goes on, or is about to die of it.
    Complaint(Cause),
    /// A trace ends.
    TraceEnds,
    /// A kernel that says of itself that it is dead. Without a cause the complaint before is it.
    Dead(Option<Cause>),
    /// Looks like the end of a kernel; what follows has to confirm it.
    Suspicion(Cause),
    /// What only a kernel writes after its panic; the stronger form suffices for a suspicion that
    /// arose in the middle of a line.
    Confirmation {
        /// Nothing but a dead or stopped kernel writes it.
        strong: bool,
    },
}

/// A line without any of these means nothing. This is the fast path over megabytes of output.
pub const WORDS: &[&str] = &[
    "Kernel panic",
    "BUG",
    "Oops",
    "nable to handle",
    "Internal error: ",
    "Unhandled fault",
    "general protection fault",
    "INFO: ",
    "panic: ",
    "fatal ",
    "Fatal ",
    "Mutex error",
    "Stopped ",
    "traceback",
    "db>",
    "db{",
    "KDB:",
    "divide e",
    " ilc:",
    "invalid opcode",
    "stack overflow",
    "stack guard",
    "LOCKUP",
    "UBSAN: ",
    "list_add",
    "list_del",
    "refcount_t",
    "unaligned access",
    "llegal instruction",
    "bug detected",
    "WARNING: ",
    "in kernel code",
    "Insufficient stack",
    "Out of memory",
    "end trace",
    "Kernel attempted",
    "uvm_fault(",
    "kernel: ",
    "Rebooting in",
    "Kernel Offset",
    "Division by",
    "double fault",
    "dumping to",
    "Skipping crash",
];

const NULL: &str = "BUG: unable to handle kernel NULL pointer dereference";
const PAGING: &str = "BUG: unable to handle kernel paging request";
const ILLEGAL: &str = "illegal instruction";
const DIVIDE: &str = "divide error";
const STACK: &str = "kernel stack overflow";
/// In a table: the address in the line or after it decides between [`NULL`] and [`PAGING`].
const BY_ADDRESS: &str = "";

struct Row {
    begins: &'static str,
    /// What the line has besides.
    has: &'static str,
    title: &'static str,
    place: Place,
    weak: bool,
}

const fn row(begins: &'static str, title: &'static str) -> Row {
    Row {
        begins,
        has: "",
        title,
        place: Place::Trace,
        weak: false,
    }
}

const fn has(begins: &'static str, has: &'static str, title: &'static str) -> Row {
    Row {
        has,
        ..row(begins, title)
    }
}

const fn weak(begins: &'static str, has: &'static str, title: &'static str) -> Row {
    Row {
        has,
        weak: true,
        ..row(begins, title)
    }
}

const fn line(begins: &'static str, has: &'static str, title: &'static str) -> Row {
    Row {
        has,
        place: Place::Line,
        ..row(begins, title)
    }
}

/// Linux, behind the time stamp. The same event has the same title whatever a machine calls it.
const LINUX: &[Row] = &[
    row("BUG: kernel NULL pointer dereference", NULL),
    row("BUG: Kernel NULL pointer dereference", NULL),
    has("BUG: nable to handle", "NULL pointer", NULL),
    has("Unable to handle kernel", "NULL pointer", NULL),
    has("BUG: unable to handle", "NULL pointer", NULL),
    row("BUG: unable to handle", BY_ADDRESS),
    row("BUG: Unable to handle", BY_ADDRESS),
    row("Unable to handle kernel", BY_ADDRESS),
    row("Unhandled fault: ", "BUG: unhandled fault"),
    weak("Kernel attempted to ", "user page", BY_ADDRESS),
    row("general protection fault", "general protection fault"),
    row("kernel BUG at ", "kernel BUG"),
    row("Kernel bug detected", "kernel BUG"),
    line("WARNING: CPU: ", " at ", "WARNING"),
    row(
        "WARNING: possible circular locking dependency",
        "possible deadlock",
    ),
    row("WARNING: possible recursive locking", "possible deadlock"),
    row(
        "WARNING: inconsistent lock state",
        "inconsistent lock state",
    ),
    row(
        "WARNING: suspicious RCU usage",
        "WARNING: suspicious RCU usage",
    ),
    row("WARNING: bad unlock balance", "WARNING: bad unlock balance"),
    row("refcount_t: ", "WARNING: refcount bug"),
    row("list_add corruption", "BUG: list corruption"),
    row("list_del corruption", "BUG: list corruption"),
    row("divide error: ", DIVIDE),
    has("fixpoint divide exception: ", " ilc:", DIVIDE),
    row("Division by zero in kernel", DIVIDE),
    row("BUG: TASK stack guard page", STACK),
    row("BUG: IRQ stack guard page", STACK),
    row("BUG: stack guard page", STACK),
    row("BUG: unable to handle kernel stack overflow", STACK),
    row("Kernel stack overflow", STACK),
    row("kernel stack overflow", STACK),
    row("Insufficient stack space to handle exception", STACK),
    weak("stack guard page: ", "[#", STACK),
    weak("double fault: ", "[#", "double fault"),
    weak("invalid opcode: ", "[#", ILLEGAL),
    weak("Reserved instruction in kernel code", "[#", ILLEGAL),
    weak("Kernel illegal instruction", "[#", ILLEGAL),
    weak("illegal operation: ", " ilc:", ILLEGAL),
    weak("Oops: Exception in kernel mode, sig: 4", "[#", ILLEGAL),
    weak("Oops: Exception in kernel mode, sig: 5", "[#", "kernel BUG"),
    weak("Oops: Kernel access of bad area", "[#", PAGING),
    weak("Internal error: Oops - undefined instruction", "", ILLEGAL),
    weak("Internal error: Oops - Undefined instruction", "", ILLEGAL),
    weak("Internal error: Oops - BUG", "", "kernel BUG"),
    weak("Oops - illegal instruction", "", ILLEGAL),
    weak("Oops - BUG", "", "kernel BUG"),
    has(
        "watchdog: BUG: soft lockup",
        "stuck for",
        "BUG: soft lockup",
    ),
    has("BUG: soft lockup", "stuck for", "BUG: soft lockup"),
    has("watchdog: CPU ", "hard LOCKUP", "BUG: hard lockup"),
    has("NMI watchdog: ", "LOCKUP", "BUG: hard lockup"),
    has("watchdog: Watchdog detected", "LOCKUP", "BUG: hard lockup"),
    has("Watchdog detected", "LOCKUP", "BUG: hard lockup"),
    has("rcu: INFO: ", "stall", "INFO: rcu detected stall"),
    has("INFO: rcu", "stall", "INFO: rcu detected stall"),
    has("INFO: task ", "blocked for more than", "INFO: task hung"),
    row(
        "BUG: sleeping function called from invalid context",
        "BUG: sleeping function called from invalid context",
    ),
    row(
        "BUG: scheduling while atomic",
        "BUG: scheduling while atomic",
    ),
    row("BUG: using ", "BUG: using a CPU's data in preemptible code"),
    row("BUG: workqueue lockup", "BUG: workqueue lockup"),
    row("BUG: Bad page state", "BUG: bad page state"),
    row("BUG: Bad page map", "BUG: bad page map"),
    row("BUG: Bad rss-counter", "BUG: bad rss-counter"),
    row("Kernel unaligned access", "kernel unaligned access"),
    row(
        "Unhandled kernel unaligned access",
        "kernel unaligned access",
    ),
];

/// A Linux panic's text that names no cause: the complaint before it does.
const LINUX_CONSEQUENCES: &[&str] = &[
    "Fatal exception",
    "Fatal hardware",
    "Attempted to kill",
    "Aiee, killing interrupt handler",
    "panic_on_warn",
    "kernel: panic_on_warn",
    "KASAN: panic_on_warn",
    "UBSAN: panic_on_warn",
    "softlockup: hung tasks",
    "hung_task: blocked tasks",
    "Hard LOCKUP",
    "RCU Stall",
    "Corrupt kernel stack",
    "kernel stack overflow",
    "Kernel stack overflow",
    "Unrecoverable",
    "Oops",
    "Watchdog detected hard LOCKUP",
    "workqueue: ",
];

/// BSD kernels, at the beginning of a line.
const BSD: &[Row] = &[
    row("fatal page fault in supervisor mode", "page fault"),
    row(
        "fatal protection fault in supervisor mode",
        "protection fault",
    ),
    row("fatal protection fault (", "protection fault"),
    row("fatal page fault (", "page fault"),
    row("fatal privileged instruction fault", ILLEGAL),
    row("fatal integer divide fault", DIVIDE),
    row("fatal double fault", "double fault"),
    row("fatal alignment check fault", "alignment fault"),
    row("kernel: page fault trap", "page fault"),
    row("kernel: protection fault trap", "protection fault"),
    row("kernel: double fault trap", "double fault"),
    row("kernel: integer divide fault trap", DIVIDE),
    row("Fatal kernel mode data abort", "page fault"),
    row("Fatal kernel mode prefetch abort", "page fault"),
    has("Fatal trap ", "page fault", "page fault"),
    has("Fatal trap ", "protection fault", "protection fault"),
    has("Fatal trap ", "integer divide", DIVIDE),
    has("Fatal trap ", "privileged instruction", ILLEGAL),
    row("Fatal double fault", "double fault"),
    row("Fatal data abort", "page fault"),
    has("uvm_fault(", ") -> ", "page fault"),
];

/// A BSD panic's text that names no cause: the fault before it does.
const BSD_CONSEQUENCES: &[&str] = &[
    "trap",
    "page fault",
    "lock error",
    "data_abort_handler",
    "double fault",
];

/// Beginnings of commands that somebody types at a debugger.
const DDB_COMMANDS: &[&str] = &[
    "bt", "trace", "ps", "show", "reboot", "boot", "continue", "sync", "call", "print", "x/",
    "mach", "help", "alltrace", "dmesg",
];

const BSD_STRONG: &[&str] = &[
    "Stopped in pid ",
    "Stopped at ",
    "dumping to dev",
    "Skipping crash dump",
    "Faulted in mid-traceback",
    "KDB: stack backtrace",
    "KDB: enter",
    "trap type ",
];
const BSD_WEAK: &[&str] = &["rebooting...", "syncing disks..."];

fn is_consequence(text: &str, of: &[&str]) -> bool {
    of.iter().any(|word| text.starts_with(word))
}

fn cause(title: impl Into<String>, place: Place) -> Cause {
    Cause {
        title: title.into(),
        place,
        weak: false,
    }
}

/// The first address in a line, told by the words before it: ` at 0x…`, `address: …`, `page (8)`.
pub fn address(line: &str) -> Option<u64> {
    let behind = ["virtual address ", "address: ", " at ", "page ("];
    let rest = behind.iter().find_map(|w| Some(line.split_once(w)?.1))?;
    let rest = rest.strip_prefix("0x").unwrap_or(rest);
    let end = rest.find(|c: char| !c.is_ascii_hexdigit());
    u64::from_str_radix(&rest[..end.unwrap_or(rest.len())], 16).ok()
}

/// The title of a fault at an address: whatever lies in the first page was a null pointer.
pub fn fault(address: Option<u64>) -> &'static str {
    match address {
        Some(0..4096) => NULL,
        _ => PAGING,
    }
}

fn table(rows: &[Row], text: &str) -> Option<Cause> {
    let row = rows
        .iter()
        .find(|row| text.starts_with(row.begins) && text.contains(row.has))?;
    let title = if row.title == BY_ADDRESS {
        // s390 writes the address in a line of its own: the title is made once that is read.
        address(text).map_or("", |a| fault(Some(a)))
    } else {
        row.title
    };
    Some(Cause {
        title: title.to_owned(),
        place: row.place,
        weak: row.weak,
    })
}

/// Names that carry their own kind: sanitizers, and exceptions that only one machine has.
fn named(text: &str) -> Option<Cause> {
    for tool in ["KASAN", "KFENCE", "KMSAN", "KCSAN"] {
        let Some(rest) = text
            .strip_prefix("BUG: ")
            .and_then(|t| t.strip_prefix(tool))
        else {
            continue;
        };
        let what = rest.trim_start_matches(": ").split(" in ").next()?;
        return Some(cause(format!("{tool}: {what}"), Place::Line));
    }
    if let Some(rest) = text.strip_prefix("UBSAN: ") {
        let what = rest.split(" in ").next()?;
        return Some(cause(format!("UBSAN: {what}"), Place::Trace));
    }
    if text.starts_with("Out of memory: Killed process") {
        return Some(cause("Out of memory: a process was killed", Place::None));
    }
    if let Some(rest) = text.strip_prefix("BUG: ") {
        let what = super::title::stable(rest);
        return Some(cause(format!("BUG: {what}"), Place::Trace));
    }
    // `specification exception: 0006 ilc:2 [#1] SMP`, `Oops: Bad mode [#1]`, `Oops - x [#1]`.
    let (head, _) = text.split_once("[#")?;
    let oops = [
        "Oops: ",
        "Oops - ",
        "Internal error: Oops - ",
        "Internal error: ",
    ];
    let what = match oops.iter().find_map(|w| head.strip_prefix(w)) {
        Some(what) => format!("Oops: {}", super::title::stable(what)),
        None if head.contains(" ilc:") => head.split(':').next()?.to_owned(),
        None => return None,
    };
    Some(Cause {
        weak: true,
        ..cause(what, Place::Trace)
    })
}

fn linux_complaint(text: &str) -> Option<Cause> {
    // 32-bit and 64-bit MIPS: `CPU 0 Unable to handle kernel paging request …`.
    let text = match text.strip_prefix("CPU ").and_then(|t| t.split_once(' ')) {
        Some((cpu, rest)) if cpu.bytes().all(|b| b.is_ascii_digit()) => rest,
        _ => text,
    };
    table(LINUX, text).or_else(|| named(text))
}

fn linux_panic(text: &str) -> Option<Cause> {
    if is_consequence(text, LINUX_CONSEQUENCES) {
        return None;
    }
    if text.starts_with("stack-protector: Kernel stack is corrupted in") {
        return Some(cause(
            "stack-protector: kernel stack is corrupted",
            Place::Line,
        ));
    }
    // What follows a sentence is advice.
    let text = text.split(". ").next().unwrap_or(text);
    let text = super::title::stable(text);
    Some(cause(format!("kernel panic: {text}"), Place::None))
}

/// The title of a panic whose complaint was not seen.
pub fn unexplained(text: &str) -> Cause {
    if text.to_lowercase().starts_with(STACK) {
        return cause(STACK, Place::Trace);
    }
    let text = text.split('!').next().unwrap_or(text);
    cause(
        format!("kernel panic: {}", super::title::stable(text)),
        Place::None,
    )
}

/// What stands behind the words that announce a Linux panic.
pub fn panic_text(text: &str) -> Option<&str> {
    let text = text.strip_prefix("---[ end ").unwrap_or(text);
    text.strip_prefix("Kernel panic - not syncing: ")
}

fn linux(message: Message<'_>) -> Meaning {
    let text = message.text;
    if let Some(panic) = panic_text(text) {
        return Meaning::Dead(linux_panic(panic));
    }
    if text.starts_with("---[ end trace") {
        return Meaning::TraceEnds;
    }
    linux_complaint(text).map_or(Meaning::Harmless, Meaning::Complaint)
}

/// The debugger's prompt: `db> `, `db{0}> `, `ddb{1}> `.
pub fn is_ddb_prompt(line: &str) -> bool {
    let line = line.strip_prefix('d').unwrap_or(line);
    let Some(rest) = line.strip_prefix('b').or_else(|| line.strip_prefix("db")) else {
        return false;
    };
    let numbered = rest
        .strip_prefix('{')
        .and_then(|r| r.split_once('}'))
        .filter(|(cpu, _)| cpu.bytes().all(|b| b.is_ascii_digit()))
        .map(|(_, r)| r);
    // Behind it stands nothing, or the echo of a command.
    numbered
        .unwrap_or(rest)
        .strip_prefix('>')
        .map(|typed| typed.split_whitespace().next().unwrap_or_default())
        .is_some_and(|word| word.is_empty() || DDB_COMMANDS.iter().any(|c| word.starts_with(c)))
}

fn bsd_panic(text: &str) -> Cause {
    if BSD_CONSEQUENCES.contains(&text) || text.starts_with("trap type ") {
        return Cause {
            weak: true,
            ..cause("panic: trap", Place::Trace)
        };
    }
    if text.starts_with("kernel data fault") || text.starts_with("vm_fault(") {
        return cause("page fault", Place::Trace);
    }
    cause(
        format!("panic: {}", super::title::stable(text)),
        Place::None,
    )
}

/// `Mutex error: mutex_vector_enter,518: locking against myself`: the line number moves.
fn lock_error(text: &str) -> Option<Cause> {
    let text = text.strip_prefix("LOCKDEBUG: ").unwrap_or(text);
    let (what, rest) = text.split_once(" error: ")?;
    if !matches!(
        what,
        "Mutex" | "Reader / writer lock" | "Kernel lock" | "Spin lock"
    ) {
        return None;
    }
    let (place, why) = rest.split_once(": ")?;
    let function = place.split(',').next()?;
    Some(cause(
        format!("{what} error: {function}: {why}"),
        Place::None,
    ))
}

fn bsd(message: Message<'_>) -> Meaning {
    let text = message.text;
    let strong = BSD_STRONG.iter().any(|word| text.starts_with(word));
    if strong || is_ddb_prompt(text) || text.contains(": Begin traceback...") {
        // A break into the debugger is a stop as well, but nobody has panicked: without a
        // suspicion before it, a confirmation is nothing.
        return Meaning::Confirmation { strong: true };
    }
    let number = |rest: &str| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit());
    if BSD_WEAK.contains(&text)
        || text.strip_prefix("cpuid = ").is_some_and(number)
        || text.strip_prefix("time = ").is_some_and(number)
    {
        return Meaning::Confirmation { strong: false };
    }
    if let Some(cause) = table(BSD, text).or_else(|| lock_error(text)) {
        return Meaning::Suspicion(cause);
    }
    if let Some(rest) = text.strip_prefix("panic: ").map(str::trim) {
        let cause = lock_error(rest).unwrap_or_else(|| bsd_panic(rest));
        return Meaning::Suspicion(cause);
    }
    Meaning::Harmless
}

/// What a Linux kernel without stamps writes after the words of its panic.
fn after_linux_panic(text: &str) -> bool {
    text == "Call Trace:"
        || (text.starts_with("CPU: ") && text.contains(" PID: ") && text.contains(" Comm: "))
        || (text.starts_with("Rebooting in ") && text.ends_with(" seconds.."))
        || text.starts_with("Kernel Offset: 0x")
        || text.starts_with("---[ end ")
}

/// The meaning of a line. `message` is the part of it that a kernel wrote.
pub fn meaning(message: Message<'_>) -> Meaning {
    if message.stamp.is_some() {
        let meaning = linux(message);
        if meaning != Meaning::Harmless {
            return meaning;
        }
    } else if let Some(text) = panic_text(message.text) {
        // A kernel that was told to write no stamps. A test may quote the words.
        let cause = linux_panic(text).unwrap_or_else(|| unexplained(text));
        return Meaning::Suspicion(cause);
    } else if after_linux_panic(message.text) {
        return Meaning::Confirmation { strong: false };
    }
    bsd(message)
}

/// A BSD panic that begins in the middle of somebody's line: what stands from there on.
pub fn inner_panic(text: &str) -> Option<&str> {
    let sure = ["panic: kernel diagnostic", "fatal page fault in s"];
    let at = match sure.iter().find_map(|w| text.find(w)) {
        Some(at) => at,
        // The word alone may be the end of a name: `ddb.onpanic: 1 -> 0`.
        None => text.find("panic: ").filter(|at| {
            !text[..*at].ends_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.'))
        })?,
    };
    (at > 0).then(|| &text[at..])
}
