/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Renumbering. Neighbours mostly have the same label, so the last one is remembered and
 * a hash table with open addressing (at most half full) is asked only at changes. With
 * a list of wanted labels the table is filled from it first and then no longer grows:
 * what is not in it is background.
 */
#include "config.h"

#include "mesh/labels.h"

#include <stdlib.h>

struct fg_label_table {
	uint64_t *label; /* 0: free */
	uint32_t *number;
	size_t mask; /* size - 1 */
	struct fg_labels *out;
	size_t room; /* entries of out->id */
	bool closed; /* take no more labels */
};

/* Finaliser of MurmurHash3 (public domain): all bits of the label count. */
static size_t
spread(uint64_t v)
{
	v = (v ^ v >> 33) * UINT64_C(0xff51afd7ed558ccd);
	v = (v ^ v >> 33) * UINT64_C(0xc4ceb9fe1a85ec53);
	return v ^ v >> 33;
}

static size_t
slot_of(const struct fg_label_table *t, uint64_t label)
{
	size_t i = spread(label) & t->mask;

	while (t->label[i] && t->label[i] != label)
		i = (i + 1) & t->mask;
	return i;
}

static int
table_resize(struct fg_label_table *t, size_t size, struct fg_err *err)
{
	struct fg_label_table old = *t;

	t->mask = size - 1;
	t->label = calloc(size, sizeof *t->label);
	t->number = calloc(size, sizeof *t->number);
	uint64_t *id = realloc(t->out->id, (size / 2 + 1) * sizeof *id);
	if (id) {
		t->out->id = id;
		t->room = size / 2 + 1;
	}
	if (!t->label || !t->number || !id) {
		free(t->label);
		free(t->number);
		t->label = old.label;
		t->number = old.number;
		t->mask = old.mask;
		return fg_fail(err, FG_ENOMEM, "no memory for a table of %zu labels",
		    size);
	}
	t->out->id[0] = 0;
	for (uint32_t k = 1; k <= t->out->count; k++) {
		size_t i = slot_of(t, t->out->id[k]);

		t->label[i] = t->out->id[k];
		t->number[i] = k;
	}
	free(old.label);
	free(old.number);
	return 0;
}

/* The number of a label that is not 0; 0 also for one that is not wanted. */
static int
number_of(struct fg_label_table *t, uint64_t label, uint32_t *number,
    struct fg_err *err)
{
	size_t i = slot_of(t, label);

	if (t->label[i] || t->closed) {
		*number = t->number[i];
		return 0;
	}
	if (t->out->count >= UINT32_MAX - 1)
		return fg_fail(err, FG_ENOTSUP, "more than %u labels in one block",
		    UINT32_MAX - 1);
	if (t->out->count + 2 > t->room) {
		if (table_resize(t, 2 * (t->mask + 1), err) < 0)
			return -1;
		i = slot_of(t, label);
	}
	*number = ++t->out->count;
	t->out->id[*number] = label;
	t->label[i] = label;
	t->number[i] = *number;
	return 0;
}

/* One row of n voxels of a type; `last` and `number` live on from row to row. */
#define ROW(type)                                                                      \
	static int row_##type(struct fg_label_table *t, const void *from,              \
	    uint32_t *to, int64_t n, uint64_t *last, uint32_t *number,                 \
	    struct fg_err *err)                                                        \
	{                                                                              \
		const type *p = from;                                                  \
		type seen = (type)*last;                                               \
                                                                                       \
		for (int64_t x = 0; x < n; x++) {                                      \
			if (p[x] != seen) {                                            \
				seen = p[x];                                           \
				*number = 0;                                           \
				if (seen && number_of(t, seen, number, err) < 0)       \
					return -1;                                     \
			}                                                              \
			to[x] = *number;                                               \
		}                                                                      \
		*last = seen;                                                          \
		return 0;                                                              \
	}
ROW(uint8_t)
ROW(uint16_t)
ROW(uint32_t)
ROW(uint64_t)
#undef ROW

typedef int (*row_fn)(struct fg_label_table *, const void *, uint32_t *, int64_t,
    uint64_t *, uint32_t *, struct fg_err *);

static row_fn
row_of(enum fg_dtype t)
{
	switch (t) {
	case FG_U8:
		return row_uint8_t;
	case FG_U16:
		return row_uint16_t;
	case FG_U32:
		return row_uint32_t;
	case FG_U64:
		return row_uint64_t;
	default:
		return NULL;
	}
}

int
fg_labels_layer(struct fg_labels *l, int64_t z, uint32_t *to, struct fg_err *err)
{
	const struct fg_array *src = l->src;
	const row_fn row = row_of(src->dtype);
	const int64_t *n = src->shape, *full = l->shape;
	size_t step = fg_dtype_size(src->dtype) * (size_t)n[0];
	const uint8_t *from = src->data;
	uint64_t last = 0;
	uint32_t number = 0;

	z -= l->lo[2];
	if (full[0] != n[0] || full[1] != n[1] || z < 0 || z >= n[2])
		memset(to, 0, (size_t)(full[0] * full[1]) * sizeof *to);
	if (z < 0 || z >= n[2])
		return 0;
	from += step * (size_t)(n[1] * z);
	to += l->lo[0] + full[0] * l->lo[1];
	for (int64_t y = 0; y < n[1]; y++, from += step, to += full[0]) {
		if (row(l->table, from, to, n[0], &last, &number, err) < 0)
			return -1;
	}
	return 0;
}

/* Shape of the source with its margins. */
static int
set_shape(struct fg_labels *l, const struct fg_array *src, const int64_t lo[3],
    const int64_t hi[3], struct fg_err *err)
{
	static const int64_t none[3];
	size_t n = sizeof *l->dense;

	if (!row_of(src->dtype))
		return fg_fail(err, FG_EINVAL, "labels are %s, not unsigned integers",
		    fg_dtype_name(src->dtype));
	if (src->shape[3] != 1)
		return fg_fail(err, FG_EINVAL, "labels have %lld channels, not 1",
		    (long long)src->shape[3]);
	lo = lo ? lo : none;
	hi = hi ? hi : none;
	for (int d = 0; d < 3; d++) {
		if (src->shape[d] < 1 || src->shape[d] > INT32_MAX / 2)
			return fg_fail(err, FG_EINVAL,
			    "labels have %lld voxels along axis %d",
			    (long long)src->shape[d], d);
		l->lo[d] = lo[d];
		l->shape[d] = src->shape[d] + lo[d] + hi[d];
		if (__builtin_mul_overflow(n, (size_t)l->shape[d], &n))
			return fg_fail(err, FG_EINVAL, "too many voxels");
	}
	l->src = src;
	return 0;
}

int
fg_labels_open(struct fg_labels *l, const struct fg_array *src, const uint64_t *only,
    size_t only_count, const int64_t lo[3], const int64_t hi[3], struct fg_err *err)
{
	size_t size = 64;
	uint32_t k;

	*l = (struct fg_labels){0};
	if (set_shape(l, src, lo, hi, err) < 0)
		return -1;
	while (only && size / 2 < only_count + 1)
		size *= 2;
	l->table = fg_calloc(1, sizeof *l->table);
	l->table->out = l;
	if (table_resize(l->table, size, err) < 0)
		goto fail;
	for (size_t i = 0; only && i < only_count; i++) {
		if (only[i] && number_of(l->table, only[i], &k, err) < 0)
			goto fail;
	}
	l->table->closed = only != NULL;
	return 0;
fail:
	fg_labels_fini(l);
	return -1;
}

static void
free_table(struct fg_labels *l)
{
	if (!l->table)
		return;
	free(l->table->label);
	free(l->table->number);
	free(l->table);
	l->table = NULL;
}

int
fg_labels_init(struct fg_labels *l, const struct fg_array *src, const uint64_t *only,
    size_t only_count, const int64_t lo[3], const int64_t hi[3], struct fg_err *err)
{
	if (fg_labels_open(l, src, only, only_count, lo, hi, err) < 0)
		return -1;
	size_t layer = (size_t)(l->shape[0] * l->shape[1]);
	l->dense = fg_try_alloc(layer * (size_t)l->shape[2], sizeof *l->dense);
	if (!l->dense) {
		fg_fail(err, FG_ENOMEM, "no memory for %lld layers of %zu labels",
		    (long long)l->shape[2], layer);
		goto fail;
	}
	for (int64_t z = 0; z < l->shape[2]; z++) {
		if (fg_labels_layer(l, z, l->dense + layer * (size_t)z, err) < 0)
			goto fail;
	}
	free_table(l);
	l->src = NULL;
	return 0;
fail:
	fg_labels_fini(l);
	return -1;
}

void
fg_labels_fini(struct fg_labels *l)
{
	free_table(l);
	free(l->dense);
	free(l->id);
	*l = (struct fg_labels){0};
}
