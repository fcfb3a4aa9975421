/* SPDX-License-Identifier: Apache-2.0 */
/*
 * floodgate evaluate: compare two segmentations tile by tile, so that memory does not
 * grow with the volume, and print the scores of seg/score.h.
 */
#include "config.h"

#include <stdlib.h>

#include "seg/score.h"
#include "work/tool.h"
#include "work/volume.h"

/* Voxels of an edge of one tile, before it is rounded up to whole chunks. */
#define TILE 256

static const struct fg_tool_option options[] = {
    {"box", "BOX", "compare only x0-x1_y0-y1_z0-z1 (voxels)", 0},
    {"over", "WHICH",
	"voxels that entropy and Rand scores are about: both\n(default: labelled in "
	"both) or truth (labelled there)",
	0},
    {NULL, NULL, NULL, 0},
};

struct pair {
	struct fg_volume *test, *ref;
	struct fg_box box;
	int64_t tile[3];
	uint64_t absent[2];
	struct fg_scorer *scorer;
	enum fg_score_over over;
};

/* Signed labels are compared as unsigned ones of their size: the same partition. */
static enum fg_dtype
unsigned_of(enum fg_dtype t)
{
	switch (t) {
	case FG_I8:
		return FG_U8;
	case FG_I16:
		return FG_U16;
	case FG_I32:
		return FG_U32;
	default:
		return t;
	}
}

static int
check_labels(const struct fg_volume *v, const char *name, struct fg_err *err)
{
	enum fg_dtype t = fg_volume_dtype(v);

	if (t == FG_F32 || fg_volume_channels(v) != 1)
		return fg_fail(err, FG_EINVAL, "%s: %s in %d channels are no labels",
		    name, fg_dtype_name(t), fg_volume_channels(v));
	return 0;
}

/* An array file has no place of its own: it lies where the other one begins, if they
 * have the same size. */
static void
align(struct pair *p)
{
	struct fg_box a, b;
	int64_t na[3], nb[3], chunk[3];

	fg_volume_bounds(p->test, &a, chunk);
	fg_volume_bounds(p->ref, &b, chunk);
	fg_box_shape(&a, na);
	fg_box_shape(&b, nb);
	if (memcmp(na, nb, sizeof na) != 0)
		return;
	if (fg_volume_is_placeless(p->test))
		fg_volume_place(p->test, b.lo);
	else if (fg_volume_is_placeless(p->ref))
		fg_volume_place(p->ref, a.lo);
}

static int
choose_box(const struct fg_tool *t, struct pair *p, struct fg_err *err)
{
	const char *text = fg_tool_text(t, "box", NULL);
	struct fg_box a, b, both;
	int64_t chunk[3];
	char na[FG_TOOL_BOX], nb[FG_TOOL_BOX];

	align(p);
	fg_volume_bounds(p->ref, &b, chunk);
	fg_volume_bounds(p->test, &a, chunk);
	for (int d = 0; d < 3; d++)
		p->tile[d] = fg_div_ceil(FG_MAX(TILE, chunk[d]), chunk[d]) * chunk[d];
	fg_tool_box_text(&a, na);
	fg_tool_box_text(&b, nb);
	if (!text && !fg_box_equal(&a, &b))
		return fg_fail(err, FG_EINVAL,
		    "%s covers %s and %s covers %s: choose with --box", t->arg[0], na,
		    t->arg[1], nb);
	p->box = a;
	if (!text)
		return 0;
	if (fg_tool_box(text, &p->box, err) < 0)
		return -1;
	if (!fg_box_intersect(&a, &b, &both) || !fg_box_contains(&both, &p->box))
		return fg_fail(err, FG_EINVAL,
		    "--box %s is not inside both %s (%s) and %s (%s)", text, t->arg[0],
		    na, t->arg[1], nb);
	return 0;
}

static int
add_tile(struct pair *p, const struct fg_box *vx, struct fg_err *err)
{
	struct fg_volume *v[2] = {p->test, p->ref};
	struct fg_array a[2] = {FG_ARRAY_INIT, FG_ARRAY_INIT};
	int64_t shape[4] = {[3] = 1};
	int rc = -1;

	fg_box_shape(vx, shape);
	for (int i = 0; i < 2; i++) {
		if (fg_array_init(&a[i], fg_volume_dtype(v[i]), shape, err) < 0 ||
		    fg_volume_read(v[i], vx, &a[i], &p->absent[i], err) < 0)
			goto out;
		a[i].dtype = unsigned_of(a[i].dtype);
	}
	rc = fg_score_add(p->scorer, &a[0], &a[1], err);
out:
	fg_array_fini(&a[0]);
	fg_array_fini(&a[1]);
	return rc;
}

static int
count_pairs(struct pair *p, struct fg_progress *bar, struct fg_err *err)
{
	double all = (double)fg_box_volume(&p->box), done = 0;
	struct fg_box t;

	for (t.lo[2] = p->box.lo[2]; t.lo[2] < p->box.hi[2]; t.lo[2] += p->tile[2]) {
		for (t.lo[1] = p->box.lo[1]; t.lo[1] < p->box.hi[1];
		     t.lo[1] += p->tile[1]) {
			for (t.lo[0] = p->box.lo[0]; t.lo[0] < p->box.hi[0];
			     t.lo[0] += p->tile[0]) {
				for (int d = 0; d < 3; d++)
					t.hi[d] =
					    FG_MIN(t.lo[d] + p->tile[d], p->box.hi[d]);
				if (fg_tool_stop)
					return fg_fail(err, FG_ECANCELED,
					    "interrupted");
				if (add_tile(p, &t, err) < 0)
					return -1;
				done += (double)fg_box_volume(&t);
				fg_progress_set(bar, done, all);
			}
		}
	}
	return 0;
}

static void
print_scores(const struct fg_tool *t, const struct pair *p, const struct fg_score *s)
{
	char box[FG_TOOL_BOX];

	fg_tool_box_text(&p->box, box);
	printf("%s against %s, box %s\n", t->arg[0], t->arg[1], box);
	for (int i = 0; i < 2; i++) {
		if (p->absent[i])
			printf("  %.1f %% of %s do not exist and count as 0\n",
			    100.0 * (double)p->absent[i] / (double)s->voxels,
			    t->arg[i]);
	}
	printf("  voxels compared          %llu of %llu (%s)\n",
	    (unsigned long long)s->compared, (unsigned long long)s->voxels,
	    s->over == FG_SCORE_BOTH ? "labelled in both" : "labelled in the truth");
	printf("  objects                  %llu, truth %llu\n",
	    (unsigned long long)s->test_objects, (unsigned long long)s->ref_objects);
	printf("  variation of information %.4f bits (split %.4f, merge %.4f)\n",
	    s->voi_split + s->voi_merge, s->voi_split, s->voi_merge);
	printf("  adapted Rand error       %.4f (precision %.4f, recall %.4f)\n",
	    s->rand_error, s->rand_precision, s->rand_recall);
	for (int k = 0; k < FG_SCORE_LEVELS; k++)
		printf("  matched at IoU %.2f      %llu of %llu\n", s->iou[k],
		    (unsigned long long)s->matched[k],
		    (unsigned long long)s->ref_objects);
	printf("  best IoU, size-weighted  %.4f\n", s->iou_weighted);
}

static int
open_pair(struct fg_tool *t, struct fg_session *s, struct pair *p, struct fg_err *err)
{
	const char *over = fg_tool_text(t, "over", "both");
	struct fg_err none = FG_ERR_INIT;

	if (strcmp(over, "both") != 0 && strcmp(over, "truth") != 0)
		return fg_fail(err, FG_EINVAL, "--over %s: wanted both or truth", over);
	p->over = strcmp(over, "both") == 0 ? FG_SCORE_BOTH : FG_SCORE_REFERENCE;
	/* Files can be compared without any data directory. */
	if (fg_session_read(s, t, &none) < 0 && none.code != FG_ENOENT)
		return fg_fail(err, none.code, "%s", none.msg);
	p->test = fg_volume_open(s, t->arg[0], err);
	p->ref = p->test ? fg_volume_open(s, t->arg[1], err) : NULL;
	if (!p->ref || check_labels(p->test, t->arg[0], err) < 0 ||
	    check_labels(p->ref, t->arg[1], err) < 0)
		return -1;
	return choose_box(t, p, err);
}

static int
run_evaluate(struct fg_tool *t)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_session s = {0};
	struct pair p = {0};
	struct fg_score score;
	struct fg_progress bar = {.what = "evaluate",
	    .unit = "Mvoxel",
	    .per = 1e6,
	    .quiet = t->quiet};
	int code = FG_EXIT_OK;

	fg_tool_catch_signals();
	fg_progress_set(&bar, 0, 1);
	p.scorer = fg_score_new(0);
	int rc = open_pair(t, &s, &p, &err);
	if (rc == 0)
		rc = count_pairs(&p, &bar, &err);
	fg_progress_end(&bar);
	if (rc < 0 || fg_score_get(p.scorer, p.over, &score, &err) < 0) {
		code = fg_tool_fail(t, &err);
	} else if (t->json) {
		json_t *j = fg_score_format(&score);

		json_object_set_new(j, "absent_test",
		    json_integer((json_int_t)p.absent[0]));
		json_object_set_new(j, "absent_reference",
		    json_integer((json_int_t)p.absent[1]));
		fg_tool_print_json(j);
	} else {
		print_scores(t, &p, &score);
	}
	fg_volume_close(p.test);
	fg_volume_close(p.ref);
	fg_score_free(p.scorer);
	fg_session_close(&s);
	return code;
}

const struct fg_tool_command fg_tool_score_commands[] = {
    {.name = "evaluate",
	.args = "SEG TRUTH",
	.least = 2,
	.most = 2,
	.summary = "compare a segmentation with the truth",
	.details =
	    "Each is a layer (NAME or NAME@SCALE), a precomputed volume, a .npy file "
	    "or "
	    "a .npz\nfile (FILE.npz:MEMBER). Label 0 is background. Prints variation "
	    "of "
	    "information,\nadapted Rand error, and how many objects of the truth are "
	    "matched at IoU 0.5,\n0.75 and 0.9. What has not been made yet counts as "
	    "0.",
	.options = options,
	.run = run_evaluate},
    {.name = NULL},
};
