/* SPDX-License-Identifier: Apache-2.0 */
/* Metrics: the rows of metrics.def as a table, walked by the two output forms. */
#include "config.h"

#include "server/metrics.h"

#include <math.h>

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

void
fg_metrics_reply(struct fg_metrics *m, int status, uint64_t bytes)
{
	switch (status) {
	case 200:
		FG_COUNT(m, code_200);
		break;
	case 202:
		FG_COUNT(m, code_202);
		break;
	case 204:
		FG_COUNT(m, code_204);
		break;
	case 206:
		FG_COUNT(m, code_206);
		break;
	case 304:
		FG_COUNT(m, code_304);
		break;
	case 404:
		FG_COUNT(m, code_404);
		break;
	case 500:
		FG_COUNT(m, code_500);
		break;
	case 503:
		FG_COUNT(m, code_503);
		break;
	default:
		if (status >= 400 && status < 500)
			FG_COUNT(m, code_4xx);
		else
			FG_COUNT(m, code_other);
	}
	atomic_fetch_add_explicit(&m->bytes_sent, bytes, memory_order_relaxed);
}

void
fg_metrics_snapshot(struct fg_metrics *m, struct fg_metrics_now *out)
{
	memset(out, 0, sizeof *out);
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

void
fg_metrics_format(const struct fg_metrics_now *now, struct fg_str *out)
{
	const char *last = "";

	for (size_t i = 0; i < FG_COUNTOF(rows); i++) {
		const struct row *r = &rows[i];

		if (strcmp(r->name, last) != 0)
			fg_str_putf(out, "# HELP %s %s\n# TYPE %s %s\n", r->name,
			    r->sentence, r->name, r->type);
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

	for (size_t i = 0; i < FG_COUNTOF(rows); i++) {
		double v = value(now, &rows[i]);

		json_object_set_new(all, rows[i].member,
		    v == floor(v) && fabs(v) < 9e15 ? json_integer((json_int_t)v)
						    : json_real(v));
	}
	return all;
}
