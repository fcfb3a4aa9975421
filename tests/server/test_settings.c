/* SPDX-License-Identifier: Apache-2.0 */
/* Settings: defaults, JSON, text, ranges, unknown names, and the texts made of them. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "server/settings.h"
#include "tests/tap.h"

static struct fg_err err = FG_ERR_INIT;

static int
parse(struct fg_settings *s, const char *text)
{
	return fg_settings_parse(s, text, strlen(text), "test.json", &err);
}

static void
good(void)
{
	struct fg_settings s;

	fg_settings_init(&s);
	tap_str(s.listen, "127.0.0.1:8080", "listens on loopback by default");
	tap_ok(s.hold_s == 15 && s.parked_per_client == 2, "defaults of numbers");
	tap_rc(fg_settings_check(&s, &err), &err, "the defaults are good");
	tap_rc(parse(&s, "{\"hold_s\":2.5,\"listen\":\"[::1]:0\",\"access_log\":true,"
			 "\"hosts\":[\"a.lab\",\"b.lab\"],\"cache_mb\":64.0}"),
	    &err, "a configuration");
	tap_ok(s.hold_s == 2.5 && s.access_log && s.cache_mb == 64, "its values");
	tap_str(s.hosts, "a.lab,b.lab", "an array becomes a list");
	tap_rc(parse(&s, "{\"hosts\":\"c.lab\"}"), &err, "a list as one string");
	tap_rc(fg_settings_set(&s, "hold-s", "3", &err), &err,
	    "an option with a hyphen");
	tap_rc(fg_settings_set(&s, "access_log", "no", &err), &err, "a switch");
	tap_ok(s.hold_s == 3 && !s.access_log, "the later one wins");
	tap_ok(fg_settings_is_switch("access-log") &&
		   !fg_settings_is_switch("hold-s") &&
		   !fg_settings_is_switch("nonsense"),
	    "switches are known");
	tap_rc(fg_settings_check(&s, &err), &err, "together they are good");
	fg_settings_fini(&s);
}

static void
bad(void)
{
	static const struct {
		const char *text, *part;
	} cases[] = {
	    {"[]", "not a JSON object"},
	    {"{", "not JSON"},
	    {"{\"hold_s\":-1}", "hold_s is -1, not within 0 to 600 s"},
	    {"{\"cache_mb\":-1}", "cache_mb is -1, not within 0 to 1048576 MiB"},
	    {"{\"hold_s\":\"1\"}", "hold_s is not a number"},
	    {"{\"hold_s\":1e999}", "not JSON"},
	    {"{\"cache_mb\":1.5}", "cache_mb is 1.5, not a whole number"},
	    {"{\"connections\":1e12}", "connections is 1000000000000"},
	    {"{\"access_log\":1}", "access_log is not true or false"},
	    {"{\"listen\":8080}", "listen is not a string"},
	    {"{\"hosts\":[1]}", "hosts[0] is not a word"},
	    {"{\"hosts\":[\"a,b\"]}", "hosts[0] is not a word"},
	    {"{\"hold-s\":1}", "there is no setting \"hold-s\""},
	    {"{\"holds\":1}", "test.json: there is no setting \"holds\""},
	    {"{\"listen\":\"a\\nb:1\"}", "listen holds a control character"},
	    {"{\"hold_s\":1,\"hold_s\":2}", "not JSON"},
	};
	struct fg_settings s;

	fg_settings_init(&s);
	for (size_t i = 0; i < FG_COUNTOF(cases); i++)
		tap_fails(parse(&s, cases[i].text), &err, FG_EINVAL, cases[i].part,
		    cases[i].text);
	tap_fails(fg_settings_set(&s, "nonsense", "1", &err), &err, FG_ENOENT,
	    "nonsense", "an unknown option");
	tap_fails(fg_settings_set(&s, "hold_s", "3x", &err), &err, FG_EINVAL,
	    "hold_s is \"3x\", not a number", "a half number");
	tap_fails(fg_settings_set(&s, "hold_s", "nan", &err), &err, FG_EINVAL, "hold_s",
	    "not a number");
	tap_fails(fg_settings_set(&s, "hold_s", "", &err), &err, FG_EINVAL,
	    "not a number", "nothing");
	tap_fails(fg_settings_set(&s, "access_log", "maybe", &err), &err, FG_EINVAL,
	    "not yes or no", "neither yes nor no");
	tap_ok(s.hold_s == 15, "what was refused changed nothing");
	fg_settings_fini(&s);
}

static void
bad_together(void)
{
	static const struct {
		const char *name, *value, *good;
	} cases[] = {
	    {"log_level", "loud", "info"},
	    {"listen", "8080", "127.0.0.1:8080"},
	    {"listen", ":8080", "127.0.0.1:8080"},
	    {"listen", "localhost:", "127.0.0.1:8080"},
	    {"listen", "localhost:99999", "127.0.0.1:8080"},
	    {"viewer_url", "javascript:alert(1)", "https://viewer.example/"},
	    {"anonymous", "admin", "read"},
	    {"anonymous", "", "none"},
	    {"public_url", "em.lab", "https://em.lab"},
	    {"public_url", "https://em.lab/", "http://em.lab:1/x"},
	    {"tls_cert", "/cert.pem", ""},
	    {"tls_key", "/key.pem", ""},
	};
	struct fg_settings s;

	fg_settings_init(&s);
	for (size_t i = 0; i < FG_COUNTOF(cases); i++) {
		tap_rc(fg_settings_set(&s, cases[i].name, cases[i].value, &err), &err,
		    cases[i].name);
		tap_fails(fg_settings_check(&s, &err), &err, FG_EINVAL,
		    *cases[i].value == '/' ? "tls_" : cases[i].value,
		    "is refused by the check");
		tap_rc(fg_settings_set(&s, cases[i].name, cases[i].good, &err), &err,
		    "and taken again");
	}
	fg_settings_fini(&s);
}

/* Everything in the struct is in each of the texts: they come from one table. */
static void
texts(void)
{
	struct fg_settings s;
	char *help = NULL, *man = NULL, *file = NULL;
	size_t help_n, man_n, file_n, i;
	FILE *f;
	json_t *all, *row;
	int missing = 0;

	fg_settings_init(&s);
	f = open_memstream(&help, &help_n);
	fg_settings_help(f);
	fclose(f);
	f = open_memstream(&man, &man_n);
	fg_settings_man(f, false);
	fclose(f);
	f = open_memstream(&file, &file_n);
	fg_settings_man(f, true);
	fclose(f);
	tap_rc(fg_settings_set(&s, "token_file", "/secret/place", &err), &err,
	    "a path");
	all = fg_settings_describe(&s, false);
	json_array_foreach(all, i, row)
	{
		const char *name = json_string_value(json_object_get(row, "name"));
		char option[64];

		snprintf(option, sizeof option, "%s", name);
		for (char *p = option; *p; p++)
			*p = *p == '_' ? '-' : *p;
		missing += !strstr(help, option) || !strstr(man, name) ||
			   !strstr(file, name) ||
			   !*json_string_value(json_object_get(row, "text"));
		if (strcmp(name, "token_file") == 0)
			tap_ok(json_is_null(json_object_get(row, "value")),
			    "paths are not shown to everybody");
	}
	tap_ok(i > 25, "all settings are described");
	tap_int(missing, 0, "each is in the help, the manual, and has a sentence");
	json_decref(all);
	all = fg_settings_describe(&s, true);
	{
		char *text = json_dumps(all, 0);

		tap_ok(strstr(text, "/secret/place") != NULL,
		    "they are to their owner");
		free(text);
	}
	json_decref(all);
	free(help);
	free(man);
	free(file);
	fg_settings_fini(&s);
}

static void
environment(void)
{
	struct fg_settings s;

	fg_settings_init(&s);
	fg_err_clear(&err);
	setenv("FLOODGATE_HOLD_S", "2.5", 1);
	setenv("FLOODGATE_HOSTS", "em.lab", 1);
	setenv("FLOODGATE_ACCESS_LOG", "yes", 1);
	setenv("FLOODGATE_ROOT", "/somewhere", 1); /* none of ours, and no harm */
	tap_rc(fg_settings_environment(&s, &err), &err, "settings in the environment");
	tap_ok(s.hold_s == 2.5 && s.access_log && strcmp(s.hosts, "em.lab") == 0,
	    "are taken");
	setenv("FLOODGATE_HOLD_S", "long", 1);
	tap_fails(fg_settings_environment(&s, &err), &err, FG_EINVAL,
	    "FLOODGATE_HOLD_S", "a bad one is named");
	unsetenv("FLOODGATE_HOLD_S");
	unsetenv("FLOODGATE_HOSTS");
	unsetenv("FLOODGATE_ACCESS_LOG");
	fg_settings_fini(&s);
}

/* What differs, by whether a running daemon may take it. */
static void
compare(void)
{
	struct fg_settings a, b;
	char *live, *fixed;

	fg_settings_init(&a);
	fg_settings_init(&b);
	fg_settings_compare(&a, &b, &live, &fixed);
	tap_ok(!*live && !*fixed, "nothing differs");
	free(live);
	free(fixed);
	tap_rc(fg_settings_set(&b, "hold_s", "3", &err), &err, "one");
	tap_rc(fg_settings_set(&b, "origins", "*", &err), &err, "another");
	tap_rc(fg_settings_set(&b, "listen", "127.0.0.1:1", &err), &err, "a fixed one");
	tap_rc(fg_settings_set(&b, "io_threads", "9", &err), &err, "another");
	fg_settings_compare(&a, &b, &live, &fixed);
	tap_str(live, "origins, hold_s", "those that may change");
	tap_str(fixed, "listen, io_threads", "those that may not");
	free(live);
	free(fixed);
	fg_settings_keep_fixed(&b, &a);
	tap_ok(strcmp(b.listen, a.listen) == 0 && b.io_threads == a.io_threads &&
		   b.hold_s == 3 && strcmp(b.origins, "*") == 0,
	    "the fixed ones are kept");
	fg_settings_fini(&a);
	fg_settings_fini(&b);
}

int
main(void)
{
	good();
	bad();
	bad_together();
	texts();
	environment();
	compare();
	return tap_done();
}
