/*
 * awake SECONDS NANOSECONDS SEED: what a guest needs that was restored from a snapshot.
 *
 * Sets the wall clock, and makes the kernel's random numbers differ from those of every other
 * guest that comes from the same snapshot: SEED (hexadecimal, from the host) goes into the pool as
 * entropy, and the generator takes a new key from it at once. Without the last step the kernel
 * would go on with the old key for minutes, and writing to /dev/urandom does not change that.
 */
#include <fcntl.h>
#include <linux/random.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

#define SEED_BYTES 64

#ifndef RNDRESEEDCRNG
#define RNDRESEEDCRNG _IO('R', 0x07)
#endif

static int
digit(char c)
{
	const char *digits = "0123456789abcdef";
	const char *at = c == '\0' ? NULL : strchr(digits, c);

	return at == NULL ? -1 : (int)(at - digits);
}

static int
fail(const char *what)
{
	perror(what);
	return 1;
}

int
main(int argc, char **argv)
{
	struct {
		struct rand_pool_info info;
		unsigned char bytes[SEED_BYTES];
	} pool;
	struct timespec now;
	int fd, i;

	if (argc != 4 || strlen(argv[3]) != 2 * SEED_BYTES) {
		fprintf(stderr, "usage: awake SECONDS NANOSECONDS SEED (%d hexadecimal digits)\n", 2 * SEED_BYTES);
		return 64;
	}
	for (i = 0; i < SEED_BYTES; i++) {
		int high = digit(argv[3][2 * i]), low = digit(argv[3][2 * i + 1]);

		if (high < 0 || low < 0) {
			fprintf(stderr, "awake: the seed is not hexadecimal\n");
			return 64;
		}
		pool.bytes[i] = (unsigned char)(high << 4 | low);
	}
	pool.info.entropy_count = 8 * SEED_BYTES;
	pool.info.buf_size = SEED_BYTES;

	now.tv_sec = (time_t)strtoll(argv[1], NULL, 10);
	now.tv_nsec = strtol(argv[2], NULL, 10);
	if (clock_settime(CLOCK_REALTIME, &now) != 0)
		return fail("awake: clock_settime");

	fd = open("/dev/urandom", O_RDWR);
	if (fd < 0)
		return fail("awake: /dev/urandom");
	if (ioctl(fd, RNDADDENTROPY, &pool) != 0)
		return fail("awake: RNDADDENTROPY");
	if (ioctl(fd, RNDRESEEDCRNG) != 0)
		return fail("awake: RNDRESEEDCRNG");
	return 0;
}
