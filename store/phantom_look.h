/* SPDX-License-Identifier: Apache-2.0 */
/* From geometry to grey values: private to store/phantom*.c. */
#ifndef FG_STORE_PHANTOM_LOOK_H
#define FG_STORE_PHANTOM_LOOK_H

#include "store/phantom_geom.h"

/* Grey values of the brick in g->out, FG_PHANTOM_VOXELS at most, x fastest. */
void fg_phantom_look_brick(struct fg_phantom_geom *g, uint8_t *grey);

#endif
