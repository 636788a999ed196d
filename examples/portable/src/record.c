/*
 * Tagged values packed without gaps, in the machine's own byte order.
 *
 * One byte of tag, then the value: four bytes for tags below 128, eight above.
 *
 * SPDX-License-Identifier: BSD-2-Clause
 */
#include "portable.h"

#include <string.h>

#define WIDE 0x80

static int
add(struct pt_record *r, uint8_t tag, const void *value, size_t size)
{
	if (r->size - r->used < size + 1)
		return -1;
	r->bytes[r->used] = tag;
	memcpy(r->bytes + r->used + 1, value, size);
	r->used += size + 1;
	return 0;
}

int
pt_record_add_u32(struct pt_record *r, uint8_t tag, uint32_t value)
{
	return tag & WIDE ? -1 : add(r, tag, &value, sizeof(value));
}

int
pt_record_add_double(struct pt_record *r, uint8_t tag, double value)
{
	return tag & WIDE ? add(r, tag, &value, sizeof(value)) : -1;
}

int
pt_record_find(const struct pt_record *r, uint8_t tag, size_t *offset)
{
	size_t at = 0, length;

	while (at < r->used) {
		length = r->bytes[at] & WIDE ? sizeof(double) : sizeof(uint32_t);
		if (r->used - at - 1 < length)
			return -1;
		if (r->bytes[at] == tag) {
			*offset = at + 1;
			return 0;
		}
		at += 1 + length;
	}
	return -1;
}

uint32_t
pt_record_u32(const struct pt_record *r, size_t offset)
{
	uint32_t value;

	memcpy(&value, r->bytes + offset, sizeof(value));
	return value;
}

double
pt_record_double(const struct pt_record *r, size_t offset)
{
	double value;

	memcpy(&value, r->bytes + offset, sizeof(value));
	return value;
}
