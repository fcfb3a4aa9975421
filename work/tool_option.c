/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line: getopt_long driven by a command's table, help from the same table,
 * and values read strictly. Option i of the table is value OPTION_BASE + i of getopt.
 */
#include "config.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdlib.h>

#include "formats/info.h"
#include "work/tool.h"

#define OPTION_BASE 1000

static const struct fg_tool_option common[] = {
    {"root", "DIR", "data directory (default $FLOODGATE_ROOT, else ./floodgate.d)", 0},
    {"index-dir", "DIR",
	"folder of the index, where it is not the data directory\n(default: as in "
	"ROOT/floodgate.json)",
	0},
    {"json", NULL, "print JSON for programs", 0},
    {"quiet", NULL, "no progress bar", 'q'},
    {"help", NULL, "print this and end", 'h'},
    {NULL, NULL, NULL, 0},
};
enum {
	COMMON_ROOT,
	COMMON_INDEX,
	COMMON_JSON,
	COMMON_QUIET,
	COMMON_HELP,
	COMMON_COUNT
};

static int
option_count(const struct fg_tool_option *o)
{
	int n = 0;

	while (o && o[n].name)
		n++;
	return n;
}

/* ------------------------------------------------------------- help */

/* The help text of one option, its line breaks indented below the first line. */
static void
print_option(FILE *out, const struct fg_tool_option *o)
{
	char left[64];

	snprintf(left, sizeof left, "%c%c%s--%s%s%s", o->letter ? '-' : ' ',
	    o->letter ? o->letter : ' ', o->letter ? ", " : "  ", o->name,
	    o->arg ? " " : "", o->arg ? o->arg : "");
	fprintf(out, "  %-26s ", left);
	if (strlen(left) > 26)
		fprintf(out, "\n%29s", "");
	for (const char *p = o->help; *p; p++) {
		putc(*p, out);
		if (*p == '\n')
			fprintf(out, "%29s", "");
	}
	putc('\n', out);
}

void
fg_tool_help(const struct fg_tool_command *c, FILE *out)
{
	fprintf(out, "Usage: floodgate %s [OPTION]...%s%s\n\n%c%s.\n", c->name,
	    c->args ? " " : "", c->args ? c->args : "",
	    c->summary[0] >= 'a' && c->summary[0] <= 'z' ? c->summary[0] - 32
							 : c->summary[0],
	    c->summary + 1);
	if (c->details)
		fprintf(out, "\n%s\n", c->details);
	fputs("\nOptions:\n", out);
	for (const struct fg_tool_option *o = c->options; o && o->name; o++)
		print_option(out, o);
	for (const struct fg_tool_option *o = common; o->name; o++)
		print_option(out, o);
}

/* ------------------------------------------------------------- near misses */

#define SUGGEST_MAX 40

/* Levenshtein distance, both at most SUGGEST_MAX long. */
static int
distance(const char *a, const char *b)
{
	int row[SUGGEST_MAX + 1];
	int na = (int)strlen(a), nb = (int)strlen(b);

	for (int j = 0; j <= nb; j++)
		row[j] = j;
	for (int i = 1; i <= na; i++) {
		int diagonal = row[0];

		row[0] = i;
		for (int j = 1; j <= nb; j++) {
			int swap = diagonal + (a[i - 1] != b[j - 1]);
			int step = FG_MIN(row[j], row[j - 1]) + 1;

			diagonal = row[j];
			row[j] = FG_MIN(swap, step);
		}
	}
	return row[nb];
}

void
fg_tool_suggest(FILE *out, const char *typed, const char *prefix,
    const char *(*name)(void *ctx, int i), void *ctx)
{
	const char *best = NULL, *n;
	int least = 3; /* two wrong letters are a slip, three another word */

	for (int i = 0; (n = name(ctx, i)) != NULL; i++) {
		if (strlen(n) > SUGGEST_MAX || strlen(typed) > SUGGEST_MAX)
			continue;
		int d = distance(typed, n);
		/* A beginning counts, too: "seg" for "segment". */
		if (d >= 3 && strlen(typed) >= 3 &&
		    strncmp(typed, n, strlen(typed)) == 0)
			d = 2;
		if (d < least && d < (int)strlen(n)) {
			least = d;
			best = n;
		}
	}
	if (best)
		fprintf(out, "; did you mean %s%s?", prefix, best);
}

/* ------------------------------------------------------------- parsing */

struct option_names {
	const struct fg_tool_option *own;
	int owns;
};

static const char *
option_name(void *ctx, int i)
{
	const struct option_names *l = ctx;

	if (i < l->owns)
		return l->own[i].name;
	return i - l->owns < COMMON_COUNT ? common[i - l->owns].name : NULL;
}

static int
bad_option(const struct fg_tool *t, char **argv, int opt)
{
	struct option_names names = {t->command->options,
	    option_count(t->command->options)};
	const char *word = argv[optind - 1];

	fprintf(stderr, "floodgate %s: ", t->command->name);
	if (opt == ':') {
		fprintf(stderr, "%s needs a value", word);
	} else if (optopt >= OPTION_BASE) {
		fprintf(stderr, "%s takes no value", word);
	} else if (strncmp(word, "--", 2) == 0) {
		char *bare = fg_strndup(word + 2, strcspn(word + 2, "="));

		fprintf(stderr, "no option --%s (or more than one begins so)", bare);
		fg_tool_suggest(stderr, bare, "--", option_name, &names);
		free(bare);
	} else {
		fprintf(stderr, "no option -%c", optopt);
	}
	fprintf(stderr, "; floodgate %s --help lists them\n", t->command->name);
	return FG_EXIT_USAGE;
}

static int
set_common(struct fg_tool *t, int which)
{
	switch (which) {
	case COMMON_ROOT:
		t->root = optarg;
		return -1;
	case COMMON_INDEX:
		t->index_dir = optarg;
		return -1;
	case COMMON_JSON:
		t->json = true;
		return -1;
	case COMMON_QUIET:
		t->quiet = true;
		return -1;
	default:
		fg_tool_help(t->command, stdout);
		return FG_EXIT_OK;
	}
}

/* getopt's two tables: long options, value OPTION_BASE + i, and ":hqo:". */
static void
fill_tables(const struct fg_tool_option *own, int owns, struct option *table,
    char *letters)
{
	*letters++ = ':';
	for (int i = 0; i < owns + COMMON_COUNT; i++) {
		const struct fg_tool_option *o = i < owns ? &own[i] : &common[i - owns];

		table[i] = (struct option){o->name,
		    o->arg ? required_argument : no_argument, NULL, OPTION_BASE + i};
		if (!o->letter)
			continue;
		*letters++ = o->letter;
		if (o->arg)
			*letters++ = ':';
	}
	*letters = '\0';
}

static int
row_of(const struct fg_tool_option *own, int owns, int opt)
{
	if (opt >= OPTION_BASE)
		return opt - OPTION_BASE;
	for (int i = 0;; i++) {
		const struct fg_tool_option *o = i < owns ? &own[i] : &common[i - owns];

		if (o->letter == opt)
			return i;
	}
}

int
fg_tool_parse(struct fg_tool *t, int argc, char **argv)
{
	const struct fg_tool_option *own = t->command->options;
	struct option table[FG_TOOL_OPTIONS_MAX + COMMON_COUNT + 1] = {0};
	char letters[2 * (FG_TOOL_OPTIONS_MAX + COMMON_COUNT) + 2];
	int owns = option_count(own), code = -1, opt;

	fg_assert(owns <= FG_TOOL_OPTIONS_MAX);
	fill_tables(own, owns, table, letters);
	opterr = 0;
	while (
	    code < 0 && (opt = getopt_long(argc, argv, letters, table, NULL)) != -1) {
		if (opt == '?' || opt == ':')
			return bad_option(t, argv, opt);
		int i = row_of(own, owns, opt);
		if (i < owns)
			t->value[i] = optarg ? optarg : "";
		else
			code = set_common(t, i - owns);
	}
	if (code >= 0)
		return code;
	t->args = argc - optind;
	t->arg = argv + optind;
	if (t->args >= t->command->least && t->args <= t->command->most)
		return -1;
	fprintf(stderr,
	    "floodgate %s: %d argument%s given, wanted: %s; floodgate %s --help "
	    "explains\n",
	    t->command->name, t->args, t->args == 1 ? "" : "s",
	    t->command->args ? t->command->args : "none", t->command->name);
	return FG_EXIT_USAGE;
}

/* ------------------------------------------------------------- values */

static const char *
value_of(const struct fg_tool *t, const char *name)
{
	for (int i = 0; t->command->options[i].name; i++) {
		if (strcmp(t->command->options[i].name, name) == 0)
			return t->value[i];
	}
	fg_assert(!"option in the command's table");
	return NULL;
}

bool
fg_tool_has(const struct fg_tool *t, const char *name)
{
	return value_of(t, name) != NULL;
}

const char *
fg_tool_text(const struct fg_tool *t, const char *name, const char *absent)
{
	const char *v = value_of(t, name);

	return v ? v : absent;
}

/* n numbers with commas between; one number alone stands for all. */
static bool
parse_reals(const char *text, int n, double *out)
{
	double v[3] = {0};
	int k = 0;

	for (;;) {
		char *end;

		if (k == n || *text == '\0' || *text == ' ')
			return false;
		errno = 0;
		v[k++] = strtod(text, &end);
		if (end == text || errno || !isfinite(v[k - 1]))
			return false;
		if (*end == '\0')
			break;
		if (*end != ',')
			return false;
		text = end + 1;
	}
	if (k != 1 && k != n)
		return false;
	for (int d = 0; d < n; d++)
		out[d] = k == 1 ? v[0] : v[d];
	return true;
}

static int
reals(const struct fg_tool *t, const char *name, double lo, double hi, int n,
    bool whole, double *out, struct fg_err *err)
{
	const char *text = value_of(t, name);
	double v[3];
	bool ok;

	if (!text)
		return 0;
	ok = parse_reals(text, n, v);
	for (int d = 0; ok && d < n; d++)
		ok = v[d] >= lo && v[d] <= hi && (!whole || v[d] == floor(v[d]));
	if (!ok)
		return fg_fail(err, FG_EINVAL,
		    "--%s %s: wanted %s%snumber%s from %.15g to %.15g", name, text,
		    n == 3 ? "three " : "a ", whole ? "whole " : "",
		    n == 3 ? "s X,Y,Z, each" : "", lo, hi);
	memcpy(out, v, (size_t)n * sizeof *v);
	return 0;
}

int
fg_tool_real(const struct fg_tool *t, const char *name, double lo, double hi,
    double *out, struct fg_err *err)
{
	return reals(t, name, lo, hi, 1, false, out, err);
}

int
fg_tool_real3(const struct fg_tool *t, const char *name, double lo, double hi,
    double out[3], struct fg_err *err)
{
	return reals(t, name, lo, hi, 3, false, out, err);
}

int
fg_tool_int(const struct fg_tool *t, const char *name, int64_t lo, int64_t hi,
    int64_t *out, struct fg_err *err)
{
	double v = (double)*out;

	if (reals(t, name, (double)lo, (double)hi, 1, true, &v, err) < 0)
		return -1;
	*out = (int64_t)v;
	return 0;
}

int
fg_tool_int3(const struct fg_tool *t, const char *name, int64_t lo, int64_t hi,
    int64_t out[3], struct fg_err *err)
{
	double v[3] = {(double)out[0], (double)out[1], (double)out[2]};

	if (reals(t, name, (double)lo, (double)hi, 3, true, v, err) < 0)
		return -1;
	for (int d = 0; d < 3; d++)
		out[d] = (int64_t)v[d];
	return 0;
}

int
fg_tool_box(const char *text, struct fg_box *out, struct fg_err *err)
{
	if (!fg_chunk_name_parse(text, strlen(text), out) || fg_box_is_empty(out))
		return fg_fail(err, FG_EINVAL,
		    "\"%s\" is no box: wanted x0-x1_y0-y1_z0-z1 in voxels, like "
		    "0-64_0-64_0-64",
		    text);
	return 0;
}

void
fg_tool_box_text(const struct fg_box *vx, char out[FG_TOOL_BOX])
{
	_Static_assert(FG_TOOL_BOX == FG_CHUNK_NAME, "one buffer size for box names");
	fg_chunk_name_format(vx, out);
}
