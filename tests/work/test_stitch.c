/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stitching a layer whose truth is known: cells of a Voronoi diagram, seen by each
 * block under numbers of its own and with gaps. The components must be the cells,
 * whatever the order of the blocks, the number of workers, or where the program is
 * killed.
 */
#include "config.h"

#include <signal.h>
#include <sys/wait.h>

#include "store/object.h"
#include "tests/work/sched_world.h"
#include "work/stitch.h"

#define CELLS 60
#define BLOCKS 32 /* 8 x 2 x 2 */

static int64_t site[CELLS][3];

static uint64_t rnd_state = 11;

static uint32_t
rnd(uint32_t n)
{
	rnd_state = rnd_state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(rnd_state >> 33) % n;
}

static void
make_sites(void)
{
	for (int i = 0; i < CELLS; i++) {
		site[i][0] = rnd(128);
		site[i][1] = rnd(32);
		site[i][2] = rnd(32);
	}
}

static uint32_t
cell_at(const int64_t p[3])
{
	int64_t best = INT64_MAX;
	uint32_t cell = 0;

	for (int i = 0; i < CELLS; i++) {
		int64_t sum = 0;

		for (int d = 0; d < 3; d++)
			sum += (p[d] - site[i][d]) * (p[d] - site[i][d]);
		if (sum < best) {
			best = sum;
			cell = (uint32_t)i;
		}
	}
	return cell;
}

/* The number under which a block sees a cell: a permutation of 1..61, one a block. */
static uint32_t
number_of(uint32_t cell, uint64_t at)
{
	return (uint32_t)((cell * 7 + at * 13) % 61) + 1;
}

/* What a block sees of its box: each cell under its number, with holes. */
static int
see_block(const struct fg_layer *l, uint64_t at, struct fg_array *labels,
    struct fg_box *box, struct fg_err *err)
{
	int64_t blk[3], shape[4] = {1, 1, 1, 1}, p[3];
	uint64_t noise = at * 977 + 1;
	uint32_t *v;

	fg_morton_decode(at, blk);
	fg_recipe_box(l->recipe, &l->info.scale[0], blk, box);
	fg_box_shape(box, shape);
	if (fg_array_init(labels, FG_U32, shape, err) < 0)
		return -1;
	v = labels->data;
	for (p[2] = box->lo[2]; p[2] < box->hi[2]; p[2]++) {
		for (p[1] = box->lo[1]; p[1] < box->hi[1]; p[1]++) {
			for (p[0] = box->lo[0]; p[0] < box->hi[0]; p[0]++) {
				noise = noise * 6364136223846793005u + 1;
				*v++ = noise >> 60 == 0 ? 0 : number_of(cell_at(p), at);
			}
		}
	}
	return 0;
}

static int
make_block(struct fg_task *t, struct fg_output *out, struct fg_err *err)
{
	struct fg_array labels = FG_ARRAY_INIT;
	struct fg_box box;
	int rc = see_block(t->layer, t->key.at, &labels, &box, err);

	if (rc == 0)
		rc = fg_task_cut(t->layer, t->key.at, &labels, NULL, NULL, out, err);
	fg_array_fini(&labels);
	return rc;
}

static int
run(struct fg_task *t, struct fg_env *env, struct fg_output *out, struct fg_err *err)
{
	if (t->key.kind == FG_KIND_BLOCK)
		return make_block(t, out, err);
	return fg_task_run(t, env, out, err);
}

static void
open_sched(struct world *w, int workers)
{
	struct fg_sched_options opt = {
	    .run = run,
	    .devices = workers == 1 ? "a" : "a,b",
	    .cpu_threads = workers,
	    .io_threads = 1,
	};
	struct fg_err err = FG_ERR_INIT;

	w->catalog = fg_catalog_open(w->store, &err);
	w->sched = w->catalog ? fg_sched_new(w->store, w->catalog, &opt, &err) : NULL;
	w->reader = fg_reader_open(w->store, &err);
	if (!w->sched || !w->reader) {
		printf("Bail out! %s\n", err.msg);
		exit(1);
	}
}

/* Ask for a chunk of each block in that order, one after another or all at once, and
 * wait until everything is stitched. */
static int
make_all(struct world *w, const int order[BLOCKS], struct fg_err *err)
{
	struct fg_bulk_call call = {.layer = w->layer, .cls = FG_BULK};

	fg_scale_bounds(&w->layer->info.scale[0], &call.vx);
	for (int i = 0; i < BLOCKS; i++) {
		struct fg_key key = chunk_key(w, 0, 2 * (order[i] % 8),
		    2 * (order[i] / 8 % 2), 2 * (order[i] / 16));
		enum fg_want want =
		    fg_sched_want(w->sched, w->layer, &key, FG_BULK, NULL, err);

		if (want != FG_WANT_PARKED && want != FG_WANT_READY)
			return -1;
	}
	if (fg_sched_blocks(w->sched, &call, err) < 0)
		return -1;
	return fg_sched_stitch(w->sched, &call, err);
}

/* A hash of id -> public id for all objects; 0 on failure. */
static uint64_t
sum_of(struct world *w, size_t *components)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_object *o = NULL;
	uint64_t sum = 1;
	size_t n = 0;

	if (fg_reader_objects(w->reader, w->layer->id, true, FG_OBJECTS_BY_ID, 0, 10000,
		&o, components, &err) < 0)
		return 0;
	free(o);
	if (fg_reader_objects(w->reader, w->layer->id, false, FG_OBJECTS_BY_ID, 0,
		10000, &o, &n, &err) < 0)
		return 0;
	for (size_t i = 0; i < n; i++) {
		uint64_t id = o[i].id, p = 0;

		if (fg_reader_public(w->reader, w->layer->id, &id, 1, &p, &err) < 0)
			return 0;
		sum = (sum ^ p) * UINT64_C(0x9e3779b97f4a7c15) + id;
	}
	free(o);
	return sum;
}

/* Objects of one block that are joined to another cell, or apart from their own. */
static int
check_block(struct world *w, uint64_t at, uint64_t owner[CELLS], struct fg_err *err)
{
	const struct fg_layer *l = w->layer;
	struct fg_array labels = FG_ARRAY_INIT;
	bool seen[64] = {false};
	int64_t blk[3], p[3];
	struct fg_box box, core;
	uint32_t local = 0;
	int wrong = 0;

	fg_morton_decode(at, blk);
	fg_recipe_core(l->recipe, &l->info.scale[0], blk, &core);
	if (see_block(l, at, &labels, &box, err) < 0)
		return -1;
	for (p[2] = core.lo[2]; p[2] < core.hi[2]; p[2]++) {
		for (p[1] = core.lo[1]; p[1] < core.hi[1]; p[1]++) {
			for (p[0] = core.lo[0]; p[0] < core.hi[0]; p[0]++) {
				int64_t i =
				    p[0] - box.lo[0] +
				    labels.shape[0] *
					(p[1] - box.lo[1] +
					    labels.shape[1] * (p[2] - box.lo[2]));

				seen[((uint32_t *)labels.data)[i]] = true;
			}
		}
	}
	fg_array_fini(&labels);
	for (uint32_t k = 1; k < 64; k++) {
		uint32_t cell = 0;
		uint64_t id, pub = 0;

		if (!seen[k])
			continue;
		while (number_of(cell, at) != k)
			cell++;
		id = fg_recipe_id(l->recipe, blk, ++local);
		if (fg_reader_public(w->reader, l->id, &id, 1, &pub, err) < 0)
			return -1;
		if (!owner[cell])
			owner[cell] = pub;
		wrong += owner[cell] != pub;
	}
	return wrong;
}

static int
count_wrong(struct world *w)
{
	uint64_t owner[CELLS] = {0};
	struct fg_err err = FG_ERR_INIT;
	int wrong = 0;

	for (int i = 0; i < BLOCKS; i++) {
		int64_t blk[3] = {i % 8, i / 8 % 2, i / 16};
		int n = check_block(w, fg_morton_encode(blk), owner, &err);

		if (n < 0) {
			printf("# %s\n", err.msg);
			return -1;
		}
		wrong += n;
	}
	for (int i = 0; i < CELLS; i++) {
		for (int k = 0; k < i; k++)
			wrong += owner[i] && owner[i] == owner[k];
	}
	return wrong;
}

static void
shuffle(int order[BLOCKS])
{
	for (int i = 0; i < BLOCKS; i++)
		order[i] = i;
	for (int i = BLOCKS - 1; i > 0; i--) {
		int j = (int)rnd((uint32_t)i + 1), t = order[i];

		order[i] = order[j];
		order[j] = t;
	}
}

static void
start(struct world *w, int workers)
{
	w->root = wt_folder();
	w->store = wt_store(w->root);
	w->layer = make_layer(w->store, "seg");
	open_sched(w, workers);
}

static uint64_t reference;
static size_t reference_n;

static void
test_orders(void)
{
	struct fg_err err = FG_ERR_INIT;
	int order[BLOCKS], other = 0, failed = 0;

	for (int k = 0; k < 50; k++) {
		struct world w = {0};
		size_t n = 0;

		shuffle(order);
		start(&w, 1 + k % 2);
		if (make_all(&w, order, &err) < 0) {
			printf("# %s\n", err.msg);
			failed++;
		}
		uint64_t sum = sum_of(&w, &n);
		if (k == 0) {
			reference = sum;
			reference_n = n;
			tap_int(count_wrong(&w), 0, "each cell is one component");
			tap_ok(n >= CELLS - 5 && n <= CELLS, "as many as cells: %zu",
			    n);
		}
		other += sum != reference || n != reference_n;
		end(&w);
	}
	tap_int(failed, 0, "all runs end");
	tap_int(other, 0, "50 orders, 1 and 2 workers: the same public ids");
}

/* ------------------------------------------------------------- killed */

static void
child(const char *root, const char *point)
{
	struct world w = {.root = (char *)root};
	struct fg_err err = FG_ERR_INIT;
	int order[BLOCKS];

	w.store = wt_store(root);
	w.layer = make_layer(w.store, "seg");
	fg_store_close(w.store);
	setenv("FG_CRASH_AT", point, 1);
	w.store = wt_store(root);
	open_sched(&w, 2);
	shuffle(order);
	(void)!make_all(&w, order, &err);
	close_world(&w);
	_exit(0);
}

/* The layer that the killed program made. */
static struct fg_layer *
find_layer(struct world *w)
{
	struct fg_layer *l = fg_catalog_find(w->catalog, "seg", 3);

	/* It has no image here, which the stand-in does not need. */
	if (l)
		l->broken = false;
	return l;
}

static void
test_killed(void)
{
	static const char *const point[] = {"slab-append", "slab-half", "slab-written",
	    "slab-synced", "txn-begun", "txn-half", "txn-before-commit", "committed"};
	struct fg_err err = FG_ERR_INIT;
	int order[BLOCKS], other = 0, killed = 0, runs = 0;

	for (size_t i = 0; i < FG_COUNTOF(point); i++) {
		for (int n = 1; n <= 7; n += 2) {
			char text[64], *root = wt_folder();
			struct world w = {.root = root};
			size_t components = 0;
			int status = 0;
			pid_t pid;

			snprintf(text, sizeof text, "%s:%d", point[i], n);
			shuffle(order);
			pid = fork();
			if (pid == 0)
				child(root, text);
			waitpid(pid, &status, 0);
			killed += WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
			runs++;
			w.store = wt_store(root);
			open_sched(&w, 2);
			w.layer = find_layer(&w);
			if (!w.layer || make_all(&w, order, &err) < 0)
				printf("# %s: %s\n", text, err.msg);
			else if (sum_of(&w, &components) == reference)
				other--;
			other++;
			end(&w);
		}
	}
	tap_ok(killed > runs / 2, "killed %d times in %d runs", killed, runs);
	tap_int(other, 0, "started again, the public ids are the same");
}

/* ------------------------------------------------------------- boxes */

static void
test_boxes(void)
{
	struct fg_scale s = {.offset = {-5, 0, 7}, .size = {100, 60, 40}};
	struct fg_recipe r = {.block = {32, 32, 32}, .halo = {8, 8, 8}};
	const int64_t a[3] = {1, 0, 0}, x[3] = {2, 0, 0}, xy[3] = {2, 1, 0};
	const int64_t end[3] = {3, 0, 0}, far[3] = {2, 0, 1};
	struct fg_box v, u;

	fg_stitch_rule_default(&r.stitch, 20);
	r.stitch.near = 4;
	tap_ok(fg_stitch_box(&r, &s, a, x, &v) && v.lo[0] == 59 - 4 &&
		   v.hi[0] == 59 + 4 && v.lo[1] == 0 && v.hi[1] == 32 && v.lo[2] == 7 &&
		   v.hi[2] == 39,
	    "a face: near its plane, over the common core");
	tap_ok(fg_stitch_box(&r, &s, x, a, &u) && fg_box_equal(&u, &v),
	    "the same from the other side");
	tap_ok(fg_stitch_box(&r, &s, a, xy, &v) && v.lo[0] == 55 && v.hi[0] == 63 &&
		   v.lo[1] == 28 && v.hi[1] == 36 && v.lo[2] == 7,
	    "an edge: near both planes");
	r.stitch.near = 100;
	tap_ok(fg_stitch_box(&r, &s, x, end, &v) && v.lo[0] == 91 - 8 && v.hi[0] == 95,
	    "no more than the halo, no further than the volume");
	tap_ok(fg_stitch_box(&r, &s, a, far, &v) && v.lo[2] == 31 && v.hi[2] == 47,
	    "the last block may be thinner");
}

int
main(void)
{
	fg_log_setup(FG_LOG_ERROR, FG_LOG_TEXT);
	make_sites();
	test_boxes();
	test_orders();
	test_killed();
	return tap_done();
}
