/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sources: choosing the scheme, and what is the same for all of them: checking
 * arguments, and making boxes of voxels from chunks.
 */
#include "config.h"

#include "store/source.h"

#include <stdlib.h>
#include <strings.h>
#include <sys/stat.h>

#include "formats/codec.h"
#include "formats/series.h"
#include "store/dir.h"
#include "store/files.h"
#include "store/phantom_source.h"
#include "store/remote.h"

/* Chunks that are asked for at once for a box, where that saves time; bounded also by
 * what they may take in memory. */
#define BATCH_CHUNKS 64
#define BATCH_BYTES ((size_t)256 << 20)

static const struct fg_source_ops *const schemes[] = {
    &fg_dir_ops,
    &fg_files_hdf5_ops,
    &fg_files_tiff_ops,
    &fg_files_stack_ops,
    &fg_files_zarr_ops,
    &fg_files_n5_ops,
    &fg_files_nifti_ops,
    &fg_files_npy_ops,
    &fg_phantom_ops,
    &fg_remote_http_ops,
    &fg_remote_https_ops,
    &fg_remote_s3_ops,
    &fg_remote_gs_ops,
};

/* Length of the scheme in front of a ':', 0 for a plain path. */
static size_t
scheme_length(const char *url)
{
	size_t n = strspn(url, "abcdefghijklmnopqrstuvwxyz0123456789+");

	return n > 0 && url[n] == ':' ? n : 0;
}

static bool
ends_with(const char *s, size_t n, const char *ending)
{
	size_t k = strlen(ending);

	return n > k && strncasecmp(s + n - k, ending, k) == 0;
}

const char *
fg_source_guess(const char *path, size_t n)
{
	static const struct {
		const char *ending, *kind;
		bool file;
	} names[] = {{".tif", "tiff", true}, {".tiff", "tiff", true},
	    {".zarr", "zarr", false}, {".n5", "n5", false}, {".nii", "nifti", true},
	    {".nii.gz", "nifti", true}, {".npy", "npy", true},
	    {".npy.gz", "npy", true}};
	char *plain = fg_strndup(path, n);
	const char *kind = NULL;
	struct stat st;

	if (strstr(plain, ".h5:/") || strstr(plain, ".hdf5:/") ||
	    strstr(plain, ".hdf:/"))
		kind = "hdf5";
	for (size_t i = 0; !kind && i < FG_COUNTOF(names); i++) {
		/* A folder of TIFF files is not a TIFF file. */
		if (ends_with(plain, n, names[i].ending) && stat(plain, &st) == 0 &&
		    (S_ISREG(st.st_mode) || !names[i].file))
			kind = names[i].kind;
	}
	if (!kind && fg_series_is_folder(plain))
		kind = "stack";
	free(plain);
	return kind;
}

/* "precomputed://" says nothing new. */
static const char *
skip_format(const char *url)
{
	static const char format[] = "precomputed://";

	return strncmp(url, format, sizeof format - 1) == 0 ? url + sizeof format - 1
							    : url;
}

static const struct fg_source_ops *
find_scheme(const char *url, const char **rest, struct fg_err *err)
{
	size_t n = scheme_length(url);

	*rest = n ? url + n + 1 : url;
	if (n == 0)
		return &fg_dir_ops;
	if (n == 4 && memcmp(url, "file", 4) == 0) {
		if (strncmp(*rest, "///", 3) == 0)
			*rest += 2;
		return &fg_dir_ops;
	}
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
	return fg_source_open_with(url, NULL, err);
}

struct fg_source *
fg_source_open_with(const char *url, const struct fg_source_options *opt,
    struct fg_err *err)
{
	const struct fg_source_ops *ops;
	struct fg_source *s;
	const char *rest;

	url = skip_format(url);
	ops = find_scheme(url, &rest, err);
	if (!ops)
		return NULL;
	s = fg_calloc(1, sizeof *s);
	s->ops = ops;
	s->url = fg_strdup(url);
	s->remote = ops->part != NULL;
	if (opt)
		s->opt = *opt;
	if (ops->open(s, rest, err) == 0) {
		if (s->info.scales > 0 || s->opt.any)
			return s;
		fg_fail(err, FG_ENOTSUP, "%.200s holds %s, not a volume", url,
		    fg_volume_type_name(s->info.type));
	}
	fg_source_close(s);
	return NULL;
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

bool
fg_source_is_remote(const struct fg_source *s)
{
	return s->remote;
}

bool
fg_source_url_is_remote(const char *url)
{
	const char *rest;
	const struct fg_source_ops *ops = find_scheme(skip_format(url), &rest, NULL);

	return ops && ops->part;
}

/* compressed_segmentation is the one that can exceed raw, by tables of one entry a
 * voxel beside the values, hence three times; 1 MiB for headers. */
size_t
fg_source_chunk_limit(const struct fg_source *s, int scale)
{
	double n = (double)s->info.channels * (double)fg_dtype_size(s->info.dtype);

	for (int d = 0; d < 3; d++)
		n *= (double)s->info.scale[scale].chunk[d];
	return n < 1e12 ? (size_t)(3 * n) + (1u << 20) : SIZE_MAX / 4;
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

static bool
is_all_absent(const struct fg_array *absent)
{
	return memchr(absent->data, 0, fg_array_bytes(absent)) == NULL;
}

/* A chunk of a source that stores none: its voxels, encoded as the info says. */
static int
make_chunk(struct fg_source *s, int scale, const int64_t ch[3], struct fg_buf **out,
    struct fg_err *err)
{
	const struct fg_scale *sc = &s->info.scale[scale];
	struct fg_array a = FG_ARRAY_INIT, absent = FG_ARRAY_INIT;
	int64_t shape[4];
	struct fg_box vx;
	int rc = -1;

	fg_scale_chunk_box(sc, ch, &vx);
	fg_box_shape(&vx, shape);
	shape[3] = 1;
	if (s->holes > 0 && fg_array_init(&absent, FG_U8, shape, err) < 0)
		return -1;
	shape[3] = s->info.channels;
	if (fg_array_init(&a, s->info.dtype, shape, err) == 0)
		rc = fg_source_box(s, scale, &vx, &a, s->holes > 0 ? &absent : NULL,
		    err);
	if (rc == 0 && s->holes > 0 && is_all_absent(&absent))
		*out = NULL;
	else if (rc == 0)
		rc = fg_codec_encode(sc, &a, out, err);
	fg_array_fini(&a);
	fg_array_fini(&absent);
	return rc;
}

/* Raw bytes are as many as voxels. */
static int
check_chunk(const struct fg_source *s, int scale, const int64_t ch[3],
    const struct fg_buf *b, struct fg_err *err)
{
	const struct fg_scale *sc = &s->info.scale[scale];
	struct fg_box vx;
	size_t want = 0;

	if (!b || sc->encoding != FG_ENC_RAW)
		return 0;
	fg_scale_chunk_box(sc, ch, &vx);
	if (raw_bytes(s, &vx, &want, err) == 0 && b->len == want)
		return 0;
	return fg_fail(err, FG_ECORRUPT,
	    "chunk %lld,%lld,%lld of scale %s has %zu bytes, wanted %zu",
	    (long long)ch[0], (long long)ch[1], (long long)ch[2], sc->key, b->len,
	    want);
}

static int
read_chunks(struct fg_source *s, int scale, const int64_t (*ch)[3], size_t n,
    struct fg_buf **out, struct fg_err *err)
{
	if (s->ops->chunks)
		return s->ops->chunks(s, scale, ch, n, out, err);
	for (size_t i = 0; i < n; i++) {
		if (s->ops->chunk ? s->ops->chunk(s, scale, ch[i], &out[i], err) < 0
				  : make_chunk(s, scale, ch[i], &out[i], err) < 0)
			return -1;
	}
	return 0;
}

int
fg_source_chunks(struct fg_source *s, int scale, const int64_t (*ch)[3], size_t n,
    struct fg_buf **out, struct fg_err *err)
{
	int64_t grid[3];
	int rc;

	fg_assert(scale >= 0 && scale < s->info.scales);
	fg_scale_grid(&s->info.scale[scale], grid);
	for (size_t i = 0; i < n; i++) {
		out[i] = NULL;
		for (int d = 0; d < 3; d++)
			fg_assert(ch[i][d] >= 0 && ch[i][d] < grid[d]);
	}
	rc = read_chunks(s, scale, ch, n, out, err);
	for (size_t i = 0; i < n && rc == 0; i++)
		rc = check_chunk(s, scale, ch[i], out[i], err);
	for (size_t i = 0; i < n && rc < 0; i++) {
		fg_buf_unref(out[i]);
		out[i] = NULL;
	}
	return rc;
}

int
fg_source_chunk(struct fg_source *s, int scale, const int64_t ch[3],
    struct fg_buf **out, struct fg_err *err)
{
	const int64_t one[1][3] = {{ch[0], ch[1], ch[2]}};
	struct fg_buf *b;

	if (fg_source_chunks(s, scale, one, 1, &b, err) < 0)
		return -1;
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

/* The part of one chunk; b NULL: the source has none. */
static int
gather_chunk(const struct gather *g, const int64_t ch[3], const struct fg_buf *b,
    struct fg_err *err)
{
	const struct fg_scale *sc = &g->s->info.scale[g->scale];
	struct fg_array a = FG_ARRAY_INIT;
	struct fg_box chunk;
	int64_t shape[4];
	int rc = -1;

	fg_scale_chunk_box(sc, ch, &chunk);
	if (!b) {
		mark_absent(g, &chunk);
		return 0;
	}
	fg_box_shape(&chunk, shape);
	shape[3] = g->s->info.channels;
	if (fg_array_init(&a, g->s->info.dtype, shape, err) < 0)
		return -1;
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
	return rc;
}

static int
gather_batch(const struct gather *g, const int64_t (*ch)[3], size_t n,
    struct fg_err *err)
{
	struct fg_buf *b[BATCH_CHUNKS];
	int rc = 0;

	if (n == 0)
		return 0;
	if (fg_source_chunks(g->s, g->scale, ch, n, b, err) < 0)
		return -1;
	for (size_t i = 0; i < n; i++) {
		if (rc == 0)
			rc = gather_chunk(g, ch[i], b[i], err);
		fg_buf_unref(b[i]);
	}
	return rc;
}

static int
gather_chunks(const struct gather *g, struct fg_err *err)
{
	const struct fg_scale *sc = &g->s->info.scale[g->scale];
	size_t most =
	    g->s->ops->chunks ? BATCH_BYTES / fg_source_chunk_limit(g->s, g->scale) : 1;
	int64_t lo[3], hi[3], at[3], ch[BATCH_CHUNKS][3];
	size_t n = 0;

	most = FG_MIN(FG_MAX(most, 1), (size_t)BATCH_CHUNKS);
	for (int d = 0; d < 3; d++) {
		lo[d] = fg_div_floor(g->vx->lo[d] - sc->offset[d], sc->chunk[d]);
		hi[d] = fg_div_ceil(g->vx->hi[d] - sc->offset[d], sc->chunk[d]);
	}
	for (at[2] = lo[2]; at[2] < hi[2]; at[2]++) {
		for (at[1] = lo[1]; at[1] < hi[1]; at[1]++) {
			for (at[0] = lo[0]; at[0] < hi[0]; at[0]++) {
				memcpy(ch[n++], at, sizeof at);
				if (n < most)
					continue;
				if (gather_batch(g, ch, n, err) < 0)
					return -1;
				n = 0;
			}
		}
	}
	return gather_batch(g, ch, n, err);
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

int
fg_source_part(struct fg_source *s, const char *name, struct fg_source_part *p,
    struct fg_err *err)
{
	if (!is_name_valid(name))
		return fg_fail(err, FG_EINVAL, "\"%.60s\" is no name of a file here",
		    name);
	p->bytes = NULL;
	p->absent = true;
	return s->ops->part ? s->ops->part(s, name, p, err) : 0;
}
