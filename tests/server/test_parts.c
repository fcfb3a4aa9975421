/* SPDX-License-Identifier: Apache-2.0 */
/* Files that were opened a moment ago: what is told of them, and what is not once they
 * have changed. */
#include "config.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#include "server/parts.h"
#include "tests/tap.h"

#define SIZE ((3 << 20) + 12345)

static const char *const uuid = "0d5c";
static uint8_t *data;
static bool nowait; /* this file system can tell what needs no waiting */

/* The file a.shard, if it is known under that tag. */
static struct fg_part *
find(struct fg_parts *p, uint64_t etag)
{
	uint64_t size, found;
	struct fg_part *e = fg_parts_find(p, 1, uuid, "a.shard", &size, &found);

	if (e && found != etag) {
		fg_parts_unref(e);
		e = NULL;
	}
	return e;
}

static int
open_part(struct fg_parts *p, uint64_t etag, uint64_t first, uint64_t len)
{
	struct fg_part *e = find(p, etag);
	int fd = e ? fg_parts_open(e, first, len) : -1;

	fg_parts_unref(e);
	return fd;
}

static struct fg_buf *
read_part(struct fg_parts *p, uint64_t etag, uint64_t first, uint64_t len)
{
	struct fg_part *e = find(p, etag);
	struct fg_buf *b = e ? fg_parts_read(e, first, len) : NULL;

	fg_parts_unref(e);
	return b;
}

/* The bytes of the range that come out of the descriptor are those of the file. */
static bool
opens(struct fg_parts *p, uint64_t etag, uint64_t first, uint64_t len)
{
	int fd = open_part(p, etag, first, len);
	uint8_t *got = fg_alloc(len);
	bool good = fd >= 0 && pread(fd, got, len, (off_t)first) == (ssize_t)len &&
		    memcmp(got, data + first, len) == 0;

	if (fd >= 0)
		close(fd);
	free(got);
	return good;
}

static bool
reads(struct fg_parts *p, uint64_t first, uint64_t len)
{
	struct fg_buf *b = read_part(p, 100, first, len);
	bool good = !nowait
			? b == NULL
			: b && b->len == len && memcmp(b->data, data + first, len) == 0;

	fg_buf_unref(b);
	return good;
}

static int
make_file(void)
{
	char name[] = "parts-XXXXXX";
	int fd = mkstemp(name);
	struct iovec v = {.iov_base = &(char){0}, .iov_len = 1};

	fg_assert(fd >= 0);
	unlink(name);
	fg_assert(write(fd, data, SIZE) == SIZE);
	nowait = preadv2(fd, &v, 1, 0, RWF_NOWAIT) == 1;
	if (!nowait)
		printf("# this file system has no RWF_NOWAIT: nothing is copied\n");
	return fd;
}

static void
ranges(struct fg_parts *p)
{
	static const struct {
		uint64_t first, len;
	} good[] = {{0, 1}, {0, SIZE}, {SIZE - 1, 1}, {4095, 2}, {65535, 2},
	    {65536, 65536}, {12345, 32768}, {SIZE - 70000, 70000},
	    {(1 << 20) - 7, 1 << 20}};

	for (int pass = 0; pass < 2; pass++) { /* asked of the system, and remembered */
		for (size_t i = 0; i < FG_COUNTOF(good); i++)
			tap_ok(opens(p, 100, good[i].first, good[i].len) &&
				   reads(p, good[i].first, good[i].len),
			    "%llu bytes from %llu on", (unsigned long long)good[i].len,
			    (unsigned long long)good[i].first);
	}
	tap_int(open_part(p, 100, SIZE, 1), -1, "nothing behind the end");
	tap_int(open_part(p, 100, SIZE - 1, 2), -1, "nor across it");
	tap_int(open_part(p, 100, 1, UINT64_MAX), -1, "nor beyond all");
	tap_ok(!read_part(p, 100, SIZE - 1, 2), "nor as a copy");
}

static void
others(struct fg_parts *p)
{
	uint64_t size = 7, etag = 8;

	tap_ok(!fg_parts_find(p, 2, uuid, "a.shard", &size, &etag),
	    "not another layer's");
	tap_ok(!fg_parts_find(p, 1, "0d5d", "a.shard", &size, &etag),
	    "nor another life's");
	tap_ok(!fg_parts_find(p, 1, uuid, "b.shard", &size, &etag), "nor another file");
	tap_ok(size == 7 && etag == 8, "and nothing is told of them");
}

/* Another file in the place of one that somebody reads. */
static void
replaced(struct fg_parts *p, int a, int b)
{
	struct fg_part *old = NULL;
	uint8_t first;
	int fd;

	/* It is believed for a second, which may go by on a busy machine. */
	for (int i = 0; i < 100 && !old; i++) {
		fg_parts_put(p, 1, uuid, "a.shard", a, SIZE, 100);
		old = find(p, 100);
	}
	fg_assert(old != NULL);

	fg_parts_put(p, 1, uuid, "a.shard", b, SIZE, 101);
	tap_ok(opens(p, 101, 1 << 20, 32768), "another file has its own bytes");
	tap_ok(!opens(p, 100, 1 << 20, 32768), "which do not go out under the old tag");
	tap_ok(!read_part(p, 100, 1 << 20, 32768), "nor as a copy");
	fd = fg_parts_open(old, 0, 1);
	tap_ok(fd >= 0 && pread(fd, &first, 1, 0) == 1 && first == data[0],
	    "who read the old one goes on");
	close(fd);
	fg_parts_unref(old);
}

/* One that became shorter in the moment between. */
static void
cut(struct fg_parts *p, int c)
{
	fg_parts_put(p, 1, uuid, "a.shard", c, SIZE, 102);
	fg_assert(ftruncate(c, 100) == 0);
	/* Pages behind the end may still be in memory, with nothing to send. */
	tap_ok(!opens(p, 102, 1 << 20, 32768), "what was cut off is not sent");
	tap_ok(!read_part(p, 102, 1 << 20, 32768), "nor read");
}

int
main(void)
{
	struct fg_parts *p = fg_parts_new();
	int a, b, c;

	data = fg_alloc(SIZE);
	for (size_t i = 0; i < SIZE; i++)
		data[i] = (uint8_t)(i * 2654435761u >> 13);
	a = make_file();
	b = make_file();
	c = make_file();
	fg_parts_put(p, 1, uuid, "a.shard", a, SIZE, 100);
	ranges(p);
	others(p);
	fg_parts_put(p, 1, uuid, "a.shard", a, SIZE, 100);
	tap_ok(opens(p, 100, 1 << 20, 32768), "the same one again: as before");
	replaced(p, a, b);
	close(a);
	close(b);
	tap_ok(opens(p, 101, 5, 32768), "without the caller's descriptor");
	cut(p, c);
	close(c);
	fg_parts_free(p);
	free(data);
	return tap_done();
}
