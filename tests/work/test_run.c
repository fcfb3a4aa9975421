/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Running tasks, with a tiny network and a synthetic image: what a block's task stores
 * is compared, voxel by voxel, with fg_segment_block called here on the same box.
 */
#include "config.h"

#include "base/json.h"
#include "base/log.h"
#include "base/morton.h"
#include "formats/codec.h"
#include "tests/work/tiny_image.h"
#include "tests/work/tiny_net.h"
#include "tests/work/work_test.h"
#include "work/task.h"

static char *root;
static struct fg_store *store;
static struct fg_catalog *catalog;
static struct fg_engines *engines;
static struct fg_layer *layer;

static void
must(bool ok, const struct fg_err *err)
{
	if (ok)
		return;
	printf("Bail out! %s\n", err->msg);
	exit(1);
}

static void
add(const char *fmt, struct fg_layer **out)
{
	struct fg_err err = FG_ERR_INIT;
	char *text = fg_asprintf(fmt, root);
	json_t *j = json_loads(text, 0, NULL);

	must(j && fg_catalog_add(catalog, j, out, &err) == 0, &err);
	json_decref(j);
	free(text);
}

static void
setup(void)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_layer *em;

	root = wt_folder();
	char *em_path = fg_asprintf("%s/layers/em", root);
	char *net = fg_asprintf("%s/net", root);
	tiny_image(em_path, false);
	tiny_net(net, 20);
	store = wt_store(root);
	catalog = fg_catalog_open(store, &err);
	must(catalog != NULL, &err);
	add("{\"name\":\"em\",\"source\":\"%s/layers/em\"}", &em);
	add("{\"name\":\"seg\",\"ffn\":{\"image\":\"em\",\"model\":\"%s/net\","
	    "\"fov\":[9,9,9],\"delta\":[2,2,2],\"precision\":\"f32\","
	    "\"block\":[16,16,16],\"chunk\":[8,8,8],\"halo\":[10,10,10],\"prob\":true,"
	    "\"min_segment_size\":5}}",
	    &layer);
	fg_layer_unref(em);
	engines = fg_engines_new(NULL, 0, &err);
	must(engines != NULL, &err);
	free(em_path);
	free(net);
}

static int
run(uint64_t at, struct fg_output *out, struct fg_err *err)
{
	struct fg_task t = {
	    .key = {.layer = layer->id, .kind = FG_KIND_BLOCK, .at = at},
	    .layer = layer,
	};
	struct fg_env env = {.engines = engines, .worker = "test"};

	return fg_task_run(&t, &env, out, err);
}

/* The same box by hand; `lost` voxels of the image are absent. */
static void
by_hand(const struct fg_box *box, const struct fg_box *lost, struct fg_array *labels,
    struct fg_seg_stats *stats)
{
	struct fg_err err = FG_ERR_INIT;
	const struct fg_recipe *r = layer->recipe;
	struct fg_array image, mask;
	int64_t shape[4] = {1, 1, 1, 1};
	const _Atomic int cls = FG_BULK;
	const _Atomic bool cancel = false;
	struct fg_engine *e = fg_engines_get(engines, r->model, r->model_sha256,
	    &r->shape, r->precision, &err);
	size_t n = 0;

	must(e != NULL, &err);
	fg_box_shape(box, shape);
	must(fg_array_init(&image, FG_U8, shape, &err) == 0 &&
		 fg_array_init(&mask, FG_U8, shape, &err) == 0 &&
		 fg_array_init(labels, FG_U32, shape, &err) == 0,
	    &err);
	for (int64_t z = box->lo[2]; z < box->hi[2]; z++) {
		for (int64_t y = box->lo[1]; y < box->hi[1]; y++) {
			for (int64_t x = box->lo[0]; x < box->hi[0]; x++, n++) {
				struct fg_box p = {{x, y, z}, {x + 1, y + 1, z + 1}};
				bool gone = lost && fg_box_contains(lost, &p);

				((uint8_t *)image.data)[n] =
				    gone ? 0 : tiny_voxel(x, y, z);
				((uint8_t *)mask.data)[n] = gone;
			}
		}
	}
	struct fg_block_call call = {.image = &image,
	    .mask = lost ? &mask : NULL,
	    .params = &r->flood,
	    .cls = &cls,
	    .cancel = &cancel};
	must(fg_segment_block(fg_engine_batcher(e), &call, labels, NULL, stats, &err) ==
		 0,
	    &err);
	fg_array_fini(&image);
	fg_array_fini(&mask);
}

static const struct fg_payload *
find(const struct fg_output *out, enum fg_kind kind, uint64_t at, uint32_t part)
{
	for (size_t i = 0; i < out->result.payloads; i++) {
		const struct fg_payload *p = &out->result.payload[i];

		if (p->key.kind == kind && p->key.at == at && p->part == part)
			return p;
	}
	return NULL;
}

/* Label -> number within the block, by scanning the core here: labels in ascending
 * order of those that have a core voxel. */
static uint32_t
number(const struct fg_array *labels, const struct fg_box *box,
    const struct fg_box *core, uint32_t local[256])
{
	bool seen[256] = {false};
	uint32_t n = 0;
	size_t i = 0;

	for (int64_t z = box->lo[2]; z < box->hi[2]; z++) {
		for (int64_t y = box->lo[1]; y < box->hi[1]; y++) {
			for (int64_t x = box->lo[0]; x < box->hi[0]; x++, i++) {
				struct fg_box p = {{x, y, z}, {x + 1, y + 1, z + 1}};

				if (fg_box_contains(core, &p))
					seen[((uint32_t *)labels->data)[i]] = true;
			}
		}
	}
	local[0] = 0;
	for (int k = 1; k < 256; k++)
		local[k] = seen[k] ? ++n : 0;
	return n;
}

static uint32_t
label_at(const struct fg_array *labels, const struct fg_box *box, int64_t x, int64_t y,
    int64_t z)
{
	return (
	    (uint32_t *)labels
		->data)[(x - box->lo[0]) +
			labels->shape[0] *
			    ((y - box->lo[1]) + labels->shape[1] * (z - box->lo[2]))];
}

/* Voxels of a chunk that differ from the labels made by hand; -1: no such payload. */
static int
chunk_errors(const struct fg_output *out, const int64_t ch[3], const int64_t blk[3],
    const struct fg_array *labels, const struct fg_box *box, const uint32_t local[256])
{
	const struct fg_payload *p = find(out, FG_KIND_CHUNK, fg_morton_encode(ch), 0);
	struct fg_err err = FG_ERR_INIT;
	int64_t shape[4] = {1, 1, 1, 1};
	struct fg_array a;
	struct fg_box vx;
	int wrong = 0;
	size_t i = 0;

	if (!p)
		return -1;
	fg_scale_chunk_box(&layer->info.scale[0], ch, &vx);
	fg_box_shape(&vx, shape);
	must(fg_array_init_zero(&a, FG_U64, shape, &err) == 0, &err);
	if (p->state == FG_PRESENT)
		must(fg_codec_decode(&layer->info.scale[0], p->bytes->data,
			 p->bytes->len, &a, &err) == 0,
		    &err);
	else if (p->state != FG_EMPTY || p->bytes)
		wrong++;
	else
		wrong += 0;
	bool any = !fg_array_is_zero(&a);
	wrong += p->state == FG_PRESENT && !any;
	for (int64_t z = vx.lo[2]; z < vx.hi[2]; z++) {
		for (int64_t y = vx.lo[1]; y < vx.hi[1]; y++) {
			for (int64_t x = vx.lo[0]; x < vx.hi[0]; x++) {
				uint32_t n = local[label_at(labels, box, x, y, z)];
				uint64_t want =
				    n ? fg_recipe_id(layer->recipe, blk, n) : 0;

				wrong += ((uint64_t *)a.data)[i++] != want;
			}
		}
	}
	fg_array_fini(&a);
	return wrong;
}

static int
face_errors(const struct fg_output *out, int face, const int64_t blk[3],
    const struct fg_array *labels, const struct fg_box *box, const uint32_t local[256])
{
	static const int64_t cseg[3] = {8, 8, 8};
	const struct fg_payload *p =
	    find(out, FG_KIND_FACE, fg_morton_encode(blk), (uint32_t)face);
	struct fg_err err = FG_ERR_INIT;
	int64_t shape[4] = {1, 1, 1, 1};
	struct fg_array a;
	struct fg_box vx;
	int wrong = 0;
	size_t i = 0;

	if (!fg_face_box(layer->recipe, &layer->info.scale[0], blk, face, &vx))
		return p ? 1000000 : 0;
	fg_box_shape(&vx, shape);
	wrong += shape[face / 2] > 20 || !fg_box_contains(box, &vx);
	must(fg_array_init_zero(&a, FG_U32, shape, &err) == 0, &err);
	if (p)
		must(fg_cseg_decode(cseg, p->bytes->data, p->bytes->len, &a, &err) == 0,
		    &err);
	for (int64_t z = vx.lo[2]; z < vx.hi[2]; z++) {
		for (int64_t y = vx.lo[1]; y < vx.hi[1]; y++) {
			for (int64_t x = vx.lo[0]; x < vx.hi[0]; x++)
				wrong += ((uint32_t *)a.data)[i++] !=
					 local[label_at(labels, box, x, y, z)];
		}
	}
	fg_array_fini(&a);
	return wrong;
}

/* Object rows against a count made here. */
static int
object_errors(const struct fg_output *out, const int64_t blk[3],
    const struct fg_array *labels, const struct fg_box *box, const struct fg_box *core,
    const uint32_t local[256], uint32_t n)
{
	int wrong = out->result.objects != n;

	for (uint32_t k = 1; k <= n && !wrong; k++) {
		const struct fg_object_row *o = &out->result.object[k - 1];
		struct fg_box b = {{INT64_MAX, INT64_MAX, INT64_MAX},
		    {INT64_MIN, INT64_MIN, INT64_MIN}};
		uint64_t voxels = 0;

		for (int64_t z = core->lo[2]; z < core->hi[2]; z++) {
			for (int64_t y = core->lo[1]; y < core->hi[1]; y++) {
				for (int64_t x = core->lo[0]; x < core->hi[0]; x++) {
					const int64_t p[3] = {x, y, z};

					if (local[label_at(labels, box, x, y, z)] != k)
						continue;
					voxels++;
					for (int d = 0; d < 3; d++) {
						b.lo[d] = FG_MIN(b.lo[d], p[d]);
						b.hi[d] = FG_MAX(b.hi[d], p[d] + 1);
					}
				}
			}
		}
		wrong += o->id != fg_recipe_id(layer->recipe, blk, k) ||
			 o->voxels != voxels || memcmp(o->lo, b.lo, sizeof b.lo) ||
			 memcmp(o->hi, b.hi, sizeof b.hi);
	}
	return wrong;
}

/* Objects of the core against the origins of their floods. */
static int
seed_errors(const struct fg_output *out, const struct fg_seg_stats *st,
    const struct fg_box *box, const uint32_t local[256])
{
	int wrong = 0;

	for (uint64_t i = 0; i < st->objects; i++) {
		uint32_t k = local[i + 1];

		if (k == 0)
			continue;
		const struct fg_object_row *o = &out->result.object[k - 1];
		wrong += !o->seeded;
		for (int d = 0; d < 3; d++)
			wrong += o->seed[d] != box->lo[d] + st->origin[i].start[d];
	}
	return wrong;
}

static int outside; /* labels of boxes that no core voxel had, so far */

/* Run one block and compare everything; returns its number of objects. */
static uint32_t
compare(const int64_t blk[3], const struct fg_box *lost)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_output out = {0};
	struct fg_array labels;
	struct fg_box core, box;
	struct fg_seg_stats stats = {0};
	uint32_t local[256], n;
	int chunks = 0, wrong = 0, faces = 0;
	int64_t ch[3];

	fg_recipe_core(layer->recipe, &layer->info.scale[0], blk, &core);
	fg_recipe_box(layer->recipe, &layer->info.scale[0], blk, &box);
	by_hand(&box, lost, &labels, &stats);
	n = number(&labels, &box, &core, local);
	for (size_t i = 0; i < fg_array_count(&labels); i++) {
		uint32_t k = ((uint32_t *)labels.data)[i];

		outside += k && !local[k];
	}
	if (!tap_rc(run(fg_morton_encode(blk), &out, &err), &err, "run a block"))
		return 0;
	const int64_t *off = layer->info.scale[0].offset;
	for (ch[2] = (core.lo[2] - off[2]) / 8; ch[2] * 8 + off[2] < core.hi[2];
	     ch[2]++) {
		for (ch[1] = (core.lo[1] - off[1]) / 8; ch[1] * 8 + off[1] < core.hi[1];
		     ch[1]++) {
			for (ch[0] = (core.lo[0] - off[0]) / 8;
			     ch[0] * 8 + off[0] < core.hi[0]; ch[0]++) {
				chunks++;
				int e =
				    chunk_errors(&out, ch, blk, &labels, &box, local);
				wrong += e < 0 ? 1000000 : e;
				wrong += find(&out, FG_KIND_PROB, fg_morton_encode(ch),
					     0) == NULL;
			}
		}
	}
	tap_int(wrong, 0, "block %d,%d,%d: %d chunks equal fg_segment_block's labels",
	    (int)blk[0], (int)blk[1], (int)blk[2], chunks);
	for (int f = 0; f < 6; f++)
		faces += face_errors(&out, f, blk, &labels, &box, local);
	tap_int(faces, 0, "its faces too");
	tap_int(object_errors(&out, blk, &labels, &box, &core, local, n), 0,
	    "its %u objects are counted right", n);
	tap_int(seed_errors(&out, &stats, &box, local), 0,
	    "and began where floods did");
	fg_seg_stats_fini(&stats);
	fg_array_fini(&labels);
	fg_output_fini(&out);
	return n;
}

static void
test_blocks(void)
{
	uint32_t objects = 0;

	tap_ok(layer->blocks[0] == 3 && layer->blocks[1] == 2 && layer->blocks[2] == 1,
	    "six blocks, the last of each row is cut");
	for (int64_t y = 0; y < 2; y++) {
		for (int64_t x = 0; x < 3; x++)
			objects += compare((int64_t[3]){x, y, 0}, NULL);
	}
	tap_int(objects, 3, "both objects, one of them in two blocks");
	tap_ok(outside > 0, "and some in the halo alone are left out");
}

static void
test_provenance(void)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_output a = {0}, b = {0};
	bool same = true;

	tap_rc(run(1, &a, &err), &err, "run");
	tap_rc(run(1, &b, &err), &err, "and again");
	for (size_t i = 0; i < a.result.payloads; i++) {
		const struct fg_payload *p = &a.payload[i], *q = &b.payload[i];

		same &= fg_key_equal(&p->key, &q->key) && p->state == q->state &&
			(p->bytes == NULL) == (q->bytes == NULL);
		if (p->bytes && q->bytes)
			same &=
			    p->bytes->len == q->bytes->len &&
			    memcmp(p->bytes->data, q->bytes->data, p->bytes->len) == 0;
	}
	tap_ok(same && a.result.payloads == b.result.payloads, "the same bytes");
	tap_ok(strncmp(a.result.device, "cpu:0", 5) == 0, "devices: %s",
	    a.result.device);
	tap_str(a.result.worker, "test", "worker");
	tap_str(a.result.version, PACKAGE_VERSION, "version");
	json_t *j = json_loads(a.result.stats, 0, NULL);
	tap_ok(json_integer_value(json_object_get(j, "steps")) > 0, "stats: %s",
	    a.result.stats);
	tap_ok(a.result.started_ms > 0 && a.result.ended_ms >= a.result.started_ms,
	    "times");
	json_decref(j);
	fg_output_fini(&a);
	fg_output_fini(&b);
}

static void
test_cancel(void)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_task t = {
	    .key = {.layer = layer->id, .kind = FG_KIND_BLOCK},
	    .layer = layer,
	    .cancel = true,
	};
	struct fg_env env = {.engines = engines};
	struct fg_output out = {0};

	tap_fails(fg_task_run(&t, &env, &out, &err), &err, FG_ECANCELED, "",
	    "cancelled");
	t.cancel = false;
	t.key.at = fg_morton_encode((int64_t[3]){3, 0, 0});
	tap_fails(fg_task_run(&t, &env, &out, &err), &err, FG_EINVAL, "outside",
	    "a block outside the grid");
	tap_ok(out.payload == NULL, "the output is untouched");
}

/* ------------------------------------------------------------- coarse chunks */

struct shelf {
	uint64_t missing; /* Morton code of a chunk that is absent, or UINT64_MAX */
	int reads;
};

/* A finer chunk whose voxels are all 7 + its x position in the grid. */
static int
child(void *ctx, const struct fg_key *key, enum fg_state *state, struct fg_buf **out,
    struct fg_err *err)
{
	struct shelf *s = ctx;
	const struct fg_scale *sc = &layer->info.scale[key->scale];
	int64_t ch[3], shape[4] = {1, 1, 1, 1};
	struct fg_array a;
	struct fg_box vx;
	int rc;

	s->reads++;
	*state = FG_ABSENT;
	if (key->at == s->missing)
		return 0;
	fg_morton_decode(key->at, ch);
	fg_scale_chunk_box(sc, ch, &vx);
	fg_box_shape(&vx, shape);
	if (fg_array_init(&a, FG_U64, shape, err) < 0)
		return -1;
	for (size_t i = 0; i < fg_array_count(&a); i++)
		((uint64_t *)a.data)[i] = 7 + (uint64_t)ch[0];
	*state = FG_PRESENT;
	rc = fg_codec_encode(sc, &a, out, err);
	fg_array_fini(&a);
	return rc;
}

static void
test_coarse(void)
{
	struct fg_err err = FG_ERR_INIT;
	struct shelf s = {.missing = UINT64_MAX};
	struct fg_task t = {
	    .key = {.layer = layer->id,
		.kind = FG_KIND_CHUNK,
		.scale = 1,
		.at = fg_morton_encode((int64_t[3]){2, 1, 0})},
	    .layer = layer,
	};
	struct fg_env env = {.child = child, .ctx = &s};
	struct fg_output out = {0};
	struct fg_array a;

	/* Scale 1 (2 x 2 x 1) is 21 x 13 x 16 at (2, -2, 100): the offset of scale 0 is
	 * odd. Its chunk (2, 1, 0) has 5 x 5 x 8 voxels, the first windows of which
	 * reach into the finer chunks before. */
	tap_rc(fg_task_run(&t, &env, &out, &err), &err, "a coarse chunk at the end");
	tap_int(s.reads, 4, "reads the finer chunks below it");
	tap_ok(out.result.payloads == 1 && out.payload[0].state == FG_PRESENT &&
		   fg_key_equal(&out.payload[0].key, &t.key),
	    "is one payload");
	must(fg_array_init(&a, FG_U64, (int64_t[4]){5, 5, 8, 1}, &err) == 0, &err);
	tap_rc(fg_codec_decode(&layer->info.scale[1], out.payload[0].bytes->data,
		   out.payload[0].bytes->len, &a, &err),
	    &err, "of its shape");
	tap_int(((uint64_t *)a.data)[199], 11, "with the voxels below");
	fg_array_fini(&a);
	fg_output_fini(&out);

	t.key.at = 0;
	s.missing = fg_morton_encode((int64_t[3]){1, 0, 0});
	tap_rc(fg_task_run(&t, &env, &out, &err), &err, "one with a hole below");
	tap_int(out.payload[0].state, FG_PARTIAL, "is PARTIAL");
	must(fg_array_init(&a, FG_U64, (int64_t[4]){8, 8, 8, 1}, &err) == 0, &err);
	tap_rc(fg_codec_decode(&layer->info.scale[1], out.payload[0].bytes->data,
		   out.payload[0].bytes->len, &a, &err),
	    &err, "decodes");
	const uint64_t *v = a.data;
	tap_ok(v[0] == 7 && v[3] == 7 && v[5] == 0 && v[7] == 0 && v[5 + 8 * 5] == 8,
	    "with background in the hole");
	tap_ok(v[4] == 7 && v[5 + 8 * 4] == 0, "and the vote where windows meet it");
	fg_array_fini(&a);
	fg_output_fini(&out);
	t.key.scale = 9;
	tap_fails(fg_task_run(&t, &env, &out, &err), &err, FG_EINVAL, "no coarse scale",
	    "a scale that is not there");
}

/* ------------------------------------------------------------- holes in the image */

static void
test_mask(void)
{
	/* Image chunk (2, 0, 0): voxels 37..45, -3..13, 100..116. */
	struct fg_box lost = {{37, -3, 100}, {45, 13, 116}};
	char *path = fg_asprintf("%s/layers/em/16/37-45_-3-13_100-116", root);
	struct fg_err err = FG_ERR_INIT;
	struct fg_output out = {0};

	tap_ok(unlink(path) == 0, "a chunk of the image goes away");
	uint32_t n = compare((int64_t[3]){1, 0, 0}, &lost);
	tap_ok(n > 0, "what is left is segmented with the hole masked (%u)", n);
	tiny_file(root, "layers/em/16/37-45_-3-13_100-116", "short", 5);
	tap_ok(run(1, &out, &err) < 0 && out.payload == NULL,
	    "a broken chunk fails the task: %s", err.msg);
	tap_int(err.code, FG_ECORRUPT, "for good");
	fg_err_clear(&err);
	char *rm = fg_asprintf("%s/layers/em/16", root);
	nftw(rm, wt_remove_one, 16, FTW_DEPTH | FTW_PHYS);
	tap_rc(run(1, &out, &err), &err, "no image at all");
	bool empty = out.result.objects == 0;
	for (size_t i = 0; i < out.result.payloads; i++)
		empty &= out.payload[i].state == FG_EMPTY && !out.payload[i].bytes;
	tap_ok(empty && out.result.payloads > 0, "is known background");
	fg_output_fini(&out);
	free(rm);
	free(path);
}

static void
test_changed_model(void)
{
	struct fg_engines *es;
	struct fg_err err = FG_ERR_INIT;
	const struct fg_recipe *r = layer->recipe;
	char *net = fg_asprintf("%s/net", root);

	tiny_net(net, 19);
	es = fg_engines_new("cpu:0", 0, &err);
	must(es != NULL, &err);
	tap_ok(fg_engines_get(es, r->model, r->model_sha256, &r->shape, r->precision,
		   &err) == NULL &&
		   err.code == FG_ECORRUPT && strstr(err.msg, "changed"),
	    "a model that changed is not used: %s", err.msg);
	fg_err_clear(&err);
	tiny_net(net, 20);
	struct fg_engine *e = fg_engines_get(es, r->model, r->model_sha256, &r->shape,
	    r->precision, &err);
	tap_ok(e != NULL, "the right one is, afterwards");
	tap_ok(e == fg_engines_get(es, r->model, r->model_sha256, &r->shape,
			r->precision, &err),
	    "and shared");
	double s = 0;
	tap_rc(fg_engine_measure(e, &s, &err), &err, "its speed is measured");
	tap_ok(s > 0 && s < 1, "%.3g s a field of view", s);
	json_t *j = fg_engines_describe(es);
	tap_ok(json_integer_value(json_object_get(json_array_get(j, 0), "steps")) > 0,
	    "described");
	json_decref(j);
	tap_ok(fg_engines_new("cpu:0,cpu:0", 0, &err) == NULL &&
		   strstr(err.msg, "twice"),
	    "a device twice");
	fg_err_clear(&err);
	tap_ok(fg_engines_new("abacus:0", 0, &err) == NULL && err.code == FG_EINVAL,
	    "a device that is not there");
	fg_engines_free(es);
	free(net);
}

int
main(void)
{
	fg_log_setup(FG_LOG_ERROR, FG_LOG_TEXT);
	setup();
	test_blocks();
	test_provenance();
	test_cancel();
	test_coarse();
	test_changed_model();
	test_mask();
	fg_engines_free(engines);
	fg_layer_unref(layer);
	fg_catalog_close(catalog);
	fg_store_close(store);
	wt_remove(root);
	return tap_done();
}
