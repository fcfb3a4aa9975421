/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The C side of Draco: what may not reach the C++ code is found here, and a build
 * without it says so.
 */
#include "config.h"

#include "mesh/draco.h"

#include <stdlib.h>

#ifdef HAVE_DRACO
#include "mesh/draco_shim.h"
#endif

bool
fg_draco_is_built(void)
{
#ifdef HAVE_DRACO
	return true;
#else
	return false;
#endif
}

#ifdef HAVE_DRACO

/* Of Draco's 0 (smallest) to 10: smaller and not slower than 0 to 2 on voxel meshes. */
#define SPEED 3
#define POSITION_MAX (INT32_C(1) << 30)

static int
check(const int32_t *xyz, uint32_t vertices, const uint32_t *index, uint32_t triangles,
    struct fg_err *err)
{
	bool some = false;

	for (size_t i = 0; i < 3 * (size_t)vertices; i++) {
		if (xyz[i] < 0 || xyz[i] > POSITION_MAX)
			return fg_fail(err, FG_EINVAL,
			    "vertex %zu of the mesh is at %d, not in 0..2^30", i / 3,
			    xyz[i]);
	}
	for (size_t t = 0; t < triangles; t++) {
		const uint32_t *c = index + 3 * t;

		for (int k = 0; k < 3; k++) {
			if (c[k] >= vertices)
				return fg_fail(err, FG_EINVAL,
				    "triangle %zu of the mesh names vertex %u of %u", t,
				    c[k], vertices);
		}
		some |= c[0] != c[1] && c[1] != c[2] && c[2] != c[0];
	}
	if (!some)
		return fg_fail(err, FG_EINVAL, "the mesh has no triangle to encode");
	return 0;
}

int
fg_draco_encode(const int32_t *xyz, uint32_t vertices, const uint32_t *index,
    uint32_t triangles, struct fg_buf **out, struct fg_err *err)
{
	char why[200] = "";
	uint8_t *bytes = NULL;
	size_t len = 0;

	if (check(xyz, vertices, index, triangles, err) < 0)
		return -1;
	switch (fg_draco_shim_encode(xyz, vertices, index, triangles, SPEED, &bytes,
	    &len, why, sizeof why)) {
	case 0:
		*out = fg_buf_take(bytes, len);
		return 0;
	case -2:
		return fg_fail(err, FG_ENOMEM, "no memory to encode %u triangles",
		    triangles);
	default:
		return fg_fail(err, FG_EINVAL, "Draco cannot encode %u triangles: %s",
		    triangles, why);
	}
}

#else

int
fg_draco_encode(const int32_t *xyz FG_UNUSED, uint32_t vertices FG_UNUSED,
    const uint32_t *index FG_UNUSED, uint32_t triangles FG_UNUSED,
    struct fg_buf **out FG_UNUSED, struct fg_err *err)
{
	return fg_fail(err, FG_ENOTSUP,
	    "this floodgate was built without libdraco (multi-resolution meshes)");
}

#endif
