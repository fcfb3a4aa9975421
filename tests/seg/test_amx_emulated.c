/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/seg/test_amx.c with tiles in software, so that the loops are tested where the
 * processor has none; of AVX-512 they need the conversion to bf16.
 */
#include "config.h"

#if defined(__x86_64__)
#include "tests/seg/emulate_tiles.h"
#endif

#include "seg/amx.c"

#define FG_TILES_EMULATED
#include "tests/seg/test_amx.c"
