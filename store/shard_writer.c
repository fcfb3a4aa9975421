/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shard files, written: see the header. Layout of the result: head, then for each
 * minishard that is not empty its data and its index. The head of empty minishards is
 * a hole of zeros: begin = end.
 */
#include "config.h"

#include "store/shard_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

#define BUFFER (1u << 20)

struct fg_shard_writer {
	struct fg_sharding s;
	uint64_t shard;
	char *dir, *path, *tmp;
	int fd;
	uint64_t at;                /* end of the file with what is in the buffer */
	struct fg_shard_item *item; /* of the minishard being written */
	size_t items, room;
	uint64_t minishard;
	uint8_t *buffer;
	size_t filled;
};

void
fg_shard_order_of(const struct fg_sharding *s, uint64_t key, struct fg_shard_order *out)
{
	fg_shard_locate(s, key, &out->shard, &out->minishard);
	out->key = key;
}

int
fg_shard_order_compare(const void *a, const void *b)
{
	const struct fg_shard_order *p = a, *q = b;

	if (p->shard != q->shard)
		return p->shard < q->shard ? -1 : 1;
	if (p->minishard != q->minishard)
		return p->minishard < q->minishard ? -1 : 1;
	return p->key < q->key ? -1 : p->key > q->key;
}

struct fg_shard_writer *
fg_shard_writer_new(const char *dir, const struct fg_sharding *s, uint64_t shard,
    struct fg_err *err)
{
	struct fg_shard_writer *w = fg_calloc(1, sizeof *w);
	char name[FG_SHARD_NAME];

	fg_shard_name(s, shard, name);
	w->s = *s;
	w->shard = shard;
	w->dir = fg_strdup(dir);
	w->path = fg_asprintf("%s/%s", dir, name);
	w->tmp = fg_asprintf("%s.tmp-XXXXXX", w->path);
	w->fd = mkostemp(w->tmp, O_CLOEXEC);
	if (w->fd < 0) {
		fg_fail_errno(err, "%s", w->path);
		goto fail;
	}
	w->at = fg_shard_head(s);
	if (ftruncate(w->fd, (off_t)w->at) < 0) {
		fg_fail_errno(err, "%s", w->path);
		goto fail;
	}
	w->buffer = fg_alloc(BUFFER);
	return w;
fail:
	fg_shard_writer_free(w);
	return NULL;
}

void
fg_shard_writer_free(struct fg_shard_writer *w)
{
	if (!w)
		return;
	if (w->fd >= 0) {
		close(w->fd);
		unlink(w->tmp);
	}
	free(w->dir);
	free(w->path);
	free(w->tmp);
	free(w->item);
	free(w->buffer);
	free(w);
}

/* ------------------------------------------------------------- bytes */

static int
flush(struct fg_shard_writer *w, struct fg_err *err)
{
	size_t n = w->filled;

	w->filled = 0;
	return fg_file_pwrite(w->fd, w->buffer, n, w->at - n, w->path, err);
}

static int
append(struct fg_shard_writer *w, const void *p, size_t n, struct fg_err *err)
{
	if (n > BUFFER - w->filled && flush(w, err) < 0)
		return -1;
	if (n > BUFFER) {
		if (fg_file_pwrite(w->fd, p, n, w->at, w->path, err) < 0)
			return -1;
	} else if (n > 0) {
		memcpy(w->buffer + w->filled, p, n);
		w->filled += n;
	}
	w->at += n;
	return 0;
}

/* ------------------------------------------------------------- minishards */

/* Write the index of the minishard at hand and its pair in the head. */
static int
end_minishard(struct fg_shard_writer *w, struct fg_err *err)
{
	uint64_t head = fg_shard_head(&w->s), begin = w->at;
	struct fg_buf *b = NULL;
	uint8_t pair[16];
	int rc;

	if (w->items == 0)
		return 0;
	if (fg_minishard_encode(&w->s, w->item, w->items, &b, err) < 0)
		return fg_err_prefix(err, "%s", w->path);
	rc = append(w, b->data, b->len, err);
	fg_buf_unref(b);
	w->items = 0;
	if (rc < 0)
		return -1;
	fg_put_u64le(pair, begin - head);
	fg_put_u64le(pair + 8, w->at - head);
	return fg_file_pwrite(w->fd, pair, sizeof pair, 16 * w->minishard, w->path,
	    err);
}

/* Whether a key may follow what has been put. */
static int
check_order(const struct fg_shard_writer *w, uint64_t key, uint64_t minishard,
    uint64_t shard, struct fg_err *err)
{
	if (shard != w->shard)
		return fg_fail(err, FG_EINVAL, "%s: key %llu is of shard %llx", w->path,
		    (unsigned long long)key, (unsigned long long)shard);
	if (minishard < w->minishard || (minishard == w->minishard && w->items > 0 &&
					    key <= w->item[w->items - 1].key))
		return fg_fail(err, FG_EINVAL,
		    "%s: key %llu of minishard %llu comes too late", w->path,
		    (unsigned long long)key, (unsigned long long)minishard);
	return 0;
}

int
fg_shard_writer_put_behind(struct fg_shard_writer *w, uint64_t key, const void *before,
    size_t before_n, const void *p, size_t n, struct fg_err *err)
{
	uint64_t shard, minishard;

	fg_shard_locate(&w->s, key, &shard, &minishard);
	if (check_order(w, key, minishard, shard, err) < 0)
		return -1;
	if (minishard != w->minishard && end_minishard(w, err) < 0)
		return -1;
	w->minishard = minishard;
	if (w->items == w->room) {
		w->room = FG_MAX(64, 2 * w->room);
		w->item = fg_realloc(w->item, w->room, sizeof *w->item);
	}
	if (append(w, before, before_n, err) < 0)
		return -1;
	w->item[w->items++] = (struct fg_shard_item){key, w->at, n};
	return append(w, p, n, err);
}

int
fg_shard_writer_put(struct fg_shard_writer *w, uint64_t key, const void *p, size_t n,
    struct fg_err *err)
{
	return fg_shard_writer_put_behind(w, key, NULL, 0, p, n, err);
}

int
fg_shard_writer_end(struct fg_shard_writer *w, bool durable, uint64_t *size,
    struct fg_err *err)
{
	mode_t mask = umask(0);
	int rc = -1;

	umask(mask);
	if (end_minishard(w, err) < 0 || flush(w, err) < 0)
		goto out;
	/* mkostemp makes 0600; published files follow the umask like any other. */
	if (fchmod(w->fd, 0666 & ~mask) < 0 || (durable && fsync(w->fd) < 0) ||
	    rename(w->tmp, w->path) < 0) {
		fg_fail_errno(err, "%s", w->path);
		goto out;
	}
	close(w->fd);
	w->fd = -1;
	if (durable && fg_file_sync_dir(w->dir, err) < 0)
		goto out;
	*size = w->at;
	rc = 0;
out:
	fg_shard_writer_free(w);
	return rc;
}
