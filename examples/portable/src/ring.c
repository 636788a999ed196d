/*
 * Bytes from one writer to one reader, in memory that two processes may share.
 *
 * head and tail only grow; their difference is what is in the ring, so a full ring and an
 * empty one differ without a byte left free.
 *
 * SPDX-License-Identifier: BSD-2-Clause
 */
#include "portable.h"

#include <sys/mman.h>

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct pt_ring {
	_Atomic uint32_t head, tail;
	uint32_t capacity;
	uint8_t bytes[];
};

struct pt_ring *
pt_ring_create(size_t capacity)
{
	struct pt_ring *ring;

	if (capacity == 0 || capacity > 1UL << 24 || (capacity & (capacity - 1)) != 0) {
		errno = EINVAL;
		return NULL;
	}
	ring = mmap(NULL, sizeof(*ring) + capacity, PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (ring == MAP_FAILED)
		return NULL;
	ring->capacity = (uint32_t)capacity;
	return ring;
}

void
pt_ring_destroy(struct pt_ring *ring)
{
	if (ring == NULL)
		abort();	/* a caller that lost its ring has lost data, too */
	munmap(ring, sizeof(*ring) + ring->capacity);
}

static size_t
until_edge(const struct pt_ring *ring, uint32_t at, size_t size)
{
	size_t left = ring->capacity - (at & (ring->capacity - 1));

	return size < left ? size : left;
}

size_t
pt_ring_write(struct pt_ring *ring, const void *data, size_t size)
{
	uint32_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
	uint32_t tail = atomic_load_explicit(&ring->tail, memory_order_acquire);
	size_t room = ring->capacity - (head - tail), first;

	if (size > room)
		size = room;
	first = until_edge(ring, head, size);
	memcpy(ring->bytes + (head & (ring->capacity - 1)), data, first);
	memcpy(ring->bytes, (const uint8_t *)data + first, size - first);
	atomic_store_explicit(&ring->head, head + (uint32_t)size, memory_order_release);
	return size;
}

size_t
pt_ring_read(struct pt_ring *ring, void *data, size_t size)
{
	uint32_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
	uint32_t head = atomic_load_explicit(&ring->head, memory_order_acquire);
	size_t used = head - tail, first;

	if (size > used)
		size = used;
	first = until_edge(ring, tail, size);
	memcpy(data, ring->bytes + (tail & (ring->capacity - 1)), first);
	memcpy((uint8_t *)data + first, ring->bytes, size - first);
	atomic_store_explicit(&ring->tail, tail + (uint32_t)size, memory_order_release);
	return size;
}

size_t
pt_ring_used(const struct pt_ring *ring)
{
	return atomic_load(&ring->head) - atomic_load(&ring->tail);
}
