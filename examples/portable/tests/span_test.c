/* SPDX-License-Identifier: BSD-2-Clause */
#include <atf-c.h>

#include <inttypes.h>
#include <time.h>

#include "portable.h"

ATF_TC_WITHOUT_HEAD(ns_of_a_second);
ATF_TC_BODY(ns_of_a_second, tc)
{
	ATF_CHECK_EQ(0, pt_span_ns(0, 0));
	ATF_CHECK_EQ(1000000001, pt_span_ns(1, 1));
	ATF_CHECK_EQ(-999999999, pt_span_ns(-1, 1));
}

ATF_TC(ns_of_a_day);
ATF_TC_HEAD(ns_of_a_day, tc)
{
	atf_tc_set_md_var(tc, "descr", "A day in nanoseconds needs 47 bits");
}
ATF_TC_BODY(ns_of_a_day, tc)
{
	int64_t day = pt_span_ns(86400, 5);

	ATF_CHECK_MSG(day == INT64_C(86400000000005), "got %" PRId64 " ns", day);
}

ATF_TC_WITHOUT_HEAD(format_span);
ATF_TC_BODY(format_span, tc)
{
	char text[32];

	pt_span_format(text, sizeof(text), INT64_C(1500000000));
	ATF_CHECK_STREQ("1.500s", text);
	pt_span_format(text, sizeof(text), -INT64_C(61000000000));
	ATF_CHECK_STREQ("-1m01s", text);
	pt_span_format(text, sizeof(text), INT64_C(7384000000000));
	ATF_CHECK_STREQ("2h03m04s", text);
	pt_span_format(text, sizeof(text), INT64_MIN);
	ATF_CHECK_STREQ("-2562047h47m16s", text);
}

ATF_TC_WITHOUT_HEAD(size_mul_overflow);
ATF_TC_BODY(size_mul_overflow, tc)
{
	size_t product = 1;

	ATF_CHECK_EQ(-1, pt_size_mul(SIZE_MAX / 2 + 1, 2, &product));
	ATF_CHECK_EQ(1, product);
	ATF_CHECK_EQ(0, pt_size_mul(SIZE_MAX / 2, 2, &product));
	ATF_CHECK_EQ(SIZE_MAX - 1, product);
	ATF_CHECK_EQ(0, pt_size_mul(SIZE_MAX, 0, &product));
	ATF_CHECK_EQ(0, product);
}

ATF_TC_WITHOUT_HEAD(size_text);
ATF_TC_BODY(size_text, tc)
{
	char text[32];
	uint64_t bytes = 0;

	pt_size_format(text, sizeof(text), 1023);
	ATF_CHECK_STREQ("1023", text);
	pt_size_format(text, sizeof(text), 1536);
	ATF_CHECK_STREQ("1.5KiB", text);
	pt_size_format(text, sizeof(text), UINT64_MAX);
	ATF_CHECK_STREQ("15.9EiB", text);
	ATF_CHECK_EQ(0, pt_size_parse("512MiB", &bytes));
	ATF_CHECK(bytes == UINT64_C(512) << 20);
	ATF_CHECK_EQ(0, pt_size_parse("8EiB", &bytes));
	ATF_CHECK(bytes == UINT64_C(1) << 63);
	ATF_CHECK_EQ(-1, pt_size_parse("16EiB", &bytes));
	ATF_CHECK_EQ(-1, pt_size_parse("12MB", &bytes));
	ATF_CHECK_EQ(-1, pt_size_parse("", &bytes));
}

ATF_TC(clock_past_2038);
ATF_TC_HEAD(clock_past_2038, tc)
{
	atf_tc_set_md_var(tc, "descr", "The C library can name a second of the year 2040");
}
ATF_TC_BODY(clock_past_2038, tc)
{
	int64_t second = INT64_C(2208988800);
	time_t t = (time_t)second;
	struct tm *tm;

	if (sizeof(time_t) < sizeof(int64_t))
		atf_tc_expect_fail("time_t has %u bits here", (unsigned)sizeof(time_t) * 8);
	ATF_REQUIRE((int64_t)t == second);
	tm = gmtime(&t);
	ATF_REQUIRE(tm != NULL);
	ATF_CHECK_EQ(2040 - 1900, tm->tm_year);
}

ATF_TP_ADD_TCS(tp)
{
	ATF_TP_ADD_TC(tp, ns_of_a_second);
	ATF_TP_ADD_TC(tp, ns_of_a_day);
	ATF_TP_ADD_TC(tp, format_span);
	ATF_TP_ADD_TC(tp, size_mul_overflow);
	ATF_TP_ADD_TC(tp, size_text);
	ATF_TP_ADD_TC(tp, clock_past_2038);
	return atf_no_error();
}
