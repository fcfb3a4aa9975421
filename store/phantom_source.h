/* SPDX-License-Identifier: Apache-2.0 */
/* The phantom's scheme, for the table in store/source.c. */
#ifndef FG_STORE_PHANTOM_SOURCE_H
#define FG_STORE_PHANTOM_SOURCE_H

#include "store/source.h"

extern const struct fg_source_ops fg_phantom_ops;

#endif
