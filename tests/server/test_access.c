/* SPDX-License-Identifier: Apache-2.0 */
/* Token files good and bad, looking tokens up, session tokens, patterns. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "server/access.h"
#include "tests/tap.h"

#define ADMIN "0123456789abcdef"
#define READ "read-token-of-the-lab"
#define SOME "some-layers-token-1"

static struct fg_settings set;
static struct fg_err err;
static char path[] = "/tmp/fg-access-XXXXXX";

static struct fg_access *
make(const char *text, size_t n)
{
	fg_err_clear(&err);
	tap_rc(fg_file_write(path, text, n, &err), &err, "a file");
	return fg_access_new(&set, &err);
}

static const struct fg_grant *
find(struct fg_access *a, const char *token)
{
	return fg_access_find(a, token, strlen(token));
}

static void
good(void)
{
	static const char text[] = "# tokens\n"
				   "\n"
				   "admin " ADMIN " alice\n"
				   "\tread   " READ "\r\n"
				   "  # indented\n"
				   "compute " SOME " layers=em,seg* bob";
	struct fg_access *a = make(text, sizeof text - 1);
	const struct fg_grant *g;

	tap_ok(a != NULL, "a file of tokens");
	tap_int(fg_access_tokens(a), 3, "three of them");
	g = find(a, ADMIN);
	tap_ok(g && g->role == FG_ROLE_ADMIN && g->token, "an administrator");
	tap_str(g->name, "alice", "by name");
	tap_str(g->layers, "*", "for all layers");
	g = find(a, READ);
	tap_ok(g && g->role == FG_ROLE_READ && !g->name, "a reader without a name");
	g = find(a, SOME);
	tap_ok(g && g->role == FG_ROLE_COMPUTE, "one for some layers");
	tap_str(g->layers, "em,seg*", "which are these");
	tap_str(g->name, "bob", "whose name comes after them");
	tap_ok(!find(a, "0123456789abcdeF"), "another case is another token");
	tap_ok(!find(a, "0123456789abcde") && !find(a, ADMIN "0"), "so is another end");
	tap_ok(!find(a, "") && !find(a, "alice") && !find(a, "#"), "words are none");
	tap_ok(!fg_access_find(a, ADMIN, 15), "nor is a part of one");
	g = fg_access_anonymous(a);
	tap_ok(g->role == FG_ROLE_COMPUTE && !g->token, "without one: as the default");
	fg_access_free(a);

	a = make(ADMIN "\n", 17);
	tap_ok(a && find(a, ADMIN)->role == FG_ROLE_ADMIN,
	    "one word is an admin token");
	fg_access_free(a);
}

static void
bad(void)
{
	static const struct {
		const char *text, *part;
	} cases[] = {
	    {"", "no token"},
	    {"# nothing\n\n", "no token"},
	    {"short\n", "characters"},
	    {"admin short\n", "characters"},
	    {"root 0123456789abcdef\n", "line 1: the first word"},
	    {"none 0123456789abcdef\n", "first word"},
	    {"0123456789abcdef admin\n", "first word"},
	    {"read 0123456789abcdef a b\n", "\"b\""},
	    {"read 0123456789abcdef layers=a layers=b\n", "layers=b"},
	    {"read 0123456789abcdef colour=red\n", "colour=red"},
	    {"read 0123456789abcdef\nadmin 0123456789abcdef\n",
		"line 2: the token of line 1"},
	    {"read 0123456789abcd\xc3\xa4\n", "printable"},
	};
	char text[400] = "read ";
	struct fg_access *a;

	for (size_t i = 0; i < FG_COUNTOF(cases); i++) {
		a = make(cases[i].text, strlen(cases[i].text));
		tap_ok(!a, "refused: %s", cases[i].part);
		tap_ok(strstr(err.msg, cases[i].part) != NULL, "says so: %s", err.msg);
		tap_ok(!strstr(err.msg, ADMIN), "and does not repeat the token");
	}
	memset(text + 5, 'x', 201);
	tap_ok(!make(text, 206), "201 bytes are too long");
	a = make(text, 205);
	tap_ok(a != NULL, "200 are not");
	fg_access_free(a);
	tap_ok(!make("read 0123456789abcdef\0x\n", 24), "a NUL is no text");
	unlink(path);
	fg_err_clear(&err);
	tap_ok(!fg_access_new(&set, &err) && err.code == FG_ENOENT, "no file");
}

static void
reload(void)
{
	struct fg_access *a = make("read " READ "\n", strlen("read " READ "\n"));
	const struct fg_grant *g = find(a, READ);

	tap_rc(fg_file_write(path, "oops\n", 5, &err), &err, "a bad file");
	tap_ok(fg_access_reload(a, &set, &err) < 0, "is not taken");
	tap_ok(find(a, READ) == g, "what was there stays");
	fg_err_clear(&err);
	tap_rc(fg_file_write(path, ADMIN "\n", 17, &err), &err, "a good one");
	tap_rc(fg_access_reload(a, &set, &err), &err, "is taken");
	tap_ok(!find(a, READ) && find(a, ADMIN),
	    "the old token is gone, a new one there");
	tap_ok(g->role == FG_ROLE_READ, "an old grant can still be looked at");
	fg_access_free(a);
}

static void
sessions(void)
{
	struct fg_access *a = make(ADMIN "\n", 17), *b = make(ADMIN "\n", 17);
	char token[FG_TOKEN_MAX + 1], other[FG_TOKEN_MAX + 1];
	const struct fg_grant *g;
	int found = 0;

	for (int role = FG_ROLE_READ; role <= FG_ROLE_ADMIN; role++) {
		fg_access_session(a, (enum fg_role)role, 60, token);
		g = find(a, token);
		tap_ok(g && (int)g->role == role && g->token, "a session for %s",
		    fg_role_name((enum fg_role)role));
	}
	tap_ok(!find(b, token), "another run does not know it");
	for (size_t i = 0; i < strlen(token); i++) {
		snprintf(other, sizeof other, "%s", token);
		other[i] = other[i] == 'f' ? '0' : 'f';
		found += find(a, other) != NULL;
	}
	tap_int(found, 0, "no byte of it may differ");
	snprintf(other, sizeof other, "%s0", token);
	tap_ok(!find(a, other), "nor may it be longer");
	fg_access_session(a, FG_ROLE_ADMIN, -1, token);
	tap_ok(!find(a, token), "it ends");
	fg_access_free(a);
	fg_access_free(b);
}

static void
patterns(void)
{
	static const struct {
		const char *list, *name;
		bool has;
	} cases[] = {
	    {"*", "em", true},
	    {"", "em", false},
	    {"em", "em", true},
	    {"em", "em2", false},
	    {"em", "Em", false},
	    {"e*", "em", true},
	    {"*m", "em", true},
	    {"*m", "emu", false},
	    {"a*b*c", "aXbYc", true},
	    {"a*b*c", "abc", true},
	    {"a*b*c", "acb", false},
	    {"*a*a*a*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
		false},
	    {"x, seg*", "seg.prob", true},
	    {"x,,y", "", false},
	    {"em?", "em?", true},
	    {"em?", "ema", false},
	};

	for (size_t i = 0; i < FG_COUNTOF(cases); i++)
		tap_int(fg_pattern_list_has(cases[i].list, cases[i].name), cases[i].has,
		    "%s in %s", cases[i].name, cases[i].list);
}

int
main(void)
{
	int fd = mkstemp(path);

	close(fd);
	fg_settings_init(&set);
	tap_rc(fg_settings_set(&set, "token_file", path, &err), &err, "settings");
	good();
	bad();
	reload();
	sessions();
	patterns();
	unlink(path);
	fg_settings_fini(&set);
	return tap_done();
}
