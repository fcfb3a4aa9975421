/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The writer of a multiscale directory: see the header for how sections flow. One
 * `struct level` per scale; level_put is called with one section, and calls itself for
 * the next scale whenever a window of averaging is complete.
 *
 * A window that begins before the volume does (odd voxel_offset) is filled up in x and
 * y by repeating the first voxel: the mean of (a, a, b, b) is that of (a, b), and a
 * vote where everyone has two voices is the same vote. In z a section is repeated.
 *
 * Everything runs on the caller's thread but the encoding and writing of chunks, which
 * are independent of each other.
 */
#include "config.h"

#include "work/pyramid.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "formats/codec.h"
#include "seg/downsample.h"
#include "work/parallel.h"

struct level {
	const struct fg_scale *scale;
	struct fg_array slab;     /* sections of the row of chunks being filled */
	struct fg_box slab_box;   /* where the slab is; hi[2] grows */
	int64_t z;                /* next section to come, frame of the scale */
	int64_t factor[3];        /* to the next scale: 1 or 2 an axis */
	struct fg_array window;   /* sections waiting to be averaged */
	struct fg_box window_box; /* x, y of the window: lo on a multiple of factor */
	int64_t waiting;          /* sections in the window */
	struct fg_array section;  /* of the next scale */
};

struct fg_pyramid {
	const char *dir;
	const struct fg_info *info;
	bool gzip, floor, sparse;
	int threads;
	const _Atomic bool *cancel;
	struct level level[FG_SCALES_MAX];
	struct {
		_Atomic uint64_t chunks, empty, bytes;
	} count[FG_SCALES_MAX];
};

/* ------------------------------------------------------------- plan */

static char *
scale_key(const double nm[3])
{
	struct fg_str s = FG_STR_INIT;

	for (int d = 0; d < 3; d++) {
		char num[40];
		/* The shortest text that reads back as the same number. */
		for (int digits = 1; digits <= 17; digits++) {
			snprintf(num, sizeof num, "%.*g", digits, nm[d]);
			if (strtod(num, NULL) == nm[d])
				break;
		}
		/* Plain digits where %g chose an exponent ("1e+02"). */
		if (strchr(num, 'e') && nm[d] >= 1 && nm[d] < 1e15)
			snprintf(num, sizeof num, "%.0f", nm[d]);
		fg_str_putf(&s, "%s%s", d ? "_" : "", num);
	}
	return s.data;
}

/* The factors to the scale after s; false if nothing is left to halve. */
static bool
next_factor(const struct fg_scale *s, int64_t factor[3])
{
	double least = 0;
	bool any = false;

	for (int d = 0; d < 3; d++) {
		if (s->size[d] > 1 && (least == 0 || s->nm[d] < least))
			least = s->nm[d];
	}
	for (int d = 0; d < 3; d++) {
		factor[d] = s->size[d] > 1 && s->nm[d] < 2 * least ? 2 : 1;
		any = any || factor[d] == 2;
	}
	return any;
}

static bool
fits_one_chunk(const struct fg_scale *s)
{
	for (int d = 0; d < 3; d++) {
		if (s->size[d] > s->chunk[d])
			return false;
	}
	return true;
}

static void
next_scale(const struct fg_scale *s, const int64_t factor[3], struct fg_scale *n)
{
	*n = *s;
	for (int d = 0; d < 3; d++) {
		n->nm[d] = s->nm[d] * (double)factor[d];
		n->offset[d] = fg_div_floor(s->offset[d], factor[d]);
		n->size[d] =
		    fg_div_ceil(s->offset[d] + s->size[d], factor[d]) - n->offset[d];
	}
	n->key = scale_key(n->nm);
}

int
fg_pyramid_plan(struct fg_info *info, int scales, struct fg_err *err)
{
	struct fg_scale *s = info->scale;
	int64_t factor[3];

	fg_assert(info->scales == 1);
	if (scales < 0 || scales > FG_SCALES_MAX)
		return fg_fail(err, FG_EINVAL, "%d scales, wanted 1 to %d", scales,
		    FG_SCALES_MAX);
	free(s->key);
	s->key = scale_key(s->nm);
	while (scales ? info->scales < scales
		      : info->scales < FG_SCALES_MAX && !fits_one_chunk(s)) {
		if (!next_factor(s, factor))
			break;
		next_scale(s, factor, s + 1);
		s++;
		info->scales++;
	}
	return 0;
}

/* ------------------------------------------------------------- memory */

static double
voxel_bytes(const struct fg_info *info)
{
	return (double)fg_dtype_size(info->dtype) * info->channels;
}

static void
window_frame(const struct fg_scale *s, const int64_t factor[3], struct fg_box *b)
{
	for (int d = 0; d < 3; d++) {
		b->lo[d] = fg_div_floor(s->offset[d], factor[d]) * factor[d];
		b->hi[d] = s->offset[d] + s->size[d];
	}
}

double
fg_pyramid_memory(const struct fg_info *info)
{
	double sum = 0;

	for (int i = 0; i < info->scales; i++) {
		const struct fg_scale *s = &info->scale[i];
		double plane = (double)s->size[0] * (double)s->size[1];

		/* The slab, and at most 2.5 sections of window and average. */
		sum += plane * ((double)FG_MIN(s->chunk[2], s->size[2]) + 2.5);
	}
	return sum * voxel_bytes(info);
}

static int
level_init(struct level *l, const struct fg_info *info, int i, struct fg_err *err)
{
	const struct fg_scale *s = &info->scale[i];
	int64_t shape[4] = {s->size[0], s->size[1], FG_MIN(s->chunk[2], s->size[2]),
	    info->channels};

	l->scale = s;
	l->z = s->offset[2];
	fg_scale_bounds(s, &l->slab_box);
	l->slab_box.hi[2] = l->slab_box.lo[2];
	if (fg_array_init(&l->slab, info->dtype, shape, err) < 0)
		return -1;
	if (i + 1 == info->scales)
		return 0;
	(void)next_factor(s, l->factor);
	window_frame(s, l->factor, &l->window_box);
	shape[0] = l->window_box.hi[0] - l->window_box.lo[0];
	shape[1] = l->window_box.hi[1] - l->window_box.lo[1];
	shape[2] = l->factor[2];
	if (fg_array_init(&l->window, info->dtype, shape, err) < 0)
		return -1;
	shape[0] = s[1].size[0];
	shape[1] = s[1].size[1];
	shape[2] = 1;
	return fg_array_init(&l->section, info->dtype, shape, err);
}

struct fg_pyramid *
fg_pyramid_new(const char *dir, const struct fg_info *info, bool gzip, int threads,
    const _Atomic bool *cancel, struct fg_err *err)
{
	struct fg_pyramid *p = fg_calloc(1, sizeof *p);

	*p = (struct fg_pyramid){.dir = dir,
	    .info = info,
	    .gzip = gzip,
	    .threads = threads,
	    .cancel = cancel};
	for (int i = 0; i < info->scales; i++) {
		char *path = fg_asprintf("%s/%s", dir, info->scale[i].key);
		int rc = fg_file_mkdirs(path, err);

		free(path);
		if (rc < 0 || level_init(&p->level[i], info, i, err) < 0) {
			fg_pyramid_free(p);
			return NULL;
		}
	}
	return p;
}

void
fg_pyramid_set_average(struct fg_pyramid *p, bool floor, bool sparse)
{
	p->floor = floor;
	p->sparse = sparse;
}

void
fg_pyramid_free(struct fg_pyramid *p)
{
	if (!p)
		return;
	for (int i = 0; i < p->info->scales; i++) {
		fg_array_fini(&p->level[i].slab);
		fg_array_fini(&p->level[i].window);
		fg_array_fini(&p->level[i].section);
	}
	free(p);
}

/* ------------------------------------------------------------- chunks */

struct flush {
	struct fg_pyramid *p;
	int scale;
	int64_t grid[3], chz;
};

static int
store_chunk(struct fg_pyramid *p, int i, const struct fg_box *vx,
    const struct fg_buf *b, struct fg_err *err)
{
	char name[FG_CHUNK_NAME];

	fg_chunk_name_format(vx, name);
	char *path = fg_asprintf("%s/%s/%s%s", p->dir, p->info->scale[i].key, name,
	    p->gzip ? ".gz" : "");
	int rc = fg_file_write_fast(path, b->data, b->len, err);

	free(path);
	return rc;
}

static int
write_chunk(void *ctx, size_t n, struct fg_err *err)
{
	const struct flush *f = ctx;
	struct fg_pyramid *p = f->p;
	const struct level *l = &p->level[f->scale];
	int64_t ch[3] = {(int64_t)n % f->grid[0], (int64_t)n / f->grid[0], f->chz};
	struct fg_array a = FG_ARRAY_INIT;
	struct fg_buf *b = NULL, *gz = NULL;
	int64_t shape[4] = {[3] = p->info->channels};
	struct fg_box vx, slab_box = l->slab_box;
	int rc = -1;

	fg_scale_chunk_box(l->scale, ch, &vx);
	fg_box_shape(&vx, shape);
	slab_box.hi[2] = slab_box.lo[2] + l->slab.shape[2];
	if (fg_array_init(&a, p->info->dtype, shape, err) < 0)
		goto out;
	fg_array_copy_box(&a, &vx, &l->slab, &slab_box);
	if (fg_codec_encode(l->scale, &a, &b, err) < 0)
		goto out;
	if (p->gzip && fg_compress(FG_CODING_GZIP, 0, b->data, b->len, &gz, err) < 0)
		goto out;
	if (store_chunk(p, f->scale, &vx, gz ? gz : b, err) < 0)
		goto out;
	p->count[f->scale].chunks++;
	p->count[f->scale].empty += fg_array_is_zero(&a);
	p->count[f->scale].bytes += gz ? gz->len : b->len;
	rc = 0;
out:
	fg_buf_unref(gz);
	fg_buf_unref(b);
	fg_array_fini(&a);
	return rc;
}

/* Write the row of chunks that the slab holds, and begin the next one. */
static int
flush(struct fg_pyramid *p, int i, struct fg_err *err)
{
	struct level *l = &p->level[i];
	const struct fg_scale *s = l->scale;
	struct flush f = {.p = p,
	    .scale = i,
	    .chz = (l->slab_box.lo[2] - s->offset[2]) / s->chunk[2]};

	fg_scale_grid(s, f.grid);
	if (fg_parallel_for((size_t)(f.grid[0] * f.grid[1]), p->threads, write_chunk,
		&f, p->cancel, err) < 0)
		return -1;
	l->slab_box.lo[2] = l->slab_box.hi[2];
	return 0;
}

/* ------------------------------------------------------------- sections */

/* Copy a section into the window, its low edges repeated where the window's frame
 * begins before the volume (by one voxel at most). */
static void
fill_window(struct level *l, const struct fg_array *section)
{
	const struct fg_scale *s = l->scale;
	size_t size = fg_dtype_size(section->dtype);
	int64_t padx = s->offset[0] - l->window_box.lo[0];
	int64_t pady = s->offset[1] - l->window_box.lo[1];
	const int64_t *w = l->window.shape;

	for (int64_t c = 0; c < w[3]; c++) {
		for (int64_t y = 0; y < w[1]; y++) {
			int64_t sy = FG_MAX(0, y - pady);
			const char *from =
			    (const char *)section->data +
			    (size_t)((c * s->size[1] + sy) * s->size[0]) * size;
			char *to =
			    (char *)l->window.data +
			    (size_t)(((c * w[2] + l->waiting) * w[1] + y) * w[0]) *
				size;

			if (padx)
				memcpy(to, from, size);
			memcpy(to + (size_t)padx * size, from,
			    (size_t)s->size[0] * size);
		}
	}
	l->waiting++;
}

static int
average(const struct fg_pyramid *p, struct level *l, struct fg_err *err)
{
	enum fg_rounding rounding = p->floor ? FG_ROUND_FLOOR : FG_ROUND_NEAREST_EVEN;
	bool labels = p->info->type == FG_SEGMENTATION;
	const int64_t *w = l->window.shape;
	size_t plane = (size_t)(w[0] * w[1]) * fg_dtype_size(l->window.dtype);
	int rc;

	/* Half a window at the volume's first or last section: the one that is there is
	 * repeated, which changes no mean and no vote. */
	for (int64_t c = 0; l->waiting < w[2] && c < w[3]; c++) {
		char *first = (char *)l->window.data + 2 * (size_t)c * plane;

		memcpy(first + plane, first, plane);
	}
	if (p->sparse)
		rc = fg_downsample_sparse(&l->window, l->factor, labels, rounding,
		    &l->section, err);
	else if (labels)
		rc = fg_downsample_mode(&l->window, l->factor, &l->section, err);
	else
		rc = fg_downsample_mean(&l->window, l->factor, rounding, &l->section,
		    err);
	l->waiting = 0;
	return rc;
}

static int
level_put(struct fg_pyramid *p, int i, const struct fg_array *section,
    struct fg_err *err)
{
	struct level *l = &p->level[i];
	const struct fg_scale *s = l->scale;
	int64_t end = s->offset[2] + s->size[2];
	struct fg_box room = l->slab_box, here = l->slab_box;

	fg_assert(l->z < end);
	room.hi[2] = room.lo[2] + l->slab.shape[2];
	here.lo[2] = l->z;
	here.hi[2] = ++l->z;
	fg_array_copy_box(&l->slab, &room, section, &here);
	l->slab_box.hi[2] = l->z;
	if ((l->z == room.hi[2] || l->z == end) && flush(p, i, err) < 0)
		return -1;
	if (i + 1 == p->info->scales)
		return 0;
	fill_window(l, section);
	if (fg_div_floor(l->z, l->factor[2]) * l->factor[2] != l->z && l->z != end)
		return 0;
	if (average(p, l, err) < 0)
		return -1;
	return level_put(p, i + 1, &l->section, err);
}

int
fg_pyramid_put(struct fg_pyramid *p, const struct fg_array *section, struct fg_err *err)
{
	const struct fg_scale *s = &p->info->scale[0];

	fg_assert(section->dtype == p->info->dtype && section->shape[2] == 1 &&
		  section->shape[0] == s->size[0] && section->shape[1] == s->size[1] &&
		  section->shape[3] == p->info->channels);
	return level_put(p, 0, section, err);
}

void
fg_pyramid_get_stats(const struct fg_pyramid *p, struct fg_pyramid_stats *out)
{
	*out = (struct fg_pyramid_stats){.chunks0 = p->count[0].chunks,
	    .empty0 = p->count[0].empty};
	for (int i = 0; i < p->info->scales; i++) {
		out->chunks += p->count[i].chunks;
		out->empty += p->count[i].empty;
		out->bytes += p->count[i].bytes;
	}
}

/* ------------------------------------------------------------- going on later */

/* What of a level is saved besides its voxels. */
struct saved {
	int64_t z, lo, hi, waiting, slab_bytes, window_bytes;
	uint64_t chunks, empty, bytes;
};

static struct saved
describe_level(const struct fg_pyramid *p, int i)
{
	const struct level *l = &p->level[i];

	return (struct saved){
	    .z = l->z,
	    .lo = l->slab_box.lo[2],
	    .hi = l->slab_box.hi[2],
	    .waiting = l->waiting,
	    .slab_bytes = l->slab_box.lo[2] < l->slab_box.hi[2]
			      ? (int64_t)fg_array_bytes(&l->slab)
			      : 0,
	    .window_bytes = l->waiting ? (int64_t)fg_array_bytes(&l->window) : 0,
	    .chunks = p->count[i].chunks,
	    .empty = p->count[i].empty,
	    .bytes = p->count[i].bytes,
	};
}

static bool
write_part(const void *p, uint64_t n, FILE *f)
{
	return n == 0 || fwrite(p, 1, (size_t)n, f) == (size_t)n;
}

static bool
read_part(void *p, uint64_t n, FILE *f)
{
	return n == 0 || fread(p, 1, (size_t)n, f) == (size_t)n;
}

int
fg_pyramid_save(const struct fg_pyramid *p, FILE *f, struct fg_err *err)
{
	for (int i = 0; i < p->info->scales; i++) {
		const struct level *l = &p->level[i];
		struct saved s = describe_level(p, i);

		if (fwrite(&s, sizeof s, 1, f) != 1 ||
		    !write_part(l->slab.data, s.slab_bytes, f) ||
		    !write_part(l->window.data, s.window_bytes, f))
			return fg_fail_errno(err, "state of the import");
	}
	return 0;
}

/* Does it fit the level, so that nothing is read beyond its arrays? */
static bool
is_possible(const struct level *l, const struct saved *s)
{
	int64_t first = l->scale->offset[2], end = first + l->scale->size[2];
	int64_t slab = s->lo < s->hi ? (int64_t)fg_array_bytes(&l->slab) : 0;
	int64_t window = s->waiting ? (int64_t)fg_array_bytes(&l->window) : 0;

	return s->z >= first && s->z <= end && s->lo >= first && s->lo <= s->hi &&
	       s->hi == s->z && s->hi - s->lo <= l->slab.shape[2] &&
	       (s->lo - first) % l->scale->chunk[2] == 0 && s->waiting >= 0 &&
	       s->waiting <= (l->window.data ? l->window.shape[2] : 0) &&
	       s->slab_bytes == slab && s->window_bytes == window;
}

int
fg_pyramid_load(struct fg_pyramid *p, FILE *f, struct fg_err *err)
{
	for (int i = 0; i < p->info->scales; i++) {
		struct level *l = &p->level[i];
		struct saved s;

		if (fread(&s, sizeof s, 1, f) != 1 || !is_possible(l, &s) ||
		    !read_part(l->slab.data, s.slab_bytes, f) ||
		    !read_part(l->window.data, s.window_bytes, f))
			return fg_fail(err, FG_ECORRUPT,
			    "the state of scale %d is not one of this import", i);
		l->z = s.z;
		l->slab_box.lo[2] = s.lo;
		l->slab_box.hi[2] = s.hi;
		l->waiting = s.waiting;
		p->count[i].chunks = s.chunks;
		p->count[i].empty = s.empty;
		p->count[i].bytes = s.bytes;
	}
	return 0;
}

bool
fg_pyramid_is_even(const struct fg_pyramid *p)
{
	return p->level[0].slab_box.lo[2] == p->level[0].slab_box.hi[2];
}

int64_t
fg_pyramid_sections(const struct fg_pyramid *p)
{
	return p->level[0].z - p->level[0].scale->offset[2];
}
