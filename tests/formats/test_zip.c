/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stored compression. Input made by other programs is in byte arrays below: gzip by
 * Python's zlib, zstd by the zstd tool, brotli by the brotli package of PyPI.
 */
#include "config.h"

#include <stdlib.h>

#include "formats/codec.h"
#include "tests/tap.h"

/* gzip -9 of "hello hello hello\n" */
static const uint8_t hello_gz[] = {0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02,
    0x03, 0xcb, 0x48, 0xcd, 0xc9, 0xc9, 0x57, 0xc8, 0x40, 0x90, 0x5c, 0x00, 0x3b, 0x7c,
    0x8a, 0xdf, 0x12, 0x00, 0x00, 0x00};
/* zstd of the same; without content size (from a pipe) */
static const uint8_t hello_zst[] = {0x28, 0xb5, 0x2f, 0xfd, 0x04, 0x58, 0x6d, 0x00,
    0x00, 0x38, 0x68, 0x65, 0x6c, 0x6c, 0x6f, 0x20, 0x0a, 0x01, 0x00, 0x31, 0x4a, 0x11,
    0xa3, 0xaa, 0x74, 0xce};
/* brotli, quality 11, of the same, and of 100,000 zeros */
static const uint8_t hello_br[] = {0x8b, 0x08, 0x80, 0x68, 0x65, 0x6c, 0x6c, 0x6f, 0x20,
    0x68, 0x65, 0x6c, 0x6c, 0x6f, 0x20, 0x68, 0x65, 0x6c, 0x6c, 0x6f, 0x0a, 0x03};
static const uint8_t zeros_br[] = {0x5b, 0x9f, 0x86, 0x81, 0x7f, 0x02, 0x20, 0x1e, 0x0b,
    0x04, 0xb2, 0xfc, 0x02, 0x00};
static const char hello[] = "hello hello hello\n";

static void
unpacks(const char *what, enum fg_coding c, const void *p, size_t n, size_t limit,
    const char *want)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_buf *b = NULL;

	if (!tap_rc(fg_decompress(c, p, n, limit, &b, &err), &err, what))
		return;
	tap_ok(b->len == strlen(want) && memcmp(b->data, want, b->len) == 0,
	    "%s: the bytes", what);
	fg_buf_unref(b);
}

static void
refused(const char *what, enum fg_coding c, const void *p, size_t n, size_t limit,
    enum fg_code code, const char *part)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_buf *b = NULL;
	uint8_t *exact = malloc(n + !n);

	memcpy(exact, p, n);
	tap_fails(fg_decompress(c, exact, n, limit, &b, &err), &err, code, part, what);
	tap_ok(b == NULL, "no buffer");
	free(exact);
}

static void
test_gzip(void)
{
	size_t n = sizeof hello_gz;
	uint8_t p[4 * sizeof hello_gz];

	unpacks("gzip", FG_CODING_GZIP, hello_gz, n, 18, hello);
	unpacks("gzip, high limit", FG_CODING_GZIP, hello_gz, n, 1 << 30, hello);
	memcpy(p, hello_gz, n);
	memcpy(p + n, hello_gz, n);
	unpacks("two members", FG_CODING_GZIP, p, 2 * n, 36,
	    "hello hello hello\nhello hello hello\n");
	refused("two members, limit", FG_CODING_GZIP, p, 2 * n, 35, FG_ECORRUPT,
	    "more than the 35 bytes");
	refused("limit", FG_CODING_GZIP, hello_gz, n, 17, FG_ECORRUPT,
	    "more than the 17 bytes");
	refused("limit 0", FG_CODING_GZIP, hello_gz, n, 0, FG_ECORRUPT,
	    "more than the 0 bytes");
	for (size_t cut = 0; cut < n; cut++)
		refused("cut off", FG_CODING_GZIP, hello_gz, cut, 1000, FG_ECORRUPT,
		    "gzip: ");
	memset(p + n, 0, 4);
	refused("zeros after it", FG_CODING_GZIP, p, n + 4, 1000, FG_ECORRUPT,
	    "gzip: damaged");
	memcpy(p, hello_gz, n);
	p[n - 8] ^= 1;
	refused("CRC", FG_CODING_GZIP, p, n, 1000, FG_ECORRUPT, "gzip: damaged");
	p[n - 8] ^= 1;
	memset(p + n - 4, 0xff, 4);
	refused("claimed size of 4 GiB", FG_CODING_GZIP, p, n, (size_t)1 << 40,
	    FG_ECORRUPT, "gzip: damaged");
	refused("zstd is not gzip", FG_CODING_GZIP, hello_zst, sizeof hello_zst, 1000,
	    FG_ECORRUPT, "gzip: damaged");
}

static void
test_zstd(void)
{
	size_t n = sizeof hello_zst;
	uint8_t p[4 * sizeof hello_zst];

	unpacks("zstd", FG_CODING_ZSTD, hello_zst, n, 18, hello);
	memcpy(p, hello_zst, n);
	memcpy(p + n, hello_zst, n);
	unpacks("two frames", FG_CODING_ZSTD, p, 2 * n, 36,
	    "hello hello hello\nhello hello hello\n");
	refused("two frames, limit", FG_CODING_ZSTD, p, 2 * n, 35, FG_ECORRUPT,
	    "more than the 35 bytes");
	refused("limit", FG_CODING_ZSTD, hello_zst, n, 17, FG_ECORRUPT,
	    "more than the 17 bytes");
	for (size_t cut = 0; cut < n; cut++)
		refused("cut off", FG_CODING_ZSTD, hello_zst, cut, 1000, FG_ECORRUPT,
		    "zstd: ");
	refused("something after it", FG_CODING_ZSTD, p, n + 5, 1000, FG_ECORRUPT,
	    "zstd: ");
	p[n - 1] ^= 1;
	refused("checksum", FG_CODING_ZSTD, p, n, 1000, FG_ECORRUPT, "zstd: ");
	refused("gzip is not zstd", FG_CODING_ZSTD, hello_gz, sizeof hello_gz, 1000,
	    FG_ECORRUPT, "zstd: ");
	/* A frame that claims 2^40 bytes, and one that wants a window of 2^31. */
	static const uint8_t huge[] = {0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0, 0, 0, 0, 0, 1,
	    0, 0, 1, 0, 0};
	refused("claimed size", FG_CODING_ZSTD, huge, sizeof huge, 1 << 20, FG_ECORRUPT,
	    "1099511627776 bytes, more than the 1048576");
	static const uint8_t window[] = {0x28, 0xb5, 0x2f, 0xfd, 0, 21 << 3, 1, 0, 0};
	refused("window", FG_CODING_ZSTD, window, sizeof window, 1 << 20, FG_ECORRUPT,
	    "zstd: ");
}

static void
test_round_trip(enum fg_coding c, int level, size_t n)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_buf *packed = NULL, *back = NULL;
	uint8_t *p = malloc(n + !n);

	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)(i * i >> 14);
	if (tap_rc(fg_compress(c, level, p, n, &packed, &err), &err, "compress") &&
	    tap_rc(fg_decompress(c, packed->data, packed->len, n, &back, &err), &err,
		"decompress"))
		tap_ok(back->len == n && memcmp(back->data, p, n) == 0 &&
			   (n < 1000 || c == FG_CODING_NONE || packed->len < n),
		    "coding %d, level %d: %zu bytes as %zu", c, level, n, packed->len);
	fg_buf_unref(packed);
	fg_buf_unref(back);
	free(p);
}

#ifdef HAVE_BROTLI
static void
test_brotli(void)
{
	size_t n = sizeof hello_br;
	struct fg_err err = FG_ERR_INIT;
	struct fg_buf *b = NULL;
	uint8_t p[2 * sizeof hello_br];

	unpacks("brotli", FG_CODING_BROTLI, hello_br, n, 18, hello);
	unpacks("brotli, high limit", FG_CODING_BROTLI, hello_br, n, 1 << 30, hello);
	refused("limit", FG_CODING_BROTLI, hello_br, n, 17, FG_ECORRUPT,
	    "more than the 17 bytes");
	refused("limit 0", FG_CODING_BROTLI, hello_br, n, 0, FG_ECORRUPT,
	    "more than the 0 bytes");
	for (size_t cut = 0; cut < n; cut++)
		refused("cut off", FG_CODING_BROTLI, hello_br, cut, 1000, FG_ECORRUPT,
		    "brotli: ends within");
	memcpy(p, hello_br, n);
	memcpy(p + n, hello_br, n);
	refused("two streams", FG_CODING_BROTLI, p, 2 * n, 1000, FG_ECORRUPT,
	    "brotli: 22 bytes after the end");
	refused("text", FG_CODING_BROTLI, "brotli? none", 12, 1000, FG_ECORRUPT,
	    "brotli: ");
	if (tap_rc(fg_decompress(FG_CODING_BROTLI, zeros_br, sizeof zeros_br, 100000,
		       &b, &err),
		&err, "100,000 zeros"))
		tap_ok(b->len == 100000 && b->data[0] == 0 &&
			   memcmp(b->data, b->data + 1, b->len - 1) == 0,
		    "they are");
	fg_buf_unref(b);
	refused("a bomb", FG_CODING_BROTLI, zeros_br, sizeof zeros_br, 99999,
	    FG_ECORRUPT, "more than the 99999 bytes");
}
#else
static void
test_brotli(void)
{
	refused("not built", FG_CODING_BROTLI, hello_br, 22, 100, FG_ENOTSUP, "brotli");
	refused("not built", FG_CODING_BROTLI, zeros_br, 14, 100, FG_ENOTSUP, "brotli");
}
#endif

int
main(void)
{
	static const enum fg_coding all[] = {FG_CODING_NONE, FG_CODING_GZIP,
	    FG_CODING_ZSTD};
	struct fg_err err = FG_ERR_INIT;
	struct fg_buf *b = NULL;

	test_gzip();
	test_zstd();
	test_brotli();
	for (size_t i = 0; i < FG_COUNTOF(all); i++) {
		test_round_trip(all[i], 0, 0);
		test_round_trip(all[i], 0, 1);
		test_round_trip(all[i], 0, 300000);
		test_round_trip(all[i], 1, 3000);
		test_round_trip(all[i], 99, 3000);
	}
	refused("none, limit", FG_CODING_NONE, hello, 18, 17, FG_ECORRUPT,
	    "18 bytes, more than the 17");
	tap_fails(fg_compress(FG_CODING_BROTLI, 0, hello_gz, 3, &b, &err), &err,
	    FG_ENOTSUP, "brotli", "brotli");
	return tap_done();
}
