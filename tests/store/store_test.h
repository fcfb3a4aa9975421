/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shared by the tests of the store: a data directory in a temporary folder, a layer,
 * and results whose bytes follow from their key, so that any reader can tell whether
 * what it got is right.
 */
#ifndef FG_TESTS_STORE_TEST_H
#define FG_TESTS_STORE_TEST_H

#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/morton.h"
#include "store/object.h"
#include "store/store.h"
#include "tests/tap.h"

/* Small disks of build machines are nobody's business here. */
static const struct fg_store_options st_opt = {.min_free = 1e-9};

/* 128 x 8 x 8 chunks of 64 at scale 0, half of that at scale 1, a quarter at scale 2;
 * hence 64 x 4 x 4 blocks of 2 x 2 x 2 chunks. */
#define ST_BLOCKS 1024
#define ST_INFO                                                                        \
	"{\"type\":\"segmentation\",\"data_type\":\"uint64\",\"num_channels\":1,"      \
	"\"scales\":["                                                                 \
	"{\"key\":\"8_8_8\",\"resolution\":[8,8,8],\"voxel_offset\":[0,0,0],"          \
	"\"size\":[8192,512,512],\"chunk_sizes\":[[64,64,64]],\"encoding\":\"raw\"},"  \
	"{\"key\":\"16_16_16\",\"resolution\":[16,16,16],\"voxel_offset\":[0,0,0],"    \
	"\"size\":[4096,256,256],\"chunk_sizes\":[[64,64,64]],\"encoding\":\"raw\"},"  \
	"{\"key\":\"32_32_32\",\"resolution\":[32,32,32],\"voxel_offset\":[0,0,0],"    \
	"\"size\":[2048,128,128],\"chunk_sizes\":[[64,64,64]],\"encoding\":\"raw\"}]}"

static inline int
st_run(const char *fmt, ...)
{
	char cmd[4096];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(cmd, sizeof cmd, fmt, ap);
	va_end(ap);
	return system(cmd);
}

/* A new empty folder; st_cleanup() removes it with all that is in it. */
static char st_root[256];

static inline const char *
st_folder(void)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(st_root, sizeof st_root, "%s/fg-store-XXXXXX",
	    tmp && *tmp ? tmp : "/tmp");
	if (!mkdtemp(st_root)) {
		perror(st_root);
		exit(99);
	}
	return st_root;
}

static inline void
st_cleanup(void)
{
	if (st_run("rm -rf '%s'", st_root) != 0)
		printf("# could not remove %s\n", st_root);
}

/* A generated layer; returns its id. */
static inline uint32_t
st_add_layer(struct fg_store *s, const char *name)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_layer_row r = {
	    .name = (char *)name,
	    .kind = (char *)"segmentation",
	    .info = (char *)ST_INFO,
	    .recipe = (char *)"{\"network\":\"ffn\",\"seed\":1}",
	    .grid = (char *)"{\"block\":[128,128,128]}",
	};

	if (fg_store_layer_add(s, &r, &err) < 0) {
		printf("# layer %s: %s\n", name, err.msg);
		return 0;
	}
	return r.layer;
}

static inline struct fg_key
st_key(uint32_t layer, int kind, int scale, int64_t x, int64_t y, int64_t z)
{
	int64_t p[3] = {x, y, z};

	return (
	    struct fg_key){layer, (uint8_t)kind, (uint8_t)scale, fg_morton_encode(p)};
}

/* The bytes that belong to a key: length and contents follow from it and `salt`. */
static inline struct fg_buf *
st_bytes(const struct fg_key *k, uint32_t part, unsigned salt)
{
	uint64_t x = k->at * 6364136223846793005u + k->kind * 1442695040888963407u +
		     k->scale * 977u + part * 31u + salt * 7919u + 1;
	size_t n = 100 + (size_t)(x >> 33) % 3000;
	struct fg_buf *b = fg_buf_new(n);

	for (size_t i = 0; i < n; i++) {
		x = x * 6364136223846793005u + 1442695040888963407u;
		b->data[i] = (uint8_t)(x >> 56);
	}
	return b;
}

/* Where an object began, from its id alone; of every third that is not known. */
static inline bool
st_seed(uint64_t id, int64_t vx[3])
{
	for (int d = 0; d < 3; d++)
		vx[d] = (int64_t)(id >> 7 * d & 0x7f) - 20;
	return (id >> 20 ^ id) % 3 != 0;
}

/* A result of block (x, y, z), 2 x 2 x 2 chunks of which the last is EMPTY, a face
 * artefact of two parts, and two objects. Free with st_result_free. */
static inline struct fg_result *
st_block(uint32_t layer, int64_t x, int64_t y, int64_t z, unsigned salt)
{
	struct fg_result *r = fg_calloc(1, sizeof *r);
	struct fg_payload *p = fg_calloc(10, sizeof *p);
	struct fg_object_row *o = fg_calloc(2, sizeof *o);

	r->task = st_key(layer, FG_KIND_BLOCK, 0, x, y, z);
	for (int i = 0; i < 10; i++) {
		p[i].state = i == 7 ? FG_EMPTY : FG_PRESENT;
		if (i < 8) {
			p[i].key = st_key(layer, FG_KIND_CHUNK, 0, 2 * x + (i & 1),
			    2 * y + (i >> 1 & 1), 2 * z + (i >> 2));
		} else {
			p[i].key = st_key(layer, FG_KIND_FACE, 0, x, y, z);
			p[i].part = (uint32_t)i - 8;
		}
		if (i != 7)
			p[i].bytes = st_bytes(&p[i].key, p[i].part, salt);
	}
	for (int i = 0; i < 2; i++) {
		o[i] = (struct fg_object_row){
		    .id = r->task.at << 20 | (uint64_t)(i + 1),
		    .voxels = 1000u + (unsigned)i,
		    .lo = {x, y, z},
		    .hi = {x + 9, y + 9, z + 9},
		};
		o[i].seeded = st_seed(o[i].id, o[i].seed);
	}
	r->payload = p;
	r->payloads = 10;
	r->object = o;
	r->objects = 2;
	r->places = fg_calloc(10, sizeof *r->places);
	r->worker = "test";
	r->device = "cpu0";
	r->version = "0.1";
	r->started_ms = 1000;
	r->ended_ms = 2000;
	r->stats = "{\"patches\":12}";
	return r;
}

/* A result that is one coarse chunk. */
static inline struct fg_result *
st_chunk(uint32_t layer, int scale, int64_t x, int64_t y, int64_t z,
    enum fg_state state, unsigned salt)
{
	struct fg_result *r = fg_calloc(1, sizeof *r);
	struct fg_payload *p = fg_calloc(1, sizeof *p);

	r->task = p->key = st_key(layer, FG_KIND_CHUNK, scale, x, y, z);
	p->state = state;
	p->bytes = st_bytes(&p->key, 0, salt);
	r->payload = p;
	r->payloads = 1;
	r->places = fg_calloc(1, sizeof *r->places);
	return r;
}

static inline void
st_result_free(struct fg_result *r)
{
	for (size_t i = 0; i < r->payloads; i++)
		fg_buf_unref(r->payload[i].bytes);
	free((void *)r->payload);
	free((void *)r->object);
	free(r->places);
	free(r);
}

/* Block number n of ST_BLOCKS, in some order. */
static inline struct fg_result *
st_block_n(uint32_t layer, int n, unsigned salt)
{
	return st_block(layer, n >> 4, n & 3, n >> 2 & 3, salt);
}

static inline int
st_commit_one(struct fg_store *s, struct fg_result *r, struct fg_err *err)
{
	int rc = fg_commit(s, &r, 1, err);

	st_result_free(r);
	return rc;
}

/* 1: there and right; 0: absent; -1: wrong or unreadable (said). */
static inline int
st_check(struct fg_store *s, struct fg_reader *rd, const struct fg_key *k,
    uint32_t part, unsigned salt)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_buf *got = NULL, *want;
	struct fg_place p;
	int rc = -1;

	if (fg_reader_part(rd, k, part, &p, &err) < 0) {
		printf("# find: %s\n", err.msg);
		return -1;
	}
	if (p.state == FG_ABSENT)
		return 0;
	if (p.state == FG_EMPTY)
		return 1;
	if (fg_store_read(s, &p, false, &got, &err) < 0) {
		printf("# read: %s: %s\n", fg_code_name(err.code), err.msg);
		return -1;
	}
	want = st_bytes(k, part, salt);
	if (got->len == want->len && memcmp(got->data, want->data, got->len) == 0)
		rc = 1;
	else
		printf("# kind %d at %llu: wrong bytes\n", k->kind,
		    (unsigned long long)k->at);
	fg_buf_unref(want);
	fg_buf_unref(got);
	return rc;
}

/* As st_check for a whole block: 1 only if all of it is there and right, 0 only if
 * nothing of it is there. */
static inline int
st_check_block(struct fg_store *s, struct fg_reader *rd, uint32_t layer, int64_t x,
    int64_t y, int64_t z, unsigned salt)
{
	struct fg_result *r = st_block(layer, x, y, z, salt);
	struct fg_err err = FG_ERR_INIT;
	struct fg_block_row row;
	int there = 0, bad = 0;

	for (size_t i = 0; i < r->payloads; i++) {
		int k = st_check(s, rd, &r->payload[i].key, r->payload[i].part, salt);

		there += k == 1;
		bad += k < 0;
	}
	if (fg_reader_block(rd, layer, r->task.at, &row, &err) < 0)
		bad++;
	else if ((row.state == FG_BLOCK_DONE) != (there == 10))
		bad++;
	st_result_free(r);
	if (bad || (there != 0 && there != 10)) {
		printf("# block %lld,%lld,%lld: %d of 10 there, %d bad\n", (long long)x,
		    (long long)y, (long long)z, there, bad);
		return -1;
	}
	return there == 10;
}

static inline int
st_check_block_n(struct fg_store *s, struct fg_reader *rd, uint32_t layer, int n,
    unsigned salt)
{
	return st_check_block(s, rd, layer, n >> 4, n & 3, n >> 2 & 3, salt);
}

/* Open or give up: nothing makes sense without it. */
static inline struct fg_store *
st_open_with(enum fg_store_mode mode, const struct fg_store_options *opt)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_store *s = fg_store_open(st_root, mode, opt, &err);

	if (!s) {
		printf("Bail out! %s\n", err.msg);
		exit(1);
	}
	return s;
}

static inline struct fg_store *
st_open(enum fg_store_mode mode)
{
	return st_open_with(mode, &st_opt);
}

static inline struct fg_reader *
st_reader(struct fg_store *s)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_reader *r = fg_reader_open(s, &err);

	if (!r) {
		printf("Bail out! %s\n", err.msg);
		exit(1);
	}
	return r;
}

/* Collects what verify and its like tell; ctx is st_said. */
static inline void
st_show(void *ctx, bool is_error, const char *text)
{
	char *all = ctx;

	printf("# %s: %s\n", is_error ? "error" : "warning", text);
	if (all && strlen(all) + strlen(text) + 2 < 4096) {
		strcat(all, text);
		strcat(all, "\n");
	}
}

static char st_said[4096]; /* what the last verify, repair or reindex told */

/* Errors that verify finds, -1 if it fails itself. */
static inline int
st_verify(const char *root)
{
	struct fg_verify_stats stats;
	struct fg_err err = FG_ERR_INIT;

	*st_said = '\0';
	if (fg_store_verify(root, &st_opt, st_show, NULL, st_said, &stats, &err) < 0) {
		printf("# verify: %s\n", err.msg);
		return -1;
	}
	return (int)stats.errors;
}

/* The only file of that ending in slabs/, or the given one. */
/* The index, which nobody has open, as schema 3 had it. */
static inline void
st_make_older(void)
{
	char path[600];
	sqlite3 *db;

	snprintf(path, sizeof path, "%s/index.sqlite", st_root);
	tap_ok(sqlite3_open(path, &db) == SQLITE_OK &&
		   sqlite3_exec(db,
		       "ALTER TABLE objects DROP COLUMN seed;"
		       "UPDATE meta SET value = 3 WHERE key = 'schema'",
		       NULL, NULL, NULL) == SQLITE_OK,
	    "an older index");
	sqlite3_close(db);
}

static inline char *
st_slab(int n)
{
	static char path[512];

	snprintf(path, sizeof path, "%s/slabs/%06d.slab", st_root, n);
	return path;
}

static inline long long
st_size(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 ? (long long)st.st_size : -1;
}

/* The public id of an object's component; 0, and a line, where it cannot be told. */
static inline uint64_t
st_public(struct fg_store *s, uint32_t layer, uint64_t id)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_reader *r = st_reader(s);
	uint64_t out = 0;

	if (fg_reader_public(r, layer, &id, 1, &out, &err) < 0)
		printf("# %s\n", err.msg);
	fg_reader_close(r);
	return out;
}

#endif
