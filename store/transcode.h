/* SPDX-License-Identifier: Apache-2.0 */
/* A source whose chunks are handed out in another encoding than they are stored in. */
#ifndef FG_STORE_TRANSCODE_H
#define FG_STORE_TRANSCODE_H

#include "store/source.h"

/*
 * A view of `inner`, which is taken over (also on failure): all scales in that
 * encoding, unsharded; chunks are decoded and encoded anew when they are asked for.
 * Other files are those of the inner source, but for its shards. jpeg_quality  0..100;
 * -1: the default. Only for jpeg. Fails: FG_EINVAL if the encoding cannot hold the
 * voxels, or would lose something of labels; FG_ENOTSUP.
 */
struct fg_source *fg_source_transcode(struct fg_source *inner, enum fg_encoding e,
    int jpeg_quality, struct fg_err *err) FG_MUST_USE;

/* Whether decoding gives back other voxels than were encoded. */
bool fg_source_is_lossy(enum fg_encoding e);

#endif
