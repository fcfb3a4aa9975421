/* SPDX-License-Identifier: Apache-2.0 */
/* Tokens, roles and visible layers: see the header. */
#include "config.h"

#include "server/access.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"

#define FILE_MAX_BYTES (1 << 20)
#define TOKENS_MAX 10000
#define MAC_BYTES 16 /* of a session token: 128 bits cannot be guessed */

struct entry {
	uint8_t hash[FG_SHA256_SIZE];
	struct fg_grant grant; /* name and layers are owned */
	int line;
};

struct table {
	struct entry *entry;
	size_t n;
	struct fg_grant anonymous; /* layers are owned */
	struct table *older;
};

struct fg_access {
	uint8_t key[32]; /* of session tokens */
	struct fg_grant session[FG_ROLE_ADMIN + 1];
	_Atomic(struct table *) now;
};

static const char *const role_names[] = {"none", "read", "compute", "admin"};

const char *
fg_role_name(enum fg_role role)
{
	return role_names[role];
}

bool
fg_role_parse(const char *text, size_t n, enum fg_role *out)
{
	for (size_t i = 0; i < FG_COUNTOF(role_names); i++) {
		if (strlen(role_names[i]) == n && memcmp(role_names[i], text, n) == 0) {
			*out = (enum fg_role)i;
			return true;
		}
	}
	return false;
}

/* ------------------------------------------------------------- patterns */

/* Goes back to the last star only, so the time is at most the product of the lengths.
 */
static bool
matches(const char *p, size_t n, const char *name)
{
	const char *end = p + n, *star = NULL, *from = NULL;

	while (*name) {
		if (p < end && *p == '*') {
			star = ++p;
			from = name;
		} else if (p < end && *p == *name) {
			p++;
			name++;
		} else if (star) {
			p = star;
			name = ++from;
		} else {
			return false;
		}
	}
	while (p < end && *p == '*')
		p++;
	return p == end;
}

bool
fg_pattern_list_has(const char *list, const char *name)
{
	while (*list) {
		size_t n = strcspn(list, ","), skip = strspn(list, " ");

		if (skip < n && matches(list + skip, n - skip, name))
			return true;
		list += n;
		list += *list == ',';
	}
	return false;
}

/* ------------------------------------------------------------- the token file */

static void
free_table(struct table *t)
{
	for (size_t i = 0; i < t->n; i++) {
		free((char *)(uintptr_t)t->entry[i].grant.name);
		free((char *)(uintptr_t)t->entry[i].grant.layers);
	}
	free((char *)(uintptr_t)t->anonymous.layers);
	free(t->entry);
	free(t);
}

/* The next word of a line that ends at `end`, or NULL. */
static const char *
next_word(const char **p, const char *end, size_t *n)
{
	const char *w;

	while (*p < end && (**p == ' ' || **p == '\t' || **p == '\r'))
		(*p)++;
	w = *p;
	while (*p < end && **p != ' ' && **p != '\t' && **p != '\r')
		(*p)++;
	*n = (size_t)(*p - w);
	return *n > 0 ? w : NULL;
}

static int
check_token(const char *w, size_t n, int line, struct fg_err *err)
{
	bool printable = true;

	for (size_t i = 0; i < n; i++)
		printable = printable && w[i] > 0x20 && w[i] < 0x7f;
	if (!printable || n < FG_TOKEN_MIN || n > FG_TOKEN_MAX)
		return fg_fail(err, FG_EINVAL,
		    "line %d: a token has %d to %d printable characters, this has %zu",
		    line, FG_TOKEN_MIN, FG_TOKEN_MAX, n);
	return 0;
}

/* What follows the token: a name and layers=..., each at most once. */
static int
parse_rest(const char *p, const char *end, struct entry *e, struct fg_err *err)
{
	static const char key[] = "layers=";
	const char *w;
	size_t n, k = sizeof key - 1;

	while ((w = next_word(&p, end, &n)) != NULL) {
		if (n > k && memcmp(w, key, k) == 0 && !e->grant.layers)
			e->grant.layers = fg_strndup(w + k, n - k);
		else if (!memchr(w, '=', n) && n <= 64 && !e->grant.name)
			e->grant.name = fg_strndup(w, n);
		else
			return fg_fail(err, FG_EINVAL,
			    "line %d: after the token come a name and layers=..., not "
			    "\"%.*s\"",
			    e->line, (int)FG_MIN(n, 40), w);
	}
	return 0;
}

static int
parse_line(const char *p, const char *end, struct entry *e, struct fg_err *err)
{
	size_t n, token_n = 0;
	const char *word = next_word(&p, end, &n);
	const char *token = next_word(&p, end, &token_n);

	e->grant.token = true;
	if (!token) { /* one word */
		e->grant.role = FG_ROLE_ADMIN;
		token = word;
		token_n = n;
	} else if (!fg_role_parse(word, n, &e->grant.role) ||
		   e->grant.role == FG_ROLE_NONE) {
		/* The word may be a token that stands in the wrong place. */
		return fg_fail(err, FG_EINVAL,
		    "line %d: the first word is not read, compute or admin (a line is "
		    "ROLE TOKEN [NAME] [layers=...])",
		    e->line);
	}
	if (check_token(token, token_n, e->line, err) < 0 ||
	    parse_rest(p, end, e, err) < 0)
		return -1;
	if (!e->grant.layers)
		e->grant.layers = fg_strdup("*");
	fg_sha256(token, token_n, e->hash);
	return 0;
}

/* The entry is in the table before it is filled, so that it is freed with it. */
static int
add_line(struct table *t, const char *p, const char *end, int line, struct fg_err *err)
{
	struct entry *e;

	if (t->n == TOKENS_MAX)
		return fg_fail(err, FG_EINVAL, "line %d: more than %d tokens", line,
		    TOKENS_MAX);
	t->entry = fg_realloc(t->entry, t->n + 1, sizeof *t->entry);
	e = &t->entry[t->n++];
	*e = (struct entry){.line = line};
	if (parse_line(p, end, e, err) < 0)
		return -1;
	for (size_t i = 0; i + 1 < t->n; i++) {
		if (memcmp(t->entry[i].hash, e->hash, sizeof e->hash) == 0)
			return fg_fail(err, FG_EINVAL,
			    "line %d: the token of line %d again", line,
			    t->entry[i].line);
	}
	return 0;
}

static int
parse_file(struct table *t, const char *text, size_t n, struct fg_err *err)
{
	const char *p = text, *end = text + n;

	for (int line = 1; p < end; line++) {
		const char *stop = memchr(p, '\n', (size_t)(end - p)), *q = p;
		size_t word;

		if (!stop)
			stop = end;
		if (memchr(p, '\0', (size_t)(stop - p)))
			return fg_fail(err, FG_EINVAL, "line %d: not text", line);
		if (next_word(&q, stop, &word) && q[-(ptrdiff_t)word] != '#' &&
		    add_line(t, p, stop, line, err) < 0)
			return -1;
		p = stop + 1;
	}
	if (t->n == 0)
		return fg_fail(err, FG_EINVAL, "there is no token in it");
	return 0;
}

static void
warn_readable(const char *path)
{
	struct stat st;

	if (stat(path, &st) == 0 && (st.st_mode & S_IROTH))
		fg_log(FG_LOG_WARN, "token_file: everybody on this machine can read %s",
		    path);
}

static struct table *
read_table(const struct fg_settings *set, struct fg_err *err)
{
	struct table *t = fg_calloc(1, sizeof *t);
	struct fg_buf *b = NULL;
	int rc = 0;

	/* The settings' check knows the word. */
	fg_assert(
	    fg_role_parse(set->anonymous, strlen(set->anonymous), &t->anonymous.role));
	t->anonymous.layers = fg_strdup(set->public_layers);
	if (*set->token_file) {
		b = fg_file_read(set->token_file, FILE_MAX_BYTES, err);
		rc = b ? parse_file(t, (const char *)b->data, b->len, err) : -1;
		fg_buf_unref(b);
	}
	if (rc == 0) {
		if (*set->token_file)
			warn_readable(set->token_file);
		return t;
	}
	free_table(t);
	(void)fg_err_prefix(err, "token_file %s", set->token_file);
	return NULL;
}

/* ------------------------------------------------------------- life */

struct fg_access *
fg_access_new(const struct fg_settings *set, struct fg_err *err)
{
	struct table *t = read_table(set, err);
	struct fg_access *a;

	if (!t)
		return NULL;
	a = fg_calloc(1, sizeof *a);
	/* Does not wait after boot and gives as many bytes as asked for up to 256. */
	fg_assert(getrandom(a->key, sizeof a->key, 0) == (ssize_t)sizeof a->key);
	for (size_t i = 0; i < FG_COUNTOF(a->session); i++)
		a->session[i] = (struct fg_grant){.role = (enum fg_role)i,
		    .token = true,
		    .name = "session",
		    .layers = "*"};
	atomic_store(&a->now, t);
	return a;
}

void
fg_access_free(struct fg_access *a)
{
	if (!a)
		return;
	for (struct table *t = atomic_load(&a->now), *older; t; t = older) {
		older = t->older;
		free_table(t);
	}
	free(a);
}

int
fg_access_reload(struct fg_access *a, const struct fg_settings *set, struct fg_err *err)
{
	struct table *t = read_table(set, err);

	if (!t)
		return -1;
	t->older = atomic_load(&a->now);
	atomic_store(&a->now, t);
	return 0;
}

/* ------------------------------------------------------------- looking up */

/* All bytes are looked at, whatever they are. */
static bool
same_bytes(const uint8_t *a, const uint8_t *b, size_t n)
{
	volatile uint8_t diff = 0;

	for (size_t i = 0; i < n; i++)
		diff |= a[i] ^ b[i];
	return diff == 0;
}

/* fg-ROLE-EXPIRY-MAC: seconds of the wall clock as 10 hex digits, and the MAC of what
 * stands before its hyphen. */
static void
sign(struct fg_access *a, const char *text, size_t n, char mac[2 * MAC_BYTES + 1])
{
	uint8_t out[FG_SHA256_SIZE];

	fg_hmac_sha256(a->key, sizeof a->key, text, n, out);
	fg_hex_format(out, MAC_BYTES, mac);
}

void
fg_access_session(struct fg_access *a, enum fg_role role, int64_t seconds,
    char out[FG_TOKEN_MAX + 1])
{
	int64_t until = fg_clock_wall_ms() / 1000 + seconds;
	char mac[2 * MAC_BYTES + 1];
	int n = snprintf(out, FG_TOKEN_MAX + 1, "fg-%s-%010llx", fg_role_name(role),
	    (unsigned long long)until);

	sign(a, out, (size_t)n, mac);
	snprintf(out + n, (size_t)(FG_TOKEN_MAX + 1 - n), "-%s", mac);
}

static const struct fg_grant *
find_session(struct fg_access *a, const char *token, size_t n)
{
	size_t tail = 2 * MAC_BYTES + 1, head;
	char mac[2 * MAC_BYTES + 1], expiry[11] = "";
	enum fg_role role;
	long long until;

	if (n < 3 + 4 + 11 + tail || memcmp(token, "fg-", 3) != 0)
		return NULL;
	head = n - tail;
	sign(a, token, head, mac);
	if (token[head] != '-' || !same_bytes((const uint8_t *)mac,
				      (const uint8_t *)token + head + 1, 2 * MAC_BYTES))
		return NULL;
	/* Ours, so its form is right. */
	memcpy(expiry, token + head - 10, 10);
	until = strtoll(expiry, NULL, 16);
	if (until <= fg_clock_wall_ms() / 1000 ||
	    !fg_role_parse(token + 3, head - 11 - 3, &role))
		return NULL;
	return &a->session[role];
}

const struct fg_grant *
fg_access_find(struct fg_access *a, const char *token, size_t n)
{
	const struct table *t = atomic_load(&a->now);
	const struct fg_grant *found = NULL;
	uint8_t hash[FG_SHA256_SIZE];

	if (n < FG_TOKEN_MIN || n > FG_TOKEN_MAX)
		return NULL;
	fg_sha256(token, n, hash);
	for (size_t i = 0; i < t->n; i++) {
		if (same_bytes(hash, t->entry[i].hash, sizeof hash))
			found = &t->entry[i].grant;
	}
	return found ? found : find_session(a, token, n);
}

const struct fg_grant *
fg_access_anonymous(struct fg_access *a)
{
	const struct table *t = atomic_load(&a->now);

	return &t->anonymous;
}

const struct fg_grant *
fg_access_owner(void)
{
	static const struct fg_grant owner = {
	    .role = FG_ROLE_ADMIN,
	    .token = true,
	    .name = "owner",
	    .layers = "*",
	};

	return &owner;
}

size_t
fg_access_tokens(struct fg_access *a)
{
	const struct table *t = atomic_load(&a->now);

	return t->n;
}
