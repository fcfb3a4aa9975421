/* SPDX-License-Identifier: Apache-2.0 */
/*
 * .npz files: a zip of .npy members, see npy.h. Source: PKWARE APPNOTE 6.3.
 *
 * The central directory at the end of the file is what counts: it has the true sizes
 * also where numpy leaves them out of the local headers (it reserves ZIP64 fields
 * there). The local header only says where the bytes begin; its signature and name
 * must agree. Sizes are checked before anything is allocated and the CRC-32 after.
 */
#include "config.h"

#include <libdeflate.h>

#include "formats/npy.h"

#define END_SIZE 22          /* end of central directory, without comment */
#define COMMENT_MAX 65535    /* a comment may follow it */
#define CENTRAL_SIZE 46      /* entry, without name, extra field, comment */
#define LOCAL_SIZE 30        /* header, without name and extra field */
#define HEADER_MAX (1 << 20) /* beside the values in a .npy member */

struct zip {
	const uint8_t *p;
	size_t n;
	size_t central, central_n; /* the central directory's place */
	unsigned members;
};

struct member {
	const char *name; /* not terminated */
	size_t name_n;
	unsigned flags, method;
	uint32_t crc;
	size_t packed, size, local;
	size_t next; /* place of the next entry */
};

/* Find the end record and check what it says. */
static int
zip_open(struct zip *z, const uint8_t *p, size_t n, struct fg_err *err)
{
	size_t at, least;

	if (n < END_SIZE)
		return fg_fail(err, FG_ECORRUPT, "zip: %zu bytes", n);
	least = n - END_SIZE - FG_MIN(n - END_SIZE, COMMENT_MAX);
	for (at = n - END_SIZE;; at--) {
		if (memcmp(p + at, "PK\5\6", 4) == 0 &&
		    at + END_SIZE + fg_get_u16le(p + at + 20) == n)
			break;
		if (at == least)
			return fg_fail(err, FG_ECORRUPT,
			    "zip: no end of central directory in %zu bytes", n);
	}
	*z = (struct zip){.p = p,
	    .n = n,
	    .members = fg_get_u16le(p + at + 10),
	    .central_n = fg_get_u32le(p + at + 12),
	    .central = fg_get_u32le(p + at + 16)};
	if (fg_get_u16le(p + at + 4) != 0 || fg_get_u16le(p + at + 6) != 0 ||
	    fg_get_u16le(p + at + 8) != z->members)
		return fg_fail(err, FG_ENOTSUP, "zip: in several volumes");
	if (z->members == 0xffff || z->central == 0xffffffff ||
	    z->central_n == 0xffffffff)
		return fg_fail(err, FG_ENOTSUP, "zip: ZIP64");
	if (z->central > at || z->central_n != at - z->central)
		return fg_fail(err, FG_ECORRUPT,
		    "zip: central directory of %zu bytes at %zu, its end is at %zu",
		    z->central_n, z->central, at);
	return 0;
}

/* The entry at `at`. */
static int
read_entry(const struct zip *z, size_t at, struct member *m, struct fg_err *err)
{
	size_t end = z->central + z->central_n;
	const uint8_t *e;

	if (at > end || end - at < CENTRAL_SIZE || memcmp(z->p + at, "PK\1\2", 4) != 0)
		return fg_fail(err, FG_ECORRUPT,
		    "zip: no central directory entry at %zu", at);
	e = z->p + at;
	*m = (struct member){.name = (const char *)e + CENTRAL_SIZE,
	    .name_n = fg_get_u16le(e + 28),
	    .flags = fg_get_u16le(e + 8),
	    .method = fg_get_u16le(e + 10),
	    .crc = fg_get_u32le(e + 16),
	    .packed = fg_get_u32le(e + 20),
	    .size = fg_get_u32le(e + 24),
	    .local = fg_get_u32le(e + 42)};
	m->next =
	    at + CENTRAL_SIZE + m->name_n + fg_get_u16le(e + 30) + fg_get_u16le(e + 32);
	if (m->next > end)
		return fg_fail(err, FG_ECORRUPT,
		    "zip: central directory entry at %zu ends at %zu, the directory at "
		    "%zu",
		    at, m->next, end);
	return 0;
}

/* Is the member `name` or `name`.npy? */
static bool
is_named(const struct member *m, const char *name)
{
	size_t n = strlen(name);

	return m->name_n >= n && memcmp(m->name, name, n) == 0 &&
	       (m->name_n == n ||
		   (m->name_n == n + 4 && memcmp(m->name + n, ".npy", 4) == 0));
}

static int
find_member(const struct zip *z, const char *name, struct member *out,
    struct fg_err *err)
{
	size_t at = z->central;
	int found = 0;

	if (!name && z->members != 1)
		return fg_fail(err, FG_EINVAL, "npz: %u members, name one", z->members);
	for (unsigned i = 0; i < z->members; i++) {
		struct member m;

		if (read_entry(z, at, &m, err) < 0)
			return -1;
		if (!name || is_named(&m, name)) {
			*out = m;
			found++;
		}
		at = m.next;
	}
	if (at != z->central + z->central_n)
		return fg_fail(err, FG_ECORRUPT,
		    "zip: central directory ends at %zu, not %zu", at,
		    z->central + z->central_n);
	if (found == 0)
		return fg_fail(err, FG_ENOENT, "npz: no member \"%.80s\"", name);
	if (found > 1)
		return fg_fail(err, FG_ECORRUPT, "npz: %d members \"%.80s\"", found,
		    name);
	return 0;
}

/* The member's packed bytes. */
static int
find_bytes(const struct zip *z, const struct member *m, const uint8_t **out,
    struct fg_err *err)
{
	const uint8_t *l;
	size_t at;

	if (m->local > z->central || z->central - m->local < LOCAL_SIZE ||
	    memcmp(z->p + m->local, "PK\3\4", 4) != 0)
		return fg_fail(err, FG_ECORRUPT, "no local header at %zu", m->local);
	l = z->p + m->local;
	at = m->local + LOCAL_SIZE + fg_get_u16le(l + 26) + fg_get_u16le(l + 28);
	if (at > z->central || m->packed > z->central - at)
		return fg_fail(err, FG_ECORRUPT,
		    "%zu bytes at %zu reach into the central directory at %zu",
		    m->packed, at, z->central);
	if (fg_get_u16le(l + 26) != m->name_n ||
	    memcmp(l + LOCAL_SIZE, m->name, m->name_n) != 0 ||
	    fg_get_u16le(l + 8) != m->method)
		return fg_fail(err, FG_ECORRUPT,
		    "local header at %zu disagrees with the central directory",
		    m->local);
	*out = z->p + at;
	return 0;
}

static int
inflate(const struct member *m, const uint8_t *p, struct fg_buf *to, struct fg_err *err)
{
	struct libdeflate_decompressor *d = libdeflate_alloc_decompressor();
	enum libdeflate_result r;
	size_t used;

	if (!d)
		return fg_fail(err, FG_ENOMEM, "no memory for a decompressor");
	r = libdeflate_deflate_decompress_ex(d, p, m->packed, to->data, m->size, &used,
	    NULL);
	libdeflate_free_decompressor(d);
	if (r != LIBDEFLATE_SUCCESS || used != m->packed)
		return fg_fail(err, FG_ECORRUPT,
		    "%zu packed bytes do not unpack to %zu", m->packed, m->size);
	return 0;
}

static int
read_member(const struct zip *z, const struct member *m, size_t limit,
    struct fg_buf **out, struct fg_err *err)
{
	struct fg_buf *b;
	const uint8_t *p = NULL;
	uint32_t crc;

	if (m->flags & 1)
		return fg_fail(err, FG_ENOTSUP, "encrypted");
	if (m->method != 0 && m->method != 8)
		return fg_fail(err, FG_ENOTSUP, "compression method %u", m->method);
	if (m->size > limit && m->size - limit > HEADER_MAX)
		return fg_fail(err, FG_EINVAL, "%zu bytes, above %zu", m->size, limit);
	if (find_bytes(z, m, &p, err) < 0)
		return -1;
	if (m->method == 0 && m->packed != m->size)
		return fg_fail(err, FG_ECORRUPT, "stored as %zu bytes, not %zu",
		    m->packed, m->size);
	if (m->size / 1032 > m->packed) /* more than deflate can do */
		return fg_fail(err, FG_ECORRUPT, "%zu packed bytes cannot make %zu",
		    m->packed, m->size);
	b = fg_buf_new(m->size);
	if (!b)
		return fg_fail(err, FG_ENOMEM, "no memory for %zu bytes", m->size);
	if (m->method == 0) {
		if (m->size > 0)
			memcpy(b->data, p, m->size);
	} else if (inflate(m, p, b, err) < 0) {
		fg_buf_unref(b);
		return -1;
	}
	crc = libdeflate_crc32(0, b->data, b->len);
	if (crc != m->crc) {
		fg_buf_unref(b);
		return fg_fail(err, FG_ECORRUPT, "CRC-32 is %08x, not %08x", crc,
		    m->crc);
	}
	*out = b;
	return 0;
}

int
fg_npz_decode(const uint8_t *p, size_t n, const char *name, size_t limit,
    struct fg_array *out, struct fg_err *err)
{
	struct zip z = {.p = NULL};
	struct member m = {.name = NULL};
	struct fg_buf *b = NULL;
	int rc;

	if (zip_open(&z, p, n, err) < 0 || find_member(&z, name, &m, err) < 0)
		return -1;
	rc = read_member(&z, &m, limit, &b, err);
	if (rc == 0) {
		rc = fg_npy_decode(b->data, b->len, limit, out, err);
		fg_buf_unref(b);
	}
	if (rc < 0)
		fg_err_prefix(err, "npz: member %.*s", (int)FG_MIN(m.name_n, 80u),
		    m.name);
	return rc;
}
