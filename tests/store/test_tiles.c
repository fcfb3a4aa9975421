/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tiles of sections: what is decoded how often, by one reader and by many, and what is
 * kept. The decoder counts, and may fail; voxel (x, y, z, c) is a sum that tells them
 * apart.
 */
#include "config.h"

#include "store/tiles.h"

#include <pthread.h>
#include <stdatomic.h>

#include "tests/tap.h"

struct decoder {
	atomic_uint calls, running, most;
	atomic_int fail_z; /* section that cannot be decoded; -1: none */
	int channels;
	pthread_barrier_t *meet; /* every first call waits here for the other readers */
};

static uint16_t
value(int64_t x, int64_t y, int64_t z, int64_t c)
{
	return (uint16_t)(x + 131 * y + 7919 * z + 31 * c);
}

static int
decode(void *ctx, const struct fg_box *part, struct fg_array *out, struct fg_err *err)
{
	struct decoder *d = ctx;
	int64_t n[4];
	uint16_t *v;

	atomic_fetch_add(&d->calls, 1);
	if (d->meet)
		pthread_barrier_wait(d->meet);
	if (part->lo[2] == atomic_load(&d->fail_z))
		return fg_fail(err, FG_ECORRUPT, "section %lld is damaged",
		    (long long)part->lo[2]);
	fg_box_shape(part, n);
	n[3] = d->channels;
	if (fg_array_init(out, FG_U16, n, err) < 0)
		return -1;
	v = out->data;
	for (int64_t c = 0; c < n[3]; c++) {
		for (int64_t y = part->lo[1]; y < part->hi[1]; y++) {
			for (int64_t x = part->lo[0]; x < part->hi[0]; x++)
				*v++ = value(x, y, part->lo[2], c);
		}
	}
	return 0;
}

static size_t
wrong_voxels(const struct fg_array *a, const struct fg_box *vx, const uint8_t *skip)
{
	const uint16_t *v = a->data;
	size_t wrong = 0;

	for (int64_t c = 0; c < a->shape[3]; c++) {
		for (int64_t z = vx->lo[2]; z < vx->hi[2]; z++) {
			for (int64_t y = vx->lo[1]; y < vx->hi[1]; y++) {
				for (int64_t x = vx->lo[0]; x < vx->hi[0]; x++)
					wrong += *v++ != (skip && skip[z]
								 ? 0xabab
								 : value(x, y, z, c));
			}
		}
	}
	return wrong;
}

/* Read a box; -1 or the number of wrong voxels. */
static long
read_box(struct fg_tiles *t, int channels, const struct fg_box *vx, const uint8_t *skip,
    struct fg_err *err)
{
	struct fg_array a;
	int64_t n[4];
	long wrong = -1;

	fg_box_shape(vx, n);
	n[3] = channels;
	if (fg_array_init(&a, FG_U16, n, err) < 0)
		return -1;
	memset(a.data, 0xab, fg_array_bytes(&a));
	if (fg_tiles_box(t, vx, skip, &a, err) == 0)
		wrong = (long)wrong_voxels(&a, vx, skip);
	fg_array_fini(&a);
	return wrong;
}

static struct fg_tiles_plan
plan(int64_t x, int64_t y, int64_t z, int channels, int64_t w, int64_t h, size_t budget)
{
	struct fg_tiles_plan p = {.dtype = FG_U16, .shape = {x, y, z, channels}};
	struct fg_err err = FG_ERR_INIT;

	tap_ok(fg_tiles_plan(&p, (int64_t[2]){w, h}, budget, &err) == 0,
	    "%lld x %lld in pieces of %lld x %lld %s", (long long)x, (long long)y,
	    (long long)w, (long long)h, err.msg);
	return p;
}

static void
sizes(void)
{
	struct fg_tiles_plan p = plan(5000, 4000, 300, 1, 5000, 4000, 512u << 20);
	struct fg_err err = FG_ERR_INIT;

	tap_int(p.tile[0], 5000, "an image is one tile");
	tap_int(p.chunk[2], 4, "as many sections as half the budget holds");
	tap_ok(p.chunk[0] == 256 && p.chunk[1] == 256, "flat chunks are wide");
	p = plan(5000, 4000, 300, 1, 5000, 3, 512u << 20);
	tap_ok(p.tile[0] == 5000 && p.tile[1] == 258, "strips of 3 rows: 258 together");
	tap_int(p.chunk[2], 64, "64 sections of such strips are held");
	p = plan(5000, 4000, 300, 1, 300, 100, 512u << 20);
	tap_ok(p.tile[0] == 300 && p.tile[1] == 300, "tiles of 300 x 100");
	p = plan(50, 40, 3, 1, 50, 40, 512u << 20);
	tap_ok(p.chunk[0] == 50 && p.chunk[1] == 40 && p.chunk[2] == 3,
	    "a small volume is one chunk");
	p = (struct fg_tiles_plan){.dtype = FG_F32, .shape = {131072, 131072, 9, 3}};
	tap_fails(fg_tiles_plan(&p, (int64_t[2]){131072, 131072}, 512u << 20, &err),
	    &err, FG_ENOTSUP, "are stored together", "a huge image");
}

static void
one_reader(void)
{
	/* 2 x 2 tiles of 256 a side at most, 2 channels, 5 sections of 600 kB */
	struct fg_tiles_plan p = plan(500, 300, 5, 2, 100, 100, 3u << 20);
	struct fg_tiles_pool *pool = fg_tiles_pool_new(3u << 20);
	struct decoder d = {.fail_z = -1, .channels = 2};
	struct fg_tiles *t = fg_tiles_new(&p, pool, decode, &d);
	struct fg_box all = {.hi = {500, 300, 5}},
		      corner = {{299, 299, 1}, {301, 300, 3}};
	const uint8_t skip[5] = {0, 1, 0, 0, 1};
	struct fg_err err = FG_ERR_INIT;
	uint64_t decoded;
	size_t bytes;

	tap_int(p.tile[0], 300, "tiles of 300 pixels");
	tap_int(read_box(t, 2, &corner, NULL, &err), 0, "a corner of four");
	fg_tiles_stats(t, &decoded, &bytes);
	tap_int((long)decoded, 4, "decodes what it touches");
	tap_int(read_box(t, 2, &corner, NULL, &err), 0, "once more");
	fg_tiles_stats(t, &decoded, &bytes);
	tap_int((long)decoded, 4, "decodes nothing");
	tap_int(read_box(t, 2, &all, NULL, &err), 0, "all voxels");
	fg_tiles_stats(t, &decoded, &bytes);
	tap_int((long)decoded, 10, "each tile once");
	tap_int((long)bytes, 5 * 500 * 300 * 4, "and all are kept");
	tap_int(read_box(t, 2, &all, skip, &err), 0,
	    "skipped sections stay as they were");
	fg_tiles_free(t);
	tap_int((long)fg_tiles_pool_bytes(pool), 0, "a closed volume holds nothing");
	fg_tiles_pool_free(pool);

	pool = fg_tiles_pool_new(1u << 20);
	t = fg_tiles_new(&p, pool, decode, &d);
	tap_int(read_box(t, 2, &all, NULL, &err), 0, "with less room");
	fg_tiles_stats(t, &decoded, &bytes);
	tap_ok(bytes <= 1u << 20, "no more than that is kept");
	tap_int(read_box(t, 2, &all, NULL, &err), 0, "again");
	atomic_store(&d.fail_z, 2);
	tap_int(read_box(t, 2, &(struct fg_box){{0, 0, 2}, {9, 9, 3}}, NULL, &err), -1,
	    "a damaged section");
	tap_ok(err.code == FG_ECORRUPT && strstr(err.msg, "section 2"), "%s", err.msg);
	err = FG_ERR_INIT;
	atomic_store(&d.fail_z, -1);
	tap_int(read_box(t, 2, &all, NULL, &err), 0, "and mended");
	fg_tiles_free(t);
	fg_tiles_pool_free(pool);
}

/* Two volumes of ten sections of 180 kB each, and room for twelve. */
static void
two_volumes(void)
{
	struct fg_tiles_plan p = plan(300, 300, 10, 1, 300, 300, 64u << 20);
	const size_t section = 300 * 300 * 2;
	struct fg_tiles_pool *pool = fg_tiles_pool_new(12 * section);
	struct decoder d[2] = {{.fail_z = -1, .channels = 1},
	    {.fail_z = -1, .channels = 1}};
	struct fg_tiles *t[2] = {fg_tiles_new(&p, pool, decode, &d[0]),
	    fg_tiles_new(&p, pool, decode, &d[1])};
	struct fg_box all = {.hi = {300, 300, 10}}, early = {.hi = {300, 300, 6}};
	struct fg_err err = FG_ERR_INIT;
	size_t bytes[2];
	uint64_t decoded;

	tap_int(read_box(t[0], 1, &all, NULL, &err), 0, "the first volume");
	tap_int(read_box(t[0], 1, &early, NULL, &err), 0, "its first six again");
	tap_int((long)atomic_load(&d[0].calls), 10, "are held");
	tap_int(read_box(t[1], 1, &early, NULL, &err), 0, "six of the second");
	for (int i = 0; i < 2; i++)
		fg_tiles_stats(t[i], &decoded, &bytes[i]);
	tap_ok(bytes[0] == 6 * section && bytes[1] == 6 * section,
	    "both together hold twelve (%zu and %zu bytes)", bytes[0], bytes[1]);
	tap_int((long)fg_tiles_pool_bytes(pool), (long)(12 * section),
	    "as the pool says");
	tap_int(read_box(t[0], 1, &early, NULL, &err), 0, "what was used last");
	tap_int((long)atomic_load(&d[0].calls), 10, "has stayed");
	tap_int(read_box(t[1], 1, &all, NULL, &err), 0, "all of the second");
	tap_ok(fg_tiles_pool_bytes(pool) <= 12 * section, "no more than the bound");
	fg_tiles_free(t[1]);
	fg_tiles_stats(t[0], &decoded, &bytes[0]);
	tap_int((long)fg_tiles_pool_bytes(pool), (long)bytes[0],
	    "one volume goes, the other's stay");
	tap_int(read_box(t[0], 1, &all, NULL, &err), 0, "and it is read on");
	fg_tiles_free(t[0]);
	tap_int((long)fg_tiles_pool_bytes(pool), 0, "nothing is left");
	fg_tiles_pool_free(pool);
}

#define READERS 4

struct reader {
	struct fg_tiles *t;
	const struct fg_box *vx;
	long wrong;
};

static void *
read_in_thread(void *arg)
{
	struct reader *r = arg;
	struct fg_err err = FG_ERR_INIT;

	r->wrong = read_box(r->t, 1, r->vx, NULL, &err);
	return NULL;
}

/* Four threads want the same four tiles. Each decoding waits until four run at once:
 * only if every thread decodes another tile does this ever end. */
static void
many_readers(void)
{
	struct fg_tiles_plan p = plan(300, 300, READERS, 1, 300, 300, 64u << 20);
	struct fg_box all = {.hi = {300, 300, READERS}};
	struct decoder d = {.fail_z = -1, .channels = 1};
	struct fg_tiles *t = fg_tiles_new(&p, NULL, decode, &d);
	struct reader r[READERS];
	pthread_t thread[READERS];
	pthread_barrier_t meet;
	long wrong = 0;

	pthread_barrier_init(&meet, NULL, READERS);
	d.meet = &meet;
	for (int i = 0; i < READERS; i++) {
		r[i] = (struct reader){t, &all, -1};
		pthread_create(&thread[i], NULL, read_in_thread, &r[i]);
	}
	for (int i = 0; i < READERS; i++) {
		pthread_join(thread[i], NULL);
		wrong += r[i].wrong;
	}
	tap_int(wrong, 0, "%d threads read the same slab", READERS);
	tap_int((long)atomic_load(&d.calls), READERS,
	    "each section is decoded once, at "
	    "the same time");
	pthread_barrier_destroy(&meet);
	fg_tiles_free(t);
}

int
main(void)
{
	sizes();
	one_reader();
	two_volumes();
	many_readers();
	return tap_done();
}
