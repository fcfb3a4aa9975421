/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tiles are in a hash by their place, one for each volume, and those that are decoded
 * and not in use also in the pool's list by age. A reader passes over the tiles that
 * its box needs: what is there is copied, what nobody has is decoded, what another
 * thread decodes just now is left for the next pass. A pass that got nowhere waits
 * until some decoding ends.
 *
 * A tile is pinned while somebody copies from it or decodes it; pinned ones stay. The
 * pool's lock is that of all its volumes and is held for looking and linking only.
 */
#include "config.h"

#include "store/tiles.h"

#include <pthread.h>
#include <stdlib.h>

#define BUCKETS 4096
#define TILE_EDGE 256 /* pixels; smaller pieces are read by several */
#define CHUNK_DEPTH 64

struct tile {
	struct fg_tiles *of;
	int64_t at[3]; /* in tiles, in tiles, section */
	struct fg_array a;
	unsigned pins;
	bool ready;
	struct tile *next; /* of the bucket */
	struct tile *older, *newer;
};

struct fg_tiles_pool {
	size_t budget;
	pthread_mutex_t lock; /* of all below, of the tiles' pins, ready and links, and
				 of the volumes' members behind `pool` */
	pthread_cond_t ended; /* some decoding, of any volume */
	struct tile *oldest, *newest; /* not pinned */
	size_t bytes;
};

struct fg_tiles {
	struct fg_tiles_plan plan;
	fg_tiles_fn decode;
	void *ctx;
	bool own_pool;
	struct fg_tiles_pool *pool;
	struct tile *bucket[BUCKETS];
	size_t bytes;
	uint64_t decoded, ends; /* ends: decodings that ended, well or not */
};

/* ------------------------------------------------------------- choosing sizes */

int
fg_tiles_plan(struct fg_tiles_plan *p, const int64_t piece[2], size_t budget,
    struct fg_err *err)
{
	size_t bytes = fg_dtype_size(p->dtype) * (size_t)p->shape[3];
	int64_t depth = CHUNK_DEPTH, side = 64;

	for (int d = 0; d < 2; d++) {
		int64_t one = FG_MAX(piece[d], 1);

		p->tile[d] = fg_div_ceil(TILE_EDGE, one) * one;
		p->tile[d] = FG_MIN(p->tile[d], p->shape[d]);
		bytes *= (size_t)p->tile[d]; /* edges are 2^20 at most, channels 2^10 */
	}
	if (bytes > budget)
		return fg_fail(err, FG_ENOTSUP,
		    "%lld x %lld pixels are stored together, which takes %zu MB "
		    "decoded; in place at most %zu MB are read: import it",
		    (long long)p->tile[0], (long long)p->tile[1], bytes >> 20,
		    budget >> 20);
	while (depth > 1 && (size_t)depth * bytes > budget / 2)
		depth /= 2;
	/* Flat chunks are wider: about as many voxels as 64^3. */
	while (side * side * depth < CHUNK_DEPTH * CHUNK_DEPTH * CHUNK_DEPTH / 2)
		side *= 2;
	p->chunk[0] = FG_MIN(side, p->shape[0]);
	p->chunk[1] = FG_MIN(side, p->shape[1]);
	p->chunk[2] = FG_MIN(depth, p->shape[2]);
	p->bytes = bytes;
	return 0;
}

/* ------------------------------------------------------------- hash and list */

static size_t
bucket_of(const int64_t at[3])
{
	uint64_t h = (uint64_t)at[2] * 0x9e3779b97f4a7c15u ^
		     (uint64_t)at[1] * 0xc2b2ae3d27d4eb4fu ^
		     (uint64_t)at[0] * 0x165667b19e3779f9u;

	return (size_t)(h >> 40) % BUCKETS;
}

static struct tile *
find_tile(struct fg_tiles *t, const int64_t at[3])
{
	struct tile *e = t->bucket[bucket_of(at)];

	while (e && memcmp(e->at, at, sizeof e->at) != 0)
		e = e->next;
	return e;
}

static void
unlink_age(struct tile *e)
{
	struct fg_tiles_pool *p = e->of->pool;

	*(e->older ? &e->older->newer : &p->oldest) = e->newer;
	*(e->newer ? &e->newer->older : &p->newest) = e->older;
	e->older = e->newer = NULL;
}

static void
unlink_bucket(struct tile *e)
{
	struct tile **at = &e->of->bucket[bucket_of(e->at)];

	while (*at != e)
		at = &(*at)->next;
	*at = e->next;
}

/* Count what a tile holds in, or (sign -1) out. */
static void
account(const struct tile *e, int sign)
{
	size_t bytes = fg_array_bytes(&e->a);

	e->of->bytes += sign < 0 ? -bytes : bytes;
	e->of->pool->bytes += sign < 0 ? -bytes : bytes;
}

/* Tiles that have to go so that the budget holds, as a chain for free_chain. */
static struct tile *
evict(struct fg_tiles_pool *p)
{
	struct tile *gone = NULL;

	while (p->bytes > p->budget && p->oldest) {
		struct tile *e = p->oldest;

		unlink_age(e);
		unlink_bucket(e);
		account(e, -1);
		e->next = gone;
		gone = e;
	}
	return gone;
}

static void
free_chain(struct tile *e)
{
	while (e) {
		struct tile *next = e->next;

		fg_array_fini(&e->a);
		free(e);
		e = next;
	}
}

static void
pin(struct tile *e)
{
	if (e->pins++ == 0)
		unlink_age(e);
}

/* The lock is taken here. */
static void
unpin(struct tile *e)
{
	struct fg_tiles_pool *p = e->of->pool;
	struct tile *gone;

	pthread_mutex_lock(&p->lock);
	if (--e->pins == 0) {
		e->older = p->newest;
		*(p->newest ? &p->newest->newer : &p->oldest) = e;
		p->newest = e;
	}
	gone = evict(p);
	pthread_mutex_unlock(&p->lock);
	free_chain(gone);
}

/* ------------------------------------------------------------- reading */

static void
tile_box(const struct fg_tiles *t, const int64_t at[3], struct fg_box *out)
{
	for (int d = 0; d < 2; d++) {
		out->lo[d] = at[d] * t->plan.tile[d];
		out->hi[d] = FG_MIN(out->lo[d] + t->plan.tile[d], t->plan.shape[d]);
	}
	out->lo[2] = at[2];
	out->hi[2] = at[2] + 1;
}

/* A tile that this thread has entered and pinned. On failure it is gone. */
static int
fill(struct fg_tiles *t, struct tile *e, struct fg_err *err)
{
	struct tile *gone = NULL;
	struct fg_box box;
	int rc;

	tile_box(t, e->at, &box);
	rc = t->decode(t->ctx, &box, &e->a, err);
	pthread_mutex_lock(&t->pool->lock);
	t->ends++;
	if (rc == 0) {
		e->ready = true;
		t->decoded++;
		account(e, 1);
		gone = evict(t->pool);
	} else {
		unlink_bucket(e);
	}
	pthread_cond_broadcast(&t->pool->ended);
	pthread_mutex_unlock(&t->pool->lock);
	free_chain(gone);
	if (rc < 0)
		free(e);
	return rc;
}

enum found { READY, MINE, OTHERS };

/* The tile, pinned; *out stays for OTHERS, who are decoding it. */
static enum found
take(struct fg_tiles *t, const int64_t at[3], struct tile **out)
{
	struct tile *fresh = fg_calloc(1, sizeof *fresh), *e;
	enum found found = READY;

	pthread_mutex_lock(&t->pool->lock);
	e = find_tile(t, at);
	if (!e) {
		struct tile **b = &t->bucket[bucket_of(at)];

		e = fresh;
		fresh = NULL;
		e->of = t;
		memcpy(e->at, at, sizeof e->at);
		e->pins = 1;
		e->next = *b;
		*b = e;
		found = MINE;
	} else if (!e->ready) {
		found = OTHERS;
	} else {
		pin(e);
	}
	if (found != OTHERS)
		*out = e;
	pthread_mutex_unlock(&t->pool->lock);
	free(fresh);
	return found;
}

/* The box's tiles, which is done already: work of one reader. */
struct pass {
	struct fg_tiles *t;
	const struct fg_box *vx;
	const uint8_t *skip;
	struct fg_array *out;
	int64_t lo[3], n[3]; /* in tiles */
	uint8_t *done;       /* [n[0] n[1] n[2]] */
	size_t left;
};

static int
pass_tile(struct pass *p, size_t i, struct fg_err *err)
{
	int64_t k = (int64_t)i;
	const int64_t at[3] = {p->lo[0] + k % p->n[0], p->lo[1] + k / p->n[0] % p->n[1],
	    p->lo[2] + k / p->n[0] / p->n[1]};
	struct fg_box box;
	struct tile *e;

	if (p->skip && p->skip[at[2]]) {
		p->done[i] = 1;
		p->left--;
		return 0;
	}
	switch (take(p->t, at, &e)) {
	case OTHERS:
		return 0;
	case MINE:
		if (fill(p->t, e, err) < 0)
			return -1;
		break;
	case READY:
		break;
	}
	tile_box(p->t, at, &box);
	fg_array_copy_box(p->out, p->vx, &e->a, &box);
	unpin(e);
	p->done[i] = 1;
	p->left--;
	return 0;
}

static int
run_passes(struct pass *p, size_t n, struct fg_err *err)
{
	struct fg_tiles *t = p->t;

	while (p->left > 0) {
		size_t before = p->left;

		pthread_mutex_lock(&t->pool->lock);
		uint64_t seen = t->ends;
		pthread_mutex_unlock(&t->pool->lock);
		for (size_t i = 0; i < n; i++) {
			if (!p->done[i] && pass_tile(p, i, err) < 0)
				return -1;
		}
		if (p->left < before)
			continue;
		/* All that is left was being decoded by others after `seen`. */
		pthread_mutex_lock(&t->pool->lock);
		while (t->ends == seen)
			pthread_cond_wait(&t->pool->ended, &t->pool->lock);
		pthread_mutex_unlock(&t->pool->lock);
	}
	return 0;
}

int
fg_tiles_box(struct fg_tiles *t, const struct fg_box *vx, const uint8_t *skip,
    struct fg_array *out, struct fg_err *err)
{
	struct pass p = {.t = t, .vx = vx, .skip = skip, .out = out};
	size_t n = 1;
	int rc;

	for (int d = 0; d < 3; d++) {
		int64_t edge = d < 2 ? t->plan.tile[d] : 1;

		fg_assert(vx->lo[d] >= 0 && vx->lo[d] < vx->hi[d] &&
			  vx->hi[d] <= t->plan.shape[d]);
		p.lo[d] = vx->lo[d] / edge;
		p.n[d] = fg_div_ceil(vx->hi[d], edge) - p.lo[d];
		n *= (size_t)p.n[d];
	}
	p.done = fg_calloc(n, 1);
	p.left = n;
	rc = run_passes(&p, n, err);
	free(p.done);
	return rc;
}

/* ------------------------------------------------------------- life */

struct fg_tiles_pool *
fg_tiles_pool_new(size_t bytes)
{
	struct fg_tiles_pool *p = fg_calloc(1, sizeof *p);

	p->budget = bytes;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->ended, NULL);
	return p;
}

void
fg_tiles_pool_free(struct fg_tiles_pool *p)
{
	if (!p)
		return;
	fg_assert(!p->oldest && p->bytes == 0);
	pthread_cond_destroy(&p->ended);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

size_t
fg_tiles_pool_bytes(struct fg_tiles_pool *p)
{
	size_t bytes;

	pthread_mutex_lock(&p->lock);
	bytes = p->bytes;
	pthread_mutex_unlock(&p->lock);
	return bytes;
}

struct fg_tiles *
fg_tiles_new(const struct fg_tiles_plan *p, struct fg_tiles_pool *pool,
    fg_tiles_fn decode, void *ctx)
{
	struct fg_tiles *t = fg_calloc(1, sizeof *t);

	t->plan = *p;
	t->decode = decode;
	t->ctx = ctx;
	t->own_pool = pool == NULL;
	t->pool = pool ? pool : fg_tiles_pool_new(FG_TILES_BUDGET);
	return t;
}

void
fg_tiles_free(struct fg_tiles *t)
{
	if (!t)
		return;
	pthread_mutex_lock(&t->pool->lock);
	for (size_t i = 0; i < BUCKETS; i++) {
		for (struct tile *e = t->bucket[i]; e; e = e->next) {
			unlink_age(e);
			account(e, -1);
		}
	}
	pthread_mutex_unlock(&t->pool->lock);
	for (size_t i = 0; i < BUCKETS; i++)
		free_chain(t->bucket[i]);
	if (t->own_pool)
		fg_tiles_pool_free(t->pool);
	free(t);
}

void
fg_tiles_stats(struct fg_tiles *t, uint64_t *decoded, size_t *bytes)
{
	pthread_mutex_lock(&t->pool->lock);
	*decoded = t->decoded;
	*bytes = t->bytes;
	pthread_mutex_unlock(&t->pool->lock);
}
