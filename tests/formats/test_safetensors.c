/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Safetensors files: one as the format's own library writes it, and headers that lie.
 */
#include "config.h"

#include "formats/safetensors.h"

#include "tests/formats/safetensors.h"
#include "tests/tap.h"

static struct fg_err err = FG_ERR_INIT;

/* safetensors 0.8.0: save({"b": int64 [[1, 2]], "a": float32 [1.5], "s": float32 2.0},
 * metadata={"k": "v"}). */
static const char library_file[] =
    "\xc0\0\0\0\0\0\0\0"
    "{\"__metadata__\":{\"k\":\"v\"},"
    "\"b\":{\"dtype\":\"I64\",\"shape\":[1,2],\"data_offsets\":[0,16]},"
    "\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[16,20]},"
    "\"s\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[20,24]}} "
    "\1\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0\0\0\xc0\x3f\0\0\0\x40";

static void
test_good(void)
{
	struct fg_safetensors *s = fg_safetensors_open("good",
	    (const uint8_t *)library_file, sizeof library_file - 1, &err);
	const struct fg_tensor *t;
	float v;

	if (!tap_ok(s != NULL, "a file of the library")) {
		printf("# %s\n", err.msg);
		return;
	}
	tap_int(fg_safetensors_count(s), 3, "tensors");
	tap_str(fg_safetensors_get(s, 0)->name, "a", "in order of names");
	t = fg_safetensors_find(s, "b");
	tap_ok(t && t->type == FG_TENSOR_I64 && t->rank == 2 && t->shape[0] == 1 &&
		   t->shape[1] == 2 && t->bytes == 16 &&
		   fg_get_u64le((const uint8_t *)t->data + 8) == 2,
	    "dtype, shape and bytes");
	t = fg_safetensors_find(s, "s");
	memcpy(&v, t->data, 4);
	tap_ok(t->rank == 0 && v == 2.0f, "a scalar");
	tap_ok(fg_safetensors_find(s, "c") == NULL, "an absent tensor");
	tap_str(fg_safetensors_meta(s, "k"), "v", "metadata");
	tap_ok(fg_safetensors_meta(s, "l") == NULL, "absent metadata");
	fg_safetensors_close(s);
	fg_safetensors_close(NULL);
}

#define ENTRY(shape, a, b)                                                             \
	"{\"dtype\":\"F32\",\"shape\":[" shape "],\"data_offsets\":[" #a "," #b "]}"

static void
test_bad(void)
{
	static const struct {
		const char *what, *header;
		size_t n;
		enum fg_code code;
		const char *part;
	} bad[] = {
	    {"header is no JSON", "{\"a\":", 0, FG_ECORRUPT, "header"},
	    {"header is a list", "[]", 0, FG_ECORRUPT, "not an object"},
	    {"name twice", "{\"a\":" ENTRY("1", 0, 4) ",\"a\":" ENTRY("1", 0, 4) "}", 4,
		FG_ECORRUPT, "header"},
	    {"entry is a number", "{\"a\":1}", 0, FG_ECORRUPT, "a: no dtype"},
	    {"no dtype", "{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
		FG_ECORRUPT, "a: no dtype"},
	    {"unknown dtype",
		"{\"a\":{\"dtype\":\"F8_E5M2\",\"shape\":[1],\"data_offsets\":[0,1]}}",
		1, FG_ENOTSUP, "dtype \"F8_E5M2\""},
	    {"no shape", "{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4,
		FG_ECORRUPT, "a: no shape"},
	    {"negative axis", "{\"a\":" ENTRY("-1", 0, 4) "}", 4, FG_ECORRUPT,
		"axis 0 of the shape"},
	    {"fraction in a shape", "{\"a\":" ENTRY("1.5", 0, 4) "}", 4, FG_ECORRUPT,
		"axis 0 of the shape"},
	    {"shape overflows", "{\"a\":" ENTRY("4611686018427387904,4,1", 0, 4) "}", 4,
		FG_ECORRUPT, "too large"},
	    {"bytes overflow", "{\"a\":" ENTRY("4611686018427387904", 0, 0) "}", 0,
		FG_ECORRUPT, "too large"},
	    {"nine axes", "{\"a\":" ENTRY("1,1,1,1,1,1,1,1,1", 0, 4) "}", 4, FG_ENOTSUP,
		"9 axes"},
	    {"no offsets", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, FG_ECORRUPT,
		"data_offsets are not"},
	    {"three offsets",
		"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]}}", 8,
		FG_ECORRUPT, "data_offsets are not"},
	    {"offsets backwards", "{\"a\":" ENTRY("1", 4, 0) "}", 4, FG_ECORRUPT,
		"data_offsets 4 to 0"},
	    {"beyond the file", "{\"a\":" ENTRY("2", 0, 8) "}", 4, FG_ECORRUPT,
		"a: data_offsets 0 to 8, the file has 4 bytes"},
	    {"shape and bytes differ", "{\"a\":" ENTRY("2", 0, 4) "}", 4, FG_ECORRUPT,
		"a: 4 bytes of data, its shape wants 8"},
	    {"overlap", "{\"a\":" ENTRY("2", 0, 8) ",\"b\":" ENTRY("1", 4, 8) "}", 8,
		FG_ECORRUPT, "b overlaps a"},
	    {"the same place twice",
		"{\"a\":" ENTRY("1", 0, 4) ",\"b\":" ENTRY("1", 0, 4) "}", 4,
		FG_ECORRUPT, "overlaps"},
	    {"gap", "{\"a\":" ENTRY("1", 0, 4) ",\"b\":" ENTRY("1", 8, 12) "}", 12,
		FG_ECORRUPT, "bytes 4 to 8"},
	    {"bytes left over", "{\"a\":" ENTRY("1", 0, 4) "}", 5, FG_ECORRUPT,
		"tensors end at 4, the file has 5"},
	    {"metadata is text", "{\"__metadata__\":\"x\"}", 0, FG_ECORRUPT,
		"__metadata__ is not an object"},
	    {"metadata holds a number", "{\"__metadata__\":{\"a\":1}}", 0, FG_ECORRUPT,
		"a is not text"},
	};

	for (size_t i = 0; i < FG_COUNTOF(bad); i++) {
		struct fg_buf *b = safetensors_file(bad[i].header, NULL, bad[i].n);

		tap_fails(fg_safetensors_open("f", b->data, b->len, &err) ? 0 : -1,
		    &err, bad[i].code, bad[i].part, bad[i].what);
		fg_buf_unref(b);
	}
	tap_fails(fg_safetensors_open("f", (const uint8_t *)"\1\0\0", 3, &err) ? 0 : -1,
	    &err, FG_ECORRUPT, "3 bytes are no", "three bytes");
	tap_fails(fg_safetensors_open("f", (const uint8_t *)library_file, 100, &err)
		      ? 0
		      : -1,
	    &err, FG_ECORRUPT, "header of 192 bytes in a file of 100", "cut short");
	tap_fails(fg_safetensors_open("f",
		      (const uint8_t *)"\xff\xff\xff\xff\xff\xff\xff\x7f{}", 10, &err)
		      ? 0
		      : -1,
	    &err, FG_ECORRUPT, "header of 9223372036854775807", "header size lies");
}

int
main(void)
{
	test_good();
	test_bad();
	return tap_done();
}
