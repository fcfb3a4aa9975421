/* SPDX-License-Identifier: Apache-2.0 */
/*
 * floodgate evaluate: compare two segmentations tile by tile, so that memory does not
 * grow with the volume, and print the scores of seg/score.h.
 */
#include "config.h"

#include <stdlib.h>

#include "base/json.h"
#include "seg/score.h"
#include "work/catalog.h"
#include "work/control.h"
#include "work/recipe.h"
#include "work/score_paths.h"
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
    {"skeletons", "WHERE",
	"true centre lines: phantom:KEY=VALUE,..., a file of lines\n"
	"skeleton,x0,y0,z0,x1,y1,z1 (voxels), or a folder of\n"
	"precomputed skeletons (not sharded)",
	0},
    {"merge-nodes", "N",
	"an object merges skeletons of which it holds N nodes each\n(default 2)", 0},
    {"step", "VOXELS", "distance of the nodes on a line (default 8)", 0},
    {"worst", "N", "list the N largest merges and splits (default 5)", 0},
    {"server", "URL",
	"where both layers are served, for links to Neuroglancer\n"
	"(default: the daemon that holds the data directory)",
	0},
    {"image", "LAYER",
	"image layer there, shown below them in the links\n(default: the one that SEG "
	"is made of)",
	0},
    {NULL, NULL, NULL, 0},
};

#define WORST_MAX 1000

/* An offender, and a voxel where it is wrong. */
struct wrong {
	struct fg_score_offender o;
	int64_t at[3];
	bool found;
};

struct pair {
	struct fg_volume *test, *ref;
	struct fg_box box;
	int64_t tile[3];
	uint64_t absent[2];
	struct fg_scorer *scorer;
	enum fg_score_over over;
	struct fg_paths *paths; /* NULL: not asked for */
	struct fg_path_score path_score;
	struct wrong *wrong;
	size_t wrongs, unfound;
	char *server, *image; /* for links; NULL: none */
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

/* The first voxel where a pair of labels meets that is wrong. */
static void
find_wrong(struct pair *p, const struct fg_box *vx, const struct fg_array a[2])
{
	size_t n = fg_array_count(&a[0]), nx = (size_t)a[0].shape[0],
	       ny = (size_t)a[0].shape[1];
	uint64_t last[2] = {0, 0};

	for (size_t i = 0; i < n && p->unfound > 0; i++) {
		uint64_t t = fg_array_label(&a[0], i), r = fg_array_label(&a[1], i);

		if (t == last[0] && r == last[1])
			continue;
		last[0] = t;
		last[1] = r;
		for (size_t k = 0; k < p->wrongs; k++) {
			struct wrong *w = &p->wrong[k];
			const struct fg_score_offender *o = &w->o;

			if (w->found || t != (o->merge ? o->object : o->other) ||
			    r != (o->merge ? o->other : o->object))
				continue;
			w->found = true;
			p->unfound--;
			w->at[0] = vx->lo[0] + (int64_t)(i % nx);
			w->at[1] = vx->lo[1] + (int64_t)(i / nx % ny);
			w->at[2] = vx->lo[2] + (int64_t)(i / nx / ny);
		}
	}
}

/* Count a tile; or, when that is done, look for what is wrong in it. */
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
	if (p->wrong) {
		find_wrong(p, vx, a);
		rc = 0;
		goto out;
	}
	if (p->paths)
		fg_paths_look(p->paths, vx, &a[0]);
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
				if (p->wrong && p->unfound == 0)
					return 0;
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

/* ------------------------------------------------------------- what is worst */

static int
list_worst(const struct fg_tool *t, struct pair *p, struct fg_progress *bar,
    struct fg_err *err)
{
	struct fg_score_offender *o;
	int64_t max = 5;
	size_t n = 0;
	int rc = fg_tool_int(t, "worst", 0, WORST_MAX, &max, err);

	if (rc < 0 || max == 0)
		return rc;
	o = fg_calloc((size_t)max, sizeof *o);
	p->wrong = fg_calloc(2 * (size_t)max, sizeof *p->wrong);
	for (int merges = 1; merges >= 0 && rc == 0; merges--) {
		rc = fg_score_worst(p->scorer, merges, (size_t)max, o, &n, err);
		for (size_t i = 0; i < n && rc == 0; i++)
			p->wrong[p->wrongs++].o = o[i];
	}
	free(o);
	p->unfound = p->wrongs;
	return rc == 0 && p->wrongs > 0 ? count_pairs(p, bar, err) : rc;
}

/* As everywhere, a text: readers of JSON round large numbers. */
static json_t *
id_text(uint64_t id)
{
	char text[24];

	snprintf(text, sizeof text, "%llu", (unsigned long long)id);
	return json_string(text);
}

/* A layer of a link, from the name of a layer (NAME or NAME@SCALE: viewers choose
 * scales themselves), with the objects a and b selected. */
static json_t *
link_layer(const char *server, const char *of, const char *name, const char *type,
    uint64_t a, uint64_t b)
{
	char *source =
	    fg_asprintf("precomputed://%s/%.*s", server, (int)strcspn(of, "@"), of);
	json_t *layer =
	    json_pack("{s:s, s:s, s:s}", "type", type, "source", source, "name", name);
	json_t *ids = json_array();

	json_array_append_new(ids, id_text(a));
	if (a != b)
		json_array_append_new(ids, id_text(b));
	if (strcmp(type, "image") == 0)
		json_decref(ids);
	else
		json_object_set_new(layer, "segments", ids);
	free(source);
	return layer;
}

static struct fg_layer *
layer_of(const struct fg_session *s, const char *arg)
{
	return s->catalog ? fg_catalog_find(s->catalog, arg, strcspn(arg, "@")) : NULL;
}

/* Where links lead to: what was asked for, else the daemon, if both are layers of it.
 */
static void
find_server(const struct fg_tool *t, const struct fg_session *s, struct pair *p)
{
	const char *server = fg_tool_text(t, "server", NULL);
	const char *image = fg_tool_text(t, "image", NULL);
	struct fg_layer *seg = layer_of(s, t->arg[0]), *truth = layer_of(s, t->arg[1]);
	struct fg_layer *below = NULL;
	struct fg_err none = FG_ERR_INIT;
	struct fg_control *c =
	    !server && seg && truth ? fg_control_open(t->root, &none) : NULL;
	json_t *status = NULL;

	if (c && fg_control_call(c, "GET", "/api/status", NULL, &status, &none) == 0)
		server = json_string_value(json_object_get(status, "url"));
	/* Another daemon may not have it. */
	if (!image && c && seg->recipe && seg->recipe->image)
		below = layer_of(s, seg->recipe->image);
	p->server = server ? fg_strdup(server) : NULL;
	p->image = image || below ? fg_strdup(image ? image : below->name) : NULL;
	json_decref(status);
	fg_control_close(c);
	fg_layer_unref(below);
	fg_layer_unref(truth);
	fg_layer_unref(seg);
}

/* A link that shows the place, with the objects concerned selected; NULL where no
 * server is known. free(). */
static char *
make_link(const struct fg_tool *t, const struct pair *p, const struct wrong *w)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyz"
				    "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.~,:";
	const char *server = p->server, *image = p->image;
	const struct fg_score_offender *o = &w->o;
	struct fg_str s = FG_STR_INIT;
	json_t *layers, *j;
	char *state;

	if (!server)
		return NULL;
	layers = json_array();
	if (image)
		json_array_append_new(layers,
		    link_layer(server, image, "image", "image", 0, 0));
	json_array_append_new(layers,
	    link_layer(server, t->arg[0], "segmentation", "segmentation",
		o->merge ? o->object : o->main, o->merge ? o->object : o->other));
	json_array_append_new(layers,
	    link_layer(server, t->arg[1], "truth", "segmentation",
		o->merge ? o->main : o->object, o->merge ? o->other : o->object));
	j = json_pack("{s:o, s:[f,f,f], s:s}", "layers", layers, "position",
	    (double)w->at[0] + 0.5, (double)w->at[1] + 0.5, (double)w->at[2] + 0.5,
	    "layout", "4panel");
	state = fg_json_format(j);
	json_decref(j);
	fg_str_puts(&s, "https://neuroglancer-demo.appspot.com/#!");
	for (const char *c = state; *c; c++) {
		if (strchr(plain, *c))
			fg_str_put(&s, c, 1);
		else
			fg_str_putf(&s, "%%%02X", (unsigned char)*c);
	}
	free(state);
	return s.data;
}

static json_t *
wrong_json(const struct fg_tool *t, const struct pair *p)
{
	json_t *list = json_array();

	for (size_t i = 0; i < p->wrongs; i++) {
		const struct wrong *w = &p->wrong[i];
		char *link = make_link(t, p, w);

		json_array_append_new(list,
		    json_pack("{s:s, s:o, s:o, s:o, s:I, s:o, s:s*}", "kind",
			w->o.merge ? "merge" : "split", "object", id_text(w->o.object),
			"main", id_text(w->o.main), "other", id_text(w->o.other),
			"voxels", (json_int_t)w->o.voxels, "at", fg_json_int3(w->at),
			"link", link));
		free(link);
	}
	return list;
}

static void
print_wrong(const struct fg_tool *t, const struct pair *p)
{
	for (size_t i = 0; i < p->wrongs; i++) {
		const struct wrong *w = &p->wrong[i];
		char *link = make_link(t, p, w);

		if (i == 0 || w->o.merge != w[-1].o.merge)
			printf("  largest %s\n", w->o.merge ? "merges" : "splits");
		printf("    %s %llu at %lld,%lld,%lld: %llu voxels beside %s %llu, "
		       "first in %llu\n",
		    w->o.merge ? "object" : "truth", (unsigned long long)w->o.object,
		    (long long)w->at[0], (long long)w->at[1], (long long)w->at[2],
		    (unsigned long long)w->o.voxels, w->o.merge ? "truth" : "object",
		    (unsigned long long)w->o.main, (unsigned long long)w->o.other);
		if (link)
			printf("      %s\n", link);
		free(link);
	}
}

/* ------------------------------------------------------------- telling */

static void
print_paths(const struct fg_path_score *s)
{
	printf("  skeletons                %llu, %llu edges, %.6g nm\n",
	    (unsigned long long)s->paths, (unsigned long long)s->edges, s->length);
	printf("  edges                    %.4f correct, %.4f split, %.4f merged, "
	       "%.4f omitted\n",
	    s->part[FG_PATH_CORRECT], s->part[FG_PATH_SPLIT], s->part[FG_PATH_MERGED],
	    s->part[FG_PATH_OMITTED]);
	printf("  expected run length      %.6g nm of at most %.6g\n", s->erl,
	    s->erl_max);
	printf("  objects that merge       %llu\n", (unsigned long long)s->merging);
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
		printf("  matched at IoU %.2f      %llu of %llu (precision %.4f, "
		       "recall "
		       "%.4f)\n",
		    s->iou[k], (unsigned long long)s->matched[k],
		    (unsigned long long)s->ref_objects,
		    (double)s->matched[k] / (double)FG_MAX(s->test_objects, 1u),
		    (double)s->matched[k] / (double)FG_MAX(s->ref_objects, 1u));
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

/* The lines to be followed, if any were asked for. */
static int
open_paths(const struct fg_tool *t, struct pair *p, struct fg_err *err)
{
	const char *where = fg_tool_text(t, "skeletons", NULL);
	double step = 8, nm[3];

	if (fg_tool_real(t, "step", 0.1, 1e6, &step, err) < 0)
		return -1;
	if (!where)
		return 0;
	fg_volume_resolution(p->ref, nm);
	p->paths = fg_paths_load(where, &p->box, nm, step, err);
	return p->paths ? 0 : fg_err_prefix(err, "--skeletons");
}

static int
score_paths(const struct fg_tool *t, struct pair *p, struct fg_err *err)
{
	int64_t merge_nodes = 2;

	if (fg_tool_int(t, "merge-nodes", 1, INT32_MAX, &merge_nodes, err) < 0)
		return -1;
	if (!p->paths)
		return 0;
	return fg_paths_score(p->paths, (uint64_t)merge_nodes, &p->path_score, err);
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
		rc = open_paths(t, &p, &err);
	if (rc == 0)
		rc = count_pairs(&p, &bar, &err);
	if (rc == 0)
		rc = score_paths(t, &p, &err);
	if (rc == 0)
		rc = list_worst(t, &p, &bar, &err);
	if (rc == 0 && p.wrongs > 0)
		find_server(t, &s, &p);
	fg_progress_end(&bar);
	if (rc < 0 || fg_score_get(p.scorer, p.over, &score, &err) < 0) {
		code = fg_tool_fail(t, &err);
	} else if (t->json) {
		json_t *j = fg_score_format(&score);

		json_object_set_new(j, "absent_test",
		    json_integer((json_int_t)p.absent[0]));
		json_object_set_new(j, "absent_reference",
		    json_integer((json_int_t)p.absent[1]));
		if (p.paths)
			json_object_set_new(j, "skeletons",
			    fg_path_score_format(&p.path_score));
		json_object_set_new(j, "worst", wrong_json(t, &p));
		fg_tool_print_json(j);
	} else {
		print_scores(t, &p, &score);
		if (p.paths)
			print_paths(&p.path_score);
		print_wrong(t, &p);
	}
	fg_paths_free(p.paths);
	free(p.wrong);
	free(p.server);
	free(p.image);
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
	    "matched at IoU 0.5,\n0.75 and 0.9, and the largest merges and splits with "
	    "a voxel of "
	    "each and a\nlink to Neuroglancer; with --skeletons also edges by what "
	    "became of them, and the\nexpected run length. What has not been made yet "
	    "counts as 0.",
	.options = options,
	.run = run_evaluate},
    {.name = NULL},
};
