/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Request targets, taken apart by a strict grammar. Pure functions: no I/O, no layer
 * table, so that they can be fuzzed.
 *
 *   target   = [ "/t/" word ] path [ "?" query ]        word: a token (access.h)
 *   path     = "/"                                      the page
 *            | "/info" | "/metrics" | "/healthz" | "/readyz"
 *            | "/api/" words                            the API
 *            | "/viewer" [ "/" words ]                  the bundled Neuroglancer
 *            | "/" layer                                redirected to "/layer/"
 *            | "/" layer "/"                            its listing
 *            | "/" layer "/" words [ "/" ]              info, chunks, other files
 *   words    = word *( "/" word )
 *   word     = 1*( letter | digit | "." "_" "-" ":" "@" "+" "," "~" "=" ), not starting
 * with "."
 *
 * %XX is decoded once and what comes out must be in the grammar as well: an encoded
 * slash or NUL, "..", and empty words are refused, never normalised. Nothing that
 * leaves here as a path can climb out of a folder.
 */
#ifndef FG_SERVER_ROUTE_H
#define FG_SERVER_ROUTE_H

#include "formats/info.h"

#define FG_PATH_MAX 1024  /* decoded path */
#define FG_QUERY_MAX 1024 /* as it came */
#define FG_ROUTE_TOKEN_MAX 200

enum fg_route_kind {
	FG_ROUTE_BAD,      /* outside the grammar: 400 */
	FG_ROUTE_TOO_LONG, /* 414 */
	FG_ROUTE_STAR,     /* "*", for OPTIONS only */
	FG_ROUTE_PAGE,
	FG_ROUTE_ROOT_INFO,
	FG_ROUTE_HEALTHZ,
	FG_ROUTE_READYZ,
	FG_ROUTE_METRICS,
	FG_ROUTE_API,     /* rest: what follows "/api/" */
	FG_ROUTE_VIEWER,  /* rest: what follows "/viewer/" */
	FG_ROUTE_TOKEN,   /* "/t/TOKEN" without the slash: redirect */
	FG_ROUTE_LAYER,   /* "/layer": redirect */
	FG_ROUTE_LISTING, /* "/layer/" or "/layer/words/"; rest without its last slash
			   */
	FG_ROUTE_FILE,    /* "/layer/words" */
};

struct fg_route {
	enum fg_route_kind kind;
	char path[FG_PATH_MAX + 1]; /* decoded, starts with '/', no token */
	char query[FG_QUERY_MAX + 1];
	char token[FG_ROUTE_TOKEN_MAX + 1]; /* of the path; "" if it has none */
	const char *layer; /* into path, layer_n bytes, NUL not counted */
	size_t layer_n;
	const char *rest; /* into path, NUL-terminated; "" if there is none */
};

/* Never fails: what is wrong is in out->kind. */
void fg_route_parse(const char *target, struct fg_route *out);

/* Whether the query has the key, with whatever value or none. */
bool fg_route_names(const struct fg_route *r, const char *key);

/* Value of a key of the query, at most room - 1 bytes (not %-decoded); false if the
 * key is absent or its value does not fit. The first of several counts. */
bool fg_route_query(const struct fg_route *r, const char *key, char *out, size_t room);

enum fg_route_chunk {
	FG_CHUNK_NONE, /* no scale of that key, or the name is none of a chunk */
	FG_CHUNK_OFF,  /* a chunk name, but not of this scale's grid */
	FG_CHUNK_OK,
};
/* "KEY/x0-x1_y0-y1_z0-z1" in a volume: scale and grid position. */
enum fg_route_chunk fg_route_chunk(const struct fg_info *info, const char *rest,
    int *scale, int64_t ch[3]);

/* A file of a directory of meshes or skeletons that is made here. */
enum fg_route_made {
	FG_MADE_NONE,      /* another name: none of ours */
	FG_MADE_MESH_INFO, /* mesh/info */
	FG_MADE_MANIFEST,  /* mesh/ID:0 */
	FG_MADE_PIECE,     /* mesh/ID:BLOCK:GEN */
	FG_MADE_PLY,       /* mesh/ID.ply, .obj, .glb */
	FG_MADE_OBJ,
	FG_MADE_GLB,
	FG_MADE_LOD_INFO,      /* mesh.EPOCH/info */
	FG_MADE_LOD_MANIFEST,  /* mesh.EPOCH/ID.index */
	FG_MADE_LOD_DATA,      /* mesh.EPOCH/ID */
	FG_MADE_SKELETON_INFO, /* skeleton/info; skeletons from here on */
	FG_MADE_SKELETON,      /* skeleton/ID */
	FG_MADE_SWC,           /* skeleton/ID.swc */
};

struct fg_route_object {
	enum fg_route_made what;
	uint64_t id;   /* 1 .. 2^64 - 1 */
	uint64_t part; /* PIECE: Morton code of the block, below 2^63 */
	int64_t gen;   /* PIECE: >= 0 */
	int64_t epoch; /* LOD_...: >= 0 */
};

/* What `rest` names below a layer. Numbers are decimal without leading zeros, so that
 * each thing has one name. */
struct fg_route_object fg_route_object(const char *rest);

#endif
