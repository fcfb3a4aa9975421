/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may do what: tokens, their roles, and the layers that each of them sees.
 *
 * A token comes as "Authorization: Bearer TOKEN", or as the first words of the path,
 * /t/TOKEN/..., for clients that cannot send headers (viewers). Three kinds exist:
 *
 *   token file   one a line, "ROLE TOKEN [NAME] [layers=PATTERN,...]"; "#" begins a
 *                comment; a line that is one word is an admin token. Only hashes are
 *                kept, and a given token is compared with all of them in a time that
 *                does not depend on it.
 *   session      signed by a key of this run, made for the owner of the data directory
 *                (floodgate url): nothing is stored, and it ends with the daemon.
 *   none         the setting `anonymous`, and the layers of `public_layers`.
 *
 * A layer that a caller may not see does not exist for it: same words, same status.
 *
 * A table is made at start and at each reload and is kept until the end, so a grant may
 * be held without counting. Any thread may look up; one at a time may reload.
 */
#ifndef FG_SERVER_ACCESS_H
#define FG_SERVER_ACCESS_H

#include "base/err.h"
#include "server/settings.h"

#define FG_TOKEN_MAX 200 /* bytes of a token */
#define FG_TOKEN_MIN 16

enum fg_role {
	FG_ROLE_NONE,    /* knows that the server lives */
	FG_ROLE_READ,    /* what is there */
	FG_ROLE_COMPUTE, /* and have made what is not; with a token also jobs */
	FG_ROLE_ADMIN,   /* and change layers */
};

/* What one caller may do. */
struct fg_grant {
	enum fg_role role;
	bool token;         /* came with one: calls that write are allowed by role */
	const char *name;   /* of the token, for logs; NULL */
	const char *layers; /* patterns between commas; "*": all */
};

struct fg_access;

/* Read the token file that `set` names. Fails, naming file and line: FG_EINVAL,
 * FG_ENOENT, FG_EIO. */
struct fg_access *fg_access_new(const struct fg_settings *set,
    struct fg_err *err) FG_MUST_USE;
void fg_access_free(struct fg_access *a);
/* The same again; on failure the old tokens stay. */
int fg_access_reload(struct fg_access *a, const struct fg_settings *set,
    struct fg_err *err) FG_MUST_USE;

/* The grant of a token of n bytes, or NULL: there is no such token (any more). */
const struct fg_grant *fg_access_find(struct fg_access *a, const char *token, size_t n);
/* The grants of callers without a token and of the control socket. */
const struct fg_grant *fg_access_anonymous(struct fg_access *a);
const struct fg_grant *fg_access_owner(void);
/* Tokens in the file. */
size_t fg_access_tokens(struct fg_access *a);

/* A session token of that role for so many seconds from now. */
void fg_access_session(struct fg_access *a, enum fg_role role, int64_t seconds,
    char out[FG_TOKEN_MAX + 1]);

/* "none", "read", "compute", "admin", and back; false if it is no role. */
const char *fg_role_name(enum fg_role role);
bool fg_role_parse(const char *text, size_t n, enum fg_role *out);

/* Whether a name fits one of the patterns between commas; * stands for any letters. */
bool fg_pattern_list_has(const char *list, const char *name);

#endif
