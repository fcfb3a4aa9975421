/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two passes over the cells; of a large volume with two layers of voxels at a time,
 * whose labels are numbered again in the second. Rows of cells are tested for more than
 * one label (vector code; nearly all have one only), a bit for each cell is kept, and
 * of each mixed cell its labels are looked at one by one.
 *
 * count_row: how many triangles the case of a label has, and how many vertices the cell
 * is the first to meet. So the final arrays can be made at once, a part for each label.
 *
 * write_row: the same once more, for nothing else is kept: to find a label of a cell
 * again takes less than to write it down, in memory that the system clears for it. A
 * voxel edge is met first by the cell that comes first in x, y, z order among the (up
 * to four) cells round it, and that is known from its place alone; that cell numbers
 * the vertex and writes it down. The others read the number from `ids`: six for each
 * voxel of two layers, one for each edge going up from it and each of the two labels
 * that the edge's ends can have. No hashing, no sorting, and nothing to clear.
 *
 * Positions come from tables of half voxels in the frame of the volume, so that two
 * blocks compute the same float for the same place.
 */
#include "config.h"

#include "mesh/surface.h"

#include <math.h>
#include <stdlib.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "mesh/cases.h"
#include "mesh/labels.h"

/* Voxels of which the labels' numbers are kept for the second pass: a block of 256^3
 * with its borders. */
#define KEPT_MAX (INT64_C(18) << 20)
#define X_MAX ((INT64_C(1) << 24) - 1)

struct tally {
	uint64_t vertices, triangles;
};

/* A row of cells with some that are mixed. */
struct row {
	const uint32_t
	    *v[4]; /* the rows of voxels (y, z), (y + 1, z) and those above */
	int64_t y, z;
	const uint32_t *mixed; /* x of the mixed cells, ascending */
	size_t n;
	unsigned at; /* index into `fresh` for x > 0 */
};

struct work {
	struct fg_cases cases;
	struct fg_labels labels;
	const struct fg_surface_params *params;
	size_t used; /* bytes taken of params->memory */
	/* The edges that the cell is the first to meet; bit 0, 1, 2 of the index: the
	 * cell has x, y, z = 0. */
	uint16_t fresh[8];
	uint32_t *dense;       /* numbers of the labels of layer z: [z % layers] */
	int64_t layers;        /* all, or 2 */
	uint8_t first[8][256]; /* [as fresh][case]: vertices that the cell numbers */
	struct tally *tally;   /* by number */
	size_t tallies;        /* room for so many */
	uint64_t *bits;        /* of the rows of cells, in order: which are mixed */
	uint32_t *mixed;       /* of a row: those that are */
	float *half[3];        /* position of half voxel i of each axis */
	uint32_t *ids;         /* [layer & 1][y][x][axis][end inside] */
	struct fg_mesh *mesh;  /* by number */
};

static int
take_memory(struct work *w, size_t bytes, struct fg_err *err)
{
	w->used += bytes;
	if (w->params->memory && w->used > w->params->memory)
		return fg_fail(err, FG_EFULL,
		    "the meshes of the block need more than %zu bytes",
		    w->params->memory);
	return 0;
}

static void *
take(struct work *w, size_t n, size_t size, struct fg_err *err)
{
	void *p;

	if (take_memory(w, n * size, err) < 0)
		return NULL;
	p = fg_try_alloc(n, size);
	if (!p)
		fg_fail(err, FG_ENOMEM, "no memory for the meshes of the block");
	return p;
}

/* --- mixed cells */

#if defined(__SSE2__)
/* Of 16 cells from x on, a bit for each that is mixed. */
static inline uint64_t
test_cells(const uint32_t *const v[4], int64_t x)
{
	__m128i q[4];

	for (int k = 0; k < 4; k++) {
#define LOAD(row, i) _mm_loadu_si128((const __m128i *)(const void *)(v[row] + (i)))
		const int64_t i = x + 4 * k;
		__m128i a = LOAD(0, i), n = LOAD(0, i + 1);
		__m128i same =
		    _mm_and_si128(_mm_and_si128(_mm_cmpeq_epi32(a, LOAD(1, i)),
				      _mm_cmpeq_epi32(a, LOAD(2, i))),
			_mm_and_si128(_mm_cmpeq_epi32(a, LOAD(3, i)),
			    _mm_cmpeq_epi32(a, n)));
		__m128i same_next = _mm_and_si128(_mm_cmpeq_epi32(n, LOAD(1, i + 1)),
		    _mm_and_si128(_mm_cmpeq_epi32(n, LOAD(2, i + 1)),
			_mm_cmpeq_epi32(n, LOAD(3, i + 1))));
#undef LOAD
		q[k] = _mm_and_si128(same, same_next);
	}
	__m128i bytes =
	    _mm_packs_epi16(_mm_packs_epi32(q[0], q[1]), _mm_packs_epi32(q[2], q[3]));
	return (uint16_t)~_mm_movemask_epi8(bytes);
}
#endif

/* Bit x of `bits`: the eight voxels of cell x are not all alike. v: as of struct row.
 */
static void
test_row(const uint32_t *const v[4], uint64_t *bits, int64_t cells)
{
	int64_t x = 0;

	memset(bits, 0, (size_t)(cells + 63) / 64 * sizeof *bits);
#if defined(__SSE2__)
	for (; x + 16 <= cells; x += 16)
		bits[x >> 6] |= test_cells(v, x) << (x & 63);
#endif
	for (; x < cells; x++) {
		uint32_t a = v[0][x], other = a ^ v[0][x + 1];

		for (int k = 1; k < 4; k++)
			other |= (a ^ v[k][x]) | (a ^ v[k][x + 1]);
		bits[x >> 6] |= (uint64_t)(other != 0) << (x & 63);
	}
}

/* The eight corners of a cell; equal() gives those with a label, as a mask. */
#if defined(__SSE2__)
struct corners {
	__m128i lower, upper;
};

static inline struct corners
get_corners(const uint32_t *a, const uint32_t *b, const uint32_t *c, const uint32_t *d)
{
#define PAIR(p) _mm_loadl_epi64((const __m128i *)(const void *)(p))
	return (struct corners){_mm_unpacklo_epi64(PAIR(a), PAIR(b)),
	    _mm_unpacklo_epi64(PAIR(c), PAIR(d))};
#undef PAIR
}

static inline unsigned
equal(const struct corners *c, uint32_t v)
{
	__m128i all = _mm_set1_epi32((int)v);
	__m128i lower = _mm_cmpeq_epi32(c->lower, all);
	__m128i upper = _mm_cmpeq_epi32(c->upper, all);

	return (unsigned)(_mm_movemask_ps(_mm_castsi128_ps(lower)) |
			  _mm_movemask_ps(_mm_castsi128_ps(upper)) << 4);
}
#else
struct corners {
	uint32_t v[8];
};

static inline struct corners
get_corners(const uint32_t *a, const uint32_t *b, const uint32_t *c, const uint32_t *d)
{
	return (struct corners){{a[0], a[1], b[0], b[1], c[0], c[1], d[0], d[1]}};
}

static inline unsigned
equal(const struct corners *c, uint32_t v)
{
	unsigned mask = 0;

	for (int k = 0; k < 8; k++)
		mask |= (unsigned)(c->v[k] == v) << k;
	return mask;
}
#endif

/* The next label of a cell among the corners that are left: its number, and at which
 * corners it is. */
static inline unsigned
take_label(const struct row *r, int64_t x, const struct corners *c, unsigned *left,
    uint32_t *number)
{
	int k = __builtin_ctz(*left);
	unsigned mask;

	*number = r->v[k >> 1][x + (k & 1)];
	mask = equal(c, *number);
	*left &= ~mask;
	return mask;
}

/* Words of bits for so many cells. */
static size_t
words(int64_t cells)
{
	return (size_t)(cells + 63) / 64;
}

static size_t
list_mixed(const uint64_t *bits, int64_t cells, uint32_t *mixed)
{
	size_t n = 0;

	for (int64_t x = 0; x < cells; x += 64) {
		uint64_t some = bits[x >> 6];

		for (; some; some &= some - 1)
			mixed[n++] = (uint32_t)(x + __builtin_ctzll(some));
	}
	return n;
}

/* Labels come layer by layer; so does room for what is counted of them. */
static int
make_tallies(struct work *w, struct fg_err *err)
{
	size_t want = (size_t)w->labels.count + 1, room = w->tallies;
	struct tally *p;

	if (want <= room)
		return 0;
	while (room < want)
		room += room / 2 + 64;
	if (take_memory(w, (room - w->tallies) * sizeof *p, err) < 0)
		return -1;
	p = realloc(w->tally, room * sizeof *p);
	if (!p)
		return fg_fail(err, FG_ENOMEM, "no memory for %zu labels", room);
	memset(p + w->tallies, 0, (room - w->tallies) * sizeof *p);
	w->tally = p;
	w->tallies = room;
	return 0;
}

static uint32_t *
layer_of(const struct work *w, int64_t z)
{
	return w->dense + w->labels.shape[0] * w->labels.shape[1] * (z % w->layers);
}

static void
each_row(struct work *w, int64_t z, bool again,
    void (*visit)(struct work *, const struct row *))
{
	const int64_t *n = w->labels.shape;
	const uint32_t *lower = layer_of(w, z), *upper = layer_of(w, z + 1);
	uint64_t *bits = w->bits + words(n[0] - 1) * (size_t)((n[1] - 1) * z);

	for (int64_t y = 0; y + 1 < n[1]; y++) {
		struct row r = {
		    .v = {lower, lower + n[0], upper, upper + n[0]},
		    .y = y,
		    .z = z,
		    .mixed = w->mixed,
		    .at = (y == 0) << 1 | (z == 0) << 2,
		};

		if (!again)
			test_row(r.v, bits, n[0] - 1);
		r.n = list_mixed(bits, n[0] - 1, w->mixed);
		if (r.n)
			visit(w, &r);
		lower += n[0];
		upper += n[0];
		bits += words(n[0] - 1);
	}
}

/* All rows that have mixed cells, in the order of y and z. again: all layers were met
 * before. */
static int
visit_rows(struct work *w, bool again, void (*visit)(struct work *, const struct row *),
    struct fg_err *err)
{
	const int64_t n = w->labels.shape[2];

	for (int64_t z = 0; z < n; z++) {
		if (!(again && w->layers == n) &&
		    fg_labels_layer(&w->labels, z, layer_of(w, z), err) < 0)
			return -1;
		if (make_tallies(w, err) < 0)
			return -1;
		if (z > 0)
			each_row(w, z - 1, again, visit);
	}
	return 0;
}

/* --- pass one */

static void
count_row(struct work *w, const struct row *r)
{
	for (size_t i = 0; i < r->n; i++) {
		const int64_t x = r->mixed[i];
		const uint8_t *first = w->first[r->at | (x == 0)];
		struct corners c =
		    get_corners(r->v[0] + x, r->v[1] + x, r->v[2] + x, r->v[3] + x);
		unsigned left = 0xff;

		while (left) {
			uint32_t number;
			unsigned mask = take_label(r, x, &c, &left, &number);
			struct tally *t = &w->tally[number];

			t->triangles += w->cases.triangles[mask];
			t->vertices += first[mask];
		}
	}
}

/* --- pass two */

struct row_place {
	int64_t y, z;
	uint32_t *ids[12]; /* of the cell's edges, for x = 0 */
};

static void
place_row(const struct work *w, int64_t y, int64_t z, struct row_place *p)
{
	const int64_t *n = w->labels.shape;

	p->y = y;
	p->z = z;
	for (int e = 0; e < 12; e++) {
		int c = w->cases.low[e];
		int64_t layer = (z + (c >> 2)) & 1;
		int64_t voxel = (c & 1) + n[0] * (y + (c >> 1 & 1) + n[1] * layer);

		p->ids[e] = w->ids + 6 * voxel + 2 * (e / 4);
	}
}

static inline void
write_vertex(const struct work *w, const struct row_place *p, int64_t x, int e,
    float *to)
{
	int c = w->cases.low[e], axis = e / 4;

	to[0] = w->half[0][2 * (x + (c & 1)) + (axis == 0)];
	to[1] = w->half[1][2 * (p->y + (c >> 1 & 1)) + (axis == 1)];
	to[2] = w->half[2][2 * (p->z + (c >> 2)) + (axis == 2)];
}

/* The part of a label's surface in a cell. */
static inline void
write_label(struct work *w, const struct row_place *p, int64_t x, unsigned mask,
    unsigned fresh, struct fg_mesh *m)
{
	for (fresh &= w->cases.crossed[mask]; fresh; fresh &= fresh - 1) {
		int e = __builtin_ctz(fresh);
		unsigned upper = !(mask >> w->cases.low[e] & 1);

		p->ids[e][6 * x + upper] = m->vertices;
		write_vertex(w, p, x, e, m->xyz + 3 * (size_t)m->vertices);
		m->vertices++;
	}
	const uint8_t *edge = w->cases.edge[mask];
	uint32_t *to = m->index + 3 * (size_t)m->triangles;
	for (int k = 0; k < 3 * w->cases.triangles[mask]; k++) {
		int e = edge[k];
		unsigned upper = !(mask >> w->cases.low[e] & 1);

		to[k] = p->ids[e][6 * x + upper];
	}
	m->triangles += w->cases.triangles[mask];
}

static void
write_row(struct work *w, const struct row *r)
{
	struct row_place p;

	place_row(w, r->y, r->z, &p);
	for (size_t i = 0; i < r->n; i++) {
		const int64_t x = r->mixed[i];
		const unsigned fresh = w->fresh[r->at | (x == 0)];
		struct corners c =
		    get_corners(r->v[0] + x, r->v[1] + x, r->v[2] + x, r->v[3] + x);
		unsigned left = 0xff;

		while (left) {
			uint32_t number;
			unsigned mask = take_label(r, x, &c, &left, &number);

			if (number)
				write_label(w, &p, x, mask, fresh, &w->mesh[number]);
		}
	}
}

/* --- the whole */

static int
by_label(const void *a, const void *b)
{
	const struct fg_mesh *p = a, *q = b;

	return (p->label > q->label) - (p->label < q->label);
}

/* Arrays of the final size, a part for each label. */
static int
lay_out(struct work *w, struct fg_surface *s, struct fg_err *err)
{
	uint32_t count = w->labels.count;
	size_t v = 0, t = 0;

	w->tally[0] = (struct tally){0}; /* background */
	for (uint32_t k = 1; k <= count; k++) {
		if (w->tally[k].vertices > UINT32_MAX ||
		    w->tally[k].triangles > UINT32_MAX)
			return fg_fail(err, FG_ENOTSUP,
			    "label %llu has more triangles than a mesh can hold",
			    (unsigned long long)w->labels.id[k]);
		s->vertices += w->tally[k].vertices;
		s->triangles += w->tally[k].triangles;
	}
	s->xyz = take(w, s->vertices * 3, sizeof *s->xyz, err);
	s->index = s->xyz ? take(w, s->triangles * 3, sizeof *s->index, err) : NULL;
	w->mesh = s->index ? take(w, count + 1, sizeof *w->mesh, err) : NULL;
	if (!w->mesh)
		return -1;
	for (uint32_t k = 0; k <= count; k++) {
		w->mesh[k] = (struct fg_mesh){.label = w->labels.id[k],
		    .xyz = s->xyz + 3 * v,
		    .index = s->index + 3 * t};
		v += w->tally[k].vertices;
		t += w->tally[k].triangles;
	}
	return 0;
}

/* Half voxel i of an axis: the centre of voxel i / 2 or, odd, its upper side. */
static int
fill_halves(struct work *w, struct fg_err *err)
{
	const struct fg_surface_params *p = w->params;

	for (int d = 0; d < 3; d++) {
		int64_t n = 2 * w->labels.shape[d];
		int64_t first = 2 * p->origin_vx[d] + 1 -
				(p->close & FG_FACE_X_LO << 2 * d ? 2 : 0);

		w->half[d] = take(w, (size_t)n, sizeof *w->half[d], err);
		if (!w->half[d])
			return -1;
		for (int64_t i = 0; i < n; i++)
			w->half[d][i] = (float)((double)(first + i) * 0.5 * p->nm[d]);
	}
	return 0;
}

static void
fill_fresh(struct work *w)
{
	for (unsigned at = 0; at < 8; at++) {
		for (int e = 0; e < 12; e++) {
			unsigned c = w->cases.low[e], across = 7 & ~(1u << e / 4);

			/* Not first: some lower cell round the edge has met it. */
			if ((~c & across & ~at) == 0)
				w->fresh[at] |= (uint16_t)(1u << e);
		}
		for (int mask = 0; mask < 256; mask++)
			w->first[at][mask] = (uint8_t)__builtin_popcount(
			    w->cases.crossed[mask] & w->fresh[at]);
	}
}

static int
check_params(const struct fg_array *labels, const struct fg_surface_params *p,
    struct fg_err *err)
{
	for (int d = 0; d < 3; d++) {
		if (!isfinite(p->nm[d]) || !(p->nm[d] > 0))
			return fg_fail(err, FG_EINVAL, "voxels are %g nm along axis %d",
			    p->nm[d], d);
		if (p->origin_vx[d] > INT64_MAX / 8 || p->origin_vx[d] < INT64_MIN / 8)
			return fg_fail(err, FG_EINVAL,
			    "the block begins at voxel %lld of axis %d",
			    (long long)p->origin_vx[d], d);
	}
	if (labels->shape[0] > X_MAX - 2)
		return fg_fail(err, FG_EINVAL, "rows of %lld voxels are too long",
		    (long long)labels->shape[0]);
	return 0;
}

static int
init_work(struct work *w, const struct fg_array *labels, struct fg_err *err)
{
	const struct fg_surface_params *p = w->params;
	int64_t lo[3], hi[3];

	for (int d = 0; d < 3; d++) {
		lo[d] = p->close >> 2 * d & 1;
		hi[d] = p->close >> (2 * d + 1) & 1;
	}
	if (fg_labels_open(&w->labels, labels, p->only, p->only_count, lo, hi, err) < 0)
		return -1;
	const int64_t *shape = w->labels.shape;
	size_t row = (size_t)shape[0], layer = (size_t)(shape[0] * shape[1]);
	bool small = shape[2] <= 2 || (int64_t)layer <= KEPT_MAX / shape[2];

	w->layers = small ? shape[2] : 2;
	fg_cases_init(&w->cases);
	fill_fresh(w);
	w->dense = take(w, layer * (size_t)w->layers, sizeof *w->dense, err);
	w->bits =
	    take(w, words(shape[0] - 1) * (size_t)((shape[1] - 1) * (shape[2] - 1)),
		sizeof *w->bits, err);
	w->mixed = take(w, row, sizeof *w->mixed, err);
	w->ids = take(w, layer, 12 * sizeof *w->ids, err);
	if (!w->dense || !w->bits || !w->mixed || !w->ids)
		return -1;
	return fill_halves(w, err);
}

static void
fini_work(struct work *w)
{
	fg_labels_fini(&w->labels);
	free(w->dense);
	free(w->tally);
	free(w->bits);
	free(w->mixed);
	free(w->ids);
	for (int d = 0; d < 3; d++)
		free(w->half[d]);
	free(w->mesh);
	free(w);
}

int
fg_surface_make(const struct fg_array *labels, const struct fg_surface_params *p,
    struct fg_surface *out, struct fg_err *err)
{
	struct fg_surface s = {0};
	struct work *w;
	int rc = -1;

	if (check_params(labels, p, err) < 0)
		return -1;
	w = fg_calloc(1, sizeof *w);
	w->params = p;
	if (init_work(w, labels, err) < 0 || visit_rows(w, false, count_row, err) < 0 ||
	    lay_out(w, &s, err) < 0 || visit_rows(w, true, write_row, err) < 0)
		goto out;
	/* Number 0 is background; labels of the list may have no voxel. */
	for (uint32_t k = 1; k <= w->labels.count; k++) {
		if (w->mesh[k].triangles)
			w->mesh[s.count++] = w->mesh[k];
	}
	qsort(w->mesh, s.count, sizeof *w->mesh, by_label);
	s.mesh = w->mesh;
	w->mesh = NULL;
	*out = s;
	rc = 0;
out:
	if (rc < 0)
		fg_surface_fini(&s);
	fini_work(w);
	return rc;
}

const struct fg_mesh *
fg_surface_find(const struct fg_surface *s, uint64_t label)
{
	struct fg_mesh key = {.label = label};

	return s->count ? bsearch(&key, s->mesh, s->count, sizeof key, by_label) : NULL;
}

void
fg_surface_fini(struct fg_surface *s)
{
	free(s->mesh);
	free(s->xyz);
	free(s->index);
	*s = (struct fg_surface){0};
}
