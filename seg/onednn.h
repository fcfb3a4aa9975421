/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What oneDNN gives to the back ends "cpu" (seg/cpu.c) and "opencl" (its own table),
 * and its bare convolutions as a measure (bench/ffn.c). The calls mean what those of
 * struct fg_backend mean.
 */
#ifndef FG_SEG_ONEDNN_H
#define FG_SEG_ONEDNN_H

#include "seg/device.h"

/* A device on oneDNN's CPU engine; it runs on whatever thread calls. */
int fg_onednn_open_cpu(const struct fg_backend *backend, int i, struct fg_device **out,
    struct fg_err *err) FG_MUST_USE;
void fg_onednn_close(struct fg_device *dev);

int fg_onednn_load(struct fg_device *dev, const struct fg_net *net,
    enum fg_precision prec, int batch_max, struct fg_model **out,
    struct fg_err *err) FG_MUST_USE;
void fg_onednn_unload(struct fg_model *m);
int fg_onednn_forward(struct fg_model *m, int n, const float *in, float *out,
    struct fg_err *err) FG_MUST_USE;

const char *fg_onednn_isa(void); /* "AMX", "AVX-512", ...: what it will use */
void fg_onednn_version(char out[32]);

/* The oneDNN device inside one of fg_backend_cpu, to run oneDNN where that back end
 * would not (tests, bench). */
struct fg_device *fg_cpu_onednn(struct fg_device *dev);

/* Run the bare convolutions of net (nothing fused, no activation between them) `runs`
 * times on dev (of fg_onednn_open_cpu) and give the least milliseconds of a run. */
int fg_onednn_time_bare(struct fg_device *dev, const struct fg_net *net,
    enum fg_precision prec, int runs, double *best_ms, struct fg_err *err) FG_MUST_USE;

#endif
