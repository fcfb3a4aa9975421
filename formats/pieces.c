/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arrays cut into files; see the header. A piece is read whole, unpacked under a limit
 * that follows from its extent, and copied as far as the box wants it. An absent file
 * is a piece of the fill value; a file that cannot be read is an error.
 */
#include "config.h"

#include "formats/pieces.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#ifdef HAVE_BLOSC
#include <blosc.h>
#endif

#include "base/file.h"
#include "base/hash.h"
#include "formats/codec.h"

#define JSON_MAX (16u << 20)
#define PIECE_MAX ((int64_t)1 << 31)

void
fg_pieces_fini(struct fg_pieces *p)
{
	free(p->dir);
	p->dir = NULL;
}

/* --- descriptions */

int
fg_pieces_type(struct fg_pieces *p, const char *name, struct fg_err *err)
{
	p->is_signed64 = strcmp(name, "int64") == 0;
	if (p->is_signed64)
		name = "uint64";
	if (strcmp(name, "bool") == 0)
		name = "uint8";
	if (fg_dtype_parse(name, &p->dtype, NULL) < 0)
		return fg_fail(err, FG_ENOTSUP, "values of type \"%.40s\"", name);
	return 0;
}

int
fg_pieces_add_coding(struct fg_pieces *p, const char *name, struct fg_err *err)
{
	static const char *const names[] = {[FG_PIECE_RAW] = "raw",
	    [FG_PIECE_GZIP] = "gzip",
	    [FG_PIECE_ZLIB] = "zlib",
	    [FG_PIECE_ZSTD] = "zstd",
	    [FG_PIECE_BLOSC] = "blosc",
	    [FG_PIECE_CRC32C] = "crc32c"};

	for (size_t i = 0; i < FG_COUNTOF(names); i++) {
		if (strcmp(names[i], name) != 0)
			continue;
		if (p->codings == FG_PIECE_CODINGS)
			return fg_fail(err, FG_ENOTSUP, "more than %d codecs",
			    FG_PIECE_CODINGS);
		p->coding[p->codings++] = (enum fg_piece_coding)i;
#ifndef HAVE_BLOSC
		if (i == FG_PIECE_BLOSC)
			return fg_fail(err, FG_ENOTSUP,
			    "blosc is not available in this build");
#endif
		return 0;
	}
	return fg_fail(err, FG_ENOTSUP, "compression \"%.40s\" is not read", name);
}

int
fg_pieces_numbers(const json_t *j, const char *key, int64_t lo, int64_t hi,
    int64_t *out, int *n, struct fg_err *err)
{
	const json_t *a = json_object_get(j, key);
	size_t count = json_array_size(a);

	if (!json_is_array(a) || count < 1 || count > FG_FOREIGN_AXES)
		return fg_fail(err, FG_ENOTSUP,
		    "\"%s\" is no array of 1 to %d numbers (%zu)", key, FG_FOREIGN_AXES,
		    count);
	for (size_t i = 0; i < count; i++) {
		const json_t *v = json_array_get(a, i);

		if (!json_is_integer(v) || json_integer_value(v) < lo ||
		    json_integer_value(v) > hi)
			return fg_fail(err, FG_ECORRUPT,
			    "\"%s\"[%zu] is no whole number of %lld to %lld", key, i,
			    (long long)lo, (long long)hi);
		out[i] = json_integer_value(v);
	}
	*n = (int)count;
	return 0;
}

int
fg_pieces_check(const struct fg_pieces *p, int chunk_rank, struct fg_err *err)
{
	int64_t n = (int64_t)fg_dtype_size(p->dtype);

	if (chunk_rank != p->axes.rank)
		return fg_fail(err, FG_ECORRUPT, "chunks of %d axes, the array has %d",
		    chunk_rank, p->axes.rank);
	for (int i = 0; i < chunk_rank; i++) {
		if (__builtin_mul_overflow(n, p->chunk[i], &n) || n > PIECE_MAX)
			return fg_fail(err, FG_ENOTSUP,
			    "chunks of more than %lld bytes", (long long)PIECE_MAX);
	}
	return 0;
}

int
fg_pieces_json(const char *dir, const char *name, json_t **out, struct fg_err *err)
{
	char *path = fg_asprintf("%s/%s", dir, name);
	struct fg_err why = FG_ERR_INIT;
	struct fg_buf *b = fg_file_read(path, JSON_MAX, &why);
	int rc = 0;

	free(path);
	*out = NULL;
	if (!b && why.code == FG_ENOENT)
		return 0;
	if (!b)
		return fg_fail(err, why.code, "%s", why.msg);
	*out = fg_json_parse((const char *)b->data, b->len, name, err);
	if (!*out)
		rc = -1;
	else if (!json_is_object(*out))
		rc = fg_fail(err, FG_ECORRUPT, "%s is no JSON object", name);
	if (rc < 0) {
		json_decref(*out);
		*out = NULL;
	}
	fg_buf_unref(b);
	return rc;
}

bool
fg_pieces_path_is_safe(const char *path)
{
	if (!*path || *path == '/' || strlen(path) > 1024)
		return false;
	for (; *path; path += strcspn(path, "/"), path += *path == '/') {
		size_t n = strcspn(path, "/");

		if (n == 2 && path[0] == '.' && path[1] == '.')
			return false;
	}
	return true;
}

double
fg_pieces_unit(const char *unit)
{
	static const struct {
		const char *name;
		double nm;
	} units[] = {{"nanometer", 1}, {"nm", 1}, {"micrometer", 1e3}, {"um", 1e3},
	    {"\xc2\xb5m", 1e3}, {"\xce\xbcm", 1e3}, {"micron", 1e3},
	    {"millimeter", 1e6}, {"mm", 1e6}, {"angstrom", 0.1}, {"meter", 1e9},
	    {"m", 1e9}};

	if (!unit)
		return 1;
	for (size_t i = 0; i < FG_COUNTOF(units); i++) {
		if (strcasecmp(units[i].name, unit) == 0)
			return units[i].nm;
	}
	return 0;
}

/* --- pieces */

static size_t
piece_bytes(const struct fg_pieces *p)
{
	size_t n = fg_dtype_size(p->dtype);

	for (int i = 0; i < p->axes.rank; i++)
		n *= (size_t)p->chunk[i];
	return n;
}

#ifdef HAVE_BLOSC
static int
blosc_unpack(const uint8_t *p, size_t n, size_t limit, struct fg_buf **out,
    struct fg_err *err)
{
	size_t size = 0;
	struct fg_buf *b;

	if (blosc_cbuffer_validate(p, n, &size) < 0)
		return fg_fail(err, FG_ECORRUPT,
		    "blosc: damaged or cut off (%zu bytes)", n);
	if (size > limit)
		return fg_fail(err, FG_ECORRUPT,
		    "blosc: unpacks to %zu bytes, more than the %zu expected", size,
		    limit);
	b = fg_buf_new(size);
	if (!b)
		return fg_fail(err, FG_ENOMEM, "no memory for %zu bytes", size);
	if (size > 0 && blosc_decompress_ctx(p, b->data, size, 1) != (int)size) {
		fg_buf_unref(b);
		return fg_fail(err, FG_ECORRUPT, "blosc: damaged (%zu bytes)", n);
	}
	*out = b;
	return 0;
}
#else
static int
blosc_unpack(const uint8_t *p FG_UNUSED, size_t n FG_UNUSED, size_t limit FG_UNUSED,
    struct fg_buf **out FG_UNUSED, struct fg_err *err)
{
	return fg_fail(err, FG_ENOTSUP, "blosc is not available in this build");
}
#endif

static int
drop_crc(const uint8_t *p, size_t n, struct fg_buf **out, struct fg_err *err)
{
	if (n < 4 || fg_crc32c(0, p, n - 4) != fg_get_u32le(p + n - 4))
		return fg_fail(err, FG_ECORRUPT, "the checksum does not fit");
	*out = fg_buf_copy(p, n - 4);
	return 0;
}

static int
undo(enum fg_piece_coding c, const uint8_t *p, size_t n, size_t limit,
    struct fg_buf **out, struct fg_err *err)
{
	switch (c) {
	case FG_PIECE_RAW:
		return fg_decompress(FG_CODING_NONE, p, n, limit, out, err);
	case FG_PIECE_GZIP:
		return fg_decompress(FG_CODING_GZIP, p, n, limit, out, err);
	case FG_PIECE_ZLIB:
		return fg_zlib_decompress(p, n, limit, out, err);
	case FG_PIECE_ZSTD:
		return fg_decompress(FG_CODING_ZSTD, p, n, limit, out, err);
	case FG_PIECE_BLOSC:
		return blosc_unpack(p, n, limit, out, err);
	case FG_PIECE_CRC32C:
		return drop_crc(p, n, out, err);
	}
	return fg_fail(err, FG_EINVAL, "no such coding: %d", (int)c);
}

/* The file's bytes as the array's values; *b is replaced. */
static int
unpack(const struct fg_pieces *p, struct fg_buf **b, struct fg_err *err)
{
	size_t bytes = piece_bytes(p) + p->header_max;
	size_t skip = p->outer ? FG_MIN(p->header_max, (*b)->len) : 0;

	if (p->outer) /* N5: the header says how long it is */
		skip = (*b)->len >= 4
			   ? 4 + 4 * (size_t)((*b)->data[2] << 8 | (*b)->data[3])
			   : 4;
	if (skip > (*b)->len)
		return fg_fail(err, FG_ECORRUPT, "%zu bytes are no block", (*b)->len);
	for (int i = p->codings - 1; i >= 0; i--) {
		struct fg_buf *next = NULL;
		/* What an outer coding unpacks to is data that an inner one packed. */
		size_t limit = i > 0 ? bytes + bytes / 8 + 4096 : bytes;

		if (undo(p->coding[i], (*b)->data + skip, (*b)->len - skip, limit,
			&next, err) < 0)
			return -1;
		if (skip > 0) { /* keep the header in front */
			struct fg_buf *joined = fg_buf_new(skip + next->len);

			if (!joined) {
				fg_buf_unref(next);
				return fg_fail(err, FG_ENOMEM, "no memory for a block");
			}
			memcpy(joined->data, (*b)->data, skip);
			memcpy(joined->data + skip, next->data, next->len);
			fg_buf_unref(next);
			next = joined;
		}
		fg_buf_unref(*b);
		*b = next;
	}
	return 0;
}

static void
fill_piece(const struct fg_pieces *p, const int64_t *lo, const struct fg_box *vx,
    struct fg_array *out)
{
	size_t width = fg_dtype_size(p->dtype), n = piece_bytes(p);
	uint8_t *piece;

	if (memcmp(p->fill, (uint8_t[8]){0}, 8) == 0)
		return;
	piece = fg_alloc(n);
	for (size_t i = 0; i < n; i += width)
		memcpy(piece + i, p->fill, width);
	fg_axes_copy(&p->axes, piece, lo, p->chunk, p->c_order, false, vx, out);
	free(piece);
}

static int
read_piece(const struct fg_pieces *p, const int64_t *at, const struct fg_box *vx,
    struct fg_array *out, struct fg_err *err)
{
	int64_t lo[FG_FOREIGN_AXES], size[FG_FOREIGN_AXES];
	char *name = p->name(p, at), *path = fg_asprintf("%s/%s", p->dir, name);
	struct fg_err why = FG_ERR_INIT;
	size_t limit = piece_bytes(p) + piece_bytes(p) / 4 + 65536;
	struct fg_buf *b = fg_file_read(path, limit, &why);
	const uint8_t *values = NULL;
	int rc = 0;

	free(path);
	for (int i = 0; i < p->axes.rank; i++) {
		lo[i] = at[i] * p->chunk[i];
		size[i] = p->chunk[i];
	}
	if (!b && why.code == FG_ENOENT) {
		fill_piece(p, lo, vx, out);
	} else if (!b) {
		rc = fg_fail(err, why.code, "%s", why.msg);
	} else if (unpack(p, &b, err) < 0 || p->open(p, b, &values, size, err) < 0) {
		rc = fg_err_prefix(err, "%s", name);
	} else {
		fg_axes_copy(&p->axes, values, lo, size, p->c_order, p->swap, vx, out);
	}
	fg_buf_unref(b);
	free(name);
	return rc;
}

static int
check_signs(const struct fg_pieces *p, const struct fg_array *out, struct fg_err *err)
{
	size_t n = fg_array_count(out);

	for (size_t i = 0; p->is_signed64 && i < n; i++) {
		int64_t v = ((const int64_t *)out->data)[i];

		if (v < 0)
			return fg_fail(err, FG_ENOTSUP, "int64 value %lld is negative",
			    (long long)v);
	}
	return 0;
}

int
fg_pieces_box(const struct fg_pieces *p, const struct fg_box *vx, struct fg_array *out,
    struct fg_err *err)
{
	int64_t lo[FG_FOREIGN_AXES] = {0}, hi[FG_FOREIGN_AXES], at[FG_FOREIGN_AXES];
	int rank = p->axes.rank, i;

	for (i = 0; i < rank; i++) {
		int d = p->axes.of[i];

		hi[i] = fg_div_ceil(p->axes.size[i], p->chunk[i]);
		if (d >= 0 && d < 3) {
			lo[i] = vx->lo[d] / p->chunk[i];
			hi[i] = fg_div_ceil(vx->hi[d], p->chunk[i]);
		}
		at[i] = lo[i];
	}
	for (;;) {
		if (read_piece(p, at, vx, out, err) < 0)
			return -1;
		for (i = rank - 1; i >= 0 && ++at[i] == hi[i]; i--)
			at[i] = lo[i];
		if (i < 0)
			return check_signs(p, out, err);
	}
}
