/* SPDX-License-Identifier: Apache-2.0 */
/* Objects in pieces: by hand, and against a plain flood fill of noise. */
#include "config.h"

#include "seg/connected.h"

#include "tests/tap.h"

#define SIDE 14
#define COUNT (SIDE * SIDE * SIDE)

static struct fg_err err = FG_ERR_INIT;
static uint64_t rnd_state = 5;

static uint32_t
rnd(uint32_t n)
{
	rnd_state = rnd_state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(rnd_state >> 33) % n;
}

static struct fg_array
volume(const uint32_t *v, int64_t nx, int64_t ny, int64_t nz)
{
	const int64_t shape[4] = {nx, ny, nz, 1};
	struct fg_array a = FG_ARRAY_INIT;

	if (fg_array_init(&a, FG_U32, shape, &err) < 0)
		exit(1);
	memcpy(a.data, v, fg_array_bytes(&a));
	return a;
}

static void
check(const uint32_t *in, const uint32_t *want, int64_t nx, int64_t ny, int64_t nz,
    uint64_t least, const char *text)
{
	struct fg_array a = volume(in, nx, ny, nz);

	tap_rc(fg_connected_split(&a, least, &a, &err), &err, "split");
	tap_ok(memcmp(a.data, want, fg_array_bytes(&a)) == 0, "%s", text);
	fg_array_fini(&a);
}

static void
by_hand(void)
{
	static const uint32_t line[] = {3, 3, 0, 3, 1, 3, 3, 3}, whole[] = {2, 2, 2, 2};
	static const uint32_t corners[] = {1, 0, 0,
	    1}; /* 2 x 2: they touch at an edge */
	static const uint32_t cubes[] = {1, 0, 0, 0, 0, 0, 0, 1}; /* at a corner */
	static const uint32_t ring[] = {1, 1, 1, 1, 0, 1, 1, 1, 1};

	check(line, (uint32_t[]){4, 4, 0, 5, 1, 3, 3, 3}, 8, 1, 1, 0,
	    "the largest keeps the name, others follow the largest label");
	check(line, (uint32_t[]){4, 4, 0, 0, 0, 3, 3, 3}, 8, 1, 1, 2,
	    "small pieces are dropped, also where they are all of an object");
	check(line, (uint32_t[]){4, 4, 0, 5, 1, 3, 3, 3}, 1, 1, 8, 1, "along z");
	check(whole, whole, 1, 4, 1, 4, "what hangs together stays");
	check(corners, (uint32_t[]){1, 0, 0, 2}, 2, 2, 1, 0,
	    "an edge is no face; of equals the first keeps the name");
	check(cubes, (uint32_t[]){1, 0, 0, 0, 0, 0, 0, 2}, 2, 2, 2, 0,
	    "nor is a corner");
	check(ring, ring, 3, 3, 1, 0, "a ring is one piece");
}

/* Fill from voxel i with a number; how many. */
static int
fill(const uint32_t *v, uint32_t *piece, int i, uint32_t number)
{
	static const int step[] = {1, SIDE, SIDE * SIDE};
	static int stack[COUNT];
	int n = 0, top = 0;

	stack[top++] = i;
	piece[i] = number;
	while (top > 0) {
		int at = stack[--top], p = at;

		n++;
		for (int d = 0; d < 3; d++, p /= SIDE) {
			for (int s = -1; s <= 1; s += 2) {
				int next = at + s * step[d];

				if (p % SIDE + s < 0 || p % SIDE + s >= SIDE ||
				    v[next] != v[at] || piece[next] != 0)
					continue;
				piece[next] = number;
				stack[top++] = next;
			}
		}
	}
	return n;
}

/* Noise of few labels: out's labels and the pieces must be the same parts, the largest
 * piece of each label must have its name. */
static void
noise(uint32_t labels, uint64_t least)
{
	static uint32_t v[COUNT], piece[COUNT], name[COUNT + 1];
	static int size[COUNT + 1], best[16];
	uint32_t pieces = 0, wrong = 0;
	struct fg_array a;
	const uint32_t *o;

	memset(piece, 0, sizeof piece);
	memset(name, 0, sizeof name);
	memset(best, 0, sizeof best);
	for (int i = 0; i < COUNT; i++)
		v[i] = rnd(labels);
	for (int i = 0; i < COUNT; i++) {
		if (v[i] == 0 || piece[i] != 0)
			continue;
		pieces++;
		size[pieces] = fill(v, piece, i, pieces);
		if (best[v[i]] == 0 || size[pieces] > size[best[v[i]]])
			best[v[i]] = (int)pieces;
	}
	a = volume(v, SIDE, SIDE, SIDE);
	tap_rc(fg_connected_split(&a, least, &a, &err), &err, "split");
	o = a.data;
	for (int i = 0; i < COUNT; i++) {
		uint32_t p = piece[i], want = name[p];

		if (p == 0 || (uint64_t)size[p] < least)
			want = 0;
		else if (best[v[i]] == (int)p)
			want = v[i];
		else if (want == 0) /* its first voxel: a name that is new */
			want = name[p] = o[i] >= labels ? o[i] : UINT32_MAX;
		wrong += o[i] != want;
	}
	for (uint32_t p = 1; p <= pieces; p++) {
		for (uint32_t q = p + 1; q <= pieces; q++)
			wrong += name[p] != 0 && name[p] == name[q];
	}
	tap_int(wrong, 0, "%u labels, %u pieces, at least %u voxels", labels - 1,
	    pieces, (unsigned)least);
	fg_array_fini(&a);
}

int
main(void)
{
	by_hand();
	for (uint32_t labels = 2; labels < 8; labels++) {
		noise(labels, 0);
		noise(labels, 2 + labels);
	}
	return tap_done();
}
