/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The floodgate command line tool: what its commands share.
 *
 * One table row per command (struct fg_tool_command) holds its name, arguments,
 * options and words; the parser, --help and the test that compares the man page all
 * read that table. A command is a function that gets the parsed line and returns the
 * exit code. Its results go to standard output, everything else to standard error.
 *
 * Exit codes (also in the man page): see enum fg_tool_exit.
 */
#ifndef FG_WORK_TOOL_H
#define FG_WORK_TOOL_H

#include <jansson.h>
#include <stdio.h>

#include "base/box.h"
#include "base/err.h"

enum fg_tool_exit {
	FG_EXIT_OK = 0,
	FG_EXIT_FAILED = 1,    /* disk, network, broken files, what the message says */
	FG_EXIT_USAGE = 2,     /* wrong command, option, value or input */
	FG_EXIT_NOT_FOUND = 3, /* no such layer, file, chunk */
	FG_EXIT_BUSY = 4,      /* locked, paused: the same command may work later */
	FG_EXIT_FULL = 5,      /* no room on the disk */
	FG_EXIT_FINDINGS = 6,  /* verify and reindex: the check ran and found damage */
	FG_EXIT_INTERRUPTED = 130,
};

struct fg_tool;

/* arg NULL: a switch. help: one sentence without full stop, may hold line breaks.
 * letter: short form, 0 = none. */
struct fg_tool_option {
	const char *name, *arg, *help;
	char letter;
};

struct fg_tool_command {
	const char *name;                     /* "import", "layer add" */
	const char *args;                     /* "DIR NAME"; NULL: none */
	int least, most;                      /* number of arguments */
	const char *summary;                  /* one line, no full stop */
	const char *details;                  /* paragraphs for --help; may be NULL */
	const struct fg_tool_option *options; /* ends with name NULL; may be NULL */
	int (*run)(struct fg_tool *t);
};

#define FG_TOOL_OPTIONS_MAX 48

/* A parsed command line. */
struct fg_tool {
	const struct fg_tool_command *command;
	const char *root;      /* --root, $FLOODGATE_ROOT or ./floodgate.d */
	const char *index_dir; /* --index-dir; NULL: as in ROOT/floodgate.json */
	bool json, quiet;
	int args;
	char **arg;
	const char *value[FG_TOOL_OPTIONS_MAX]; /* by row of command->options */
};

/* ------------------------------------------------------------- tables */

/* The commands of each file, each ending with name NULL. */
extern const struct fg_tool_command fg_tool_import_commands[];
extern const struct fg_tool_command fg_tool_export_commands[];
extern const struct fg_tool_command fg_tool_add_commands[];
extern const struct fg_tool_command fg_tool_layer_commands[];
extern const struct fg_tool_command fg_tool_make_commands[];
extern const struct fg_tool_command fg_tool_job_commands[];
extern const struct fg_tool_command fg_tool_read_commands[];
extern const struct fg_tool_command fg_tool_devices_commands[];
extern const struct fg_tool_command fg_tool_objects_commands[];
extern const struct fg_tool_command fg_tool_care_commands[];
extern const struct fg_tool_command fg_tool_score_commands[];
extern const struct fg_tool_command fg_tool_daemon_commands[];

/* Completion for "bash" or "zsh", to standard output; for the makefile. */
int fg_tool_print_completion(const char *shell);

/* All of them, in the order of the help: i from 0, NULL after the last. */
const struct fg_tool_command *fg_tool_command_get(int i);

/* ------------------------------------------------------------- options */

/*
 * Read argv (argv[0] is skipped) into *t by the rows of t->command and the common
 * options. Returns -1 to go on, or an exit code: after --help, or after a message about
 * what is wrong with the line.
 */
int fg_tool_parse(struct fg_tool *t, int argc, char **argv);
void fg_tool_help(const struct fg_tool_command *c, FILE *out);
/* Print the name nearest to what was typed ("; did you mean X?"), if any is near;
 * name(ctx, i) gives the i-th, NULL after the last. prefix stands before it ("--"). */
void fg_tool_suggest(FILE *out, const char *typed, const char *prefix,
    const char *(*name)(void *ctx, int i), void *ctx);

/* Values of options; `name` must be in the command's table. An absent option leaves
 * *out alone. A bad value is FG_EINVAL and says what is wanted. */
bool fg_tool_has(const struct fg_tool *t, const char *name);
const char *fg_tool_text(const struct fg_tool *t, const char *name, const char *absent);
int fg_tool_int(const struct fg_tool *t, const char *name, int64_t lo, int64_t hi,
    int64_t *out, struct fg_err *err) FG_MUST_USE;
int fg_tool_real(const struct fg_tool *t, const char *name, double lo, double hi,
    double *out, struct fg_err *err) FG_MUST_USE;
/* "64,64,64"; one number stands for all three. */
int fg_tool_int3(const struct fg_tool *t, const char *name, int64_t lo, int64_t hi,
    int64_t out[3], struct fg_err *err) FG_MUST_USE;
int fg_tool_real3(const struct fg_tool *t, const char *name, double lo, double hi,
    double out[3], struct fg_err *err) FG_MUST_USE;
/* "x0-x1_y0-y1_z0-z1", as in the name of a chunk. */
int fg_tool_box(const char *text, struct fg_box *out, struct fg_err *err) FG_MUST_USE;
#define FG_TOOL_BOX 144
void fg_tool_box_text(const struct fg_box *vx, char out[FG_TOOL_BOX]);

/* ------------------------------------------------------------- outcome */

/* Print "floodgate COMMAND: message" and return the exit code of the failure. */
int fg_tool_fail(const struct fg_tool *t, const struct fg_err *err);
/* Print a JSON value for programs (indented), and drop the reference. */
void fg_tool_print_json(json_t *j);
/* Print a layer's description (fg_layer_describe) for people. */
void fg_tool_print_layer(const json_t *layer);
/* Print a JSON object for people: one "name  value" a line, nested ones indented. */
void fg_tool_print_facts(const json_t *obj, int indent);

/* Set by SIGINT, SIGTERM and SIGHUP, after fg_tool_catch_signals; a second one kills.
 */
extern _Atomic bool fg_tool_stop;
void fg_tool_catch_signals(void);

/* ------------------------------------------------------------- progress */

/*
 * A bar with rate and time left on a terminal, one line at every tenth elsewhere, on
 * standard error. Start with FG_PROGRESS, call set as often as you like, then end.
 */
struct fg_progress {
	const char *what; /* "import em" */
	const char *unit; /* "MB": of done and all, for the rate; NULL: per cent only */
	double per;       /* 1e6: counts in one unit */
	bool quiet;
	/* private */
	bool begun, tty;
	int width, tenth;
	int64_t start_ns, drawn_ns;
};

void fg_progress_set(struct fg_progress *p, double done, double all);
/* As set, with a further remark ("3 of 8 blocks"). */
void fg_progress_note(struct fg_progress *p, double done, double all, const char *note);
/* Remove the bar, so that the next line starts clean. */
void fg_progress_end(struct fg_progress *p);

/* "1:02:03", "2:03" or "4.5 s" for seconds; "1.5 GB" for bytes. out has 32 bytes. */
const char *fg_tool_time(double seconds, char out[32]);
const char *fg_tool_bytes(double bytes, char out[32]);

/* ------------------------------------------------------------- data directory */

struct fg_catalog;
struct fg_control;
struct fg_layer;
struct fg_reader;
struct fg_store;
struct fg_store_options;

/*
 * The data directory, in this process or through the daemon that holds it: exactly one
 * of catalog and control is set.
 */
struct fg_session {
	struct fg_store *store;
	struct fg_catalog *catalog;
	struct fg_control *control;
	char *index_dir;
};

/* Where the store's settings differ from the built-in ones: --index-dir, else what the
 * daemon's configuration, ROOT/floodgate.json, says of index_dir and min_free. *text:
 * memory that *opt refers to, free() it after use; may be NULL. */
int fg_session_options(const struct fg_tool *t, struct fg_store_options *opt,
    char **text, struct fg_err *err) FG_MUST_USE;

/* For changing something. create: make the directory if there is none. Fails:
 * FG_ENOENT, FG_EBUSY (held by a process that does not answer), FG_EIO. */
int fg_session_open(struct fg_session *s, const struct fg_tool *t, bool create,
    struct fg_err *err) FG_MUST_USE;
/* For reading, in this process, also beside a daemon. */
int fg_session_read(struct fg_session *s, const struct fg_tool *t,
    struct fg_err *err) FG_MUST_USE;
void fg_session_close(struct fg_session *s);
/* A layer of a session with a catalog, by name; FG_ENOENT names near ones. */
struct fg_layer *fg_session_layer(struct fg_session *s, const char *name,
    struct fg_err *err) FG_MUST_USE;
/* Add a layer (spec of fg_catalog_add); *out: its description. */
int fg_session_add(struct fg_session *s, const json_t *spec, json_t **out,
    struct fg_err *err) FG_MUST_USE;

#endif
