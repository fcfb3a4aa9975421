/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of store/fetch.c and store/fetch_try.c: the jobs, and one try of one job. Not
 * for others.
 */
#ifndef FG_STORE_FETCH_IMPL_H
#define FG_STORE_FETCH_IMPL_H

#include <curl/curl.h>
#include <pthread.h>

#include "store/fetch.h"

#define FG_FETCH_REDIRECTS 5
#define FG_FETCH_SPARES 32

/* Fetches of one call of fg_fetch_run. */
struct fg_fetch_group {
	size_t left; /* guarded by the fetcher's lock */
};

/* One server. The driver's. */
struct fg_fetch_host {
	struct fg_fetch_host *next;
	char *name;          /* "example.org:443" */
	int active;          /* jobs that libcurl has */
	int failures;        /* times it was left alone since it last answered */
	int64_t until_ns;    /* left alone until then */
	int64_t answered_ns; /* when it last did */
};

struct fg_fetch_job {
	struct fg_fetch_job *next;
	struct fg_fetch *f;
	struct fg_fetch_group *group;
	struct fg_fetch_host *host; /* NULL until the driver has seen it */
	char *url;                  /* where it is now */
	int tries, redirects;
	int64_t begin_ns; /* of its first try; 0: none yet */
	int64_t try_ns, due_ns;

	/* of one try */
	CURL *easy;
	struct curl_slist *lines;
	struct fg_fetch_head head;
	struct fg_buf *body;
	size_t got;     /* bytes of the body so far */
	size_t ignored; /* bytes of a body that nobody wants */
	bool checked;   /* the head was found good for taking the body */
	bool silent;    /* no proper answer: connection, time, 429, 503 */
	char text[CURL_ERROR_SIZE];
};

struct fg_fetcher {
	struct fg_fetch_options opt;
	_Atomic bool stopped;
	pthread_mutex_t lock;
	pthread_cond_t changed;                  /* a group's count, or driving */
	bool driving;                            /* guarded by lock */
	struct fg_fetch_job *added, *added_last; /* guarded by lock */
	struct fg_fetch_stats stats;             /* guarded by lock */

	/* The driver's: whoever has set `driving`. */
	CURLM *multi; /* curl_multi_wakeup: anybody's */
	struct fg_fetch_job *waiting, *active;
	struct fg_fetch_host *hosts;
	CURL *spare[FG_FETCH_SPARES];
	size_t spares;
	uint64_t dice;
};

/* Set j->easy up for one try of at most `left_ms`. */
int fg_fetch_prepare(struct fg_fetch_job *j, const struct fg_fetch_options *opt,
    int64_t left_ms);
/* The try is over with libcurl's code: note what went wrong on the way. */
void fg_fetch_read_end(struct fg_fetch_job *j, int code);

enum fg_fetch_next { FG_FETCH_DONE, FG_FETCH_AGAIN, FG_FETCH_REDIRECT };
/* What it comes to: fills j->f. */
enum fg_fetch_next fg_fetch_judge(struct fg_fetch_job *j);

#endif
