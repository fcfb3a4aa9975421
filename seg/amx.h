/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The residual stack in bf16 on AMX tiles, for processors that have them: the same
 * network as oneDNN's, with two layers at a time in the second-level cache.
 */
#ifndef FG_SEG_AMX_H
#define FG_SEG_AMX_H

#include "seg/device.h"

/* Whether this processor and kernel have bf16 tiles. */
bool fg_amx_has_tiles(void);

/* Whether they have and net has the shape that these
 * loops are written for: 32 features everywhere. */
bool fg_amx_can_run(const struct fg_net *net);

/* A model for the calling thread's core; its forward and unload are its own. Only after
 * fg_amx_can_run. Fails: FG_ENOMEM. */
int fg_amx_load(const struct fg_net *net, struct fg_model **out,
    struct fg_err *err) FG_MUST_USE;

#endif
