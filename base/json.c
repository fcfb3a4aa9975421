/* SPDX-License-Identifier: Apache-2.0 */
/* Strict reading of JSON: see the header. */
#include "config.h"

#include "base/json.h"

#include <math.h>
#include <stdlib.h>

/* Hostile nesting is refused here rather than by jansson's own limit (2048), which
 * is deep enough to matter for recursive readers. */
static bool
is_too_deep(const char *text, size_t n)
{
	int depth = 0;
	bool quoted = false;

	for (size_t i = 0; i < n; i++) {
		char c = text[i];

		if (quoted) {
			if (c == '\\')
				i++;
			else if (c == '"')
				quoted = false;
		} else if (c == '"') {
			quoted = true;
		} else if (c == '{' || c == '[') {
			if (++depth > 64)
				return true;
		} else if (c == '}' || c == ']') {
			depth--;
		}
	}
	return false;
}

json_t *
fg_json_parse(const char *text, size_t n, const char *what, struct fg_err *err)
{
	json_error_t e;
	json_t *j;

	if (is_too_deep(text, n))
		return fg_fail_null(err, FG_EINVAL,
		    "%s: JSON is nested more than 64 levels deep", what);
	j = json_loadb(text, n, JSON_REJECT_DUPLICATES, &e);
	if (!j)
		return fg_fail_null(err, FG_EINVAL, "%s: not JSON: line %d: %s", what,
		    e.line, e.text);
	return j;
}

static char *
dump(const json_t *j, size_t flags)
{
	char *text = json_dumps(j, flags | JSON_ENCODE_ANY);

	fg_assert(text != NULL);
	return text;
}

char *
fg_json_format(const json_t *j)
{
	return dump(j, JSON_COMPACT | JSON_SORT_KEYS);
}

char *
fg_json_pretty(const json_t *j)
{
	char *text = dump(j, JSON_INDENT(2));
	char *out = fg_asprintf("%s\n", text);

	free(text);
	return out;
}

/* The value under key; *found tells whether there is one. null counts as absent. */
static int
lookup(const json_t *obj, const char *key, enum fg_json_need need, json_t **out,
    struct fg_err *err)
{
	json_t *v = json_object_get(obj, key);

	if (json_is_null(v))
		v = NULL;
	*out = v;
	if (!v && need == FG_JSON_NEEDED)
		return fg_fail(err, FG_EINVAL, "\"%s\" is missing", key);
	return 0;
}

int
fg_json_get_string(const json_t *obj, const char *key, enum fg_json_need need,
    const char **out, struct fg_err *err)
{
	json_t *v;

	if (lookup(obj, key, need, &v, err) < 0)
		return -1;
	if (!v)
		return 0;
	if (!json_is_string(v))
		return fg_fail(err, FG_EINVAL, "\"%s\" is not a string", key);
	*out = json_string_value(v);
	return 0;
}

static int
to_real(const json_t *v, const char *key, double lo, double hi, double *out,
    struct fg_err *err)
{
	double x;

	if (!json_is_number(v))
		return fg_fail(err, FG_EINVAL, "\"%s\" is not a number", key);
	x = json_number_value(v);
	if (!isfinite(x) || x < lo || x > hi)
		return fg_fail(err, FG_EINVAL, "\"%s\" is %g, not within %g to %g", key,
		    x, lo, hi);
	*out = x;
	return 0;
}

static int
to_int(const json_t *v, const char *key, int64_t lo, int64_t hi, int64_t *out,
    struct fg_err *err)
{
	int64_t n;

	if (json_is_integer(v)) {
		n = json_integer_value(v);
	} else if (json_is_real(v) && json_real_value(v) == floor(json_real_value(v)) &&
		   fabs(json_real_value(v)) < 9e15) {
		n = (int64_t)json_real_value(v);
	} else {
		return fg_fail(err, FG_EINVAL, "\"%s\" is not a whole number", key);
	}
	if (n < lo || n > hi)
		return fg_fail(err, FG_EINVAL,
		    "\"%s\" is %lld, not within %lld to %lld", key, (long long)n,
		    (long long)lo, (long long)hi);
	*out = n;
	return 0;
}

int
fg_json_get_int(const json_t *obj, const char *key, enum fg_json_need need, int64_t lo,
    int64_t hi, int64_t *out, struct fg_err *err)
{
	json_t *v;

	if (lookup(obj, key, need, &v, err) < 0)
		return -1;
	return v ? to_int(v, key, lo, hi, out, err) : 0;
}

int
fg_json_get_real(const json_t *obj, const char *key, enum fg_json_need need, double lo,
    double hi, double *out, struct fg_err *err)
{
	json_t *v;

	if (lookup(obj, key, need, &v, err) < 0)
		return -1;
	return v ? to_real(v, key, lo, hi, out, err) : 0;
}

int
fg_json_get_bool(const json_t *obj, const char *key, enum fg_json_need need, bool *out,
    struct fg_err *err)
{
	json_t *v;

	if (lookup(obj, key, need, &v, err) < 0)
		return -1;
	if (!v)
		return 0;
	if (!json_is_boolean(v))
		return fg_fail(err, FG_EINVAL, "\"%s\" is not true or false", key);
	*out = json_is_true(v);
	return 0;
}

/* The array of three under key, or NULL if optional and absent. */
static int
lookup3(const json_t *obj, const char *key, enum fg_json_need need, json_t **out,
    struct fg_err *err)
{
	if (lookup(obj, key, need, out, err) < 0)
		return -1;
	if (*out && (!json_is_array(*out) || json_array_size(*out) != 3))
		return fg_fail(err, FG_EINVAL, "\"%s\" is not an array of three", key);
	return 0;
}

int
fg_json_get_int3(const json_t *obj, const char *key, enum fg_json_need need, int64_t lo,
    int64_t hi, int64_t out[3], struct fg_err *err)
{
	json_t *v;
	int64_t got[3];

	if (lookup3(obj, key, need, &v, err) < 0)
		return -1;
	if (!v)
		return 0;
	for (size_t d = 0; d < 3; d++) {
		if (to_int(json_array_get(v, d), key, lo, hi, &got[d], err) < 0)
			return -1;
	}
	memcpy(out, got, sizeof got);
	return 0;
}

int
fg_json_get_real3(const json_t *obj, const char *key, enum fg_json_need need, double lo,
    double hi, double out[3], struct fg_err *err)
{
	json_t *v;
	double got[3];

	if (lookup3(obj, key, need, &v, err) < 0)
		return -1;
	if (!v)
		return 0;
	for (size_t d = 0; d < 3; d++) {
		if (to_real(json_array_get(v, d), key, lo, hi, &got[d], err) < 0)
			return -1;
	}
	memcpy(out, got, sizeof got);
	return 0;
}

json_t *
fg_json_int3(const int64_t v[3])
{
	return json_pack("[I,I,I]", (json_int_t)v[0], (json_int_t)v[1],
	    (json_int_t)v[2]);
}

json_t *
fg_json_real3(const double v[3])
{
	json_t *a = json_array();

	/* Whole numbers are written without a fraction: 10, not 10.0. */
	for (int d = 0; d < 3; d++) {
		bool whole = v[d] == floor(v[d]) && fabs(v[d]) < 9e15;

		json_array_append_new(a,
		    whole ? json_integer((json_int_t)v[d]) : json_real(v[d]));
	}
	return a;
}
