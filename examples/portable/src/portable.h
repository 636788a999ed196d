/*
 * portable: the small things that every portable program writes again.
 *
 * Sizes are bytes, times are nanoseconds unless a name says otherwise.  Functions that can
 * fail return -1 (with errno set where the system was asked) and write nothing.
 *
 * SPDX-License-Identifier: BSD-2-Clause
 */
#ifndef PORTABLE_H
#define PORTABLE_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* wire.c: numbers as bytes in network order, and sums over them. */
void pt_put_u16(uint8_t *, uint16_t);
void pt_put_u32(uint8_t *, uint32_t);
void pt_put_u64(uint8_t *, uint64_t);
uint16_t pt_get_u16(const uint8_t *);
uint32_t pt_get_u32(const uint8_t *);
uint64_t pt_get_u64(const uint8_t *);
size_t pt_put_varint(uint8_t *, uint64_t);		/* 1 to 10 bytes */
size_t pt_get_varint(const uint8_t *, size_t, uint64_t *); /* 0: truncated */
uint16_t pt_sum16(const void *, size_t);		/* the Internet's checksum */
uint32_t pt_crc32(uint32_t, const void *, size_t);	/* as in gzip and PNG */

/* text.c: ASCII and UTF-8, whatever the locale says. */
void pt_hex_encode(char *, const void *, size_t);	/* 2n + 1 bytes */
int pt_hex_decode(void *, size_t, const char *);	/* bytes written, or -1 */
size_t pt_trim(char *);					/* length that is left */
int pt_is_name(const char *);				/* [A-Za-z_][A-Za-z0-9_]* */
int pt_utf8_valid(const void *, size_t);
#define PT_WORDS_MAX 64
size_t pt_words_distinct(const char *);			/* at most PT_WORDS_MAX are seen */

/* span.c: times and sizes that do not overflow silently. */
int64_t pt_span_ns(int32_t, int32_t);			/* seconds, nanoseconds */
void pt_span_format(char *, size_t, int64_t);
int pt_size_mul(size_t, size_t, size_t *);
void pt_size_format(char *, size_t, uint64_t);
int pt_size_parse(const char *, uint64_t *);

/* record.c: tagged values packed without gaps, in the machine's own byte order. */
struct pt_record {
	uint8_t *bytes;
	size_t size, used;
};
int pt_record_add_u32(struct pt_record *, uint8_t, uint32_t);
int pt_record_add_double(struct pt_record *, uint8_t, double);
int pt_record_find(const struct pt_record *, uint8_t, size_t *); /* offset of the value */
uint32_t pt_record_u32(const struct pt_record *, size_t);
double pt_record_double(const struct pt_record *, size_t);

/* ring.c: bytes from one writer to one reader, in memory that two processes may share. */
struct pt_ring;
struct pt_ring *pt_ring_create(size_t);			/* capacity: a power of two */
void pt_ring_destroy(struct pt_ring *);
size_t pt_ring_write(struct pt_ring *, const void *, size_t);
size_t pt_ring_read(struct pt_ring *, void *, size_t);
size_t pt_ring_used(const struct pt_ring *);

/* number.c: floating point. */
unsigned pt_long_double_digits(void);			/* binary digits of the mantissa */
uint64_t pt_ulps_between(double, double);
uint8_t pt_clamp_u8(double);
int64_t pt_round_half_even(double);
void pt_double_format(char *, size_t, double);		/* shortest that reads back */

/* hints.c: small numbers by name that outlive the process.  Any of them may be lost. */
#define PT_HINT_NAME_MAX 111
#define PT_HINT_CLASS 0xffffUL				/* the caller's own */
#define PT_HINT_FORMAT 0xf0000UL			/* now 0 */
#define PT_HINT_KEEP 0x100000UL				/* stays when the rest is swept */
int pt_hint_note(const char *, uint64_t);
int pt_hint_store(const char *, uint64_t, unsigned long);
int pt_hint_find(const char *, uint64_t *, unsigned long *);
int pt_hint_sweep(void);				/* how many were kept */

/* flush.c: data that is still there after the power went. */
struct pt_room {
	uint64_t free_blocks, total_blocks;
};
int pt_flush(const char *);
int pt_replace(const char *, const void *, size_t);
void pt_room_set(struct pt_room *, uint64_t, uint64_t);
int pt_flush_pressure(const struct pt_room *);

#endif
