/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The layers of a data directory, opened: what the index's layer rows describe, with
 * sources open and recipes parsed. Readers (event threads) find a layer by name
 * and hold a reference; adding, removing and pausing swap the table under a lock that
 * is held for pointer work only. A struct fg_layer does not change once it is in the
 * table, except its atomic flags; the successor of a changed layer is a new struct.
 *
 * A layer that cannot be opened (folder gone, bad info, degraded slab) is in the table
 * all the same, `broken` with its reason, so that others are served and the reason
 * is shown.
 *
 * A generated layer whose recipe keeps the probability map has a companion NAME.prob in
 * the table (uint8, one scale, raw): it comes and goes with NAME. So does NAME.agg,
 * which every generated layer has: the chunks of NAME with each object under the public
 * id of the component that it is joined to (store/object.h).
 */
#ifndef FG_WORK_CATALOG_H
#define FG_WORK_CATALOG_H

#include <jansson.h>
#include <pthread.h>

#include "store/source.h"
#include "store/store.h"
#include "store/web.h"
#include "work/recipe.h"

struct fg_layer {
	_Atomic unsigned refs;
	uint32_t id;
	char uuid[37];
	char *name;
	struct fg_info info;      /* as served */
	struct fg_buf *info_json; /* the bytes served at /<layer>/info */
	struct fg_source *source; /* passive layers; NULL for generated ones */
	struct fg_recipe *recipe; /* generated layers; NULL for passive ones */
	struct fg_layer *image;   /* generated layers: held reference */
	int image_scale;          /* index into image->info.scale */
	int coarse_scale;         /* the same for the pass before; -1: none */
	int consensus_scale;      /* and for the second opinion */
	struct fg_layer *mask;    /* of recipe->passes: held reference, or NULL */
	int mask_scale;
	int64_t block[3];      /* voxels of a block: the recipe's; of a passive
				  segmentation, that in which objects are looked for */
	int64_t blocks[3];     /* block grid over the finest scale */
	double mesh_error_nm;  /* largest error of meshes (finest level) */
	uint8_t chunk_kind;    /* kind in the keys of its chunks: FG_KIND_CHUNK, or
				  FG_KIND_PROB for NAME.prob */
	struct fg_layer *base; /* NAME.prob, NAME.agg: the layer NAME, whose id it
				  shares and whose tasks make it; held reference;
				  else NULL */
	bool agglomerated;     /* NAME.agg: ids become public ids when served */
	_Atomic bool finished; /* all blocks are made */
	_Atomic int64_t count_again_ns; /* until then nobody need look (monotonic) */
	_Atomic bool paused;
	_Atomic bool removed; /* out of the table; references may still be held */
	bool broken;          /* degraded or not openable */
	char why[200];        /* reason when broken */
	bool fill; /* passive layers: an absent chunk is sent as background */
};

struct fg_layer *fg_layer_ref(struct fg_layer *l);
void fg_layer_unref(struct fg_layer *l);
/* True for [A-Za-z0-9][A-Za-z0-9._-]*, at most 64 long, and not a reserved word
 * (api t viewer metrics healthz readyz info). */
bool fg_layer_name_is_valid(const char *name, size_t n);
/* The same with a message; FG_EINVAL. */
int fg_layer_check_name(const char *name, struct fg_err *err) FG_MUST_USE;

struct fg_catalog;

/* Load all layers of the store. Fails only if the index cannot be read. */
struct fg_catalog *fg_catalog_open(struct fg_store *s, struct fg_err *err) FG_MUST_USE;
/* The same with other than the usual bounds. */
struct fg_catalog_options {
	struct fg_web_options web; /* for reading from upstreams; their cache stands
				      beside the index, whatever cache_path says */
	size_t
	    section_bytes; /* kept of decoded sections, of all layers; 0 = as usual */
};
struct fg_catalog *fg_catalog_open_with(struct fg_store *s,
    const struct fg_catalog_options *opt, struct fg_err *err) FG_MUST_USE;
/* Bytes of upstreams kept on disk unless said otherwise. */
#define FG_CATALOG_CACHE_BYTES ((uint64_t)4 << 30)
void fg_catalog_close(struct fg_catalog *c);

/* End what waits for upstreams now, and ask them nothing any more: before stopping. */
void fg_catalog_stop(struct fg_catalog *c);
/* All zero while no upstream was ever used. */
void fg_catalog_web_stats(struct fg_catalog *c, struct fg_web_stats *out);

/* The lock that every writing call to the store is made under (the store takes one
 * writer at a time): the catalogue's own, the committer's, a retry's. */
pthread_mutex_t *fg_catalog_writer(struct fg_catalog *c);

/* A reference to the layer of that name, or NULL. */
struct fg_layer *fg_catalog_find(struct fg_catalog *c, const char *name, size_t n);
struct fg_layer *fg_catalog_get(struct fg_catalog *c, uint32_t id);
/* All layers by name, one reference each; *out malloc'ed. */
void fg_catalog_list(struct fg_catalog *c, struct fg_layer ***out, size_t *n);

/*
 * Add a layer from a JSON description, the same for tool and API. json:
 *   passive:   {"name", "source": URL or path, "missing": "404"|"background",
 *               "redirects": "same"|"any", "denied": "error"|"absent",
 *               "encoding": "raw", ..., "jpeg_quality": 0..100}; of two words the first
 *               is the default; redirects and denied are for remote sources
 *               (store/source.h), encoding serves chunks in another one than they are
 *               stored in (store/transcode.h); of a segmentation also "mesh_error_nm"
 *   generated: {"name", "ffn": {"image": NAME or NAME@SCALEKEY, "model": PATH,
 *               "fov": [33,33,33], "delta": [8,8,8], "mean": 128, "stddev": 33,
 *               "precision": "auto"|"f32"|"bf16", "block": [..] or absent = chosen from
 *               the measured speed, "halo": [32,32,32], "chunk": [64,64,64],
 *               "encoding": "compressed_segmentation"|"raw", "prob": false,
 *               "mesh_error_nm": 0..1e6 (default the cube root of a voxel's volume),
 *               keys of struct fg_passes (work/passes.h),
 *               "stitch": fields of struct fg_stitch_rule (seg/stitch.h), over the
 *               strict rule where "pieces" is false, else over the default,
 *               "resegment": of struct fg_resegment_rule (seg/resegment.h),
 *               and the names of fg_flood_params}}
 * Everything is checked here (names, ids' width, network loads, codec holds dtype);
 * unknown keys are refused. *out: a reference to the new layer.
 */
int fg_catalog_add(struct fg_catalog *c, const json_t *spec, struct fg_layer **out,
    struct fg_err *err) FG_MUST_USE;
int fg_catalog_remove(struct fg_catalog *c, const char *name,
    struct fg_err *err) FG_MUST_USE;
int fg_catalog_pause(struct fg_catalog *c, const char *name, bool paused,
    struct fg_err *err) FG_MUST_USE;

/* Description for people and programs: kind, sizes, scales, encoding, recipe, state,
 * counts if r is not NULL. */
json_t *fg_layer_describe(const struct fg_layer *l, struct fg_reader *r) FG_MUST_USE;

#endif
