/* SPDX-License-Identifier: Apache-2.0 */
/* Files that were opened a moment ago: a small table in which a newer one takes the
 * place of an older. An entry lives as long as somebody reads it. */
#include "config.h"

#include "server/parts.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"

#define ENTRIES 256
#define FRESH_NS FG_NS_PER_S
#define PROBE_EVERY (64 << 10)

#ifndef SYS_cachestat /* older headers; the number is that of every architecture */
#define SYS_cachestat 451
#endif

struct part {
	_Atomic unsigned refs;
	uint64_t key, size, etag;
	int64_t until_ns;
	int fd;
};

struct fg_parts {
	pthread_mutex_t lock;
	struct part *entry[ENTRIES]; /* guarded by lock */
};

static void
drop(struct part *e)
{
	if (!e || atomic_fetch_sub(&e->refs, 1) != 1)
		return;
	close(e->fd);
	free(e);
}

struct fg_parts *
fg_parts_new(void)
{
	struct fg_parts *p = fg_calloc(1, sizeof *p);

	pthread_mutex_init(&p->lock, NULL);
	return p;
}

void
fg_parts_free(struct fg_parts *p)
{
	if (!p)
		return;
	for (int i = 0; i < ENTRIES; i++)
		drop(p->entry[i]);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

static uint64_t
key_of(uint32_t layer, const char *uuid, const char *name)
{
	return fg_hash64(name, strlen(name)) ^ fg_hash64(uuid, strlen(uuid)) ^
	       (uint64_t)layer << 32;
}

/* With a reference, or NULL. */
static struct part *
find(struct fg_parts *p, uint64_t key)
{
	int64_t now = fg_clock_ns();
	struct part *e;

	pthread_mutex_lock(&p->lock);
	e = p->entry[key % ENTRIES];
	if (e && e->key == key && now < e->until_ns)
		atomic_fetch_add(&e->refs, 1);
	else
		e = NULL;
	pthread_mutex_unlock(&p->lock);
	return e;
}

void
fg_parts_put(struct fg_parts *p, uint32_t layer, const char *uuid, const char *name,
    int fd, uint64_t size, uint64_t etag)
{
	struct part *e = fg_calloc(1, sizeof *e), *old;

	e->refs = 1;
	e->key = key_of(layer, uuid, name);
	e->size = size;
	e->etag = etag;
	e->until_ns = fg_clock_ns() + FRESH_NS;
	e->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (e->fd < 0) { /* out of descriptors: it is opened again each time */
		free(e);
		return;
	}
	pthread_mutex_lock(&p->lock);
	old = p->entry[e->key % ENTRIES];
	p->entry[e->key % ENTRIES] = e;
	pthread_mutex_unlock(&p->lock);
	drop(old);
}

bool
fg_parts_find(struct fg_parts *p, uint32_t layer, const char *uuid, const char *name,
    uint64_t *size, uint64_t *etag)
{
	struct part *e = find(p, key_of(layer, uuid, name));

	if (!e)
		return false;
	*size = e->size;
	*etag = e->etag;
	drop(e);
	return true;
}

/* Whether all of the range is in the page cache. */
static bool
is_cached(int fd, uint64_t first, uint64_t len)
{
	struct {
		uint64_t off, len;
	} range = {first, len};
	struct {
		uint64_t cached, dirty, writeback, evicted, recently_evicted;
	} pages;
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	struct iovec v;
	char c;

	v = (struct iovec){.iov_base = &c, .iov_len = 1};
	if (syscall(SYS_cachestat, fd, &range, &pages, 0) < 0 ||
	    pages.cached != (first + len - 1) / page - first / page + 1)
		return false;
	/* Pages on their way from the disk are counted as well: try some. */
	for (uint64_t at = first; at < first + len; at += PROBE_EVERY) {
		if (preadv2(fd, &v, 1, (off_t)at, RWF_NOWAIT) != 1)
			return false;
	}
	return preadv2(fd, &v, 1, (off_t)(first + len - 1), RWF_NOWAIT) == 1;
}

int
fg_parts_open(struct fg_parts *p, uint32_t layer, const char *uuid, const char *name,
    uint64_t first, uint64_t len)
{
	struct part *e = find(p, key_of(layer, uuid, name));
	int fd = -1;

	if (e && is_cached(e->fd, first, len))
		fd = fcntl(e->fd, F_DUPFD_CLOEXEC, 0);
	drop(e);
	return fd;
}

struct fg_buf *
fg_parts_read(struct fg_parts *p, uint32_t layer, const char *uuid, const char *name,
    uint64_t first, uint64_t len)
{
	struct part *e = find(p, key_of(layer, uuid, name));
	struct fg_buf *b = e ? fg_buf_new(len) : NULL;
	struct iovec v;

	if (b) {
		v = (struct iovec){.iov_base = b->data, .iov_len = len};
		if (preadv2(e->fd, &v, 1, (off_t)first, RWF_NOWAIT) != (ssize_t)len) {
			fg_buf_unref(b);
			b = NULL;
		}
	}
	drop(e);
	return b;
}
