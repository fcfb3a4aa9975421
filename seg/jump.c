/* SPDX-License-Identifier: Apache-2.0 */
/* Sections that do not continue one another: see the header. */
#include "config.h"

#include "seg/jump.h"

#include <math.h>
#include <stdlib.h>

#include "base/json.h"

#define TILE_LEAST 16
#define FLAT 1.0 /* grey values squared; a section with less variance shows nothing */

void
fg_jump_rule_default(struct fg_jump_rule *r)
{
	*r = (struct fg_jump_rule){.search = 8, .tile = 64};
}

int
fg_jump_rule_parse(const json_t *obj, struct fg_jump_rule *r, struct fg_err *err)
{
	static const char *const known[] = {"shift", "search", "tile", "correlation"};
	const enum fg_json_need opt = FG_JSON_OPTIONAL;
	struct fg_jump_rule q = *r;
	const char *key;
	json_t *v;

	if (!json_is_object(obj))
		return fg_fail(err, FG_EINVAL, "\"jumps\" is not an object");
	json_object_foreach((json_t *)obj, key, v)
	{
		size_t i = 0;

		while (i < FG_COUNTOF(known) && strcmp(known[i], key) != 0)
			i++;
		if (i == FG_COUNTOF(known))
			return fg_fail(err, FG_EINVAL, "jumps: \"%.60s\" is not known",
			    key);
	}
	if (fg_json_get_int(obj, "shift", opt, 0, 64, &q.shift, err) < 0 ||
	    fg_json_get_int(obj, "search", opt, 1, 64, &q.search, err) < 0 ||
	    fg_json_get_int(obj, "tile", opt, TILE_LEAST, 1024, &q.tile, err) < 0 ||
	    fg_json_get_real(obj, "correlation", opt, 0, 1, &q.correlation, err) < 0)
		return fg_err_prefix(err, "jumps");
	if (q.shift > q.search)
		return fg_fail(err, FG_EINVAL,
		    "jumps: \"shift\" %lld is beyond \"search\" %lld",
		    (long long)q.shift, (long long)q.search);
	*r = q;
	return 0;
}

json_t *
fg_jump_rule_format(const struct fg_jump_rule *r)
{
	return json_pack("{s:I,s:I,s:I,s:f}", "shift", (json_int_t)r->shift, "search",
	    (json_int_t)r->search, "tile", (json_int_t)r->tile, "correlation",
	    r->correlation);
}

/* ------------------------------------------------------------- matching */

struct look {
	const struct fg_array *image;
	const struct fg_jump_rule *rule;
	int64_t lo[2], hi[2]; /* the tile, voxels of the image */
	int64_t z;
};

static double
grey(const struct fg_array *a, int64_t x, int64_t y, int64_t z)
{
	size_t i = (size_t)((z * a->shape[1] + y) * a->shape[0] + x);

	return a->dtype == FG_U8 ? ((const uint8_t *)a->data)[i]
				 : ((const uint16_t *)a->data)[i];
}

/* Correlation of the tile in section z with section z + 1 moved by d, over the voxels
 * that both have; false: too few, or no contrast. */
static bool
correlate(const struct look *k, const int64_t d[2], double *out)
{
	double n = 0, a = 0, b = 0, aa = 0, bb = 0, ab = 0;
	int64_t lo[2], hi[2];

	for (int i = 0; i < 2; i++) {
		lo[i] = FG_MAX(k->lo[i], -d[i]);
		hi[i] = FG_MIN(k->hi[i], k->image->shape[i] - d[i]);
		if (hi[i] - lo[i] < TILE_LEAST)
			return false;
	}
	for (int64_t y = lo[1]; y < hi[1]; y++) {
		for (int64_t x = lo[0]; x < hi[0]; x++) {
			double v = grey(k->image, x, y, k->z);
			double w = grey(k->image, x + d[0], y + d[1], k->z + 1);

			a += v;
			b += w;
			aa += v * v;
			bb += w * w;
			ab += v * w;
		}
	}
	n = (double)((hi[0] - lo[0]) * (hi[1] - lo[1]));
	aa -= a * a / n;
	bb -= b * b / n;
	if (aa < FLAT * n || bb < FLAT * n)
		return false;
	*out = (ab - a * b / n) / sqrt(aa * bb);
	return true;
}

/* Whether the two sections belong apart within the tile. */
static bool
is_jump(const struct look *k)
{
	int64_t best[2] = {0, 0}, d[2], s = k->rule->search;
	double most = -2, c;

	/* In place first, so that of equals the nearer wins. */
	if (!correlate(k, best, &most))
		return false;
	for (d[1] = -s; d[1] <= s; d[1]++) {
		for (d[0] = -s; d[0] <= s; d[0]++) {
			if (!correlate(k, d, &c) || c <= most)
				continue;
			most = c;
			memcpy(best, d, sizeof best);
		}
	}
	return most < k->rule->correlation ||
	       FG_MAX(llabs(best[0]), llabs(best[1])) >= k->rule->shift;
}

/* Centres from which the place between the sections is in sight. */
static void
forbid(const struct look *k, const int64_t fov[3], struct fg_array *mask)
{
	const int64_t *n = mask->shape;
	int64_t rx = fov[0] / 2, ry = fov[1] / 2, rz = fov[2] / 2;
	uint8_t *v = mask->data;

	for (int64_t z = FG_MAX(k->z + 1 - rz, 0); z <= k->z + rz && z < n[2]; z++) {
		for (int64_t y = FG_MAX(k->lo[1] - ry, 0);
		     y < FG_MIN(k->hi[1] + ry, n[1]); y++) {
			int64_t x = FG_MAX(k->lo[0] - rx, 0);

			memset(v + (z * n[1] + y) * n[0] + x, 1,
			    (size_t)(FG_MIN(k->hi[0] + rx, n[0]) - x));
		}
	}
}

uint64_t
fg_jump_mask(const struct fg_array *image, const int64_t at[3], const int64_t fov[3],
    const struct fg_jump_rule *rule, struct fg_array *mask)
{
	struct look k = {.image = image, .rule = rule};
	const int64_t *n = image->shape, t = rule->tile;
	int64_t first[2];
	uint64_t found = 0;

	fg_assert(mask->dtype == FG_U8);
	for (int i = 0; i < 2; i++)
		first[i] = fg_div_floor(at[i], t) * t - at[i];
	for (k.z = 0; k.z + 1 < n[2]; k.z++) {
		for (int64_t y = first[1]; y < n[1]; y += t) {
			for (int64_t x = first[0]; x < n[0]; x += t) {
				k.lo[0] = FG_MAX(x, 0);
				k.lo[1] = FG_MAX(y, 0);
				k.hi[0] = FG_MIN(x + t, n[0]);
				k.hi[1] = FG_MIN(y + t, n[1]);
				if (!is_jump(&k))
					continue;
				found++;
				forbid(&k, fov, mask);
			}
		}
	}
	return found;
}
