/* Numbers as bytes in network order, and sums over them.  SPDX-License-Identifier: BSD-2-Clause */
#include "portable.h"

#include <string.h>

void
pt_put_u16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

void
pt_put_u32(uint8_t *p, uint32_t v)
{
	pt_put_u16(p, (uint16_t)(v >> 16));
	pt_put_u16(p + 2, (uint16_t)v);
}

void
pt_put_u64(uint8_t *p, uint64_t v)
{
	pt_put_u32(p, (uint32_t)(v >> 32));
	pt_put_u32(p + 4, (uint32_t)v);
}

uint16_t
pt_get_u16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

uint32_t
pt_get_u32(const uint8_t *p)
{
	return (uint32_t)pt_get_u16(p) << 16 | pt_get_u16(p + 2);
}

uint64_t
pt_get_u64(const uint8_t *p)
{
	return (uint64_t)pt_get_u32(p) << 32 | pt_get_u32(p + 4);
}

size_t
pt_put_varint(uint8_t *p, uint64_t v)
{
	size_t n = 0;

	while (v >= 0x80) {
		p[n++] = (uint8_t)(v | 0x80);
		v >>= 7;
	}
	p[n++] = (uint8_t)v;
	return n;
}

size_t
pt_get_varint(const uint8_t *p, size_t size, uint64_t *v)
{
	uint64_t sum = 0;
	size_t n;

	for (n = 0; n < size && n < 10; n++) {
		sum |= (uint64_t)(p[n] & 0x7f) << (7 * n);
		if ((p[n] & 0x80) == 0) {
			*v = sum;
			return n + 1;
		}
	}
	return 0;
}

uint16_t
pt_sum16(const void *data, size_t size)
{
	const uint8_t *p = data;
	uint32_t sum = 0;

	for (; size > 1; p += 2, size -= 2)
		sum += pt_get_u16(p);
	if (size == 1)
		sum += (uint32_t)p[0] << 8;
	while (sum > 0xffff)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

uint32_t
pt_crc32(uint32_t crc, const void *data, size_t size)
{
	const uint8_t *p = data;
	int bit;

	crc = ~crc;
	while (size-- > 0) {
		crc ^= *p++;
		for (bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? UINT32_C(0xedb88320) : 0);
	}
	return ~crc;
}
