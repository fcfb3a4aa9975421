/* SPDX-License-Identifier: Apache-2.0 */
/* The committer: groups, order, a bad result among good ones, ending with work queued.
 */
#include "config.h"

#include <pthread.h>

#include "base/log.h"
#include "tests/work/work_test.h"
#include "work/commit.h"

#define ITEMS 200

static struct fg_store *store;
static pthread_mutex_t writer = PTHREAD_MUTEX_INITIALIZER;

/* One item: a chunk of its own. */
struct piece {
	struct fg_commit_item item; /* first: done is given its address */
	struct fg_result result;
	struct fg_payload payload;
	struct fg_place place;
	int done, rc, nth;
	enum fg_code code;
};

static struct piece piece[ITEMS];
static int order;         /* touched by the committer's thread alone until it ends */
static _Atomic int ended; /* done calls so far */

static void
on_done(struct fg_commit_item *item, int rc, const struct fg_err *err)
{
	struct piece *p = (struct piece *)item;

	p->done++;
	p->rc = rc;
	p->nth = order++;
	p->code = rc < 0 ? err->code : FG_OK;
	ended++;
}

static void
fill(struct piece *p, uint32_t layer, uint64_t at)
{
	*p = (struct piece){.item = {.done = on_done, .bytes = 8}};
	p->payload = (struct fg_payload){
	    .key = {.layer = layer, .kind = FG_KIND_CHUNK, .at = at},
	    .state = FG_PRESENT,
	    .bytes = fg_buf_copy(&at, sizeof at),
	};
	p->result = (struct fg_result){
	    .task = {.layer = layer, .kind = FG_KIND_BLOCK, .at = at},
	    .payload = &p->payload,
	    .payloads = 1,
	    .places = &p->place,
	};
	p->item.result = &p->result;
}

static uint32_t
add_layer(void)
{
	static const char info[] =
	    "{\"@type\":\"neuroglancer_multiscale_volume\",\"type\":\"segmentation\","
	    "\"data_type\":\"uint64\",\"num_channels\":1,\"scales\":[{\"key\":\"s\","
	    "\"resolution\":[1,1,1],\"size\":[512,512,512],\"chunk_sizes\":[[8,8,8]],"
	    "\"encoding\":\"raw\"}]}";
	struct fg_layer_row row = {.name = fg_strdup("seg"),
	    .kind = fg_strdup("segmentation"),
	    .info = fg_strdup(info),
	    .recipe = fg_strdup("{}")};
	struct fg_err err = FG_ERR_INIT;
	uint32_t id;

	if (!tap_rc(fg_store_layer_add(store, &row, &err), &err, "add a layer"))
		exit(1);
	id = row.layer;
	fg_layer_row_fini(&row);
	return id;
}

static void
test_groups(uint32_t layer)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_committer *c = fg_committer_new(store, &writer, &err);
	struct fg_committer_stats st;
	struct fg_reader *r = fg_reader_open(store, &err);
	int good = 0, sorted = 0, there = 0;
	struct fg_place place;

	/* While the writer lock is held elsewhere everything queues up. */
	pthread_mutex_lock(&writer);
	for (int i = 0; i < ITEMS; i++) {
		fill(&piece[i], i == 77 ? layer + 1000 : layer, (uint64_t)i);
		fg_committer_put(c, &piece[i].item);
	}
	pthread_mutex_unlock(&writer);
	while (ended < ITEMS)
		sched_yield();
	fg_committer_get_stats(c, &st);
	fg_committer_free(c);
	for (int i = 0; i < ITEMS; i++) {
		good += piece[i].done == 1 && piece[i].rc == 0;
		sorted += piece[i].nth == i;
		if (fg_reader_find(r, &piece[i].payload.key, &place, &err) == 0)
			there += place.state == FG_PRESENT &&
				 place.off == piece[i].place.off;
		fg_buf_unref(piece[i].payload.bytes);
	}
	tap_int(good, ITEMS - 1, "all but one are committed");
	tap_ok(piece[77].rc < 0 && piece[77].code == FG_ENOENT,
	    "the one of a layer that is not there fails alone");
	tap_int(there, ITEMS - 1, "they are in the index, at the places told");
	tap_int(sorted, ITEMS, "in the order in which they came");
	tap_ok(st.results == ITEMS && st.commits >= 4 && st.commits <= 10,
	    "in groups of up to 64: %d groups", (int)st.commits);
	fg_reader_close(r);
}

static void
test_end(uint32_t layer)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_committer *c = fg_committer_new(store, &writer, &err);
	int good = 0;

	for (int i = 0; i < 10; i++) {
		fill(&piece[i], layer, (uint64_t)(1000 + i));
		fg_committer_put(c, &piece[i].item);
	}
	fg_committer_free(c);
	for (int i = 0; i < 10; i++) {
		good += piece[i].done == 1 && piece[i].rc == 0;
		fg_buf_unref(piece[i].payload.bytes);
	}
	tap_int(good, 10, "what is queued at the end is committed");
	fg_committer_free(NULL);
}

int
main(void)
{
	char *root = wt_folder();

	fg_log_setup(FG_LOG_ERROR, FG_LOG_TEXT);
	store = wt_store(root);
	uint32_t layer = add_layer();
	test_groups(layer);
	test_end(layer);
	fg_store_close(store);
	wt_remove(root);
	return tap_done();
}
