/* SPDX-License-Identifier: Apache-2.0 */
/*
 * .npy and .npz. Each folder of tests/cases/npy/ holds `input` (made by numpy; broken
 * ones changed by hand), and `spec` with `expected`, or `error`, as in cases.h; a sixth
 * word of the spec is the member of an .npz. Names beginning with zip- are .npz files.
 */
#include "config.h"

#include "formats/npy.h"
#include "tests/formats/cases.h"

#define LIMIT (1 << 20)

static int
decode(const char *name, const struct fg_buf *in, const char *member,
    struct fg_array *a, struct fg_err *err)
{
	/* A copy of the exact size, so that AddressSanitizer sees reads beyond. */
	uint8_t *p = malloc(in->len + !in->len);
	int rc;

	memcpy(p, in->data, in->len);
	if (strncmp(name, "zip-", 4) == 0)
		rc =
		    fg_npz_decode(p, in->len, member[0] ? member : NULL, LIMIT, a, err);
	else
		rc = fg_npy_decode(p, in->len, LIMIT, a, err);
	free(p);
	return rc;
}

static void
good_case(const char *name, const struct fg_array *a, const char *spec,
    const struct fg_buf *want)
{
	char dtype[16], got[128];
	long long n[4];

	sscanf(spec, "%15s %lld %lld %lld %lld", dtype, &n[0], &n[1], &n[2], &n[3]);
	snprintf(got, sizeof got, "%s %lld %lld %lld %lld", fg_dtype_name(a->dtype),
	    (long long)a->shape[0], (long long)a->shape[1], (long long)a->shape[2],
	    (long long)a->shape[3]);
	tap_ok(strncmp(spec, got, strlen(got)) == 0, "%s: %s", name, got);
	tap_ok(want->len == fg_array_bytes(a) &&
		   memcmp(want->data, a->data, want->len) == 0,
	    "%s: values", name);
}

/* What was read is written and read again. */
static void
round_trip(const char *name, const struct fg_array *a)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_array back = FG_ARRAY_INIT;
	struct fg_buf *f = NULL;

	tap_rc(fg_npy_encode(a, &f, &err), &err, "encode");
	tap_rc(fg_npy_decode(f->data, f->len, LIMIT, &back, &err), &err, "decode");
	tap_ok(back.dtype == a->dtype &&
		   memcmp(back.shape, a->shape, sizeof a->shape) == 0 &&
		   memcmp(back.data, a->data, fg_array_bytes(a)) == 0,
	    "%s: the same array", name);
	tap_int((f->len - fg_array_bytes(a)) % 64, 0, "values are aligned");
	fg_buf_unref(f);
	fg_array_fini(&back);
}

static bool
run_case(const char *dir, const char *name)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_buf *in = cases_read(dir, name, "input");
	struct fg_buf *spec = cases_read(dir, name, "spec");
	struct fg_buf *want = cases_read(dir, name, "expected");
	struct fg_buf *error = cases_read(dir, name, "error");
	char words[128] = "", member[64] = "", code[64] = "", part[256] = "";
	struct fg_array a = FG_ARRAY_INIT;
	bool good = want != NULL;
	int rc;

	if (spec)
		memcpy(words, spec->data, FG_MIN(spec->len, sizeof words - 1));
	sscanf(words, "%*s %*s %*s %*s %*s %63s", member);
	tap_ok(in && !want != !error, "case %s", name);
	rc = decode(name, in, member, &a, &err);
	if (good && tap_rc(rc, &err, name)) {
		good_case(name, &a, words, want);
		round_trip(name, &a);
	}
	if (error) {
		sscanf((const char *)error->data, "%63[^\n]\n%255[^\n]", code, part);
		tap_ok(rc < 0 && strcmp(fg_code_name(err.code), code) == 0 &&
			   strstr(err.msg, part) != NULL && a.data == NULL,
		    "%s: %s: %s", name, fg_code_name(err.code), err.msg);
	}
	fg_array_fini(&a);
	fg_buf_unref(in);
	fg_buf_unref(spec);
	fg_buf_unref(want);
	fg_buf_unref(error);
	return good;
}

/* Cutting a .npz anywhere or changing any bit of its directory never crashes. */
static void
test_damage(const char *dir)
{
	struct fg_buf *in = cases_read(dir, "zip-ok-deflated", "input");
	struct fg_err err = FG_ERR_INIT;
	int accepted = 0;

	for (size_t n = 0; n < in->len; n++) {
		struct fg_array a = FG_ARRAY_INIT;
		struct fg_buf *cut = fg_buf_copy(in->data, n);

		accepted += decode("zip-", cut, "", &a, &err) == 0;
		fg_array_fini(&a);
		fg_buf_unref(cut);
		fg_err_clear(&err);
	}
	tap_int(accepted, 0, "no truncated .npz is accepted");
	/* Bits that mean nothing here (dates, versions, attributes) may change. */
	for (size_t i = 0; i < 8 * in->len; i++) {
		struct fg_array a = FG_ARRAY_INIT;

		in->data[i / 8] ^= (uint8_t)(1u << i % 8);
		accepted += decode("zip-", in, "", &a, &err) == 0;
		in->data[i / 8] ^= (uint8_t)(1u << i % 8);
		fg_array_fini(&a);
		fg_err_clear(&err);
	}
	tap_ok(accepted < 8 * 110, "%d of %zu flipped bits do not matter", accepted,
	    8 * in->len);
	fg_buf_unref(in);
}

int
main(void)
{
	char dir[1024];
	struct dirent **names;
	int n, good = 0, all = 0;

	snprintf(dir, sizeof dir, "%s/tests/cases/npy", getenv("srcdir"));
	n = scandir(dir, &names, NULL, alphasort);
	for (int i = 0; i < n; i++) {
		if (names[i]->d_name[0] != '.') {
			good += run_case(dir, names[i]->d_name);
			all++;
		}
		free(names[i]);
	}
	if (n >= 0)
		free(names);
	tap_ok(good >= 20 && all >= 2 * good, "%d cases, %d good", all, good);
	test_damage(dir);
	return tap_done();
}
