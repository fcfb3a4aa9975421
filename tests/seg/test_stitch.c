/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rule of stitching: small cases by hand, and random labels against a plain
 * implementation that counts with dense tables.
 */
#include "config.h"

#include "seg/stitch.h"

#include "tests/tap.h"

#define N 400
#define LABELS 12

static struct fg_array
make(const uint32_t *v, int64_t n)
{
	struct fg_array a = FG_ARRAY_INIT;
	struct fg_err err = FG_ERR_INIT;
	int64_t shape[4] = {n, 1, 1, 1};

	if (fg_array_init(&a, FG_U32, shape, &err) < 0)
		exit(1);
	memcpy(a.data, v, (size_t)n * sizeof *v);
	return a;
}

/* Fill runs: count, a, b, count, a, b, ..., 0. */
static int64_t
fill(const int *runs, uint32_t *a, uint32_t *b)
{
	int64_t n = 0;

	for (; runs[0]; runs += 3) {
		for (int i = 0; i < runs[0]; i++, n++) {
			a[n] = (uint32_t)runs[1];
			b[n] = (uint32_t)runs[2];
		}
	}
	return n;
}

static struct fg_stitch_pair *
compare(const uint32_t *a, const uint32_t *b, int64_t n,
    const struct fg_stitch_rule *rule, size_t *pairs)
{
	struct fg_array x = make(a, n), y = make(b, n);
	struct fg_stitch_pair *p = NULL;
	struct fg_err err = FG_ERR_INIT;

	tap_rc(fg_stitch_compare(&x, &y, rule, &p, pairs, &err), &err, "compare");
	fg_array_fini(&x);
	fg_array_fini(&y);
	return p;
}

static const struct fg_stitch_pair *
find(const struct fg_stitch_pair *p, size_t n, uint32_t a, uint32_t b)
{
	for (size_t i = 0; i < n; i++) {
		if (p[i].a == a && p[i].b == b)
			return &p[i];
	}
	return NULL;
}

static bool
joined(const int *runs, const struct fg_stitch_rule *rule, uint32_t a, uint32_t b)
{
	static uint32_t x[20000], y[20000];
	const struct fg_stitch_pair *q;
	struct fg_stitch_pair *p;
	size_t n = 0;

	p = compare(x, y, fill(runs, x, y), rule, &n);
	q = find(p, n, a, b);
	bool yes = q && q->joined;
	free(p);
	return yes;
}

static void
test_rule(void)
{
	struct fg_stitch_rule r;
	const int same[] = {100, 1, 5, 10, 1, 0, 10, 0, 5, 0};
	const int weak[] = {100, 1, 5, 120, 1, 0, 100, 0, 5, 0};
	const int inside[] = {100, 1, 5, 900, 1, 0, 5, 0, 5, 0};
	const int leak[] = {600, 1, 5, 300, 1, 6, 300, 1, 7, 0};
	const int few[] = {19, 1, 5, 0};
	const int tie[] = {50, 1, 5, 50, 1, 4, 0};

	fg_stitch_rule_strict(&r);
	tap_ok(joined(same, &r, 1, 5), "two that cover each other join");
	tap_ok(!joined(weak, &r, 1, 5), "two that share a third do not");
	tap_ok(!joined(inside, &r, 1, 5), "nor one inside another");
	r.share = 0.8;
	tap_ok(joined(inside, &r, 1, 5), "unless the share of the smaller counts");
	tap_ok(joined(leak, &r, 1, 5), "of three behind a leak the largest joins");
	tap_ok(!joined(leak, &r, 1, 6) && !joined(leak, &r, 1, 7), "and no other");
	r.fragment_max = 299;
	tap_ok(!joined(leak, &r, 1, 6), "nor do fragments above the bound");
	r.fragment_max = 300;
	tap_ok(joined(leak, &r, 1, 6) && joined(leak, &r, 1, 7), "but those up to it");
	r.fragment_max = 0;
	tap_ok(!joined(few, &r, 1, 5), "few voxels are no evidence");
	r.both_min = 19;
	tap_ok(joined(few, &r, 1, 5), "unless that is allowed");
	r.both_min = 20;
	tap_ok(joined(tie, &r, 1, 4) && !joined(tie, &r, 1, 5),
	    "of equals the lower number");
	/* That of objects which hang together. */
	fg_stitch_rule_default(&r, 20);
	tap_ok(joined(same, &r, 1, 5) && joined(inside, &r, 1, 5) &&
		   joined(tie, &r, 1, 4) && joined(tie, &r, 1, 5),
	    "by default what lies in another joins it, too");
	tap_ok(joined(leak, &r, 1, 5) && joined(leak, &r, 1, 6) &&
		   joined(leak, &r, 1, 7),
	    "however large and many they are");
	tap_ok(!joined(weak, &r, 1, 5), "not what shares a third");
	tap_ok(!joined(few, &r, 1, 5), "nor by few voxels");
}

/* ------------------------------------------------------------- against a plain one */

static uint64_t rnd_state = 3;

static uint32_t
rnd(uint32_t n)
{
	rnd_state = rnd_state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(rnd_state >> 33) % n;
}

/* Wrong pairs. */
static int
check(const uint32_t *a, const uint32_t *b, const struct fg_stitch_rule *r,
    const struct fg_stitch_pair *p, size_t n)
{
	static uint64_t both[LABELS][LABELS], in_a[LABELS], in_b[LABELS];
	int wrong = 0, want = 0;

	memset(both, 0, sizeof both);
	memset(in_a, 0, sizeof in_a);
	memset(in_b, 0, sizeof in_b);
	for (int i = 0; i < N; i++) {
		both[a[i]][b[i]]++;
		in_a[a[i]]++;
		in_b[b[i]]++;
	}
	for (uint32_t x = 1; x < LABELS; x++) {
		for (uint32_t y = 1; y < LABELS; y++) {
			uint64_t k = both[x][y], all = in_a[x] + in_b[y] - k;
			uint64_t least = FG_MIN(in_a[x], in_b[y]);
			bool best_x = true, best_y = true, join;
			const struct fg_stitch_pair *q = find(p, n, x, y);

			if (k == 0) {
				wrong += q != NULL;
				continue;
			}
			for (uint32_t z = 1; z < LABELS; z++) {
				best_x &= both[x][z] < k || (both[x][z] == k && z >= y);
				best_y &= both[z][y] < k || (both[z][y] == k && z >= x);
			}
			join = best_x && best_y &&
			       ((double)k >= r->iou * (double)all ||
				   (double)k >= r->share * (double)least);
			join |= best_y && !best_x &&
				(double)k >= r->fragment_share * (double)in_b[y] &&
				in_b[y] <= (uint64_t)r->fragment_max;
			join |= best_x && !best_y &&
				(double)k >= r->fragment_share * (double)in_a[x] &&
				in_a[x] <= (uint64_t)r->fragment_max;
			join &= k >= (uint64_t)r->both_min;
			if (!join && (double)k < 0.1 * (double)least) {
				wrong += q != NULL;
				continue;
			}
			want++;
			wrong += !q || q->both != k || q->only_a != in_a[x] - k ||
				 q->only_b != in_b[y] - k || q->joined != join ||
				 q->mutual != (best_x && best_y);
		}
	}
	return wrong + abs(want - (int)n);
}

static int
play(void)
{
	static uint32_t a[N], b[N];
	struct fg_array x, y;
	struct fg_stitch_rule r;
	struct fg_stitch_pair *p = NULL, *q = NULL;
	struct fg_err err = FG_ERR_INIT;
	uint32_t la = 0, lb = 0;
	size_t n = 0, m = 0;
	int wrong = 0;

	fg_stitch_rule_default(&r, 20);
	r.both_min = 1 + rnd(6);
	r.share = 0.4 + 0.1 * rnd(7);
	r.fragment_max = rnd(2) ? rnd(60) : 0;
	for (int i = 0; i < N; i++) {
		if (rnd(12) == 0)
			la = rnd(LABELS);
		if (rnd(12) == 0)
			lb = rnd(3) ? la : rnd(LABELS);
		a[i] = la;
		b[i] = lb;
	}
	x = make(a, N);
	y = make(b, N);
	if (fg_stitch_compare(&x, &y, &r, &p, &n, &err) < 0 ||
	    fg_stitch_compare(&y, &x, &r, &q, &m, &err) < 0)
		wrong = 1;
	else
		wrong = check(a, b, &r, p, n);
	for (size_t i = 0; i < n; i++) {
		const struct fg_stitch_pair *o = find(q, m, p[i].b, p[i].a);

		wrong += !o || o->joined != p[i].joined || o->only_a != p[i].only_b;
	}
	wrong += n != m;
	free(p);
	free(q);
	fg_array_fini(&x);
	fg_array_fini(&y);
	return wrong;
}

static void
test_text(void)
{
	struct fg_stitch_rule r, s;
	struct fg_err err = FG_ERR_INIT;
	json_t *j;

	fg_stitch_rule_default(&r, 20);
	r.near = 9;
	r.fragment_max = 1234;
	j = fg_stitch_rule_format(&r);
	fg_stitch_rule_strict(&s);
	tap_rc(fg_stitch_rule_parse(j, &s, &err), &err, "its own text is read");
	tap_ok(s.near == 9 && s.fragment_max == 1234 && s.iou == r.iou &&
		   s.share == r.share && s.fragment_share == r.fragment_share &&
		   s.both_min == r.both_min,
	    "and means the same");
	fg_stitch_rule_default(&r, 20);
	json_decref(j);
	j = fg_stitch_rule_format(&r);
	tap_rc(fg_stitch_rule_parse(j, &s, &err), &err, "that of the default, too");
	tap_ok(s.near == r.near && s.fragment_max == r.fragment_max,
	    "whose bound is one that may be told");
	json_object_set_new(j, "naer", json_integer(3));
	tap_fails(fg_stitch_rule_parse(j, &s, &err), &err, FG_EINVAL,
	    "\"naer\" is not known", "a misspelt name is refused");
	json_object_del(j, "naer");
	json_object_set_new(j, "near", json_integer(0));
	tap_fails(fg_stitch_rule_parse(j, &s, &err), &err, FG_EINVAL, "not within",
	    "nothing to look at is refused");
	json_decref(j);
	j = json_array();
	tap_fails(fg_stitch_rule_parse(j, &s, &err), &err, FG_EINVAL,
	    "is not an object", "a list is refused");
	json_decref(j);
}

int
main(void)
{
	uint32_t none[8] = {0};
	struct fg_stitch_rule r;
	size_t n = 7;
	int wrong = 0;

	test_rule();
	fg_stitch_rule_default(&r, 20);
	free(compare(none, none, 8, &r, &n));
	tap_int((int)n, 0, "background has no pairs");
	for (int i = 0; i < 300; i++)
		wrong += play();
	tap_int(wrong, 0, "300 random boxes, as the plain rule has them, both ways");
	test_text();
	return tap_done();
}
