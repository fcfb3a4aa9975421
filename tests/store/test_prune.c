/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows of artefacts that are removed: paging through them, finding the run that had
 * ended by then, and a writer that is killed at each step of a removal: all of the rows
 * are there or none, their bytes are dead or alive accordingly, and compaction gives
 * them back.
 */
#include "config.h"

#include <signal.h>

#include "base/log.h"
#include "store/gc.h"
#include "store/prune.h"
#include "store/slab.h"
#include "tests/store/store_test.h"

static const struct fg_store_options small = {.min_free = 1e-9, .slab_max = 60000};
#define PARTS 20
#define GENS 3
#define ID 77

static struct fg_err err;

static void
must(int rc, const char *what)
{
	if (rc == 0)
		return;
	printf("Bail out! %s: %s\n", what, err.msg);
	exit(1);
}

static struct fg_key
mesh_key(uint32_t layer, uint64_t id)
{
	return (struct fg_key){layer, FG_KIND_MESH, 17, id};
}

/* Parts need all 64 bits: those of the upper half come first, as signed numbers do. */
static uint64_t
part_of(int i)
{
	return i % 2 ? UINT64_MAX - (uint64_t)i : (uint64_t)i;
}

/* One generation of an object. */
static void
mesh_ended(struct fg_store *s, uint32_t layer, uint64_t id, int gen, int64_t ended_ms)
{
	struct fg_result *r = fg_calloc(1, sizeof *r);
	struct fg_payload *p = fg_calloc(PARTS, sizeof *p);

	for (int i = 0; i < PARTS; i++) {
		p[i] = (struct fg_payload){.key = mesh_key(layer, id),
		    .part = part_of(i),
		    .gen = gen,
		    .state = FG_PRESENT};
		p[i].bytes = st_bytes(&p[i].key, (uint32_t)i, (unsigned)gen);
	}
	r->task = p[0].key;
	r->payload = p;
	r->payloads = PARTS;
	r->places = fg_calloc(PARTS, sizeof *r->places);
	r->ended_ms = ended_ms;
	must(st_commit_one(s, r, &err), "a mesh");
}

static void
mesh(struct fg_store *s, uint32_t layer, uint64_t id, int gen)
{
	mesh_ended(s, layer, id, gen, 1000 * gen);
}

/* A failure memo without an end. */
static void
memo(struct fg_store *s, uint32_t layer, int x)
{
	struct fg_result *r = fg_calloc(1, sizeof *r);

	r->task = st_key(layer, FG_KIND_BLOCK, 0, x, 0, 0);
	r->failed = true;
	r->tries = 1;
	must(st_commit_one(s, r, &err), "a memo");
}

/* The newest generation that counts as old by then; 0: none. */
static int
old_by(struct fg_reader *rd, uint32_t layer, int64_t ended_ms)
{
	struct fg_key k = mesh_key(layer, ID);
	struct fg_row *row = NULL;
	int64_t run, gen = 0;
	size_t n;

	must(fg_reader_run_by(rd, ended_ms, &run, &err), "a run");
	must(fg_reader_rows_of(rd, &k, NULL, 1000, &row, &n, &err), "rows");
	for (size_t i = 0; i < n; i++) {
		if (row[i].run <= run)
			gen = FG_MAX(gen, row[i].gen);
	}
	free(row);
	return (int)gen;
}

/* Ends that are missing or do not rise: nothing may look older than it is. */
static void
ends(void)
{
	static const int64_t ended[] = {1000, 9000, 2000, 3000, 0, 10000, 0};
	struct fg_store *s;
	struct fg_reader *rd;
	uint32_t layer;

	st_folder();
	s = st_open_with(FG_STORE_CREATE, &small);
	layer = st_add_layer(s, "seg");
	rd = st_reader(s);
	tap_int(old_by(rd, layer, 5000), 0, "without any run none is old");
	memo(s, layer, 0);
	for (size_t i = 0; i < 4; i++)
		mesh_ended(s, layer, ID, (int)i + 1, ended[i]);
	tap_int(old_by(rd, layer, 999), 0, "a memo before them makes none old");
	tap_int(old_by(rd, layer, 3500), 1, "a clock that stepped back: kept longer");
	tap_int(old_by(rd, layer, 8999), 1, "until the latest end");
	tap_int(old_by(rd, layer, 9000), 4, "and no longer");
	memo(s, layer, 1);
	memo(s, layer, 2);
	tap_int(old_by(rd, layer, 3500), 1, "memos behind them make none older");
	for (size_t i = 4; i < FG_COUNTOF(ended); i++) {
		mesh_ended(s, layer, ID, (int)i + 1, ended[i]);
		memo(s, layer, 2 + (int)i);
	}
	tap_int(old_by(rd, layer, 9500), 5, "one without an end in the middle");
	tap_int(old_by(rd, layer, 20000), 6, "what has no end is not old alone");
	fg_reader_close(rd);
	fg_store_close(s);
	st_cleanup();
}

static uint32_t
make(void)
{
	struct fg_store *s;
	uint32_t layer;

	st_folder();
	s = st_open_with(FG_STORE_CREATE, &small);
	layer = st_add_layer(s, "seg");
	for (int gen = 1; gen <= GENS; gen++)
		mesh(s, layer, ID, gen);
	fg_store_close(s);
	return layer;
}

/* The rows of all generations but the last. */
static size_t
old_rows(uint32_t layer, struct fg_row_name *out)
{
	size_t n = 0;

	for (int gen = 1; gen < GENS; gen++) {
		for (int i = 0; i < PARTS; i++)
			out[n++] =
			    (struct fg_row_name){mesh_key(layer, ID), part_of(i), gen};
	}
	return n;
}

/* How many rows of a generation are there; -1 if one is not right. */
static int
count(struct fg_store *s, struct fg_reader *rd, uint32_t layer, int gen)
{
	struct fg_key k = mesh_key(layer, ID);
	int there = 0, bad = 0;

	for (int i = 0; i < PARTS; i++) {
		struct fg_buf *got = NULL, *want;
		struct fg_place p;

		must(fg_reader_gen(rd, &k, part_of(i), gen, &p, &err), "a row");
		if (p.state == FG_ABSENT)
			continue;
		there++;
		want = st_bytes(&k, (uint32_t)i, (unsigned)gen);
		bad += fg_store_read(s, &p, false, &got, &err) < 0 ||
		       got->len != want->len ||
		       memcmp(got->data, want->data, got->len) != 0;
		fg_buf_unref(got);
		fg_buf_unref(want);
	}
	return bad ? -1 : there;
}

static void
reading(void)
{
	uint32_t layer = make();
	struct fg_store *s = st_open_with(FG_STORE_WRITE, &small);
	struct fg_reader *rd;
	struct fg_key k = mesh_key(layer, ID);
	struct fg_row *row = NULL, last = {0};
	uint64_t id = 5;
	int64_t run, first = 0;
	size_t n = 0, all = 0;
	bool there, ordered = true;

	mesh(s, layer, ID + 3, 5);
	rd = st_reader(s);
	for (const struct fg_row *after = NULL;; after = &last) {
		must(fg_reader_rows_of(rd, &k, after, 7, &row, &n, &err), "a page");
		for (size_t i = 0; i < n; i++) {
			if (all + i > 0)
				ordered = ordered &&
					  ((int64_t)row[i].part > (int64_t)last.part ||
					      (row[i].part == last.part &&
						  row[i].gen > last.gen));
			last = row[i];
		}
		free(row);
		all += n;
		if (n < 7)
			break;
	}
	tap_int((int)all, PARTS * GENS, "all rows of a key, page by page");
	tap_ok(ordered, "by part and generation");

	must(fg_reader_next_id(rd, &k, 0, &id, &there, &err), "an id");
	tap_ok(there && id == ID, "the first id");
	must(fg_reader_next_id(rd, &k, ID, &id, &there, &err), "an id");
	tap_ok(there && id == ID + 3, "the next one");
	must(fg_reader_next_id(rd, &k, ID + 3, &id, &there, &err), "an id");
	tap_ok(!there && id == ID + 3, "none behind it");

	for (int gen = 0; gen <= 6; gen++) {
		struct fg_place p = {0};
		int newest = gen < 4 ? gen : gen < 5 ? 3 : 5;
		struct fg_key of = mesh_key(layer, newest == 5 ? ID + 3 : ID);

		must(fg_reader_run_by(rd, 1000 * gen + 1, &run, &err), "a run");
		must(fg_reader_gen(rd, &of, part_of(0), newest, &p, &err), "its row");
		tap_ok(run == p.run && run >= first, "the run by %d", 1000 * gen + 1);
		first = run;
	}
	fg_reader_close(rd);
	fg_store_close(s);
	st_cleanup();
}

static void
removing(void)
{
	uint32_t layer = make();
	struct fg_store *s = st_open_with(FG_STORE_WRITE, &small);
	struct fg_reader *rd = st_reader(s);
	struct fg_store_sizes before, after;
	struct fg_row_name row[PARTS * GENS];
	size_t n = old_rows(layer, row);
	struct fg_gc_options opt = {.dead = 0.01, .fn = st_show};
	struct fg_gc_stats st;
	uint64_t dropped = 0, bytes = 0;
	struct fg_key k = mesh_key(layer, ID);
	struct fg_place held;
	struct fg_buf *got = NULL;

	must(fg_reader_gen(rd, &k, part_of(0), 1, &held, &err), "a place");
	must(fg_reader_sizes(rd, &before, &err), "sizes");
	must(fg_store_drop(s, row, n, &dropped, &bytes, &err), "a removal");
	tap_ok(dropped == n && bytes > 100 * n, "rows are removed");
	must(fg_reader_sizes(rd, &after, &err), "sizes");
	tap_ok(after.dead_bytes - before.dead_bytes >= bytes + n * FG_SLAB_HEAD,
	    "their bytes are dead");
	tap_ok(count(s, rd, layer, 1) == 0 && count(s, rd, layer, 2) == 0 &&
		   count(s, rd, layer, GENS) == PARTS,
	    "they and no others");
	tap_rc(fg_store_read(s, &held, false, &got, &err), &err,
	    "who holds a place still reads it");
	fg_buf_unref(got);
	must(fg_store_drop(s, row, n, &dropped, &bytes, &err), "the same once more");
	tap_ok(dropped == 0 && bytes == 0, "nothing is removed twice");
	must(fg_store_gc(s, &opt, &st, &err), "compaction");
	tap_ok(st.slabs > 0 && st.left == 0, "compaction gives slabs back");
	tap_int(count(s, rd, layer, GENS), PARTS, "the last generation is there");
	fg_reader_close(rd);
	fg_store_close(s);
	tap_int(st_verify(st_root), 0, "verify is content");
	st_run("rm -f '%s'/index.sqlite*", st_root);
	tap_rc(fg_store_reindex(st_root, &small, st_show, NULL, NULL, NULL, &err), &err,
	    "a reindex");
	s = st_open_with(FG_STORE_WRITE, &small);
	rd = st_reader(s);
	tap_int(count(s, rd, layer, GENS), PARTS, "finds it");
	tap_int(count(s, rd, layer, 1), 0, "and not what was compacted away");
	fg_reader_close(rd);
	fg_store_close(s);
	st_cleanup();
}

static int
killed_at(uint32_t layer, const char *point)
{
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		struct fg_row_name row[PARTS * GENS];
		size_t n = old_rows(layer, row);
		struct fg_store *s;

		setenv("FG_CRASH_AT", point, 1);
		s = st_open_with(FG_STORE_WRITE, &small);
		_exit(fg_store_drop(s, row, n, NULL, NULL, &err) < 0 ? 3 : 0);
	}
	waitpid(pid, &status, 0);
	return WIFSIGNALED(status) ? WTERMSIG(status) : -WEXITSTATUS(status);
}

static void
kills(void)
{
	static const char *const point[] = {"prune-begun", "prune-half",
	    "prune-before-commit", "prune-committed"};

	for (size_t i = 0; i < FG_COUNTOF(point); i++) {
		uint32_t layer = make();
		bool over = i == FG_COUNTOF(point) - 1;
		struct fg_row_name row[PARTS * GENS];
		size_t n = old_rows(layer, row);
		struct fg_store *s;
		struct fg_reader *rd;
		uint64_t dropped = 0;
		int want = over ? 0 : PARTS;

		tap_int(killed_at(layer, point[i]), SIGKILL, "killed at %s", point[i]);
		s = st_open_with(FG_STORE_WRITE, &small);
		rd = st_reader(s);
		tap_ok(count(s, rd, layer, 1) == want &&
			   count(s, rd, layer, 2) == want &&
			   count(s, rd, layer, GENS) == PARTS,
		    "%s of the old ones are there", over ? "none" : "all");
		must(fg_store_drop(s, row, n, &dropped, NULL, &err), "a removal");
		tap_int((int)dropped, over ? 0 : (int)n, "the next try ends it");
		fg_reader_close(rd);
		fg_store_close(s);
		tap_int(st_verify(st_root), 0, "verify is content");
		st_cleanup();
	}
}

int
main(void)
{
	fg_log_setup(FG_LOG_ERROR, FG_LOG_TEXT);
	unsetenv("FG_CRASH_AT");
	reading();
	ends();
	removing();
	kills();
	return tap_done();
}
