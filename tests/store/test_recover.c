/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a start-up finds when slabs and index do not fit: nothing is destroyed, layers
 * that miss bytes are degraded and say why, others are served, and reindex or repair
 * bring back what can be.
 */
#include "config.h"

#include <sqlite3.h>

#include "base/log.h"
#include "tests/store/store_test.h"

/* One slab a layer: "a" has blocks 0..5 in slab 1, "b" 0..5 in slab 2; an image layer
 * has nothing but its descriptor there. */
static const struct fg_store_options tight = {.min_free = 1e-9, .slab_max = 118000};
static uint32_t layer_a, layer_b;
static uint32_t b_slab; /* the one that holds b's first block */

static void
make_store(void)
{
	struct fg_layer_row image = {
	    .name = (char *)"em",
	    .kind = (char *)"image",
	    .info = (char *)ST_INFO,
	    .source = (char *)"{\"url\":\"layers/em\"}",
	};
	struct fg_err err = FG_ERR_INIT;
	struct fg_store *s;
	int rc;

	st_folder();
	s = st_open_with(FG_STORE_CREATE, &tight);
	rc = fg_store_layer_add(s, &image, &err);
	layer_a = st_add_layer(s, "a");
	layer_b = st_add_layer(s, "b");
	for (int n = 0; n < 12 && rc == 0; n++) {
		struct fg_result *r = st_block_n(n < 6 ? layer_a : layer_b, n % 6, 7);

		rc = fg_commit(s, &r, 1, &err);
		if (n == 6)
			b_slab = r->places[0].slab;
		st_result_free(r);
	}
	fg_store_close(s);
	if (rc < 0 || b_slab != 2 || st_size(st_slab(3)) >= 0) {
		printf("Bail out! %s\n", err.msg);
		exit(1);
	}
}

/* Blocks of a layer that are whole; -1 if one is wrong or half there. */
static int
count_blocks(struct fg_store *s, uint32_t layer)
{
	struct fg_reader *rd = st_reader(s);
	int whole = 0, bad = 0;

	for (int n = 0; n < 20; n++) {
		int k = st_check_block_n(s, rd, layer, n, 7);

		whole += k == 1;
		bad += k < 0;
	}
	fg_reader_close(rd);
	return bad ? -1 : whole;
}

/* The reason why a layer is degraded, "" if it is not. */
static const char *
why(struct fg_store *s, uint32_t layer)
{
	static char text[200];
	struct fg_reader *rd = st_reader(s);
	struct fg_layer_row *rows;
	struct fg_err err = FG_ERR_INIT;
	size_t n;

	snprintf(text, sizeof text, "no such layer");
	if (fg_store_layers(rd, &rows, &n, &err) < 0) {
		printf("# %s\n", err.msg);
		n = 0;
		rows = NULL;
	}
	for (size_t i = 0; i < n; i++) {
		if (rows[i].layer == layer)
			snprintf(text, sizeof text, "%s",
			    rows[i].degraded ? rows[i].why : "");
		fg_layer_row_fini(&rows[i]);
	}
	free(rows);
	fg_reader_close(rd);
	return text;
}

static int
reindex(void)
{
	struct fg_err err = FG_ERR_INIT;
	int rc;

	*st_said = '\0';
	rc = fg_store_reindex(st_root, &tight, st_show, NULL, st_said, NULL, &err);
	if (rc < 0)
		printf("# reindex: %s\n", err.msg);
	return rc;
}

static int
repair(void)
{
	struct fg_err err = FG_ERR_INIT;
	int rc;

	*st_said = '\0';
	rc = fg_store_repair(st_root, &tight, st_show, st_said, &err);
	if (rc < 0)
		printf("# repair: %s\n", err.msg);
	return rc;
}

/* 64-bit sum over all slab bytes: did anything touch them? */
static void
sum_slabs(char out[64])
{
	char cmd[512];
	FILE *p;

	snprintf(cmd, sizeof cmd, "cat '%s'/slabs/* | sha256sum | cut -c1-32", st_root);
	p = popen(cmd, "r");
	if (!p || !fgets(out, 64, p))
		*out = '\0';
	if (p)
		pclose(p);
}

static void
test_missing_slab(void)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_store *s;
	char was[64], now[64], away[600];

	make_store();
	sum_slabs(was);
	snprintf(away, sizeof away, "%s/away", st_root);
	tap_int(rename(st_slab((int)b_slab), away), 0, "a slab goes away");
	s = st_open_with(FG_STORE_WRITE, &tight);
	tap_str(why(s, layer_a), "", "layer a is fine");
	tap_int(count_blocks(s, layer_a), 6, "and served");
	tap_ok(strstr(why(s, layer_b), "is missing") != NULL, "layer b: %s",
	    why(s, layer_b));
	tap_rc(st_commit_one(s, st_block_n(layer_a, 8, 7), &err), &err,
	    "a goes on growing");
	tap_fails(st_commit_one(s, st_block_n(layer_b, 8, 7), &err), &err, FG_EBUSY,
	    "degraded", "b does not");
	struct fg_key k = st_key(layer_b, FG_KIND_CHUNK, 0, 0, 0, 0);
	struct fg_reader *rd = st_reader(s);
	struct fg_place p;
	struct fg_buf *b;
	tap_rc(fg_reader_find(rd, &k, &p, &err), &err, "rows of b are there");
	tap_fails(fg_store_read(s, &p, false, &b, &err), &err, FG_EIO, "slab",
	    "their bytes are an error, not absent");
	fg_reader_close(rd);
	fg_store_close(s);
	tap_ok(st_verify(st_root) > 0 && strstr(st_said, "No such file"),
	    "verify says so");
	tap_int(rename(away, st_slab((int)b_slab)), 0, "the slab comes back");
	s = st_open_with(FG_STORE_WRITE, &tight);
	tap_str(why(s, layer_b), "", "b is fine again");
	tap_int(count_blocks(s, layer_b), 6, "all of it");
	tap_int(count_blocks(s, layer_a), 7, "and all of a");
	fg_store_close(s);
	tap_int(st_verify(st_root), 0, "verify is content");
	sum_slabs(now);
	tap_ok(strcmp(was, now) != 0, "(the sum does notice what a got)");
	st_cleanup();
}

static void
test_empty_folder(void)
{
	struct fg_store *s;
	struct fg_err err = FG_ERR_INIT;
	char was[64], now[64];

	make_store();
	sum_slabs(was);
	tap_int(st_run("mv '%s/slabs' '%s/hidden' && mkdir '%s/slabs'", st_root,
		    st_root, st_root),
	    0, "the slabs' disk is not mounted");
	s = st_open_with(FG_STORE_WRITE, &tight);
	tap_ok(*why(s, layer_a) && *why(s, layer_b), "both layers are degraded: %s",
	    why(s, layer_a));
	tap_str(why(s, 1), "", "the image layer is not");
	fg_store_close(s);
	tap_fails(fg_store_reindex(st_root, &tight, NULL, NULL, NULL, NULL, &err), &err,
	    FG_ENOENT, "mounted",
	    "reindex does not replace a good index by an empty one");
	tap_int(st_run("rmdir '%s/slabs' && mv '%s/hidden' '%s/slabs'", st_root,
		    st_root, st_root),
	    0, "it is mounted again");
	s = st_open_with(FG_STORE_WRITE, &tight);
	tap_int(count_blocks(s, layer_a), 6, "all of a is back");
	tap_int(count_blocks(s, layer_b), 6, "all of b is back");
	fg_store_close(s);
	sum_slabs(now);
	tap_str(now, was, "not a byte of the slabs has changed");
	st_cleanup();
}

static void
test_short_slab(void)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_store *s;
	int left;

	make_store();
	long long size = st_size(st_slab((int)b_slab));
	tap_int(truncate(st_slab((int)b_slab), size / 2), 0, "a slab is cut short");
	s = st_open_with(FG_STORE_WRITE, &tight);
	tap_ok(strstr(why(s, layer_b), "bytes of") != NULL, "b is degraded: %s",
	    why(s, layer_b));
	tap_rc(st_commit_one(s, st_block_n(layer_a, 9, 7), &err), &err,
	    "a still grows if its own bytes are whole");
	fg_store_close(s);
	tap_int(st_size(st_slab((int)b_slab)), size / 2, "nothing was appended to it");
	tap_ok(st_verify(st_root) > 0 && strstr(st_said, "bytes of"), "verify says so");
	tap_int(repair(), 0, "repair accepts the loss");
	tap_ok(strstr(st_said, "are lost") != NULL, "and tells what was lost");
	tap_int(st_verify(st_root), 0, "verify is content then");
	s = st_open_with(FG_STORE_WRITE, &tight);
	tap_str(why(s, layer_b), "", "b is not degraded any more");
	left = count_blocks(s, layer_b);
	tap_ok(left >= 0 && left < 6, "it has %d of 6 blocks, each whole", left);
	for (int n = 0; n < 6; n++) {
		if (st_commit_one(s, st_block_n(layer_b, n, 7), &err) < 0)
			tap_rc(-1, &err, "make it again");
	}
	tap_int(count_blocks(s, layer_b), 6, "the others are made again");
	tap_int(count_blocks(s, layer_a), 7, "a is whole");
	fg_store_close(s);
	tap_int(st_verify(st_root), 0, "verify is content");
	tap_int(reindex(), 0, "reindex");
	s = st_open_with(FG_STORE_WRITE, &tight);
	tap_int(count_blocks(s, layer_b), 6, "finds all of b");
	fg_store_close(s);
	st_cleanup();
}

static void
test_older_index(void)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_store *s;
	uint32_t layer_c;

	make_store();
	tap_int(st_run("cp '%s/index.sqlite' '%s/saved'", st_root, st_root), 0,
	    "the index is saved");
	s = st_open_with(FG_STORE_WRITE, &tight);
	layer_c = st_add_layer(s, "c");
	for (int n = 6; n < 14; n++) {
		if (st_commit_one(s, st_block_n(layer_a, n, 7), &err) < 0 ||
		    st_commit_one(s, st_block_n(layer_c, n, 7), &err) < 0)
			tap_rc(-1, &err, "commit");
	}
	tap_rc(fg_store_layer_remove(s, layer_b, &err), &err, "b is removed");
	fg_store_close(s);
	tap_int(st_run("rm -f '%s'/index.sqlite*; cp '%s/saved' '%s/index.sqlite'",
		    st_root, st_root, st_root),
	    0, "the saved index is restored beside the newer slabs");
	s = st_open_with(FG_STORE_WRITE, &tight);
	tap_int(count_blocks(s, layer_a), 14, "what the index lacks is taken in");
	tap_int(count_blocks(s, layer_c), 8, "also a layer that it never knew");
	tap_str(why(s, layer_c), "", "with its row");
	tap_str(why(s, layer_b), "no such layer", "and the removal");
	tap_rc(st_commit_one(s, st_block_n(layer_a, 14, 7), &err), &err, "it goes on");
	tap_int(count_blocks(s, layer_a), 15, "behind what was there");
	fg_store_close(s);
	tap_int(st_verify(st_root), 0, "verify is content");
	st_cleanup();
}

static void
test_lost_index(void)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_store *s;
	struct fg_reader *rd;
	struct fg_layer_row *rows;
	struct fg_place p;
	struct fg_key k = {0, FG_KIND_CHUNK, 0, 0};
	char uuid[40], *text = NULL;
	size_t n;

	make_store();
	s = st_open_with(FG_STORE_WRITE, &tight);
	snprintf(uuid, sizeof uuid, "%s", fg_store_uuid(s));
	tap_rc(st_commit_one(s, st_chunk(layer_a, 1, 0, 0, 0, FG_PARTIAL, 1), &err),
	    &err, "a coarse chunk, partial");
	tap_rc(st_commit_one(s, st_chunk(layer_a, 1, 0, 0, 0, FG_PRESENT, 2), &err),
	    &err, "made again, whole");
	tap_rc(fg_store_layer_remove(s, layer_b, &err), &err, "b is removed");
	fg_store_close(s);
	tap_int(st_run("rm -f '%s'/index.sqlite*", st_root), 0, "the index is lost");
	s = fg_store_open(st_root, FG_STORE_CREATE, &tight, &err);
	tap_fails(s ? 0 : -1, &err, FG_ECORRUPT, "floodgate reindex",
	    "no new index is begun beside slabs");
	tap_int(reindex(), 0, "reindex");
	tap_int(st_verify(st_root), 0, "verify is content");
	s = st_open_with(FG_STORE_WRITE, &tight);
	tap_str(fg_store_uuid(s), uuid, "the store's uuid is back");
	tap_int(count_blocks(s, layer_a), 6, "a is back under its number");
	rd = st_reader(s);
	tap_rc(fg_store_layers(rd, &rows, &n, &err), &err, "layers");
	tap_int(n, 2, "two: b stays removed");
	tap_str(rows[0].name, "a", "a");
	tap_str(rows[0].grid, "{\"block\":[128,128,128]}", "grid");
	tap_str(rows[0].recipe, "{\"network\":\"ffn\",\"seed\":1}", "recipe");
	tap_str(rows[1].source, "{\"url\":\"layers/em\"}", "the image layer's source");
	k.layer = layer_a;
	tap_rc(fg_reader_find(rd, &k, &p, &err), &err, "find");
	tap_rc(fg_reader_run(rd, p.run, &text, &err), &err, "provenance");
	tap_ok(strstr(text, "\"worker\":\"test\"") && strstr(text, "\"patches\":12") &&
		   strstr(text, "\"seed\":1"),
	    "is back: %s", text);
	free(text);
	k.scale = 1;
	tap_int(st_check(s, rd, &k, 0, 2), 1, "the later coarse chunk counts");
	struct fg_store_counts c;
	tap_rc(fg_reader_count(rd, layer_a, &c, &err), &err, "counts");
	tap_int(c.objects, 12, "objects");
	tap_int(c.empty, 6, "empty chunks");
	tap_int(c.blocks_done, 6, "blocks");
	for (size_t i = 0; i < n; i++)
		fg_layer_row_fini(&rows[i]);
	free(rows);
	fg_reader_close(rd);
	tap_rc(st_commit_one(s, st_block_n(layer_a, 10, 7), &err), &err, "it goes on");
	fg_store_close(s);
	st_cleanup();
}

/* Run SQL on the index behind the store's back. */
static void
tamper(const char *sql)
{
	char path[600], *msg = NULL;
	sqlite3 *db;

	snprintf(path, sizeof path, "%s/index.sqlite", st_root);
	if (sqlite3_open(path, &db) != SQLITE_OK ||
	    sqlite3_exec(db, sql, NULL, NULL, &msg) != SQLITE_OK)
		printf("# %s: %s\n", sql, msg);
	sqlite3_free(msg);
	sqlite3_close(db);
}

static void
test_bad_index(void)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_store *s;

	make_store();
	tamper("UPDATE meta SET value = 99 WHERE key = 'schema'");
	s = fg_store_open(st_root, FG_STORE_WRITE, &tight, &err);
	tap_fails(s ? 0 : -1, &err, FG_ENOTSUP, "schema 99", "an index of the future");
	tamper("UPDATE meta SET value = 4 WHERE key = 'schema'");
	tamper("UPDATE chunks SET scale = 9 WHERE at = 0 AND layer = 2;"
	       "UPDATE chunks SET crc = crc + 1 WHERE at = 1 AND layer = 2;"
	       "UPDATE chunks SET off = off + 8 WHERE at = 2 AND layer = 2;"
	       "UPDATE chunks SET layer = 77 WHERE at = 3 AND layer = 2;"
	       "UPDATE chunks SET state = 2 WHERE at = 4 AND layer = 2");
	tap_ok(st_verify(st_root) >= 5 &&
		   strstr(st_said, "outside of the layer's grid") &&
		   strstr(st_said, "the index says") &&
		   strstr(st_said, "no record there") &&
		   strstr(st_said, "layer that is not there") &&
		   strstr(st_said, "makes no sense"),
	    "verify sees rows that cannot be right");
	tap_int(st_run("head -c 20000 /dev/zero | tr '\\0' 'x' > '%s/index.sqlite'",
		    st_root),
	    0, "the index is overwritten");
	s = fg_store_open(st_root, FG_STORE_WRITE, &tight, &err);
	tap_fails(s ? 0 : -1, &err, FG_ECORRUPT,
	    "not a database: make it again with \"floodgate reindex\"",
	    "it is refused");
	tap_int(reindex(), 0, "reindex");
	s = st_open_with(FG_STORE_WRITE, &tight);
	tap_int(count_blocks(s, layer_a), 6, "a is back");
	tap_int(count_blocks(s, layer_b), 6, "b is back");
	fg_store_close(s);
	tap_int(st_verify(st_root), 0, "verify is content");
	st_cleanup();
}

static void
test_reindex_keeps(bool old_schema)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_reader *rd;
	struct fg_layer_row *rows;
	struct fg_store *s;
	size_t n;

	make_store();
	s = st_open_with(FG_STORE_WRITE, &tight);
	tap_rc(fg_store_layer_pause(s, layer_a, true, &err), &err, "a is paused");
	tap_fails(fg_store_reindex(st_root, &tight, NULL, NULL, NULL, NULL, &err), &err,
	    FG_EBUSY, "in use", "no reindex under a writer");
	fg_store_close(s);
	if (old_schema)
		st_make_older();
	unlink(st_slab((int)b_slab));
	tap_int(reindex(), 0, "reindex with a slab missing%s",
	    old_schema ? ", of an index of the schema before" : "");
	tap_ok(strstr(st_said, "is missing") != NULL, "which is told");
	s = st_open_with(FG_STORE_WRITE, &tight);
	rd = st_reader(s);
	tap_rc(fg_store_layers(rd, &rows, &n, &err), &err, "layers");
	tap_ok(n == 3 && rows[0].paused, "three, a still paused");
	for (size_t i = 0; i < n; i++)
		fg_layer_row_fini(&rows[i]);
	free(rows);
	fg_reader_close(rd);
	tap_rc(st_commit_one(s, st_block_n(layer_a, 7, 7), &err), &err, "commit");
	tap_ok(access(st_slab((int)b_slab), F_OK) < 0,
	    "the missing slab's number is not used again");
	fg_store_close(s);
	char old[600];
	snprintf(old, sizeof old, "%s/index.sqlite.old-1", st_root);
	tap_ok(access(old, F_OK) == 0, "the old index is kept");
	tap_int(reindex(), 0, "and again");
	snprintf(old, sizeof old, "%s/index.sqlite.old-2", st_root);
	tap_ok(access(old, F_OK) == 0, "all of them are kept");
	st_cleanup();
}

/* Turn one bit over. */
static void
flip(const char *path, long long at)
{
	int fd = open(path, O_RDWR);
	unsigned char c = 0;

	if (fd < 0 || pread(fd, &c, 1, at) != 1)
		printf("# cannot read %s\n", path);
	c ^= 0x10;
	if (fd < 0 || pwrite(fd, &c, 1, at) != 1)
		printf("# cannot write %s\n", path);
	if (fd >= 0)
		close(fd);
}

static struct fg_place
place_of(uint32_t layer, int x)
{
	struct fg_store *s = st_open_with(FG_STORE_READ, &tight);
	struct fg_reader *rd = st_reader(s);
	struct fg_key k = st_key(layer, FG_KIND_CHUNK, 0, x, 0, 0);
	struct fg_err err = FG_ERR_INIT;
	struct fg_place p = {0};

	if (fg_reader_find(rd, &k, &p, &err) < 0)
		printf("# %s\n", err.msg);
	fg_reader_close(rd);
	fg_store_close(s);
	return p;
}

static void
test_bit_flips(void)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_store *s;
	struct fg_place p;
	struct fg_buf *b = NULL;

	make_store();
	p = place_of(layer_a, 0);
	flip(st_slab((int)p.slab), (long long)p.off + 5);
	s = st_open_with(FG_STORE_READ, &tight);
	char at[64];
	snprintf(at, sizeof at, "slab %06u at %llu", (unsigned)p.slab,
	    (unsigned long long)p.off);
	tap_fails(fg_store_read(s, &p, false, &b, &err), &err, FG_ECORRUPT, at,
	    "a flipped bit is noticed and named");
	fg_store_close(s);
	tap_int(st_verify(st_root), 1, "verify finds it, once");
	tap_ok(strstr(st_said, at) &&
		   strstr(st_said, "chunk 0,0,0 of scale 0 of layer a"),
	    "and names it");
	tap_int(repair(), 0, "repair");
	tap_int(st_verify(st_root), 0, "verify is content");
	s = st_open_with(FG_STORE_WRITE, &tight);
	tap_int(count_blocks(s, layer_a), 5, "its block is to be made again");
	tap_rc(st_commit_one(s, st_block_n(layer_a, 0, 7), &err), &err, "it is");
	tap_int(count_blocks(s, layer_a), 6, "all six");
	fg_store_close(s);

	p = place_of(layer_b, 0);
	flip(st_slab((int)p.slab), (long long)p.off - 100);
	tap_int(st_verify(st_root), 1, "a flipped bit in a header is found");
	tap_ok(strstr(st_said, "chunk 0,0,0 of scale 0 of layer b") != NULL,
	    "and named");
	s = st_open_with(FG_STORE_READ, &tight);
	tap_rc(fg_store_read(s, &p, false, &b, &err), &err, "its bytes are right");
	fg_buf_unref(b);
	fg_store_close(s);
	tap_int(reindex(), 0, "reindex");
	s = st_open_with(FG_STORE_WRITE, &tight);
	tap_int(count_blocks(s, layer_b), 5, "leaves the block out as a whole");
	tap_int(count_blocks(s, layer_a), 6, "and no other");
	fg_store_close(s);
	tap_int(st_verify(st_root), 0, "verify is content");
	st_cleanup();
}

static void
test_foreign(void)
{
	struct fg_err err = FG_ERR_INIT;
	char first[256], cmd_path[600];
	struct fg_store *s;

	make_store();
	snprintf(first, sizeof first, "%s", st_root);
	make_store();
	snprintf(cmd_path, sizeof cmd_path, "%s/slabs/000001.slab", first);
	tap_int(st_run("cp '%s' '%s/slabs/000090.slab'", cmd_path, st_root), 0,
	    "a slab of another store is put there under a free name");
	tap_int(st_run("cp '%s/index.sqlite' '%s/slabs/junk.slab'", first, st_root), 0,
	    "and something that is no slab");
	s = st_open_with(FG_STORE_WRITE, &tight);
	tap_int(count_blocks(s, layer_a), 6, "a is what it was");
	tap_rc(st_commit_one(s, st_block_n(layer_a, 10, 7), &err), &err, "it grows");
	tap_ok(st_size(st_slab(90)) == st_size(cmd_path), "not in the stranger");
	fg_store_close(s);
	tap_int(st_verify(st_root), 0, "verify is content");
	tap_int(st_run("cp '%s' '%s'", cmd_path, st_slab(1)), 0,
	    "it takes the place of our own");
	tap_ok(st_verify(st_root) > 0 && strstr(st_said, "another store"),
	    "verify notices");
	st_run("rm -rf '%s'", first);
	st_cleanup();
}

static void
test_backup(void)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_store *s;
	char dest[200], root[256];

	make_store();
	snprintf(dest, sizeof dest, "%.180s/copy", st_root);
	s = st_open_with(FG_STORE_WRITE, &tight);
	tap_rc(st_commit_one(s, st_block_n(layer_a, 6, 7), &err), &err, "commit");
	tap_rc(fg_store_backup(st_root, &tight, dest, &err), &err,
	    "backup beside the writer");
	tap_rc(st_commit_one(s, st_block_n(layer_a, 7, 7), &err), &err, "it goes on");
	tap_fails(fg_store_backup(st_root, &tight, dest, &err), &err, FG_EINVAL,
	    "not empty", "a backup does not overwrite");
	fg_store_close(s);
	tap_int(st_verify(dest), 0, "the copy is sound");
	snprintf(root, sizeof root, "%s", st_root);
	snprintf(st_root, sizeof st_root, "%s", dest);
	s = st_open_with(FG_STORE_WRITE, &tight);
	tap_int(count_blocks(s, layer_a), 7, "and holds what was there then");
	tap_int(count_blocks(s, layer_b), 6, "all of it");
	tap_rc(st_commit_one(s, st_block_n(layer_a, 9, 7), &err), &err,
	    "and can be used");
	fg_store_close(s);
	snprintf(st_root, sizeof st_root, "%s", root);
	st_cleanup();
}

int
main(void)
{
	fg_log_setup(FG_LOG_ERROR, FG_LOG_TEXT);
	test_missing_slab();
	test_empty_folder();
	test_short_slab();
	test_older_index();
	test_lost_index();
	test_bad_index();
	test_reindex_keeps(false);
	test_reindex_keeps(true);
	test_bit_flips();
	test_foreign();
	test_backup();
	return tap_done();
}
