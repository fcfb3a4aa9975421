/* SPDX-License-Identifier: Apache-2.0 */
/* Second passes and masks of a recipe as JSON: see the header. */
#include "config.h"

#include "work/passes.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"

#define LEAST_DEFAULT 1000
#define MISSING_MAX 1000000
#define VALUE_MAX (INT64_C(1) << 53)
#define VOXELS_MAX (INT64_C(1) << 40)

void
fg_passes_default(struct fg_passes *p)
{
	*p = (struct fg_passes){.consensus_least = LEAST_DEFAULT,
	    .coarse_least = LEAST_DEFAULT,
	    .pieces_least = LEAST_DEFAULT,
	    .mask_from = 1,
	    .mask_to = VALUE_MAX};
	fg_jump_rule_default(&p->jumps);
}

void
fg_passes_fini(struct fg_passes *p)
{
	free(p->missing);
	free(p->consensus_model);
	*p = (struct fg_passes){0};
}

/* An object under key, NULL where there is none; its keys are among the n known ones.
 */
static int
get_part(const json_t *obj, const char *key, const char *const *known, size_t n,
    const json_t **out, struct fg_err *err)
{
	const char *k;
	json_t *v;

	*out = json_object_get(obj, key);
	if (!*out)
		return 0;
	if (!json_is_object(*out))
		return fg_fail(err, FG_EINVAL, "\"%s\" is not an object", key);
	json_object_foreach((json_t *)(uintptr_t)*out, k, v)
	{
		size_t i = 0;

		while (i < n && strcmp(known[i], k) != 0)
			i++;
		if (i == n)
			return fg_fail(err, FG_EINVAL, "%s: \"%.60s\" is not known",
			    key, k);
	}
	return 0;
}

static int
copy_text(const json_t *obj, const char *key, enum fg_json_need need, char *out,
    size_t size, struct fg_err *err)
{
	const char *text = "";

	if (fg_json_get_string(obj, key, need, &text, err) < 0)
		return -1;
	if (strlen(text) >= size)
		return fg_fail(err, FG_EINVAL, "\"%s\" is %zu bytes long, at most %zu",
		    key, strlen(text), size - 1);
	memcpy(out, text, strlen(text) + 1);
	return 0;
}

static int
by_value(const void *pa, const void *pb)
{
	int64_t a = *(const int64_t *)pa, b = *(const int64_t *)pb;

	return a < b ? -1 : a > b;
}

static int
parse_missing(const json_t *obj, struct fg_passes *p, struct fg_err *err)
{
	const json_t *list = json_object_get(obj, "missing"), *v;
	size_t i;

	if (!list)
		return 0;
	if (!json_is_array(list) || json_array_size(list) > MISSING_MAX)
		return fg_fail(err, FG_EINVAL,
		    "\"missing\" is not a list of at most %d sections", MISSING_MAX);
	p->missing = fg_calloc(json_array_size(list) + 1, sizeof *p->missing);
	json_array_foreach(list, i, v)
	{
		if (!json_is_integer(v))
			return fg_fail(err, FG_EINVAL,
			    "\"missing\": entry %zu is not a whole number", i);
		p->missing[p->missings++] = json_integer_value(v);
	}
	if (p->missings > 0)
		qsort(p->missing, p->missings, sizeof *p->missing, by_value);
	return 0;
}

static int
parse_mask(const json_t *obj, struct fg_passes *p, struct fg_err *err)
{
	static const char *const known[] = {"layer", "from", "to", "uuid", "sha256",
	    "scale"};
	const enum fg_json_need opt = FG_JSON_OPTIONAL;
	char name[sizeof p->mask + sizeof p->mask_scale];
	const json_t *j;
	char *at;

	if (get_part(obj, "mask", known, FG_COUNTOF(known), &j, err) < 0)
		return -1;
	if (!j)
		return 0;
	if (copy_text(j, "layer", FG_JSON_NEEDED, name, sizeof name, err) < 0 ||
	    copy_text(j, "uuid", opt, p->mask_uuid, sizeof p->mask_uuid, err) < 0 ||
	    copy_text(j, "sha256", opt, p->mask_sha256, sizeof p->mask_sha256, err) <
		0 ||
	    copy_text(j, "scale", opt, p->mask_scale, sizeof p->mask_scale, err) < 0 ||
	    fg_json_get_int(j, "from", opt, 0, VALUE_MAX, &p->mask_from, err) < 0 ||
	    fg_json_get_int(j, "to", opt, p->mask_from, VALUE_MAX, &p->mask_to, err) <
		0)
		return fg_err_prefix(err, "mask");
	at = strchr(name, '@');
	if (at) {
		*at++ = '\0';
		snprintf(p->mask_scale, sizeof p->mask_scale, "%.63s", at);
	}
	if (name[0] == '\0' || strlen(name) >= sizeof p->mask)
		return fg_fail(err, FG_EINVAL, "mask: \"layer\" names no layer");
	memcpy(p->mask, name, strlen(name) + 1);
	return 0;
}

/* The second opinion. How its network is fed is only told where it is known. */
static int
parse_consensus(const json_t *obj, struct fg_passes *p, struct fg_err *err)
{
	static const char *const known[] = {"least", "scale", "model", "sha256", "fov",
	    "delta", "mean", "stddev"};
	const enum fg_json_need opt = FG_JSON_OPTIONAL;
	struct fg_net_shape *s = &p->consensus_shape;
	const char *path = NULL;
	uint8_t raw[FG_SHA256_SIZE];
	const json_t *j;

	if (get_part(obj, "consensus", known, FG_COUNTOF(known), &j, err) < 0)
		return -1;
	p->consensus = j != NULL;
	if (!j)
		return 0;
	if (fg_json_get_int(j, "least", opt, 0, VOXELS_MAX, &p->consensus_least, err) <
		0 ||
	    copy_text(j, "scale", opt, p->consensus_scale, sizeof p->consensus_scale,
		err) < 0 ||
	    copy_text(j, "sha256", opt, p->consensus_sha256, sizeof p->consensus_sha256,
		err) < 0 ||
	    fg_json_get_string(j, "model", opt, &path, err) < 0 ||
	    fg_json_get_int3(j, "fov", opt, 1, 513, s->fov, err) < 0 ||
	    fg_json_get_int3(j, "delta", opt, 0, 256, s->delta, err) < 0 ||
	    fg_json_get_real(j, "mean", opt, -1e6, 1e6, &s->mean, err) < 0 ||
	    fg_json_get_real(j, "stddev", opt, 1e-6, 1e6, &s->stddev, err) < 0)
		return fg_err_prefix(err, "consensus");
	if (path)
		p->consensus_model = fg_strdup(path);
	for (size_t i = 3; !path && i < FG_COUNTOF(known); i++) {
		if (json_object_get(j, known[i]))
			return fg_fail(err, FG_EINVAL,
			    "consensus: \"%s\" goes with a \"model\"", known[i]);
	}
	if (p->consensus_sha256[0] &&
	    !fg_hex_parse(p->consensus_sha256, raw, sizeof raw))
		return fg_fail(err, FG_EINVAL,
		    "consensus: \"sha256\" is not a SHA-256 in hex");
	return 0;
}

static int
parse_pieces(const json_t *obj, struct fg_passes *p, struct fg_err *err)
{
	static const char *const known[] = {"least"};
	const json_t *j = json_object_get(obj, "pieces");

	if (!j)
		return 0;
	p->pieces = !json_is_false(j);
	if (json_is_boolean(j))
		return 0;
	if (!json_is_object(j))
		return fg_fail(err, FG_EINVAL,
		    "\"pieces\" is not an object, true or false");
	if (get_part(obj, "pieces", known, FG_COUNTOF(known), &j, err) < 0)
		return -1;
	if (fg_json_get_int(j, "least", FG_JSON_OPTIONAL, 0, VOXELS_MAX,
		&p->pieces_least, err) < 0)
		return fg_err_prefix(err, "pieces");
	return 0;
}

static int
parse_all(const json_t *obj, struct fg_passes *p, struct fg_err *err)
{
	static const char *const coarse[] = {"scale", "least"};
	const enum fg_json_need opt = FG_JSON_OPTIONAL;
	const json_t *j;

	if (parse_consensus(obj, p, err) < 0 ||
	    get_part(obj, "coarse", coarse, 2, &j, err) < 0)
		return -1;
	if (j && (copy_text(j, "scale", FG_JSON_NEEDED, p->coarse, sizeof p->coarse,
		      err) < 0 ||
		     fg_json_get_int(j, "least", opt, 0, VOXELS_MAX, &p->coarse_least,
			 err) < 0))
		return fg_err_prefix(err, "coarse");
	if (parse_pieces(obj, p, err) < 0)
		return -1;
	j = json_object_get(obj, "jumps");
	if (j && fg_jump_rule_parse(j, &p->jumps, err) < 0)
		return -1;
	if (parse_missing(obj, p, err) < 0)
		return -1;
	return parse_mask(obj, p, err);
}

int
fg_passes_widen(struct fg_passes *p, int64_t step, struct fg_err *err)
{
	int64_t *wide = NULL, z;
	size_t n = 0;

	if (p->missings == 0)
		return 0;
	/* Counted, then written. They ascend, so what is there already is below. */
	for (int pass = 0; pass < 2; pass++) {
		int64_t last = INT64_MIN;

		for (size_t i = 0; i < p->missings; i++) {
			for (int64_t k = 0; k < step; k++) {
				z = p->missing[i] - step / 2 + k;
				if (z <= last)
					continue;
				last = z;
				if (wide)
					wide[n] = z;
				n++;
			}
		}
		if (n > MISSING_MAX)
			return fg_fail(err, FG_EINVAL,
			    "\"missing\" leaves out more than %d sections",
			    MISSING_MAX);
		if (pass == 0) {
			wide = fg_calloc(n + 1, sizeof *wide);
			n = 0;
		}
	}
	free(p->missing);
	p->missing = wide;
	p->missings = n;
	return 0;
}

int
fg_passes_parse(const json_t *obj, struct fg_passes *p, struct fg_err *err)
{
	if (parse_all(obj, p, err) == 0)
		return 0;
	fg_passes_fini(p);
	return -1;
}

static json_t *
format_consensus(const struct fg_passes *p)
{
	const struct fg_net_shape *s = &p->consensus_shape;
	json_t *j = json_pack("{s:I}", "least", (json_int_t)p->consensus_least);

	if (p->consensus_scale[0])
		json_object_set_new(j, "scale", json_string(p->consensus_scale));
	if (!p->consensus_model)
		return j;
	json_object_set_new(j, "model", json_string(p->consensus_model));
	json_object_set_new(j, "sha256", json_string(p->consensus_sha256));
	json_object_set_new(j, "fov", fg_json_int3(s->fov));
	json_object_set_new(j, "delta", fg_json_int3(s->delta));
	json_object_set_new(j, "mean", json_real(s->mean));
	json_object_set_new(j, "stddev", json_real(s->stddev));
	return j;
}

void
fg_passes_format(const struct fg_passes *p, json_t *obj)
{
	json_t *list;

	if (p->consensus)
		json_object_set_new(obj, "consensus", format_consensus(p));
	if (p->pieces)
		json_object_set_new(obj, "pieces",
		    json_pack("{s:I}", "least", (json_int_t)p->pieces_least));
	if (p->coarse[0])
		json_object_set_new(obj, "coarse",
		    json_pack("{s:s,s:I}", "scale", p->coarse, "least",
			(json_int_t)p->coarse_least));
	if (p->jumps.shift > 0)
		json_object_set_new(obj, "jumps", fg_jump_rule_format(&p->jumps));
	if (p->missings > 0) {
		list = json_array();
		for (size_t i = 0; i < p->missings; i++)
			json_array_append_new(list, json_integer(p->missing[i]));
		json_object_set_new(obj, "missing", list);
	}
	if (p->mask[0])
		json_object_set_new(obj, "mask",
		    json_pack("{s:s,s:s,s:s,s:s,s:I,s:I}", "layer", p->mask, "uuid",
			p->mask_uuid, "sha256", p->mask_sha256, "scale", p->mask_scale,
			"from", (json_int_t)p->mask_from, "to",
			(json_int_t)p->mask_to));
}
