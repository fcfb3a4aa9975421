/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arrays cut into files, what Zarr and N5 share: the compression of a piece, type names
 * and the walk over the pieces of a box. Only formats/ uses this header.
 */
#ifndef FG_FORMATS_PIECES_H
#define FG_FORMATS_PIECES_H

#include "base/buf.h"
#include "base/json.h"
#include "formats/foreign.h"

enum fg_piece_coding {
	FG_PIECE_RAW,
	FG_PIECE_GZIP,
	FG_PIECE_ZLIB,
	FG_PIECE_ZSTD,
	FG_PIECE_BLOSC,
	FG_PIECE_CRC32C, /* four bytes behind the data */
};

#define FG_PIECE_CODINGS 4

/* One array (one scale). */
struct fg_pieces {
	char *dir;
	struct fg_axes axes;
	int64_t chunk[FG_FOREIGN_AXES];
	enum fg_dtype dtype;
	bool is_signed64; /* int64, served as uint64; negative values are refused */
	bool swap;        /* big-endian values */
	bool c_order;
	/* as applied when writing; reading goes backwards */
	enum fg_piece_coding coding[FG_PIECE_CODINGS];
	int codings;
	uint8_t fill[8]; /* one value, native order */
	/* File of the piece at index at[rank], relative to dir; free(). */
	char *(*name)(const struct fg_pieces *p, const int64_t *at);
	/* Values and extent of a piece from its unpacked bytes. */
	int (*open)(const struct fg_pieces *p, const struct fg_buf *b,
	    const uint8_t **values, int64_t *size, struct fg_err *err);
	size_t header_max; /* bytes that `open` steps over */
	bool outer;        /* the header is not compressed */
	char separator;
	bool prefix; /* names begin with "c" */
};

void fg_pieces_fini(struct fg_pieces *p);
/* "uint8", ... "float32", and int64 and bool. */
int fg_pieces_type(struct fg_pieces *p, const char *name,
    struct fg_err *err) FG_MUST_USE;
/* gzip, zlib, zstd, blosc, raw, crc32c. */
int fg_pieces_add_coding(struct fg_pieces *p, const char *name,
    struct fg_err *err) FG_MUST_USE;
/* An array of whole numbers lo..hi, 1..FG_FOREIGN_AXES of them. */
int fg_pieces_numbers(const json_t *j, const char *key, int64_t lo, int64_t hi,
    int64_t *out, int *n, struct fg_err *err) FG_MUST_USE;
/* A piece is at most 2^31 bytes and of as many axes as the array. */
int fg_pieces_check(const struct fg_pieces *p, int chunk_rank,
    struct fg_err *err) FG_MUST_USE;

/* The voxels of a box: out is zero before. */
int fg_pieces_box(const struct fg_pieces *p, const struct fg_box *vx,
    struct fg_array *out, struct fg_err *err) FG_MUST_USE;

/* DIR/NAME as JSON, at most 16 MiB; *out = NULL if there is no such file. */
int fg_pieces_json(const char *dir, const char *name, json_t **out,
    struct fg_err *err) FG_MUST_USE;
/* A relative path that stays below its folder. */
bool fg_pieces_path_is_safe(const char *path);
/* Nanometres of a unit's name; 0 if it is no length. NULL: nanometres. */
double fg_pieces_unit(const char *unit);

#endif
