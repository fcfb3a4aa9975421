/* SPDX-License-Identifier: Apache-2.0 */
/* Scores of one segmentation against another: cases small enough for paper, and a
 * random one against a plain matrix. */
#include "config.h"

#include "seg/score.h"

#include <math.h>

#include "tests/tap.h"

static struct fg_err err = FG_ERR_INIT;

static struct fg_array
line(enum fg_dtype t, int64_t n, void *data)
{
	return (struct fg_array){.dtype = t, .shape = {n, 1, 1, 1}, .data = data};
}

static void
near(double got, double want, double tolerance, const char *what)
{
	tap_ok(fabs(got - want) <= tolerance, "%s", what);
	if (!(fabs(got - want) <= tolerance))
		printf("# got %.17g, wanted %.17g\n", got, want);
}

static struct fg_score
score(uint32_t *test, uint32_t *ref, int64_t n, enum fg_score_over over)
{
	struct fg_scorer *s = fg_score_new(0);
	struct fg_array t = line(FG_U32, n, test), r = line(FG_U32, n, ref);
	struct fg_score out = {0};

	tap_rc(fg_score_add(s, &t, &r, &err), &err, "counts");
	tap_rc(fg_score_get(s, over, &out, &err), &err, "scores");
	fg_score_free(s);
	return out;
}

static void
test_equal(void)
{
	uint32_t a[] = {1, 1, 2, 2, 2, 0, 9, 9}, b[] = {7, 7, 3, 3, 3, 0, 1, 1};
	struct fg_score s = score(a, b, 8, FG_SCORE_BOTH);

	near(s.voi_split, 0, 0, "equal up to names: no split");
	near(s.voi_merge, 0, 0, "no merge");
	near(s.rand_error, 0, 0, "no Rand error");
	near(s.iou_weighted, 1, 0, "IoU 1");
	tap_int(s.matched[2], 3, "all objects match");
	tap_int(s.test_objects, 3, "objects of the test");
	tap_int(s.ref_objects, 3, "objects of the reference");
	tap_int(s.compared, 7, "the background is not compared");
	tap_int(s.voxels, 8, "but counted");
}

/* One object in two halves: one bit, R = (16 + 16) / 64. */
static void
test_split_and_merge(void)
{
	uint32_t halves[] = {1, 1, 1, 1, 2, 2, 2, 2}, one[] = {1, 1, 1, 1, 1, 1, 1, 1};
	struct fg_score s = score(halves, one, 8, FG_SCORE_BOTH);

	near(s.voi_split, 1, 1e-15, "split in halves: 1 bit");
	near(s.voi_merge, 0, 0, "nothing merged");
	near(s.rand_precision, 1, 0, "precision 1");
	near(s.rand_recall, 0.5, 0, "recall 1/2");
	near(s.rand_error, 1.0 / 3, 1e-15, "adapted Rand error 1/3");
	tap_int(s.matched[0], 1, "IoU of exactly 0.5 matches at 0.5");
	tap_int(s.matched[1], 0, "but not at 0.75");
	near(s.iou_weighted, 0.5, 0, "weighted IoU 1/2");

	s = score(one, halves, 8, FG_SCORE_BOTH);
	near(s.voi_split, 0, 0, "halves joined: nothing split");
	near(s.voi_merge, 1, 1e-15, "1 bit merged");
	near(s.rand_precision, 0.5, 0, "precision 1/2");
	near(s.rand_recall, 1, 0, "recall 1");
	tap_int(s.matched[0], 2, "both halves match at 0.5");
}

/* Pairs (0,5) twice, (1,5) once, (1,0) once. */
static void
test_background(void)
{
	uint32_t test[] = {0, 0, 1, 1}, ref[] = {5, 5, 5, 0};
	struct fg_score s = score(test, ref, 4, FG_SCORE_BOTH);

	tap_int(s.compared, 1, "labelled in both: one voxel");
	near(s.voi_split, 0, 0, "over both: no split");
	near(s.iou_weighted, 0.25, 0, "IoU is over the whole volume: 1/4");
	s = score(test, ref, 4, FG_SCORE_REFERENCE);
	tap_int(s.compared, 3, "labelled in the reference: three voxels");
	near(s.voi_split, 2.0 / 3 * log2(1.5) + 1.0 / 3 * log2(3), 1e-15,
	    "over the reference: the test's 0 is a label");
	near(s.voi_merge, 0, 0, "and nothing is merged");
	near(s.rand_precision, 1, 0, "precision 1");
	near(s.rand_recall, 5.0 / 9, 1e-15, "recall 5/9");
	near(s.iou_weighted, 0.25, 0, "the same IoU");
}

static uint32_t
next_random(uint64_t *state)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(*state >> 33);
}

enum { N = 60000, T = 150, R = 90 };

/* The definitions, straight over a matrix of counts. */
static void
matrix_scores(const uint8_t *test, const uint16_t *ref, struct fg_score *out)
{
	static double n[T][R], a[T], b[R], all_a[T], all_b[R];
	double total = 0, nn = 0, aa = 0, bb = 0, weight = 0;

	for (size_t i = 0; i < N; i++)
		n[test[i]][ref[i]]++;
	for (int i = 0; i < T; i++) {
		for (int j = 0; j < R; j++) {
			all_a[i] += n[i][j];
			all_b[j] += n[i][j];
			a[i] += i && j ? n[i][j] : 0;
			b[j] += i && j ? n[i][j] : 0;
			total += i && j ? n[i][j] : 0;
		}
	}
	for (int j = 1; j < R; j++) {
		double best = 0;

		for (int i = 1; i < T; i++) {
			double x = n[i][j];

			best = fmax(best, x / (all_a[i] + all_b[j] - x));
			nn += x * x;
			out->voi_split -= x ? x / total * log2(x / b[j]) : 0;
			out->voi_merge -= x ? x / total * log2(x / a[i]) : 0;
		}
		bb += b[j] * b[j];
		weight += all_b[j];
		out->iou_weighted += best * all_b[j];
		out->matched[0] += best >= 0.5;
	}
	for (int i = 1; i < T; i++)
		aa += a[i] * a[i];
	out->iou_weighted /= weight;
	out->rand_precision = nn / aa;
	out->rand_recall = nn / bb;
}

static void
test_random(void)
{
	static uint8_t test[N];
	static uint16_t ref[N];
	static uint64_t wide[N];
	struct fg_score want = {0}, got, again;
	struct fg_scorer *s = fg_score_new(0), *slabs = fg_score_new(0);
	uint64_t state = 1;

	/* Mostly the same label on both sides, so that some objects match. */
	for (size_t i = 0; i < N; i++) {
		uint32_t r = next_random(&state);

		ref[i] = (uint16_t)(r % R);
		test[i] = (uint8_t)(r >> 16 & 3 ? ref[i] : next_random(&state) % T);
		wide[i] = ref[i];
	}
	matrix_scores(test, ref, &want);
	struct fg_array a = line(FG_U8, N, test), b = line(FG_U16, N, ref);
	tap_rc(fg_score_add(s, &a, &b, &err), &err, "60,000 random voxels");
	tap_rc(fg_score_get(s, FG_SCORE_BOTH, &got, &err), &err, "their scores");
	near(got.voi_split, want.voi_split, 1e-10, "split as by the matrix");
	near(got.voi_merge, want.voi_merge, 1e-10, "merge as by the matrix");
	near(got.rand_precision, want.rand_precision, 1e-12, "precision");
	near(got.rand_recall, want.rand_recall, 1e-12, "recall");
	near(got.iou_weighted, want.iou_weighted, 1e-12, "weighted IoU");
	tap_ok(want.matched[0] > 10 && got.matched[0] == want.matched[0],
	    "objects matched");

	/* Last slab first, odd lengths, another dtype: the same bits. */
	for (size_t hi = N, lo; hi > 0; hi = lo) {
		lo = hi > 7777 ? hi - 7777 : 0;
		a = line(FG_U8, (int64_t)(hi - lo), test + lo);
		b = line(FG_U64, (int64_t)(hi - lo), wide + lo);
		if (fg_score_add(slabs, &a, &b, &err) < 0)
			tap_ok(false, "slab at %zu", lo);
	}
	tap_rc(fg_score_get(slabs, FG_SCORE_BOTH, &again, &err), &err, "in slabs");
	tap_ok(memcmp(&got, &again, sizeof got) == 0, "the same bits in slabs");
	fg_score_free(s);
	fg_score_free(slabs);
}

/* Labels beyond 32 bits that differ only there, and a table that has to grow. */
static void
test_many_pairs(void)
{
	enum { MANY = 20000 };
	static uint64_t test[MANY], ref[MANY];
	struct fg_scorer *s = fg_score_new(MANY), *small = fg_score_new(100);
	struct fg_score out;

	for (uint64_t i = 0; i < MANY; i++) {
		test[i] = (i + 1) << 40 | 7;
		ref[i] = (i / 2 + 1) << 33;
	}
	struct fg_array a = line(FG_U64, MANY, test), b = line(FG_U64, MANY, ref);
	tap_rc(fg_score_add(s, &a, &b, &err), &err, "20,000 pairs");
	tap_rc(fg_score_get(s, FG_SCORE_BOTH, &out, &err), &err, "their scores");
	tap_int(out.test_objects, MANY, "every label is one object");
	tap_int(out.ref_objects, MANY / 2, "and in the reference");
	near(out.voi_split, 1, 1e-12, "each reference object has two halves");
	near(out.voi_merge, 0, 0, "none merged");
	tap_fails(fg_score_add(small, &a, &b, &err), &err, FG_EFULL,
	    "more than 100 different pairs", "the limit of pairs");
	fg_score_free(s);
	fg_score_free(small);
}

static void
test_bad_input(void)
{
	uint32_t v[6] = {0};
	struct fg_scorer *s = fg_score_new(0);
	struct fg_array a = line(FG_U32, 6, v), b = line(FG_U32, 5, v);
	struct fg_score out;

	tap_fails(fg_score_add(s, &a, &b, &err), &err, FG_EINVAL,
	    "segmentation is 6x1x1, reference 5x1x1", "shapes differ");
	b = line(FG_F32, 6, v);
	tap_fails(fg_score_add(s, &a, &b, &err), &err, FG_EINVAL,
	    "found uint32 and float32", "no labels");
	b = (struct fg_array){.dtype = FG_U32, .shape = {3, 1, 1, 2}, .data = v};
	tap_fails(fg_score_add(s, &b, &b, &err), &err, FG_EINVAL, "one channel",
	    "two channels");
	tap_rc(fg_score_get(s, FG_SCORE_BOTH, &out, &err), &err, "scores of nothing");
	tap_int(out.voxels, 0, "no voxels were counted");
	near(out.voi_split + out.rand_error + out.iou_weighted, 0, 0,
	    "and all figures are finite");
	fg_score_free(s);
}

static void
test_json(void)
{
	uint32_t halves[] = {1, 1, 2, 2}, one[] = {1, 1, 1, 1};
	struct fg_score s = score(halves, one, 4, FG_SCORE_BOTH);
	json_t *j = fg_score_format(&s);

	near(json_real_value(json_object_get(j, "voi")), 1, 1e-15, "JSON: voi");
	tap_int(json_integer_value(json_array_get(json_object_get(j, "matched"), 0)), 1,
	    "JSON: matched");
	tap_str(json_string_value(json_object_get(j, "over")), "both", "JSON: over");
	tap_int(json_object_size(j), 16, "JSON: members");
	json_decref(j);
}

int
main(void)
{
	test_equal();
	test_split_and_merge();
	test_background();
	test_random();
	test_many_pairs();
	test_bad_input();
	test_json();
	fg_score_free(NULL);
	return tap_done();
}
