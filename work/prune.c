/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One pass of pruning over a layer: the epochs, then name by name. What is removed and
 * what stays is told in the header. Runs on a thread of its own (sched_prune.c), and
 * holds nothing between two transactions.
 */
#include "config.h"

#include "work/prune.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"

#define PAGE 1024           /* rows read at once */
#define ALL (SIZE_MAX >> 1) /* where there are few */
#define NOTES 256           /* names noted in one commit */
/* Names of a pass that are passed over for their damage; with more of it, something
 * else is wrong. */
#define DAMAGED_MAX 100

/* Rows that are to go, removed FG_DROP_MAX at a time. */
struct batch {
	struct fg_row_name row[FG_DROP_MAX];
	size_t n;
};

/* A pass. */
struct pass {
	struct fg_prune *p;
	struct batch batch;
	struct fg_output notes; /* of names of the past, not yet committed */
	int64_t horizon;
	int damaged; /* names */
};

/* What is known of one name. */
struct name {
	enum fg_kind kind;
	uint64_t id;
	int64_t below; /* generations below this one may go */
	int64_t gone;  /* all of these below it, whatever is the newest */
	bool dropped;  /* a table or a pin went in this pass */
};

/* A layer that is removed has nothing to prune any more, and takes no notes. */
static int
check_cancel(const struct fg_prune *p, struct fg_err *err)
{
	if ((p->cancel && *p->cancel) || p->layer->removed)
		return fg_fail(err, FG_ECANCELED, "cancelled");
	return 0;
}

static int
flush(struct fg_prune *p, struct batch *b, struct fg_err *err)
{
	uint64_t rows = 0, bytes = 0;

	if (b->n == 0)
		return 0;
	if (check_cancel(p, err) < 0)
		return -1;
	if (p->drop(p->ctx, b->row, b->n, &rows, &bytes, err) < 0)
		return -1;
	p->rows += rows;
	p->bytes += bytes;
	b->n = 0;
	return 0;
}

static int
drop(struct fg_prune *p, struct batch *b, const struct fg_key *key,
    const struct fg_row *row, struct fg_err *err)
{
	b->row[b->n++] = (struct fg_row_name){*key, row->part, row->gen};
	return b->n == FG_DROP_MAX ? flush(p, b, err) : 0;
}

static struct fg_key
key_of(const struct fg_prune *p, enum fg_kind kind, enum fg_product product,
    uint64_t id)
{
	return fg_artefact_key(p->layer, kind, product, id);
}

/* Commit rows without bytes. Takes over the output. */
static int
put_notes(struct fg_prune *p, struct fg_output *out, struct fg_err *err)
{
	int rc = check_cancel(p, err);

	fg_output_seal(out);
	out->result.task = out->payload[0].key;
	out->result.worker = p->worker;
	out->result.started_ms = out->result.ended_ms = fg_clock_wall_ms();
	if (rc == 0)
		rc = p->put(p->ctx, &out->result, out->bytes, err);
	fg_output_fini(out);
	return rc;
}

static int
put_note(struct fg_prune *p, const struct fg_key *key, uint64_t part, int64_t gen,
    struct fg_err *err)
{
	struct fg_output out = {0};

	fg_output_put(&out, &(struct fg_payload){.key = *key,
				.part = part,
				.gen = gen,
				.state = FG_EMPTY});
	return put_notes(p, &out, err);
}

/* ------------------------------------------------------------- epochs */

/* Whether an epoch of the layer has given anything to anybody. */
static int
has_pins(struct fg_prune *p, bool *yes, struct fg_err *err)
{
	struct fg_key key = key_of(p, FG_KIND_MESH, FG_PRODUCT_PIN, 0);
	uint64_t id;

	return fg_reader_next_id(p->reader, &key, 0, &id, yes, err);
}

/* Note the epoch of now, and let those go that one which has been there for long
 * followed. Notes that no longer matter go too. */
static int
move_horizon(struct fg_prune *p, struct batch *b, int64_t *horizon, struct fg_err *err)
{
	struct fg_key note = key_of(p, FG_KIND_MESH, FG_PRODUCT_EPOCH, 0);
	struct fg_key line = key_of(p, FG_KIND_MESH, FG_PRODUCT_HORIZON, 0);
	struct fg_row *row = NULL, *old = NULL;
	int64_t now, last = 0, reach;
	size_t n = 0, olds = 0;
	bool pins;
	int rc = -1;

	if (fg_artefact_horizon(p->reader, p->layer, horizon, err) < 0 ||
	    fg_artefact_epoch(p->reader, p->layer, &now, err) < 0 ||
	    has_pins(p, &pins, err) < 0 ||
	    fg_reader_rows_of(p->reader, &note, NULL, ALL, &row, &n, err) < 0)
		goto out;
	reach = *horizon;
	for (size_t i = 0; i < n; i++) {
		last = FG_MAX(last, (int64_t)row[i].part);
		if (row[i].run <= p->run)
			reach = FG_MAX(reach, (int64_t)row[i].part);
	}
	if (pins && last < now && put_note(p, &note, (uint64_t)now, 0, err) < 0)
		goto out;
	if (reach > *horizon && put_note(p, &line, 0, reach, err) < 0)
		goto out;
	*horizon = reach;
	for (size_t i = 0; i < n; i++) {
		if ((int64_t)row[i].part < reach && drop(p, b, &note, &row[i], err) < 0)
			goto out;
	}
	if (fg_reader_rows_of(p->reader, &line, NULL, ALL, &old, &olds, err) < 0)
		goto out;
	for (size_t i = 0; i + 1 < olds; i++) {
		if (drop(p, b, &line, &old[i], err) < 0)
			goto out;
	}
	rc = flush(p, b, err);
out:
	free(row);
	free(old);
	return rc;
}

typedef bool keep_fn(const void *ctx, const struct fg_row *row);

/* Remove the rows of a product of which keep says no; *any: whether there were. */
static int
drop_product(struct fg_prune *p, struct batch *b, const struct name *x,
    enum fg_product product, keep_fn *keep, const void *ctx, bool *any,
    struct fg_err *err)
{
	struct fg_key key = key_of(p, x->kind, product, x->id);
	struct fg_row last, *row = NULL;
	size_t n = PAGE;

	for (const struct fg_row *after = NULL; n == PAGE; after = &last) {
		int rc = 0;

		if (fg_reader_rows_of(p->reader, &key, after, PAGE, &row, &n, err) < 0)
			return -1;
		for (size_t i = 0; i < n && rc == 0; i++) {
			if (keep(ctx, &row[i]))
				continue;
			*any = true;
			rc = drop(p, b, &key, &row[i], err);
		}
		if (n > 0)
			last = row[n - 1];
		free(row);
		if (rc < 0)
			return -1;
	}
	return 0;
}

/* ------------------------------------------------------------- which generations */

/* Highest generations of a name's rows of a product (its TABLE, or GONE: the notes that
 * it is no public id any more): of all, and of those that are old enough. */
static int
look_at(struct fg_prune *p, const struct name *x, enum fg_product product,
    int64_t *newest, int64_t *settled, struct fg_err *err)
{
	struct fg_key key = key_of(p, x->kind, product, x->id);
	struct fg_row *row;
	size_t n;

	if (fg_reader_rows_of(p->reader, &key, NULL, ALL, &row, &n, err) < 0)
		return -1;
	for (size_t i = 0; i < n; i++) {
		*newest = FG_MAX(*newest, row[i].gen);
		if (row[i].run <= p->run)
			*settled = FG_MAX(*settled, row[i].gen);
	}
	free(row);
	return 0;
}

/* Whether an object goes by this name; else the generation of the one that it is part
 * of. A name that is not known is taken for one: a block that is made again after
 * damage brings it back, or another one, and what there is stays until a newer TABLE
 * takes its place. */
static int
look_at_object(struct fg_prune *p, uint64_t id, bool *public, int64_t *gen,
    struct fg_err *err)
{
	struct fg_err e = FG_ERR_INIT;
	struct fg_object o;
	uint64_t now;

	/* This costs as much as the object has members, so it is asked of few. */
	if (fg_reader_public(p->reader, p->layer->id, &id, 1, &now, err) < 0)
		return -1;
	*public = now == id;
	if (*public || fg_reader_object(p->reader, p->layer->id, id, &o, &e) == 0) {
		*gen = *public ? 0 : o.gen;
		return 0;
	}
	if (e.code != FG_ENOENT)
		return fg_fail(err, e.code, "%s", e.msg);
	*public = true;
	*gen = 0;
	return 0;
}

static bool
is_none(const void *ctx, const struct fg_row *row)
{
	(void)ctx;
	(void)row;
	return false;
}

/* What may go of a name; a name of the past is noted in s->notes. */
static int
judge(struct pass *s, struct name *x, struct fg_err *err)
{
	struct fg_prune *p = s->p;
	int64_t newest = 0, settled = 0, noted = 0, gen = 0;
	bool public = true, ignored;

	if (look_at(p, x, FG_PRODUCT_TABLE, &newest, &settled, err) < 0 ||
	    look_at(p, x, FG_PRODUCT_GONE, &noted, &x->gone, err) < 0)
		return -1;
	if ((newest > 0 || noted > 0) &&
	    look_at_object(p, x->id, &public, &gen, err) < 0)
		return -1;
	/* A cut can make it public again: then what was noted is not true any more, and
	 * must not count as old when it is true once more. */
	if (public && noted > 0) {
		x->gone = 0;
		if (drop_product(p, &s->batch, x, FG_PRODUCT_GONE, is_none, NULL,
			&ignored, err) < 0)
			return -1;
	}
	x->below = FG_MAX(settled, x->gone);
	if (!public && newest >= FG_MAX(noted, 1) && newest < gen)
		fg_output_put(&s->notes,
		    &(struct fg_payload){.key =
					     key_of(p, x->kind, FG_PRODUCT_GONE, x->id),
			.gen = newest + 1,
			.state = FG_EMPTY});
	return 0;
}

/* ------------------------------------------------------------- tables and pins */

static bool
is_not_below(const void *ctx, const struct fg_row *row)
{
	return row->gen >= ((const struct name *)ctx)->below;
}

static bool
is_in_sight(const void *ctx, const struct fg_row *row)
{
	return (int64_t)row->part >= *(const int64_t *)ctx;
}

static int
drop_tables(struct fg_prune *p, struct batch *b, struct name *x, int64_t horizon,
    struct fg_err *err)
{
	bool ignored;

	if (drop_product(p, b, x, FG_PRODUCT_TABLE, is_not_below, x, &x->dropped, err) <
		0 ||
	    drop_product(p, b, x, FG_PRODUCT_MEASURE, is_not_below, x, &ignored, err) <
		0)
		return -1;
	if (x->kind != FG_KIND_MESH)
		return 0;
	return drop_product(p, b, x, FG_PRODUCT_PIN, is_in_sight, &horizon, &x->dropped,
	    err);
}

/* ------------------------------------------------------------- pieces and levels */

/* What is named: (part, gen) of pieces, or generations of LODS. */
struct named {
	const struct name *name;
	struct fg_row *row;
	size_t n, room;
};

static void
push(struct named *s, uint64_t part, int64_t gen)
{
	if (s->n == s->room) {
		s->room = FG_MAX(2 * s->room, 64u);
		s->row = fg_realloc(s->row, s->room, sizeof *s->row);
	}
	s->row[s->n++] = (struct fg_row){.part = part, .gen = gen};
}

static int
compare(const void *pa, const void *pb)
{
	const struct fg_row *a = pa, *b = pb;

	if (a->part != b->part)
		return a->part < b->part ? -1 : 1;
	return (a->gen > b->gen) - (a->gen < b->gen);
}

static bool
is_named(const void *ctx, const struct fg_row *row)
{
	const struct named *s = ctx;

	return row->gen >= s->name->below ||
	       (s->n > 0 && bsearch(row, s->row, s->n, sizeof *s->row, compare));
}

static bool
is_pinned(const void *ctx, const struct fg_row *row)
{
	const struct fg_row any = {.gen = row->gen};

	return is_named(ctx, &any);
}

/* Bytes of a row; NULL without failure if it has gone. */
static int
read_row(struct fg_prune *p, const struct fg_key *key, const struct fg_row *row,
    struct fg_buf **out, struct fg_err *err)
{
	struct fg_err why = FG_ERR_INIT;
	struct fg_place place;

	*out = NULL;
	if (fg_reader_gen(p->reader, key, row->part, row->gen, &place, err) < 0)
		return -1;
	if (place.slab == 0 || p->read(p->ctx, &place, out, &why) == 0)
		return 0;
	/* A bad place of the disk is damage of one name, not of the pass. */
	return fg_fail(err, why.code == FG_EIO ? FG_ECORRUPT : why.code, "%s", why.msg);
}

/* What a TABLE names, or a PIN. */
static int
take_names(const struct name *x, enum fg_product product, const struct fg_buf *bytes,
    struct named *s, struct fg_err *err)
{
	struct fg_piece *piece;
	size_t n;

	if (product == FG_PRODUCT_PIN) {
		if (bytes->len != 8)
			return fg_fail(err, FG_ECORRUPT,
			    "the epoch of a mesh has no generation");
		push(s, 0, (int64_t)fg_get_u64le(bytes->data));
		return 0;
	}
	if (fg_pieces_decode(bytes->data, bytes->len, &piece, &n, err) < 0)
		return -1;
	for (size_t i = 0; i < n; i++) {
		if (piece[i].bytes > 0 && piece[i].gen < x->below)
			push(s, piece[i].at, piece[i].gen);
	}
	free(piece);
	return 0;
}

/* All that the rows of a product name which are there now. */
static int
collect(struct fg_prune *p, const struct name *x, enum fg_product product,
    struct named *s, struct fg_err *err)
{
	struct fg_key key = key_of(p, x->kind, product, x->id);
	struct fg_row *row = NULL;
	size_t n = 0;
	int rc = fg_reader_rows_of(p->reader, &key, NULL, ALL, &row, &n, err);

	for (size_t i = 0; i < n && rc == 0; i++) {
		struct fg_buf *bytes;

		rc = read_row(p, &key, &row[i], &bytes, err);
		if (rc == 0 && bytes)
			rc = take_names(x, product, bytes, s, err);
		fg_buf_unref(bytes);
	}
	free(row);
	if (rc == 0 && s->n > 0)
		qsort(s->row, s->n, sizeof *s->row, compare);
	return rc;
}

/* Whether any row of a product is of a generation that may go: only then it is worth
 * reading what is named. */
static int
has_below(struct fg_prune *p, const struct name *x, enum fg_product product, bool *yes,
    struct fg_err *err)
{
	struct fg_key key = key_of(p, x->kind, product, x->id);
	struct fg_row last, *row = NULL;
	size_t n = PAGE;

	*yes = false;
	for (const struct fg_row *after = NULL; n == PAGE && !*yes; after = &last) {
		if (fg_reader_rows_of(p->reader, &key, after, PAGE, &row, &n, err) < 0)
			return -1;
		for (size_t i = 0; i < n && !*yes; i++)
			*yes = !is_not_below(x, &row[i]);
		if (n > 0)
			last = row[n - 1];
		free(row);
	}
	return 0;
}

static int
drop_unnamed(struct fg_prune *p, struct batch *b, const struct name *x,
    enum fg_product from, enum fg_product product, keep_fn *keep, struct fg_err *err)
{
	struct named s = {.name = x};
	bool any;
	int rc = has_below(p, x, product, &any, err);

	if (rc < 0 || !any)
		return rc;
	rc = collect(p, x, from, &s, err);
	if (rc == 0)
		rc = drop_product(p, b, x, product, keep, &s, &any, err);
	free(s.row);
	return rc;
}

/* Pieces of a skeleton: the newest of a block may be taken over, whichever generation
 * it is of. */
static int
drop_bones(struct fg_prune *p, struct batch *b, const struct name *x,
    struct fg_err *err)
{
	struct fg_key key = key_of(p, x->kind, FG_PRODUCT_PIECE, x->id);
	struct fg_row last, *row = NULL;
	bool any = false;
	size_t n = PAGE;

	for (const struct fg_row *after = NULL; n == PAGE; after = &last) {
		int rc = 0;

		if (fg_reader_rows_of(p->reader, &key, after, PAGE, &row, &n, err) < 0)
			return -1;
		for (size_t i = 0; i < n && rc == 0; i++) {
			/* The one before it is not the newest if it is of the same. */
			if (any && last.part == row[i].part && last.gen < x->below &&
			    last.gen >= x->gone)
				rc = drop(p, b, &key, &last, err);
			if (rc == 0 && row[i].gen < x->gone)
				rc = drop(p, b, &key, &row[i], err);
			last = row[i];
			any = true;
		}
		free(row);
		if (rc < 0)
			return -1;
	}
	return 0;
}

static int
drop_rest(struct fg_prune *p, struct batch *b, const struct name *x, struct fg_err *err)
{
	if (x->kind == FG_KIND_SKELETON)
		return drop_bones(p, b, x, err);
	if (drop_unnamed(p, b, x, FG_PRODUCT_TABLE, FG_PRODUCT_PIECE, is_named, err) <
	    0)
		return -1;
	return drop_unnamed(p, b, x, FG_PRODUCT_PIN, FG_PRODUCT_LODS, is_pinned, err);
}

/* ------------------------------------------------------------- a name, all of them */

/* A full disk takes no notes; what earlier ones allow to remove needs no room, and is
 * what gives some back. */
static int
forgive_full(int rc, const struct fg_err *why, struct fg_err *err)
{
	if (rc == 0 || why->code == FG_EFULL)
		return 0;
	return fg_fail(err, why->code, "%s", why->msg);
}

static int
flush_notes(struct pass *s, struct fg_err *err)
{
	struct fg_output out = s->notes;
	struct fg_err why = FG_ERR_INIT;
	int rc;

	s->notes = (struct fg_output){0};
	rc = out.result.payloads > 0 ? put_notes(s->p, &out, &why) : 0;
	return forgive_full(rc, &why, err);
}

static int
prune_name(struct pass *s, struct name *x, struct fg_err *err)
{
	struct fg_prune *p = s->p;

	if (judge(s, x, err) < 0 ||
	    (s->notes.result.payloads >= NOTES && flush_notes(s, err) < 0) ||
	    drop_tables(p, &s->batch, x, s->horizon, err) < 0)
		return -1;
	if (!x->dropped && (!p->sweep || x->below == 0))
		return 0;
	/* The tables are gone before it is asked who is at work. */
	if (flush(p, &s->batch, err) < 0)
		return -1;
	if (p->busy(p->ctx, p->layer->id, x->kind, x->id)) {
		p->again = true;
		return 0;
	}
	if (drop_rest(p, &s->batch, x, err) < 0)
		return -1;
	return flush(p, &s->batch, err);
}

/* Damage: what it named is not known, so all of it stays, and the pass goes on. */
static int
forgive_damage(struct pass *s, const struct name *x, const struct fg_err *why,
    struct fg_err *err)
{
	s->p->again = true;
	s->batch.n = 0;
	if (why->code != FG_ECORRUPT || ++s->damaged > DAMAGED_MAX)
		return fg_fail(err, why->code, "%s", why->msg);
	fg_log(FG_LOG_WARN,
	    "old meshes or skeletons of object %llu of layer %s stay: %s",
	    (unsigned long long)x->id, s->p->layer->name, why->msg);
	return 0;
}

/* The next name after `id` that has rows. */
static int
next_name(struct fg_prune *p, enum fg_kind kind, uint64_t after, uint64_t *id,
    bool *there, struct fg_err *err)
{
	static const enum fg_product product[] = {FG_PRODUCT_TABLE, FG_PRODUCT_PIECE,
	    FG_PRODUCT_LODS, FG_PRODUCT_PIN};

	*there = false;
	for (size_t i = 0; i < FG_COUNTOF(product); i++) {
		struct fg_key key = key_of(p, kind, product[i], 0);
		uint64_t one = 0;
		bool any;

		if (fg_reader_next_id(p->reader, &key, after, &one, &any, err) < 0)
			return -1;
		if (any && (!*there || one < *id))
			*id = one;
		*there = *there || any;
	}
	return 0;
}

static int
prune_kind(struct pass *s, enum fg_kind kind, struct fg_err *err)
{
	struct fg_prune *p = s->p;
	uint64_t id = 0;
	bool there;

	for (;;) {
		struct fg_err why = FG_ERR_INIT;
		struct name x = {.kind = kind};

		if (check_cancel(p, err) < 0 ||
		    next_name(p, kind, id, &id, &there, err) < 0)
			return -1;
		if (!there)
			return flush_notes(s, err);
		x.id = id;
		if (prune_name(s, &x, &why) < 0 && forgive_damage(s, &x, &why, err) < 0)
			return -1;
		p->names++;
	}
}

int
fg_prune_layer(struct fg_prune *p, struct fg_err *err)
{
	struct pass *s = fg_calloc(1, sizeof *s);
	struct fg_err why = FG_ERR_INIT;
	int rc;

	fg_assert(p->layer->agglomerated);
	s->p = p;
	p->names = p->rows = p->bytes = 0;
	p->again = false;
	rc = move_horizon(p, &s->batch, &s->horizon, &why);
	rc = forgive_full(rc, &why, err);
	s->batch.n = 0;
	if (rc == 0)
		rc = prune_kind(s, FG_KIND_MESH, err);
	if (rc == 0)
		rc = prune_kind(s, FG_KIND_SKELETON, err);
	/* Where a table has gone, its pieces may be left. */
	p->again = p->again || rc < 0;
	fg_output_fini(&s->notes);
	free(s);
	return rc;
}
