/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Compaction of what belongs to objects: evidence, edits and their withdrawal, pieces
 * and generations of artefacts. Before and after, killed anywhere, and after a reindex
 * with and without the old index, everything that a reader can ask is the same text.
 */
#include "config.h"

#include <signal.h>

#include "base/log.h"
#include "store/gc.h"
#include "store/object.h"
#include "store/slab.h"
#include "tests/store/store_test.h"

static const struct fg_store_options small = {.min_free = 1e-9, .slab_max = 60000};
#define BLOCKS 40 /* of each layer */
#define MESHES 11 /* of objects that are in their third generation at least */
#define GENS 3
#define FAR (UINT64_C(1) << 62) /* parts need 64 bits */

static struct fg_err err;

static void
must(int rc, const char *what)
{
	if (rc == 0)
		return;
	printf("Bail out! %s: %s\n", what, err.msg);
	exit(1);
}

static uint64_t
object(int block, int i)
{
	struct fg_key k =
	    st_key(0, FG_KIND_BLOCK, 0, block >> 4, block & 3, block >> 2 & 3);

	return k.at << 20 | (uint64_t)(i + 1);
}

/* Evidence of block n and the one before. */
static void
stitch(struct fg_store *s, uint32_t layer, int n)
{
	struct fg_result *r = fg_calloc(1, sizeof *r);
	struct fg_payload *p = fg_calloc(1, sizeof *p);
	struct fg_merge m[2];

	for (int i = 0; i < 2; i++) {
		uint64_t a = object(n - 1, i), b = object(n, (i + n % 3 / 2) & 1);

		m[i] = (struct fg_merge){FG_MIN(a, b), FG_MAX(a, b),
		    (uint64_t)(n * 7 % 11 + i), 1, 2, (n + i) % 4 != 0};
	}
	r->task = p->key = st_key(layer, FG_KIND_STITCH, 0, n >> 4, n & 3, n >> 2 & 3);
	p->state = FG_EMPTY;
	r->payload = p;
	r->payloads = 1;
	r->places = fg_calloc(1, sizeof *r->places);
	r->merge = m;
	r->merges = 2;
	must(st_commit_one(s, r, &err), "a stitch result");
}

/* What one generation of an object's mesh or skeleton adds. */
static const struct {
	uint8_t product;
	uint64_t part;
	bool pin; /* always of generation 0 */
} piece[] = {{16, 0, false}, {17, FAR + 5, false},
    {17, FAR + (UINT64_C(1) << 32) + 5, false}, {18, FAR, false}, {19, 2, true}};

static struct fg_key
mesh_key(uint32_t layer, int kind, size_t i, int n)
{
	return (struct fg_key){layer, (uint8_t)kind, piece[i].product, object(n, 0)};
}

static void
mesh(struct fg_store *s, uint32_t layer, int kind, int n, int gen)
{
	size_t parts = FG_COUNTOF(piece) - (gen != 1);
	struct fg_result *r = fg_calloc(1, sizeof *r);
	struct fg_payload *p = fg_calloc(parts, sizeof *p);

	for (size_t i = 0; i < parts; i++) {
		p[i].key = mesh_key(layer, kind, i, n);
		p[i].part = piece[i].part;
		p[i].gen = piece[i].pin ? 0 : gen;
		p[i].state = FG_PRESENT;
		p[i].bytes = st_bytes(&p[i].key, (uint32_t)(p[i].part >> 20),
		    (unsigned)p[i].gen);
	}
	r->task = p[0].key;
	r->payload = p;
	r->payloads = parts;
	r->places = fg_calloc(parts, sizeof *r->places);
	must(st_commit_one(s, r, &err), "a mesh");
}

static void
decide(struct fg_store *s, uint32_t layer, enum fg_edit_kind kind, int a, int b)
{
	struct fg_edit e = {.kind = kind,
	    .a = object(a, 0),
	    .b = object(b, 0),
	    .at_ms = a,
	    .who = "tester"};

	must(fg_store_edit(s, layer, &e, 1, NULL, &err), "an edit");
}

static void
undo(struct fg_store *s, uint32_t layer, int64_t edit)
{
	must(fg_store_edit_undo(s, layer, &edit, 1, NULL, &err), "a withdrawal");
}

static void
block(struct fg_store *s, uint32_t layer, int n)
{
	must(st_commit_one(s, st_block_n(layer, n, layer), &err), "a block");
}

/*
 * Blocks, their first evidence, edits and meshes lie between those of a layer that is
 * removed; later evidence, edits and generations lie alone, so their slabs stay and
 * what is older comes behind them.
 */
static uint32_t
make(void)
{
	struct fg_store *s;
	uint32_t gone, keep;

	st_folder();
	s = st_open_with(FG_STORE_CREATE, &small);
	gone = st_add_layer(s, "seg");
	keep = st_add_layer(s, "keep");
	for (int n = 0; n < BLOCKS; n++) {
		block(s, gone, n);
		block(s, keep, n);
		block(s, gone, n + BLOCKS);
		if (n > 0 && n % 2 == 0)
			stitch(s, keep, n);
		if (n % 8 == 7) {
			decide(s, keep, FG_EDIT_CUT, n - 2, n - 1);
			decide(s, keep, FG_EDIT_JOIN, n - 6, n);
			decide(s, keep, FG_EDIT_JOIN, n - 5, n - 1);
		}
		if (n == 30) /* of an edit that is already old by then */
			undo(s, keep, 2);
		if (n < MESHES)
			mesh(s, keep, FG_KIND_MESH, n, 1);
		if (n < MESHES)
			mesh(s, keep, FG_KIND_SKELETON, n, 1);
	}
	must(fg_store_layer_remove(s, gone, &err), "a layer is removed");
	/* Its name is taken again: a removal that comes late must not rename this one.
	 */
	st_add_layer(s, "seg");
	for (int n = 1; n < BLOCKS; n += 2)
		stitch(s, keep, n);
	undo(s, keep, 4);
	decide(s, keep, FG_EDIT_CUT, 10, 11);
	undo(s, keep, 7);
	for (int gen = 2; gen <= GENS; gen++) {
		for (int n = 0; n < MESHES; n++)
			mesh(s, keep, FG_KIND_MESH, n, gen);
	}
	fg_store_close(s);
	return keep;
}

/* ------------------------------------------------------------- all that can be asked
 */

static void
tell_objects(struct fg_reader *rd, uint32_t layer, struct fg_str *t)
{
	for (int n = 0; n < BLOCKS; n++) {
		for (int i = 0; i < 2; i++) {
			struct fg_object o = {0};
			int rc = fg_reader_object(rd, layer, object(n, i), &o, &err);

			fg_str_putf(t, "object %d.%d: %d %llx %llu %llu %lld\n", n, i,
			    rc, (unsigned long long)o.public_id,
			    (unsigned long long)o.members, (unsigned long long)o.voxels,
			    (long long)o.gen);
		}
	}
}

static void
tell_decisions(struct fg_reader *rd, uint32_t layer, struct fg_str *t)
{
	struct fg_merge *m = NULL;
	struct fg_edit *e = NULL;
	uint64_t *at = NULL;
	size_t n = 0;
	int64_t gen = 0;

	must(fg_reader_merges(rd, layer, 0, 0, 10000, &m, &n, &err), "merges");
	for (size_t i = 0; i < n; i++)
		fg_str_putf(t, "merge %llx %llx %llu %d\n", (unsigned long long)m[i].a,
		    (unsigned long long)m[i].b, (unsigned long long)m[i].both,
		    m[i].joined);
	must(fg_reader_edits(rd, layer, 0, 10000, &e, &n, &err), "edits");
	for (size_t i = 0; i < n; i++)
		fg_str_putf(t, "edit %lld %d %llx %llx %s %d\n", (long long)e[i].edit,
		    (int)e[i].kind, (unsigned long long)e[i].a,
		    (unsigned long long)e[i].b, e[i].who, e[i].undone);
	must(fg_reader_unstitched(rd, layer, UINT64_MAX, 10000, &at, &n, &err),
	    "stitched");
	must(fg_reader_merge_gen(rd, layer, &gen, &err), "merge_gen");
	fg_str_putf(t, "unstitched %zu, merge_gen %lld\n", n, (long long)gen);
	free(m);
	free(e);
	free(at);
}

/* One generation of one part: whether its bytes are right. */
static int
is_right(struct fg_store *s, struct fg_reader *rd, uint32_t layer, int kind, size_t i,
    int n, int gen)
{
	struct fg_key k = mesh_key(layer, kind, i, n);
	struct fg_buf *got = NULL, *want;
	struct fg_place p;
	int rc;

	must(fg_reader_gen(rd, &k, piece[i].part, gen, &p, &err), "a generation");
	if (p.state != FG_PRESENT)
		return 0;
	if (p.gen != gen || fg_store_read(s, &p, false, &got, &err) < 0)
		return -1;
	want = st_bytes(&k, (uint32_t)(piece[i].part >> 20), (unsigned)gen);
	rc = got->len == want->len && memcmp(got->data, want->data, got->len) == 0 ? 1
										   : -1;
	fg_buf_unref(got);
	fg_buf_unref(want);
	return rc;
}

static void
tell_artefacts(struct fg_store *s, struct fg_reader *rd, uint32_t layer,
    struct fg_str *t)
{
	for (int kind = FG_KIND_MESH; kind <= FG_KIND_SKELETON; kind++) {
		for (int n = 0; n < MESHES; n++) {
			fg_str_putf(t, "artefacts %d of %d:", kind, n);
			for (size_t i = 0; i < FG_COUNTOF(piece); i++) {
				for (int gen = 0; gen <= GENS; gen++)
					fg_str_putf(t, " %d",
					    is_right(s, rd, layer, kind, i, n, gen));
			}
			fg_str_puts(t, "\n");
		}
	}
}

/* The caller frees it. */
static char *
state(uint32_t layer)
{
	struct fg_store *s = st_open_with(FG_STORE_WRITE, &small);
	struct fg_reader *rd = st_reader(s);
	struct fg_layer_row *rows = NULL;
	struct fg_str t = FG_STR_INIT;
	size_t n = 0;

	for (int i = 0; i < BLOCKS; i++)
		fg_str_putf(&t, "block %d: %d\n", i,
		    st_check_block_n(s, rd, layer, i, layer));
	tell_objects(rd, layer, &t);
	tell_decisions(rd, layer, &t);
	tell_artefacts(s, rd, layer, &t);
	must(fg_store_layers(rd, &rows, &n, &err), "layers");
	for (size_t i = 0; i < n; i++) {
		fg_str_putf(&t, "layer %s %d\n", rows[i].name, rows[i].degraded);
		fg_layer_row_fini(&rows[i]);
	}
	free(rows);
	fg_reader_close(rd);
	fg_store_close(s);
	fg_str_putf(&t, "verify: %d errors\n", st_verify(st_root));
	struct fg_buf *b = fg_str_take(&t);
	char *text = fg_strndup((const char *)b->data, b->len);

	fg_buf_unref(b);
	return text;
}

/* Lines that differ; the first few are shown. */
static int
differences(uint32_t layer, const char *want)
{
	char *got = state(layer), *a = got;
	const char *b = want;
	int bad = 0;

	while (*a || *b) {
		size_t na = strcspn(a, "\n"), nb = strcspn(b, "\n");

		if (na != nb || memcmp(a, b, na) != 0) {
			if (bad++ < 5)
				printf("# \"%.*s\", wanted \"%.*s\"\n", (int)na, a,
				    (int)nb, b);
		}
		a += na + (a[na] != '\0');
		b += nb + (b[nb] != '\0');
	}
	free(got);
	return bad;
}

static int
reindex(bool from_slabs_alone)
{
	int rc;

	if (from_slabs_alone)
		st_run("rm -f '%s'/index.sqlite*", st_root);
	rc = fg_store_reindex(st_root, &small, st_show, NULL, NULL, NULL, &err);
	if (rc < 0)
		printf("# reindex: %s\n", err.msg);
	return rc;
}

static struct fg_gc_stats
collect(double dead)
{
	struct fg_store *s = st_open_with(FG_STORE_WRITE, &small);
	struct fg_gc_options opt = {.dead = dead, .fn = st_show, .ctx = st_said};
	struct fg_gc_stats stats;

	*st_said = '\0';
	must(fg_store_gc(s, &opt, &stats, &err), "compaction");
	fg_store_close(s);
	return stats;
}

/* ------------------------------------------------------------- tests */

static void
whole(void)
{
	uint32_t layer = make(), more;
	char *want = state(layer);
	struct fg_gc_stats st;
	struct fg_store *s;

	tap_ok(strstr(want, "merge ") && strstr(want, "tester 1\n") &&
		   strstr(want, "tester 0\n") && strstr(want, "verify: 0 errors") &&
		   !strstr(want, "-1"),
	    "a world with evidence, decisions and withdrawals");
	st = collect(0.5);
	tap_ok(st.slabs > 5 && st.left == 0 && st.records > 200,
	    "slabs are deleted (%llu)", (unsigned long long)st.slabs);
	tap_int(differences(layer, want), 0, "all is as it was");
	tap_int(reindex(false), 0, "an index beside the old one");
	tap_int(differences(layer, want), 0, "says the same");
	tap_int(reindex(true), 0, "an index from slabs alone");
	tap_int(differences(layer, want), 0, "says the same");

	/* Copies are copied: everything goes once more. */
	s = st_open_with(FG_STORE_WRITE, &small);
	more = st_add_layer(s, "more");
	for (int n = 0; n < BLOCKS; n++)
		block(s, more, n);
	must(fg_store_layer_remove(s, more, &err), "a layer is removed");
	fg_store_close(s);
	for (int i = 0; i < 3; i++)
		st = collect(0.0);
	tap_int(differences(layer, want), 0, "after everything was copied again");
	tap_int(reindex(true), 0, "an index from slabs alone");
	tap_int(differences(layer, want), 0, "says the same");
	free(want);

	s = st_open_with(FG_STORE_WRITE, &small);
	decide(s, layer, FG_EDIT_CUT, 20, 21);
	undo(s, layer, 1);
	fg_store_close(s);
	want = state(layer);
	tap_int(reindex(true), 0, "work goes on; an index from slabs alone");
	tap_int(differences(layer, want), 0, "says the same");
	free(want);
	st_cleanup();
}

static int
killed_at(const char *point)
{
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		struct fg_gc_options opt = {.dead = 0.3};
		struct fg_gc_stats st;
		struct fg_store *s;

		setenv("FG_CRASH_AT", point, 1);
		s = st_open_with(FG_STORE_WRITE, &small);
		_exit(fg_store_gc(s, &opt, &st, &err) < 0 ? 3 : 0);
	}
	waitpid(pid, &status, 0);
	return WIFSIGNALED(status) ? WTERMSIG(status) : -WEXITSTATUS(status);
}

static void
kills(void)
{
	static const char *const point[] = {"gc-copied", "gc-moved", "gc-retired",
	    "gc-unlinked", "slab-half", "slab-written"};

	for (size_t i = 0; i < FG_COUNTOF(point); i++) {
		uint32_t layer = make();
		char *want = state(layer);
		char text[64];

		for (int times = 1; times <= 3; times++) {
			snprintf(text, sizeof text, "%s:%d", point[i], times);
			tap_ok(killed_at(text) == SIGKILL || times > 1, "killed at %s",
			    text);
			tap_int(differences(layer, want), 0,
			    "all is as it was after %s", text);
			tap_ok(reindex(times == 2) == 0 &&
				   differences(layer, want) == 0,
			    "a reindex says the same after %s", text);
		}
		collect(0.3);
		tap_int(differences(layer, want), 0, "the next run ends it well");
		tap_ok(reindex(true) == 0 && differences(layer, want) == 0,
		    "and a reindex says the same");
		free(want);
		st_cleanup();
	}
}

/* A history that lacks what compaction dropped counts fewer generations than there
 * were: one that an artefact has must not come to mean other members. */
static void
generations(void)
{
	uint32_t layer = make();
	struct fg_store *s = st_open_with(FG_STORE_WRITE, &small);
	struct fg_reader *rd;
	struct fg_object o = {0}, before = {0};

	mesh(s, layer, FG_KIND_MESH, 3, 1000);
	rd = st_reader(s);
	must(fg_reader_object(rd, layer, object(3, 0), &before, &err), "an object");
	fg_reader_close(rd);
	fg_store_close(s);
	for (int alone = 0; alone < 2; alone++) {
		tap_int(reindex(alone == 1), 0, "an index");
		s = st_open_with(FG_STORE_WRITE, &small);
		rd = st_reader(s);
		must(fg_reader_object(rd, layer, object(3, 0), &o, &err), "an object");
		tap_ok(o.gen == 1001 && o.public_id == before.public_id,
		    "a generation that no artefact has");
		fg_reader_close(rd);
		fg_store_close(s);
	}
	st_cleanup();
}

/* What only a record tells that is damaged keeps its slab. */
static void
damage(void)
{
	uint32_t layer = make();
	char *want = state(layer);
	struct fg_gc_stats st;
	char cmd[800];
	FILE *f;
	int slab = 0;
	long off = 0;

	/* The first withdrawal: {"undo":[2]}. */
	snprintf(cmd, sizeof cmd, "grep -aobF '{\"undo\":[2]}' '%s'/slabs/*.slab",
	    st_root);
	f = popen(cmd, "r");
	tap_ok(f && fscanf(f, "%*[^.].slab:%ld", &off) == 1, "a withdrawal");
	pclose(f);
	snprintf(cmd, sizeof cmd,
	    "basename $(grep -alF '{\"undo\":[2]}' '%s'/slabs/*.slab)", st_root);
	f = popen(cmd, "r");
	tap_ok(f && fscanf(f, "%d", &slab) == 1, "and its slab");
	pclose(f);
	int fd = open(st_slab(slab), O_WRONLY);
	tap_ok(fd >= 0 && pwrite(fd, "X", 1, (off_t)off + 2) == 1, "is damaged");
	close(fd);
	st = collect(0.3);
	tap_int(st.left, 1, "its slab is left alone");
	tap_ok(strstr(st_said, "damaged: left alone") != NULL, "and named");
	tap_ok(access(st_slab(slab), F_OK) == 0 && st.slabs > 5, "others are not");
	tap_int(differences(layer, want), 0, "the index still knows all");
	free(want);
	st_cleanup();
}

/* Repair forgets the result that lost bytes, all of it and nothing else, and what is
 * left of it counts dead. */
static void
repair(void)
{
	uint32_t layer = make();
	struct fg_key k = mesh_key(layer, FG_KIND_MESH, 2, 5);
	struct fg_store_sizes before, after;
	struct fg_store *s;
	struct fg_reader *rd;
	struct fg_place p;
	char *want;
	int fd;

	collect(0.5);
	want = state(layer);
	s = st_open_with(FG_STORE_WRITE, &small);
	rd = st_reader(s);
	must(fg_reader_gen(rd, &k, piece[2].part, 2, &p, &err), "a piece");
	must(fg_reader_sizes(rd, &before, &err), "sizes");
	fg_reader_close(rd);
	fg_store_close(s);
	fd = open(st_slab((int)p.slab), O_WRONLY);
	tap_ok(fd >= 0 && pwrite(fd, "XXXX", 4, (off_t)p.off + 3) == 4,
	    "a piece is damaged");
	close(fd);
	tap_ok(st_verify(st_root) == 1 && strstr(st_said, "mesh"), "verify names it");
	tap_rc(fg_store_repair(st_root, &small, st_show, NULL, &err), &err, "repair");
	tap_int(differences(layer, want), 1, "one object's meshes differ");
	s = st_open_with(FG_STORE_WRITE, &small);
	rd = st_reader(s);
	must(fg_reader_gen(rd, &k, piece[2].part, 3, &p, &err), "a later piece");
	tap_int(p.state, FG_PRESENT, "a later generation is there");
	must(fg_reader_gen(rd, &k, piece[1].part, 2, &p, &err), "its neighbour");
	tap_int(p.state, FG_ABSENT, "the rest of that result is not");
	must(fg_reader_sizes(rd, &after, &err), "sizes");
	tap_ok(after.dead_bytes >= before.dead_bytes + 4 * (FG_SLAB_HEAD + 100),
	    "its bytes are dead");
	mesh(s, layer, FG_KIND_MESH, 5, 2);
	fg_reader_close(rd);
	fg_store_close(s);
	tap_int(differences(layer, want), 0, "made again it is as it was");
	tap_ok(reindex(true) == 0 && differences(layer, want) == 0, "reindexed too");
	free(want);
	st_cleanup();
}

/* A copy is sound and says the same, also when it is reindexed. */
static void
backup(void)
{
	uint32_t layer = make();
	char *want, *dest = fg_asprintf("%s.copy", st_root), root[sizeof st_root];

	collect(0.5);
	want = state(layer);
	tap_rc(fg_store_backup(st_root, &small, dest, &err), &err, "a backup");
	memcpy(root, st_root, sizeof root);
	snprintf(st_root, sizeof st_root, "%s", dest);
	tap_int(differences(layer, want), 0, "says the same");
	tap_ok(reindex(true) == 0 && differences(layer, want) == 0, "reindexed too");
	st_cleanup();
	memcpy(st_root, root, sizeof root);
	free(dest);
	free(want);
	st_cleanup();
}

int
main(void)
{
	fg_log_setup(FG_LOG_ERROR, FG_LOG_TEXT);
	unsetenv("FG_CRASH_AT");
	whole();
	generations();
	kills();
	damage();
	repair();
	backup();
	return tap_done();
}
