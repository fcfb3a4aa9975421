/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Settings: one row per setting, made from settings.def, with the offset of its member
 * in struct fg_settings. Everything below walks that table; nothing here knows a
 * setting by name except fg_settings_check.
 */
#include "config.h"

#include "server/settings.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <strings.h>

#include "base/json.h"

enum kind { TEXT, PATH, LIST, INT, REAL, BOOL };

struct row {
	const char *name;
	enum kind kind;
	size_t at; /* offset in struct fg_settings */
	const char *text_default;
	double number_default, lo, hi;
	const char *unit;
	const char *sentence;
};

#define AT(name) offsetof(struct fg_settings, name)
#define FG_TEXT(name, def, sentence)                                                   \
	{#name, TEXT, AT(name), def, 0, 0, 0, "", sentence},
#define FG_PATH(name, def, sentence)                                                   \
	{#name, PATH, AT(name), def, 0, 0, 0, "", sentence},
#define FG_LIST(name, def, sentence)                                                   \
	{#name, LIST, AT(name), def, 0, 0, 0, "", sentence},
#define FG_INT(name, def, lo, hi, unit, sentence)                                      \
	{#name, INT, AT(name), NULL, def, lo, hi, unit, sentence},
#define FG_REAL(name, def, lo, hi, unit, sentence)                                     \
	{#name, REAL, AT(name), NULL, def, lo, hi, unit, sentence},
#define FG_BOOL(name, def, sentence)                                                   \
	{#name, BOOL, AT(name), NULL, def, 0, 1, "", sentence},
#define FG_LIVE(name)
static const struct row rows[] = {
#include "server/settings.def"
};
#undef FG_TEXT
#undef FG_PATH
#undef FG_LIST
#undef FG_INT
#undef FG_REAL
#undef FG_BOOL
#undef FG_LIVE

#define FG_TEXT(...)
#define FG_PATH(...)
#define FG_LIST(...)
#define FG_INT(...)
#define FG_REAL(...)
#define FG_BOOL(...)
#define FG_LIVE(name) AT(name),
/* Offsets of the settings that are read again while the daemon runs. */
static const size_t live[] = {
#include "server/settings.def"
};

static bool
is_live(const struct row *r)
{
	for (size_t i = 0; i < FG_COUNTOF(live); i++) {
		if (live[i] == r->at)
			return true;
	}
	return false;
}

static bool
is_string(const struct row *r)
{
	return r->kind == TEXT || r->kind == PATH || r->kind == LIST;
}

static char **
string_of(const struct fg_settings *s, const struct row *r)
{
	return (char **)((char *)(uintptr_t)s + r->at);
}

static void
put_number(struct fg_settings *s, const struct row *r, double v)
{
	char *p = (char *)s + r->at;

	if (r->kind == INT)
		*(int64_t *)p = (int64_t)v;
	else if (r->kind == REAL)
		*(double *)p = v;
	else
		*(bool *)p = v != 0;
}

static double
get_number(const struct fg_settings *s, const struct row *r)
{
	const char *p = (const char *)s + r->at;

	if (r->kind == INT)
		return (double)*(const int64_t *)p;
	return r->kind == REAL ? *(const double *)p : *(const bool *)p;
}

void
fg_settings_init(struct fg_settings *s)
{
	memset(s, 0, sizeof *s);
	for (size_t i = 0; i < FG_COUNTOF(rows); i++) {
		if (is_string(&rows[i]))
			*string_of(s, &rows[i]) = fg_strdup(rows[i].text_default);
		else
			put_number(s, &rows[i], rows[i].number_default);
	}
}

void
fg_settings_fini(struct fg_settings *s)
{
	for (size_t i = 0; i < FG_COUNTOF(rows); i++) {
		if (is_string(&rows[i])) {
			free(*string_of(s, &rows[i]));
			*string_of(s, &rows[i]) = NULL;
		}
	}
}

/* Row of a name in either spelling, or NULL. */
static const struct row *
find(const char *name)
{
	for (size_t i = 0; i < FG_COUNTOF(rows); i++) {
		const char *a = rows[i].name, *b = name;

		while (*a && (*a == *b || (*a == '_' && *b == '-')))
			a++, b++;
		if (!*a && !*b)
			return &rows[i];
	}
	return NULL;
}

bool
fg_settings_is_switch(const char *name)
{
	const struct row *r = find(name);

	return r && r->kind == BOOL;
}

static int
set_number(struct fg_settings *s, const struct row *r, double v, struct fg_err *err)
{
	if (!isfinite(v) || v < r->lo || v > r->hi)
		return fg_fail(err, FG_EINVAL,
		    "%s is %.15g, not within %.15g to %.15g%s%s", r->name, v, r->lo,
		    r->hi, *r->unit ? " " : "", r->unit);
	if (r->kind == INT && v != floor(v))
		return fg_fail(err, FG_EINVAL, "%s is %.15g, not a whole number",
		    r->name, v);
	put_number(s, r, v);
	return 0;
}

static int
set_string(struct fg_settings *s, const struct row *r, const char *v,
    struct fg_err *err)
{
	char **p = string_of(s, r);

	for (const char *c = v; *c; c++) {
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			return fg_fail(err, FG_EINVAL, "%s holds a control character",
			    r->name);
	}
	free(*p);
	*p = fg_strdup(v);
	return 0;
}

static int
set_bool(struct fg_settings *s, const struct row *r, const char *v, struct fg_err *err)
{
	static const char *const yes[] = {"yes", "true", "on", "1"};
	static const char *const no[] = {"no", "false", "off", "0"};

	for (size_t i = 0; i < FG_COUNTOF(yes); i++) {
		if (strcasecmp(v, yes[i]) == 0 || strcasecmp(v, no[i]) == 0) {
			put_number(s, r, strcasecmp(v, yes[i]) == 0);
			return 0;
		}
	}
	return fg_fail(err, FG_EINVAL, "%s is \"%s\", not yes or no", r->name, v);
}

int
fg_settings_set(struct fg_settings *s, const char *name, const char *value,
    struct fg_err *err)
{
	const struct row *r = find(name);
	char *end;
	double v;

	if (!r)
		return fg_fail(err, FG_ENOENT, "there is no setting \"%s\"", name);
	if (is_string(r))
		return set_string(s, r, value, err);
	if (r->kind == BOOL)
		return set_bool(s, r, value, err);
	errno = 0;
	v = strtod(value, &end);
	if (end == value || *end || errno)
		return fg_fail(err, FG_EINVAL, "%s is \"%s\", not a number", r->name,
		    value);
	return set_number(s, r, v, err);
}

/* A list given as an array: its words with commas between. */
static int
set_array(struct fg_settings *s, const struct row *r, const json_t *a,
    struct fg_err *err)
{
	struct fg_str text = FG_STR_INIT;
	size_t i;
	json_t *v;
	int rc = -1;

	json_array_foreach((json_t *)(uintptr_t)a, i, v)
	{
		if (!json_is_string(v) || strchr(json_string_value(v), ',')) {
			fg_fail(err, FG_EINVAL, "%s[%zu] is not a word", r->name, i);
			goto out;
		}
		fg_str_putf(&text, "%s%s", i > 0 ? "," : "", json_string_value(v));
	}
	rc = set_string(s, r, text.data ? text.data : "", err);
out:
	fg_str_fini(&text);
	return rc;
}

static int
set_json(struct fg_settings *s, const char *name, const json_t *v, struct fg_err *err)
{
	const struct row *r = find(name);

	if (!r || strchr(name, '-'))
		return fg_fail(err, FG_EINVAL, "there is no setting \"%s\"", name);
	if (r->kind == LIST && json_is_array(v))
		return set_array(s, r, v, err);
	if (is_string(r)) {
		if (!json_is_string(v) ||
		    strlen(json_string_value(v)) != json_string_length(v))
			return fg_fail(err, FG_EINVAL, "%s is not a string", name);
		return set_string(s, r, json_string_value(v), err);
	}
	if (r->kind == BOOL) {
		if (!json_is_boolean(v))
			return fg_fail(err, FG_EINVAL, "%s is not true or false", name);
		put_number(s, r, json_is_true(v));
		return 0;
	}
	if (!json_is_number(v))
		return fg_fail(err, FG_EINVAL, "%s is not a number", name);
	return set_number(s, r, json_number_value(v), err);
}

int
fg_settings_parse(struct fg_settings *s, const char *text, size_t n, const char *what,
    struct fg_err *err)
{
	json_t *j = fg_json_parse(text, n, what, err), *v;
	const char *key;
	int rc = -1;

	if (!j)
		return -1;
	if (!json_is_object(j)) {
		fg_fail(err, FG_EINVAL, "%s: not a JSON object", what);
		goto out;
	}
	json_object_foreach(j, key, v)
	{
		if (set_json(s, key, v, err) < 0) {
			fg_err_prefix(err, "%s", what);
			goto out;
		}
	}
	rc = 0;
out:
	json_decref(j);
	return rc;
}

int
fg_settings_environment(struct fg_settings *s, struct fg_err *err)
{
	for (size_t i = 0; i < FG_COUNTOF(rows); i++) {
		char name[64];
		int n = snprintf(name, sizeof name, "FLOODGATE_%s", rows[i].name);

		for (char *p = name; p < name + n; p++)
			*p = (char)toupper((unsigned char)*p);
		const char *value = getenv(name);

		if (value && fg_settings_set(s, rows[i].name, value, err) < 0)
			return fg_err_prefix(err, "environment variable %s", name);
	}
	return 0;
}

static bool
is_http_url(const char *text)
{
	return strncmp(text, "http://", 7) == 0 || strncmp(text, "https://", 8) == 0;
}

static int
check_access(const struct fg_settings *s, struct fg_err *err)
{
	size_t n = strlen(s->public_url);

	if (!fg_list_has("none,read,compute", s->anonymous, strlen(s->anonymous)))
		return fg_fail(err, FG_EINVAL,
		    "anonymous is \"%s\", not none, read or compute", s->anonymous);
	if (!*s->tls_cert != !*s->tls_key)
		return fg_fail(err, FG_EINVAL,
		    "tls_cert and tls_key go together, and %s is not set",
		    *s->tls_cert ? "tls_key" : "tls_cert");
	if (n > 0 &&
	    (!is_http_url(s->public_url) || s->public_url[n - 1] == '/' || n > 256))
		return fg_fail(err, FG_EINVAL,
		    "public_url is \"%s\", not an http(s) URL without a slash at its "
		    "end",
		    s->public_url);
	return 0;
}

int
fg_settings_check(const struct fg_settings *s, struct fg_err *err)
{
	const char *colon = strrchr(s->listen, ':');

	if (!fg_list_has("error,warn,info,debug", s->log_level, strlen(s->log_level)))
		return fg_fail(err, FG_EINVAL,
		    "log_level is \"%s\", not error, warn, info or debug",
		    s->log_level);
	if (!colon || colon == s->listen || !colon[1] ||
	    strspn(colon + 1, "0123456789") != strlen(colon + 1) ||
	    atol(colon + 1) > 65535)
		return fg_fail(err, FG_EINVAL, "listen is \"%s\", not ADDRESS:PORT",
		    s->listen);
	if (*s->viewer_url && !is_http_url(s->viewer_url))
		return fg_fail(err, FG_EINVAL,
		    "viewer_url is \"%s\", not an http(s) URL", s->viewer_url);
	return check_access(s, err);
}

enum fg_log_level
fg_settings_log_level(const struct fg_settings *s)
{
	static const char *const names[] = {"error", "warn", "info", "debug"};
	enum fg_log_level level = FG_LOG_INFO;

	for (size_t i = 0; i < FG_COUNTOF(names); i++) {
		if (strcmp(s->log_level, names[i]) == 0)
			level = (enum fg_log_level)i;
	}
	return level;
}

static bool
same_value(const struct fg_settings *a, const struct fg_settings *b,
    const struct row *r)
{
	return is_string(r) ? strcmp(*string_of(a, r), *string_of(b, r)) == 0
			    : get_number(a, r) == get_number(b, r);
}

void
fg_settings_compare(const struct fg_settings *a, const struct fg_settings *b,
    char **live_names, char **fixed_names)
{
	struct fg_str text[2] = {FG_STR_INIT, FG_STR_INIT};

	for (size_t i = 0; i < FG_COUNTOF(rows); i++) {
		struct fg_str *t = &text[is_live(&rows[i])];

		if (!same_value(a, b, &rows[i]))
			fg_str_putf(t, "%s%s", t->len > 0 ? ", " : "", rows[i].name);
	}
	*fixed_names = text[0].data ? text[0].data : fg_strdup("");
	*live_names = text[1].data ? text[1].data : fg_strdup("");
}

void
fg_settings_keep_fixed(struct fg_settings *s, const struct fg_settings *from)
{
	for (size_t i = 0; i < FG_COUNTOF(rows); i++) {
		const struct row *r = &rows[i];

		if (is_live(r))
			continue;
		if (is_string(r)) {
			free(*string_of(s, r));
			*string_of(s, r) = fg_strdup(*string_of(from, r));
		} else {
			put_number(s, r, get_number(from, r));
		}
	}
}

/* The number as people write it. */
static json_t *
number_json(const struct row *r, double v)
{
	if (r->kind == BOOL)
		return json_boolean(v != 0);
	return r->kind == INT || v == floor(v) ? json_integer((json_int_t)v)
					       : json_real(v);
}

json_t *
fg_settings_describe(const struct fg_settings *s, bool paths)
{
	json_t *all = json_array();

	for (size_t i = 0; i < FG_COUNTOF(rows); i++) {
		const struct row *r = &rows[i];
		json_t *value, *def;

		if (is_string(r)) {
			value = r->kind == PATH && !paths
				    ? json_null()
				    : json_string(*string_of(s, r));
			def = json_string(r->text_default);
		} else {
			value = number_json(r, get_number(s, r));
			def = number_json(r, r->number_default);
		}
		json_array_append_new(all,
		    json_pack("{s:s, s:o, s:o, s:s, s:b, s:s}", "name", r->name,
			"value", value, "default", def, "unit", r->unit, "live",
			(int)is_live(r), "text", r->sentence));
	}
	return all;
}

/* "--hold-s S" with its default as text. */
static void
describe_option(const struct row *r, char option[96], char def[128])
{
	const char *arg = is_string(r) ? "TEXT" : "N";
	char name[48];
	size_t n = 0;

	for (; r->name[n] && n < sizeof name - 1; n++)
		name[n] = r->name[n] == '_' ? '-' : r->name[n];
	name[n] = '\0';
	if (r->kind == BOOL)
		snprintf(option, 96, "--[no-]%s", name);
	else
		snprintf(option, 96, "--%s %s", name,
		    r->kind == PATH ? "PATH" : (r->kind == LIST ? "LIST" : arg));
	if (is_string(r))
		snprintf(def, 128, "%s", *r->text_default ? r->text_default : "none");
	else if (r->kind == BOOL)
		snprintf(def, 128, "%s", r->number_default != 0 ? "yes" : "no");
	else
		snprintf(def, 128, "%.15g%s%s; %.15g to %.15g", r->number_default,
		    *r->unit ? " " : "", r->unit, r->lo, r->hi);
}

void
fg_settings_help(FILE *out)
{
	char option[96], def[128];

	for (size_t i = 0; i < FG_COUNTOF(rows); i++) {
		describe_option(&rows[i], option, def);
		fprintf(out, "  %s\n      %s [%s]\n", option, rows[i].sentence, def);
	}
}

/* Text in a man page: a backslash and a hyphen have meanings of their own there. */
static void
put_roff(FILE *out, const char *text)
{
	for (; *text; text++) {
		if (*text == '-' || *text == '\\')
			fputc('\\', out);
		fputc(*text, out);
	}
}

/* What stands behind the colon in the configuration file. */
static const char *
json_form(const struct row *r)
{
	switch (r->kind) {
	case TEXT:
	case PATH:
		return "string";
	case LIST:
		return "array of strings";
	case BOOL:
		return "true or false";
	case INT:
		return "whole number";
	case REAL:
		break;
	}
	return "number";
}

void
fg_settings_man(FILE *out, bool file)
{
	char option[96], def[128];

	for (size_t i = 0; i < FG_COUNTOF(rows); i++) {
		describe_option(&rows[i], option, def);
		fputs(file ? ".TP\n.BR " : ".TP\n.B ", out);
		put_roff(out, file ? rows[i].name : option);
		if (file)
			fprintf(out, " \": \" \"%s\"", json_form(&rows[i]));
		fputs("\n", out);
		put_roff(out, rows[i].sentence);
		if (!file) {
			fputs("\nIn the configuration file:\n.BR ", out);
			put_roff(out, rows[i].name);
			fputs(" .", out);
		}
		fputs("\nDefault: ", out);
		put_roff(out, def);
		fputs(is_live(&rows[i]) ? ".\n" : ".\nRead at start only.\n", out);
	}
}

bool
fg_list_has(const char *list, const char *word, size_t n)
{
	while (*list) {
		size_t len = strcspn(list, ",");
		size_t skip = strspn(list, " ");

		if (skip <= len && len - skip == n && n > 0 &&
		    strncasecmp(list + skip, word, n) == 0)
			return true;
		list += len;
		list += *list == ',';
	}
	return false;
}
