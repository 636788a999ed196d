/* SPDX-License-Identifier: BSD-2-Clause */
#include <sys/stat.h>
#include <sys/vfs.h>

#include <atf-c.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "portable.h"

ATF_TC_WITHOUT_HEAD(replace_file);
ATF_TC_BODY(replace_file, tc)
{
	ATF_REQUIRE_EQ(0, pt_replace("file", "old text", 8));
	ATF_REQUIRE_EQ(0, pt_replace("./file", "new", 3));
	ATF_CHECK(atf_utils_compare_file("file", "new"));
	ATF_CHECK_EQ_MSG(-1, access("file.new", F_OK), "the temporary file was left behind");
}

ATF_TC_WITHOUT_HEAD(replace_without_directory);
ATF_TC_BODY(replace_without_directory, tc)
{
	ATF_CHECK_ERRNO(ENOENT, pt_replace("no/file", "x", 1) == -1);
	ATF_CHECK_ERRNO(ENOENT, pt_flush("nothing") == -1);
}

ATF_TC_WITH_CLEANUP(flush_shared_file);
ATF_TC_HEAD(flush_shared_file, tc)
{
	atf_tc_set_md_var(tc, "descr", "A file outside the work directory, which the cleanup removes");
}
ATF_TC_BODY(flush_shared_file, tc)
{
	ATF_REQUIRE_EQ(0, pt_replace("/tmp/portable-flush-test", "text", 4));
	ATF_CHECK_EQ(0, pt_flush("/tmp/portable-flush-test"));
}
ATF_TC_CLEANUP(flush_shared_file, tc)
{
	unlink("/tmp/portable-flush-test");
}

static int
asked_for(uint64_t free_blocks, uint64_t total_blocks)
{
	struct pt_room room;
	char letter = '-';
	int fd;

	atf_utils_create_file("request", "-");
	ATF_REQUIRE_EQ(0, setenv("PT_SYSRQ", "request", 1));
	pt_room_set(&room, free_blocks, total_blocks);
	ATF_REQUIRE_EQ(0, pt_flush_pressure(&room));
	fd = open("request", O_RDONLY);
	ATF_REQUIRE(fd >= 0);
	ATF_REQUIRE_EQ(1, read(fd, &letter, 1));
	close(fd);
	return letter;
}

ATF_TC_WITHOUT_HEAD(pressure_by_room);
ATF_TC_BODY(pressure_by_room, tc)
{
	ATF_CHECK_EQ('c', asked_for(0, 4096));
	ATF_CHECK_EQ('c', asked_for(100, 4096));
	ATF_CHECK_EQ('s', asked_for(2048, 4096));
	ATF_CHECK_EQ('-', asked_for(4000, 4096));
	ATF_CHECK_EQ('-', asked_for(4096, 4096));
}

/* The magic numbers of ramfs and tmpfs, on which a system keeps nothing. */
static int
nothing_to_lose(void)
{
	struct statfs root;

	return statfs("/", &root) == 0 &&
	    ((unsigned long)root.f_type == 0x858458f6UL || (unsigned long)root.f_type == 0x01021994UL);
}

ATF_TC(pressure_asks_the_kernel);
ATF_TC_HEAD(pressure_asks_the_kernel, tc)
{
	atf_tc_set_md_var(tc, "descr", "With a third of the room free, the kernel is asked to sync");
	atf_tc_set_md_var(tc, "require.user", "root");
	atf_tc_set_md_var(tc, "timeout", "30");
}
ATF_TC_BODY(pressure_asks_the_kernel, tc)
{
	struct pt_room room;

	if (access("/proc/sysrq-trigger", W_OK) != 0)
		atf_tc_skip("no /proc/sysrq-trigger here");
	if (!nothing_to_lose())
		atf_tc_skip("asks a kernel only where / is in memory and nothing can be lost");
	pt_room_set(&room, 1000, 3000);
	ATF_CHECK_EQ(0, pt_flush_pressure(&room));
}

ATF_TP_ADD_TCS(tp)
{
	ATF_TP_ADD_TC(tp, replace_file);
	ATF_TP_ADD_TC(tp, replace_without_directory);
	ATF_TP_ADD_TC(tp, flush_shared_file);
	ATF_TP_ADD_TC(tp, pressure_by_room);
	ATF_TP_ADD_TC(tp, pressure_asks_the_kernel);
	return atf_no_error();
}
