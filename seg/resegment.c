/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Resegmentation of one contact: see the header. One flood at a time; each is the same
 * machine that blocks use (seg/flood.h), with all other objects as labels, so that it
 * moves under the same rules.
 */
#include "config.h"

#include "seg/resegment.h"

#include <math.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"
#include "seg/batcher.h"
#include "seg/flood.h"
#include "seg/seeds.h"

#define POLL_NS (50 * FG_NS_PER_MS)
#define EDGE_MAX 1024 /* voxels; of a radius */
/* Of the box round a contact, of which some twenty bytes a voxel are held. */
#define BOX_MAX INT64_C(256000000)
/* A voxel is taken back when its probability falls from at least the one to below the
 * other in one step (the published analysis's constants). */
#define HELD 0.8
#define LOST 0.5

void
fg_resegment_rule_default(struct fg_resegment_rule *r, const struct fg_net_shape *shape)
{
	*r = (struct fg_resegment_rule){
	    .reach = 2,
	    .faces = 10,
	    .retries = 1,
	    .iou = 0.8,
	    .recovered = 0.6,
	    .deleted = 0.02,
	};
	for (int d = 0; d < 3; d++) {
		r->radius[d] = 3 * shape->fov[d] / 2;
		r->analysis[d] = shape->fov[d];
		r->exclude[d] = shape->delta[d];
	}
}

int
fg_resegment_rule_parse(const json_t *obj, struct fg_resegment_rule *r,
    struct fg_err *err)
{
	static const char *const known[] = {"reach", "faces", "radius", "analysis",
	    "exclude", "retries", "iou", "recovered", "deleted", "overlap"};
	const enum fg_json_need opt = FG_JSON_OPTIONAL;
	struct fg_resegment_rule q = *r;
	const char *key;
	json_t *v;

	if (!json_is_object(obj))
		return fg_fail(err, FG_EINVAL, "\"resegment\" is not an object");
	json_object_foreach((json_t *)obj, key, v)
	{
		size_t i = 0;

		while (i < FG_COUNTOF(known) && strcmp(known[i], key) != 0)
			i++;
		if (i == FG_COUNTOF(known))
			return fg_fail(err, FG_EINVAL,
			    "resegment: \"%.60s\" is not known", key);
	}
	if (fg_json_get_int(obj, "reach", opt, 0, 32, &q.reach, err) < 0 ||
	    fg_json_get_int(obj, "faces", opt, 1, INT32_MAX, &q.faces, err) < 0 ||
	    fg_json_get_int3(obj, "radius", opt, 1, EDGE_MAX, q.radius, err) < 0 ||
	    fg_json_get_int3(obj, "analysis", opt, 1, EDGE_MAX, q.analysis, err) < 0 ||
	    fg_json_get_int3(obj, "exclude", opt, 0, EDGE_MAX, q.exclude, err) < 0 ||
	    fg_json_get_int(obj, "retries", opt, 0, 100, &q.retries, err) < 0 ||
	    fg_json_get_real(obj, "overlap", opt, 0, 2, &q.overlap, err) < 0 ||
	    fg_json_get_real(obj, "iou", opt, 0, 2, &q.iou, err) < 0 ||
	    fg_json_get_real(obj, "recovered", opt, 0, 2, &q.recovered, err) < 0 ||
	    fg_json_get_real(obj, "deleted", opt, 0, 2, &q.deleted, err) < 0)
		return fg_err_prefix(err, "resegment");
	*r = q;
	return 0;
}

int
fg_resegment_rule_check(const struct fg_resegment_rule *r, struct fg_err *err)
{
	int64_t box = 1;

	for (int d = 0; d < 3; d++)
		box *= 2 * r->radius[d] + 1;
	if (box > BOX_MAX)
		return fg_fail(err, FG_EINVAL,
		    "resegment: a \"radius\" of %lld, %lld, %lld is a box of %lld "
		    "million voxels, at most %lld",
		    (long long)r->radius[0], (long long)r->radius[1],
		    (long long)r->radius[2], (long long)(box / 1000000),
		    (long long)(BOX_MAX / 1000000));
	return 0;
}

json_t *
fg_resegment_rule_format(const struct fg_resegment_rule *r)
{
	return json_pack("{s:I,s:I,s:f,s:o,s:o,s:o,s:I,s:f,s:f,s:f}", "reach",
	    (json_int_t)r->reach, "faces", (json_int_t)r->faces, "overlap", r->overlap,
	    "radius", fg_json_int3(r->radius), "analysis", fg_json_int3(r->analysis),
	    "exclude", fg_json_int3(r->exclude), "retries", (json_int_t)r->retries,
	    "iou", r->iou, "recovered", r->recovered, "deleted", r->deleted);
}

/* ------------------------------------------------------------- one flood */

struct reseg {
	const struct fg_resegment_call *call;
	struct fg_batcher *batcher;
	struct fg_client *client;
	const int64_t *shape;
	struct fg_step_params params;
	struct fg_flood flood;
	struct fg_box look; /* the analysis box */
	uint32_t *taken;    /* obstacles */
	uint8_t *edge;      /* work space: what is not the side's; then no start */
	float *dist;
	float *patch[2];  /* logits of a field of view before and after a step */
	uint8_t *mask[2]; /* what the two floods filled */
};

static float
logit(double p)
{
	return (float)log(p / (1 - p));
}

static size_t
count(const struct reseg *s)
{
	return (size_t)(s->shape[0] * s->shape[1] * s->shape[2]);
}

/* Run the step of s->flood. */
static int
run_step(struct reseg *s, struct fg_err *err)
{
	struct fg_request req = {.step = &s->flood.step}, *r = NULL;
	bool stop = false;

	fg_client_submit(s->client, &req);
	while (!r) {
		r = fg_client_take(s->client, POLL_NS);
		stop = (s->call->cancel && *s->call->cancel) ||
		       fg_batcher_is_stopped(s->batcher);
		if (!r && stop && fg_client_withdraw(s->client, &req))
			break;
	}
	if (stop)
		return fg_fail(err, FG_ECANCELED, "cancelled");
	if (r->rc < 0 && err)
		*err = r->err;
	return r->rc;
}

static bool
in_box(const struct fg_box *b, const int64_t p[3])
{
	for (int d = 0; d < 3; d++) {
		if (p[d] < b->lo[d] || p[d] >= b->hi[d])
			return false;
	}
	return true;
}

/* Voxels that the step took back. */
static uint64_t
count_lost(const struct reseg *s, size_t n)
{
	const float held = logit(HELD), lost = logit(LOST);
	uint64_t sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += s->patch[0][i] >= held && s->patch[1][i] < lost;
	return sum;
}

/* Flood from a start; what fields of view in the analysis box took back is added to
 * *lost. */
static int
flood_from(struct reseg *s, const int64_t start[3], uint64_t *lost, uint64_t *steps,
    struct fg_err *err)
{
	const uint8_t *mask = s->call->mask ? s->call->mask->data : NULL;
	const int64_t *fov = s->flood.fov;
	size_t n = (size_t)(fov[0] * fov[1] * fov[2]);

	if (fg_flood_start(&s->flood, start, err) < 0)
		return -1;
	while (fg_flood_next(&s->flood, s->taken, mask)) {
		const int64_t *c = s->flood.step.centre;
		int64_t lo[3];

		for (int d = 0; d < 3; d++)
			lo[d] = c[d] - fov[d] / 2;
		fg_canvas_gather(s->flood.canvas, lo, fov, s->patch[0]);
		if (run_step(s, err) < 0)
			return -1;
		fg_canvas_gather(s->flood.canvas, lo, fov, s->patch[1]);
		if (in_box(&s->look, c))
			*lost += count_lost(s, n);
		fg_flood_took(&s->flood);
		++*steps;
	}
	return 0;
}

/* ------------------------------------------------------------- one side */

/* The thickest place of the object where a flood may start: the first of equals in z,
 * y, x order. False: there is none. */
static bool
find_start(const struct reseg *s, int64_t start[3])
{
	float best = 0;
	int64_t p[3];
	size_t i = 0;

	for (p[2] = 0; p[2] < s->shape[2]; p[2]++) {
		for (p[1] = 0; p[1] < s->shape[1]; p[1]++) {
			for (p[0] = 0; p[0] < s->shape[0]; p[0]++, i++) {
				if (s->edge[i] || s->dist[i] <= best ||
				    !fg_flood_fits(&s->flood, p))
					continue;
				best = s->dist[i];
				memcpy(start, p, sizeof p);
			}
		}
	}
	return best > 0;
}

static int
measure(struct reseg *s, uint8_t side, struct fg_err *err)
{
	const uint8_t *mask = s->call->mask ? s->call->mask->data : NULL;
	const uint8_t *v = s->call->side->data;
	const double *nm = s->call->params->voxel_nm;
	double least = FG_MIN(nm[0], FG_MIN(nm[1], nm[2]));
	const double step[3] = {nm[0] / least, nm[1] / least, nm[2] / least};

	for (size_t i = 0, n = count(s); i < n; i++)
		s->edge[i] = v[i] != side || (mask && mask[i]);
	return fg_seeds_distance2(s->edge, s->shape, step, s->dist, err);
}

static void
exclude(struct reseg *s, const int64_t at[3])
{
	const int64_t *r = s->call->rule->exclude;
	int64_t p[3];

	for (p[2] = FG_MAX(at[2] - r[2], 0); p[2] <= at[2] + r[2]; p[2]++) {
		for (p[1] = FG_MAX(at[1] - r[1], 0); p[1] <= at[1] + r[1]; p[1]++) {
			for (p[0] = FG_MAX(at[0] - r[0], 0); p[0] <= at[0] + r[0];
			     p[0]++) {
				if (p[0] < s->shape[0] && p[1] < s->shape[1] &&
				    p[2] < s->shape[2])
					s->edge[(p[2] * s->shape[1] + p[1]) *
						    s->shape[0] +
						p[0]] = 1;
			}
		}
	}
}

/* What the flood filled, of free voxels; returns how many. */
static uint64_t
take_mask(struct reseg *s, uint8_t *mask)
{
	const float least = logit(LOST);
	uint64_t sum = 0;
	int64_t p[3];
	size_t i = 0;

	for (p[2] = 0; p[2] < s->shape[2]; p[2]++) {
		for (p[1] = 0; p[1] < s->shape[1]; p[1]++) {
			for (p[0] = 0; p[0] < s->shape[0]; p[0]++, i++) {
				mask[i] = s->taken[i] == 0 &&
					  fg_canvas_get(s->flood.canvas, p) >= least;
				sum += mask[i];
			}
		}
	}
	return sum;
}

/* Share of an object's voxels in the analysis box that are in the mask; 1 without any.
 */
static double
share_of(const struct reseg *s, const uint8_t *mask, uint8_t side)
{
	const uint8_t *v = s->call->side->data;
	uint64_t all = 0, in = 0;
	int64_t p[3];

	for (p[2] = s->look.lo[2]; p[2] < s->look.hi[2]; p[2]++) {
		for (p[1] = s->look.lo[1]; p[1] < s->look.hi[1]; p[1]++) {
			for (p[0] = s->look.lo[0]; p[0] < s->look.hi[0]; p[0]++) {
				size_t i =
				    (size_t)((p[2] * s->shape[1] + p[1]) * s->shape[0] +
					     p[0]);

				all += v[i] == side;
				in += v[i] == side && mask[i];
			}
		}
	}
	return all > 0 ? (double)in / (double)all : 1;
}

/* Flood from side k (0: a, 1: b), from as many starts as the rule allows. */
static int
flood_side(struct reseg *s, int k, struct fg_resegment_result *out, struct fg_err *err)
{
	const struct fg_resegment_rule *r = s->call->rule;
	uint8_t side = k == 0 ? FG_SIDE_A : FG_SIDE_B;
	int64_t start[3];
	uint64_t lost;
	int rc;

	if (measure(s, side, err) < 0)
		return -1;
	for (int64_t i = 0; i <= r->retries && find_start(s, start); i++) {
		/* Others' batches wait for a client that is active: only while it is.
		 */
		lost = 0;
		fg_client_active(s->client, 1);
		rc = flood_from(s, start, &lost, &out->steps, err);
		fg_client_active(s->client, 0);
		if (rc < 0)
			return -1;
		out->voxels[k] = take_mask(s, s->mask[k]);
		out->deleted[k] =
		    (double)lost / (double)FG_MAX(out->voxels[k], UINT64_C(1));
		for (int j = 0; j < 2; j++)
			out->recovered[k][j] =
			    share_of(s, s->mask[k], j == 0 ? FG_SIDE_A : FG_SIDE_B);
		out->done[k] = true;
		if (out->recovered[k][k] >= r->recovered)
			break;
		exclude(s, start);
	}
	return 0;
}

/* ------------------------------------------------------------- the decision */

static bool
finds_both(const struct fg_resegment_rule *r, const struct fg_resegment_result *out,
    int k)
{
	return FG_MIN(out->recovered[k][0], out->recovered[k][1]) >= r->recovered;
}

static void
decide(struct reseg *s, struct fg_resegment_result *out)
{
	const struct fg_resegment_rule *r = s->call->rule;
	int64_t p[3];
	double all;

	for (p[2] = s->look.lo[2]; p[2] < s->look.hi[2]; p[2]++) {
		for (p[1] = s->look.lo[1]; p[1] < s->look.hi[1]; p[1]++) {
			for (p[0] = s->look.lo[0]; p[0] < s->look.hi[0]; p[0]++) {
				size_t i =
				    (size_t)((p[2] * s->shape[1] + p[1]) * s->shape[0] +
					     p[0]);

				out->both += s->mask[0][i] && s->mask[1][i];
				out->only[0] += s->mask[0][i] && !s->mask[1][i];
				out->only[1] += !s->mask[0][i] && s->mask[1][i];
			}
		}
	}
	all = (double)(out->both + out->only[0] + out->only[1]);
	out->joined = out->both > 0 && (double)out->both >= r->iou * all &&
		      FG_MIN(out->deleted[0], out->deleted[1]) <= r->deleted;
	for (int k = 0; k < 2; k++)
		out->joined &= finds_both(r, out, k);
}

/* Flood from one side, then from the other where that can still change anything. */
static int
flood_sides(struct reseg *s, struct fg_resegment_result *out, struct fg_err *err)
{
	const uint8_t *v = s->call->side->data;
	int64_t more = 0; /* voxels of a beyond those of b */
	int first;

	for (size_t i = 0, n = count(s); i < n; i++)
		more += (v[i] == FG_SIDE_A) - (v[i] == FG_SIDE_B);
	first = more > 0;
	if (flood_side(s, first, out, err) < 0)
		return -1;
	out->flooded = out->done[first];
	if (!out->flooded || !finds_both(s->call->rule, out, first))
		return 0;
	if (flood_side(s, !first, out, err) < 0)
		return -1;
	out->flooded = out->done[!first];
	return 0;
}

static int
prepare(struct reseg *s, struct fg_err *err)
{
	const struct fg_resegment_call *c = s->call;
	const struct fg_net_shape *shape = &fg_batcher_net(s->batcher)->shape;
	size_t n = count(s),
	       fov = (size_t)(shape->fov[0] * shape->fov[1] * shape->fov[2]);
	const uint8_t *side = c->side->data;

	fg_flood_step_params(c->params, shape, &s->params);
	fg_flood_init(&s->flood, c->image, shape, &s->params);
	s->taken = fg_try_alloc(n, sizeof *s->taken);
	s->dist = fg_try_alloc(n, sizeof *s->dist);
	s->edge = fg_try_alloc(n, 1);
	for (int i = 0; i < 2; i++) {
		s->mask[i] = fg_try_alloc(n, 1);
		s->patch[i] = fg_try_alloc(fov, sizeof(float));
	}
	if (!s->taken || !s->dist || !s->edge || !s->mask[0] || !s->mask[1] ||
	    !s->patch[0] || !s->patch[1])
		return fg_fail(err, FG_ENOMEM, "no memory to flood a contact again");
	for (size_t i = 0; i < n; i++)
		s->taken[i] = side[i] == FG_SIDE_OTHER;
	for (int i = 0; i < 2; i++)
		memset(s->mask[i], 0, n);
	for (int d = 0; d < 3; d++) {
		s->look.lo[d] = FG_MAX(c->at[d] - c->rule->analysis[d], 0);
		s->look.hi[d] =
		    FG_MIN(c->at[d] + c->rule->analysis[d] + 1, s->shape[d]);
	}
	return 0;
}

int
fg_resegment_pair(struct fg_batcher *b, const struct fg_resegment_call *call,
    struct fg_resegment_result *out, struct fg_err *err)
{
	struct reseg s = {.call = call, .batcher = b, .shape = call->image->shape};
	struct fg_resegment_result res = {0};
	int rc = -1;

	fg_assert(call->side->dtype == FG_U8);
	for (int d = 0; d < 3; d++)
		fg_assert(call->side->shape[d] == s.shape[d]);
	s.client = fg_client_enter(b, call->cls);
	if (prepare(&s, err) < 0)
		goto out;
	if (flood_sides(&s, &res, err) < 0)
		goto out;
	if (res.flooded)
		decide(&s, &res);
	*out = res;
	rc = 0;
out:
	fg_client_leave(s.client);
	fg_flood_fini(&s.flood);
	free(s.taken);
	free(s.dist);
	free(s.edge);
	for (int i = 0; i < 2; i++) {
		free(s.mask[i]);
		free(s.patch[i]);
	}
	return rc;
}
