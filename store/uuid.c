/* SPDX-License-Identifier: Apache-2.0 */
/* Random identifiers: see the header. */
#include "config.h"

#include "store/uuid.h"

#include <stdio.h>
#include <sys/random.h>

#include "base/hash.h"

/* Digits before each dash of 8-4-4-4-12. */
static const int group[5] = {8, 4, 4, 4, 12};

void
fg_uuid_format(const uint8_t uuid[16], char out[FG_UUID_TEXT])
{
	char hex[33];
	const char *p = hex;

	fg_hex_format(uuid, 16, hex);
	for (int i = 0; i < 5; i++) {
		memcpy(out, p, (size_t)group[i]);
		out += group[i];
		p += group[i];
		*out++ = i < 4 ? '-' : '\0';
	}
}

bool
fg_uuid_parse(const char *text, uint8_t uuid[16])
{
	char hex[33] = "", *p = hex;

	if (strlen(text) != FG_UUID_TEXT - 1)
		return false;
	for (int i = 0; i < 5; i++) {
		memcpy(p, text, (size_t)group[i]);
		p += group[i];
		text += group[i];
		if (*text++ != (i < 4 ? '-' : '\0'))
			return false;
	}
	*p = '\0';
	return fg_hex_parse(hex, uuid, 16);
}

int
fg_uuid_new(char out[FG_UUID_TEXT], struct fg_err *err)
{
	uint8_t b[16];

	if (getrandom(b, sizeof b, 0) != (ssize_t)sizeof b)
		return fg_fail_errno(err, "random bytes");
	b[6] = (uint8_t)((b[6] & 0x0f) | 0x40);
	b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
	fg_uuid_format(b, out);
	return 0;
}
