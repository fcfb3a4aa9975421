/* SPDX-License-Identifier: Apache-2.0 */
/* Files that were opened a moment ago: a small table in which a newer one takes the
 * place of an older. An entry lives as long as somebody reads it. */
#include "config.h"

#include "server/parts.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"

#define ENTRIES 256
#define FRESH_NS FG_NS_PER_S
#define MAP_MAX (8 << 20) /* longest range that is looked up in memory */
/* Units of a file that were found in memory, which is believed for a while: pages that
 * were used seldom go within seconds, and one that went is a short wait. */
#define UNIT (64 << 10)
#define UNITS (1 << 16)
#define SEEN_NS (8 * FG_NS_PER_S)

struct fg_part {
	_Atomic unsigned refs;
	uint64_t key, size, etag;
	_Atomic int64_t until_ns;
	int64_t seen_until_ns; /* guarded by the table's lock */
	int fd;
	uint8_t *map; /* all of it, or NULL; to ask about, never to be read */
	_Atomic uint64_t seen[UNITS / 64]; /* a bit for each of the first units */
};

struct fg_parts {
	pthread_mutex_t lock;
	struct fg_part *entry[ENTRIES]; /* guarded by lock */
};

void
fg_parts_unref(struct fg_part *e)
{
	if (!e || atomic_fetch_sub(&e->refs, 1) != 1)
		return;
	if (e->map)
		munmap(e->map, e->size);
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
		fg_parts_unref(p->entry[i]);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

static uint64_t
key_of(uint32_t layer, const char *uuid, const char *name)
{
	return fg_hash64(name, strlen(name)) ^ fg_hash64(uuid, strlen(uuid)) ^
	       (uint64_t)layer << 32;
}

/* True if that very file is there: it stays for another while. */
static bool
renew(struct fg_parts *p, uint64_t key, uint64_t size, uint64_t etag)
{
	int64_t now = fg_clock_ns();
	struct fg_part *e;
	bool same;

	pthread_mutex_lock(&p->lock);
	e = p->entry[key % ENTRIES];
	same = e && e->key == key && e->size == size && e->etag == etag;
	if (same && now >= e->seen_until_ns) {
		for (size_t i = 0; i < FG_COUNTOF(e->seen); i++)
			atomic_store_explicit(&e->seen[i], 0, memory_order_relaxed);
		e->seen_until_ns = now + SEEN_NS;
	}
	if (same)
		e->until_ns = now + FRESH_NS;
	pthread_mutex_unlock(&p->lock);
	return same;
}

/* The whole file, or NULL where mincore() would say that all of it is in memory because
 * it is none of our business. */
static uint8_t *
map_file(int fd, uint64_t size)
{
	struct stat st;
	char self[40];
	void *m;

	snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
	if (fstat(fd, &st) < 0 || size == 0 || size > PTRDIFF_MAX ||
	    (st.st_uid != geteuid() && access(self, W_OK) < 0))
		return NULL;
	m = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	return m == MAP_FAILED ? NULL : m;
}

void
fg_parts_put(struct fg_parts *p, uint32_t layer, const char *uuid, const char *name,
    int fd, uint64_t size, uint64_t etag)
{
	uint64_t key = key_of(layer, uuid, name);
	struct fg_part *e, *old;

	if (renew(p, key, size, etag))
		return;
	e = fg_calloc(1, sizeof *e);
	e->refs = 1;
	e->key = key;
	e->size = size;
	e->etag = etag;
	e->until_ns = fg_clock_ns() + FRESH_NS;
	e->seen_until_ns = fg_clock_ns() + SEEN_NS;
	e->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (e->fd < 0) { /* out of descriptors: it is opened again each time */
		free(e);
		return;
	}
	e->map = map_file(e->fd, size);
	pthread_mutex_lock(&p->lock);
	old = p->entry[key % ENTRIES];
	p->entry[key % ENTRIES] = e;
	pthread_mutex_unlock(&p->lock);
	fg_parts_unref(old);
}

struct fg_part *
fg_parts_find(struct fg_parts *p, uint32_t layer, const char *uuid, const char *name,
    uint64_t *size, uint64_t *etag)
{
	uint64_t key = key_of(layer, uuid, name);
	int64_t now = fg_clock_ns();
	struct fg_part *e;

	pthread_mutex_lock(&p->lock);
	e = p->entry[key % ENTRIES];
	if (e && e->key == key && now < e->until_ns)
		atomic_fetch_add(&e->refs, 1);
	else
		e = NULL;
	pthread_mutex_unlock(&p->lock);
	if (e) {
		*size = e->size;
		*etag = e->etag;
	}
	return e;
}

/* Whether all of a range is in the page cache. */
static bool
has_pages(const struct fg_part *e, uint64_t first, uint64_t len)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), skip = first % page;
	unsigned char there[MAP_MAX / 4096 + 1];
	size_t pages = (skip + len + page - 1) / page;

	if (len > MAP_MAX || mincore(e->map + first - skip, skip + len, there) < 0)
		return false;
	for (size_t i = 0; i < pages; i++) {
		if (!(there[i] & 1))
			return false;
	}
	return true;
}

static bool
has_unit(struct fg_part *e, uint64_t unit)
{
	uint64_t bit = (uint64_t)1 << unit % 64, first = unit * UNIT;

	if (unit >= UNITS)
		return false;
	if (atomic_load_explicit(&e->seen[unit / 64], memory_order_relaxed) & bit)
		return true;
	if (!has_pages(e, first, FG_MIN((uint64_t)UNIT, e->size - first)))
		return false;
	atomic_fetch_or_explicit(&e->seen[unit / 64], bit, memory_order_relaxed);
	return true;
}

/* Whether the range can be read without waiting for a disk. */
static bool
is_in_memory(struct fg_part *e, uint64_t first, uint64_t len)
{
	uint64_t unit = first / UNIT, last = (first + len - 1) / UNIT;

	while (unit <= last && has_unit(e, unit))
		unit++;
	return unit > last || has_pages(e, first, len);
}

bool
fg_parts_has(struct fg_part *e, uint64_t first, uint64_t len)
{
	return e->map && first < e->size && len <= e->size - first &&
	       is_in_memory(e, first, len);
}

int
fg_parts_open(struct fg_part *e, uint64_t first, uint64_t len)
{
	return fg_parts_has(e, first, len) ? fcntl(e->fd, F_DUPFD_CLOEXEC, 0) : -1;
}

struct fg_buf *
fg_parts_read(struct fg_part *e, uint64_t first, uint64_t len)
{
	struct fg_buf *b = fg_buf_new(len);
	struct iovec v;

	if (!b)
		return NULL;
	v = (struct iovec){.iov_base = b->data, .iov_len = len};
	if (preadv2(e->fd, &v, 1, (off_t)first, RWF_NOWAIT) == (ssize_t)len)
		return b;
	fg_buf_unref(b);
	return NULL;
}
