/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A flood-filling network small enough for tests, as a TensorFlow checkpoint on disk.
 *
 * One module of 8 features, of which one is used: the new logit of a voxel is the old
 * one + 20 * relu(image) - 10, so bright voxels (normalised above 0.5) become object
 * and dark ones do not. Weights are exact in every precision.
 */
#ifndef FG_TESTS_TINY_NET_H
#define FG_TESTS_TINY_NET_H

#include <stdlib.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/hash.h"
#include "tests/tap.h"

#define TINY_FEATURES 8

static inline uint32_t
tiny_masked(const void *p, size_t n)
{
	uint32_t c = fg_crc32c(0, p, n);

	return (c >> 15 | c << 17) + 0xa282ead8;
}

static inline void
tiny_varint(struct fg_str *s, uint64_t v)
{
	for (; v >= 0x80; v >>= 7)
		fg_str_put(s, &(uint8_t){(uint8_t)(v | 0x80)}, 1);
	fg_str_put(s, &(uint8_t){(uint8_t)v}, 1);
}

static inline void
tiny_record(struct fg_str *s, const char *key, const void *value, size_t n)
{
	tiny_varint(s, 0);
	tiny_varint(s, strlen(key));
	tiny_varint(s, n);
	fg_str_puts(s, key);
	fg_str_put(s, value, n);
}

static inline size_t
tiny_block(struct fg_str *file, const struct fg_str *records)
{
	size_t at = file->len, n;
	uint32_t crc;

	fg_str_put(file, records->data, records->len);
	fg_str_put(file, "\0\0\0\0\1\0\0\0", 8);
	n = file->len - at;
	fg_str_put(file, "", 1);
	crc = tiny_masked(file->data + at, n + 1);
	fg_str_put(file, &crc, 4);
	return n;
}

/* Append a float tensor to the data file and its record to the index. */
static inline void
tiny_tensor(struct fg_str *records, struct fg_str *data, const char *name,
    const int *shape, int rank, const float *v)
{
	struct fg_str entry = FG_STR_INIT, dims = FG_STR_INIT;
	size_t n = sizeof(float);
	uint32_t crc;

	for (int i = 0; i < rank; i++) {
		n *= (size_t)shape[i];
		fg_str_put(&dims, "\x12\2\x08", 3);
		tiny_varint(&dims, (uint64_t)shape[i]);
	}
	crc = tiny_masked(v, n);
	fg_str_put(&entry, "\x08\1\x12", 3);
	tiny_varint(&entry, dims.len);
	fg_str_put(&entry, dims.data, dims.len);
	fg_str_put(&entry, "\x20", 1);
	tiny_varint(&entry, data->len);
	fg_str_put(&entry, "\x28", 1);
	tiny_varint(&entry, n);
	fg_str_put(&entry, "\x35", 1);
	fg_str_put(&entry, &crc, 4);
	tiny_record(records, name, entry.data, entry.len);
	fg_str_put(data, v, n);
	fg_str_fini(&entry);
	fg_str_fini(&dims);
}

static inline void
tiny_tensors(struct fg_str *records, struct fg_str *data, float gain)
{
	enum { F = TINY_FEATURES };
	static float a[27 * 2 * F], b[27 * F * F], lom[F], zero[F];
	float bias = -10;

	memset(lom, 0, sizeof lom);
	a[13 * 2 * F] = 1; /* middle of the kernel, image -> feature 0 */
	b[13 * F * F] = 1;
	lom[0] = gain;
	tiny_tensor(records, data, "seed_update/conv0_a/biases", (int[]){F}, 1, zero);
	tiny_tensor(records, data, "seed_update/conv0_a/weights",
	    (int[]){3, 3, 3, 2, F}, 5, a);
	tiny_tensor(records, data, "seed_update/conv0_b/biases", (int[]){F}, 1, zero);
	tiny_tensor(records, data, "seed_update/conv0_b/weights",
	    (int[]){3, 3, 3, F, F}, 5, b);
	tiny_tensor(records, data, "seed_update/conv_lom/biases", (int[]){1}, 1, &bias);
	tiny_tensor(records, data, "seed_update/conv_lom/weights",
	    (int[]){1, 1, 1, F, 1}, 5, lom);
}

static inline void
tiny_write(const char *prefix, const char *suffix, const struct fg_str *s)
{
	struct fg_err err = FG_ERR_INIT;
	char *path = fg_asprintf("%s%s", prefix, suffix);

	if (fg_file_write_fast(path, s->data, s->len, &err) < 0) {
		printf("Bail out! %s\n", err.msg);
		exit(1);
	}
	free(path);
}

/* Write prefix.index and prefix.data-00000-of-00001. gain: 20, or another for another
 * network. */
static inline void
tiny_net(const char *prefix, float gain)
{
	static const uint8_t magic[] = {0x57, 0xfb, 0x80, 0x8b, 0x24, 0x75, 0x47, 0xdb};
	struct fg_str records = FG_STR_INIT, data = FG_STR_INIT, file = FG_STR_INIT;
	struct fg_str index = FG_STR_INIT, place = FG_STR_INIT, none = FG_STR_INIT;
	size_t data_n, meta_at, meta_n, index_at, index_n;

	tiny_record(&records, "", "\x08\1\x1a\2\x08\1", 6);
	tiny_tensors(&records, &data, gain);
	data_n = tiny_block(&file, &records);
	meta_at = file.len;
	meta_n = tiny_block(&file, &none);
	tiny_varint(&place, 0);
	tiny_varint(&place, data_n);
	tiny_record(&index, "t", place.data, place.len);
	index_at = file.len;
	index_n = tiny_block(&file, &index);
	place.len = 0;
	tiny_varint(&place, meta_at);
	tiny_varint(&place, meta_n);
	tiny_varint(&place, index_at);
	tiny_varint(&place, index_n);
	while (place.len < 40)
		fg_str_put(&place, "", 1);
	fg_str_put(&file, place.data, 40);
	fg_str_put(&file, magic, 8);
	tiny_write(prefix, ".index", &file);
	tiny_write(prefix, ".data-00000-of-00001", &data);
	fg_str_fini(&records);
	fg_str_fini(&data);
	fg_str_fini(&file);
	fg_str_fini(&index);
	fg_str_fini(&place);
}

#endif
