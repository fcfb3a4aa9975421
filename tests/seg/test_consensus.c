/* SPDX-License-Identifier: Apache-2.0 */
/* Consensus of two segmentations: by hand, and against dense tables. */
#include "config.h"

#include "seg/consensus.h"

#include "tests/tap.h"

#define N 2000
#define LABELS 9

static uint64_t rnd_state = 17;

static uint32_t
rnd(uint32_t n)
{
	rnd_state = rnd_state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(rnd_state >> 33) % n;
}

static struct fg_array
make(const uint32_t *v, int64_t n)
{
	struct fg_array a = FG_ARRAY_INIT;
	struct fg_err err = FG_ERR_INIT;
	int64_t shape[4] = {n, 1, 1, 1};

	if (fg_array_init(&a, FG_U32, shape, &err) < 0)
		exit(1);
	memcpy(a.data, v, (size_t)n * sizeof *v);
	return a;
}

/* Wrong voxels of a consensus in place. */
static int
play(uint64_t least)
{
	static uint32_t a[N], b[N];
	uint64_t n[LABELS][LABELS] = {{0}};
	uint32_t name[LABELS][LABELS] = {{0}}, la = 0, lb = 0, next = 0;
	struct fg_err err = FG_ERR_INIT;
	struct fg_array x, y;
	int wrong = 0;

	for (int i = 0; i < N; i++) {
		if (rnd(20) == 0)
			la = rnd(LABELS);
		if (rnd(20) == 0)
			lb = rnd(LABELS);
		a[i] = la;
		b[i] = lb;
		n[la][lb]++;
		next = FG_MAX(next, la);
	}
	for (uint32_t i = 1; i < LABELS; i++) {
		uint32_t best = 0;

		for (uint32_t k = 1; k < LABELS; k++)
			best = n[i][k] > n[i][best] ? k : best;
		for (uint32_t k = 0; k < LABELS; k++) {
			if (n[i][k] > 0 && n[i][k] >= least)
				name[i][k] = k == best ? i : ++next;
		}
	}
	x = make(a, N);
	y = make(b, N);
	if (fg_consensus_split(&x, &y, least, &x, &err) < 0)
		return N;
	for (int i = 0; i < N; i++)
		wrong += ((uint32_t *)x.data)[i] != name[a[i]][b[i]];
	fg_array_fini(&x);
	fg_array_fini(&y);
	return wrong;
}

int
main(void)
{
	const uint32_t a[8] = {1, 1, 1, 2, 2, 2, 0, 0};
	const uint32_t b[8] = {5, 5, 6, 6, 6, 0, 6, 0};
	const uint32_t want[8] = {1, 1, 3, 2, 2, 4, 0, 0};
	const uint32_t top[2] = {UINT32_MAX, UINT32_MAX}, two[2] = {1, 2};
	struct fg_array x = make(a, 8), y = make(b, 8), z = make(a, 8);
	struct fg_err err = FG_ERR_INIT;
	int wrong = 0;

	tap_rc(fg_consensus_split(&x, &y, 0, &z, &err), &err, "two and two objects");
	tap_ok(memcmp(z.data, want, sizeof want) == 0, "are four");
	tap_rc(fg_consensus_split(&x, &y, 2, &z, &err), &err, "at least two voxels");
	tap_ok(((uint32_t *)z.data)[2] == 0 && ((uint32_t *)z.data)[3] == 2 &&
		   ((uint32_t *)z.data)[5] == 0,
	    "leave crumbs out");
	fg_array_fini(&x);
	fg_array_fini(&y);
	fg_array_fini(&z);
	for (int i = 0; i < 50; i++)
		wrong += play((uint64_t)(i % 5) * 10);
	tap_int(wrong, 0, "50 random boxes as dense tables have them");
	x = make(top, 2);
	y = make(two, 2);
	tap_fails(fg_consensus_split(&x, &y, 0, &x, &err), &err, FG_EFULL, "32 bits",
	    "names run out");
	fg_array_fini(&x);
	fg_array_fini(&y);
	return tap_done();
}
