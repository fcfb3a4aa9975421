/* SPDX-License-Identifier: Apache-2.0 */
/* Slabs by themselves: records, torn writes, junk, names. */
#include "config.h"

#include "base/hash.h"
#include "store/slab.h"
#include "tests/store/store_test.h"

static const uint8_t uuid[16] = "the store's uuid";
static struct fg_crash never = {.left = 1};

/* What a scan met, as text: "S" slab, "P3" payload at=3, "p3" a damaged one, "C", "." a
 * gap. */
static char met[256];

static int
meet(void *ctx, const struct fg_record *r, bool whole, const char *body)
{
	static const char letter[] = "?SLPCR";
	size_t n = strlen(met);
	char c = letter[r->type];

	(void)ctx;
	if (r->type == FG_REC_PAYLOAD)
		snprintf(met + n, sizeof met - n, "%c%d", whole ? 'P' : 'p',
		    (int)r->at);
	else
		snprintf(met + n, sizeof met - n, "%c", whole ? c : '!');
	if (whole && r->type == FG_REC_COMMIT && (!body || strlen(body) != r->len))
		snprintf(met + n, sizeof met - n, "(no body)");
	return 0;
}

static void
meet_gap(void *ctx, uint64_t from, uint64_t to)
{
	(void)ctx;
	(void)from;
	(void)to;
	strncat(met, ".", sizeof met - strlen(met) - 1);
}

static const char *
scan(uint32_t id, uint64_t from)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_slab_scan st;
	int fd = open(st_slab((int)id), O_RDONLY);
	uint64_t size = (uint64_t)st_size(st_slab((int)id));

	*met = '\0';
	if (fg_slab_scan(fd, id, "slab", from, size, meet, meet_gap, NULL, &st, &err) <
	    0)
		snprintf(met, sizeof met, "%.200s", err.msg);
	close(fd);
	if (st.good + st.bad != size - from)
		snprintf(met, sizeof met, "the sums are wrong");
	return met;
}

static struct fg_slab *
begin(uint32_t id)
{
	struct fg_err err = FG_ERR_INIT;
	char dir[300];
	struct fg_slab *s;

	snprintf(dir, sizeof dir, "%s/slabs", st_root);
	s = fg_slab_create(dir, id, uuid, &never, &err);
	if (!s) {
		printf("Bail out! %s\n", err.msg);
		exit(1);
	}
	return s;
}

static uint64_t
put(struct fg_slab *s, enum fg_record_type type, uint64_t at, const void *p, size_t n)
{
	struct fg_record r = {.type = type, .kind = 1, .at = at};
	struct fg_err err = FG_ERR_INIT;

	if (fg_slab_append(s, &r, p, n, &err) < 0)
		printf("# %s\n", err.msg);
	return r.off;
}

static void
end(struct fg_slab *s)
{
	struct fg_err err = FG_ERR_INIT;
	char dir[300];

	snprintf(dir, sizeof dir, "%s/slabs", st_root);
	if (fg_slab_sync(s, dir, &err) < 0)
		printf("# %s\n", err.msg);
	fg_slab_close(s);
}

static void
test_heads(void)
{
	struct fg_record r = {
	    .type = FG_REC_PAYLOAD,
	    .kind = 3,
	    .scale = 2,
	    .state = 1,
	    .enc = 4,
	    .at = UINT64_MAX,
	    .part = 7,
	    .slab = 9,
	    .off = 1 << 20,
	    .len = 12345,
	    .crc = 0xdeadbeef,
	};
	struct fg_record got = {0};
	uint8_t head[FG_SLAB_HEAD];
	int taken = 0;

	memcpy(r.uuid, uuid, 16);
	memset(r.sha, 0x5a, 32);
	fg_slab_head_encode(&r, head);
	tap_ok(fg_slab_head_decode(head, 9, 1 << 20, &got), "a header");
	tap_ok(got.type == r.type && got.kind == 3 && got.scale == 2 &&
		   got.state == 1 && got.enc == 4 && got.at == UINT64_MAX &&
		   got.part == 7 && got.len == 12345 && got.crc == 0xdeadbeef &&
		   memcmp(got.uuid, r.uuid, 16) == 0 && memcmp(got.sha, r.sha, 32) == 0,
	    "comes back as it was");
	tap_ok(!fg_slab_head_decode(head, 8, 1 << 20, &got), "not in another slab");
	tap_ok(!fg_slab_head_decode(head, 9, 1 << 19, &got), "not at another place");
	for (size_t bit = 0; bit < 8 * sizeof head; bit++) {
		head[bit / 8] ^= (uint8_t)(1u << bit % 8);
		taken += fg_slab_head_decode(head, 9, 1 << 20, &got);
		head[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	tap_int(taken, 0, "no single bit may differ");
}

static void
test_scan(void)
{
	struct fg_slab *s = begin(1);
	uint8_t big[3 << 20];
	uint64_t off[4];

	memset(big, 'x', sizeof big);
	off[0] = put(s, FG_REC_PAYLOAD, 1, "abc", 3);
	off[1] = put(s, FG_REC_PAYLOAD, 2, big, sizeof big);
	off[2] = put(s, FG_REC_COMMIT, 0, "{}", 2);
	off[3] = put(s, FG_REC_PAYLOAD, 3, NULL, 0);
	end(s);
	tap_str(scan(1, 0), "SP1P2CP3", "all records, also one larger than the window");
	tap_str(scan(1, off[2]), "CP3", "from the middle on");
	tap_str(scan(1, off[2] - 5), ".CP3", "from a wrong place on");
	tap_str(scan(1, off[3] + FG_SLAB_HEAD), "", "from the end on");

	int fd = open(st_slab(1), O_WRONLY);
	tap_ok(pwrite(fd, "X", 1, (off_t)off[1] + 5000) == 1,
	    "a byte of a body changes");
	tap_str(scan(1, 0), "SP1p2CP3", "that record is damaged, the others are found");
	tap_ok(pwrite(fd, "X", 1, (off_t)off[0] + 40) == 1,
	    "a byte of a header changes");
	tap_str(scan(1, 0), "S.p2CP3", "that one is a gap");
	tap_int(truncate(st_slab(1), (off_t)off[3] + 100), 0, "the end is cut off");
	tap_str(scan(1, 0), "S.p2C.", "and is a gap");
	close(fd);
}

/* A writer died within a body, and another one went on behind it. */
static void
test_torn(void)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_slab *s = begin(2);
	uint8_t body[5000];
	char dir[300];
	uint64_t off;

	memset(body, 'y', sizeof body);
	put(s, FG_REC_PAYLOAD, 1, "one", 3);
	off = put(s, FG_REC_PAYLOAD, 2, body, sizeof body);
	end(s);
	tap_int(truncate(st_slab(2), (off_t)off + 1000), 0, "a torn record");
	snprintf(dir, sizeof dir, "%s/slabs", st_root);
	s = fg_slab_resume(dir, 2, off + 1000, uuid, &never, &err);
	tap_rc(s ? 0 : -1, &err, "go on behind it");
	for (int i = 3; i < 30; i++)
		put(s, FG_REC_PAYLOAD, (uint64_t)i, body, 300);
	end(s);
	tap_ok(strncmp(scan(2, 0), "SP1p2SP3P4P5", 12) == 0 && strstr(met, "P29"),
	    "what lies within the torn one's length is found: %s", met);
}

/* A payload that holds a slab, and a slab under another number. */
static void
test_copies(void)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_buf *b = fg_file_read(st_slab(2), 1 << 20, &err);
	struct fg_slab *s = begin(3);

	tap_rc(b ? 0 : -1, &err, "read a slab");
	off_t off = (off_t)put(s, FG_REC_PAYLOAD, 1, b->data, b->len);
	put(s, FG_REC_PAYLOAD, 2, "two", 3);
	end(s);
	tap_str(scan(3, 0), "SP1P2", "a slab within a payload is its business");
	int fd = open(st_slab(3), O_WRONLY);
	tap_ok(pwrite(fd, "X", 1, off + FG_SLAB_HEAD + 300) == 1, "it is damaged");
	close(fd);
	tap_str(scan(3, 0), "Sp1P2", "even then its records do not count");
	tap_int(st_run("cp '%s/slabs/000002.slab' '%s/slabs/000004.slab'", st_root,
		    st_root),
	    0, "a copy");
	tap_str(scan(4, 0), ".", "under another number is junk");
	fg_buf_unref(b);
}

static void
test_names(void)
{
	static const char *const bad[] = {"", "1.slab", "000000.slab",
	    "000001.slab.tmp", "0000001.slab", "-00001.slab", "+00001.slab",
	    "00001x.slab", " 00001.slab", "99999999999.slab"};
	struct fg_err err = FG_ERR_INIT;
	uint32_t id = 0, *ids;
	char dir[300];
	size_t n;

	tap_ok(fg_slab_name_parse("000042.slab", &id) && id == 42, "a name");
	tap_ok(fg_slab_name_parse("1234567.slab", &id) && id == 1234567, "a long one");
	for (size_t i = 0; i < FG_COUNTOF(bad); i++)
		tap_ok(!fg_slab_name_parse(bad[i], &id), "no name: \"%s\"", bad[i]);
	snprintf(dir, sizeof dir, "%s/slabs", st_root);
	tap_rc(fg_slab_list(dir, &ids, &n, &err), &err, "list");
	tap_ok(n == 4 && ids[0] == 1 && ids[3] == 4, "four, ascending");
	free(ids);
	tap_rc(fg_slab_list("/nonexistent", &ids, &n, &err), &err, "no folder");
	tap_int(n, 0, "has none");
}

int
main(void)
{
	st_folder();
	st_run("mkdir '%s/slabs'", st_root);
	test_heads();
	test_scan();
	test_torn();
	test_copies();
	test_names();
	st_cleanup();
	return tap_done();
}
