/* SPDX-License-Identifier: Apache-2.0 */
/*
 * floodgate devices: what there is to run networks on; with --check, whether it
 * computes the right thing and how fast, on a network of the usual size with random
 * weights or on one that is given.
 */
#include "config.h"

#include <stdlib.h>

#include "seg/plugin.h"
#include "seg/probe.h"
#include "work/tool.h"

#define DEPTH 12
#define FEATURES 32
#define FOV 33
#define SECONDS 3 /* of measuring, a device */

static const struct fg_tool_option devices_options[] = {
    {"check", NULL, "run the self-check and measure patches per second", 0},
    {"device", "NAME", "only this one, as it is listed", 0},
    {"model", "FILE",
	"network for --check (default: random weights,\n12 modules of 32 features, "
	"33^3 voxels)",
	0},
    {"precision", "P", "f32, bf16 or f16, for --check (default: the fast one)", 0},
    {"batch", "N", "most patches at a time, 1 to 64 (default 64)", 0},
    {"plugin-dir", "DIR", "where to look for plug-ins", 0},
    {NULL, NULL, NULL, 0},
};

struct check {
	const struct fg_net *net;
	bool fixed; /* precision was asked for */
	enum fg_precision prec;
	int batch;
};

static const char *
precision_of(const struct fg_device_desc *d)
{
	return !d->usable ? "-" : d->bf16 ? "bf16" : d->f16 ? "f16" : "f32";
}

static json_t *
describe_check(const struct fg_probe *p, enum fg_precision prec)
{
	json_t *speed = json_array();
	json_t *j = json_pack("{s:s, s:b, s:b}", "precision", fg_precision_name(prec),
	    "passed", p->checked && p->same, "same_in_every_place", p->same);

	for (int i = 0; i < p->sizes && p->checked; i++)
		json_array_append_new(speed,
		    json_pack("{s:i, s:f}", "batch", p->batch[i], "patches_s",
			p->patches_s[i]));
	json_object_set_new(j, "speed", speed);
	if (p->plan[0])
		json_object_set_new(j, "memory_plan", json_string(p->plan));
	if (!p->checked)
		json_object_set_new(j, "why", json_string(p->err.msg));
	return j;
}

static json_t *
describe_device(const struct fg_device_desc *d)
{
	json_t *j = json_pack("{s:s, s:s, s:b, s:b, s:b, s:I}", "name", d->name,
	    "detail", d->detail, "usable", d->usable, "bf16", d->bf16, "f16", d->f16,
	    "memory", (json_int_t)d->memory);

	if (!d->usable)
		json_object_set_new(j, "why", json_string(d->why));
	return j;
}

static void
print_device(const struct fg_device_desc *d)
{
	char bytes[32];

	printf("%-10s %-6s %s", d->name, precision_of(d), d->detail);
	if (d->memory)
		printf(", %s", fg_tool_bytes((double)d->memory, bytes));
	printf("%s%s\n", d->usable ? "" : ": ", d->usable ? "" : d->why);
}

static void
print_check(const struct fg_probe *p, enum fg_precision prec)
{
	printf("%-10s %-6s ", "", fg_precision_name(prec));
	if (!p->checked) {
		printf("self-check failed: %s\n", p->err.msg);
		return;
	}
	printf("self-check passed, %s;",
	    p->same ? "same bits in every place of a batch"
		    : "but bits depend on the place in a batch");
	for (int i = 0; i < p->sizes; i++)
		printf("%s %.4g patches/s at batch %d", i ? "," : "", p->patches_s[i],
		    p->batch[i]);
	putchar('\n');
	if (p->plan[0])
		printf("%-17s memory: %s\n", "", p->plan);
}

/* List one device, and check it unless c is NULL. *bad: it failed. */
static int
show(const struct fg_tool *t, const struct fg_device_desc *d, const struct check *c,
    json_t *list, bool *bad, struct fg_err *err)
{
	json_t *j = describe_device(d);
	struct fg_probe p;

	if (!t->json)
		print_device(d);
	if (c && d->usable) {
		enum fg_precision prec = c->fixed  ? c->prec
					 : d->bf16 ? FG_PREC_BF16
					 : d->f16  ? FG_PREC_F16
						   : FG_PREC_F32;

		fflush(stdout);
		if (fg_probe_device(d->name, c->net, prec, c->batch, SECONDS, &p, err) <
		    0) {
			json_decref(j);
			return -1;
		}
		*bad = *bad || !p.checked || !p.same;
		json_object_set_new(j, "check", describe_check(&p, prec));
		if (!t->json)
			print_check(&p, prec);
	}
	json_array_append_new(list, j);
	return 0;
}

static int
show_all(const struct fg_tool *t, const struct check *c, json_t *list, bool *bad,
    struct fg_err *err)
{
	const char *only = fg_tool_text(t, "device", NULL);
	struct fg_device_desc *d = NULL;
	bool found = false;
	size_t n = 0;
	int rc = 0;

	if (fg_devices_list(&d, &n, err) < 0)
		return -1;
	for (size_t i = 0; i < n && rc == 0; i++) {
		if (only && strcmp(only, d[i].name) != 0)
			continue;
		found = true;
		rc = show(t, &d[i], c, list, bad, err);
	}
	free(d);
	if (rc == 0 && !found)
		return fg_fail(err, FG_ENOENT, "no device \"%.60s\"", only);
	return rc;
}

/* The network to check with; *out stays NULL without --check. */
static int
take_net(const struct fg_tool *t, struct check *c, struct fg_net **out,
    struct fg_err *err)
{
	const char *model = fg_tool_text(t, "model", NULL);
	const char *prec = fg_tool_text(t, "precision", NULL);
	struct fg_net_shape shape = {.fov = {33, 33, 33},
	    .delta = {8, 8, 8},
	    .mean = 128,
	    .stddev = 33};
	int64_t batch = 64;

	if (fg_tool_int(t, "batch", 1, 64, &batch, err) < 0)
		return -1;
	c->batch = (int)batch;
	c->fixed = prec != NULL;
	if (prec && fg_precision_parse(prec, &c->prec, err) < 0)
		return -1;
	if (!fg_tool_has(t, "check")) {
		if (model || prec || fg_tool_has(t, "batch"))
			return fg_fail(err, FG_EINVAL,
			    "--model, --precision and --batch go with --check");
		return 0;
	}
	if (model && fg_net_is_safetensors(model))
		shape = FG_NET_SHAPE_UNSET;
	*out = model ? fg_net_load(model, &shape, err)
		     : fg_probe_net(DEPTH, FEATURES, FOV);
	c->net = *out;
	return *out ? 0 : -1;
}

static int
run_devices(struct fg_tool *t)
{
	const char *folders = fg_tool_text(t, "plugin-dir", NULL);
	struct fg_err err = FG_ERR_INIT;
	struct check c = {.net = NULL};
	struct fg_net *net = NULL;
	json_t *list = json_array();
	bool bad = false;
	int code = FG_EXIT_OK;

	if (folders)
		fg_plugins_search(folders);
	if (take_net(t, &c, &net, &err) < 0 ||
	    show_all(t, net ? &c : NULL, list, &bad, &err) < 0)
		code = fg_tool_fail(t, &err);
	else if (t->json)
		fg_tool_print_json(json_incref(list));
	json_decref(list);
	fg_net_free(net);
	return code == FG_EXIT_OK && bad ? FG_EXIT_FAILED : code;
}

const struct fg_tool_command fg_tool_devices_commands[] = {
    {.name = "devices",
	.summary = "what this machine can run networks on",
	.details =
	    "Plug-ins (floodgate-NAME.so) are looked for in --plugin-dir, else in\n"
	    "$FLOODGATE_PLUGIN_DIR, else where floodgate is installed. With --check "
	    "the exit\ncode is 1 if a usable device fails.",
	.options = devices_options,
	.run = run_devices},
    {.name = NULL},
};
