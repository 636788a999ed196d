/*
 * Small numbers by name that outlive the process.
 *
 * A file of a fixed number of slots in the machine's own layout: a hint is for this machine
 * only, and two names that meet in one slot cost one of the hints, nothing else.
 * The file is $PT_HINTS, else one in /tmp.
 *
 * SPDX-License-Identifier: BSD-2-Clause
 */
#include "portable.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SLOTS 64

struct slot {
	unsigned long flags;
	uint64_t value;
	char name[PT_HINT_NAME_MAX + 1];	/* empty: no hint here */
};

static int
open_hints(void)
{
	const char *path = getenv("PT_HINTS");

	return open(path != NULL ? path : "/tmp/portable.hints", O_RDWR | O_CREAT, 0600);
}

static off_t
place(const char *name)
{
	uint32_t hash = 2166136261u;

	while (*name != '\0')
		hash = (hash ^ (uint8_t)*name++) * 16777619u;
	return (off_t)(hash % SLOTS * sizeof(struct slot));
}

static int
check_name(const char *name)
{
	if (*name != '\0' && strlen(name) <= PT_HINT_NAME_MAX)
		return 0;
	errno = EINVAL;
	return -1;
}

static int
write_slot(const struct slot *slot)
{
	int fd = open_hints(), ok;

	if (fd < 0)
		return -1;
	ok = pwrite(fd, slot, sizeof(*slot), place(slot->name)) == (ssize_t)sizeof(*slot);
	close(fd);
	return ok ? 0 : -1;
}

/* The common case: a hint of no class, to be swept with the others. */
int
pt_hint_note(const char *name, uint64_t value)
{
	struct slot slot;

	if (check_name(name) != 0)
		return -1;
	memset(&slot, 0, sizeof(slot));
	slot.value = value;
	strncpy(slot.name, name, sizeof(slot.name));
	return write_slot(&slot);
}

int
pt_hint_store(const char *name, uint64_t value, unsigned long flags)
{
	struct slot slot;

	if (check_name(name) != 0)
		return -1;
	memset(&slot, 0, sizeof(slot));
	slot.flags = flags;
	slot.value = value;
	strncpy(slot.name, name, sizeof(slot.name));
	return write_slot(&slot);
}

int
pt_hint_find(const char *name, uint64_t *value, unsigned long *flags)
{
	struct slot slot;
	int fd, found;

	if (check_name(name) != 0 || (fd = open_hints()) < 0)
		return -1;
	found = pread(fd, &slot, sizeof(slot), place(name)) == (ssize_t)sizeof(slot) &&
	    strncmp(slot.name, name, sizeof(slot.name)) == 0;
	close(fd);
	if (!found)
		return -1;
	*value = slot.value;
	if (flags != NULL)
		*flags = slot.flags;
	return 0;
}

int
pt_hint_sweep(void)
{
	static const struct slot none;
	struct slot slot;
	int fd = open_hints(), i, kept = 0;

	if (fd < 0)
		return -1;
	for (i = 0; i < SLOTS; i++) {
		off_t at = (off_t)(i * sizeof(slot));

		if (pread(fd, &slot, sizeof(slot), at) != (ssize_t)sizeof(slot))
			break;
		if (slot.name[0] == '\0')
			continue;
		if (slot.flags & PT_HINT_KEEP)
			kept++;
		else if (pwrite(fd, &none, sizeof(none), at) != (ssize_t)sizeof(none)) {
			kept = -1;
			break;
		}
	}
	close(fd);
	return kept;
}
