/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The queue of a search: least key first, and which of equal ones is not left to
 * chance. Sums of floats make many ways cost the same, so the order among equals shows
 * in the skeleton. It is the one that kimimaro's queue has been seen to have: what is
 * put in rises past equal ones; of two equal children the left one rises.
 */
#ifndef FG_MESH_TREE_HEAP_H
#define FG_MESH_TREE_HEAP_H

#include <stdlib.h>

#include "mesh/tree_priv.h"

static inline int
fg_tree_push(struct fg_tree_heap *h, float key, uint32_t v, struct fg_err *err)
{
	size_t i = h->count;

	if (i == h->room) {
		size_t room = h->room * 2 + 1024;
		struct fg_tree_item *p = realloc(h->item, room * sizeof *p);

		if (!p)
			return fg_fail(err, FG_ENOMEM, "no memory for a queue");
		h->item = p;
		h->room = room;
	}
	h->count++;
	for (; i > 0 && h->item[(i - 1) / 2].key >= key; i = (i - 1) / 2)
		h->item[i] = h->item[(i - 1) / 2];
	h->item[i] = (struct fg_tree_item){key, v};
	return 0;
}

/* The gap that the first leaves sinks to the bottom, along the lesser ones, and the
 * last rises from there. */
static inline struct fg_tree_item
fg_tree_pop(struct fg_tree_heap *h)
{
	struct fg_tree_item top = h->item[0], last = h->item[--h->count];
	size_t i = 0, k;

	while ((k = 2 * i + 1) < h->count) {
		k += k + 1 < h->count && h->item[k + 1].key < h->item[k].key;
		h->item[i] = h->item[k];
		i = k;
	}
	for (; i > 0 && h->item[(i - 1) / 2].key >= last.key; i = (i - 1) / 2)
		h->item[i] = h->item[(i - 1) / 2];
	h->item[i] = last;
	return top;
}

#endif
