/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Engines: networks with the device threads that run them.
 *
 * The set of engines only grows; an engine is found by what its steps are a function
 * of (checksum, shape, precision). The first task that needs one makes it: it adds the
 * engine as LOADING, loads outside the lock while later tasks wait on the condition,
 * and starts one thread per device. Such a thread does nothing but fg_batcher_serve;
 * it ends at fg_engines_stop or when its device fails, and then leaves the reason. With
 * the last one the engine is dead: its batcher is stopped, so that blocks on it fail
 * rather than wait, and the next task makes a new engine. The dead one stays in the
 * list until the end, because tasks may still hold it.
 *
 * An engine that could not be loaded is taken out again, so that the next task tries
 * afresh (the model file may be back); the scheduler spaces those tries.
 */
#include "config.h"

#include "work/engine.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"

struct server {
	struct fg_engine *engine;
	const struct fg_device_desc *device;
	pthread_t thread;
	bool started, ended; /* guarded by fg_engines.lock */
	struct fg_err err;   /* why it ended; guarded by fg_engines.lock */
};

struct fg_engine {
	struct fg_engines *set;
	struct fg_engine *next;
	struct fg_net *net;
	struct fg_net_shape shape;
	char sha256[FG_SHA256_HEX];
	enum fg_precision prec;
	struct fg_batcher *batcher;
	struct server *server; /* one per device of the set */
	bool loading;          /* guarded by fg_engines.lock */
	bool dead;             /* its last device failed; guarded by fg_engines.lock */
	/* Of the last fg_engines_describe; guarded by fg_engines.lock. */
	int64_t seen_ns;
	uint64_t seen_steps, seen_device_ns;
};

struct fg_engines {
	struct fg_device_desc *device; /* those in use, not changed after new */
	int devices;
	int bulk_every;
	pthread_mutex_t lock;
	pthread_cond_t changed;    /* an engine has loaded or failed, a device ended */
	struct fg_engine *first;   /* guarded by lock */
	struct fg_net *offered[8]; /* nets put, not yet used; guarded by lock */
	bool stopping;             /* guarded by lock */
};

/* ------------------------------------------------------------- the set */

/* Keep the devices named in the comma list, in its order; NULL: the usable ones. */
static int
choose_devices(struct fg_engines *es, const char *list, struct fg_device_desc *all,
    size_t n, struct fg_err *err)
{
	const char *why = "no device found";

	if (!list) {
		for (size_t i = 0; i < n; i++) {
			if (all[i].usable)
				es->device[es->devices++] = all[i];
			else
				why = all[i].why;
		}
		if (es->devices == 0)
			return fg_fail(err, FG_ENOTSUP, "no usable device: %s", why);
		return 0;
	}
	while (*list) {
		size_t len = strcspn(list, ","), i = 0;

		while (i < n && (strlen(all[i].name) != len ||
				    memcmp(all[i].name, list, len) != 0))
			i++;
		if (i == n)
			return fg_fail(err, FG_EINVAL, "there is no device \"%.*s\"",
			    (int)FG_MIN(len, 60), list);
		if (!all[i].usable)
			return fg_fail(err, FG_ENOTSUP, "device %s is not usable: %s",
			    all[i].name, all[i].why);
		for (int k = 0; k < es->devices; k++) {
			if (strcmp(es->device[k].name, all[i].name) == 0)
				return fg_fail(err, FG_EINVAL,
				    "device %s is listed twice", all[i].name);
		}
		es->device[es->devices++] = all[i];
		list += len;
		list += *list == ',';
	}
	if (es->devices == 0)
		return fg_fail(err, FG_EINVAL, "the list of devices is empty");
	return 0;
}

struct fg_engines *
fg_engines_new(const char *devices, int bulk_every, struct fg_err *err)
{
	struct fg_device_desc *all = NULL;
	struct fg_engines *es;
	size_t n = 0;

	if (fg_devices_list(&all, &n, err) < 0)
		return NULL;
	es = fg_calloc(1, sizeof *es);
	es->device = fg_calloc(n + 1, sizeof *es->device);
	es->bulk_every = bulk_every;
	pthread_mutex_init(&es->lock, NULL);
	pthread_cond_init(&es->changed, NULL);
	if (choose_devices(es, devices, all, n, err) < 0) {
		free(all);
		fg_engines_free(es);
		return NULL;
	}
	free(all);
	return es;
}

int
fg_engines_count(const struct fg_engines *es)
{
	return es->devices;
}

void
fg_engines_stop(struct fg_engines *es)
{
	pthread_mutex_lock(&es->lock);
	es->stopping = true;
	/* Stopping a batcher only sets flags and wakes threads. */
	for (struct fg_engine *e = es->first; e; e = e->next) {
		if (!e->loading)
			fg_batcher_stop(e->batcher);
	}
	pthread_cond_broadcast(&es->changed);
	pthread_mutex_unlock(&es->lock);
}

static void
free_engine(struct fg_engine *e)
{
	if (e->batcher)
		fg_batcher_stop(e->batcher);
	for (int i = 0; e->server && i < e->set->devices; i++) {
		if (e->server[i].started)
			pthread_join(e->server[i].thread, NULL);
	}
	fg_batcher_free(e->batcher);
	fg_net_free(e->net);
	free(e->server);
	free(e);
}

void
fg_engines_free(struct fg_engines *es)
{
	if (!es)
		return;
	fg_engines_stop(es);
	while (es->first) {
		struct fg_engine *e = es->first;

		es->first = e->next;
		free_engine(e);
	}
	for (size_t i = 0; i < FG_COUNTOF(es->offered); i++)
		fg_net_free(es->offered[i]);
	pthread_mutex_destroy(&es->lock);
	pthread_cond_destroy(&es->changed);
	free(es->device);
	free(es);
}

void
fg_engines_put_net(struct fg_engines *es, struct fg_net *net)
{
	struct fg_net *old = NULL;

	pthread_mutex_lock(&es->lock);
	size_t i = 0;
	while (i < FG_COUNTOF(es->offered) - 1 && es->offered[i])
		i++;
	old = es->offered[i];
	es->offered[i] = net;
	pthread_mutex_unlock(&es->lock);
	fg_net_free(old);
}

/* ------------------------------------------------------------- loading */

/* True while a device of the engine may still serve. Under the lock. */
static bool
is_alive(const struct fg_engine *e)
{
	for (int i = 0; i < e->set->devices; i++) {
		if (!e->server[i].ended)
			return true;
	}
	return false;
}

static void *
serve(void *arg)
{
	struct server *s = arg;
	struct fg_engines *es = s->engine->set;
	struct fg_err err = FG_ERR_INIT;
	int rc = fg_batcher_serve(s->engine->batcher, s->device->name, &err);

	pthread_mutex_lock(&es->lock);
	s->ended = true;
	s->err = err;
	bool told = rc < 0 && !es->stopping;
	if (!is_alive(s->engine)) {
		s->engine->dead = true;
		fg_batcher_stop(s->engine->batcher);
	}
	pthread_cond_broadcast(&es->changed);
	pthread_mutex_unlock(&es->lock);
	if (told)
		fg_log(FG_LOG_WARN, "device not used device=%s precision=%s why=%s",
		    s->device->name, fg_precision_name(s->engine->prec), err.msg);
	return NULL;
}

static bool
same_shape(const struct fg_net_shape *a, const struct fg_net_shape *b)
{
	return memcmp(a->fov, b->fov, sizeof a->fov) == 0 &&
	       memcmp(a->delta, b->delta, sizeof a->delta) == 0 && a->mean == b->mean &&
	       a->stddev == b->stddev;
}

/* The model, without the folders of this machine: clients may see the message. */
static struct fg_net *
load_net(const char *model, const struct fg_net_shape *shape, struct fg_err *err)
{
	const char *slash = strrchr(model, '/');
	size_t n = slash ? (size_t)(slash - model) + 1 : 0;
	struct fg_err one = FG_ERR_INIT;
	struct fg_net *net = fg_net_load(model, shape, &one);
	char *at;

	if (net)
		return net;
	fg_log(FG_LOG_ERROR, "model not loaded model=%s why=%s", model, one.msg);
	while (n > 0 && (at = memmem(one.msg, strlen(one.msg), model, n)) != NULL)
		memmove(at, at + n, strlen(at + n) + 1);
	fg_fail(err, one.code, "model: %s", one.msg);
	return NULL;
}

/* A network offered in memory, or the file's. */
static struct fg_net *
take_net(struct fg_engine *e, const char *model, struct fg_err *err)
{
	struct fg_engines *es = e->set;
	struct fg_net *net = NULL;

	pthread_mutex_lock(&es->lock);
	for (size_t i = 0; i < FG_COUNTOF(es->offered); i++) {
		if (es->offered[i] && strcmp(es->offered[i]->sha256, e->sha256) == 0 &&
		    same_shape(&es->offered[i]->shape, &e->shape)) {
			net = es->offered[i];
			es->offered[i] = NULL;
			break;
		}
	}
	pthread_mutex_unlock(&es->lock);
	if (net)
		return net;
	net = load_net(model, &e->shape, err);
	if (!net)
		return NULL;
	if (strcmp(net->sha256, e->sha256) != 0) {
		fg_fail(err, FG_ECORRUPT,
		    "the model file has changed: SHA-256 is %.16s..., the recipe "
		    "names %.16s...",
		    net->sha256, e->sha256);
		fg_net_free(net);
		return NULL;
	}
	return net;
}

static int
start_servers(struct fg_engine *e, struct fg_err *err)
{
	struct fg_engines *es = e->set;
	int started = 0;

	e->server = fg_calloc((size_t)es->devices, sizeof *e->server);
	/* Under the lock, so that a server that fails at once sees all of them. */
	pthread_mutex_lock(&es->lock);
	for (int i = 0; i < es->devices; i++) {
		struct server *s = &e->server[i];

		s->engine = e;
		s->device = &es->device[i];
		s->started = pthread_create(&s->thread, NULL, serve, s) == 0;
		s->ended = !s->started;
		started += s->started;
	}
	pthread_mutex_unlock(&es->lock);
	if (started == 0)
		return fg_fail(err, FG_EBUSY, "no thread could be started");
	return 0;
}

static int
no_device(const struct fg_engine *e, struct fg_err *err)
{
	const struct server *s = &e->server[0];

	return fg_fail(err, s->err.code == FG_OK ? FG_ECANCELED : FG_ENOTSUP,
	    "no device can run the model at %s: %s: %s", fg_precision_name(e->prec),
	    s->device->name, s->err.code == FG_OK ? "stopped" : s->err.msg);
}

static void
wait_changed(struct fg_engines *es, int ms)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_nsec += ms * FG_NS_PER_MS;
	t.tv_sec += t.tv_nsec / FG_NS_PER_S;
	t.tv_nsec %= FG_NS_PER_S;
	pthread_cond_timedwait(&es->changed, &es->lock, &t);
}

/* The device threads check themselves first; the batcher counts one when it is ready.
 * Its count has no condition to wait on, hence the short naps. */
static int
wait_served(struct fg_engine *e, struct fg_err *err)
{
	struct fg_engines *es = e->set;
	struct fg_batcher_stats st;
	int rc = -1;

	pthread_mutex_lock(&es->lock);
	for (;;) {
		fg_batcher_get_stats(e->batcher, &st);
		if (st.devices > 0) {
			rc = 0;
			break;
		}
		if (!is_alive(e)) {
			no_device(e, err);
			break;
		}
		if (es->stopping) {
			fg_fail(err, FG_ECANCELED, "shutting down");
			break;
		}
		wait_changed(es, 5);
	}
	pthread_mutex_unlock(&es->lock);
	return rc;
}

static int
load(struct fg_engine *e, const char *model, struct fg_err *err)
{
	e->net = take_net(e, model, err);
	if (!e->net)
		return -1;
	e->batcher = fg_batcher_new(e->net, e->prec, e->set->bulk_every, err);
	if (!e->batcher || start_servers(e, err) < 0)
		return -1;
	return wait_served(e, err);
}

static struct fg_engine *
find(struct fg_engines *es, const char *sha256, const struct fg_net_shape *shape,
    enum fg_precision prec)
{
	struct fg_engine *e = es->first;

	while (e && (e->dead || strcmp(e->sha256, sha256) != 0 || e->prec != prec ||
			!same_shape(&e->shape, shape)))
		e = e->next;
	return e;
}

static void
take_out(struct fg_engines *es, struct fg_engine *e)
{
	struct fg_engine **p = &es->first;

	while (*p != e)
		p = &(*p)->next;
	*p = e->next;
}

/* An engine that others wait for while this thread loads it. */
static struct fg_engine *
add(struct fg_engines *es, const char *sha256, const struct fg_net_shape *shape,
    enum fg_precision prec)
{
	struct fg_engine *e = fg_calloc(1, sizeof *e);

	e->set = es;
	memcpy(e->sha256, sha256, sizeof e->sha256);
	e->shape = *shape;
	e->prec = prec;
	e->loading = true;
	e->seen_ns = fg_clock_ns();
	e->next = es->first;
	es->first = e;
	return e;
}

struct fg_engine *
fg_engines_get(struct fg_engines *es, const char *model, const char *sha256,
    const struct fg_net_shape *shape, enum fg_precision prec, struct fg_err *err)
{
	struct fg_engine *e;
	int rc;

	pthread_mutex_lock(&es->lock);
	while ((e = find(es, sha256, shape, prec)) != NULL && e->loading)
		pthread_cond_wait(&es->changed, &es->lock);
	if (es->stopping) {
		pthread_mutex_unlock(&es->lock);
		return fg_fail_null(err, FG_ECANCELED, "shutting down");
	}
	if (e) {
		pthread_mutex_unlock(&es->lock);
		return e;
	}
	e = add(es, sha256, shape, prec);
	pthread_mutex_unlock(&es->lock);

	rc = load(e, model, err);

	pthread_mutex_lock(&es->lock);
	e->loading = false;
	if (rc < 0)
		take_out(es, e);
	else if (es->stopping)
		fg_batcher_stop(e->batcher);
	pthread_cond_broadcast(&es->changed);
	pthread_mutex_unlock(&es->lock);
	if (rc < 0) {
		free_engine(e);
		return NULL;
	}
	return e;
}

/* ------------------------------------------------------------- one engine */

struct fg_batcher *
fg_engine_batcher(struct fg_engine *e)
{
	return e->batcher;
}

int
fg_engine_check(struct fg_engine *e, struct fg_err *err)
{
	struct fg_engines *es = e->set;
	int rc = 0;

	pthread_mutex_lock(&es->lock);
	if (!is_alive(e))
		rc = no_device(e, err);
	pthread_mutex_unlock(&es->lock);
	return rc;
}

char *
fg_engine_devices(struct fg_engine *e)
{
	struct fg_str s = FG_STR_INIT;

	pthread_mutex_lock(&e->set->lock);
	for (int i = 0; i < e->set->devices; i++) {
		if (!e->server[i].ended)
			fg_str_putf(&s, "%s%s", s.len ? "," : "",
			    e->server[i].device->name);
	}
	pthread_mutex_unlock(&e->set->lock);
	return s.data ? s.data : fg_strdup("");
}

/* A bright ball of a third of the image's width in its middle: one seed, at its
 * centre, from which a trained network floods. */
static int
make_ball(const struct fg_net_shape *shape, struct fg_array *image, struct fg_err *err)
{
	int64_t n[4] = {1, 1, 1, 1}, r = INT64_MAX;
	double in = FG_MIN(FG_MAX(shape->mean + shape->stddev, 1), 255);
	double out = FG_MIN(FG_MAX(shape->mean - 2 * shape->stddev, 0), 254);

	for (int d = 0; d < 3; d++) {
		n[d] = shape->fov[d] + 2 * shape->delta[d];
		r = FG_MIN(r, FG_MAX(n[d] / 3, 1));
	}
	if (fg_array_init(image, FG_U8, n, err) < 0)
		return -1;
	uint8_t *p = image->data;
	for (int64_t z = 0; z < n[2]; z++) {
		for (int64_t y = 0; y < n[1]; y++) {
			for (int64_t x = 0; x < n[0]; x++) {
				int64_t a = x - n[0] / 2, b = y - n[1] / 2,
					c = z - n[2] / 2;

				*p++ =
				    (uint8_t)(a * a + b * b + c * c < r * r ? in : out);
			}
		}
	}
	return 0;
}

int
fg_engine_measure(struct fg_engine *e, double *seconds, struct fg_err *err)
{
	struct fg_array image = FG_ARRAY_INIT, labels = FG_ARRAY_INIT;
	struct fg_batcher_stats before, after;
	struct fg_seg_stats stats = {0};
	struct fg_flood_params params;
	const _Atomic int cls = FG_INTERACTIVE;
	const _Atomic bool cancel = false;
	int rc = -1;

	fg_flood_params_default(&params);
	params.min_segment_size = 1;
	if (make_ball(&e->shape, &image, err) < 0 ||
	    fg_array_init(&labels, FG_U32, image.shape, err) < 0)
		goto out;
	fg_batcher_get_stats(e->batcher, &before);
	if (fg_segment_block(e->batcher,
		&(struct fg_block_call){
		    .image = &image,
		    .params = &params,
		    .cls = &cls,
		    .cancel = &cancel,
		},
		&labels, NULL, &stats, err) < 0)
		goto out;
	fg_batcher_get_stats(e->batcher, &after);
	if (after.steps == before.steps) {
		fg_fail(err, FG_ENOTSUP,
		    "the network floods nothing of the test image: its speed is not "
		    "known");
		goto out;
	}
	*seconds = (double)(after.device_ns - before.device_ns) /
		   (double)(after.steps - before.steps) / 1e9 /
		   FG_MAX(after.devices, 1);
	rc = 0;
out:
	fg_seg_stats_fini(&stats);
	fg_array_fini(&image);
	fg_array_fini(&labels);
	return rc;
}

/* ------------------------------------------------------------- sight */

void
fg_engines_sum(struct fg_engines *es, struct fg_batcher_stats *out)
{
	struct fg_batcher_stats st;

	memset(out, 0, sizeof *out);
	pthread_mutex_lock(&es->lock);
	for (struct fg_engine *e = es->first; e; e = e->next) {
		if (e->loading)
			continue;
		fg_batcher_get_stats(e->batcher, &st);
		out->devices += st.devices;
		out->steps += st.steps;
		out->device_ns += st.device_ns;
		out->waiting += st.waiting;
		out->blocks += st.blocks;
	}
	pthread_mutex_unlock(&es->lock);
}

double
fg_engines_speed(struct fg_engines *es, const char *sha256,
    const struct fg_net_shape *shape, enum fg_precision prec)
{
	struct fg_batcher_stats st = {0};
	struct fg_engine *e;

	pthread_mutex_lock(&es->lock);
	e = find(es, sha256, shape, prec);
	if (e && !e->loading)
		fg_batcher_get_stats(e->batcher, &st);
	pthread_mutex_unlock(&es->lock);
	return st.steps ? (double)st.device_ns / 1e9 / (double)st.steps : 0;
}

uint64_t
fg_engines_steps(struct fg_engines *es)
{
	struct fg_batcher_stats sum;

	fg_engines_sum(es, &sum);
	return sum.steps;
}

static json_t *
describe_device(const struct fg_device_desc *d, const char *state, const char *why)
{
	return json_pack("{s:s,s:s,s:s,s:s*}", "device", d->name, "detail", d->detail,
	    "state", state, "why", why);
}

static json_t *
describe_engine(struct fg_engine *e)
{
	struct fg_batcher_stats st = {0};
	json_t *devices = json_array();
	int64_t now = fg_clock_ns();
	double s = (double)FG_MAX(now - e->seen_ns, 1) / 1e9;

	if (!e->loading)
		fg_batcher_get_stats(e->batcher, &st);
	for (int i = 0; i < e->set->devices; i++) {
		/* The loading thread alone touches `server` until it is done. */
		const struct server *v = e->loading ? NULL : &e->server[i];
		const char *state = !v ? "loading" : v->ended ? "failed" : "serving";

		json_array_append_new(devices,
		    describe_device(&e->set->device[i], state,
			v && v->ended ? v->err.msg : NULL));
	}
	json_t *j = json_pack("{s:s*,s:s,s:s,s:I,s:f,s:f,s:I,s:i,s:o}", "model",
	    !e->loading ? e->net->path : NULL, "sha256", e->sha256, "precision",
	    fg_precision_name(e->prec), "steps", (json_int_t)st.steps, "steps_per_s",
	    (double)(st.steps - e->seen_steps) / s, "busy",
	    (double)(st.device_ns - e->seen_device_ns) / 1e9 / s / e->set->devices,
	    "waiting", (json_int_t)st.waiting, "blocks", st.blocks, "devices", devices);
	e->seen_ns = now;
	e->seen_steps = st.steps;
	e->seen_device_ns = st.device_ns;
	return j;
}

json_t *
fg_engines_describe(struct fg_engines *es)
{
	json_t *list = json_array();

	pthread_mutex_lock(&es->lock);
	for (struct fg_engine *e = es->first; e; e = e->next)
		json_array_append_new(list, describe_engine(e));
	bool none = es->first == NULL;
	pthread_mutex_unlock(&es->lock);
	if (none) {
		json_t *devices = json_array();

		for (int i = 0; i < es->devices; i++)
			json_array_append_new(devices,
			    describe_device(&es->device[i], "idle", NULL));
		json_array_append_new(list,
		    json_pack("{s:n,s:o}", "model", "devices", devices));
	}
	return list;
}
