/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Info files and chunk names. Each folder of tests/cases/info/ holds an `info` and
 * either `expected` (the info as fg_info_format writes it, compact, sorted keys) or
 * `error` (code and a part of the message).
 */
#include "config.h"

#include <dirent.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/json.h"
#include "formats/info.h"
#include "tests/tap.h"

static struct fg_buf *
read_case(const char *dir, const char *name, const char *file)
{
	char path[2048];
	struct fg_err err = FG_ERR_INIT;

	snprintf(path, sizeof path, "%s/%s/%s", dir, name, file);
	return fg_file_read(path, 1 << 20, &err);
}

/* Bytes as a string without the final newline; free(). */
static char *
text_of(const struct fg_buf *b)
{
	size_t n = b->len;

	while (n > 0 && b->data[n - 1] == '\n')
		n--;
	return fg_strndup((const char *)b->data, n);
}

static void
good_case(const char *name, const struct fg_buf *in, const struct fg_buf *expected)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_info info, copy, again;
	char *want = text_of(expected), *got, *got_copy, *got_again;
	json_t *j;

	if (!tap_rc(fg_info_parse((const char *)in->data, in->len, &info, &err), &err,
		name)) {
		free(want);
		return;
	}
	j = fg_info_format(&info);
	got = fg_json_format(j);
	json_decref(j);
	tap_str(got, want, "%s: as expected", name);
	fg_info_copy(&copy, &info);
	fg_info_fini(&info);
	j = fg_info_format(&copy);
	got_copy = fg_json_format(j);
	json_decref(j);
	fg_info_fini(&copy);
	tap_str(got_copy, want, "%s: the copy too", name);
	if (tap_rc(fg_info_parse(got, strlen(got), &again, &err), &err,
		"what is written can be read")) {
		j = fg_info_format(&again);
		got_again = fg_json_format(j);
		json_decref(j);
		tap_str(got_again, want, "%s: and is the same", name);
		free(got_again);
		fg_info_fini(&again);
	}
	free(got);
	free(got_copy);
	free(want);
}

static void
bad_case(const char *name, const struct fg_buf *in, const struct fg_buf *expected)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_info info;
	char *want = text_of(expected), *part = strchr(want, '\n');
	int rc = fg_info_parse((const char *)in->data, in->len, &info, &err);

	fg_assert(part != NULL);
	*part++ = '\0';
	tap_ok(rc < 0 && strcmp(fg_code_name(err.code), want) == 0 &&
		   strstr(err.msg, part) != NULL,
	    "%s: %s: %s", name, fg_code_name(err.code), err.msg);
	if (rc == 0)
		fg_info_fini(&info);
	tap_ok(info.scales == 0 && info.mesh == NULL, "nothing is left");
	free(want);
}

/* What is no volume: read only by the other function, and written so that it reads. */
static void
alone(const char *text, const char *kind)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_info info, again;
	char *got;
	json_t *j;

	tap_fails(fg_info_parse(text, strlen(text), &info, &err), &err, FG_ENOTSUP,
	    "not a volume", kind);
	err = FG_ERR_INIT;
	if (!tap_rc(fg_info_parse_any(text, strlen(text), &info, &err), &err, kind))
		return;
	tap_str(fg_volume_type_name(info.type), kind, "its kind");
	tap_int(info.scales, 0, "no scales");
	j = fg_info_format(&info);
	got = fg_json_format(j);
	json_decref(j);
	tap_rc(fg_info_parse_any(got, strlen(got), &again, &err), &err, "written");
	tap_ok(again.type == info.type && again.at_type == info.at_type,
	    "and the same");
	free(got);
	fg_info_fini(&info);
	fg_info_fini(&again);
}

static void
alone_fails(const char *text, const char *part)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_info info;

	tap_fails(fg_info_parse_any(text, strlen(text), &info, &err), &err, FG_EINVAL,
	    part, text);
}

static void
test_alone(void)
{
	alone("{\"@type\":\"neuroglancer_annotations_v1\","
	      "\"annotation_type\":\"LINE\",\"dimensions\":{}}",
	    "annotations");
	alone("{\"@type\":\"neuroglancer_skeletons\"}", "skeletons");
	alone("{\"@type\":\"neuroglancer_legacy_mesh\"}", "meshes");
	alone("{\"@type\":\"neuroglancer_multilod_draco\","
	      "\"vertex_quantization_bits\":10}",
	    "meshes");
	alone("{\"@type\":\"neuroglancer_segment_properties\",\"inline\":{}}",
	    "segment_properties");
	alone_fails("{\"@type\":\"neuroglancer_annotations_v1\","
		    "\"annotation_type\":\"LINE\"}",
	    "dimensions");
	alone_fails("{\"@type\":\"neuroglancer_multilod_draco\"}",
	    "vertex_quantization_bits");
	alone_fails("[]", "not a JSON object");
}

static void
test_cases(void)
{
	char dir[1024];
	struct dirent **names;
	int n, good = 0, bad = 0;

	snprintf(dir, sizeof dir, "%s/tests/cases/info", getenv("srcdir"));
	n = scandir(dir, &names, NULL, alphasort);
	for (int i = 0; i < n; i++) {
		const char *name = names[i]->d_name;
		struct fg_buf *in, *ok, *error;

		if (name[0] != '.') {
			in = read_case(dir, name, "info");
			ok = read_case(dir, name, "expected");
			error = read_case(dir, name, "error");
			tap_ok(in && !ok != !error, "case %s", name);
			if (in && ok && ++good)
				good_case(name, in, ok);
			else if (in && error && ++bad)
				bad_case(name, in, error);
			fg_buf_unref(in);
			fg_buf_unref(ok);
			fg_buf_unref(error);
		}
		free(names[i]);
	}
	if (n >= 0)
		free(names);
	tap_ok(good >= 8 && bad >= good, "%d good and %d bad cases", good, bad);
}

static const char *const good_names[] = {
    "10-74_20-84_30-94",
    "138-202_148-170_94-130",
    "-64-0_0-64_-5--1",
    "0-1_0-1_0-1",
    "0-4503599627370496_0-1_0-1",
    "-4503599627370496-0_0-1_0-1",
};

static const char *const bad_names[] = {
    "",
    "0",
    "0-1_0-1",
    "0-1_0-1_0-",
    "0-1_0-1_0-1 ",
    " 0-1_0-1_0-1",
    "0-1_0-1_0-1_",
    "0-1_0-1_0-1_0-1",
    "00-1_0-1_0-1",
    "0-01_0-1_0-1",
    "+0-1_0-1_0-1",
    "0-+1_0-1_0-1",
    "-0-1_0-1_0-1",
    "0x0-1_0-1_0-1",
    "0-1_0-1_0-1.gz",
    "0-1_0-1_0--1",
    "1-1_0-1_0-1",
    "2-1_0-1_0-1",
    "0_1-0_1-0_1",
    "0-1/0-1/0-1",
    "--1-0_0-1_0-1",
    "0-1e3_0-1_0-1",
    "0-99999999999999999999_0-1_0-1",
    "0-9007199254740993_0-1_0-1",
    "-9223372036854775808-0_0-1_0-1",
    "0-18446744073709551617_0-1_0-1",
};

static void
test_names(void)
{
	struct fg_box b, odd = {{-64, 0, 7}, {0, 64, 8}};
	char name[FG_CHUNK_NAME];

	for (size_t i = 0; i < FG_COUNTOF(good_names); i++) {
		bool ok = fg_chunk_name_parse(good_names[i], strlen(good_names[i]), &b);

		tap_ok(ok, "good name %s", good_names[i]);
		if (ok)
			fg_chunk_name_format(&b, name);
		tap_str(name, good_names[i], "and back");
	}
	b = odd;
	for (size_t i = 0; i < FG_COUNTOF(bad_names); i++)
		tap_ok(!fg_chunk_name_parse(bad_names[i], strlen(bad_names[i]), &b),
		    "bad name \"%s\"", bad_names[i]);
	tap_ok(!fg_chunk_name_parse("0-1_0-1_0-1", 10, &b), "length counts");
	tap_ok(!fg_chunk_name_parse("0-1_0-1_0-1\0x", 12, &b), "zero byte inside");
	tap_ok(fg_box_equal(&b, &odd), "the box stays as it was");
	b = (struct fg_box){{INT64_MIN, INT64_MIN, INT64_MIN},
	    {INT64_MAX, INT64_MAX, INT64_MAX}};
	fg_chunk_name_format(&b, name);
	tap_int(strlen(name), 122, "the longest name fits");
}

/* Every cell's name is found again; every other box is not. */
static void
test_grid(void)
{
	struct fg_scale s = {.offset = {10, 20, 30},
	    .size = {200, 150, 100},
	    .chunk = {64, 64, 64}};
	int64_t grid[3], ch[3], at[3];
	struct fg_box b, all;
	char name[FG_CHUNK_NAME];
	size_t wrong = 0;

	fg_scale_grid(&s, grid);
	tap_ok(grid[0] == 4 && grid[1] == 3 && grid[2] == 2, "grid 4, 3, 2");
	fg_scale_bounds(&s, &all);
	tap_ok(all.lo[0] == 10 && all.hi[0] == 210 && all.hi[1] == 170 &&
		   all.hi[2] == 130,
	    "bounds");
	fg_scale_chunk_box(&s, (int64_t[3]){0, 0, 0}, &b);
	fg_chunk_name_format(&b, name);
	tap_str(name, "10-74_20-84_30-94", "first");
	fg_scale_chunk_box(&s, (int64_t[3]){3, 2, 1}, &b);
	fg_chunk_name_format(&b, name);
	tap_str(name, "202-210_148-170_94-130", "last");
	for (at[2] = 0; at[2] < grid[2]; at[2]++) {
		for (at[1] = 0; at[1] < grid[1]; at[1]++) {
			for (at[0] = 0; at[0] < grid[0]; at[0]++) {
				fg_scale_chunk_box(&s, at, &b);
				wrong += !fg_scale_chunk_find(&s, &b, ch) ||
					 memcmp(at, ch, sizeof ch) != 0;
			}
		}
	}
	tap_int(wrong, 0, "every cell is found");
	static const char *const off[] = {"10-75_20-84_30-94", "11-75_20-84_30-94",
	    "10-73_20-84_30-94", "202-266_148-170_94-130", "-54-10_20-84_30-94",
	    "210-274_20-84_30-94", "10-138_20-84_30-94", "0-64_0-64_0-64",
	    "202-210_148-212_94-130"};
	memset(ch, 0x55, sizeof ch);
	for (size_t i = 0; i < FG_COUNTOF(off); i++)
		tap_ok(fg_chunk_name_parse(off[i], strlen(off[i]), &b) &&
			   !fg_scale_chunk_find(&s, &b, ch),
		    "%s is off the grid", off[i]);
	tap_ok(ch[0] == 0x5555555555555555, "ch stays as it was");
}

int
main(void)
{
	struct fg_err err = FG_ERR_INIT;
	enum fg_encoding e;
	struct fg_info info = {.scales = 2};

	test_names();
	test_grid();
	tap_rc(fg_encoding_parse("Compressed_Segmentation", &e, &err), &err,
	    "any case");
	tap_int(e, FG_ENC_CSEG, "its value");
	tap_fails(fg_encoding_parse("jpg", &e, &err), &err, FG_EINVAL, "\"jpg\"",
	    "jpg");
	info.scale[0].key = (char[]){"8_8_8"};
	info.scale[1].key = (char[]){"8_8_80"};
	tap_int(fg_info_find_scale(&info, "8_8_80", 6), 1, "find a scale");
	tap_int(fg_info_find_scale(&info, "8_8_80", 5), 0, "its length counts");
	tap_int(fg_info_find_scale(&info, "8_8", 3), -1, "no such scale");
	test_cases();
	test_alone();
	return tap_done();
}
