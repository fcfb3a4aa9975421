/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Skeletons of a phantom, whose centre lines are known: labels, lines and skeletons as
 * files. bench/skeleton.py holds them, and kimimaro's of the same labels, against the
 * lines; bench/mesh and bench/mesh_peers.py measure speed and memory.
 *
 * usage: skeleton DIR SIDE [phantom KEY=VALUE,... [labels]]
 *        a cube of SIDE voxels; DIR/labels (plain u64, x fastest), DIR/lines.csv
 *        (object,x0,y0,z0,x1,y1,z1; voxels of the cube), DIR/bones/ID; prints the voxel
 *        size, and processor seconds of one thread. With labels: no more than those
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#include "base/file.h"
#include "mesh/skeleton.h"
#include "store/phantom.h"

#define CORNER 20000 /* of the cube, inside of the specimen */

static struct fg_err err = FG_ERR_INIT;

static void
give_up(void)
{
	fprintf(stderr, "skeleton: %s\n", err.msg);
	exit(1);
}

static void
put(const char *dir, const char *name, const void *p, size_t n)
{
	char *path = fg_asprintf("%s/%s", dir, name);

	if (fg_file_write_fast(path, p, n, &err) < 0)
		give_up();
	free(path);
}

static int
put_line(const struct fg_phantom_line *l, void *arg)
{
	struct fg_str *s = arg;

	if (l->a == l->b)
		fg_str_putf(s, "%llu,%.3f,%.3f,%.3f,%.3f,%.3f,%.3f\n",
		    (unsigned long long)l->a, l->from[0] - CORNER, l->from[1] - CORNER,
		    l->from[2] - CORNER, l->to[0] - CORNER, l->to[1] - CORNER,
		    l->to[2] - CORNER);
	return 0;
}

static void
put_lines(const char *dir, const struct fg_phantom *p, const struct fg_box *vx)
{
	struct fg_str s = FG_STR_INIT;
	struct fg_box wide = *vx;

	/* Lines that begin outside may end in the box. */
	for (int d = 0; d < 3; d++) {
		wide.lo[d] -= 2 * p->calibre / p->nm[d] + 1;
		wide.hi[d] += 2 * p->calibre / p->nm[d] + 1;
	}
	(void)fg_phantom_curves(p, &wide, put_line, &s);
	put(dir, "lines.csv", s.data, s.len);
	fg_str_fini(&s);
}

static void
put_bones(const char *dir, const struct fg_phantom *ph, const struct fg_array *labels)
{
	struct fg_skeleton_params p = FG_SKELETON_PARAMS;
	char *bones = fg_asprintf("%s/bones", dir), name[32];
	struct fg_skeletons s;
	clock_t began = clock();

	if (mkdir(bones, 0777) < 0) {
		fg_fail_errno(&err, "%s", bones);
		give_up();
	}
	for (int d = 0; d < 3; d++)
		p.nm[d] = (double)ph->nm[d];
	p.fix_borders = false;
	if (fg_skeletons_make(labels, &p, &s, &err) < 0)
		give_up();
	printf("%lld %lld %lld nm\n%.2f s, %zu skeletons\n", (long long)ph->nm[0],
	    (long long)ph->nm[1], (long long)ph->nm[2],
	    (double)(clock() - began) / CLOCKS_PER_SEC, s.count);
	for (size_t i = 0; i < s.count; i++) {
		struct fg_buf *b = NULL;

		if (fg_skeleton_encode(&s.skeleton[i], &b, &err) < 0)
			give_up();
		snprintf(name, sizeof name, "%llu",
		    (unsigned long long)s.skeleton[i].label);
		put(bones, name, b->data, b->len);
		fg_buf_unref(b);
	}
	fg_skeletons_fini(&s);
	free(bones);
}

int
main(int argc, char **argv)
{
	const int64_t side = argc > 2 ? strtoll(argv[2], NULL, 10) : 0;
	struct fg_box vx = {.lo = {CORNER, CORNER, CORNER}};
	struct fg_array labels = FG_ARRAY_INIT;
	int64_t shape[4] = {side, side, side, 1};
	struct fg_phantom p;

	if (argc < 3 || argc > 5 || side < 16 || side > 1024) {
		fprintf(stderr, "usage: skeleton DIR SIDE [KEY=VALUE,... [labels]]\n");
		return 2;
	}
	fg_phantom_default(&p);
	if (argc >= 4 && fg_phantom_parse(argv[3], &p, &err) < 0)
		give_up();
	for (int d = 0; d < 3; d++)
		vx.hi[d] = CORNER + side;
	if (fg_array_init(&labels, FG_U64, shape, &err) < 0 ||
	    fg_phantom_labels(&p, 0, &vx, &labels, &err) < 0)
		give_up();
	put(argv[1], "labels", labels.data, fg_array_bytes(&labels));
	if (argc < 5) {
		put_lines(argv[1], &p, &vx);
		put_bones(argv[1], &p, &labels);
	}
	fg_array_fini(&labels);
	return 0;
}
