/* SPDX-License-Identifier: BSD-2-Clause */
#include <atf-c.h>

#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "portable.h"

ATF_TC(long_double_digits);
ATF_TC_HEAD(long_double_digits, tc)
{
	atf_tc_set_md_var(tc, "descr", "As many binary digits as the C library's header says");
	atf_tc_set_md_var(tc, "timeout", "6");
}
ATF_TC_BODY(long_double_digits, tc)
{
	ATF_CHECK_EQ(LDBL_MANT_DIG, pt_long_double_digits());
}

ATF_TC(long_double_is_wider);
ATF_TC_HEAD(long_double_is_wider, tc)
{
	atf_tc_set_md_var(tc, "descr", "One and a double's half ulp can be told from one");
}
ATF_TC_BODY(long_double_is_wider, tc)
{
	volatile long double sum = 1.0L;

	if (LDBL_MANT_DIG == DBL_MANT_DIG)
		atf_tc_expect_fail("long double is a double here");
	sum += DBL_EPSILON / 2;
	ATF_CHECK(sum != 1.0L);
}

ATF_TC_WITHOUT_HEAD(ulps);
ATF_TC_BODY(ulps, tc)
{
	ATF_CHECK_EQ(0, pt_ulps_between(0.0, -0.0));
	ATF_CHECK_EQ(1, pt_ulps_between(1.0, nextafter(1.0, 2.0)));
	ATF_CHECK_EQ(2, pt_ulps_between(nextafter(0.0, -1.0), nextafter(0.0, 1.0)));
}

ATF_TC_WITHOUT_HEAD(clamp_u8);
ATF_TC_BODY(clamp_u8, tc)
{
	ATF_CHECK_EQ(0, pt_clamp_u8(-1.0));
	ATF_CHECK_EQ(0, pt_clamp_u8(NAN));
	ATF_CHECK_EQ(254, pt_clamp_u8(254.9));
	ATF_CHECK_EQ(255, pt_clamp_u8(1e300));
}

ATF_TC_WITHOUT_HEAD(round_half_even);
ATF_TC_BODY(round_half_even, tc)
{
	ATF_CHECK_EQ(0, pt_round_half_even(0.5));
	ATF_CHECK_EQ(2, pt_round_half_even(1.5));
	ATF_CHECK_EQ(-2, pt_round_half_even(-1.5));
	ATF_CHECK_EQ(-2, pt_round_half_even(-2.5));
	ATF_CHECK_EQ(3, pt_round_half_even(2.75));
}

ATF_TC_WITHOUT_HEAD(format_shortest);
ATF_TC_BODY(format_shortest, tc)
{
	static const double some[] = { 0.1, 1.0 / 3, 5e-324, DBL_MAX, -1e22, 123456789.125 };
	char text[32];
	size_t i;

	for (i = 0; i < sizeof(some) / sizeof(some[0]); i++) {
		pt_double_format(text, sizeof(text), some[i]);
		ATF_CHECK_EQ(0, pt_ulps_between(some[i], strtod(text, NULL)));
	}
	pt_double_format(text, sizeof(text), 0.1);
	ATF_CHECK_STREQ("0.1", text);
}

ATF_TP_ADD_TCS(tp)
{
	ATF_TP_ADD_TC(tp, long_double_digits);
	ATF_TP_ADD_TC(tp, long_double_is_wider);
	ATF_TP_ADD_TC(tp, ulps);
	ATF_TP_ADD_TC(tp, clamp_u8);
	ATF_TP_ADD_TC(tp, round_half_even);
	ATF_TP_ADD_TC(tp, format_shortest);
	return atf_no_error();
}
