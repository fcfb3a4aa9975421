/* SPDX-License-Identifier: Apache-2.0 */
/* Counting replies, and the Prometheus text form: its grammar is checked line by line.
 */
#include "config.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "server/metrics.h"
#include "tests/tap.h"

/* "name 1.5" or "name{label="x"} 1.5". */
static bool
is_sample(const char *line)
{
	const char *p = line;
	char *end;

	while (isalnum((unsigned char)*p) || *p == '_')
		p++;
	if (p == line)
		return false;
	if (*p == '{') {
		p = strchr(p, '}');
		if (!p || p[-1] != '"')
			return false;
		p++;
	}
	if (*p++ != ' ')
		return false;
	strtod(p, &end);
	return end != p && *end == '\0';
}

static void
text_form(struct fg_metrics_now *now)
{
	struct fg_str s = FG_STR_INIT;
	int samples = 0, types = 0, wrong = 0;

	fg_metrics_format(now, &s);
	for (char *line = strtok(s.data, "\n"); line; line = strtok(NULL, "\n")) {
		if (strncmp(line, "# TYPE ", 7) == 0)
			types++;
		else if (strncmp(line, "# HELP ", 7) == 0)
			wrong += line[strlen(line) - 1] == ' '; /* no sentence */
		else if (is_sample(line))
			samples++;
		else
			wrong++;
	}
	tap_int(wrong, 0, "every line is a comment with a sentence or a sample");
	tap_ok(samples > 150 && types > 30 && types < samples, "all rows are there");
	fg_str_fini(&s);
}

int
main(void)
{
	struct fg_metrics m = {0};
	struct fg_metrics_now now;
	struct fg_str s = FG_STR_INIT;
	json_t *j;

	fg_metrics_reply(&m, FG_METRICS_CHUNK, 200, 1000, 2000000);
	fg_metrics_reply(&m, FG_METRICS_CHUNK, 200, 24, 300000);
	fg_metrics_reply(&m, FG_METRICS_API, 200, 0, 5);
	fg_metrics_reply(&m, FG_METRICS_API, 421, 0, 700000000000);
	fg_metrics_reply(&m, FG_METRICS_MADE, 503, 0, 15000000000);
	FG_COUNT(&m, parked_time);
	fg_metrics_snapshot(&m, &now);
	now.block_seconds = 1.5;
	fg_metrics_format(&now, &s);
	tap_ok(strstr(s.data,
		   "\nfloodgate_requests_total{kind=\"chunk\",code=\"200\"} 2\n"),
	    "200 twice");
	tap_ok(strstr(s.data, "{kind=\"api\",code=\"other\"} 1\n"), "421 is another");
	tap_ok(strstr(s.data, "{kind=\"made\",code=\"503\"} 1\n"), "503 is counted");
	tap_ok(strstr(s.data, "{kind=\"info\",code=\"200\"} 0\n"),
	    "a kind is there from the beginning");
	tap_ok(!strstr(s.data, "kind=\"info\",code=\"404\""),
	    "a status only once it was sent");
	tap_ok(strstr(s.data, "_bucket{kind=\"chunk\",le=\"0.0005\"} 1\n") &&
		   strstr(s.data, "_bucket{kind=\"chunk\",le=\"0.001\"} 1\n") &&
		   strstr(s.data, "_bucket{kind=\"chunk\",le=\"0.0025\"} 2\n"),
	    "latencies are in their buckets, which add up");
	tap_ok(strstr(s.data, "_bucket{kind=\"made\",le=\"5\"} 0\n") &&
		   strstr(s.data, "_bucket{kind=\"made\",le=\"15\"} 1\n"),
	    "a bound belongs to its bucket");
	tap_ok(strstr(s.data, "_bucket{kind=\"api\",le=\"600\"} 1\n") &&
		   strstr(s.data, "_bucket{kind=\"api\",le=\"+Inf\"} 2\n"),
	    "what takes longer than all is in the last");
	tap_ok(strstr(s.data, "_sum{kind=\"chunk\"} 0.0023\n") &&
		   strstr(s.data, "_count{kind=\"chunk\"} 2\n"),
	    "sum and count");
	tap_ok(strstr(s.data, "floodgate_body_bytes_total 1024\n"), "bytes are summed");
	tap_ok(strstr(s.data, "floodgate_block_seconds_smoothed 1.5\n"), "a gauge");
	fg_str_fini(&s);
	text_form(&now);
	j = fg_metrics_json(&now);
	tap_int(json_integer_value(json_object_get(j, "code_200")), 3,
	    "the same as JSON");
	json_decref(j);
	return tap_done();
}
