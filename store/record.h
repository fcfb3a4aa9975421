/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The JSON bodies of LAYER, COMMIT, EDIT and JOB records: what the index would
 * otherwise be the only one to know, so that it can be made again from slabs.
 *
 * LAYER:  {"layer", "uuid", "name", "kind", "info", "source", "recipe", "grid"}, the
 *         texts of struct fg_layer_row as strings.
 * COMMIT: {"task": [kind, scale, at], "run": {worker, device, version, started, ended,
 *         stats}, "put": [[kind, scale, at, part, state, enc, off, len, crc, gen],
 *         ...], "objects": [[id, voxels, lo x3, hi x3, seed x3], ...],
 *         "merges": [[a, b, both, only_a, only_b, joined], ...], "contacts":
 *         [[a, b, both, only_a, only_b, x, y, z, recovered, deleted, joined], ...]};
 *         an object's seed, and the last two lists, may be absent. `off` is where the
 *         payload's bytes begin in the same slab, -1 for a state without bytes; gen,
 *         the generation of an artefact, is left out where it is 0. Numbers above
 *         2^63 - 1 are stored as two's complement.
 * EDIT:   {"edits": [[edit, kind, a, b, at, who], ...]} or {"undo": [edit, ...]}.
 * JOB:    {"job", "box", "stages", "error", "class", "state", "created", "updated"},
 *         box and stages being texts of struct fg_job_row.
 */
#ifndef FG_STORE_RECORD_H
#define FG_STORE_RECORD_H

#include <jansson.h>

#include "store/object.h"

char *fg_record_layer_format(const struct fg_layer_row *row);
/* *row is zeroed first; release with fg_layer_row_fini. Fails: FG_ECORRUPT. */
int fg_record_layer_parse(const char *text, size_t n, struct fg_layer_row *row,
    struct fg_err *err) FG_MUST_USE;

char *fg_record_job_format(const struct fg_job_row *row);
/* *row is zeroed first; release with fg_job_row_fini. Fails: FG_ECORRUPT. */
int fg_record_job_parse(const char *text, size_t n, uint32_t layer,
    struct fg_job_row *row, struct fg_err *err) FG_MUST_USE;

char *fg_record_edit_format(const struct fg_edit *edit, size_t n);
char *fg_record_undo_format(const int64_t *edit, size_t n);
/* Either of the two: *edit or *undo is malloc'ed, the other one NULL. Fails:
 * FG_ECORRUPT. */
int fg_record_edit_parse(const char *text, size_t len, struct fg_edit **edit,
    int64_t **undo, size_t *n, struct fg_err *err) FG_MUST_USE;

/* res->places must be filled. */
char *fg_record_commit_format(const struct fg_result *res);

/* A result read back from a slab; the payloads carry no bytes. */
struct fg_record_result {
	struct fg_result res; /* its arrays and strings are owned here */
	json_t *json;
};

/* Keys get layer id `layer`, places slab number `slab`. Fails: FG_ECORRUPT. */
int fg_record_commit_parse(const char *text, size_t n, uint32_t layer, uint32_t slab,
    struct fg_record_result *out, struct fg_err *err) FG_MUST_USE;
void fg_record_result_fini(struct fg_record_result *r);

#endif
