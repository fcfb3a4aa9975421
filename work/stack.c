/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sections one after the other, whatever they come from: a folder of images, an array
 * in memory, or a file of another program, of which a slab of sections is kept where it
 * is stored in thicker pieces.
 */
#include "config.h"

#include "work/stack.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "formats/codec.h"
#include "formats/foreign.h"
#include "formats/npy.h"
#include "formats/section.h"
#include "formats/series.h"
#include "store/source.h"
#include "work/parallel.h"

#define EDGE_MAX FG_SECTION_EDGE_MAX
/* Sections in one stack, holes counted. */
#define SECTIONS_MAX FG_SERIES_MAX

/* Sections of a foreign file that is stored in thicker pieces: read once, used by the
 * sections of a batch. Two, since a batch may lie across a border. */
struct slab {
	struct fg_array a; /* no data: empty */
	int64_t z0;
	uint64_t used;
};

struct fg_stack {
	struct fg_series series; /* a folder; dir NULL: something else */
	enum fg_dtype dtype;
	int64_t shape[4];
	struct fg_array array; /* the whole volume of an array file */
	struct fg_buf *npy;
	struct fg_foreign *foreign;
	char *name;    /* of `foreign`, for messages */
	int64_t depth; /* sections of a slab; 1: none are kept */
	pthread_mutex_t lock;
	struct slab slab[2]; /* guarded by lock */
	uint64_t clock;      /* guarded by lock */
};

static bool
has_suffix(const char *s, const char *suffix)
{
	size_t n = strlen(s), k = strlen(suffix);

	return n > k && strcasecmp(s + n - k, suffix) == 0;
}

/* ------------------------------------------------------------- folders */

static int
check_item(void *ctx, size_t i, struct fg_err *err)
{
	const struct fg_stack *s = ctx;

	return fg_series_check(&s->series, (int64_t)i, err);
}

static int
open_folder(struct fg_stack *s, const char *dir, bool allow_holes, struct fg_err *err)
{
	if (fg_series_open(&s->series, dir, err) < 0)
		return -1;
	s->dtype = s->series.dtype;
	memcpy(s->shape, s->series.shape, sizeof s->shape);
	if (s->series.holes > 0 && !allow_holes)
		return fg_fail(err, FG_EINVAL, "%s; --allow-holes makes them black",
		    s->series.gap);
	/* Small reads that mostly wait for a disk: more threads than cores. */
	return fg_parallel_for((size_t)s->shape[2], 2 * fg_parallel_cores(), check_item,
	    s, NULL, err);
}

static int
read_section(const struct fg_stack *s, int64_t z, struct fg_array *out,
    struct fg_err *err)
{
	struct fg_array a = FG_ARRAY_INIT;

	if (!s->series.file[z]) {
		memset(out->data, 0, fg_array_bytes(out));
		return 0;
	}
	if (fg_series_read(&s->series, z, NULL, &a, err) < 0)
		return -1;
	memcpy(out->data, a.data, fg_array_bytes(out));
	fg_array_fini(&a);
	return 0;
}

/* ------------------------------------------------------------- array files */

/* Half of the machine's memory: the other half is for the slabs of the pyramid. */
static size_t
array_limit(void)
{
	long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);

	return pages > 0 && size > 0 ? (size_t)pages / 2 * (size_t)size
				     : FG_SECTION_FILE_MAX;
}

static int
open_array(struct fg_stack *s, const char *input, struct fg_err *err)
{
	const char *colon = strstr(input, ".npz:");
	size_t n = colon ? (size_t)(colon - input) + 4 : strlen(input);
	char *path = fg_strndup(input, n);
	int rc = -1;

	s->npy = fg_file_read(path, array_limit(), err);
	if (!s->npy)
		goto out;
	rc = fg_npz_decode(s->npy->data, s->npy->len, colon ? input + n + 1 : NULL,
	    array_limit(), &s->array, err);
	fg_buf_unref(s->npy);
	s->npy = NULL;
	if (rc < 0) {
		fg_err_prefix(err, "%s", path);
		goto out;
	}
	s->dtype = s->array.dtype;
	memcpy(s->shape, s->array.shape, sizeof s->shape);
	if (fg_array_count(&s->array) == 0)
		rc = fg_fail(err, FG_EINVAL, "%s: the array has no voxels", path);
out:
	free(path);
	return rc;
}

static void
read_plane(const struct fg_stack *s, int64_t z, struct fg_array *out)
{
	struct fg_box plane = {.lo = {0, 0, z},
	    .hi = {s->shape[0], s->shape[1], z + 1}};
	struct fg_box all = {.hi = {s->shape[0], s->shape[1], s->shape[2]}};

	fg_array_copy_box(out, &plane, &s->array, &all);
}

/* ------------------------------------------------------------- other programs' files
 */

/* The kind of file that the input names; *path is what follows. NULL: none of them. */
static const char *
find_kind(const char *input, const char **path)
{
	static const char *const kinds[] = {"hdf5", "tiff", "zarr", "n5", "nifti",
	    "npy"};
	const char *kind;

	for (size_t i = 0; i < FG_COUNTOF(kinds); i++) {
		size_t n = strlen(kinds[i]);

		if (strncmp(input, kinds[i], n) == 0 && input[n] == ':') {
			*path = input + n + 1;
			return kinds[i];
		}
	}
	*path = input;
	kind = fg_source_guess(input, strlen(input));
	return kind && strcmp(kind, "stack") == 0 ? NULL : kind;
}

static int
open_foreign(struct fg_stack *s, const char *kind, const char *path, struct fg_err *err)
{
	const char *query = strstr(path, "?axes=");
	char *plain =
	    query ? fg_strndup(path, (size_t)(query - path)) : fg_strdup(path);
	const struct fg_foreign_scale *sc;
	size_t plane;

	s->foreign = fg_foreign_open(kind, plain, query ? query + 6 : NULL, err);
	s->name = plain;
	if (!s->foreign)
		return -1;
	sc = &s->foreign->scale[0];
	s->dtype = s->foreign->dtype;
	memcpy(s->shape, sc->size, sizeof sc->size);
	s->shape[3] = s->foreign->channels;
	if (s->shape[0] > EDGE_MAX || s->shape[1] > EDGE_MAX ||
	    s->shape[2] > SECTIONS_MAX)
		return fg_fail(err, FG_ENOTSUP,
		    "%lld x %lld x %lld voxels, at most %d x %d x %d are read",
		    (long long)s->shape[0], (long long)s->shape[1],
		    (long long)s->shape[2], EDGE_MAX, EDGE_MAX, SECTIONS_MAX);
	plane =
	    (size_t)(s->shape[0] * s->shape[1] * s->shape[3]) * fg_dtype_size(s->dtype);
	s->depth = FG_MIN(FG_MAX(sc->chunk[2], 1), s->shape[2]);
	/* Both slabs within a quarter of the memory: thinner ones cost time instead. */
	while (s->depth > 1 && plane * (size_t)s->depth > array_limit() / 4)
		s->depth = (s->depth + 1) / 2;
	return 0;
}

/* The slab that holds section z, read if need be. Under the lock: the other readers of
 * the batch want the same one. */
static struct slab *
get_slab(struct fg_stack *s, int64_t z, struct fg_err *err)
{
	struct slab *b = &s->slab[s->slab[0].used > s->slab[1].used];
	struct fg_box box = {.hi = {s->shape[0], s->shape[1]}};
	int64_t shape[4];

	for (int i = 0; i < 2; i++) {
		if (s->slab[i].a.data && s->slab[i].z0 == z / s->depth * s->depth) {
			s->slab[i].used = ++s->clock;
			return &s->slab[i];
		}
	}
	fg_array_fini(&b->a);
	b->z0 = box.lo[2] = z / s->depth * s->depth;
	b->used = ++s->clock;
	box.hi[2] = FG_MIN(box.lo[2] + s->depth, s->shape[2]);
	fg_box_shape(&box, shape);
	shape[3] = s->shape[3];
	if (fg_array_init(&b->a, s->dtype, shape, err) == 0 &&
	    fg_foreign_box(s->foreign, 0, &box, &b->a, err) == 0)
		return b;
	fg_array_fini(&b->a);
	b->a = FG_ARRAY_INIT;
	return NULL;
}

static int
read_foreign(struct fg_stack *s, int64_t z, struct fg_array *out, struct fg_err *err)
{
	struct fg_box plane = {.lo = {0, 0, z},
	    .hi = {s->shape[0], s->shape[1], z + 1}};
	struct slab *b;

	if (s->depth == 1)
		return fg_foreign_box(s->foreign, 0, &plane, out, err);
	pthread_mutex_lock(&s->lock);
	b = get_slab(s, z, err);
	if (b) {
		struct fg_box all = {.lo = {0, 0, b->z0},
		    .hi = {s->shape[0], s->shape[1], b->z0 + b->a.shape[2]}};

		fg_array_copy_box(out, &plane, &b->a, &all);
	}
	pthread_mutex_unlock(&s->lock);
	return b ? 0 : -1;
}

/* ------------------------------------------------------------- the interface */

struct fg_stack *
fg_stack_open(const char *input, bool allow_holes, struct fg_err *err)
{
	struct fg_stack *s = fg_calloc(1, sizeof *s);
	bool npz = has_suffix(input, ".npz") || strstr(input, ".npz:");
	const char *path, *kind = find_kind(input, &path);
	struct stat st;
	int rc;

	s->array = s->slab[0].a = s->slab[1].a = FG_ARRAY_INIT;
	pthread_mutex_init(&s->lock, NULL);
	if (kind)
		rc = open_foreign(s, kind, path, err);
	else if (npz)
		rc = open_array(s, input, err);
	else if (stat(input, &st) < 0)
		rc = fg_fail_errno(err, "%s", input);
	else if (S_ISDIR(st.st_mode))
		rc = open_folder(s, input, allow_holes, err);
	else
		rc = fg_fail(err, FG_ENOTSUP,
		    "%s: neither a folder of .png, .jpg or .tif files nor a .npy, "
		    ".npz, .tif, .nii, .h5, .zarr or .n5",
		    input);
	if (rc < 0) {
		fg_stack_close(s);
		return NULL;
	}
	return s;
}

void
fg_stack_close(struct fg_stack *s)
{
	if (!s)
		return;
	fg_series_close(&s->series);
	fg_foreign_close(s->foreign);
	free(s->name);
	fg_array_fini(&s->slab[0].a);
	fg_array_fini(&s->slab[1].a);
	pthread_mutex_destroy(&s->lock);
	fg_array_fini(&s->array);
	fg_buf_unref(s->npy);
	free(s);
}

enum fg_dtype
fg_stack_dtype(const struct fg_stack *s)
{
	return s->dtype;
}

void
fg_stack_shape(const struct fg_stack *s, int64_t shape[4])
{
	memcpy(shape, s->shape, sizeof s->shape);
}

int64_t
fg_stack_holes(const struct fg_stack *s)
{
	return s->series.holes;
}

int
fg_stack_read(const struct fg_stack *s, int64_t z, struct fg_array *out,
    struct fg_err *err)
{
	fg_assert(z >= 0 && z < s->shape[2] && out->dtype == s->dtype &&
		  out->shape[0] == s->shape[0] && out->shape[1] == s->shape[1] &&
		  out->shape[2] == 1 && out->shape[3] == s->shape[3]);
	if (s->foreign) { /* only the slabs change, under their lock */
		if (read_foreign((struct fg_stack *)(uintptr_t)s, z, out, err) == 0)
			return 0;
		return fg_err_prefix(err, "%s", s->name);
	}
	if (s->series.dir)
		return read_section(s, z, out, err);
	read_plane(s, z, out);
	return 0;
}
