/* SPDX-License-Identifier: Apache-2.0 */
/*
 * .npy files: see the header.
 *
 *   \x93NUMPY major minor | header length (2 or 4 bytes) | header | values
 *
 * The header is a Python dictionary of three keys written by numpy, e.g.
 *   {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }
 * and read here by a small scanner for exactly that subset of Python.
 */
#include "config.h"

#include "formats/npy.h"

#include <stdlib.h>

struct header {
	char kind; /* b i u f */
	bool big;  /* big-endian */
	size_t size;
	bool fortran;
	int rank;
	int64_t shape[4];
	bool has_descr, has_order, has_shape;
};

/* --- the dictionary */

struct scan {
	const char *p, *end;
};

static void
skip_blanks(struct scan *s)
{
	while (s->p < s->end && (*s->p == ' ' || *s->p == '\n' || *s->p == '\t'))
		s->p++;
}

/* The word next, after blanks? Then step over it. */
static bool
take(struct scan *s, const char *word)
{
	size_t n = strlen(word);

	skip_blanks(s);
	if ((size_t)(s->end - s->p) < n || memcmp(s->p, word, n) != 0)
		return false;
	s->p += n;
	return true;
}

/* A string in single or double quotes, without escapes. */
static bool
take_string(struct scan *s, char *out, size_t cap)
{
	char quote;
	size_t n = 0;

	skip_blanks(s);
	if (s->p == s->end || (*s->p != '\'' && *s->p != '"'))
		return false;
	quote = *s->p++;
	while (s->p < s->end && *s->p != quote) {
		if (*s->p == '\\' || n + 1 == cap)
			return false;
		out[n++] = *s->p++;
	}
	out[n] = '\0';
	return take(s, quote == '"' ? "\"" : "'");
}

static bool
take_number(struct scan *s, int64_t *out)
{
	const char *from;
	int64_t v = 0;

	skip_blanks(s);
	from = s->p;
	for (; s->p < s->end && *s->p >= '0' && *s->p <= '9'; s->p++) {
		if (__builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, *s->p - '0', &v))
			return false;
	}
	*out = v;
	return s->p > from;
}

/* (), (3,), (3, 4) ...; Python 2 wrote 3L. */
static bool
take_shape(struct scan *s, struct header *h)
{
	int64_t v;

	h->rank = 0;
	if (!take(s, "("))
		return false;
	if (take(s, ")"))
		return true;
	while (h->rank < 32 && take_number(s, &v)) {
		if (h->rank < 4)
			h->shape[h->rank] = v;
		h->rank++;
		if (s->p < s->end && *s->p == 'L')
			s->p++;
		if (take(s, ")"))
			return h->rank > 1; /* (3) is no tuple */
		if (!take(s, ","))
			return false;
		if (take(s, ")"))
			return true;
	}
	return false;
}

static int
parse_descr(const char *descr, struct header *h, struct fg_err *err)
{
	const char *d = descr;

	if (*d && strchr("<>|=", *d))
		d++;
	h->big = descr[0] == '>';
	h->kind = d[0];
	h->size =
	    d[0] && d[1] >= '1' && d[1] <= '9' && !d[2] ? (size_t)(d[1] - '0') : 0;
	if (h->kind == 'O')
		return fg_fail(err, FG_ENOTSUP, "npy: pickled objects are not read");
	if ((strchr("iu", h->kind) && h->kind &&
		(h->size == 1 || h->size == 2 || h->size == 4 || h->size == 8)) ||
	    (h->kind == 'f' && h->size == 4) || (h->kind == 'b' && h->size == 1))
		return 0;
	return fg_fail(err, FG_ENOTSUP, "npy: values of type \"%.20s\"", descr);
}

static int
parse_dictionary(struct scan s, struct header *h, struct fg_err *err)
{
	char key[32], descr[64];
	bool ok = take(&s, "{");

	while (ok && !take(&s, "}")) {
		ok = take_string(&s, key, sizeof key) && take(&s, ":");
		if (!ok)
			break;
		if (strcmp(key, "descr") == 0) {
			skip_blanks(&s);
			if (s.p < s.end && *s.p == '[')
				return fg_fail(err, FG_ENOTSUP,
				    "npy: records are not read");
			ok = h->has_descr = take_string(&s, descr, sizeof descr);
			if (ok && parse_descr(descr, h, err) < 0)
				return -1;
		} else if (strcmp(key, "fortran_order") == 0) {
			h->fortran = take(&s, "True");
			ok = h->has_order = h->fortran || take(&s, "False");
		} else if (strcmp(key, "shape") == 0) {
			ok = h->has_shape = take_shape(&s, h);
		} else {
			return fg_fail(err, FG_ECORRUPT, "npy: header has key \"%s\"",
			    key);
		}
		if (ok && !take(&s, ",")) {
			ok = take(&s, "}");
			break;
		}
	}
	skip_blanks(&s);
	if (!ok || s.p != s.end || !h->has_descr || !h->has_order || !h->has_shape)
		return fg_fail(err, FG_ECORRUPT,
		    "npy: header is not a dictionary of descr, fortran_order and "
		    "shape");
	return 0;
}

/* Header and where the values begin. */
static int
parse_header(const uint8_t *p, size_t n, struct header *h, size_t *values,
    struct fg_err *err)
{
	size_t at, len;

	if (n < 12)
		return fg_fail(err, FG_ECORRUPT,
		    "npy: no magic bytes in %zu, a header has 12 or more", n);
	if (memcmp(p, "\x93NUMPY", 6) != 0)
		return fg_fail(err, FG_ECORRUPT,
		    "npy: no magic bytes: begins with %08x, wanted 934e554d",
		    __builtin_bswap32(fg_get_u32le(p)));
	if (p[6] < 1 || p[6] > 3)
		return fg_fail(err, FG_ENOTSUP, "npy: format %u.%u", p[6], p[7]);
	at = p[6] == 1 ? 10 : 12;
	len = p[6] == 1 ? fg_get_u16le(p + 8) : fg_get_u32le(p + 8);
	if (len > n - at)
		return fg_fail(err, FG_ECORRUPT,
		    "npy: header of %zu bytes in a file of %zu", len, n);
	*values = at + len;
	memset(h, 0, sizeof *h);
	return parse_dictionary((struct scan){(const char *)p + at,
				    (const char *)p + at + len},
	    h, err);
}

/* --- values */

static enum fg_dtype
dtype_of(const struct header *h)
{
	bool i = h->kind == 'i';

	if (h->kind == 'f')
		return FG_F32;
	switch (h->size) {
	case 1:
		return i ? FG_I8 : FG_U8;
	case 2:
		return i ? FG_I16 : FG_U16;
	case 4:
		return i ? FG_I32 : FG_U32;
	default:
		return FG_U64;
	}
}

/* Our shape: x fastest, channel last. */
static int
shape_of(const struct header *h, int64_t shape[4], struct fg_err *err)
{
	if (h->rank < 1 || h->rank > 4)
		return fg_fail(err, FG_ENOTSUP, "npy: array of %d axes, not 1 to 4",
		    h->rank);
	for (int d = 0; d < 4; d++)
		shape[d] = 1;
	int space = FG_MIN(h->rank, 3);
	for (int d = 0; d < space; d++)
		shape[d] = h->shape[h->fortran ? d : space - 1 - d];
	if (h->rank == 4)
		shape[3] = h->shape[3];
	return 0;
}

static void
swap_bytes(void *data, size_t n, size_t size)
{
	uint8_t *p = data;

	for (size_t i = 0; i < n; i++, p += size) {
		for (size_t k = 0; k < size / 2; k++) {
			uint8_t b = p[k];

			p[k] = p[size - 1 - k];
			p[size - 1 - k] = b;
		}
	}
}

/* Values of `size` bytes: n groups of c <-> c planes of n. */
static void
transpose(const uint8_t *from, size_t n, size_t c, size_t size, uint8_t *to)
{
	if (n == 0) /* c may be anything then */
		return;
	for (size_t k = 0; k < c; k++) {
		for (size_t i = 0; i < n; i++, to += size)
			memcpy(to, from + (i * c + k) * size, size);
	}
}

/* What the dtype promises but the bytes may break. */
static int
check_values(const struct header *h, const struct fg_array *a, struct fg_err *err)
{
	size_t n = fg_array_count(a);

	for (size_t i = 0; h->kind == 'i' && h->size == 8 && i < n; i++) {
		int64_t v = ((const int64_t *)a->data)[i];

		if (v < 0)
			return fg_fail(err, FG_ENOTSUP,
			    "npy: int64 value %lld at %zu is negative", (long long)v,
			    i);
	}
	for (size_t i = 0; h->kind == 'b' && i < n; i++) {
		uint8_t v = ((const uint8_t *)a->data)[i];

		if (v > 1)
			return fg_fail(err, FG_ECORRUPT, "npy: bool value %u at %zu", v,
			    i);
	}
	return 0;
}

/* The bytes of an array of that shape; false on overflow. */
static bool
byte_count(const int64_t shape[4], size_t size, size_t *bytes)
{
	*bytes = size;
	for (int d = 0; d < 4; d++) {
		if (__builtin_mul_overflow(*bytes, (size_t)shape[d], bytes))
			return false;
	}
	return true;
}

int
fg_npy_probe(const uint8_t *p, size_t n, struct fg_npy_head *out, struct fg_err *err)
{
	struct header h;
	size_t at;

	if (parse_header(p, n, &h, &at, err) < 0)
		return -1;
	if (h.rank < 1 || h.rank > 4)
		return fg_fail(err, FG_ENOTSUP, "npy: array of %d axes, not 1 to 4",
		    h.rank);
	*out = (struct fg_npy_head){
	    .dtype = dtype_of(&h),
	    .is_signed64 = h.kind == 'i' && h.size == 8,
	    .swap = h.big,
	    .fortran = h.fortran,
	    .rank = h.rank,
	    .values = at,
	};
	memcpy(out->shape, h.shape, sizeof out->shape);
	return 0;
}

int
fg_npy_decode(const uint8_t *p, size_t n, size_t limit, struct fg_array *out,
    struct fg_err *err)
{
	struct header h;
	struct fg_array a;
	int64_t shape[4];
	size_t at = 0, bytes;

	if (parse_header(p, n, &h, &at, err) < 0 || shape_of(&h, shape, err) < 0)
		return -1;
	if (!byte_count(shape, h.size, &bytes) || bytes > limit)
		return fg_fail(err, FG_EINVAL,
		    "npy: array of %lld x %lld x %lld x %lld values is above %zu bytes",
		    (long long)shape[0], (long long)shape[1], (long long)shape[2],
		    (long long)shape[3], limit);
	if (n - at != bytes)
		return fg_fail(err, FG_ECORRUPT,
		    "npy: %zu bytes of values, the shape asks for %zu", n - at, bytes);
	if (fg_array_init(&a, dtype_of(&h), shape, err) < 0)
		return -1;
	if (h.rank == 4 && !h.fortran)
		transpose(p + at, bytes / h.size / FG_MAX((size_t)shape[3], 1u),
		    (size_t)shape[3], h.size, a.data);
	else if (bytes > 0)
		memcpy(a.data, p + at, bytes);
	if (h.big)
		swap_bytes(a.data, bytes / h.size, h.size);
	if (check_values(&h, &a, err) < 0) {
		fg_array_fini(&a);
		return -1;
	}
	*out = a;
	return 0;
}

int
fg_npy_encode(const struct fg_array *in, struct fg_buf **out, struct fg_err *err)
{
	static const char *const descr[FG_DTYPES] = {
	    [FG_U8] = "|u1",
	    [FG_I8] = "|i1",
	    [FG_U16] = "<u2",
	    [FG_I16] = "<i2",
	    [FG_U32] = "<u4",
	    [FG_I32] = "<i4",
	    [FG_U64] = "<u8",
	    [FG_F32] = "<f4",
	};
	const int64_t *n = in->shape;
	struct fg_str head = FG_STR_INIT;
	size_t bytes = fg_array_bytes(in), size = fg_dtype_size(in->dtype);
	size_t voxels = (size_t)(n[0] * n[1] * n[2]);
	struct fg_buf *b;

	fg_str_put(&head, "\x93NUMPY\1\0\0\0", 10);
	fg_str_putf(&head,
	    "{'descr': '%s', 'fortran_order': False, 'shape': (%lld, %lld, "
	    "%lld%s",
	    descr[in->dtype], (long long)n[2], (long long)n[1], (long long)n[0],
	    n[3] == 1 ? "" : ", ");
	if (n[3] != 1)
		fg_str_putf(&head, "%lld", (long long)n[3]);
	fg_str_puts(&head, "), }");
	while (head.len % 64 != 63)
		fg_str_puts(&head, " ");
	fg_str_puts(&head, "\n");
	fg_put_u16le(head.data + 8, (uint16_t)(head.len - 10));
	b = fg_buf_new(head.len + bytes);
	if (!b) {
		fg_str_fini(&head);
		return fg_fail(err, FG_ENOMEM, "no memory for %zu bytes", bytes);
	}
	memcpy(b->data, head.data, head.len);
	/* Planes back to groups: the same transposition with the extents exchanged. */
	if (bytes > 0)
		transpose(in->data, (size_t)n[3], voxels, size, b->data + head.len);
	fg_str_fini(&head);
	*out = b;
	return 0;
}
