/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/seg/test_bf16.c with tiles in software, so that what is laid out for
 * tiles is tested on processors that have none (but can round to bf16) as well.
 */
#include "config.h"

#if defined(__x86_64__)
#include "tests/seg/emulate_tiles.h"
#endif

#include "seg/bf16.c"

#define FG_TILES_EMULATED
#include "tests/seg/test_bf16.c"
