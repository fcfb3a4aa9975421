/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scores from a contingency table.
 *
 * The table is an open-addressing hash of (test label, reference label) -> voxels, with
 * linear probing and at most two thirds full. EM labels come in long runs along x, so
 * voxels are first joined into runs and the table is asked once per run.
 *
 * fg_score_get copies the pairs into an array, sorts it by test label to learn each
 * test object's size, then by reference label, and sums. Sums of floating-point terms
 * run in the sorted order, so equal tables give equal bits however they were filled.
 *
 * Sources: variation of information, Meila 2003; adapted Rand error, Arganda-Carreras
 * et al. 2015 (SNEMI3D).
 */
#include "config.h"

#include "seg/score.h"

#include <math.h>
#include <stdlib.h>

enum { FIRST_CAPACITY = 4096, ROW = 1024 };

struct pair {
	uint64_t test, ref;
	uint64_t n; /* voxels; 0 marks a free place of the table */
};

struct fg_scorer {
	struct pair *table; /* capacity places, a power of two */
	size_t capacity, used, max_pairs;
	uint64_t voxels;
};

struct fg_scorer *
fg_score_new(size_t max_pairs)
{
	struct fg_scorer *s = fg_calloc(1, sizeof *s);

	s->max_pairs = max_pairs ? max_pairs : 100u * 1000 * 1000;
	s->capacity = FIRST_CAPACITY;
	s->table = fg_calloc(s->capacity, sizeof *s->table);
	return s;
}

void
fg_score_free(struct fg_scorer *s)
{
	if (!s)
		return;
	free(s->table);
	free(s);
}

/* splitmix64's finisher over both labels: labels are small consecutive numbers or
 * carry block coordinates in high bits, and both must spread. */
static size_t
hash_pair(uint64_t test, uint64_t ref)
{
	uint64_t h = test * 0x9e3779b97f4a7c15u ^ (ref + 0x632be59bd9b4e019u);

	h = (h ^ h >> 30) * 0xbf58476d1ce4e5b9u;
	h = (h ^ h >> 27) * 0x94d049bb133111ebu;
	return (size_t)(h ^ h >> 31);
}

/* The place of a pair: where it is, or the free one where it belongs. */
static struct pair *
find_place(struct pair *table, size_t capacity, uint64_t test, uint64_t ref)
{
	size_t i = hash_pair(test, ref) & (capacity - 1);

	while (table[i].n && (table[i].test != test || table[i].ref != ref))
		i = (i + 1) & (capacity - 1);
	return &table[i];
}

static int
grow(struct fg_scorer *s, struct fg_err *err)
{
	size_t capacity = s->capacity * 2;
	struct pair *table = fg_try_alloc(capacity, sizeof *table);

	if (!table)
		return fg_fail(err, FG_ENOMEM,
		    "no memory for a table of %zu label pairs", capacity);
	memset(table, 0, capacity * sizeof *table);
	for (size_t i = 0; i < s->capacity; i++) {
		const struct pair *p = &s->table[i];

		if (p->n)
			*find_place(table, capacity, p->test, p->ref) = *p;
	}
	free(s->table);
	s->table = table;
	s->capacity = capacity;
	return 0;
}

static int
count_run(struct fg_scorer *s, uint64_t test, uint64_t ref, uint64_t n,
    struct fg_err *err)
{
	struct pair *p = find_place(s->table, s->capacity, test, ref);

	if (p->n) {
		p->n += n;
		return 0;
	}
	if (s->used >= s->max_pairs)
		return fg_fail(err, FG_EFULL, "more than %zu different pairs of labels",
		    s->max_pairs);
	if (3 * (s->used + 1) > 2 * s->capacity) {
		if (grow(s, err) < 0)
			return -1;
		p = find_place(s->table, s->capacity, test, ref);
	}
	*p = (struct pair){.test = test, .ref = ref, .n = n};
	s->used++;
	return 0;
}

/* n labels from index `first`, widened. */
static void
load_labels(const struct fg_array *a, size_t first, size_t n, uint64_t *out)
{
	switch (a->dtype) {
	case FG_U8:
		for (size_t i = 0; i < n; i++)
			out[i] = ((const uint8_t *)a->data)[first + i];
		break;
	case FG_U16:
		for (size_t i = 0; i < n; i++)
			out[i] = ((const uint16_t *)a->data)[first + i];
		break;
	case FG_U32:
		for (size_t i = 0; i < n; i++)
			out[i] = ((const uint32_t *)a->data)[first + i];
		break;
	default:
		memcpy(out, (const uint64_t *)a->data + first, n * sizeof *out);
		break;
	}
}

static bool
is_label_type(enum fg_dtype t)
{
	return t == FG_U8 || t == FG_U16 || t == FG_U32 || t == FG_U64;
}

static int
check_arrays(const struct fg_array *test, const struct fg_array *ref,
    struct fg_err *err)
{
	const int64_t *a = test->shape, *b = ref->shape;

	if (!is_label_type(test->dtype) || !is_label_type(ref->dtype))
		return fg_fail(err, FG_EINVAL,
		    "labels are uint8, uint16, uint32 or uint64, found %s and %s",
		    fg_dtype_name(test->dtype), fg_dtype_name(ref->dtype));
	if (memcmp(a, b, sizeof test->shape) != 0)
		return fg_fail(err, FG_EINVAL,
		    "segmentation is %lldx%lldx%lld, reference %lldx%lldx%lld",
		    (long long)a[0], (long long)a[1], (long long)a[2], (long long)b[0],
		    (long long)b[1], (long long)b[2]);
	if (a[3] != 1)
		return fg_fail(err, FG_EINVAL, "labels have one channel, found %lld",
		    (long long)a[3]);
	return 0;
}

int
fg_score_add(struct fg_scorer *s, const struct fg_array *test,
    const struct fg_array *ref, struct fg_err *err)
{
	uint64_t t[ROW], r[ROW], run_test = 0, run_ref = 0, run = 0;

	if (check_arrays(test, ref, err) < 0)
		return -1;
	size_t count = fg_array_count(test);
	for (size_t first = 0; first < count; first += ROW) {
		size_t n = FG_MIN(count - first, (size_t)ROW);

		load_labels(test, first, n, t);
		load_labels(ref, first, n, r);
		for (size_t i = 0; i < n; i++) {
			if (run && t[i] == run_test && r[i] == run_ref) {
				run++;
				continue;
			}
			if (run && count_run(s, run_test, run_ref, run, err) < 0)
				return -1;
			run_test = t[i];
			run_ref = r[i];
			run = 1;
		}
	}
	if (run && count_run(s, run_test, run_ref, run, err) < 0)
		return -1;
	s->voxels += count;
	return 0;
}

/* ------------------------------------------------------------- scores */

/* A pair with the sizes of its test object: among the compared voxels, and in all. */
struct row {
	struct pair pair;
	uint64_t test_compared, test_all;
};

static int
compare_u64(uint64_t a, uint64_t b)
{
	return (a > b) - (a < b);
}

static int
by_test(const void *a, const void *b)
{
	const struct row *x = a, *y = b;
	int c = compare_u64(x->pair.test, y->pair.test);

	return c ? c : compare_u64(x->pair.ref, y->pair.ref);
}

static int
by_ref(const void *a, const void *b)
{
	const struct row *x = a, *y = b;
	int c = compare_u64(x->pair.ref, y->pair.ref);

	return c ? c : compare_u64(x->pair.test, y->pair.test);
}

static bool
is_compared(const struct pair *p, enum fg_score_over over)
{
	return p->ref != 0 && (over == FG_SCORE_REFERENCE || p->test != 0);
}

/* Fill in the test sizes; returns the number of test objects. The sum of the squared
 * compared sizes, which precision needs, goes to *squares. */
static uint64_t
size_tests(struct row *row, size_t n, enum fg_score_over over, double *squares)
{
	uint64_t objects = 0;

	qsort(row, n, sizeof *row, by_test);
	for (size_t i = 0, end; i < n; i = end) {
		uint64_t compared = 0, all = 0;

		for (end = i; end < n && row[end].pair.test == row[i].pair.test;
		     end++) {
			all += row[end].pair.n;
			if (is_compared(&row[end].pair, over))
				compared += row[end].pair.n;
		}
		for (size_t k = i; k < end; k++) {
			row[k].test_compared = compared;
			row[k].test_all = all;
		}
		objects += row[i].pair.test != 0;
		*squares += (double)compared * (double)compared;
	}
	return objects;
}

struct sums {
	double squares, test_squares, ref_squares;
	double split, merge; /* sums of n log2(size / n) */
	double iou;          /* sum of size * best IoU */
	uint64_t labelled;   /* voxels with a reference label */
};

/* One reference object (or 0): row[0..n). */
static void
sum_reference(const struct row *row, size_t n, struct fg_score *out, struct sums *sum)
{
	uint64_t compared = 0, all = 0;
	double best = 0;

	if (row->pair.ref == 0)
		return; /* compared by neither rule, and no object */
	for (size_t i = 0; i < n; i++) {
		all += row[i].pair.n;
		if (is_compared(&row[i].pair, out->over))
			compared += row[i].pair.n;
	}
	for (size_t i = 0; i < n; i++) {
		const struct pair *p = &row[i].pair;
		double shared = (double)p->n;

		if (p->test != 0)
			best = fmax(best,
			    shared / ((double)row[i].test_all + (double)all - shared));
		if (!is_compared(p, out->over))
			continue;
		sum->squares += shared * shared;
		sum->split += shared * log2((double)compared / shared);
		sum->merge += shared * log2((double)row[i].test_compared / shared);
	}
	out->ref_objects++;
	out->compared += compared;
	for (int k = 0; k < FG_SCORE_LEVELS; k++)
		out->matched[k] += best >= out->iou[k];
	sum->ref_squares += (double)compared * (double)compared;
	sum->iou += best * (double)all;
	sum->labelled += all;
}

static void
finish(struct fg_score *out, const struct sums *sum)
{
	double n = (double)out->compared;

	out->rand_precision = out->rand_recall = 1;
	if (out->compared) {
		out->voi_split = sum->split / n;
		out->voi_merge = sum->merge / n;
		out->rand_precision = sum->squares / sum->test_squares;
		out->rand_recall = sum->squares / sum->ref_squares;
	}
	out->rand_error = 1 - 2 * out->rand_precision * out->rand_recall /
				  (out->rand_precision + out->rand_recall);
	if (sum->labelled)
		out->iou_weighted = sum->iou / (double)sum->labelled;
}

int
fg_score_get(const struct fg_scorer *s, enum fg_score_over over, struct fg_score *out,
    struct fg_err *err)
{
	struct row *row = fg_try_alloc(FG_MAX(s->used, (size_t)1), sizeof *row);
	struct fg_score score = {.over = over,
	    .voxels = s->voxels,
	    .iou = {0.5, 0.75, 0.9}};
	struct sums sum = {0};
	size_t n = 0;

	if (!row)
		return fg_fail(err, FG_ENOMEM, "no memory to sort %zu label pairs",
		    s->used);
	for (size_t i = 0; i < s->capacity; i++) {
		if (s->table[i].n)
			row[n++] = (struct row){.pair = s->table[i]};
	}
	score.test_objects = size_tests(row, n, over, &sum.test_squares);
	qsort(row, n, sizeof *row, by_ref);
	for (size_t i = 0, end; i < n; i = end) {
		for (end = i; end < n && row[end].pair.ref == row[i].pair.ref;)
			end++;
		sum_reference(row + i, end - i, &score, &sum);
	}
	finish(&score, &sum);
	free(row);
	*out = score;
	return 0;
}

/* ------------------------------------------------------------- offenders */

/* The partners of one object: row[0..n). */
static struct fg_score_offender
judge(const struct row *row, size_t n, bool merges)
{
	struct fg_score_offender o = {.merge = merges,
	    .object = merges ? row[0].pair.test : row[0].pair.ref};
	uint64_t first = 0, second = 0, all = 0;

	for (size_t i = 0; i < n; i++) {
		uint64_t id = merges ? row[i].pair.ref : row[i].pair.test;
		uint64_t k = row[i].pair.n;

		if (id == 0)
			continue;
		all += k;
		if (k > first) {
			second = first;
			o.other = o.main;
			first = k;
			o.main = id;
		} else if (k > second) {
			second = k;
			o.other = id;
		}
	}
	o.voxels = all - first;
	return o;
}

/* Keep the list sorted; the smallest falls out at the end. */
static void
keep_worst(struct fg_score_offender *list, size_t *n, size_t max,
    const struct fg_score_offender *o)
{
	size_t i = *n;

	if (max == 0 || o->object == 0 || o->voxels == 0 ||
	    (*n == max && list[max - 1].voxels >= o->voxels))
		return;
	if (*n < max)
		++*n;
	else
		i--;
	for (; i > 0 && list[i - 1].voxels < o->voxels; i--)
		list[i] = list[i - 1];
	list[i] = *o;
}

int
fg_score_worst(const struct fg_scorer *s, bool merges, size_t max,
    struct fg_score_offender *out, size_t *n, struct fg_err *err)
{
	struct row *row = fg_try_alloc(FG_MAX(s->used, (size_t)1), sizeof *row);
	size_t rows = 0, found = 0;

	if (!row)
		return fg_fail(err, FG_ENOMEM, "no memory to sort %zu label pairs",
		    s->used);
	for (size_t i = 0; i < s->capacity; i++) {
		if (s->table[i].n)
			row[rows++] = (struct row){.pair = s->table[i]};
	}
	qsort(row, rows, sizeof *row, merges ? by_test : by_ref);
	for (size_t i = 0, end; i < rows; i = end) {
		for (end = i + 1; end < rows; end++) {
			if (merges ? row[end].pair.test != row[i].pair.test
				   : row[end].pair.ref != row[i].pair.ref)
				break;
		}
		struct fg_score_offender o = judge(row + i, end - i, merges);
		keep_worst(out, &found, max, &o);
	}
	free(row);
	*n = found;
	return 0;
}

static double
share(uint64_t part, uint64_t all)
{
	return all ? (double)part / (double)all : 1;
}

json_t *
fg_score_format(const struct fg_score *s)
{
	json_t *matched = json_array(), *iou = json_array();
	json_t *precision = json_array(), *recall = json_array();

	for (int k = 0; k < FG_SCORE_LEVELS; k++) {
		json_array_append_new(iou, json_real(s->iou[k]));
		json_array_append_new(matched, json_integer((json_int_t)s->matched[k]));
		json_array_append_new(precision,
		    json_real(share(s->matched[k], s->test_objects)));
		json_array_append_new(recall,
		    json_real(share(s->matched[k], s->ref_objects)));
	}
	json_t *j = json_pack("{s:s, s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:f, "
			      "s:o, s:o, s:o, s:o, s:f}",
	    "over", s->over == FG_SCORE_BOTH ? "both" : "reference", "voxels",
	    (json_int_t)s->voxels, "compared", (json_int_t)s->compared, "test_objects",
	    (json_int_t)s->test_objects, "reference_objects",
	    (json_int_t)s->ref_objects, "voi_split", s->voi_split, "voi_merge",
	    s->voi_merge, "voi", s->voi_split + s->voi_merge, "rand_error",
	    s->rand_error, "rand_precision", s->rand_precision, "rand_recall",
	    s->rand_recall, "iou", iou, "matched", matched, "precision", precision,
	    "recall", recall, "iou_weighted", s->iou_weighted);
	fg_assert(j);
	return j;
}
