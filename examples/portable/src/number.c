/* Floating point.  SPDX-License-Identifier: BSD-2-Clause */
#include "portable.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

unsigned
pt_long_double_digits(void)
{
	return LDBL_MANT_DIG;
}

/* Doubles as integers in the same order, so that neighbours differ by one. */
static int64_t
ordered(double x)
{
	int64_t bits;

	memcpy(&bits, &x, sizeof(bits));
	return bits < 0 ? INT64_MIN - bits : bits;
}

uint64_t
pt_ulps_between(double a, double b)
{
	int64_t x = ordered(a), y = ordered(b);

	return x > y ? (uint64_t)x - (uint64_t)y : (uint64_t)y - (uint64_t)x;
}

/* The conversion of a value that does not fit is undefined, and differs between machines. */
uint8_t
pt_clamp_u8(double x)
{
	if (!(x > 0))
		return 0;
	return x >= 255 ? 255 : (uint8_t)x;
}

int64_t
pt_round_half_even(double x)
{
	double down = floor(x), rest = x - down;
	int64_t n = (int64_t)down;

	return n + (rest > 0.5 || (rest == 0.5 && (n & 1) != 0));
}

void
pt_double_format(char *text, size_t size, double x)
{
	int digits;

	for (digits = 1; digits <= 17; digits++) {
		snprintf(text, size, "%.*g", digits, x);
		if (strtod(text, NULL) == x)
			break;
	}
}
