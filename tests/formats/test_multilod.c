/* SPDX-License-Identifier: Apache-2.0 */
/* Manifests of multi-resolution meshes; the expected bytes are put together by hand
 * from the description of the format. */
#include "config.h"

#include "formats/multilod.h"

#include "tests/tap.h"

static struct fg_err err = FG_ERR_INIT;
static uint32_t at0[] = {0, 0, 0, 1, 0, 0, 0, 1, 0}, at1[] = {0, 0, 0};
static uint32_t size0[] = {100, 0, 7}, size1[] = {55};
static const struct fg_multilod two = {.chunk = {512, 512, 640},
    .origin = {-36, 804, 10.5f},
    .levels = 2,
    .level = {{.scale = 0.5f, .nodes = 3, .at = at0, .bytes = size0},
	{.scale = 17.25f, .nodes = 1, .at = at1, .bytes = size1}}};
static const uint8_t bytes[] = {0, 0, 0, 0x44, 0, 0, 0, 0x44, 0, 0, 0x20, 0x44, 0, 0,
    0x10, 0xc2, 0, 0, 0x49, 0x44, 0, 0, 0x28, 0x41, 2, 0, 0, 0, 0, 0, 0, 0x3f, 0, 0,
    0x8a, 0x41, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    3, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x64, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x37, 0, 0, 0};

static void
test_good(void)
{
	static const char info[] =
	    "{\"@type\":\"neuroglancer_multilod_draco\",\"lod_scale_multiplier\":1,"
	    "\"transform\":[1,0,0,0,0,1,0,0,0,0,1,0],\"vertex_quantization_bits\":16}";
	struct fg_sharding s = {.present = true, .murmur = true, .shard_bits = 3};
	struct fg_multilod m = {0};
	struct fg_buf *b = NULL;

	tap_rc(fg_multilod_encode(&two, &b, &err), &err, "encode");
	tap_ok(b->len == sizeof bytes && memcmp(b->data, bytes, b->len) == 0,
	    "the bytes of the description");
	fg_buf_unref(b);
	tap_rc(fg_multilod_decode(bytes, sizeof bytes, &m, &err), &err, "decode");
	tap_ok(m.levels == 2 && m.level[0].nodes == 3 && m.level[0].at[7] == 1 &&
		   m.level[0].bytes[2] == 7 && m.level[1].scale == 17.25f,
	    "the same manifest");
	tap_int(fg_multilod_bytes(&m), 162, "length of the data");
	fg_multilod_fini(&m);
	b = fg_multilod_info(16, NULL);
	tap_ok(b->len == sizeof info - 1 && memcmp(b->data, info, b->len) == 0, "info");
	fg_buf_unref(b);
	b = fg_multilod_info(10, &s);
	b->data[b->len - 1] = 0;
	tap_ok(strstr((char *)b->data, "\"sharding\":{") &&
		   strstr((char *)b->data, "neuroglancer_uint64_sharded_v1") &&
		   strstr((char *)b->data, "\"vertex_quantization_bits\":10"),
	    "info of a sharded directory");
	fg_buf_unref(b);
}

/* Bytes with `v` written over those at `off` are refused. */
static void
refused(size_t off, uint32_t v, enum fg_code code, const char *part, const char *what)
{
	struct fg_multilod m;
	uint8_t bad[sizeof bytes];

	memcpy(bad, bytes, sizeof bad);
	fg_put_u32le(bad + off, v);
	tap_fails(fg_multilod_decode(bad, sizeof bad, &m, &err), &err, code, part,
	    what);
}

static void
test_bad(void)
{
	const uint32_t nan = 0x7fc00000, minus = 0xbf800000;
	struct fg_multilod m;

	tap_fails(fg_multilod_decode(bytes, 27, &m, &err), &err, FG_ECORRUPT,
	    "27 bytes", "no room for the head");
	tap_fails(fg_multilod_decode(bytes, 60, &m, &err), &err, FG_ECORRUPT,
	    "too few for 2 levels", "no room for the levels");
	tap_fails(fg_multilod_decode(bytes, sizeof bytes - 1, &m, &err), &err,
	    FG_ECORRUPT, "has 131 bytes, its counts make 132", "cut short");
	refused(0, 0, FG_ECORRUPT, "along axis 0", "nodes of no size");
	refused(4, minus, FG_ECORRUPT, "along axis 1", "nodes of negative size");
	refused(20, nan, FG_ECORRUPT, "origin", "an origin that is no number");
	refused(24, 0, FG_ECORRUPT, "no level", "no level");
	refused(24, UINT32_MAX, FG_ECORRUPT, "too few for 4294967295 levels",
	    "more levels than bytes");
	refused(32, 0x3e800000, FG_ECORRUPT, "level 1 has scale 0.25 after 0.5",
	    "scales that decrease");
	refused(28, nan, FG_ECORRUPT, "level 0 has scale", "a scale that is no number");
	refused(36, nan, FG_ECORRUPT, "offset", "an offset that is no number");
	refused(60, UINT32_MAX, FG_ECORRUPT, "its counts make", "too many nodes");
	refused(60, 2, FG_ECORRUPT, "has 132 bytes, its counts make 116",
	    "too few nodes");
	refused(72, 0, FG_ECORRUPT, "node 1 of level 0 is not in Z order",
	    "a node twice");
	uint8_t many[28 + 33 * 20] = {0};
	memcpy(many, bytes, 24);
	many[24] = 33;
	tap_fails(fg_multilod_decode(many, sizeof many, &m, &err), &err, FG_ENOTSUP,
	    "33 levels", "more levels than wanted");
}

/* Z order against codes made bit by bit. */
static void
test_order(void)
{
	size_t wrong = 0;

	for (uint32_t i = 0; i < 64; i++) {
		for (uint32_t j = 0; j < 64; j++) {
			const uint32_t top = UINT32_C(1) << 31;
			uint32_t a[3] = {0}, b[3] = {0};

			for (int bit = 0; bit < 6; bit++) {
				uint32_t v = bit < 3 ? 1 : top;

				a[bit % 3] |= i >> bit & 1 ? v : 0;
				b[bit % 3] |= j >> bit & 1 ? v : 0;
			}
			wrong += fg_multilod_before(a, b) != (i < j);
		}
	}
	tap_int(wrong, 0, "Z order, lowest and highest bits");
}

int
main(void)
{
	test_good();
	test_bad();
	test_order();
	return tap_done();
}
