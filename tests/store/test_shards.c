/* SPDX-License-Identifier: Apache-2.0 */
/* Shard files, written and read back, whole and broken. */
#include "config.h"

#include "store/shards.h"

#include <dirent.h>
#include <pthread.h>

#include "formats/codec.h"
#include "store/shard_writer.h"
#include "tests/store/store_test.h"

#define KEYS 600

/* The datum of a key: length and bytes follow from it; some are empty. */
static size_t
datum(uint64_t key, uint8_t *out)
{
	size_t n = (size_t)(key * 7 % 501);

	for (size_t i = 0; i < n; i++)
		out[i] = (uint8_t)(key + i / 16);
	return n;
}

static int
put_key(struct fg_shard_writer *w, const struct fg_sharding *s, uint64_t key,
    struct fg_err *err)
{
	uint8_t v[512];
	size_t n = datum(key, v);
	struct fg_buf *b = NULL;
	int rc;

	if (!s->data_gzip)
		return fg_shard_writer_put(w, key, v, n, err);
	if (fg_compress(FG_CODING_GZIP, 1, v, n, &b, err) < 0)
		return -1;
	rc = fg_shard_writer_put(w, key, b->data, b->len, err);
	fg_buf_unref(b);
	return rc;
}

/* All shards of the keys 0, 3, 6, ...; their number. */
static int
write_all(const struct fg_sharding *s)
{
	struct fg_shard_order o[KEYS];
	struct fg_err err = FG_ERR_INIT;
	struct fg_shard_writer *w = NULL;
	uint64_t size = 0;
	int files = 0;

	for (uint64_t k = 0; k < KEYS; k++)
		fg_shard_order_of(s, 3 * k, &o[k]);
	qsort(o, KEYS, sizeof *o, fg_shard_order_compare);
	for (size_t k = 0; k < KEYS; k++) {
		if (w && o[k].shard != o[k - 1].shard) {
			if (fg_shard_writer_end(w, files % 2 == 0, &size, &err) < 0)
				break;
			w = NULL;
		}
		if (!w) {
			w = fg_shard_writer_new(st_root, s, o[k].shard, &err);
			files++;
		}
		if (!w || put_key(w, s, o[k].key, &err) < 0)
			break;
	}
	if (err.code == FG_OK)
		tap_rc(fg_shard_writer_end(w, true, &size, &err), &err, "write");
	else
		tap_rc(-1, &err, "write");
	return files;
}

/* The datum by its shard's file; 1 if it is right, 0 if absent, -1 on failure. */
static int
read_key(struct fg_shards *c, const struct fg_sharding *s, uint64_t key,
    struct fg_err *err)
{
	char name[FG_SHARD_NAME], path[400];
	uint64_t shard, minishard;
	struct fg_buf *b = NULL;
	uint8_t want[512];
	int fd, rc;

	fg_shard_locate(s, key, &shard, &minishard);
	fg_shard_name(s, shard, name);
	snprintf(path, sizeof path, "%s/%s", st_root, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	rc = fg_shards_read(c, fd, name, s, key, 1000, &b, err);
	close(fd);
	if (rc == 0 && b) {
		size_t n = datum(key, want);

		rc = b->len == n && memcmp(b->data, want, n) == 0 ? 1 : 2;
	}
	fg_buf_unref(b);
	return rc;
}

static void
check_all(const struct fg_sharding *s, size_t cache, const char *what)
{
	struct fg_shards *c = fg_shards_new(cache);
	struct fg_err err = FG_ERR_INIT;
	int wrong = 0;

	for (uint64_t key = 0; key < 3 * KEYS + 5; key++)
		wrong += read_key(c, s, key, &err) != (key % 3 == 0 && key < 3 * KEYS);
	if (!tap_int(wrong, 0, "%s", what))
		printf("# %s\n", err.msg);
	fg_shards_free(c);
}

static void
test_round_trips(void)
{
	static const struct fg_sharding t[] = {
	    {.present = true},
	    {.minishard_bits = 3, .shard_bits = 2, .preshift_bits = 1},
	    {.minishard_bits = 3, .shard_bits = 2, .index_gzip = true},
	    {.murmur = true,
		.minishard_bits = 2,
		.shard_bits = 3,
		.index_gzip = true,
		.data_gzip = true},
	    {.murmur = true, .minishard_bits = 12, .data_gzip = true},
	    {.preshift_bits = 64, .minishard_bits = 4, .shard_bits = 4},
	    {.murmur = true, .shard_bits = 7},
	};
	static const int files[] = {1, 4, 4, 8, 1, 1, 0};

	for (size_t i = 0; i < FG_COUNTOF(t); i++) {
		st_folder();
		int n = write_all(&t[i]);
		if (files[i])
			tap_int(n, files[i], "shards of case %zu", i);
		check_all(&t[i], 1 << 20, "every datum comes back, no other");
		check_all(&t[i], 0, "without a cache");
		check_all(&t[i], 3000, "with a cache for one or two");
		st_cleanup();
	}
}

struct reader {
	struct fg_shards *c;
	const struct fg_sharding *s;
	uint64_t from;
	int wrong;
};

static void *
read_many(void *arg)
{
	struct reader *r = arg;
	struct fg_err err = FG_ERR_INIT;

	for (uint64_t k = 0; k < 3000; k++) {
		uint64_t key = (r->from + k * 7919) % (3 * KEYS);

		r->wrong += read_key(r->c, r->s, key, &err) != (key % 3 == 0);
	}
	return NULL;
}

/* A cache that is too small, so that indices come and go under the readers. */
static void
test_threads(void)
{
	static const struct fg_sharding s = {.minishard_bits = 4, .shard_bits = 2};
	struct reader r[4];
	pthread_t t[4];

	st_folder();
	write_all(&s);
	struct fg_shards *c = fg_shards_new(4000);
	for (size_t i = 0; i < 4; i++) {
		r[i] = (struct reader){c, &s, i * 131, 0};
		if (pthread_create(&t[i], NULL, read_many, &r[i]) != 0)
			abort();
	}
	for (size_t i = 0; i < 4; i++) {
		pthread_join(t[i], NULL);
		tap_int(r[i].wrong, 0, "thread %zu", i);
	}
	fg_shards_free(c);
	st_cleanup();
}

static int
files_in(const char *path)
{
	DIR *d = opendir(path);
	int n = 0;

	while (d && readdir(d))
		n++;
	closedir(d);
	return n - 2;
}

static void
test_order(void)
{
	static const struct fg_sharding s = {.minishard_bits = 1, .shard_bits = 1};
	struct fg_err err = FG_ERR_INIT;
	struct fg_shard_writer *w;

	st_folder();
	w = fg_shard_writer_new(st_root, &s, 0, &err);
	tap_rc(w ? 0 : -1, &err, "begin");
	tap_rc(fg_shard_writer_put(w, 4, "a", 1, &err), &err, "minishard 0");
	tap_fails(fg_shard_writer_put(w, 4, "a", 1, &err), &err, FG_EINVAL,
	    "key 4 of minishard 0 comes too late", "a key twice");
	tap_fails(fg_shard_writer_put(w, 0, "a", 1, &err), &err, FG_EINVAL,
	    "comes too late", "a smaller one");
	tap_fails(fg_shard_writer_put(w, 2, "a", 1, &err), &err, FG_EINVAL,
	    "is of shard 1", "one of another shard");
	tap_rc(fg_shard_writer_put(w, 1, "a", 1, &err), &err, "minishard 1");
	tap_fails(fg_shard_writer_put(w, 8, "a", 1, &err), &err, FG_EINVAL,
	    "comes too late", "minishard 0 again");
	tap_int(files_in(st_root), 1, "a temporary file");
	fg_shard_writer_free(w);
	tap_int(files_in(st_root), 0, "given up: no file");
	w = fg_shard_writer_new("/nonexistent", &s, 0, &err);
	tap_fails(w ? 0 : -1, &err, FG_ENOENT, "/nonexistent/0.shard", "no folder");
	st_cleanup();
}

/* The exact bytes of a small file, from the description of the format. */
static void
test_bytes(void)
{
	static const struct fg_sharding s = {.minishard_bits = 1};
	static const uint64_t head[] = {0, 0, 5, 5 + 48};
	static const uint64_t index[] = {1, 4, 0, 0, 3, 2};
	struct fg_err err = FG_ERR_INIT;
	uint8_t want[32 + 5 + 48];
	struct fg_shard_writer *w;
	struct fg_buf *b;
	uint64_t size = 0;
	char path[400];

	for (size_t i = 0; i < 4; i++)
		fg_put_u64le(want + 8 * i, head[i]);
	memcpy(want + 32, "abcde", 5);
	for (size_t i = 0; i < 6; i++)
		fg_put_u64le(want + 37 + 8 * i, index[i]);
	st_folder();
	w = fg_shard_writer_new(st_root, &s, 0, &err);
	tap_rc(fg_shard_writer_put(w, 1, "abc", 3, &err), &err, "put");
	tap_rc(fg_shard_writer_put(w, 5, "de", 2, &err), &err, "put");
	tap_rc(fg_shard_writer_end(w, true, &size, &err), &err, "end");
	snprintf(path, sizeof path, "%s/0.shard", st_root);
	b = fg_file_read(path, 1 << 20, &err);
	tap_ok(b && b->len == sizeof want && size == b->len &&
		   memcmp(b->data, want, sizeof want) == 0,
	    "the bytes of a shard");
	fg_buf_unref(b);
	st_cleanup();
}

static void
patch(const char *path, uint64_t at, uint64_t v)
{
	uint8_t p[8];
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	fg_put_u64le(p, v);
	if (fd < 0 || pwrite(fd, p, 8, (off_t)at) != 8)
		abort();
	close(fd);
}

static void
test_broken(void)
{
	static const struct fg_sharding s = {.present = true};
	static const struct fg_sharding gz = {.present = true, .data_gzip = true};
	struct fg_shards *c = fg_shards_new(1 << 20);
	struct fg_err err = FG_ERR_INIT;
	char path[400];
	struct stat st;

	st_folder();
	snprintf(path, sizeof path, "%s/0.shard", st_root);
	write_all(&s);
	tap_int(read_key(c, &s, 3, &err), 1, "a good file");
	tap_fails(read_key(c, &gz, 3, &err), &err, FG_ECORRUPT, "0.shard: key 3: gzip",
	    "raw data where gzip is promised");
	patch(path, 0, UINT64_MAX);
	tap_fails(read_key(c, &s, 3, &err), &err, FG_ECORRUPT,
	    "0.shard: minishard 0: index begins at",
	    "a changed file is not read through the cache");
	write_all(&s);
	stat(path, &st);
	tap_int(truncate(path, st.st_size - 1), 0, "cut off");
	tap_fails(read_key(c, &s, 3, &err), &err, FG_ECORRUPT, "0.shard: minishard 0",
	    "the last byte is missing");
	tap_int(truncate(path, 15), 0, "cut off more");
	tap_fails(read_key(c, &s, 3, &err), &err, FG_ECORRUPT,
	    "0.shard has 15 bytes, its head alone has 16", "less than a head");
	tap_int(truncate(path, 0), 0, "nothing left");
	tap_fails(read_key(c, &s, 3, &err), &err, FG_ECORRUPT, "has 0 bytes", "at all");
	unlink(path);
	/* One datum that is larger than what the caller allows. */
	struct fg_shard_writer *w = fg_shard_writer_new(st_root, &s, 0, &err);
	uint8_t *big = fg_calloc(1, 3 << 20);
	uint64_t size = 0;
	tap_rc(fg_shard_writer_put(w, 3, big, 3 << 20, &err), &err, "a large datum");
	tap_rc(fg_shard_writer_end(w, false, &size, &err), &err, "is written");
	tap_int(size, 16 + (3 << 20) + 24, "whole");
	free(big);
	tap_fails(read_key(c, &s, 3, &err), &err, FG_EFULL,
	    "key 3 has 3145728 bytes, at most 1000", "and not read");
	fg_shards_free(c);
	st_cleanup();
}

int
main(void)
{
	test_bytes();
	test_round_trips();
	test_order();
	test_broken();
	test_threads();
	return tap_done();
}
