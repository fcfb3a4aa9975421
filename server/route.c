/* SPDX-License-Identifier: Apache-2.0 */
/* Request targets: see the header for the grammar. */
#include "config.h"

#include "server/route.h"

static int
hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool
is_word_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c >= '0' && c <= '9') || (c && strchr("._-:@+,~=", c));
}

/* One byte of target[0..n), %XX decoded, as the grammar has it; -1: it does not. */
static int
next_byte(const char *target, size_t n, size_t *i)
{
	char c = target[(*i)++];
	int a, b;

	if (c != '%')
		return c == '/' || is_word_char(c) ? (unsigned char)c : -1;
	a = *i + 1 < n ? hex(target[*i]) : -1;
	b = *i + 1 < n ? hex(target[*i + 1]) : -1;
	if (a < 0 || b < 0)
		return -1;
	*i += 2;
	c = (char)(a * 16 + b);
	return is_word_char(c) ? (unsigned char)c : -1; /* no encoded slash, no NUL */
}

/* Decode target[0..n) into out->path, up to the first byte that is refused. */
static enum fg_route_kind
decode(const char *target, size_t n, struct fg_route *out)
{
	enum fg_route_kind kind = FG_ROUTE_PAGE;
	size_t len = 0;

	for (size_t i = 0; i < n && kind == FG_ROUTE_PAGE;) {
		int c = next_byte(target, n, &i);

		if (c < 0)
			kind = FG_ROUTE_BAD;
		else if (len == FG_PATH_MAX)
			kind = FG_ROUTE_TOO_LONG;
		else
			out->path[len++] = (char)c;
	}
	out->path[len] = '\0';
	return kind;
}

/* Every word not empty and without a leading dot; a slash at the end is fine. */
static bool
words_are_good(const char *path)
{
	for (const char *p = path; *p; p++) {
		if (*p == '/' && (p[1] == '/' || p[1] == '.'))
			return false;
	}
	return true;
}

static bool
word_is(const char *p, size_t n, const char *word)
{
	return strlen(word) == n && memcmp(p, word, n) == 0;
}

/* Layer, listing or file: everything below a first word that is not ours. */
static enum fg_route_kind
parse_layer(struct fg_route *out, const char *first, size_t n)
{
	char *rest = out->path + 1 + n;
	size_t len;

	out->layer = first;
	out->layer_n = n;
	if (!*rest)
		return FG_ROUTE_LAYER;
	out->rest = rest + 1;
	len = strlen(out->rest);
	if (len > 0 && out->rest[len - 1] != '/')
		return FG_ROUTE_FILE;
	if (len > 0)
		rest[len] = '\0'; /* rest[0] is the slash before out->rest */
	return FG_ROUTE_LISTING;
}

static enum fg_route_kind
classify(struct fg_route *out)
{
	static const struct {
		const char *word;
		enum fg_route_kind kind;
	} alone[] = {
	    {"info", FG_ROUTE_ROOT_INFO},
	    {"metrics", FG_ROUTE_METRICS},
	    {"healthz", FG_ROUTE_HEALTHZ},
	    {"readyz", FG_ROUTE_READYZ},
	};
	const char *first = out->path + 1;
	size_t n = strcspn(first, "/");

	if (n == 0)
		return FG_ROUTE_PAGE;
	for (size_t i = 0; i < FG_COUNTOF(alone); i++) {
		if (!word_is(first, n, alone[i].word))
			continue;
		if (!first[n])
			return alone[i].kind;
		break; /* "/info/x": no layer has that name, so it ends as 404 */
	}
	if (word_is(first, n, "api")) {
		out->rest = first[n] ? first + n + 1 : "";
		return FG_ROUTE_API;
	}
	if (word_is(first, n, "viewer")) {
		out->rest = first[n] ? first + n + 1 : "";
		return FG_ROUTE_VIEWER;
	}
	if (word_is(first, n, "t")) /* one token is enough */
		return FG_ROUTE_BAD;
	return parse_layer(out, first, n);
}

/* "/t/TOKEN/rest" becomes "/rest" and the token. */
static enum fg_route_kind
parse_token(struct fg_route *out)
{
	const char *word = out->path + 3;
	size_t n = strcspn(word, "/");

	if (n == 0)
		return FG_ROUTE_BAD;
	if (n > FG_ROUTE_TOKEN_MAX)
		return FG_ROUTE_TOO_LONG;
	memcpy(out->token, word, n);
	out->token[n] = '\0';
	if (!word[n]) {
		memcpy(out->path, "/", 2);
		return FG_ROUTE_TOKEN;
	}
	memmove(out->path, word + n, strlen(word + n) + 1);
	return classify(out);
}

void
fg_route_parse(const char *target, struct fg_route *out)
{
	size_t n = strcspn(target, "?");
	const char *query = target[n] ? target + n + 1 : "";

	memset(out, 0, offsetof(struct fg_route, path));
	out->path[0] = out->query[0] = out->token[0] = '\0';
	out->layer = out->rest = "";
	out->layer_n = 0;
	if (strcmp(target, "*") == 0) {
		out->kind = FG_ROUTE_STAR;
		return;
	}
	if (target[0] != '/') {
		out->kind = FG_ROUTE_BAD;
		return;
	}
	if (strlen(query) > FG_QUERY_MAX) {
		out->kind = FG_ROUTE_TOO_LONG;
		return;
	}
	memcpy(out->query, query, strlen(query) + 1);
	out->kind = decode(target, n, out);
	if (out->kind == FG_ROUTE_PAGE && !words_are_good(out->path))
		out->kind = FG_ROUTE_BAD;
	else if (out->kind == FG_ROUTE_PAGE)
		out->kind = strncmp(out->path, "/t/", 3) == 0 ? parse_token(out)
							      : classify(out);
	/* A path that is refused is logged all the same: not with a token in it. */
	if ((out->kind == FG_ROUTE_BAD || out->kind == FG_ROUTE_TOO_LONG) &&
	    strncmp(out->path, "/t/", 3) == 0)
		memcpy(out->path, "/t", 3);
}

bool
fg_route_names(const struct fg_route *r, const char *key)
{
	size_t key_n = strlen(key);

	for (const char *p = r->query; *p; p += *p == '&') {
		size_t n = strcspn(p, "&");

		if (n >= key_n && memcmp(p, key, key_n) == 0 &&
		    (n == key_n || p[key_n] == '='))
			return true;
		p += n;
	}
	return false;
}

bool
fg_route_query(const struct fg_route *r, const char *key, char *out, size_t room)
{
	size_t key_n = strlen(key);
	const char *p = r->query;

	while (*p) {
		size_t n = strcspn(p, "&");

		if (n > key_n && memcmp(p, key, key_n) == 0 && p[key_n] == '=') {
			size_t len = n - key_n - 1;

			if (len >= room)
				return false;
			memcpy(out, p + key_n + 1, len);
			out[len] = '\0';
			return true;
		}
		p += n;
		p += *p == '&';
	}
	return false;
}

enum fg_route_chunk
fg_route_chunk(const struct fg_info *info, const char *rest, int *scale, int64_t ch[3])
{
	const char *slash = strrchr(rest, '/');
	struct fg_box vx;
	int k;

	if (!slash)
		return FG_CHUNK_NONE;
	k = fg_info_find_scale(info, rest, (size_t)(slash - rest));
	if (k < 0 || !fg_chunk_name_parse(slash + 1, strlen(slash + 1), &vx))
		return FG_CHUNK_NONE;
	if (!fg_scale_chunk_find(&info->scale[k], &vx, ch))
		return FG_CHUNK_OFF;
	*scale = k;
	return FG_CHUNK_OK;
}

/* ------------------------------------------------------------- meshes, skeletons */

/* A decimal number without leading zeros at *p, which goes behind it; false if there is
 * none, or one above max. */
static bool
take_number(const char **p, uint64_t max, uint64_t *out)
{
	const char *c = *p;
	uint64_t v = 0;

	if (*c < '0' || *c > '9' || (*c == '0' && c[1] >= '0' && c[1] <= '9'))
		return false;
	for (; *c >= '0' && *c <= '9'; c++) {
		uint64_t digit = (uint64_t)(*c - '0');

		if (v > (UINT64_MAX - digit) / 10)
			return false;
		v = v * 10 + digit;
	}
	if (v > max)
		return false;
	*p = c;
	*out = v;
	return true;
}

/* What follows an id in the mesh directory. */
static enum fg_route_made
parse_mesh_end(const char *p, struct fg_route_object *o)
{
	uint64_t gen;

	if (strcmp(p, ":0") == 0)
		return FG_MADE_MANIFEST;
	if (strcmp(p, ".ply") == 0)
		return FG_MADE_PLY;
	if (strcmp(p, ".obj") == 0)
		return FG_MADE_OBJ;
	if (strcmp(p, ".glb") == 0)
		return FG_MADE_GLB;
	if (*p++ != ':' || !take_number(&p, INT64_MAX, &o->part) || *p++ != ':' ||
	    !take_number(&p, INT64_MAX, &gen) || *p)
		return FG_MADE_NONE;
	o->gen = (int64_t)gen;
	return FG_MADE_PIECE;
}

/* What follows "mesh." */
static void
parse_levels(const char *p, struct fg_route_object *o)
{
	uint64_t epoch;

	if (!take_number(&p, INT64_MAX, &epoch) || *p++ != '/')
		return;
	o->epoch = (int64_t)epoch;
	if (strcmp(p, "info") == 0)
		o->what = FG_MADE_LOD_INFO;
	else if (!take_number(&p, UINT64_MAX, &o->id) || o->id == 0)
		return;
	else if (!*p)
		o->what = FG_MADE_LOD_DATA;
	else if (strcmp(p, ".index") == 0)
		o->what = FG_MADE_LOD_MANIFEST;
}

struct fg_route_object
fg_route_object(const char *rest)
{
	struct fg_route_object o = {.what = FG_MADE_NONE};
	bool mesh = strncmp(rest, "mesh/", 5) == 0;
	const char *p = rest + (mesh ? 5 : 9);

	if (strncmp(rest, "mesh.", 5) == 0)
		parse_levels(rest + 5, &o);
	if (!mesh && strncmp(rest, "skeleton/", 9) != 0)
		return o;
	if (strcmp(p, "info") == 0) {
		o.what = mesh ? FG_MADE_MESH_INFO : FG_MADE_SKELETON_INFO;
		return o;
	}
	if (!take_number(&p, UINT64_MAX, &o.id) || o.id == 0)
		return o;
	if (mesh)
		o.what = parse_mesh_end(p, &o);
	else if (!*p)
		o.what = FG_MADE_SKELETON;
	else if (strcmp(p, ".swc") == 0)
		o.what = FG_MADE_SWC;
	return o;
}
