/* SPDX-License-Identifier: Apache-2.0 */
/* The dir: source, for the table of schemes in source.c. */
#ifndef FG_STORE_DIR_H
#define FG_STORE_DIR_H

#include "store/source.h"

extern const struct fg_source_ops fg_dir_ops;

#endif
