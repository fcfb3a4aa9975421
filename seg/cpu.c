/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The back end "cpu": one device per processor core that this process may run on.
 * Networks of the published kind run on loops of our own: on tiles in bf16 where the
 * core has them (seg/bf16.c), else on every core with AVX2 (seg/winograd.c). All others
 * run on oneDNN.
 *
 * A patch runs on one thread, bound to its core: two threads on one patch collapse
 * under load. oneDNN may bring OpenMP threads of its own, so the serving thread tells
 * the OpenMP runtime, found at run time, that it has one. Closing the device gives the
 * thread its former freedom back.
 */
#include "config.h"

#include <dlfcn.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "seg/bf16.h"
#include "seg/onednn.h"
#include "seg/winograd.h"

struct cpu_device {
	struct fg_device base;
	struct fg_device *onednn; /* owned */
	cpu_set_t before;         /* where the thread might run before */
	bool bound;
};

/* First of the hardware threads that share a core with `cpu`; cpu itself where the
 * kernel does not tell. */
static int
first_sibling(int cpu)
{
	char path[96];
	int first = cpu;
	FILE *f;

	snprintf(path, sizeof path,
	    "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
	f = fopen(path, "re");
	if (f) {
		if (fscanf(f, "%d", &first) != 1)
			first = cpu;
		fclose(f);
	}
	return first;
}

/* The processor that device i runs on, -1 if there is none; *count: all of them. One
 * per core among the processors that this process may run on. */
static int
core_of(int i, int *count)
{
	cpu_set_t set, seen;
	int n = 0, found = -1;

	CPU_ZERO(&seen);
	/* Of the process's first thread: serving threads have narrowed their own. */
	if (sched_getaffinity(getpid(), sizeof set, &set) < 0) {
		CPU_ZERO(&set);
		CPU_SET(0, &set);
	}
	for (int c = 0; c < CPU_SETSIZE; c++) {
		int first = CPU_ISSET(c, &set) ? first_sibling(c) : -1;

		if (first < 0 || first >= CPU_SETSIZE || CPU_ISSET(first, &seen))
			continue;
		CPU_SET(first, &seen);
		if (n++ == i)
			found = c;
	}
	*count = n;
	return found;
}

static int
cpu_count(void)
{
	int n;

	core_of(0, &n);
	return n;
}

static void
cpu_model_name(char *out, size_t size)
{
	FILE *f = fopen("/proc/cpuinfo", "re");
	char line[256];

	snprintf(out, size, "processor");
	while (f && fgets(line, sizeof line, f)) {
		char *colon = strchr(line, ':');

		if (strncmp(line, "model name", 10) != 0 || !colon)
			continue;
		line[strcspn(line, "\n")] = '\0';
		snprintf(out, size, "%s", colon + (colon[1] == ' ' ? 2 : 1));
		break;
	}
	if (f)
		fclose(f);
}

static void
cpu_describe(int i, struct fg_device_desc *desc)
{
	char model[80], version[32];
	int n, core = core_of(i, &n);

	cpu_model_name(model, sizeof model);
	fg_onednn_version(version);
	snprintf(desc->name, sizeof desc->name, "cpu:%d", i);
	snprintf(desc->detail, sizeof desc->detail, "%.60s, core %d, %s, %s", model,
	    core, fg_onednn_isa(), version);
	desc->usable = core >= 0;
	if (core < 0)
		snprintf(desc->why, sizeof desc->why, "this process has %d cores", n);
	/* Without tiles it is no faster than f32 (bench/ffn.c). */
	desc->bf16 = fg_bf16_has_tiles();
	desc->f16 = false;
}

/* Bind the calling thread to the core and keep OpenMP from spreading out from it. */
static int
settle_thread(struct cpu_device *d, int i, struct fg_err *err)
{
	int n, core = core_of(i, &n);
	cpu_set_t set;
	union {
		void *p;
		void (*fn)(int);
	} omp = {.p = dlsym(RTLD_DEFAULT, "omp_set_num_threads")};

	if (core < 0)
		return fg_fail(err, FG_ENOENT, "no device cpu:%d, there are %d", i, n);
	CPU_ZERO(&set);
	CPU_SET(core, &set);
	d->bound = sched_getaffinity(0, sizeof d->before, &d->before) == 0;
	if (sched_setaffinity(0, sizeof set, &set) < 0)
		return fg_fail_errno(err, "cpu:%d: binding to core %d", i, core);
	if (omp.p)
		omp.fn(1);
	return 0;
}

static void
cpu_close(struct fg_device *base)
{
	struct cpu_device *d = (struct cpu_device *)base;

	if (!d)
		return;
	fg_onednn_close(d->onednn);
	if (d->bound)
		sched_setaffinity(0, sizeof d->before, &d->before);
	free(d);
}

static int
cpu_open(int i, struct fg_device **out, struct fg_err *err)
{
	struct cpu_device *d = fg_calloc(1, sizeof *d);

	d->base.backend = &fg_backend_cpu;
	d->base.index = i;
	if (settle_thread(d, i, err) < 0 ||
	    fg_onednn_open_cpu(&fg_backend_cpu, i, &d->onednn, err) < 0) {
		cpu_close(&d->base);
		return -1;
	}
	*out = &d->base;
	return 0;
}

static int
cpu_load(struct fg_device *dev, const struct fg_net *net, enum fg_precision prec,
    int batch_max, struct fg_model **out, struct fg_err *err)
{
	struct cpu_device *d = (struct cpu_device *)dev;
	bool tiles = prec == FG_PREC_BF16 && fg_bf16_has_tiles();

	if (tiles && fg_bf16_can_run(net))
		return fg_bf16_load(net, out, err);
	if (!tiles && prec != FG_PREC_F16 && fg_winograd_can_run(net, FG_WINOGRAD_BEST))
		return fg_winograd_load(net, prec, FG_WINOGRAD_BEST, out, err);
	return fg_onednn_load(d->onednn, net, prec, batch_max, out, err);
}

struct fg_device *
fg_cpu_onednn(struct fg_device *dev)
{
	return ((struct cpu_device *)dev)->onednn;
}

const struct fg_backend fg_backend_cpu = {
    .abi = FG_BACKEND_ABI,
    .size = sizeof(struct fg_backend),
    .name = "cpu",
    .count = cpu_count,
    .describe = cpu_describe,
    .open = cpu_open,
    .close = cpu_close,
    .load = cpu_load,
    .unload = fg_onednn_unload,
    .forward = fg_onednn_forward,
};
