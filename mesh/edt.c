/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Squared distances, one axis after the other. Along x the distance to the nearer end
 * of a run of equal labels. Along y and z, with f from the pass before, the smallest of
 *
 *     (f(q) if q has the same label, else 0) + (w (q - r))^2        over the column's q
 *
 * which is right although q may lie behind another label: that one is nearer, and
 * counts with 0. So a column needs no runs, and eight columns side by side are searched
 * together, outward from r until (w k)^2 exceeds the best. In tissue that is a few
 * steps. Runs that need more than REACH (the inside of a soma, a block full of one
 * label) are done by the lower envelope of the parabolas instead (Felzenszwalb and
 * Huttenlocher, Distance Transforms of Sampled Functions, 2012), in linear time.
 *
 * Squares are kept in units in which the voxel's sides are whole numbers, if there is
 * such a unit: below 2^24 floats count without rounding.
 */
#include "config.h"

#include "mesh/edt.h"

#include <math.h>
#include <stdlib.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "mesh/labels.h"

#define LANES 8
#define TILE 64    /* columns taken together: four lines of the cache, in each row */
#define REACH 64   /* steps of the search; measured: 56 to 96 are equally good */
#define OPEN -1.0f /* instead of a square: not found within REACH */

typedef float floats __attribute__((vector_size(4 * LANES), may_alias));
typedef int32_t ints __attribute__((vector_size(4 * LANES), may_alias));
typedef int64_t wides __attribute__((vector_size(4 * LANES), may_alias));
#define INLINE static inline __attribute__((always_inline))

struct site {
	int64_t at;
	double f, from; /* is the lowest parabola from here on */
};

struct work {
	int64_t shape[3];
	const uint32_t *label;
	float *f; /* squared distances so far; at last the result */
	bool border;
	double w[3];      /* sides of a voxel */
	double unit2;     /* square of the unit of w, nm^2 */
	float *square[3]; /* (w k)^2 */
	/* A tile, [row + 1][column]; a row more at both ends, of background. */
	uint32_t *tile_label;
	float *tile_f, *tile_out;
	struct site *site;
	double *half; /* 1 / 2k */
};

/* --- x */

/* Layer z. */
static void
first_pass(const struct work *w, int64_t z)
{
	const int64_t n = w->shape[0], rows = w->shape[1];
	const float *square = w->square[0];

	for (int64_t r = z * rows; r < (z + 1) * rows; r++) {
		const uint32_t *label = w->label + r * n;
		float *f = w->f + r * n;

		for (int64_t a = 0, b; a < n; a = b) {
			for (b = a + 1; b < n && label[b] == label[a]; b++)
				;
			bool left = a > 0 || w->border, right = b < n || w->border;
			int64_t middle = !left ? a : !right ? b : a + (b - a + 1) / 2;

			if (!label[a] || (!left && !right)) {
				for (int64_t x = a; x < b; x++)
					f[x] = label[a] ? INFINITY : 0;
				continue;
			}
			for (int64_t x = a; x < middle; x++)
				f[x] = square[x - a + 1];
			for (int64_t x = middle; x < b; x++)
				f[x] = square[b - x];
		}
	}
}

/* --- columns */

/* Whether a mask has a lane set; the way to ask depends on the processor. */
typedef bool (*any_fn)(const ints *mask);

INLINE bool
any_plain(const ints *mask)
{
	wides v = (wides)*mask;

	return ((v[0] | v[1]) | (v[2] | v[3])) != 0;
}

/* The vectors go by address, for not every processor has registers for them. */
INLINE void
lower(floats *best, const floats *d)
{
	ints less = *d < *best;

	*best = (floats)(((ints)*d & less) | ((ints)*best & ~less));
}

/* f of a row where the label is `own`, else 0. */
INLINE void
take_site(const uint32_t *label, const float *f, const ints *own, floats *out)
{
	ints same = *(const ints *)(const void *)label == *own;

	*out = (floats)(*(const ints *)(const void *)f & same);
}

/*
 * Eight columns of the tile from `c` on. Where more than REACH steps are needed, the
 * voxel and those behind it in its run become OPEN. Bits of the result: columns that
 * have such.
 */
INLINE unsigned
search(const struct work *w, const float *square, int64_t n, int c, any_fn any)
{
	const int64_t lo = w->border ? -1 : 0, hi = w->border ? n : n - 1;
	ints open = {0}, ever = {0}, before = {0};

	for (int64_t r = 0; r < n; r++) {
		const uint32_t *label = w->tile_label + TILE * (r + 1) + c;
		const float *f = w->tile_f + TILE * (r + 1) + c;
		const ints own = *(const ints *)(const void *)label;
		const int64_t near = FG_MIN(FG_MIN(r - lo, hi - r), REACH);
		const int64_t far = FG_MIN(FG_MAX(r - lo, hi - r), REACH);
		const int64_t side = r - lo > hi - r ? -TILE : TILE;
		floats best = *(const floats *)(const void *)f;
		int64_t k = 1;
		ints more;

		open &= own == before;
		before = own;
		best = (floats)(((ints)best & ~open) |
				((ints)((floats){0} + OPEN) & open));
		for (;; k++) {
			const floats d = (floats){0} + square[k];

			more = best > d;
			if (!any(&more) || k > near)
				break;
			floats down, up;

			take_site(label - TILE * k, f - TILE * k, &own, &down);
			take_site(label + TILE * k, f + TILE * k, &own, &up);
			lower(&down, &up);
			down += d;
			lower(&best, &down);
		}
		for (; k <= far && any(&more); k++) {
			floats there;

			take_site(label + side * k, f + side * k, &own, &there);
			there += square[k];
			lower(&best, &there);
			more = best > (floats){0} + square[k + 1];
		}
		if (k > REACH && any(&more)) {
			open |= more;
			ever |= more;
			best = (floats)(((ints)best & ~more) |
					((ints)((floats){0} + OPEN) & more));
		}
		*(floats *)(void *)(w->tile_out + TILE * (r + 1) + c) = best;
	}
	unsigned out = 0;
	for (int i = 0; i < LANES; i++)
		out |= (unsigned)(ever[i] != 0) << i;
	return out;
}

static unsigned
search_plain(const struct work *w, const float *square, int64_t n, int c)
{
	return search(w, square, n, c, any_plain);
}

#if defined(__x86_64__)
__attribute__((target("avx2"), always_inline)) static inline bool
any_avx2(const ints *mask)
{
	return __builtin_ia32_movmskps256((floats)*mask) != 0;
}

__attribute__((target("avx2"))) static unsigned
search_avx2(const struct work *w, const float *square, int64_t n, int c)
{
	return search(w, square, n, c, any_avx2);
}
#endif

typedef unsigned (*search_fn)(const struct work *, const float *, int64_t, int);

static search_fn
pick_search(void)
{
#if defined(__x86_64__)
	if (__builtin_cpu_supports("avx2"))
		return search_avx2;
#endif
	return search_plain;
}

/* Adds a parabola to the envelope of `count`; returns the new count. Its site lies
 * behind all others. */
INLINE int64_t
add_site(const struct work *w, int64_t count, int64_t place, double f, double per)
{
	struct site *s = w->site;
	double from = -INFINITY;

	if (f == INFINITY)
		return count;
	for (; count > 0; count--) {
		const struct site *last = &s[count - 1];
		int64_t by = place - last->at;

		from = (f - last->f) * per * w->half[by] +
		       0.5 * (double)(place + last->at);
		if (from > last->from)
			break;
	}
	if (count == 0)
		from = -INFINITY;
	s[count] = (struct site){place, f, from};
	return count + 1;
}

/* Rows a to b of a column, which are one run, by the envelope. What bounds the run is
 * a site too. */
static void
envelope(const struct work *w, double side, int64_t n, int c, int64_t a, int64_t b)
{
	const float *f = w->tile_f + TILE + c;
	float *out = w->tile_out + TILE + c;
	const double w2 = side * side, per = 1 / w2;
	int64_t count = 0, i = 0;

	if (a > 0 || w->border)
		count = add_site(w, count, a - 1, 0, per);
	for (int64_t r = a; r < b; r++)
		count = add_site(w, count, r, (double)f[r * TILE], per);
	if (b < n || w->border)
		count = add_site(w, count, b, 0, per);
	/* No site: a run from face to face, and nothing in the planes before. */
	for (int64_t r = a; r < b && count == 0; r++)
		out[r * TILE] = INFINITY;
	for (int64_t r = a; r < b && count > 0; r++) {
		while (i + 1 < count && w->site[i + 1].from <= (double)r)
			i++;
		double d = (double)(r - w->site[i].at);

		out[r * TILE] = (float)(w->site[i].f + w2 * d * d);
	}
}

/* The runs of column c of the tile that have open voxels. */
static void
close_runs(const struct work *w, double side, int64_t n, int c)
{
	const uint32_t *label = w->tile_label + TILE + c;
	const float *out = w->tile_out + TILE + c;

	for (int64_t a = 0, b; a < n; a = b) {
		bool open = out[a * TILE] == OPEN;

		for (b = a + 1; b < n && label[b * TILE] == label[a * TILE]; b++)
			open |= out[b * TILE] == OPEN;
		if (open)
			envelope(w, side, n, c, a, b);
	}
}

/* The roots, in nm. */
static void
take_roots(float *to, const float *from, size_t n, double unit2)
{
	size_t i = 0;

#if defined(__SSE2__)
	const __m128d unit = _mm_set1_pd(unit2);

	for (; i + 4 <= n; i += 4) {
		__m128 v = _mm_loadu_ps(from + i);
		__m128d a = _mm_cvtps_pd(v), b = _mm_cvtps_pd(_mm_movehl_ps(v, v));

		a = _mm_sqrt_pd(_mm_mul_pd(a, unit));
		b = _mm_sqrt_pd(_mm_mul_pd(b, unit));
		_mm_storeu_ps(to + i, _mm_movelh_ps(_mm_cvtpd_ps(a), _mm_cvtpd_ps(b)));
	}
#endif
	for (; i < n; i++)
		to[i] = (float)sqrt((double)from[i] * unit2);
}

/* Columns of axis d that begin at `first`, `columns` of them, `step` from row to row.
 */
static void
do_tile(const struct work *w, search_fn find, int d, size_t first, size_t columns,
    size_t step)
{
	const int64_t n = w->shape[d];

	for (int64_t r = 0; r < n; r++) {
		size_t from = first + (size_t)r * step, to = (size_t)(r + 1) * TILE;

		memcpy(w->tile_label + to, w->label + from, 4 * columns);
		memcpy(w->tile_f + to, w->f + from, 4 * columns);
		if (columns < TILE)
			memset(w->tile_label + to + columns, 0, 4 * (TILE - columns));
		if (columns < TILE)
			memset(w->tile_f + to + columns, 0, 4 * (TILE - columns));
	}
	memset(w->tile_label + (n + 1) * TILE, 0, 4 * TILE);
	for (int c = 0; c < TILE; c += LANES) {
		unsigned open = find(w, w->square[d], n, c);

		for (; open; open &= open - 1)
			close_runs(w, w->w[d], n, c + __builtin_ctz(open));
	}
	for (int64_t r = 0; r < n; r++) {
		float *to = w->f + first + (size_t)r * step;
		const float *from = w->tile_out + (r + 1) * TILE;

		if (d == 2)
			take_roots(to, from, columns, w->unit2);
		else
			memcpy(to, from, 4 * columns);
	}
}

static void
all_passes(const struct work *w)
{
	const search_fn find = pick_search();
	const size_t nx = (size_t)w->shape[0], ny = (size_t)w->shape[1];
	const size_t nz = (size_t)w->shape[2];

	for (size_t z = 0; z < nz; z++) {
		first_pass(w, (int64_t)z);
		for (size_t x = 0; x < nx; x += TILE)
			do_tile(w, find, 1, x + nx * ny * z, FG_MIN(TILE, nx - x), nx);
	}
	for (size_t i = 0; i < nx * ny; i += TILE)
		do_tile(w, find, 2, i, FG_MIN(TILE, nx * ny - i), nx * ny);
}

/* --- the whole */

/* Sides in a unit that makes them whole and small, if there is one; else in that of the
 * smallest. */
static void
choose_unit(struct work *w, const double nm[3])
{
	int64_t whole[3], g = 0;
	double sum = 0;
	bool ok = true;

	for (int d = 0; d < 3; d++) {
		ok &= nm[d] == floor(nm[d]) && nm[d] < 1e9;
		whole[d] = ok ? (int64_t)nm[d] : 1;
		for (int64_t a = whole[d], b; a; a = b)
			b = g % a, g = a;
	}
	double unit = ok ? (double)g : fmin(nm[0], fmin(nm[1], nm[2]));
	for (int d = 0; d < 3; d++) {
		w->w[d] = nm[d] / unit;
		sum += pow(w->w[d] * (double)(w->shape[d] + 1), 2);
	}
	w->unit2 = unit * unit;
	if (ok && sum >= 1 << 24) {
		double least = fmin(nm[0], fmin(nm[1], nm[2]));

		for (int d = 0; d < 3; d++)
			w->w[d] = nm[d] / least;
		w->unit2 = least * least;
	}
}

static int
init_work(struct work *w, const double nm[3], struct fg_err *err)
{
	size_t rows = 0;

	choose_unit(w, nm);
	for (int d = 0; d < 3; d++) {
		size_t n = (size_t)w->shape[d] + REACH + 3;

		rows = FG_MAX(rows, (size_t)w->shape[d] + 2);
		w->square[d] = fg_try_alloc(n, sizeof(float));
		for (size_t k = 0; w->square[d] && k < n; k++)
			w->square[d][k] = (float)pow(w->w[d] * (double)k, 2);
	}
	w->tile_label = fg_try_alloc(rows * TILE, sizeof *w->tile_label);
	w->tile_f = fg_try_alloc(rows * TILE, sizeof *w->tile_f);
	w->tile_out = fg_try_alloc(rows * TILE, sizeof *w->tile_out);
	w->site = fg_try_alloc(rows, sizeof *w->site);
	w->half = fg_try_alloc(rows, sizeof *w->half);
	if (!w->square[0] || !w->square[1] || !w->square[2] || !w->tile_label ||
	    !w->tile_f || !w->tile_out || !w->site || !w->half)
		return fg_fail(err, FG_ENOMEM, "no memory for the distance transform");
	for (size_t k = 1; k < rows; k++)
		w->half[k] = 0.5 / (double)k;
	memset(w->tile_label, 0, rows * TILE * sizeof *w->tile_label);
	memset(w->tile_f, 0, rows * TILE * sizeof *w->tile_f);
	return 0;
}

static int
check(const struct fg_array *labels, const double nm[3], const struct fg_array *out,
    struct fg_err *err)
{
	if (out->dtype != FG_F32)
		return fg_fail(err, FG_EINVAL, "distances are %s, not float32",
		    fg_dtype_name(out->dtype));
	if (memcmp(labels->shape, out->shape, sizeof out->shape) != 0)
		return fg_fail(err, FG_EINVAL,
		    "labels and distances have different shapes");
	for (int d = 0; d < 3; d++) {
		if (!(nm[d] >= FG_EDT_NM_MIN && nm[d] <= FG_EDT_NM_MAX))
			return fg_fail(err, FG_EINVAL, "voxels are %g nm along axis %d",
			    nm[d], d);
	}
	return 0;
}

int
fg_edt_make(const struct fg_array *labels, const double nm[3], bool border,
    struct fg_array *out, struct fg_err *err)
{
	struct work w = {.f = out->data, .border = border};
	struct fg_labels numbered = {0};
	int rc = -1;

	if (check(labels, nm, out, err) < 0)
		return -1;
	bool direct = labels->dtype == FG_U32 && labels->shape[3] == 1 &&
		      fg_array_count(labels) > 0;
	if (!direct && fg_labels_init(&numbered, labels, NULL, 0, NULL, NULL, err) < 0)
		return -1;
	w.label = direct ? labels->data : numbered.dense;
	memcpy(w.shape, labels->shape, sizeof w.shape);
	if (init_work(&w, nm, err) < 0)
		goto out;
	all_passes(&w);
	rc = 0;
out:
	for (int d = 0; d < 3; d++)
		free(w.square[d]);
	free(w.tile_label);
	free(w.tile_f);
	free(w.tile_out);
	free(w.site);
	free(w.half);
	fg_labels_fini(&numbered);
	return rc;
}
