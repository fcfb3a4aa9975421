/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Readers, verify and backup beside a writer; and an index of 10^5 rows.
 */
#include "config.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "base/log.h"
#include "tests/store/store_test.h"

#define READERS 4
#define BLOCKS 150

static struct fg_store *store;
static atomic_int committed; /* blocks 0..committed-1 are acknowledged */
static atomic_bool over;
static atomic_int faults;
static atomic_long reads;

/* Random blocks: acknowledged ones must be there, all must be right. */
static void *
read_blocks(void *arg)
{
	struct fg_reader *rd = st_reader(store);
	unsigned seed = (unsigned)(size_t)arg;
	long done = 0;

	while (!over) {
		int acked = committed;
		int n = rand_r(&seed) % (acked + 2);
		struct fg_key k = st_key(1, FG_KIND_CHUNK, 0, 2 * (n >> 4),
		    2 * (n & 3) + 1, 2 * (n >> 2 & 3));
		int got = n < BLOCKS ? st_check(store, rd, &k, 0, 5) : 0;

		if (got < 0 || (n < acked && got != 1))
			faults++;
		done++;
	}
	reads += done;
	fg_reader_close(rd);
	return NULL;
}

static void *
verify_often(void *arg)
{
	int *times = arg;

	while (!over) {
		if (st_verify(st_root) != 0)
			faults++;
		++*times;
	}
	return NULL;
}

static void
test_concurrent(void)
{
	struct fg_store_options opt = {.min_free = 1e-9, .slab_max = 300000};
	struct fg_err err = FG_ERR_INIT;
	pthread_t reader[READERS], verifier;
	int rc = 0, verified = 0;
	char dest[300];

	st_folder();
	store = st_open_with(FG_STORE_CREATE, &opt);
	tap_int(st_add_layer(store, "seg"), 1, "a layer");
	for (size_t i = 0; i < READERS; i++)
		pthread_create(&reader[i], NULL, read_blocks, (void *)(i + 1));
	pthread_create(&verifier, NULL, verify_often, &verified);
	for (int n = 0; n < BLOCKS && rc == 0; n += 3) {
		struct fg_result *r[3];

		for (int i = 0; i < 3; i++)
			r[i] = st_block_n(1, n + i, 5);
		rc = fg_commit(store, r, 3, &err);
		for (int i = 0; i < 3; i++)
			st_result_free(r[i]);
		committed = n + 3;
		if (n == 75) {
			snprintf(dest, sizeof dest, "%.200s/copy", st_root);
			tap_rc(fg_store_backup(st_root, &opt, dest, &err), &err,
			    "backup in the middle");
		}
	}
	over = true;
	for (size_t i = 0; i < READERS; i++)
		pthread_join(reader[i], NULL);
	pthread_join(verifier, NULL);
	tap_rc(rc, &err, "150 blocks are committed meanwhile");
	tap_int(faults, 0, "no reader saw anything wrong, no verify a false error");
	tap_ok(verified >= 1 && reads >= 100, "%ld reads, %d verifies", (long)reads,
	    verified);
	fg_store_close(store);
	tap_int(st_verify(dest), 0, "the backup is sound");
	st_cleanup();
}

/* ------------------------------------------------------------- 10^5 rows */

#define BIG_INFO                                                                       \
	"{\"type\":\"segmentation\",\"data_type\":\"uint64\",\"num_channels\":1,"      \
	"\"scales\":[{\"key\":\"8_8_8\",\"resolution\":[8,8,8],"                       \
	"\"size\":[4096,4096,4096],\"chunk_sizes\":[[64,64,64]],\"encoding\":\"raw\"}" \
	"]}"
#define SIDE 47 /* cubed: 103,823 */

static struct fg_result *
make_slice(int z)
{
	struct fg_result *r = fg_calloc(1, sizeof *r);
	struct fg_payload *p = fg_calloc(SIDE * SIDE, sizeof *p);

	for (int i = 0; i < SIDE * SIDE; i++) {
		p[i].key = st_key(1, FG_KIND_CHUNK, 0, i % SIDE, i / SIDE, z);
		p[i].state = (i + z) % 3 ? FG_PRESENT : FG_EMPTY;
		if (p[i].state == FG_PRESENT)
			p[i].bytes = fg_buf_copy(&p[i].key.at, 8);
	}
	r->task = st_key(1, FG_KIND_BLOCK, 0, 0, 0, z);
	r->payload = p;
	r->payloads = SIDE * SIDE;
	r->places = fg_calloc(SIDE * SIDE, sizeof *r->places);
	return r;
}

static void
test_many_rows(void)
{
	struct fg_layer_row row = {
	    .name = (char *)"big",
	    .kind = (char *)"segmentation",
	    .info = (char *)BIG_INFO,
	    .recipe = (char *)"{}",
	};
	struct fg_err err = FG_ERR_INIT;
	struct fg_store_counts c;
	struct fg_store *s;
	struct fg_reader *rd;
	unsigned seed = 1;
	int bad = 0, rc = 0;
	int64_t t;

	st_folder();
	s = st_open(FG_STORE_CREATE);
	tap_rc(fg_store_layer_add(s, &row, &err), &err, "a layer");
	t = fg_clock_ns();
	for (int z = 0; z < SIDE && rc == 0; z++)
		rc = st_commit_one(s, make_slice(z), &err);
	tap_rc(rc, &err, "10^5 chunks are committed");
	printf("# %.0f rows/s\n",
	    SIDE * SIDE * SIDE * 1e9 / (double)(fg_clock_ns() - t));
	rd = st_reader(s);
	tap_rc(fg_reader_count(rd, 1, &c, &err), &err, "counts");
	tap_int(c.chunks + c.empty, SIDE * SIDE * SIDE, "all of them");
	t = fg_clock_ns();
	for (int i = 0; i < 20000; i++) {
		int x = rand_r(&seed) % SIDE, y = rand_r(&seed) % SIDE,
		    z = rand_r(&seed) % (SIDE + 1);
		struct fg_key k = st_key(1, FG_KIND_CHUNK, 0, x, y, z);
		struct fg_place p;
		struct fg_buf *b = NULL;
		bool empty = (x + y * SIDE + z) % 3 == 0;
		int want = z == SIDE ? FG_ABSENT : empty ? FG_EMPTY : FG_PRESENT;

		if (fg_reader_find(rd, &k, &p, &err) < 0 || (int)p.state != want) {
			bad++;
			continue;
		}
		if (want != FG_PRESENT)
			continue;
		if (fg_store_read(s, &p, false, &b, &err) < 0 || b->len != 8 ||
		    fg_get_u64le(b->data) != k.at)
			bad++;
		fg_buf_unref(b);
	}
	tap_int(bad, 0, "20,000 random ones are found and right");
	printf("# %.2f us a lookup with its read\n",
	    (double)(fg_clock_ns() - t) / 20000e3);
	fg_reader_close(rd);
	fg_store_close(s);
	tap_int(st_verify(st_root), 0, "verify is content");
	tap_rc(fg_store_reindex(st_root, &st_opt, NULL, NULL, NULL, NULL, &err), &err,
	    "reindex");
	s = st_open(FG_STORE_READ);
	rd = st_reader(s);
	tap_rc(fg_reader_count(rd, 1, &c, &err), &err, "counts");
	tap_int(c.chunks + c.empty, SIDE * SIDE * SIDE, "all of them again");
	fg_reader_close(rd);
	fg_store_close(s);
	st_cleanup();
}

int
main(void)
{
	fg_log_setup(FG_LOG_ERROR, FG_LOG_TEXT);
	test_concurrent();
	test_many_rows();
	return tap_done();
}
