/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Skeleton files: what can be decoded comes back from the encoder byte for byte, can be
 * written as SWC, and can be joined to a forest. Without and with attributes.
 */
#include "config.h"

#include "mesh/join.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void
check_joined(const struct fg_skeleton *s)
{
	struct fg_join_params params = {.remove_loops = true, .tick_threshold = 10};
	struct fg_err err = FG_ERR_INIT;
	struct fg_skeleton out;

	if (s->edges > 5000) /* opening loops takes time by their number */
		return;
	fg_assert(fg_skeleton_join(&s, 1, &params, &out, &err) == 0);
	fg_assert(out.edges < out.vertices || (!out.vertices && !out.edges));
	fg_skeleton_fini(&out);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	for (unsigned attributes = 0; attributes < 4; attributes++) {
		struct fg_err err = FG_ERR_INIT;
		struct fg_skeleton s;
		struct fg_buf *b = NULL;

		if (fg_skeleton_decode_with(p, n, attributes, &s, &err) < 0) {
			fg_assert(err.code == FG_ECORRUPT && err.msg[0]);
			continue;
		}
		fg_assert(fg_skeleton_encode(&s, &b, &err) == 0);
		fg_assert(b->len == n && memcmp(b->data, p, n) == 0);
		fg_buf_unref(b);
		fg_assert(fg_skeleton_encode_swc(&s, &b, &err) == 0);
		fg_buf_unref(b);
		check_joined(&s);
		fg_skeleton_fini(&s);
	}
	return 0;
}
