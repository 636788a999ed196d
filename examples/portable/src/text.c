/* ASCII and UTF-8, whatever the locale says.  SPDX-License-Identifier: BSD-2-Clause */
#include "portable.h"

#include <string.h>

void
pt_hex_encode(char *text, const void *data, size_t size)
{
	static const char digit[] = "0123456789abcdef";
	const uint8_t *p = data;

	for (; size > 0; size--, p++) {
		*text++ = digit[*p >> 4];
		*text++ = digit[*p & 15];
	}
	*text = '\0';
}

static int
hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int
pt_hex_decode(void *data, size_t size, const char *text)
{
	uint8_t *p = data;
	int high, low, n;

	for (n = 0; *text != '\0'; n++, text += 2) {
		if ((size_t)n == size || text[1] == '\0')
			return -1;
		high = hex_value(text[0]);
		low = hex_value(text[1]);
		if (high < 0 || low < 0)
			return -1;
		p[n] = (uint8_t)(high << 4 | low);
	}
	return n;
}

static int
is_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

size_t
pt_trim(char *text)
{
	size_t from = 0, to = strlen(text);

	while (is_blank(text[from]))
		from++;
	while (to > from && is_blank(text[to - 1]))
		to--;
	memmove(text, text + from, to - from);
	text[to - from] = '\0';
	return to - from;
}

int
pt_is_name(const char *text)
{
	size_t n;

	for (n = 0; text[n] != '\0'; n++) {
		char c = text[n];
		int letter = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';

		if (!letter && (n == 0 || c < '0' || c > '9'))
			return 0;
	}
	return n > 0;
}

int
pt_utf8_valid(const void *data, size_t size)
{
	static const uint32_t least[] = { 0, 0x80, 0x800, 0x10000 };
	const uint8_t *p = data, *end = p + size;

	while (p < end) {
		uint32_t point = *p++;
		int more, left;

		if (point < 0x80)
			continue;
		if (point >= 0xc2 && point < 0xe0)
			more = 1, point &= 0x1f;
		else if (point >= 0xe0 && point < 0xf0)
			more = 2, point &= 0x0f;
		else if (point >= 0xf0 && point < 0xf5)
			more = 3, point &= 0x07;
		else
			return 0;
		for (left = more; left > 0; left--) {
			if (p == end || (*p & 0xc0) != 0x80)
				return 0;
			point = point << 6 | (*p++ & 0x3f);
		}
		if (point < least[more] || point > 0x10ffff || (point >= 0xd800 && point < 0xe000))
			return 0;
	}
	return 1;
}

static size_t
word_length(const char *text)
{
	size_t n = 0;

	while (text[n] != '\0' && !is_blank(text[n]))
		n++;
	return n;
}

size_t
pt_words_distinct(const char *text)
{
	const char *word[PT_WORDS_MAX];
	size_t i, n = 0, length;

	/* Places without a word hold the empty one at the end, which equals no other. */
	for (i = 0; i < PT_WORDS_MAX; i++)
		word[i] = text + strlen(text);
	for (; *text != '\0' && n < PT_WORDS_MAX; text += length) {
		if (is_blank(*text)) {
			length = 1;
			continue;
		}
		length = word_length(text);
		for (i = 0; i < PT_WORDS_MAX; i++)
			if (word_length(word[i]) == length && memcmp(word[i], text, length) == 0)
				break;
		if (i == PT_WORDS_MAX)
			word[n++] = text;
	}
	return n;
}
