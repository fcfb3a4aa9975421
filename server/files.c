/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is below a layer's name: its info, its listing, its chunks (handed to chunk.c)
 * and, for a passive layer, the other files of its directory (mesh, skeletons,
 * properties) as they are. Also /info, which names the layers.
 *
 * Files go out byte for byte: one stored compressed is sent with its Content-Encoding
 * to a client that takes it, and decompressed otherwise or for a Range. Large files and
 * shards are never read whole: the part that a Range asks for is read by the io thread,
 * anything longer goes out from the descriptor, or a window at a time where it has to
 * be brought from a disk (server/download.h).
 */
#include "config.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "server/headers.h"
#include "server/parts.h"
#include "server/request.h"
#include "work/artefact.h"

/* Files from this size on are sent in parts. */
#define LARGE_FILE (1 << 20)
/* Longest part that is read into memory. */
#define PART_MAX (8 << 20)
/* The same on an event thread: about 0.1 ms of copying. */
#define PART_NOW (1 << 20)
/* Longest info file that is looked through on an event thread. */
#define LISTED_MAX (64 << 10)
/* From here on the kernel sends them out of the page cache, without a copy of ours. */
#define PART_COPIED (8 << 10)

static void
reply_tagged(struct fg_request *r, const char *type, struct fg_buf *body)
{
	uint64_t etag = fg_hash64(body->data, body->len);

	fg_reply_bytes(r, 200, type, body);
	r->reply.tagged = true;
	r->reply.etag = etag;
	r->reply.ranges = true;
	r->reply.caching = FG_NO_CACHE;
}

/* ------------------------------------------------------------- /info */

static void
reply_root_info(struct fg_request *r)
{
	json_t *list = json_array();
	struct fg_layer **l;
	size_t n;
	char *text;

	fg_request_layers(r, &l, &n);
	for (size_t i = 0; i < n; i++) {
		json_array_append_new(list,
		    json_pack("{s:s, s:s, s:s}", "name", l[i]->name, "uuid", l[i]->uuid,
			"type", fg_volume_type_name(l[i]->info.type)));
		fg_layer_unref(l[i]);
	}
	free(l);
	list = json_pack("{s:s, s:o}", "@type", "floodgate_root", "layers", list);
	text = fg_json_format(list);
	json_decref(list);
	reply_tagged(r, "application/json", fg_buf_take(text, strlen(text)));
}

/* ------------------------------------------------------------- listings */

static void
put_entry(struct fg_str *s, const char *name, const char *slash)
{
	/* Names come from the grammar or from an info file: escape what HTML needs. */
	fg_str_puts(s, "<li><a href=\"");
	for (int pass = 0; pass < 2; pass++) {
		for (const char *p = name; *p; p++) {
			if (strchr("<>&\"'", *p))
				fg_str_putf(s, "&#%d;", *p);
			else
				fg_str_put(s, p, 1);
		}
		fg_str_puts(s, slash);
		fg_str_puts(s, pass == 0 ? "\">" : "</a></li>\n");
	}
}

static void
put_folder(struct fg_str *s, const json_t *of, const char *key)
{
	const char *name = json_string_value(json_object_get(of, key));

	if (name && *name && *name != '.' && *name != '/')
		put_entry(s, name, "/");
}

/* The folders that an info file without a volume names. */
static void
put_folders(struct fg_str *s, const struct fg_buf *info)
{
	json_t *j = fg_json_parse((const char *)info->data, info->len, "info", NULL);
	const json_t *v;
	size_t i;

	put_folder(s, json_object_get(j, "by_id"), "key");
	json_array_foreach(json_object_get(j, "relationships"), i, v)
	    put_folder(s, v, "key");
	json_array_foreach(json_object_get(j, "spatial"), i, v) put_folder(s, v, "key");
	put_folder(s, j, "segment_properties");
	json_decref(j);
}

/* Directories and files that a viewer completes while one types. */
static void
reply_listing(struct fg_request *r)
{
	const struct fg_info *info = &r->layer->info;
	struct fg_str s = FG_STR_INIT;

	if (*r->route.rest) { /* chunks are not listed: there may be millions */
		fg_reply_error(r, 404, "only the top of a layer is listed");
		return;
	}
	fg_str_putf(&s,
	    "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">"
	    "<title>%s</title></head><body><h1>%s</h1><ul>\n",
	    r->layer->name, r->layer->name);
	put_entry(&s, "info", "");
	/* Lists of properties name no folders, and may be long. */
	if (info->at_type && info->type != FG_ONLY_PROPERTIES &&
	    r->layer->info_json->len <= LISTED_MAX)
		put_folders(&s, r->layer->info_json);
	for (int i = 0; i < info->scales; i++)
		put_entry(&s, info->scale[i].key, "/");
	if (info->mesh)
		put_entry(&s, info->mesh, "/");
	if (info->skeletons)
		put_entry(&s, info->skeletons, "/");
	if (info->segment_properties)
		put_entry(&s, info->segment_properties, "/");
	fg_str_puts(&s, "</ul></body></html>\n");
	fg_reply_bytes(r, 200, "text/html; charset=utf-8", fg_str_take(&s));
	r->reply.policy = FG_POLICY_PAGE;
}

/* ------------------------------------------------------------- other files */

/* Manifests of meshes in the legacy format: ID:0. */
static bool
is_manifest(const char *name)
{
	const char *last = strrchr(name, '/');
	size_t n;

	last = last ? last + 1 : name;
	n = strspn(last, "0123456789");
	return n > 0 && last[n] == ':' && last[n + 1] &&
	       strspn(last + n + 1, "0123456789") == strlen(last + n + 1);
}

static const char *
type_of(const char *name)
{
	static const struct {
		const char *end, *type;
	} types[] = {
	    {"/info", "application/json"},
	    {".json", "application/json"},
	    {"/provenance", "application/json"},
	};
	size_t n = strlen(name);

	for (size_t i = 0; i < FG_COUNTOF(types); i++) {
		size_t len = strlen(types[i].end);

		if ((n >= len && strcmp(name + n - len, types[i].end) == 0) ||
		    strcmp(name, types[i].end + 1) == 0)
			return types[i].type;
	}
	return is_manifest(name) ? "application/json" : "application/octet-stream";
}

static bool
is_shard(const char *name)
{
	size_t n = strlen(name);

	return n > 6 && strcmp(name + n - 6, ".shard") == 0;
}

/* The bytes that a Range asks for, if they are few enough; NULL otherwise. */
static struct fg_buf *
read_part(struct fg_request *r, int fd, uint64_t size, uint64_t *first,
    struct fg_err *err)
{
	uint64_t last;
	struct fg_buf *b;

	*first = 0;
	if (r->method != FG_GET || !r->range ||
	    fg_range_parse(r->range, size, first, &last) != FG_RANGE_OK ||
	    last - *first >= PART_MAX)
		return NULL;
	b = fg_buf_new(last - *first + 1);
	if (!b) {
		fg_fail(err, FG_ENOMEM, "no memory for a part of a file");
	} else if (fg_file_pread(fd, b->data, b->len, *first, r->route.rest, err) < 0) {
		fg_buf_unref(b);
		b = NULL;
	}
	return b;
}

/* What of a file that may be large is wanted of a remote source. A shard is never read
 * whole without need: only the part that Range names, or (HEAD) nothing. */
static void
want_part(const struct fg_request *r, struct fg_source_part *p)
{
	uint64_t first, last;

	*p = (struct fg_source_part){.limit = (uint64_t)r->srv->set->file_max_mb << 20};
	if (r->method == FG_HEAD)
		return;
	if (r->range && !r->if_range) {
		/* Of a file of any size: which form is it? Bytes from a number on mean
		 * the same in all of them, the last n do not. */
		switch (fg_range_parse(r->range, INT64_MAX, &first, &last)) {
		case FG_RANGE_BAD:
			return;
		case FG_RANGE_OK:
			p->from_end = r->range[strcspn(r->range, "=")] &&
				      r->range[strcspn(r->range, "=") + 1] == '-';
			p->off = first;
			p->len = last - first + 1;
			return;
		case FG_RANGE_NONE:
			break;
		}
	}
	p->len = INT64_MAX; /* all of it, if the limit allows */
}

/* On a net thread: a shard of a remote source. */
static void
read_remote_shard(struct fg_request *r)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_source_part p;

	want_part(r, &p);
	if (fg_source_part(r->layer->source, r->route.rest, &p, &err) < 0) {
		fg_reply_source_err(r, &err);
		return;
	}
	if (p.absent) {
		fg_reply_error(r, 404, "layer %s has no such file", r->layer->name);
		return;
	}
	fg_reply_bytes(r, 200, type_of(r->route.rest), p.bytes);
	r->reply.sized = true;
	r->reply.file_size = p.size;
	r->reply.body_at = p.off;
	r->reply.tagged = true;
	r->reply.etag = p.tag;
	r->reply.ranges = true;
	r->reply.caching = FG_NO_CACHE;
}

/* Whether all that is wanted of a file, which is remembered, can be sent without
 * waiting for a disk. */
static bool
is_in_memory(struct fg_request *r, uint64_t size)
{
	uint64_t first = 0, last = size - 1, known, etag;
	struct fg_part *part = fg_parts_find(r->srv->parts, r->layer->id,
	    r->layer->uuid, r->route.rest, &known, &etag);
	bool there;

	/* With If-Range it may come to be the whole file. */
	if (r->range && (r->if_range || fg_range_parse(r->range, size, &first, &last) !=
					    FG_RANGE_OK)) {
		first = 0;
		last = size - 1;
	}
	there = part && known == size && fg_parts_has(part, first, last - first + 1);
	fg_parts_unref(part);
	return there;
}

/* On an io thread: a shard or another large file. Its tag is made of what the file
 * system knows of it, as reading it all for a hash would cost too much. False: it is
 * small, or not there under that very name. */
static bool
open_large(struct fg_request *r, struct fg_err *err)
{
	uint64_t mark[4], first;
	struct fg_buf *part;
	struct stat st;
	int fd = -1;

	if (fg_source_open_file(r->layer->source, r->route.rest, &fd, &st, err) < 0 ||
	    fd < 0)
		return false;
	if (st.st_size == 0 || (st.st_size < LARGE_FILE && !is_shard(r->route.rest))) {
		close(fd);
		return false;
	}
	part = read_part(r, fd, (uint64_t)st.st_size, &first, err);
	if (err->code != FG_OK) {
		close(fd);
		return false;
	}
	fg_reply_bytes(r, 200, type_of(r->route.rest), part);
	mark[0] = (uint64_t)st.st_ino;
	mark[1] = (uint64_t)st.st_size;
	mark[2] = (uint64_t)st.st_mtim.tv_sec;
	mark[3] = (uint64_t)st.st_mtim.tv_nsec;
	fg_parts_put(r->srv->parts, r->layer->id, r->layer->uuid, r->route.rest, fd,
	    mark[1], fg_hash64(mark, sizeof mark));
	r->reply.has_file = true;
	r->reply.file = fd;
	r->reply.in_memory =
	    !part && !*r->srv->set->tls_cert && is_in_memory(r, mark[1]);
	r->reply.file_size = mark[1];
	r->reply.body_at = first;
	r->reply.tagged = true;
	r->reply.etag = fg_hash64(mark, sizeof mark);
	r->reply.ranges = true;
	r->reply.caching = FG_NO_CACHE;
	return true;
}

/* On the event thread: a range of a file that was opened a moment ago and whose bytes
 * are in the page cache. */
static bool
answer_part(struct fg_request *r)
{
	const struct fg_layer *l = r->layer;
	uint64_t size, etag, first, last;
	struct fg_buf *bytes = NULL;
	struct fg_part *part;
	int fd = -1;

	if (r->method != FG_GET || !r->range || r->if_range)
		return false;
	part =
	    fg_parts_find(r->srv->parts, l->id, l->uuid, r->route.rest, &size, &etag);
	if (!part)
		return false;
	if (fg_range_parse(r->range, size, &first, &last) == FG_RANGE_OK &&
	    last - first < PART_NOW) {
		if (last - first >= PART_COPIED && !*r->srv->set->tls_cert)
			fd = fg_parts_open(part, first, last - first + 1);
		if (fd < 0)
			bytes = fg_parts_read(part, first, last - first + 1);
	}
	fg_parts_unref(part);
	if (fd < 0 && !bytes)
		return false;
	fg_reply_bytes(r, 200, type_of(r->route.rest), bytes);
	r->reply.has_file = r->reply.in_memory = fd >= 0;
	r->reply.file = fd;
	r->reply.sized = fd < 0;
	r->reply.file_size = size;
	r->reply.body_at = first;
	r->reply.tagged = true;
	r->reply.etag = etag;
	r->reply.ranges = true;
	r->reply.caching = FG_NO_CACHE;
	return true;
}

/* On an io thread: read the file and describe the reply. */
static void
read_file(struct fg_request *r)
{
	size_t limit = (size_t)atomic_load(&r->srv->set)->file_max_mb << 20;
	struct fg_err err = FG_ERR_INIT;
	struct fg_buf *stored = NULL, *plain = NULL;
	int coding = FG_CODING_NONE;
	uint64_t etag;

	if (open_large(r, &err))
		return;
	if (err.code != FG_OK || fg_source_file(r->layer->source, r->route.rest, limit,
				     &coding, &stored, &err) < 0) {
		fg_reply_source_err(r, &err);
		return;
	}
	if (!stored) {
		fg_reply_error(r, 404, "layer %s has no such file", r->layer->name);
		return;
	}
	etag = fg_hash64(stored->data, stored->len);
	if (coding != FG_CODING_NONE &&
	    ((r->method == FG_GET && r->range) ||
		!fg_coding_is_accepted(r->accept_encoding, (enum fg_coding)coding))) {
		if (fg_decompress((enum fg_coding)coding, stored->data, stored->len,
			limit, &plain, &err) < 0) {
			fg_buf_unref(stored);
			fg_reply_source_err(r, &err);
			return;
		}
		fg_buf_unref(stored);
		stored = plain;
	}
	fg_reply_bytes(r, 200, type_of(r->route.rest), stored);
	r->reply.tagged = true;
	/* Of the stored bytes: a strong tag all the same, as the coding is part of it.
	 */
	r->reply.etag = etag;
	r->reply.coding = (uint8_t)(plain ? FG_CODING_NONE : coding);
	r->reply.vary = coding != FG_CODING_NONE;
	r->reply.ranges = r->reply.coding == FG_CODING_NONE;
	r->reply.caching = FG_NO_CACHE;
}

static void
handle_file(struct fg_request *r)
{
	struct fg_layer *l = r->layer;

	r->kind = FG_METRICS_FILE;
	if (strcmp(r->route.rest, "info") == 0 && fg_layer_has_objects(l)) {
		r->kind = FG_METRICS_INFO;
		fg_object_info(r);
		return;
	}
	if (strcmp(r->route.rest, "info") == 0 && l->info_json) {
		r->kind = FG_METRICS_INFO;
		reply_tagged(r, "application/json", fg_buf_ref(l->info_json));
		return;
	}
	r->object = fg_route_object(r->route.rest);
	if (r->object.what != FG_MADE_NONE && fg_layer_has_objects(l)) {
		fg_object_handle(r);
		return;
	}
	switch (fg_route_chunk(&l->info, r->route.rest, &r->chunk.scale, r->chunk.ch)) {
	case FG_CHUNK_OK:
		fg_chunk_handle(r);
		return;
	case FG_CHUNK_OFF:
		fg_reply_error(r, 404,
		    "this is not a chunk of layer %s: see the "
		    "chunk_sizes, size and voxel_offset of its info",
		    l->name);
		return;
	case FG_CHUNK_NONE:
		break;
	}
	if (fg_objects_file(r))
		return;
	if (l->broken)
		fg_reply_later(r, 60, "layer %s cannot be served: %s", l->name, l->why);
	else if (l->source && fg_source_is_remote(l->source))
		fg_request_work(r, FG_RES_NET,
		    is_shard(r->route.rest) ? read_remote_shard : read_file, NULL);
	else if (l->source && answer_part(r))
		return;
	else if (l->source)
		fg_request_work(r, FG_RES_IO, read_file, NULL);
	else
		fg_reply_error(r, 404, "layer %s has no %.200s", l->name,
		    r->route.rest);
}

/* The layer of that name, or of NAME@legacy or NAME@multilod if it has objects. */
static struct fg_layer *
find_layer(struct fg_request *r)
{
	static const char *const words[] =
	    {[FG_MESH_LEGACY] = "@legacy", [FG_MESH_MULTILOD] = "@multilod"};
	const char *name = r->route.layer;
	struct fg_layer *l;

	for (int k = FG_MESH_LEGACY; k <= FG_MESH_MULTILOD; k++) {
		size_t n = strlen(words[k]);

		if (r->route.layer_n <= n ||
		    memcmp(name + r->route.layer_n - n, words[k], n) != 0)
			continue;
		l = fg_request_layer(r, name, r->route.layer_n - n);
		if (l && fg_layer_has_objects(l)) {
			r->meshes = (enum fg_mesh_choice)k;
			return l;
		}
		fg_layer_unref(l);
	}
	return fg_request_layer(r, name, r->route.layer_n);
}

void
fg_files_handle(struct fg_request *r)
{
	if (r->route.kind == FG_ROUTE_ROOT_INFO) {
		r->kind = FG_METRICS_INFO;
		reply_root_info(r);
		return;
	}
	r->layer = find_layer(r);
	if (!r->layer) {
		fg_reply_error(r, 404, "there is no layer %.*s",
		    (int)FG_MIN(r->route.layer_n, 64), r->route.layer);
	} else if (r->route.kind == FG_ROUTE_LAYER) {
		fg_reply_bytes(r, 307, NULL, NULL);
		snprintf(r->reply.location, sizeof r->reply.location, "%s%s/%.*s/",
		    *r->route.token ? "/t/" : "", r->route.token,
		    (int)FG_MIN(r->route.layer_n, 200), r->route.layer);
	} else if (r->route.kind == FG_ROUTE_LISTING) {
		reply_listing(r);
	} else {
		handle_file(r);
	}
}
