/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Encode and decode one volume in every encoding, on one thread:
 *
 *   bench/codecs [--side N] [--chunk N] [--runs N] [--write LABELS.npy EM.npy]
 *                [--pyramids]   only copying and downsampling
 *
 * The volume is made here, with statistics like a segmentation of EM: cells of a
 * jittered grid, warped, several to an object, a membrane of label 0 between them; the
 * image is grey cells, dark membranes and noise. It is cut into chunks, as served.
 * Prints one JSON object per line: {"what", "encode", "decode"} in million voxels a
 * second of processor time (the median of the runs, with the least and the most), and
 * "bytes" in all.
 * bench/codecs.py runs this beside the packages of PyPI.
 */
#include "config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/file.h"
#include "formats/codec.h"
#include "formats/npy.h"
#include "seg/downsample.h"

#define RUNS_MAX 100
#define CELL 22.0 /* voxels between the centres of cells */

static struct {
	int64_t side, chunk;
	int runs;
	const char *labels, *em;
	bool pyramids;
} options = {.side = 128, .chunk = 64, .runs = 7};

static FG_NORETURN void
die(const char *what)
{
	fprintf(stderr, "codecs: %s\n", what);
	exit(1);
}

/* ------------------------------------------------------------- the volume */

static uint64_t
mix(uint64_t v)
{
	v = (v ^ v >> 30) * 0xbf58476d1ce4e5b9u;
	v = (v ^ v >> 27) * 0x94d049bb133111ebu;
	return v ^ v >> 31;
}

static uint64_t
cell_hash(int64_t x, int64_t y, int64_t z)
{
	return mix((uint64_t)x * 0x9e3779b97f4a7c15u +
		   (uint64_t)y * 0xd1b54a32d192ed03u +
		   (uint64_t)z * 0x8cb92ba72f3d8dd7u);
}

/* Squared distances to the nearest and second nearest centre, and the nearest cell. */
static uint64_t
nearest(const double p[3], double d[2])
{
	int64_t c[3] = {(int64_t)floor(p[0]), (int64_t)floor(p[1]),
	    (int64_t)floor(p[2])};
	uint64_t best = 0;

	d[0] = d[1] = 1e9;
	for (int i = 0; i < 27; i++) {
		int64_t x = c[0] + i % 3 - 1, y = c[1] + i / 3 % 3 - 1,
			z = c[2] + i / 9 - 1;
		uint64_t h = cell_hash(x, y, z);
		double dx = (double)x + (double)(h & 1023) / 1024 - p[0];
		double dy = (double)y + (double)(h >> 10 & 1023) / 1024 - p[1];
		double dz = (double)z + (double)(h >> 20 & 1023) / 1024 - p[2];
		double q = dx * dx + dy * dy + dz * dz;

		if (q < d[0]) {
			d[1] = d[0];
			d[0] = q;
			/* cells in a column of z are one object, like neurites */
			best = cell_hash(x, y, z / 3);
		} else if (q < d[1]) {
			d[1] = q;
		}
	}
	return best;
}

static void
make_volume(struct fg_array *labels, struct fg_array *em)
{
	int64_t n = options.side;
	size_t i = 0;

	for (int64_t z = 0; z < n; z++) {
		for (int64_t y = 0; y < n; y++) {
			for (int64_t x = 0; x < n; x++, i++) {
				double p[3], d[2];

				p[0] = ((double)x + 5 * sin((double)z / 17)) / CELL;
				p[1] = ((double)y + 5 * sin((double)x / 23)) / CELL;
				p[2] = ((double)z + 5 * sin((double)y / 19)) / CELL;
				uint64_t id = nearest(p, d);
				double gap = (sqrt(d[1]) - sqrt(d[0])) * CELL;
				double noise =
				    (double)(mix(i) & 63) + (double)(mix(i + 1) & 63);
				double grey =
				    170 - 110 * exp(-gap * gap / 4) + (noise - 63) / 3;

				((uint64_t *)labels->data)[i] =
				    gap < 1 ? 0 : (id & 0xffffffffffu) + 1;
				((uint8_t *)em->data)[i] = (uint8_t)grey;
			}
		}
	}
}

/* ------------------------------------------------------------- measuring */

/* Time of this process on a processor: others on the machine count less. */
static int64_t
cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

struct cut {
	struct fg_array *chunk, *back;
	struct fg_buf **bytes;
	size_t n;
};

/* The volume as chunks of the wanted type. */
static void
cut_volume(struct cut *c, const struct fg_array *a, enum fg_dtype t)
{
	int64_t k = options.side / options.chunk, s = options.chunk;
	struct fg_box all = {.hi = {options.side, options.side, options.side}};

	c->n = (size_t)(k * k * k);
	c->chunk = fg_calloc(c->n, sizeof *c->chunk);
	c->back = fg_calloc(c->n, sizeof *c->back);
	c->bytes = fg_calloc(c->n, sizeof(struct fg_buf *));
	for (size_t i = 0; i < c->n; i++) {
		int64_t x = (int64_t)i % k * s, y = (int64_t)i / k % k * s,
			z = (int64_t)i / k / k * s;
		struct fg_box vx = {{x, y, z}, {x + s, y + s, z + s}};
		struct fg_array own = FG_ARRAY_INIT;

		if (fg_array_init(&own, a->dtype, (int64_t[4]){s, s, s, 1}, NULL) < 0 ||
		    fg_array_init(&c->chunk[i], t, own.shape, NULL) < 0 ||
		    fg_array_init_zero(&c->back[i], t, own.shape, NULL) < 0)
			die("no memory");
		fg_array_copy_box(&own, &vx, a, &all);
		for (size_t v = 0; v < fg_array_count(&own); v++) {
			if (t == a->dtype)
				break;
			((uint32_t *)c->chunk[i].data)[v] =
			    (uint32_t)((uint64_t *)own.data)[v];
		}
		if (t == a->dtype)
			memcpy(c->chunk[i].data, own.data, fg_array_bytes(&own));
		fg_array_fini(&own);
	}
}

static void
cut_fini(struct cut *c)
{
	for (size_t i = 0; i < c->n; i++) {
		fg_array_fini(&c->chunk[i]);
		fg_array_fini(&c->back[i]);
		fg_buf_unref(c->bytes[i]);
	}
	free(c->chunk);
	free(c->back);
	free(c->bytes);
}

static int
by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Seconds of each run -> "name": [median, least, most] in MVx/s. */
static void
print_rates(const char *name, double *seconds, double voxels)
{
	int n = options.runs;

	qsort(seconds, (size_t)n, sizeof *seconds, by_size);
	printf(", \"%s\": [%.1f, %.1f, %.1f]", name, voxels / 1e6 / seconds[n / 2],
	    voxels / 1e6 / seconds[n - 1], voxels / 1e6 / seconds[0]);
}

/* One way of storing: an encoding, and what is done to its bytes. */
struct way {
	const char *name;
	struct fg_scale scale;
	enum fg_coding coding;
	bool lossy;
};

static void
encode_chunk(const struct way *w, struct cut *c, size_t i)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_buf *b = NULL, *packed = NULL;

	if (fg_codec_encode(&w->scale, &c->chunk[i], &b, &err) < 0)
		die(err.msg);
	if (w->coding != FG_CODING_NONE) {
		if (fg_compress(w->coding, 0, b->data, b->len, &packed, &err) < 0)
			die(err.msg);
		fg_buf_unref(b);
		b = packed;
	}
	fg_buf_unref(c->bytes[i]);
	c->bytes[i] = b;
}

static void
decode_chunk(const struct way *w, struct cut *c, size_t i)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_buf *b = fg_buf_ref(c->bytes[i]), *plain = NULL;

	if (w->coding != FG_CODING_NONE) {
		if (fg_decompress(w->coding, b->data, b->len, SIZE_MAX / 2, &plain,
			&err) < 0)
			die(err.msg);
		fg_buf_unref(b);
		b = plain;
	}
	if (fg_codec_decode(&w->scale, b->data, b->len, &c->back[i], &err) < 0)
		die(err.msg);
	fg_buf_unref(b);
}

static void
measure(const struct way *w, struct cut *c)
{
	double encode[RUNS_MAX], decode[RUNS_MAX];
	double voxels =
	    (double)options.side * (double)options.side * (double)options.side;
	size_t bytes = 0;

	for (int run = -1; run < options.runs; run++) { /* -1: caches and pages */
		int64_t start = cpu_ns();

		for (size_t i = 0; i < c->n; i++)
			encode_chunk(w, c, i);
		int64_t middle = cpu_ns();
		for (size_t i = 0; i < c->n; i++)
			decode_chunk(w, c, i);
		if (run >= 0) {
			encode[run] = (double)(middle - start) / 1e9;
			decode[run] = (double)(cpu_ns() - middle) / 1e9;
		}
	}
	for (size_t i = 0; i < c->n; i++) {
		bytes += c->bytes[i]->len;
		if (!w->lossy && memcmp(c->chunk[i].data, c->back[i].data,
				     fg_array_bytes(&c->chunk[i])) != 0)
			die("a round trip changed voxels");
	}
	printf("{\"what\": \"%s\"", w->name);
	print_rates("encode", encode, voxels);
	print_rates("decode", decode, voxels);
	printf(", \"bytes\": %zu}\n", bytes);
	fflush(stdout);
}

static double
median_of(const double *v, int n)
{
	double s[RUNS_MAX];

	memcpy(s, v, (size_t)n * sizeof *s);
	qsort(s, (size_t)n, sizeof *s, by_size);
	return s[n / 2];
}

/* What memory does: reading and writing the array once. Returns bytes moved a second.
 */
static double
measure_copy(const struct fg_array *a, const char *name)
{
	double seconds[RUNS_MAX], voxels = (double)fg_array_count(a);
	size_t bytes = fg_array_bytes(a);
	void *to = fg_try_alloc(bytes, 1);

	if (!to)
		die("no memory");
	for (int run = -1; run < options.runs; run++) {
		int64_t start = cpu_ns();

		memcpy(to, a->data, bytes);
		if (run >= 0)
			seconds[run] = (double)(cpu_ns() - start) / 1e9;
	}
	printf("{\"what\": \"copy %s\"", name);
	print_rates("encode", seconds, voxels);
	printf("}\n");
	free(to);
	return 2 * (double)bytes / median_of(seconds, options.runs);
}

/* A vector of the widest kind that compilers split by themselves. */
typedef uint64_t lanes __attribute__((vector_size(64), aligned(1), may_alias));

/* The same for reading alone, both halves side by side, which is faster than one after
 * the other: what is written is two vectors. Returns bytes read a second. */
static double
measure_read(const struct fg_array *a, const char *name)
{
	double seconds[RUNS_MAX], voxels = (double)fg_array_count(a);
	size_t half = fg_array_bytes(a) / 2 / sizeof(lanes) * sizeof(lanes);
	const uint8_t *p = a->data;
	volatile uint64_t sink; /* the loop must not be left out */

	for (int run = -1; run < options.runs; run++) {
		int64_t start = cpu_ns();
		lanes all[2] = {{0}, {0}};

		for (size_t i = 0; i < half; i += sizeof(lanes)) {
			__builtin_prefetch(p + i + 4096);
			all[0] ^= *(const lanes *)(p + i);
			__builtin_prefetch(p + half + i + 4096);
			all[1] ^= *(const lanes *)(p + half + i);
		}
		sink = all[0][0] ^ all[1][7];
		(void)sink;
		if (run >= 0)
			seconds[run] = (double)(cpu_ns() - start) / 1e9;
	}
	printf("{\"what\": \"read %s\"", name);
	print_rates("encode", seconds, voxels);
	printf("}\n");
	return 2 * (double)half / median_of(seconds, options.runs);
}

/* The whole volume at once, as tinybrain takes it. copy, read: bytes that a plain copy
 * of the same array moves and a plain loop reads in a second. Printed are two shares:
 * of the copy, what is read and what is written counted; and of reading, what is read.
 */
static void
measure_downsample(const struct fg_array *a, const char *name, bool labels,
    const int64_t factor[3], double copy, double read)
{
	struct fg_err err = FG_ERR_INIT;
	double seconds[RUNS_MAX], voxels = (double)fg_array_count(a), took;
	int64_t shape[4];
	struct fg_array out;

	fg_downsample_shape(a->shape, factor, shape);
	if (fg_array_init_zero(&out, a->dtype, shape, &err) < 0)
		die(err.msg);
	for (int run = -1; run < options.runs; run++) {
		int64_t start = cpu_ns();
		int rc =
		    labels ? fg_downsample_mode(a, factor, &out, &err)
			   : fg_downsample_mean(a, factor, FG_ROUND_FLOOR, &out, &err);

		if (rc < 0)
			die(err.msg);
		if (run >= 0)
			seconds[run] = (double)(cpu_ns() - start) / 1e9;
	}
	took = median_of(seconds, options.runs);
	printf("{\"what\": \"%s %s %dx%dx%d\"", labels ? "mode" : "mean", name,
	    (int)factor[0], (int)factor[1], (int)factor[2]);
	print_rates("encode", seconds, voxels);
	printf(", \"share\": %.3f, \"share read\": %.3f}\n",
	    (double)(fg_array_bytes(a) + fg_array_bytes(&out)) / took / copy,
	    (double)fg_array_bytes(a) / took / read);
	fflush(stdout);
	fg_array_fini(&out);
}

static void
narrow(const struct fg_array *from, enum fg_dtype t, struct fg_array *to)
{
	struct fg_err err = FG_ERR_INIT;
	size_t n = fg_array_count(from);

	if (fg_array_init(to, t, from->shape, &err) < 0)
		die(err.msg);
	for (size_t i = 0; i < n; i++) {
		if (t == FG_U32)
			((uint32_t *)to->data)[i] =
			    (uint32_t)((const uint64_t *)from->data)[i];
		else
			((uint16_t *)to->data)[i] =
			    (uint16_t)(((const uint8_t *)from->data)[i] * 200);
	}
}

static void
measure_pyramids(const struct fg_array *labels, const struct fg_array *em)
{
	static const int64_t factors[][3] = {{2, 2, 1}, {2, 2, 2}, {4, 4, 1},
	    {3, 3, 3}};
	struct fg_array u32, u16;
	const struct {
		const struct fg_array *a;
		const char *name;
		bool labels;
	} set[] = {{labels, "u64", true}, {&u32, "u32", true}, {em, "u8", false},
	    {&u16, "u16", false}};

	narrow(labels, FG_U32, &u32);
	narrow(em, FG_U16, &u16);
	for (size_t i = 0; i < FG_COUNTOF(set); i++) {
		double copy = measure_copy(set[i].a, set[i].name);
		double read = measure_read(set[i].a, set[i].name);

		for (size_t k = 0; k < FG_COUNTOF(factors); k++)
			measure_downsample(set[i].a, set[i].name, set[i].labels,
			    factors[k], copy, read);
	}
	fg_array_fini(&u32);
	fg_array_fini(&u16);
}

static void
write_npy(const char *path, const struct fg_array *a)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_buf *b = NULL;

	if (fg_npy_encode(a, &b, &err) < 0 ||
	    fg_file_write_fast(path, b->data, b->len, &err) < 0)
		die(err.msg);
	fg_buf_unref(b);
}

#define CSEG                                                                           \
	{                                                                              \
		.encoding = FG_ENC_CSEG, .cseg_block = { 8, 8, 8 }                     \
	}

static void
measure_all(const struct fg_array *labels, const struct fg_array *em)
{
	static const struct way u64[] = {
	    {"compressed_segmentation u64", CSEG, FG_CODING_NONE, false},
	    {"compressed_segmentation u64 + gzip", CSEG, FG_CODING_GZIP, false},
	    {"compressed_segmentation u64 + zstd", CSEG, FG_CODING_ZSTD, false},
	    {"compresso u64", {.encoding = FG_ENC_COMPRESSO}, FG_CODING_NONE, false},
	    {"compresso u64 + gzip", {.encoding = FG_ENC_COMPRESSO}, FG_CODING_GZIP,
		false},
	    {"raw u64 + gzip", {.encoding = FG_ENC_RAW}, FG_CODING_GZIP, false},
	    {"raw u64 + zstd", {.encoding = FG_ENC_RAW}, FG_CODING_ZSTD, false},
	};
	static const struct way u32[] = {
	    {"compressed_segmentation u32", CSEG, FG_CODING_NONE, false},
	    {"compresso u32", {.encoding = FG_ENC_COMPRESSO}, FG_CODING_NONE, false},
	};
	static const struct way u8[] = {
	    {"raw u8", {.encoding = FG_ENC_RAW}, FG_CODING_NONE, false},
	    {"jpeg u8 quality 85", {.encoding = FG_ENC_JPEG, .jpeg_quality = 85},
		FG_CODING_NONE, true},
	    {"png u8 level 3", {.encoding = FG_ENC_PNG, .png_level = 3}, FG_CODING_NONE,
		false},
#ifdef HAVE_JXL
	    {"jxl u8 quality 90", {.encoding = FG_ENC_JXL}, FG_CODING_NONE, true},
	    {"jxl u8 lossless", {.encoding = FG_ENC_JXL, .jxl_quality = 100},
		FG_CODING_NONE, false},
#endif
	};
	struct cut c;

	cut_volume(&c, labels, FG_U64);
	for (size_t i = 0; i < FG_COUNTOF(u64); i++)
		measure(&u64[i], &c);
	cut_fini(&c);
	cut_volume(&c, labels, FG_U32);
	for (size_t i = 0; i < FG_COUNTOF(u32); i++)
		measure(&u32[i], &c);
	cut_fini(&c);
	cut_volume(&c, em, FG_U8);
	for (size_t i = 0; i < FG_COUNTOF(u8); i++)
		measure(&u8[i], &c);
	cut_fini(&c);
}

int
main(int argc, char **argv)
{
	struct fg_array labels, em;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--side") == 0 && i + 1 < argc)
			options.side = atoll(argv[++i]);
		else if (strcmp(argv[i], "--chunk") == 0 && i + 1 < argc)
			options.chunk = atoll(argv[++i]);
		else if (strcmp(argv[i], "--runs") == 0 && i + 1 < argc)
			options.runs = atoi(argv[++i]);
		else if (strcmp(argv[i], "--pyramids") == 0)
			options.pyramids = true;
		else if (strcmp(argv[i], "--write") == 0 && i + 2 < argc) {
			options.labels = argv[++i];
			options.em = argv[++i];
		} else
			die("usage: codecs [--side N] [--chunk N] [--runs N] "
			    "[--write LABELS.npy EM.npy]");
	}
	if (options.chunk < 1 || options.side < options.chunk || options.side > 1024 ||
	    options.side % options.chunk || options.runs < 1 || options.runs > RUNS_MAX)
		die("side must be a multiple of chunk, at most 1024; runs 1 to 100");
	int64_t shape[4] = {options.side, options.side, options.side, 1};
	if (fg_array_init(&labels, FG_U64, shape, NULL) < 0 ||
	    fg_array_init(&em, FG_U8, shape, NULL) < 0)
		die("no memory");
	make_volume(&labels, &em);
	if (options.labels) {
		write_npy(options.labels, &labels);
		write_npy(options.em, &em);
	}
	if (!options.pyramids)
		measure_all(&labels, &em);
	measure_pyramids(&labels, &em);
	fg_array_fini(&labels);
	fg_array_fini(&em);
	return 0;
}
