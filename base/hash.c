/* SPDX-License-Identifier: Apache-2.0 */
/* Checksums: nettle for SHA-256, xxHash for XXH3, our own few lines for CRC-32C. */
#include "config.h"

#include "base/hash.h"

#include <stdlib.h>

#include <nettle/hmac.h>
#include <nettle/sha2.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

struct fg_sha256 {
	struct sha256_ctx ctx;
};

/* One byte at a time over the reflected polynomial; for processors without the
 * instruction. Rebuilding the remainder bit by bit needs no table and no start-up. */
static uint32_t
crc32c_plain(uint32_t crc, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		crc ^= p[i];
		for (int k = 0; k < 8; k++)
			crc = crc >> 1 ^ (0x82f63b78u & (0u - (crc & 1)));
	}
	return crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t
crc32c_sse42(uint32_t crc, const uint8_t *p, size_t n)
{
	uint64_t c = crc;

	for (; n >= 8; n -= 8, p += 8)
		c = __builtin_ia32_crc32di(c, fg_get_u64le(p));
	crc = (uint32_t)c;
	for (; n > 0; n--, p++)
		crc = __builtin_ia32_crc32qi(crc, *p);
	return crc;
}
#endif

uint32_t
fg_crc32c(uint32_t crc, const void *p, size_t n)
{
	crc = ~crc;
#if defined(__x86_64__)
	if (__builtin_cpu_supports("sse4.2"))
		return ~crc32c_sse42(crc, p, n);
#endif
	return ~crc32c_plain(crc, p, n);
}

static void
digest(struct sha256_ctx *ctx, uint8_t out[FG_SHA256_SIZE])
{
#if defined(NETTLE_VERSION_MAJOR) && NETTLE_VERSION_MAJOR >= 4
	sha256_digest(ctx, out);
#else
	sha256_digest(ctx, FG_SHA256_SIZE, out);
#endif
}

void
fg_sha256(const void *p, size_t n, uint8_t out[FG_SHA256_SIZE])
{
	struct sha256_ctx ctx;

	sha256_init(&ctx);
	sha256_update(&ctx, n, p);
	digest(&ctx, out);
}

void
fg_hmac_sha256(const void *key, size_t key_n, const void *p, size_t n,
    uint8_t out[FG_SHA256_SIZE])
{
	struct hmac_sha256_ctx ctx;

	hmac_sha256_set_key(&ctx, key_n, key);
	hmac_sha256_update(&ctx, n, p);
#if defined(NETTLE_VERSION_MAJOR) && NETTLE_VERSION_MAJOR >= 4
	hmac_sha256_digest(&ctx, out);
#else
	hmac_sha256_digest(&ctx, FG_SHA256_SIZE, out);
#endif
}

struct fg_sha256 *
fg_sha256_begin(void)
{
	struct fg_sha256 *s = fg_alloc(sizeof *s);

	sha256_init(&s->ctx);
	return s;
}

void
fg_sha256_add(struct fg_sha256 *s, const void *p, size_t n)
{
	sha256_update(&s->ctx, n, p);
}

void
fg_sha256_end(struct fg_sha256 *s, uint8_t out[FG_SHA256_SIZE])
{
	digest(&s->ctx, out);
	free(s);
}

void
fg_hex_format(const uint8_t *p, size_t n, char *out)
{
	static const char digit[] = "0123456789abcdef";

	for (size_t i = 0; i < n; i++) {
		out[2 * i] = digit[p[i] >> 4];
		out[2 * i + 1] = digit[p[i] & 15];
	}
	out[2 * n] = '\0';
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

bool
fg_hex_parse(const char *text, uint8_t *out, size_t n)
{
	if (strnlen(text, 2 * n + 1) != 2 * n)
		return false;
	for (size_t i = 0; i < n; i++) {
		int hi = hex_value(text[2 * i]), lo = hex_value(text[2 * i + 1]);

		if (hi < 0 || lo < 0)
			return false;
		out[i] = (uint8_t)(hi << 4 | lo);
	}
	return true;
}

uint64_t
fg_hash64(const void *p, size_t n)
{
	return XXH3_64bits(p, n);
}
