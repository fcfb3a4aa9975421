/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What mesh/ makes of a label volume, as files, for tests in Python that hold it
 * against other programs (tests/mesh/peers.py, levels.py).
 *
 * usage: peer WHAT LABELS NX NY NZ NMX NMY NMZ DIR [ARGUMENT...]
 *
 *   LABELS  plain u64, x fastest
 *   WHAT    surfaces [NM]      DIR/ID: legacy fragments, closed on all sides;
 *                              simplified by that much, sharply
 *           distances [BORDER] DIR/distances: f32
 *           skeletons [KEY=VALUE...]
 *                              DIR/ID: skeletons, defaults otherwise; the keys are in
 *                              the table `settings` below
 *           joined BLOCK [KEY=VALUE...]
 *                              the same from cubes of BLOCK voxels that share a layer,
 *                              joined
 *           levels BLOCK BITS ERROR OX OY OZ
 *                              DIR/info, DIR/ID, DIR/ID.index: multi-resolution
 *                              meshes from blocks; the volume begins at voxel OX OY OZ
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/morton.h"
#include "mesh/edt.h"
#include "mesh/join.h"
#include "mesh/lod.h"
#include "mesh/simplify.h"
#include "mesh/skeleton.h"
#include "mesh/surface.h"

static struct fg_err err = FG_ERR_INIT;

struct job {
	struct fg_array labels;
	double nm[3];
	const char *dir;
	int n; /* further arguments */
	char **arg;
};

static void
give_up(void)
{
	fprintf(stderr, "peer: %s\n", err.msg);
	exit(1);
}

static double
number(const struct job *j, int i, double or_else)
{
	return i < j->n ? strtod(j->arg[i], NULL) : or_else;
}

static void
put(const struct job *j, const char *name, const void *p, size_t n)
{
	char *path = fg_asprintf("%s/%s", j->dir, name);
	FILE *f = fopen(path, "wb");

	if (!f || fwrite(p, 1, n, f) != n || fclose(f) != 0) {
		fg_fail_errno(&err, "%s", path);
		give_up();
	}
	free(path);
}

static void
put_buf(const struct job *j, uint64_t id, const char *more, struct fg_buf *b)
{
	char name[64];

	snprintf(name, sizeof name, "%llu%s", (unsigned long long)id, more);
	put(j, name, b->data, b->len);
	fg_buf_unref(b);
}

static void
surfaces(const struct job *j)
{
	struct fg_surface_params p = {.nm = {j->nm[0], j->nm[1], j->nm[2]},
	    .close = FG_FACE_ALL};
	struct fg_simplify_params sp = {.error_nm = number(j, 0, 0), .sharp = true};
	struct fg_surface s;

	if (fg_surface_make(&j->labels, &p, &s, &err) < 0)
		give_up();
	for (size_t i = 0; i < s.count; i++) {
		struct fg_mesh m = FG_MESH_INIT;
		struct fg_buf *b = NULL;

		if (sp.error_nm > 0 &&
		    fg_simplify_make(&s.mesh[i], &sp, &m, NULL, &err) < 0)
			give_up();
		if (fg_mesh_encode_fragment(m.xyz ? &m : &s.mesh[i], &b, &err) < 0)
			give_up();
		put_buf(j, s.mesh[i].label, "", b);
		fg_mesh_fini(&m);
	}
	fg_surface_fini(&s);
}

static void
distances(const struct job *j)
{
	struct fg_array d;

	if (fg_array_init(&d, FG_F32, j->labels.shape, &err) < 0 ||
	    fg_edt_make(&j->labels, j->nm, number(j, 0, 0) != 0, &d, &err) < 0)
		give_up();
	put(j, "distances", d.data, fg_array_bytes(&d));
	fg_array_fini(&d);
}

/* A parameter of skeletons by its name. */
static void
set_skeleton(struct fg_skeleton_params *p, const char *text)
{
	const struct setting {
		const char *name;
		double *number;
		uint64_t *count;
		bool *flag;
	} settings[] = {
	    {"dust", NULL, &p->dust_threshold, NULL},
	    {"borders", NULL, NULL, &p->fix_borders},
	    {"branching", NULL, NULL, &p->fix_branching},
	    {"areas", NULL, NULL, &p->cross_sectional_area},
	    {"paths", NULL, &p->max_paths, NULL},
	    {"scale", &p->scale, NULL, NULL},
	    {"const", &p->const_nm, NULL, NULL},
	    {"detection", &p->soma_detection_threshold, NULL, NULL},
	    {"acceptance", &p->soma_acceptance_threshold, NULL, NULL},
	};
	const char *value = strchr(text, '=');

	for (size_t i = 0; value && i < FG_COUNTOF(settings); i++) {
		const struct setting *s = &settings[i];

		if (strncmp(s->name, text, (size_t)(value - text)) != 0)
			continue;
		if (s->number)
			*s->number = strtod(value + 1, NULL);
		else if (s->count)
			*s->count = strtoull(value + 1, NULL, 10);
		else
			*s->flag = value[1] != '0';
		return;
	}
	fg_fail(&err, FG_EINVAL, "no parameter of skeletons: %s", text);
	give_up();
}

static void
put_skeletons(const struct job *j, const struct fg_skeletons *s)
{
	for (size_t i = 0; i < s->count; i++) {
		struct fg_buf *b = NULL;

		if (fg_skeleton_encode(&s->skeleton[i], &b, &err) < 0)
			give_up();
		put_buf(j, s->skeleton[i].label, "", b);
	}
}

static void
skeletons(const struct job *j)
{
	struct fg_skeleton_params p = FG_SKELETON_PARAMS;
	struct fg_skeletons s;

	memcpy(p.nm, j->nm, sizeof p.nm);
	for (int i = 0; i < j->n; i++)
		set_skeleton(&p, j->arg[i]);
	if (fg_skeletons_make(&j->labels, &p, &s, &err) < 0)
		give_up();
	put_skeletons(j, &s);
	fg_skeletons_fini(&s);
}

/* The skeletons of the cube that begins at `lo`. */
static void
make_cube(const struct job *j, const int64_t lo[3], int64_t side,
    struct fg_skeleton_params p, struct fg_skeletons *out)
{
	struct fg_array part = FG_ARRAY_INIT;
	int64_t shape[4] = {1, 1, 1, 1};
	struct fg_box all = {0}, vx;

	p.border_faces = p.shared_upper = 0;
	for (int d = 0; d < 3; d++) {
		all.hi[d] = j->labels.shape[d];
		vx.lo[d] = p.origin_vx[d] = lo[d];
		vx.hi[d] = FG_MIN(lo[d] + side + 1, all.hi[d]);
		p.shared_upper |= (unsigned)(lo[d] + side < all.hi[d]) << d;
		p.border_faces |= (unsigned)(lo[d] > 0) << 2 * d |
				  (unsigned)(lo[d] + side < all.hi[d]) << (2 * d + 1);
	}
	fg_box_shape(&vx, shape);
	if (fg_array_init(&part, FG_U64, shape, &err) < 0)
		give_up();
	fg_array_copy_box(&part, &vx, &j->labels, &all);
	if (fg_skeletons_make(&part, &p, out, &err) < 0)
		give_up();
	fg_array_fini(&part);
}

static int
by_piece_label(const void *a, const void *b)
{
	const struct fg_skeleton *p = *(struct fg_skeleton *const *)a;
	const struct fg_skeleton *q = *(struct fg_skeleton *const *)b;

	return (p->label > q->label) - (p->label < q->label);
}

static void
joined(const struct job *j)
{
	struct fg_skeleton_params p = FG_SKELETON_PARAMS;
	struct fg_join_params jp = FG_JOIN_PARAMS;
	const int64_t side = (int64_t)number(j, 0, 64), *n = j->labels.shape;
	struct fg_skeletons *cube = NULL;
	const struct fg_skeleton **piece = NULL;
	size_t cubes = 0, pieces = 0;
	int64_t lo[3];

	memcpy(p.nm, j->nm, sizeof p.nm);
	p.dust_threshold = 0;
	for (int i = 1; i < j->n; i++) {
		if (strncmp(j->arg[i], "tick=", 5) == 0)
			jp.tick_threshold = strtod(j->arg[i] + 5, NULL);
		else if (strncmp(j->arg[i], "length=", 7) == 0)
			jp.dust_threshold = strtod(j->arg[i] + 7, NULL);
		else
			set_skeleton(&p, j->arg[i]);
	}
	for (lo[2] = 0; lo[2] < n[2]; lo[2] += side) {
		for (lo[1] = 0; lo[1] < n[1]; lo[1] += side) {
			for (lo[0] = 0; lo[0] < n[0]; lo[0] += side) {
				cube = fg_realloc(cube, cubes + 1, sizeof *cube);
				make_cube(j, lo, side, p, &cube[cubes]);
				pieces += cube[cubes++].count;
			}
		}
	}
	piece = fg_calloc(pieces + 1, sizeof(struct fg_skeleton *));
	pieces = 0;
	for (size_t i = 0; i < cubes; i++) {
		for (size_t k = 0; k < cube[i].count; k++)
			piece[pieces++] = &cube[i].skeleton[k];
	}
	qsort(piece, pieces, sizeof(struct fg_skeleton *), by_piece_label);
	for (size_t a = 0, b; a < pieces; a = b) {
		struct fg_skeleton s;
		struct fg_skeletons one = {.count = 1, .skeleton = &s};

		for (b = a + 1; b < pieces && piece[b]->label == piece[a]->label; b++)
			;
		if (fg_skeleton_join(piece + a, b - a, &jp, &s, &err) < 0)
			give_up();
		if (s.edges > 0)
			put_skeletons(j, &one);
		fg_skeleton_fini(&s);
	}
	for (size_t i = 0; i < cubes; i++)
		fg_skeletons_fini(&cube[i]);
	free(cube);
	free(piece);
}

/* --- levels */

struct blocks {
	uint32_t n[3];
	int64_t side;
	struct fg_surface *surface; /* in Z order of a cube around */
	uint32_t cube;              /* a power of two */
	int64_t origin[3];
};

static void
find_at(uint64_t code, uint32_t at[3])
{
	int64_t p[3];

	fg_morton_decode(code, p);
	for (int d = 0; d < 3; d++)
		at[d] = (uint32_t)p[d];
}

static bool
is_inside(const struct blocks *b, const uint32_t at[3])
{
	return at[0] < b->n[0] && at[1] < b->n[1] && at[2] < b->n[2];
}

static void
block_surface(const struct job *j, const struct blocks *b, const uint32_t at[3],
    struct fg_surface *out)
{
	const struct fg_array *a = &j->labels;
	struct fg_surface_params p = {.nm = {j->nm[0], j->nm[1], j->nm[2]}};
	struct fg_box box, whole = {.hi = {a->shape[0], a->shape[1], a->shape[2]}};
	struct fg_array part;

	for (int d = 0; d < 3; d++) {
		box.lo[d] = at[d] * b->side;
		box.hi[d] = FG_MIN(box.lo[d] + b->side + 1, a->shape[d]);
		p.origin_vx[d] = b->origin[d] + box.lo[d];
		if (at[d] == 0)
			p.close |= (unsigned)FG_FACE_X_LO << 2 * d;
		if (box.hi[d] == a->shape[d])
			p.close |= (unsigned)FG_FACE_X_HI << 2 * d;
	}
	if (fg_array_init(&part, FG_U64,
		(int64_t[4]){box.hi[0] - box.lo[0], box.hi[1] - box.lo[1],
		    box.hi[2] - box.lo[2], 1},
		&err) < 0)
		give_up();
	fg_array_copy_box(&part, &box, a, &whole);
	if (fg_surface_make(&part, &p, out, &err) < 0)
		give_up();
	fg_array_fini(&part);
}

static void
one_object(const struct job *j, const struct blocks *b, const struct fg_lod_params *p,
    uint64_t id)
{
	struct fg_lod *lod = fg_lod_new(p, &err);
	struct fg_buf *manifest, *data;

	if (!lod)
		give_up();
	for (uint64_t m = 0; m < (uint64_t)b->cube * b->cube * b->cube; m++) {
		const struct fg_mesh *piece = fg_surface_find(&b->surface[m], id);
		uint32_t at[3];

		find_at(m, at);
		if (piece && fg_lod_add(lod, at, piece, &err) < 0)
			give_up();
	}
	if (fg_lod_end(lod, &manifest, &data, &err) < 0)
		give_up();
	put_buf(j, id, ".index", manifest);
	put_buf(j, id, "", data);
	fg_lod_free(lod);
}

static int
by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void
levels(const struct job *j)
{
	struct blocks b = {.side = (int64_t)number(j, 0, 64), .cube = 1};
	struct fg_lod_params p = FG_LOD_PARAMS;
	uint64_t *id = NULL;
	size_t ids = 0;

	p.bits = (unsigned)number(j, 1, 16);
	p.error_nm = number(j, 2, j->nm[0]);
	for (int d = 0; d < 3; d++) {
		b.n[d] = (uint32_t)fg_div_ceil(j->labels.shape[d], b.side);
		b.origin[d] = (int64_t)number(j, 3 + d, 0);
		p.nm[d] = j->nm[d];
		p.origin_vx[d] = b.origin[d];
		p.block_vx[d] = b.side;
		while (b.cube < b.n[d])
			b.cube *= 2;
	}
	size_t all = (size_t)b.cube * b.cube * b.cube;
	b.surface = fg_calloc(all, sizeof *b.surface);
	for (uint64_t m = 0; m < all; m++) {
		uint32_t at[3];

		find_at(m, at);
		if (!is_inside(&b, at))
			continue;
		block_surface(j, &b, at, &b.surface[m]);
		id = fg_realloc(id, ids + b.surface[m].count + 1, sizeof *id);
		for (size_t i = 0; i < b.surface[m].count; i++)
			id[ids++] = b.surface[m].mesh[i].label;
	}
	qsort(id, ids, sizeof *id, by_value);
	for (size_t i = 0; i < ids; i++) {
		if (i == 0 || id[i] != id[i - 1])
			one_object(j, &b, &p, id[i]);
	}
	struct fg_buf *info = fg_multilod_info(p.bits, NULL);
	put(j, "info", info->data, info->len);
	fg_buf_unref(info);
	for (uint64_t m = 0; m < all; m++)
		fg_surface_fini(&b.surface[m]);
	free(b.surface);
	free(id);
}

int
main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*make)(const struct job *);
	} what[] = {{"surfaces", surfaces}, {"distances", distances},
	    {"skeletons", skeletons}, {"joined", joined}, {"levels", levels}};
	struct job j = {.labels = {.dtype = FG_U64, .shape = {0, 0, 0, 1}}};

	if (argc < 10) {
		fprintf(stderr,
		    "usage: peer WHAT LABELS NX NY NZ NMX NMY NMZ DIR [ARGUMENT...]\n");
		return 2;
	}
	for (int d = 0; d < 3; d++) {
		j.labels.shape[d] = strtoll(argv[3 + d], NULL, 10);
		j.nm[d] = strtod(argv[6 + d], NULL);
	}
	j.dir = argv[9];
	j.n = argc - 10;
	j.arg = argv + 10;
	struct fg_buf *b = fg_file_read(argv[2], fg_array_bytes(&j.labels), &err);
	if (!b)
		give_up();
	if (b->len != fg_array_bytes(&j.labels)) {
		fg_fail(&err, FG_EINVAL, "%s has another length", argv[2]);
		give_up();
	}
	j.labels.data = b->data;
	for (size_t i = 0; i < FG_COUNTOF(what); i++) {
		if (strcmp(argv[1], what[i].name) == 0) {
			what[i].make(&j);
			fg_buf_unref(b);
			return 0;
		}
	}
	fprintf(stderr, "peer: %s is unknown\n", argv[1]);
	return 2;
}
