/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The phantom: boxes agree with each other and with fixed checksums, objects are whole,
 * the picture has the membranes where the truth has them, and hostile parameters are
 * refused.
 */
#include "config.h"

#include "store/phantom.h"

#include "base/hash.h"
#include "formats/codec.h"
#include "store/source.h"
#include "tests/tap.h"

static struct fg_err err = FG_ERR_INIT;

static struct fg_phantom
params(const char *text)
{
	struct fg_phantom p;

	fg_phantom_default(&p);
	if (fg_phantom_parse(text, &p, &err) < 0)
		printf("Bail out! %s\n", err.msg), exit(1);
	return p;
}

static struct fg_box
box_at(int64_t x, int64_t y, int64_t z, int64_t nx, int64_t ny, int64_t nz)
{
	return (struct fg_box){{x, y, z}, {x + nx, y + ny, z + nz}};
}

static struct fg_array
array(enum fg_dtype t, const struct fg_box *vx)
{
	struct fg_array a;
	int64_t n[4];

	fg_box_shape(vx, n);
	n[3] = 1;
	if (fg_array_init(&a, t, n, &err) < 0)
		printf("Bail out! %s\n", err.msg), exit(1);
	return a;
}

static struct fg_array
image_of(const struct fg_phantom *p, int scale, const struct fg_box *vx)
{
	struct fg_array a = array(FG_U8, vx);

	if (fg_phantom_image(p, scale, vx, &a, &err) < 0)
		printf("Bail out! %s\n", err.msg), exit(1);
	return a;
}

static struct fg_array
labels_of(const struct fg_phantom *p, int scale, const struct fg_box *vx)
{
	struct fg_array a = array(FG_U64, vx);

	if (fg_phantom_labels(p, scale, vx, &a, &err) < 0)
		printf("Bail out! %s\n", err.msg), exit(1);
	return a;
}

static void
test_parse(void)
{
	static const struct {
		const char *text, *part;
	} bad[] = {
	    {"seed", "is not a KEY=VALUE"},
	    {"sede=1", "\"sede\" is not"},
	    {"size=10x10", "wanted N or XxYxZ"},
	    {"size=10x10x10x10", "wanted N or XxYxZ"},
	    {"size=1048577", "1 .. 1048576"},
	    {"nm=0", "nm=0: wanted a whole number 1 .. 100"},
	    {"nm=8x8x101", "101"},
	    {"seed=-1", "wanted"},
	    {"seed=99999999999999999999", "wanted"},
	    {"seed=1x2", "wanted one number"},
	    {"noise=", "wanted a whole number"},
	    {"calibre=400,,", "is not a KEY=VALUE"},
	    {"defects=1000", "0 .. 200"},
	};
	struct fg_phantom p = params("seed=9,size=100x200x300,nm=4x4x40"), q = p;

	tap_ok(p.seed == 9 && p.size[1] == 200 && p.nm[2] == 40 && p.calibre == 320,
	    "parameters over defaults");
	for (size_t i = 0; i < FG_COUNTOF(bad); i++)
		tap_fails(fg_phantom_parse(bad[i].text, &q, &err), &err, FG_EINVAL,
		    bad[i].part, bad[i].text);
	tap_ok(memcmp(&p, &q, sizeof p) == 0, "nothing changed by failures");
	p = params("nm=5");
	tap_ok(p.nm[0] == 5 && p.nm[2] == 5, "one number for three");
}

/* A box's voxels are the same in every other box that holds them. */
static void
test_boxes(const char *text, int scale, int64_t at)
{
	static const int64_t part[][6] = {{0, 0, 0, 7, 5, 9}, {3, 11, 1, 8, 8, 8},
	    {17, 0, 5, 1, 40, 1}, {9, 30, 22, 31, 10, 2}};
	struct fg_phantom p = params(text);
	struct fg_box all = box_at(at, at / 2 + 3, at / 3 + 1, 40, 40, 24);
	struct fg_array image = image_of(&p, scale, &all);
	struct fg_array labels = labels_of(&p, scale, &all);
	bool same = true;

	for (size_t i = 0; i < FG_COUNTOF(part); i++) {
		struct fg_box b = box_at(all.lo[0] + part[i][0], all.lo[1] + part[i][1],
		    all.lo[2] + part[i][2], part[i][3], part[i][4], part[i][5]);
		struct fg_array i1 = image_of(&p, scale, &b), i2 = array(FG_U8, &b);
		struct fg_array l1 = labels_of(&p, scale, &b), l2 = array(FG_U64, &b);

		fg_array_copy_box(&i2, &b, &image, &all);
		fg_array_copy_box(&l2, &b, &labels, &all);
		same = same && memcmp(i1.data, i2.data, fg_array_bytes(&i1)) == 0 &&
		       memcmp(l1.data, l2.data, fg_array_bytes(&l1)) == 0;
		fg_array_fini(&i1);
		fg_array_fini(&i2);
		fg_array_fini(&l1);
		fg_array_fini(&l2);
	}
	tap_ok(same, "boxes agree: %s, scale %d, at %lld", text, scale, (long long)at);
	fg_array_fini(&image);
	fg_array_fini(&labels);
}

/* The same bytes on every machine, compiler and optimisation level. */
static void
test_checksums(void)
{
	static const struct {
		const char *text;
		int scale;
		int64_t x, y, z;
		uint32_t image, labels;
	} want[] = {
	    {"", 0, 100, 200, 300, 0xbcfcd9ee, 0xaa789e26},
	    {"seed=7,nm=4x4x40,jitter=12,defects=100", 0, 5000, 70, 900, 0x6df8805e,
		0x2ac141f4},
	    {"seed=3,somata=100,gap=0", 2, 300, 260, 240, 0x786ebb3e, 0x9a1f43d6},
	    {"seed=1,size=1048576", 0, 1048500, 1048510, 1048530, 0x7f00fa0b,
		0x462d2c3a},
	};

	for (size_t i = 0; i < FG_COUNTOF(want); i++) {
		struct fg_phantom p = params(want[i].text);
		struct fg_box b = box_at(want[i].x, want[i].y, want[i].z, 48, 40, 24);
		struct fg_array image = image_of(&p, want[i].scale, &b);
		struct fg_array labels = labels_of(&p, want[i].scale, &b);
		uint32_t ci = fg_crc32c(0, image.data, fg_array_bytes(&image));
		uint32_t cl = fg_crc32c(0, labels.data, fg_array_bytes(&labels));

		tap_ok(ci == want[i].image, "picture of \"%s\": 0x%08x", want[i].text,
		    ci);
		tap_ok(cl == want[i].labels, "labels of \"%s\": 0x%08x", want[i].text,
		    cl);
		fg_array_fini(&image);
		fg_array_fini(&labels);
	}
}

/* ------------------------------------------------------------- objects */

/* 6-connected components of equal labels: part[i] = number of the component. */
static int
components(const struct fg_array *a, int32_t *part, bool *closed, int most)
{
	const uint64_t *l = a->data;
	int64_t n[3] = {a->shape[0], a->shape[1], a->shape[2]};
	int64_t total = n[0] * n[1] * n[2];
	int64_t *stack = fg_alloc((size_t)total * sizeof *stack);
	int count = 0;

	memset(part, 0xff, (size_t)total * sizeof *part);
	for (int64_t s = 0; s < total && count < most; s++) {
		int64_t top = 0;

		if (part[s] >= 0)
			continue;
		part[s] = count;
		closed[count] = true;
		stack[top++] = s;
		while (top > 0) {
			int64_t i = stack[--top];
			int64_t at[3] = {i % n[0], i / n[0] % n[1], i / n[0] / n[1]};
			int64_t step[3] = {1, n[0], n[0] * n[1]};

			for (int k = 0; k < 6; k++) {
				int64_t to = at[k / 2] + (k % 2 ? 1 : -1);
				int64_t j = i + (k % 2 ? 1 : -1) * step[k / 2];

				if (to < 0 || to >= n[k / 2]) {
					closed[count] = false;
				} else if (part[j] < 0 && l[j] == l[s]) {
					part[j] = count;
					stack[top++] = j;
				}
			}
		}
		count++;
	}
	free(stack);
	return count;
}

/* A component that does not reach the box's sides is a whole object or an island, whose
 * label is found elsewhere too. Islands may only be slivers (phantom.h); those of
 * tubes, made of many runs, may be larger, and glia and somata are excused. */
static void
test_whole(const char *text, int64_t at)
{
	struct fg_phantom p = params(text);
	struct fg_box b = box_at(at, at, at, 144, 144, 144);
	struct fg_array a = labels_of(&p, 0, &b);
	const uint64_t *l = a.data;
	size_t total = fg_array_count(&a), slivers = 0, worst = 0;
	int32_t *part = fg_alloc(total * sizeof *part);
	bool *closed = fg_alloc(total * sizeof *closed);
	int n = components(&a, part, closed, (int)total);
	size_t *size = fg_calloc((size_t)n, sizeof *size);
	uint64_t *label = fg_calloc((size_t)n, sizeof *label);

	for (size_t i = 0; i < total; i++) {
		size[part[i]]++;
		label[part[i]] = l[i];
	}
	for (int c = 0; c < n; c++) {
		bool island = false;

		for (int e = 0; e < n && !island; e++)
			island = e != c && label[e] == label[c] &&
				 (!closed[e] || size[e] > size[c]);
		if (!closed[c] || !island || label[c] >> 48 == 24 ||
		    label[c] >> 48 == 25)
			continue;
		slivers += size[c];
		if (label[c] >> 51 != 3)
			worst = FG_MAX(worst, size[c]);
	}
	tap_ok(n > 30, "%s: %d objects and parts of them", text, n);
	tap_ok(worst <= 600 && slivers * 2000 < total,
	    "%s: %zu of %zu voxels in slivers, the largest of a run has %zu", text,
	    slivers, total, worst);
	free(label);
	free(size);
	free(closed);
	free(part);
	fg_array_fini(&a);
}

/* Membranes are dark where the truth has its gap. */
static void
test_contrast(void)
{
	struct fg_phantom p = params("seed=5");
	struct fg_box b = box_at(3000, 1000, 2000, 96, 96, 32);
	struct fg_array image = image_of(&p, 0, &b), labels = labels_of(&p, 0, &b);
	const uint8_t *v = image.data;
	const uint64_t *l = labels.data;
	double sum[2] = {0, 0}, count[2] = {0, 0};
	bool small = true;

	for (size_t i = 0; i < fg_array_count(&image); i++) {
		sum[l[i] != 0] += v[i];
		count[l[i] != 0]++;
		small = small && l[i] < (uint64_t)1 << 53;
	}
	tap_ok(count[0] > 0.08 * count[1] && count[0] < 0.5 * count[1],
	    "share of membrane %.3f", count[0] / (count[0] + count[1]));
	tap_ok(sum[0] / count[0] + 40 < sum[1] / count[1], "membranes %.1f, cells %.1f",
	    sum[0] / count[0], sum[1] / count[1]);
	tap_ok(small, "ids below 2^53");
	fg_array_fini(&image);
	fg_array_fini(&labels);
}

/* The same tissue through other voxels: 4x4x40 nm and 8 nm cubes. */
static void
test_anisotropy(void)
{
	struct fg_phantom fine = params("seed=2,nm=8,gap=0");
	struct fg_phantom flat = params("seed=2,nm=4x4x40,gap=0");
	struct fg_box b = box_at(500, 600, 700, 60, 60, 40), c;
	struct fg_array a = labels_of(&fine, 0, &b), e;
	int same = 0, all = 0;

	for (int d = 0; d < 3; d++) {
		c.lo[d] = b.lo[d] * 8 / flat.nm[d];
		c.hi[d] = b.hi[d] * 8 / flat.nm[d];
	}
	e = labels_of(&flat, 0, &c);
	for (int64_t z = 0; z < e.shape[2]; z++)
		for (int64_t y = 0; y < e.shape[1]; y++)
			for (int64_t x = 0; x < e.shape[0]; x++) {
				int64_t i = x * 4 / 8, j = y * 4 / 8;
				int64_t k = (z * 40 + 20) / 8;

				all++;
				same += ((uint64_t *)
						e.data)[x + e.shape[0] *
								(y + e.shape[1] * z)] ==
					((uint64_t *)a.data)[i + 60 * (j + 60 * k)];
			}
	tap_ok(same > 0.95 * all, "4x4x40 nm and 8 nm agree in %.4f of the voxels",
	    (double)same / all);
	fg_array_fini(&a);
	fg_array_fini(&e);
}

/* ------------------------------------------------------------- lines */

struct lines {
	const struct fg_phantom *p;
	struct fg_box box;
	const struct fg_array *labels;
	int count, right, outside;
};

static uint64_t
label_at(const struct lines *k, const double at[3])
{
	int64_t i[3];

	for (int d = 0; d < 3; d++) {
		i[d] = (int64_t)at[d] - k->box.lo[d];
		if (i[d] < 0 || i[d] >= k->labels->shape[d])
			return 0;
	}
	return ((
	    uint64_t *)k->labels->data)[i[0] + k->labels->shape[0] *
						   (i[1] + k->labels->shape[1] * i[2])];
}

/* A centre line's middle lies in its object, a synapse's ends in their two. */
static int
count_line(const struct fg_phantom_line *line, void *arg)
{
	struct lines *k = arg;
	double mid[3];

	for (int d = 0; d < 3; d++)
		mid[d] = 0.5 * (line->from[d] + line->to[d]);
	if (line->a == line->b) {
		uint64_t l = label_at(k, mid);

		k->outside += l == 0;
		k->count++;
		k->right += l == line->a || l == 0;
	} else {
		uint64_t from = label_at(k, line->from), to = label_at(k, line->to);

		k->outside += to == 0;
		k->count++;
		k->right += from == line->a && (to == line->b || to == 0);
	}
	return 0;
}

static int
stop_at_once(const struct fg_phantom_line *line FG_UNUSED, void *arg)
{
	++*(int *)arg;
	return 7;
}

static void
test_lines(void)
{
	struct fg_phantom p = params("seed=11,gap=0");
	struct fg_box b = box_at(2000, 3000, 100, 128, 128, 128);
	struct fg_array a = labels_of(&p, 0, &b);
	struct lines k = {&p, b, &a, 0, 0, 0};
	int calls = 0;

	tap_int(fg_phantom_curves(&p, &b, count_line, &k), 0, "centre lines");
	tap_ok(k.count > 60 && k.right >= 0.98 * k.count,
	    "%d of %d lines lie in their object (%d end outside)", k.right, k.count,
	    k.outside);
	k.count = k.right = k.outside = 0;
	tap_int(fg_phantom_synapses(&p, &b, count_line, &k), 0, "synapses");
	tap_ok(k.count > 4 && k.right >= 0.9 * k.count,
	    "%d of %d synapses join their two objects (%d end outside)", k.right,
	    k.count, k.outside);
	tap_int(fg_phantom_curves(&p, &b, stop_at_once, &calls), 7, "walk ended early");
	tap_int(calls, 1, "after one call");
	fg_array_fini(&a);
}

/* ------------------------------------------------------------- source */

static void
test_source(void)
{
	struct fg_source *s =
	    fg_source_open("phantom:seed=4,size=1000x600x300,chunk=32", &err);
	struct fg_source *t =
	    fg_source_open("phantom:seed=4,labels=1,size=1000x600x300", &err);
	struct fg_array a, b;
	struct fg_buf *buf = NULL;
	struct fg_box vx;
	int64_t ch[3] = {3, 2, 1};

	if (!tap_ok(s && t, "sources open"))
		printf("# %s\n", err.msg);
	tap_int(s->info.scales, 3, "scales down to 256 voxels");
	tap_str(s->info.scale[1].key, "16_16_16", "key of the second");
	tap_int(s->info.scale[1].size[0], 500, "its size");
	tap_int(s->info.scale[0].chunk[0], 32, "chunk size");
	tap_int(t->info.scale[0].encoding, FG_ENC_CSEG, "labels are compressed");
	tap_int(t->info.dtype, FG_U64, "and uint64");
	for (int scale = 0; scale < 2; scale++) {
		fg_scale_chunk_box(&t->info.scale[scale], ch, &vx);
		a = array(FG_U64, &vx);
		b = array(FG_U64, &vx);
		tap_rc(fg_source_chunk(t, scale, ch, &buf, &err), &err, "chunk");
		tap_rc(fg_codec_decode(&t->info.scale[scale], buf->data, buf->len, &a,
			   &err),
		    &err, "decodes");
		tap_rc(fg_source_box(t, scale, &vx, &b, NULL, &err), &err, "box");
		tap_ok(memcmp(a.data, b.data, fg_array_bytes(&a)) == 0,
		    "chunk and box agree at scale %d", scale);
		fg_buf_unref(buf);
		fg_array_fini(&a);
		fg_array_fini(&b);
	}
	fg_source_close(s);
	fg_source_close(t);
	s = fg_source_open("phantom:encoding=png,size=100", &err);
	tap_ok(s && s->info.scale[0].encoding == FG_ENC_PNG && s->info.scales == 1,
	    "another encoding");
	fg_source_close(s);
	tap_fails(fg_source_open("phantom:chunk=7", &err) ? 0 : -1, &err, FG_EINVAL,
	    "8 .. 512", "chunk too small");
	tap_fails(fg_source_open("phantom:encoding=jpeg2", &err) ? 0 : -1, &err,
	    FG_EINVAL, "jpeg2", "unknown encoding");
	tap_fails(fg_source_open("phantom:encoding=jpeg,labels=1", &err) ? 0 : -1, &err,
	    FG_EINVAL, "jpeg", "labels as jpeg");
	tap_fails(fg_source_open("phantom:labels=yes", &err) ? 0 : -1, &err, FG_EINVAL,
	    "labels=yes: wanted 0 or 1", "labels neither 0 nor 1");
	tap_fails(fg_source_open("phantom:size=1048576,nm=100", &err) ? 0 : -1, &err,
	    FG_EINVAL, "ids would repeat", "more than the names can tell apart");
	s = fg_source_open("phantom:size=1048576,nm=4x4x40", &err);
	tap_ok(s != NULL, "2^20 voxels of 4x4x40 nm");
	fg_source_close(s);
}

static void
test_misuse(void)
{
	struct fg_phantom p = params("");
	struct fg_box b = box_at(0, 0, 0, 8, 8, 8), far = b;
	struct fg_array a = array(FG_U8, &b);

	tap_fails(fg_phantom_labels(&p, 0, &b, &a, &err), &err, FG_EINVAL,
	    "wanted uint64", "labels into bytes");
	tap_fails(fg_phantom_image(&p, 21, &b, &a, &err), &err, FG_EINVAL,
	    "no scale 21", "scale");
	b.hi[1] = 9;
	tap_fails(fg_phantom_image(&p, 0, &b, &a, &err), &err, FG_EINVAL,
	    "array of 8 voxels for a box of 9 on axis 1", "shape");
	far.lo[2] = (int64_t)1 << 40;
	far.hi[2] = far.lo[2] + 8;
	tap_fails(fg_phantom_image(&p, 0, &far, &a, &err), &err, FG_EINVAL, "2^21",
	    "far away");
	fg_array_fini(&a);
}

int
main(void)
{
	test_parse();
	test_boxes("seed=1", 0, 1000);
	test_boxes("seed=2,nm=4x4x40,jitter=20,defects=200", 0, 30001);
	test_boxes("seed=3,nm=5x6x7,calibre=900,somata=100", 0, -20);
	test_boxes("seed=4,size=1048576", 0, 1048500);
	test_boxes("seed=5,size=1048576", 6, 9000);
	test_checksums();
	test_whole("seed=1,gap=0", 600);
	test_whole("seed=8,gap=0,nm=10,calibre=300", 3000);
	test_contrast();
	test_anisotropy();
	test_lines();
	test_source();
	test_misuse();
	return tap_done();
}
