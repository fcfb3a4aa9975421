/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The phantom's door: parameters from text, boxes put together from bricks, centre
 * lines and synapses. Geometry is in store/phantom_geom.c and phantom_tree.c, grey
 * values in phantom_look.c, and the two source schemes in phantom_source.c.
 *
 * Every call makes its own work space (about 0.5 MB) and drops it; nothing is shared.
 */
#include "config.h"

#include "store/phantom.h"

#include <errno.h>
#include <stdlib.h>

#include "store/phantom_geom.h"
#include "store/phantom_look.h"

#define COORD_MAX ((int64_t)1 << 21)

static const struct option {
	const char *key;
	size_t offset;
	int count; /* 3: AxBxC or one number for all */
	int64_t lo, hi, value;
} options[] = {
    {"seed", offsetof(struct fg_phantom, seed), 1, 0, INT64_MAX, 1},
    {"size", offsetof(struct fg_phantom, size), 3, 1, 1 << 20, 1024},
    {"nm", offsetof(struct fg_phantom, nm), 3, 1, 100, 8},
    {"calibre", offsetof(struct fg_phantom, calibre), 1, 200, 1000, 320},
    {"gap", offsetof(struct fg_phantom, gap), 1, 0, 40, 8},
    {"noise", offsetof(struct fg_phantom, noise), 1, 0, 60, 12},
    {"jitter", offsetof(struct fg_phantom, jitter), 1, 0, 100, 0},
    {"drift", offsetof(struct fg_phantom, drift), 1, 0, 60, 6},
    {"defects", offsetof(struct fg_phantom, defects), 1, 0, 200, 0},
    {"organelles", offsetof(struct fg_phantom, organelles), 1, 0, 300, 100},
    {"somata", offsetof(struct fg_phantom, somata), 1, 0, 100, 50},
};

static int64_t *
field(struct fg_phantom *p, const struct option *o)
{
	return (int64_t *)(void *)((char *)p + o->offset);
}

void
fg_phantom_default(struct fg_phantom *p)
{
	for (size_t i = 0; i < FG_COUNTOF(options); i++) {
		for (int d = 0; d < options[i].count; d++)
			field(p, &options[i])[d] = options[i].value;
	}
}

/* One whole number lo..hi at *text, which moves behind it. */
static int
parse_number(const char **text, const struct option *o, int64_t *out,
    struct fg_err *err)
{
	char *end;
	long long v;

	errno = 0;
	v = strtoll(*text, &end, 10);
	if (end == *text || errno != 0 || v < o->lo || v > o->hi)
		return fg_fail(err, FG_EINVAL,
		    "phantom: %s=%.40s: wanted a whole number %lld .. %lld", o->key,
		    *text, (long long)o->lo, (long long)o->hi);
	*text = end;
	*out = v;
	return 0;
}

static int
parse_value(const char **text, const struct option *o, struct fg_phantom *p,
    struct fg_err *err)
{
	const char *start = *text;
	int64_t v[3];
	int n = 0;

	do {
		if (n == o->count)
			break;
		*text += n > 0;
		if (parse_number(text, o, &v[n++], err) < 0)
			return -1;
	} while (**text == 'x');
	if ((**text != '\0' && **text != ',') || (n != 1 && n != o->count))
		return fg_fail(err, FG_EINVAL, "phantom: %s=%.40s: wanted %s", o->key,
		    start, o->count == 3 ? "N or XxYxZ" : "one number");
	for (int d = 0; d < o->count; d++)
		field(p, o)[d] = v[n == 1 ? 0 : d];
	return 0;
}

int
fg_phantom_parse(const char *text, struct fg_phantom *p, struct fg_err *err)
{
	struct fg_phantom q = *p;

	while (*text) {
		const char *eq = strchr(text, '=');
		size_t len = eq ? (size_t)(eq - text) : strcspn(text, ",");
		const struct option *o = options, *end = o + FG_COUNTOF(options);

		while (o < end && (strlen(o->key) != len || strncmp(o->key, text, len)))
			o++;
		if (!eq || o == end)
			return fg_fail(err, FG_EINVAL,
			    "phantom: \"%.*s\" is not a KEY=VALUE of seed, size, nm, "
			    "calibre, gap, noise, jitter, drift, defects, organelles, "
			    "somata",
			    (int)FG_MIN(len, 40), text);
		text = eq + 1;
		if (parse_value(&text, o, &q, err) < 0)
			return -1;
		text += *text == ',';
	}
	*p = q;
	return 0;
}

/* ------------------------------------------------------------- boxes */

/* Geometry for the voxels of a scale, after checking the call. */
static struct fg_phantom_geom *
begin(const struct fg_phantom *p, int scale, const struct fg_box *vx,
    const struct fg_array *out, enum fg_dtype t, struct fg_err *err)
{
	int64_t shape[3], nm[3];

	if (scale < 0 || scale > 20)
		return fg_fail_null(err, FG_EINVAL, "phantom: no scale %d", scale);
	fg_box_shape(vx, shape);
	for (int d = 0; d < 3; d++) {
		if (vx->lo[d] < -COORD_MAX || vx->hi[d] > COORD_MAX ||
		    vx->hi[d] < vx->lo[d])
			return fg_fail_null(err, FG_EINVAL,
			    "phantom: box %lld..%lld on axis %d is beyond +-2^21 "
			    "voxels",
			    (long long)vx->lo[d], (long long)vx->hi[d], d);
		if (out->shape[d] != shape[d])
			return fg_fail_null(err, FG_EINVAL,
			    "phantom: array of %lld voxels for a box of %lld on axis "
			    "%d",
			    (long long)out->shape[d], (long long)shape[d], d);
		nm[d] = p->nm[d] << scale;
	}
	if (out->dtype != t || out->shape[3] != 1)
		return fg_fail_null(err, FG_EINVAL, "phantom: wanted %s, one channel",
		    fg_dtype_name(t));
	return fg_phantom_geom_new(p, nm);
}

/* Bricks that hold the box, as indices. */
static struct fg_box
bricks(const struct fg_phantom_geom *g, const struct fg_box *vx)
{
	struct fg_box b;

	for (int d = 0; d < 3; d++) {
		b.lo[d] = fg_div_floor(vx->lo[d], g->brick[d]);
		b.hi[d] = fg_div_floor(vx->hi[d] - 1, g->brick[d]) + 1;
	}
	return b;
}

/* Copy the part of a brick's values that is in the box. */
static void
put_brick(const struct fg_phantom_geom *g, void *values, struct fg_array *out,
    const struct fg_box *vx)
{
	struct fg_array a = {out->dtype, {g->brick[0], g->brick[1], g->brick[2], 1},
	    values};

	fg_array_copy_box(out, vx, &a, &g->out.vx);
}

int
fg_phantom_image(const struct fg_phantom *p, int scale, const struct fg_box *vx,
    struct fg_array *out, struct fg_err *err)
{
	struct fg_phantom_geom *g = begin(p, scale, vx, out, FG_U8, err);
	uint8_t grey[FG_PHANTOM_VOXELS];
	struct fg_box b;

	if (!g)
		return -1;
	b = bricks(g, vx);
	for (int64_t z = b.lo[2]; z < b.hi[2]; z++)
		for (int64_t y = b.lo[1]; y < b.hi[1]; y++)
			for (int64_t x = b.lo[0]; x < b.hi[0]; x++) {
				fg_phantom_geom_brick(g, (int64_t[3]){x, y, z});
				fg_phantom_look_brick(g, grey);
				put_brick(g, grey, out, vx);
			}
	fg_phantom_geom_free(g);
	return 0;
}

static void
brick_labels(const struct fg_phantom_geom *g, uint64_t *out)
{
	const struct fg_phantom_brick *o = &g->out;
	float gap = (float)g->par->gap;

	for (int i = 0; i < o->n; i++) {
		const struct fg_phantom_owner *w = &o->seg[o->first[i]].owner;
		float t = o->t[i];

		/* With gap=0 every voxel has its owner, myelin included. */
		if (gap > 0 && o->second[i] >= 0 &&
		    (t < gap || (w->cls == FG_PHANTOM_MYELIN && t < 42.f)))
			out[i] = 0;
		else
			out[i] = w->label;
	}
}

int
fg_phantom_labels(const struct fg_phantom *p, int scale, const struct fg_box *vx,
    struct fg_array *out, struct fg_err *err)
{
	struct fg_phantom_geom *g = begin(p, scale, vx, out, FG_U64, err);
	uint64_t label[FG_PHANTOM_VOXELS];
	struct fg_box b;

	if (!g)
		return -1;
	b = bricks(g, vx);
	for (int64_t z = b.lo[2]; z < b.hi[2]; z++)
		for (int64_t y = b.lo[1]; y < b.hi[1]; y++)
			for (int64_t x = b.lo[0]; x < b.hi[0]; x++) {
				fg_phantom_geom_brick(g, (int64_t[3]){x, y, z});
				brick_labels(g, label);
				put_brick(g, label, out, vx);
			}
	fg_phantom_geom_free(g);
	return 0;
}
