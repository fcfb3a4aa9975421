/* SPDX-License-Identifier: Apache-2.0 */
/* Where the objects of a block began: see the header. */
#include "config.h"

#include "work/origins.h"

#include <stdlib.h>

#include "base/base.h"

struct fg_origin {
	int64_t vx[3];
	bool known;
};

void
fg_origins_fini(struct fg_origins *o)
{
	free(o->of);
	*o = (struct fg_origins){0};
}

void
fg_origins_put(struct fg_origins *o, uint32_t label, const int64_t vx[3])
{
	fg_assert(label > 0);
	if (label > o->n) {
		size_t n = FG_MAX((size_t)label, 2 * o->n);

		o->of = fg_realloc(o->of, n, sizeof *o->of);
		memset(o->of + o->n, 0, (n - o->n) * sizeof *o->of);
		o->n = n;
	}
	memcpy(o->of[label - 1].vx, vx, sizeof o->of->vx);
	o->of[label - 1].known = true;
}

bool
fg_origins_find(const struct fg_origins *o, uint32_t label, int64_t vx[3])
{
	if (label == 0 || label > o->n || !o->of[label - 1].known)
		return false;
	memcpy(vx, o->of[label - 1].vx, sizeof o->of->vx);
	return true;
}

/* The label of a voxel, 0 outside of the box. */
static uint32_t
label_at(const struct fg_array *labels, const struct fg_box *box, const int64_t vx[3])
{
	size_t i = 0;

	for (int d = 2; d >= 0; d--) {
		if (vx[d] < box->lo[d] || vx[d] >= box->hi[d])
			return 0;
		i = i * (size_t)labels->shape[d] + (size_t)(vx[d] - box->lo[d]);
	}
	return ((const uint32_t *)labels->data)[i];
}

void
fg_origins_confine(struct fg_origins *o, const struct fg_array *labels,
    const struct fg_box *box)
{
	for (size_t k = 0; k < o->n; k++)
		o->of[k].known =
		    o->of[k].known && label_at(labels, box, o->of[k].vx) == k + 1;
}

void
fg_origins_follow(struct fg_origins *o, const struct fg_array *labels,
    const struct fg_box *box)
{
	struct fg_origins was = *o;

	*o = (struct fg_origins){0};
	for (size_t k = 0; k < was.n; k++) {
		uint32_t now =
		    was.of[k].known ? label_at(labels, box, was.of[k].vx) : 0;

		if (now > 0)
			fg_origins_put(o, now, was.of[k].vx);
	}
	fg_origins_fini(&was);
}
