/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Components of objects: what evidence and decisions make of base objects is compared
 * with a plain implementation of the rule in store/object.h, for many orders, after
 * cuts and their withdrawal, after a restart and after reindex.
 */
#include "config.h"

#include <signal.h>
#include <sys/wait.h>

#include "store/index_object.h"
#include "tests/store/store_test.h"

#define OBJECTS 80 /* two a block */
#define MERGES 90
#define EDITS_MAX 40

/* Ids of all objects, ascending. */
static uint64_t id_of[OBJECTS];

static int
by_value(const void *pa, const void *pb)
{
	uint64_t a = *(const uint64_t *)pa, b = *(const uint64_t *)pb;

	return a < b ? -1 : a > b;
}

static void
make_names(void)
{
	for (int i = 0; i < OBJECTS; i++) {
		int n = i / 2;
		struct fg_key k =
		    st_key(0, FG_KIND_BLOCK, 0, n >> 4, n & 3, n >> 2 & 3);

		id_of[i] = k.at << 20 | (uint64_t)(i % 2 + 1);
	}
	qsort(id_of, OBJECTS, sizeof *id_of, by_value);
}

static uint64_t
name(int i)
{
	return id_of[i];
}

static uint64_t rnd_state = 1;

static uint32_t
rnd(uint32_t n)
{
	rnd_state = rnd_state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(rnd_state >> 33) % n;
}

/* ------------------------------------------------------------- the plain rule */

struct world {
	struct fg_merge merge[MERGES];
	int merges;
	struct fg_edit edit[EDITS_MAX];
	int edits;
};

static int
index_of_id(uint64_t id)
{
	for (int i = 0; i < OBJECTS; i++) {
		if (name(i) == id)
			return i;
	}
	return -1;
}

/* The newest decision about a pair that stands, or NULL. */
static const struct fg_edit *
decision(const struct world *w, uint64_t a, uint64_t b)
{
	const struct fg_edit *last = NULL;

	for (int i = 0; i < w->edits; i++) {
		const struct fg_edit *e = &w->edit[i];

		if (!e->undone &&
		    ((e->a == a && e->b == b) || (e->a == b && e->b == a)))
			last = e;
	}
	return last;
}

static void
join_plain(const struct world *w, int comp[OBJECTS], uint64_t a, uint64_t b)
{
	int ca = comp[index_of_id(a)], cb = comp[index_of_id(b)];

	for (int i = 0; i < w->edits; i++) {
		const struct fg_edit *e = &w->edit[i];
		int x = comp[index_of_id(e->a)], y = comp[index_of_id(e->b)];

		if (e->kind == FG_EDIT_CUT && decision(w, e->a, e->b) == e &&
		    ((x == ca && y == cb) || (x == cb && y == ca)))
			return;
	}
	for (int i = 0; i < OBJECTS; i++) {
		if (comp[i] == cb)
			comp[i] = ca;
	}
}

static bool
weighs_more(const struct fg_merge *a, const struct fg_merge *b)
{
	if (a->both != b->both)
		return a->both > b->both;
	return a->a != b->a ? a->a < b->a : a->b < b->b;
}

static void
solve(const struct world *w, uint64_t public_id[OBJECTS])
{
	int comp[OBJECTS];
	bool done[MERGES] = {false};

	for (int i = 0; i < OBJECTS; i++)
		comp[i] = i;
	for (int i = 0; i < w->edits; i++) {
		const struct fg_edit *e = &w->edit[i];

		if (e->kind == FG_EDIT_JOIN && decision(w, e->a, e->b) == e)
			join_plain(w, comp, e->a, e->b);
	}
	for (;;) {
		int best = -1;

		for (int i = 0; i < w->merges; i++) {
			if (!done[i] &&
			    (best < 0 || weighs_more(&w->merge[i], &w->merge[best])))
				best = i;
		}
		if (best < 0)
			break;
		done[best] = true;
		const struct fg_merge *m = &w->merge[best];
		if (m->joined && !decision(w, m->a, m->b))
			join_plain(w, comp, m->a, m->b);
	}
	for (int i = 0; i < OBJECTS; i++) {
		public_id[i] = name(i);
		for (int j = 0; j < OBJECTS; j++) {
			if (comp[j] == comp[i])
				public_id[i] = FG_MIN(public_id[i], name(j));
		}
	}
}

/* ------------------------------------------------------------- the store's */

/* Whether a component has the seed of its largest member of those that have one; the
 * second object of a block has a voxel more than the first (st_block). */
static bool
is_seed_right(const uint64_t want[OBJECTS], const struct fg_object *o)
{
	int64_t seed[3], v[3];
	int best = -1;

	for (int i = 0; i < OBJECTS; i++) {
		if (want[i] == o->public_id && st_seed(name(i), v) &&
		    (best < 0 || (name(i) & 3) > (name(best) & 3)))
			best = i;
	}
	if (best < 0)
		return !o->seeded;
	(void)st_seed(name(best), seed);
	return o->seeded && memcmp(seed, o->seed, sizeof seed) == 0;
}

static int
differences(struct fg_reader *r, uint32_t layer, const struct world *w)
{
	uint64_t want[OBJECTS], id[OBJECTS], got[OBJECTS];
	struct fg_err err = FG_ERR_INIT;
	int bad = 0;

	solve(w, want);
	for (int i = 0; i < OBJECTS; i++)
		id[i] = name(i);
	if (fg_reader_public(r, layer, id, OBJECTS, got, &err) < 0)
		return -1;
	for (int i = 0; i < OBJECTS; i++) {
		struct fg_object o;
		uint64_t members = 0;

		bad += got[i] != want[i];
		for (int j = 0; j < OBJECTS; j++)
			members += want[j] == want[i];
		if (fg_reader_object(r, layer, id[i], &o, &err) < 0 ||
		    o.public_id != want[i] || o.members != members || o.id != id[i] ||
		    !is_seed_right(want, &o))
			bad++;
	}
	return bad;
}

static int
put_blocks(struct fg_store *s, uint32_t layer)
{
	struct fg_err err = FG_ERR_INIT;

	for (int n = 0; n < OBJECTS / 2; n++) {
		if (st_commit_one(s, st_block_n(layer, n, 1), &err) < 0) {
			printf("# %s\n", err.msg);
			return -1;
		}
	}
	return 0;
}

/* Merges as the stitch result of block n. */
static int
put_stitch(struct fg_store *s, uint32_t layer, int n, const struct fg_merge *m,
    size_t merges)
{
	struct fg_result *r = fg_calloc(1, sizeof *r);
	struct fg_payload *p = fg_calloc(1, sizeof *p);
	struct fg_err err = FG_ERR_INIT;
	int rc;

	r->task = st_key(layer, FG_KIND_STITCH, 0, n >> 4, n & 3, n >> 2 & 3);
	p->key = r->task;
	p->state = FG_EMPTY;
	r->payload = p;
	r->payloads = 1;
	r->places = fg_calloc(1, sizeof *r->places);
	r->merge = m;
	r->merges = merges;
	rc = st_commit_one(s, r, &err);
	if (rc < 0)
		printf("# %s\n", err.msg);
	return rc;
}

static void
make_world(struct world *w, int edits)
{
	*w = (struct world){0};
	while (w->merges < MERGES) {
		uint64_t a = name((int)rnd(OBJECTS)), b = name((int)rnd(OBJECTS));
		struct fg_merge m = {FG_MIN(a, b), FG_MAX(a, b), rnd(20) * 10, 3, 4,
		    rnd(10) < 7};
		bool known = a == b;

		for (int i = 0; i < w->merges; i++)
			known |= w->merge[i].a == m.a && w->merge[i].b == m.b;
		if (!known)
			w->merge[w->merges++] = m;
	}
	for (int i = 0; i < edits; i++) {
		const struct fg_merge *m = &w->merge[rnd(MERGES)];
		bool near = rnd(2) == 0;
		uint64_t a = near ? m->a : name((int)rnd(OBJECTS));
		uint64_t b = near ? m->b : name((int)rnd(OBJECTS));

		if (a != b)
			w->edit[w->edits++] = (struct fg_edit){
			    .kind = rnd(3) ? FG_EDIT_CUT : FG_EDIT_JOIN,
			    .a = a,
			    .b = b,
			    .who = "tester",
			};
	}
}

/* One run of a world in one order: merges in groups, each the result of some block,
 * edits in between. Returns how many objects are wrong in the end. */
static int
play(struct world *w, uint64_t seed, bool keep)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_store *s;
	struct fg_reader *r;
	uint32_t layer;
	int bad = -1, block = 0, e = 0;

	rnd_state = seed;
	for (int i = w->merges - 1; i > 0; i--) {
		int j = (int)rnd((uint32_t)i + 1);
		struct fg_merge t = w->merge[i];

		w->merge[i] = w->merge[j];
		w->merge[j] = t;
	}
	st_folder();
	s = st_open(FG_STORE_CREATE);
	layer = st_add_layer(s, "seg");
	if (put_blocks(s, layer) < 0)
		goto out;
	for (int i = 0; i < w->merges;) {
		int n = 1 + (int)rnd(5);

		n = FG_MIN(n, w->merges - i);

		if (put_stitch(s, layer, block++, &w->merge[i], (size_t)n) < 0)
			goto out;
		i += n;
		if (e < w->edits && rnd(3) == 0) {
			if (fg_store_edit(s, layer, &w->edit[e], 1, NULL, &err) < 0)
				goto out;
			e++;
		}
	}
	if (e < w->edits && fg_store_edit(s, layer, &w->edit[e], (size_t)(w->edits - e),
				NULL, &err) < 0)
		goto out;
	r = st_reader(s);
	bad = differences(r, layer, w);
	fg_reader_close(r);
out:
	if (*err.msg)
		printf("# %s\n", err.msg);
	fg_store_close(s);
	if (!keep)
		st_cleanup();
	return bad;
}

static void
test_orders(void)
{
	static struct world w;
	int bad = 0;

	rnd_state = 77;
	make_world(&w, 0);
	for (uint64_t seed = 1; seed <= 50; seed++)
		bad += play(&w, seed * 7919, false) != 0;
	tap_int(bad, 0, "50 orders of the same evidence give what the rule says");
	bad = 0;
	for (uint64_t seed = 1; seed <= 30; seed++) {
		rnd_state = seed;
		make_world(&w, 24);
		bad += play(&w, seed * 104729, false) != 0;
	}
	tap_int(bad, 0, "so do 30 worlds with decisions in between");
}

/* ------------------------------------------------------------- decisions */

static void
test_one_pair(void)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_store *s;
	struct fg_reader *r;
	struct fg_object o, before;
	struct fg_object_block *k = NULL;
	uint64_t *member = NULL;
	size_t n = 0;
	int64_t gen0, gen1;

	st_folder();
	s = st_open(FG_STORE_CREATE);
	uint32_t layer = st_add_layer(s, "seg");
	put_blocks(s, layer);
	r = st_reader(s);
	tap_rc(fg_reader_object(r, layer, name(3), &before, &err), &err, "look up");
	tap_ok(before.public_id == name(3) && before.members == 1 &&
		   before.blocks == 1 && before.voxels == 1001,
	    "an object alone is its own component");
	tap_rc(fg_reader_merge_gen(r, layer, &gen0, &err), &err, "merge generation");
	struct fg_merge m[2] = {{name(3), name(8), 50, 1, 2, true},
	    {name(4), name(8), 9, 100, 200, false}};
	put_stitch(s, layer, 4, m, 2);
	tap_rc(fg_reader_object(r, layer, name(8), &o, &err), &err, "look up again");
	tap_ok(o.id == name(8) && o.public_id == name(3) && o.members == 2 &&
		   o.blocks == 2 && o.voxels == 2001 && o.gen > before.gen,
	    "two joined objects are one, under both names");
	tap_ok(o.lo[0] == 0 && o.lo[1] == 0 && o.lo[2] == 0 && o.hi[0] == 10 &&
		   o.hi[1] == 9 && o.hi[2] == 10,
	    "its bounding box holds both");
	tap_rc(fg_reader_merge_gen(r, layer, &gen1, &err), &err, "merge generation");
	tap_ok(gen1 > gen0, "has risen");
	tap_rc(fg_reader_object_blocks(r, layer, name(8), true, &k, &n, &err), &err,
	    "its blocks");
	tap_ok(n == 2 && k[0].id == name(3) && k[1].id == name(8), "are two");
	free(k);
	tap_rc(fg_reader_members(r, layer, name(8), &member, &n, &err), &err,
	    "its members");
	tap_ok(n == 2 && member[0] == name(3) && member[1] == name(8), "are two");
	free(member);
	tap_fails(fg_reader_object(r, layer, 12345, &o, &err), &err, FG_ENOENT,
	    "there is no object 12345", "an unknown id is told");
	tap_int(st_public(s, layer, 12345), 12345, "and keeps its name");
	tap_int(st_public(s, layer, 0), 0, "background stays background");
	fg_reader_close(r);
	fg_store_close(s);
	st_cleanup();
}

static void
test_edits(void)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_store *s;
	bool changed;

	st_folder();
	s = st_open(FG_STORE_CREATE);
	uint32_t layer = st_add_layer(s, "seg");
	put_blocks(s, layer);
	struct fg_merge m[3] = {{name(1), name(2), 50, 0, 0, true},
	    {name(2), name(3), 40, 0, 0, true}, {name(3), name(4), 60, 0, 0, true}};
	put_stitch(s, layer, 0, m, 3);
	struct fg_edit cut = {.kind = FG_EDIT_CUT, .a = name(4), .b = name(1)};
	tap_rc(fg_store_edit(s, layer, &cut, 1, &changed, &err), &err,
	    "a cut of the two ends of a chain");
	tap_ok(changed && st_public(s, layer, name(2)) == name(1) &&
		   st_public(s, layer, name(3)) == name(3) &&
		   st_public(s, layer, name(4)) == name(3),
	    "leaves its weakest link out");
	struct fg_merge late = {name(0), name(4), 70, 0, 0, true};
	put_stitch(s, layer, 1, &late, 1);
	struct fg_merge late2 = {name(0), name(1), 70, 0, 0, true};
	put_stitch(s, layer, 2, &late2, 1);
	tap_ok(st_public(s, layer, name(4)) != st_public(s, layer, name(1)),
	    "later evidence does not go round it");
	struct fg_edit join = {.kind = FG_EDIT_JOIN, .a = name(1), .b = name(4)};
	tap_rc(fg_store_edit(s, layer, &join, 1, &changed, &err), &err,
	    "a join of the same pair");
	tap_ok(st_public(s, layer, name(4)) == name(0) &&
		   st_public(s, layer, name(2)) == name(0),
	    "is newer and counts");
	tap_rc(fg_store_edit_undo(s, layer, &join.edit, 1, &changed, &err), &err,
	    "withdrawn");
	tap_ok(changed && st_public(s, layer, name(4)) != st_public(s, layer, name(1)),
	    "the cut stands again");
	tap_rc(fg_store_edit_undo(s, layer, &cut.edit, 1, &changed, &err), &err,
	    "withdrawn, too");
	tap_ok(changed && st_public(s, layer, name(4)) == name(0) &&
		   st_public(s, layer, name(2)) == name(0),
	    "all are one by their evidence");
	tap_rc(fg_store_edit_undo(s, layer, &cut.edit, 1, &changed, &err), &err,
	    "withdrawing twice");
	tap_ok(!changed, "changes nothing");

	struct fg_edit bad = {.kind = FG_EDIT_JOIN, .a = name(1), .b = name(1)};
	tap_fails(fg_store_edit(s, layer, &bad, 1, NULL, &err), &err, FG_EINVAL,
	    "with itself", "an object with itself is refused");
	bad.b = 999;
	tap_fails(fg_store_edit(s, layer, &bad, 1, NULL, &err), &err, FG_ENOENT,
	    "there is no object 999", "an unknown id is refused");
	int64_t none = 12345;
	tap_fails(fg_store_edit_undo(s, layer, &none, 1, NULL, &err), &err, FG_ENOENT,
	    "there is no edit 12345", "so is an unknown edit");
	struct fg_edit ring[4];
	for (int i = 0; i < 4; i++)
		ring[i] = (struct fg_edit){.kind = FG_EDIT_JOIN,
		    .a = name(10 + i),
		    .b = name(10 + (i + 1) % 4)};
	tap_rc(fg_store_edit(s, layer, ring, 4, NULL, &err), &err, "a ring of joins");
	tap_int(st_public(s, layer, name(13)), (long long)name(10), "is one component");
	fg_store_close(s);
	st_cleanup();
}

/* ------------------------------------------------------------- lost and found */

static void
test_reindex(void)
{
	static struct world w;
	struct fg_err err = FG_ERR_INIT;
	struct fg_store *s;
	struct fg_reader *r;
	struct fg_edit *list = NULL;
	size_t n = 0;

	rnd_state = 5;
	make_world(&w, 30);
	tap_int(play(&w, 4711, true), 0, "a world with decisions");
	s = st_open(FG_STORE_WRITE);
	for (int i = 3; i < 9; i++) {
		w.edit[i].undone = true;
		if (fg_store_edit_undo(s, 1, &w.edit[i].edit, 1, NULL, &err) < 0)
			printf("# %s\n", err.msg);
	}
	r = st_reader(s);
	tap_int(differences(r, 1, &w), 0, "some withdrawn");
	fg_reader_close(r);
	fg_store_close(s);
	st_run("rm -f '%s'/index.sqlite*", st_root);
	tap_rc(fg_store_reindex(st_root, &st_opt, st_show, NULL, st_said, NULL, &err),
	    &err, "the index is made again from slabs alone");
	s = st_open(FG_STORE_WRITE);
	r = st_reader(s);
	tap_int(differences(r, 1, &w), 0, "components are the same");
	tap_rc(fg_reader_edits(r, 1, 0, 100, &list, &n, &err), &err, "decisions");
	tap_ok((int)n == w.edits && strcmp(list[2].who, "tester") == 0 &&
		   list[4].undone && !list[9].undone,
	    "are all there");
	free(list);
	fg_reader_close(r);
	fg_store_close(s);
	tap_int(st_verify(st_root), 0, "verify finds nothing");
	st_cleanup();
}

/* Seeds as pages of objects have them; how many are known. -1: a wrong one. */
static int
page_seeds(struct fg_reader *r, bool whole, enum fg_object_order order)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_object *page = NULL, o;
	int64_t seed[3];
	size_t n = 0;
	int known = 0;

	if (fg_reader_objects(r, 1, whole, order, 0, 1000, &page, &n, &err) < 0)
		return -1;
	for (size_t i = 0; i < n && known >= 0; i++) {
		bool there = st_seed(page[i].public_id, seed);

		known += page[i].seeded;
		if (!whole && (page[i].seeded != there ||
				  (there && memcmp(page[i].seed, seed, sizeof seed))))
			known = -1;
		if (whole && (fg_reader_object(r, 1, page[i].public_id, &o, &err) < 0 ||
				 o.seeded != page[i].seeded ||
				 memcmp(o.seed, page[i].seed, sizeof o.seed)))
			known = -1;
	}
	free(page);
	return known;
}

/* An index of before there were seeds is brought up to date, without any; a reindex
 * finds those that the slabs have. */
static void
test_seeds(void)
{
	static struct world w;
	struct fg_err err = FG_ERR_INIT;
	struct fg_store *s;
	struct fg_reader *r;
	int base, whole;

	rnd_state = 6;
	make_world(&w, 5);
	tap_int(play(&w, 12, true), 0, "a world with seeds");
	s = st_open(FG_STORE_WRITE);
	r = st_reader(s);
	base = page_seeds(r, false, FG_OBJECTS_BY_ID);
	whole = page_seeds(r, true, FG_OBJECTS_BY_VOXELS);
	tap_ok(base > 0 && base < OBJECTS && whole > 0,
	    "pages have them: of %d base objects and %d whole ones", base, whole);
	tap_ok(page_seeds(r, false, FG_OBJECTS_BY_VOXELS) == base &&
		   page_seeds(r, true, FG_OBJECTS_BY_ID) == whole,
	    "in either order");
	fg_reader_close(r);
	fg_store_close(s);
	st_make_older();
	s = st_open(FG_STORE_WRITE);
	r = st_reader(s);
	tap_ok(page_seeds(r, true, FG_OBJECTS_BY_ID) == 0, "is read: none is known");
	fg_reader_close(r);
	fg_store_close(s);
	tap_rc(fg_store_reindex(st_root, &st_opt, st_show, NULL, st_said, NULL, &err),
	    &err, "reindex");
	s = st_open(FG_STORE_WRITE);
	r = st_reader(s);
	tap_ok(page_seeds(r, false, FG_OBJECTS_BY_ID) == base &&
		   page_seeds(r, true, FG_OBJECTS_BY_ID) == whole,
	    "they are back");
	tap_int(differences(r, 1, &w), 0, "and right");
	fg_reader_close(r);
	fg_store_close(s);
	st_cleanup();
}

/* Killed while a decision is written: it is there whole or not at all, and the
 * components are what the rule makes of that. */
static void
test_killed(void)
{
	static const char *const point[] = {"edit-append", "slab-half", "slab-written",
	    "slab-synced", "edit-before-commit"};
	static struct world w;
	struct fg_err err = FG_ERR_INIT;
	int wrong = 0, killed = 0, kept = 0;

	for (size_t i = 0; i < FG_COUNTOF(point); i++) {
		struct fg_edit *list = NULL;
		struct fg_store *s;
		struct fg_reader *r;
		size_t n = 0;
		int status = 0;
		pid_t pid;

		rnd_state = 100 + i;
		make_world(&w, 10);
		wrong += play(&w, 33 + i, true) != 0;
		struct fg_edit cut = {.kind = FG_EDIT_CUT,
		    .a = w.merge[0].a,
		    .b = w.merge[0].b,
		    .who = "killed"};
		pid = fork();
		if (pid == 0) {
			setenv("FG_CRASH_AT", point[i], 1);
			s = st_open(FG_STORE_WRITE);
			_exit(fg_store_edit(s, 1, &cut, 1, NULL, &err) < 0 ? 2 : 0);
		}
		waitpid(pid, &status, 0);
		killed += WIFSIGNALED(status);
		s = st_open(FG_STORE_WRITE);
		r = st_reader(s);
		if (fg_reader_edits(r, 1, 0, 100, &list, &n, &err) < 0)
			wrong++;
		if ((int)n == w.edits + 1) {
			w.edit[w.edits++] = list[n - 1];
			kept++;
		}
		wrong += (int)n != w.edits || differences(r, 1, &w) != 0;
		free(list);
		fg_reader_close(r);
		fg_store_close(s);
		st_cleanup();
	}
	tap_int(killed, FG_COUNTOF(point), "killed at each point of a decision");
	tap_int(wrong, 0, "components follow from what is there");
	tap_ok(kept >= 2, "which is the decision once it is in the slab");
}

/* A block that is made again drops what was known of its objects. */
static void
test_dropped(void)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_store *s;
	char path[512];
	struct fg_index *ix;
	uint64_t *at = NULL;
	size_t n = 0;

	st_folder();
	s = st_open(FG_STORE_CREATE);
	uint32_t layer = st_add_layer(s, "seg");
	put_blocks(s, layer);
	struct fg_merge m[3] = {{name(1), name(4), 50, 0, 0, true},
	    {name(4), name(8), 40, 0, 0, true}, {name(8), name(9), 60, 0, 0, true}};
	put_stitch(s, layer, 1, m, 3); /* the block at 2, which is dropped below */
	fg_store_close(s);
	snprintf(path, sizeof path, "%s/index.sqlite", st_root);
	ix = fg_index_open(path, FG_INDEX_WRITE, &err);
	tap_ok(ix != NULL, "the index itself");
	tap_rc(fg_index_begin(ix, &err), &err, "begin");
	tap_rc(fg_index_drop_objects(ix, layer, name(4) >> 20, &err), &err,
	    "drop the objects of the middle block");
	tap_rc(fg_index_commit(ix, &err), &err, "commit");
	uint64_t id[4] = {name(1), name(4), name(8), name(9)}, got[4];
	tap_rc(fg_index_public(ix, layer, id, 4, got, &err), &err, "look up");
	tap_ok(got[0] == name(1) && got[1] == name(4) && got[2] == name(8) &&
		   got[3] == name(8),
	    "what it held together comes apart");
	tap_rc(fg_index_unstitched(ix, layer, UINT64_MAX, 1000, &at, &n, &err), &err,
	    "blocks to be stitched");
	tap_int((int)n, OBJECTS / 2, "are all again");
	free(at);
	fg_index_close(ix);
	st_cleanup();
}

int
main(void)
{
	make_names();
	test_one_pair();
	test_edits();
	test_orders();
	test_reindex();
	test_seeds();
	test_killed();
	test_dropped();
	return tap_done();
}
