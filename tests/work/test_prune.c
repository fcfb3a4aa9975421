/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pass of pruning by itself: what goes and what stays when a task is at work, a
 * removal fails, bytes are damaged, an id is part of another object's, or the layer is
 * removed meanwhile.
 */
#include "config.h"

#include "base/log.h"
#include "tests/store/store_test.h"
#include "work/prune.h"

#define ONE UINT64_C(1) /* the first objects of blocks 0,0,0 and 1,0,0 */
#define TWO UINT64_C(2)
#define FAR (UINT64_C(1) << 20 | 1)
#define EPOCHS 1500

static struct fg_err err;

static struct {
	struct fg_store *store;
	struct fg_layer layer;
	struct fg_reader *reader;
	bool busy;
	int drop_fails;          /* at this call, from 1 on; 0: never */
	enum fg_code read_fails; /* FG_OK: does not */
	struct fg_place damaged; /* reading this one */
	int puts, drops;
} w;

static void
must(int rc, const char *what)
{
	if (rc == 0)
		return;
	printf("Bail out! %s: %s\n", what, err.msg);
	exit(1);
}

/* ------------------------------------------------------------- callbacks */

static int
put(void *ctx, struct fg_result *res, size_t bytes, struct fg_err *e)
{
	(void)ctx;
	(void)bytes;
	w.puts++;
	return fg_commit(w.store, &res, 1, e);
}

static int
drop(void *ctx, const struct fg_row_name *rows, size_t n, uint64_t *dropped,
    uint64_t *bytes, struct fg_err *e)
{
	(void)ctx;
	if (++w.drops == w.drop_fails)
		return fg_fail(e, FG_EIO, "made to fail");
	return fg_store_drop(w.store, rows, n, dropped, bytes, e);
}

static int
read_bytes(void *ctx, const struct fg_place *place, struct fg_buf **out,
    struct fg_err *e)
{
	(void)ctx;
	if (w.read_fails != FG_OK && place->slab == w.damaged.slab &&
	    place->off == w.damaged.off)
		return fg_fail(e, w.read_fails, "made to fail");
	return fg_store_read(w.store, place, false, out, e);
}

static bool
busy(void *ctx, uint32_t layer, enum fg_kind kind, uint64_t id)
{
	(void)ctx;
	(void)layer;
	(void)kind;
	(void)id;
	return w.busy;
}

/* ------------------------------------------------------------- a world */

static void
begin(void)
{
	memset(&w, 0, sizeof w);
	st_folder();
	w.store = st_open(FG_STORE_CREATE);
	w.layer.id = st_add_layer(w.store, "seg");
	w.layer.name = (char *)"seg.agg";
	w.layer.agglomerated = true;
	must(st_commit_one(w.store, st_block(w.layer.id, 0, 0, 0, 1), &err), "a block");
	must(st_commit_one(w.store, st_block(w.layer.id, 1, 0, 0, 1), &err), "a block");
	w.reader = st_reader(w.store);
}

static void
end(void)
{
	fg_reader_close(w.reader);
	fg_store_close(w.store);
	st_cleanup();
}

static struct fg_key
key(enum fg_product product, uint64_t id)
{
	return fg_artefact_key(&w.layer, FG_KIND_MESH, product, id);
}

static void
commit(struct fg_output *out)
{
	struct fg_result *r = &out->result;

	fg_output_seal(out);
	r->task = out->payload[0].key;
	r->started_ms = r->ended_ms = 1000;
	must(fg_commit(w.store, &r, 1, &err), "a result");
	fg_output_fini(out);
}

/* A mesh of two pieces, of which the second is as it was in the first generation. */
static void
mesh(uint64_t id, int64_t gen)
{
	struct fg_piece piece[2] = {{.at = 0, .gen = gen, .bytes = 9},
	    {.at = 1, .gen = 1, .bytes = 9}};
	struct fg_output out = {0};

	fg_output_put(&out, &(struct fg_payload){.key = key(FG_PRODUCT_TABLE, id),
				.gen = gen,
				.state = FG_PRESENT,
				.bytes = fg_pieces_encode(piece, 2)});
	for (size_t i = 0; i < (gen == 1 ? 2 : 1); i++)
		fg_output_put(&out,
		    &(struct fg_payload){.key = key(FG_PRODUCT_PIECE, id),
			.part = piece[i].at,
			.gen = gen,
			.state = FG_PRESENT,
			.bytes = fg_buf_copy("\0\0\0\0fffff", 9)});
	commit(&out);
}

/* Rows of an object in one digit each: tables, pieces, notes that it has gone. */
static int
rows(uint64_t id)
{
	static const enum fg_product product[] = {FG_PRODUCT_TABLE, FG_PRODUCT_PIECE,
	    FG_PRODUCT_GONE};
	int all = 0;

	for (size_t i = 0; i < FG_COUNTOF(product); i++) {
		struct fg_key k = key(product[i], id);
		struct fg_row *row;
		size_t n;

		must(fg_reader_rows_of(w.reader, &k, NULL, 10, &row, &n, &err), "rows");
		free(row);
		all = 10 * all + (int)n;
	}
	return all;
}

static int
pass_to(int64_t run, bool sweep, bool *again)
{
	struct fg_prune p = {.layer = &w.layer,
	    .reader = w.reader,
	    .run = run,
	    .sweep = sweep,
	    .worker = "test",
	    .put = put,
	    .drop = drop,
	    .read = read_bytes,
	    .busy = busy};
	int rc = fg_prune_layer(&p, &err);

	w.puts = rc < 0 ? w.puts : 0;
	w.drops = 0;
	*again = p.again;
	return rc;
}

/* A pass to which all that there is has been there for long. */
static int
pass(bool sweep, bool *again)
{
	return pass_to(INT64_MAX, sweep, again);
}

static int64_t
join(void)
{
	struct fg_edit e = {.kind = FG_EDIT_JOIN, .a = ONE, .b = FAR};

	must(fg_store_edit(w.store, w.layer.id, &e, 1, NULL, &err), "a join");
	return e.edit;
}

/* ------------------------------------------------------------- tests */

static void
test_busy(void)
{
	bool again;

	begin();
	mesh(ONE, 1);
	mesh(ONE, 2);
	must(pass_to(0, true, &again), "a pass");
	tap_int(rows(ONE), 230, "what is new stays");
	tap_ok(!again, "with nothing put off");
	w.busy = true;
	must(pass(false, &again), "a pass");
	tap_int(rows(ONE), 130, "while a task runs only the old table goes");
	tap_ok(again, "the pieces are put off");
	must(pass(true, &again), "a pass");
	tap_ok(rows(ONE) == 130 && again, "as long as it runs");
	w.busy = false;
	must(pass(false, &again), "a pass");
	tap_int(rows(ONE), 130, "without a sweep nobody looks at pieces");
	must(pass(true, &again), "a pass");
	tap_int(rows(ONE), 120, "with it what no table names goes");
	tap_ok(!again, "and nothing is left to do");
	end();
}

static void
test_failing(void)
{
	for (int at = 1; at <= 2; at++) {
		bool again;

		begin();
		mesh(ONE, 1);
		mesh(ONE, 2);
		mesh(TWO, 1);
		mesh(TWO, 2);
		w.drop_fails = at;
		tap_fails(pass(false, &again), &err, FG_EIO, "made to fail",
		    "a removal that fails");
		tap_ok(again, "the next pass is to sweep");
		tap_int(rows(ONE), at == 1 ? 230 : 130, "what was done stays done");
		w.drop_fails = 0;
		must(pass(again, &again), "a pass");
		tap_ok(rows(ONE) == 120 && rows(TWO) == 120 && !again, "it ends it");
		end();
	}
}

static void
test_damaged(void)
{
	static const enum fg_code code[] = {FG_ECORRUPT, FG_EIO};

	for (size_t i = 0; i < FG_COUNTOF(code); i++) {
		struct fg_key k;
		bool again;

		begin();
		mesh(ONE, 1);
		mesh(ONE, 2);
		mesh(TWO, 1);
		mesh(TWO, 2);
		k = key(FG_PRODUCT_TABLE, ONE);
		must(fg_reader_gen(w.reader, &k, 0, 2, &w.damaged, &err), "a table");
		w.read_fails = code[i];
		tap_rc(pass(false, &again), &err, "a pass over a damaged table");
		tap_int(rows(ONE), 130, "what it may name stays");
		tap_int(rows(TWO), 120, "names behind it have their turn");
		tap_ok(again, "it is tried again");
		w.read_fails = FG_OK;
		must(pass(again, &again), "a pass");
		tap_ok(rows(ONE) == 120 && !again, "once it can be read the rest goes");
		end();
	}
}

static void
test_alias(void)
{
	int64_t run, edit;
	bool again;

	begin();
	mesh(FAR, 1);
	edit = join();
	must(fg_reader_run_by(w.reader, INT64_MAX, &run, &err), "a run");
	must(pass_to(run, true, &again), "a pass");
	tap_int(rows(FAR), 121, "an id that is part of another object is noted");
	must(pass_to(run, true, &again), "a pass");
	tap_int(rows(FAR), 121, "what it had stays for a while");

	must(fg_store_edit_undo(w.store, w.layer.id, &edit, 1, NULL, &err), "a cut");
	must(pass(true, &again), "a pass");
	tap_int(rows(FAR), 120, "public again: all stays, and the note goes");
	join();
	must(pass(true, &again), "a pass");
	tap_int(rows(FAR), 121, "joined again: it is noted anew");
	must(pass(true, &again), "a pass");
	tap_int(rows(FAR), 1, "in the end all of it goes");
	end();
}

static void
test_removed(void)
{
	bool again;

	begin();
	mesh(ONE, 1);
	mesh(ONE, 2);
	mesh(FAR, 1);
	join();
	w.layer.removed = true;
	tap_fails(pass(true, &again), &err, FG_ECANCELED, "cancelled",
	    "a layer that is removed");
	tap_ok(w.puts == 0 && rows(ONE) == 230 && rows(FAR) == 120,
	    "takes no notes and loses no rows");
	end();
}

static void
test_epochs(void)
{
	struct fg_output out = {0};
	struct fg_key k;
	struct fg_row *row;
	int64_t horizon;
	size_t n;
	bool again;

	begin();
	fg_output_put(&out, &(struct fg_payload){.key = key(FG_PRODUCT_PIN, ONE),
				.part = 1,
				.state = FG_PRESENT,
				.bytes = fg_buf_copy("\1\0\0\0\0\0\0\0", 8)});
	for (uint64_t i = 1; i <= EPOCHS; i++)
		fg_output_put(&out,
		    &(struct fg_payload){.key = key(FG_PRODUCT_EPOCH, 0),
			.part = i,
			.state = FG_EMPTY});
	commit(&out);
	must(pass(false, &again), "a pass");
	must(fg_artefact_horizon(w.reader, &w.layer, &horizon, &err), "the horizon");
	tap_int((int)horizon, EPOCHS, "the newest of many notes is the horizon");
	k = key(FG_PRODUCT_EPOCH, 0);
	must(fg_reader_rows_of(w.reader, &k, NULL, 9999, &row, &n, &err), "notes");
	tap_ok(n == 1 && row[0].part == EPOCHS, "the other ones have gone");
	free(row);
	end();
}

int
main(void)
{
	fg_log_setup(FG_LOG_ERROR, FG_LOG_TEXT);
	test_busy();
	test_failing();
	test_damaged();
	test_alias();
	test_removed();
	test_epochs();
	return tap_done();
}
