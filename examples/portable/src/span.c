/* Times and sizes that do not overflow silently.  SPDX-License-Identifier: BSD-2-Clause */
#include "portable.h"

#include <inttypes.h>

int64_t
pt_span_ns(int32_t seconds, int32_t nanoseconds)
{
	return seconds * INT64_C(1000000000) + nanoseconds;
}

void
pt_span_format(char *text, size_t size, int64_t ns)
{
	uint64_t whole = ns < 0 ? -(uint64_t)ns : (uint64_t)ns;
	uint64_t s = whole / 1000000000, ms = whole / 1000000 % 1000;
	const char *sign = ns < 0 ? "-" : "";

	if (s >= 3600)
		snprintf(text, size, "%s%" PRIu64 "h%02um%02us", sign, s / 3600,
		    (unsigned)(s / 60 % 60), (unsigned)(s % 60));
	else if (s >= 60)
		snprintf(text, size, "%s%um%02us", sign, (unsigned)(s / 60), (unsigned)(s % 60));
	else
		snprintf(text, size, "%s%u.%03us", sign, (unsigned)s, (unsigned)ms);
}

int
pt_size_mul(size_t a, size_t b, size_t *product)
{
	if (b != 0 && a > SIZE_MAX / b)
		return -1;
	*product = a * b;
	return 0;
}

static const char units[] = "KMGTPE";

void
pt_size_format(char *text, size_t size, uint64_t bytes)
{
	unsigned tenths;
	int unit = -1;

	if (bytes < 1024) {
		snprintf(text, size, "%u", (unsigned)bytes);
		return;
	}
	while (bytes >= 1024 * 1024) {
		bytes /= 1024;
		unit++;
	}
	tenths = (unsigned)(bytes % 1024 * 10 / 1024);
	snprintf(text, size, "%u.%u%ciB", (unsigned)(bytes / 1024), tenths, units[unit + 1]);
}

int
pt_size_parse(const char *text, uint64_t *bytes)
{
	uint64_t sum = 0;
	int unit;

	if (*text < '0' || *text > '9')
		return -1;
	for (; *text >= '0' && *text <= '9'; text++) {
		unsigned digit = (unsigned)(*text - '0');

		if (sum > (UINT64_MAX - digit) / 10)
			return -1;
		sum = sum * 10 + digit;
	}
	if (*text != '\0') {
		for (unit = 0; units[unit] != '\0' && units[unit] != *text; unit++)
			continue;
		if (units[unit] == '\0' || text[1] != 'i' || text[2] != 'B' || text[3] != '\0')
			return -1;
		if (sum > UINT64_MAX >> (10 * (unit + 1)))
			return -1;
		sum <<= 10 * (unit + 1);
	}
	*bytes = sum;
	return 0;
}
