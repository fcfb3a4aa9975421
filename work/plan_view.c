/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Jobs as JSON: what a user asks for is read and checked here, and what becomes of it
 * is told.
 */
#include "config.h"

#include "work/plan_priv.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"
#include "work/artefact.h"

#define COORDINATE_MAX (INT64_C(1) << 53)

static const char *const stage_names[FG_STAGES] = {"segment", "stitch", "resegment",
    "downsample", "mesh", "skeleton"};
static const char *const class_names[FG_CLASSES] = {"interactive", "bulk", "idle"};

/* ------------------------------------------------------------- reading a wish */

static int
check_keys(const json_t *spec, struct fg_err *err)
{
	static const char *const known[] = {"layer", "box", "unit", "scale", "stages",
	    "class", "dry_run", "objects", "ids"};
	const char *key;
	json_t *v;

	if (!json_is_object(spec))
		return fg_fail(err, FG_EINVAL, "a job is a JSON object");
	json_object_foreach((json_t *)spec, key, v)
	{
		size_t i = 0;

		while (i < FG_COUNTOF(known) && strcmp(known[i], key) != 0)
			i++;
		if (i == FG_COUNTOF(known))
			return fg_fail(err, FG_EINVAL, "there is no key \"%.40s\" here",
			    key);
	}
	return 0;
}

static int
parse_stages(const json_t *spec, unsigned *out, struct fg_err *err)
{
	const json_t *list = json_object_get(spec, "stages"), *v;
	unsigned bits = 0;
	size_t i;

	*out =
	    1u << FG_STAGE_SEGMENT | 1u << FG_STAGE_STITCH | 1u << FG_STAGE_DOWNSAMPLE;
	if (!list)
		return 0;
	if (!json_is_array(list) || json_array_size(list) == 0)
		return fg_fail(err, FG_EINVAL,
		    "\"stages\" is not a list of stages: segment, stitch, resegment, "
		    "downsample, mesh, skeleton");
	json_array_foreach(list, i, v)
	{
		const char *name = json_string_value(v);
		int s = 0;

		while (s < FG_STAGES && (!name || strcmp(name, stage_names[s]) != 0))
			s++;
		if (s == FG_STAGES)
			return fg_fail(err, FG_EINVAL,
			    "\"stages\": there is no stage \"%.40s\"",
			    name ? name : "?");
		if (!fg_plan_has_stage(s))
			return fg_fail(err, FG_ENOTSUP,
			    "stage %s: not available in this build", name);
		if (bits & 1u << s)
			return fg_fail(err, FG_EINVAL, "\"stages\": %s is there twice",
			    name);
		bits |= 1u << s;
	}
	*out = bits;
	return 0;
}

#define IDS_MAX 100000

unsigned
fg_wish_counted(const struct fg_wish *w)
{
	/* What takes longest first. */
	static const unsigned order[] = {1u << FG_STAGE_SEGMENT, FG_STAGES_OBJECTS,
	    1u << FG_STAGE_RESEGMENT, 1u << FG_STAGE_STITCH, 1u << FG_STAGE_DOWNSAMPLE};
	size_t i = 0;

	while (i + 1 < FG_COUNTOF(order) && !(w->stages & order[i]))
		i++;
	return w->stages & order[i];
}

const char *
fg_wish_unit(const struct fg_wish *w)
{
	switch (fg_wish_counted(w)) {
	case FG_STAGES_OBJECTS:
		return "meshes and skeletons";
	case 1u << FG_STAGE_MESH:
	case 1u << FG_STAGE_SKELETON:
		return "objects";
	case 1u << FG_STAGE_DOWNSAMPLE:
		return "chunks";
	default:
		return "blocks";
	}
}

void
fg_wish_fini(struct fg_wish *w)
{
	free(w->id);
	w->id = NULL;
	w->ids = 0;
}

/* An id as JSON: a number, or a string of digits where a number might be rounded. */
static bool
parse_id(const json_t *v, uint64_t *id)
{
	const char *text = json_string_value(v);
	char *end;

	if (json_is_integer(v)) {
		*id = (uint64_t)json_integer_value(v);
		return json_integer_value(v) > 0;
	}
	if (!text || strspn(text, "0123456789") != strlen(text) || strlen(text) > 20)
		return false;
	errno = 0;
	*id = strtoull(text, &end, 10);
	return errno == 0 && *id > 0;
}

/* "objects" and "ids": of which objects, for the stages that are about objects. */
static int
parse_objects(const json_t *spec, struct fg_wish *w, struct fg_err *err)
{
	const json_t *list = json_object_get(spec, "ids"), *v;
	const char *which = "whole";
	size_t i;

	if (fg_json_get_string(spec, "objects", FG_JSON_OPTIONAL, &which, err) < 0)
		return -1;
	w->base = strcmp(which, "base") == 0;
	if (!w->base && strcmp(which, "whole") != 0)
		return fg_fail(err, FG_EINVAL,
		    "\"objects\" is whole or base, not \"%.40s\"", which);
	if (!list)
		return 0;
	if (w->stages & ~FG_STAGES_OBJECTS)
		return fg_fail(err, FG_EINVAL,
		    "\"ids\" is for the stages mesh and skeleton only");
	if (!json_is_array(list) || json_array_size(list) == 0 ||
	    json_array_size(list) > IDS_MAX)
		return fg_fail(err, FG_EINVAL, "\"ids\" is not a list of 1 to %d ids",
		    IDS_MAX);
	w->id = fg_calloc(json_array_size(list), sizeof *w->id);
	json_array_foreach(list, i, v)
	{
		if (!parse_id(v, &w->id[w->ids++]))
			return fg_fail(err, FG_EINVAL, "\"ids\": entry %zu is no id",
			    i);
	}
	return 0;
}

static int
parse_class(const json_t *spec, enum fg_class *out, struct fg_err *err)
{
	const char *name = "bulk";

	if (fg_json_get_string(spec, "class", FG_JSON_OPTIONAL, &name, err) < 0)
		return -1;
	*out = FG_BULK;
	if (strcmp(name, "bulk") == 0)
		return 0;
	*out = FG_IDLE;
	if (strcmp(name, "idle") == 0)
		return 0;
	return fg_fail(err, FG_EINVAL, "\"class\" is bulk or idle, not \"%.40s\"",
	    name);
}

/* Six numbers, in that order the lower and the upper corner. */
static int
parse_corners(const json_t *box, bool whole, double lo[3], double hi[3],
    struct fg_err *err)
{
	for (size_t i = 0; i < 6; i++) {
		const json_t *v = json_array_get(box, i);
		double x = json_number_value(v);

		if (json_array_size(box) != 6 || !json_is_number(v) ||
		    (whole && !json_is_integer(v)))
			return fg_fail(err, FG_EINVAL,
			    "\"box\" is not an array of six %snumbers",
			    whole ? "whole " : "");
		if (!(fabs(x) <= (double)COORDINATE_MAX))
			return fg_fail(err, FG_EINVAL, "\"box\": %g is out of range",
			    x);
		*(i < 3 ? &lo[i] : &hi[i - 3]) = x;
	}
	return 0;
}

/* Nanometres of one unit of the box. */
static int
parse_unit(const json_t *spec, const struct fg_layer *l, double nm[3], bool *voxels,
    bool *finest, struct fg_err *err)
{
	const char *unit = "voxels", *key = NULL;
	int s = 0;

	if (fg_json_get_string(spec, "unit", FG_JSON_OPTIONAL, &unit, err) < 0 ||
	    fg_json_get_string(spec, "scale", FG_JSON_OPTIONAL, &key, err) < 0)
		return -1;
	*voxels = strcmp(unit, "voxels") == 0;
	if (!*voxels && strcmp(unit, "nm") != 0)
		return fg_fail(err, FG_EINVAL,
		    "\"unit\" is voxels or nm, not \"%.40s\"", unit);
	if (key) {
		s = fg_info_find_scale(&l->info, key, strlen(key));
		if (s < 0)
			return fg_fail(err, FG_EINVAL,
			    "layer %s has no scale \"%.60s\"", l->name, key);
	}
	*finest = *voxels && s == 0;
	for (int d = 0; d < 3; d++)
		nm[d] = *voxels ? l->info.scale[s].nm[d] : 1;
	return 0;
}

static int
fail_box(const struct fg_box *bounds, struct fg_err *err)
{
	return fg_fail(err, FG_EINVAL,
	    "\"box\" is empty or not inside %lld,%lld,%lld to %lld,%lld,%lld",
	    (long long)bounds->lo[0], (long long)bounds->lo[1],
	    (long long)bounds->lo[2], (long long)bounds->hi[0],
	    (long long)bounds->hi[1], (long long)bounds->hi[2]);
}

static int
parse_box(const json_t *spec, const struct fg_layer *l, struct fg_box *vx,
    struct fg_err *err)
{
	const struct fg_scale *f = &l->info.scale[0];
	const json_t *box = json_object_get(spec, "box");
	double lo[3], hi[3], nm[3];
	bool voxels = true, finest = true;
	struct fg_box bounds;

	fg_scale_bounds(f, &bounds);
	*vx = bounds;
	if (parse_unit(spec, l, nm, &voxels, &finest, err) < 0)
		return -1;
	if (!box)
		return 0;
	if (parse_corners(box, voxels, lo, hi, err) < 0)
		return -1;
	for (int d = 0; d < 3; d++) {
		/* A hair's breadth of rounding must not add a layer of voxels. */
		double a = lo[d] * nm[d] / f->nm[d], b = hi[d] * nm[d] / f->nm[d];

		if (!(fabs(a) <= (double)COORDINATE_MAX &&
			fabs(b) <= (double)COORDINATE_MAX))
			return fail_box(&bounds, err);
		vx->lo[d] = finest ? (int64_t)lo[d] : (int64_t)floor(a + 1e-6);
		vx->hi[d] = finest ? (int64_t)hi[d] : (int64_t)ceil(b - 1e-6);
	}
	if (fg_box_is_empty(vx) || (finest && !fg_box_contains(&bounds, vx)) ||
	    !fg_box_intersect(vx, &bounds, vx))
		return fail_box(&bounds, err);
	return 0;
}

/* A layer that is served as it is can have meshes and skeletons made. */
static bool
makes_objects(const json_t *spec, const struct fg_layer *l)
{
	unsigned stages;

	return fg_layer_has_objects(l) && parse_stages(spec, &stages, NULL) == 0 &&
	       !(stages & ~FG_STAGES_OBJECTS);
}

int
fg_wish_parse(struct fg_plan *p, const json_t *spec, struct fg_wish *w,
    struct fg_layer **out, struct fg_err *err)
{
	struct fg_layer *l;
	const char *name;

	*w = (struct fg_wish){0};
	if (check_keys(spec, err) < 0 ||
	    fg_json_get_string(spec, "layer", FG_JSON_NEEDED, &name, err) < 0)
		return -1;
	l = fg_catalog_find(p->catalog, name, strlen(name));
	if (!l)
		return fg_fail(err, FG_ENOENT, "there is no layer \"%.64s\"", name);
	if (l->agglomerated && parse_stages(spec, &w->stages, err) == 0 &&
	    !(w->stages & ~FG_STAGES_OBJECTS)) {
		/* NAME.agg has no job of its own, but objects. */
		struct fg_layer *base = fg_layer_ref(l->base);

		fg_layer_unref(l);
		l = base;
	}
	if (l->base)
		fg_fail(err, FG_EINVAL, "layer %s is made together with %s", l->name,
		    l->base->name);
	else if (!l->recipe && !l->broken && !makes_objects(spec, l))
		fg_fail(err, FG_EINVAL,
		    "layer %s is served as it is, not made: there is nothing to do",
		    l->name);
	else if (l->broken)
		fg_fail(err, FG_EBUSY, "layer %s is degraded: %s", l->name, l->why);
	else if (parse_stages(spec, &w->stages, err) == 0 &&
		 parse_class(spec, &w->cls, err) == 0 &&
		 parse_objects(spec, w, err) == 0 &&
		 parse_box(spec, l, &w->vx, err) == 0) {
		w->layer = l->id;
		*out = l;
		return 0;
	}
	fg_layer_unref(l);
	fg_wish_fini(w);
	return -1;
}

/* ------------------------------------------------------------- columns */

static json_t *
box_json(const struct fg_box *b)
{
	return json_pack("[I,I,I,I,I,I]", (json_int_t)b->lo[0], (json_int_t)b->lo[1],
	    (json_int_t)b->lo[2], (json_int_t)b->hi[0], (json_int_t)b->hi[1],
	    (json_int_t)b->hi[2]);
}

char *
fg_wish_box_format(const struct fg_wish *w)
{
	json_t *j = box_json(&w->vx);
	char *text = fg_json_format(j);

	json_decref(j);
	return text;
}

static json_t *
stages_json(unsigned stages)
{
	json_t *list = json_array();

	for (int s = 0; s < FG_STAGES; s++) {
		if (stages & 1u << s)
			json_array_append_new(list, json_string(stage_names[s]));
	}
	return list;
}

/* The stages that are counted, added up. Both stages of objects go over the same ones:
 * how many these are is known of the second, too, before it has begun. */
static struct fg_bulk_progress
add_up(const struct fg_plan_job *j)
{
	struct fg_bulk_progress sum = {0};
	uint64_t coming = 0, ended = 0;

	for (int s = 0; s < FG_STAGES; s++) {
		const struct fg_bulk_progress *p = &j->progress[s];

		if (!(fg_wish_counted(&j->wish) & 1u << s))
			continue;
		sum.all += p->all;
		sum.done += p->done;
		sum.skipped += p->skipped;
		sum.failed += p->failed;
		sum.seconds += p->seconds;
		sum.fraction += p->fraction * (double)p->all;
		ended += p->all > 0;
		coming += p->all == 0;
	}
	if (ended > 0 && j->state != FG_JOB_DONE)
		sum.all += coming * (sum.all / ended);
	sum.fraction /= (double)FG_MAX(sum.all, 1u);
	return sum;
}

uint64_t
fg_wish_made(const struct fg_plan_job *j)
{
	return add_up(j).done;
}

/* What was made, was present before, and failed, over all runs of a job so far: what an
 * earlier run made is present to a later one. */
static void
sum_up(const struct fg_plan_job *j, uint64_t *done, uint64_t *skipped, uint64_t *failed)
{
	const struct fg_bulk_progress p = add_up(j);

	*failed = p.failed;
	*done = j->done_before + p.done;
	*skipped = p.skipped - FG_MIN(j->done_before, p.skipped);
	/* An object that has grown is made again, and is one all the same. */
	if (!(j->wish.stages & 1u << FG_STAGE_SEGMENT) && p.all > 0) {
		*done = FG_MIN(*done, p.all - FG_MIN(*failed, p.all));
		*skipped = FG_MIN(*skipped, p.all - FG_MIN(*failed, p.all) - *done);
	}
}

/* Of how many. Objects of a box are known when they are looked up, blocks before. */
static uint64_t
count_all(const struct fg_plan_job *j)
{
	unsigned counted = fg_wish_counted(&j->wish);
	uint64_t all = add_up(j).all;

	if (counted & 1u << FG_STAGE_SEGMENT)
		return j->blocks;
	if (all > 0)
		return all;
	if (counted & (1u << FG_STAGE_STITCH | 1u << FG_STAGE_RESEGMENT))
		return j->blocks;
	return FG_MAX(j->wish.ids * (counted == FG_STAGES_OBJECTS ? 2 : 1),
	    j->done_before);
}

json_t *
fg_plan_stages(void)
{
	unsigned has = 0;

	for (int s = 0; s < FG_STAGES; s++)
		has |= fg_plan_has_stage(s) ? 1u << s : 0;
	return stages_json(has);
}

/* As strings: they may be above 2^63. */
static json_t *
ids_json(const struct fg_wish *w)
{
	json_t *list = json_array();
	char id[24];

	for (size_t i = 0; i < w->ids; i++) {
		snprintf(id, sizeof id, "%llu", (unsigned long long)w->id[i]);
		json_array_append_new(list, json_string(id));
	}
	return list;
}

void
fg_wish_describe(const struct fg_wish *w, json_t *out)
{
	json_object_set_new(out, "box", box_json(&w->vx));
	json_object_set_new(out, "stages", stages_json(w->stages));
	json_object_set_new(out, "class", json_string(class_names[w->cls]));
}

/* Of each stage that has begun: all, there by now, failed. */
static json_t *
counts_json(const struct fg_plan_job *j)
{
	json_t *o = json_object();

	for (int s = 0; s < FG_STAGES; s++) {
		const struct fg_bulk_progress *p = &j->progress[s];

		if (p->all > 0)
			json_object_set_new(o, stage_names[s],
			    json_pack("[I,I,I]", (json_int_t)p->all,
				(json_int_t)(p->skipped + p->done),
				(json_int_t)p->failed));
	}
	return o;
}

char *
fg_wish_stages_format(const struct fg_plan_job *j)
{
	uint64_t done, skipped, failed;
	char *text;
	json_t *o;

	sum_up(j, &done, &skipped, &failed);
	o = json_pack("{s:o, s:I, s:I, s:I, s:I, s:f}", "stages",
	    stages_json(j->wish.stages), "all", (json_int_t)count_all(j), "done",
	    (json_int_t)done, "skipped", (json_int_t)skipped, "failed",
	    (json_int_t)failed, "seconds", j->seconds_before);
	json_object_set_new(o, "counts", counts_json(j));
	if (j->wish.base)
		json_object_set_new(o, "objects", json_string("base"));
	if (j->wish.id)
		json_object_set_new(o, "ids", ids_json(&j->wish));
	text = fg_json_format(o);
	json_decref(o);
	return text;
}

static int
read_box(const char *text, struct fg_box *vx, struct fg_err *err)
{
	json_t *j = fg_json_parse(text, strlen(text), "box", err);
	double lo[3], hi[3];
	int rc;

	if (!j)
		return -1;
	rc = parse_corners(j, true, lo, hi, err);
	for (int d = 0; d < 3 && rc == 0; d++) {
		vx->lo[d] = (int64_t)lo[d];
		vx->hi[d] = (int64_t)hi[d];
	}
	json_decref(j);
	return rc;
}

/* Counts of the stages; false: a row of an older version, without them. */
static bool
read_counts(const json_t *o, struct fg_plan_job *j)
{
	const json_t *counts = json_object_get(o, "counts");

	for (int s = 0; s < FG_STAGES; s++) {
		json_int_t v[3] = {0};

		if (json_unpack((json_t *)json_object_get(counts, stage_names[s]),
			"[I,I,I]", &v[0], &v[1], &v[2]) == 0)
			j->progress[s] =
			    (struct fg_bulk_progress){.all = (uint64_t)FG_MAX(v[0], 0),
				.skipped = (uint64_t)FG_MAX(v[1], 0),
				.failed = (uint64_t)FG_MAX(v[2], 0)};
	}
	return counts != NULL;
}

/* A row of an older version counted the blocks of segment, or else what its first stage
 * of objects went over: only where that is what is counted now too do its numbers mean
 * anything. j->done_before: what it had made. */
static void
restore_old(struct fg_plan_job *j, uint64_t all, uint64_t skipped, uint64_t failed)
{
	unsigned counted = fg_wish_counted(&j->wish);
	int s = FG_STAGE_SEGMENT;

	if (counted != 1u << FG_STAGE_SEGMENT && counted != 1u << FG_STAGE_MESH &&
	    counted != 1u << FG_STAGE_SKELETON) {
		j->done_before = 0;
		return;
	}
	while (counted != 1u << s)
		s++;
	j->progress[s] = (struct fg_bulk_progress){.all = all,
	    .skipped = skipped + j->done_before,
	    .failed = failed};
}

int
fg_wish_read(const struct fg_job_row *row, struct fg_plan_job *j, struct fg_err *err)
{
	json_t *o = NULL;
	int64_t all = 0, done = 0, skipped = 0, failed = 0;
	int rc = -1;

	if (row->cls < 0 || row->cls >= FG_CLASSES || row->state > FG_JOB_CANCELLED)
		return fg_fail(err, FG_ECORRUPT, "class %d, state %d", row->cls,
		    (int)row->state);
	j->wish.layer = row->layer;
	j->wish.cls = (enum fg_class)row->cls;
	if (!row->box || !row->stages || read_box(row->box, &j->wish.vx, err) < 0)
		return fg_fail(err, FG_ECORRUPT, "the row of the job is incomplete");
	o = fg_json_parse(row->stages, strlen(row->stages), "stages", err);
	if (!o || parse_stages(o, &j->wish.stages, err) < 0 ||
	    parse_objects(o, &j->wish, err) < 0 ||
	    fg_json_get_int(o, "all", FG_JSON_OPTIONAL, 0, COORDINATE_MAX, &all, err) <
		0 ||
	    fg_json_get_int(o, "done", FG_JSON_OPTIONAL, 0, COORDINATE_MAX, &done,
		err) < 0 ||
	    fg_json_get_int(o, "skipped", FG_JSON_OPTIONAL, 0, COORDINATE_MAX, &skipped,
		err) < 0 ||
	    fg_json_get_int(o, "failed", FG_JSON_OPTIONAL, 0, COORDINATE_MAX, &failed,
		err) < 0 ||
	    fg_json_get_real(o, "seconds", FG_JSON_OPTIONAL, 0, 1e12,
		&j->seconds_before, err) < 0)
		goto out;
	j->done_before = (uint64_t)done;
	if (!read_counts(o, j))
		restore_old(j, (uint64_t)all, (uint64_t)skipped, (uint64_t)failed);
	rc = 0;
out:
	json_decref(o);
	return rc;
}

/* ------------------------------------------------------------- describing */

static const char *
state_text(const struct fg_plan_job *j)
{
	static const char *const names[] = {"waiting", "paused", "done", "failed",
	    "cancelled"};

	return j->state == FG_JOB_OPEN && j->active ? "running" : names[j->state];
}

static json_t *
describe_stage(const struct fg_plan_job *j, int s)
{
	const struct fg_bulk_progress *p = &j->progress[s];
	const char *state = "waiting";

	if (j->active && j->stage == s)
		state = "running";
	else if (j->state == FG_JOB_DONE || (j->active && s < j->stage))
		state = "done";
	else if (j->state != FG_JOB_OPEN)
		state = state_text(j);
	return json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I}", "name",
	    stage_names[s], "state", state, "all",
	    (json_int_t)(s == FG_STAGE_SEGMENT ? j->blocks : p->all), "done",
	    (json_int_t)p->done, "present", (json_int_t)p->skipped, "failed",
	    (json_int_t)p->failed, "running", (json_int_t)p->running, "queued",
	    (json_int_t)p->queued);
}

/* 0..1 over all stages: a block weighs far more than the chunks above it. */
static double
fraction_of(const struct fg_plan_job *j)
{
	double sum = 0, all = 0;

	if (j->state == FG_JOB_DONE)
		return 1;
	for (int s = 0; s < FG_STAGES; s++) {
		bool floods = s == FG_STAGE_SEGMENT || s == FG_STAGE_RESEGMENT;
		double weight = floods ? 100 : 1u << s & FG_STAGES_OBJECTS ? 10 : 1;

		if (!(j->wish.stages & 1u << s))
			continue;
		all += weight;
		sum += weight * FG_MIN(j->progress[s].fraction, 1.0);
	}
	return all > 0 ? sum / all : 0;
}

/* Of what is counted, per second of this run, and seconds until the last one. */
static void
set_rate(json_t *out, const struct fg_plan_job *j)
{
	const struct fg_bulk_progress sum = add_up(j), *p = &sum;
	double there = (double)(p->skipped + p->failed), made, left;

	json_object_set_new(out, "rate", json_null());
	json_object_set_new(out, "left_s", json_null());
	made = p->fraction * (double)p->all - there;
	if (!j->active || j->state != FG_JOB_OPEN || p->all == 0 || p->seconds <= 0 ||
	    made <= 0)
		return;
	left = (double)p->all * (1 - p->fraction);
	json_object_set_new(out, "rate", json_real(made / p->seconds));
	json_object_set_new(out, "left_s", json_real(left * p->seconds / made));
}

json_t *
fg_plan_describe(const struct fg_plan_job *j)
{
	uint64_t done, skipped, failed;
	json_t *stages = json_array(), *out;
	char url[40];

	sum_up(j, &done, &skipped, &failed);
	for (int s = 0; s < FG_STAGES; s++) {
		if (j->wish.stages & 1u << s)
			json_array_append_new(stages, describe_stage(j, s));
	}
	snprintf(url, sizeof url, "/api/jobs/%lld", (long long)j->id);
	out = json_pack("{s:I, s:s, s:s, s:o, s:s, s:s, s:o, s:s, s:I, s:I, s:I, s:I, "
			"s:f, s:f, s:I, s:I, s:s}",
	    "id", (json_int_t)j->id, "url", url, "layer", j->layer_name, "box",
	    box_json(&j->wish.vx), "class", class_names[j->wish.cls], "state",
	    state_text(j), "stages", stages, "counted", fg_wish_unit(&j->wish), "all",
	    (json_int_t)count_all(j), "done", (json_int_t)done, "skipped",
	    (json_int_t)skipped, "failed", (json_int_t)failed, "fraction",
	    fraction_of(j), "seconds",
	    j->seconds_before +
		(j->active ? (double)(fg_clock_ns() - j->run_ns) / 1e9 : 0),
	    "created", (json_int_t)j->created_ms, "updated", (json_int_t)j->updated_ms,
	    "error", j->error);
	set_rate(out, j);
	return out;
}

void
fg_plan_counts(struct fg_plan *p, uint64_t out[FG_PLAN_STATES])
{
	static const int index[] = {
	    [FG_JOB_OPEN] = 0,
	    [FG_JOB_PAUSED] = 2,
	    [FG_JOB_DONE] = 3,
	    [FG_JOB_FAILED] = 4,
	    [FG_JOB_CANCELLED] = 5,
	};

	memset(out, 0, FG_PLAN_STATES * sizeof *out);
	pthread_mutex_lock(&p->lock);
	for (const struct fg_plan_job *j = p->first; j; j = j->next)
		out[j->state == FG_JOB_OPEN && j->active ? 1 : index[j->state]]++;
	pthread_mutex_unlock(&p->lock);
}
