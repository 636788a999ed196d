/* SPDX-License-Identifier: BSD-2-Clause */
#include <sys/sysinfo.h>

#include <atf-c.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

ATF_TC(memory);
ATF_TC_HEAD(memory, tc)
{
	atf_tc_set_md_var(tc, "descr", "There is memory, and no more of it is free than there is");
}
ATF_TC_BODY(memory, tc)
{
	struct sysinfo info;

	ATF_REQUIRE_EQ(0, sysinfo(&info));
	ATF_CHECK(info.mem_unit >= 1);
	ATF_CHECK(info.totalram > 0);
	ATF_CHECK(info.freeram <= info.totalram);
}

/* The processes and threads that /proc shows. */
static int
threads(void)
{
	DIR *proc = opendir("/proc"), *task;
	struct dirent *entry, *thread;
	char path[300];
	int count = 0;

	ATF_REQUIRE(proc != NULL);
	while ((entry = readdir(proc)) != NULL) {
		if (atoi(entry->d_name) == 0)
			continue;
		snprintf(path, sizeof(path), "/proc/%s/task", entry->d_name);
		if ((task = opendir(path)) == NULL)
			continue;
		while ((thread = readdir(task)) != NULL)
			count += atoi(thread->d_name) != 0;
		closedir(task);
	}
	closedir(proc);
	return count;
}

ATF_TC(procs);
ATF_TC_HEAD(procs, tc)
{
	atf_tc_set_md_var(tc, "descr", "The number of processes is about what /proc shows");
}
ATF_TC_BODY(procs, tc)
{
	struct sysinfo info;
	int seen;

	ATF_REQUIRE_EQ(0, sysinfo(&info));
	seen = threads();
	/* Some come and go meanwhile. */
	ATF_CHECK_MSG(info.procs >= seen / 2 && info.procs <= seen * 2,
	    "sysinfo tells %d processes, /proc shows %d", info.procs, seen);
}

ATF_TC(uptime);
ATF_TC_HEAD(uptime, tc)
{
	atf_tc_set_md_var(tc, "descr", "The time since the boot does not go back");
}
ATF_TC_BODY(uptime, tc)
{
	struct sysinfo before, after;

	ATF_REQUIRE_EQ(0, sysinfo(&before));
	usleep(20000);
	ATF_REQUIRE_EQ(0, sysinfo(&after));
	ATF_CHECK(before.uptime >= 0 && after.uptime >= before.uptime);
}

ATF_TP_ADD_TCS(tp)
{
	ATF_TP_ADD_TC(tp, memory);
	ATF_TP_ADD_TC(tp, procs);
	ATF_TP_ADD_TC(tp, uptime);
	return atf_no_error();
}
