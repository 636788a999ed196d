/* SPDX-License-Identifier: BSD-2-Clause */
#include <atf-c.h>

#include <stdalign.h>

#include "portable.h"

/* Aligned by hand, so that "at an odd offset" does not hang on what the compiler chose. */
static alignas(16) uint8_t space[64];

ATF_TC_WITHOUT_HEAD(u32_round_trip);
ATF_TC_BODY(u32_round_trip, tc)
{
	struct pt_record r = { space, sizeof(space), 0 };
	size_t at;

	ATF_REQUIRE_EQ(0, pt_record_add_u32(&r, 1, 0xdeadbeef));
	ATF_REQUIRE_EQ(0, pt_record_add_u32(&r, 2, 7));
	ATF_REQUIRE_EQ(0, pt_record_find(&r, 2, &at));
	ATF_CHECK_EQ(7, pt_record_u32(&r, at));
	ATF_REQUIRE_EQ(0, pt_record_find(&r, 1, &at));
	ATF_CHECK_EQ(0xdeadbeef, pt_record_u32(&r, at));
}

ATF_TC(double_after_u32);
ATF_TC_HEAD(double_after_u32, tc)
{
	atf_tc_set_md_var(tc, "descr", "Values follow each other without gaps, at any address");
}
ATF_TC_BODY(double_after_u32, tc)
{
	struct pt_record r = { space, sizeof(space), 0 };
	size_t at;

	ATF_REQUIRE_EQ(0, pt_record_add_u32(&r, 3, 42));
	ATF_REQUIRE_EQ(0, pt_record_add_double(&r, 0x83, -0.15625));
	ATF_REQUIRE_EQ(0, pt_record_find(&r, 0x83, &at));
	ATF_CHECK_EQ(6, at);
	ATF_CHECK_EQ(-0.15625, pt_record_double(&r, at));
}

ATF_TC_WITHOUT_HEAD(full_record);
ATF_TC_BODY(full_record, tc)
{
	struct pt_record r = { space, 9, 0 };

	ATF_CHECK_EQ(0, pt_record_add_u32(&r, 1, 1));
	ATF_CHECK_EQ(-1, pt_record_add_u32(&r, 2, 2));
	ATF_CHECK_EQ(-1, pt_record_add_double(&r, 0x82, 2));
	ATF_CHECK_EQ(5, r.used);
}

ATF_TC_WITHOUT_HEAD(damaged_record);
ATF_TC_BODY(damaged_record, tc)
{
	struct pt_record r = { space, sizeof(space), 0 };
	size_t at;

	ATF_REQUIRE_EQ(0, pt_record_add_double(&r, 0x81, 1));
	r.used--;
	ATF_CHECK_EQ(-1, pt_record_find(&r, 0x81, &at));
	ATF_CHECK_EQ_MSG(-1, pt_record_add_double(&r, 0x01, 1), "a narrow tag for a wide value");
}

ATF_TP_ADD_TCS(tp)
{
	ATF_TP_ADD_TC(tp, u32_round_trip);
	ATF_TP_ADD_TC(tp, double_after_u32);
	ATF_TP_ADD_TC(tp, full_record);
	ATF_TP_ADD_TC(tp, damaged_record);
	return atf_no_error();
}
