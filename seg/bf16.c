/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 3x3x3 convolutions of 32 to 32 channels as products of tiles.
 *
 * A plane of activations is a list of voxels, 32 bf16 (one row of a tile) each, rows of
 * the image one after the other with one voxel of zeros between them: the right border
 * of one row is the left border of the next. Sixteen successive voxels are a tile as
 * they lie in memory, also when shifted by a tap of the kernel. Results at the zeros
 * between rows are masked when they are stored.
 *
 * The 27 taps are taken one kernel plane (nine taps, 18 KiB of weights) at a time over
 * a strip of voxels whose sums wait in memory: weights, sums and activations of that
 * stay in the first-level cache, which the 55 KiB of a whole kernel would not.
 *
 * Two convolutions make a module. They run plane by plane, the second one plane behind
 * the first, so that what lies between them is three planes in the second-level cache;
 * the activations are replaced in place behind both. The residual stream is float.
 *
 * The first convolution, of two channels, is done in float, for a millisecond of some
 * 25: the logits of the object map lose in bf16 what all layers after it build on
 * (bench/RESULTS.md has what it is worth, tests/seg/test_onednn prints the error).
 */
#include "config.h"

#include "seg/bf16.h"

#include <stdlib.h>

void
fg_bf16_of_taps(const float *w, size_t stride, uint16_t out[27])
{
	float owed = 0;

	for (int t = 0; t < 27; t++, w += stride) {
		float want = *w + owed;

		out[t] = fg_bf16_of(want);
		owed = want - fg_bf16_to(out[t]);
	}
}

#if defined(__x86_64__)

#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#define VECTORS __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16")))
#define TILES                                                                          \
	__attribute__((                                                                \
	    target("amx-tile,amx-bf16,avx512f,avx512bw,avx512vl,avx512bf16")))

#define FEATURES 32
#define TILE 16         /* rows of a tile */
#define TILE_BYTES 1024 /* 16 rows of 64 bytes */
#define TAP_BYTES 2048  /* weights of a tap: 32 x 32 bf16 */
#define VOXEL_BYTES 64  /* activations of a voxel: 32 bf16 */
#define STRIP 64        /* voxels whose sums are in work */
#define RING 3          /* planes between two convolutions */
#define FIRST_WEIGHTS (27 * 2 * FEATURES)
#define VOXELS 8 /* of the first convolution at a time */
#define ARCH_REQ_XCOMP_PERM 0x1023
#define XFEATURE_XTILEDATA 18

struct bf16_model {
	struct fg_model base;
	int depth;
	int64_t nx, ny, nz;   /* field of view */
	int64_t row;          /* voxels from a row to the next: nx + 1 */
	int64_t first;        /* place of voxel 0, 0 in a plane */
	int64_t strips;       /* of a plane */
	int64_t plane;        /* voxels of a plane with all borders */
	float *first_weights; /* of the first convolution: [tap][in][out] */
	uint8_t *weights;     /* of the other 3x3x3 convolutions, as tiles */
	float *bias;          /* 32 of each */
	float last[FEATURES], last_bias;
	uint32_t *valid;  /* of each voxel from `first`: all ones, or 0 for borders */
	float *in;        /* planes of 2 channels */
	uint16_t *active; /* planes: relu of the residual stream */
	uint16_t *mid;    /* RING planes */
	float *residual;  /* planes of strips * STRIP voxels, no borders above, below */
	float *sums;      /* of one strip */
};

/* One convolution's taps on one plane: where activations and weights are. */
struct taps {
	const uint8_t *a[27], *w[27];
	int n; /* how many */
	const float *bias;
};

/* ------------------------------------------------------------- loading */

/* 32 features everywhere. */
static bool
has_shape(const struct fg_net *net)
{
	for (int i = 0; i < net->convs; i++) {
		const struct fg_conv *k = &net->conv[i];

		if (i < net->convs - 1 ? k->out != FEATURES : k->in != FEATURES)
			return false;
	}
	return true;
}

bool
fg_bf16_has_tiles(void)
{
	unsigned a, b, c, d;

	/* These also ask whether the system saves vectors of that width. */
	if (!__builtin_cpu_supports("avx512bw") ||
	    !__builtin_cpu_supports("avx512vl") ||
	    !__builtin_cpu_supports("avx512bf16"))
		return false;
	if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d & 1u << 22 && d & 1u << 24))
		return false;
	/* Linux saves tiles only for processes that have asked. */
	return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}

bool
fg_bf16_can_run(const struct fg_net *net)
{
	return has_shape(net) && fg_bf16_has_tiles();
}

/*
 * A tap is two tiles, one for each half of the outputs: row r holds inputs 2r, 2r + 1
 * of 16 outputs.
 */
static void
pack_taps(uint16_t *to, const float *w)
{
	for (int i = 0; i < FEATURES; i++) {
		for (int o = 0; o < FEATURES; o++) {
			uint16_t *at = to + (o / TILE * TILE + i / 2) * FEATURES +
				       o % TILE * 2 + i % 2;
			uint16_t taps[27];

			fg_bf16_of_taps(w + i * FEATURES + o, FEATURES * FEATURES,
			    taps);
			for (int t = 0; t < 27; t++)
				at[t * TAP_BYTES / 2] = taps[t];
		}
	}
}

static void
pack(struct bf16_model *m, const struct fg_net *net)
{
	memcpy(m->first_weights, net->conv[0].w, FIRST_WEIGHTS * sizeof(float));
	for (int c = 0; c < 2 * m->depth; c++) {
		const struct fg_conv *k = &net->conv[c];
		uint8_t *to = m->weights + (size_t)(c - 1) * 27 * TAP_BYTES;

		if (c > 0)
			pack_taps((uint16_t *)to, k->w);
		memcpy(m->bias + (size_t)c * FEATURES, k->b, FEATURES * sizeof(float));
	}
	memcpy(m->last, net->conv[net->convs - 1].w, sizeof m->last);
	m->last_bias = net->conv[net->convs - 1].b[0];
}

static void *
zeroed(size_t n, size_t size)
{
	void *p = fg_try_alloc(n, size);

	if (p)
		memset(p, 0, n * size);
	return p;
}

static void
bf16_unload(struct fg_model *base)
{
	struct bf16_model *m = (struct bf16_model *)base;

	if (!m)
		return;
	free(m->first_weights);
	free(m->weights);
	free(m->bias);
	free(m->valid);
	free(m->in);
	free(m->active);
	free(m->mid);
	free(m->residual);
	free(m->sums);
	free(m);
}

static void
measure(struct bf16_model *m)
{
	m->nx = m->base.fov[0];
	m->ny = m->base.fov[1];
	m->nz = m->base.fov[2];
	m->row = m->nx + 1;
	m->first = m->row + 1;
	m->strips = fg_div_ceil((m->ny - 1) * m->row + m->nx, STRIP);
	/* A tap reaches row + 1 voxels back and on. */
	m->plane = m->first + m->strips * STRIP + m->row + 1;
}

static int bf16_forward(struct fg_model *, int, const float *, float *,
    struct fg_err *);

static const struct fg_backend bf16_backend = {
    .abi = FG_BACKEND_ABI,
    .size = sizeof(struct fg_backend),
    .name = "cpu",
    .unload = bf16_unload,
    .forward = bf16_forward,
};

int
fg_bf16_load(const struct fg_net *net, struct fg_model **out, struct fg_err *err)
{
	struct bf16_model *m = fg_calloc(1, sizeof *m);

	m->base.backend = &bf16_backend;
	m->base.batch_max = 1;
	memcpy(m->base.fov, net->shape.fov, sizeof m->base.fov);
	m->depth = net->depth;
	measure(m);

	size_t planes = (size_t)m->nz, voxels = (size_t)m->plane;
	size_t strip_voxels = (size_t)m->strips * STRIP;
	m->first_weights = zeroed(FIRST_WEIGHTS, sizeof(float));
	m->weights = zeroed(((size_t)m->depth * 2 - 1) * 27, TAP_BYTES);
	m->bias = zeroed((size_t)m->depth * 2 * FEATURES, sizeof(float));
	m->valid = zeroed(strip_voxels, sizeof *m->valid);
	m->in = zeroed(planes * voxels * 2, sizeof *m->in);
	m->active = zeroed(planes * voxels * FEATURES, sizeof *m->active);
	m->mid = zeroed(RING * voxels * FEATURES, sizeof *m->mid);
	m->residual = zeroed(planes * strip_voxels * FEATURES, sizeof(float));
	m->sums = zeroed(STRIP * FEATURES, sizeof(float));
	if (!m->first_weights || !m->weights || !m->bias || !m->valid || !m->in ||
	    !m->active || !m->mid || !m->residual || !m->sums) {
		bf16_unload(&m->base);
		return fg_fail(err, FG_ENOMEM, "no memory for activations");
	}
	pack(m, net);
	for (int64_t i = 0; i < m->strips * STRIP; i++) {
		if (i % m->row < m->nx && i / m->row < m->ny)
			m->valid[i] = UINT32_MAX;
	}
	*out = &m->base;
	return 0;
}

/* ------------------------------------------------------------- products */

/* sums (STRIP x 32) = bias + all taps of the strip that is `off` voxels into a plane.
 */
TILES static void
sum_strip(const struct taps *t, int64_t off, float *sums)
{
	const size_t row = FEATURES * sizeof(float), vx = VOXEL_BYTES;

	for (int k = 0; k < t->n; k += 9) {
		for (int64_t v = 0; v < STRIP; v += 2 * TILE) {
			float *s = sums + v * FEATURES, *s2 = s + TILE * FEATURES;
			int64_t at = (off + v) * VOXEL_BYTES;

			if (k == 0) { /* a stride of 0: the same row 16 times */
				_tile_loadd(0, t->bias, 0);
				_tile_loadd(1, t->bias, 0);
				_tile_loadd(2, t->bias + TILE, 0);
				_tile_loadd(3, t->bias + TILE, 0);
			} else {
				_tile_loadd(0, s, row);
				_tile_loadd(1, s2, row);
				_tile_loadd(2, s + TILE, row);
				_tile_loadd(3, s2 + TILE, row);
			}
			for (int i = k; i < k + 9; i++) {
				const uint8_t *a = t->a[i] + at, *w = t->w[i];

				_tile_loadd(6, w, 64);
				_tile_loadd(4, a, vx);
				_tile_dpbf16ps(0, 4, 6);
				_tile_loadd(5, a + TILE * VOXEL_BYTES, vx);
				_tile_dpbf16ps(1, 5, 6);
				_tile_loadd(7, w + TILE_BYTES, 64);
				_tile_dpbf16ps(2, 4, 7);
				_tile_dpbf16ps(3, 5, 7);
			}
			_tile_stored(0, s, row);
			_tile_stored(1, s2, row);
			_tile_stored(2, s + TILE, row);
			_tile_stored(3, s2 + TILE, row);
		}
	}
}

/* relu(lo, hi) in bf16, zero where not valid. */
VECTORS static inline __m512i
activate(__m512 lo, __m512 hi, uint32_t valid)
{
	const __m512 zero = _mm512_setzero_ps();
	__m512i v = (__m512i)_mm512_cvtne2ps_pbh(_mm512_max_ps(hi, zero),
	    _mm512_max_ps(lo, zero));

	return _mm512_and_si512(v, _mm512_set1_epi32((int)valid));
}

/* First half of a module: relu of the sums. */
VECTORS static void
store_mid(const float *sums, const uint32_t *valid, uint16_t *to)
{
	for (int v = 0; v < STRIP; v++) {
		__m512 lo = _mm512_loadu_ps(sums + v * FEATURES);
		__m512 hi = _mm512_loadu_ps(sums + v * FEATURES + TILE);

		_mm512_storeu_si512(to + v * FEATURES, activate(lo, hi, valid[v]));
	}
}

/* Second half: onto the residual stream (unless it begins here), and its relu. */
VECTORS static void
store_residual(const float *sums, const uint32_t *valid, bool begin, float *residual,
    uint16_t *to)
{
	for (int v = 0; v < STRIP; v++, residual += FEATURES) {
		__m512 lo = _mm512_loadu_ps(sums + v * FEATURES);
		__m512 hi = _mm512_loadu_ps(sums + v * FEATURES + TILE);

		if (!begin) {
			lo = _mm512_add_ps(lo, _mm512_loadu_ps(residual));
			hi = _mm512_add_ps(hi, _mm512_loadu_ps(residual + TILE));
		}
		_mm512_storeu_ps(residual, lo);
		_mm512_storeu_ps(residual + TILE, hi);
		_mm512_storeu_si512(to + v * FEATURES, activate(lo, hi, valid[v]));
	}
}

/* The last module's second half: the 1x1x1 convolution of its relu, in float. */
VECTORS static void
store_update(const struct bf16_model *m, bool begin, const float *residual,
    float update[STRIP])
{
	const __m512 zero = _mm512_setzero_ps();
	__m512 wl = _mm512_loadu_ps(m->last), wh = _mm512_loadu_ps(m->last + TILE);

	for (int v = 0; v < STRIP; v++, residual += FEATURES) {
		__m512 lo = _mm512_loadu_ps(m->sums + v * FEATURES);
		__m512 hi = _mm512_loadu_ps(m->sums + v * FEATURES + TILE);

		if (!begin) {
			lo = _mm512_add_ps(lo, _mm512_loadu_ps(residual));
			hi = _mm512_add_ps(hi, _mm512_loadu_ps(residual + TILE));
		}
		lo = _mm512_mul_ps(_mm512_max_ps(lo, zero), wl);
		hi = _mm512_mul_ps(_mm512_max_ps(hi, zero), wh);
		update[v] = m->last_bias + _mm512_reduce_add_ps(_mm512_add_ps(lo, hi));
	}
}

/* The taps of convolution c, which is not the first, on plane z. Kernel planes beyond
 * the field of view meet only zeros and are left out. */
static void
set_taps(const struct bf16_model *m, int c, int64_t z, struct taps *t)
{
	const uint8_t *w = m->weights + (size_t)(c - 1) * 27 * TAP_BYTES;
	bool second = c % 2 == 1;

	t->n = 0;
	t->bias = m->bias + (size_t)c * FEATURES;
	for (int k = 0; k < 27; k++) {
		int64_t dz = k / 9 - 1, dy = k % 9 / 3 - 1, dx = k % 3 - 1;
		int64_t from = second ? (z + dz) % RING : z + dz;
		const uint16_t *base = second ? m->mid : m->active;

		if (z + dz < 0 || z + dz >= m->nz)
			continue;
		t->a[t->n] = (const uint8_t *)base +
			     (from * m->plane + dy * m->row + dx) * VOXEL_BYTES;
		t->w[t->n++] = w + (size_t)k * TAP_BYTES;
	}
}

/* relu of the first convolution of VOXELS voxels, the first of them `at` voxels into
 * plane z. */
VECTORS static void
first_voxels(const struct bf16_model *m, int64_t z, int64_t at, const uint32_t *valid,
    uint16_t *to)
{
	__m512 lo[VOXELS], hi[VOXELS];

	FG_UNROLL
	for (int r = 0; r < VOXELS; r++) {
		lo[r] = _mm512_loadu_ps(m->bias);
		hi[r] = _mm512_loadu_ps(m->bias + TILE);
	}
	for (int k = 0; k < 9; k++) {
		int64_t from = z + k / 3 - 1;
		const float *w = m->first_weights + k * 6 * FEATURES;
		const float *a =
		    m->in + 2 * (from * m->plane + at + (k % 3 - 1) * m->row - 1);

		if (from < 0 || from >= m->nz)
			continue;
		for (int i = 0; i < 6;
		     i++, w += FEATURES) { /* along x, of 2 channels */
			__m512 wl = _mm512_loadu_ps(w), wh = _mm512_loadu_ps(w + TILE);

			FG_UNROLL
			for (int r = 0; r < VOXELS; r++) {
				__m512 f = _mm512_set1_ps(a[2 * r + i]);

				lo[r] = _mm512_fmadd_ps(f, wl, lo[r]);
				hi[r] = _mm512_fmadd_ps(f, wh, hi[r]);
			}
		}
	}
	FG_UNROLL
	for (int r = 0; r < VOXELS; r++)
		_mm512_storeu_si512(to + r * FEATURES,
		    activate(lo[r], hi[r], valid[r]));
}

static void
first_convolution(struct bf16_model *m, int64_t z)
{
	uint16_t *to = m->mid + z % RING * m->plane * FEATURES;

	for (int64_t v = 0; v < m->strips * STRIP; v += VOXELS)
		first_voxels(m, z, m->first + v, m->valid + v,
		    to + (m->first + v) * FEATURES);
}

static void
first_half(struct bf16_model *m, int module, int64_t z)
{
	uint16_t *to = m->mid + z % RING * m->plane * FEATURES;
	struct taps t;

	if (module == 0) {
		first_convolution(m, z);
		return;
	}
	set_taps(m, 2 * module, z, &t);
	for (int64_t s = 0; s < m->strips; s++) {
		sum_strip(&t, m->first + s * STRIP, m->sums);
		store_mid(m->sums, m->valid + s * STRIP,
		    to + (m->first + s * STRIP) * FEATURES);
	}
}

/* Logits of a strip of the last module, without the voxels between rows. */
static void
put_logits(const struct bf16_model *m, int64_t z, int64_t strip, const float *update,
    const float *logit, float *out)
{
	for (int64_t v = 0; v < STRIP; v++) {
		int64_t i = strip * STRIP + v, at;

		if (!m->valid[i])
			continue;
		at = (z * m->ny + i / m->row) * m->nx + i % m->row;
		out[at] = logit[at] + update[v];
	}
}

static void
second_half(struct bf16_model *m, int module, int64_t z, const float *logit, float *out)
{
	uint16_t *to = m->active + z * m->plane * FEATURES;
	float *residual = m->residual + z * m->strips * STRIP * FEATURES;
	float update[STRIP];
	struct taps t;

	set_taps(m, 2 * module + 1, z, &t);
	for (int64_t s = 0; s < m->strips; s++, residual += STRIP * FEATURES) {
		sum_strip(&t, m->first + s * STRIP, m->sums);
		if (module < m->depth - 1) {
			store_residual(m->sums, m->valid + s * STRIP, module == 0,
			    residual, to + (m->first + s * STRIP) * FEATURES);
		} else {
			store_update(m, module == 0, residual, update);
			put_logits(m, z, s, update, logit, out);
		}
	}
}

static void
put_input(struct bf16_model *m, const float *image, const float *logit)
{
	for (int64_t z = 0; z < m->nz; z++) {
		for (int64_t y = 0; y < m->ny; y++) {
			float *to = m->in + 2 * (z * m->plane + m->first + y * m->row);

			for (int64_t x = 0; x < m->nx; x++) {
				*to++ = *image++;
				*to++ = *logit++;
			}
		}
	}
}

/* Palette 1; eight tiles of 16 rows of 64 bytes. Constant in memory: gcc's
 * _tile_loadconfig does not tell that it reads all of it. */
static const struct {
	uint8_t palette, start_row, zero[14];
	uint16_t bytes[16];
	uint8_t rows[16];
} tile_config = {.palette = 1,
    .bytes = {64, 64, 64, 64, 64, 64, 64, 64},
    .rows = {16, 16, 16, 16, 16, 16, 16, 16}};

/* Tiles belong to the thread, and oneDNN may have left other shapes. */
TILES static void
begin_tiles(void)
{
	_tile_loadconfig(&tile_config);
}

TILES static void
end_tiles(void)
{
	_tile_release();
}

static int
bf16_forward(struct fg_model *base, int n, const float *in, float *out,
    struct fg_err *err)
{
	struct bf16_model *m = (struct bf16_model *)base;
	const float *logit = in + m->nx * m->ny * m->nz;

	(void)err;
	fg_assert(n == 1);
	put_input(m, in, logit);
	begin_tiles();
	for (int i = 0; i < m->depth; i++) {
		for (int64_t z = 0; z <= m->nz; z++) {
			if (z < m->nz)
				first_half(m, i, z);
			if (z > 0)
				second_half(m, i, z - 1, logit, out);
		}
	}
	end_tiles();
	return 0;
}

#else

bool
fg_bf16_has_tiles(void)
{
	return false;
}

bool
fg_bf16_can_run(const struct fg_net *net)
{
	(void)net;
	return false;
}

int
fg_bf16_load(const struct fg_net *net, struct fg_model **out, struct fg_err *err)
{
	(void)net;
	(void)out;
	return fg_fail(err, FG_ENOTSUP, "this processor has no tiles");
}

#endif
