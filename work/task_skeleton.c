/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The task that makes the skeleton of one object: traced in one go, from the box that
 * the object fills.
 *
 * Limit: WHOLE_MAX voxels. Tracing block by block and joining at the borders would lift
 * it.
 */
#include "config.h"

#include "work/artefact.h"

#include "base/clock.h"
#include "base/json.h"
#include "mesh/skeleton.h"

/* 12 bytes a voxel while tracing: 1.5 GiB. */
#define WHOLE_MAX (INT64_C(1) << 27)

/* All trees of the object in a box. An object so small that all of it counts as dust
 * has one all the same: somebody asked for it. */
static int
trace(struct fg_body *b, const struct fg_box *vx, struct fg_skeleton *out,
    struct fg_err *err)
{
	struct fg_skeleton_params p = FG_SKELETON_PARAMS;
	struct fg_array mask = FG_ARRAY_INIT;
	struct fg_skeletons s = {0};
	struct fg_box hull;
	int rc;

	if (fg_body_mask(b, vx, &mask, &hull, err) < 0)
		return -1;
	if (!mask.data)
		return 0;
	memcpy(p.nm, b->scale->nm, sizeof p.nm);
	memcpy(p.origin_vx, hull.lo, sizeof p.origin_vx);
	p.cancel = (_Atomic bool *)&b->task->cancel;
	p.fix_borders = false;
	rc = fg_skeletons_make(&mask, &p, &s, err);
	if (rc == 0 && s.count == 0) {
		fg_skeletons_fini(&s);
		p.dust_threshold = 0;
		rc = fg_skeletons_make(&mask, &p, &s, err);
	}
	fg_array_fini(&mask);
	if (rc < 0)
		return -1;
	if (s.count > 0) {
		*out = s.skeleton[0];
		s.skeleton[0] = FG_SKELETON_INIT;
	}
	fg_skeletons_fini(&s);
	return 0;
}

static char *
format_stats(const struct fg_body *b, const struct fg_skeleton *s, int64_t trace_ns)
{
	json_t *j = json_pack("{s:I,s:I,s:I,s:I,s:f,s:f}", "gen",
	    (json_int_t)b->object.gen, "vertices", (json_int_t)s->vertices, "edges",
	    (json_int_t)s->edges, "chunks", (json_int_t)b->chunks, "read_s",
	    (double)b->read_ns / 1e9, "trace_s", (double)(trace_ns - b->read_ns) / 1e9);
	char *text = fg_json_format(j);

	json_decref(j);
	return text;
}

int
fg_task_skeleton(struct fg_task *t, struct fg_env *env, struct fg_output *out,
    struct fg_err *err)
{
	struct fg_skeleton s = FG_SKELETON_INIT;
	struct fg_output made = {0};
	struct fg_buf *bytes = NULL;
	int64_t t0 = fg_clock_ns();
	struct fg_body b;
	struct fg_box vx;
	int rc = -1;

	if (fg_body_init(&b, t, env, err) < 0)
		return -1;
	/* One voxel more, so that distances end at the object's surface; but not at the
	 * border of the volume, behind which the object may go on. */
	for (int d = 0; d < 3; d++) {
		vx.lo[d] = b.object.lo[d] - 1;
		vx.hi[d] = b.object.hi[d] + 1;
	}
	if (!fg_box_intersect(&vx, &b.bounds, &vx)) {
		fg_fail(err, FG_ECORRUPT, "object %llu lies outside of its volume",
		    (unsigned long long)b.object.id);
		goto out;
	}
	if ((double)(vx.hi[0] - vx.lo[0]) * (double)(vx.hi[1] - vx.lo[1]) *
		(double)(vx.hi[2] - vx.lo[2]) >
	    (double)WHOLE_MAX) {
		fg_fail(err, FG_ENOTSUP,
		    "object %llu fills a box of more than the %lld voxels that are "
		    "traced in one go",
		    (unsigned long long)b.object.id, (long long)WHOLE_MAX);
		goto out;
	}
	if (trace(&b, &vx, &s, err) < 0 || fg_skeleton_encode(&s, &bytes, err) < 0)
		goto out;
	fg_output_put(&made, &(struct fg_payload){.key = t->key,
				 .gen = b.object.gen,
				 .state = FG_PRESENT,
				 .bytes = bytes});
	made.stats = format_stats(&b, &s, fg_clock_ns() - t0);
	fg_output_seal(&made);
	made.result.task = t->key;
	*out = made;
	rc = 0;
out:
	fg_skeleton_fini(&s);
	fg_body_fini(&b);
	return rc;
}
