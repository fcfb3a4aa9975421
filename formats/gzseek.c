/* SPDX-License-Identifier: Apache-2.0 */
/* Seeking in gzip files, by zlib (the only file that includes it): see the header. */
#include "config.h"

#include "formats/gzseek.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include <zlib.h>

#define WINDOW 32768
#define MARKS_MAX 512
#define SPAN_MIN ((uint64_t)1 << 20)
#define CHUNK 65536

/* Where inflating can begin anew. */
struct mark {
	uint64_t in, out; /* bytes of the file, and unpacked, before it */
	int bits;         /* of the byte before `in` that belong behind it */
	uint8_t window[WINDOW];
};

struct fg_gzseek {
	int fd;
	uint64_t span;
	struct mark *mark[MARKS_MAX];
	size_t marks;

	z_stream z;
	bool live;     /* z is in use */
	bool raw;      /* begun at a mark: no header, the trailer is ours to skip */
	bool ended;    /* the file ends here */
	uint64_t read; /* bytes of the file that went into `in` */
	uint64_t out;  /* unpacked bytes so far */
	uint8_t in[CHUNK];
	/* The last 32 KiB that were unpacked, as a ring. */
	uint8_t window[WINDOW];
	size_t at;
};

struct fg_gzseek *
fg_gzseek_open(int fd, uint64_t size, struct fg_err *err)
{
	struct fg_gzseek *g;
	uint8_t head[2];

	if (pread(fd, head, sizeof head, 0) != (ssize_t)sizeof head ||
	    head[0] != 0x1f || head[1] != 0x8b)
		return fg_fail_null(err, FG_ECORRUPT, "no gzip file");
	g = fg_calloc(1, sizeof *g);
	g->fd = fd;
	g->span = FG_MAX(size / (MARKS_MAX - 1), SPAN_MIN);
	return g;
}

static void
end_stream(struct fg_gzseek *g)
{
	if (g->live)
		inflateEnd(&g->z);
	g->live = false;
}

void
fg_gzseek_close(struct fg_gzseek *g)
{
	if (!g)
		return;
	end_stream(g);
	for (size_t i = 0; i < g->marks; i++)
		free(g->mark[i]);
	free(g);
}

static int
fail_zlib(const struct fg_gzseek *g, struct fg_err *err)
{
	return fg_fail(err, FG_ECORRUPT, "gzip: %s behind byte %llu",
	    g->z.msg ? g->z.msg : "damaged",
	    (unsigned long long)(g->read - g->z.avail_in));
}

/* More bytes of the file; at its end g->ended. */
static int
fill(struct fg_gzseek *g, struct fg_err *err)
{
	ssize_t n;

	if (g->z.avail_in > 0)
		return 0;
	do
		n = pread(g->fd, g->in, sizeof g->in, (off_t)g->read);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return fg_fail_errno(err, "gzip");
	g->ended = n == 0;
	g->read += (uint64_t)n;
	g->z.next_in = g->in;
	g->z.avail_in = (uInt)n;
	return 0;
}

static int
begin(struct fg_gzseek *g, const struct mark *m, struct fg_err *err)
{
	end_stream(g);
	g->z = (z_stream){0};
	/* 47: a gzip header is wanted; -15: none */
	if (inflateInit2(&g->z, m ? -15 : 47) != Z_OK)
		return fg_fail(err, FG_ENOMEM, "gzip: no memory");
	g->live = true;
	g->raw = m != NULL;
	g->ended = false;
	g->read = g->out = g->at = 0;
	if (!m)
		return 0;
	g->read = m->in - (m->bits > 0);
	g->out = m->out;
	memcpy(g->window, m->window, WINDOW);
	if (fill(g, err) < 0)
		return -1;
	if (m->bits > 0 && g->z.avail_in > 0) {
		int byte = *g->z.next_in++;

		g->z.avail_in--;
		inflatePrime(&g->z, m->bits, byte >> (8 - m->bits));
	}
	return inflateSetDictionary(&g->z, g->window, WINDOW) == Z_OK
		   ? 0
		   : fail_zlib(g, err);
}

/* At the border of two blocks: set a mark if the last one is far enough behind. */
static void
set_mark(struct fg_gzseek *g)
{
	uint64_t last = g->marks ? g->mark[g->marks - 1]->out : 0;
	struct mark *m;

	if (g->marks == MARKS_MAX || g->out < last + g->span || g->out < WINDOW)
		return;
	m = fg_alloc(sizeof *m);
	m->in = g->read - g->z.avail_in;
	m->out = g->out;
	m->bits = g->z.data_type & 7;
	memcpy(m->window, g->window + g->at, WINDOW - g->at);
	memcpy(m->window + (WINDOW - g->at), g->window, g->at);
	g->mark[g->marks++] = m;
}

/* A member has ended: step over its trailer to the next one. */
static int
next_member(struct fg_gzseek *g, struct fg_err *err)
{
	for (int i = g->raw ? 8 : 0; i > 0; i--) { /* CRC-32 and length */
		if (fill(g, err) < 0)
			return -1;
		if (g->ended)
			return 0;
		g->z.next_in++;
		g->z.avail_in--;
	}
	if (fill(g, err) < 0)
		return -1;
	g->raw = false;
	if (!g->ended && inflateReset2(&g->z, 47) != Z_OK)
		return fail_zlib(g, err);
	return 0;
}

/* Unpack at least one byte into the ring, at most `most`; *n = 0 at the end. */
static int
unpack(struct fg_gzseek *g, size_t most, size_t *n, struct fg_err *err)
{
	size_t room = FG_MIN(WINDOW - g->at, most);

	*n = 0;
	while (*n == 0) {
		int rc;

		if (fill(g, err) < 0)
			return -1;
		if (g->ended)
			return 0;
		g->z.next_out = g->window + g->at;
		g->z.avail_out = (uInt)room;
		rc = inflate(&g->z, Z_BLOCK);
		if (rc != Z_OK && rc != Z_STREAM_END && rc != Z_BUF_ERROR)
			return fail_zlib(g, err);
		*n = room - g->z.avail_out;
		g->at = (g->at + *n) % WINDOW;
		g->out += *n;
		if (rc == Z_STREAM_END) {
			if (next_member(g, err) < 0)
				return -1;
		} else if ((g->z.data_type & 128) && !(g->z.data_type & 64)) {
			set_mark(g);
		}
	}
	return 0;
}

/* The stream is brought before off: at a mark, if one is nearer than where it is. */
static int
seek(struct fg_gzseek *g, uint64_t off, struct fg_err *err)
{
	const struct mark *m = NULL;

	for (size_t i = 0; i < g->marks && g->mark[i]->out <= off; i++)
		m = g->mark[i];
	if (g->live && g->out <= off && (!m || m->out <= g->out))
		return 0;
	return begin(g, m, err);
}

int
fg_gzseek_read(struct fg_gzseek *g, uint64_t off, void *p, size_t n, struct fg_err *err)
{
	uint64_t end = off + n;
	uint8_t *to = p;

	if (seek(g, off, err) < 0)
		goto fail;
	while (g->out < end) {
		uint64_t was = g->out;
		size_t at = g->at, got, skip;

		/* Never beyond the end, so that the next read can go on from there. */
		if (unpack(g, (size_t)FG_MIN(end - was, WINDOW), &got, err) < 0)
			goto fail;
		if (got == 0) {
			fg_fail(err, FG_ECORRUPT,
			    "gzip: ends after %llu bytes unpacked",
			    (unsigned long long)g->out);
			goto fail;
		}
		skip = was < off ? (size_t)FG_MIN(off - was, got) : 0;
		memcpy(to, g->window + at + skip, got - skip);
		to += got - skip;
	}
	return 0;
fail:
	end_stream(g);
	return -1;
}
