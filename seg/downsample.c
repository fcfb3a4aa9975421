/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Means and majorities of windows.
 *
 * Both walk the coarse array row by row. A row of windows is cut into spans of at most
 * SPAN windows of one width: the whole ones, and the last one where the fine array ends
 * inside it. A span is handed to a function of the dtype, together with the up to 64
 * fine rows that it covers. The fine array is so read once, in order, and sums stay in
 * the first-level cache.
 */
#include "config.h"

#include "seg/downsample.h"

#include "seg/downsample_avx2.h"

#define INLINE static inline __attribute__((always_inline))

enum { SPAN = 256, ROWS_MAX = 8 * 8, WINDOW_MAX = 8 * ROWS_MAX };

/* The fine voxels under a span: rows begin at the first window's first voxel. */
struct span {
	const void *row[ROWS_MAX]; /* y fastest, then z */
	int64_t ny, nz, rows;      /* rows = ny * nz */
	int64_t width;             /* voxels of a window along x */
	int64_t windows;
	enum fg_rounding rounding;
	const struct fg_downsample_avx2 *fast; /* NULL: there is none */
};

typedef void span_fn(const struct span *s, void *dst);

/* ------------------------------------------------------------- means */

static int64_t
divide(int64_t sum, int64_t n, enum fg_rounding rounding)
{
	/* Windows are mostly powers of two, and shifting is ten times as fast. */
	int64_t floor = (n & (n - 1)) == 0 ? sum >> __builtin_ctzll((uint64_t)n)
					   : fg_div_floor(sum, n);
	int64_t rest2 = 2 * (sum - floor * n);

	if (rounding == FG_ROUND_NEAREST_EVEN)
		floor += rest2 > n || (rest2 == n && (floor & 1));
	return floor;
}

static uint64_t
divide_wide(unsigned __int128 sum, int64_t n, enum fg_rounding rounding)
{
	uint64_t floor = (uint64_t)(sum / (uint64_t)n);
	int64_t rest2 = 2 * (int64_t)(sum % (uint64_t)n);

	if (rounding == FG_ROUND_NEAREST_EVEN)
		floor += rest2 > n || (rest2 == n && (floor & 1));
	return floor;
}

static float
divide_real(double sum, int64_t n, enum fg_rounding rounding)
{
	(void)rounding;
	return (float)(sum / (double)n);
}

/* How many values a window has as a power of two; -1: it is none. */
static int
shift_of(const struct span *s)
{
	int64_t n = s->rows * s->width;

	return s->width == 2 && (n & (n - 1)) == 0 ? __builtin_ctzll((uint64_t)n) : -1;
}

static int64_t
fast_u8(const struct span *s, void *dst)
{
	int shift = s->fast ? shift_of(s) : -1;

	return shift < 0 ? 0
			 : s->fast->mean_u8(s->row, s->rows, shift,
			       s->rounding == FG_ROUND_NEAREST_EVEN, s->windows, dst);
}

static int64_t
fast_u16(const struct span *s, void *dst)
{
	int shift = s->fast ? shift_of(s) : -1;

	return shift < 0 ? 0
			 : s->fast->mean_u16(s->row, s->rows, shift,
			       s->rounding == FG_ROUND_NEAREST_EVEN, s->windows, dst);
}

static int64_t
fast_none(const struct span *s FG_UNUSED, void *dst FG_UNUSED)
{
	return 0;
}

/* A function of a span, its windows from `done` on, their width and an array: the usual
 * widths as constants, so that the loop over a window unrolls. */
#define BY_WIDTH(fn, s, done, array)                                                   \
	do {                                                                           \
		switch ((s)->width) {                                                  \
		case 1:                                                                \
			fn(s, done, 1, array);                                         \
			break;                                                         \
		case 2:                                                                \
			fn(s, done, 2, array);                                         \
			break;                                                         \
		case 3:                                                                \
			fn(s, done, 3, array);                                         \
			break;                                                         \
		case 4:                                                                \
			fn(s, done, 4, array);                                         \
			break;                                                         \
		default:                                                               \
			fn(s, done, (s)->width, array);                                \
		}                                                                      \
	} while (0)

/* mean_u8 and so on: sums are exact in the type `sum` (at most 512 voxels). fast(): how
 * many windows it has done. */
#define DEFINE_MEAN(name, type, sum_type, divide_fn, fast)                             \
	INLINE void name##_sum(const struct span *s, int64_t done, const int64_t w,    \
	    sum_type *sum)                                                             \
	{                                                                              \
		for (int64_t r = 0; r < s->rows; r++) {                                \
			const type *in = s->row[r];                                    \
                                                                                       \
			for (int64_t i = done; i < s->windows; i++) {                  \
				for (int64_t k = 0; k < w; k++)                        \
					sum[i] += (sum_type)in[i * w + k];             \
			}                                                              \
		}                                                                      \
	}                                                                              \
                                                                                       \
	static void name(const struct span *s, void *dst)                              \
	{                                                                              \
		int64_t n = s->windows, done = fast(s, dst);                           \
		sum_type sum[SPAN];                                                    \
		type *out = dst;                                                       \
                                                                                       \
		memset(sum + done, 0, (size_t)(n - done) * sizeof *sum);               \
		BY_WIDTH(name##_sum, s, done, sum);                                    \
		for (int64_t i = done; i < n; i++)                                     \
			out[i] =                                                       \
			    (type)divide_fn(sum[i], s->rows * s->width, s->rounding);  \
	}

DEFINE_MEAN(mean_u8, uint8_t, int32_t, divide, fast_u8)
DEFINE_MEAN(mean_i8, int8_t, int32_t, divide, fast_none)
DEFINE_MEAN(mean_u16, uint16_t, int32_t, divide, fast_u16)
DEFINE_MEAN(mean_i16, int16_t, int32_t, divide, fast_none)
DEFINE_MEAN(mean_u32, uint32_t, int64_t, divide, fast_none)
DEFINE_MEAN(mean_i32, int32_t, int64_t, divide, fast_none)
DEFINE_MEAN(mean_u64, uint64_t, unsigned __int128, divide_wide, fast_none)
DEFINE_MEAN(mean_f32, float, double, divide_real, fast_none)

static span_fn *const mean_fn[FG_DTYPES] = {
    [FG_U8] = mean_u8,
    [FG_I8] = mean_i8,
    [FG_U16] = mean_u16,
    [FG_I16] = mean_i16,
    [FG_U32] = mean_u32,
    [FG_I32] = mean_i32,
    [FG_U64] = mean_u64,
    [FG_F32] = mean_f32,
};

/* ------------------------------------------------------------- majorities */

static int64_t
count_of(const uint64_t *v, int64_t n, uint64_t label)
{
	int64_t count = 0;

	for (int64_t i = 0; i < n; i++)
		count += v[i] == label;
	return count;
}

static uint64_t
vote_of_many(const uint64_t *v, int64_t n)
{
	uint64_t label[WINDOW_MAX];
	int votes[WINDOW_MAX];
	int64_t labels = 0, best = 0;

	for (int64_t i = 0; i < n; i++) {
		int64_t k = 0;

		while (k < labels && label[k] != v[i])
			k++;
		if (k == labels) {
			label[labels] = v[i];
			votes[labels++] = 0;
		}
		votes[k]++;
	}
	for (int64_t k = 1; k < labels; k++) {
		if (votes[k] > votes[best])
			best = k;
	}
	return label[best];
}

/* The most frequent of v[0..n), of equals the first. Mostly two labels share a window,
 * and none of the others can have more votes than all of them together. */
static uint64_t
vote(const uint64_t *v, int64_t n)
{
	int64_t next = 1, first = count_of(v, n, v[0]), second;

	if (2 * first >= n)
		return v[0];
	while (v[next] == v[0])
		next++;
	second = count_of(v, n, v[next]);
	if (FG_MAX(first, second) < n - first - second)
		return vote_of_many(v, n);
	return second > first ? v[next] : v[0];
}

static uint64_t
vote_plane(uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	if (a == b || a == c)
		return a;
	return b == c ? b : d;
}

static int64_t
vote_u32(const struct span *s, void *dst)
{
	return s->fast ? s->fast->mode_u32(s->row, s->rows, s->windows, dst) : 0;
}

static int64_t
vote_u64(const struct span *s, void *dst)
{
	return s->fast ? s->fast->mode_u64(s->row, s->rows, s->windows, dst) : 0;
}

/* mode_u8 and so on. Nearly all windows lie inside one object, so the first question is
 * whether all their voxels are equal. */
#define DEFINE_MODE(name, type, fast)                                                  \
	static type name##_any(const struct span *s, int64_t first)                    \
	{                                                                              \
		uint64_t v[WINDOW_MAX];                                                \
		int64_t n = 0;                                                         \
                                                                                       \
		for (int64_t r = 0; r < s->rows; r++) {                                \
			const type *in = (const type *)s->row[r] + first;              \
                                                                                       \
			for (int64_t k = 0; k < s->width; k++)                         \
				v[n++] = in[k];                                        \
		}                                                                      \
		return (type)vote(v, n);                                               \
	}                                                                              \
                                                                                       \
	INLINE void name##_differ(const struct span *s, int64_t done, const int64_t w, \
	    type *differ)                                                              \
	{                                                                              \
		const type *first = s->row[0];                                         \
                                                                                       \
		for (int64_t r = 0; r < s->rows; r++) {                                \
			const type *in = s->row[r];                                    \
                                                                                       \
			for (int64_t i = done; i < s->windows; i++) {                  \
				for (int64_t k = 0; k < w; k++)                        \
					differ[i] |= in[i * w + k] ^ first[i * w];     \
			}                                                              \
		}                                                                      \
	}                                                                              \
                                                                                       \
	static void name(const struct span *s, void *dst)                              \
	{                                                                              \
		const type *r0 = s->row[0], *r1 = s->row[s->rows > 1 ? 1 : 0];         \
		int64_t n = s->windows, w = s->width, done = 0;                        \
		type differ[SPAN], *out = dst;                                         \
                                                                                       \
		if (w == 2 && s->ny == 2 && s->nz <= 2)                                \
			done = fast(s, dst);                                           \
		if (w == 2 && s->ny == 2 && s->nz == 1) {                              \
			for (int64_t i = 2 * done; i < 2 * n; i += 2)                  \
				out[i / 2] = (type)vote_plane(r0[i], r0[i + 1], r1[i], \
				    r1[i + 1]);                                        \
			return;                                                        \
		}                                                                      \
		memset(differ + done, 0, (size_t)(n - done) * sizeof *differ);         \
		BY_WIDTH(name##_differ, s, done, differ);                              \
		for (int64_t i = done; i < n; i++)                                     \
			out[i] = differ[i] ? name##_any(s, i * w) : r0[i * w];         \
	}

DEFINE_MODE(mode_u8, uint8_t, fast_none)
DEFINE_MODE(mode_u16, uint16_t, fast_none)
DEFINE_MODE(mode_u32, uint32_t, vote_u32)
DEFINE_MODE(mode_u64, uint64_t, vote_u64)

static span_fn *const mode_fn[FG_DTYPES] = {
    [FG_U8] = mode_u8,
    [FG_U16] = mode_u16,
    [FG_U32] = mode_u32,
    [FG_U64] = mode_u64,
};

/* ------------------------------------------------------------- the walk */

void
fg_downsample_shape(const int64_t src[4], const int64_t factor[3], int64_t out[4])
{
	for (int d = 0; d < 3; d++)
		out[d] = fg_div_ceil(src[d], factor[d]);
	out[3] = src[3];
}

static int
check(const struct fg_array *src, const int64_t factor[3], const struct fg_array *dst,
    struct fg_err *err)
{
	int64_t want[4];

	for (int d = 0; d < 3; d++) {
		if (factor[d] < 1 || factor[d] > FG_DOWNSAMPLE_FACTOR_MAX)
			return fg_fail(err, FG_EINVAL,
			    "downsampling factor %lld on axis %c, wanted 1 to %d",
			    (long long)factor[d], "xyz"[d], FG_DOWNSAMPLE_FACTOR_MAX);
	}
	if (src->dtype != dst->dtype)
		return fg_fail(err, FG_EINVAL, "downsampling %s to %s",
		    fg_dtype_name(src->dtype), fg_dtype_name(dst->dtype));
	fg_downsample_shape(src->shape, factor, want);
	for (int d = 0; d < 4; d++) {
		if (dst->shape[d] != want[d])
			return fg_fail(err, FG_EINVAL,
			    "downsampled array has %lld on axis %d, wanted %lld",
			    (long long)dst->shape[d], d, (long long)want[d]);
	}
	return 0;
}

/* One coarse row, at `dst`, whose fine rows begin at s->row. */
static void
walk_row(struct span *s, const struct fg_array *src, int64_t fx, span_fn *fn,
    uint8_t *dst)
{
	size_t size = fg_dtype_size(src->dtype);
	int64_t nx = src->shape[0], x = 0;

	while (x < nx) {
		int64_t whole = (nx - x) / fx;

		s->width = whole ? fx : nx - x;
		s->windows = whole ? FG_MIN(whole, (int64_t)SPAN) : 1;
		fn(s, dst);
		int64_t step = s->windows * s->width;
		for (int64_t r = 0; r < s->rows; r++)
			s->row[r] = (const uint8_t *)s->row[r] + size * (size_t)step;
		dst += size * (size_t)s->windows;
		x += step;
	}
}

/* The coarse rows of one channel; no divisions in here, rows may be short. */
static void
walk_volume(struct span *s, const struct fg_array *src, const uint8_t *in,
    const int64_t factor[3], span_fn *fn, const int64_t m[3], uint8_t *out)
{
	size_t size = fg_dtype_size(src->dtype), row = size * (size_t)src->shape[0];
	const int64_t *n = src->shape;

	for (int64_t z = 0; z < n[2]; z += factor[2]) {
		s->nz = FG_MIN(factor[2], n[2] - z);
		for (int64_t y = 0; y < n[1]; y += factor[1]) {
			const void **to = s->row;

			s->ny = FG_MIN(factor[1], n[1] - y);
			s->rows = s->ny * s->nz;
			for (int64_t k = z; k < z + s->nz; k++) {
				for (int64_t j = y; j < y + s->ny; j++)
					*to++ = in + row * (size_t)(k * n[1] + j);
			}
			walk_row(s, src, factor[0], fn, out);
			out += size * (size_t)m[0];
		}
	}
}

static void
walk(const struct fg_array *src, const int64_t factor[3], enum fg_rounding rounding,
    span_fn *fn, struct fg_array *dst)
{
	struct span s = {.rounding = rounding, .fast = fg_downsample_avx2()};
	const int64_t *n = src->shape, *m = dst->shape;
	size_t size = fg_dtype_size(src->dtype);

	for (int64_t c = 0; c < n[3]; c++)
		walk_volume(&s, src,
		    (const uint8_t *)src->data +
			size * (size_t)(c * n[0] * n[1] * n[2]),
		    factor, fn, m,
		    (uint8_t *)dst->data + size * (size_t)(c * m[0] * m[1] * m[2]));
}

int
fg_downsample_mean(const struct fg_array *src, const int64_t factor[3],
    enum fg_rounding rounding, struct fg_array *dst, struct fg_err *err)
{
	if (check(src, factor, dst, err) < 0)
		return -1;
	walk(src, factor, rounding, mean_fn[src->dtype], dst);
	return 0;
}

int
fg_downsample_mode(const struct fg_array *src, const int64_t factor[3],
    struct fg_array *dst, struct fg_err *err)
{
	if (!mode_fn[src->dtype])
		return fg_fail(err, FG_EINVAL,
		    "labels are uint8, uint16, uint32 or uint64, found %s",
		    fg_dtype_name(src->dtype));
	if (check(src, factor, dst, err) < 0)
		return -1;
	walk(src, factor, FG_ROUND_FLOOR, mode_fn[src->dtype], dst);
	return 0;
}

/* ------------------------------------------------------------- sparse data */

/* sparse_u8 and so on: the values that are not 0, then their mean or vote. */
#define DEFINE_SPARSE(name, type, sum_type, divide_fn)                                 \
	static int64_t name##_take(const struct span *s, int64_t i, type *v)           \
	{                                                                              \
		int64_t n = 0;                                                         \
                                                                                       \
		for (int64_t r = 0; r < s->rows; r++) {                                \
			const type *in = (const type *)s->row[r] + i * s->width;       \
                                                                                       \
			for (int64_t k = 0; k < s->width; k++) {                       \
				if (in[k] != 0)                                        \
					v[n++] = in[k];                                \
			}                                                              \
		}                                                                      \
		return n;                                                              \
	}                                                                              \
                                                                                       \
	static void name(const struct span *s, void *dst)                              \
	{                                                                              \
		type v[WINDOW_MAX], *out = dst;                                        \
                                                                                       \
		for (int64_t i = 0; i < s->windows; i++) {                             \
			int64_t n = name##_take(s, i, v);                              \
			sum_type sum = 0;                                              \
                                                                                       \
			for (int64_t k = 0; k < n; k++)                                \
				sum += (sum_type)v[k];                                 \
			out[i] = n ? (type)divide_fn(sum, n, s->rounding) : 0;         \
		}                                                                      \
	}

#define DEFINE_SPARSE_MODE(name, type)                                                 \
	static void name##_mode(const struct span *s, void *dst)                       \
	{                                                                              \
		type v[WINDOW_MAX], *out = dst;                                        \
		uint64_t wide[WINDOW_MAX];                                             \
                                                                                       \
		for (int64_t i = 0; i < s->windows; i++) {                             \
			int64_t n = name##_take(s, i, v);                              \
                                                                                       \
			for (int64_t k = 0; k < n; k++)                                \
				wide[k] = v[k];                                        \
			out[i] = n ? (type)vote(wide, n) : 0;                          \
		}                                                                      \
	}

DEFINE_SPARSE(sparse_u8, uint8_t, int64_t, divide)
DEFINE_SPARSE(sparse_i8, int8_t, int64_t, divide)
DEFINE_SPARSE(sparse_u16, uint16_t, int64_t, divide)
DEFINE_SPARSE(sparse_i16, int16_t, int64_t, divide)
DEFINE_SPARSE(sparse_u32, uint32_t, int64_t, divide)
DEFINE_SPARSE(sparse_i32, int32_t, int64_t, divide)
DEFINE_SPARSE(sparse_u64, uint64_t, unsigned __int128, divide_wide)
DEFINE_SPARSE(sparse_f32, float, double, divide_real)
DEFINE_SPARSE_MODE(sparse_u8, uint8_t)
DEFINE_SPARSE_MODE(sparse_u16, uint16_t)
DEFINE_SPARSE_MODE(sparse_u32, uint32_t)
DEFINE_SPARSE_MODE(sparse_u64, uint64_t)

static span_fn *const sparse_fn[2][FG_DTYPES] = {
    {
	[FG_U8] = sparse_u8,
	[FG_I8] = sparse_i8,
	[FG_U16] = sparse_u16,
	[FG_I16] = sparse_i16,
	[FG_U32] = sparse_u32,
	[FG_I32] = sparse_i32,
	[FG_U64] = sparse_u64,
	[FG_F32] = sparse_f32,
    },
    {
	[FG_U8] = sparse_u8_mode,
	[FG_U16] = sparse_u16_mode,
	[FG_U32] = sparse_u32_mode,
	[FG_U64] = sparse_u64_mode,
    },
};

int
fg_downsample_sparse(const struct fg_array *src, const int64_t factor[3], bool labels,
    enum fg_rounding rounding, struct fg_array *dst, struct fg_err *err)
{
	span_fn *fn = sparse_fn[labels][src->dtype];

	if (!fn)
		return fg_fail(err, FG_EINVAL,
		    "labels are uint8, uint16, uint32 or uint64, found %s",
		    fg_dtype_name(src->dtype));
	if (check(src, factor, dst, err) < 0)
		return -1;
	walk(src, factor, rounding, fn, dst);
	return 0;
}
