/* SPDX-License-Identifier: BSD-2-Clause */
#include <atf-c.h>
#include <errno.h>
#include <signal.h>
#include <time.h>

/* A timer that raises SIGALRM; the signal is blocked, so it stays pending. */
static timer_t
make(sigset_t *set)
{
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM};
	timer_t timer;

	sigemptyset(set);
	sigaddset(set, SIGALRM);
	ATF_REQUIRE_EQ(0, sigprocmask(SIG_BLOCK, set, NULL));
	ATF_REQUIRE_EQ(0, timer_create(CLOCK_MONOTONIC, &event, &timer));
	return timer;
}

ATF_TC(once);
ATF_TC_HEAD(once, tc)
{
	atf_tc_set_md_var(tc, "descr", "A timer without an interval fires");
}
ATF_TC_BODY(once, tc)
{
	struct itimerspec spec = {.it_value = {.tv_nsec = 20000000}};
	struct timespec limit = {.tv_sec = 30};
	sigset_t set;
	timer_t timer = make(&set);

	ATF_REQUIRE_EQ(0, timer_settime(timer, 0, &spec, NULL));
	ATF_REQUIRE_EQ(SIGALRM, sigtimedwait(&set, NULL, &limit));
	ATF_REQUIRE_EQ(0, timer_delete(timer));
}

ATF_TC(ticks);
ATF_TC_HEAD(ticks, tc)
{
	atf_tc_set_md_var(tc, "descr", "A timer with an interval fires again and again");
}
ATF_TC_BODY(ticks, tc)
{
	struct itimerspec spec = {.it_value = {.tv_nsec = 1000000}, .it_interval = {.tv_nsec = 1000000}};
	struct timespec limit = {.tv_sec = 30};
	sigset_t set;
	timer_t timer = make(&set);

	ATF_REQUIRE_EQ(0, timer_settime(timer, 0, &spec, NULL));
	for (int i = 0; i < 5; i++)
		ATF_REQUIRE_EQ(SIGALRM, sigtimedwait(&set, NULL, &limit));
	ATF_REQUIRE_EQ(0, timer_delete(timer));
}

ATF_TC(hours);
ATF_TC_HEAD(hours, tc)
{
	atf_tc_set_md_var(tc, "descr", "An interval of hours is kept as it was set");
}
ATF_TC_BODY(hours, tc)
{
	struct itimerspec spec = {.it_value = {.tv_sec = 7200}, .it_interval = {.tv_sec = 7200}}, now;
	sigset_t set;
	timer_t timer = make(&set);

	ATF_REQUIRE_EQ(0, timer_settime(timer, 0, &spec, NULL));
	ATF_REQUIRE_EQ(0, timer_gettime(timer, &now));
	ATF_CHECK_EQ(7200, now.it_interval.tv_sec);
	ATF_CHECK_EQ(0, now.it_interval.tv_nsec);
	ATF_REQUIRE_EQ(0, timer_delete(timer));
}

ATF_TC(negative);
ATF_TC_HEAD(negative, tc)
{
	atf_tc_set_md_var(tc, "descr", "A negative time is refused");
}
ATF_TC_BODY(negative, tc)
{
	struct itimerspec spec = {.it_value = {.tv_nsec = -1}};
	sigset_t set;
	timer_t timer = make(&set);

	ATF_REQUIRE_ERRNO(EINVAL, timer_settime(timer, 0, &spec, NULL) == -1);
	ATF_REQUIRE_EQ(0, timer_delete(timer));
}

ATF_TP_ADD_TCS(tp)
{
	ATF_TP_ADD_TC(tp, once);
	ATF_TP_ADD_TC(tp, ticks);
	ATF_TP_ADD_TC(tp, hours);
	ATF_TP_ADD_TC(tp, negative);
	return atf_no_error();
}
