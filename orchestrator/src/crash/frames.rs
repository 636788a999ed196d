//! Functions in a kernel's traces: `crasher+0x1c/0x30 [module]` and its forms on all machines.
//!
//! A crash is named after the function in which it arose. Above that function a trace shows those
//! that report, schedule and wait; they are in every crash and name none. Which these are is data.

/// Functions that are not where a crash arose, whole names.
const GENERIC: &[&str] = &[
    // Reports.
    "panic",
    "vpanic",
    "nmi_panic",
    "dump_stack",
    "dump_stack_lvl",
    "dump_backtrace",
    "show_stack",
    "show_trace",
    "unwind_backtrace",
    "print_report",
    "kasan_report",
    "kfence_report_error",
    "ubsan_epilogue",
    "report_bug",
    "handle_bug",
    "warn_slowpath_fmt",
    "warn_slowpath_null",
    "__report_bug",
    "report_bug_entry",
    "bug_handler",
    "bug_get_file_line",
    "refcount_warn_saturate",
    "__list_add_valid",
    "__list_add_valid_or_report",
    "__list_del_entry_valid",
    "__list_del_entry_valid_or_report",
    "__might_sleep",
    "__might_resched",
    "__schedule_bug",
    "usercopy_abort",
    "__stack_chk_fail",
    "fortify_panic",
    "check_panic_on_warn",
    "object_err",
    "slab_fix",
    "kfree",
    "kmem_cache_free",
    "__kmem_cache_free",
    "__slab_free",
    "kthread",
    "ret_from_fork",
    "__ret_from_fork",
    "ret_from_kernel_thread",
    "ret_from_kernel_user_thread",
    "ret_from_fork_asm",
    "ret_from_fork_kernel",
    "slab_free",
    "kmem_cache_free.part",
    "set_freepointer",
    "print_address_description",
    "crash_kexec",
    "__crash_kexec",
    // Traps.
    "die",
    "oops_end",
    "oops_begin",
    "no_context",
    "page_fault_oops",
    "kernelmode_fixup_or_oops",
    "bad_area_nosemaphore",
    "exc_page_fault",
    "do_user_addr_fault",
    "do_kern_addr_fault",
    "do_page_fault",
    "do_translation_fault",
    "do_mem_abort",
    "do_DataAbort",
    "do_PrefetchAbort",
    "do_undefinstr",
    "do_trap",
    "do_error_trap",
    "do_trap_error",
    "do_trap_insn_illegal",
    "do_trap_break",
    "error_entry",
    "exc_invalid_op",
    "exc_general_protection",
    "exc_divide_error",
    "exc_double_fault",
    "handle_exception",
    "ret_from_exception",
    "handle_stack_overflow",
    "el1_abort",
    "el1_undef",
    "el1_dbg",
    "el1h_64_sync",
    "el1h_64_sync_handler",
    "el1h_64_irq",
    "el1h_64_irq_handler",
    "el1_interrupt",
    "call_on_irq_stack",
    "do_interrupt_handler",
    "do_notify_resume",
    "__do_pgm_check",
    "pgm_check_handler",
    "do_protection_exception",
    "do_dat_exception",
    "kernel_stack_overflow",
    "stack_overflow",
    "restart_int_handler",
    "ext_int_handler",
    "io_int_handler",
    "__do_kernel_fault",
    "die_kernel_fault",
    "die_if_kernel",
    "emulate_load_store_insn",
    "do_ade",
    "handle_adel_int",
    "handle_ades_int",
    "do_alignment",
    "do_trap_or_bp",
    "do_ri",
    "do_bp",
    "do_tr",
    "do_watch",
    "handle_ri_int",
    "handle_bp_int",
    "handle_tr_int",
    "tlb_do_page_fault_0",
    "tlb_do_page_fault_1",
    "kernel_unaligned_trap",
    "user_trap_return",
    "sparc64_realfault_common",
    "do_sparc64_fault",
    "trap",
    "trap_fatal",
    "trap_pfault",
    "calltrap",
    "alltraps",
    "alltraps_noen",
    "kerntrap",
    "data_access_fault",
    "data_access_error",
    "text_access_fault",
    "program_check_exception",
    "data_access_common_virt",
    "program_check_common_virt",
    "data_access_common",
    "instruction_access_common_virt",
    "interrupt_return",
    // Debuggers and the BSDs' ways into them.
    "breakpoint",
    "db_enter",
    "Debugger",
    "cpu_Debugger",
    "cpu_kernel_trap",
    "console_debugger",
    "kdb_enter",
    "kdb_backtrace",
    "db_trace_self_wrapper",
    "db_trace_self",
    "kern_assert",
    "__assert",
    "kassert_panic",
    "comintr",
    "comsoft",
    "bad_trap",
    "lockdebug_abort",
    // Locks, sleeps and delays: whoever called them is where it stands.
    "schedule",
    "__schedule",
    "schedule_timeout",
    "schedule_preempt_disabled",
    "__switch_to",
    "context_switch",
    "io_schedule",
    "schedule_timeout_uninterruptible",
    "preempt_schedule",
    "preempt_schedule_common",
    "preempt_schedule_irq",
    "wait_for_completion",
    "wait_for_common",
    "__wait_for_common",
    "wait_for_completion_state",
    "do_wait_for_common",
    "mutex_lock",
    "__mutex_lock",
    "__mutex_lock_slowpath",
    "mutex_lock_nested",
    "down",
    "down_read",
    "down_write",
    "rwsem_down_write_slowpath",
    "rwsem_down_read_slowpath",
    "__down",
    "__down_common",
    "_raw_spin_lock",
    "_raw_spin_lock_irqsave",
    "_raw_spin_lock_irq",
    "_raw_spin_lock_bh",
    "do_raw_spin_lock",
    "queued_spin_lock_slowpath",
    "native_queued_spin_lock_slowpath",
    "arch_spin_lock_wait",
    "__delay",
    "__udelay",
    "__const_udelay",
    "__timer_delay",
    "delay_tsc",
    "delay_loop",
    "mdelay",
    "msleep",
    "arch_cpu_idle",
    "cpu_idle_poll",
    "mutex_vector_enter",
    "mutex_enter",
    "rw_vector_enter",
    "mi_switch",
    "sleepq_switch",
    "sleepq_block",
    "cv_wait",
    "_sleep",
    "ktime_get",
    "read_current_timer",
    "get_timer_value",
    "stick_get_tick",
    "tick_get_tick",
    "timebase_delay",
    // Clocks and watchdogs: they only found it.
    "watchdog",
    "watchdog_timer_fn",
    "check_hung_uninterruptible_tasks",
    "hrtimer_interrupt",
    "__hrtimer_run_queues",
    "hrtimer_run_queues",
    "__run_hrtimer",
    "tick_sched_timer",
    "tick_sched_handle",
    "tick_periodic",
    "tick_handle_periodic",
    "update_process_times",
    "scheduler_tick",
    "sched_tick",
    "account_process_tick",
    "rcu_sched_clock_irq",
    "rcu_pending",
    "check_cpu_stall",
    "print_cpu_stall",
    "rcu_dump_cpu_stacks",
    "rcu_check_gp_kthread_starvation",
    "panic_on_rcu_stall",
    "trigger_single_cpu_backtrace",
    "nmi_trigger_cpumask_backtrace",
    "nmi_cpu_backtrace",
    "nmi_cpu_backtrace_handler",
    "nmi_handle",
    "default_do_nmi",
    "exc_nmi",
    "end_repeat_nmi",
    "local_apic_timer_interrupt",
    "smp_apic_timer_interrupt",
    "arch_timer_handler_virt",
    "arch_timer_handler_phys",
    "timer_interrupt",
    "riscv_timer_interrupt",
    "clock_comparator_work",
    "sched_clock_tick",
    "arch_trigger_cpumask_backtrace",
    "sched_show_task",
    "handle_irq_event",
    "handle_irq_event_percpu",
    "__handle_irq_event_percpu",
    "generic_handle_irq",
    "generic_handle_domain_irq",
    "handle_percpu_devid_irq",
    "handle_percpu_irq",
    "handle_fasteoi_irq",
    "gic_handle_irq",
    "__handle_domain_irq",
    "do_IRQ",
    "__do_IRQ",
    "handle_IRQ",
    "do_irq",
    "do_ext_interrupt",
    "do_irq_async",
    "plat_irq_dispatch",
    "__irq_svc",
    "__irq_usr",
    "handle_int",
    "tl0_irq14",
    "tl0_irq15",
    "riscv_intc_irq",
    "do_softirq",
    "__do_softirq",
    "irq_exit_rcu",
    "__irq_exit_rcu",
    "irq_exit",
    "handle_softirqs",
    "run_timer_softirq",
    "call_timer_fn",
    "expire_timers",
    "__run_timers",
    // Sysrq and memory: the mechanism, not the place.
    "sysrq_handle_crash",
    "__handle_sysrq",
    "handle_sysrq",
    "write_sysrq_trigger",
    "memcpy",
    "__memcpy",
    "memset",
    "__memset",
    "memmove",
    "__memmove",
    "memcmp",
    "strlen",
    "strcmp",
    "strncmp",
    "strcpy",
    "strncpy",
    "strnlen",
    "kasan_check_range",
    "check_memory_region",
    "copy_to_user",
    "copy_from_user",
];

/// And beginnings of names.
const GENERIC_BEGINNINGS: &[&str] = &[
    "asm_exc_",
    "asm_sysvec_",
    "sysvec_",
    "__sysvec_",
    "__warn",
    "__die",
    "__asan_",
    "__kasan_",
    "__ubsan_",
    "__tsan_",
    "__msan_",
    "kasan_",
    "kfence_",
    "__arch_copy_",
    "entry_SYSCALL_",
    "rcu_sched_clock",
    "do_nmi",
    "__nmi_",
    "watchdog_",
    "spin_bug",
    "db_",
    "kdb_",
    "__handle_",
];

/// The compiler's and the linker's additions to a name.
const SUFFIXES: &[&str] = &[
    ".isra",
    ".constprop",
    ".cold",
    ".part",
    ".llvm",
    ".lto_priv",
    ".localalias",
    ".clone",
];

/// What machines and macros put in front of a system call's name: `__x64_sys_read`, `__se_sys_read`.
const ENTRIES: &[&str] = &[
    "__x64_",
    "__ia32_",
    "__s390x_",
    "__s390_",
    "__arm64_",
    "__riscv_",
    "__powerpc_",
    "__se_",
    "__do_",
];

/// A name without what compilers and entries of system calls add to it.
pub fn plain(name: &str) -> &str {
    let cut = SUFFIXES.iter().filter_map(|s| name.find(s)).min();
    let name = &name[..cut.unwrap_or(name.len())];
    // ppc64's entry points, s390's and x86's paddings.
    let name = name.strip_prefix("__pfx_").unwrap_or(name);
    let name = match name.strip_prefix('.') {
        Some(rest) if !rest.is_empty() => rest,
        _ => name,
    };
    // The same system call enters under a name of each machine's own.
    let entered = ENTRIES.iter().find_map(|machine| {
        let call = name.strip_prefix(machine)?;
        let is_call = call.starts_with("sys_") || call.starts_with("compat_sys_");
        is_call.then_some(call)
    });
    entered.unwrap_or(name)
}

/// True for a function that names no crash.
pub fn is_generic(name: &str) -> bool {
    GENERIC.contains(&name) || GENERIC_BEGINNINGS.iter().any(|b| name.starts_with(b))
}

fn is_name(word: &str) -> bool {
    let mut bytes = word.bytes();
    bytes
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_' || b == b'.')
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'$'))
}

fn is_hex(word: &str) -> bool {
    word.strip_prefix("0x")
        .is_some_and(|h| !h.is_empty() && h.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// The function of a word such as `name+0x1c/0x30`, `netbsd:name+0x51:`, `<name+0x8/0x10>`.
/// Without a size (`/0x30`) the word must be of a BSD's form, which has none.
fn in_word(word: &str, sized: bool) -> Option<&str> {
    let word = word.trim_matches(|c| matches!(c, '(' | ')' | '<' | '>' | ':' | ',' | ';'));
    let (name, place) = word.split_once('+')?;
    let name = name.rsplit(':').next()?;
    let whole = match place.split_once('/') {
        Some((offset, size)) => is_hex(offset) && (is_hex(size) || !sized),
        None => !sized && is_hex(place),
    };
    (whole && is_name(name)).then(|| plain(name))
}

/// A function named by a line of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its plain name.
    pub name: &'a str,
    /// The unwinder is not sure of it: `? name+0x1/0x2`.
    pub guessed: bool,
    /// The place is the very beginning of the function: the address behind the last instruction of
    /// another one that does not return.
    pub at_start: bool,
}

/// The functions that a line of a Linux trace names, in order.
pub fn linux(line: &str) -> Vec<Frame<'_>> {
    let sure = |name| Frame {
        name,
        guessed: false,
        at_start: false,
    };
    // 32-bit ARM: `callee [module] from caller+0x10/0x20`.
    if let Some((callee, caller)) = line.split_once(" from ")
        && let Some(caller) = caller.split(' ').find_map(|w| in_word(w, true))
        && let Some(callee) = callee.trim_start().split(' ').next()
        && is_name(callee)
    {
        return vec![sure(plain(callee)), sure(caller)];
    }
    let mut guessed = false;
    let mut found = Vec::new();
    for word in line.split(' ') {
        match in_word(word, true) {
            Some(name) => {
                found.push(Frame {
                    name,
                    guessed,
                    at_start: word.contains("+0x0/"),
                });
                guessed = false;
            }
            None if word == "?" => guessed = true,
            None => {}
        }
    }
    found
}

/// The function that a line of a BSD's trace or debugger names: `name() at netbsd:name+0x5`,
/// `Stopped in pid 1.2 (sh) at netbsd:name+0x51:`, `Stopped at  name+0x10:`. At the very beginning of a
/// function the debugger leaves the offset out: `Stopped in pid 1.2 (sh) at netbsd:name:`.
pub fn bsd(line: &str) -> Option<&str> {
    let Some((_, place)) = line.split_once(" at ") else {
        let word = line.split_whitespace().find(|w| w.contains('+'))?;
        return in_word(word, false);
    };
    let word = place.split_whitespace().next()?;
    in_word(word, false).or_else(|| at_start(word, line.starts_with("Stopped ")))
}

/// The function of a place without an offset. Any word could be a name: it must stand behind the name
/// of a kernel or module, or be where the debugger says that it stopped.
fn at_start(word: &str, stopped: bool) -> Option<&str> {
    let place = match stopped {
        true => word.strip_suffix(':')?,
        false => word,
    };
    let name = match place.rsplit_once(':') {
        Some((object, name)) => is_name(object).then_some(name)?,
        None => stopped.then_some(place)?,
    };
    is_name(name).then(|| plain(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_all_machines() {
        for (line, expected) in [
            ("RIP: 0010:crasher_null+0xc/0x30 [crashers]", "crasher_null"),
            (
                "EIP: portable_spawn.isra.0+0x5e/0x1a0 [portable]",
                "portable_spawn",
            ),
            (" crasher_bug+0x9e/0x1000 [crashers]", "crasher_bug"),
            ("PC is at crasher_null+0x10/0x1c [crashers]", "crasher_null"),
            ("pc : crasher_null+0x10/0x1c [crashers]", "crasher_null"),
            (
                "NIP [c008000000a30078] crasher_null+0x20/0x50 [crashers]",
                "crasher_null",
            ),
            (
                "Krnl PSW : 0704c00180000000 000003ff8011c1c2 (crasher_null+0x1a/0x48 [crashers])",
                "crasher_null",
            ),
            (
                "epc   : ffffffffc0012014 crasher_null+0x14/0x20 [crashers]",
                "crasher_null",
            ),
            ("TPC: <crasher_null+0x14/0x20>", "crasher_null"),
            (
                "([<000003ff8011c1c2>] crasher_null.part.0+0x1a/0x48 [crashers])",
                "crasher_null",
            ),
            (
                " crasher_null [crashers] from crashers_init+0xac/0x1000 [crashers]",
                "crasher_null",
            ),
        ] {
            assert_eq!(
                linux(line).first().map(|f| f.name),
                Some(expected),
                "{line}"
            );
        }
        assert!(linux(" ? guessed+0x12/0x30")[0].guessed);
        assert!(linux(" next+0x0/0x30")[0].at_start);
        assert!(linux("RIP: 0033:0x47fbe9 a+b 1+0x2/0x3").is_empty());
        assert_eq!(
            bsd("Stopped in pid 9.2 (modload) at netbsd:fn+0x51:  movl"),
            Some("fn")
        );
        assert_eq!(bsd("vpanic() at netbsd:vpanic+0x1f2"), Some("vpanic"));
        assert_eq!(
            bsd("Stopped at      db_enter+0x14:  popq    %rbp"),
            Some("db_enter")
        );
        let call = "Stopped in pid 412.1 (swapctl) at netbsd:sys_swapctl:  ud2";
        assert_eq!(bsd(call), Some("sys_swapctl"));
        assert_eq!(bsd("Stopped at      lose:   movl"), Some("lose"));
        assert_eq!(bsd("lose() at netbsd:lose"), Some("lose"));
        for line in [
            "com0 at isa0 port 0x3f8",
            "wd0 at atabus0 drive 0",
            "x at a:b:c",
            "sleeping at 12:30",
        ] {
            assert_eq!(bsd(line), None, "{line}");
        }
    }

    #[test]
    fn generic_frames() {
        for name in [
            "panic",
            "asm_exc_page_fault",
            "__warn",
            "_raw_spin_lock",
            "__schedule",
        ] {
            assert!(is_generic(name), "{name}");
        }
        assert!(!is_generic("crasher_null"));
        assert_eq!(plain("a.constprop.0.isra.1"), "a");
        assert_eq!(plain("a.cold"), "a");
        assert_eq!(plain("__s390x_sys_timer_settime"), "sys_timer_settime");
        assert_eq!(plain("__x64_sys_read.cold"), "sys_read");
        assert_eq!(plain("__ia32_compat_sys_ioctl"), "compat_sys_ioctl");
        assert_eq!(plain("__x64_syscall"), "__x64_syscall");
    }
}
