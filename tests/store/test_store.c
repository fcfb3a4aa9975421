/* SPDX-License-Identifier: Apache-2.0 */
/* A data directory in its normal life: layers, commits, lookups, provenance. */
#include "config.h"

#include "base/json.h"
#include "tests/store/store_test.h"

static void
test_open(void)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_store *s, *t;
	char uuid[40];

	s = fg_store_open(st_root, FG_STORE_WRITE, &st_opt, &err);
	tap_fails(s ? 0 : -1, &err, FG_ENOENT, "no data directory",
	    "an empty folder is no data directory");
	s = fg_store_open("/nonexistent/x", FG_STORE_READ, &st_opt, &err);
	tap_fails(s ? 0 : -1, &err, FG_ENOENT, "/nonexistent/x", "nor is none at all");
	s = fg_store_open(st_root, FG_STORE_CREATE, &st_opt, &err);
	tap_rc(s ? 0 : -1, &err, "create");
	snprintf(uuid, sizeof uuid, "%s", fg_store_uuid(s));
	tap_int(strlen(uuid), 36, "it has a uuid");
	t = fg_store_open(st_root, FG_STORE_WRITE, &st_opt, &err);
	char pid[64];
	snprintf(pid, sizeof pid, "in use by process %ld", (long)getpid());
	tap_fails(t ? 0 : -1, &err, FG_EBUSY, pid,
	    "a second writer is told who writes");
	t = fg_store_open(st_root, FG_STORE_READ, &st_opt, &err);
	tap_rc(t ? 0 : -1, &err, "a reader beside the writer");
	fg_store_close(t);
	fg_store_close(s);
	s = fg_store_open(st_root, FG_STORE_CREATE, &st_opt, &err);
	tap_rc(s ? 0 : -1, &err, "create on an existing one opens it");
	tap_str(fg_store_uuid(s), uuid, "the uuid stays");
	tap_rc(fg_store_room(s, &err), &err, "there is room");
	fg_store_close(s);
	struct fg_store_options greedy = {.min_free = 1.01};
	s = fg_store_open(st_root, FG_STORE_WRITE, &greedy, &err);
	tap_fails(fg_store_room(s, &err), &err, FG_EFULL, "% are kept", "min_free");
	fg_store_close(s);
}

static void
test_layers(void)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_store *s = st_open(FG_STORE_WRITE);
	struct fg_layer_row image = {
	    .name = (char *)"em",
	    .kind = (char *)"image",
	    .info = (char *)ST_INFO,
	    .source = (char *)"{\"url\":\"layers/em\"}",
	};
	struct fg_layer_row *rows;
	struct fg_reader *rd;
	size_t n;
	uint32_t seg;

	tap_rc(fg_store_layer_add(s, &image, &err), &err, "add an image layer");
	seg = st_add_layer(s, "seg");
	tap_ok(seg > 0 && seg != image.layer, "add a generated layer");
	tap_fails(fg_store_layer_add(s, &image, &err), &err, FG_EINVAL, "already",
	    "a name can be taken once");
	image.name = (char *)"a/b";
	tap_fails(fg_store_layer_add(s, &image, &err), &err, FG_EINVAL, "no layer name",
	    "a name with a slash");
	image.name = (char *)"metrics";
	tap_fails(fg_store_layer_add(s, &image, &err), &err, FG_EINVAL, "cannot be",
	    "a name of the server");
	image.name = (char *)"latin";
	image.source = (char *)"\xe9t\xe9";
	tap_fails(fg_store_layer_add(s, &image, &err), &err, FG_EINVAL, "UTF-8",
	    "texts that JSON cannot hold");
	tap_rc(fg_store_layer_pause(s, seg, true, &err), &err, "pause");
	tap_fails(fg_store_layer_pause(s, 99, true, &err), &err, FG_ENOENT, "layer 99",
	    "pause an unknown layer");
	rd = st_reader(s);
	tap_rc(fg_store_layers(rd, &rows, &n, &err), &err, "list layers");
	tap_int(n, 2, "two layers");
	tap_str(rows[0].name, "em", "by name");
	tap_str(rows[0].source, "{\"url\":\"layers/em\"}", "source");
	tap_ok(rows[0].recipe == NULL && !rows[0].paused, "no recipe, not paused");
	tap_str(rows[1].recipe, "{\"network\":\"ffn\",\"seed\":1}", "recipe");
	tap_str(rows[1].info, ST_INFO, "info");
	tap_ok(rows[1].paused && !rows[1].degraded, "paused, not degraded");
	tap_int(rows[1].layer, seg, "id");
	for (size_t i = 0; i < n; i++)
		fg_layer_row_fini(&rows[i]);
	free(rows);
	fg_reader_close(rd);
	fg_store_close(s);
}

static void
test_commit(void)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_store *s = st_open(FG_STORE_WRITE);
	struct fg_reader *rd = st_reader(s);
	struct fg_result *g[3] = {st_block(2, 0, 0, 0, 1), st_block(2, 1, 0, 0, 1),
	    st_block(2, 0, 0, 0, 2)};
	struct fg_place p;
	struct fg_key k = st_key(2, FG_KIND_CHUNK, 0, 0, 0, 0);
	struct fg_buf *b = NULL;

	tap_rc(fg_reader_find(rd, &k, &p, &err), &err, "find before");
	tap_int(p.state, FG_ABSENT, "absent before");
	tap_rc(fg_commit(s, g, 3, &err), &err, "commit a group of three, one twice");
	tap_int(st_check_block(s, rd, 2, 0, 0, 0, 1), 1, "the first of two counts");
	tap_int(st_check_block(s, rd, 2, 1, 0, 0, 1), 1, "the other block is there");
	tap_ok(memcmp(&g[0]->places[3], &g[2]->places[3], sizeof p) == 0,
	    "the dropped result has the places of the first");
	tap_rc(fg_reader_find(rd, &k, &p, &err), &err, "find after");
	tap_ok(memcmp(&p, &g[0]->places[0], sizeof p) == 0, "places are as found");
	tap_rc(fg_store_read(s, &p, true, &b, &err), &err, "read without waiting");
	tap_ok(b == NULL || b->len == p.len, "all or nothing");
	fg_buf_unref(b);
	for (int i = 0; i < 3; i++)
		st_result_free(g[i]);

	tap_rc(st_commit_one(s, st_block(2, 1, 0, 0, 3), &err), &err, "once more");
	tap_int(st_check_block(s, rd, 2, 1, 0, 0, 1), 1, "the first one stays");
	k = st_key(2, FG_KIND_BLOCK, 0, 1, 0, 0);
	tap_rc(fg_reader_find(rd, &k, &p, &err), &err, "find a block");
	tap_int(p.state, FG_PRESENT, "it is present");
	fg_reader_close(rd);
	fg_store_close(s);
}

static void
test_bad_results(void)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_store *s = st_open(FG_STORE_WRITE);
	struct fg_result *r = st_block(77, 0, 0, 0, 1);
	struct fg_buf *b;

	tap_fails(fg_commit(s, &r, 1, &err), &err, FG_ENOENT, "layer 77",
	    "a result of an unknown layer");
	st_result_free(r);
	r = st_block(2, 3, 3, 3, 1);
	b = r->payload[7].bytes;
	((struct fg_payload *)r->payload)[7].state = FG_PRESENT;
	tap_fails(fg_commit(s, &r, 1, &err), &err, FG_EINVAL, "without bytes",
	    "PRESENT without bytes");
	((struct fg_payload *)r->payload)[7].state = FG_EMPTY;
	((struct fg_payload *)r->payload)[2].key.layer = 1;
	tap_fails(fg_commit(s, &r, 1, &err), &err, FG_EINVAL, "of layer 1",
	    "a payload of another layer");
	tap_ok(b == NULL, "the EMPTY one had no bytes");
	st_result_free(r);
	tap_fails(st_commit_one(s, st_chunk(2, 1, 64, 0, 0, FG_PRESENT, 1), &err), &err,
	    FG_EINVAL, "in scale 1 of layer seg", "a chunk outside of the grid");
	tap_fails(st_commit_one(s, st_chunk(2, 3, 0, 0, 0, FG_PRESENT, 1), &err), &err,
	    FG_EINVAL, "in scale 3", "a scale that is not");
	fg_store_close(s);
}

static int
count_blocks(void *ctx, const struct fg_block_row *row)
{
	int *n = ctx;

	n[row->state]++;
	return 0;
}

static void
test_failures(void)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_store *s = st_open(FG_STORE_WRITE);
	struct fg_reader *rd = st_reader(s);
	struct fg_result f = {
	    .task = st_key(2, FG_KIND_BLOCK, 0, 2, 0, 0),
	    .failed = true,
	    .error = "out of seeds",
	    .tries = 2,
	    .next_try_ms = 12345,
	};
	struct fg_result *r = &f;
	struct fg_block_row row;
	int n[3] = {0};

	tap_rc(fg_commit(s, &r, 1, &err), &err, "commit a failure");
	tap_rc(fg_reader_block(rd, 2, f.task.at, &row, &err), &err, "its row");
	tap_ok(row.state == FG_BLOCK_FAILED && row.tries == 2 &&
		   row.next_try_ms == 12345,
	    "memo");
	tap_str(row.error, "out of seeds", "error");
	f.task = st_key(2, FG_KIND_BLOCK, 0, 0, 0, 0);
	tap_rc(fg_commit(s, &r, 1, &err), &err, "a failure of a block that is done");
	tap_rc(fg_reader_block(rd, 2, f.task.at, &row, &err), &err, "its row");
	tap_int(row.state, FG_BLOCK_DONE, "it stays done");
	tap_rc(fg_reader_blocks(rd, 2, count_blocks, n, &err), &err, "all blocks");
	tap_ok(n[FG_BLOCK_DONE] == 2 && n[FG_BLOCK_FAILED] == 1,
	    "two done, one failed");
	tap_rc(fg_store_retry(s, 2, UINT64_MAX, &err), &err, "forget all failures");
	tap_rc(fg_reader_block(rd, 2, st_key(2, 2, 0, 2, 0, 0).at, &row, &err), &err,
	    "its row");
	tap_int(row.state, FG_BLOCK_ABSENT, "no memo is left");
	fg_reader_close(rd);
	fg_store_close(s);
}

static void
test_provenance(void)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_store *s = st_open(FG_STORE_READ);
	struct fg_reader *rd = st_reader(s);
	struct fg_key k = st_key(2, FG_KIND_CHUNK, 0, 1, 1, 1);
	struct fg_store_counts c;
	struct fg_place p;
	char *text = NULL;
	json_t *j;

	tap_rc(fg_reader_find(rd, &k, &p, &err), &err, "find an empty chunk");
	tap_ok(p.state == FG_EMPTY && p.slab == 0, "EMPTY has no bytes");
	tap_rc(fg_reader_run(rd, p.run, &text, &err), &err, "its run");
	j = fg_json_parse(text, strlen(text), "run", &err);
	tap_str(json_string_value(json_object_get(j, "layer")), "seg", "layer");
	tap_str(json_string_value(json_object_get(j, "kind")), "block", "kind");
	tap_str(json_string_value(json_object_get(j, "worker")), "test", "worker");
	tap_str(json_string_value(json_object_get(j, "device")), "cpu0", "device");
	tap_int(json_integer_value(json_object_get(j, "ended")), 2000, "end");
	tap_int(json_integer_value(
		    json_object_get(json_object_get(j, "stats"), "patches")),
	    12, "statistics");
	tap_str(json_string_value(
		    json_object_get(json_object_get(j, "params"), "network")),
	    "ffn", "recipe");
	json_decref(j);
	free(text);
	tap_fails(fg_reader_run(rd, 999, &text, &err), &err, FG_ENOENT, "999",
	    "a run that is not");
	tap_rc(fg_reader_recent(rd, 10, &text, &err), &err, "recent runs");
	j = fg_json_parse(text, strlen(text), "runs", &err);
	tap_int(json_array_size(j), 4, "four ran");
	tap_str(json_string_value(json_object_get(json_array_get(j, 0), "error")),
	    "out of seeds", "the newest first");
	json_decref(j);
	free(text);
	tap_rc(fg_reader_count(rd, 0, &c, &err), &err, "counts");
	tap_int(c.chunks, 14, "chunks with bytes");
	tap_int(c.empty, 2, "empty ones");
	tap_int(c.blocks_done, 2, "blocks");
	tap_int(c.objects, 4, "objects");
	tap_ok(c.bytes > 14 * 100, "bytes");
	tap_rc(fg_reader_count(rd, 1, &c, &err), &err, "counts of the image layer");
	tap_int(c.chunks + c.empty + c.bytes, 0, "nothing of it is in slabs");
	fg_reader_close(rd);
	fg_store_close(s);
}

static void
test_coarse(void)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_store *s = st_open(FG_STORE_WRITE);
	struct fg_reader *rd = st_reader(s);
	struct fg_key k1 = st_key(2, FG_KIND_CHUNK, 1, 2, 0, 0);
	struct fg_key k2 = st_key(2, FG_KIND_CHUNK, 2, 1, 0, 0);
	struct fg_key other = st_key(2, FG_KIND_CHUNK, 1, 0, 0, 0);
	struct fg_place p;

	tap_rc(st_commit_one(s, st_chunk(2, 1, 2, 0, 0, FG_PARTIAL, 1), &err), &err,
	    "a partial chunk of scale 1");
	tap_rc(st_commit_one(s, st_chunk(2, 1, 0, 0, 0, FG_PRESENT, 1), &err), &err,
	    "another one, whole");
	tap_rc(st_commit_one(s, st_chunk(2, 2, 1, 0, 0, FG_PRESENT, 1), &err), &err,
	    "a chunk of scale 2");
	tap_rc(st_commit_one(s, st_block(2, 2, 0, 0, 1), &err), &err,
	    "a block below them");
	tap_rc(fg_reader_find(rd, &k1, &p, &err), &err, "find scale 1");
	tap_ok(p.state == FG_PARTIAL && p.dirty, "partial and dirty now");
	tap_rc(fg_reader_find(rd, &k2, &p, &err), &err, "find scale 2");
	tap_ok(p.state == FG_PRESENT && p.dirty, "dirty now");
	tap_rc(fg_reader_find(rd, &other, &p, &err), &err, "find the other");
	tap_ok(p.state == FG_PRESENT && !p.dirty, "not dirty: the block is elsewhere");
	tap_rc(st_commit_one(s, st_chunk(2, 1, 2, 0, 0, FG_PRESENT, 2), &err), &err,
	    "made again");
	tap_int(st_check(s, rd, &k1, 0, 2), 1, "the new bytes count");
	tap_rc(fg_reader_find(rd, &k1, &p, &err), &err, "find scale 1");
	tap_ok(p.state == FG_PRESENT && !p.dirty, "whole and clean");
	tap_rc(st_commit_one(s, st_chunk(2, 1, 2, 0, 0, FG_PRESENT, 3), &err), &err,
	    "and again");
	tap_int(st_check(s, rd, &k1, 0, 2), 1, "a clean one is not replaced");
	fg_reader_close(rd);
	fg_store_close(s);
}

/* A result of a mesh task with pieces 0 and 2^62 in generation gen. */
static struct fg_result *
mesh_result(uint32_t layer, uint64_t id, int64_t gen, unsigned salt)
{
	struct fg_result *r = fg_calloc(1, sizeof *r);
	struct fg_payload *p = fg_calloc(2, sizeof *p);

	r->task =
	    (struct fg_key){.layer = layer, .kind = FG_KIND_MESH, .scale = 0, .at = id};
	for (int i = 0; i < 2; i++) {
		p[i].key = r->task;
		p[i].key.scale = (uint8_t)i;
		p[i].part = i ? UINT64_C(1) << 62 : 0;
		p[i].gen = gen;
		p[i].state = FG_PRESENT;
		p[i].bytes = st_bytes(&p[i].key, (uint32_t)i, salt);
	}
	r->payload = p;
	r->payloads = 2;
	r->places = fg_calloc(2, sizeof *r->places);
	return r;
}

/* Whether both pieces of a generation are there with the bytes of `salt`. */
static bool
has_mesh(struct fg_store *s, struct fg_reader *rd, uint32_t layer, uint64_t id,
    int64_t gen, unsigned salt)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_key key = {.layer = layer, .kind = FG_KIND_MESH, .at = id};
	struct fg_place p = {0};
	bool good = true;

	for (int i = 0; i < 2 && good; i++) {
		struct fg_buf *want, *got = NULL;

		key.scale = (uint8_t)i;
		want = st_bytes(&key, (uint32_t)i, salt);
		good = fg_reader_gen(rd, &key, i ? UINT64_C(1) << 62 : 0, gen, &p,
			   &err) == 0 &&
		       p.state == FG_PRESENT && p.gen == gen &&
		       fg_store_read(s, &p, false, &got, &err) == 0 &&
		       got->len == want->len &&
		       memcmp(got->data, want->data, got->len) == 0;
		fg_buf_unref(got);
		fg_buf_unref(want);
	}
	return good;
}

static void
test_generations(void)
{
	const uint64_t id = UINT64_C(0xfedcba9876543210);
	struct fg_err err = FG_ERR_INIT;
	struct fg_store *s = st_open(FG_STORE_WRITE);
	struct fg_reader *rd = st_reader(s);
	struct fg_key key = {.layer = 2, .kind = FG_KIND_MESH, .at = id};
	struct fg_place p;

	tap_rc(st_commit_one(s, mesh_result(2, id, 1, 10), &err), &err,
	    "a mesh, generation 1");
	tap_rc(st_commit_one(s, mesh_result(2, id, 3, 30), &err), &err, "generation 3");
	tap_rc(st_commit_one(s, mesh_result(2, id, 3, 31), &err), &err,
	    "again with other bytes");
	tap_ok(has_mesh(s, rd, 2, id, 1, 10), "generation 1 is still there");
	tap_ok(has_mesh(s, rd, 2, id, 3, 30), "the first valid result of 3 has won");
	tap_ok(!has_mesh(s, rd, 2, id, 2, 10), "there is no generation 2");
	tap_ok(!has_mesh(s, rd, 2, id - 1, 1, 10), "nor another object");
	tap_rc(fg_reader_find(rd, &key, &p, &err), &err, "look for any generation");
	tap_int(p.gen, 3, "the newest is found");
	fg_reader_close(rd);
	fg_store_close(s);
	tap_int(st_verify(st_root), 0, "verify finds nothing");
	tap_rc(fg_store_reindex(st_root, &st_opt, st_show, NULL, NULL, NULL, &err),
	    &err, "reindex");
	s = st_open(FG_STORE_WRITE);
	rd = st_reader(s);
	tap_ok(has_mesh(s, rd, 2, id, 1, 10) && has_mesh(s, rd, 2, id, 3, 30),
	    "slabs alone tell the generations");
	fg_reader_close(rd);
	fg_store_close(s);
}

static void
test_remove(void)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_store *s = st_open(FG_STORE_WRITE);
	struct fg_reader *rd = st_reader(s);
	struct fg_store_counts c;
	uint32_t again;

	tap_rc(fg_store_layer_remove(s, 2, &err), &err, "remove a layer");
	tap_rc(fg_reader_count(rd, 2, &c, &err), &err, "counts");
	tap_int(c.chunks + c.empty + c.blocks_done + c.objects + c.bytes, 0,
	    "all of it is gone");
	tap_fails(fg_store_layer_remove(s, 2, &err), &err, FG_ENOENT, "layer 2",
	    "only once");
	again = st_add_layer(s, "seg");
	tap_ok(again > 2, "the name is free, the number is not used again");
	tap_int(st_check_block(s, rd, again, 0, 0, 0, 1), 0, "and the layer is empty");
	fg_reader_close(rd);
	fg_store_close(s);
}

int
main(void)
{
	st_folder();
	test_open();
	test_layers();
	test_commit();
	test_bad_results();
	test_failures();
	test_provenance();
	test_coarse();
	test_generations();
	test_remove();
	st_cleanup();
	return tap_done();
}
