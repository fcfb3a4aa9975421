/* SPDX-License-Identifier: Apache-2.0 */
/* Oversegmentation consensus: see the header. */
#include "config.h"

#include "seg/consensus.h"

#include <stdlib.h>

struct pair {
	uint32_t a, b;
	uint64_t n;
	uint32_t name;
};

static int
by_pair(const void *px, const void *py)
{
	const struct pair *x = px, *y = py;

	if (x->a != y->a)
		return x->a < y->a ? -1 : 1;
	return x->b < y->b ? -1 : x->b > y->b;
}

/* All pairs with a != 0, sorted, each once. */
static struct pair *
list_pairs(const uint32_t *a, const uint32_t *b, size_t n, size_t *pairs)
{
	struct pair *list = NULL;
	size_t k = 0, cap = 0, out = 0;

	for (size_t i = 0; i < n; i++) {
		if (a[i] == 0)
			continue;
		if (k > 0 && list[k - 1].a == a[i] && list[k - 1].b == b[i]) {
			list[k - 1].n++;
			continue;
		}
		if (k == cap) {
			struct pair *more;

			cap = FG_MAX(2 * cap, (size_t)1024);
			more = fg_try_alloc(cap, sizeof *more);
			if (more && k > 0)
				memcpy(more, list, k * sizeof *more);
			free(list);
			list = more;
			if (!list)
				return NULL;
		}
		list[k++] = (struct pair){a[i], b[i], 1, 0};
	}
	if (k > 0)
		qsort(list, k, sizeof *list, by_pair);
	for (size_t i = 0; i < k; i++) {
		if (out > 0 && by_pair(&list[out - 1], &list[i]) == 0)
			list[out - 1].n += list[i].n;
		else
			list[out++] = list[i];
	}
	*pairs = out;
	return list ? list : fg_calloc(1, sizeof *list);
}

static int
name_pairs(struct pair *p, size_t n, uint64_t least, struct fg_err *err)
{
	uint64_t next = n > 0 ? (uint64_t)p[n - 1].a + 1 : 1;

	for (size_t i = 0, end; i < n; i = end) {
		size_t best = i;

		for (end = i; end < n && p[end].a == p[i].a; end++) {
			if (p[end].n > p[best].n)
				best = end;
		}
		for (size_t k = i; k < end; k++) {
			if (p[k].n < least)
				p[k].name = 0;
			else if (k == best)
				p[k].name = p[k].a;
			else if (next > UINT32_MAX)
				return fg_fail(err, FG_EFULL,
				    "more objects than 32 bits can name");
			else
				p[k].name = (uint32_t)next++;
		}
	}
	return 0;
}

int
fg_consensus_split(const struct fg_array *a, const struct fg_array *b, uint64_t least,
    struct fg_array *out, struct fg_err *err)
{
	const uint32_t *va = a->data, *vb = b->data;
	size_t n = fg_array_count(a), pairs = 0;
	const struct pair *last = NULL;
	struct pair *list;
	uint32_t *vo = out->data;

	fg_assert(a->dtype == FG_U32 && b->dtype == FG_U32 && out->dtype == FG_U32);
	for (int d = 0; d < 4; d++)
		fg_assert(a->shape[d] == b->shape[d] && a->shape[d] == out->shape[d]);
	list = list_pairs(va, vb, n, &pairs);
	if (!list)
		return fg_fail(err, FG_ENOMEM, "no memory for a consensus");
	if (name_pairs(list, pairs, least, err) < 0) {
		free(list);
		return -1;
	}
	for (size_t i = 0; i < n; i++) {
		struct pair key = {.a = va[i], .b = vb[i]};

		if (key.a == 0) {
			vo[i] = 0;
			continue;
		}
		if (!last || by_pair(last, &key) != 0)
			last = bsearch(&key, list, pairs, sizeof *list, by_pair);
		vo[i] = last->name;
	}
	free(list);
	return 0;
}
