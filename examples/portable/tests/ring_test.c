/* SPDX-License-Identifier: BSD-2-Clause */
#include <sys/wait.h>

#include <atf-c.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "portable.h"

ATF_TC_WITHOUT_HEAD(wraps_round);
ATF_TC_BODY(wraps_round, tc)
{
	struct pt_ring *ring = pt_ring_create(8);
	char back[8];

	ATF_REQUIRE(ring != NULL);
	ATF_CHECK_EQ(6, pt_ring_write(ring, "abcdef", 6));
	ATF_CHECK_EQ(5, pt_ring_read(ring, back, 5));
	ATF_CHECK_EQ(7, pt_ring_write(ring, "ghijklmn", 8));
	ATF_CHECK_EQ(8, pt_ring_used(ring));
	ATF_CHECK_EQ(8, pt_ring_read(ring, back, 8));
	ATF_CHECK(memcmp(back, "fghijklm", 8) == 0);
	pt_ring_destroy(ring);
}

ATF_TC_WITHOUT_HEAD(odd_capacity);
ATF_TC_BODY(odd_capacity, tc)
{
	ATF_CHECK_ERRNO(EINVAL, pt_ring_create(0) == NULL);
	ATF_CHECK_ERRNO(EINVAL, pt_ring_create(24) == NULL);
}

ATF_TC(two_processes);
ATF_TC_HEAD(two_processes, tc)
{
	atf_tc_set_md_var(tc, "descr", "A child writes 256 KiB, the parent reads them in order");
	atf_tc_set_md_var(tc, "timeout", "60");
	atf_tc_set_md_var(tc, "require.memory", "1M");
}
ATF_TC_BODY(two_processes, tc)
{
	struct pt_ring *ring = pt_ring_create(4096);
	uint32_t seen = 0, total = 256 * 1024, i;
	uint8_t bytes[1000];
	pid_t child;
	int status;

	ATF_REQUIRE(ring != NULL);
	child = fork();
	ATF_REQUIRE(child >= 0);
	if (child == 0) {
		for (i = 0; i < total;) {
			uint8_t byte = (uint8_t)(i * 7);

			if (pt_ring_write(ring, &byte, 1) == 1)
				i++;
			else
				sched_yield();
		}
		_exit(0);
	}
	while (seen < total) {
		size_t n = pt_ring_read(ring, bytes, sizeof(bytes));

		if (n == 0)
			sched_yield();
		for (i = 0; i < n; i++, seen++)
			if (bytes[i] != (uint8_t)(seen * 7)) {
				kill(child, SIGKILL);
				atf_tc_fail("byte %u is %u", seen, bytes[i]);
			}
	}
	ATF_REQUIRE_EQ(child, waitpid(child, &status, 0));
	ATF_CHECK_EQ(0, status);
	pt_ring_destroy(ring);
}

ATF_TC_WITHOUT_HEAD(destroy_without_ring);
ATF_TC_BODY(destroy_without_ring, tc)
{
	atf_tc_expect_signal(SIGABRT, "a lost ring is lost data");
	pt_ring_destroy(NULL);
}

ATF_TP_ADD_TCS(tp)
{
	ATF_TP_ADD_TC(tp, wraps_round);
	ATF_TP_ADD_TC(tp, odd_capacity);
	ATF_TP_ADD_TC(tp, two_processes);
	ATF_TP_ADD_TC(tp, destroy_without_ring);
	return atf_no_error();
}
