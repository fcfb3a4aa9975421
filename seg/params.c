/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Options of inference: names, defaults and ranges. The names are those of the
 * published configuration, so that one can be copied into the other.
 */
#include "config.h"

#include <stdio.h>
#include <strings.h>

#include "base/json.h"
#include "seg/segment.h"

static const char *const precision_names[] = {
    [FG_PREC_F32] = "f32",
    [FG_PREC_BF16] = "bf16",
    [FG_PREC_F16] = "f16",
};

const char *
fg_precision_name(enum fg_precision p)
{
	return (size_t)p < FG_COUNTOF(precision_names) ? precision_names[p] : "?";
}

int
fg_precision_parse(const char *name, enum fg_precision *out, struct fg_err *err)
{
	for (size_t i = 0; i < FG_COUNTOF(precision_names); i++) {
		if (strcasecmp(name, precision_names[i]) == 0) {
			*out = (enum fg_precision)i;
			return 0;
		}
	}
	return fg_fail(err, FG_EINVAL, "precision \"%.20s\": wanted f32, bf16 or f16",
	    name);
}

void
fg_flood_params_default(struct fg_flood_params *p)
{
	*p = (struct fg_flood_params){
	    .init_activation = 0.95,
	    .pad_value = 0.05,
	    .move_threshold = 0.9,
	    .segment_threshold = 0.6,
	    .disco_seed_threshold = 0,
	    .min_segment_size = 1000,
	    .min_boundary_dist = {1, 1, 1},
	    .seed_policy = "PolicyPeaks",
	    .voxel_nm = {1, 1, 1},
	};
}

/* Probabilities whose logit must be finite stay away from 0 and 1. */
#define P_MIN 1e-6
#define P_MAX (1 - 1e-6)

int
fg_flood_params_parse(const json_t *obj, struct fg_flood_params *p, struct fg_err *err)
{
	struct fg_flood_params q = *p;
	const char *policy = q.seed_policy;
	const enum fg_json_need opt = FG_JSON_OPTIONAL;

	if (fg_json_get_real(obj, "init_activation", opt, P_MIN, P_MAX,
		&q.init_activation, err) < 0 ||
	    fg_json_get_real(obj, "pad_value", opt, P_MIN, P_MAX, &q.pad_value, err) <
		0 ||
	    fg_json_get_real(obj, "move_threshold", opt, P_MIN, P_MAX,
		&q.move_threshold, err) < 0 ||
	    fg_json_get_real(obj, "segment_threshold", opt, P_MIN, P_MAX,
		&q.segment_threshold, err) < 0 ||
	    fg_json_get_real(obj, "disco_seed_threshold", opt, -1, 1,
		&q.disco_seed_threshold, err) < 0 ||
	    fg_json_get_int(obj, "min_segment_size", opt, 0, INT64_C(1) << 40,
		&q.min_segment_size, err) < 0 ||
	    fg_json_get_int3(obj, "min_boundary_dist", opt, 0, 1000,
		q.min_boundary_dist, err) < 0 ||
	    fg_json_get_string(obj, "seed_policy", opt, &policy, err) < 0 ||
	    fg_json_get_real3(obj, "voxel_nm", opt, 1e-6, 1e9, q.voxel_nm, err) < 0)
		return -1;
	if (strcmp(policy, "PolicyPeaks") != 0)
		return fg_fail(err, FG_ENOTSUP,
		    "seed_policy \"%.40s\": this build has PolicyPeaks", policy);
	if (policy != q.seed_policy)
		snprintf(q.seed_policy, sizeof q.seed_policy, "%s", policy);
	*p = q;
	return 0;
}

json_t *
fg_flood_params_format(const struct fg_flood_params *p)
{
	json_t *obj = json_object();

	fg_assert(obj);
	json_object_set_new(obj, "init_activation", json_real(p->init_activation));
	json_object_set_new(obj, "pad_value", json_real(p->pad_value));
	json_object_set_new(obj, "move_threshold", json_real(p->move_threshold));
	json_object_set_new(obj, "segment_threshold", json_real(p->segment_threshold));
	json_object_set_new(obj, "disco_seed_threshold",
	    json_real(p->disco_seed_threshold));
	json_object_set_new(obj, "min_segment_size", json_integer(p->min_segment_size));
	json_object_set_new(obj, "min_boundary_dist",
	    fg_json_int3(p->min_boundary_dist));
	json_object_set_new(obj, "seed_policy", json_string(p->seed_policy));
	json_object_set_new(obj, "voxel_nm", fg_json_real3(p->voxel_nm));
	return obj;
}
