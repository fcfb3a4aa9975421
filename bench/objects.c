/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What objects of many blocks cost in the index:
 *
 *   bench/objects N
 *
 * Time and size of the index for N blocks of 20 made-up objects that are joined in a
 * chain along x, in descending order of blocks, and the time of a look-up.
 */
#include "config.h"

#include <sys/stat.h>
#include <unistd.h>

#include "base/morton.h"
#include "bench/floods.h"
#include "store/object.h"

#define EACH 20  /* objects of a block */
#define ROW 64   /* blocks of a row along x */
#define GROUP 32 /* blocks of a commit, as under load */

static uint64_t
made_up_id(int64_t blk, int k)
{
	return (uint64_t)blk << 20 | (uint64_t)(k + 1);
}

/* What one commit holds. */
struct made_up {
	struct fg_object_row o[GROUP][EACH];
	struct fg_merge m[GROUP][EACH];
	struct fg_payload done[GROUP];
	struct fg_place place[GROUP];
	struct fg_result res[2 * GROUP];
	struct fg_result *list[2 * GROUP];
};

/* Block i and its stitching, as results 2 k and 2 k + 1. */
static void
make_up(struct made_up *v, int k, uint32_t layer, int64_t i, int64_t blocks)
{
	const int64_t p[3] = {i % ROW, i / ROW % ROW, i / ROW / ROW};
	struct fg_key key = {.layer = layer,
	    .kind = FG_KIND_BLOCK,
	    .at = fg_morton_encode(p)};
	struct fg_result *block = &v->res[2 * k], *stitch = &v->res[2 * k + 1];

	*block = (struct fg_result){.task = key, .object = v->o[k], .objects = EACH};
	key.kind = FG_KIND_STITCH;
	v->done[k] = (struct fg_payload){.key = key, .state = FG_EMPTY};
	*stitch = (struct fg_result){.task = key,
	    .payload = &v->done[k],
	    .payloads = 1,
	    .places = &v->place[k],
	    .merge = v->m[k]};
	for (int n = 0; n < EACH; n++) {
		v->o[k][n] =
		    (struct fg_object_row){.id = made_up_id(i, n), .voxels = 1000};
		if (i % ROW < ROW - 1 && i + 1 < blocks)
			v->m[k][stitch->merges++] = (struct fg_merge){made_up_id(i, n),
			    made_up_id(i + 1, n), 500, 10, 10, true};
	}
	v->list[2 * k] = block;
	v->list[2 * k + 1] = stitch;
}

static void
fill(struct fg_store *s, uint32_t layer, long blocks)
{
	struct made_up *v = fg_calloc(1, sizeof *v);
	struct fg_err err = FG_ERR_INIT;
	int k = 0;

	for (long i = blocks - 1; i >= 0; i--) {
		make_up(v, k++, layer, i, blocks);
		if (k < GROUP && i > 0)
			continue;
		if (fg_commit(s, v->list, 2 * (size_t)k, &err) < 0)
			die("commit", &err);
		k = 0;
	}
	free(v);
}

static double
processor_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void
run_objects(long blocks)
{
	char root[] = "/tmp/fg-bench-XXXXXX", *path;
	struct fg_store_options opt = {.min_free = 1e-9};
	struct fg_layer_row row = {.name = (char *)"seg",
	    .kind = (char *)"segmentation",
	    .info = (char *)"{}",
	    .recipe = (char *)"{}"};
	struct fg_err err = FG_ERR_INIT;
	struct fg_store *s;
	struct fg_reader *r;
	struct stat st;
	int64_t t0;
	double cpu;

	fg_assert(mkdtemp(root));
	s = fg_store_open(root, FG_STORE_CREATE, &opt, &err);
	if (!s || fg_store_layer_add(s, &row, &err) < 0)
		die(root, &err);
	t0 = fg_clock_ns();
	cpu = processor_s();
	fill(s, row.layer, blocks);
	cpu = processor_s() - cpu;
	printf("%ld blocks of %d objects: %.1f s, %.3f ms of processor time a block\n",
	    blocks, EACH, (double)(fg_clock_ns() - t0) / 1e9,
	    1e3 * cpu / (double)blocks);
	r = fg_reader_open(s, &err);
	if (!r)
		die(root, &err);
	cpu = processor_s();
	for (long i = 0; i < 100000; i++) {
		long blk = i * 7919 % blocks;
		uint64_t id = made_up_id(blk, (int)(i % EACH)), pub = 0;

		if (fg_reader_public(r, row.layer, &id, 1, &pub, &err) < 0 ||
		    pub != made_up_id(blk / ROW * ROW, (int)(i % EACH)))
			die("look-up", &err);
	}
	printf("a look-up %.2f us of processor time\n",
	    1e6 * (processor_s() - cpu) / 100000);
	fg_reader_close(r);
	fg_store_close(s);
	path = fg_asprintf("%s/index.sqlite", root);
	if (stat(path, &st) == 0)
		printf("index %.1f MB, %.0f bytes an object\n",
		    (double)st.st_size / 1e6,
		    (double)st.st_size / (double)(blocks * EACH));
	free(path);
	path = fg_asprintf("rm -rf '%s'", root);
	if (system(path) != 0)
		fprintf(stderr, "%s is left\n", root);
	free(path);
}

int
main(int argc, char **argv)
{
	long blocks = argc == 2 ? atol(argv[1]) : 0;

	if (blocks < 1) {
		fprintf(stderr, "usage: objects BLOCKS\n");
		return 2;
	}
	run_objects(blocks);
	return 0;
}
