/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Meshes and skeletons in the scheduler: what is asked before one is made, and the
 * threads that make them.
 *
 * They have threads of their own, because one object may take minutes and the cpu
 * threads owe a viewer its chunks. All but one of these threads take bulk and idle
 * work, so that an object that somebody looks at never waits for a job's.
 *
 * A failure that no other attempt would mend is remembered for FAILED_NS, in memory
 * only: a viewer asks again and again, and the limit that an object has passed is not
 * worth finding out each time.
 */
#include "config.h"

#include "work/sched_priv.h"

#include <stdlib.h>

#include "base/clock.h"
#include "work/artefact.h"

#define FAILED_NS (600 * FG_NS_PER_S)

/* ------------------------------------------------------------- asking */

int
fg_sched_check_artefact(const struct fg_layer *l, const struct fg_key *key,
    struct fg_err *err)
{
	enum fg_product product = fg_key_product(key);
	struct fg_key want =
	    fg_artefact_key(l, (enum fg_kind)key->kind, product, key->at);

	if (l->broken)
		return fg_fail(err, FG_EBUSY, "layer %s is degraded: %s", l->name,
		    l->why);
	if (!fg_layer_has_objects(l) || !fg_key_equal(key, &want) ||
	    (product != FG_PRODUCT_TABLE &&
		(product != FG_PRODUCT_LODS || key->kind != FG_KIND_MESH)))
		return fg_fail(err, FG_EINVAL,
		    "layer %s makes no such mesh or skeleton", l->name);
	return 0;
}

int
fg_sched_look_artefact(struct fg_sched *s, struct fg_layer *l, const struct fg_key *key,
    bool *current, struct fg_err *err)
{
	struct fg_err none = FG_ERR_INIT;
	struct fg_reader *r = fg_sched_take_reader(s, err);
	struct fg_object o = {0};
	struct fg_place place = {0};
	int rc;

	if (!r)
		return -1;
	rc = fg_artefact_object(r, key->layer, fg_key_objects(key), key->at, &o, NULL,
	    NULL, &none);
	if (rc < 0 && none.code == FG_ENOENT && !l->recipe &&
	    !fg_layer_is_finished(l, r)) {
		/* Its task looks through the layer first, if that is quick. */
		rc = fg_layer_is_small(l)
			 ? 0
			 : fg_fail(err, FG_ENOTSUP,
			       "the objects of layer %s are not known yet: run "
			       "floodgate mesh %s",
			       l->name, l->name);
		fg_sched_put_reader(s, r);
		*current = false;
		return rc;
	}
	if (rc < 0)
		fg_fail(err, none.code, "%s", none.msg);
	if (rc == 0)
		rc = fg_reader_gen(r, key, 0, o.gen, &place, err);
	fg_sched_put_reader(s, r);
	*current = place.state != FG_ABSENT;
	return rc;
}

const char *
fg_sched_failed_before(struct fg_sched *s, const struct fg_key *key)
{
	int64_t now = fg_clock_ns();

	for (size_t i = 0; i < FAILED_SIZE; i++) {
		if (s->failed[i].until_ns > now && fg_key_equal(&s->failed[i].key, key))
			return s->failed[i].why;
	}
	return NULL;
}

void
fg_sched_note_failed(struct fg_sched *s, const struct task *t)
{
	struct failed *f = &s->failed[s->faileds++ % FAILED_SIZE];

	f->key = t->t.key;
	f->until_ns = fg_clock_ns() + FAILED_NS;
	snprintf(f->why, sizeof f->why, "%.199s", t->err.msg);
}

void
fg_sched_forget_failed(struct fg_sched *s, uint32_t layer)
{
	for (size_t i = 0; i < FAILED_SIZE; i++) {
		if (s->failed[i].key.layer == layer)
			s->failed[i].until_ns = 0;
	}
}

/* ------------------------------------------------------------- what tasks ask for */

int
fg_sched_read_object(void *ctx, uint32_t layer, int kind, uint64_t id,
    struct fg_object *o, struct fg_object_block **blocks, size_t *n, struct fg_err *err)
{
	struct fg_sched *s = ctx;
	struct fg_reader *r = fg_sched_take_reader(s, err);
	int rc;

	if (!r)
		return -1;
	rc = fg_artefact_object(r, layer, (enum fg_objects)kind, id, o, blocks, n, err);
	fg_sched_put_reader(s, r);
	return rc;
}

int
fg_sched_read_piece(void *ctx, const struct fg_key *key, uint64_t part, int64_t gen,
    struct fg_buf **out, struct fg_err *err)
{
	struct fg_sched *s = ctx;
	struct fg_reader *r = fg_sched_take_reader(s, err);
	struct fg_place place = {0};
	int rc;

	if (!r)
		return -1;
	rc = gen == FG_GEN_NEWEST ? fg_reader_part(r, key, part, &place, err)
				  : fg_reader_gen(r, key, part, gen, &place, err);
	fg_sched_put_reader(s, r);
	*out = NULL;
	if (rc < 0 || place.slab == 0)
		return rc;
	return fg_store_read(s->store, &place, false, out, err);
}

int
fg_sched_has_piece(void *ctx, const struct fg_key *key, uint64_t part, int64_t gen,
    bool *there, struct fg_err *err)
{
	struct fg_sched *s = ctx;
	struct fg_reader *r = fg_sched_take_reader(s, err);
	struct fg_place place = {0};
	int rc;

	if (!r)
		return -1;
	rc = fg_reader_gen(r, key, part, gen, &place, err);
	fg_sched_put_reader(s, r);
	*there = place.state != FG_ABSENT;
	return rc;
}

/* A commit that its maker waits for. */
struct put {
	struct fg_commit_item item;
	pthread_mutex_t lock;
	pthread_cond_t done;
	/* guarded by lock */
	bool over;
	int rc;
	struct fg_err err;
};

static void
put_done(struct fg_commit_item *item, int rc, const struct fg_err *err)
{
	struct put *p = (struct put *)((char *)item - offsetof(struct put, item));

	pthread_mutex_lock(&p->lock);
	p->over = true;
	p->rc = rc;
	if (err)
		p->err = *err;
	pthread_cond_signal(&p->done);
	pthread_mutex_unlock(&p->lock);
}

int
fg_sched_put_part(void *ctx, struct fg_result *res, size_t bytes, struct fg_err *err)
{
	struct fg_sched *s = ctx;
	struct put p = {
	    .item = {.result = res, .bytes = bytes, .done = put_done},
	    .err = FG_ERR_INIT,
	};
	int rc;

	if (fg_store_room(s->store, err) < 0)
		return -1;
	pthread_mutex_init(&p.lock, NULL);
	pthread_cond_init(&p.done, NULL);
	fg_committer_put(s->committer, &p.item);
	pthread_mutex_lock(&p.lock);
	while (!p.over)
		pthread_cond_wait(&p.done, &p.lock);
	rc = p.rc;
	pthread_mutex_unlock(&p.lock);
	pthread_cond_destroy(&p.done);
	pthread_mutex_destroy(&p.lock);
	if (rc < 0)
		fg_fail(err, p.err.code, "%s", p.err.msg);
	return rc;
}

int
fg_sched_pin(struct fg_sched *s, const struct fg_layer *l, uint64_t id, int64_t epoch,
    int64_t gen, struct fg_err *err)
{
	struct fg_output out = {0};
	uint8_t bytes[8];
	int rc;

	fg_put_u64le(bytes, (uint64_t)gen);
	fg_output_put(&out, &(struct fg_payload){.key = fg_artefact_key(l, FG_KIND_MESH,
						     FG_PRODUCT_PIN, id),
				.part = (uint64_t)epoch,
				.state = FG_PRESENT,
				.bytes = fg_buf_copy(bytes, sizeof bytes)});
	fg_output_seal(&out);
	out.result.task = out.payload[0].key;
	out.result.worker = s->worker;
	out.result.started_ms = out.result.ended_ms = fg_clock_wall_ms();
	rc = fg_sched_put_part(s, &out.result, out.bytes, err);
	fg_output_fini(&out);
	return rc;
}

int
fg_sched_scan(struct fg_sched *s, const struct fg_layer *l, const _Atomic bool *cancel,
    _Atomic uint64_t *done, struct fg_err *err)
{
	struct fg_env env = {.has = fg_sched_has_piece,
	    .put = fg_sched_put_part,
	    .ctx = s,
	    .worker = s->worker};

	return fg_scan_layer(l, &env, 0, s->makers, cancel, done, err);
}

/* ------------------------------------------------------------- making */

/* The next one, or NULL. One thread is kept for what somebody waits for. Under the
 * lock. */
static struct task *
pick(struct fg_sched *s)
{
	int others = 0;

	if (s->artefacts[FG_INTERACTIVE].n)
		return s->artefacts[FG_INTERACTIVE].first;
	for (const struct task *t = s->running.first; t; t = t->next)
		others +=
		    fg_kind_is_artefact(t->t.key.kind) && t->t.cls != FG_INTERACTIVE;
	if (others >= s->makers - 1)
		return NULL;
	return s->artefacts[FG_BULK].n ? s->artefacts[FG_BULK].first
				       : s->artefacts[FG_IDLE].first;
}

void *
fg_sched_make_artefacts(void *arg)
{
	struct fg_sched *s = arg;

	pthread_mutex_lock(&s->lock);
	while (!s->quit) {
		struct task *t = s->stopping ? NULL : pick(s);

		if (!t) {
			pthread_cond_wait(&s->making, &s->lock);
			continue;
		}
		fg_sched_set_state(s, t, TASK_RUNNING);
		pthread_mutex_unlock(&s->lock);
		fg_sched_run_task(s, t, 1);
		pthread_mutex_lock(&s->lock);
		/* This thread's end may be what another one waited for. */
		pthread_cond_signal(&s->making);
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}
