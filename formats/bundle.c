/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TensorBundle reader: see the header.
 *
 *   NAME.index   blocks, each followed by a compression byte and a masked CRC-32C of
 *                contents and that byte; the last 48 bytes (footer) say where the
 *                metaindex and index blocks are and end with a magic number
 *   index block  records: key >= last key of a data block -> its place
 *   data blocks  records in key order: "" -> BundleHeaderProto, else tensor name ->
 *                BundleEntryProto
 *   block        records with prefix-compressed keys, then restart offsets (records
 *                with a full key), then their number
 *   NAME.data    the tensors' bytes; each entry has their place and checksum
 *
 * Opening reads everything once: every block's checksum, the order of all keys, and
 * every tensor's extent and checksum. After that only plain look-ups are left, which
 * cannot fail. No protobuf library is needed for three small messages; unknown fields
 * are stepped over as protobuf asks.
 */
#include "config.h"

#include "formats/bundle.h"

#include <stdlib.h>

#include "base/buf.h"
#include "base/hash.h"

#define FOOTER 48
#define TRAILER 5 /* behind each block: compression, crc */
#define MAGIC UINT64_C(0xdb4775248b80fb57)
#define KEY_MAX 4096
#define BUNDLE_VERSION 1 /* of bundles: what we can read */

struct bytes {
	const uint8_t *p;
	size_t n;
};

struct fg_bundle {
	struct fg_tensor *tensors; /* in key order; owns the names */
	size_t n, cap;
	struct bytes index, data;
	size_t total;           /* bytes of all tensors */
	struct fg_str last_key; /* of the records read so far */
	bool has_header, has_key;
};

/* --- varints and protobuf fields */

static bool
take_varint(struct bytes *b, uint64_t *out)
{
	uint64_t v = 0;

	for (size_t i = 0; i < b->n && i < 10; i++) {
		if (i == 9 && b->p[i] > 1)
			return false;
		v |= (uint64_t)(b->p[i] & 0x7f) << (7 * i);
		if (b->p[i] < 0x80) {
			b->p += i + 1;
			b->n -= i + 1;
			*out = v;
			return true;
		}
	}
	return false;
}

static bool
take_varint32(struct bytes *b, uint32_t *out)
{
	uint64_t v;

	if (!take_varint(b, &v) || v > UINT32_MAX)
		return false;
	*out = (uint32_t)v;
	return true;
}

static bool
take_bytes(struct bytes *b, size_t n, struct bytes *out)
{
	if (n > b->n)
		return false;
	*out = (struct bytes){b->p, n};
	b->p += n;
	b->n -= n;
	return true;
}

struct field {
	uint32_t number, wire;
	uint64_t value;     /* wire 0, 1, 5 */
	struct bytes bytes; /* wire 2 */
};

enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };

/* 1: a field, 0: the end, -1: not protobuf. */
static int
take_field(struct bytes *b, struct field *f)
{
	uint32_t tag;
	uint64_t n;

	if (b->n == 0)
		return 0;
	if (!take_varint32(b, &tag) || tag >> 3 == 0)
		return -1;
	*f = (struct field){.number = tag >> 3, .wire = tag & 7};
	switch (f->wire) {
	case VARINT:
		return take_varint(b, &f->value) ? 1 : -1;
	case FIXED64:
		if (!take_bytes(b, 8, &f->bytes))
			return -1;
		f->value = fg_get_u64le(f->bytes.p);
		return 1;
	case FIXED32:
		if (!take_bytes(b, 4, &f->bytes))
			return -1;
		f->value = fg_get_u32le(f->bytes.p);
		return 1;
	case BYTES:
		return take_varint(b, &n) && take_bytes(b, n, &f->bytes) ? 1 : -1;
	default: /* groups are not used in these messages */
		return -1;
	}
}

static bool
is_field(const struct field *f, uint32_t number, uint32_t wire)
{
	return f->number == number && f->wire == wire;
}

/* --- the two messages */

static int
parse_version(struct bytes b, struct fg_err *err)
{
	struct field f;
	int rc;

	while ((rc = take_field(&b, &f)) > 0) {
		/* VersionDef.min_consumer */
		if (is_field(&f, 2, VARINT) && f.value > BUNDLE_VERSION)
			return fg_fail(err, FG_ENOTSUP,
			    "index asks for readers of version %llu, this one is %d",
			    (unsigned long long)f.value, BUNDLE_VERSION);
	}
	if (rc < 0)
		return fg_fail(err, FG_ECORRUPT, "index: version is not a message");
	return 0;
}

static int
parse_header(struct bytes b, struct fg_err *err)
{
	uint64_t shards = 0, endian = 0;
	struct field f;
	int rc;

	while ((rc = take_field(&b, &f)) > 0) {
		if (is_field(&f, 1, VARINT))
			shards = f.value;
		else if (is_field(&f, 2, VARINT))
			endian = f.value;
		else if (is_field(&f, 3, BYTES) && parse_version(f.bytes, err) < 0)
			return -1;
	}
	if (rc < 0)
		return fg_fail(err, FG_ECORRUPT, "index: header is not a message");
	if (shards != 1)
		return fg_fail(err, FG_ENOTSUP, "%llu data files, not 1",
		    (unsigned long long)shards);
	if (endian != 0)
		return fg_fail(err, FG_ENOTSUP, "big-endian data");
	return 0;
}

/* TensorShapeProto: repeated dim = 2 {size = 1}, unknown_rank = 3. */
static int
parse_shape(struct bytes b, struct fg_tensor *t, struct fg_err *err)
{
	struct field f, g;
	int rc, sub;

	while ((rc = take_field(&b, &f)) > 0) {
		uint64_t size = 0;

		if (is_field(&f, 3, VARINT) && f.value)
			return fg_fail(err, FG_ECORRUPT, "shape of unknown rank");
		if (!is_field(&f, 2, BYTES))
			continue;
		while ((sub = take_field(&f.bytes, &g)) > 0) {
			if (is_field(&g, 1, VARINT))
				size = g.value;
		}
		if (sub < 0)
			break;
		if (t->rank == FG_TENSOR_RANK_MAX)
			return fg_fail(err, FG_ENOTSUP, "more than %d dimensions",
			    FG_TENSOR_RANK_MAX);
		if (size > INT64_MAX)
			return fg_fail(err, FG_ECORRUPT, "dimension %d is %lld",
			    t->rank, (long long)size);
		t->shape[t->rank++] = (int64_t)size;
	}
	if (rc != 0)
		return fg_fail(err, FG_ECORRUPT, "shape is not a message");
	return 0;
}

struct entry {
	struct fg_tensor tensor;
	uint64_t type, shard, offset, size;
	uint32_t crc;
	bool sliced;
};

static int
parse_entry(struct bytes b, struct entry *e, struct fg_err *err)
{
	struct field f;
	int rc;

	memset(e, 0, sizeof *e);
	while ((rc = take_field(&b, &f)) > 0) {
		if (is_field(&f, 1, VARINT))
			e->type = f.value;
		else if (is_field(&f, 3, VARINT))
			e->shard = f.value;
		else if (is_field(&f, 4, VARINT))
			e->offset = f.value;
		else if (is_field(&f, 5, VARINT))
			e->size = f.value;
		else if (is_field(&f, 6, FIXED32))
			e->crc = (uint32_t)f.value;
		else if (is_field(&f, 7, BYTES))
			e->sliced = true;
		else if (is_field(&f, 2, BYTES) &&
			 parse_shape(f.bytes, &e->tensor, err) < 0)
			return -1;
	}
	if (rc < 0)
		return fg_fail(err, FG_ECORRUPT, "entry is not a message");
	return 0;
}

/* --- tensors */

/* Bytes of a value; 0 for types that we leave out. */
static size_t
type_size(uint64_t type)
{
	switch (type) {
	case FG_TENSOR_F32:
	case FG_TENSOR_I32:
		return 4;
	case FG_TENSOR_F64:
	case FG_TENSOR_I64:
		return 8;
	case FG_TENSOR_BF16:
	case FG_TENSOR_F16:
		return 2;
	default:
		return 0;
	}
}

static uint32_t
masked_crc(const uint8_t *p, size_t n)
{
	uint32_t c = fg_crc32c(0, p, n);

	return (c >> 15 | c << 17) + UINT32_C(0xa282ead8);
}

static int
check_entry(struct fg_bundle *b, struct entry *e, struct fg_err *err)
{
	struct fg_tensor *t = &e->tensor;
	size_t want = type_size(e->type);

	if (e->sliced)
		return fg_fail(err, FG_ENOTSUP, "partitioned tensor");
	if (e->shard != 0)
		return fg_fail(err, FG_ECORRUPT, "in data file %llu of 1",
		    (unsigned long long)e->shard);
	if (e->offset > b->data.n || e->size > b->data.n - e->offset)
		return fg_fail(err, FG_ECORRUPT,
		    "%llu bytes at %llu, but the data file has %zu",
		    (unsigned long long)e->size, (unsigned long long)e->offset,
		    b->data.n);
	/* They lie side by side; this also bounds the time for their checksums. */
	b->total += e->size;
	if (b->total > b->data.n)
		return fg_fail(err, FG_ECORRUPT, "overlaps another tensor");
	if (want == 0)
		return 0;
	for (int d = 0; d < t->rank; d++) {
		if (__builtin_mul_overflow(want, (size_t)t->shape[d], &want))
			return fg_fail(err, FG_ECORRUPT, "shape is too large");
	}
	if (want != e->size)
		return fg_fail(err, FG_ECORRUPT,
		    "has %llu bytes, its shape asks for %zu",
		    (unsigned long long)e->size, want);
	t->type = (enum fg_tensor_type)e->type;
	t->data = b->data.p + e->offset;
	t->bytes = want;
	uint32_t crc = masked_crc(t->data, want);
	if (crc != e->crc)
		return fg_fail(err, FG_ECORRUPT,
		    "checksum of the data is %08x, not %08x", crc, e->crc);
	return 0;
}

/* One record of a data block, in key order. */
static int
add_record(struct fg_bundle *b, struct bytes key, struct bytes value,
    struct fg_err *err)
{
	struct entry e;

	if (key.n == 0) {
		b->has_header = true;
		return parse_header(value, err);
	}
	if (!b->has_header)
		return fg_fail(err, FG_ECORRUPT, "index has no header record");
	if (memchr(key.p, 0, key.n))
		return fg_fail(err, FG_ECORRUPT, "index: tensor name with a zero byte");
	if (parse_entry(value, &e, err) < 0 || check_entry(b, &e, err) < 0)
		return fg_err_prefix(err, "tensor %.*s", (int)FG_MIN(key.n, 128u),
		    (const char *)key.p);
	if (type_size(e.type) == 0)
		return 0;
	if (b->n == b->cap) {
		b->cap = b->cap ? 2 * b->cap : 64;
		b->tensors = fg_realloc(b->tensors, b->cap, sizeof *b->tensors);
	}
	e.tensor.name = fg_strndup((const char *)key.p, key.n);
	b->tensors[b->n++] = e.tensor;
	return 0;
}

/* --- blocks */

struct place {
	uint64_t offset, size;
};

static bool
take_place(struct bytes *b, struct place *out)
{
	return take_varint(b, &out->offset) && take_varint(b, &out->size);
}

/* Contents of the block there, checksum verified. */
static int
find_block(const struct fg_bundle *b, const struct place *at, const char *what,
    struct bytes *out, struct fg_err *err)
{
	size_t end = b->index.n - FOOTER; /* the blocks lie before the footer */
	const uint8_t *p;
	uint32_t crc, want;

	if (at->offset > end || at->size > end - at->offset ||
	    end - at->offset - at->size < TRAILER)
		return fg_fail(err, FG_ECORRUPT,
		    "index: %s block of %llu bytes at %llu, file has %zu", what,
		    (unsigned long long)at->size, (unsigned long long)at->offset,
		    b->index.n);
	p = b->index.p + at->offset;
	crc = masked_crc(p, at->size + 1);
	want = fg_get_u32le(p + at->size + 1);
	if (crc != want)
		return fg_fail(err, FG_ECORRUPT,
		    "index: checksum of the %s block at %llu is %08x, not %08x", what,
		    (unsigned long long)at->offset, crc, want);
	if (p[at->size] != 0)
		return fg_fail(err, FG_ENOTSUP,
		    "index: %s block at %llu is compressed (type %u)", what,
		    (unsigned long long)at->offset, p[at->size]);
	*out = (struct bytes){p, at->size};
	return 0;
}

/* Walk over the records of a block. */
struct cursor {
	struct bytes records, rest; /* all, and those not read yet */
	const uint8_t *restarts;
	uint32_t restarts_n, restart; /* how many, and the next one */
	struct fg_str key;
	struct bytes value;
};

static int
cursor_init(struct cursor *c, struct bytes block, struct fg_err *err)
{
	uint32_t n = block.n >= 4 ? fg_get_u32le(block.p + block.n - 4) : 0;

	memset(c, 0, sizeof *c);
	if (n == 0 || n > block.n / 4 - 1)
		return fg_fail(err, FG_ECORRUPT,
		    "index: block of %zu bytes with %u restart points", block.n, n);
	c->records = c->rest = (struct bytes){block.p, block.n - 4 - 4 * (size_t)n};
	c->restarts = block.p + c->records.n;
	c->restarts_n = n;
	return 0;
}

/* 1: a record, 0: the end, -1: failure. */
static int
cursor_next(struct cursor *c, struct fg_err *err)
{
	size_t at = c->records.n - c->rest.n;
	uint32_t shared, unshared, size;
	struct bytes suffix;
	bool restart = false;

	if (c->restart < c->restarts_n) {
		uint32_t next = fg_get_u32le(c->restarts + 4 * c->restart);

		restart = next == at;
		c->restart += restart;
	}
	if (c->rest.n == 0) {
		/* An empty block has one restart point all the same. */
		if (c->restart != c->restarts_n)
			return fg_fail(err, FG_ECORRUPT,
			    "index: restart point %u is not at a record", c->restart);
		return 0;
	}
	if (!take_varint32(&c->rest, &shared) || !take_varint32(&c->rest, &unshared) ||
	    !take_varint32(&c->rest, &size) ||
	    !take_bytes(&c->rest, unshared, &suffix) ||
	    !take_bytes(&c->rest, size, &c->value))
		return fg_fail(err, FG_ECORRUPT, "index: record at %zu is cut off", at);
	if (shared > c->key.len || (restart && shared) || (at == 0 && !restart))
		return fg_fail(err, FG_ECORRUPT,
		    "index: record at %zu shares %u bytes of a key of %zu", at, shared,
		    restart ? 0 : c->key.len);
	if (shared + (size_t)unshared > KEY_MAX)
		return fg_fail(err, FG_ECORRUPT, "index: key of %zu bytes at %zu",
		    shared + (size_t)unshared, at);
	c->key.len = shared;
	fg_str_put(&c->key, suffix.p, suffix.n);
	return 1;
}

static int
compare(struct bytes a, struct bytes b)
{
	int c = a.n && b.n ? memcmp(a.p, b.p, FG_MIN(a.n, b.n)) : 0;

	return c ? c : (a.n > b.n) - (a.n < b.n);
}

static struct bytes
str_bytes(const struct fg_str *s)
{
	return (struct bytes){(const uint8_t *)s->data, s->len};
}

/* All records of one data block, whose keys must be at most `bound`. */
static int
read_data_block(struct fg_bundle *b, struct bytes block, struct bytes bound,
    struct fg_err *err)
{
	struct cursor c;
	int rc;

	if (cursor_init(&c, block, err) < 0)
		return -1;
	while ((rc = cursor_next(&c, err)) > 0) {
		struct bytes key = str_bytes(&c.key);

		if ((b->has_key && compare(str_bytes(&b->last_key), key) >= 0) ||
		    compare(key, bound) > 0) {
			rc = fg_fail(err, FG_ECORRUPT,
			    "index: keys are out of order at \"%.*s\"",
			    (int)FG_MIN(key.n, 128u), (const char *)key.p);
			break;
		}
		b->has_key = true;
		b->last_key.len = 0;
		fg_str_put(&b->last_key, key.p, key.n);
		if (add_record(b, key, c.value, err) < 0) {
			rc = -1;
			break;
		}
	}
	fg_str_fini(&c.key);
	return rc;
}

static int
read_index_block(struct fg_bundle *b, struct bytes block, struct fg_err *err)
{
	struct cursor c;
	int rc;

	if (cursor_init(&c, block, err) < 0)
		return -1;
	while ((rc = cursor_next(&c, err)) > 0) {
		struct place at;
		struct bytes data, value = c.value;

		if (!take_place(&value, &at) || value.n != 0)
			rc = fg_fail(err, FG_ECORRUPT,
			    "index: a data block's place is not two numbers");
		else if (find_block(b, &at, "data", &data, err) < 0 ||
			 read_data_block(b, data, str_bytes(&c.key), err) < 0)
			rc = -1;
		if (rc < 0)
			break;
	}
	fg_str_fini(&c.key);
	return rc;
}

static int
read_all(struct fg_bundle *b, struct fg_err *err)
{
	struct bytes footer, block;
	struct place meta, index;

	if (b->index.n < FOOTER)
		return fg_fail(err, FG_ECORRUPT, "index has %zu bytes, less than %d",
		    b->index.n, FOOTER);
	footer = (struct bytes){b->index.p + b->index.n - FOOTER, FOOTER - 8};
	if (fg_get_u64le(footer.p + FOOTER - 8) != MAGIC)
		return fg_fail(err, FG_ECORRUPT,
		    "index ends with %016llx, not the magic number %016llx",
		    (unsigned long long)fg_get_u64le(footer.p + FOOTER - 8),
		    (unsigned long long)MAGIC);
	if (!take_place(&footer, &meta) || !take_place(&footer, &index))
		return fg_fail(err, FG_ECORRUPT, "index: footer is not four numbers");
	for (size_t i = 0; i < footer.n; i++) {
		if (footer.p[i] != 0)
			return fg_fail(err, FG_ECORRUPT,
			    "index: footer is not filled with zeros");
	}
	if (find_block(b, &meta, "metaindex", &block, err) < 0 ||
	    find_block(b, &index, "index", &block, err) < 0 ||
	    read_index_block(b, block, err) < 0)
		return -1;
	if (!b->has_header)
		return fg_fail(err, FG_ECORRUPT, "index has no header record");
	return 0;
}

struct fg_bundle *
fg_bundle_open(const char *name, const uint8_t *index, size_t index_n,
    const uint8_t *data, size_t data_n, struct fg_err *err)
{
	struct fg_bundle *b = fg_calloc(1, sizeof *b);

	b->index = (struct bytes){index, index_n};
	b->data = (struct bytes){data, data_n};
	if (read_all(b, err) < 0) {
		fg_err_prefix(err, "%.120s", name);
		fg_bundle_close(b);
		return NULL;
	}
	return b;
}

void
fg_bundle_close(struct fg_bundle *b)
{
	if (!b)
		return;
	for (size_t i = 0; i < b->n; i++)
		free((char *)b->tensors[i].name);
	free(b->tensors);
	fg_str_fini(&b->last_key);
	free(b);
}

size_t
fg_bundle_count(const struct fg_bundle *b)
{
	return b->n;
}

const struct fg_tensor *
fg_bundle_get(const struct fg_bundle *b, size_t i)
{
	fg_assert(i < b->n);
	return &b->tensors[i];
}

const struct fg_tensor *
fg_bundle_find(const struct fg_bundle *b, const char *name)
{
	size_t lo = 0, hi = b->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int c = strcmp(name, b->tensors[mid].name);

		if (c == 0)
			return &b->tensors[mid];
		if (c < 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	return NULL;
}
