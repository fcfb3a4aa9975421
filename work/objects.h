/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Objects of generated layers as JSON and text: equivalences, evidence, users'
 * decisions, properties. Shared by the tool and the server. `l` is a generated layer or
 * its NAME.agg.
 */
#ifndef FG_WORK_OBJECTS_H
#define FG_WORK_OBJECTS_H

#include <jansson.h>

#include "store/object.h"
#include "work/catalog.h"

/* The component of an object: {"layer", "id", "public", "voxels", "lo", "hi", "seed"
 * (null: not known), "blocks", "gen", "members": [...] (at most 10,000),
 * "members_all"}. FG_ENOENT. */
int fg_object_describe(const struct fg_layer *l, struct fg_reader *r, uint64_t id,
    json_t **out, struct fg_err *err) FG_MUST_USE;

/* ------------------------------------------------------------- lists */

/* Calls fn for the objects of l (base objects of NAME, components of NAME.agg) whose
 * bounding box reaches into vx, by ascending public id, until one call does not return
 * 0: that is returned. 1: the layer has more than max objects, of which the first max
 * were looked at. */
int fg_objects_each(const struct fg_layer *l, struct fg_reader *r,
    const struct fg_box *vx, uint64_t max,
    int (*fn)(void *ctx, const struct fg_object *o, struct fg_err *err), void *ctx,
    struct fg_err *err) FG_MUST_USE;
/* Ids of these objects; *out is malloc'ed, NULL of none. Cost: one pass over the
 * layer's objects. FG_EINVAL: more than 2^24. */
int fg_objects_in_box(const struct fg_layer *l, struct fg_reader *r,
    const struct fg_box *vx, uint64_t **out, size_t *n, struct fg_err *err) FG_MUST_USE;
/* Of n ids: each object once, by the name that viewers ask for, ascending; ids of no
 * object stay. l may be a passive layer. *out is malloc'ed. */
int fg_objects_named(const struct fg_layer *l, struct fg_reader *r, const uint64_t *ids,
    size_t n, uint64_t **out, size_t *count, struct fg_err *err) FG_MUST_USE;

/* ------------------------------------------------------------- equivalences */

struct fg_equivalences_query {
	uint64_t id; /* the component of this object alone; 0: not */
	bool boxed;  /* components with an object in a block that the box touches */
	struct fg_box vx; /* voxels of scale 0 */
	uint64_t after;   /* else all, by public id, after this one */
	size_t max;       /* members listed, at most; a component is never cut */
};

/*
 * Components of more than one member: {"equivalences": [["1", "2"], ...], "next": id or
 * null}, members ascending, the first being the public id: the value of "equivalences"
 * in the state of a Neuroglancer layer. "next" is the `after` of the next page (only
 * without id and box). Fails: FG_ENOENT (no such object), FG_EINVAL (box outside; more
 * than max members in the box).
 */
int fg_equivalences(const struct fg_layer *l, struct fg_reader *r,
    const struct fg_equivalences_query *q, json_t **out,
    struct fg_err *err) FG_MUST_USE;
/* The same as lines "id,public" after a head line; free(). */
char *fg_equivalences_csv(const json_t *equivalences) FG_MUST_USE;

/* ------------------------------------------------------------- evidence, decisions */

/* [{"a", "b", "both", "only_a", "only_b", "joined"}]: merges of the component of id, or
 * of the layer for 0; positions skip .. skip + max. */
int fg_merges_list(const struct fg_layer *l, struct fg_reader *r, uint64_t id,
    uint64_t skip, size_t max, json_t **out, struct fg_err *err) FG_MUST_USE;

/* [{"a", "b", "both", "only_a", "only_b", "at": [x, y, z], "recovered", "deleted",
 * "joined"}]: the same of contacts (struct fg_contact); the two shares are 0..1. */
int fg_contacts_list(const struct fg_layer *l, struct fg_reader *r, uint64_t id,
    uint64_t skip, size_t max, json_t **out, struct fg_err *err) FG_MUST_USE;

/* [{"edit", "kind": "join"|"cut", "a", "b", "who", "at_ms", "undone"}] */
int fg_edits_list(const struct fg_layer *l, struct fg_reader *r, int64_t after,
    size_t max, json_t **out, struct fg_err *err) FG_MUST_USE;

/*
 * Write decisions: {"join": [[a, b], ...], "cut": [[a, b], ...], "who": text}; ids are
 * numbers or decimal text. All or none. *out: {"edits": [numbers], "changed": bool}.
 * Takes the catalogue's writer lock. Fails: as fg_store_edit; FG_EINVAL.
 */
int fg_edits_add(struct fg_store *s, struct fg_catalog *c, const struct fg_layer *l,
    const json_t *spec, json_t **out, struct fg_err *err) FG_MUST_USE;
/* Withdraw those from number `first` to `last`, all or none: what one call decided has
 * consecutive numbers. *out as above. Fails: FG_ENOENT, FG_EINVAL. */
int fg_edits_undo(struct fg_store *s, struct fg_catalog *c, const struct fg_layer *l,
    int64_t first, int64_t last, json_t **out, struct fg_err *err) FG_MUST_USE;

/* ------------------------------------------------------------- properties */

/*
 * The inline properties of segments as Neuroglancer reads them ("@type":
 * "neuroglancer_segment_properties"): for the `max` largest objects from position
 * `skip` on: voxels, members, blocks, gen, the bounding box x0 .. z1 (voxels of
 * scale 0, half-open) and the seed seed_x .. seed_z (struct fg_object). Components in
 * NAME.agg, base objects in NAME. As far as they are known of the objects' present
 * generations: triangles and cable (um). What is not known is "NaN", in a float32
 * column; a column of which no value is known is left out. Cost: some look-ups an
 * object.
 */
#define FG_SEGMENTS_SHOWN 50000 /* what a viewer's list takes without effort */
int fg_segment_properties(const struct fg_layer *l, struct fg_reader *r, uint64_t skip,
    size_t max, json_t **out, struct fg_err *err) FG_MUST_USE;

#endif
