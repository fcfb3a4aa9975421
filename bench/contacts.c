/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What resegmentation makes of a stitched volume (seg/resegment.h), without a daemon:
 *
 *   bench/contacts MODEL IMAGE.npy LABELS.npy [--truth TRUTH.npy] [--block N]
 *       [--box X0-X1_Y0-Y1_Z0-Z1] [--faces N] [--reach N] [--precision P]
 *       [--pairs FILE [--overlap SHARE]] [--threads N] [--cache FILE] [--out OUT.npy]
 *
 * LABELS.npy is what `bench/stitch --labels` writes: objects of all blocks, stitched.
 * The contacts of each block of N voxels (64) within the box (default all) are flooded
 * again from both sides, as the stage `resegment` of a job does, and joined as its rule
 * says. Outcomes are kept in FILE, a line a contact, so that the run may be stopped and
 * started. Prints scores before and after over the box, fields of view, and how many of
 * the joined pairs belong together by the truth; OUT.npy is the volume afterwards.
 *
 * With --pairs only those contacts are tried whose objects blocks saw one over the
 * other: voxels in both of at least SHARE (0.1) of the smaller one where two blocks
 * overlap. FILE is what `bench/stitch --labels` writes beside the volume.
 *
 * The stage takes objects for one that merges of the blocks around connect; here those
 * that merges of the whole volume do.
 */
#include "config.h"

#include <stdatomic.h>
#include <string.h>

#include "base/union.h"
#include "bench/floods.h"
#include "formats/info.h"
#include "seg/contact.h"
#include "seg/resegment.h"
#include "seg/score.h"

struct options {
	const char *model, *image, *labels, *truth, *cache, *out, *pairs;
	struct fg_box box;
	bool boxed;
	int64_t block, faces, reach;
	double overlap;
	enum fg_precision prec;
	int threads;
};

/* One place to try, and what came of it. */
struct contact {
	struct fg_contact_place place;
	bool known, joined;
	uint64_t steps;
	double iou, recovered, deleted;
};

struct bench {
	struct options o;
	struct fg_array image, labels, truth; /* labels: u64 */
	struct fg_box all;
	struct fg_resegment_rule rule;
	struct fg_flood_params params;
	struct servers servers;
	struct contact *contact;
	size_t contacts;
	_Atomic size_t next;
	pthread_mutex_t lock; /* of the cache */
	FILE *cache;
};

/* ------------------------------------------------------------- options */

static bool
read_option(struct options *o, const char *a, const char *v)
{
	struct fg_err err = FG_ERR_INIT;

	if (strcmp(a, "--truth") == 0)
		o->truth = v;
	else if (strcmp(a, "--cache") == 0)
		o->cache = v;
	else if (strcmp(a, "--out") == 0)
		o->out = v;
	else if (strcmp(a, "--pairs") == 0)
		o->pairs = v;
	else if (strcmp(a, "--overlap") == 0)
		return (o->overlap = atof(v)) > 0;
	else if (strcmp(a, "--block") == 0)
		return (o->block = atol(v)) > 0;
	else if (strcmp(a, "--faces") == 0)
		return (o->faces = atol(v)) > 0;
	else if (strcmp(a, "--reach") == 0)
		return (o->reach = atol(v)) > 0;
	else if (strcmp(a, "--threads") == 0)
		return (o->threads = atoi(v)) > 0 && o->threads <= THREADS_MAX;
	else if (strcmp(a, "--precision") == 0)
		return fg_precision_parse(v, &o->prec, &err) == 0;
	else if (strcmp(a, "--box") == 0)
		return (o->boxed = fg_chunk_name_parse(v, strlen(v), &o->box));
	else
		return false;
	return *v != '\0';
}

static bool
read_options(int argc, char **argv, struct options *o)
{
	const char **name[] = {&o->model, &o->image, &o->labels};
	size_t names = 0;

	*o = (struct options){.block = 64,
	    .overlap = 0.1,
	    .prec = FG_PREC_F32,
	    .threads = 1};
	for (int i = 1; i < argc; i++) {
		bool ok = false;

		if (argv[i][0] == '-') {
			ok = i + 1 < argc && read_option(o, argv[i], argv[i + 1]);
			i++;
		} else if (names < FG_COUNTOF(name)) {
			*name[names++] = argv[i];
			ok = true;
		}
		if (!ok) {
			fprintf(stderr, "contacts: cannot use %s\n",
			    argv[FG_MIN(i, argc - 1)]);
			return false;
		}
	}
	return names == FG_COUNTOF(name);
}

/* Labels of any width as u64. */
static void
read_labels(const char *path, struct fg_array *out)
{
	struct fg_array a = FG_ARRAY_INIT;
	struct fg_err err = FG_ERR_INIT;
	const uint32_t *v;
	uint64_t *to;

	read_npy(path, &a);
	if (a.dtype == FG_U64) {
		*out = a;
		return;
	}
	if (a.dtype != FG_U32 || fg_array_init(out, FG_U64, a.shape, &err) < 0) {
		fprintf(stderr, "%s: labels of 32 or 64 bits are wanted\n", path);
		exit(1);
	}
	v = a.data;
	to = out->data;
	for (size_t i = 0, n = fg_array_count(&a); i < n; i++)
		to[i] = v[i];
	fg_array_fini(&a);
}

/* ------------------------------------------------------------- contacts */

/* The box grown by so many voxels, within the volume. */
static void
grow(const struct bench *b, const struct fg_box *from, const int64_t by[3],
    struct fg_box *out)
{
	for (int d = 0; d < 3; d++) {
		out->lo[d] = FG_MAX(from->lo[d] - by[d], 0);
		out->hi[d] = FG_MIN(from->hi[d] + by[d], b->all.hi[d]);
	}
}

static void
cut(const struct bench *b, const struct fg_array *from, const struct fg_box *box,
    struct fg_array *out)
{
	struct fg_err err = FG_ERR_INIT;
	int64_t shape[4] = {1, 1, 1, 1};

	fg_box_shape(box, shape);
	if (fg_array_init(out, from->dtype, shape, &err) < 0)
		die("box", &err);
	fg_array_copy_box(out, box, from, &b->all);
}

static void
find_in(struct bench *b, const struct fg_box *core)
{
	const int64_t by[3] = {b->rule.reach + 1, b->rule.reach + 1, b->rule.reach + 1};
	struct fg_contact_place *place = NULL;
	struct fg_err err = FG_ERR_INIT;
	struct fg_array labels;
	struct fg_box box, own;
	size_t n = 0;

	grow(b, core, by, &box);
	cut(b, &b->labels, &box, &labels);
	for (int d = 0; d < 3; d++) {
		own.lo[d] = core->lo[d] - box.lo[d];
		own.hi[d] = core->hi[d] - box.lo[d];
	}
	if (fg_contact_find(&labels, &own, b->rule.reach, (uint64_t)b->rule.faces,
		&place, &n, &err) < 0)
		die("contacts", &err);
	b->contact = fg_realloc(b->contact, b->contacts + n + 1, sizeof *b->contact);
	for (size_t i = 0; i < n; i++) {
		struct contact *c = &b->contact[b->contacts++];

		*c = (struct contact){.place = place[i]};
		for (int d = 0; d < 3; d++)
			c->place.vx[d] += box.lo[d];
	}
	free(place);
	fg_array_fini(&labels);
}

static void
find_all(struct bench *b)
{
	const int64_t *hi = b->o.box.hi, n = b->o.block;
	int64_t p[3];

	for (p[2] = b->o.box.lo[2] / n * n; p[2] < hi[2]; p[2] += n)
		for (p[1] = b->o.box.lo[1] / n * n; p[1] < hi[1]; p[1] += n)
			for (p[0] = b->o.box.lo[0] / n * n; p[0] < hi[0]; p[0] += n) {
				struct fg_box core = {{p[0], p[1], p[2]},
				    {p[0] + n, p[1] + n, p[2] + n}};

				if (fg_box_intersect(&core, &b->o.box, &core))
					find_in(b, &core);
			}
}

static int
by_pair(const void *pa, const void *pb)
{
	return memcmp(pa, pb, 2 * sizeof(uint64_t));
}

/* Of the contacts those that blocks have seen one over the other. */
static void
keep_seen(struct bench *b)
{
	unsigned long long x, y, both, only_x, only_y;
	uint64_t(*pair)[2] = NULL;
	size_t pairs = 0, kept = 0;
	FILE *f = fopen(b->o.pairs, "r");

	if (!f) {
		perror(b->o.pairs);
		exit(1);
	}
	while (fscanf(f, "%llu %llu %llu %llu %llu", &x, &y, &both, &only_x, &only_y) ==
	       5) {
		if ((double)both <
		    b->o.overlap * (double)(both + FG_MIN(only_x, only_y)))
			continue;
		pair = fg_realloc(pair, pairs + 1, sizeof *pair);
		pair[pairs][0] = FG_MIN(x, y);
		pair[pairs++][1] = FG_MAX(x, y);
	}
	if (!feof(f)) {
		fprintf(stderr, "%s: pair %zu cannot be read\n", b->o.pairs, pairs + 1);
		exit(1);
	}
	fclose(f);
	if (pairs > 0)
		qsort(pair, pairs, sizeof *pair, by_pair);
	for (size_t i = 0; i < b->contacts; i++) {
		const struct fg_contact_place *p = &b->contact[i].place;
		const uint64_t key[2] = {p->a, p->b};

		if (pairs > 0 && bsearch(key, pair, pairs, sizeof *pair, by_pair))
			b->contact[kept++] = b->contact[i];
	}
	b->contacts = kept;
	free(pair);
}

/* ------------------------------------------------------------- one contact */

static void
name_sides(const struct fg_array *labels, const struct fg_contact_place *c,
    struct fg_array *side)
{
	const uint64_t *v = labels->data;
	struct fg_err err = FG_ERR_INIT;
	uint8_t *out;

	if (fg_array_init(side, FG_U8, labels->shape, &err) < 0)
		die("sides", &err);
	out = side->data;
	for (size_t i = 0, n = fg_array_count(labels); i < n; i++)
		out[i] = v[i] == 0      ? FG_SIDE_FREE
			 : v[i] == c->a ? FG_SIDE_A
			 : v[i] == c->b ? FG_SIDE_B
					: FG_SIDE_OTHER;
}

static void
try_contact(struct bench *b, struct contact *c)
{
	static const _Atomic int cls = FG_BULK;
	static const _Atomic bool cancel;
	const int64_t *vx = c->place.vx;
	const struct fg_box point = {{vx[0], vx[1], vx[2]},
	    {vx[0] + 1, vx[1] + 1, vx[2] + 1}};
	struct fg_array labels, side, image;
	struct fg_resegment_call call = {.image = &image,
	    .side = &side,
	    .params = &b->params,
	    .rule = &b->rule,
	    .cls = &cls,
	    .cancel = &cancel};
	struct fg_resegment_result r;
	struct fg_err err = FG_ERR_INIT;
	struct fg_box box;

	grow(b, &point, b->rule.radius, &box);
	cut(b, &b->labels, &box, &labels);
	cut(b, &b->image, &box, &image);
	name_sides(&labels, &c->place, &side);
	for (int d = 0; d < 3; d++)
		call.at[d] = vx[d] - box.lo[d];
	if (fg_resegment_pair(b->servers.batcher, &call, &r, &err) < 0)
		die("resegment", &err);
	c->joined = r.flooded && r.joined;
	c->steps = r.steps;
	c->iou = (double)r.both / (double)FG_MAX(r.both + r.only[0] + r.only[1], 1u);
	c->recovered = c->deleted = 1;
	for (int k = 0; k < 2; k++) {
		if (!r.done[k])
			continue;
		c->recovered =
		    FG_MIN(c->recovered, FG_MIN(r.recovered[k][0], r.recovered[k][1]));
		c->deleted = FG_MIN(c->deleted, r.deleted[k]);
	}
	c->known = true;
	fg_array_fini(&labels);
	fg_array_fini(&side);
	fg_array_fini(&image);
}

static void *
try_next(void *arg)
{
	struct bench *b = arg;
	size_t i;

	while ((i = b->next++) < b->contacts) {
		struct contact *c = &b->contact[i];
		const int64_t *vx = c->place.vx;

		if (c->known)
			continue;
		try_contact(b, c);
		if (!b->cache)
			continue;
		pthread_mutex_lock(&b->lock);
		fprintf(b->cache, "%llu %llu %lld %lld %lld %d %llu %.4f %.4f %.4f\n",
		    (unsigned long long)c->place.a, (unsigned long long)c->place.b,
		    (long long)vx[0], (long long)vx[1], (long long)vx[2], c->joined,
		    (unsigned long long)c->steps, c->iou, c->recovered, c->deleted);
		fflush(b->cache);
		pthread_mutex_unlock(&b->lock);
	}
	return NULL;
}

/* What an earlier run found, and where this one writes on. */
static void
open_cache(struct bench *b)
{
	unsigned long long a, with, steps;
	long long vx[3];
	double iou, recovered, deleted;
	int joined;

	if (!b->o.cache)
		return;
	b->cache = fopen(b->o.cache, "a+");
	if (!b->cache) {
		perror(b->o.cache);
		exit(1);
	}
	while (fscanf(b->cache, "%llu %llu %lld %lld %lld %d %llu %lf %lf %lf", &a,
		   &with, &vx[0], &vx[1], &vx[2], &joined, &steps, &iou, &recovered,
		   &deleted) == 10) {
		for (size_t i = 0; i < b->contacts; i++) {
			struct contact *c = &b->contact[i];

			if (c->place.a != a || c->place.b != with ||
			    c->place.vx[0] != vx[0] || c->place.vx[1] != vx[1] ||
			    c->place.vx[2] != vx[2])
				continue;
			c->known = true;
			c->joined = joined;
			c->steps = steps;
			c->iou = iou;
			c->recovered = recovered;
			c->deleted = deleted;
		}
	}
}

static void
try_all(struct bench *b, const struct fg_net *net)
{
	pthread_t thread[THREADS_MAX];
	size_t known = 0;

	open_cache(b);
	for (size_t i = 0; i < b->contacts; i++)
		known += b->contact[i].known;
	printf("%zu contacts, of them %zu known\n", b->contacts, known);
	fflush(stdout);
	if (known < b->contacts) {
		start_servers(&b->servers, net, b->o.prec, "cpu", b->o.threads);
		for (int i = 0; i < b->o.threads; i++)
			fg_assert(pthread_create(&thread[i], NULL, try_next, b) == 0);
		for (int i = 0; i < b->o.threads; i++)
			pthread_join(thread[i], NULL);
		stop_servers(&b->servers);
	}
	if (b->cache)
		fclose(b->cache);
}

/* ------------------------------------------------------------- what comes of it */

static void
print_score(struct bench *b, const char *what)
{
	struct fg_scorer *s = fg_score_new(0);
	struct fg_array labels, truth;
	struct fg_err err = FG_ERR_INIT;
	struct fg_score r;

	cut(b, &b->labels, &b->o.box, &labels);
	cut(b, &b->truth, &b->o.box, &truth);
	if (fg_score_add(s, &labels, &truth, &err) < 0 ||
	    fg_score_get(s, FG_SCORE_BOTH, &r, &err) < 0)
		die("score", &err);
	printf("%-8s VOI %.3f = %.3f + %.3f  Rand error %.4f  objects %llu\n", what,
	    r.voi_split + r.voi_merge, r.voi_split, r.voi_merge, r.rand_error,
	    (unsigned long long)r.test_objects);
	fg_score_free(s);
	fg_array_fini(&labels);
	fg_array_fini(&truth);
}

/* The true body that most of each object belongs to, by label; malloc'ed. */
static uint64_t *
bodies(const struct bench *b, uint64_t labels)
{
	const uint64_t *v = b->labels.data, *t = b->truth.data;
	uint64_t *body = fg_calloc(labels, sizeof *body);
	int64_t *lead = fg_calloc(labels, sizeof *lead);

	/* Majority vote (Boyer and Moore): right where a body has more than half. */
	for (size_t i = 0, n = fg_array_count(&b->labels); i < n; i++) {
		if (v[i] == 0 || t[i] == 0)
			continue;
		if (lead[v[i]] == 0)
			body[v[i]] = t[i];
		lead[v[i]] += body[v[i]] == t[i] ? 1 : -1;
	}
	free(lead);
	return body;
}

static void
join(struct bench *b)
{
	uint64_t *v = b->labels.data, most = 0, steps = 0;
	uint64_t *body = NULL;
	size_t n = fg_array_count(&b->labels), joined = 0, right = 0, alike = 0;
	uint32_t *up;

	for (size_t i = 0; i < n; i++)
		most = FG_MAX(most, v[i]);
	fg_assert(most < UINT32_MAX);
	up = fg_calloc(most + 1, sizeof *up);
	for (uint64_t i = 0; i <= most; i++)
		up[i] = (uint32_t)i;
	if (b->truth.data)
		body = bodies(b, most + 1);
	for (size_t i = 0; i < b->contacts; i++) {
		const struct contact *c = &b->contact[i];
		uint32_t x = (uint32_t)c->place.a, y = (uint32_t)c->place.b;
		bool same = body && body[x] && body[x] == body[y];

		steps += c->steps;
		alike += same;
		if (!c->joined)
			continue;
		joined++;
		right += same;
		fg_union_join(up, x, y);
	}
	printf("%zu joined, %llu fields of view\n", joined, (unsigned long long)steps);
	if (body)
		printf("by the truth %zu of the contacts are of one body, and %zu of "
		       "those joined\n",
		    alike, right);
	for (size_t i = 0; i < n; i++)
		v[i] = fg_union_top(up, (uint32_t)v[i]);
	free(body);
	free(up);
}

static void
run(struct bench *b)
{
	struct fg_net_shape shape = FG_NET_SHAPE_UNSET;
	struct fg_err err = FG_ERR_INIT;
	struct fg_net *net;

	if (!fg_net_is_safetensors(b->o.model))
		shape = (struct fg_net_shape){.fov = {33, 33, 33},
		    .delta = {8, 8, 8},
		    .mean = 128,
		    .stddev = 33};
	net = fg_net_load(b->o.model, &shape, &err);
	if (!net)
		die("model", &err);
	shape = net->shape;
	fg_resegment_rule_default(&b->rule, &shape);
	if (b->o.faces)
		b->rule.faces = b->o.faces;
	if (b->o.reach)
		b->rule.reach = b->o.reach;
	fg_flood_params_default(&b->params);
	find_all(b);
	if (b->o.pairs)
		keep_seen(b);
	if (b->truth.data)
		print_score(b, "before");
	try_all(b, net);
	join(b);
	if (b->truth.data)
		print_score(b, "after");
	if (b->o.out)
		write_npy(b->o.out, &b->labels);
	fg_net_free(net);
}

int
main(int argc, char **argv)
{
	struct bench b = {.lock = PTHREAD_MUTEX_INITIALIZER};

	if (!read_options(argc, argv, &b.o)) {
		fprintf(stderr,
		    "usage: contacts MODEL IMAGE.npy LABELS.npy [--truth TRUTH.npy] "
		    "[--block N] [--box X0-X1_Y0-Y1_Z0-Z1] [--faces N] [--reach N] "
		    "[--pairs FILE [--overlap SHARE]] [--precision P] [--threads N] "
		    "[--cache FILE] [--out OUT.npy]\n");
		return 2;
	}
	read_npy(b.o.image, &b.image);
	read_labels(b.o.labels, &b.labels);
	if (b.o.truth)
		read_labels(b.o.truth, &b.truth);
	for (int d = 0; d < 3; d++) {
		b.all.hi[d] = b.image.shape[d];
		if (b.labels.shape[d] != b.image.shape[d] ||
		    (b.o.truth && b.truth.shape[d] != b.image.shape[d])) {
			fprintf(stderr, "contacts: the arrays differ in shape\n");
			return 1;
		}
	}
	if (!b.o.boxed)
		b.o.box = b.all;
	if (!fg_box_intersect(&b.o.box, &b.all, &b.o.box)) {
		fprintf(stderr, "contacts: the box is outside\n");
		return 1;
	}
	run(&b);
	free(b.contact);
	fg_array_fini(&b.image);
	fg_array_fini(&b.labels);
	fg_array_fini(&b.truth);
	return 0;
}
