/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The whole path without HTTP and without a stand-in: a tiny network, a synthetic
 * image, the real engine, scheduler, committer and store. A chunk that is asked for is
 * made once, survives a restart, and its probability map and coarse scales come along.
 */
#include "config.h"

#include <pthread.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/morton.h"
#include "formats/codec.h"
#include "tests/work/tiny_image.h"
#include "tests/work/tiny_net.h"
#include "tests/work/work_test.h"
#include "work/sched.h"

static char *root;
static struct fg_store *store;
static struct fg_catalog *catalog;
static struct fg_sched *sched;
static struct fg_layer *seg, *prob;

static void
must(bool ok, const struct fg_err *err)
{
	if (ok)
		return;
	printf("Bail out! %s\n", err->msg);
	exit(1);
}

static void
add(const char *fmt)
{
	struct fg_err err = FG_ERR_INIT;
	char *text = fg_asprintf(fmt, root);
	json_t *j = json_loads(text, 0, NULL);
	struct fg_layer *l = NULL;

	must(j && fg_catalog_add(catalog, j, &l, &err) == 0, &err);
	fg_layer_unref(l);
	json_decref(j);
	free(text);
}

static void
open_all(void)
{
	struct fg_err err = FG_ERR_INIT;

	store = wt_store(root);
	catalog = fg_catalog_open(store, &err);
	must(catalog != NULL, &err);
	sched = fg_sched_new(store, catalog, NULL, &err);
	must(sched != NULL, &err);
	seg = fg_catalog_find(catalog, "seg", 3);
	prob = fg_catalog_find(catalog, "seg.prob", 8);
}

static void
close_all(void)
{
	fg_sched_stop(sched, fg_clock_ns() + 10 * FG_NS_PER_S);
	fg_sched_free(sched);
	fg_layer_unref(seg);
	fg_layer_unref(prob);
	fg_catalog_close(catalog);
	fg_store_close(store);
}

/* ------------------------------------------------------------- asking */

struct viewer {
	struct fg_waiter w;
	pthread_mutex_t lock;
	pthread_cond_t woken;
	int wakes;
	enum fg_wake how;
	struct fg_buf *bytes;
	struct fg_err err;
};

static void
on_wake(struct fg_waiter *w, enum fg_wake how, const struct fg_place *place,
    struct fg_buf *bytes, const struct fg_err *err)
{
	struct viewer *v = (struct viewer *)w;

	(void)place;
	pthread_mutex_lock(&v->lock);
	v->wakes++;
	v->how = how;
	v->bytes = bytes ? fg_buf_ref(bytes) : NULL;
	if (err)
		v->err = *err;
	pthread_cond_signal(&v->woken);
	pthread_mutex_unlock(&v->lock);
}

static struct fg_key
key_of(const struct fg_layer *l, int scale, int64_t x, int64_t y, int64_t z)
{
	return (struct fg_key){
	    .layer = l->id,
	    .kind = l->chunk_kind,
	    .scale = (uint8_t)scale,
	    .at = fg_morton_encode((int64_t[3]){x, y, z}),
	};
}

/* Ask and wait; the answer, with the bytes if there are any. */
static enum fg_want
ask(struct fg_layer *l, const struct fg_key *key, struct viewer *v)
{
	struct fg_err err = FG_ERR_INIT;
	enum fg_want want;

	*v = (struct viewer){.w.wake = on_wake};
	pthread_mutex_init(&v->lock, NULL);
	pthread_cond_init(&v->woken, NULL);
	want = fg_sched_want(sched, l, key, FG_INTERACTIVE, &v->w, &err);
	if (want == FG_WANT_PARKED) {
		pthread_mutex_lock(&v->lock);
		while (v->wakes == 0)
			pthread_cond_wait(&v->woken, &v->lock);
		pthread_mutex_unlock(&v->lock);
	} else {
		v->err = err;
	}
	return want;
}

static struct fg_buf *
stored(const struct fg_key *key, enum fg_state *state)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_reader *r = fg_reader_open(store, &err);
	struct fg_buf *b = NULL;
	struct fg_place p;

	must(r && fg_reader_find(r, key, &p, &err) == 0, &err);
	*state = p.state;
	if (p.state == FG_PRESENT || p.state == FG_PARTIAL)
		must(fg_store_read(store, &p, false, &b, &err) == 0, &err);
	fg_reader_close(r);
	return b;
}

static bool
same(const struct fg_buf *a, const struct fg_buf *b)
{
	return a && b && a->len == b->len && memcmp(a->data, b->data, a->len) == 0;
}

static uint64_t
runs(void)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_reader *r = fg_reader_open(store, &err);
	struct fg_store_counts n;

	must(r && fg_reader_count(r, seg->id, &n, &err) == 0, &err);
	fg_reader_close(r);
	return n.blocks_done;
}

/* ------------------------------------------------------------- tests */

static void
test_chunk(void)
{
	/* Chunk (1, 1, 1) holds voxels of the first bright box. */
	struct fg_key key = key_of(seg, 0, 1, 1, 1), pk = key_of(prob, 0, 1, 1, 1);
	enum fg_state state;
	struct fg_buf *b;
	struct viewer v;
	uint64_t ids[512], wrong = 0, object = 0, found = 0;
	uint64_t id = fg_recipe_id(seg->recipe, (int64_t[3]){0, 0, 0}, 1);
	struct fg_array a = {.dtype = FG_U64, .shape = {8, 8, 8, 1}, .data = ids};
	struct fg_err err = FG_ERR_INIT;

	tap_int(ask(seg, &key, &v), FG_WANT_PARKED, "a chunk that is not there");
	tap_int(v.how, FG_WAKE_BYTES, "is made");
	b = stored(&key, &state);
	tap_ok(same(v.bytes, b), "and stored as it was given");
	tap_rc(fg_codec_decode(&seg->info.scale[0], b->data, b->len, &a, &err), &err,
	    "decode");
	for (int64_t z = 0, i = 0; z < 8; z++) {
		for (int64_t y = 0; y < 8; y++) {
			for (int64_t x = 0; x < 8; x++, i++) {
				bool bright = tiny_voxel(13 + x, 5 + y, 108 + z) > 128;

				object += bright;
				found += bright && ids[i] == id;
				wrong += !bright && ids[i] != 0;
			}
		}
	}
	/* The flood need not reach every corner of the box; test_run compares exactly.
	 */
	tap_ok(wrong == 0 && found * 10 > object * 8,
	    "%d of %d bright voxels are object 1, dark ones 0", (int)found,
	    (int)object);
	fg_buf_unref(b);
	fg_buf_unref(v.bytes);
	tap_int(runs(), 1, "one block was made");
	tap_int(ask(prob, &pk, &v), FG_WANT_READY, "its probabilities are there too");
	b = stored(&pk, &state);
	tap_ok(b && b->len == 512 && b->data[0] > 128, "as bytes");
	fg_buf_unref(b);
	/* By way of the companion another block is made. */
	pk = key_of(prob, 0, 3, 1, 1);
	tap_int(ask(prob, &pk, &v), FG_WANT_PARKED, "a chunk of the companion");
	tap_ok(v.how == FG_WAKE_BYTES && v.bytes->len == 512, "is made by the block");
	fg_buf_unref(v.bytes);
	tap_int(runs(), 2, "of its layer");
	pk.kind = FG_KIND_CHUNK;
	tap_int(ask(prob, &pk, &v), FG_WANT_REFUSED, "a key of the wrong kind");
}

static void
test_restart(void)
{
	struct fg_key key = key_of(seg, 0, 1, 1, 1);
	enum fg_state state;
	struct fg_buf *before = stored(&key, &state), *after;
	struct viewer v;

	close_all();
	open_all();
	tap_int(ask(seg, &key, &v), FG_WANT_READY, "after a restart it is there");
	after = stored(&key, &state);
	tap_ok(same(before, after), "with the same bytes");
	tap_int(runs(), 2, "and nothing was made");
	fg_buf_unref(before);
	fg_buf_unref(after);
}

static void
test_all(void)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_box all;
	struct fg_key key;
	enum fg_state state;
	struct viewer v;

	fg_scale_bounds(&seg->info.scale[0], &all);
	tap_rc(fg_sched_bulk(sched, seg, &all, NULL, NULL, NULL, &err), &err,
	    "all blocks");
	tap_int(runs(), 6, "are there");
	for (int s = 1; s < seg->info.scales; s++) {
		key = key_of(seg, s, 0, 0, 0);
		fg_buf_unref(stored(&key, &state));
		tap_int(state, FG_PRESENT, "coarse scale %d too", s);
	}
	key = key_of(seg, 0, 0, 2, 0);
	tap_int(ask(seg, &key, &v), FG_WANT_READY, "a chunk of background");
	fg_buf_unref(stored(&key, &state));
	tap_int(state, FG_EMPTY, "is known to be empty");
	json_t *d = fg_sched_devices(sched);
	json_t *e = json_array_get(d, 0);
	tap_ok(json_integer_value(json_object_get(e, "steps")) > 0 &&
		   json_array_size(json_object_get(e, "devices")) > 0,
	    "devices are described");
	json_decref(d);
}

static void
test_no_model(void)
{
	char *path = fg_asprintf("%s/net.index", root);
	char why[200] = "";
	struct fg_key key;
	struct viewer v;

	add("{\"name\":\"late\",\"ffn\":{\"image\":\"em\",\"model\":\"%s/net\","
	    "\"fov\":[9,9,9],\"delta\":[2,2,2],\"precision\":\"f32\","
	    "\"block\":[16,16,16],\"chunk\":[8,8,8],\"halo\":[4,4,4]}}");
	close_all();
	tap_ok(unlink(path) == 0, "the model's file goes away");
	open_all();
	struct fg_layer *late = fg_catalog_find(catalog, "late", 4);
	key = key_of(late, 0, 0, 0, 0);
	tap_int(ask(late, &key, &v), FG_WANT_PARKED,
	    "a chunk of a layer without model");
	tap_int(v.how, FG_WAKE_RETRY, "is not failed for good");
	tap_ok(fg_sched_stopped(sched, late->id, why) && strstr(why, "net"),
	    "the layer waits, with the reason: %s", why);
	tap_int(ask(late, &key, &v), FG_WANT_REFUSED, "and refuses meanwhile");
	key = key_of(seg, 0, 1, 1, 1);
	tap_int(ask(seg, &key, &v), FG_WANT_READY, "other layers are served");
	fg_layer_unref(late);
	free(path);
}

int
main(void)
{
	fg_log_setup(FG_LOG_ERROR, FG_LOG_TEXT);
	root = wt_folder();
	char *em = fg_asprintf("%s/layers/em", root);
	char *net = fg_asprintf("%s/net", root);
	tiny_image(em, false);
	tiny_net(net, 20);
	open_all();
	add("{\"name\":\"em\",\"source\":\"%s/layers/em\"}");
	add("{\"name\":\"seg\",\"ffn\":{\"image\":\"em\",\"model\":\"%s/net\","
	    "\"fov\":[9,9,9],\"delta\":[2,2,2],\"precision\":\"f32\","
	    "\"block\":[16,16,16],\"chunk\":[8,8,8],\"halo\":[10,10,10],"
	    "\"prob\":true,\"min_segment_size\":5}}");
	close_all();
	open_all();
	test_chunk();
	test_restart();
	test_all();
	test_no_model();
	close_all();
	free(em);
	free(net);
	wt_remove(root);
	return tap_done();
}
