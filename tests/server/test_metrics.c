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
	tap_ok(samples > 30 && types > 10 && types < samples, "all rows are there");
	fg_str_fini(&s);
}

int
main(void)
{
	struct fg_metrics m = {0};
	struct fg_metrics_now now;
	struct fg_str s = FG_STR_INIT;
	json_t *j;

	fg_metrics_reply(&m, 200, 1000);
	fg_metrics_reply(&m, 200, 24);
	fg_metrics_reply(&m, 421, 0);
	fg_metrics_reply(&m, 503, 0);
	fg_metrics_reply(&m, 307, 0);
	FG_COUNT(&m, parked_time);
	fg_metrics_snapshot(&m, &now);
	now.block_seconds = 1.5;
	fg_metrics_format(&now, &s);
	tap_ok(strstr(s.data, "\nfloodgate_requests_total{code=\"200\"} 2\n"),
	    "200 twice");
	tap_ok(strstr(s.data, "{code=\"4xx\"} 1\n"), "421 is another 4xx");
	tap_ok(strstr(s.data, "{code=\"other\"} 1\n"), "307 is another");
	tap_ok(strstr(s.data, "floodgate_body_bytes_total 1024\n"), "bytes are summed");
	tap_ok(strstr(s.data, "floodgate_block_seconds 1.5\n"), "a gauge");
	fg_str_fini(&s);
	text_form(&now);
	j = fg_metrics_json(&now);
	tap_int(json_integer_value(json_object_get(j, "code_200")), 2,
	    "the same as JSON");
	json_decref(j);
	return tap_done();
}
