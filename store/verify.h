/* SPDX-License-Identifier: Apache-2.0 */
/* One index row against the record that it names. Internal to store/ (verify, repair).
 */
#ifndef FG_STORE_VERIFY_H
#define FG_STORE_VERIFY_H

#include "store/store_impl.h"

/*
 * Read the record's header and compare it with the row; with `body`, also the bytes
 * with their checksum. false: they do not fit, *why says how (FG_ECORRUPT or FG_EIO).
 * k: the row's layer, NULL if unknown (its uuid is then not compared).
 */
bool fg_verify_row(struct fg_store *s, const struct fg_index_entry *e,
    const struct fg_known *k, bool body, struct fg_err *why);

/* "chunk 3,0,1 of scale 0 of layer seg", for messages. */
#define FG_VERIFY_NAME 240
void fg_verify_name(const struct fg_key *key, const struct fg_known *k,
    char out[FG_VERIFY_NAME]);

#endif
