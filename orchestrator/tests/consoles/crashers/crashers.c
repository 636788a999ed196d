// SPDX-License-Identifier: GPL-2.0
/*
 * Kills a Linux kernel in the way that is asked for: `insmod crashers.ko how=null`.
 *
 * The console logs of the corpus come from guests in which this module ran (see ../README.md).
 * Each way is a function of its own that is not inlined: the title of a crash names it.
 */
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/errno.h>
#include <linux/interrupt.h>
#include <linux/kernel.h>
#include <linux/kthread.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/notifier.h>
#include <linux/panic_notifier.h>
#include <linux/refcount.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/timer.h>
#include <linux/vmalloc.h>

static char *how = "none";
module_param(how, charp, 0);
MODULE_PARM_DESC(how, "which crash");
static int seconds = 60;
module_param(seconds, int, 0);
MODULE_PARM_DESC(seconds, "how long a lock-up lasts");

struct thing {
	int first;
	int second[4];
	struct thing *next;
};

static struct thing *volatile nothing;
static volatile int zero;
static volatile int sink;

static noinline void crasher_null_read(void)
{
	sink = nothing->second[2];
	sink++;
}

static noinline void crasher_null_write(void)
{
	nothing->second[3] = 7;
	sink++;
}

static noinline void crasher_wild_read(void)
{
	unsigned long where = (unsigned long)&sink ^ (3UL << (BITS_PER_LONG - 8));

	sink = *(volatile int *)where;
	sink++;
}

static noinline void crasher_wild_jump(void)
{
	void (*go)(void) = (void (*)(void))(unsigned long)(zero + 0x1230);

	go();
	sink++;
}

static noinline void crasher_bug(void)
{
	BUG_ON(zero == 0);
	sink++;
}

static noinline void crasher_warn(void)
{
	WARN(zero == 0, "crashers: a thing of %d is wrong\n", sink);
	sink++;
}

static noinline void crasher_warn_plain(void)
{
	WARN_ON(zero == 0);
	sink++;
}

static noinline void crasher_panic(void)
{
	panic("crashers: state %d of %p cannot be", sink, nothing);
}

static noinline void crasher_divide(void)
{
	sink = 1234 / zero;
	sink++;
}

static noinline int crasher_recurse(int depth)
{
	volatile char room[512];

	room[depth & 511] = (char)depth;
	if (zero)
		return room[0];
	return crasher_recurse(depth + 1) + room[(depth + 1) & 511];
}

static noinline void crasher_stack(void)
{
	sink = crasher_recurse(0);
}

static noinline void crasher_smash(void)
{
	volatile char room[16];
	int i;

	for (i = 0; i < 96 + zero; i++)
		*(&room[0] + i) = 'A';
	sink++;
}

static noinline void crasher_list(void)
{
	LIST_HEAD(head);
	struct list_head *entry = kzalloc(sizeof(*entry), GFP_KERNEL);

	list_add(entry, &head);
	list_del(entry);
	list_del(entry);
	sink++;
}

static noinline void crasher_double_free(void)
{
	char *room = kmalloc(64, GFP_KERNEL);

	kfree(room);
	kfree(room);
	sink++;
}

static noinline void crasher_refcount(void)
{
	refcount_t count = REFCOUNT_INIT(0);

	refcount_inc(&count);
	sink++;
}

static noinline void crasher_write_text(void)
{
	*(volatile int *)(unsigned long)&crasher_write_text = 0;
	sink++;
}

static noinline void crasher_unaligned(void)
{
	char *room = kzalloc(32, GFP_KERNEL);

	sink = (int)*(volatile long *)(room + 3);
	kfree(room);
}

static noinline void crasher_illegal(void)
{
#if defined(CONFIG_X86)
	asm volatile("ud2");
#elif defined(CONFIG_S390)
	asm volatile(".short 0x0000");
#elif defined(CONFIG_ARM)
	asm volatile(".inst 0xe7f001f0");
#elif defined(CONFIG_ARM64) || defined(CONFIG_RISCV) || defined(CONFIG_PPC)
	asm volatile(".long 0");
#elif defined(CONFIG_MIPS)
	asm volatile(".word 0x7c00003f");
#else
	asm volatile(".word 0");
#endif
	sink++;
}

static noinline void crasher_spin(void)
{
	unsigned long end = jiffies + seconds * HZ;

	while (time_before(jiffies, end))
		cpu_relax();
}

static noinline void crasher_spin_quiet(void)
{
	preempt_disable();
	crasher_spin();
	preempt_enable();
}

static noinline void crasher_irqs_off(void)
{
	unsigned long flags;
	static DEFINE_SPINLOCK(lock);

	spin_lock_irqsave(&lock, flags);
	mdelay(1000 * seconds);
	spin_unlock_irqrestore(&lock, flags);
}

static noinline void crasher_deadlock(void)
{
	static DEFINE_SPINLOCK(lock);
	unsigned long flags;

	spin_lock_irqsave(&lock, flags);
	while (!zero)
		cpu_relax();
	spin_unlock_irqrestore(&lock, flags);
}

static struct rcu_head waiting;

static void crasher_waited(struct rcu_head *head)
{
}

static noinline void crasher_rcu(void)
{
	/* A grace period must be under way: with one CPU none begins while it spins. */
	call_rcu(&waiting, crasher_waited);
	msleep(200);
	rcu_read_lock();
	crasher_spin();
	rcu_read_unlock();
}

static noinline void crasher_block(void)
{
	static DECLARE_COMPLETION(never);

	wait_for_completion(&never);
}

static noinline void crasher_mutex(void)
{
	static DEFINE_MUTEX(lock);

	mutex_lock(&lock);
	mutex_lock(&lock);
}

static noinline void crasher_sleep_atomic(void)
{
	preempt_disable();
	local_irq_disable();
	schedule();
	local_irq_enable();
	preempt_enable();
}

static noinline int crasher_panic_again(struct notifier_block *self, unsigned long event, void *text)
{
	crasher_null_write();
	return NOTIFY_DONE;
}

static struct notifier_block again = { .notifier_call = crasher_panic_again };

static noinline void crasher_double(void)
{
	atomic_notifier_chain_register(&panic_notifier_list, &again);
	panic("crashers: the first of two");
}

static void (*in_timer)(void);

static noinline void crasher_timer(struct timer_list *timer)
{
	in_timer();
}

static DEFINE_TIMER(timer, crasher_timer);

static int crasher_thread(void *what)
{
	((void (*)(void))what)();
	return 0;
}

static const struct {
	const char *name;
	void (*run)(void);
} ways[] = {
	{ "null-read", crasher_null_read },
	{ "null-write", crasher_null_write },
	{ "wild-read", crasher_wild_read },
	{ "wild-jump", crasher_wild_jump },
	{ "bug", crasher_bug },
	{ "warn", crasher_warn },
	{ "warn-plain", crasher_warn_plain },
	{ "panic", crasher_panic },
	{ "divide", crasher_divide },
	{ "stack", crasher_stack },
	{ "smash", crasher_smash },
	{ "list", crasher_list },
	{ "double-free", crasher_double_free },
	{ "refcount", crasher_refcount },
	{ "write-text", crasher_write_text },
	{ "unaligned", crasher_unaligned },
	{ "illegal", crasher_illegal },
	{ "spin", crasher_spin_quiet },
	{ "irqs-off", crasher_irqs_off },
	{ "deadlock", crasher_deadlock },
	{ "rcu", crasher_rcu },
	{ "block", crasher_block },
	{ "mutex", crasher_mutex },
	{ "sleep-atomic", crasher_sleep_atomic },
	{ "double", crasher_double },
};

/* `how` is a name, or `timer-NAME` for the same in an interrupt, `thread-NAME` in a kernel thread. */
static int __init crashers_init(void)
{
	const char *name = how;
	size_t i;

	if (!strncmp(how, "timer-", 6))
		name += 6;
	else if (!strncmp(how, "thread-", 7))
		name += 7;
	for (i = 0; i < ARRAY_SIZE(ways); i++) {
		if (strcmp(ways[i].name, name))
			continue;
		if (name == how) {
			ways[i].run();
		} else if (how[1] == 'i') {
			in_timer = ways[i].run;
			mod_timer(&timer, jiffies + HZ / 4);
		} else {
			kthread_run(crasher_thread, (void *)ways[i].run, "crasher");
		}
		return 0;
	}
	pr_info("crashers: no way '%s'\n", how);
	return -EINVAL;
}
module_init(crashers_init);

MODULE_DESCRIPTION("Kills the kernel on purpose");
MODULE_LICENSE("GPL");
