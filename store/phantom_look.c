/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the phantom looks like in the microscope: heavy metal makes membranes dark and
 * leaves cytoplasm light; organelles are drawn inside the segments that carry them;
 * then come texture, noise, drift and damage. Grey values are made in float with
 * exact operations only (see store/phantom_geom.h) and rounded once at the end.
 */
#include "config.h"

#include "store/phantom_look.h"

#include <math.h>

/* Decorations of one candidate segment, worked out once per brick. */
struct decor {
	float base; /* grey value of its cytoplasm */
	bool mito;
	float ma, mu, mv, ml2, mr2; /* middle, inverse squared half axes */
	int partner; /* candidate on the other side of its synapse, or -1 */
	bool pre;    /* this side has the vesicles */
	float contact[3];
	uint64_t hash;
};

struct look {
	const struct fg_phantom *par;
	float p, fine[FG_PHANTOM_VOXELS], coarse[FG_PHANTOM_VOXELS];
	float er[FG_PHANTOM_VOXELS];
	float blur; /* half a voxel, nm: membranes are at least that wide */
	struct decor d[FG_PHANTOM_CANDS];
	bool nucleus;
	float nc[3], nr;
};

/* Value noise of -1..1 on a lattice of `step` voxels (brick sizes or parts of them). */
static void
texture(const struct fg_phantom_geom *g, uint32_t tag, const int64_t step[3],
    float *out)
{
	const struct fg_phantom_brick *o = &g->out;
	float lat[125];
	int n[3], i = 0;

	for (int d = 0; d < 3; d++)
		n[d] = (int)(g->brick[d] / step[d]) + 1;
	for (int z = 0; z < n[2]; z++)
		for (int y = 0; y < n[1]; y++)
			for (int x = 0; x < n[0]; x++) {
				uint64_t h = fg_phantom_hash(g->par->seed, tag,
				    fg_div_floor(o->vx.lo[0], step[0]) + x,
				    fg_div_floor(o->vx.lo[1], step[1]) + y,
				    fg_div_floor(o->vx.lo[2], step[2]) + z);

				lat[i++] = (float)fg_phantom_s16(h, 24) / 32768.f;
			}
	i = 0;
	for (int z = 0; z < g->brick[2]; z++)
		for (int y = 0; y < g->brick[1]; y++) {
			float fy = (float)(y % (int)step[1]) / (float)step[1];
			float fz = (float)(z % (int)step[2]) / (float)step[2];
			const float *row = lat + (y / (int)step[1]) * n[0] +
					   (z / (int)step[2]) * n[0] * n[1];
			float line[5];

			for (int x = 0; x < n[0]; x++) {
				float a = row[x], b = row[x + n[0]];
				float c = row[x + n[0] * n[1]];
				float e = row[x + n[0] * n[1] + n[0]];

				a += fy * (b - a);
				c += fy * (e - c);
				line[x] = a + fz * (c - a);
			}
			for (int x = 0; x < g->brick[0]; x++, i++) {
				int k = x / (int)step[0];
				float f = (float)(x % (int)step[0]) / (float)step[0];

				out[i] = line[k] + f * (line[k + 1] - line[k]);
			}
		}
}

static const struct {
	float base;
	int mito; /* per 64 segments */
} cls_look[] = {
    [FG_PHANTOM_AXON] = {168, 9},
    [FG_PHANTOM_DENDRITE] = {178, 12},
    [FG_PHANTOM_MYELIN] = {180, 8},
    [FG_PHANTOM_GLIA] = {190, 4},
    [FG_PHANTOM_SOMA] = {164, 16},
    [FG_PHANTOM_ARM] = {168, 14},
};

static float
unit(uint64_t h, int lo)
{
	return (float)fg_phantom_u16(h, lo) / 65536.f;
}

/* Middle of a candidate's axis, nm from the brick's origin. */
static void
middle(const struct fg_phantom_seg *s, float p, float out[3])
{
	out[s->fam] = s->a0 + 0.5f * p;
	out[(s->fam + 1) % 3] = s->u0 + s->su * 0.5f * p;
	out[(s->fam + 2) % 3] = s->v0 + s->sv * 0.5f * p;
}

static void
decorate(struct fg_phantom_geom *g, struct look *k, int i)
{
	const struct fg_phantom_brick *o = &g->out;
	const struct fg_phantom_seg *s = &o->seg[i];
	struct decor *d = &k->d[i];
	uint64_t h = s->hash;
	uint64_t own =
	    fg_phantom_hash(g->par->seed, 0xa00, (int64_t)s->owner.label, 0, 0);
	float p = k->p;

	d->partner = -1;
	d->hash = h;
	d->base = cls_look[s->owner.cls].base + 14.f * (unit(own, 8) - 0.5f);
	d->mito =
	    (int64_t)(h % 6400) < cls_look[s->owner.cls].mito * g->par->organelles;
	if (d->mito) {
		float l = (0.34f + 0.14f * unit(h, 16)) * p;
		float r = (0.13f + 0.09f * unit(h, 32)) * p;

		d->ma = (0.5f + 0.04f * (unit(h, 48) - 0.5f)) * p;
		d->mu = 0.08f * p * (unit(h, 40) - 0.5f);
		d->mv = 0.08f * p * (unit(h, 24) - 0.5f);
		d->ml2 = 1.f / (l * l);
		d->mr2 = 1.f / (r * r);
	}
}

/* Join the candidates that meet at a synapse. */
static void
connect(struct fg_phantom_geom *g, struct look *k, int i)
{
	const struct fg_phantom_brick *o = &g->out;
	const struct fg_phantom_seg *s = &o->seg[i];
	float a[3], b[3];
	int64_t x[3];

	if (!fg_phantom_geom_synapse(g, s->fam, s->u, s->v, s->m, x))
		return;
	middle(s, k->p, a);
	/* The partner's axis passes at P/2 on that side, whether it is a candidate or
	 * not */
	memcpy(b, a, sizeof b);
	b[(s->fam + 2) % 3] += (float)(x[0] - s->v) * k->p - 0.5f * k->p;
	k->d[i].pre = true;
	for (int d = 0; d < 3; d++)
		k->d[i].contact[d] = 0.5f * (a[d] + b[d]);
	for (int j = 0; j < o->segs; j++) {
		const struct fg_phantom_seg *q = &o->seg[j];

		if (q->fam != (s->fam + 1) % 3 || q->u != x[0] || q->v != x[1] ||
		    q->m < x[2] - 1 || q->m > x[2])
			continue;
		k->d[i].partner = j;
		if (k->d[j].partner < 0 && !k->d[j].pre) {
			k->d[j].partner = i;
			memcpy(k->d[j].contact, k->d[i].contact, sizeof a);
		}
	}
}

/* 0..1..0 with period 1. */
static inline float
wave(float x)
{
	x -= floorf(x);
	return x < 0.5f ? 2.f * x : 2.f - 2.f * x;
}

static float
mito(const struct decor *d, float a, float du, float dv, float bend, float v)
{
	float x = a - d->ma, y = du - d->mu, z = dv - d->mv;
	float q = x * x * d->ml2 + (y * y + z * z) * d->mr2 + 0.25f * bend;

	if (q >= 1.f)
		return v;
	if (q > 0.74f)
		return 88.f;
	return 122.f - 26.f * wave((x + 0.6f * y) * (1.f / 30.f)) + 8.f * bend;
}

/* Vesicles: one per 46 nm cell of the segment's own frame, drawn as small rings. */
static float
vesicle(const struct decor *d, float a, float du, float dv, float v)
{
	const float e = 46.f;
	float x[3] = {a, du + 512.f * e, dv + 512.f * e}, r2 = 0;
	int64_t c[3];
	uint64_t h;

	for (int i = 0; i < 3; i++)
		c[i] = (int64_t)floorf(x[i] / e);
	h = fg_phantom_hash(d->hash, 0xb00, c[0], c[1], c[2]);
	if ((h & 7) > 5)
		return v;
	for (int i = 0; i < 3; i++) {
		float m = ((float)c[i] + 0.5f + 0.24f * (unit(h, 16 * i) - 0.5f)) * e;

		r2 += (x[i] - m) * (x[i] - m);
	}
	if (r2 > 18.f * 18.f)
		return v;
	return r2 > 8.f * 8.f ? 98.f : 160.f;
}

static float
near2(const float p[3], const float q[3])
{
	float x = p[0] - q[0], y = p[1] - q[1], z = p[2] - q[2];

	return x * x + y * y + z * z;
}

/* Organelles of the segment that owns voxel i. */
static float
inside(const struct fg_phantom_brick *o, const struct look *k, int i, const float at[3],
    float v)
{
	const struct fg_phantom_seg *s = &o->seg[o->first[i]];
	const struct decor *d = &k->d[o->first[i]];
	float a = at[s->fam] - s->a0, t = o->t[i];
	float du = at[(s->fam + 1) % 3] - s->u0 - s->su * a;
	float dv = at[(s->fam + 2) % 3] - s->v0 - s->sv * a;
	int cls = s->owner.cls;

	if (k->nucleus && cls == FG_PHANTOM_SOMA) {
		float r = sqrtf(near2(at, k->nc)) - k->nr + 30.f * k->coarse[i];

		if (r < -12.f)
			return 150.f + 34.f * k->coarse[i] + 10.f * k->fine[i];
		if (r < 12.f)
			return 84.f;
	}
	if (cls >= FG_PHANTOM_SOMA || cls == FG_PHANTOM_DENDRITE) {
		float e = k->er[i] < 0 ? -k->er[i] : k->er[i];

		if (e < 0.05f && t > 24.f && k->coarse[i] > -0.1f)
			v -= 52.f;
	}
	if (d->pre && t > 16.f && near2(at, d->contact) < 0.2f * k->p * k->p)
		v = vesicle(d, a, du, dv, v);
	if (d->mito && t > 14.f)
		v = mito(d, a, du, dv, k->coarse[i], v);
	if (cls == FG_PHANTOM_GLIA && k->fine[i] > 0.62f)
		v -= 50.f;
	return v;
}

/* Membranes, myelin and synaptic densities over the cytoplasm of voxel i. */
static float
edges(const struct fg_phantom_brick *o, const struct look *k, int i, const float at[3],
    float v)
{
	int a = o->first[i], b = o->second[i];
	float t = o->t[i], width = 13.f + k->blur, x;

	if (b < 0)
		return v;
	if (o->seg[a].owner.cls == FG_PHANTOM_MYELIN && t < 46.f) {
		float m = 58.f + 20.f * wave(t * (1.f / 17.f));
		float in = (t - 38.f) * 0.125f;

		return in > 0.f ? m + in * (v - m) : m;
	}
	if (k->d[a].partner == b && t < 44.f) {
		float r2 = near2(at, k->d[a].contact) / (k->p * k->p);

		if (r2 < 0.06f) {
			float depth = k->d[a].pre ? 16.f : 36.f;

			if (t > 4.f && t < depth)
				return 52.f + 8.f * k->fine[i];
		}
	}
	x = t / width;
	if (x < 1.f) {
		float dark = (1.f - x * x) * (1.f - x * x);

		dark = dark * (k->blur > 13.f ? 13.f / k->blur : 1.f);
		v += dark * (60.f - v);
	}
	return v;
}

/* Damage: the section as a whole first, then places in it. */
static float
damage(const struct fg_phantom *par, int64_t x, int64_t y, int64_t z, float v)
{
	uint64_t s = fg_phantom_hash(par->seed, 0xc00, z, 0, 0), h;
	int64_t d = par->defects;

	if ((int64_t)(s % 4000) < d)
		return 0.f;
	if ((int64_t)((s >> 13) % 1000) < d)
		v = 150.f + 0.45f * (v - 140.f);
	if ((int64_t)((s >> 26) % 1000) < 2 * d) {
		int64_t line = x * 16 + y * (int64_t)(s >> 40 & 7) + (int64_t)(s >> 44);

		if ((line & 8191) < 48)
			v += (s & 1) ? 50.f : -50.f;
	}
	h = fg_phantom_hash(par->seed, 0xc01, fg_div_floor(x, 512),
	    fg_div_floor(y, 512), fg_div_floor(z, 24));
	if ((int64_t)(h % 1000) < 8 * d) {
		/* A crack: a jagged line across part of the cell. */
		int64_t lx =
		    x - fg_div_floor(x, 512) * 512 - 128 - (int64_t)(h >> 20 & 255);
		int64_t ly = y - fg_div_floor(y, 512) * 512 - 256;
		int64_t tilt = (int64_t)(h >> 32 & 63) - 32;
		uint64_t j = fg_phantom_hash(h, 0xc02, fg_div_floor(y, 6), 0, 0);
		int64_t off = lx * 32 - ly * tilt + (int64_t)(j & 63) - 32;
		int64_t w = 32 * (1 + (int64_t)(h >> 50 & 3));

		if (ly > -200 && ly < 200 && off > -w && off < w)
			v = 225.f;
	}
	return v;
}

/* Smooth change along z: two octaves of 1-D noise, -1..1. */
static float
drift(const struct fg_phantom *par, uint32_t tag, int64_t z)
{
	float v = 0;

	for (int o = 0; o < 2; o++) {
		int64_t step = o ? 9 : 64, c = fg_div_floor(z, step);
		uint64_t h0 = fg_phantom_hash(par->seed, tag, c, o, 0);
		uint64_t h1 = fg_phantom_hash(par->seed, tag, c + 1, o, 0);
		float f = (float)(z - c * step) / (float)step;
		float a = (float)fg_phantom_s16(h0, 20) / 32768.f;
		float b = (float)fg_phantom_s16(h1, 20) / 32768.f;

		v += (o ? 0.3f : 0.7f) * (a + f * (b - a));
	}
	return v;
}

static void
set_nucleus(struct fg_phantom_geom *g, struct look *k)
{
	const struct fg_phantom_brick *o = &g->out;
	int64_t at[3], c[3], r;

	k->nucleus = false;
	for (int i = 0; i < o->segs && !k->nucleus; i++) {
		if (o->seg[i].owner.cls != FG_PHANTOM_SOMA)
			continue;
		for (int d = 0; d < 3; d++)
			at[d] = o->origin[d] * g->par->calibre + (int64_t)o->p[d][0];
		if (!fg_phantom_geom_nucleus(g, at, c, &r))
			return;
		k->nucleus = true;
		k->nr = (float)r;
		for (int d = 0; d < 3; d++)
			k->nc[d] = (float)(c[d] - o->origin[d] * g->par->calibre);
	}
}

static void
prepare(struct fg_phantom_geom *g, struct look *k)
{
	const int64_t *b = g->brick;
	int64_t two[3], all[3];

	k->par = g->par;
	k->p = (float)g->par->calibre;
	k->blur = 0.25f * (float)g->nm2[0];
	for (int d = 0; d < 3; d++) {
		two[d] = FG_MIN(b[d], 2);
		all[d] = b[d];
	}
	texture(g, 0xa10, two, k->fine);
	texture(g, 0xa11, all, k->coarse);
	texture(g, 0xa12, all, k->er);
	for (int i = 0; i < g->out.segs; i++) {
		k->d[i] = (struct decor){.partner = -1};
		decorate(g, k, i);
	}
	for (int i = 0; i < g->out.segs; i++)
		connect(g, k, i);
	set_nucleus(g, k);
}

void
fg_phantom_look_brick(struct fg_phantom_geom *g, uint8_t *grey)
{
	const struct fg_phantom_brick *o = &g->out;
	float noise = (float)g->par->noise * (1.f / 37837.f);
	struct look k;
	int i = 0;

	prepare(g, &k);
	for (int z = 0; z < g->brick[2]; z++) {
		int64_t vz = o->vx.lo[2] + z;
		float offset = (float)g->par->drift * drift(g->par, 0xa20, vz);
		float gain =
		    1.f + (float)g->par->drift * 0.005f * drift(g->par, 0xa21, vz);

		for (int y = 0; y < g->brick[1]; y++) {
			for (int x = 0; x < g->brick[0]; x++, i++) {
				float at[3] = {o->p[0][i], o->p[1][i], o->p[2][i]};
				int64_t vx = o->vx.lo[0] + x, vy = o->vx.lo[1] + y;
				uint64_t h;
				float v;

				v = k.d[o->first[i]].base + 9.f * k.fine[i] +
				    7.f * k.coarse[i];
				v = inside(o, &k, i, at, v);
				v = edges(o, &k, i, at, v);
				h = fg_phantom_hash(g->par->seed, 0xa30, vx, vy, vz);
				v += noise * (float)(fg_phantom_s16(h, 0) +
						     fg_phantom_s16(h, 16) +
						     fg_phantom_s16(h, 32) +
						     fg_phantom_s16(h, 48));
				v = 128.f + gain * (v - 128.f) + offset;
				if (g->par->defects)
					v = damage(g->par, vx, vy, vz, v);
				v = v < 0.f ? 0.f : v > 255.f ? 255.f : v;
				grey[i] = (uint8_t)(v + 0.5f);
			}
		}
	}
}
