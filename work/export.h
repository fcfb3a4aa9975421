/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Export: a layer -> a plain precomputed tree that needs no floodgate.
 *
 *   DEST/info              plain: what any client of the format reads
 *   DEST/provenance        where it came from (the form CloudVolume keeps)
 *   DEST/KEY/x0-x1_...     chunks (.gz if asked for), or
 *   DEST/KEY/0a.shard      shards
 *   DEST/mesh/             meshes, DEST/skeletons/ skeletons, if asked for: a file or
 *                          two an object, or shards; legacy meshes are always files,
 *                          a manifest and one for each block
 *   DEST/segment_properties/info   if asked for, of the largest objects
 *   DEST/manifest.sha256   sums of all other files; check: sha256sum -c manifest.sha256
 *
 * Chunks go as they are stored where encoding and parameters stay the same, and are
 * decoded and encoded otherwise. Of a generated layer what has been made is exported;
 * known background becomes chunks of zeros, what is not made yet is left out and
 * counted. Nothing is started.
 *
 * Of meshes and skeletons, too, what is there and belongs to the object as it is now;
 * of all objects, also where only a box of the volume is exported.
 *
 * Each file is written under a temporary name. info comes last but the manifest, so
 * that no client mistakes half an export for a volume. An export that was stopped goes
 * on when it is called again with the same arguments. Memory is bounded: a batch of
 * chunks (256 MiB), and, sharded, a list of the chunks of some shards (128 MiB).
 */
#ifndef FG_WORK_EXPORT_H
#define FG_WORK_EXPORT_H

#include "base/box.h"
#include "formats/info.h"

struct fg_layer;
struct fg_store;

struct fg_export {
	struct fg_store *store;
	struct fg_layer *layer;
	const char *dest;
	const char *scales;       /* scale keys with commas between; NULL: all */
	const struct fg_box *box; /* voxels of the first exported scale; NULL: all. Each
				     scale is cut at the chunks around it */
	bool recode;              /* into `encoding`; else as the layer is */
	enum fg_encoding encoding;
	int jpeg_quality, png_level; /* of recoded chunks; -1: defaults */
	bool gzip;                   /* chunks as NAME.gz, or gzipped in shards */
	bool sharded;
	bool mesh, skeletons, properties;
	bool legacy_mesh; /* mesh: in a single resolution, not in levels of detail */
	/* Sharded: these parameters for all scales instead of chosen ones; or NULL. */
	const struct fg_sharding *sharding;
	const _Atomic bool *cancel; /* may be NULL */
	/* Chunks dealt with so far and in all; on the caller's thread. May be NULL. */
	void (*progress)(void *ctx, uint64_t done, uint64_t all);
	/* A line for the user, before any work: sharding parameters, what is left out.
	 * May be NULL. */
	void (*say)(void *ctx, const char *line);
	void *ctx;
};

struct fg_export_object_counts {
	uint64_t meshes, meshes_missing, skeletons, skeletons_missing;
	uint64_t segments; /* with properties: at most FG_SEGMENTS_SHOWN */
};

struct fg_export_summary {
	int scales;
	uint64_t chunks;       /* written */
	uint64_t missing;      /* positions of the grids without a chunk */
	uint64_t files, bytes; /* of chunks or shards */
	bool resumed;
	struct fg_export_object_counts objects;
};

/*
 * Fails: FG_EINVAL (options; dest holds something else), FG_EBUSY (another export to
 * dest), FG_ECANCELED and all of reading and writing: what is there stays, and the same
 * call goes on with it.
 */
int fg_export_run(const struct fg_export *x, struct fg_export_summary *sum,
    struct fg_err *err) FG_MUST_USE;

#endif
