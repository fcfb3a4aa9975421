/* SPDX-License-Identifier: Apache-2.0 */
/* Objects in pieces: see the header. A union-find over voxels, each of which points to
 * an earlier one of its piece or to itself; then what is no object and what is another
 * piece are told apart as two segmentations are (seg/consensus.h). */
#include "config.h"

#include "seg/connected.h"

#include "base/union.h"
#include "seg/consensus.h"

/* to: of each voxel the first one of its piece. */
static void
find_pieces(const struct fg_array *labels, uint32_t *to)
{
	const uint32_t *v = labels->data;
	const uint32_t nx = (uint32_t)labels->shape[0],
		       plane = nx * (uint32_t)labels->shape[1];
	uint32_t i = 0;

	for (int64_t z = 0; z < labels->shape[2]; z++) {
		for (int64_t y = 0; y < labels->shape[1]; y++) {
			for (int64_t x = 0; x < labels->shape[0]; x++, i++) {
				to[i] = i;
				if (v[i] == 0)
					continue;
				if (x > 0 && v[i - 1] == v[i])
					fg_union_join(to, i, i - 1);
				if (y > 0 && v[i - nx] == v[i])
					fg_union_join(to, i, i - nx);
				if (z > 0 && v[i - plane] == v[i])
					fg_union_join(to, i, i - plane);
			}
		}
	}
	/* Each points to an earlier one, which is final by then. */
	for (uint32_t k = 0; k < i; k++)
		to[k] = to[to[k]];
}

int
fg_connected_split(const struct fg_array *labels, uint64_t least, struct fg_array *out,
    struct fg_err *err)
{
	struct fg_array first = FG_ARRAY_INIT;
	int rc;

	fg_assert(labels->dtype == FG_U32 && labels->shape[3] == 1);
	if (fg_array_count(labels) > UINT32_MAX)
		return fg_fail(err, FG_EFULL, "more voxels than 32 bits can name: %zu",
		    fg_array_count(labels));
	if (fg_array_init(&first, FG_U32, labels->shape, err) < 0)
		return -1;
	find_pieces(labels, first.data);
	rc = fg_consensus_split(labels, &first, least, out, err);
	fg_array_fini(&first);
	return rc;
}
