/* SPDX-License-Identifier: Apache-2.0 */
/* Random identifiers (RFC 4122, version 4): 16 bytes and 36 characters of text. */
#ifndef FG_STORE_UUID_H
#define FG_STORE_UUID_H

#include "base/err.h"

#define FG_UUID_TEXT 37

int fg_uuid_new(char out[FG_UUID_TEXT], struct fg_err *err) FG_MUST_USE;
void fg_uuid_format(const uint8_t uuid[16], char out[FG_UUID_TEXT]);
bool fg_uuid_parse(const char *text, uint8_t uuid[16]);

#endif
