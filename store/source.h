/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A readable volume that is somewhere else: a precomputed directory now, shards,
 * HTTP, HDF5 and the like later. One table of functions per scheme; the scheme is
 * what stands before ':' in the URL (a plain path means dir:).
 *
 *   dir:PATH   a local precomputed directory, sharded or not; files as NAME,
 *              NAME.gz, NAME.zstd or NAME.br
 *   hdf5:FILE:/DATASET  tiff:FILE  zarr:FOLDER  n5:FOLDER
 *              files of other programs; the URL may end in options such as
 *              ?nm=8,8,8&axes=zyx, see store/files.c
 *   phantom:KEY=VALUE,...  a computed specimen (store/phantom.h); also the keys
 *              labels=1 (its truth), chunk=64, encoding=raw
 *
 * A source is immutable after opening and may be read by any number of threads.
 */
#ifndef FG_STORE_SOURCE_H
#define FG_STORE_SOURCE_H

#include "base/array.h"
#include "base/buf.h"
#include "base/err.h"
#include "formats/info.h"

struct fg_source;
struct stat;

struct fg_source_ops {
	const char *scheme;
	int (*open)(struct fg_source *s, const char *url, struct fg_err *err);
	/* Stored bytes of a chunk, decompressed; *out = NULL if it is absent. NULL:
	 * encoded from the box on request. */
	int (*chunk)(struct fg_source *s, int scale, const int64_t ch[3],
	    struct fg_buf **out, struct fg_err *err);
	/* As fg_source_box, `out` and `absent` zeroed before; NULL: derived from chunk.
	 */
	int (*box)(struct fg_source *s, int scale, const struct fg_box *vx,
	    struct fg_array *out, struct fg_array *absent, struct fg_err *err);
	/* As fg_source_file; NULL: such sources have no other files. */
	int (*file)(struct fg_source *s, const char *name, size_t limit, int *coding,
	    struct fg_buf **out, struct fg_err *err);
	/* As fg_source_open_file; NULL: such sources have no local files. */
	int (*open_file)(struct fg_source *s, const char *name, int *fd,
	    struct stat *st, struct fg_err *err);
	void (*close)(struct fg_source *s);
};

struct fg_source {
	const struct fg_source_ops *ops;
	char *url;
	struct fg_info info;
	struct fg_buf *info_bytes; /* the info file as found; NULL if there is none */
	void *priv;
};

/* Open and read the info. Fails: FG_ENOENT, FG_EINVAL, FG_ENOTSUP (scheme, encoding).
 */
struct fg_source *fg_source_open(const char *url, struct fg_err *err) FG_MUST_USE;
void fg_source_close(struct fg_source *s);

/* Stored (decompressed, still encoded) bytes of a chunk; *out = NULL, return 0, if
 * the source has none. A read error is a failure, never an absent chunk. */
int fg_source_chunk(struct fg_source *s, int scale, const int64_t ch[3],
    struct fg_buf **out, struct fg_err *err) FG_MUST_USE;

/*
 * Voxels of a box (voxels of that scale, inside its bounds). `out` is initialised by
 * the caller: the info's dtype, shape = box, channels. Where the source has no chunk,
 * voxels are 0 and, if `absent` is not NULL (u8, same x, y, z shape), absent = 1.
 */
int fg_source_box(struct fg_source *s, int scale, const struct fg_box *vx,
    struct fg_array *out, struct fg_array *absent, struct fg_err *err) FG_MUST_USE;

/* Any other file of a directory source (mesh/..., skeletons/..., properties), for
 * serving it as it is: relative name of letters, digits and ._-:@+ between slashes,
 * no "..", no leading dot. *out = NULL if absent. *coding: how the bytes are stored. */
int fg_source_file(struct fg_source *s, const char *name, size_t limit, int *coding,
    struct fg_buf **out, struct fg_err *err) FG_MUST_USE;

/* The same file as a descriptor, for serving parts of large ones (shards): exactly that
 * name, regular, not compressed. *fd = -1 if there is none or the source is not local;
 * else the caller closes it. */
int fg_source_open_file(struct fg_source *s, const char *name, int *fd, struct stat *st,
    struct fg_err *err) FG_MUST_USE;

#endif
