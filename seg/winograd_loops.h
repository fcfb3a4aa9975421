/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The loops of seg/winograd.h, for one width of vector: seg/winograd_avx2.c and
 * seg/winograd_avx512.c define the vector, its operations and RUN, and include this.
 *
 * A convolution works on one row of tiles along x at a time. Their inputs are
 * transformed along z and y, where neighbours along x share the work. Each of the 25
 * lines that this gives is transformed along x, its five points are multiplied by their
 * filters in place, and go back along x: all in the first-level cache (7 KB for the
 * published network). Then the 25 lines of sums go back along z and y. What is between
 * (218 KB) and a convolution's filters (512 KB) stay in the second-level cache.
 *
 * Sums over features run in one chain from the first to the last feature, whatever the
 * width of the vector.
 *
 * In bf16 what a convolution reads is rounded: what lies between two when it is stored,
 * the stream, which goes on in float, when it is loaded.
 */
#define INLINE static inline TARGET __attribute__((always_inline))

#define VECTORS_MAX (32 / LANES)
#define ROWS_MAX 12

/* Where the sums of a convolution go. */
enum sink {
	SINK_MID,   /* relu */
	SINK_BEGIN, /* the stream, which begins here */
	SINK_ADD    /* the stream */
};

/* ------------------------------------------------------------ transforms */

/* Five inputs along an axis to the values at the five points. */
INLINE void
to_points(const vec d[5], vec t[5])
{
	const vec one_half = all_of(0.5F), three_halves = all_of(1.5F);
	vec low = add(d[1], d[2]), high = add(d[2], d[3]);

	t[0] = mul_sub(three_halves, low, add(d[0], d[3]));
	t[1] = mul_add(one_half, sub(d[2], d[1]), d[3]);
	t[2] = mul_sub(all_of(2.5F), d[2], add(d[1], d[3]));
	t[3] = mul_sub(all_of(2), d[1], sub(d[3], d[2]));
	t[4] = mul_sub(three_halves, high, add(d[1], d[4]));
}

/* Products at the five points to three outputs along an axis. */
INLINE void
from_points(const vec m[5], vec o[3])
{
	vec both = add(m[1], m[2]);

	o[0] = add(add(m[0], both), m[3]);
	o[1] = mul_add(all_of(2), m[1], mul_add(all_of(0.5F), m[3], sub(zero(), m[2])));
	o[2] = add(mul_add(all_of(4), m[1], m[2]), mul_add(all_of(0.25F), m[3], m[4]));
}

/* relu, rounded to bf16 or not. */
INLINE vec
activate(vec v, bool bf16)
{
	v = max(v, zero());
	return bf16 ? to_bf16(v) : v;
}

/* The 5 x 5 inputs (z, y) of one place along x. step: from a point to the next. */
INLINE void
column_to_points(const float *from, int64_t row, int64_t plane, bool relu, bool bf16,
    float *to, int64_t step)
{
	vec d[5][5], t[5];

	FG_UNROLL
	for (int z = 0; z < 5; z++) {
		FG_UNROLL
		for (int y = 0; y < 5; y++) {
			t[y] = load(from + z * plane + y * row);
			if (relu)
				t[y] = activate(t[y], bf16);
		}
		to_points(t, d[z]);
	}
	FG_UNROLL
	for (int y = 0; y < 5; y++) {
		const vec c[5] = {d[0][y], d[1][y], d[2][y], d[3][y], d[4][y]};

		to_points(c, t);
		FG_UNROLL
		for (int z = 0; z < 5; z++)
			store(to + (z * 5 + y) * step, t[z]);
	}
}

/* The row of tiles (ty, tz): its columns to m->planes. */
INLINE void
columns_to_points(const struct winograd_model *m, const float *from, bool relu,
    int64_t ty, int64_t tz, int vectors, bool bf16)
{
	int64_t features = vectors * LANES;

	from += WINOGRAD_OUT * (tz * m->plane + ty * m->row) * features;
	for (int64_t x = 0; x < m->row * features; x += LANES)
		column_to_points(from + x, m->row * features, m->plane * features, relu,
		    bf16, m->planes + x, m->row * features);
}

/* A line along x of the columns to the points of its tiles. */
INLINE void
line_to_points(const struct winograd_model *m, const float *line, int vectors)
{
	int64_t features = vectors * LANES, step = m->tiles[0] * features;

	for (int64_t t = 0; t < m->tiles[0]; t++, line += WINOGRAD_OUT * features) {
		FG_UNROLL
		for (int v = 0; v < vectors; v++) {
			float *to = m->points + t * features + v * LANES;
			vec d[5], p[5];

			FG_UNROLL
			for (int i = 0; i < 5; i++)
				d[i] = load(line + i * features + v * LANES);
			to_points(d, p);
			FG_UNROLL
			for (int i = 0; i < 5; i++)
				store(to + i * step, p[i]);
		}
	}
}

/* Sums of a tile's one vector of features, at `at` floats from where they go. */
INLINE void
put(const struct winograd_model *m, enum sink sink, int64_t at, vec sum, bool bf16)
{
	if (sink == SINK_MID)
		store(m->mid + at, activate(sum, bf16));
	else if (sink == SINK_BEGIN)
		store(m->stream + at, sum);
	else
		store(m->stream + at, add(load(m->stream + at), sum));
}

/* A column, [z][y] with `line` from one to the next, to its outputs inside the field of
 * view. */
INLINE void
column_from_points(const struct winograd_model *m, enum sink sink, const float *from,
    int64_t line, vec bias, int64_t at, int64_t ny, int64_t nz, int64_t features,
    bool bf16)
{
	vec g[5][3];

	FG_UNROLL
	for (int z = 0; z < 5; z++) {
		vec h[5];

		FG_UNROLL
		for (int y = 0; y < 5; y++)
			h[y] = load(from + (5 * z + y) * line);
		from_points(h, g[z]);
	}
	FG_UNROLL
	for (int y = 0; y < 3; y++) {
		const vec c[5] = {g[0][y], g[1][y], g[2][y], g[3][y], g[4][y]};
		vec o[3];

		from_points(c, o);
		FG_UNROLL
		for (int z = 0; z < 3; z++) {
			if (y < ny && z < nz)
				put(m, sink,
				    at + (z * m->plane + y * m->row) * features,
				    add(o[z], bias), bf16);
		}
	}
}

/* The products of a line's tiles to its sums. */
INLINE void
line_from_points(const struct winograd_model *m, float *line, int vectors)
{
	int64_t features = vectors * LANES, step = m->tiles[0] * features;

	for (int64_t t = 0; t < m->tiles[0]; t++, line += WINOGRAD_OUT * features) {
		FG_UNROLL
		for (int v = 0; v < vectors; v++) {
			const float *from = m->points + t * features + v * LANES;
			vec p[5], o[3];

			FG_UNROLL
			for (int i = 0; i < 5; i++)
				p[i] = load(from + i * step);
			from_points(p, o);
			FG_UNROLL
			for (int i = 0; i < 3; i++)
				store(line + i * features + v * LANES, o[i]);
		}
	}
}

/* The columns of m->sums to where the convolution puts them. */
INLINE void
columns_from_points(const struct winograd_model *m, enum sink sink, const float *bias,
    int64_t ty, int64_t tz, int vectors, bool bf16)
{
	int64_t features = vectors * LANES, line = 3 * m->tiles[0] * features;
	int64_t ny = m->n[1] - 3 * ty, nz = m->n[2] - 3 * tz;
	int64_t at = (3 * tz + 1) * m->plane + (3 * ty + 1) * m->row + 1;

	for (int64_t x = 0; x < m->n[0]; x++) {
		for (int v = 0; v < vectors; v++)
			column_from_points(m, sink, m->sums + x * features + v * LANES,
			    line, load(bias + v * LANES),
			    (at + x) * features + v * LANES, ny, nz, features, bf16);
	}
}

/* ------------------------------------------------------------- products */

/* One step of a product: the sums of each row get its factor, `stride` floats from one
 * row's to the next, times a row of weights. */
INLINE void
add_step(vec s[ROWS_MAX][VECTORS_MAX], const float *a, int stride, const float *w,
    int rows, int vectors)
{
	vec b[VECTORS_MAX];

	FG_UNROLL
	for (int v = 0; v < vectors; v++)
		b[v] = load(w + v * LANES);
	FG_UNROLL
	for (int r = 0; r < rows; r++) {
		const vec f = all_of(a[r * stride]);

		FG_UNROLL
		for (int v = 0; v < vectors; v++)
			s[r][v] = mul_add(f, b[v], s[r][v]);
	}
}

/* A block of rows (tiles), features wide, by a square matrix, in place. */
INLINE void
multiply(float *a, const float *w, int rows, int vectors)
{
	const int features = vectors * LANES;
	vec s[ROWS_MAX][VECTORS_MAX];

	FG_UNROLL
	for (int r = 0; r < rows; r++) {
		FG_UNROLL
		for (int v = 0; v < vectors; v++)
			s[r][v] = zero();
	}
	for (int k = 0; k < features; k++, w += features)
		add_step(s, a + k, features, w, rows, vectors);
	FG_UNROLL
	for (int r = 0; r < rows; r++) {
		FG_UNROLL
		for (int v = 0; v < vectors; v++)
			store(a + r * features + v * LANES, s[r][v]);
	}
}

#define ROWS_CASE(r)                                                                   \
	case r:                                                                        \
		multiply(a, w, r, vectors);                                            \
		break

/* Each number of rows has its own code, whose sums are registers. */
INLINE void
multiply_rows(float *a, const float *w, int64_t rows, int vectors)
{
	switch (rows) {
		ROWS_CASE(1);
		ROWS_CASE(2);
		ROWS_CASE(3);
#if ROWS_16 > 3
		ROWS_CASE(4);
		ROWS_CASE(5);
		ROWS_CASE(6);
#endif
#if ROWS_16 > 6
		ROWS_CASE(7);
		ROWS_CASE(8);
		ROWS_CASE(9);
		ROWS_CASE(10);
		ROWS_CASE(11);
		ROWS_CASE(12);
#endif
	default:
		fg_assert(rows == 0);
	}
}

/* The five points of a line's tiles by their filters, in blocks of like size. */
INLINE void
products(const struct winograd_model *m, const float *filters, int vectors,
    int rows_max)
{
	int64_t features = vectors * LANES, tiles = m->tiles[0];
	int64_t rows = fg_div_ceil(tiles, fg_div_ceil(tiles, rows_max));

	for (int p = 0; p < WINOGRAD_IN; p++) {
		float *a = m->points + p * tiles * features;
		const float *w = filters + p * features * features;

		for (int64_t t = 0; t < tiles; t += rows)
			multiply_rows(a + t * features, w,
			    tiles - t < rows ? tiles - t : rows, vectors);
	}
}

/* ----------------------------------------------------------- convolutions */

/* `rows` successive voxels of the first convolution, whose two channels begin at `in`;
 * the first `keep` of them are stored. */
INLINE void
first_voxels(const struct winograd_model *m, const float *in, float *to, int64_t keep,
    int vectors, int rows, bool bf16)
{
	int64_t features = vectors * LANES;
	const float *w = m->first;
	vec s[ROWS_MAX][VECTORS_MAX];

	FG_UNROLL
	for (int r = 0; r < rows; r++) {
		FG_UNROLL
		for (int v = 0; v < vectors; v++)
			s[r][v] = load(m->bias + v * LANES);
	}
	for (int k = 0; k < 9; k++) {
		const float *a = in + 2 * (k / 3 * m->plane + k % 3 * m->row);

		/* Three neighbours of two channels each. */
		for (int i = 0; i < 6; i++, w += features)
			add_step(s, a + i, 2, w, rows, vectors);
	}
	FG_UNROLL
	for (int r = 0; r < rows; r++) {
		FG_UNROLL
		for (int v = 0; v < vectors; v++) {
			if (r < keep)
				store(to + r * features + v * LANES,
				    activate(s[r][v], bf16));
		}
	}
}

/* The first, of two channels, directly, and of float weights and inputs always. */
INLINE void
first_convolution(const struct winograd_model *m, int vectors, int rows, bool bf16)
{
	for (int64_t z = 0; z < m->n[2]; z++) {
		for (int64_t y = 0; y < m->n[1]; y++) {
			const float *in = m->in + 2 * (z * m->plane + y * m->row);
			float *to =
			    m->mid +
			    ((z + 1) * m->plane + (y + 1) * m->row + 1) * m->features;

			for (int64_t x = 0; x < m->n[0]; x += rows)
				first_voxels(m, in + 2 * x, to + x * m->features,
				    m->n[0] - x, vectors, rows, bf16);
		}
	}
}

/* Along x, one line after the other: points, products, sums. */
INLINE void
lines(const struct winograd_model *m, const float *filters, int vectors, int rows)
{
	int64_t features = vectors * LANES;

	for (int64_t zy = 0; zy < 25; zy++) {
		line_to_points(m, m->planes + zy * m->row * features, vectors);
		products(m, filters + zy * 5 * features * features, vectors, rows);
		line_from_points(m, m->sums + zy * 3 * m->tiles[0] * features, vectors);
	}
}

/* Convolution c, not the first: mid to stream, or relu of the stream to mid. */
INLINE void
convolution(const struct winograd_model *m, int c, enum sink sink, int vectors,
    int rows, bool bf16)
{
	const float *filters =
	    m->filters + (int64_t)(c - 1) * WINOGRAD_POINTS * m->features * m->features;
	bool relu = sink == SINK_MID;

	for (int64_t tz = 0; tz < m->tiles[2]; tz++) {
		for (int64_t ty = 0; ty < m->tiles[1]; ty++) {
			columns_to_points(m, relu ? m->stream : m->mid, relu, ty, tz,
			    vectors, bf16);
			lines(m, filters, vectors, rows);
			columns_from_points(m, sink, m->bias + (int64_t)c * m->features,
			    ty, tz, vectors, bf16);
		}
	}
}

static TARGET float
sum_of(__m256 v)
{
	__m128 q = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));

	q = _mm_add_ps(q, _mm_movehl_ps(q, q));
	return _mm_cvtss_f32(_mm_add_ss(q, _mm_movehdup_ps(q)));
}

/* The 1x1x1 convolution of the stream's relu, added to the logits. */
INLINE void
put_logits(const struct winograd_model *m, const float *logit, float *out, int vectors)
{
	for (int64_t i = 0; i < m->n[0] * m->n[1] * m->n[2]; i++) {
		int64_t x = i % m->n[0], y = i / m->n[0] % m->n[1];
		int64_t z = i / m->n[0] / m->n[1];
		const float *from =
		    m->stream +
		    ((z + 1) * m->plane + (y + 1) * m->row + x + 1) * vectors * LANES;
		vec s[16 / LANES];

		/* Sixteen chains whatever the vector's width, then halves. */
		FG_UNROLL
		for (int v = 0; v < 16 / LANES; v++)
			s[v] = zero();
		FG_UNROLL
		for (int v = 0; v < vectors; v++)
			s[v % (16 / LANES)] =
			    mul_add(max(load(from + v * LANES), zero()),
				load(m->last + v * LANES), s[v % (16 / LANES)]);
#if LANES == 16
		out[i] = logit[i] + (m->last_bias + sum_of(half(s[0])));
#else
		out[i] = logit[i] + (m->last_bias + sum_of(add(s[0], s[1])));
#endif
	}
}

static void
put_input(const struct winograd_model *m, const float *image, const float *logit)
{
	for (int64_t z = 0; z < m->n[2]; z++) {
		for (int64_t y = 0; y < m->n[1]; y++) {
			float *to =
			    m->in + 2 * ((z + 1) * m->plane + (y + 1) * m->row + 1);

			for (int64_t x = 0; x < m->n[0]; x++) {
				*to++ = *image++;
				*to++ = *logit++;
			}
		}
	}
}

INLINE void
run(const struct winograd_model *m, const float *logit, float *out, int vectors,
    int rows, bool bf16)
{
	first_convolution(m, vectors, rows, bf16);
	convolution(m, 1, SINK_BEGIN, vectors, rows, bf16);
	for (int i = 1; i < m->depth; i++) {
		convolution(m, 2 * i, SINK_MID, vectors, rows, bf16);
		convolution(m, 2 * i + 1, SINK_ADD, vectors, rows, bf16);
	}
	put_logits(m, logit, out, vectors);
}

/* A function each, so that the compiler meets the loops with their numbers known. */
#define RUN_CASE(name, vectors, rows, bf16)                                            \
	static TARGET void name(const struct winograd_model *m, const float *logit,    \
	    float *out)                                                                \
	{                                                                              \
		run(m, logit, out, vectors, rows, bf16);                               \
	}

RUN_CASE(run_16, 16 / LANES, ROWS_16, false)
RUN_CASE(run_32, 32 / LANES, ROWS_32, false)
RUN_CASE(run_16_bf16, 16 / LANES, ROWS_16, true)
RUN_CASE(run_32_bf16, 32 / LANES, ROWS_32, true)

void
RUN(const struct winograd_model *m, const float *image, const float *logit, float *out)
{
	put_input(m, image, logit);
	if (m->features == 16)
		(m->bf16 ? run_16_bf16 : run_16)(m, logit, out);
	else
		(m->bf16 ? run_32_bf16 : run_32)(m, logit, out);
}
