/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A readable volume that is somewhere else: a precomputed directory now, shards,
 * HTTP, HDF5 and the like later. One table of functions per scheme; the scheme is
 * what stands before ':' in the URL (a plain path means dir:).
 *
 *   dir:PATH   a local precomputed directory, sharded or not; files as NAME,
 *              NAME.gz, NAME.zstd or NAME.br; also as file://PATH
 *   http://HOST/PATH  https:  s3://BUCKET/PATH  gs://BUCKET/PATH
 *              a precomputed directory on a web server or in a bucket, through a cache
 *              (store/remote.c); "precomputed://" may stand in front of any of these
 *   hdf5:FILE:/DATASET  tiff:FILE  zarr:FOLDER  n5:FOLDER  nifti:FILE  npy:FILE
 *   stack:FOLDER of PNG, JPEG or TIFF files, one section each
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
struct fg_source_part;
struct fg_tiles_pool;
struct fg_web;
struct stat;

struct fg_source_ops {
	const char *scheme;
	int (*open)(struct fg_source *s, const char *url, struct fg_err *err);
	/* Stored bytes of a chunk, decompressed; *out = NULL if it is absent. NULL:
	 * encoded from the box on request. */
	int (*chunk)(struct fg_source *s, int scale, const int64_t ch[3],
	    struct fg_buf **out, struct fg_err *err);
	/* Many at once, as fg_source_chunks; NULL: one by one. */
	int (*chunks)(struct fg_source *s, int scale, const int64_t (*ch)[3], size_t n,
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
	/* As fg_source_part; NULL: all files are local. */
	int (*part)(struct fg_source *s, const char *name, struct fg_source_part *p,
	    struct fg_err *err);
	void (*close)(struct fg_source *s);
};

/* What else there is to say about a source; only remote ones ask. */
struct fg_source_options {
	struct fg_web *web; /* the process's; outlives the source. NULL: one of its own,
			       without a cache on disk */
	const char
	    *known_info; /* used if the upstream does not answer now; NULL: none */
	struct fg_tiles_pool *tiles; /* the process's, of decoded sections; outlives the
					source. NULL: one of its own */
	bool anywhere;               /* redirects may lead to other servers */
	bool any; /* also what is no volume: annotations, skeletons, meshes, properties
		   */
	bool denied_is_absent; /* 403 means that there is no such file: buckets that may
				  not be listed */
};

struct fg_source {
	const struct fg_source_ops *ops;
	char *url;
	struct fg_info info;
	struct fg_buf *info_bytes; /* the info file as found; NULL if there is none */
	bool remote;               /* see fg_source_is_remote */
	int64_t holes;             /* sections that a stack lacks */
	struct fg_source_options opt; /* valid while opening */
	void *priv;
};

/* Open and read the info. Fails: FG_ENOENT, FG_EINVAL, FG_ENOTSUP (scheme, encoding,
 * no volume). */
struct fg_source *fg_source_open(const char *url, struct fg_err *err) FG_MUST_USE;

/* The scheme for a path (n characters, without options) that names none, by what is
 * there: "tiff", "stack", ...; NULL: none of these, a precomputed directory or nothing.
 */
const char *fg_source_guess(const char *path, size_t n);

/* opt may be NULL. */
struct fg_source *fg_source_open_with(const char *url,
    const struct fg_source_options *opt, struct fg_err *err) FG_MUST_USE;

/* Does reading wait for another machine? Such reads are for threads that may be held
 * up without holding up others. */
bool fg_source_is_remote(const struct fg_source *s);
bool fg_source_url_is_remote(const char *url);
void fg_source_close(struct fg_source *s);

/* Stored (decompressed, still encoded) bytes of a chunk; *out = NULL, return 0, if
 * the source has none. A read error is a failure, never an absent chunk. */
int fg_source_chunk(struct fg_source *s, int scale, const int64_t ch[3],
    struct fg_buf **out, struct fg_err *err) FG_MUST_USE;

/* The same for n of them, in one go where the source can; out[n] is filled, each one
 * reference or NULL. Nothing is to be released after a failure. */
int fg_source_chunks(struct fg_source *s, int scale, const int64_t (*ch)[3], size_t n,
    struct fg_buf **out, struct fg_err *err) FG_MUST_USE;

/* More bytes than any encoding needs for a chunk of the scale, also as stored. */
size_t fg_source_chunk_limit(const struct fg_source *s, int scale);

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

/* A part of a large file of a remote source. */
struct fg_source_part {
	/* Wanted: bytes off .. off + len, cut at the file's end; len 0: only size and
	 * tag; from_end: the last `len` bytes. */
	uint64_t off, len;
	bool from_end;
	uint64_t limit; /* longest part */
	/* Found. */
	bool absent;
	struct fg_buf
	    *bytes;    /* one reference; NULL: absent, none wanted or none there */
	uint64_t size; /* of the whole file; off is where bytes begin */
	uint64_t tag;  /* hash of what tells its version */
};

/* Fails: FG_EINVAL for names as fg_source_file; FG_EFULL above limit; FG_ENOTSUP if the
 * upstream does not tell sizes. Sources whose files are local: absent. */
int fg_source_part(struct fg_source *s, const char *name, struct fg_source_part *p,
    struct fg_err *err) FG_MUST_USE;

#endif
