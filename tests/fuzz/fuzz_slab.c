/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slabs. Byte 0: 0 as they are, else with the checksums put right, so that changed
 * records are taken for whole ones; then the slab. What the scanner finds goes all the
 * way into an index, as after a crash.
 */
#include "config.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/hash.h"
#include "store/record.h"
#include "store/store_impl.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

/* The store that the corpus comes from. */
static const uint8_t store_uuid[16] = "fuzzed store 001";

/* Make every header at a multiple of 8 right, and the sum of its body if it is there.
 */
static void
reseal(uint8_t *p, size_t n)
{
	for (size_t off = 0; off + FG_SLAB_HEAD <= n; off += 8) {
		uint8_t *h = p + off;
		uint64_t len;

		if (memcmp(h, "FGslab\r\n", 8) != 0)
			continue;
		fg_put_u32le(h + 12, 1);
		fg_put_u64le(h + 16, off);
		len = fg_get_u64le(h + 48);
		if (len <= n - off - FG_SLAB_HEAD)
			fg_put_u32le(h + 44, fg_crc32c(0, h + FG_SLAB_HEAD, len));
		fg_put_u32le(h + 8, fg_crc32c(0, h + 12, FG_SLAB_HEAD - 12));
	}
}

static int
look_at(void *ctx, const struct fg_record *r, bool whole, const char *body)
{
	uint64_t *end = ctx;
	struct fg_record_result res;
	struct fg_layer_row row;

	fg_assert(r->len <= FG_SLAB_BODY_MAX && r->off % 8 == 0);
	fg_assert(whole || !body);
	if (whole) {
		fg_assert(r->off >= *end);
		*end = r->off + fg_slab_record_size(r->len);
	}
	if (r->type == FG_REC_COMMIT && body &&
	    fg_record_commit_parse(body, r->len, 1, 1, &res, NULL) == 0) {
		/* Writing it again loses nothing. */
		char *again = fg_record_commit_format(&res.res);

		fg_assert(again != NULL);
		free(again);
		fg_record_result_fini(&res);
	}
	if (r->type == FG_REC_LAYER && body &&
	    fg_record_layer_parse(body, r->len, &row, NULL) == 0)
		fg_layer_row_fini(&row);
	return 0;
}

/* Take what came in out again: a new index for each input would cost more than all the
 * rest. */
static void
empty_index(struct fg_index *ix, struct fg_known_set *catalog)
{
	struct fg_err err = FG_ERR_INIT;

	fg_assert(fg_known_load(catalog, ix, &err) == 0);
	for (size_t i = 0; i < catalog->n; i++)
		fg_assert(fg_index_layer_remove(ix, catalog->list[i].layer, &err) == 0);
	fg_assert(fg_index_slab_forget(ix, 1, &err) == 0);
	fg_known_fini(catalog);
}

/* As after a crash. */
static void
replay(int fd, size_t n)
{
	static struct fg_index *ix;
	struct fg_err err = FG_ERR_INIT;
	struct fg_known_set catalog = {0};
	struct fg_replay r = {.catalog = &catalog, .store_uuid = store_uuid};
	struct fg_slab_row *rows;
	bool foreign;
	size_t k;

	if (!ix)
		ix = fg_index_open(":memory:", FG_INDEX_CREATE, &err);
	fg_assert(ix != NULL);
	r.ix = ix;
	if (fg_replay_slab(&r, fd, 1, "slab", 0, n, &foreign, &err) == 0 && !foreign) {
		fg_assert(fg_index_slabs(ix, &rows, &k, &err) == 0 && k == 1);
		fg_assert(rows[0].len == n && rows[0].dead <= n);
		free(rows);
	}
	free(r.removed);
	empty_index(ix, &catalog);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct fg_slab_scan stats;
	uint64_t end = 0;
	uint8_t *copy;
	int fd;

	if (n < 1)
		return 0;
	copy = malloc(n);
	fd = memfd_create("slab", MFD_CLOEXEC);
	fg_assert(copy != NULL && fd >= 0);
	memcpy(copy, p + 1, n - 1);
	if (p[0])
		reseal(copy, n - 1);
	fg_assert(write(fd, copy, n - 1) == (ssize_t)(n - 1));
	free(copy);
	fg_assert(fg_slab_scan(fd, 1, "slab", 0, n - 1, look_at, NULL, &end, &stats,
		      NULL) == 0);
	fg_assert(stats.good + stats.bad == n - 1);
	replay(fd, n - 1);
	close(fd);
	return 0;
}
