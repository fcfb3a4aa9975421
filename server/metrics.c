/* SPDX-License-Identifier: Apache-2.0 */
/* Metrics: the rows of metrics.def as a table, walked by the two output forms. */
#include "config.h"

#include "server/metrics.h"

#include <math.h>
#include <stdio.h>

struct row {
	const char *member;
	size_t at; /* in struct fg_metrics_now */
	const char *type, *name, *labels, *sentence;
};

#define AT(member) offsetof(struct fg_metrics_now, member)
#define FG_COUNTER(member, ...) {#member, AT(member), "counter", __VA_ARGS__},
#define FG_GAUGE(member, ...) {#member, AT(member), "gauge", __VA_ARGS__},
#define FG_MIRROR(member, ...) {#member, AT(member), "counter", __VA_ARGS__},
static const struct row rows[] = {
#include "server/metrics.def"
};
#undef FG_COUNTER
#undef FG_GAUGE
#undef FG_MIRROR

static const char *const kinds[FG_METRICS_KINDS] = {
    [FG_METRICS_CHUNK] = "chunk",
    [FG_METRICS_MADE] = "made",
    [FG_METRICS_INFO] = "info",
    [FG_METRICS_FILE] = "file",
    [FG_METRICS_API] = "api",
    [FG_METRICS_OTHER] = "other",
};

static const int codes[FG_METRICS_CODES - 1] = {200, 201, 202, 204, 206, 304, 307, 400,
    401, 403, 404, 405, 409, 413, 416, 429, 500, 502, 503};

/* Seconds: 1 ms is a chunk from memory, 15 s the hold window, 600 s the longest wait.
 */
static const double bounds[FG_METRICS_BUCKETS - 1] = {0.0005, 0.001, 0.0025, 0.005,
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 600};

static int
code_index(int status)
{
	int i = 0;

	while (i < FG_METRICS_CODES - 1 && codes[i] != status)
		i++;
	return i;
}

static void
count(_Atomic uint64_t *n, uint64_t more)
{
	atomic_fetch_add_explicit(n, more, memory_order_relaxed);
}

void
fg_metrics_reply(struct fg_metrics *m, enum fg_metrics_kind kind, int status,
    uint64_t bytes, int64_t took_ns)
{
	struct fg_histogram *h = &m->latency[kind];
	double s = (double)took_ns / 1e9;
	int b = 0;

	while (b < FG_METRICS_BUCKETS - 1 && s > bounds[b])
		b++;
	count(&h->bucket[b], 1);
	count(&h->sum_ns, took_ns > 0 ? (uint64_t)took_ns : 0);
	count(&m->request[kind][code_index(status)], 1);
	count(&m->bytes_sent, bytes);
}

static uint64_t
load(_Atomic uint64_t *n)
{
	return atomic_load_explicit(n, memory_order_relaxed);
}

void
fg_metrics_snapshot(struct fg_metrics *m, struct fg_metrics_now *out)
{
	memset(out, 0, sizeof *out);
	for (int k = 0; k < FG_METRICS_KINDS; k++) {
		for (int c = 0; c < FG_METRICS_CODES; c++)
			out->request[k][c] = load(&m->request[k][c]);
		for (int b = 0; b < FG_METRICS_BUCKETS; b++)
			out->latency[k].bucket[b] = load(&m->latency[k].bucket[b]);
		out->latency[k].sum_ns = load(&m->latency[k].sum_ns);
	}
#define FG_COUNTER(member, ...)                                                        \
	out->member = (double)atomic_load_explicit(&m->member, memory_order_relaxed);
#define FG_GAUGE(member, ...)
#define FG_MIRROR(member, ...)
#include "server/metrics.def"
}

static double
value(const struct fg_metrics_now *now, const struct row *r)
{
	return *(const double *)((const char *)now + r->at);
}

static void
put_head(struct fg_str *out, const char *name, const char *type, const char *sentence)
{
	fg_str_putf(out, "# HELP %s %s\n# TYPE %s %s\n", name, sentence, name, type);
}

/* Statuses that were never sent are left out, but for 200: a kind is there from the
 * beginning. */
static void
put_requests(const struct fg_metrics_now *now, struct fg_str *out)
{
	static const char name[] = "floodgate_requests_total";

	put_head(out, name, "counter", "Requests answered, by what for and status.");
	for (int k = 0; k < FG_METRICS_KINDS; k++) {
		for (int c = 0; c < FG_METRICS_CODES; c++) {
			char code[8] = "other";

			if (now->request[k][c] == 0 && c > 0)
				continue;
			if (c < FG_METRICS_CODES - 1)
				snprintf(code, sizeof code, "%d", codes[c]);
			fg_str_putf(out, "%s{kind=\"%s\",code=\"%s\"} %llu\n", name,
			    kinds[k], code, (unsigned long long)now->request[k][c]);
		}
	}
}

/* `label` is "" or ends with a comma. */
static void
put_histogram(struct fg_str *out, const char *name, const char *label,
    const double *bound, const uint64_t *bucket, int n, double sum)
{
	char plain[64] = "";
	uint64_t all = 0;

	if (*label)
		snprintf(plain, sizeof plain, "{%.*s}", (int)strlen(label) - 1, label);
	for (int b = 0; b < n; b++) {
		char le[32] = "+Inf";

		all += bucket[b];
		if (b < n - 1)
			snprintf(le, sizeof le, "%g", bound[b]);
		fg_str_putf(out, "%s_bucket{%sle=\"%s\"} %llu\n", name, label, le,
		    (unsigned long long)all);
	}
	fg_str_putf(out, "%s_sum%s %.9g\n%s_count%s %llu\n", name, plain, sum, name,
	    plain, (unsigned long long)all);
}

static void
put_histograms(const struct fg_metrics_now *now, struct fg_str *out)
{
	static const char latency[] = "floodgate_request_seconds";
	static const char blocks[] = "floodgate_block_seconds";

	put_head(out, latency, "histogram",
	    "Time from the request line to the answer, by what for.");
	for (int k = 0; k < FG_METRICS_KINDS; k++) {
		char label[32];

		snprintf(label, sizeof label, "kind=\"%s\",", kinds[k]);
		put_histogram(out, latency, label, bounds, now->latency[k].bucket,
		    FG_METRICS_BUCKETS, (double)now->latency[k].sum_ns / 1e9);
	}
	if (!now->blocks.bound)
		return;
	put_head(out, blocks, "histogram", "Time that one block took to make.");
	put_histogram(out, blocks, "", now->blocks.bound, now->blocks.bucket,
	    FG_METRICS_BLOCK_BUCKETS, now->blocks.sum_s);
}

void
fg_metrics_format(const struct fg_metrics_now *now, struct fg_str *out)
{
	const char *last = "";

	put_head(out, "floodgate_build_info", "gauge", "1, with the version as label.");
	fg_str_puts(out, "floodgate_build_info{version=\"" PACKAGE_VERSION "\"} 1\n");
	put_requests(now, out);
	put_histograms(now, out);
	for (size_t i = 0; i < FG_COUNTOF(rows); i++) {
		const struct row *r = &rows[i];

		if (strcmp(r->name, last) != 0)
			put_head(out, r->name, r->type, r->sentence);
		last = r->name;
		if (*r->labels)
			fg_str_putf(out, "%s{%s} %.15g\n", r->name, r->labels,
			    value(now, r));
		else
			fg_str_putf(out, "%s %.15g\n", r->name, value(now, r));
	}
}

json_t *
fg_metrics_json(const struct fg_metrics_now *now)
{
	json_t *all = json_object();

	for (int c = 0; c < FG_METRICS_CODES; c++) {
		char name[16] = "code_other";
		uint64_t n = 0;

		for (int k = 0; k < FG_METRICS_KINDS; k++)
			n += now->request[k][c];
		if (c < FG_METRICS_CODES - 1)
			snprintf(name, sizeof name, "code_%d", codes[c]);
		json_object_set_new(all, name, json_integer((json_int_t)n));
	}
	for (size_t i = 0; i < FG_COUNTOF(rows); i++) {
		double v = value(now, &rows[i]);

		json_object_set_new(all, rows[i].member,
		    v == floor(v) && fabs(v) < 9e15 ? json_integer((json_int_t)v)
						    : json_real(v));
	}
	return all;
}
