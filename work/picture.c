/* SPDX-License-Identifier: Apache-2.0 */
/* Image and mask of a box: see the header. */
#include "config.h"

#include "work/picture.h"

#include <math.h>

#include "seg/jump.h"

static void
forbid_sections(const struct fg_passes *p, const struct fg_box *box,
    struct fg_array *mask)
{
	size_t area = (size_t)(mask->shape[0] * mask->shape[1]);

	for (size_t i = 0; i < p->missings; i++) {
		int64_t z = p->missing[i] - box->lo[2];

		if (z >= 0 && z < mask->shape[2])
			memset((uint8_t *)mask->data + (size_t)z * area, 1, area);
	}
}

/* Voxel of the mask's scale that holds the middle of a voxel of ours. */
static int64_t
to_mask(const struct fg_layer *l, int d, int64_t vx)
{
	double nm = l->info.scale[0].nm[d],
	       other = l->mask->info.scale[l->mask_scale].nm[d];

	return (int64_t)floor(((double)vx + 0.5) * nm / other);
}

static void
forbid_values(const struct fg_layer *l, const struct fg_box *box,
    const struct fg_array *values, const struct fg_box *at, struct fg_array *mask)
{
	const struct fg_passes *p = &l->recipe->passes;
	uint8_t *out = mask->data;
	int64_t v[3], m[3];

	for (v[2] = box->lo[2]; v[2] < box->hi[2]; v[2]++) {
		m[2] = to_mask(l, 2, v[2]);
		for (v[1] = box->lo[1]; v[1] < box->hi[1]; v[1]++) {
			m[1] = to_mask(l, 1, v[1]);
			for (v[0] = box->lo[0]; v[0] < box->hi[0]; v[0]++, out++) {
				const int64_t *n = values->shape;
				uint64_t x = 0;
				bool in = true;

				m[0] = to_mask(l, 0, v[0]);
				for (int d = 0; d < 3; d++)
					in =
					    in && m[d] >= at->lo[d] && m[d] < at->hi[d];
				if (in)
					x = fg_array_label(values,
					    (size_t)(((m[2] - at->lo[2]) * n[1] + m[1] -
							 at->lo[1]) *
							 n[0] +
						     m[0] - at->lo[0]));
				if (x >= (uint64_t)p->mask_from &&
				    x <= (uint64_t)p->mask_to)
					*out = 1;
			}
		}
	}
}

static int
forbid_layer(const struct fg_layer *l, const struct fg_box *box, struct fg_array *mask,
    struct fg_err *err)
{
	struct fg_array values = FG_ARRAY_INIT;
	int64_t shape[4] = {1, 1, 1, 1};
	struct fg_box all, at;
	int rc = -1;

	for (int d = 0; d < 3; d++) {
		at.lo[d] = to_mask(l, d, box->lo[d]);
		at.hi[d] = to_mask(l, d, box->hi[d] - 1) + 1;
	}
	fg_scale_bounds(&l->mask->info.scale[l->mask_scale], &all);
	if (!fg_box_intersect(&at, &all, &at)) {
		/* Outside it is 0. */
		if (l->recipe->passes.mask_from == 0)
			memset(mask->data, 1, fg_array_bytes(mask));
		return 0;
	}
	fg_box_shape(&at, shape);
	if (fg_array_init_zero(&values, l->mask->info.dtype, shape, err) < 0)
		return -1;
	if (fg_source_box(l->mask->source, l->mask_scale, &at, &values, NULL, err) < 0)
		fg_err_prefix(err, "mask %s", l->mask->name);
	else
		rc = 0;
	if (rc == 0)
		forbid_values(l, box, &values, &at, mask);
	fg_array_fini(&values);
	return rc;
}

int
fg_picture_read(const struct fg_layer *l, const struct fg_box *box,
    struct fg_array *image, struct fg_array *mask, struct fg_err *err)
{
	const struct fg_passes *p = &l->recipe->passes;
	int64_t shape[4] = {1, 1, 1, 1};

	fg_box_shape(box, shape);
	if (fg_array_init(image, l->image->info.dtype, shape, err) < 0 ||
	    fg_array_init_zero(mask, FG_U8, shape, err) < 0)
		return -1;
	if (fg_source_box(l->image->source, l->image_scale, box, image, mask, err) < 0)
		return fg_err_prefix(err, "image %s", l->image->name);
	forbid_sections(p, box, mask);
	if (p->jumps.shift > 0)
		fg_jump_mask(image, box->lo, l->recipe->shape.fov, &p->jumps, mask);
	if (l->mask && forbid_layer(l, box, mask, err) < 0)
		return -1;
	if (fg_array_is_zero(mask))
		fg_array_fini(mask);
	return 0;
}

int
fg_picture_coarse(const struct fg_layer *l, int scale, const struct fg_box *box,
    struct fg_picture_coarse *out, struct fg_err *err)
{
	const struct fg_scale *f = &l->image->info.scale[l->image_scale];
	const struct fg_scale *c = &l->image->info.scale[scale];
	int64_t shape[4] = {1, 1, 1, 1};
	struct fg_box all;

	for (int d = 0; d < 3; d++) {
		out->factor[d] = FG_MAX((int64_t)(c->nm[d] / f->nm[d] + 0.5), 1);
		out->box.lo[d] = fg_div_floor(box->lo[d], out->factor[d]);
		out->box.hi[d] = fg_div_ceil(box->hi[d], out->factor[d]);
	}
	fg_scale_bounds(c, &all);
	out->there = fg_box_intersect(&out->box, &all, &out->box);
	if (!out->there)
		return 0;
	fg_box_shape(&out->box, shape);
	if (fg_array_init(&out->image, l->image->info.dtype, shape, err) < 0 ||
	    fg_array_init_zero(&out->mask, FG_U8, shape, err) < 0)
		return -1;
	if (fg_source_box(l->image->source, scale, &out->box, &out->image, &out->mask,
		err) < 0)
		return fg_err_prefix(err, "image %s", l->image->name);
	return 0;
}

void
fg_picture_spread(const struct fg_picture_coarse *c, const struct fg_array *labels,
    const struct fg_box *box, struct fg_array *out)
{
	const uint32_t *in = labels->data;
	uint32_t *v = out->data;
	int64_t p[3], m[3];

	for (p[2] = box->lo[2]; p[2] < box->hi[2]; p[2]++) {
		for (p[1] = box->lo[1]; p[1] < box->hi[1]; p[1]++) {
			for (p[0] = box->lo[0]; p[0] < box->hi[0]; p[0]++, v++) {
				bool inside = true;

				for (int d = 0; d < 3; d++) {
					m[d] = fg_div_floor(p[d], c->factor[d]);
					inside = inside && m[d] >= c->box.lo[d] &&
						 m[d] < c->box.hi[d];
					m[d] -= c->box.lo[d];
				}
				*v = inside ? in[(m[2] * labels->shape[1] + m[1]) *
						      labels->shape[0] +
						  m[0]]
					    : 0;
			}
		}
	}
}
