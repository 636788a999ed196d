/* SPDX-License-Identifier: BSD-2-Clause */
#include <atf-c.h>

#include <string.h>

#include "portable.h"

ATF_TC_WITHOUT_HEAD(put_network_order);
ATF_TC_BODY(put_network_order, tc)
{
	static const uint8_t want[] = { 1, 2, 3, 4, 5, 6, 7, 8 };
	uint8_t got[8];

	pt_put_u64(got, UINT64_C(0x0102030405060708));
	ATF_CHECK(memcmp(got, want, 8) == 0);
	pt_put_u32(got, 0x01020304);
	ATF_CHECK(memcmp(got, want, 4) == 0);
	pt_put_u16(got, 0x0102);
	ATF_CHECK(memcmp(got, want, 2) == 0);
}

ATF_TC_WITHOUT_HEAD(get_at_odd_offset);
ATF_TC_BODY(get_at_odd_offset, tc)
{
	uint8_t bytes[9] = { 0 };

	pt_put_u64(bytes + 1, UINT64_C(0xfedcba9876543210));
	ATF_CHECK(pt_get_u64(bytes + 1) == UINT64_C(0xfedcba9876543210));
	ATF_CHECK(pt_get_u32(bytes + 1) == 0xfedcba98);
	ATF_CHECK(pt_get_u16(bytes + 3) == 0xba98);
}

ATF_TC_WITHOUT_HEAD(varint_round_trip);
ATF_TC_BODY(varint_round_trip, tc)
{
	uint8_t bytes[10];
	uint64_t back;
	int shift;

	for (shift = 0; shift < 64; shift++) {
		uint64_t v = UINT64_C(1) << shift;
		size_t n = pt_put_varint(bytes, v);

		ATF_CHECK_EQ((size_t)shift / 7 + 1, n);
		ATF_CHECK_EQ(n, pt_get_varint(bytes, n, &back));
		ATF_CHECK(back == v);
	}
}

ATF_TC_WITHOUT_HEAD(varint_truncated);
ATF_TC_BODY(varint_truncated, tc)
{
	static const uint8_t bytes[] = { 0x80, 0x80 };
	uint64_t back = 7;

	ATF_CHECK_EQ(0, pt_get_varint(bytes, 2, &back));
	ATF_CHECK_EQ(0, pt_get_varint(bytes, 0, &back));
	ATF_CHECK_EQ_MSG(7, back, "a failure wrote its result");
}

ATF_TC(sum16_known_answer);
ATF_TC_HEAD(sum16_known_answer, tc)
{
	atf_tc_set_md_var(tc, "descr", "The example of RFC 1071 and an odd length");
}
ATF_TC_BODY(sum16_known_answer, tc)
{
	static const uint8_t bytes[] = { 0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7 };
	uint16_t even = pt_sum16(bytes, 8), odd = pt_sum16(bytes, 7);

	ATF_CHECK_MSG(even == 0x220d, "eight bytes: got %#06x, not 0x220d", even);
	ATF_CHECK_MSG(odd == 0x2304, "seven bytes: got %#06x, not 0x2304", odd);
}

ATF_TC(crc32_known_answer);
ATF_TC_HEAD(crc32_known_answer, tc)
{
	atf_tc_set_md_var(tc, "descr", "The check value of CRC-32, whole and in two parts");
}
ATF_TC_BODY(crc32_known_answer, tc)
{
	ATF_CHECK_EQ(0xcbf43926, pt_crc32(0, "123456789", 9));
	ATF_CHECK_EQ(0xcbf43926, pt_crc32(pt_crc32(0, "1234", 4), "56789", 5));
}

ATF_TP_ADD_TCS(tp)
{
	ATF_TP_ADD_TC(tp, put_network_order);
	ATF_TP_ADD_TC(tp, get_at_odd_offset);
	ATF_TP_ADD_TC(tp, varint_round_trip);
	ATF_TP_ADD_TC(tp, varint_truncated);
	ATF_TP_ADD_TC(tp, sum16_known_answer);
	ATF_TP_ADD_TC(tp, crc32_known_answer);
	return atf_no_error();
}
