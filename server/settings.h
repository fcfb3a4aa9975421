/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Settings of the daemon: the table settings.def as a struct, read from defaults, then
 * the JSON configuration, the environment, the command line (the later one wins).
 *
 * A value that is out of range is refused where it is given, with the name, what was
 * found and what is allowed; unknown names are refused too, because a misspelt setting
 * that is silently ignored is worse than a daemon that does not start.
 */
#ifndef FG_SERVER_SETTINGS_H
#define FG_SERVER_SETTINGS_H

#include <stdio.h>

#include <jansson.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"

struct fg_settings {
#define FG_TEXT(name, ...) char *name;
#define FG_PATH(name, ...) char *name;
#define FG_LIST(name, ...) char *name;
#define FG_INT(name, ...) int64_t name;
#define FG_REAL(name, ...) double name;
#define FG_BOOL(name, ...) bool name;
#define FG_LIVE(name)
#include "server/settings.def"
#undef FG_TEXT
#undef FG_PATH
#undef FG_LIST
#undef FG_INT
#undef FG_REAL
#undef FG_BOOL
#undef FG_LIVE
};

/* All defaults. Released with fg_settings_fini. */
void fg_settings_init(struct fg_settings *s);
void fg_settings_fini(struct fg_settings *s);

/* Set one from text, e.g. ("hold_s", "20"); hyphens in the name count as underscores.
 * Fails: FG_EINVAL naming the setting; FG_ENOENT for an unknown name. */
int fg_settings_set(struct fg_settings *s, const char *name, const char *value,
    struct fg_err *err) FG_MUST_USE;
/* True if the setting is a switch, that is takes no value on the command line. */
bool fg_settings_is_switch(const char *name);

/* Read a JSON object {"hold_s": 20, "hosts": ["a", "b"], ...}; lists may be arrays of
 * strings or one string. `what` names the text in messages. */
int fg_settings_parse(struct fg_settings *s, const char *text, size_t n,
    const char *what, struct fg_err *err) FG_MUST_USE;

/* Those that the environment has, as FLOODGATE_HOLD_S. Fails: FG_EINVAL naming it. */
int fg_settings_environment(struct fg_settings *s, struct fg_err *err) FG_MUST_USE;

/* What the settings say together: level names, address forms. Fails: FG_EINVAL. */
int fg_settings_check(const struct fg_settings *s, struct fg_err *err) FG_MUST_USE;

/* log_level as a number. */
enum fg_log_level fg_settings_log_level(const struct fg_settings *s);

/* Compare two sets: names of the settings that differ, between ", ", by whether they
 * may change while the daemon runs. Both texts are free()d; "" = none. */
void fg_settings_compare(const struct fg_settings *a, const struct fg_settings *b,
    char **live, char **fixed);
/* Copy those settings that may not change while the daemon runs from `from`. */
void fg_settings_keep_fixed(struct fg_settings *s, const struct fg_settings *from);

/* [{"name", "value", "default", "unit", "live", "text"}, ...]; file names are left out
 * (null) unless `paths`. json_decref(). */
json_t *fg_settings_describe(const struct fg_settings *s, bool paths) FG_MUST_USE;
/* The same as text for --help, and as the settings part of the man pages (mdoc-free,
 * classic man macros): as options, or as members of the configuration file. */
void fg_settings_help(FILE *out);
void fg_settings_man(FILE *out, bool file);

/* True if `word` is one of the words between commas of `list` (case-insensitive). */
bool fg_list_has(const char *list, const char *word, size_t n);

#endif
