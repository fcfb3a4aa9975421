/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Helpers over jansson for reading JSON strictly: every getter names the key in its
 * message, checks type and range, and leaves the output untouched on failure. An
 * absent key is FG_EINVAL unless the getter is told that it is optional.
 */
#ifndef FG_BASE_JSON_H
#define FG_BASE_JSON_H

#include <jansson.h>

#include "base/buf.h"
#include "base/err.h"

/* Parse text[0..n) (at most 64 levels deep, duplicate keys refused). The caller
 * json_decref()s the result. `what` names the text in messages. */
json_t *fg_json_parse(const char *text, size_t n, const char *what,
    struct fg_err *err) FG_MUST_USE;

/* Compact text with sorted keys (one form per value, fit for hashing). free(). */
char *fg_json_format(const json_t *j) FG_MUST_USE;
/* Indented text for people, with a final newline. free(). */
char *fg_json_pretty(const json_t *j) FG_MUST_USE;

enum fg_json_need { FG_JSON_NEEDED, FG_JSON_OPTIONAL };

/* The string stays owned by obj. Optional and absent: *out untouched. */
int fg_json_get_string(const json_t *obj, const char *key, enum fg_json_need need,
    const char **out, struct fg_err *err) FG_MUST_USE;
/* A whole number lo..hi; 3.0 counts as whole. */
int fg_json_get_int(const json_t *obj, const char *key, enum fg_json_need need,
    int64_t lo, int64_t hi, int64_t *out, struct fg_err *err) FG_MUST_USE;
/* A finite number lo..hi. */
int fg_json_get_real(const json_t *obj, const char *key, enum fg_json_need need,
    double lo, double hi, double *out, struct fg_err *err) FG_MUST_USE;
int fg_json_get_bool(const json_t *obj, const char *key, enum fg_json_need need,
    bool *out, struct fg_err *err) FG_MUST_USE;
/* Arrays of exactly three. */
int fg_json_get_int3(const json_t *obj, const char *key, enum fg_json_need need,
    int64_t lo, int64_t hi, int64_t out[3], struct fg_err *err) FG_MUST_USE;
int fg_json_get_real3(const json_t *obj, const char *key, enum fg_json_need need,
    double lo, double hi, double out[3], struct fg_err *err) FG_MUST_USE;

/* New arrays of three. */
json_t *fg_json_int3(const int64_t v[3]) FG_MUST_USE;
json_t *fg_json_real3(const double v[3]) FG_MUST_USE;

#endif
