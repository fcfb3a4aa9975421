/* SPDX-License-Identifier: Apache-2.0 */
/* Errors, strings, Morton codes, checksums, JSON getters, files. */
#include "config.h"

#include <fcntl.h>
#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/morton.h"
#include "tests/tap.h"

static void
test_err(void)
{
	struct fg_err err = FG_ERR_INIT;

	tap_int(fg_fail(&err, FG_EINVAL, "size is %d, wanted %d", 3, 4), -1, "fails");
	fg_fail(&err, FG_EIO, "later");
	tap_str(err.msg, "size is 3, wanted 4", "the first failure wins");
	fg_err_prefix(&err, "layer %s", "em");
	tap_str(err.msg, "layer em: size is 3, wanted 4", "prefix");
	tap_int(fg_fail(NULL, FG_EIO, "nobody listens"), -1, "NULL err");
}

static void
test_str(void)
{
	struct fg_str s = FG_STR_INIT;

	for (int i = 0; i < 100; i++)
		fg_str_putf(&s, "%d,", i);
	tap_int(s.len, 290, "length of a grown string");
	struct fg_buf *b = fg_str_take(&s);
	struct fg_buf *c = fg_buf_ref(b);
	fg_buf_unref(b);
	tap_ok(memcmp(c->data, "0,1,2,", 6) == 0, "bytes survive the first owner");
	fg_buf_unref(c);
}

static void
test_morton(void)
{
	static const struct {
		int64_t p[3], grid[3];
		uint64_t want;
	} t[] = {
	    {{1, 1, 1}, {4, 3, 2}, 7},
	    {{2, 0, 0}, {4, 3, 2}, 8},
	    {{3, 2, 1}, {4, 3, 2}, 29},
	    {{5, 0, 3}, {6, 1, 4}, 27},
	};
	for (size_t i = 0; i < FG_COUNTOF(t); i++)
		tap_int(fg_morton_compressed(t[i].p, t[i].grid), t[i].want,
		    "compressed Morton code, vector %zu", i);
	int64_t p[3] = {FG_MORTON_AXIS_MAX, 5, 1234567}, q[3];
	fg_morton_decode(fg_morton_encode(p), q);
	tap_ok(memcmp(p, q, sizeof p) == 0, "plain code there and back");
	tap_int(fg_morton_encode((int64_t[3]){1, 0, 0}), 1, "x is lowest");
	tap_int(fg_morton_encode((int64_t[3]){0, 0, 2}), 32, "z is highest");
}

static void
test_hash(void)
{
	char hex[FG_SHA256_HEX];
	uint8_t sum[FG_SHA256_SIZE], back[FG_SHA256_SIZE];

	/* RFC 3720 B.4 and the usual check string. */
	tap_int(fg_crc32c(0, "123456789", 9), 0xe3069283, "crc32c check value");
	uint8_t zero[32] = {0};
	tap_int(fg_crc32c(0, zero, 32), 0x8a9136aa, "crc32c of 32 zero bytes");
	tap_int(fg_crc32c(fg_crc32c(0, "1234", 4), "56789", 5), 0xe3069283,
	    "crc32c in two pieces");
	fg_sha256("abc", 3, sum);
	fg_hex_format(sum, sizeof sum, hex);
	tap_str(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
	    "sha256 of abc");
	tap_ok(fg_hex_parse(hex, back, sizeof back) && memcmp(back, sum, 32) == 0,
	    "hex there and back");
	tap_ok(!fg_hex_parse("0g", back, 1) && !fg_hex_parse("012", back, 1),
	    "not hex, wrong length");
}

static void
test_json(void)
{
	struct fg_err err = FG_ERR_INIT;
	const char *text =
	    "{\"n\":3,\"r\":2.5,\"v\":[1,2,3],\"s\":\"x\",\"big\":1e300}";
	json_t *j = fg_json_parse(text, strlen(text), "test", &err);
	int64_t n = 0, v[3];
	double r = 0;

	tap_rc(fg_json_get_int(j, "n", FG_JSON_NEEDED, 0, 9, &n, &err), &err, "int");
	tap_int(n, 3, "its value");
	tap_rc(fg_json_get_int(j, "none", FG_JSON_OPTIONAL, 0, 9, &n, &err), &err,
	    "optional key absent");
	tap_fails(fg_json_get_int(j, "n", FG_JSON_NEEDED, 4, 9, &n, &err), &err,
	    FG_EINVAL, "\"n\" is 3, not within 4 to 9", "range");
	tap_fails(fg_json_get_int(j, "r", FG_JSON_NEEDED, 0, 9, &n, &err), &err,
	    FG_EINVAL, "whole", "fraction");
	tap_fails(fg_json_get_int(j, "big", FG_JSON_NEEDED, 0, INT64_MAX, &n, &err),
	    &err, FG_EINVAL, "whole", "1e300 is no int64");
	tap_fails(fg_json_get_int3(j, "s", FG_JSON_NEEDED, 0, 9, v, &err), &err,
	    FG_EINVAL, "array of three", "string for a vector");
	tap_rc(fg_json_get_int3(j, "v", FG_JSON_NEEDED, 0, 9, v, &err), &err, "int3");
	tap_rc(fg_json_get_real(j, "r", FG_JSON_NEEDED, 0, 9, &r, &err), &err, "real");
	tap_ok(r == 2.5 && v[2] == 3, "their values");
	json_decref(j);
	char deep[200];
	memset(deep, '[', sizeof deep);
	tap_fails(fg_json_parse(deep, sizeof deep, "deep", &err) ? 0 : -1, &err,
	    FG_EINVAL, "levels deep", "hostile nesting");
	tap_fails(fg_json_parse("{\"a\":1,\"a\":2}", 13, "dup", &err) ? 0 : -1, &err,
	    FG_EINVAL, "dup: not JSON", "duplicate key");
}

static void
test_file(void)
{
	struct fg_err err = FG_ERR_INIT;
	char dir[] = "/tmp/fg-test-base-XXXXXX";

	if (!mkdtemp(dir))
		exit(99);
	char *deep = fg_asprintf("%s/a/b/c", dir), *f = fg_asprintf("%s/f", deep);
	tap_rc(fg_file_mkdirs(deep, &err), &err, "mkdirs");
	tap_rc(fg_file_mkdirs(deep, &err), &err, "mkdirs again");
	tap_rc(fg_file_write(f, "hello", 5, &err), &err, "write");
	tap_fails(fg_file_mkdirs(f, &err), &err, FG_EIO, "not a folder",
	    "a file where a folder should be");
	struct fg_buf *b = fg_file_read(f, 5, &err);
	tap_ok(b && b->len == 5 && memcmp(b->data, "hello", 5) == 0, "read it back");
	fg_buf_unref(b);
	tap_fails(fg_file_read(f, 4, &err) ? 0 : -1, &err, FG_EFULL, "5 bytes",
	    "limit");
	tap_fails(fg_file_read(deep, 4, &err) ? 0 : -1, &err, FG_EINVAL, "regular",
	    "a folder is no file");
	int fd = open(f, O_RDONLY | O_CLOEXEC);
	char two[2];
	tap_rc(fg_file_pread(fd, two, 2, 3, "f", &err), &err, "read its end");
	tap_fails(fg_file_pread(fd, two, 2, 4, "f", &err), &err, FG_ECORRUPT,
	    "f: has 5 bytes, wanted 6", "read over its end");
	tap_fails(fg_file_pread(fd, two, 2, 70, "f", &err), &err, FG_ECORRUPT,
	    "f: has 5 bytes, wanted 72", "read far behind it");
	close(fd);
	tap_fails(fg_file_read("/nonexistent/x", 4, &err) ? 0 : -1, &err, FG_ENOENT,
	    "No such file", "missing");
	tap_fails(fg_file_write("/nonexistent/x", "", 0, &err), &err, FG_ENOENT, "/x",
	    "write where there is no folder");
	char *cmd = fg_asprintf("rm -r '%s'", dir);
	tap_int(system(cmd), 0, "clean up: no temporary files in the way");
	free(cmd);
	free(f);
	free(deep);
}

int
main(void)
{
	char when[FG_CLOCK_TEXT];

	test_err();
	test_str();
	test_morton();
	test_hash();
	test_json();
	test_file();
	fg_clock_format(1700000000123, when);
	tap_str(when, "2023-11-14T22:13:20.123Z", "wall clock text");
	fg_clock_format(-1, when);
	tap_str(when, "1969-12-31T23:59:59.999Z", "before the epoch");
	return tap_done();
}
