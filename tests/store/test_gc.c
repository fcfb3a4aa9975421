/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Compaction: what is alive stays and is right, also after a reindex; dead bytes are
 * given back; it may be killed anywhere; what is read or damaged is left alone.
 */
#include "config.h"

#include <signal.h>

#include "base/clock.h"
#include "base/log.h"
#include "store/gc.h"
#include "store/object.h"
#include "tests/store/store_test.h"

static const struct fg_store_options small = {.min_free = 1e-9, .slab_max = 60000};
#define BLOCKS 60 /* of each of two layers, one of which is removed */
#define COARSE 10 /* coarse chunks, each made four times */

static struct fg_err err;

static void
commit(struct fg_store *s, struct fg_result *r)
{
	if (st_commit_one(s, r, &err) < 0) {
		printf("Bail out! %s\n", err.msg);
		exit(1);
	}
}

/* Block n was compared with its neighbours, which said that a and b are one. */
static void
stitch(struct fg_store *s, uint32_t layer, int n, uint64_t a, uint64_t b)
{
	static struct fg_merge m;
	struct fg_result *r = fg_calloc(1, sizeof *r);
	struct fg_payload *p = fg_calloc(1, sizeof *p);

	m = (struct fg_merge){.a = a, .b = b, .both = 100, .joined = true};
	r->task = p->key = st_key(layer, FG_KIND_STITCH, 0, n >> 4, n & 3, n >> 2 & 3);
	p->state = FG_EMPTY;
	r->payload = p;
	r->payloads = 1;
	r->places = fg_calloc(1, sizeof *r->places);
	r->merge = &m;
	r->merges = 1;
	r->started_ms = 5000 + n;
	r->ended_ms = 6000 + n;
	commit(s, r);
}

/* The id of object 1 of block n. */
static uint64_t
object_of(uint32_t layer, int n)
{
	return st_key(layer, FG_KIND_BLOCK, 0, n >> 4, n & 3, n >> 2 & 3).at << 20 | 1;
}

/* Merges of twenty blocks, three decisions of a user and one that was withdrawn. */
static void
decide(struct fg_store *s, uint32_t layer)
{
	struct fg_edit e[4] = {{0}};
	bool changed;

	for (int n = 0; n < 20; n++)
		stitch(s, layer, n,
		    FG_MIN(object_of(layer, n), object_of(layer, n + 1)),
		    FG_MAX(object_of(layer, n), object_of(layer, n + 1)));
	for (int i = 0; i < 4; i++) {
		e[i].kind = FG_EDIT_JOIN;
		e[i].a = object_of(layer, 30 + 2 * i);
		e[i].b = object_of(layer, 31 + 2 * i);
		tap_rc(fg_store_edit(s, layer, &e[i], 1, &changed, &err), &err,
		    "a decision");
	}
	tap_rc(fg_store_edit_undo(s, layer, &e[2].edit, 1, &changed, &err), &err,
	    "one is withdrawn");
}

/* Faults of merges, decisions, and what follows from both. */
static int
undecided(struct fg_reader *rd, uint32_t layer)
{
	struct fg_merge *m = NULL;
	struct fg_edit *e = NULL;
	uint64_t root = UINT64_MAX;
	size_t n = 0;
	int bad = 0, counted = 0;

	if (fg_reader_merges(rd, layer, 0, 0, 100, &m, &n, &err) < 0)
		return 1000;
	bad += n != 20;
	free(m);
	if (fg_reader_edits(rd, layer, 0, 100, &e, &n, &err) < 0)
		return 1000;
	for (size_t i = 0; i < n; i++)
		counted += !e[i].undone;
	bad += counted != 3;
	free(e);
	for (int i = 0; i < 20; i++)
		root = FG_MIN(root, object_of(layer, i));
	for (int i = 0; i < 20; i++) {
		uint64_t id = object_of(layer, i), now;

		bad +=
		    fg_reader_public(rd, layer, &id, 1, &now, &err) < 0 || now != root;
	}
	for (int i = 0; i < 4; i++) {
		uint64_t a[2] = {object_of(layer, 30 + 2 * i),
		    object_of(layer, 31 + 2 * i)};
		uint64_t now[2] = {1, 2};

		bad += fg_reader_public(rd, layer, a, 2, now, &err) < 0 ||
		       (now[0] == now[1]) != (i != 2);
	}
	return bad;
}

/* Two layers whose blocks lie side by side, coarse chunks that were made again, three
 * jobs; then one layer is removed: every slab is more than half dead. */
static uint32_t
make(void)
{
	struct fg_store *s;
	uint32_t keep, gone;

	st_folder();
	s = st_open_with(FG_STORE_CREATE, &small);
	gone = st_add_layer(s, "gone");
	keep = st_add_layer(s, "keep");
	for (int n = 0; n < BLOCKS; n++) {
		commit(s, st_block_n(gone, n, 1));
		commit(s, st_block_n(keep, n, 2));
		commit(s, st_block_n(gone, n + BLOCKS, 1));
	}
	for (unsigned salt = 0; salt < 4; salt++) {
		for (int x = 0; x < COARSE; x++)
			commit(s, st_chunk(keep, 1, x, 0, 0, FG_PARTIAL, salt));
	}
	for (int i = 0; i < 3; i++) {
		struct fg_job_row j = {.layer = i == 2 ? gone : keep,
		    .box = (char *)"[0,0,0,1,1,1]",
		    .stages = (char *)"{}",
		    .created_ms = 1000 + i};

		for (int k = 0; k < 5; k++) { /* the last state counts */
			j.state = k == 4 ? FG_JOB_DONE : FG_JOB_PAUSED;
			j.updated_ms = 2000 + k;
			tap_rc(fg_store_job_put(s, &j, &err), &err, "a job");
		}
	}
	decide(s, keep);
	for (int n = 0; n < BLOCKS; n++) /* decisions lie among the dead as well */
		commit(s, st_block_n(gone, n + 2 * BLOCKS, 1));
	tap_rc(fg_store_layer_remove(s, gone, &err), &err, "a layer is removed");
	fg_store_close(s);
	return keep;
}

/* Faults of what should be there. */
static int
faults(uint32_t layer)
{
	struct fg_store *s = st_open_with(FG_STORE_WRITE, &small);
	struct fg_reader *rd = st_reader(s);
	struct fg_layer_row *rows = NULL;
	struct fg_job_row *jobs = NULL;
	size_t n = 0, njobs = 0;
	int bad = 0;

	for (int i = 0; i < BLOCKS; i++)
		bad += st_check_block_n(s, rd, layer, i, 2) != 1;
	for (int x = 0; x < COARSE; x++) {
		struct fg_key k = st_key(layer, FG_KIND_CHUNK, 1, x, 0, 0);

		bad += st_check(s, rd, &k, 0, 3) != 1;
	}
	if (fg_store_layers(rd, &rows, &n, &err) < 0 ||
	    fg_reader_jobs(rd, &jobs, &njobs, &err) < 0)
		bad += 1000;
	bad += n != 1 || strcmp(rows[0].name, "keep") != 0 || rows[0].degraded;
	bad += njobs != 2;
	for (size_t i = 0; i < njobs; i++) {
		bad += jobs[i].state != FG_JOB_DONE || jobs[i].updated_ms != 2004;
		fg_job_row_fini(&jobs[i]);
	}
	for (size_t i = 0; i < n; i++)
		fg_layer_row_fini(&rows[i]);
	free(rows);
	free(jobs);
	bad += undecided(rd, layer);
	fg_reader_close(rd);
	fg_store_close(s);
	return bad + (st_verify(st_root) != 0);
}

static int
reindex(void)
{
	int rc = fg_store_reindex(st_root, &small, st_show, NULL, NULL, NULL, &err);

	if (rc < 0)
		printf("# reindex: %s\n", err.msg);
	return rc;
}

static long long
slab_bytes(void)
{
	char cmd[600];
	long long n = -1;
	FILE *f;

	snprintf(cmd, sizeof cmd, "cat '%s'/slabs/*.slab | wc -c", st_root);
	f = popen(cmd, "r");
	if (fscanf(f, "%lld", &n) != 1)
		n = -1;
	pclose(f);
	return n;
}

static struct fg_gc_stats
collect(double dead, int64_t deadline_ns)
{
	struct fg_store *s = st_open_with(FG_STORE_WRITE, &small);
	struct fg_gc_options opt = {
	    .dead = dead,
	    .deadline_ns = deadline_ns,
	    .fn = st_show,
	    .ctx = st_said,
	};
	struct fg_gc_stats stats;

	*st_said = '\0';
	fg_err_clear(&err);
	tap_rc(fg_store_gc(s, &opt, &stats, &err), &err, "compaction");
	fg_store_close(s);
	return stats;
}

static void
whole(void)
{
	uint32_t layer = make();
	long long before = slab_bytes(), after;
	struct fg_gc_options dry = {.dead = 0.5, .dry_run = true};
	struct fg_gc_stats st;
	struct fg_store *s = st_open_with(FG_STORE_WRITE, &small);
	int rounds = 0;

	tap_rc(fg_store_gc(s, &dry, &st, &err), &err, "a dry run");
	fg_store_close(s);
	tap_ok(st.candidates > 5 && st.dead > (uint64_t)before / 3 && st.slabs == 0,
	    "says what could be done");
	tap_int(slab_bytes(), before, "and does nothing");
	tap_int(faults(layer), 0, "all is well before");

	st = collect(0.5, 1); /* long over */
	tap_ok(st.more && st.slabs == 0, "out of time at once: nothing is half done");
	st = collect(0.5, 0);
	after = slab_bytes();
	tap_ok(st.slabs > 5 && !st.more && st.left == 0 && st.waiting == 0,
	    "slabs are deleted");
	tap_ok(st.records > 100 && st.moved > 100000, "what is alive was moved");
	tap_ok(after < before / 2, "more than half is given back (%lld of %lld)", after,
	    before);
	tap_int(faults(layer), 0, "all is there and right");
	for (st.slabs = 1; st.slabs > 0 && rounds < 10; rounds++)
		st = collect(0.5, 0);
	tap_ok(rounds < 4, "it comes to an end");
	tap_int(reindex(), 0, "an index from the new slabs");
	tap_int(faults(layer), 0, "says the same");

	s = st_open_with(FG_STORE_WRITE, &small);
	commit(s, st_block_n(layer, BLOCKS, 2));
	fg_store_close(s);
	tap_int(faults(layer), 0, "writing goes on");
	st_cleanup();
}

/* A child compacts and is killed. */
static int
killed_at(const char *point, int after_us)
{
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		struct fg_gc_options opt = {.dead = 0.3};
		struct fg_gc_stats st;
		struct fg_store *s;

		if (point)
			setenv("FG_CRASH_AT", point, 1);
		s = st_open_with(FG_STORE_WRITE, &small);
		_exit(fg_store_gc(s, &opt, &st, &err) < 0 ? 3 : 0);
	}
	if (after_us >= 0) {
		usleep((useconds_t)after_us); /* meant to be arbitrary */
		kill(pid, SIGKILL);
	}
	waitpid(pid, &status, 0);
	return WIFSIGNALED(status) ? WTERMSIG(status) : -WEXITSTATUS(status);
}

static void
kills(void)
{
	static const char *const point[] = {"gc-copied", "gc-moved", "gc-retired",
	    "gc-unlinked", "slab-half", "slab-written", "slab-synced", "dir-synced"};
	uint32_t layer;

	for (size_t i = 0; i < FG_COUNTOF(point); i++) {
		layer = make();
		for (int times = 1; times <= 3; times++) {
			char text[64];

			snprintf(text, sizeof text, "%s:%d", point[i], times);
			/* Fewer slabs are left each time, and may be none. */
			tap_ok(killed_at(text, -1) == SIGKILL || times > 1,
			    "killed at %s", text);
			tap_int(faults(layer), 0, "nothing is lost or wrong after %s",
			    text);
		}
		tap_int(reindex(), 0, "an index from what is left after %s", point[i]);
		tap_int(faults(layer), 0, "says the same");
		collect(0.3, 0);
		tap_int(faults(layer), 0, "the next run ends it well");
		st_cleanup();
	}
}

static void
random_kills(void)
{
	int bad = 0, hit = 0;

	srand(20261125);
	for (int round = 0; round < 4; round++) {
		uint32_t layer = make();

		for (int i = 0; i < 8; i++) {
			hit += killed_at(NULL, rand() % 12000) == SIGKILL;
			bad += faults(layer);
			if (i % 4 == 3)
				bad += reindex() != 0 || faults(layer);
		}
		st_cleanup();
	}
	tap_int(bad, 0, "random kills: nothing is lost or wrong");
	tap_ok(hit >= 8, "it was killed while it worked (%d of 32)", hit);
}

/* While another process reads nothing is deleted under it. */
static void
readers(void)
{
	uint32_t layer = make();
	struct fg_store *reader = st_open_with(FG_STORE_READ, &small);
	long long before = slab_bytes();
	struct fg_gc_stats st = collect(0.5, 0);

	tap_ok(st.slabs == 0 && st.waiting > 5, "slabs that may be read wait");
	tap_ok(slab_bytes() >= before, "all files are there");
	tap_int(faults(layer), 0, "and all is right");
	fg_store_close(reader);
	st = collect(0.5, 0);
	tap_ok(st.slabs > 5 && st.waiting == 0, "when nobody reads they go");
	tap_int(faults(layer), 0, "and all is right");
	st_cleanup();
}

/* A record that is alive and damaged stays where it is, and is named. */
static void
damage(void)
{
	uint32_t layer = make();
	struct fg_key k = st_key(layer, FG_KIND_CHUNK, 0, 2, 0, 0);
	struct fg_store *s = st_open_with(FG_STORE_WRITE, &small);
	struct fg_reader *rd = st_reader(s);
	struct fg_place p;
	struct fg_gc_stats st;
	int fd;

	tap_rc(fg_reader_find(rd, &k, &p, &err), &err, "a chunk");
	fg_reader_close(rd);
	fg_store_close(s);
	fd = open(st_slab((int)p.slab), O_WRONLY);
	tap_ok(fd >= 0 && pwrite(fd, "XXXX", 4, (off_t)p.off + 10) == 4, "is damaged");
	close(fd);
	st = collect(0.5, 0);
	tap_int(st.left, 1, "its slab is left alone");
	tap_ok(strstr(st_said, "checksum") != NULL, "and named");
	tap_ok(st.slabs > 5, "others are not");
	tap_ok(access(st_slab((int)p.slab), F_OK) == 0, "the file is there");
	tap_ok(st_verify(st_root) > 0, "verify finds the damage as before");
	st_cleanup();
}

int
main(void)
{
	fg_log_setup(FG_LOG_ERROR, FG_LOG_TEXT);
	unsetenv("FG_CRASH_AT");
	whole();
	kills();
	random_kills();
	readers();
	damage();
	return tap_done();
}
