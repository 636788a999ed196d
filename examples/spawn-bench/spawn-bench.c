/*
 * What it costs to start a program, in three ways; and a plain loop of known length.
 *
 *   spawn-bench fork|vfork|posix_spawn COUNT [MIB]
 *   spawn-bench loop COUNT
 *
 * The parent has touched MIB mebibytes (8), because fork copies its page tables. The last line
 * tells how long it took by the monotonic clock, for `fallout bench`.
 *
 * SPDX-License-Identifier: BSD-2-Clause
 */
#include <sys/wait.h>

#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static void
die(const char *what)
{
	perror(what);
	exit(2);
}

static uint64_t
now(void)
{
	struct timespec ts;

	if (clock_gettime(CLOCK_MONOTONIC, &ts) != 0)
		die("clock_gettime");
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static pid_t
start(const char *how, char *self)
{
	char *args[] = { self, "nothing", NULL };
	pid_t pid = -1;

	if (strcmp(how, "posix_spawn") == 0) {
		if (posix_spawn(&pid, self, NULL, NULL, args, environ) != 0)
			die("posix_spawn");
		return pid;
	}
	pid = strcmp(how, "vfork") == 0 ? vfork() : fork();
	if (pid == 0) {
		execve(self, args, environ);
		_exit(127);
	}
	if (pid < 0)
		die(how);
	return pid;
}

int
main(int argc, char **argv)
{
	const char *how = argc > 1 ? argv[1] : "";
	long count = argc > 2 ? atol(argv[2]) : 0, i;
	size_t size = (size_t)(argc > 3 ? atol(argv[3]) : 8) << 20;
	volatile uint32_t sum = 0;
	uint64_t from;
	char *memory;

	if (strcmp(how, "nothing") == 0)
		return 0;
	if (count <= 0 || (strcmp(how, "fork") != 0 && strcmp(how, "vfork") != 0 &&
	    strcmp(how, "posix_spawn") != 0 && strcmp(how, "loop") != 0)) {
		fprintf(stderr, "usage: spawn-bench fork|vfork|posix_spawn|loop COUNT [MIB]\n");
		return 2;
	}
	if ((memory = malloc(size)) == NULL)
		die("malloc");
	memset(memory, 1, size);
	from = now();
	for (i = 0; i < count; i++) {
		int status;

		if (strcmp(how, "loop") == 0)
			break;
		if (waitpid(start(how, argv[0]), &status, 0) < 0)
			die("waitpid");
		if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
			fprintf(stderr, "the child ended with status %#x\n", (unsigned)status);
			return 1;
		}
	}
	if (strcmp(how, "loop") == 0)
		for (i = 0; i < count; i++)
			sum += (uint32_t)i;
	printf("fallout-bench: %llu ns\n", (unsigned long long)(now() - from));
	free(memory);
	return 0;
}
