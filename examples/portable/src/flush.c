/*
 * Data that is still there after the power went.
 *
 * SPDX-License-Identifier: BSD-2-Clause
 */
#include "portable.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * What to ask of the kernel, by how many thirds of the room are free.  With nothing free not
 * even a line of log can be kept: 'c' takes the crash dump such machines are set up for.
 * With a third, everything is written out now ('s'); with two, nothing need be done.
 */
static const char request[] = { 'c', 's', 0, 0 };
#define STEPS 3

int
pt_flush(const char *path)
{
	int fd = open(path, O_RDONLY), result;

	if (fd < 0)
		return -1;
	result = fsync(fd);
	close(fd);
	return result;
}

/* The new name must be on the disk, too, which is in the directory that holds it. */
static int
flush_directory_of(const char *path)
{
	const char *slash = strrchr(path, '/');
	char *directory;
	int result;

	if (slash == NULL)
		return pt_flush(".");
	directory = strndup(path, (size_t)(slash - path) + 1);
	if (directory == NULL)
		return -1;
	result = pt_flush(directory);
	free(directory);
	return result;
}

static int
write_all(int fd, const void *data, size_t size)
{
	const uint8_t *p = data;
	ssize_t n;

	for (; size > 0; p += n, size -= (size_t)n)
		if ((n = write(fd, p, size)) < 0) {
			if (errno != EINTR)
				return -1;
			n = 0;
		}
	return 0;
}

int
pt_replace(const char *path, const void *data, size_t size)
{
	size_t length = strlen(path);
	char *next = malloc(length + 5);
	int fd, result = -1;

	if (next == NULL)
		return -1;
	memcpy(next, path, length);
	memcpy(next + length, ".new", 5);
	fd = open(next, O_WRONLY | O_CREAT | O_TRUNC, 0666);
	if (fd >= 0) {
		result = write_all(fd, data, size) == 0 && fsync(fd) == 0 ? 0 : -1;
		close(fd);
		if (result == 0)
			result = rename(next, path) == 0 ? flush_directory_of(path) : -1;
		if (result != 0)
			unlink(next);
	}
	free(next);
	return result;
}

void
pt_room_set(struct pt_room *room, uint64_t free_blocks, uint64_t total_blocks)
{
	room->free_blocks = free_blocks;
	room->total_blocks = total_blocks;
}

/* $PT_SYSRQ is where the request goes, else the kernel's own file, which is root's. */
int
pt_flush_pressure(const struct pt_room *room)
{
	const char *path = getenv("PT_SYSRQ");
	char letter = request[room->free_blocks * STEPS / room->total_blocks];
	int fd, result;

	if (letter == 0)
		return 0;
	fd = open(path != NULL ? path : "/proc/sysrq-trigger", O_WRONLY);
	if (fd < 0)
		return -1;
	result = write_all(fd, &letter, 1);
	close(fd);
	return result;
}
