/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Labels replaced in encoded chunks: decoding what comes out gives the replaced labels
 * of what was encoded, for every encoding and many shapes; damaged chunks are refused.
 */
#include "config.h"

#include "formats/relabel.h"

#include "formats/codec.h"
#include "tests/tap.h"

static uint64_t rnd_state = 5;

static uint32_t
rnd(uint32_t n)
{
	rnd_state = rnd_state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(rnd_state >> 33) % n;
}

static uint64_t
renamed(uint64_t v)
{
	return v % 3 == 1 ? v / 2 + 7 : v;
}

static int
rename_some(void *ctx, uint64_t *label, size_t n, struct fg_err *err)
{
	(void)ctx;
	(void)err;
	for (size_t i = 0; i < n; i++)
		label[i] = renamed(label[i]);
	return 0;
}

static int
keep(void *ctx, uint64_t *label, size_t n, struct fg_err *err)
{
	(void)err;
	(void)label;
	*(size_t *)ctx = n;
	return 0;
}

static int
refuse(void *ctx, uint64_t *label, size_t n, struct fg_err *err)
{
	(void)ctx;
	(void)label;
	(void)n;
	return fg_fail(err, FG_EIO, "no names today");
}

static struct fg_array
make(const int64_t shape[4], uint32_t labels, uint64_t base)
{
	struct fg_array a = FG_ARRAY_INIT;
	struct fg_err err = FG_ERR_INIT;
	uint64_t *v, last = 0;

	if (fg_array_init(&a, FG_U64, shape, &err) < 0)
		exit(1);
	v = a.data;
	for (size_t i = 0, n = fg_array_count(&a); i < n; i++) {
		if (rnd(6) == 0)
			last = rnd(labels) ? base + rnd(labels) : 0;
		v[i] = last;
	}
	return a;
}

static int
check(const struct fg_scale *s, const struct fg_array *a, struct fg_buf *in)
{
	struct fg_array got = FG_ARRAY_INIT;
	struct fg_err err = FG_ERR_INIT;
	struct fg_buf *out = NULL, *same = NULL;
	const uint64_t *v = a->data, *w;
	size_t n = 0;
	int bad = 0;

	if (fg_relabel_chunk(s, FG_U64, a->shape, in, rename_some, NULL, &out, &err) <
		0 ||
	    fg_relabel_chunk(s, FG_U64, a->shape, in, keep, &n, &same, &err) < 0 ||
	    fg_array_init(&got, FG_U64, a->shape, &err) < 0 ||
	    fg_codec_decode(s, out->data, out->len, &got, &err) < 0) {
		printf("# %s\n", err.msg);
		return 1;
	}
	w = got.data;
	for (size_t i = 0, k = fg_array_count(a); i < k; i++)
		bad += w[i] != renamed(v[i]);
	bad += same != in;
	bad += s->encoding == FG_ENC_CSEG && out->len != in->len;
	fg_buf_unref(out);
	fg_buf_unref(same);
	fg_array_fini(&got);
	return bad;
}

static void
test_encoding(enum fg_encoding enc, const char *name)
{
	struct fg_err err = FG_ERR_INIT;
	int bad = 0;

	if (fg_codec_check(enc, FG_U64, 1, &err) < 0) {
		printf("# %s: %s\n", name, err.msg);
		return;
	}
	for (int i = 0; i < 60; i++) {
		int64_t shape[4] = {1 + rnd(70), 1 + rnd(40), 1 + rnd(20), 1};
		struct fg_scale s = {.encoding = enc, .cseg_block = {8, 8, 8}};
		struct fg_array a =
		    make(shape, 1 + rnd(i % 5 ? 9 : 3000), i % 2 ? 1 : 1ull << 40);
		struct fg_buf *in = NULL;

		if (i % 7 == 3) {
			s.cseg_block[0] = 1 + rnd(9);
			s.cseg_block[2] = 1 + rnd(9);
		}
		if (fg_codec_encode(&s, &a, &in, &err) < 0) {
			printf("# %s\n", err.msg);
			bad++;
		} else {
			bad += check(&s, &a, in) != 0;
		}
		fg_buf_unref(in);
		fg_array_fini(&a);
	}
	tap_int(bad, 0, "%s: 60 chunks", name);
}

/* No damage may be read or written outside; what comes of it is the decoder's word. */
static void
test_damage(void)
{
	struct fg_scale s = {.encoding = FG_ENC_CSEG, .cseg_block = {8, 8, 8}};
	int64_t shape[4] = {33, 17, 9, 1};
	struct fg_array a = make(shape, 5, 1);
	struct fg_err err = FG_ERR_INIT;
	struct fg_buf *in = NULL, *out;
	int other = 0;

	if (fg_codec_encode(&s, &a, &in, &err) < 0)
		exit(1);
	for (int i = 0; i < 3000; i++) {
		struct fg_buf *b =
		    fg_buf_copy(in->data, i % 4 ? in->len : rnd((uint32_t)in->len));

		for (int k = 0; k < 3 && b->len > 0; k++)
			b->data[rnd((uint32_t)FG_MIN(b->len, 400u))] =
			    (uint8_t)rnd(256);
		out = NULL;
		fg_err_clear(&err);
		if (fg_relabel_chunk(&s, FG_U64, shape, b, rename_some, NULL, &out,
			&err) < 0)
			other += err.code != FG_ECORRUPT && err.code != FG_ENOMEM &&
				 err.code != FG_EINVAL;
		fg_buf_unref(out);
		fg_buf_unref(b);
	}
	tap_int(other, 0, "3,000 damaged chunks are corrupt or readable");
	fg_err_clear(&err);
	tap_fails(fg_relabel_chunk(&s, FG_U64, shape, in, refuse, NULL, &out, &err),
	    &err, FG_EIO, "no names today", "who cannot name says why");
	tap_fails(fg_relabel_chunk(&s, FG_U32, shape, in, keep, NULL, &out, &err), &err,
	    FG_ENOTSUP, "uint32", "other data types are refused");
	fg_buf_unref(in);
	fg_array_fini(&a);
}

int
main(void)
{
	uint64_t v[5] = {1, 4, 4, 0, 2};
	struct fg_err err = FG_ERR_INIT;

	test_encoding(FG_ENC_RAW, "raw");
	test_encoding(FG_ENC_CSEG, "compressed_segmentation");
	test_encoding(FG_ENC_COMPRESSO, "compresso");
	test_damage();
	tap_rc(fg_relabel_voxels(v, 5, rename_some, NULL, &err), &err, "voxels");
	tap_ok(v[0] == 7 && v[1] == 9 && v[2] == 9 && v[3] == 0 && v[4] == 2,
	    "in place");
	return tap_done();
}
