/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PolicyPeaks in five passes over the box. Filters are separable and run in double
 * with the result of each axis rounded to float, in the order of additions that
 * scipy.ndimage uses, since an edge is a strict comparison of two such floats. (The
 * compiler must not fuse multiplications and additions: -ffp-contract=off.)
 *
 * Along x a filter slides over one padded row; along y and z whole rows are added up,
 * so that all three run over contiguous memory. Peaks are found on a ring of slices,
 * since the noise needs doubles and a volume of them would be the largest thing here.
 */
#include "config.h"

#include "seg/seeds.h"

#include <math.h>
#include <stdlib.h>

#define SIGMA (49.0 / 6.0) /* blur of the magnitude: the policy's constant */
#define BLUR_RADIUS 33     /* 4 sigma, rounded */
#define MIN_DISTANCE 3     /* between peaks, and from the border */
#define NOISE 1e-4
#define NOISE_SEED 42

/* ------------------------------------------------------------- noise */

void
fg_mt19937_init(struct fg_mt19937 *g, uint32_t seed)
{
	g->state[0] = seed;
	for (uint32_t i = 1; i < 624; i++) {
		uint32_t s = g->state[i - 1];

		g->state[i] = 1812433253u * (s ^ s >> 30) + i;
	}
	g->next = 624;
}

static void
mt_refill(struct fg_mt19937 *g)
{
	uint32_t *s = g->state;

	for (int i = 0; i < 624; i++) {
		uint32_t y = (s[i] & 0x80000000u) | (s[(i + 1) % 624] & 0x7fffffffu);

		s[i] = s[(i + 397) % 624] ^ y >> 1 ^ (y & 1 ? 0x9908b0dfu : 0);
	}
	g->next = 0;
}

static uint32_t
mt_u32(struct fg_mt19937 *g)
{
	if (g->next == 624)
		mt_refill(g);
	uint32_t y = g->state[g->next++];

	y ^= y >> 11;
	y ^= y << 7 & 0x9d2c5680u;
	y ^= y << 15 & 0xefc60000u;
	return y ^ y >> 18;
}

double
fg_mt19937_double(struct fg_mt19937 *g)
{
	uint32_t a = mt_u32(g) >> 5, b = mt_u32(g) >> 6;

	return (a * 67108864.0 + b) / 9007199254740992.0;
}

/* ----------------------------------------------------------- filters */

/* A symmetric or antisymmetric kernel: w[0] the centre, w[k] at distance k. */
struct kernel {
	int radius;
	bool anti; /* value at -k is minus that at +k */
	double w[BLUR_RADIUS + 1];
};

/* Index of a border-reflected position (d c b a | a b c d | d c b a). */
static int64_t
reflect(int64_t i, int64_t n)
{
	int64_t period = 2 * n;

	i %= period;
	if (i < 0)
		i += period;
	return i < n ? i : period - 1 - i;
}

/* acc = in[at] * w0 + (lower +- upper) * w, lowest first. `row` gives the row at a
 * distance: stride floats apart, reflected. */
static void
filter_rows(const float *in, int64_t at, int64_t n, size_t stride, size_t width,
    const struct kernel *k, double *acc, float *out)
{
	const float *mid = in + (size_t)at * stride;

	for (size_t x = 0; x < width; x++)
		acc[x] = (double)mid[x] * k->w[0];
	for (int r = k->radius; r >= 1; r--) {
		const float *lo = in + (size_t)reflect(at - r, n) * stride;
		const float *hi = in + (size_t)reflect(at + r, n) * stride;
		double w = k->w[r];

		if (w == 0)
			continue;
		if (k->anti) {
			for (size_t x = 0; x < width; x++)
				acc[x] += ((double)lo[x] - (double)hi[x]) * w;
		} else {
			for (size_t x = 0; x < width; x++)
				acc[x] += ((double)lo[x] + (double)hi[x]) * w;
		}
	}
	for (size_t x = 0; x < width; x++)
		out[x] = (float)acc[x];
}

/* One row along itself; pad has n + 2 * radius doubles. */
static void
filter_line(const float *in, int64_t n, const struct kernel *k, double *pad,
    double *acc, float *out)
{
	int r0 = k->radius;
	const double *mid = pad + r0;

	for (int64_t i = -r0; i < n + r0; i++)
		pad[i + r0] = (double)in[i >= 0 && i < n ? i : reflect(i, n)];
	for (int64_t x = 0; x < n; x++)
		acc[x] = mid[x] * k->w[0];
	for (int r = r0; r >= 1; r--) {
		double w = k->w[r];

		if (w == 0)
			continue;
		if (k->anti) {
			for (int64_t x = 0; x < n; x++)
				acc[x] += (mid[x - r] - mid[x + r]) * w;
		} else {
			for (int64_t x = 0; x < n; x++)
				acc[x] += (mid[x - r] + mid[x + r]) * w;
		}
	}
	for (int64_t x = 0; x < n; x++)
		out[x] = (float)acc[x];
}

/* Space for the filters of one box: lines of doubles and a copy of some rows. */
struct filter_work {
	double *acc, *pad;
	float *rows;
};

static int
work_init(struct filter_work *w, const int64_t shape[3], struct fg_err *err)
{
	size_t nx = (size_t)shape[0];
	size_t longest = (size_t)FG_MAX(shape[1], shape[2]);

	w->acc = fg_try_alloc(nx, sizeof *w->acc);
	w->pad = fg_try_alloc(nx + 2 * BLUR_RADIUS, sizeof *w->pad);
	w->rows = fg_try_alloc(nx * longest, sizeof *w->rows);
	if (!w->acc || !w->pad || !w->rows)
		return fg_fail(err, FG_ENOMEM, "no memory for rows of %zu voxels", nx);
	return 0;
}

static void
work_fini(struct filter_work *w)
{
	free(w->acc);
	free(w->pad);
	free(w->rows);
}

/* Filter a volume in place along one axis. */
static void
filter_axis(float *v, const int64_t shape[3], int axis, const struct kernel *k,
    struct filter_work *w)
{
	size_t nx = (size_t)shape[0], ny = (size_t)shape[1], nz = (size_t)shape[2];

	if (axis == 0) {
		for (size_t row = 0; row < ny * nz; row++)
			filter_line(v + row * nx, shape[0], k, w->pad, w->acc,
			    v + row * nx);
		return;
	}
	size_t stride = axis == 1 ? nx : nx * ny, outer = axis == 1 ? nx * ny : nx;
	size_t n = axis == 1 ? ny : nz, planes = axis == 1 ? nz : ny;
	for (size_t p = 0; p < planes; p++) {
		float *first = v + p * outer;

		for (size_t i = 0; i < n; i++)
			memcpy(w->rows + i * nx, first + i * stride, nx * sizeof *v);
		for (size_t i = 0; i < n; i++)
			filter_rows(w->rows, (int64_t)i, (int64_t)n, nx, nx, k, w->acc,
			    first + i * stride);
	}
}

static void
blur_kernel(struct kernel *k)
{
	double sum = 0;

	k->radius = BLUR_RADIUS;
	k->anti = false;
	for (int i = 0; i <= BLUR_RADIUS; i++)
		k->w[i] = exp(-0.5 / (SIGMA * SIGMA) * (double)(i * i));
	for (int i = -BLUR_RADIUS; i <= BLUR_RADIUS; i++)
		sum += k->w[abs(i)];
	for (int i = 0; i <= BLUR_RADIUS; i++)
		k->w[i] /= sum;
}

/* ------------------------------------------------------------- edges */

static void
normalise(const struct fg_array *image, const struct fg_net_shape *s, float *out)
{
	size_t n = fg_array_count(image);
	const float mean = (float)s->mean, stddev = (float)s->stddev;

	if (image->dtype == FG_U8) {
		const uint8_t *p = image->data;
		for (size_t i = 0; i < n; i++)
			out[i] = ((float)p[i] - mean) / stddev;
	} else {
		const uint16_t *p = image->data;
		for (size_t i = 0; i < n; i++)
			out[i] = ((float)p[i] - mean) / stddev;
	}
}

/* magnitude: sqrt of the summed squares of the Sobel derivatives, z axis first. part:
 * a volume to work in. */
static int
sobel_magnitude(const struct fg_array *image, const struct fg_net_shape *s,
    float *magnitude, float *part, struct filter_work *w, const _Atomic bool *cancel,
    struct fg_err *err)
{
	const struct kernel slope = {.radius = 1, .anti = true, .w = {0, -1}};
	const struct kernel smooth = {.radius = 1, .w = {2, 1}};
	size_t n = fg_array_count(image);

	for (int axis = 2; axis >= 0; axis--) {
		if (cancel && *cancel)
			return fg_fail(err, FG_ECANCELED, "cancelled");
		normalise(image, s, part);
		filter_axis(part, image->shape, axis, &slope, w);
		for (int d = 2; d >= 0; d--) {
			if (d != axis)
				filter_axis(part, image->shape, d, &smooth, w);
		}
		for (size_t i = 0; i < n; i++) {
			float square = part[i] * part[i];

			magnitude[i] = axis == 2 ? square : magnitude[i] + square;
		}
	}
	for (size_t i = 0; i < n; i++)
		magnitude[i] = sqrtf(magnitude[i]);
	return 0;
}

/* edge[i] = 1 where the magnitude is above its blur or there is no data. a, b: volumes
 * to work in. Returns the number of edges, -1 on failure. */
static int64_t
find_edges(const struct fg_array *image, const struct fg_array *mask,
    const struct fg_net_shape *s, float *a, float *b, uint8_t *edge,
    const _Atomic bool *cancel, struct fg_err *err)
{
	struct filter_work w = {0};
	struct kernel blur;
	size_t n = fg_array_count(image);
	int64_t edges = -1;

	if (work_init(&w, image->shape, err) < 0 ||
	    sobel_magnitude(image, s, a, b, &w, cancel, err) < 0)
		goto out;
	blur_kernel(&blur);
	memcpy(b, a, n * sizeof *a);
	for (int axis = 2; axis >= 0; axis--) {
		if (cancel && *cancel) {
			fg_fail(err, FG_ECANCELED, "cancelled");
			goto out;
		}
		filter_axis(b, image->shape, axis, &blur, &w);
	}
	edges = 0;
	for (size_t i = 0; i < n; i++) {
		edge[i] = a[i] > b[i];
		if (mask && ((const uint8_t *)mask->data)[i])
			edge[i] = 1;
		edges += edge[i];
	}
out:
	work_fini(&w);
	return edges;
}

/* ---------------------------------------------------------- distance */

/* Lower envelope of parabolas: place and start of each. */
struct envelope {
	double *f, *start;
	int64_t *place;
};

/* f[i] (squared distances so far) becomes min over j of f[j] + (step * (i - j))^2. */
static void
distance_line(const struct envelope *e, int64_t n, double step, float *v, size_t stride)
{
	double s2 = step * step;
	int64_t top = -1, k = 0;

	for (int64_t i = 0; i < n; i++) {
		double f = (double)v[(size_t)i * stride], from = -INFINITY;

		e->f[i] = f;
		if (isinf(f))
			continue;
		while (top >= 0) {
			int64_t j = e->place[top];

			from = ((f - e->f[j]) / s2 + (double)(i * i - j * j)) /
			       (2 * (double)(i - j));
			if (from > e->start[top])
				break;
			top--;
			from = -INFINITY;
		}
		e->place[++top] = i;
		e->start[top] = from;
	}
	if (top < 0)
		return; /* no edge in this line: all stay infinite */
	for (int64_t i = 0; i < n; i++) {
		while (k < top && e->start[k + 1] < (double)i)
			k++;
		double d = (double)(i - e->place[k]);
		v[(size_t)i * stride] = (float)(e->f[e->place[k]] + d * d * s2);
	}
}

int
fg_seeds_distance2(const uint8_t *edge, const int64_t shape[3], const double step[3],
    float *dist, struct fg_err *err)
{
	size_t nx = (size_t)shape[0], ny = (size_t)shape[1], nz = (size_t)shape[2];
	size_t longest = FG_MAX(nx, FG_MAX(ny, nz));
	struct envelope e = {
	    .f = fg_try_alloc(longest, sizeof *e.f),
	    .start = fg_try_alloc(longest, sizeof *e.start),
	    .place = fg_try_alloc(longest, sizeof *e.place),
	};
	int rc = -1;

	if (!e.f || !e.start || !e.place) {
		fg_fail(err, FG_ENOMEM, "no memory for a row of %zu voxels", longest);
		goto out;
	}
	for (size_t i = 0; i < nx * ny * nz; i++)
		dist[i] = edge[i] ? 0 : INFINITY;
	for (size_t row = 0; row < ny * nz; row++)
		distance_line(&e, shape[0], step[0], dist + row * nx, 1);
	for (size_t z = 0; z < nz; z++) {
		for (size_t x = 0; x < nx; x++)
			distance_line(&e, shape[1], step[1], dist + z * nx * ny + x,
			    nx);
	}
	for (size_t i = 0; i < nx * ny; i++)
		distance_line(&e, shape[2], step[2], dist + i, nx * ny);
	rc = 0;
out:
	free(e.f);
	free(e.start);
	free(e.place);
	return rc;
}

/* ------------------------------------------------------------- peaks */

#define RING (2 * MIN_DISTANCE + 1)

/* Slices of the distance with noise, and of its maximum over 7x7 within the slice. */
struct ring {
	double *value[RING], *max[RING];
	double *rows; /* work space, one slice */
};

static int
ring_init(struct ring *r, size_t slice, struct fg_err *err)
{
	bool ok = (r->rows = fg_try_alloc(slice, sizeof(double))) != NULL;

	for (int i = 0; i < RING; i++) {
		r->value[i] = fg_try_alloc(slice, sizeof(double));
		r->max[i] = fg_try_alloc(slice, sizeof(double));
		ok = ok && r->value[i] && r->max[i];
	}
	return ok ? 0 : fg_fail(err, FG_ENOMEM, "no memory for slices of %zu", slice);
}

static void
ring_fini(struct ring *r)
{
	for (int i = 0; i < RING; i++) {
		free(r->value[i]);
		free(r->max[i]);
	}
	free(r->rows);
}

/* Distance (float), or -1 where there is none or no data, plus the next noise. */
static void
fill_slice(double *value, const float *dist2, const uint8_t *mask, size_t n,
    struct fg_mt19937 *g)
{
	for (size_t i = 0; i < n; i++) {
		float d = (float)sqrt((double)dist2[i]);

		if ((mask && mask[i]) || !isfinite(d))
			d = -1;
		value[i] = (double)d + NOISE * fg_mt19937_double(g);
	}
}

/* max over 7x7, clipped at the slice's border. */
static void
slice_max(const double *v, int64_t nx, int64_t ny, double *rows, double *out)
{
	for (int64_t y = 0; y < ny; y++) {
		for (int64_t x = 0; x < nx; x++) {
			int64_t hi = FG_MIN(x + MIN_DISTANCE, nx - 1);
			double m = -INFINITY;

			for (int64_t i = FG_MAX(x - MIN_DISTANCE, 0); i <= hi; i++)
				m = FG_MAX(m, v[y * nx + i]);
			rows[y * nx + x] = m;
		}
	}
	for (int64_t y = 0; y < ny; y++) {
		int64_t lo = FG_MAX(y - MIN_DISTANCE, 0);
		int64_t hi = FG_MIN(y + MIN_DISTANCE, ny - 1);

		memcpy(out + y * nx, rows + lo * nx, (size_t)nx * sizeof *out);
		for (int64_t i = lo + 1; i <= hi; i++) {
			for (int64_t x = 0; x < nx; x++)
				out[y * nx + x] =
				    FG_MAX(out[y * nx + x], rows[i * nx + x]);
		}
	}
}

static void
add_seed(struct fg_seeds *s, size_t *cap, int64_t x, int64_t y, int64_t z)
{
	if (s->n == *cap) {
		*cap = *cap ? 2 * *cap : 1024;
		s->at = fg_realloc(s->at, *cap, sizeof *s->at);
	}
	s->at[s->n][0] = (int32_t)x;
	s->at[s->n][1] = (int32_t)y;
	s->at[s->n][2] = (int32_t)z;
	s->n++;
}

/* Peaks of slice z, with all its neighbours in the ring. */
static void
slice_peaks(const struct ring *r, const int64_t shape[3], const int64_t margin[3],
    int64_t z, struct fg_seeds *s, size_t *cap)
{
	const double *value = r->value[z % RING];
	const int64_t b = MIN_DISTANCE, nx = shape[0], ny = shape[1];

	for (int64_t y = b; y < ny - b; y++) {
		for (int64_t x = b; x < nx - b; x++) {
			double v = value[y * nx + x];
			bool peak = v > 0;

			for (int i = 0; peak && i < RING; i++)
				peak = v >= r->max[i][y * nx + x];
			if (!peak)
				continue;
			s->peaks++;
			if (x >= margin[0] && x + margin[0] < nx && y >= margin[1] &&
			    y + margin[1] < ny && z >= margin[2] &&
			    z + margin[2] < shape[2])
				add_seed(s, cap, x, y, z);
		}
	}
}

static int
find_peaks(const float *dist2, const int64_t shape[3], const struct fg_array *mask,
    const struct fg_net_shape *net, struct fg_seeds *s, struct fg_err *err)
{
	size_t slice = (size_t)(shape[0] * shape[1]), cap = 0;
	const uint8_t *no_data = mask ? mask->data : NULL;
	struct fg_mt19937 *g = fg_alloc(sizeof *g);
	struct ring r = {0};
	int64_t margin[3];
	int rc = -1;

	fg_mt19937_init(g, NOISE_SEED);
	for (int d = 0; d < 3; d++)
		margin[d] = net->fov[d] / 2;
	if (ring_init(&r, slice, err) < 0)
		goto out;
	for (int64_t z = 0; z < shape[2]; z++) {
		size_t at = (size_t)z * slice;

		fill_slice(r.value[z % RING], dist2 + at, no_data ? no_data + at : NULL,
		    slice, g);
		slice_max(r.value[z % RING], shape[0], shape[1], r.rows,
		    r.max[z % RING]);
		if (z >= RING - 1)
			slice_peaks(&r, shape, margin, z - MIN_DISTANCE, s, &cap);
	}
	rc = 0;
out:
	ring_fini(&r);
	free(g);
	return rc;
}

static void
relative_steps(const double voxel_nm[3], double step[3])
{
	double least = FG_MIN(voxel_nm[0], FG_MIN(voxel_nm[1], voxel_nm[2]));

	for (int d = 0; d < 3; d++)
		step[d] = voxel_nm[d] / least;
}

int
fg_seeds_peaks(const struct fg_array *image, const struct fg_array *mask,
    const struct fg_net_shape *shape, const double voxel_nm[3],
    const _Atomic bool *cancel, struct fg_seeds *out, struct fg_err *err)
{
	size_t n = fg_array_count(image);
	float *a = fg_try_alloc(n, sizeof *a), *b = fg_try_alloc(n, sizeof *b);
	uint8_t *edge = fg_try_alloc(n, sizeof *edge);
	struct fg_seeds s = {.n = 0};
	double step[3], far = 0;
	int64_t edges;
	int rc = -1;

	if (!a || !b || !edge) {
		fg_fail(err, FG_ENOMEM, "no memory for the seeds of %zu voxels", n);
		goto out;
	}
	edges = find_edges(image, mask, shape, a, b, edge, cancel, err);
	if (edges < 0)
		goto out;
	free(b);
	b = NULL;
	s.edge = n ? (double)edges / (double)n : 0;
	if (edges > 0 && (size_t)edges < n) {
		relative_steps(voxel_nm, step);
		if (fg_seeds_distance2(edge, image->shape, step, a, err) < 0)
			goto out;
		for (size_t i = 0; i < n; i++)
			far = FG_MAX(far, (double)a[i]);
		s.distance_max = sqrt(far);
		if (cancel && *cancel) {
			fg_fail(err, FG_ECANCELED, "cancelled");
			goto out;
		}
		if (find_peaks(a, image->shape, mask, shape, &s, err) < 0)
			goto out;
	}
	*out = s;
	s.at = NULL;
	rc = 0;
out:
	free(s.at);
	free(edge);
	free(b);
	free(a);
	return rc;
}

void
fg_seeds_fini(struct fg_seeds *s)
{
	free(s->at);
	*s = (struct fg_seeds){.n = 0};
}
