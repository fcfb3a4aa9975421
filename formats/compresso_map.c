/* SPDX-License-Identifier: Apache-2.0 */
/* The border map of compresso, its runs and components: see the header. */
#include "config.h"

#include "formats/compresso.h"

#include <stdlib.h>

int
fg_compresso_map_init(struct fg_compresso_map *m, const int64_t n[3], int connectivity,
    struct fg_err *err)
{
	*m = (struct fg_compresso_map){.connectivity = connectivity};
	memcpy(m->n, n, sizeof m->n);
	m->rows = (size_t)(n[1] * n[2]);
	m->words = (size_t)(n[0] + 63) / 64;
	m->bits = calloc(m->rows * m->words, sizeof *m->bits);
	m->first = malloc((m->rows + 1) * sizeof *m->first);
	m->components = calloc((size_t)n[2], sizeof *m->components);
	if (!m->bits || !m->first || !m->components)
		return fg_fail(err, FG_ENOMEM,
		    "compresso: no memory for %zu rows of voxels", m->rows);
	return 0;
}

void
fg_compresso_map_fini(struct fg_compresso_map *m)
{
	free(m->bits);
	free(m->runs);
	free(m->first);
	free(m->components);
}

static bool
is_border(const struct fg_compresso_map *m, size_t row, int64_t x)
{
	return m->bits[row * m->words + (size_t)x / 64] >> (x % 64) & 1;
}

/* The first x >= from whose bit is `want`, at most n. */
static int64_t
next_bit(const uint64_t *row, int64_t from, int64_t n, bool want)
{
	uint64_t flip = want ? 0 : ~(uint64_t)0;

	while (from < n) {
		uint64_t rest = (row[from / 64] ^ flip) >> (from % 64);

		if (rest)
			return FG_MIN(from + __builtin_ctzll(rest), n);
		from = from / 64 * 64 + 64;
	}
	return n;
}

static uint32_t
find_root(struct fg_compresso_run *runs, uint32_t i)
{
	while (runs[i].parent != i) {
		runs[i].parent = runs[runs[i].parent].parent;
		i = runs[i].parent;
	}
	return i;
}

/* Join the runs of two rows that touch; the earlier run is the root. */
static void
link_rows(const struct fg_compresso_map *m, size_t above, size_t row)
{
	size_t a = m->first[above], b = m->first[row];

	while (a < m->first[above + 1] && b < m->first[row + 1]) {
		if (FG_MAX(m->runs[a].lo, m->runs[b].lo) <
		    FG_MIN(m->runs[a].hi, m->runs[b].hi)) {
			uint32_t ra = find_root(m->runs, (uint32_t)a);
			uint32_t rb = find_root(m->runs, (uint32_t)b);

			m->runs[FG_MAX(ra, rb)].parent = FG_MIN(ra, rb);
		}
		if (m->runs[a].hi < m->runs[b].hi)
			a++;
		else
			b++;
	}
}

/* Find the runs; false without memory. */
static bool
find_runs(struct fg_compresso_map *m)
{
	size_t n = 0;

	for (size_t row = 0; row < m->rows; row++) {
		const uint64_t *bits = m->bits + row * m->words;
		uint64_t before = 1; /* the bit left of the word */

		m->first[row] = n;
		for (size_t w = 0; w < m->words; w++) {
			uint64_t valid = fg_compresso_bits(m->n[0] - (int64_t)w * 64);

			n += (size_t)__builtin_popcountll(
			    ~bits[w] & (bits[w] << 1 | before) & valid);
			before = bits[w] >> 63;
		}
	}
	m->first[m->rows] = n;
	m->runs = malloc(FG_MAX(n, 1u) * sizeof *m->runs);
	for (size_t row = 0, i = 0; m->runs && row < m->rows; row++) {
		const uint64_t *bits = m->bits + row * m->words;

		for (int64_t x = 0; i < m->first[row + 1]; i++) {
			int64_t lo = next_bit(bits, x, m->n[0], false);

			x = next_bit(bits, lo, m->n[0], true);
			m->runs[i] = (struct fg_compresso_run){.parent = (uint32_t)i,
			    .lo = (uint16_t)lo,
			    .hi = (uint16_t)x};
		}
	}
	return m->runs != NULL;
}

int
fg_compresso_map_components(struct fg_compresso_map *m, uint64_t *count,
    struct fg_err *err)
{
	size_t sy = (size_t)m->n[1];
	uint32_t next = 0;

	if (!find_runs(m))
		return fg_fail(err, FG_ENOMEM, "compresso: no memory for %zu runs",
		    m->first[m->rows]);
	for (size_t row = 0; row < m->rows; row++) {
		if (row % sy > 0)
			link_rows(m, row - 1, row);
		if (m->connectivity == 6 && row >= sy)
			link_rows(m, row - sy, row);
	}
	/* A parent is earlier, so it has its number already. */
	for (size_t row = 0; row < m->rows; row++) {
		for (size_t i = m->first[row]; i < m->first[row + 1]; i++) {
			uint32_t p = m->runs[i].parent;

			m->components[row / sy] += p == i;
			m->runs[i].parent = p == i ? next++ : m->runs[p].parent;
		}
	}
	*count = next;
	return 0;
}

struct fg_compresso_origin
fg_compresso_map_origin(const struct fg_compresso_map *m, size_t row, size_t w)
{
	const uint64_t *b = m->bits + row * m->words + w;
	uint64_t before = w == 0 ? 1 : b[-1] >> 63;
	struct fg_compresso_origin o = {.left = *b & ~(*b << 1 | before)};

	o.code = *b & ~o.left;
	if (row % (size_t)m->n[1] > 0) {
		o.up = o.code & ~*(b - m->words);
		o.code &= ~o.up;
	}
	if (m->connectivity == 6 && row >= (size_t)m->n[1]) {
		o.below = o.code & ~*(b - m->words * (size_t)m->n[1]);
		o.code &= ~o.below;
	}
	return o;
}

bool
fg_compresso_map_neighbour(const struct fg_compresso_map *m, int code, size_t row,
    int64_t x, size_t *at)
{
	static const int8_t steps[6][3] = {{-1, 0, 0}, {1, 0, 0}, {0, -1, 0}, {0, 1, 0},
	    {0, 0, -1}, {0, 0, 1}};
	int64_t y = (int64_t)row % m->n[1] + steps[code][1];
	int64_t z = (int64_t)row / m->n[1] + steps[code][2];

	x += steps[code][0];
	if (x < 0 || x >= m->n[0] || y < 0 || y >= m->n[1] || z < 0 || z >= m->n[2])
		return false;
	row = (size_t)(z * m->n[1] + y);
	*at = row * (size_t)m->n[0] + (size_t)x;
	return !is_border(m, row, x);
}
