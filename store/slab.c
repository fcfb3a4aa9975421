/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slabs: writing and scanning records. See the header for the bytes.
 *
 * The writer collects records in a buffer of 1 MiB so that a group of small chunks
 * costs a few system calls; bodies larger than that are written from where they are.
 * It never goes back: after a failed write the slab must be opened anew behind what
 * is there, after a failed sync never again. The scanner finds records by their magic,
 * and looks for further ones inside of a damaged one.
 */
#include "config.h"

#include "store/slab.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash.h"

#define BUFFER (1u << 20)

static const uint8_t magic[8] = {'F', 'G', 's', 'l', 'a', 'b', '\r', '\n'};
static const uint8_t zeros[8];

void
fg_slab_head_encode(const struct fg_record *r, uint8_t out[FG_SLAB_HEAD])
{
	memset(out, 0, FG_SLAB_HEAD);
	memcpy(out, magic, 8);
	fg_put_u32le(out + 12, r->slab);
	fg_put_u64le(out + 16, r->off);
	out[24] = (uint8_t)r->type;
	out[25] = r->kind;
	out[26] = r->scale;
	out[27] = r->state;
	out[28] = r->enc;
	fg_put_u64le(out + 32, r->at);
	fg_put_u32le(out + 40, (uint32_t)r->part);
	fg_put_u32le(out + 44, r->crc);
	fg_put_u64le(out + 48, r->len);
	memcpy(out + 56, r->uuid, 16);
	memcpy(out + 72, r->sha, 32);
	fg_put_u64le(out + 104, (uint64_t)r->gen);
	fg_put_u32le(out + 112, (uint32_t)(r->part >> 32));
	fg_put_u32le(out + 116, r->from_slab);
	fg_put_u64le(out + 120, r->from_off);
	fg_put_u32le(out + 8, fg_crc32c(0, out + 12, FG_SLAB_HEAD - 12));
}

bool
fg_slab_head_decode(const uint8_t p[FG_SLAB_HEAD], uint32_t slab, uint64_t off,
    struct fg_record *r)
{
	if (memcmp(p, magic, 8) != 0 ||
	    fg_get_u32le(p + 8) != fg_crc32c(0, p + 12, FG_SLAB_HEAD - 12) ||
	    fg_get_u32le(p + 12) != slab || fg_get_u64le(p + 16) != off)
		return false;
	if (p[24] < FG_REC_SLAB || p[24] > FG_REC_LAST ||
	    fg_get_u64le(p + 48) > FG_SLAB_BODY_MAX)
		return false;
	*r = (struct fg_record){
	    .type = p[24],
	    .kind = p[25],
	    .scale = p[26],
	    .state = p[27],
	    .enc = p[28],
	    .at = fg_get_u64le(p + 32),
	    .part = fg_get_u32le(p + 40) | (uint64_t)fg_get_u32le(p + 112) << 32,
	    .gen = (int64_t)fg_get_u64le(p + 104),
	    .from_slab = fg_get_u32le(p + 116),
	    .from_off = fg_get_u64le(p + 120),
	    .slab = slab,
	    .off = off,
	    .len = fg_get_u64le(p + 48),
	    .crc = fg_get_u32le(p + 44),
	};
	memcpy(r->uuid, p + 56, 16);
	memcpy(r->sha, p + 72, 32);
	return true;
}

void
fg_slab_name_format(uint32_t slab, char out[FG_SLAB_NAME])
{
	snprintf(out, FG_SLAB_NAME, "%06u.slab", (unsigned)slab);
}

bool
fg_slab_name_parse(const char *name, uint32_t *slab)
{
	char again[FG_SLAB_NAME];
	char *end;
	unsigned long v = strtoul(name, &end, 10);

	if (end == name || v == 0 || v > UINT32_MAX - 1)
		return false;
	fg_slab_name_format((uint32_t)v, again);
	if (strcmp(again, name) != 0)
		return false;
	*slab = (uint32_t)v;
	return true;
}

static int
compare_ids(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

int
fg_slab_list(const char *dir, uint32_t **ids, size_t *n, struct fg_err *err)
{
	uint32_t *list = NULL, id;
	size_t len = 0, cap = 0;
	DIR *d = opendir(dir);

	if (!d && errno != ENOENT)
		return fg_fail_errno(err, "%s", dir);
	for (struct dirent *e; d && (e = readdir(d)) != NULL;) {
		if (!fg_slab_name_parse(e->d_name, &id))
			continue;
		if (len == cap) {
			cap = FG_MAX(2 * cap, 16u);
			list = fg_realloc(list, cap, sizeof *list);
		}
		list[len++] = id;
	}
	if (d)
		closedir(d);
	if (len > 0)
		qsort(list, len, sizeof *list, compare_ids);
	*ids = list;
	*n = len;
	return 0;
}

/* ------------------------------------------------------------- writing */

static struct fg_slab *
open_slab(const char *dir, uint32_t id, int flags, struct fg_crash *crash,
    struct fg_err *err)
{
	char name[FG_SLAB_NAME];
	struct fg_slab *s;
	char *path;
	int fd;

	fg_slab_name_format(id, name);
	path = fg_asprintf("%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CLOEXEC | flags, 0666);
	if (fd < 0) {
		fg_fail_errno(err, "slab %06u", (unsigned)id);
		free(path);
		return NULL;
	}
	free(path);
	s = fg_calloc(1, sizeof *s);
	s->id = id;
	s->fd = fd;
	snprintf(s->what, sizeof s->what, "slab %06u", (unsigned)id);
	s->crash = crash;
	s->buf = fg_alloc(BUFFER);
	return s;
}

/* The first record of a writer, which also tells to which store the slab belongs. */
static struct fg_slab *
sign(struct fg_slab *s, const uint8_t store_uuid[16], struct fg_err *err)
{
	struct fg_record r = {.type = FG_REC_SLAB};

	memcpy(r.uuid, store_uuid, 16);
	if (fg_slab_append(s, &r, NULL, 0, err) == 0)
		return s;
	fg_slab_close(s);
	return NULL;
}

struct fg_slab *
fg_slab_create(const char *dir, uint32_t id, const uint8_t store_uuid[16],
    struct fg_crash *crash, struct fg_err *err)
{
	struct fg_slab *s = open_slab(dir, id, O_CREAT | O_EXCL, crash, err);

	if (!s)
		return NULL;
	s->new_name = true;
	return sign(s, store_uuid, err);
}

struct fg_slab *
fg_slab_resume(const char *dir, uint32_t id, uint64_t len, const uint8_t store_uuid[16],
    struct fg_crash *crash, struct fg_err *err)
{
	struct fg_slab *s = open_slab(dir, id, 0, crash, err);

	fg_assert(len % 8 == 0);
	if (!s)
		return NULL;
	s->len = len;
	return sign(s, store_uuid, err);
}

void
fg_slab_close(struct fg_slab *s)
{
	if (!s)
		return;
	close(s->fd);
	free(s->buf);
	free(s);
}

static int
flush(struct fg_slab *s, struct fg_err *err)
{
	if (s->buffered == 0)
		return 0;
	if (fg_file_pwrite(s->fd, s->buf, s->buffered, s->len - s->buffered, s->what,
		err) < 0) {
		s->poisoned = true;
		return -1;
	}
	s->buffered = 0;
	return 0;
}

static int
put(struct fg_slab *s, const void *p, size_t n, struct fg_err *err)
{
	if (n > BUFFER - s->buffered && flush(s, err) < 0)
		return -1;
	if (n > BUFFER) {
		if (fg_file_pwrite(s->fd, p, n, s->len, s->what, err) < 0) {
			s->poisoned = true;
			return -1;
		}
	} else if (n > 0) {
		memcpy(s->buf + s->buffered, p, n);
		s->buffered += n;
	}
	s->len += n;
	return 0;
}

int
fg_slab_append(struct fg_slab *s, struct fg_record *r, const void *body, size_t n,
    struct fg_err *err)
{
	uint8_t head[FG_SLAB_HEAD];

	if (s->poisoned)
		return fg_fail(err, FG_EIO, "%s is closed after a failed write",
		    s->what);
	if (n > FG_SLAB_BODY_MAX)
		return fg_fail(err, FG_EFULL, "%zu bytes are too many for one record",
		    n);
	r->slab = s->id;
	r->off = s->len;
	r->len = n;
	r->crc = fg_crc32c(0, body, n);
	fg_slab_head_encode(r, head);
	if (put(s, head, sizeof head, err) < 0 || put(s, body, n, err) < 0)
		return -1;
	return put(s, zeros, (size_t)(-n & 7), err);
}

int
fg_slab_sync(struct fg_slab *s, const char *dir, struct fg_err *err)
{
	if (s->poisoned)
		return fg_fail(err, FG_EIO, "%s is closed after a failed write",
		    s->what);
	if (fg_crash_is_due(s->crash, "slab-half")) {
		s->len -= s->buffered - s->buffered / 2;
		s->buffered /= 2;
		(void)!flush(s, NULL);
		fg_crash_now();
	}
	if (flush(s, err) < 0)
		return -1;
	fg_crash_at(s->crash, "slab-written");
	if (fdatasync(s->fd) < 0) {
		/* The kernel may have dropped the pages and would call a second try a
		 * success: what is in the file since the last sync is unknown. */
		s->poisoned = s->broken = true;
		return fg_fail_errno(err, "%s: sync", s->what);
	}
	fg_crash_at(s->crash, "slab-synced");
	if (s->new_name) {
		if (fg_file_sync_dir(dir, err) < 0) {
			s->poisoned = s->broken = true;
			return -1;
		}
		s->new_name = false;
		fg_crash_at(s->crash, "dir-synced");
	}
	return 0;
}

/* ------------------------------------------------------------- scanning */

/* A window of the file that moves forward. */
struct window {
	int fd;
	const char *what;
	uint64_t off, to; /* of buf[0]; end of the scan */
	size_t have;
	uint8_t *buf;
};

/* At least n bytes at `off` in the window, fewer only at the end; *p points there. */
static int
look(struct window *w, uint64_t off, size_t n, const uint8_t **p, size_t *got,
    struct fg_err *err)
{
	size_t want = (size_t)FG_MIN(w->to - off, (uint64_t)n);

	if (off < w->off || off + want > w->off + w->have) {
		w->off = off;
		w->have = (size_t)FG_MIN(w->to - off, (uint64_t)BUFFER);
		if (fg_file_pread(w->fd, w->buf, w->have, off, w->what, err) < 0)
			return -1;
	}
	*p = w->buf + (off - w->off);
	*got = (size_t)(w->off + w->have - off);
	return 0;
}

/* crc32c of n bytes at off; text (may be NULL) receives a copy of them. */
static int
sum_body(struct window *w, uint64_t off, uint64_t n, char *text, uint32_t *crc,
    struct fg_err *err)
{
	uint32_t c = 0;

	while (n > 0) {
		const uint8_t *p;
		size_t got;

		if (look(w, off, 1, &p, &got, err) < 0)
			return -1;
		got = (size_t)FG_MIN((uint64_t)got, n);
		c = fg_crc32c(c, p, got);
		if (text) {
			memcpy(text, p, got);
			text += got;
		}
		off += got;
		n -= got;
	}
	*crc = c;
	return 0;
}

/* The first multiple of 8 at or after off where the magic stands, or w->to. */
static int
find_magic(struct window *w, uint64_t off, uint64_t *found, struct fg_err *err)
{
	while (off < w->to && w->to - off >= FG_SLAB_HEAD) {
		const uint8_t *p;
		size_t got;

		if (look(w, off, FG_SLAB_HEAD, &p, &got, err) < 0)
			return -1;
		for (size_t i = 0; i + 8 <= got; i += 8) {
			if (memcmp(p + i, magic, 8) == 0) {
				*found = off + i;
				return 0;
			}
		}
		off += got & ~(size_t)7;
		if (got < 8)
			break;
	}
	*found = w->to;
	return 0;
}

/* The record at off, which has a right header: check its body, tell fn. */
static int
visit(struct window *w, const struct fg_record *r, fg_slab_fn *fn, void *ctx,
    bool *whole, struct fg_err *err)
{
	bool text = r->type == FG_REC_LAYER || r->type == FG_REC_COMMIT ||
		    r->type == FG_REC_EDIT || r->type == FG_REC_JOB;
	char *body = NULL;
	uint32_t crc;
	int rc = -1;

	*whole = false;
	if (text && r->len > FG_SLAB_TEXT_MAX)
		return fn(ctx, r, false, NULL);
	if (text) {
		body = fg_try_alloc(r->len + 1, 1);
		if (!body)
			return fg_fail(err, FG_ENOMEM, "%s: no memory for %llu bytes",
			    w->what, (unsigned long long)r->len);
		body[r->len] = '\0';
	}
	if (sum_body(w, r->off + FG_SLAB_HEAD, r->len, body, &crc, err) < 0)
		goto out;
	*whole = crc == r->crc;
	rc = fn(ctx, r, *whole, *whole ? body : NULL);
out:
	free(body);
	return rc;
}

/* One scan: where it is, and since where nothing was recognised. */
struct scan {
	struct window w;
	uint32_t slab;
	uint64_t off, lost;
	bool told; /* fn knows of what begins at lost: a damaged record */
	fg_slab_fn *fn;
	void (*gap)(void *ctx, uint64_t from, uint64_t to);
	void *ctx;
	struct fg_slab_scan *stats;
};

static void
end_gap(struct scan *s, uint64_t at)
{
	if (s->lost < at) {
		s->stats->bad += at - s->lost;
		if (s->gap && !s->told)
			s->gap(s->ctx, s->lost, at);
	}
	s->told = false;
}

/* Look at s->off, where the magic stands, and move on. */
static int
scan_one(struct scan *s, struct fg_err *err)
{
	struct fg_record r;
	const uint8_t *p;
	uint64_t size;
	bool whole;
	size_t got;
	int rc;

	if (look(&s->w, s->off, FG_SLAB_HEAD, &p, &got, err) < 0)
		return -1;
	if (got < FG_SLAB_HEAD || !fg_slab_head_decode(p, s->slab, s->off, &r) ||
	    fg_slab_record_size(r.len) > s->w.to - s->off) {
		s->off += 8;
		return 0;
	}
	size = fg_slab_record_size(r.len);
	end_gap(s, s->off);
	s->lost = s->off;
	rc = visit(&s->w, &r, s->fn, s->ctx, &whole, err);
	if (rc != 0)
		return rc;
	if (whole) {
		s->stats->records++;
		s->stats->good += size;
		s->off += size;
		s->lost = s->off;
	} else {
		/* Its writer may have died in the middle, and what another one appended
		 * lies within the length that this header claims. */
		s->off += FG_SLAB_HEAD;
		s->told = true;
	}
	return 0;
}

int
fg_slab_scan(int fd, uint32_t slab, const char *what, uint64_t from, uint64_t to,
    fg_slab_fn *fn, void (*gap)(void *ctx, uint64_t from, uint64_t to), void *ctx,
    struct fg_slab_scan *stats, struct fg_err *err)
{
	struct scan s = {
	    .w = {.fd = fd, .what = what, .to = to},
	    .slab = slab,
	    .off = (from + 7) & ~UINT64_C(7),
	    .lost = from,
	    .fn = fn,
	    .gap = gap,
	    .ctx = ctx,
	    .stats = stats,
	};
	int rc = 0;

	*stats = (struct fg_slab_scan){0};
	s.w.buf = fg_alloc(BUFFER);
	while (s.off < to && rc == 0) {
		rc = find_magic(&s.w, s.off, &s.off, err);
		if (rc == 0 && s.off < to)
			rc = scan_one(&s, err);
	}
	if (rc == 0)
		end_gap(&s, to);
	free(s.w.buf);
	return rc;
}
