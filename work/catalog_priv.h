/* SPDX-License-Identifier: Apache-2.0 */
/* What catalog.c (the table) and catalog_add.c (new layers) share. */
#ifndef FG_WORK_CATALOG_PRIV_H
#define FG_WORK_CATALOG_PRIV_H

#include "work/catalog.h"

struct fg_store *fg_catalog_store(struct fg_catalog *c);

/* The info as compact JSON, and the SHA-256 of that: what a recipe remembers of its
 * image. */
struct fg_buf *fg_catalog_info_bytes(const struct fg_info *info);
void fg_catalog_info_sha256(const struct fg_info *info, char out[FG_SHA256_HEX]);

/* A layer from its row, one reference; broken with the reason if it cannot be opened.
 */
struct fg_layer *fg_catalog_open_layer(struct fg_catalog *c,
    const struct fg_layer_row *row);
/* Put it into the table, which takes the reference over. The name must be free. */
void fg_catalog_insert(struct fg_catalog *c, struct fg_layer *l);
/* The companion NAME.prob of a layer that keeps its probability map, one reference. */
struct fg_layer *fg_catalog_make_prob(struct fg_layer *base);
/* The companion NAME.agg of a generated layer, one reference. */
struct fg_layer *fg_catalog_make_agg(struct fg_layer *base);
/* Layers read from elsewhere, catalog_source.c: open what the row describes; fill a new
 * row in from a description, after the source was opened once. */
int fg_catalog_open_passive(struct fg_catalog *c, struct fg_layer *l,
    const struct fg_layer_row *row, struct fg_err *err) FG_MUST_USE;
int fg_catalog_plan_passive(struct fg_catalog *c, const json_t *spec, const char *url,
    struct fg_layer_row *row, struct fg_err *err) FG_MUST_USE;
/* JSON holds UTF-8 only, and paths of this machine need not be. */
int fg_catalog_check_text(const char *path, struct fg_err *err) FG_MUST_USE;
struct fg_web *fg_catalog_web(struct fg_catalog *c);
struct fg_tiles_pool *fg_catalog_tiles(struct fg_catalog *c);
/* A reference, or NULL. */
struct fg_layer *fg_catalog_find_uuid(struct fg_catalog *c, const char *uuid);

#endif
