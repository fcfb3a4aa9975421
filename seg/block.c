/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One box, from image to labels: seeds in order, each one flooded and committed in
 * turn, as if nothing ran at the same time.
 *
 * Several floods are in flight all the same, so that several devices can work on one
 * box. The first undecided seed (the *head*) is flooded for certain; the others run
 * ahead, on the bet that what is committed before their turn will not touch them. A
 * flood looked at the labels only at its own start and at the centres it predicted
 * (seg/flood.h), and labels are only ever added. So at each commit every flood that
 * runs ahead, or has finished and waits for its turn, is asked whether one of those
 * voxels was taken: if so it is dropped, and its seed starts again or is gone;
 * otherwise it is exactly what it would have been in its turn. The result is the same
 * for any number of floods; only the work thrown away differs.
 *
 * Little is thrown away when seeds are chosen with care: after each step of a flood,
 * the later seeds inside its object so far are *claimed* and not started until it is
 * decided, and a later flood that it has run into is dropped at once.
 *
 * One thread runs all this; canvases are written by devices between submit and take.
 */
#include "config.h"

#include <stdlib.h>

#include "base/clock.h"
#include "seg/batcher.h"
#include "seg/object.h"
#include "seg/seeds.h"

#define FLOODS_MAX 64              /* the largest batch */
#define SLOTS_MAX (FLOODS_MAX + 1) /* one more, for the head */
#define FINISHED_MAX 1024          /* floods that may wait for their turn */
#define POLL_NS (50 * FG_NS_PER_MS)
#define SIDE_MAX (1 << 20) /* voxels per axis of a box */

enum seed_state {
	SEED_OPEN,     /* undecided, not started */
	SEED_RUNNING,  /* in a slot */
	SEED_FINISHED, /* waits for its turn */
	SEED_GONE,     /* taken by an object: never a flood */
};

struct seed {
	enum seed_state state;
	uint32_t claim; /* 1 + the earlier seed whose flood covers it; 0 = none */
	bool held;      /* the claim lasts, although the seed itself is not covered */
	struct fg_object *object; /* when finished; owned */
};

/* A flood that runs. */
struct slot {
	bool made; /* flood is initialised; it is kept from seed to seed */
	bool used;
	bool ready; /* flood.step waits to be submitted */
	bool out;   /* request is with the batcher */
	bool drop;  /* thrown away as soon as the request comes back */
	size_t seed;
	struct fg_flood flood;
	struct fg_request request;
};

struct block {
	struct fg_batcher *batcher;
	struct fg_client *client;
	const struct fg_block_call *call;
	const struct fg_net *net;
	struct fg_step_params params;
	uint32_t *labels;
	const uint8_t *mask;
	uint8_t *prob;
	const int64_t *shape;
	struct fg_seeds seeds;
	struct seed *seed;
	int dir;         /* their z, times this, ascends */
	size_t head;     /* first undecided seed */
	size_t finished; /* seeds in that state */
	struct slot slot[SLOTS_MAX];
	int active; /* as told to the batcher */
	struct fg_seg_stats stats;
	size_t origins_cap;
};

void
fg_seg_stats_fini(struct fg_seg_stats *s)
{
	free(s->origin);
	*s = (struct fg_seg_stats){.steps = 0};
}

static size_t
voxel_index(const struct block *b, const int32_t vx[3])
{
	return (size_t)(((int64_t)vx[2] * b->shape[1] + vx[1]) * b->shape[0] + vx[0]);
}

/* Whether a flood may start there: no object at the seed or within min_boundary_dist.
 */
static bool
seed_is_free(const struct block *b, size_t s)
{
	const int32_t *at = b->seeds.at[s];
	const int64_t *r = b->call->params->min_boundary_dist;
	int64_t lo[3], hi[3];

	if (b->mask && b->mask[voxel_index(b, at)])
		return false;
	for (int d = 0; d < 3; d++) {
		lo[d] = FG_MAX(at[d] - r[d], 0);
		hi[d] = FG_MIN(at[d] + r[d], b->shape[d] - 1);
	}
	for (int64_t z = lo[2]; z <= hi[2]; z++) {
		for (int64_t y = lo[1]; y <= hi[1]; y++) {
			const uint32_t *row =
			    b->labels + (z * b->shape[1] + y) * b->shape[0];

			for (int64_t x = lo[0]; x <= hi[0]; x++) {
				if (row[x] != 0)
					return false;
			}
		}
	}
	return true;
}

/* ------------------------------------------------- starting and dropping */

/* The flood of seed s is decided or dropped: what it covered is open again. */
static void
release_claims(struct block *b, size_t s)
{
	for (size_t i = b->head; i < b->seeds.n; i++) {
		if (b->seed[i].claim == s + 1) {
			b->seed[i].claim = 0;
			b->seed[i].held = false;
		}
	}
}

static void
free_slot(struct slot *t)
{
	t->used = t->ready = t->drop = false;
}

/* Throw a running flood away. Its seed becomes open (or gone: the caller says). */
static void
drop_slot(struct block *b, struct slot *t)
{
	b->seed[t->seed].state = SEED_OPEN;
	b->stats.wasted += t->flood.centres;
	release_claims(b, t->seed);
	t->ready = false;
	if (t->out && fg_client_withdraw(b->client, &t->request))
		t->out = false;
	if (t->out)
		t->drop = true;
	else
		free_slot(t);
}

/* The same for a finished one. */
static void
drop_finished(struct block *b, size_t s)
{
	struct seed *seed = &b->seed[s];

	b->stats.wasted += fg_object_centres(seed->object);
	fg_object_free(seed->object);
	seed->object = NULL;
	seed->state = SEED_OPEN;
	b->finished--;
	release_claims(b, s);
}

static void
drop_seed(struct block *b, size_t s)
{
	if (b->seed[s].state == SEED_FINISHED)
		drop_finished(b, s);
	for (int i = 0; i < SLOTS_MAX; i++) {
		struct slot *t = &b->slot[i];

		if (t->used && !t->drop && t->seed == s)
			drop_slot(b, t);
	}
}

/* The flood in t has ended: keep what it found until its turn. */
static int
finish_slot(struct block *b, struct slot *t, struct fg_err *err)
{
	struct fg_object *o = fg_object_take(&t->flood, b->prob != NULL, err);

	if (!o)
		return -1;
	b->seed[t->seed].object = o;
	b->seed[t->seed].state = SEED_FINISHED;
	b->finished++;
	free_slot(t);
	return 0;
}

/* On to the flood's next field of view, or to its end. */
static int
advance_slot(struct block *b, struct slot *t, struct fg_err *err)
{
	t->ready = fg_flood_next(&t->flood, b->labels, b->mask);
	return t->ready ? 0 : finish_slot(b, t, err);
}

static int
start_flood(struct block *b, struct slot *t, size_t s, struct fg_err *err)
{
	const int32_t *at = b->seeds.at[s];
	const int64_t vx[3] = {at[0], at[1], at[2]};

	if (!t->made) {
		fg_flood_init(&t->flood, b->call->image, &b->net->shape, &b->params);
		t->made = true;
	}
	t->used = true;
	t->seed = s;
	t->request.step = &t->flood.step;
	b->seed[s].state = SEED_RUNNING;
	if (fg_flood_start(&t->flood, vx, err) < 0)
		return -1;
	return advance_slot(b, t, err);
}

static int
floods_wanted(const struct block *b)
{
	int n = b->call->floods ? b->call->floods : fg_batcher_room(b->batcher);

	return FG_MAX(1, FG_MIN(n, FLOODS_MAX));
}

/* A free slot among the first n + 1. For the head, if need be, at the cost of the
 * latest flood there that is not on a device; else (n has just become smaller) any. */
static struct slot *
find_slot(struct block *b, int n, bool head)
{
	struct slot *latest = NULL;

	for (int i = 0; i < (head ? SLOTS_MAX : n + 1); i++) {
		struct slot *t = &b->slot[i];

		if (i > n && latest)
			break;
		if (!t->used)
			return t;
		if (!t->out && (!latest || t->seed > latest->seed))
			latest = t;
	}
	if (!head)
		return NULL;
	fg_assert(latest);
	drop_slot(b, latest);
	return latest;
}

/* Start the head if it is not running, and others while fewer than n floods run. */
static int
start_floods(struct block *b, int n, struct fg_err *err)
{
	int used = 0;

	if (b->seed[b->head].state == SEED_OPEN) {
		struct slot *t = find_slot(b, n, true);

		if (start_flood(b, t, b->head, err) < 0)
			return -1;
	}
	for (int i = 0; i < SLOTS_MAX; i++)
		used += b->slot[i].used;
	for (size_t s = b->head + 1; s < b->seeds.n && used < n; s++) {
		if (b->finished >= FINISHED_MAX)
			break;
		if (b->seed[s].state != SEED_OPEN || b->seed[s].claim != 0)
			continue;
		if (!seed_is_free(b, s)) {
			b->seed[s].state = SEED_GONE;
			continue;
		}
		struct slot *t = find_slot(b, n, false);
		if (!t)
			break;
		if (start_flood(b, t, s, err) < 0)
			return -1;
		used += t->used;
	}
	return 0;
}

/* Hand steps over, earliest seeds first, so that n are with the batcher. */
static void
submit_steps(struct block *b, int n)
{
	int out = 0;

	for (int i = 0; i < SLOTS_MAX; i++) {
		out += b->slot[i].out;
		b->slot[i].request.ahead = b->slot[i].seed != b->head;
	}
	for (; out < n; out++) {
		struct slot *first = NULL;

		for (int i = 0; i < SLOTS_MAX; i++) {
			struct slot *t = &b->slot[i];

			if (t->ready && (!first || t->seed < first->seed))
				first = t;
		}
		if (!first)
			break;
		first->ready = false;
		first->out = true;
		fg_client_submit(b->client, &first->request);
	}
	if (out != b->active) {
		b->active = out;
		fg_client_active(b->client, out);
	}
}

/* ----------------------------------------------------------- claims */

static bool
in_patch(const struct block *b, const int64_t centre[3], const int32_t vx[3])
{
	for (int d = 0; d < 3; d++) {
		if (llabs(vx[d] - centre[d]) > b->net->shape.fov[d] / 2)
			return false;
	}
	return true;
}

static bool
covers(const struct block *b, const struct slot *t, const int32_t vx[3])
{
	const int64_t at[3] = {vx[0], vx[1], vx[2]};

	return fg_canvas_get(t->flood.canvas, at) >= b->params.segment;
}

/* First undecided seed with z, in the direction of their order, at or above that. */
static size_t
seed_at_z(const struct block *b, int64_t z)
{
	size_t lo = b->head, hi = b->seeds.n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (b->dir * b->seeds.at[mid][2] < z)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* Whether the object so far of t covers a centre of a later flood. */
static bool
overlaps_later(const struct block *b, const struct slot *t, size_t s)
{
	const int64_t *c = t->flood.step.centre;
	const struct fg_object *o = b->seed[s].object;

	for (size_t k = 0; o && k < fg_object_centres(o); k++) {
		const int32_t *vx = fg_object_centre(o, k);

		if (in_patch(b, c, vx) && covers(b, t, vx))
			return true;
	}
	for (int i = 0; i < SLOTS_MAX; i++) {
		const struct slot *u = &b->slot[i];

		if (!u->used || u->drop || u->seed != s)
			continue;
		for (size_t k = 0; k < u->flood.centres; k++) {
			if (covers(b, t, u->flood.centre[k]))
				return true;
		}
	}
	return false;
}

/* Seed s waits until the flood of seed `by` is decided. */
static void
hold(struct block *b, size_t s, size_t by)
{
	b->seed[s].claim = (uint32_t)by + 1;
	b->seed[s].held = true;
}

/*
 * After a step of t: claim the later seeds that its object covers now, and drop later
 * floods that it has run into. False if t itself should go, since it covers the start
 * of an earlier flood that still runs: most likely they are one object.
 */
static bool
claim_seeds(struct block *b, const struct slot *t)
{
	const int64_t *c = t->flood.step.centre;
	int64_t r = b->net->shape.fov[2] / 2;

	for (size_t s = seed_at_z(b, b->dir * c[2] - r);
	     s < b->seeds.n && b->dir * b->seeds.at[s][2] <= b->dir * c[2] + r; s++) {
		struct seed *seed = &b->seed[s];

		if (s == t->seed || !in_patch(b, c, b->seeds.at[s]))
			continue;
		bool covered = covers(b, t, b->seeds.at[s]);
		if (s < t->seed) {
			if (covered && seed->state == SEED_RUNNING) {
				hold(b, t->seed, s);
				return false;
			}
		} else if (covered && (!seed->claim || seed->claim > t->seed + 1)) {
			drop_seed(b, s);
			seed->claim = (uint32_t)t->seed + 1;
		} else if (!covered && !seed->held && seed->claim == t->seed + 1) {
			seed->claim = 0;
		}
	}
	for (size_t s = t->seed + 1; s < b->seeds.n; s++) {
		enum seed_state k = b->seed[s].state;

		if ((k == SEED_RUNNING || k == SEED_FINISHED) &&
		    overlaps_later(b, t, s)) {
			drop_seed(b, s);
			hold(b, s, t->seed);
		}
	}
	return true;
}

/* ----------------------------------------------------------- committing */

static bool
centre_is_taken(const struct block *b, const int32_t vx[3])
{
	return b->labels[voxel_index(b, vx)] != 0;
}

/* Ask a running flood whether new labels touch it. */
static int
recheck_slot(struct block *b, struct slot *t, struct fg_err *err)
{
	const int64_t *next = t->flood.step.centre;
	const int32_t vx[3] = {(int32_t)next[0], (int32_t)next[1], (int32_t)next[2]};
	bool ok = seed_is_free(b, t->seed);

	for (size_t k = 0; ok && k < t->flood.centres; k++)
		ok = !centre_is_taken(b, t->flood.centre[k]);
	if (ok && centre_is_taken(b, vx)) {
		/* Not predicted yet: this is the answer that its turn would give. */
		if (t->out && fg_client_withdraw(b->client, &t->request))
			t->out = false;
		ok = !t->out;
		if (ok)
			return advance_slot(b, t, err);
	}
	if (!ok)
		drop_slot(b, t);
	return 0;
}

/* Labels were added: drop what looked at those voxels when they were free. */
static int
recheck(struct block *b, struct fg_err *err)
{
	for (int i = 0; i < SLOTS_MAX; i++) {
		struct slot *t = &b->slot[i];

		if (t->used && !t->drop && recheck_slot(b, t, err) < 0)
			return -1;
	}
	for (size_t s = b->head; s < b->seeds.n; s++) {
		const struct fg_object *o = b->seed[s].object;
		bool ok = !o || seed_is_free(b, s);

		for (size_t k = 0; o && ok && k < fg_object_centres(o); k++)
			ok = !centre_is_taken(b, fg_object_centre(o, k));
		if (!ok)
			drop_finished(b, s);
	}
	return 0;
}

static void
add_origin(struct block *b, size_t s, int64_t voxels)
{
	struct fg_seg_stats *st = &b->stats;

	if (st->objects == b->origins_cap) {
		b->origins_cap = b->origins_cap ? 2 * b->origins_cap : 64;
		st->origin = fg_realloc(st->origin, b->origins_cap, sizeof *st->origin);
	}
	struct fg_flood_origin *o = &st->origin[st->objects++];
	for (int d = 0; d < 3; d++)
		o->start[d] = b->seeds.at[s][d];
	o->voxels = voxels;
	o->iterations = (int64_t)fg_object_centres(b->seed[s].object);
}

/* The head's flood has ended: its turn. */
static int
commit_head(struct block *b, struct fg_err *err)
{
	size_t s = b->head++;
	struct fg_object *o = b->seed[s].object;
	size_t steps = fg_object_centres(o);
	int64_t voxels = 0;
	bool labelled = false;

	b->stats.steps += steps;
	b->stats.floods += steps > 0;
	if (steps > 0 && fg_object_is_weak(o)) {
		b->stats.too_weak++;
	} else if (steps > 0) {
		voxels = fg_object_count(o, b->labels, b->shape);
		labelled = voxels > 0 && voxels >= b->call->params->min_segment_size;
		b->stats.too_small += !labelled;
	}
	if (labelled) {
		add_origin(b, s, voxels);
		fg_object_write(o, b->stats.first + (uint32_t)b->stats.objects,
		    b->labels, b->prob, b->shape);
	}
	fg_object_free(o);
	b->seed[s].object = NULL;
	b->finished--;
	release_claims(b, s);
	return labelled ? recheck(b, err) : 0;
}

/* Decide seeds in order as far as that is possible now. */
static int
decide(struct block *b, struct fg_err *err)
{
	while (b->head < b->seeds.n) {
		struct seed *seed = &b->seed[b->head];

		if (seed->state == SEED_OPEN && !seed_is_free(b, b->head))
			seed->state = SEED_GONE;
		if (seed->state == SEED_GONE)
			b->head++;
		else if (seed->state != SEED_FINISHED)
			break;
		else if (commit_head(b, err) < 0)
			return -1;
	}
	if (b->call->progress)
		*b->call->progress = b->head;
	return 0;
}

/* ----------------------------------------------------------- the loop */

static int
step_done(struct block *b, struct fg_request *r, struct fg_err *err)
{
	struct slot *t = NULL;

	for (int i = 0; i < SLOTS_MAX; i++) {
		if (&b->slot[i].request == r)
			t = &b->slot[i];
	}
	fg_assert(t && t->out);
	t->out = false;
	if (r->rc < 0) {
		if (err)
			*err = r->err;
		return -1;
	}
	if (t->drop) {
		b->stats.wasted++;
		free_slot(t);
		return 0;
	}
	fg_flood_took(&t->flood);
	if (!claim_seeds(b, t)) {
		drop_slot(b, t);
		return 0;
	}
	return advance_slot(b, t, err);
}

static int
check_stop(const struct block *b, struct fg_err *err)
{
	if (b->call->cancel && *b->call->cancel)
		return fg_fail(err, FG_ECANCELED, "cancelled");
	if (fg_batcher_is_stopped(b->batcher))
		return fg_fail(err, FG_ECANCELED, "stopped");
	return 0;
}

static int
run_floods(struct block *b, struct fg_err *err)
{
	for (;;) {
		struct fg_request *r;
		int n = floods_wanted(b);

		if (check_stop(b, err) < 0 || decide(b, err) < 0)
			return -1;
		if (b->head == b->seeds.n)
			return 0;
		if (start_floods(b, n, err) < 0)
			return -1;
		if (b->seed[b->head].state == SEED_FINISHED)
			continue;
		submit_steps(b, n);
		r = fg_client_take(b->client, POLL_NS);
		if (r && step_done(b, r, err) < 0)
			return -1;
	}
}

/* Get every request back before their canvases go. */
static void
drain(struct block *b)
{
	int out;

	for (int i = out = 0; i < SLOTS_MAX; i++)
		out += b->slot[i].out;
	while (out > 0) {
		/* Again and again: a device that fails puts its steps back. */
		for (int i = 0; i < SLOTS_MAX; i++) {
			struct slot *t = &b->slot[i];

			if (t->out && fg_client_withdraw(b->client, &t->request)) {
				t->out = false;
				out--;
			}
		}
		if (out > 0)
			out -= fg_client_take(b->client, POLL_NS) != NULL;
	}
	fg_client_active(b->client, 0);
}

static void
block_fini(struct block *b)
{
	for (int i = 0; i < SLOTS_MAX; i++) {
		if (b->slot[i].made)
			fg_flood_fini(&b->slot[i].flood);
	}
	for (size_t s = 0; b->seed && s < b->seeds.n; s++)
		fg_object_free(b->seed[s].object);
	free(b->seed);
	fg_seeds_fini(&b->seeds);
	fg_seg_stats_fini(&b->stats);
}

static bool
same_shape(const struct fg_array *a, const struct fg_array *b)
{
	return memcmp(a->shape, b->shape, sizeof a->shape) == 0;
}

static int
check_call(const struct fg_block_call *call, const struct fg_array *labels,
    const struct fg_array *prob, struct fg_err *err)
{
	const struct fg_array *im = call->image;

	if ((im->dtype != FG_U8 && im->dtype != FG_U16) || im->shape[3] != 1)
		return fg_fail(err, FG_EINVAL,
		    "image: %s with %lld channels, wanted uint8 or uint16 with one",
		    fg_dtype_name(im->dtype), (long long)im->shape[3]);
	for (int d = 0; d < 3; d++) {
		if (im->shape[d] < 1 || im->shape[d] > SIDE_MAX)
			return fg_fail(err, FG_EINVAL,
			    "image: %lld voxels on axis %c, wanted 1 to %d",
			    (long long)im->shape[d], "xyz"[d], SIDE_MAX);
	}
	if (labels->dtype != FG_U32 || !same_shape(labels, im))
		return fg_fail(err, FG_EINVAL,
		    "labels: wanted uint32 of the image's shape");
	if (call->mask && (call->mask->dtype != FG_U8 || !same_shape(call->mask, im)))
		return fg_fail(err, FG_EINVAL,
		    "mask: wanted uint8 of the image's shape");
	if (call->before &&
	    (call->before->dtype != FG_U32 || !same_shape(call->before, im)))
		return fg_fail(err, FG_EINVAL,
		    "labels of before: wanted uint32 of the image's shape");
	if (prob && (prob->dtype != FG_U8 || !same_shape(prob, im)))
		return fg_fail(err, FG_EINVAL,
		    "probabilities: wanted uint8 of the image's shape");
	if (strcmp(call->params->seed_policy, "PolicyPeaks") != 0)
		return fg_fail(err, FG_ENOTSUP,
		    "seed policy \"%s\": this build has PolicyPeaks",
		    call->params->seed_policy);
	return 0;
}

static void
turn_seeds(struct fg_seeds *s)
{
	for (size_t i = 0; i < s->n / 2; i++) {
		int32_t t[3], *a = s->at[i], *b = s->at[s->n - 1 - i];

		memcpy(t, a, sizeof t);
		memcpy(a, b, sizeof t);
		memcpy(b, t, sizeof t);
	}
}

/* Objects of an earlier pass. */
static void
take_before(struct block *b)
{
	size_t n = fg_array_count(b->call->before);

	memcpy(b->labels, b->call->before->data, n * sizeof *b->labels);
	for (size_t i = 0; i < n; i++)
		b->stats.first = FG_MAX(b->stats.first, b->labels[i]);
}

static int
find_seeds(struct block *b, struct fg_err *err)
{
	int64_t start = fg_clock_ns();

	if (fg_seeds_peaks(b->call->image, b->call->mask, &b->net->shape,
		b->call->params->voxel_nm, b->call->cancel, &b->seeds, err) < 0)
		return -1;
	if (b->call->reverse)
		turn_seeds(&b->seeds);
	b->seed = fg_calloc(FG_MAX(b->seeds.n, (size_t)1), sizeof *b->seed);
	b->stats.seeds = b->seeds.n;
	b->stats.seed_ns = fg_clock_ns() - start;
	if (b->call->progress_all)
		*b->call->progress_all = b->seeds.n;
	return 0;
}

int
fg_segment_block(struct fg_batcher *batcher, const struct fg_block_call *call,
    struct fg_array *labels, struct fg_array *prob, struct fg_seg_stats *stats,
    struct fg_err *err)
{
	int64_t start = fg_clock_ns(), floods;
	struct block *b;
	int rc = -1;

	if (check_call(call, labels, prob, err) < 0)
		return -1;
	b = fg_calloc(1, sizeof *b);
	b->batcher = batcher;
	b->client = fg_client_enter(batcher, call->cls);
	b->call = call;
	b->net = fg_batcher_net(batcher);
	b->labels = labels->data;
	b->mask = call->mask ? call->mask->data : NULL;
	b->prob = prob ? prob->data : NULL;
	b->shape = call->image->shape;
	fg_flood_step_params(call->params, &b->net->shape, &b->params);
	b->dir = call->reverse ? -1 : 1;
	memset(labels->data, 0, fg_array_bytes(labels));
	if (call->before)
		take_before(b);
	if (prob)
		memset(prob->data, 0, fg_array_bytes(prob));
	if (find_seeds(b, err) < 0)
		goto out;
	floods = fg_clock_ns();
	if (run_floods(b, err) < 0)
		goto out;
	b->stats.flood_ns = fg_clock_ns() - floods;
	rc = 0;
out:
	drain(b);
	fg_client_leave(b->client);
	if (rc == 0 && stats) {
		b->stats.total_ns = fg_clock_ns() - start;
		*stats = b->stats;
		b->stats.origin = NULL;
	}
	block_fini(b);
	free(b);
	return rc;
}
