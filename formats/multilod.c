/* SPDX-License-Identifier: Apache-2.0 */
/* Manifests of multi-resolution meshes: one header, then positions and sizes of each
 * level, positions axis by axis. */
#include "config.h"

#include "formats/multilod.h"

#include <math.h>
#include <stdlib.h>

#include "base/json.h"

#define HEAD 28  /* chunk, origin, number of levels */
#define LEVEL 20 /* scale, offset, number of nodes */
#define NODE 16  /* position, bytes */

void
fg_multilod_fini(struct fg_multilod *m)
{
	for (uint32_t l = 0; l < FG_MULTILOD_LEVELS; l++) {
		free(m->level[l].at);
		free(m->level[l].bytes);
	}
	*m = (struct fg_multilod){0};
}

uint64_t
fg_multilod_bytes(const struct fg_multilod *m)
{
	uint64_t n = 0;

	for (uint32_t l = 0; l < m->levels; l++) {
		for (uint32_t i = 0; i < m->level[l].nodes; i++)
			n += m->level[l].bytes[i];
	}
	return n;
}

bool
fg_multilod_before(const uint32_t a[3], const uint32_t b[3])
{
	int highest = 2;

	/* The axis whose highest differing bit is highest decides; z before y before
	 * x where they are alike. */
	for (int d = 1; d >= 0; d--) {
		uint32_t best = a[highest] ^ b[highest], mine = a[d] ^ b[d];

		if (best < mine && best < (best ^ mine))
			highest = d;
	}
	return a[highest] < b[highest];
}

static uint8_t *
put_f32(uint8_t *p, float v)
{
	uint32_t bits;

	memcpy(&bits, &v, 4);
	fg_put_u32le(p, bits);
	return p + 4;
}

static float
get_f32(const uint8_t *p)
{
	uint32_t bits = fg_get_u32le(p);
	float v;

	memcpy(&v, &bits, 4);
	return v;
}

int
fg_multilod_encode(const struct fg_multilod *m, struct fg_buf **out, struct fg_err *err)
{
	size_t n = HEAD + (size_t)m->levels * LEVEL;

	fg_assert(m->levels <= FG_MULTILOD_LEVELS);
	for (uint32_t l = 0; l < m->levels; l++)
		n += (size_t)m->level[l].nodes * NODE;
	struct fg_buf *b = fg_buf_new(n);
	if (!b)
		return fg_fail(err, FG_ENOMEM, "no memory for a manifest");
	uint8_t *p = b->data;
	for (int d = 0; d < 3; d++)
		p = put_f32(p, m->chunk[d]);
	for (int d = 0; d < 3; d++)
		p = put_f32(p, m->origin[d]);
	fg_put_u32le(p, m->levels);
	p += 4;
	for (uint32_t l = 0; l < m->levels; l++)
		p = put_f32(p, m->level[l].scale);
	for (uint32_t l = 0; l < m->levels; l++) {
		for (int d = 0; d < 3; d++)
			p = put_f32(p, m->level[l].offset[d]);
	}
	for (uint32_t l = 0; l < m->levels; l++, p += 4)
		fg_put_u32le(p, m->level[l].nodes);
	for (uint32_t l = 0; l < m->levels; l++) {
		const struct fg_multilod_level *v = &m->level[l];

		for (size_t d = 0; d < 3; d++) {
			for (size_t i = 0; i < v->nodes; i++, p += 4)
				fg_put_u32le(p, v->at[3 * i + d]);
		}
		for (size_t i = 0; i < v->nodes; i++, p += 4)
			fg_put_u32le(p, v->bytes[i]);
	}
	fg_assert(p == b->data + n);
	*out = b;
	return 0;
}

/* --- reading */

static int
decode_head(const uint8_t *p, size_t n, struct fg_multilod *m, struct fg_err *err)
{
	if (n < HEAD)
		return fg_fail(err, FG_ECORRUPT, "mesh manifest has %zu bytes, not %d",
		    n, HEAD);
	for (int d = 0; d < 3; d++) {
		m->chunk[d] = get_f32(p + 4 * d);
		m->origin[d] = get_f32(p + 12 + 4 * d);
		if (!isfinite(m->chunk[d]) || m->chunk[d] <= 0)
			return fg_fail(err, FG_ECORRUPT,
			    "mesh manifest: nodes are %g along axis %d",
			    (double)m->chunk[d], d);
		if (!isfinite(m->origin[d]))
			return fg_fail(err, FG_ECORRUPT,
			    "mesh manifest: the grid's origin is not finite");
	}
	m->levels = fg_get_u32le(p + 24);
	if (m->levels == 0)
		return fg_fail(err, FG_ECORRUPT, "mesh manifest has no level");
	if ((n - HEAD) / LEVEL < m->levels)
		return fg_fail(err, FG_ECORRUPT,
		    "mesh manifest has %zu bytes, too few for %u levels", n, m->levels);
	if (m->levels > FG_MULTILOD_LEVELS)
		return fg_fail(err, FG_ENOTSUP,
		    "mesh manifest has %u levels, more than %d", m->levels,
		    FG_MULTILOD_LEVELS);
	return 0;
}

/* Scales, offsets and counts, which must give the length. */
static int
decode_levels(const uint8_t *p, size_t n, struct fg_multilod *m, struct fg_err *err)
{
	const uint8_t *scale = p + HEAD, *offset = scale + 4 * (size_t)m->levels;
	const uint8_t *count = offset + 12 * (size_t)m->levels;
	uint64_t want = HEAD + (uint64_t)m->levels * LEVEL;
	float last = 0;

	for (uint32_t l = 0; l < m->levels; l++) {
		struct fg_multilod_level *v = &m->level[l];

		v->scale = get_f32(scale + 4 * l);
		if (!isfinite(v->scale) || (v->scale != 0 && v->scale < last))
			return fg_fail(err, FG_ECORRUPT,
			    "mesh manifest: level %u has scale %g after %g", l,
			    (double)v->scale, (double)last);
		last = FG_MAX(last, v->scale);
		for (int d = 0; d < 3; d++) {
			v->offset[d] = get_f32(offset + 12 * l + 4 * d);
			if (!isfinite(v->offset[d]))
				return fg_fail(err, FG_ECORRUPT,
				    "mesh manifest: level %u has no finite offset", l);
		}
		v->nodes = fg_get_u32le(count + 4 * l);
		want += (uint64_t)v->nodes * NODE;
	}
	if (want != n)
		return fg_fail(err, FG_ECORRUPT,
		    "mesh manifest has %zu bytes, its counts make %llu", n,
		    (unsigned long long)want);
	return 0;
}

static int
decode_nodes(const uint8_t *p, uint32_t l, struct fg_multilod_level *v,
    struct fg_err *err)
{
	v->at = fg_try_alloc((size_t)v->nodes * 3, sizeof *v->at);
	v->bytes = fg_try_alloc(v->nodes, sizeof *v->bytes);
	if (!v->at || !v->bytes)
		return fg_fail(err, FG_ENOMEM, "no memory for %u nodes", v->nodes);
	for (size_t d = 0; d < 3; d++) {
		for (size_t i = 0; i < v->nodes; i++, p += 4)
			v->at[3 * i + d] = fg_get_u32le(p);
	}
	for (size_t i = 0; i < v->nodes; i++, p += 4) {
		v->bytes[i] = fg_get_u32le(p);
		if (i && !fg_multilod_before(v->at + 3 * i - 3, v->at + 3 * i))
			return fg_fail(err, FG_ECORRUPT,
			    "mesh manifest: node %zu of level %u is not in Z order", i,
			    l);
	}
	return 0;
}

int
fg_multilod_decode(const uint8_t *p, size_t n, struct fg_multilod *out,
    struct fg_err *err)
{
	struct fg_multilod m = {0};

	if (decode_head(p, n, &m, err) < 0 || decode_levels(p, n, &m, err) < 0)
		return -1;
	p += HEAD + (size_t)m.levels * LEVEL;
	for (uint32_t l = 0; l < m.levels; l++) {
		if (decode_nodes(p, l, &m.level[l], err) < 0) {
			fg_multilod_fini(&m);
			return -1;
		}
		p += (size_t)m.level[l].nodes * NODE;
	}
	*out = m;
	return 0;
}

struct fg_buf *
fg_multilod_info(unsigned bits, const struct fg_sharding *sharding)
{
	json_t *j;
	char *text;

	fg_assert(bits == 10 || bits == 16);
	j = json_pack("{s:s,s:i,s:i,s:[i,i,i,i,i,i,i,i,i,i,i,i]}", "@type",
	    "neuroglancer_multilod_draco", "vertex_quantization_bits", (int)bits,
	    "lod_scale_multiplier", 1, "transform", 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0);
	fg_assert(j);
	if (sharding)
		json_object_set_new(j, "sharding", fg_sharding_format(sharding));
	text = fg_json_format(j);
	json_decref(j);
	return fg_buf_take(text, strlen(text));
}
