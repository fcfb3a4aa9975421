/* SPDX-License-Identifier: Apache-2.0 */
/* Sources on web servers and in buckets; the scheme table is store/source.c's. */
#ifndef FG_STORE_REMOTE_H
#define FG_STORE_REMOTE_H

#include "store/source.h"

extern const struct fg_source_ops fg_remote_http_ops, fg_remote_https_ops,
    fg_remote_s3_ops, fg_remote_gs_ops;

#endif
