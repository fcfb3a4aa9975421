/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fetches over libcurl's multi interface.
 *
 * Life of a job (one fetch): `added` under the lock by its caller; taken by the driver
 * to `waiting` (until it is due and its host has a connection to spare), to `active`
 * (libcurl has it), back to `waiting` for another try or a redirect, and finished: its
 * group's count goes down under the lock and the caller, who may be the driver, is
 * woken. Whoever drives owns the multi handle and everything marked so below; the lock
 * hands both over.
 */
#include "config.h"

#include "store/fetch.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "store/fetch_impl.h"

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;

static void
init_curl(void)
{
	curl_global_init(CURL_GLOBAL_DEFAULT);
}

struct fg_fetcher *
fg_fetcher_new(const struct fg_fetch_options *opt, struct fg_err *err)
{
	struct fg_fetcher *h;
	CURLM *multi;

	pthread_once(&curl_once, init_curl);
	multi = curl_multi_init();
	if (!multi)
		return fg_fail_null(err, FG_ENOMEM, "no memory for a web client");
	h = fg_calloc(1, sizeof *h);
	h->multi = multi;
	h->opt = opt ? *opt : (struct fg_fetch_options){0};
	struct fg_fetch_options *o = &h->opt;
	o->connections = o->connections > 0 ? o->connections : 16;
	o->connect_ms = o->connect_ms > 0 ? o->connect_ms : 5000;
	o->stall_ms = o->stall_ms > 0 ? o->stall_ms : 10000;
	o->total_ms = o->total_ms > 0 ? o->total_ms : 30000;
	o->tries = o->tries > 0 ? o->tries : 4;
	o->retry_ms = o->retry_ms > 0 ? o->retry_ms : 200;
	h->dice = (uint64_t)fg_clock_ns() | 1;
	curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, 64L);
	pthread_mutex_init(&h->lock, NULL);
	pthread_cond_init(&h->changed, NULL);
	return h;
}

void
fg_fetcher_free(struct fg_fetcher *h)
{
	if (!h)
		return;
	fg_assert(!h->driving && !h->added && !h->waiting && !h->active);
	for (size_t i = 0; i < h->spares; i++)
		curl_easy_cleanup(h->spare[i]);
	curl_multi_cleanup(h->multi);
	for (struct fg_fetch_host *o = h->hosts, *next; o; o = next) {
		next = o->next;
		free(o->name);
		free(o);
	}
	pthread_cond_destroy(&h->changed);
	pthread_mutex_destroy(&h->lock);
	free(h);
}

void
fg_fetcher_stop(struct fg_fetcher *h)
{
	if (!h)
		return;
	h->stopped = true;
	curl_multi_wakeup(h->multi);
}

void
fg_fetcher_get_stats(struct fg_fetcher *h, struct fg_fetch_stats *out)
{
	pthread_mutex_lock(&h->lock);
	*out = h->stats;
	pthread_mutex_unlock(&h->lock);
}

/* ------------------------------------------------------------- hosts */

/* The host of a URL, which has been checked. */
static struct fg_fetch_host *
host_of(struct fg_fetcher *h, const char *url)
{
	struct fg_fetch_url u;
	struct fg_fetch_host *o;
	char name[300];

	fg_assert(fg_fetch_url_parse(url, &u, NULL) == 0);
	snprintf(name, sizeof name, "%s:%d", u.host, u.port);
	for (o = h->hosts; o; o = o->next) {
		if (strcmp(o->name, name) == 0)
			return o;
	}
	o = fg_calloc(1, sizeof *o);
	o->name = fg_strdup(name);
	o->next = h->hosts;
	h->hosts = o;
	return o;
}

/* The host did not answer, and has not answered others since this try began: leave it
 * alone for a while. Many that fail together count once. */
static void
host_failed(struct fg_fetch_host *o, const struct fg_fetch_job *j)
{
	if (o->answered_ns > j->try_ns || o->until_ns > j->try_ns)
		return;
	int64_t wait = FG_NS_PER_S << FG_MIN(o->failures, 5);
	o->failures++;
	o->until_ns = fg_clock_ns() + FG_MIN(wait, 30 * FG_NS_PER_S);
}

static void
host_answered(struct fg_fetch_host *o)
{
	o->answered_ns = fg_clock_ns();
	o->failures = 0;
	o->until_ns = 0;
}

/* ------------------------------------------------------------- the end of a job */

static void
finish(struct fg_fetcher *h, struct fg_fetch_job *j)
{
	struct fg_fetch *f = j->f;
	struct fg_fetch_group *g = j->group;

	if (f->err.code == FG_OK) {
		f->body = j->body;
		j->body = NULL;
	} else {
		f->got = FG_FETCHED_NOTHING;
	}
	f->tries = j->tries;
	pthread_mutex_lock(&h->lock);
	h->stats.fetches++;
	h->stats.retries += (uint64_t)FG_MAX(j->tries - 1, 0);
	h->stats.failed += f->err.code != FG_OK;
	h->stats.same += f->got == FG_FETCHED_SAME;
	h->stats.bytes += f->body ? f->body->len : 0;
	g->left--;
	pthread_cond_broadcast(&h->changed);
	pthread_mutex_unlock(&h->lock);
	fg_buf_unref(j->body);
	free(j->url);
	free(j);
}

/* Another try after a while, if there are tries and time left; else the end. */
static void
try_again(struct fg_fetcher *h, struct fg_fetch_job *j)
{
	struct fg_fetch *f = j->f;
	int64_t wait = h->opt.retry_ms << FG_MIN(j->tries - 1, 16), now = fg_clock_ns();

	h->dice = h->dice * 6364136223846793005u + 1442695040888963407u;
	wait += (int64_t)((h->dice >> 33) % (uint64_t)(wait + 1)); /* 1 to 2 times */
	wait = FG_MAX(wait, (int64_t)j->head.retry_after_s * 1000);
	if (j->tries >= h->opt.tries ||
	    now + wait * FG_NS_PER_MS >= j->begin_ns + h->opt.total_ms * FG_NS_PER_MS) {
		if (j->silent)
			host_failed(j->host, j);
		finish(h, j);
		return;
	}
	fg_err_clear(&f->err);
	fg_buf_unref(j->body);
	j->body = NULL;
	j->due_ns = now + wait * FG_NS_PER_MS;
	j->next = h->waiting;
	h->waiting = j;
}

/* The reply asks to go elsewhere. */
static void
redirect(struct fg_fetcher *h, struct fg_fetch_job *j, const char *to)
{
	struct fg_fetch *f = j->f;

	if (!to)
		fg_fail(&f->err, FG_ECORRUPT, "upstream answers %d without a place",
		    j->head.status);
	else if (f->key || f->bearer)
		/* A signature is for one host, and a token must not travel. */
		fg_fail(&f->err, FG_ECORRUPT,
		    "upstream leads on elsewhere (%d), which is not followed with "
		    "credentials: is the region right?",
		    j->head.status);
	else if (++j->redirects > FG_FETCH_REDIRECTS)
		fg_fail(&f->err, FG_ECORRUPT, "upstream leads on more than %d times",
		    FG_FETCH_REDIRECTS);
	else if (fg_fetch_redirect_check(j->url, to, f->anywhere, &f->err) == 0) {
		free(j->url);
		j->url = fg_strdup(to);
		j->host = host_of(h, j->url);
		j->tries--; /* not another try */
		j->due_ns = 0;
		j->next = h->waiting;
		h->waiting = j;
		return;
	}
	finish(h, j);
}

/* libcurl is done with it. */
static void
ended(struct fg_fetcher *h, struct fg_fetch_job *j, CURLcode rc)
{
	char *to = NULL;
	enum fg_fetch_next next;

	fg_fetch_read_end(j, (int)rc);
	next = fg_fetch_judge(j);
	if (j->head.status > 0 && j->head.status != 429 && j->head.status != 503 &&
	    !j->silent)
		host_answered(j->host);
	if (next == FG_FETCH_REDIRECT) {
		curl_easy_getinfo(j->easy, CURLINFO_REDIRECT_URL, &to);
		to = to ? fg_strdup(to) : NULL;
	}
	curl_slist_free_all(j->lines);
	j->lines = NULL;
	if (h->spares < FG_COUNTOF(h->spare))
		h->spare[h->spares++] = j->easy;
	else
		curl_easy_cleanup(j->easy);
	j->easy = NULL;
	j->host->active--;
	if (next == FG_FETCH_REDIRECT)
		redirect(h, j, to);
	else if (next == FG_FETCH_AGAIN)
		try_again(h, j);
	else
		finish(h, j);
	free(to);
}

/* ------------------------------------------------------------- driving */

static void
start(struct fg_fetcher *h, struct fg_fetch_job *j)
{
	int64_t now = fg_clock_ns(), left;

	if (j->begin_ns == 0)
		j->begin_ns = now;
	j->try_ns = now;
	left = h->opt.total_ms - (now - j->begin_ns) / FG_NS_PER_MS;
	j->tries++;
	j->easy = h->spares > 0 ? h->spare[--h->spares] : curl_easy_init();
	if (!j->easy || fg_fetch_prepare(j, &h->opt, FG_MAX(left, 1)) < 0 ||
	    curl_multi_add_handle(h->multi, j->easy) != CURLM_OK) {
		fg_fail(&j->f->err, FG_ENOMEM, "no memory for a fetch");
		curl_slist_free_all(j->lines);
		curl_easy_cleanup(j->easy);
		finish(h, j);
		return;
	}
	j->host->active++;
	j->next = h->active;
	h->active = j;
}

/* A host that was silent is asked again by one job at a time. */
static bool
may_start(const struct fg_fetcher *h, const struct fg_fetch_job *j)
{
	int most = j->host->failures > 0 ? 1 : h->opt.connections;

	return j->host->active < most;
}

static bool
is_left_alone(struct fg_fetch_job *j, int64_t now)
{
	const struct fg_fetch_host *o = j->host;

	/* Also while the one job that asks has no answer yet. */
	if (o->failures == 0 || j->tries > 0 || (now >= o->until_ns && o->active == 0))
		return false;
	fg_fail(&j->f->err, FG_EIO,
	    "upstream %.100s does not answer; it is asked again in %lld s", o->name,
	    (long long)FG_MAX((o->until_ns - now) / FG_NS_PER_S, 1));
	return true;
}

/* Start what is due; the time in ms until there may be more to start. */
static int
start_due(struct fg_fetcher *h)
{
	struct fg_fetch_job *list = h->waiting, *next, **last = &h->waiting;
	int64_t now = fg_clock_ns(), first = now + FG_NS_PER_S;

	h->waiting = NULL;
	for (struct fg_fetch_job *j = list; j; j = next) {
		next = j->next;
		if (!j->host)
			j->host = host_of(h, j->url);
		if (h->stopped) {
			fg_fail(&j->f->err, FG_ECANCELED, "shutting down");
			finish(h, j);
		} else if (is_left_alone(j, now)) {
			finish(h, j);
		} else if (j->due_ns <= now && may_start(h, j)) {
			start(h, j);
		} else {
			if (j->due_ns > now)
				first = FG_MIN(first, j->due_ns);
			*last = j;
			last = &j->next;
			j->next = NULL;
		}
	}
	return (int)((first - now) / FG_NS_PER_MS) + 1;
}

static void
take_from_active(struct fg_fetcher *h, struct fg_fetch_job *j)
{
	struct fg_fetch_job **at = &h->active;

	while (*at != j)
		at = &(*at)->next;
	*at = j->next;
	curl_multi_remove_handle(h->multi, j->easy);
}

/* How many ended. */
static int
reap(struct fg_fetcher *h)
{
	int left, n = 0;
	CURLMsg *m;

	while ((m = curl_multi_info_read(h->multi, &left))) {
		char *p = NULL;
		CURLcode rc = m->data.result;

		if (m->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &p);
		take_from_active(h, (struct fg_fetch_job *)(void *)p);
		ended(h, (struct fg_fetch_job *)(void *)p, rc);
		n++;
	}
	while (h->stopped && h->active) {
		struct fg_fetch_job *j = h->active;

		take_from_active(h, j);
		fg_fail(&j->f->err, FG_ECANCELED, "shutting down");
		ended(h, j, CURLE_ABORTED_BY_CALLBACK);
		n++;
	}
	return n;
}

/* Newly added jobs, to the end of the waiting ones in the order in which they came. */
static void
take_added(struct fg_fetcher *h)
{
	struct fg_fetch_job **at = &h->waiting;

	while (*at)
		at = &(*at)->next;
	*at = h->added;
	h->added = NULL;
	h->added_last = NULL;
}

/* Until the group is done; other groups' jobs go on meanwhile. */
static void
drive(struct fg_fetcher *h, const struct fg_fetch_group *g)
{
	for (;;) {
		int running, wait;

		pthread_mutex_lock(&h->lock);
		bool over = g->left == 0;
		if (!over)
			take_added(h);
		pthread_mutex_unlock(&h->lock);
		if (over)
			return;
		wait = start_due(h);
		curl_multi_perform(h->multi, &running);
		if (reap(h) > 0)
			wait = 0; /* there may be room for one that waits */
		pthread_mutex_lock(&h->lock);
		over = g->left == 0;
		pthread_mutex_unlock(&h->lock);
		if (over)
			return;
		curl_multi_poll(h->multi, NULL, 0, wait, NULL);
	}
}

/* A job, or NULL if the URL is not one that is asked. */
static struct fg_fetch_job *
new_job(struct fg_fetch *f, struct fg_fetch_group *g)
{
	struct fg_fetch_url u;
	struct fg_fetch_job *j;

	f->got = FG_FETCHED_NOTHING;
	f->body = NULL;
	f->coding = FG_CODING_NONE;
	f->size = UINT64_MAX;
	f->no_store = false;
	f->tag[0] = '\0';
	f->tries = 0;
	fg_err_clear(&f->err);
	if (fg_fetch_url_parse(f->url, &u, &f->err) < 0)
		return NULL;
	j = fg_calloc(1, sizeof *j);
	j->f = f;
	j->group = g;
	j->url = fg_strdup(f->url);
	return j;
}

void
fg_fetch_run(struct fg_fetcher *h, struct fg_fetch *f, size_t n)
{
	struct fg_fetch_group g = {0};
	struct fg_fetch_job *list = NULL, **last = &list, *tail = NULL;
	bool driving;

	for (size_t i = 0; i < n; i++) {
		struct fg_fetch_job *j = new_job(&f[i], &g);

		if (!j)
			continue;
		*last = tail = j;
		last = &j->next;
		g.left++;
	}
	if (!list)
		return;
	pthread_mutex_lock(&h->lock);
	*(h->added ? &h->added_last->next : &h->added) = list;
	h->added_last = tail;
	driving = h->driving;
	pthread_mutex_unlock(&h->lock);
	if (driving)
		curl_multi_wakeup(h->multi);
	pthread_mutex_lock(&h->lock);
	while (g.left > 0) {
		if (h->driving) {
			pthread_cond_wait(&h->changed, &h->lock);
			continue;
		}
		h->driving = true;
		pthread_mutex_unlock(&h->lock);
		drive(h, &g);
		pthread_mutex_lock(&h->lock);
		h->driving = false;
		pthread_cond_broadcast(&h->changed);
	}
	pthread_mutex_unlock(&h->lock);
}
