/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of meshes and skeletons, tables of pieces, names: see the header. */
#include "config.h"

#include "work/artefact.h"

#include <math.h>
#include <stdlib.h>

#include "base/clock.h"
#include "formats/mesh.h"

#define TABLE_MAGIC 0x314d4746u /* "FGM1" */
#define TABLE_HEAD 8
#define TABLE_ROW 40
/* Blocks of a passive layer that a request has looked through: a gigavoxel, some ten
 * seconds. */
#define SMALL_BLOCKS 64
#define COUNT_AGAIN_NS (5 * FG_NS_PER_S)

struct fg_buf *
fg_pieces_encode(const struct fg_piece *p, size_t n)
{
	struct fg_buf *b = fg_buf_new(TABLE_HEAD + n * TABLE_ROW);

	if (!b)
		return NULL;
	fg_put_u32le(b->data, TABLE_MAGIC);
	fg_put_u32le(b->data + 4, (uint32_t)n);
	for (size_t i = 0; i < n; i++) {
		uint8_t *row = b->data + TABLE_HEAD + i * TABLE_ROW;

		fg_put_u64le(row, p[i].at);
		fg_put_u64le(row + 8, (uint64_t)p[i].gen);
		fg_put_u64le(row + 16, p[i].inputs);
		fg_put_u64le(row + 24, p[i].bytes);
		fg_put_u32le(row + 32, p[i].vertices);
		fg_put_u32le(row + 36, p[i].triangles);
	}
	return b;
}

int
fg_pieces_decode(const uint8_t *bytes, size_t n, struct fg_piece **out, size_t *count,
    struct fg_err *err)
{
	struct fg_piece *p;
	size_t rows;

	if (n < TABLE_HEAD || fg_get_u32le(bytes) != TABLE_MAGIC)
		return fg_fail(err, FG_ECORRUPT, "%zu bytes are no table of pieces", n);
	rows = fg_get_u32le(bytes + 4);
	if (n != TABLE_HEAD + rows * TABLE_ROW)
		return fg_fail(err, FG_ECORRUPT,
		    "table of pieces: %zu bytes for %zu pieces", n, rows);
	p = fg_calloc(rows + 1, sizeof *p);
	for (size_t i = 0; i < rows; i++) {
		const uint8_t *row = bytes + TABLE_HEAD + i * TABLE_ROW;

		p[i] = (struct fg_piece){
		    .at = fg_get_u64le(row),
		    .gen = (int64_t)fg_get_u64le(row + 8),
		    .inputs = fg_get_u64le(row + 16),
		    .bytes = fg_get_u64le(row + 24),
		    .vertices = fg_get_u32le(row + 32),
		    .triangles = fg_get_u32le(row + 36),
		};
	}
	*out = p;
	*count = rows;
	return 0;
}

enum fg_objects
fg_layer_objects(const struct fg_layer *l)
{
	if (l->agglomerated)
		return FG_OBJECTS_WHOLE;
	return l->recipe ? FG_OBJECTS_BASE : FG_OBJECTS_PLACED;
}

bool
fg_layer_has_objects(const struct fg_layer *l)
{
	const struct fg_info *i = &l->info;

	if (i->scales == 0 || i->type != FG_SEGMENTATION)
		return false;
	if (l->recipe)
		return true;
	/* Meshes or skeletons that come with a source are the ones to show. */
	return l->source && i->channels == 1 && !i->mesh && !i->skeletons &&
	       (i->dtype == FG_U8 || i->dtype == FG_U16 || i->dtype == FG_U32 ||
		   i->dtype == FG_U64) &&
	       l->blocks[0] > 0;
}

static uint64_t
count_blocks(const struct fg_layer *l)
{
	return (uint64_t)l->blocks[0] * (uint64_t)l->blocks[1] * (uint64_t)l->blocks[2];
}

bool
fg_layer_is_small(const struct fg_layer *l)
{
	return count_blocks(l) <= SMALL_BLOCKS;
}

bool
fg_layer_is_finished(struct fg_layer *l, struct fg_reader *r)
{
	struct fg_key key = fg_artefact_key(l, FG_KIND_MESH, FG_PRODUCT_SCAN, 0);
	int64_t now = fg_clock_ns();
	uint64_t done = 0;
	int rc;

	if (l->finished || now < l->count_again_ns)
		return l->finished;
	rc = l->recipe ? fg_reader_blocks_done(r, l->id, &done, NULL)
		       : fg_reader_rows(r, &key, &done, NULL);
	if (rc == 0 && done == count_blocks(l))
		l->finished = true;
	else if (count_blocks(l) > SMALL_BLOCKS)
		l->count_again_ns = now + COUNT_AGAIN_NS;
	return l->finished;
}

struct fg_key
fg_artefact_key(const struct fg_layer *l, enum fg_kind kind, enum fg_product product,
    uint64_t id)
{
	return (struct fg_key){
	    .layer = l->id,
	    .kind = (uint8_t)kind,
	    .scale = (uint8_t)(product + FG_PRODUCTS * fg_layer_objects(l)),
	    .at = id,
	};
}

/* A base object by itself: members of a component differ from it in size and extent. */
static int
find_base(struct fg_reader *r, uint32_t layer, uint64_t id, struct fg_object *o,
    struct fg_err *err)
{
	struct fg_object *page = NULL;
	size_t n = 0;
	int rc = -1;

	if (id > 0 && fg_reader_objects(r, layer, false, FG_OBJECTS_BY_ID, id - 1, 1,
			  &page, &n, err) < 0)
		return -1;
	if (n == 1 && page->id == id) {
		*o = *page;
		rc = 0;
	} else {
		fg_fail(err, FG_ENOENT, "there is no object %llu",
		    (unsigned long long)id);
	}
	free(page);
	return rc;
}

static int
find_object(struct fg_reader *r, uint32_t layer, bool whole, uint64_t id,
    struct fg_object *o, struct fg_err *err)
{
	return whole ? fg_reader_object(r, layer, id, o, err)
		     : find_base(r, layer, id, o, err);
}

/* An object of a passive layer: it never changes; its extent is known by blocks. */
static int
find_placed(struct fg_reader *r, uint32_t layer, uint64_t id, struct fg_object *o,
    struct fg_object_block **blocks, size_t *n, struct fg_err *err)
{
	struct fg_key key = {.layer = layer,
	    .kind = FG_KIND_MESH,
	    .scale = FG_PRODUCT_PLACE + FG_PRODUCTS * FG_OBJECTS_PLACED,
	    .at = id};
	uint64_t *part = NULL;
	size_t parts = 0;

	if (fg_reader_parts(r, &key, &part, &parts, err) < 0)
		return -1;
	if (parts == 0) {
		free(part);
		return fg_fail(err, FG_ENOENT, "there is no object %llu",
		    (unsigned long long)id);
	}
	*o = (struct fg_object){.id = id,
	    .public_id = id,
	    .members = 1,
	    .blocks = parts,
	    .gen = 1};
	if (blocks) {
		*blocks = fg_calloc(parts, sizeof **blocks);
		*n = parts;
		for (size_t i = 0; i < parts; i++)
			(*blocks)[i] =
			    (struct fg_object_block){.at = part[i], .id = id};
	}
	free(part);
	return 0;
}

int
fg_artefact_object(struct fg_reader *r, uint32_t layer, enum fg_objects kind,
    uint64_t id, struct fg_object *o, struct fg_object_block **blocks, size_t *n,
    struct fg_err *err)
{
	struct fg_object_block *list = NULL;
	struct fg_object before, after;
	bool whole = kind == FG_OBJECTS_WHOLE;

	if (kind == FG_OBJECTS_PLACED)
		return find_placed(r, layer, id, o, blocks, n, err);
	if (find_object(r, layer, whole, id, &before, err) < 0)
		return -1;
	if (!blocks) {
		*o = before;
		return 0;
	}
	/* The component may grow between two look-ups: its list must be that of its
	 * generation. */
	for (;;) {
		if (fg_reader_object_blocks(r, layer, id, whole, &list, n, err) < 0)
			return -1;
		if (find_object(r, layer, whole, id, &after, err) < 0) {
			free(list);
			return -1;
		}
		if (after.gen == before.gen)
			break;
		before = after;
		free(list);
	}
	*o = after;
	*blocks = list;
	return 0;
}

int
fg_artefact_epoch(struct fg_reader *r, const struct fg_layer *l, int64_t *epoch,
    struct fg_err *err)
{
	int64_t gen = 0;

	if (l->agglomerated && fg_reader_merge_gen(r, l->id, &gen, err) < 0)
		return -1;
	*epoch = gen + 1;
	return 0;
}

int
fg_artefact_horizon(struct fg_reader *r, const struct fg_layer *l, int64_t *epoch,
    struct fg_err *err)
{
	struct fg_key key = fg_artefact_key(l, FG_KIND_MESH, FG_PRODUCT_HORIZON, 0);
	struct fg_place place = {0};

	if (l->agglomerated && fg_reader_find(r, &key, &place, err) < 0)
		return -1;
	*epoch = FG_MAX(place.gen, 1);
	return 0;
}

int
fg_lods_put(struct fg_output *out, const struct fg_key *key, int64_t gen,
    struct fg_buf *manifest, const struct fg_buf *data, struct fg_err *err)
{
	struct fg_payload p = {.key = *key, .gen = gen, .state = FG_PRESENT};
	uint8_t head[16];

	p.bytes = fg_buf_ref(manifest);
	fg_output_put(out, &p);
	fg_put_u64le(head, data->len);
	fg_put_u64le(head + 8, FG_LODS_SLICE);
	p.part = FG_LODS_HEAD;
	p.bytes = fg_buf_copy(head, sizeof head);
	fg_output_put(out, &p);
	for (size_t at = 0; at < data->len; at += FG_LODS_SLICE) {
		size_t n = FG_MIN(data->len - at, (size_t)FG_LODS_SLICE);

		p.part = 1 + at / FG_LODS_SLICE;
		p.bytes = fg_buf_new(n);
		if (!p.bytes)
			return fg_fail(err, FG_ENOMEM,
			    "no memory for %zu bytes of mesh", data->len);
		memcpy(p.bytes->data, data->data + at, n);
		fg_output_put(out, &p);
	}
	return 0;
}

/* The number is the row's part: a row without bytes is all that is needed. */
void
fg_measure_put(struct fg_output *out, const struct fg_key *table, int64_t gen,
    double value)
{
	struct fg_payload p = {.key = *table,
	    .part = (uint64_t)llround(fmin(fmax(value, 0), 0x1p62)),
	    .gen = gen,
	    .state = FG_EMPTY};

	p.key.scale =
	    (uint8_t)(FG_PRODUCT_MEASURE + FG_PRODUCTS * fg_key_objects(table));
	fg_output_put(out, &p);
}

int
fg_measure_find(struct fg_reader *r, const struct fg_layer *l, enum fg_kind kind,
    uint64_t id, int64_t gen, double *value, bool *known, struct fg_err *err)
{
	struct fg_key key = fg_artefact_key(l, kind, FG_PRODUCT_MEASURE, id);
	uint64_t part = 0;

	if (fg_reader_part_of(r, &key, gen, &part, known, err) < 0)
		return -1;
	if (*known)
		*value = (double)part;
	return 0;
}

struct fg_buf *
fg_artefact_manifest(uint64_t id, const struct fg_piece *p, size_t n)
{
	struct fg_str s = FG_STR_INIT;
	const char *comma = "";

	fg_str_puts(&s, "{\"fragments\":[");
	for (size_t i = 0; i < n; i++) {
		if (p[i].bytes == 0)
			continue;
		fg_str_putf(&s, "%s\"%llu:%llu:%lld\"", comma, (unsigned long long)id,
		    (unsigned long long)p[i].at, (long long)p[i].gen);
		comma = ",";
	}
	fg_str_puts(&s, "]}");
	return fg_str_take(&s);
}
