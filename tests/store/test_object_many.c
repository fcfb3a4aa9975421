/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Components of objects, many and hostile: 10,000 blocks in the order that is worst for
 * names, and lists of a million decisions that are as bad as they can be.
 */
#include "config.h"

#include <sqlite3.h>

#include "base/clock.h"
#include "store/object.h"
#include "tests/store/store_test.h"

/* ------------------------------------------------------------- cost */

#define MANY 10000
#define GROUP 64 /* results of a commit */

static sqlite3 *
open_index(void)
{
	char path[512];
	sqlite3 *db = NULL;

	snprintf(path, sizeof path, "%s/index.sqlite", st_root);
	if (sqlite3_open(path, &db) != SQLITE_OK)
		printf("# %s\n", sqlite3_errmsg(db));
	return db;
}

/* From now on the index counts itself how often the row of an object is changed. */
static void
count_changes(void)
{
	sqlite3 *db = open_index();

	tap_ok(sqlite3_exec(db,
		   "CREATE TABLE changes (n INT); INSERT INTO changes VALUES (0);"
		   "CREATE TRIGGER changed AFTER UPDATE ON objects BEGIN"
		   " UPDATE changes SET n = n + 1; END",
		   NULL, NULL, NULL) == SQLITE_OK,
	    "changes are counted");
	sqlite3_close(db);
}

static long long
changes(void)
{
	sqlite3 *db = open_index();
	sqlite3_stmt *st = NULL;
	long long n = -1;

	if (sqlite3_prepare_v2(db, "SELECT n FROM changes", -1, &st, NULL) ==
		SQLITE_OK &&
	    sqlite3_step(st) == SQLITE_ROW)
		n = sqlite3_column_int64(st, 0);
	sqlite3_finalize(st);
	sqlite3_close(db);
	return n;
}

static uint64_t
block_object(int64_t at)
{
	return (uint64_t)at << 20 | 1;
}

/* Blocks first .. first + n - 1, the last one first, each of one object, and after each
 * what stitching it finds: it goes on in the block after it. */
static int
commit_blocks(struct fg_store *s, uint32_t layer, int first, int n, struct fg_err *err)
{
	static struct fg_result res[GROUP], *list[GROUP];
	static struct fg_object_row o[GROUP];
	static struct fg_merge m[GROUP];
	static struct fg_payload p[GROUP];
	static struct fg_place place[GROUP];
	size_t k = 0;

	for (int i = first + n - 1; i >= first; i--) {
		uint64_t id = block_object(i);
		struct fg_key key = {.layer = layer,
		    .kind = FG_KIND_BLOCK,
		    .at = (uint64_t)i};

		o[k] = (struct fg_object_row){.id = id, .voxels = 1};
		res[k] = (struct fg_result){.task = key, .object = &o[k], .objects = 1};
		list[k] = &res[k];
		k++;
		key.kind = FG_KIND_STITCH;
		m[k] = (struct fg_merge){id, block_object(i + 1), 1, 1, 1, true};
		p[k] = (struct fg_payload){.key = key, .state = FG_EMPTY};
		res[k] = (struct fg_result){.task = key,
		    .payload = &p[k],
		    .payloads = 1,
		    .places = &place[k],
		    .merge = &m[k],
		    .merges = i < MANY - 1};
		list[k] = &res[k];
		k++;
	}
	return fg_commit(s, list, k, err);
}

/* Each block has a smaller id than all before it, so the name of the whole changes with
 * every one: written to all its parts this would take n^2 / 2 rows. */
static void
test_descending(void)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_store *s;
	struct fg_reader *r;
	int rc = 0, bad = 0;

	st_folder();
	s = st_open(FG_STORE_CREATE);
	uint32_t layer = st_add_layer(s, "seg");
	fg_store_close(s);
	count_changes();
	s = st_open(FG_STORE_WRITE);
	for (int left = MANY; left > 0 && rc == 0; left -= GROUP / 2) {
		int n = FG_MIN(left, GROUP / 2);

		rc = commit_blocks(s, layer, left - n, n, &err);
	}
	tap_rc(rc, &err, "10,000 blocks in descending order, each stitched at once");
	long long n = changes();
	tap_ok(n >= MANY - 1 && n <= 132877 /* 10,000 log2 10,000 */,
	    "change at most n log2 n rows: %lld", n);
	r = st_reader(s);
	int64_t t0 = fg_clock_ns();
	for (int64_t i = 0; i < MANY; i++) {
		uint64_t id = block_object(i * 7919 % MANY), p = 0;

		bad += fg_reader_public(r, layer, &id, 1, &p, &err) < 0 ||
		       p != block_object(0);
	}
	printf("# a look-up takes %.2f us\n",
	    (double)(fg_clock_ns() - t0) / 1e3 / MANY);
	tap_int(bad, 0, "all of them are one");
	fg_reader_close(r);
	fg_store_close(s);
	st_cleanup();
}

/* ------------------------------------------------------------- hostile lists */

#define CAST 2000
#define SIDE (CAST / 4)

/* The objects 1000 .. 1000 + CAST - 1 of one block. */
static void
put_cast(struct fg_store *s, uint32_t layer)
{
	static struct fg_object_row o[CAST];
	struct fg_result res = {.task = {.layer = layer, .kind = FG_KIND_BLOCK},
			     .object = o,
			     .objects = CAST},
			 *list = &res;
	struct fg_err err = FG_ERR_INIT;

	for (int i = 0; i < CAST; i++)
		o[i] = (struct fg_object_row){.id = 1000 + (uint64_t)i, .voxels = 1};
	tap_rc(fg_commit(s, &list, 1, &err), &err, "objects");
}

static int
wrong_names(struct fg_store *s, uint32_t layer, uint64_t (*want)(int i))
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_reader *r = st_reader(s);
	int bad = 0;

	for (int i = 0; i < CAST; i++) {
		uint64_t id = 1000 + (uint64_t)i, p = 0;

		bad += fg_reader_public(r, layer, &id, 1, &p, &err) < 0 || p != want(i);
	}
	fg_reader_close(r);
	return bad;
}

static uint64_t
alone(int i)
{
	return 1000 + (uint64_t)i;
}

static uint64_t
in_three(int i)
{
	return i < SIDE ? 1000 : i < 2 * SIDE ? 1000 + SIDE : 1000 + 2 * SIDE;
}

/* Two objects of SIDE parts, held apart by one cut that stands behind a quarter of a
 * million others of each, and then tied together as often: all that is tried in vain.
 * The rest goes round in circles. */
static size_t
make_hostile(struct fg_edit *e)
{
	size_t n = 0;

#define ADD(k, x, y) e[n++] = (struct fg_edit){.kind = k, .a = alone(x), .b = alone(y)}
	ADD(FG_EDIT_CUT, SIDE - 1, 2 * SIDE - 1);
	for (int i = 1; i < SIDE; i++) {
		ADD(FG_EDIT_JOIN, i - 1, i);
		ADD(FG_EDIT_JOIN, SIDE + i - 1, SIDE + i);
	}
	for (int i = 0; i < SIDE; i++) {
		for (int j = 0; j < SIDE; j++) {
			ADD(FG_EDIT_CUT, i, 2 * SIDE + j);
			ADD(FG_EDIT_CUT, SIDE + i, 3 * SIDE + j);
			if (i < SIDE - 1 || j < SIDE - 1)
				ADD(FG_EDIT_JOIN, i, SIDE + j);
		}
	}
	for (int i = 0; n < FG_EDITS_MAX; i++)
		ADD(FG_EDIT_JOIN, 2 * SIDE + i % (2 * SIDE),
		    2 * SIDE + (i + 1) % (2 * SIDE));
#undef ADD
	return n;
}

/* Merges as the stitch result of the first block. */
static int
put_stitch(struct fg_store *s, uint32_t layer, const struct fg_merge *m, size_t merges,
    struct fg_err *err)
{
	struct fg_payload done = {.key = {.layer = layer, .kind = FG_KIND_STITCH},
	    .state = FG_EMPTY};
	struct fg_place place = {0};
	struct fg_result r = {.task = done.key,
			     .payload = &done,
			     .payloads = 1,
			     .places = &place,
			     .merge = m,
			     .merges = merges},
			 *list = &r;

	return fg_commit(s, &list, 1, err);
}

static void
test_hostile(void)
{
	struct fg_edit *e = fg_calloc(FG_EDITS_MAX + 1, sizeof *e);
	int64_t *number = fg_calloc(FG_EDITS_MAX, sizeof *number);
	struct fg_err err = FG_ERR_INIT;
	struct fg_store *s;
	bool changed = false;

	st_folder();
	s = st_open(FG_STORE_CREATE);
	uint32_t layer = st_add_layer(s, "seg");
	put_cast(s, layer);
	tap_int((int)make_hostile(e), FG_EDITS_MAX, "a list of a million");
	e[FG_EDITS_MAX] = e[0];
	tap_fails(fg_store_edit(s, layer, e, FG_EDITS_MAX + 1, NULL, &err), &err,
	    FG_EINVAL, "at most 1000000", "one more is refused");
	e[FG_EDITS_MAX - 1].b = 77;
	tap_fails(fg_store_edit(s, layer, e, FG_EDITS_MAX, NULL, &err), &err, FG_ENOENT,
	    "there is no object 77", "an unknown id at its end is refused");
	tap_int(wrong_names(s, layer, alone), 0, "with all of the list");
	e[FG_EDITS_MAX - 1].b = e[FG_EDITS_MAX - 1].a - 1;
	int64_t t0 = fg_clock_ns();
	tap_rc(fg_store_edit(s, layer, e, FG_EDITS_MAX, &changed, &err), &err,
	    "the list itself");
	printf("# %.1f s\n", (double)(fg_clock_ns() - t0) / 1e9);
	tap_ok(changed, "changes something");
	tap_int(wrong_names(s, layer, in_three), 0, "as the rule says");
	for (int i = 0; i < FG_EDITS_MAX; i++)
		number[i] = e[i].edit;
	t0 = fg_clock_ns();
	tap_rc(fg_store_edit_undo(s, layer, number, FG_EDITS_MAX, NULL, &err), &err,
	    "withdrawn");
	printf("# %.1f s\n", (double)(fg_clock_ns() - t0) / 1e9);
	tap_int(wrong_names(s, layer, alone), 0, "each is alone again");

	struct fg_merge m[] = {{1000, 1001, 5, 0, 0, true}, {7, 1000, 9, 0, 0, true},
	    {1001, 1002, 5, 0, 0, true}, {1000, 1002, 5, 0, 0, true},
	    {1000, 1001, 5, 0, 0, true}, {1002, 5000, 9, 0, 0, true},
	    {7, 5000, 9, 0, 0, true}};
	tap_rc(put_stitch(s, layer, m, FG_COUNTOF(m), &err), &err, "evidence");
	tap_ok(st_public(s, layer, 1002) == 1000 && st_public(s, layer, 1003) == 1003,
	    "in a ring, twice, and of ids that are not there");
	tap_ok(st_public(s, layer, 7) == 7 && st_public(s, layer, 5000) == 5000,
	    "which do not come to be by it");
	fg_store_close(s);
	tap_int(st_verify(st_root), 0, "verify finds nothing");
	st_cleanup();
	free(number);
	free(e);
}

int
main(void)
{
	test_descending();
	test_hostile();
	return tap_done();
}
