/* SPDX-License-Identifier: Apache-2.0 */
/* Sets that grow together (union-find): up[i] is another member of i's set on the way
 * to the one that stands for it, which is its own. Begin with up[i] = i. */
#ifndef FG_BASE_UNION_H
#define FG_BASE_UNION_H

#include <stdint.h>

/* The member that stands for i's set; the way to it is made shorter. */
static inline uint32_t
fg_union_top(uint32_t *up, uint32_t i)
{
	while (up[i] != i) {
		up[i] = up[up[i]];
		i = up[i];
	}
	return i;
}

/* Make one set of a's and b's; the lower of the two that stood for them stands for it.
 */
static inline void
fg_union_join(uint32_t *up, uint32_t a, uint32_t b)
{
	a = fg_union_top(up, a);
	b = fg_union_top(up, b);
	if (a < b)
		up[b] = a;
	else
		up[a] = b;
}

#endif
