/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TensorBundle: the published FIB-25 checkpoint (all 54 tensors with the checksums of
 * an independent reader), then copies of it that were cut or changed. Needs the sample;
 * what does not is in test_bundle.c.
 */
#include "config.h"

#include <stdlib.h>

#include "base/file.h"
#include "base/hash.h"
#include "formats/bundle.h"
#include "tests/tap.h"

/* Name, type, shape (0-terminated), bytes, masked CRC-32C; key order. */
static const struct {
	const char *name;
	int type;
	int64_t shape[6];
	size_t bytes;
	uint32_t crc;
} table[] = {
    {"filter_coordinates_close_to_boundary/fraction", 9, {2}, 16, 0xbfab3c87},
    {"filter_out_bounds_coordinates/fraction", 9, {2}, 16, 0xce829350},
    {"filter_out_bounds_coordinates_1/fraction", 9, {2}, 16, 0xe1ccd992},
    {"global_step", 3, {0}, 4, 0x21f7b994},
    {"seed_update/conv0_a/biases", 1, {32}, 128, 0xfbca0fd8},
    {"seed_update/conv0_a/weights", 1, {3, 3, 3, 2, 32}, 6912, 0x85d4e066},
    {"seed_update/conv0_b/biases", 1, {32}, 128, 0x20d011c6},
    {"seed_update/conv0_b/weights", 1, {3, 3, 3, 32, 32}, 110592, 0xf043271c},
    {"seed_update/conv10_a/biases", 1, {32}, 128, 0xe5431f19},
    {"seed_update/conv10_a/weights", 1, {3, 3, 3, 32, 32}, 110592, 0xf4c17b19},
    {"seed_update/conv10_b/biases", 1, {32}, 128, 0x3f8ed539},
    {"seed_update/conv10_b/weights", 1, {3, 3, 3, 32, 32}, 110592, 0x49693667},
    {"seed_update/conv11_a/biases", 1, {32}, 128, 0x0a523cb0},
    {"seed_update/conv11_a/weights", 1, {3, 3, 3, 32, 32}, 110592, 0xae2e25b9},
    {"seed_update/conv11_b/biases", 1, {32}, 128, 0x13816db4},
    {"seed_update/conv11_b/weights", 1, {3, 3, 3, 32, 32}, 110592, 0x6d0ac59d},
    {"seed_update/conv1_a/biases", 1, {32}, 128, 0xcad53288},
    {"seed_update/conv1_a/weights", 1, {3, 3, 3, 32, 32}, 110592, 0xf44c4cda},
    {"seed_update/conv1_b/biases", 1, {32}, 128, 0x7c259968},
    {"seed_update/conv1_b/weights", 1, {3, 3, 3, 32, 32}, 110592, 0x2ec423f6},
    {"seed_update/conv2_a/biases", 1, {32}, 128, 0x82bd5ef8},
    {"seed_update/conv2_a/weights", 1, {3, 3, 3, 32, 32}, 110592, 0x6927a495},
    {"seed_update/conv2_b/biases", 1, {32}, 128, 0x9405848a},
    {"seed_update/conv2_b/weights", 1, {3, 3, 3, 32, 32}, 110592, 0x45532043},
    {"seed_update/conv3_a/biases", 1, {32}, 128, 0xd5739188},
    {"seed_update/conv3_a/weights", 1, {3, 3, 3, 32, 32}, 110592, 0x55225dca},
    {"seed_update/conv3_b/biases", 1, {32}, 128, 0xd598b9e0},
    {"seed_update/conv3_b/weights", 1, {3, 3, 3, 32, 32}, 110592, 0x82390f64},
    {"seed_update/conv4_a/biases", 1, {32}, 128, 0x5cd8fe2b},
    {"seed_update/conv4_a/weights", 1, {3, 3, 3, 32, 32}, 110592, 0x7bc17b7f},
    {"seed_update/conv4_b/biases", 1, {32}, 128, 0xbff35500},
    {"seed_update/conv4_b/weights", 1, {3, 3, 3, 32, 32}, 110592, 0x7a29cf2d},
    {"seed_update/conv5_a/biases", 1, {32}, 128, 0xb79ae433},
    {"seed_update/conv5_a/weights", 1, {3, 3, 3, 32, 32}, 110592, 0x83fd8f82},
    {"seed_update/conv5_b/biases", 1, {32}, 128, 0xaf51e795},
    {"seed_update/conv5_b/weights", 1, {3, 3, 3, 32, 32}, 110592, 0x4105099e},
    {"seed_update/conv6_a/biases", 1, {32}, 128, 0x817c561d},
    {"seed_update/conv6_a/weights", 1, {3, 3, 3, 32, 32}, 110592, 0xf66abad6},
    {"seed_update/conv6_b/biases", 1, {32}, 128, 0x3cc745b3},
    {"seed_update/conv6_b/weights", 1, {3, 3, 3, 32, 32}, 110592, 0x3e0f8772},
    {"seed_update/conv7_a/biases", 1, {32}, 128, 0x0d96ee6d},
    {"seed_update/conv7_a/weights", 1, {3, 3, 3, 32, 32}, 110592, 0x802747ae},
    {"seed_update/conv7_b/biases", 1, {32}, 128, 0xfde2e2fe},
    {"seed_update/conv7_b/weights", 1, {3, 3, 3, 32, 32}, 110592, 0x2f288632},
    {"seed_update/conv8_a/biases", 1, {32}, 128, 0x40c1a6d4},
    {"seed_update/conv8_a/weights", 1, {3, 3, 3, 32, 32}, 110592, 0xb7b54573},
    {"seed_update/conv8_b/biases", 1, {32}, 128, 0xa7fe08cd},
    {"seed_update/conv8_b/weights", 1, {3, 3, 3, 32, 32}, 110592, 0x341138ac},
    {"seed_update/conv9_a/biases", 1, {32}, 128, 0x5de138a8},
    {"seed_update/conv9_a/weights", 1, {3, 3, 3, 32, 32}, 110592, 0x293192a1},
    {"seed_update/conv9_b/biases", 1, {32}, 128, 0x0af957e8},
    {"seed_update/conv9_b/weights", 1, {3, 3, 3, 32, 32}, 110592, 0x8d3aff54},
    {"seed_update/conv_lom/biases", 1, {1}, 4, 0x77866531},
    {"seed_update/conv_lom/weights", 1, {1, 1, 1, 32, 1}, 128, 0xa17252fa},
};

static uint32_t
masked(const void *p, size_t n)
{
	uint32_t c = fg_crc32c(0, p, n);

	return (c >> 15 | c << 17) + 0xa282ead8;
}

static void
check_tensor(const struct fg_tensor *t, size_t i)
{
	bool ok = strcmp(t->name, table[i].name) == 0 &&
		  (int)t->type == table[i].type && t->bytes == table[i].bytes;
	int rank = 0;

	for (; table[i].shape[rank]; rank++)
		ok = ok && rank < t->rank && t->shape[rank] == table[i].shape[rank];
	ok = ok && rank == t->rank && masked(t->data, t->bytes) == table[i].crc;
	tap_ok(ok, "%s", table[i].name);
}

static const struct fg_buf *index_file, *data_file;

/* Open a copy of the index with byte i changed by `flip`, cut to n bytes. */
static int
open_changed(size_t i, uint8_t flip, size_t n, struct fg_err *err)
{
	uint8_t *p = malloc(n + 1);
	struct fg_bundle *b;

	memcpy(p, index_file->data, n);
	if (i < n)
		p[i] ^= flip;
	b = fg_bundle_open("m", p, n, data_file->data, data_file->len, err);
	fg_bundle_close(b);
	free(p);
	return b ? 0 : -1;
}

static void
test_index(void)
{
	struct fg_err err = FG_ERR_INIT;
	size_t n = index_file->len, accepted = 0, silent = 0;

	/* Every byte of the index is under a checksum or in the footer. */
	for (size_t i = 0; i < n; i++) {
		if (open_changed(i, (uint8_t)(1u << i % 8), n, &err) == 0)
			accepted++;
		else if (strncmp(err.msg, "m: ", 3) != 0 || err.code == FG_OK)
			silent++;
		fg_err_clear(&err);
	}
	tap_int(accepted, 0, "one flipped bit anywhere in the index is refused");
	tap_int(silent, 0, "with a message each");
	accepted = 0;
	for (size_t cut = 0; cut < n; cut++) {
		if (open_changed(n, 0, cut, &err) == 0)
			accepted++;
		fg_err_clear(&err);
	}
	tap_int(accepted, 0, "an index cut anywhere is refused");
	tap_fails(open_changed(n - 1, 1, n, &err), &err, FG_ECORRUPT, "magic number",
	    "wrong magic");
	tap_fails(open_changed(n, 0, 40, &err), &err, FG_ECORRUPT, "40 bytes",
	    "only a footer");
	tap_fails(open_changed(100, 1, n, &err), &err, FG_ECORRUPT,
	    "checksum of the data block at 0", "data block");
	tap_fails(open_changed(2257, 1, n, &err), &err, FG_ECORRUPT,
	    "checksum of the data block", "compression byte is under the checksum");
	tap_fails(open_changed(n - 48, 0x40, n, &err), &err, FG_ECORRUPT, "metaindex",
	    "place of the metaindex");
	tap_fails(open_changed(n - 20, 1, n, &err), &err, FG_ECORRUPT, "zeros",
	    "footer's filling");
}

static void
test_data(void)
{
	struct fg_err err = FG_ERR_INIT;
	size_t n = data_file->len, accepted = 0;
	uint8_t *p = malloc(n);
	struct fg_bundle *b;

	memcpy(p, data_file->data, n);
	for (size_t i = 0; i < n; i += n / 60) {
		p[i] ^= 0x10;
		b = fg_bundle_open("m", index_file->data, index_file->len, p, n, &err);
		accepted += b != NULL;
		fg_bundle_close(b);
		fg_err_clear(&err);
		p[i] ^= 0x10;
	}
	tap_int(accepted, 0, "a flipped bit in the data is refused");
	p[48] ^= 1;
	b = fg_bundle_open("m", index_file->data, index_file->len, p, n, &err);
	tap_fails(b ? 0 : -1, &err, FG_ECORRUPT,
	    "tensor global_step: checksum of the data is ", "which one is named");
	for (size_t i = 0; i < 60; i++) {
		size_t cut = i < 2 ? n - 1 - i : n / 60 * (i - 2);

		b = fg_bundle_open("m", index_file->data, index_file->len,
		    data_file->data, cut, &err);
		accepted += b != NULL;
		fg_bundle_close(b);
		fg_err_clear(&err);
	}
	tap_int(accepted, 0, "data cut anywhere is refused");
	b = fg_bundle_open("m", index_file->data, index_file->len, data_file->data,
	    n - 1, &err);
	tap_fails(b ? 0 : -1, &err, FG_ECORRUPT,
	    "tensor seed_update/conv_lom/weights: 128 bytes at 2553656, but the data "
	    "file has 2553783",
	    "found and wanted");
	free(p);
}

int
main(void)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_buf *index, *data;
	struct fg_bundle *b;
	char path[1200];

	snprintf(path, sizeof path, "%s/model.ckpt-27465036.index", tap_need_data());
	index = fg_file_read(path, 1 << 20, &err);
	snprintf(path, sizeof path, "%s/model.ckpt-27465036.data-00000-of-00001",
	    tap_need_data());
	data = fg_file_read(path, 1 << 24, &err);
	if (!tap_rc(index && data ? 0 : -1, &err, "read the checkpoint"))
		return tap_done();
	b = fg_bundle_open("model", index->data, index->len, data->data, data->len,
	    &err);
	if (!tap_rc(b ? 0 : -1, &err, "open it"))
		return tap_done();
	tap_int(fg_bundle_count(b), FG_COUNTOF(table), "its tensors");
	for (size_t i = 0; i < FG_MIN(fg_bundle_count(b), FG_COUNTOF(table)); i++) {
		check_tensor(fg_bundle_get(b, i), i);
		if (fg_bundle_find(b, table[i].name) != fg_bundle_get(b, i))
			tap_ok(false, "%s is not found by name", table[i].name);
	}
	tap_ok(fg_bundle_find(b, "seed_update/conv12_a/biases") == NULL,
	    "no tensor of that name");
	tap_ok(fg_bundle_find(b, "") == NULL, "no tensor without name");
	int32_t step;
	memcpy(&step, fg_bundle_find(b, "global_step")->data, 4);
	tap_int(step, 27465036, "global_step");
	fg_bundle_close(b);
	index_file = index;
	data_file = data;
	test_index();
	test_data();
	fg_buf_unref(index);
	fg_buf_unref(data);
	return tap_done();
}
