/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which objects of two blocks are one: see the header. Pairs are counted in a hash
 * table, runs of equal pairs at once; everything after that works on the list of pairs,
 * sorted once for either side.
 */
#include "config.h"

#include "seg/stitch.h"

#include <stdlib.h>

#include "base/json.h"

/* Less of both sides is not worth a row. */
#define KEEP_SHARE 0.1
#define VOXELS_MAX (INT64_C(1) << 40)

void
fg_stitch_rule_default(struct fg_stitch_rule *r, int64_t least)
{
	*r = (struct fg_stitch_rule){
	    .near = 32,
	    .iou = 0.5,
	    .share = 0.8,
	    .fragment_share = 0.8,
	    .fragment_max = VOXELS_MAX, /* no bound */
	    .both_min = FG_MAX(least, 1),
	    .rival = 2,
	};
}

void
fg_stitch_rule_strict(struct fg_stitch_rule *r)
{
	*r = (struct fg_stitch_rule){
	    .near = 4,
	    .iou = 0.5,
	    .share = 2,
	    .fragment_share = 0.8,
	    .fragment_max = 0,
	    .both_min = 20,
	    .rival = 2,
	};
}

int
fg_stitch_rule_parse(const json_t *obj, struct fg_stitch_rule *r, struct fg_err *err)
{
	static const char *const known[] = {"near", "iou", "share", "fragment_share",
	    "fragment_max", "both_min", "rival"};
	const enum fg_json_need opt = FG_JSON_OPTIONAL;
	struct fg_stitch_rule q = *r;
	const char *key;
	json_t *v;

	if (!json_is_object(obj))
		return fg_fail(err, FG_EINVAL, "\"stitch\" is not an object");
	json_object_foreach((json_t *)obj, key, v)
	{
		size_t i = 0;

		while (i < FG_COUNTOF(known) && strcmp(known[i], key) != 0)
			i++;
		if (i == FG_COUNTOF(known))
			return fg_fail(err, FG_EINVAL, "stitch: \"%.60s\" is not known",
			    key);
	}
	if (fg_json_get_int(obj, "near", opt, 1, 4096, &q.near, err) < 0 ||
	    fg_json_get_real(obj, "iou", opt, 0, 2, &q.iou, err) < 0 ||
	    fg_json_get_real(obj, "share", opt, 0, 2, &q.share, err) < 0 ||
	    fg_json_get_real(obj, "fragment_share", opt, 0, 2, &q.fragment_share, err) <
		0 ||
	    fg_json_get_int(obj, "fragment_max", opt, 0, VOXELS_MAX, &q.fragment_max,
		err) < 0 ||
	    fg_json_get_real(obj, "rival", opt, 0, 2, &q.rival, err) < 0 ||
	    fg_json_get_int(obj, "both_min", opt, 1, VOXELS_MAX, &q.both_min, err) < 0)
		return fg_err_prefix(err, "stitch");
	*r = q;
	return 0;
}

json_t *
fg_stitch_rule_format(const struct fg_stitch_rule *r)
{
	return json_pack("{s:I,s:f,s:f,s:f,s:I,s:I,s:f}", "near", (json_int_t)r->near,
	    "iou", r->iou, "share", r->share, "fragment_share", r->fragment_share,
	    "fragment_max", (json_int_t)r->fragment_max, "both_min",
	    (json_int_t)r->both_min, "rival", r->rival);
}

/* ------------------------------------------------------------- counting */

struct count {
	uint32_t a, b;
	uint64_t n; /* 0: free place */
};

struct counts {
	struct count *place;
	size_t places, used; /* places: power of two */
};

static size_t
place_of(const struct counts *c, uint32_t a, uint32_t b)
{
	uint64_t h = ((uint64_t)a << 32 | b) * UINT64_C(0x9e3779b97f4a7c15);
	size_t i = (size_t)(h >> 24) & (c->places - 1);

	while (c->place[i].n && (c->place[i].a != a || c->place[i].b != b))
		i = (i + 1) & (c->places - 1);
	return i;
}

static bool
grow(struct counts *c)
{
	struct counts big = {.places = FG_MAX(2 * c->places, (size_t)256)};

	big.place = fg_try_alloc(big.places, sizeof *big.place);
	if (!big.place)
		return false;
	memset(big.place, 0, big.places * sizeof *big.place);
	for (size_t i = 0; i < c->places; i++) {
		if (c->place[i].n)
			big.place[place_of(&big, c->place[i].a, c->place[i].b)] =
			    c->place[i];
	}
	big.used = c->used;
	free(c->place);
	*c = big;
	return true;
}

static bool
add(struct counts *c, uint32_t a, uint32_t b, uint64_t n)
{
	if ((a | b) == 0)
		return true;
	if (2 * (c->used + 1) > c->places && !grow(c))
		return false;
	struct count *p = &c->place[place_of(c, a, b)];
	if (p->n == 0) {
		*p = (struct count){.a = a, .b = b};
		c->used++;
	}
	p->n += n;
	return true;
}

static bool
count_all(struct counts *c, const uint32_t *a, const uint32_t *b, size_t n)
{
	size_t from = 0;

	for (size_t i = 1; i <= n; i++) {
		if (i < n && a[i] == a[from] && b[i] == b[from])
			continue;
		if (!add(c, a[from], b[from], i - from))
			return false;
		from = i;
	}
	return true;
}

/* ------------------------------------------------------------- the rule */

static int
by_a(const void *px, const void *py)
{
	const struct count *x = px, *y = py;

	if (x->a != y->a)
		return x->a < y->a ? -1 : 1;
	return x->b < y->b ? -1 : x->b > y->b;
}

static int
pair_by_a(const void *px, const void *py)
{
	const struct fg_stitch_pair *x = px, *y = py;

	if (x->a != y->a)
		return x->a < y->a ? -1 : 1;
	return x->b < y->b ? -1 : x->b > y->b;
}

static bool
joins(const struct fg_stitch_pair *p, const struct fg_stitch_rule *r, bool best_a,
    bool best_b, uint64_t other_a, uint64_t other_b)
{
	double a = (double)(p->both + p->only_a), b = (double)(p->both + p->only_b);
	double both = (double)p->both;

	if (p->both < (uint64_t)r->both_min ||
	    (double)other_a >= FG_MAX(r->rival * a, 1.0) ||
	    (double)other_b >= FG_MAX(r->rival * b, 1.0))
		return false;
	if (best_a && best_b)
		return both >= r->iou * (a + b - both) ||
		       both >= r->share * FG_MIN(a, b);
	/* best_b: a is what b would choose. */
	if (best_b && both >= r->fragment_share * b && b <= (double)r->fragment_max)
		return true;
	return best_a && both >= r->fragment_share * a && a <= (double)r->fragment_max;
}

/* One pair on its way: whether each side would choose the other. */
struct choice {
	struct fg_stitch_pair pair; /* first, so that the comparisons above fit */
	bool best_a, best_b;
	uint64_t other_a, other_b; /* what a (b) shares most with, beside the other */
};

/* Sums and best partner of each run of equal `a` (or b): counts[] sorted accordingly
 * covers also voxels where the other side has none. */
static void
sum_a(struct choice *v, size_t n, const struct count *all, size_t counts)
{
	for (size_t i = 0, k = 0; i < n;) {
		uint64_t size = 0;
		size_t end = i, best = i;
		uint64_t second = 0;

		while (all[k].a != v[i].pair.a)
			k++;
		for (; k < counts && all[k].a == v[i].pair.a; k++)
			size += all[k].n;
		for (; end < n && v[end].pair.a == v[i].pair.a; end++) {
			v[end].pair.only_a = size - v[end].pair.both;
			if (v[end].pair.both > v[best].pair.both)
				best = end;
		}
		v[best].best_a = true;
		for (size_t n1 = i; n1 < end; n1++) {
			if (n1 != best)
				second = FG_MAX(second, v[n1].pair.both);
		}
		for (size_t n1 = i; n1 < end; n1++)
			v[n1].other_a = n1 == best ? second : v[best].pair.both;
		i = end;
	}
}

static void
swap_sides(struct choice *v, size_t n, struct count *all, size_t counts)
{
	for (size_t i = 0; i < n; i++) {
		struct choice *c = &v[i];

		*c = (struct choice){
		    .pair = {.a = c->pair.b,
			.b = c->pair.a,
			.both = c->pair.both,
			.only_a = c->pair.only_b,
			.only_b = c->pair.only_a},
		    .best_a = c->best_b,
		    .best_b = c->best_a,
		    .other_a = c->other_b,
		    .other_b = c->other_a,
		};
	}
	for (size_t i = 0; i < counts; i++) {
		uint32_t t = all[i].a;

		all[i].a = all[i].b;
		all[i].b = t;
	}
}

static void
decide(struct choice *v, size_t n, struct count *all, size_t counts)
{
	for (int side = 0; side < 2; side++) {
		qsort(all, counts, sizeof *all, by_a);
		qsort(v, n, sizeof *v, pair_by_a);
		sum_a(v, n, all, counts);
		swap_sides(v, n, all, counts);
	}
	qsort(v, n, sizeof *v, pair_by_a);
}

int
fg_stitch_compare(const struct fg_array *a, const struct fg_array *b,
    const struct fg_stitch_rule *rule, struct fg_stitch_pair **out, size_t *n,
    struct fg_err *err)
{
	struct counts c = {0};
	struct fg_stitch_pair *list = NULL;
	struct choice *v = NULL;
	size_t counts = 0, pairs = 0, kept = 0;
	int rc = -1;

	fg_assert(a->dtype == FG_U32 && b->dtype == FG_U32);
	for (int d = 0; d < 4; d++)
		fg_assert(a->shape[d] == b->shape[d]);
	if (!grow(&c) || !count_all(&c, a->data, b->data, fg_array_count(a)))
		goto out;
	v = fg_try_alloc(c.used + 1, sizeof *v);
	list = fg_try_alloc(c.used + 1, sizeof *list);
	if (!v || !list)
		goto out;
	/* From here on the table is a list. */
	for (size_t i = 0; i < c.places; i++) {
		struct count p = c.place[i];

		if (p.n == 0)
			continue;
		c.place[counts++] = p;
		if (p.a && p.b)
			v[pairs++] =
			    (struct choice){.pair = {.a = p.a, .b = p.b, .both = p.n}};
	}
	if (pairs > 0)
		decide(v, pairs, c.place, counts);
	for (size_t i = 0; i < pairs; i++) {
		struct fg_stitch_pair p = v[i].pair;
		uint64_t least = p.both + FG_MIN(p.only_a, p.only_b);

		p.mutual = v[i].best_a && v[i].best_b;
		p.joined = joins(&p, rule, v[i].best_a, v[i].best_b, v[i].other_a,
		    v[i].other_b);
		if (p.joined || (double)p.both >= KEEP_SHARE * (double)least)
			list[kept++] = p;
	}
	*out = list;
	*n = kept;
	list = NULL;
	rc = 0;
out:
	if (rc < 0)
		fg_fail(err, FG_ENOMEM, "no memory to compare two blocks");
	free(list);
	free(v);
	free(c.place);
	return rc;
}
