/* SPDX-License-Identifier: Apache-2.0 */
/* Objects of generated layers as JSON and text: see the header. */
#include "config.h"

#include "work/objects.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/morton.h"
#include "work/artefact.h"

#define BOX_BLOCKS_MAX 100000 /* of one query */

static json_t *
id_text(uint64_t id)
{
	char text[24];

	snprintf(text, sizeof text, "%" PRIu64, id);
	return json_string(text);
}

#define MEMBERS_SHOWN 10000

int
fg_object_describe(const struct fg_layer *l, struct fg_reader *r, uint64_t id,
    json_t **out, struct fg_err *err)
{
	uint64_t *member = NULL;
	struct fg_object o;
	json_t *list;
	size_t n = 0;

	if (fg_reader_object(r, l->id, id, &o, err) < 0 ||
	    fg_reader_members(r, l->id, id, &member, &n, err) < 0)
		return -1;
	list = json_array();
	for (size_t i = 0; i < n && i < MEMBERS_SHOWN; i++)
		json_array_append_new(list, id_text(member[i]));
	free(member);
	*out = json_pack("{s:s, s:o, s:o, s:I, s:o, s:o, s:o, s:I, s:I, s:I, s:o}",
	    "layer", l->name, "id", id_text(id), "public", id_text(o.public_id),
	    "voxels", (json_int_t)o.voxels, "lo", fg_json_int3(o.lo), "hi",
	    fg_json_int3(o.hi), "seed", o.seeded ? fg_json_int3(o.seed) : json_null(),
	    "blocks", (json_int_t)o.blocks, "gen", (json_int_t)o.gen, "members_all",
	    (json_int_t)n, "members", list);
	return 0;
}

/* ------------------------------------------------------------- lists */

#define PAGE 4096
#define LIST_MAX ((size_t)1 << 24) /* 128 MiB */

int
fg_objects_each(const struct fg_layer *l, struct fg_reader *r, const struct fg_box *vx,
    uint64_t max, int (*fn)(void *ctx, const struct fg_object *o, struct fg_err *err),
    void *ctx, struct fg_err *err)
{
	uint64_t after = 0;
	size_t got = 0;
	int rc;

	do {
		struct fg_object *page = NULL;

		rc = fg_reader_objects(r, l->id, l->agglomerated, FG_OBJECTS_BY_ID,
		    after, PAGE, &page, &got, err);
		if (rc < 0)
			return -1;
		for (size_t i = 0; i < got && rc == 0; i++) {
			struct fg_box b;

			memcpy(b.lo, page[i].lo, sizeof b.lo);
			memcpy(b.hi, page[i].hi, sizeof b.hi);
			if (max-- == 0)
				rc = 1;
			else if (fg_box_intersect(&b, vx, &b))
				rc = fn(ctx, &page[i], err);
		}
		after = got > 0 ? page[got - 1].id : 0;
		free(page);
	} while (rc == 0 && got == PAGE);
	return rc;
}

struct ids {
	uint64_t *id;
	size_t n, room;
};

static int
keep_id(void *ctx, const struct fg_object *o, struct fg_err *err)
{
	struct ids *list = ctx;

	if (list->n == LIST_MAX)
		return fg_fail(err, FG_EINVAL,
		    "more than %zu objects in one go: choose a smaller box", LIST_MAX);
	if (list->n == list->room) {
		list->room = FG_MAX(2 * list->room, PAGE);
		list->id = fg_realloc(list->id, list->room, sizeof *list->id);
	}
	list->id[list->n++] = o->public_id;
	return 0;
}

int
fg_objects_in_box(const struct fg_layer *l, struct fg_reader *r,
    const struct fg_box *vx, uint64_t **out, size_t *n, struct fg_err *err)
{
	struct ids list = {0};

	if (fg_objects_each(l, r, vx, UINT64_MAX, keep_id, &list, err) < 0) {
		free(list.id);
		return -1;
	}
	*out = list.id;
	*n = list.n;
	return 0;
}

static int
by_id(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* Ascending, each once; returns how many are left. */
static size_t
sort_ids(uint64_t *id, size_t n)
{
	size_t k = 0;

	if (n > 0)
		qsort(id, n, sizeof *id, by_id);
	for (size_t i = 0; i < n; i++) {
		if (k == 0 || id[i] != id[k - 1])
			id[k++] = id[i];
	}
	return k;
}

int
fg_objects_named(const struct fg_layer *l, struct fg_reader *r, const uint64_t *ids,
    size_t n, uint64_t **out, size_t *count, struct fg_err *err)
{
	uint64_t *list = fg_calloc(n + 1, sizeof *list);

	memcpy(list, ids, n * sizeof *ids);
	if (l->agglomerated && fg_reader_public(r, l->id, ids, n, list, err) < 0) {
		free(list);
		return -1;
	}
	*out = list;
	*count = sort_ids(list, n);
	return 0;
}

/* ------------------------------------------------------------- equivalences */

struct listing {
	const struct fg_layer *layer;
	struct fg_reader *reader;
	size_t max, members;
	json_t *list;
	struct fg_err *err;
};

/* Append the members of a component; those of a single object are left out. 1: no more
 * room. */
static int
put_component(struct listing *g, uint64_t id)
{
	uint64_t *member = NULL;
	json_t *set;
	size_t n = 0;

	if (fg_reader_members(g->reader, g->layer->id, id, &member, &n, g->err) < 0)
		return -1;
	if (n < 2) {
		free(member);
		return 0;
	}
	if (g->members > 0 && g->members + n > g->max) {
		free(member);
		return 1;
	}
	set = json_array();
	for (size_t i = 0; i < n; i++)
		json_array_append_new(set, id_text(member[i]));
	json_array_append_new(g->list, set);
	g->members += n;
	free(member);
	return 0;
}

/* Public ids of the objects in the blocks that the box touches, sorted, each once. */
static int
public_in_box(struct listing *g, const struct fg_box *vx, uint64_t **out, size_t *n)
{
	const struct fg_layer *l = g->layer;
	const struct fg_scale *s = &l->info.scale[0];
	uint64_t *list = NULL;
	struct fg_box b, blk;
	int64_t p[3];
	size_t k = 0;

	fg_scale_bounds(s, &b);
	if (!fg_box_intersect(&b, vx, &b))
		return fg_fail(g->err, FG_EINVAL, "the box is outside layer %s",
		    l->name);
	for (int d = 0; d < 3; d++) {
		blk.lo[d] = (b.lo[d] - s->offset[d]) / l->recipe->block[d];
		blk.hi[d] = fg_div_ceil(b.hi[d] - s->offset[d], l->recipe->block[d]);
	}
	if (fg_box_volume(&blk) > BOX_BLOCKS_MAX)
		return fg_fail(g->err, FG_EINVAL,
		    "the box has %lld blocks, at most %d are listed",
		    (long long)fg_box_volume(&blk), BOX_BLOCKS_MAX);
	for (p[2] = blk.lo[2]; p[2] < blk.hi[2]; p[2]++) {
		for (p[1] = blk.lo[1]; p[1] < blk.hi[1]; p[1]++) {
			for (p[0] = blk.lo[0]; p[0] < blk.hi[0]; p[0]++) {
				uint64_t *in = NULL;
				size_t m = 0;

				if (fg_reader_block_objects(g->reader, l->id,
					fg_morton_encode(p), &in, &m, g->err) < 0) {
					free(list);
					return -1;
				}
				list = fg_realloc(list, k + m + 1, sizeof *list);
				if (m > 0)
					memcpy(list + k, in, m * sizeof *list);
				k += m;
				free(in);
			}
		}
	}
	if (fg_reader_public(g->reader, l->id, list, k, list, g->err) < 0) {
		free(list);
		return -1;
	}
	*out = list;
	*n = sort_ids(list, k);
	return 0;
}

static int
list_box(struct listing *g, const struct fg_box *vx)
{
	uint64_t *pub = NULL;
	size_t n = 0;
	int rc = public_in_box(g, vx, &pub, &n);

	for (size_t i = 0; i < n && rc == 0; i++) {
		rc = put_component(g, pub[i]);
		if (rc > 0)
			rc = fg_fail(g->err, FG_EINVAL,
			    "the box has more than %zu joined objects: ask for a "
			    "smaller one",
			    g->max);
	}
	free(pub);
	return rc;
}

/* All components, by public id; *next: where to go on, 0 at the end. */
static int
list_page(struct listing *g, uint64_t after, uint64_t *next)
{
	struct fg_object *o = NULL;
	size_t n = 0;
	int rc;

	*next = 0;
	do {
		free(o);
		o = NULL;
		rc = fg_reader_objects(g->reader, g->layer->id, true, FG_OBJECTS_BY_ID,
		    after, 1000, &o, &n, g->err);
		for (size_t i = 0; i < n && rc == 0; i++) {
			if (o[i].members > 1)
				rc = put_component(g, o[i].public_id);
			if (rc == 0)
				after = o[i].public_id;
		}
	} while (rc == 0 && n == 1000);
	free(o);
	if (rc > 0)
		*next = after;
	return FG_MIN(rc, 0);
}

int
fg_equivalences(const struct fg_layer *l, struct fg_reader *r,
    const struct fg_equivalences_query *q, json_t **out, struct fg_err *err)
{
	struct listing g = {.layer = l,
	    .reader = r,
	    .max = q->max,
	    .list = json_array(),
	    .err = err};
	uint64_t next = 0;
	int rc;

	if (q->id)
		rc = put_component(&g, q->id);
	else if (q->boxed)
		rc = list_box(&g, &q->vx);
	else
		rc = list_page(&g, q->after, &next);
	if (rc < 0) {
		json_decref(g.list);
		return -1;
	}
	*out = json_pack("{s:s, s:o, s:o}", "layer", l->name, "equivalences", g.list,
	    "next", next ? id_text(next) : json_null());
	return 0;
}

char *
fg_equivalences_csv(const json_t *equivalences)
{
	struct fg_str s = FG_STR_INIT;
	const json_t *set, *id;
	size_t i, k;

	fg_str_puts(&s, "id,public\n");
	json_array_foreach(json_object_get(equivalences, "equivalences"), i, set)
	{
		json_array_foreach(set, k, id)
		{
			fg_str_putf(&s, "%s,%s\n", json_string_value(id),
			    json_string_value(json_array_get(set, 0)));
		}
	}
	return s.data;
}

/* ------------------------------------------------------------- evidence */

int
fg_merges_list(const struct fg_layer *l, struct fg_reader *r, uint64_t id,
    uint64_t skip, size_t max, json_t **out, struct fg_err *err)
{
	struct fg_merge *m = NULL;
	json_t *list;
	size_t n = 0;

	if (fg_reader_merges(r, l->id, id, skip, max, &m, &n, err) < 0)
		return -1;
	list = json_array();
	for (size_t i = 0; i < n; i++)
		json_array_append_new(list,
		    json_pack("{s:o, s:o, s:I, s:I, s:I, s:b}", "a", id_text(m[i].a),
			"b", id_text(m[i].b), "both", (json_int_t)m[i].both, "only_a",
			(json_int_t)m[i].only_a, "only_b", (json_int_t)m[i].only_b,
			"joined", m[i].joined));
	free(m);
	*out = list;
	return 0;
}

int
fg_contacts_list(const struct fg_layer *l, struct fg_reader *r, uint64_t id,
    uint64_t skip, size_t max, json_t **out, struct fg_err *err)
{
	struct fg_contact *c = NULL;
	json_t *list;
	size_t n = 0;

	if (fg_reader_contacts(r, l->id, id, skip, max, &c, &n, err) < 0)
		return -1;
	list = json_array();
	for (size_t i = 0; i < n; i++)
		json_array_append_new(list,
		    json_pack("{s:o, s:o, s:I, s:I, s:I, s:o, s:f, s:f, s:b}", "a",
			id_text(c[i].a), "b", id_text(c[i].b), "both",
			(json_int_t)c[i].both, "only_a", (json_int_t)c[i].only_a,
			"only_b", (json_int_t)c[i].only_b, "at", fg_json_int3(c[i].vx),
			"recovered", (double)c[i].recovered / FG_CONTACT_ALL, "deleted",
			(double)c[i].deleted / FG_CONTACT_ALL, "joined", c[i].joined));
	free(c);
	*out = list;
	return 0;
}

/* ------------------------------------------------------------- decisions */

int
fg_edits_list(const struct fg_layer *l, struct fg_reader *r, int64_t after, size_t max,
    json_t **out, struct fg_err *err)
{
	struct fg_edit *e = NULL;
	json_t *list;
	size_t n = 0;

	if (fg_reader_edits(r, l->id, after, max, &e, &n, err) < 0)
		return -1;
	list = json_array();
	for (size_t i = 0; i < n; i++)
		json_array_append_new(list,
		    json_pack("{s:I, s:s, s:o, s:o, s:s, s:I, s:b}", "edit",
			(json_int_t)e[i].edit, "kind",
			e[i].kind == FG_EDIT_JOIN ? "join" : "cut", "a",
			id_text(e[i].a), "b", id_text(e[i].b), "who", e[i].who, "at_ms",
			(json_int_t)e[i].at_ms, "undone", e[i].undone));
	free(e);
	*out = list;
	return 0;
}

/* A number, or decimal text of one. */
static bool
get_id(const json_t *v, uint64_t *id)
{
	const char *text = json_string_value(v);
	char *end;

	if (json_is_integer(v) && json_integer_value(v) > 0) {
		*id = (uint64_t)json_integer_value(v);
		return true;
	}
	if (!text || *text < '1' || *text > '9' || strlen(text) > 19)
		return false;
	*id = strtoull(text, &end, 10);
	return *end == '\0';
}

static int
get_pairs(const json_t *spec, const char *key, enum fg_edit_kind kind, const char *who,
    struct fg_edit **edit, size_t *n, struct fg_err *err)
{
	const json_t *list = json_object_get(spec, key), *pair;
	int64_t now = fg_clock_wall_ms();
	size_t i;

	if (!list)
		return 0;
	if (!json_is_array(list))
		return fg_fail(err, FG_EINVAL, "\"%s\" is not a list of pairs", key);
	if (*n + json_array_size(list) > FG_EDITS_MAX)
		return fg_fail(err, FG_EINVAL, "more than %d decisions in one call",
		    FG_EDITS_MAX);
	*edit = fg_realloc(*edit, *n + json_array_size(list) + 1, sizeof **edit);
	json_array_foreach(list, i, pair)
	{
		struct fg_edit *e = &(*edit)[*n];

		*e = (struct fg_edit){.kind = kind, .at_ms = now};
		if (json_array_size(pair) != 2 ||
		    !get_id(json_array_get(pair, 0), &e->a) ||
		    !get_id(json_array_get(pair, 1), &e->b))
			return fg_fail(err, FG_EINVAL,
			    "\"%s\": entry %zu is not a pair of ids", key, i);
		snprintf(e->who, sizeof e->who, "%s", who);
		++*n;
	}
	return 0;
}

static int
check_spec(const json_t *spec, const char **who, struct fg_err *err)
{
	const char *key;
	json_t *v;

	if (!json_is_object(spec))
		return fg_fail(err, FG_EINVAL,
		    "wanted an object {\"join\": [[a, b], ...], \"cut\": [...]}");
	json_object_foreach((json_t *)spec, key, v)
	{
		if (strcmp(key, "join") != 0 && strcmp(key, "cut") != 0 &&
		    strcmp(key, "who") != 0)
			return fg_fail(err, FG_EINVAL, "\"%.60s\" is not known", key);
	}
	*who = "";
	if (fg_json_get_string(spec, "who", FG_JSON_OPTIONAL, who, err) < 0)
		return -1;
	if (strlen(*who) >= sizeof((struct fg_edit *)NULL)->who)
		return fg_fail(err, FG_EINVAL, "\"who\" is longer than %zu bytes",
		    sizeof((struct fg_edit *)NULL)->who - 1);
	return 0;
}

int
fg_edits_add(struct fg_store *s, struct fg_catalog *c, const struct fg_layer *l,
    const json_t *spec, json_t **out, struct fg_err *err)
{
	struct fg_edit *edit = NULL;
	const char *who;
	bool changed = false;
	size_t n = 0;
	int rc = -1;

	if (!l->recipe)
		return fg_fail(err, FG_EINVAL,
		    "layer %s is not made here: its objects cannot be joined", l->name);
	if (check_spec(spec, &who, err) < 0 ||
	    get_pairs(spec, "join", FG_EDIT_JOIN, who, &edit, &n, err) < 0 ||
	    get_pairs(spec, "cut", FG_EDIT_CUT, who, &edit, &n, err) < 0)
		goto out;
	if (n == 0) {
		fg_fail(err, FG_EINVAL, "neither \"join\" nor \"cut\" has a pair");
		goto out;
	}
	pthread_mutex_lock(fg_catalog_writer(c));
	rc = fg_store_edit(s, l->id, edit, n, &changed, err);
	pthread_mutex_unlock(fg_catalog_writer(c));
	if (rc == 0) {
		json_t *list = json_array();

		for (size_t i = 0; i < n; i++)
			json_array_append_new(list, json_integer(edit[i].edit));
		*out = json_pack("{s:o, s:b}", "edits", list, "changed", changed);
	}
out:
	free(edit);
	return rc;
}

int
fg_edits_undo(struct fg_store *s, struct fg_catalog *c, const struct fg_layer *l,
    int64_t first, int64_t last, json_t **out, struct fg_err *err)
{
	size_t n = last < first ? 0 : (size_t)(last - first) + 1;
	bool changed = false;
	int64_t *edit;
	json_t *list;
	int rc;

	if (n == 0 || n > FG_EDITS_MAX)
		return fg_fail(err, FG_EINVAL,
		    "from %lld to %lld: wanted 1 to %d decisions", (long long)first,
		    (long long)last, FG_EDITS_MAX);
	edit = fg_calloc(n, sizeof *edit);
	list = json_array();
	for (size_t i = 0; i < n; i++) {
		edit[i] = first + (int64_t)i;
		json_array_append_new(list, json_integer(edit[i]));
	}
	pthread_mutex_lock(fg_catalog_writer(c));
	rc = fg_store_edit_undo(s, l->id, edit, n, &changed, err);
	pthread_mutex_unlock(fg_catalog_writer(c));
	free(edit);
	if (rc == 0)
		*out = json_pack("{s:O, s:b}", "edits", list, "changed", changed);
	json_decref(list);
	return rc;
}

/* ------------------------------------------------------------- properties */

enum {
	VOXELS,
	PARTS,
	BLOCKS,
	GEN,
	X0,
	Y0,
	Z0,
	X1,
	Y1,
	Z1,
	SEED_X,
	SEED_Y,
	SEED_Z,
	TRIANGLES,
	CABLE,
	COLUMNS
};

struct column {
	const char *id, *type, *help;
	json_t *values;
	bool any;  /* a value is known: always, before SEED_X */
	bool gaps; /* a value is not known */
};

/* What the columns say of an object; NAN: not known. */
static int
fill_row(const struct fg_layer *l, struct fg_reader *r, const struct fg_object *o,
    double v[COLUMNS], struct fg_err *err)
{
	bool known;

	v[VOXELS] = (double)o->voxels;
	v[PARTS] = (double)o->members;
	v[BLOCKS] = (double)o->blocks;
	v[GEN] = (double)o->gen;
	for (int d = 0; d < 3; d++) {
		v[X0 + d] = (double)o->lo[d];
		v[X1 + d] = (double)o->hi[d];
		v[SEED_X + d] = o->seeded ? (double)o->seed[d] : NAN;
	}
	v[TRIANGLES] = v[CABLE] = NAN;
	if (fg_measure_find(r, l, FG_KIND_MESH, o->public_id, o->gen, &v[TRIANGLES],
		&known, err) < 0 ||
	    fg_measure_find(r, l, FG_KIND_SKELETON, o->public_id, o->gen, &v[CABLE],
		&known, err) < 0)
		return -1;
	v[CABLE] /= 1000;
	return 0;
}

/* JSON has no NaN; as a text Neuroglancer takes it for one, and 0 would be a lie. */
static void
put_value(struct column *c, int k, double v)
{
	json_t *j = isnan(v)     ? json_string("NaN")
		    : k == CABLE ? json_real(v)
				 : json_integer((json_int_t)v);

	c->any |= !isnan(v);
	c->gaps |= isnan(v);
	json_array_append_new(c->values, j);
}

int
fg_segment_properties(const struct fg_layer *l, struct fg_reader *r, uint64_t skip,
    size_t max, json_t **out, struct fg_err *err)
{
	struct column column[COLUMNS] = {
	    [VOXELS] = {.id = "voxels",
		.type = "uint32",
		.help = "voxels of the finest scale"},
	    [PARTS] = {.id = "parts", .type = "uint32", .help = "base objects in it"},
	    [BLOCKS] = {.id = "blocks",
		.type = "uint32",
		.help = "blocks that it lies in"},
	    [GEN] = {.id = "gen",
		.type = "uint32",
		.help = "rises when it is joined or cut"},
	    [X0] = {.id = "x0", .type = "int32", .help = "bounding box, voxels"},
	    [Y0] = {.id = "y0", .type = "int32", .help = "bounding box, voxels"},
	    [Z0] = {.id = "z0", .type = "int32", .help = "bounding box, voxels"},
	    [X1] = {.id = "x1", .type = "int32", .help = "bounding box, voxels"},
	    [Y1] = {.id = "y1", .type = "int32", .help = "bounding box, voxels"},
	    [Z1] = {.id = "z1", .type = "int32", .help = "bounding box, voxels"},
	    [SEED_X] = {.id = "seed_x",
		.type = "int32",
		.help = "where its flood began, voxels"},
	    [SEED_Y] = {.id = "seed_y",
		.type = "int32",
		.help = "where its flood began, voxels"},
	    [SEED_Z] = {.id = "seed_z",
		.type = "int32",
		.help = "where its flood began, voxels"},
	    [TRIANGLES] = {.id = "triangles",
		.type = "float32",
		.help = "of its mesh, as far as one is made",
		NULL},
	    [CABLE] = {.id = "cable",
		.type = "float32",
		.help = "length of its skeleton, um, as far as one is made"},
	};
	json_t *ids, *list = json_array();
	struct fg_object *o = NULL;
	double v[COLUMNS];
	size_t n = 0;
	int rc;

	rc = fg_reader_objects(r, l->id, l->agglomerated, FG_OBJECTS_BY_VOXELS, skip,
	    max, &o, &n, err);
	ids = json_array();
	for (int k = 0; k < COLUMNS; k++)
		column[k].values = json_array();
	for (size_t i = 0; i < n && rc == 0; i++) {
		if (o[i].voxels > UINT32_MAX)
			column[VOXELS].type = "float32";
		json_array_append_new(ids, id_text(o[i].public_id));
		rc = fill_row(l, r, &o[i], v, err);
		for (int k = 0; k < COLUMNS && rc == 0; k++)
			put_value(&column[k], k, v[k]);
	}
	free(o);
	for (int k = 0; k < COLUMNS; k++) {
		const struct column *c = &column[k];

		if (c->any || k < SEED_X)
			json_array_append_new(list,
			    json_pack("{s:s, s:s, s:s, s:s, s:O}", "id", c->id, "type",
				"number", "data_type", c->gaps ? "float32" : c->type,
				"description", c->help, "values", c->values));
		json_decref(c->values);
	}
	*out =
	    json_pack("{s:s, s:{s:o, s:o}}", "@type", "neuroglancer_segment_properties",
		"inline", "ids", ids, "properties", list);
	if (rc < 0) {
		json_decref(*out);
		*out = NULL;
	}
	return rc;
}
