/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sources: choosing the scheme, and what is the same for all of them: checking
 * arguments, and making boxes of voxels from chunks.
 */
#include "config.h"

#include "store/source.h"

#include <stdlib.h>

#include "formats/codec.h"
#include "store/dir.h"
#include "store/files.h"
#include "store/phantom_source.h"

static const struct fg_source_ops *const schemes[] = {
    &fg_dir_ops,
    &fg_files_hdf5_ops,
    &fg_files_tiff_ops,
    &fg_files_zarr_ops,
    &fg_files_n5_ops,
    &fg_phantom_ops,
};

/* Length of the scheme in front of a ':', 0 for a plain path. */
static size_t
scheme_length(const char *url)
{
	size_t n = strspn(url, "abcdefghijklmnopqrstuvwxyz0123456789+");

	return n > 0 && url[n] == ':' ? n : 0;
}

static const struct fg_source_ops *
find_scheme(const char *url, const char **rest, struct fg_err *err)
{
	size_t n = scheme_length(url);

	*rest = n ? url + n + 1 : url;
	if (n == 0)
		return &fg_dir_ops;
	for (size_t i = 0; i < FG_COUNTOF(schemes); i++) {
		if (strlen(schemes[i]->scheme) == n &&
		    memcmp(schemes[i]->scheme, url, n) == 0)
			return schemes[i];
	}
	return fg_fail_null(err, FG_ENOTSUP,
	    "%.60s: sources of kind \"%.*s\" are not available in this build", url,
	    (int)n, url);
}

struct fg_source *
fg_source_open(const char *url, struct fg_err *err)
{
	const char *rest;
	const struct fg_source_ops *ops = find_scheme(url, &rest, err);
	struct fg_source *s;

	if (!ops)
		return NULL;
	s = fg_calloc(1, sizeof *s);
	s->ops = ops;
	s->url = fg_strdup(url);
	if (ops->open(s, rest, err) < 0) {
		fg_source_close(s);
		return NULL;
	}
	return s;
}

void
fg_source_close(struct fg_source *s)
{
	if (!s)
		return;
	s->ops->close(s);
	fg_info_fini(&s->info);
	fg_buf_unref(s->info_bytes);
	free(s->url);
	free(s);
}

/* Bytes that a raw chunk must have. Extents come from the info, which has checked that
 * they are positive, but not that their product fits. */
static int
raw_bytes(const struct fg_source *s, const struct fg_box *vx, size_t *out,
    struct fg_err *err)
{
	size_t n = (size_t)s->info.channels * fg_dtype_size(s->info.dtype);

	for (int d = 0; d < 3; d++) {
		if (__builtin_mul_overflow(n, (size_t)(vx->hi[d] - vx->lo[d]), &n))
			return fg_fail(err, FG_EINVAL,
			    "a chunk is too large for this machine");
	}
	*out = n;
	return 0;
}

/* A chunk of a source that stores none: its voxels, encoded as the info says. */
static int
make_chunk(struct fg_source *s, int scale, const int64_t ch[3], struct fg_buf **out,
    struct fg_err *err)
{
	const struct fg_scale *sc = &s->info.scale[scale];
	struct fg_array a = FG_ARRAY_INIT;
	int64_t shape[4];
	struct fg_box vx;
	int rc = -1;

	fg_scale_chunk_box(sc, ch, &vx);
	fg_box_shape(&vx, shape);
	shape[3] = s->info.channels;
	if (fg_array_init(&a, s->info.dtype, shape, err) == 0)
		rc = fg_source_box(s, scale, &vx, &a, NULL, err);
	if (rc == 0)
		rc = fg_codec_encode(sc, &a, out, err);
	fg_array_fini(&a);
	return rc;
}

int
fg_source_chunk(struct fg_source *s, int scale, const int64_t ch[3],
    struct fg_buf **out, struct fg_err *err)
{
	const struct fg_scale *sc = &s->info.scale[scale];
	struct fg_buf *b = NULL;
	int64_t grid[3];
	struct fg_box vx;
	size_t want = 0;

	fg_assert(scale >= 0 && scale < s->info.scales);
	fg_scale_grid(sc, grid);
	for (int d = 0; d < 3; d++)
		fg_assert(ch[d] >= 0 && ch[d] < grid[d]);
	if (!s->ops->chunk)
		return make_chunk(s, scale, ch, out, err);
	if (s->ops->chunk(s, scale, ch, &b, err) < 0)
		return -1;
	if (b && sc->encoding == FG_ENC_RAW) {
		fg_scale_chunk_box(sc, ch, &vx);
		if (raw_bytes(s, &vx, &want, err) < 0 || b->len != want) {
			fg_fail(err, FG_ECORRUPT,
			    "chunk %lld,%lld,%lld of scale %s has %zu bytes, wanted "
			    "%zu",
			    (long long)ch[0], (long long)ch[1], (long long)ch[2],
			    sc->key, b->len, want);
			fg_buf_unref(b);
			return -1;
		}
	}
	*out = b;
	return 0;
}

/* ------------------------------------------------------------- boxes */

/* A box of voxels under construction. */
struct gather {
	struct fg_source *s;
	int scale;
	const struct fg_box *vx;
	struct fg_array *out, *absent;
};

static void
mark_absent(const struct gather *g, const struct fg_box *chunk)
{
	struct fg_box part;
	int64_t n[3];

	if (!g->absent || !fg_box_intersect(g->vx, chunk, &part))
		return;
	fg_box_shape(g->vx, n);
	for (int64_t z = part.lo[2] - g->vx->lo[2]; z < part.hi[2] - g->vx->lo[2];
	     z++) {
		for (int64_t y = part.lo[1] - g->vx->lo[1];
		     y < part.hi[1] - g->vx->lo[1]; y++)
			memset((uint8_t *)g->absent->data + (z * n[1] + y) * n[0] +
				   part.lo[0] - g->vx->lo[0],
			    1, (size_t)(part.hi[0] - part.lo[0]));
	}
}

static int
gather_chunk(const struct gather *g, const int64_t ch[3], struct fg_err *err)
{
	const struct fg_scale *sc = &g->s->info.scale[g->scale];
	struct fg_array a = FG_ARRAY_INIT;
	struct fg_buf *b = NULL;
	struct fg_box chunk;
	int64_t shape[4];
	int rc = -1;

	fg_scale_chunk_box(sc, ch, &chunk);
	if (fg_source_chunk(g->s, g->scale, ch, &b, err) < 0)
		return -1;
	if (!b) {
		mark_absent(g, &chunk);
		return 0;
	}
	fg_box_shape(&chunk, shape);
	shape[3] = g->s->info.channels;
	if (fg_array_init(&a, g->s->info.dtype, shape, err) < 0)
		goto out;
	if (fg_codec_decode(sc, b->data, b->len, &a, err) < 0) {
		char name[FG_CHUNK_NAME];

		fg_chunk_name_format(&chunk, name);
		fg_err_prefix(err, "%s/%s", sc->key, name);
		goto out;
	}
	fg_array_copy_box(g->out, g->vx, &a, &chunk);
	rc = 0;
out:
	fg_array_fini(&a);
	fg_buf_unref(b);
	return rc;
}

static int
gather_chunks(const struct gather *g, struct fg_err *err)
{
	const struct fg_scale *sc = &g->s->info.scale[g->scale];
	int64_t lo[3], hi[3], ch[3];

	for (int d = 0; d < 3; d++) {
		lo[d] = fg_div_floor(g->vx->lo[d] - sc->offset[d], sc->chunk[d]);
		hi[d] = fg_div_ceil(g->vx->hi[d] - sc->offset[d], sc->chunk[d]);
	}
	for (ch[2] = lo[2]; ch[2] < hi[2]; ch[2]++) {
		for (ch[1] = lo[1]; ch[1] < hi[1]; ch[1]++) {
			for (ch[0] = lo[0]; ch[0] < hi[0]; ch[0]++) {
				if (gather_chunk(g, ch, err) < 0)
					return -1;
			}
		}
	}
	return 0;
}

static int
check_box(const struct fg_source *s, int scale, const struct fg_box *vx,
    const struct fg_array *out, const struct fg_array *absent, struct fg_err *err)
{
	struct fg_box bounds;
	int64_t n[3];

	fg_assert(scale >= 0 && scale < s->info.scales);
	fg_scale_bounds(&s->info.scale[scale], &bounds);
	if (fg_box_is_empty(vx) || !fg_box_contains(&bounds, vx))
		return fg_fail(err, FG_EINVAL, "the box is not inside scale %s",
		    s->info.scale[scale].key);
	fg_box_shape(vx, n);
	if (out->dtype != s->info.dtype || memcmp(out->shape, n, sizeof n) != 0 ||
	    out->shape[3] != s->info.channels)
		return fg_fail(err, FG_EINVAL,
		    "the array is not of the box's shape, type and channels");
	if (absent &&
	    (absent->dtype != FG_U8 || memcmp(absent->shape, n, sizeof n) != 0 ||
		absent->shape[3] != 1))
		return fg_fail(err, FG_EINVAL,
		    "the absence mask is not uint8 of the box's shape");
	return 0;
}

int
fg_source_box(struct fg_source *s, int scale, const struct fg_box *vx,
    struct fg_array *out, struct fg_array *absent, struct fg_err *err)
{
	struct gather g = {s, scale, vx, out, absent};

	if (check_box(s, scale, vx, out, absent, err) < 0)
		return -1;
	memset(out->data, 0, fg_array_bytes(out));
	if (absent)
		memset(absent->data, 0, fg_array_bytes(absent));
	if (s->ops->box)
		return s->ops->box(s, scale, vx, out, absent, err);
	return gather_chunks(&g, err);
}

/* ------------------------------------------------------------- other files */

/* Relative, of allowed letters, no element that is empty or begins with a dot. */
static bool
is_name_valid(const char *name)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "abcdefghijklmnopqrstuvwxyz0123456789"
				      "._-:@+/";
	bool start = true; /* of an element */

	if (!*name || strlen(name) > 1024 || name[strspn(name, letters)])
		return false;
	for (; *name; name++) {
		if (start && (*name == '.' || *name == '/'))
			return false;
		start = *name == '/';
	}
	return !start;
}

int
fg_source_file(struct fg_source *s, const char *name, size_t limit, int *coding,
    struct fg_buf **out, struct fg_err *err)
{
	if (!is_name_valid(name))
		return fg_fail(err, FG_EINVAL, "\"%.60s\" is no name of a file here",
		    name);
	if (!s->ops->file) {
		*out = NULL;
		return 0;
	}
	return s->ops->file(s, name, limit, coding, out, err);
}

int
fg_source_open_file(struct fg_source *s, const char *name, int *fd, struct stat *st,
    struct fg_err *err)
{
	if (!is_name_valid(name))
		return fg_fail(err, FG_EINVAL, "\"%.60s\" is no name of a file here",
		    name);
	*fd = -1;
	return s->ops->open_file ? s->ops->open_file(s, name, fd, st, err) : 0;
}
