/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rules of stitching, judged over several block grids against the truth:
 *
 *   bench/stitch MODEL [phantom KEY=VALUE,...] [--side N] [--at X,Y,Z]
 *       [--grids BLOCK:HALO,...] [--threads N] [--precision P] [--cache FOLDER]
 *       [--pieces LEAST] [--labels FOLDER]
 *   bench/stitch MODEL --image IMAGE.npy --truth TRUTH.npy [...]
 *
 * A cube of the phantom (or an image and its truth, uint8 and labels) is cut into
 * blocks with a halo, each is flooded alone, and the blocks are put together by each
 * rule of the table below. A grid of one block (BLOCK = side) is what they are held
 * against. Prints a line per grid and rule, then median and range over the grids of
 * more than one block. With --pieces objects are taken apart before (seg/connected.h),
 * and pieces of fewer voxels are dropped. With --consensus the volume that each grid
 * gives by the default rule is also split by the one of the next grid
 * (seg/consensus.h), and joined by it: objects of the one that an object of the other
 * holds, or most of them. Blocks' labels are kept in --cache, so that other rules can
 * be judged without flooding. With --labels the volume that each grid gives by the
 * default rule is written to FOLDER/BLOCK-HALO.npy, for bench/contacts, bench/merges.py
 * and `floodgate evaluate`, and what was seen of each two objects that stay apart to
 * BLOCK-HALO.pairs: both numbers, voxels in both, in the first only, in the second
 * only; with --consensus also BLOCK-HALO-split.npy and BLOCK-HALO-joined.npy.
 */
#include "config.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/union.h"
#include "bench/floods.h"
#include "seg/connected.h"
#include "seg/consensus.h"
#include "seg/score.h"
#include "store/phantom.h"
#include "work/stitch.h"

#define GRIDS_MAX 32
#define ANY (INT64_C(1) << 40) /* fragments of any size */

static const struct {
	const char *name;
	struct fg_stitch_rule rule;
} rules[] = {
    {"nothing joined", {16, 9, 9, 9, 0, 20, 9}},
    {"mutual, IoU 0.5, near 2", {2, 0.5, 9, 9, 0, 20, 9}},
    {"mutual, IoU 0.3, near 4", {4, 0.3, 9, 9, 0, 20, 9}},
    {"mutual, IoU 0.5, near 4", {4, 0.5, 9, 9, 0, 20, 9}},
    {"mutual, IoU 0.7, near 4", {4, 0.7, 9, 9, 0, 20, 9}},
    {"mutual, IoU 0.5, near 8", {8, 0.5, 9, 9, 0, 20, 9}},
    {"mutual, IoU 0.5, near 16", {16, 0.5, 9, 9, 0, 20, 9}},
    {"mutual, IoU 0.5 or share 0.8, near 4", {4, 0.5, 0.8, 9, 0, 20, 9}},
    {"mutual, IoU 0.5 or share 0.8, near 8", {8, 0.5, 0.8, 9, 0, 20, 9}},
    {"mutual, IoU 0.5 or share 0.8, near 16", {16, 0.5, 0.8, 9, 0, 20, 9}},
    {"the same, share 0.6", {16, 0.5, 0.6, 9, 0, 20, 9}},
    {"mutual, whatever is shared", {16, 0, 0, 9, 0, 20, 9}},
    {"share 0.8, fragments to 500", {16, 0.5, 0.8, 0.8, 500, 20, 9}},
    {"share 0.8, fragments to 2000", {16, 0.5, 0.8, 0.8, 2000, 20, 9}},
    {"share 0.8, all fragments", {16, 0.5, 0.8, 0.8, ANY, 20, 9}},
    {"mutual, IoU 0.5, near 4, rival 0.1", {4, 0.5, 9, 9, 0, 20, 0.1}},
    {"mutual, IoU 0.5, near 4, rival 0.2", {4, 0.5, 9, 9, 0, 20, 0.2}},
    {"mutual, IoU 0.5, near 4, rival 0.3", {4, 0.5, 9, 9, 0, 20, 0.3}},
    {"mutual, IoU 0.5, near 8, rival 0.2", {8, 0.5, 9, 9, 0, 20, 0.2}},
    {"mutual, IoU 0.3, near 4, rival 0.2", {4, 0.3, 9, 9, 0, 20, 0.2}},
    {"mutual, IoU 0.6, near 4", {4, 0.6, 9, 9, 0, 20, 9}},
    {"mutual, IoU 0.8, near 4", {4, 0.8, 9, 9, 0, 20, 9}},
    {"mutual, IoU 0.7, near 8", {8, 0.7, 9, 9, 0, 20, 9}},
    {"mutual, IoU 0.7, near 16", {16, 0.7, 9, 9, 0, 20, 9}},
    {"share 0.6, fragments 0.8 to 2000, near 4", {4, 0.5, 0.6, 0.8, 2000, 20, 9}},
    {"the same to 5000", {4, 0.5, 0.6, 0.8, 5000, 20, 9}},
    {"the same to 5000, near 8", {8, 0.5, 0.6, 0.8, 5000, 20, 9}},
    {"the same to 5000, near 12", {12, 0.5, 0.6, 0.8, 5000, 20, 9}},
    {"the same to 10000, near 12", {12, 0.5, 0.6, 0.8, 10000, 20, 9}},
    {"the same to 5000, near 16", {16, 0.5, 0.6, 0.8, 5000, 20, 9}},
    {"share 0.8, all fragments, both 200", {16, 0.5, 0.8, 0.8, ANY, 200, 9}},
    {"the same, both 1000", {16, 0.5, 0.8, 0.8, ANY, 1000, 9}},
    {"fragments 0.7, both 200", {16, 0.5, 0.8, 0.7, ANY, 200, 9}},
    {"the same, both 1000", {16, 0.5, 0.8, 0.7, ANY, 1000, 9}},
    {"fragments 0.8, both 1000, near 32", {32, 0.5, 0.8, 0.8, ANY, 1000, 9}},
    {"fragments 0.7, both 200, near 32", {32, 0.5, 0.8, 0.7, ANY, 200, 9}},
    {"the same, both 500", {32, 0.5, 0.8, 0.7, ANY, 500, 9}},
    {"the same, both 1000", {32, 0.5, 0.8, 0.7, ANY, 1000, 9}},
};
#define RULES FG_COUNTOF(rules)
#define DEFAULT_RULE 34 /* fg_stitch_rule_default */

struct options {
	const char *model, *image, *truth, *cache, *labels;
	struct fg_phantom phantom;
	int64_t at[3], side, grid[GRIDS_MAX][2];
	int grids, threads;
	enum fg_precision prec;
	long pieces; /* < 0: they stay together */
	bool consensus;
};

/* ------------------------------------------------------------- options */

static bool
read_grids(const char *text, struct options *o)
{
	char *end;

	for (o->grids = 0; *text && o->grids < GRIDS_MAX; o->grids++) {
		int64_t *g = o->grid[o->grids];

		g[0] = strtol(text, &end, 10);
		if (*end != ':' || g[0] < 8)
			return false;
		g[1] = strtol(end + 1, &end, 10);
		if (g[1] < 0 || (*end && *end != ','))
			return false;
		text = *end ? end + 1 : end;
	}
	return o->grids > 0;
}

static bool
read_option(struct options *o, const char *a, const char *v)
{
	struct fg_err err = FG_ERR_INIT;

	if (strcmp(a, "--precision") == 0)
		return fg_precision_parse(v, &o->prec, &err) == 0;
	if (strcmp(a, "--threads") == 0)
		return (o->threads = atoi(v)) > 0 && o->threads <= THREADS_MAX;
	if (strcmp(a, "--side") == 0)
		return (o->side = atoi(v)) > 0;
	if (strcmp(a, "--grids") == 0)
		return read_grids(v, o);
	if (strcmp(a, "--pieces") == 0)
		return (o->pieces = atol(v)) >= 0;
	if (strcmp(a, "--at") == 0)
		return sscanf(v, "%ld,%ld,%ld", &o->at[0], &o->at[1], &o->at[2]) == 3;
	if (strcmp(a, "--cache") == 0)
		o->cache = v;
	else if (strcmp(a, "--labels") == 0)
		o->labels = v;
	else if (strcmp(a, "--image") == 0)
		o->image = v;
	else if (strcmp(a, "--truth") == 0)
		o->truth = v;
	else
		return false;
	return *v != '\0';
}

static bool
read_options(int argc, char **argv, struct options *o)
{
	struct fg_err err = FG_ERR_INIT;

	*o = (struct options){.side = 128,
	    .at = {20000, 20000, 20000},
	    .prec = FG_PREC_F32,
	    .threads = 1,
	    .pieces = -1};
	fg_phantom_default(&o->phantom);
	o->phantom.seed = 1000001;
	for (int i = 1; i < argc; i++) {
		bool ok;

		if (strcmp(argv[i], "--consensus") == 0) {
			ok = o->consensus = true;
		} else if (argv[i][0] == '-') {
			ok = i + 1 < argc && read_option(o, argv[i], argv[i + 1]);
			i++;
		} else if (!o->model) {
			o->model = argv[i];
			ok = true;
		} else {
			ok = fg_phantom_parse(argv[i], &o->phantom, &err) == 0;
		}
		if (!ok) {
			fprintf(stderr, "stitch: cannot use %s %s\n",
			    argv[FG_MIN(i, argc - 1)], err.msg);
			return false;
		}
	}
	if (o->grids == 0) {
		const int64_t side = o->side;
		const int64_t part[] = {side, (side + 1) / 2, (side + 2) / 3};

		for (size_t i = 0; i < FG_COUNTOF(part); i++) {
			o->grid[i][0] = part[i];
			o->grid[i][1] = 16;
		}
		o->grids = FG_COUNTOF(part);
	}
	return o->model && !o->image == !o->truth;
}

/* ------------------------------------------------------------- floods */

/* Picture, truth, and what floods them. */
struct bench {
	const struct options *o;
	struct fg_array image, truth;
	struct fg_scale scale;
	struct fg_net *net;
	struct servers servers;
	struct fg_array whole[GRIDS_MAX]; /* --consensus: of each grid that is cut */
	int64_t whole_grid[GRIDS_MAX][2];
	size_t wholes;
};

static void
prepare(struct bench *b)
{
	const struct options *o = b->o;
	struct fg_err err = FG_ERR_INIT;
	int64_t shape[4] = {o->side, o->side, o->side, 1};
	struct fg_box vx;

	if (o->image) {
		read_npy(o->image, &b->image);
		read_npy(o->truth, &b->truth);
	} else {
		for (int d = 0; d < 3; d++) {
			vx.lo[d] = o->at[d];
			vx.hi[d] = o->at[d] + o->side;
		}
		if (fg_array_init(&b->image, FG_U8, shape, &err) < 0 ||
		    fg_array_init(&b->truth, FG_U64, shape, &err) < 0 ||
		    fg_phantom_image(&o->phantom, 0, &vx, &b->image, &err) < 0 ||
		    fg_phantom_labels(&o->phantom, 0, &vx, &b->truth, &err) < 0)
			die("phantom", &err);
	}
	memcpy(b->scale.size, b->image.shape, sizeof b->scale.size);
	for (int d = 0; d < 3; d++)
		b->scale.chunk[d] = 64;
}

/* The labels of a block's box: from the cache, else flooded. Returns the fields of view
 * computed for it. */
static uint64_t
flood(struct bench *b, const struct fg_recipe *r, const int64_t blk[3],
    struct fg_array *labels)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_flood_params params;
	struct fg_seg_stats st;
	_Atomic int cls = FG_BULK;
	struct fg_array image = FG_ARRAY_INIT;
	struct fg_block_call call = {.image = &image, .params = &params, .cls = &cls};
	int64_t shape[4] = {1, 1, 1, 1};
	struct fg_box box, all;
	char *path = NULL;
	uint64_t steps;

	if (b->o->cache)
		path = fg_asprintf("%s/%lld-%lld_%lld_%lld_%lld.npy", b->o->cache,
		    (long long)r->block[0], (long long)r->halo[0], (long long)blk[0],
		    (long long)blk[1], (long long)blk[2]);
	if (path && access(path, R_OK) == 0) {
		read_npy(path, labels);
		free(path);
		return 0;
	}
	if (!b->servers.batcher)
		start_servers(&b->servers, b->net, b->o->prec, "cpu", b->o->threads);
	fg_recipe_box(r, &b->scale, blk, &box);
	fg_scale_bounds(&b->scale, &all);
	fg_box_shape(&box, shape);
	if (fg_array_init(&image, FG_U8, shape, &err) < 0 ||
	    fg_array_init(labels, FG_U32, shape, &err) < 0)
		die("block", &err);
	fg_array_copy_box(&image, &box, &b->image, &all);
	fg_flood_params_default(&params);
	if (fg_segment_block(b->servers.batcher, &call, labels, NULL, &st, &err) < 0)
		die("segment", &err);
	steps = st.steps;
	if (path)
		write_npy(path, labels);
	fg_seg_stats_fini(&st);
	fg_array_fini(&image);
	free(path);
	return steps;
}

/* ------------------------------------------------------------- putting together */

struct grid {
	struct fg_recipe r;
	int64_t n[3];
	struct fg_array *labels; /* of each block's box */
	uint32_t *first;         /* number of a block's label 0 among all */
	uint32_t *up;            /* union-find over all labels */
	/* --labels: pairs that the rule left apart, under their numbers among all */
	bool keep;
	struct fg_stitch_pair *apart;
	size_t aparts;
};

static size_t
number_of(const struct grid *g, const int64_t p[3])
{
	return (size_t)(p[0] + g->n[0] * (p[1] + g->n[1] * p[2]));
}

static void
keep_apart(struct grid *g, const struct fg_stitch_pair *p, uint32_t x, uint32_t y)
{
	g->apart = fg_realloc(g->apart, g->aparts + 1, sizeof *g->apart);
	g->apart[g->aparts] = *p;
	g->apart[g->aparts].a = x;
	g->apart[g->aparts++].b = y;
}

static void
join_pair(struct bench *b, struct grid *g, const int64_t p[3], const int64_t q[3])
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_array cut[2] = {FG_ARRAY_INIT, FG_ARRAY_INIT};
	const int64_t *at[2] = {p, q};
	struct fg_stitch_pair *pair = NULL;
	int64_t shape[4] = {1, 1, 1, 1};
	struct fg_box vx, box;
	size_t n = 0;

	if (!fg_stitch_box(&g->r, &b->scale, p, q, &vx))
		return;
	fg_box_shape(&vx, shape);
	for (int i = 0; i < 2; i++) {
		fg_recipe_box(&g->r, &b->scale, at[i], &box);
		if (fg_array_init(&cut[i], FG_U32, shape, &err) < 0)
			die("stitch", &err);
		fg_array_copy_box(&cut[i], &vx, &g->labels[number_of(g, at[i])], &box);
	}
	if (fg_stitch_compare(&cut[0], &cut[1], &g->r.stitch, &pair, &n, &err) < 0)
		die("stitch", &err);
	for (size_t i = 0; i < n; i++) {
		uint32_t x = g->first[number_of(g, p)] + pair[i].a;
		uint32_t y = g->first[number_of(g, q)] + pair[i].b;

		if (pair[i].joined)
			g->up[fg_union_top(g->up, x)] = fg_union_top(g->up, y);
		else if (g->keep)
			keep_apart(g, &pair[i], x, y);
	}
	free(pair);
	fg_array_fini(&cut[0]);
	fg_array_fini(&cut[1]);
}

/* Calls fn for each block of the grid. */
static void
each_block(struct bench *b, struct grid *g,
    void (*fn)(struct bench *b, struct grid *g, const int64_t p[3], void *ctx),
    void *ctx)
{
	int64_t p[3];

	for (p[2] = 0; p[2] < g->n[2]; p[2]++)
		for (p[1] = 0; p[1] < g->n[1]; p[1]++)
			for (p[0] = 0; p[0] < g->n[0]; p[0]++)
				fn(b, g, p, ctx);
}

static void
join_block(struct bench *b, struct grid *g, const int64_t p[3], void *ctx)
{
	(void)ctx;
	/* The 13 neighbours that come later; the others have seen us. */
	for (int i = 14; i < 27; i++) {
		int64_t q[3] = {p[0] + i % 3 - 1, p[1] + i / 3 % 3 - 1,
		    p[2] + i / 9 - 1};
		bool inside = true;

		for (int d = 0; d < 3; d++)
			inside = inside && q[d] >= 0 && q[d] < g->n[d];
		if (inside)
			join_pair(b, g, p, q);
	}
}

/* The core of a block under the numbers of the whole. */
static void
paint_block(struct bench *b, struct grid *g, const int64_t p[3], void *ctx)
{
	struct fg_array *whole = ctx, part = FG_ARRAY_INIT;
	const struct fg_array *labels = &g->labels[number_of(g, p)];
	struct fg_err err = FG_ERR_INIT;
	int64_t shape[4] = {1, 1, 1, 1};
	struct fg_box core, box, all;

	fg_recipe_core(&g->r, &b->scale, p, &core);
	fg_recipe_box(&g->r, &b->scale, p, &box);
	fg_scale_bounds(&b->scale, &all);
	fg_box_shape(&core, shape);
	if (fg_array_init(&part, FG_U32, shape, &err) < 0)
		die("core", &err);
	fg_array_copy_box(&part, &core, labels, &box);
	uint32_t *v = part.data;
	for (size_t i = 0, n = fg_array_count(&part); i < n; i++)
		v[i] = v[i] ? fg_union_top(g->up, g->first[number_of(g, p)] + v[i]) + 1
			    : 0;
	fg_array_copy_box(whole, &all, &part, &core);
	fg_array_fini(&part);
}

static void
score_volume(struct bench *b, const struct fg_array *whole, struct fg_score *out)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_scorer *s = fg_score_new(0);

	if (fg_score_add(s, whole, &b->truth, &err) < 0 ||
	    fg_score_get(s, FG_SCORE_BOTH, out, &err) < 0)
		die("score", &err);
	fg_score_free(s);
}

static void
write_apart(struct grid *g, const char *path)
{
	FILE *f = fopen(path, "w");

	if (!f) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		exit(1);
	}
	for (size_t i = 0; i < g->aparts; i++) {
		const struct fg_stitch_pair *p = &g->apart[i];
		uint32_t x = fg_union_top(g->up, p->a), y = fg_union_top(g->up, p->b);

		if (x != y)
			fprintf(f, "%u %u %llu %llu %llu\n", x + 1, y + 1,
			    (unsigned long long)p->both, (unsigned long long)p->only_a,
			    (unsigned long long)p->only_b);
	}
	if (ferror(f) | fclose(f)) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		exit(1);
	}
}

static void
write_labels(const struct bench *b, struct grid *g, const struct fg_array *whole)
{
	char *path = fg_asprintf("%s/%lld-%lld.npy", b->o->labels,
	    (long long)g->r.block[0], (long long)g->r.halo[0]);
	char *apart = fg_asprintf("%s/%lld-%lld.pairs", b->o->labels,
	    (long long)g->r.block[0], (long long)g->r.halo[0]);

	write_npy(path, whole);
	write_apart(g, apart);
	free(path);
	free(apart);
}

/* One rule; `keep` its volume as --labels and --consensus ask. */
static void
judge(struct bench *b, struct grid *g, uint32_t labels, bool keep, struct fg_score *out)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_array whole;

	for (uint32_t i = 0; i < labels; i++)
		g->up[i] = i;
	g->keep = keep && b->o->labels;
	each_block(b, g, join_block, NULL);
	if (fg_array_init_zero(&whole, FG_U32, b->image.shape, &err) < 0)
		die("volume", &err);
	each_block(b, g, paint_block, &whole);
	score_volume(b, &whole, out);
	if (keep && b->o->labels)
		write_labels(b, g, &whole);
	if (keep && b->o->consensus) {
		b->whole_grid[b->wholes][0] = g->r.block[0];
		b->whole_grid[b->wholes][1] = g->r.halo[0];
		b->whole[b->wholes++] = whole;
	} else
		fg_array_fini(&whole);
}

static uint32_t
largest(const struct fg_array *a)
{
	const uint32_t *v = a->data;
	uint32_t max = 0;

	for (size_t i = 0, n = fg_array_count(a); i < n; i++)
		max = FG_MAX(max, v[i]);
	return max;
}

/* What a volume becomes by that of another grid. */
typedef int second_fn(const struct fg_array *one, const struct fg_array *other,
    uint64_t least, struct fg_array *out, struct fg_err *err);

/* Objects of one that lie for the most part in an object of the other, or hold it, are
 * joined over it: the two volumes are compared as two blocks that overlap. */
static int
join_by(const struct fg_array *one, const struct fg_array *other, uint64_t least,
    struct fg_array *out, struct fg_err *err)
{
	struct fg_stitch_rule rule = rules[DEFAULT_RULE].rule;
	uint32_t first = largest(one) + 1, all = first + largest(other) + 1;
	uint32_t *up = fg_calloc(all, sizeof *up);
	const uint32_t *v = one->data;
	struct fg_stitch_pair *pair = NULL;
	uint32_t *to = out->data;
	size_t n = 0;
	int rc;

	for (uint32_t i = 0; i < all; i++)
		up[i] = i;
	rule.both_min = (int64_t)least;
	rc = fg_stitch_compare(one, other, &rule, &pair, &n, err);
	for (size_t i = 0; rc == 0 && i < n; i++) {
		if (pair[i].joined)
			fg_union_join(up, pair[i].a, first + pair[i].b);
	}
	for (size_t i = 0, k = fg_array_count(one); rc == 0 && i < k; i++)
		to[i] = fg_union_top(up, v[i]);
	free(pair);
	free(up);
	return rc;
}

static void
second(struct bench *b, const char *what, second_fn *fn, uint64_t least)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_array out;
	struct fg_score s;

	for (size_t i = 0; i < b->wholes; i++) {
		size_t k = (i + 1) % b->wholes;
		long long g[] = {b->whole_grid[i][0], b->whole_grid[i][1]};
		long long h[] = {b->whole_grid[k][0], b->whole_grid[k][1]};
		char *name = fg_asprintf("%lld:%lld %s by %lld:%lld, from %llu voxels",
		    g[0], g[1], what, h[0], h[1], (unsigned long long)least);
		char *path = fg_asprintf("%s/%lld-%lld-%s.npy",
		    b->o->labels ? b->o->labels : "", g[0], g[1], what);

		if (fg_array_init(&out, FG_U32, b->image.shape, &err) < 0 ||
		    fn(&b->whole[i], &b->whole[k], least, &out, &err) < 0)
			die(name, &err);
		score_volume(b, &out, &s);
		printf("  %-40s VOI %.3f = %.3f + %.3f  Rand error %.4f  labelled "
		       "%.3f\n",
		    name, s.voi_split + s.voi_merge, s.voi_split, s.voi_merge,
		    s.rand_error, (double)s.compared / (double)s.voxels);
		if (b->o->labels)
			write_npy(path, &out);
		fg_array_fini(&out);
		free(name);
		free(path);
	}
}

/* Each stitched volume split, and joined, by that of the next grid. */
static void
run_consensus(struct bench *b)
{
	if (b->wholes > 1) {
		puts("two grids");
		second(b, "split", fg_consensus_split, 0);
		second(b, "split", fg_consensus_split, 1000);
		second(b, "joined", join_by, 1000);
	}
	for (size_t i = 0; i < b->wholes; i++)
		fg_array_fini(&b->whole[i]);
}

struct flooded {
	uint64_t steps, voxels;
	uint32_t labels;
};

static void
flood_block(struct bench *b, struct grid *g, const int64_t p[3], void *ctx)
{
	struct fg_err err = FG_ERR_INIT;
	struct flooded *f = ctx;
	size_t i = number_of(g, p);

	f->steps += flood(b, &g->r, p, &g->labels[i]);
	if (b->o->pieces >= 0 && fg_connected_split(&g->labels[i],
				     (uint64_t)b->o->pieces, &g->labels[i], &err) < 0)
		die("pieces", &err);
	f->voxels += fg_array_count(&g->labels[i]);
	g->first[i] = f->labels;
	f->labels += largest(&g->labels[i]) + 1;
}

/* All rules on one grid; out[RULES]. */
static void
run_grid(struct bench *b, const int64_t size[2], struct fg_score *out)
{
	struct flooded f = {0};
	struct grid g = {0};
	int64_t t0 = fg_clock_ns();
	size_t n;

	for (int d = 0; d < 3; d++) {
		g.r.block[d] = size[0];
		g.r.halo[d] = size[1];
	}
	fg_recipe_grid(&g.r, &b->scale, g.n);
	n = (size_t)(g.n[0] * g.n[1] * g.n[2]);
	g.labels = fg_calloc(n, sizeof *g.labels);
	g.first = fg_calloc(n, sizeof *g.first);
	each_block(b, &g, flood_block, &f);
	g.up = fg_calloc(f.labels + 1, sizeof *g.up);
	printf("grid %lld:%lld  %zu blocks, %.2f voxels computed per voxel, %llu "
	       "fields "
	       "of view in %.0f s\n",
	    (long long)size[0], (long long)size[1], n,
	    (double)f.voxels / (double)fg_array_count(&b->image),
	    (unsigned long long)f.steps, (double)(fg_clock_ns() - t0) / 1e9);
	for (size_t k = 0; k < RULES && (n > 1 || k == 0); k++) {
		g.r.stitch = rules[k].rule;
		judge(b, &g, f.labels, n > 1 && k == DEFAULT_RULE, &out[k]);
		printf("  %-40s VOI %.3f = %.3f + %.3f  Rand error %.4f  labelled "
		       "%.3f\n",
		    n > 1 ? rules[k].name : "one block",
		    out[k].voi_split + out[k].voi_merge, out[k].voi_split,
		    out[k].voi_merge, out[k].rand_error,
		    (double)out[k].compared / (double)out[k].voxels);
	}
	fflush(stdout);
	for (size_t i = 0; i < n; i++)
		fg_array_fini(&g.labels[i]);
	free(g.labels);
	free(g.first);
	free(g.up);
	free(g.apart);
}

static int
by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void
print_spread(const char *name, double *v, size_t n)
{
	qsort(v, n, sizeof *v, by_size);
	printf("  %s %.3f (%.3f to %.3f)", name, v[n / 2], v[0], v[n - 1]);
}

static void
run_rules(const struct options *o)
{
	static struct fg_score score[GRIDS_MAX][RULES];
	struct fg_net_shape shape = FG_NET_SHAPE_UNSET;
	struct bench b = {.o = o};
	struct fg_err err = FG_ERR_INIT;
	size_t grids = 0;

	if (!fg_net_is_safetensors(o->model))
		shape = (struct fg_net_shape){.fov = {33, 33, 33},
		    .delta = {8, 8, 8},
		    .mean = 128,
		    .stddev = 33};
	b.net = fg_net_load(o->model, &shape, &err);
	if (!b.net)
		die("model", &err);
	prepare(&b);
	for (int i = 0; i < o->grids; i++) {
		run_grid(&b, o->grid[i], score[grids]);
		grids += o->grid[i][0] < b.scale.size[0];
	}
	stop_servers(&b.servers);
	run_consensus(&b);
	fg_net_free(b.net);
	printf("median and range over %zu grids\n", grids);
	for (size_t k = 0; k < RULES && grids > 0; k++) {
		double v[3][GRIDS_MAX];

		for (size_t i = 0; i < grids; i++) {
			v[0][i] = score[i][k].voi_split + score[i][k].voi_merge;
			v[1][i] = score[i][k].voi_merge;
			v[2][i] = score[i][k].rand_error;
		}
		printf("  %-40s", rules[k].name);
		print_spread("VOI", v[0], grids);
		print_spread("merge", v[1], grids);
		print_spread("Rand error", v[2], grids);
		putchar('\n');
	}
	fg_array_fini(&b.image);
	fg_array_fini(&b.truth);
}

static bool
make_folder(const char *path)
{
	if (!path || mkdir(path, 0777) == 0 || errno == EEXIST)
		return true;
	fprintf(stderr, "%s: %s\n", path, strerror(errno));
	return false;
}

int
main(int argc, char **argv)
{
	struct options o;

	if (!read_options(argc, argv, &o)) {
		fprintf(stderr,
		    "usage: stitch MODEL [KEY=VALUE,...] [--side N] [--at X,Y,Z] "
		    "[--image I.npy --truth T.npy] [--grids BLOCK:HALO,...] "
		    "[--threads N] [--precision P] [--cache FOLDER] [--pieces LEAST] "
		    "[--labels FOLDER] [--consensus]\n");
		return 2;
	}
	/* Not after the first block, which takes minutes. */
	if (!make_folder(o.cache) || !make_folder(o.labels))
		return 1;
	run_rules(&o);
	return 0;
}
