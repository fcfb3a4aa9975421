/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One contact, flooded again on a made-up network for which bright is in: which side
 * goes first, when the other is left out, and that names make no difference.
 */
#include "config.h"

#include "seg/batcher.h"
#include "seg/resegment.h"
#include "tests/tap.h"

enum { FOV = 9, X = 64, Y = 20, Z = 20, EDGE = 5 };

static struct fg_err err = FG_ERR_INIT;

static const struct fg_net fake_net = {
    .shape = {{FOV, FOV, FOV}, {2, 2, 2}, 128, 33},
};

static int
fake_forward(struct fg_model *m, int n, const float *in, float *out, struct fg_err *e)
{
	const size_t voxels = FOV * FOV * FOV;

	(void)m;
	(void)e;
	for (int k = 0; k < n; k++, in += 2 * voxels, out += voxels) {
		for (size_t i = 0; i < voxels; i++)
			out[i] = in[i] > 0 ? 4 : -4;
	}
	return 0;
}

static struct fg_backend backend = {.forward = fake_forward};
static struct fg_model model = {.backend = &backend,
    .batch_max = 1,
    .fov = {FOV, FOV, FOV}};

static void *
serve(void *batcher)
{
	if (fg_batcher_serve_model(batcher, &model, &err) < 0)
		fprintf(stderr, "%s\n", err.msg);
	return NULL;
}

/* A bright bar along x in dark, a's up to `border`, then b's; a wall of four voxels
 * between them, or none. */
static void
draw(struct fg_array *image, struct fg_array *side, int64_t border, bool wall)
{
	uint8_t *v = image->data, *s = side->data;
	int64_t i = 0;

	for (int64_t z = 0; z < Z; z++) {
		for (int64_t y = 0; y < Y; y++) {
			for (int64_t x = 0; x < X; x++, i++) {
				bool in = x >= EDGE && x < X - EDGE && y >= EDGE &&
					  y < Y - EDGE && z >= EDGE && z < Z - EDGE;

				in = in && !(wall && x >= border - 2 && x < border + 2);
				v[i] = in ? 200 : 50;
				s[i] = !in          ? FG_SIDE_FREE
				       : x < border ? FG_SIDE_A
						    : FG_SIDE_B;
			}
		}
	}
}

static void
swap_sides(struct fg_array *side)
{
	uint8_t *s = side->data;

	for (size_t i = 0; i < fg_array_count(side); i++)
		s[i] = s[i] == FG_SIDE_A   ? FG_SIDE_B
		       : s[i] == FG_SIDE_B ? FG_SIDE_A
					   : s[i];
}

struct world {
	struct fg_batcher *batcher;
	struct fg_array image, side;
	struct fg_resegment_call call;
};

static struct fg_resegment_result
try_at(struct world *w, int64_t border)
{
	struct fg_resegment_result r = {0};

	w->call.at[0] = border;
	w->call.at[1] = Y / 2;
	w->call.at[2] = Z / 2;
	tap_rc(fg_resegment_pair(w->batcher, &w->call, &r, &err), &err, "it is tried");
	return r;
}

static void
test_sides(struct world *w)
{
	struct fg_resegment_result one, two, swapped;

	draw(&w->image, &w->side, 24, true);
	one = try_at(w, 24);
	tap_ok(one.flooded && !one.joined, "a wall keeps two objects apart");
	tap_ok(one.done[0] && !one.done[1], "the smaller one has decided");
	tap_ok(one.voxels[0] > 0 && one.recovered[0][0] > 0.6 &&
		   one.recovered[0][1] == 0,
	    "it has found itself and nothing of the other");
	tap_ok(one.voxels[1] == 0 && one.recovered[1][0] == 0 &&
		   one.recovered[1][1] == 0 && one.both == 0 && one.only[1] == 0,
	    "of the flood that was left out there is nothing");

	swap_sides(&w->side);
	swapped = try_at(w, 24);
	tap_ok(swapped.done[1] && !swapped.done[0] && swapped.steps == one.steps &&
		   swapped.voxels[1] == one.voxels[0] && swapped.only[1] == one.only[0],
	    "under other names it is the same");

	draw(&w->image, &w->side, 24, false);
	two = try_at(w, 24);
	tap_ok(two.flooded && two.joined && two.done[0] && two.done[1],
	    "what both floods fill is one");
	/* Fields of view lie elsewhere, so that they end elsewhere. */
	tap_ok(two.both > 10 * (two.only[0] + two.only[1]), "nearly all of it");
	tap_ok(two.steps > 2 * one.steps, "and took both floods");
	swap_sides(&w->side);
	swapped = try_at(w, 24);
	tap_ok(swapped.joined && swapped.steps == two.steps && swapped.both == two.both,
	    "under other names, too");

	draw(&w->image, &w->side, X / 2, true);
	one = try_at(w, X / 2);
	tap_ok(one.done[0] && !one.done[1], "of two of a size a goes first");
}

int
main(void)
{
	static const _Atomic int cls = FG_BULK;
	const int64_t shape[4] = {X, Y, Z, 1};
	struct fg_resegment_rule rule;
	struct fg_batcher_stats st = {0};
	struct fg_flood_params params;
	struct world w = {.call = {.params = &params, .rule = &rule, .cls = &cls}};
	pthread_t thread;

	fg_flood_params_default(&params);
	fg_resegment_rule_default(&rule, &fake_net.shape);
	w.batcher = fg_batcher_new(&fake_net, FG_PREC_F32, 0, &err);
	fg_assert(w.batcher);
	fg_assert(pthread_create(&thread, NULL, serve, w.batcher) == 0);
	while (st.devices < 1)
		fg_batcher_get_stats(w.batcher, &st);
	tap_rc(fg_array_init(&w.image, FG_U8, shape, &err), &err, "image");
	tap_rc(fg_array_init(&w.side, FG_U8, shape, &err), &err, "sides");
	w.call.image = &w.image;
	w.call.side = &w.side;
	test_sides(&w);
	fg_batcher_stop(w.batcher);
	pthread_join(thread, NULL);
	fg_batcher_free(w.batcher);
	fg_array_fini(&w.image);
	fg_array_fini(&w.side);
	return tap_done();
}
