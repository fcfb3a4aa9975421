/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A scheduler to test, with a stand-in for the segmentation: a block becomes one object
 * that fills its box, made at once or when the test lets it. Index, slabs, commits and
 * coarse chunks are the real ones. Nothing sleeps for a fixed time: every wait has a
 * condition and a deadline.
 */
#ifndef FG_TESTS_SCHED_WORLD_H
#define FG_TESTS_SCHED_WORLD_H

#include <pthread.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/morton.h"
#include "tests/work/work_test.h"
#include "work/sched.h"

/* ------------------------------------------------------------- the stand-in */

static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool hold;                         /* block tasks wait */
	int let;                           /* so many may go on nevertheless */
	int started, running, ended, most; /* block tasks */
	uint64_t order[256]; /* at of block tasks in order of their start */
	int cls[256];        /* class at the end */
	int floods[256];
	int64_t took_ms;    /* what a block is said to have taken, beside the truth */
	uint64_t seeds, of; /* how far a block says that it is */
	int fail;           /* so many tries fail ... */
	enum fg_code code;  /* ... like this */
	bool no_engine;
	uint64_t last_cancelled;
	int cancelled;
} fake = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static _Atomic bool fake_coarse = true; /* false: coarse chunks are not made */

static inline void
fake_reset(bool hold)
{
	pthread_mutex_lock(&fake.lock);
	fake.hold = hold;
	fake.let = fake.started = fake.running = fake.ended = fake.most = 0;
	fake.fail = fake.cancelled = 0;
	fake.took_ms = 0;
	fake.seeds = fake.of = 0;
	fake.no_engine = false;
	pthread_mutex_unlock(&fake.lock);
}

static inline void
fake_release(void)
{
	pthread_mutex_lock(&fake.lock);
	fake.hold = false;
	pthread_cond_broadcast(&fake.changed);
	pthread_mutex_unlock(&fake.lock);
}

static inline void
fake_let(int n)
{
	pthread_mutex_lock(&fake.lock);
	fake.let += n;
	pthread_cond_broadcast(&fake.changed);
	pthread_mutex_unlock(&fake.lock);
}

static inline int
fake_get(const int *what)
{
	pthread_mutex_lock(&fake.lock);
	int v = *what;
	pthread_mutex_unlock(&fake.lock);
	return v;
}

/* The next n tries fail like this. */
static inline void
fake_fail(int n, enum fg_code code, bool no_engine)
{
	pthread_mutex_lock(&fake.lock);
	fake.fail = n;
	fake.code = code;
	fake.no_engine = no_engine;
	pthread_mutex_unlock(&fake.lock);
}

/* Class that block task number `start` had at its end. */
static inline int
class_of(int start)
{
	pthread_mutex_lock(&fake.lock);
	int c = fake.cls[start];
	pthread_mutex_unlock(&fake.lock);
	return c;
}

/* A nap that ends early when something changed. Under fake.lock. */
static inline void
nap(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_nsec += FG_NS_PER_MS;
	t.tv_sec += t.tv_nsec / FG_NS_PER_S;
	t.tv_nsec %= FG_NS_PER_S;
	pthread_cond_timedwait(&fake.changed, &fake.lock, &t);
}

static inline int
fake_block(struct fg_task *t, struct fg_output *out, struct fg_err *err)
{
	const struct fg_layer *l = t->layer;
	struct fg_array labels;
	int64_t blk[3], shape[4] = {1, 1, 1, 1};
	struct fg_box box;
	int rc;

	fg_morton_decode(t->key.at, blk);
	fg_recipe_box(l->recipe, &l->info.scale[0], blk, &box);
	fg_box_shape(&box, shape);
	if (fg_array_init(&labels, FG_U32, shape, err) < 0)
		return -1;
	for (size_t i = 0; i < fg_array_count(&labels); i++)
		((uint32_t *)labels.data)[i] = 1;
	rc = fg_task_cut(l, t->key.at, &labels, NULL, NULL, out, err);
	fg_array_fini(&labels);
	return rc;
}

static inline int
fake_run(struct fg_task *t, struct fg_env *env, struct fg_output *out,
    struct fg_err *err)
{
	int64_t took_ms;
	int rc = 0, me;

	if (t->key.kind != FG_KIND_BLOCK && !fake_coarse)
		return fg_fail(err, FG_ECANCELED, "not now");
	if (t->key.kind != FG_KIND_BLOCK)
		return fg_task_run(t, env, out, err);
	pthread_mutex_lock(&fake.lock);
	me = fake.started++ % 256;
	fake.order[me] = t->key.at;
	fake.floods[me] = env->floods;
	fake.running++;
	fake.most = fake.running > fake.most ? fake.running : fake.most;
	pthread_cond_broadcast(&fake.changed);
	t->progress = fake.seeds;
	t->progress_all = fake.of;
	while (fake.hold && fake.let == 0 && !t->cancel)
		nap();
	if (fake.hold && !t->cancel)
		fake.let--;
	fake.cls[me] = t->cls;
	took_ms = fake.took_ms;
	if (t->cancel) {
		fake.cancelled++;
		rc = fg_fail(err, FG_ECANCELED, "cancelled");
	} else if (fake.fail > 0) {
		fake.fail--;
		env->no_engine = fake.no_engine;
		rc = fg_fail(err, fake.code, "made to fail");
	}
	pthread_mutex_unlock(&fake.lock);
	if (rc == 0)
		rc = fake_block(t, out, err);
	out->result.started_ms -= took_ms;
	pthread_mutex_lock(&fake.lock);
	fake.running--;
	fake.ended++;
	pthread_cond_broadcast(&fake.changed);
	pthread_mutex_unlock(&fake.lock);
	return rc;
}

/* ------------------------------------------------------------- a world */

/* 8 x 2 x 2 blocks of 16^3, chunks of 8^3: 8 chunks a block; two coarser scales. */
static const char info_text[] =
    "{\"@type\":\"neuroglancer_multiscale_volume\",\"type\":\"segmentation\","
    "\"data_type\":\"uint64\",\"num_channels\":1,\"scales\":["
    "{\"key\":\"s0\",\"resolution\":[10,10,10],\"voxel_offset\":[0,0,0],"
    "\"size\":[128,32,32],\"chunk_sizes\":[[8,8,8]],\"encoding\":\"raw\"},"
    "{\"key\":\"s1\",\"resolution\":[20,20,20],\"voxel_offset\":[0,0,0],"
    "\"size\":[64,16,16],\"chunk_sizes\":[[8,8,8]],\"encoding\":\"raw\"},"
    "{\"key\":\"s2\",\"resolution\":[40,40,40],\"voxel_offset\":[0,0,0],"
    "\"size\":[32,8,8],\"chunk_sizes\":[[8,8,8]],\"encoding\":\"raw\"}]}";

static inline char *
recipe_text(void)
{
	struct fg_recipe r = {
	    .image = fg_strdup("em"),
	    .image_uuid = "b1c2d3e4-0000-4000-8000-000000000001",
	    .image_scale = "s0",
	    .model = fg_strdup("none"),
	    .shape = {.fov = {3, 3, 3}, .delta = {1, 1, 1}, .mean = 128, .stddev = 33},
	    .block = {16, 16, 16},
	    .halo = {4, 4, 4},
	    .bits = {4, 2, 2},
	};
	char *text;

	memset(r.image_sha256, '0', FG_SHA256_HEX - 1);
	memset(r.model_sha256, '0', FG_SHA256_HEX - 1);
	fg_flood_params_default(&r.flood);
	text = fg_recipe_format(&r);
	fg_recipe_fini(&r);
	return text;
}

struct world {
	char *root;
	struct fg_store *store;
	struct fg_catalog *catalog;
	struct fg_sched *sched;
	struct fg_layer *layer;
	struct fg_reader *reader;
};

/* The layer by hand: no image and no network are needed. */
static inline struct fg_layer *
make_layer(struct fg_store *s, const char *name)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_layer *l = fg_calloc(1, sizeof *l);
	char *recipe = recipe_text();
	struct fg_layer_row row = {
	    .name = fg_strdup(name),
	    .kind = fg_strdup("segmentation"),
	    .info = fg_strdup(info_text),
	    .recipe = recipe,
	};

	l->refs = 1;
	l->chunk_kind = FG_KIND_CHUNK;
	l->name = fg_strdup(name);
	l->recipe = fg_calloc(1, sizeof *l->recipe);
	if (fg_store_layer_add(s, &row, &err) < 0 ||
	    fg_info_parse(info_text, sizeof info_text - 1, &l->info, &err) < 0 ||
	    fg_recipe_parse(recipe, l->recipe, &err) < 0) {
		printf("Bail out! %s\n", err.msg);
		exit(1);
	}
	l->id = row.layer;
	memcpy(l->block, l->recipe->block, sizeof l->block);
	fg_recipe_grid(l->recipe, &l->info.scale[0], l->blocks);
	fg_layer_row_fini(&row);
	return l;
}

static inline void
open_world(struct world *w, const struct fg_sched_options *opt)
{
	struct fg_sched_options o = opt ? *opt : (struct fg_sched_options){0};
	struct fg_err err = FG_ERR_INIT;

	o.run = o.run ? o.run : fake_run;
	if (!o.devices)
		o.devices = "a,b";
	o.retry_ms = o.retry_ms ? o.retry_ms : 5;
	w->catalog = fg_catalog_open(w->store, &err);
	w->sched = w->catalog ? fg_sched_new(w->store, w->catalog, &o, &err) : NULL;
	w->reader = fg_reader_open(w->store, &err);
	if (!w->sched || !w->reader) {
		printf("Bail out! %s\n", err.msg);
		exit(1);
	}
}

static inline void
begin(struct world *w, const struct fg_sched_options *opt)
{
	w->root = wt_folder();
	w->store = wt_store(w->root);
	w->layer = make_layer(w->store, "seg");
	open_world(w, opt);
}

static inline void
close_world(struct world *w)
{
	fg_sched_free(w->sched);
	fg_catalog_close(w->catalog);
	fg_reader_close(w->reader);
	w->sched = NULL;
}

static inline void
end(struct world *w)
{
	fake_release();
	close_world(w);
	fg_layer_unref(w->layer);
	fg_store_close(w->store);
	wt_remove(w->root);
}

/* ------------------------------------------------------------- waiters */

struct viewer {
	struct fg_waiter w; /* first: wake is given its address */
	struct world *world;
	enum fg_wake how;
	int wakes;
	uint64_t id;    /* first voxel of the bytes */
	bool committed; /* the index knew the chunk when we were woken */
	char why[100];
};

static pthread_mutex_t viewer_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t viewer_woken = PTHREAD_COND_INITIALIZER;

static inline void
on_wake(struct fg_waiter *w, enum fg_wake how, const struct fg_place *place,
    struct fg_buf *bytes, const struct fg_err *err)
{
	struct viewer *v = (struct viewer *)w;
	struct fg_place found = {0};
	struct fg_sched_stats st;
	struct fg_reader *r;

	/* Would never return if a lock of the scheduler were held. */
	fg_sched_get_stats(v->world->sched, &st);
	if (how == FG_WAKE_BYTES) {
		r = fg_reader_open(v->world->store, NULL);
		if (r && fg_reader_find(r, &w->chunk, &found, NULL) < 0)
			found.state = FG_ABSENT;
		fg_reader_close(r);
	}
	pthread_mutex_lock(&viewer_lock);
	v->how = how;
	v->wakes++;
	v->committed = found.state != FG_ABSENT && place && found.off == place->off;
	v->id = bytes ? fg_get_u64le(bytes->data) : 0;
	snprintf(v->why, sizeof v->why, "%.99s", err ? err->msg : "");
	pthread_cond_broadcast(&viewer_woken);
	pthread_mutex_unlock(&viewer_lock);
}

static inline void
viewer_init(struct viewer *v, struct world *w)
{
	*v = (struct viewer){.w = {.wake = on_wake}, .world = w};
}

static inline int
wakes(struct viewer *v)
{
	pthread_mutex_lock(&viewer_lock);
	int n = v->wakes;
	pthread_mutex_unlock(&viewer_lock);
	return n;
}

static inline struct fg_key
chunk_key(const struct world *w, int scale, int64_t x, int64_t y, int64_t z)
{
	return (struct fg_key){
	    .layer = w->layer->id,
	    .kind = FG_KIND_CHUNK,
	    .scale = (uint8_t)scale,
	    .at = fg_morton_encode((int64_t[3]){x, y, z}),
	};
}

/* Ask for the first chunk of block (x, 0, 0); chunk `sub` 0..7 of it. */
static inline enum fg_want
ask(struct world *w, int64_t x, int sub, enum fg_class cls, struct viewer *v,
    struct fg_err *err)
{
	struct fg_key key =
	    chunk_key(w, 0, 2 * x + (sub & 1), sub >> 1 & 1, sub >> 2 & 1);

	return fg_sched_want(w->sched, w->layer, &key, cls, v ? &v->w : NULL, err);
}

/* ------------------------------------------------------------- waiting in tests */

static inline bool
before(int64_t deadline)
{
	struct timespec t = {.tv_nsec = 200000};

	if (fg_clock_ns() > deadline)
		return false;
	nanosleep(&t, NULL);
	return true;
}

#define WAIT(cond)                                                                     \
	do {                                                                           \
		int64_t deadline_ = fg_clock_ns() + 20 * FG_NS_PER_S;                  \
		bool good_; /* asked once: a state may pass */                         \
		while (!(good_ = (cond)) && before(deadline_))                         \
			continue;                                                      \
		if (!good_) {                                                          \
			tap_ok(false, "line %d: waited in vain for " #cond, __LINE__); \
			fake_release();                                                \
		}                                                                      \
	} while (0)

static inline struct fg_sched_stats
stats(struct world *w)
{
	struct fg_sched_stats st;

	fg_sched_get_stats(w->sched, &st);
	return st;
}

#endif
