/* SPDX-License-Identifier: Apache-2.0 */
/* dir: sources over small precomputed folders made by hand. */
#include "config.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "formats/codec.h"
#include "store/source.h"
#include "tests/store/store_test.h"

/* 5 x 4 x 3 voxels from (10, 20, -2) on, in chunks of 4 x 4 x 2: a grid of 2 x 1 x 2.
 */
#define INFO                                                                           \
	"{\"type\":\"image\",\"data_type\":\"uint16\",\"num_channels\":1,\"scales\":[" \
	"{"                                                                            \
	"\"key\":\"s0\",\"resolution\":[8,8,8],\"voxel_offset\":[10,20,-2],"           \
	"\"size\":[5,4,3],\"chunk_sizes\":[[4,4,2]],\"encoding\":\"raw\"}]}"

#define GOOD_BR "\x8b\x03\x80\xd0\x07\xd1\x07\xd2\x07\xd3\x07\x03"

static void
put_file(const char *name, const void *p, size_t n)
{
	struct fg_err err = FG_ERR_INIT;
	char path[600];

	snprintf(path, sizeof path, "%s/%s", st_root, name);
	*strrchr(path, '/') = '\0';
	if (fg_file_mkdirs(path, &err) == 0) {
		path[strlen(path)] = '/';
		if (fg_file_write_fast(path, p, n, &err) == 0)
			return;
	}
	tap_rc(-1, &err, name);
}

static void
put_text(const char *name, const char *text)
{
	put_file(name, text, strlen(text));
}

static void
put_packed(const char *name, enum fg_coding c, const void *p, size_t n)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_buf *b = NULL;

	if (tap_rc(fg_compress(c, 0, p, n, &b, &err), &err, name))
		put_file(name, b->data, b->len);
	fg_buf_unref(b);
}

/* The value at a voxel of the whole. */
static uint16_t
value(int64_t x, int64_t y, int64_t z)
{
	return (uint16_t)(1000 + x + 16 * y + 256 * (z + 2));
}

/* The bytes of a chunk box. */
static size_t
fill(const struct fg_box *vx, uint16_t *out)
{
	size_t n = 0;

	for (int64_t z = vx->lo[2]; z < vx->hi[2]; z++)
		for (int64_t y = vx->lo[1]; y < vx->hi[1]; y++)
			for (int64_t x = vx->lo[0]; x < vx->hi[0]; x++)
				out[n++] = value(x, y, z);
	return 2 * n;
}

static struct fg_source *
must_open(const char *url)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_source *s = fg_source_open(url, &err);

	if (!tap_rc(s ? 0 : -1, &err, "open")) {
		printf("Bail out! %s\n", err.msg);
		exit(1);
	}
	return s;
}

static void
make_volume(void)
{
	static const struct fg_box whole = {{10, 20, -2}, {14, 24, 0}};
	static const struct fg_box right = {{14, 20, -2}, {15, 24, 0}};
	static const struct fg_box back = {{10, 20, 0}, {14, 24, 1}};
	uint16_t v[64];

	st_folder();
	put_text("info", INFO);
	put_file("s0/10-14_20-24_-2-0", v, fill(&whole, v));
	put_packed("s0/14-15_20-24_-2-0.gz", FG_CODING_GZIP, v, fill(&right, v));
	put_packed("s0/10-14_20-24_0-1.zstd", FG_CODING_ZSTD, v, fill(&back, v));
	/* the fourth, 14-15_20-24_0-1, is absent */
}

static void
test_chunks(void)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_source *s;
	struct fg_buf *b;
	char url[300];
	static const size_t want[2][2] = {{64, 16}, {32, 0}};

	make_volume();
	snprintf(url, sizeof url, "dir:%s", st_root);
	s = must_open(url);
	tap_str(s->url, url, "url");
	tap_int(s->info.scales, 1, "info");
	tap_int(s->info_bytes->len, strlen(INFO), "the info as it is");
	for (int64_t z = 0; z < 2; z++) {
		for (int64_t x = 0; x < 2; x++) {
			int64_t ch[3] = {x, 0, z};

			b = NULL;
			tap_rc(fg_source_chunk(s, 0, ch, &b, &err), &err, "chunk");
			tap_int(b ? b->len : 0, want[z][x], "bytes of chunk %d,0,%d",
			    (int)x, (int)z);
			fg_buf_unref(b);
		}
	}
	fg_source_close(s);
	s = must_open(st_root);
	tap_ok(s != NULL, "a plain path is a folder");
	fg_source_close(s);
	st_cleanup();
}

static void
test_boxes(void)
{
	static const struct fg_box box[] = {
	    {{10, 20, -2}, {15, 24, 1}},
	    {{13, 21, -1}, {15, 23, 1}},
	    {{14, 20, 0}, {15, 24, 1}},
	    {{11, 21, -2}, {12, 22, -1}},
	};
	struct fg_err err = FG_ERR_INIT;
	struct fg_source *s;

	make_volume();
	s = must_open(st_root);
	for (size_t i = 0; i < FG_COUNTOF(box); i++) {
		struct fg_array a = FG_ARRAY_INIT, m = FG_ARRAY_INIT;
		int64_t n[4] = {0, 0, 0, 1};
		int wrong = 0;
		size_t k = 0;

		fg_box_shape(&box[i], n);
		if (fg_array_init(&a, FG_U16, n, &err) < 0 ||
		    fg_array_init(&m, FG_U8, n, &err) < 0)
			exit(1);
		tap_rc(fg_source_box(s, 0, &box[i], &a, &m, &err), &err, "box");
		for (int64_t z = box[i].lo[2]; z < box[i].hi[2]; z++) {
			for (int64_t y = box[i].lo[1]; y < box[i].hi[1]; y++) {
				for (int64_t x = box[i].lo[0]; x < box[i].hi[0];
				     x++, k++) {
					bool absent = x >= 14 && z >= 0;

					wrong += ((uint8_t *)m.data)[k] != absent;
					wrong += ((uint16_t *)a.data)[k] !=
						 (absent ? 0 : value(x, y, z));
				}
			}
		}
		tap_int(wrong, 0, "voxels and mask of box %zu", i);
		fg_array_fini(&m);
		tap_rc(fg_source_box(s, 0, &box[i], &a, NULL, &err), &err, "no mask");
		fg_array_fini(&a);
	}
	struct fg_box out = {{9, 20, -2}, {12, 22, 0}};
	struct fg_array a = FG_ARRAY_INIT;
	int64_t n[4] = {3, 2, 2, 1};
	tap_rc(fg_array_init(&a, FG_U16, n, &err), &err, "array");
	tap_fails(fg_source_box(s, 0, &out, &a, NULL, &err), &err, FG_EINVAL,
	    "not inside", "a box that sticks out");
	out = (struct fg_box){{10, 20, -2}, {12, 22, 0}};
	tap_fails(fg_source_box(s, 0, &out, &a, NULL, &err), &err, FG_EINVAL, "shape",
	    "an array of another shape");
	fg_array_fini(&a);
	fg_source_close(s);
	st_cleanup();
}

/* Broken files are failures, never absent and never zeros. */
static void
test_broken(void)
{
	static const int64_t first[3] = {0, 0, 0}, right[3] = {1, 0, 0},
			     back[3] = {0, 0, 1}, last[3] = {1, 0, 1};
	struct fg_err err = FG_ERR_INIT;
	struct fg_source *s;
	struct fg_buf *b = NULL;
	char cmd[1200];

	make_volume();
	s = must_open(st_root);
	put_file("s0/10-14_20-24_-2-0", "short", 5);
	tap_fails(fg_source_chunk(s, 0, first, &b, &err), &err, FG_ECORRUPT,
	    "has 5 bytes, wanted 64", "a raw chunk that is cut short");
	put_file("s0/10-14_20-24_-2-0", "", 0);
	tap_fails(fg_source_chunk(s, 0, first, &b, &err), &err, FG_ECORRUPT,
	    "has 0 bytes", "an empty one");
	snprintf(cmd, sizeof cmd, "%s/s0/14-15_20-24_-2-0.gz", st_root);
	tap_int(truncate(cmd, 12), 0, "cut a gz file");
	tap_fails(fg_source_chunk(s, 0, right, &b, &err), &err, FG_ECORRUPT,
	    "s0/14-15_20-24_-2-0", "a gz file that is cut short");
	put_text("s0/14-15_20-24_-2-0.gz", "this is not gzip");
	tap_fails(fg_source_chunk(s, 0, right, &b, &err), &err, FG_ECORRUPT, "s0/14-15",
	    "or is none");
	uint8_t *bomb = fg_calloc(1, 8 << 20);
	put_packed("s0/14-15_20-24_-2-0.gz", FG_CODING_GZIP, bomb, 8 << 20);
	free(bomb);
	tap_fails(fg_source_chunk(s, 0, right, &b, &err), &err, FG_ECORRUPT, "s0/14-15",
	    "or unpacks to far more than a chunk has");
	put_text("s0/14-15_20-24_0-1.br", "brotli?");
#ifdef HAVE_BROTLI
	tap_fails(fg_source_chunk(s, 0, last, &b, &err), &err, FG_ECORRUPT, "s0/14-15",
	    "a .br file that is none");
	/* {2000, 2001, 2002, 2003} as uint16 by the brotli package of PyPI */
	put_file("s0/14-15_20-24_0-1.br", GOOD_BR, sizeof GOOD_BR - 1);
	if (tap_rc(fg_source_chunk(s, 0, last, &b, &err), &err, "a .br file")) {
		tap_ok(b && b->len == 8 &&
			   memcmp(b->data, "\xd0\x07\xd1\x07\xd2\x07\xd3\x07", 8) == 0,
		    "its voxels");
		fg_buf_unref(b);
		b = NULL;
	}
#else
	tap_fails(fg_source_chunk(s, 0, last, &b, &err), &err, FG_ENOTSUP, "s0/14-15",
	    "a coding that this build lacks is not an absent chunk");
#endif
	snprintf(cmd, sizeof cmd, "%s/s0/10-14_20-24_0-1", st_root);
	tap_int(mkfifo(cmd, 0666), 0, "a FIFO in place of a chunk");
	tap_fails(fg_source_chunk(s, 0, back, &b, &err), &err, FG_EIO, "regular file",
	    "does not stop us");
	unlink(cmd);
	struct fg_box vx = {{10, 20, -2}, {15, 24, 1}};
	struct fg_array a = FG_ARRAY_INIT;
	int64_t n[4] = {5, 4, 3, 1};
	tap_rc(fg_array_init(&a, FG_U16, n, &err), &err, "array");
	tap_fails(fg_source_box(s, 0, &vx, &a, NULL, &err), &err, FG_ECORRUPT, "bytes",
	    "a box over a broken chunk fails");
	fg_array_fini(&a);
	fg_source_close(s);
	st_cleanup();
}

static void
test_escape(void)
{
	static const int64_t first[3] = {0, 0, 0};
	struct fg_err err = FG_ERR_INIT;
	struct fg_source *s;
	struct fg_buf *b = NULL;
	char path[600], inside[600];

	make_volume();
	snprintf(path, sizeof path, "%s/s0/10-14_20-24_-2-0", st_root);
	s = must_open(st_root);
	unlink(path);
	tap_int(symlink("/etc/passwd", path), 0, "a link out of the folder");
	tap_fails(fg_source_chunk(s, 0, first, &b, &err), &err, FG_EIO, "leads out",
	    "is not followed");
	unlink(path);
	tap_int(symlink("../../../../../../etc/passwd", path), 0, "a relative one");
	tap_fails(fg_source_chunk(s, 0, first, &b, &err), &err, FG_EIO, "leads out",
	    "neither");
	snprintf(inside, sizeof inside, "%s/mesh", st_root);
	tap_int(symlink("/etc", inside), 0, "a folder link");
	int coding;
	tap_fails(fg_source_file(s, "mesh/passwd", 1 << 20, &coding, &b, &err), &err,
	    FG_EIO, "leads out", "nor that");
	fg_source_close(s);

	put_text("info",
	    "{\"type\":\"image\",\"data_type\":\"uint16\",\"num_channels\":1,"
	    "\"scales\":[{\"key\":\"../s0\",\"resolution\":[8,8,8],"
	    "\"size\":[4,4,2],\"chunk_sizes\":[[4,4,2]],"
	    "\"encoding\":\"raw\"}]}");
	s = fg_source_open(st_root, &err);
	if (s) {
		tap_fails(fg_source_chunk(s, 0, first, &b, &err), &err, FG_EIO,
		    "leads out", "a scale key that leads out");
		fg_source_close(s);
	} else {
		tap_fails(-1, &err, FG_ENOTSUP, "../s0", "a scale key that leads out");
	}
	st_cleanup();
}

static void
test_open_fails(void)
{
	static const struct {
		const char *info;
		enum fg_code code;
		const char *part;
	} t[] = {
	    {"", FG_EINVAL, "info"},
	    {"{", FG_EINVAL, "info"},
	    {"{\"@type\":\"neuroglancer_legacy_mesh\"}", FG_ENOTSUP, "holds meshes"},
	    {"{\"type\":\"image\",\"data_type\":\"uint8\",\"num_channels\":1,"
	     "\"scales\":[{"
	     "\"key\":\"s0\",\"resolution\":[8,8,8],"
	     "\"size\":[1000000000,1000000000,1000000000],"
	     "\"chunk_sizes\":[[1,1,1]],\"encoding\":\"raw\",\"sharding\":{\"@type\":"
	     "\"neuroglancer_uint64_sharded_v1\",\"preshift_bits\":0,"
	     "\"hash\":\"identity\",\"minishard_bits\":0,\"shard_bits\":0}}]}",
		FG_ENOTSUP, "64-bit keys"},
	};
	struct fg_err err = FG_ERR_INIT;
	struct fg_source *s;

	s = fg_source_open("/nonexistent/volume", &err);
	tap_fails(s ? 0 : -1, &err, FG_ENOENT, "/nonexistent/volume", "no folder");
	s = fg_source_open("gopher://example.org/x", &err);
	tap_fails(s ? 0 : -1, &err, FG_ENOTSUP, "\"gopher\"", "no such scheme");
	st_folder();
	s = fg_source_open(st_root, &err);
	tap_fails(s ? 0 : -1, &err, FG_ENOENT, "no info file", "no info");
	for (size_t i = 0; i < FG_COUNTOF(t); i++) {
		put_text("info", t[i].info);
		s = fg_source_open(st_root, &err);
		tap_fails(s ? 0 : -1, &err, t[i].code, t[i].part, "a bad info");
	}
	st_cleanup();
}

static void
test_files(void)
{
	static const char *const bad[] = {"", "/etc/passwd", "../x", "mesh/../info",
	    "mesh/.hidden", ".x", "a//b", "mesh/", "a b", "a\\b", "mesh/\x01",
	    "%2e%2e/x", "a/./b"};
	struct fg_err err = FG_ERR_INIT;
	struct fg_source *s;
	struct fg_buf *b = NULL;
	int coding = -1;

	make_volume();
	put_text("mesh/info", "{}");
	put_text("mesh/12:0", "{\"fragments\":[]}");
	put_packed("mesh/12:0:1_2_3.gz", FG_CODING_GZIP, "frag", 4);
	s = must_open(st_root);
	for (size_t i = 0; i < FG_COUNTOF(bad); i++)
		tap_fails(fg_source_file(s, bad[i], 100, &coding, &b, &err), &err,
		    FG_EINVAL, "no name", bad[i]);
	tap_rc(fg_source_file(s, "mesh/12:0", 100, &coding, &b, &err), &err, "a file");
	tap_ok(b && b->len == 16 && coding == FG_CODING_NONE, "as it is");
	fg_buf_unref(b);
	tap_rc(fg_source_file(s, "mesh/12:0:1_2_3", 100, &coding, &b, &err), &err,
	    "a packed one");
	tap_ok(b && coding == FG_CODING_GZIP && b->data[0] == 0x1f, "as it is");
	fg_buf_unref(b);
	tap_rc(fg_source_file(s, "mesh/13:0", 100, &coding, &b, &err), &err, "absent");
	tap_ok(b == NULL, "is no failure");
	tap_rc(fg_source_file(s, "mesh", 100, &coding, &b, &err), &err, "a folder");
	tap_ok(b == NULL, "is no file");
	tap_fails(fg_source_file(s, "mesh/12:0", 5, &coding, &b, &err), &err, FG_EFULL,
	    "at most 5", "the limit");
	fg_source_close(s);
	st_cleanup();
}

/* From here on openat2 does not exist, as on old kernels and in some containers. */
static bool
hide_openat2(void)
{
	struct sock_filter code[] = {
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat2, 0, 1),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = {.len = FG_COUNTOF(code), .filter = code};

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	       prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) == 0;
}

int
main(void)
{
	test_chunks();
	test_boxes();
	test_broken();
	test_escape();
	test_open_fails();
	test_files();
	tap_ok(hide_openat2(), "without openat2:");
	test_chunks();
	test_escape();
	test_files();
	return tap_done();
}
