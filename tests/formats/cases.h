/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cases of a chunk encoding: each folder of tests/cases/<format>/ holds
 *
 *   input     the encoded chunk, made by another program
 *   spec      dtype and extents: "uint8 7 5 3 1"
 *   expected  the voxels as raw bytes, or
 *   error     two lines: the code's name and a part of the message
 */
#ifndef FG_TESTS_FORMATS_CASES_H
#define FG_TESTS_FORMATS_CASES_H

#include <dirent.h>

#include "base/file.h"
#include "formats/codec.h"
#include "tests/tap.h"

/* Run all of them; voxels may differ by `tolerance` (8-bit formats only). */
static inline struct fg_buf *
cases_read(const char *dir, const char *name, const char *file)
{
	char path[2048];
	struct fg_err err = FG_ERR_INIT;

	snprintf(path, sizeof path, "%s/%s/%s", dir, name, file);
	return fg_file_read(path, 1 << 20, &err);
}

static inline void
cases_decode(const char *name, const struct fg_scale *s, struct fg_array *a,
    const struct fg_buf *in, const struct fg_buf *want, int tolerance)
{
	struct fg_err err = FG_ERR_INIT;
	size_t far = 0;

	memset(a->data, 0x5a, fg_array_bytes(a));
	if (!tap_rc(fg_codec_decode(s, in->data, in->len, a, &err), &err, name) ||
	    !tap_int(want->len, fg_array_bytes(a), "%s: bytes", name))
		return;
	for (size_t i = 0; i < want->len; i++)
		far += abs(((uint8_t *)a->data)[i] - want->data[i]) > tolerance;
	tap_int(far, 0, "%s: voxels as expected", name);
}

static inline void
cases_refuse(const char *name, const struct fg_scale *s, struct fg_array *a,
    const struct fg_buf *in, const struct fg_buf *want)
{
	struct fg_err err = FG_ERR_INIT;
	char code[64] = "", part[256] = "";
	int rc = fg_codec_decode(s, in->data, in->len, a, &err);

	sscanf((const char *)want->data, "%63[^\n]\n%255[^\n]", code, part);
	tap_ok(rc < 0 && strcmp(fg_code_name(err.code), code) == 0 &&
		   strstr(err.msg, part) != NULL,
	    "%s: %s: %s", name, fg_code_name(err.code), err.msg);
}

static inline bool
cases_spec(const struct fg_buf *spec, struct fg_array *a)
{
	struct fg_err err = FG_ERR_INIT;
	enum fg_dtype t;
	char dtype[16], text[128] = "";
	long long n[4];

	if (!spec || spec->len >= sizeof text)
		return false;
	memcpy(text, spec->data, spec->len);
	return sscanf(text, "%15s %lld %lld %lld %lld", dtype, &n[0], &n[1], &n[2],
		   &n[3]) == 5 &&
	       fg_dtype_parse(dtype, &t, &err) == 0 &&
	       fg_array_init(a, t, (int64_t[4]){n[0], n[1], n[2], n[3]}, &err) == 0;
}

static inline void
cases_run(const char *format, enum fg_encoding e, int tolerance)
{
	struct fg_scale s = {.encoding = e, .cseg_block = {8, 8, 8}};
	char dir[1024];
	struct dirent **names;
	int n, good = 0, bad = 0;

	snprintf(dir, sizeof dir, "%s/tests/cases/%s", getenv("srcdir"), format);
	n = scandir(dir, &names, NULL, alphasort);
	for (int i = 0; i < n; i++) {
		const char *name = names[i]->d_name;
		struct fg_array a = FG_ARRAY_INIT;

		if (name[0] != '.') {
			struct fg_buf *in = cases_read(dir, name, "input");
			struct fg_buf *spec = cases_read(dir, name, "spec");
			struct fg_buf *want = cases_read(dir, name, "expected");
			struct fg_buf *error = cases_read(dir, name, "error");

			if (!tap_ok(in && !want != !error && cases_spec(spec, &a),
				"case %s", name))
				;
			else if (want && ++good)
				cases_decode(name, &s, &a, in, want, tolerance);
			else if (++bad)
				cases_refuse(name, &s, &a, in, error);
			fg_buf_unref(in);
			fg_buf_unref(spec);
			fg_buf_unref(want);
			fg_buf_unref(error);
			fg_array_fini(&a);
		}
		free(names[i]);
	}
	if (n >= 0)
		free(names);
	tap_ok(good > 0 && bad >= good, "%d good and %d bad cases", good, bad);
}

#endif
