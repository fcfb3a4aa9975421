/* SPDX-License-Identifier: Apache-2.0 */
/*
 * compressed_segmentation. The expected bytes are those of the format's description
 * (worked by hand) and of a second decoder below, which is a direct transcription of
 * the layout and shares nothing with formats/cseg.c.
 */
#include "config.h"

#include <stdlib.h>

#include "formats/codec.h"
#include "tests/tap.h"

static const int64_t b8[3] = {8, 8, 8};

/* Label of voxel (x, y, z) of channel c, read the slow way; -1 on bad offsets. */
static int64_t
peek(const struct fg_buf *f, const int64_t block[3], const int64_t n[4], bool wide,
    int64_t x, int64_t y, int64_t z, int64_t c)
{
	const uint32_t *w = (const uint32_t *)f->data;
	int64_t g[3];

	for (int d = 0; d < 3; d++)
		g[d] = (n[d] + block[d] - 1) / block[d];
	w += w[c];
	const uint32_t *h =
	    w + 2 * (x / block[0] + g[0] * (y / block[1] + g[1] * (z / block[2])));
	uint32_t b = h[0] >> 24, t = h[0] & 0xffffff, i = 0;
	int64_t p =
	    x % block[0] + block[0] * (y % block[1] + block[1] * (z % block[2]));
	for (uint32_t k = 0; k < b; k++)
		i |= (w[h[1] + (p * b + k) / 32] >> ((p * b + k) % 32) & 1) << k;
	return wide ? (int64_t)(w[t + 2 * i] | (uint64_t)w[t + 2 * i + 1] << 32)
		    : (int64_t)w[t + i];
}

static uint64_t
label(const struct fg_array *a, size_t i)
{
	return a->dtype == FG_U64 ? ((uint64_t *)a->data)[i] : ((uint32_t *)a->data)[i];
}

static void
set_label(struct fg_array *a, size_t i, uint64_t v)
{
	if (a->dtype == FG_U64)
		((uint64_t *)a->data)[i] = v;
	else
		((uint32_t *)a->data)[i] = (uint32_t)v;
}

static uint64_t seed = 1;

static uint64_t
roll(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

/* Encode, decode with the slow reader and with ours. */
static void
round_trip(const char *what, enum fg_dtype t, const int64_t n[4],
    const int64_t block[3], uint64_t kinds)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_array a, back;
	struct fg_buf *f = NULL, *again = NULL;
	size_t wrong = 0, i = 0;

	tap_rc(fg_array_init(&a, t, n, &err), &err, what);
	for (i = 0; i < fg_array_count(&a); i++)
		set_label(&a, i,
		    i > 0 && roll() % 4
			? label(&a, i - 1)
			: (roll() % kinds) * (t == FG_U64 ? UINT64_C(0x100000007) : 3));
	if (!tap_rc(fg_cseg_encode(block, &a, &f, &err), &err, "encode"))
		return;
	i = 0;
	for (int64_t c = 0; c < n[3]; c++) {
		for (int64_t z = 0; z < n[2]; z++) {
			for (int64_t y = 0; y < n[1]; y++) {
				for (int64_t x = 0; x < n[0]; x++, i++)
					wrong += peek(f, block, n, t == FG_U64, x, y, z,
						     c) != (int64_t)label(&a, i);
			}
		}
	}
	tap_int(wrong, 0, "%s: the slow reader sees the labels", what);
	tap_rc(fg_array_init_zero(&back, t, n, &err), &err, "array");
	tap_rc(fg_cseg_decode(block, f->data, f->len, &back, &err), &err, "decode");
	tap_ok(memcmp(a.data, back.data, fg_array_bytes(&a)) == 0, "%s: decoded", what);
	tap_rc(fg_cseg_encode(block, &a, &again, &err), &err, "encode again");
	tap_ok(f->len == again->len && memcmp(f->data, again->data, f->len) == 0,
	    "same bytes");
	fg_buf_unref(f);
	fg_buf_unref(again);
	fg_array_fini(&a);
	fg_array_fini(&back);
}

static void
test_vectors(void)
{
	static const uint32_t one[] = {1, 2, 2, 0x89abcdef, 0x01234567};
	uint32_t half[23] = {1, 0x01000012, 2};
	struct fg_err err = FG_ERR_INIT;
	struct fg_array a;
	struct fg_buf *f = NULL;

	tap_rc(fg_array_init(&a, FG_U64, (int64_t[4]){8, 8, 8, 1}, &err), &err, "8^3");
	for (size_t i = 0; i < 512; i++)
		set_label(&a, i, 0x0123456789abcdef);
	tap_rc(fg_cseg_encode(b8, &a, &f, &err), &err, "one label");
	tap_ok(f->len == sizeof one && memcmp(f->data, one, sizeof one) == 0,
	    "one label is 20 bytes");
	fg_buf_unref(f);
	for (size_t i = 0; i < 16; i++)
		half[3 + i] = 0xf0f0f0f0;
	half[21] = 5;
	for (size_t i = 0; i < 512; i++)
		set_label(&a, i, i % 8 < 4 ? 0 : 5);
	tap_rc(fg_cseg_encode(b8, &a, &f, &err), &err, "two halves");
	tap_ok(f->len == 92 && memcmp(f->data, half, 92) == 0,
	    "two halves are the 92 bytes of the reference");
	fg_buf_unref(f);
	memset(a.data, 0xff, 4096);
	tap_rc(fg_cseg_decode(b8, (const uint8_t *)half, 92, &a, &err), &err,
	    "decode them");
	tap_ok(label(&a, 3) == 0 && label(&a, 4) == 5 && label(&a, 511) == 5,
	    "their labels");
	fg_array_fini(&a);

	/* 64^3 of one label: 512 headers share one table. */
	tap_rc(fg_array_init_zero(&a, FG_U64, (int64_t[4]){64, 64, 64, 1}, &err), &err,
	    "64^3");
	tap_rc(fg_cseg_encode(b8, &a, &f, &err), &err, "zeros");
	tap_int(f->len, 4108, "64^3 of one label");
	fg_buf_unref(f);
	/* Two blocks with the labels 7, 9 in opposite order share a sorted table:
	 * 1 + 2 * 512 headers + 2 * 16 values + tables {0}, {7,9} of 2 and 4 words. */
	set_label(&a, 0, 7);
	for (size_t z = 0; z < 8; z++) {
		for (size_t y = 0; y < 8; y++) {
			for (size_t x = 0; x < 16; x++)
				set_label(&a, x + 64 * (y + 64 * z), x < 8 ? 7 : 9);
		}
	}
	set_label(&a, 1, 9);
	set_label(&a, 9, 7);
	tap_rc(fg_cseg_encode(b8, &a, &f, &err), &err, "shared");
	tap_int(f->len, 4 * (1 + 1024 + 32 + 2 + 4), "equal label sets share a table");
	fg_buf_unref(f);
	fg_array_fini(&a);
}

/* Decode words that must be refused. */
static void
refused(const char *what, const uint32_t *w, size_t n, const char *part)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_array a;

	if (!tap_rc(fg_array_init(&a, FG_U32, (int64_t[4]){8, 8, 8, 1}, &err), &err,
		what))
		return;
	tap_fails(fg_cseg_decode(b8, (const uint8_t *)w, n, &a, &err), &err,
	    FG_ECORRUPT, part, what);
	fg_array_fini(&a);
}

static void
test_bad(void)
{
	uint32_t w[64] = {1, 0x01000012, 2};

	w[1 + 18] = 3;
	w[1 + 19] = 4;
	refused("no bytes", w, 0, "0 bytes");
	refused("half a word", w, 82, "82 bytes");
	refused("headers cut off", w, 8, "headers");
	refused("table cut off", w, 4 * 19, "table at word 18 of 18");
	/* One entry is left; the values say 0 only, so this is fine... */
	struct fg_err err = FG_ERR_INIT;
	struct fg_array a;
	tap_rc(fg_array_init(&a, FG_U32, (int64_t[4]){8, 8, 8, 1}, &err), &err, "u32");
	tap_rc(fg_cseg_decode(b8, (const uint8_t *)w, 4 * 20, &a, &err), &err,
	    "a short table whose entries all exist");
	tap_int(label(&a, 100), 3, "its label");
	w[3 + 15] = 0x80000000; /* ... and this is not. */
	refused("entry cut off", w, 4 * 20, "table entry 1 of at most 1");
	tap_rc(fg_cseg_decode(b8, (const uint8_t *)w, 4 * 21, &a, &err), &err,
	    "with both entries");
	tap_int(label(&a, 511), 4, "its last label");
	w[0] = 0;
	refused("channel before the table of channels", w, 84, "word 0");
	w[0] = 21;
	refused("channel at the end", w, 84, "word 21");
	w[0] = 0xffffffff;
	refused("channel far away", w, 84, "word 4294967295");
	w[0] = 1;
	for (uint32_t b = 3; b < 256; b++) {
		if (b == 4 || b == 8 || b == 16 || b == 32)
			continue;
		w[1] = b << 24 | 18;
		if (fg_cseg_decode(b8, (const uint8_t *)w, 84, &a, &err) == 0)
			tap_ok(false, "%u bits accepted", b);
		fg_err_clear(&err);
	}
	w[1] = 3u << 24 | 18;
	refused("3 bits", w, 84, "3 bits per voxel");
	w[1] = 0x01000000 | 20;
	refused("table at the end", w, 84, "table at word 20 of 20");
	w[1] = 0x01ffffff;
	refused("table far away", w, 84, "table at word 16777215");
	w[1] = 0x01000012;
	w[2] = 5;
	refused("values beyond the end", w, 84, "values at word 5 of 20");
	w[2] = 0xffffffff;
	refused("values far away", w, 84, "values at word 4294967295");
	w[1] = 0x00000012;
	tap_rc(fg_cseg_decode(b8, (const uint8_t *)w, 84, &a, &err), &err,
	    "values offset of a block without values does not matter");
	w[1] = 0x20000002;
	w[2] = 2;
	refused("32 bits cut off", w, sizeof w, "values at word 2 of 63");
	tap_fails(fg_cseg_decode((int64_t[3]){8, 0, 8}, (const uint8_t *)w, 84, &a,
		      &err),
	    &err, FG_EINVAL, "8 x 0 x 8", "block of no extent");
	tap_fails(fg_cseg_decode((int64_t[3]){1 << 20, 1 << 20, 1 << 20},
		      (const uint8_t *)w, 84, &a, &err),
	    &err, FG_EINVAL, "1048576", "huge block");
	fg_array_fini(&a);
	tap_rc(fg_array_init(&a, FG_U16, (int64_t[4]){8, 8, 8, 1}, &err), &err, "u16");
	struct fg_buf *f = NULL;
	tap_fails(fg_cseg_encode(b8, &a, &f, &err), &err, FG_EINVAL, "uint16",
	    "uint16 labels");
	fg_array_fini(&a);
}

/* Every truncation of a file of several blocks is refused or gives the same labels. */
static void
test_truncation(void)
{
	struct fg_err err = FG_ERR_INIT;
	int64_t n[4] = {20, 11, 9, 2};
	struct fg_array a, back;
	struct fg_buf *f = NULL;
	size_t accepted = 0;

	tap_rc(fg_array_init(&a, FG_U64, n, &err), &err, "array");
	tap_rc(fg_array_init(&back, FG_U64, n, &err), &err, "array");
	for (size_t i = 0; i < fg_array_count(&a); i++)
		set_label(&a, i, roll() % 20);
	tap_rc(fg_cseg_encode(b8, &a, &f, &err), &err, "encode");
	for (size_t len = 0; len < f->len; len++) {
		uint8_t *p = malloc(len + 1); /* exact, so that ASan sees overreads */

		memcpy(p, f->data, len);
		if (fg_cseg_decode(b8, p, len, &back, &err) == 0)
			accepted++;
		fg_err_clear(&err);
		free(p);
	}
	tap_int(accepted, 0, "no truncated file is accepted");
	fg_buf_unref(f);
	fg_array_fini(&a);
	fg_array_fini(&back);
}

/* 72000 labels in one block: 32 bits a voxel cannot be avoided. */
static void
test_many(void)
{
	int64_t n[4] = {40, 40, 45, 1}, block[3] = {40, 40, 45};
	struct fg_err err = FG_ERR_INIT;
	struct fg_array a, back;
	struct fg_buf *f = NULL;

	tap_rc(fg_array_init(&a, FG_U32, n, &err), &err, "array");
	tap_rc(fg_array_init(&back, FG_U32, n, &err), &err, "array");
	for (size_t i = 0; i < 72000; i++)
		set_label(&a, i, 71999 - i);
	tap_rc(fg_cseg_encode(block, &a, &f, &err), &err, "72000 labels in a block");
	tap_int(((uint32_t *)f->data)[1] >> 24, 32, "bits");
	tap_rc(fg_cseg_decode(block, f->data, f->len, &back, &err), &err, "decode");
	tap_ok(memcmp(a.data, back.data, 288000) == 0, "the same");
	fg_buf_unref(f);
	f = NULL;
	/* 65536 labels fit 16 bits. */
	for (size_t i = 0; i < 72000; i++)
		set_label(&a, i, i % 65536);
	tap_rc(fg_cseg_encode(block, &a, &f, &err), &err, "65536 labels in a block");
	tap_int(((uint32_t *)f->data)[1] >> 24, 16, "bits");
	fg_buf_unref(f);
	fg_array_fini(&a);
	fg_array_fini(&back);

	/* Too much for 24-bit offsets: 2^21 blocks of 8 labels each, all different. */
	f = NULL;
	tap_rc(fg_array_init(&a, FG_U64, (int64_t[4]){256, 256, 128, 1}, &err), &err,
	    "array");
	for (size_t i = 0; i < fg_array_count(&a); i++)
		set_label(&a, i, i);
	tap_fails(fg_cseg_encode((int64_t[3]){2, 2, 2}, &a, &f, &err), &err, FG_EINVAL,
	    "too varied", "a channel beyond 2^24 words");
	tap_ok(f == NULL, "no buffer then");
	fg_array_fini(&a);
}

int
main(void)
{
	test_vectors();
	round_trip("u64, even", FG_U64, (int64_t[4]){16, 16, 16, 1}, b8, 3);
	round_trip("u32, even", FG_U32, (int64_t[4]){16, 16, 16, 1}, b8, 3);
	round_trip("u64, odd size", FG_U64, (int64_t[4]){37, 21, 13, 1}, b8, 5);
	round_trip("u32, odd size", FG_U32, (int64_t[4]){37, 21, 13, 1}, b8, 5);
	round_trip("u64, 16 labels", FG_U64, (int64_t[4]){24, 24, 24, 1}, b8, 16);
	round_trip("u64, 17 labels", FG_U64, (int64_t[4]){24, 24, 24, 1}, b8, 17);
	round_trip("u64, 300 labels", FG_U64, (int64_t[4]){24, 24, 24, 1}, b8, 300);
	round_trip("u32, 300 labels", FG_U32, (int64_t[4]){24, 24, 24, 1}, b8, 1000);
	round_trip("u64, channels", FG_U64, (int64_t[4]){9, 8, 7, 3}, b8, 2);
	round_trip("u32, small block", FG_U32, (int64_t[4]){9, 8, 7, 2},
	    (int64_t[3]){3, 2, 1}, 4);
	round_trip("u64, one voxel a block", FG_U64, (int64_t[4]){5, 4, 3, 1},
	    (int64_t[3]){1, 1, 1}, 4);
	round_trip("u64, block larger than chunk", FG_U64, (int64_t[4]){5, 4, 3, 1},
	    (int64_t[3]){16, 16, 16}, 40);
	round_trip("u64, flat block", FG_U64, (int64_t[4]){64, 64, 3, 1},
	    (int64_t[3]){64, 64, 1}, 9);
	test_bad();
	test_truncation();
	test_many();
	return tap_done();
}
