/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slabs: append-only files of records, each understandable without the index.
 *
 * A record is a header of FG_SLAB_HEAD bytes, `len` bytes of body, and zeros up to a
 * multiple of 8. Little-endian:
 *
 *     0  8   magic "FGslab\r\n"
 *     8  u32 crc32c of header bytes 12..127
 *    12  u32 number of the slab
 *    16  u64 where the record begins in the slab
 *    24  u8  type, kind, scale, state, encoding; 3 zero bytes
 *    32  u64 at
 *    40  u32 part, lower half
 *    44  u32 crc32c of the body
 *    48  u64 len
 *    56  16  uuid of the layer (of the store in a SLAB record)
 *    72  32  sha256 of the layer's recipe, zero if it has none
 *   104  u64 generation of an artefact; 0 for all else
 *   112  u32 part, upper half
 *   116  u32 slab, u64 offset of the record that compaction copied (of the first one,
 * if it was copied before); zero in all that is no copy
 *
 * A header names its own slab and offset: copies of records elsewhere (a file copied
 * over another, a slab inside a payload) are not taken for records.
 *
 * The bodies: SLAB none; LAYER, COMMIT, EDIT and JOB JSON (store/record.h); PAYLOAD the
 * bytes; REMOVED none. A result is its PAYLOAD records followed by one COMMIT
 * record, all in one slab; without that last record it does not count.
 */
#ifndef FG_STORE_SLAB_H
#define FG_STORE_SLAB_H

#include "base/err.h"
#include "store/disk.h"

#define FG_SLAB_HEAD 128
/* Largest body: what a reader is willing to allocate for one record. */
#define FG_SLAB_BODY_MAX (UINT64_C(1) << 31)

/* The same for the JSON of LAYER, COMMIT, EDIT and JOB records. */
#define FG_SLAB_TEXT_MAX (UINT64_C(1) << 29)

enum fg_record_type {
	FG_REC_SLAB = 1,    /* a writer begins here; uuid = the store's */
	FG_REC_LAYER = 2,   /* describes a layer */
	FG_REC_PAYLOAD = 3, /* bytes of one chunk or artefact */
	FG_REC_COMMIT = 4,  /* ends a result */
	FG_REC_REMOVED = 5, /* the layer was removed here */
	FG_REC_EDIT = 6,    /* users' decisions about objects, or their withdrawal */
	FG_REC_JOB = 8,     /* a job as it is from here on; 7 is kept free */
	FG_REC_LAST = FG_REC_JOB,
};

struct fg_record {
	enum fg_record_type type;
	uint8_t kind, scale, state, enc;
	uint64_t at;
	uint64_t part;      /* artefacts: which piece */
	int64_t gen;        /* artefacts: which generation */
	uint32_t from_slab; /* a copy: where the first one was; else 0 */
	uint64_t from_off;
	uint8_t uuid[16];
	uint8_t sha[32];
	uint32_t slab; /* read: where it was found; ignored when appending */
	uint64_t off;  /* of the header */
	uint64_t len;  /* of the body, which begins at off + FG_SLAB_HEAD */
	uint32_t crc;  /* of the body */
};

/* Bytes a record with such a body takes in the slab. */
static inline uint64_t
fg_slab_record_size(uint64_t len)
{
	return FG_SLAB_HEAD + (len + 7) / 8 * 8;
}

void fg_slab_head_encode(const struct fg_record *r, uint8_t out[FG_SLAB_HEAD]);
/* False unless p is a whole header of slab `slab` at `off`. */
bool fg_slab_head_decode(const uint8_t p[FG_SLAB_HEAD], uint32_t slab, uint64_t off,
    struct fg_record *r);

/* ROOT-relative folder is the caller's; NNNNNN.slab. */
#define FG_SLAB_NAME 24
void fg_slab_name_format(uint32_t slab, char out[FG_SLAB_NAME]);
bool fg_slab_name_parse(const char *name, uint32_t *slab);
/* Numbers of the slabs in a folder, ascending; *ids is malloc'ed. A folder that does
 * not exist has none. */
int fg_slab_list(const char *dir, uint32_t **ids, size_t *n,
    struct fg_err *err) FG_MUST_USE;

/* ------------------------------------------------------------- writing */

/* The slab that is being appended to. */
struct fg_slab {
	uint32_t id;
	int fd;
	uint64_t len;  /* where the next record goes (includes buffered bytes) */
	bool new_name; /* the folder has not been synced since it was made */
	bool poisoned; /* a write failed; open it anew to go on behind what is there */
	bool broken;   /* a sync failed: never append to it again */
	uint64_t
	    garbage;  /* for the owner: bytes before the place of resumption, dead */
	uint8_t *buf; /* bytes not yet written, ending at len */
	size_t buffered;
	char what[24]; /* "slab 000001", for messages */
	struct fg_crash *crash;
};

/* Make slab `id` (must not exist), or go on with an existing one at `len`, which must
 * be a multiple of 8. A SLAB record is put first either way. Heap, one owner. */
struct fg_slab *fg_slab_create(const char *dir, uint32_t id,
    const uint8_t store_uuid[16], struct fg_crash *crash,
    struct fg_err *err) FG_MUST_USE;
struct fg_slab *fg_slab_resume(const char *dir, uint32_t id, uint64_t len,
    const uint8_t store_uuid[16], struct fg_crash *crash,
    struct fg_err *err) FG_MUST_USE;
/* Unwritten bytes are dropped. NULL: nothing. */
void fg_slab_close(struct fg_slab *s);

/* Append a record; r->slab, off, len and crc are filled in. Any failure poisons. */
int fg_slab_append(struct fg_slab *s, struct fg_record *r, const void *body, size_t n,
    struct fg_err *err) FG_MUST_USE;
/* Write what is buffered, fdatasync, and fsync the folder of a new slab. */
int fg_slab_sync(struct fg_slab *s, const char *dir, struct fg_err *err) FG_MUST_USE;

/* ------------------------------------------------------------- scanning */

struct fg_slab_scan {
	uint64_t records; /* whole ones */
	uint64_t good;    /* their bytes */
	uint64_t bad;     /* all other bytes, damaged records included */
};

/*
 * Called for each record in file order. `whole` is false when the header is right but
 * the body's checksum is not. body is set for LAYER, COMMIT, EDIT and JOB records that
 * are whole, else NULL. Returning non-zero ends the scan with that value.
 */
typedef int fg_slab_fn(void *ctx, const struct fg_record *r, bool whole,
    const char *body);

/*
 * Walk the records in bytes [from, to) of the file `fd`. Bytes that are no record are
 * skipped to the next magic at a multiple of 8 and counted as bad; gap (may be NULL) is
 * called for each such stretch that does not begin with a damaged record. Memory is
 * bounded; every byte is read about once.
 * Fails: FG_EIO.
 */
int fg_slab_scan(int fd, uint32_t slab, const char *what, uint64_t from, uint64_t to,
    fg_slab_fn *fn, void (*gap)(void *ctx, uint64_t from, uint64_t to), void *ctx,
    struct fg_slab_scan *stats, struct fg_err *err) FG_MUST_USE;

#endif
