/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Series of sections. A folder becomes a table z -> file name; a hole is a NULL in it.
 * Names are compared as runs of text and runs of digits: all texts must be equal, and
 * exactly one run of digits may differ between files. That one is the section number.
 * Anything else ("tile1_007.png" beside "tile2_007.png") has no order we could trust,
 * and is refused rather than guessed.
 */
#include "config.h"

#include "work/stack.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
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
#include "work/parallel.h"
#include "work/section.h"

#define EDGE_MAX FG_SECTION_EDGE_MAX
/* Sections in one stack, holes counted. */
#define SECTIONS_MAX 2000000
#define DIGITS_MAX 18

/* Sections of a foreign file that is stored in thicker pieces: read once, used by the
 * sections of a batch. Two, since a batch may lie across a border. */
struct slab {
	struct fg_array a; /* no data: empty */
	int64_t z0;
	uint64_t used;
};

struct fg_stack {
	char *dir;   /* folder of a PNG stack; NULL for an array */
	char **file; /* [sections]: file names, NULL = hole */
	int64_t holes;
	enum fg_dtype dtype;
	int64_t shape[4];
	struct fg_array array; /* the whole volume of an array file */
	struct fg_buf *npy;
	struct fg_foreign *foreign;
	int64_t depth; /* sections of a slab; 1: none are kept */
	pthread_mutex_t lock;
	struct slab slab[2]; /* guarded by lock */
	uint64_t clock;      /* guarded by lock */
};

/* ------------------------------------------------------------- names in order */

struct name {
	char *text;
	int64_t number;
};

struct names {
	struct name *v;
	size_t n, cap;
};

static void
names_fini(struct names *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->v[i].text);
	free(l->v);
}

static bool
has_suffix(const char *s, const char *suffix)
{
	size_t n = strlen(s), k = strlen(suffix);

	return n > k && strcasecmp(s + n - k, suffix) == 0;
}

/* The run of digits number `which` of s, leading zeros skipped; false if it is longer
 * than a section number can be. */
static bool
digits_at(const char *s, int which, int64_t *out)
{
	for (;; s++) {
		if (!isdigit((unsigned char)*s))
			continue;
		if (which-- == 0)
			break;
		while (isdigit((unsigned char)s[1]))
			s++;
	}
	while (*s == '0')
		s++;
	int n = 0;
	int64_t v = 0;
	for (; isdigit((unsigned char)*s); s++, n++)
		v = n < DIGITS_MAX ? v * 10 + (*s - '0') : v;
	*out = v;
	return n <= DIGITS_MAX;
}

/* Compare two names run by run. False if their texts differ; else bit i of *differ is
 * set for each run of digits i that has another value. */
static bool
same_series(const char *a, const char *b, uint64_t *differ)
{
	int run = 0;

	while (*a && *b) {
		if (!isdigit((unsigned char)*a) || !isdigit((unsigned char)*b)) {
			if (*a++ != *b++)
				return false;
			continue;
		}
		while (*a == '0')
			a++;
		while (*b == '0')
			b++;
		size_t na = strspn(a, "0123456789"), nb = strspn(b, "0123456789");
		if ((na != nb || memcmp(a, b, na) != 0) && run < 64)
			*differ |= UINT64_C(1) << run;
		a += na;
		b += nb;
		run++;
	}
	return !*a && !*b;
}

static int
by_number(const void *pa, const void *pb)
{
	const struct name *a = pa, *b = pb;

	if (a->number != b->number)
		return a->number < b->number ? -1 : 1;
	return strcmp(a->text, b->text);
}

/* Find the one run of digits that counts the sections, and sort by it. */
static int
order_names(struct names *l, struct fg_err *err)
{
	uint64_t differ = 0;
	int run = 0;

	for (size_t i = 1; i < l->n; i++) {
		if (!same_series(l->v[0].text, l->v[i].text, &differ))
			return fg_fail(err, FG_EINVAL,
			    "%s and %s are not of one series: names may differ in one "
			    "number only",
			    l->v[0].text, l->v[i].text);
	}
	if (l->n == 1)
		return 0;
	if (differ == 0)
		return fg_fail(err, FG_EINVAL, "%s and %s have the same number",
		    l->v[0].text, l->v[1].text);
	if (differ & (differ - 1))
		return fg_fail(err, FG_EINVAL,
		    "file names like %s differ in more than one number: which one "
		    "counts the sections cannot be told",
		    l->v[0].text);
	while (!(differ >> run & 1))
		run++;
	for (size_t i = 0; i < l->n; i++) {
		if (!digits_at(l->v[i].text, run, &l->v[i].number))
			return fg_fail(err, FG_EINVAL,
			    "%s: the section number has more than %d digits",
			    l->v[i].text, DIGITS_MAX);
	}
	qsort(l->v, l->n, sizeof *l->v, by_number);
	for (size_t i = 1; i < l->n; i++) {
		if (l->v[i].number == l->v[i - 1].number)
			return fg_fail(err, FG_EINVAL, "%s and %s have the same number",
			    l->v[i - 1].text, l->v[i].text);
	}
	return 0;
}

static int
list_folder(const char *dir, struct names *l, struct fg_err *err)
{
	const char *kind = NULL;
	DIR *d = opendir(dir);
	bool info = false;

	if (!d)
		return fg_fail_errno(err, "%s", dir);
	for (struct dirent *e; (e = readdir(d)) != NULL;) {
		if (e->d_name[0] == '.')
			continue;
		const char *k = fg_section_kind(e->d_name);

		info = info || strcmp(e->d_name, "info") == 0;
		if (!k)
			continue;
		if (kind && strcmp(k, kind) != 0) {
			fg_fail(err, FG_EINVAL,
			    "%s: %s is %s and %s is %s: a stack is of one kind", dir,
			    l->v[0].text, kind, e->d_name, k);
			closedir(d);
			return -1;
		}
		kind = k;
		if (l->n == l->cap) {
			l->cap = l->cap ? l->cap * 2 : 256;
			l->v = fg_realloc(l->v, l->cap, sizeof *l->v);
		}
		l->v[l->n++] = (struct name){.text = fg_strdup(e->d_name)};
	}
	closedir(d);
	if (l->n > 0)
		return 0;
	if (info)
		return fg_fail(err, FG_EINVAL,
		    "%s holds an info file and no images: a precomputed volume needs "
		    "no import, `floodgate layer add NAME DIR` serves it in place",
		    dir);
	return fg_fail(err, FG_ENOENT, "%s: no .png, .jpg or .tif files in it", dir);
}

/* From sorted names to the table z -> file. */
static int
lay_out(struct fg_stack *s, struct names *l, bool allow_holes, struct fg_err *err)
{
	int64_t first = l->v[0].number, last = l->v[l->n - 1].number;
	int64_t all = last - first + 1;

	if (all != (int64_t)l->n && !allow_holes) {
		size_t i = 1;

		while (l->v[i].number == l->v[i - 1].number + 1)
			i++;
		return fg_fail(err, FG_EINVAL,
		    "%lld of %lld sections are missing, the first %lld between %s and "
		    "%s; --allow-holes makes them black",
		    (long long)(all - (int64_t)l->n), (long long)all,
		    (long long)(l->v[i].number - l->v[i - 1].number - 1),
		    l->v[i - 1].text, l->v[i].text);
	}
	if (all > SECTIONS_MAX)
		return fg_fail(err, FG_EINVAL,
		    "numbers from %s to %s make %lld sections, at most %d are read",
		    l->v[0].text, l->v[l->n - 1].text, (long long)all, SECTIONS_MAX);
	s->file = fg_calloc((size_t)all, sizeof *s->file);
	s->shape[2] = all;
	s->holes = all - (int64_t)l->n;
	for (size_t i = 0; i < l->n; i++) {
		s->file[l->v[i].number - first] = l->v[i].text;
		l->v[i].text = NULL;
	}
	return 0;
}

/* ------------------------------------------------------------- files of sections */

static const char *
first_name(const struct fg_stack *s)
{
	return s->file[0]; /* a stack begins and ends with a file, never a hole */
}

static int
check_like_first(const struct fg_stack *s, const char *name, const int64_t size[4],
    enum fg_dtype t, struct fg_err *err)
{
	if (size[0] != s->shape[0] || size[1] != s->shape[1])
		return fg_fail(err, FG_EINVAL,
		    "%s: %lld x %lld pixels, wanted %lld x %lld as in %s", name,
		    (long long)size[0], (long long)size[1], (long long)s->shape[0],
		    (long long)s->shape[1], first_name(s));
	if (t != s->dtype)
		return fg_fail(err, FG_EINVAL,
		    "%s: %zu bits a pixel, wanted %zu as in %s", name,
		    8 * fg_dtype_size(t), 8 * fg_dtype_size(s->dtype), first_name(s));
	if (size[3] != s->shape[3])
		return fg_fail(err, FG_EINVAL,
		    "%s: %lld channels, wanted %lld as in %s", name, (long long)size[3],
		    (long long)s->shape[3], first_name(s));
	return 0;
}

static int
probe(const struct fg_stack *s, int64_t z, int64_t shape[4], enum fg_dtype *t,
    struct fg_err *err)
{
	char *path = fg_asprintf("%s/%s", s->dir, s->file[z]);
	struct fg_err why = FG_ERR_INIT;
	int rc = fg_section_probe(path, shape, t, &why);

	if (rc < 0)
		fg_fail(err, why.code, "%s: %s", s->file[z],
		    strncmp(why.msg, path, strlen(path)) == 0
			? why.msg + strlen(path) + 2
			: why.msg);
	free(path);
	return rc;
}

static int
probe_item(void *ctx, size_t i, struct fg_err *err)
{
	struct fg_stack *s = ctx;
	int64_t size[4];
	enum fg_dtype t;

	if (!s->file[i])
		return 0;
	if (probe(s, (int64_t)i, size, &t, err) < 0)
		return -1;
	return check_like_first(s, s->file[i], size, t, err);
}

static int
open_folder(struct fg_stack *s, const char *dir, bool allow_holes, struct fg_err *err)
{
	struct names l = {0};
	int64_t shape[4];
	int rc = -1;

	s->dir = fg_strdup(dir);
	if (list_folder(dir, &l, err) < 0 || order_names(&l, err) < 0 ||
	    lay_out(s, &l, allow_holes, err) < 0)
		goto out;
	if (probe(s, 0, shape, &s->dtype, err) < 0)
		goto out;
	shape[2] = s->shape[2];
	memcpy(s->shape, shape, sizeof s->shape);
	if (s->shape[0] > EDGE_MAX || s->shape[1] > EDGE_MAX) {
		fg_fail(err, FG_ENOTSUP,
		    "%s: %lld x %lld pixels, at most %d a side are read", first_name(s),
		    (long long)s->shape[0], (long long)s->shape[1], EDGE_MAX);
		goto out;
	}
	/* Small reads that mostly wait for a disk: more threads than cores. */
	rc = fg_parallel_for((size_t)s->shape[2], 2 * fg_parallel_cores(), probe_item,
	    s, NULL, err);
out:
	names_fini(&l);
	return rc;
}

static int
read_section(const struct fg_stack *s, int64_t z, struct fg_array *out,
    struct fg_err *err)
{
	char *path = fg_asprintf("%s/%s", s->dir, s->file[z]);
	struct fg_array a = FG_ARRAY_INIT;
	struct fg_err why = FG_ERR_INIT;
	int rc = fg_section_read(path, &a, &why);

	if (rc < 0) {
		/* Messages of files name the path, those of bytes nothing. */
		if (strstr(why.msg, s->file[z]))
			fg_fail(err, why.code, "%s", why.msg);
		else
			fg_fail(err, why.code, "%s: %s", s->file[z], why.msg);
	} else {
		/* The file may have changed since it was probed. */
		rc = check_like_first(s, s->file[z], a.shape, a.dtype, err);
		if (rc == 0)
			memcpy(out->data, a.data, fg_array_bytes(out));
	}
	fg_array_fini(&a);
	free(path);
	return rc;
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
	static const struct {
		const char *suffix, *kind;
	} names[] = {{".tif", "tiff"}, {".tiff", "tiff"}, {".zarr", "zarr"},
	    {".n5", "n5"}, {".nii", "nifti"}, {".nii.gz", "nifti"}, {".npy", "npy"},
	    {".npy.gz", "npy"}};
	struct stat st;

	for (size_t i = 0; i < FG_COUNTOF(kinds); i++) {
		size_t n = strlen(kinds[i]);

		if (strncmp(input, kinds[i], n) == 0 && input[n] == ':') {
			*path = input + n + 1;
			return kinds[i];
		}
	}
	*path = input;
	if (strstr(input, ".h5:/") || strstr(input, ".hdf5:/") ||
	    strstr(input, ".hdf:/"))
		return "hdf5";
	for (size_t i = 0; i < FG_COUNTOF(names); i++) {
		/* A folder of TIFF files is not a TIFF file. */
		if (has_suffix(input, names[i].suffix) && stat(input, &st) == 0 &&
		    (S_ISREG(st.st_mode) || strcmp(names[i].kind, "zarr") == 0 ||
			strcmp(names[i].kind, "n5") == 0))
			return names[i].kind;
	}
	return NULL;
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
	free(plain);
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
	for (int64_t z = 0; s->file && z < s->shape[2]; z++)
		free(s->file[z]);
	free(s->file);
	free(s->dir);
	fg_foreign_close(s->foreign);
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
	return s->holes;
}

int
fg_stack_read(const struct fg_stack *s, int64_t z, struct fg_array *out,
    struct fg_err *err)
{
	fg_assert(z >= 0 && z < s->shape[2] && out->dtype == s->dtype &&
		  out->shape[0] == s->shape[0] && out->shape[1] == s->shape[1] &&
		  out->shape[2] == 1 && out->shape[3] == s->shape[3]);
	if (s->foreign) /* only the slabs change, under their lock */
		return read_foreign((struct fg_stack *)(uintptr_t)s, z, out, err);
	if (!s->dir) {
		read_plane(s, z, out);
		return 0;
	}
	if (s->file[z])
		return read_section(s, z, out, err);
	memset(out->data, 0, fg_array_bytes(out));
	return 0;
}
