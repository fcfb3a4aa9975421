/* SPDX-License-Identifier: Apache-2.0 */
/*
 * floodgate, the command line tool: find the command, parse its line, run it. The
 * commands are in tool_import.c, tool_export.c, tool_layer.c, tool_make.c, tool_read.c,
 * tool_objects.c, tool_care.c, tool_score.c and tool_daemon.c; what they share is in
 * tool.h.
 */
#include "config.h"

#include "work/tool.h"

#include <signal.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/log.h"

_Atomic bool fg_tool_stop;

static const struct fg_tool_command *const groups[] = {
    fg_tool_import_commands,
    fg_tool_add_commands,
    fg_tool_layer_commands,
    fg_tool_make_commands,
    fg_tool_job_commands,
    fg_tool_read_commands,
    fg_tool_devices_commands,
    fg_tool_export_commands,
    fg_tool_objects_commands,
    fg_tool_score_commands,
    fg_tool_care_commands,
    fg_tool_daemon_commands,
};

const struct fg_tool_command *
fg_tool_command_get(int i)
{
	for (size_t g = 0; g < FG_COUNTOF(groups); g++) {
		for (const struct fg_tool_command *c = groups[g]; c->name; c++) {
			if (i-- == 0)
				return c;
		}
	}
	return NULL;
}

/* ------------------------------------------------------------- outcome */

int
fg_tool_fail(const struct fg_tool *t, const struct fg_err *err)
{
	static const enum fg_tool_exit exit_of[] = {
	    [FG_OK] = FG_EXIT_FAILED,
	    [FG_EINVAL] = FG_EXIT_USAGE,
	    [FG_ENOENT] = FG_EXIT_NOT_FOUND,
	    [FG_EBUSY] = FG_EXIT_BUSY,
	    [FG_EIO] = FG_EXIT_FAILED,
	    [FG_ECORRUPT] = FG_EXIT_FAILED,
	    [FG_ENOTSUP] = FG_EXIT_USAGE,
	    [FG_EFULL] = FG_EXIT_FULL,
	    [FG_ECANCELED] = FG_EXIT_INTERRUPTED,
	    [FG_ENOMEM] = FG_EXIT_FAILED,
	};

	fflush(stdout);
	fprintf(stderr, "floodgate %s: %s\n", t->command->name, err->msg);
	return exit_of[err->code];
}

void
fg_tool_print_json(json_t *j)
{
	char *text = fg_json_pretty(j);

	fputs(text, stdout);
	free(text);
	json_decref(j);
}

/* A short array of plain values as "a, b, c"; false if it is something else. */
static bool
print_plain(const json_t *v)
{
	const json_t *e;
	size_t i;

	json_array_foreach(v, i, e)
	{
		if (json_is_object(e) || json_is_array(e))
			return false;
	}
	if (json_is_string(v))
		printf("%s", json_string_value(v));
	else if (json_is_integer(v))
		printf("%lld", (long long)json_integer_value(v));
	else if (json_is_real(v))
		printf("%.10g", json_real_value(v));
	else if (json_is_boolean(v))
		fputs(json_is_true(v) ? "yes" : "no", stdout);
	else if (json_is_null(v))
		fputs("-", stdout);
	json_array_foreach(v, i, e)
	{
		fputs(i ? ", " : "", stdout);
		print_plain(e);
	}
	return true;
}

void
fg_tool_print_facts(const json_t *obj, int indent)
{
	const char *key;
	json_t *v, *e;
	size_t i;

	json_object_foreach((json_t *)obj, key, v)
	{
		if (json_is_object(v)) {
			printf("%*s%s\n", indent, "", key);
			fg_tool_print_facts(v, indent + 2);
			continue;
		}
		printf("%*s%-*s ", indent, "", FG_MAX(1, 22 - indent), key);
		if (print_plain(v)) {
			putchar('\n');
			continue;
		}
		putchar('\n');
		json_array_foreach(v, i, e)
		{
			if (json_is_object(e))
				fg_tool_print_facts(e, indent + 2);
			if (i + 1 < json_array_size(v))
				putchar('\n');
		}
	}
}

static void
on_signal(int sig)
{
	(void)sig;
	fg_tool_stop = true;
}

void
fg_tool_catch_signals(void)
{
	/* SA_RESETHAND: whoever asks twice does not want to wait. */
	struct sigaction a = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
	struct sigaction hup;

	sigaction(SIGINT, &a, NULL);
	sigaction(SIGTERM, &a, NULL);
	/* Under nohup the end of the session is meant to be ignored. */
	if (sigaction(SIGHUP, NULL, &hup) == 0 && hup.sa_handler != SIG_IGN)
		sigaction(SIGHUP, &a, NULL);
}

/* ------------------------------------------------------------- which command */

static const char *
command_name(void *ctx, int i)
{
	const struct fg_tool_command *c = fg_tool_command_get(i);

	(void)ctx;
	return c ? c->name : NULL;
}

static void
overview(FILE *out)
{
	const struct fg_tool_command *c;

	fputs("Usage: floodgate COMMAND [OPTION]... [ARGUMENT]...\n\nCommands:\n", out);
	for (int i = 0; (c = fg_tool_command_get(i)) != NULL; i++)
		fprintf(out, "  %-15s %s\n", c->name, c->summary);
	fputs("\nfloodgate COMMAND --help explains one. The data directory is --root, "
	      "else\n$FLOODGATE_ROOT, else ./floodgate.d; where a daemon holds it, the "
	      "command goes\nthrough the daemon.\n",
	    out);
}

/* The command that argv begins with; *words: how many words name it. */
static const struct fg_tool_command *
find_command(int argc, char **argv, int *words)
{
	const struct fg_tool_command *c;

	for (int i = 0; (c = fg_tool_command_get(i)) != NULL; i++) {
		size_t n = strlen(argv[0]);

		*words = 1;
		if (strcmp(c->name, argv[0]) == 0)
			return c;
		*words = 2;
		if (argc > 1 && strncmp(c->name, argv[0], n) == 0 &&
		    c->name[n] == ' ' && strcmp(c->name + n + 1, argv[1]) == 0)
			return c;
	}
	return NULL;
}

static bool
is_group(const char *word)
{
	const struct fg_tool_command *c;
	size_t n = strlen(word);

	for (int i = 0; (c = fg_tool_command_get(i)) != NULL; i++) {
		if (strncmp(c->name, word, n) == 0 && c->name[n] == ' ')
			return true;
	}
	return false;
}

/* "layer" alone, "layer --help": the commands of the group. */
static int
group_overview(const char *word, FILE *out)
{
	const struct fg_tool_command *c;
	size_t n = strlen(word);

	fprintf(out, "Usage: floodgate %s COMMAND [OPTION]... [ARGUMENT]...\n\n", word);
	for (int i = 0; (c = fg_tool_command_get(i)) != NULL; i++) {
		if (strncmp(c->name, word, n) == 0 && c->name[n] == ' ')
			fprintf(out, "  floodgate %-15s %s\n", c->name, c->summary);
	}
	return out == stdout ? FG_EXIT_OK : FG_EXIT_USAGE;
}

static int
unknown_command(int argc, char **argv)
{
	char *typed;

	if (is_group(argv[0]) && (argc < 2 || argv[1][0] == '-'))
		return group_overview(argv[0],
		    argc > 1 && strcmp(argv[1], "--help") == 0 ? stdout : stderr);
	typed = is_group(argv[0]) ? fg_asprintf("%s %s", argv[0], argv[1])
				  : fg_strdup(argv[0]);
	fprintf(stderr, "floodgate: no command \"%s\"", typed);
	fg_tool_suggest(stderr, typed, "", command_name, NULL);
	fputs("; floodgate --help lists them\n", stderr);
	free(typed);
	return FG_EXIT_USAGE;
}

/* --root may stand before the command, too. Returns the words it took. */
static int
leading_root(struct fg_tool *t, int argc, char **argv)
{
	if (argc >= 2 && strcmp(argv[0], "--root") == 0) {
		t->root = argv[1];
		return 2;
	}
	if (argc >= 1 && strncmp(argv[0], "--root=", 7) == 0) {
		t->root = argv[0] + 7;
		return 1;
	}
	return 0;
}

int
main(int argc, char **argv)
{
	struct fg_tool t = {.root = getenv("FLOODGATE_ROOT")};
	int words, code;

	if (!t.root || !*t.root)
		t.root = "./floodgate.d";
	/* Warnings of the libraries are for the user; their news are for the daemon. */
	fg_log_setup(FG_LOG_WARN, FG_LOG_TEXT);
	signal(SIGPIPE, SIG_IGN);
	argc--;
	argv++;
	words = leading_root(&t, argc, argv);
	argc -= words;
	argv += words;
	if (argc == 0) {
		overview(stderr);
		return FG_EXIT_USAGE;
	}
	if (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "help") == 0 ||
	    strcmp(argv[0], "-h") == 0) {
		overview(stdout);
		return FG_EXIT_OK;
	}
	if (strcmp(argv[0], "--version") == 0) {
		printf("floodgate %s\n", PACKAGE_VERSION);
		return FG_EXIT_OK;
	}
	if (strcmp(argv[0], "--print-completion") == 0)
		return fg_tool_print_completion(argc > 1 ? argv[1] : NULL);
	t.command = find_command(argc, argv, &words);
	if (!t.command)
		return unknown_command(argc, argv);
	code = fg_tool_parse(&t, argc - words + 1, argv + words - 1);
	if (code < 0)
		code = t.command->run(&t);
	if (fflush(stdout) != 0 && code == FG_EXIT_OK) {
		perror("floodgate: standard output");
		code = FG_EXIT_FAILED;
	}
	return code;
}
