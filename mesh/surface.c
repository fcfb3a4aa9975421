/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two passes over the cells.
 *
 * find_cells: rows of cells are tested for more than one label (vector code; nearly all
 * have one only). Each label of a mixed cell yields a note of 8 bytes (case, label,
 * place in the row), and is counted: how many triangles the case has, and how many
 * vertices the cell is the first to meet. So the final arrays can be made at once.
 *
 * write_cells: from the notes, in the same order. A voxel edge is met first by the cell
 * that comes first in x, y, z order among the (up to four) cells round it, and that is
 * known from its place alone; that cell numbers the vertex and writes it down. The
 * others read the number from `ids`: six for each voxel of two layers, one for each
 * edge going up from it and each of the two labels that the edge's ends can have. No
 * hashing, no sorting, and nothing to clear.
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

/* A label of a mixed cell: case | x << 8, and the label's number. */
struct note {
	uint32_t place, number;
};

#define X_MAX ((INT64_C(1) << 24) - 1)

struct tally {
	uint64_t vertices, triangles;
};

struct work {
	struct fg_cases cases;
	struct fg_labels labels;
	const struct fg_surface_params *params;
	size_t used; /* bytes taken of params->memory */
	/* The edges that the cell is the first to meet; bit 0, 1, 2 of the index: the
	 * cell has x, y, z = 0. */
	uint16_t fresh[8];
	struct note *note;
	size_t notes, room;
	size_t *row_notes; /* where the notes of each row of cells end */
	struct tally *tally;
	uint8_t *mixed;       /* of a row of cells */
	float *half[3];       /* position of half voxel i of each axis */
	uint32_t *ids;        /* [layer & 1][y][x][axis][end inside] */
	struct fg_mesh *mesh; /* by number */
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

/* --- pass one */

/* mixed[x] != 0: the eight voxels of cell x are not all alike. a and b are rows of one
 * layer, c and d the same rows of the next. */
static void
test_row(const uint32_t *a, const uint32_t *b, const uint32_t *c, const uint32_t *d,
    uint8_t *mixed, int64_t cells)
{
	int64_t x = 0;

#if defined(__SSE2__)
	for (; x + 16 <= cells; x += 16) {
		__m128i q[4];

		for (int k = 0; k < 4; k++) {
			const int64_t i = x + 4 * k;
#define LOAD(p) _mm_loadu_si128((const __m128i *)(const void *)(p))
			__m128i v = LOAD(a + i), n = LOAD(a + i + 1);
			__m128i same =
			    _mm_and_si128(_mm_and_si128(_mm_cmpeq_epi32(v, LOAD(b + i)),
					      _mm_cmpeq_epi32(v, LOAD(c + i))),
				_mm_and_si128(_mm_cmpeq_epi32(v, LOAD(d + i)),
				    _mm_cmpeq_epi32(v, n)));
			__m128i same_next =
			    _mm_and_si128(_mm_cmpeq_epi32(n, LOAD(b + i + 1)),
				_mm_and_si128(_mm_cmpeq_epi32(n, LOAD(c + i + 1)),
				    _mm_cmpeq_epi32(n, LOAD(d + i + 1))));
#undef LOAD
			q[k] = _mm_and_si128(same, same_next);
		}
		__m128i bytes = _mm_packs_epi16(_mm_packs_epi32(q[0], q[1]),
		    _mm_packs_epi32(q[2], q[3]));
		_mm_storeu_si128((__m128i *)(void *)(mixed + x),
		    _mm_andnot_si128(bytes, _mm_set1_epi8(1)));
	}
#endif
	for (; x < cells; x++) {
		uint32_t v = a[x];

		mixed[x] = ((v ^ b[x]) | (v ^ c[x]) | (v ^ d[x]) | (v ^ a[x + 1]) |
			       (v ^ b[x + 1]) | (v ^ c[x + 1]) | (v ^ d[x + 1])) != 0;
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

/* Note the labels of one mixed cell; there is room for eight notes. */
static inline void
note_cell(struct work *w, const uint32_t *const row[4], int64_t x, unsigned fresh)
{
	struct corners c = get_corners(row[0] + x, row[1] + x, row[2] + x, row[3] + x);
	unsigned left = 0xff;

	do {
		int k = __builtin_ctz(left);
		uint32_t v = row[k >> 1][x + (k & 1)];
		unsigned mask = equal(&c, v);

		left &= ~mask;
		if (!v)
			continue;
		w->note[w->notes++] = (struct note){(uint32_t)x << 8 | mask, v};
		w->tally[v].triangles += w->cases.triangles[mask];
		w->tally[v].vertices +=
		    (unsigned)__builtin_popcount(w->cases.crossed[mask] & fresh);
	} while (left);
}

static int
make_room(struct work *w, size_t more, struct fg_err *err)
{
	size_t room = w->room;
	struct note *p;

	if (w->notes + more <= room)
		return 0;
	while (room < w->notes + more)
		room += room / 2 + 4096;
	if (take_memory(w, (room - w->room) * sizeof *p, err) < 0)
		return -1;
	p = realloc(w->note, room * sizeof *p);
	if (!p)
		return fg_fail(err, FG_ENOMEM, "no memory for %zu mixed cells", room);
	w->note = p;
	w->room = room;
	return 0;
}

static int
find_cells(struct work *w, struct fg_err *err)
{
	const int64_t *n = w->labels.shape;
	const int64_t cells = n[0] - 1;
	size_t r = 0;

	for (int64_t z = 0; z + 1 < n[2]; z++) {
		for (int64_t y = 0; y + 1 < n[1]; y++, r++) {
			const uint32_t *a = w->labels.dense + n[0] * (y + n[1] * z);
			const uint32_t *c = a + n[0] * n[1];
			const uint32_t *const row[4] = {a, a + n[0], c, c + n[0]};
			unsigned at = (y == 0) << 1 | (z == 0) << 2;

			test_row(row[0], row[1], row[2], row[3], w->mixed, cells);
			for (int64_t x = 0; x < cells; x += 8) {
				uint64_t some = fg_get_u64le(w->mixed + x);

				if (!some)
					continue;
				if (make_room(w, 64, err) < 0)
					return -1;
				for (; some; some &= some - 1) {
					int64_t i = x + __builtin_ctzll(some) / 8;

					note_cell(w, row, i, w->fresh[at | (i == 0)]);
				}
			}
			w->row_notes[r] = w->notes;
		}
	}
	return 0;
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

static inline void
write_note(struct work *w, const struct row_place *p, const struct note *note,
    unsigned at)
{
	int64_t x = note->place >> 8;
	unsigned mask = note->place & 0xff;
	struct fg_mesh *m = &w->mesh[note->number];
	unsigned fresh = w->cases.crossed[mask] & w->fresh[at | (x == 0)];

	for (; fresh; fresh &= fresh - 1) {
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
write_cells(struct work *w)
{
	const int64_t *n = w->labels.shape;
	size_t i = 0, r = 0;

	for (int64_t z = 0; z + 1 < n[2]; z++) {
		for (int64_t y = 0; y + 1 < n[1]; y++, r++) {
			struct row_place p;
			unsigned at = (y == 0) << 1 | (z == 0) << 2;

			if (i == w->row_notes[r])
				continue;
			place_row(w, y, z, &p);
			for (; i < w->row_notes[r]; i++)
				write_note(w, &p, &w->note[i], at);
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
	size_t n = 1;

	for (int d = 0; d < 3; d++) {
		lo[d] = p->close >> 2 * d & 1;
		hi[d] = p->close >> (2 * d + 1) & 1;
		n *= (size_t)(labels->shape[d] > 0 ? labels->shape[d] + 2 : 0);
	}
	if (take_memory(w, n * 4, err) < 0)
		return -1;
	if (fg_labels_init(&w->labels, labels, p->only, p->only_count, lo, hi, err) < 0)
		return -1;
	const int64_t *shape = w->labels.shape;
	fg_cases_init(&w->cases);
	fill_fresh(w);
	w->row_notes =
	    take(w, (size_t)(shape[1] * shape[2]), sizeof *w->row_notes, err);
	w->tally = take(w, w->labels.count + 1, sizeof *w->tally, err);
	w->mixed = take(w, (size_t)shape[0] + 8, 1, err);
	w->ids = take(w, (size_t)(shape[0] * shape[1]), 12 * sizeof *w->ids, err);
	if (!w->row_notes || !w->tally || !w->mixed || !w->ids)
		return -1;
	memset(w->tally, 0, (w->labels.count + 1) * sizeof *w->tally);
	memset(w->mixed, 0, (size_t)shape[0] + 8);
	return fill_halves(w, err);
}

static void
fini_work(struct work *w)
{
	fg_labels_fini(&w->labels);
	free(w->note);
	free(w->row_notes);
	free(w->tally);
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
	if (init_work(w, labels, err) < 0 || find_cells(w, err) < 0 ||
	    lay_out(w, &s, err) < 0)
		goto out;
	write_cells(w);
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
