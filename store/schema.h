/* SPDX-License-Identifier: Apache-2.0 */
/* The tables of the index: SQL texts of the steps 1, 2, ..., ended by NULL. */
#ifndef FG_STORE_SCHEMA_H
#define FG_STORE_SCHEMA_H

extern const char *const fg_schema_step[];

#endif
