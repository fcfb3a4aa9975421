/* SPDX-License-Identifier: Apache-2.0 */
/* Labels already worked out: private to store/phantom_*.c. */
#ifndef FG_STORE_PHANTOM_TREE_H
#define FG_STORE_PHANTOM_TREE_H

#include "store/phantom_geom.h"

struct fg_phantom_memo *fg_phantom_memo_new(void);
void fg_phantom_memo_free(struct fg_phantom_memo *m);

#endif
