/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bricks of the phantom: bend space, find the segments that matter, and give every
 * voxel its segment and its distance to the membrane. See the header for the
 * construction; what owns a segment is decided in store/phantom_tree.c.
 *
 * Cost: a brick of 8^3 voxels takes about 30 us, most of it in the two passes over
 * voxels and candidate segments, which are written so that compilers turn them into
 * vector code.
 */
#include "config.h"

#include "store/phantom_geom.h"

#include <math.h>
#include <stdlib.h>

#include "store/phantom_tree.h"

#ifdef __FAST_MATH__
#error "the phantom needs exact float arithmetic: do not compile it with -ffast-math"
#endif

#define LANES 4

/* Smooth displacement: octaves of value noise. Spacing in periods * 4, amplitude in
 * 1/256 period. The slope of each is at most 3 * amplitude / spacing. */
static const struct {
	int spacing4, amp256;
} octave[] = {{48, 360}, {12, 90}, {6, 56}};

/* The lattice lies askew in the volume, so that no picture shows its rows: a rotation
 * by the quaternion (5, 2, 3, 1), entries exact in 1/39. */
#define ROT_UNIT 39
static const int64_t rot[3][3] = {{19, 2, 34}, {22, 29, -14}, {-26, 26, 13}};

/* Three values of -32768..32767 from the lattice of one octave, interpolated at h2
 * (half nm) with a cubic ease. */
static void
noise3(uint64_t seed, uint32_t tag, const int64_t h2[3], int64_t spacing2,
    int32_t out[3])
{
	int64_t cell[3], w[3], sum[3] = {0, 0, 0};

	for (int d = 0; d < 3; d++) {
		cell[d] = fg_div_floor(h2[d], spacing2);
		int64_t f = ((h2[d] - cell[d] * spacing2) << 15) / spacing2;
		w[d] = ((f * f >> 15) * (3 * 32768 - 2 * f)) >> 15;
	}
	for (int c = 0; c < 8; c++) {
		int64_t wx = c & 1 ? w[0] : 32768 - w[0];
		int64_t wy = c & 2 ? w[1] : 32768 - w[1];
		int64_t wz = c & 4 ? w[2] : 32768 - w[2];
		int64_t k = (wx * wy >> 15) * wz;
		uint64_t h = fg_phantom_hash(seed, tag, cell[0] + (c & 1),
		    cell[1] + (c >> 1 & 1), cell[2] + (c >> 2));

		for (int d = 0; d < 3; d++)
			sum[d] += fg_phantom_s16(h, 16 * d) * k;
	}
	for (int d = 0; d < 3; d++)
		out[d] = (int32_t)(sum[d] >> 30);
}

/* Warped place (nm * 16) of a position in half nm. */
static void
warp(const struct fg_phantom *par, const int64_t h2[3], int64_t out16[3])
{
	int64_t bent[3];

	for (int d = 0; d < 3; d++)
		bent[d] = h2[d] * 8;
	for (unsigned o = 0; o < FG_COUNTOF(octave); o++) {
		int64_t spacing2 = octave[o].spacing4 * par->calibre / 2;
		int64_t amp16 = octave[o].amp256 * par->calibre / 16;
		int32_t v[3];

		noise3(par->seed, 0x100 + o, h2, spacing2, v);
		for (int d = 0; d < 3; d++)
			bent[d] += v[d] * amp16 >> 15;
	}
	for (int d = 0; d < 3; d++)
		out16[d] = fg_div_floor(rot[d][0] * bent[0] + rot[d][1] * bent[1] +
					    rot[d][2] * bent[2],
		    ROT_UNIT);
}

void
fg_phantom_geom_warp(const struct fg_phantom_geom *g, const int64_t in16[3],
    int64_t out16[3])
{
	int64_t h2[3] = {in16[0] / 8, in16[1] / 8, in16[2] / 8};

	warp(g->par, h2, out16);
}

void
fg_phantom_geom_unwarp(const struct fg_phantom_geom *g, const int64_t at16[3],
    int64_t out16[3])
{
	int64_t x[3] = {0, 0, 0}, y[3];

	/* Fixed point of x = at - displacement(x); the slope is below one. */
	for (int i = 0; i < 60; i++) {
		int64_t worst = 0;

		fg_phantom_geom_warp(g, x, y);
		for (int d = 0; d < 3; d++) {
			int64_t err = 0;

			for (int e = 0; e < 3; e++)
				err += rot[e][d] * (at16[e] - y[e]);
			err /= ROT_UNIT;
			x[d] += err;
			worst = FG_MAX(worst, err < 0 ? -err : err);
		}
		if (worst <= 8)
			break;
	}
	memcpy(out16, x, sizeof x);
}

/* Displacement of knot m of a rod (1/16 nm, at most 0.1 P) and its weight (nm^2):
 * differences of weights stay below (0.3 P)^2, the least squared gap of two rods. */
static void
knot(const struct fg_phantom *par, int fam, int64_t u, int64_t v, int64_t m,
    int32_t *du16, int32_t *dv16, float *weight)
{
	uint64_t rod = fg_phantom_hash(par->seed, 0x200u + (unsigned)fam, u, v, 0);
	uint64_t h =
	    fg_phantom_hash(par->seed, 0x210u + (unsigned)fam, u * 1048583 + v, m, 0);
	int32_t p = (int32_t)par->calibre;
	int32_t base = fg_phantom_s16(rod, 0), vary = fg_phantom_s16(h, 32);

	*du16 = fg_phantom_s16(h, 0) * p / 20480;
	*dv16 = fg_phantom_s16(h, 16) * p / 20480;
	*weight =
	    (float)(base * 5 + vary * 2) * (1.f / (32768.f * 166.f)) * (float)(p * p);
}

void
fg_phantom_geom_knot(const struct fg_phantom_geom *g, int fam, int64_t u, int64_t v,
    int64_t m, int64_t out16[3])
{
	int64_t p16 = g->par->calibre * 16;
	int32_t du, dv;
	float w;

	knot(g->par, fam, u, v, m, &du, &dv, &w);
	out16[fam] = m * p16;
	out16[(fam + 1) % 3] = u * p16 + du;
	out16[(fam + 2) % 3] = v * p16 + p16 / 2 + dv;
}

int
fg_phantom_geom_check(const struct fg_phantom *par, struct fg_err *err)
{
	for (int d = 0; d < 3; d++) {
		int64_t span = 0;

		for (int e = 0; e < 3; e++)
			span += (rot[d][e] < 0 ? -rot[d][e] : rot[d][e]) *
				par->size[e] * par->nm[e];
		/* Less a rim that the warp may show. */
		if (span / ROT_UNIT / par->calibre > (1 << 17) - 64)
			return fg_fail(err, FG_EINVAL,
			    "phantom: the volume is more than 131000 times as long as "
			    "calibre=%lld nm: ids would repeat; take a larger calibre",
			    (long long)par->calibre);
	}
	return 0;
}

struct fg_phantom_geom *
fg_phantom_geom_new(const struct fg_phantom *par, const int64_t nm[3])
{
	struct fg_phantom_geom *g = fg_calloc(1, sizeof *g);

	g->par = par;
	for (int d = 0; d < 3; d++) {
		g->nm2[d] = 2 * nm[d];
		/* A brick is about calibre / 6 across, so that few segments matter. */
		g->brick[d] = FG_PHANTOM_BRICK;
		while (g->brick[d] > 1 && 6 * g->brick[d] * nm[d] > par->calibre + 40)
			g->brick[d] /= 2;
	}
	g->memo = fg_phantom_memo_new();
	return g;
}

void
fg_phantom_geom_free(struct fg_phantom_geom *g)
{
	if (!g)
		return;
	fg_phantom_memo_free(g->memo);
	free(g);
}

/* Positions of the brick's voxels: the warp at its eight corners, linear between. The
 * corners are voxel centres of this brick and the next, so bricks join. */
static void
place_voxels(struct fg_phantom_geom *g, const int64_t b[3])
{
	struct fg_phantom_brick *o = &g->out;
	int64_t p16 = g->par->calibre * 16, at[8][3];
	float corner[8][3];
	int i = 0;

	for (int d = 0; d < 3; d++) {
		o->vx.lo[d] = b[d] * g->brick[d];
		o->vx.hi[d] = o->vx.lo[d] + g->brick[d];
	}
	for (int c = 0; c < 8; c++) {
		int64_t h2[3];

		for (int d = 0; d < 3; d++) {
			int64_t x = c >> d & 1 ? o->vx.hi[d] : o->vx.lo[d];

			h2[d] = x * g->nm2[d] + g->nm2[d] / 2;
		}
		warp(g->par, h2, at[c]);
	}
	for (int d = 0; d < 3; d++) {
		o->origin[d] = fg_div_floor(at[0][d], p16);
		for (int c = 0; c < 8; c++)
			corner[c][d] = (float)(at[c][d] - o->origin[d] * p16) / 16.f;
	}
	o->n = (int)(g->brick[0] * g->brick[1] * g->brick[2]);
	for (int z = 0; z < g->brick[2]; z++) {
		float fz = (float)z / (float)g->brick[2];
		uint64_t h =
		    fg_phantom_hash(g->par->seed, 0x300, o->vx.lo[2] + z, 0, 0);
		/* Section jitter: the sum of two uniform numbers, in nm. */
		float jit[3] = {0, 0, 0};

		for (int d = 0; d < 2; d++)
			jit[d] = (float)(fg_phantom_s16(h, 32 * d) +
					 fg_phantom_s16(h, 32 * d + 16)) *
				 (float)g->par->jitter / 65536.f;
		for (int y = 0; y < g->brick[1]; y++) {
			float fy = (float)y / (float)g->brick[1];
			float lo[3], step[3];

			for (int d = 0; d < 3; d++) {
				float e[2];

				for (int x = 0; x < 2; x++) {
					float l =
					    corner[x][d] +
					    fy * (corner[x + 2][d] - corner[x][d]);
					float h1 =
					    corner[x + 4][d] +
					    fy * (corner[x + 6][d] - corner[x + 4][d]);

					e[x] = l + fz * (h1 - l);
				}
				lo[d] = e[0] + jit[d];
				step[d] = (e[1] - e[0]) / (float)g->brick[0];
			}
			for (int x = 0; x < g->brick[0]; x++, i++) {
				for (int d = 0; d < 3; d++)
					o->p[d][i] = lo[d] + (float)x * step[d];
			}
		}
	}
	for (; i % LANES; i++) {
		for (int d = 0; d < 3; d++)
			o->p[d][i] = o->p[d][0];
	}
}

/* Straight line of segment (fam; u, v, m), coordinates from the brick's origin. */
static void
fill_segment(const struct fg_phantom_geom *g, int fam, int64_t u, int64_t v, int64_t m,
    struct fg_phantom_seg *s)
{
	const int64_t *org = g->out.origin;
	float p = (float)g->par->calibre, w0, w1;
	int32_t du0, dv0, du1, dv1;

	knot(g->par, fam, u, v, m, &du0, &dv0, &w0);
	knot(g->par, fam, u, v, m + 1, &du1, &dv1, &w1);
	*s = (struct fg_phantom_seg){.fam = fam, .u = u, .v = v, .m = m};
	s->a0 = (float)(m - org[fam]) * p;
	s->u0 = (float)(u - org[(fam + 1) % 3]) * p + (float)du0 / 16.f;
	s->v0 = ((float)(v - org[(fam + 2) % 3]) + 0.5f) * p + (float)dv0 / 16.f;
	s->su = (float)(du1 - du0) / 16.f / p;
	s->sv = (float)(dv1 - dv0) / 16.f / p;
	s->w0 = w0;
	s->sw = (w1 - w0) / p;
}

static inline float
clampf(float x, float lo, float hi)
{
	x = x < lo ? lo : x;
	return x > hi ? hi : x;
}

/* Distance (not squared) of a point from a segment's axis. */
static float
axis_distance(const struct fg_phantom_seg *s, float p, const float at[3])
{
	float a = at[s->fam] - s->a0, c = clampf(a, 0.f, p);
	float du = at[(s->fam + 1) % 3] - (s->u0 + s->su * c);
	float dv = at[(s->fam + 2) % 3] - (s->v0 + s->sv * c);

	return sqrtf(du * du + dv * dv + (a - c) * (a - c));
}

struct reach {
	float mid[3], half[3]; /* of the box that the brick's voxels fill */
	float radius;          /* of the ball around it */
};

static void
measure_brick(const struct fg_phantom_brick *o, struct reach *r)
{
	float sum = 0;

	for (int d = 0; d < 3; d++) {
		float lo = o->p[d][0], hi = lo;

		for (int i = 1; i < o->n; i++) {
			lo = o->p[d][i] < lo ? o->p[d][i] : lo;
			hi = o->p[d][i] > hi ? o->p[d][i] : hi;
		}
		r->mid[d] = (lo + hi) * 0.5f;
		r->half[d] = (hi - lo) * 0.5f;
		sum += r->half[d] * r->half[d];
	}
	r->radius = sqrtf(sum);
}

static int
farthest(const struct fg_phantom_seg *seg, int n)
{
	int far = 0;

	for (int i = 1; i < n; i++)
		far = seg[i].lower > seg[far].lower ? i : far;
	return far;
}

/* Segments that can own a voxel of the brick or be the nearest across a membrane. */
static void
find_segments(struct fg_phantom_geom *g)
{
	struct fg_phantom_brick *o = &g->out;
	float p = (float)g->par->calibre, far = 0.72f * p, best = 1e30f, limit;
	struct fg_phantom_seg all[384];
	struct reach r;
	int n = 0, kept = 0;

	measure_brick(o, &r);
	for (int fam = 0; fam < 3; fam++) {
		int64_t lo[3], hi[3]; /* along, u, v */

		for (int k = 0; k < 3; k++) {
			int d = (fam + k) % 3;
			float shift = k == 2 ? 0.5f * p : 0.f, e = r.half[d] + far;

			lo[k] = (int64_t)floorf((r.mid[d] - shift - e) / p) + (k > 0);
			hi[k] = (int64_t)floorf((r.mid[d] - shift + e) / p);
			lo[k] += o->origin[d];
			hi[k] += o->origin[d];
		}
		for (int64_t v = lo[2]; v <= hi[2]; v++)
			for (int64_t u = lo[1]; u <= hi[1]; u++)
				for (int64_t m = lo[0]; m <= hi[0]; m++) {
					fg_assert(n < (int)FG_COUNTOF(all));
					fill_segment(g, fam, u, v, m, &all[n++]);
				}
	}
	for (int i = 0; i < n; i++) {
		struct fg_phantom_seg *s = &all[i];
		float d = axis_distance(s, p, r.mid), w1 = s->w0 + s->sw * p;
		float near = d - r.radius - FG_PHANTOM_REACH;
		float wide = d + r.radius + FG_PHANTOM_REACH;
		float up = wide * wide - (s->w0 < w1 ? s->w0 : w1);

		near = near < 0.f ? 0.f : near;
		s->lower = near * near - (s->w0 > w1 ? s->w0 : w1);
		best = up < best ? up : best;
	}
	limit = best;
	for (int i = 0; i < n; i++) {
		int at = kept;

		if (all[i].lower > limit)
			continue;
		if (kept == FG_PHANTOM_CANDS) {
			/* Never seen. The farthest gives way: it matters least. */
			at = farthest(o->seg, kept);
			if (o->seg[at].lower <= all[i].lower)
				continue;
		} else {
			kept++;
		}
		o->seg[at] = all[i];
	}
	o->segs = kept;
}

/* Who owns the candidates; equal labels get equal group numbers. */
static void
name_segments(struct fg_phantom_geom *g)
{
	struct fg_phantom_brick *o = &g->out;

	o->uniform = true;
	for (int i = 0; i < o->segs; i++) {
		struct fg_phantom_seg *s = &o->seg[i];
		int j = 0;

		s->owner = fg_phantom_geom_owner(g, s->fam, s->u, s->v, s->m);
		s->hash = fg_phantom_hash(g->par->seed, 0x400u + (unsigned)s->fam, s->u,
		    s->v, s->m);
		while (j < i && o->seg[j].owner.label != s->owner.label)
			j++;
		s->group = j < i ? o->seg[j].group : (uint8_t)i;
		o->uniform = o->uniform && s->group == 0;
	}
}

/* Four voxels at a time, in the compilers' own vector types: the same operations as
 * in scalar code, so the same results with any instruction set. */
typedef float fvec __attribute__((vector_size(4 * LANES)));
typedef int32_t ivec __attribute__((vector_size(4 * LANES)));

/* Squared distance - weight of voxels i.. from segment s. */
static inline void
lane_distance(const struct fg_phantom_brick *o, const struct fg_phantom_seg *s, float p,
    int i, fvec *out)
{
	fvec pa, pu, pv, a, c, da, du, dv;
	ivec low, high;

	memcpy(&pa, &o->p[s->fam][i], sizeof pa);
	memcpy(&pu, &o->p[(s->fam + 1) % 3][i], sizeof pu);
	memcpy(&pv, &o->p[(s->fam + 2) % 3][i], sizeof pv);
	a = pa - s->a0;
	low = a > 0.f;
	c = (fvec)((ivec)a & low);
	high = c > p;
	c = (fvec)(((ivec)c & ~high) | ((ivec)(c * 0.f + p) & high));
	da = a - c;
	du = pu - (s->u0 + s->su * c);
	dv = pv - (s->v0 + s->sv * c);
	*out = du * du + dv * dv + da * da - (s->w0 + s->sw * c);
}

/* The owner of voxels i.. and the nearest segment of another group. */
static void
nearest_two(const struct fg_phantom_brick *o, float p, int i, fvec *d1, ivec *s1,
    fvec *d2, ivec *s2)
{
	fvec dist[FG_PHANTOM_CANDS], far = {0};
	ivec best = {0}, group = {0}, none = {0};

	far += 1e30f;
	none -= 1;
	*d1 = far;
	*d2 = far;
	*s2 = none;
	for (int c = 0; c < o->segs; c++) {
		ivec take;

		lane_distance(o, &o->seg[c], p, i, &dist[c]);
		take = dist[c] < *d1;
		*d1 = (fvec)(((ivec)dist[c] & take) | ((ivec)*d1 & ~take));
		best = (best & ~take) | (c & take);
		group = (group & ~take) | (o->seg[c].group & take);
	}
	*s1 = best;
	if (o->uniform)
		return;
	for (int c = 0; c < o->segs; c++) {
		ivec take = (dist[c] < *d2) & (group != o->seg[c].group);

		*d2 = (fvec)(((ivec)dist[c] & take) | ((ivec)*d2 & ~take));
		*s2 = (*s2 & ~take) | (c & take);
	}
}

/* Vector from the axis of a segment to a voxel. */
static inline void
axis_vector(const struct fg_phantom_brick *o, const struct fg_phantom_seg *s, float p,
    int i, float out[3])
{
	int f = s->fam, f1 = (f + 1) % 3, f2 = (f + 2) % 3;
	float a = o->p[f][i] - s->a0, c = clampf(a, 0.f, p);

	out[f] = a - c;
	out[f1] = o->p[f1][i] - (s->u0 + s->su * c);
	out[f2] = o->p[f2][i] - (s->v0 + s->sv * c);
}

/* The membrane is where the two distances are equal; their difference over the length
 * of its gradient is how far it is. No gradient is longer than 3 P. */
static float
membrane(const struct fg_phantom_brick *o, float p, int i, float diff)
{
	float a[3], b[3], x, y, z, t;

	if (o->second[i] < 0 || diff > 6.f * FG_PHANTOM_REACH * p)
		return FG_PHANTOM_REACH;
	axis_vector(o, &o->seg[o->first[i]], p, i, a);
	axis_vector(o, &o->seg[o->second[i]], p, i, b);
	x = b[0] - a[0];
	y = b[1] - a[1];
	z = b[2] - a[2];
	t = diff / (2.f * (sqrtf(x * x + y * y + z * z) + 1.f));
	return t > FG_PHANTOM_REACH ? FG_PHANTOM_REACH : t;
}

/* Owner and membrane distance of every voxel. */
static void
measure_voxels(struct fg_phantom_geom *g)
{
	struct fg_phantom_brick *o = &g->out;
	float p = (float)g->par->calibre;

	for (int i = 0; i < o->n; i += LANES) {
		fvec d1, d2;
		ivec s1, s2;

		nearest_two(o, p, i, &d1, &s1, &d2, &s2);
		for (int l = 0; l < LANES; l++) {
			o->first[i + l] = (int8_t)s1[l];
			o->second[i + l] = (int8_t)s2[l];
			o->t[i + l] = membrane(o, p, i + l, d2[l] - d1[l]);
		}
	}
}

void
fg_phantom_geom_brick(struct fg_phantom_geom *g, const int64_t b[3])
{
	place_voxels(g, b);
	find_segments(g);
	name_segments(g);
	measure_voxels(g);
}
