/* SPDX-License-Identifier: BSD-2-Clause */
#include <atf-c.h>

#include <string.h>

#include "portable.h"

ATF_TC_WITHOUT_HEAD(hex_round_trip);
ATF_TC_BODY(hex_round_trip, tc)
{
	static const uint8_t bytes[] = { 0x00, 0x7f, 0x80, 0xc3, 0xff };
	char text[11];
	uint8_t back[5];

	pt_hex_encode(text, bytes, 5);
	ATF_CHECK_STREQ("007f80c3ff", text);
	ATF_CHECK_EQ(5, pt_hex_decode(back, 5, "007F80c3fF"));
	ATF_CHECK(memcmp(bytes, back, 5) == 0);
}

ATF_TC(hex_rejects_stray_digit);
ATF_TC_HEAD(hex_rejects_stray_digit, tc)
{
	atf_tc_set_md_var(tc, "descr", "What lies between '9' and 'A', and 'F' and 'a', is no digit");
}
ATF_TC_BODY(hex_rejects_stray_digit, tc)
{
	static const char *const bad[] = { "3:", "@1", "4G", "[0", "`7", "0/", "g0", "\xc3\xa9" };
	uint8_t byte;
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ATF_CHECK_MSG(pt_hex_decode(&byte, 1, bad[i]) == -1, "\"%s\" was accepted", bad[i]);
}

ATF_TC_WITHOUT_HEAD(hex_rejects_wrong_length);
ATF_TC_BODY(hex_rejects_wrong_length, tc)
{
	uint8_t bytes[2];

	ATF_CHECK_EQ(-1, pt_hex_decode(bytes, 2, "123"));
	ATF_CHECK_EQ(-1, pt_hex_decode(bytes, 2, "123456"));
	ATF_CHECK_EQ(0, pt_hex_decode(bytes, 2, ""));
}

ATF_TC_WITHOUT_HEAD(trim);
ATF_TC_BODY(trim, tc)
{
	char text[] = " \t a b\v\r\n", blank[] = "  ", high[] = " \xa0 ";

	ATF_CHECK_EQ(3, pt_trim(text));
	ATF_CHECK_STREQ("a b", text);
	ATF_CHECK_EQ(0, pt_trim(blank));
	ATF_CHECK_EQ_MSG(1, pt_trim(high), "a byte above 127 is no blank");
}

ATF_TC_WITHOUT_HEAD(is_name);
ATF_TC_BODY(is_name, tc)
{
	ATF_CHECK(pt_is_name("a"));
	ATF_CHECK(pt_is_name("_x9"));
	ATF_CHECK(!pt_is_name(""));
	ATF_CHECK(!pt_is_name("9a"));
	ATF_CHECK(!pt_is_name("a-b"));
	ATF_CHECK(!pt_is_name("caf\xe9"));
}

ATF_TC_WITHOUT_HEAD(utf8_valid);
ATF_TC_BODY(utf8_valid, tc)
{
	ATF_CHECK(pt_utf8_valid("", 0));
	ATF_CHECK(pt_utf8_valid("plain", 5));
	ATF_CHECK(pt_utf8_valid("\xc3\xa9", 2));
	ATF_CHECK(pt_utf8_valid("\xe2\x82\xac", 3));
	ATF_CHECK(pt_utf8_valid("\xf0\x9f\x98\x80", 4));
	ATF_CHECK(!pt_utf8_valid("\xc3", 1));
	ATF_CHECK(!pt_utf8_valid("\xc0\x80", 2));
	ATF_CHECK(!pt_utf8_valid("\xe0\x80\x80", 3));
	ATF_CHECK(!pt_utf8_valid("\xed\xa0\x80", 3));
	ATF_CHECK(!pt_utf8_valid("\xf5\x80\x80\x80", 4));
}

ATF_TC_WITHOUT_HEAD(words_distinct);
ATF_TC_BODY(words_distinct, tc)
{
	ATF_CHECK_EQ(0, pt_words_distinct(""));
	ATF_CHECK_EQ(0, pt_words_distinct(" \n"));
	ATF_CHECK_EQ(3, pt_words_distinct("to be\tor to  be"));
}

ATF_TP_ADD_TCS(tp)
{
	ATF_TP_ADD_TC(tp, hex_round_trip);
	ATF_TP_ADD_TC(tp, hex_rejects_stray_digit);
	ATF_TP_ADD_TC(tp, hex_rejects_wrong_length);
	ATF_TP_ADD_TC(tp, trim);
	ATF_TP_ADD_TC(tp, is_name);
	ATF_TP_ADD_TC(tp, utf8_valid);
	ATF_TP_ADD_TC(tp, words_distinct);
	return atf_no_error();
}
