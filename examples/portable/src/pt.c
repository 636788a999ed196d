/* The library from a shell.  SPDX-License-Identifier: BSD-2-Clause */
#include "portable.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static int
usage(void)
{
	fputs("usage: pt sum|crc|flush FILE\n"
	      "       pt hex|unhex|size|words TEXT\n"
	      "       pt put FILE TEXT\n"
	      "       pt note NAME VALUE\n"
	      "       pt look NAME\n"
	      "       pt sweep\n", stderr);
	return 2;
}

static int
fail(const char *what)
{
	fprintf(stderr, "pt: %s\n", what);
	return 1;
}

static int
sums(const char *command, const char *path)
{
	static uint8_t data[65536];
	FILE *file = fopen(path, "rb");
	size_t size;

	if (file == NULL)
		return fail("cannot open the file");
	size = fread(data, 1, sizeof(data), file);
	fclose(file);
	if (strcmp(command, "sum") == 0)
		printf("%04x\n", pt_sum16(data, size));
	else
		printf("%08" PRIx32 "\n", pt_crc32(0, data, size));
	return 0;
}

static int
unhex(const char *text)
{
	static uint8_t data[4096];
	int n = pt_hex_decode(data, sizeof(data), text);

	if (n < 0)
		return fail("not a string of hexadecimal digits");
	fwrite(data, 1, (size_t)n, stdout);
	return 0;
}

static int
one(const char *command, const char *argument)
{
	char text[512];
	uint64_t number;

	if (strcmp(command, "sum") == 0 || strcmp(command, "crc") == 0)
		return sums(command, argument);
	if (strcmp(command, "flush") == 0)
		return pt_flush(argument) == 0 ? 0 : fail("cannot flush the file");
	if (strcmp(command, "unhex") == 0)
		return unhex(argument);
	if (strcmp(command, "hex") == 0 && strlen(argument) < sizeof(text) / 2) {
		pt_hex_encode(text, argument, strlen(argument));
		puts(text);
		return 0;
	}
	if (strcmp(command, "size") == 0) {
		if (pt_size_parse(argument, &number) != 0)
			return fail("not a size");
		pt_size_format(text, sizeof(text), number);
		puts(text);
		return 0;
	}
	if (strcmp(command, "words") == 0) {
		printf("%zu\n", pt_words_distinct(argument));
		return 0;
	}
	if (strcmp(command, "look") == 0) {
		if (pt_hint_find(argument, &number, NULL) != 0)
			return fail("no such hint");
		printf("%" PRIu64 "\n", number);
		return 0;
	}
	return usage();
}

int
main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "sweep") == 0) {
		int kept = pt_hint_sweep();

		if (kept < 0)
			return fail("cannot sweep the hints");
		printf("%d kept\n", kept);
		return 0;
	}
	if (argc == 3)
		return one(argv[1], argv[2]);
	if (argc == 4 && strcmp(argv[1], "put") == 0)
		return pt_replace(argv[2], argv[3], strlen(argv[3])) == 0
		    ? 0 : fail("cannot replace the file");
	if (argc == 4 && strcmp(argv[1], "note") == 0)
		return pt_hint_note(argv[2], strtoull(argv[3], NULL, 0)) == 0
		    ? 0 : fail("cannot note the hint");
	return usage();
}
