/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sparse canvas against a dense array of the same logits, then the freeze rule and
 * FaceMax on small patches made by hand.
 */
#include "config.h"

#include "seg/canvas.h"

#include <math.h>

#include "tests/tap.h"

enum { NX = 61, NY = 47, NZ = 53, N = NX * NY * NZ };

static struct fg_err err = FG_ERR_INIT;
static float dense[N];

static size_t
at(const int64_t v[3])
{
	return (size_t)((v[2] * NY + v[1]) * NX + v[0]);
}

static uint32_t
next_random(void)
{
	static uint32_t s = 7;

	s = s * 1664525u + 1013904223u;
	return s >> 8;
}

static bool
same(float a, float b)
{
	return a == b || (isnan(a) && isnan(b));
}

/* Gathers the whole box and compares. */
static size_t
differences(const struct fg_canvas *c)
{
	static float all[N];
	const int64_t lo[3] = {0, 0, 0}, size[3] = {NX, NY, NZ};
	size_t n = 0;

	fg_canvas_gather(c, lo, size, all);
	for (size_t i = 0; i < N; i++)
		n += !same(all[i], dense[i]);
	return n;
}

static void
write_box(struct fg_canvas *c, const int64_t lo[3], const int64_t size[3])
{
	float v[17 * 17 * 17], back[17 * 17 * 17];
	size_t n = (size_t)(size[0] * size[1] * size[2]), i = 0, wrong = 0;

	for (size_t k = 0; k < n; k++)
		v[k] = (float)next_random() / 1e6f - 8;
	if (fg_canvas_scatter(c, lo, size, v, &err) < 0)
		tap_ok(false, "scatter: %s", err.msg);
	for (int64_t z = 0; z < size[2]; z++) {
		for (int64_t y = 0; y < size[1]; y++) {
			for (int64_t x = 0; x < size[0]; x++)
				dense[at((int64_t[]){lo[0] + x, lo[1] + y,
				    lo[2] + z})] = v[i++];
		}
	}
	fg_canvas_gather(c, lo, size, back);
	for (size_t k = 0; k < n; k++)
		wrong += back[k] != v[k];
	if (wrong)
		tap_ok(false, "%zu of %zu come back changed", wrong, n);
}

static void
paging(struct fg_canvas *c)
{
	const int64_t one[3] = {60, 46, 52}, outside[3] = {-5, 100, 3};
	size_t held;

	for (size_t i = 0; i < N; i++)
		dense[i] = NAN;
	tap_int(differences(c), 0, "nothing is predicted at first");
	tap_int(fg_canvas_pages(c), 0, "and no page touched");
	for (int k = 0; k < 40; k++) {
		int64_t lo[3], size[3] = {17, 1 + k % 17, 9};

		lo[0] = next_random() % (NX - 17);
		lo[1] = next_random() % (NY - 17);
		lo[2] = next_random() % (NZ - 9);
		write_box(c, lo, size);
	}
	tap_int(differences(c), 0, "40 boxes, the later ones over the earlier");
	tap_rc(fg_canvas_set(c, one, 3.5f, &err), &err, "one voxel in the corner");
	dense[at(one)] = 3.5f;
	tap_ok(fg_canvas_get(c, one) == 3.5f, "it is there");
	tap_ok(isnan(fg_canvas_get(c, outside)), "outside is not predicted");
	tap_int(differences(c), 0, "nothing else has changed");
	held = fg_canvas_bytes(c);
	fg_canvas_clear(c);
	for (size_t i = 0; i < N; i++)
		dense[i] = NAN;
	tap_int(differences(c), 0, "clear");
	write_box(c, (int64_t[]){3, 3, 3}, (int64_t[]){17, 17, 17});
	tap_int(differences(c), 0, "used again");
	tap_int(fg_canvas_pages(c), 8, "17^3 at 3 touches 8 pages");
	tap_int(fg_canvas_bytes(c), held, "pages are used again, not added");
}

/* More pages than the first hash holds, also at negative and far places. */
static void
many_pages(struct fg_canvas *c)
{
	size_t wrong = 0;

	fg_canvas_clear(c);
	for (int64_t k = 0; k < 2000; k++) {
		int64_t v[3] = {k * 977 - 900000, k % 7 * 100003, -k * 31};

		if (fg_canvas_set(c, v, (float)k, &err) < 0)
			wrong++;
	}
	for (int64_t k = 0; k < 2000; k++) {
		int64_t v[3] = {k * 977 - 900000, k % 7 * 100003, -k * 31};

		wrong += fg_canvas_get(c, v) != (float)k;
	}
	tap_int(wrong, 0, "2000 pages far apart");
	tap_int(fg_canvas_pages(c), 2000, "one page each");
}

static void
images(void)
{
	uint16_t v[4 * 3 * 2];
	struct fg_array im = {.dtype = FG_U16, .shape = {4, 3, 2, 1}, .data = v};
	float out[4], want[] = {(float)(1000 * 17 - 128) / 33.0f};

	for (size_t i = 0; i < FG_COUNTOF(v); i++)
		v[i] = (uint16_t)(1000 * i);
	struct fg_canvas *c = fg_canvas_new(&im, 128, 33);
	fg_canvas_gather_image(c, (int64_t[]){1, 1, 1}, (int64_t[]){2, 2, 1}, out);
	tap_ok(out[0] == want[0] && out[3] == (float)(1000 * 22 - 128) / 33.0f,
	    "16-bit voxels are normalised");
	fg_canvas_free(c);
}

static void
freeze_rule(void)
{
	struct fg_step_params p = {.move = 2, .freeze = 0.25f};
	const float old[4] = {-1, -1, NAN, 0.5f};
	float a[4] = {3, -2, 3, 3}, b[4] = {3, -2, 1, 1}, c[4] = {3, -2, 3, 3};

	fg_step_freeze(&p, 4, old, a);
	tap_ok(a[0] == -1, "a voxel below 0 stays below when it would rise");
	tap_ok(a[1] == -2, "it may fall");
	tap_ok(a[2] == 3 && a[3] == 3, "unknown ones and those above 0 are free");
	fg_step_freeze(&p, 4, old, b);
	tap_ok(b[0] == 3, "a quarter above is not more than a quarter: no freezing");
	p.freeze = -1;
	fg_step_freeze(&p, 4, old, c);
	tap_ok(c[0] == 3, "negative: off");
}

enum { FX = 9, FY = 7, FZ = 5 };

static float *
patch_at(float *patch, int x, int y, int z)
{
	return &patch[((z + FZ / 2) * FY + y + FY / 2) * FX + x + FX / 2];
}

static void
face_max(void)
{
	const struct fg_step_params p = {.move = 2, .delta = {3, 2, 1}};
	const int64_t fov[3] = {FX, FY, FZ};
	float patch[FX * FY * FZ] = {0};
	struct fg_face f[6];

	tap_int(fg_step_faces(&p, fov, patch, f), 0, "nothing reaches the threshold");
	*patch_at(patch, 3, 1, -1) = 5;  /* on +x, also on -z */
	*patch_at(patch, -3, -2, 0) = 4; /* the edge of -x and -y */
	*patch_at(patch, 0, 2, 0) = 2;   /* +y, exactly at the threshold */
	*patch_at(patch, 1, 0, 1) = 5;   /* +z: ties with +x in score */
	*patch_at(patch, 4, 3, 2) = 9;   /* outside the box */
	tap_int(fg_step_faces(&p, fov, patch, f), 4, "four places on six faces");
	tap_ok(f[0].score == 5 && f[0].off[2] == 1, "same score: larger z first");
	tap_ok(f[1].score == 5 && f[1].off[0] == 3 && f[1].off[1] == 1, "then +x");
	tap_ok(f[2].off[0] == -3 && f[2].off[1] == -2, "the edge counts once");
	tap_ok(f[3].score == 2 && f[3].off[1] == 2, "the threshold itself counts");

	/* Equal maxima on one face: the first in z, y, x order. */
	memset(patch, 0, sizeof patch);
	*patch_at(patch, 3, 1, 0) = 3;
	*patch_at(patch, 3, -1, 0) = 3;
	tap_int(fg_step_faces(&p, fov, patch, f), 1, "one face");
	tap_int(f[0].off[1], -1, "the first of two equal ones");
}

int
main(void)
{
	struct fg_array im = {.dtype = FG_U8, .shape = {NX, NY, NZ, 1}};
	struct fg_canvas *c = fg_canvas_new(&im, 0, 1);

	paging(c);
	many_pages(c);
	fg_canvas_free(c);
	images();
	freeze_rule();
	face_max();
	return tap_done();
}
