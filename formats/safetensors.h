/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading .safetensors files: named arrays of numbers and text metadata in one file.
 *
 *   u64 LE   size of the header, n
 *   n bytes  JSON: name -> {"dtype", "shape", "data_offsets": [begin, end]}, and
 *            "__metadata__": {text: text}
 *   rest     the arrays' bytes; offsets count from here
 *
 * Source: the format's description in the safetensors project's README. As there
 * demanded, arrays must tile the rest of the file: no gap, no overlap, nothing left.
 */
#ifndef FG_FORMATS_SAFETENSORS_H
#define FG_FORMATS_SAFETENSORS_H

#include "formats/bundle.h"

#define FG_SAFETENSORS_HEADER_MAX ((size_t)16 << 20)

struct fg_safetensors;

/* Open from bytes (kept until close; arrays are not copied). `name` is used in
 * messages. Fails: FG_ECORRUPT with what was found and wanted; FG_ENOTSUP for a dtype
 * that enum fg_tensor_type does not have or more than FG_TENSOR_RANK_MAX axes. */
struct fg_safetensors *fg_safetensors_open(const char *name, const uint8_t *p, size_t n,
    struct fg_err *err) FG_MUST_USE;
void fg_safetensors_close(struct fg_safetensors *s);

size_t fg_safetensors_count(const struct fg_safetensors *s);
/* Array i, by name in byte order. Its data may be at any alignment. */
const struct fg_tensor *fg_safetensors_get(const struct fg_safetensors *s, size_t i);
/* By name, or NULL. */
const struct fg_tensor *fg_safetensors_find(const struct fg_safetensors *s,
    const char *name);
/* Metadata text of a key, or NULL; valid until close. */
const char *fg_safetensors_meta(const struct fg_safetensors *s, const char *key);

#endif
