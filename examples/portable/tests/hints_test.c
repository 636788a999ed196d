/* SPDX-License-Identifier: BSD-2-Clause */
#include <atf-c.h>
#include <errno.h>

#include <stdlib.h>
#include <string.h>

#include "portable.h"

/* Hints of a case's own, which nobody else sees. */
static void
own_hints(void)
{
	ATF_REQUIRE_EQ(0, setenv("PT_HINTS", "hints", 1));
}

ATF_TC(note_word_count);
ATF_TC_HEAD(note_word_count, tc)
{
	atf_tc_set_md_var(tc, "descr", "How the library is used: count, and remember for next time");
}
ATF_TC_BODY(note_word_count, tc)
{
	char line[] = "the quick brown fox jumps over the lazy dog";
	uint64_t value = 0;
	size_t words;

	words = pt_words_distinct(line);
	ATF_REQUIRE_EQ(0, pt_hint_note("fox.words", words));
	ATF_REQUIRE_EQ(0, pt_hint_find("fox.words", &value, NULL));
	ATF_CHECK_EQ(8, value);
}

ATF_TC_WITHOUT_HEAD(store_and_find);
ATF_TC_BODY(store_and_find, tc)
{
	unsigned long flags = 0;
	uint64_t value = 0;

	own_hints();
	ATF_CHECK_EQ(-1, pt_hint_find("one", &value, NULL));
	ATF_REQUIRE_EQ(0, pt_hint_store("one", UINT64_MAX, 5));
	ATF_REQUIRE_EQ(0, pt_hint_find("one", &value, &flags));
	ATF_CHECK(value == UINT64_MAX);
	ATF_CHECK_EQ(5, flags & PT_HINT_CLASS);
}

ATF_TC_WITHOUT_HEAD(sweep_keeps_what_is_marked);
ATF_TC_BODY(sweep_keeps_what_is_marked, tc)
{
	uint64_t value = 0;

	own_hints();
	ATF_REQUIRE_EQ(0, pt_hint_store("one", 1, 0));
	ATF_REQUIRE_EQ(0, pt_hint_store("two", 2, PT_HINT_KEEP));
	ATF_CHECK_EQ(1, pt_hint_sweep());
	ATF_CHECK_EQ(-1, pt_hint_find("one", &value, NULL));
	ATF_CHECK_EQ(0, pt_hint_find("two", &value, NULL));
	ATF_CHECK_EQ(2, value);
}

ATF_TC_WITHOUT_HEAD(bad_names);
ATF_TC_BODY(bad_names, tc)
{
	char name[PT_HINT_NAME_MAX + 2] = "";

	own_hints();
	ATF_CHECK_ERRNO(EINVAL, pt_hint_note(name, 1) == -1);
	memset(name, 'n', sizeof(name) - 1);
	ATF_CHECK_ERRNO(EINVAL, pt_hint_note(name, 1) == -1);
	name[PT_HINT_NAME_MAX] = '\0';
	ATF_CHECK_EQ(0, pt_hint_note(name, 1));
}

ATF_TP_ADD_TCS(tp)
{
	ATF_TP_ADD_TC(tp, note_word_count);
	ATF_TP_ADD_TC(tp, store_and_find);
	ATF_TP_ADD_TC(tp, sweep_keeps_what_is_marked);
	ATF_TP_ADD_TC(tp, bad_names);
	return atf_no_error();
}
