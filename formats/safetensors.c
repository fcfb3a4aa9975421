/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The whole header is checked when the file is opened: afterwards every array lies
 * inside the bytes, has the size that its shape says, and shares no byte with another.
 * Numbers themselves (NaN and the like) are the business of whoever uses them.
 */
#include "config.h"

#include "formats/safetensors.h"

#include <stdlib.h>

#include "base/json.h"

struct fg_safetensors {
	json_t *header; /* owns names and metadata */
	struct fg_tensor *tensor;
	size_t tensors;
};

static const struct {
	const char *name;
	enum fg_tensor_type type;
	size_t size;
} dtypes[] = {
    {"F32", FG_TENSOR_F32, 4},
    {"F64", FG_TENSOR_F64, 8},
    {"I32", FG_TENSOR_I32, 4},
    {"I64", FG_TENSOR_I64, 8},
    {"BF16", FG_TENSOR_BF16, 2},
    {"F16", FG_TENSOR_F16, 2},
};

static int
parse_shape(const json_t *entry, struct fg_tensor *t, size_t *count, struct fg_err *err)
{
	const json_t *shape = json_object_get(entry, "shape");

	if (!json_is_array(shape))
		return fg_fail(err, FG_ECORRUPT, "%.80s: no shape", t->name);
	if (json_array_size(shape) > FG_TENSOR_RANK_MAX)
		return fg_fail(err, FG_ENOTSUP,
		    "%.80s: %zu axes, at most %d can be read", t->name,
		    json_array_size(shape), FG_TENSOR_RANK_MAX);
	t->rank = (int)json_array_size(shape);
	*count = 1;
	for (int i = 0; i < t->rank; i++) {
		const json_t *v = json_array_get(shape, (size_t)i);

		if (!json_is_integer(v) || json_integer_value(v) < 0)
			return fg_fail(err, FG_ECORRUPT,
			    "%.80s: axis %d of the shape is not a whole number",
			    t->name, i);
		t->shape[i] = json_integer_value(v);
		if (__builtin_mul_overflow(*count, (size_t)t->shape[i], count))
			return fg_fail(err, FG_ECORRUPT,
			    "%.80s: the shape is too large", t->name);
	}
	return 0;
}

static int
parse_place(const json_t *entry, struct fg_tensor *t, const uint8_t *data, size_t n,
    size_t want, struct fg_err *err)
{
	const json_t *place = json_object_get(entry, "data_offsets");
	const json_t *a = json_array_get(place, 0), *b = json_array_get(place, 1);

	if (json_array_size(place) != 2 || !json_is_integer(a) || !json_is_integer(b))
		return fg_fail(err, FG_ECORRUPT,
		    "%.80s: data_offsets are not two whole numbers", t->name);
	if (json_integer_value(a) < 0 ||
	    json_integer_value(b) < json_integer_value(a) ||
	    (uint64_t)json_integer_value(b) > n)
		return fg_fail(err, FG_ECORRUPT,
		    "%.80s: data_offsets %lld to %lld, the file has %zu bytes of data",
		    t->name, (long long)json_integer_value(a),
		    (long long)json_integer_value(b), n);
	t->data = data + json_integer_value(a);
	t->bytes = (size_t)(json_integer_value(b) - json_integer_value(a));
	if (t->bytes != want)
		return fg_fail(err, FG_ECORRUPT,
		    "%.80s: %zu bytes of data, its shape wants %zu", t->name, t->bytes,
		    want);
	return 0;
}

static int
parse_tensor(const json_t *entry, struct fg_tensor *t, const uint8_t *data, size_t n,
    struct fg_err *err)
{
	const char *dtype = json_string_value(json_object_get(entry, "dtype"));
	size_t count = 0, i = 0, want;

	if (!dtype)
		return fg_fail(err, FG_ECORRUPT, "%.80s: no dtype", t->name);
	while (i < FG_COUNTOF(dtypes) && strcmp(dtypes[i].name, dtype) != 0)
		i++;
	if (i == FG_COUNTOF(dtypes))
		return fg_fail(err, FG_ENOTSUP, "%.80s: dtype \"%.20s\" cannot be read",
		    t->name, dtype);
	t->type = dtypes[i].type;
	if (parse_shape(entry, t, &count, err) < 0)
		return -1;
	if (__builtin_mul_overflow(count, dtypes[i].size, &want))
		return fg_fail(err, FG_ECORRUPT, "%.80s: the shape is too large",
		    t->name);
	return parse_place(entry, t, data, n, want, err);
}

static int
by_name(const void *a, const void *b)
{
	const struct fg_tensor *x = a, *y = b;

	return strcmp(x->name, y->name);
}

static int
by_place(const void *a, const void *b)
{
	const struct fg_tensor *x = *(const struct fg_tensor *const *)a;
	const struct fg_tensor *y = *(const struct fg_tensor *const *)b;
	uintptr_t p = (uintptr_t)x->data, q = (uintptr_t)y->data;

	if (p != q)
		return p < q ? -1 : 1;
	return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

/* Arrays must fill the data from the first byte to the last. */
static int
check_tiling(const struct fg_safetensors *s, const uint8_t *data, size_t n,
    struct fg_err *err)
{
	const struct fg_tensor **t = fg_calloc(s->tensors + 1, sizeof(*t));
	size_t at = 0;
	int rc = -1;

	for (size_t i = 0; i < s->tensors; i++)
		t[i] = &s->tensor[i];
	qsort(t, s->tensors, sizeof *t, by_place);
	for (size_t i = 0; i < s->tensors; i++) {
		size_t begin = (size_t)((const uint8_t *)t[i]->data - data);

		if (begin < at) {
			fg_fail(err, FG_ECORRUPT, "%.80s overlaps %.80s in the file",
			    t[i]->name, t[i - 1]->name);
			goto out;
		}
		if (begin > at) {
			fg_fail(err, FG_ECORRUPT,
			    "bytes %zu to %zu of the data belong to no tensor", at,
			    begin);
			goto out;
		}
		at += t[i]->bytes;
	}
	if (at != n) {
		fg_fail(err, FG_ECORRUPT,
		    "tensors end at %zu, the file has %zu bytes of data", at, n);
		goto out;
	}
	rc = 0;
out:
	free(t);
	return rc;
}

static int
check_metadata(const json_t *meta, struct fg_err *err)
{
	const char *key;
	json_t *v;

	if (meta && !json_is_object(meta))
		return fg_fail(err, FG_ECORRUPT, "__metadata__ is not an object");
	json_object_foreach((json_t *)meta, key, v)
	{
		if (!json_is_string(v))
			return fg_fail(err, FG_ECORRUPT,
			    "__metadata__: %.80s is not text", key);
	}
	return 0;
}

static int
read_header(struct fg_safetensors *s, const uint8_t *p, size_t n, struct fg_err *err)
{
	uint64_t size;
	const uint8_t *data;
	const char *key;
	json_t *entry;

	if (n < 8)
		return fg_fail(err, FG_ECORRUPT, "%zu bytes are no safetensors file",
		    n);
	size = fg_get_u64le(p);
	if (size > FG_SAFETENSORS_HEADER_MAX || size > n - 8)
		return fg_fail(err, FG_ECORRUPT,
		    "header of %llu bytes in a file of %zu (at most %zu are read)",
		    (unsigned long long)size, n, FG_SAFETENSORS_HEADER_MAX);
	s->header = fg_json_parse((const char *)p + 8, (size_t)size, "header", err);
	if (!s->header) {
		if (err)
			err->code = FG_ECORRUPT;
		return -1;
	}
	if (!json_is_object(s->header))
		return fg_fail(err, FG_ECORRUPT, "the header is not an object");
	if (check_metadata(json_object_get(s->header, "__metadata__"), err) < 0)
		return -1;
	data = p + 8 + size;
	n -= 8 + (size_t)size;
	s->tensor = fg_calloc(json_object_size(s->header) + 1, sizeof *s->tensor);
	json_object_foreach(s->header, key, entry)
	{
		if (strcmp(key, "__metadata__") == 0)
			continue;
		s->tensor[s->tensors].name = key;
		if (parse_tensor(entry, &s->tensor[s->tensors++], data, n, err) < 0)
			return -1;
	}
	qsort(s->tensor, s->tensors, sizeof *s->tensor, by_name);
	return check_tiling(s, data, n, err);
}

struct fg_safetensors *
fg_safetensors_open(const char *name, const uint8_t *p, size_t n, struct fg_err *err)
{
	struct fg_safetensors *s = fg_calloc(1, sizeof *s);

	if (read_header(s, p, n, err) < 0) {
		fg_err_prefix(err, "%s", name);
		fg_safetensors_close(s);
		return NULL;
	}
	return s;
}

void
fg_safetensors_close(struct fg_safetensors *s)
{
	if (!s)
		return;
	json_decref(s->header);
	free(s->tensor);
	free(s);
}

size_t
fg_safetensors_count(const struct fg_safetensors *s)
{
	return s->tensors;
}

const struct fg_tensor *
fg_safetensors_get(const struct fg_safetensors *s, size_t i)
{
	fg_assert(i < s->tensors);
	return &s->tensor[i];
}

const struct fg_tensor *
fg_safetensors_find(const struct fg_safetensors *s, const char *name)
{
	struct fg_tensor key = {.name = name};

	return bsearch(&key, s->tensor, s->tensors, sizeof key, by_name);
}

const char *
fg_safetensors_meta(const struct fg_safetensors *s, const char *key)
{
	return json_string_value(
	    json_object_get(json_object_get(s->header, "__metadata__"), key));
}
